/* SPDX-License-Identifier: MIT */
/*
 * IP addresses, endpoints, prefixes and MAC addresses.
 *
 * Every address is 128 bits in network byte order; IPv4 is kept mapped (::ffff:a.b.c.d, RFC 4291
 * section 2.5.5.2), so that keys and tables need one shape. Ports are in host byte order.
 * Nothing here allocates.
 */
#ifndef COMMON_ADDR_H
#define COMMON_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

struct addr {
	uint8_t b[16];
};

struct endpoint {
	struct addr addr;
	uint16_t port;
};

/* A prefix covers bits 0…128 of the mapped form: 10.0.0.0/8 is ::ffff:10.0.0.0/104. */
struct prefix {
	struct addr addr;
	uint8_t bits;
};

struct mac {
	uint8_t b[6];
};

/* Longest text of each with its NUL: "[ffff:…:255.255.255.255]:65535", "…/128", "aa:bb:…". */
#define ADDR_STRLEN 46
#define ENDPOINT_STRLEN 56
#define PREFIX_STRLEN 50
#define MAC_STRLEN 18

extern const struct addr addr_any; /* :: , the unset address */

static inline bool addr_eq(const struct addr *a, const struct addr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && addr_eq(&a->addr, &b->addr);
}

static inline bool mac_eq(const struct mac *a, const struct mac *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool addr_is_v4(const struct addr *a);
struct addr addr_from_v4(uint32_t host_order);
/* The IPv4 address in host byte order; 0 where a is no IPv4 address. */
uint32_t addr_v4(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
bool addr_is_unspecified(const struct addr *a); /* 0.0.0.0 or :: */
bool addr_is_multicast(const struct addr *a);

/* Parses a numeric IPv4 or IPv6 address (no name, no zone). Returns 0 or -EINVAL. */
int addr_parse(const char *text, struct addr *out);
/* "A.B.C.D/N" or "X::/N"; without /N the whole address. Host bits must be zero unless
 * `lax`, where they are cleared. Returns 0 or -EINVAL. */
int prefix_parse(const char *text, bool lax, struct prefix *out);
bool prefix_contains(const struct prefix *p, const struct addr *a);
/* "1.2.3.4:80" or "[::1]:80". Returns 0 or -EINVAL. */
int endpoint_parse(const char *text, struct endpoint *out);
int mac_parse(const char *text, struct mac *out);

/* Each writes into buf (of at least the STRLEN above) and returns buf. */
char *addr_format(const struct addr *a, char *buf, size_t len);
char *prefix_format(const struct prefix *p, char *buf, size_t len);
char *endpoint_format(const struct endpoint *e, char *buf, size_t len);
char *mac_format(const struct mac *m, char *buf, size_t len);

/* An AF_INET sockaddr for mapped addresses, AF_INET6 for others. Returns its length. */
socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss);
/* Returns 0, or -EAFNOSUPPORT for other families or a short sockaddr. */
int endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct endpoint *e);
int addr_family(const struct addr *a); /* AF_INET or AF_INET6 */

#endif
