/* SPDX-License-Identifier: MIT */
/* netctl dashboard: a page for a browser on this host, for as long as the command runs. */
#include "cli/args.h"
#include "cli/dashboard/server.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/socket.h"
#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPEN_WITHIN_S 600
#define BACKLOG 64

enum { OPT_PORT = 'p' };

static const struct option options[] = {
	{OPT_PORT, 0, "port", "PORT", "serve on this port of 127.0.0.1 (default: any free one)"},
	{0},
};

struct session {
	struct cli *cli;
	struct event_base *base;
	struct event *signals[3];
	struct event *limit; /* for the link to be opened */
	int status;
};

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct session *session = arg;

	(void)sig;
	(void)what;
	event_base_loopbreak(session->base);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	session->status = cli_error(session->cli, STATUS_FAILURE,
		"nobody opened the link in %d minutes", OPEN_WITHIN_S / 60);
	event_base_loopbreak(session->base);
}

static void on_opened(void *arg)
{
	struct session *session = arg;

	evtimer_del(session->limit);
	fprintf(stderr, "The link was opened: it opens nothing any more.\n");
}

/* A port of 127.0.0.1; *port 0 becomes the one that was free. The fd, or -errno. */
static int listen_on(uint16_t *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t len = sizeof(sin);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true), on = 1, err;

	if (fd < 0)
		return fd;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(fd, BACKLOG) == 0 &&
		getsockname(fd, (struct sockaddr *)&sin, &len) == 0) {
		*port = ntohs(sin.sin_port);
		return fd;
	}
	err = -errno;
	close(fd);
	return err;
}

static void session_begin(struct session *session)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	static const struct timeval limit = {.tv_sec = OPEN_WITHIN_S};

	session->base = event_base_new();
	if (!session->base)
		abort();
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		session->signals[i] = evsignal_new(session->base, signals[i], on_signal, session);
		if (!session->signals[i] || event_add(session->signals[i], NULL) < 0)
			abort();
	}
	session->limit = evtimer_new(session->base, on_limit, session);
	if (!session->limit || evtimer_add(session->limit, &limit) < 0)
		abort();
}

static void session_end(struct session *session)
{
	for (size_t i = 0; i < sizeof(session->signals) / sizeof(*session->signals); i++)
		event_free(session->signals[i]);
	event_free(session->limit);
	event_base_free(session->base);
}

static int print_link(const struct cli *cli, const struct dashboard *dashboard)
{
	char link[128];

	dashboard_link(dashboard, link, sizeof(link));
	if (cli->output == OUTPUT_JSON) {
		struct json_object *doc = json_object_new_object();

		doc_put_text(doc, "link", link);
		doc_print(doc, stdout);
		json_object_put(doc);
	} else {
		printf("%s\n", link);
	}
	os_wipe(link, sizeof(link));
	if (fflush(stdout))
		return cli_error(cli, STATUS_FAILURE, "the link cannot be written");
	fprintf(stderr,
		"Open it in a browser on this host, once, in %d minutes. ^C ends the page.\n",
		OPEN_WITHIN_S / 60);
	return STATUS_OK;
}

static int serve(struct cli *cli, int fd, uint16_t port)
{
	struct session session = {.cli = cli};
	struct dashboard *dashboard;

	session_begin(&session);
	dashboard = dashboard_new(session.base, fd, port, cli->api_path, on_opened, &session);
	if (!dashboard)
		abort();
	session.status = print_link(cli, dashboard);
	if (session.status == STATUS_OK)
		event_base_dispatch(session.base);
	dashboard_free(dashboard);
	session_end(&session);
	return session.status;
}

static int take_port(const struct cli *cli, const struct args *args, uint16_t *port)
{
	const char *text = args_value(args, OPT_PORT);
	unsigned long value;
	char *end;

	*port = 0;
	if (!text)
		return STATUS_OK;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || !value || value > UINT16_MAX)
		return cli_usage_error(cli, "--port %s: a number of 1 to 65535 is wanted", text);
	*port = (uint16_t)value;
	return STATUS_OK;
}

static int dashboard(struct cli *cli, const struct args *args)
{
	uint16_t port;
	int status = take_port(cli, args, &port), fd;

	if (!status)
		status = socket_find(cli, false);
	if (status)
		return status;
	os_no_dump();
	signal(SIGPIPE, SIG_IGN);
	fd = listen_on(&port);
	if (fd < 0)
		return cli_error(cli, STATUS_FAILURE, "127.0.0.1:%u: %s", port, errno_text(fd));
	return serve(cli, fd, port);
}

static const char notes[] =
	"The link opens the page once, in one browser; what a page has then can read VMs, flows,\n"
	"events and policies, and change policies. For a browser on another host:\n"
	"  ssh -t -L PORT:127.0.0.1:PORT HOST netctl dashboard --port PORT\n";

static const struct command commands[] = {
	{
		.usage = "[--port PORT]",
		.summary = "Serve a page of VMs, rates, flows and refusals, until interrupted",
		.example = "netctl dashboard",
		.options = options,
		.run = dashboard,
		.notes = notes,
	},
	{0},
};

const struct noun noun_dashboard = {
	"dashboard", "A page for the browser: VMs, flows, refusals", commands};
