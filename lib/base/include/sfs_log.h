/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines. One line a call, no newline in the format. Any thread. Nothing on the data path may log at
 * level info or above for a request; SFS_DEBUG costs one load and a branch when it is off.
 */
#ifndef SFS_LOG_H
#define SFS_LOG_H

#include <stdbool.h>

enum sfs_log_level {
	SFS_LOG_OFF,
	SFS_LOG_ERROR,
	SFS_LOG_WARN,
	SFS_LOG_INFO,
	SFS_LOG_DEBUG,
	SFS_LOG_TRACE,
};

enum sfs_log_target {
	SFS_LOG_STDERR,
	SFS_LOG_SYSLOG,
};

extern int sfs_log_level_now;

/** Sets level and target; before threads start, or at a reload. Default: info, stderr. */
void sfs_log_setup(enum sfs_log_level level, enum sfs_log_target target);

/** Writes one line. Use the macros. A line of more than 1,023 bytes is cut. May block on the target. */
void sfs_log_write(enum sfs_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline bool sfs_log_on(enum sfs_log_level level)
{
	return __builtin_expect((int)level <= sfs_log_level_now, 0);
}

#define SFS_LOG(level, ...)                                                                                  \
	do {                                                                                                 \
		if (sfs_log_on(level))                                                                       \
			sfs_log_write(level, __VA_ARGS__);                                                   \
	} while (0)

#define SFS_ERROR(...) SFS_LOG(SFS_LOG_ERROR, __VA_ARGS__)
#define SFS_WARN(...)  SFS_LOG(SFS_LOG_WARN, __VA_ARGS__)
#define SFS_INFO(...)  SFS_LOG(SFS_LOG_INFO, __VA_ARGS__)
#define SFS_DEBUG(...) SFS_LOG(SFS_LOG_DEBUG, __VA_ARGS__)
#define SFS_TRACE(...) SFS_LOG(SFS_LOG_TRACE, __VA_ARGS__)

#endif
