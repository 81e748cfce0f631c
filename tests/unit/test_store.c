/* SPDX-License-Identifier: MIT */
/* The store: what was said to be written is there, whatever happens then. */
#include "ctl/store/store.h"

#include "tests/unit/check_main.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64], path[96];
static struct error err;

static void set_up(void)
{
	strcpy(dir, "/tmp/nctl-store.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/netctl.db", dir);
}

static void tear_down(void)
{
	char name[128];

	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s%s", path, i == 0 ? "" : i == 1 ? "-wal" : "-shm");
		unlink(name);
	}
	rmdir(dir);
}

static struct store *open_store(void)
{
	struct store *store = NULL;

	ck_assert_msg(store_open(path, &store, &err) == 0, "%s", err.text);
	return store;
}

static int insert(struct store *store, const char *name)
{
	struct store_vm vm = {
		.name = name, .created_ms = 7, .config = "{}", .policy = "{}", .hosts = "{}"};

	return store_vm_insert(store, &vm, &err);
}

static void count_vm(void *arg, const struct store_vm *vm)
{
	(void)vm;
	++*(int *)arg;
}

static void count_forward(void *arg, const char *id, const char *spec)
{
	(void)id;
	(void)spec;
	++*(int *)arg;
}

static int count_vms(struct store *store)
{
	int n = 0;

	ck_assert_int_eq(store_vms(store, count_vm, &n, &err), 0);
	return n;
}

START_TEST(vm_survives_reopening)
{
	struct store *store = open_store();

	ck_assert_int_eq(insert(store, "web"), 0);
	ck_assert_int_eq(store_vm_set_guest(store, "web", "52:54:00:00:00:01", NULL, &err), 0);
	store_close(store);
	store = open_store();
	ck_assert_int_eq(count_vms(store), 1);
	store_close(store);
}
END_TEST

START_TEST(deleting_a_vm_deletes_its_forwards)
{
	struct store *store = open_store();
	int n = 0;

	ck_assert_int_eq(insert(store, "web"), 0);
	ck_assert_int_eq(store_forward_insert(store, "web", "tcp:127.0.0.1:80", "{}", &err), 0);
	ck_assert_int_eq(store_vm_delete(store, "web", &err), 0);
	ck_assert_int_eq(store_forwards(store, "web", count_forward, &n, &err), 0);
	ck_assert_int_eq(n, 0);
	store_close(store);
}
END_TEST

START_TEST(forward_of_no_vm_is_refused)
{
	struct store *store = open_store();

	ck_assert_int_eq(store_forward_insert(store, "nobody", "tcp:127.0.0.1:80", "{}", &err), -1);
	store_close(store);
}
END_TEST

START_TEST(undone_transaction_leaves_nothing)
{
	struct store *store = open_store();

	ck_assert_int_eq(store_begin(store, &err), 0);
	ck_assert_int_eq(insert(store, "web"), 0);
	ck_assert_int_eq(store_end(store, false, &err), 0);
	ck_assert_int_eq(count_vms(store), 0);
	store_close(store);
}
END_TEST

/* Writes VMs and says so on fd, until it is killed. */
static void write_for_ever(int fd)
{
	struct store *store = open_store();
	char name[16];

	for (int i = 0;; i++) {
		snprintf(name, sizeof(name), "vm%d", i);
		if (insert(store, name) < 0 || write(fd, "x", 1) != 1)
			_exit(1);
	}
}

START_TEST(what_was_told_survives_kill)
{
	int fds[2], told = 0, status;
	struct store *store;
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(fds[0]);
		write_for_ever(fds[1]);
	}
	close(fds[1]);
	while (told < 5 + _i * 7 && read(fds[0], &byte, 1) == 1)
		told++;
	kill(pid, SIGKILL);
	while (read(fds[0], &byte, 1) == 1)
		told++;
	close(fds[0]);
	waitpid(pid, &status, 0);
	ck_assert(WIFSIGNALED(status));
	store = open_store();
	ck_assert_int_ge(count_vms(store), told);
	store_close(store);
}
END_TEST

START_TEST(unwritable_place_is_named)
{
	struct store *store = NULL;

	ck_assert_int_eq(store_open("/proc/nowhere/netctl.db", &store, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "store /proc/nowhere/netctl.db: "));
}
END_TEST

START_TEST(file_that_is_no_store_is_refused)
{
	struct store *store = NULL;
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < 1000; i++)
		fputs("not a database ", f);
	fclose(f);
	ck_assert_int_eq(store_open(path, &store, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "not a database"));
}
END_TEST

START_TEST(store_of_a_newer_program_is_refused)
{
	struct store *store = open_store();
	sqlite3 *db;

	store_close(store);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(
		sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	ck_assert_int_eq(store_open(path, &store, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "newer"));
}
END_TEST

static void last_event(void *arg, const struct store_event *event)
{
	int64_t *ids = arg;

	ids[0] = ids[0] ? ids[0] : event->id;
	ids[1] = event->id;
}

START_TEST(events_are_bounded)
{
	struct store *store = open_store();
	int64_t ids[2] = {0, 0};

	ck_assert_int_eq(store_begin(store, &err), 0);
	for (int64_t i = 1; i <= STORE_EVENTS_MAX + 500; i++) {
		struct store_event event = {.id = i, .type = "vm.created", .data = "{}"};

		ck_assert_int_eq(store_event_insert(store, &event, &err), 0);
	}
	ck_assert_int_eq(store_end(store, true, &err), 0);
	ck_assert_int_eq(store_events_trim(store, STORE_EVENTS_MAX + 500, &err), 0);
	ck_assert_int_eq(store_events(store, 0, 1000000, last_event, ids, &err), 0);
	ck_assert_int_eq(ids[0], 501);
	ck_assert_int_eq(ids[1], STORE_EVENTS_MAX + 500);
	store_close(store);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tc = tcase_create("store");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, vm_survives_reopening);
	tcase_add_test(tc, deleting_a_vm_deletes_its_forwards);
	tcase_add_test(tc, forward_of_no_vm_is_refused);
	tcase_add_test(tc, undone_transaction_leaves_nothing);
	tcase_add_loop_test(tc, what_was_told_survives_kill, 0, 4);
	tcase_add_test(tc, unwritable_place_is_named);
	tcase_add_test(tc, file_that_is_no_store_is_refused);
	tcase_add_test(tc, store_of_a_newer_program_is_refused);
	tcase_add_test(tc, events_are_bounded);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
