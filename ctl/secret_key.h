/* SPDX-License-Identifier: MIT */
/*
 * The key that seals secrets, and what it seals.
 *
 * The key comes from the systemd credential `netctl-store-key` ($CREDENTIALS_DIRECTORY), else from
 * STATE/netctl.key, a file of mode 0600 that is made where it is absent and no secret needs an older
 * one. Either is 32 to 4096 bytes of any kind, hashed to the key (BLAKE2b). A store whose secrets were
 * sealed with another key is refused rather than sealed twice over.
 *
 * A sealed value is
 *
 *	1 byte version (1) │ 24 bytes nonce, random │ value and its tag (XSalsa20-Poly1305: secretbox)
 *
 * under a key of its own, derived from ours, the VM's name and the secret's: a sealed value that was
 * copied to another VM or name does not open.
 */
#ifndef CTL_SECRET_KEY_H
#define CTL_SECRET_KEY_H

#include "common/error.h"
#include "ctl/store/store.h"

#include <stddef.h>
#include <stdint.h>

#define SECRET_KEY_OVERHEAD 41 /* bytes that a sealed value is longer than the value */

struct secret_key;

/* The key that fits this store. Its memory is locked and kept out of dumps. 0, or -1 with err filled. */
int secret_key_open(
	struct store *store, const char *state_dir, struct secret_key **out, struct error *err);
void secret_key_free(struct secret_key *key);

/* sealed has room for len + SECRET_KEY_OVERHEAD. */
void secret_key_seal(const struct secret_key *key, const char *vm, const char *name,
	const void *value, size_t len, uint8_t *sealed);
/* value has room for len - SECRET_KEY_OVERHEAD; the caller wipes it. 0 or -EBADMSG. */
int secret_key_unseal(const struct secret_key *key, const char *vm, const char *name,
	const uint8_t *sealed, size_t len, uint8_t *value);

#endif
