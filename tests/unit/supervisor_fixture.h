/* SPDX-License-Identifier: MIT */
/*
 * What the tests of ctl/supervisor.h share: a supervisor in a directory of its own with the real
 * netdp, $NETCTL_BIN/netdp, and VMs that note what they are told.
 */
#ifndef TESTS_UNIT_SUPERVISOR_FIXTURE_H
#define TESTS_UNIT_SUPERVISOR_FIXTURE_H

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

static inline void on_spawner(void *arg, bool up, const char *text)
{
	(void)arg;
	spawner_told++;
	spawner_up = up;
	snprintf(spawner_text, sizeof(spawner_text), "%s", text);
}

static const struct supervisor_ops supervisor_ops = {on_spawner};

static inline void on_up(void *arg, struct worker_client *client, enum supervised_how how)
{
	struct vm *vm = arg;

	vm->ups++;
	vm->client = client;
	vm->how = how;
}

static inline void on_down(void *arg, const char *text)
{
	struct vm *vm = arg;

	vm->downs++;
	vm->client = NULL;
	snprintf(vm->text, sizeof(vm->text), "%s", text);
}

static inline void on_failed(void *arg, int code, const char *text)
{
	struct vm *vm = arg;

	(void)code;
	vm->fails++;
	snprintf(vm->text, sizeof(vm->text), "%s", text);
}

static inline void on_gone(void *arg)
{
	struct vm *vm = arg;

	vm->gone++;
}

static inline void on_link(void *arg, const struct worker_link_event *event)
{
	struct vm *vm = arg;

	(void)event;
	vm->links++;
}

static inline void on_names(void *arg, const struct worker_name *names, size_t n)
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

static inline void on_done(void *arg, int code, const char *text)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	outcome->code = code;
	snprintf(outcome->text, sizeof(outcome->text), "%s", text);
}

/* ---- helpers ---- */

/* Turns the loop until cond holds, for ms at most. */
/* A busy machine must not fail a test; how long something may take is claimed where it is the point. */
#define PATIENCE 5u
#define WAIT(cond, ms)                                                                             \
	do {                                                                                       \
		uint64_t until = clock_ms() + PATIENCE * (ms);                                     \
		while (!(cond) && clock_ms() < until)                                              \
			turn();                                                                    \
		ck_assert_msg((cond), "not in time: %s", #cond);                                   \
	} while (0)

/* Whether a process has ended. One that is nobody's child any more may stay a zombie for long where
 * process 1 reaps lazily. */
static inline bool has_ended(pid_t pid)
{
	char path[40], text[256], *state;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (!file)
		return true;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	state = strrchr(text, ')');
	return state && state[1] && state[2] == 'Z';
}

static inline void turn(void)
{
	struct timeval tv = {.tv_usec = 5000};

	event_base_loopexit(base, &tv);
	event_base_loop(base, EVLOOP_ONCE);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static inline struct supervisor *make(bool no_start, const char *netdp)
{
	struct supervisor_config config = {.runtime_dir = directory,
		.netdp = netdp,
		.no_start = no_start,
		.sandbox_weak = true,
		.log_level = "error"};

	spawner_up = spawner_told = 0;
	return supervisor_new(base, &config, &supervisor_ops, NULL);
}

static inline void add(struct vm *vm, const char *name)
{
	int err;

	memset(vm, 0, sizeof(*vm));
	vm->slot = supervisor_add(supervisor, name, &slot_ops, vm, &err);
	ck_assert_ptr_nonnull(vm->slot);
}

static inline void setup(void)
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

static inline void on_stopped(void *arg)
{
	(void)arg;
	stop_count++;
}

static inline void teardown(void)
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

static inline pid_t worker_pid(struct vm *vm)
{
	struct supervised_info info;

	supervised_info(vm->slot, &info);
	return info.pid;
}

static inline void start_web(void)
{
	add(&web, "web");
	supervised_want(web.slot, true);
	supervisor_start(supervisor);
	WAIT(web.ups == 1, 10000);
}

static inline struct worker_config config_of(int flow_memory)
{
	struct worker_config config = {
		.vm = "web", .mtu = 1500, .hostname = "web", .flow_memory = flow_memory};

	prefix_parse("10.0.2.0/24", false, &config.subnet);
	addr_parse("10.0.2.2", &config.gateway);
	addr_parse("10.0.2.15", &config.guest);
	mac_parse("52:54:00:00:00:01", &config.gateway_mac);
	return config;
}

static inline void configure_web(void)
{
	struct outcome outcome = {0};
	struct worker_config config = config_of(-1);

	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_msg(outcome.code == 0, "configure: %s", outcome.text);
}

/* A listening TCP socket on loopback; *port is its. */
static inline int listener(uint16_t *port)
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

static inline bool port_is_free(uint16_t port)
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
static inline uint16_t forward_web(void)
{
	struct worker_forward forward = {.proto = 6, .target = {WORKER_TO_PORT, 80}};
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
static inline void lose_netctld(void)
{
	supervisor_free(supervisor);
	supervisor = make(false, program);
}

static inline void on_forwards(
	void *arg, int code, const char *text, struct worker_forward *forwards, size_t n)
{
	struct outcome *outcome = arg;

	on_done(outcome, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert_uint_eq(n, 40);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_ge(forwards[i].fd, 0);
		ck_assert_uint_eq(forwards[i].target.port, 80);
	}
}

static inline void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	on_done(arg, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert_uint_gt(stats->n_counters, 10);
}

#endif
