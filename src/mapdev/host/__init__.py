"""Hosts serve drivers to programs: `embedded` in user space, `kernel` through a kernel module."""
