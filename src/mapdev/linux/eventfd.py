"""eventfd: a driver signals an eventfd of the program, which its program polls or reads.

An `EventfdCtx` is a use of the program's eventfd, from `eventfd_ctx_fdget` to `eventfd_ctx_put`: it
lives on when the program closes its descriptor or ends. One that is forgotten ends with the object.
"""

from typing import Protocol

from mapdev.linux.context import context

__all__ = [
    "EventfdCtx", "eventfd_ctx_do_read", "eventfd_ctx_fdget", "eventfd_ctx_put", "eventfd_signal",
]  # fmt: skip


class EventfdCtx(Protocol):
    """An eventfd of a program: ``struct eventfd_ctx``. The host makes it.

    Source: fs/eventfd.c
    """

    def signal(self, n: int) -> int:
        """Add to its counter, at most up to its end; gives how much was added."""

    def read(self) -> int:
        """Take its counter; 0 if it is 0."""

    def put(self) -> None:
        """Let go of it."""


def eventfd_ctx_fdget(fd: int) -> EventfdCtx:
    """Get the eventfd that the program that made the call has at a descriptor.

    :param fd: the number that it has in the program
    :return: the eventfd, for `eventfd_signal`; to be given to `eventfd_ctx_put`
    :raises OSError: EBADF, there is no such descriptor; EINVAL, it is no eventfd; ESRCH, no call is
        being handled; EPERM, the host may not look at the program's descriptors

    Source: fs/eventfd.c
    """
    return context().user().get_eventfd(fd)


def eventfd_signal(ctx: EventfdCtx, n: int = 1) -> int:
    """Add to the counter of an eventfd, from any thread; whoever polls or reads it is woken.

    :param n: how much; it went away with Linux 6.8
    :return: how much was added: less than `n` if the counter would overflow

    Source: fs/eventfd.c
    """
    return ctx.signal(n)


def eventfd_ctx_do_read(ctx: EventfdCtx) -> int:
    """Take the counter of an eventfd.

    :return: what it was; 0 if nothing was signalled

    Source: fs/eventfd.c
    Fidelity: gives the number, where C stores it by a pointer. An EFD_SEMAPHORE gives 1 at a time.
    """
    return ctx.read()


def eventfd_ctx_put(ctx: EventfdCtx) -> None:
    """Let go of an eventfd. It may be done twice, which is an error in C.

    Source: fs/eventfd.c
    """
    ctx.put()
