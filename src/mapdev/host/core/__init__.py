"""The core: what a kernel does for a character device, written once for both hosts.

A host receives system calls and maps memory; everything between those two is here. `call` and
`client` are the seam: a host subclasses them. `loop` is the host's thread, `operations` the only
caller of driver methods, `waiting` keeps calls that sleep, `polling` and `files` know open files,
`faults` answers page faults. Nothing here makes a system call or knows which host it serves.
"""
