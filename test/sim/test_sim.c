/* SPDX-License-Identifier: BSD-3-Clause */
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "sfs_log.h"
#include "sim.h"

#define SEEDS_QUICK   50
#define SEEDS_FULL    1000
#define SEED_SECONDS  60 /* of processor time, far more than any seed takes: what loops for ever ends here */
#define STUCK_SECONDS 900
#define SEEDS_ASSERT  40 /* so many have met everything */

struct sim sim;

/* splitmix64 */
uint64_t sim_below(uint64_t n)
{
	uint64_t x = sim.random += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return (x ^ (x >> 31)) % n;
}

void sim_note(uint64_t fact)
{
	sim.trace = (sim.trace ^ fact) * 0x100000001b3ull;
	sim.trace ^= sim.trace >> 29;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static void scratch_remove(void)
{
	if (sim.dir[0])
		nftw(sim.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	sim.dir[0] = 0;
}

static void say_seed(void)
{
	fprintf(stderr, "seed %llu failed in turn %llu; alone: test_sim --seed %llu --verbose\n",
		(unsigned long long)sim.plan.seed, (unsigned long long)sim.turn,
		(unsigned long long)sim.plan.seed);
}

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("sim: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	say_seed();
	scratch_remove();
	_exit(1);
}

/* An assertion, a fault, or no end. */
static void died(int sig)
{
	fprintf(stderr, "sim: %s\n", strsignal(sig));
	say_seed();
	scratch_remove();
	_exit(1);
}

static void scratch_make(uint64_t seed)
{
	const char *tmp = getenv("TMPDIR"), *shm = "/dev/shm";

	if (!tmp)
		tmp = "/tmp";
	/* Mostly where a sync costs nothing; now and then on whatever filesystem holds temporary files. */
	sim.foreign = seed % 10 == 0 || access(shm, W_OK);
	if (sim.foreign)
		shm = tmp;
	snprintf(sim.dir, sizeof(sim.dir), "%s/spinfs-sim.XXXXXX", shm);
	if (!mkdtemp(sim.dir)) {
		perror(sim.dir);
		_exit(1);
	}
}

static uint64_t seed_run(uint64_t seed, struct sim_coverage *cover, bool verbose)
{
	const struct itimerval limit = {.it_value.tv_sec = SEED_SECONDS};

	memset(&sim, 0, sizeof(sim));
	sim.random = seed;
	sim.plan.seed = seed;
	sim.cover = cover;
	sim.verbose = verbose;
	scratch_make(seed);
	setitimer(ITIMER_PROF, &limit, NULL);
	alarm(STUCK_SECONDS);
	sim_plan_make(&sim.plan, seed);
	sim_world_begin();
	sim_programs();
	sim_world_end();
	alarm(0);
	scratch_remove();
	return sim.trace;
}

/* --- what a whole run must have met --- */

#define STEP(n) (1ull << (n))

static const struct {
	uint32_t opcode;
	enum sim_park park;
	uint64_t steps;
} must_park[] = {
    {FUSE_LOOKUP, SIM_PARK_CALL, STEP(1)},
    {FUSE_GETATTR, SIM_PARK_CALL, STEP(1)},
    {FUSE_SETATTR, SIM_PARK_CALL, STEP(1)},
    {FUSE_READLINK, SIM_PARK_CALL, STEP(1)},
    {FUSE_SYMLINK, SIM_PARK_CALL, STEP(1)},
    {FUSE_MKNOD, SIM_PARK_CALL, STEP(1)},
    {FUSE_MKDIR, SIM_PARK_CALL, STEP(1)},
    {FUSE_UNLINK, SIM_PARK_CALL, STEP(1)},
    {FUSE_RMDIR, SIM_PARK_CALL, STEP(1)},
    {FUSE_RENAME, SIM_PARK_CALL, STEP(1)},
    {FUSE_RENAME2, SIM_PARK_CALL, STEP(1)},
    {FUSE_LINK, SIM_PARK_CALL, STEP(1)},
    {FUSE_OPEN, SIM_PARK_CALL, STEP(1)},
    {FUSE_CREATE, SIM_PARK_CALL, STEP(1)},
    {FUSE_READ, SIM_PARK_IO, STEP(2)},
    {FUSE_READ, SIM_PARK_YIELD, STEP(3)},
    {FUSE_WRITE, SIM_PARK_CALL, STEP(1)},
    {FUSE_FSYNC, SIM_PARK_CALL, STEP(1)},
    {FUSE_FSYNCDIR, SIM_PARK_CALL, STEP(1)},
    {FUSE_OPENDIR, SIM_PARK_CALL, STEP(1)},
    {FUSE_READDIR, SIM_PARK_CALL, STEP(4)},
    {FUSE_READDIRPLUS, SIM_PARK_CALL, STEP(4)},
    {FUSE_READDIR, SIM_PARK_YIELD, STEP(1) | STEP(3)}, /* of the driver mem, and of passthrough */
    {FUSE_READDIRPLUS, SIM_PARK_YIELD, STEP(1) | STEP(3)},
    {FUSE_SETXATTR, SIM_PARK_CALL, STEP(1)},
    {FUSE_GETXATTR, SIM_PARK_CALL, STEP(1)},
    {FUSE_LISTXATTR, SIM_PARK_CALL, STEP(1)},
    {FUSE_REMOVEXATTR, SIM_PARK_CALL, STEP(1)},
    {FUSE_FALLOCATE, SIM_PARK_CALL, STEP(1) | STEP(2)},
    {FUSE_FALLOCATE, SIM_PARK_WAIT, STEP(1)},
    {FUSE_LSEEK, SIM_PARK_CALL, STEP(1)},
    {FUSE_COPY_FILE_RANGE, SIM_PARK_CALL, STEP(1)},
    {FUSE_SYNCFS, SIM_PARK_CALL, STEP(1)},
    {FUSE_READDIR, SIM_PARK_WAIT, STEP(2)},
    {FUSE_READDIRPLUS, SIM_PARK_WAIT, STEP(2)},
    {FUSE_INIT, SIM_PARK_BARRIER, STEP(1)},
    {FUSE_INIT, SIM_PARK_CALL, STEP(2)},
};

static int missing(const char *what)
{
	fprintf(stderr, "sim: coverage: %s\n", what);
	return 1;
}

static int coverage_check(const struct sim_coverage *c)
{
	static const char *const parks[] = {"the engine", "a worker", "another request", "a barrier",
					    "its next turn"};
	char text[128];
	int bad = 0;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(must_park); i++) {
		uint64_t steps = must_park[i].steps & ~c->parked[must_park[i].opcode][must_park[i].park];

		if (!steps)
			continue;
		snprintf(text, sizeof(text), "%s never waited for %s (steps %llx)",
			 sfs_op_get(must_park[i].opcode)->name, parks[must_park[i].park],
			 (unsigned long long)steps);
		bad |= missing(text);
	}
	if (__builtin_popcountll(c->short_reads) < 6)
		bad |= missing("short reads of fewer than six orders of magnitude");
	if (__builtin_popcountll(c->short_writes) < 6)
		bad |= missing("short writes of fewer than six orders of magnitude");
	if (!c->engine_full || !c->slots_full)
		bad |= missing("the engine or the slots were never full");
	if (!c->races || !c->restarts)
		bad |= missing("no races, or no restarts");
	return bad;
}

static void coverage_print(const struct sim_coverage *c)
{
	for (unsigned op = 0; op < SFS_OP_COUNT; op++)
		if (c->done[op])
			printf("%-16s %7llu done %7llu failed; parked at steps: io %llx call %llx wait %llx "
			       "barrier %llx yield %llx\n",
			       sfs_op_get(op)->name, (unsigned long long)c->done[op],
			       (unsigned long long)c->failed[op], (unsigned long long)c->parked[op][0],
			       (unsigned long long)c->parked[op][1], (unsigned long long)c->parked[op][2],
			       (unsigned long long)c->parked[op][3], (unsigned long long)c->parked[op][4]);
	printf("engine full %llu, slots full %llu, ring full %llu, races %llu, restarts %llu, inits %llu, "
	       "short reads %llx writes %llx\n",
	       (unsigned long long)c->engine_full, (unsigned long long)c->slots_full,
	       (unsigned long long)c->ring_full, (unsigned long long)c->races,
	       (unsigned long long)c->restarts, (unsigned long long)c->inits,
	       (unsigned long long)c->short_reads, (unsigned long long)c->short_writes);
}

static int usage(void)
{
	fputs("usage: test_sim [--seeds N | --seed S] [--first S] [--verbose]\n"
	      "  SPINFS_TEST_FULL=1 runs 1000 seeds instead of 50\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
						{"seed", required_argument, NULL, 's'},
						{"first", required_argument, NULL, 'f'},
						{"verbose", no_argument, NULL, 'v'},
						{NULL, 0, NULL, 0}};
	static struct sim_coverage cover;
	const char *full = getenv("SPINFS_TEST_FULL");
	uint64_t seeds = full && *full == '1' ? SEEDS_FULL : SEEDS_QUICK, first = 1;
	bool verbose = false, one = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'n':
			seeds = strtoull(optarg, NULL, 0);
			break;
		case 's':
			one = true;
			seeds = 1; /* fall through */
		case 'f':
			first = strtoull(optarg, NULL, 0);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			return usage();
		}
	}
	sfs_log_setup(SFS_LOG_ERROR, SFS_LOG_STDERR);
	signal(SIGABRT, died);
	signal(SIGSEGV, died);
	signal(SIGALRM, died);
	signal(SIGPROF, died);
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		uint64_t trace = seed_run(seed, &cover, verbose);

		/* The same seed, the same trace; but where others make files, too, inode numbers are not the seed's to say. */
		if ((one || seed % 16 == 0) && !sim.foreign) {
			if (seed_run(seed, &cover, false) != trace)
				sim_fail("another trace at the second time");
		}
		if (one)
			printf("trace %016llx, %llu turns\n", (unsigned long long)trace,
			       (unsigned long long)sim.turn);
	}
	coverage_print(&cover);
	if (seeds >= SEEDS_ASSERT && coverage_check(&cover))
		return 1;
	printf("%llu seeds passed\n", (unsigned long long)seeds);
	return 0;
}
