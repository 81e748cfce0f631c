/* SPDX-License-Identifier: MIT */
/* A VM's environment and secrets. See env.h. */
#include "ctl/env.h"

#include "common/os.h"
#include "ctl/json_read.h"
#include "ctl/secret_key.h"
#include "ctl/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void env_init(struct env *env)
{
	memset(env, 0, sizeof(*env));
	TAILQ_INIT(&env->secrets);
}

void env_clear(struct env *env)
{
	struct secret *secret;

	while ((secret = TAILQ_FIRST(&env->secrets))) {
		TAILQ_REMOVE(&env->secrets, secret, next);
		free(secret);
	}
	json_object_put(env->doc);
	env_init(env);
}

bool secret_name_valid(const char *name)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789_";
	static const char rest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789_.-";
	size_t len = strlen(name);

	return len && len <= SECRET_NAME_MAX && strchr(first, *name) && strspn(name, rest) == len;
}

/* ---- env ---- */

struct json_object *vm_env(const struct vm *vm)
{
	return vm->env.doc ? json_object_get(vm->env.doc) : json_object_new_object();
}

void vm_env_take(struct vm *vm, struct json_object *doc)
{
	json_object_put(vm->env.doc);
	vm->env.doc = json_object_get(doc);
	vm_event(vm, "env.set", NULL);
}

int vm_env_set(struct vm *vm, struct json_object *doc, struct error *err)
{
	if (!json_object_is_type(doc, json_type_object))
		return error_set(err, 400, NULL, "an object is wanted");
	if (strlen(json_text(doc)) > ENV_MAX)
		return error_set(err, 413, NULL, "env of VM %s: more than %u bytes of JSON",
			vm->config.name, ENV_MAX);
	if (!vm->ephemeral &&
		store_env_set(vm->vms->store, vm->config.name, json_text(doc), err) < 0)
		return -1;
	vm_env_take(vm, doc);
	return 0;
}

/* ---- secrets ---- */

static struct secret *find(const struct env *env, const char *name)
{
	struct secret *secret;

	TAILQ_FOREACH(secret, &env->secrets, next) {
		if (strcmp(secret->name, name) == 0)
			return secret;
	}
	return NULL;
}

static size_t value_len(const struct secret *secret)
{
	return secret->len - SECRET_KEY_OVERHEAD;
}

static struct secret *secret_new(const char *name, size_t sealed_len)
{
	struct secret *secret = malloc(sizeof(*secret) + sealed_len);

	if (!secret)
		return NULL;
	memset(secret, 0, sizeof(*secret));
	memcpy(secret->name, name, strlen(name) + 1);
	secret->len = sealed_len;
	return secret;
}

static void insert(struct env *env, struct secret *secret)
{
	struct secret *after;

	TAILQ_FOREACH(after, &env->secrets, next) {
		if (strcmp(after->name, secret->name) > 0)
			break;
	}
	if (after)
		TAILQ_INSERT_BEFORE(after, secret, next);
	else
		TAILQ_INSERT_TAIL(&env->secrets, secret, next);
	env->n++;
	env->bytes += value_len(secret);
}

static void drop(struct env *env, struct secret *secret)
{
	TAILQ_REMOVE(&env->secrets, secret, next);
	env->n--;
	env->bytes -= value_len(secret);
	free(secret);
}

static int check_secret(
	struct vm *vm, const char *name, size_t len, const struct secret *old, struct error *err)
{
	size_t others = vm->env.bytes - (old ? value_len(old) : 0);

	if (!secret_name_valid(name))
		return error_set(err, 400, "name",
			"\"%.64s\" is no name of a secret: 1 to %d of A-Z a-z 0-9 _ . - are", name,
			SECRET_NAME_MAX);
	if (!len)
		return error_set(err, 400, NULL, "secret %s/%s: empty", vm->config.name, name);
	if (len > SECRET_MAX)
		return error_set(err, 413, NULL, "secret %s/%s: more than %u bytes",
			vm->config.name, name, SECRET_MAX);
	if (!old && vm->env.n >= SECRETS_MAX)
		return error_set(err, 409, NULL, "secret %s/%s: the VM has %d already",
			vm->config.name, name, SECRETS_MAX);
	if (others + len > SECRETS_BYTES_MAX)
		return error_set(err, 409, NULL,
			"secret %s/%s: the VM's secrets would be more than %u bytes together",
			vm->config.name, name, SECRETS_BYTES_MAX);
	if (!vm->vms->key)
		return error_set(err, 503, NULL, "secret %s/%s: %.300s", vm->config.name, name,
			vm->vms->key_error);
	return 0;
}

static void tell(struct vm *vm, const char *type, const char *name)
{
	struct json_object *data = json_object_new_object();

	json_put_string(data, "name", name);
	vm_event(vm, type, data);
}

int vm_secret_set(struct vm *vm, const char *name, const void *value, size_t len, struct error *err)
{
	struct secret *old = find(&vm->env, name), *secret;

	if (check_secret(vm, name, len, old, err) < 0)
		return -1;
	secret = secret_new(name, len + SECRET_KEY_OVERHEAD);
	if (!secret)
		return error_set(err, 500, NULL, "out of memory");
	secret_key_seal(vm->vms->key, vm->config.name, name, value, len, secret->sealed);
	if (!vm->ephemeral &&
		store_secret_set(vm->vms->store, vm->config.name, name, secret->sealed, secret->len,
			err) < 0) {
		free(secret);
		return -1;
	}
	if (old)
		drop(&vm->env, old);
	insert(&vm->env, secret);
	tell(vm, "secret.set", secret->name);
	return 0;
}

void vm_secret_end(struct vm *vm, struct secret *secret)
{
	tell(vm, "secret.deleted", secret->name);
	drop(&vm->env, secret);
}

int vm_secret_delete(struct vm *vm, const char *name, struct error *err)
{
	struct secret *secret = find(&vm->env, name);

	if (!secret)
		return error_set(
			err, 404, "name", "secret %s/%.128s is unknown", vm->config.name, name);
	if (!vm->ephemeral &&
		store_secret_delete(vm->vms->store, vm->config.name, secret->name, err) < 0)
		return -1;
	vm_secret_end(vm, secret);
	return 0;
}

/* ---- from the store ---- */

struct restored {
	struct env *env;
	bool failed;
};

static void restore_doc(void *arg, const char *text)
{
	struct restored *restored = arg;

	restored->env->doc = json_tokener_parse(text);
	if (!json_object_is_type(restored->env->doc, json_type_object))
		restored->failed = true;
}

static void restore_secret(void *arg, const char *name, const void *sealed, size_t len)
{
	struct restored *restored = arg;
	struct secret *secret = NULL;

	if (secret_name_valid(name) && len > SECRET_KEY_OVERHEAD &&
		len <= SECRET_MAX + SECRET_KEY_OVERHEAD && restored->env->n < SECRETS_MAX)
		secret = secret_new(name, len);
	if (!secret) {
		restored->failed = true;
		return;
	}
	memcpy(secret->sealed, sealed, len);
	insert(restored->env, secret);
}

int vm_env_restore(struct vm *vm, struct error *err)
{
	struct restored restored = {.env = &vm->env};
	const char *name = vm->config.name;

	if (store_env(vm->vms->store, name, restore_doc, &restored, err) < 0 ||
		store_secrets(vm->vms->store, name, restore_secret, &restored, err) < 0)
		return -1;
	if (restored.failed)
		return error_set(
			err, 500, NULL, "store: env or a secret of VM %s is damaged", name);
	return 0;
}

/* ---- the document ---- */

/* Room was made for all that is put, before any of it was: nothing is left behind by growing. */
struct out {
	char *text;
	size_t len;
	size_t room;
};

static void put(struct out *out, const char *bytes, size_t len)
{
	memcpy(out->text + out->len, bytes, len);
	out->len += len;
}

static void put_word(struct out *out, const char *text)
{
	put(out, text, strlen(text));
}

/* How many bytes the UTF-8 character at p takes (RFC 3629), or 0 where there is none. */
static size_t utf8_len(const uint8_t *p, size_t len)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (!n || n > len || p[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static bool is_text(const uint8_t *value, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len(value + i, len - i);
		if (!n || value[i] == 0x7f)
			return false;
		if (value[i] < 0x20 && value[i] != '\t' && value[i] != '\n' && value[i] != '\r')
			return false;
	}
	return true;
}

static void put_text(struct out *out, const uint8_t *value, size_t len)
{
	put_word(out, "\"");
	for (size_t i = 0; i < len; i++) {
		if (value[i] == '\n')
			put_word(out, "\\n");
		else if (value[i] == '\r')
			put_word(out, "\\r");
		else if (value[i] == '\t')
			put_word(out, "\\t");
		else if (value[i] == '"')
			put_word(out, "\\\"");
		else if (value[i] == '\\')
			put_word(out, "\\\\");
		else
			out->text[out->len++] = (char)value[i];
	}
	put_word(out, "\"");
}

static void put_base64(struct out *out, const uint8_t *value, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";

	put_word(out, "{\"base64\":\"");
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)value[i] << 16;

		if (n > 1)
			bits |= (uint32_t)value[i + 1] << 8;
		if (n > 2)
			bits |= value[i + 2];
		out->text[out->len++] = digits[bits >> 18];
		out->text[out->len++] = digits[bits >> 12 & 63];
		out->text[out->len++] = n > 1 ? digits[bits >> 6 & 63] : '=';
		out->text[out->len++] = n > 2 ? digits[bits & 63] : '=';
	}
	put_word(out, "\"}");
}

/* An upper bound of what put_secrets() puts. */
static size_t secrets_room(const struct env *env)
{
	const struct secret *secret;
	size_t room = 0;

	TAILQ_FOREACH(secret, &env->secrets, next)
		room += strlen(secret->name) + 2 * value_len(secret) + 32;
	return room;
}

static int put_secrets(struct vm *vm, struct out *out, struct error *err)
{
	uint8_t *value = malloc(SECRET_MAX);
	const struct secret *secret;
	int status = 0;

	if (!value)
		return error_set(err, 500, NULL, "out of memory");
	TAILQ_FOREACH(secret, &vm->env.secrets, next) {
		size_t len = value_len(secret);

		if (secret_key_unseal(vm->vms->key, vm->config.name, secret->name, secret->sealed,
			    secret->len, value) < 0) {
			status = error_set(err, 500, NULL, "secret %s/%s: damaged, does not open",
				vm->config.name, secret->name);
			break;
		}
		put_word(out, secret == TAILQ_FIRST(&vm->env.secrets) ? "\"" : ",\"");
		put_word(out, secret->name);
		put_word(out, "\":");
		if (is_text(value, len))
			put_text(out, value, len);
		else
			put_base64(out, value, len);
		os_wipe(value, len);
	}
	free(value);
	return status;
}

int vm_env_document(struct vm *vm, char **text, size_t *len, struct error *err)
{
	struct json_object *doc;
	struct out out = {0};
	const char *env;
	int status;

	if (vm->env.n && !vm->vms->key)
		return error_set(err, 503, NULL, "secrets of VM %s: %.300s", vm->config.name,
			vm->vms->key_error);
	doc = vm_env(vm);
	env = json_text(doc);
	out.room = strlen(env) + secrets_room(&vm->env) + 32;
	out.text = malloc(out.room);
	if (!out.text) {
		json_object_put(doc);
		return error_set(err, 500, NULL, "out of memory");
	}
	put_word(&out, "{\"env\":");
	put_word(&out, env);
	put_word(&out, ",\"secrets\":{");
	json_object_put(doc);
	status = put_secrets(vm, &out, err);
	put_word(&out, "}}");
	if (status) {
		os_wipe(out.text, out.len);
		free(out.text);
		return -1;
	}
	*text = out.text;
	*len = out.len;
	return 0;
}
