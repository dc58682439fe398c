/* SPDX-License-Identifier: BSD-3-Clause */
/* Data, errors and options: one suite over all engines, and over some once more on kernels that give less. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio_rig.h"
#include "sfs_base.h"
#include "sfs_iov.h"

#define SEGS_MAX 16

static unsigned below(struct rig *rig, unsigned n)
{
	rig->random = rig->random * 1103515245 + 12345;
	return (rig->random >> 8) % n;
}

/* Cuts @len bytes at @mem into random segments of multiples of @unit. */
static unsigned segment(struct rig *rig, struct iovec *iov, uint8_t *mem, unsigned len, unsigned unit)
{
	unsigned cnt = 0;

	while (len) {
		unsigned n = cnt == SEGS_MAX - 1 ? len : unit * (1 + below(rig, len / unit));

		iov[cnt++] = (struct iovec){mem, n};
		mem += n;
		len -= n;
	}
	return cnt;
}

/* Random I/O, up to DEPTH at once on parts of the file that do not overlap, compared with what the file
 * should hold. */
static void random_io(struct rig *rig, int fd, unsigned flags, unsigned unit)
{
	unsigned part = FILE_BYTES / DEPTH;

	for (unsigned round = 0; round < 60; round++) {
		struct iovec iov[DEPTH][SEGS_MAX];
		struct sfs_io ios[DEPTH], *back[DEPTH];
		unsigned n = 1 + below(rig, DEPTH);

		for (unsigned i = 0; i < n; i++) {
			unsigned len = unit * (1 + below(rig, part / unit));
			unsigned offset = i * part + unit * below(rig, (part - len) / unit + 1);
			uint8_t *mem = rig->mem + i * part;

			ios[i] = (struct sfs_io){.kind = below(rig, 2) ? SFS_IO_READV : SFS_IO_WRITEV,
						 .flags = (uint8_t)flags,
						 .fd = fd,
						 .iov = iov[i],
						 .offset = offset,
						 .res = len};
			if (ios[i].kind == SFS_IO_WRITEV)
				for (unsigned k = 0; k < len; k++)
					mem[k] = rig->want[offset + k] = (uint8_t)(round + offset + k);
			else
				memset(mem, 0xee, len);
			ios[i].iovcnt = segment(rig, iov[i], mem, len, unit);
			ios[i].priv[0] = 0;
			assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
		}
		rig_commit(rig);
		rig_reap_into(rig, back, n);
		for (unsigned i = 0; i < n; i++) {
			size_t len = sfs_iov_bytes(back[i]->iov, back[i]->iovcnt);

			assert_int_equal(back[i]->res, len);
			assert_memory_equal(back[i]->iov->iov_base, rig->want + back[i]->offset, len);
		}
	}
	assert_int_equal(rig->aio.in_flight, 0);
	assert_int_equal(pread(rig->fd, rig->mem, FILE_BYTES, 0), FILE_BYTES);
	assert_memory_equal(rig->mem, rig->want, FILE_BYTES);
}

static void buffered_data_goes_where_it_should(void **state)
{
	struct rig *rig = *state;

	random_io(rig, rig->fd, 0, 1);
}

static void direct_data_goes_where_it_should(void **state)
{
	struct rig *rig = *state;

	if (rig->direct_fd < 0) {
		print_message("no O_DIRECT on this filesystem\n");
		skip();
	}
	random_io(rig, rig->direct_fd, SFS_IO_F_DIRECT, BLOCK);
}

static void a_full_engine_delays_and_goes_on(void **state)
{
	struct rig *rig = *state;
	struct sfs_io ios[DEPTH + 1], *back[DEPTH];
	struct iovec iov = {rig->mem, 1};

	for (unsigned i = 0; i <= DEPTH; i++)
		ios[i] = (struct sfs_io){.fd = rig->fd, .iov = &iov, .iovcnt = 1, .offset = i};
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < DEPTH; i++)
			assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[DEPTH]), -EAGAIN);
		sfs_aio_commit(&rig->aio);
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[DEPTH]), -EAGAIN);
		rig_reap_into(rig, back, 1); /* one at a time leaves the rest where it is */
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[DEPTH]), 0);
		rig_reap_into(rig, back, DEPTH);
		assert_int_equal(rig->aio.in_flight, 0);
	}
}

static void errors_come_back_as_results(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, 100}, bad = {(void *)(uintptr_t)8, 100};
	int reader = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	for (unsigned flags = 0; flags <= SFS_IO_F_DIRECT; flags++) {
		struct sfs_io closed = {.flags = (uint8_t)flags, .fd = 1 << 20, .iov = &iov, .iovcnt = 1};
		struct sfs_io write = {.kind = SFS_IO_WRITEV, .fd = reader, .iov = &iov, .iovcnt = 1};
		struct sfs_io fault = {.fd = rig->fd, .iov = &bad, .iovcnt = 1};
		struct sfs_io nowhere = {
		    .flags = (uint8_t)flags, .fd = rig->fd, .iov = &iov, .iovcnt = 1, .offset = UINT64_MAX};

		assert_int_equal(rig_run(rig, &closed), -EBADF);
		assert_int_equal(rig_run(rig, &write), -EBADF);
		assert_int_equal(rig_run(rig, &fault), -EFAULT);
		assert_int_equal(rig_run(rig, &nowhere), -EINVAL);
	}
	assert_int_equal(lseek(rig->fd, 0, SEEK_CUR), 0); /* nobody used the file's position */
	close(reader);
}

/* The first I/O of a batch cannot even be submitted, the others are not hurt. */
static void one_bad_io_spoils_no_batch(void **state)
{
	struct rig *rig = *state;
	int fd = rig->direct_fd >= 0 ? rig->direct_fd : rig->fd;
	struct sfs_io ios[DEPTH], *back[DEPTH];
	unsigned good = 0, bad = 0;

	for (unsigned i = 0; i < DEPTH; i++) {
		static struct iovec iov[DEPTH];

		iov[i] = (struct iovec){rig->mem + i * BLOCK, BLOCK};
		ios[i] = (struct sfs_io){.flags = SFS_IO_F_DIRECT,
					 .fd = i % 3 == 0 ? 1 << 20 : fd,
					 .iov = &iov[i],
					 .iovcnt = 1,
					 .offset = i * BLOCK};
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
	}
	rig_reap_into(rig, back, DEPTH);
	for (unsigned i = 0; i < DEPTH; i++) {
		if (back[i]->fd == fd) {
			assert_int_equal(back[i]->res, BLOCK);
			assert_memory_equal(back[i]->iov->iov_base, rig->want + back[i]->offset, BLOCK);
			good++;
		} else {
			assert_int_equal(back[i]->res, -EBADF);
			bad++;
		}
	}
	assert_int_equal(good, 5);
	assert_int_equal(bad, 3);
}

static void the_end_of_a_file_is_short_then_nothing(void **state)
{
	struct rig *rig = *state;
	struct iovec iov[2] = {{rig->mem, 300}, {rig->mem + 300, 300}};
	struct sfs_io io = {.fd = rig->fd, .iov = iov, .iovcnt = 2, .offset = FILE_BYTES - 400};

	assert_int_equal(rig_run(rig, &io), 400);
	assert_memory_equal(rig->mem, rig->want + FILE_BYTES - 400, 400);
	io.offset = FILE_BYTES;
	assert_int_equal(rig_run(rig, &io), 0);
	io.iovcnt = 0;
	io.offset = 0;
	assert_int_equal(rig_run(rig, &io), 0);
}

static void writes_obey_their_flags(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->want, 100};
	struct sfs_io io = {.kind = SFS_IO_WRITEV,
			    .fd = rig->fd,
			    .rw_flags = RWF_APPEND | RWF_DSYNC,
			    .iov = &iov,
			    .iovcnt = 1};
	struct stat st;

	assert_int_equal(rig_run(rig, &io), 100);
	assert_int_equal(fstat(rig->fd, &st), 0);
	assert_int_equal(st.st_size, FILE_BYTES + 100);
}

/* After a write that io_uring cannot do without blocking. */
static void kernel_workers_stay_on_their_cpus(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->want, 100};
	struct sfs_io io = {
	    .kind = SFS_IO_WRITEV, .fd = rig->fd, .rw_flags = RWF_DSYNC, .iov = &iov, .iovcnt = 1};
	DIR *dir = opendir("/proc/self/task");
	char path[300], name[32], want[32];
	struct dirent *de;
	cpu_set_t set;

	assert_non_null(dir);
	assert_int_equal(rig_run(rig, &io), 100);
	snprintf(want, sizeof(want), "iou-wrk-%d\n", gettid());
	while ((de = readdir(dir))) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", de->d_name);
		comm = fopen(path, "re");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) && strcmp(name, want) == 0 &&
		    sched_getaffinity(atoi(de->d_name), sizeof(set), &set) == 0) {
			assert_int_equal(CPU_COUNT(&set), 1);
			assert_true(CPU_ISSET(rig_iowq_cpu(), &set));
		}
		fclose(comm);
	}
	closedir(dir);
}

/* A pipe without data: the call that waits for it would wait for ever. (preadv2() says that pipes have no
 * offsets.) */
static void nothing_blocks_and_nothing_is_asked_for_in_vain(void **state)
{
	struct rig *rig = *state;
	char data = 'x', got = 0;
	struct iovec iov = {&got, 1}, iov2 = {rig->mem, BLOCK};
	struct sfs_io slow = {.iov = &iov, .iovcnt = 1}, quick = {.fd = rig->fd, .iov = &iov2, .iovcnt = 1},
		      *back;
	int p[2];

	assert_int_equal(pipe(p), 0);
	slow.fd = p[0];
	assert_int_equal(write(p[1], &data, rig->ops == &sfs_aio_sim), rig->ops == &sfs_aio_sim);
	assert_int_equal(sfs_aio_queue(&rig->aio, &slow), 0);
	assert_int_equal(sfs_aio_queue(&rig->aio, &quick), 0);
	rig_commit(rig);
	if (rig->ops == &sfs_aio_uring && !kernel.refuse_enable) {
		rig_reap_into(rig, &back, 1);
		assert_ptr_equal(back, &quick);
		assert_int_equal(quick.res, BLOCK);
		kernel.gets = kernel.submits = 0;
		for (unsigned i = 0; i < 1000; i++) {
			assert_int_equal(sfs_aio_reap(&rig->aio, &back, 1), 0);
			assert_int_equal(sfs_aio_commit(&rig->aio), 0);
		}
		assert_int_equal(kernel.gets + kernel.submits, 0);
		assert_int_equal(write(p[1], &data, 1), 1);
		rig_reap_into(rig, &back, 1);
		assert_int_equal(slow.res, 1);
	} else {
		struct sfs_io *both[2];

		rig_reap_into(rig, both, 2);
		assert_int_equal(quick.res, BLOCK);
		assert_int_equal(slow.res, -ESPIPE);
	}
	close(p[0]);
	close(p[1]);
}

/* What the kernel would not wait for is done again where waiting is allowed. */
static void try_again_is_no_answer(void **state)
{
	struct rig *rig = *state;
	char got;
	struct iovec iov = {&got, 1};
	struct sfs_io io = {.rw_flags = RWF_NOWAIT, .iov = &iov, .iovcnt = 1};
	int p[2];

	assert_int_equal(pipe(p), 0);
	io.fd = p[0];
	assert_int_equal(rig_run(rig, &io), -ESPIPE); /* preadv2()'s answer, which never tries */
	close(p[0]);
	close(p[1]);
}

static void completions_are_collected_without_system_calls(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.flags = SFS_IO_F_DIRECT, .fd = rig->direct_fd, .iov = &iov, .iovcnt = 1};

	kernel.gets = 0;
	for (unsigned i = 0; i < 50 && rig->direct_fd >= 0; i++)
		assert_int_equal(rig_run(rig, &io), BLOCK);
	if (rig->ops == &sfs_aio_libaio && !kernel.other_ring)
		assert_int_equal(kernel.gets, 0);
	if (rig->ops == &sfs_aio_uring) /* one at most for each that the kernel announces */
		assert_in_range(kernel.gets, 0, 50);
}

static void bad_options_are_refused(void **state)
{
	struct rig *rig = *state;
	struct sfs_aio_opts opts = {.depth = 0, .workers = rig->client};
	struct sfs_aio aio;

	assert_int_equal(sfs_aio_open(&aio, rig->ops, &opts), -EINVAL);
	opts.depth = 1;
	opts.workers = NULL;
	if (rig->ops != &sfs_aio_sim)
		assert_int_equal(sfs_aio_open(&aio, rig->ops, &opts), -EINVAL);
	opts.workers = rig->client;
	opts.iowq_cpus = "none";
	if (rig->ops == &sfs_aio_uring)
		assert_int_equal(sfs_aio_open(&aio, rig->ops, &opts), -EINVAL);
}

static int run(const struct sfs_aio_ops *ops, const char *title)
{
	const struct CMUnitTest tests[] = {
	    TEST(buffered_data_goes_where_it_should, ops),
	    TEST(direct_data_goes_where_it_should, ops),
	    TEST(a_full_engine_delays_and_goes_on, ops),
	    TEST(errors_come_back_as_results, ops),
	    TEST(one_bad_io_spoils_no_batch, ops),
	    TEST(the_end_of_a_file_is_short_then_nothing, ops),
	    TEST(writes_obey_their_flags, ops),
	    TEST(kernel_workers_stay_on_their_cpus, ops),
	    TEST(nothing_blocks_and_nothing_is_asked_for_in_vain, ops),
	    TEST(try_again_is_no_answer, ops),
	    TEST(completions_are_collected_without_system_calls, ops),
	    TEST(bad_options_are_refused, ops),
	};

	return cmocka_run_group_tests_name(title, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run);
}
