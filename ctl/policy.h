/* SPDX-License-Identifier: MIT */
/*
 * A VM's egress policy as its operator writes it, and its way to the flat table that workers use.
 *
 *	{"preset":"public","rules":[…]}     the rules first, then the preset's list
 *	{"default":"deny","rules":[…]}      the rules, then the default
 *	"public"                            short for {"preset":"public","rules":[]}
 *
 * A rule: {"action":"allow","to":["10.0.0.0/8","*.example.com"],"ports":["443","8000-8100"],
 * "proto":"tcp","verify":"strict"}; `to` absent is any address, `ports` absent all, `proto` absent
 * any. `to` has addresses, prefixes and names (common/policy_table.h says what a wildcard is);
 * `verify` is for names in rules that allow: strict (as absent) or dns.
 */
#ifndef CTL_POLICY_H
#define CTL_POLICY_H

#include "common/addr.h"
#include "common/error.h"
#include "common/policy_table.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define POLICY_RULES_MAX 16384

struct policy;

/* path is where doc lies in its request ("" or "policy"). doc NULL is the preset `public`; else it is
 * kept, so nobody may change it any more. A fresh struct, or NULL with err filled. */
struct policy *policy_read(struct json_object *doc, const char *path, struct error *err);
void policy_free(struct policy *policy);
/* As it was written; the policy's own. */
struct json_object *policy_doc(const struct policy *policy);
/* Whether the host's own addresses matter to it. */
bool policy_uses_own_addrs(const struct policy *policy);

/* Whether 198.18.0.0/15 stands for names, so that `public` allows it; until told it does not. */
void policy_set_fake_ip(struct policy *policy, bool fake_ip);

/* A table that the caller frees; own are the addresses of the host's interfaces. 0 or -1. */
int policy_compile(const struct policy *policy, const char *path, const struct prefix *own,
	size_t n_own, uint8_t **table, size_t *len, struct error *err);

size_t policy_rules(const struct policy *policy);
const char *policy_preset(const struct policy *policy); /* its name, or NULL */
/* A number of what was written, the same for the same document; never 0. */
uint64_t policy_number(const struct policy *policy);
/* "proto" of an object: 1 and *proto, 0 where it is absent, -1. */
int policy_read_proto(struct json_object *obj, const char *path, uint8_t *proto, struct error *err);

/* ---- why (policy_explain.c) ---- */

/* May a guest go there? */
struct policy_question {
	struct addr to;
	char name[POLICY_NAME_LEN]; /* under which it is asked, or "" */
	bool by_name;               /* `to` was a name: some address that no prefix is about */
	uint16_t port;
	uint8_t proto;
	/* Not asked, but of the VM, for policy_explain(): */
	bool vouched; /* its hosts, or fake addresses, give `to` this name: a private one, too */
	bool dns_answers; /* its DNS answers for the name though no rule could admit it */
};

/* {"to":ADDRESS or NAME,"port":…,"proto":…,"name":…}: 0 or -1. */
int policy_question_read(
	struct json_object *doc, struct policy_question *question, struct error *err);

/*
 * The verdict and what gave it, where the guest was given the address under these names (of the
 * name log; the question's own is another): {"verdict","by","rule","name","verify","names","text"}.
 */
struct json_object *policy_explain(const struct policy *policy, const void *table,
	const struct addr *gateway, bool host_access, const struct policy_question *question,
	const char *const *names, size_t n_names);

#endif
