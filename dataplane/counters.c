/* SPDX-License-Identifier: MIT */
/* The counters' names. See counters.h. */
#include "dataplane/counters.h"

const char *const histogram_names[HISTOGRAM_COUNT] = {
#define HISTOGRAM_NAME(id, name) name,
	HISTOGRAMS(HISTOGRAM_NAME)
#undef HISTOGRAM_NAME
};

const char *const counter_names[COUNTER_COUNT] = {
#define COUNTER_NAME(id, name) name,
	COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
};
