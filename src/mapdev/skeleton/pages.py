"""Pages in C: ``struct page *``, and an xarray for a ``dict[int, Page]`` of a driver.

Operations of a driver run one at a time in Python, those of a module at once on several processors.
So a page that is put where none was is put there by xa_cmpxchg: who comes second takes the first's.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod

from mapdev.skeleton.syntax import Around, NoCounterpart, is_call, is_self, table_of

__all__ = ["PAGES", "Pages"]

PAGES = ("pfn_to_page", "virt_to_page", "vmalloc_to_page")
_POINTER = "struct page *"


class Pages(ABC):
    """The part of a translator that has to do with pages.

    :ivar locals: variables, by name: their types, with the space behind.
    """

    def __init__(self, around: Around) -> None:
        self.around = around
        self.locals: dict[str, str] = {}
        self.fields: set[str] = set()
        self._before: list[str] = []  # statements that an expression needs before it

    @abstractmethod
    def value(self, node: ast.expr) -> str:
        """Write an expression."""

    @abstractmethod
    def local(self, name: str) -> str:
        """Declare a number."""

    @abstractmethod
    def failing(self, code: str) -> list[str]:
        """End with an error."""

    def is_page(self, node: ast.expr) -> bool:
        """Say whether an expression is a page."""
        if isinstance(node, ast.Name):
            return self.locals.get(node.id) == _POINTER
        if isinstance(node, ast.Subscript):
            return table_of(node.value, self.around) is not None
        if (helper := self.helper_of(node)) is not None:
            return self.around.helpers[helper]
        return any(is_call(node, name) for name in ("alloc_page", *PAGES))

    def helper_of(self, node: ast.expr) -> str | None:
        """Return which helper a call is one of."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        name = node.func.attr
        return name if is_self(node.func.value) and name in self.around.helpers else None

    def call_of_helper(self, node: ast.Call) -> str:
        """Write the call of a helper."""
        if node.keywords:
            raise NoCounterpart
        arguments = ", ".join(["dev", *(self.value(argument) for argument in node.args)])
        return f"{self.around.name}_{self.helper_of(node)}({arguments})"

    def fresh_page(self, name: str) -> str:
        """Declare a page, by a name that is not taken."""
        taken = {*self.locals, "dev", "vma", "vmf", "filp", "inode", "buf", "count", "ppos", "ret"}
        found, number = name, 2
        while found in taken:
            found, number = f"{name}{number}", number + 1
        self.locals[found] = _POINTER
        return found

    def checked_page(self, code: str, name: str) -> str:
        """Call what gives a page or an error, and return the variable with the page."""
        page = self.fresh_page(name)
        failed = [f"\t{line}" for line in self.failing(f"PTR_ERR({page})")]
        self._before += [f"{page} = {code};", f"if (IS_ERR({page}))", *failed]
        return page

    def load(self, table: ast.expr, index: ast.expr) -> str:
        """Write a look into a table: a page, or NULL."""
        name = table_of(table, self.around)
        if name is None:
            raise NoCounterpart
        self.fields.add(name)
        return f"xa_load(&dev->{name}, {self.value(index)})"

    def table_values(self, node: ast.expr) -> str | None:
        """Return the table of which it is all pages: ``self.table.values()``."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
            return table_of(node.func.value, self.around) if node.func.attr == "values" else None
        return None

    def each_page(self, table: str, target: ast.expr) -> str:
        """Write the head of a loop over all pages of a table."""
        if not isinstance(target, ast.Name) or self.locals.get(target.id, _POINTER) != _POINTER:
            raise NoCounterpart
        self.locals[target.id] = _POINTER
        self.fields.add(table)
        return f"xa_for_each(&dev->{table}, {self.local('index')}, {target.id})"

    def inserted(self, node: ast.If) -> list[str] | None:
        """Write ``if at not in table: table[at] = alloc_page(gfp)``; None if it is not that."""
        test, body = node.test, node.body[0]
        if (
            node.orelse or len(node.body) != 1 or not isinstance(test, ast.Compare)
            or len(test.ops) != 1 or not isinstance(test.ops[0], ast.NotIn)
            or not isinstance(body, ast.Assign) or not isinstance(body.targets[0], ast.Subscript)
            or not is_call(body.value, "alloc_page")
            or ast.dump(body.targets[0].value) != ast.dump(test.comparators[0])
            or ast.dump(body.targets[0].slice) != ast.dump(test.left)
        ):  # fmt: skip
            return None
        is_there, index = self.load(test.comparators[0], test.left), self.value(test.left)
        table = table_of(test.comparators[0], self.around)
        gfp = ", ".join(self.value(argument) for argument in body.value.args)
        page, old = self.fresh_page("page"), self.fresh_page("old")
        no_memory, failed = self.failing("-ENOMEM"), self.failing(f"xa_err({old})")
        return [
            f"{page} = {is_there};",
            f"if (!{page}) {{",
            f"\t{page} = alloc_page({gfp});",
            f"\tif (!{page})",
            *(f"\t\t{line}" for line in no_memory),
            f"\t{old} = xa_cmpxchg(&dev->{table}, {index}, NULL, {page}, GFP_KERNEL);",
            f"\tif ({old})",
            f"\t\tput_page({page});",
            f"\tif (xa_is_err({old}))",
            *(f"\t\t{line}" for line in failed),
            "}",
        ]
