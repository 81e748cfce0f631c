/* SPDX-License-Identifier: MIT */
/* What is said to proxies and what is understood of their answers, in pieces of every size. */
#include "dataplane/egress/handshake.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct proxy_server server;
static struct handshake talk;
static char said[4096]; /* all that we said so far */
static size_t said_len;

static struct endpoint at(const char *text)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse(text, &e), 0);
	return e;
}

static void take_out(void)
{
	size_t n = talk.out_len - talk.out_at;

	memcpy(said + said_len, talk.out + talk.out_at, n);
	said_len += n;
	said[said_len] = '\0';
	handshake_sent(&talk, n);
}

static void begin(enum proxy_kind kind, const char *user, const char *password, const char *dst,
	const char *name)
{
	struct endpoint to = at(dst);

	memset(&server, 0, sizeof(server));
	server.kind = kind;
	server.auth = user != NULL;
	if (user) {
		strcpy(server.user, user);
		strcpy(server.password, password);
	}
	said_len = 0;
	handshake_begin(&talk, &server, SOCKS5_CONNECT, &to, name);
	take_out();
}

/* Feeds the answer in pieces; what follows our turn to speak comes after we spoke. Returns the step
 * and, in *left, how many bytes of the answer were not the handshake's. */
static enum handshake_step hear(const void *answer, size_t len, size_t piece, size_t *left)
{
	const uint8_t *bytes = answer;
	enum handshake_step step = HANDSHAKE_MORE;
	size_t done = 0, used;

	while (done < len && step == HANDSHAKE_MORE) {
		size_t n = len - done < piece ? len - done : piece;

		step = handshake_feed(&talk, bytes + done, n, &used);
		ck_assert_uint_le(used, n);
		if (step == HANDSHAKE_MORE)
			ck_assert_uint_eq(used, n);
		done += used;
		take_out();
	}
	*left = len - done;
	return step;
}

/* ---- SOCKS5 ---- */

#define OK4 "\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"

/* One message a piece: a proxy speaks when it is its turn. */
static enum handshake_step socks(
	const char *const *messages, const size_t *lens, size_t n, size_t piece, size_t *left)
{
	enum handshake_step step = HANDSHAKE_MORE;

	for (size_t i = 0; i < n && step == HANDSHAKE_MORE; i++)
		step = hear(messages[i], lens[i], piece, left);
	return step;
}

START_TEST(socks5_by_name)
{
	static const char *const answers[] = {"\x05\x00", OK4 "SSH-2.0"};
	static const size_t lens[] = {2, 17};
	static const char want[] = "\x05\x01\x00"
				   "\x05\x01\x00\x03\x0cpage.example\x01\xbb";
	size_t left;

	begin(PROXY_SOCKS5, NULL, NULL, "192.0.2.1:443", "page.example");
	ck_assert_int_eq(socks(answers, lens, 2, (size_t)_i, &left), HANDSHAKE_DONE);
	ck_assert_mem_eq(said, want, sizeof(want) - 1);
	ck_assert_uint_eq(said_len, sizeof(want) - 1);
	ck_assert_uint_le(left, 7); /* never a byte of the flow */
	if (_i > 17)
		ck_assert_uint_eq(left, 7);
	ck_assert(endpoint_eq(&talk.bound, &(struct endpoint){addr_from_v4(0x7f000001), 0x1234}));
}
END_TEST

START_TEST(socks5_by_address)
{
	static const char *const answers[] = {"\x05\x00", OK4};
	static const size_t lens[] = {2, 10};
	size_t left;

	begin(PROXY_SOCKS5, NULL, NULL, "192.0.2.1:443", NULL);
	ck_assert_int_eq(socks(answers, lens, 2, 64, &left), HANDSHAKE_DONE);
	ck_assert_mem_eq(said, "\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb", 13);
	begin(PROXY_SOCKS5, NULL, NULL, "[2001:db8::5]:80", NULL);
	ck_assert_int_eq(socks(answers, lens, 2, 64, &left), HANDSHAKE_DONE);
	ck_assert_mem_eq(said + 3, "\x05\x01\x00\x04\x20\x01\x0d\xb8", 8);
	ck_assert_uint_eq(said_len, 3 + 4 + 16 + 2);
}
END_TEST

START_TEST(socks5_says_who_we_are)
{
	static const char *const answers[] = {"\x05\x02", "\x01\x00", OK4};
	static const size_t lens[] = {2, 2, 10};
	static const char want[] = "\x05\x02\x00\x02"
				   "\x01\x03joe\x06secret";
	size_t left;

	begin(PROXY_SOCKS5, "joe", "secret", "192.0.2.1:443", NULL);
	ck_assert_int_eq(socks(answers, lens, 3, (size_t)_i, &left), HANDSHAKE_DONE);
	ck_assert_mem_eq(said, want, sizeof(want) - 1);
	for (size_t i = 0; i < sizeof(talk.out); i++) /* it is not kept */
		ck_assert_uint_eq(talk.out[i], 0);
}
END_TEST

START_TEST(socks5_that_wants_nobody_is_told_nobody)
{
	static const char *const answers[] = {"\x05\x00", OK4};
	static const size_t lens[] = {2, 10};
	size_t left;

	begin(PROXY_SOCKS5, "joe", "secret", "192.0.2.1:443", NULL);
	ck_assert_int_eq(socks(answers, lens, 2, 64, &left), HANDSHAKE_DONE);
	ck_assert_ptr_null(memmem(said, said_len, "secret", 6));
}
END_TEST

static const struct {
	const char *what;
	bool auth;
	const char *answers[3];
	size_t lens[3];
	size_t n;
	enum handshake_step step;
	int err;
} socks_refusals[] = {
	{"no method", false, {"\x05\xff"}, {2}, 1, HANDSHAKE_DENIED, 0},
	{"wants a user", false, {"\x05\x02"}, {2}, 1, HANDSHAKE_DENIED, 0},
	{"a method we did not offer", true, {"\x05\x01"}, {2}, 1, HANDSHAKE_DENIED, 0},
	{"wrong password", true, {"\x05\x02", "\x01\x01"}, {2, 2}, 2, HANDSHAKE_DENIED, 0},
	{"SOCKS4", false, {"\x00\x5a"}, {2}, 1, HANDSHAKE_BROKEN, 0},
	{"HTTP", false, {"HTTP/1.1 400 Bad Request\r\n\r\n"}, {28}, 1, HANDSHAKE_BROKEN, 0},
	{"more than was asked", false, {"\x05\x00\x05\x00"}, {4}, 1, HANDSHAKE_BROKEN, 0},
	{"failure", false, {"\x05\x00", "\x05\x01\x00\x01\0\0\0\0\0\0"}, {2, 10}, 2,
		HANDSHAKE_REFUSED, -EHOSTUNREACH},
	{"ruleset", false, {"\x05\x00", "\x05\x02\x00\x01\0\0\0\0\0\0"}, {2, 10}, 2,
		HANDSHAKE_REFUSED, -ECONNREFUSED},
	{"network", false, {"\x05\x00", "\x05\x03\x00\x01\0\0\0\0\0\0"}, {2, 10}, 2,
		HANDSHAKE_REFUSED, -ENETUNREACH},
	{"refused, and no more of it", false, {"\x05\x00", "\x05\x05"}, {2, 2}, 2,
		HANDSHAKE_REFUSED, -ECONNREFUSED},
	{"a reply of a number nobody knows", false, {"\x05\x00", "\x05\xaa"}, {2, 2}, 2,
		HANDSHAKE_REFUSED, -ECONNREFUSED},
	{"a kind of address nobody knows", false, {"\x05\x00", "\x05\x00\x00\x05\0\0\0\0\0\0"},
		{2, 10}, 2, HANDSHAKE_BROKEN, 0},
	{"reply of another version", false, {"\x05\x00", "\x04\x00\x00\x01\0\0\0\0\0\0"}, {2, 10},
		2, HANDSHAKE_BROKEN, 0},
	{"cut short", false, {"\x05\x00", "\x05\x00\x00\x01\x7f\x00\x00\x01\x12"}, {2, 9}, 2,
		HANDSHAKE_MORE, 0},
	{"a name as its address, cut short", false, {"\x05\x00", "\x05\x00\x00\x03\xff\x41"},
		{2, 6}, 2, HANDSHAKE_MORE, 0},
};

START_TEST(socks5_refusals)
{
	size_t i = (size_t)_i, left;

	for (size_t piece = 1; piece < 12; piece++) {
		if (socks_refusals[i].n == 1 && piece < socks_refusals[i].lens[0] &&
			socks_refusals[i].lens[0] > 2 &&
			socks_refusals[i].step == HANDSHAKE_BROKEN &&
			socks_refusals[i].answers[0][0] == 5)
			continue; /* in pieces it is what was asked, and then more */
		begin(PROXY_SOCKS5, socks_refusals[i].auth ? "joe" : NULL, "secret",
			"192.0.2.1:443", NULL);
		ck_assert_msg(socks(socks_refusals[i].answers, socks_refusals[i].lens,
				      socks_refusals[i].n, piece, &left) == socks_refusals[i].step,
			"%s, by %zu", socks_refusals[i].what, piece);
		if (socks_refusals[i].step == HANDSHAKE_REFUSED)
			ck_assert_int_eq(talk.err, socks_refusals[i].err);
	}
}
END_TEST

START_TEST(socks5_addresses_of_replies)
{
	static const char six[] =
		"\x05\x00\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05\x00\x50X";
	static const char name[] = "\x05\x00\x00\x03\x03one\x00\x50X";
	size_t left;

	begin(PROXY_SOCKS5, NULL, NULL, "192.0.2.1:443", NULL);
	hear("\x05\x00", 2, 2, &left);
	ck_assert_int_eq(hear(six, sizeof(six) - 1, 64, &left), HANDSHAKE_DONE);
	ck_assert_uint_eq(left, 1);
	ck_assert_uint_eq(talk.bound.port, 80);
	ck_assert_uint_eq(talk.bound.addr.b[15], 5);
	begin(PROXY_SOCKS5, NULL, NULL, "192.0.2.1:443", NULL);
	hear("\x05\x00", 2, 2, &left);
	ck_assert_int_eq(hear(name, sizeof(name) - 1, 64, &left), HANDSHAKE_DONE);
	ck_assert_uint_eq(left, 1);
	ck_assert_uint_eq(talk.bound.port, 80);
}
END_TEST

START_TEST(socks5_longest_words)
{
	static const char *const answers[] = {"\x05\x02", "\x01\x00", OK4};
	static const size_t lens[] = {2, 2, 10};
	char longest[256], name[254];
	size_t left;

	memset(longest, 'u', 255);
	longest[255] = '\0';
	memset(name, 'n', 253);
	name[253] = '\0';
	begin(PROXY_SOCKS5, longest, longest, "192.0.2.1:443", name);
	ck_assert_int_eq(socks(answers, lens, 3, 64, &left), HANDSHAKE_DONE);
	ck_assert_uint_eq(said_len, 4 + 3 + 2 * 255 + 5 + 253 + 2);
	begin(PROXY_HTTP, longest, longest, "192.0.2.1:443", name);
	ck_assert_int_eq(hear("HTTP/1.1 200 OK\r\n\r\n", 19, 64, &left), HANDSHAKE_DONE);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(datagrams_there_and_back)
{
	struct endpoint dst = at("192.0.2.1:53"), six = at("[2001:db8::5]:53");
	uint8_t head[SOCKS5_UDP_HEAD_MAX + 4];
	struct socks5_udp_from from;
	size_t n = socks5_udp_head(head, &dst, NULL);

	ck_assert_uint_eq(n, 10);
	ck_assert_mem_eq(head, "\0\0\0\x01\xc0\0\x02\x01\0\x35", 10);
	ck_assert_uint_eq(socks5_udp_parse(head, n + 4, &from), n);
	ck_assert(endpoint_eq(&from.at, &dst));
	n = socks5_udp_head(head, &six, NULL);
	ck_assert_uint_eq(socks5_udp_parse(head, n, &from), n);
	ck_assert(endpoint_eq(&from.at, &six));
	n = socks5_udp_head(head, &dst, "page.example");
	ck_assert_uint_eq(socks5_udp_parse(head, n, &from), n);
	ck_assert_str_eq(from.name, "page.example");
	ck_assert_uint_eq(from.at.port, 53);
}
END_TEST

START_TEST(datagrams_that_are_none)
{
	struct endpoint dst = at("192.0.2.1:53");
	uint8_t head[SOCKS5_UDP_HEAD_MAX];
	struct socks5_udp_from from;
	size_t n = socks5_udp_head(head, &dst, "page.example");

	for (size_t len = 0; len < n; len++)
		ck_assert_uint_eq(socks5_udp_parse(head, len, &from), 0);
	head[2] = 1; /* a fragment */
	ck_assert_uint_eq(socks5_udp_parse(head, n, &from), 0);
	head[2] = 0;
	head[3] = 2;
	ck_assert_uint_eq(socks5_udp_parse(head, n, &from), 0);
}
END_TEST

/* ---- HTTP CONNECT ---- */

START_TEST(http_by_name)
{
	static const char answer[] = "HTTP/1.1 200 Connection established\r\n"
				     "Content-Length: 5\r\nX: y\r\n\r\n\r\nhello";
	size_t left;

	begin(PROXY_HTTP, NULL, NULL, "192.0.2.1:443", "page.example");
	ck_assert_str_eq(
		said, "CONNECT page.example:443 HTTP/1.1\r\nHost: page.example:443\r\n\r\n");
	ck_assert_int_eq(hear(answer, sizeof(answer) - 1, (size_t)_i, &left), HANDSHAKE_DONE);
	if (_i > 100)
		ck_assert_uint_eq(left, 7);
}
END_TEST

START_TEST(http_by_address)
{
	begin(PROXY_HTTP, NULL, NULL, "192.0.2.1:80", NULL);
	ck_assert_str_eq(said, "CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n");
	begin(PROXY_HTTP, NULL, NULL, "[2001:db8::5]:80", NULL);
	ck_assert_str_eq(
		said, "CONNECT [2001:db8::5]:80 HTTP/1.1\r\nHost: [2001:db8::5]:80\r\n\r\n");
}
END_TEST

START_TEST(http_says_who_we_are)
{
	begin(PROXY_HTTP, "Aladdin", "open sesame", "192.0.2.1:80", NULL);
	ck_assert_ptr_nonnull(strstr(
		said, "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"));
}
END_TEST

static const struct {
	const char *answer;
	enum handshake_step step;
	int err;
} http_answers[] = {
	{"HTTP/1.0 200 OK\n\n", HANDSHAKE_DONE, 0},
	{"HTTP/1.1 204\r\n\r\n", HANDSHAKE_DONE, 0},
	{"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", HANDSHAKE_DONE, 0},
	{"HTTP/1.1 101 Switching\r\n\r\n", HANDSHAKE_REFUSED, -ECONNREFUSED},
	{"HTTP/1.1 403 Forbidden\r\n\r\n", HANDSHAKE_REFUSED, -ECONNREFUSED},
	{"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", HANDSHAKE_REFUSED, -ECONNREFUSED},
	{"HTTP/1.1 502 Bad Gateway\r\n\r\n", HANDSHAKE_REFUSED, -EHOSTUNREACH},
	{"HTTP/1.1 504 Gateway Timeout\r\n\r\n", HANDSHAKE_REFUSED, -ETIMEDOUT},
	{"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", HANDSHAKE_DENIED, 0},
	{"HTTP/1.1 401 Unauthorized\r\n\r\n", HANDSHAKE_DENIED, 0},
	{"HTTP/1.1 200 OK\r\nA: b\r\n", HANDSHAKE_MORE, 0},
	{"HTTP/1.1 20", HANDSHAKE_MORE, 0},
	{"HTTP/1.1 20\r\n\r\n", HANDSHAKE_BROKEN, 0},
	{"HTTP/1.1 999 Odd\r\n\r\n", HANDSHAKE_BROKEN, 0},
	{"HTTP/2 200\r\n\r\n", HANDSHAKE_BROKEN, 0},
	{"HTTP/1.1 2000 OK\r\n\r\n", HANDSHAKE_BROKEN, 0},
	{"220 smtp.example ESMTP\r\n", HANDSHAKE_BROKEN, 0},
	{"\r\n", HANDSHAKE_BROKEN, 0},
	{"\x05\xff", HANDSHAKE_BROKEN, 0},
};

START_TEST(http_answers_of_all_kinds)
{
	size_t left;

	for (size_t piece = 1; piece < 64; piece++) {
		begin(PROXY_HTTP, NULL, NULL, "192.0.2.1:80", NULL);
		ck_assert_msg(hear(http_answers[_i].answer, strlen(http_answers[_i].answer), piece,
				      &left) == http_answers[_i].step,
			"\"%s\", by %zu", http_answers[_i].answer, piece);
		if (http_answers[_i].step == HANDSHAKE_REFUSED)
			ck_assert_int_eq(talk.err, http_answers[_i].err);
		if (http_answers[_i].step == HANDSHAKE_DONE)
			ck_assert_uint_eq(left, 0);
	}
}
END_TEST

START_TEST(http_that_never_ends)
{
	static char header[HTTP_CONNECT_HEAD_MAX + 64];
	size_t left;

	memset(header, 'a', sizeof(header));
	begin(PROXY_HTTP, NULL, NULL, "192.0.2.1:80", NULL);
	ck_assert_int_eq(hear("HTTP/1.1 200 OK\r\n", 17, 17, &left), HANDSHAKE_MORE);
	ck_assert_int_eq(hear(header, sizeof(header), 1024, &left), HANDSHAKE_BROKEN);
}
END_TEST

/* ---- names ---- */

START_TEST(names_that_may_be_told)
{
	static const char *const good[] = {"a", "page.example", "_srv.a-b.example", "A.B9"};
	static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a b", "a\r\nX: y", "a:80",
		"a/b", "a@b", "\xc3\xa9.example", "[::1]"};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		ck_assert_msg(proxy_name_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!proxy_name_valid(bad[i]), "%s", bad[i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("proxy handshake");
	TCase *socks5 = tcase_create("socks5"), *http = tcase_create("http");

	tcase_add_loop_test(socks5, socks5_by_name, 1, 20);
	tcase_add_test(socks5, socks5_by_address);
	tcase_add_loop_test(socks5, socks5_says_who_we_are, 1, 12);
	tcase_add_test(socks5, socks5_that_wants_nobody_is_told_nobody);
	tcase_add_loop_test(socks5, socks5_refusals, 0,
		(int)(sizeof(socks_refusals) / sizeof(*socks_refusals)));
	tcase_add_test(socks5, socks5_addresses_of_replies);
	tcase_add_test(socks5, socks5_longest_words);
	tcase_add_test(socks5, datagrams_there_and_back);
	tcase_add_test(socks5, datagrams_that_are_none);
	suite_add_tcase(s, socks5);
	tcase_add_loop_test(http, http_by_name, 1, 110);
	tcase_add_test(http, http_by_address);
	tcase_add_test(http, http_says_who_we_are);
	tcase_add_loop_test(http, http_answers_of_all_kinds, 0,
		(int)(sizeof(http_answers) / sizeof(*http_answers)));
	tcase_add_test(http, http_that_never_ends);
	tcase_add_test(http, names_that_may_be_told);
	suite_add_tcase(s, http);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
