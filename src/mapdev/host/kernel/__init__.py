"""The kernel host serves drivers behind real /dev nodes, through the kernel module in `module/`.

- `host.KernelHost` owns the parts; `server` is the event loop and answers requests about files
- `vm_ops` answers requests about areas: mmap, page faults, ``vm_operations_struct``
- `call` and `commands`: a request that waits for a reply, and its client's memory
- `control`, `request` and `uapi`: a session with the module, and the interface of the module
- `machine`, `buffers` and `devices`: the session's kernel memory and devices
"""
