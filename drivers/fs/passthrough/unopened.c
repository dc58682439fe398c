/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files without handles (option no_open, decision 26): where the descriptor comes from that a request is served by, and when it goes.
 */
#include "pt.h"

/* How the host's file has to be open for op->use; what the guest has open for writing is so in both ways. */
static uint32_t pt_file_flags(const struct sfs_req *req, const struct pt_op *op)
{
	static const uint32_t keep[] = {
	    [PT_USE_ANY] = 0,
	    [PT_USE_READ] = O_DIRECT | O_NOATIME,
	    [PT_USE_WRITE] = O_DIRECT | O_NOATIME | O_SYNC,
	};
	uint32_t flags = (uint32_t)pt_open_flags(req, op->guest_flags) & keep[op->use];

	return flags | (op->use == PT_USE_WRITE ? O_RDWR : O_RDONLY);
}

/* Whether a file that is open with @have will do. */
static bool pt_file_fits(const struct sfs_req *req, const struct pt_op *op, uint32_t have)
{
	uint32_t differ = have ^ pt_file_flags(req, op);

	switch (op->use) {
	case PT_USE_READ:
		return !(have & O_PATH) && (have & O_ACCMODE) != O_WRONLY &&
		       !(differ & (O_DIRECT | O_NOATIME));
	case PT_USE_WRITE:
		return !(have & O_PATH) && (have & O_ACCMODE) != O_RDONLY &&
		       !(differ & (O_DIRECT | O_SYNC)) &&
		       (!(have & O_APPEND) || (op->guest_flags & O_APPEND));
	default:
		return !(have & O_PATH);
	}
}

static int64_t pt_reopen_fn(struct sfs_req *req)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct pt_op *op = pt_op(req);
	int flags = (int)pt_file_flags(req, op);
	int fd = pt_open_host(req, op->node, &flags, op->guest_flags);

	if (fd == -EACCES && op->use == PT_USE_WRITE) {
		flags = (flags & ~O_ACCMODE) | O_WRONLY;
		fd = pt_open_host(req, op->node, &flags, op->guest_flags);
	}
	sfs_req_unpin_to(req, mark);
	if (fd < 0)
		return fd;
	op->open_flags = (uint32_t)flags;
	op->ent = sfs_node_fd_swap(req, op->node, fd, op->open_flags);
	if (op->ent)
		return 0;
	close(fd);
	return -ENFILE;
}

int pt_pin_unopened(struct sfs_req *req, bool writes, enum pt_use use, uint32_t flags)
{
	struct pt_op *op = pt_op(req);
	int rc;

	if (op->reopened)
		return req->res < 0 ? (int)req->res : 0;
	rc = pt_pin_held(req);
	if (rc == 0 && writes && pt_fs(req)->readonly)
		rc = -EROFS;
	if (rc == 0 && !(use == PT_USE_ANY && S_ISDIR(op->node->mode)))
		rc = pt_open_check(op->node->mode);
	if (rc < 0)
		return rc;
	op->use = (uint8_t)use;
	op->guest_flags = flags;
	if (op->ent && pt_file_fits(req, op, op->open_flags))
		return 0;
	op->reopened = true;
	return pt_block(req, PT_START, pt_reopen_fn);
}

void pt_flush_unopened(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	struct sfs_node *node = op->node;
	char name[PT_NAME_BYTES];
	int fd;

	if ((op->open_flags & O_ACCMODE) == O_RDONLY)
		return;
	if (node->key.handle_bytes && (sfs_node_fd_drop(req->session, node, op->ent) || !sfs_node_held(node)))
		return;
	fd = (int)PT_CALL(openat(pt_fs(req)->proc_fd, pt_fd_name(name, op->ent->fd), O_PATH | O_CLOEXEC));
	if (fd >= 0 && !sfs_node_fd_swap(req, node, fd, O_PATH))
		close(fd);
}
