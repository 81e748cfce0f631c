/* SPDX-License-Identifier: MIT */
/* --proxy and its likes. See proxy_option.h. */
#include "cli/proxy_option.h"

#include "cli/file.h"
#include "cli/http.h"
#include "cli/json.h"
#include "common/os.h"

#include <stdlib.h>
#include <string.h>

#define URL_MAX ((size_t)2048)

/* ---- the password in a URL ---- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Where user and password begin and end, in USER:PASSWORD@; false where there is no password. */
static bool find_password(const char *url, const char **colon, const char **end)
{
	const char *start = strstr(url, "://");
	size_t len;

	start = start ? start + 3 : url;
	len = strcspn(start, "/?#");
	*end = NULL;
	for (size_t i = 0; i < len; i++) {
		if (start[i] == '@')
			*end = start + i;
	}
	*colon = *end ? memchr(start, ':', (size_t)(*end - start)) : NULL;
	return *colon != NULL;
}

/* With its %XX decoded; false where it is no word of up to 255 bytes. */
static bool decode(const char *text, size_t len, char out[256])
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '%') {
			if (len - i < 3 || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
				return false;
			c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
			i += 2;
		}
		if (!c || n == 255)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

/* Cuts the password out of url, and keeps it. */
static int cut_password(
	const struct cli *cli, struct proxy_option *option, char *url, const char *where)
{
	const char *colon, *end;

	if (!find_password(url, &colon, &end))
		return 0;
	if (!decode(colon + 1, (size_t)(end - colon - 1), option->password))
		return cli_error(cli, STATUS_FAILURE,
			"%s: the proxy's password is not up to 255 bytes, %%XX for what is special",
			where);
	memmove(url + (colon - url), end, strlen(end) + 1);
	return 0;
}

/* ---- options ---- */

static int take_secret_url(
	struct cli *cli, struct proxy_option *option, char *url, const char *where)
{
	int status;

	url[strcspn(url, "\r\n")] = '\0';
	status = cut_password(cli, option, url, where);
	if (!status && !*url)
		status = cli_error(cli, STATUS_FAILURE, "%s: no URL of a proxy", where);
	if (!status)
		doc_put_text(option->doc, "url", url);
	return status;
}

static int take_file(struct cli *cli, struct proxy_option *option, const char *name)
{
	const char *where = strcmp(name, "-") == 0 ? "stdin" : name;
	char *text = NULL;
	size_t len = 0;
	int err = file_read(name, URL_MAX, &text, &len), status;

	if (err < 0)
		return cli_error(cli, STATUS_FAILURE, "%s: %s", where, strerror(-err));
	status = take_secret_url(cli, option, text, where);
	os_wipe(text, len);
	free(text);
	return status;
}

/* And out of the environment: `netctl run` hands that on to its command. */
static int take_variable(struct cli *cli, struct proxy_option *option, const char *name)
{
	char *value = getenv(name);
	char url[URL_MAX];
	int status;

	if (!value)
		return cli_error(
			cli, STATUS_FAILURE, "--proxy-env %s: there is no such variable", name);
	if (strlen(value) >= sizeof(url))
		return cli_error(
			cli, STATUS_FAILURE, "--proxy-env %s: its value is too long", name);
	memcpy(url, value, strlen(value) + 1);
	os_wipe(value, strlen(value));
	unsetenv(name);
	status = take_secret_url(cli, option, url, name);
	os_wipe(url, sizeof(url));
	return status;
}

static int take_url(struct cli *cli, struct proxy_option *option, const char *url)
{
	const char *colon, *end;

	if (find_password(url, &colon, &end))
		return cli_usage_error(cli,
			"--proxy: a password here can be seen by everyone on this host; give the URL by "
			"--proxy-from FILE, --proxy-from - or --proxy-env VARIABLE");
	doc_put_text(option->doc, "url", url);
	return 0;
}

static void take_list(struct proxy_option *option, const char *list)
{
	static const char between[] = ", ";
	struct json_object *items = json_object_new_array();

	for (list += strspn(list, between); *list; list += strspn(list, between)) {
		size_t len = strcspn(list, between);

		json_object_array_add(items, json_object_new_string_len(list, (int)len));
		list += len;
	}
	json_object_object_add(option->doc, "no_proxy", items);
}

/* Puts one of two or three words into the document. */
static int take_word(const struct cli *cli, const struct proxy_option *option, const char *key,
	const char *name, const char *const *words, const char *value)
{
	for (size_t i = 0; words[i]; i++) {
		if (!strcmp(words[i], value)) {
			doc_put_text(option->doc, key, value);
			return 0;
		}
	}
	return words[2] ? cli_usage_error(cli, "%s %s: %s, %s or %s is wanted", name, value,
				  words[0], words[1], words[2])
			: cli_usage_error(cli, "%s %s: %s or %s is wanted", name, value, words[0],
				  words[1]);
}

static void begin(struct proxy_option *option)
{
	if (option->doc)
		return;
	os_no_dump();
	http_wipe_buffers();
	option->doc = json_object_new_object();
}

bool proxy_option_is(const struct given *given)
{
	static const char ids[] = {OPT_PROXY, OPT_PROXY_FROM, OPT_PROXY_ENV, OPT_NO_PROXY,
		OPT_PROXY_FAILURE, OPT_FAKE_IP};

	return memchr(ids, given->id, sizeof(ids)) != NULL;
}

int proxy_option_take(struct cli *cli, struct proxy_option *option, const struct given *given)
{
	static const char *const failures[] = {"refuse", "direct", NULL};
	static const char *const fakes[] = {"auto", "on", "off", NULL};

	switch (given->id) {
	case OPT_PROXY:
		begin(option);
		return take_url(cli, option, given->value);
	case OPT_PROXY_FROM:
		begin(option);
		return take_file(cli, option, given->value);
	case OPT_PROXY_ENV:
		begin(option);
		return take_variable(cli, option, given->value);
	case OPT_NO_PROXY:
		begin(option);
		take_list(option, given->value);
		return 0;
	case OPT_PROXY_FAILURE:
		begin(option);
		return take_word(
			cli, option, "on_failure", "--proxy-failure", failures, given->value);
	case OPT_FAKE_IP:
		begin(option);
		return take_word(cli, option, "fake_ip", "--fake-ip", fakes, given->value);
	default:
		return 0;
	}
}

void proxy_option_put(const struct proxy_option *option, struct json_object *body)
{
	if (option->doc)
		json_object_object_add(body, "proxy", json_object_get(option->doc));
}

int proxy_option_send(struct cli *cli, const struct proxy_option *option, const char *vm)
{
	if (!*option->password)
		return 0;
	return http_call_bytes(cli, "PUT", http_path("vms", vm, "proxy", "password", NULL),
		option->password, strlen(option->password), NULL);
}

void proxy_option_free(struct proxy_option *option)
{
	json_object_put(option->doc);
	option->doc = NULL;
	os_wipe(option->password, sizeof(option->password));
}
