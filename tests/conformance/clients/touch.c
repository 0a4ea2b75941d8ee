// SPDX-License-Identifier: MIT
/* Using memory that may not be there: the signal is caught and named. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "row.h"

static sigjmp_buf escape;
static siginfo_t caught;

static void catch(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	caught = *info;
	siglongjmp(escape, 1);
}

static void set_handlers(struct sigaction action)
{
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void catch_signals(void)
{
	set_handlers((struct sigaction){ .sa_sigaction = catch, .sa_flags = SA_SIGINFO });
}

/* A signal that no row asks about ends the row. */
static void let_signals_kill(void)
{
	set_handlers((struct sigaction){ .sa_handler = SIG_DFL });
}

static const char *code_name(void)
{
	if (caught.si_signo == SIGBUS)
		return caught.si_code == BUS_ADRERR ? "BUS_ADRERR" : "code?";
	if (caught.si_code == SEGV_MAPERR)
		return "SEGV_MAPERR";
	return caught.si_code == SEGV_ACCERR ? "SEGV_ACCERR" : "code?";
}

/* An address other than the one that was used is a difference that the name has to show. */
static const char *signal_at(const void *used)
{
	static char name[64];
	uintptr_t is = (uintptr_t)caught.si_addr, should = (uintptr_t)used;
	const char *where = "";

	let_signals_kill();
	if (is != should)
		where = is / page == should / page ? "@page" : "@other";
	snprintf(name, sizeof(name), "%s/%s%s",
		 caught.si_signo == SIGBUS ? "SIGBUS" : "SIGSEGV", code_name(), where);
	return name;
}

const char *load(const char *address)
{
	catch_signals();
	if (sigsetjmp(escape, 1))
		return signal_at(address);
	(void)*(volatile const char *)address;
	let_signals_kill();
	return "ok";
}

const char *store(char *address, char value)
{
	catch_signals();
	if (sigsetjmp(escape, 1))
		return signal_at(address);
	*(volatile char *)address = value;
	let_signals_kill();
	return "ok";
}

const char *call(char *address)
{
	catch_signals();
	if (sigsetjmp(escape, 1))
		return signal_at(address);
	((void (*)(void))address)();
	let_signals_kill();
	return "ok";
}

const char *page_name(const char *address)
{
	static char name[8];
	const char *result = load(address);

	if (strcmp(result, "ok"))
		return result;
	memcpy(name, address, strlen("PAGEnn"));
	return *name ? name : "zero";
}
