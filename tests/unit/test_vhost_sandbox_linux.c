/* SPDX-License-Identifier: MIT */
/* Guest memory from within the worker's sandbox: mapped, used, cut short, given up. */
#include "dataplane/sandbox/sandbox.h"
#include "tests/unit/vhost_rig.h"

#include <stdio.h>
#include <sys/wait.h>

#define EXIT_REFUSED 100

/* The child's part. The pipe says when the file was cut short. */
static int use_memory(int fd, int ready, int cut)
{
	struct guest_memory memory = {0};
	size_t len = 1;
	volatile uint8_t *p;
	char byte = 0;

	if (guest_memory_add(&memory, &mem_ranges[0], fd) < 0)
		return 1;
	p = guest_memory_at(&memory, DATA_AT, &len);
	if (!p || *p != 'x' || write(ready, &byte, 1) != 1 || read(cut, &byte, 1) != 1)
		return 2;
	if (*p != 0 || !guest_memory_faulted(&memory))
		return 3;
	guest_memory_clear(&memory);
	return 0;
}

START_TEST(memory_is_mapped_and_its_loss_survived)
{
	int ready[2], cut[2], status;
	char byte = 0;
	ssize_t n;
	pid_t pid;

	guest.bytes[DATA_AT] = 'x';
	ck_assert_int_eq(os_pipe(ready), 0);
	ck_assert_int_eq(os_pipe(cut), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int keep[] = {guest.fd, ready[1], cut[0]};
		enum sandbox_level got;
		struct error err = {0};

		if (sandbox_enter(SANDBOX_WEAK, keep, 3, &got, &err) < 0) {
			dprintf(STDERR_FILENO, "%s\n", err.text);
			_exit(EXIT_REFUSED);
		}
		_exit(use_memory(guest.fd, ready[1], cut[0]));
	}
	close(ready[1]);
	n = read(ready[0], &byte, 1);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(ftruncate(guest.fd, 0), 0);
	n = write(cut[1], &byte, 1);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_sandbox");
	TCase *t = tcase_create("sandbox");

	tcase_add_checked_fixture(t, guest_setup, guest_teardown);
	tcase_add_test(t, memory_is_mapped_and_its_loss_survived);
	suite_add_tcase(s, t);
	return run_suite(s);
}
