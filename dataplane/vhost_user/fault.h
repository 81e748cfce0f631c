/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS in memory that somebody else owns.
 *
 * Guest memory is a file of the VMM's, who can cut it short at any time; touching what is gone then
 * raises SIGBUS. The handler lays zeroed private memory over the whole range, notes the fault and
 * returns, so that the access succeeds and the code that made it goes on to its next check: a
 * guest that sees its memory as zeros is no worse than one that wrote zeros. Whoever watches the
 * range asks fault_happened() now and then and gives the memory up.
 *
 * System calls do not raise it: a read or write of such memory fails with EFAULT.
 *
 * A SIGBUS anywhere else goes to whoever handled it before. One thread; the table of ranges is the
 * process's, as signal handlers are.
 */
#ifndef DATAPLANE_VHOST_USER_FAULT_H
#define DATAPLANE_VHOST_USER_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#define FAULT_RANGES 128

/* Watches a mapping, given whole. Its number, or -ENOSPC, or why there is no handler. */
int fault_watch(void *start, size_t size);
/* Before the range is unmapped. */
void fault_unwatch(int number);
bool fault_happened(int number);

#endif
