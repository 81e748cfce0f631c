/* SPDX-License-Identifier: MIT */
/*
 * A policy, compiled: an ordered list of rules and a default as one flat block of bytes.
 *
 * netctld compiles, the worker checks the block once and looks up each new flow in it. The block
 * holds no pointers, so it can be sent, kept and swapped as it is; its integers are in the byte
 * order of the machine (both ends run on the same one).
 *
 *   struct policy_rule rules[] = {…, preset's rules…};
 *   policy_table_compile(&input, &blob, &len, &bad)  →  PolicySet.table
 *   policy_table_check(blob, len)                    →  once, at the worker
 *   policy_table_judge(blob, gateway, host_access, proto, addr, port, &names)
 *
 * The first rule that matches wins. A lookup costs O(log n) in the number of prefixes, names and
 * ports, at most a few binary searches and two a name of the address, whatever the rules look
 * like (see policy_table.c).
 *
 * Names: a rule may list names beside prefixes. It matches an address by name while the caller
 * says that the guest was given the address under a name of the list. A wildcard is as in
 * certificates (RFC 6125, 6.4.3): `*` stands for exactly one label, the left-most, so
 * *.example.com is a.example.com, but neither example.com nor a.b.example.com. Case does not
 * matter, nor does one trailing dot.
 *
 * Addresses in which an IPv4 address is embedded are judged as that address, here and nowhere
 * else: policy_effective_addr().
 */
#ifndef COMMON_POLICY_TABLE_H
#define COMMON_POLICY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

/* Who gave a verdict: the index of a rule as its author counts them (0, 1, …), or one of: */
#define POLICY_BY_DEFAULT (-1)     /* no rule matched: the policy's own default */
#define POLICY_BY_PRESET (-2)      /* a preset's list, or its default */
#define POLICY_BY_HOST_ACCESS (-3) /* the gateway or the host's loopback, by host_access */

/* IANA numbers, as netdp.proto's Proto. ICMPv6 (58) is looked up as ICMP. */
#define POLICY_PROTO_ANY 0
#define POLICY_PROTO_ICMP 1
#define POLICY_PROTO_TCP 6
#define POLICY_PROTO_UDP 17

/* A table is at most this long, so that PolicySet fits its 4 MiB frame. */
#define POLICY_TABLE_MAX 4128768u /* 4 MiB less 64 KiB for what is around it */
/* At most so many pairs of prefix and port range over all rules of a policy. */
#define POLICY_ENTRIES_MAX 65536u

struct policy_ports {
	uint16_t lo; /* host byte order, both inclusive */
	uint16_t hi;
};

/*
 * A rule as it is written: any of `to` or `names`, and any of `ports`. Without both it is about
 * any address; n_ports 0 is all ports. A rule that gives ports says nothing about ICMP. Names are
 * as policy_name_parse() leaves them. Memory behind the pointers is the caller's and only read
 * while compiling.
 */
struct policy_rule {
	bool allow;
	uint8_t proto; /* POLICY_PROTO_… */
	const struct prefix *to;
	size_t n_to;
	const char *const *names;
	size_t n_names;
	const struct policy_ports *ports;
	size_t n_ports;
	bool verify_dns; /* what is matched by name is not looked at on the wire */
	int32_t by;      /* what a verdict of this rule is to say: its index, or POLICY_BY_PRESET */
};

struct policy_input {
	const struct policy_rule *rules;
	size_t n_rules;
	bool default_allow;
	int32_t default_by;       /* POLICY_BY_DEFAULT or POLICY_BY_PRESET */
	const struct prefix *own; /* the host's own addresses, which anybody's names do not admit */
	size_t n_own;
};

struct policy_verdict {
	bool allow;
	bool by_name; /* the rule matched by `name`; false where a prefix of it matched, too */
	bool verify_strict; /* allowed by name, and what the guest sends must bear the name out */
	int32_t by;
	const char *name; /* one of the lister's, or NULL; lives as long as that promises */
};

struct policy_flow {
	const struct addr *addr;
	uint16_t port; /* 0 for ICMP */
	uint8_t proto; /* POLICY_PROTO_… */
};

/*
 * Who knows the names of addresses: calls match(arg, name) for each name that flow->addr has for
 * such a flow until it returns true, and returns whether one did (names_admit() of
 * dataplane/egress/names.h).
 */
struct policy_names {
	bool (*admit)(void *log, const struct policy_flow *flow,
		bool (*match)(void *arg, const char *name), void *arg);
	void *log;
};

/*
 * Compiles into a fresh block that the caller frees. Errors, with *bad_rule (may be NULL) the
 * place in in->rules or (size_t)-1:
 *   -EINVAL  an unknown protocol, lo > hi, an ICMP rule with ports, or not a name
 *   -EDOM    a prefix inside ::/96, 64:ff9b::/96 or 2002::/16, which is judged as IPv4: such a
 *            rule could never match, the IPv4 prefix must be written instead
 *   -E2BIG   more than POLICY_ENTRIES_MAX entries or POLICY_TABLE_MAX bytes
 *   -ENOMEM
 */
int policy_table_compile(
	const struct policy_input *in, uint8_t **blob, size_t *len, size_t *bad_rule);

/* Whether a block (8-byte aligned, as malloc gives it) is a table that can be looked up without
 * further checks: 0, -EPROTONOSUPPORT for another version, -EINVAL. */
int policy_table_check(const void *blob, size_t len);

/* The verdict of a checked table's addresses and default, as if no address had a name: true to
 * allow. port is 0 for ICMP; by may be NULL. Protocols other than the three are denied. */
bool policy_table_lookup(
	const void *blob, uint8_t proto, const struct addr *addr, uint16_t port, int32_t *by);

/*
 * The verdict on a guest's flow, by address and by name (names may be NULL: addresses have none),
 * with what is true under every policy:
 *  - the gateway address is the host's loopback: only with host_access, and then only a rule of
 *    the VM's own (no preset, no default) can narrow it;
 *  - 0/8, 127/8, :: and ::1 are nobody's on a wire, and the host's own loopback in its socket
 *    calls: denied, so that host_access alone leads there;
 *  - UDP 443 is denied where a strict rule matches by name: QUIC hides the server name, and
 *    clients go on with TCP.
 */
struct policy_verdict policy_table_judge(const void *blob, const struct addr *gateway,
	bool host_access, uint8_t proto, const struct addr *addr, uint16_t port,
	const struct policy_names *names);

/*
 * The same as if `name`, which a guest's first bytes or request gave, were the only name of the
 * address. This, and not the list of the one rule that admitted the flow, is the question to ask
 * of a server name: a deny rule before it counts, and so does another rule that allows a second
 * name of a shared address.
 */
struct policy_verdict policy_table_judge_as(const void *blob, const struct addr *gateway,
	bool host_access, uint8_t proto, const struct addr *addr, uint16_t port, const char *name);

/* Whether any rule has names. */
bool policy_table_has_names(const void *blob);
/*
 * Whether a query for this name can be of use: some rule allows it on some port, or nothing but
 * its address decides since any address is allowed (by default, or by a rule without `to` or
 * with a prefix of no bits). Smaller prefixes admit addresses, not names. */
bool policy_table_name_possible(const void *blob, const char *name);
/* Who says no to a name that is not possible: a rule that denies it, else the default. */
int32_t policy_table_name_denied_by(const void *blob, const char *name);
/* Whether the list of rule `by` has this name, be it an allow or a deny rule. */
bool policy_table_name_admits(const void *blob, int32_t by, const char *name);
/*
 * Whether anybody's word is enough for the names of the flow's address: not where that is nobody's
 * on the public internet or the host's own, unless the flow is allowed whatever its names are. */
bool policy_table_any_name_counts(const void *blob, const struct policy_flow *flow);
/* How many of the author's rules there are: one more than the largest `by`. */
uint32_t policy_table_rules(const void *blob);

/* Addresses that are nobody's on the public internet: the list of the preset `public`, without
 * the host's own. Embedded IPv4 addresses count as what they are. */
bool policy_addr_is_private(const struct addr *addr);

/* ---- names ---- */

#define POLICY_NAME_LEN 254 /* 253 characters (RFC 1035) and a NUL */

/*
 * A name or wildcard as an operator writes it, in the form that is compared: lower case, without
 * the trailing dot. 0, or
 *   -EILSEQ  not ASCII: the A-label (xn--…) must be written
 *   -EDOM    `*` elsewhere than as the whole left-most label of more than one
 *   -EINVAL  not a name: empty or long labels, other characters, or a last label of digits only
 */
int policy_name_parse(const char *text, char out[POLICY_NAME_LEN]);

/*
 * IPv4 (mapped) for addresses that carry one: ::ffff:0:0/96 (mapped), ::/96 (compatible, but not
 * :: and ::1), 64:ff9b::/96 (NAT64, RFC 6052) and 2002::/16 (6to4, RFC 3056); others as they are.
 */
struct addr policy_effective_addr(const struct addr *a);

/* ---- presets ---- */

enum policy_preset { POLICY_OPEN, POLICY_NONE, POLICY_PUBLIC };

/* "open", "none", "public". 0 or -EINVAL. */
int policy_preset_parse(const char *name, enum policy_preset *out);
const char *policy_preset_name(enum policy_preset preset);

/*
 * The rules of a preset, to follow the VM's own, and its default (default_by is
 * POLICY_BY_PRESET). own are the addresses of the host's interfaces as prefixes, which `public`
 * denies; they must live as long as the rules do. Returns how many of out were filled.
 */
#define POLICY_PRESET_RULES_MAX 2
size_t policy_preset_rules(enum policy_preset preset, const struct prefix *own, size_t n_own,
	struct policy_rule out[POLICY_PRESET_RULES_MAX], bool *default_allow);

#endif
