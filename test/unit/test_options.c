/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../app/spinfsd/options.h"
#include "sfs_cpus.h"

#define ARGS_MAX 32

static const char *const drivers[] = {"passthrough", NULL};

/* The arguments are kept, as argv is: options point to them. */
static char line_buf[512];
static char *line_argv[ARGS_MAX];

/* Splits @line at spaces. */
static int split(const char *line)
{
	int argc = 0;

	snprintf(line_buf, sizeof(line_buf), "spinfsd %s", line);
	for (char *word = strtok(line_buf, " "); word; word = strtok(NULL, " ")) {
		assert_true(argc < ARGS_MAX - 1);
		line_argv[argc++] = word;
	}
	line_argv[argc] = NULL;
	return argc;
}

static int parse(const char *line, struct spinfsd_options *opts, struct spinfsd_config *cfg,
		 struct sfs_conf_err *err)
{
	struct spinfsd_host host = {.drivers = drivers};
	int argc = split(line);

	sfs_cpus_parse("0-3", &host.allowed);
	sfs_cpus_parse("0-3", &host.online);
	err->text[0] = '\0';
	return spinfsd_options_parse(argc, line_argv, &host, opts, cfg, err);
}

static void expect_error(const char *line, const char *want)
{
	struct spinfsd_options opts;
	struct spinfsd_config cfg;
	struct sfs_conf_err err;

	assert_int_equal(parse(line, &opts, &cfg, &err), -EINVAL);
	assert_string_equal(err.text, want);
	assert_null(cfg.doc);
}

static void expect_ok(const char *line, struct spinfsd_options *opts, struct spinfsd_config *cfg)
{
	struct sfs_conf_err err;

	if (parse(line, opts, cfg, &err) != 0)
		fail_msg("%s: %s", line, err.text);
	assert_int_equal(cfg->device_count, 1);
}

/* The driver's options: @want, and what virtiofsd has off by default. */
static void expect_options(const char *line, const char *want)
{
	json_t *expected = json_pack("{s:b, s:s, s:b, s:b}", "xattr", 0, "posix_acl", "never", "posix_locks",
				     0, "flock", 0),
	       *given = json_loads(want, 0, NULL);
	struct spinfsd_options opts;
	struct spinfsd_config cfg;
	char *text;

	assert_non_null(given);
	json_object_update(expected, given);
	expect_ok(line, &opts, &cfg);
	assert_string_equal(cfg.devices[0].fs.driver, "passthrough");
	text = json_dumps(cfg.devices[0].fs.options.json, JSON_COMPACT);
	if (!json_equal(cfg.devices[0].fs.options.json, expected))
		fail_msg("%s: %s", line, text);
	free(text);
	json_decref(given);
	json_decref(expected);
	spinfsd_config_fini(&cfg);
}

static void test_single_defaults(void **state)
{
	struct spinfsd_options opts;
	struct spinfsd_config cfg;

	expect_ok("--socket-path /s --shared-dir /d", &opts, &cfg);
	assert_int_equal(opts.action, SPINFSD_RUN);
	assert_null(opts.config_file);
	assert_null(cfg.control_socket);
	assert_int_equal(cfg.reactor_count, 1);
	assert_int_equal(cfg.reactors[0].cpu, -1);
	assert_int_equal(cfg.reactors[0].idle, SFS_IDLE_ADAPTIVE);
	assert_int_equal(cfg.reactors[0].spin_us, 50);
	assert_null(cfg.devices[0].tag);
	assert_string_equal(cfg.devices[0].socket.path, "/s");
	assert_int_equal(cfg.devices[0].socket.fd, -1);
	assert_int_equal(cfg.devices[0].socket.mode, 0600);
	assert_int_equal(cfg.devices[0].on_disconnect, SPINFSD_EXIT);
	assert_int_equal(cfg.devices[0].queues.request_count, 4);
	assert_int_equal(cfg.devices[0].queues.size_max, 1024);
	assert_int_equal(cfg.workers.count, 8);
	spinfsd_config_fini(&cfg);
}

static void test_own_options(void **state)
{
	struct spinfsd_options opts;
	struct spinfsd_config cfg;

	expect_ok(
	    "/s --shared-dir=rel --tag T --idle spin --cpus 3,1 --request-queues 64 --queue-size-max 32768 "
	    "--engine io_uring --workers 3 --pin-memory --inode-fds-max 9 --on-disconnect listen "
	    "--control-socket /c "
	    "--rlimit-nofile 0 --socket-group kvm --syslog --log-level=trace",
	    &opts, &cfg);
	assert_string_equal(cfg.devices[0].socket.path, "/s");
	assert_string_equal(cfg.devices[0].socket.group, "kvm");
	assert_int_equal(cfg.devices[0].socket.mode, 0660);
	assert_string_equal(cfg.devices[0].tag, "T");
	assert_int_equal(cfg.reactor_count, 2);
	assert_string_equal(cfg.reactors[0].name, "r0");
	assert_int_equal(cfg.reactors[0].cpu, 1);
	assert_int_equal(cfg.reactors[1].cpu, 3);
	assert_int_equal(cfg.reactors[1].idle, SFS_IDLE_SPIN);
	assert_int_equal(cfg.devices[0].queues.request_count, 64);
	assert_int_equal(cfg.devices[0].queues.size_max, 32768);
	assert_int_equal(cfg.memory.heap_mib, 102); /* grown: no option says it */
	assert_int_equal(cfg.io.engine, SPINFSD_ENGINE_IO_URING);
	assert_int_equal(cfg.workers.count, 3);
	assert_true(cfg.devices[0].pin_memory);
	assert_int_equal(cfg.devices[0].on_disconnect, SPINFSD_LISTEN);
	assert_string_equal(cfg.control_socket, "/c");
	assert_int_equal(cfg.rlimit_nofile, 0);
	assert_int_equal(cfg.log.level, SFS_LOG_TRACE);
	assert_int_equal(cfg.log.target, SFS_LOG_SYSLOG);
	assert_string_equal(json_string_value(json_object_get(cfg.devices[0].fs.options.json, "shared_dir")),
			    "rel");
	assert_int_equal(json_integer_value(json_object_get(cfg.devices[0].fs.options.json, "inode_fds_max")),
			 9);
	spinfsd_config_fini(&cfg);
}

static void test_driver_options(void **state)
{
	expect_options(
	    "/s --shared-dir /d --cache always --xattr --readonly --writeback --no-readdirplus",
	    "{\"shared_dir\":\"/d\",\"cache\":\"always\",\"xattr\":true,\"readonly\":true,\"writeback\":true,"
	    "\"readdirplus\":false}");
	expect_options(
	    "/s --shared-dir /d --allow-direct-io --allow-mmap --preserve-noatime --killpriv-v2",
	    "{\"shared_dir\":\"/d\",\"allow_direct_io\":true,\"allow_mmap\":true,\"preserve_noatime\":true,"
	    "\"killpriv_v2\":true}");
	expect_options("/s --shared-dir /d --cache always --no-open",
		       "{\"shared_dir\":\"/d\",\"cache\":\"always\",\"no_open\":true}");
	expect_options(
	    "/s --shared-dir /d --no-killpriv-v2 --no-announce-submounts --inode-file-handles=mandatory",
	    "{\"shared_dir\":\"/d\",\"killpriv_v2\":false,\"announce_submounts\":false,"
	    "\"inode_file_handles\":\"mandatory\"}");
	expect_options("/s --shared-dir /d --posix-acl",
		       "{\"shared_dir\":\"/d\",\"posix_acl\":\"always\",\"xattr\":true}");
	expect_options("/s --shared-dir /d --posix-acl=auto",
		       "{\"shared_dir\":\"/d\",\"posix_acl\":\"auto\",\"xattr\":true}");
	expect_options("/s --shared-dir /d --posix-acl --posix-acl=never", "{\"shared_dir\":\"/d\"}");
	expect_options("/s --shared-dir /d --security-label",
		       "{\"shared_dir\":\"/d\",\"security_label\":\"always\",\"xattr\":true}");
	expect_options("/s --shared-dir /d --security-label=auto",
		       "{\"shared_dir\":\"/d\",\"security_label\":\"auto\",\"xattr\":true}");
	expect_options("/s --shared-dir /d --security-label=never",
		       "{\"shared_dir\":\"/d\",\"security_label\":\"never\"}");
	/* What a driver refuses is passed on as it is. */
	expect_options("/s --shared-dir /d --inode-fds-max 1k",
		       "{\"shared_dir\":\"/d\",\"inode_fds_max\":\"1k\"}");
}

static void test_list_options(void **state)
{
	struct spinfsd_options opts;
	struct spinfsd_config cfg;

	expect_options("/s --shared-dir /d --xattrmap=:map::user.virtiofs.:",
		       "{\"shared_dir\":\"/d\",\"xattrmap\":\":map::user.virtiofs.:\",\"xattr\":true}");
	expect_options("/s -o source=/d,xattrmap=/ok/all///",
		       "{\"shared_dir\":\"/d\",\"xattrmap\":\"/ok/all///\",\"xattr\":true}");
	expect_options("/s -o source=/d,cache=none,xattr,no_flock,no_posix_lock -o no_readdirplus",
		       "{\"shared_dir\":\"/d\",\"cache\":\"none\",\"xattr\":true,"
		       "\"readdirplus\":false}");
	expect_options(
	    "/s -osource=/d=e,no_xattr,readdirplus,writeback,no_writeback,allow_direct_io,no_allow_direct_io",
	    "{\"shared_dir\":\"/d=e\",\"xattr\":false,\"readdirplus\":true,\"writeback\":false,"
	    "\"allow_direct_io\":false}");
	expect_options("/s -o source=/d,announce_submounts,killpriv_v2,no_killpriv_v2,posix_acl,no_posix_acl",
		       "{\"shared_dir\":\"/"
		       "d\",\"announce_submounts\":true,\"killpriv_v2\":false,\"posix_acl\":\"never\"}");
	expect_options("/s -o source=/d,posix_lock,flock",
		       "{\"shared_dir\":\"/d\",\"posix_locks\":true,\"flock\":true}");
	expect_options("/s -o source=/d,posix_lock,no_posix_lock,security_label,no_security_label",
		       "{\"shared_dir\":\"/d\",\"posix_locks\":false,\"security_label\":\"never\"}");
	expect_ok("/s -o source=/d,loglevel=err,sandbox=none", &opts, &cfg);
	assert_int_equal(cfg.log.level, SFS_LOG_ERROR);
	spinfsd_config_fini(&cfg);
	expect_ok("/s -o source=/d,log_level=err,debug", &opts, &cfg);
	assert_int_equal(cfg.log.level, SFS_LOG_DEBUG);
	spinfsd_config_fini(&cfg);
}

static void test_last_one_wins(void **state)
{
	struct spinfsd_options opts;
	struct spinfsd_config cfg;

	expect_options("/s --shared-dir /a --cache never -o source=/b,cache=auto",
		       "{\"shared_dir\":\"/b\",\"cache\":\"auto\"}");
	expect_options("/s -o source=/b,xattr --shared-dir /a --announce-submounts --no-announce-submounts",
		       "{\"shared_dir\":\"/a\",\"xattr\":true,\"announce_submounts\":false}");
	expect_ok("--socket-path /a --socket-path /b --shared-dir /d --thread-pool-size 4 --workers=0 -d "
		  "--log-level "
		  "info",
		  &opts, &cfg);
	assert_string_equal(cfg.devices[0].socket.path, "/b");
	assert_int_equal(cfg.workers.count, 8);
	assert_int_equal(cfg.log.level, SFS_LOG_INFO);
	spinfsd_config_fini(&cfg);
	expect_error("/s --shared-dir /d --log-level quiet -o loglevel=silent",
		     "-o loglevel: \"silent\" is not one of off, error, warn, info, debug, trace");
}

/* What management tools run. */
static void test_tools(void **state)
{
	struct spinfsd_options opts;
	struct spinfsd_config cfg;

	/* libvirt */
	expect_ok("--fd=22 --shared-dir /d --cache always --sandbox none --xattr --thread-pool-size=16 "
		  "--rlimit-nofile=65536 --log-level debug",
		  &opts, &cfg);
	assert_null(cfg.devices[0].socket.path);
	assert_int_equal(cfg.devices[0].socket.fd, 22);
	assert_int_equal(cfg.workers.count, 16);
	assert_int_equal(cfg.rlimit_nofile, 65536);
	spinfsd_config_fini(&cfg);
	expect_options("--fd=22 -o source=/d,cache=always,sandbox=none,xattr,no_flock,no_posix_lock -d",
		       "{\"shared_dir\":\"/"
		       "d\",\"cache\":\"always\",\"xattr\":true}");
	/* Kata: Go and Rust runtimes */
	expect_options(
	    "--syslog --cache=auto --shared-dir=/d --fd=3 --thread-pool-size=1 --announce-submounts",
	    "{\"cache\":\"auto\",\"shared_dir\":\"/d\",\"announce_submounts\":true}");
	expect_options("--socket-path s --shared-dir /d --cache never --xattr",
		       "{\"shared_dir\":\"/d\",\"cache\":\"never\",\"xattr\":true}");
	/* Incus, LXD */
	expect_options(
	    "--fd=3 --cache=metadata --shared-dir=/d --posix-acl",
	    "{\"cache\":\"metadata\",\"shared_dir\":\"/d\",\"posix_acl\":\"always\",\"xattr\":true}");
	expect_options("--fd=3 -o source=/d", "{\"shared_dir\":\"/d\"}");
	expect_options("--socket-path=/s -o source=/d", "{\"shared_dir\":\"/d\"}");
	/* Proxmox VE */
	expect_options(
	    "--fd=5 --shared-dir=/d --xattr --posix-acl --announce-submounts --allow-direct-io --cache=never "
	    "--syslog",
	    "{\"shared_dir\":\"/d\",\"xattr\":true,\"posix_acl\":\"always\",\"announce_submounts\":true,"
	    "\"allow_direct_io\":true,\"cache\":\"never\"}");
	/* by hand, deprecated */
	expect_ok("-f --socket /s -o source=/d --inode-file-handles=fallback", &opts, &cfg);
	assert_int_equal(opts.warning_count, 2);
	assert_string_equal(opts.warnings[0], "--socket is deprecated, use --socket-path");
	assert_string_equal(opts.warnings[1], "--inode-file-handles=fallback means prefer");
	assert_string_equal(
	    json_string_value(json_object_get(cfg.devices[0].fs.options.json, "inode_file_handles")),
	    "prefer");
	spinfsd_config_fini(&cfg);
}

static void test_usage_errors(void **state)
{
	expect_error("", "--config, --socket-path or --fd is needed (see --help)");
	expect_error("--shared-dir /d", "--config, --socket-path or --fd is needed (see --help)");
	expect_error("/s", "--shared-dir is needed (see --help)");
	expect_error("/s /t --shared-dir /d", "unexpected argument \"/t\" (see --help)");
	expect_error("/s --fd 3 --shared-dir /d", "--fd and a socket path exclude each other");
	expect_error("--fd 3 --socket-group kvm --shared-dir /d",
		     "--fd and --socket-group exclude each other");
	expect_error("/s --shared-dir /d --frob", "--frob: unknown option (see --help)");
	expect_error("/s --shared /d", "--shared: unknown option (see --help)");
	expect_error("/s --shared-dir /d -x", "-x: unknown option (see --help)");
	expect_error("/s --shared-dir /d -fx", "-x: unknown option (see --help)");
	expect_error("/s --shared-dir", "--shared-dir: a value is missing");
	expect_error("/s -o", "-o: a value is missing");
	expect_error("/s --xattr=yes", "--xattr: takes no value");
	expect_error("/s --shared-dir /d --tag \xff\xfe", "--tag: the value is not UTF-8");
	expect_error("/s -o source", "-o source: a value is missing");
	expect_error("/s -o source=/d,frob", "-o frob: unknown option");
	expect_error("/s -o source=/d,xattr=1", "-o xattr: takes no value");
	expect_error("/s -o source=/d,", "-o : unknown option");
	expect_error("--check-config /s --shared-dir /d", "--check-config and --print-config need --config");
}

static void test_unbuilt(void **state)
{
	static const char *const unbuilt[] = {
	    "--uid-map=:0:1000:1:",        "--gid-map=:0:1000:1:",
	    "--translate-uid=map:0:1:2",   "--translate-gid=map:0:1:2",
	    "--migration-mode=find-paths", "--migration-on-error=abort",
	    "--migration-verify-handles",  "--migration-confirm-paths",
	    "--modcaps=+sys_admin",        "--no-keeper",
	};

	for (size_t i = 0; i < sizeof(unbuilt) / sizeof(unbuilt[0]); i++) {
		char line[128], want[128];

		snprintf(line, sizeof(line), "/s --shared-dir /d %s", unbuilt[i]);
		snprintf(want, sizeof(want), "%.*s: not supported yet", (int)strcspn(unbuilt[i], "="),
			 unbuilt[i]);
		expect_error(line, want);
	}
	expect_error("/s --shared-dir /d --sandbox chroot",
		     "--sandbox: \"chroot\" is not built yet, use none");
	expect_error("/s -o source=/d,sandbox=namespace",
		     "-o sandbox: \"namespace\" is not built yet, use none");
	expect_error("/s --shared-dir /d --seccomp kill", "--seccomp: \"kill\" is not built yet, use none");
}

static void test_value_errors(void **state)
{
	expect_error("/s --shared-dir /d --request-queues 0",
		     "--request-queues: 0 is not a whole number from 1 to 64");
	expect_error("/s --shared-dir /d --request-queues four",
		     "--request-queues: \"four\" is not a whole number from 1 to 64");
	expect_error("/s --shared-dir /d --workers -1",
		     "--workers: \"-1\" is not a whole number from 0 to 1024");
	expect_error("/s --shared-dir /d --fd 99999999999999999999",
		     "--fd and a socket path exclude each other");
	expect_error("--shared-dir /d --fd 99999999999999999999",
		     "--fd: \"99999999999999999999\" is not a whole number from 0 to 2147483647");
	expect_error("/s --shared-dir /d --queue-size-max 100",
		     "--queue-size-max: 100 is not a power of two from 2 to 32768");
	expect_error("/s --shared-dir /d --engine fast",
		     "--engine: \"fast\" is not one of auto, io_uring, libaio, workers");
	expect_error("/s --shared-dir /d --engine workers --pin-memory",
		     "--pin-memory: io.engine \"workers\" has no use for it, use io_uring");
	expect_error("/s --shared-dir /d --idle maybe", "--idle: \"maybe\" is not one of spin, adaptive");
	expect_error("/s --shared-dir /d --cpus 0-", "--cpus: \"0-\": not a CPU list such as 0-1,3");
	expect_error("/s --shared-dir /d --cpus 1,1", "--cpus: \"1,1\": a CPU is named twice");
	expect_error("/s --shared-dir /d --cpus 2,9", "--cpus: CPU 9 is offline or does not exist");
	expect_error("/s --shared-dir /d --tag=", "--tag: \"\" is not a string of 1 to 36 bytes");
	expect_error("/s --shared-dir /d --on-disconnect stay",
		     "--on-disconnect: \"stay\" is not one of listen, exit");
	expect_error("--socket-path= --shared-dir /d", "--socket-path: \"\" is not a path");
	expect_error("/s --shared-dir /d --log-level loud",
		     "--log-level: \"loud\" is not one of off, error, warn, info, debug, trace");
}

static void test_config_file(void **state)
{
	char path[] = "/tmp/test_options.XXXXXX", line[160], want[200];
	struct spinfsd_host host = {.drivers = drivers};
	struct spinfsd_options opts;
	struct spinfsd_config cfg;
	struct sfs_conf_err err;
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fputs("{\"log\":{\"level\":\"warn\"},\n\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"s\"},"
	      "\"fs\":{\"driver\":\"passthrough\"}}]}",
	      f);
	fclose(f);
	snprintf(line, sizeof(line), "--config %s", path);
	expect_ok(line, &opts, &cfg);
	assert_int_equal(opts.action, SPINFSD_RUN);
	assert_string_equal(opts.config_file, path);
	assert_int_equal(cfg.log.level, SFS_LOG_WARN);
	assert_string_equal(cfg.devices[0].socket.path, "/tmp/s");
	assert_string_equal(cfg.control_socket, "/run/spinfs/control.sock");
	assert_int_equal(cfg.devices[0].on_disconnect, SPINFSD_LISTEN);
	spinfsd_config_fini(&cfg);

	snprintf(line, sizeof(line), "--config=%s --print-config --log-level debug", path);
	expect_ok(line, &opts, &cfg);
	assert_int_equal(opts.action, SPINFSD_PRINT_CONFIG);
	assert_int_equal(cfg.log.level, SFS_LOG_DEBUG);
	spinfsd_config_fini(&cfg);
	/* Read again, the option still counts. */
	spinfsd_host_read(&host);
	assert_int_equal(spinfsd_options_load(&opts, &host, &cfg, &err), 0);
	assert_int_equal(cfg.log.level, SFS_LOG_DEBUG);
	spinfsd_config_fini(&cfg);

	snprintf(line, sizeof(line), "--log-level loud --config %s --check-config", path);
	expect_error(line, "--log-level: \"loud\" is not one of off, error, warn, info, debug, trace");
	snprintf(line, sizeof(line), "--config %s --tag x", path);
	expect_error(line, "--tag does not go with --config");
	snprintf(line, sizeof(line), "-d --config %s --tag x", path);
	expect_error(line, "-d does not go with --config");
	snprintf(line, sizeof(line), "--config %s /s", path);
	expect_error(line, "SOCKET does not go with --config");

	f = fopen(path, "w");
	assert_non_null(f);
	fputs("{\"devices\":[],\n \"nope\":1}", f);
	fclose(f);
	snprintf(line, sizeof(line), "--config %s --check-config", path);
	snprintf(want, sizeof(want), "%s:1:12: devices: an array of 0, must be of 1 to 4096", path);
	expect_error(line, want);
	unlink(path);
	assert_int_equal(parse(line, &opts, &cfg, &err), -ENOENT);
	snprintf(want, sizeof(want), "%s: No such file or directory", path);
	assert_string_equal(err.text, want);
}

/* These answer alone, before anything else is looked at. */
static void test_actions(void **state)
{
	static const struct {
		const char *line;
		enum spinfsd_action action;
	} rows[] = {
	    {"--help", SPINFSD_HELP},
	    {"-h", SPINFSD_HELP},
	    {"--version", SPINFSD_VERSION},
	    {"-V", SPINFSD_VERSION},
	    {"-fV", SPINFSD_VERSION},
	    {"--print-capabilities", SPINFSD_CAPABILITIES},
	    {"--print-capabilities --nonsense", SPINFSD_CAPABILITIES},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spinfsd_options opts;
		struct spinfsd_config cfg;
		struct sfs_conf_err err;

		assert_int_equal(parse(rows[i].line, &opts, &cfg, &err), 0);
		assert_int_equal(opts.action, rows[i].action);
		assert_null(cfg.doc);
	}
}

static char *answer(enum spinfsd_action action)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *f = open_memstream(&text, &bytes);

	assert_non_null(f);
	spinfsd_options_answer(action, f);
	fclose(f);
	return text;
}

static void test_answers(void **state)
{
	static const char *const shown[] = {"\n--config FILE ",
					    "\n--socket-path PATH ",
					    "\n--posix-acl[=MODE] ",
					    "\n--xattr ",
					    "\n--print-capabilities ",
					    "\n-o LIST ",
					    "\n-d "};
	char *text = answer(SPINFSD_CAPABILITIES);
	json_t *json;

	assert_string_equal(
	    text, "{\n  \"type\": \"fs\",\n  \"features\": [\n    \"separate-options\",\n"
		  "    \"posix-acl-negotiation-mode\",\n    \"security-label-negotiation-mode\"\n  ]\n}\n");
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	json_decref(json);
	free(text);

	text = answer(SPINFSD_HELP);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		if (!strstr(text, shown[i]))
			fail_msg("not shown: %s", shown[i] + 1);
	}
	assert_null(strstr(text, "uid-map"));
	free(text);

	text = answer(SPINFSD_VERSION);
	assert_string_equal(text, "spinfsd " SPINFS_VERSION "\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_single_defaults), cmocka_unit_test(test_own_options),
	    cmocka_unit_test(test_driver_options),  cmocka_unit_test(test_list_options),
	    cmocka_unit_test(test_last_one_wins),   cmocka_unit_test(test_tools),
	    cmocka_unit_test(test_usage_errors),    cmocka_unit_test(test_unbuilt),
	    cmocka_unit_test(test_value_errors),    cmocka_unit_test(test_config_file),
	    cmocka_unit_test(test_actions),         cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
