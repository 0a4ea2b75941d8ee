"""`V4l2Fh`: an open file of a V4L2 node, with its priority, its events and maybe its controls.

Source: drivers/media/v4l2-core/v4l2-fh.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mapdev.linux import File, WaitQueueHead
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dev import VideoDevice, video_devdata
from mapdev.subsystems.v4l2.event import SubscribedEvent, v4l2_event_unsubscribe_all
from mapdev.subsystems.v4l2.prio import v4l2_prio_close, v4l2_prio_open

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.ctrl import V4l2CtrlHandler
    from mapdev.subsystems.v4l2.mem2mem import V4l2M2mCtx
    from mapdev.subsystems.v4l2.structures import V4l2Event

__all__ = [
    "V4l2Fh", "v4l2_fh_add", "v4l2_fh_del", "v4l2_fh_exit", "v4l2_fh_init", "v4l2_fh_is_singular",
    "v4l2_fh_open", "v4l2_fh_release",
]  # fmt: skip


class V4l2Fh:
    """An open file: ``struct v4l2_fh``, which a driver keeps in ``file.private_data``.

    :ivar ctrl_handler: the controls of this file, those of the node unless set.
    :ivar m2m_ctx: the queues of this file, for a memory-to-memory device.
    :ivar available: events that were not fetched yet, the oldest first.
    :ivar wait: is woken when an event comes.

    Source: include/media/v4l2-fh.h
    """

    vdev: VideoDevice

    def __init__(self) -> None:
        """Make one; `v4l2_fh_init` says of which node."""
        self.prio = c.V4L2_PRIORITY_UNSET
        self.ctrl_handler: V4l2CtrlHandler | None = None
        self.m2m_ctx: V4l2M2mCtx | None = None
        self.private: Any = None  # the driver's
        self.wait = WaitQueueHead()
        self.subscribed: list[SubscribedEvent] = []
        self.available: list[tuple[SubscribedEvent, V4l2Event]] = []
        self.sequence = -1


def v4l2_fh_init(fh: V4l2Fh, vdev: VideoDevice) -> None:
    """Prepare an open file of a node.

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    fh.vdev = vdev
    fh.ctrl_handler = vdev.ctrl_handler
    vdev.uses_fh = True


def v4l2_fh_add(fh: V4l2Fh) -> None:
    """Count an open file: it has a priority and gets events from now on.

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    fh.prio = v4l2_prio_open(fh.vdev.prio)
    with fh.vdev.fh_lock:
        fh.vdev.fh_list.append(fh)


def v4l2_fh_open(file: File) -> int:
    """Make an open file what the core needs; for use as a node's open operation.

    :return: 0

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    fh = V4l2Fh()
    file.private_data = fh
    v4l2_fh_init(fh, video_devdata(file))
    v4l2_fh_add(fh)
    return 0


def v4l2_fh_del(fh: V4l2Fh) -> None:
    """Stop counting an open file.

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    with fh.vdev.fh_lock:
        if fh in fh.vdev.fh_list:
            fh.vdev.fh_list.remove(fh)
    v4l2_prio_close(fh.vdev.prio, fh.prio)


def v4l2_fh_exit(fh: V4l2Fh) -> None:
    """Forget the events of an open file.

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    v4l2_event_unsubscribe_all(fh)


def v4l2_fh_release(file: File) -> int:
    """Undo `v4l2_fh_open`; for use as a node's release operation.

    :return: 0

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    fh: V4l2Fh | None = file.private_data
    if fh is not None:
        v4l2_fh_del(fh)
        v4l2_fh_exit(fh)
        file.private_data = None
    return 0


def v4l2_fh_is_singular(fh: V4l2Fh) -> bool:
    """Say whether a file is the only open one of its node.

    Source: drivers/media/v4l2-core/v4l2-fh.c
    """
    with fh.vdev.fh_lock:
        return fh.vdev.fh_list == [fh]
