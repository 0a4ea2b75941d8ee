"""The gallery's remote: a store's object, mapped; failing, slow and changing stores."""

from __future__ import annotations

import errno
import json
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
from urllib.parse import parse_qsl, urlsplit

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


WRITE = """
import mmap, os, sys
fd = os.open('/dev/x', os.O_RDWR)
size = os.lseek(fd, 0, os.SEEK_END)
m = mmap.mmap(fd, size)
def failing(function, *args):
    try: function(*args)
    except OSError as e: return e.errno
"""


def use(host: Any, code: str) -> str:
    """Run a program that may write, and return what it printed; it is to succeed."""
    done = host.run(
        [sys.executable, "-S", "-c", WRITE + code], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def objects(tmp_path: Path, data: bytes) -> Iterator[tuple[str, Any]]:
    """An object in each kind of store that needs no server: its URL, and what reads it."""
    import fsspec

    (tmp_path / "file").write_bytes(data)
    yield f"file://{tmp_path}/file", (tmp_path / "file").read_bytes
    memory = fsspec.filesystem("memory")
    memory.pipe("/object", data)
    yield "memory://object", lambda: memory.cat("/object")


def test_what_programs_wrote_is_in_the_store_after_fsync(tmp_path: Path) -> None:
    data = os.urandom(300_001)
    for url, now in objects(tmp_path, data):
        with mapdev.host("64M") as host:
            driver = host.add(Remote, "/dev/x", url=url, cache="256K", ahead="32K", write="yes")
            with host.popen(
                [sys.executable, "-S", "-c", WRITE + """
m[4094:4100] = b'middle'; m[size - 1:] = b'e'
assert os.pwrite(fd, b'written', 100_000) == 7 and m[100_000:100_007] == b'written'
assert os.pread(fd, 6, 4094) == b'middle'
print('written', flush=True); sys.stdin.readline()
os.fsync(fd)
print('synced', flush=True); sys.stdin.readline()
m[4094:4100] = b'MIDDLE'
m.flush()
print('flushed', flush=True); sys.stdin.readline()
assert failing(os.pwrite, fd, b'x', size) == 28 and failing(os.pwrite, fd, b'x', size + 1) == 28
assert os.pwrite(fd, b'xyz', size - 2) == 2
m[8192] = 0
"""],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            ) as program:  # fmt: skip
                assert program.stdin is not None and program.stdout is not None
                wanted = bytearray(data)

                def step(says: str) -> None:
                    assert program.stdout is not None
                    assert program.stdout.readline() == says + "\n"

                step("written")
                assert now() == data and driver.dirty == {0, 1, 24, 73}
                program.stdin.write("\n")
                program.stdin.flush()
                step("synced")
                wanted[4094:4100], wanted[-1:] = b"middle", b"e"
                wanted[100_000:100_007] = b"written"
                assert now() == wanted and driver.dirty == set()
                program.stdin.write("\n")
                program.stdin.flush()
                step("flushed")
                wanted[4094:4100] = b"MIDDLE"
                assert now() == wanted and driver.dirty == set()
                program.communicate("\n", LIMIT)
                assert program.returncode == 0
            host.settle()
            wanted[-2:], wanted[8192] = b"xy", 0
            assert now() == wanted  # the last close writes as well
            assert use(host, "sys.stdout.write(m[:].hex())") == wanted.hex()
        assert host.leaks == []


def test_more_is_written_than_the_cache_holds(tmp_path: Path) -> None:
    data = bytes(1 << 20)
    for url, now in objects(tmp_path, data):
        with mapdev.host("64M") as host:
            driver = host.add(Remote, "/dev/x", url=url, cache="128K", ahead="32K", write="yes")
            use(
                host,
                "for at in range(0, size, 4096): m[at] = at // 4096 % 251 + 1\n"
                "assert all(m[at] == at // 4096 % 251 + 1 for at in range(0, size, 4096))",
            )
            host.settle()
            assert len(driver.pieces) <= 4
        assert now()[::4096] == bytes(page % 251 + 1 for page in range(256))
        assert set(now()) - set(now()[::4096]) == {0}


def test_who_may_write(tmp_path: Path, caplog: pytest.LogCaptureFixture, store: Store) -> None:
    (tmp_path / "file").write_bytes(bytes(5000))
    url = f"file://{tmp_path}/file"
    with mapdev.host("64M") as host:
        host.add(Remote, "/dev/y", url=url)
        host.add(Remote, "/dev/x", url=url, write="yes")
        told = use(host, """
assert failing(os.open, '/dev/y', os.O_RDWR) == failing(os.open, '/dev/y', os.O_WRONLY) == 30
ro = os.open('/dev/x', os.O_RDONLY)
print(failing(mmap.mmap, ro, 4096), failing(os.pwrite, ro, b'x', 0))
private = mmap.mmap(ro, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)
print(failing(lambda: mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)))
mmap.mmap(ro, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
""")  # fmt: skip
        assert told == "13 9\n13\n"
        with pytest.raises(OSError, match="can be read only") as caught:
            host.add(Remote, "/dev/z", url=store.url, write="yes")
        assert caught.value.errno == errno.EROFS
        with pytest.raises(OSError, match="yes or no"):
            host.add(Remote, "/dev/z", url=url, write="maybe")
        assert "write=yes" in caplog.text  # why it could not be opened for writing


def test_a_store_that_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """fsync says so with the store's errno, the data stay dirty, and a later one writes them."""
    from fsspec.implementations.memory import MemoryFileSystem

    errors: list[Exception] = [
        PermissionError(errno.EACCES, "not you"), PermissionError("no"), NotImplementedError("no"),
        OSError(errno.ENOSPC, "full"), ConnectionError("gone"), RuntimeError("odd"),
    ]  # fmt: skip
    wanted = [errno.EACCES, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO, errno.EIO]
    left = list(errors)
    put = MemoryFileSystem.put_file

    def refuse(self: Any, *args: Any, **options: Any) -> Any:
        if left:
            raise left.pop(0)
        return put(self, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
    MemoryFileSystem().pipe("/object", bytes(10_000))
    with mapdev.host("64M") as host:
        driver = host.add(Remote, "/dev/x", url="memory://object", write="yes")
        with host.popen(
            [sys.executable, "-S", "-c", WRITE + f"""
m[5000] = 7
for code in {wanted}:
    assert (got := failing(os.fsync, fd)) == code, (got, code)
assert m[5000] == 7 and os.pread(fd, 1, 5000) == b'\\7'
print('failed', flush=True); sys.stdin.readline()
os.fsync(fd)
"""],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as program:  # fmt: skip
            assert program.stdout is not None and program.stdout.readline() == "failed\n"
            assert driver.dirty == {1} and MemoryFileSystem().cat("/object") == bytes(10_000)
            program.communicate("\n", LIMIT)
            assert program.returncode == 0
        assert MemoryFileSystem().cat("/object") == bytes(5000) + b"\7" + bytes(4999)
    for error in errors:
        assert repr(error) in caplog.text


def test_a_store_that_keeps_a_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails after a part was sent, which replaces the object: the next fsync sends all again."""
    from fsspec.implementations.memory import MemoryFileSystem

    put = MemoryFileSystem.put_file
    is_failing = [True, True, False]

    def half(self: Any, path: str, to: str, **options: Any) -> None:
        put(self, path, to, **options)
        if is_failing.pop(0):
            self.pipe(to, self.cat(to)[:6000])
            raise ConnectionError("gone")

    monkeypatch.setattr(MemoryFileSystem, "put_file", half)
    data = bytearray(os.urandom(20_000))
    MemoryFileSystem().pipe("/object", bytes(data))
    with mapdev.host("64M") as host:
        host.add(Remote, "/dev/x", url="memory://object", write="yes", ahead="4K", cache="16K")
        use(host, f"""
m[5000] = {data[5000] ^ 1}
assert failing(os.fsync, fd) == 5 and failing(os.pread, fd, 1, 15_000) == 5
m[9000 - 4000] = {data[5000] ^ 2}
assert failing(os.fsync, fd) == 5
os.fsync(fd)
assert m[5000] == {data[5000] ^ 2}
""")  # fmt: skip
        data[5000] ^= 2
        assert MemoryFileSystem().cat("/object") == data
        assert use(host, "sys.stdout.write(m[:].hex())") == data.hex()
    assert host.leaks == []


def test_what_somebody_else_wrote_is_not_written_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for url, now in objects(tmp_path, bytes(10_000)):
        with mapdev.host("64M") as host:
            host.add(Remote, "/dev/x", url=url, write="yes")
            with host.popen(
                [sys.executable, "-S", "-c", WRITE + """
m[5000] = 7
print('dirty', flush=True); sys.stdin.readline()
assert failing(os.fsync, fd) == failing(os.fsync, fd) == 5
assert m[5000] == 7  # it is nowhere else
"""],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            ) as program:  # fmt: skip
                assert program.stdout is not None and program.stdout.readline() == "dirty\n"
                write_elsewhere(url, b"theirs" * 2000)
                program.communicate("\n", LIMIT)
                assert program.returncode == 0
            host.settle()
            assert now() == b"theirs" * 2000
            assert use(host, "assert m[:12] == b'theirstheirs'; print(size)") == "12000\n"
        assert "1 pages that were written are lost" in caplog.text
        caplog.clear()


def write_elsewhere(url: str, data: bytes) -> None:
    import fsspec

    with fsspec.open(url, "wb") as file:
        file.write(data)


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


# Serves until its standard input ends. A file given there is the object bucket/sparse: moto itself
# would read all of it for each request.
S3_SERVER = """
import mmap, sys
from moto.backends import get_backend
from moto.s3.models import FakeKey
from moto.server import ThreadedMotoServer

class OfFile(FakeKey):
    __module__ = 'moto.s3.models'  # where moto looks for the name of the service
    value = property(lambda self: content, lambda self, value: None)
    size = property(lambda self: len(content))

server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
server.start()
print('http://{}:{}'.format(*server.get_host_and_port()), flush=True)
for path in sys.stdin:
    with open(path.strip(), 'rb') as file:
        content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    key = OfFile('sparse', b'', '123456789012', 'us-east-1', etag='one', bucket_name='bucket')
    get_backend('s3')['123456789012']['aws'].buckets['bucket'].keys['sparse'] = key
    print('there', flush=True)
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real S3 protocol: moto's server, on loopback, as a file system of fsspec."""
    import fsspec.config

    with subprocess.Popen(
        [sys.executable, "-c", S3_SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        assert endpoint, "moto's server did not start"
        options = {"endpoint_url": endpoint, "key": "x", "secret": "x"}
        monkeypatch.setitem(fsspec.config.conf, "s3", options)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        store.endpoint, store.server = endpoint, server
        store.mkdir("bucket")
        yield store
        server.kill()


def test_s3_from_the_command_line(s3: Any) -> None:
    s3.pipe("bucket/key", bytes(range(256)) * 4096)
    environment = {**os.environ, "FSSPEC_S3_ENDPOINT_URL": s3.endpoint, "AWS_ACCESS_KEY_ID": "x",
                   "AWS_SECRET_ACCESS_KEY": "x"}  # fmt: skip
    code = USE + "assert m[:] == bytes(range(256)) * 4096; print('same')"
    done = subprocess.run(
        [sys.executable, "-m", "mapdev.cli", "run", "-d",
         "/dev/x=remote,url=s3://bucket/key,cache=512K", "--", sys.executable, "-S", "-c", code],
        env=environment, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.stdout == "same\n", done.stderr


def test_s3_more_than_memory(s3: Any, tmp_path: Path) -> None:
    """A sparse object of 10 GiB through 64 MiB."""
    step, last = 16 << 20, MANY - 8
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MANY)
        for at in *range(0, MANY, step), last:
            os.pwrite(file.fileno(), at.to_bytes(8, "little"), at)
    s3.server.stdin.write(f"{tmp_path}/sparse\n")
    s3.server.stdin.flush()
    assert s3.server.stdout.readline() == "there\n"
    with mapdev.host("256M") as host:
        driver = host.add(Remote, "/dev/x", url="s3://bucket/sparse", cache="64M")
        done = run(host, f"""
def check(at): assert int.from_bytes(m[at:at + 8], 'little') == at, at
assert size == {MANY}
for at in range(0, size, {step}):
    check(at)
    assert m[at + 8:at + 4096] == bytes(4088)
check({last}); check(0)
shared = next(line for line in open('/proc/self/status') if line.startswith('RssShmem'))
print(int(shared.split()[1]) * 1024)
""")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) <= 64 << 20
        assert len(driver.pieces) == driver.most == 512
        assert driver.requests == MANY // step + 2
    assert host.leaks == []


DENY = """{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",
"Action": "s3:PutObject", "Resource": "arn:aws:s3:::bucket/*"}]}"""


def test_s3_is_written(s3: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It takes it, refuses it, has another object, is gone."""
    data = os.urandom(300_001)
    s3.pipe("bucket/key", data)
    with mapdev.host("64M") as host:
        driver = host.add(
            Remote, "/dev/x", url="s3://bucket/key", cache="256K", ahead="32K", write="yes"
        )
        with host.popen(
            [sys.executable, "-S", "-c", WRITE + """
for line in sys.stdin:
    at, value = map(int, line.split())
    m[at] = value
    print(failing(os.fsync, fd), m[at] == value, flush=True)
"""],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as program:  # fmt: skip

            def store(at: int, value: int) -> str:
                assert program.stdin is not None and program.stdout is not None
                program.stdin.write(f"{at} {value}\n")
                program.stdin.flush()
                return program.stdout.readline()

            assert store(5000, data[5000] ^ 1) == "None True\n"
            wanted = bytearray(data)
            wanted[5000] ^= 1
            assert s3.cat("bucket/key") == wanted
            s3.call_s3("put_bucket_policy", Bucket="bucket", Policy=DENY)
            assert store(300_000, data[300_000] ^ 1) == f"{errno.EACCES} True\n"
            assert "Forbidden" in caplog.text and driver.dirty == {73}
            assert s3.cat("bucket/key") == wanted
            s3.call_s3("delete_bucket_policy", Bucket="bucket")
            assert store(0, data[0] ^ 1) == "None True\n"
            wanted[300_000], wanted[0] = data[300_000] ^ 1, data[0] ^ 1
            assert s3.cat("bucket/key") == wanted and driver.dirty == set()
            s3.pipe("bucket/key", b"theirs")
            assert store(9000, data[9000] ^ 1) == f"{errno.EIO} True\n"
            assert s3.cat("bucket/key") == b"theirs" and "not written over" in caplog.text
            s3.server.kill()
            s3.server.wait(LIMIT)
            assert store(9000, 1) == f"{errno.EIO} True\n"
            program.communicate(timeout=LIMIT)
        host.remove("/dev/x")
        assert "pages that were written are lost" in caplog.text


def test_gcs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of Google Cloud Storage, by an emulator on loopback."""
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # the emulator has no gRPC
    pytest.importorskip("gcsfs")
    server_of = pytest.importorskip("gcp_storage_emulator.server")
    server = server_of.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        port = server._api._httpd.server_address[1]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        import fsspec.config

        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        data = bytearray(os.urandom(300_001))
        store = fsspec.filesystem("gs", token="anon", skip_instance_cache=True)
        store.pipe("bucket/key", bytes(data))
        with mapdev.host("64M") as host:
            host.add(Remote, "/dev/x", url="gs://bucket/key", ahead="32K", write="yes")
            assert use(host, "sys.stdout.write(m[:].hex())") == data.hex()
            data[5000] ^= 1
            use(host, f"m[5000] = {data[5000]}; m.flush()")
            assert store.cat("bucket/key") == data
            host.settle()
            store.pipe("bucket/key", b"theirs")
            assert use(host, "sys.stdout.write(m[:].hex())") == b"theirs".hex()
    finally:
        server.stop()


class Hadoop(ThreadingHTTPServer):
    """Speaks WebHDFS, as far as reading and writing one file of HDFS take."""

    def __init__(self, data: bytes) -> None:
        self.data, self.time = data, 1_700_000_000_000
        super().__init__(("127.0.0.1", 0), HadoopHandler)


class HadoopHandler(BaseHTTPRequestHandler):
    server: Hadoop

    def do_GET(self) -> None:
        asked = self.asked()
        if asked["op"] == "GETFILESTATUS":
            status = {"length": len(self.server.data), "modificationTime": self.server.time,
                      "type": "FILE", "pathSuffix": ""}  # fmt: skip
            self.answer(json.dumps({"FileStatus": status}).encode())
        elif "node" in asked:
            start = int(asked["offset"])
            self.answer(self.server.data[start : start + int(asked["length"])])
        else:
            self.send_to_node()

    def do_PUT(self) -> None:
        if "node" in self.asked():
            self.server.data = self.body()
            self.server.time += 1
            self.answer(b"", 201)
        else:
            self.send_to_node()

    def do_POST(self) -> None:
        body = self.body()
        if "node" in self.asked():
            self.server.data += body
            self.server.time += 1
            self.answer(b"")
        else:
            self.send_to_node()

    def asked(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send_to_node(self) -> None:
        where = f"http://127.0.0.1:{self.server.server_address[1]}{self.path}&node=1"
        self.answer(b"", 307, where)

    def answer(self, body: bytes, status: int = 200, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


def test_webhdfs() -> None:
    """The protocol of HDFS over HTTP; there is no server of HDFS that could be installed here."""
    data = bytearray(os.urandom(300_001))
    with Hadoop(bytes(data)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"webhdfs://127.0.0.1:{server.server_address[1]}/user/object"
        with mapdev.host("64M") as host:
            host.add(Remote, "/dev/x", url=url, ahead="32K", cache="128K", write="yes")
            assert use(host, "sys.stdout.write(m[:].hex())") == data.hex()
            data[5000] ^= 1
            use(host, f"m[5000] = {data[5000]}; m.flush()")
            assert server.data == data
            host.settle()
            server.data, server.time = b"theirs", server.time + 1
            assert use(host, "sys.stdout.write(m[:].hex())") == b"theirs".hex()
        server.shutdown()


@pytest.mark.parametrize(
    ("url", "package", "says"),
    [
        ("s3://bucket/key", "s3fs", "pip install 'fsspec[s3]'"),
        ("s3a://bucket/key", "s3fs", "pip install 'fsspec[s3]'"),
        ("gs://bucket/key", "gcsfs", "pip install 'fsspec[gs]'"),
        ("gcs://bucket/key", "gcsfs", "pip install 'fsspec[gs]'"),
        ("https://127.0.0.1/key", "aiohttp", "pip install 'fsspec[http]'"),
        ("hdfs://127.0.0.1/key", "pyarrow", "pip install 'fsspec[hdfs]'"),
        ("webhdfs://127.0.0.1/key", "requests", "pip install requests"),
        ("sftp://127.0.0.1/key", "paramiko", "pip install 'fsspec[sftp]'"),
        ("file:///dev/null", "fsspec", "pip install 'mapdev[remote]'"),
        ("nothing://bucket/key", "nothing", "nothing"),
    ],
)
def test_a_package_is_missing(url: str, package: str, says: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('no {package}', name='{package}')")
    done = subprocess.run(
        [sys.executable, "-m", "mapdev.cli", "run", "-d", f"/dev/x=remote,url={url}", "--", "true"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode in (2, 125) and says in done.stderr and url in done.stderr
    assert "Traceback" not in done.stderr
