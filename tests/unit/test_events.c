/* SPDX-License-Identifier: MIT */
/* Events: order, ids over restarts, followers, and refused flows gathered. */
#include "ctl/events.h"

#include "ctl/refusals.h"
#include "tests/unit/check_main.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[96];
static struct event_base *base;
static struct store *store;
static struct error err;

static void set_up(void)
{
	strcpy(dir, "/tmp/nctl-events.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/netctl.db", dir);
	base = event_base_new();
	ck_assert_int_eq(store_open(path, &store, &err), 0);
}

static void tear_down(void)
{
	store_close(store);
	event_base_free(base);
	unlink(path);
	rmdir(dir);
}

struct seen {
	int n;
	int64_t first, last;
	char type[32];
};

static void see(void *arg, const struct store_event *event)
{
	struct seen *seen = arg;

	if (!seen->n++)
		seen->first = event->id;
	ck_assert_int_gt(event->id, seen->last);
	seen->last = event->id;
	snprintf(seen->type, sizeof(seen->type), "%s", event->type);
}

START_TEST(pending_events_are_read_too)
{
	struct events *events = events_new(base, store, &err);
	struct seen seen = {0};

	events_add(events, "web", "vm.created", NULL);
	events_add(events, "web", "vm.deleted", NULL);
	ck_assert_int_eq(events_read(events, 0, 10, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 2);
	ck_assert_str_eq(seen.type, "vm.deleted");
	events_free(events);
}
END_TEST

START_TEST(since_leaves_out_what_was_read)
{
	struct events *events = events_new(base, store, &err);
	struct seen all = {0}, rest = {0};

	for (int i = 0; i < 10; i++)
		events_add(events, NULL, "link.up", NULL);
	ck_assert_int_eq(events_read(events, 0, 100, see, &all, &err), 0);
	ck_assert_int_eq(events_read(events, all.first + 6, 100, see, &rest, &err), 0);
	ck_assert_int_eq(rest.n, 3);
	events_free(events);
}
END_TEST

START_TEST(ids_go_on_in_the_next_life)
{
	struct events *events = events_new(base, store, &err);
	struct seen seen = {0};
	int64_t before;

	for (int i = 0; i < 2500; i++)
		events_add(events, NULL, "link.up", NULL);
	ck_assert_int_eq(events_read(events, 0, 100000, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 2500);
	before = seen.last;
	events_free(events);
	events = events_new(base, store, &err);
	events_add(events, NULL, "link.up", NULL);
	memset(&seen, 0, sizeof(seen));
	ck_assert_int_eq(events_read(events, before, 10, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 1);
	events_free(events);
}
END_TEST

static void count(void *arg)
{
	++*(int *)arg;
}

START_TEST(follower_is_told_of_what_is_written)
{
	struct events *events = events_new(base, store, &err);
	int n = 0;
	struct events_follower follower = {.more = count, .arg = &n};

	events_follow(events, &follower);
	events_add(events, "web", "link.up", NULL);
	events_add(events, "web", "link.down", NULL);
	ck_assert_int_eq(n, 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(n, 1);
	events_unfollow(events, &follower);
	events_add(events, "web", "link.up", NULL);
	events_flush(events);
	ck_assert_int_eq(n, 1);
	events_free(events);
}
END_TEST

START_TEST(nothing_is_shown_before_it_is_written)
{
	struct events *events = events_new(base, store, &err);
	struct seen seen = {0};
	struct error ignored;

	events_add(events, "web", "link.up", NULL);
	/* The process ends here, as by kill -9: nothing of it was seen, and its id is given again. */
	ck_assert_int_eq(store_events(store, 0, 10, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 0);
	ck_assert_int_eq(
		store_begin(store, &ignored), 0); /* what it would write at its end fails */
	events_free(events);
	ck_assert_int_eq(store_end(store, false, &ignored), 0);
	events = events_new(base, store, &err);
	events_add(events, "web", "link.down", NULL);
	ck_assert_int_eq(events_read(events, 0, 10, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 1);
	ck_assert_int_eq(seen.first, 1);
	events_free(events);
}
END_TEST

START_TEST(a_write_that_fails_is_tried_again)
{
	struct events *events = events_new(base, store, &err);
	struct seen seen = {0};

	ck_assert_int_eq(store_begin(store, &err), 0);
	events_add(events, "web", "link.up", NULL);
	events_flush(events);
	ck_assert_int_eq(store_end(store, false, &err), 0);
	ck_assert_int_eq(events_read(events, 0, 10, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 1);
	events_free(events);
}
END_TEST

START_TEST(ids_grow_by_one)
{
	struct events *events = events_new(base, store, &err);
	struct seen seen = {0};
	int64_t oldest, newest;

	ck_assert_int_eq(events_bounds(events, &oldest, &newest, &err), 0);
	ck_assert_int_eq(oldest, 1);
	ck_assert_int_eq(newest, 0);
	for (int life = 0; life < 3; life++) {
		for (int i = 0; i < 700; i++)
			events_add(events, NULL, "link.up", NULL);
		events_free(events);
		events = events_new(base, store, &err);
	}
	ck_assert_int_eq(events_read(events, 0, 100000, see, &seen, &err), 0);
	ck_assert_int_eq(seen.n, 2100);
	ck_assert_int_eq(seen.first, 1);
	ck_assert_int_eq(seen.last, 2100);
	ck_assert_int_eq(events_bounds(events, &oldest, &newest, &err), 0);
	ck_assert_int_eq(oldest, 1);
	ck_assert_int_eq(newest, 2100);
	events_free(events);
}
END_TEST

START_TEST(line_is_json_with_the_id)
{
	struct store_event event = {
		.id = 7, .time_ms = 1000, .vm = "web", .type = "link.up", .data = "{\"a\":1}"};
	char *line = events_line(&event);

	ck_assert_str_eq(line,
		"{\"id\":7,\"time\":\"1970-01-01T00:00:01.000Z\",\"vm\":\"web\","
		"\"type\":\"link.up\",\"data\":{\"a\":1}}\n");
	free(line);
}
END_TEST

/* Takes all that may be had; their number, and the flows that they stand for. */
static int take_all(struct refusals *refusals, uint64_t now, int64_t *count)
{
	struct json_object *data;
	int n = 0;

	while ((data = refusals_take(refusals, now))) {
		*count += json_object_get_int64(json_object_object_get(data, "count"));
		json_object_put(data);
		n++;
	}
	return n;
}

static void refuse(struct refusals *refusals, uint32_t addr)
{
	struct worker_refused_event event = {.proto = 6, .rule = -1, .count = 2};

	event.to.addr = addr_from_v4(0x01000000 + addr);
	refusals_add(refusals, &event);
}

START_TEST(many_refusals_are_few_events)
{
	struct refusals refusals = {.n = 0};
	int64_t flows = 0;

	for (uint32_t i = 0; i < 1000; i++)
		refuse(&refusals, i % 100);
	ck_assert(refusals_due(&refusals, 5000));
	ck_assert_int_eq(take_all(&refusals, 5000, &flows), REFUSALS_KEPT + 1);
	ck_assert_int_eq(flows, 2000);
	ck_assert(!refusals_due(&refusals, 9000));
}
END_TEST

START_TEST(a_flood_of_refusals_is_a_few_events_a_second)
{
	struct refusals refusals = {.n = 0};
	int64_t flows = 0;
	int n = 0;

	for (uint64_t ms = 10000; ms < 20000; ms += 100) {
		for (uint32_t i = 0; i < 50; i++)
			refuse(&refusals, (uint32_t)ms + i);
		if (refusals_due(&refusals, ms))
			n += take_all(&refusals, ms, &flows);
	}
	n += take_all(&refusals, 20000, &flows);
	ck_assert_int_eq(flows, 100 * 50 * 2);
	/* Those at once, those of each second, and a rest at each taking. */
	ck_assert_int_le(n, REFUSALS_KEPT + 10 * (2 * REFUSALS_A_SECOND + 1) + 2);
	ck_assert_int_ge(n, REFUSALS_KEPT + 10 * REFUSALS_A_SECOND);
}
END_TEST

START_TEST(the_rest_of_many_has_no_address)
{
	struct refusals refusals = {.n = 0};
	struct worker_refused_event rest = {.rule = -1, .count = 7};
	struct json_object *data;

	refusals_add(&refusals, &rest);
	data = refusals_take(&refusals, 5000);
	ck_assert_str_eq(json_object_get_string(data), "{ \"count\": 7, \"to\": \"others\" }");
	json_object_put(data);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("events");
	TCase *tc = tcase_create("events");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, pending_events_are_read_too);
	tcase_add_test(tc, since_leaves_out_what_was_read);
	tcase_add_test(tc, ids_go_on_in_the_next_life);
	tcase_add_test(tc, follower_is_told_of_what_is_written);
	tcase_add_test(tc, nothing_is_shown_before_it_is_written);
	tcase_add_test(tc, a_write_that_fails_is_tried_again);
	tcase_add_test(tc, ids_grow_by_one);
	tcase_add_test(tc, line_is_json_with_the_id);
	tcase_add_test(tc, many_refusals_are_few_events);
	tcase_add_test(tc, a_flood_of_refusals_is_a_few_events_a_second);
	tcase_add_test(tc, the_rest_of_many_has_no_address);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
