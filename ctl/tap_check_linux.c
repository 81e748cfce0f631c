/* SPDX-License-Identifier: MIT */
/* TUNGETIFF answers on taps only. See tap_check.h. */
#include "ctl/tap_check.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

bool tap_check(int fd)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	return ioctl(fd, TUNGETIFF, &request) == 0 && (request.ifr_flags & IFF_TAP) &&
		(request.ifr_flags & IFF_NO_PI);
}
