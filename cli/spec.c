/* SPDX-License-Identifier: MIT */
/*
 * Forward specs. See spec.h.
 *
 * The text is taken apart from both ends: the protocol and BIND from the left, TARGET from the
 * right, for only TARGET may have a colon of its own ("vsock:1024") and only a path may have
 * any number of them.
 */
#include "cli/spec.h"

#include "common/unix_socket.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct range {
	uint32_t first, last;
};

static int fault(struct error *err, const char *part, const char *spec, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* forward "SPEC": PART …; returns -1. */
static int fault(struct error *err, const char *part, const char *spec, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(err, 400, part, "forward \"%.100s\": %s %s", spec, part, text);
}

/* Decimal digits only, at most max. Returns 0 or -1. */
static int parse_number(const char *text, size_t len, uint32_t max, uint32_t *out)
{
	uint64_t n = 0;

	if (!len || len > 10)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	if (n > max)
		return -1;
	*out = (uint32_t)n;
	return 0;
}

/* "N" or "N-M". Returns 0 or -1. */
static int parse_range(const char *text, size_t len, struct range *out)
{
	const char *dash = memchr(text, '-', len);
	size_t first = dash ? (size_t)(dash - text) : len;

	if (parse_number(text, first, 65535, &out->first) < 0)
		return -1;
	out->last = out->first;
	if (dash && parse_number(dash + 1, len - first - 1, 65535, &out->last) < 0)
		return -1;
	return 0;
}

/* One port after a word like "vsock:"; 0 is none. */
static int one_port(
	const char *spec, const char *text, uint32_t max, struct range *to, struct error *err)
{
	if (parse_number(text, strlen(text), max, &to->first) < 0 || !to->first)
		return fault(err, "TARGET", spec, "\"%s\" is no port of 1 to %u", text, max);
	to->last = to->first;
	return 0;
}

static int parse_target(
	const char *spec, const char *text, struct spec *out, struct range *to, struct error *err)
{
	*to = (struct range){0, 0};
	if (!strcmp(text, "tsi")) {
		out->target = SPEC_TSI_FIRST;
		return 0;
	}
	if (!strncmp(text, "tsi:", 4)) {
		out->target = SPEC_TSI_VM_PORT;
		return one_port(spec, text + 4, UINT32_MAX - 1, to, err);
	}
	if (!strncmp(text, "tsi@", 4)) {
		out->target = SPEC_TSI_BOUND;
		return one_port(spec, text + 4, 65535, to, err);
	}
	if (!strncmp(text, "vsock:", 6)) {
		out->target = SPEC_VSOCK;
		return one_port(spec, text + 6, UINT32_MAX - 1, to, err);
	}
	out->target = SPEC_PORT;
	if (!*text)
		return fault(err, "TARGET", spec, "is missing");
	if (parse_range(text, strlen(text), to) < 0 || !to->first)
		return fault(err, "TARGET", spec,
			"\"%s\" is neither a port of 1 to 65535 nor vsock:PORT, tsi, tsi:VM_PORT or "
			"tsi@PORT",
			text);
	if (to->last < to->first)
		return fault(err, "TARGET", spec, "%s runs backwards", text);
	return 0;
}

static int check_ranges(const char *spec, const struct range *host, const struct range *to,
	struct spec *out, struct error *err)
{
	uint32_t n_host = host->last - host->first + 1, n_to = to->last - to->first + 1;

	if (host->last < host->first)
		return fault(err, "HOST", spec, "%u-%u runs backwards", host->first, host->last);
	if (!host->first && host->last)
		return fault(err, "HOST", spec, "0 is any free port and no part of a range");
	if (n_host != n_to && out->target == SPEC_PORT)
		return fault(err, "TARGET", spec, "has %u ports where HOST has %u", n_to, n_host);
	if (n_host != 1 && out->target != SPEC_PORT)
		return fault(err, "HOST", spec, "has %u ports where TARGET is one", n_host);
	if (n_host > SPEC_MAX_ITEMS)
		return fault(
			err, "HOST", spec, "has %u ports; %d are the most", n_host, SPEC_MAX_ITEMS);
	if (out->listen == SPEC_UDP && out->target != SPEC_PORT)
		return fault(err, "TARGET", spec, "%s carries no udp",
			out->target == SPEC_VSOCK ? "vsock" : "a TSI listener");
	out->host = (uint16_t)host->first;
	out->count = (uint16_t)n_host;
	out->to = to->first;
	return 0;
}

static int parse_bind(
	const char *spec, const char *text, size_t len, struct spec *out, struct error *err)
{
	char copy[ADDR_STRLEN];
	struct addr addr;

	if (len == 1 && *text == '*') {
		strcpy(out->bind, "0.0.0.0");
		return 0;
	}
	if (len < sizeof(copy)) {
		memcpy(copy, text, len);
		copy[len] = '\0';
		if (addr_parse(copy, &addr) == 0) {
			addr_format(&addr, out->bind, sizeof(out->bind));
			return 0;
		}
	}
	return fault(err, "BIND", spec, "\"%.*s\" is no IPv4 address, [IPv6] address or *",
		(int)len, text);
}

/* "BIND:" if there is one. Moves *text behind it. */
static int take_bind(const char *spec, const char **text, struct spec *out, struct error *err)
{
	const char *p = *text;
	size_t len;

	strcpy(out->bind, "127.0.0.1");
	if (*p == '[') {
		len = strcspn(p, "]");
		if (p[len] != ']' || p[len + 1] != ':')
			return fault(err, "BIND", spec, "has no \"]:\" at its end");
		*text = p + len + 2;
		if (!memchr(p + 1, ':', len - 1))
			return fault(err, "BIND", spec, "in brackets must be an IPv6 address");
		return parse_bind(spec, p + 1, len - 1, out, err);
	}
	len = strcspn(p, ":");
	if (p[len] && strspn(p, "0123456789-") < len) {
		*text = p + len + 1;
		return parse_bind(spec, p, len, out, err);
	}
	if (!len && p[0] == ':' && p[1] == ':')
		return fault(err, "BIND", spec, "of IPv6 is written in brackets: [::]");
	return 0;
}

static int parse_inet(const char *spec, const char *text, struct spec *out, struct error *err)
{
	struct range host, to;
	char target[64];
	const char *slash;
	size_t len;

	if (take_bind(spec, &text, out, err) < 0)
		return -1;
	len = strcspn(text, ":");
	if (!len)
		return fault(err, "HOST", spec, "is missing");
	if (parse_range(text, len, &host) < 0)
		return fault(
			err, "HOST", spec, "\"%.*s\" is no port of 0 to 65535", (int)len, text);
	if (!text[len])
		return fault(err, "TARGET", spec, "is missing");
	text += len + 1;
	slash = strchr(text, '/');
	len = slash ? (size_t)(slash - text) : strlen(text);
	if (len >= sizeof(target))
		return fault(err, "TARGET", spec, "is too long");
	memcpy(target, text, len);
	target[len] = '\0';
	if (slash && !strcmp(slash, "/udp")) {
		if (!strncmp(spec, "tcp:", 4))
			return fault(err, "TARGET", spec, "says udp where the beginning says tcp");
		out->listen = SPEC_UDP;
	} else if (slash) {
		return fault(err, "TARGET", spec, "ends in \"%s\"; only /udp may follow it", slash);
	}
	if (parse_target(spec, target, out, &to, err) < 0)
		return -1;
	return check_ranges(spec, &host, &to, out, err);
}

/* Where the TARGET of "PATH:TARGET" begins: the last colon, or the one before vsock: and tsi:. */
static const char *path_end(const char *text)
{
	const char *last = strrchr(text, ':');
	const char *p;

	if (!last)
		return NULL;
	for (p = last; p > text && p[-1] != ':'; p--)
		;
	if (p > text && (!strncmp(p, "vsock:", 6) || !strncmp(p, "tsi:", 4)))
		return p - 1;
	return last;
}

static int absolute_path(
	const char *spec, const char *text, size_t len, struct spec *out, struct error *err)
{
	char cwd[PATH_MAX] = "";
	size_t used;

	if (*text != '/' && !getcwd(cwd, sizeof(cwd) - 1))
		return fault(err, "PATH", spec, "is relative, and there is no working directory");
	used = strlen(cwd);
	if (*text != '/' && used > 1)
		cwd[used++] = '/';
	if (used + len > unix_path_max() || used + len >= sizeof(out->path))
		return fault(err, "PATH", spec, "has %zu bytes, a unix socket's at most %zu",
			used + len, unix_path_max());
	memcpy(out->path, cwd, used);
	memcpy(out->path + used, text, len);
	out->path[used + len] = '\0';
	return 0;
}

static int parse_unix(const char *spec, const char *text, struct spec *out, struct error *err)
{
	const char *end = path_end(text);
	struct range to;

	out->listen = SPEC_UNIX;
	out->count = 1;
	if (end == text || !*text)
		return fault(err, "PATH", spec, "is missing");
	if (!end || strchr(end, '/'))
		return fault(err, "TARGET", spec, "is missing");
	if (absolute_path(spec, text, (size_t)(end - text), out, err) < 0 ||
		parse_target(spec, end + 1, out, &to, err) < 0)
		return -1;
	if (to.first != to.last)
		return fault(err, "TARGET", spec, "of a unix socket is one port");
	out->to = to.first;
	return 0;
}

int spec_parse(const char *text, struct spec *out, struct error *err)
{
	memset(out, 0, sizeof(*out));
	if (!strncmp(text, "unix:", 5))
		return parse_unix(text, text + 5, out, err);
	out->listen = !strncmp(text, "udp:", 4) ? SPEC_UDP : SPEC_TCP;
	if (!strncmp(text, "udp:", 4) || !strncmp(text, "tcp:", 4))
		return parse_inet(text, text + 4, out, err);
	return parse_inet(text, text, out, err);
}

static struct json_object *target_doc(const struct spec *spec, unsigned i)
{
	struct json_object *to = json_object_new_object(), *tsi;

	switch (spec->target) {
	case SPEC_PORT:
		json_object_object_add(to, "port", json_object_new_int64(spec->to + i));
		return to;
	case SPEC_VSOCK:
		json_object_object_add(to, "vsock", json_object_new_int64(spec->to));
		return to;
	case SPEC_TSI_FIRST:
		json_object_object_add(to, "tsi", json_object_new_string("first"));
		return to;
	default:
		tsi = json_object_new_object();
		json_object_object_add(tsi,
			spec->target == SPEC_TSI_BOUND ? "bound_port" : "vm_port",
			json_object_new_int64(spec->to));
		json_object_object_add(to, "tsi", tsi);
		return to;
	}
}

struct json_object *spec_item(const struct spec *spec, unsigned i)
{
	struct json_object *item = json_object_new_object();
	struct json_object *listen = json_object_new_object();

	if (spec->listen == SPEC_UNIX) {
		json_object_object_add(listen, "unix", json_object_new_string(spec->path));
	} else {
		json_object_object_add(listen, "proto",
			json_object_new_string(spec->listen == SPEC_UDP ? "udp" : "tcp"));
		json_object_object_add(listen, "addr", json_object_new_string(spec->bind));
		json_object_object_add(listen, "port",
			json_object_new_int(spec->host ? (int)(spec->host + i) : 0));
	}
	json_object_object_add(item, "listen", listen);
	json_object_object_add(item, "to", target_doc(spec, i));
	return item;
}

char *spec_id(const struct spec *spec, unsigned i, char *buf, size_t len)
{
	struct endpoint at = {.port = (uint16_t)(spec->host + i)};
	char text[ENDPOINT_STRLEN];

	if (spec->listen == SPEC_UNIX) {
		snprintf(buf, len, "unix:%s", spec->path);
		return buf;
	}
	addr_parse(spec->bind, &at.addr);
	snprintf(buf, len, "%s:%s", spec->listen == SPEC_UDP ? "udp" : "tcp",
		endpoint_format(&at, text, sizeof(text)));
	return buf;
}

bool spec_is_id(const char *text)
{
	struct endpoint at;

	if (!strncmp(text, "unix:", 5))
		return true;
	if (strncmp(text, "tcp:", 4) && strncmp(text, "udp:", 4))
		return false;
	return endpoint_parse(text + 4, &at) == 0;
}
