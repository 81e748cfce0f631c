/* SPDX-License-Identifier: MIT */
/* Guest memory: what is mapped, what is refused, and what happens when it is cut short. */
#include "tests/unit/vhost_rig.h"

#include <fcntl.h>
#include <sys/wait.h>

static struct guest_memory memory;

static void setup(void)
{
	guest_setup();
	memset(&memory, 0, sizeof(memory));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(guest_memory_add(&memory, &mem_ranges[i], os_dup(guest.fd)), 0);
}

static void teardown(void)
{
	guest_memory_clear(&memory);
	guest_teardown();
}

START_TEST(an_address_leads_to_its_bytes_and_no_further_than_its_region)
{
	size_t len = 100;
	uint8_t *p = guest_memory_at(&memory, MEM_HALF - 10, &len);

	memcpy(guest.bytes + MEM_HALF - 10, "0123456789abcdef", 16);
	ck_assert_uint_eq(len, 10);
	ck_assert_mem_eq(p, "0123456789", 10);
	len = 100;
	p = guest_memory_at(&memory, MEM_HALF, &len);
	ck_assert_uint_eq(len, 100);
	ck_assert_mem_eq(p, "abcdef", 6);
	len = 1;
	ck_assert_ptr_null(guest_memory_at(&memory, MEM_SIZE, &len));
	ck_assert_ptr_null(guest_memory_at(&memory, UINT64_MAX, &len));
}
END_TEST

START_TEST(the_vmms_addresses_must_have_all_bytes_in_one_region)
{
	guest.bytes[MEM_HALF - 1] = 7;
	ck_assert_uint_eq(*(uint8_t *)guest_memory_user(&memory, USER_LOW + MEM_HALF - 1, 1), 7);
	ck_assert_ptr_null(guest_memory_user(&memory, USER_LOW + MEM_HALF - 1, 2));
	ck_assert_ptr_null(guest_memory_user(&memory, USER_LOW + MEM_HALF, 0));
	ck_assert_ptr_null(guest_memory_user(&memory, USER_LOW, SIZE_MAX));
	ck_assert_ptr_null(guest_memory_user(&memory, 0, 1));
	ck_assert_ptr_nonnull(guest_memory_user(&memory, USER_HIGH, MEM_HALF));
}
END_TEST

START_TEST(copies_go_over_the_border_of_regions)
{
	char got[16];

	memcpy(guest.bytes + MEM_HALF - 8, "0123456789abcdef", 16);
	ck_assert(guest_memory_copy(&memory, MEM_HALF - 8, got, 16));
	ck_assert_mem_eq(got, "0123456789abcdef", 16);
	ck_assert(!guest_memory_copy(&memory, MEM_SIZE - 15, got, 16));
	ck_assert(!guest_memory_copy(&memory, UINT64_MAX - 3, got, 16));
}
END_TEST

START_TEST(ranges_that_cannot_be_are_refused)
{
	static const struct {
		struct guest_range range;
		int err;
	} bad[] = {
		{{1u << 30, 0, 1u << 30, 0}, -EINVAL},
		{{UINT64_MAX, 4096, 1u << 30, 0}, -EINVAL},
		{{1u << 30, 4096, UINT64_MAX, 0}, -EINVAL},
		{{1u << 30, 4096, 1u << 30, UINT64_MAX}, -EINVAL},
		{{1u << 30, UINT64_MAX, 1u << 30, 0}, -EINVAL},
		{{1u << 30, 4096, 1u << 30, MEM_SIZE - 4095}, -EINVAL},
		{{1u << 30, MEM_SIZE + 1, 1u << 30, 0}, -EINVAL},
		{{MEM_SIZE - 1, 4096, 1u << 30, 0}, -EEXIST},
		{{1u << 30, 4096, USER_LOW + 1, 0}, -EEXIST},
		{{1u << 30, 8192, USER_HIGH - 4096, 0}, -EEXIST},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int fd = os_dup(guest.fd);

		ck_assert_msg(
			guest_memory_add(&memory, &bad[i].range, fd) == bad[i].err, "range %zu", i);
		ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	}
	ck_assert_uint_eq(memory.count, 2);
}
END_TEST

START_TEST(descriptors_that_are_no_memory_are_refused)
{
	static const struct guest_range range = {1u << 30, 4096, 1u << 30, 0};
	int fds[2];

	ck_assert_int_eq(os_pipe(fds), 0);
	ck_assert_int_lt(guest_memory_add(&memory, &range, fds[0]), 0);
	ck_assert_int_lt(guest_memory_add(&memory, &range, fds[1]), 0);
	ck_assert_int_lt(guest_memory_add(&memory, &range, -1), 0);
}
END_TEST

/* A region may begin anywhere in its file. */
START_TEST(an_offset_within_a_page_is_honoured)
{
	static const struct guest_range range = {1u << 30, 5000, 1u << 30, 4097};
	size_t len = 5000;
	uint8_t *p;

	guest.bytes[4097] = 3;
	guest.bytes[4097 + 4999] = 4;
	ck_assert_int_eq(guest_memory_add(&memory, &range, os_dup(guest.fd)), 0);
	p = guest_memory_at(&memory, 1u << 30, &len);
	ck_assert_uint_eq(len, 5000);
	ck_assert_uint_eq(p[0], 3);
	ck_assert_uint_eq(p[4999], 4);
}
END_TEST

START_TEST(the_table_has_a_bound)
{
	struct guest_range range = {1u << 30, 4096, 1u << 30, 0};
	struct guest_region region;

	while (memory.count < GUEST_REGIONS_MAX) {
		ck_assert_int_eq(guest_memory_add(&memory, &range, os_dup(guest.fd)), 0);
		range.guest += 4096;
		range.user += 4096;
	}
	ck_assert_int_eq(guest_memory_add(&memory, &range, os_dup(guest.fd)), -ENOSPC);
	ck_assert_int_eq(guest_memory_take(&memory, &range, &region), -ENOENT);
	range.guest -= 4096;
	range.user -= 4096;
	ck_assert_int_eq(guest_memory_take(&memory, &range, &region), 0);
	guest_region_free(&region);
	ck_assert_uint_eq(memory.count, GUEST_REGIONS_MAX - 1);
}
END_TEST

START_TEST(memory_that_was_cut_short_reads_as_zeros)
{
	size_t len = 1;
	uint8_t *low = guest_memory_at(&memory, DATA_AT, &len);
	uint8_t *high = guest_memory_at(&memory, MEM_SIZE - 1, &len);
	static const uint8_t zeros[32];
	uint8_t got[32];

	memset(guest.bytes, 0xaa, MEM_SIZE);
	ck_assert(!guest_memory_faulted(&memory));
	ck_assert_int_eq(ftruncate(guest.fd, MEM_HALF), 0);
	ck_assert_uint_eq(*(volatile uint8_t *)low, 0xaa);
	ck_assert(!guest_memory_faulted(&memory));
	ck_assert_uint_eq(*(volatile uint8_t *)high, 0);
	ck_assert(guest_memory_faulted(&memory));
	*(volatile uint8_t *)high = 1;
	ck_assert(guest_memory_copy(&memory, MEM_SIZE - 32, got, 32));
	ck_assert_mem_eq(got, zeros, 31);
	ck_assert_uint_eq(got[31], 1);
	ck_assert_uint_eq(*(volatile uint8_t *)low, 0xaa);
}
END_TEST

START_TEST(other_faults_still_kill)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		/* The test's own mapping, which nobody watches. */
		const volatile uint8_t *p = guest.bytes;

		if (ftruncate(guest.fd, 0) == 0)
			(void)p[0];
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_memory");
	TCase *t = tcase_create("memory");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, an_address_leads_to_its_bytes_and_no_further_than_its_region);
	tcase_add_test(t, the_vmms_addresses_must_have_all_bytes_in_one_region);
	tcase_add_test(t, copies_go_over_the_border_of_regions);
	tcase_add_test(t, ranges_that_cannot_be_are_refused);
	tcase_add_test(t, descriptors_that_are_no_memory_are_refused);
	tcase_add_test(t, an_offset_within_a_page_is_honoured);
	tcase_add_test(t, the_table_has_a_bound);
	tcase_add_test(t, memory_that_was_cut_short_reads_as_zeros);
	tcase_add_test(t, other_faults_still_kill);
	suite_add_tcase(s, t);
	return run_suite(s);
}
