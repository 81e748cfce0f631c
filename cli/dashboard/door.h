/* SPDX-License-Identifier: MIT */
/*
 * What of the API the dashboard can use. A page that somebody got hold of reads VMs, flows, events
 * and policies, and changes policies: no environment, no secrets, no snapshots, nothing deleted.
 */
#ifndef CLI_DASHBOARD_DOOR_H
#define CLI_DASHBOARD_DOOR_H

#include <stdbool.h>

/* uri is as it came: nothing that is escaped passes. *endless is set for an answer that only ends
 * when its reader goes. */
bool door_admits(const char *method, const char *uri, bool *endless);

#endif
