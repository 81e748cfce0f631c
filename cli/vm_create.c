/* SPDX-License-Identifier: MIT */
/*
 * netctl vm create.
 *
 * A path given with --link or --vsock or in a unix: forward is bound here, as the caller and with the
 * caller's umask, and handed to netctld: so the caller's VMM can connect, and nobody borrows the
 * daemon's access to files. The link's path is bound before the VM is made and the VM is deleted
 * again when something after that fails, so that nothing is left half-done.
 */
#include "cli/attach.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/limit_option.h"
#include "cli/net_option.h"
#include "cli/proxy_option.h"
#include "cli/socket.h"
#include "cli/vm.h"
#include "cli/vm_body.h"
#include "cli/vsock_option.h"
#include "common/error.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPT_LINK = 'l', OPT_EPHEMERAL = 'e' };

const struct option vm_create_options[] = {
	{OPT_LINK, 0, "link", "KIND", "stream[:PATH] (default), dgram[:PATH], attach or none"},
	OPTION_MTU,
	OPTION_VSOCK,
	OPTION_CID,
	OPTION_SUBNET,
	OPTION_MAC,
	OPTIONS_DNS,
	{OPT_EPHEMERAL, 0, "ephemeral", NULL, "stay, and delete the VM at a signal"},
	OPTION_TTL,
	OPTION_POLICY,
	OPTION_HOST_ACCESS,
	OPTIONS_LIMIT,
	OPTION_FORWARD,
	OPTIONS_PROXY,
	{0},
};

const char vm_create_notes[] =
	"PATH is bound by netctl itself, with your umask; that of --vsock hybrid is the VMM's own\n"
	"socket, beside which PATH_PORT is bound. A SPEC is\n"
	"  [tcp:|udp:][BIND:]HOST[-HOST]:TARGET[/udp]  or  unix:PATH:TARGET\n"
	"where TARGET is PORT[-PORT], vsock:PORT, tsi, tsi:VM_PORT or tsi@PORT.\n";

struct create {
	struct json_object *body;
	struct forwards forwards;
	struct vsock_option vsock;
	struct proxy_option proxy;
	const char *name;
	const char *kind;
	char path[PATH_MAX]; /* to be bound by us; "" where there is none */
	int listener;        /* bound to path, or -1 */
	int sock;            /* an attach connection, or -1 */
	bool ephemeral;
	bool made; /* by us, so ours to delete */
};

static int sock_type(const struct create *c)
{
	return strcmp(c->kind, "dgram") ? SOCK_STREAM : SOCK_DGRAM;
}

static int take_path(const struct cli *cli, struct create *c, const char *path)
{
	char cwd[PATH_MAX] = "";

	if (!*path)
		return cli_usage_error(
			cli, "--link %s: the path after the colon is missing", c->kind);
	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return cli_error(cli, STATUS_FAILURE, "working directory: %s", strerror(errno));
	if (snprintf(c->path, sizeof(c->path), "%s%s%s", cwd, *path == '/' ? "" : "/", path) >=
		(int)sizeof(c->path))
		return cli_usage_error(cli, "--link %s: the path is too long", c->kind);
	return 0;
}

static int take_link(const struct cli *cli, struct create *c, const char *value)
{
	static const char *const kinds[] = {"stream", "dgram", "attach", "none"};
	size_t len = strcspn(value, ":");

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strlen(kinds[i]) != len || strncmp(kinds[i], value, len) != 0)
			continue;
		c->kind = kinds[i];
		if (!value[len])
			return 0;
		if (i >= 2)
			return cli_usage_error(cli, "--link %s takes no path", c->kind);
		return take_path(cli, c, value + len + 1);
	}
	return cli_usage_error(
		cli, "--link %s: a link is stream[:PATH], dgram[:PATH], attach or none", value);
}

/* An object of the document, made where it is missing. */
static struct json_object *member(struct json_object *body, const char *key)
{
	struct json_object *obj = doc_get(body, key);

	if (!obj) {
		obj = json_object_new_object();
		json_object_object_add(body, key, obj);
	}
	return obj;
}

static int take_option(struct cli *cli, struct create *c, const struct given *given)
{
	switch (given->id) {
	case OPT_LINK:
		return take_link(cli, c, given->value);
	case OPT_EPHEMERAL:
		c->ephemeral = true;
		return 0;
	case OPT_TTL:
		return vm_body_ttl(cli, c->body, given->value);
	case OPT_VSOCK:
	case OPT_CID:
		return vsock_option_take(cli, &c->vsock, given);
	default:
		if (net_option_is(given))
			return net_option_take(cli, c->body, given);
		if (proxy_option_is(given))
			return proxy_option_take(cli, &c->proxy, given);
		return vm_body_option(cli, c->body, &c->forwards, given);
	}
}

static int take_args(struct cli *cli, struct create *c, const struct args *args)
{
	struct json_object *link;
	int status = check_vm_name(cli, c->name);

	for (size_t i = 0; !status && i < args->n_given; i++)
		status = take_option(cli, c, &args->given[i]);
	if (status)
		return status;
	doc_put_text(c->body, "name", c->name);
	proxy_option_put(&c->proxy, c->body);
	link = member(c->body, "link");
	doc_put_text(link, "kind", c->kind);
	if (*c->path) {
		doc_put_text(link, "path", c->path);
		doc_put_bool(link, "handed", true);
	}
	if (json_object_array_length(c->forwards.items))
		json_object_object_add(c->body, "forwards", json_object_get(c->forwards.items));
	return vsock_option_put(cli, &c->vsock, c->body);
}

/* `served`: the VM stands already and may be served at the path: that is ours then, and stays. */
static int bind_link(struct cli *cli, struct create *c, bool served)
{
	if (!*c->path)
		return 0;
	if (!served) {
		c->listener = attach_bind(cli, sock_type(c), c->path);
		return c->listener < 0 ? -c->listener : 0;
	}
	c->listener = unix_listen(c->path, sock_type(c), 0);
	if (c->listener >= 0)
		return 0;
	if (c->listener != -EADDRINUSE)
		return cli_error(cli, STATUS_FAILURE, "%s: %s", c->path, errno_text(c->listener));
	c->listener = -1;
	c->path[0] = '\0';
	return 0;
}

static int bind_paths(struct cli *cli, struct create *c)
{
	struct answer answer;
	int status;

	if (!*c->path && !*c->vsock.bound)
		return 0;
	status = http_send(cli, "GET", http_path("vms", c->name, NULL), NULL, &answer);
	if (status)
		return status;
	status = bind_link(cli, c,
		answer.status == 200 && !strcmp(doc_text(answer.body, "link.path"), c->path));
	if (!status)
		status = vsock_option_open(cli, &c->vsock,
			answer.status == 200 &&
				!strcmp(doc_text(answer.body, "vsock.path"), c->vsock.path));
	http_answer_free(&answer);
	return status;
}

static int make(struct cli *cli, struct create *c, struct json_object **vm)
{
	struct json_object *line, *answer;
	struct answer http;
	int status;

	if (c->ephemeral) {
		line = json_object_new_object();
		doc_put_text(line, "op", "hold");
		json_object_object_add(line, "create", json_object_get(c->body));
		status = attach_request(cli, c->sock, line, -1, &answer);
		if (status)
			return status;
		*vm = json_object_get(doc_get(answer, "vm"));
		json_object_put(answer);
		return 0;
	}
	status = http_send(cli, "POST", http_path("vms", NULL), json_object_get(c->body), &http);
	if (!status)
		status = http_result(cli, &http);
	c->made = !status && http.status == 201;
	*vm = status ? NULL : json_object_get(http.body);
	http_answer_free(&http);
	return status;
}

static int hand_over(struct cli *cli, struct create *c)
{
	struct json_object *line;
	int status = 0;

	if (c->listener >= 0) {
		line = json_object_new_object();
		doc_put_text(line, "op", "listen");
		doc_put_text(line, "vm", c->name);
		doc_put_text(line, "for", "link");
		doc_put_text(line, "kind", c->kind);
		doc_put_text(line, "path", c->path);
		status = attach_request(cli, c->sock, line, c->listener, NULL);
	}
	if (!status)
		status = vsock_option_hand(cli, &c->vsock, c->sock, c->name);
	if (!status)
		status = forwards_hand(cli, &c->forwards, c->sock, c->name);
	return status;
}

static void print_created(const struct cli *cli, const struct create *c, struct json_object *vm)
{
	char attach[256], clean[512];
	const char *path = doc_text(vm, "link.path");

	if (cli->output == OUTPUT_JSON) {
		doc_print(vm, stdout);
	} else if (!strcmp(c->kind, "attach")) {
		printf("vm %s: waiting for its NIC. Connect to %s and send, with the fd at the first "
		       "byte,\n  {\"op\":\"link\",\"vm\":\"%s\",\"kind\":\"tap|dgram|stream\"}\n",
			c->name, socket_attach_path(cli, attach, sizeof(attach)), c->name);
	} else if (*path) {
		printf("vm %s: the VMM may connect to %s:%s\n", c->name, c->kind,
			cli_clean(path, clean, sizeof(clean)));
	} else {
		printf("vm %s: created\n", c->name);
	}
	path = doc_text(vm, "vsock.path");
	if (cli->output != OUTPUT_JSON && *path)
		printf("vm %s: %s:%s is its vsock's, with CID %s\n", c->name,
			doc_text(vm, "vsock.kind"), cli_clean(path, clean, sizeof(clean)),
			doc_text(vm, "vsock.cid"));
	fflush(stdout);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* Until INT, TERM or HUP, or until the daemon goes. */
static int hold(struct cli *cli, const struct create *c)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct pollfd pfd = {.fd = c->sock, .events = POLLIN};
	int n;

	sigemptyset(&act.sa_mask);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	n = poll(&pfd, 1, -1);
	if (n < 0)
		return STATUS_OK;
	return cli_error(cli, STATUS_UNREACHABLE, "netctld is gone, and vm %s with it", c->name);
}

static void undo(struct cli *cli, struct create *c)
{
	struct answer answer;

	if (!c->made)
		return;
	http_send(cli, "DELETE", http_path("vms", c->name, NULL), NULL, &answer);
	http_answer_free(&answer);
}

static int create(struct cli *cli, struct create *c, const struct args *args)
{
	struct json_object *vm = NULL;
	int status = take_args(cli, c, args);

	if (!status)
		status = bind_paths(cli, c);
	if (status)
		return status;
	if (c->ephemeral || *c->path || c->vsock.listener >= 0 || c->vsock.directory >= 0 ||
		json_object_array_length(c->forwards.handed)) {
		c->sock = attach_connect(cli);
		if (c->sock < 0)
			return -c->sock;
	}
	status = make(cli, c, &vm);
	if (!status)
		status = proxy_option_send(cli, &c->proxy, c->name);
	if (!status)
		status = hand_over(cli, c);
	if (!status)
		print_created(cli, c, vm);
	else
		undo(cli, c);
	json_object_put(vm);
	return status;
}

/* What hold() leaves: the socket files are ours to remove once the VM is gone with its connection. */
static void remove_paths(const struct create *c)
{
	size_t n = json_object_array_length(c->forwards.handed);

	if (*c->path)
		unlink(c->path);
	if (*c->vsock.bound)
		unlink(c->vsock.bound);
	for (size_t i = 0; i < n; i++)
		unlink(doc_text(json_object_array_get_idx(c->forwards.handed, i), "listen.unix"));
}

int vm_create(struct cli *cli, const struct args *args)
{
	struct create c = {.name = args->words[0], .kind = "stream", .listener = -1, .sock = -1};
	int status;

	c.body = json_object_new_object();
	forwards_init(&c.forwards);
	vsock_option_init(&c.vsock);
	status = create(cli, &c, args);
	if (status && c.listener >= 0)
		unlink(c.path);
	if (status && c.vsock.listener >= 0)
		unlink(c.vsock.bound);
	vsock_option_free(&c.vsock);
	proxy_option_free(&c.proxy);
	if (c.listener >= 0)
		close(c.listener);
	if (!status && c.ephemeral) {
		status = hold(cli, &c);
		remove_paths(&c);
	}
	if (c.sock >= 0)
		close(c.sock);
	forwards_free(&c.forwards);
	json_object_put(c.body);
	return status;
}
