/* SPDX-License-Identifier: MIT */
/*
 * The server name of TLS (RFC 8446 section 4.1.2, RFC 6066 section 3) in what a client sends.
 *
 * A ClientHello is one handshake message in one or more records, and its end is the end of a
 * record. It is read strictly: lengths must add up, no extension may come twice that counts here.
 *
 * One ClientHello is not always all. A server that wants other key shares answers by
 * HelloRetryRequest, and the client sends a second ClientHello, whose server name counts for most
 * servers, though it should be the first one's. So records are followed by their lengths until
 * none can come any more: a handshake message of another kind (TLS 1.2 goes on), or application
 * data, unless the first ClientHello announced early data, which comes before the second. Behind a
 * ChangeCipherSpec a handshake record may be encrypted, and begin like a ClientHello by chance: that
 * ends nothing, and passes only if it can be no ClientHello (by its size, and none behind it). What is
 * encrypted is not seen: a renegotiation, Encrypted ClientHello (whose keys our DNS strips), and
 * the Host inside.
 */
#ifndef DATAPLANE_EGRESS_SNI_H
#define DATAPLANE_EGRESS_SNI_H

#include "dataplane/egress/unit.h"

#define SNI_FIRST_BYTE 0x16 /* of TLS: a handshake record */

struct sni {       /* zeroed at the first byte of a connection */
	size_t at; /* of the ClientHello under way: where its next record begins */
	uint32_t have,
		need; /* and its bytes in the records before, and in all (0: not known yet) */
	bool second;  /* one has passed */
	bool early;   /* and it announced early data */
	bool changed; /* a ChangeCipherSpec has passed */
	bool sealed;  /* and what must be the encrypted end of a handshake */
};

/* 1: a unit; 0: more bytes are needed; -EPROTO: this is no TLS, or not a client's. */
int sni_next(struct sni *sni, const uint8_t *bytes, size_t len, struct unit *unit);

#endif
