"""Writes a kernel module in C with the operations of a Python driver: ``mapdev skeleton``.

`translate` turns the statements that have a one-to-one counterpart into C, `structures` writes
ioctl numbers and their structures, `module` puts the file together. No driver is made: its class is
read.
"""
