"""The checks, a module an exercise: `STEPS` are its questions, in the order in which to work."""
