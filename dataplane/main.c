/* SPDX-License-Identifier: MIT */
/* netdp: the spawner, or, executed by it, a worker. */
#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"
#include "dataplane/control.h"
#include "dataplane/spawner.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_LISTEN = 256,
	OPT_LISTEN_FD,
	OPT_RUNTIME_DIR,
	OPT_GROUP,
	OPT_OWNED,
	OPT_WORKER,
	OPT_CONTROL_FD,
	OPT_LIFELINE_FD,
	OPT_VM,
	OPT_SANDBOX,
	OPT_LOG_LEVEL,
};

static const struct option long_options[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"listen-fd", required_argument, NULL, OPT_LISTEN_FD},
	{"runtime-dir", required_argument, NULL, OPT_RUNTIME_DIR},
	{"group", required_argument, NULL, OPT_GROUP},
	{"owned", no_argument, NULL, OPT_OWNED},
	{"worker", no_argument, NULL, OPT_WORKER},
	{"control-fd", required_argument, NULL, OPT_CONTROL_FD},
	{"lifeline-fd", required_argument, NULL, OPT_LIFELINE_FD},
	{"vm", required_argument, NULL, OPT_VM},
	{"sandbox", required_argument, NULL, OPT_SANDBOX},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"Usage: netdp [--listen PATH | --listen-fd N | --runtime-dir DIR] [--group NAME]\n"
	"             [--log-level error|warn|info|debug|trace]\n"
	"\n"
	"The data plane of netctl: starts one worker process for each VM, as netctld asks.\n"
	"\n"
	"  --listen PATH      listen on PATH (default: netdp.sock in the runtime directory)\n"
	"  --listen-fd N      serve the socket inherited as N; a service manager's (LISTEN_FDS) is\n"
	"                     taken by itself\n"
	"  --runtime-dir DIR  default /run/netctl for root, else $XDG_RUNTIME_DIR/netctl\n"
	"  --group NAME       members of this group may connect too, beside root and our own user\n"
	"  --version, --help\n";

struct arguments {
	struct spawner_options spawner;
	struct control_options worker;
	const char *runtime_dir;
	bool is_worker;
};

static int complain(const char *what, const char *value)
{
	fprintf(stderr, "netdp: %s \"%s\"\n", what, value);
	return -EINVAL;
}

static int parse_fd(const char *text, int *out)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *end || end == text || value < 3 || value > INT_MAX)
		return complain("not a file descriptor from 3 on:", text);
	*out = (int)value;
	return 0;
}

static int set_log_level(const char *text, struct arguments *args)
{
	enum log_level level;

	if (log_level_parse(text, &level) < 0)
		return complain("unknown log level", text);
	log_init(level);
	args->spawner.log_level = text;
	return 0;
}

/* Returns 0, 1 where all is said, or -EINVAL after a complaint. */
static int take(int option, struct arguments *args)
{
	switch (option) {
	case OPT_LISTEN:
		args->spawner.listen = optarg;
		return 0;
	case OPT_LISTEN_FD:
		return parse_fd(optarg, &args->spawner.listen_fd);
	case OPT_RUNTIME_DIR:
		args->runtime_dir = optarg;
		return 0;
	case OPT_GROUP:
		args->spawner.group = optarg;
		return 0;
	case OPT_OWNED:
		args->spawner.owned = true;
		return 0;
	case OPT_WORKER:
		args->is_worker = true;
		return 0;
	case OPT_CONTROL_FD:
		return parse_fd(optarg, &args->worker.control_fd);
	case OPT_LIFELINE_FD:
		return parse_fd(optarg, &args->worker.lifeline_fd);
	case OPT_VM:
		args->worker.vm = optarg;
		return 0;
	case OPT_SANDBOX:
		if (sandbox_level_parse(optarg, &args->worker.least) < 0)
			return complain("unknown sandbox level", optarg);
		return 0;
	case OPT_LOG_LEVEL:
		return set_log_level(optarg, args);
	case 'h':
		fputs(usage, stdout);
		return 1;
	case 'V':
		puts("netdp " NETCTL_VERSION);
		return 1;
	default:
		fputs("Try 'netdp --help'.\n", stderr);
		return -EINVAL;
	}
}

/* sd_listen_fds(3): the first socket that a service manager passed, or -1. */
static int inherited_socket(void)
{
	const char *pid = getenv("LISTEN_PID");
	const char *count = getenv("LISTEN_FDS");

	if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid() ||
		strtol(count, NULL, 10) < 1)
		return -1;
	return 3;
}

static int default_path(const struct arguments *args, char *path, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (args->runtime_dir)
		n = snprintf(path, size, "%s/netdp.sock", args->runtime_dir);
	else if (geteuid() == 0)
		n = snprintf(path, size, "/run/netctl/netdp.sock");
	else if (xdg && *xdg)
		n = snprintf(path, size, "%s/netctl/netdp.sock", xdg);
	else
		return complain("no --listen or --runtime-dir, and no value in", "XDG_RUNTIME_DIR");
	if (n < 0 || (size_t)n >= size || (size_t)n > unix_path_max())
		return complain("too long for a unix socket:", path);
	return 0;
}

static int run_spawner(struct arguments *args)
{
	static char path[512];

	if (args->spawner.listen_fd < 0 && !args->spawner.listen)
		args->spawner.listen_fd = inherited_socket();
	if (args->spawner.listen_fd < 0 && !args->spawner.listen) {
		if (default_path(args, path, sizeof(path)) < 0)
			return 2;
		args->spawner.listen = path;
	}
	return spawner_run(&args->spawner);
}

int main(int argc, char **argv)
{
	struct arguments args = {
		.spawner = {.listen_fd = -1},
		.worker = {.control_fd = -1,
			.lifeline_fd = -1,
			.vm = "",
			.least = SANDBOX_LANDLOCK},
	};
	int option;

	log_init(LOG_LEVEL_INFO);
	while ((option = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
		int done = take(option, &args);

		if (done)
			return done < 0 ? 2 : EXIT_SUCCESS;
	}
	if (optind < argc) {
		complain("unexpected argument", argv[optind]);
		return 2;
	}
	if (!args.is_worker)
		return run_spawner(&args);
	if (args.worker.control_fd < 0 || args.worker.lifeline_fd < 0) {
		complain("a worker is started by the spawner, not by hand:", "--worker");
		return 2;
	}
	return control_run(&args.worker);
}
