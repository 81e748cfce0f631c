/* SPDX-License-Identifier: MIT */
/*
 * --dns, --search, --dns-unlisted of `vm create`, `vm set` and `run`, and --subnet and --mac of those
 * that make a VM.
 */
#ifndef CLI_NET_OPTION_H
#define CLI_NET_OPTION_H

#include "cli/cli.h"

#include <json-c/json.h>

enum {
	OPT_SUBNET = 's',
	OPT_MAC = 'M',
	OPT_DNS = 'd',
	OPT_SEARCH = 'S',
	OPT_DNS_UNLISTED = 'u',
};

#define OPTION_SUBNET                                                                              \
	{                                                                                          \
		OPT_SUBNET, 0, "subnet", "CIDR", "the guest's network (default 10.0.2.0/24)"       \
	}
#define OPTION_MAC                                                                                 \
	{                                                                                          \
		OPT_MAC, 0, "mac", "MAC", "the guest's hardware address"                           \
	}
#define OPTIONS_DNS                                                                                \
	{OPT_DNS, 0, "dns", "ADDR", "ask this DNS server; may be given again"},                    \
		{OPT_SEARCH, 0, "search", "DOMAIN",                                                \
			"a search domain of the guest; may be given again"},                       \
	{                                                                                          \
		OPT_DNS_UNLISTED, 0, "dns-unlisted", "HOW",                                        \
			"nxdomain (default) or answer: names that no rule could admit"             \
	}

bool net_option_is(const struct given *given);
/* Puts one of them into the VM's document. Returns 0 or STATUS_USAGE with the message printed. */
int net_option_take(const struct cli *cli, struct json_object *body, const struct given *given);

#endif
