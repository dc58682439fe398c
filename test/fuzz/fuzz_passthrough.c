/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same on a directory of the host: what the system calls make of it. The directory is in memory where there is such a place,
 * so that a SYNCFS has little to do; no file grows beyond a few MiB, whatever is asked for.
 */
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuzz_input.h"
#include "sfs_aio_engines.h"
#include "sfs_passthrough.h"

static char share[64], options[2][256];
static const struct fz_fs fs[] = {
    {.ops = &sfs_fs_passthrough, .options = options[0], .engine = &sfs_aio_workers},
    {.ops = &sfs_fs_passthrough, .options = options[1], .engine = &sfs_aio_workers}, /* without OPEN */
};

/* Whatever the request has made of it. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int none = 0, fd;

	if (ftw->level == 0)
		return 0;
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0) {
			ioctl(fd, FS_IOC_SETFLAGS, &none);
			close(fd);
		}
	}
	MUST(remove(path) == 0);
	return 0;
}

static void share_empty(void)
{
	int none = 0, fd = open(share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	MUST(fd >= 0);
	ioctl(fd, FS_IOC_SETFLAGS, &none);
	close(fd);
	MUST(chmod(share, 0755) == 0 && chown(share, geteuid(), getegid()) == 0);
	MUST(nftw(share, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void share_remove(void)
{
	share_empty();
	rmdir(share);
}

static void share_make(void)
{
	const struct rlimit few = {4 << 20, 4 << 20};

	snprintf(share, sizeof(share), "%s/spinfs-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	MUST(mkdtemp(share));
	MUST(atexit(share_remove) == 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(options); i++)
		snprintf(options[i], sizeof(options[i]),
			 "{\"shared_dir\": \"%s\", \"killpriv_v2\": true, \"allow_direct_io\": true%s}",
			 share, i ? ", \"cache\": \"always\", \"no_open\": true" : "");
	MUST(setrlimit(RLIMIT_FSIZE, &few) == 0 && signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz_msg m = fuzz_input(data, size);
	/* The highest bit of the room for the answer chooses. */
	const struct fz_fs *now = &fs[size > 3 && data[3] & 0x80];
	char path[128];

	if (!share[0])
		share_make();
	fz_begin(now);
	/* Some filesystems have none. */
	snprintf(path, sizeof(path), "%s/file", share);
	if (setxattr(path, "user.a", "value", 5, 0) == 0)
		setxattr(path, "user.empty", "", 0, 0);
	fz_request(&m);
	fz_end(now);
	share_empty();
	return 0;
}
