/* SPDX-License-Identifier: MIT */
/* Who may see the dashboard, what it may ask, and what it makes of api.sock's answers. */
#include "cli/dashboard/door.h"
#include "cli/dashboard/files.h"
#include "cli/dashboard/guard.h"
#include "cli/dashboard/head.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PORT 41234
#define OURS "127.0.0.1:41234"

static struct guard guard;

static void set_up(void)
{
	guard_init(&guard, PORT);
}

static struct guard_request asks(const char *uri)
{
	return (struct guard_request){.uri = uri, .host = OURS};
}

/* ---- where a request comes from ---- */

START_TEST(own_requests_pass)
{
	struct guard_request request = asks("/");

	ck_assert(guard_is_own(&guard, &request));
	request.site = "none";
	ck_assert(guard_is_own(&guard, &request));
	request = asks("/v1/vms");
	request.origin = "http://" OURS;
	request.site = "same-origin";
	request.writes = true;
	ck_assert(guard_is_own(&guard, &request));
}
END_TEST

START_TEST(other_hosts_get_nothing)
{
	static const char *const hosts[] = {"", "127.0.0.1", "localhost:41234", "127.0.0.1:41235",
		"evil.example:41234", "127.0.0.1:41234.evil.example", "127.0.0.1:412345",
		"user@127.0.0.1:41234", "10.0.2.2:41234", NULL};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		struct guard_request request = asks("/");

		request.host = hosts[i];
		ck_assert_msg(!guard_is_own(&guard, &request), "%s", hosts[i]);
	}
}
END_TEST

START_TEST(other_origins_get_nothing)
{
	static const char *const origins[] = {"", "null", "http://evil.example",
		"https://127.0.0.1:41234", "http://127.0.0.1", "http://127.0.0.1:41235",
		"http://127.0.0.1:41234.evil.example", "http://localhost:41234"};

	for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++) {
		struct guard_request request = asks("/");

		request.origin = origins[i];
		ck_assert_msg(!guard_is_own(&guard, &request), "%s", origins[i]);
	}
}
END_TEST

START_TEST(other_sites_get_nothing)
{
	static const char *const sites[] = {"cross-site", "same-site", "", "other"};

	for (size_t i = 0; i < sizeof(sites) / sizeof(*sites); i++) {
		struct guard_request request = asks("/");

		request.site = sites[i];
		ck_assert_msg(!guard_is_own(&guard, &request), "%s", sites[i]);
	}
}
END_TEST

START_TEST(what_writes_names_its_origin)
{
	struct guard_request request = asks("/session");

	request.writes = true;
	ck_assert(!guard_is_own(&guard, &request));
	request.origin = "http://" OURS;
	ck_assert(guard_is_own(&guard, &request));
	request.site = "none";
	ck_assert(!guard_is_own(&guard, &request));
}
END_TEST

START_TEST(odd_requests_get_nothing)
{
	struct guard_request request = asks("http://" OURS "/");

	ck_assert(!guard_is_own(&guard, &request));
	request = asks(NULL);
	ck_assert(!guard_is_own(&guard, &request));
	request = asks("/");
	request.doubled = true;
	ck_assert(!guard_is_own(&guard, &request));
}
END_TEST

/* ---- secrets ---- */

START_TEST(link_is_traded_once)
{
	char uri[128], bearer[128];
	struct guard_request request = asks("/v1/vms");

	snprintf(uri, sizeof(uri), "/?link=%s", guard.link);
	snprintf(bearer, sizeof(bearer), "Bearer %s", guard.session);
	request.authorization = bearer;
	ck_assert(guard_opens(&guard, uri));
	ck_assert(guard_opens(&guard, uri));
	ck_assert(!guard_has_session(&guard, &request));
	ck_assert(guard_trade(&guard, guard.link, strlen(guard.link)));
	ck_assert(guard_has_session(&guard, &request));
	ck_assert(!guard_trade(&guard, guard.link, strlen(guard.link)));
	ck_assert(!guard_opens(&guard, uri));
}
END_TEST

START_TEST(wrong_links_open_nothing)
{
	char uri[128], wrong[GUARD_SECRET_LEN];

	memcpy(wrong, guard.link, sizeof(wrong));
	wrong[47] = wrong[47] == '0' ? '1' : '0';
	ck_assert(!guard_trade(&guard, wrong, 48));
	ck_assert(!guard_trade(&guard, guard.link, 47));
	ck_assert(!guard_trade(&guard, "", 0));
	ck_assert(!guard_trade(&guard, NULL, 0));
	ck_assert(!guard_trade(&guard, guard.session, 48));
	ck_assert(!guard_trade(&guard, guard.ticket, 48));
	ck_assert(!guard_opens(&guard, "/"));
	ck_assert(!guard_opens(&guard, "/?link="));
	snprintf(uri, sizeof(uri), "/?link=%s", wrong);
	ck_assert(!guard_opens(&guard, uri));
	snprintf(uri, sizeof(uri), "/?link=%s&x", guard.link);
	ck_assert(!guard_opens(&guard, uri));
	snprintf(uri, sizeof(uri), "/page.js?link=%s", guard.link);
	ck_assert(!guard_opens(&guard, uri));
	ck_assert(guard_trade(&guard, guard.link, 48));
}
END_TEST

START_TEST(wrong_sessions_get_nothing)
{
	struct guard_request request = asks("/v1/vms");
	char bearer[128];

	ck_assert(guard_trade(&guard, guard.link, 48));
	ck_assert(!guard_has_session(&guard, &request));
	request.authorization = bearer;
	snprintf(bearer, sizeof(bearer), "Basic %s", guard.session);
	ck_assert(!guard_has_session(&guard, &request));
	snprintf(bearer, sizeof(bearer), "Bearer %s", guard.ticket);
	ck_assert(!guard_has_session(&guard, &request));
	snprintf(bearer, sizeof(bearer), "Bearer %s0", guard.session);
	ck_assert(!guard_has_session(&guard, &request));
	snprintf(bearer, sizeof(bearer), "Bearer ");
	ck_assert(!guard_has_session(&guard, &request));
}
END_TEST

START_TEST(ticket_is_found_among_cookies)
{
	struct guard_request request = asks("/page.js");
	char cookie[256], ticket[128];

	ck_assert_str_eq(guard_ticket(&guard, ticket, 14), "netctl-41234=");
	guard_ticket(&guard, ticket, sizeof(ticket));
	ck_assert(!guard_has_ticket(&guard, &request));
	request.cookie = cookie;
	snprintf(cookie, sizeof(cookie), "%s", ticket);
	ck_assert(guard_has_ticket(&guard, &request));
	snprintf(cookie, sizeof(cookie), "a=b; netctl-41235=00; %s; c", ticket);
	ck_assert(guard_has_ticket(&guard, &request));
	snprintf(cookie, sizeof(cookie), "a=b; x%s", ticket);
	ck_assert(!guard_has_ticket(&guard, &request));
	snprintf(cookie, sizeof(cookie), "%s0", ticket);
	ck_assert(!guard_has_ticket(&guard, &request));
	snprintf(cookie, sizeof(cookie), ";; =; netctl-41234=; netctl-41234");
	ck_assert(!guard_has_ticket(&guard, &request));
}
END_TEST

START_TEST(secrets_differ)
{
	struct guard other;

	guard_init(&other, PORT);
	ck_assert_str_ne(guard.link, other.link);
	ck_assert_str_ne(guard.link, guard.session);
	ck_assert_str_ne(guard.session, guard.ticket);
	ck_assert_uint_eq(strspn(guard.session, "0123456789abcdef"), 48);
}
END_TEST

/* ---- what it may ask ---- */

static const struct {
	const char *method, *uri;
	bool admitted;
} questions[] = {
	{"GET", "/v1/vms", true},
	{"GET", "/v1/version", true},
	{"GET", "/v1/vms/web/stats", true},
	{"GET", "/v1/vms/0-a.b_c/flows?limit=1000", true},
	{"GET", "/v1/vms/web/policy", true},
	{"PUT", "/v1/vms/web/policy", true},
	{"GET", "/v1/events?follow=1&since=17", true},
	{"GET", "/v1/events?last=10", true},
	{"POST", "/v1/vms", false},
	{"GET", "/v1/vms/web", false},
	{"GET", "/v1/vms/web/env", false},
	{"GET", "/v1/vms/web/secrets", false},
	{"PUT", "/v1/vms/web/secrets/a", false},
	{"PUT", "/v1/vms/web/env", false},
	{"PUT", "/v1/vms/web/policy?cut_existing=1", false},
	{"POST", "/v1/vms/web/policy", false},
	{"DELETE", "/v1/vms/web/policy", false},
	{"", "/v1/vms", false},
	{"GET", "/v1/vms/", false},
	{"GET", "/v1/vms//stats", false},
	{"GET", "/v1/vms/../stats", false},
	{"GET", "/v1/vms/.a/stats", false},
	{"GET", "/v1/vms/web/env/stats", false},
	{"GET", "/v1/vms/we%62/stats", false},
	{"GET", "/v1/vms/web/stats/", false},
	{"GET", "/v1/vms/web/stats#a", false},
	{"GET", "/v1/vms/web/stats?", false},
	{"GET", "/v1/vms/web/flows?limit=", false},
	{"GET", "/v1/vms/web/flows?limit=1&", false},
	{"GET", "/v1/vms/web/flows?limits=1", false},
	{"GET", "/v1/vms/web/flows?limit=1&since=1", false},
	{"GET", "/v1/events?since=1%20HTTP/1.1", false},
	{"GET", "/v1/events?follow=1\r\nX: y", false},
	{"GET", "/v1/vms/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/stats",
		false},
};

START_TEST(door_admits_what_the_page_needs)
{
	bool endless;

	ck_assert_msg(door_admits(questions[_i].method, questions[_i].uri, &endless) ==
			questions[_i].admitted,
		"%s %s", questions[_i].method, questions[_i].uri);
	ck_assert(endless == (strstr(questions[_i].uri, "?follow=1") != NULL));
}
END_TEST

/* ---- answers ---- */

static int parse(const char *text, struct head *head)
{
	return head_parse(text, strlen(text), head);
}

START_TEST(heads_are_read)
{
	struct head head;

	ck_assert_int_eq(parse("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"
			       "content-length:  17\r\nX: y\r\n\r\n",
				 &head),
		0);
	ck_assert_int_eq(head.status, 200);
	ck_assert_int_eq(head.length, 17);
	ck_assert_str_eq(head.type, "application/json");
	ck_assert_int_eq(parse("HTTP/1.1 410 \r\n\r\n", &head), 0);
	ck_assert_int_eq(head.status, 410);
	ck_assert_int_eq(head.length, -1);
	ck_assert_str_eq(head.type, "text/plain");
	ck_assert_int_eq(parse("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n", &head), 0);
	ck_assert_str_eq(head.type, "text/plain");
	ck_assert_int_eq(
		parse("HTTP/1.0 200 OK\r\nContent-Type: application/json2\r\n\r\n", &head), 0);
	ck_assert_str_eq(head.type, "text/plain");
	ck_assert_str_eq(head.tag, "");
}
END_TEST

START_TEST(tags_are_read)
{
	static const char *const bad[] = {"", "\"", "\"\"", "12", "\"12", "\"xy\"", "W/\"12\"",
		"\"12\" x", "\"12\", \"13\"", "\"0123456789abcdef0123456789\""};
	struct head head;
	char tag[HEAD_TAG_LEN];

	ck_assert_int_eq(parse("HTTP/1.0 200 OK\r\nETag: \"0123456789abcdef\"\r\n\r\n", &head), 0);
	ck_assert_str_eq(head.tag, "\"0123456789abcdef\"");
	ck_assert_int_eq(parse("HTTP/1.0 200 OK\r\nETag: \"<x>\"\r\n\r\n", &head), 0);
	ck_assert_str_eq(head.tag, "");
	ck_assert_int_eq(head_tag("\"0f\" ", tag), 0);
	ck_assert_str_eq(tag, "\"0f\"");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(head_tag(bad[i], tag) == -EPROTO && !*tag, "%s", bad[i]);
}
END_TEST

START_TEST(broken_heads_are_refused)
{
	static const char *const bad[] = {"", "\n", "\r\n\r\n", "HTTP/1.0\r\n\r\n",
		"HTTP/1.0 20\r\n\r\n", "HTTP/1.0 2000 OK\r\n\r\n", "HTTP/1.0 100 \r\n\r\n",
		"HTTP/1.0  200\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK",
		"HTTP/1.0 200 OK\r\nContent-Length: \r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"};
	struct head head;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(parse(bad[i], &head) == -EPROTO, "%s", bad[i]);
	ck_assert_int_eq(head_parse("HTTP/1.0 200 \0\r\n\r\n", 18, &head), -EPROTO);
}
END_TEST

/* ---- the page ---- */

START_TEST(page_asks_nobody_else)
{
	for (const struct page_file *file = page_files; file->path; file++) {
		const char *bytes = (const char *)file->bytes;

		ck_assert_uint_gt(file->len, 100);
		/* The namespace of SVG is a name, and no address. */
		for (size_t i = 0; i + 10 < file->len; i++)
			ck_assert_msg(strncmp(bytes + i, "://", 3) != 0 ||
					strncmp(bytes + i, "://www.w3.", 10) == 0,
				"%s: %.40s", file->path, bytes + i);
	}
}
END_TEST

START_TEST(page_makes_no_markup)
{
	static const char *const makers[] = {"innerHTML", "outerHTML", "insertAdjacentHTML",
		"document.write", "DOMParser", "eval(", "createContextualFragment", "srcdoc"};
	const struct page_file *file = page_files;
	char script[65536];

	while (file->path && strcmp(file->path, "/page.js") != 0)
		file++;
	ck_assert(file->path && file->len < sizeof(script));
	memcpy(script, file->bytes, file->len);
	script[file->len] = '\0';
	for (size_t i = 0; i < sizeof(makers) / sizeof(*makers); i++)
		ck_assert_msg(!strstr(script, makers[i]), "%s", makers[i]);
}
END_TEST

static Suite *dashboard_suite(void)
{
	Suite *suite = suite_create("dashboard");
	TCase *guards = tcase_create("guard"), *others = tcase_create("others");

	tcase_add_checked_fixture(guards, set_up, NULL);
	tcase_add_test(guards, own_requests_pass);
	tcase_add_test(guards, other_hosts_get_nothing);
	tcase_add_test(guards, other_origins_get_nothing);
	tcase_add_test(guards, other_sites_get_nothing);
	tcase_add_test(guards, what_writes_names_its_origin);
	tcase_add_test(guards, odd_requests_get_nothing);
	tcase_add_test(guards, link_is_traded_once);
	tcase_add_test(guards, wrong_links_open_nothing);
	tcase_add_test(guards, wrong_sessions_get_nothing);
	tcase_add_test(guards, ticket_is_found_among_cookies);
	tcase_add_test(guards, secrets_differ);
	suite_add_tcase(suite, guards);
	tcase_add_loop_test(
		others, door_admits_what_the_page_needs, 0, sizeof(questions) / sizeof(*questions));
	tcase_add_test(others, heads_are_read);
	tcase_add_test(others, tags_are_read);
	tcase_add_test(others, broken_heads_are_refused);
	tcase_add_test(others, page_asks_nobody_else);
	tcase_add_test(others, page_makes_no_markup);
	suite_add_tcase(suite, others);
	return suite;
}

int main(void)
{
	return run_suite(dashboard_suite());
}
