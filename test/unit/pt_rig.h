/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the passthrough driver share: a directory of its own, a session over it, and requests as
 * calls.
 */
#ifndef PT_RIG_H
#define PT_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../lib/fuse_calls.h"

#define RIG_FLAGS_ALL (~0ull & ~(1ull << 31)) /* all but FUSE_INIT_RESERVED */

struct rig {
	char top[64];   /* a scratch directory */
	char share[80]; /* the shared directory in it; beside it is what the guest must not reach */
	int dir;        /* of share */
	struct fg g;
	struct fc c;
	const struct sfs_aio_ops *engine; /* NULL: workers alone */
	bool started;
};

/** cmocka's group-less fixtures: *state is a struct rig whose share is empty and not started. */
int rig_setup(void **state);
int rig_teardown(void **state);

/** Starts the driver on the share with more options: ", \"readonly\": true" or "". */
void rig_start(struct rig *r, const char *options);
/** As rig_start(), with the INIT flags that the guest offers and limits of its own (NULL: large ones). */
void rig_start_with(struct rig *r, const char *options, uint64_t init_flags,
		    const struct sfs_session_limits *limits);
void rig_stop(struct rig *r);
/** Makes the driver on the share with more options, and destroys it: 0, or -errno with what it says in @text. */
int rig_try(struct rig *r, const char *options, char *text, size_t bytes);

/** Host side: makes a regular file in the share (or anywhere below top, by "../name"). */
void rig_file(struct rig *r, const char *name, const char *text);
struct stat rig_stat(struct rig *r, const char *name);
/** Bytes that tell where in a file they are, and of which @seed. */
void rig_pattern(char *p, size_t bytes, unsigned seed);
/** Drops the file's pages from the host's cache, if nobody works on them. */
void rig_make_cold(struct rig *r, const char *name);
/** Until the host's page cache holds nothing of the file at @offset. Skips the test where that cannot be. */
void rig_await_cold(struct rig *r, const char *name, off_t offset);
/** Whether tests of ownership and the like can run: as root. */
bool rig_is_root(void);

/** A lookup that must succeed: the nodeid. */
uint64_t rig_node(struct rig *r, uint64_t dir, const char *name);
/** Reads a whole small file by its nodeid: 0, or -errno of OPEN or READ. */
int rig_cat(struct rig *r, uint64_t node, char *text, size_t bytes);
/** How many requests of @opcode took each path (inline, engine, worker) on lane 0. */
uint64_t rig_path(struct rig *r, uint32_t opcode, enum sfs_req_path path);

#endif
