/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/events: JSON lines, chunked.
 *
 * First what the store has after ?since, a page at a time as the client takes it, then, with
 * ?follow=1, each new event as it comes. A follower that does not read is dropped once
 * BEHIND_MAX bytes wait for it; it may come again with ?since.
 */
#include "ctl/api/routes.h"

#include "ctl/json_read.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 500
#define BEHIND_MAX (4u << 20)

struct stream {
	struct netctld *daemon;
	struct evhttp_request *http;
	struct evhttp_connection *connection;
	struct events_follower follower;
	struct event *end; /* drops a follower that is behind, out of the reach of its callers */
	struct evbuffer *chunk;
	int64_t since; /* the last id sent */
	unsigned in_page;
	bool follow;
	bool following; /* the backlog is through */
};

static void stream_free(struct stream *stream)
{
	if (stream->following)
		events_unfollow(stream->daemon->events, &stream->follower);
	event_free(stream->end);
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

static void add_line(void *arg, const struct store_event *event)
{
	struct stream *stream = arg;
	char *line = events_line(event);

	if (line)
		evbuffer_add(stream->chunk, line, strlen(line));
	free(line);
	stream->since = event->id;
	stream->in_page++;
}

static void on_added(void *arg, const struct store_event *event)
{
	struct stream *stream = arg;
	struct bufferevent *bev = evhttp_connection_get_bufferevent(stream->connection);

	if (evbuffer_get_length(bufferevent_get_output(bev)) > BEHIND_MAX) {
		event_active(stream->end, EV_TIMEOUT, 1);
		return;
	}
	add_line(stream, event);
	evhttp_send_reply_chunk(stream->http, stream->chunk);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	(void)fd;
	(void)what;
	evhttp_connection_free(stream->connection); /* on_closed() follows */
}

static void send_page(struct evhttp_connection *connection, void *arg)
{
	struct stream *stream = arg;
	struct error err;

	(void)connection;
	stream->in_page = 0;
	if (events_read(stream->daemon->events, stream->since, PAGE, add_line, stream, &err) < 0)
		stream->follow = false;
	if (stream->in_page == PAGE) {
		evhttp_send_reply_chunk_with_cb(stream->http, stream->chunk, send_page, stream);
		return;
	}
	if (evbuffer_get_length(stream->chunk))
		evhttp_send_reply_chunk(stream->http, stream->chunk);
	if (stream->follow) {
		stream->following = true;
		events_follow(stream->daemon->events, &stream->follower);
		return;
	}
	/* The connection may live on with other requests: it is ours no more. */
	api_on_close(stream->daemon->api, stream->connection, NULL, NULL);
	evhttp_send_reply_end(stream->http);
	stream_free(stream);
}

static struct stream *stream_new(struct api_request *request)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->daemon = request->daemon;
	stream->http = request->http;
	stream->connection = evhttp_request_get_connection(request->http);
	stream->follower.added = on_added;
	stream->follower.arg = stream;
	stream->chunk = evbuffer_new();
	stream->end = event_new(request->daemon->base, -1, 0, on_end, stream);
	if (stream->chunk && stream->end)
		return stream;
	if (stream->chunk)
		evbuffer_free(stream->chunk);
	free(stream);
	return NULL;
}

void api_events_get(struct api_request *request)
{
	static const struct timeval forever = {.tv_sec = 365 * 86400};
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request->http);
	struct stream *stream;
	struct error err;
	int64_t since = 0;
	int follow;

	if (api_query_int(request, "since", 0, INT64_MAX, &since) < 0)
		return;
	follow = api_query_bool(request, "follow");
	if (follow < 0)
		return;
	stream = stream_new(request);
	if (!stream) {
		error_set(&err, 500, NULL, "out of memory");
		api_problem(request, &err);
		return;
	}
	stream->since = since;
	stream->follow = follow;
	api_on_close(request->daemon->api, stream->connection, on_closed, stream);
	evhttp_add_header(headers, "Content-Type", "application/x-ndjson");
	evhttp_add_header(headers, "Cache-Control", "no-store");
	if (follow)
		evhttp_connection_set_timeout_tv(stream->connection, &forever);
	evhttp_send_reply_start(request->http, 200, NULL);
	api_done(request);
	send_page(stream->connection, stream);
}
