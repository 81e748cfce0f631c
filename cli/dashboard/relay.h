/* SPDX-License-Identifier: MIT */
/*
 * One request of the page's, carried to api.sock and its answer back.
 *
 * The request to netctld is made anew: nothing of the browser's headers passes but an If-Match of a tag
 * that netctld gave, and nothing of the answer's but its kind and its ETag. It says HTTP/1.0, so
 * that the answer is neither chunked nor kept alive; the page gets it chunked, as it comes, and no
 * faster than it takes it. An answer that breaks off breaks off for the page, too.
 */
#ifndef CLI_DASHBOARD_RELAY_H
#define CLI_DASHBOARD_RELAY_H

#include <stdbool.h>

struct event_base;
struct evhttp_request;

/* uri has been through door_admits(). `head` adds what each answer of ours carries. The request is
 * answered, sooner or later, or its connection closed. */
void relay_start(struct event_base *base, const char *api_path, struct evhttp_request *http,
	const char *method, const char *uri, bool endless,
	void (*head)(struct evhttp_request *http));

#endif
