/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "sfs_log.h"

int sfs_log_level_now = SFS_LOG_INFO;
static enum sfs_log_target log_target = SFS_LOG_STDERR;

static const char *const level_names[] = {"off", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"};
static const int syslog_prio[] = {LOG_ERR, LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_DEBUG};

void sfs_log_setup(enum sfs_log_level level, enum sfs_log_target target)
{
	if (target == SFS_LOG_SYSLOG)
		openlog("spinfsd", LOG_PID, LOG_DAEMON);
	log_target = target;
	sfs_log_level_now = level;
}

void sfs_log_write(enum sfs_log_level level, const char *fmt, ...)
{
	char line[1024];
	struct timespec ts;
	struct tm tm;
	va_list ap;
	size_t n = 0;

	if (log_target == SFS_LOG_SYSLOG) {
		va_start(ap, fmt);
		vsyslog(syslog_prio[level], fmt, ap);
		va_end(ap);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, sizeof(line), "[%Y-%m-%dT%H:%M:%SZ ", &tm);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%-5s spinfsd] ", level_names[level]);
	va_start(ap, fmt);
	int len = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (len > 0)
		n += (size_t)len;
	if (n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* One write, so that lines of several threads do not mix. A log that cannot be written has no place to say so. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}
