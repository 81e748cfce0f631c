/* SPDX-License-Identifier: MIT */
/*
 * A forward as it is written on a command line:
 *
 *	[tcp:|udp:][BIND:]HOST[-HOST]:TARGET[/udp]
 *	unix:PATH:TARGET
 *
 * TARGET is PORT[-PORT], vsock:PORT, tsi, tsi:VM_PORT or tsi@PORT; BIND an IPv4 address, an
 * [IPv6] one or *, by default loopback; HOST 0 is any free port. Ranges must be equally long and
 * have at most SPEC_MAX_ITEMS ports. Ports are in host byte order.
 */
#ifndef CLI_SPEC_H
#define CLI_SPEC_H

#include "common/addr.h"
#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define SPEC_MAX_ITEMS 256
#define SPEC_ID_LEN 512

enum spec_listen { SPEC_TCP, SPEC_UDP, SPEC_UNIX };
enum spec_target { SPEC_PORT, SPEC_VSOCK, SPEC_TSI_FIRST, SPEC_TSI_VM_PORT, SPEC_TSI_BOUND };

struct spec {
	enum spec_listen listen;
	char bind[ADDR_STRLEN]; /* numeric; of tcp and udp */
	char path[256];         /* of unix; absolute */
	uint16_t host;          /* the first port, or 0 */
	uint16_t count;         /* how many ports, 1 for all but ranges */
	enum spec_target target;
	uint32_t to; /* the first port (32 bits for vsock and tsi:), 0 for SPEC_TSI_FIRST */
};

/* Returns 0, or -1 with err->text naming the faulty part and err->field its name: "HOST",
 * "TARGET", "BIND" or "PATH". */
int spec_parse(const char *text, struct spec *out, struct error *err);

/* Item i of the spec's count as the API's Forward. Owned by the caller. */
struct json_object *spec_item(const struct spec *spec, unsigned i);

/* The id that the daemon gives item i: "tcp:127.0.0.1:8080", "unix:/p.sock". Writes into buf of
 * SPEC_ID_LEN and returns it. */
char *spec_id(const struct spec *spec, unsigned i, char *buf, size_t len);

/* Whether text is a forward's id rather than a spec: a protocol, an address and one port. */
bool spec_is_id(const char *text);

#endif
