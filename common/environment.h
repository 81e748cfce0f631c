/* SPDX-License-Identifier: MIT */
/*
 * The environment of the programs that netctld and the spawner start: a worker, which a guest may come
 * to own, has no business with what stands in ours, such as tokens and proxies with passwords.
 */
#ifndef COMMON_ENVIRONMENT_H
#define COMMON_ENVIRONMENT_H

/* For execve(2): PATH, JOURNAL_STREAM (log.h) and the sanitizers' options, as far as they are set. To be
 * called after fork(2): it allocates nothing, and there is one of it. */
char *const *environment_for_workers(void);

#endif
