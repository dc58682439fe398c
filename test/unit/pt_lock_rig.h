/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the passthrough driver's locks share: a file that is open twice, and who locks it. */
#ifndef PT_LOCK_RIG_H
#define PT_LOCK_RIG_H

#include "pt_rig.h"

#define ROOT  SFS_ROOT_ID
#define ALICE 0xa11ceull
#define BOB   0xb0bull
#define CAROL 0xca401ull
#define DAVE  0xdaeull

/* A file of the share, opened twice by the guest. */
struct opened {
	uint64_t node, a, b;
};

static inline struct opened open_twice(struct rig *r, uint32_t flags)
{
	struct opened o;

	rig_file(r, "f", "0123456789");
	o.node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, o.node, flags, &o.a), 0);
	assert_int_equal(fc_open(&r->c, o.node, flags, &o.b), 0);
	return o;
}

static inline struct fuse_lk_in lk_in(uint64_t fh, uint64_t owner, uint32_t type, uint64_t start,
				      uint64_t end)
{
	return (struct fuse_lk_in){
	    .fh = fh, .owner = owner, .lk = {.start = start, .end = end, .type = type, .pid = 42}};
}

static inline int set(struct rig *r, uint64_t node, uint64_t fh, uint64_t owner, uint32_t type,
		      uint64_t start, uint64_t end)
{
	struct fuse_lk_in in = lk_in(fh, owner, type, start, end);

	return fc_call(&r->c, FUSE_SETLK, node, &in, sizeof(in), NULL, NULL, 0);
}

static inline int set_flock(struct rig *r, uint64_t node, uint64_t fh, uint32_t type)
{
	struct fuse_lk_in in = lk_in(fh, fh, type, 0, INT64_MAX);

	in.lk_flags = FUSE_LK_FLOCK;
	return fc_call(&r->c, FUSE_SETLK, node, &in, sizeof(in), NULL, NULL, 0);
}

static inline int flush(struct rig *r, uint64_t node, uint64_t fh, uint64_t owner)
{
	struct fuse_flush_in in = {.fh = fh, .lock_owner = owner};

	return fc_call(&r->c, FUSE_FLUSH, node, &in, sizeof(in), NULL, NULL, 0);
}

/* A worker may close what a guest left. */
#define UNTIL(cond)                                                                                          \
	for (unsigned ms = 0; !(cond); ms++) {                                                               \
		assert_true(ms < 10000);                                                                     \
		usleep(1000);                                                                                \
	}

static inline uint64_t fds_of(struct rig *r)
{
	struct sfs_session_figures fig;

	sfs_session_figures(r->g.se, &fig);
	return fig.fds;
}

/* The host's side: a POSIX lock of this process, or what stands in its way. */
static inline int host_lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return fcntl(fd, cmd, &lock) < 0 ? -errno : 0;
}

static inline int host_open(struct rig *r)
{
	int fd = openat(r->dir, "f", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline struct fg_msg *wait_send(struct rig *r, uint64_t node, uint64_t fh, uint64_t owner,
				       uint32_t type, uint64_t start, uint64_t end, uint32_t flags)
{
	struct fuse_lk_in in = lk_in(fh, owner, type, start, end);
	struct fg_msg *m = fg_new();

	in.lk_flags = flags;
	fg_send(&r->g, 0, m, FUSE_SETLKW, node, &in, sizeof(in), NULL, NULL, NULL, 0, 0);
	return m;
}

static inline int wait_end(struct rig *r, struct fg_msg *m)
{
	int rc = fg_wait(&r->g, 0, m);

	fg_free(m);
	return rc;
}

#endif
