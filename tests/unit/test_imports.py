"""The modules of the embedded host import each other in one direction, for types as well."""

import ast
from pathlib import Path

from mapdev.host import embedded

PACKAGE = "mapdev.host.embedded"
ROOT = Path(embedded.__file__).parent


def modules() -> dict[str, Path]:
    names = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join((PACKAGE, *(part for part in parts if part != "__init__")))] = path
    return names


def imports(path: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that a file names in an import statement, anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inner or {node.module} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules of which each imports the next and the last one the first, if any."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return trail[trail.index(name) :]
        if name not in done:
            for other in graph[name]:
                if found := visit(other, [*trail, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, []))), [])


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": {"d"}, "d": set()}) == []
    assert sorted(circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}})) == ["b", "c", "d"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = modules()
    graph = {name: imports(path, set(names)) for name, path in names.items()}
    assert any(graph.values())
    assert circle(graph) == []
