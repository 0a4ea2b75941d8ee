"""The embedded host serves devices in user space, to the programs that it starts.

The way of one call: `filter` lets the kernel stop a client's system call, `notify` receives it,
`server` hands it to a handler in `calls`, which works on the state in `kernel`; `inject` makes
calls inside the client where a mapping is to change. `machine` and `memory` are the physical
memory behind it, `mm` keeps the areas and mappings of clients, `faults` answers their page faults,
`launch` starts clients, `arch` holds what differs between processors.
"""
