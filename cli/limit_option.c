/* SPDX-License-Identifier: MIT */
/* Limits from options, and as text. See limit_option.h. */
#include "cli/limit_option.h"

#include "cli/json.h"
#include "cli/rate.h"
#include "cli/vm_body.h"

#include <string.h>

#define RATE_MIN 8000 /* what the API takes */
#define FLOWS_MAX 1000000

static int take_rate(const struct cli *cli, const char *option, const char *text, int64_t *value)
{
	uint64_t bits = 0;

	if (rate_parse(text, &bits) < 0 || bits < RATE_MIN)
		return cli_usage_error(cli,
			"%s %s: a rate like 100mbit is wanted, 8kbit to 1tbit, or none", option,
			text);
	*value = (int64_t)bits;
	return 0;
}

static int take_number(const struct cli *cli, const char *option, const char *text, int64_t *value)
{
	long n = 0;
	int status = parse_bounded(cli, option, text, 1, FLOWS_MAX, &n);

	*value = n;
	return status;
}

int limit_option_take(const struct cli *cli, struct json_object *body, const struct given *given)
{
	static const struct {
		char id;
		const char *option, *key;
		int (*take)(const struct cli *cli, const char *option, const char *text,
			int64_t *value);
	} limits[] = {
		{OPT_RATE_IN, "--rate-in", "rate_in", take_rate},
		{OPT_RATE_OUT, "--rate-out", "rate_out", take_rate},
		{OPT_MAX_FLOWS, "--max-flows", "max_flows", take_number},
		{OPT_NEW_FLOWS, "--new-flows", "new_flows", take_number},
	};
	struct json_object *doc;
	int64_t value = 0;
	size_t i = 0;
	int status = 0;

	while (i < sizeof(limits) / sizeof(*limits) && limits[i].id != given->id)
		i++;
	if (i == sizeof(limits) / sizeof(*limits))
		return 0;
	if (strcmp(given->value, "none") != 0)
		status = limits[i].take(cli, limits[i].option, given->value, &value);
	if (status)
		return status;
	doc = doc_get(body, "limits");
	if (!doc) {
		doc = json_object_new_object();
		json_object_object_add(body, "limits", doc);
	}
	json_object_object_add(doc, limits[i].key, value ? json_object_new_int64(value) : NULL);
	return 0;
}

static void add(char *buf, size_t len, const char *key, const char *value)
{
	size_t used = strlen(buf);

	snprintf(buf + used, len - used, "%s%s %s", used ? ", " : "", key, value);
}

char *limits_text(struct json_object *vm, char *buf, size_t len)
{
	int64_t in = doc_int(vm, "limits.rate_in"), out = doc_int(vm, "limits.rate_out");
	char text[RATE_STRLEN];

	buf[0] = '\0';
	if (in > 0)
		add(buf, len, "in", rate_format((uint64_t)in, text, sizeof(text)));
	if (out > 0)
		add(buf, len, "out", rate_format((uint64_t)out, text, sizeof(text)));
	if (doc_int(vm, "limits.max_flows"))
		add(buf, len, "flows", doc_text(vm, "limits.max_flows"));
	if (doc_int(vm, "limits.new_flows"))
		add(buf, len, "new flows/s", doc_text(vm, "limits.new_flows"));
	if (!buf[0])
		snprintf(buf, len, "none");
	return buf;
}
