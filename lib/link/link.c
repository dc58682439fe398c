/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_link.h"

#define LK_DIR_MAX 80 /* leaves room for "/<device>-<session>" in a socket address */

/*
 * What the two sides share. Counters only grow; entry n of a queue is at n % SFS_LINK_DEPTH. Only the side
 * named in the comment writes a field.
 */
struct lk_shared {
	char dir[LK_DIR_MAX];                  /* door */
	SFS_ALIGNED _Atomic uint32_t cmd_sent; /* door */
	struct sfs_link_cmd cmd[SFS_LINK_DEPTH];
	SFS_ALIGNED _Atomic uint32_t ack_sent; /* engine */
	struct sfs_link_ack ack[SFS_LINK_DEPTH];
	_Atomic uint64_t broken[2]; /* engine sets, door clears */
};

struct sfs_link {
	struct lk_shared *shared;
	unsigned index, ring_count;
	int door_fd, engine_fd;
	uint32_t
	    ack_taken; /* the door's own: answers it has seen, which is also the count of answered commands */
	uint32_t cmd_taken; /* the engine's own */
};

static void lk_wake(int fd)
{
	/* Only a counter at its limit makes this fail, and then the reader is awake anyway. */
	if (eventfd_write(fd, 1) < 0)
		assert(errno == EAGAIN);
}

static void lk_clear(int fd)
{
	eventfd_t val;

	if (eventfd_read(fd, &val) < 0)
		assert(errno == EAGAIN);
}

int sfs_link_create(unsigned index, unsigned ring_count, struct sfs_link **link)
{
	struct sfs_link *l;
	int memfd, err;

	if (ring_count == 0 || ring_count > SFS_LINK_RINGS_MAX)
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->index = index;
	l->ring_count = ring_count;
	l->door_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l->engine_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	memfd = memfd_create("sfs-link", MFD_CLOEXEC);
	if (l->door_fd < 0 || l->engine_fd < 0 || memfd < 0 || ftruncate(memfd, sizeof(*l->shared)) < 0) {
		err = -errno;
		goto fail;
	}
	l->shared = mmap(NULL, sizeof(*l->shared), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (l->shared == MAP_FAILED) {
		err = -errno;
		l->shared = NULL;
		goto fail;
	}
	close(memfd);
	*link = l;
	return 0;
fail:
	if (memfd >= 0)
		close(memfd);
	sfs_link_destroy(l);
	return err;
}

void sfs_link_destroy(struct sfs_link *l)
{
	if (!l)
		return;
	if (l->shared)
		munmap(l->shared, sizeof(*l->shared));
	if (l->door_fd >= 0)
		close(l->door_fd);
	if (l->engine_fd >= 0)
		close(l->engine_fd);
	free(l);
}

unsigned sfs_link_ring_count(const struct sfs_link *l)
{
	return l->ring_count;
}

int sfs_link_dir_set(struct sfs_link *l, const char *dir)
{
	size_t len = strlen(dir);

	if (len >= LK_DIR_MAX)
		return -ENAMETOOLONG;
	memcpy(l->shared->dir, dir, len + 1);
	return 0;
}

int sfs_link_path(const struct sfs_link *l, uint32_t session, char path[SFS_LINK_PATH_MAX])
{
	int len = snprintf(path, SFS_LINK_PATH_MAX, "%.*s/%u-%u", LK_DIR_MAX - 1, l->shared->dir, l->index,
			   session);

	return len > 0 && len < SFS_LINK_PATH_MAX && path[0] == '/' ? 0 : -EINVAL;
}

int sfs_link_door_fd(const struct sfs_link *l)
{
	return l->door_fd;
}

int sfs_link_send(struct sfs_link *l, const struct sfs_link_cmd *cmd)
{
	uint32_t sent = atomic_load_explicit(&l->shared->cmd_sent, memory_order_relaxed);

	if (sent - l->ack_taken >= SFS_LINK_DEPTH)
		return -EAGAIN;
	l->shared->cmd[sent % SFS_LINK_DEPTH] = *cmd;
	atomic_store_explicit(&l->shared->cmd_sent, sent + 1, memory_order_release);
	lk_wake(l->engine_fd);
	return 0;
}

void sfs_link_door_clear(struct sfs_link *l)
{
	lk_clear(l->door_fd);
}

int sfs_link_receive(struct sfs_link *l, struct sfs_link_ack *ack)
{
	uint32_t acked = atomic_load_explicit(&l->shared->ack_sent, memory_order_acquire);

	if (acked == l->ack_taken)
		return 0;
	*ack = l->shared->ack[l->ack_taken % SFS_LINK_DEPTH];
	l->ack_taken++;
	return 1;
}

struct sfs_ring_mask sfs_link_broken_take(struct sfs_link *l)
{
	struct sfs_ring_mask mask;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(mask.bits); i++)
		mask.bits[i] = atomic_exchange(&l->shared->broken[i], 0);
	return mask;
}

int sfs_link_engine_fd(const struct sfs_link *l)
{
	return l->engine_fd;
}

void sfs_link_engine_clear(struct sfs_link *l)
{
	lk_clear(l->engine_fd);
}

int sfs_link_next(struct sfs_link *l, struct sfs_link_cmd *cmd)
{
	uint32_t sent = atomic_load_explicit(&l->shared->cmd_sent, memory_order_acquire);

	if (sent == l->cmd_taken)
		return 0;
	*cmd = l->shared->cmd[l->cmd_taken % SFS_LINK_DEPTH];
	l->cmd_taken++;
	return 1;
}

void sfs_link_answer(struct sfs_link *l, const struct sfs_link_ack *ack)
{
	uint32_t acked = atomic_load_explicit(&l->shared->ack_sent, memory_order_relaxed);

	l->shared->ack[acked % SFS_LINK_DEPTH] = *ack;
	atomic_store_explicit(&l->shared->ack_sent, acked + 1, memory_order_release);
	lk_wake(l->door_fd);
}

void sfs_link_broken_post(struct sfs_link *l, unsigned idx)
{
	atomic_fetch_or(&l->shared->broken[idx >> 6], 1ull << (idx & 63));
	lk_wake(l->door_fd);
}
