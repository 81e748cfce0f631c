/* SPDX-License-Identifier: MIT */
/* A whole file. See file.h. */
#include "cli/file.h"

#include "common/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads until the end or max bytes; how many, or -errno. */
static ssize_t read_all(int fd, char *buf, size_t max)
{
	size_t len = 0;

	while (len < max) {
		ssize_t n = read(fd, buf + len, max - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int file_read(const char *name, size_t max, char **out, size_t *len)
{
	int fd = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
	char *text;
	ssize_t n;

	if (fd < 0)
		return -errno;
	text = malloc(max + 1);
	if (!text)
		abort();
	n = read_all(fd, text, max + 1);
	if (fd != STDIN_FILENO)
		close(fd);
	if (n < 0 || (size_t)n > max) {
		os_wipe(text, max + 1);
		free(text);
		return n < 0 ? (int)n : -EFBIG;
	}
	text[n] = '\0';
	*out = text;
	*len = (size_t)n;
	return 0;
}

/* 0 or -errno. */
static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_write(const char *name, const char *text)
{
	bool is_stdout = strcmp(name, "-") == 0;
	int fd = is_stdout ? STDOUT_FILENO
			   : open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, text, strlen(text));
	if (!err)
		err = write_all(fd, "\n", 1);
	if (!is_stdout && close(fd) < 0 && !err)
		err = -errno;
	return err;
}
