/* SPDX-License-Identifier: MIT */
/* netctl vm: the VMs and sandboxes that the daemon serves. */
#include "cli/vm.h"

#include "cli/attach.h"
#include "cli/duration.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/limit_option.h"
#include "cli/list.h"
#include "cli/nouns.h"

#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A policy document in a word: its preset, or how many rules stand before which default. */
static char *policy_word(struct json_object *policy, char *buf, size_t len)
{
	size_t rules;

	if (json_object_is_type(policy, json_type_string)) {
		snprintf(buf, len, "%s", json_object_get_string(policy));
		return buf;
	}
	doc_array(policy, "rules", &rules);
	if (*doc_text(policy, "preset"))
		snprintf(buf, len, "%s", doc_text(policy, "preset"));
	else
		snprintf(buf, len, "default:%s", doc_text(policy, "default"));
	if (rules)
		snprintf(buf + strlen(buf), len - strlen(buf), "+%zu", rules);
	return buf;
}

static void add_row(struct table *table, const char *name, struct json_object *vm)
{
	char policy[64];

	(void)name;
	table_row(table, doc_text(vm, "name"), doc_text(vm, "state"), doc_text(vm, "link.kind"),
		doc_text(vm, "link.mtu"), doc_text(vm, "net.guest"), doc_text(vm, "forwards"),
		policy_word(doc_get(vm, "policy"), policy, sizeof(policy)),
		doc_text(vm, "sandbox"));
}

static int vm_list(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {
		"NAME", "!STATE", "LINK", ">MTU", "GUEST", ">FORWARDS", "POLICY", "SANDBOX", NULL};

	(void)args;
	return list_show(cli, http_path("vms", NULL), headings, add_row, NULL);
}

static void line(const char *key, const char *value)
{
	char clean[512];

	printf("%-12s %s\n", key, *value ? cli_clean(value, clean, sizeof(clean)) : "-");
}

static void show_link(struct json_object *vm)
{
	char text[512];

	snprintf(text, sizeof(text), "%s%s%s", doc_text(vm, "link.kind"),
		*doc_text(vm, "link.path") ? ":" : "", doc_text(vm, "link.path"));
	line("link", text);
	line("mtu", doc_text(vm, "link.mtu"));
	line("connected", doc_bool(vm, "link.connected") ? "yes" : "no");
}

static void show_vsock(struct json_object *vm)
{
	char text[512];

	if (!strcmp(doc_text(vm, "vsock.kind"), "none"))
		return line("vsock", "");
	snprintf(text, sizeof(text), "%s:%s, CID %s%s", doc_text(vm, "vsock.kind"),
		doc_text(vm, "vsock.path"), doc_text(vm, "vsock.cid"),
		!doc_get(vm, "vsock.connected")           ? ""
			: doc_bool(vm, "vsock.connected") ? ", connected"
							  : ", not connected");
	line("vsock", text);
	line("vsock socket", doc_text(vm, "vsock.socket"));
	line("maps", doc_text(vm, "maps"));
}

static void show_proxy(struct json_object *vm)
{
	const char *url = doc_text(vm, "proxy.url");
	bool none = !strcmp(url, "none") || !*url;
	char text[2048];

	snprintf(text, sizeof(text), "%s%s%s", none ? "" : url,
		doc_bool(vm, "proxy.password") ? ", with a password" : "",
		!none && !strcmp(doc_text(vm, "proxy.on_failure"), "direct")
			? ", straight there where it fails"
			: "");
	line("proxy", text);
	if (!none)
		line("no proxy", doc_join(doc_get(vm, "proxy.no_proxy"), text, sizeof(text)));
}

static void show_worker(struct json_object *vm)
{
	char text[256];

	if (!doc_get(vm, "worker"))
		return line("worker", "");
	snprintf(text, sizeof(text), "pid %s since %s, %s restarts%s", doc_text(vm, "worker.pid"),
		doc_text(vm, "worker.since"), doc_text(vm, "worker.restarts"),
		doc_bool(vm, "worker.outdated") ? ", outdated" : "");
	line("worker", text);
}

static void show_lease(struct json_object *vm)
{
	char text[512];

	if (!doc_get(vm, "lease"))
		return line("lease", "");
	snprintf(text, sizeof(text), "%s to %s %s", doc_text(vm, "lease.addr"),
		doc_text(vm, "lease.mac"), doc_text(vm, "lease.hostname"));
	line("lease", text);
}

/* Whether a snapshot would lose nothing, or what it would. */
static void show_idle(struct json_object *vm)
{
	char text[128];

	if (!doc_get(vm, "busy"))
		return line("idle", "unknown: the worker does not answer");
	snprintf(text, sizeof(text), "no: %s pending, %s live, %s queued",
		doc_text(vm, "busy.pending"), doc_text(vm, "busy.live"),
		doc_text(vm, "busy.queued"));
	line("idle", doc_bool(vm, "idle") ? "yes" : text);
}

static void show(const struct cli *cli, struct json_object *vm)
{
	const char *state = doc_text(vm, "state");
	const char *escape = cli->colour ? table_colour(state) : NULL;
	char text[512], ttl[DURATION_STRLEN];

	line("name", doc_text(vm, "name"));
	printf("%-12s %s%s%s\n", "state", escape ? escape : "", *state ? state : "-",
		escape ? "\033[0m" : "");
	if (*doc_text(vm, "error"))
		line("error", doc_text(vm, "error"));
	show_link(vm);
	show_vsock(vm);
	line("subnet", doc_text(vm, "net.subnet"));
	line("gateway", doc_text(vm, "net.gateway"));
	line("guest", doc_text(vm, "net.guest"));
	line("mac", doc_text(vm, "net.mac"));
	show_lease(vm);
	line("dns", doc_join(doc_get(vm, "dns.upstreams"), text, sizeof(text)));
	line("search", doc_join(doc_get(vm, "dns.search"), text, sizeof(text)));
	if (strcmp(doc_text(vm, "dns.unlisted"), "answer") == 0)
		line("unlisted", "names that no rule could admit are answered");
	show_proxy(vm);
	line("policy", policy_word(doc_get(vm, "policy"), text, sizeof(text)));
	line("limits", limits_text(vm, text, sizeof(text)));
	line("host access", doc_bool(vm, "host_access") ? "yes" : "no");
	line("forwards", doc_text(vm, "forwards"));
	line("ephemeral", doc_bool(vm, "ephemeral") ? "yes" : "no");
	line("ttl",
		doc_int(vm, "ttl") ? duration_format((uint64_t)doc_int(vm, "ttl"), ttl, sizeof(ttl))
				   : "");
	show_idle(vm);
	line("sandbox", doc_text(vm, "sandbox"));
	show_worker(vm);
}

static int vm_show(struct cli *cli, const struct args *args)
{
	struct json_object *vm;
	int status = http_call(cli, "GET", http_path("vms", args->words[0], NULL), NULL, &vm);

	if (status)
		return status;
	if (cli->output == OUTPUT_JSON)
		doc_print(vm, stdout);
	else
		show(cli, vm);
	json_object_put(vm);
	return STATUS_OK;
}

/* The socket files that were handed over are ours to remove. */
static void remove_sockets(
	struct json_object *vm, struct json_object *forwards, struct json_object *maps)
{
	const char *path = doc_text(vm, "vsock.path");
	struct json_object *items;
	char port[PATH_MAX];
	size_t n;

	attach_remove_socket(doc_text(vm, "link.path"),
		strcmp(doc_text(vm, "link.kind"), "dgram") ? SOCK_STREAM : SOCK_DGRAM);
	items = doc_array(forwards, "items", &n);
	for (size_t i = 0; i < n; i++)
		attach_remove_socket(
			doc_text(json_object_array_get_idx(items, i), "listen.unix"), SOCK_STREAM);
	if (!doc_bool(vm, "vsock.handed"))
		return;
	if (strcmp(doc_text(vm, "vsock.kind"), "hybrid")) {
		attach_remove_socket(path, SOCK_STREAM);
		return;
	}
	snprintf(port, sizeof(port), "%s_1026", path);
	attach_remove_socket(port, SOCK_STREAM);
	items = doc_array(maps, "items", &n);
	for (size_t i = 0; i < n; i++) {
		snprintf(port, sizeof(port), "%s_%s", path,
			doc_text(json_object_array_get_idx(items, i), "port"));
		attach_remove_socket(port, SOCK_STREAM);
	}
}

static int vm_delete(struct cli *cli, const struct args *args)
{
	const char *name = args->words[0];
	struct answer vm = {0}, forwards = {0}, maps = {0};
	int status;

	status = http_send(cli, "GET", http_path("vms", name, NULL), NULL, &vm);
	if (!status)
		status = http_send(
			cli, "GET", http_path("vms", name, "forwards", NULL), NULL, &forwards);
	if (!status)
		status = http_send(cli, "GET", http_path("vms", name, "maps", NULL), NULL, &maps);
	if (!status)
		status = http_call(cli, "DELETE", http_path("vms", name, NULL), NULL, NULL);
	if (!status)
		remove_sockets(vm.body, forwards.body, maps.body);
	http_answer_free(&vm);
	http_answer_free(&forwards);
	http_answer_free(&maps);
	return status;
}

static const struct command commands[] = {
	{
		.name = "create",
		.usage = "NAME [--link KIND] [OPTION]...",
		.summary = "Make a VM's network",
		.example = "netctl vm create web --link stream --vsock vhost --forward 8080:80",
		.options = vm_create_options,
		.min_words = 1,
		.max_words = 1,
		.run = vm_create,
		.notes = vm_create_notes,
	},
	{
		.name = "list",
		.usage = "",
		.summary = "List the VMs",
		.example = "netctl vm list",
		.run = vm_list,
	},
	{
		.name = "show",
		.usage = "NAME",
		.summary = "Show all of one VM",
		.example = "netctl -o json vm show web",
		.min_words = 1,
		.max_words = 1,
		.run = vm_show,
	},
	{
		.name = "set",
		.usage = "NAME OPTION...",
		.summary =
			"Change settings of a VM, also while it runs: DNS, policy, proxy, limits",
		.example = "netctl vm set web --rate-in 100mbit --no-proxy corp.example",
		.options = vm_set_options,
		.min_words = 1,
		.max_words = 1,
		.run = vm_set,
		.notes =
			"What is not given stays as it is; --dns and --search replace the lists, and\n"
			"with '' empty them; --ttl 0 is for ever. TCP connections that stand stay on their\n"
			"way, all else goes by the new proxy; a password goes with the proxy it was for.\n"
			"A RATE is a number and bit, kbit, mbit, gbit or tbit (powers of 1000) a second;\n"
			"\"none\" takes a limit away. Flows that go on are paced anew at once; none is ended.\n",
	},
	{
		.name = "restore",
		.usage = "NAME ID [--require-secrets]",
		.summary = "Bring a VM's network to what a snapshot recorded",
		.example = "netctl vm restore web 2caef81098ec7bfa",
		.options = vm_restore_options,
		.min_words = 2,
		.max_words = 2,
		.run = vm_restore,
		.notes =
			"Before the VMM lets the restored guest go. All of the record is restored, or\n"
			"nothing and what is in the way is named (exit status 4): a host port that\n"
			"somebody else has, another subnet. The VM keeps its link, its vsock's paths\n"
			"and CID, and its secrets; those that it lacks are told.\n",
	},
	{
		.name = "reset",
		.usage = "NAME",
		.summary = "End a guest's life: its connections, listeners, lease and names",
		.example = "netctl vm reset web",
		.min_words = 1,
		.max_words = 1,
		.run = vm_reset,
		.notes =
			"For a VM that is used again: when the command returns, nothing of what was\n"
			"before reaches the next guest. Link, forwards, maps, policy, hosts and\n"
			"environment stay. A worker of an older release is replaced.\n",
	},
	{
		.name = "delete",
		.usage = "NAME",
		.summary = "Delete a VM's network: its worker, forwards and records",
		.example = "netctl vm delete web",
		.min_words = 1,
		.max_words = 1,
		.run = vm_delete,
	},
	{0},
};

const struct noun noun_vm = {
	"vm", "VMs: create, list, show, set, restore, reset, delete", commands};
