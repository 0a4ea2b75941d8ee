"""`Control` is a session with the module: the control device, its ioctls and the shared memory.

One ioctl (`Control.fetch`) delivers the reply to one request and waits for the next; both lie in
one buffer that is never allocated anew. Replies are noted by `answer` and go out with the next
`fetch`, or sooner if another one is noted.

Used by one thread at a time, but for `kick`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import struct
import time
from typing import Any

from mapdev.host.kernel import request as at
from mapdev.host.kernel import uapi
from mapdev.host.kernel.request import Got
from mapdev.linux.log import log

DEVICE = "/dev/mapdev"

_HOW = struct.Struct("<IiQ")  # how to fetch: the head of struct mapdev_next
_WAIT = (0, -1, 0)  # for any request, as long as it takes
_REQUEST = struct.Struct("<QIIIIIIQQ4Q6QII")
_REQUEST_AT = uapi.Next.request.offset
_REQUEST_DATA_AT = _REQUEST_AT + uapi.Request.data.offset
_REPLY = struct.Struct(f"<QIIqQQIIiI{uapi.INLINE}s")
_REPLY_AT = uapi.Next.reply.offset
_ERROR = struct.Struct("<i")
_ERROR_AT = _REPLY_AT + uapi.Reply.error.offset
_TRIES = 5000  # a millisecond each
_WHY = {
    errno.ENOENT: "the kernel module is not loaded: sudo mapdev module load",
    errno.ENXIO: "the kernel module is not loaded: sudo mapdev module load",
    errno.EACCES: f"you may not use {DEVICE}: run as root, or load the module with group=GID",
    errno.EPERM: f"you may not use {DEVICE}: run as root, or load the module with group=GID",
}


class Control:
    """A session with the module; owns the control device.

    :param timeout_ms: what a client waits for an answer to a call that was fetched; 0 for the
        module's default.
    :ivar noted: whether a reply waits to go out.
    :ivar slot_size: bytes of a payload's slot.
    :raises OSError: the module is not there, is another version's, or may not be used.
    """

    def __init__(self, timeout_ms: int = 0) -> None:
        try:
            self.fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            why = _WHY.get(error.errno or 0, f"{DEVICE}: {error.strerror}")
            raise OSError(error.errno, why) from None
        try:
            self._begin(timeout_ms)
        except BaseException:
            os.close(self.fd)
            raise

    def _begin(self, timeout_ms: int) -> None:
        wanted = uapi.FEATURE_CONTIG | uapi.FEATURE_PHYS | uapi.FEATURE_SHOW | uapi.FEATURE_MODEL
        init = uapi.Init(size=ctypes.sizeof(uapi.Init), abi=uapi.ABI, features=wanted,
                         timeout_ms=timeout_ms)  # fmt: skip
        try:
            self.ioctl(uapi.IOC_INIT, init)
        except OSError as error:
            if init.abi >> 16 != uapi.ABI >> 16:
                raise OSError(
                    errno.EPROTO,
                    f"the module that is loaded speaks version {init.abi >> 16}, this mapdev "
                    f"{uapi.ABI >> 16}: mapdev module unload, mapdev module load",
                ) from None
            raise OSError(error.errno, f"{DEVICE}: no session: {error.strerror}") from None
        if not init.features & uapi.FEATURE_MODEL:
            raise OSError(errno.EPROTO, "the module that is loaded is older than this mapdev: "
                          "mapdev module unload, mapdev module load")  # fmt: skip
        self.features: int = init.features
        self.slot_size: int = init.slot_size
        self._payload = mmap.mmap(self.fd, init.payload_size, offset=init.payload_offset)
        self._memory = memoryview(self._payload)
        self._first_reply: int = init.nr_slots
        self._command_slot: int = init.nr_slots + init.nr_reply_slots
        busy = (self._command_slot + 1) * init.slot_size
        self._busy = self._memory[busy : busy + 4 * init.nr_reply_slots].cast("I")
        self._next = bytearray(ctypes.sizeof(uapi.Next))
        _HOW.pack_into(self._next, 0, *_WAIT)
        self.noted = False

    def ioctl(self, command: int, argument: Any = 0) -> int:
        """Do what ioctl(2) does.

        :raises OSError: it failed.
        """
        result: int = uapi.ioctl(self.fd, command, argument)
        return result

    # --- the loop ---------------------------------------------------------------------------

    def fetch(self, flags: int = 0, only: int = 0) -> Got | None:
        """Send the reply that was noted and return the next request.

        :param flags: ``uapi.NEXT_*``.
        :param only: with NEXT_URGENT: the request whose RESULT is awaited.
        :return: None when there is none: it was kicked, or need not wait.
        """
        _HOW.pack_into(self._next, 0, flags, -1, only)
        self.noted = False
        try:
            while True:
                with contextlib.suppress(InterruptedError):
                    self.ioctl(uapi.IOC_NEXT, self._next)
                    break
        finally:
            _HOW.pack_into(self._next, 0, *_WAIT)
        return self._fetched()

    def next_request(self) -> Got | None:
        """Send the reply that was noted and wait for the next request: `fetch`, in fewer steps."""
        self.noted = False
        try:
            uapi.ioctl(self.fd, uapi.IOC_NEXT, self._next)
        except InterruptedError:
            return None
        return self._fetched()

    def _fetched(self) -> Got | None:
        """Return what came with the last fetch."""
        if self._next[_ERROR_AT]:
            (error,) = _ERROR.unpack_from(self._next, _ERROR_AT)
            if error == errno.EINVAL:
                log.error("the module refused a reply; the client gets EIO")
        got = _REQUEST.unpack_from(self._next, _REQUEST_AT)
        return None if got[at.OP] == uapi.NONE else got

    def send(self) -> None:
        """Send the reply that was noted, if there is one."""
        if self.noted:
            self.fetch(uapi.NEXT_REPLY)

    def answer(
        self, request: int, result: int, data: Any = b"", flags: int = 0, addr: int = 0,
        pos: int = 0, mask: int = 0,
    ) -> bool:  # fmt: skip
        """Note what a call comes to.

        :param data: bytes-like, without a format; its payload.
        :param mask: with ``uapi.REPLY_SHOW``: what poll says of the call's file from now on.
        :return: False if there is no room for it now; nothing is noted then.
        """
        if self.noted:
            self.send()
        length, slot = len(data), uapi.NO_SLOT
        if length > uapi.INLINE:
            slot = self._free_slot(length)
            if slot == uapi.NO_SLOT:
                return False
            at = slot * self.slot_size
            self._memory[at : at + length] = data
            data = b""
        elif type(data) is not bytes:
            data = bytes(data)
        _REPLY.pack_into(self._next, _REPLY_AT, request, uapi.REPLY_DONE, flags, result, addr, pos,
                         length, slot, 0, mask, data)  # fmt: skip
        self.noted = True
        return True

    def answer_in_time(self, request: int, result: int, data: Any) -> None:
        """Note what a call comes to that has no other way for its payload: wait for a slot.

        Clients hold one no longer than they copy, so that there is one soon.
        """
        for _ in range(_TRIES):
            if self.answer(request, result, data):
                return
            time.sleep(0.001)
        self.answer(request, -errno.EIO)

    def keep_waiting(self, request: int) -> None:
        """Note that a call waits, so that the module reports signals for its client."""
        self._note(request, uapi.REPLY_WAIT, 0, 0, uapi.NO_SLOT)

    def command(self, request: int, kind: int, addr: int, length: int, data: Any = b"") -> None:
        """Note something for the client to do; see `uapi.COPY_FROM` and its neighbours."""
        self._note(request, kind, addr, length, self._command_slot)
        if len(data):
            at = self._command_slot * self.slot_size
            self._memory[at : at + len(data)] = data

    def _note(self, request: int, kind: int, addr: int, length: int, slot: int) -> None:
        if self.noted:
            self.send()
        _REPLY.pack_into(self._next, _REPLY_AT, request, kind, 0, 0, addr, 0, length, slot, 0, 0,
                         b"")  # fmt: skip
        self.noted = True

    def _free_slot(self, length: int) -> int:
        if length <= self.slot_size:
            if not self._busy[0]:
                return self._first_reply
            for number, busy in enumerate(self._busy):
                if not busy:
                    return self._first_reply + number
        return uapi.NO_SLOT

    def payload(self, slot: int, length: int) -> bytes:
        """Return a copy of a request's payload, before the next is fetched."""
        if slot == uapi.NO_SLOT:
            return bytes(self._next[_REQUEST_DATA_AT : _REQUEST_DATA_AT + length])
        at = slot * self.slot_size
        return self._memory[at : at + length].tobytes()

    def is_waited_for(self, request: int) -> bool:
        """Say whether the client of a call still waits."""
        try:
            self.ioctl(uapi.IOC_ALIVE, uapi.Alive(id=request))
        except FileNotFoundError:
            return False
        return True

    def kick(self) -> None:
        """Have `fetch` return; from any thread."""
        self.ioctl(uapi.IOC_KICK)

    def close(self) -> None:
        """End the session: devices that are left fail from now on."""
        self._busy.release()
        self._memory.release()
        self._payload.close()
        os.close(self.fd)
