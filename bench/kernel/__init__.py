"""The kernel host beside CUSE and drivers in C, in one virtual machine: `make bench-kernel`."""
