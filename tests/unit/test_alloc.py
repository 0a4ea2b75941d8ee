"""mapdev.alloc: kernel memory without a driver, here of a machine in user space."""

from __future__ import annotations

import pytest

import mapdev
from mapdev.buffer import KernelBuffer
from mapdev.linux import PAGE_SIZE, page_count


@pytest.mark.parametrize("contiguous", [True, False])
def test_a_buffer(contiguous: bool) -> None:
    with mapdev.alloc("64K", contiguous=contiguous, kind="embedded") as buffer:
        assert len(buffer) == buffer.size == 65536 and len(buffer.pages) == 16
        assert bytes(buffer.memory) == bytes(65536)
        buffer.memory[5:10] = b"hello"
        assert buffer.phys_addr == buffer.pages[0].pfn * PAGE_SIZE
        if contiguous:
            assert [page.pfn - buffer.pages[0].pfn for page in buffer.pages] == list(range(16))
        assert page_count(buffer.pages[0]) == 1
        assert "65536" in repr(buffer)
    assert "closed" in repr(buffer)
    with pytest.raises(ValueError, match="closed"):
        _ = buffer.memory
    buffer.close()


def test_it_is_not_closed_while_there_are_views() -> None:
    buffer = mapdev.alloc(100, kind="embedded")
    view = buffer.memory[10:20]
    with pytest.raises(BufferError, match="views"):
        buffer.close()
    view[:] = b"0123456789"
    assert bytes(buffer.memory[10:20]) == b"0123456789"
    del view
    buffer.close()


def test_numpy_shares_it() -> None:
    numpy = pytest.importorskip("numpy")
    buffer = mapdev.alloc(PAGE_SIZE, kind="embedded")
    array = numpy.asarray(buffer)
    array[3] = 7
    assert buffer.memory[3] == 7
    assert numpy.asarray(buffer, dtype=numpy.uint16).dtype == numpy.uint16
    with pytest.raises(BufferError):
        buffer.close()
    del array
    buffer.close()


def test_inside_a_host_it_is_that_host_s() -> None:
    with mapdev.host(memory="16M") as host:
        with mapdev.alloc("1M") as buffer:
            assert host.machine.frame(buffer.pages[0].pfn).nr_pages == 256
        leaked = mapdev.alloc(PAGE_SIZE)
        assert isinstance(leaked, KernelBuffer)
        leaked.close()
    assert host.leaks == []


def test_what_can_not_be() -> None:
    with pytest.raises(ValueError, match="cache is one of"):
        mapdev.alloc(1, cache="warm")
    with pytest.raises(ValueError, match="kind is"):
        mapdev.alloc(1, kind="other")
    with mapdev.host(memory="16M"), pytest.raises(OSError, match="free"):
        mapdev.alloc("1G")
