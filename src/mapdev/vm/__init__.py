"""Runs a command under another kernel, in a virtual machine that sees this machine's files.

`kernels` finds a kernel, `initramfs` builds what it boots from, `machine` runs qemu, `command` is
`mapdev vm`. `debian` and `cache` are what they share with the tests' aarch64 machine. Nothing here
needs root, and nothing is installed into the system. No part of a host may depend on this package.
"""
