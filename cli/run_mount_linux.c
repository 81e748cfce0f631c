/* SPDX-License-Identifier: MIT */
/*
 * The inside of the mount namespace.
 *
 * Propagation is private, so nothing here is seen outside. Files are not created on the host's
 * file systems: what must exist is staged in a tmpfs that lies over /proc for a moment, and bound
 * from there. /etc/resolv.conf may be a file, a link to one, a link into a directory that is
 * hidden here, a dangling link, or missing; in the last two cases /etc itself is rebuilt as a
 * tmpfs whose entries are bound from the host's.
 *
 * Every mount becomes nosuid unless COMMAND is root of its own user namespace: set-user-ID
 * programs and file capabilities have no effect then, and a program that carries file
 * capabilities (ping) still executes, which it would not with an empty bounding set alone.
 */
#include "cli/run_linux.h"

#include "common/error.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGE "/proc"
#define STAGED_RESOLV STAGE "/resolv.conf"
#define STAGED_ETC STAGE "/etc"
#define RESOLVED_DIR "/run/systemd/resolve"
#define SAFE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static int write_resolv_conf(const char *path, const struct run_net *net)
{
	char gateway[INET_ADDRSTRLEN];
	FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	inet_ntop(AF_INET, &net->gateway, gateway, sizeof(gateway));
	fprintf(file, "# Written by netctl run: the network's own DNS server.\nnameserver %s\n",
		gateway);
	if (*net->search)
		fprintf(file, "search %s\n", net->search);
	fchmod(fileno(file), 0644);
	return fclose(file) ? -EIO : 0;
}

/* Binds source over target; both exist. */
static int bind_over(const char *source, const char *target)
{
	return mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

static int make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int rebuild_entry(const char *name)
{
	char from[PATH_MAX], to[PATH_MAX], link[PATH_MAX];
	struct stat st;
	ssize_t n;
	int err;

	snprintf(from, sizeof(from), STAGED_ETC "/%s", name);
	snprintf(to, sizeof(to), "/etc/%s", name);
	if (lstat(from, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(from, link, sizeof(link) - 1);
		if (n < 0)
			return -errno;
		link[n] = '\0';
		return symlink(link, to) < 0 ? -errno : 0;
	}
	if (S_ISDIR(st.st_mode))
		err = mkdir(to, 0755) < 0 ? -errno : 0;
	else
		err = make_file(to);
	return err ? err : bind_over(from, to);
}

/* Puts a tmpfs over /etc that has all that /etc has but for resolv.conf, which is ours. */
static int rebuild_etc(const struct run_net *net)
{
	struct dirent *entry;
	DIR *dir;
	int err;

	if (mkdir(STAGED_ETC, 0755) < 0)
		return -errno;
	err = bind_over("/etc", STAGED_ETC);
	if (err < 0)
		return err;
	if (mount("tmpfs", "/etc", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
		return -errno;
	dir = opendir(STAGED_ETC);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
			!strcmp(entry->d_name, "resolv.conf"))
			continue;
		/* An entry that cannot be bound is missing rather than in the way of all. */
		rebuild_entry(entry->d_name);
	}
	closedir(dir);
	umount2(STAGED_ETC, MNT_DETACH);
	return write_resolv_conf("/etc/resolv.conf", net);
}

static int put_resolv_conf(const struct run_net *net)
{
	struct stat st;
	int err = write_resolv_conf(STAGED_RESOLV, net);

	if (err < 0)
		return err;
	if (stat("/etc/resolv.conf", &st) == 0 && S_ISREG(st.st_mode))
		return bind_over(STAGED_RESOLV, "/etc/resolv.conf");
	return rebuild_etc(net);
}

/* An empty, read-only directory in the place of this one; nothing in the place of a socket. */
static int hide(const char *path, const struct run_net *net)
{
	struct stat st;
	int err = 0;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return bind_over("/dev/null", path);
	if (mount("tmpfs", path, "tmpfs", SAFE, "mode=0755,size=64k") < 0)
		return -errno;
	/* Here /etc/resolv.conf may lead, and must find a file. */
	if (!strcmp(path, RESOLVED_DIR)) {
		err = write_resolv_conf(RESOLVED_DIR "/resolv.conf", net);
		if (!err)
			err = write_resolv_conf(RESOLVED_DIR "/stub-resolv.conf", net);
	}
	if (!err && mount("tmpfs", path, NULL, MS_REMOUNT | MS_RDONLY | SAFE, NULL) < 0)
		err = -errno;
	return err;
}

static void make_nosuid(void)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID};

	/* Before Linux 5.12 no_new_privs must do. */
	mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr));
}

int run_mount_all(const struct run_setup *setup, const struct run_net *net, struct run_message *msg)
{
	int err;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return run_fail(msg, "mount namespace: %s", errno_text(errno));
	if (!setup->map_root)
		make_nosuid();
	for (size_t i = 0; i < setup->hidden->n; i++) {
		err = hide(setup->hidden->path[i], net);
		if (err < 0)
			return run_fail(
				msg, "hiding %s: %s", setup->hidden->path[i], errno_text(err));
	}
	if (mount("tmpfs", STAGE, "tmpfs", SAFE, "mode=0755") < 0)
		return run_fail(msg, "tmpfs: %s", errno_text(errno));
	err = put_resolv_conf(net);
	if (umount2(STAGE, MNT_DETACH) < 0 && !err)
		err = -errno;
	if (err < 0)
		return run_fail(msg, "/etc/resolv.conf: %s", errno_text(err));
	/* Where the host's /proc is masked, as in a container, the kernel refuses a new one to a
	 * user namespace: then the old one stays, which shows the host's processes. */
	mount("proc", "/proc", "proc", SAFE, NULL);
	return 0;
}

static void add(struct run_hidden *hidden, const char *path)
{
	char real[PATH_MAX];

	if (!realpath(path, real) || hidden->n == RUN_MAX_HIDDEN ||
		strlen(real) >= sizeof(hidden->path[0]))
		return;
	for (size_t i = 0; i < hidden->n; i++)
		if (!strcmp(hidden->path[i], real))
			return;
	strcpy(hidden->path[hidden->n++], real);
}

/* A directory that others use as well must stay: there only the daemon's own things go. */
static bool is_shared(const char *dir)
{
	static const char *const shared[] = {
		"/", "/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm", "/home", "/root", NULL};
	const char *const own[] = {getenv("HOME"), getenv("XDG_RUNTIME_DIR"), NULL};
	char real[PATH_MAX], other[PATH_MAX], cwd[PATH_MAX];
	size_t len;

	if (!realpath(dir, real))
		return true;
	for (size_t i = 0; shared[i]; i++)
		if (!strcmp(real, shared[i]))
			return true;
	for (size_t i = 0; i < 2; i++)
		if (own[i] && realpath(own[i], other) && !strcmp(real, other))
			return true;
	len = strlen(real);
	return getcwd(cwd, sizeof(cwd)) && !strncmp(cwd, real, len) &&
		(cwd[len] == '/' || !cwd[len]);
}

static void add_things(struct run_hidden *hidden, const char *dir, const char *api)
{
	const char *const names[] = {api, "attach.sock", "netdp.sock", "vms"};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		add(hidden, path);
	}
}

void run_mount_hide(const char *api_path, const char *root, struct run_hidden *hidden)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *slash = strrchr(api_path, '/');
	char dir[256];

	hidden->n = 0;
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - api_path) : 1,
		slash ? api_path : ".");
	if (*root)
		add(hidden, root);
	else if (is_shared(dir))
		add_things(hidden, dir, strrchr(api_path, '/') ? slash + 1 : api_path);
	else
		add(hidden, dir);
	add(hidden, "/run/netctl");
	if (runtime && *runtime == '/' &&
		snprintf(dir, sizeof(dir), "%s/netctl", runtime) < (int)sizeof(dir))
		add(hidden, dir);
	add(hidden, "/run/nscd");
	add(hidden, "/var/run/nscd");
	add(hidden, RESOLVED_DIR);
}
