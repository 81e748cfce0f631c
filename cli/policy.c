/* SPDX-License-Identifier: MIT */
/* netctl policy: where a guest may go. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/table.h"
#include "cli/vm_body.h"
#include "common/addr.h"
#include "common/policy_table.h"

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

static int read_port(const char **text, const char *end, unsigned *port)
{
	const char *p = *text;

	for (*port = 0; p < end && *p >= '0' && *p <= '9' && *port <= 65535; p++)
		*port = *port * 10 + (unsigned)(*p - '0');
	if (p == *text || *port > 65535)
		return -EINVAL;
	*text = p;
	return 0;
}

/* "443" or "8000-8100". */
static bool is_ports(const char *text, size_t len)
{
	const char *end = text + len;
	unsigned first, last;

	if (read_port(&text, end, &first) < 0)
		return false;
	last = first;
	if (text < end && *text == '-' && (text++, read_port(&text, end, &last) < 0))
		return false;
	return text == end && first <= last;
}

/* A name that a rule or a question can have; says so else. */
static int check_name(const struct cli *cli, const char *word, bool wildcard)
{
	char name[POLICY_NAME_LEN];

	if (policy_name_parse(word, name) == 0 && (wildcard || *name != '*'))
		return 0;
	for (const char *p = word; *p; p++)
		if ((unsigned char)*p >= 0x80)
			return cli_usage_error(
				cli, "\"%s\": a name is written in ASCII, as in xn--...", word);
	return cli_usage_error(cli, "\"%s\": %s is wanted", word,
		wildcard ? "an address, a prefix, a name, *.NAME or any" : "an address or a name");
}

static int check_to(const struct cli *cli, const char *word)
{
	struct prefix prefix;

	if (!strcmp(word, "any") || prefix_parse(word, false, &prefix) == 0)
		return 0;
	if (prefix_parse(word, true, &prefix) == 0)
		return cli_usage_error(cli, "\"%s\" has host bits set", word);
	return check_name(cli, word, true);
}

static int check_verify(const struct cli *cli, const char *how)
{
	if (!how || !strcmp(how, "strict") || !strcmp(how, "dns"))
		return 0;
	return cli_usage_error(cli, "--verify %s: strict or dns is wanted", how);
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
		if (!part || !is_ports(p, part)) {
			json_object_put(ports);
			return cli_usage_error(cli,
				"ports \"%s\": \"%.*s\" is no PORT or PORT-PORT of up to 65535",
				text, (int)part, p);
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
	int status = check_to(cli, to);

	if (!status)
		status = check_verify(cli, args_value(args, OPT_VERIFY));
	doc_put_text(rule, "action", action);
	if (strcmp(to, "any") != 0) {
		list = json_object_new_array();
		json_object_array_add(list, json_object_new_string(to));
		json_object_object_add(rule, "to", list);
	}
	if (args_has(args, OPT_VERIFY))
		doc_put_text(rule, "verify", args_value(args, OPT_VERIFY));
	if (!status && args->n_words > 2)
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

/* Takes "tcp:", "udp:" or "icmp:" off, tcp where there is none. */
static const char *take_proto(struct json_object *question, const char *word)
{
	static const char *const protos[] = {"tcp", "udp", "icmp"};

	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(protos[i]);

		if (!strncmp(word, protos[i], len) && word[len] == ':') {
			doc_put_text(question, "proto", protos[i]);
			return word + len + 1;
		}
	}
	doc_put_text(question, "proto", "tcp");
	return word;
}

/* "HOST" of ICMP, which has no port. */
static int take_host(const struct cli *cli, struct json_object *question, const char *word)
{
	struct endpoint dst;
	struct addr addr;
	int status = 0;

	if (addr_parse(word, &addr) < 0) {
		if (endpoint_parse(word, &dst) == 0 || strchr(word, ':'))
			return cli_usage_error(cli,
				"\"icmp:%s\": ICMP has no port; icmp:ADDRESS or icmp:NAME is wanted",
				word);
		status = check_name(cli, word, false);
	}
	doc_put_text(question, "to", word);
	return status;
}

static int lacks_port(const struct cli *cli, const char *word, const struct addr *addr)
{
	return cli_usage_error(cli,
		addr && !addr_is_v4(addr) ? "\"%s\": the port is wanted, as in [%s]:443"
					  : "\"%s\": the port is wanted, as in %s:443",
		word, word);
}

/* "HOST:PORT", HOST an address ([IPv6]) or a name. */
static int take_endpoint(const struct cli *cli, struct json_object *question, const char *word)
{
	char host[256], text[ADDR_STRLEN];
	const char *colon = strrchr(word, ':'), *digits;
	struct endpoint dst;
	unsigned port;

	if (endpoint_parse(word, &dst) == 0) {
		doc_put_text(question, "to", addr_format(&dst.addr, text, sizeof(text)));
		doc_put_int(question, "port", dst.port);
		return 0;
	}
	if (addr_parse(word, &dst.addr) == 0)
		return lacks_port(cli, word, &dst.addr);
	if (!colon)
		return lacks_port(cli, word, NULL);
	digits = colon + 1;
	if (read_port(&digits, digits + strlen(digits), &port) < 0 || *digits)
		return cli_usage_error(cli, "\"%s\": \"%s\" is no port", word, colon + 1);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - word), word);
	doc_put_text(question, "to", host);
	doc_put_int(question, "port", (long)port);
	return check_name(cli, host, false);
}

/* The verdict's word, and what the text says after its own. */
static void print_verdict(const struct cli *cli, struct json_object *verdict)
{
	const char *word = doc_text(verdict, "verdict"), *text = doc_text(verdict, "text");
	const char *escape = cli->colour ? table_colour(word) : NULL;
	char clean[1024];

	printf("%s%s%s%s\n", escape ? escape : "", word, escape ? "\033[0m" : "",
		cli_clean(text + strcspn(text, " :"), clean, sizeof(clean)));
}

static int policy_check(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *verdict;
	const char *word = take_proto(body, args->words[1]);
	int status = strcmp(doc_text(body, "proto"), "icmp") ? take_endpoint(cli, body, word)
							     : take_host(cli, body, word);

	if (!status && args->n_words > 2)
		status = check_name(cli, args->words[2], false);
	if (status) {
		json_object_put(body);
		return status;
	}
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
		.usage = "VM TO [PORTS[/PROTO]] [--verify strict|dns] [--cut-existing]",
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
		.usage = "VM [tcp:|udp:]HOST:PORT|icmp:HOST [NAME]",
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
