/* SPDX-License-Identifier: BSD-3-Clause */
/* spinfs-perf: its options, and the contents by which --verify knows what it wrote. */
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../app/spinfs-perf/perf.h"

#define ARGS_MAX 64

/* Parses a command line without its first word; what it would print to stderr is not of interest. */
static int parse(const char *line, struct perf_opts *o, bool *over)
{
	static char copy[512];
	char *argv[ARGS_MAX + 1] = {(char *)(uintptr_t) "spinfs-perf"}, *at = copy, *word;
	int argc = 1, err = dup(STDERR_FILENO), rc;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((word = strsep(&at, " ")) != NULL && argc < ARGS_MAX)
		argv[argc++] = word;
	assert_non_null(freopen("/dev/null", "w", stderr));
	optind = 0;
	rc = perf_options(argc, argv, o, over);
	fflush(stderr);
	dup2(err, STDERR_FILENO);
	close(err);
	return rc;
}

static struct perf_opts good(const char *line)
{
	struct perf_opts o;
	bool over = false;

	assert_int_equal(parse(line, &o, &over), 0);
	assert_false(over);
	return o;
}

static void test_defaults(void **state)
{
	struct perf_opts o = good("--loopback --workload randread");

	assert_string_equal(o.work.workload->name, "randread");
	assert_int_equal(o.work.bs, 4096);
	assert_int_equal(o.work.iodepth, 1);
	assert_int_equal(o.work.queues, 1);
	assert_int_equal(o.work.files, 1);
	assert_int_equal(o.work.size, 256u << 20);
	assert_int_equal(o.work.blocks, (256u << 20) / 4096);
	assert_int_equal(o.guests, 1);
	assert_int_equal(o.ring_size, 128);
	assert_int_equal(o.segment, 4096);
	assert_true(o.indirect && o.event_idx && !o.interrupts);
}

static void test_values(void **state)
{
	struct perf_opts o =
	    good("--socket a --socket b --workload mixed --bs 64K --size 1G --iodepth 300 --queues 2 "
		 "--rate 1000.5 --write-percent 70 --direct --ops 5K --segment 0 --indirect off "
		 "--event-idx off --completion irq --cpus 2-4,7 --guests 3");

	assert_int_equal(o.socket_count, 2);
	assert_string_equal(o.sockets[1], "b");
	assert_int_equal(o.work.bs, 64u << 10);
	assert_int_equal(o.work.size, 1u << 30);
	assert_int_equal(o.work.write_percent, 70);
	assert_true(o.work.direct && o.interrupts && !o.indirect && !o.event_idx);
	assert_true(o.work.rate > 1000.4 && o.work.rate < 1000.6);
	assert_int_equal(o.ops, 5 << 10);
	assert_int_equal(o.ring_size, 512); /* grows with the depth */
	assert_int_equal(o.cpu_count, 4);
	assert_int_equal(o.cpus[3], 7);
	assert_int_equal(o.guests, 3);
	o = good("--raw . --workload randread --io-uring --unpinned");
	assert_true(o.io_uring && o.unpinned);
}

static void test_noisy(void **state)
{
	struct perf_opts o = good("--socket a --workload randread --noisy /run/x:y:read,bs=1M,iodepth=1024 "
				  "--noisy fsync,rate=10,direct");

	assert_int_equal(o.noisy_count, 2);
	assert_string_equal(o.noisy[0].socket, "/run/x:y");
	assert_string_equal(o.noisy[0].workload->name, "read");
	assert_int_equal(o.noisy[0].bs, 1u << 20);
	assert_int_equal(o.noisy[0].iodepth, 1024);
	assert_int_equal(o.ring_size, 1024);
	assert_string_equal(o.noisy[1].socket, "");
	assert_true(o.noisy[1].direct && o.noisy[1].rate > 9);
}

static void test_refused(void **state)
{
	static const char *const lines[] = {
	    "--loopback",
	    "--workload read",
	    "--loopback --workload nothing",
	    "--loopback --socket s --workload read",
	    "--raw . --loopback --workload read",
	    "--spawn true --loopback --workload read",
	    "--loopback --workload read --bs 0",
	    "--loopback --workload read --bs 12",
	    "--loopback --workload read --bs 2M",
	    "--loopback --workload read --bs 4X",
	    "--loopback --workload read --bs -8",
	    "--loopback --workload read --iodepth 0",
	    "--loopback --workload read --iodepth 16385",
	    "--loopback --workload read --time 0",
	    "--loopback --workload read --time 1s",
	    "--loopback --workload read --rate -1",
	    "--loopback --workload read --ring-size 100",
	    "--loopback --workload read --completion maybe",
	    "--loopback --workload read --cpus 3-",
	    "--loopback --workload read --cpus x",
	    "--loopback --workload read --noisy nothing",
	    "--loopback --workload read --noisy read,bs",
	    "--loopback --workload read --noisy read,time=3",
	    "--loopback --workload read --verify",
	    "--socket s --workload getattr --verify",
	    "--raw . --workload hoard",
	    "--loopback --workload open-handle",
	    "--loopback --workload read --noisy create-entry",
	    "--raw . --workload read --guests 2",
	    "--raw . --workload getattr --io-uring",
	    "--loopback --workload read --io-uring",
	    "--raw . --workload read --unpinned",
	    "--raw . --workload read --skip 1",
	    "--loopback --workload read more",
	    "--loopback --workload read --unheard-of",
	};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(lines); i++) {
		struct perf_opts o;
		bool over = false;

		if (parse(lines[i], &o, &over) != 2)
			fail_msg("accepted: %s", lines[i]);
	}
}

static void test_names(void **state)
{
	char list[512];

	perf_workload_list(list, sizeof(list));
	assert_non_null(strstr(list, "readdirplus-known"));
	assert_null(perf_workload_find(""));
	assert_non_null(perf_workload_find("untar"));
}

/* What is written can be told from what was there, and from another place. */
static void test_contents(void **state)
{
	uint64_t buf[64];

	perf_fill(buf, sizeof(buf), 3, 8192, 0);
	assert_true(perf_matches(buf, sizeof(buf), 3, 8192, 1));
	assert_false(perf_matches(buf, sizeof(buf), 3, 8192, 2));
	assert_true(perf_matches(buf, sizeof(buf), 3, 8192, 3));
	assert_false(perf_matches(buf, sizeof(buf), 2, 8192, 3));
	assert_false(perf_matches(buf, sizeof(buf), 3, 4096, 3));
	buf[63] ^= 1;
	assert_false(perf_matches(buf, sizeof(buf), 3, 8192, 3));
}

/* --- the bare loop --- */

/* What a run has counted; nothing that it made is left. */
static struct perf_count raw_count(const char *options)
{
	char dir[] = "/tmp/test_perf.XXXXXX", line[256];
	static struct perf_run run;
	static struct perf_guest guest;
	struct perf_count count;
	glob_t left;

	assert_non_null(mkdtemp(dir));
	snprintf(line, sizeof(line), "--raw %s --size 1M --time 20 %s", dir, options);
	memset(&run, 0, sizeof(run));
	memset(&guest, 0, sizeof(guest));
	run.opts = good(line);
	run.guests = &guest;
	run.guest_count = 1;
	guest.run = &run;
	guest.work = run.opts.work;
	guest.fg.fe.fd = -1;
	assert_int_equal(perf_raw(&run), 0);
	count = guest.total;
	snprintf(line, sizeof(line), "%s/*/new*", dir);
	assert_int_equal(glob(line, 0, NULL, &left), GLOB_NOMATCH);
	snprintf(line, sizeof(line), "rm -r %s", dir);
	assert_int_equal(system(line), 0);
	return count;
}

/* With a queue of 32 each takes as long as 32 do in a row, so that the longest takes no less than they do on average. */
static void test_raw_queue(void **state)
{
	struct perf_count c = raw_count("--workload randread --iodepth 32 --ops 6400");
	uint64_t rows = c.hist.count;

	assert_int_equal(c.ops, 6400);
	assert_int_equal(c.errors, 0);
	assert_int_equal(rows, 6400 / 32);
	assert_true(c.hist.max_ns >= (c.stop_ns - c.start_ns) * 19 / 20 / rows);
}

/* What comes before the measurement counts for nothing but its errors. */
static void test_skip(void **state)
{
	struct perf_run run = {.lanes_left = 1};
	struct perf_guest guest = {.run = &run};
	struct perf_lane lane = {.guest = &guest, .quota = 2, .skip = 3};

	lane.c = (struct perf_count){.ops = 2, .bytes = 10, .errors = 1, .first_error = -EIO};
	assert_false(perf_lane_due(&lane));
	lane.c.ops = 3;
	assert_true(perf_lane_due(&lane));
	perf_lane_turns(&lane, 200);
	assert_int_equal(lane.c.ops, 0);
	assert_int_equal(lane.c.bytes, 0);
	assert_int_equal(lane.c.errors, 1);
	assert_int_equal(lane.c.first_error, -EIO);
	assert_false(lane.ended);
	lane.c.ops = 1;
	assert_false(perf_lane_due(&lane));
	lane.c.ops = 2;
	assert_true(perf_lane_due(&lane));
	perf_lane_turns(&lane, 300);
	assert_true(lane.ended);
	assert_int_equal(run.lanes_left, 0);
	assert_int_equal(lane.c.stop_ns - lane.c.start_ns, 100);
	assert_int_equal(raw_count("--workload create --skip 100 --ops 5").ops, 5);
}

/* The oldest of five files makes room for a new one; the last five are removed in the end. */
static void test_raw_create(void **state)
{
	struct perf_count c = raw_count("--workload create --iodepth 5 --ops 203");

	assert_int_equal(c.ops, 203);
	assert_int_equal(c.errors, 0);
	c = raw_count("--workload create-entry --ops 7");
	assert_int_equal(c.ops, 7);
	assert_int_equal(c.errors, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),  cmocka_unit_test(test_values),
	    cmocka_unit_test(test_noisy),     cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_names),     cmocka_unit_test(test_contents),
	    cmocka_unit_test(test_raw_queue), cmocka_unit_test(test_raw_create),
	    cmocka_unit_test(test_skip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
