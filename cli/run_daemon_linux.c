/* SPDX-License-Identifier: MIT */
/*
 * The watch: what must be undone in the file system when netctl ends, however it ends.
 *
 * It is a process of its own session that waits for the end of a pipe that only netctl holds.
 * Then it ends the private netctld, if it started one, and all that this left (the watch is their
 * subreaper), removes the private directory, and removes the sockets that were handed over. When the
 * watch itself is killed, its netctld gets SIGTERM.
 */
#include "cli/run_linux.h"

#include "cli/attach.h"
#include "cli/http.h"
#include "cli/json.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 10000
#define TERM_MS 3000
#define LONGEST_BASE 16 /* netctld wants room for vms/NAME/vsock.sock below it, whatever NAME */

/* --- in the watch --- */

static void remove_tree(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;

	if (fd < 0 || !(dir = fdopendir(fd))) {
		unlinkat(parent, name, 0);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_tree(fd, entry->d_name);
	closedir(dir);
	unlinkat(parent, name, AT_REMOVEDIR);
}

/* Waits for all children until the deadline; true when none is left. */
static bool wait_all(uint64_t deadline)
{
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0 && errno == ECHILD)
			return true;
		if (pid > 0)
			continue;
		if (clock_ms() >= deadline)
			return false;
		poll(NULL, 0, 10);
	}
}

static void kill_children(int sig)
{
	char path[64];
	FILE *file;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	file = fopen(path, "re");
	if (!file)
		return;
	while (fscanf(file, "%d", &pid) == 1)
		kill((pid_t)pid, sig);
	fclose(file);
}

static void end_daemon(pid_t daemon)
{
	kill(daemon, SIGTERM);
	if (wait_all(clock_ms() + TERM_MS))
		return;
	kill(daemon, SIGKILL);
	/* What it leaves becomes ours, a generation at a time. */
	for (int i = 0; i < 50; i++) {
		kill_children(SIGKILL);
		if (wait_all(clock_ms() + 20))
			return;
	}
}

/* The daemon lets go of it a moment after the connection has closed. */
static void remove_socket(const char *path)
{
	for (int try = 0; try < 50 && access(path, F_OK) == 0; try++) {
		if (attach_unlink_stale(path, SOCK_STREAM))
			break;
		poll(NULL, 0, 20);
	}
}

static void remove_sockets(const struct run *run)
{
	size_t n = json_object_array_length(run->forwards.handed);

	for (size_t i = 0; i < n; i++)
		remove_socket(doc_text(
			json_object_array_get_idx(run->forwards.handed, i), "listen.unix"));
	if (*run->vsock.bound)
		remove_socket(run->vsock.bound);
}

static void execute_daemon(const char *program, const char *root)
{
	char runtime[160], state[160], log[160];
	sigset_t none;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_DFL);
	snprintf(runtime, sizeof(runtime), "%s/r", root);
	snprintf(state, sizeof(state), "%s/s", root);
	snprintf(log, sizeof(log), "%s/log", root);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("JOURNAL_STREAM");
	execl(program, "netctld", "--runtime-dir", runtime, "--state-dir", state, (char *)NULL);
	fprintf(stderr, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

/* Leaves the caller's terminal and files alone; only the two pipes stay. */
static void detach(int *pipe, int *alive)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGCHLD)
			signal(sig, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	prctl(PR_SET_NAME, "netctl-watch", 0, 0, 0);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	*pipe = fcntl(*pipe, F_DUPFD, 10);
	*alive = fcntl(*alive, F_DUPFD, 10);
	dup2(*pipe, 3);
	dup2(*alive, 4);
	*pipe = 3;
	*alive = 4;
	syscall(SYS_close_range, 5, ~0u, 0);
	fcntl(3, F_SETFD, FD_CLOEXEC);
	fcntl(4, F_SETFD, FD_CLOEXEC);
	if (chdir("/") < 0)
		_exit(1);
}

static void watch_main(
	const struct run *run, const char *program, const char *root, int pipe, int alive)
{
	struct pollfd pfd[2] = {{.events = POLLIN}, {.events = POLLIN}};
	struct signalfd_siginfo info;
	sigset_t chld;
	pid_t daemon = 0;
	char byte;

	detach(&pipe, &alive);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_SETMASK, &chld, NULL);
	pfd[0].fd = pipe;
	pfd[1].fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (*root) {
		daemon = fork();
		if (daemon == 0)
			execute_daemon(program, root);
	}
	for (;;) {
		if (poll(pfd, 2, -1) < 0)
			continue;
		if (pfd[0].revents && read(pipe, &byte, 1) == 0)
			break;
		if (read(pfd[1].fd, &info, sizeof(info)) < 0)
			continue;
		/* The daemon is gone before its time: say so by closing `alive`. */
		while (daemon > 0 && waitpid(daemon, NULL, WNOHANG) == daemon) {
			close(alive);
			daemon = -1;
		}
	}
	if (daemon)
		end_daemon(daemon > 0 ? daemon : getpid());
	remove_sockets(run);
	if (*root)
		remove_tree(AT_FDCWD, root);
	_exit(0);
}

/* --- in netctl --- */

/* netctld beside this program, else in PATH. */
static int find_daemon(char *buf, size_t len)
{
	const char *path = getenv("PATH");
	char *slash;
	int err = os_self_path(buf, len);

	slash = err < 0 ? NULL : strrchr(buf, '/');
	if (slash && (size_t)(slash - buf) + sizeof("/netctld") <= len) {
		strcpy(slash, "/netctld");
		if (access(buf, X_OK) == 0)
			return 0;
	}
	if (!path)
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	for (;;) {
		size_t n = strcspn(path, ":");

		snprintf(buf, len, "%.*s/netctld", (int)n, path);
		if (n && access(buf, X_OK) == 0)
			return 0;
		if (!path[n])
			return -ENOENT;
		path += n + 1;
	}
}

/* A private directory with short paths below it. */
static int make_root(const struct run *run, char *root, size_t len)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	char dir[160];

	if (!base || *base != '/' || strlen(base) > LONGEST_BASE || access(base, W_OK) < 0)
		base = "/tmp";
	snprintf(root, len, "%s/nr-XXXXXX", base);
	if (!mkdtemp(root)) {
		cli_error(run->cli, 0, "%s: %s", root, errno_text(errno));
		*root = '\0';
		return -1;
	}
	for (const char *name = "r"; name; name = *name == 'r' ? "s" : NULL) {
		snprintf(dir, sizeof(dir), "%s/%s", root, name);
		if (mkdir(dir, 0700) < 0)
			return cli_error(run->cli, -1, "%s: %s", dir, errno_text(errno));
	}
	return 0;
}

/* The last line of the private daemon's log. */
static void last_words(const char *root, char *buf, size_t len)
{
	char path[160], line[512];
	FILE *file;

	snprintf(buf, len, "it said nothing");
	snprintf(path, sizeof(path), "%s/log", root);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			snprintf(buf, len, "%s", line);
	}
	fclose(file);
}

static int wait_ready(struct run *run, const char *root, int alive)
{
	uint64_t deadline = clock_ms() + READY_MS;
	struct pollfd pfd = {.fd = alive};
	struct cli *cli = run->cli;
	char words[512];

	snprintf(cli->api_path, sizeof(cli->api_path), "%s/r/api.sock", root);
	while (clock_ms() < deadline) {
		if (access(cli->api_path, F_OK) == 0 && http_healthy(cli->api_path))
			return 0;
		if (poll(&pfd, 1, 20) > 0) {
			last_words(root, words, sizeof(words));
			return cli_error(
				cli, -1, "no netctld runs, and a private one failed: %s", words);
		}
	}
	last_words(root, words, sizeof(words));
	return cli_error(cli, -1, "no netctld runs, and a private one was not ready in %d s: %s",
		READY_MS / 1000, words);
}

int run_watch_start(struct run *run, bool daemon, struct run_watch *watch)
{
	char program[PATH_MAX] = "";
	int down[2], alive[2], err = 0;

	if (daemon && find_daemon(program, sizeof(program)) < 0)
		return cli_error(run->cli, -1,
			"no netctld runs, and none to start is beside netctl or in PATH");
	if (os_pipe(down) < 0 || os_pipe(alive) < 0)
		return cli_error(run->cli, -1, "pipe: %s", errno_text(errno));
	if (daemon && make_root(run, watch->root, sizeof(watch->root)) < 0) {
		if (*watch->root)
			remove_tree(AT_FDCWD, watch->root);
		return -1;
	}
	fflush(NULL);
	watch->pid = fork();
	if (watch->pid == 0) {
		close(down[1]);
		close(alive[0]);
		watch_main(run, program, watch->root, down[0], alive[1]);
	}
	close(down[0]);
	close(alive[1]);
	watch->pipe = down[1];
	if (watch->pid < 0) {
		watch->pid = 0;
		close(watch->pipe);
		remove_tree(AT_FDCWD, watch->root);
		err = cli_error(run->cli, -1, "fork: %s", errno_text(errno));
	} else if (daemon) {
		err = wait_ready(run, watch->root, alive[0]);
	}
	close(alive[0]);
	return err;
}

void run_watch_end(struct run_watch *watch)
{
	if (!watch->pid)
		return;
	close(watch->pipe);
	while (waitpid(watch->pid, NULL, 0) < 0 && errno == EINTR)
		;
	watch->pid = 0;
}
