/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of operations: one row per opcode, in protocol order.
 */
#ifndef SFS_OP_H
#define SFS_OP_H

#include <stdint.h>

#define SFS_OP_COUNT 64 /* opcodes below this have rows; FUSE 7.45 ends at 53 */

enum {
	SFS_OP_NO_REPLY = 1,  /* FORGET and its kin: the chain comes back with length 0 */
	SFS_OP_DATA_IN = 2,   /* what follows the arguments stays in the guest's pages: WRITE */
	SFS_OP_DATA_OUT = 4,  /* the payload of the reply is read straight into the guest's pages: READ */
	SFS_OP_BUF = 8,       /* needs a 64 KiB buffer: listings, xattr values, link targets */
	SFS_OP_DOTS = 16,     /* names "." and ".." are allowed: LOOKUP */
	SFS_OP_EXTRA = 32,    /* bytes may follow arguments and names */
	SFS_OP_ANYTIME = 64,  /* allowed before INIT */
	SFS_OP_TARGET = 128,  /* the second name is a link target: any bytes, at most PATH_MAX */
	SFS_OP_MUTATES = 256, /* changes the filesystem */
	SFS_OP_ATTR = 512,    /* the name is an attribute's, no file's: any bytes */
	SFS_OP_FINDS =
	    1024, /* finds objects on the host, by name or handle: takes longer than one call on a descriptor */
};

struct sfs_op {
	const char *name; /* "LOOKUP" */
	uint16_t opcode;
	uint16_t arg_min;   /* bytes of arguments that the oldest supported guest sends */
	uint16_t arg_bytes; /* what the newest one sends: a longer argument is names or extra */
	uint16_t flags;
	uint8_t names;    /* how many names follow the arguments */
	uint16_t out_min; /* bytes of reply after the header that the guest must have room for */
	uint16_t slot;    /* byte offset in struct sfs_fs_ops; 0xffff: the session's own operation */
};

/** The row of @opcode, or NULL: unknown, answer ENOSYS. */
const struct sfs_op *sfs_op_get(uint32_t opcode);

#endif
