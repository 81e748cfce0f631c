/* SPDX-License-Identifier: MIT */
/*
 * netctl vsock: vsock ports that lead a guest to services of the host.
 *
 * A unix path is reached with the rights of whoever maps it: its directory is opened here and handed
 * to netctld. Where the VMM owns the mux (hybrid), it brings a mapped port's connections to PATH_PORT,
 * which is bound here too.
 */
#include "cli/attach.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"
#include "cli/vm_body.h"
#include "cli/vsock_option.h"
#include "common/addr.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_MAX 4294967294

struct mapping {
	const char *vm;
	long port;
	struct json_object *map; /* its document */
	char path[PATH_MAX];     /* of unix, else "" */
	char bound[PATH_MAX];    /* hybrid: what we bind for it, else "" */
	int directory;
	int listener;
};

static const char *const headings[] = {"VM", ">PORT", "TO", "ERROR", NULL};

static void add_row(struct table *table, const char *vm, struct json_object *map)
{
	char to[256];
	bool tcp = *doc_text(map, "to.tcp") != '\0';

	snprintf(to, sizeof(to), "%s:%s", tcp ? "tcp" : "unix",
		doc_text(map, tcp ? "to.tcp" : "to.unix"));
	table_row(table, vm, doc_text(map, "port"), to, doc_text(map, "error"));
}

static void print_map(const struct cli *cli, const char *vm, struct json_object *map)
{
	struct table *table;

	if (cli->output == OUTPUT_JSON) {
		doc_print(map, stdout);
		return;
	}
	table = table_new(headings);
	add_row(table, vm, map);
	table_print(table, stdout, cli->colour);
	table_free(table);
}

/* "unix:PATH" or "tcp:ADDR:PORT". */
static int take_to(const struct cli *cli, struct mapping *m, const char *word)
{
	struct json_object *to = json_object_new_object();
	struct endpoint at;
	int status;

	json_object_object_add(m->map, "to", to);
	if (!strncmp(word, "unix:", 5) && word[5]) {
		status = vsock_path(cli, word + 5, m->path, sizeof(m->path));
		if (!status)
			doc_put_text(to, "unix", m->path);
		return status;
	}
	if (strncmp(word, "tcp:", 4) || endpoint_parse(word + 4, &at) < 0)
		return cli_usage_error(cli, "\"%s\": unix:PATH or tcp:ADDR:PORT is wanted", word);
	doc_put_text(to, "tcp", word + 4);
	return 0;
}

/* Whether the path lies in the VM's directory, beside the daemon's socket in use: netctld reaches it by
 * itself, for ever. */
static bool is_beside(const struct cli *cli, const char *vm, const char *path)
{
	const char *slash = strrchr(cli->api_path, '/');
	char below[PATH_MAX];
	size_t len;

	snprintf(below, sizeof(below), "%.*s/vms/%s/", (int)(slash ? slash - cli->api_path : 0),
		cli->api_path, vm);
	len = strlen(below);
	return slash && !strncmp(path, below, len) && !strchr(path + len, '/');
}

/* Opens what HTTP cannot carry. */
static int open_handed(struct cli *cli, struct mapping *m)
{
	struct json_object *vm;
	int status = http_call(cli, "GET", http_path("vms", m->vm, NULL), NULL, &vm);

	if (status)
		return status;
	if (*m->path && !is_beside(cli, m->vm, m->path)) {
		m->directory = vsock_directory(cli, m->path);
		status = m->directory < 0 ? -m->directory : 0;
	}
	if (!strcmp(doc_text(vm, "vsock.kind"), "hybrid") && doc_bool(vm, "vsock.handed"))
		snprintf(m->bound, sizeof(m->bound), "%s_%ld", doc_text(vm, "vsock.path"), m->port);
	if (!status && *m->bound) {
		m->listener = attach_bind(cli, SOCK_STREAM, m->bound);
		status = m->listener < 0 ? -m->listener : 0;
	}
	json_object_put(vm);
	return status;
}

static struct json_object *new_line(const struct mapping *m, const char *what)
{
	struct json_object *line = json_object_new_object();

	doc_put_text(line, "op", "listen");
	doc_put_text(line, "vm", m->vm);
	doc_put_text(line, "for", what);
	return line;
}

/* Makes the map; *made says whether it is new. */
static int make(struct cli *cli, struct mapping *m, int sock, bool *made, struct json_object **map)
{
	struct json_object *line, *answer = NULL;
	struct answer http;
	int status;

	*made = false;
	if (m->directory >= 0) {
		line = new_line(m, "map");
		json_object_object_add(line, "map", json_object_get(m->map));
		status = attach_request(cli, sock, line, m->directory, &answer);
		if (!status)
			*map = json_object_get(doc_get(answer, "map"));
		json_object_put(answer);
		return status;
	}
	status = http_send(
		cli, "POST", http_path("vms", m->vm, "maps", NULL), json_object_get(m->map), &http);
	if (!status)
		status = http_result(cli, &http);
	*made = !status && http.status == 201;
	*map = status ? NULL : json_object_get(http.body);
	http_answer_free(&http);
	return status;
}

static int hand_port(struct cli *cli, struct mapping *m, int sock)
{
	struct json_object *line = new_line(m, "vsock");

	doc_put_text(line, "kind", "hybrid");
	doc_put_int(line, "port", m->port);
	doc_put_text(line, "path", m->bound);
	return attach_request(cli, sock, line, m->listener, NULL);
}

static int map_it(struct cli *cli, struct mapping *m)
{
	struct json_object *map = NULL;
	bool made = false;
	int status = open_handed(cli, m), sock = -1;

	if (!status && (m->directory >= 0 || m->listener >= 0)) {
		sock = attach_connect(cli);
		status = sock < 0 ? -sock : 0;
	}
	if (!status)
		status = make(cli, m, sock, &made, &map);
	if (!status && m->listener >= 0)
		status = hand_port(cli, m, sock);
	if (!status) {
		json_object_object_del(map, "error"); /* of the port that it was not given yet */
		print_map(cli, m->vm, map);
	} else if (m->listener >= 0) {
		unlink(m->bound);
	}
	json_object_put(map);
	if (sock >= 0)
		close(sock);
	return status;
}

static int vsock_map(struct cli *cli, const struct args *args)
{
	struct mapping m = {.vm = args->words[0], .directory = -1, .listener = -1};
	int status = parse_bounded(cli, "PORT", args->words[1], 1, PORT_MAX, &m.port);

	if (status)
		return status;
	m.map = json_object_new_object();
	doc_put_int(m.map, "port", m.port);
	status = take_to(cli, &m, args->words[2]);
	if (!status)
		status = map_it(cli, &m);
	if (m.directory >= 0)
		close(m.directory);
	if (m.listener >= 0)
		close(m.listener);
	json_object_put(m.map);
	return status;
}

/* ---- unmap, list ---- */

static int vsock_unmap(struct cli *cli, const struct args *args)
{
	const char *vm = args->words[0], *port = args->words[1];
	struct json_object *doc;
	char path[PATH_MAX] = "";
	long number;
	int status = parse_bounded(cli, "PORT", port, 1, PORT_MAX, &number);

	if (!status)
		status = http_call(cli, "GET", http_path("vms", vm, NULL), NULL, &doc);
	if (status)
		return status;
	if (!strcmp(doc_text(doc, "vsock.kind"), "hybrid") && doc_bool(doc, "vsock.handed"))
		snprintf(path, sizeof(path), "%s_%ld", doc_text(doc, "vsock.path"), number);
	json_object_put(doc);
	status = http_call(cli, "DELETE", http_path("vms", vm, "maps", port, NULL), NULL, NULL);
	if (!status)
		attach_remove_socket(path, SOCK_STREAM);
	return status;
}

static int vsock_list(struct cli *cli, const struct args *args)
{
	const char *vm = args->words[0];

	return list_show(cli, http_path("vms", vm, "maps", NULL), headings, add_row, vm);
}

static const struct command commands[] = {
	{
		.name = "map",
		.usage = "VM PORT unix:PATH|tcp:ADDR:PORT",
		.summary = "Let a vsock port of the host lead the guest to a service",
		.example = "netctl vsock map web 5000 unix:/run/user/1000/agent.sock",
		.min_words = 3,
		.max_words = 3,
		.run = vsock_map,
		.notes =
			"The guest connects to CID 2, PORT. netctld connects to PATH with your rights and\n"
			"groups, or to ADDR:PORT, each time that the guest does; the service need not be\n"
			"there yet. Ports 620 (TSI) and 1026 (env) cannot be mapped.\n",
	},
	{
		.name = "unmap",
		.usage = "VM PORT",
		.summary = "Take a map away; its connections live on",
		.example = "netctl vsock unmap web 5000",
		.min_words = 2,
		.max_words = 2,
		.run = vsock_unmap,
	},
	{
		.name = "list",
		.usage = "VM",
		.summary = "List the maps of a VM",
		.example = "netctl vsock list web",
		.min_words = 1,
		.max_words = 1,
		.run = vsock_list,
	},
	{0},
};

const struct noun noun_vsock = {
	"vsock", "Vsock ports that lead a guest to host services: map, unmap, list", commands};
