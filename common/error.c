/* SPDX-License-Identifier: MIT */
/* Errors at the edge. See error.h. */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int status, const char *field, const char *fmt, ...)
{
	va_list ap;

	err->status = status;
	snprintf(err->field, sizeof(err->field), "%s", field ? field : "");
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

const char *errno_text(int err)
{
	static _Thread_local char buf[128];

	if (err < 0)
		err = -err;
	switch (err) {
	case EADDRINUSE:
		return "address in use";
	case EADDRNOTAVAIL:
		return "address not available on this host";
	case EACCES:
	case EPERM:
		return "permission denied";
	case ENOENT:
		return "no such file or directory";
	case EMFILE:
	case ENFILE:
		return "out of file descriptors";
	case ETIMEDOUT:
		return "timed out";
	case ECONNREFUSED:
		return "connection refused";
	default:
		break;
	}
	snprintf(buf, sizeof(buf), "%s", strerror(err));
	return buf;
}
