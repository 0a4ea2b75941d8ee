"""`KernfsNode` is a directory, file or link of a tree of names; `KernfsRoot` holds the whole tree.

The tree is what programs find by its paths: the sysfs part is made by `kobject`, `sysfs` and
`device`; a host hangs device nodes into it and shows it to programs, merged with what is really
there. Nodes live from `KernfsNode.add` to `KernfsNode.remove`; a removed one has `is_active` False
for those who still hold it. Changed under the host's lock.

Source: fs/kernfs/dir.c, fs/kernfs/symlink.c
"""

import stat
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

__all__ = ["KernfsNode", "KernfsRoot"]

_numbers = count(1)
_FIRST_INODE = 1 << 30  # so that the numbers differ from those that the real sysfs gives


class KernfsNode:
    """One name of the tree: ``struct kernfs_node``.

    :ivar mode: type (``S_IF*``) and permissions
    :ivar ino: inode number, never used again
    :ivar size: bytes, as stat(2) shows it
    :ivar children: of a directory, by name
    :ivar target: of a link, a node or a text
    :ivar priv: of a file, what serves it; of a device's node, the host's device
    :ivar order: where it stands in listings of its directory: grows with each name that comes
    :ivar next_order: of a directory, what the next name in it gets

    Source: include/linux/kernfs.h
    """

    __slots__ = (
        "__weakref__", "children", "gid", "host", "ino", "is_active", "mode", "name", "next_order",
        "order", "parent", "priv", "root", "size", "target", "uid",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        mode: int,
        *,
        size: int = 0,
        priv: Any = None,
        target: "KernfsNode | str | None" = None,
    ) -> None:
        """Describe a node that is in no tree yet."""
        self.name = name
        self.mode = mode
        self.uid = self.gid = 0
        self.size = size
        self.order = self.next_order = 0
        self.ino = _FIRST_INODE + next(_numbers)
        self.children: dict[str, KernfsNode] = {}
        self.target = target
        self.priv = priv
        self.host: Any = None  # a host's to use
        self.parent: KernfsNode | None = None
        self.root: KernfsRoot | None = None
        self.is_active = False

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def path(self) -> str:
        """The path from the root of the tree, ``/`` for the root itself."""
        names = []
        at: KernfsNode | None = self
        while at is not None and at.parent is not None:
            names.append(at.name)
            at = at.parent
        return "/" + "/".join(reversed(names))

    def link_text(self) -> str:
        """What readlink(2) says of a link: the way from its directory, ``..`` first.

        To a directory above it that is the way through the directory of that, as the kernel has it.

        Source: fs/kernfs/symlink.c (kernfs_get_target_path)
        """
        if not isinstance(self.target, KernfsNode):
            return self.target or ""
        ours = self.path.split("/")[1:-1]
        theirs = self.target.path.split("/")[1:]
        common = 0
        for one, other in zip(ours, theirs[:-1], strict=False):
            if one != other:
                break
            common += 1
        return "/".join([".."] * (len(ours) - common) + theirs[common:])

    def __repr__(self) -> str:
        """Show path and mode."""
        return f"<KernfsNode {self.path} {self.mode:o}>"


class KernfsRoot:
    """A tree of names: ``struct kernfs_root``, for all that programs see from ``/`` on.

    :ivar watchers: called with a node after it came (True) and before it goes (False)
    :ivar is_kept: says of a directory that `prune` leaves it: it exists for real
    :ivar notified: called with the file of an attribute at `sysfs_notify`, in any thread

    Source: fs/kernfs/dir.c
    """

    __slots__ = ("is_kept", "notified", "top", "watchers")

    def __init__(self) -> None:
        """Make a tree without any name."""
        self.top = KernfsNode("", stat.S_IFDIR | 0o755)
        self.top.root = self
        self.top.is_active = True
        self.is_kept: Callable[[KernfsNode], bool] = lambda node: False
        self.notified: list[Callable[[KernfsNode], None]] = []
        self.watchers: list[Callable[[KernfsNode, bool], None]] = []

    def directory(self, path: str, mode: int = 0o755) -> KernfsNode:
        """Give the directory at ``path``, which is made if need be, with those above it."""
        at = self.top
        for name in filter(None, path.split("/")):
            at = at.children.get(name) or self.add(at, KernfsNode(name, stat.S_IFDIR | mode))
        return at

    def find(self, path: str) -> KernfsNode | None:
        """Give the node at ``path``, not following links; None if there is none."""
        at: KernfsNode | None = self.top
        for name in filter(None, path.split("/")):
            at = at.children.get(name) if at is not None else None
        return at

    def add(self, parent: KernfsNode, node: KernfsNode) -> KernfsNode:
        """Put a node into a directory of the tree.

        :raises FileExistsError: EEXIST, the directory has that name
        """
        if node.name in parent.children:
            raise FileExistsError(17, f"{parent.path.rstrip('/')}/{node.name} exists")
        node.parent = parent
        node.root = self
        node.is_active = True
        node.order = parent.next_order
        parent.next_order += 1
        parent.children[node.name] = node
        for watcher in self.watchers:
            watcher(node, True)
        return node

    def remove(self, node: KernfsNode) -> None:
        """Take a node, and all below it, out of the tree; nothing if it is out already."""
        if not node.is_active or node.parent is None:
            return
        for child in list(node.children.values()):
            self.remove(child)
        for watcher in self.watchers:
            watcher(node, False)  # while its path is still known
        del node.parent.children[node.name]
        node.is_active = False
        if node.is_directory:
            node.priv = None  # who is in it still keeps the name only

    def prune(self, node: KernfsNode | None) -> None:
        """Take a node out, and the directories above that were there for it alone."""
        while node is not None and node is not self.top and not node.children:
            above = node.parent
            self.remove(node)
            goes = above is not None and above.priv is None and not self.is_kept(above)
            node = above if goes else None

    def walk(self, node: KernfsNode | None = None) -> Iterator[KernfsNode]:
        """Give a node and all below it; without one, the whole tree."""
        node = node or self.top
        yield node
        for child in list(node.children.values()):
            yield from self.walk(child)
