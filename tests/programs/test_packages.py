"""sdist and wheel are built, installed and used, with and without a C compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAY = "from mapdev.host.embedded.native import NATIVE, WHY_NOT; print(NATIVE is not None, WHY_NOT)"
has_compiler = pytest.mark.skipif(
    shutil.which(sysconfig.get_config_var("CC").split()[0]) is None
    or not (Path(sysconfig.get_path("include")) / "Python.h").exists(),
    reason="there is no C compiler, or Python's headers are missing",
)


def run(
    *command: object, check: bool = True, **options: object
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(word) for word in command], text=True, stdout=subprocess.PIPE, timeout=200,
        stderr=subprocess.STDOUT, check=False, stdin=subprocess.DEVNULL, **options,
    )  # type: ignore[call-overload]  # fmt: skip
    assert not check or done.returncode == 0, done.stdout
    return done  # type: ignore[no-any-return]


def plain(**more: str) -> dict[str, str]:
    """Return the environment without what chooses how the extension is built."""
    chosen = ("MAPDEV_PURE", "MAPDEV_NATIVE", "CC", "CFLAGS", "LDFLAGS")
    return {key: value for key, value in os.environ.items() if key not in chosen} | more


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an unpacked sdist, built from the files that git knows."""
    tree = tmp_path_factory.mktemp("tree")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", out, cwd=tree, env=plain())
    (archive,) = out.iterdir()
    with tarfile.open(archive) as files:
        files.extractall(out, filter="data")
    (unpacked,) = (path for path in out.iterdir() if path.is_dir())
    return unpacked


def wheel(sdist: Path, out: Path, **environment: str) -> tuple[str, Path]:
    """Build a wheel of the sdist and install it; return its name and where."""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out)
    run(*command, cwd=sdist, env=plain(**environment))
    (built,) = out.glob("*.whl")
    target = out / "installed"
    with zipfile.ZipFile(built) as files:
        assert files.testzip() is None
        files.extractall(target)
    return built.name, target


def use(target: Path, **environment: str) -> str:
    """Serve a device by what is installed; return whether the extension was in use."""
    env = plain(PYTHONPATH=str(target), **environment)
    command = ("run", "-d", "/dev/x=contiguous", "--", "sh", "-c", "echo >/dev/x; head -c1 /dev/x")
    done = run(sys.executable, "-P", "-m", "mapdev", *command, env=env, cwd=target)
    assert done.stdout == "\n"
    found = run(sys.executable, "-P", "-c", "import mapdev; print(mapdev.__file__)", env=env)
    assert found.stdout.startswith(str(target))
    return run(sys.executable, "-P", "-c", SAY, env=env).stdout


@has_compiler
def test_a_wheel_with_the_extension(sdist: Path, tmp_path: Path) -> None:
    name, target = wheel(sdist, tmp_path, MAPDEV_NATIVE="1")
    platform = sysconfig.get_platform().replace("-", "_")
    assert name.endswith(f"-cp311-abi3-{platform}.whl")
    assert (target / "mapdev/_native.abi3.so").exists()
    assert (target / "mapdev/_native.pyi").exists()
    assert (target / "mapdev/module/source/Makefile").exists()
    assert use(target) == "True \n"
    assert use(target, MAPDEV_PURE="1") == "False MAPDEV_PURE is set\n"
    (target / "mapdev/_native.abi3.so").write_bytes(b"no ELF")
    assert use(target).startswith("False it can't be loaded")


@pytest.mark.parametrize("environment", [{"CC": "false"}, {"CC": "no-cc"}, {"MAPDEV_PURE": "1"}])
def test_a_wheel_without_it(sdist: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    name, target = wheel(sdist, tmp_path, **environment)
    assert name.endswith("-py3-none-any.whl")
    assert not list(target.rglob("*.so"))
    assert use(target).startswith("False it was not built")


def test_that_it_must_be_built_can_be_asked(sdist: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    env = plain(CC="false", MAPDEV_NATIVE="1")
    assert run(*command, cwd=sdist, env=env, check=False).returncode
    assert not list(tmp_path.glob("*.whl"))
