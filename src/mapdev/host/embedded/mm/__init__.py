"""Memory management: the device areas of clients, which mappings live, and mapping itself."""
