/* SPDX-License-Identifier: MIT */
/* What tests of names on the wire say: ClientHellos, and policies of names. */
#ifndef TESTS_UNIT_VERIFY_RIG_H
#define TESTS_UNIT_VERIFY_RIG_H

#include "common/be.h"
#include "common/policy_table.h"
#include "tests/unit/check_main.h"

#include <stdlib.h>
#include <string.h>

struct hello {
	uint8_t b[40000];
	size_t len;
};

static inline void hello_put(struct hello *h, const void *bytes, size_t len)
{
	ck_assert_uint_le(h->len + len, sizeof(h->b));
	memcpy(h->b + h->len, bytes, len);
	h->len += len;
}

static inline void hello_put16(struct hello *h, size_t v)
{
	hello_put(h, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

struct hello_form {
	const char *name; /* NULL: no extension */
	size_t name_len;  /* 0: the string's */
	bool twice;       /* the extension */
	bool two;         /* names in it */
	bool early;       /* data announced */
	size_t padding;
};

static inline void hello_put_name(struct hello *h, const struct hello_form *form)
{
	size_t n = form->name_len ? form->name_len : strlen(form->name);
	size_t each = 3 + n, list = each * (form->two ? 2 : 1);

	hello_put16(h, 0);
	hello_put16(h, 2 + list);
	hello_put16(h, list);
	for (int i = 0; i < (form->two ? 2 : 1); i++) {
		hello_put(h, "", 1);
		hello_put16(h, n);
		hello_put(h, form->name, n);
	}
}

/* The handshake message. */
static inline struct hello hello_message(const struct hello_form *form)
{
	static const uint8_t head[] = {1, 0, 0, 0, 3, 3};
	static const uint8_t middle[] = {0, 0, 2, 0x13, 1, 1, 0};
	struct hello h = {.len = 0};
	uint8_t random[32] = {7};
	size_t extensions;

	hello_put(&h, head, sizeof(head));
	hello_put(&h, random, sizeof(random));
	hello_put(&h, middle, sizeof(middle));
	extensions = h.len;
	hello_put16(&h, 0);
	hello_put16(&h, 43); /* supported_versions */
	hello_put(&h, (uint8_t[]){0, 3, 2, 3, 4}, 5);
	for (int i = 0; form->name && i < (form->twice ? 2 : 1); i++)
		hello_put_name(&h, form);
	if (form->early)
		hello_put(&h, (uint8_t[]){0, 42, 0, 0}, 4);
	if (form->padding) {
		uint8_t *zeros = calloc(1, form->padding);

		hello_put16(&h, 21);
		hello_put16(&h, form->padding);
		hello_put(&h, zeros, form->padding);
		free(zeros);
	}
	store_be16(h.b + extensions, (uint16_t)(h.len - extensions - 2));
	h.b[1] = (uint8_t)((h.len - 4) >> 16);
	store_be16(h.b + 2, (uint16_t)(h.len - 4));
	return h;
}

static inline void hello_put_record(struct hello *h, uint8_t type, const void *body, size_t len)
{
	hello_put(h, (uint8_t[]){type, 3, 1}, 3);
	hello_put16(h, len);
	hello_put(h, body, len);
}

/* In records of so many bytes. */
static inline struct hello hello_records(const struct hello_form *form, size_t each)
{
	struct hello message = hello_message(form), h = {.len = 0};

	for (size_t at = 0; at < message.len; at += each) {
		size_t left = message.len - at;

		hello_put_record(&h, 22, message.b + at, left < each ? left : each);
	}
	return h;
}

static inline struct hello hello_to(const char *name)
{
	return hello_records(&(struct hello_form){.name = name}, 16384);
}

/*
 * A table of rules that allow a name each (deny: '!', verify dns: '~') or a
 * prefix ('/', deny: '-'). */
static inline uint8_t *names_table(const char *const *text, size_t n, size_t *len)
{
	struct policy_rule rules[8];
	struct prefix prefixes[8];
	const char *names[8];
	struct policy_input in = {.rules = rules, .n_rules = n, .default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;

	ck_assert_uint_le(n, 8);
	for (size_t i = 0; i < n; i++) {
		char first = text[i][0];

		rules[i] = (struct policy_rule){.allow = first != '!' && first != '-',
			.verify_dns = first == '~',
			.by = (int32_t)i};
		if (first == '/' || first == '-') {
			ck_assert_int_eq(prefix_parse(text[i] + 1, false, &prefixes[i]), 0);
			rules[i].to = &prefixes[i];
			rules[i].n_to = 1;
			continue;
		}
		names[i] = text[i] + (first == '!' || first == '~');
		rules[i].names = &names[i];
		rules[i].n_names = 1;
	}
	ck_assert_int_eq(policy_table_compile(&in, &blob, len, NULL), 0);
	return blob;
}

#endif
