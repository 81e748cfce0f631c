/* SPDX-License-Identifier: MIT */
/*
 * netctl top: the VMs and what goes through them now.
 *
 * On a terminal a table that lives: q quits, a letter chooses the order, the daemon may go and come
 * back. Elsewhere, and with -o json, batches: each after an interval, in full, one unless -n says how
 * many.
 */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/rate.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/top_sample.h"
#include "cli/vm_body.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_MIN 0.1
#define INTERVAL_MAX 3600.0

enum { OPT_COUNT = 'n', OPT_INTERVAL = 'd', OPT_SORT = 'S' };

static const struct option options[] = {
	{OPT_COUNT, 'n', "count", "COUNT", "end after so many"},
	{OPT_INTERVAL, 'd', "interval", "SECONDS", "between them, 0.1 to 3600 (default 1)"},
	{OPT_SORT, 'S', "sort", "KEY",
		"traffic (default), name, flows, in, out, new, refused, dropped"},
	{0},
};

struct top {
	struct cli *cli;
	long count; /* 0: for ever */
	uint64_t interval_ms;
	const char *sort; /* NULL: by traffic */
};

/* ---- a sample as text ---- */

static const char *rate_text(double rate, double scale, char *buf, size_t len)
{
	return rate < 0 ? "-" : amount_format(rate * scale, buf, len);
}

static struct table *table_of(const struct top_sample *sample)
{
	static const char *const headings[] = {"NAME", "!STATE", ">FLOWS", ">IN bit/s",
		">OUT bit/s", ">NEW/s", ">REFUSED/s", ">DROPPED/s", ">IN", ">OUT", NULL};
	struct table *table = table_new(headings);

	for (size_t i = 0; i < sample->n; i++) {
		const struct top_vm *vm = &sample->vms[i];
		char rates[TOP_FIGURES][RATE_STRLEN], in[RATE_STRLEN], out[RATE_STRLEN], flows[32];
		const char *text[TOP_FIGURES];

		snprintf(flows, sizeof(flows), "%lld", (long long)vm->flows);
		for (int f = 0; f < TOP_FIGURES; f++)
			text[f] = rate_text(vm->rates[f], f == TOP_IN || f == TOP_OUT ? 8 : 1,
				rates[f], sizeof(rates[f]));
		table_row(table, vm->name, vm->state, flows, text[TOP_IN], text[TOP_OUT],
			text[TOP_NEW], text[TOP_REFUSED], text[TOP_DROPPED],
			amount_format((double)vm->figures[TOP_IN], in, sizeof(in)),
			amount_format((double)vm->figures[TOP_OUT], out, sizeof(out)));
	}
	return table;
}

static void put_rate(struct json_object *doc, const char *key, double value)
{
	static char format[] = "%.3f";
	struct json_object *number = json_object_new_double(value);

	json_object_set_serializer(number, json_object_double_to_json_string, format, NULL);
	json_object_object_add(doc, key, number);
}

static struct json_object *json_of(const struct top_sample *sample)
{
	struct json_object *doc = json_object_new_object(), *items = json_object_new_array();

	put_rate(doc, "seconds", sample->seconds);
	for (size_t i = 0; i < sample->n; i++) {
		const struct top_vm *vm = &sample->vms[i];
		struct json_object *item = json_object_new_object();

		doc_put_text(item, "name", vm->name);
		doc_put_text(item, "state", vm->state);
		doc_put_int(item, "flows", vm->flows);
		put_rate(item, "in_bits_per_second", vm->rates[TOP_IN] * 8);
		put_rate(item, "out_bits_per_second", vm->rates[TOP_OUT] * 8);
		put_rate(item, "new_per_second", vm->rates[TOP_NEW]);
		put_rate(item, "refused_per_second", vm->rates[TOP_REFUSED]);
		put_rate(item, "dropped_per_second", vm->rates[TOP_DROPPED]);
		doc_put_int(item, "in_bytes", (int64_t)vm->figures[TOP_IN]);
		doc_put_int(item, "out_bytes", (int64_t)vm->figures[TOP_OUT]);
		json_object_array_add(items, item);
	}
	json_object_object_add(doc, "items", items);
	return doc;
}

/* ---- batches ---- */

static void print_batch(const struct top *top, const struct top_sample *sample, bool first)
{
	struct table *table;
	struct json_object *doc;

	if (top->cli->output == OUTPUT_JSON) {
		doc = json_of(sample);
		printf("%s\n", json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN));
		json_object_put(doc);
		return;
	}
	table = table_of(sample);
	if (!first)
		printf("\n");
	table_print(table, stdout, top->cli->colour);
	table_free(table);
}

static void sleep_ms(uint64_t ms)
{
	struct timespec left = {
		.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* The next sample, and what it is beyond the last, which it replaces. */
static int next(const struct top *top, struct top_sample *last)
{
	struct top_sample sample;
	int status = top_sample_take(top->cli, &sample);

	if (status)
		return status;
	top_sample_since(&sample, last);
	top_sample_sort(&sample, top->sort);
	top_sample_free(last);
	*last = sample;
	return 0;
}

static int batches(const struct top *top)
{
	struct top_sample sample;
	int status = top_sample_take(top->cli, &sample);

	for (long n = 0; !status && n < top->count; n++) {
		sleep_ms(top->interval_ms);
		status = next(top, &sample);
		if (!status)
			print_batch(top, &sample, n == 0);
		/* Whoever reads it may have gone. */
		if (!status && fflush(stdout))
			status = STATUS_FAILURE;
	}
	top_sample_free(&sample);
	return status;
}

/* ---- a screen ---- */

static void put_head(const struct top *top, const struct top_sample *sample, FILE *out)
{
	char in[RATE_STRLEN], out_text[RATE_STRLEN];
	double in_rate = 0, out_rate = 0;
	size_t running = 0;
	int64_t flows = 0;

	for (size_t i = 0; i < sample->n; i++) {
		const struct top_vm *vm = &sample->vms[i];

		running += !strcmp(vm->state, "running");
		flows += vm->flows;
		in_rate += vm->rates[TOP_IN] > 0 ? vm->rates[TOP_IN] : 0;
		out_rate += vm->rates[TOP_OUT] > 0 ? vm->rates[TOP_OUT] : 0;
	}
	fprintf(out, "%zu VMs, %zu running; %lld flows; in %sbit/s, out %sbit/s\n", sample->n,
		running, (long long)flows, amount_format(in_rate * 8, in, sizeof(in)),
		amount_format(out_rate * 8, out_text, sizeof(out_text)));
	fprintf(out,
		"by %s; q quits; by t traffic, n name, f flows, i in, o out, w new, r refused, "
		"d dropped\n\n",
		top->sort ? top->sort : "traffic");
}

static void draw(const struct top *top, const struct top_sample *sample, const char *remark)
{
	struct table *table = table_of(sample);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	if (*remark)
		fprintf(out, "%s\n\n\n", remark);
	else
		put_head(top, sample, out);
	table_print(table, out, top->cli->colour);
	fclose(out);
	terminal_draw(text);
	free(text);
	table_free(table);
}

/* The order that a key stands for, or NULL. */
static const char *sort_of(int key)
{
	static const struct {
		char key;
		const char *sort;
	} keys[] = {{'t', "traffic"}, {'n', "name"}, {'f', "flows"}, {'i', "in"}, {'o', "out"},
		{'w', "new"}, {'r', "refused"}, {'d', "dropped"}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (keys[i].key == key)
			return keys[i].sort;
	return NULL;
}

/* Until the interval is over. False: to quit. */
static bool wait_for_next(struct top *top, struct top_sample *sample, const char *remark)
{
	uint64_t end = clock_ms() + top->interval_ms, now;

	while ((now = clock_ms()) < end) {
		int key = terminal_wait(end - now);

		if (key == 'q' || key == 'Q')
			return false;
		if (key == TERMINAL_TIMEOUT)
			break;
		if (key == ' ')
			return true;
		if (key != TERMINAL_REDRAW && !sort_of(key))
			continue;
		if (key != TERMINAL_REDRAW)
			top->sort = sort_of(key);
		top_sample_sort(sample, top->sort);
		draw(top, sample, remark);
	}
	return true;
}

/* Of the first sample nothing is known a second. */
static void forget_rates(struct top_sample *sample)
{
	for (size_t i = 0; i < sample->n; i++)
		for (int f = 0; f < TOP_FIGURES; f++)
			sample->vms[i].rates[f] = -1;
}

static int screen(struct top *top)
{
	struct top_sample sample;
	const char *remark = "";
	int status = top_sample_take(top->cli, &sample);

	if (status)
		return status;
	forget_rates(&sample);
	top->cli->quiet = true; /* it stands in the head, and is tried again */
	terminal_open();
	for (long n = 1;; n++) {
		draw(top, &sample, remark);
		if (n == top->count || !wait_for_next(top, &sample, remark))
			break;
		remark = next(top, &sample) ? "netctld does not answer; it is asked again" : "";
	}
	terminal_close();
	top_sample_free(&sample);
	return STATUS_OK;
}

/* ---- command line ---- */

static int take_interval(const struct cli *cli, struct top *top, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	/* Written so that no number is none of them. */
	if (*text < '0' || *text > '9' || *end ||
		!(seconds >= INTERVAL_MIN && seconds <= INTERVAL_MAX))
		return cli_usage_error(
			cli, "--interval %s: a number of seconds, 0.1 to 3600, is wanted", text);
	top->interval_ms = (uint64_t)(seconds * 1000 + 0.5);
	return 0;
}

static int take_option(const struct cli *cli, struct top *top, const struct given *given)
{
	struct top_sample none = {.n = 0};

	if (given->id == OPT_COUNT)
		return parse_bounded(cli, "--count", given->value, 1, INT32_MAX, &top->count);
	if (given->id == OPT_INTERVAL)
		return take_interval(cli, top, given->value);
	top->sort = given->value;
	if (top_sample_sort(&none, given->value) == 0)
		return 0;
	return cli_usage_error(cli, "--sort %s: a key is %s", given->value, top_sort_keys);
}

static bool has_screen(const struct cli *cli)
{
	const char *term = getenv("TERM");

	return cli->output != OUTPUT_JSON && isatty(STDOUT_FILENO) && term && *term &&
		strcmp(term, "dumb") != 0;
}

static int top_run(struct cli *cli, const struct args *args)
{
	struct top top = {.cli = cli, .interval_ms = 1000};
	int status = 0;

	for (size_t i = 0; !status && i < args->n_given; i++)
		status = take_option(cli, &top, &args->given[i]);
	if (status)
		return status;
	if (has_screen(cli))
		return screen(&top);
	if (!top.count)
		top.count = 1;
	return batches(&top);
}

static const struct command commands[] = {
	{
		.usage = "[-n COUNT] [-d SECONDS] [--sort KEY]",
		.summary = "Show the VMs and what goes through them, as it changes",
		.example = "netctl top -d 2 --sort refused",
		.options = options,
		.run = top_run,
		.notes =
			"On a terminal until q; elsewhere, and with -o json, once, or COUNT times. IN is to\n"
			"the guest and OUT from it, by its NIC and its vsock, in powers of 1000. REFUSED are\n"
			"flows, by policy and limits; DROPPED are frames and datagrams.\n",
	},
	{0},
};

const struct noun noun_top = {"top", "What goes through the VMs now", commands};
