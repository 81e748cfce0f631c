/* SPDX-License-Identifier: MIT */
/*
 * Service bindings (SVCB and HTTPS records, RFC 9460): how a client may reach a service, as a list of
 * parameters. Two of them concern us: addresses (ipv4hint, ipv6hint), which belong into the name
 * log, and `ech`, the public key for an encrypted client hello, which has to go where the server
 * name is to be read on the wire.
 */
#ifndef DATAPLANE_STACK_DNS_SERVICE_H
#define DATAPLANE_STACK_DNS_SERVICE_H

#include "dataplane/stack/dns_message.h"

#define DNS_PARAM_MANDATORY 0u
#define DNS_PARAM_IPV4HINT 4u
#define DNS_PARAM_ECH 5u
#define DNS_PARAM_IPV6HINT 6u

/* The start of a binding's data. */
struct dns_service {
	uint16_t priority; /* 0: an alias, whose parameters are to be ignored */
	struct dns_wire target;
	struct dns_cursor params; /* for dns_service_next(); ends with the record */
};

struct dns_param {
	uint16_t key, len;
	const uint8_t *value;
};

bool dns_is_service(const struct dns_record *r);
/* False where the record, which lies in c's message, is not well formed. */
bool dns_service_read(
	const struct dns_cursor *c, const struct dns_record *r, struct dns_service *out);
/* 1 and the next parameter, 0 at the end, -1 where it is cut short. */
int dns_service_next(struct dns_service *service, struct dns_param *out);

/* Whether an answer has a binding with ech. Also where it cannot be read to its end and the question
 * was for bindings: others may read more into it. */
bool dns_has_ech(const uint8_t *msg, size_t len);
/*
 * Writes such an answer anew, into buf: header, question, and of the answers the aliases, addresses
 * and bindings, without ech; OPT stays. What the key was signed with (RRSIG, the AD flag), what is
 * malformed and bindings that cannot do without ech (mandatory) go. Returns the length; 0 where not
 * even the question can be read or max does not do.
 */
size_t dns_strip_ech(const uint8_t *msg, size_t len, uint8_t *buf, size_t max);

#endif
