/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/events: JSON lines, chunked.
 *
 * Everything comes out of the store, a page at a time, the next one when the client has taken the
 * last; with ?follow=1 a client that has them all waits there for more. So a slow reader costs a
 * page of memory and delays nobody. One that takes nothing for STALL_S though there is something
 * for it is cut: its last line, of type "stream.cut", says so and has the id to come again with.
 */
#include "ctl/api/routes.h"

#include "common/clock.h"
#include "ctl/json_read.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 500
#define STALL_S 15
#define LINGER_S 30 /* for the last line to be taken */
#define TYPES_MAX 16
#define TYPE_LEN 32

struct filter {
	char vm[VM_NAME_MAX + 1]; /* or "" */
	char types[TYPES_MAX][TYPE_LEN];
	unsigned n_types;
};

struct stream {
	struct netctld *daemon;
	struct evhttp_request *http;
	struct evhttp_connection *connection;
	struct events_follower follower;
	struct event *wake;  /* reads on, out of the reach of whoever says so */
	struct event *stall; /* the end, unless the page is taken */
	struct evbuffer *chunk;
	struct filter filter;
	int64_t since; /* the last id that was looked at */
	unsigned in_page;
	bool follow;
	bool busy; /* the client has not taken the last page */
};

static void stream_free(struct stream *stream)
{
	if (stream->follow)
		events_unfollow(stream->daemon->events, &stream->follower);
	event_free(stream->wake);
	event_free(stream->stall);
	evbuffer_free(stream->chunk);
	free(stream);
}

/* evhttp leaves a request whose client went to us: ending its reply frees it. */
static void on_closed(void *arg)
{
	struct stream *stream = arg;

	if (!evhttp_request_get_connection(stream->http))
		evhttp_send_reply_end(stream->http);
	stream_free(stream);
}

/* ---- reading ---- */

/* "link" is "link.up", too. */
static bool is_of_type(const char *type, const char *wanted)
{
	size_t len = strlen(wanted);

	return strncmp(type, wanted, len) == 0 && (type[len] == '\0' || type[len] == '.');
}

static bool passes(const struct filter *filter, const struct store_event *event)
{
	bool match = filter->n_types == 0;

	if (filter->vm[0] && (!event->vm || strcmp(event->vm, filter->vm) != 0))
		return false;
	for (unsigned i = 0; !match && i < filter->n_types; i++)
		match = is_of_type(event->type, filter->types[i]);
	return match;
}

static void add_line(struct stream *stream, const struct store_event *event)
{
	char *line = events_line(event);

	if (line)
		evbuffer_add(stream->chunk, line, strlen(line));
	free(line);
}

static void on_event(void *arg, const struct store_event *event)
{
	struct stream *stream = arg;

	if (passes(&stream->filter, event))
		add_line(stream, event);
	stream->since = event->id;
	stream->in_page++;
}

/* The connection may live on with other requests: it is ours no more. */
static void finish(struct stream *stream)
{
	static const struct timeval limit = {.tv_sec = LINGER_S};

	evhttp_connection_set_timeout_tv(stream->connection, &limit);
	api_on_close(stream->daemon->api, stream->connection, NULL, NULL);
	evhttp_send_reply_end(stream->http);
	stream_free(stream);
}

/* The last line of a stream that ends before its time. */
static void cut(struct stream *stream, const char *reason)
{
	struct json_object *data = json_object_new_object();
	struct store_event last = {
		.id = stream->since, .time_ms = clock_wall_ms(), .type = "stream.cut"};

	json_put_string(data, "reason", reason);
	last.data = json_text(data);
	add_line(stream, &last);
	json_object_put(data);
	evhttp_send_reply_chunk(stream->http, stream->chunk);
	finish(stream);
}

static void wake(struct stream *stream)
{
	event_active(stream->wake, EV_TIMEOUT, 1);
}

static void on_taken(struct evhttp_connection *connection, void *arg)
{
	struct stream *stream = arg;

	(void)connection;
	stream->busy = false;
	evtimer_del(stream->stall);
	wake(stream);
}

static void on_more(void *arg)
{
	struct stream *stream = arg;

	if (!stream->busy)
		wake(stream);
}

static void on_stall(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	cut(arg, "too slow: nothing was read for 15 s; come again with since");
}

/* Reads a page. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval limit = {.tv_sec = STALL_S};
	struct stream *stream = arg;
	struct error err;

	(void)fd;
	(void)what;
	if (stream->busy)
		return;
	stream->in_page = 0;
	if (events_read(stream->daemon->events, stream->since, PAGE, on_event, stream, &err) < 0) {
		cut(stream, err.text);
		return;
	}
	if (evbuffer_get_length(stream->chunk)) {
		stream->busy = true;
		evtimer_add(stream->stall, &limit);
		evhttp_send_reply_chunk_with_cb(stream->http, stream->chunk, on_taken, stream);
	} else if (stream->in_page) {
		wake(stream);
	} else if (!stream->follow) {
		finish(stream);
	}
}

/* ---- the question ---- */

static int read_types(struct api_request *request, const char *text, struct filter *filter)
{
	struct error err;

	while (text && *text) {
		size_t len = strcspn(text, ",");

		if (!len || len >= TYPE_LEN || filter->n_types == TYPES_MAX ||
			strspn(text, "abcdefghijklmnopqrstuvwxyz._") < len) {
			error_set(&err, 400, "type",
				"\"%.64s\" is no list of at most %d types, as in link,flow.refused",
				text, TYPES_MAX);
			api_problem(request, &err);
			return -1;
		}
		memcpy(filter->types[filter->n_types++], text, len);
		text += len + (text[len] == ',');
	}
	return 0;
}

static int read_filter(struct api_request *request, struct filter *filter)
{
	const char *vm = api_query(request, "vm");
	struct error err;

	if (vm && !vm_name_valid(vm)) {
		error_set(&err, 400, "vm", "\"%.64s\" is no VM's name", vm);
		api_problem(request, &err);
		return -1;
	}
	if (vm)
		memcpy(filter->vm, vm, strlen(vm) + 1);
	return read_types(request, api_query(request, "type"), filter);
}

/* Where to begin: -1 after an answer. */
static int read_since(struct api_request *request, int64_t *since)
{
	int64_t oldest = 0, newest = 0, last = -1;
	struct error err;

	*since = -1;
	if (api_query_int(request, "since", 0, INT64_MAX, since) < 0 ||
		api_query_int(request, "last", 0, STORE_EVENTS_MAX, &last) < 0)
		return -1;
	if (*since >= 0 && last >= 0) {
		error_set(&err, 400, "last", "either since or last");
		api_problem(request, &err);
		return -1;
	}
	if (events_bounds(request->daemon->events, &oldest, &newest, &err) < 0) {
		api_problem(request, &err);
		return -1;
	}
	if (*since < 0)
		*since = last >= 0 && newest - last >= oldest ? newest - last : oldest - 1;
	if (*since >= oldest - 1 && *since <= newest)
		return 0;
	error_set(&err, 410, "since",
		*since > newest ? "there was no event %lld yet: %lld is the newest"
				: "of events after %lld some are forgotten: %lld is the oldest",
		(long long)*since, (long long)(*since > newest ? newest : oldest));
	api_problem_with(request, &err, "oldest", json_object_new_int64(oldest));
	return -1;
}

static struct stream *stream_new(struct api_request *request)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->daemon = request->daemon;
	stream->http = request->http;
	stream->connection = evhttp_request_get_connection(request->http);
	stream->follower.more = on_more;
	stream->follower.arg = stream;
	stream->chunk = evbuffer_new();
	stream->wake = event_new(request->daemon->base, -1, 0, on_wake, stream);
	stream->stall = evtimer_new(request->daemon->base, on_stall, stream);
	if (stream->chunk && stream->wake && stream->stall)
		return stream;
	if (stream->chunk)
		evbuffer_free(stream->chunk);
	if (stream->wake)
		event_free(stream->wake);
	if (stream->stall)
		event_free(stream->stall);
	free(stream);
	return NULL;
}

void api_events_get(struct api_request *request)
{
	static const struct timeval forever = {.tv_sec = 365 * 86400};
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request->http);
	struct filter filter = {.n_types = 0};
	struct stream *stream;
	struct error err;
	int64_t since;
	int follow = api_query_bool(request, "follow");

	if (follow < 0 || read_filter(request, &filter) < 0 || read_since(request, &since) < 0)
		return;
	if (!api_may_stream(request->daemon->api)) {
		error_set(
			&err, 503, NULL, "%d streams of events are open already", API_STREAMS_MAX);
		api_problem(request, &err);
		return;
	}
	stream = stream_new(request);
	if (!stream) {
		error_set(&err, 500, NULL, "out of memory");
		api_problem(request, &err);
		return;
	}
	stream->filter = filter;
	stream->since = since;
	stream->follow = follow;
	if (follow)
		events_follow(request->daemon->events, &stream->follower);
	api_on_close(request->daemon->api, stream->connection, on_closed, stream);
	evhttp_add_header(headers, "Content-Type", "application/x-ndjson");
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_connection_set_timeout_tv(stream->connection, &forever);
	evhttp_send_reply_start(request->http, 200, NULL);
	api_done(request);
	wake(stream);
}
