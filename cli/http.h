/* SPDX-License-Identifier: MIT */
/*
 * The daemon's HTTP API: requests and answers with JSON bodies over api.sock (libcurl).
 *
 * A request that reached the daemon gives an answer, whatever its status; http_result() turns it
 * into an exit status and prints the problem document (RFC 9457) of a failure.
 */
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include "cli/cli.h"

#include <json-c/json.h>

#define HTTP_ETAG_LEN 64

struct answer {
	long status;              /* HTTP's */
	struct json_object *body; /* owned; NULL where there is none */
	char etag[HTTP_ETAG_LEN]; /* quoted, or "" */
};

/* "/v1/vms/web/forwards/tcp%3A127.0.0.1%3A80" from "vms", "web", …, NULL. malloc'd. */
char *http_path(const char *segment, ...);

/* One request; takes body (may be NULL) and path (from http_path). Waits at most 30 s. Returns 0,
 * or an exit status with the message printed where no answer came. */
int http_send(struct cli *cli, const char *method, char *path, struct json_object *body,
	struct answer *answer);
/* The same, if what is there has this ETag still; else the answer is 412. "": unconditionally. */
int http_send_if(struct cli *cli, const char *method, char *path, struct json_object *body,
	const char *etag, struct answer *answer);
/* 0 for 2xx; else prints the problem and returns the exit status that fits it. */
int http_result(const struct cli *cli, const struct answer *answer);
void http_answer_free(struct answer *answer);

/* Both in one: the body of a 2xx answer goes to *out (owned by the caller; out may be NULL). */
int http_call(struct cli *cli, const char *method, char *path, struct json_object *body,
	struct json_object **out);

/* The same with a body of bytes, which stay the caller's. */
int http_call_bytes(struct cli *cli, const char *method, char *path, const void *bytes, size_t len,
	struct json_object **out);
/* Has libcurl wipe what it frees; to be called before anything else here. */
void http_wipe_buffers(void);

/* GET whose answer is JSON lines, given to each() as they come, without line feed, until the
 * daemon ends it, each() returns non-zero or SIGINT/SIGTERM comes (which is no failure). */
int http_stream(struct cli *cli, char *path, int (*each)(void *arg, char *line), void *arg);
/* Whether it was ended by a signal. */
bool http_interrupted(void);

/* Whether a daemon at that socket answers /v1/health; prints nothing. */
bool http_healthy(const char *socket);

void http_close(struct cli *cli);

#endif
