"""`Overlay` shows clients a tree of names of ours, merged with the file systems that are there.

The tree is the machine's (`mapdev.linux.kernfs`): nodes of devices, and directories, links and
files of sysfs. A directory of it that exists for real is *merged*: its own names and ours are in
it. One that does not is *ours alone*: `Directories` has descriptors for it. The names are kept in
sets as well, by which the fast path recognises paths that have nothing to do with the tree.

Objects: the overlay lives as long as the host; a `Device` that describes a name is made when it is
first looked at and lives as long as its node. The tree is changed under the host's lock, maybe by
another thread than the host's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from mapdev.driver import Driver
from mapdev.host.core.device import Device
from mapdev.host.embedded.native import NATIVE
from mapdev.linux.kernfs import KernfsNode, KernfsRoot

_NOTHING = Driver()  # what serves a directory or a link


class Overlay:
    """The names that only clients see.

    :param root: the tree.
    :param serve: returns what serves the file of an attribute.
    :ivar nodes: all of the tree, by path; the root itself is ``""``.
    :ivar names: the last names of all that does not exist for real: a path with one of them
        anywhere may lead into the tree. Those of symbolic links to such names as well.
    :ivar links: the last of these.
    :ivar merged: the last names of directories that do: only listing them concerns us.
    :ivar native: both sets for the C extension, None if that is not in use.
    """

    def __init__(self, root: KernfsRoot, serve: Callable[[KernfsNode], Driver]) -> None:
        self.root = root
        self._serve = serve
        self._counts: dict[tuple[bytes, bool], int] = {}
        self._merged_nodes: set[KernfsNode] = set()
        self._others = 0
        self.nodes: dict[str, KernfsNode] = {}
        self.names: set[bytes] = set()
        self.merged: set[bytes] = set()
        self.links: set[bytes] = set()
        self.native = NATIVE.Names() if NATIVE is not None else None
        for node in root.walk():
            self._changed(node, True)
        root.watchers.append(self._changed)
        root.is_kept = self.is_merged

    def _changed(self, node: KernfsNode, is_new: bool) -> None:
        path = node.path if node.parent is not None else ""
        if is_new:
            is_merged = node.is_directory and os.path.isdir(path or "/")
            if is_merged:
                self._merged_nodes.add(node)
            self.nodes[path] = node
        else:
            is_merged = node in self._merged_nodes
            self._merged_nodes.discard(node)
            del self.nodes[path]
        if not is_merged and not stat.S_ISCHR(node.mode):
            self._others += 1 if is_new else -1
        # What is in a set is counted: several nodes have the same last name.
        name = os.fsencode(node.name)
        key = name, is_merged
        self._counts[key] = self._counts.get(key, 0) + (1 if is_new else -1)
        names = self.merged if is_merged else self.names
        if is_new:
            names.add(name)
            if self.native is not None:
                self.native.add(name, is_merged, self._is_twice(node, path, is_merged))
        elif not self._counts[key]:
            del self._counts[key]
            names.discard(name)
            if self.native is not None:
                self.native.discard(name, is_merged)

    def note_link(self, name: bytes) -> None:
        """Know the last name of a symbolic link, outside of the tree, that leads into it."""
        if name not in self.links:
            self.links.add(name)
            self.names.add(name)
            self._counts[name, False] = self._counts.get((name, False), 0) + 1
            if self.native is not None:
                self.native.add(name, False, False)

    def _is_twice(self, node: KernfsNode, path: str, is_merged: bool) -> bool:
        """Say whether a name of ours hides one that exists: a link may lead to either."""
        above = node.parent
        return not is_merged and above in self._merged_nodes and os.path.lexists(path)

    @property
    def has_tree(self) -> bool:
        """Whether there is more than nodes in directories that exist for real."""
        return self._others > 0

    def is_merged(self, node: KernfsNode) -> bool:
        """Say whether a directory of the tree exists for real."""
        return node in self._merged_nodes

    def device(self, node: KernfsNode) -> Device:
        """Return what describes a node: the device, or what stat shows of another name."""
        if isinstance(node.priv, Device):
            return node.priv
        if node.host is None:
            is_file = not (node.is_directory or node.is_link)
            node.host = Device.of_name(node, self._serve(node) if is_file else _NOTHING)
        device: Device = node.host
        return device

    def children(self, node: KernfsNode) -> list[KernfsNode]:
        """Return what a listing of a directory has of ours, in the order of its positions."""
        return sorted(
            (child for child in list(node.children.values()) if child not in self._merged_nodes),
            key=lambda child: child.order,
        )
