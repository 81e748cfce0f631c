/* SPDX-License-Identifier: MIT */
/*
 * --proxy and its likes, of `vm create`, `vm set` and `run`.
 *
 * A password is never taken from the command line, which every user of the host can see: it comes in a
 * URL from a file, the standard input or an environment variable. It is cut out of the URL here, sent
 * apart from the VM's document, as bytes, and wiped.
 */
#ifndef CLI_PROXY_OPTION_H
#define CLI_PROXY_OPTION_H

#include "cli/cli.h"

#include <json-c/json.h>

enum {
	OPT_PROXY = '1',
	OPT_PROXY_FROM = '2',
	OPT_PROXY_ENV = '3',
	OPT_NO_PROXY = '4',
	OPT_PROXY_FAILURE = '5',
	OPT_FAKE_IP = '6',
};

#define OPTIONS_PROXY                                                                              \
	{OPT_PROXY, 0, "proxy", "URL", "http://, socks5://[USER@]HOST[:PORT], host, or none"},     \
		{OPT_PROXY_FROM, 0, "proxy-from", "FILE",                                          \
			"take the URL, with its password, from FILE or -"},                        \
		{OPT_PROXY_ENV, 0, "proxy-env", "VARIABLE", "take it from the environment"},       \
		{OPT_NO_PROXY, 0, "no-proxy", "LIST",                                              \
			"names, addresses and prefixes that go straight there"},                   \
		{OPT_PROXY_FAILURE, 0, "proxy-failure", "WHAT",                                    \
			"refuse (default), or direct: what if it fails"},                          \
	{                                                                                          \
		OPT_FAKE_IP, 0, "fake-ip", "WHEN",                                                 \
			"auto, on or off: 198.18.0.0/15 stands for names"                          \
	}

struct proxy_option {
	struct json_object *doc; /* NULL: none of them was given */
	char password[256];      /* "": none */
};

bool proxy_option_is(const struct given *given);
/* Takes one of these options. Returns 0 or an exit status with the message printed. */
int proxy_option_take(struct cli *cli, struct proxy_option *option, const struct given *given);
/* Puts them into the VM's document. */
void proxy_option_put(const struct proxy_option *option, struct json_object *body);
/* Sends the password, if there is one. Returns an exit status. */
int proxy_option_send(struct cli *cli, const struct proxy_option *option, const char *vm);
void proxy_option_free(struct proxy_option *option); /* wipes */

#endif
