/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mounts that were met in the share: what kind of filesystem each is, and a descriptor to open file
 * handles with.
 */
#include <linux/magic.h>
#include <sys/statfs.h>

#include "pt.h"

atomic_bool pt_remote_known;
#include "sfs_log.h"

static bool pt_mount_plain(uint32_t magic)
{
	static const uint32_t plain[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC};

	for (size_t i = 0; i < SFS_ARRAY_SIZE(plain); i++)
		if (magic == plain[i])
			return true;
	return false;
}

/* Whether a file handle of the object at @fd can be had and opened again. */
static int pt_mount_try_handle(const struct pt_mount *m, int fd)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + SFS_NODE_HANDLE_BYTES];
	} u = {.h.handle_bytes = SFS_NODE_HANDLE_BYTES};
	int mnt_id, again;

	if (m->fd < 0)
		return -EOPNOTSUPP;
	if (name_to_handle_at(fd, "", &u.h, &mnt_id, AT_EMPTY_PATH) < 0)
		return -errno;
	again = (int)PT_CALL(open_by_handle_at(m->fd, &u.h, O_PATH | O_CLOEXEC));
	if (again < 0)
		return again;
	close(again);
	return 0;
}

static int pt_mount_probe(struct pt_fs *fs, struct pt_mount *m, int fd, uint32_t mode)
{
	char name[PT_NAME_BYTES];
	struct statfs st;
	uint32_t magic;
	int rc;

	rc = (int)PT_CALL(fstatfs(fd, &st));
	if (rc < 0)
		return rc;
	magic = (uint32_t)st.f_type;
	m->store = (uint8_t)sfs_store_of(magic);
	if (m->store == SFS_STORE_REMOTE)
		atomic_store_explicit(&pt_remote_known, true, memory_order_relaxed);
	/* Copying up gives a file of an overlay another birth time; servers make theirs up. */
	m->btime = m->store != SFS_STORE_REMOTE && magic != OVERLAYFS_SUPER_MAGIC;
	m->plain = pt_mount_plain(magic);
	if (S_ISDIR(mode) || S_ISREG(mode))
		m->fd =
		    (int)PT_CALL(openat(fs->proc_fd, pt_fd_name(name, fd), O_RDONLY | O_CLOEXEC | O_NOCTTY));
	if (fs->inode_handles == PT_HANDLES_NEVER)
		return 0;
	/* A FUSE server that was not made for it forgets what its handles meant. */
	if (fs->inode_handles == PT_HANDLES_PREFER && magic == FUSE_SUPER_MAGIC)
		return 0;
	rc = pt_mount_try_handle(m, fd);
	m->handles = rc == 0;
	if (rc < 0 && fs->inode_handles == PT_HANDLES_MANDATORY) {
		if (m->fd >= 0)
			close(m->fd);
		return rc;
	}
	return 0;
}

int pt_mount_find(const struct pt_fs *fs, unsigned hint, uint64_t mnt_id)
{
	unsigned count = atomic_load_explicit(&fs->mount_count, memory_order_acquire);

	if (SFS_LIKELY(hint < count && fs->mounts[hint].mnt_id == mnt_id))
		return (int)hint;
	for (unsigned i = 0; i < count; i++)
		if (fs->mounts[i].mnt_id == mnt_id)
			return (int)i;
	return -ENOENT;
}

/* Adds @m, unless another thread was faster or the table is full: then its descriptor is left to the caller.
 */
static int pt_mount_add(struct pt_fs *fs, const struct pt_mount *m, bool *added)
{
	unsigned count;
	int idx;

	pthread_mutex_lock(&fs->mount_lock);
	count = atomic_load_explicit(&fs->mount_count, memory_order_relaxed);
	idx = pt_mount_find(fs, 0, m->mnt_id);
	*added = idx < 0 && count < PT_MOUNTS_MAX;
	if (*added) {
		struct pt_mount *to = &fs->mounts[count];

		to->mnt_id = m->mnt_id;
		to->fd = m->fd;
		to->store = m->store;
		to->handles = m->handles;
		to->btime = m->btime;
		to->plain = m->plain;
		atomic_init(&to->nowait, PT_NOWAIT_UNKNOWN);
		idx = (int)count;
		atomic_store_explicit(&fs->mount_count, count + 1, memory_order_release);
	} else if (idx < 0) {
		idx = -ENFILE;
	}
	pthread_mutex_unlock(&fs->mount_lock);
	return idx;
}

int pt_mount_get(struct pt_fs *fs, unsigned hint, int fd, const struct statx *stx)
{
	struct pt_mount m = {.mnt_id = stx->stx_mnt_id, .fd = -1};
	int idx = pt_mount_find(fs, hint, stx->stx_mnt_id);
	bool added;
	int rc;

	if (idx >= 0)
		return idx;
	rc = pt_mount_probe(fs, &m, fd, stx->stx_mode);
	if (rc < 0) {
		if (!atomic_flag_test_and_set(&fs->warned_handles))
			SFS_WARN("passthrough: a filesystem below the shared directory (mount %llu) cannot "
				 "be used: %s%s",
				 (unsigned long long)m.mnt_id, strerror(-rc),
				 fs->inode_handles == PT_HANDLES_MANDATORY
				     ? "; inode_file_handles is \"mandatory\" and it has none"
				     : "");
		return rc;
	}
	idx = pt_mount_add(fs, &m, &added);
	if (!added && m.fd >= 0)
		close(m.fd);
	return idx;
}

void pt_mounts_fini(struct pt_fs *fs)
{
	unsigned count = atomic_load(&fs->mount_count);

	for (unsigned i = 0; i < count; i++)
		if (fs->mounts[i].fd >= 0)
			close(fs->mounts[i].fd);
}
