"""All public names of `mapdev.linux`, gathered from its modules."""
# ruff: noqa: F403 - each module says in its __all__ what is public

from typing import TYPE_CHECKING

from mapdev.linux.access import *
from mapdev.linux.access import __all__ as _access
from mapdev.linux.atomic import *
from mapdev.linux.atomic import __all__ as _atomic
from mapdev.linux.awaiting import *
from mapdev.linux.awaiting import __all__ as _awaiting
from mapdev.linux.cdev import *
from mapdev.linux.cdev import __all__ as _cdev
from mapdev.linux.completion import *
from mapdev.linux.completion import __all__ as _completion
from mapdev.linux.device import *
from mapdev.linux.device import __all__ as _device
from mapdev.linux.device_class import *
from mapdev.linux.device_class import __all__ as _device_class
from mapdev.linux.dma import *
from mapdev.linux.dma import __all__ as _dma
from mapdev.linux.errnos import *
from mapdev.linux.errnos import __all__ as _errnos
from mapdev.linux.eventfd import *
from mapdev.linux.eventfd import __all__ as _eventfd
from mapdev.linux.fasync import *
from mapdev.linux.fasync import __all__ as _fasync
from mapdev.linux.fs import *
from mapdev.linux.fs import __all__ as _fs
from mapdev.linux.gfp import *
from mapdev.linux.gfp import __all__ as _gfp
from mapdev.linux.ioctl_numbers import *
from mapdev.linux.ioctl_numbers import __all__ as _ioctl_numbers
from mapdev.linux.jiffies import *
from mapdev.linux.jiffies import __all__ as _jiffies
from mapdev.linux.kernfs import *
from mapdev.linux.kernfs import __all__ as _kernfs
from mapdev.linux.kfifo import *
from mapdev.linux.kfifo import __all__ as _kfifo
from mapdev.linux.kobject import *
from mapdev.linux.kobject import __all__ as _kobject
from mapdev.linux.kthread import *
from mapdev.linux.kthread import __all__ as _kthread
from mapdev.linux.locking import *
from mapdev.linux.locking import __all__ as _locking
from mapdev.linux.mapping import *
from mapdev.linux.mapping import __all__ as _mapping
from mapdev.linux.miscdevice import *
from mapdev.linux.miscdevice import __all__ as _miscdevice
from mapdev.linux.mm import *
from mapdev.linux.mm import __all__ as _mm
from mapdev.linux.numbers import *
from mapdev.linux.numbers import __all__ as _numbers
from mapdev.linux.page import *
from mapdev.linux.page import __all__ as _page
from mapdev.linux.printk import *
from mapdev.linux.printk import __all__ as _printk
from mapdev.linux.slab import *
from mapdev.linux.slab import __all__ as _slab
from mapdev.linux.spinlock import *
from mapdev.linux.spinlock import __all__ as _spinlock
from mapdev.linux.sysfs import *
from mapdev.linux.sysfs import __all__ as _sysfs
from mapdev.linux.timer import *
from mapdev.linux.timer import __all__ as _timer
from mapdev.linux.uaccess import *
from mapdev.linux.uaccess import __all__ as _uaccess
from mapdev.linux.vma import *
from mapdev.linux.vma import __all__ as _vma
from mapdev.linux.vmalloc import *
from mapdev.linux.vmalloc import __all__ as _vmalloc
from mapdev.linux.wait import *
from mapdev.linux.wait import __all__ as _wait
from mapdev.linux.workqueue import *
from mapdev.linux.workqueue import __all__ as _workqueue

if not TYPE_CHECKING:  # mypy can't add lists up, and would take nothing for public
    __all__ = [
        *_access,
        *_awaiting,
        *_cdev,
        *_completion,
        *_device,
        *_device_class,
        *_dma,
        *_errnos,
        *_eventfd,
        *_fasync,
        *_fs,
        *_gfp,
        *_ioctl_numbers,
        *_jiffies,
        *_kernfs,
        *_kfifo,
        *_kobject,
        *_kthread,
        *_atomic,
        *_locking,
        *_spinlock,
        *_mapping,
        *_miscdevice,
        *_mm,
        *_numbers,
        *_page,
        *_printk,
        *_slab,
        *_sysfs,
        *_timer,
        *_uaccess,
        *_vma,
        *_vmalloc,
        *_wait,
        *_workqueue,
    ]
