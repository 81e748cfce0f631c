/* SPDX-License-Identifier: MIT */
/*
 * Whether a file that is watched by looking at it is still what was read: by which file it is, its size
 * and its time, which has nanoseconds, since an editor may well write twice within a second.
 */
#ifndef CTL_FILE_STAMP_H
#define CTL_FILE_STAMP_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct file_stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

/* 0, or -errno with a stamp of zeros. */
int file_stamp_of(const char *path, struct file_stamp *stamp);
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);

#endif
