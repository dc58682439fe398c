/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "sfs_base.h"
#include "uring_files.h"

/* Registering and letting go cost some 600 ns together and save 30 an I/O: a file has to have been used about as often
 * as it takes to earn that. A place is given up after as many I/Os of others. */
#define UR_USES 16u

int ur_files_open(struct ur_files *f, struct io_uring *ring, uint64_t bit)
{
	struct io_uring_rsrc_register table = {.nr = UR_SLOTS, .flags = IORING_RSRC_REGISTER_SPARSE};
	int rc;

	if (!bit)
		return -EINVAL;
	/* By its number: liburing would raise the limit of open files. */
	rc = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_FILES2, &table, sizeof(table));
	if (rc < 0)
		return rc;
	f->slots = calloc(UR_SLOTS, sizeof(*f->slots));
	if (!f->slots)
		return -ENOMEM;
	for (unsigned i = 0; i < UR_SLOTS; i++)
		f->slots[i].fd = -1;
	f->ring = ring;
	f->bit = bit;
	return 0;
}

void ur_files_close(struct ur_files *f)
{
	free(f->slots);
}

/* Puts @fd (-1: nothing) into one place of the ring's table. */
static int slot_update(struct ur_files *f, unsigned idx, int fd)
{
	int rc = io_uring_register_files_update(f->ring, idx, &fd, 1);

	return rc == 1 ? 0 : -EIO;
}

/* Lets go of what is registered. Where the kernel has no memory for that it keeps the file until the place is used again;
 * no I/O meets it. */
static void slot_clear(struct ur_files *f, unsigned idx)
{
	struct ur_slot *s = &f->slots[idx];

	assert(s->in_use == 0);
	slot_update(f, idx, -1);
	s->fd = -1;
	s->uses = 0;
	atomic_fetch_and(&s->file->holders, ~f->bit);
}

/* The place is another's, or the file is not registered yet. */
static bool slot_try(struct ur_files *f, unsigned idx, const struct sfs_io *io)
{
	struct ur_slot *s = &f->slots[idx];

	if (s->file != io->file) {
		if (s->uses) {
			s->uses--;
			return false;
		}
		if (s->in_use)
			return false;
		if (s->fd >= 0)
			slot_clear(f, idx);
		s->file = io->file;
	}
	if (++s->uses < UR_USES)
		return false;
	if (slot_update(f, idx, io->fd) < 0) {
		s->uses = 0;
		return false;
	}
	s->fd = io->fd;
	/* The I/O's owner keeps the file from being closed meanwhile. */
	atomic_fetch_or(&s->file->holders, f->bit);
	return true;
}

int ur_files_get(struct ur_files *f, const struct sfs_io *io)
{
	unsigned idx = io->file_idx % UR_SLOTS;
	struct ur_slot *s;

	if (!io->file || !f->slots)
		return -1;
	s = &f->slots[idx];
	if (SFS_UNLIKELY(s->file != io->file || s->fd < 0) && !slot_try(f, idx, io))
		return -1;
	assert(s->fd == io->fd);
	s->uses = UR_USES;
	s->in_use++;
	return (int)idx;
}

void ur_files_put(struct ur_files *f, unsigned slot)
{
	assert(f->slots[slot].in_use);
	f->slots[slot].in_use--;
}

/* One system call for all. */
static void files_clear(struct ur_files *f)
{
	int fds[UR_SLOTS];
	unsigned held = 0;

	for (unsigned i = 0; i < UR_SLOTS; i++) {
		assert(f->slots[i].in_use == 0);
		fds[i] = f->slots[i].fd >= 0 ? -1 : IORING_REGISTER_FILES_SKIP;
		held += fds[i] == -1;
	}
	if (held)
		io_uring_register_files_update(f->ring, 0, fds, UR_SLOTS);
	for (unsigned i = 0; i < UR_SLOTS; i++) {
		struct ur_slot *s = &f->slots[i];

		if (s->fd >= 0)
			atomic_fetch_and(&s->file->holders, ~f->bit);
		*s = (struct ur_slot){.fd = -1};
	}
}

void ur_files_drop(struct ur_files *f, const struct sfs_aio_file *file, uint32_t file_idx)
{
	unsigned idx = file_idx % UR_SLOTS;

	if (!f->slots)
		return;
	if (!file)
		files_clear(f);
	else if (f->slots[idx].file == file && f->slots[idx].fd >= 0)
		slot_clear(f, idx);
}
