/* SPDX-License-Identifier: MIT */
/*
 * What a guest is told by its VM's env service: environment and secrets, one JSON document
 *
 *	{"env":{…},"secrets":{"NAME":"text" | {"base64":"…"}}}
 *
 * env is a JSON object of any shape, shown by the API. Secrets are bytes that go in and come out by the
 * guest's read alone: they are sealed (secret_key.h) as soon as they are here, in memory as in the
 * store, and opened only while the document is made, which its taker wipes. A secret that is UTF-8
 * without control characters (but tab, LF and CR) stands in the document as a string, any other as an
 * object with its base64.
 *
 * Of an ephemeral VM nothing is stored. Changes are in the store before a function returns 0. The
 * document is asked for at each read, so a change needs no word to the worker.
 */
#ifndef CTL_ENV_H
#define CTL_ENV_H

#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define ENV_MAX (1u << 20)     /* bytes of env's JSON */
#define SECRET_MAX (64u << 10) /* bytes of a value */
#define SECRETS_MAX 256
#define SECRETS_BYTES_MAX (1u << 20) /* values of a VM, together: a document fits a control frame */
#define SECRET_NAME_MAX 128

struct vm;

struct secret {
	TAILQ_ENTRY(secret) next; /* by name */
	char name[SECRET_NAME_MAX + 1];
	size_t len; /* of sealed */
	uint8_t sealed[];
};

struct env {
	struct json_object *doc; /* an object; NULL is an empty one */
	TAILQ_HEAD(secret_list, secret) secrets;
	size_t n;
	size_t bytes; /* of all values */
	bool told;    /* that there is no document: once, however often the guest asks */
};

void env_init(struct env *env);
void env_clear(struct env *env);

/* 1 to 128 of A-Z a-z 0-9 _ . - that begin with a letter, digit or _. */
bool secret_name_valid(const char *name);

/* A reference to the env object, for the caller to put. */
struct json_object *vm_env(const struct vm *vm);
/* Replaces it; takes a reference on success. */
int vm_env_set(struct vm *vm, struct json_object *doc, struct error *err);
/* Adds or replaces one. value may be NULL where len is above SECRET_MAX. The caller wipes value. */
int vm_secret_set(
	struct vm *vm, const char *name, const void *value, size_t len, struct error *err);
int vm_secret_delete(struct vm *vm, const char *name, struct error *err);
/* Both but for the store. */
void vm_env_take(struct vm *vm, struct json_object *doc);
void vm_secret_end(struct vm *vm, struct secret *secret);
/* From the store, at start. */
int vm_env_restore(struct vm *vm, struct error *err);

/* The document, malloc'd, not terminated: the caller wipes its *len bytes and frees it. */
int vm_env_document(struct vm *vm, char **text, size_t *len, struct error *err);

#endif
