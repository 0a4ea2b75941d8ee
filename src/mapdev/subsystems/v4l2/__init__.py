"""Video4Linux: cameras, video outputs and codecs as programs know them, written as in the kernel.

A driver subclasses `V4l2Driver` and makes in its probe what its C counterpart makes: a
`V4l2CtrlHandler` with controls, a `Vb2Queue` of buffers, and a `VideoDevice` with operations. All
names are the kernel's; structures are in CapWords. The parts, from the user inwards:

- `dev`, `fh`, `registration`: nodes and their open files; `event`, `prio`: what these may and get
- `ioctl`, `ioctl_table`, `valid_ioctls`: from a command to a function; `ioctls`, `formats` and
  `ctrl_ioctls` are these functions
- `ctrl`, `ctrl_new`, `ctrl_types`, `ctrl_names`, `ctrl_cluster`, `ctrl_ext`: controls
- `vb2_queue`, `vb2_buffer`, `vb2_alloc`, `vb2_core`, `vb2_prepare`, `vb2_access`, `vb2_fileio`:
  queues of buffers; `vb2_v4l2`, `vb2_helpers`: as commands and operations; `vb2_memory`,
  `dma_buf`: their memory
- `mem2mem`, `mem2mem_helpers`, `mem2mem_codec`: two queues and jobs that go from one to the other
- `constants`, `structures`: made of the kernel's headers by a tool

The tuner's and the digital video timings' commands are left out: ENOTTY, as for a driver without.
Nor are there media devices and requests.
"""

# ruff: noqa: F403 - each module says in its __all__ what is public

from mapdev.subsystems.v4l2 import constants as _constants
from mapdev.subsystems.v4l2 import structures as _structures
from mapdev.subsystems.v4l2.constants import *
from mapdev.subsystems.v4l2.ctrl import *
from mapdev.subsystems.v4l2.ctrl import __all__ as _ctrl
from mapdev.subsystems.v4l2.ctrl_cluster import *
from mapdev.subsystems.v4l2.ctrl_cluster import __all__ as _ctrl_cluster
from mapdev.subsystems.v4l2.ctrl_ioctls import *
from mapdev.subsystems.v4l2.ctrl_ioctls import __all__ as _ctrl_ioctls
from mapdev.subsystems.v4l2.ctrl_new import *
from mapdev.subsystems.v4l2.ctrl_new import __all__ as _ctrl_new
from mapdev.subsystems.v4l2.dev import *
from mapdev.subsystems.v4l2.dev import __all__ as _dev
from mapdev.subsystems.v4l2.event import *
from mapdev.subsystems.v4l2.event import __all__ as _event
from mapdev.subsystems.v4l2.fh import *
from mapdev.subsystems.v4l2.fh import __all__ as _fh
from mapdev.subsystems.v4l2.ioctl import *
from mapdev.subsystems.v4l2.ioctl import __all__ as _ioctl
from mapdev.subsystems.v4l2.macros import *
from mapdev.subsystems.v4l2.macros import __all__ as _macros
from mapdev.subsystems.v4l2.mem2mem import *
from mapdev.subsystems.v4l2.mem2mem import __all__ as _mem2mem
from mapdev.subsystems.v4l2.mem2mem_codec import *
from mapdev.subsystems.v4l2.mem2mem_codec import __all__ as _mem2mem_codec
from mapdev.subsystems.v4l2.mem2mem_helpers import *
from mapdev.subsystems.v4l2.mem2mem_helpers import __all__ as _mem2mem_helpers
from mapdev.subsystems.v4l2.ops import *
from mapdev.subsystems.v4l2.ops import __all__ as _ops
from mapdev.subsystems.v4l2.registration import *
from mapdev.subsystems.v4l2.registration import __all__ as _registration
from mapdev.subsystems.v4l2.structures import *
from mapdev.subsystems.v4l2.valid_ioctls import *
from mapdev.subsystems.v4l2.valid_ioctls import __all__ as _valid_ioctls
from mapdev.subsystems.v4l2.vb2_access import *
from mapdev.subsystems.v4l2.vb2_access import __all__ as _vb2_access
from mapdev.subsystems.v4l2.vb2_alloc import *
from mapdev.subsystems.v4l2.vb2_alloc import __all__ as _vb2_alloc
from mapdev.subsystems.v4l2.vb2_buffer import *
from mapdev.subsystems.v4l2.vb2_buffer import __all__ as _vb2_buffer
from mapdev.subsystems.v4l2.vb2_core import *
from mapdev.subsystems.v4l2.vb2_core import __all__ as _vb2_core
from mapdev.subsystems.v4l2.vb2_helpers import *
from mapdev.subsystems.v4l2.vb2_helpers import __all__ as _vb2_helpers
from mapdev.subsystems.v4l2.vb2_memory import *
from mapdev.subsystems.v4l2.vb2_memory import __all__ as _vb2_memory
from mapdev.subsystems.v4l2.vb2_queue import *
from mapdev.subsystems.v4l2.vb2_queue import __all__ as _vb2_queue
from mapdev.subsystems.v4l2.vb2_v4l2 import *
from mapdev.subsystems.v4l2.vb2_v4l2 import __all__ as _vb2_v4l2

__all__ = [
    *(name for name in vars(_constants) if name.isupper()),
    *(name for name in vars(_structures) if name.startswith(("V4l2", "DmaBuf"))),
    *_ctrl,
    *_ctrl_cluster,
    *_ctrl_ioctls,
    *_ctrl_new,
    *_dev,
    *_event,
    *_fh,
    *_ioctl,
    *_macros,
    *_mem2mem,
    *_mem2mem_codec,
    *_mem2mem_helpers,
    *_ops,
    *_registration,
    *_valid_ioctls,
    *_vb2_access,
    *_vb2_alloc,
    *_vb2_buffer,
    *_vb2_core,
    *_vb2_helpers,
    *_vb2_memory,
    *_vb2_queue,
    *_vb2_v4l2,
]
