/* SPDX-License-Identifier: MIT */
/*
 * An allocator that wipes what it frees, for libraries through whose buffers secrets pass (libevent,
 * libcurl). Memory of it is malloc(3)'s: it may be freed by free(3), too, but is not wiped then.
 */
#ifndef COMMON_WIPING_H
#define COMMON_WIPING_H

#include <stddef.h>

void *wiping_malloc(size_t size);
void *wiping_calloc(size_t n, size_t size);
/* Always moves: the old place is wiped. */
void *wiping_realloc(void *old, size_t size);
char *wiping_strdup(const char *text);
void wiping_free(void *memory);

#endif
