/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A FUSE filesystem for tests: a small tree in the memory of a server process of its own, which can be told
 * to keep the requests of one opcode instead of answering them. Needs root and /dev/fuse. One thread of the
 * test uses it.
 */
#ifndef SLOWFS_H
#define SLOWFS_H

#include <stdint.h>
#include <sys/types.h>

struct slowfs;

/**
 * Mounts a new tree at @dir: a directory "dir" with a file "inside", a file "file" of 64 KiB (byte i is i *
 * 7 + i / 256), an empty file "empty" and a symlink "link" to it. Nothing of it is cached by the kernel:
 * each system call becomes a request, but FLUSH where @no_flush. 0, or -errno of open, mount, mmap or fork.
 * slowfs_unmount() ends it.
 */
int slowfs_mount(const char *dir, int no_flush, struct slowfs **fs);

/** Ends the server, whatever it keeps (the kernel fails all of it), and unmounts. NULL is fine. */
void slowfs_unmount(struct slowfs *fs);

/** The server's process, for SIGSTOP and SIGCONT. */
pid_t slowfs_server(const struct slowfs *fs);

/** From now on requests of @opcode (FUSE_*) are kept. */
void slowfs_hold(struct slowfs *fs, uint32_t opcode);

/** Nothing is kept any more; what was is answered. */
void slowfs_release(struct slowfs *fs);

/** How many requests are kept at the moment. */
unsigned slowfs_held(const struct slowfs *fs);

#endif
