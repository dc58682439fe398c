/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spinfsd: options, then the daemon. Exit status: 0 clean stop, or the front end left in exit mode; 1 start or run-time
 * failure; 2 usage or configuration.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon.h"
#include "options.h"

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

static int fail(const struct sfs_conf_err *err)
{
	fprintf(stderr, "spinfsd: %s\n", err->text);
	return EXIT_USAGE;
}

static int print_config(const struct spinfsd_config *config)
{
	json_t *json = spinfsd_config_print(config);
	int rc = EXIT_FAILED;

	if (json && json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) == 0 && puts("") >= 0)
		rc = EXIT_OK;
	json_decref(json);
	return rc;
}

/* Signals that end the daemon are taken by the control thread's descriptor, by no other thread. */
static void block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	/* A guest's file that grows beyond an operator's RLIMIT_FSIZE is the guest's EFBIG, not our end. */
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int run(const struct spinfsd_options *opts, const struct spinfsd_config *config)
{
	struct sfs_conf_err err = {""};
	struct spinfsd daemon;
	int status = EXIT_OK;

	sfs_log_setup(config->log.level, config->log.target);
	for (unsigned i = 0; i < opts->warning_count; i++)
		SFS_WARN("%s", opts->warnings[i]);
	block_signals();
	if (spinfsd_create(&daemon, config, &err))
		status = fail(&err);
	else if (opts->action == SPINFSD_CHECK_CONFIG)
		status = EXIT_OK;
	else if (opts->action == SPINFSD_PRINT_CONFIG)
		status = print_config(config);
	else if (spinfsd_start(&daemon) || spinfsd_run(&daemon))
		status = EXIT_FAILED;
	spinfsd_destroy(&daemon);
	return status;
}

int main(int argc, char **argv)
{
	struct spinfsd_host host = {.drivers = spinfsd_fs_names};
	struct spinfsd_options opts;
	struct spinfsd_config config;
	struct sfs_conf_err err = {""};
	int status;

	if (spinfsd_host_read(&host)) {
		fprintf(stderr, "spinfsd: cannot read which CPUs there are\n");
		return EXIT_FAILED;
	}
	if (spinfsd_options_parse(argc, argv, &host, &opts, &config, &err)) {
		status = fail(&err);
	} else if (opts.action >= SPINFSD_HELP) {
		spinfsd_options_answer(opts.action, stdout);
		status = EXIT_OK;
	} else {
		status = run(&opts, &config);
	}
	spinfsd_config_fini(&config);
	return status;
}
