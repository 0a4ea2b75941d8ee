"""The gallery: devices that work, each file to be read as a chapter on one thing that drivers do.

`contiguous` maps frames in a row, `vmalloc` scattered ones, `lazy` each page when it is touched,
`registers` a block of a physical address space, and `framebuffer` is a whole kernel interface with
its ioctls. `echo` and `ticker` are about waiting: for another program, and for a kernel thread.
`sensor` is a class device: what programs find in ``/sys``, and by udev. `remote` maps
objects of other machines through a small cache. `camera` and `screen` are devices of Video4Linux,
the one for programs that capture, the other for those that show; `loopback` is both, and
`codec` a memory-to-memory device. Read them in this order.
What the buffers have in common is in `_buffer`; the framebuffer's structures are in `_fb_types`;
`_video` is what devices with pictures have in common.
A driver here may use `mapdev.linux`, `mapdev.driver` and what is made for drivers
(`mapdev.subsystems`, `mapdev.video`), as anybody's driver would.
"""

GALLERY = {
    "contiguous": "mapdev.drivers.contiguous:Contiguous",
    "vmalloc": "mapdev.drivers.vmalloc:Vmalloc",
    "lazy": "mapdev.drivers.lazy:Lazy",
    "registers": "mapdev.drivers.registers:Registers",
    "framebuffer": "mapdev.drivers.framebuffer:Framebuffer",
    "echo": "mapdev.drivers.echo:Echo",
    "ticker": "mapdev.drivers.ticker:Ticker",
    "sensor": "mapdev.drivers.sensor:Sensor",
    "remote": "mapdev.drivers.remote:Remote",
    "camera": "mapdev.drivers.camera:Camera",
    "screen": "mapdev.drivers.screen:Screen",
    "loopback": "mapdev.drivers.loopback:Loopback",
    "codec": "mapdev.drivers.codec:Codec",
}
"""Our own drivers by name; those of other packages are entry points, see `mapdev.host.loading`."""
