"""A client that makes, links, renames and removes names in directories of /sys: how each call ends.

Printed are lines of a question and its answer. Run with the class directory of a class device, the
device's name, and a user to become. The answers of a stock kernel are in sysfs_making.tsv, from the
null of the class mem.
"""

import ctypes
import errno
import os
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
CLASS, NAME, USER = sys.argv[1:]
os.setresuid(int(USER), int(USER), int(USER))
DEVICE = os.path.realpath(f"{CLASS}/{NAME}")
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
DIRECTORIES = {
    "device": DEVICE,
    "link to it": f"{CLASS}/{NAME}",
    "power": f"{DEVICE}/power",
    "class": CLASS,
    "above": os.path.dirname(DEVICE),
    "classes": "/sys/class",
    "virtual": "/sys/devices/virtual",
    "numbers": "/sys/dev/char",
}
INSIDE = {  # what is there: in each directory a name of each kind
    "device": ("dev", "power", "subsystem"),
    "link to it": ("dev", "power", "subsystem"),
    "power": ("control",),
    "class": (NAME,),
    "above": (NAME,),
}


def end_of(function, *args, **options):
    try:
        answer = function(*args, **options)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "opened" if isinstance(answer, int) else "done"


def create(path, flags=os.O_WRONLY, **options):
    os.close(os.open(path, os.O_CREAT | flags, **options))
    return 0


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


MAKERS = {
    "mkdir": lambda path: os.mkdir(path),
    "create": lambda path: create(path),
    "create, excl": lambda path: create(path, os.O_EXCL),
    "create, read": lambda path: create(path, os.O_RDONLY),
    "create, directory": lambda path: create(path, os.O_RDONLY | os.O_DIRECTORY),
    "symlink": lambda path: os.symlink("x", path),
    "fifo": lambda path: os.mkfifo(path),
    "node": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "link of a file": lambda path: os.link(f"{DEVICE}/dev", path),
    "link of a directory": lambda path: os.link(f"{DEVICE}/power", path),
    "link of a link": lambda path: os.link(f"{DEVICE}/subsystem", path, follow_symlinks=False),
    "link of another's": lambda path: os.link("/proc/version", path),
    "link of nothing": lambda path: os.link(f"{DEVICE}/nothing", path),
    "rename a file": lambda path: os.rename(f"{DEVICE}/dev", path),
    "rename a directory": lambda path: os.rename(f"{DEVICE}/power", path),
    "rename a link": lambda path: os.rename(f"{DEVICE}/subsystem", path),
    "rename another's": lambda path: os.rename("/proc/version", path),
    "rename another's directory": lambda path: os.rename("/proc/1", path),
    "rename nothing": lambda path: os.rename(f"{DEVICE}/nothing", path),
    "rename, noreplace": lambda path: renameat2(f"{DEVICE}/dev", path, NOREPLACE),
    "exchange": lambda path: renameat2(f"{DEVICE}/dev", path, EXCHANGE),
    "exchange with a directory": lambda path: renameat2(f"{DEVICE}/power", path, EXCHANGE),
    "whiteout": lambda path: renameat2(f"{DEVICE}/dev", path, WHITEOUT),
    "rename away": lambda path: os.rename(path, "/proc/new"),
    "rename away within": lambda path: os.rename(path, f"{DEVICE}/new"),
    "link away": lambda path: os.link(path, "/proc/new"),
    "unlink": lambda path: os.unlink(path),
    "rmdir": lambda path: os.rmdir(path),
}


def ask_all(where, path):
    for what, maker in MAKERS.items():
        print(f"{what}: {where}", end_of(maker, path), sep="\t")


for name, directory in DIRECTORIES.items():
    ask_all(f"new in {name}", f"{directory}/new")
for name, inside in INSIDE.items():
    for there in inside:
        ask_all(f"{there.replace(NAME, 'NAME')} in {name}", f"{DIRECTORIES[name]}/{there}")
ask_all("new with a slash", f"{DEVICE}/new/")
ask_all("a file with a slash", f"{DEVICE}/dev/")
ask_all("a directory with a slash", f"{DEVICE}/power/")
ask_all("a link with a slash", f"{DEVICE}/subsystem/")
ask_all("below nothing", f"{DEVICE}/nothing/new")
ask_all("below a file", f"{DEVICE}/dev/new")
ask_all("below a link", f"{DEVICE}/subsystem/new")
ask_all("a dot", f"{DEVICE}/power/.")
ask_all("two dots", f"{DEVICE}/power/..")
ask_all("a long name", f"{DEVICE}/{'x' * 256}")
ask_all("an empty path", "")
os.chdir(DEVICE)
ask_all("relative", "new")
ask_all("relative, a file", "dev")
os.chdir("power")
ask_all("relative, upwards", "../new")
at = os.open(DEVICE, os.O_RDONLY | os.O_DIRECTORY)
for what, maker in {
    "mkdir": lambda: os.mkdir("new", dir_fd=at),
    "create": lambda: create("new", dir_fd=at),
    "symlink": lambda: os.symlink("x", "new", dir_fd=at),
    "link": lambda: os.link("dev", "new", src_dir_fd=at, dst_dir_fd=at),
    "rename": lambda: os.rename("dev", "new", src_dir_fd=at, dst_dir_fd=at),
    "unlink": lambda: os.unlink("dev", dir_fd=at),
    "rmdir": lambda: os.rmdir("power", dir_fd=at),
}.items():
    print(f"{what}: by a descriptor", end_of(maker), sep="\t")
