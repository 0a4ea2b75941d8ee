"""The seccomp filter: which system calls of a client are handed to the host.

A BPF program sees the number of a call and its arguments, not what they point to nor what a
descriptor is. So calls with a path are all handed over, and calls on a descriptor only where its
number is one that a device can have: at or above `Descriptors.base`, or below `Descriptors.low`,
where shells put redirections. Calls on areas are handed over where the address is one at which
devices are mapped (`Window`). All else runs at full speed. Which calls these are is in
`table`. The program is immutable once installed and is inherited by fork and exec; what it
hands over in vain costs a round trip, what it lets pass by mistake would reach the socket that
stands for a device, so the rules err on the side of the host.

Calls that the host itself re-runs inside a client carry a random secret in the unused upper half of
their descriptor argument (the kernel looks at 32 bits) or in the sixth argument, which they do not
have, and pass.

Source: Documentation/userspace-api/seccomp_filter.rst, linux/filter.h
"""

from __future__ import annotations

import struct
from fcntl import F_GETFD, F_SETFD
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.syscalls.table import GATE_RULES, SYSCALLS, Syscall
from mapdev.host.numbers import AT_EMPTY_PATH, CLONE_THREAD, CLONE_VM
from mapdev.linux.numbers import MAP_ANONYMOUS, MAP_DENYWRITE, MAP_FIXED

if TYPE_CHECKING:
    from mapdev.host.embedded.syscalls.table import When

ALLOW = 0x7FFF0000
USER_NOTIF = 0x7FC00000

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]. Both architectures
# are little-endian.
_NR, _ARCH, _IP = 0, 4, 8

Label = str | tuple[str, tuple[int, ...]]
"""A piece of the filter: its name, or when it hands a call over, by which arguments."""

ON_DESCRIPTOR: Label = ("descriptor", (0,))
ON_HIGH_DESCRIPTOR: Label = ("high descriptor", (0,))

# PTRACE_PEEKTEXT, PEEKDATA, POKETEXT, POKEDATA: the requests about memory.
_PTRACE_OF_MEMORY = (1, 2, 4, 5)

_PR_SET_SECCOMP = 22
_OF_USERFAULTFD = 0xAA00  # the type of its ioctl commands

AF_NETLINK, NETLINK_KOBJECT_UEVENT = 16, 15
_INTERNET_ADDRESSES = (16, 28)  # bytes: struct sockaddr_in, sockaddr_in6


class Descriptors(NamedTuple):
    """The descriptor numbers that devices may have in a client.

    `open` puts a device at `base` or above; `dup2` may put it below `low`. select(2) ends at 1023
    and the usual limit is 1024, so `base` lies below that with room for `room` devices.
    """

    base: int
    room: int
    low: int

    @classmethod
    def below(cls, limit: int, low: int = 10) -> Descriptors:
        """Choose the range for clients that may have `limit` descriptors."""
        top = min(limit, 1024)
        room = min(512, top // 2)
        return cls(base=top - room, room=room, low=min(low, top - room))

    def __contains__(self, fd: object) -> bool:
        return isinstance(fd, int) and (0 <= fd < self.low or self.base <= fd < 1 << 31)


def build(
    arch: ModuleType, descriptors: Descriptors, window: Window, secret: int, has_tree: bool = True,
    gate: range | None = None,
) -> bytes:  # fmt: skip
    """Return the filter as an array of ``struct sock_filter``.

    :param secret: 32-bit number that marks the host's own calls.
    :param has_tree: hand over what only a host that shows more than nodes has to see.
    :param gate: the addresses from which calls are let pass that the gate makes (`gate`).
    """
    program = _Assembler(descriptors, secret)
    numbers: dict[str, int] = arch.SYSCALLS
    program.load(_ARCH)
    program.jump("jeq", arch.AUDIT_ARCH, yes="native")
    for audit_arch, (_, calls) in arch.FOREIGN_ARCHES.items():
        skip = f"not {audit_arch}"
        program.jump("jeq", audit_arch, no=skip)
        program.load(_NR)
        for number in calls:
            program.jump("jeq", number, yes="notify of foreign")
        program.label(skip)
    program.ret(ALLOW)
    program.label("notify of foreign")
    program.ret(USER_NOTIF)
    program.label("native")
    program.load(_NR)
    # A comparison jumps at most 255 instructions ahead. So each jumps to another jump, behind the
    # first or the second half of the comparisons, which has no such limit.
    known = [
        call for call in SYSCALLS
        if call.name in numbers and (has_tree or not call.of_tree) and (gate or not call.of_gate)
    ]  # fmt: skip
    gated = {f"gated {_piece(call)}": _piece(call) for call in known if gate and _has_gate(call)}
    pieces_of: dict[Syscall, Label] = {
        call: f"gated {_piece(call)}" if gate and _has_gate(call) else _piece(call)
        for call in known
    }
    half = len(known) // 2
    for call in known[:half]:
        program.jump("jeq", numbers[call.name], yes=_relay(pieces_of[call], 1))
    program.go("second half")
    program.relays({pieces_of[call] for call in known[:half]}, 1)
    program.label("second half")
    for call in known[half:]:
        program.jump("jeq", numbers[call.name], yes=_relay(pieces_of[call], 2))
    for number in arch.FOREIGN_NUMBERS:
        program.jump("jeq", number, yes=_relay("notify", 2))
    program.ret(ALLOW)
    pieces = {_piece(call) for call in known}
    program.relays({pieces_of[call] for call in known[half:]} | {"notify"}, 2)
    for name, behind in gated.items():
        program.label(name)
        program.unless_inside(gate or range(0))
        program.go(behind)
    program.label("mmap")
    program.load_argument(4, high=True)
    program.jump("jeq", secret, yes="allow")
    program.load_argument(3)
    program.jump("jset", MAP_FIXED, no="anywhere")
    program.load_argument(1, high=True)
    program.jump("jge", 1, yes="notify")  # so long that it may reach in from anywhere
    program.load_argument(0, high=True)
    program.jump("jge", window.end >> 32, yes="elsewhere")
    program.jump("jge", window.start >> 32, yes="notify")
    program.label("elsewhere")
    program.load_argument(3)
    program.label("anywhere")
    # The dynamic linker maps every library with MAP_DENYWRITE, which nothing else has used since
    # Linux 2.6: not asking about those keeps the start of programs fast.
    program.jump("jset", MAP_ANONYMOUS | MAP_DENYWRITE, yes="allow")
    program.visible(4)
    program.label("ioctl")
    program.load_argument(0, high=True)
    program.jump("jeq", secret, yes="allow")
    program.load_argument(1)
    program.mask(0xFF00)
    program.jump("jeq", _OF_USERFAULTFD, yes="notify")
    program.visible(0)
    program.label("fcntl")
    program.load_argument(0)
    program.jump("jge", descriptors.base, yes=ON_DESCRIPTOR)
    program.load_argument(1)
    program.jump("jeq", F_GETFD, yes="allow")
    program.jump("jeq", F_SETFD, yes="allow")
    program.label(ON_DESCRIPTOR)
    program.visible(0)
    for piece in _like("two descriptors", pieces):
        first, second = piece[1]
        program.label(piece)
        program.visible(first, otherwise=f"second {second}")
        program.label(f"second {second}")
        program.visible(second)
    for piece in _like("path or descriptor", pieces):
        program.label(piece)
        program.load_argument(piece[1][0])
        program.jump("jset", AT_EMPTY_PATH, no="notify")
        program.load_argument(0)
        program.jump("jge", 1 << 31, yes="notify")  # AT_FDCWD
        program.visible(0)
    for piece in _like("descriptor", pieces - {ON_DESCRIPTOR}):
        program.label(piece)
        program.visible(piece[1][0])
    program.label("area")
    program.unmarked()
    program.load_argument(1, high=True)
    program.jump("jge", 1, yes="notify")  # so long that it may reach in from anywhere
    program.load_argument(0, high=True)
    program.jump("jge", window.end >> 32, yes="allow")
    program.jump("jge", window.start >> 32, yes="notify", no="allow")
    for piece in _like("address", pieces):
        program.label(piece)
        for argument in piece[1]:
            program.inside(window, argument)
        program.ret(ALLOW)
    program.label("ptrace")
    program.load_argument(0)
    for request in _PTRACE_OF_MEMORY:
        program.jump("jeq", request, yes="notify")
    program.ret(ALLOW)
    program.label("clone")
    program.load_argument(0)
    program.jump("jset", CLONE_VM, no="unless ours")
    program.jump("jset", CLONE_THREAD, no="unless ours")
    program.inside(window, arch.CLONE_CHILD_TID)
    program.inside(window, 2)
    program.ret(ALLOW)
    program.label("unless ours")
    program.unmarked()
    program.ret(USER_NOTIF)
    program.label("connect")
    program.load_argument(2)
    for size in _INTERNET_ADDRESSES:  # what programs connect to most: not asking keeps it fast
        program.jump("jeq", size, yes=ON_HIGH_DESCRIPTOR)
    program.ret(USER_NOTIF)
    if "socket" in pieces:
        program.label("socket")
        program.load_argument(0)
        program.jump("jeq", AF_NETLINK, no="allow")
        program.load_argument(2)
        program.jump("jeq", NETLINK_KOBJECT_UEVENT, yes="notify", no="allow")
    if "prctl" in pieces:
        program.label("prctl")
        program.load_argument(0)
        program.jump("jeq", _PR_SET_SECCOMP, yes="notify", no="allow")
    for piece in _like("high descriptor", pieces):
        program.label(piece)
        program.high(piece[1][0])
    program.label("notify")
    program.ret(USER_NOTIF)
    program.label("allow")
    program.ret(ALLOW)
    return program.assemble()


def _relay(piece: Label, half: int) -> str:
    """Return the name of the jump by which comparisons of one half reach `piece`."""
    return f"{half}: {piece}"


def _has_gate(call: Syscall) -> bool:
    return call.name in GATE_RULES


def _piece(call: Syscall) -> Label:
    """Return the piece of the filter that goes on with `call`."""
    when = call.when
    if when == "always" or when == "path":
        return "notify"
    if when == "area" or when == "unless ours":
        return when
    if when == "address":
        return when, call.addresses
    if when == "program":
        return call.name
    return when, (call.flags,) if when == "path or descriptor" else call.fds


def _like(when: When, pieces: set[Label]) -> list[tuple[str, tuple[int, ...]]]:
    """Return those of `pieces` that decide `when` by one argument or another."""
    return sorted(piece for piece in pieces if isinstance(piece, tuple) and piece[0] == when)


class _Assembler:
    """Just enough of an assembler for classic BPF: loads, jumps to labels, returns."""

    OPCODES: ClassVar = {"jeq": 0x15, "jge": 0x35, "jset": 0x45}
    JUMP_ALWAYS: ClassVar = 0x05

    def __init__(self, descriptors: Descriptors, secret: int) -> None:
        self._descriptors = descriptors
        self._secret = secret
        self._code: list[tuple[int, Label, Label, int]] = []
        self._labels: dict[Label, int] = {}

    def load(self, offset: int) -> None:
        self._code.append((0x20, "", "", offset))

    def load_argument(self, index: int, high: bool = False) -> None:
        self.load(16 + 8 * index + 4 * high)

    def jump(self, kind: str, value: int, yes: Label = "", no: Label = "") -> None:
        self._code.append((self.OPCODES[kind], yes, no, value))

    def mask(self, bits: int) -> None:
        """Keep `bits` of what was loaded."""
        self._code.append((0x54, "", "", bits))

    def go(self, label: Label) -> None:
        """Go on at `label`, however far ahead it is."""
        self._code.append((self.JUMP_ALWAYS, label, "", 0))

    def relays(self, pieces: set[Label], half: int) -> None:
        """Make the jumps to `pieces` for the comparisons of one half."""
        for piece in sorted(pieces, key=str):
            self.label(_relay(piece, half))
            self.go(piece)

    def inside(self, window: Window, argument: int) -> None:
        """Notify when the address in `argument` lies in the window, else go on."""
        self.load_argument(argument, high=True)
        on = f"on {len(self._code)}"
        self.jump("jge", window.end >> 32, yes=on)
        self.jump("jge", window.start >> 32, yes="notify")
        self.label(on)

    def unless_inside(self, code: range) -> None:
        """Allow a call that is made by an instruction in `code`, else go on."""
        self.load(_IP + 4)
        on = f"on {len(self._code)}"
        self.jump("jeq", 0, no=on)
        self.load(_IP)
        self.jump("jge", code.start, no=on)
        self.jump("jge", code.stop, yes=on)
        self.ret(ALLOW)
        self.label(on)

    def ret(self, value: int) -> None:
        self._code.append((0x06, "", "", value))

    def label(self, name: Label) -> None:
        self._labels[name] = len(self._code)

    def visible(self, argument: int, otherwise: str = "allow") -> None:
        """Notify when `argument` may be a device's descriptor, else go on at `otherwise`."""
        self.load_argument(argument, high=True)
        self.jump("jeq", self._secret, yes="allow")
        self.load_argument(argument)
        self.jump("jge", 1 << 31, yes=otherwise)
        self.jump("jge", self._descriptors.base, yes="notify")
        self.jump("jge", self._descriptors.low, yes=otherwise, no="notify")

    def unmarked(self) -> None:
        """Go on if the call is not one of the host's own, which are allowed."""
        self.load_argument(5, high=True)
        self.jump("jeq", self._secret, yes="allow")

    def high(self, argument: int) -> None:
        """Notify when `argument` lies in the device range; lower numbers stay fast."""
        self.load_argument(argument)
        self.jump("jge", 1 << 31, yes="allow")
        self.jump("jge", self._descriptors.base, yes="notify", no="allow")

    def assemble(self) -> bytes:
        return b"".join(
            struct.pack("<HBBI", code, 0, 0, self._distance(at, yes))
            if code == self.JUMP_ALWAYS
            else struct.pack("<HBBI", code, self._distance(at, yes), self._distance(at, no), value)
            for at, (code, yes, no, value) in enumerate(self._code)
        )

    def _distance(self, at: int, label: Label) -> int:
        return self._labels[label] - at - 1 if label else 0
