/* SPDX-License-Identifier: MIT */
/* Settings. See options.h. */
#include "ctl/options.h"

#include "common/os.h"
#include "ctl/host_proxy.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/netctl/netctld.conf"

static const char usage[] =
	"usage: netctld [options]\n"
	"  --runtime-dir DIR  sockets (root: /run/netctl, else $XDG_RUNTIME_DIR/netctl)\n"
	"  --state-dir DIR    records (root: /var/lib/netctl, else $XDG_STATE_HOME/netctl)\n"
	"  --config FILE      settings (" DEFAULT_CONFIG ")\n"
	"  --group NAME       who may use the sockets (netctl, if there is such a group)\n"
	"  --netdp PROGRAM    data plane to start where none listens (the one beside netctld)\n"
	"  --sandbox LEVEL    full, or weak: least sandbox that will do for workers\n"
	"  --metrics-listen [ADDRESS:]PORT  serve /metrics on this loopback port, too\n"
	"  --log-level LEVEL  error, warn, info, debug or trace\n"
	"  --foreground       accepted; there is no other mode\n"
	"  --version, --help\n";

static int complain(const char *where, const char *what, const char *value)
{
	fprintf(stderr, "netctld: %s: %s%s%s\n", where, what, value ? ": " : "",
		value ? value : "");
	return -1;
}

static int copy(char *out, size_t len, const char *value, const char *where)
{
	if (strlen(value) >= len)
		return complain(where, "value too long", NULL);
	strcpy(out, value);
	return 0;
}

static int set_metrics_listen(struct options *o, const char *value, const char *where)
{
	char text[ENDPOINT_STRLEN + 80];
	bool port_only = *value && strspn(value, "0123456789") == strlen(value);

	snprintf(text, sizeof(text), "%s%.64s", port_only ? "127.0.0.1:" : "", value);
	if (endpoint_parse(text, &o->metrics_listen) < 0 || !o->metrics_listen.port)
		return complain(where, "not [ADDRESS:]PORT", value);
	if (!addr_is_loopback(&o->metrics_listen.addr))
		return complain(where, "not a loopback address", value);
	return 0;
}

/* One setting, from a flag or a line of the file; `where` names it in errors. */
static int set(struct options *o, const char *key, const char *value, const char *where)
{
	if (!*value && strcmp(key, "group") != 0 && !host_proxy_key(key))
		return complain(where, "needs a value", NULL);
	if (strcmp(key, "runtime-dir") == 0)
		return copy(o->runtime_dir, sizeof(o->runtime_dir), value, where);
	if (strcmp(key, "state-dir") == 0)
		return copy(o->state_dir, sizeof(o->state_dir), value, where);
	if (strcmp(key, "group") == 0)
		return copy(o->group, sizeof(o->group), value, where);
	if (strcmp(key, "netdp") == 0)
		return copy(o->netdp, sizeof(o->netdp), value, where);
	if (strcmp(key, "metrics-listen") == 0 || strcmp(key, "metrics_listen") == 0)
		return set_metrics_listen(o, value, where);
	if (strcmp(key, "log-level") == 0) {
		if (log_level_parse(value, &o->log_level) < 0)
			return complain(where, "not error, warn, info, debug or trace", value);
		return 0;
	}
	if (host_proxy_key(key))
		return 0; /* read where it is used; there is no such flag */
	if (strcmp(key, "sandbox") == 0) {
		if (strcmp(value, "weak") != 0 && strcmp(value, "full") != 0)
			return complain(where, "not full or weak", value);
		o->sandbox_weak = strcmp(value, "weak") == 0;
		return 0;
	}
	return complain(where, "unknown setting", key);
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return s;
}

static int read_line(struct options *o, char *line, const char *where)
{
	char *key = trim(line), *equals;

	if (!*key || *key == '#' || *key == ';')
		return 0;
	if (*key == '[')
		return strcmp(key, "[netctld]") == 0 ? 0 : complain(where, "unknown section", key);
	equals = strchr(key, '=');
	if (!equals)
		return complain(where, "not KEY = VALUE", key);
	*equals = '\0';
	return set(o, trim(key), trim(equals + 1), where);
}

/* A missing default file is no error; a missing named one is. */
static int read_file(struct options *o, const char *path, bool must)
{
	char line[PATH_MAX + 64], where[PATH_MAX + 32], buffer[4096];
	FILE *f = fopen(path, "re");
	int n = 0, status = 0;

	if (!f)
		return must ? complain(path, strerror(errno), NULL) : 0;
	setvbuf(f, buffer, _IOFBF, sizeof(buffer));
	while (!status && fgets(line, sizeof(line), f)) {
		snprintf(where, sizeof(where), "%s:%d", path, ++n);
		status = read_line(o, line, where);
	}
	fclose(f);
	os_wipe(line, sizeof(line)); /* a proxy's URL has its password */
	os_wipe(buffer, sizeof(buffer));
	if (!status)
		copy(o->config, sizeof(o->config), path, path);
	return status;
}

static int default_dirs(struct options *o)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	bool root = geteuid() == 0;
	int n = 0;

	if (!o->runtime_dir[0]) {
		if (!root && !runtime)
			return complain(
				"--runtime-dir", "needed where $XDG_RUNTIME_DIR is not set", NULL);
		n = root ? snprintf(o->runtime_dir, sizeof(o->runtime_dir), "/run/netctl")
			 : snprintf(o->runtime_dir, sizeof(o->runtime_dir), "%s/netctl", runtime);
	}
	if (!o->state_dir[0]) {
		if (!root && !state && !home)
			return complain("--state-dir",
				"needed where neither $XDG_STATE_HOME nor $HOME is set", NULL);
		if (root)
			n = snprintf(o->state_dir, sizeof(o->state_dir), "/var/lib/netctl");
		else if (state)
			n = snprintf(o->state_dir, sizeof(o->state_dir), "%s/netctl", state);
		else
			n = snprintf(
				o->state_dir, sizeof(o->state_dir), "%s/.local/state/netctl", home);
	}
	if (n >= PATH_MAX)
		return complain("netctld", "directory name too long", NULL);
	return 0;
}

static int absolute(char *path, const char *where)
{
	char cwd[PATH_MAX], joined[2 * PATH_MAX];
	size_t len;

	if (path[0] != '/') {
		if (!getcwd(cwd, sizeof(cwd)))
			return complain(where, strerror(errno), NULL);
		snprintf(joined, sizeof(joined), "%s/%s", cwd, path);
		if (strlen(joined) >= PATH_MAX)
			return complain(where, "path too long", NULL);
		strcpy(path, joined);
	}
	for (len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	return 0;
}

static const struct option longopts[] = {
	{"runtime-dir", required_argument, NULL, 'r'},
	{"state-dir", required_argument, NULL, 's'},
	{"config", required_argument, NULL, 'c'},
	{"group", required_argument, NULL, 'g'},
	{"netdp", required_argument, NULL, 'n'},
	{"sandbox", required_argument, NULL, 'x'},
	{"metrics-listen", required_argument, NULL, 'm'},
	{"log-level", required_argument, NULL, 'l'},
	{"foreground", no_argument, NULL, 'f'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* The command line is read twice: once to find the file, once to win over it. */
static int read_flags(struct options *o, int argc, char **argv, const char **config)
{
	char where[64];
	int c, index = 0;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", longopts, &index)) >= 0) {
		switch (c) {
		case 'h':
			fputs(usage, stdout);
			return 1;
		case 'V':
			puts("netctld " NETCTL_VERSION);
			return 1;
		case 'c':
			*config = optarg;
			break;
		case 'f':
			break;
		case '?':
			return complain("netctld", "see netctld --help", NULL);
		default:
			snprintf(where, sizeof(where), "--%s", longopts[index].name);
			if (set(o, longopts[index].name, optarg, where) < 0)
				return -1;
			if (c == 'l')
				o->log_level_by_flag = true;
		}
	}
	if (optind < argc)
		return complain("netctld", "takes no operand", argv[optind]);
	return 0;
}

int options_read(struct options *o, int argc, char **argv)
{
	const char *config = NULL;
	int status;

	memset(o, 0, sizeof(*o));
	o->log_level = LOG_LEVEL_INFO;
	strcpy(o->group, "netctl");
	status = read_flags(o, argc, argv, &config);
	if (status)
		return status;
	if (read_file(o, config ? config : DEFAULT_CONFIG, config != NULL) < 0)
		return -1;
	if (read_flags(o, argc, argv, &config) < 0 || default_dirs(o) < 0)
		return -1;
	if (absolute(o->runtime_dir, "--runtime-dir") < 0 ||
		absolute(o->state_dir, "--state-dir") < 0)
		return -1;
	return 0;
}

int options_reread_log_level(struct options *o)
{
	struct options fresh = *o;

	if (!o->config[0] || o->log_level_by_flag)
		return 0;
	fresh.log_level = LOG_LEVEL_INFO;
	if (read_file(&fresh, o->config, true) < 0)
		return -1;
	o->log_level = fresh.log_level;
	return 0;
}
