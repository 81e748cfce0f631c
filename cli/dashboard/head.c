/* SPDX-License-Identifier: MIT */
/* The head of an answer of api.sock. See head.h. */
#include "cli/dashboard/head.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define DIGITS "0123456789"
#define LENGTH_DIGITS_MAX 12

static const char *const types[] = {
	"application/json", "application/problem+json", "application/x-ndjson"};

/* What follows the name in the line, or NULL. */
static const char *value_of(const char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncasecmp(line, name, len) != 0)
		return NULL;
	return line + len + strspn(line + len, " ");
}

static const char *type_of(const char *value)
{
	size_t len = strcspn(value, "; \r\n");

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (strlen(types[i]) == len && strncmp(types[i], value, len) == 0)
			return types[i];
	}
	return "text/plain";
}

static int take_length(const char *value, struct head *head)
{
	size_t digits = strspn(value, DIGITS);

	if (!digits || digits > LENGTH_DIGITS_MAX)
		return -EPROTO;
	head->length = 0;
	for (size_t i = 0; i < digits; i++)
		head->length = 10 * head->length + (value[i] - '0');
	return 0;
}

int head_tag(const char *text, char tag[HEAD_TAG_LEN])
{
	size_t digits = *text == '"' ? strspn(text + 1, DIGITS "abcdef") : 0;
	const char *end = text + 1 + digits;

	tag[0] = '\0';
	if (!digits || digits + 3 > HEAD_TAG_LEN || *end != '"')
		return -EPROTO;
	end += 1 + strspn(end + 1, " ");
	if (*end && *end != '\r' && *end != '\n')
		return -EPROTO;
	memcpy(tag, text, digits + 2);
	tag[digits + 2] = '\0';
	return 0;
}

static int take_status(const char *line, struct head *head)
{
	static const char version[] = "HTTP/1.";
	const char *digits = line + sizeof(version) + 1;

	if (strncmp(line, version, sizeof(version) - 1) != 0 || strlen(line) < sizeof(version) + 4)
		return -EPROTO;
	if (strspn(digits, DIGITS) != 3 || digits[-1] != ' ')
		return -EPROTO;
	head->status = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
	return head->status >= 200 && head->status < 600 ? 0 : -EPROTO;
}

int head_parse(const char *text, size_t len, struct head *head)
{
	const char *end = text + len, *line = text;

	*head = (struct head){.length = -1, .type = "text/plain"};
	if (!len || memchr(text, '\0', len) || end[-1] != '\n' || take_status(text, head) < 0)
		return -EPROTO;
	while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line < end) {
		const char *value = value_of(line, "Content-Type:");

		if (value)
			head->type = type_of(value);
		value = value_of(line, "ETag:");
		if (value)
			head_tag(value, head->tag);
		value = value_of(line, "Content-Length:");
		if (value && take_length(value, head) < 0)
			return -EPROTO;
		if (value_of(line, "Transfer-Encoding:"))
			return -EPROTO;
	}
	return 0;
}
