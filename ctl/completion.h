/* SPDX-License-Identifier: MIT */
/*
 * Waits for several worker requests and calls back once.
 *
 *	struct completion *wait = completion_new(done, arg);
 *	worker_client_policy_set(client, …, completion_done, completion_more(wait));
 *	completion_close(wait);      ← done() runs here if nothing is outstanding
 *
 * A worker that died meanwhile is no failure: its successor is configured with all that netctld has.
 */
#ifndef CTL_COMPLETION_H
#define CTL_COMPLETION_H

struct completion;

/* code is 0 or the first failure, with its text. */
typedef void completion_fn(void *arg, int code, const char *text);

struct completion *completion_new(completion_fn *done, void *arg);
/* One more to wait for; NULL in, NULL out. */
struct completion *completion_more(struct completion *wait);
/* A worker_done_fn; arg is the completion, or NULL. */
void completion_done(void *arg, int code, const char *text);
/* No more will be added. */
void completion_close(struct completion *wait);

#endif
