/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The running daemon: everything that a configuration names, made, driven and undone. One control thread.
 */
#ifndef SPINFSD_DAEMON_H
#define SPINFSD_DAEMON_H

#include <semaphore.h>

#include "config.h"
#include "drivers.h"
#include "sfs_door.h"
#include "sfs_rpc.h"
#include "sfs_vhost_user.h"
#include "sfs_virtiofs.h"
#include "sfs_workers.h"

struct spinfsd;

/** One share. */
struct spinfsd_device {
	struct spinfsd *daemon;
	const struct spinfsd_device_config *config;
	const struct sfs_fs_ops *fs;
	void *fs_ctx; /* the device's, once it exists */
	struct sfs_fs_info fs_info;
	/* limits.fds and the descriptors that the driver caches, or the device's part of what the process may open */
	uint32_t fds_max, node_fds_max;
	struct sfs_device *dev;
	struct sfs_link *link;
	struct sfs_door_device *door;
	bool left; /* exit mode, and its VMM has gone */
};

struct spinfsd {
	const struct spinfsd_config *config;
	struct sfs_reactor **reactors;
	struct sfs_workers *workers;
	sem_t thread_begun; /* posted by each thread that has made itself ready for operations */
	const struct sfs_aio_ops *engine;
	char *iowq_cpus; /* as a list */
	struct spinfsd_device *devices;
	unsigned device_count; /* made so far */
	struct sfs_door *door;
	struct sfs_vhost_user *vu;
	struct sfs_rpc_server *rpc;
	uint64_t start_ns;
	bool stop; /* an orderly end was asked for */
};

/**
 * Makes the filesystems' instances of the configuration, which checks their options. 0 or -errno with @err filled: exit status 2.
 * Blocks. Undone by spinfsd_destroy().
 */
int spinfsd_create(struct spinfsd *d, const struct spinfsd_config *config, struct sfs_conf_err *err);

/** Makes and starts all the rest. 0 or -errno with a line logged: exit status 1. Blocks. */
int spinfsd_start(struct spinfsd *d);

/** Serves until SIGINT, SIGTERM (or SIGHUP), the operator's stop, or the last front end in exit mode. 0 or -errno. */
int spinfsd_run(struct spinfsd *d);

/** Undoes what was made, in order; what hangs is left to the end of the process. */
void spinfsd_destroy(struct spinfsd *d);

/** The methods of the operator's socket (operator.c); the argument is the struct spinfsd. */
extern const struct sfs_rpc_method spinfsd_methods[];
extern const size_t spinfsd_method_count;

#endif
