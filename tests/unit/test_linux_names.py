"""The vocabulary is complete: every public name is exported and documented as STYLE asks."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import pytest

import mapdev.linux

MODULES = [
    importlib.import_module(f"mapdev.linux.{found.name}")
    for found in pkgutil.iter_modules(mapdev.linux.__path__)
    if found.name != "context"  # for hosts
]
# Kernel names that begin with underscores are public.
PUBLIC_UNDERSCORED = ("__get_free", "__free_page", "__GFP", "_IO")

NAMES = """
    Page VmAreaStruct MmStruct TaskStruct VmFault VmOperationsStruct File Inode
    alloc_page alloc_pages free_page free_pages virt_to_page pfn_to_page page_to_pfn page_address
    virt_to_phys page_to_phys get_page put_page page_count page_mapcount
    kmalloc kzalloc kfree ksize vmalloc vzalloc vmalloc_user vfree vmalloc_to_page vmalloc_to_pfn
    is_vmalloc_addr dma_alloc_coherent dma_free_coherent memory
    remap_pfn_range io_remap_pfn_range vm_insert_page vm_insert_pages remap_vmalloc_range
    vmf_insert_pfn vma_pages find_vma for_each_vma pgprot_noncached pgprot_writecombine
    copy_from_user copy_to_user current
    imajor iminor no_llseek noop_llseek fixed_size_llseek nonseekable_open stream_open
    anon_inode_getfd PAGE_SHIFT PAGE_SIZE PAGE_ALIGN get_order VM_READ MAP_SHARED PROT_READ EPOLLIN
    GFP_KERNEL O_RDWR SEEK_SET FMODE_READ
    _IO _IOR _IOW _IOWR _IOC _IOC_DIR _IOC_TYPE _IOC_NR _IOC_SIZE
    WaitQueueHead init_waitqueue_head wake_up wake_up_interruptible wake_up_all
    wait_event_interruptible poll_wait kthread_run kthread_should_stop kthread_stop
    __free_pages __get_free_pages get_zeroed_page __GFP_ZERO compound_order
"""


def is_public(name: str) -> bool:
    return not name.startswith("_") or name.startswith(PUBLIC_UNDERSCORED)


def defined(module: ModuleType) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if is_public(name)
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    ]


@pytest.mark.parametrize("name", NAMES.split())
def test_name_of_the_design_is_there(name: str) -> None:
    assert name in mapdev.linux.__all__


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_everything_public_is_exported(module: ModuleType) -> None:
    assert set(defined(module)) <= set(mapdev.linux.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_function_says_where_it_comes_from(module: ModuleType) -> None:
    undocumented = [
        name
        for name in defined(module)
        if inspect.isfunction(getattr(module, name))
        and "Source:" not in (getattr(module, name).__doc__ or "")
    ]
    assert undocumented == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_kernel_structure_says_where_it_comes_from(module: ModuleType) -> None:
    ours = {"Mapped"}
    classes = [name for name in defined(module) if inspect.isclass(getattr(module, name))]
    undocumented = {
        name for name in classes if "Source:" not in (getattr(module, name).__doc__ or "")
    }
    assert undocumented <= ours


def test_all_names_exist_once() -> None:
    assert len(set(mapdev.linux.__all__)) == len(mapdev.linux.__all__)
    for name in mapdev.linux.__all__:
        getattr(mapdev.linux, name)


def test_every_number_is_exported() -> None:
    numbers = importlib.import_module("mapdev.linux.numbers")
    there = {name for name in vars(numbers) if is_public(name) and name.isidentifier()}
    assert there == set(numbers.__all__)


def test_the_vocabulary_knows_no_host() -> None:
    for module in [*MODULES, importlib.import_module("mapdev.linux.context")]:
        assert not re.search(r"(from|import) mapdev\.(?!linux)", inspect.getsource(module))
