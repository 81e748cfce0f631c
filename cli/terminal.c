/* SPDX-License-Identifier: MIT */
/* A whole terminal for one program. See terminal.h. */
#include "cli/terminal.h"

#include "common/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <termios.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

/* Signals know no argument. */
static struct termios before;
static bool has_keys;
static volatile sig_atomic_t redraw;
static sigset_t outside; /* the signals that were blocked before we came */

static void put(const char *text, size_t len)
{
	/* Called by signal handlers, too. A terminal that is gone is no news. */
	if (write(STDOUT_FILENO, text, len) < 0)
		return;
}

static void enter(void)
{
	struct termios raw = before;

	if (has_keys) {
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	put(ENTER, sizeof(ENTER) - 1);
}

static void leave(void)
{
	put(LEAVE, sizeof(LEAVE) - 1);
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void set_handler(int sig, void (*handler)(int sig))
{
	struct sigaction act = {.sa_handler = handler};

	sigemptyset(&act.sa_mask);
	sigaction(sig, &act, NULL);
}

/* ---- signals ---- */

static void on_end(int sig)
{
	(void)sig;
	leave();
	_exit(0);
}

static void on_resize(int sig)
{
	(void)sig;
	redraw = 1;
}

static void on_continue(int sig)
{
	(void)sig;
	enter();
	redraw = 1;
}

static void on_stop(int sig)
{
	sigset_t set;

	leave();
	set_handler(sig, SIG_DFL);
	raise(sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL); /* here it stops, unless nobody could continue it */
	set_handler(sig, on_stop);
	on_continue(sig);
}

/* ---- life ---- */

void terminal_open(void)
{
	sigset_t ours;

	has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	/* These are noticed while we wait, so that none is missed just before. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGWINCH);
	sigaddset(&ours, SIGCONT);
	sigprocmask(SIG_BLOCK, &ours, &outside);
	set_handler(SIGINT, on_end);
	set_handler(SIGTERM, on_end);
	set_handler(SIGHUP, on_end);
	set_handler(SIGWINCH, on_resize);
	set_handler(SIGCONT, on_continue);
	set_handler(SIGTSTP, on_stop);
	enter();
}

void terminal_close(void)
{
	leave();
	set_handler(SIGINT, SIG_DFL);
	set_handler(SIGTERM, SIG_DFL);
	set_handler(SIGHUP, SIG_DFL);
	set_handler(SIGWINCH, SIG_DFL);
	set_handler(SIGCONT, SIG_DFL);
	set_handler(SIGTSTP, SIG_DFL);
	sigprocmask(SIG_SETMASK, &outside, NULL);
}

void terminal_size(size_t *rows, size_t *columns)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		size = (struct winsize){0};
	*rows = size.ws_row ? size.ws_row : 24;
	*columns = size.ws_col ? size.ws_col : 80;
}

/* ---- keys ---- */

static int read_key(void)
{
	char key;

	if (read(STDIN_FILENO, &key, 1) == 1)
		return (unsigned char)key;
	has_keys = false; /* it has ended: no more of them */
	return TERMINAL_REDRAW;
}

int terminal_wait(uint64_t ms)
{
	struct timespec left = {
		.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
	sigset_t waiting = outside;
	fd_set keys;
	int n;

	if (!redraw) {
		FD_ZERO(&keys);
		if (has_keys)
			FD_SET(STDIN_FILENO, &keys);
		n = pselect(STDIN_FILENO + 1, &keys, NULL, NULL, &left, &waiting);
		if (n > 0)
			return read_key();
		if (n == 0)
			return TERMINAL_TIMEOUT;
	}
	redraw = 0;
	return TERMINAL_REDRAW;
}

/* ---- drawing ---- */

/* How many bytes a colour's escape at p takes; 0: there is none. */
static size_t escape_at(const char *p, const char *end)
{
	const char *at = p;

	if (end - p < 3 || p[0] != '\033' || p[1] != '[')
		return 0;
	for (at += 2; at < end && (*at == ';' || (*at >= '0' && *at <= '9')); at++)
		;
	return at < end && *at == 'm' ? (size_t)(at - p) + 1 : 0;
}

void terminal_cut(FILE *out, const char *line, size_t len, size_t columns)
{
	const char *end = line + len;

	while (line < end) {
		size_t escape = escape_at(line, end);
		/* Of UTF-8 the first byte of a character takes the room of all. */
		bool begins = ((unsigned char)*line & 0xc0) != 0x80;

		if (escape) {
			fwrite(line, 1, escape, out);
			line += escape;
			continue;
		}
		if (begins && !columns)
			break;
		columns -= begins;
		fputc(*line++, out);
	}
	/* What is left of colours: the last one ends. */
	for (; line < end; line++) {
		size_t escape = escape_at(line, end);

		if (escape) {
			fwrite(line, 1, escape, out);
			line += escape - 1;
		}
	}
}

void terminal_draw(const char *text)
{
	size_t rows, columns, size = 0;
	char *screen = NULL;
	FILE *out = open_memstream(&screen, &size);

	if (!out)
		abort();
	terminal_size(&rows, &columns);
	fputs("\033[H", out);
	for (size_t row = 0; *text && row < rows; row++) {
		size_t len = strcspn(text, "\n");

		if (row)
			fputs("\r\n", out);
		terminal_cut(out, text, len, columns);
		fputs("\033[K", out);
		text += len + (text[len] == '\n');
	}
	fputs("\033[J", out);
	fclose(out);
	put(screen, size);
	free(screen);
}
