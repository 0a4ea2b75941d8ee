"""The gate, which passes on calls inside of clients: they can't tell, and find devices all the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdev.drivers.contiguous import Contiguous
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.syscalls.gate import END, START, why_not

CLIENTS = Path(__file__).parent.parent / "clients"
PATIENCE = 120  # seconds
HOSTS = pytest.mark.parametrize("host", [True, False], indirect=True, ids=["gate", "no gate"])
KINDS = ["look", "handlers", "altstack", "addresses", "cancelled", "seccomp", "prctl", "children"]

# Those of the kernel, which musl's own directory lacks.
_LINUX_HEADERS = [
    "-idirafter",
    "/usr/include",
    "-idirafter",
    "/usr/include/x86_64-linux-gnu",
    "-fno-exceptions",
]

Require = Callable[[str, str], str]

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"there is no gate: {why_not()}")


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[EmbeddedHost]:
    with EmbeddedHost(preload=getattr(request, "param", True)) as host:
        host.add(Contiguous, "/dev/x")
        yield host
    assert not host.leaks


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _compiled("gcc", tmp_path_factory.mktemp("gate") / "gate")


def _compiled(compiler: str, program: Path, *options: str) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, "-O1", "-g", "-fexceptions", "-pthread", *options]
    subprocess.run([*command, "-o", program, CLIENTS / "gate.c"], check=True)
    return program


def _run(host: EmbeddedHost, *command: str | Path, **options: object) -> str:
    done = host.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _counts(host: EmbeddedHost) -> tuple[int, int]:
    assert host.subsystems.gate is not None
    return host.subsystems.gate.counts()


@HOSTS
@pytest.mark.parametrize("kind", KINDS)
def test_programs_with_and_without_it(host: EmbeddedHost, program: Path, kind: str) -> None:
    assert _run(host, program, kind, "/dev/x").endswith("done\n")


def test_it_is_in_use(host: EmbeddedHost, program: Path) -> None:
    _run(host, program, "look")
    images, first = _counts(host)
    assert images == 2  # the loader and the C library
    _run(host, program, "look")
    assert _counts(host)[1] - first < 25  # of some 40 calls that would be handed over


def test_without_it_no_code_is_in_clients(program: Path) -> None:
    with EmbeddedHost(preload=False) as host:
        assert host.subsystems.gate is None
        assert "mapdev" not in _run(host, "cat", "/proc/self/maps")


def test_nothing_but_maps_shows_it(host: EmbeddedHost) -> None:
    code = "import os; print(dict(os.environ), open('/proc/self/environ').read(), os.listdir('/proc/self/fd'))"
    bare = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert _run(host, sys.executable, "-S", "-c", code) == bare.stdout
    lines = _run(host, "cat", "/proc/self/maps").splitlines()
    shown = [line for line in lines if "mapdev" in line]
    assert shown
    assert all(line.startswith(f"{START >> 12:05x}"[:3]) for line in shown)
    assert all(line.split()[1] == "r-xp" for line in shown)


def test_an_empty_environment(host: EmbeddedHost, program: Path) -> None:
    assert _run(host, program, "look", "/dev/x", env={}) == "done\n"
    assert _counts(host)[0] == 2
    assert _run(host, "env", "-i", program, "look", "/dev/x") == "done\n"


ANSWERS = """
import os, stat, sys
def say(what, *args, **options):
    try: answer = what(*args, **options)
    except OSError as error: answer = str(error.errno)
    if isinstance(answer, os.stat_result): answer = (stat.S_IFMT(answer.st_mode), answer.st_rdev)
    if what is os.open and isinstance(answer, int):
        fd, answer = answer, os.readlink(f'/proc/self/fd/{answer}').partition(':')[0]
        answer = answer.replace(f'/{os.getpid()}/', '/PID/')
        os.close(fd)
    print(what.__name__, args, options, answer)
os.chdir(sys.argv[1])
names = ['file', 'dir', 'dir/file', 'device', 'link', 'to-dev', 'to-dev/x', 'dangling', 'loop', 'x',
         '/dev/x', '/dev//x', '/dev/./x', '/dev/../dev/x', '/dev/x/', '/dev/x/y', 'dir/../device',
         '.', '..', '', '/', 'file/', 'chain', '/dev', '/dev/null', '/dev/stdin', '/proc/self/maps',
         'n' * 255, 'n' * 256, 'd/' * 200, 'file\\0']
for name in names:
    if '\\0' in name: continue
    say(os.stat, name); say(os.lstat, name); say(os.access, name, os.R_OK); say(os.readlink, name)
    say(os.open, name, os.O_RDONLY); say(os.open, name, os.O_RDONLY | os.O_NOFOLLOW)
    say(os.open, name, os.O_RDONLY | os.O_DIRECTORY)
    say(os.open, name, os.O_RDONLY | os.O_PATH)
say(os.open, 'device', os.O_RDWR | os.O_CREAT | os.O_TRUNC)
say(os.open, 'new', os.O_RDWR | os.O_CREAT | os.O_EXCL)
here = os.open('.', os.O_RDONLY)
for name in ('file', 'link', 'device', 'x', ''):
    say(os.stat, name, dir_fd=here); say(os.access, name, os.R_OK, dir_fd=here)
    say(os.readlink, name, dir_fd=here)
print('x' in os.listdir('to-dev'), 'x' in os.listdir('/dev'))
print(sorted(entry.name for entry in os.scandir('to-dev') if entry.name == 'x'))
fd = os.open('/dev/x', os.O_RDWR); os.dup2(fd, 5); print(len(os.pread(5, 4, 0))); say(os.stat, 'device')
os.dup2(5, 0); say(os.open, '/dev/stdin', os.O_RDONLY); print(len(os.read(0, 4)))
"""


def _prepare(directory: Path) -> None:
    (directory / "file").write_text("text")
    (directory / "dir").mkdir()
    (directory / "dir/file").touch()
    for name, target in [
        ("device", "/dev/x"), ("link", "file"), ("to-dev", "/dev"), ("dangling", "nothing"),
        ("loop", "loop"), ("chain", "device"),
    ]:  # fmt: skip
        (directory / name).symlink_to(target)


def test_answers_are_the_same(tmp_path: Path) -> None:
    said = []
    for preload in (True, False):
        directory = tmp_path / str(preload)
        directory.mkdir()
        _prepare(directory)
        with EmbeddedHost(preload=preload) as host:
            host.add(Contiguous, "/dev/x")
            text = _run(host, sys.executable, "-S", "-c", ANSWERS, directory)
            said.append(text.replace(str(directory), "HERE"))
        assert not os.path.lexists("/dev/x")
    assert said[0].splitlines() == said[1].splitlines()
    assert "True True\n['x']" in said[0]


def test_a_name_that_comes_later(host: EmbeddedHost) -> None:
    """The client looks at it over and over, until it is there: nothing is kept in the client."""
    code = """
import os
print('ready', flush=True)
while True:
    try: os.stat('/dev/later')
    except FileNotFoundError: continue
    print(os.path.exists('/dev/later'), flush=True); break
"""
    process = host.popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    host.add(Contiguous, "/dev/later")
    assert process.communicate(timeout=PATIENCE)[0] == "True\n"
    images, before = _counts(host)
    assert images == 2
    assert before < 500  # not one for each look


def test_a_node_that_hides_a_file(tmp_path: Path) -> None:
    """A link may lead to either: so links are looked at before calls are made."""
    (tmp_path / "node").write_text("the file")
    (tmp_path / "link").symlink_to("node")
    with EmbeddedHost(preload=True) as host:
        host.add(Contiguous, str(tmp_path / "node"))
        shown = _run(host, "stat", "-L", "-c", "%F", tmp_path / "link", tmp_path / "node")
        assert shown == "character special file\n" * 2


def test_a_descriptor_that_another_client_sent(host: EmbeddedHost) -> None:
    """It has a low number, and was never opened by its new owner."""
    code = """
import os, socket
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    _, (fd, *_), _, _ = socket.recv_fds(theirs, 1, 1)
    assert fd < 10, fd
    print(len(os.pread(fd, 16, 0)), os.fstat(fd).st_rdev != 0, flush=True)
    os._exit(0)
fd = os.open('/dev/x', os.O_RDWR)
socket.send_fds(ours, [b'x'], [fd])
assert os.wait()[1] == 0
"""
    for _ in range(10):
        assert _run(host, sys.executable, "-S", "-c", code) == "16 True\n"


def test_a_static_program(host: EmbeddedHost, tmp_path: Path) -> None:
    static = _compiled("gcc", tmp_path / "static", "-static")
    assert _run(host, static, "look", "/dev/x") == "done\n"
    assert _counts(host)[0] == 0


def test_another_c_library(host: EmbeddedHost, tmp_path: Path) -> None:
    program = _compiled("musl-gcc", tmp_path / "musl", *_LINUX_HEADERS)
    for kind in ("look", "handlers", "addresses", "children"):
        assert _run(host, program, kind, "/dev/x").endswith("done\n")


def test_a_program_that_is_set_user_id(host: EmbeddedHost, program: Path, tmp_path: Path) -> None:
    privileged = shutil.copy(program, tmp_path / "privileged")
    privileged.chmod(0o6755)
    assert _run(host, privileged, "look", "/dev/x") == "done\n"


@pytest.mark.parametrize("sanitizer", ["address", "thread", "undefined"])
def test_sanitizers(host: EmbeddedHost, tmp_path: Path, sanitizer: str) -> None:
    program = _compiled("gcc", tmp_path / sanitizer, f"-fsanitize={sanitizer}")
    for kind in ("look", "handlers", "children"):
        assert _run(host, program, kind, "/dev/x").endswith("done\n")


@pytest.mark.parametrize(
    "command",
    [["gdb", "-q", "-batch", "-ex", "run", "-ex", "info inferiors", "--args"], ["valgrind", "-q"],
     ["strace", "-f", "-o", "/dev/null"], ["ltrace", "-o", "/dev/null"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_under_a_debugger(
    host: EmbeddedHost, program: Path, require_program: Require, command: list[str]
) -> None:
    require_program(command[0], command[0])
    for kind in ("look", "children"):
        if kind == "children" and command[0] == "ltrace":
            continue  # which does not follow vfork, mapdev or not
        assert "done\n" in _run(host, *command, program, kind, "/dev/x")


def test_strace_shows_no_call_of_ours(
    host: EmbeddedHost, program: Path, require_program: Require, tmp_path: Path
) -> None:
    strace = require_program("strace", "strace")
    _run(host, strace, "-f", "-o", tmp_path / "under", program, "look")
    command = [strace, "-f", "-o", tmp_path / "bare", program, "look"]
    subprocess.run(command, check=True, capture_output=True)

    def names(log: str) -> list[str]:
        return re.findall(r"^\d+ +(\w+)\(", (tmp_path / log).read_text(), re.MULTILINE)

    assert names("under") == names("bare")


def test_gdb_sees_where_a_program_waits(
    host: EmbeddedHost, require_program: Require, tmp_path: Path
) -> None:
    """A program that reads from its standard input waits in `read` of the C library."""
    gdb = require_program("gdb", "gdb")
    process = host.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("x\n")
    process.stdin.flush()
    assert process.stdout.readline() == "x\n"
    command = [gdb, "-q", "-batch", "-p", str(process.pid), "-ex", "backtrace"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    process.communicate(timeout=PATIENCE)
    assert re.search(r"#0 .*read", shown.stdout), shown.stdout


def test_many_at_once(host: EmbeddedHost, program: Path) -> None:
    """Programs start, fork and end while others do; all are redirected."""
    said: list[str] = []

    def run() -> None:
        said.extend(_run(host, program, "children", "/dev/x") for _ in range(3))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["done\n"] * 18
    assert _counts(host)[0] >= 2 * 18


def test_clients_that_are_killed_while_they_start(host: EmbeddedHost, program: Path) -> None:
    for delay in range(60):
        process = host.popen([program, "children"], stdout=subprocess.DEVNULL)
        if delay:
            threading.Event().wait(delay / 10000)
        process.kill()
        process.wait(PATIENCE)
    assert _run(host, program, "look", "/dev/x") == "done\n"


def test_the_filter_lets_nothing_else_pass(host: EmbeddedHost) -> None:
    """A jump into the gate makes the calls of the table only: others are handed over from there."""
    from mapdev.host.embedded.syscalls.table import BY_NUMBER, GATE_RULES

    handed_over = {call.name for call in BY_NUMBER.values()} - set(GATE_RULES)
    assert {"execve", "io_uring_setup", "ptrace", "unlink", "openat2"} <= (handed_over)
    assert END - START == 4096
