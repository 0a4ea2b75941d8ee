"""The kernel's vocabulary for drivers: its types, functions and numbers, under its names."""
