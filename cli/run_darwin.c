/* SPDX-License-Identifier: MIT */
/* netctl run needs network namespaces, which macOS has not. */
#include "cli/run.h"

int run_in_network(struct run *run)
{
	return cli_error(run->cli, RUN_FAILURE, "not available on this system");
}
