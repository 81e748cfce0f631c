/* SPDX-License-Identifier: MIT */
/* The dashboard's HTTP server. See server.h. */
#include "cli/dashboard/server.h"

#include "cli/dashboard/door.h"
#include "cli/dashboard/files.h"
#include "cli/dashboard/guard.h"
#include "cli/dashboard/relay.h"
#include "common/clock.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

#define TIMEOUT_S 30
#define HEADERS_MAX 16384

/* A reference keeps the bufferevent; one whose callbacks are gone was freed by evhttp. */
struct connection {
	struct bufferevent *bev; /* NULL: a free place */
	uint64_t since_ms;
	bool trusted;
};

struct dashboard {
	struct event_base *base;
	struct evhttp *http;
	struct guard guard;
	const char *api_path;
	void (*opened)(void *arg);
	void *arg;
	struct connection connections[DASHBOARD_CONNECTIONS_MAX];
};

/* ---- connections ---- */

static bool is_alive(const struct connection *c)
{
	bufferevent_data_cb on_read = NULL, on_write = NULL;
	bufferevent_event_cb on_event = NULL;
	void *arg;

	bufferevent_getcb(c->bev, &on_read, &on_write, &on_event, &arg);
	return on_read || on_write || on_event;
}

static void forget(struct connection *c)
{
	if (c->bev)
		bufferevent_decref(c->bev);
	*c = (struct connection){0};
}

static bool is_worse(const struct connection *a, const struct connection *b)
{
	return a->trusted != b->trusted ? b->trusted : a->since_ms < b->since_ms;
}

static struct connection *make_place(struct dashboard *d)
{
	struct connection *worst = &d->connections[0];

	for (size_t i = 0; i < DASHBOARD_CONNECTIONS_MAX; i++) {
		struct connection *c = &d->connections[i];

		if (c->bev && !is_alive(c))
			forget(c);
		if (!c->bev)
			return c;
		if (is_worse(c, worst))
			worst = c;
	}
	bufferevent_trigger_event(worst->bev, BEV_EVENT_READING | BEV_EVENT_TIMEOUT, 0);
	forget(worst);
	return worst;
}

static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
	struct connection *c = make_place(arg);

	c->bev = bufferevent_socket_new(base, -1, 0);
	if (!c->bev)
		abort();
	bufferevent_incref(c->bev);
	c->since_ms = clock_ms();
	return c->bev;
}

static void trust(struct dashboard *d, struct evhttp_request *http)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(http);
	const struct bufferevent *bev = evhttp_connection_get_bufferevent(connection);

	for (size_t i = 0; i < DASHBOARD_CONNECTIONS_MAX; i++) {
		if (d->connections[i].bev == bev)
			d->connections[i].trusted = true;
	}
}

/* ---- answers ---- */

/* No script but the page's file, no request but to us, no frame around it; text can never become
 * markup, whatever the script does with it (Trusted Types). */
static void put_head(struct evhttp_request *http)
{
	static const char *const head[][2] = {
		{"Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
			"connect-src 'self'; base-uri 'none'; form-action 'none'; "
			"frame-ancestors 'none'; require-trusted-types-for 'script'; "
			"trusted-types 'none'"},
		{"Cross-Origin-Opener-Policy", "same-origin"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
		{"X-Content-Type-Options", "nosniff"},
		{"X-Frame-Options", "DENY"},
		{"Referrer-Policy", "no-referrer"},
		{"Cache-Control", "no-store"},
	};
	struct evkeyvalq *headers = evhttp_request_get_output_headers(http);

	for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
		evhttp_add_header(headers, head[i][0], head[i][1]);
}

static void answer(
	struct evhttp_request *http, int status, const char *type, const void *bytes, size_t len)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(http);

	put_head(http);
	if (status != 200)
		evhttp_add_header(headers, "Connection", "close");
	if (len)
		evhttp_add_header(headers, "Content-Type", type);
	evbuffer_add(evhttp_request_get_output_buffer(http), bytes, len);
	evhttp_send_reply(http, status, NULL, NULL);
}

static void answer_nothing(struct evhttp_request *http)
{
	answer(http, 403, NULL, "", 0);
}

/* For a person who opened a link again. */
static void answer_used(struct evhttp_request *http)
{
	static const char text[] = "This link was used before, or is not whole. "
				   "netctl dashboard prints another.\n";

	answer(http, 403, "text/plain", text, sizeof(text) - 1);
}

static void answer_session(struct dashboard *d, struct evhttp_request *http)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(http);
	size_t len = evbuffer_get_length(in);
	char text[sizeof("{\"session\":\"\"}\n") + GUARD_SECRET_LEN];

	if (!guard_trade(&d->guard, evbuffer_pullup(in, -1), len)) {
		answer_nothing(http);
		return;
	}
	trust(d, http);
	d->opened(d->arg);
	snprintf(text, sizeof(text), "{\"session\":\"%s\"}\n", d->guard.session);
	answer(http, 200, "application/json", text, strlen(text));
}

static const struct page_file *file_at(const char *path)
{
	for (const struct page_file *file = page_files; file->path; file++) {
		if (!strcmp(file->path, path))
			return file;
	}
	return NULL;
}

static void put_ticket(struct dashboard *d, struct evhttp_request *http)
{
	char cookie[256], ticket[128];

	snprintf(cookie, sizeof(cookie), "%s; Path=/; HttpOnly; SameSite=Strict",
		guard_ticket(&d->guard, ticket, sizeof(ticket)));
	evhttp_add_header(evhttp_request_get_output_headers(http), "Set-Cookie", cookie);
}

static void answer_file(
	struct dashboard *d, struct evhttp_request *http, const struct guard_request *request)
{
	const struct page_file *file = NULL;

	if (guard_opens(&d->guard, request->uri)) {
		put_ticket(d, http);
		file = file_at("/");
	} else if (guard_has_ticket(&d->guard, request)) {
		file = file_at(request->uri);
	}
	if (file) {
		trust(d, http);
		answer(http, 200, file->type, file->bytes, file->len);
	} else if (!strcmp(request->uri, "/") || !strncmp(request->uri, "/?", 2)) {
		answer_used(http);
	} else {
		answer_nothing(http);
	}
}

/* ---- questions ---- */

static void take_header(struct guard_request *request, const char **place, const char *value)
{
	if (*place)
		request->doubled = true;
	*place = value;
}

static void read_headers(struct evhttp_request *http, struct guard_request *request)
{
	const struct evkeyval *header;

	TAILQ_FOREACH(header, evhttp_request_get_input_headers(http), next) {
		if (!strcasecmp(header->key, "Host"))
			take_header(request, &request->host, header->value);
		else if (!strcasecmp(header->key, "Origin"))
			take_header(request, &request->origin, header->value);
		else if (!strcasecmp(header->key, "Sec-Fetch-Site"))
			take_header(request, &request->site, header->value);
		else if (!strcasecmp(header->key, "Authorization"))
			take_header(request, &request->authorization, header->value);
		else if (!strcasecmp(header->key, "Cookie"))
			take_header(request, &request->cookie, header->value);
	}
}

static const char *method_of(const struct evhttp_request *http)
{
	switch (evhttp_request_get_command(http)) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_PUT:
		return "PUT";
	default:
		return "";
	}
}

static void on_request(struct evhttp_request *http, void *arg)
{
	struct dashboard *d = arg;
	const char *method = method_of(http);
	struct guard_request request = {
		.uri = evhttp_request_get_uri(http), .writes = strcmp(method, "GET") != 0};
	bool endless;

	read_headers(http, &request);
	if (!guard_is_own(&d->guard, &request)) {
		answer_nothing(http);
	} else if (!strcmp(method, "POST") && !strcmp(request.uri, "/session")) {
		answer_session(d, http);
	} else if (guard_has_session(&d->guard, &request) &&
		door_admits(method, request.uri, &endless)) {
		trust(d, http);
		relay_start(d->base, d->api_path, http, method, request.uri, endless, put_head);
	} else if (!request.writes && strncmp(request.uri, "/v1/", 4) != 0) {
		answer_file(d, http, &request);
	} else {
		answer_nothing(http);
	}
}

struct dashboard *dashboard_new(struct event_base *base, int fd, uint16_t port,
	const char *api_path, void (*opened)(void *arg), void *arg)
{
	struct dashboard *d = calloc(1, sizeof(*d));

	if (d)
		d->http = evhttp_new(base);
	if (!d || !d->http)
		goto fail;
	d->base = base;
	d->api_path = api_path;
	d->opened = opened;
	d->arg = arg;
	guard_init(&d->guard, port);
	evhttp_set_max_body_size(d->http, DASHBOARD_BODY_MAX);
	evhttp_set_max_headers_size(d->http, HEADERS_MAX);
	evhttp_set_timeout(d->http, TIMEOUT_S);
	evhttp_set_default_content_type(d->http, NULL);
	evhttp_set_allowed_methods(d->http, 0xffff);
	evhttp_set_gencb(d->http, on_request, d);
	evhttp_set_bevcb(d->http, on_accepted, d);
	if (evhttp_accept_socket(d->http, fd) == 0)
		return d;
fail:
	close(fd);
	dashboard_free(d);
	return NULL;
}

void dashboard_free(struct dashboard *d)
{
	if (!d)
		return;
	if (d->http)
		evhttp_free(d->http);
	for (size_t i = 0; i < DASHBOARD_CONNECTIONS_MAX; i++)
		forget(&d->connections[i]);
	guard_wipe(&d->guard);
	free(d);
}

char *dashboard_link(const struct dashboard *d, char *buf, size_t len)
{
	snprintf(buf, len, "http://%s/?link=%s", d->guard.authority, d->guard.link);
	return buf;
}
