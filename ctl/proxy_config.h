/* SPDX-License-Identifier: MIT */
/*
 * By which proxy a VM's flows go: the `proxy` of its document.
 *
 *	{"url":"none"|"host"|"socks5://user@proxy.example:1080","no_proxy":["corp.example",…],
 *	 "on_failure":"refuse"|"direct","fake_ip":"auto"|"on"|"off"}
 *
 * A fixed-size value without pointers, as struct vm_config is. A URL has no password here: that is a
 * secret of its own (vm_proxy.h), or the host's (host_proxy.h).
 */
#ifndef CTL_PROXY_CONFIG_H
#define CTL_PROXY_CONFIG_H

#include "common/addr.h"
#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXY_HOST_LEN 254
#define PROXY_WORD_LEN 256 /* a user or password and its NUL: SOCKS5 has a byte for the length */
#define PROXY_URL_LEN (3 * PROXY_WORD_LEN + PROXY_HOST_LEN + 32)
#define PROXY_DEFAULT_PORT 1080 /* as curl has it */
#define NO_PROXY_LEN 4096
#define NO_PROXY_MAX 128             /* items of a list */
#define PROXY_SIMPLE_NAMES "<local>" /* the item that stands for names without a dot */

struct proxy_url {
	bool socks5; /* else HTTP CONNECT */
	char host[PROXY_HOST_LEN];
	uint16_t port;
	bool has_user;
	char user[PROXY_WORD_LEN];
};

enum proxy_use { PROXY_USE_NONE, PROXY_USE_HOST, PROXY_USE_URL };
enum proxy_fake_ip { PROXY_FAKE_AUTO, PROXY_FAKE_ON, PROXY_FAKE_OFF };

struct proxy_config {
	enum proxy_use use;
	struct proxy_url url;
	bool direct_on_failure;
	enum proxy_fake_ip fake_ip;
	char no_proxy[NO_PROXY_LEN]; /* checked items with a comma between two */
};

/* One item of a list of exceptions. */
struct proxy_exception {
	bool by_name;
	struct prefix prefix;
	char domain[PROXY_HOST_LEN]; /* that name and all below it; "": everything; ".": names
					without a dot */
};

/*
 * Reads [SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/], SCHEME http, socks5 or socks5h; without one it is
 * http. User and password may have %XX. password has room for PROXY_WORD_LEN and gets the password or
 * "" (the caller wipes it); NULL: a password is an error. 0, or -1 and *why in a few words that do not
 * show it.
 */
int proxy_url_parse(const char *text, struct proxy_url *url, char *password, const char **why);
/* Without a password; shown: ":***" where it has one. buf has PROXY_URL_LEN. */
char *proxy_url_format(const struct proxy_url *url, bool shown, char *buf);
bool proxy_url_equal(const struct proxy_url *a, const struct proxy_url *b);

/* One item, len bytes long: an address, ADDRESS/BITS, a name (also with "." or "*." before it), *, or
 * <local>. */
bool proxy_exception_parse(const char *text, size_t len, struct proxy_exception *out);
/* Those of a list with commas or blanks between them, at most max; what is none is left out and counted
 * in *bad (may be NULL). */
size_t proxy_exceptions(const char *list, struct proxy_exception *out, size_t max, size_t *bad);

/* The member `proxy` of doc, which may be absent: none. 0 or -1. */
int proxy_config_read(struct json_object *doc, struct proxy_config *config, struct error *err);
struct json_object *proxy_config_json(const struct proxy_config *config);
bool proxy_config_equal(const struct proxy_config *a, const struct proxy_config *b);
/* Whether it says no more than that there is none. */
bool proxy_config_is_default(const struct proxy_config *config);

#endif
