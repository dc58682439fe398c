/* SPDX-License-Identifier: BSD-3-Clause */
/* Negotiation, barriers, waiters, slots: what is the session's and the lanes' own. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse_rig.h"
#include "sfs_log.h"

static void start(unsigned lanes, bool init)
{
	rig_start(&(struct rig_opts){.lanes = lanes, .no_init = !init});
}

/* --- INIT --- */

static void test_minor_versions(void **state)
{
	struct fuse_init_out out;

	start(1, false);
	for (uint32_t minor = 0; minor < SFS_FUSE_MINOR_MIN; minor++)
		assert_int_equal(rig_init(7, minor, 0, 64, &out), -EPROTO);
	for (uint32_t minor = 27; minor <= SFS_FUSE_MINOR + 7; minor++) {
		assert_int_equal(rig_init(7, minor, 0, 64, &out), 0);
		assert_int_equal(out.major, 7);
		assert_int_equal(out.minor, SFS_FUSE_MINOR);
		assert_int_equal(sfs_session_minor(rig.se), SFS_MIN(minor, (uint32_t)SFS_FUSE_MINOR));
	}
	rig_stop();
}

static unsigned lines_of(FILE *log)
{
	unsigned n = 0;
	int c;

	rewind(log);
	while ((c = fgetc(log)) != EOF)
		n += c == '\n';
	return n;
}

/* However often a guest asks, the log has one line of each. */
static void test_old_guest_does_not_fill_the_log(void **state)
{
	int saved = dup(STDERR_FILENO), level = sfs_log_level_now;
	FILE *log = tmpfile();
	struct fuse_init_out out;
	unsigned lines[2];

	assert_true(log && saved >= 0);
	start(1, false);
	fflush(stderr);
	dup2(fileno(log), STDERR_FILENO);
	sfs_log_setup(SFS_LOG_INFO, SFS_LOG_STDERR);
	for (unsigned guest = 0; guest < 2; guest++) {
		for (unsigned i = 0; i < 100; i++)
			rig_init(i % 8, i % SFS_FUSE_MINOR_MIN, 0, 64, &out);
		lines[guest] = lines_of(log);
		sfs_session_end(rig.se);
		assert_int_equal(sfs_session_begin(rig.se), 0);
	}
	sfs_log_setup((enum sfs_log_level)level, SFS_LOG_STDERR);
	dup2(saved, STDERR_FILENO);
	close(saved);
	fclose(log);
	assert_int_equal(lines[0], 1);
	assert_int_equal(lines[1], 2);
	rig_stop();
}

static void test_major_versions(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);
	struct fuse_init_out out;

	start(1, false);
	for (uint32_t major = 0; major < 7; major++)
		assert_int_equal(rig_init(major, 38, 0, 64, &out), -EPROTO);
	for (uint32_t major = 8; major < 10; major++) {
		assert_int_equal(rig_init(major, 1, 0, 64, &out), 0);
		assert_int_equal(out.major, 7);
		assert_int_equal(rig_do(m), -EIO); /* not agreed on yet */
	}
	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	assert_int_equal(rig_do(m), 0);
	free(m);
	rig_stop();
}

static void test_flags_only_if_offered_and_wanted(void **state)
{
	const uint64_t high = 1ull << 34;
	struct fuse_init_out out;

	rig_start(&(struct rig_opts){.no_init = true,
				     .driver_flags = FUSE_DO_READDIRPLUS | SFS_FUSE_ACL_FLAGS | high});
	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	assert_int_equal(out.flags, 0);
	assert_int_equal(out.flags2, 0);
	assert_int_equal(rig_init(7, 38, UINT64_MAX, 64, &out), 0);
	assert_true(out.flags & FUSE_DO_READDIRPLUS);
	assert_true(out.flags & FUSE_POSIX_ACL);
	assert_true(out.flags & FUSE_INIT_EXT);
	assert_false(out.flags &
		     (FUSE_WRITEBACK_CACHE | FUSE_FLOCK_LOCKS | FUSE_POSIX_LOCKS | FUSE_NO_OPEN_SUPPORT |
		      FUSE_EXPLICIT_INVAL_DATA | FUSE_MAP_ALIGNMENT | FUSE_HANDLE_KILLPRIV | 1u << 31));
	assert_int_equal(out.flags2, high >> 32);
	assert_int_equal(sfs_session_init_flags(rig.se), (uint64_t)out.flags2 << 32 | out.flags);
	assert_int_equal(rig_init(7, 38, FUSE_DO_READDIRPLUS, 64, &out),
			 0); /* nothing stays of what was agreed on before */
	assert_int_equal(out.flags, FUSE_DO_READDIRPLUS);
	rig_stop();
}

static void test_init_ext(void **state)
{
	const uint64_t high = 1ull << 33;
	struct fuse_init_out out;

	rig_start(&(struct rig_opts){.no_init = true, .driver_flags = high});
	assert_int_equal(rig_init(7, 36, high, 64, &out), 0); /* bits that nobody announced are none */
	assert_int_equal(out.flags2, 0);
	assert_int_equal(rig_init(7, 36, high | FUSE_INIT_EXT, 64, &out), 0);
	assert_int_equal(out.flags2, high >> 32);
	assert_int_equal(rig_init(7, 35, high | FUSE_INIT_EXT, 16, &out),
			 0); /* an old one: there is no such field */
	assert_int_equal(out.flags2, 0);
	assert_int_equal(rig_init(7, 35, 0, 15, &out), -EINVAL);
	rig_stop();
}

static void test_sizes(void **state)
{
	struct fuse_init_out out;

	rig_start(&(struct rig_opts){.no_init = true, .init.max_readahead_bytes = 65536});
	assert_int_equal(rig_init(7, 38, FUSE_MAX_PAGES, 64, &out), 0);
	assert_int_equal(out.max_pages, 256);
	assert_int_equal(out.max_write, 1 << 20);
	assert_int_equal(out.max_readahead, 65536);
	assert_int_equal(out.time_gran, 1);
	assert_int_equal(out.max_background, 65535);
	assert_int_equal(out.congestion_threshold, 49152);
	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	assert_int_equal(out.max_pages, 0);
	assert_int_equal(out.max_write, 32 * 4096);
	rig_stop();

	/* What was configured. Reads are bounded by the same number of pages. */
	rig_start(&(struct rig_opts){.no_init = true,
				     .init = {.max_write_bytes = 65537,
					      .max_readahead_bytes = 1 << 20,
					      .max_background = 10,
					      .congestion_threshold = 3,
					      .time_gran_ns = 1000}});
	assert_int_equal(rig_init(7, 38, FUSE_MAX_PAGES, 64, &out), 0);
	assert_int_equal(out.max_write, 65537);
	assert_int_equal(out.max_pages, 17);
	assert_int_equal(out.max_readahead, 1 << 17); /* the guest wants no more */
	assert_int_equal(out.max_background, 10);
	assert_int_equal(out.congestion_threshold, 3);
	assert_int_equal(out.time_gran, 1000);
	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	assert_int_equal(out.max_pages, 0);
	assert_int_equal(out.max_write, 65537);
	rig_stop();
	rig_start(&(struct rig_opts){.no_init = true, .init.max_background = 5});
	assert_int_equal(rig_init(7, 38, FUSE_MAX_PAGES, 64, &out), 0);
	assert_int_equal(out.max_background, 5);
	assert_int_equal(out.congestion_threshold, 4);
	rig_stop();
}

static int open_things(struct sfs_req *req)
{
	const struct sfs_node_key key = {.dev = 3, .ino = 4};
	bool created;
	uint64_t fh;

	assert_non_null(sfs_node_get(req, &key, S_IFREG, -1, 1, &created));
	assert_non_null(sfs_handle_open(req, 2, open("/", O_PATH | O_CLOEXEC), 0, 0, &fh));
	return SFS_DONE;
}

static void test_init_again_forgets_everything(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);
	struct sfs_session_figures fig;
	struct fuse_init_out out;

	start(1, true);
	rig.hook = open_things;
	assert_int_equal(rig_do(m), 0);
	sfs_session_figures(rig.se, &fig);
	assert_int_equal(fig.inodes, 2);
	assert_int_equal(fig.handles, 1);
	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	sfs_session_figures(rig.se, &fig);
	assert_int_equal(fig.inodes, 1); /* the root */
	assert_int_equal(fig.handles, 0);
	assert_int_equal(fig.fds, 0);
	assert_int_equal(rig.freed, 1);
	free(m);
	rig_stop();
}

static void test_destroy_forgets_everything(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0), *destroy = rig_msg(FUSE_DESTROY, NULL, 0);
	struct sfs_session_figures fig;
	struct fuse_init_out out;

	start(1, true);
	rig.hook = open_things;
	assert_int_equal(rig_do(m), 0);
	assert_int_equal(rig_do(destroy), 0);
	sfs_session_figures(rig.se, &fig);
	assert_int_equal(fig.inodes, 1);
	assert_int_equal(fig.handles, 0);
	assert_int_equal(rig_do(m), -EIO);
	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	assert_int_equal(rig_do(m), 0);
	free(m);
	free(destroy);
	rig_stop();
}

static void test_requests_before_init(void **state)
{
	static const char zeros[200];
	start(1, false);
	for (uint32_t op = 0; op < SFS_OP_COUNT; op++) {
		const struct sfs_op *row = sfs_op_get(op);
		struct rig_msg *m;

		if (!row || op == FUSE_INIT)
			continue;
		m = rig_msg(op, zeros, row->arg_bytes);
		assert_int_equal(rig_do(m), row->flags & SFS_OP_NO_REPLY ? 1 : -EIO);
		free(m);
	}
	assert_int_equal(rig.seen.calls, 0);
	rig_stop();
}

/* --- waiting --- */

static bool taken;
static unsigned entered;

/* Takes the thing at its first step, or waits for it; a second step answers. */
static int wait_for_it(struct sfs_req *req)
{
	uint64_t epoch = sfs_session_epoch(req->session);

	entered++;
	if (taken)
		return sfs_req_wait(req, 1, epoch);
	return SFS_DONE;
}

static void test_waiters_look_again_after_a_wake(void **state)
{
	struct rig_msg *m[3];

	start(1, true);
	rig.hook = wait_for_it;
	taken = true;
	entered = 0;
	for (unsigned i = 0; i < 3; i++) {
		m[i] = rig_msg(FUSE_STATFS, NULL, 0);
		rig_send(0, m[i]);
	}
	for (unsigned i = 0; i < 5; i++)
		rig_turn(0);
	assert_int_equal(entered, 3); /* nobody looks again without a reason */
	assert_false(sfs_lane_has_work(&rig.lanes[0]));
	sfs_session_wake(rig.se);
	assert_true(sfs_lane_has_work(&rig.lanes[0]));
	rig_turn(0);
	rig_turn(0);
	assert_int_equal(entered, 6);
	taken = false;
	sfs_session_wake(rig.se);
	rig_turn(0);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(m[i]->answered);
		free(m[i]);
	}
	assert_int_equal(rig.lanes[0].waiter_count, 0);
	rig_stop();
}

/* The other side lets go between the look and the park: the wake is older than the wait, not than the epoch. */
static int wait_too_late(struct sfs_req *req)
{
	uint64_t epoch = sfs_session_epoch(req->session);

	entered++;
	if (taken) {
		taken = false;
		sfs_session_wake(req->session);
		return sfs_req_wait(req, 1, epoch);
	}
	return SFS_DONE;
}

static void test_wake_before_the_wait_is_not_lost(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);

	start(1, true);
	rig.hook = wait_too_late;
	taken = true;
	entered = 0;
	rig_send(0, m);
	assert_true(sfs_lane_has_work(&rig.lanes[0]));
	rig_turn(0);
	assert_true(m->answered);
	assert_int_equal(entered, 2);
	free(m);
	rig_stop();
}

/* --- barriers --- */

static void test_barrier_waits_for_the_other_lane(void **state)
{
	const struct fuse_init_in in = {.major = 7, .minor = 38};
	struct rig_msg *parked = rig_msg(FUSE_STATFS, NULL, 0), *init = rig_msg(FUSE_INIT, &in, sizeof(in));

	start(2, true);
	rig.hook = wait_for_it;
	taken = true;
	rig_send(1, parked);
	rig_send(0, init);
	for (unsigned i = 0; i < 5; i++) {
		rig_turn(i % 2);
		if (i == 0)
			continue;
		assert_false(sfs_lane_open(&rig.lanes[0])); /* nobody accepts meanwhile */
		assert_false(sfs_lane_open(&rig.lanes[1]));
	}
	assert_false(init->answered);
	taken = false;
	sfs_session_wake(rig.se);
	assert_true(sfs_lane_has_work(&rig.lanes[1]));
	rig_turn(1); /* ends, and is answered */
	assert_true(parked->answered);
	assert_false(init->answered);
	assert_true(sfs_lane_has_work(&rig.lanes[1])); /* to say that it has drained */
	rig_turn(1);
	assert_true(sfs_lane_has_work(&rig.lanes[0]));
	rig_turn(0);
	assert_true(init->answered);
	assert_int_equal(rig_out(init)->error, 0);
	assert_true(sfs_lane_open(&rig.lanes[0]) && sfs_lane_open(&rig.lanes[1]));
	assert_false(sfs_lane_has_work(&rig.lanes[0]) || sfs_lane_has_work(&rig.lanes[1]));
	free(parked);
	free(init);
	rig_stop();
}

static void test_barriers_of_two_lanes_take_turns(void **state)
{
	const struct fuse_init_in in = {.major = 7, .minor = 38};
	struct rig_msg *init[4];

	start(3, true);
	for (unsigned i = 0; i < 4; i++) {
		init[i] = rig_msg(FUSE_INIT, &in, sizeof(in));
		rig_send(i % 2, init[i]);
	}
	for (unsigned i = 0; i < 60; i++)
		rig_turn(i % 3);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(init[i]->answered);
		assert_int_equal(rig_out(init[i])->error, 0);
		free(init[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_true(sfs_lane_open(&rig.lanes[i]));
	rig_stop();
}

static void test_barrier_does_not_wait_for_a_lane_that_left(void **state)
{
	const struct fuse_init_in in = {.major = 7, .minor = 38};
	struct rig_msg *init = rig_msg(FUSE_INIT, &in, sizeof(in));

	start(3, true);
	sfs_session_lane_leave(rig.se, 2);
	rig_send(0, init);
	rig_turn(0);
	rig_turn(0);
	assert_false(init->answered); /* lane 1 runs and has not said anything */
	sfs_session_lane_leave(rig.se, 1);
	rig_turn(0);
	assert_true(init->answered);
	free(init);
	rig_stop();
}

/* A queue is given up while its INIT waits for a request that hangs: neither may hold up the next guest. */
static void test_abandoned_barrier_lets_go(void **state)
{
	const struct fuse_init_in in = {.major = 7, .minor = 38};
	struct rig_msg *parked = rig_msg(FUSE_STATFS, NULL, 0), *init = rig_msg(FUSE_INIT, &in, sizeof(in));
	struct rig_msg *next = rig_msg(FUSE_INIT, &in, sizeof(in)), *statfs = rig_msg(FUSE_STATFS, NULL, 0);
	struct sfs_session_figures fig;

	start(2, true);
	sfs_session_lane_leave(rig.se, 1);
	rig.hook = wait_for_it;
	taken = true;
	rig_send(0, parked);
	rig_send(0, init);
	rig_turn(0);
	assert_false(sfs_lane_open(&rig.lanes[0]));
	sfs_session_lane_leave(rig.se, 0);
	sfs_lane_abandon(&rig.lanes[0]);
	sfs_session_end(rig.se);

	assert_int_equal(sfs_session_begin(rig.se), 0);
	sfs_session_lane_join(rig.se, 1);
	rig_send(1, next);
	for (unsigned i = 0; i < 3; i++)
		rig_turn(1);
	assert_true(next->answered);
	assert_int_equal(rig_out(next)->error, 0);
	rig.hook = open_things;
	rig_send(1, statfs);
	rig_turn(1);
	assert_int_equal(rig_out(statfs)->error, 0);
	rig.hook = wait_for_it;
	taken = false;
	sfs_session_wake(rig.se);
	for (unsigned i = 0; i < 6; i++)
		rig_turn(i % 2);                     /* the old one still turns */
	assert_int_equal(rig.lanes[0].in_flight, 0); /* and ends one day */
	sfs_session_figures(rig.se, &fig);
	assert_int_equal(fig.inodes, 2); /* what the new guest has, it keeps */
	assert_int_equal(fig.handles, 1);
	free(parked);
	free(init);
	free(next);
	free(statfs);
	rig_stop();
}

/* The worker that empties the tables hangs where it would close: in the first handle that goes. */
static struct {
	atomic_bool armed, hangs, let_go;
} hang;

static void hang_once(void)
{
	if (!atomic_exchange(&hang.armed, false))
		return;
	atomic_store(&hang.hangs, true);
	while (!atomic_load(&hang.let_go))
		sched_yield();
}

/* A guest with two handles, whose INIT or DESTROY on lane 0 hangs. */
static struct rig_msg *predecessor(uint32_t opcode)
{
	const struct fuse_init_in in = {.major = 7, .minor = 30, .flags = FUSE_DO_READDIRPLUS};
	struct rig_msg *reset = rig_msg(opcode, &in, opcode == FUSE_INIT ? sizeof(in) : 0);
	struct rig_msg *statfs = rig_msg(FUSE_STATFS, NULL, 0);

	rig_start(&(struct rig_opts){
	    .lanes = 3, .workers = true, .driver_flags = FUSE_DO_READDIRPLUS | FUSE_WRITEBACK_CACHE});
	sfs_session_lane_leave(rig.se, 1);
	sfs_session_lane_leave(rig.se, 2);
	rig.hook = open_things;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_do(statfs), 0);
	atomic_store(&hang.hangs, false);
	atomic_store(&hang.let_go, false);
	atomic_store(&hang.armed, true);
	rig.on_free = hang_once;
	rig_send(0, reset);
	rig_turn(0);
	while (!atomic_load(&hang.hangs))
		sched_yield();
	assert_false(reset->answered);
	free(statfs);
	return reset;
}

/* The filesystem answers again. */
static void predecessor_ends(struct rig_msg *reset)
{
	atomic_store(&hang.let_go, true);
	while (!reset->answered) {
		rig_turn(0);
		sched_yield();
	}
	assert_int_equal(rig.lanes[0].in_flight, 0);
	free(reset);
}

/* The next guest says INIT on @lane; others that run take turns, too. */
static void successor(unsigned lane)
{
	const struct fuse_init_in in = {.major = 7, .minor = 38, .flags = FUSE_WRITEBACK_CACHE};
	struct rig_msg *init = rig_msg(FUSE_INIT, &in, sizeof(in));

	rig_send(lane, init);
	for (unsigned i = 0; i < 6; i++)
		rig_turn(1 + i % 2);
	assert_true(init->answered);
	assert_int_equal(rig_out(init)->error, 0);
	free(init);
}

static int look_again(struct sfs_req *req)
{
	const struct sfs_node_key key = {.dev = 3, .ino = 4};
	struct sfs_node *node = sfs_node_find(req, &key, 0);

	return node && atomic_load(&node->nlookup) == 1 ? SFS_DONE : -ESTALE;
}

/* Of a guest that has gone nothing goes on in the tables of the next one, also where the reactor learns late that it was given up. */
static void test_reset_that_hangs_over_the_end(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct rig_msg *reset = predecessor(i & 1 ? FUSE_INIT : FUSE_DESTROY);
		struct rig_msg *statfs = rig_msg(FUSE_STATFS, NULL, 0);
		struct sfs_session_figures fig;

		if (i & 2)
			sfs_lane_abandon(&rig.lanes[0]);
		else
			sfs_session_lane_leave(rig.se, 0);
		sfs_session_end(rig.se);
		assert_int_equal(sfs_session_begin(rig.se), 0);
		sfs_session_lane_join(rig.se, 1);
		successor(1);
		rig.hook = open_things;
		rig_send(1, statfs);
		rig_turn(1);
		assert_int_equal(rig_out(statfs)->error, 0);
		predecessor_ends(reset);
		sfs_session_figures(rig.se, &fig);
		assert_int_equal(fig.handles, 1);
		assert_int_equal(fig.inodes, 2);
		assert_int_equal(sfs_session_init_flags(rig.se), FUSE_WRITEBACK_CACHE);
		assert_int_equal(sfs_session_minor(rig.se), 38);
		rig.hook = look_again;
		rig_send(1, statfs);
		rig_turn(1);
		assert_int_equal(rig_out(statfs)->error, 0);
		free(statfs);
		rig_stop();
	}
}

/* The guest has not gone yet, but nobody waits for its INIT any more: its other queues serve what it has left. */
static void test_reset_that_was_given_up(void **state)
{
	struct rig_msg *reset = predecessor(FUSE_INIT), *statfs = rig_msg(FUSE_STATFS, NULL, 0);
	struct sfs_session_figures fig;

	sfs_lane_abandon(&rig.lanes[0]);
	predecessor_ends(reset);
	sfs_session_figures(rig.se, &fig);
	assert_int_equal(fig.handles, 1);
	assert_int_equal(fig.inodes, 2);
	assert_int_equal(sfs_session_minor(rig.se), 38);
	sfs_session_lane_join(rig.se, 1);
	rig.hook = NULL;
	rig_send(1, statfs);
	rig_turn(1);
	assert_int_equal(rig_out(statfs)->error, 0);
	free(statfs);
	rig_stop();
}

/* While its owner hangs, a lane that was given up says nothing for the one that has come to its place. */
static void test_abandoned_lane_has_no_part_in_barriers(void **state)
{
	struct rig_msg *reset = predecessor(FUSE_INIT), *parked = rig_msg(FUSE_STATFS, NULL, 0);
	struct rig_msg *destroy = rig_msg(FUSE_DESTROY, NULL, 0);

	sfs_lane_abandon(&rig.lanes[0]);
	sfs_session_end(rig.se);
	assert_int_equal(sfs_session_begin(rig.se), 0);
	rig.lanes[1].idx = 0;
	sfs_session_lane_join(rig.se, 0);
	sfs_session_lane_join(rig.se, 2);
	successor(2);
	rig.hook = wait_for_it;
	taken = true;
	rig_send(1, parked);
	rig_send(2, destroy);
	for (unsigned i = 0; i < 6; i++) {
		rig_turn(2 - i % 3);
		assert_false(sfs_lane_has_work(&rig.lanes[0]));
	}
	predecessor_ends(reset);
	assert_false(sfs_lane_has_work(&rig.lanes[0]));
	rig_turn(0); /* nor when nothing is in flight there any more */
	rig_turn(2);
	assert_false(sfs_lane_has_work(&rig.lanes[2]));
	taken = false;
	sfs_session_wake(rig.se);
	for (unsigned i = 0; i < 2; i++)
		rig_turn(1);
	assert_true(parked->answered);
	while (!destroy->answered) {
		rig_turn(2);
		sched_yield();
	}
	free(parked);
	free(destroy);
	rig_stop();
}

/* --- slots and pools --- */

static void test_slots_taken_together_share_nothing(void **state)
{
	struct sfs_req *req[RIG_SLOTS];
	struct sfs_lane *l = &rig.lanes[0];
	struct iovec *big;

	start(1, true);
	for (unsigned i = 0; i < RIG_SLOTS; i++) {
		req[i] = sfs_lane_slot_get(l, &big);
		assert_non_null(req[i]);
		assert_non_null(req[i]->buf);
		for (unsigned j = 0; j < i; j++)
			assert_true(req[i] != req[j] && req[i]->buf != req[j]->buf);
	}
	assert_null(sfs_lane_slot_get(l, &big));
	for (unsigned i = 0; i < RIG_SLOTS; i++)
		sfs_lane_slot_put(l, req[i]);
	assert_int_equal(l->bufs.free_count, RIG_SLOTS);
	assert_int_equal(l->bigs.free_count, RIG_SLOTS);
	assert_int_equal(l->in_flight, 0);
	rig_stop();
}

static void test_full_lane_is_back_pressure(void **state)
{
	struct rig_msg *m[RIG_SLOTS];
	struct iovec *big;

	start(1, true);
	rig.hook = wait_for_it;
	taken = true;
	for (unsigned i = 0; i < RIG_SLOTS; i++) {
		m[i] = rig_msg(FUSE_STATFS, NULL, 0);
		rig_send(0, m[i]);
	}
	assert_null(sfs_lane_slot_get(&rig.lanes[0], &big));
	taken = false;
	sfs_session_wake(rig.se);
	rig_turn(0);
	for (unsigned i = 0; i < RIG_SLOTS; i++) {
		assert_true(m[i]->answered);
		free(m[i]);
	}
	rig_stop();
}

static void test_bytes_in_flight_are_back_pressure(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);
	struct iovec *big;

	start(1, true);
	rig.lanes[0].bytes_in_flight_max = 4096;
	rig.hook = wait_for_it;
	taken = true;
	rig_send(0, m);
	assert_null(sfs_lane_slot_get(&rig.lanes[0], &big));
	taken = false;
	sfs_session_wake(rig.se);
	rig_turn(0);
	assert_int_equal(rig.lanes[0].bytes_in_flight, 0);
	assert_int_equal(rig_do(m), 0);
	free(m);
	rig_stop();
}

/* --- listings --- */

static int list_it(struct sfs_req *req)
{
	struct fuse_entry_out entry = {.nodeid = 7};
	struct sfs_dirbuf d;
	unsigned n = 0;
	char name[256];

	memset(name, 'n', sizeof(name));
	memset(sfs_req_buf(req), 0xaa, SFS_BUF_BYTES); /* what an earlier listing left */
	sfs_dirbuf_init(&d, req, req->arg.read.size);
	while (sfs_dirbuf_fits(&d, 1 + n % 150, req->in.opcode == FUSE_READDIRPLUS)) {
		assert_true(sfs_dirbuf_add(&d, name, 1 + n % 150, 1, 2, 8,
					   req->in.opcode == FUSE_READDIRPLUS ? &entry : NULL));
		n++;
	}
	assert_false(sfs_dirbuf_add(&d, name, 1 + n % 150, 1, 2, 8,
				    req->in.opcode == FUSE_READDIRPLUS ? &entry : NULL));
	sfs_req_reply_bytes(req, d.buf, d.used);
	return SFS_DONE;
}

static void test_listings_fit_and_leak_nothing(void **state)
{
	start(1, true);
	rig.hook = list_it;
	for (uint32_t size = 0; size < 70000; size += size < 1200 ? 7 : 9001)
		for (int plus = 0; plus < 2; plus++) {
			const struct fuse_read_in in = {.size = size};
			struct rig_msg *m = rig_msg(plus ? FUSE_READDIRPLUS : FUSE_READDIR, &in, sizeof(in));

			m->out_bytes = OUT_HEAD + 60000;
			assert_int_equal(rig_do(m), 0);
			assert_true(m->used - OUT_HEAD <= size);
			for (uint32_t i = OUT_HEAD; i < m->used; i++)
				assert_int_not_equal((unsigned char)m->out[i], 0xaa);
			free(m);
		}
	rig_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_minor_versions),
	    cmocka_unit_test(test_old_guest_does_not_fill_the_log),
	    cmocka_unit_test(test_major_versions),
	    cmocka_unit_test(test_flags_only_if_offered_and_wanted),
	    cmocka_unit_test(test_init_ext),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_init_again_forgets_everything),
	    cmocka_unit_test(test_destroy_forgets_everything),
	    cmocka_unit_test(test_requests_before_init),
	    cmocka_unit_test(test_waiters_look_again_after_a_wake),
	    cmocka_unit_test(test_wake_before_the_wait_is_not_lost),
	    cmocka_unit_test(test_barrier_waits_for_the_other_lane),
	    cmocka_unit_test(test_barriers_of_two_lanes_take_turns),
	    cmocka_unit_test(test_barrier_does_not_wait_for_a_lane_that_left),
	    cmocka_unit_test(test_abandoned_barrier_lets_go),
	    cmocka_unit_test(test_reset_that_hangs_over_the_end),
	    cmocka_unit_test(test_reset_that_was_given_up),
	    cmocka_unit_test(test_abandoned_lane_has_no_part_in_barriers),
	    cmocka_unit_test(test_slots_taken_together_share_nothing),
	    cmocka_unit_test(test_full_lane_is_back_pressure),
	    cmocka_unit_test(test_bytes_in_flight_are_back_pressure),
	    cmocka_unit_test(test_listings_fit_and_leak_nothing),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
