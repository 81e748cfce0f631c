/* SPDX-License-Identifier: MIT */
/*
 * The dashboard's HTTP server: the page's files, and what door.h admits of the API (by relay.h),
 * for who passes guard.h.
 *
 * It serves one listening socket on a loopback address and holds at most DASHBOARD_CONNECTIONS_MAX
 * connections: a new one takes the place of the oldest that has shown no secret yet.
 */
#ifndef CLI_DASHBOARD_SERVER_H
#define CLI_DASHBOARD_SERVER_H

#include <stddef.h>
#include <stdint.h>

#define DASHBOARD_CONNECTIONS_MAX 64
#define DASHBOARD_BODY_MAX (1u << 20) /* as netctld's own */

struct event_base;
struct dashboard;

/* fd, which listens on port, is taken in any case; api_path must outlive it. opened is called when
 * the link has been used. NULL without memory. */
struct dashboard *dashboard_new(struct event_base *base, int fd, uint16_t port,
	const char *api_path, void (*opened)(void *arg), void *arg);
/* Closes all connections. */
void dashboard_free(struct dashboard *dashboard);

/* What is to be opened in a browser, once. Writes into buf and returns it. */
char *dashboard_link(const struct dashboard *dashboard, char *buf, size_t len);

#endif
