/* SPDX-License-Identifier: MIT */
/*
 * A VM's egress policy as its operator writes it, and its way to the flat table that workers use.
 *
 *	{"preset":"public","rules":[…]}     the rules first, then the preset's list
 *	{"default":"deny","rules":[…]}      the rules, then the default
 *	"public"                            short for {"preset":"public","rules":[]}
 *
 * A rule: {"action":"allow","to":["10.0.0.0/8"],"ports":["443","8000-8100"],"proto":"tcp"}; `to`
 * absent is any address, `ports` absent all, `proto` absent any. Names in `to` come later.
 */
#ifndef CTL_POLICY_H
#define CTL_POLICY_H

#include "common/addr.h"
#include "common/error.h"
#include "common/policy_table.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define POLICY_RULES_MAX 4096

struct policy;

/* path is where doc lies in its request ("" or "policy"). doc NULL is the preset `public`. A fresh
 * struct, or NULL with err filled. */
struct policy *policy_read(struct json_object *doc, const char *path, struct error *err);
void policy_free(struct policy *policy);
/* As it was written; the policy's own. */
struct json_object *policy_doc(const struct policy *policy);
/* Whether the host's own addresses matter to it. */
bool policy_uses_own_addrs(const struct policy *policy);

/* A table that the caller frees; own are the addresses of the host's interfaces. 0 or -1. */
int policy_compile(const struct policy *policy, const char *path, const struct prefix *own,
	size_t n_own, uint8_t **table, size_t *len, struct error *err);

/*
 * Explains a verdict: {"to":…,"port":…,"proto":…} in, {"verdict","by","rule","text"} out. NULL
 * with err filled.
 */
struct json_object *policy_explain(const struct policy *policy, const void *table,
	const struct addr *gateway, bool host_access, struct json_object *question,
	struct error *err);

#endif
