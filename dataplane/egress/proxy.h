/* SPDX-License-Identifier: MIT */
/*
 * Which flows go by a proxy, and by which: the operator's settings, as netctld sends them.
 *
 * There are up to three proxies, one for each kind of flow: to port 80, to port 443, and all others
 * (what http_proxy, https_proxy and all_proxy are to programs). A destination on the list of
 * exceptions goes straight there, as does the host itself; so does a kind that has no proxy. What has
 * one goes by it or, where that cannot be (ICMP by any proxy, UDP by an HTTP proxy, a fake address
 * whose name is not known), not at all.
 *
 * Where the destination's name is known, the proxy gets the name: it resolves it where it stands. What
 * is no name that may stand in a request (a guest's own name server can make up any) goes as the
 * address.
 *
 * Settings are never changed, only replaced. Who uses a server beyond a return to the loop holds a
 * reference; with the last one goes the memory, wiped.
 */
#ifndef DATAPLANE_EGRESS_PROXY_H
#define DATAPLANE_EGRESS_PROXY_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXY_SERVERS_MAX 3
#define PROXY_ADDRS_MAX 8
#define PROXY_BYPASS_MAX 512
#define PROXY_NAME_MAX 253 /* of a destination */

enum proxy_kind { PROXY_HTTP, PROXY_SOCKS5 };

enum proxy_flows { PROXY_FLOWS_HTTP, PROXY_FLOWS_HTTPS, PROXY_FLOWS_OTHER, PROXY_FLOWS };

struct proxy_server {
	enum proxy_kind kind;
	uint8_t index;                          /* netctld's number for it */
	struct endpoint addrs[PROXY_ADDRS_MAX]; /* to be tried in order */
	size_t n_addrs;                         /* 0: its name does not resolve */
	bool auth;                              /* user and password are to be told */
	char user[256], password[256];          /* SOCKS5 has a byte for their length */
};

/* An address, or a domain: that name and all below it. "" is every destination, "." each name that has
 * no dot. */
struct proxy_bypass {
	bool by_name;
	struct prefix prefix;
	char domain[PROXY_NAME_MAX + 1]; /* lower case */
};

struct proxies {
	unsigned refs;
	struct proxy_server servers[PROXY_SERVERS_MAX];
	size_t n_servers;
	uint8_t of[PROXY_FLOWS]; /* an index of servers and 1; 0: straight there */
	bool direct_on_failure;  /* where a proxy is of no use: straight there */
	bool fake_ip;            /* 198.18.0.0/15 stands for names */
	size_t n_bypass;
	struct proxy_bypass *bypass;
};

/* Zeros, with one reference and room for so many exceptions. NULL without memory. */
struct proxies *proxies_new(size_t n_bypass);
struct proxies *proxies_ref(struct proxies *proxies);
void proxies_unref(struct proxies *proxies);                          /* NULL is ignored */
bool proxies_equal(const struct proxies *a, const struct proxies *b); /* NULL is none at all */
/* The same but for the addresses of servers that have some. */
bool proxies_same_ways(const struct proxies *a, const struct proxies *b);

/* What a flow that does not go straight there goes by. */
struct proxy_choice {
	const struct proxy_server *server; /* NULL: straight there */
	const char *name;                  /* of the destination, or NULL: its address is told */
	bool unfit;                        /* the server cannot carry it */
};

/* name is one that the destination goes by, or NULL; tell: the proxy may be told it, and not only for a
 * fake address. proto is IP_PROTO_*. */
struct proxy_choice proxies_choose(const struct proxies *proxies, uint8_t proto,
	const struct endpoint *dst, const char *name, bool tell);

/* Whether it may stand in a request to a proxy: letters, digits, '-', '_' and single dots. */
bool proxy_name_valid(const char *name);
/* Whether it is of 198.18.0.0/15. */
bool proxy_addr_is_fake(const struct addr *addr);

/* ---- what goes wrong with proxies, for the operator ---- */

enum proxy_trouble {
	PROXY_UNRESOLVED, /* its name has no address */
	PROXY_UNREACHABLE,
	PROXY_TIMEOUT,
	PROXY_DENIED, /* it does not take our user and password, or wants some */
	PROXY_BROKEN, /* what it says is not its protocol, or it hung up */
	PROXY_UNFIT,  /* it cannot carry such a flow */
	PROXY_TROUBLES
};

const char *proxy_trouble_text(enum proxy_trouble trouble);

#endif
