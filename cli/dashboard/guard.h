/* SPDX-License-Identifier: MIT */
/*
 * Who may see the dashboard: the checks that each request meets before anything else.
 *
 * The port is a loopback one, where all users of the host, each page in a browser and, with
 * host_access, guests can knock. Three secrets of 192 bits stand against them:
 *
 *	link      in the URL that is printed; opens the page, until it is traded
 *	session   what the page's script trades it for, once; each API request carries it
 *		  (Authorization: Bearer). It lives in one tab and dies with this program.
 *	ticket    a cookie that came with the page, so that the tab can be reloaded. A browser sends
 *		  it to other ports of the host, too: it opens the page's files, which are no secret,
 *		  and nothing else.
 *
 *	GET /?link=…            page, Set-Cookie: ticket        (changes nothing, may be repeated)
 *	GET /page.js, …         with the ticket
 *	POST /session  link     {"session":…}; the link is used up
 *	GET /v1/…               with the session
 *
 * A request of another origin, or for another host than the one that was printed (a name that was
 * made to lead here, DNS rebinding), gets nothing whatever it carries.
 */
#ifndef CLI_DASHBOARD_GUARD_H
#define CLI_DASHBOARD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUARD_SECRET_LEN 49 /* hexadecimal, with its NUL */

struct guard {
	char authority[32]; /* "127.0.0.1:41234" */
	char link[GUARD_SECRET_LEN];
	char session[GUARD_SECRET_LEN];
	char ticket[GUARD_SECRET_LEN];
	bool used; /* the link is */
};

/* What a request says of where it comes from; what it does not say is NULL. */
struct guard_request {
	const char *uri;
	const char *host;
	const char *origin;
	const char *site;          /* Sec-Fetch-Site */
	const char *authorization; /* with the session */
	const char *cookie;        /* with the ticket */
	bool doubled;              /* one of these headers came twice */
	bool writes;               /* any method but GET */
};

void guard_init(struct guard *guard, uint16_t port);
void guard_wipe(struct guard *guard);

/* Whether it was sent to us, by ourselves or by a person. Nothing else is looked at before. */
bool guard_is_own(const struct guard *guard, const struct guard_request *request);

/* Whether uri is "/?link=" with the link, unused. */
bool guard_opens(const struct guard *guard, const char *uri);
/* Trades the link for the session: true once. */
bool guard_trade(struct guard *guard, const void *link, size_t len);
bool guard_has_session(const struct guard *guard, const struct guard_request *request);

/* The cookie's name and value: "netctl-41234=…". Writes into buf and returns it. */
char *guard_ticket(const struct guard *guard, char *buf, size_t len);
bool guard_has_ticket(const struct guard *guard, const struct guard_request *request);

#endif
