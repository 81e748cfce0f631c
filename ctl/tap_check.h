/* SPDX-License-Identifier: MIT */
/* Whether an fd is a tap device that carries bare Ethernet frames (IFF_NO_PI). */
#ifndef CTL_TAP_CHECK_H
#define CTL_TAP_CHECK_H

#include <stdbool.h>

/* Never true where the system has no such devices. */
bool tap_check(int fd);

#endif
