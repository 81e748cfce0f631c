/* SPDX-License-Identifier: MIT */
/*
 * The values inside messages, checked where they are read: an address is 16 bytes, a MAC 6, a port
 * at most 65535, a text printable ASCII of a bounded length. Each getter returns false for anything
 * else, and then leaves *out in an unspecified state.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include "common/addr.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

bool wire_get_addr(ProtobufCBinaryData bytes, struct addr *out);
bool wire_get_mac(ProtobufCBinaryData bytes, struct mac *out);
bool wire_get_endpoint(ProtobufCBinaryData bytes, uint32_t port, struct endpoint *out);
/* bits counts from the mapped form's start; host bits must be zero. */
bool wire_get_prefix(ProtobufCBinaryData bytes, uint32_t bits, struct prefix *out);
/* Copies into out[size] with its NUL. */
bool wire_get_text(const char *text, char *out, size_t size);
/* For people only: what does not fit is cut, what is not printable becomes '?'. */
void wire_get_remark(const char *text, char *out, size_t size);

/* These point at what they are given, which must outlive the message. */
ProtobufCBinaryData wire_put(const void *bytes, size_t len);
ProtobufCBinaryData wire_put_addr(const struct addr *addr);
ProtobufCBinaryData wire_put_mac(const struct mac *mac);
/* protobuf-c wants char * where it only reads. */
char *wire_put_text(const char *text);

#endif
