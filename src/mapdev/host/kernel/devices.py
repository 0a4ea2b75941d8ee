"""`Devices` creates and destroys a session's devices and finds them by the module's numbers."""

from __future__ import annotations

import contextlib
import errno

from mapdev.driver import Driver
from mapdev.host.core.device import Device
from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control
from mapdev.linux.fs import MAJOR, MINOR, MKDEV, Inode

_OPERATIONS = (
    "read",
    "write",
    "llseek",
    "ioctl",
    "poll",
    "mmap",
    "fsync",
    "flush",
    "fasync",
)  # MAPDEV_HAS_


class Devices:
    """Creates, finds and destroys devices, those without a node included."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.by_id: dict[int, Device] = {}
        self._anonymous: dict[Driver, int] = {}

    def create(self, device: Device, name: str, model: int = 0) -> int:
        """Have a device, whose node is /dev/`name`; an empty name: none.

        :param model: address of its place in the device model; 0: it has none of its own.

        :return: its number.
        :raises OSError: EEXIST there is such a device; as the module says.
        """
        status = device.inode
        has = sum(1 << bit for bit, of in enumerate(_OPERATIONS) if device.driver.has(of))
        create = uapi.Create(
            flags=0 if name else uapi.CREATE_ANON, has=has,
            mode=status.i_mode & 0o777, uid=status.i_uid, gid=status.i_gid, name=name.encode(),
            model=model,
            major=MAJOR(status.i_rdev) if name else 0, minor=MINOR(status.i_rdev) if name else 0,
        )  # fmt: skip
        try:
            self._control.ioctl(uapi.IOC_CREATE, create)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            create.major = create.minor = 0  # somebody has that number
            self._control.ioctl(uapi.IOC_CREATE, create)
        if name:
            status.i_rdev = MKDEV(create.major, create.minor)
        self.by_id[create.id] = device
        number: int = create.id
        return number

    def anonymous(self, driver: Driver, name: str) -> int:
        """Return the number of a device without a node for `driver`; it is made once."""
        number = self._anonymous.get(driver)
        if number is None:
            number = self.create(Device(driver, f"anon_inode:{name}", 0), "")
            self._anonymous[driver] = number
        return number

    def unmap(self, inode: Inode, start: int, size: int) -> None:
        """Take bytes of a device's file out of all areas that map them; of one that ended, too."""
        for number, device in self.by_id.items():
            if device.inode is inode:
                unmap = uapi.Unmap(device=number, start=start, len=size, even_cows=1)
                with contextlib.suppress(FileNotFoundError):  # it ended, and nobody has it open
                    self._control.ioctl(uapi.IOC_UNMAP, unmap)

    def remove(self, device: Device) -> None:
        """End a device: its files fail with ENODEV from now on."""
        for number, other in self.by_id.items():
            if other is device:
                with contextlib.suppress(FileNotFoundError):
                    self._control.ioctl(uapi.IOC_DESTROY, uapi.Id(id=number))
                break
        self.forget(device)

    def forget(self, device: Device) -> None:
        """Forget a device that was removed and of which no file is open any more."""
        if device.is_gone and not device.open_files:
            self.by_id = {n: other for n, other in self.by_id.items() if other is not device}

    def destroy(self) -> None:
        """End all of them: their files fail from now on."""
        for number in self.by_id:
            with contextlib.suppress(FileNotFoundError):
                self._control.ioctl(uapi.IOC_DESTROY, uapi.Id(id=number))
