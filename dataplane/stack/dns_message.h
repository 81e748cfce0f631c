/* SPDX-License-Identifier: MIT */
/*
 * DNS messages (RFC 1035 section 4, RFC 6891): reading what others sent, writing small answers.
 *
 * Reading goes through a cursor that knows the whole message, since names may point back into it.
 * Nothing is trusted: every length is checked where it is read, and each compression pointer must
 * lead to before the stretch it was found in, so that no name is endless.
 */
#ifndef DATAPLANE_STACK_DNS_MESSAGE_H
#define DATAPLANE_STACK_DNS_MESSAGE_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_HEADER_LEN 12u
#define DNS_UDP_SIZE 512u   /* what a client takes that says nothing */
#define DNS_QUERY_MAX 4096u /* longer questions are FORMERR */
#define DNS_MESSAGE_MAX 65535u
#define DNS_OPT_LEN 11u /* without options */
#define DNS_NAME_WIRE_MAX 255u
#define DNS_NAME_TEXT_MAX 254u /* 253 and a NUL */

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
};

enum dns_type {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_AAAA = 28,
	DNS_OPT = 41,
	DNS_SVCB = 64,
	DNS_HTTPS = 65,
	DNS_IXFR = 251,
	DNS_AXFR = 252,
	DNS_ANY = 255,
};

#define DNS_CLASS_IN 1

#define DNS_QR 0x8000u
#define DNS_OPCODE 0x7800u
#define DNS_AA 0x0400u
#define DNS_TC 0x0200u
#define DNS_RD 0x0100u
#define DNS_RA 0x0080u
#define DNS_AD 0x0020u
#define DNS_CD 0x0010u
#define DNS_RCODE 0x000fu

/* A name as on the wire: labels with their lengths and the root's zero; letters lower case. */
struct dns_wire {
	uint8_t len; /* the zero included; 1 for the root */
	uint8_t b[DNS_NAME_WIRE_MAX];
};

struct dns_cursor {
	const uint8_t *msg;
	size_t len; /* of the whole message */
	size_t at;
};

struct dns_header {
	uint16_t id, flags;
	uint16_t questions, answers, authorities, additionals;
};

struct dns_question {
	struct dns_wire name;
	uint16_t type, class;
};

struct dns_record {
	struct dns_wire name;
	uint16_t type, class;
	uint32_t ttl;
	size_t data; /* where its data starts in the message */
	uint16_t data_len;
};

/* Each reads one thing and moves on, or returns false and the cursor is of no more use. */
bool dns_read_header(struct dns_cursor *c, struct dns_header *out);
bool dns_read_name(struct dns_cursor *c, struct dns_wire *out);
bool dns_read_question(struct dns_cursor *c, struct dns_question *out);
bool dns_read_record(struct dns_cursor *c, struct dns_record *out);

bool dns_wire_eq(const struct dns_wire *a, const struct dns_wire *b);
int dns_wire_compare(const struct dns_wire *a, const struct dns_wire *b);
bool dns_question_eq(const struct dns_question *a, const struct dns_question *b);

/* Text to wire, any case, with or without a trailing dot: 0 or -EINVAL. */
int dns_wire_parse(const char *text, struct dns_wire *out);
/* Wire to text in buf (of DNS_NAME_TEXT_MAX): false for the root, and for labels with bytes that
 * are not printable ASCII or that text could not carry (a dot, a backslash, quotes, blanks). */
bool dns_wire_format(const struct dns_wire *w, char *buf);
/* The address of a name below in-addr.arpa or ip6.arpa; false for others and for whole zones. */
bool dns_wire_reverse(const struct dns_wire *w, struct addr *out);

/* ---- a client's question ---- */

struct dns_query_info {
	uint16_t id, flags;
	struct dns_question question;
	size_t question_end; /* offset after the question */
	bool edns;
	bool dnssec;       /* asks for signatures (DO, RFC 3225) */
	bool special;      /* has options or records that the answer may depend on */
	uint16_t udp_size; /* the largest answer by UDP: by EDNS, never below 512 */
};

/*
 * Reads a question as a client sends it. DNS_NOERROR, or what to answer it with: FORMERR,
 * REFUSED (opcodes other than QUERY, zone transfers); -1 where it must not be answered at all
 * (shorter than a header, or itself an answer). question_end is 0 where there was none.
 */
int dns_query_parse(const uint8_t *msg, size_t len, struct dns_query_info *out);

/* ---- answers ---- */

/* Writes an answer to a query step by step; beyond `max` records are left out and TC is set. */
struct dns_answer {
	uint8_t *buf;
	size_t max, len;
	const struct dns_query_info *query;
	uint16_t flags;
	uint16_t answers;
};

/* buf of at least DNS_UDP_SIZE. The question is copied from the query's message. */
void dns_answer_begin(struct dns_answer *a, uint8_t *buf, size_t max, const uint8_t *query_msg,
	const struct dns_query_info *query, uint16_t flags);
/* A record for the question's name. */
void dns_answer_add(
	struct dns_answer *a, uint16_t type, uint32_t ttl, const void *data, uint16_t data_len);
/* Writes an OPT of ours behind a message of len bytes, DNS_OPT_LEN long, which is returned. */
size_t dns_put_opt(uint8_t *msg, size_t len, const struct dns_query_info *query);
/* Adds OPT where the client has EDNS and finishes the header. Returns the length. */
size_t dns_answer_end(struct dns_answer *a, enum dns_rcode rcode);

#endif
