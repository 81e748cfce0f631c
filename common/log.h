/* SPDX-License-Identifier: MIT */
/*
 * Log lines on stderr: `<3>error vm/web forward.failed port=80 reason="address in use"`.
 *
 * level, object, event, then key=value pairs; the `<N>` syslog prefix is there only where stderr
 * goes to the journal ($JOURNAL_STREAM). Never a secret, and nothing per packet above trace.
 * A line is one write(2) of at most 1 KiB. One thread.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_TRACE
};

void log_init(enum log_level level);
int log_level_parse(const char *text, enum log_level *out); /* 0 or -EINVAL */
enum log_level log_level_now(void);

/* object: "vm/web", "netctld", …; event: "forward.failed"; fmt: "key=%d other=\"%s\"" or "". */
void log_write(enum log_level level, const char *object, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_level_now() >= LOG_LEVEL_DEBUG)                                            \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                   \
	} while (0)

#endif
