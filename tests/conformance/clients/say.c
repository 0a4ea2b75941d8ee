// SPDX-License-Identifier: MIT
/* The observation of a row, and results as words. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "row.h"

static char *observation;
static size_t room;

/* The buffer is shared memory, so that children of a row can say something, and so that what was
 * said before a crash is not lost.
 */
void say_into(char *buffer, size_t size)
{
	observation = buffer;
	room = size;
}

void say(const char *format, ...)
{
	size_t length = strlen(observation);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(observation + length, room - length, format, arguments);
	va_end(arguments);
}

void cannot(const char *what)
{
	*observation = 0;
	say("cannot: %s", what);
	exit(0);
}

const char *error_name(int code)
{
	static char number[16];
	const char *name = strerrorname_np(code);

	if (name)
		return name;
	snprintf(number, sizeof(number), "errno%d", code);
	return number;
}

const char *status(long result)
{
	if (result == -1)
		return error_name(errno);
	return result ? "not0" : "0";
}

const char *exactly(long result, long wanted)
{
	if (result == wanted)
		return "0";
	return result == -1 ? error_name(errno) : "partly";
}

const char *amount(long result)
{
	static char numbers[8][24];	/* as many may be arguments of one say() */
	static int next;

	if (result == -1)
		return error_name(errno);
	next = (next + 1) % 8;
	snprintf(numbers[next], sizeof(numbers[next]), "%ld", result);
	return numbers[next];
}

const char *mapped(const void *address)
{
	return address == MAP_FAILED ? error_name(errno) : "OK";
}
