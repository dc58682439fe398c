/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the tables share: a session, requests as far as the tables know one, and lookups. */
#ifndef TABLE_RIG_H
#define TABLE_RIG_H

#include <sys/stat.h>

#include "../../lib/fuse/session_priv.h"
#include "fuse_rig.h"

static struct sfs_session *se;

/* A request as far as the tables know one. */
static inline struct sfs_req *req_new(void)
{
	struct sfs_req *req = calloc(1, sizeof(*req));

	assert_non_null(req);
	req->session = se;
	return req;
}

static inline void begin(uint32_t inodes, uint32_t handles, uint32_t fds, uint32_t node_fds)
{
	rig_start(&(struct rig_opts){
	    .limits = {.inodes = inodes, .handles = handles, .fds = fds, .node_fds = node_fds}});
	se = rig.se;
}

static inline int setup(void **state)
{
	begin(64, 8, 16, 4);
	return 0;
}

static inline int setup_tiny(void **state)
{
	begin(4, 2, 3, 2);
	return 0;
}

static inline int teardown(void **state)
{
	rig_stop();
	return 0;
}

static inline struct sfs_session_figures figures(void)
{
	struct sfs_session_figures f;

	sfs_session_figures(se, &f);
	return f;
}

static inline struct sfs_node_key key_of(uint64_t ino, bool handle)
{
	struct sfs_node_key key = {.dev = 1, .ino = ino, .btime_ns = ino * 3};

	if (handle) {
		key.handle_bytes = 8;
		memcpy(key.handle, &ino, 8);
	}
	return key;
}

/* One lookup as a driver does it; the id. */
static inline uint64_t lookup(uint64_t ino, bool handle, int fd)
{
	struct sfs_req *req = req_new();
	const struct sfs_node_key key = key_of(ino, handle);
	struct sfs_node *node;
	uint64_t id = 0;
	bool created;

	node = sfs_node_get(req, &key, S_IFREG, fd, 1, &created);
	if (node)
		id = sfs_node_id(se, node);
	rig_req_end(req);
	return id;
}

static inline bool known(uint64_t id)
{
	struct sfs_req *req = req_new();
	bool yes = sfs_node_pin(req, id);

	rig_req_end(req);
	return yes;
}

#define T(test)      cmocka_unit_test_setup_teardown(test, setup, teardown)
#define T_TINY(test) cmocka_unit_test_setup_teardown(test, setup_tiny, teardown)

#endif
