"""What the mapping functions note in an area, against a model that is a dictionary of pages."""

from __future__ import annotations

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import (
    GFP_COMP,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_READ,
    PROT_WRITE,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    VmAreaStruct,
    pfn_to_page,
    remap_pfn_range,
    vm_insert_page,
    vm_insert_pages,
)
from mapdev.linux.context import Context, enter, reset

PAGES = 24
START = 0x7F12_3456_0000 & ~(PAGE_SIZE - 1)
FRAMES = 32  # allocated in a row to this device; before and after them nothing is
RW = PROT_READ | PROT_WRITE
pages = st.integers(-2, PAGES + 2)
frames = st.integers(-3, FRAMES + 2)


class Mapping(RuleBasedStateMachine):
    """Maps pages at random; ``model`` says what each page of the area should show."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = PhysicalMemory(1 << 20)
        self.first = self.memory.alloc_pages(5, GFP_COMP, "device")
        self.token = enter(Context(self.memory, "device"))  # type: ignore[arg-type]
        self.model: dict[int, tuple[int, str, int]] = {}

    @initialize(private=st.booleans())
    def area(self, private: bool) -> None:
        flags = VM_READ | VM_WRITE | VM_MAYWRITE | (0 if private else VM_SHARED)
        self.private = private
        self.vma = VmAreaStruct(START, START + PAGES * PAGE_SIZE, 0, flags)

    def at(self, page: int) -> int:
        return START + page * PAGE_SIZE

    def owned(self, frame: int, count: int) -> bool:
        return frame >= 0 and frame + count <= FRAMES

    @rule(
        page=pages,
        frame=frames,
        size=st.one_of(st.integers(-1, 6 * PAGE_SIZE), st.just(PAGES * PAGE_SIZE)),
        offset=st.sampled_from([0, 0, 0, 1]),
        prot=st.sampled_from([RW, PROT_READ]),
    )
    def remap(self, page: int, frame: int, size: int, offset: int, prot: int) -> None:
        count = -(-size // PAGE_SIZE)
        expected = 0
        if (
            offset
            or size <= 0
            or page < 0
            or page + count > PAGES
            or (self.private and count != PAGES)
            or any(number in self.model for number in range(page, page + count))
        ):
            expected = errno.EINVAL
        elif not self.owned(frame, count):
            expected = errno.EPERM
        try:
            remap_pfn_range(self.vma, self.at(page) + offset, self.first + frame, size, prot)
        except OSError as error:
            assert error.errno == expected
            return
        assert not expected
        for number in range(count):
            self.model[page + number] = (self.first + frame + number, "pfn", prot)

    def insert_error(self, page: int, frame: int) -> int:
        if not self.owned(frame, 1) or self.vma.vm_flags & VM_PFNMAP:
            return errno.EINVAL
        return errno.EBUSY if page in self.model else 0

    @rule(page=pages, frame=frames)
    def insert(self, page: int, frame: int) -> None:
        expected = self.insert_error(page, frame) if 0 <= page < PAGES else errno.EFAULT
        try:
            vm_insert_page(self.vma, self.at(page), pfn_to_page(self.first + frame))
        except OSError as error:
            assert error.errno == expected
            return
        assert not expected
        self.model[page] = (self.first + frame, "page", RW)

    @rule(page=pages, frame=frames, count=st.integers(0, 6))
    def insert_several(self, page: int, frame: int, count: int) -> None:
        inside = page >= 0 and page + count <= PAGES
        done = 0
        expected = 0 if inside else errno.EFAULT
        while inside and done < count and not expected:
            expected = self.insert_error(page + done, frame + done)
            if not expected:
                self.model[page + done] = (self.first + frame + done, "page", RW)
                done += 1
        numbers = range(self.first + frame, self.first + frame + count)
        try:
            vm_insert_pages(self.vma, self.at(page), [pfn_to_page(pfn) for pfn in numbers])
        except OSError as error:
            assert error.errno == expected
            return
        assert not expected

    @invariant()
    def runs_are_the_model(self) -> None:
        shown: dict[int, tuple[int, str, int]] = {}
        for run in self.vma.mapped:
            assert run.nr_pages > 0
            page = run.addr - START >> PAGE_SHIFT
            for number in range(run.nr_pages):
                assert page + number not in shown
                shown[page + number] = (run.pfn + number, run.kind, run.prot)
        assert shown == self.model

    @invariant()
    def neighbours_are_joined(self) -> None:
        for one, other in zip(self.vma.mapped, self.vma.mapped[1:], strict=False):
            assert (other.addr, other.pfn, other.kind, other.prot) != (
                one.end,
                one.pfn + one.nr_pages,
                one.kind,
                one.prot,
            )

    @invariant()
    def is_mapped_knows(self) -> None:
        for page in range(PAGES):
            found = self.vma.is_mapped(self.at(page), self.at(page + 1))
            assert found == (page in self.model)
        assert self.vma.is_mapped(START, self.vma.vm_end) == bool(self.model)

    @invariant()
    def flags_say_what_it_is(self) -> None:
        kinds = {kind for _, kind, _ in self.model.values()}
        assert ("pfn" in kinds) == bool(self.vma.vm_flags & VM_PFNMAP)
        assert ("page" in kinds) == bool(self.vma.vm_flags & VM_MIXEDMAP)

    def teardown(self) -> None:
        reset(self.token)
        self.memory.close()


TestMapping = Mapping.TestCase
TestMapping.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
