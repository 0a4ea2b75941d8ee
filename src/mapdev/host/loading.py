"""Loads a driver class by gallery name, ``file.py:Class`` or ``package.module:Class``.

The gallery is `mapdev.drivers`; other packages add to it by the entry-point group of that name.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from mapdev.driver import Driver
from mapdev.drivers import GALLERY

if TYPE_CHECKING:
    import inspect

__all__ = ["DriverError", "gallery", "load", "parameters", "parse_device"]

GROUP = "mapdev.drivers"


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
    except Exception as error:
        raise DriverError(f"{path} can't be loaded: {error!r}") from error
    return module


def _from_module(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the current directory are found
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise DriverError(f"the module {name} can't be imported: {error!r}") from error


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
        values[key] = value
    return node, driver, values


def parameters(driver: type[Driver]) -> list[inspect.Parameter]:
    """Return the parameters that a driver's probe takes."""
    import inspect

    return list(inspect.signature(driver.probe).parameters.values())[1:]


def check_parameters(driver: type[Driver], values: dict[str, Any]) -> None:
    """Check that probe can take `values`.

    :raises DriverError: it knows no such parameter, or one is missing.
    """
    if _are_taken(driver.probe, values):
        return
    import inspect  # takes as long as all that has been imported until here

    try:
        inspect.signature(driver.probe).bind(None, **values)
    except TypeError as error:
        known = ", ".join(str(parameter) for parameter in parameters(driver)) or "none"
        raise DriverError(f"{driver.name}: {error}; its parameters are: {known}") from None


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
