/* SPDX-License-Identifier: MIT */
/*
 * ctl/supervisor.h and ctl/worker_client.h against the real netdp: what happens when a worker, the
 * spawner or netctld ends. The program is $NETCTL_BIN/netdp.
 */
#include "common/clock.h"
#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"
#include "ctl/supervisor.h"
#include "dataplane/stack/flow_memory.h"
#include "proto/rpc.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static char program[512];
static struct event_base *base;
static struct supervisor *supervisor;

static int spawner_up, spawner_told;
static char spawner_text[256];

struct vm {
	struct supervised *slot;
	struct worker_client *client;
	int ups, downs, fails, gone;
	enum supervised_how how;
	char text[256];
	int links, names;
};

static struct vm web, db;

/* ---- callbacks ---- */

static void on_spawner(void *arg, bool up, const char *text)
{
	(void)arg;
	spawner_told++;
	spawner_up = up;
	snprintf(spawner_text, sizeof(spawner_text), "%s", text);
}

static const struct supervisor_ops supervisor_ops = {on_spawner};

static void on_up(void *arg, struct worker_client *client, enum supervised_how how)
{
	struct vm *vm = arg;

	vm->ups++;
	vm->client = client;
	vm->how = how;
}

static void on_down(void *arg, const char *text)
{
	struct vm *vm = arg;

	vm->downs++;
	vm->client = NULL;
	snprintf(vm->text, sizeof(vm->text), "%s", text);
}

static void on_failed(void *arg, int code, const char *text)
{
	struct vm *vm = arg;

	(void)code;
	vm->fails++;
	snprintf(vm->text, sizeof(vm->text), "%s", text);
}

static void on_gone(void *arg)
{
	struct vm *vm = arg;

	vm->gone++;
}

static void on_link(void *arg, const struct worker_link_event *event)
{
	struct vm *vm = arg;

	(void)event;
	vm->links++;
}

static void on_names(void *arg, const struct worker_name *names, size_t n)
{
	struct vm *vm = arg;

	(void)names;
	vm->names += (int)n;
}

static const struct supervised_ops slot_ops = {.up = on_up,
	.down = on_down,
	.failed = on_failed,
	.events = {.link_changed = on_link, .names_seen = on_names}};

struct outcome {
	int calls, code;
	char text[256];
};

static void on_done(void *arg, int code, const char *text)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	outcome->code = code;
	snprintf(outcome->text, sizeof(outcome->text), "%s", text);
}

/* ---- helpers ---- */

/* Turns the loop until cond holds, for ms at most. */
#define WAIT(cond, ms)                                                                             \
	do {                                                                                       \
		uint64_t until = clock_ms() + (ms);                                                \
		while (!(cond) && clock_ms() < until)                                              \
			turn();                                                                    \
		ck_assert_msg((cond), "not in time: %s", #cond);                                   \
	} while (0)

static void turn(void)
{
	struct timeval tv = {.tv_usec = 5000};

	event_base_loopexit(base, &tv);
	event_base_loop(base, EVLOOP_ONCE);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static struct supervisor *make(bool no_start, const char *netdp)
{
	struct supervisor_config config = {.runtime_dir = directory,
		.netdp = netdp,
		.no_start = no_start,
		.sandbox_weak = true,
		.log_level = "error"};

	spawner_up = spawner_told = 0;
	return supervisor_new(base, &config, &supervisor_ops, NULL);
}

static void add(struct vm *vm, const char *name)
{
	int err;

	memset(vm, 0, sizeof(*vm));
	vm->slot = supervisor_add(supervisor, name, &slot_ops, vm, &err);
	ck_assert_ptr_nonnull(vm->slot);
}

static void setup(void)
{
	const char *bin = getenv("NETCTL_BIN");

	log_init(LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	snprintf(directory, sizeof(directory), "/tmp/netctl-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(program, sizeof(program), "%s/netdp", bin ? bin : "build/debug/bin");
	base = event_base_new();
	supervisor = make(false, program);
}

static int stop_count;

static void on_stopped(void *arg)
{
	(void)arg;
	stop_count++;
}

static void teardown(void)
{
	char path[128];

	stop_count = 0;
	supervisor_stop(supervisor, on_stopped, NULL);
	WAIT(stop_count, 4000);
	supervisor_free(supervisor);
	event_base_free(base);
	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	unlink(path);
	rmdir(directory);
}

static pid_t worker_pid(struct vm *vm)
{
	struct supervised_info info;

	supervised_info(vm->slot, &info);
	return info.pid;
}

static void start_web(void)
{
	add(&web, "web");
	supervised_want(web.slot, true);
	supervisor_start(supervisor);
	WAIT(web.ups == 1, 10000);
}

static struct worker_config config_of(int flow_memory)
{
	struct worker_config config = {
		.vm = "web", .mtu = 1500, .hostname = "web", .flow_memory = flow_memory};

	prefix_parse("10.0.2.0/24", false, &config.subnet);
	addr_parse("10.0.2.2", &config.gateway);
	addr_parse("10.0.2.15", &config.guest);
	mac_parse("52:54:00:00:00:01", &config.gateway_mac);
	return config;
}

static void configure_web(void)
{
	struct outcome outcome = {0};
	struct worker_config config = config_of(-1);

	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_msg(outcome.code == 0, "configure: %s", outcome.text);
}

/* A listening TCP socket on loopback; *port is its. */
static int listener(uint16_t *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, len), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	getsockname(fd, (struct sockaddr *)&sin, &len);
	*port = ntohs(sin.sin_port);
	return fd;
}

static bool port_is_free(uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(port)};
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, false), one = 1;
	bool free_now;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	free_now = bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0;
	close(fd);
	return free_now;
}

/* Adds a forward and closes our own copy of its listener. */
static uint16_t forward_web(void)
{
	struct worker_forward forward = {.proto = 6, .target_port = 80};
	struct outcome outcome = {0};
	uint16_t port;

	forward.fd = listener(&port);
	addr_parse("127.0.0.1", &forward.listen.addr);
	forward.listen.port = port;
	snprintf(forward.id, sizeof(forward.id), "tcp:127.0.0.1:%u", port);
	worker_client_forward_add(web.client, &forward, on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_msg(outcome.code == 0, "forward: %s", outcome.text);
	close(forward.fd);
	return port;
}

/* As kill -9 of netctld would: no word to anybody. */
static void lose_netctld(void)
{
	supervisor_free(supervisor);
	supervisor = make(false, program);
}

/* ---- a worker's life ---- */

START_TEST(a_wanted_worker_comes_and_greets)
{
	struct supervised_info info;

	start_web();
	supervised_info(web.slot, &info);
	ck_assert_int_eq(info.state, SUPERVISED_UP);
	ck_assert_int_eq(web.how, SUPERVISED_NEW);
	ck_assert_int_gt(info.pid, 1);
	ck_assert(!info.outdated);
	ck_assert_int_eq(spawner_up, 1);
	ck_assert_uint_eq(worker_client_version(web.client), RPC_VERSION);
}
END_TEST

static void on_description(void *arg, int code, const char *text, struct worker_description *d)
{
	struct outcome *outcome = arg;

	on_done(outcome, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert(d->configured);
	ck_assert_str_eq(d->vm, "web");
	ck_assert_uint_eq(d->mtu, 1500);
	ck_assert_int_ge(d->flow_memory, 0);
	ck_assert_int_eq(d->link, WORKER_LINK_NONE);
	ck_assert(*d->sandbox);
}

START_TEST(a_configured_worker_describes_itself)
{
	struct outcome outcome = {0}, again = {0};
	int memory = os_shm_create("flows", FLOW_MEMORY_SIZE);
	struct worker_config config = config_of(memory);

	start_web();
	worker_client_configure(web.client, &config, on_done, &outcome);
	worker_client_describe(web.client, on_description, &again);
	close(memory);
	WAIT(again.calls, 2000);
	ck_assert_int_eq(outcome.code, 0);
	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls == 2, 2000);
	ck_assert_int_lt(outcome.code, 0);
}
END_TEST

START_TEST(nothing_but_a_configuration_comes_first)
{
	struct outcome outcome = {0};

	start_web();
	worker_client_forward_delete(web.client, "tcp:127.0.0.1:1", on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
	ck_assert_str_eq(outcome.text, "not configured yet");
}
END_TEST

START_TEST(bad_values_are_refused_by_the_worker)
{
	struct outcome outcome = {0};
	struct worker_config config = config_of(-1);

	start_web();
	config.mtu = 100;
	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
	config = config_of(-1);
	addr_parse("10.0.3.15", &config.guest);
	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls == 2, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
	configure_web();
	worker_client_link_set(web.client, WORKER_LINK_STREAM, -1, true, 0, on_done, &outcome);
	WAIT(outcome.calls == 3, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
}
END_TEST

static void on_forwards(
	void *arg, int code, const char *text, struct worker_forward *forwards, size_t n)
{
	struct outcome *outcome = arg;

	on_done(outcome, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert_uint_eq(n, 40);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_ge(forwards[i].fd, 0);
		ck_assert_uint_eq(forwards[i].target_port, 80);
	}
}

START_TEST(forwards_come_back_over_several_pages)
{
	struct outcome outcome = {0};

	start_web();
	configure_web();
	for (int i = 0; i < 40; i++)
		forward_web();
	worker_client_forwards(web.client, on_forwards, &outcome);
	WAIT(outcome.calls, 2000);
}
END_TEST

static void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	on_done(arg, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert_uint_gt(stats->n_counters, 10);
}

static void on_flows(
	void *arg, int code, const char *text, const struct worker_flow *flows, size_t n, bool more)
{
	(void)flows;
	on_done(arg, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert_uint_eq(n, 0);
	ck_assert(!more);
}

START_TEST(a_worker_tells_its_counters_and_flows)
{
	struct outcome stats = {0}, flows = {0};

	start_web();
	configure_web();
	worker_client_stats(web.client, on_stats, &stats);
	worker_client_flows(web.client, 100, on_flows, &flows);
	WAIT(stats.calls && flows.calls, 2000);
}
END_TEST

START_TEST(a_killed_worker_is_replaced_within_a_second)
{
	struct outcome outcome = {0};
	uint64_t since;

	start_web();
	since = clock_ms();
	kill(worker_pid(&web), SIGSTOP); /* so that this call is under way */
	worker_client_forward_delete(web.client, "x", on_done, &outcome);
	kill(worker_pid(&web), SIGKILL);
	WAIT(web.ups == 2, 5000);
	ck_assert_int_le((int)(clock_ms() - since), 1000);
	ck_assert_int_eq(web.downs, 1);
	ck_assert_str_eq(web.text, "killed by signal 9");
	ck_assert_int_eq(web.how, SUPERVISED_AGAIN);
	ck_assert_int_eq(outcome.calls, 1);
	ck_assert_int_eq(outcome.code, -ECONNRESET);
}
END_TEST

START_TEST(the_back_off_doubles)
{
	struct supervised_info info;
	uint64_t since;

	start_web();
	since = clock_ms();
	for (int i = 0; i < 4; i++) {
		kill(worker_pid(&web), SIGKILL);
		WAIT(web.ups == i + 2, 5000);
	}
	ck_assert_int_ge((int)(clock_ms() - since), 50 + 100 + 200 + 400);
	supervised_info(web.slot, &info);
	ck_assert_uint_eq(info.restarts, 4);
}
END_TEST

START_TEST(supervised_kill_replaces)
{
	start_web();
	supervised_kill(web.slot);
	WAIT(web.ups == 2, 5000);
	ck_assert_int_eq(web.downs, 1);
}
END_TEST

START_TEST(a_worker_not_wanted_any_more_ends_in_peace)
{
	struct outcome outcome = {0};
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	kill(pid, SIGSTOP);
	worker_client_forward_delete(web.client, "x", on_done, &outcome);
	supervised_want(web.slot, false);
	ck_assert_int_eq(outcome.code, -ECANCELED);
	kill(pid, SIGCONT);
	WAIT(kill(pid, 0) < 0, 1500);
	ck_assert_int_eq(web.downs, 0);
	supervised_want(web.slot, true);
	WAIT(web.ups == 2, 5000);
	ck_assert_int_eq(web.how, SUPERVISED_NEW);
}
END_TEST

START_TEST(a_removed_worker_leaves_its_ports_free)
{
	uint16_t port;

	start_web();
	configure_web();
	port = forward_web();
	ck_assert(!port_is_free(port));
	supervised_remove(web.slot, on_gone, &web);
	WAIT(web.gone, 3000);
	ck_assert(port_is_free(port));
	ck_assert_int_eq(web.downs, 0);
}
END_TEST

START_TEST(a_worker_that_does_not_end_is_killed)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	kill(pid, SIGSTOP);
	supervised_remove(web.slot, on_gone, &web);
	WAIT(web.gone, 4000);
	ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(a_slot_without_worker_goes_at_once)
{
	add(&db, "db");
	supervisor_start(supervisor);
	supervised_remove(db.slot, on_gone, &db);
	ck_assert_int_eq(db.gone, 0);
	WAIT(db.gone, 1000);
}
END_TEST

START_TEST(names_are_taken_once)
{
	int err;

	add(&web, "web");
	ck_assert_ptr_null(supervisor_add(supervisor, "web", &slot_ops, &web, &err));
	ck_assert_int_eq(err, -EEXIST);
}
END_TEST

/* ---- netctld's death ---- */

START_TEST(a_live_worker_is_adopted_with_its_listeners)
{
	struct outcome outcome = {0};
	uint16_t port;
	pid_t pid;

	start_web();
	configure_web();
	pid = worker_pid(&web);
	for (int i = 0; i < 39; i++)
		forward_web();
	port = forward_web();
	lose_netctld();
	ck_assert(!port_is_free(port));
	start_web();
	ck_assert_int_eq(web.how, SUPERVISED_ADOPTED);
	ck_assert_int_eq(worker_pid(&web), pid);
	worker_client_forwards(web.client, on_forwards, &outcome);
	WAIT(outcome.calls, 2000);
	WAIT(spawner_up, 1000);
}
END_TEST

START_TEST(a_worker_is_adopted_again_and_again)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	for (int i = 0; i < 5; i++) {
		lose_netctld();
		start_web();
		ck_assert_int_eq(worker_pid(&web), pid);
	}
}
END_TEST

START_TEST(a_worker_of_no_vm_is_killed)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	lose_netctld();
	add(&db, "db");
	supervisor_start(supervisor);
	WAIT(kill(pid, 0) < 0, 3000);
}
END_TEST

START_TEST(an_adopted_worker_that_hangs_is_replaced)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	kill(pid, SIGSTOP);
	lose_netctld();
	add(&web, "web");
	supervised_want(web.slot, true);
	supervisor_start(supervisor);
	WAIT(web.ups == 1, 10000);
	ck_assert_int_ne(worker_pid(&web), pid);
	ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(what_our_predecessor_started_ends_with_us)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	lose_netctld();
	start_web();
	stop_count = 0;
	supervisor_stop(supervisor, on_stopped, NULL);
	WAIT(stop_count, 2000);
	ck_assert_int_lt(kill(pid, 0), 0);
	lose_netctld();
}
END_TEST

/* ---- the spawner's death ---- */

static pid_t start_foreign_spawner(void)
{
	char path[128];
	pid_t pid = fork();

	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	if (pid == 0) {
		execl(program, "netdp", "--listen", path, "--log-level", "error", (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 500; i++) {
		int fd = unix_connect(path, SOCK_STREAM, 0, false);

		if (fd >= 0) {
			close(fd);
			return pid;
		}
		usleep(10000);
	}
	ck_abort_msg("no spawner");
	return -1;
}

START_TEST(workers_outlive_their_spawner)
{
	struct outcome outcome = {0};
	pid_t spawner = start_foreign_spawner(), pid;

	start_web();
	pid = worker_pid(&web);
	kill(spawner, SIGKILL);
	waitpid(spawner, NULL, 0);
	WAIT(!supervisor_spawner_up(supervisor), 1000);
	worker_client_stats(web.client, on_stats, &outcome);
	WAIT(outcome.calls, 1000);
	WAIT(supervisor_spawner_up(supervisor), 3000); /* one of our own */
	ck_assert_int_eq(worker_pid(&web), pid);
	add(&db, "db");
	supervised_want(db.slot, true);
	WAIT(db.ups, 5000);
	/* Without its spawner a worker still ends, and is replaced. */
	kill(pid, SIGKILL);
	WAIT(web.ups == 2, 3000);
	ck_assert_int_eq(web.downs, 1);
}
END_TEST

START_TEST(a_worker_without_spawner_and_netctld_closes_its_listeners)
{
	pid_t spawner = start_foreign_spawner(), pid;
	uint16_t port;

	start_web();
	configure_web();
	pid = worker_pid(&web);
	port = forward_web();
	kill(spawner, SIGKILL);
	waitpid(spawner, NULL, 0);
	lose_netctld();
	WAIT(port_is_free(port), 2000);
	ck_assert_int_eq(kill(pid, 0), 0);
	kill(pid, SIGTERM);
	WAIT(kill(pid, 0) < 0, 2000);
}
END_TEST

START_TEST(a_spawner_that_was_found_is_left)
{
	pid_t spawner = start_foreign_spawner(), pid;
	int status;

	start_web();
	pid = worker_pid(&web);
	stop_count = 0;
	supervisor_stop(supervisor, on_stopped, NULL);
	WAIT(stop_count, 1000);
	usleep(100000);
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(kill(spawner, 0), 0);
	kill(spawner, SIGTERM);
	ck_assert_int_eq(waitpid(spawner, &status, 0), spawner);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_lt(kill(pid, 0), 0);
	lose_netctld();
}
END_TEST

START_TEST(a_missing_spawner_is_waited_for)
{
	pid_t spawner;

	supervisor_free(supervisor);
	supervisor = make(true, NULL);
	add(&web, "web");
	supervised_want(web.slot, true);
	supervisor_start(supervisor);
	WAIT(spawner_told, 1000);
	ck_assert_int_eq(spawner_up, 0);
	ck_assert_ptr_nonnull(strstr(spawner_text, "no such file or directory"));
	spawner = start_foreign_spawner();
	WAIT(web.ups, 3000);
	kill(spawner, SIGTERM);
	waitpid(spawner, NULL, 0);
	WAIT(web.downs, 1000);
}
END_TEST

START_TEST(a_missing_program_is_named)
{
	supervisor_free(supervisor);
	supervisor = make(false, "/nonexistent/netdp");
	supervisor_start(supervisor);
	WAIT(spawner_told, 1000);
	ck_assert_str_eq(spawner_text,
		"netdp cannot be started: /nonexistent/netdp: no such file or directory");
}
END_TEST

/* ---- strangers ---- */

START_TEST(a_spawner_of_another_version_is_named)
{
	static const uint8_t hello[] = {0, 0, 0, 4, 0x1a, 2, 0x08, 7};
	char path[128];
	int fd, got = -1;

	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	fd = unix_listen(path, SOCK_STREAM, 0600);
	supervisor_start(supervisor);
	for (int i = 0; i < 200 && got < 0; i++) {
		turn();
		got = os_accept(fd, NULL, NULL);
	}
	ck_assert_int_eq(os_send(got, hello, sizeof(hello), 0), (ssize_t)sizeof(hello));
	WAIT(spawner_told, 2000);
	ck_assert_int_eq(spawner_up, 0);
	ck_assert_ptr_nonnull(strstr(spawner_text, "speaks protocol 7, this program 1"));
	close(got);
	close(fd);
}
END_TEST

START_TEST(the_spawner_survives_garbage)
{
	char path[128], junk[64];
	int fd;

	start_web();
	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	for (int i = 0; i < 50; i++) {
		os_random(junk, sizeof(junk));
		fd = unix_connect(path, SOCK_STREAM, 1000, false);
		ck_assert_int_ge(fd, 0);
		ck_assert(os_send(fd, junk, sizeof(junk), 0) > 0);
		close(fd);
	}
	add(&db, "db");
	supervised_want(db.slot, true);
	WAIT(db.ups, 5000);
}
END_TEST

static Suite *supervisor_suite(void)
{
	const TTest *const tests[] = {
		a_wanted_worker_comes_and_greets,
		a_configured_worker_describes_itself,
		nothing_but_a_configuration_comes_first,
		bad_values_are_refused_by_the_worker,
		forwards_come_back_over_several_pages,
		a_worker_tells_its_counters_and_flows,
		a_killed_worker_is_replaced_within_a_second,
		the_back_off_doubles,
		supervised_kill_replaces,
		a_worker_not_wanted_any_more_ends_in_peace,
		a_removed_worker_leaves_its_ports_free,
		a_worker_that_does_not_end_is_killed,
		a_slot_without_worker_goes_at_once,
		names_are_taken_once,
		a_live_worker_is_adopted_with_its_listeners,
		a_worker_is_adopted_again_and_again,
		a_worker_of_no_vm_is_killed,
		an_adopted_worker_that_hangs_is_replaced,
		what_our_predecessor_started_ends_with_us,
		workers_outlive_their_spawner,
		a_worker_without_spawner_and_netctld_closes_its_listeners,
		a_spawner_that_was_found_is_left,
		a_missing_spawner_is_waited_for,
		a_missing_program_is_named,
		a_spawner_of_another_version_is_named,
		the_spawner_survives_garbage,
	};
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return run_suite(supervisor_suite());
}
