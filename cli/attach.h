/* SPDX-License-Identifier: MIT */
/*
 * attach.sock: what HTTP cannot carry, a file descriptor.
 *
 * One JSON line whose first byte brings the fd, one JSON line back; several may follow one
 * another on a connection. A VM made with "create" lives as long as the connection does.
 */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "cli/cli.h"

#include <json-c/json.h>

/* Connects to attach.sock beside the api.sock in use. Returns the fd, or a negative exit status
 * with the message printed. */
int attach_connect(struct cli *cli);

/* Sends line (taken) with fd (-1: none) and waits at most 20 s for the answer. A refusal is printed as
 * a problem is. Returns 0 with the answer in *out (owned by the caller; out may be NULL), or an
 * exit status with the message printed. */
int attach_request(
	struct cli *cli, int sock, struct json_object *line, int fd, struct json_object **out);

/* Binds path as the caller (its umask) and hands it over with the line ({"op":"listen",…}, taken).
 * Returns 0 or an exit status with the message printed; then the socket file is gone again. */
int attach_listen(struct cli *cli, int sock, struct json_object *line, int type, const char *path);

/* Binds path for that: the fd, or a negative exit status with the message printed. */
int attach_bind(struct cli *cli, int type, const char *path);

/* Removes a socket file of ours that nobody serves. Returns whether it was one. */
bool attach_unlink_stale(const char *path, int type);
/* The same for one that was handed over ("" for none): the worker lets go of it a moment after the
 * daemon's answer, and netctld may not be able to remove it. */
void attach_remove_socket(const char *path, int type);

#endif
