/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's whole configuration: what docs/man/spinfs.conf.5 describes, checked. Strings and arrays belong
 * to the document, which must outlive the structure.
 */
#ifndef SPINFSD_CONFIG_H
#define SPINFSD_CONFIG_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "sfs_conf.h"
#include "sfs_log.h"
#include "sfs_reactor.h"

/* Where the default control socket lies; made at start where it is missing. */
#define SPINFSD_RUN_DIR "/run/spinfs"

#define SPINFSD_MODE_UNSET UINT32_MAX

enum spinfsd_engine {
	SPINFSD_ENGINE_AUTO,
	SPINFSD_ENGINE_IO_URING,
	SPINFSD_ENGINE_LIBAIO,
	SPINFSD_ENGINE_WORKERS
};
enum spinfsd_on_disconnect { SPINFSD_LISTEN, SPINFSD_EXIT };
enum spinfsd_sandbox { SPINFSD_SANDBOX_NAMESPACE, SPINFSD_SANDBOX_CHROOT, SPINFSD_SANDBOX_NONE };
enum spinfsd_seccomp {
	SPINFSD_SECCOMP_KILL,
	SPINFSD_SECCOMP_LOG,
	SPINFSD_SECCOMP_TRAP,
	SPINFSD_SECCOMP_NONE
};

struct spinfsd_reactor_config {
	const char *name;
	int cpu; /* -1: not pinned */
	enum sfs_idle idle;
	uint32_t spin_us;
};

struct spinfsd_socket_config {
	const char *path;  /* NULL: fd */
	int fd;            /* a listening socket, -1: path */
	const char *group; /* name or number; NULL: as it is */
	uint32_t mode;
};

struct spinfsd_queues_config {
	unsigned request_count, size_max;
	const char **reactor_names; /* as configured; NULL: all in order */
	unsigned reactor_name_count;
	unsigned
	    *reactors; /* indices in spinfsd_config.reactors; queue i runs on reactors[i mod reactor_count] */
	unsigned reactor_count;
};

struct spinfsd_limits_config {
	uint32_t inodes, handles, fds, requests, workers, locks, lock_waiters;
	uint64_t bytes_in_flight;
};

struct spinfsd_fs_config {
	const char *driver;
	struct sfs_conf_node options; /* for the driver's create() */
};

struct spinfsd_device_config {
	const char *tag; /* NULL: none (command line only): the config space stays empty */
	struct spinfsd_socket_config socket;
	enum spinfsd_on_disconnect on_disconnect;
	struct spinfsd_queues_config queues;
	struct spinfsd_limits_config limits;
	bool pin_memory;
	struct spinfsd_fs_config fs;
};

struct spinfsd_config {
	struct sfs_conf_doc *doc;
	unsigned version;
	struct {
		enum sfs_log_level level;
		enum sfs_log_target target;
	} log;
	const char *control_socket; /* NULL: none */
	uint32_t stop_timeout_ms;
	enum spinfsd_sandbox sandbox;
	enum spinfsd_seccomp seccomp;
	uint32_t rlimit_nofile; /* 0: leave it */
	struct {
		bool hugepages;
		uint32_t heap_mib;
		int numa; /* -1: auto */
	} memory;
	const char **eal; /* further EAL arguments */
	unsigned eal_count;
	cpu_set_t control_cpus; /* default: the affinity mask less the CPUs of spinning reactors */
	struct spinfsd_reactor_config *reactors; /* at least one */
	unsigned reactor_count;
	struct {
		uint32_t count;
		uint32_t spin_us;
		cpu_set_t cpus; /* default as of control_cpus */
		bool share;     /* none of them is theirs alone: all are reactors' */
	} workers;
	struct {
		enum spinfsd_engine engine;
		uint32_t depth;
	} io;
	struct spinfsd_device_config *devices; /* at least one */
	unsigned device_count;
};

/** What a configuration is checked against. */
struct spinfsd_host {
	cpu_set_t allowed, online;
	const char *const *drivers; /* names, NULL at the end */
};

/** Asks the kernel for the CPUs; drivers stays as it is. 0 or -errno. May block (sysfs). */
int spinfsd_host_read(struct spinfsd_host *host);

/**
 * Reads @doc into @cfg and checks all but what drivers check themselves (fs.options). @doc is taken over in
 * any case: spinfsd_config_fini() frees it, also after a failure. 0, or -errno with @err filled. Does not
 * block.
 */
int spinfsd_config_parse(struct sfs_conf_doc *doc, const struct spinfsd_host *host,
			 struct spinfsd_config *cfg, struct sfs_conf_err *err);

/** Frees what the configuration holds. */
void spinfsd_config_fini(struct spinfsd_config *cfg);

/** What a failure of sfs_cpus_parse() means, in words. */
const char *spinfsd_cpus_problem(int rc);

/**
 * The effective configuration, in the form of the file; it reads back as the same configuration. The options
 * of a filesystem show its defaults once its create() has parsed them. A new reference, or NULL: no memory.
 */
json_t *spinfsd_config_print(const struct spinfsd_config *cfg);

#endif
