"""What a program reads and writes, and the device's memory, in C: copies from and to its buffer."""

from __future__ import annotations

import ast
from abc import abstractmethod

from mapdev.skeleton.pages import Pages
from mapdev.skeleton.syntax import Around, NoCounterpart, braced, indented, is_call, is_self

__all__ = ["POINTER", "Data"]

POINTER = "(void *)"


class Data(Pages):
    """The part of a translator that has to do with data of programs.

    :ivar operation: which operation is translated.
    """

    def __init__(self, around: Around, operation: str) -> None:
        super().__init__(around)
        self.operation = operation

    @abstractmethod
    def part(self, node: ast.expr) -> str:
        """Write an expression as a part of another one."""

    def is_data(self, node: ast.expr) -> bool:
        """Say whether it is what a program writes."""
        return self.operation == "write" and isinstance(node, ast.Name) and node.id == "data"

    def shortened(self, node: ast.expr) -> str:
        """Return how much is taken of what a program writes: ``data[:count]``."""
        if isinstance(node, ast.Subscript) and self.is_data(node.value):
            part = node.slice
            if isinstance(part, ast.Slice) and part.lower is part.step is None and part.upper:
                return self.value(part.upper)
        raise NoCounterpart

    def data_for_program(self, node: ast.expr) -> list[str] | None:
        """Write the result of a read that is made of zeros or of memory; None if it is neither."""
        if isinstance(node, ast.IfExp):
            answers = [self.data_for_program(part) for part in (node.orelse, node.body)]
            if None in answers:
                return None
            inside = indented(answers[0] or [])
            return [*braced(f"if (!{self.part(node.test)})", inside), *(answers[1] or [])]
        if isinstance(node, ast.Constant) and node.value == b"":
            return ["return 0;"]
        if not is_call(node) or len(node.args) not in (1, 2):
            return None
        if is_call(node, "bytes") and is_call(node.args[0], "memory"):
            node = node.args[0]
        if is_call(node, "bytes"):
            size = self.part(node.args[0])
            copy = f"clear_user(buf, {size})"
        elif is_call(node, "memory") and len(node.args) == 2:
            size = self.part(node.args[1])
            copy = f"copy_to_user(buf, {self._pointer(node.args[0])}, {size})"
        else:
            return None
        left = self.local("left")  # what could not be copied; only if that is all it is an error
        return [f"{left} = {copy};", f"if ({left} && {left} == {size})",
                *indented(self.failing("-EFAULT")), f"*ppos += {size} - {left};",
                f"return {size} - {left};"]  # fmt: skip

    def whole_memory(self, node: ast.expr, size: str) -> str | None:
        """Return the address of ``memory(address, size)[:]``."""
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Slice):
            return None
        part = node.slice
        if part.lower or part.upper or part.step or not is_call(node.value, "memory"):
            return None
        address, length = node.value.args
        return self._pointer(address) if self.value(length) == size else None

    def _pointer(self, node: ast.expr) -> str:
        """Write an address as a pointer: page_address gives one, all else are numbers."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and is_call(
            node.left, "page_address"
        ):  # fmt: skip
            return f"{self._pointer(node.left)} + {self.part(node.right)}"
        if is_call(node, "page_address"):
            return f"page_address({self.value(node.args[0])})"
        return f"{POINTER}({self.value(node)})"

    def is_slice_of_memory(self, node: ast.expr) -> bool:
        """Say whether it is ``self.data[pos : pos + ...]``, the device's memory at the position."""
        if self.around.memory is None or not isinstance(node, ast.Subscript):
            return False
        whole = node.value
        part = node.slice
        is_it = (
            isinstance(whole, ast.Attribute) and whole.attr == "data" and is_self(whole.value)
            and isinstance(part, ast.Slice) and isinstance(part.lower, ast.Name)
            and part.lower.id == "pos"
        )  # fmt: skip
        if is_it:
            self.fields |= {field.removeprefix("dev->") for field in self.around.memory}
        return is_it
