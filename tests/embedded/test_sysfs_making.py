"""Names that are made, linked, renamed and removed in /sys: the errno that a stock kernel gives.

sysfs_making.tsv has the answers of Linux 6.12 and 6.18 to root and to another user, about the class
mem's null. They are made again by running sysfs_making.py without mapdev.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sensors import Sensor
from test_sysfs_answers import Null

from mapdev.host.embedded.host import EmbeddedHost

HERE = Path(__file__).parent
USERS = {"root": 0, "nobody": 65534}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(
    bool(os.statvfs("/sys").f_flag & os.ST_RDONLY), reason="/sys is mounted read-only here"
)
@pytest.mark.parametrize("user", USERS)
def test_answers(mapdev: EmbeddedHost, user: str) -> None:
    mapdev.add(Null, "/dev/null0")
    command = [sys.executable, "-S", HERE / "sysfs_making.py", "/sys/class/nulls", "null0"]
    done = mapdev.run([*command, str(USERS[user])], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in (HERE / "sysfs_making.tsv").read_text().splitlines()]
    kernel = {row[0]: row[1 + list(USERS).index(user)] for row in rows}
    here = dict(line.split("\t") for line in done.stdout.splitlines())
    assert list(kernel) == list(here) and len(here) > 800
    assert not {name: (here[name], kernel[name]) for name in here if here[name] != kernel[name]}


def test_nodes_and_their_directories(mapdev: EmbeddedHost, client: Callable[..., str]) -> None:
    """Outside of /sys, too, nothing can be done to what lives as long as the host."""
    mapdev.add(Null, "/dev/only/deep/node")
    mapdev.add(Null, "/dev/mapdev-node")
    client("""
        import stat
        O, N = '/dev/only', '/dev/mapdev-node'
        raises(errno.EPERM, os.mkdir, O + '/new')
        raises(errno.EPERM, os.symlink, 'x', O + '/new')
        raises(errno.EACCES, os.open, O + '/new', os.O_CREAT | os.O_WRONLY)
        raises(errno.EISDIR, os.open, O + '/new/', os.O_CREAT | os.O_WRONLY)
        raises(errno.EACCES, os.mknod, O + '/new')
        raises(errno.EPERM, os.mkfifo, O + '/new')
        raises(errno.EPERM, os.link, N, O + '/new')
        raises(errno.EPERM, os.rename, N, O + '/new')
        raises(errno.EISDIR, os.rename, N, O)
        raises(errno.ENOTDIR, os.rename, O, N)
        raises(errno.EINVAL, os.rename, O, O + '/deep/new')
        raises(errno.ENOTEMPTY, os.rename, O + '/deep/node', O)
        raises(errno.EPERM, os.rename, O + '/deep', '/dev/mapdev-new')
        raises(errno.EXDEV, os.rename, N, '/proc/new')
        raises(errno.EXDEV, os.rename, '/proc/version', N)
        raises(errno.EEXIST, os.link, '/proc/version', N)
        raises(errno.EXDEV, os.link, '/proc/version', O + '/new')
        raises(errno.ENOENT, os.rename, O + '/nothing', N)
        raises(errno.EINVAL, os.rmdir, O + '/.')
        raises(errno.ENOTEMPTY, os.rmdir, O + '/deep/..')
        os.chdir(O)
        raises(errno.EPERM, os.mkdir, 'new')
        raises(errno.EPERM, os.unlink, 'deep/node')
        raises(errno.ENOENT, os.unlink, 'deep/nothing')
        os.rename('deep/node', '../only/deep/node')
        assert stat.S_ISCHR(os.stat('deep/node').st_mode) and os.listdir() == ['deep']
    """)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_goes_there(mapdev: EmbeddedHost, client: Callable[..., str]) -> None:
    mapdev.add(Sensor, "/dev/only/sensor0")
    client("""
        os.umask(0o077)
        os.setresuid(65534, 65534, 65534)
        for path in '/sys/class/sensor', '/sys/class/sensor/only!sensor0', '/dev/only':
            os.chdir(path)
            assert os.getcwd() == os.path.realpath(path) and os.listdir() == os.listdir(path)
            raises(errno.EACCES, os.mkdir, 'new')
    """)
