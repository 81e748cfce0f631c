/* SPDX-License-Identifier: MIT */
/*
 * attach.sock: what HTTP cannot carry, a file descriptor.
 *
 * One JSON line of at most ATTACH_LINE_MAX bytes whose first byte brings the fd, one JSON line back;
 * several may follow one another.
 *
 *	{"op":"link","vm":NAME,"kind":"tap|dgram|stream","create"?:{VM}}                    + fd
 *	{"op":"listen","vm":NAME,"for":"link","kind":"stream|dgram","path":P}               + fd
 *	{"op":"listen","vm":NAME,"for":"forward","forward":{Forward},"path"?:P}             + fd
 *	{"op":"hold","create":{VM}}
 *
 *	{"ok":true,"vm":{VM},"forward"?:{Forward}}
 *	{"ok":false,"status":409,"title":…,"detail":…,"field"?:…}
 *
 * A VM that `create` made is ephemeral and belongs to the connection: it is deleted when that closes.
 */
#ifndef CTL_ATTACH_H
#define CTL_ATTACH_H

#include "ctl/netctld.h"

#define ATTACH_LINE_MAX (128u << 10)
#define ATTACH_CONNECTIONS_MAX 1024

/* Begins to serve; fd is a listening socket, taken in any case. NULL without memory. */
struct attach *attach_new(struct netctld *daemon, int fd);
/* Closes all connections; their VMs stay (the program is ending). */
void attach_free(struct attach *attach);

/* ---- inside: attach.c reads lines, attach_ops.c carries them out ---- */

struct attach_request {
	struct netctld *daemon;
	const void *owner; /* of VMs made: the connection */
	struct json_object *line;
	int fd;                     /* -1: none; an op that takes it sets it to -1 */
	struct completion *wait;    /* for the worker, before the answer */
	struct json_object *answer; /* made by the op on success */
	/* what to take back should the worker refuse: */
	char vm[VM_NAME_MAX + 1];
	bool created;
	bool attached;
	char forward[FORWARD_ID_LEN]; /* "" for none */
};

/* 0, or -1 with err filled. */
int attach_carry_out(struct attach_request *request, struct error *err);
void attach_undo(struct attach_request *request);

#endif
