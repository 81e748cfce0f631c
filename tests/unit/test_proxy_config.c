/* SPDX-License-Identifier: MIT */
/* What a VM's document, the environment and netctld.conf say of proxies. */
#include "common/os.h"
#include "ctl/host_proxy.h"
#include "ctl/proxy_config.h"
#include "ctl/resolv_conf.h"
#include "tests/unit/check_main.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- URLs ---- */

static const struct {
	const char *text, *shown, *password;
} urls[] = {
	{"socks5://192.0.2.1", "socks5://192.0.2.1:1080", ""},
	{"SOCKS5H://proxy.example:1/", "socks5://proxy.example:1", ""},
	{"proxy.example:3128", "http://proxy.example:3128", ""},
	{"http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080", ""},
	{"http://[2001:db8::1]", "http://[2001:db8::1]:1080", ""},
	{"socks5://joe@192.0.2.1", "socks5://joe@192.0.2.1:1080", ""},
	{"http://joe:pass@192.0.2.1", "http://joe@192.0.2.1:1080", "pass"},
	{"http://j%6fe:p%40%3A@192.0.2.1", "http://joe@192.0.2.1:1080", "p@:"},
	{"http://a@b:c@d@192.0.2.1", "http://a%40b@192.0.2.1:1080", "c@d"},
	{"http://:pass@192.0.2.1", "http://@192.0.2.1:1080", "pass"},
};

START_TEST(urls_that_are_some)
{
	char password[PROXY_WORD_LEN], shown[PROXY_URL_LEN];
	const char *why;
	struct proxy_url url;

	ck_assert_msg(proxy_url_parse(urls[_i].text, &url, password, &why) == 0, "%s: %s",
		urls[_i].text, why);
	ck_assert_str_eq(proxy_url_format(&url, false, shown), urls[_i].shown);
	ck_assert_str_eq(password, urls[_i].password);
	ck_assert_int_eq(proxy_url_parse(urls[_i].text, &url, NULL, &why),
		strchr(urls[_i].text, '@') && *urls[_i].password ? -1 : 0);
}
END_TEST

static const char *const no_urls[] = {"", "http://", "https://192.0.2.1", "socks4://192.0.2.1",
	"http://192.0.2.1/path", "http://192.0.2.1?x", "http://192.0.2.1:0",
	"http://192.0.2.1:65536", "http://192.0.2.1:8a", "http://192.0.2.1:", "http://[::1",
	"http://[proxy.example]", "http://a b", "http://joe:%zz@192.0.2.1",
	"http://joe:%00@192.0.2.1", "http://jo\ne@192.0.2.1", "http://-", "http://a..b"};

START_TEST(urls_that_are_none)
{
	char password[PROXY_WORD_LEN];
	const char *why = NULL;
	struct proxy_url url;
	bool bad = proxy_url_parse(no_urls[_i], &url, password, &why) < 0;

	ck_assert_msg(bad == (strcmp(no_urls[_i], "http://-") != 0), "%s", no_urls[_i]);
}
END_TEST

START_TEST(words_that_are_too_long)
{
	char text[600] = "http://", password[PROXY_WORD_LEN];
	const char *why;
	struct proxy_url url;

	memset(text + 7, 'u', 255);
	strcpy(text + 7 + 255, "@h");
	ck_assert_int_eq(proxy_url_parse(text, &url, password, &why), 0);
	memset(text + 7, 'u', 256);
	strcpy(text + 7 + 256, "@h");
	ck_assert_int_eq(proxy_url_parse(text, &url, password, &why), -1);
}
END_TEST

/* ---- exceptions ---- */

START_TEST(exceptions_of_all_forms)
{
	struct proxy_exception list[8];
	size_t bad = 0,
	       n = proxy_exceptions(
		       " .Corp.example,*.net.example , 10.0.0.0/8,[::1] 192.0.2.7 * a_b. x!y", list,
		       8, &bad);

	ck_assert_uint_eq(n, 7);
	ck_assert_uint_eq(bad, 1);
	ck_assert_str_eq(list[0].domain, "corp.example");
	ck_assert_str_eq(list[1].domain, "net.example");
	ck_assert(!list[2].by_name && list[2].prefix.bits == 96 + 8);
	ck_assert(!list[3].by_name && list[3].prefix.bits == 128);
	ck_assert(!list[4].by_name && list[4].prefix.bits == 128);
	ck_assert(list[5].by_name && !*list[5].domain);
	ck_assert_str_eq(list[6].domain, "a_b");
	ck_assert_uint_eq(proxy_exceptions("a,b,c", list, 2, NULL), 2);
	ck_assert_uint_eq(proxy_exceptions("", list, 8, NULL), 0);
}
END_TEST

/* ---- the document ---- */

static int read_doc(const char *text, struct proxy_config *config, struct error *err)
{
	struct json_object *doc = json_tokener_parse(text);
	int status;

	ck_assert_ptr_nonnull(doc);
	status = proxy_config_read(doc, config, err);
	json_object_put(doc);
	return status;
}

START_TEST(documents_read_back)
{
	static const char text[] = "{\"url\":\"socks5://joe@proxy.example:1080\","
				   "\"no_proxy\":[\"a.example\",\"10.0.0.0/8\"],"
				   "\"on_failure\":\"direct\",\"fake_ip\":\"off\"}";
	struct proxy_config config;
	struct json_object *doc;
	char whole[512];
	struct error err;

	snprintf(whole, sizeof(whole), "{\"proxy\":%s}", text);
	ck_assert_int_eq(read_doc(whole, &config, &err), 0);
	ck_assert(config.direct_on_failure && config.fake_ip == PROXY_FAKE_OFF);
	doc = proxy_config_json(&config);
	ck_assert_str_eq(json_object_to_json_string_ext(
				 doc, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		text);
	json_object_put(doc);
	ck_assert_int_eq(read_doc("{}", &config, &err), 0);
	ck_assert(proxy_config_is_default(&config));
	ck_assert_int_eq(read_doc("{\"proxy\":{\"url\":\"host\"}}", &config, &err), 0);
	ck_assert_int_eq(config.use, PROXY_USE_HOST);
	ck_assert(!proxy_config_is_default(&config));
}
END_TEST

static const struct {
	const char *doc, *field;
} wrong[] = {
	{"{\"proxy\":\"none\"}", "proxy"},
	{"{\"proxy\":{\"url\":1}}", "proxy.url"},
	{"{\"proxy\":{\"url\":\"ftp://h\"}}", "proxy.url"},
	{"{\"proxy\":{\"url\":\"http://joe:seekrit9@h\"}}", "proxy.url"},
	{"{\"proxy\":{\"no_proxy\":\"a\"}}", "proxy.no_proxy"},
	{"{\"proxy\":{\"no_proxy\":[\"a\",\"a!b\"]}}", "proxy.no_proxy[1]"},
	{"{\"proxy\":{\"no_proxy\":[\"a,b\"]}}", "proxy.no_proxy[0]"},
	{"{\"proxy\":{\"no_proxy\":[1]}}", "proxy.no_proxy[0]"},
	{"{\"proxy\":{\"on_failure\":\"maybe\"}}", "proxy.on_failure"},
	{"{\"proxy\":{\"fake_ip\":true}}", "proxy.fake_ip"},
	{"{\"proxy\":{\"password\":\"x\"}}", "proxy.password"},
};

START_TEST(documents_that_are_wrong)
{
	struct proxy_config config;
	struct error err = {0};

	ck_assert_int_eq(read_doc(wrong[_i].doc, &config, &err), -1);
	ck_assert_int_eq(err.status, 400);
	ck_assert_str_eq(err.field, wrong[_i].field);
	ck_assert_ptr_null(strstr(err.text, "seekrit9"));
}
END_TEST

START_TEST(lists_are_bounded)
{
	static char text[300 * 128];
	struct proxy_config config;
	struct error err = {0};
	size_t n = (size_t)snprintf(text, sizeof(text), "{\"proxy\":{\"no_proxy\":[\"a\"");

	for (int i = 0; i < 64; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",\"%060d.%060d.example\"", i, i);
	snprintf(text + n, sizeof(text) - n, "]}}");
	ck_assert_int_eq(read_doc(text, &config, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "longer than"));
}
END_TEST

/* ---- the host's ---- */

static struct event_base *base;
static char path[] = "/tmp/nctl-proxy.XXXXXX";
static unsigned changes;

static void on_changed(void *arg)
{
	(void)arg;
	changes++;
	event_base_loopbreak(base);
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void setup_host(void)
{
	static const char *const all[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
		"ALL_PROXY", "no_proxy", "NO_PROXY"};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		unsetenv(all[i]);
	base = event_base_new();
	close(mkstemp(path));
	changes = 0;
}

static void teardown_host(void)
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

START_TEST(the_environment_as_curl_reads_it)
{
	struct host_proxies *h;

	setenv("http_proxy", "web.example:3128", 1);
	setenv("HTTPS_PROXY", "http://upper.example:1", 1);
	setenv("https_proxy", "http://joe:hush@lower.example:2", 1);
	setenv("ALL_PROXY", "socks5h://all.example", 1);
	setenv("no_proxy", "localhost,.corp.example", 1);
	h = host_proxies_new(base, "", on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "http://web.example:3128");
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTPS), "http://joe@lower.example:2");
	ck_assert_str_eq(host_proxies_of(h, HOST_PROXY_HTTPS)->password, "hush");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://all.example:1080");
	ck_assert_str_eq(host_proxies_exceptions(h), "localhost,.corp.example");
	ck_assert_ptr_null(getenv("https_proxy")); /* nobody inherits it */
	host_proxies_free(h);
}
END_TEST

START_TEST(all_stands_in_for_what_is_not_set)
{
	struct host_proxies *h;

	setenv("all_proxy", "socks5://all.example", 1);
	setenv("https_proxy", "https://tls.example", 1);
	h = host_proxies_new(base, "", on_changed, NULL);
	ck_assert_ptr_eq(host_proxies_of(h, HOST_PROXY_HTTP), host_proxies_of(h, HOST_PROXY_ALL));
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTPS), "unusable"); /* not: straight there */
	host_proxies_free(h);
	unsetenv("all_proxy");
	h = host_proxies_new(base, "", on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "none");
	host_proxies_free(h);
}
END_TEST

START_TEST(the_file_wins_and_is_watched)
{
	struct host_proxies *h;

	setenv("all_proxy", "socks5://all.example", 1);
	setenv("no_proxy", "a.example", 1);
	write_file("# comment\n[netctld]\nlog-level = debug\nhttp-proxy = web.example:1\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "http://web.example:1");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://all.example:1080");
	ck_assert_str_eq(host_proxies_exceptions(h), "a.example");
	write_file("all-proxy =\nno-proxy = b.example, c.example\n");
	event_base_dispatch(base);
	ck_assert_uint_eq(changes, 1);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "none");
	ck_assert_str_eq(host_proxies_exceptions(h), "b.example, c.example");
	host_proxies_free(h);
}
END_TEST

/* ---- a file that is not there, or cannot be read, for a moment or longer ---- */

static void look(int times)
{
	struct timeval tv = {.tv_sec = HOST_PROXY_S * times, .tv_usec = 200000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

/* Whether any mode keeps us from reading cannot be told as root: a directory is not read by any. */
static void make_unreadable(void)
{
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_readable(const char *text)
{
	rmdir(path);
	write_file(text);
}

START_TEST(what_cannot_be_read_stays)
{
	struct host_proxies *h;

	write_file("all-proxy = socks5://all.example\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	make_unreadable();
	look(3);
	ck_assert_uint_eq(changes, 0);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://all.example:1080");
	make_readable("all-proxy = socks5://new.example\n");
	look(1);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://new.example:1080");
	host_proxies_free(h);
}
END_TEST

START_TEST(what_never_could_be_read_lets_nothing_straight_there)
{
	struct host_proxies *h;

	make_unreadable();
	h = host_proxies_new(base, path, on_changed, NULL);
	ck_assert_str_eq(shown(h, HOST_PROXY_HTTP), "unusable");
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "unusable");
	make_readable("");
	look(1);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "none");
	host_proxies_free(h);
}
END_TEST

START_TEST(a_file_that_is_gone_counts_at_the_second_look)
{
	struct host_proxies *h;

	write_file("all-proxy = socks5://all.example\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	unlink(path);
	look(1);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://all.example:1080");
	look(1);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "none");
	host_proxies_free(h);
}
END_TEST

/* The time of a file goes by the kernel's ticks. */
static void rewrite_within_the_second(const char *text)
{
	struct stat before, after;

	ck_assert_int_eq(stat(path, &before), 0);
	do {
		poll(NULL, 0, 5);
		write_file(text);
		ck_assert_int_eq(stat(path, &after), 0);
	} while (os_mtime(&after).tv_sec == os_mtime(&before).tv_sec &&
		os_mtime(&after).tv_nsec == os_mtime(&before).tv_nsec);
}

/* At the start of a second. */
static void write_file_early(const char *text)
{
	time_t last = time(NULL);

	while (time(NULL) == last)
		poll(NULL, 0, 1);
	write_file(text);
}

START_TEST(a_rewrite_of_the_same_size_within_a_second_is_seen)
{
	struct host_proxies *h;

	write_file_early("all-proxy = socks5://one.example\n");
	h = host_proxies_new(base, path, on_changed, NULL);
	rewrite_within_the_second("all-proxy = socks5://two.example\n");
	look(1);
	ck_assert_str_eq(shown(h, HOST_PROXY_ALL), "socks5://two.example:1080");
	host_proxies_free(h);
}
END_TEST

static char servers_seen[INET6_ADDRSTRLEN];

static void on_servers(void *arg, const struct endpoint *servers, size_t n)
{
	(void)arg;
	ck_assert_uint_eq(n, 1);
	addr_format(&servers[0].addr, servers_seen, sizeof(servers_seen));
}

START_TEST(a_rewrite_of_resolv_conf_is_seen)
{
	struct resolv_conf *conf;

	write_file_early("nameserver 192.0.2.1\n");
	conf = resolv_conf_new(base, path, on_servers, NULL);
	rewrite_within_the_second("nameserver 192.0.2.2\n");
	look(1);
	ck_assert_str_eq(servers_seen, "192.0.2.2");
	resolv_conf_free(conf);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy config");
	TCase *url = tcase_create("url"), *doc = tcase_create("document"),
	      *host = tcase_create("host");

	tcase_add_loop_test(url, urls_that_are_some, 0, (int)(sizeof(urls) / sizeof(*urls)));
	tcase_add_loop_test(url, urls_that_are_none, 0, (int)(sizeof(no_urls) / sizeof(*no_urls)));
	tcase_add_test(url, words_that_are_too_long);
	tcase_add_test(url, exceptions_of_all_forms);
	suite_add_tcase(s, url);
	tcase_add_test(doc, documents_read_back);
	tcase_add_loop_test(
		doc, documents_that_are_wrong, 0, (int)(sizeof(wrong) / sizeof(*wrong)));
	tcase_add_test(doc, lists_are_bounded);
	suite_add_tcase(s, doc);
	tcase_add_checked_fixture(host, setup_host, teardown_host);
	tcase_add_test(host, the_environment_as_curl_reads_it);
	tcase_add_test(host, all_stands_in_for_what_is_not_set);
	tcase_add_test(host, the_file_wins_and_is_watched);
	tcase_add_test(host, what_cannot_be_read_stays);
	tcase_add_test(host, what_never_could_be_read_lets_nothing_straight_there);
	tcase_add_test(host, a_file_that_is_gone_counts_at_the_second_look);
	tcase_add_test(host, a_rewrite_of_the_same_size_within_a_second_is_seen);
	tcase_add_test(host, a_rewrite_of_resolv_conf_is_seen);
	suite_add_tcase(s, host);
	return run_suite(s);
}
