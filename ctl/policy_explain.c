/* SPDX-License-Identifier: MIT */
/*
 * Why a policy says what it says of a destination: the rule, the name through which it matched, or
 * the default.
 *
 * A question by name alone is judged with an address of 198.51.100.0/24, which is nobody's
 * (RFC 5737) and which rules by prefix are hardly about: what comes out is what names decide.
 */
#include "ctl/policy.h"

#include "ctl/json_read.h"

#include <stdio.h>
#include <string.h>

#define DNS_PORT 53
#define SOME_ADDR 0xc6336401u /* 198.51.100.1 */

static int read_name(
	const char *text, const char *field, struct policy_question *q, struct error *err)
{
	if (policy_name_parse(text, q->name) == 0 && q->name[0] != '*')
		return 0;
	return error_set(err, 400, field, "neither an IP address nor a name");
}

int policy_question_read(struct json_object *doc, struct policy_question *q, struct error *err)
{
	static const char *const fields[] = {"to", "port", "proto", "name", NULL};
	const char *to = NULL, *name = NULL;
	int64_t port = 0;
	int got;

	*q = (struct policy_question){.proto = POLICY_PROTO_TCP};
	if (json_only(doc, "", fields, err) < 0)
		return -1;
	got = json_get_string(doc, "", "to", &to, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "to", err);
	if (json_get_string(doc, "", "name", &name, err) < 0)
		return -1;
	q->by_name = addr_parse(to, &q->to) < 0;
	if (q->by_name) {
		q->to = addr_from_v4(SOME_ADDR);
		if (name)
			return error_set(err, 400, "name", "to is a name already");
		if (read_name(to, "to", q, err) < 0)
			return -1;
	} else if (name && read_name(name, "name", q, err) < 0) {
		return -1;
	}
	if (policy_read_proto(doc, "", &q->proto, err) < 0)
		return -1;
	got = json_get_int(doc, "", "port", 0, 65535, &port, err);
	if (got < 0)
		return -1;
	if (!got && q->proto != POLICY_PROTO_ICMP)
		return json_missing("", "port", err);
	q->port = (uint16_t)port;
	return 0;
}

struct names {
	const char *own; /* or "" */
	const char *const *list;
	size_t n;
};

/* Whether anybody's word will do for the address: names_admit() of the worker has filtered the others. */
static bool own_counts(const void *table, const struct policy_question *q)
{
	const struct policy_flow flow = {.proto = q->proto, .addr = &q->to, .port = q->port};

	return q->by_name || q->vouched || policy_table_any_name_counts(table, &flow);
}

static bool admit(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	const struct names *names = log;

	(void)flow;
	if (*names->own && match(arg, names->own))
		return true;
	for (size_t i = 0; i < names->n; i++) {
		if (match(arg, names->list[i]))
			return true;
	}
	return false;
}

static const char *by_text(int32_t by)
{
	return by >= 0                        ? "rule"
		: by == POLICY_BY_PRESET      ? "preset"
		: by == POLICY_BY_HOST_ACCESS ? "host_access"
					      : "default";
}

/* Without a rule: what decides then. */
static int other_text(
	char *text, size_t len, const struct policy *policy, const struct policy_verdict *v)
{
	const char *did = v->allow ? "allowed" : "denied", *preset = policy_preset(policy);

	if (v->by == POLICY_BY_PRESET)
		return snprintf(text, len, "%s by the preset %s", did, preset ? preset : "");
	if (v->by == POLICY_BY_HOST_ACCESS)
		return snprintf(text, len, "%s",
			v->allow
				? "allowed: host_access leads the gateway address to the host's loopback"
				: "denied: only host_access leads to the host's loopback");
	return snprintf(text, len, "%s by default", did);
}

static const char *name_text(const struct policy_verdict *v, const struct policy_question *q)
{
	if (!v->allow && q->proto == POLICY_PROTO_UDP && q->port == 443)
		return "; UDP 443 is refused under a name that is verified, so that clients use TCP";
	if (!v->allow)
		return "";
	return v->verify_strict ? "; what the guest sends must name a server that is allowed, too"
				: "; what the guest sends is not looked at (verify dns)";
}

/* What the guest's DNS makes of the question, whatever the verdict on a flow. */
static void add_dns_text(char *text, size_t len, const void *table, const struct addr *gateway,
	const struct policy_question *q)
{
	bool has_names = policy_table_has_names(table);

	if (q->port == DNS_PORT && q->proto != POLICY_PROTO_ICMP &&
		(has_names || addr_eq(&q->to, gateway)))
		snprintf(text + strlen(text), len - strlen(text),
			"; port 53 there is answered by the guest's own DNS all the same");
	if (*q->name && has_names && !q->dns_answers && !policy_table_name_possible(table, q->name))
		snprintf(text + strlen(text), len - strlen(text),
			"; the guest's DNS says that %s does not exist", q->name);
}

static void explain(char *text, size_t len, const struct policy *policy, const void *table,
	const struct policy_question *q, const struct policy_verdict *v, size_t n_names)
{
	if (v->by_name)
		snprintf(text, len, "%s by rule %d through the name %s%s",
			v->allow ? "allowed" : "denied", (int)v->by, v->name, name_text(v, q));
	else if (v->by >= 0)
		snprintf(text, len, "%s by rule %d", v->allow ? "allowed" : "denied", (int)v->by);
	else if (other_text(text, len, policy, v) >= 0 && v->by != POLICY_BY_HOST_ACCESS &&
		policy_table_has_names(table) && !n_names)
		snprintf(text + strlen(text), len - strlen(text), "; %s",
			*q->name ? "a private address: a name does not admit it"
				 : "the guest was given no name for this address");
}

static struct json_object *names_json(const struct names *names)
{
	struct json_object *list = json_object_new_array();

	if (*names->own)
		json_object_array_add(list, json_object_new_string(names->own));
	for (size_t i = 0; i < names->n; i++)
		json_object_array_add(list, json_object_new_string(names->list[i]));
	return list;
}

struct json_object *policy_explain(const struct policy *policy, const void *table,
	const struct addr *gateway, bool host_access, const struct policy_question *q,
	const char *const *names, size_t n_names)
{
	struct names all = {own_counts(table, q) ? q->name : "", names, n_names};
	struct policy_names lister = {admit, &all};
	struct policy_verdict v = policy_table_judge(
		table, gateway, host_access, q->proto, &q->to, q->port, &lister);
	struct json_object *doc = json_object_new_object();
	char text[1024];

	explain(text, sizeof(text), policy, table, q, &v, n_names + (*all.own != '\0'));
	add_dns_text(text, sizeof(text), table, gateway, q);
	json_put_string(doc, "verdict", v.allow ? "allow" : "deny");
	json_put_string(doc, "by", by_text(v.by));
	json_object_object_add(doc, "rule", v.by >= 0 ? json_object_new_int(v.by) : NULL);
	json_put_string(doc, "name", v.name);
	json_put_string(doc, "verify",
		!v.allow || !v.by_name    ? NULL
			: v.verify_strict ? "strict"
					  : "dns");
	json_object_object_add(doc, "names", names_json(&all));
	json_put_string(doc, "text", text);
	return doc;
}
