/* SPDX-License-Identifier: MIT */
/* What netctl top makes of two samples, and how lines are cut for a terminal. */
#include "cli/terminal.h"
#include "cli/top_sample.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <string.h>

static struct top_vm vm(const char *name, uint64_t in, uint64_t out)
{
	struct top_vm made = {.figures = {[TOP_IN] = in, [TOP_OUT] = out}};

	snprintf(made.name, sizeof(made.name), "%s", name);
	return made;
}

START_TEST(figures_are_of_nic_and_vsock)
{
	struct json_object *doc = json_tokener_parse(
		"{\"flows\":{\"tcp\":1,\"udp\":2,\"icmp\":4,\"vsock\":8,\"tsi_proxies\":100},"
		"\"counters\":{\"link.tx.bytes\":10,\"vsock.tx.bytes\":1,\"link.rx.bytes\":20,"
		"\"vsock.rx.bytes\":2,\"tcp.out\":5,\"vsock.in\":6,\"drop.queue_full\":7,"
		"\"drop.limit_in\":8,\"egress.refused_by_policy\":3,\"limit.new_flows\":1,"
		"\"dropped\":99}}");
	struct top_vm made = {.flows = 0};

	top_figures(doc, &made);
	json_object_put(doc);
	ck_assert_int_eq(made.flows, 15);
	ck_assert_uint_eq(made.figures[TOP_IN], 11);
	ck_assert_uint_eq(made.figures[TOP_OUT], 22);
	ck_assert_uint_eq(made.figures[TOP_NEW], 11);
	ck_assert_uint_eq(made.figures[TOP_DROPPED], 15);
	ck_assert_uint_eq(made.figures[TOP_REFUSED], 4);
}
END_TEST

START_TEST(a_document_without_figures_has_none)
{
	struct json_object *doc = json_tokener_parse("{\"flows\":7,\"counters\":[1]}");
	struct top_vm made = {.flows = 0};

	top_figures(doc, &made);
	top_figures(NULL, &made);
	json_object_put(doc);
	ck_assert_int_eq(made.flows, 0);
	ck_assert_uint_eq(made.figures[TOP_IN], 0);
}
END_TEST

START_TEST(rates_are_of_the_time_between)
{
	struct top_vm old[] = {vm("a", 1000, 5000), vm("gone", 1, 1)};
	struct top_vm new[] = {vm("a", 3000, 400), vm("new", 70, 0)};
	struct top_sample before = {.at = 10000, .vms = old, .n = 2};
	struct top_sample now = {.at = 12000, .vms = new, .n = 2};

	top_sample_since(&now, &before);
	ck_assert_double_eq_tol(now.seconds, 2, 1e-9);
	ck_assert_double_eq_tol(new[0].rates[TOP_IN], 1000, 1e-9);
	/* Its worker died: the counters of the next one began at zero. */
	ck_assert_double_eq_tol(new[0].rates[TOP_OUT], 200, 1e-9);
	ck_assert_double_eq_tol(new[1].rates[TOP_IN], 35, 1e-9);
}
END_TEST

START_TEST(samples_of_one_instant_do_not_divide_by_zero)
{
	struct top_vm old[] = {vm("a", 0, 0)}, new[] = {vm("a", 1, 0)};
	struct top_sample before = {.at = 5, .vms = old, .n = 1};
	struct top_sample now = {.at = 5, .vms = new, .n = 1};

	top_sample_since(&now, &before);
	ck_assert_double_eq_tol(new[0].rates[TOP_IN], 1000, 1e-6);
}
END_TEST

static const struct {
	const char *key, *order;
} orders[] = {{"name", "abc"}, {NULL, "cab"}, {"traffic", "cab"}, {"in", "bca"}, {"out", "cab"},
	{"flows", "abc"}};

START_TEST(in_order)
{
	struct top_vm vms[] = {vm("b", 0, 0), vm("a", 0, 0), vm("c", 0, 0)};
	struct top_sample sample = {.vms = vms, .n = 3};
	char text[4] = "";

	vms[0].rates[TOP_IN] = 50;
	vms[1].rates[TOP_OUT] = 60;
	vms[2].rates[TOP_IN] = 10;
	vms[2].rates[TOP_OUT] = 90;
	ck_assert_int_eq(top_sample_sort(&sample, orders[_i].key), 0);
	for (int i = 0; i < 3; i++)
		text[i] = vms[i].name[0];
	ck_assert_str_eq(text, orders[_i].order);
}
END_TEST

START_TEST(no_such_order)
{
	struct top_sample none = {.n = 0};

	ck_assert_int_eq(top_sample_sort(&none, "size"), -EINVAL);
	ck_assert_int_eq(top_sample_sort(&none, "name"), 0);
}
END_TEST

static const struct {
	const char *line;
	size_t columns;
	const char *text;
} cuts[] = {
	{"abcdef", 10, "abcdef"},
	{"abcdef", 3, "abc"},
	{"abcdef", 0, ""},
	{"\303\244\303\266\303\274", 2, "\303\244\303\266"}, /* characters, not bytes */
	/* Colours take no room, and none is left on. */
	{"\033[31mabc\033[0mdef", 4, "\033[31mabc\033[0md"},
	{"\033[1mabcdef\033[0m", 2, "\033[1mab\033[0m"},
	{"a\033[31", 9, "a\033[31"},
};

START_TEST(lines_are_cut)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	terminal_cut(out, cuts[_i].line, strlen(cuts[_i].line), cuts[_i].columns);
	fclose(out);
	ck_assert_str_eq(text, cuts[_i].text);
	free(text);
}
END_TEST

#define COUNT(list) ((int)(sizeof(list) / sizeof(*(list))))

static Suite *top_suite(void)
{
	Suite *suite = suite_create("top");
	TCase *tcase = tcase_create("top");

	tcase_add_test(tcase, figures_are_of_nic_and_vsock);
	tcase_add_test(tcase, a_document_without_figures_has_none);
	tcase_add_test(tcase, rates_are_of_the_time_between);
	tcase_add_test(tcase, samples_of_one_instant_do_not_divide_by_zero);
	tcase_add_loop_test(tcase, in_order, 0, COUNT(orders));
	tcase_add_test(tcase, no_such_order);
	tcase_add_loop_test(tcase, lines_are_cut, 0, COUNT(cuts));
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return run_suite(top_suite());
}
