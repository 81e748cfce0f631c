/* SPDX-License-Identifier: MIT */
/*
 * Maps: a vsock port of the host's that leads the guest to a service of the host, at a unix socket's
 * path or a TCP address. `{"port":5000,"to":{"unix":"/path"}|{"tcp":"ADDR:PORT"}}`
 *
 * map.c knows one map and its document; vm_map.c a VM's set of them, and connects.
 *
 * A unix path lies below RUNTIME/vms/NAME/, or its directory was handed over by attach.sock
 * (place.h), and whose it is is kept with the map.
 */
#ifndef CTL_MAP_H
#define CTL_MAP_H

#include "common/addr.h"
#include "common/error.h"
#include "ctl/place.h"
#include "ctl/vm_config.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define MAPS_MAX 256 /* a VM */

struct map_spec {
	uint32_t port;
	bool tcp;               /* else unix */
	struct endpoint to;     /* of tcp */
	char path[VM_PATH_LEN]; /* of unix */
	bool handed;
};

struct map {
	TAILQ_ENTRY(map) next; /* by port */
	struct map_spec spec;
	struct place place; /* of a handed path */
	int listener;       /* hybrid: where the VMM brings the guest's connections, or -1 */
	char error[VSOCK_ERROR_LEN]; /* of the listener, or "" */
	bool in_worker; /* scratch of an adoption: the worker had the listener already */
};

/* Reads a Map document at `path` of its request. `stored` allows for what only the store says. 0 or
 * -1. */
int map_spec_read(struct json_object *doc, const char *path, bool stored, struct map_spec *spec,
	struct error *err);
bool map_spec_equal(const struct map_spec *a, const struct map_spec *b);
/* As the store keeps it. */
struct json_object *map_spec_json(const struct map_spec *spec);
/* As the API shows it: with an error where there is one. */
struct json_object *map_json(const struct map *map);

#endif
