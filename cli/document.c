/* SPDX-License-Identifier: MIT */
/* Documents in files. See document.h. */
#include "cli/document.h"

#include "cli/json_line.h"

#include <stdlib.h>
#include <string.h>

struct json_object *document_parse(
	const struct cli *cli, const char *what, const char *name, const char *text)
{
	struct json_tokener *tokener = json_tokener_new();
	/* With its NUL, so that a number or a text cut short is an error. */
	struct json_object *doc = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
	enum json_tokener_error error = json_tokener_get_error(tokener);
	size_t end = json_tokener_get_parse_end(tokener);
	bool rest = doc && text[end + strspn(text + end, " \t\r\n")];

	json_tokener_free(tokener);
	if (json_object_is_type(doc, json_type_object) && !rest)
		return doc;
	json_object_put(doc);
	cli_error(cli, STATUS_FAILURE, "%s%s line %u: %s", what, name, json_line_at(text, end),
		error == json_tokener_continue          ? "the JSON ends too early"
			: error != json_tokener_success ? json_tokener_error_desc(error)
			: rest                          ? "something follows the JSON object"
							: "a JSON object is wanted");
	return NULL;
}

void document_remember(struct cli *cli, const char *name, char *text, const char *field)
{
	free(cli->file_text);
	cli->file = name;
	cli->file_text = text;
	cli->file_field = field;
}
