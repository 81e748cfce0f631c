/* SPDX-License-Identifier: MIT */
/* An allocator that wipes. See wiping.h. */
#include "common/wiping.h"

#include "common/os.h"

#include <stdlib.h>
#include <string.h>

void *wiping_malloc(size_t size)
{
	return malloc(size);
}

void *wiping_calloc(size_t n, size_t size)
{
	return calloc(n, size);
}

void wiping_free(void *memory)
{
	if (!memory)
		return;
	os_wipe(memory, os_alloc_size(memory));
	free(memory);
}

void *wiping_realloc(void *old, size_t size)
{
	size_t had = old ? os_alloc_size(old) : 0;
	void *fresh = malloc(size ? size : 1);

	if (!fresh)
		return NULL;
	if (had)
		memcpy(fresh, old, had < size ? had : size);
	wiping_free(old);
	return fresh;
}

char *wiping_strdup(const char *text)
{
	size_t len = strlen(text) + 1;
	char *copy = malloc(len);

	if (copy)
		memcpy(copy, text, len);
	return copy;
}
