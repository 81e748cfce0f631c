/* SPDX-License-Identifier: MIT */
/*
 * Keeps a worker alive for each VM that wants one.
 *
 * The supervisor finds the spawner at RUNTIME/netdp.sock, or starts one of its own there when
 * nobody answers (it runs in a session of its own, so that no death of netctld reaches it, and the
 * next netctld finds it again). Each VM has a slot, a struct supervised:
 *
 *	                    want                  Spawned, Hello             control lost
 *	   IDLE ───────────────────► STARTING ───────────────► UP ──────────────────────► BACKOFF
 *	    ▲  ▲                         ▲  │ refused           ▲ │ want(false)               │
 *	    │  └─────────────────────────┼──┼───────────────────┼─┘                           │
 *	    │ (no spawner: STARTING      │  └───────────────────┼────────► BACKOFF            │
 *	    │  waits for one)            └──────────────────────┼─────────────────────────────┘
 *	    └── adoption: the spawner's list names a live worker of this VM ─► UP
 *
 * Back-off is 50 ms doubling to 5 s and starts over after 10 s of good life.
 *
 * Adoption. At the first answer of a spawner its list of live workers is matched with the slots by
 * VM name: so add the slots of all VMs of the store *before* supervisor_start(). A live worker
 * is adopted whether its slot wants one or not (up(), ADOPTED); those that match no slot, or a
 * slot that has a worker already, are killed. Once the list has been worked through, slots that
 * want a worker and have none get one, and ops.spawner says so (up = true).
 *
 * The spawner's death. Workers live on over their control connections; slots that need a worker
 * wait. The supervisor looks for a spawner (starting its own if it may) with the same back-off.
 * Such older workers cannot be adopted by a later netctld, they end 10 min after it.
 *
 * Stopping. supervisor_stop(): a spawner that some netctld of this runtime directory started is
 * told to end, with all its workers, orderly; one that somebody else runs (systemd, launchd) is
 * left alone, with workers, flows and listeners.
 *
 * All on netctld's libevent loop, one thread. No callback is called from inside a function here, but
 * for one: supervised_want(false), supervised_remove(), supervisor_stop() and supervisor_free() fail
 * the pending requests of the clients they take away, with -ECANCELED.
 */
#ifndef CTL_SUPERVISOR_H
#define CTL_SUPERVISOR_H

#include "ctl/worker_client.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct supervisor;
struct supervised;

struct supervisor_config {
	const char *runtime_dir; /* where netdp.sock lies */
	const char *log_level;   /* for a spawner that we start, or NULL */
	const char *netdp;       /* the program to start; NULL: beside our own, then in $PATH */
	bool no_start;           /* never start a spawner, wait for one */
	bool sandbox_weak;       /* let workers go on with a weak sandbox, else they refuse */
};

struct supervisor_ops {
	/* A spawner is there (up; live workers were adopted) or not (text says why: "netdp at
	 * /run/netctl/netdp.sock: speaks protocol 7, netctld 1"). Called at each change. */
	void (*spawner)(void *arg, bool up, const char *text);
};

enum supervised_how {
	SUPERVISED_NEW,     /* first worker of this slot: configure it */
	SUPERVISED_AGAIN,   /* after a worker's death: configure it, with reset_flows */
	SUPERVISED_ADOPTED, /* live and at work: ask for its description and forwards; configure it
			     * if it says that it never was */
};

struct supervised_ops {
	/* The slot has a worker. client is valid until down() returns, or until supervised_remove()
	 * or supervised_want(false). */
	void (*up)(void *arg, struct worker_client *client, enum supervised_how how);
	/* The worker is gone by itself (pending requests were failed before). A new one comes after
	 * the back-off if the slot still wants one. text: "killed by signal 9", "exited with status
	 * 1", "broke the protocol: …", "connection lost". */
	void (*down)(void *arg, const char *text);
	/* No worker could be started; another try follows by itself. Called at most once per try. */
	void (*failed)(void *arg, int code, const char *text);
	struct worker_client_events events;
};

enum supervised_state {
	SUPERVISED_IDLE,
	SUPERVISED_STARTING,
	SUPERVISED_UP,
	SUPERVISED_BACKOFF,
};

struct supervised_info {
	enum supervised_state state;
	pid_t pid;         /* of the live worker, else 0 */
	int64_t since_ms;  /* wall clock; of the live worker */
	uint32_t restarts; /* workers that died by themselves, in this netctld's life */
	bool outdated;     /* the live worker is of another release than this netctld */
};

/* config's strings are copied. NULL without memory. */
struct supervisor *supervisor_new(struct event_base *base, const struct supervisor_config *config,
	const struct supervisor_ops *ops, void *arg);
/* Begins to look for a spawner. */
void supervisor_start(struct supervisor *supervisor);
bool supervisor_spawner_up(const struct supervisor *supervisor);
/* See "Stopping" above. `stopped` is called when it is done, after 2 s at the latest; slots see no
 * down() any more, and their clients are gone when it is called. */
void supervisor_stop(struct supervisor *supervisor, void (*stopped)(void *arg), void *arg);
/* Frees all slots too, without a callback. Ends no process. Not from a callback. */
void supervisor_free(struct supervisor *supervisor);

/* A slot for the VM `name`; it does not want a worker yet. ops must outlive it; arg goes with ops
 * and its events. -EEXIST in *err where there is a slot of that name, -ENOMEM. */
struct supervised *supervisor_add(struct supervisor *supervisor, const char *name,
	const struct supervised_ops *ops, void *arg, int *err);
/* Whether this VM is to have a worker. false ends a live one orderly (killed after 2 s). */
void supervised_want(struct supervised *slot, bool want);
/* Ends the worker, if any (orderly; killed after 2 s), and frees the slot: ops are not called any
 * more. `gone` (may be NULL) is called from the loop once no process holds duplicates of this VM's
 * sockets any more, so that its ports and paths are free again. */
void supervised_remove(struct supervised *slot, void (*gone)(void *arg), void *arg);
/* Kills the live worker at once; down() and a new worker follow as after any death. */
void supervised_kill(struct supervised *slot);
/* The client of the live worker, or NULL. */
struct worker_client *supervised_client(struct supervised *slot);
void supervised_info(const struct supervised *slot, struct supervised_info *info);

#endif
