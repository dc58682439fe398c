/* SPDX-License-Identifier: BSD-3-Clause */
/* What only sim does; test_aio runs it beside the real engines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_aio_engines.h"
#include "sfs_base.h"

#define DEPTH      8
#define BLOCK      4096u
#define FILE_BYTES (128 * BLOCK)

struct rig {
	struct sfs_aio aio;
	int fd;
	uint8_t want[FILE_BYTES]; /* what the file holds */
	uint8_t mem[DEPTH * BLOCK];
};

static int open_sim(struct rig *rig, uint64_t seed)
{
	struct sfs_aio_opts opts = {.depth = DEPTH, .seed = seed};

	return sfs_aio_open(&rig->aio, &sfs_aio_sim, &opts);
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	FILE *file = tmpfile();

	assert_non_null(rig);
	assert_non_null(file);
	for (unsigned i = 0; i < FILE_BYTES; i++)
		rig->want[i] = (uint8_t)(i * 31 + (i >> 8));
	rig->fd = dup(fileno(file));
	fclose(file);
	assert_int_equal(pwrite(rig->fd, rig->want, FILE_BYTES, 0), FILE_BYTES);
	assert_int_equal(open_sim(rig, 1), 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	memset(&sfs_aio_sim_plan, 0, sizeof(sfs_aio_sim_plan));
	sfs_aio_close(&rig->aio);
	close(rig->fd);
	free(rig);
	return 0;
}

/* One I/O from beginning to end. */
static int64_t run(struct rig *rig, struct sfs_io *io)
{
	struct sfs_io *back = NULL;

	assert_int_equal(sfs_aio_queue(&rig->aio, io), 0);
	sfs_aio_commit(&rig->aio);
	while (sfs_aio_reap(&rig->aio, &back, 1) == 0)
		;
	assert_ptr_equal(back, io);
	return io->res;
}

#define SIM_IOS 400

struct sim_result {
	unsigned order[SIM_IOS];
	int64_t res[SIM_IOS];
	unsigned full, shorts, errors, reordered;
};

static void sim_run(struct rig *rig, uint64_t seed, struct sim_result *out)
{
	struct iovec iov[DEPTH][2];
	struct sfs_io ios[DEPTH], *back[DEPTH];
	unsigned sent = 0, done = 0, id[DEPTH], free_slots = (1u << DEPTH) - 1;

	memset(out, 0, sizeof(*out));
	sfs_aio_close(&rig->aio);
	assert_int_equal(open_sim(rig, seed), 0);
	while (done < SIM_IOS) {
		while (free_slots && sent < SIM_IOS) {
			unsigned s = (unsigned)__builtin_ctz(free_slots);
			uint8_t *mem = rig->mem + s * BLOCK;

			iov[s][0] = (struct iovec){mem, 1000};
			iov[s][1] = (struct iovec){mem + 1000, 2000};
			ios[s] =
			    (struct sfs_io){.fd = rig->fd, .iov = iov[s], .iovcnt = 2, .offset = sent * 1000};
			memset(mem, 0xee, BLOCK);
			if (sfs_aio_queue(&rig->aio, &ios[s])) {
				out->full++;
				break;
			}
			id[s] = sent++;
			free_slots &= ~(1u << s);
		}
		sfs_aio_commit(&rig->aio);
		for (unsigned i = 0, n = sfs_aio_reap(&rig->aio, back, 3); i < n; i++, done++) {
			unsigned s = (unsigned)(back[i] - ios);
			size_t got = back[i]->res < 0 ? 0 : (size_t)back[i]->res;
			uint8_t *mem = rig->mem + s * BLOCK;

			out->order[done] = id[s];
			out->res[done] = back[i]->res;
			out->shorts += got > 0 && got < 3000;
			out->errors += back[i]->res < 0;
			out->reordered += done && id[s] < out->order[done - 1];
			assert_int_not_equal(back[i]->res, 0);
			assert_memory_equal(mem, rig->want + back[i]->offset, got);
			for (size_t k = got; k < 3000; k++) /* no byte more than was reported */
				assert_int_equal(mem[k], 0xee);
			free_slots |= 1u << s;
		}
	}
	assert_int_equal(rig->aio.in_flight, 0);
}

static void sim_follows_its_plan_and_its_seed(void **state)
{
	static const int errors[] = {-EIO, -ENOSPC, -EDQUOT};
	struct rig *rig = *state;
	struct sim_result *r = calloc(3, sizeof(*r));
	unsigned seen[SIM_IOS] = {0};

	assert_non_null(r);
	sfs_aio_sim_plan = (struct sfs_aio_sim_plan){.delay_max_turns = 6,
						     .short_permille = 300,
						     .error_permille = 100,
						     .errors = errors,
						     .error_count = SFS_ARRAY_SIZE(errors),
						     .full_permille = 100};
	sim_run(rig, 7, &r[0]);
	sim_run(rig, 7, &r[1]);
	sim_run(rig, 8, &r[2]);
	memset(&sfs_aio_sim_plan, 0, sizeof(sfs_aio_sim_plan));
	assert_memory_equal(&r[0], &r[1], sizeof(r[0]));
	assert_memory_not_equal(&r[0], &r[2], sizeof(r[0]));
	assert_true(r[0].full > 0);
	assert_in_range(r[0].shorts, SIM_IOS / 8, SIM_IOS / 2);
	assert_in_range(r[0].errors, SIM_IOS / 40, SIM_IOS / 4);
	assert_true(r[0].reordered > 0);
	for (unsigned i = 0; i < SIM_IOS; i++)
		seen[r[0].order[i]]++;
	for (unsigned i = 0; i < SIM_IOS; i++)
		assert_int_equal(seen[i], 1);
	free(r);
}

static void sim_does_nothing_before_commit(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, 1};
	struct sfs_io io = {.fd = rig->fd, .iov = &iov, .iovcnt = 1}, *back;

	assert_int_equal(sfs_aio_queue(&rig->aio, &io), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(sfs_aio_reap(&rig->aio, &back, 1), 0);
	sfs_aio_commit(&rig->aio);
	assert_int_equal(sfs_aio_reap(&rig->aio, &back, 1), 1);
}

static void sim_cuts_direct_io_at_blocks(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, 8 * BLOCK};
	struct sfs_io io = {.flags = SFS_IO_F_DIRECT, .fd = rig->fd, .iov = &iov, .iovcnt = 1};

	sfs_aio_sim_plan = (struct sfs_aio_sim_plan){.short_permille = 1000};
	for (unsigned i = 0; i < 50; i++) {
		int64_t n = run(rig, &io);

		assert_int_equal(n % BLOCK, 0);
		assert_in_range(n, BLOCK, 7 * BLOCK);
	}
	iov.iov_len = BLOCK; /* nothing to cut */
	assert_int_equal(run(rig, &io), BLOCK);
	memset(&sfs_aio_sim_plan, 0, sizeof(sfs_aio_sim_plan));
}

static void sim_writes_as_far_as_it_says(void **state)
{
	static const int error = -EIO;
	struct rig *rig = *state;
	uint8_t fresh[3000], got[3000];
	struct iovec iov[2] = {{fresh, 1000}, {fresh + 1000, 2000}};
	struct sfs_io io = {.kind = SFS_IO_WRITEV, .fd = rig->fd, .iov = iov, .iovcnt = 2};

	sfs_aio_sim_plan = (struct sfs_aio_sim_plan){
	    .short_permille = 600, .error_permille = 200, .errors = &error, .error_count = 1};
	for (unsigned i = 0; i < 100; i++, io.offset += sizeof(fresh)) {
		const uint8_t *old = rig->want + io.offset;
		int64_t n;

		for (unsigned k = 0; k < sizeof(fresh); k++)
			fresh[k] = (uint8_t)~old[k];
		n = run(rig, &io);
		assert_true(n == -EIO || n > 0);
		n = n < 0 ? 0 : n;
		assert_int_equal(pread(rig->fd, got, sizeof(got), (off_t)io.offset), sizeof(got));
		assert_memory_equal(got, fresh, (size_t)n);
		assert_memory_equal(got + n, old + n, sizeof(got) - (size_t)n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(sim_follows_its_plan_and_its_seed, setup, teardown),
	    cmocka_unit_test_setup_teardown(sim_does_nothing_before_commit, setup, teardown),
	    cmocka_unit_test_setup_teardown(sim_cuts_direct_io_at_blocks, setup, teardown),
	    cmocka_unit_test_setup_teardown(sim_writes_as_far_as_it_says, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
