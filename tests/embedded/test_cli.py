"""The command line as a user types it."""

import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MAPDEV = [sys.executable, "-m", "mapdev.cli"]


def mapdev(*args: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*MAPDEV, *args], capture_output=True, text=True, timeout=120, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_exit_status_is_the_commands(command: str, status: int) -> None:
    done = mapdev("run", "-d", "/dev/x=contiguous", "--", "sh", "-c", command)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["--", "no-such-program"], 127, "command not found"),
        (["--", "/"], 126, "Permission denied"),
        ([], 2, "no command"),
        (["-d", "/dev/x=nothing", "--", "true"], 2, "no driver is called 'nothing'"),
        (["-d", "/dev/x", "--", "true"], 2, "is no device"),
        (["-d", "x=contiguous", "--", "true"], 2, "is no device"),
        (["-d", "/dev/x=contiguous,size", "--", "true"], 2, "is no parameter"),
        (["-d", "/dev/x=contiguous,colour=red", "--", "true"], 2, "its parameters are: size"),
        (["-d", "/dev/x=contiguous,size=huge", "--", "true"], 2, "no size"),
        (["-d", "/dev/x=contiguous,size=8G", "--", "true"], 2, "can't be set up"),
        (["-d", "/dev/x=nowhere.py:X", "--", "true"], 2, "there is no file"),
        (["-d", "/dev/x=json:loads", "--", "true"], 2, "has no driver class"),
        (["-d", "/dev/x=no.such.module:X", "--", "true"], 2, "can't be imported"),
        (["-d", "/dev/x=contiguous", "-d", "/dev/x=vmalloc", "--", "true"], 2, "already"),
        (["-m", "lots", "--", "true"], 2, "no size"),
        (["--descriptors", "some", "--", "true"], 2, "a number"),
        (["--frobnicate"], 2, "unrecognized"),
    ],
)
def test_errors_say_what_is_wrong(args: list[str], status: int, says: str) -> None:
    done = mapdev("run", *args)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_driver_that_calls_exit(tmp_path: Path) -> None:
    """It fails the run, not the host: in an operation that is EIO, in probe there is no device."""
    (tmp_path / "exits.py").write_text(
        "import sys\nfrom mapdev import Driver\n"
        "class Reading(Driver):\n    def read(self, file, count, pos): sys.exit(0)\n"
        "class Probing(Driver):\n    def probe(self): sys.exit(0)\n"
    )
    code = "cat /dev/x || echo goes on"
    done = mapdev("run", "-d", f"/dev/x={tmp_path}/exits.py:Reading", "--", "sh", "-c", code)
    assert (done.returncode, done.stdout) == (125, "goes on\n")
    assert "Input/output error" in done.stderr and "a driver raised SystemExit(0)" in done.stderr
    done = mapdev("run", "-d", f"/dev/x={tmp_path}/exits.py:Probing", "--", "echo", "not run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "can't be set up" in done.stderr


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def x(:", "SyntaxError: invalid syntax (PATH/own.py:1)"),
        ("import nosuch", "ModuleNotFoundError: No module named 'nosuch' (PATH/own.py:1)"),
        ("\nx = y", "NameError: name 'y' is not defined (PATH/own.py:2)"),
        ("import json\njson.loads('{')", "(PATH/own.py:2)"),
        ("raise SystemExit(3)", "SystemExit: 3 (PATH/own.py:1)"),
        (
            "from mapdev import Driver\nclass X(Driver):\n    def open(self, file): pass",
            "own.py can't be loaded: own.py:3: X.open(self, file) can't be called",
        ),
    ],
)
def test_a_file_that_can_not_be_loaded(tmp_path: Path, source: str, says: str) -> None:
    """What is wrong, and the line to change, as for a probe that fails."""
    (tmp_path / "own.py").write_text(source)
    done = mapdev("run", "-d", f"/dev/x={tmp_path}/own.py:X", "--", "echo", "not run")
    assert (done.returncode, done.stdout) == (2, "")
    assert says.replace("PATH", str(tmp_path)) in done.stderr
    assert "Traceback" not in done.stderr


def test_several_devices_and_parameters() -> None:
    done = mapdev(
        "run", "-d", "/dev/a=contiguous,size=4K", "-d", "/dev/b=vmalloc,size=0x2000", "--",
        "sh", "-c", "cat /dev/a | wc -c; cat /dev/b | wc -c",
    )  # fmt: skip
    assert done.stdout.split() == ["4096", "8192"]


DRIVER = '''
from mapdev import Driver

class Greeter(Driver):
    """Says hello."""

    def probe(self, name="world"):
        self.name = name

    def read(self, file, count, pos):
        return f"hello, {self.name}\\n".encode()[pos : pos + count]
'''


def test_a_driver_from_a_file_and_from_a_module(tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(DRIVER)
    for spec in "greeter.py:Greeter", str(tmp_path / "greeter.py:Greeter"), "greeter:Greeter":
        done = mapdev("run", "-d", f"/dev/g={spec},name=you", "--", "cat", "/dev/g", cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("hello, you\n", "")


def test_a_driver_with_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_like_it\n")
    done = mapdev("run", "-d", f"/dev/g={tmp_path}/broken.py:X", "--", "true")
    assert done.returncode == 2 and "nothing_like_it" in done.stderr


def test_a_gallery_driver_of_another_package(tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(DRIVER)
    metadata = tmp_path / "greeter-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[mapdev.drivers]\ngreeter = greeter:Greeter\n")
    # sys.path of the child, but not by PYTHONPATH alone: that is how it finds mapdev itself in a VM
    code = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(tmp_path)!r})
        from mapdev.cli import main
        sys.exit(main(["drivers"]) or main(["run", "-d", "/dev/g=greeter", "--", "cat", "/dev/g"]))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Says hello." in done.stdout and done.stdout.endswith("hello, world\n")


def test_verbose_logs_calls() -> None:
    done = mapdev(
        "run", "-v", "-d", "/dev/x=contiguous", "--", "sh", "-c", "echo hi >/dev/x; cd / <nosuch"
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("/dev/x: ")]
    assert [line.split("(")[0] for line in lines] == [
        "/dev/x: open", "/dev/x: write", "/dev/x: release",
    ]  # fmt: skip
    assert "b'hi\\n' (3 bytes), 0) = 3 <0.0" in lines[1]
    done = mapdev("run", "-v", "-d", "/dev/x=contiguous", "--", "head", "-c", "1", "/dev/x")
    assert "read(" in done.stderr
    done = mapdev("run", "-v", "-d", "/dev/x=registers", "--", "stty", "-F", "/dev/x")
    assert done.returncode == 1


def test_verbose_shows_errors(tmp_path: Path) -> None:
    done = mapdev(
        "run",
        "-v",
        "-d",
        "/dev/x=contiguous,size=4K",
        "--",
        "sh",
        "-c",
        "head -c 5000 /dev/zero >/dev/x",
    )
    assert "= -1 ENOSPC" in done.stderr


def test_drivers_lists_the_gallery() -> None:
    done = mapdev("drivers")
    assert done.returncode == 0
    for name in ("contiguous", "vmalloc", "registers", "framebuffer", "base=0x43c00000"):
        assert name in done.stdout


@pytest.mark.parametrize("verbose", ["", "-v"])
@pytest.mark.parametrize("standard", [">&-", "2>/dev/full", "2>&1 | head -c 1", "2>&-"])
def test_a_standard_file_that_is_lost(standard: str, verbose: str, tmp_path: Path) -> None:
    """The command's status is kept, and it keeps its device, whoever reads what mapdev says."""
    run = f"{shlex.join(MAPDEV)} run {verbose} -d /dev/x=contiguous --"
    command = f"sleep 0.2; head -c 3 /dev/x | wc -c >{tmp_path}/out; exit 7"
    shell = f"set -o pipefail; {run} sh -c {shlex.quote(command)} {standard}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=120, check=False)
    assert done.returncode == 7, done.stderr
    assert (tmp_path / "out").read_text() == "3\n"


@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "soon"])
def test_no_time_limit(value: str) -> None:
    done = mapdev("run", "--timeout", value, "-d", "/dev/x=contiguous", "--", "true")
    assert done.returncode == 2 and "more than 0" in done.stderr


def test_doctor() -> None:
    done = mapdev("doctor")
    assert done.returncode == 0, done.stdout
    assert "a program opened and mapped one" in done.stdout
    embedded, _, kernel = done.stdout.partition("the kernel host")
    assert "mapdev can work here" in embedded
    assert "FAIL" not in kernel
    assert "module:" in kernel


def test_help_and_version() -> None:
    assert "examples:" in mapdev("--help").stdout
    assert "--descriptors" in mapdev("run", "--help").stdout
    assert mapdev("--version").stdout.startswith("mapdev 0.")
    assert mapdev().returncode == 2


def test_programs_left_behind_are_served_until_they_end() -> None:
    done = mapdev("run", "-d", "/dev/x=contiguous", "--", "sh", "-c",
                  "(sleep 0.5; echo late >/dev/x; head -c 5 /dev/x) & exit 4")  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "late\n")
    assert "the command has ended" in done.stderr


def test_all_descriptors() -> None:
    code = "import os; fd = os.dup2(os.open('/dev/x', 2), 77); os.write(fd, b'hi'); print(os.pread(fd, 2, 0))"
    done = mapdev(
        "run", "--descriptors", "all", "-d", "/dev/x=contiguous", "--", sys.executable, "-c", code
    )
    assert (done.stdout, done.stderr) == ("b'hi'\n", "")


LOGGING = """
import logging
from mapdev import Driver

class Chatty(Driver):
    def open(self, inode, file):
        logging.getLogger("chatty").info("somebody opens it")
        raise ValueError("not today")
"""


@pytest.mark.parametrize("option", [[], ["-m", "64M"]], ids=["plain", "by argparse"])
def test_what_is_logged_by_a_driver_and_of_it(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "chatty.py").write_text(LOGGING)
    device = f"/dev/g={tmp_path}/chatty.py:Chatty"
    done = mapdev("run", *option, "-d", device, "--", "sh", "-c", "exec 2>/dev/null; cat /dev/g")
    lines = done.stderr.splitlines()
    assert lines[0] == "mapdev: somebody opens it"
    assert lines[1].startswith("mapdev: /dev/g: open failed: ValueError('not today')")


def test_what_is_logged_first_by_mapdev_itself(tmp_path: Path) -> None:
    driver = LOGGING.replace("import logging", "").replace("logging.getLogger", "print  #")
    (tmp_path / "quiet.py").write_text(driver)
    done = mapdev("run", "-d", f"/dev/g={tmp_path}/quiet.py:Chatty", "--", "cat", "/dev/g")
    assert "mapdev: /dev/g: open failed: ValueError('not today')" in done.stderr


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mapdev", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("mapdev ")


@pytest.mark.parametrize(
    ("args", "status"),  # rich says 1, argparse 0
    [(["drivers"], 1), (["doctor"], 141), (["--help"], 0)],
)
def test_a_reader_that_ends_early(args: list[str], status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mapdev", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == status


def test_ctrl_c_before_the_command_has_started() -> None:
    code = (
        "import mapdev.cli, os, signal\n"
        "def interrupted(argv): os.kill(os.getpid(), signal.SIGINT)\n"
        "mapdev.cli._plain_run = interrupted\n"
        "raise SystemExit(mapdev.cli.main(['run', '--', 'true']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_file_that_is_missing_is_not_the_command(tmp_path: Path) -> None:
    (tmp_path / "reads.py").write_text(
        "from mapdev import Driver\n"
        "class Reads(Driver):\n"
        "    def probe(self): self.f = open('/nowhere/firmware')\n"
    )
    done = mapdev("run", "-d", f"/dev/x={tmp_path}/reads.py:Reads", "--", "true")
    assert done.returncode == 2 and "/nowhere/firmware" in done.stderr
    assert "command not found" not in done.stderr
    code = (
        "import mapdev.run as run\n"
        "def broken(*args): raise FileNotFoundError(2, 'No such file or directory', '/proc/self/maps')\n"
        "run.EmbeddedHost = broken\n"
        "raise SystemExit(run.run([], ['true']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        125,
        "mapdev: /proc/self/maps: No such file or directory\n",
    )


def test_the_log_names_ioctls() -> None:
    code = (
        "import fcntl, os\nfd = os.open('/dev/fb0', 2)\nfcntl.ioctl(fd, 0x4602, bytearray(100))\n"
        "for number in (0x80685600, 0x5601, 1):\n"
        "    try: fcntl.ioctl(fd, number, bytearray(200))\n"
        "    except OSError: pass\n"
    )
    done = mapdev("run", "-v", "-d", "/dev/fb0=framebuffer", "--", sys.executable, "-c", code)
    names = [line.partition("ioctl(")[2].rpartition(", 0x")[0] for line in done.stderr.splitlines()]
    assert [name for name in names if name] == [
        "get_fscreeninfo",
        "_IOR('V', 0, 104)",
        "_IO('V', 1)",
        "0x1",
    ]


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('too wide')", "ValueError: too wide"),
        ("raise OSError('EIO', 'broken')", "whose first argument is no errno"),
        ("sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_probe_that_fails_is_told_with_its_line(
    tmp_path: Path, statement: str, text: str
) -> None:
    file = tmp_path / "fails.py"
    file.write_text(
        "import sys\nfrom mapdev import Driver\nclass Fails(Driver):\n"
        f"    def probe(self):\n        {statement}\n"
    )
    done = mapdev("run", "-d", f"/dev/x={file}:Fails", "--", "true")
    assert done.returncode == 2
    assert text in done.stderr and f"({file}:5)" in done.stderr and "Traceback" not in done.stderr


def test_refusals_that_name_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "typo.py"
    file.write_text("from mapdev import Driver\nclass Typo(Driver):\n    def prob(self): pass\n")
    for device, text in (
        (f"/dev/x={file}:Typo", "is that probe?"),
        ("/dev/x=framebuffer,width=0", "width=0: 8 to 32768 pixels are possible"),
        ("/dev/x=framebuffer,bpp=13", "bpp=13: it is one of 16, 24, 32"),
        ("/dev/x=framebuffer,height=tall", "height='tall' is no number"),
        ("/dev/x=ticker,hz=often", "hz='often' is no number"),
        ("/dev/x=sensor,limit=", "limit='' is no number"),
        ("/dev/x=registers,base=here", "base='here' is no size"),
        ("/dev/x=echo,size=-1", "size='-1' is no size"),
        ("/dev/x=vmalloc,size=1K,size=2K", "size is given twice"),
        ("/dev/x=vmalloc,major=-1", "unexpected keyword argument 'major'"),
        (f"/dev/{'x' * 300}=vmalloc", "too long"),
        ("/proc/x=vmalloc", "no node below"),
    ):
        done = mapdev("run", "-d", device, "--", "true")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert text in done.stderr


def test_a_description_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.umockdev"
    for text in ("garbage\n", "N: node\n", "P: /devices/x\nE: NOTHING\n", "P: here\n"):
        bad.write_text(text)
        done = mapdev("run", "--tree", str(bad), "--", "true")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert done.stderr.startswith(f"mapdev: {bad}: line ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [["maps", "self"], ["drivers"], ["module", "source"], ["--help"], ["maps", "--help"]]
)
def test_a_full_disk_is_told_in_a_line(words: list[str], unbuffered: str) -> None:
    words = [str(os.getpid()) if word == "self" else word for word in words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*MAPDEV, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, check=False,
        )  # fmt: skip
    if "--help" in words and unbuffered:
        return  # argparse says nothing of what it could not write
    assert (done.returncode, done.stderr) == (
        1, "mapdev: standard output: No space left on device\n"
    )  # fmt: skip
