"""The kernel host: drivers behind a real /dev node, through the kernel module in `module/`.

- `host.KernelHost` owns the parts; `server` is the loop and its thread
- `uapi` and `control`: the contract with the module, and a session with it
- `machine` and `buffers`: the kernel's memory, as far as it is ours
- `tasks`: the clients that wait, and what they do for us meanwhile
- `files` and `areas`: what becomes of each request
- `waits`: calls that wait for the driver
"""
