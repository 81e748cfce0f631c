/* SPDX-License-Identifier: MIT */
/* Rates as text. See rate.h. */
#include "cli/rate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	uint64_t bits;
} units[] = {
	{"tbit", 1000000000000u}, {"gbit", 1000000000u}, {"mbit", 1000000u}, {"kbit", 1000u},
	{"bit", 1u}, {"", 1u}, /* as a bare number */
};

#define N_UNITS (sizeof(units) / sizeof(*units))

/* Thousandths, so that decimals are exact. */
static int read_number(const char **text, uint64_t *thousandths)
{
	const char *p = *text;
	uint64_t n = 0, place = 1000;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > RATE_MAX)
			return -ERANGE;
	}
	n *= 1000;
	if (*p == '.') {
		if (p[1] < '0' || p[1] > '9')
			return -EINVAL;
		for (p++; *p >= '0' && *p <= '9'; p++) {
			place /= 10;
			if (!place)
				return -EINVAL;
			n += (uint64_t)(*p - '0') * place;
		}
	}
	*text = p;
	*thousandths = n;
	return 0;
}

int rate_parse(const char *text, uint64_t *bits)
{
	uint64_t n = 0;
	int err = read_number(&text, &n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < N_UNITS; i++) {
		if (strcasecmp(text, units[i].name) != 0)
			continue;
		if (n / 1000 > RATE_MAX / units[i].bits)
			return -ERANGE;
		/* A unit of bits has no thousandths. */
		if (units[i].bits == 1 && n % 1000)
			return -EINVAL;
		*bits = units[i].bits == 1 ? n / 1000 : n * (units[i].bits / 1000);
		return *bits > RATE_MAX ? -ERANGE : 0;
	}
	return -EINVAL;
}

char *rate_format(uint64_t bits, char *buf, size_t len)
{
	size_t unit = 0, end;

	while (units[unit].bits >= 1000 &&
		(bits < units[unit].bits || bits % (units[unit].bits / 1000)))
		unit++;
	if (units[unit].bits < 1000) {
		snprintf(buf, len, "%llubit", (unsigned long long)bits);
		return buf;
	}
	snprintf(buf, len, "%llu.%03llu", (unsigned long long)(bits / units[unit].bits),
		(unsigned long long)(bits % units[unit].bits / (units[unit].bits / 1000)));
	for (end = strlen(buf); buf[end - 1] == '0';)
		end--;
	if (buf[end - 1] == '.')
		end--;
	snprintf(buf + end, len - end, "%s", units[unit].name);
	return buf;
}

char *amount_format(double n, char *buf, size_t len)
{
	static const char letters[] = " kMGTPE";
	size_t unit = 0;
	int decimals;

	/* What would be rounded up to a thousand is one of the next unit. */
	for (; n >= 999.5 && unit < sizeof(letters) - 2; unit++)
		n /= 1000;
	if (!unit) {
		snprintf(buf, len, "%.0f", n);
		return buf;
	}
	decimals = n < 9.995 ? 2 : n < 99.95 ? 1 : 0;
	snprintf(buf, len, "%.*f%c", decimals, n, letters[unit]);
	return buf;
}
