"""Turns methods of a driver into C, up to the first statement that has no counterpart there.

What follows such a statement is kept in a comment, with the Python, and the function fails: a half
of an operation would be worse than none. All numbers and addresses are ``unsigned long``.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

__all__ = ["Function", "translate"]

# By name: what arguments are cast to, and what comes of the call: a number, an int that is an error
# unless it is 0, memory (0: there is none), or nothing.
_POINTER = "(void *)"
_CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "kmalloc": ((), "memory"), "kzalloc": ((), "memory"), "vmalloc": ((), "memory"),
    "vzalloc": ((), "memory"), "vmalloc_user": ((), "memory"),
    "kfree": ((_POINTER,), "nothing"), "vfree": ((_POINTER,), "nothing"),
    "virt_to_phys": ((_POINTER,), "number"), "vmalloc_to_pfn": ((_POINTER,), "number"),
    "vma_pages": ((), "number"), "PAGE_ALIGN": ((), "number"), "get_order": ((), "number"),
    "remap_pfn_range": ((), "error"), "io_remap_pfn_range": ((), "error"),
    "remap_vmalloc_range": (("", _POINTER, ""), "error"), "vm_iomap_memory": ((), "error"),
    "pgprot_noncached": ((), "number"), "pgprot_writecombine": ((), "number"),
    "fixed_size_llseek": ((), "number"),
}  # fmt: skip
_OBJECTS = {"vma": "vma", "vmf": "vmf", "file": "filp", "inode": "inode"}
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "/", ast.Mod: "%", ast.LShift: "<<",
    ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<",
    ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=", ast.And: "&&", ast.Or: "||",
}  # fmt: skip


class Function(NamedTuple):
    """A function in C.

    :ivar lines: of its body, indented by one tab.
    :ivar fields: what it uses of the device: attributes of self.
    :ivar is_whole: nothing is left to do.
    """

    lines: list[str]
    fields: set[str]
    is_whole: bool


class _NoCounterpart(Exception):  # noqa: N818 - an outcome
    """There is no such thing in C."""


class _Translator:
    """Translates one method.

    :param name: what functions of the module begin with.
    :param helpers: methods of the driver that are functions of the module too.
    :param memory: address and size of ``self.data``, if that is the memory of the device.
    """

    def __init__(
        self, name: str, operation: str, helpers: set[str], memory: tuple[str, str] | None
    ) -> None:
        self._name = name
        self._operation = operation
        self._helpers = helpers
        self._memory = memory
        self.locals: dict[str, None] = {}
        self.fields: set[str] = set()
        self.needs_ret = False
        self._before: list[str] = []  # statements that an expression needs before it

    def noted(self) -> tuple[dict[str, None], set[str], bool]:
        """Return what has been used so far, for `forget_since`."""
        return dict(self.locals), set(self.fields), self.needs_ret

    def forget_since(self, before: tuple[dict[str, None], set[str], bool]) -> None:
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
        if isinstance(node, ast.AugAssign):
            operator = _OPERATORS.get(type(node.op))
            if operator is None:
                raise _NoCounterpart
            return [f"{self._target(node.target)} {operator}= {self.value(node.value)};"]
        if isinstance(node, ast.If):
            return self._if(node)
        if isinstance(node, ast.For):
            return self._for(node)
        if isinstance(node, ast.Return):
            return self._return(node.value)
        if isinstance(node, ast.Raise):
            return [f"return -{_errno_of(node)};"]
        raise _NoCounterpart

    def _block(self, nodes: list[ast.stmt]) -> list[str]:
        lines = []
        for node in nodes:
            before, self._before = self._before, []
            lines += ["\t" + line for line in self.statement(node)]
            self._before = before
        return lines

    def _if(self, node: ast.If) -> list[str]:
        head = f"if ({self.value(node.test)})"
        inside = self._block(node.body)
        if node.orelse:
            return [f"{head} {{", *inside, "} else {", *self._block(node.orelse), "}"]
        return [head, *inside] if len(inside) == 1 else [f"{head} {{", *inside, "}"]

    def _for(self, node: ast.For) -> list[str]:
        loop = node.iter
        is_range = isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name)
        if not is_range or not isinstance(node.target, ast.Name) or node.orelse:
            raise _NoCounterpart
        assert isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name)
        if loop.func.id != "range" or not 1 <= len(loop.args) <= 3:
            raise _NoCounterpart
        limits = [self.value(limit) for limit in loop.args]
        start = limits[0] if len(limits) > 1 else "0"
        end = limits[1] if len(limits) > 1 else limits[0]
        name = self._local(node.target.id)
        step = f"{name} += {limits[2]}" if len(limits) > 2 else f"{name}++"
        inside = self._block(node.body)
        return [f"for ({name} = {start}; {name} < {end}; {step}) {{", *inside, "}"]

    def _return(self, value: ast.expr | None) -> list[str]:
        if value is None:
            return ["return 0;"]
        if self._operation == "read" and self._is_slice_of_memory(value):
            assert self._memory is not None
            address, size = self._memory
            return [f"return simple_read_from_buffer(buf, count, ppos, {_POINTER}{address}, "
                    f"{size});"]  # fmt: skip
        text = self.value(value)
        if self._operation == "write" and text == "count":
            return ["*ppos += count;", "return count;"]
        return [f"return {text};"]

    def _assign(self, target: ast.expr, value: ast.expr) -> list[str]:
        if _is_table(value):
            return []  # it is written with the functions that are in it
        if isinstance(target, ast.Attribute) and target.attr == "vm_ops":
            return [f"vma->vm_ops = &{self._name}_vm_ops;"]
        if self._operation == "write":
            if isinstance(target, ast.Name) and target.id == "data":
                return [f"count = min_t(size_t, count, {self._shortened(value)});"]
            if self._is_slice_of_memory(target) and self.is_data(value):
                assert self._memory is not None
                return [f"if (copy_from_user({_POINTER}({self._memory[0]} + *ppos), buf, count))",
                        "\treturn -EFAULT;"]  # fmt: skip
        text = self.value(value)
        return [f"{self._target(target)} = {text};"]

    def _target(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._local(node.id)
        if isinstance(node, ast.Attribute) and node.attr != "vm_flags":  # since 6.3 by functions
            return self.value(node)
        raise _NoCounterpart

    def _local(self, name: str) -> str:
        if name in _OBJECTS:  # no number, and maybe a parameter of that name
            raise _NoCounterpart
        self.locals[name] = None
        return name

    def _call_alone(self, node: ast.Call) -> list[str]:
        if isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if not _is_self(node.func.value) or name not in self._helpers:
                raise _NoCounterpart
            arguments = ", ".join(["dev", *(self.value(argument) for argument in node.args)])
            return self._checked(f"{self._name}_{name}({arguments})")
        code, kind = self._call(node)
        return self._checked(code) if kind == "error" else [f"{code};"]

    def _checked(self, code: str) -> list[str]:
        self.needs_ret = True
        return [f"ret = {code};", "if (ret)", "\treturn ret;"]

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
        raise _NoCounterpart

    def _of_name(self, name: str) -> str:
        if name == "pos" and self._operation in ("read", "write"):
            return "*ppos"
        if name == "data":
            raise _NoCounterpart
        return _OBJECTS.get(name, name)

    def _attribute(self, node: ast.Attribute) -> str:
        if _is_self(node.value):
            self.fields.add(node.attr)
            return f"dev->{node.attr}"
        if isinstance(node.value, ast.Name) and node.value.id in _OBJECTS:
            return f"{_OBJECTS[node.value.id]}->{node.attr}"
        raise _NoCounterpart

    def _operation_on(self, node: ast.expr) -> str:
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                return "!count" if self.is_data(node.operand) else f"!{self._part(node.operand)}"
            raise _NoCounterpart
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
                raise _NoCounterpart
        text = self._part(parts[0])
        for operator, part in zip(operators, parts[1:], strict=True):
            if type(operator) not in _OPERATORS:
                raise _NoCounterpart
            text += f" {_OPERATORS[type(operator)]} {self._part(part)}"
        return text

    def _part(self, node: ast.expr) -> str:
        text = self.value(node)
        is_compound = isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare)
        return f"({text})" if is_compound else text

    def _result(self, node: ast.Call) -> str:
        if isinstance(node.func, ast.Name):
            if node.func.id in ("parse_size", "parse_number") and len(node.args) in (1, 2):
                return self.value(node.args[0])  # a parameter of the module, a number already
            if node.func.id == "len" and self.is_data(node.args[0]):
                return "count"
        code, kind = self._call(node)
        if kind == "number":
            return code
        if kind == "memory":
            name = self._local("memory")
            self._before += [f"{name} = (unsigned long){code};", f"if (!{name})",
                             "\treturn -ENOMEM;"]  # fmt: skip
            return name
        raise _NoCounterpart

    def _call(self, node: ast.Call) -> tuple[str, str]:
        if not isinstance(node.func, ast.Name) or node.func.id not in _CALLS or node.keywords:
            raise _NoCounterpart
        casts, kind = _CALLS[node.func.id]
        written = []
        for index, argument in enumerate(node.args):
            cast = casts[index] if index < len(casts) else ""
            written.append(cast + (self._part(argument) if cast else self.value(argument)))
        return f"{node.func.id}({', '.join(written)})", kind

    # --- the program's data, and the device's memory ----------------------------------------

    def is_data(self, node: ast.expr) -> bool:
        """Say whether it is what a program writes."""
        return self._operation == "write" and isinstance(node, ast.Name) and node.id == "data"

    def _shortened(self, node: ast.expr) -> str:
        if isinstance(node, ast.Subscript) and self.is_data(node.value):
            part = node.slice
            if isinstance(part, ast.Slice) and part.lower is part.step is None and part.upper:
                return self.value(part.upper)
        raise _NoCounterpart

    def _is_slice_of_memory(self, node: ast.expr) -> bool:
        """Say whether it is ``self.data[pos : pos + ...]``, the device's memory at the position."""
        if self._memory is None or not isinstance(node, ast.Subscript):
            return False
        whole = node.value
        part = node.slice
        is_it = (
            isinstance(whole, ast.Attribute) and whole.attr == "data" and _is_self(whole.value)
            and isinstance(part, ast.Slice) and isinstance(part.lower, ast.Name)
            and part.lower.id == "pos"
        )  # fmt: skip
        if is_it:
            self.fields |= {field.removeprefix("dev->") for field in self._memory}
        return is_it


def _is_table(node: ast.expr) -> bool:
    """Say whether it makes a `VmOperationsStruct`."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return is_call and node.func.id == "VmOperationsStruct"  # type: ignore[attr-defined]


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _errno_of(node: ast.Raise) -> str:
    """Return the name of the errno of ``raise OSError(errno.EINVAL, ...)``."""
    error = node.exc
    if isinstance(error, ast.Call) and isinstance(error.func, ast.Name) and error.args:
        code = error.args[0]
        if error.func.id == "OSError" and isinstance(code, ast.Attribute):
            return code.attr
    raise _NoCounterpart


def translate(
    method: ast.FunctionDef, name: str, operation: str, failure: str, helpers: set[str],
    memory: tuple[str, str] | None,
) -> Function:  # fmt: skip
    """Write the body of `method` in C.

    :param name: what functions of the module begin with.
    :param operation: which operation it is.
    :param failure: what it returns where it can't go on.
    :param helpers: methods that are functions of the module too.
    :param memory: see `_Translator`.
    """
    translator = _Translator(name, operation, helpers, memory)
    lines: list[str] = []
    left: list[ast.stmt] = []
    for index, node in enumerate(method.body):
        before = translator.noted()
        try:
            lines += translator.statement(node)
        except _NoCounterpart:
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
    head = [f"unsigned long {local}{unused};" for local in declared]
    head += ["int ret;"] if translator.needs_ret else []
    body = [*head, *([""] if head else []), *lines]
    return Function([f"\t{line}" if line else "" for line in body], translator.fields, not left)
