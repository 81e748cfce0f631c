/* SPDX-License-Identifier: MIT */
/* netctl policy: where a guest may go. */
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/table.h"
#include "cli/vm_body.h"
#include "common/addr.h"

#include <stdlib.h>
#include <string.h>

static char *http_policy(const char *vm)
{
	return http_path("vms", vm, "policy", NULL);
}

/* "any", or the elements of a list; a bare string is itself. */
static char *list_text(struct json_object *list, char *buf, size_t len)
{
	if (json_object_is_type(list, json_type_string))
		snprintf(buf, len, "%s", json_object_get_string(list));
	else
		doc_join(list, buf, len);
	if (!*buf)
		snprintf(buf, len, "any");
	return buf;
}

static void print_policy(const struct cli *cli, struct json_object *policy)
{
	static const char *const headings[] = {">RULE", "!ACTION", "TO", "PORTS", "PROTO", NULL};
	struct table *table;
	struct json_object *rules;
	char clean[64];
	size_t n;

	if (json_object_is_type(policy, json_type_string))
		printf("preset %s\n",
			cli_clean(json_object_get_string(policy), clean, sizeof(clean)));
	else if (*doc_text(policy, "preset"))
		printf("preset %s\n", cli_clean(doc_text(policy, "preset"), clean, sizeof(clean)));
	else
		printf("default %s\n",
			cli_clean(doc_text(policy, "default"), clean, sizeof(clean)));
	rules = doc_array(policy, "rules", &n);
	if (!n)
		return;
	table = table_new(headings);
	for (size_t i = 0; i < n; i++) {
		struct json_object *rule = json_object_array_get_idx(rules, i);
		char number[24], to[512], ports[256];

		snprintf(number, sizeof(number), "%zu", i);
		table_row(table, number, doc_text(rule, "action"),
			list_text(doc_get(rule, "to"), to, sizeof(to)),
			list_text(doc_get(rule, "ports"), ports, sizeof(ports)),
			*doc_text(rule, "proto") ? doc_text(rule, "proto") : "any");
	}
	table_print(table, stdout, cli->colour);
	table_free(table);
}

static int policy_show(struct cli *cli, const struct args *args)
{
	struct json_object *policy;
	int status = http_call(cli, "GET", http_policy(args->words[0]), NULL, &policy);

	if (status)
		return status;
	if (cli->output == OUTPUT_JSON)
		doc_print(policy, stdout);
	else
		print_policy(cli, policy);
	json_object_put(policy);
	return STATUS_OK;
}

static int policy_set(struct cli *cli, const struct args *args)
{
	struct json_object *policy;
	int status = policy_load(cli, args->words[1], &policy);

	if (status)
		return status;
	return http_call(cli, "PUT", http_policy(args->words[0]), policy, NULL);
}

/* "443", "80,443", "8000-8100/tcp", "/udp". Adds ports and proto to the rule. */
static int take_ports(const struct cli *cli, struct json_object *rule, const char *text)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct json_object *ports = json_object_new_array();

	for (const char *p = text; p < text + len;) {
		size_t part = strcspn(p, ",");

		if (part > (size_t)(text + len - p))
			part = (size_t)(text + len - p);
		if (!part || strspn(p, "0123456789-") < part) {
			json_object_put(ports);
			return cli_usage_error(cli,
				"ports \"%s\": PORT[-PORT][,…][/tcp|/udp|/icmp] is wanted", text);
		}
		json_object_array_add(ports, json_object_new_string_len(p, (int)part));
		p += part;
		p += p < text + len && *p == ',';
	}
	if (json_object_array_length(ports))
		json_object_object_add(rule, "ports", ports);
	else
		json_object_put(ports);
	if (!slash)
		return 0;
	if (strcmp(slash, "/tcp") && strcmp(slash, "/udp") && strcmp(slash, "/icmp"))
		return cli_usage_error(
			cli, "\"%s\": the protocols are tcp, udp and icmp", slash + 1);
	doc_put_text(rule, "proto", slash + 1);
	return 0;
}

/* The policy with one more rule before its others. A bare preset becomes a document. */
static struct json_object *with_rule(struct json_object *policy, struct json_object *rule)
{
	struct json_object *rules = json_object_new_array(), *old, *out = policy;
	size_t n;

	if (json_object_is_type(policy, json_type_string)) {
		out = json_object_new_object();
		doc_put_text(out, "preset", json_object_get_string(policy));
		json_object_put(policy);
	}
	json_object_array_add(rules, rule);
	old = doc_array(out, "rules", &n);
	for (size_t i = 0; i < n; i++)
		json_object_array_add(rules, json_object_get(json_object_array_get_idx(old, i)));
	json_object_object_add(out, "rules", rules);
	return out;
}

static int add_rule(struct cli *cli, const struct args *args, const char *action)
{
	const char *vm = args->words[0], *to = args->words[1];
	struct json_object *rule = json_object_new_object(), *list, *policy;
	int status = 0;

	doc_put_text(rule, "action", action);
	if (strcmp(to, "any") != 0) {
		list = json_object_new_array();
		json_object_array_add(list, json_object_new_string(to));
		json_object_object_add(rule, "to", list);
	}
	if (args->n_words > 2)
		status = take_ports(cli, rule, args->words[2]);
	if (!status)
		status = http_call(cli, "GET", http_policy(vm), NULL, &policy);
	if (status) {
		json_object_put(rule);
		return status;
	}
	return http_call(cli, "PUT", http_policy(vm), with_rule(policy, rule), NULL);
}

static int policy_allow(struct cli *cli, const struct args *args)
{
	return add_rule(cli, args, "allow");
}

static int policy_deny(struct cli *cli, const struct args *args)
{
	return add_rule(cli, args, "deny");
}

static int policy_check(struct cli *cli, const struct args *args)
{
	const char *word = args->words[1], *at = word, *proto = "tcp", *escape;
	struct json_object *body, *verdict;
	char addr[ADDR_STRLEN], clean[256];
	struct endpoint dst;
	int status;

	if (!strncmp(word, "tcp:", 4) || !strncmp(word, "udp:", 4)) {
		proto = *word == 't' ? "tcp" : "udp";
		at = word + 4;
	}
	if (endpoint_parse(at, &dst) < 0)
		return cli_usage_error(
			cli, "\"%s\": [tcp:|udp:]ADDR:PORT is wanted, as 1.2.3.4:443", word);
	body = json_object_new_object();
	doc_put_text(body, "to", addr_format(&dst.addr, addr, sizeof(addr)));
	doc_put_int(body, "port", dst.port);
	doc_put_text(body, "proto", proto);
	status = http_call(cli, "POST", http_path("vms", args->words[0], "policy", "check", NULL),
		body, &verdict);
	if (status)
		return status;
	if (cli->output == OUTPUT_JSON) {
		doc_print(verdict, stdout);
	} else {
		escape = cli->colour ? table_colour(doc_text(verdict, "verdict")) : NULL;
		printf("%s%s%s by %s", escape ? escape : "", doc_text(verdict, "verdict"),
			escape ? "\033[0m" : "", doc_text(verdict, "by"));
		if (doc_get(verdict, "rule"))
			printf(" %s", doc_text(verdict, "rule"));
		if (*doc_text(verdict, "text"))
			printf(": %s", cli_clean(doc_text(verdict, "text"), clean, sizeof(clean)));
		printf("\n");
	}
	json_object_put(verdict);
	return STATUS_OK;
}

static const char rule_notes[] =
	"The rule goes before all others; the first that matches decides. TO is an address, a\n"
	"prefix or any; PORTS[/PROTO] is like 443, 80,443, 8000-8100/tcp or /udp.\n";

static const char file_notes[] =
	"FILE (- is stdin) is a JSON document:\n"
	"  {\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.0/8\"],"
	"\"ports\":[\"443\"],\"proto\":\"tcp\"}]}\n"
	"with \"preset\" in the place of \"default\" to build upon open, public or none.\n";

static const struct command commands[] = {
	{
		.name = "show",
		.usage = "VM",
		.summary = "Show a VM's policy",
		.example = "netctl policy show web",
		.min_words = 1,
		.max_words = 1,
		.run = policy_show,
	},
	{
		.name = "set",
		.usage = "VM FILE|PRESET",
		.summary = "Give a VM another policy, a file's or a preset",
		.example = "netctl policy set web none",
		.min_words = 2,
		.max_words = 2,
		.run = policy_set,
		.notes = file_notes,
	},
	{
		.name = "allow",
		.usage = "VM TO [PORTS[/PROTO]]",
		.summary = "Put a rule that allows before all others",
		.example = "netctl policy allow web 10.1.0.0/16 5432/tcp",
		.min_words = 2,
		.max_words = 3,
		.run = policy_allow,
		.notes = rule_notes,
	},
	{
		.name = "deny",
		.usage = "VM TO [PORTS[/PROTO]]",
		.summary = "Put a rule that denies before all others",
		.example = "netctl policy deny web 192.0.2.7 25",
		.min_words = 2,
		.max_words = 3,
		.run = policy_deny,
		.notes = rule_notes,
	},
	{
		.name = "check",
		.usage = "VM [tcp:|udp:]ADDR:PORT",
		.summary = "Say whether a VM may go there, and which rule decides",
		.example = "netctl policy check web tcp:10.1.2.3:443",
		.min_words = 2,
		.max_words = 2,
		.run = policy_check,
	},
	{0},
};

const struct noun noun_policy = {
	"policy", "Where a guest may go: show, set, allow, deny, check", commands};
