/* SPDX-License-Identifier: MIT */
/* A VM's limits. See limits_config.h. */
#include "ctl/limits_config.h"

#include "ctl/json_read.h"

#include <string.h>

int limits_config_read(struct json_object *doc, struct vm_limits *config, struct error *err)
{
	static const char *const fields[] = {"rate_in", "rate_out", "max_flows", "new_flows", NULL};
	static const char path[] = "limits";
	struct json_object *limits = NULL;
	int64_t rate_in = 0, rate_out = 0, max_flows = 0, new_flows = 0;
	int got = json_get_object(doc, "", path, &limits, err);

	memset(config, 0, sizeof(*config));
	if (got <= 0)
		return got;
	if (json_only(limits, path, fields, err) < 0 ||
		json_get_int(limits, path, "rate_in", VM_RATE_MIN, VM_RATE_MAX, &rate_in, err) <
			0 ||
		json_get_int(limits, path, "rate_out", VM_RATE_MIN, VM_RATE_MAX, &rate_out, err) <
			0 ||
		json_get_int(limits, path, "max_flows", 1, VM_FLOWS_MAX, &max_flows, err) < 0 ||
		json_get_int(limits, path, "new_flows", 1, VM_FLOWS_MAX, &new_flows, err) < 0)
		return -1;
	*config = (struct vm_limits){
		.rate_in = (uint64_t)rate_in,
		.rate_out = (uint64_t)rate_out,
		.max_flows = (uint32_t)max_flows,
		.new_flows = (uint32_t)new_flows,
	};
	return 0;
}

bool limits_config_equal(const struct vm_limits *a, const struct vm_limits *b)
{
	return a->rate_in == b->rate_in && a->rate_out == b->rate_out &&
		a->max_flows == b->max_flows && a->new_flows == b->new_flows;
}

static void put(struct json_object *doc, const char *key, uint64_t value)
{
	if (value)
		json_put_int(doc, key, (int64_t)value);
}

struct json_object *limits_config_json(const struct vm_limits *config)
{
	struct json_object *doc = json_object_new_object();

	put(doc, "rate_in", config->rate_in);
	put(doc, "rate_out", config->rate_out);
	put(doc, "max_flows", config->max_flows);
	put(doc, "new_flows", config->new_flows);
	return doc;
}
