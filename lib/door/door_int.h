/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of lib/door. */
#ifndef DOOR_INT_H
#define DOOR_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "sfs_base.h"
#include "sfs_door.h"
#include "sfs_log.h"

/* --- vhost-user on the wire (all little-endian hosts' own order, as the protocol says) --- */

#define DW_VERSION      1u
#define DW_VERSION_MASK 3u
#define DW_REPLY        (1u << 2)
#define DW_NEED_REPLY   (1u << 3)
#define DW_REGIONS_MAX  8
#define DW_PAYLOAD_MAX  4096 /* what is read at all; every message we know is much smaller */
#define DW_NO_FD        (1u << 8)

#define DW_NOT_SHARED                                                                                        \
	"guest memory is not shared with the device; start QEMU with "                                       \
	"-object memory-backend-memfd,id=mem,size=RAM,share=on -numa node,memdev=mem (RAM as in -m)"

enum dw_request {
	DW_GET_FEATURES = 1,
	DW_SET_FEATURES = 2,
	DW_SET_OWNER = 3,
	DW_RESET_OWNER = 4,
	DW_SET_MEM_TABLE = 5,
	DW_SET_VRING_NUM = 8,
	DW_SET_VRING_ADDR = 9,
	DW_SET_VRING_BASE = 10,
	DW_GET_VRING_BASE = 11,
	DW_SET_VRING_KICK = 12,
	DW_SET_VRING_CALL = 13,
	DW_SET_VRING_ERR = 14,
	DW_GET_PROTOCOL_FEATURES = 15,
	DW_SET_PROTOCOL_FEATURES = 16,
	DW_GET_QUEUE_NUM = 17,
	DW_SET_VRING_ENABLE = 18,
	DW_SET_BACKEND_REQ_FD = 21,
	DW_GET_CONFIG = 24,
	DW_SET_CONFIG = 25,
	DW_REQUESTS = 26,
};

struct dw_header {
	uint32_t request, flags, size;
};

struct dw_region {
	uint64_t guest_addr, bytes, user_addr, mmap_offset;
};

struct dw_config {
	uint32_t offset, size, flags;
	uint8_t region[256];
};

union dw_payload {
	uint64_t u64;
	struct {
		uint32_t index, num;
	} state;
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr;
	struct {
		uint32_t count, padding;
		struct dw_region regions[DW_REGIONS_MAX];
	} mem;
	struct dw_config config;
	uint8_t bytes[DW_PAYLOAD_MAX];
};

/* A message, or the part of one that has come. */
struct dw_msg {
	struct dw_header hdr;
	union dw_payload payload;
	size_t got; /* bytes so far, header included */
	int fds[DW_REGIONS_MAX];
	unsigned fd_count;
	bool fds_lost; /* more came, which the kernel dropped */
};

/**
 * Reads on. 1: a whole message is there; 0: not yet; -ECONNRESET: the peer closed; -EMSGSIZE: a payload that
 * nobody sends; or -errno of recvmsg. Never reads into the next message.
 */
int dw_receive(int fd, struct dw_msg *msg);
/** Sends a message in one piece. 0, -EAGAIN (the peer does not read), or -errno of sendmsg. */
int dw_send(int fd, const struct dw_header *hdr, const void *payload, const int *fds, unsigned fd_count);
/** Closes what @msg holds and makes it empty. For a VMM's message: dd_msg_clear(). */
void dw_clear(struct dw_msg *msg);

/* --- a device --- */

enum dd_step {
	DD_IDLE,   /* no session */
	DD_ATTACH, /* waits for the engine's rte_vhost */
	DD_READ,   /* waits for the VMM's next message */
	/* a message, in this order; those that do not apply are skipped */
	DD_ASK, /* waits for what is said of its files */
	DD_STOP,
	DD_RELAY,
	DD_REPLY,
	DD_MAP,
	DD_START,
	DD_ANSWER,
};

struct dd_ring {
	uint16_t num;
	bool addr, kicked, enabled;
	uint16_t left; /* where the last STOP left it */
	bool broken;   /* by its guest, or could not start: not started before the guest has reset it */
	bool dead;     /* was abandoned: not started again in this session */
};

enum dd_source_kind { DD_LISTENER, DD_VMM, DD_PRIVATE, DD_LINK, DD_ASIDE };

/* What an epoll event points to. */
struct dd_source {
	enum dd_source_kind kind;
	int fd; /* -1: closed */
	struct sfs_door_device *dev;
};

struct sfs_door_device {
	struct sfs_door *door;
	LIST_ENTRY(sfs_door_device) entry;
	struct sfs_door_device_opts opts;
	char *name, *path;
	dev_t path_dev;
	ino_t path_ino; /* the socket file is ours to remove as long as it is this one */
	unsigned ring_count;
	uint64_t proto_features; /* offered */
	enum sfs_door_state state;
	struct sfs_door_figures figures;
	struct dd_source listener, vmm, private, link, aside_event;
	struct da_aside *aside;
	bool accept_failed; /* and nobody has been accepted since */

	/* the session */
	uint32_t session;
	enum dd_step step;
	bool ending;       /* the VMM is gone, or has to go */
	bool failed;       /* the engine is overdue */
	bool quarantined;  /* a queue was abandoned */
	bool hinted;       /* at memory that is not shared */
	bool mapped;       /* the engine has the memory table */
	unsigned refusals; /* logged */
	uint64_t features; /* negotiated */
	struct dd_ring rings[SFS_LINK_RINGS_MAX];
	struct sfs_ring_mask running;
	struct sfs_ring_mask moved; /* rings whose base is not the one left */
	struct sfs_link_cmd cmd;    /* under way at the engine's end; op 0: none */
	bool abandoning;            /* a STOP and the ABANDON after it are under way */
	bool waits_reply;           /* of rte_vhost */
	uint64_t deadline_ns;       /* of cmd, the reply or da_ask(), or for the next accept; 0: none */
	int backend_fd;             /* for requests of ours to the VMM; -1: it gave none */
	struct dw_msg msg;          /* of the VMM */
	struct dw_msg reply;        /* of rte_vhost, or ours to the VMM */
	int result;                 /* of msg */
};

struct sfs_door {
	int epoll_fd, timer_fd, proc_fd;
	bool stopping;
	char dir[SFS_LINK_PATH_MAX];
	LIST_HEAD(, sfs_door_device) devices;
};

/* --- door.c --- */

/** Adds or re-arms a source for one event. -errno of epoll_ctl. */
int dd_watch(struct dd_source *src, int epoll_op, uint32_t events);
void dd_source_close(struct dd_source *src);
/** Empties the VMM's message; never waits for what its descriptors may be. */
void dd_msg_clear(struct sfs_door_device *d);

/* --- listen.c --- */

/** Makes the device's listening socket as the options say, logging why not. */
int dl_open(struct sfs_door_device *d);
/** Closes it and removes its file. */
void dl_close(struct sfs_door_device *d);
/** Listens on @path, mode 0600 from the beginning. fd or -errno. */
int dl_listen(const char *path, int backlog);

/* --- session.c: from accept to the end --- */

void ds_accept(struct sfs_door_device *d);
void ds_link_event(struct sfs_door_device *d);
void ds_private_event(struct sfs_door_device *d);
void ds_vmm_event(struct sfs_door_device *d);
void ds_aside_event(struct sfs_door_device *d);
void ds_deadline(struct sfs_door_device *d);
/** The VMM is gone or has to go: undoes the session. */
void ds_end(struct sfs_door_device *d);
/** Sends a command to the engine's end; its answer comes to ds_link_event(), or its deadline passes. */
void ds_command(struct sfs_door_device *d, uint32_t op, struct sfs_ring_mask rings, uint32_t flags);
/** Waits for the VMM's next message. */
void ds_read_next(struct sfs_door_device *d);
/** Tells the state, if it changed. */
void ds_state_update(struct sfs_door_device *d);

/* --- message.c: what a message may be, and what it changes --- */

/** Checks the message in d->msg and begins it. */
void dm_begin(struct sfs_door_device *d);
/** Goes on with it at d->step. */
void dm_run(struct sfs_door_device *d);
/** The files of the message in d->msg are fine, or @why not. */
void dm_asked(struct sfs_door_device *d, const char *why);
/** rte_vhost's reply is in d->reply. */
void dm_reply(struct sfs_door_device *d);
/** What is to be run and does not run. */
struct sfs_ring_mask dm_startable(const struct sfs_door_device *d);

/* --- check.c --- */

struct dm_spec {
	const char *name;
	uint16_t size_min, size_max;
	bool reply;     /* has a reply of its own */
	bool local;     /* answered here, not relayed */
	bool stop_ring; /* touches the ring it names */
	bool stop_all;  /* touches all */
	bool unmap;     /* the memory table goes */
	/** 0 or -errno with *why set. */
	int (*check)(struct sfs_door_device *d, struct dw_msg *msg, const char **why);
};

/** The row of a request; NULL: not spoken. */
const struct dm_spec *dc_spec(uint32_t request);
/** Everything that can be refused without asking anybody. 0 or -errno with *@why set. */
int dc_check(struct sfs_door_device *d, struct dw_msg *msg, const char **why);
/** The ring that a message with stop_ring names, after its check. */
unsigned dc_ring(const struct dw_msg *msg);
/** Whether @fd is of memory: memfd, tmpfs or hugetlbfs. As the next one, never waits for a server that keeps its file. */
bool dc_is_memory(int fd);
/** Whether notifications may go through @fd: writing to it and closing it need no file system. */
bool dc_is_notifier(const struct sfs_door_device *d, int fd);

/* --- aside.c: calls that may wait for a server, on a thread of the device --- */

struct da_aside;

/** 0, -ENOMEM or -EMFILE. The thread is made later. */
int da_create(struct da_aside **aside);
/** Does not wait: a thread that is in a call frees itself when it comes back. */
void da_destroy(struct da_aside *a);
/** Readable when da_answer() has something. */
int da_event_fd(const struct da_aside *a);
/** Asks whether guest memory may lie in these files, in place of any question before. They are closed by da_close() only. 0 or -EAGAIN: no thread. */
int da_ask(struct da_aside *a, const int *fds, unsigned count);
/** Whether the last question has been answered, once: *@why is NULL where it may. */
bool da_answer(struct da_aside *a, const char **why);
/** Closes @fd when its time comes. */
void da_close(struct da_aside *a, int fd);
/** Whether there are so many to close that the next message's might be too many. */
bool da_full(struct da_aside *a);

#endif
