/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session over a filesystem with a few objects in it, and requests of any bytes in any segments. Worker calls
 * run as soon as they are handed over: nothing here depends on time.
 */
#ifndef FUZZ_RIG_H
#define FUZZ_RIG_H

#include "fuzz.h"
#include "sfs_fs.h"
#include "sfs_lane.h"
#include "sfs_proto.h"

#define FZ_BYTES 0x20000u

/** Where a request stands, and where its answer goes: pieces of any size. */
struct fz_msg {
	uint8_t *in;
	uint32_t in_bytes;
	uint32_t in_piece, out_piece; /* 0: in one segment */
	uint32_t out_bytes;
};

/** The filesystem: an empty one. */
struct fz_fs {
	const struct sfs_fs_ops *ops;
	const char *options;
	const struct sfs_aio_ops *engine;
};

/** Starts with a root that holds a file "file", a directory "dir" and a link "link". */
void fz_begin(const struct fz_fs *fs);
/** Everything has ended and is given back. */
void fz_end(const struct fz_fs *fs);

/**
 * Runs one request to its end and checks what can be said of every answer. Returns the reply in place (its header first), or
 * NULL where the chain came back without one.
 */
const struct fuse_out_header *fz_request(const struct fz_msg *m);

#endif
