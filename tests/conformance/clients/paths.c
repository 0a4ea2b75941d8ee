// SPDX-License-Identifier: MIT
/* Names of a device: ways to write them, what is below them, and calls that take a path. */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "row.h"

static const char *opens(int directory, const char *path, int flags)
{
	int fd = openat(directory, path, flags);

	if (fd < 0)
		return error_name(errno);
	close(fd);
	return "ok";
}

/* The path of the device with something before its last part, or behind it. */
static const char *path_with(const char *between, const char *behind)
{
	static char path[512];
	const char *name = strrchr(device_path(), '/') + 1;

	snprintf(path, sizeof(path), "/dev/%s%s%s", between, name, behind);
	return path;
}

/* Other ways to write its name. */
static void path_spellings(void)
{
	const char *name = strrchr(device_path(), '/') + 1;
	int dev = open("/dev", O_RDONLY | O_DIRECTORY), fd = open_device(O_RDWR);

	watch();
	say("slashes=%s", opens(AT_FDCWD, path_with("//", ""), O_RDWR));
	say(" dot=%s", opens(AT_FDCWD, path_with("./", ""), O_RDWR));
	say(" dotdot=%s", opens(AT_FDCWD, path_with("../dev/", ""), O_RDWR));
	say(" at=%s", opens(dev, name, O_RDWR));
	say(" absolute_at_bad=%s", opens(-5, device_path(), O_RDWR));
	say(" relative_at_bad=%s", opens(-5, name, O_RDWR));
	say(" at_device=%s", opens(fd, name, O_RDWR));
	say(" at_device_empty=%s", opens(fd, "", O_RDWR));
	say(" at_device_absolute=%s", opens(fd, device_path(), O_RDWR));
	say(" chdir=%s", status(chdir("/dev")));
	say(" relative=%s", opens(AT_FDCWD, name, O_RDWR));
	say(" empty=%s", opens(AT_FDCWD, "", O_RDWR));
	say(" null=%s", status(syscall(SYS_openat, AT_FDCWD, NULL, O_RDWR)));
	say_ran("drv");
}

/* A device is no directory. */
static void path_below(void)
{
	struct stat s;

	watch();
	say("slash=%s", opens(AT_FDCWD, path_with("", "/"), O_RDWR));
	say(" dot=%s", opens(AT_FDCWD, path_with("", "/."), O_RDWR));
	say(" dotdot=%s", opens(AT_FDCWD, path_with("", "/.."), O_RDONLY));
	say(" name=%s", opens(AT_FDCWD, path_with("", "/x"), O_RDWR));
	say(" creat=%s", opens(AT_FDCWD, path_with("", "/x"), O_RDWR | O_CREAT));
	say(" creat_slash=%s", opens(AT_FDCWD, path_with("", "/"), O_RDWR | O_CREAT));
	say(" path_slash=%s", opens(AT_FDCWD, path_with("", "/"), O_PATH));
	say(" stat_slash=%s", status(stat(path_with("", "/"), &s)));
	say(" lstat_name=%s", status(lstat(path_with("", "/x"), &s)));
	say(" access_slash=%s", status(access(path_with("", "/"), F_OK)));
	say(" mkdir=%s", status(mkdir(path_with("", "/x"), 0700)));
	say(" unlink=%s", status(unlink(path_with("", "/x"))));
	say_ran("drv");
}

/* A name next to it, and one that is too long. */
static void path_others(void)
{
	char long_name[NAME_MAX + 2];

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	say("longer=%s", opens(AT_FDCWD, path_with("", "x"), O_RDWR));
	say(" shorter=%s", opens(AT_FDCWD, "/dev/ref_", O_RDWR));
	say(" too_long=%s", opens(AT_FDCWD, path_with("", long_name), O_RDWR));
	say(" upper=%s", opens(AT_FDCWD, path_with("X", ""), O_RDWR));
}

/* By a symbolic link in the working directory. */
static void path_symlink(void)
{
	char target[128] = "";
	struct stat s;

	unlink("link.tmp");
	if (symlink(device_path(), "link.tmp"))
		cannot("make a symbolic link in the working directory");
	watch();
	say("open=%s", opens(AT_FDCWD, "link.tmp", O_RDWR));
	say(" nofollow=%s", opens(AT_FDCWD, "link.tmp", O_RDWR | O_NOFOLLOW));
	say(" path_nofollow=%s", opens(AT_FDCWD, "link.tmp", O_PATH | O_NOFOLLOW));
	say(" slash=%s", opens(AT_FDCWD, "link.tmp/", O_RDWR));
	say(" below=%s", opens(AT_FDCWD, "link.tmp/x", O_RDWR));
	say(" excl=%s", opens(AT_FDCWD, "link.tmp", O_RDWR | O_CREAT | O_EXCL));
	say(" creat=%s", opens(AT_FDCWD, "link.tmp", O_RDWR | O_CREAT));
	say_ran("drv");
	say(" stat=%s", status(stat("link.tmp", &s)));
	say(" chr=%d", S_ISCHR(s.st_mode));
	say(" lstat=%s", status(lstat("link.tmp", &s)));
	say(" lnk=%d", S_ISLNK(s.st_mode));
	say(" readlink=%zd", readlink("link.tmp", target, sizeof(target) - 1) - strlen(device_path()));
	say(" access=%s", status(access("link.tmp", R_OK | W_OK)));
	unlink("link.tmp");
}

/* What stat and its kin say of it. */
static void path_stat(void)
{
	int fd = open_device(O_RDWR), path = open_device(O_PATH);
	struct stat s, f, p;

	watch();
	say("stat=%s", status(stat(device_path(), &s)));
	say(" chr=%d", S_ISCHR(s.st_mode));
	say(" rdev=%d size=%ld", s.st_rdev != 0, (long)s.st_size);
	say(" blocks=%ld nlink=%ld", (long)s.st_blocks, (long)s.st_nlink);
	say(" blksize=%ld", (long)s.st_blksize);
	say(" fstat=%s", status(fstat(fd, &f)));
	say(" same=%d", s.st_rdev == f.st_rdev && s.st_ino == f.st_ino && s.st_mode == f.st_mode &&
	    s.st_dev == f.st_dev);
	say(" path=%s", status(fstat(path, &p)));
	say(" same=%d", s.st_rdev == p.st_rdev && s.st_ino == p.st_ino && s.st_mode == p.st_mode);
	say(" lstat=%s", status(lstat(device_path(), &p)));
	say(" at_empty=%s", status(fstatat(fd, "", &p, AT_EMPTY_PATH)));
	say(" chr=%d", S_ISCHR(p.st_mode));
	say(" no_flag=%s", status(fstatat(fd, "", &p, 0)));
	say(" flags=%s", status(fstatat(AT_FDCWD, device_path(), &p, 0x40000000)));
	say(" null=%s", status(syscall(SYS_newfstatat, AT_FDCWD, device_path(), NULL, 0)));
	say_ran("drv");
}

/* statx: masks and flags. */
static void path_statx(void)
{
	int fd = open_device(O_RDWR);
	struct statx x = { 0 };

	say("basic=%s", status(statx(AT_FDCWD, device_path(), 0, STATX_BASIC_STATS, &x)));
	say(" mask=%d", (x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	say(" chr=%d rdev=%d", S_ISCHR(x.stx_mode), x.stx_rdev_major != 0);
	say(" none=%s", status(statx(AT_FDCWD, device_path(), 0, 0, &x)));
	say(" reserved=%s", status(statx(AT_FDCWD, device_path(), 0, STATX__RESERVED, &x)));
	say(" sync=%s", status(statx(AT_FDCWD, device_path(), AT_STATX_FORCE_SYNC, 0, &x)));
	say(" both=%s", status(statx(AT_FDCWD, device_path(), AT_STATX_SYNC_TYPE, 0, &x)));
	say(" fd=%s", status(statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &x)));
	say(" chr=%d", S_ISCHR(x.stx_mode));
	say(" slash=%s", status(statx(AT_FDCWD, path_with("", "/"), 0, STATX_TYPE, &x)));
	say(" null=%s", status(syscall(SYS_statx, AT_FDCWD, device_path(), 0, 0, NULL)));
}

/* access and its kin, as root. */
static void path_access(void)
{
	int fd = open_device(O_RDWR);
	const char *path = device_path();

	say("f=%s r=%s", status(access(path, F_OK)), status(access(path, R_OK)));
	say(" w=%s x=%s", status(access(path, W_OK)), status(access(path, X_OK)));
	say(" rwx=%s", status(access(path, R_OK | W_OK | X_OK)));
	say(" 8=%s -1=%s", status(access(path, 8)), status(access(path, -1)));
	say(" eaccess=%s", status(syscall(SYS_faccessat2, AT_FDCWD, path, W_OK, AT_EACCESS)));
	say(" flags=%s", status(syscall(SYS_faccessat2, AT_FDCWD, path, W_OK, 0x10000)));
	say(" fd=%s", status(syscall(SYS_faccessat2, fd, "", W_OK, AT_EMPTY_PATH)));
	say(" fd_x=%s", status(syscall(SYS_faccessat2, fd, "", X_OK, AT_EMPTY_PATH)));
	say(" nofollow=%s", status(syscall(SYS_faccessat2, AT_FDCWD, path, R_OK, AT_SYMLINK_NOFOLLOW)));
}

/* Say how a call went that must not make anything there; if it has, take that away again. */
static void say_made(const char *name, int result)
{
	say(" %s=%s", name, status(result));
	if (!result)
		remove(device_path());
}

/* Making something where it is. */
static void path_occupied(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	const char *path = device_path(), *other = "/dev/conformance.tmp";
	int unix_socket = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(name.sun_path, path);
	watch();
	say_made("mknod", mknod(path, S_IFCHR | 0600, 0x0103));
	say_made("fifo", mkfifo(path, 0600));
	say_made("mkdir", mkdir(path, 0700));
	say_made("symlink", symlink("x", path));
	say_made("bind", bind(unix_socket, (void *)&name, sizeof(name)));
	say(" connect=%s", status(connect(unix_socket, (void *)&name, sizeof(name))));
	say(" fifo_beside=%s", status(mkfifo(other, 0600)));
	say_made("link", link(other, path));
	say_made("noreplace", renameat2(AT_FDCWD, other, AT_FDCWD, path, RENAME_NOREPLACE));
	unlink(other);
	say(" still=%s", opens(AT_FDCWD, path, O_RDWR));
	say_ran("drv");
}

/* Calls for directories, programs and the like. */
static void path_other_kinds(void)
{
	const char *path = device_path();
	char target[16], *arguments[] = { "x", NULL };
	int fd = open_device(O_RDWR);

	watch();
	say("rmdir=%s", status(rmdir(path)));
	say(" unlink_slash=%s", status(unlink(path_with("", "/"))));
	say(" chdir=%s", status(chdir(path)));
	say(" chroot=%s", status(chroot(path)));
	say(" fchdir=%s", status(fchdir(fd)));
	say(" getdents=%s", status(syscall(SYS_getdents64, fd, target, sizeof(target))));
	say(" readlink=%s", status(readlink(path, target, sizeof(target))));
	say(" execve=%s", status(execve(path, arguments, arguments + 1)));
	say(" execveat=%s", status(syscall(SYS_execveat, fd, "", arguments, arguments + 1, AT_EMPTY_PATH)));
	say(" link_out=%s", status(link(path, "/proc/x")));
	say(" rename_slash=%s", status(rename(path, path_with("", "/"))));
	say(" rename_same=%s", status(rename(path, path)));
	say(" rename_below=%s", status(rename(path, path_with("", "/x"))));
	say_ran("drv");
}

/* Owner, mode and times: they are set to what they are. */
static void path_attributes(void)
{
	const char *path = device_path();
	int fd = open_device(O_RDWR);

	watch();
	say("chmod=%s", status(chmod(path, 0666)));
	say(" fchmod=%s", status(fchmod(fd, 0666)));
	say(" chown=%s", status(chown(path, -1, -1)));
	say(" fchown=%s", status(fchown(fd, -1, -1)));
	say(" lchown=%s", status(lchown(path, -1, -1)));
	say(" utimens=%s", status(utimensat(AT_FDCWD, path, NULL, 0)));
	say(" futimens=%s", status(futimens(fd, NULL)));
	say(" chmod_slash=%s", status(chmod(path_with("", "/"), 0666)));
	say(" chown_empty=%s", status(fchownat(fd, "", -1, -1, AT_EMPTY_PATH)));
	say_ran("drv");
}

/* Extended attributes: a device has none of a user's. */
static void path_xattrs(void)
{
	const char *path = device_path();
	int fd = open_device(O_RDWR), name = open_device(O_PATH);
	char value[16];

	say("set=%s", status(setxattr(path, "user.x", "1", 1, 0)));
	say(" fset=%s", status(fsetxattr(fd, "user.x", "1", 1, 0)));
	say(" get=%s", status(getxattr(path, "user.x", value, sizeof(value))));
	say(" fget=%s", status(fgetxattr(fd, "user.x", value, sizeof(value))));
	say(" trusted=%s", status(fgetxattr(fd, "trusted.x", value, sizeof(value))));
	say(" nowhere=%s", status(fgetxattr(fd, "nowhere.x", value, sizeof(value))));
	say(" remove=%s", status(fremovexattr(fd, "user.x")));
	say(" path=%s", status(fgetxattr(name, "user.x", value, sizeof(value))));
	say(" list=%s", status(flistxattr(fd, value, 0) < 0 ? -1 : 0));
}

/* Its file system. */
static void path_statfs(void)
{
	int fd = open_device(O_RDWR);
	struct statfs s = { 0 }, f = { 0 };

	say("statfs=%s", status(statfs(device_path(), &s)));
	say(" fstatfs=%s", status(fstatfs(fd, &f)));
	say(" same=%d", s.f_type == f.f_type);
	say(" path=%s", status(fstatfs(open_device(O_PATH), &f)));
	say(" slash=%s", status(statfs(path_with("", "/"), &f)));
	say(" null=%s", status(syscall(SYS_fstatfs, fd, NULL)));
}

static void say_events(int notify)
{
	static const struct { unsigned int bit; const char *name; } known[] = {
		{ IN_OPEN, "open" }, { IN_ACCESS, "access" }, { IN_MODIFY, "modify" },
		{ IN_CLOSE_WRITE, "close_write" }, { IN_CLOSE_NOWRITE, "close_nowrite" },
		{ IN_ATTRIB, "attrib" },
	};
	char events[2048];
	ssize_t size = read(notify, events, sizeof(events)), at;
	size_t i;

	say("[");
	for (at = 0; at < size; ) {
		const struct inotify_event *event = (void *)(events + at);

		for (i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (event->mask & known[i].bit)
				say("%s ", known[i].name);
		at += sizeof(*event) + event->len;
	}
	say("]");
}

/* Who watches it with inotify hears of what is done with it. */
static void path_inotify(void)
{
	int notify = inotify_init1(IN_NONBLOCK), fd;
	char byte;

	say("watch=%s", status(inotify_add_watch(notify, device_path(), IN_ALL_EVENTS) < 0 ? -1 : 0));
	fd = open_for_use(O_RDWR);
	say(" open");
	say_events(notify);
	say(" read=%s", amount(read(fd, &byte, 1)));
	say_events(notify);
	say(" write=%s", amount(write(fd, &byte, 1)));
	say_events(notify);
	close(fd);
	say(" close");
	say_events(notify);
	say(" onlydir=%s", status(inotify_add_watch(notify, device_path(), IN_OPEN | IN_ONLYDIR)));
}

/* Attributes of each namespace, by path, link and descriptor. */
static void path_xattr_namespaces(void)
{
	static const char *const names[] = {
		"trusted.x", "trusted.", "security.x", "security.capability", "security.", "user.x", "user.",
		"system.x", "system.posix_acl_access", "other.x", "x", "",
	};
	int fd = open_device(O_RDWR), path = open_device(O_PATH);
	char value[64];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		say(" %s=%s", names[i], amount(getxattr(device_path(), names[i], value, sizeof(value))));
		say("/%s", amount(lgetxattr(device_path(), names[i], NULL, 0)));
		say("/%s", amount(fgetxattr(fd, names[i], value, sizeof(value))));
		say("/%s", amount(fgetxattr(path, names[i], value, sizeof(value))));
	}
	say(" list=%s", amount(listxattr(device_path(), value, sizeof(value))));
	say("/%s", amount(flistxattr(fd, NULL, 0)));
	say("/%s", amount(flistxattr(path, NULL, 0)));
	say(" null=%s", amount(getxattr(device_path(), NULL, value, sizeof(value))));
	say(" slash=%s", amount(getxattr(path_with("", "/"), "user.x", value, sizeof(value))));
}

static const char *opens_how(int directory, const char *path, unsigned long long flags,
			     unsigned long long resolve)
{
	unsigned long long how[3] = { flags, 0, resolve };
	int fd = syscall(SYS_openat2, directory, path, how, sizeof(how));

	if (fd < 0)
		return error_name(errno);
	close(fd);
	return "ok";
}

/* Lookups that must not wait: what is known is found; what may take a while is EAGAIN. */
static void path_resolve_cached(void)
{
	const unsigned long long cached = 0x20;	/* RESOLVE_CACHED */
	int dev = open("/dev", O_RDONLY | O_DIRECTORY);
	const char *name = strrchr(device_path(), '/') + 1;
	char below[64], slash[64];

	snprintf(below, sizeof(below), "%s/x", name);
	snprintf(slash, sizeof(slash), "%s/", name);
	opens(dev, name, O_RDWR);
	watch();
	say("rdwr=%s", opens_how(dev, name, O_RDWR, cached));
	say(" path=%s", opens_how(dev, name, O_PATH, cached));
	say(" trunc=%s", opens_how(dev, name, O_RDWR | O_TRUNC, cached));
	say(" creat=%s", opens_how(dev, name, O_RDWR | O_CREAT, cached));
	say(" tmpfile=%s", opens_how(dev, ".", O_RDWR | __O_TMPFILE | O_DIRECTORY, cached));
	say(" nonblock=%s", opens_how(dev, name, O_RDWR | O_NONBLOCK, cached));
	say(" beneath=%s", opens_how(dev, name, O_RDWR, cached | 0x08));
	say(" no_links=%s", opens_how(dev, name, O_RDWR, cached | 0x04));
	say(" below=%s", opens_how(dev, below, O_RDWR, cached));
	say(" slash=%s", opens_how(dev, slash, O_RDWR, cached));
	say(" directory=%s", opens_how(dev, name, O_RDONLY | O_DIRECTORY, cached));
	say(" unknown=%s", opens_how(dev, name, O_RDWR, cached | 0x40));
	say_ran("drv");
}

/* Below a link to the node: looked up as if the node were there. */
static void path_below_links(void)
{
	struct stat s;
	struct statfs f;

	unlink("link.tmp");
	unlink("second.tmp");
	if (symlink(device_path(), "link.tmp") || symlink("link.tmp", "second.tmp"))
		cannot("make symbolic links in the working directory");
	watch();
	say("open=%s", opens(AT_FDCWD, "link.tmp/x", O_RDWR));
	say(" creat=%s", opens(AT_FDCWD, "link.tmp/x", O_RDWR | O_CREAT));
	say(" deep=%s", opens(AT_FDCWD, "link.tmp/x/y", O_RDWR));
	say(" dot=%s", opens(AT_FDCWD, "link.tmp/.", O_RDWR));
	say(" dotdot=%s", opens(AT_FDCWD, "link.tmp/..", O_RDONLY));
	say(" second=%s", opens(AT_FDCWD, "second.tmp/x", O_RDWR));
	say(" second_itself=%s", opens(AT_FDCWD, "second.tmp", O_RDWR));
	say(" stat=%s", status(stat("link.tmp/x", &s)));
	say(" lstat=%s", status(lstat("link.tmp/x", &s)));
	say(" statfs=%s", status(statfs("link.tmp/x", &f)));
	say(" access=%s", status(access("link.tmp/x", F_OK)));
	say(" mkdir=%s", status(mkdir("link.tmp/x", 0700)));
	say(" unlink=%s", status(unlink("link.tmp/x")));
	say(" rename=%s", status(rename("link.tmp/x", "other.tmp")));
	say(" rename_to=%s", status(rename("second.tmp", "link.tmp/x")));
	say(" symlink=%s", status(symlink("x", "link.tmp/x")));
	say(" chdir=%s", status(chdir("link.tmp/x")));
	say(" readlink=%s", amount(readlink("link.tmp/x", (char *)&s, 10)));
	say(" truncate=%s", status(truncate("link.tmp/x", 0)));
	say(" chmod=%s", status(chmod("link.tmp/x", 0600)));
	say_ran("drv");
	unlink("link.tmp");
	unlink("second.tmp");
}

/* The file system of the node, by all ways to name it. */
static void path_statfs_ways(void)
{
	struct statfs root = { 0 }, s = { 0 };
	char link[64];
	int fd = open_device(O_RDWR);

	statfs("/dev", &root);
	unlink("link.tmp");
	if (symlink(device_path(), "link.tmp"))
		cannot("make a symbolic link in the working directory");
	watch();
	say("path=%s", status(statfs(device_path(), &s)));
	say(" as_dev=%d", s.f_type == root.f_type && s.f_bsize == root.f_bsize &&
	    s.f_namelen == root.f_namelen && s.f_blocks == root.f_blocks);
	say(" fd=%s", status(fstatfs(fd, &s)));
	say(" as_dev=%d", s.f_type == root.f_type && s.f_bsize == root.f_bsize);
	say(" link=%s", status(statfs("link.tmp", &s)));
	say(" as_dev=%d", s.f_type == root.f_type);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	say(" proc=%s", status(statfs(link, &s)));
	say(" as_dev=%d", s.f_type == root.f_type);
	say(" below=%s", status(statfs(path_with("", "/x"), &s)));
	say(" bad=%s", status(syscall(SYS_statfs, device_path(), NULL)));
	say(" bad_path=%s", status(syscall(SYS_statfs, NULL, &s)));
	say(" dup=%s", status(fstatfs(fcntl(fd, F_DUPFD, 200), &s)));
	say(" as_dev=%d", s.f_type == root.f_type);
	say_ran("drv");
	unlink("link.tmp");
}

const struct row path_rows[] = {
	ROW(path_spellings),
	ROW(path_below),
	ROW(path_others),
	ROW(path_symlink),
	ROW(path_stat),
	ROW(path_statx),
	ROW(path_access),
	ROW(path_occupied),
	ROW(path_other_kinds),
	ROW(path_attributes),
	ROW(path_xattrs),
	ROW(path_statfs),
	ROW(path_inotify),
	ROW(path_xattr_namespaces),
	ROW(path_resolve_cached),
	ROW(path_below_links),
	ROW(path_statfs_ways),
	{ },
};
