"""The embedded host: a kernel's memory management and file calls in user space.

The way of one call: `filter` lets the kernel stop a client's system call, `notify` receives it,
`server` hands it to a handler in `calls`, which works on the state in `kernel`; `inject` makes
calls inside the client where a mapping is to change. `machine` and `memory` are the physical
memory behind it, `mm` knows what clients still map, `launch` starts clients, `arch` holds what
differs between processors.
"""
