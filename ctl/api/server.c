/* SPDX-License-Identifier: MIT */
/* The HTTP server. See server.h. */
#include "ctl/api/server.h"

#include "common/clock.h"
#include "common/log.h"
#include "ctl/json_read.h"
#include "ctl/state.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

/*
 * A connection, from accept(2) to close(2). evhttp tells of neither, and of the end only when a request
 * came: so a reference to each connection's bufferevent is kept, and one whose callbacks are gone was
 * freed by evhttp (which then closed the socket, since the bufferevent does not).
 */
struct connection {
	TAILQ_ENTRY(connection) next;
	struct api *api;
	struct bufferevent *bev;
	struct event
		*deadline; /* for the next request to be here in full; pending while it is not */
	int64_t since_ms;  /* that it is awaited */
	size_t unread;     /* bytes that came of it */
	void (*closed)(void *arg);
	void *arg;
};

struct api_socket {
	LIST_ENTRY(api_socket) next;
	struct evhttp_bound_socket *bound;
};

struct api {
	struct netctld *daemon;
	api_route_fn *route;
	struct evhttp *http;
	LIST_HEAD(, api_socket) sockets;
	struct event *resume; /* soon, while too many are connected */
	struct event *look;   /* now and then */
	TAILQ_HEAD(connection_list, connection) connections; /* who was served last comes first */
	unsigned n;
	unsigned streams; /* of them with `closed` */
	size_t unread;    /* of all connections */
};

/* ---- connections ---- */

static struct connection *find(struct api *api, struct evhttp_connection *http)
{
	struct bufferevent *bev = http ? evhttp_connection_get_bufferevent(http) : NULL;
	struct connection *c;

	TAILQ_FOREACH(c, &api->connections, next) {
		if (c->bev == bev)
			return c;
	}
	return NULL;
}

static bool is_alive(const struct connection *c)
{
	bufferevent_data_cb on_read = NULL, on_write = NULL;
	bufferevent_event_cb on_event = NULL;
	void *arg;

	bufferevent_getcb(c->bev, &on_read, &on_write, &on_event, &arg);
	return on_read || on_write || on_event;
}

static void all_read(struct connection *c)
{
	c->api->unread -= c->unread;
	c->unread = 0;
}

static void on_bytes(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg);

static void forget(struct connection *c)
{
	all_read(c);
	TAILQ_REMOVE(&c->api->connections, c, next);
	c->api->n--;
	evbuffer_remove_cb(bufferevent_get_input(c->bev), on_bytes, c);
	bufferevent_decref(c->bev);
	event_free(c->deadline);
	free(c);
}

static void forget_dead(struct api *api)
{
	struct connection *c, *next;

	for (c = TAILQ_FIRST(&api->connections); c; c = next) {
		next = TAILQ_NEXT(c, next);
		if (!is_alive(c))
			forget(c);
	}
}

/* A request that drips in byte by byte never idles: the clock does not care. */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd;
	(void)what;
	if (is_alive(c))
		bufferevent_trigger_event(c->bev, BEV_EVENT_READING | BEV_EVENT_TIMEOUT, 0);
	else
		forget(c);
}

static void on_bytes(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg)
{
	static const struct timeval now = {0};
	struct connection *c = arg;

	(void)in;
	c->unread += info->n_added;
	c->api->unread += info->n_added;
	/* Not from here: its buffer is being filled. */
	if (info->n_added && c->api->unread > API_UNREAD_MAX)
		evtimer_add(c->deadline, &now);
}

static void await_request(struct connection *c)
{
	static const struct timeval limit = {.tv_sec = API_TIMEOUT_S};

	c->since_ms = clock_ms();
	evtimer_add(c->deadline, &limit);
	TAILQ_REMOVE(&c->api->connections, c, next);
	TAILQ_INSERT_HEAD(&c->api->connections, c, next);
}

static void enable(struct api *api, bool on)
{
	struct api_socket *socket;

	LIST_FOREACH(socket, &api->sockets, next) {
		struct evconnlistener *listener = evhttp_bound_socket_get_listener(socket->bound);

		if (on)
			evconnlistener_enable(listener);
		else
			evconnlistener_disable(listener);
	}
}

static void pause_accept(struct api *api)
{
	static const struct timeval pause = {.tv_usec = 50000};

	enable(api, false);
	evtimer_add(api->resume, &pause);
}

/* Ends the connection that has waited longest for a request. False: none has for long enough. */
static bool make_room(struct api *api)
{
	struct connection *c;

	TAILQ_FOREACH_REVERSE(c, &api->connections, connection_list, next)
	{
		if (!evtimer_pending(c->deadline, NULL))
			continue;
		if (clock_ms() - c->since_ms < API_PATIENCE_MS)
			return false;
		evtimer_del(c->deadline);
		on_deadline(-1, 0, c);
		forget_dead(api);
		return true;
	}
	return false;
}

/* evhttp accepted a socket and wants a bufferevent for it. NULL: it makes one itself. */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
	struct api *api = arg;
	struct connection *c = calloc(1, sizeof(*c));

	if (c)
		c->deadline = evtimer_new(base, on_deadline, c);
	if (c && c->deadline)
		c->bev = bufferevent_socket_new(base, -1, 0);
	if (!c || !c->bev) {
		if (c && c->deadline)
			event_free(c->deadline);
		free(c);
		return NULL;
	}
	/* Before it is in the list: it looks as the dead do, for evhttp has not got it yet. */
	forget_dead(api);
	if (api->n + 1 >= API_CONNECTIONS_MAX && !make_room(api))
		pause_accept(api);
	c->api = api;
	bufferevent_incref(c->bev);
	evbuffer_add_cb(bufferevent_get_input(c->bev), on_bytes, c);
	TAILQ_INSERT_HEAD(&api->connections, c, next);
	await_request(c);
	api->n++;
	return c->bev;
}

static void on_http_closed(struct evhttp_connection *http, void *arg)
{
	struct connection *c = arg;

	(void)http;
	if (!c->closed)
		return;
	c->api->streams--;
	c->closed(c->arg);
	c->closed = NULL;
}

void api_on_close(
	struct api *api, struct evhttp_connection *http, void (*closed)(void *arg), void *arg)
{
	struct connection *c = find(api, http);

	if (!c)
		return;
	if (!closed != !c->closed)
		api->streams += closed ? 1u : -1u;
	c->closed = closed;
	c->arg = arg;
	evhttp_connection_set_closecb(http, closed ? on_http_closed : NULL, c);
}

bool api_may_stream(const struct api *api)
{
	return api->streams < API_STREAMS_MAX;
}

static void on_answered(struct evhttp_request *http, void *arg)
{
	struct connection *c = find(arg, evhttp_request_get_connection(http));

	if (c)
		await_request(c);
}

static void on_request(struct evhttp_request *http, void *arg)
{
	struct api *api = arg;
	struct connection *c = find(api, evhttp_request_get_connection(http));

	if (c) {
		evtimer_del(c->deadline);
		all_read(c);
	}
	evhttp_request_set_on_complete_cb(http, on_answered, api);
	api->route(api->daemon, http);
}

/* Out of descriptors: the listener would spin. (arg is evhttp's, so api->look enables it again.) */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	(void)arg;
	log_warn("api", "accept.paused", "reason=\"%s\"", errno_text(errno));
	evconnlistener_disable(listener);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct api *api = arg;

	(void)fd;
	(void)what;
	forget_dead(api);
	if (api->n < API_CONNECTIONS_MAX || make_room(api))
		enable(api, true);
	else
		pause_accept(api);
}

struct api *api_new(struct netctld *daemon, api_route_fn *route)
{
	static const struct timeval often = {.tv_usec = 500000};
	struct api *api = calloc(1, sizeof(*api));

	if (!api)
		return NULL;
	TAILQ_INIT(&api->connections);
	LIST_INIT(&api->sockets);
	api->daemon = daemon;
	api->route = route;
	api->resume = evtimer_new(daemon->base, on_resume, api);
	api->look = event_new(daemon->base, -1, EV_PERSIST, on_resume, api);
	api->http = evhttp_new(daemon->base);
	if (!api->resume || !api->look || !api->http)
		goto fail;
	evhttp_set_max_body_size(api->http, STATE_MAX);
	evhttp_set_max_headers_size(api->http, 32768);
	evhttp_set_timeout(api->http, API_TIMEOUT_S);
	evhttp_set_default_content_type(api->http, NULL);
	evhttp_set_allowed_methods(api->http, 0xffff); /* routes.c answers 405 */
	evhttp_set_gencb(api->http, on_request, api);
	evhttp_set_bevcb(api->http, on_accepted, api);
	event_add(api->look, &often);
	return api;
fail:
	api_free(api);
	return NULL;
}

struct api_socket *api_listen(struct api *api, int fd)
{
	struct api_socket *socket = calloc(1, sizeof(*socket));

	if (socket)
		socket->bound = evhttp_accept_socket_with_handle(api->http, fd);
	if (!socket || !socket->bound) {
		free(socket);
		close(fd);
		return NULL;
	}
	evconnlistener_set_error_cb(
		evhttp_bound_socket_get_listener(socket->bound), on_accept_error);
	LIST_INSERT_HEAD(&api->sockets, socket, next);
	return socket;
}

void api_unlisten(struct api *api, struct api_socket *socket)
{
	LIST_REMOVE(socket, next);
	evhttp_del_accept_socket(api->http, socket->bound);
	free(socket);
}

void api_free(struct api *api)
{
	struct api_socket *socket;

	if (!api)
		return;
	if (api->http)
		evhttp_free(api->http); /* and all sockets */
	while ((socket = LIST_FIRST(&api->sockets))) {
		LIST_REMOVE(socket, next);
		free(socket);
	}
	while (!TAILQ_EMPTY(&api->connections))
		forget(TAILQ_FIRST(&api->connections));
	if (api->resume)
		event_free(api->resume);
	if (api->look)
		event_free(api->look);
	free(api);
}

/* ---- answers ---- */

void api_done(struct api_request *request)
{
	for (int i = 0; i < API_PARTS_MAX; i++)
		free(request->parts[i]);
	if (request->query) {
		evhttp_clear_headers(request->query);
		free(request->query);
	}
	json_object_put(request->body);
	free(request);
}

static void send_doc(
	struct api_request *request, int status, const char *type, struct json_object *doc)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request->http);
	struct evbuffer *out = evhttp_request_get_output_buffer(request->http);

	/* What was answered has happened, also for who reads events. */
	events_flush(request->daemon->events);
	if (doc) {
		evhttp_add_header(headers, "Content-Type", type);
		evbuffer_add_printf(out, "%s\n", json_text(doc));
	}
	if (*request->etag && status < 300)
		evhttp_add_header(headers, "ETag", request->etag);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_send_reply(request->http, status, NULL, NULL);
	json_object_put(doc);
	api_done(request);
}

void api_reply(struct api_request *request, int status, struct json_object *doc)
{
	send_doc(request, status, "application/json", doc);
}

static const char *title_of(int status)
{
	switch (status) {
	case 400:
		return "Bad request";
	case 403:
		return "Refused";
	case 404:
		return "Not found";
	case 405:
		return "Method not allowed";
	case 409:
		return "Conflict";
	case 410:
		return "Gone";
	case 412:
		return "Precondition failed";
	case 413:
		return "Too large";
	case 501:
		return "Not implemented";
	case 503:
		return "Not now";
	default:
		return "Internal error";
	}
}

void api_problem(struct api_request *request, const struct error *err)
{
	api_problem_with(request, err, NULL, NULL);
}

void api_problem_with(struct api_request *request, const struct error *err, const char *key,
	struct json_object *value)
{
	struct json_object *doc = json_object_new_object();

	json_put_string(doc, "type", "about:blank");
	json_put_string(doc, "title", title_of(err->status));
	json_put_int(doc, "status", err->status);
	json_put_string(doc, "detail", err->text);
	if (err->field[0])
		json_put_string(doc, "field", err->field);
	if (value)
		json_object_object_add(doc, key, value);
	if (err->status == 500)
		log_error(
			"api", "request.failed", "status=%d reason=\"%s\"", err->status, err->text);
	send_doc(request, err->status, "application/problem+json", doc);
}

/* ---- questions ---- */

const char *api_query(struct api_request *request, const char *name)
{
	return request->query ? evhttp_find_header(request->query, name) : NULL;
}

int api_query_bool(struct api_request *request, const char *name)
{
	const char *text = api_query(request, name);
	struct error err;

	if (!text || strcmp(text, "0") == 0 || strcmp(text, "false") == 0)
		return 0;
	if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0)
		return 1;
	error_set(&err, 400, name, "\"%.32s\" is not 0 or 1", text);
	api_problem(request, &err);
	return -1;
}

/* RFC 9110, 13.1.1: a list of tags, compared as they stand, or *. A weak one is never the same. */
static bool lists_etag(const char *list, const char *etag)
{
	size_t len = strlen(etag);

	while (*list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, " \t,");
		if ((n == len && !memcmp(list, etag, len)) || (n == 1 && *list == '*'))
			return true;
		list += n;
	}
	return false;
}

bool api_if_match(struct api_request *request, const char *etag, const char *what)
{
	const char *list = evhttp_find_header(
		evhttp_request_get_input_headers(request->http), "If-Match");
	struct error err;

	if (!list || lists_etag(list, etag))
		return true;
	error_set(&err, 412, NULL, "%s has changed meanwhile", what);
	api_problem(request, &err);
	return false;
}

int api_query_int(
	struct api_request *request, const char *name, int64_t min, int64_t max, int64_t *out)
{
	const char *text = api_query(request, name);
	struct error err;
	char *end;
	long long value;

	if (!text)
		return 0;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (*text && !*end && !errno && value >= min && value <= max) {
		*out = value;
		return 0;
	}
	error_set(&err, 400, name, "\"%.32s\" is not a number of %lld to %lld", text,
		(long long)min, (long long)max);
	api_problem(request, &err);
	return -1;
}

struct vm *api_vm(struct api_request *request)
{
	struct vm *vm = vms_find(&request->daemon->vms, request->parts[0]);
	struct error err;

	if (vm)
		return vm;
	error_set(&err, 404, "vm", "VM %.64s is unknown", request->parts[0]);
	api_problem(request, &err);
	return NULL;
}
