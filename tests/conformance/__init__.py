"""The conformance suite: what programs see of a device, on a host and on real kernels. See README.md."""
