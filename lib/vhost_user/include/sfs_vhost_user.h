/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine's end of the transport: one thread ("spinfs-eng") that follows the commands of each device's
 * link, keeps rte_vhost attached to the private sockets, maps guest memory, and starts and stops the device's
 * queues. The only code that calls rte_vhost; it never reads a ring.
 */
#ifndef SFS_VHOST_USER_H
#define SFS_VHOST_USER_H

#include "sfs_link.h"
#include "sfs_virtiofs.h"

struct sfs_vhost_user;

/** One device and its link. Both stay the caller's and outlive the engine's end. */
struct sfs_vhost_user_device {
	struct sfs_link *link;
	struct sfs_device *dev;
};

/**
 * Starts the thread, on the CPUs of the calling one. EAL has been started (sfs_env_init()); one at a time in
 * a process. The array is copied. 0 or -errno: -EBUSY (there is one), -EINVAL (a link whose rings are not the
 * device's), -ENOMEM, -EMFILE, -EAGAIN.
 */
int sfs_vhost_user_create(const struct sfs_vhost_user_device *devs, unsigned count,
			  struct sfs_vhost_user **vu);

/**
 * Ends the thread and every session that is left (queues are stopped without a drain: abandoned). The
 * reactors still turn. Blocks. After an orderly end of the door nothing is left.
 */
void sfs_vhost_user_destroy(struct sfs_vhost_user *vu);

#endif
