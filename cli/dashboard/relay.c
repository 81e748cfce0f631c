/* SPDX-License-Identifier: MIT */
/* One request of the page's, carried to api.sock. See relay.h. */
#include "cli/dashboard/relay.h"

#include "cli/dashboard/head.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD_MAX 8192
#define CHUNK_MAX 65536
#define ANSWER_TIMEOUT_S 35 /* longer than netctld takes for anything */
#define FOREVER_S (365 * 86400)

struct relay {
	struct evhttp_request *http;
	struct evhttp_connection *client;
	struct bufferevent *api;
	void (*head)(struct evhttp_request *http);
	int64_t left; /* of the body; -1: until the connection ends */
	bool endless;
	bool begun; /* the head was passed on */
	bool ended; /* netctld sent all */
	bool sending;
};

static void relay_free(struct relay *relay)
{
	if (relay->api)
		bufferevent_free(relay->api);
	free(relay);
}

/* evhttp leaves a request whose client went to us: ending its reply frees it. */
static void on_client_closed(struct evhttp_connection *client, void *arg)
{
	struct relay *relay = arg;

	(void)client;
	if (!evhttp_request_get_connection(relay->http))
		evhttp_send_reply_end(relay->http);
	relay_free(relay);
}

/* The connection is evhttp's again. */
static struct evhttp_request *let_go(struct relay *relay)
{
	struct evhttp_request *http = relay->http;

	evhttp_connection_set_closecb(relay->client, NULL, NULL);
	relay_free(relay);
	return http;
}

static void fail(struct relay *relay)
{
	static const char problem[] = "{\"title\":\"No answer\",\"status\":502,"
				      "\"detail\":\"netctld does not answer\"}\n";
	struct evhttp_request *http = relay->http;

	if (relay->begun) {
		evhttp_connection_free(relay->client); /* on_client_closed() follows */
		return;
	}
	relay->head(http);
	evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Type",
		"application/problem+json");
	evbuffer_add(evhttp_request_get_output_buffer(http), problem, sizeof(problem) - 1);
	evhttp_send_reply(let_go(relay), 502, NULL, NULL);
}

static void pass_on(struct relay *relay);

static void on_sent(struct evhttp_connection *client, void *arg)
{
	struct relay *relay = arg;

	(void)client;
	relay->sending = false;
	pass_on(relay);
}

/* One chunk at a time: the next is read when the page has taken this one. */
static void pass_on(struct relay *relay)
{
	struct evbuffer *in = bufferevent_get_input(relay->api);
	size_t len = evbuffer_get_length(in);

	if (relay->sending)
		return;
	if (relay->left >= 0 && (int64_t)len > relay->left) {
		fail(relay);
	} else if (len) {
		if (relay->left >= 0)
			relay->left -= (int64_t)len;
		relay->sending = true;
		evhttp_send_reply_chunk_with_cb(relay->http, in, on_sent, relay);
	} else if (relay->ended && relay->left > 0) {
		fail(relay);
	} else if (relay->ended || relay->left == 0) {
		evhttp_send_reply_end(let_go(relay));
	}
}

/* Takes the head off what has come, if it is whole. */
static int take_head(struct relay *relay, struct head *head)
{
	struct evbuffer *in = bufferevent_get_input(relay->api);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	char text[HEAD_MAX + 1];
	size_t len;

	if (end.pos < 0)
		return evbuffer_get_length(in) > HEAD_MAX ? -EPROTO : -EAGAIN;
	len = (size_t)end.pos + 4;
	if (len > HEAD_MAX || evbuffer_remove(in, text, len) != (int)len)
		return -EPROTO;
	text[len] = '\0';
	return head_parse(text, len, head);
}

static void begin(struct relay *relay, const struct head *head)
{
	static const struct timeval forever = {.tv_sec = FOREVER_S};

	relay->left = head->length;
	relay->begun = true;
	if (relay->endless) {
		bufferevent_set_timeouts(relay->api, NULL, NULL);
		evhttp_connection_set_timeout_tv(relay->client, &forever);
	}
	relay->head(relay->http);
	evhttp_add_header(
		evhttp_request_get_output_headers(relay->http), "Content-Type", head->type);
	if (*head->tag)
		evhttp_add_header(
			evhttp_request_get_output_headers(relay->http), "ETag", head->tag);
	evhttp_send_reply_start(relay->http, head->status, NULL);
}

static void on_answer(struct bufferevent *api, void *arg)
{
	struct relay *relay = arg;
	struct head head;
	int rc;

	(void)api;
	if (!relay->begun) {
		rc = take_head(relay, &head);
		if (rc == -EAGAIN)
			return;
		if (rc < 0) {
			fail(relay);
			return;
		}
		begin(relay, &head);
	}
	pass_on(relay);
}

static void on_end(struct bufferevent *api, short what, void *arg)
{
	struct relay *relay = arg;

	(void)api;
	if (what & BEV_EVENT_CONNECTED)
		return;
	relay->ended = true;
	if (!relay->begun || !(what & BEV_EVENT_EOF))
		fail(relay);
	else
		pass_on(relay);
}

static int dial(struct relay *relay, struct event_base *base, const char *path)
{
	static const struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
	int fd = unix_connect(path, SOCK_STREAM, 0, true);

	if (fd < 0)
		return fd;
	relay->api = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!relay->api)
		abort();
	bufferevent_setcb(relay->api, on_answer, NULL, on_end, relay);
	bufferevent_setwatermark(relay->api, EV_READ, 0, CHUNK_MAX);
	bufferevent_set_timeouts(relay->api, &limit, &limit);
	bufferevent_enable(relay->api, EV_READ | EV_WRITE);
	return 0;
}

static void ask(struct relay *relay, const char *method, const char *uri)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(relay->http);
	struct evbuffer *out = bufferevent_get_output(relay->api);
	size_t len = evbuffer_get_length(body);
	const char *condition = evhttp_find_header(
		evhttp_request_get_input_headers(relay->http), "If-Match");
	char tag[HEAD_TAG_LEN];

	evbuffer_add_printf(out, "%s %s HTTP/1.0\r\nHost: netctl\r\n", method, uri);
	/* A condition that is not understood is none that holds. */
	if (condition)
		evbuffer_add_printf(
			out, "If-Match: %s\r\n", head_tag(condition, tag) < 0 ? "\"\"" : tag);
	if (len)
		evbuffer_add_printf(
			out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", len);
	evbuffer_add(out, "\r\n", 2);
	evbuffer_add_buffer(out, body);
}

void relay_start(struct event_base *base, const char *api_path, struct evhttp_request *http,
	const char *method, const char *uri, bool endless,
	void (*head)(struct evhttp_request *http))
{
	struct relay *relay = calloc(1, sizeof(*relay));

	if (!relay)
		abort();
	relay->http = http;
	relay->client = evhttp_request_get_connection(http);
	relay->head = head;
	relay->left = -1;
	relay->endless = endless;
	evhttp_connection_set_closecb(relay->client, on_client_closed, relay);
	if (dial(relay, base, api_path) < 0)
		fail(relay);
	else
		ask(relay, method, uri);
}
