/* SPDX-License-Identifier: MIT */
/* The system's settings of proxies in our form. See system_proxy.h. */
#include "ctl/system_proxy.h"

#include <stdio.h>
#include <string.h>

#define OCTETS 4

void system_proxy_put(
	struct system_proxy *settings, enum host_proxy_of which, const char *host, int port)
{
	bool six = strchr(host, ':') && *host != '[';

	/* A field for a host has no user in it. */
	if (strlen(host) >= PROXY_HOST_LEN || strchr(host, '@'))
		host = "";
	snprintf(settings->urls[which], sizeof(settings->urls[which]), "%s://%s%s%s:%d",
		which == HOST_PROXY_ALL ? "socks5" : "http", six ? "[" : "", host, six ? "]" : "",
		port);
}

/* A decimal octet at *text, which is left behind it; -1 where there is none. */
static int take_octet(const char **text)
{
	int value = 0, digits = 0;

	for (; **text >= '0' && **text <= '9' && digits < 3; digits++)
		value = value * 10 + *(*text)++ - '0';
	return digits && value <= 255 ? value : -1;
}

/*
 * An IPv4 prefix with octets that are not there, or are stars, at its end:
 *
 *	169.254/16	169.254.0.0/16
 *	192.168.*	192.168.0.0/16, as 192.168.*.*
 *
 * False where it is anything else, a whole address among that.
 */
static bool expand_prefix(const char *text, char out[PROXY_HOST_LEN])
{
	int octets[OCTETS] = {0}, n = 0, stars = 0;
	char bits[16] = "";

	do {
		if (*text == '*') {
			text++;
			stars++;
		} else if (stars || (octets[n] = take_octet(&text)) < 0) {
			return false;
		}
		n++;
	} while (n < OCTETS && *text == '.' && *++text);
	if (stars && stars < n && !*text)
		snprintf(bits, sizeof(bits), "/%d", 8 * (n - stars));
	else if (!stars && n < OCTETS && *text == '/' && strlen(text) < sizeof(bits))
		strcpy(bits, text);
	else
		return false;
	snprintf(out, PROXY_HOST_LEN, "%d.%d.%d.%d%s", octets[0], octets[1], octets[2], octets[3],
		bits);
	return true;
}

static bool add_item(struct system_proxy *settings, const char *item, size_t len)
{
	char text[PROXY_HOST_LEN], prefix[PROXY_HOST_LEN];
	size_t used = strlen(settings->exceptions);
	struct proxy_exception exception;

	if (len >= sizeof(text) || settings->n_exceptions == NO_PROXY_MAX)
		return false;
	memcpy(text, item, len);
	text[len] = '\0';
	if (expand_prefix(text, prefix))
		strcpy(text, prefix);
	if (!proxy_exception_parse(text, strlen(text), &exception) ||
		used + strlen(text) + 2 > sizeof(settings->exceptions))
		return false;
	snprintf(settings->exceptions + used, sizeof(settings->exceptions) - used, "%s%s",
		used ? "," : "", text);
	settings->n_exceptions++;
	return true;
}

void system_proxy_except(struct system_proxy *settings, const char *item)
{
	static const char between[] = ", \t\r\n";

	for (item += strspn(item, between); *item; item += strspn(item, between)) {
		size_t len = strcspn(item, between);

		if (!add_item(settings, item, len))
			settings->n_unknown++;
		item += len;
	}
}

bool system_proxy_equal(const struct system_proxy *a, const struct system_proxy *b)
{
	for (int i = 0; i < HOST_PROXY_KINDS; i++) {
		if (strcmp(a->urls[i], b->urls[i]) != 0)
			return false;
	}
	return a->automatic == b->automatic && a->n_unknown == b->n_unknown &&
		strcmp(a->exceptions, b->exceptions) == 0;
}
