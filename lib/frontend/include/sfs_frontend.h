/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front end of vhost-user (the role of the VMM) and the memory of a guest, for tests and load generators.
 * Nothing of the daemon is used here. sfs_fe_ring.h adds the guest's side of a virtqueue, sfs_fe_guest.h FUSE
 * requests.
 *
 * One thread at a time per object. Functions return >= 0 or -errno; those that wait for the daemon give up
 * with -ETIMEDOUT after sfs_fe.timeout_ms, and return -ECONNRESET where the daemon closed the connection.
 */
#ifndef SFS_FRONTEND_H
#define SFS_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- guest memory --- */

#define SFS_FE_REGIONS_MAX 8

struct sfs_fe_region {
	uint64_t gpa; /* where the guest sees it */
	uint64_t bytes;
	uint64_t mmap_offset; /* of the region in its file */
	uint8_t *hva;         /* where we see it */
	int fd;               /* memfd, mmap_offset + bytes long */
};

struct sfs_fe_mem {
	unsigned region_count;
	struct sfs_fe_region region[SFS_FE_REGIONS_MAX];
	unsigned alloc_region; /* what is allocated next comes from here... */
	uint64_t alloc_offset; /* ... at this offset */
};

struct sfs_fe_mem_opts {
	unsigned region_count; /* 1 to SFS_FE_REGIONS_MAX; 0 means 1 */
	uint64_t region_bytes; /* each; rounded up to the page size */
	uint64_t gpa_base;     /* of the first region; any multiple of 4096 */
	uint64_t gpa_gap;      /* between regions; 0: adjacent for the guest, apart for the daemon */
	uint64_t mmap_offset;  /* of each region in its file; any multiple of 4096 */
	bool hugepages;        /* 2 MiB pages of the host */
};

/**
 * Makes memfd files and maps them. 0, -EINVAL (counts, alignment), or what memfd_create, ftruncate and mmap
 * gave
 * (-ENOMEM, -EMFILE). @mem belongs to the caller, who ends it with sfs_fe_mem_fini().
 */
int sfs_fe_mem_init(struct sfs_fe_mem *mem, const struct sfs_fe_mem_opts *opts);

/** Unmaps and closes everything; what was allocated is gone. */
void sfs_fe_mem_fini(struct sfs_fe_mem *mem);

/**
 * Takes @bytes at an alignment of @align (power of two) from one region; zeroed when taken for the first
 * time. NULL where no region has room. Nothing is given back one by one: keep alloc_region and alloc_offset
 * and set them back.
 */
void *sfs_fe_mem_alloc(struct sfs_fe_mem *mem, uint64_t bytes, uint64_t align);

/** Guest address of @hva, which lies in guest memory; UINT64_MAX where it does not. */
uint64_t sfs_fe_mem_gpa(const struct sfs_fe_mem *mem, const void *hva);

/** Our address of [@gpa, @gpa + @bytes); NULL where it is not inside one region. */
void *sfs_fe_mem_hva(const struct sfs_fe_mem *mem, uint64_t gpa, uint64_t bytes);

/* --- vhost-user --- */

enum sfs_fe_id {
	SFS_FE_GET_FEATURES = 1,
	SFS_FE_SET_FEATURES = 2,
	SFS_FE_SET_OWNER = 3,
	SFS_FE_RESET_OWNER = 4,
	SFS_FE_SET_MEM_TABLE = 5,
	SFS_FE_SET_LOG_BASE = 6,
	SFS_FE_SET_LOG_FD = 7,
	SFS_FE_SET_VRING_NUM = 8,
	SFS_FE_SET_VRING_ADDR = 9,
	SFS_FE_SET_VRING_BASE = 10,
	SFS_FE_GET_VRING_BASE = 11,
	SFS_FE_SET_VRING_KICK = 12,
	SFS_FE_SET_VRING_CALL = 13,
	SFS_FE_SET_VRING_ERR = 14,
	SFS_FE_GET_PROTOCOL_FEATURES = 15,
	SFS_FE_SET_PROTOCOL_FEATURES = 16,
	SFS_FE_GET_QUEUE_NUM = 17,
	SFS_FE_SET_VRING_ENABLE = 18,
	SFS_FE_SET_BACKEND_REQ_FD = 21,
	SFS_FE_GET_CONFIG = 24,
	SFS_FE_SET_CONFIG = 25,
	SFS_FE_GET_INFLIGHT_FD = 31,
	SFS_FE_SET_INFLIGHT_FD = 32,
	SFS_FE_RESET_DEVICE = 34,
	SFS_FE_GET_MAX_MEM_SLOTS = 36,
	SFS_FE_ADD_MEM_REG = 37,
	SFS_FE_REM_MEM_REG = 38,
};

/* Virtio feature bits. */
#define SFS_FE_F_INDIRECT_DESC     (1ull << 28)
#define SFS_FE_F_EVENT_IDX         (1ull << 29)
#define SFS_FE_F_PROTOCOL_FEATURES (1ull << 30)
#define SFS_FE_F_VERSION_1         (1ull << 32)

/* Protocol feature bits. */
#define SFS_FE_P_MQ        (1ull << 0)
#define SFS_FE_P_REPLY_ACK (1ull << 3)
#define SFS_FE_P_CONFIG    (1ull << 9)

/* Message flags. */
#define SFS_FE_VERSION    1u
#define SFS_FE_REPLY      (1u << 2)
#define SFS_FE_NEED_REPLY (1u << 3)

#define SFS_FE_PAYLOAD_MAX 4096
#define SFS_FE_FDS_MAX     32

struct sfs_fe_msg {
	uint32_t id, flags, size; /* as on the wire */
	union {
		uint8_t bytes[SFS_FE_PAYLOAD_MAX];
		uint64_t u64;
	} payload;
	int fds[SFS_FE_FDS_MAX]; /* received ones belong to the caller */
	unsigned fd_count;
};

struct sfs_fe {
	int fd;              /* the socket, for whatever a test wants to do with it */
	unsigned timeout_ms; /* for answers; 10,000 at first */
	bool ack;            /* ask for an acknowledgement of each SET; set by set_protocol_features */
};

/** Connects to @path and tries again until @wait_ms have passed. 0, or the last -errno of connect(). */
int sfs_fe_connect(struct sfs_fe *fe, const char *path, unsigned wait_ms);

/** Takes over the connected socket @fd. */
void sfs_fe_adopt(struct sfs_fe *fe, int fd);

/** Closes the socket; twice is fine. */
void sfs_fe_close(struct sfs_fe *fe);

/**
 * Sends any bytes as one message: the header says @id, @flags and @size, then @bytes bytes of @payload follow
 * (they need not agree), with @fd_count (at most SFS_FE_FDS_MAX) descriptors, which stay the caller's. 0 or
 * what sendmsg() gave.
 */
int sfs_fe_send_raw(struct sfs_fe *fe, uint32_t id, uint32_t flags, uint32_t size, const void *payload,
		    size_t bytes, const int *fds, unsigned fd_count);

/** Waits for one message. 0, -ETIMEDOUT, -ECONNRESET, -EMSGSIZE (payload too large), -EPROTO (cut short). */
int sfs_fe_recv(struct sfs_fe *fe, struct sfs_fe_msg *msg);

/** Waits until the daemon has closed the connection, dropping what it still says. 0 or -ETIMEDOUT. */
int sfs_fe_wait_hangup(struct sfs_fe *fe);

/**
 * Sends a SET with its payload and fds (the caller's) and, with fe->ack, waits for the acknowledgement. 0,
 * -EREMOTEIO (refused), -EPROTO (the answer is none), -ECONNRESET, -ETIMEDOUT.
 */
int sfs_fe_set(struct sfs_fe *fe, uint32_t id, const void *payload, size_t bytes, const int *fds,
	       unsigned fd_count);

/** Sends a GET with a payload and takes the payload of the answer, which must be @reply_bytes long. Errors as
 * sfs_fe_set(). */
int sfs_fe_get(struct sfs_fe *fe, uint32_t id, const void *payload, size_t bytes, void *reply,
	       size_t reply_bytes);

int sfs_fe_get_features(struct sfs_fe *fe, uint64_t *features);
int sfs_fe_set_features(struct sfs_fe *fe, uint64_t features);
int sfs_fe_get_protocol_features(struct sfs_fe *fe, uint64_t *features);
/** Also turns acknowledgements on where @features has SFS_FE_P_REPLY_ACK. */
int sfs_fe_set_protocol_features(struct sfs_fe *fe, uint64_t features);
int sfs_fe_set_owner(struct sfs_fe *fe);
int sfs_fe_get_queue_num(struct sfs_fe *fe, uint64_t *count);
int sfs_fe_set_mem_table(struct sfs_fe *fe, const struct sfs_fe_mem *mem);
/** @bytes at most 256. */
int sfs_fe_get_config(struct sfs_fe *fe, uint32_t offset, void *config, uint32_t bytes);
int sfs_fe_set_vring_num(struct sfs_fe *fe, unsigned idx, uint32_t size);
int sfs_fe_set_vring_base(struct sfs_fe *fe, unsigned idx, uint32_t base);
/** Stops the ring and returns where it stands. */
int sfs_fe_get_vring_base(struct sfs_fe *fe, unsigned idx, uint32_t *base);
/** Addresses are ours (hva), as vhost-user wants them. */
int sfs_fe_set_vring_addr(struct sfs_fe *fe, unsigned idx, const void *desc, const void *avail,
			  const void *used);
/** @fd -1: none (the daemon is to poll). */
int sfs_fe_set_vring_kick(struct sfs_fe *fe, unsigned idx, int fd);
int sfs_fe_set_vring_call(struct sfs_fe *fe, unsigned idx, int fd);
int sfs_fe_set_vring_enable(struct sfs_fe *fe, unsigned idx, bool enable);

#endif
