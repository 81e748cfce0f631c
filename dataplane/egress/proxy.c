/* SPDX-License-Identifier: MIT */
/* Which flows go by a proxy. See proxy.h. */
#include "dataplane/egress/proxy.h"

#include "common/os.h"
#include "dataplane/stack/frame.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FAKE_IP 0xc6120000u /* 198.18.0.0 */
#define FAKE_IP_MASK 0xfffe0000u
#define PORT_HTTP 80
#define PORT_HTTPS 443

struct proxies *proxies_new(size_t n_bypass)
{
	struct proxies *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->refs = 1;
	p->bypass = calloc(n_bypass ? n_bypass : 1, sizeof(*p->bypass));
	if (p->bypass)
		return p;
	free(p);
	return NULL;
}

struct proxies *proxies_ref(struct proxies *p)
{
	p->refs++;
	return p;
}

void proxies_unref(struct proxies *p)
{
	if (!p || --p->refs)
		return;
	free(p->bypass);
	os_wipe(p, sizeof(*p));
	free(p);
}

/* ---- equality: netctld sends what it has whenever it comes anew ---- */

static bool same_addrs(const struct proxy_server *a, const struct proxy_server *b)
{
	if (a->n_addrs != b->n_addrs)
		return false;
	for (size_t i = 0; i < a->n_addrs; i++) {
		if (!endpoint_eq(&a->addrs[i], &b->addrs[i]))
			return false;
	}
	return true;
}

/* Whether it can be reached at all counts: without an address, flows may go straight there. */
static bool same_but_addrs(const struct proxy_server *a, const struct proxy_server *b)
{
	return a->kind == b->kind && a->index == b->index && !a->n_addrs == !b->n_addrs &&
		(!a->n_addrs || a->addrs[0].port == b->addrs[0].port) && a->auth == b->auth &&
		strcmp(a->user, b->user) == 0 && strcmp(a->password, b->password) == 0;
}

static bool same_bypass(const struct proxy_bypass *a, const struct proxy_bypass *b)
{
	return a->by_name == b->by_name && a->prefix.bits == b->prefix.bits &&
		addr_eq(&a->prefix.addr, &b->prefix.addr) && strcmp(a->domain, b->domain) == 0;
}

bool proxies_same_ways(const struct proxies *a, const struct proxies *b)
{
	if (!a || !b)
		return a == b;
	if (a->n_servers != b->n_servers || memcmp(a->of, b->of, sizeof(a->of)) != 0 ||
		a->direct_on_failure != b->direct_on_failure || a->fake_ip != b->fake_ip ||
		a->n_bypass != b->n_bypass)
		return false;
	for (size_t i = 0; i < a->n_servers; i++) {
		if (!same_but_addrs(&a->servers[i], &b->servers[i]))
			return false;
	}
	for (size_t i = 0; i < a->n_bypass; i++) {
		if (!same_bypass(&a->bypass[i], &b->bypass[i]))
			return false;
	}
	return true;
}

bool proxies_equal(const struct proxies *a, const struct proxies *b)
{
	if (!proxies_same_ways(a, b))
		return false;
	for (size_t i = 0; a && i < a->n_servers; i++) {
		if (!same_addrs(&a->servers[i], &b->servers[i]))
			return false;
	}
	return true;
}

/* ---- the choice ---- */

bool proxy_name_valid(const char *name)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t len = strlen(name);

	if (!len || len > PROXY_NAME_MAX)
		return false;
	for (const char *p = name; *p;) {
		size_t label = strspn(p, plain);

		if (!label || (p[label] && p[label] != '.'))
			return false;
		p += label + (p[label] == '.');
		if (!*p && p[-1] == '.')
			return false;
	}
	return true;
}

bool proxy_addr_is_fake(const struct addr *addr)
{
	return addr_is_v4(addr) && (addr_v4(addr) & FAKE_IP_MASK) == FAKE_IP;
}

static bool below(const char *name, const char *domain)
{
	size_t len = strlen(name), of = strlen(domain);

	if (of == 0)
		return true;
	if (strcmp(domain, ".") == 0)
		return !strchr(name, '.');
	return len >= of && strcasecmp(name + len - of, domain) == 0 &&
		(len == of || name[len - of - 1] == '.');
}

static bool bypassed(const struct proxies *p, const struct addr *addr, const char *name)
{
	for (size_t i = 0; i < p->n_bypass; i++) {
		const struct proxy_bypass *b = &p->bypass[i];

		if (!b->by_name && prefix_contains(&b->prefix, addr))
			return true;
		if (b->by_name && (!*b->domain || (name && below(name, b->domain))))
			return true;
	}
	return false;
}

static const struct proxy_server *server_of(
	const struct proxies *p, uint8_t proto, const struct endpoint *dst)
{
	enum proxy_flows kind = PROXY_FLOWS_OTHER;

	if (proto != IP_PROTO_ICMP && dst->port == PORT_HTTP)
		kind = PROXY_FLOWS_HTTP;
	else if (proto != IP_PROTO_ICMP && dst->port == PORT_HTTPS)
		kind = PROXY_FLOWS_HTTPS;
	return p->of[kind] ? &p->servers[p->of[kind] - 1] : NULL;
}

struct proxy_choice proxies_choose(const struct proxies *p, uint8_t proto,
	const struct endpoint *dst, const char *name, bool tell)
{
	struct proxy_choice choice = {.server = NULL};
	bool fake = p && p->fake_ip && proxy_addr_is_fake(&dst->addr);

	if (!p || addr_is_loopback(&dst->addr) || addr_is_unspecified(&dst->addr) ||
		bypassed(p, &dst->addr, name))
		return choice;
	choice.server = server_of(p, proto, dst);
	if (!choice.server)
		return choice;
	if (name && (tell || fake) && proxy_name_valid(name))
		choice.name = name;
	if (proto == IP_PROTO_ICMP || (proto == IP_PROTO_UDP && choice.server->kind == PROXY_HTTP))
		choice.unfit = true;
	if (fake && !choice.name)
		choice.unfit = true;
	return choice;
}

const char *proxy_trouble_text(enum proxy_trouble trouble)
{
	static const char *const texts[PROXY_TROUBLES] = {
		[PROXY_UNRESOLVED] = "its name does not resolve",
		[PROXY_UNREACHABLE] = "it cannot be reached",
		[PROXY_TIMEOUT] = "it does not answer in time",
		[PROXY_DENIED] = "it does not accept our user and password",
		[PROXY_BROKEN] = "it does not speak its protocol",
		[PROXY_UNFIT] = "it cannot carry such flows",
	};

	return texts[trouble];
}
