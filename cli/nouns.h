/* SPDX-License-Identifier: MIT */
/* What netctl can be asked for: one file a noun. */
#ifndef CLI_NOUNS_H
#define CLI_NOUNS_H

#include "cli/cli.h"

extern const struct noun noun_vm;
extern const struct noun noun_forward;
extern const struct noun noun_vsock;
extern const struct noun noun_listener;
extern const struct noun noun_policy;
extern const struct noun noun_hosts;
extern const struct noun noun_env;
extern const struct noun noun_secret;
extern const struct noun noun_snapshot;
extern const struct noun noun_apply;
extern const struct noun noun_export;
extern const struct noun noun_stats;
extern const struct noun noun_flows;
extern const struct noun noun_top;
extern const struct noun noun_events;
extern const struct noun noun_capture;
extern const struct noun noun_dashboard;
extern const struct noun noun_run;
extern const struct noun noun_version;
extern const struct noun noun_health;

#endif
