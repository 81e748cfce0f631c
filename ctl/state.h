/* SPDX-License-Identifier: MIT */
/*
 * The wanted state of the host, all of it, as one document: what `netctl export` gives and `netctl
 * apply` brings about.
 *
 *	{"state_version":1,"vms":[
 *	 {"name":"web","link":{…},"net":{…},…,        all that a POST of a VM may say
 *	  "policy":{…},"forwards":[…],
 *	  "maps":[…],"hosts":{"items":[…]},"env":{…},"secrets":["NAME",…]},…]}
 *
 * Of a VM, what is absent is the default, as in a POST. A VM that is absent is deleted, with all it has;
 * ephemeral VMs are no part of it. Of secrets there are names, never values: one that is named and there
 * is kept, one that is named and not there is told as missing, one that is there and not named is
 * deleted, and where `secrets` is absent they are left as they are. `"proxy_password":true` says that the
 * proxy has a password, which is kept, or told as missing, likewise. A forward with host port 0 is any
 * one that the VM has with the same content. A forward or map of which `handed` is true has a socket
 * that came by attach.sock: one that is there is kept, else it stands with an error until it is handed
 * over again.
 *
 *	read      the whole document: fields, and what is named twice
 *	compare   with what is there: the difference, line by line
 *	prepare   all that can fail: sockets bound, policies compiled. A socket that changes hands, from
 *	          VM to VM or from one target to another, is not bound anew but passed on.
 *	store     one transaction
 *	commit    sets, events, workers: nothing of it fails
 *
 * So a kill at any moment leaves all or nothing of it. What only a new VM may say (link, vsock, net) is
 * a conflict where the VM is another.
 */
#ifndef CTL_STATE_H
#define CTL_STATE_H

#include "common/error.h"
#include "ctl/vm.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define STATE_VERSION 1
#define STATE_MAX (16u << 20) /* bytes of a document that is applied */
#define STATE_VMS_MAX 4096
#define STATE_DEPTH 4 /* that a VM's env is deeper in it than alone */

struct state;

/* What there is, as a document to be put. NULL with err filled. */
struct json_object *state_json(struct vms *vms, struct error *err);

/* Reads a document and compares. It is about the VMs as they are: to be used at once, with nothing
 * changed between. NULL with err filled. */
struct state *state_read(struct vms *vms, struct json_object *doc, struct error *err);
void state_free(struct state *state);
/* Array of {"op":"add"|"remove"|"change","vm","field","from","to"}, without field where it is the VM as a
 * whole; of {"vm","name"} of secrets; and of VMs whose proxy's password is missing. All are the state's
 * own. */
struct json_object *state_changes(const struct state *state);
struct json_object *state_missing(const struct state *state);
struct json_object *state_no_password(const struct state *state);
/* All or nothing: 0, or -1 with nothing changed. To be called once. */
int state_apply(struct state *state, bool cut_existing, struct completion *wait, struct error *err);

/* ---- inside state*.c ---- */

struct state_forward {
	struct forward_spec spec;
	const struct forward *have; /* which has its listen side now, or NULL */
	bool replaces;              /* and `have` leads elsewhere, or is called otherwise */
	struct forward *made;       /* prepared, in its place or anew */
};

struct state_map {
	struct map_spec spec;
	struct map *have;
	struct map *made;
};

/* A VM of the document. */
struct state_vm {
	struct vm *vm;             /* that there is, or NULL */
	struct vm *made;           /* prepared anew */
	struct vm_request request; /* without forwards */
	struct state_forward *forwards;
	size_t n_forwards;
	struct state_map *maps;
	size_t n_maps;
	struct json_object *env;
	struct json_object *secrets; /* names, or NULL: left as they are */
	bool proxy_password;         /* its proxy has one */
	bool new_config, new_hosts, new_env;
	uint8_t *table; /* of another policy than the VM has, else NULL */
	size_t table_len;
};

struct state {
	struct vms *vms;
	struct state_vm *items;
	size_t n;
	struct vm **gone; /* VMs that the document does not have */
	size_t n_gone;
	struct json_object *changes;
	struct json_object *missing;
	struct json_object *no_password;
};

/* Parts of a VM's document, each owned by the caller until state_document(). */
struct state_parts {
	const struct vm_config *config;
	const struct policy *policy;
	struct json_object *forwards, *maps, *hosts, *env, *secrets;
};

/* Takes the parts. */
struct json_object *state_document(struct vms *vms, const struct state_parts *parts);
struct json_object *state_vm_document(struct vm *vm);
/* Adds to `changes` what makes a VM's document `from` (NULL: there is none) the document `to`. */
void state_diff(struct json_object *changes, const char *vm, struct json_object *from,
	struct json_object *to);
/* Whether an array of strings has it. */
bool state_has_name(struct json_object *names, const char *name);

#endif
