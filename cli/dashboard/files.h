/* SPDX-License-Identifier: MIT */
/* The page: the files beside this one, as embed.cmake put them into the program. */
#ifndef CLI_DASHBOARD_FILES_H
#define CLI_DASHBOARD_FILES_H

#include <stddef.h>

struct page_file {
	const char *path; /* "/page.js"; the page itself is "/" */
	const char *type;
	const unsigned char *bytes;
	size_t len;
};

/* Ends with a NULL path. */
extern const struct page_file page_files[];

#endif
