"""Memory management: tracks clients' device areas and mappings, and maps frames in clients."""
