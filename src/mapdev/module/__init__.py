"""The kernel module from outside: build it, load and unload it, say how it stands.

`source` knows where its source is, `headers` what a kernel offers to build for, `build` compiles,
`load` loads and unloads, `state` reads what the kernel tells of it, `users` who keeps it from
going away, `lockdown` what may forbid it; `command` is `mapdev module`. Nothing here talks to the
module's control device: that is the kernel host's.
"""
