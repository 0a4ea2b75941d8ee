"""Events of V4L2: what a file has subscribed to, and what it has not fetched yet.

A subscription keeps so many events; when it is full the oldest makes room, and may hand on to the
next what it said (``merge``, ``replace``). Events come from any thread: the lists are changed under
the node's ``fh_lock``.

Source: drivers/media/v4l2-core/v4l2-event.c
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapdev.linux import wait_event_interruptible, wake_up_all
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.structures import V4l2Event, V4l2EventSubscription

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.dev import VideoDevice
    from mapdev.subsystems.v4l2.fh import V4l2Fh

__all__ = [
    "SubscribedEvent", "V4l2SubscribedEventOps", "v4l2_event_dequeue", "v4l2_event_pending",
    "v4l2_event_queue", "v4l2_event_queue_fh", "v4l2_event_subscribe", "v4l2_event_unsubscribe",
    "v4l2_event_unsubscribe_all", "v4l2_src_change_event_subscribe",
]  # fmt: skip


class V4l2SubscribedEventOps:
    """What a kind of events does besides: ``struct v4l2_subscribed_event_ops``.

    ``add(sev, elems)``, ``del_(sev)``, ``replace(old, new)``: of a subscription for one event,
    whose old one changes to what is kept; ``merge(old, new)``: the old one is lost.

    Source: include/media/v4l2-event.h
    """

    def __init__(
        self,
        *,
        add: Callable[[SubscribedEvent, int], object] | None = None,
        del_: Callable[[SubscribedEvent], object] | None = None,
        replace: Callable[[Any, Any], object] | None = None,
        merge: Callable[[Any, Any], object] | None = None,
    ) -> None:
        """Take the functions by name."""
        self.add = add
        self.del_ = del_
        self.replace = replace
        self.merge = merge


class SubscribedEvent:
    """What a file has subscribed to: ``struct v4l2_subscribed_event``.

    Source: include/media/v4l2-event.h
    """

    __slots__ = ("elems", "fh", "flags", "id", "ops", "type")

    def __init__(
        self, fh: V4l2Fh, sub: V4l2EventSubscription, elems: int, ops: V4l2SubscribedEventOps | None
    ) -> None:
        """Keep `elems` events of one kind for a file."""
        self.fh = fh
        self.type: int = sub.type
        self.id: int = sub.id
        self.flags: int = sub.flags
        self.elems = elems
        self.ops = ops


def _find(fh: V4l2Fh, type_: int, id_: int) -> SubscribedEvent | None:
    for sev in fh.subscribed:
        if sev.type == type_ and sev.id == id_:
            return sev
    return None


def _queue(fh: V4l2Fh, event: V4l2Event, now: int) -> None:
    sev = _find(fh, event.type, event.id)
    if sev is None:
        return
    fh.sequence = fh.sequence + 1 & 0xFFFFFFFF
    kept = [entry for entry in fh.available if entry[0] is sev]
    new = V4l2Event()
    new.assign(event)
    if len(kept) == sev.elems:
        oldest = kept[0]
        fh.available.remove(oldest)
        if sev.elems == 1:
            if sev.ops is not None and sev.ops.replace is not None:
                sev.ops.replace(oldest[1], event)
                new.assign(oldest[1])
        elif sev.ops is not None and sev.ops.merge is not None:
            sev.ops.merge(oldest[1], kept[1][1])
    new.timestamp.tv_sec, new.timestamp.tv_nsec = divmod(now, 1_000_000_000)
    new.sequence = fh.sequence
    fh.available.append((sev, new))
    wake_up_all(fh.wait)


def v4l2_event_queue(vdev: VideoDevice, event: V4l2Event) -> None:
    """Send an event to all files of a node that have subscribed to it; from any thread.

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    now = time.monotonic_ns()
    with vdev.fh_lock:
        for fh in vdev.fh_list:
            _queue(fh, event, now)


def v4l2_event_queue_fh(fh: V4l2Fh, event: V4l2Event) -> None:
    """Send an event to one file, if it has subscribed to it; from any thread.

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    now = time.monotonic_ns()
    with fh.vdev.fh_lock:
        _queue(fh, event, now)


def v4l2_event_pending(fh: V4l2Fh) -> int:
    """Give how many events a file can fetch.

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    return len(fh.available)


def v4l2_event_dequeue(fh: V4l2Fh, event: V4l2Event, nonblocking: bool) -> None:
    """Fetch the oldest event of a file; wait for one unless told not to.

    :raises OSError: ENOENT, there is none
    :raises BlockingIOError: it has to wait; see `wait_event_interruptible`

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    if not nonblocking:
        wait_event_interruptible(fh.wait, lambda: fh.available)
    with fh.vdev.fh_lock:
        if not fh.available:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        _, oldest = fh.available.pop(0)
        oldest.pending = len(fh.available)
    event.assign(oldest)


def v4l2_event_subscribe(
    fh: V4l2Fh, sub: V4l2EventSubscription, elems: int = 0,
    ops: V4l2SubscribedEventOps | None = None,
) -> int:  # fmt: skip
    """Subscribe a file to a kind of events; once more does nothing.

    :param elems: how many events are kept, at least 1
    :return: 0
    :raises OSError: EINVAL, it asks for all events

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    if sub.type == c.V4L2_EVENT_ALL:
        raise OSError(errno.EINVAL, "no subscription to all events")
    with fh.vdev.fh_lock:
        if _find(fh, sub.type, sub.id) is not None:
            return 0
        sev = SubscribedEvent(fh, sub, max(1, elems), ops)
        # Before `add`, which may send the first event of the new subscription.
        fh.subscribed.insert(0, sev)
    if ops is not None and ops.add is not None:
        try:
            ops.add(sev, sev.elems)
        except OSError:
            with fh.vdev.fh_lock:
                fh.subscribed.remove(sev)
            raise
    return 0


def v4l2_event_unsubscribe_all(fh: V4l2Fh) -> None:
    """End all subscriptions of a file.

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    while fh.subscribed:
        sev = fh.subscribed[0]
        v4l2_event_unsubscribe(fh, V4l2EventSubscription(type=sev.type, id=sev.id))


def v4l2_event_unsubscribe(fh: V4l2Fh, sub: V4l2EventSubscription) -> int:
    """End a subscription; what was not fetched is gone. None to end is no error.

    :return: 0

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    if sub.type == c.V4L2_EVENT_ALL:
        v4l2_event_unsubscribe_all(fh)
        return 0
    with fh.vdev.fh_lock:
        sev = _find(fh, sub.type, sub.id)
        if sev is None:
            return 0
        fh.available = [entry for entry in fh.available if entry[0] is not sev]
        fh.subscribed.remove(sev)
    if sev.ops is not None and sev.ops.del_ is not None:
        sev.ops.del_(sev)
    return 0


def _src_replace(old: Any, new: Any) -> None:
    changes = old.u.src_change.changes
    ctypes.memmove(ctypes.byref(old.u), ctypes.byref(new.u), ctypes.sizeof(old.u))
    old.u.src_change.changes |= changes


def _src_merge(old: Any, new: Any) -> None:
    new.u.src_change.changes |= old.u.src_change.changes


_SRC_CHANGE = V4l2SubscribedEventOps(replace=_src_replace, merge=_src_merge)


def v4l2_src_change_event_subscribe(fh: V4l2Fh, sub: V4l2EventSubscription) -> int:
    """Subscribe a file to changes of the source, and to nothing else.

    :return: 0
    :raises OSError: EINVAL, it asks for other events

    Source: drivers/media/v4l2-core/v4l2-event.c
    """
    if sub.type != c.V4L2_EVENT_SOURCE_CHANGE:
        raise OSError(errno.EINVAL, f"no events of type {sub.type}")
    return v4l2_event_subscribe(fh, sub, 0, _SRC_CHANGE)
