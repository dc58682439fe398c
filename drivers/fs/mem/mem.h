/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the in-memory filesystem.
 *
 * Memory: one reserved mapping of 4 KiB blocks, named by number. File contents, directories, symlink targets
 * and extended attributes all stand in blocks, so that `size_mib` bounds everything and no operation
 * allocates. Inodes stand in an array; an inode's number is its index.
 *
 * Locks, in the order in which they may be taken:
 *   fs->tree    names: the hash table, directory blocks, parent, entry counts, and every change of a link
 * count inode->lock everything else of one inode; never two of them at once fs->pool    free blocks and free
 * inodes; a few instructions All of them are held for short, bounded work only - at most the copy of one
 * request's data -, because operations run on reactors: what may take longer (a large fallocate) goes to a
 * worker and takes the lock anew for each piece. No lock is held while the session is called.
 *
 * Lifetime: an inode counts its users: one for having links at all, one for each node record and each handle
 * that names it, one for an operation that has just found it. The last one frees it: an unlinked file lives
 * as long as it is open or known to the guest.
 */
#ifndef SFS_MEM_INTERNAL_H
#define SFS_MEM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "sfs_base.h"
#include "sfs_fs.h"

#define MEM_BLOCK      4096u
#define MEM_FAN_BITS   10 /* an index block holds 1,024 block numbers */
#define MEM_FAN        (1u << MEM_FAN_BITS)
#define MEM_DEPTH_MAX  4
#define MEM_BLOCKS_MAX (1ull << (MEM_FAN_BITS * MEM_DEPTH_MAX)) /* blocks that one map can name */
#define MEM_FILE_MAX   (MEM_BLOCKS_MAX * MEM_BLOCK)             /* bytes of the largest file: 4 PiB */
#define MEM_ROOT_INO   1u
#define MEM_TIMEOUT_S  1 /* how long the guest may keep names and attributes */
#define MEM_NAME_MAX   255
#define MEM_LINK_MAX   65000
#define MEM_PIECE      (1u << 20) /* bytes that fallocate prepares under one hold of the inode's lock */

/** A tree of blocks. Depth 0: root is the only block; depth n: root is an index of trees of depth n - 1. 0: a
 * hole. */
struct mem_map {
	uint32_t root;
	uint32_t depth;
};

/** What is known of a block outside of it: the pool's list while it is free, the size of the tree under it
 * else. */
struct mem_block_info {
	uint32_t next;
	uint32_t used; /* blocks of this tree, the block itself among them */
};

struct mem_inode {
	pthread_rwlock_t lock;
	_Atomic uint32_t refs;
	/* Fixed from birth to end. */
	uint32_t ino;
	uint64_t gen;  /* never used twice in this filesystem */
	uint32_t type; /* S_IFMT part of the mode */
	uint32_t rdev;
	/* Under lock. A link count changes under the tree's lock, too. */
	uint32_t perm; /* the rest of the mode */
	uint32_t uid, gid, nlink;
	uint64_t size;
	struct timespec atime, mtime, ctime;
	struct mem_map data; /* files and symlinks; a directory's is the tree's. Bytes beyond size are zero */
	uint32_t xattr;      /* block of the first attribute */
	uint32_t xattr_count, xattr_list_bytes;
	/* Directories, under the tree's lock. */
	uint32_t parent;
	uint32_t entries; /* in use */
	uint64_t slots;   /* the next new entry's position */
	/* Under the pool's lock. */
	uint32_t next_free;
};

struct mem_fs {
	pthread_rwlock_t tree;
	uint32_t *buckets; /* hash of (directory, name) to the first directory entry */
	uint64_t bucket_mask;
	uint64_t hash_key; /* random, so that a guest cannot choose names that collide */

	struct mem_inode *inodes; /* [0] is none, [1] the root */
	uint32_t inode_max;

	char *blocks; /* block 0 is none */
	struct mem_block_info *info;
	uint32_t block_max;

	pthread_mutex_t pool;
	uint32_t block_top;  /* blocks from here on were never used */
	uint32_t block_free; /* how many may still be taken */
	uint32_t
	    free_list[MEM_DEPTH_MAX + 1]; /* given back, by depth: [0] blocks, [n] whole trees of depth n */
	uint32_t inode_top, inode_free, inode_list;
	uint64_t next_gen;

	_Atomic bool fallocating; /* one large fallocate at a time; whoever finds it taken waits */
};

/* --- pool.c: blocks and maps. The owner of a map holds the lock that guards it --- */

/** Zeroed memory that the host gives when it is first touched; NULL: no address space. munmap() frees it. */
void *mem_reserve(uint64_t bytes);
int mem_pool_init(struct mem_fs *fs, uint64_t bytes);
void mem_pool_fini(struct mem_fs *fs);
uint32_t mem_pool_free(struct mem_fs *fs);

static inline void *mem_block(const struct mem_fs *fs, uint32_t block)
{
	return fs->blocks + (uint64_t)block * MEM_BLOCK;
}

/** Takes a block of undefined contents; 0: none left. */
uint32_t mem_block_get(struct mem_fs *fs);
/** Gives a tree back, in constant time whatever its size. 0 is allowed. */
void mem_tree_put(struct mem_fs *fs, uint32_t root, uint32_t depth);

/** Blocks of a map, index blocks among them. */
static inline uint32_t mem_map_blocks(const struct mem_fs *fs, const struct mem_map *map)
{
	return map->root ? fs->info[map->root].used : 0;
}

/** The block at position @idx; 0: a hole. */
uint32_t mem_map_find(const struct mem_fs *fs, const struct mem_map *map, uint64_t idx);
/** As mem_map_find(), but fills a hole, *@fresh says so: its contents are undefined. 0: no block left. */
uint32_t mem_map_make(struct mem_fs *fs, struct mem_map *map, uint64_t idx, bool *fresh);
/** Makes holes of all positions in [first, last). */
void mem_map_cut(struct mem_fs *fs, struct mem_map *map, uint64_t first, uint64_t last);
/** The first position from @idx on that has a block (@data) or has none; MEM_BLOCKS_MAX: there is none. */
uint64_t mem_map_next(const struct mem_fs *fs, const struct mem_map *map, uint64_t idx, bool data);
/** Writes @bytes from the start of an empty map; 0, or -ENOSPC with the map empty again. */
int mem_map_fill(struct mem_fs *fs, struct mem_map *map, const char *buf, uint32_t bytes);
/** Reads @bytes from the start of a map without holes. */
void mem_map_copy(const struct mem_fs *fs, const struct mem_map *map, char *buf, uint32_t bytes);

/* --- inode.c --- */

int mem_inodes_init(struct mem_fs *fs, uint32_t count);
void mem_inodes_fini(struct mem_fs *fs);
uint32_t mem_inodes_free(struct mem_fs *fs);

static inline struct mem_fs *mem_req_fs(const struct sfs_req *req)
{
	return sfs_session_fs(req->session);
}

/** A lock that lets no stream of readers keep a writer out. */
void mem_lock_init(pthread_rwlock_t *lock);

static inline void mem_rdlock(struct mem_inode *inode)
{
	pthread_rwlock_rdlock(&inode->lock);
}

static inline void mem_wrlock(struct mem_inode *inode)
{
	pthread_rwlock_wrlock(&inode->lock);
}

static inline void mem_unlock(struct mem_inode *inode)
{
	pthread_rwlock_unlock(&inode->lock);
}

struct timespec mem_now(void);

/**
 * A new inode without a name, with one reference; NULL: no inode left. @gid follows a set-group-id directory
 * @dir (may be NULL, for the root).
 */
struct mem_inode *mem_inode_new(struct mem_fs *fs, struct mem_inode *dir, uint32_t mode, uint32_t uid,
				uint32_t gid);
static inline void mem_inode_get(struct mem_inode *inode)
{
	atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
}
void mem_inode_put(struct mem_fs *fs, struct mem_inode *inode);

/** The inode that the guest calls @nodeid, there until @req ends; NULL: answer ESTALE. */
struct mem_inode *mem_node_inode(struct sfs_req *req, uint64_t nodeid);
/** The inode behind handle @fh of the request's node, and the handle in *@handle (may be NULL); NULL: answer
 * EBADF. */
struct mem_inode *mem_handle_inode(struct sfs_req *req, uint64_t fh, struct sfs_handle **handle);
/**
 * Makes @inode known to the guest: finds or makes its node, counts one lookup, fills @entry; takes over the
 * caller's reference. Returns the node, pinned until @req ends, or NULL: the table of nodes is full, answer
 * ENFILE.
 */
struct sfs_node *mem_entry_node(struct sfs_req *req, struct mem_inode *inode, struct fuse_entry_out *entry);
/** @inode has lost its last name: gives back the reference that it had for having any. No lock is held. */
void mem_inode_gone(struct sfs_req *req, struct mem_inode *inode);
/** The end of each operation that answers with an entry: SFS_DONE or -ENFILE. Takes over the reference. */
int mem_reply_entry(struct sfs_req *req, struct mem_inode *inode);
/** Opens a handle over @inode, which the caller still refers to; 0 or -ENFILE. */
int mem_handle_new(struct sfs_req *req, uint64_t nodeid, struct mem_inode *inode, uint32_t open_flags,
		   uint32_t flags, uint64_t *fh);

void mem_node_evict(struct sfs_session *se, struct sfs_node *node);
void mem_handle_free(struct sfs_session *se, struct sfs_handle *handle);

int mem_getattr(struct sfs_req *req);
int mem_setattr(struct sfs_req *req);
int mem_readlink(struct sfs_req *req);
int mem_open(struct sfs_req *req);
int mem_release(struct sfs_req *req);
int mem_sync(struct sfs_req *req);

/* --- data.c --- */

/** Sets the size. Under the inode's write lock. */
void mem_truncate(struct mem_fs *fs, struct mem_inode *inode, uint64_t size);

int mem_read(struct sfs_req *req);
int mem_write(struct sfs_req *req);
int mem_fallocate(struct sfs_req *req);
int mem_lseek(struct sfs_req *req);

/* --- xattr.c --- */

void mem_xattr_free_all(struct mem_fs *fs, struct mem_inode *inode);
int mem_setxattr(struct sfs_req *req);
int mem_getxattr(struct sfs_req *req);
int mem_listxattr(struct sfs_req *req);
int mem_removexattr(struct sfs_req *req);

/* --- entry.c: directory entries. Under the tree's lock: to write, but for find, next and ancestry --- */

#define MEM_ENTRY_BYTES   280
#define MEM_BLOCK_ENTRIES (MEM_BLOCK / MEM_ENTRY_BYTES)

/** One name, in a block of its directory. It never moves: its position is the offset that READDIR tells. */
struct mem_entry {
	uint64_t slot; /* its position in the directory */
	uint32_t next; /* in its hash chain; an entry number (entry.c) */
	uint32_t dir;
	uint32_t ino; /* 0: unused */
	uint8_t name_bytes;
	char name[MEM_NAME_MAX];
};

int mem_entries_init(struct mem_fs *fs, uint32_t inode_count);
void mem_entries_fini(struct mem_fs *fs);

/** The entry @name of @dir; NULL: none. Stays valid until the lock is let go. */
struct mem_entry *mem_entry_find(const struct mem_fs *fs, const struct mem_inode *dir, const char *name,
				 uint32_t bytes);
/** Adds a name; there is none such. 0 or -ENOSPC. */
int mem_entry_add(struct mem_fs *fs, struct mem_inode *dir, const char *name, uint32_t bytes,
		  const struct mem_inode *inode);
void mem_entry_del(struct mem_fs *fs, struct mem_inode *dir, struct mem_entry *entry);
/** The first entry in use at or behind position *@slot of @dir, and its position in *@slot; NULL: none. */
const struct mem_entry *mem_entry_next(const struct mem_fs *fs, const struct mem_inode *dir, uint64_t *slot);
/** Whether directory @dir is @inode or lies below it: 1 or 0; -ELOOP: too deep to say. */
int mem_entry_below(const struct mem_fs *fs, const struct mem_inode *dir, const struct mem_inode *inode);

/* --- name.c: what one name changes. list.c: listings. rename.c --- */

/** The directory that the guest calls @nodeid: 0 and *@dir, there until @req ends, or -ESTALE or -ENOTDIR. */
int mem_node_dir(struct sfs_req *req, uint64_t nodeid, struct mem_inode **dir);
/** Notes a change of @dir's contents, and of its link count by @links (a subdirectory came or went). Under
 * the tree's lock. */
void mem_dir_changed(struct mem_inode *dir, int links);
/** Takes one link from @inode. Returns whether it was the last: then mem_inode_gone() after the tree's lock.
 */
bool mem_inode_unlink(struct mem_inode *inode);

int mem_lookup(struct sfs_req *req);
int mem_symlink(struct sfs_req *req);
int mem_mknod(struct sfs_req *req);
int mem_mkdir(struct sfs_req *req);
int mem_create(struct sfs_req *req);
int mem_unlink(struct sfs_req *req);
int mem_rmdir(struct sfs_req *req);
int mem_rename(struct sfs_req *req);
int mem_link(struct sfs_req *req);
int mem_opendir(struct sfs_req *req);
int mem_readdir(struct sfs_req *req);
int mem_readdirplus(struct sfs_req *req);

#endif
