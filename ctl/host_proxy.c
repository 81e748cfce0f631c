/* SPDX-License-Identifier: MIT */
/* The host's own proxies. See host_proxy.h. */
#include "ctl/host_proxy.h"

#include "common/error.h"
#include "common/log.h"
#include "common/os.h"
#include "ctl/file_stamp.h"
#include "ctl/system_proxy.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_ NO_PROXY_LEN

enum { NO_PROXY = HOST_PROXY_KINDS, KEYS };

static const char *const keys[KEYS] = {"http-proxy", "https-proxy", "all-proxy", "no-proxy"};
static const char *const variables[KEYS][2] = {{"http_proxy", NULL}, {"https_proxy", "HTTPS_PROXY"},
	{"all_proxy", "ALL_PROXY"}, {"no_proxy", "NO_PROXY"}};

/* What one source says. */
struct source {
	bool given[KEYS]; /* else the next source is asked */
	struct host_proxy proxies[HOST_PROXY_KINDS];
	char exceptions[NO_PROXY_LEN];
};

struct host_proxies {
	struct source system, env, file, now;
	struct event *look;
	struct file_stamp seen;
	bool missing;                 /* the file was, at the last look */
	int trouble;                  /* -errno of the last look, which is in the log */
	struct system_proxy settings; /* what `system` was made of */
	void (*changed)(void *arg);
	void *arg;
	char path[PATH_MAX];
};

static int key_of(const char *key)
{
	for (int i = 0; i < KEYS; i++) {
		if (strcmp(keys[i], key) == 0)
			return i;
	}
	return -1;
}

bool host_proxy_key(const char *key)
{
	return key_of(key) >= 0;
}

/* where names the source in the log; an empty value is none. */
static void take(struct source *source, int key, const char *value, const char *where)
{
	const char *why = "";
	size_t bad = 0;

	source->given[key] = true;
	if (key == NO_PROXY) {
		struct proxy_exception some[NO_PROXY_MAX];

		snprintf(source->exceptions, sizeof(source->exceptions), "%s", value);
		proxy_exceptions(source->exceptions, some, NO_PROXY_MAX, &bad);
		if (bad)
			log_warn("proxy", "exceptions.unreadable", "source=%s count=%zu", where,
				bad);
		return;
	}
	source->proxies[key].set = *value != '\0';
	if (!*value)
		return;
	source->proxies[key].usable = proxy_url_parse(value, &source->proxies[key].url,
					      source->proxies[key].password, &why) == 0;
	if (!source->proxies[key].usable)
		log_error("proxy", "host.unusable", "source=%s reason=\"%s\"", where, why);
}

static void wipe_variable(const char *name)
{
	char *value = getenv(name);

	if (value)
		os_wipe(value, strlen(value));
	unsetenv(name);
}

static void read_environment(struct source *source)
{
	memset(source, 0, sizeof(*source));
	for (int i = 0; i < KEYS; i++) {
		for (int k = 1; k >= 0; k--) {
			const char *value = variables[i][k] ? getenv(variables[i][k]) : NULL;

			if (!value)
				continue;
			take(source, i, value, variables[i][k]); /* the lower case wins */
			wipe_variable(variables[i][k]);
		}
	}
	wipe_variable("HTTP_PROXY"); /* not read: a CGI's client may have set it */
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return s;
}

static void read_line(struct source *source, char *line)
{
	char *equals = strchr(line, '='), *key = trim(line);
	int which;

	if (!equals || *key == '#' || *key == ';')
		return;
	*equals = '\0';
	which = key_of(trim(key));
	if (which >= 0)
		take(source, which, trim(equals + 1), keys[which]);
}

/* 0, or -errno: then source is of no use. */
static int read_file(struct source *source, const char *path)
{
	char line[LINE_MAX_ + 64], buffer[4096];
	FILE *f = fopen(path, "re");
	int err = 0;

	memset(source, 0, sizeof(*source));
	if (!f)
		return -errno;
	setvbuf(f, buffer, _IOFBF, sizeof(buffer));
	errno = 0;
	while (fgets(line, sizeof(line), f))
		read_line(source, line);
	if (ferror(f))
		err = errno ? -errno : -EIO;
	fclose(f);
	os_wipe(line, sizeof(line));
	os_wipe(buffer, sizeof(buffer));
	return err;
}

static void read_system(struct source *source, const struct system_proxy *settings)
{
	static const char where[] = "system";
	struct host_proxy *all = &source->proxies[HOST_PROXY_ALL];

	memset(source, 0, sizeof(*source));
	for (int i = 0; i < HOST_PROXY_KINDS; i++)
		take(source, i, settings->urls[i], where);
	take(source, NO_PROXY, settings->exceptions, where);
	if (settings->n_unknown)
		log_warn("proxy", "exceptions.unreadable", "source=%s count=%zu", where,
			settings->n_unknown);
	/* Which way they lead is not known: not straight there, then. */
	if (settings->automatic && !all->set)
		*all = (struct host_proxy){.set = true};
}

/* What a source gives goes over what is there. */
static void lay_over(struct source *on, const struct source *source)
{
	for (int i = 0; i < HOST_PROXY_KINDS; i++) {
		if (source->given[i])
			on->proxies[i] = source->proxies[i];
	}
	if (source->given[NO_PROXY])
		memcpy(on->exceptions, source->exceptions, sizeof(on->exceptions));
}

static void put_together(struct host_proxies *h)
{
	h->now = h->system;
	lay_over(&h->now, &h->env);
	lay_over(&h->now, &h->file);
}

static bool system_changed(struct host_proxies *h)
{
	struct system_proxy settings;

	if (!system_proxy_read(&settings) || system_proxy_equal(&settings, &h->settings))
		return false;
	if (settings.automatic && !h->settings.automatic)
		log_warn("proxy", "host.automatic", "source=system reason=\"%s\"",
			"PAC and WPAD are not evaluated: what has no other proxy is refused");
	read_system(&h->system, &settings);
	h->settings = settings;
	return true;
}

/* The first look is at h->look NULL. What cannot be read may have any proxy in it: what was known of it
 * stays, and where nothing was, nothing goes straight there. */
static bool unreadable(struct host_proxies *h, int err)
{
	bool first = !h->look;

	if (err != h->trouble)
		log_error("proxy", "host.unreadable", "path=%s reason=\"%s\"", h->path,
			errno_text(err));
	h->trouble = err;
	h->missing = false;
	memset(&h->seen, 0, sizeof(h->seen)); /* to be read when it can be */
	for (int i = 0; first && i < HOST_PROXY_KINDS; i++) {
		h->file.given[i] = true;
		h->file.proxies[i] = (struct host_proxy){.set = true};
	}
	return first;
}

/* An editor may take the file away for the moment in which it puts another in its place. */
static bool missing(struct host_proxies *h)
{
	static const struct source none;
	static const struct file_stamp zeros;
	bool again = h->missing || !h->look,
	     had = h->trouble || !file_stamp_equal(&h->seen, &zeros);

	h->missing = true;
	if (!again || !had)
		return false;
	h->trouble = 0;
	h->seen = zeros;
	os_wipe(&h->file, sizeof(h->file));
	h->file = none;
	return true;
}

static bool file_changed(struct host_proxies *h)
{
	struct source source;
	struct file_stamp now;
	int err;

	if (!*h->path)
		return false;
	err = file_stamp_of(h->path, &now);
	if (!err && file_stamp_equal(&now, &h->seen)) {
		h->missing = false;
		return false;
	}
	if (!err)
		err = read_file(&source, h->path);
	if (err)
		return err == -ENOENT ? missing(h) : unreadable(h, err);
	h->missing = false;
	h->trouble = 0;
	h->seen = now;
	h->file = source;
	os_wipe(&source, sizeof(source));
	return true;
}

static bool look_again(struct host_proxies *h)
{
	bool system = system_changed(h), file = file_changed(h);

	if (system || file)
		put_together(h);
	return system || file;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct host_proxies *h = arg;

	(void)fd;
	(void)what;
	if (look_again(h))
		h->changed(h->arg);
}

const struct host_proxy *host_proxies_of(const struct host_proxies *h, enum host_proxy_of which)
{
	const struct host_proxy *proxy = &h->now.proxies[which];

	return proxy->set ? proxy : &h->now.proxies[HOST_PROXY_ALL];
}

const char *host_proxies_exceptions(const struct host_proxies *h)
{
	return h->now.exceptions;
}

struct host_proxies *host_proxies_new(
	struct event_base *base, const char *path, void (*changed)(void *arg), void *arg)
{
	static const struct timeval often = {.tv_sec = HOST_PROXY_S};
	struct host_proxies *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->changed = changed;
	h->arg = arg;
	snprintf(h->path, sizeof(h->path), "%s", path);
	read_environment(&h->env);
	h->now = h->env;
	look_again(h);
	h->look = event_new(base, -1, EV_PERSIST, on_look, h);
	if (h->look && event_add(h->look, &often) == 0)
		return h;
	host_proxies_free(h);
	return NULL;
}

void host_proxies_free(struct host_proxies *h)
{
	if (!h)
		return;
	if (h->look)
		event_free(h->look);
	os_wipe(h, sizeof(*h));
	free(h);
}
