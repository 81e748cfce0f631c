/* SPDX-License-Identifier: MIT */
/* netctld: the control plane. See netctld(8). */
#include "ctl/netctld.h"

int main(int argc, char **argv)
{
	static struct netctld daemon;
	int status = options_read(&daemon.options, argc, argv);

	if (status)
		return status > 0 ? 0 : 2;
	return netctld_run(&daemon);
}
