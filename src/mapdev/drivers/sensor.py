"""`Sensor` is a thermometer in the device tree: a class device with attributes, as in ``/sys``.

It shows what a driver declares to be found as on Linux: its class, its attributes, and what udev
would say of it. Programs read the temperature from ``/sys/class/sensor/NAME/temp``, or from the
node.

Source: Documentation/driver-api/driver-model/device.rst, Documentation/hwmon/sysfs-interface.rst
"""

from __future__ import annotations

import errno

from mapdev.driver import Driver, parse_number
from mapdev.linux import (
    BIN_ATTR,
    DEVICE_ATTR_RO,
    DEVICE_ATTR_RW,
    Attribute,
    BinAttribute,
    Device,
    File,
    add_uevent_var,
    kobject_uevent_env,
    sysfs_emit,
    sysfs_notify,
)

__all__ = ["Sensor"]

_CALIBRATION = 16  # bytes


class Sensor(Driver):
    """A thermometer: `measure` is what makes it colder or warmer.

    Attributes: ``temp`` (thousandths of a degree), ``limit``, above which ``alarm`` is 1 and
    programs get a "change" uevent, ``calibration`` (16 bytes). The node has the temperature, too.
    """

    dev_class = "sensor"
    dev_groups = (
        DEVICE_ATTR_RO("temp"),
        DEVICE_ATTR_RW("limit"),
        DEVICE_ATTR_RO("alarm"),
        BIN_ATTR("calibration", 0o644, size=_CALIBRATION),
    )
    dev_links = ("sensors/by-id/fake",)
    dev_properties = {"ID_SENSOR": "1"}  # noqa: RUF012 - as the base class says

    def probe(self, temp: int | str = 21000, limit: int | str = 50000) -> None:
        """Begin with a temperature and a limit, in thousandths of a degree."""
        self.temp = parse_number(temp, "temp")
        self.limit = parse_number(limit, "limit")
        self.calibration = bytearray(_CALIBRATION)

    def measure(self, temp: int) -> None:
        """Take a new temperature, and tell those who want to know."""
        was_alarm = self.temp > self.limit
        self.temp = temp
        if self.dev is None or self.dev.kobj is None:
            return
        sysfs_notify(self.dev.kobj, None, "temp")
        if was_alarm != (temp > self.limit):
            kobject_uevent_env(self.dev.kobj, "change", [f"ALARM={int(not was_alarm)}"])

    def temp_show(self, dev: Device, attr: Attribute) -> str:
        """Show the temperature."""
        return sysfs_emit("%d\n", self.temp)

    def limit_show(self, dev: Device, attr: Attribute) -> str:
        """Show the limit."""
        return sysfs_emit("%d\n", self.limit)

    def limit_store(self, dev: Device, attr: Attribute, buf: bytes) -> None:
        """Set the limit; EINVAL if it is no number."""
        try:
            self.limit = int(buf)
        except ValueError:
            raise OSError(errno.EINVAL, f"{buf!r} is no temperature") from None

    def alarm_show(self, dev: Device, attr: Attribute) -> str:
        """Show whether it is too hot."""
        return sysfs_emit("%d\n", self.temp > self.limit)

    def calibration_read(self, dev: Device, attr: BinAttribute, pos: int, count: int) -> bytes:
        """Return some of the calibration."""
        return bytes(self.calibration[pos : pos + count])

    def calibration_write(self, dev: Device, attr: BinAttribute, data: bytes, pos: int) -> None:
        """Change some of the calibration."""
        self.calibration[pos : pos + len(data)] = data

    def dev_uevent(self, dev: Device, env: list[tuple[str, str]]) -> None:
        """Say in uevents what it measures."""
        add_uevent_var(env, "SENSOR_TYPE", "temperature")

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return the temperature."""
        return f"{self.temp}\n".encode()[pos : pos + count]
