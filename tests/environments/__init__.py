"""Runs the tests of the embedded host in containers: other Debians and Pythons, sandboxes, limits.

python -m tests.environments [NAME...] makes the containers' root file systems from Debian's archive
(root, some minutes, 600 MB each), runs them by runc and writes docs/environments.md.
"""
