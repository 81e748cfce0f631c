/* SPDX-License-Identifier: MIT */
/* Tells systemd how we are: sd_notify(3)'s protocol, a datagram to $NOTIFY_SOCKET. */
#ifndef CTL_NOTIFY_H
#define CTL_NOTIFY_H

/* state: "READY=1", "STOPPING=1", … Does nothing where nobody listens. */
void notify_service(const char *state);

#endif
