"""The gallery's remote: a store's object, mapped; failing, slow and changing stores."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import mapdev
from mapdev.drivers.remote import Remote

pytest.importorskip("aiohttp")
LIMIT = 120
MANY = 10 << 30
USE = """
import mmap, os, sys
fd = os.open('/dev/x', os.O_RDONLY)
size = os.lseek(fd, 0, os.SEEK_END)
m = mmap.mmap(fd, size, prot=mmap.PROT_READ)
"""


class Store(ThreadingHTTPServer):
    """Serves one object, whose bytes are their own place: eight bytes say at which offset they are.

    :ivar answer: what becomes of the next requests: "", "fail", "short", "whole".
    """

    def __init__(self, size: int) -> None:
        self.size, self.etag, self.answer, self.delay, self.add = size, "one", "", 0.0, 0
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/object"

    def data(self, start: int, end: int) -> bytes:
        first = start // 8 * 8
        words = b"".join((at + self.add).to_bytes(8, "little") for at in range(first, end, 8))
        return words[start - first : end - first]


class Handler(BaseHTTPRequestHandler):
    server: Store

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end(self.server.size)

    def do_GET(self) -> None:
        store = self.server
        time.sleep(store.delay)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert asked is not None
        start, end = int(asked[1]), int(asked[2]) + 1
        if store.answer == "fail":
            self.send_error(503)
            return
        if store.answer == "whole":
            start, end = 0, store.size
        body = store.data(start, end)
        if store.answer == "short":
            body = body[:-1]
        self.send_response(200 if store.answer == "whole" else 206)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{store.size}")
        self.end(len(body))
        self.wfile.write(body)

    def end(self, length: int) -> None:
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.server.etag}"')
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(1_000_003) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        yield store
        store.shutdown()


def run(host: Any, code: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = host.run(
        [sys.executable, "-S", "-c", USE + code], capture_output=True, text=True, timeout=LIMIT
    )
    return done


CHECK = """
def check(at): assert int.from_bytes(m[at:at + 8], 'little') == at, at
for at in range(0, size - 8, 4096): check(at)
assert os.pread(fd, 8, 4096) == m[4096:4104] and m[size - 3:] == os.pread(fd, 99, size - 3)
"""


def test_two_programs_share_what_came(store: Store) -> None:
    with mapdev.host("64M") as host:
        driver = host.add(Remote, "/dev/x", url=store.url, cache="2M")
        for _ in range(2):
            assert run(host, CHECK).stderr == ""
        assert driver.requests == 8  # pieces of 128K
        assert "Read-only" in run(host, "os.open('/dev/x', os.O_RDWR)").stderr
    assert host.leaks == []


def test_more_than_memory(store: Store) -> None:
    """10 GiB through 64 MiB: what the program has of it in memory stays within the cache."""
    store.size = MANY
    with mapdev.host("256M") as host:
        driver = host.add(Remote, "/dev/x", url=store.url, cache="64M")
        done = run(host, """
def check(at): assert int.from_bytes(m[at:at + 8], 'little') == at, at
for at in range(0, size, size // 600): check(at // 4096 * 4096)
shared = next(line for line in open('/proc/self/status') if line.startswith('RssShmem'))
print(int(shared.split()[1]) * 1024)
check(0)
""")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) <= 64 << 20
        assert len(driver.pieces) == driver.most == 512 and driver.requests > 600
    assert host.leaks == []


@pytest.mark.parametrize("answer", ["fail", "short", "whole"])
def test_a_store_that_fails(answer: str, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with mapdev.host("64M") as host:
        host.add(Remote, "/dev/x", url=store.url)
        store.answer = answer
        code = "try: os.pread(fd, 8, 500_000)\nexcept OSError as e: print(e.errno, flush=True)\n"
        done = run(host, f"{code}m[500_000]")
        assert (done.stdout, done.returncode) == ("5\n", -7)
        assert "remote: " in caplog.text
        store.answer = ""
        assert run(host, CHECK).stderr == ""


def test_a_slow_store(store: Store) -> None:
    store.delay = 0.5
    with mapdev.host("64M") as host:
        host.add(Remote, "/dev/x", url=store.url)
        done = run(host, "assert m[500_000:500_008] == (500_000).to_bytes(8, 'little')")
        assert done.stderr == ""


def test_an_object_that_changes(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What was seen before goes, too: no program sees a part of each."""
    with mapdev.host("64M") as host:
        host.add(Remote, "/dev/x", url=store.url)
        with host.popen(
            [sys.executable, "-S", "-c", USE + "m[0]; print('seen', flush=True); "
             "sys.stdin.readline()\nfor at in 900_000, 0:\n"
             "    try: os.pread(fd, 1, at)\n    except OSError as e: print(e.errno, flush=True)\n"
             "m[0]"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as program:  # fmt: skip
            assert program.stdout is not None and program.stdout.readline() == "seen\n"
            store.etag, store.add = "two", 7
            assert program.communicate("\n", LIMIT)[0] == "5\n5\n"
            assert program.returncode == -7
        assert "has changed" in caplog.text
        host.settle()
        assert run(host, "assert m[:8] == (7).to_bytes(8, 'little')").stderr == ""


def test_files_and_memory(tmp_path: Path) -> None:
    import fsspec

    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    fsspec.filesystem("memory").pipe("/object", data)
    for url in f"file://{tmp_path}/file", "memory://object":
        with mapdev.host("64M") as host:
            host.add(Remote, "/dev/x", url=url, cache="256K")
            done = run(host, "sys.stdout.write(m[:].hex())")
            assert bytes.fromhex(done.stdout) == data, done.stderr
            with pytest.raises(OSError, match="room for two"):
                host.add(Remote, "/dev/y", url=url, cache="128K")
            with pytest.raises(OSError, match="nothing"):
                host.add(Remote, "/dev/y", url=f"file://{tmp_path}/nothing")


S3 = """
import os, subprocess, sys, s3fs
fs = s3fs.S3FileSystem()
fs.mkdir('bucket')
fs.pipe('bucket/key', bytes(range(256)) * 4096)
"""


def test_s3(tmp_path: Path) -> None:
    """A real S3 protocol: moto's server, on loopback."""
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "moto.server", "-p", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        found = None
        while found is None:
            line = server.stderr.readline()
            assert line, "moto's server did not start"
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
        environment = {**os.environ, "FSSPEC_S3_ENDPOINT_URL": found[0], "AWS_ACCESS_KEY_ID": "x",
                       "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
        subprocess.run([sys.executable, "-c", S3], env=environment, check=True, timeout=LIMIT)
        code = USE + "assert m[:] == bytes(range(256)) * 4096; print('same')"
        done = subprocess.run(
            [sys.executable, "-m", "mapdev.cli", "run", "-d",
             "/dev/x=remote,url=s3://bucket/key,cache=512K", "--", sys.executable, "-S", "-c", code],
            env=environment, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert done.stdout == "same\n", done.stderr
    finally:
        server.kill()
        server.communicate()
