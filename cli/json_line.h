/* SPDX-License-Identifier: MIT */
/* Where in a JSON file a field stands, so that a complaint about it can tell the line. */
#ifndef CLI_JSON_LINE_H
#define CLI_JSON_LINE_H

#include <stddef.h>

/* The line, from 1 on, of the value of a field like "rules[3].to[0]"; of the nearest one around it
 * where there is none (a member that is missing). text is JSON that parses; 0 for what does not. */
unsigned json_line(const char *text, const char *field);
/* The line of an offset in a text. */
unsigned json_line_at(const char *text, size_t offset);

#endif
