/* SPDX-License-Identifier: MIT */
/*
 * An answer that waits for a worker: after the change is in the store and sent, before the client is
 * told, so that what was answered is in force.
 */
#ifndef CTL_API_WAITING_H
#define CTL_API_WAITING_H

#include "ctl/api/server.h"

#include <stdbool.h>

struct waiting;

/* Answers `status` with doc (consumed; may be NULL) once `wait` is done, or 500 where the worker could
 * not do it. NULL without memory, after a 500. */
struct waiting *waiting_new(struct api_request *request);
struct completion *waiting_completion(struct waiting *waiting);
/*
 * For what cannot be done while a VM's worker is being adopted, which takes a moment after netctld's
 * start: what the worker holds is not known until then. Runs the handler again when that is over, or has
 * taken VM_AWAIT_MS. vm NULL: all VMs. False: it need not, or has been run again already.
 */
bool waiting_adoption(
	struct api_request *request, struct vm *vm, void (*handler)(struct api_request *request));
/* The change is made: answers when nothing is outstanding. undo (may be NULL) is called first where
 * the worker refused; it gets arg, which free(3) frees afterwards. */
void waiting_reply(struct waiting *waiting, int status, struct json_object *doc,
	void (*undo)(struct netctld *daemon, void *arg), void *arg);
/* The same with the document of this VM, as it then is. */
void waiting_reply_vm(struct waiting *waiting, int status, const struct vm *vm);
/* The change was not made. */
void waiting_problem(struct waiting *waiting, const struct error *err);

#endif
