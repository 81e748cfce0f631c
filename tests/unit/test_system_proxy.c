/* SPDX-License-Identifier: MIT */
/* The system's settings of proxies in our form, and their place after netctld.conf and the environment. */
#include "ctl/host_proxy.h"
#include "ctl/system_proxy.h"
#include "tests/unit/check_main.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- proxies ---- */

static const struct {
	const char *host;
	int port;
	enum host_proxy_of which;
	const char *shown; /* NULL: it does not parse */
} servers[] = {
	{"proxy.example", 8080, HOST_PROXY_HTTP, "http://proxy.example:8080"},
	{"proxy.example", 443, HOST_PROXY_HTTPS, "http://proxy.example:443"},
	{"192.0.2.1", 1080, HOST_PROXY_ALL, "socks5://192.0.2.1:1080"},
	{"2001:db8::1", 65535, HOST_PROXY_ALL, "socks5://[2001:db8::1]:65535"},
	{"[2001:db8::1]", 1, HOST_PROXY_HTTP, "http://[2001:db8::1]:1"},
	{"", 8080, HOST_PROXY_HTTP, NULL},
	{"proxy.example", 0, HOST_PROXY_HTTP, NULL},
	{"proxy.example", -1, HOST_PROXY_HTTP, NULL},
	{"proxy.example", 65536, HOST_PROXY_HTTP, NULL},
	{"proxy.example:3128", 8080, HOST_PROXY_HTTP, NULL},
	{"joe@proxy.example", 8080, HOST_PROXY_HTTP, NULL},
	{"http://proxy.example", 8080, HOST_PROXY_HTTP, NULL},
	{"proxy.example/", 8080, HOST_PROXY_HTTP, NULL},
	{"pr\xc3\xb6xy.example", 8080, HOST_PROXY_HTTP, NULL},
	{"fe80::1%en0", 8080, HOST_PROXY_HTTP, NULL},
};

START_TEST(servers_become_urls)
{
	struct system_proxy settings = {.automatic = false};
	char shown[PROXY_URL_LEN];
	struct proxy_url url;
	const char *why;
	bool is_one;

	system_proxy_put(&settings, servers[_i].which, servers[_i].host, servers[_i].port);
	is_one = proxy_url_parse(settings.urls[servers[_i].which], &url, NULL, &why) == 0;
	ck_assert_msg(is_one == (servers[_i].shown != NULL), "%s", servers[_i].host);
	if (is_one)
		ck_assert_str_eq(proxy_url_format(&url, false, shown), servers[_i].shown);
}
END_TEST

START_TEST(a_host_is_not_cut)
{
	struct system_proxy settings = {.automatic = false};
	char host[PROXY_HOST_LEN + 1];
	struct proxy_url url;
	const char *why;

	memset(host, 'a', sizeof(host));
	for (size_t i = 50; i < sizeof(host); i += 50)
		host[i] = '.';
	host[PROXY_HOST_LEN] = '\0';
	system_proxy_put(&settings, HOST_PROXY_ALL, host, 1080);
	ck_assert_int_eq(proxy_url_parse(settings.urls[HOST_PROXY_ALL], &url, NULL, &why), -1);
	host[PROXY_HOST_LEN - 1] = '\0';
	system_proxy_put(&settings, HOST_PROXY_ALL, host, 1080);
	ck_assert_int_eq(proxy_url_parse(settings.urls[HOST_PROXY_ALL], &url, NULL, &why), 0);
}
END_TEST

/* ---- exceptions ---- */

static const struct {
	const char *item, *as; /* "": there is no form for it */
} items[] = {
	{"*.local", "*.local"},
	{"169.254/16", "169.254.0.0/16"},
	{"10/8", "10.0.0.0/8"},
	{"192.168.1/24", "192.168.1.0/24"},
	{"1.2.3/0", "1.2.3.0/0"},
	{"10.0.0.0/8", "10.0.0.0/8"},
	{"192.0.2.7", "192.0.2.7"},
	{"10.*", "10.0.0.0/8"},
	{"192.168.*", "192.168.0.0/16"},
	{"192.168.*.*", "192.168.0.0/16"},
	{"192.0.2.*", "192.0.2.0/24"},
	{"2001:db8::/32", "2001:db8::/32"},
	{"[::1]", "[::1]"},
	{"Intranet.example", "Intranet.example"},
	{".example", ".example"},
	{"*", "*"},
	{PROXY_SIMPLE_NAMES, PROXY_SIMPLE_NAMES},
	{"  a.example ,b.example", "a.example,b.example"},
	{"", NULL},
	{" , ", NULL},
	{"10/33", ""},
	{"10/", ""},
	{"10/8/8", ""},
	{"10/-1", ""},
	{"10/0000000008", ""},
	{"256/8", ""},
	{"1000/8", ""},
	{"10./8", ""},
	{"1.2.3.4.5/8", ""},
	{"*.*", ""},
	{"10.*.1", ""},
	{"10.*/8", ""},
	{"10.*.*.*.*", ""},
	{"10.1*", ""},
	{"www*.example", ""},
	{"*example", ""},
	{"host.example:80", ""},
	{"http://host.example", ""},
	{"<other>", ""},
};

START_TEST(exceptions_of_the_system)
{
	struct system_proxy settings = {.automatic = false};
	const char *as = items[_i].as;

	system_proxy_except(&settings, items[_i].item);
	ck_assert_msg(strcmp(settings.exceptions, as ? as : "") == 0, "%s: %s", items[_i].item,
		settings.exceptions);
	ck_assert_uint_eq(settings.n_unknown, as && !*as ? 1 : 0);
}
END_TEST

START_TEST(simple_names_have_no_dot)
{
	struct proxy_exception exception;

	ck_assert(
		proxy_exception_parse(PROXY_SIMPLE_NAMES, strlen(PROXY_SIMPLE_NAMES), &exception));
	ck_assert(exception.by_name);
	ck_assert_str_eq(exception.domain, ".");
}
END_TEST

START_TEST(exceptions_that_are_too_many)
{
	struct system_proxy settings = {.automatic = false};
	char item[PROXY_HOST_LEN];

	for (int i = 0; i < NO_PROXY_MAX; i++)
		system_proxy_except(&settings, "a.example");
	ck_assert_uint_eq(settings.n_unknown, 0);
	system_proxy_except(&settings, "b.example");
	ck_assert_uint_eq(settings.n_unknown, 1);
	ck_assert_uint_eq(proxy_exceptions(settings.exceptions,
				  (struct proxy_exception[NO_PROXY_MAX]){{.by_name = false}},
				  NO_PROXY_MAX, NULL),
		NO_PROXY_MAX);

	memset(&settings, 0, sizeof(settings));
	for (int i = 0; i < NO_PROXY_MAX; i++) {
		snprintf(item, sizeof(item), "%060d.%060d.example", i, i);
		system_proxy_except(&settings, item);
	}
	ck_assert_uint_gt(settings.n_unknown, 0); /* none of those that are there is cut */
	ck_assert_str_eq(settings.exceptions + strlen(settings.exceptions) - 8, ".example");
	ck_assert_uint_eq(settings.n_exceptions + settings.n_unknown, NO_PROXY_MAX);
}
END_TEST

START_TEST(an_exception_that_is_too_long)
{
	struct system_proxy settings = {.automatic = false};
	char item[NO_PROXY_LEN];

	memset(item, '1', sizeof(item));
	item[sizeof(item) - 1] = '\0';
	system_proxy_except(&settings, item);
	ck_assert_str_eq(settings.exceptions, "");
	ck_assert_uint_eq(settings.n_unknown, 1);
}
END_TEST

/* ---- the last of the host's sources ---- */

static struct system_proxy set;
static bool readable;
static unsigned changes;
static struct event_base *base;
static char path[] = "/tmp/nctl-system-proxy.XXXXXX";

/* In the place of the library's. */
bool system_proxy_read(struct system_proxy *settings)
{
	if (readable)
		*settings = set;
	return readable;
}

static void on_changed(void *arg)
{
	(void)arg;
	changes++;
	event_base_loopbreak(base);
}

static void setup(void)
{
	static const char *const all[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
		"ALL_PROXY", "no_proxy", "NO_PROXY"};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		unsetenv(all[i]);
	base = event_base_new();
	close(mkstemp(path));
	memset(&set, 0, sizeof(set));
	readable = true;
	changes = 0;
}

static void teardown(void)
{
	unlink(path);
	event_base_free(base);
}

static const char *shown(const struct host_proxies *h, enum host_proxy_of which)
{
	static char text[PROXY_URL_LEN];
	const struct host_proxy *proxy = host_proxies_of(h, which);

	if (!proxy->set)
		return "none";
	return proxy->usable ? proxy_url_format(&proxy->url, false, text) : "unusable";
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* Until it has been looked again. */
static void wait_for_looks(double seconds)
{
	struct timeval time = {.tv_sec = (int)seconds, .tv_usec = (int)(seconds * 1e6) % 1000000};

	event_base_loopexit(base, &time);
	event_base_dispatch(base);
}

START_TEST(the_system_comes_last)
{
	struct host_proxies *h;

	system_proxy_put(&set, HOST_PROXY_HTTP, "web.example", 1);
	system_proxy_put(&set, HOST_PROXY_HTTPS, "tls.example", 2);
	system_proxy_put(&set, HOST_PROXY_ALL, "all.example", 3);
	system_proxy_except(&set, "*.local");
	setenv("https_proxy", "env.example:4", 1);
	write_file("all-proxy = file.example:5\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "http://web.example:1");
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTPS), "http://env.example:4");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "http://file.example:5");
	ck_assert_str_eq(host_proxies_exceptions(h), "*.local");
	ck_assert_uint_eq(changes, 0);
	host_proxies_free(h);
}
END_TEST

START_TEST(an_empty_value_is_none)
{
	struct host_proxies *h;

	system_proxy_put(&set, HOST_PROXY_HTTP, "web.example", 1);
	system_proxy_put(&set, HOST_PROXY_ALL, "all.example", 3);
	system_proxy_except(&set, "*.local");
	setenv("http_proxy", "", 1);
	setenv("no_proxy", "", 1);
	write_file("all-proxy =\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "none");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "none");
	ck_assert_str_eq(host_proxies_exceptions(h), "");
	host_proxies_free(h);
}
END_TEST

START_TEST(the_system_is_watched)
{
	struct host_proxies *h;

	write_file("http-proxy = file.example:1\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "none");
	system_proxy_put(&set, HOST_PROXY_HTTP, "web.example", 2);
	system_proxy_put(&set, HOST_PROXY_ALL, "all.example", 3);
	event_base_dispatch(base);
	ck_assert_uint_eq(changes, 1);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "http://file.example:1");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://all.example:3");
	host_proxies_free(h);
}
END_TEST

START_TEST(a_key_that_goes_gives_way_to_the_system)
{
	struct host_proxies *h;

	system_proxy_put(&set, HOST_PROXY_HTTP, "web.example", 2);
	write_file("http-proxy = file.example:1\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	write_file("");
	event_base_dispatch(base);
	ck_assert_uint_eq(changes, 1);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "http://web.example:2");
	host_proxies_free(h);
}
END_TEST

START_TEST(what_cannot_be_read_now_stays)
{
	struct host_proxies *h;

	system_proxy_put(&set, HOST_PROXY_ALL, "all.example", 3);
	h = host_proxies_new(base, "", on_changed, NULL);
	readable = false;
	wait_for_looks(HOST_PROXY_S + 0.5);
	ck_assert_uint_eq(changes, 0);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://all.example:3");
	host_proxies_free(h);
}
END_TEST

START_TEST(automatic_is_not_straight_there)
{
	struct host_proxies *h;

	set.automatic = true;
	system_proxy_put(&set, HOST_PROXY_HTTPS, "tls.example", 2);
	h = host_proxies_new(base, "", on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "unusable");
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTPS), "http://tls.example:2");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "unusable");
	system_proxy_put(&set, HOST_PROXY_ALL, "all.example", 3);
	event_base_dispatch(base);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "socks5://all.example:3");
	host_proxies_free(h);
}
END_TEST

START_TEST(automatic_gives_way_to_the_file)
{
	struct host_proxies *h;

	set.automatic = true;
	write_file("all-proxy =\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "none");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "none");
	host_proxies_free(h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("system proxy");
	TCase *form = tcase_create("form"), *source = tcase_create("source");

	tcase_add_loop_test(
		form, servers_become_urls, 0, (int)(sizeof(servers) / sizeof(*servers)));
	tcase_add_test(form, a_host_is_not_cut);
	tcase_add_loop_test(
		form, exceptions_of_the_system, 0, (int)(sizeof(items) / sizeof(*items)));
	tcase_add_test(form, simple_names_have_no_dot);
	tcase_add_test(form, exceptions_that_are_too_many);
	tcase_add_test(form, an_exception_that_is_too_long);
	suite_add_tcase(s, form);
	tcase_add_checked_fixture(source, setup, teardown);
	tcase_add_test(source, the_system_comes_last);
	tcase_add_test(source, an_empty_value_is_none);
	tcase_add_test(source, the_system_is_watched);
	tcase_add_test(source, a_key_that_goes_gives_way_to_the_system);
	tcase_add_test(source, what_cannot_be_read_now_stays);
	tcase_add_test(source, automatic_is_not_straight_there);
	tcase_add_test(source, automatic_gives_way_to_the_file);
	suite_add_tcase(s, source);
	return run_suite(s);
}
