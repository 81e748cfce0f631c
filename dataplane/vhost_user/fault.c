/* SPDX-License-Identifier: MIT */
/* SIGBUS in memory that somebody else owns. See fault.h. */
#include "dataplane/vhost_user/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* The handler reads these at any time; size is set last and cleared first. */
static struct {
	uint8_t *volatile start;
	volatile size_t size; /* 0: free */
	volatile sig_atomic_t happened;
} ranges[FAULT_RANGES];

static struct sigaction previous;
static bool installed;

/* Puts zeros where the range was. Only mmap(2) is called, which is a bare system call. */
static bool cover(size_t number)
{
	uint8_t *start = ranges[number].start;

	ranges[number].start = mmap(start, ranges[number].size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANON | MAP_FIXED | MAP_NORESERVE, -1, 0);
	ranges[number].happened = ranges[number].start == start;
	return ranges[number].happened;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	const uint8_t *at = info->si_addr;
	int saved = errno;

	(void)context;
	for (size_t i = 0; i < FAULT_RANGES; i++) {
		if (ranges[i].size && at >= ranges[i].start &&
			(size_t)(at - ranges[i].start) < ranges[i].size && cover(i)) {
			errno = saved;
			return;
		}
	}
	/* Not ours: the access is repeated under the former handler, or kills. */
	sigaction(sig, &previous, NULL);
	errno = saved;
}

static int install(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_sigbus;
	action.sa_flags = SA_SIGINFO;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &previous) < 0)
		return -errno;
	installed = true;
	return 0;
}

int fault_watch(void *start, size_t size)
{
	int err = installed ? 0 : install();

	if (err < 0)
		return err;
	for (int i = 0; i < FAULT_RANGES; i++) {
		if (ranges[i].size)
			continue;
		ranges[i].start = start;
		ranges[i].happened = 0;
		ranges[i].size = size;
		return i;
	}
	return -ENOSPC;
}

void fault_unwatch(int number)
{
	ranges[number].size = 0;
}

bool fault_happened(int number)
{
	return ranges[number].happened != 0;
}
