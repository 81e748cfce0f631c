/* SPDX-License-Identifier: MIT */
/* macOS has no tap devices. */
#include "dataplane/link/link_internal.h"

#include <errno.h>

static int tap_start(struct link *link, int fd)
{
	(void)link;
	(void)fd;
	return -ENOTSUP;
}

const struct link_ops link_tap_ops = {.start = tap_start};
