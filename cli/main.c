/* SPDX-License-Identifier: MIT */
/* netctl: asks netctld. A table of nouns; each is a file of its own. */
#include "cli/nouns.h"

static const struct noun *const nouns[] = {
	&noun_run,
	&noun_vm,
	&noun_forward,
	&noun_vsock,
	&noun_listener,
	&noun_policy,
	&noun_hosts,
	&noun_env,
	&noun_secret,
	&noun_snapshot,
	&noun_apply,
	&noun_export,
	&noun_stats,
	&noun_flows,
	&noun_top,
	&noun_events,
	&noun_capture,
	&noun_dashboard,
	&noun_health,
	&noun_version,
	NULL,
};

int main(int argc, char **argv)
{
	return cli_main(nouns, argc, argv);
}
