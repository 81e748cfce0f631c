/* SPDX-License-Identifier: MIT */
/* The head of an answer of api.sock: what the dashboard passes on of it. */
#ifndef CLI_DASHBOARD_HEAD_H
#define CLI_DASHBOARD_HEAD_H

#include <stddef.h>
#include <stdint.h>

struct head {
	int status;
	int64_t length;   /* of the body; -1: until the connection ends */
	const char *type; /* one of those that the API has, never the answer's own text */
};

/* text ends with the empty line, and a NUL follows its len bytes. 0, or -EPROTO. */
int head_parse(const char *text, size_t len, struct head *head);

#endif
