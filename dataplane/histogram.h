/* SPDX-License-Identifier: MIT */
/*
 * How long things took: counts of what took at most so long, and the sum. The bounds are the same
 * for all, and for who reads them (ctl/metrics.c), so that only counts are passed on.
 */
#ifndef DATAPLANE_HISTOGRAM_H
#define DATAPLANE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Upper bounds, as microseconds and as Prometheus' seconds. */
#define HISTOGRAM_BOUNDS(X)                                                                        \
	X(250, "0.00025")                                                                          \
	X(500, "0.0005")                                                                           \
	X(1000, "0.001")                                                                           \
	X(2500, "0.0025")                                                                          \
	X(5000, "0.005")                                                                           \
	X(10000, "0.01")                                                                           \
	X(25000, "0.025")                                                                          \
	X(50000, "0.05")                                                                           \
	X(100000, "0.1")                                                                           \
	X(250000, "0.25")                                                                          \
	X(500000, "0.5")                                                                           \
	X(1000000, "1")                                                                            \
	X(2500000, "2.5")                                                                          \
	X(5000000, "5")                                                                            \
	X(10000000, "10")                                                                          \
	X(30000000, "30")

enum histogram_bucket {
#define HISTOGRAM_BUCKET(us, text) HISTOGRAM_TO_##us,
	HISTOGRAM_BOUNDS(HISTOGRAM_BUCKET)
#undef HISTOGRAM_BUCKET
		HISTOGRAM_LONGER,
	HISTOGRAM_BUCKETS
};

#define HISTOGRAMS(X)                                                                              \
	X(CONNECT, "egress.connect") /* a guest's TCP connect, until it stands */                  \
	X(DNS, "dns.answer")         /* a question that upstreams were asked, until its answer */

enum histogram_id {
#define HISTOGRAM_ENUM(id, name) HISTOGRAM_##id,
	HISTOGRAMS(HISTOGRAM_ENUM)
#undef HISTOGRAM_ENUM
		HISTOGRAM_COUNT
};

struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS]; /* each counts its own only */
	uint64_t sum_us;
};

static inline void histogram_add(struct histogram *h, uint64_t us)
{
	static const uint64_t bounds[] = {
#define HISTOGRAM_US(us, text) us,
		HISTOGRAM_BOUNDS(HISTOGRAM_US)
#undef HISTOGRAM_US
	};
	size_t i = 0;

	while (i < HISTOGRAM_LONGER && us > bounds[i])
		i++;
	h->bucket[i]++;
	h->sum_us += us;
}

#endif
