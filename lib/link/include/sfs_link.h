/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the front door and the engine's end of one device: commands one way, acknowledgements the other, in
 * a mapping of plain data with an eventfd each way. Neither side ever waits inside a call. The two sides are
 * two threads today and may be two processes later: nothing in the mapping is a pointer, and each side copies
 * what it reads, then checks it.
 *
 * The door sends, the engine answers each command once and in order. At most SFS_LINK_DEPTH commands are
 * under way; the only one that may be sent while another is unanswered is ABANDON, which ends the STOP before
 * it.
 */
#ifndef SFS_LINK_H
#define SFS_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define SFS_LINK_RINGS_MAX 65  /* hiprio and 64 request rings */
#define SFS_LINK_PATH_MAX  108 /* sockaddr_un.sun_path */
#define SFS_LINK_DEPTH     4

/* What a device offers; the door masks by it and the engine registers it. Numbers of virtio 1.2 and
 * vhost-user. */
#define SFS_LINK_F_PROTOCOL    (1ull << 30) /* VHOST_USER_F_PROTOCOL_FEATURES */
#define SFS_LINK_FEATURES      ((1ull << 28) | (1ull << 29) | SFS_LINK_F_PROTOCOL | (1ull << 32))
#define SFS_LINK_P_MQ          (1ull << 0)
#define SFS_LINK_P_REPLY_ACK   (1ull << 3)
#define SFS_LINK_P_CONFIG      (1ull << 9)
#define SFS_LINK_P_BACKEND_REQ (1ull << 5)
#define SFS_LINK_PROTO_FEATURES                                                                              \
	(SFS_LINK_P_MQ | SFS_LINK_P_REPLY_ACK | SFS_LINK_P_BACKEND_REQ | SFS_LINK_P_CONFIG)

/** A set of rings. */
struct sfs_ring_mask {
	uint64_t bits[2];
};

static inline void sfs_ring_mask_set(struct sfs_ring_mask *m, unsigned idx)
{
	m->bits[idx >> 6] |= 1ull << (idx & 63);
}

static inline void sfs_ring_mask_clear(struct sfs_ring_mask *m, unsigned idx)
{
	m->bits[idx >> 6] &= ~(1ull << (idx & 63));
}

static inline bool sfs_ring_mask_test(const struct sfs_ring_mask *m, unsigned idx)
{
	return m->bits[idx >> 6] >> (idx & 63) & 1;
}

static inline bool sfs_ring_mask_any(const struct sfs_ring_mask *m)
{
	return m->bits[0] | m->bits[1];
}

enum sfs_link_op {
	SFS_LINK_ATTACH = 1, /* connect rte_vhost to the private socket of `session` */
	SFS_LINK_MAP,        /* a memory table was set: map it, too */
	SFS_LINK_START,      /* run `rings`; in the answer `rings` are those that could not be started */
	SFS_LINK_STOP,       /* stop and drain `rings`; in the answer `rings` are those that stopped, with
				last_avail */
	SFS_LINK_ABANDON,    /* give up on what the STOP before still waits for */
	SFS_LINK_DETACH,     /* the session is over: disconnect rte_vhost, reset the device; no ring runs */
};

#define SFS_LINK_UNMAP                                                                                       \
	1u /* flag of STOP: once stopped, give the memory table back; it is about to change                  \
	    */

struct sfs_link_cmd {
	uint32_t op, session, flags, pad;
	struct sfs_ring_mask rings;
	struct sfs_ring_mask
	    moved; /* START: rings that the VMM has given another base than their last STOP left */
};

struct sfs_link_ack {
	uint32_t op;
	int32_t result; /* 0 or -errno */
	struct sfs_ring_mask rings;
	uint16_t last_avail[SFS_LINK_RINGS_MAX];
};

struct sfs_link;

/**
 * Makes the link of device number @index with @ring_count rings (1 to SFS_LINK_RINGS_MAX). 0 or -errno:
 * -EINVAL, or what memfd_create, mmap and eventfd gave. The caller owns it and outlives both ends. Any
 * thread.
 */
int sfs_link_create(unsigned index, unsigned ring_count, struct sfs_link **link);
void sfs_link_destroy(struct sfs_link *link);

unsigned sfs_link_ring_count(const struct sfs_link *link);

/** Names the directory of the private sockets. The door, before its first command. -ENAMETOOLONG or 0. */
int sfs_link_dir_set(struct sfs_link *link, const char *dir);

/** The private socket's path of @session, from the directory, the device's number and the session's. 0 or
 * -EINVAL. Any thread. */
int sfs_link_path(const struct sfs_link *link, uint32_t session, char path[SFS_LINK_PATH_MAX]);

/* --- the door's end; its thread only; nothing here blocks --- */

/** Readable when an answer or a notice is there. Owned by the link. */
int sfs_link_door_fd(const struct sfs_link *link);
/** Sends a command (copied). 0, or -EAGAIN where SFS_LINK_DEPTH are unanswered. */
int sfs_link_send(struct sfs_link *link, const struct sfs_link_cmd *cmd);
/** Clears the door's fd; before sfs_link_receive() and sfs_link_broken_take(). */
void sfs_link_door_clear(struct sfs_link *link);
/** The next answer, copied: 1, or 0 where there is none. */
int sfs_link_receive(struct sfs_link *link, struct sfs_link_ack *ack);
/** Rings that broke since the last call. */
struct sfs_ring_mask sfs_link_broken_take(struct sfs_link *link);

/* --- the engine's end; its thread only; nothing here blocks --- */

/** Readable when a command is there. Owned by the link. */
int sfs_link_engine_fd(const struct sfs_link *link);
void sfs_link_engine_clear(struct sfs_link *link);
/** The next command, copied: 1, or 0 where there is none. It stays unanswered until sfs_link_answer(). */
int sfs_link_next(struct sfs_link *link, struct sfs_link_cmd *cmd);
/** Answers the oldest unanswered command. */
void sfs_link_answer(struct sfs_link *link, const struct sfs_link_ack *ack);
/** Notice: ring @idx has stopped by itself, for good. */
void sfs_link_broken_post(struct sfs_link *link, unsigned idx);

#endif
