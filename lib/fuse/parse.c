/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a chain to a checked request. The header, the arguments and the names are copied from guest memory once; bulk data
 * stays there.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "sfs_iov.h"
#include "session_priv.h"

#define IN_BYTES  sizeof(struct fuse_in_header)
#define OUT_BYTES sizeof(struct fuse_out_header)
/* Of the reply's fixed part this much is zeroed always, also where an operation only sometimes has one (GETXATTR). */
#define OUT_ZERO_MIN sizeof(struct fuse_open_out)

/* Copies one NUL-terminated name from the tail. @left: what is left of it. */
static int parse_name(struct sfs_req *req, unsigned i, const char **at, uint32_t *left)
{
	bool target = i == 1 && (req->op->flags & SFS_OP_TARGET);
	const char *name = *at, *nul = memchr(name, 0, *left);
	size_t len;

	if (!nul)
		return -EINVAL;
	len = (size_t)(nul - name);
	*at = nul + 1;
	*left -= (uint32_t)len + 1;
	req->name[i] = name;
	req->name_bytes[i] = (uint32_t)len;
	if (target)
		return len == 0 ? -ENOENT : len >= PATH_MAX ? -ENAMETOOLONG : 0;
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	if (req->op->flags & SFS_OP_ATTR)
		return len == 0 ? -EINVAL : 0;
	if (len == 0 || memchr(name, '/', len))
		return -EINVAL;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')) && !(req->op->flags & SFS_OP_DOTS))
		return -EINVAL;
	return 0;
}

/* What follows the arguments: names and more, copied as a whole. */
static int parse_tail(struct sfs_req *req, uint64_t off, uint64_t bytes)
{
	const char *at = req->tail;
	uint32_t left = (uint32_t)bytes;

	if (req->op->flags & SFS_OP_EXTRA)
		req->extra = NULL;
	if (bytes == 0)
		return req->op->names ? -EINVAL : 0;
	if (bytes > SFS_REQ_TAIL_BYTES) {
		/* The lane's buffers hold a value of 64 KiB and its name. */
		if (!(req->op->flags & (SFS_OP_BUF | SFS_OP_EXTRA)) ||
		    bytes > SFS_BUF_BYTES + SFS_REQ_TAIL_BYTES)
			return req->op->names ? -ENAMETOOLONG : -EINVAL;
		at = req->buf;
		req->buf_taken = true;
	}
	sfs_iov_to_buf(req->chain.iov, req->chain.readable_count, off, (char *)(uintptr_t)at, bytes);
	for (unsigned i = 0; i < req->op->names; i++) {
		int rc = parse_name(req, i, &at, &left);

		if (rc)
			return rc;
	}
	if (req->op->flags & SFS_OP_EXTRA) {
		req->extra = at;
		req->extra_bytes = left;
	} else if (left && req->op->names) {
		return -EINVAL; /* a NUL inside of a name */
	}
	return 0;
}

/* WRITE: the data are the readable segments behind header and arguments. */
static int parse_data_in(struct sfs_req *req, uint64_t off, uint64_t bytes)
{
	struct sfs_chain *c = &req->chain;

	if (req->arg.write.size > bytes || req->arg.write.size > SFS_FUSE_MAX_WRITE)
		return -EINVAL;
	req->data = c->iov;
	req->data_cnt = c->readable_count;
	/* Header and arguments have been copied: their segments are not needed any more. */
	sfs_iov_advance(&req->data, &req->data_cnt, off);
	req->data_cnt = sfs_iov_cut(req->data, req->data_cnt, req->arg.write.size);
	req->data_left = req->arg.write.size;
	return 0;
}

/* READ: the data go behind the reply header. The header may share a segment with the data: that one is kept. */
static int parse_data_out(struct sfs_req *req)
{
	struct sfs_chain *c = &req->chain;
	uint64_t room = c->writable_bytes - OUT_BYTES;
	unsigned cnt = c->writable_count;
	struct iovec *iov = sfs_chain_writable(c);
	size_t skip = OUT_BYTES;

	if (req->arg.read.size > SFS_FUSE_MAX_WRITE)
		return -EINVAL; /* max_pages is what we agreed on; the room may be one page, named over and over */
	while (cnt && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		cnt--;
	}
	if (skip) {
		req->head_saved_idx = (int)(iov - c->iov);
		req->head_saved = *iov;
		iov->iov_base = (char *)iov->iov_base + skip;
		iov->iov_len -= skip;
	}
	if (req->arg.read.size > room)
		req->arg.read.size = (uint32_t)room;
	req->data = iov;
	req->data_left = req->arg.read.size;
	req->data_cnt = sfs_iov_cut(iov, cnt, req->data_left);
	return 0;
}

/* How many bytes of arguments this guest sends for the operation: two structures have grown. */
static uint32_t parse_arg_bytes(const struct sfs_req *req, uint64_t have)
{
	const struct sfs_op *op = req->op;

	if (op->opcode == FUSE_SETXATTR)
		return req->session->init_flags & FUSE_SETXATTR_EXT ? op->arg_bytes : op->arg_min;
	return op->arg_bytes < have ? op->arg_bytes : (uint32_t)have;
}

/* The usual sizes without a call: this is every request's way. */
static inline void parse_copy(void *to, const void *from, uint32_t bytes)
{
	switch (bytes) {
	case 0: /* LOOKUP and other operations on names */
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	case 16: /* GETATTR, CREATE */
		memcpy(to, from, 16);
		break;
	case 24: /* RELEASE, FLUSH */
		memcpy(to, from, 24);
		break;
	case 40: /* READ, WRITE */
		memcpy(to, from, 40);
		break;
	default:
		memcpy(to, from, bytes);
	}
}

static int parse_args(struct sfs_req *req)
{
	const struct sfs_op *op = req->op;
	uint64_t have = req->in.len - IN_BYTES;
	uint32_t arg_bytes;
	int rc;

	if (have < op->arg_min)
		return -EINVAL;
	arg_bytes = parse_arg_bytes(req, have);
	if (have < arg_bytes)
		return -EINVAL;
	if (SFS_UNLIKELY(arg_bytes < op->arg_bytes)) /* what an older guest does not send reads as 0 */
		memset(&req->arg, 0, sizeof(req->arg));
	/* As Linux lays it out: the arguments in a segment of their own. */
	if (SFS_LIKELY(req->chain.readable_count > 1 && req->chain.iov[0].iov_len == IN_BYTES &&
		       req->chain.iov[1].iov_len >= arg_bytes))
		parse_copy(&req->arg, req->chain.iov[1].iov_base, arg_bytes);
	else
		sfs_iov_to_buf(req->chain.iov, req->chain.readable_count, IN_BYTES, &req->arg, arg_bytes);
	if (op->opcode == FUSE_RENAME)
		req->arg.rename = (struct fuse_rename2_in){.newdir = req->arg.rename.newdir};
	if (op->flags & SFS_OP_DATA_IN)
		return parse_data_in(req, IN_BYTES + arg_bytes, have - arg_bytes);
	rc = parse_tail(req, IN_BYTES + arg_bytes, have - arg_bytes);
	if (rc == 0 && (op->flags & SFS_OP_DATA_OUT))
		rc = parse_data_out(req);
	return rc;
}

int sfs_req_parse(struct sfs_req *req)
{
	struct sfs_chain *c = &req->chain;
	const struct sfs_op *op;

	if (c->readable_bytes < IN_BYTES)
		return 1; /* no unique to answer to */
	if (SFS_LIKELY(c->iov[0].iov_len >= IN_BYTES))
		memcpy(&req->in, c->iov[0].iov_base, IN_BYTES);
	else
		sfs_iov_to_buf(c->iov, c->readable_count, 0, &req->in, IN_BYTES);
	op = req->op = sfs_op_get(req->in.opcode);
	if (c->writable_bytes < OUT_BYTES && !(op && (op->flags & SFS_OP_NO_REPLY)))
		return 1; /* no room for any answer: nothing is done */
	if (!op)
		return -ENOSYS;
	if (req->in.len < IN_BYTES || req->in.len > c->readable_bytes)
		return -EINVAL;
	if (!(op->flags & SFS_OP_NO_REPLY) && c->writable_bytes - OUT_BYTES < op->out_min)
		return -EINVAL;
	if (!req->session->inited && !(op->flags & SFS_OP_ANYTIME))
		return -EIO;
	if (!(op->flags & SFS_OP_DATA_OUT))
		memset(&req->out, 0, OUT_ZERO_MIN);
	if (op->out_min > OUT_ZERO_MIN)
		memset((char *)&req->out + OUT_ZERO_MIN, 0, op->out_min - OUT_ZERO_MIN);
	return parse_args(req);
}
