"""Fetches Debian packages by apt and unpacks them by dpkg-deb, without root or installation.

apt works in directories of its own, so that neither the machine's package lists nor its state are
read or written, and any architecture can be asked for. No script of a package runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mapdev.support.tools import UnavailableError, install, need, run, say

MIRROR = os.environ.get("MAPDEV_DEBIAN_MIRROR", "http://deb.debian.org")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEBIAN_12 = ("debian bookworm", "debian bookworm-updates", "debian-security bookworm-security")


class Apt:
    """Debian's packages of one architecture; what is fetched goes below `directory`.

    :param suites: where they are from, each an archive and its suite.
    :raises UnavailableError: apt or Debian's keys are missing, or the mirror can't be reached.
    """

    def __init__(
        self, directory: Path, architecture: str, suites: Sequence[str] = DEBIAN_12
    ) -> None:
        need("apt-get", "apt")
        need("dpkg-deb", "dpkg")
        if not Path(KEYRING).exists():
            raise UnavailableError(f"{KEYRING} is missing: {install('debian-archive-keyring')}")
        self._archives = directory / "cache" / "archives"
        for path in (self._archives / "partial", directory / "lists" / "partial"):
            path.mkdir(parents=True)
        (directory / "status").touch()
        sources = "".join(f"deb [signed-by={KEYRING}] {MIRROR}/{suite} main\n" for suite in suites)
        (directory / "sources.list").write_text(sources)
        self._options = _options(directory, architecture)
        say(f"reading Debian's package lists ({architecture})")
        self._get("-oAPT::Update::Error-Mode=any", "update")

    def depends(self, package: str) -> list[str]:
        """Return the names that a package depends on, of alternatives the first."""
        shown = run("apt-cache", *self._options, "show", "--no-all-versions", package)
        line = next(line for line in shown.splitlines() if line.startswith("Depends:"))
        return re.findall(r"(?:^Depends:|,)\s*([^\s,|]+)", line)

    def download(self, *packages: str) -> list[Path]:
        """Fetch these packages alone; return all that have been fetched so far."""
        self._get("download", *packages, cwd=self._archives)
        return sorted(self._archives.glob("*.deb"))

    def download_with_dependencies(self, *packages: str) -> list[Path]:
        """Fetch packages and all that they need; return all that have been fetched so far."""
        self._get("-y", "--download-only", "install", *packages)
        return sorted(self._archives.glob("*.deb"))

    def _get(self, *arguments: str, cwd: Path | None = None) -> None:
        run("apt-get", *self._options, "-qq", *arguments, cwd=cwd)


def _options(directory: Path, architecture: str) -> list[str]:
    options = (
        f"APT::Architecture={architecture}", f"APT::Architectures={architecture}",
        "APT::Sandbox::User=", "APT::Install-Recommends=0", "Acquire::Languages=none",
        "Acquire::Retries=3", "Debug::NoLocking=1",
        f"Dir::State::Lists={directory}/lists", f"Dir::State::status={directory}/status",
        f"Dir::Cache={directory}/cache", f"Dir::Etc::SourceList={directory}/sources.list",
        "Dir::Etc::SourceParts=-", "Dir::Etc::Preferences=-", "Dir::Etc::PreferencesParts=-",
    )  # fmt: skip
    return [f"-o{option}" for option in options]


def unpack(deb: Path, target: Path) -> None:
    """Unpack a package; unlike dpkg-deb --extract this keeps the links of a merged /usr."""
    with tempfile.NamedTemporaryFile() as tar:
        subprocess.run(("dpkg-deb", "--fsys-tarfile", str(deb)), check=True, stdout=tar)
        run("tar", "-x", "-f", tar.name, "-C", str(target), "--no-same-owner",
            "--keep-directory-symlink")  # fmt: skip
