/* SPDX-License-Identifier: MIT */
/* Near misses: Damerau-Levenshtein distance, restricted to adjacent swaps. See suggest.h. */
#include "cli/suggest.h"

#include <stdint.h>
#include <string.h>

#define LONGEST 31

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

size_t suggest_distance(const char *a, const char *b)
{
	size_t d[LONGEST + 1][LONGEST + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > LONGEST || lb > LONGEST)
		return SIZE_MAX;
	for (size_t i = 0; i <= la; i++) {
		for (size_t j = 0; j <= lb; j++) {
			if (!i || !j) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[la][lb];
}

void suggest_init(struct suggestion *s, const char *typed)
{
	*s = (struct suggestion){.typed = typed, .distance = SIZE_MAX};
}

void suggest_offer(struct suggestion *s, const char *word)
{
	size_t near = strlen(s->typed) / 3, d = suggest_distance(s->typed, word);

	near = near < 1 ? 1 : near > 3 ? 3 : near;
	/* "for" is "forward": what was cut short is as near as it gets. */
	if (strlen(s->typed) >= 3 && !strncmp(s->typed, word, strlen(s->typed)))
		d = 1;
	if (d > near || d >= s->distance)
		return;
	s->word = word;
	s->distance = d;
}
