/* SPDX-License-Identifier: MIT */
/* A whole file that the caller named. */
#ifndef CLI_FILE_H
#define CLI_FILE_H

#include <stddef.h>

/* Reads all of a file, of the standard input where the name is "-", of at most max bytes, into *out:
 * malloc'd, with a NUL behind its *len bytes. Nothing of it is left elsewhere in memory. 0, or -errno
 * (-EFBIG where there is more). */
int file_read(const char *name, size_t max, char **out, size_t *len);

/* Writes a text and a line feed into a file, or the standard output where the name is "-". A file that
 * is made is its owner's only: what is in it may be nobody else's business. 0 or -errno. */
int file_write(const char *name, const char *text);

#endif
