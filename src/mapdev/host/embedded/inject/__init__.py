"""System calls made inside a client: by a stopped thread, a helper, or a worker thread."""
