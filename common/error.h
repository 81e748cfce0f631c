/* SPDX-License-Identifier: MIT */
/*
 * An error as a person reads it: one line that names the object at fault, the field of the
 * request where there is one, and an HTTP-like status that says of which kind it is. Inside a
 * module errors are negative errno; they become a struct error at the edge, where the names of
 * things are known.
 */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

struct error {
	int status;     /* 400 bad, 403 refused, 404 unknown, 409 conflict, 500 ours, 503 not now */
	char field[96]; /* "forwards[1].listen.port", or "" */
	char text[512]; /* "forward web/tcp:127.0.0.1:8080: address in use" */
};

/* Fills err and returns -1, so that callers can `return error_set(…)`. field may be NULL. */
int error_set(struct error *err, int status, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* strerror() in lower case words of our own for the few that users meet, thread-safe. */
const char *errno_text(int err);

#endif
