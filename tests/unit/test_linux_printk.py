"""What drivers print: levels, C's formats, and mistakes in them."""

import logging
from typing import Any

import pytest

from mapdev.linux import KERN_ERR, KERN_INFO, dev_warn, pr_crit, pr_debug, printk


class Named:
    name = "thing"


@pytest.mark.parametrize(
    ("fmt", "args", "text"),
    [
        ("%d %i %u\n", (1, -2, 3), "1 -2 3"), ("%lu %lld %zu %hhx", (1, 2, 3, 255), "1 2 3 ff"),
        ("%p", (0x1000,), "0x1000"), ("%px!", (0x1000,), "0x1000!"), ("%-5s|%05d", ("a", 7), "a    |00007"),
        ("100%%", (), "100%"), ("100%% of %s", ("x",), "100% of x"), ("50% done", (), "50% done"),
        ("%d", ("x",), "%d ('x',)"), ("%d %d", (1,), "%d %d (1,)"),
    ],
)  # fmt: skip
def test_formats(caplog: Any, fmt: str, args: tuple[Any, ...], text: str) -> None:
    printk(fmt, *args)
    (message,) = caplog.messages
    assert message.startswith(text)


def test_levels(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "mapdev")
    printk(KERN_ERR + "a")
    printk(KERN_INFO + "b")
    printk("c")
    pr_crit("d")
    pr_debug("e")
    dev_warn(Named(), "f %d", 1)
    dev_warn(None, "g")
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert found == [
        ("ERROR", "a"), ("INFO", "b"), ("WARNING", "c"), ("CRITICAL", "d"), ("DEBUG", "e"),
        ("WARNING", "thing: f 1"), ("WARNING", "g"),
    ]  # fmt: skip
