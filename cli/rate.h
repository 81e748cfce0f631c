/* SPDX-License-Identifier: MIT */
/* Rates as people write them, and amounts as they read them: "100mbit", "1.5gbit"; "12.3M". */
#ifndef CLI_RATE_H
#define CLI_RATE_H

#include <stddef.h>
#include <stdint.h>

#define RATE_MAX 1000000000000u /* bits a second */
#define RATE_STRLEN 32

/* A number, maybe with up to three decimals, and a unit of bit, kbit, mbit, gbit or tbit, powers of
 * 1000; a bare number is bits a second. Returns 0, -EINVAL, or -ERANGE beyond RATE_MAX. */
int rate_parse(const char *text, uint64_t *bits);

/* The same again: in the largest unit that leaves no more than three decimals. Writes into buf of
 * RATE_STRLEN and returns it. */
char *rate_format(uint64_t bits, char *buf, size_t len);

/* Three digits and a unit of powers of 1000: "0", "999", "1.23k", "45.6M". Likewise. */
char *amount_format(double n, char *buf, size_t len);

#endif
