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

START_TEST(follower_sees_each_at_once)
{
	struct events *events = events_new(base, store, &err);
	struct seen seen = {0};
	struct events_follower follower = {.added = see, .arg = &seen};

	events_follow(events, &follower);
	events_add(events, "web", "link.up", NULL);
	ck_assert_int_eq(seen.n, 1);
	events_unfollow(events, &follower);
	events_add(events, "web", "link.down", NULL);
	ck_assert_int_eq(seen.n, 1);
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

START_TEST(many_refusals_are_few_events)
{
	struct refusals refusals = {.n = 0};
	struct json_object *data;
	int64_t count = 0;
	int n = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		struct worker_refused_event event = {.proto = 6, .rule = -1, .count = 2};

		event.to.addr = addr_from_v4(0x01000000 + i % 100);
		refusals_add(&refusals, &event);
	}
	while ((data = refusals_take(&refusals))) {
		count += json_object_get_int64(json_object_object_get(data, "count"));
		json_object_put(data);
		n++;
	}
	ck_assert_int_eq(n, REFUSALS_KEPT + 1);
	ck_assert_int_eq(count, 2000);
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
	tcase_add_test(tc, follower_sees_each_at_once);
	tcase_add_test(tc, line_is_json_with_the_id);
	tcase_add_test(tc, many_refusals_are_few_events);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
