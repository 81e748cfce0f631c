/* SPDX-License-Identifier: MIT */
/* The guest's network and its DNS. See net_option.h. */
#include "cli/net_option.h"

#include "cli/json.h"
#include "common/addr.h"

#include <string.h>

/* {"outer":{"key":value}} is added to, made where it is missing. */
static struct json_object *member(struct json_object *body, const char *key)
{
	struct json_object *obj = doc_get(body, key);

	if (!obj) {
		obj = json_object_new_object();
		json_object_object_add(body, key, obj);
	}
	return obj;
}

/* Appends to a list of dns; an empty value is a list with nothing in it, what netctld has by itself. */
static void add_dns(struct json_object *body, const char *key, const char *value)
{
	struct json_object *dns = member(body, "dns"), *list = doc_get(dns, key);

	if (!list) {
		list = json_object_new_array();
		json_object_object_add(dns, key, list);
	}
	if (*value)
		json_object_array_add(list, json_object_new_string(value));
}

static int take_server(const struct cli *cli, struct json_object *body, const char *value)
{
	struct endpoint server;

	if (*value && addr_parse(value, &server.addr) < 0 && endpoint_parse(value, &server) < 0)
		return cli_usage_error(
			cli, "--dns %s: an address or ADDRESS:PORT is wanted", value);
	add_dns(body, "upstreams", value);
	return 0;
}

static int take_unlisted(const struct cli *cli, struct json_object *body, const char *value)
{
	if (strcmp(value, "nxdomain") != 0 && strcmp(value, "answer") != 0)
		return cli_usage_error(
			cli, "--dns-unlisted %s: nxdomain or answer is wanted", value);
	doc_put_text(member(body, "dns"), "unlisted", value);
	return 0;
}

bool net_option_is(const struct given *given)
{
	static const char ids[] = {OPT_SUBNET, OPT_MAC, OPT_DNS, OPT_SEARCH, OPT_DNS_UNLISTED};

	return memchr(ids, given->id, sizeof(ids)) != NULL;
}

int net_option_take(const struct cli *cli, struct json_object *body, const struct given *given)
{
	switch (given->id) {
	case OPT_SUBNET:
		doc_put_text(member(body, "net"), "subnet", given->value);
		return 0;
	case OPT_MAC:
		doc_put_text(member(body, "net"), "mac", given->value);
		return 0;
	case OPT_DNS:
		return take_server(cli, body, given->value);
	case OPT_SEARCH:
		add_dns(body, "search", given->value);
		return 0;
	default:
		return take_unlisted(cli, body, given->value);
	}
}
