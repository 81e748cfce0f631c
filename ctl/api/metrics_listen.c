/* SPDX-License-Identifier: MIT */
/* /metrics on a port. See metrics_listen.h. */
#include "ctl/api/metrics_listen.h"

#include "common/log.h"
#include "ctl/api/routes.h"
#include "ctl/listener.h"

#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

/* "127.0.0.1", "::1" or "localhost", as evhttp gives it: without port and brackets. */
static bool is_loopback_host(const char *host)
{
	char text[ADDR_STRLEN + 2];
	struct addr addr;
	size_t len = host ? strlen(host) : 0;

	if (!len || len >= sizeof(text))
		return false;
	if (strcmp(host, "localhost") == 0)
		return true;
	memcpy(text, host, len + 1);
	if (text[0] == '[' && text[len - 1] == ']') {
		memmove(text, text + 1, len - 1);
		text[len - 2] = '\0';
	}
	return addr_parse(text, &addr) == 0 && addr_is_loopback(&addr);
}

static void answer(struct api_request *request, const char *path)
{
	enum evhttp_cmd_type method = evhttp_request_get_command(request->http);
	struct error err;

	if (!is_loopback_host(evhttp_request_get_host(request->http)))
		error_set(&err, 403, NULL, "only for a Host of loopback");
	else if (strcmp(path, "/metrics") != 0)
		error_set(&err, 404, NULL, "there is only /metrics");
	else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD)
		error_set(&err, 405, NULL, "/metrics is only read");
	else {
		api_metrics_get(request);
		return;
	}
	api_problem(request, &err);
}

static void route(struct netctld *daemon, struct evhttp_request *http)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct api_request *request = calloc(1, sizeof(*request));

	if (!request) {
		evhttp_send_error(http, 503, NULL);
		return;
	}
	request->daemon = daemon;
	request->http = http;
	answer(request, path ? path : "");
}

int metrics_listen(struct netctld *daemon, struct api **out, struct error *err)
{
	struct endpoint at = daemon->options.metrics_listen;
	char text[ENDPOINT_STRLEN];
	int fd;

	*out = NULL;
	if (!at.port)
		return 0;
	endpoint_format(&at, text, sizeof(text));
	fd = listener_open(LISTENER_TCP, &at);
	if (fd < 0)
		return error_set(
			err, 500, NULL, "metrics-listen %s: %s", text, listener_error(fd, &at));
	*out = api_new(daemon, route);
	if (*out && api_listen(*out, fd)) {
		log_info("metrics", "ready", "listen=%s", text);
		return 0;
	}
	return error_set(err, 500, NULL, "out of memory");
}
