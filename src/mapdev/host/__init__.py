"""Hosts play the kernel for a driver: `base` is the seam, `embedded` the one in user space."""
