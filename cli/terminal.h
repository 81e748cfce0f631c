/* SPDX-License-Identifier: MIT */
/*
 * A whole terminal for one program: the alternate screen, keys as they are pressed, and the shell's
 * screen as it was afterwards, however the program ends: q, SIGINT, SIGTERM and SIGHUP (which end it
 * with status 0), or stopped and continued as a job.
 *
 * One at a time: signals belong to the process.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What terminal_wait() says beside a key. */
enum { TERMINAL_TIMEOUT = -1, TERMINAL_REDRAW = -2 };

/* Takes the terminal at stdout; keys come from stdin where that is one, too. */
void terminal_open(void);
void terminal_close(void);

/* As it is now; 24 and 80 where it does not say. */
void terminal_size(size_t *rows, size_t *columns);

/* Waits so many ms. A key, TERMINAL_TIMEOUT, or TERMINAL_REDRAW where the size may have changed. */
int terminal_wait(uint64_t ms);

/* Draws text, line by line: cut at the terminal's width, and below its height left out. Escapes in it
 * that set colours take no room. */
void terminal_draw(const char *text);

/* The first `columns` characters of a line, with all its escapes. For terminal_draw(). */
void terminal_cut(FILE *out, const char *line, size_t len, size_t columns);

#endif
