/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credentials of the calling thread. Raw system calls throughout: those of libc change all threads.
 */
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "pt.h"
#include "sfs_log.h"

#define CAP_WORDS 2

/* The thread's capabilities as they are outside of pt_caller_begin() and pt_fsetid_drop(). */
static __thread struct __user_cap_data_struct thread_caps[CAP_WORDS];
static __thread bool thread_caps_known;
/* File mode mask and working directory are the thread's own; the working directory is /proc/self/fd. */
static __thread bool thread_has_fs;

static struct __user_cap_header_struct cap_header(void)
{
	return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
}

static const struct __user_cap_data_struct *caps_get(void)
{
	struct __user_cap_header_struct head = cap_header();

	if (!thread_caps_known) {
		if (syscall(SYS_capget, &head, thread_caps) < 0)
			memset(thread_caps, 0, sizeof(thread_caps));
		thread_caps_known = true;
	}
	return thread_caps;
}

static int caps_set(const struct __user_cap_data_struct *caps)
{
	struct __user_cap_header_struct head = cap_header();

	return (int)pt_ret(syscall(SYS_capset, &head, caps));
}

static bool caps_have(const struct __user_cap_data_struct *caps, unsigned cap)
{
	return caps[CAP_TO_INDEX(cap)].effective & CAP_TO_MASK(cap);
}

/* A set that differs in one effective capability. */
static int caps_set_without(unsigned cap)
{
	struct __user_cap_data_struct caps[CAP_WORDS];

	memcpy(caps, thread_caps, sizeof(caps));
	caps[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
	return caps_set(caps);
}

/* After a switch to another user: of the filesystem capabilities that went, only DAC_OVERRIDE comes back. */
static int caps_set_override(void)
{
	static const uint8_t fs_caps[] = {CAP_CHOWN,  CAP_MKNOD,        CAP_DAC_READ_SEARCH, CAP_FOWNER,
					  CAP_FSETID, CAP_MAC_OVERRIDE, CAP_LINUX_IMMUTABLE};
	struct __user_cap_data_struct caps[CAP_WORDS];

	memcpy(caps, thread_caps, sizeof(caps));
	for (size_t i = 0; i < SFS_ARRAY_SIZE(fs_caps); i++)
		caps[CAP_TO_INDEX(fs_caps[i])].effective &= ~CAP_TO_MASK(fs_caps[i]);
	return caps_set(caps);
}

/* The call itself never tells; asked for an id that cannot be, it leaves and returns the one in force. */
static bool ids_set(long call, uint32_t id)
{
	syscall(call, id);
	return (uint32_t)syscall(call, UINT32_MAX) == id;
}

/* The security label of what this thread creates, until label_clear(). 0 or -errno. */
static int label_set(struct pt_caller *c, int proc_fd, const char *label, size_t bytes)
{
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "../task/%d/attr/fscreate", (int)syscall(SYS_gettid));
	c->label_fd = (int)PT_CALL(openat(proc_fd, path, O_WRONLY | O_CLOEXEC));
	if (c->label_fd < 0)
		return c->label_fd == -ENOENT ? -EOPNOTSUPP : c->label_fd;
	rc = (int)PT_CALL(pwrite(c->label_fd, label, bytes, 0));
	c->label = rc >= 0;
	if (rc < 0)
		close(c->label_fd);
	return rc < 0 ? rc : 0;
}

/* Back to what the policy says. */
static void label_clear(const struct pt_caller *c)
{
	if (PT_CALL(pwrite(c->label_fd, "", 0, 0)) < 0)
		SFS_ERROR("passthrough: a thread keeps a guest's security label: %m");
	close(c->label_fd);
}

bool pt_label_works(const struct pt_fs *fs)
{
	char path[64], label[256];
	bool works;
	int fd;

	snprintf(path, sizeof(path), "../task/%d/attr/fscreate", (int)syscall(SYS_gettid));
	fd = (int)PT_CALL(openat(fs->proc_fd, path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return false;
	/* Without a security module that has it there is the file, but nothing to read. */
	works = read(fd, label, sizeof(label)) >= 0;
	close(fd);
	return works;
}

int pt_creator_begin(const struct sfs_req *req, struct pt_caller *c)
{
	const char *at = req->extra;
	uint32_t bytes = req->extra_bytes;
	struct pt_ext ext;
	int rc;

	if (req->in.opcode == FUSE_TMPFILE && bytes) {
		/* Its name says nothing. */
		const char *nul = memchr(at, 0, bytes);

		bytes = nul ? bytes - (uint32_t)(nul + 1 - at) : 0;
		at = nul ? nul + 1 : at;
	}
	*c = (struct pt_caller){0};
	rc = pt_ext_parse(at, bytes, &ext);
	if (rc < 0)
		return rc;
	/* First: afterwards we may not. */
	if (ext.group_count && pt_fs(req)->switch_ids) {
		rc = (int)PT_CALL(syscall(SYS_setgroups, ext.group_count, ext.groups));
		if (rc < 0)
			return rc;
	}
	rc = pt_caller_begin(req, c, true);
	c->groups = ext.group_count && pt_fs(req)->switch_ids;
	if (rc == 0 && ext.label && pt_fs(req)->security_label && pt_fs(req)->label_name[0]) {
		c->label_value = ext.label;
		c->label_bytes = ext.label_bytes;
	} else if (rc == 0 && ext.label && pt_fs(req)->security_label) {
		rc = label_set(c, pt_fs(req)->proc_fd, ext.label, ext.label_bytes);
	}
	if (rc < 0)
		pt_caller_end(c);
	return rc;
}

int pt_caller_begin(const struct sfs_req *req, struct pt_caller *c, bool override)
{
	*c = (struct pt_caller){0};
	if (!pt_fs(req)->switch_ids || (req->in.uid == 0 && req->in.gid == 0))
		return 0;
	c->ids = true;
	if (req->in.uid == UINT32_MAX || req->in.gid == UINT32_MAX)
		goto fail;
	caps_get();
	/* The group first: as another user we could not change it. */
	if (req->in.gid != 0 && !ids_set(SYS_setfsgid, req->in.gid))
		goto fail;
	if (req->in.uid != 0 && !ids_set(SYS_setfsuid, req->in.uid))
		goto fail;
	if (req->in.uid != 0 && override && caps_have(thread_caps, CAP_DAC_OVERRIDE) &&
	    caps_set_override() < 0)
		goto fail;
	return 0;
fail:
	pt_caller_end(c);
	return -EPERM;
}

int pt_asker_begin(const struct sfs_req *req, struct pt_caller *c, bool override)
{
	/* fs/fuse/dev.c, fuse_get_req(): where id-mapped mounts are agreed on the caller is told only where something gets an owner. */
	if (req->in.uid == UINT32_MAX && req->in.gid == UINT32_MAX &&
	    (sfs_session_init_flags(req->session) & FUSE_ALLOW_IDMAP)) {
		*c = (struct pt_caller){0};
		return 0;
	}
	return pt_caller_begin(req, c, override);
}

void pt_caller_end(const struct pt_caller *c)
{
	int err = errno;

	if (c->label)
		label_clear(c);
	if (c->mask)
		umask(c->old_mask);
	if (c->ids) {
		/* To the real user's id one may always go back, and the filesystem capabilities return with
		 * it. */
		syscall(SYS_setfsuid, 0);
		syscall(SYS_setfsgid, 0);
	}
	if (c->groups)
		syscall(SYS_setgroups, 0, NULL);
	errno = err;
}

int pt_caller_label(const struct sfs_req *req, const struct pt_caller *c, int fd)
{
	char path[PT_NAME_BYTES];
	int rc;

	if (!c->label_value)
		return 0;
	rc = (int)PT_CALL(
	    setxattr(pt_fd_path(path, fd), pt_fs(req)->label_name, c->label_value, c->label_bytes, 0));
	/* Attributes of users are for files and folders alone: a link without a label is better than none. */
	return rc == -EPERM ? 0 : rc;
}

mode_t pt_caller_mask(const struct sfs_req *req, struct pt_caller *c, mode_t mode, uint32_t umask_bits)
{
	umask_bits &= 0777;
	if (!(sfs_session_init_flags(req->session) & FUSE_DONT_MASK) || umask_bits == 0)
		return mode;
	if (!thread_has_fs)
		return mode & ~umask_bits;
	c->old_mask = umask(umask_bits);
	c->mask = true;
	return mode;
}

bool pt_is_set_id(int fd)
{
	struct statx stx;

	return pt_stat(fd, &stx) == 0 && (stx.stx_mode & (S_ISUID | S_ISGID));
}

int pt_fsetid_drop(void)
{
	return caps_have(caps_get(), CAP_FSETID) ? caps_set_without(CAP_FSETID) : 0;
}

void pt_fsetid_restore(void)
{
	int err = errno;

	if (caps_have(caps_get(), CAP_FSETID))
		caps_set(thread_caps);
	errno = err;
}

void pt_thread_init(void *arg)
{
	const struct pt_fs *fs = arg;

	if (thread_has_fs)
		return;
	if (unshare(CLONE_FS) < 0) {
		SFS_WARN("passthrough: no file mode mask per thread (unshare: %m); default ACLs will not be "
			 "seen at creation");
		umask(0);
		return;
	}
	umask(0);
	thread_has_fs = fchdir(fs->proc_fd) == 0;
}

const char *pt_fd_path(char name[PT_NAME_BYTES], int fd)
{
	snprintf(name, PT_NAME_BYTES, thread_has_fs ? "%d" : "/proc/self/fd/%d", fd);
	return name;
}
