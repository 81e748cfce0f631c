/* SPDX-License-Identifier: MIT */
/*
 * What a VM is asked to be: the part of its API document that is only settings.
 *
 * A fixed-size value without pointers. vm_config_json() of what vm_config_read() made reads back to
 * the same value, so that text is also its form in the store, and two configs are the same when
 * their texts are.
 */
#ifndef CTL_VM_CONFIG_H
#define CTL_VM_CONFIG_H

#include "common/addr.h"
#include "common/error.h"
#include "ctl/limits_config.h"
#include "ctl/proxy_config.h"
#include "ctl/vsock_config.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define VM_NAME_MAX 63
#define VM_PATH_LEN 108
#define VM_UPSTREAMS_MAX 8
#define VM_SEARCH_MAX 6
#define VM_DOMAIN_LEN 254

enum vm_link { VM_LINK_NONE, VM_LINK_STREAM, VM_LINK_DGRAM, VM_LINK_ATTACH };

struct vm_config {
	char name[VM_NAME_MAX + 1];
	enum vm_link link;
	char path[VM_PATH_LEN]; /* of a stream or dgram link's socket, else "" */
	bool handed;            /* that socket comes by attach.sock, from whoever bound it */
	uint32_t mtu;           /* 0: what suits the link */
	struct prefix subnet;   /* IPv4, at least a /29 */
	struct addr gateway;    /* .2 of the subnet */
	struct addr guest;      /* .15, or .3 in subnets that have no .15 */
	bool mac_fixed;
	struct mac mac;
	struct endpoint upstreams[VM_UPSTREAMS_MAX]; /* none: the host's */
	size_t n_upstreams;
	char search[VM_SEARCH_MAX][VM_DOMAIN_LEN];
	size_t n_search;
	bool answer_unlisted; /* names that no rule could admit; else NXDOMAIN */
	struct proxy_config proxy;
	bool host_access;
	uint32_t ttl_s; /* 0: never deleted by itself */
	struct vsock_config vsock;
	struct vm_limits limits;
};

bool vm_name_valid(const char *name);
/* A host name of letters, digits, '-', '_' and '.', each label 1 to 63 long. */
bool domain_name_valid(const char *name);
/* Whether a path is of a file below RUNTIME/vms/NAME/, by its text alone. */
bool vm_path_below(const char *path, const char *runtime_dir, const char *vm);

/* The fields of a POST that config reads, for the caller's json_only(); ends with NULL. */
extern const char *const vm_config_fields[];

/*
 * Reads `doc` (fields other than these are the caller's to judge). link_default is for documents
 * that say nothing of a link. runtime_dir is where paths must lie that are not handed. 0 or -1.
 */
int vm_config_read(struct json_object *doc, const char *runtime_dir, enum vm_link link_default,
	struct vm_config *config, struct error *err);
struct json_object *vm_config_json(const struct vm_config *config);

/* The MTU in force with this kind of NIC: tap and stream 65520, dgram 1500, unless set. */
uint32_t vm_config_mtu(const struct vm_config *config, bool datagrams);

const char *vm_link_name(enum vm_link link);

#endif
