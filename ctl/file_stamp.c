/* SPDX-License-Identifier: MIT */
/* What a file was when it was read. See file_stamp.h. */
#include "ctl/file_stamp.h"

#include "common/os.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int file_stamp_of(const char *path, struct file_stamp *stamp)
{
	struct stat now;

	memset(stamp, 0, sizeof(*stamp));
	if (stat(path, &now) < 0)
		return -errno;
	*stamp = (struct file_stamp){
		.dev = now.st_dev, .ino = now.st_ino, .size = now.st_size, .mtime = os_mtime(&now)};
	return 0;
}

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
		a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}
