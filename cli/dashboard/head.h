/* SPDX-License-Identifier: MIT */
/* The head of an answer of api.sock: what the dashboard passes on of it. */
#ifndef CLI_DASHBOARD_HEAD_H
#define CLI_DASHBOARD_HEAD_H

#include <stddef.h>
#include <stdint.h>

#define HEAD_TAG_LEN 24

struct head {
	int status;
	int64_t length;         /* of the body; -1: until the connection ends */
	char tag[HEAD_TAG_LEN]; /* its ETag, "" where there is none of netctld's kind */
	const char *type;       /* one of those that the API has, never the answer's own text */
};

/* text ends with the empty line, and a NUL follows its len bytes. 0, or -EPROTO. */
int head_parse(const char *text, size_t len, struct head *head);

/* The entity tag with which text begins, as netctld makes them: hexadecimal digits in quotes. Nothing
 * but blanks may follow it in the line. 0, or -EPROTO with "" in tag. */
int head_tag(const char *text, char tag[HEAD_TAG_LEN]);

#endif
