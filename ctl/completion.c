/* SPDX-License-Identifier: MIT */
/* Several requests, one answer. See completion.h. */
#include "ctl/completion.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct completion {
	completion_fn *done;
	void *arg;
	unsigned pending; /* the maker's own hold counts */
	int code;
	char text[256];
};

struct completion *completion_new(completion_fn *done, void *arg)
{
	struct completion *wait = calloc(1, sizeof(*wait));

	if (!wait)
		return NULL;
	wait->done = done;
	wait->arg = arg;
	wait->pending = 1;
	return wait;
}

struct completion *completion_more(struct completion *wait)
{
	if (wait)
		wait->pending++;
	return wait;
}

void completion_done(void *arg, int code, const char *text)
{
	struct completion *wait = arg;

	if (!wait)
		return;
	if (code && code != -ECONNRESET && code != -ECANCELED && !wait->code) {
		wait->code = code;
		snprintf(wait->text, sizeof(wait->text), "%s", text);
	}
	if (--wait->pending)
		return;
	wait->done(wait->arg, wait->code, wait->text);
	free(wait);
}

void completion_close(struct completion *wait)
{
	completion_done(wait, 0, "");
}
