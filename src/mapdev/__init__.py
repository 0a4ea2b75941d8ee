"""mapdev: Linux character-device drivers in Python, `mmap` included."""
