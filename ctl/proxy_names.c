/* SPDX-License-Identifier: MIT */
/* Addresses of the proxies' host names. See proxy_names.h. */
#include "ctl/proxy_names.h"

#include "common/log.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#define UNUSED_ROUNDS 3 /* after so many without a question a name is forgotten */

struct name {
	TAILQ_ENTRY(name) next;
	struct proxy_names *names;
	bool asking;
	struct evdns_getaddrinfo_request *request; /* while asking */
	bool told;                                 /* in the log, that it does not resolve */
	unsigned unused;
	struct addr addrs[PROXY_ADDRS_MAX];
	size_t n;
	char text[256];
};

struct proxy_names {
	struct event_base *base;
	struct evdns_base *dns; /* NULL until it is used */
	struct event *round;
	bool ending;
	void (*changed)(void *arg, const char *name);
	void *arg;
	TAILQ_HEAD(, name) list;
};

static void ask(struct name *name);

/* ---- answers ---- */

static size_t read_answer(const struct evutil_addrinfo *list, struct addr addrs[PROXY_ADDRS_MAX])
{
	size_t n = 0;

	for (; list && n < PROXY_ADDRS_MAX; list = list->ai_next) {
		struct endpoint at;
		bool have = false;

		if (endpoint_from_sockaddr(list->ai_addr, (socklen_t)list->ai_addrlen, &at) < 0)
			continue;
		for (size_t i = 0; i < n; i++)
			have = have || addr_eq(&addrs[i], &at.addr);
		if (!have)
			addrs[n++] = at.addr;
	}
	return n;
}

/* Whether the same, in whatever order: servers like to turn it. */
static bool same_addrs(const struct name *name, const struct addr *addrs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < name->n && !addr_eq(&name->addrs[k], &addrs[i]))
			k++;
		if (k == name->n)
			return false;
	}
	return n == name->n;
}

static void on_answer(int err, struct evutil_addrinfo *list, void *arg)
{
	struct name *name = arg;
	struct addr addrs[PROXY_ADDRS_MAX];
	size_t n = err ? 0 : read_answer(list, addrs);

	if (list)
		evutil_freeaddrinfo(list);
	name->asking = false;
	name->request = NULL;
	if (err == EVUTIL_EAI_CANCEL) { /* the servers are others now */
		ask(name);
		return;
	}
	if (!n) {
		if (!name->told)
			log_warn("proxy", "name.unresolved", "name=%s reason=\"%s\"", name->text,
				evutil_gai_strerror(err));
		name->told = true;
		return;
	}
	name->told = false;
	if (same_addrs(name, addrs, n))
		return;
	memcpy(name->addrs, addrs, n * sizeof(*addrs));
	name->n = n;
	name->names->changed(name->names->arg, name->text);
}

static void ask(struct name *name)
{
	struct proxy_names *names = name->names;
	struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

	if (name->asking || names->ending)
		return;
	if (!names->dns)
		names->dns = evdns_base_new(names->base,
			EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!names->dns)
		return;
	name->asking = true;
	name->request = evdns_getaddrinfo(names->dns, name->text, NULL, &hints, on_answer, name);
	if (!name->asking) /* answered from inside */
		name->request = NULL;
}

/* ---- questions ---- */

static struct name *find(struct proxy_names *names, const char *text)
{
	struct name *name;

	TAILQ_FOREACH(name, &names->list, next) {
		if (strcasecmp(name->text, text) == 0)
			return name;
	}
	return NULL;
}

size_t proxy_names_get(
	struct proxy_names *names, const char *text, struct addr addrs[PROXY_ADDRS_MAX])
{
	struct name *name;

	if (addr_parse(text, &addrs[0]) == 0)
		return 1;
	name = find(names, text);
	if (!name && strlen(text) < sizeof(name->text) && (name = calloc(1, sizeof(*name)))) {
		name->names = names;
		strcpy(name->text, text);
		TAILQ_INSERT_TAIL(&names->list, name, next);
		ask(name); /* a host of hosts(5) is answered from inside */
	}
	if (!name)
		return 0;
	name->unused = 0;
	memcpy(addrs, name->addrs, name->n * sizeof(*addrs));
	return name->n;
}

/* evdns' own words, which would go to stderr. */
static void on_log(int is_warning, const char *text)
{
	(void)is_warning;
	log_debug("proxy", "dns", "text=\"%s\"", text);
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
	struct proxy_names *names = arg;
	struct name *name, *next;

	(void)fd;
	(void)what;
	for (name = TAILQ_FIRST(&names->list); name; name = next) {
		next = TAILQ_NEXT(name, next);
		if (!name->asking && name->unused++ >= UNUSED_ROUNDS) {
			TAILQ_REMOVE(&names->list, name, next);
			free(name);
		} else {
			ask(name);
		}
	}
}

void proxy_names_servers_changed(struct proxy_names *names)
{
	struct name *name;

	if (!names->dns)
		return;
	evdns_base_free(names->dns, 1); /* open questions fail */
	names->dns = NULL;
	TAILQ_FOREACH(name, &names->list, next)
		ask(name);
}

struct proxy_names *proxy_names_new(
	struct event_base *base, void (*changed)(void *arg, const char *name), void *arg)
{
	static const struct timeval often = {.tv_sec = PROXY_NAMES_S};
	struct proxy_names *names = calloc(1, sizeof(*names));

	if (!names)
		return NULL;
	evdns_set_log_fn(on_log);
	names->base = base;
	names->changed = changed;
	names->arg = arg;
	TAILQ_INIT(&names->list);
	names->round = event_new(base, -1, EV_PERSIST, on_round, names);
	if (names->round && event_add(names->round, &often) == 0)
		return names;
	proxy_names_free(names);
	return NULL;
}

/* Open questions are freed by their callbacks, which come by the loop. */
static void stop_asking(struct proxy_names *names)
{
	bool asking = false;
	struct name *name;

	names->ending = true;
	TAILQ_FOREACH(name, &names->list, next) {
		asking = asking || name->request;
		if (name->request)
			evdns_getaddrinfo_cancel(name->request);
	}
	if (asking)
		event_base_loop(names->base, EVLOOP_NONBLOCK);
	if (names->dns)
		evdns_base_free(names->dns, 0);
}

void proxy_names_free(struct proxy_names *names)
{
	struct name *name;

	if (!names)
		return;
	if (names->round)
		event_free(names->round);
	stop_asking(names);
	while ((name = TAILQ_FIRST(&names->list))) {
		TAILQ_REMOVE(&names->list, name, next);
		free(name);
	}
	free(names);
}
