/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of names on the wire share. A parser is fed the input as verify.c does it, once
 * whole and once in the pieces that the input's first byte says; both must find the same names, and
 * the same end.
 */
#ifndef TESTS_FUZZ_FUZZ_UNITS_H
#define TESTS_FUZZ_FUZZ_UNITS_H

#include "dataplane/egress/unit.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_UNITS_MAX 64

/* 1, 0 or a negative errno, as the parsers; where begin is true it is a connection's first. */
typedef int (*fuzz_parse)(bool begin, const uint8_t *bytes, size_t len, struct unit *unit);

struct fuzz_found {
	size_t n, at; /* units that should have a name; where the last unit ends */
	bool bad, last;
	struct unit units[FUZZ_UNITS_MAX];
};

/* The name must be in the unit's bytes, or it is not the guest's. */
static inline void fuzz_check_unit(const struct unit *unit, const uint8_t *bytes, size_t len)
{
	size_t n = strnlen(unit->name, sizeof(unit->name));

	if (!unit->len || unit->len > len || n >= POLICY_NAME_LEN || (n && !unit->names))
		abort();
	if (!n)
		return;
	for (size_t i = 0; i + n <= unit->len; i++) {
		if (strncasecmp((const char *)bytes + i, unit->name, n) == 0)
			return;
	}
	abort();
}

/* `contiguous`: a name may not be in pieces itself (TLS records split it). */
static inline void fuzz_feed(struct fuzz_found *found, fuzz_parse parse, const uint8_t *bytes,
	size_t size, size_t piece, bool contiguous)
{
	size_t begin = 0, end = 0; /* of what is held */
	bool first = true;

	memset(found, 0, sizeof(*found));
	while (end < size && found->n < FUZZ_UNITS_MAX) {
		struct unit unit;
		size_t n = size - end < piece ? size - end : piece, held = end - begin;
		uint8_t *copy = malloc(held + n); /* just so large: a byte too many is seen */
		int rc;

		if (!copy)
			return;
		memcpy(copy, bytes + begin, held + n);
		rc = parse(first, copy, held + n, &unit);
		first = false;
		if (rc == 1 && unit.len <= held)
			abort(); /* it was whole before */
		if (rc == 1 && contiguous)
			fuzz_check_unit(&unit, copy, held + n);
		free(copy);
		found->bad = rc < 0;
		if (rc < 0)
			return;
		end += n;
		if (rc == 0)
			continue;
		if (unit.names)
			found->units[found->n++] = unit;
		found->last = unit.last;
		if (unit.last)
			return;
		end = begin + unit.len;
		end = unit.skip > size - end ? size : end + unit.skip;
		begin = found->at = end;
	}
}

static inline void fuzz_compare(const struct fuzz_found *a, const struct fuzz_found *b)
{
	if (a->n != b->n || a->bad != b->bad || a->last != b->last || a->at != b->at)
		abort();
	for (size_t i = 0; i < a->n; i++) {
		const struct unit *x = &a->units[i], *y = &b->units[i];

		if (x->len != y->len || x->skip != y->skip || strcmp(x->name, y->name) != 0)
			abort();
	}
}

static inline void fuzz_units(fuzz_parse parse, const uint8_t *data, size_t size, bool contiguous)
{
	static struct fuzz_found whole, split;

	if (size < 2)
		return;
	fuzz_feed(&whole, parse, data + 1, size - 1, size, contiguous);
	fuzz_feed(&split, parse, data + 1, size - 1, 1 + data[0] % 32, contiguous);
	fuzz_compare(&whole, &split);
}

#endif
