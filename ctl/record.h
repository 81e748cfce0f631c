/* SPDX-License-Identifier: MIT */
/*
 * A record: what must survive a snapshot of a VM, as one portable JSON document.
 *
 *	{"record_version":1,"sha256":"…64 hex…","vm":"web","name":"nightly","created_ms":…,
 *	 "cid":3,"net":{"subnet":"10.0.2.0/24"},
 *	 "guest":{"mac":"…","lease":{"addr","mac","hostname","since_ms"}},
 *	 "names":[{"addr","name","ttl_ms"},…],
 *	 "tsi":{"listeners":[{"svm_port","vm_port","family","backlog","addr","port"},…],
 *	        "proxies":[{"svm_port","family","peer"},…]},
 *	 "proxy":{…},"proxy_password":true,
 *	 "forwards":[…],"maps":[…],"policy":{…},"limits":{…},"hosts":{"items":[…]},"env":{…},
 *	 "secrets":["NAME",…]}
 *
 * name, cid, mac, lease, proxy, limits and a TSI proxy's peer may be absent; where there are no limits a
 * VM that is restored keeps its own; proxy_password says that there was one. Forwards, maps, policy,
 * limits, hosts and env are the documents of the API (a forward or map whose socket was handed over says
 * so); a unix path below
 * RUNTIME/vms/NAME/ is given without that, relative, since another VM's or host's lies elsewhere. Of
 * secrets there are names, never values. A name of the log has the time that it had left: the guest's
 * clock stands still until it is restored.
 *
 * sha256 is that of the document's canonical form without the member sha256: object members sorted by
 * the bytes of their names, no blanks, strings in UTF-8 with no escapes but \" \\ \b \f \n \r \t and
 * \u00xx (lower case) for other control characters, numbers as they were written. A file may be
 * laid out in any other way.
 *
 * A record that is read may have been written by an enemy: every field is checked, what is not known is
 * an error. A newer record_version is refused, and a file that was cut short or changed is named as
 * such.
 */
#ifndef CTL_RECORD_H
#define CTL_RECORD_H

#include "common/error.h"
#include "ctl/env.h"
#include "ctl/forward.h"
#include "ctl/hosts.h"
#include "ctl/limits_config.h"
#include "ctl/map.h"
#include "ctl/policy.h"
#include "ctl/proxy_config.h"
#include "ctl/tsi.h"
#include "ctl/worker_client.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_VERSION 1
#define RECORD_MAX (1u << 20) /* bytes of a file: what the API takes in one piece */
#define RECORD_TTL_MAX_MS (7ll * 86400 * 1000) /* of a name */
#define RECORD_TIME_MAX_MS 253402300799999     /* the end of the year 9999 */
#define RECORD_NAMES_MAX 4096
#define RECORD_ID_LEN 17
#define RECORD_SHA256_LEN 65

struct vm;

/* A path that is relative to the VM's directory where `below` says so. */
struct record_forward {
	struct forward_spec spec;
	bool below;
};

struct record_map {
	struct map_spec spec;
	bool below;
};

struct record {
	char id[RECORD_ID_LEN]; /* the first 16 digits of sha256, so the same on every host */
	char sha256[RECORD_SHA256_LEN];
	char *text; /* the file, in canonical form */
	size_t len;
	char vm[VM_NAME_MAX + 1];
	char name[VM_NAME_MAX + 1]; /* a label, or "" */
	int64_t created_ms;         /* wall clock */
	uint32_t cid;               /* 0: the VM had no vsock */
	struct prefix subnet;
	bool mac_known;
	struct mac mac;
	bool has_lease;
	struct worker_lease lease;
	struct worker_name *names; /* oldest first; until_ms is how long from now */
	size_t n_names;
	struct tsi_listener *listeners;
	size_t n_listeners;
	struct tsi_proxy *proxies;
	size_t n_proxies;
	struct record_forward *forwards;
	size_t n_forwards;
	struct record_map *maps;
	size_t n_maps;
	bool has_proxy; /* else it is of an earlier release */
	struct proxy_config proxy;
	bool proxy_password; /* there was one */
	struct policy *policy;
	bool has_limits;
	struct vm_limits limits;
	struct hosts *hosts;
	struct json_object *env;
	char (*secrets)[SECRET_NAME_MAX + 1];
	size_t n_secrets;
};

/* The file of what this VM is now; name may be "". Names of the log that do not fit any more are left
 * out, oldest first; 413 where the rest does not fit. A record, or NULL with err filled. */
struct record *record_take(const struct vm *vm, const char *name, struct error *err);
/* Reads a file. A record, or NULL with a 400. */
struct record *record_read(const char *text, size_t len, struct error *err);
void record_free(struct record *record); /* NULL is ignored */

/* ---- inside record*.c ---- */

/* The canonical form, to be freed; NULL without memory. */
char *record_canonical(struct json_object *doc, size_t *len);
void record_hash(const char *text, size_t len, char sha256[RECORD_SHA256_LEN]);

#endif
