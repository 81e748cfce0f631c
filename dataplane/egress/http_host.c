/* SPDX-License-Identifier: MIT */
/* The Host of each HTTP/1 request. See http_host.h. */
#include "dataplane/egress/http_host.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define CHUNK_DIGITS_MAX 15 /* hexadecimal: less than 2^60 bytes */
#define LENGTH_DIGITS_MAX 18
#define BLANKS "\t\v\f\x1c\x1d\x1e\x1f \x85\xa0"

/* Some characters of the unit. */
struct text {
	const char *p;
	size_t len;
};

/* What a request's head says. */
struct request {
	struct text method, target, host;
	bool hosts, length, chunked, upgrade, http10;
	uint64_t content_length;
};

static bool text_is(struct text t, const char *lowered)
{
	return t.len == strlen(lowered) && strncasecmp(t.p, lowered, t.len) == 0;
}

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		if (!is_token_char(t.p[i]))
			return false;
	}
	return t.len > 0;
}

/* ---- the request line ---- */

/* Up to the first `stop`, which goes with it; false where there is none. */
static bool take_until(struct text *from, char stop, struct text *part)
{
	const char *at = memchr(from->p, stop, from->len);

	if (!at)
		return false;
	*part = (struct text){from->p, (size_t)(at - from->p)};
	from->len -= part->len + 1;
	from->p = at + 1;
	return true;
}

static bool read_request_line(struct text line, struct request *request)
{
	if (!take_until(&line, ' ', &request->method) || !is_token(request->method) ||
		!take_until(&line, ' ', &request->target) || !request->target.len)
		return false;
	if (memchr(request->target.p, '\t', request->target.len))
		return false;
	request->http10 = line.len == 8 && memcmp(line.p, "HTTP/1.0", 8) == 0;
	return request->http10 || (line.len == 8 && memcmp(line.p, "HTTP/1.1", 8) == 0);
}

/* ---- fields ---- */

static struct text trimmed(struct text t)
{
	while (t.len && (*t.p == ' ' || *t.p == '\t')) {
		t.p++;
		t.len--;
	}
	while (t.len && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	return t;
}

static bool read_length(struct text value, struct request *request)
{
	if (request->length || !value.len || value.len > LENGTH_DIGITS_MAX)
		return false;
	request->length = true;
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
		request->content_length = request->content_length * 10 +
			(uint64_t)(value.p[i] - '0');
	}
	return true;
}

static bool read_field(struct text line, struct request *request)
{
	struct text name, value;

	if (!take_until(&line, ':', &name) || !is_token(name))
		return false;
	value = trimmed(line);
	if (text_is(name, "content-length"))
		return read_length(value, request);
	if (text_is(name, "transfer-encoding")) {
		bool again = request->chunked;

		request->chunked = text_is(value, "chunked");
		return request->chunked && !again;
	}
	if (text_is(name, "upgrade"))
		request->upgrade = true;
	if (text_is(name, "host")) {
		if (request->hosts)
			return false;
		request->hosts = true;
		request->host = value;
	}
	return true;
}

/* ---- which server ---- */

/* `host[:port]` as a name; "" for addresses, and what is neither. */
static void read_authority(struct text authority, char name[POLICY_NAME_LEN])
{
	const char *colon = memchr(authority.p, ':', authority.len);
	size_t len = colon ? (size_t)(colon - authority.p) : authority.len;

	name[0] = '\0';
	for (size_t i = len + 1; i < authority.len; i++) {
		if (authority.p[i] < '0' || authority.p[i] > '9')
			return;
	}
	unit_name(authority.p, len, name);
}

/* The authority in an absolute target; false where it is of another form. */
static bool find_authority(struct text target, struct text *authority)
{
	const char *colon = memchr(target.p, ':', target.len);
	size_t scheme = colon ? (size_t)(colon - target.p) : 0;
	struct text rest;

	if (!scheme || target.len - scheme < 3 || memcmp(colon, "://", 3) != 0)
		return false;
	rest = (struct text){colon + 3, target.len - scheme - 3};
	*authority = rest;
	for (size_t i = 0; i < rest.len; i++) {
		if (strchr("/?#", rest.p[i])) {
			authority->len = i;
			break;
		}
	}
	return true;
}

/* False: two servers, or a target of no known form. */
static bool find_server(const struct request *request, char name[POLICY_NAME_LEN])
{
	char host[POLICY_NAME_LEN];
	struct text target = request->target;
	bool connect = text_is(request->method, "connect");

	name[0] = '\0';
	if (request->hosts)
		read_authority(request->host, name);
	if (!connect && (target.p[0] == '/' || (target.len == 1 && target.p[0] == '*')))
		return true;
	if (!connect && !find_authority(target, &target))
		return false;
	if (!request->hosts) {
		read_authority(target, name);
		return true;
	}
	read_authority(target, host);
	return strcmp(host, name) == 0;
}

/* ---- a head ---- */

/*
 * Looks at bytes that are new, up to the empty line. 1, 0 (more are needed) or -EPROTO: a control
 * character, or a CR or LF by itself.
 */
static int scan_head(struct http_host *http, const uint8_t *bytes, size_t len)
{
	for (; http->seen < len; http->seen++) {
		size_t i = http->seen;
		uint8_t c = bytes[i];

		if (c == '\n') {
			if (bytes[i - 1] != '\r')
				return -EPROTO;
			if (!http->line)
				http->line = i - 1;
			else if (bytes[i - 2] == '\n')
				return 1;
		} else if ((i && bytes[i - 1] == '\r') || (c < ' ' && c != '\r' && c != '\t') ||
			c == 0x7f) {
			return -EPROTO;
		}
	}
	return 0;
}

static int read_head(struct http_host *http, const uint8_t *bytes, size_t len, struct unit *unit)
{
	struct text rest = {(const char *)bytes + http->line + 2, len - http->line - 2}, line;
	struct request request = {.http10 = false};

	if (!read_request_line((struct text){(const char *)bytes, http->line}, &request))
		return -EPROTO;
	while (take_until(&rest, '\r', &line) && line.len) {
		if (!read_field(line, &request))
			return -EPROTO;
		rest.p++;
		rest.len--;
	}
	http->connect = text_is(request.method, "connect");
	http->upgrade = request.upgrade;
	if (request.chunked && (request.length || request.http10))
		return -EPROTO;
	if (http->connect && (request.chunked || request.length))
		return -EPROTO;
	*unit = (struct unit){.len = len, .skip = request.content_length, .names = true};
	if (!find_server(&request, unit->name))
		return -EPROTO;
	http->state = request.chunked ? HTTP_CHUNK : HTTP_HEAD;
	return 1;
}

/* The first line by itself says whether it is HTTP: whoever speaks otherwise need not be waited for. */
static int check_first_line(const struct http_host *http, const uint8_t *bytes)
{
	struct request request = {.http10 = false};
	struct text line = {(const char *)bytes, http->line};

	return read_request_line(line, &request) ? 0 : -EPROTO;
}

static int next_head(struct http_host *http, const uint8_t *bytes, size_t len, struct unit *unit)
{
	bool had_line = http->line > 0;
	size_t empty = 0;
	int rc;

	/* Empty lines before a request are passed over (RFC 9112 section 2.2). */
	while (empty < len && (bytes[empty] == '\r' || bytes[empty] == '\n'))
		empty++;
	if (empty) {
		*unit = (struct unit){.len = empty};
		return 1;
	}
	if (!is_token_char((char)bytes[0])) {
		/* Some servers skip what they take for blanks before a request. */
		if (memchr(BLANKS, bytes[0], sizeof(BLANKS) - 1))
			return -EPROTO;
		*unit = (struct unit){.len = len, .last = true};
		return http->upgrade ? 1 : -EPROTO;
	}
	rc = scan_head(http, bytes, len);
	if (rc == 0 && http->line && !had_line)
		rc = check_first_line(http, bytes);
	if (rc <= 0)
		return rc;
	len = http->seen + 1;
	rc = read_head(http, bytes, len, unit);
	http->seen = http->line = 0;
	return rc;
}

/* ---- a chunked body ---- */

/* The unit is one line: its length without CR LF, or 0 in *whole where more bytes are needed. */
static int next_line(
	struct http_host *http, const uint8_t *bytes, size_t len, struct text *line, bool *whole)
{
	*whole = false;
	for (; http->seen < len; http->seen++) {
		size_t i = http->seen;
		uint8_t c = bytes[i];

		if (i && bytes[i - 1] == '\r') {
			if (c != '\n')
				return -EPROTO;
			*line = (struct text){(const char *)bytes, i - 1};
			*whole = true;
			http->seen = 0;
			return 0;
		}
		if ((c < ' ' && c != '\r' && c != '\t') || c == 0x7f)
			return -EPROTO;
	}
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `1f` or `1f;extension`. */
static bool read_chunk_size(struct text line, uint64_t *size)
{
	size_t i = 0;

	*size = 0;
	for (; i < line.len && hex_digit(line.p[i]) >= 0; i++)
		*size = *size << 4 | (uint64_t)hex_digit(line.p[i]);
	return i && i <= CHUNK_DIGITS_MAX && (i == line.len || line.p[i] == ';');
}

static int next_of_body(struct http_host *http, const uint8_t *bytes, size_t len, struct unit *unit)
{
	struct request trailer = {.http10 = false};
	struct text line;
	bool whole;

	if (next_line(http, bytes, len, &line, &whole) < 0)
		return -EPROTO;
	if (!whole)
		return http->state == HTTP_CHUNK_END && http->seen > 1 ? -EPROTO : 0;
	*unit = (struct unit){.len = line.len + 2};
	if (http->state == HTTP_CHUNK_END) {
		http->state = HTTP_CHUNK;
		return line.len ? -EPROTO : 1;
	}
	if (http->state == HTTP_CHUNK) {
		if (!read_chunk_size(line, &unit->skip))
			return -EPROTO;
		http->state = unit->skip ? HTTP_CHUNK_END : HTTP_TRAILER;
		return 1;
	}
	if (!line.len)
		http->state = HTTP_HEAD;
	else if (!read_field(line, &trailer) || trailer.hosts || trailer.length || trailer.chunked)
		return -EPROTO; /* fields of a head, which some servers would believe here, too */
	return 1;
}

int http_host_next(struct http_host *http, const uint8_t *bytes, size_t len, struct unit *unit)
{
	return http->state == HTTP_HEAD ? next_head(http, bytes, len, unit)
					: next_of_body(http, bytes, len, unit);
}

bool http_host_switches(const struct http_host *http)
{
	return http->state == HTTP_HEAD && !http->seen && (http->connect || http->upgrade);
}
