/* SPDX-License-Identifier: MIT */
/* netctl forward: host ports and sockets that lead to a guest. */
#include "cli/args.h"
#include "cli/attach.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/spec.h"
#include "cli/table.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPT_SNAT = 's', OPT_NAME = 'n' };

static const struct option add_options[] = {
	{OPT_SNAT, 0, "snat", NULL, "connections reach the guest from the gateway's address"},
	{OPT_NAME, 0, "name", "N", "a name to list it by"},
	{0},
};

static const char spec_notes[] =
	"A SPEC is\n"
	"  [tcp:|udp:][BIND:]HOST[-HOST]:TARGET[/udp]\n"
	"  unix:PATH:TARGET\n"
	"where TARGET is PORT[-PORT], vsock:PORT, tsi, tsi:VM_PORT or tsi@PORT,\n"
	"BIND an IPv4 address, an [IPv6] one or * (default: loopback), and HOST 0\n"
	"any free port. PATH is bound by netctl itself, with your umask.\n";

/* "80", "vsock:1024", "tsi", "tsi:80", "tsi@80". */
static char *target_text(struct json_object *to, char *buf, size_t len)
{
	if (doc_get(to, "port"))
		snprintf(buf, len, "%s", doc_text(to, "port"));
	else if (doc_get(to, "vsock"))
		snprintf(buf, len, "vsock:%s", doc_text(to, "vsock"));
	else if (doc_get(to, "tsi.vm_port"))
		snprintf(buf, len, "tsi:%s", doc_text(to, "tsi.vm_port"));
	else if (doc_get(to, "tsi.bound_port"))
		snprintf(buf, len, "tsi@%s", doc_text(to, "tsi.bound_port"));
	else
		snprintf(buf, len, "%s", doc_get(to, "tsi") ? "tsi" : "");
	return buf;
}

static struct table *new_table(void)
{
	static const char *const headings[] = {"VM", "ID", "TO", "NAME", "SNAT", "ERROR", NULL};

	return table_new(headings);
}

static void add_row(struct table *table, const char *vm, struct json_object *forward)
{
	char to[64];

	table_row(table, vm, doc_text(forward, "id"),
		target_text(doc_get(forward, "to"), to, sizeof(to)), doc_text(forward, "name"),
		doc_bool(forward, "snat") ? "yes" : "", doc_text(forward, "error"));
}

static void print_added(const struct cli *cli, const char *vm, struct json_object *doc)
{
	struct json_object *items;
	struct table *table;
	size_t n;

	if (cli->output == OUTPUT_JSON) {
		doc_print(doc, stdout);
		return;
	}
	table = new_table();
	items = doc_array(doc, "items", &n);
	if (!items)
		add_row(table, vm, doc);
	for (size_t i = 0; i < n; i++)
		add_row(table, vm, json_object_array_get_idx(items, i));
	table_print(table, stdout, cli->colour);
	table_free(table);
}

static int add_unix(
	struct cli *cli, const char *vm, const struct spec *spec, struct json_object *item)
{
	struct json_object *line = json_object_new_object(), *answer = NULL, *forward;
	int sock, fd, status;

	fd = attach_bind(cli, SOCK_STREAM, spec->path);
	sock = fd < 0 ? fd : attach_connect(cli);
	if (sock < 0) {
		status = -sock;
		json_object_put(line);
		goto out;
	}
	doc_put_text(line, "op", "listen");
	doc_put_text(line, "vm", vm);
	doc_put_text(line, "for", "forward");
	json_object_object_add(line, "forward", json_object_get(item));
	status = attach_request(cli, sock, line, fd, &answer);
	close(sock);
out:
	if (fd >= 0) {
		close(fd);
		if (status)
			unlink(spec->path);
	}
	if (!status) {
		char id[SPEC_ID_LEN];

		forward = doc_get(answer, "forward");
		if (!forward) {
			forward = item;
			doc_put_text(item, "id", spec_id(spec, 0, id, sizeof(id)));
		}
		print_added(cli, vm, forward);
	}
	json_object_put(answer);
	json_object_put(item);
	return status;
}

static struct json_object *make_item(const struct spec *spec, unsigned i, const struct args *args)
{
	struct json_object *item = spec_item(spec, i);

	if (args_has(args, OPT_SNAT))
		doc_put_bool(item, "snat", true);
	if (args_has(args, OPT_NAME))
		doc_put_text(item, "name", args_value(args, OPT_NAME));
	return item;
}

static int forward_add(struct cli *cli, const struct args *args)
{
	const char *vm = args->words[0];
	struct json_object *body, *items, *doc;
	struct error err;
	struct spec spec;
	int status;

	if (spec_parse(args->words[1], &spec, &err) < 0)
		return cli_usage_error(cli, "%s", err.text);
	if (spec.count > 1 && args_has(args, OPT_NAME))
		return cli_usage_error(
			cli, "--name is for one port, %s has %u", args->words[1], spec.count);
	if (spec.listen == SPEC_UNIX)
		return add_unix(cli, vm, &spec, make_item(&spec, 0, args));
	if (spec.count == 1) {
		body = make_item(&spec, 0, args);
	} else {
		body = json_object_new_object();
		items = json_object_new_array();
		for (unsigned i = 0; i < spec.count; i++)
			json_object_array_add(items, make_item(&spec, i, args));
		json_object_object_add(body, "items", items);
	}
	status = http_call(cli, "POST", http_path("vms", vm, "forwards", NULL), body, &doc);
	if (status)
		return status;
	print_added(cli, vm, doc);
	json_object_put(doc);
	return STATUS_OK;
}

/* Adds a VM's forwards to the table and, each with its VM's name, to the list. */
static int list_one(struct cli *cli, const char *vm, struct table *table, struct json_object *all)
{
	struct json_object *doc, *items;
	size_t n;
	int status = http_call(cli, "GET", http_path("vms", vm, "forwards", NULL), NULL, &doc);

	if (status)
		return status;
	items = doc_array(doc, "items", &n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *forward = json_object_array_get_idx(items, i);

		add_row(table, vm, forward);
		doc_put_text(forward, "vm", vm);
		json_object_array_add(all, json_object_get(forward));
	}
	json_object_put(doc);
	return STATUS_OK;
}

static int list_all(struct cli *cli, struct table *table, struct json_object *all)
{
	struct json_object *vms, *items;
	size_t n;
	int status = http_call(cli, "GET", http_path("vms", NULL), NULL, &vms);

	if (status)
		return status;
	items = doc_array(vms, "items", &n);
	for (size_t i = 0; i < n && !status; i++)
		status = list_one(
			cli, doc_text(json_object_array_get_idx(items, i), "name"), table, all);
	json_object_put(vms);
	return status;
}

static int forward_list(struct cli *cli, const struct args *args)
{
	struct json_object *doc = json_object_new_object(), *all = json_object_new_array();
	struct table *table = new_table();
	int status;

	json_object_object_add(doc, "items", all);
	status = args->n_words ? list_one(cli, args->words[0], table, all)
			       : list_all(cli, table, all);
	if (!status && cli->output == OUTPUT_JSON)
		doc_print(doc, stdout);
	else if (!status)
		table_print(table, stdout, cli->colour);
	table_free(table);
	json_object_put(doc);
	return status;
}

static int delete_id(struct cli *cli, const char *vm, const char *id)
{
	int status = http_call(
		cli, "DELETE", http_path("vms", vm, "forwards", id, NULL), NULL, NULL);

	if (status || strncmp(id, "unix:", 5) != 0)
		return status;
	/* The file is ours; the worker lets go of it a moment after the answer. */
	for (int i = 0; i < 10 && access(id + 5, F_OK) == 0; i++) {
		if (attach_unlink_stale(id + 5, SOCK_STREAM))
			break;
		poll(NULL, 0, 20);
	}
	return STATUS_OK;
}

/* "unix:PATH" and "unix:PATH:TARGET" look alike: the id, where there is such a one, is meant. */
static bool known_id(struct cli *cli, const char *vm, const char *id)
{
	struct answer answer;
	bool known = !http_send(cli, "GET", http_path("vms", vm, "forwards", id, NULL), NULL,
			     &answer) &&
		answer.status == 200;

	http_answer_free(&answer);
	return known;
}

static int forward_delete(struct cli *cli, const struct args *args)
{
	const char *vm = args->words[0], *word = args->words[1];
	char id[SPEC_ID_LEN];
	struct error err;
	struct spec spec;
	int status = STATUS_OK;

	if (spec_is_id(word) &&
		(strncmp(word, "unix:", 5) != 0 || spec_parse(word, &spec, &err) < 0 ||
			known_id(cli, vm, word)))
		return delete_id(cli, vm, word);
	if (spec_parse(word, &spec, &err) < 0)
		return cli_usage_error(cli, "%s", err.text);
	if (spec.listen != SPEC_UNIX && !spec.host)
		return cli_usage_error(
			cli, "forward \"%s\": HOST 0 was any port; name the one it got", word);
	for (unsigned i = 0; i < spec.count && !status; i++)
		status = delete_id(cli, vm, spec_id(&spec, i, id, sizeof(id)));
	return status;
}

static const struct command commands[] = {
	{
		.name = "add",
		.usage = "VM SPEC [--snat] [--name N]",
		.summary = "Let a host port or socket lead to a guest's port, at once",
		.example = "netctl forward add web 8080:80",
		.options = add_options,
		.min_words = 2,
		.max_words = 2,
		.run = forward_add,
		.notes = spec_notes,
	},
	{
		.name = "list",
		.usage = "[VM]",
		.summary = "List the forwards of a VM, or of all",
		.example = "netctl forward list web",
		.max_words = 1,
		.run = forward_list,
	},
	{
		.name = "delete",
		.usage = "VM ID-or-SPEC",
		.summary = "Take a forward away",
		.example = "netctl forward delete web tcp:127.0.0.1:8080",
		.min_words = 2,
		.max_words = 2,
		.run = forward_delete,
		.notes = spec_notes,
	},
	{0},
};

const struct noun noun_forward = {
	"forward", "Host ports that lead to a guest: add, list, delete", commands};
