/* SPDX-License-Identifier: MIT */
/* Egress policies. See policy.h. */
#include "ctl/policy.h"

#include "ctl/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TO_MAX 1024
#define PORTS_MAX 256

struct policy {
	struct json_object *doc;
	bool has_preset;
	enum policy_preset preset;
	bool default_allow;
	struct policy_rule *rules; /* room for a preset's behind them */
	size_t n_rules;
};

static int read_to(
	struct json_object *rule, const char *path, struct policy_rule *out, struct error *err)
{
	char where[FIELD_LEN], field[FIELD_LEN];
	struct json_object *list = NULL;
	struct prefix *to;
	int got = json_get_array(rule, path, "to", TO_MAX, &list, err);
	size_t n;

	if (got <= 0)
		return got;
	json_path(where, sizeof(where), path, "to");
	n = json_object_array_length(list);
	if (!n)
		return error_set(err, 400, where,
			"an empty list matches nothing; leave it out for any address");
	to = calloc(n, sizeof(*to));
	out->to = to;
	if (!to)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		const char *text = json_object_get_string(item);

		json_path_at(field, sizeof(field), where, i);
		if (!json_object_is_type(item, json_type_string))
			return error_set(err, 400, field, "a string is wanted");
		if (prefix_parse(text, false, &to[i]) == 0)
			continue;
		if (prefix_parse(text, true, &to[i]) == 0)
			return error_set(err, 400, field, "\"%.64s\" has host bits set", text);
		if (strpbrk(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ*") &&
			!strchr(text, ':') && !strchr(text, '/'))
			return error_set(
				err, 400, field, "\"%.64s\": names are not supported yet", text);
		return error_set(err, 400, field, "\"%.64s\" is not ADDRESS or ADDRESS/BITS", text);
	}
	out->n_to = n;
	return 0;
}

static int read_port(const char **text, uint16_t *port)
{
	unsigned long v = 0;
	int digits = 0;

	for (; **text >= '0' && **text <= '9' && digits < 6; (*text)++, digits++)
		v = v * 10 + (unsigned long)(**text - '0');
	if (!digits || v > 65535)
		return -EINVAL;
	*port = (uint16_t)v;
	return 0;
}

/* "443" or "8000-8100". */
static int read_ports_item(const char *text, struct policy_ports *out)
{
	if (read_port(&text, &out->lo) < 0)
		return -EINVAL;
	out->hi = out->lo;
	if (*text == '-') {
		text++;
		if (read_port(&text, &out->hi) < 0)
			return -EINVAL;
	}
	return *text || out->lo > out->hi ? -EINVAL : 0;
}

static int read_ports(
	struct json_object *rule, const char *path, struct policy_rule *out, struct error *err)
{
	char where[FIELD_LEN], field[FIELD_LEN];
	struct json_object *list = NULL;
	struct policy_ports *ports;
	int got = json_get_array(rule, path, "ports", PORTS_MAX, &list, err);
	size_t n;

	if (got <= 0)
		return got;
	json_path(where, sizeof(where), path, "ports");
	n = json_object_array_length(list);
	if (!n)
		return error_set(err, 400, where,
			"an empty list matches nothing; leave it out for all ports");
	ports = calloc(n, sizeof(*ports));
	out->ports = ports;
	if (!ports)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		json_path_at(field, sizeof(field), where, i);
		if (!json_object_is_type(item, json_type_string) ||
			read_ports_item(json_object_get_string(item), &ports[i]) < 0)
			return error_set(err, 400, field, "not \"PORT\" or \"PORT-PORT\"");
	}
	out->n_ports = n;
	if (out->proto == POLICY_PROTO_ICMP)
		return error_set(err, 400, where, "icmp has no ports");
	return 0;
}

static int proto_parse(const char *text, uint8_t *out)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} protos[] = {
		{"tcp", POLICY_PROTO_TCP}, {"udp", POLICY_PROTO_UDP}, {"icmp", POLICY_PROTO_ICMP}};

	for (size_t i = 0; i < 3; i++) {
		if (strcmp(text, protos[i].name) == 0) {
			*out = protos[i].proto;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_proto(struct json_object *obj, const char *path, uint8_t *proto, struct error *err)
{
	const char *text = NULL;
	char field[FIELD_LEN];
	int got = json_get_string(obj, path, "proto", &text, err);

	if (got > 0 && proto_parse(text, proto) < 0)
		return error_set(err, 400, json_path(field, sizeof(field), path, "proto"),
			"\"%.32s\" is not tcp, udp or icmp", text);
	return got;
}

/* "allow" or "deny" in `key`. 1, 0 where it is absent, or -1. */
static int read_verdict(
	struct json_object *obj, const char *path, const char *key, bool *allow, struct error *err)
{
	const char *text = NULL;
	char field[FIELD_LEN];
	int got = json_get_string(obj, path, key, &text, err);

	if (got <= 0)
		return got;
	*allow = strcmp(text, "allow") == 0;
	if (!*allow && strcmp(text, "deny") != 0)
		return error_set(err, 400, json_path(field, sizeof(field), path, key),
			"\"%.32s\" is not allow or deny", text);
	return 1;
}

static int read_rule(
	struct json_object *rule, const char *path, struct policy_rule *out, struct error *err)
{
	static const char *const fields[] = {"action", "to", "ports", "proto", NULL};
	int got;

	if (json_only(rule, path, fields, err) < 0)
		return -1;
	got = read_verdict(rule, path, "action", &out->allow, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "action", err);
	if (read_proto(rule, path, &out->proto, err) < 0 || read_to(rule, path, out, err) < 0)
		return -1;
	return read_ports(rule, path, out, err);
}

static int read_rules(struct policy *policy, const char *path, struct error *err)
{
	char where[FIELD_LEN], at[FIELD_LEN];
	struct json_object *list = NULL;
	size_t n = 0;
	int got = json_get_array(policy->doc, path, "rules", POLICY_RULES_MAX, &list, err);

	if (got < 0)
		return -1;
	if (got)
		n = json_object_array_length(list);
	policy->rules = calloc(n + POLICY_PRESET_RULES_MAX, sizeof(*policy->rules));
	if (!policy->rules)
		return error_set(err, 500, NULL, "out of memory");
	json_path(where, sizeof(where), path, "rules");
	for (size_t i = 0; i < n; i++) {
		struct policy_rule *rule = &policy->rules[policy->n_rules++];

		rule->by = (int32_t)i;
		json_path_at(at, sizeof(at), where, i);
		if (read_rule(json_object_array_get_idx(list, i), at, rule, err) < 0)
			return -1;
	}
	return 0;
}

static int read_doc(struct policy *policy, const char *path, struct error *err)
{
	static const char *const fields[] = {"preset", "default", "rules", NULL};
	const char *preset = NULL;
	char field[FIELD_LEN];
	int got;

	if (json_only(policy->doc, path, fields, err) < 0)
		return -1;
	if (json_get_string(policy->doc, path, "preset", &preset, err) < 0)
		return -1;
	got = read_verdict(policy->doc, path, "default", &policy->default_allow, err);
	if (got < 0)
		return -1;
	json_path(field, sizeof(field), path, "preset");
	if (!preset == !got)
		return error_set(err, 400, field, "exactly one of preset and default is wanted");
	policy->has_preset = preset != NULL;
	if (preset && policy_preset_parse(preset, &policy->preset) < 0)
		return error_set(err, 400, field, "\"%.32s\" is not open, public or none", preset);
	return read_rules(policy, path, err);
}

static struct json_object *of_preset(const char *name)
{
	struct json_object *doc = json_object_new_object();

	json_put_string(doc, "preset", name);
	json_object_object_add(doc, "rules", json_object_new_array());
	return doc;
}

struct policy *policy_read(struct json_object *doc, const char *path, struct error *err)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	if (!doc)
		policy->doc = of_preset("public");
	else if (json_object_is_type(doc, json_type_string))
		policy->doc = of_preset(json_object_get_string(doc));
	else
		json_object_deep_copy(doc, &policy->doc, NULL);
	if (read_doc(policy, path, err) == 0) {
		if (!json_object_object_get_ex(policy->doc, "rules", NULL))
			json_object_object_add(policy->doc, "rules", json_object_new_array());
		return policy;
	}
	policy_free(policy);
	return NULL;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->n_rules; i++) {
		free((void *)(uintptr_t)policy->rules[i].to);
		free((void *)(uintptr_t)policy->rules[i].ports);
	}
	free(policy->rules);
	json_object_put(policy->doc);
	free(policy);
}

struct json_object *policy_doc(const struct policy *policy)
{
	return policy->doc;
}

bool policy_uses_own_addrs(const struct policy *policy)
{
	return policy->has_preset && policy->preset == POLICY_PUBLIC;
}

int policy_compile(const struct policy *policy, const char *path, const struct prefix *own,
	size_t n_own, uint8_t **table, size_t *len, struct error *err)
{
	struct policy_input in = {
		.rules = policy->rules,
		.n_rules = policy->n_rules,
		.default_allow = policy->default_allow,
		.default_by = POLICY_BY_DEFAULT,
	};
	char where[FIELD_LEN], field[FIELD_LEN] = "";
	size_t bad = (size_t)-1;
	int status;

	/* The struct is ours: what lies behind the rules is scratch for a preset's. */
	if (policy->has_preset) {
		in.n_rules += policy_preset_rules(policy->preset, own, n_own,
			policy->rules + policy->n_rules, &in.default_allow);
		in.default_by = POLICY_BY_PRESET;
	}
	status = policy_table_compile(&in, table, len, &bad);
	if (!status)
		return 0;
	if (bad < policy->n_rules)
		json_path_at(
			field, sizeof(field), json_path(where, sizeof(where), path, "rules"), bad);
	if (status == -EDOM)
		return error_set(err, 400, field,
			"an IPv6 prefix that embeds IPv4 addresses never matches: write the IPv4 prefix");
	if (status == -E2BIG)
		return error_set(err, 400, field, "the policy is too large");
	if (status == -EINVAL)
		return error_set(err, 400, field, "not a rule");
	return error_set(err, 500, field, "policy: %s", errno_text(status));
}

struct question {
	struct addr to;
	uint16_t port;
	uint8_t proto;
};

static int read_question(struct json_object *doc, struct question *q, struct error *err)
{
	static const char *const fields[] = {"to", "port", "proto", NULL};
	const char *to = NULL;
	int64_t port = 0;
	int got;

	if (json_only(doc, "", fields, err) < 0)
		return -1;
	got = json_get_string(doc, "", "to", &to, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "to", err);
	if (addr_parse(to, &q->to) < 0)
		return error_set(err, 400, "to", "\"%.64s\" is not an IP address", to);
	q->proto = POLICY_PROTO_TCP;
	if (read_proto(doc, "", &q->proto, err) < 0)
		return -1;
	got = json_get_int(doc, "", "port", 0, 65535, &port, err);
	if (got < 0)
		return -1;
	if (!got && q->proto != POLICY_PROTO_ICMP)
		return json_missing("", "port", err);
	q->port = (uint16_t)port;
	return 0;
}

struct json_object *policy_explain(const struct policy *policy, const void *table,
	const struct addr *gateway, bool host_access, struct json_object *question,
	struct error *err)
{
	struct question q = {.port = 0};
	struct policy_verdict judged;
	struct json_object *doc;
	char text[160];
	const char *by_name = "rule", *verdict;
	int32_t by = POLICY_BY_DEFAULT;
	bool allow;

	if (read_question(question, &q, err) < 0)
		return NULL;
	judged = policy_table_judge(
		table, gateway, host_access, q.proto, &q.to, q.port, NULL);
	allow = judged.allow;
	by = judged.by;
	verdict = allow ? "allow" : "deny";
	if (by >= 0) {
		snprintf(text, sizeof(text), "%s by rule %d", allow ? "allowed" : "denied", by);
	} else if (by == POLICY_BY_PRESET) {
		by_name = "preset";
		snprintf(text, sizeof(text), "%s by the preset %s", allow ? "allowed" : "denied",
			policy->has_preset ? policy_preset_name(policy->preset) : "");
	} else if (by == POLICY_BY_HOST_ACCESS) {
		by_name = "host_access";
		snprintf(text, sizeof(text),
			allow ? "allowed: host_access leads the gateway address to the host's loopback"
			      : "denied: only host_access leads to the host's loopback");
	} else {
		by_name = "default";
		snprintf(text, sizeof(text), "%s by default", allow ? "allowed" : "denied");
	}
	doc = json_object_new_object();
	json_put_string(doc, "verdict", verdict);
	json_put_string(doc, "by", by_name);
	json_object_object_add(doc, "rule", by >= 0 ? json_object_new_int(by) : NULL);
	json_put_string(doc, "text", text);
	return doc;
}
