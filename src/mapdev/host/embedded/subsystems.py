"""`Subsystems` names the parts of the host that handlers of system calls work on.

Each is made, and handed what it needs, by `EmbeddedHost`. Handlers get them all, as the code of
the kernel can reach all of its subsystems; they are used in the host's thread only, under its lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mapdev.host.core.operations import Operations
from mapdev.host.core.uevent_socket import UeventSockets
from mapdev.host.embedded.files.descriptors import FdAllocator
from mapdev.host.embedded.files.directories import Directories
from mapdev.host.embedded.files.locks import Locks
from mapdev.host.embedded.files.open_files import OpenFiles
from mapdev.host.embedded.files.paths import Paths
from mapdev.host.embedded.files.shadows import Shadows
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.mm.address_spaces import AddressSpaces
from mapdev.host.embedded.mm.mappings import Mappings
from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.signals import SignalWatch
from mapdev.host.embedded.syscalls.filter import Descriptors

if TYPE_CHECKING:
    from mapdev._native import Gate


class Subsystems(NamedTuple):
    """The parts of the host that a handler may need.

    :ivar machine: physical memory, and the memory of clients.
    :ivar operations: calls drivers.
    :ivar files: open files of devices.
    :ivar paths: finds the device that a path means.
    :ivar directories: directories that have names of ours in them.
    :ivar shadows: what inotify looks at in place of names of ours.
    :ivar locks: of all nodes.
    :ivar descriptors: the numbers that devices have in clients.
    :ivar fd_allocator: chooses among them.
    :ivar window: where devices are mapped.
    :ivar mappings: of devices, in all clients.
    :ivar spaces: the address spaces that have some.
    :ivar uevents: the sockets for uevents of all clients.
    :ivar injector: makes system calls in clients.
    :ivar signals: looks for signals for calls that wait.
    :ivar messages: what the user is told of clients.
    :ivar gate: passes on calls in clients, if it is in use.
    """

    machine: EmbeddedMachine
    operations: Operations
    files: OpenFiles
    paths: Paths
    directories: Directories
    shadows: Shadows
    locks: Locks
    descriptors: Descriptors
    fd_allocator: FdAllocator
    window: Window
    mappings: Mappings
    spaces: AddressSpaces
    uevents: UeventSockets
    injector: Injector
    signals: SignalWatch
    messages: Messages
    gate: Gate | None
