/* SPDX-License-Identifier: MIT */
/*
 * HTTP servers: evhttp over unix sockets. One serves api.sock, another the gvproxy.sock of each VM.
 *
 * Bounds, of each server: API_CONNECTIONS_MAX connections; bodies of API_BODY_MAX bytes, those of a
 * wanted state of STATE_MAX; API_UNREAD_MAX bytes of requests that are on their way, of all connections
 * together; API_TIMEOUT_S seconds for a request to arrive or an idle connection to say something. When
 * all connections are taken, a new one gets the place of that which has waited longest for a request,
 * once that has had API_PATIENCE_MS for it; accepting pauses until then. So nobody who only connects, or
 * says one byte now and then, keeps others out.
 *
 * evhttp itself answers what is no HTTP (400), too large a body (413), and methods it does not know
 * (501); everything else is answered by the server's route, of api.sock by a handler of routes.c's
 * table, at once or later.
 *
 * A struct api_request lives until api_reply(), api_problem() or api_done(), exactly one of which its
 * handler must see to. The client may go away before: replies then go nowhere.
 */
#ifndef CTL_API_SERVER_H
#define CTL_API_SERVER_H

#include "common/error.h"
#include "ctl/netctld.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define API_CONNECTIONS_MAX 256
#define API_BODY_MAX (1u << 20)
#define API_STREAMS_MAX 128 /* answers that go on, of those connections */
#define API_UNREAD_MAX (64u << 20)
#define API_TIMEOUT_S 10
#define API_PATIENCE_MS 250
#define API_PARTS_MAX 2
#define API_ETAG_LEN 24

struct api;
struct api_socket;
struct evhttp_connection;
struct evhttp_request;
struct evkeyvalq;

struct api_request {
	struct netctld *daemon;
	struct evhttp_request *http;
	struct evkeyvalq *query;
	char *parts[API_PARTS_MAX]; /* what {vm} and {id} or {name} of the path are, decoded */
	struct json_object *body;   /* where the route wants one */
	bool waited;                /* see waiting_adoption() */
	char etag[API_ETAG_LEN];    /* goes with an answer of success, unless it is "" */
};

typedef void api_route_fn(struct netctld *daemon, struct evhttp_request *http);

/* Serves no socket yet. NULL without memory. */
struct api *api_new(struct netctld *daemon, api_route_fn *route);
/* fd is a listening socket, taken in any case. NULL without memory. */
struct api_socket *api_listen(struct api *api, int fd);
/* Closes it; connections that came by it stay. */
void api_unlisten(struct api *api, struct api_socket *socket);
/* Closes all connections. */
void api_free(struct api *api);

/* doc is consumed; NULL with 204. */
void api_reply(struct api_request *request, int status, struct json_object *doc);
void api_problem(struct api_request *request, const struct error *err);
/* The same with a member more (RFC 9457's extension); value is consumed, NULL for none. */
void api_problem_with(struct api_request *request, const struct error *err, const char *key,
	struct json_object *value);
/* Frees the request after the handler answered through request->http itself. */
void api_done(struct api_request *request);

/* A query parameter, or NULL. */
const char *api_query(struct api_request *request, const char *name);
/* "1" or "true": true; absent, "0" or "false": false. Otherwise answers 400 and returns -1. */
int api_query_bool(struct api_request *request, const char *name);
/* Whether the request's If-Match, where it has one, is met by the ETag (quoted) of what there is. Else
 * answers 412. */
bool api_if_match(struct api_request *request, const char *etag, const char *what);
/* A number of min…max. 0, or -1 after a 400. */
int api_query_int(
	struct api_request *request, const char *name, int64_t min, int64_t max, int64_t *out);
/* The VM that the path names, or NULL after a 404. */
struct vm *api_vm(struct api_request *request);

/* Calls back when this connection, whose answer goes on, closes; closed NULL calls that off. At most one
 * a connection. */
void api_on_close(
	struct api *api, struct evhttp_connection *http, void (*closed)(void *arg), void *arg);
/* Whether one more may: else nobody could get a word in beside them. */
bool api_may_stream(const struct api *api);

/* routes.c: finds the handler. */
api_route_fn api_route;

#endif
