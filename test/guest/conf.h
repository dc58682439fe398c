/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the cases of the conformance program stand on. A case is a function that runs in a process of its own,
 * in an empty directory of mode 0777 on the filesystem under test, which is its working directory. It returns
 * if all went well; a check that does not hold says where and ends the process.
 */
#ifndef CONF_H
#define CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct conf_case {
	const char *name; /* family, underscore, what is asked; unique */
	void (*run)(void);
};

/* One table a family; the last row has no name. */
extern const struct conf_case conf_open_cases[];
extern const struct conf_case conf_data_cases[];
extern const struct conf_case conf_space_cases[];
extern const struct conf_case conf_name_cases[];
extern const struct conf_case conf_dir_cases[];
extern const struct conf_case conf_attr_cases[];
extern const struct conf_case conf_perm_cases[];
extern const struct conf_case conf_xattr_cases[];
extern const struct conf_case conf_lock_cases[];
extern const struct conf_case conf_ext_cases[];

/* Users that nobody is: cases that act as one need root. */
#define CONF_USER       1000
#define CONF_OTHER_USER 2000

/* Processes that may wait for one lock at a time: --waiters. */
#define CONF_WAITERS_MAX 256
extern unsigned int conf_waiters;
/* Entries of the largest directory: --entries. */
#define CONF_ENTRIES_MAX 100000
extern unsigned int conf_entries;
/* --no-shared-mappings: a file's data are never kept, as of a share with cache never or metadata. */
extern bool conf_no_shared_mappings;

/* The condition holds. */
#define CHECK(cond) conf_check(__FILE__, __LINE__, #cond, (cond))
/* Both numbers are the same. */
#define EQ(a, b) conf_eq(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b))
/* The system call works; its result. */
#define OK(call) conf_ok(__FILE__, __LINE__, #call, (call))
/* The system call answers -1 and this errno. */
#define FAILS(err, call) conf_fails(__FILE__, __LINE__, #call, (call), (err))

void conf_check(const char *file, int line, const char *text, bool holds);
void conf_eq(const char *file, int line, const char *text, long long a, long long b);
long conf_ok(const char *file, int line, const char *text, long rc);
void conf_fails(const char *file, int line, const char *text, long rc, int err);

/* Ends the case as one that does not apply to this filesystem or user. */
_Noreturn void conf_skip(const char *reason);

/*
 * A second process: fork, and wait for it. A child that does not exit with 0 fails the case, one that skips
 * skips it. conf_run does both around fn, conf_run_as with fn running as another user without groups.
 */
pid_t conf_fork(void);
void conf_join(pid_t pid);
void conf_run(void (*fn)(void));
void conf_run_as(uid_t uid, gid_t gid, void (*fn)(void));
void conf_need_root(void);
/* Skips the case under an older kernel than this. */
void conf_need_kernel(unsigned int major, unsigned int minor);

/* One byte from one process to another, over a pipe made by conf_pipe. */
void conf_pipe(int fds[2]);
void conf_signal(int fd);
void conf_await(int fd);

/* Files: each ends the case where something goes wrong. */
void conf_write_file(const char *path, const void *data, size_t size_bytes);
void conf_write_all(int fd, const void *data, size_t size_bytes, off_t offset);
void conf_read_all(int fd, void *data, size_t size_bytes, off_t offset);
void conf_expect_file(const char *path, const void *data, size_t size_bytes);
/* A shared mapping from the file's beginning on. Where there are none, it is refused with ENODEV, and the case is over. */
__attribute__((returns_nonnull)) void *conf_map_shared(int fd, size_t size_bytes, int prot);
struct stat conf_lstat(const char *path);
__attribute__((returns_nonnull)) void *conf_alloc(size_t size_bytes);
/* A pattern that differs at each place and for each seed. */
void conf_fill(void *data, size_t size_bytes, unsigned int seed);
/* A small generator of its own, so that a run can be repeated anywhere: 0 to limit - 1. */
uint32_t conf_random(uint32_t *state, uint32_t limit);

#endif
