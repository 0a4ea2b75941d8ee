"""Questions about the syntax of a driver, what a method of it may refer to, and layout of C."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, TypeGuard

__all__ = [
    "Around", "Method", "NoCounterpart", "braced", "indented", "is_call", "is_self",
    "is_table_of_operations", "renamed", "table_of",
]  # fmt: skip


Method = ast.FunctionDef | ast.AsyncFunctionDef


class NoCounterpart(Exception):  # noqa: N818 - an outcome
    """There is no such thing in C."""


class Around(NamedTuple):
    """What a method may refer to.

    :ivar name: what functions of the module begin with.
    :ivar helpers: methods that are functions of the module too; True: the result is a page.
    :ivar memory: address and size of ``self.data``, if that is the memory of the device.
    :ivar tables: attributes that are pages by number, ``dict[int, Page]``.
    :ivar constants: of the Python module.
    :ivar parameters: of the module in C: numbers.
    """

    name: str
    helpers: dict[str, bool]
    memory: tuple[str, str] | None
    tables: set[str]
    constants: dict[str, ast.expr]
    parameters: set[str]


def renamed(method: Method, names: Sequence[str]) -> Method:
    """Give the arguments of a method, after self, other names, those that C has.

    :raises NoCounterpart: a name is that of something else in there.
    """
    arguments = [argument.arg for argument in method.args.args[1:]]
    other = {old: new for old, new in zip(arguments, names, strict=False) if old != new}
    if not other:
        return method
    used = {node.id for node in ast.walk(method) if isinstance(node, ast.Name)} | {*arguments}
    if used & {*other.values()} - {*other}:
        raise NoCounterpart
    copy: Method = deepcopy(method)
    for node in ast.walk(copy):
        if isinstance(node, ast.Name):
            node.id = other.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = other.get(node.arg, node.arg)
    return copy


def is_self(node: ast.expr) -> bool:
    """Say whether it is the driver."""
    return isinstance(node, ast.Name) and node.id == "self"


def is_call(node: ast.expr, name: str | None = None) -> TypeGuard[ast.Call]:
    """Say whether it calls a function: any, or that of a name."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return name is None or node.func.id == name


def is_table_of_operations(node: ast.expr) -> bool:
    """Say whether it makes a `VmOperationsStruct`."""
    return is_call(node, "VmOperationsStruct")


def table_of(node: ast.expr, around: Around) -> str | None:
    """Return which table of pages it is."""
    if isinstance(node, ast.Attribute) and is_self(node.value) and node.attr in around.tables:
        return node.attr
    return None


def braced(head: str, inside: list[str]) -> list[str]:
    """Put statements under a condition or a loop, in braces if they are several."""
    return [head, *inside] if len(inside) == 1 else [f"{head} {{", *inside, "}"]


def indented(lines: list[str]) -> list[str]:
    """Indent statements by a tab."""
    return [f"\t{line}" for line in lines]
