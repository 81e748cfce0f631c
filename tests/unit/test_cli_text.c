/* SPDX-License-Identifier: MIT */
/* What the command line reads and writes as text: durations, near misses, tables, arguments. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/duration.h"
#include "cli/http.h"
#include "cli/json_line.h"
#include "cli/rate.h"
#include "cli/suggest.h"
#include "cli/table.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seconds_of(const char *text)
{
	uint64_t seconds = 0;

	ck_assert_msg(duration_parse(text, &seconds) == 0, "%s", text);
	return seconds;
}

START_TEST(durations_are_read)
{
	ck_assert_uint_eq(seconds_of("0"), 0);
	ck_assert_uint_eq(seconds_of("90"), 90);
	ck_assert_uint_eq(seconds_of("90s"), 90);
	ck_assert_uint_eq(seconds_of("10m"), 600);
	ck_assert_uint_eq(seconds_of("1h30m"), 5400);
	ck_assert_uint_eq(seconds_of("2d1s"), 172801);
}
END_TEST

START_TEST(bad_durations_are_refused)
{
	static const char *const bad[] = {
		"", "m", "-1s", "10x", "1.5h", " 1s", "1s ", "30m1h", "1m1m", "1h30", "10ms"};
	uint64_t seconds;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(duration_parse(bad[i], &seconds) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(duration_parse("9999999d", &seconds), -ERANGE);
	ck_assert_int_eq(duration_parse("99999999999999999999999999s", &seconds), -ERANGE);
}
END_TEST

static uint64_t bits_of(const char *text)
{
	uint64_t bits = 0;

	ck_assert_msg(rate_parse(text, &bits) == 0, "%s", text);
	return bits;
}

START_TEST(rates_are_read)
{
	ck_assert_uint_eq(bits_of("0"), 0);
	ck_assert_uint_eq(bits_of("8000"), 8000);
	ck_assert_uint_eq(bits_of("8000bit"), 8000);
	ck_assert_uint_eq(bits_of("100mbit"), 100000000);
	ck_assert_uint_eq(bits_of("100Mbit"), 100000000);
	ck_assert_uint_eq(bits_of("1.5gbit"), 1500000000);
	ck_assert_uint_eq(bits_of("0.064kbit"), 64);
	ck_assert_uint_eq(bits_of("1tbit"), RATE_MAX);
	ck_assert_uint_eq(bits_of("1000000000000"), RATE_MAX);
}
END_TEST

START_TEST(bad_rates_are_refused)
{
	static const char *const bad[] = {"", "mbit", "-1mbit", "10m", "10mbps", "10 mbit",
		" 10mbit", "10mbit ", ".5mbit", "5.mbit", "1.2345gbit", "1.5", "1.5bit", "1e6",
		"none"};
	uint64_t bits;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(rate_parse(bad[i], &bits) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(rate_parse("1.001tbit", &bits), -ERANGE);
	ck_assert_int_eq(rate_parse("1001gbit", &bits), -ERANGE);
	ck_assert_int_eq(rate_parse("999999999999tbit", &bits), -ERANGE);
	ck_assert_int_eq(rate_parse("99999999999999999999999999", &bits), -ERANGE);
}
END_TEST

START_TEST(rates_are_written)
{
	static const char *const same[] = {
		"8kbit", "100mbit", "1.5gbit", "1tbit", "12.345mbit", "1234.567mbit", "8001bit"};
	char buf[RATE_STRLEN];

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++) {
		rate_format(bits_of(same[i]), buf, sizeof(buf));
		ck_assert_uint_eq(bits_of(buf), bits_of(same[i]));
	}
	ck_assert_str_eq(rate_format(1500000000, buf, sizeof(buf)), "1.5gbit");
	ck_assert_str_eq(rate_format(100000000, buf, sizeof(buf)), "100mbit");
	ck_assert_str_eq(rate_format(8001, buf, sizeof(buf)), "8.001kbit");
	ck_assert_str_eq(rate_format(999, buf, sizeof(buf)), "999bit");
	ck_assert_str_eq(rate_format(1234567, buf, sizeof(buf)), "1234.567kbit");
}
END_TEST

START_TEST(amounts_have_three_digits)
{
	static const struct {
		double n;
		const char *text;
	} amounts[] = {{0, "0"}, {999, "999"}, {999.4, "999"}, {999.5, "1.00k"}, {1234, "1.23k"},
		{12345, "12.3k"}, {99960, "100k"}, {123456, "123k"}, {999500, "1.00M"},
		{1e9, "1.00G"}, {1e21, "1000E"}};
	char buf[RATE_STRLEN];

	for (size_t i = 0; i < sizeof(amounts) / sizeof(*amounts); i++)
		ck_assert_str_eq(amount_format(amounts[i].n, buf, sizeof(buf)), amounts[i].text);
}
END_TEST

START_TEST(durations_are_written)
{
	char buf[DURATION_STRLEN];

	ck_assert_str_eq(duration_format(0, buf, sizeof(buf)), "0s");
	ck_assert_str_eq(duration_format(59, buf, sizeof(buf)), "59s");
	ck_assert_str_eq(duration_format(600, buf, sizeof(buf)), "10m");
	ck_assert_str_eq(duration_format(5430, buf, sizeof(buf)), "1h30m");
	ck_assert_str_eq(duration_format(2 * 86400 + 3, buf, sizeof(buf)), "2d");
}
END_TEST

static const char json[] = "{\n"                                      /* 1 */
			   "  \"a\": \"x\\\"]}\",\n"                  /* 2 */
			   "  \"rules\": [\n"                         /* 3 */
			   "    {\"to\": [\"b\",\n"                   /* 4 */
			   "            \"c\"], \"n\": [[], {}]},\n"  /* 5 */
			   "\n"                                       /* 6 */
			   "    {\"action\": -1.5e3, \"to\":[true,\n" /* 7 */
			   "       null]}]\n"                         /* 8 */
			   "}\n";

static const struct {
	const char *field;
	unsigned line;
} places[] = {
	{"", 1},
	{"a", 2},
	{"rules", 3},
	{"rules[0]", 4},
	{"rules[0].to[0]", 4},
	{"rules[0].to[1]", 5},
	{"rules[0].n[1]", 5},
	{"rules[1]", 7},
	{"rules[1].action", 7},
	{"rules[1].to[1]", 8},
	{"rules[1].missing", 7}, /* the nearest around it */
	{"rules[9].to", 3},
	{"b.c", 1},
	{"a.b", 2},
	{"rules[x]", 3},
	{"rules[0", 3},
};

START_TEST(fields_have_lines)
{
	ck_assert_uint_eq(json_line(json, places[_i].field), places[_i].line);
}
END_TEST

/* Whatever is cut off: an answer, and no byte behind the end is read (for a sanitizer to see). */
START_TEST(lines_of_broken_files)
{
	for (size_t len = 0; len < sizeof(json); len++) {
		char *cut = strndup(json, len);

		ck_assert_uint_le(json_line(cut, "rules[1].to[1]"), 9);
		free(cut);
	}
	ck_assert_uint_eq(json_line("", "a"), 0);
	ck_assert_uint_eq(json_line_at("a\nb\n", 2), 2);
	ck_assert_uint_eq(json_line_at("a\n", 99), 2);
}
END_TEST

START_TEST(distances)
{
	ck_assert_uint_eq(suggest_distance("", "abc"), 3);
	ck_assert_uint_eq(suggest_distance("forward", "forward"), 0);
	ck_assert_uint_eq(suggest_distance("foward", "forward"), 1);
	ck_assert_uint_eq(suggest_distance("lsit", "list"), 1);
	ck_assert_uint_eq(suggest_distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(
		suggest_distance("0123456789012345678901234567890123456789", "a"), SIZE_MAX);
}
END_TEST

static const char *nearest(const char *typed)
{
	static const char *const words[] = {"create", "list", "show", "delete"};
	struct suggestion best;

	suggest_init(&best, typed);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		suggest_offer(&best, words[i]);
	return best.word;
}

START_TEST(near_misses)
{
	ck_assert_str_eq(nearest("lsit"), "list");
	ck_assert_str_eq(nearest("delte"), "delete");
	ck_assert_str_eq(nearest("del"), "delete");
	ck_assert_str_eq(nearest("creat"), "create");
	ck_assert_ptr_null(nearest("frobnicate"));
	ck_assert_ptr_null(nearest("x"));
}
END_TEST

/* What a table with one row prints. */
static void render(const char *const *headings, const char *a, const char *b, bool colour,
	char *buf, size_t len)
{
	struct table *table = table_new(headings);
	FILE *out = fmemopen(buf, len, "w");

	table_row(table, a, b);
	table_print(table, out, colour);
	fclose(out);
	table_free(table);
}

START_TEST(columns_are_aligned)
{
	static const char *const headings[] = {"NAME", ">COUNT", NULL};
	char buf[256];

	render(headings, "a-long-name", "7", false, buf, sizeof(buf));
	ck_assert_str_eq(buf, "NAME         COUNT\na-long-name      7\n");
}
END_TEST

START_TEST(empty_cells_are_dashes)
{
	static const char *const headings[] = {"A", "B", NULL};
	char buf[256];

	render(headings, NULL, "", false, buf, sizeof(buf));
	ck_assert_str_eq(buf, "A  B\n-  -\n");
}
END_TEST

START_TEST(control_characters_do_not_reach_the_terminal)
{
	static const char *const headings[] = {"A", "B", NULL};
	char buf[256];

	render(headings, "\033[31mx\n", "\302\233y\303\251", false, buf, sizeof(buf));
	ck_assert_str_eq(buf, "A        B\n?[31mx?  ?y\303\251\n");
}
END_TEST

START_TEST(states_are_coloured_where_asked)
{
	static const char *const headings[] = {"!S", "B", NULL};
	char buf[256];

	render(headings, "failed", "running", true, buf, sizeof(buf));
	ck_assert_ptr_nonnull(strstr(buf, "\033[31mfailed\033[0m"));
	ck_assert_ptr_null(strstr(buf, "\033[32mrunning"));
}
END_TEST

static int nothing(struct cli *cli, const struct args *args)
{
	(void)cli;
	(void)args;
	return 0;
}

static const struct option options[] = {
	{'n', 0, "name", "N", "a name"},
	{'f', 'f', "follow", NULL, "a flag"},
	{0},
};

static const struct command command = {
	.name = "add",
	.usage = "VM SPEC [--name N]",
	.options = options,
	.min_words = 2,
	.max_words = 2,
	.run = nothing,
};

static const struct noun noun = {"test", "test", &command};

static int parse(char **argv, struct cli *cli, struct args *args)
{
	int argc = 0;
	bool help;

	*cli = (struct cli){.noun = &noun, .command = &command};
	while (argv[argc])
		argc++;
	return args_parse(cli, &command, argc, argv, args, &help);
}

START_TEST(options_and_words_mix)
{
	char *argv[] = {"web", "--name=a", "-f", "-o", "json", "8080:80", "-s/x", NULL};
	struct args args;
	struct cli cli;

	ck_assert_int_eq(parse(argv, &cli, &args), 0);
	ck_assert_uint_eq(args.n_words, 2);
	ck_assert_str_eq(args.words[1], "8080:80");
	ck_assert_str_eq(args_value(&args, 'n'), "a");
	ck_assert(args_has(&args, 'f'));
	ck_assert_int_eq(cli.output, OUTPUT_JSON);
	ck_assert_str_eq(cli.socket, "/x");
	args_free(&args);
}
END_TEST

START_TEST(bad_command_lines_are_usage_errors)
{
	char *lines[][5] = {
		{"web", NULL},
		{"web", "spec", "more", NULL},
		{"web", "spec", "--nam", "x", NULL},
		{"web", "spec", "--name", NULL},
		{"web", "spec", "--follow=1", NULL},
		{"web", "spec", "-o", "xml", NULL},
	};
	struct args args;
	struct cli cli;

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		ck_assert_int_eq(parse(lines[i], &cli, &args), STATUS_USAGE);
		args_free(&args);
	}
}
END_TEST

START_TEST(words_after_two_dashes_are_words)
{
	char *argv[] = {"--", "--name", "-f", NULL};
	struct args args;
	struct cli cli;

	ck_assert_int_eq(parse(argv, &cli, &args), 0);
	ck_assert_str_eq(args.words[0], "--name");
	ck_assert_uint_eq(args.n_given, 0);
	args_free(&args);
}
END_TEST

START_TEST(path_segments_are_escaped)
{
	char *path = http_path("vms", "..", "forwards", "unix:/a b", NULL);

	ck_assert_str_eq(path, "http://netctl/v1/vms/%2E%2E/forwards/unix%3A%2Fa%20b");
	free(path);
}
END_TEST

static Suite *text_suite(void)
{
	Suite *suite = suite_create("cli text");
	TCase *tc = tcase_create("text");

	tcase_add_test(tc, durations_are_read);
	tcase_add_test(tc, bad_durations_are_refused);
	tcase_add_test(tc, durations_are_written);
	tcase_add_test(tc, rates_are_read);
	tcase_add_test(tc, bad_rates_are_refused);
	tcase_add_test(tc, rates_are_written);
	tcase_add_test(tc, amounts_have_three_digits);
	tcase_add_loop_test(tc, fields_have_lines, 0, sizeof(places) / sizeof(*places));
	tcase_add_test(tc, lines_of_broken_files);
	tcase_add_test(tc, distances);
	tcase_add_test(tc, near_misses);
	tcase_add_test(tc, columns_are_aligned);
	tcase_add_test(tc, empty_cells_are_dashes);
	tcase_add_test(tc, control_characters_do_not_reach_the_terminal);
	tcase_add_test(tc, states_are_coloured_where_asked);
	tcase_add_test(tc, options_and_words_mix);
	tcase_add_test(tc, bad_command_lines_are_usage_errors);
	tcase_add_test(tc, words_after_two_dashes_are_words);
	tcase_add_test(tc, path_segments_are_escaped);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return run_suite(text_suite());
}
