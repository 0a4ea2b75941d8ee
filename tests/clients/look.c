// SPDX-License-Identifier: MIT
/*
 * Looks for a class device, the gallery's sensor at /dev/sensor0, by each means of the C library:
 * readdir and its positions, scandir, glob, nftw, fts, realpath, statfs, access. Prints "done", or
 * what was not as it should be.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <fts.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define CLASS "/sys/class/sensor"
#define DEVICE "/sys/devices/virtual/sensor/sensor0"
#define SYSFS_MAGIC 0x62656572

static int failures, devices, links, temperatures;

static void check(int is_true, const char *what)
{
	if (is_true)
		return;
	printf("wrong: %s: %s\n", what, strerror(errno));
	failures++;
}
#define CHECK(what) check(what, #what)

static int visit(const char *path, const struct stat *status, int kind, struct FTW *at)
{
	(void)at;
	if (kind == FTW_DNR || kind == FTW_NS)
		return 1;
	if (strstr(path, "sensor")) {
		devices += S_ISCHR(status->st_mode);
		links += kind == FTW_SL;
		temperatures += !strcmp(path + strlen(path) - 4, "temp");
	}
	return 0;
}

static void read_directory(void)
{
	DIR *directory = opendir("/dev");
	char behind[256] = "";
	int number = 0, again = 0;
	long position = -1;
	struct stat status;
	struct dirent *entry;

	while ((entry = readdir(directory))) {
		number++;
		if (position >= 0 && !behind[0])
			strcpy(behind, entry->d_name);
		if (strcmp(entry->d_name, "sensor0"))
			continue;
		position = telldir(directory);
		CHECK(entry->d_type == DT_CHR);
		CHECK(!fstatat(dirfd(directory), "sensor0", &status, 0));
		CHECK(S_ISCHR(status.st_mode) && status.st_ino == entry->d_ino);
	}
	CHECK(position >= 0);
	seekdir(directory, position);
	entry = readdir(directory);
	CHECK(behind[0] ? entry && !strcmp(entry->d_name, behind) : !entry);
	rewinddir(directory);
	while (readdir(directory))
		again++;
	CHECK(again == number);
	closedir(directory);
}

static void list(void)
{
	struct dirent **entries;
	glob_t found;

	CHECK(scandir(CLASS, &entries, NULL, alphasort) == 3);
	CHECK(!strcmp(entries[2]->d_name, "sensor0") && entries[2]->d_type == DT_LNK);
	CHECK(!glob("/dev/sensor[0-9]", 0, NULL, &found) && found.gl_pathc == 1);
	CHECK(!glob("/dev/*s/by-id/*", 0, NULL, &found) && found.gl_pathc == 1);
	CHECK(!glob("/sys/class/s?nsor/*/te[m]p", 0, NULL, &found) && found.gl_pathc == 1);
}

static void walk(void)
{
	char *paths[] = { CLASS "/sensor0/", NULL };
	int number = 0;
	FTSENT *entry;
	FTS *walk;

	CHECK(!nftw("/dev", visit, 20, FTW_PHYS) && devices == 1 && links == 1);
	CHECK(!nftw("/sys/class", visit, 20, FTW_PHYS) && links == 2 && !temperatures);
	CHECK(!nftw(DEVICE, visit, 20, FTW_PHYS | FTW_CHDIR) && temperatures == 1);
	CHECK(!nftw(CLASS, visit, 20, 0) && temperatures == 2);
	walk = fts_open(paths, FTS_LOGICAL, NULL);
	while ((entry = fts_read(walk))) {
		number++;
		CHECK(entry->fts_info != FTS_ERR && entry->fts_info != FTS_DNR);
		CHECK(entry->fts_info != FTS_NS);
	}
	CHECK(number > 15);
	fts_close(walk);
}

static void move(void)
{
	char path[4096], data[10];
	struct statfs system;
	int fd;

	CHECK(!chdir(CLASS "/sensor0") && getcwd(path, sizeof(path)) && !strcmp(path, DEVICE));
	CHECK(realpath("subsystem", path) && !strcmp(path, CLASS));
	fd = open("..", O_RDONLY | O_DIRECTORY);
	CHECK(!fchdir(fd) && getcwd(path, sizeof(path)));
	CHECK(!strcmp(path, "/sys/devices/virtual/sensor"));
	fd = openat(fd, "sensor0/temp", O_RDONLY);
	CHECK(read(fd, data, sizeof(data)) == 6 && !memcmp(data, "21000\n", 6));
	CHECK(!fstatfs(fd, &system) && system.f_type == SYSFS_MAGIC);
	CHECK(!statfs("sensor0", &system) && system.f_type == SYSFS_MAGIC);
	CHECK(!eaccess("sensor0/temp", R_OK) && eaccess("sensor0/temp", X_OK));
	CHECK(!chdir("/dev/sensors") && realpath("by-id/fake", path));
	CHECK(!strcmp(path, "/dev/sensor0") && open("by-id/fake", O_RDONLY) >= 0);
}

int main(void)
{
	read_directory();
	list();
	walk();
	move();
	if (!failures)
		puts("done");
	return failures != 0;
}
