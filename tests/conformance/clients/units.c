// SPDX-License-Identifier: MIT
/*
 * A device in the device model, the unit of the device "sensor": its directory, links and uevents, and
 * what becomes of all that when it goes. Numbers of devices are said as M and m.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "row.h"

#define UNIT "/sys/class/ref_class/ref_unit"
#define PLACE "/sys/devices/virtual/ref_class/ref_unit"

static int by_name(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

static void say_directory(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	char *names[64];
	int count = 0, i;

	if (!directory) {
		say(" %s", error_name(errno));
		return;
	}
	while (count < 64 && (entry = readdir(directory)))
		if (asprintf(&names[count], "%s/%d", entry->d_name, entry->d_type) > 0)
			count++;
	qsort(names, count, sizeof(*names), by_name);
	for (i = 0; i < count; i++)
		say(" %s", names[i]);
	if (!count)
		say(" empty");
	closedir(directory);
}

static dev_t unit_number(void)
{
	unsigned int major = 0, minor = 0;
	FILE *file = fopen(UNIT "/dev", "r");

	if (file && fscanf(file, "%u:%u", &major, &minor) != 2)
		major = 0;
	if (file)
		fclose(file);
	return makedev(major, minor);
}

/* The names, with their types. */
static void unit_listing(void)
{
	say("unit:");
	say_directory(UNIT "/");
	say(" group:");
	say_directory(UNIT "/group");
	say(" class:");
	say_directory("/sys/class/ref_class");
	say(" place:");
	say_directory("/sys/devices/virtual/ref_class");
}

static void say_link(const char *tag, const char *path)
{
	char text[PATH_MAX];
	ssize_t length = readlink(path, text, sizeof(text) - 1);

	if (length < 0)
		say(" %s=%s", tag, error_name(errno));
	else
		say(" %s=%.*s", tag, (int)length, text);
}

/* Where links lead. */
static void unit_links(void)
{
	char path[PATH_MAX], number[64], *real;

	snprintf(number, sizeof(number), "/sys/dev/char/%u:%u", major(unit_number()),
		 minor(unit_number()));
	say_link("class", UNIT);
	say_link("subsystem", UNIT "/subsystem");
	say_link("device", UNIT "/device");
	say_link("driver", UNIT "/driver");
	say_link("number", number);
	say_link("none", UNIT "/text");
	real = realpath(UNIT, path);
	say(" real=%s", real ? real : error_name(errno));
	snprintf(path, sizeof(path), "%s/subsystem", number);
	real = realpath(path, number);
	say(" subsystem=%s", real ? real : error_name(errno));
	say(" chdir=%s", status(chdir(UNIT)));
	real = getcwd(path, sizeof(path));
	say(" cwd=%s", real ? real : error_name(errno));
}

/* File systems, and rights. */
static void unit_file_system(void)
{
	struct statfs about;
	struct stat unit, sys, text;

	say("statfs=%s", status(statfs(UNIT "/text", &about)));
	say(" type=%lx", (long)about.f_type);
	stat(UNIT, &unit);
	stat("/sys", &sys);
	stat(UNIT "/text", &text);
	say(" same=%d,%d", unit.st_dev == sys.st_dev, text.st_dev == sys.st_dev);
	say(" r=%s", status(access(UNIT "/text", R_OK)));
	say(" w=%s", status(access(UNIT "/fixed", W_OK)));
	say(" x=%s", status(access(UNIT "/text", X_OK)));
	say(" x_dir=%s", status(access(UNIT, X_OK)));
	say(" none=%s", status(access(UNIT "/nothing", F_OK)));
	say(" chmod=%s", status(chmod(UNIT "/text", 0600)));
	stat(UNIT "/text", &text);
	say(" mode=%o", text.st_mode);
	chmod(UNIT "/text", 0644);
}

/* Say a uevent's lines, or those of a uevent file; numbers as letters. */
static void say_lines(char *data, ssize_t length, char end)
{
	char *line, *next;

	for (line = data; line < data + length; line = next + 1) {
		next = memchr(line, end, data + length - line);
		if (!next)
			break;
		*next = 0;
		if (!strncmp(line, "SEQNUM=", 7))
			say(" SEQNUM");
		else if (!strncmp(line, "MAJOR=", 6) || !strncmp(line, "MINOR=", 6))
			say(" %.6s", line);
		else
			say(" %s", line);
	}
}

/* The file "uevent": what it says, and what may be written to it. */
static void unit_uevent_file(void)
{
	static const char *const texts[] = {
		"change", "change\n", "add", "remove", "bind", "", "nonsense", "change ", "changes",
		"change 01234567-0123-0123-0123-0123456789ab",
		"change 01234567-0123-0123-0123-0123456789ab A=1 B=2",
		"change 01234567-0123-0123-0123-0123456789ab A", "change x", "change A=1",
	};
	int fd = open(UNIT "/uevent", O_RDWR);
	char data[4096];
	ssize_t length = read(fd, data, sizeof(data));
	size_t i;

	say_lines(data, length, '\n');
	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		say(" %zu=%s", i, amount(write(fd, texts[i], strlen(texts[i]))));
}

static int listen_to_uevents(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);

	return fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)) ? fd : -1;
}

/* The next uevent of the unit. */
static void say_uevent(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char data[8192];
	ssize_t length;

	while (poll(&ready, 1, 5000) == 1) {
		length = recv(fd, data, sizeof(data) - 1, 0);
		if (length <= 0)
			break;
		data[length] = 0;
		if (!strstr(data, "/ref_unit"))
			continue;
		say_lines(data, length, 0);
		return;
	}
	say(" nothing");
}

/* What programs hear: of a change, of its going and its coming. */
static void unit_uevents(void)
{
	int fd = listen_to_uevents(), file = open(UNIT "/uevent", O_WRONLY);

	say("change:");
	if (write(file, "change", 6) == 6)
		say_uevent(fd);
	say(" synthetic:");
	if (write(file, "change 01234567-0123-0123-0123-0123456789ab A=1", 47) == 47)
		say_uevent(fd);
	say(" remove:");
	tell_driver(REF_UNIT, 0);
	say_uevent(fd);
	say(" add:");
	tell_driver(REF_UNIT, 1);
	say_uevent(fd);
}

/* A unit that goes: what becomes of what is open, and that it is another one that comes back. */
static void unit_goes(void)
{
	int text = open(UNIT "/text", O_RDWR), bytes = open(UNIT "/bytes", O_RDWR);
	int directory = open(UNIT, O_RDONLY | O_DIRECTORY), path = open(UNIT "/fixed", O_PATH);
	struct pollfd pri = { .fd = text, .events = POLLPRI };
	char data[100];
	struct stat about;

	say("read=%s", amount(read(text, data, 4)));
	say(" chdir=%s", status(chdir(UNIT)));
	say(" gone=%s", status(tell_driver(REF_UNIT, 0)));
	watch();
	say(" read=%s", amount(pread(text, data, 4, 0)));
	say(" on=%s", amount(read(text, data, 4)));
	say(" write=%s", amount(write(text, "x", 1)));
	say(" bytes=%s", amount(pread(bytes, data, 4, 0)));
	say(" bytes_w=%s", amount(pwrite(bytes, "x", 1, 0)));
	say(" seek=%s", amount(lseek(text, 0, SEEK_SET)));
	say(" poll=%d", poll(&pri, 1, 0));
	say(":%s", text_of_mask(pri.revents));
	say(" fstat=%s", status(fstat(text, &about)));
	say(",%ld", (long)about.st_nlink);
	say(" openat=%s", amount(openat(directory, "text", O_RDONLY)));
	say(" relative=%s", amount(open("text", O_RDONLY)));
	say(" cwd=%s", getcwd(data, sizeof(data)) ? "there" : error_name(errno));
	snprintf(data, sizeof(data), "/proc/self/fd/%d", path);
	say(" again=%s", amount(open(data, O_RDONLY)));
	say(" lstat=%s", status(lstat(UNIT, &about)));
	say(" class=%s", status(lstat("/sys/class/ref_class", &about)));
	say(" node=%s", status(lstat("/dev/ref_unit", &about)));
	say_ran("drv");
	say(" back=%s", status(tell_driver(REF_UNIT, 1)));
	say(" old=%s", amount(pread(text, data, 4, 0)));
	text = open(UNIT "/text", O_RDONLY);
	say(" new=%s", amount(read(text, data, 4)));
	say(" relative=%s", amount(open("text", O_RDONLY)));
	say(" node=%s", amount(open("/dev/ref_unit", O_RDONLY)));
}

/* What inotify hears of an attribute, and of the directory of the class. */
static void unit_inotify(void)
{
	int fd = inotify_init1(IN_NONBLOCK), text = open(UNIT "/text", O_RDWR);
	char data[4096] __attribute__((aligned(8)));
	struct inotify_event *event;
	ssize_t length, at;
	unsigned int seen = 0;
	int tries;

	if (inotify_add_watch(fd, UNIT "/text", IN_MODIFY | IN_ACCESS) < 0)
		return;
	if (write(text, "x", 1) != 1 || pread(text, data, 4, 0) != 4)
		return;
	/* How many there are depends on which of them came before others were read. */
	for (tries = 0; tries < 100; tries++) {
		length = read(fd, data, sizeof(data));
		for (at = 0; at < length; at += sizeof(*event) + event->len) {
			event = (struct inotify_event *)(data + at);
			seen |= event->mask;
		}
		usleep(5000);
	}
	say("mask=%x", seen);
}

const struct row unit_rows[] = {
	ROW(unit_listing),
	ROW(unit_links),
	ROW(unit_file_system),
	ROW(unit_uevent_file),
	ROW(unit_uevents),
	ROW(unit_goes),
	ROW(unit_inotify),
	{ },
};
