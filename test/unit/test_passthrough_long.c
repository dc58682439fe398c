/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls of the passthrough driver that take long, and who makes the next ones, the reactor or a worker: the
 * linker lets them, and the look at how they spent their time, go through us (--wrap).
 */
#include <sys/resource.h>
#include <time.h>

#include "pt_rig.h"

#define ROOT   SFS_ROOT_ID
#define LISTED 150

/* What each statx() takes besides. */
static uint64_t each_statx_ns;

/* How the next unlinkat() or statx() spends that time. */
static enum long_how {
	NOT_LONG,
	WAITING,
	WAITING_SHORTLY,
	WORKING,
	WORKING_LONG,
	WORKING_VERY_LONG,
	PREEMPTED,
	PREEMPTED_LONG
} how_long,
    how_long_statx;
static const uint64_t long_ns[] = {
    [WAITING] = 3 * SFS_NS_PER_MS,
    [WAITING_SHORTLY] = 400 * SFS_NS_PER_US,
    [WORKING] = 400 * SFS_NS_PER_US,
    [WORKING_LONG] = 8 * SFS_NS_PER_MS,
    [WORKING_VERY_LONG] = 60 * SFS_NS_PER_MS,
    [PREEMPTED] = 400 * SFS_NS_PER_US,
    [PREEMPTED_LONG] = 8 * SFS_NS_PER_MS,
};
static struct {
	long voluntary, involuntary;
	bool as_told; /* the next look sees these; otherwise whoever looks was preempted since */
} switches;

int __real_getrusage(int who, struct rusage *ru);
int __wrap_getrusage(int who, struct rusage *ru);
int __wrap_getrusage(int who, struct rusage *ru)
{
	memset(ru, 0, sizeof(*ru));
	switches.involuntary += !switches.as_told;
	switches.as_told = false;
	ru->ru_nvcsw = switches.voluntary;
	ru->ru_nivcsw = switches.involuntary;
	return 0;
}

static void take_long(enum long_how *how)
{
	uint64_t until;

	/* On a worker nobody looks. */
	if (*how == NOT_LONG || gettid() != getpid())
		return;
	until = sfs_now_ns() + long_ns[*how];
	while (sfs_now_ns() < until)
		;
	switches.as_told = true;
	switches.voluntary += *how == WAITING || *how == WAITING_SHORTLY;
	switches.involuntary += *how == PREEMPTED || *how == PREEMPTED_LONG;
	*how = NOT_LONG;
}

int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags)
{
	take_long(&how_long);
	return __real_unlinkat(fd, name, flags);
}

int __real_statx(int fd, const char *name, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int fd, const char *name, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int fd, const char *name, int flags, unsigned mask, struct statx *st)
{
	uint64_t until = sfs_now_ns() + each_statx_ns;

	take_long(&how_long_statx);
	while (each_statx_ns && sfs_now_ns() < until)
		switches.as_told = true;
	return __real_statx(fd, name, flags, mask, st);
}

/* Removes a file, which takes as long as @how says; true: a worker did it. */
static bool unlink_on_worker(struct rig *r, int how)
{
	uint64_t before = rig_path(r, FUSE_UNLINK, SFS_PATH_WORKER);

	rig_file(r, "f", "");
	how_long = how;
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	return rig_path(r, FUSE_UNLINK, SFS_PATH_WORKER) > before;
}

/* Long calls until workers do them: at once, but that a busy machine may let the spell pass. */
static void until_worker(struct rig *r, int how)
{
	unsigned tries = 0;

	while (!unlink_on_worker(r, how))
		assert_true(++tries < 1000);
}

/*
 * @count such calls, each so long after the one before that they are not in a row where @apart: the reactor makes all of them. A machine with much to do
 * may make them longer than they are meant to be, so not at the first try, perhaps.
 */
static void few_on_reactor(struct rig *r, int how, unsigned count, bool apart)
{
	struct timespec pause = {.tv_nsec = 60 * SFS_NS_PER_MS};
	unsigned tries = 0, done;

	for (;;) {
		rig_start(r, "");
		for (done = 0; done < count && !unlink_on_worker(r, how); done++)
			if (apart)
				nanosleep(&pause, NULL);
		if (done == count)
			return;
		rig_stop(r);
		assert_true(++tries < 50);
	}
}

/* Workers take over after a call that waited, after some that waited shortly or were long without waiting, but not for a few of
 * these, nor for want of the CPU. */
static void test_long_calls(void **state)
{
	struct rig *r = *state;

	few_on_reactor(r, PREEMPTED, 20, false);
	until_worker(r, WAITING);
	rig_stop(r);
	few_on_reactor(r, WAITING_SHORTLY, 3, true);
	until_worker(r, WAITING_SHORTLY);
	rig_stop(r);
	few_on_reactor(r, WORKING, 3, true);
	until_worker(r, WORKING);
	rig_stop(r);
}

/* What fast calls waited, longer ago than the last few, is not the long one's. */
static void test_waits_of_fast_calls(void **state)
{
	struct rig *r = *state;
	unsigned tries = 0;
	bool given;

	do {
		rig_start(r, "");
		given = unlink_on_worker(r, PREEMPTED);
		switches.voluntary++;
		for (int i = 0; i < 200; i++)
			given |= unlink_on_worker(r, NOT_LONG);
		given |= unlink_on_worker(r, PREEMPTED);
		given |= unlink_on_worker(r, NOT_LONG);
		rig_stop(r);
		assert_true(++tries < 50); /* as above */
	} while (given);
}

/* How many such calls the reactor makes until a worker does; at most @most. */
static unsigned calls_on_reactor(struct rig *r, int how, unsigned most)
{
	unsigned n = 0;

	rig_start(r, "");
	while (n < most && !unlink_on_worker(r, how))
		n++;
	rig_stop(r);
	return n;
}

/* A call that is the longer the more the guest wants of it, freeing a huge file say, never waits: it must not keep the reactor again and again. */
static void test_very_long_calls(void **state)
{
	assert_in_range(calls_on_reactor(*state, WORKING_LONG, 40), 2, 39);
	assert_in_range(calls_on_reactor(*state, WORKING_VERY_LONG, 20), 1, 19);
	few_on_reactor(*state, PREEMPTED_LONG, 10, false);
	rig_stop(*state);
}

/* Looks up a file, which takes as long as @how says; true: a worker did it. */
static bool lookup_on_worker(struct rig *r, enum long_how how)
{
	uint64_t before = rig_path(r, FUSE_LOOKUP, SFS_PATH_WORKER);

	how_long_statx = how;
	rig_node(r, ROOT, "file");
	return rig_path(r, FUSE_LOOKUP, SFS_PATH_WORKER) > before;
}

/* Where changes are slow, what only looks goes on as before; where looking is slow, changes are given to workers as well. */
static void test_long_changes(void **state)
{
	struct rig *r = *state;
	unsigned tries = 0;

	rig_file(r, "file", "");
	rig_start(r, "");
	/* In a spell, which a busy machine may let pass. */
	do {
		until_worker(r, WAITING);
		assert_false(lookup_on_worker(r, NOT_LONG));
		assert_true(++tries < 1000);
	} while (!unlink_on_worker(r, NOT_LONG));
	rig_stop(r);
	rig_start(r, "");
	while (!lookup_on_worker(r, WAITING) || !unlink_on_worker(r, NOT_LONG))
		assert_true(++tries < 1000);
	rig_stop(r);
}

/* How many of @count listings of the root, with attributes, workers make. */
static unsigned listings_on_worker(struct rig *r, unsigned count)
{
	uint64_t fh, before = rig_path(r, FUSE_READDIRPLUS, SFS_PATH_WORKER);

	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	for (unsigned i = 0; i < count; i++)
		assert_true(fc_readdir(&r->c, ROOT, fh, 0, 65536, true, NULL, NULL) > LISTED);
	assert_int_equal(fc_releasedir(&r->c, ROOT, fh), 0);
	return (unsigned)(rig_path(r, FUSE_READDIRPLUS, SFS_PATH_WORKER) - before);
}

/* A listing takes the longer the more there is to list, which is no fault of the filesystem; it may be all the same. */
static void test_long_listings(void **state)
{
	struct rig *r = *state;
	char name[16];
	unsigned tries = 0;

	for (unsigned i = 0; i < LISTED; i++) {
		snprintf(name, sizeof(name), "%u", i);
		rig_file(r, name, "");
	}
	each_statx_ns = 1500; /* together more than a single call may take, and less than these many */
	rig_start(r, "");
	while (listings_on_worker(r, 40)) { /* a busy machine may make them longer */
		rig_stop(r);
		assert_true(++tries < 50);
		rig_start(r, "");
	}
	each_statx_ns = 20 * SFS_NS_PER_US;
	while (!listings_on_worker(r, 40))
		assert_true(++tries < 100);
	each_statx_ns = 0;
	rig_stop(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_long_calls, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_waits_of_fast_calls, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_very_long_calls, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_long_changes, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_long_listings, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests_name("passthrough_long", tests, NULL, NULL);
}
