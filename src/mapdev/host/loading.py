"""Loads a driver class by gallery name, ``file.py:Class`` or ``package.module:Class``.

The gallery is `mapdev.drivers`; other packages add to it by the entry-point group of that name.
"""

from __future__ import annotations

import importlib
import os
import posixpath
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from mapdev.declaration import takes, where
from mapdev.driver import Driver
from mapdev.drivers import GALLERY

if TYPE_CHECKING:
    import inspect

__all__ = [
    "DriverError", "Node", "check_parameters", "gallery", "load", "new_driver", "node_path",
    "parameters", "parse_device", "told",
]  # fmt: skip

GROUP = "mapdev.drivers"
Node = str | os.PathLike[str]
_NAME_MAX, _PATH_MAX = 255, 4095  # bytes
_NO_NODES = ("/proc", "/sys")  # file systems on which nobody can make any

AnyDriver = TypeVar("AnyDriver", bound=Driver)


class DriverError(Exception):
    """A driver can't be found or set up; the text says what to do."""


def gallery() -> dict[str, str]:
    """Return the drivers that go by a name of their own, each as ``package.module:Class``."""
    from importlib.metadata import entry_points  # takes longer than all else that `run` imports

    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | GALLERY


def load(spec: str) -> type[Driver]:
    """Return the driver class that `spec` means.

    :raises DriverError: there is none, or it is no driver.
    """
    target, colon, name = spec.rpartition(":")
    if not colon:
        return _from_gallery(spec)
    module = _from_file(target) if target.endswith(".py") else _from_module(target)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Driver)):
        classes = [
            key for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Driver) and value is not Driver
        ]  # fmt: skip
        raise DriverError(
            f"{target} has no driver class {name!r}; it has: {', '.join(classes) or 'none'}"
        )
    return found


def _from_gallery(name: str) -> type[Driver]:
    spec = GALLERY.get(name) or gallery().get(name)
    if spec is None:
        raise DriverError(
            f"no driver is called {name!r}: there are {', '.join(sorted(gallery()))}; "
            "a driver of your own is written file.py:Class or package.module:Class"
        )
    return load(spec)


def _from_file(path: str) -> Any:
    import importlib.util

    if not os.path.isfile(path):  # noqa: PTH113 - pathlib takes long to import
        raise DriverError(f"there is no file {path}")
    name = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise DriverError(f"{path} can't be loaded: {told(error)}") from error
    return module


def _from_module(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the current directory are found
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise DriverError(f"the module {name} can't be imported: {told(error)}") from error


def told(error: BaseException) -> str:
    """Say what a driver's own code raised, and where.

    An error of mapdev's is told by its text, anything else by its type as well.
    """
    place = _place(error)
    if isinstance(error, OSError) and not isinstance(error.errno, int | None):
        return f"{error!r}, whose first argument is no errno ({place})"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    if place and str(error).startswith(os.path.basename(place).partition(":")[0] + ":"):  # noqa: PTH119
        return str(error)  # a refusal of mapdev's, which names the line
    if place:
        return f"{type(error).__name__}: {error} ({place})"
    return str(error) if isinstance(error, OSError | ValueError) else repr(error)


def _place(error: BaseException) -> str:
    """Return file and line of the innermost code that an error came through, not mapdev's.

    Python's own library comes second: the line to change is seldom there.
    """
    package, library = os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.__file__)  # noqa: PTH120
    place, second, trace = "", "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((package, "<frozen")):
            second = f"{file}:{trace.tb_lineno}"
            place = place if file.startswith(library) else second
        trace = trace.tb_next
    return place or second


def parse_device(text: str) -> tuple[str, str, dict[str, str]]:
    """Split ``/dev/NODE=DRIVER,key=value,...`` into node, driver and parameters.

    :raises DriverError: it has another form.
    """
    node, equals, rest = text.partition("=")
    driver, *pairs = rest.split(",")
    if not equals or not node.startswith("/") or not driver:
        raise DriverError(
            f"{text!r} is no device: write /dev/NODE=DRIVER or /dev/NODE=DRIVER,key=value"
        )
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise DriverError(f"{pair!r} in {text!r} is no parameter: write key=value")
        if key in values:
            raise DriverError(f"{key} is given twice in {text!r}")
        values[key] = value
    return node, driver, values


def node_path(node: Node) -> str:
    """Return the path of a node, normalised.

    :raises DriverError: there can be no node.
    """
    path: str = os.fspath(node) if isinstance(node, os.PathLike) else node
    if not isinstance(path, str) or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise DriverError(f"a node is an absolute path such as /dev/x, not {node!r}")
    path = "/" + posixpath.normpath(path).lstrip("/")
    parts = os.fsencode(path).split(b"/")
    if max(map(len, parts)) > _NAME_MAX or len(os.fsencode(path)) > _PATH_MAX:
        raise DriverError(
            f"the node {path[:40]}... is too long: a name has {_NAME_MAX} bytes at most, "
            f"a path {_PATH_MAX}"
        )
    if any(path == place or path.startswith(f"{place}/") for place in _NO_NODES):
        raise DriverError(f"{path}: there can be no node below {' or '.join(_NO_NODES)}")
    if os.path.isdir(path):  # noqa: PTH112 - pathlib takes long to import
        raise DriverError(f"{path} is a directory: a node is a file such as /dev/x")
    return path


def new_driver(cls: type[AnyDriver]) -> AnyDriver:
    """Return a new object of a driver class.

    :raises DriverError: it can't be made, or not be told from others.
    """
    initial = cls.__init__
    if not takes(initial, 1):
        raise DriverError(
            f"{where(initial)}: {cls.__name__}.__init__ wants parameters: those of a device are "
            "probe's, write def probe(self, ...)"
        )
    if cls.__hash__ is None:
        raise DriverError(
            f"{cls.__name__} has __eq__ without __hash__: drivers are told apart by identity, "
            "write @dataclass(eq=False)"
        )
    return cls()


def parameters(driver: type[Driver]) -> list[inspect.Parameter]:
    """Return the parameters that a driver's probe takes."""
    import inspect

    return list(inspect.signature(driver.probe).parameters.values())[1:]


def check_parameters(driver: type[Driver], values: dict[str, Any]) -> list[Any]:
    """Check that probe can take `values`; take those out that it takes by their place.

    :return: these, in their order.
    :raises DriverError: it knows no such parameter, or one is missing.
    """
    if _are_taken(driver.probe, values):
        return []
    import inspect  # takes as long as all that has been imported until here

    known = ", ".join(str(parameter) for parameter in parameters(driver)) or "none"
    places: list[Any] = []
    for parameter in parameters(driver):
        if parameter.kind is not parameter.POSITIONAL_ONLY or parameter.name not in values:
            break
        places.append(values.pop(parameter.name))
    try:
        inspect.signature(driver.probe).bind(None, *places, **values)
    except TypeError as error:
        raise DriverError(f"{driver.name}: {error}; its parameters are: {known}") from None
    return places


def _are_taken(probe: Callable[..., Any], values: dict[str, Any]) -> bool:
    """Say whether a plain method takes just `values`; if not, `inspect` will say what is wrong."""
    if type(probe) is not FunctionType or hasattr(probe, "__wrapped__"):
        return False
    code, defaults = probe.__code__, probe.__defaults__ or ()
    if code.co_posonlyargcount or code.co_kwonlyargcount:
        return False
    names = code.co_varnames[1 : code.co_argcount]
    required = names[: len(names) - len(defaults)]
    return set(required) <= values.keys() <= set(names)
