/* SPDX-License-Identifier: MIT */
/* Who may see the dashboard. See guard.h. */
#include "cli/dashboard/guard.h"

#include "common/os.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LINK_PATH "/?link="
#define BEARER "Bearer "
#define COOKIE_LEN (sizeof("netctl-65535=") - 1 + GUARD_SECRET_LEN)

static void make_secret(char *text)
{
	unsigned char bytes[(GUARD_SECRET_LEN - 1) / 2];

	os_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	os_wipe(bytes, sizeof(bytes));
}

/* In a time that says nothing of where they differ. */
static bool is_secret(const char *secret, const void *text, size_t len)
{
	const unsigned char *a = (const unsigned char *)secret, *b = text;
	unsigned char differ = 0;

	if (len != GUARD_SECRET_LEN - 1)
		return false;
	for (size_t i = 0; i < len; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}

void guard_init(struct guard *guard, uint16_t port)
{
	*guard = (struct guard){0};
	snprintf(guard->authority, sizeof(guard->authority), "127.0.0.1:%u", port);
	make_secret(guard->link);
	make_secret(guard->session);
	make_secret(guard->ticket);
}

void guard_wipe(struct guard *guard)
{
	os_wipe(guard, sizeof(*guard));
}

/* "none" is a person: the address bar, a bookmark, a terminal. It only ever opens the page. */
static bool is_own_site(const struct guard_request *request)
{
	if (!request->site || !strcmp(request->site, "same-origin"))
		return true;
	return !strcmp(request->site, "none") && !request->writes;
}

bool guard_is_own(const struct guard *guard, const struct guard_request *request)
{
	static const char scheme[] = "http://";
	const char *origin = request->origin;

	/* An absolute URI would take the place of Host. */
	if (request->doubled || !request->uri || request->uri[0] != '/')
		return false;
	if (!request->host || strcmp(request->host, guard->authority) != 0)
		return false;
	/* Browsers name the origin of each request that writes. */
	if (!origin)
		return !request->writes && is_own_site(request);
	return strncmp(origin, scheme, sizeof(scheme) - 1) == 0 &&
		strcmp(origin + sizeof(scheme) - 1, guard->authority) == 0 && is_own_site(request);
}

bool guard_opens(const struct guard *guard, const char *uri)
{
	size_t len = sizeof(LINK_PATH) - 1;

	return !guard->used && strncmp(uri, LINK_PATH, len) == 0 &&
		is_secret(guard->link, uri + len, strlen(uri + len));
}

bool guard_trade(struct guard *guard, const void *link, size_t len)
{
	if (guard->used || !is_secret(guard->link, link, len))
		return false;
	guard->used = true;
	return true;
}

bool guard_has_session(const struct guard *guard, const struct guard_request *request)
{
	const char *text = request->authorization;
	size_t len = sizeof(BEARER) - 1;

	/* Before the trade nobody can know it. */
	return guard->used && text && strncasecmp(text, BEARER, len) == 0 &&
		is_secret(guard->session, text + len, strlen(text + len));
}

char *guard_ticket(const struct guard *guard, char *buf, size_t len)
{
	snprintf(buf, len, "netctl-%s=%s", strchr(guard->authority, ':') + 1, guard->ticket);
	return buf;
}

bool guard_has_ticket(const struct guard *guard, const struct guard_request *request)
{
	char ours[COOKIE_LEN];
	size_t name, len;

	guard_ticket(guard, ours, sizeof(ours));
	name = (size_t)(strchr(ours, '=') + 1 - ours);
	for (const char *p = request->cookie; p && *p; p += len + strspn(p + len, "; ")) {
		len = strcspn(p, "; ");
		if (len > name && strncmp(p, ours, name) == 0 &&
			is_secret(guard->ticket, p + name, len - name))
			return true;
	}
	return false;
}
