/* SPDX-License-Identifier: MIT */
/*
 * netctld's settings: the command line over the configuration file over the defaults.
 *
 * The file is INI: `key = value` lines, `#` and `;` comments, one section `[netctld]` or none. Its
 * keys are the long flags without their dashes, and those of host_proxy.h. Errors go to stderr with file and line.
 */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include "common/addr.h"
#include "common/log.h"

#include <limits.h>
#include <stdbool.h>

struct options {
	char runtime_dir[PATH_MAX];
	char state_dir[PATH_MAX];
	char config[PATH_MAX]; /* the file that was read, or "" */
	char group[64];        /* who may use api.sock and attach.sock; "" for nobody but us */
	char netdp[PATH_MAX];  /* the program to start as a spawner; "" for the one beside us */
	struct endpoint metrics_listen; /* a loopback address; port 0: not on a port */
	enum log_level log_level;
	bool sandbox_weak;      /* workers may run where neither namespaces nor Landlock work */
	bool log_level_by_flag; /* a SIGHUP must not undo what the command line said */
};

/* Returns 0 to go on, 1 where all is done (--help, --version), -1 after a message on stderr. */
int options_read(struct options *o, int argc, char **argv);

/* Reads log-level from the file again, after SIGHUP. Returns 0, or -1 after a message. */
int options_reread_log_level(struct options *o);

#endif
