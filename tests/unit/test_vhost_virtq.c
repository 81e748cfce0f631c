/* SPDX-License-Identifier: MIT */
/* Split virtqueues from the device's side, against rings built by hand. */
#include "tests/unit/vhost_rig.h"

#define INDIRECT (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define SIZE 8
#define TABLE_AT 0x50000u

#define NEXT VIRTQ_DESC_NEXT
#define WRITE VIRTQ_DESC_WRITE
#define INDIRECTLY VIRTQ_DESC_INDIRECT

static struct guest_memory memory;
static struct driver driver;
static struct virtq q;
static struct virtq_chain chain;

static void start(uint32_t size, uint64_t features)
{
	struct virtq_config config;

	driver = driver_new(0, size);
	config = driver_config(&driver, features);
	ck_assert_int_eq(virtq_start(&q, &memory, &config), 0);
}

static void setup(void)
{
	guest_setup();
	memset(&memory, 0, sizeof(memory));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(guest_memory_add(&memory, &mem_ranges[i], os_dup(guest.fd)), 0);
	start(SIZE, INDIRECT);
}

static void teardown(void)
{
	guest_memory_clear(&memory);
	guest_teardown();
}

/* The table of indirect descriptors in guest memory. */
static struct virtq_desc *table(void)
{
	return (struct virtq_desc *)(guest.bytes + TABLE_AT);
}

/* A good chain of one readable byte, to see that the ring goes on. */
static void assert_goes_on(void)
{
	driver.desc[7] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	driver_offer(&driver, 7);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.head, 7);
	virtq_push(&q, 7, 0);
	virtq_publish(&q);
}

START_TEST(a_chain_comes_out_with_its_parts_in_order)
{
	char got[32];

	memcpy(guest.bytes + DATA_AT, "headpayload", 11);
	driver.desc[2] = (struct virtq_desc){DATA_AT, 4, NEXT, 5};
	driver.desc[5] = (struct virtq_desc){DATA_AT + 4, 7, NEXT, 1};
	driver.desc[1] = (struct virtq_desc){DATA_AT + 100, 8, NEXT | WRITE, 0};
	driver.desc[0] = (struct virtq_desc){DATA_AT + 200, 8, WRITE, 77};
	ck_assert_int_eq(virtq_pop(&q, &chain), 0);
	driver_offer(&driver, 2);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.head, 2);
	ck_assert_uint_eq(chain.out_count, 2);
	ck_assert_uint_eq(chain.in_count, 2);
	ck_assert_uint_eq(chain.out_len, 11);
	ck_assert_uint_eq(chain.in_len, 16);
	ck_assert_uint_eq(virtq_chain_read(&chain, 2, got, sizeof(got)), 9);
	ck_assert_mem_eq(got, "adpayload", 9);
	ck_assert_uint_eq(virtq_chain_write(&chain, 6, "answer", 6), 6);
	ck_assert_mem_eq(guest.bytes + DATA_AT + 106, "an", 2);
	ck_assert_mem_eq(guest.bytes + DATA_AT + 200, "swer", 4);
	ck_assert_uint_eq(virtq_chain_write(&chain, 10, "overlong", 8), 6);
	virtq_push(&q, 2, 12);
	ck_assert(!driver_got(&driver, 2, 12));
	ck_assert(virtq_publish(&q));
	ck_assert(driver_got(&driver, 2, 12));
	ck_assert_int_eq(virtq_pop(&q, &chain), 0);
}
END_TEST

START_TEST(pieces_are_cut_where_asked)
{
	struct iovec iov[VIRTQ_PIECES_MAX];

	driver.desc[0] = (struct virtq_desc){DATA_AT, 44, NEXT, 1};
	driver.desc[1] = (struct virtq_desc){DATA_AT + 1000, 100, NEXT, 2};
	driver.desc[2] = (struct virtq_desc){DATA_AT + 2000, 100, WRITE, 0};
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(virtq_chain_pieces(&chain, false, 44, 1000, iov), 1);
	ck_assert_uint_eq(iov[0].iov_len, 100);
	ck_assert_uint_eq(virtq_chain_pieces(&chain, false, 40, 50, iov), 2);
	ck_assert_uint_eq(iov[0].iov_len, 4);
	ck_assert_uint_eq(iov[1].iov_len, 46);
	ck_assert_uint_eq(virtq_chain_pieces(&chain, true, 99, 50, iov), 1);
	ck_assert_uint_eq(iov[0].iov_len, 1);
	ck_assert_uint_eq(virtq_chain_pieces(&chain, true, 100, 50, iov), 0);
	ck_assert_uint_eq(virtq_chain_pieces(&chain, false, 0, 0, iov), 0);
}
END_TEST

START_TEST(memory_over_a_border_comes_in_two_pieces)
{
	char got[8];

	memcpy(guest.bytes + MEM_HALF - 4, "abcdefgh", 8);
	driver.desc[0] = (struct virtq_desc){MEM_HALF - 4, 8, 0, 0};
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.out_count, 2);
	ck_assert_uint_eq(virtq_chain_read(&chain, 0, got, 8), 8);
	ck_assert_mem_eq(got, "abcdefgh", 8);
}
END_TEST

START_TEST(an_indirect_table_may_end_a_chain)
{
	driver.desc[3] = (struct virtq_desc){DATA_AT, 5, NEXT, 4};
	driver.desc[4] = (struct virtq_desc){TABLE_AT, 3 * 16, INDIRECTLY, 0};
	table()[0] = (struct virtq_desc){DATA_AT + 5, 6, NEXT, 2};
	table()[2] = (struct virtq_desc){DATA_AT + 50, 7, WRITE, 0};
	driver_offer(&driver, 3);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.head, 3);
	ck_assert_uint_eq(chain.out_len, 11);
	ck_assert_uint_eq(chain.in_len, 7);
}
END_TEST

/* An indirect table may have more entries than the ring. */
START_TEST(the_longest_chain_is_taken)
{
	driver.desc[0] = (struct virtq_desc){TABLE_AT, VIRTQ_SIZE_MAX * 16, INDIRECTLY, 0};
	for (uint16_t i = 0; i < VIRTQ_SIZE_MAX; i++)
		table()[i] = (struct virtq_desc){DATA_AT + i, 1, NEXT, (uint16_t)(i + 1)};
	table()[VIRTQ_SIZE_MAX - 1].flags = 0;
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.out_count, VIRTQ_PIECES_MAX);
	virtq_push(&q, 0, 0);
	/* One of them over a border: a piece too many. */
	table()[9] = (struct virtq_desc){MEM_HALF - 1, 2, NEXT, 10};
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), -EBADMSG);
	assert_goes_on();
}
END_TEST

struct bad_chain {
	const char *what;
	struct virtq_desc desc[3];  /* from head 0 on */
	struct virtq_desc table[2]; /* at TABLE_AT */
};

static const struct bad_chain bad_chains[] = {
	{"leads to itself", {{DATA_AT, 1, NEXT, 0}}, {{0}}},
	{"goes round", {{DATA_AT, 1, NEXT, 1}, {DATA_AT, 1, NEXT, 0}}, {{0}}},
	{"leads out of the table", {{DATA_AT, 1, NEXT, SIZE}}, {{0}}},
	{"leads far out of the table", {{DATA_AT, 1, NEXT, 0xffff}}, {{0}}},
	{"no memory there", {{MEM_SIZE, 1, 0, 0}}, {{0}}},
	{"ends behind the memory", {{MEM_SIZE - 1, 2, 0, 0}}, {{0}}},
	{"wraps", {{UINT64_MAX, 2, 0, 0}}, {{0}}},
	{"longest length", {{DATA_AT, UINT32_MAX, 0, 0}}, {{0}}},
	{"readable behind writable", {{DATA_AT, 1, NEXT | WRITE, 1}, {DATA_AT, 1, 0, 0}}, {{0}}},
	{"empty table", {{TABLE_AT, 0, INDIRECTLY, 0}}, {{0}}},
	{"part of a descriptor", {{TABLE_AT, 17, INDIRECTLY, 0}}, {{DATA_AT, 1, 0, 0}}},
	{"table too long", {{TABLE_AT, 16 * (VIRTQ_SIZE_MAX + 1), INDIRECTLY, 0}}, {{0}}},
	{"table nowhere", {{MEM_SIZE - 15, 16, INDIRECTLY, 0}}, {{0}}},
	{"table and next", {{TABLE_AT, 16, INDIRECTLY | NEXT, 1}, {DATA_AT, 1, 0, 0}},
		{{DATA_AT, 1, 0, 0}}},
	{"table in a table", {{TABLE_AT, 16, INDIRECTLY, 0}}, {{TABLE_AT, 16, INDIRECTLY, 0}}},
	{"loop in a table", {{TABLE_AT, 32, INDIRECTLY, 0}},
		{{DATA_AT, 1, NEXT, 1}, {DATA_AT, 1, NEXT, 0}}},
	{"out of an indirect table", {{TABLE_AT, 32, INDIRECTLY, 0}}, {{DATA_AT, 1, NEXT, 2}}},
};

#define BAD_CHAINS ((int)(sizeof(bad_chains) / sizeof(*bad_chains)))

START_TEST(a_bad_chain_is_given_back_and_the_ring_goes_on)
{
	const struct bad_chain *bad = &bad_chains[_i];

	memcpy(driver.desc, bad->desc, sizeof(bad->desc));
	memcpy(table(), bad->table, sizeof(bad->table));
	driver_offer(&driver, 0);
	ck_assert_msg(virtq_pop(&q, &chain) == -EBADMSG, "%s", bad->what);
	ck_assert_uint_eq(q.refused, 1);
	ck_assert(virtq_publish(&q));
	ck_assert(driver_got(&driver, 0, 0));
	assert_goes_on();
}
END_TEST

START_TEST(indirect_tables_must_have_been_agreed_upon)
{
	start(SIZE, 0);
	driver.desc[0] = (struct virtq_desc){TABLE_AT, 16, INDIRECTLY, 0};
	table()[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), -EBADMSG);
}
END_TEST

START_TEST(more_than_4_gib_in_a_chain_are_refused)
{
	static const struct guest_range big = {UINT64_C(1) << 40, 3u << 30, 1u << 30, 0};

	ck_assert_int_eq(guest_memory_add(&memory, &big, mem_file(big.size)), 0);
	driver.desc[0] = (struct virtq_desc){big.guest, 3u << 30, NEXT, 1};
	driver.desc[1] = (struct virtq_desc){big.guest, 1u << 30, 0, 0};
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), -EBADMSG);
	driver.desc[1].len--;
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.out_len, UINT32_MAX);
}
END_TEST

static void assert_broken(void)
{
	uint16_t used = driver.used->idx;

	ck_assert_int_eq(virtq_pop(&q, &chain), -EPROTO);
	ck_assert_int_eq(virtq_pop(&q, &chain), -EPROTO);
	virtq_push(&q, 0, 0);
	ck_assert(!virtq_publish(&q));
	ck_assert(!virtq_await(&q, 0));
	ck_assert_uint_eq(driver.used->idx, used);
}

START_TEST(a_head_out_of_range_breaks_the_ring)
{
	driver_offer(&driver, SIZE);
	assert_broken();
}
END_TEST

START_TEST(an_index_too_far_ahead_breaks_the_ring)
{
	driver.avail->idx = SIZE + 1;
	assert_broken();
}
END_TEST

START_TEST(an_index_that_went_back_breaks_the_ring)
{
	assert_goes_on();
	driver.avail->idx = 0;
	assert_broken();
}
END_TEST

START_TEST(more_chains_than_descriptors_break_the_ring)
{
	for (int i = 0; i < SIZE; i++) {
		driver_offer(&driver, 0);
		ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	}
	driver_offer(&driver, 0);
	assert_broken();
}
END_TEST

START_TEST(rings_that_cannot_be_are_refused)
{
	static const uint32_t sizes[] = {0, 3, 2048, UINT32_MAX};
	struct virtq_config good = driver_config(&driver, 0), bad;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		bad = good;
		bad.size = sizes[i];
		ck_assert_int_eq(virtq_start(&q, &memory, &bad), -EINVAL);
	}
	bad = good;
	bad.desc_user += 8;
	ck_assert_int_eq(virtq_start(&q, &memory, &bad), -EINVAL);
	bad = good;
	bad.avail_user += 1;
	ck_assert_int_eq(virtq_start(&q, &memory, &bad), -EINVAL);
	bad = good;
	bad.used_user += 2;
	ck_assert_int_eq(virtq_start(&q, &memory, &bad), -EINVAL);
	bad = good;
	bad.used_user = USER_LOW + MEM_HALF - 4 - SIZE * 8;
	ck_assert_int_eq(virtq_start(&q, &memory, &bad), -EINVAL);
	bad.desc_user = 0;
	ck_assert_int_eq(virtq_start(&q, &memory, &bad), -EINVAL);
	ck_assert_int_eq(virtq_pop(&q, &chain), -EPROTO);
}
END_TEST

START_TEST(a_chain_is_what_it_was_when_it_was_taken)
{
	driver.desc[0] = (struct virtq_desc){TABLE_AT, 16, INDIRECTLY, 0};
	table()[0] = (struct virtq_desc){DATA_AT, 10, 0, 0};
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	memset(driver.desc, 0xff, sizeof(*driver.desc) * SIZE);
	memset(table(), 0xff, 64);
	ck_assert_uint_eq(chain.out_len, 10);
	ck_assert_uint_eq(chain.iov[0].iov_len, 10);
}
END_TEST

START_TEST(a_chain_put_back_is_the_next)
{
	driver.desc[0] = (struct virtq_desc){DATA_AT, 10, 0, 0};
	driver.desc[1] = (struct virtq_desc){DATA_AT, 20, 0, 0};
	driver_offer(&driver, 0);
	driver_offer(&driver, 1);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_unpop(&q, 1);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.head, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	ck_assert_uint_eq(chain.head, 1);
	ck_assert_uint_eq(q.held, 2);
}
END_TEST

START_TEST(the_driver_says_whether_to_interrupt)
{
	driver.desc[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	driver.avail->flags = VIRTQ_AVAIL_NO_INTERRUPT;
	driver_offer(&driver, 0);
	ck_assert(!virtq_publish(&q));
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_push(&q, 0, 0);
	ck_assert(!virtq_publish(&q));
	driver.avail->flags = 0;
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_push(&q, 0, 0);
	ck_assert(virtq_publish(&q));
	ck_assert(!virtq_publish(&q));
}
END_TEST

/* With EVENT_IDX: only where used_event is among what was published; over the index' wrap, too. */
START_TEST(an_event_index_says_when_to_interrupt)
{
	uint16_t given = 0;

	start(SIZE, EVENT_IDX);
	driver.desc[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	for (int i = 0; i < 70000; i++) {
		*driver_used_event(&driver) = (uint16_t)(given + i % 3);
		driver_offer(&driver, 0);
		driver_offer(&driver, 0);
		ck_assert_int_eq(virtq_pop(&q, &chain), 1);
		virtq_push(&q, 0, 0);
		ck_assert_int_eq(virtq_pop(&q, &chain), 1);
		virtq_push(&q, 0, 0);
		ck_assert_int_eq(virtq_publish(&q), i % 3 < 2);
		given += 2;
	}
	ck_assert_uint_eq(driver.used->idx, (uint16_t)(70000 * 2));
}
END_TEST

static void push_idly(void)
{
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_push_idly(&q, 0);
}

START_TEST(what_nobody_waits_for_may_wait_unless_it_is_much)
{
	start(SIZE * 4, INDIRECT);
	driver.desc[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	ck_assert(!virtq_pushed(&q));
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			push_idly();
			ck_assert(virtq_pushed(&q));
			ck_assert(virtq_may_wait(&q));
		}
		push_idly();
		ck_assert(!virtq_may_wait(&q));
		ck_assert(virtq_publish(&q));
		ck_assert(!virtq_pushed(&q));
		for (int i = 0; i < 4; i++)
			ck_assert(driver_got(&driver, 0, 0));
	}
}
END_TEST

START_TEST(nothing_waits_with_what_is_waited_for_or_without_indirect_tables)
{
	start(SIZE * 4, INDIRECT);
	driver.desc[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	push_idly();
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_push(&q, 0, 0);
	ck_assert(!virtq_may_wait(&q));
	virtq_publish(&q);
	push_idly();
	ck_assert(virtq_may_wait(&q));
	start(SIZE * 4, 0);
	push_idly();
	ck_assert(!virtq_may_wait(&q));
}
END_TEST

START_TEST(kicks_are_asked_for_by_flag)
{
	virtq_no_kicks(&q);
	ck_assert_uint_eq(driver.used->flags, VIRTQ_USED_NO_NOTIFY);
	ck_assert(!virtq_await(&q, 0));
	ck_assert_uint_eq(driver.used->flags, 0);
	driver_offer(&driver, 0);
	ck_assert(virtq_await(&q, 0));
}
END_TEST

START_TEST(kicks_are_asked_for_by_event_index)
{
	start(SIZE, EVENT_IDX);
	driver.desc[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	driver_offer(&driver, 0);
	ck_assert(virtq_await(&q, 0));
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_no_kicks(&q);
	ck_assert_uint_eq(driver_avail_event(&driver), 0);
	ck_assert(!virtq_await(&q, 0));
	ck_assert_uint_eq(driver_avail_event(&driver), 1);
}
END_TEST

START_TEST(a_successor_goes_on_where_the_used_index_stands)
{
	struct virtq_config config = driver_config(&driver, 0);

	driver.desc[0] = (struct virtq_desc){DATA_AT, 1, 0, 0};
	driver.avail->idx = driver.used->idx = driver.seen = 65535;
	config.next_avail = 65535;
	ck_assert_int_eq(virtq_start(&q, &memory, &config), 0);
	ck_assert(!virtq_publish(&q));
	driver_offer(&driver, 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 1);
	virtq_push(&q, 0, 9);
	virtq_publish(&q);
	ck_assert(driver_got(&driver, 0, 9));
	ck_assert_uint_eq(driver.used->idx, 0);
}
END_TEST

START_TEST(a_ring_whose_memory_is_cut_short_breaks_or_is_empty)
{
	driver_offer(&driver, 0);
	ck_assert_int_eq(ftruncate(guest.fd, 0), 0);
	ck_assert_int_eq(virtq_pop(&q, &chain), 0);
	virtq_await(&q, 0);
	ck_assert(guest_memory_faulted(&memory));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_virtq");
	TCase *t = tcase_create("virtq");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_chain_comes_out_with_its_parts_in_order);
	tcase_add_test(t, pieces_are_cut_where_asked);
	tcase_add_test(t, memory_over_a_border_comes_in_two_pieces);
	tcase_add_test(t, an_indirect_table_may_end_a_chain);
	tcase_add_test(t, the_longest_chain_is_taken);
	tcase_add_loop_test(t, a_bad_chain_is_given_back_and_the_ring_goes_on, 0, BAD_CHAINS);
	tcase_add_test(t, indirect_tables_must_have_been_agreed_upon);
	tcase_add_test(t, more_than_4_gib_in_a_chain_are_refused);
	tcase_add_test(t, a_head_out_of_range_breaks_the_ring);
	tcase_add_test(t, an_index_too_far_ahead_breaks_the_ring);
	tcase_add_test(t, an_index_that_went_back_breaks_the_ring);
	tcase_add_test(t, more_chains_than_descriptors_break_the_ring);
	tcase_add_test(t, rings_that_cannot_be_are_refused);
	tcase_add_test(t, a_chain_is_what_it_was_when_it_was_taken);
	tcase_add_test(t, a_chain_put_back_is_the_next);
	tcase_add_test(t, the_driver_says_whether_to_interrupt);
	tcase_add_test(t, an_event_index_says_when_to_interrupt);
	tcase_add_test(t, what_nobody_waits_for_may_wait_unless_it_is_much);
	tcase_add_test(t, nothing_waits_with_what_is_waited_for_or_without_indirect_tables);
	tcase_add_test(t, kicks_are_asked_for_by_flag);
	tcase_add_test(t, kicks_are_asked_for_by_event_index);
	tcase_add_test(t, a_successor_goes_on_where_the_used_index_stands);
	tcase_add_test(t, a_ring_whose_memory_is_cut_short_breaks_or_is_empty);
	suite_add_tcase(s, t);
	return run_suite(s);
}
