"""`mapdev skeleton`: what becomes of a driver's methods, ioctls and structures in C."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mapdev import Driver, ioctl
from mapdev.drivers.contiguous import Contiguous
from mapdev.drivers.lazy import Lazy
from mapdev.drivers.vmalloc import Vmalloc
from mapdev.linux import (
    _IO,
    _IOW,
    _IOWR,
    PAGE_SIZE,
    VM_FAULT_NOPAGE,
    File,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    fixed_size_llseek,
    pfn_to_page,
    remap_pfn_range,
    vm_insert_page,
    vma_pages,
)
from mapdev.skeleton.module import write


def body(source: str, function: str) -> str:
    """Return what is between the braces of a function."""
    _, _, rest = source.partition(f"{function}(")
    return rest[rest.index("{") + 2 : rest.index("\n}")]


def test_contiguous_is_whole() -> None:
    skeleton = write(Contiguous)
    assert skeleton.left == [] and set(skeleton.files) == {
        "contiguous.c", "contiguous.h", "Kbuild", "Makefile", "test_contiguous.py"
    }  # fmt: skip
    source = skeleton.files["contiguous.c"]
    assert "TODO:" not in source
    assert body(source, "contiguous_mmap") == (
        "\tstruct contiguous *dev = &the_contiguous;\n\tunsigned long pfn;\n\tint ret;\n\n"
        "\tret = contiguous_check_range(dev, vma);\n\tif (ret)\n\t\treturn ret;\n"
        "\tpfn = (virt_to_phys((void *)dev->address) >> PAGE_SHIFT) + vma->vm_pgoff;\n"
        "\tret = remap_pfn_range(vma, vma->vm_start, pfn, vma->vm_end - vma->vm_start, "
        "vma->vm_page_prot);\n\tif (ret)\n\t\treturn ret;\n\treturn 0;"
    )
    assert "\tmemory = (unsigned long)kzalloc(size, GFP_KERNEL);\n\tif (!memory)\n" in source
    assert "static unsigned long size = 65536;\nmodule_param(size, ulong, 0444);" in source
    assert "kfree((void *)the_contiguous.address);" in body(source, "contiguous_module_exit")


def test_vmalloc_maps_page_by_page() -> None:
    source = write(Vmalloc).files["vmalloc.c"]
    assert "\tfor (user = vma->vm_start; user < vma->vm_end; user += PAGE_SIZE) {\n" in source
    assert "\t\tpfn = vmalloc_to_pfn((void *)address);\n" in source
    assert "vfree((void *)the_vmalloc.address);" in source
    written = body(source, "ssize_t vmalloc_write")
    assert "\tcount = min_t(size_t, count, dev->size - *ppos);\n\tif (!count)\n" in written
    assert "if (copy_from_user((void *)(dev->address + *ppos), buf, count))" in written
    assert "return simple_read_from_buffer(buf, count, ppos, (void *)dev->address" in source


def test_lazy_is_whole_and_keeps_its_pages_in_an_xarray() -> None:
    skeleton = write(Lazy)
    source = skeleton.files["lazy.c"]
    assert skeleton.left == [] and "TODO" not in source
    assert "\tstruct xarray pages;\n" in source and "#include <linux/xarray.h>" in source
    assert "\tvma->vm_ops = &lazy_vm_ops;" in body(source, "int lazy_mmap")
    assert ".fault = lazy_vm_fault," in source
    assert body(source, "lazy_vm_fault") == (
        "\tstruct lazy *dev = &the_lazy;\n\tstruct page *page;\n\n\tdev->faults += 1;\n"
        "\tif (vmf->pgoff >= (dev->size >> PAGE_SHIFT))\n\t\treturn VM_FAULT_SIGBUS;\n"
        "\tpage = lazy_page(dev, vmf->pgoff);\n\tif (IS_ERR(page))\n\t\treturn VM_FAULT_OOM;\n"
        "\tvmf->page = page;\n\tget_page(vmf->page);\n\treturn 0;"
    )
    page = body(source, "__maybe_unused struct page *lazy_page")
    assert "\t\tpage = alloc_page(GFP_KERNEL | __GFP_ZERO);\n\t\tif (!page)\n" in page
    assert "\t\t\treturn ERR_PTR(-ENOMEM);\n\t\told = xa_cmpxchg(&dev->pages, pgoff, NULL," in page
    read = body(source, "lazy_read")
    assert "min_t(long, PAGE_SIZE - offset, dev->size - *ppos)" in read
    assert "\t\tleft = clear_user(buf, count);\n\t\tif (left && left == count)\n" in read
    assert "\txa_for_each(&dev->pages, index, page)\n\t\tput_page(page);\n\txa_destroy(" in source


class Failing(Driver):
    """What has counterparts, and what has none, in one."""

    def probe(self) -> None:
        self.ops = VmOperationsStruct(fault=self.fault, close=self.closed)
        self.size = 3
        self.text = "three"

    def fault(self, vmf: VmFault) -> int:
        if vmf.pgoff > self.size:
            raise OSError(errno.ENXIO, "past the end")
        vm_insert_page(vmf.vma, vmf.address, pfn_to_page(vmf.pgoff))
        return VM_FAULT_NOPAGE

    def closed(self, vma: VmAreaStruct) -> None:
        raise OSError(errno.EIO, "nobody hears of it")

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.look(file, vma)
        self.found = min(self.size, 7) if self.size else 0

    def look(self, file: File, vma: VmAreaStruct) -> None:
        try:
            remap_pfn_range(vma, vma.vm_start, 1, PAGE_SIZE, vma.vm_page_prot)
        except OSError:
            raise OSError(errno.EAGAIN, "in another way") from None

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        if self.size and self.one():
            return
        try:
            self.look(file, None)
        except OSError as error:
            print(error)

    def one(self) -> Page:
        return pfn_to_page(1)

    async def write(self, file: File, data: bytes, pos: int) -> int:
        return len(data)


def test_what_has_no_counterpart_is_left_to_do_and_fails() -> None:
    skeleton = write(Failing)
    source = skeleton.files["failing.c"]
    assert sorted(skeleton.left) == ["closed", "fsync", "mmap", "probe", "write"]
    assert ".write = failing_write," in source and " *   return len(data)\n" in source
    probe = body(source, "int failing_probe")
    assert "\tdev->size = 3;\n\t/*\n\t * TODO:" in probe and "self.text = 'three'" in probe
    assert probe.endswith("\treturn -ENOSYS;")
    assert " *   if self.size and self.one():" in body(source, "int failing_fsync")


class Renaming(Driver):
    """Other names than those of C, and a parameter that is no number."""

    def probe(self, size: int = 4096, label: str = "") -> None:
        self.size = size
        self.table = VmOperationsStruct(fault=self.touched)
        if not label:
            raise OSError(errno.EINVAL, "no label")

    def llseek(self, opened: File, by: int, how: int) -> int:
        return fixed_size_llseek(opened, by, how, self.size)

    def mmap(self, opened: File, area: VmAreaStruct) -> None:
        self.check(area, 7)
        area.vm_ops = self.table

    def check(self, where: VmAreaStruct, most: int) -> None:
        if vma_pages(where) > most:
            raise OSError(errno.EINVAL, "too many")

    def touched(self, fault: VmFault) -> int:
        self.insert(fault, pfn_to_page(fault.pgoff))
        return VM_FAULT_NOPAGE

    def insert(self, what: VmFault, it: Page) -> None:
        vm_insert_page(what.vma, what.address, it)

    def fsync(self, start: File, file: int, end: int, datasync: bool) -> None:
        offset = end
        self.size = offset


def test_arguments_have_the_names_of_c() -> None:
    skeleton = write(Renaming)
    source = skeleton.files["renaming.c"]
    assert sorted(skeleton.left) == ["probe"]
    assert "fixed_size_llseek(filp, offset, whence, dev->size);" in source
    assert "\tret = renaming_check(dev, vma, 7);" in body(source, "int renaming_mmap")
    assert "\tvma->vm_ops = &renaming_vm_ops;" in body(source, "int renaming_mmap")
    assert (
        "renaming_check(struct renaming *dev, struct vm_area_struct *vma, unsigned long" in source
    )
    assert "\tif (vma_pages(vma) > most)\n" in body(source, "renaming_check")
    fault = body(source, "vm_fault_t renaming_vm_fault")
    assert "\tret = renaming_insert(dev, vmf, pfn_to_page(vmf->pgoff));" in fault
    assert "renaming_insert(struct renaming *dev, struct vm_fault *vmf, struct page *it)" in source
    assert "ret = vm_insert_page(vmf->vma, vmf->address, it);" in source
    assert "TODO" in body(source, "int renaming_probe")  # it has no label there


def test_errors_are_told_in_the_way_of_the_operation() -> None:
    source = write(Failing).files["failing.c"]
    fault = body(source, "failing_vm_fault")
    assert "\t\treturn vmf_error(-ENXIO);" in fault
    assert "\tif (ret)\n\t\treturn vmf_error(ret);\n\treturn VM_FAULT_NOPAGE;" in fault
    closed = body(source, "failing_vm_close")
    assert "TODO" in closed and "\treturn" not in closed  # it has no result
    look = body(source, "failing_look")
    assert "\tif (ret)\n\t\treturn -EAGAIN;\n\treturn 0;" in look
    assert "failing_look(struct failing *dev, struct file *filp, struct vm_area_struct" in source
    assert "\tret = failing_look(dev, filp, vma);" in body(source, "int failing_mmap")
    assert "\treturn pfn_to_page(1);" in body(source, "failing_one")


class Inner(ctypes.Structure):
    _fields_ = (("a", ctypes.c_uint8), ("b", ctypes.c_uint16 * 3))


class SomeThing(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("inner", Inner * 2), ("bits", ctypes.c_uint32, 5), ("c", ctypes.c_int64))


class Odd(Driver):
    """Has ioctls, areas with operations, and a loop in its mmap."""

    def probe(self, count: int = 3, name: str = "text") -> None:
        self.count = count
        self.ops = VmOperationsStruct(open=self.opened, close=self.closed)

    @ioctl(_IO("x", 1))
    def reset(self, file: File, arg: int) -> None: ...

    @ioctl(_IOWR("x", 2, SomeThing), SomeThing)
    def swap(self, file: File, arg: SomeThing) -> None: ...

    @ioctl(_IOW("x", 3, ctypes.c_uint32), ctypes.c_uint32)
    def set(self, file: File, arg: ctypes.c_uint32) -> None: ...

    def opened(self, vma: VmAreaStruct) -> None:
        self.count += 1

    def closed(self, vma: VmAreaStruct) -> None:
        self.count -= 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        for index in range(self.count):
            if index > 2 and not self.count:
                raise OSError(errno.ENXIO, "*/ too many")
            remap_pfn_range(vma, vma.vm_start, index, PAGE_SIZE, vma.vm_page_prot)
        print("*/")


def test_ioctls_and_structures() -> None:
    files = write(Odd).files
    assert (
        "struct inner {\n\t__u8 a;\n\t__u16 b[3];\n};\n\nstruct some_thing {\n"
        "\tstruct inner inner[2];\n\t__u32 bits : 5;\n\t__s64 c;\n} __attribute__((packed));\n"
    ) in files["odd.h"]
    for line in (
        "#define ODD_RESET _IO('x', 1)", "#define ODD_SWAP _IOWR('x', 2, struct some_thing)",
        "#define ODD_SET _IOW('x', 3, __u32)",
    ):  # fmt: skip
        assert line in files["odd.h"].splitlines()
    source = files["odd.c"]
    assert source.count("\tcase ODD_") == 3 and ".unlocked_ioctl = odd_ioctl," in source
    assert "static unsigned long count = 3;" in source and "unsigned long name" not in source


def test_loops_conditions_and_areas() -> None:
    source = write(Odd).files["odd.c"]
    mmap = body(source, "int odd_mmap")
    assert "\tfor (index = 0; index < dev->count; index++) {\n" in mmap
    assert "\t\tif ((index > 2) && !dev->count)\n\t\t\treturn -ENXIO;\n\t\tret = remap" in mmap
    assert "TODO" not in body(source, "int odd_probe")  # the table of operations is there anyway
    assert mmap.count("*/") == 1  # what is in a comment does not end it
    assert body(source, "void odd_vm_open").strip().endswith("dev->count += 1;")
    assert ".open = odd_vm_open,\n\t.close = odd_vm_close," in source


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mapdev.cli", "skeleton"]

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *args], capture_output=True, text=True, timeout=60)

    done = run("ticker", "-o", str(tmp_path / "old"))
    assert done.returncode == 0 and "left to do: open, read, poll" in done.stdout
    done = run("lazy", "-o", str(tmp_path / "new" / "dir"))
    assert done.returncode == 0 and "left to do" not in done.stdout
    assert (tmp_path / "new" / "dir" / "Kbuild").read_text() == "obj-m := lazy.o\n"
    mine = tmp_path / "new" / "dir" / "lazy.c"
    assert run("lazy", "-o", str(mine.parent)).returncode == 0  # nothing was changed
    mine.write_text("mine")
    done = run("lazy", "-o", str(mine.parent))
    assert done.returncode == 1 and "lazy.c already" in done.stderr and mine.read_text() == "mine"
    assert run("lazy", "-o", str(mine.parent), "--force").returncode == 0
    assert mine.read_text() != "mine"
    for args, status, says in (
        (("nothing", "-o", "x"), 2, "no driver is called 'nothing'"),
        (("lazy",), 2, "-o"),
        (("lazy", "-o", "/dev/null/x"), 1, "/dev/null"),
    ):
        done = run(*args)
        assert done.returncode == status and says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["contiguous", "vmalloc", "lazy"])
def test_the_c_is_laid_out_as_the_kernels(name: str) -> None:
    driver = {"contiguous": Contiguous, "vmalloc": Vmalloc, "lazy": Lazy}[name]
    source = write(driver).files[f"{name}.c"]
    assert "  " not in source.replace("\t", "").replace(" *  ", "") or "TODO" in source
    assert not any(line != line.rstrip() for line in source.splitlines())
    assert "\n\n\n" not in source and "\n\n}" not in source
