/* SPDX-License-Identifier: MIT */
/* The key of secrets. See secret_key.h. */
#include "ctl/secret_key.h"

#include "common/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREDENTIAL "netctl-store-key"
#define MATERIAL_MIN 32
#define MATERIAL_MAX 4096
#define SEALED_VERSION 1
/* secretbox leaves the first 32 bytes of what it opened in its frame. */
#define STACK_USED 4096

struct secret_key {
	uint8_t bytes[crypto_secretbox_KEYBYTES];
};

_Static_assert(SECRET_KEY_OVERHEAD == 1 + crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES,
	"the sealed form");

/* ---- where it comes from ---- */

/* Nobody but its owner may read a key file of ours. A credential's rights are systemd's affair. */
static int check_owner(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, 500, NULL, "key %s: %s", path, errno_text(errno));
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
		return error_set(
			err, 500, NULL, "key %s: not a file of mode 0600 or stricter", path);
	if (st.st_uid != geteuid())
		return error_set(err, 500, NULL, "key %s: belongs to another user", path);
	return 0;
}

/* Reads at most size bytes; how many, or -errno. */
static ssize_t read_all(int fd, uint8_t *buf, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* 1, or 0 where there is no such file, or -1. */
static int load(const char *path, bool ours, struct secret_key *key, struct error *err)
{
	uint8_t material[MATERIAL_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC | (ours ? O_NOFOLLOW : 0)), status = 0;
	ssize_t len;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return error_set(err, 500, NULL, "key %s: %s", path, errno_text(errno));
	if (ours)
		status = check_owner(fd, path, err);
	len = status ? 0 : read_all(fd, material, sizeof(material));
	close(fd);
	if (!status && len < 0)
		status = error_set(err, 500, NULL, "key %s: %s", path, errno_text((int)len));
	else if (!status && (len < MATERIAL_MIN || len > MATERIAL_MAX))
		status = error_set(err, 500, NULL, "key %s: %d to %d bytes are wanted", path,
			MATERIAL_MIN, MATERIAL_MAX);
	if (!status)
		crypto_generichash(key->bytes, sizeof(key->bytes), material, (size_t)len, NULL, 0);
	os_wipe(material, sizeof(material));
	return status ? -1 : 1;
}

static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* On the disk when it returns, under its name only when it is whole. */
static int make(const char *state_dir, const char *path, struct error *err)
{
	char fresh[PATH_MAX + 32];
	uint8_t material[MATERIAL_MIN];
	int fd, failed = 0;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, 500, NULL, "key %s: %s", fresh, errno_text(errno));
	os_random(material, sizeof(material));
	if (write(fd, material, sizeof(material)) != (ssize_t)sizeof(material))
		failed = EIO;
	else if (fsync(fd) < 0)
		failed = errno;
	os_wipe(material, sizeof(material));
	close(fd);
	if (!failed && rename(fresh, path) < 0)
		failed = errno;
	if (!failed)
		failed = -sync_directory(state_dir);
	if (!failed)
		return 0;
	unlink(fresh);
	return error_set(err, 500, NULL, "key %s: %s", path, errno_text(failed));
}

/* Fills key, and path with where it came from. */
static int find(const char *state_dir, int64_t n_secrets, struct secret_key *key, char *path,
	size_t path_len, struct error *err)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	int got = 0;

	if (credentials) {
		snprintf(path, path_len, "%s/" CREDENTIAL, credentials);
		got = load(path, false, key, err);
		if (got)
			return got < 0 ? -1 : 0;
	}
	snprintf(path, path_len, "%s/netctl.key", state_dir);
	got = load(path, true, key, err);
	if (!got && n_secrets)
		return error_set(err, 500, NULL,
			"key %s: not there, and the store has %lld secrets sealed with it", path,
			(long long)n_secrets);
	if (!got && make(state_dir, path, err) == 0)
		got = load(path, true, key, err);
	return got > 0 ? 0 : -1;
}

/* A number that tells one key from another and nothing about it. */
static int64_t mark_of(const struct secret_key *key)
{
	static const char what[] = "netctl: the key's mark";
	uint8_t hash[crypto_generichash_BYTES];
	uint64_t mark = 0;

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)what, sizeof(what), key->bytes,
		sizeof(key->bytes));
	for (int i = 0; i < 8; i++)
		mark = mark << 8 | hash[i];
	return (int64_t)(mark >> 1 | 1);
}

static int fits(struct store *store, const struct secret_key *key, int64_t n_secrets,
	const char *path, struct error *err)
{
	int64_t mark = 0;

	if (store_key_mark(store, &mark, err) < 0)
		return -1;
	if (mark == mark_of(key))
		return 0;
	if (n_secrets)
		return error_set(err, 500, NULL,
			"key %s: the store has %lld secrets sealed with another", path,
			(long long)n_secrets);
	return store_key_set_mark(store, mark_of(key), err);
}

int secret_key_open(
	struct store *store, const char *state_dir, struct secret_key **out, struct error *err)
{
	char path[PATH_MAX + 16];
	struct secret_key *key;
	int64_t n = 0;

	*out = NULL;
	if (store_secrets_count(store, &n, err) < 0)
		return -1;
	if (sodium_init() < 0)
		return error_set(err, 500, NULL, "libsodium does not start");
	key = sodium_malloc(sizeof(*key));
	if (!key)
		return error_set(err, 500, NULL, "out of memory");
	if (find(state_dir, n, key, path, sizeof(path), err) < 0 ||
		fits(store, key, n, path, err) < 0) {
		sodium_free(key);
		return -1;
	}
	*out = key;
	return 0;
}

void secret_key_free(struct secret_key *key)
{
	sodium_free(key);
}

/* ---- what it does ---- */

/* The key of one secret: BLAKE2b, keyed, of both names with their NULs. */
static void derive(const struct secret_key *key, const char *vm, const char *name, uint8_t *out)
{
	static const char what[] = "netctl: a secret";
	crypto_generichash_state state;

	crypto_generichash_init(&state, key->bytes, sizeof(key->bytes), crypto_secretbox_KEYBYTES);
	crypto_generichash_update(&state, (const uint8_t *)what, sizeof(what));
	crypto_generichash_update(&state, (const uint8_t *)vm, strlen(vm) + 1);
	crypto_generichash_update(&state, (const uint8_t *)name, strlen(name) + 1);
	crypto_generichash_final(&state, out, crypto_secretbox_KEYBYTES);
	os_wipe(&state, sizeof(state));
}

void secret_key_seal(const struct secret_key *key, const char *vm, const char *name,
	const void *value, size_t len, uint8_t *sealed)
{
	uint8_t own[crypto_secretbox_KEYBYTES], *nonce = sealed + 1;

	derive(key, vm, name, own);
	sealed[0] = SEALED_VERSION;
	os_random(nonce, crypto_secretbox_NONCEBYTES);
	crypto_secretbox_easy(nonce + crypto_secretbox_NONCEBYTES, value, len, nonce, own);
	sodium_stackzero(STACK_USED);
	os_wipe(own, sizeof(own));
}

int secret_key_unseal(const struct secret_key *key, const char *vm, const char *name,
	const uint8_t *sealed, size_t len, uint8_t *value)
{
	uint8_t own[crypto_secretbox_KEYBYTES];
	const uint8_t *nonce = sealed + 1;
	int status;

	if (len < SECRET_KEY_OVERHEAD || sealed[0] != SEALED_VERSION)
		return -EBADMSG;
	derive(key, vm, name, own);
	status = crypto_secretbox_open_easy(value, nonce + crypto_secretbox_NONCEBYTES,
		len - 1 - crypto_secretbox_NONCEBYTES, nonce, own);
	sodium_stackzero(STACK_USED);
	os_wipe(own, sizeof(own));
	return status == 0 ? 0 : -EBADMSG;
}
