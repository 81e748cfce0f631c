/* SPDX-License-Identifier: MIT */
/* The flow table and the flow memory: growth, slots, walks, bounds, hints that cannot be trusted. */
#include "common/os.h"
#include "dataplane/stack/flow.h"
#include "dataplane/stack/flow_memory.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define MANY 5000u

static struct flow_table *table;
static struct flow_entry entries[MANY + 1];

static struct flow_key key_of(uint32_t i)
{
	return (struct flow_key){
		.guest = {addr_from_v4(0x0a00020f), (uint16_t)(1024 + i % 60000)},
		.remote = {addr_from_v4(0xc6336400 + i / 7), 80},
	};
}

static void put(uint32_t i)
{
	entries[i].key = key_of(i);
	ck_assert_int_eq(flow_table_insert(table, &entries[i]), 0);
}

static void setup(void)
{
	table = flow_table_new(MANY);
	ck_assert_ptr_nonnull(table);
}

static void teardown(void)
{
	flow_table_free(table);
}

START_TEST(grows_and_finds_all)
{
	for (uint32_t i = 0; i < MANY; i++)
		put(i);
	ck_assert_uint_eq(flow_table_count(table), MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		struct flow_key key = key_of(i);

		ck_assert_ptr_eq(flow_table_find(table, &key), &entries[i]);
		ck_assert_uint_lt(entries[i].slot, MANY);
		key.remote.port++;
		ck_assert_ptr_null(flow_table_find(table, &key));
	}
}
END_TEST

START_TEST(never_grows_beyond_its_bound)
{
	for (uint32_t i = 0; i < MANY; i++)
		put(i);
	entries[MANY].key = key_of(MANY);
	ck_assert_int_eq(flow_table_insert(table, &entries[MANY]), -ENOSPC);
	flow_table_remove(table, &entries[17]);
	ck_assert_int_eq(flow_table_insert(table, &entries[MANY]), 0);
}
END_TEST

START_TEST(slots_are_dense_and_used_again)
{
	uint32_t freed;

	for (uint32_t i = 0; i < 100; i++) {
		put(i);
		ck_assert_uint_eq(entries[i].slot, i);
	}
	for (int round = 0; round < 1000; round++) {
		uint32_t i = (uint32_t)round * 37 % 100;

		freed = entries[i].slot;
		flow_table_remove(table, &entries[i]);
		put(i);
		ck_assert_uint_eq(entries[i].slot, freed);
	}
}
END_TEST

START_TEST(both_ends_make_the_key)
{
	struct flow_key a = key_of(1), b = a;

	entries[0].key = a;
	flow_table_insert(table, &entries[0]);
	b.guest = a.remote;
	b.remote = a.guest;
	ck_assert_ptr_null(flow_table_find(table, &b));
	b = a;
	b.guest.addr = addr_from_v4(0x0a000210);
	ck_assert_ptr_null(flow_table_find(table, &b));
}
END_TEST

START_TEST(a_walk_sees_each_once)
{
	uint32_t slot = 0, seen = 0;

	for (uint32_t i = 0; i < 1000; i++)
		put(i);
	for (uint32_t i = 0; i < 1000; i += 3)
		flow_table_remove(table, &entries[i]);
	while (flow_table_next(table, &slot))
		seen++;
	ck_assert_uint_eq(seen, flow_table_count(table));
	ck_assert_ptr_null(flow_table_next(table, &slot));
}
END_TEST

START_TEST(entries_may_go_during_a_walk)
{
	struct flow_entry *e;
	uint32_t slot = 0;

	for (uint32_t i = 0; i < 1000; i++)
		put(i);
	while ((e = flow_table_next(table, &slot))) {
		uint32_t i = (uint32_t)(e - entries);

		flow_table_remove(table, e);
		/* Another, which the walk has not come to, goes with it. */
		if (i < 500)
			flow_table_remove(table, &entries[i + 500]);
	}
	ck_assert_uint_eq(flow_table_count(table), 0);
}
END_TEST

/* ---- the flow memory ---- */

static struct flow_memory *memory;

static void memory_setup(void)
{
	int fd = os_shm_create("flows", FLOW_MEMORY_SIZE);

	ck_assert_int_ge(fd, 0);
	memory = flow_memory_open(fd);
	ck_assert_ptr_nonnull(memory);
}

static void memory_teardown(void)
{
	flow_memory_free(memory);
}

START_TEST(a_successor_reads_what_was_noted)
{
	struct flow_key key = key_of(3), other = key_of(4), seen;
	struct flow_memory *next;
	uint32_t slot = 0;

	flow_memory_set(memory, 0, &key);
	flow_memory_set(memory, 5, &other);
	flow_memory_set(memory, FLOW_MEMORY_SLOTS - 1, &key);
	flow_memory_clear(memory, 0);
	next = flow_memory_open(os_dup(flow_memory_fd(memory)));
	ck_assert(flow_memory_next(next, &slot, &seen));
	ck_assert_uint_eq(slot, 6);
	ck_assert(
		endpoint_eq(&seen.guest, &other.guest) && endpoint_eq(&seen.remote, &other.remote));
	ck_assert(flow_memory_next(next, &slot, &seen));
	ck_assert(!flow_memory_next(next, &slot, &seen));
	flow_memory_free(next);
}
END_TEST

START_TEST(slots_beyond_the_end_are_nobodys)
{
	struct flow_key key = key_of(3), seen;
	uint32_t slot = 0;

	flow_memory_set(memory, FLOW_MEMORY_SLOTS, &key);
	flow_memory_set(memory, UINT32_MAX, &key);
	flow_memory_clear(memory, UINT32_MAX);
	ck_assert_uint_eq(flow_memory_tx(memory).left, 0);
	ck_assert_uint_eq(flow_memory_tx(memory).size, 0);
	ck_assert(!flow_memory_next(memory, &slot, &seen));
	flow_memory_set(NULL, 0, &key);
	slot = 0;
	ck_assert(!flow_memory_next(NULL, &slot, &seen));
}
END_TEST

START_TEST(a_short_file_is_refused)
{
	int fd = os_shm_create("flows", FLOW_MEMORY_SIZE_V1 - 1);

	ck_assert_ptr_null(flow_memory_open(fd));
	ck_assert_int_lt(write(fd, "x", 1), 0); /* it was the callee's to close */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("flow");
	TCase *t = tcase_create("table"), *m = tcase_create("memory");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, grows_and_finds_all);
	tcase_add_test(t, never_grows_beyond_its_bound);
	tcase_add_test(t, slots_are_dense_and_used_again);
	tcase_add_test(t, both_ends_make_the_key);
	tcase_add_test(t, a_walk_sees_each_once);
	tcase_add_test(t, entries_may_go_during_a_walk);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(m, memory_setup, memory_teardown);
	tcase_add_test(m, a_successor_reads_what_was_noted);
	tcase_add_test(m, slots_beyond_the_end_are_nobodys);
	tcase_add_test(m, a_short_file_is_refused);
	suite_add_tcase(s, m);
	return run_suite(s);
}
