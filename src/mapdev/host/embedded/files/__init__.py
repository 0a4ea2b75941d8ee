"""Open files of devices, the descriptors that clients have of them, and the nodes' paths."""
