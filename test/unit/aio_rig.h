/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the suites over all I/O engines share: a file, an engine over it, and kernels that give less, on which
 * io_uring and libaio run once more: the linker lets some calls go through the rig (--wrap).
 */
#ifndef AIO_RIG_H
#define AIO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sfs_aio_engines.h"
#include "sfs_reactor.h"
#include "sfs_workers.h"

#define DEPTH      8
#define BLOCK      4096u
#define FILE_BYTES (256 * BLOCK)

/* Everything a test of one engine needs. */
struct rig {
	const struct sfs_aio_ops *ops;
	struct sfs_workers *wk;
	struct sfs_workers_client *client;
	struct sfs_aio aio;
	int fd, direct_fd; /* one file of FILE_BYTES; direct_fd is -1 where the filesystem has no O_DIRECT */
	uint8_t *want;     /* what the file holds */
	uint8_t *mem;      /* page-aligned, FILE_BYTES */
	unsigned random;
};

/** How the kernel is worse, and what was asked of it. */
struct kernel {
	unsigned refuse_setup;  /* flags that io_uring_setup does not know */
	bool refuse_enable;     /* the ring cannot be enabled */
	bool refuse_submit;     /* every other submit takes nothing, and io_submit at most two */
	bool other_ring;        /* libaio's ring has a layout that we do not know */
	unsigned submits, gets; /* system calls: those that hand over, and those that collect */
};

extern struct kernel kernel;

/** Fixtures: *state is the engine, and then a struct rig with it open. */
int rig_setup(void **state);
int rig_teardown(void **state);

/** The last CPU that we may use: where the kernel's workers are to stay. */
int rig_iowq_cpu(void);
int rig_open_engine(struct rig *rig, unsigned depth, struct sfs_reactor *reactor, uint64_t seed);
void rig_commit(struct rig *rig);
/** Until @n have come back. */
void rig_reap_into(struct rig *rig, struct sfs_io **ios, unsigned n);
/** One I/O from beginning to end. */
int64_t rig_run(struct rig *rig, struct sfs_io *io);

/* Registers @fn for the engine, which the fixtures find in *state. */
#define TEST(fn, engine)                                                                                     \
	{                                                                                                    \
#fn, fn, rig_setup, rig_teardown, (void *)(uintptr_t)(engine)                                \
	}

/** Runs a program's tests of the engine @ops as the group @title: cmocka's result. */
typedef int (*rig_tests)(const struct sfs_aio_ops *ops, const char *title);
/** main() of such a program: @tests for each engine and kernel. */
int rig_main(rig_tests tests);

#endif
