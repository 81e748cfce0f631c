/* SPDX-License-Identifier: MIT */
/*
 * How `netctl run` is put together on Linux.
 *
 *	netctl run ──clone──► init ──fork──► COMMAND          init is process 1 of a PID namespace
 *	    │                                                 and of net, mount and perhaps user ones
 *	    └──fork──► watch ──fork──► netctld                only where one is needed
 *
 * netctl keeps the attach connection, and with it the VM; it passes signals on. init makes the
 * namespaces' insides, gives up all capabilities, starts COMMAND, reaps and tells the end. When
 * netctl dies, however it does, the kernel kills init (PR_SET_PDEATHSIG) and with it the whole
 * PID namespace, netctld sees the attach connection close and deletes the VM, and the watch sees
 * its pipe close, ends the private netctld and removes what lies in the file system.
 *
 * netctl and init talk over a SOCK_SEQPACKET pair; a message is a struct run_message:
 *
 *	netctl ► init   GO         its id maps are written
 *	init ► netctl   TAP        with the tap's fd
 *	netctl ► init   NET        addresses to set; COMMAND may start
 *	netctl ► init   SIGNAL     to be given to COMMAND
 *	init ► netctl   STOPPED    COMMAND is (where it has a process group of its own)
 *	netctl ► init   CONTINUE   COMMAND, in the foreground or not
 *	init ► netctl   FAILED     text; init exits
 * The end is told by init's exit status.
 */
#ifndef CLI_RUN_LINUX_H
#define CLI_RUN_LINUX_H

#include "cli/run.h"

#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_IFNAME "eth0"
#define RUN_MAX_HIDDEN 12

enum run_message_type {
	RUN_GO = 1,
	RUN_TAP,
	RUN_NET,
	RUN_SIGNAL,
	RUN_STOPPED,
	RUN_CONTINUE,
	RUN_FAILED,
};

/* What the VM's document says of the guest's network. */
struct run_net {
	struct in_addr guest, gateway, mask; /* network order */
	uint32_t mtu;
	uint8_t mac[6];   /* all zero: the kernel's choice */
	char search[256]; /* of resolv.conf, blank-separated */
};

struct run_message {
	enum run_message_type type;
	union {
		int signal;
		bool foreground; /* of STOPPED and CONTINUE: has or gets the terminal */
		struct run_net net;
		char text[512];
	};
};

/* Directories and sockets to hide from COMMAND, as the host names them. */
struct run_hidden {
	char path[RUN_MAX_HIDDEN][256];
	size_t n;
};

/* What init gets. Lives in netctl's memory at the clone. */
struct run_setup {
	char **command;
	const struct run_hidden *hidden;
	bool userns;
	bool map_root;
	bool own_group; /* COMMAND is the terminal's foreground process group */
	int control;    /* init's end */
	int other;      /* netctl's end, to be closed */
	int watch;      /* the watch's pipe, to be closed, or -1 */
	sigset_t mask;  /* COMMAND's */
};

struct run_child {
	pid_t pid;
	int control;
};

/* --- run_child_linux.c --- */

/* Clones init and writes its id maps. Returns 0, or -1 with the message printed. */
int run_child_start(const struct run *run, struct run_setup *setup, struct run_child *child);
/* Each returns 0 or -errno; run_receive gives an fd or -1 in *fd. */
int run_send(int control, const struct run_message *msg, int fd);
int run_receive(int control, struct run_message *msg, int *fd);

/* --- run_netns_linux.c: in init. Each returns 0, or -1 with the text in msg. --- */

int run_netns_open_tap(int *fd, struct run_message *msg);
int run_netns_configure(const struct run_net *net, struct run_message *msg);

/* --- run_mount_linux.c: in init --- */

int run_mount_all(
	const struct run_setup *setup, const struct run_net *net, struct run_message *msg);
/* In netctl: what to hide for a daemon whose api.sock is at path; root is the directory of a
 * private daemon or NULL. */
void run_mount_hide(const char *api_path, const char *root, struct run_hidden *hidden);

/* --- run_daemon_linux.c: in netctl --- */

struct run_watch {
	pid_t pid;      /* 0: there is none */
	int pipe;       /* its end is what the watch waits for */
	char root[128]; /* a private daemon's directory, or "" */
};

/* Starts a watch over the paths of handed sockets, and over a private netctld if `daemon`: then
 * waits until that answers and makes it the one in use. Returns 0, or -1 with the message printed. */
int run_watch_start(struct run *run, bool daemon, struct run_watch *watch);
/* Lets the watch do its work and waits for it. */
void run_watch_end(struct run_watch *watch);

/* Fills a FAILED message; returns -1. */
int run_fail(struct run_message *msg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
