/* SPDX-License-Identifier: MIT */
/* A JSON document in a file of the caller's, and where in it a complaint belongs. */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include "cli/cli.h"

#include <json-c/json.h>

/* The object that is all of text; or NULL, with the complaint "WHATNAME line N: …" printed. */
struct json_object *document_parse(
	const struct cli *cli, const char *what, const char *name, const char *text);
/* A request is made from this file: cli_problem() then names lines. Takes text. `field` leads to the
 * document in the request, as "policy." or "". */
void document_remember(struct cli *cli, const char *name, char *text, const char *field);

#endif
