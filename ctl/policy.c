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
#define PRESET_RULES_MAX (POLICY_PRESET_RULES_MAX + 1) /* with that for fake addresses */

struct policy {
	struct json_object *doc;
	bool has_preset;
	enum policy_preset preset;
	bool fake_ip;
	bool default_allow;
	struct policy_rule *rules; /* room for a preset's behind them */
	size_t n_rules;
};

static int bad_name(int status, const char *field, const char *text, struct error *err)
{
	if (status == -EILSEQ)
		return error_set(err, 400, field, "the ASCII form of the name is wanted (xn--...)");
	if (status == -EDOM)
		return error_set(err, 400, field,
			"\"%.64s\": * is the whole left-most label, as in *.example.com", text);
	return error_set(
		err, 400, field, "\"%.64s\" is not ADDRESS, ADDRESS/BITS, NAME or *.NAME", text);
}

/* An address, a prefix or a name. */
static int read_to_item(
	const char *text, const char *field, struct prefix *prefix, char *name, struct error *err)
{
	int status;

	*name = '\0';
	if (prefix_parse(text, false, prefix) == 0)
		return 0;
	if (prefix_parse(text, true, prefix) == 0)
		return error_set(err, 400, field, "\"%.64s\" has host bits set", text);
	status = policy_name_parse(text, name);
	return status < 0 ? bad_name(status, field, text, err) : 0;
}

/* Room for as many as the list has of both kinds. */
static int new_to(struct policy_rule *rule, size_t n, struct prefix **to, char ***names)
{
	*to = calloc(n, sizeof(**to));
	*names = calloc(n, sizeof(**names));
	rule->to = *to;
	rule->names = (const char *const *)*names;
	return *to && *names ? 0 : -1;
}

static int read_to(
	struct json_object *rule, const char *path, struct policy_rule *out, struct error *err)
{
	char where[FIELD_LEN], field[FIELD_LEN], name[POLICY_NAME_LEN], **names;
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
	if (new_to(out, n, &to, &names) < 0)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		json_path_at(field, sizeof(field), where, i);
		if (!json_object_is_type(item, json_type_string))
			return error_set(err, 400, field, "a string is wanted");
		if (read_to_item(json_object_get_string(item), field, &to[out->n_to], name, err) <
			0)
			return -1;
		if (!*name)
			out->n_to++;
		else if ((names[out->n_names] = strdup(name)))
			out->n_names++;
		else
			return error_set(err, 500, NULL, "out of memory");
	}
	return 0;
}

static int read_verify(
	struct json_object *rule, const char *path, struct policy_rule *out, struct error *err)
{
	const char *text = NULL;
	char field[FIELD_LEN];
	int got = json_get_string(rule, path, "verify", &text, err);

	if (got <= 0)
		return got;
	json_path(field, sizeof(field), path, "verify");
	if (!out->allow || !out->n_names)
		return error_set(err, 400, field, "only a rule that allows names is verified");
	out->verify_dns = strcmp(text, "dns") == 0;
	if (!out->verify_dns && strcmp(text, "strict") != 0)
		return error_set(err, 400, field, "\"%.32s\" is not strict or dns", text);
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

int policy_read_proto(struct json_object *obj, const char *path, uint8_t *proto, struct error *err)
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
	static const char *const fields[] = {"action", "to", "ports", "proto", "verify", NULL};
	int got;

	if (json_only(rule, path, fields, err) < 0)
		return -1;
	got = read_verdict(rule, path, "action", &out->allow, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "action", err);
	if (policy_read_proto(rule, path, &out->proto, err) < 0 ||
		read_to(rule, path, out, err) < 0 || read_verify(rule, path, out, err) < 0)
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
	policy->rules = calloc(n + PRESET_RULES_MAX, sizeof(*policy->rules));
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

/* The document itself, which nobody changes any more; where it has no rules a copy with none. */
static struct json_object *with_rules(struct json_object *doc)
{
	struct json_object *copy = NULL;

	if (!json_object_is_type(doc, json_type_object) ||
		json_object_object_get_ex(doc, "rules", NULL))
		return json_object_get(doc);
	json_object_deep_copy(doc, &copy, NULL);
	json_object_object_add(copy, "rules", json_object_new_array());
	return copy;
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
		policy->doc = with_rules(doc);
	if (read_doc(policy, path, err) == 0)
		return policy;
	policy_free(policy);
	return NULL;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->n_rules; i++) {
		for (size_t k = 0; k < policy->rules[i].n_names; k++)
			free((void *)(uintptr_t)policy->rules[i].names[k]);
		free((void *)(uintptr_t)policy->rules[i].names);
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

size_t policy_rules(const struct policy *policy)
{
	return policy->n_rules;
}

const char *policy_preset(const struct policy *policy)
{
	return policy->has_preset ? policy_preset_name(policy->preset) : NULL;
}

/* FNV-1a, 64 bits; 0 would be no number. */
uint64_t policy_number(const struct policy *policy)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *p = json_text(policy->doc); *p; p++)
		hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return hash ? hash : 1;
}

static bool has_names(const struct policy *policy)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		if (policy->rules[i].n_names)
			return true;
	}
	return false;
}

bool policy_uses_own_addrs(const struct policy *policy)
{
	return (policy->has_preset && policy->preset == POLICY_PUBLIC) || has_names(policy);
}

/* The preset's rules. With fake addresses those are allowed, but for the host's own, before the list
 * of what is not public. */
static size_t add_preset(const struct policy *policy, const struct prefix *own, size_t n_own,
	struct policy_rule *rules, bool *default_allow)
{
	static const struct prefix fake = {
		{{[10] = 0xff, [11] = 0xff, [12] = 198, [13] = 18}}, 96 + 15};
	size_t n = policy_preset_rules(policy->preset, own, n_own, rules, default_allow);

	if (!n || !policy->fake_ip)
		return n;
	memmove(rules + n, rules, sizeof(*rules)); /* the list, behind */
	if (n > 1)
		rules[0] = rules[1];
	rules[n - 1] = (struct policy_rule){
		.allow = true, .to = &fake, .n_to = 1, .by = POLICY_BY_PRESET};
	return n + 1;
}

void policy_set_fake_ip(struct policy *policy, bool fake_ip)
{
	policy->fake_ip = fake_ip;
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

	if (has_names(policy)) {
		in.own = own;
		in.n_own = n_own;
	}
	/* The struct is ours: what lies behind the rules is scratch for a preset's. */
	if (policy->has_preset) {
		in.n_rules += add_preset(
			policy, own, n_own, policy->rules + policy->n_rules, &in.default_allow);
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
