/* SPDX-License-Identifier: MIT */
/* By which proxy a VM's flows go. See proxy_config.h. */
#include "ctl/proxy_config.h"

#include "ctl/json_read.h"
#include "ctl/vm_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- URLs ---- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A user or password with its %XX decoded; false where it is too long or has a control character. */
static bool decode(const char *text, size_t len, char out[PROXY_WORD_LEN])
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)text[i];

		if (c == '%') {
			if (len - i < 3 || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
				return false;
			c = hex(text[i + 1]) << 4 | hex(text[i + 2]);
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || n == PROXY_WORD_LEN - 1)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

/* The scheme's end is left in *text. */
static int take_scheme(const char **text, struct proxy_url *url, const char **why)
{
	static const struct {
		const char *name;
		bool socks5;
	} schemes[] = {{"http://", false}, {"socks5://", true}, {"socks5h://", true}};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		size_t len = strlen(schemes[i].name);

		if (strncasecmp(*text, schemes[i].name, len) == 0) {
			url->socks5 = schemes[i].socks5;
			*text += len;
			return 0;
		}
	}
	*why = "its scheme is none of http, socks5 and socks5h";
	return strstr(*text, "://") ? -1 : 0;
}

static int take_user(
	const char **text, size_t *len, struct proxy_url *url, char *password, const char **why)
{
	const char *end = NULL, *colon;

	for (size_t i = 0; i < *len; i++) {
		if ((*text)[i] == '@')
			end = *text + i;
	}
	if (password)
		*password = '\0';
	if (!end)
		return 0;
	colon = memchr(*text, ':', (size_t)(end - *text));
	*why = "it has a password, which is to be given apart from it";
	if (colon && !password)
		return -1;
	*why = "its user or password is not up to 255 printable bytes";
	if (!decode(*text, (size_t)((colon ? colon : end) - *text), url->user) ||
		(colon && !decode(colon + 1, (size_t)(end - colon - 1), password)))
		return -1;
	url->has_user = true;
	*len -= (size_t)(end + 1 - *text);
	*text = end + 1;
	return 0;
}

static int take_port(const char *text, size_t len, struct proxy_url *url)
{
	unsigned long port = 0;

	if (!len || len > 5)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		port = port * 10 + (unsigned long)(text[i] - '0');
	}
	if (!port || port > 65535)
		return -1;
	url->port = (uint16_t)port;
	return 0;
}

/* HOST, ADDRESS or [IPv6], and maybe a port. */
static int take_host(const char *text, size_t len, struct proxy_url *url, const char **why)
{
	bool bracket = len && *text == '[';
	const char *end = memchr(text, bracket ? ']' : ':', len);
	size_t n = end ? (size_t)(end - text) : len, after;
	struct addr addr;

	*why = "its host is neither a name nor an address";
	if (bracket) {
		if (!end)
			return -1;
		text++;
		n--;
	}
	if (!n || n >= sizeof(url->host))
		return -1;
	memcpy(url->host, text, n);
	url->host[n] = '\0';
	if (addr_parse(url->host, &addr) < 0 && (bracket || !domain_name_valid(url->host)))
		return -1;
	after = bracket ? n + 2 : n;
	text -= bracket;
	*why = "its port is no number of 1 to 65535";
	if (after == len)
		return 0;
	return text[after] == ':' ? take_port(text + after + 1, len - after - 1, url) : -1;
}

int proxy_url_parse(const char *text, struct proxy_url *url, char *password, const char **why)
{
	size_t len;

	memset(url, 0, sizeof(*url));
	url->port = PROXY_DEFAULT_PORT;
	if (take_scheme(&text, url, why) < 0)
		return -1;
	len = strcspn(text, "/?#");
	*why = "nothing may follow its host and port";
	if (text[len] && strcmp(text + len, "/") != 0)
		return -1;
	if (take_user(&text, &len, url, password, why) < 0)
		return -1;
	return take_host(text, len, url, why);
}

char *proxy_url_format(const struct proxy_url *url, bool shown, char *buf)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";
	int n = snprintf(buf, PROXY_URL_LEN, "%s://", url->socks5 ? "socks5" : "http");
	bool six = strchr(url->host, ':') != NULL;

	for (const char *p = url->user; *p; p++)
		n += snprintf(buf + n, PROXY_URL_LEN - (size_t)n,
			strchr(plain, *p) ? "%c" : "%%%02X", (unsigned char)*p);
	snprintf(buf + n, PROXY_URL_LEN - (size_t)n, "%s%s%s%s%s:%u", shown ? ":***" : "",
		url->has_user ? "@" : "", six ? "[" : "", url->host, six ? "]" : "", url->port);
	return buf;
}

bool proxy_url_equal(const struct proxy_url *a, const struct proxy_url *b)
{
	return a->socks5 == b->socks5 && a->port == b->port && a->has_user == b->has_user &&
		strcmp(a->host, b->host) == 0 && strcmp(a->user, b->user) == 0;
}

/* ---- exceptions ---- */

bool proxy_exception_parse(const char *text, size_t len, struct proxy_exception *out)
{
	char item[PROXY_HOST_LEN + 2];

	memset(out, 0, sizeof(*out));
	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!len || len >= sizeof(item))
		return false;
	memcpy(item, text, len);
	item[len] = '\0';
	if (prefix_parse(item, true, &out->prefix) == 0)
		return true;
	out->by_name = true;
	if (strcmp(item, "*") == 0)
		return true;
	if (strcmp(item, PROXY_SIMPLE_NAMES) == 0) {
		strcpy(out->domain, ".");
		return true;
	}
	text = item[0] == '*' && item[1] == '.' ? item + 2 : item[0] == '.' ? item + 1 : item;
	if (strlen(text) && text[strlen(text) - 1] == '.')
		item[len - 1] = '\0';
	if (!domain_name_valid(text))
		return false;
	for (size_t i = 0; text[i]; i++)
		out->domain[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20
									 : text[i]);
	return true;
}

size_t proxy_exceptions(const char *list, struct proxy_exception *out, size_t max, size_t *bad)
{
	static const char between[] = ", \t";
	size_t n = 0;

	for (list += strspn(list, between); *list && n < max;) {
		size_t len = strcspn(list, between);

		if (proxy_exception_parse(list, len, &out[n]))
			n++;
		else if (bad)
			++*bad;
		list += len;
		list += strspn(list, between);
	}
	return n;
}

/* ---- the document ---- */

static int read_url(struct json_object *obj, struct proxy_config *config, struct error *err)
{
	const char *text = "none", *why = "";
	int got = json_get_string(obj, "proxy", "url", &text, err);

	if (got < 0)
		return -1;
	if (strcmp(text, "none") == 0)
		return 0;
	config->use = strcmp(text, "host") == 0 ? PROXY_USE_HOST : PROXY_USE_URL;
	/* The text is not told again: it may have a password in it. */
	if (config->use == PROXY_USE_URL && proxy_url_parse(text, &config->url, NULL, &why) < 0)
		return error_set(err, 400, "proxy.url",
			"not none, host or [http://|socks5://][USER@]HOST[:PORT]: %s", why);
	return 0;
}

static int read_no_proxy(struct json_object *obj, struct proxy_config *config, struct error *err)
{
	struct json_object *list = NULL;
	char field[FIELD_LEN];
	size_t len = 0;
	int got = json_get_array(obj, "proxy", "no_proxy", NO_PROXY_MAX, &list, err);

	if (got <= 0)
		return got;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		const char *text = json_object_get_string(item);
		struct proxy_exception exception;

		json_path_at(field, sizeof(field), "proxy.no_proxy", i);
		if (!json_object_is_type(item, json_type_string))
			return error_set(err, 400, field, "a string is wanted");
		if (!proxy_exception_parse(text, strlen(text), &exception))
			return error_set(err, 400, field,
				"\"%.64s\" is not ADDRESS, ADDRESS/BITS, a domain, * or <local>",
				text);
		if (len + strlen(text) + 2 > sizeof(config->no_proxy))
			return error_set(
				err, 400, field, "the list is longer than %d bytes", NO_PROXY_LEN);
		len += (size_t)snprintf(config->no_proxy + len, sizeof(config->no_proxy) - len,
			"%s%s", len ? "," : "", text);
	}
	return 0;
}

/* One of a few words; `of` ends with NULL. */
static int read_word(struct json_object *obj, const char *key, const char *const *of, int *out,
	struct error *err)
{
	const char *text = NULL;
	char field[FIELD_LEN];
	int got = json_get_string(obj, "proxy", key, &text, err);

	for (int i = 0; got > 0 && of[i]; i++) {
		if (strcmp(text, of[i]) == 0) {
			*out = i;
			return 0;
		}
	}
	if (got <= 0)
		return got;
	return error_set(err, 400, json_path(field, sizeof(field), "proxy", key),
		"\"%.32s\" is not %s, %s%s%s", text, of[0], of[1], of[2] ? " or " : "",
		of[2] ? of[2] : "");
}

static const char *const failures[] = {"refuse", "direct", NULL};
static const char *const fakes[] = {"auto", "on", "off", NULL};

int proxy_config_read(struct json_object *doc, struct proxy_config *config, struct error *err)
{
	static const char *const fields[] = {"url", "no_proxy", "on_failure", "fake_ip", NULL};
	struct json_object *obj = NULL;
	int direct = 0, fake = PROXY_FAKE_AUTO;
	int got = json_get_object(doc, "", "proxy", &obj, err);

	memset(config, 0, sizeof(*config));
	if (got <= 0)
		return got;
	if (json_only(obj, "proxy", fields, err) < 0 || read_url(obj, config, err) < 0 ||
		read_no_proxy(obj, config, err) < 0 ||
		read_word(obj, "on_failure", failures, &direct, err) < 0 ||
		read_word(obj, "fake_ip", fakes, &fake, err) < 0)
		return -1;
	config->direct_on_failure = direct;
	config->fake_ip = (enum proxy_fake_ip)fake;
	return 0;
}

struct json_object *proxy_config_json(const struct proxy_config *config)
{
	struct json_object *obj = json_object_new_object(), *list = json_object_new_array();
	char url[PROXY_URL_LEN];

	json_put_string(obj, "url",
		config->use == PROXY_USE_NONE ? "none"
			: config->use == PROXY_USE_HOST
			? "host"
			: proxy_url_format(&config->url, false, url));
	for (const char *p = config->no_proxy; *p; p += strspn(p, ",")) {
		size_t len = strcspn(p, ",");

		json_object_array_add(list, json_object_new_string_len(p, (int)len));
		p += len;
	}
	json_object_object_add(obj, "no_proxy", list);
	json_put_string(obj, "on_failure", failures[config->direct_on_failure]);
	json_put_string(obj, "fake_ip", fakes[config->fake_ip]);
	return obj;
}

bool proxy_config_equal(const struct proxy_config *a, const struct proxy_config *b)
{
	return a->use == b->use && proxy_url_equal(&a->url, &b->url) &&
		a->direct_on_failure == b->direct_on_failure && a->fake_ip == b->fake_ip &&
		strcmp(a->no_proxy, b->no_proxy) == 0;
}

bool proxy_config_is_default(const struct proxy_config *config)
{
	return config->use == PROXY_USE_NONE && !*config->no_proxy && !config->direct_on_failure &&
		config->fake_ip == PROXY_FAKE_AUTO;
}
