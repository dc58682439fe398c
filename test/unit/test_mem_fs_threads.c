/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-memory filesystem used by two lanes at once, each turned by a thread of its own, and by one lane
 * against a model. Worth most under the thread sanitizer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../lib/fuse_calls.h"
#include "sfs_mem_fs.h"

#define ROOT    SFS_ROOT_ID
#define THREADS 2
#define ROUNDS  4000
#define NAMES   8
#define DIRS    3

static struct fg guest;

static int setup(void **state)
{
	fg_start(&guest, &sfs_fs_mem, "{\"size_mib\": 32, \"inodes\": 1024}", THREADS);
	return 0;
}

static int teardown(void **state)
{
	fg_stop(&guest);
	return 0;
}

static unsigned next(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 12) % below;
}

/* --- one lane against a model --- */

#define MODEL_BYTES (300u << 10)

struct model {
	char *want, *got;
	uint64_t size;
};

static void model_zero(struct model *m, uint64_t from, uint64_t to)
{
	memset(m->want + from, 0, to - from);
}

static void model_step(struct model *m, struct fc *c, uint64_t f, uint64_t fh, unsigned *seed)
{
	uint64_t off = next(seed, MODEL_BYTES / 2),
		 len = 1 + next(seed, next(seed, 2) ? 200 : MODEL_BYTES / 2 - 1);
	char *buf = m->got;

	switch (next(seed, 6)) {
	case 0:
	case 1:
		for (uint64_t i = 0; i < len; i++)
			buf[i] = (char)(next(seed, 255) + 1);
		memcpy(m->want + off, buf, len);
		assert_int_equal(fc_write(c, f, fh, off, buf, (uint32_t)len), len);
		m->size = SFS_MAX(m->size, off + len);
		break;
	case 2:
		assert_int_equal(fc_truncate(c, f, off), 0);
		model_zero(m, off, MODEL_BYTES);
		m->size = off;
		break;
	case 3:
		assert_int_equal(fc_fallocate(c, f, fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len),
				 0);
		model_zero(m, off, off + len);
		break;
	case 4:
		assert_int_equal(fc_fallocate(c, f, fh, 0, off, len), 0);
		m->size = SFS_MAX(m->size, off + len);
		break;
	default:
		assert_int_equal(fc_fallocate(c, f, fh, FALLOC_FL_KEEP_SIZE, off, len), 0);
		break;
	}
}

static void test_model(void **state)
{
	struct model m = {.want = calloc(1, MODEL_BYTES), .got = malloc(MODEL_BYTES)};
	struct fuse_entry_out e;
	struct fc c;
	uint64_t fh;

	fc_init(&c, &guest, 0);
	for (unsigned round = 1; round <= 20; round++) {
		unsigned seed = round;

		assert_int_equal(fc_create(&c, ROOT, "f", O_RDWR | O_EXCL, 0644, &e, &fh), 0);
		m.size = 0;
		model_zero(&m, 0, MODEL_BYTES);
		for (unsigned i = 0; i < 40; i++) {
			model_step(&m, &c, e.nodeid, fh, &seed);
			if (fc_read(&c, e.nodeid, fh, 0, m.got, MODEL_BYTES) != (ssize_t)m.size ||
			    memcmp(m.got, m.want, m.size))
				fail_msg("seed %u step %u", round, i);
		}
		assert_int_equal(fc_unlink(&c, ROOT, "f"), 0);
		assert_int_equal(fc_release(&c, e.nodeid, fh), 0);
		fc_forget(&c, e.nodeid, 1);
	}
	fc_fini(&c);
	free(m.want);
	free(m.got);
}

/* --- two lanes --- */

struct hammer {
	pthread_t thread;
	struct fc c;
	unsigned seed;
	uint64_t dirs[DIRS];
	const char *wrong;
};

/* An operation may fail where the other thread was faster, but for no other reason. */
static void expect(struct hammer *h, int rc, const char *what)
{
	static const int fine[] = {0, -ENOENT, -EEXIST, -ENOTEMPTY, -ESTALE, -EISDIR, -ENOTDIR, -EINVAL};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(fine); i++)
		if (rc == fine[i])
			return;
	h->wrong = what;
}

/* A file of one byte value throughout: whatever is read must be of one writer, or a hole. */
static void hammer_file(struct hammer *h, uint64_t dir, const char *name)
{
	char buf[9000];
	struct fuse_entry_out e;
	uint64_t fh;
	ssize_t n;
	int rc = fc_create(&h->c, dir, name, O_RDWR, 0600, &e, &fh);

	expect(h, rc, "create");
	if (rc)
		return;
	memset(buf, (int)('a' + h->c.lane), sizeof(buf));
	if (fc_write(&h->c, e.nodeid, fh, 0, buf, sizeof(buf)) != sizeof(buf))
		h->wrong = "write";
	n = fc_read(&h->c, e.nodeid, fh, 0, buf, sizeof(buf));
	if (n < 0 || (n && memchr("ab", buf[0], 2) == NULL))
		h->wrong = "read";
	for (ssize_t i = 1; i < n; i++)
		if (buf[i] != buf[0])
			h->wrong = "a torn write";
	expect(h, fc_truncate(&h->c, e.nodeid, 0), "truncate");
	expect(h, fc_setxattr(&h->c, e.nodeid, "user.x", buf, 100, 0), "setxattr");
	expect(h, fc_release(&h->c, e.nodeid, fh), "release");
	fc_forget(&h->c, e.nodeid, 1);
}

static void hammer_list(struct hammer *h, uint64_t dir)
{
	uint64_t fh;
	int n;

	if (fc_opendir(&h->c, dir, &fh))
		return;
	n = fc_readdir(&h->c, dir, fh, 0, 32768, true, NULL, NULL);
	if (n < 2 || n > 3 * NAMES + 2)
		h->wrong = "readdirplus";
	expect(h, fc_releasedir(&h->c, dir, fh), "releasedir");
}

static void hammer_round(struct hammer *h)
{
	uint64_t a = h->dirs[next(&h->seed, DIRS)], b = h->dirs[next(&h->seed, DIRS)];
	char from[8], to[8], sub[8];
	struct fuse_entry_out e;

	snprintf(from, sizeof(from), "%u", next(&h->seed, NAMES));
	snprintf(to, sizeof(to), "%u", next(&h->seed, NAMES));
	snprintf(sub, sizeof(sub), "d%u", next(&h->seed, NAMES));
	switch (next(&h->seed, 9)) {
	case 0:
		expect(h, fc_unlink(&h->c, a, from), "unlink");
		break;
	case 1:
		expect(h, fc_rename(&h->c, a, from, b, to, 0), "rename");
		break;
	case 2:
		expect(h, fc_rename(&h->c, a, from, b, sub, RENAME_EXCHANGE), "exchange");
		break;
	case 3:
		if (fc_mkdir(&h->c, a, sub, 0700, &e) == 0)
			fc_forget(&h->c, e.nodeid, 1);
		break;
	case 4:
		expect(h, fc_rmdir(&h->c, a, sub), "rmdir");
		break;
	case 5:
		if (fc_lookup(&h->c, a, from, &e) == 0) {
			if (S_ISREG(e.attr.mode)) {
				if (fc_link(&h->c, e.nodeid, b, to, &(struct fuse_entry_out){0}) == 0)
					fc_forget(&h->c, e.nodeid, 1);
			}
			fc_forget(&h->c, e.nodeid, 1);
		}
		break;
	case 6:
		hammer_list(h, a);
		break;
	default:
		hammer_file(h, a, from);
		break;
	}
}

static void *hammer_main(void *arg)
{
	struct hammer *h = arg;

	for (unsigned i = 0; i < ROUNDS && !h->wrong; i++)
		hammer_round(h);
	return NULL;
}

static void see_and_remove(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	char(*names)[8] = arg;
	unsigned i = 0;

	while (names[i][0])
		i++;
	snprintf(names[i], sizeof(names[i]), "%.*s", (int)d->namelen, d->name);
}

/* Empties a directory; subdirectories hold nothing. */
static void remove_all(struct fc *c, uint64_t dir)
{
	char names[64][8] = {0};
	uint64_t fh;

	assert_int_equal(fc_opendir(c, dir, &fh), 0);
	assert_true(fc_readdir(c, dir, fh, 0, 32768, false, see_and_remove, names) >= 2);
	assert_int_equal(fc_releasedir(c, dir, fh), 0);
	for (unsigned i = 0; names[i][0]; i++) {
		int rc;

		if (names[i][0] == '.')
			continue;
		rc = fc_unlink(c, dir, names[i]);
		assert_int_equal(rc == -EISDIR ? fc_rmdir(c, dir, names[i]) : rc, 0);
	}
}

/* Afterwards the tree is whole: all of it can be removed, and nothing is left. */
static void test_two_lanes(void **state)
{
	static const char *const names[DIRS] = {"x", "y", "z"};
	struct hammer h[THREADS] = {0};
	struct fuse_kstatfs before, after;
	struct fuse_entry_out e;

	for (unsigned t = 0; t < THREADS; t++) {
		fc_init(&h[t].c, &guest, t);
		h[t].seed = t + 1;
	}
	assert_int_equal(fc_statfs(&h[0].c, &before), 0);
	for (unsigned d = 0; d < DIRS; d++) {
		assert_int_equal(fc_mkdir(&h[0].c, ROOT, names[d], 0755, &e), 0);
		for (unsigned t = 0; t < THREADS; t++)
			h[t].dirs[d] = e.nodeid;
	}
	for (unsigned t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&h[t].thread, NULL, hammer_main, &h[t]), 0);
	for (unsigned t = 0; t < THREADS; t++)
		assert_int_equal(pthread_join(h[t].thread, NULL), 0);
	for (unsigned t = 0; t < THREADS; t++)
		if (h[t].wrong)
			fail_msg("thread %u: %s", t, h[t].wrong);
	for (unsigned d = 0; d < DIRS; d++) {
		remove_all(&h[0].c, h[0].dirs[d]);
		assert_int_equal(fc_rmdir(&h[0].c, ROOT, names[d]), 0);
	}
	fg_reconnect(&guest);
	assert_int_equal(fc_statfs(&h[0].c, &after), 0);
	assert_int_equal(after.bfree, before.bfree);
	assert_int_equal(after.ffree, before.ffree);
	for (unsigned t = 0; t < THREADS; t++)
		fc_fini(&h[t].c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_model, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_two_lanes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
