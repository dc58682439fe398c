/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../app/spinfsd/config.h"
#include "sfs_cpus.h"

static const char *const drivers[] = {"passthrough", "mem", "null", NULL};

/* A host with CPUs 0-5, of which 5 is offline and 4 is not ours. */
static struct spinfsd_host host(void)
{
	struct spinfsd_host h = {.drivers = drivers};

	sfs_cpus_parse("0-3", &h.allowed);
	sfs_cpus_parse("0-4", &h.online);
	return h;
}

static int parse(const char *text, struct spinfsd_config *cfg, struct sfs_conf_err *err)
{
	struct spinfsd_host h = host();
	struct sfs_conf_doc *doc;
	int rc = sfs_conf_doc_parse(text, strlen(text), "F", &doc, err);

	*cfg = (struct spinfsd_config){0};
	return rc ? rc : spinfsd_config_parse(doc, &h, cfg, err);
}

static void expect_error(const char *text, const char *want)
{
	struct spinfsd_config cfg;
	struct sfs_conf_err err;

	assert_int_equal(parse(text, &cfg, &err), -EINVAL);
	assert_string_equal(err.text, want);
	spinfsd_config_fini(&cfg);
}

/* A device as the least that is accepted; 73 characters with a tag and a name of one. */
#define DEV(tag, name)                                                                                       \
	"{\"tag\":\"" tag "\",\"socket\":{\"path\":\"/s/" name "\"},\"fs\":{\"driver\":\"null\"}}"
#define ONE_DEVICE "\"devices\":[" DEV("t", "a") "]"

static void test_minimal(void **state)
{
	struct spinfsd_config cfg;
	struct sfs_conf_err err;
	cpu_set_t all;

	assert_int_equal(parse("{" ONE_DEVICE "}", &cfg, &err), 0);
	assert_int_equal(cfg.log.level, SFS_LOG_INFO);
	assert_int_equal(cfg.log.target, SFS_LOG_STDERR);
	assert_string_equal(cfg.control_socket, "/run/spinfs/control.sock");
	assert_int_equal(cfg.stop_timeout_ms, 30000);
	assert_int_equal(cfg.sandbox, SPINFSD_SANDBOX_NONE);
	assert_int_equal(cfg.seccomp, SPINFSD_SECCOMP_NONE);
	assert_int_equal(cfg.rlimit_nofile, 1000000);
	assert_false(cfg.memory.hugepages);
	assert_int_equal(cfg.memory.heap_mib, 64);
	assert_int_equal(cfg.memory.numa, -1);
	assert_int_equal(cfg.eal_count, 0);
	assert_int_equal(cfg.reactor_count, 1);
	assert_string_equal(cfg.reactors[0].name, "r0");
	assert_int_equal(cfg.reactors[0].cpu, -1);
	assert_int_equal(cfg.reactors[0].idle, SFS_IDLE_ADAPTIVE);
	assert_int_equal(cfg.reactors[0].spin_us, 50);
	assert_int_equal(cfg.workers.count, 8);
	assert_int_equal(cfg.workers.spin_us, 20);
	assert_int_equal(cfg.io.engine, SPINFSD_ENGINE_AUTO);
	assert_int_equal(cfg.io.depth, 256);
	sfs_cpus_parse("0-3", &all);
	assert_true(CPU_EQUAL(&cfg.control_cpus, &all));
	assert_true(CPU_EQUAL(&cfg.workers.cpus, &all));

	assert_int_equal(cfg.device_count, 1);
	assert_string_equal(cfg.devices[0].tag, "t");
	assert_string_equal(cfg.devices[0].socket.path, "/s/a");
	assert_int_equal(cfg.devices[0].socket.fd, -1);
	assert_int_equal(cfg.devices[0].socket.mode, 0600);
	assert_int_equal(cfg.devices[0].on_disconnect, SPINFSD_LISTEN);
	assert_int_equal(cfg.devices[0].queues.request_count, 4);
	assert_int_equal(cfg.devices[0].queues.size_max, 1024);
	assert_int_equal(cfg.devices[0].queues.reactor_count, 1);
	assert_int_equal(cfg.devices[0].limits.inodes, 4194304);
	assert_int_equal(cfg.devices[0].limits.handles, 65536);
	assert_int_equal(cfg.devices[0].limits.fds, 65536);
	assert_int_equal(cfg.devices[0].limits.requests, 256);
	assert_int_equal(cfg.devices[0].limits.bytes_in_flight, 268435456);
	assert_int_equal(cfg.devices[0].limits.workers, 4);
	assert_int_equal(cfg.devices[0].limits.locks, 16384);
	assert_int_equal(cfg.devices[0].limits.lock_waiters, 256);
	assert_false(cfg.devices[0].pin_memory);
	assert_string_equal(cfg.devices[0].fs.driver, "null");
	assert_int_equal(json_object_size(cfg.devices[0].fs.options.json), 0);
	assert_string_equal(cfg.devices[0].fs.options.path, "devices[0].fs.options");
	spinfsd_config_fini(&cfg);
}

static const char example[] =
    "{ \"version\": 1,\n"
    "  \"log\": { \"level\": \"info\", \"target\": \"stderr\" },\n"
    "  \"control_socket\": \"/run/spinfs/control.sock\",\n"
    "  \"stop_timeout_ms\": 30000, \"sandbox\": \"none\", \"seccomp\": \"none\", \"rlimit_nofile\": "
    "1000000,\n"
    "  \"memory\": { \"hugepages\": false, \"heap_mib\": 64, \"numa\": \"auto\" },\n"
    "  \"eal\": [], \"control_cpus\": \"0-1\",\n"
    "  \"reactors\": [ { \"name\": \"r0\", \"cpu\": 2, \"idle\": \"spin\" },\n"
    "    { \"name\": \"r1\", \"cpu\": 3, \"idle\": \"adaptive\", \"spin_us\": 50 } ],\n"
    "  \"workers\": { \"count\": 8, \"cpus\": \"0-1\", \"spin_us\": 20 },\n"
    "  \"io\": { \"engine\": \"auto\", \"depth\": 256 },\n"
    "  \"devices\": [ { \"tag\": \"data\",\n"
    "      \"socket\": { \"path\": \"/run/spinfs/data.sock\", \"group\": \"kvm\", \"mode\": \"0660\" },\n"
    "      \"on_disconnect\": \"listen\",\n"
    "      \"queues\": { \"request_count\": 4, \"size_max\": 1024, \"reactors\": [\"r0\", \"r1\"] },\n"
    "      \"limits\": { \"inodes\": 4194304, \"handles\": 65536, \"fds\": 4096, \"requests\": 256,\n"
    "        \"bytes_in_flight\": 268435456, \"workers\": 4, \"locks\": 1000,\n"
    "        \"lock_waiters\": 256 }, \"pin_memory\": true,\n"
    "      \"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"/srv/data\", \"cache\": "
    "\"auto\",\n"
    "        \"entry_timeout_ms\": null, \"xattr\": true } } },\n"
    "    { \"tag\": \"images\", \"socket\": { \"path\": \"/run/spinfs/images.sock\" },\n"
    "      \"queues\": { \"request_count\": 1, \"reactors\": [\"r1\"] },\n"
    "      \"fs\": { \"driver\": \"passthrough\",\n"
    "        \"options\": { \"shared_dir\": \"/srv/images\", \"readonly\": true, \"cache\": \"always\",\n"
    "          \"inode_file_handles\": \"mandatory\" } } } ] }\n";

static void check_example(const struct spinfsd_config *cfg)
{
	cpu_set_t control;

	sfs_cpus_parse("0-1", &control);
	assert_true(CPU_EQUAL(&cfg->control_cpus, &control));
	assert_true(CPU_EQUAL(&cfg->workers.cpus, &control));
	assert_int_equal(cfg->reactor_count, 2);
	assert_int_equal(cfg->reactors[0].cpu, 2);
	assert_int_equal(cfg->reactors[0].idle, SFS_IDLE_SPIN);
	assert_int_equal(cfg->reactors[1].idle, SFS_IDLE_ADAPTIVE);
	assert_int_equal(cfg->device_count, 2);
	assert_string_equal(cfg->devices[0].socket.group, "kvm");
	assert_int_equal(cfg->devices[0].socket.mode, 0660);
	assert_int_equal(cfg->devices[0].limits.locks, 1000);
	assert_true(cfg->devices[0].pin_memory);
	assert_false(cfg->devices[1].pin_memory);
	assert_int_equal(cfg->devices[0].queues.reactor_count, 2);
	assert_int_equal(cfg->devices[0].queues.reactors[1], 1);
	assert_int_equal(cfg->devices[1].queues.request_count, 1);
	assert_int_equal(cfg->devices[1].queues.reactor_count, 1);
	assert_int_equal(cfg->devices[1].queues.reactors[0], 1);
	assert_string_equal(json_string_value(json_object_get(cfg->devices[1].fs.options.json, "cache")),
			    "always");
	assert_string_equal(cfg->devices[1].fs.options.path, "devices[1].fs.options");
}

/* What is printed reads back as the same configuration. */
static void test_example_round_trip(void **state)
{
	struct spinfsd_config cfg, again;
	struct sfs_conf_err err;
	json_t *printed, *twice;
	char *text;

	assert_int_equal(parse(example, &cfg, &err), 0);
	check_example(&cfg);
	printed = spinfsd_config_print(&cfg);
	text = json_dumps(printed, JSON_INDENT(2));
	assert_int_equal(parse(text, &again, &err), 0);
	check_example(&again);
	twice = spinfsd_config_print(&again);
	assert_true(json_equal(printed, twice));
	free(text);
	json_decref(printed);
	json_decref(twice);
	spinfsd_config_fini(&again);

	spinfsd_config_fini(&cfg);
}

static void test_defaults_round_trip(void **state)
{
	struct spinfsd_config cfg, again;
	struct sfs_conf_err err;
	json_t *printed, *twice;
	char *text;

	assert_int_equal(
	    parse("{\"control_socket\":null,\"memory\":{\"numa\":1}," ONE_DEVICE "}", &cfg, &err), 0);
	assert_int_equal(cfg.memory.numa, 1);
	assert_null(cfg.control_socket);
	printed = spinfsd_config_print(&cfg);
	text = json_dumps(printed, 0);
	assert_int_equal(parse(text, &again, &err), 0);
	twice = spinfsd_config_print(&again);
	assert_true(json_equal(printed, twice));
	free(text);
	json_decref(printed);
	json_decref(twice);
	spinfsd_config_fini(&cfg);
	spinfsd_config_fini(&again);
}

static void test_placement(void **state)
{
	struct spinfsd_config cfg;
	struct sfs_conf_err err;
	cpu_set_t want;

	/* Threads that are not placed keep off the CPUs of spinning reactors only. */
	assert_int_equal(
	    parse("{\"reactors\":[{\"name\":\"a\",\"cpu\":1,\"idle\":\"spin\"},{\"name\":\"b\",\"cpu\":2},"
		  "{\"name\":\"c\"}]," ONE_DEVICE "}",
		  &cfg, &err),
	    0);
	sfs_cpus_parse("0,2-3", &want);
	assert_true(CPU_EQUAL(&cfg.control_cpus, &want));
	assert_true(CPU_EQUAL(&cfg.workers.cpus, &want));
	assert_int_equal(cfg.devices[0].queues.reactor_count, 3);
	assert_int_equal(cfg.devices[0].queues.reactors[2], 2);
	assert_false(cfg.workers.share);
	spinfsd_config_fini(&cfg);

	/* Where nothing else is left they share. */
	assert_int_equal(
	    parse("{\"reactors\":[{\"name\":\"a\",\"cpu\":0,\"idle\":\"spin\"},"
		  "{\"name\":\"b\",\"cpu\":1,\"idle\":\"spin\"},{\"name\":\"c\",\"cpu\":2,\"idle\":\"spin\"},"
		  "{\"name\":\"d\",\"cpu\":3,\"idle\":\"spin\"}]," ONE_DEVICE "}",
		  &cfg, &err),
	    0);
	sfs_cpus_parse("0-3", &want);
	assert_true(CPU_EQUAL(&cfg.control_cpus, &want));
	assert_true(cfg.workers.share);
	spinfsd_config_fini(&cfg);
	/* Or where they are told to. */
	assert_int_equal(
	    parse("{\"workers\":{\"cpus\":\"1\"},\"reactors\":[{\"name\":\"a\",\"cpu\":1}]," ONE_DEVICE "}",
		  &cfg, &err),
	    0);
	assert_true(cfg.workers.share);
	spinfsd_config_fini(&cfg);
}

static void test_small_values(void **state)
{
	struct spinfsd_config cfg;
	struct sfs_conf_err err;

	assert_int_equal(
	    parse("{\"workers\":{\"count\":0},\"rlimit_nofile\":0,\"devices\":[{\"tag\":"
		  "\"0123456789012345678901234567890123ä\",\"socket\":{\"path\":\"/a\",\"group\":\"g\"},"
		  "\"queues\":{\"request_count\":64,\"size_max\":2},\"fs\":{\"driver\":\"mem\",\"options\":{}"
		  "}}]}",
		  &cfg, &err),
	    0);
	assert_int_equal(cfg.workers.count, 8);
	assert_int_equal(cfg.rlimit_nofile, 0);
	assert_int_equal(strlen(cfg.devices[0].tag), 36);
	assert_int_equal(cfg.devices[0].socket.mode, 0660);
	spinfsd_config_fini(&cfg);
}

static void test_top_errors(void **state)
{
	expect_error("{}", "F:1:1: devices: missing");
	expect_error("{\"devices\":[]}", "F:1:12: devices: an array of 0, must be of 1 to 4096");
	expect_error("{\"version\":2," ONE_DEVICE "}", "F:1:12: version: 2 is not 1");
	expect_error("{\"keeper\":true}", "F:1:2: keeper: unknown key");
	expect_error("{\"heartbeat_timeout_ms\":1}", "F:1:2: heartbeat_timeout_ms: unknown key");
	expect_error("{\"log\":{\"level\":\"loud\"}}",
		     "F:1:17: log.level: \"loud\" is not one of off, error, warn, info, debug, trace");
	expect_error("{\"log\":{\"target\":\"file\"}}",
		     "F:1:18: log.target: \"file\" is not one of stderr, syslog");
	expect_error("{\"sandbox\":\"namespace\"," ONE_DEVICE "}",
		     "F:1:12: sandbox: \"namespace\" is not built yet, use none");
	expect_error("{\"seccomp\":\"kill\"," ONE_DEVICE "}",
		     "F:1:12: seccomp: \"kill\" is not built yet, use none");
	expect_error("{\"seccomp\":\"off\"}", "F:1:12: seccomp: \"off\" is not one of kill, log, trap, none");
	expect_error("{\"memory\":{\"numa\":\"x\"}}",
		     "F:1:19: memory.numa: must be \"auto\" or the number of a node");
	expect_error("{\"io\":{\"engine\":\"spdk\"}}",
		     "F:1:17: io.engine: \"spdk\" is not one of auto, io_uring, libaio, workers");
	expect_error("{\"eal\":[1]}", "F:1:9: eal[0]: 1 is not a string");
	expect_error("{\"control_socket\":\"\"}", "F:1:19: control_socket: \"\" is not a path or null");
}

static void test_cpu_errors(void **state)
{
	expect_error("{\"control_cpus\":\"0-\"}",
		     "F:1:17: control_cpus: \"0-\": not a CPU list such as 0-1,3");
	expect_error("{\"control_cpus\":\"0,0\"}", "F:1:17: control_cpus: \"0,0\": a CPU is named twice");
	expect_error("{\"control_cpus\":\"4096\"}",
		     "F:1:17: control_cpus: \"4096\": a CPU number or range is out of range");
	expect_error("{\"control_cpus\":[0]}",
		     "F:1:17: control_cpus: must be a string, a CPU list such as \"0-1,3\"");
	expect_error("{\"control_cpus\":\"0,4\"," ONE_DEVICE "}",
		     "F:1:17: control_cpus: CPU 4 is outside of the affinity mask (0-3)");
	expect_error("{\"workers\":{\"cpus\":\"5\"}," ONE_DEVICE "}",
		     "F:1:20: workers.cpus: CPU 5 is offline or does not exist");
}

static void test_reactor_errors(void **state)
{
	expect_error("{\"reactors\":[]}", "F:1:13: reactors: an array of 0, must be of 1 to 1024");
	expect_error("{\"reactors\":[{\"cpu\":1}]}", "F:1:14: reactors[0].name: missing");
	expect_error("{\"reactors\":[{\"name\":\"a\",\"idle\":\"busy\"}]}",
		     "F:1:33: reactors[0].idle: \"busy\" is not one of spin, adaptive");
	expect_error("{\"reactors\":[{\"name\":\"a\"},{\"name\":\"a\"}]," ONE_DEVICE "}",
		     "F:1:35: reactors[1].name: \"a\" is reactors[0] already");
	expect_error("{\"reactors\":[{\"name\":\"a\",\"cpu\":1},{\"name\":\"b\",\"cpu\":1}]," ONE_DEVICE "}",
		     "F:1:53: reactors[1].cpu: CPU 1 is that of \"a\" already");
	expect_error("{\"reactors\":[{\"name\":\"a\",\"cpu\":4}]," ONE_DEVICE "}",
		     "F:1:32: reactors[0].cpu: CPU 4 is outside of the affinity mask (0-3)");
	expect_error("{\"reactors\":[{\"name\":\"a\",\"cpu\":5}]," ONE_DEVICE "}",
		     "F:1:32: reactors[0].cpu: CPU 5 is offline or does not exist");
	expect_error(
	    "{\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\"fs\":{\"driver\":\"mem\"},\n"
	    "\"queues\":{\"reactors\":[\"r0\",\"r9\"]}}]}",
	    "F:2:28: devices[0].queues.reactors[1]: there is no reactor \"r9\"");
}

static void test_device_errors(void **state)
{
	expect_error("{\"devices\":[{}]}", "F:1:13: devices[0].tag: missing");
	expect_error("{\"devices\":[{\"tag\":\"t\"}]}", "F:1:13: devices[0].socket: missing");
	expect_error("{\"devices\":[{\"tag\":\"t\",\"socket\":{}}]}",
		     "F:1:33: devices[0].socket.path: missing");
	expect_error(
	    "{\"io\":{\"engine\":\"libaio\"},\n\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},"
	    "\"pin_memory\":true,\"fs\":{\"driver\":\"mem\"}}]}",
	    "F:2:59: devices[0].pin_memory: io.engine \"libaio\" has no use for it, use io_uring");
	expect_error(
	    "{\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\"limits\":{\"workers\":1},\n"
	    "\"pin_memory\":true,\"fs\":{\"driver\":\"mem\"}}]}",
	    "F:2:14: devices[0].pin_memory: needs a worker beside those that serve the guest: at least 2 of "
	    "workers.count and limits.workers");
	expect_error(
	    "{\"workers\":{\"count\":1},\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\n"
	    "\"pin_memory\":true,\"fs\":{\"driver\":\"mem\"}}]}",
	    "F:2:14: devices[0].pin_memory: needs a worker beside those that serve the guest: at least 2 of "
	    "workers.count and limits.workers");
	expect_error("{\"devices\":[{\"tag\":\"t\",\"socket\":{\"fd\":3}}]}",
		     "F:1:34: devices[0].socket.fd: unknown key");
	expect_error("{\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\"fs\":{}}]}",
		     "F:1:52: devices[0].fs.driver: missing");
	expect_error(
	    "{\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\"fs\":{\"driver\":\"zfs\"}}]}",
	    "F:1:62: devices[0].fs.driver: \"zfs\" is not one of passthrough, mem, null");
	expect_error("{\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\"limits\":{\"locks\":0}}]}",
		     "F:1:65: devices[0].limits.locks: 0 is not a whole number from 1 to 1073741824");
	expect_error("{\"devices\":[{\"tag\":\"\"}]}",
		     "F:1:20: devices[0].tag: \"\" is not a string of 1 to 36 bytes");
	expect_error("{\"devices\":[{\"tag\":\"01234567890123456789012345678901234ä\"}]}",
		     "F:1:20: devices[0].tag: \"01234567890123456789012345678901234ä\" is not a string of 1 "
		     "to 36 bytes");
	expect_error("{\"devices\":[" DEV("a\\nb", "a") "]}",
		     "F:1:20: devices[0].tag: a tag must not hold a newline");
	expect_error("{\"devices\":[" DEV("t", "a") ",\n" DEV("t", "b") "]}",
		     "F:2:8: devices[1].tag: \"t\" is the tag of devices[0] already");
	expect_error("{\"devices\":[" DEV("t", "a") ",\n" DEV("u", "a") "]}",
		     "F:2:29: devices[1].socket.path: \"/s/a\" is the socket of devices[0] already");
	expect_error("{\"control_socket\":\"/s/a\",\n" ONE_DEVICE "}",
		     "F:2:40: devices[0].socket.path: \"/s/a\" is control_socket already");
	expect_error("{\"devices\":[{\"tag\":\"t\",\"queues\":{\"request_count\":65}}]}",
		     "F:1:50: devices[0].queues.request_count: 65 is not a whole number from 1 to 64");
	expect_error("{\"devices\":[{\"tag\":\"t\",\"queues\":{\"size_max\":1000}}]}",
		     "F:1:45: devices[0].queues.size_max: 1000 is not a power of two from 2 to 32768");
	expect_error("{\"devices\":[{\"on_disconnect\":\"stay\"}]}",
		     "F:1:30: devices[0].on_disconnect: \"stay\" is not one of listen, exit");
}

#define LONG_NAME                                                                                            \
	"01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
	"89"

static void test_long_paths(void **state)
{
	expect_error("{\"devices\":[" DEV("t", LONG_NAME "01234") "]}",
		     "F:1:41: devices[0].socket.path: longer than a socket's path may be (107 bytes)");
	expect_error("{\"control_socket\":\"/" LONG_NAME "0123456\"," ONE_DEVICE "}",
		     "F:1:19: control_socket: longer than a socket's path may be (107 bytes)");
}

static void test_heap(void **state)
{
	struct spinfsd_config cfg;
	struct sfs_conf_err err;

	/* 65 rings of 1,024 entries of 40 bytes and a fifth are 3.05 MiB. */
	expect_error("{\"memory\":{\"heap_mib\":7},\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},"
		     "\"queues\":{\"request_count\":64},\"fs\":{\"driver\":\"mem\"}}]}",
		     "F:1:23: memory.heap_mib: 7 is too small for the configured rings, which need 8");
	assert_int_equal(
	    parse("{\"memory\":{\"heap_mib\":8},\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},"
		  "\"queues\":{\"request_count\":64},\"fs\":{\"driver\":\"mem\"}}]}",
		  &cfg, &err),
	    0);
	spinfsd_config_fini(&cfg);
	expect_error(
	    "{\"devices\":[{\"tag\":\"t\",\"socket\":{\"path\":\"/s\"},\"queues\":{\"request_count\":64,"
	    "\"size_max\":32768},\"fs\":{\"driver\":\"mem\"}}]}",
	    "F:1:1: memory.heap_mib: 64 is too small for the configured rings, which need 102");
}

static void test_host_read(void **state)
{
	struct spinfsd_host h = {.drivers = drivers};

	assert_int_equal(spinfsd_host_read(&h), 0);
	assert_true(CPU_COUNT(&h.allowed) > 0);
	assert_true(CPU_COUNT(&h.online) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_minimal),
	    cmocka_unit_test(test_example_round_trip),
	    cmocka_unit_test(test_defaults_round_trip),
	    cmocka_unit_test(test_placement),
	    cmocka_unit_test(test_small_values),
	    cmocka_unit_test(test_top_errors),
	    cmocka_unit_test(test_cpu_errors),
	    cmocka_unit_test(test_reactor_errors),
	    cmocka_unit_test(test_device_errors),
	    cmocka_unit_test(test_long_paths),
	    cmocka_unit_test(test_heap),
	    cmocka_unit_test(test_host_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
