/* SPDX-License-Identifier: MIT */
/* Forgets what copies of secrets have left in the processor's vector registers. */
#ifndef COMMON_WIPE_REGISTERS_H
#define COMMON_WIPE_REGISTERS_H

/* Those that a called function need not keep. Nothing on processors that are not known here. */
void wipe_registers(void);

#endif
