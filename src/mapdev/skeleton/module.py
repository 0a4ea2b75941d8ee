"""Puts a kernel module together: one device with the operations, areas and ioctls of a driver.

The C file reads from top to bottom as kernel drivers do: the device, its operations, the tables of
them, init and exit. Next to it are the header of its ioctls, a Kbuild, a Makefile and a test.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import NamedTuple

from mapdev.driver import Driver, parse_size
from mapdev.host.loading import parameters
from mapdev.skeleton.structures import command_name, commands, structures
from mapdev.skeleton.syntax import Around, Method
from mapdev.skeleton.translate import Function, translate

__all__ = ["Skeleton", "write"]


class _Operation(NamedTuple):
    prototype: str  # with {name}
    failure: str  # what it returns where it can't go on


_FILE_OPERATIONS = {
    "open": _Operation("int {name}_open(struct inode *inode, struct file *filp)", "-ENOSYS"),
    "release": _Operation("int {name}_release(struct inode *inode, struct file *filp)", "0"),
    "read": _Operation("ssize_t {name}_read(struct file *filp, char __user *buf, size_t count, "
                       "loff_t *ppos)", "-ENOSYS"),
    "write": _Operation("ssize_t {name}_write(struct file *filp, const char __user *buf, "
                        "size_t count, loff_t *ppos)", "-ENOSYS"),
    "llseek": _Operation("loff_t {name}_llseek(struct file *filp, loff_t offset, int whence)",
                         "-ENOSYS"),
    "fsync": _Operation("int {name}_fsync(struct file *filp, loff_t start, loff_t end, "
                        "int datasync)", "-ENOSYS"),
    "flush": _Operation("int {name}_flush(struct file *filp, fl_owner_t id)", "0"),
    "poll": _Operation("__poll_t {name}_poll(struct file *filp, "
                       "struct poll_table_struct *wait)", "EPOLLERR"),
    "mmap": _Operation("int {name}_mmap(struct file *filp, struct vm_area_struct *vma)", "-ENOSYS"),
}  # fmt: skip
_VM_OPERATIONS = {
    "open": _Operation("void {name}_vm_open(struct vm_area_struct *vma)", ""),
    "close": _Operation("void {name}_vm_close(struct vm_area_struct *vma)", ""),
    "may_split": _Operation("int {name}_vm_may_split(struct vm_area_struct *vma, "
                            "unsigned long addr)", "-EINVAL"),
    "mremap": _Operation("int {name}_vm_mremap(struct vm_area_struct *vma)", "-EINVAL"),
    "mprotect": _Operation("int {name}_vm_mprotect(struct vm_area_struct *vma, "
                           "unsigned long start, unsigned long end, unsigned long newflags)",
                           "-EINVAL"),
    "fault": _Operation("vm_fault_t {name}_vm_fault(struct vm_fault *vmf)", "VM_FAULT_SIGBUS"),
    "map_pages": _Operation("vm_fault_t {name}_vm_map_pages(struct vm_fault *vmf, "
                            "pgoff_t start_pgoff, pgoff_t end_pgoff)", "0"),
    "page_mkwrite": _Operation("vm_fault_t {name}_vm_page_mkwrite(struct vm_fault *vmf)",
                               "VM_FAULT_SIGBUS"),
    "pfn_mkwrite": _Operation("vm_fault_t {name}_vm_pfn_mkwrite(struct vm_fault *vmf)",
                              "VM_FAULT_SIGBUS"),
    "access": _Operation("int {name}_vm_access(struct vm_area_struct *vma, unsigned long addr, "
                         "void *buf, int len, int write)", "-EIO"),
}  # fmt: skip
_ARGUMENTS = {  # what our names for them are
    "open": ("inode", "file"), "release": ("inode", "file"), "read": ("file", "count", "pos"),
    "write": ("file", "data", "pos"), "llseek": ("file", "offset", "whence"),
    "fsync": ("file", "start", "end", "datasync"), "poll": ("file",), "mmap": ("file", "vma"),
}  # fmt: skip
_VM_ARGUMENTS = {
    "open": ("vma",), "close": ("vma",), "may_split": ("vma", "addr"), "mremap": ("vma",),
    "mprotect": ("vma", "start", "end", "newflags"),
    "map_pages": ("vmf", "start_pgoff", "end_pgoff"),
    "access": ("vma", "addr", "buf", "len", "write"),
}  # fmt: skip
_OF_KIND = {"File": "file", "Inode": "inode", "VmAreaStruct": "vma", "VmFault": "vmf"}
_DEVICE = "\tstruct {name} *dev = &the_{name};"
_PARAMETERS = {"vma": "struct vm_area_struct *vma", "vmf": "struct vm_fault *vmf",
               "file": "struct file *filp", "inode": "struct inode *inode"}  # fmt: skip
_HEADERS = ("fs", "io", "miscdevice", "mm", "module", "poll", "slab", "uaccess", "vmalloc")


class Skeleton(NamedTuple):
    """What was written.

    :ivar files: their text, by name.
    :ivar left: the functions in which something is left to do.
    """

    files: dict[str, str]
    left: list[str]


class _Reader:
    """Reads the class of a driver: its methods as syntax, those of its bases too."""

    def __init__(self, driver: type[Driver]) -> None:
        self.methods: dict[str, Method] = {}
        for cls in reversed(driver.__mro__):
            if cls in (object, Driver) or not issubclass(cls, Driver):
                continue
            tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
            (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
            for node in found.body:
                if isinstance(node, Method):
                    self.methods[node.name] = node
        self.constants = _constants(driver)

    @property
    def vm_ops(self) -> dict[str, str]:
        """The operations of its areas, with the methods that they are."""
        found: dict[str, str] = {}
        for method in self.methods.values():
            for node in ast.walk(method):
                is_made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                if not is_made or node.func.id != "VmOperationsStruct":  # type: ignore[attr-defined]
                    continue
                for word in node.keywords:  # type: ignore[attr-defined]
                    if word.arg in _VM_OPERATIONS and isinstance(word.value, ast.Attribute):
                        found[word.arg] = word.value.attr
        return found

    @property
    def tables(self) -> set[str]:
        """The attributes that are pages by number."""
        return {
            node.target.attr
            for method in self.methods.values() for node in ast.walk(method)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute)
            and ast.unparse(node.annotation) == "dict[int, Page]"
        }  # fmt: skip

    @property
    def memory(self) -> tuple[str, str] | None:
        """Address and size of what ``self.data`` is, if that is the device's memory."""
        body = self.methods["data"].body if "data" in self.methods else []
        value = body[-1].value if body and isinstance(body[-1], ast.Return) else None
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
            return None
        names = [f"dev->{part.attr}" for part in value.args if isinstance(part, ast.Attribute)]
        return (names[0], names[1]) if value.func.id == "memory" and len(names) == 2 else None


class _Writer:
    def __init__(self, driver: type[Driver]) -> None:
        self.driver = driver
        self.name = re.sub(r"\W", "_", driver.name or driver.__name__).lower()
        self.reader = _Reader(driver)
        self.fields: set[str] = set()
        self.left: list[str] = []
        self.commands = [*driver._ioctls.values(), *driver._any_size.values()]
        known = {*_FILE_OPERATIONS, "ioctl", "probe", "remove", "data", "__init__"}
        known |= set(self.reader.vm_ops.values()) | {found.method for found in self.commands}
        self.helpers = [name for name in self.reader.methods if name not in known
                        and self._is_called(name)]  # fmt: skip
        self.around = Around(
            self.name, {name: self._gives_page(name) for name in self.helpers},
            self.reader.memory, self.reader.tables, self.reader.constants,
            set(_numbers(driver)),
        )  # fmt: skip

    def _gives_page(self, helper: str) -> bool:
        result = self.reader.methods[helper].returns
        return isinstance(result, ast.Name) and result.id == "Page"

    def _is_called(self, name: str) -> bool:
        return any(isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                   and node.func.attr == name
                   for method in self.reader.methods.values()
                   for node in ast.walk(method))  # fmt: skip

    def _translated(self, method: str, operation: str, failure: str) -> Function:
        found = self.reader.methods[method]
        function = translate(found, self.around, operation, failure, self._names(method))
        self.fields |= function.fields
        if not function.is_whole:
            self.left.append(method)
        return function

    def _names(self, method: str) -> list[str]:
        """Return what the arguments of a method are to be called."""
        if method in _ARGUMENTS:
            return list(_ARGUMENTS[method])
        for operation, of_area in self.reader.vm_ops.items():
            if of_area == method:
                return list(_VM_ARGUMENTS.get(operation, ("vmf",)))
        arguments = self.reader.methods[method].args.args[1:]
        kinds = [ast.unparse(argument.annotation) if argument.annotation else ""
                 for argument in arguments]  # fmt: skip
        return [_OF_KIND[kind] if kind in _OF_KIND and kinds.count(kind) == 1 else argument.arg
                for argument, kind in zip(arguments, kinds, strict=True)]  # fmt: skip

    def _function(self, prototype: str, function: Function, has_device: bool = False) -> list[str]:
        code = [line for line in function.lines if not line.startswith("\t *")]
        uses = any(re.search(r"\bdev\b", line) for line in code)
        device = [_DEVICE.format(name=self.name)] if uses and not has_device else []
        body = function.lines
        declares = ("\tunsigned long ", "\tstruct page *", "\tint ret;")
        if device and body and body[0].endswith(";") and body[0].startswith(declares):
            body = [*device, *body]
        elif device:
            body = [*device, "", *body]
        return [f"static {prototype}", "{", *body, "}", ""]

    def _helper(self, name: str) -> list[str]:
        arguments = ""
        for argument, called in zip(
            self.reader.methods[name].args.args[1:], self._names(name), strict=True
        ):
            is_page = argument.annotation is not None and ast.unparse(argument.annotation) == "Page"
            number = f"struct page *{called}" if is_page else f"unsigned long {called}"
            arguments += f", {_PARAMETERS.get(called, number)}"
        gives_page = self.around.helpers[name]
        result = "__maybe_unused struct page *" if gives_page else "int __maybe_unused "
        failure = "ERR_PTR(-ENOSYS)" if gives_page else "-ENOSYS"
        prototype = f"{result}{self.name}_{name}(struct {self.name} *dev{arguments})"
        return self._function(prototype, self._translated(name, name, failure), True)

    def _ioctl(self) -> list[str]:
        lines = [f"static long {self.name}_ioctl(struct file *filp, unsigned int cmd, "
                 "unsigned long arg)", "{", "\tswitch (cmd) {"]  # fmt: skip
        for command in self.commands:
            lines += [f"\tcase {command_name(self.name, command)}:",
                      f"\t\t/* TODO: {command.method} of the Python driver */",
                      "\t\treturn -ENOSYS;"]  # fmt: skip
            self.left.append(command.method)
        return [*lines, "\tdefault:", "\t\treturn -ENOTTY;", "\t}", "}", ""]

    def source(self) -> str:
        """Write the C file."""
        name, methods = self.name, self.reader.methods
        functions: list[str] = []
        for helper in self._in_order():
            functions += self._helper(helper)
        vm_ops = self.reader.vm_ops
        for operation, method in vm_ops.items():
            prototype, failure = _VM_OPERATIONS[operation]
            functions += self._function(prototype.format(name=name),
                                        self._translated(method, operation, failure))  # fmt: skip
        if vm_ops:
            table = [f"\t.{operation} = {name}_vm_{operation}," for operation in vm_ops]
            functions += [f"static const struct vm_operations_struct {name}_vm_ops "
                          "__maybe_unused = {", *table, "};", ""]  # fmt: skip
        table = ["\t.owner = THIS_MODULE,"]
        for operation, (prototype, failure) in _FILE_OPERATIONS.items():
            if operation in methods:
                translated = self._translated(operation, operation, failure)
                functions += self._function(prototype.format(name=name), translated)
                table.append(f"\t.{operation} = {name}_{operation},")
        if self.commands:
            functions += self._ioctl()
            table.append(f"\t.unlocked_ioctl = {name}_ioctl,")
            table.append("\t.compat_ioctl = compat_ptr_ioctl,")
        begin_and_end = self._begin_and_end()
        headers = (*_HEADERS, "xarray") if self.around.tables else _HEADERS
        includes = [f"#include <linux/{header}.h>" for header in headers]
        fields = [
            f"\t{'struct xarray' if field in self.around.tables else 'unsigned long'} {field};"
            for field in sorted(self.fields)
        ]
        todos = " See the TODOs below." if self.left else ""
        return "\n".join([
            "// SPDX-License-Identifier: GPL-2.0",
            f"/* The device {name}, begun as a mapdev driver.{todos} */", "",
            *includes, "", f'#include "{name}.h"', "",
            f"struct {name} {{", *(fields or ["\tint unused;"]), "};", "",
            f"static struct {name} the_{name}{'' if fields else ' __maybe_unused'};", "",
            *self._parameters(), *functions,
            f"static const struct file_operations {name}_fops = {{", *table, "};", "",
            *begin_and_end, 'MODULE_LICENSE("GPL");',
            f'MODULE_DESCRIPTION("{name}, begun as a mapdev driver");', "",
        ])  # fmt: skip

    def _in_order(self) -> list[str]:
        """Give the helpers, those that others call first."""

        def calls(name: str) -> int:
            return sum(isinstance(node, ast.Attribute) and node.attr in self.helpers
                       for node in ast.walk(self.reader.methods[name]))  # fmt: skip

        return sorted(self.helpers, key=calls)

    def _parameters(self) -> list[str]:
        lines = []
        for name, default in _numbers(self.driver).items():
            lines += [f"static unsigned long {name} = {default};",
                      f"module_param({name}, ulong, 0444);"]  # fmt: skip
        return [*lines, ""] if lines else []

    def _begin_and_end(self) -> list[str]:
        """Write init and exit: probe and remove, and the device node."""
        name = self.name
        lines: list[str] = []
        for method, kind in ("probe", "int"), ("remove", "void"):
            if method in self.reader.methods:
                failure = "-ENOSYS" if kind == "int" else ""
                function = self._translated(method, method, failure)
                lines += self._function(f"{kind} {name}_{method}(void)", function)
        probe = [f"\tret = {name}_probe();", "\tif (ret)", "\t\treturn ret;"]
        undo = f"{name}_remove();" if "remove" in self.reader.methods else ""
        free = self._freeing()
        ends = [f"\t{line}" for line in (undo, *free) if line]
        return [
            *lines,
            f"static struct miscdevice {name}_misc = {{", "\t.minor = MISC_DYNAMIC_MINOR,",
            f'\t.name = "{name}",', f"\t.fops = &{name}_fops,", f"\t.mode = 0{self.driver.mode:o},",
            "};", "",
            f"static int __init {name}_module_init(void)", "{", "\tint ret;", "",
            *(probe if "probe" in self.reader.methods else []),
            f"\tret = misc_register(&{name}_misc);",
            *_braced("\tif (ret)", ends),
            "\treturn ret;", "}", f"module_init({name}_module_init);", "",
            f"static void __exit {name}_module_exit(void)", "{",
            f"\tmisc_deregister(&{name}_misc);",
            *ends, "}", f"module_exit({name}_module_exit);", "",
        ]  # fmt: skip

    def _freeing(self) -> list[str]:
        """Free what probe allocated: mapdev gives that back after remove, C does not."""
        memory = self.reader.memory
        probe = self.reader.methods.get("probe")
        if memory is None or probe is None or self._frees("remove"):
            return []
        called = {node.func.id for node in ast.walk(probe)
                  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        free = (
            "vfree" if any("vmalloc" in call or "vzalloc" in call for call in called) else "kfree"
        )
        self.fields.add(memory[0].removeprefix("dev->"))
        return [f"{free}((void *)the_{self.name}.{memory[0].removeprefix('dev->')});"]

    def _frees(self, method: str) -> bool:
        """Say whether a method frees memory itself."""
        body = self.reader.methods.get(method)
        return body is not None and any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            and node.func.id in ("kfree", "vfree") for node in ast.walk(body)
        )  # fmt: skip

    def header(self) -> str:
        """Write the header: numbers and structures that programs share."""
        guard = f"_{self.name.upper()}_H"
        return "\n".join([
            "/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */",
            f"#ifndef {guard}", f"#define {guard}", "", "#include <linux/ioctl.h>",
            "#include <linux/types.h>", "", *structures(self.commands),
            *commands(self.name, self.commands), "", f"#endif /* {guard} */", "",
        ])  # fmt: skip


def _numbers(driver: type[Driver]) -> dict[str, int]:
    """Return those parameters of a driver that are numbers, with what they are unless given."""
    found = {}
    for parameter in parameters(driver):
        default = parameter.default
        if isinstance(default, str):
            try:
                default = parse_size(default)
            except ValueError:
                continue
        if isinstance(default, int):
            found[parameter.name] = int(default)
    return found


def _constants(driver: type[Driver]) -> dict[str, ast.expr]:
    """Return what is assigned to names of the module of a class: ``_ZEROED = GFP_KERNEL | ...``."""
    module = inspect.getmodule(driver)
    if module is None:
        return {}
    try:
        tree = ast.parse(inspect.getsource(module))
    except OSError:
        return {}
    return {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
    }  # fmt: skip


def _braced(head: str, lines: list[str]) -> list[str]:
    """Put lines under a condition, in braces if they are several."""
    inside = [f"\t{line}" for line in lines]
    if not lines:
        return []
    return [head, *inside] if len(lines) == 1 else [f"{head} {{", *inside, "\t}"]


_MAKEFILE = """\
# make: builds the module for the running kernel, or in another kernel's build directory, KDIR.
KDIR ?= /lib/modules/$(shell uname -r)/build

all:
\t$(MAKE) -C $(KDIR) M=$(CURDIR) modules

clean:
\t$(MAKE) -C $(KDIR) M=$(CURDIR) clean

.PHONY: all clean
"""
_TEST = '''\
"""Run with the module loaded: the device is there, and opens."""

import os


def test_the_device_opens() -> None:
    os.close(os.open("/dev/{name}", os.O_RDWR))
'''


def write(driver: type[Driver]) -> Skeleton:
    """Write a module for the devices of `driver`, which is not set up.

    :raises OSError: the source of the class can't be had.
    """
    writer = _Writer(driver)
    source = writer.source()
    return Skeleton(
        {
            f"{writer.name}.c": source,
            f"{writer.name}.h": writer.header(),
            "Kbuild": f"obj-m := {writer.name}.o\n",
            "Makefile": _MAKEFILE,
            f"test_{writer.name}.py": _TEST.format(name=writer.name),
        },
        writer.left,
    )
