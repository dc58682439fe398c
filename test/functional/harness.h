/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the whole daemon. Each test gets a daemon of its own ($SPINFSD) on a scratch directory, and
 * guests that speak to it. To add one: write a function and a row in the table fn_tests of its program.
 * Environment: SPINFS_ENGINE, the I/O engine (auto); SPINFS_TEST_FULL=1, the long counts; SPINFS_TEST_LOG,
 * show the daemon's log of each test.
 *
 * Whatever a test leaves behind when it fails (daemon, guests, mounts, helpers, hugepages) is undone after
 * it.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_fe_guest.h"
#include "slowfs.h"

#define FN_ARGS_MAX   16
#define FN_GUESTS_MAX 8
#define FN_WAIT_MS    60000

struct fn_test;

/** A daemon that has been started, and the guests attached to it. */
struct fn_env {
	const struct fn_test *test;
	char dir[64]; /* scratch: share, sockets, log lie in it */
	char socket[96];
	char share[96];
	char control[96]; /* the operator's socket */
	int share_fd;
	uid_t uid;   /* the daemon's; set before fn_start() */
	int pass_fd; /* stays open in the daemon; -1: none */
	pid_t pid;   /* 0: not started */
	bool exited;
	int status;      /* of waitpid(), once exited */
	struct sfs_fg g; /* of fn_guest() */
	bool guest_up;
	struct sfs_fg *guests[FN_GUESTS_MAX]; /* of fn_guest_on() */
	struct slowfs *slowfs;
	char loop_dir[96];  /* mounted; "": none */
	char hugepages[32]; /* how many there were; "": not changed */
};

#define FN_NO_DAEMON 1u /* the test starts it by itself */
#define FN_ONCE      2u /* the engine does not matter: left out where SPINFS_ENGINE names another than io_uring */
#define FN_ROOT      4u /* needs root: skipped otherwise */

struct fn_test {
	const char *name;
	void (*run)(struct fn_env *env);
	const char *args[FN_ARGS_MAX]; /* of the daemon, beyond socket, directory, sandbox and seccomp */
	unsigned flags;
};

/** The program's tests. */
extern const struct fn_test fn_tests[];
extern const unsigned fn_test_count;

/* --- the daemon --- */

/** Starts the daemon with these arguments, NULL at the end. */
void fn_start(struct fn_env *env, const char *const *args);
/** Waits until the daemon has ended; its exit status, or -1 where it was killed or is still there after a
 * minute. */
int fn_wait_exit(struct fn_env *env);
/** Waits until the daemon has ended with exit status @status; it does not count as a daemon of the test
 * any more. */
void fn_expect_exit(struct fn_env *env, int status);
/** Whether the daemon runs. */
bool fn_alive(struct fn_env *env);
/** Whether the daemon's log holds @text. */
bool fn_log_has(const struct fn_env *env, const char *text);
/** The engine to test. */
const char *fn_engine(void);
/** Whether the long counts are asked for. */
bool fn_full(void);

/** A share of a configuration file. Its directory is dir/TAG, made where it is missing; its socket
 * dir/TAG.sock. */
struct fn_share {
	const char *tag;
	const char *more;    /* further keys of the device, NULL: none */
	const char *options; /* further keys of fs.options, NULL: none */
};

/** Writes dir/config.json with these shares and the further keys @top (NULL: none), and starts the daemon
 * with it. */
void fn_start_config(struct fn_env *env, const char *top, const struct fn_share *shares, unsigned count);
/** Writes it only. */
void fn_write_config(struct fn_env *env, const char *top, const struct fn_share *shares, unsigned count);

/* --- guests --- */

/** Starts a guest with @opts (NULL: defaults, data in pages), attaches it and sends INIT. Fails the test
 * otherwise. */
void fn_guest(struct fn_env *env, const struct sfs_fg_opts *opts);
/** Lets the guest vanish: closes its socket and frees it. */
void fn_guest_gone(struct fn_env *env);
/** The same on the socket of share @tag; any number of guests. */
struct sfs_fg *fn_guest_on(struct fn_env *env, const char *tag, const struct sfs_fg_opts *opts);
/** The same without INIT. */
struct sfs_fg *fn_guest_attach(struct fn_env *env, const char *tag, const struct sfs_fg_opts *opts);
void fn_guest_leave(struct fn_env *env, struct sfs_fg *g);
/** Waits until the first device has pinned all the memory of @g, or skips the test where the kernel cannot. */
void fn_until_pinned(struct fn_env *env, const struct sfs_fg *g);
/** INIT as fn_guest() sends it. */
void fn_init(struct sfs_fg *g);

/** Some work of every kind on the queue that the helpers use: makes, writes, reads, removes the file
 * @name. */
void fn_work(struct sfs_fg *g, const char *name, unsigned rounds);
/** Starts a READ (WRITE: of what the slot's data holds) on @q without publishing it; there must be room. */
struct sfs_fg_req *fn_read(struct sfs_fg_queue *q, uint64_t nodeid, uint64_t fh, uint64_t offset,
			   uint32_t bytes);
struct sfs_fg_req *fn_write(struct sfs_fg_queue *q, uint64_t nodeid, uint64_t fh, uint64_t offset,
			    uint32_t bytes);
/** Starts any request without publishing it. */
struct sfs_fg_req *fn_call(struct sfs_fg_queue *q, const struct sfs_fg_call *call);
void fn_publish(struct sfs_fg_queue *q);
/** Waits for the answer, gives the slot back and returns the result. */
int fn_result(struct sfs_fg_req *req);
/** Looks @name up below the root and opens it. */
void fn_open(struct sfs_fg *g, const char *name, int flags, uint64_t *nodeid, uint64_t *fh);

/* --- the host's side --- */

/** Writes a file into the share from the host's side. */
void fn_host_write(struct fn_env *env, const char *name, const void *bytes, size_t count);
/** Reads a file of the share from the host's side; it must hold exactly @count bytes. */
void fn_host_read(struct fn_env *env, const char *name, void *bytes, size_t count);
/** Bytes that tell where they belong. */
void fn_pattern(void *buf, size_t bytes, unsigned seed);
/** The path dir/@name, in one of sixteen static buffers. */
const char *fn_path(const struct fn_env *env, const char *name);
/** Writes @text to the file at @path, which is made. */
void fn_put(const char *path, const char *text);
/** Runs a program ("sh -c"); its output goes to @out (NULL: dropped). Its exit status. */
int fn_shell(char *out, size_t bytes, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** Mounts a slowfs at dir/@name, or skips the test where the machine cannot. Before any guest. */
void fn_slowfs(struct fn_env *env, const char *name, bool no_flush);

/* --- figures --- */

/** The number at @path ("devices.0.queues.1.kicks") of the operator's figures. Fails the test where there
 * is none. */
int64_t fn_figure(const struct fn_env *env, const char *path);
/** Whether the string at @path is @text. */
bool fn_figure_is(const struct fn_env *env, const char *path, const char *text);
/** What the system says of the daemon: descriptors, lines of maps. */
unsigned fn_fd_count(const struct fn_env *env);
unsigned fn_map_count(const struct fn_env *env);
/** The number behind @key ("VmPin:") in the status of the daemon's thread @tid. Fails the test where there is none. */
uint64_t fn_status(const struct fn_env *env, pid_t tid, const char *key);
/** The thread of the daemon with this name, 0: none. */
pid_t fn_thread(const struct fn_env *env, const char *name);

/* --- assertions --- */

#define fn_ok(call)         assert_int_equal((call), 0)
#define fn_fails(err, call) assert_int_equal((call), -(err))

#define fn_skip(...)                                                                                         \
	do {                                                                                                 \
		print_message(__VA_ARGS__);                                                                  \
		print_message("\n");                                                                         \
		skip();                                                                                      \
	} while (0)

/** Waits until @cond holds; fails the test where it does not within a minute. */
#define fn_until(cond)                                                                                       \
	do {                                                                                                 \
		uint64_t fn_end = sfs_now_ns() + FN_WAIT_MS * SFS_NS_PER_MS;                                 \
		while (!(cond)) {                                                                            \
			if (sfs_now_ns() > fn_end)                                                           \
				fail_msg("never: %s", #cond);                                                \
			usleep(1000);                                                                        \
		}                                                                                            \
	} while (0)

#endif
