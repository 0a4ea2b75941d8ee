// SPDX-License-Identifier: MIT
/*
 * Which calls concern no device: what Quick.is_foreign does in syscalls/quick.py, step by step.
 *
 * Makes system calls that read only (process_vm_readv, readlink) and touches no Python object. A
 * difference from the Python code is a fault: tests/unit/test_native.py compares the two.
 */
#include "native.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_PIECE 256	/* bytes: a longer path is left to Python */
/* How /proc shows what stands for a device in clients: a file of a mount of ours, or a socket. */
static const char *const DEVICE_LINKS[] = { "/mapdev:", "socket:" };

/* Read the string at an address of a client; false if it is long or can't be read. */
static bool read_path(const struct rules *rules, uint64_t tid, uint64_t addr, char *path,
		      size_t *size)
{
	uint64_t room = rules->page_size - addr % rules->page_size;
	struct iovec ours = { path, PATH_PIECE };
	struct iovec theirs = { (void *)(uintptr_t)addr, room < PATH_PIECE ? room : PATH_PIECE };
	ssize_t count = process_vm_readv((pid_t)tid, &ours, 1, &theirs, 1, 0);
	const char *end = count > 0 ? memchr(path, 0, count) : NULL;

	if (!end)
		return false;
	*size = end - path;
	return true;
}

static bool has_prefix(const struct rules *rules, const char *path)
{
	for (int i = 0; i < PREFIXES && rules->prefixes[i][0]; i++)
		if (!strncmp(path, rules->prefixes[i], strlen(rules->prefixes[i])))
			return true;
	return false;
}

static bool is_link(const char *path)
{
	char target;

	return readlink(path, &target, 1) >= 0;
}

static bool may_be_a_device(const char *link)
{
	for (size_t i = 0; i < sizeof(DEVICE_LINKS) / sizeof(*DEVICE_LINKS); i++)
		if (!strncmp(link, DEVICE_LINKS[i], strlen(DEVICE_LINKS[i])))
			return true;
	return false;
}

/* Whether a descriptor is no device's; its link in /proc, if that has to be compared. */
static enum verdict classify_file(const struct rules *rules, const struct state *state,
				  uint32_t tid, uint32_t fd, char link[LINK_SIZE + 1])
{
	char path[64];
	ssize_t size;

	if (fd >= rules->base)
		return HAND_OVER;
	if (!state->has_files)
		return PASS_ON;
	snprintf(path, sizeof(path), "/proc/%u/fd/%u", tid, fd);
	size = readlink(path, link, LINK_SIZE);
	if (size < 0)
		return PASS_ON;
	link[size] = 0;
	return may_be_a_device(link) ? LOOK_UP : PASS_ON;
}

static enum verdict classify_path(const struct rules *rules, const struct state *state,
				  struct names *names, const uint64_t *call,
				  const struct check *check, char link[LINK_SIZE + 1])
{
	uint32_t tid = (uint32_t)call[TID], fd = (uint32_t)call[check->fd_at];
	bool has_bits = call[check->bits_at] & check->bits;
	char path[PATH_PIECE + 1], reach[PATH_PIECE + 64];
	size_t size, bare, name_size;	/* bare: without slashes at the end */
	const char *name;
	bool is_dots;

	if (!read_path(rules, tid, call[check->path_at], path, &size))
		return HAND_OVER;
	if (mapdev_names_any(names, path, size) || has_prefix(rules, path))
		return HAND_OVER;
	for (bare = size; bare && path[bare - 1] == '/'; bare--)
		;
	name = memrchr(path, '/', bare);
	name = name ? name + 1 : path;
	name_size = path + bare - name;
	is_dots = (name_size == 1 || name_size == 2) && !memcmp(name, "..", name_size);
	if (check->lists && (is_dots || mapdev_names_is_merged(names, name, name_size)))
		return HAND_OVER;
	if (state->has_visitors && path[0] != '/')
		return HAND_OVER;
	if (!size && call[check->bits_at] & AT_EMPTY_PATH)
		return classify_file(rules, state, tid, fd, link);
	if (bare < size) {
		path[bare] = 0;	/* what has a slash behind it is followed if it is a link */
		if (!bare)
			return PASS_ON;
	} else if (!size || is_dots || has_bits) {
		return PASS_ON;
	}
	if (state->may_wait || state->roots_differ)
		return HAND_OVER;	/* to look whether it is a link might be to wait */
	if (path[0] == '/')
		return is_link(path) ? HAND_OVER : PASS_ON;
	if (check->fd_at == ZERO || fd == (uint32_t)AT_FDCWD)
		snprintf(reach, sizeof(reach), "/proc/%u/cwd/%s", tid, path);
	else
		snprintf(reach, sizeof(reach), "/proc/%u/fd/%u/%s", tid, fd, path);
	return is_link(reach) ? HAND_OVER : PASS_ON;
}

enum verdict mapdev_classify(const struct rules *rules, const struct state *state,
			     struct names *names, const uint64_t *call, char link[LINK_SIZE + 1])
{
	/* Of calls that are not in the table: as if they were on a device. */
	static const struct check unknown = { .fd_at = ARCH, .bits_at = ZERO };
	int32_t nr = (int32_t)call[NR];
	const struct check *check = &unknown;

	if (nr >= 0 && nr < SYSCALLS)
		check = &rules->checks[nr];
	if (!check->path_at && (uint32_t)call[check->fd_at] >= rules->base)
		return HAND_OVER;
	if (state->needs_all_calls || (uint32_t)call[ARCH] != rules->arch)
		return HAND_OVER;
	if (check->path_at)
		return classify_path(rules, state, names, call, check, link);
	if (call[check->bits_at] & check->bits && state->has_spaces)
		return HAND_OVER;
	if (check->fd_at == ZERO)
		return PASS_ON;
	return classify_file(rules, state, (uint32_t)call[TID], (uint32_t)call[check->fd_at], link);
}
