"""`Kobject` is a directory of sysfs; `Uevent` says that something happened to one.

Also here is `DeviceTree`, the state that a machine keeps for the driver core: the tree of names,
classes, buses, device numbers, and who is told of uevents. It is found as ``machine().device_tree``
and changed under the host's lock, but for `kobject_uevent`, which any thread may call.

Source: lib/kobject.c, lib/kobject_uevent.c
"""

import errno
import stat
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mapdev.linux.context import Owner, RealModel, current_context, machine
from mapdev.linux.kernfs import KernfsNode, KernfsRoot

__all__ = [
    "KOBJ_ADD", "KOBJ_BIND", "KOBJ_CHANGE", "KOBJ_MOVE", "KOBJ_OFFLINE", "KOBJ_ONLINE",
    "KOBJ_REMOVE", "KOBJ_UNBIND", "DeviceTree", "Kobject", "Uevent", "add_uevent_var",
    "device_tree", "kobject_add", "kobject_clean_name", "kobject_create_and_add", "kobject_del",
    "kobject_get_path", "kobject_name", "kobject_put", "kobject_synth_uevent", "kobject_uevent",
    "kobject_uevent_env",
]  # fmt: skip

KOBJ_ADD, KOBJ_REMOVE, KOBJ_CHANGE, KOBJ_MOVE = "add", "remove", "change", "move"
KOBJ_ONLINE, KOBJ_OFFLINE, KOBJ_BIND, KOBJ_UNBIND = "online", "offline", "bind", "unbind"

_ACTIONS = (
    KOBJ_ADD, KOBJ_REMOVE, KOBJ_CHANGE, KOBJ_MOVE, KOBJ_ONLINE, KOBJ_OFFLINE, KOBJ_BIND,
    KOBJ_UNBIND,
)  # fmt: skip
_UUID = 36  # characters
_UEVENT_HELPER_ENVP = 64  # variables: UEVENT_NUM_ENVP
_UEVENT_BUFFER = 2048  # bytes: UEVENT_BUFFER_SIZE


class Uevent(NamedTuple):
    """What programs are told of a kobject: ``struct kobj_uevent_env``, with action and path.

    :ivar variables: all of them, in the kernel's order: ACTION first, SEQNUM last

    Source: include/linux/kobject.h
    """

    action: str
    devpath: str
    variables: tuple[tuple[str, str], ...]

    def message(self) -> bytes:
        """The text that the kernel broadcasts: strings that end with NUL."""
        lines = [f"{self.action}@{self.devpath}"]
        lines += [f"{name}={value}" for name, value in self.variables]
        return b"".join(line.encode() + b"\0" for line in lines)


class DeviceTree:
    """What a machine keeps for the driver core.

    :ivar root: the tree of names, from ``/`` on
    :ivar classes: by name; those of `mapdev.linux.device`
    :ivar buses: by name, likewise
    :ivar chrdevs: regions of device numbers: major, first minor, count, name
    :ivar cdevs: which driver serves a device number, of `mapdev.linux.cdev`
    :ivar misc: the names of misc devices, by their minor number
    :ivar listeners: called with each `Uevent`, in the thread in which it happened
    :ivar node_listeners: called with a device that has a number, and whether it comes or goes
    :ivar real: a real kernel's device model, if the machine has one
    :ivar taken: says which majors and which minors of major 10 the real machine uses

    Source: drivers/base/base.h, fs/char_dev.c, lib/kobject_uevent.c, which keep it in variables
    """

    def __init__(self) -> None:
        """Make an empty tree."""
        self.root = KernfsRoot()
        self.classes: dict[str, Any] = {}
        self.buses: dict[str, Any] = {}
        self.chrdevs: list[tuple[int, int, int, str]] = []
        self.cdevs: list[tuple[int, int, Any]] = []  # first number, count, cdev
        self.misc: dict[int, str] = {}
        self.listeners: list[Callable[[Uevent], None]] = []
        self.node_listeners: list[Callable[[Any, bool], None]] = []
        self.real: RealModel | None = None
        self.taken: Callable[[], tuple[set[int], set[int]]] = lambda: (set(), set())
        self.seqnum = 0

    @property
    def is_used(self) -> bool:
        """Whether anything was ever put into sysfs."""
        return "sys" in self.root.top.children

    def kobject(self, path: str) -> "Kobject":
        """Give the kobject of a directory of sysfs that is always there, such as ``class``."""
        node = self.root.directory(f"/sys/{path}")
        if not isinstance(node.priv, Kobject):
            parent = self.kobject(path.rpartition("/")[0]) if path else None
            node.priv = Kobject(node.name, parent)
            node.priv.sd = node
            node.priv.owner = None  # whoever came first
        return node.priv


def device_tree() -> DeviceTree:
    """Give the device tree of the machine of the code that runs.

    Source: none; what the kernel keeps in global variables is the machine's here
    """
    return machine().device_tree


class Kobject:
    """A directory of sysfs: ``struct kobject``.

    :ivar name: the last part of its path
    :ivar sd: its directory, None before it was added
    :ivar of: the device, class or bus that it belongs to: what ``show`` and ``store`` get
    :ivar subsystem: the name of its class or bus, for SUBSYSTEM; empty for none
    :ivar owner: the driver whose code added it, as which ``show`` and ``store`` run

    Source: include/linux/kobject.h
    """

    __slots__ = ("of", "owner", "parent", "sd", "subsystem", "uevent_vars")

    def __init__(self, name: str, parent: "Kobject | None" = None, of: Any = None) -> None:
        """Describe a directory that is not there yet."""
        self.parent = parent
        self.of = self if of is None else of
        self.subsystem = ""
        self.uevent_vars: Callable[[], list[tuple[str, str]]] = list
        now = current_context()
        self.owner: Owner = now.owner if now is not None else None
        self.sd = KernfsNode(kobject_clean_name(name), stat.S_IFDIR | 0o755, priv=self)

    @property
    def name(self) -> str:
        """Its name."""
        return self.sd.name

    def __repr__(self) -> str:
        """Show the path."""
        return f"<Kobject {self.sd.path}>"


def kobject_clean_name(name: str) -> str:
    """Give a name as sysfs has it: no slash can be in one, so there is a ``!``.

    :raises OSError: EINVAL, the name is empty or none that a directory can have

    Source: lib/kobject.c (kobject_set_name_vargs)
    """
    name = name.replace("/", "!")
    if name in ("", ".", "..") or "\0" in name:
        raise OSError(errno.EINVAL, f"{name!r} is no name for a kobject")
    return name


def kobject_add(kobj: Kobject) -> None:
    """Make the directory of a kobject, in that of its parent; without one, in ``/sys``.

    :raises OSError: EEXIST, the name is taken; ENOENT, its parent is gone

    Source: lib/kobject.c
    """
    tree = device_tree()
    parent = kobj.parent.sd if kobj.parent is not None else tree.root.directory("/sys")
    if not parent.is_active:
        raise OSError(errno.ENOENT, f"{parent.name}, the parent of {kobj.name}, is not there")
    tree.root.add(parent, kobj.sd)


def kobject_create_and_add(name: str, parent: Kobject | None) -> Kobject:
    """Make a plain directory in sysfs.

    :param parent: where, None for ``/sys`` itself
    :raises OSError: EEXIST, the name is taken; EINVAL, it is none

    Source: lib/kobject.c
    """
    kobj = Kobject(name, parent)
    kobject_add(kobj)
    return kobj


def kobject_del(kobj: Kobject) -> None:
    """Remove the directory of a kobject with all in it.

    Source: lib/kobject.c
    """
    if kobj.sd.root is not None:
        kobj.sd.root.remove(kobj.sd)


def kobject_put(kobj: Kobject) -> None:
    """Let go of a kobject of `kobject_create_and_add`, which removes it.

    Source: lib/kobject.c
    Fidelity: references are not counted: who calls this is the last.
    """
    kobject_del(kobj)


def kobject_name(kobj: Kobject) -> str:
    """Give the name of a kobject.

    Source: include/linux/kobject.h
    """
    return kobj.name


def kobject_get_path(kobj: Kobject) -> str:
    """Give the path of a kobject below ``/sys``, as in DEVPATH.

    Source: lib/kobject.c
    """
    return kobj.sd.path.removeprefix("/sys")


def add_uevent_var(env: list[tuple[str, str]], name: str, value: object) -> int:
    """Add a variable to those of a uevent.

    :param env: what a ``dev_uevent`` operation got
    :return: 0
    :raises OSError: ENOMEM, there are 64 of them or more than 2048 bytes

    Source: lib/kobject_uevent.c
    Fidelity: name and value are given apart, not as a format.
    """
    size = sum(len(f"{key}={text}") + 1 for key, text in env)
    if len(env) >= _UEVENT_HELPER_ENVP or size + len(f"{name}={value}") >= _UEVENT_BUFFER:
        raise OSError(errno.ENOMEM, f"no room for {name} in a uevent")
    env.append((name, str(value)))
    return 0


def kobject_uevent(kobj: Kobject, action: str) -> int:
    """Tell programs that something happened to a kobject; from any thread.

    :param action: ``KOBJ_*``
    :return: 0

    Source: lib/kobject_uevent.c
    """
    return kobject_uevent_env(kobj, action, ())


def kobject_uevent_env(kobj: Kobject, action: str, envp: Sequence[str]) -> int:
    """Tell programs that something happened to a kobject, with variables of one's own.

    :param action: ``KOBJ_*``
    :param envp: variables, each as ``NAME=value``
    :return: 0; a kobject that belongs to no class and no bus has no uevents
    :raises OSError: EINVAL, a variable has no ``=``; ENOMEM, there are too many

    Source: lib/kobject_uevent.c
    """
    if not kobj.subsystem:
        return 0
    tree = device_tree()
    devpath = kobject_get_path(kobj)
    env: list[tuple[str, str]] = []
    add_uevent_var(env, "ACTION", action)
    add_uevent_var(env, "DEVPATH", devpath)
    add_uevent_var(env, "SUBSYSTEM", kobj.subsystem)
    for variable in envp:
        name, equals, value = variable.partition("=")
        if not equals:
            raise OSError(errno.EINVAL, f"{variable!r} is no NAME=value")
        add_uevent_var(env, name, value)
    for name, value in kobj.uevent_vars():
        add_uevent_var(env, name, value)
    tree.seqnum += 1
    add_uevent_var(env, "SEQNUM", tree.seqnum)
    event = Uevent(action, devpath, tuple(env))
    for listener in tree.listeners:
        listener(event)
    if tree.real is not None and kobj.of is not kobj:
        tree.real.uevent(kobj.of, action, envp)
    return 0


def kobject_synth_uevent(kobj: Kobject, text: str) -> None:
    """Send the uevent that a program asked for by writing to a ``uevent`` file.

    :param text: an action, and after it a UUID and variables of letters and digits
    :raises OSError: EINVAL, it has another form

    Source: lib/kobject_uevent.c (kobject_action_args)
    """
    action, *rest = text.removesuffix("\n").split(" ")
    if action not in _ACTIONS:
        raise OSError(errno.EINVAL, f"{action!r} is no action")
    variables = ["SYNTH_UUID=0"]
    if rest:
        uuid = rest[0]
        if len(uuid) != _UUID or not all(
            char == "-" if at in (8, 13, 18, 23) else char in "0123456789abcdefABCDEF"
            for at, char in enumerate(uuid)
        ):
            raise OSError(errno.EINVAL, f"{uuid!r} is no UUID")
        variables = [f"SYNTH_UUID={uuid}"]
        for argument in filter(None, rest[1:]):
            name, equals, value = argument.partition("=")
            if not (equals and name.isalnum() and value.isalnum()):
                raise OSError(errno.EINVAL, f"{argument!r} is no variable")
            variables.append(f"SYNTH_ARG_{name}={value}")
    kobject_uevent_env(kobj, action, variables)
