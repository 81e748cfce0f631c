/* SPDX-License-Identifier: MIT */
/*
 * What supervisor.c (slots and their workers) and spawner_client.c (finding, starting and asking the
 * spawner) share.
 *
 * A slot is what a VM holds; a process is a worker, which may outlive its slot while it ends.
 */
#ifndef CTL_SUPERVISOR_INTERNAL_H
#define CTL_SUPERVISOR_INTERNAL_H

#include "common/unix_socket.h"
#include "ctl/supervisor.h"
#include "proto/rpc.h"

#include <event2/event.h>
#include <limits.h>
#include <sys/queue.h>

struct process {
	LIST_ENTRY(process) link;
	struct supervisor *supervisor;
	struct supervised *slot; /* NULL once its slot does not want it any more */
	char vm[64];
	uint64_t number; /* the spawner's, 0 until it told */
	pid_t pid;       /* 0 until the spawner told */
	int64_t since_ms;
	enum supervised_how how;
	struct worker_client *client; /* NULL until the spawner answered */
	struct event *timer;          /* patience: with Hello, with the end */
	bool known;  /* the connected spawner has it: can kill it, will tell of its end */
	bool ready;  /* its Hello came */
	bool closed; /* its control connection ended */
	bool exited; /* the spawner told of its end */
	bool killed; /* we asked for that */
	int code;
	char text[256]; /* why it ended, as far as known */
	void (*gone)(void *arg);
	void *gone_arg;
};

struct supervised {
	LIST_ENTRY(supervised) link;
	struct supervisor *supervisor;
	char name[64];
	const struct supervised_ops *ops;
	void *arg;
	bool want;
	bool had_worker; /* so the next one's is AGAIN */
	enum supervised_state state;
	struct process *process;
	struct event *backoff;
	unsigned delay_ms; /* of the next back-off */
	uint64_t up_since; /* clock_ms() */
	uint32_t restarts;
};

struct supervisor {
	struct event_base *base;
	char path[128]; /* netdp.sock */
	char netdp[PATH_MAX];
	char log_level[16];
	bool no_start;
	bool sandbox_weak;
	const struct supervisor_ops *ops;
	void *arg;

	struct rpc *spawner; /* NULL while there is no connection */
	bool spawner_owned;  /* a netctld started it */
	bool listed;         /* its list was gone through: spawning may begin */
	struct event *tell;  /* activated when ops.spawner may have news */
	bool told;           /* anything yet, */
	bool told_up;        /* namely this */
	char told_why[256];
	bool adopted_once;
	unsigned adopting; /* adoptions under way; told_up waits for them */
	struct event *retry;
	unsigned delay_ms;
	char why[256]; /* why there is none */

	LIST_HEAD(, supervised) slots;
	LIST_HEAD(, process) processes;

	bool stopping;
	struct event *stop_timer;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* ---- spawner_client.c ---- */

void spawner_connect(struct supervisor *supervisor);
/* Takes the process to have been asked for; process_spawned() or process_failed() follow. */
void spawner_spawn(struct process *process);
/* Kills it by whatever way there is. */
void spawner_kill(struct process *process);
void spawner_shutdown(struct supervisor *supervisor);

/* ---- supervisor.c ---- */

struct process *process_new(struct supervisor *supervisor, struct supervised *slot, const char *vm,
	enum supervised_how how);
/* The spawner's answer; takes fd. */
void process_spawned(struct process *process, uint64_t number, pid_t pid, int fd);
/* No worker came of it. code -ECONNRESET: for want of a spawner. */
void process_failed(struct process *process, int code, const char *text);
/* waitpid(2)'s status. */
void process_exited(struct process *process, int status);
/* There is no connected spawner any more. */
void process_forgotten(struct process *process);
struct supervised *slot_find(struct supervisor *supervisor, const char *name);
/* The spawner's list is done: start what waits. */
void slots_start(struct supervisor *supervisor);
/* ops.spawner is called from the loop if there are news for it. */
void supervisor_tell(struct supervisor *supervisor);
void supervisor_finish_stop(struct supervisor *supervisor);

void timer_set(struct event *timer, unsigned ms);

#endif
