/* SPDX-License-Identifier: MIT */
/*
 * What a VM may take of the host's network: `{"rate_in","rate_out","max_flows","new_flows"}` of its
 * document. A limit that is absent, or null, is none.
 */
#ifndef CTL_LIMITS_CONFIG_H
#define CTL_LIMITS_CONFIG_H

#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define VM_RATE_MIN 8000 /* bits a second */
#define VM_RATE_MAX 1000000000000
#define VM_FLOWS_MAX 1000000

/* 0: no such limit. */
struct vm_limits {
	uint64_t rate_in, rate_out; /* to the guest, from the guest; bits a second */
	uint32_t max_flows;         /* TCP, UDP, ICMP and vsock together */
	uint32_t new_flows;         /* a second */
};

/* Reads `doc`'s "limits", none where it is absent. 0 or -1. */
int limits_config_read(struct json_object *doc, struct vm_limits *config, struct error *err);
bool limits_config_equal(const struct vm_limits *a, const struct vm_limits *b);
/* The limits that there are; an object without members where there are none. */
struct json_object *limits_config_json(const struct vm_limits *config);

#endif
