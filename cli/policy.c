/* SPDX-License-Identifier: MIT */
/* netctl policy: where a guest may go. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/table.h"
#include "cli/vm_body.h"
#include "common/addr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 64 /* to change a policy that others change, too */

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

static void print_head(struct json_object *policy)
{
	char clean[64];

	if (json_object_is_type(policy, json_type_string))
		printf("preset %s\n",
			cli_clean(json_object_get_string(policy), clean, sizeof(clean)));
	else if (*doc_text(policy, "preset"))
		printf("preset %s\n", cli_clean(doc_text(policy, "preset"), clean, sizeof(clean)));
	else
		printf("default %s\n",
			cli_clean(doc_text(policy, "default"), clean, sizeof(clean)));
}

/* How names of the rule are enforced: "" where it says nothing of that. */
static const char *verify_text(struct json_object *rule)
{
	return doc_text(rule, "verify");
}

static void print_policy(const struct cli *cli, struct json_object *policy)
{
	static const char *const headings[] = {
		">RULE", "!ACTION", "TO", "PORTS", "PROTO", "VERIFY", NULL};
	struct table *table;
	struct json_object *rules;
	size_t n;

	print_head(policy);
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
			*doc_text(rule, "proto") ? doc_text(rule, "proto") : "any",
			verify_text(rule));
	}
	table_print(table, stdout, cli->colour);
	table_free(table);
}

static void count_row(struct table *table, const char *rule, const char *action, const char *to,
	struct json_object *count)
{
	table_row(table, rule, action, to, doc_text(count, "flows"), doc_text(count, "tx_bytes"),
		doc_text(count, "rx_bytes"), doc_text(count, "refusals"));
}

/* Each rule and what else decides, with what it let through and refused. */
static void print_stats(
	const struct cli *cli, struct json_object *policy, struct json_object *stats)
{
	static const char *const headings[] = {
		">RULE", "!ACTION", "TO", ">FLOWS", ">TX BYTES", ">RX BYTES", ">REFUSED", NULL};
	static const char *const others[] = {"default", "preset", "host_access"};
	size_t n, n_counts;
	struct json_object *rules = doc_array(policy, "rules", &n);
	struct json_object *counts = doc_array(stats, "rules", &n_counts);
	struct table *table = table_new(headings);

	print_head(policy);
	for (size_t i = 0; i < n; i++) {
		struct json_object *rule = json_object_array_get_idx(rules, i);
		char number[24], to[512];

		snprintf(number, sizeof(number), "%zu", i);
		count_row(table, number, doc_text(rule, "action"),
			list_text(doc_get(rule, "to"), to, sizeof(to)),
			i < n_counts ? json_object_array_get_idx(counts, i) : NULL);
	}
	for (size_t i = 0; i < 3; i++)
		count_row(table, others[i], "", "", doc_get(stats, others[i]));
	table_print(table, stdout, cli->colour);
	table_free(table);
}

static int show_stats(struct cli *cli, const char *vm, struct json_object *policy)
{
	struct json_object *stats;
	int status = http_call(
		cli, "GET", http_path("vms", vm, "policy", "stats", NULL), NULL, &stats);

	if (status)
		return status;
	if (cli->output == OUTPUT_JSON)
		doc_print(stats, stdout);
	else
		print_stats(cli, policy, stats);
	json_object_put(stats);
	return STATUS_OK;
}

enum { OPT_STATS = 'S', OPT_CUT = 'C', OPT_VERIFY = 'V' };

static int policy_show(struct cli *cli, const struct args *args)
{
	struct json_object *policy;
	int status = http_call(cli, "GET", http_policy(args->words[0]), NULL, &policy);

	if (status)
		return status;
	if (args_has(args, OPT_STATS))
		status = show_stats(cli, args->words[0], policy);
	else if (cli->output == OUTPUT_JSON)
		doc_print(policy, stdout);
	else
		print_policy(cli, policy);
	json_object_put(policy);
	return status;
}

/* Where it is to be put. */
static char *put_path(const struct args *args)
{
	char *path = http_policy(args->words[0]);

	if (args_has(args, OPT_CUT)) {
		static const char query[] = "?cut_existing=1";
		size_t len = strlen(path);
		char *longer = realloc(path, len + sizeof(query));

		if (!longer)
			abort();
		memcpy(longer + len, query, sizeof(query));
		path = longer;
	}
	return path;
}

static int print_put(struct cli *cli, struct answer *answer)
{
	int status = http_result(cli, answer);

	if (!status && cli->output == OUTPUT_JSON)
		doc_print(answer->body, stdout);
	http_answer_free(answer);
	return status;
}

static int put_policy(struct cli *cli, const struct args *args, struct json_object *policy)
{
	struct answer answer;
	int status = http_send(cli, "PUT", put_path(args), policy, &answer);

	return status ? status : print_put(cli, &answer);
}

static int policy_set(struct cli *cli, const struct args *args)
{
	struct json_object *policy;
	int status = policy_load(cli, args->words[1], "", &policy);

	return status ? status : put_policy(cli, args, policy);
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

/* Before the rules that there are, unless others have changed them meanwhile: then -EAGAIN. rule stays the
 * caller's. */
static int try_rule(
	struct cli *cli, const struct args *args, struct json_object *rule, bool is_last_try)
{
	struct answer answer, put;
	struct json_object *policy;
	int status = http_send(cli, "GET", http_policy(args->words[0]), NULL, &answer);

	if (!status)
		status = http_result(cli, &answer);
	if (status) {
		http_answer_free(&answer);
		return status;
	}
	policy = with_rule(answer.body, json_object_get(rule)); /* takes the body */
	status = http_send_if(cli, "PUT", put_path(args), policy, answer.etag, &put);
	if (status)
		return status;
	if (put.status == 412 && !is_last_try) {
		http_answer_free(&put);
		return -EAGAIN;
	}
	return print_put(cli, &put);
}

/* Of several at a time one gets through each time. */
static int put_rule(struct cli *cli, const struct args *args, struct json_object *rule)
{
	int status = -EAGAIN;

	for (int tries = 1; status == -EAGAIN; tries++)
		status = try_rule(cli, args, rule, tries == TRIES_MAX);
	return status;
}

static int add_rule(struct cli *cli, const struct args *args, const char *action)
{
	const char *to = args->words[1];
	struct json_object *rule = json_object_new_object(), *list;
	int status = 0;

	doc_put_text(rule, "action", action);
	if (strcmp(to, "any") != 0) {
		list = json_object_new_array();
		json_object_array_add(list, json_object_new_string(to));
		json_object_object_add(rule, "to", list);
	}
	if (args_has(args, OPT_VERIFY))
		doc_put_text(rule, "verify", args_value(args, OPT_VERIFY));
	if (args->n_words > 2)
		status = take_ports(cli, rule, args->words[2]);
	if (!status)
		status = put_rule(cli, args, rule);
	json_object_put(rule);
	return status;
}

static int policy_allow(struct cli *cli, const struct args *args)
{
	return add_rule(cli, args, "allow");
}

static int policy_deny(struct cli *cli, const struct args *args)
{
	return add_rule(cli, args, "deny");
}

/* "[tcp:|udp:|icmp:]HOST[:PORT]", HOST an address ([IPv6]) or a name: to, port and proto of a
 * question. NULL: it is not that. */
static struct json_object *question_of(const char *word)
{
	static const char *const protos[] = {"tcp", "udp", "icmp"};
	struct json_object *body = json_object_new_object();
	char host[256], text[ADDR_STRLEN];
	const char *at = word, *proto = "tcp", *colon;
	struct endpoint dst;
	unsigned long port;
	char *end;

	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(protos[i]);

		if (!strncmp(word, protos[i], len) && word[len] == ':') {
			proto = protos[i];
			at = word + len + 1;
		}
	}
	doc_put_text(body, "proto", proto);
	if (endpoint_parse(at, &dst) == 0) {
		doc_put_text(body, "to", addr_format(&dst.addr, text, sizeof(text)));
		doc_put_int(body, "port", dst.port);
		return body;
	}
	if (!strcmp(proto, "icmp")) {
		doc_put_text(body, "to", at);
		return body;
	}
	colon = strrchr(at, ':');
	port = colon ? strtoul(colon + 1, &end, 10) : 0;
	if (!colon || colon == at || (size_t)(colon - at) >= sizeof(host) || end == colon + 1 ||
		*end || port > 65535) {
		json_object_put(body);
		return NULL;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(colon - at), at);
	doc_put_text(body, "to", host);
	doc_put_int(body, "port", (long)port);
	return body;
}

static void print_verdict(const struct cli *cli, struct json_object *verdict)
{
	const char *escape = cli->colour ? table_colour(doc_text(verdict, "verdict")) : NULL;
	char clean[512];

	printf("%s%s%s by %s", escape ? escape : "", doc_text(verdict, "verdict"),
		escape ? "\033[0m" : "", doc_text(verdict, "by"));
	if (doc_get(verdict, "rule"))
		printf(" %s", doc_text(verdict, "rule"));
	if (*doc_text(verdict, "text"))
		printf(": %s", cli_clean(doc_text(verdict, "text"), clean, sizeof(clean)));
	printf("\n");
}

static int policy_check(struct cli *cli, const struct args *args)
{
	struct json_object *body = question_of(args->words[1]), *verdict;
	int status;

	if (!body)
		return cli_usage_error(cli,
			"\"%s\": [tcp:|udp:]HOST:PORT or icmp:HOST is wanted, as 1.2.3.4:443",
			args->words[1]);
	if (args->n_words > 2)
		doc_put_text(body, "name", args->words[2]);
	status = http_call(cli, "POST", http_path("vms", args->words[0], "policy", "check", NULL),
		body, &verdict);
	if (status)
		return status;
	if (cli->output == OUTPUT_JSON)
		doc_print(verdict, stdout);
	else
		print_verdict(cli, verdict);
	json_object_put(verdict);
	return STATUS_OK;
}

static const char rule_notes[] =
	"The rule goes before all others; the first that matches decides. TO is an address, a\n"
	"prefix, a name, *.NAME (one label more) or any; PORTS[/PROTO] is like 443, 80,443,\n"
	"8000-8100/tcp or /udp. See netctl-policy(5).\n";

static const char check_notes[] =
	"HOST is an address, then the names count that the guest was given it under, or NAME\n"
	"alone; or HOST is a name. ICMP has no port.\n";

static const struct option show_options[] = {
	{OPT_STATS, 0, "stats", NULL, "what each rule let through and refused since it was set"},
	{0},
};

static const struct option set_options[] = {
	{OPT_CUT, 0, "cut-existing", NULL, "end flows that the new policy forbids"},
	{0},
};

static const struct option allow_options[] = {
	{OPT_VERIFY, 0, "verify", "strict|dns",
		"strict (the default): what the guest sends must name the server, too"},
	{OPT_CUT, 0, "cut-existing", NULL, "end flows that the new policy forbids"},
	{0},
};

static const char file_notes[] =
	"FILE (- is stdin) is a JSON document:\n"
	"  {\"default\":\"deny\",\"rules\":[{\"action\":\"allow\","
	"\"to\":[\"*.example.com\",\"10.0.0.0/8\"],\n"
	"    \"ports\":[\"443\"],\"proto\":\"tcp\",\"verify\":\"strict\"}]}\n"
	"with \"preset\" in the place of \"default\" to build upon open, public or none.\n";

static const struct command commands[] = {
	{
		.name = "show",
		.usage = "VM [--stats]",
		.summary = "Show a VM's policy, or what its rules let through and refused",
		.example = "netctl policy show web --stats",
		.options = show_options,
		.min_words = 1,
		.max_words = 1,
		.run = policy_show,
	},
	{
		.name = "set",
		.usage = "VM FILE|PRESET [--cut-existing]",
		.options = set_options,
		.summary = "Give a VM another policy, a file's or a preset",
		.example = "netctl policy set web none",
		.min_words = 2,
		.max_words = 2,
		.run = policy_set,
		.notes = file_notes,
	},
	{
		.name = "allow",
		.usage = "VM TO [PORTS[/PROTO]] [--verify strict|dns]",
		.summary = "Put a rule that allows before all others",
		.example = "netctl policy allow web '*.github.com' 443/tcp",
		.options = allow_options,
		.min_words = 2,
		.max_words = 3,
		.run = policy_allow,
		.notes = rule_notes,
	},
	{
		.name = "deny",
		.usage = "VM TO [PORTS[/PROTO]] [--cut-existing]",
		.options = set_options,
		.summary = "Put a rule that denies before all others",
		.example = "netctl policy deny web 192.0.2.7 25",
		.min_words = 2,
		.max_words = 3,
		.run = policy_deny,
		.notes = rule_notes,
	},
	{
		.name = "check",
		.usage = "VM [tcp:|udp:|icmp:]HOST[:PORT] [NAME]",
		.summary = "Say whether a VM may go there, and which rule and name decide",
		.example = "netctl policy check web api.github.com:443",
		.min_words = 2,
		.max_words = 3,
		.run = policy_check,
		.notes = check_notes,
	},
	{0},
};

const struct noun noun_policy = {
	"policy", "Where a guest may go: show, set, allow, deny, check", commands};
