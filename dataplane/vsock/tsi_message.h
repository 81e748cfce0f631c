/* SPDX-License-Identifier: MIT */
/*
 * TSI's control messages as they lie in datagrams: little-endian and packed, but for `addr`, which
 * holds a Linux sockaddr (port and address in network order). Here they are translated to numbers
 * and endpoints and back, and lengths are checked; nothing else is judged.
 *
 * Families, types and errno values are Linux's, whatever this host calls them.
 */
#ifndef DATAPLANE_VSOCK_TSI_MESSAGE_H
#define DATAPLANE_VSOCK_TSI_MESSAGE_H

#include "common/addr.h"
#include "dataplane/stack/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request's destination port. */
enum tsi_op {
	TSI_PROXY_CREATE = 1024,
	TSI_CONNECT,
	TSI_GETNAME,
	TSI_SENDTO_ADDR,
	TSI_SENDTO_DATA,
	TSI_LISTEN,
	TSI_ACCEPT,
	TSI_PROXY_RELEASE,
};

#define TSI_INET 2u
#define TSI_INET6 10u
#define TSI_STREAM 1u
#define TSI_DGRAM 2u

#define TSI_ADDR_MAX 128u
#define TSI_REQUEST_MAX 144u /* the longest: LISTEN */
#define TSI_RESULT_LEN 4u    /* a reply of CONNECT, LISTEN, ACCEPT */
#define TSI_NAME_LEN 136u    /* and of GETNAME */

/* A sockaddr of the guest's. */
struct tsi_addr {
	uint32_t family; /* TSI_INET, TSI_INET6 */
	struct endpoint at;
};

struct tsi_create {
	uint32_t svm_port;
	uint32_t family, type; /* any */
};

struct tsi_connect { /* SENDTO_ADDR, too */
	uint32_t svm_port;
	struct tsi_addr to;
};

struct tsi_getname {
	uint32_t svm_port;
	uint32_t peer_port; /* the host's port of an accepted connection */
	bool peer;          /* the far end's name */
};

struct tsi_listen {
	uint32_t svm_port, vm_port, backlog;
	struct tsi_addr addr;
};

struct tsi_release {
	uint32_t svm_port, peer_port;
};

/*
 * Each reads a request: 0, -EINVAL for a short body or an address length that cannot be, or
 * -EAFNOSUPPORT for a family that is neither of the two. Also then svm_port is what it says, or 0
 * where there is none.
 */
int tsi_read_create(struct cursor c, struct tsi_create *out);
int tsi_read_connect(struct cursor c, struct tsi_connect *out);
int tsi_read_getname(struct cursor c, struct tsi_getname *out);
int tsi_read_listen(struct cursor c, struct tsi_listen *out);
int tsi_read_accept(struct cursor c, uint32_t *svm_port);
int tsi_read_release(struct cursor c, struct tsi_release *out);

/* err is 0 or a negative errno of this host's. */
void tsi_write_result(uint8_t p[TSI_RESULT_LEN], int err);
/* name is of a socket of `family`, and IPv4 where that is TSI_INET; NULL where err is not 0. */
void tsi_write_name(uint8_t p[TSI_NAME_LEN], int err, uint32_t family, const struct endpoint *name);

/* Linux's number of an errno of this host's, both positive. */
int tsi_errno(int err);

#endif
