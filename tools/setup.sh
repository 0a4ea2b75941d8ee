#!/usr/bin/env bash
# Set up what demo, tests, documentation and benchmarks need: Debian packages and the virtual
# environment .venv.
#
#   tools/setup.sh [demo|test|docs|bench|environments]...
#
# Done again it takes a moment: packages are looked up, not installed, and the environment is built
# anew only when pyproject.toml, this script, the C extension or Python has changed. Without root or
# sudo it goes on and says which packages are missing; with CI=true that is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

demo_packages=(busybox-static fbcat fbset ffmpeg)
test_packages=("${demo_packages[@]}" stress-ng sparse gcc libc6-dev python3-dev
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross make debian-archive-keyring golang-go libuv1-dev
    clang libclang-rt-dev valgrind gdb strace ltrace chromium tree udev lsof
    inotify-tools v4l-utils yavta fswebcam gstreamer1.0-tools gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good psmisc bindfs)
qemu_packages=(qemu-system-x86 qemu-system-arm)
qemu_oldest=1:8 # under 7.2, which Debian 12 has, Linux 6.12 crashes at random
environment_packages=(debootstrap runc)
bench_packages=(gcc libc6-dev pkg-config libfuse3-dev fuse3 umockdev libumockdev-dev)
venv=.venv
apt_options=(-qq -y --no-install-recommends -oDPkg::Lock::Timeout=300 -oAcquire::Retries=3)

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

# Print those of the packages that are not installed.
missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
    for package; do
        grep -qx "installed $package" <<<"$installed" || printf '%s ' "$package"
    done
}

# install_packages WHY PACKAGE...: install what is missing, or say what that is.
install_packages() {
    local why=$1 missing
    shift
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: this is no Debian: $why may need the programs of these packages: $*" >&2
        return
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086  # a list of words
    if can_be_root; then
        say "Installing Debian packages: $missing"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" update >&2 || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" install $missing \
            </dev/null >&2 || true
        missing=$(missing_packages "$@")
        [ -n "$missing" ] || return 0
    fi
    echo "setup: missing Debian packages: $missing" >&2
    echo "setup: what needs them is skipped; to install them:" >&2
    echo "    sudo apt-get install --no-install-recommends $missing" >&2
    [ "${CI:-}" != true ] || fail "CI has to have them all"
}

# Install qemu, on Debian 12 from its backports. These are known to apt for this one call only: the
# machine's sources stay as they are.
install_qemu() {
    local codename version package sources
    codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}" || true)
    for package in "${qemu_packages[@]}"; do
        [ "$codename" = bookworm ] && can_be_root || break
        version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
        dpkg --compare-versions "${version:-0}" lt "$qemu_oldest" || continue
        say "Installing from Debian's backports: ${qemu_packages[*]}"
        sources=$(mktemp -d)
        find /etc/apt/sources.list.d -type f -exec ln -s -t "$sources" {} + 2>/dev/null || true
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
            "${MAPDEV_DEBIAN_MIRROR:-http://deb.debian.org}/debian bookworm-backports main" \
            >"$sources/mapdev-backports.list"
        as_root apt-get "${apt_options[@]}" -oDir::Etc::SourceParts="$sources" update >&2 || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" \
            -oDir::Etc::SourceParts="$sources" -t bookworm-backports install "${qemu_packages[@]}" \
            </dev/null >&2 || echo "setup: no qemu from the backports: Debian's own has to do" >&2
        rm -r "$sources"
        break
    done
    install_packages "virtual machines" "${qemu_packages[@]}"
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or later is missing: apt-get install python3 (Debian 12), or set PYTHON"
}

# install_extra EXTRA: mapdev itself, editable, with the packages of one of pyproject's extras.
install_extra() {
    local extra=$1 python stamp key
    stamp=$venv/setup-$extra
    python=$(find_python)
    key=$(sha256sum pyproject.toml tools/setup.sh hatch_build.py native/*; "$python" --version
        echo "$python $PWD ${MAPDEV_PURE:-}"; command -v "${CC:-cc}" || true)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
        return
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages "the virtual environment" python3-venv
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$python can't make virtual environments: apt-get install python3-venv"
    fi
    if [ ! -x $venv/bin/python ] || [ "$(cat $venv/setup-python 2>/dev/null)" != "$python $PWD" ]; then
        say "Making a virtual environment in $venv with $python"
        "$python" -m venv --clear $venv
        echo "$python $PWD" >$venv/setup-python
    fi
    say "Installing mapdev with its packages for '$extra' from PyPI"
    local quiet=()
    [ -t 2 ] || quiet=(--quiet)
    # In CI it is an error if the C extension can't be built.
    [ "${CI:-}" != true ] || local -x MAPDEV_NATIVE=1
    $venv/bin/python -m pip install "${quiet[@]}" --disable-pip-version-check \
        --editable ".[$extra]" >&2 || return
    echo "$key" >"$stamp"
}

[ $# -gt 0 ] || set -- test
for part; do
    case $part in
        demo) install_packages "the demo" "${demo_packages[@]}"; install_extra dev ;;
        test)
            install_packages "make test" "${test_packages[@]}"
            install_qemu
            install_extra dev
            ;;
        docs) install_extra docs ;;
        environments) install_packages "make test-environments" "${environment_packages[@]}" ;;
        bench)
            install_packages "make bench" "${bench_packages[@]}"
            install_extra bench || { # pyfuse3 has to be compiled on some machines
                echo "setup: pyfuse3 and mfusepy can't be installed and are not measured" >&2
                install_extra dev
            }
            ;;
        *) fail "'$part' is none of demo, test, docs, bench, environments" ;;
    esac
done
