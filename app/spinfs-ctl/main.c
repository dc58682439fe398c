/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator's client: one call over the daemon's control socket.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "sfs_rpc.h"

#define DEFAULT_SOCKET  "/run/spinfs/control.sock"
#define CALL_TIMEOUT_MS 10000

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char usage_text[] = "Usage: spinfs-ctl [--socket PATH] status\n"
				 "       spinfs-ctl [--socket PATH] stats [--json] [--device TAG]\n"
				 "       spinfs-ctl [--socket PATH] stop\n\n"
				 "status             the daemon and the state of each device\n"
				 "stats              counters of reactors, devices, queues and operations\n"
				 "stop               stop the daemon as SIGTERM does\n\n"
				 "--socket PATH      the control socket (" DEFAULT_SOCKET ")\n"
				 "--json             stats: as JSON\n"
				 "--device TAG       stats: of this device only\n"
				 "--help             print this and exit\n"
				 "--version          print the version and exit\n";

struct ctl_args {
	const char *socket, *command, *device;
	bool json;
};

static int __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	fputs("spinfs-ctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\n", stderr);
	return EXIT_USAGE;
}

static int call(const struct ctl_args *args, const char *method, json_t *params, json_t **result)
{
	struct sfs_rpc_reason why = {0};
	int rc = sfs_rpc_call(args->socket, method, params, CALL_TIMEOUT_MS, result, &why);

	switch (rc) {
	case 0:
		return EXIT_DONE;
	case -EREMOTEIO:
		fail("%s: %s", method, why.text);
		break;
	case -ENOENT:
	case -ECONNREFUSED:
		fail("%s: no daemon listens there (%s)", args->socket, strerror(-rc));
		break;
	default:
		fail("%s: %s", args->socket, strerror(-rc));
	}
	return EXIT_REFUSED;
}

static int run_stats(const struct ctl_args *args)
{
	json_t *stats = NULL, *params = args->device ? json_pack("{s:s}", "device", args->device) : NULL;
	int rc;

	if (args->device && !params)
		return fail("--device: the value is not UTF-8");
	rc = call(args, "stats", params, &stats);
	json_decref(params);
	if (rc == EXIT_DONE) {
		if (args->json) {
			json_dumpf(stats, stdout, JSON_INDENT(2));
			putchar('\n');
		} else {
			ctl_print_stats(stats, stdout);
		}
	}
	json_decref(stats);
	return rc;
}

static int run_status(const struct ctl_args *args)
{
	json_t *status = NULL;
	int rc = call(args, "status", NULL, &status);

	if (rc == EXIT_DONE)
		ctl_print_status(status, stdout);
	json_decref(status);
	return rc;
}

static int run_stop(const struct ctl_args *args)
{
	json_t *result = NULL;
	int rc = call(args, "stop", NULL, &result);

	json_decref(result);
	return rc;
}

static int run(const struct ctl_args *args)
{
	bool stats = strcmp(args->command, "stats") == 0;

	if (!stats && (args->json || args->device))
		return fail("--json and --device go with stats");
	if (stats)
		return run_stats(args);
	if (strcmp(args->command, "status") == 0)
		return run_status(args);
	if (strcmp(args->command, "stop") == 0)
		return run_stop(args);
	return fail("%s: unknown command (see --help)", args->command);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
	    {"device", required_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0},
	};
	struct ctl_args args = {.socket = DEFAULT_SOCKET};
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			args.socket = optarg;
			break;
		case 'j':
			args.json = true;
			break;
		case 'd':
			args.device = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return EXIT_DONE;
		case 'V':
			puts("spinfs-ctl " SPINFS_VERSION);
			return EXIT_DONE;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return fail("a command is needed (see --help)");
	if (optind + 1 < argc)
		return fail("unexpected argument \"%s\" (see --help)", argv[optind + 1]);
	args.command = argv[optind];
	rc = run(&args);
	return fflush(stdout) == 0 ? rc : EXIT_REFUSED;
}
