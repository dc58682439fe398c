/* SPDX-License-Identifier: BSD-3-Clause */
#include "slowfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOW_NODES   512
#define SLOW_NAMES   512
#define SLOW_XATTRS  16
#define SLOW_HELD    256
#define SLOW_REQUEST (1u << 20) /* bytes of the largest request */
#define SLOW_FILE    65536u

struct slowfs {
	_Atomic uint32_t hold; /* opcode, 0: none */
	_Atomic unsigned held;
	pid_t pid;
	int wake_fd;
	char dir[128];
};

struct node {
	uint32_t mode, nlink, uid, gid, rdev;
	uint64_t size, mtime;
	char *data; /* contents, or a symlink's target */
};

struct name {
	uint64_t parent, node; /* parent 0: unused */
	char text[256];
};

struct xattr {
	uint64_t node; /* 0: unused */
	char name[64];
	uint32_t bytes;
	char value[256];
};

/* The server's own state. */
struct server {
	struct slowfs *fs;
	int fd;
	bool no_flush;
	struct node nodes[SLOW_NODES]; /* a node's id is its index; 1 is the root */
	struct name names[SLOW_NAMES];
	struct xattr xattrs[SLOW_XATTRS];
	void *held[SLOW_HELD];
	unsigned held_count;
	char in[SLOW_REQUEST] __attribute__((aligned(8)));
	char out[SLOW_REQUEST] __attribute__((aligned(8)));
};

/* --- the tree --- */

static struct node *node_get(struct server *s, uint64_t id)
{
	return id > 0 && id < SLOW_NODES && s->nodes[id].mode ? &s->nodes[id] : NULL;
}

static uint64_t node_new(struct server *s, uint32_t mode, uint32_t uid, uint32_t gid)
{
	for (uint64_t id = 1; id < SLOW_NODES; id++) {
		if (s->nodes[id].mode)
			continue;
		s->nodes[id] = (struct node){.mode = mode, .uid = uid, .gid = gid, .mtime = 1000000000};
		return id;
	}
	return 0;
}

static struct name *name_find(struct server *s, uint64_t parent, const char *text)
{
	for (unsigned i = 0; i < SLOW_NAMES; i++)
		if (s->names[i].parent == parent && strcmp(s->names[i].text, text) == 0)
			return &s->names[i];
	return NULL;
}

static int name_add(struct server *s, uint64_t parent, const char *text, uint64_t node)
{
	if (name_find(s, parent, text))
		return -EEXIST;
	for (unsigned i = 0; i < SLOW_NAMES; i++) {
		struct name *n = &s->names[i];

		if (n->parent)
			continue;
		n->parent = parent;
		n->node = node;
		snprintf(n->text, sizeof(n->text), "%s", text);
		s->nodes[node].nlink++;
		return 0;
	}
	return -ENOSPC;
}

/* The node's record stays: whoever has it open goes on. */
static int name_del(struct server *s, uint64_t parent, const char *text)
{
	struct name *n = name_find(s, parent, text);

	if (!n)
		return -ENOENT;
	s->nodes[n->node].nlink--;
	n->parent = 0;
	return 0;
}

static int node_resize(struct node *n, uint64_t size)
{
	char *data = realloc(n->data, size ? size : 1);

	if (!data)
		return -ENOSPC;
	if (size > n->size)
		memset(data + n->size, 0, size - n->size);
	n->data = data;
	n->size = size;
	return 0;
}

static void tree_make(struct server *s)
{
	uint64_t root = node_new(s, S_IFDIR | 0777, 0, 0), id;

	s->nodes[root].nlink = 2;
	name_add(s, root, "dir", id = node_new(s, S_IFDIR | 0777, 0, 0));
	name_add(s, id, "inside", node_new(s, S_IFREG | 0666, 0, 0));
	name_add(s, root, "empty", node_new(s, S_IFREG | 0666, 0, 0));
	name_add(s, root, "file", id = node_new(s, S_IFREG | 0666, 0, 0));
	node_resize(&s->nodes[id], SLOW_FILE);
	for (unsigned i = 0; i < SLOW_FILE; i++)
		s->nodes[id].data[i] = (char)(i * 7 + i / 256);
	name_add(s, root, "link", id = node_new(s, S_IFLNK | 0777, 0, 0));
	node_resize(&s->nodes[id], 5);
	memcpy(s->nodes[id].data, "empty", 5);
}

/* --- answers: bytes of s->out, or -errno --- */

static void attr_fill(struct server *s, uint64_t id, struct fuse_attr *a)
{
	const struct node *n = &s->nodes[id];

	*a = (struct fuse_attr){.ino = id,
				.size = n->size,
				.blocks = (n->size + 511) / 512,
				.mode = n->mode,
				.nlink = n->nlink,
				.uid = n->uid,
				.gid = n->gid,
				.rdev = n->rdev,
				.mtime = n->mtime,
				.ctime = n->mtime,
				.blksize = 4096};
}

static int answer_attr(struct server *s, uint64_t id)
{
	struct fuse_attr_out *out = (void *)s->out;

	*out = (struct fuse_attr_out){0};
	attr_fill(s, id, &out->attr);
	return sizeof(*out);
}

static int answer_entry(struct server *s, uint64_t id)
{
	struct fuse_entry_out *out = (void *)s->out;

	*out = (struct fuse_entry_out){.nodeid = id, .generation = 1};
	attr_fill(s, id, &out->attr);
	return sizeof(*out);
}

static int answer_open(struct server *s, size_t at)
{
	struct fuse_open_out *out = (void *)(s->out + at);

	*out = (struct fuse_open_out){.open_flags = FOPEN_DIRECT_IO | (s->no_flush ? FOPEN_NOFLUSH : 0)};
	return (int)(at + sizeof(*out));
}

static int do_init(struct server *s, const struct fuse_init_in *in)
{
	struct fuse_init_out *out = (void *)s->out;

	*out = (struct fuse_init_out){.major = FUSE_KERNEL_VERSION,
				      .minor = FUSE_KERNEL_MINOR_VERSION,
				      .max_readahead = in->max_readahead,
				      .flags = FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_ATOMIC_O_TRUNC,
				      .max_background = 64,
				      .congestion_threshold = 64,
				      .max_write = 131072,
				      .time_gran = 1};
	return sizeof(*out);
}

static int do_setattr(struct server *s, struct node *n, uint64_t id, const struct fuse_setattr_in *in)
{
	int rc = 0;

	if (in->valid & FATTR_MODE)
		n->mode = (n->mode & S_IFMT) | (in->mode & 07777);
	if (in->valid & FATTR_UID)
		n->uid = in->uid;
	if (in->valid & FATTR_GID)
		n->gid = in->gid;
	if (in->valid & FATTR_MTIME)
		n->mtime = in->mtime;
	if (in->valid & FATTR_SIZE)
		rc = node_resize(n, in->size);
	return rc < 0 ? rc : answer_attr(s, id);
}

static int do_make(struct server *s, const struct fuse_in_header *in, const char *name, uint32_t mode)
{
	uint64_t id = node_new(s, mode, in->uid, in->gid);
	int rc = id ? name_add(s, in->nodeid, name, id) : -ENOSPC;

	if (rc < 0) {
		s->nodes[id].mode = 0;
		return rc;
	}
	return answer_entry(s, id);
}

static int do_create(struct server *s, const struct fuse_in_header *in, const struct fuse_create_in *arg)
{
	int rc = do_make(s, in, (const char *)(arg + 1), S_IFREG | (arg->mode & 07777));

	return rc < 0 ? rc : answer_open(s, (size_t)rc);
}

static int do_symlink(struct server *s, const struct fuse_in_header *in, const char *name)
{
	const char *target = name + strlen(name) + 1;
	int rc = do_make(s, in, name, S_IFLNK | 0777);

	if (rc < 0)
		return rc;
	struct node *n = &s->nodes[((struct fuse_entry_out *)(void *)s->out)->nodeid];
	int grown = node_resize(n, strlen(target));
	if (grown < 0)
		return grown;
	memcpy(n->data, target, n->size);
	return rc;
}

static int do_rename(struct server *s, uint64_t from, uint64_t to, const char *name)
{
	const char *new_name = name + strlen(name) + 1;
	struct name *n = name_find(s, from, name);

	if (!n)
		return -ENOENT;
	name_del(s, to, new_name);
	n->parent = to;
	snprintf(n->text, sizeof(n->text), "%s", new_name);
	return 0;
}

static int do_link(struct server *s, const struct fuse_in_header *in, const struct fuse_link_in *arg)
{
	int rc = name_add(s, in->nodeid, (const char *)(arg + 1), arg->oldnodeid);

	return rc < 0 ? rc : answer_entry(s, arg->oldnodeid);
}

static int do_read(struct server *s, const struct node *n, const struct fuse_read_in *in)
{
	uint64_t left = in->offset < n->size ? n->size - in->offset : 0;
	uint32_t bytes = in->size < left ? in->size : (uint32_t)left;

	if (bytes)
		memcpy(s->out, n->data + in->offset, bytes);
	return (int)bytes;
}

static int do_write(struct server *s, struct node *n, const struct fuse_write_in *in)
{
	uint64_t end = in->offset + in->size;
	int rc = end > n->size ? node_resize(n, end) : 0;

	if (rc < 0)
		return rc;
	memcpy(n->data + in->offset, in + 1, in->size);
	*(struct fuse_write_out *)(void *)s->out = (struct fuse_write_out){.size = in->size};
	return sizeof(struct fuse_write_out);
}

static int do_readdir(struct server *s, uint64_t parent, const struct fuse_read_in *in)
{
	uint32_t at = 0;

	for (uint64_t i = in->offset; i < SLOW_NAMES; i++) {
		const struct name *n = &s->names[i];
		struct fuse_dirent *d = (void *)(s->out + at);
		uint32_t len = (uint32_t)strlen(n->text), bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + len);

		if (n->parent != parent)
			continue;
		if (at + bytes > in->size)
			break;
		memset(d, 0, bytes);
		d->ino = n->node;
		d->off = i + 1;
		d->namelen = len;
		d->type = s->nodes[n->node].mode >> 12;
		memcpy(d->name, n->text, len);
		at += bytes;
	}
	return (int)at;
}

static int do_statfs(struct server *s)
{
	struct fuse_statfs_out *out = (void *)s->out;

	*out = (struct fuse_statfs_out){
	    .st = {.blocks = 1000, .bfree = 500, .bavail = 500, .bsize = 4096, .namelen = 255}};
	return sizeof(*out);
}

/* --- extended attributes --- */

static struct xattr *xattr_find(struct server *s, uint64_t id, const char *name)
{
	for (unsigned i = 0; i < SLOW_XATTRS; i++)
		if (s->xattrs[i].node == id && (!name[0] || strcmp(s->xattrs[i].name, name) == 0))
			return &s->xattrs[i];
	return NULL;
}

static int do_setxattr(struct server *s, uint64_t id, const struct fuse_setxattr_in *in)
{
	const char *name = (const char *)in + FUSE_COMPAT_SETXATTR_IN_SIZE;
	struct xattr *x = xattr_find(s, id, name);

	if (!x)
		x = xattr_find(s, 0, "");
	if (!x || in->size > sizeof(x->value) || strlen(name) >= sizeof(x->name))
		return -ENOSPC;
	x->node = id;
	strcpy(x->name, name);
	x->bytes = in->size;
	memcpy(x->value, name + strlen(name) + 1, in->size);
	return 0;
}

static int answer_bytes(struct server *s, const struct fuse_getxattr_in *in, const void *bytes,
			uint32_t count)
{
	if (in->size == 0) {
		*(struct fuse_getxattr_out *)(void *)s->out = (struct fuse_getxattr_out){.size = count};
		return sizeof(struct fuse_getxattr_out);
	}
	if (count > in->size)
		return -ERANGE;
	memcpy(s->out, bytes, count);
	return (int)count;
}

static int do_getxattr(struct server *s, uint64_t id, const struct fuse_getxattr_in *in)
{
	const struct xattr *x = xattr_find(s, id, (const char *)(in + 1));

	return x ? answer_bytes(s, in, x->value, x->bytes) : -ENODATA;
}

static int do_listxattr(struct server *s, uint64_t id, const struct fuse_getxattr_in *in)
{
	char list[SLOW_XATTRS * sizeof(s->xattrs[0].name)];
	uint32_t bytes = 0;

	for (unsigned i = 0; i < SLOW_XATTRS; i++) {
		if (s->xattrs[i].node != id)
			continue;
		strcpy(list + bytes, s->xattrs[i].name);
		bytes += (uint32_t)strlen(s->xattrs[i].name) + 1;
	}
	return answer_bytes(s, in, list, bytes);
}

static int do_removexattr(struct server *s, uint64_t id, const char *name)
{
	struct xattr *x = xattr_find(s, id, name);

	if (!x)
		return -ENODATA;
	x->node = 0;
	return 0;
}

/* --- requests --- */

static int do_lookup(struct server *s, uint64_t parent, const char *text)
{
	const struct name *n = name_find(s, parent, text);

	return n ? answer_entry(s, n->node) : -ENOENT;
}

/* Those that work on names below in->nodeid. */
static int do_name_op(struct server *s, const struct fuse_in_header *in, const void *arg)
{
	switch (in->opcode) {
	case FUSE_LOOKUP:
		return do_lookup(s, in->nodeid, arg);
	case FUSE_MKDIR:
		return do_make(s, in, (const char *)arg + sizeof(struct fuse_mkdir_in),
			       S_IFDIR | (((const struct fuse_mkdir_in *)arg)->mode & 07777));
	case FUSE_MKNOD:
		return do_make(s, in, (const char *)arg + sizeof(struct fuse_mknod_in),
			       ((const struct fuse_mknod_in *)arg)->mode);
	case FUSE_CREATE:
		return do_create(s, in, arg);
	case FUSE_SYMLINK:
		return do_symlink(s, in, arg);
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		return name_del(s, in->nodeid, arg);
	case FUSE_RENAME:
		return do_rename(s, in->nodeid, ((const struct fuse_rename_in *)arg)->newdir,
				 (const char *)arg + sizeof(struct fuse_rename_in));
	case FUSE_RENAME2:
		return do_rename(s, in->nodeid, ((const struct fuse_rename2_in *)arg)->newdir,
				 (const char *)arg + sizeof(struct fuse_rename2_in));
	default:
		return do_link(s, in, arg);
	}
}

static int do_node_op(struct server *s, const struct fuse_in_header *in, const void *arg)
{
	struct node *n = node_get(s, in->nodeid);

	if (!n && in->opcode != FUSE_STATFS)
		return -ESTALE;
	switch (in->opcode) {
	case FUSE_GETATTR:
		return answer_attr(s, in->nodeid);
	case FUSE_SETATTR:
		return do_setattr(s, n, in->nodeid, arg);
	case FUSE_READLINK:
		memcpy(s->out, n->data, n->size);
		return (int)n->size;
	case FUSE_OPEN:
		if (((const struct fuse_open_in *)arg)->flags & O_TRUNC)
			node_resize(n, 0);
		return answer_open(s, 0);
	case FUSE_OPENDIR:
		return answer_open(s, 0);
	case FUSE_READ:
		return do_read(s, n, arg);
	case FUSE_WRITE:
		return do_write(s, n, arg);
	case FUSE_READDIR:
		return do_readdir(s, in->nodeid, arg);
	case FUSE_STATFS:
		return do_statfs(s);
	case FUSE_SETXATTR:
		return do_setxattr(s, in->nodeid, arg);
	case FUSE_GETXATTR:
		return do_getxattr(s, in->nodeid, arg);
	case FUSE_LISTXATTR:
		return do_listxattr(s, in->nodeid, arg);
	case FUSE_REMOVEXATTR:
		return do_removexattr(s, in->nodeid, arg);
	case FUSE_LSEEK:
		*(struct fuse_lseek_out *)(void *)s->out =
		    (struct fuse_lseek_out){.offset = ((const struct fuse_lseek_in *)arg)->offset};
		return sizeof(struct fuse_lseek_out);
	case FUSE_FALLOCATE:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_ACCESS:
		return 0;
	default:
		return -ENOSYS;
	}
}

static bool is_name_op(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_CREATE:
	case FUSE_SYMLINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		return true;
	default:
		return false;
	}
}

static void serve(struct server *s, const void *request)
{
	const struct fuse_in_header *in = request;
	const void *arg = in + 1;
	int rc;

	if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET || in->opcode == FUSE_INTERRUPT)
		return;
	if (in->opcode == FUSE_INIT)
		rc = do_init(s, arg);
	else if (is_name_op(in->opcode))
		rc = do_name_op(s, in, arg);
	else
		rc = do_node_op(s, in, arg);

	uint32_t bytes = rc > 0 ? (uint32_t)rc : 0;
	struct fuse_out_header out = {
	    .len = (uint32_t)sizeof(out) + bytes, .error = rc < 0 ? rc : 0, .unique = in->unique};
	struct iovec iov[] = {{&out, sizeof(out)}, {s->out, bytes}};

	/* Fails where the request is wanted no more. */
	if (writev(s->fd, iov, 2) < 0 && errno != ENOENT)
		_exit(1);
}

static void take(struct server *s)
{
	ssize_t n = read(s->fd, s->in, sizeof(s->in));
	const struct fuse_in_header *in = (void *)s->in;

	if (n < 0) {
		if (errno == ENODEV) /* unmounted */
			_exit(0);
		return;
	}
	if (in->opcode == atomic_load(&s->fs->hold) && s->held_count < SLOW_HELD) {
		void *copy = malloc((size_t)n);

		if (!copy)
			_exit(1);
		s->held[s->held_count++] = memcpy(copy, s->in, (size_t)n);
		atomic_store(&s->fs->held, s->held_count);
		return;
	}
	serve(s, s->in);
}

static void serve_held(struct server *s)
{
	for (unsigned i = 0; i < s->held_count; i++) {
		serve(s, s->held[i]);
		free(s->held[i]);
	}
	s->held_count = 0;
	atomic_store(&s->fs->held, 0);
}

static _Noreturn void server_main(struct slowfs *fs, int fd, bool no_flush)
{
	struct server *s = calloc(1, sizeof(*s));
	int wake = 4;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Nothing of the test's may stay open here: guests' sockets, memory. */
	if (!s || dup2(fs->wake_fd, 1023) < 0 || dup2(fd, 3) < 0 || dup2(1023, wake) < 0 ||
	    close_range(5, ~0u, 0) < 0)
		_exit(1);
	s->fs = fs;
	s->fd = 3;
	s->no_flush = no_flush;
	tree_make(s);
	for (;;) {
		struct pollfd pfd[] = {{.fd = s->fd, .events = POLLIN}, {.fd = wake, .events = POLLIN}};
		eventfd_t n;

		if (poll(pfd, 2, -1) < 0)
			continue;
		if (pfd[1].revents && eventfd_read(wake, &n) == 0)
			serve_held(s);
		if (pfd[0].revents)
			take(s);
	}
}

/* --- the test's side --- */

int slowfs_mount(const char *dir, int no_flush, struct slowfs **out)
{
	struct slowfs *fs =
	    mmap(NULL, sizeof(*fs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char opts[96];
	int rc, fd;

	if (fs == MAP_FAILED)
		return -errno;
	snprintf(fs->dir, sizeof(fs->dir), "%s", dir);
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	fs->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
	if (fd < 0 || fs->wake_fd < 0 || mount("slowfs", dir, "fuse", MS_NOSUID | MS_NODEV, opts) < 0) {
		rc = -errno;
		goto fail;
	}
	pid_t pid = fork(); /* the structure is the server's, too */
	if (pid == 0)
		server_main(fs, fd, no_flush);
	rc = pid < 0 ? -errno : 0;
	if (rc == 0) {
		fs->pid = pid;
		close(fd);
		*out = fs;
		return 0;
	}
	umount2(dir, MNT_DETACH);
fail:
	if (fd >= 0)
		close(fd);
	if (fs->wake_fd >= 0)
		close(fs->wake_fd);
	munmap(fs, sizeof(*fs));
	return rc;
}

void slowfs_unmount(struct slowfs *fs)
{
	if (!fs)
		return;
	kill(fs->pid, SIGKILL);
	waitpid(fs->pid, NULL, 0);
	umount2(fs->dir, MNT_DETACH);
	close(fs->wake_fd);
	munmap(fs, sizeof(*fs));
}

pid_t slowfs_server(const struct slowfs *fs)
{
	return fs->pid;
}

void slowfs_hold(struct slowfs *fs, uint32_t opcode)
{
	atomic_store(&fs->hold, opcode);
}

void slowfs_release(struct slowfs *fs)
{
	atomic_store(&fs->hold, 0);
	eventfd_write(fs->wake_fd, 1);
}

unsigned slowfs_held(const struct slowfs *fs)
{
	return atomic_load(&fs->held);
}
