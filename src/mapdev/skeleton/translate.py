"""Turns methods of a driver into C, up to the first statement that has no counterpart there.

What follows such a statement is kept in a comment, with the Python, and the function fails: a half
of an operation would be worse than none. All numbers and addresses are ``unsigned long``; what has
to do with pages is in `pages`, with what programs read and write in `data`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

import mapdev.linux
from mapdev.skeleton.data import POINTER, Data
from mapdev.skeleton.pages import PAGES
from mapdev.skeleton.syntax import (
    Around,
    Method,
    NoCounterpart,
    braced,
    indented,
    is_call,
    is_self,
    is_table_of_operations,
    renamed,
    table_of,
)

__all__ = ["Function", "translate"]

# By name: what arguments are cast to, and what comes of the call: a number, an int that is an error
# unless it is 0, memory (0: there is none), or nothing.
_CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "kmalloc": ((), "memory"), "kzalloc": ((), "memory"), "vmalloc": ((), "memory"),
    "vzalloc": ((), "memory"), "vmalloc_user": ((), "memory"),
    "kfree": ((POINTER,), "nothing"), "vfree": ((POINTER,), "nothing"),
    "virt_to_phys": ((POINTER,), "number"), "vmalloc_to_pfn": ((POINTER,), "number"),
    "vma_pages": ((), "number"), "PAGE_ALIGN": ((), "number"), "get_order": ((), "number"),
    "remap_pfn_range": ((), "error"), "io_remap_pfn_range": ((), "error"),
    "remap_vmalloc_range": (("", POINTER, ""), "error"), "vm_iomap_memory": ((), "error"),
    "pgprot_noncached": ((), "number"), "pgprot_writecombine": ((), "number"),
    "fixed_size_llseek": ((), "number"), "page_to_pfn": ((), "number"),
    "page_address": ((), "pointer"), "get_page": ((), "nothing"), "put_page": ((), "nothing"),
    "vm_insert_page": ((), "error"), "vmf_insert_pfn": ((), "number"), "alloc_page": ((), "page"),
    **dict.fromkeys(PAGES, ((), "number")),
}  # fmt: skip
_OBJECTS = {"vma": "vma", "vmf": "vmf", "file": "filp", "inode": "inode"}
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "/", ast.Mod: "%", ast.LShift: "<<",
    ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<",
    ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=", ast.And: "&&", ast.Or: "||",
}  # fmt: skip
# What C knows by the same name: constants and macros of the vocabulary, as PAGE_SIZE.
_NAMES = {name for name in mapdev.linux.__all__ if name.isupper()}
_FAULTS = ("fault", "map_pages", "page_mkwrite", "pfn_mkwrite")  # they return vm_fault_t


class Function(NamedTuple):
    """A function in C.

    :ivar lines: of its body, indented by one tab.
    :ivar fields: what it uses of the device: attributes of self.
    :ivar is_whole: nothing is left to do.
    """

    lines: list[str]
    fields: set[str]
    is_whole: bool


class _Translator(Data):
    """Translates one method.

    :param operation: which operation it is.
    :param failure: what it returns where it can't go on; empty: it has no result.
    """

    def __init__(self, around: Around, operation: str, failure: str) -> None:
        super().__init__(around, operation)
        self._failure = failure
        self._handler: list[str] | None = None  # what is done in case of an error, in a try
        self.fields: set[str] = set()
        self.arguments: set[str] = set()
        self.needs_ret = False

    def noted(self) -> tuple[dict[str, str], set[str], bool]:
        """Return what has been used so far, for `forget_since`."""
        return dict(self.locals), set(self.fields), self.needs_ret

    def forget_since(self, before: tuple[dict[str, str], set[str], bool]) -> None:
        """Forget what a statement used that was not written."""
        self.locals, self.fields, self.needs_ret = before

    # --- statements -------------------------------------------------------------------------

    def statement(self, node: ast.stmt) -> list[str]:
        """Write one statement."""
        self._before = []
        written = self._statement(node)
        return [*self._before, *written]

    def _statement(self, node: ast.stmt) -> list[str]:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return []  # a docstring
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            return self._call_alone(node.value)
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            return self._assign(node.targets[0], node.value)
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return self._assign(node.target, node.value)
        if isinstance(node, ast.AugAssign):
            operator = _OPERATORS.get(type(node.op))
            if operator is None:
                raise NoCounterpart
            return [f"{self._target(node.target)} {operator}= {self.value(node.value)};"]
        if isinstance(node, ast.If):
            return self._if(node)
        if isinstance(node, ast.For):
            return self._for(node)
        if isinstance(node, ast.Return):
            return self._return(node.value)
        if isinstance(node, ast.Raise):
            return self.failing(f"-{_errno_of(node)}")
        if isinstance(node, ast.Try):
            return self._try(node)
        raise NoCounterpart

    def failing(self, code: str) -> list[str]:
        """End with an error: a negative number, or an expression that is one."""
        if self._handler is not None:
            return self._handler
        if not self._failure:
            raise NoCounterpart  # nobody can be told
        if self._failure.startswith("ERR_PTR"):
            return [f"return ERR_PTR({code});"]
        if self.operation in _FAULTS:
            return [f"return vmf_error({code});"]
        return [f"return {code};"]

    def _try(self, node: ast.Try) -> list[str]:
        """Write a try of one statement whose every error ends the function."""
        handler = node.handlers[0] if len(node.handlers) == 1 else None
        if (
            handler is None or node.orelse or node.finalbody or len(node.body) != 1
            or handler.name is not None or self._handler is not None
            or not isinstance(handler.type, ast.Name) or handler.type.id != "OSError"
            or len(handler.body) != 1 or not isinstance(handler.body[0], ast.Return | ast.Raise)
        ):  # fmt: skip
            raise NoCounterpart
        before = self._before
        self._handler = self.statement(handler.body[0])
        try:
            if len(self._handler) != 1:
                raise NoCounterpart
            return self.statement(node.body[0])
        finally:
            self._handler, self._before = None, before

    def _block(self, nodes: list[ast.stmt]) -> list[str]:
        lines = []
        for node in nodes:
            before, self._before = self._before, []
            lines += ["\t" + line for line in self.statement(node)]
            self._before = before
        return lines

    def _if(self, node: ast.If) -> list[str]:
        if (inserted := self.inserted(node)) is not None:
            return inserted
        test = "count" if self.is_data(node.test) else self.value(node.test)
        head = f"if ({test})"
        inside = self._block(node.body)
        if node.orelse:
            return [f"{head} {{", *inside, "} else {", *self._block(node.orelse), "}"]
        return braced(head, inside)

    def _for(self, node: ast.For) -> list[str]:
        loop = node.iter
        if (table := self.table_values(loop)) is not None and not node.orelse:
            return braced(self.each_page(table, node.target), self._block(node.body))
        is_range = isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name)
        if not is_range or not isinstance(node.target, ast.Name) or node.orelse:
            raise NoCounterpart
        assert isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name)
        if loop.func.id != "range" or not 1 <= len(loop.args) <= 3:
            raise NoCounterpart
        limits = [self.value(limit) for limit in loop.args]
        start = limits[0] if len(limits) > 1 else "0"
        end = limits[1] if len(limits) > 1 else limits[0]
        name = self.local(node.target.id)
        step = f"{name} += {limits[2]}" if len(limits) > 2 else f"{name}++"
        inside = self._block(node.body)
        return braced(f"for ({name} = {start}; {name} < {end}; {step})", inside)

    def _return(self, value: ast.expr | None) -> list[str]:
        if value is None:
            return ["return 0;"]
        if self.operation == "read" and (answer := self.data_for_program(value)) is not None:
            return answer
        if self.operation == "read" and self.is_slice_of_memory(value):
            assert self.around.memory is not None
            address, size = self.around.memory
            return [f"return simple_read_from_buffer(buf, count, ppos, {POINTER}{address}, "
                    f"{size});"]  # fmt: skip
        text = self.value(value)
        if self.operation == "write" and text == "count":
            return ["*ppos += count;", "return count;"]
        return [f"return {text};"]

    def _assign(self, target: ast.expr, value: ast.expr) -> list[str]:
        if is_table_of_operations(value):
            return []  # it is written with the functions that are in it
        if (table := table_of(target, self.around)) is not None:
            if isinstance(value, ast.Dict) and not value.keys:
                self.fields.add(table)
                return [f"xa_init(&dev->{table});"]
            raise NoCounterpart
        if isinstance(target, ast.Tuple):
            return self._divided(target, value)
        if isinstance(target, ast.Attribute) and target.attr == "vm_ops":
            return [f"vma->vm_ops = &{self.around.name}_vm_ops;"]
        if self.operation == "write":
            if isinstance(target, ast.Name) and target.id == "data":
                return [f"count = min_t(size_t, count, {self.shortened(value)});"]
            if self.is_slice_of_memory(target) and self.is_data(value):
                assert self.around.memory is not None
                address = f"{POINTER}({self.around.memory[0]} + *ppos)"
                return [f"if (copy_from_user({address}, buf, count))",
                        *indented(self.failing("-EFAULT"))]  # fmt: skip
            if self.is_data(value) and (place := self.whole_memory(target, "count")):
                return [f"if (copy_from_user({place}, buf, count))",
                        *indented(self.failing("-EFAULT"))]  # fmt: skip
        text = self.value(value)
        if isinstance(target, ast.Name) and self.is_page(value):
            self.locals[target.id] = "struct page *"
            return [f"{target.id} = {text};"] if target.id != text else []
        return [f"{self._target(target)} = {text};"]

    def _divided(self, target: ast.Tuple, value: ast.expr) -> list[str]:
        """Write ``whole, rest = divmod(a, b)``."""
        names = [part.id for part in target.elts if isinstance(part, ast.Name)]
        if not is_call(value, "divmod") or len(value.args) != 2 or len(names) != 2:
            raise NoCounterpart
        used = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
        if used & set(names):
            raise NoCounterpart
        number, divisor = (self.part(part) for part in value.args)
        whole, rest = (self.local(name) for name in names)
        return [f"{whole} = {number} / {divisor};", f"{rest} = {number} % {divisor};"]

    def _target(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self.local(node.id)
        if isinstance(node, ast.Attribute) and node.attr != "vm_flags":  # since 6.3 by functions
            return self.value(node)
        raise NoCounterpart

    def local(self, name: str) -> str:
        """Declare a number."""
        if name in _OBJECTS or self.locals.get(name, "unsigned long ") != "unsigned long ":
            raise NoCounterpart  # no number, and maybe a parameter of that name
        self.locals[name] = "unsigned long "
        return name

    def _call_alone(self, node: ast.Call) -> list[str]:
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "clear" and (table := table_of(node.func.value, self.around)):
                self.fields.add(table)
                return [f"xa_destroy(&dev->{table});"]
            if self.helper_of(node) is None:
                raise NoCounterpart
            if self.is_page(node):
                self.value(node)
                return []
            return self._checked(self.call_of_helper(node))
        code, kind = self._call(node)
        return self._checked(code) if kind == "error" else [f"{code};"]

    def _checked(self, code: str) -> list[str]:
        self.needs_ret = True
        return [f"ret = {code};", "if (ret)", *indented(self.failing("ret"))]

    # --- expressions ------------------------------------------------------------------------

    def value(self, node: ast.expr) -> str:
        """Write an expression; what may fail in it comes before, in a statement of its own."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return str(int(node.value))
        if isinstance(node, ast.Name):
            return self._of_name(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare | ast.UnaryOp):
            return self._operation_on(node)
        if isinstance(node, ast.Call):
            return self._result(node)
        if isinstance(node, ast.Subscript) and self.is_page(node):
            return self.load(node.value, node.slice)
        raise NoCounterpart

    def _of_name(self, name: str) -> str:
        if name == "pos" and self.operation in ("read", "write"):
            return "*ppos"
        if name == "data":
            raise NoCounterpart
        if name in self.around.constants and name not in self.locals:
            return self.value(self.around.constants[name])
        if name not in self.arguments and name not in self.locals and name not in _NAMES:
            raise NoCounterpart
        return _OBJECTS.get(name, name)

    def _attribute(self, node: ast.Attribute) -> str:
        if is_self(node.value):
            if node.attr in self.around.tables:
                raise NoCounterpart
            self.fields.add(node.attr)
            return f"dev->{node.attr}"
        if isinstance(node.value, ast.Name) and node.value.id in _OBJECTS:
            return f"{_OBJECTS[node.value.id]}->{node.attr}"
        raise NoCounterpart

    def _operation_on(self, node: ast.expr) -> str:
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                return "!count" if self.is_data(node.operand) else f"!{self.part(node.operand)}"
            raise NoCounterpart
        parts: list[ast.expr]
        operators: list[ast.AST]
        if isinstance(node, ast.BinOp):
            parts, operators = [node.left, node.right], [node.op]
        elif isinstance(node, ast.BoolOp):
            parts, operators = node.values, [node.op] * (len(node.values) - 1)
        else:
            assert isinstance(node, ast.Compare)
            parts, operators = [node.left, *node.comparators], [*node.ops]
            if len(operators) > 1:
                raise NoCounterpart
            if isinstance(operators[0], ast.In | ast.NotIn):
                is_there = self.load(parts[1], parts[0])
                return is_there if isinstance(operators[0], ast.In) else f"!{is_there}"
        text = self.part(parts[0])
        first = len(self._before)
        for operator, part in zip(operators, parts[1:], strict=True):
            if type(operator) not in _OPERATORS:
                raise NoCounterpart
            text += f" {_OPERATORS[type(operator)]} {self.part(part)}"
        if isinstance(node, ast.BoolOp) and len(self._before) > first:
            raise NoCounterpart  # it would be done in any case
        return text

    def part(self, node: ast.expr) -> str:
        """Write an expression as a part of another one."""
        text = self.value(node)
        if isinstance(node, ast.Name) and node.id not in self.locals:
            node = self.around.constants.get(node.id, node)
        is_compound = isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare)
        return f"({text})" if is_compound else text

    def _result(self, node: ast.Call) -> str:
        if self.helper_of(node) is not None and self.is_page(node):
            return self.checked_page(self.call_of_helper(node), node.func.attr)  # type: ignore[attr-defined]
        if isinstance(node.func, ast.Name):
            if node.func.id in ("min", "max") and len(node.args) > 1:
                return self._least_or_most(node.func.id, node.args)
            if node.func.id in ("parse_size", "parse_number") and len(node.args) in (1, 2):
                return self.value(node.args[0])  # a parameter of the module, a number already
            if node.func.id == "len" and self.is_data(node.args[0]):
                return "count"
        code, kind = self._call(node)
        if kind == "number":
            return code
        if kind == "pointer":
            return f"(unsigned long){code}"
        if kind == "memory":
            name = self.local("memory")
            self._before += [f"{name} = (unsigned long){code};", f"if (!{name})",
                             *indented(self.failing("-ENOMEM"))]  # fmt: skip
            return name
        if kind == "page":
            name = self.fresh_page("page")
            self._before += [f"{name} = {code};", f"if (!{name})",
                             *indented(self.failing("-ENOMEM"))]  # fmt: skip
            return name
        raise NoCounterpart

    def _least_or_most(self, name: str, parts: list[ast.expr]) -> str:
        """Write min or max, of numbers that may be negative."""
        first, *rest = parts
        other = self._least_or_most(name, rest) if len(rest) > 1 else self.value(rest[0])
        return f"{name}_t(long, {self.value(first)}, {other})"

    def _call(self, node: ast.Call) -> tuple[str, str]:
        if not isinstance(node.func, ast.Name) or node.func.id not in _CALLS or node.keywords:
            raise NoCounterpart
        casts, kind = _CALLS[node.func.id]
        written = []
        for index, argument in enumerate(node.args):
            cast = casts[index] if index < len(casts) else ""
            written.append(cast + (self.part(argument) if cast else self.value(argument)))
        return f"{node.func.id}({', '.join(written)})", kind


def _errno_of(node: ast.Raise) -> str:
    """Return the name of the errno of ``raise OSError(errno.EINVAL, ...)``."""
    error = node.exc
    if isinstance(error, ast.Call) and isinstance(error.func, ast.Name) and error.args:
        code = error.args[0]
        if error.func.id == "OSError" and isinstance(code, ast.Attribute):
            return code.attr
    raise NoCounterpart


def translate(method: Method, around: Around, operation: str, failure: str,
              names: Sequence[str]) -> Function:  # fmt: skip
    """Write the body of `method` in C.

    :param operation: which operation it is.
    :param failure: what it returns where it can't go on.
    :param names: what its arguments are called.
    """
    is_possible = isinstance(method, ast.FunctionDef)
    try:
        method = renamed(method, names)
    except NoCounterpart:
        is_possible = False
    translator = _Translator(around, operation, failure)
    for argument in method.args.args[1:]:
        if operation != "probe" or argument.arg in around.parameters:
            translator.arguments.add(argument.arg)
        if argument.annotation is not None and ast.unparse(argument.annotation) == "Page":
            translator.locals[argument.arg] = "struct page *"
    lines: list[str] = []
    left: list[ast.stmt] = []
    for index, node in enumerate(method.body):
        before = translator.noted()
        try:
            if not is_possible:
                raise NoCounterpart
            lines += translator.statement(node)
        except NoCounterpart:
            translator.forget_since(before)
            left = method.body[index:]
            break
    if left:
        lines += ["/*", " * TODO: this has no counterpart in C that could be written unseen:"]
        for node in left:
            lines += [f" *   {line}".replace("*/", "* /") for line in ast.unparse(node).split("\n")]
        lines.append(" */")
    if not failure:  # a function without a result
        lines = [line.replace("return 0;", "return;") for line in lines]
    if left or not lines or not lines[-1].startswith("return"):
        result = failure if left or not failure else "0"
        lines += [f"return {result};"] if result else []
    arguments = {argument.arg for argument in method.args.args}
    declared = sorted(set(translator.locals) - arguments)
    unused = " __maybe_unused" if left else ""  # what is left to do may need them
    head = [f"{translator.locals[local]}{local}{unused};" for local in declared]
    head += ["int ret;"] if translator.needs_ret else []
    body = [*head, *([""] if head else []), *lines]
    return Function([f"\t{line}" if line else "" for line in body], translator.fields, not left)
