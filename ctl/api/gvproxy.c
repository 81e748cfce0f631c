/* SPDX-License-Identifier: MIT */
/* gvproxy's HTTP API. See gvproxy.h. */
#include "ctl/api/gvproxy.h"

#include "common/log.h"
#include "common/unix_socket.h"
#include "ctl/api/server.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_NAME "gvproxy.sock"
#define PATH_LEN (VM_PATH_LEN + VM_NAME_MAX + 32)
#define BODY_MAX 65536

/* ---- sockets ---- */

static char *socket_path(const struct vm *vm, char buf[PATH_LEN])
{
	snprintf(buf, PATH_LEN, "%s/vms/%s/" SOCKET_NAME, vm->vms->runtime_dir, vm->config.name);
	return buf;
}

void vm_gvproxy_open(struct vm *vm)
{
	char path[PATH_LEN];
	int fd;

	if (vm->gvproxy || !vm->vms->gvproxy)
		return;
	fd = unix_listen(socket_path(vm, path), SOCK_STREAM, 0660);
	if (fd < 0) {
		/* The VM is none the worse for it. */
		if (!vm->gvproxy_told)
			log_warn(vm->config.name, "gvproxy.unavailable", "path=%s reason=\"%s\"",
				path, errno_text(fd));
		vm->gvproxy_told = true;
		return;
	}
	if (vm->vms->group != (gid_t)-1 && chown(path, (uid_t)-1, vm->vms->group) < 0)
		log_debug(vm->config.name, "chown.failed", "path=%s", path);
	vm->gvproxy = api_listen(vm->vms->gvproxy, fd);
}

void vm_gvproxy_close(struct vm *vm)
{
	char path[PATH_LEN];

	if (!vm->gvproxy)
		return;
	api_unlisten(vm->vms->gvproxy, vm->gvproxy);
	vm->gvproxy = NULL;
	unlink(socket_path(vm, path));
}

/* By which VM's socket a request came: "…/NAME/gvproxy.sock" is where it is bound. */
static struct vm *vm_of(struct netctld *daemon, struct evhttp_request *http)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(http);
	int fd = connection ? bufferevent_getfd(evhttp_connection_get_bufferevent(connection)) : -1;
	struct sockaddr_un at = {.sun_family = AF_UNSPEC};
	socklen_t len = sizeof(at);
	char path[sizeof(at.sun_path) + 1] = "", *name;

	if (fd < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0 || at.sun_family != AF_UNIX)
		return NULL;
	memcpy(path, at.sun_path, sizeof(at.sun_path));
	name = strrchr(path, '/');
	if (!name)
		return NULL;
	*name = '\0';
	name = strrchr(path, '/');
	return name ? vms_find(&daemon->vms, name + 1) : NULL;
}

/* ---- answers ---- */

static void reply_text(struct evhttp_request *http, int status, const char *text)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(http);

	evhttp_add_header(headers, "Content-Type", "text/plain; charset=utf-8");
	evbuffer_add_printf(evhttp_request_get_output_buffer(http), "%s\n", text);
	evhttp_send_reply(http, status, NULL, NULL);
}

/* doc is consumed. */
static void reply_json(struct evhttp_request *http, struct json_object *doc)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(http);

	evhttp_add_header(headers, "Content-Type", "application/json");
	evbuffer_add_printf(evhttp_request_get_output_buffer(http), "%s\n", json_text(doc));
	evhttp_send_reply(http, 200, NULL, NULL);
	json_object_put(doc);
}

/* An answer that waits for the worker. */
struct change {
	struct netctld *daemon;
	struct evhttp_request *http;
	struct completion *wait;
	char vm[VM_NAME_MAX + 1];
	char made[FORWARD_ID_LEN]; /* what to take back should the worker refuse it, or "" */
	struct error err;          /* status 0: none */
};

static void take_back(struct change *change)
{
	struct vm *vm = vms_find(&change->daemon->vms, change->vm);
	struct forward *forward = vm ? vm_forward_find(vm, change->made) : NULL;
	struct error ignored;

	if (forward)
		vm_forward_delete(vm, forward, NULL, &ignored);
}

static void on_done(void *arg, int code, const char *text)
{
	struct change *change = arg;

	if (code && !change->err.status) {
		take_back(change);
		error_set(&change->err, 500, NULL, "worker: %s", text);
	}
	if (change->err.status)
		reply_text(change->http, 500, change->err.text);
	else
		evhttp_send_reply(change->http, 200, NULL, NULL);
	free(change);
}

/* NULL after an answer. */
static struct change *change_new(struct netctld *daemon, struct evhttp_request *http, struct vm *vm)
{
	struct change *change = calloc(1, sizeof(*change));

	if (change)
		change->wait = completion_new(on_done, change);
	if (!change || !change->wait) {
		free(change);
		reply_text(http, 500, "out of memory");
		return NULL;
	}
	change->daemon = daemon;
	change->http = http;
	memcpy(change->vm, vm->config.name, sizeof(change->vm));
	return change;
}

/* ---- what is asked ---- */

/* "host:port", "[v6]:port" or ":port", which is that of 0.0.0.0. */
static int parse_local(const char *text, struct endpoint *at)
{
	char full[ENDPOINT_STRLEN + 16];

	if (text[0] == ':')
		snprintf(full, sizeof(full), "0.0.0.0%.16s", text);
	else if (strncmp(text, "localhost:", 10) == 0)
		snprintf(full, sizeof(full), "127.0.0.1%.16s", text + 9);
	else
		snprintf(full, sizeof(full), "%.*s", (int)sizeof(full) - 1, text);
	return endpoint_parse(full, at);
}

static const struct addr *guest_of(const struct vm *vm)
{
	return vm->has_lease ? &vm->lease.addr : &vm->config.guest;
}

/* The guest's port in "host:port". */
static int parse_remote(const struct vm *vm, const char *text, uint16_t *port)
{
	struct endpoint at;

	if (parse_local(text, &at) < 0 || !at.port)
		return -EINVAL;
	*port = at.port;
	if (addr_is_unspecified(&at.addr) || addr_eq(&at.addr, &vm->config.guest) ||
		addr_eq(&at.addr, guest_of(vm)))
		return 0;
	return addr_is_v4(&at.addr) && addr_v4(&at.addr) == 0xc0a87f02 ? 0 : -EHOSTUNREACH;
}

/* The listen side: 0 or -1. */
static int read_local(struct json_object *doc, struct forward_spec *spec, struct error *err)
{
	const char *local = "", *protocol = "";

	if (!json_object_is_type(doc, json_type_object))
		return error_set(err, 400, NULL, "an object is wanted");
	if (json_get_string(doc, "", "local", &local, err) < 0 ||
		json_get_string(doc, "", "protocol", &protocol, err) < 0)
		return -1;
	if (strcmp(protocol, "unix") == 0) {
		spec->kind = LISTENER_UNIX;
		if (local[0] != '/' || strlen(local) > unix_path_max())
			return error_set(
				err, 500, NULL, "\"%.200s\" is no path of a socket", local);
		strcpy(spec->path, local);
		return 0;
	}
	if (*protocol && strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0)
		return error_set(err, 500, NULL, "unknown protocol %.32s", protocol);
	spec->kind = strcmp(protocol, "udp") == 0 ? LISTENER_UDP : LISTENER_TCP;
	if (parse_local(local, &spec->listen) < 0)
		return error_set(err, 500, NULL, "\"%.64s\" is no address to listen at", local);
	return 0;
}

static int read_remote(
	const struct vm *vm, struct json_object *doc, struct forward_spec *spec, struct error *err)
{
	const char *remote = "", *host;
	uint16_t port = 0;
	int status;

	if (json_get_string(doc, "", "remote", &remote, err) < 0)
		return -1;
	host = remote;
	if (spec->kind == LISTENER_UNIX && strncmp(remote, "tcp://", 6) != 0)
		return error_set(err, 500, NULL,
			"\"%.64s\": unix sockets lead to tcp://HOST:PORT only", remote);
	if (spec->kind == LISTENER_UNIX)
		host += 6;
	status = parse_remote(vm, host, &port);
	if (status == -EHOSTUNREACH)
		return error_set(err, 500, NULL, "%.64s is no address of the guest's", remote);
	if (status < 0)
		return error_set(err, 400, NULL, "\"%.64s\" is not HOST:PORT", remote);
	spec->target = (struct worker_target){WORKER_TO_PORT, port};
	return 0;
}

/* In gvproxy's own words, which tools look for. */
static int check_free(
	struct vm *vm, struct json_object *doc, const struct forward_spec *spec, struct error *err)
{
	const char *local = "", *protocol = "tcp";
	char id[FORWARD_ID_LEN];

	forward_id(spec, id, sizeof(id));
	if (!vm_forward_find(vm, id))
		return 0;
	json_get_string(doc, "", "local", &local, err);
	json_get_string(doc, "", "protocol", &protocol, err);
	return error_set(err, 500, NULL, "proxy already running for %s on %.200s",
		*protocol ? protocol : "tcp", local);
}

/* The body, or NULL after an answer. */
static struct json_object *read_body(struct evhttp_request *http)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(http);
	size_t len = evbuffer_get_length(in);
	struct json_object *doc = NULL;
	struct error err;

	if (evhttp_request_get_command(http) != EVHTTP_REQ_POST)
		error_set(&err, 400, NULL, "post only");
	else if (len > BODY_MAX)
		error_set(&err, 400, NULL, "a body of %zu bytes", len);
	else
		doc = json_read(len ? (const char *)evbuffer_pullup(in, -1) : "", len, &err);
	if (!doc)
		reply_text(http, 400, err.text);
	return doc;
}

/* ---- the services ---- */

static void expose(struct netctld *daemon, struct evhttp_request *http, struct vm *vm)
{
	struct json_object *doc = read_body(http);
	struct forward_spec spec = {0};
	struct forward *made = NULL;
	struct change *change;
	struct error err;
	bool is_new = false;

	if (!doc)
		return;
	if (read_local(doc, &spec, &err) < 0 || read_remote(vm, doc, &spec, &err) < 0 ||
		check_free(vm, doc, &spec, &err) < 0) {
		reply_text(http, err.status, err.text);
	} else if ((change = change_new(daemon, http, vm))) {
		vm_forwards_add(vm, &spec, 1, NULL, -1, &made, &is_new, change->wait, &change->err);
		if (is_new)
			memcpy(change->made, made->id, sizeof(change->made));
		completion_close(change->wait);
	}
	json_object_put(doc);
}

static void unexpose(struct netctld *daemon, struct evhttp_request *http, struct vm *vm)
{
	struct json_object *doc = read_body(http);
	struct forward_spec spec = {0};
	struct forward *forward;
	char id[FORWARD_ID_LEN];
	struct change *change;
	struct error err;

	if (!doc)
		return;
	if (read_local(doc, &spec, &err) < 0) {
		reply_text(http, err.status, err.text);
	} else if ((change = change_new(daemon, http, vm))) {
		forward_id(&spec, id, sizeof(id));
		forward = vm_forward_find(vm, id);
		if (!forward)
			error_set(&change->err, 500, NULL, "proxy not found");
		else
			vm_forward_delete(vm, forward, change->wait, &change->err);
		completion_close(change->wait);
	}
	json_object_put(doc);
}

/* After the start of netctld: until the worker's sockets are known, none can be closed. */
struct adoption {
	struct netctld *daemon;
	struct evhttp_request *http;
};

static void on_adopted(void *arg, int code, const char *text)
{
	struct adoption adoption = *(struct adoption *)arg;
	struct vm *vm = vm_of(adoption.daemon, adoption.http);

	(void)code;
	(void)text;
	free(arg);
	if (vm)
		unexpose(adoption.daemon, adoption.http, vm);
	else
		reply_text(adoption.http, 404, "the VM is gone");
}

static void unexpose_adopted(struct netctld *daemon, struct evhttp_request *http, struct vm *vm)
{
	struct adoption *adoption = vm->adopting ? calloc(1, sizeof(*adoption)) : NULL;
	struct completion *wait = adoption ? completion_new(on_adopted, adoption) : NULL;

	if (!wait) {
		free(adoption);
		unexpose(daemon, http, vm);
		return;
	}
	*adoption = (struct adoption){daemon, http};
	vm_worker_await_next(vm, wait);
	completion_close(wait);
}

static struct json_object *proxy_json(const struct vm *vm, const struct forward *forward)
{
	static const char *const protocols[] = {"tcp", "udp", "unix"};
	const struct forward_spec *spec = &forward->spec;
	struct endpoint guest = {.addr = *guest_of(vm), .port = (uint16_t)spec->target.port};
	struct json_object *doc = json_object_new_object();
	char text[ENDPOINT_STRLEN], remote[ENDPOINT_STRLEN + 8], any[8];

	endpoint_format(&guest, text, sizeof(text));
	snprintf(remote, sizeof(remote), "%s%s", spec->kind == LISTENER_UNIX ? "tcp://" : "", text);
	snprintf(any, sizeof(any), ":%u", spec->listen.port);
	json_put_string(doc, "local",
		spec->kind == LISTENER_UNIX ? spec->path
			: addr_is_unspecified(&spec->listen.addr) && addr_is_v4(&spec->listen.addr)
			? any
			: endpoint_format(&spec->listen, text, sizeof(text)));
	json_put_string(doc, "remote", remote);
	json_put_string(doc, "protocol", protocols[spec->kind]);
	return doc;
}

static int by_local(const void *a, const void *b)
{
	static const char *const keys[] = {"local", "protocol"};
	struct json_object *x = *(struct json_object *const *)a;
	struct json_object *y = *(struct json_object *const *)b;
	int order = 0;

	for (int i = 0; i < 2 && !order; i++)
		order = strcmp(json_object_get_string(json_object_object_get(x, keys[i])),
			json_object_get_string(json_object_object_get(y, keys[i])));
	return order;
}

static void all(struct netctld *daemon, struct evhttp_request *http, struct vm *vm)
{
	struct json_object *list = json_object_new_array();
	const struct forward *forward;

	(void)daemon;
	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (forward->spec.target.kind == WORKER_TO_PORT)
			json_object_array_add(list, proxy_json(vm, forward));
	}
	json_object_array_sort(list, by_local);
	reply_json(http, list);
}

static void leases(struct netctld *daemon, struct evhttp_request *http, struct vm *vm)
{
	struct json_object *doc = json_object_new_object();
	char addr[ADDR_STRLEN], mac[MAC_STRLEN];

	(void)daemon;
	if (vm->has_lease)
		json_put_string(doc, addr_format(&vm->lease.addr, addr, sizeof(addr)),
			mac_format(&vm->lease.mac, mac, sizeof(mac)));
	reply_json(http, doc);
}

static void route(struct netctld *daemon, struct evhttp_request *http)
{
	static const struct {
		const char *path;
		void (*serve)(struct netctld *daemon, struct evhttp_request *http, struct vm *vm);
	} services[] = {
		{"/services/forwarder/expose", expose},
		{"/services/forwarder/unexpose", unexpose_adopted},
		{"/services/forwarder/all", all},
		{"/services/dhcp/leases", leases},
		{"/leases", leases},
	};
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct vm *vm = vm_of(daemon, http);

	for (size_t i = 0; vm && path && i < sizeof(services) / sizeof(*services); i++) {
		if (strcmp(path, services[i].path) == 0) {
			services[i].serve(daemon, http, vm);
			return;
		}
	}
	reply_text(http, 404, vm ? "404 page not found" : "the VM is gone");
}

/* ---- all VMs ---- */

int gvproxy_start(struct netctld *daemon)
{
	struct vm *vm;

	daemon->vms.gvproxy = api_new(daemon, route);
	if (!daemon->vms.gvproxy)
		return -1;
	TAILQ_FOREACH(vm, &daemon->vms.list, next)
		vm_gvproxy_open(vm);
	return 0;
}

void gvproxy_stop(struct netctld *daemon)
{
	struct vm *vm;

	if (!daemon->vms.gvproxy)
		return;
	TAILQ_FOREACH(vm, &daemon->vms.list, next)
		vm_gvproxy_close(vm);
	api_free(daemon->vms.gvproxy);
	daemon->vms.gvproxy = NULL;
}
