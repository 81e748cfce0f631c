/* SPDX-License-Identifier: MIT */
/*
 * What <sandbox.h> of macOS declares and we use, for tests/lint alone: the cross compiler's set of
 * Apple's headers lacks it.
 */
#ifndef TESTS_MACOS_SANDBOX_H
#define TESTS_MACOS_SANDBOX_H

#include <stdint.h>

#define SANDBOX_NAMED 0x0001

extern const char kSBXProfileNoInternet[];
extern const char kSBXProfileNoNetwork[];
extern const char kSBXProfileNoWrite[];
extern const char kSBXProfilePureComputation[];

int sandbox_init(const char *profile, uint64_t flags, char **errorbuf);
void sandbox_free_error(char *errorbuf);

#endif
