/* SPDX-License-Identifier: MIT */
/* The verbs of `vm` that have a file of their own. */
#ifndef CLI_VM_H
#define CLI_VM_H

#include "cli/cli.h"

extern const struct option vm_create_options[];
extern const char vm_create_notes[];
int vm_create(struct cli *cli, const struct args *args);

extern const struct option vm_set_options[];
int vm_set(struct cli *cli, const struct args *args);

extern const struct option vm_restore_options[];
int vm_restore(struct cli *cli, const struct args *args);
int vm_reset(struct cli *cli, const struct args *args);

#endif
