/* SPDX-License-Identifier: MIT */
/* Local names that a guest's DNS answers: `{"items":[{"name":…,"addresses":[…]}]}` read and kept. */
#ifndef CTL_HOSTS_H
#define CTL_HOSTS_H

#include "common/error.h"
#include "ctl/vm_config.h"
#include "ctl/worker_client.h"

#include <json-c/json.h>

#define HOSTS_MAX 1024
#define HOSTS_ADDRS_MAX 16

struct hosts {
	struct json_object *doc; /* as read, names in lower case */
	struct worker_host *items;
	size_t n;
	char (*names)[VM_DOMAIN_LEN]; /* what items point into */
	struct addr *addrs;           /* HOSTS_ADDRS_MAX for each */
};

/* doc NULL is an empty list. A fresh struct, or NULL with err filled. */
struct hosts *hosts_read(struct json_object *doc, struct error *err);
/* Whether the name, in lower case, has this address there, or with NULL any. */
bool hosts_have(const struct hosts *hosts, const char *name, const struct addr *addr);
void hosts_free(struct hosts *hosts);

#endif
