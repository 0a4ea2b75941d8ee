"""The table of system calls is complete and agrees with handlers, processors and headers."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from kernel_headers import numbers_of

from mapdev.host.embedded import calls
from mapdev.host.embedded.arch import ARCH, NUMBER_OF, SUPPORTED
from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.syscalls import quick
from mapdev.host.embedded.syscalls.filter import Descriptors, build
from mapdev.host.embedded.syscalls.table import BY_NUMBER, NO_FLAGS, SYSCALLS, Syscall

ARCHES = {name: importlib.import_module(f"mapdev.host.embedded.arch.{name}") for name in SUPPORTED}
FAMILIES = sorted({call.family for call in SYSCALLS})
# Those that the host makes itself, in a client or for its own purposes.
OURS = {"close", "close_range", "exit_group", "fchdir", "kcmp", "seccomp", "userfaultfd"}
each_call = pytest.mark.parametrize("call", SYSCALLS, ids=lambda call: call.name)


def _handlers(family: str) -> dict[str, object]:
    module = importlib.import_module(f"{calls.__name__}.{family}")
    handlers: dict[str, object] = module.HANDLERS
    return handlers


def test_each_call_is_there_once() -> None:
    names = [call.name for call in SYSCALLS]
    assert len(names) == len(set(names))


GATE = range(0x1E0000, 0x1E1000)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_call_of_a_family_has_a_handler_and_each_handler_a_call(family: str) -> None:
    assert set(_handlers(family)) == {call.name for call in SYSCALLS if call.family == family}


def test_no_family_is_missing() -> None:
    with_handlers = {
        found.name for found in pkgutil.iter_modules(calls.__path__)
        if hasattr(importlib.import_module(f"{calls.__name__}.{found.name}"), "HANDLERS")
    }  # fmt: skip
    assert with_handlers == set(FAMILIES)


def test_each_number_has_a_handler() -> None:
    assert set(calls.HANDLERS) == set(BY_NUMBER)


@each_call
def test_each_call_exists_on_some_processor(call: Syscall) -> None:
    assert any(call.name in arch.SYSCALLS for arch in ARCHES.values())


def test_each_number_of_a_processor_is_needed() -> None:
    names = {call.name for call in SYSCALLS} | OURS
    for arch in ARCHES.values():
        assert set(arch.SYSCALLS) <= names


@pytest.mark.parametrize("name", SUPPORTED)
def test_numbers_are_those_of_the_headers(name: str) -> None:
    known = numbers_of(name)
    newest = max(known.values())  # headers may be older than a call
    assert known["read"] == ARCHES[name].SYSCALLS["read"]
    for call, number in ARCHES[name].SYSCALLS.items():
        assert number > newest or known.get(call) == number, call


@each_call
def test_arguments(call: Syscall) -> None:
    named = [*call.fds, *(index for pair in call.paths for index in pair if index is not None)]
    named += call.addresses
    named += [call.flags] if call.flags != NO_FLAGS else []
    assert all(0 <= index < 6 for index in named)
    assert len(set(named)) == len(named)
    assert not (call.fds and call.paths)


@each_call
def test_flags_are_read_where_they_are_needed(call: Syscall) -> None:
    bits = call.nofollow | call.empty | call.areas
    if bits:
        assert call.flags != NO_FLAGS
    if call.empty:
        assert all(directory is not None for directory, _ in call.paths)
    if call.nofollow:
        assert call.follows


@each_call
def test_the_filter_can_decide(call: Syscall) -> None:
    needed = {"descriptor": 1, "high descriptor": 1, "two descriptors": 2}
    assert len(call.fds) == needed.get(call.when, len(call.fds))
    assert bool(call.paths) == (call.when in ("path", "path or descriptor"))
    assert (call.when == "path or descriptor") <= bool(call.empty)
    assert (call.when == "area") == (call.family == "area")
    assert (call.when == "address") == bool(call.addresses)


@each_call
def test_what_links_mean(call: Syscall) -> None:
    args = [0] * 6
    assert call.follows_link(args) == call.follows
    assert not call.takes_empty_path(args)
    if call.flags != NO_FLAGS:
        args[call.flags] = call.nofollow | call.empty
        assert call.follows_link(args) == (call.follows and not call.nofollow)
        assert call.takes_empty_path(args) == bool(call.empty)


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_filter_compares_each_number(name: str) -> None:
    arch = ARCHES[name]
    program = build(arch, Descriptors.below(1024), Window(1 << 44, 5 << 44, 1 << 47), 1, True, GATE)
    equal_jumps = {
        int.from_bytes(program[at + 4 : at + 8], "little")
        for at in range(0, len(program), 8) if program[at] == 0x15
    }  # fmt: skip
    for call in SYSCALLS:
        if call.name in arch.SYSCALLS:
            assert arch.SYSCALLS[call.name] in equal_jumps


@pytest.mark.parametrize("name", SUPPORTED)
def test_no_jump_of_the_filter_is_too_far(name: str) -> None:
    """The jumps of a comparison have 8 bits; packing more would fail: all fit, with some to spare."""
    program = build(
        ARCHES[name], Descriptors.below(1024), Window(1 << 44, 5 << 44, 1 << 47), 1, True, GATE
    )
    jumps = [program[at + 2 : at + 4] for at in range(0, len(program), 8) if program[at] != 0x05]
    assert max(max(pair) for pair in jumps) < 200


def test_the_fast_path_leaves_alone_what_it_must() -> None:
    """Calls whose handlers do something for other files too, and those on two files."""
    for name in ("execve", "mremap", "chroot", "pidfd_getfd", "sendfile", "renameat", "munmap"):
        assert NUMBER_OF[name] not in quick._CHECKS
    for name in ("openat", "newfstatat", "unlinkat", "read", "mmap", "clone"):
        assert NUMBER_OF[name] in quick._CHECKS
    assert NUMBER_OF == ARCH.SYSCALLS
