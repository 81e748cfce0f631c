/* SPDX-License-Identifier: MIT */
/* Which flows are wanted and in which order: flow_filter.h. */
#include "cli/flow_filter.h"

#include "cli/json.h"
#include "tests/unit/check_main.h"

#include <errno.h>

static struct flow_filter filter;

static struct json_object *flow(const char *proto, const char *guest, const char *remote,
	const char *host, const char *state, int64_t bytes)
{
	struct json_object *doc = json_object_new_object();

	doc_put_text(doc, "proto", proto);
	doc_put_text(doc, "dir", "out");
	doc_put_text(doc, "guest", guest);
	doc_put_text(doc, "remote", remote);
	doc_put_text(doc, "host", host);
	doc_put_text(doc, "state", state);
	doc_put_int(doc, "tx_bytes", bytes);
	doc_put_int(doc, "rx_bytes", 10 - bytes);
	return doc;
}

static struct json_object *web(void)
{
	return flow("tcp", "10.0.2.15:4000", "10.0.2.2:80", "127.0.0.1:80", "established", 1);
}

/* Whether it matches with these filters: a field and its list, again and again. */
static bool matches(
	struct json_object *doc, const enum flow_field *fields, const char *const *lists, size_t n)
{
	bool found;

	filter.n = 0;
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(flow_filter_add(&filter, fields[i], lists[i]), 0);
	found = flow_filter_match(&filter, doc);
	json_object_put(doc);
	return found;
}

static const struct {
	enum flow_field field;
	const char *list;
	bool match;
} one_by_one[] = {
	{FLOW_PROTO, "tcp", true},
	{FLOW_PROTO, "udp,icmp", false},
	{FLOW_PROTO, "udp,tcp", true},
	{FLOW_DIR, "out", true},
	{FLOW_DIR, "in", false},
	{FLOW_STATE, "established", true},
	{FLOW_STATE, "closing", false},
	{FLOW_STATE, "closing,established", true},
	{FLOW_SRC, "10.0.2.15", true},
	{FLOW_SRC, "10.0.2.0/24", true},
	{FLOW_SRC, "10.0.2.99/24", true}, /* as ss takes it */
	{FLOW_SRC, "10.0.2.2", false},
	{FLOW_DST, "10.0.2.2/32", true},
	{FLOW_DST, "127.0.0.0/8", true},
	{FLOW_DST, "::/0", true},
	{FLOW_DST, "2001:db8::/32", false},
	{FLOW_SPORT, "4000", true},
	{FLOW_SPORT, "80", false},
	{FLOW_SPORT, "3999-4001", true},
	{FLOW_DPORT, "80", true},
	{FLOW_DPORT, "1-79,81-65535", false},
	{FLOW_DPORT, "0-65535", true},
	{FLOW_PORT, "80", true},
	{FLOW_PORT, "4000", true},
	{FLOW_PORT, "81", false},
};

START_TEST(each_filter)
{
	ck_assert_msg(matches(web(), &one_by_one[_i].field, &one_by_one[_i].list, 1) ==
			one_by_one[_i].match,
		"%s", one_by_one[_i].list);
}
END_TEST

START_TEST(vsock_ports_are_ports)
{
	enum flow_field field = FLOW_DPORT;
	const char *hit = "4294967294", *miss = "4294967295";

	ck_assert(matches(flow("vsock", "vsock:1024", "vsock:4294967294", "", "established", 1),
		&field, &hit, 1));
	ck_assert(!matches(flow("vsock", "vsock:1024", "vsock:4294967294", "", "established", 1),
		&field, &miss, 1));
	/* TSI's have the address that they lead to. */
	field = FLOW_DST;
	hit = "192.0.2.0/24";
	ck_assert(matches(flow("vsock", "vsock:1024", "192.0.2.1:443", "", "established", 1),
		&field, &hit, 1));
}
END_TEST

START_TEST(kinds_must_all_hold_and_of_one_kind_any)
{
	enum flow_field fields[] = {FLOW_DPORT, FLOW_PROTO, FLOW_DPORT};
	const char *hold[] = {"443", "tcp", "80"}, *fail[] = {"443", "udp", "80"};

	ck_assert(matches(web(), fields, hold, 3));
	ck_assert(!matches(web(), fields, fail, 3));
	ck_assert(matches(web(), NULL, NULL, 0));
}
END_TEST

static const struct {
	enum flow_field field;
	const char *list;
} bad[] = {
	{FLOW_PROTO, ""},
	{FLOW_PROTO, "tc"},
	{FLOW_PROTO, "tcp,"},
	{FLOW_DIR, "inout"},
	{FLOW_STATE, ""},
	{FLOW_STATE, "establish"},
	{FLOW_STATE, "established2"},
	{FLOW_SRC, "10.0.2"},
	{FLOW_SRC, "10.0.2.0/33"},
	{FLOW_DST, "10.0.2.0/24/24"},
	{FLOW_DST, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	{FLOW_PORT, ""},
	{FLOW_PORT, "-80"},
	{FLOW_PORT, "80-"},
	{FLOW_PORT, "80-79"},
	{FLOW_PORT, "4294967296"},
	{FLOW_PORT, "99999999999999999999"},
	{FLOW_PORT, "http"},
	{FLOW_PORT, "80 "},
};

START_TEST(bad_filters_are_refused)
{
	filter.n = 0;
	ck_assert_int_eq(flow_filter_add(&filter, bad[_i].field, bad[_i].list), -EINVAL);
}
END_TEST

START_TEST(there_is_a_bound)
{
	filter.n = 0;
	for (int i = 0; i < FLOW_TERMS_MAX; i++)
		ck_assert_int_eq(flow_filter_add(&filter, FLOW_PORT, "80"), 0);
	ck_assert_int_eq(flow_filter_add(&filter, FLOW_PORT, "80"), -E2BIG);
}
END_TEST

START_TEST(a_flow_without_a_field_matches_none)
{
	enum flow_field field = FLOW_PORT;
	const char *list = "0-65535";

	ck_assert(!matches(json_object_new_object(), &field, &list, 1));
}
END_TEST

/* ---- order ---- */

#define FLOWS 4

static struct json_object *flows[FLOWS];

static void setup(void)
{
	flows[0] = flow("udp", "10.0.2.15:9", "10.0.2.2:53", "127.0.0.1:53", "open", 4);
	flows[1] = flow("tcp", "10.0.2.15:10000", "10.0.2.2:80", "127.0.0.1:80", "established", 7);
	flows[2] = flow("tcp", "10.0.2.15:900", "10.0.2.3:80", "127.0.0.1:80", "established", 7);
	flows[3] = flow("tcp", "10.0.2.15:900", "10.0.2.2:443", "127.0.0.1:443", "closing", 1);
}

static void teardown(void)
{
	for (int i = 0; i < FLOWS; i++)
		json_object_put(flows[i]);
}

static const struct {
	const char *key;
	bool reverse;
	const char *order; /* of the guests' and remotes' ports */
} orders[] = {
	{NULL, false, "900>443 900>80 10000>80 9>53"},
	{"sent", false, "900>80 10000>80 9>53 900>443"},
	{"sent", true, "900>443 9>53 900>80 10000>80"}, /* the equal ones as ever */
	{"bytes", false, "900>443 900>80 10000>80 9>53"},
	{"remote", false, "9>53 10000>80 900>443 900>80"},
	{"guest", false, "9>53 900>443 900>80 10000>80"},
	{"proto", true, "9>53 900>443 900>80 10000>80"},
	{"state", false, "900>443 900>80 10000>80 9>53"},
};

START_TEST(in_order)
{
	char text[128] = "";

	ck_assert_int_eq(flow_sort(flows, FLOWS, orders[_i].key, orders[_i].reverse), 0);
	for (int i = 0; i < FLOWS; i++)
		sprintf(text + strlen(text), "%s%s>%s", i ? " " : "",
			strrchr(doc_text(flows[i], "guest"), ':') + 1,
			strrchr(doc_text(flows[i], "remote"), ':') + 1);
	ck_assert_str_eq(text, orders[_i].order);
}
END_TEST

START_TEST(no_such_key)
{
	ck_assert_int_eq(flow_sort(flows, FLOWS, "size", false), -EINVAL);
	ck_assert_int_eq(flow_sort(flows, FLOWS, "", false), -EINVAL);
	ck_assert_int_eq(flow_sort(NULL, 0, "age", false), 0);
}
END_TEST

#define COUNT(list) ((int)(sizeof(list) / sizeof(*(list))))

static Suite *flow_filter_suite(void)
{
	Suite *suite = suite_create("flow_filter");
	TCase *filters = tcase_create("filters"), *order = tcase_create("order");

	tcase_add_loop_test(filters, each_filter, 0, COUNT(one_by_one));
	tcase_add_test(filters, vsock_ports_are_ports);
	tcase_add_test(filters, kinds_must_all_hold_and_of_one_kind_any);
	tcase_add_loop_test(filters, bad_filters_are_refused, 0, COUNT(bad));
	tcase_add_test(filters, there_is_a_bound);
	tcase_add_test(filters, a_flow_without_a_field_matches_none);
	suite_add_tcase(suite, filters);
	tcase_add_checked_fixture(order, setup, teardown);
	tcase_add_loop_test(order, in_order, 0, COUNT(orders));
	tcase_add_test(order, no_such_key);
	suite_add_tcase(suite, order);
	return suite;
}

int main(void)
{
	return run_suite(flow_filter_suite());
}
