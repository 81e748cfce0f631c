/* SPDX-License-Identifier: MIT */
/*
 * netctl run on Linux: netctl's own part. See run_linux.h for how it is put together.
 *
 * The VM belongs to the attach connection. When netctld goes, its worker may serve COMMAND for a
 * while without it; netctl keeps the tap and gives it to the next netctld that answers at the
 * same place. Connections that stood then end, new ones work.
 */
#include "cli/run_linux.h"

#include "cli/attach.h"
#include "cli/json.h"
#include "cli/socket.h"
#include "common/addr.h"
#include "common/error.h"
#include "common/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETRY_MS 500

struct session {
	struct run *run;
	struct run_child child; /* pid is -1 where there is none */
	int tap;
	int sock; /* the attach connection, or -1 */
	int sigfd;
	bool own_group;     /* COMMAND's, see run_child_linux.c */
	bool may_come_back; /* the daemon is not our own */
};

/* What is passed on to COMMAND, beside the children's end. */
static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGQUIT, SIGUSR1, SIGUSR2};

/* --- the VM --- */

static void make_name(char *buf, size_t len)
{
	uint16_t r;

	os_random(&r, sizeof(r));
	snprintf(buf, len, "run-%d-%04x", (int)getpid(), r);
}

/* "search a b" or "domain a" of the host's resolv.conf. */
static void host_search(char *buf, size_t len)
{
	FILE *file = fopen("/etc/resolv.conf", "re");
	char line[256];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		size_t skip = strcspn(line, " \t");

		line[strcspn(line, "\n")] = '\0';
		if ((skip == 6) && (!strncmp(line, "search", 6) || !strncmp(line, "domain", 6)) &&
			line[6])
			snprintf(buf, len, "%s", line + 7);
	}
	fclose(file);
}

static void take_search(struct json_object *vm, struct run_net *net)
{
	size_t n, used = 0;
	struct json_object *search = doc_array(vm, "dns.search", &n);

	for (size_t i = 0; i < n && used < sizeof(net->search); i++)
		used += (size_t)snprintf(net->search + used, sizeof(net->search) - used, "%s%s",
			i ? " " : "", doc_text(json_object_array_get_idx(search, i), ""));
	if (!n)
		host_search(net->search, sizeof(net->search));
}

static int take_net(const struct run *run, struct json_object *vm, struct run_net *net)
{
	const char *mac = doc_text(vm, "net.mac");
	struct prefix subnet;
	struct mac parsed;
	int64_t mtu = doc_int(vm, "link.mtu");

	memset(net, 0, sizeof(*net));
	if (prefix_parse(doc_text(vm, "net.subnet"), true, &subnet) < 0 || subnet.bits < 96 ||
		inet_pton(AF_INET, doc_text(vm, "net.guest"), &net->guest) != 1 ||
		inet_pton(AF_INET, doc_text(vm, "net.gateway"), &net->gateway) != 1)
		return cli_error(
			run->cli, -1, "netctld's answer has no network: %s", doc_text(vm, "net"));
	if (subnet.bits > 96)
		net->mask.s_addr = htonl(~0u << (128 - subnet.bits));
	if (*mac && mac_parse(mac, &parsed) == 0)
		memcpy(net->mac, parsed.b, sizeof(net->mac));
	net->mtu = mtu >= 68 && mtu <= RUN_DEFAULT_MTU ? (uint32_t)mtu
						       : (uint32_t)doc_int(run->body, "link.mtu");
	take_search(vm, net);
	return 0;
}

/* Anew for each daemon: one that comes back has lost what its predecessor was given. */
static int hand_vsock(struct session *s, const char *name)
{
	struct vsock_option *vsock = &s->run->vsock;
	int status = vsock_option_open(s->run->cli, vsock, false);

	if (!status)
		status = vsock_option_hand(s->run->cli, vsock, s->sock, name);
	vsock_option_free(vsock);
	return status;
}

/* Gives the tap to the daemon, which makes the VM; the connection holds it. */
static int make_vm(struct session *s, struct run_net *net)
{
	struct json_object *line = json_object_new_object(), *answer;
	struct run *run = s->run;
	const char *name = doc_text(run->body, "name");
	int err;

	doc_put_text(line, "op", "link");
	doc_put_text(line, "vm", name);
	doc_put_text(line, "kind", "tap");
	json_object_object_add(line, "create", json_object_get(run->body));
	s->sock = attach_connect(run->cli);
	if (s->sock < 0) {
		json_object_put(line);
		return -1;
	}
	err = attach_request(run->cli, s->sock, line, s->tap, &answer) ? -1 : 0;
	if (!err) {
		err = take_net(run, doc_get(answer, "vm"), net);
		json_object_put(answer);
	}
	if (!err && proxy_option_send(run->cli, &run->proxy, name))
		err = -1;
	if (!err && forwards_hand(run->cli, &run->forwards, s->sock, name))
		err = -1;
	if (!err && hand_vsock(s, name))
		err = -1;
	if (err) {
		close(s->sock);
		s->sock = -1;
	}
	return err;
}

/* The daemon is gone, or still is. */
static void try_again(struct session *s)
{
	struct run_net net;

	s->run->cli->quiet = true;
	if (make_vm(s, &net) == 0)
		fprintf(stderr, "netctl: run: netctld is back\n");
	s->run->cli->quiet = false;
}

/* --- signals and the end --- */

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed) / sizeof(*passed); i++)
		sigaddset(&set, passed[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void pass_on(const struct session *s)
{
	struct signalfd_siginfo info;
	struct run_message msg = {.type = RUN_SIGNAL};

	while (read(s->sigfd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		/* What the terminal sends reaches the whole process group, and so COMMAND. */
		if (info.ssi_code == SI_KERNEL && !s->own_group)
			continue;
		msg.signal = (int)info.ssi_signo;
		run_send(s->child.control, &msg, -1);
	}
}

/* init's exit status, once it has ended; -1 before. */
static int ended(const struct run_child *child)
{
	int status;

	if (waitpid(child->pid, &status, WNOHANG) != child->pid)
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void take_foreground(void)
{
	sigset_t ttou, old;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &old);
	tcsetpgrp(STDIN_FILENO, getpgrp());
	sigprocmask(SIG_SETMASK, &old, NULL);
}

/* COMMAND, or a shell that it was, had the terminal and is gone: take it back, unless by now it is
 * somebody else's. */
static void restore_foreground(pid_t at_start)
{
	pid_t group = tcgetpgrp(STDIN_FILENO);

	if (at_start == getpgrp() && group != at_start && group > 0 && kill(-group, 0) < 0 &&
		errno == ESRCH)
		take_foreground();
}

/* COMMAND has stopped: so do we, until our shell continues us. In an orphaned group, where nobody
 * would, the stop has no effect. */
static void stop_with(const struct run_child *child, bool foreground)
{
	struct run_message msg = {.type = RUN_CONTINUE};

	if (foreground)
		take_foreground();
	raise(SIGTSTP);
	msg.foreground = tcgetpgrp(STDIN_FILENO) == getpgrp();
	run_send(child->control, &msg, -1);
}

/* What init says. False when it says no more. */
static bool hear(const struct run *run, const struct run_child *child)
{
	struct run_message msg;
	int fd;

	if (run_receive(child->control, &msg, &fd) < 0)
		return false;
	if (msg.type == RUN_STOPPED)
		stop_with(child, msg.foreground);
	if (msg.type == RUN_FAILED) {
		msg.text[sizeof(msg.text) - 1] = '\0';
		cli_error(run->cli, 0, "%s", msg.text);
	}
	return true;
}

static void daemon_gone(struct session *s)
{
	close(s->sock);
	s->sock = -1;
	cli_error(s->run->cli, 0, "netctld is gone%s",
		s->may_come_back ? ", waiting for it to come back" : "");
}

static int serve(struct session *s)
{
	struct pollfd pfd[3] = {{.events = POLLIN}, {.events = POLLIN}, {.events = POLLIN}};
	char byte;

	pfd[0].fd = s->sigfd;
	pfd[1].fd = s->child.control;
	for (;;) {
		int status, n;

		pfd[2].fd = s->sock;
		n = poll(pfd, 3, s->sock < 0 && s->may_come_back ? RETRY_MS : -1);
		if (n < 0)
			continue;
		if (!n)
			try_again(s);
		if (!n)
			continue;
		if (pfd[1].revents && !hear(s->run, &s->child))
			pfd[1].fd = -1;
		if (pfd[2].revents && s->sock >= 0 && recv(s->sock, &byte, 1, 0) <= 0)
			daemon_gone(s);
		if (pfd[0].revents)
			pass_on(s);
		status = pfd[1].fd < 0 ? ended(&s->child) : -1;
		if (status >= 0)
			return status;
	}
}

/* Whether netctl was started by hand at a terminal: see run_child_linux.c. */
static bool by_hand(void)
{
	return getpid() == getpgrp() && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
		isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
}

/* --- the whole --- */

static int receive_tap(const struct run *run, const struct run_child *child)
{
	struct run_message msg;
	int tap;

	if (run_receive(child->control, &msg, &tap) < 0)
		return cli_error(run->cli, -1, "the namespaces' init died");
	if (msg.type == RUN_TAP && tap >= 0)
		return tap;
	msg.text[sizeof(msg.text) - 1] = '\0';
	return cli_error(run->cli, -1, "%s", msg.type == RUN_FAILED ? msg.text : "no tap came");
}

/* From the clone to COMMAND's end. Returns the exit status. */
static int run_child(struct session *s, const struct run_watch *watch)
{
	struct run_message msg = {.type = RUN_NET};
	struct run_hidden hidden;
	struct run_setup setup = {.command = s->run->command,
		.hidden = &hidden,
		.map_root = s->run->map_root,
		.own_group = s->own_group,
		.watch = watch->pid ? watch->pipe : -1};
	int status;

	run_mount_hide(s->run->cli->api_path, watch->root, &hidden);
	sigprocmask(SIG_SETMASK, NULL, &setup.mask);
	if (run_child_start(s->run, &setup, &s->child) < 0)
		return RUN_FAILURE;
	s->tap = receive_tap(s->run, &s->child);
	if (s->tap < 0 || make_vm(s, &msg.net) < 0)
		return RUN_FAILURE;
	s->sigfd = open_signals();
	if (run_send(s->child.control, &msg, -1) < 0)
		return cli_error(s->run->cli, RUN_FAILURE, "the namespaces' init died");
	status = serve(s);
	s->child.pid = -1;
	return status;
}

static void session_end(struct session *s)
{
	if (s->child.pid > 0) {
		kill(s->child.pid, SIGKILL);
		waitpid(s->child.pid, NULL, 0);
	}
	if (s->child.control >= 0)
		close(s->child.control);
	if (s->tap >= 0)
		close(s->tap);
	if (s->sock >= 0)
		close(s->sock);
}

int run_in_network(struct run *run)
{
	struct session s = {.run = run,
		.child = {.pid = -1, .control = -1},
		.tap = -1,
		.sock = -1,
		.own_group = by_hand()};
	struct run_watch watch = {0};
	char name[64];
	pid_t foreground = tcgetpgrp(STDIN_FILENO);
	bool daemon = socket_find(run->cli, !run->cli->socket_told) != 0;
	int status = RUN_FAILURE;

	if (daemon && run->cli->socket_told)
		return RUN_FAILURE;
	if ((daemon || json_object_array_length(run->forwards.handed) || *run->vsock.bound) &&
		run_watch_start(run, daemon, &watch) < 0)
		goto out;
	make_name(name, sizeof(name));
	doc_put_text(run->body, "name", name);
	s.may_come_back = !daemon;
	status = run_child(&s, &watch);
	session_end(&s);
	restore_foreground(foreground);
out:
	run_watch_end(&watch);
	return status;
}
