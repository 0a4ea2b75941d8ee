"""printk and its relatives: messages of a driver go to the host's log.

The log is Python's ``logging.getLogger("mapdev")``, with the level that corresponds. A format is
C's: ``%d``, ``%lu``, ``%p`` and so on.
"""

from __future__ import annotations

import re
from typing import Any

from mapdev.linux.log import log

__all__ = [
    "KERN_ALERT", "KERN_CONT", "KERN_CRIT", "KERN_DEBUG", "KERN_DEFAULT", "KERN_EMERG", "KERN_ERR",
    "KERN_INFO", "KERN_NOTICE", "KERN_WARNING", "dev_dbg", "dev_err", "dev_info", "dev_notice",
    "dev_warn", "pr_alert", "pr_crit", "pr_debug", "pr_emerg", "pr_err", "pr_info", "pr_notice",
    "pr_warn", "printk",
]  # fmt: skip

_SOH = "\001"
KERN_EMERG, KERN_ALERT, KERN_CRIT, KERN_ERR = (f"{_SOH}{level}" for level in range(4))
KERN_WARNING, KERN_NOTICE, KERN_INFO, KERN_DEBUG = (f"{_SOH}{level}" for level in range(4, 8))
KERN_DEFAULT, KERN_CONT = "", f"{_SOH}c"

# Of `logging`, by the kernel's level.
_CRITICAL, _ERROR, _WARNING, _INFO, _DEBUG = 50, 40, 30, 20, 10
_LEVELS = (_CRITICAL, _CRITICAL, _CRITICAL, _ERROR, _WARNING, _INFO, _INFO, _DEBUG)
_SIZES = (  # compiled when the first message is formatted, see `re`: it takes milliseconds
    r"(%[-+ #0-9.*]*)(?:hh|ll|[hlLzjt])?([diouxXcsp])(?:[a-zA-Z]*(?<=px))?"
)


def _formatted(fmt: str, args: tuple[Any, ...]) -> str:
    """Format as C does; a driver's mistake shows in the text and does no harm."""
    if not args:
        return fmt.replace("%%", "%")
    python = re.sub(_SIZES, lambda of: of[1] + ("#x" if of[2] == "p" else of[2]), fmt)
    try:
        return python % args
    except (TypeError, ValueError) as error:
        return f"{fmt} {args!r} ({error})"


def _print(level: int, fmt: str, args: tuple[Any, ...], before: str = "") -> None:
    log.log(_LEVELS[level], "%s", before + _formatted(fmt, args).rstrip("\n"))


def printk(fmt: str, *args: Any) -> None:
    """Log a message of a driver.

    :param fmt: a format of C, which may begin with one of ``KERN_*``

    Source: kernel/printk/printk.c
    Fidelity: it goes to the host's log. Arguments that do not fit the format are shown as they are.
    """
    level = 4
    if fmt.startswith(_SOH):
        level = int(fmt[1]) if fmt[1:2].isdecimal() and fmt[1] < "8" else level
        fmt = fmt[2:]
    _print(level, fmt, args)


def _named(dev: Any) -> str:
    name = getattr(dev, "name", None) or getattr(dev, "init_name", None)
    return f"{name}: " if isinstance(name, str) else ""


def pr_emerg(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_EMERG; as `printk`.

    Source: include/linux/printk.h
    """
    _print(0, fmt, args)


def pr_alert(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_ALERT; as `printk`.

    Source: include/linux/printk.h
    """
    _print(1, fmt, args)


def pr_crit(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_CRIT; as `printk`.

    Source: include/linux/printk.h
    """
    _print(2, fmt, args)


def pr_err(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_ERR; as `printk`.

    Source: include/linux/printk.h
    """
    _print(3, fmt, args)


def pr_warn(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_WARNING; as `printk`.

    Source: include/linux/printk.h
    """
    _print(4, fmt, args)


def pr_notice(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_NOTICE; as `printk`.

    Source: include/linux/printk.h
    """
    _print(5, fmt, args)


def pr_info(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_INFO; as `printk`.

    Source: include/linux/printk.h
    """
    _print(6, fmt, args)


def pr_debug(fmt: str, *args: Any) -> None:
    """Log a message of level KERN_DEBUG; as `printk`.

    Source: include/linux/printk.h
    """
    _print(7, fmt, args)


def dev_err(dev: Any, fmt: str, *args: Any) -> None:
    """Log a message of level KERN_ERR about a device, or a driver object; as `printk`.

    Source: include/linux/dev_printk.h
    """
    _print(3, fmt, args, _named(dev))


def dev_warn(dev: Any, fmt: str, *args: Any) -> None:
    """Log a message of level KERN_WARNING about a device, or a driver object; as `printk`.

    Source: include/linux/dev_printk.h
    """
    _print(4, fmt, args, _named(dev))


def dev_notice(dev: Any, fmt: str, *args: Any) -> None:
    """Log a message of level KERN_NOTICE about a device, or a driver object; as `printk`.

    Source: include/linux/dev_printk.h
    """
    _print(5, fmt, args, _named(dev))


def dev_info(dev: Any, fmt: str, *args: Any) -> None:
    """Log a message of level KERN_INFO about a device, or a driver object; as `printk`.

    Source: include/linux/dev_printk.h
    """
    _print(6, fmt, args, _named(dev))


def dev_dbg(dev: Any, fmt: str, *args: Any) -> None:
    """Log a message of level KERN_DEBUG about a device, or a driver object; as `printk`.

    Source: include/linux/dev_printk.h
    """
    _print(7, fmt, args, _named(dev))
