/* SPDX-License-Identifier: MIT */
/* What <sys/ptrace.h> of macOS declares and we use, for tests/lint alone: see sandbox.h beside. */
#ifndef TESTS_MACOS_SYS_PTRACE_H
#define TESTS_MACOS_SYS_PTRACE_H

#include <sys/types.h>

#define PT_DENY_ATTACH 31

int ptrace(int request, pid_t pid, caddr_t addr, int data);

#endif
