/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's command line: --config FILE, or one device in virtiofsd's spelling. Either way the result is a
 * document that spinfsd_config_parse() checks, so an error reads the same wherever a value came from.
 */
#ifndef SPINFSD_OPTIONS_H
#define SPINFSD_OPTIONS_H

#include <stdio.h>

#include "config.h"

enum spinfsd_action {
	SPINFSD_RUN,
	SPINFSD_CHECK_CONFIG, /* say whether the configuration is good, drivers' options included */
	SPINFSD_PRINT_CONFIG, /* print the effective configuration */
	SPINFSD_HELP,         /* these three: spinfsd_options_answer(), exit 0, before anything else */
	SPINFSD_VERSION,
	SPINFSD_CAPABILITIES,
};

#define SPINFSD_WARNINGS_MAX 8

struct spinfsd_options {
	enum spinfsd_action action;
	const char *config_file; /* NULL: one device by options */
	const char *log_level; /* given beside config_file: overrides it, also when the file is read again */
	const char *warnings[SPINFSD_WARNINGS_MAX]; /* for the log, once it is set up; static strings */
	unsigned warning_count;
};

/**
 * Reads the command line into @opts, and the configuration that it names into @cfg, to be freed by
 * spinfsd_config_fini() in any case (it is empty after HELP, VERSION, CAPABILITIES and failures). Returns 0,
 * or -errno with @err filled: exit status 2. @argv must outlive @opts. Blocks only to read the file.
 */
int spinfsd_options_parse(int argc, char *const *argv, const struct spinfsd_host *host,
			  struct spinfsd_options *opts, struct spinfsd_config *cfg, struct sfs_conf_err *err);

/** Reads the file of --config again (at start and at SIGHUP), as spinfsd_options_parse() did. */
int spinfsd_options_load(const struct spinfsd_options *opts, const struct spinfsd_host *host,
			 struct spinfsd_config *cfg, struct sfs_conf_err *err);

/** Writes what HELP, VERSION or CAPABILITIES ask for to @out. */
void spinfsd_options_answer(enum spinfsd_action action, FILE *out);

#endif
