/* SPDX-License-Identifier: MIT */
/* The known word that a mistyped one most likely meant. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

struct suggestion {
	const char *typed;
	const char *word; /* the nearest so far, or NULL where none is near */
	size_t distance;
};

/* Insertions, deletions, replacements and swaps of neighbours that lead from a to b. Words of
 * more than 31 bytes are infinitely (SIZE_MAX) far from everything. */
size_t suggest_distance(const char *a, const char *b);

void suggest_init(struct suggestion *s, const char *typed);
/* Offers a word: it is kept if it is near (a third of the typed length, at least one and at most
 * three steps) and nearer than the last. */
void suggest_offer(struct suggestion *s, const char *word);

#endif
