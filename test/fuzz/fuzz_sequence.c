/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests one after another. Nodeids and handles are mostly ones that the guest was told, so that a sequence gets deep.
 *
 * Input, again and again: opcode, where the nodeid comes from, room, how many bytes of arguments and names follow, these.
 * Among the arguments the first eight bytes are a handle for operations that begin with one.
 */
#include "fuzz_mem.h"

#define KNOWN 16

static uint64_t nodes[KNOWN], handles[KNOWN];
static unsigned node_next, handle_next;

static uint64_t known(const uint64_t *of, uint8_t which)
{
	return which & 0x80 ? of[which % KNOWN] + (which & 0x40 ? 1ull << 32 : 0) : of[which % KNOWN];
}

static bool begins_with_handle(uint8_t opcode)
{
	switch (opcode) {
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_RELEASE:
	case FUSE_FSYNC:
	case FUSE_FLUSH:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNCDIR:
	case FUSE_FALLOCATE:
	case FUSE_LSEEK:
	case FUSE_COPY_FILE_RANGE:
		return true;
	default:
		return false;
	}
}

/* What the guest was told and may use from now on. */
static void learn(uint8_t opcode, const struct fuse_out_header *head)
{
	const struct fuse_entry_out *entry = (const void *)(head + 1);
	const struct fuse_open_out *open = (const void *)(head + 1);

	switch (opcode) {
	case FUSE_CREATE:
		open = (const void *)(entry + 1);
		handles[handle_next++ % KNOWN] = open->fh;
		nodes[node_next++ % KNOWN] = entry->nodeid;
		break;
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		nodes[node_next++ % KNOWN] = entry->nodeid;
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		handles[handle_next++ % KNOWN] = open->fh;
		break;
	}
}

static void one(struct fuzz_in *in, uint8_t *bytes)
{
	struct {
		uint8_t opcode, node, handle, room;
		uint16_t arg_bytes;
	} what;
	struct fuse_in_header head = {0};
	struct fz_msg m = {.in = bytes};
	const struct fuse_out_header *reply;

	fuzz_take(in, &what, sizeof(what));
	what.arg_bytes %= 1024;
	head.opcode = what.opcode;
	head.unique = 7;
	head.nodeid = known(nodes, what.node);
	head.len = (uint32_t)sizeof(head) + what.arg_bytes;
	memcpy(bytes, &head, sizeof(head));
	fuzz_take(in, bytes + sizeof(head), what.arg_bytes);
	if (begins_with_handle(what.opcode) && what.arg_bytes >= 8) {
		uint64_t fh = known(handles, what.handle);

		memcpy(bytes + sizeof(head), &fh, sizeof(fh));
	}
	if ((what.opcode == FUSE_RENAME || what.opcode == FUSE_RENAME2 || what.opcode == FUSE_LINK) &&
	    what.arg_bytes >= 8) {
		uint64_t node = known(nodes, what.handle);

		memcpy(bytes + sizeof(head), &node, sizeof(node));
	}
	m.in_bytes = head.len;
	m.in_piece = sizeof(head);
	m.out_bytes = what.room * 64u;
	reply = fz_request(&m);
	if (reply && reply->error == 0)
		learn(what.opcode, reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[2048];
	struct fuzz_in in = {data, data + size};

	fz_begin(&fuzz_mem);
	for (unsigned i = 0; i < KNOWN; i++) {
		nodes[i] = 1 + i % 4; /* the root, and what fz_begin() made */
		handles[i] = 0;
	}
	node_next = handle_next = 4;
	for (unsigned i = 0; i < 200 && fuzz_left(&in); i++)
		one(&in, bytes);
	fz_end(&fuzz_mem);
	return 0;
}
