"""Frameworks for whole classes of devices, in the kernel's own division of labour and names.

A framework stands between a driver and `mapdev.linux`, as in the kernel: it makes the checks that
are the same for all devices of its class. It knows no host.
"""
