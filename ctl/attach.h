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
 *	{"op":"listen","vm":NAME,"for":"vsock","kind":"vhost|stream","path":P}              + fd
 *	{"op":"listen","vm":NAME,"for":"vsock","kind":"hybrid","path":P}                    + P's directory
 *	{"op":"listen","vm":NAME,"for":"vsock","kind":"hybrid","port":N,"path":P_N}         + fd
 *	{"op":"listen","vm":NAME,"for":"map","map":{Map}}                                   + a directory
 *	{"op":"stream","vm":NAME,"to":"tsi|tsi:PORT|tsi@PORT|vsock:PORT|tcp:PORT","prefix"?:BASE64} + fd
 *	{"op":"capture","vm":NAME,"ports"?:[N],"snaplen"?:N}                                + fd
 *	{"op":"hold","create":{VM}}
 *
 *	{"ok":true,"vm":{VM},"forward"?:{Forward},"map"?:{Map}}
 *	{"ok":false,"status":409,"title":…,"detail":…,"field"?:…}
 *
 * A directory (opened with O_PATH or for reading) is that of a socket to which netctld then connects, with
 * the rights of who sent it (place.h). A stream is a connected socket with what was read from it already
 * (64 KiB at most), answered when the guest accepted or refused.
 *
 * A capture's fd is one end of a unix stream, at whose other end pcapng comes out (dataplane/capture.h).
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
	int client;        /* its socket */
	struct json_object *line;
	int fd;                     /* -1: none; an op that takes it sets it to -1 */
	struct completion *wait;    /* for the worker, before the answer */
	struct json_object *answer; /* made by the op on success */
	/* what to take back should the worker refuse: */
	char vm[VM_NAME_MAX + 1];
	bool created;
	bool attached;
	char forward[FORWARD_ID_LEN]; /* "" for none */
	uint32_t map;                 /* 0 for none */
	struct error refusal;         /* status 0, or the answer after all */
};

int attach_stream(struct attach_request *request, struct error *err);  /* attach_stream.c */
int attach_capture(struct attach_request *request, struct error *err); /* attach_capture.c */
struct vm *attach_vm(struct attach_request *request, struct error *err);
/* Its answer waits for the worker, and brings the VM's document. */
void attach_answer_vm(struct attach_request *request, struct vm *vm);
int attach_needs_fd(const struct attach_request *request, const char *what, struct error *err);

/* 0, or -1 with err filled. */
int attach_carry_out(struct attach_request *request, struct error *err);
void attach_undo(struct attach_request *request);

#endif
