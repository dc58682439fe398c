/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front door: accepts VMMs, checks every vhost-user message, and relays it to the engine's rte_vhost over
 * a private socket, with the queues that the message touches stopped around it. One thread drives all devices
 * by sfs_door_run_once(); no device can make it block, and a VMM that stalls stalls its own device only.
 *
 * All functions are for that one thread. Callbacks come from within sfs_door_run_once() and must not block.
 */
#ifndef SFS_DOOR_H
#define SFS_DOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sfs_link.h"

struct sfs_door;
struct sfs_door_device;

enum sfs_door_state {
	SFS_DOOR_LISTENING, /* no VMM; also after the last one in exit mode, and after sfs_door_stop() */
	SFS_DOOR_CONNECTED, /* a VMM is here, no queue runs */
	SFS_DOOR_RUNNING,   /* at least one queue runs */
	SFS_DOOR_QUIESCING, /* queues are being stopped, or the session is being ended */
	SFS_DOOR_BROKEN, /* a queue broke or would not stop: this session is spoilt, the next VMM is served */
	SFS_DOOR_FAILED, /* the engine does not answer; nobody is served until it does */
};

/** "listening", "connected", ... as the operator's figures spell it. Any thread. */
const char *sfs_door_state_name(enum sfs_door_state state);

struct sfs_door_device_opts {
	const char *name;         /* for log lines; copied */
	const char *socket_path;  /* where to listen; copied. NULL: listen_fd */
	int listen_fd;            /* an AF_UNIX stream socket that listens; the door's own after success */
	gid_t gid;                /* group of the socket file, (gid_t)-1: as created. Not with listen_fd */
	mode_t mode;              /* its permission bits */
	bool exit_on_disconnect;  /* do not listen again after the first VMM */
	unsigned ring_size_max;   /* power of two, 2 to 32768 */
	unsigned stop_timeout_ms; /* for a queue to stop, and for the engine to answer anything else */
	struct sfs_link
	    *link; /* to the engine's end; the caller's, outlives the door. Gives the number of rings */

	/** Bytes of virtio_fs_config. NULL: no tag is known, CONFIG is not offered. Never fails: clips and
	 * zero-fills. */
	void (*config_read)(void *ctx, uint32_t offset, void *buf, uint32_t bytes);
	/** The device's state changed. May be NULL. */
	void (*on_state)(void *ctx, enum sfs_door_state state);
	/** The VMM has left and all of its session is undone; now listening again, unless exit_on_disconnect.
	 * May be NULL. */
	void (*on_disconnect)(void *ctx);
	void *ctx;
};

struct sfs_door_figures {
	uint64_t sessions;    /* VMMs accepted */
	uint64_t messages;    /* relayed or answered */
	uint64_t refused;     /* messages refused */
	uint64_t quarantined; /* sessions in which a queue had to be abandoned */
};

/**
 * Makes a door without devices, and a directory of mode 0700 for the private sockets in @runtime_dir. 0 or
 * -errno: what mkdtemp gave, -ENAMETOOLONG where no socket path would fit, -ENOMEM, -EMFILE. May block (file
 * system).
 */
int sfs_door_create(const char *runtime_dir, struct sfs_door **door);

/** Frees door and devices at once, and removes its sockets and its directory. sfs_door_stop() first, for an
 * orderly end. */
void sfs_door_destroy(struct sfs_door *door);

/**
 * Adds a device and listens. 0 or -errno, with a line logged that says why: -EADDRINUSE (a live daemon
 * listens on the path), -EEXIST (the path is something other than a socket), -ENAMETOOLONG, -EINVAL (options;
 * listen_fd does not listen), or what socket, bind, chown gave. A stale socket file is removed first. May
 * block (file system). The door owns @dev.
 */
int sfs_door_add(struct sfs_door *door, const struct sfs_door_device_opts *opts,
		 struct sfs_door_device **dev);

/** Readable when sfs_door_run_once() has something to do, deadlines included: for the caller's own epoll. */
int sfs_door_fd(const struct sfs_door *door);

/** Handles what is due; waits for it up to @timeout_ms (-1: for ever, 0: not at all). 0 or -errno of
 * epoll_wait, not -EINTR. */
int sfs_door_run_once(struct sfs_door *door, int timeout_ms);

/**
 * Begins an orderly end: stops listening, stops queues, ends sessions. Go on with sfs_door_run_once() until
 * sfs_door_stopped(); that takes at most three times stop_timeout_ms.
 */
void sfs_door_stop(struct sfs_door *door);
bool sfs_door_stopped(const struct sfs_door *door);

enum sfs_door_state sfs_door_device_state(const struct sfs_door_device *dev);
void sfs_door_device_figures(const struct sfs_door_device *dev, struct sfs_door_figures *fig);

#endif
