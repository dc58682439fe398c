/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may have to wait for a server that a VMM's user may run: asking a descriptor for its filesystem, and closing it (FUSE waits
 * for the answer to FLUSH). A thread a device, so that a VMM holds up nobody but itself, made when it is first needed: descriptors
 * of usual VMMs are not in question. It does one thing after the other, questions first: what is being closed has been
 * asked, whoever still waits for the answer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "door_int.h"
#include "sfs_store.h"

#define DA_CLOSING_MAX 64

struct da_aside {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	pthread_t thread;
	int event_fd;
	bool started;
	bool busy;  /* in a call */
	bool quit;  /* nobody asks any more; ends when all is closed */
	bool alone; /* and frees itself then */
	int closing[DA_CLOSING_MAX];
	unsigned closing_count;
	int asked[DW_REGIONS_MAX]; /* the question that waits */
	unsigned asked_count;      /* 0: none */
	unsigned question;         /* counts them */
	bool answered;             /* the last one */
	const char *why;
};

static const char *da_judge(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct statfs st;

		if (fstatfs(fds[i], &st) < 0)
			return "guest memory on a filesystem that does not say which one it is";
		/* An overlay, as the root of a container is one, is taken at its word. */
		if (sfs_store_of((uint32_t)st.f_type) == SFS_STORE_REMOTE)
			return "guest memory in a file that a server may keep (FUSE, network); "
			       "use memfd, /dev/shm, hugepages or a local disk";
	}
	return NULL;
}

static void da_free(struct da_aside *a)
{
	if (a->event_fd >= 0)
		close(a->event_fd);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->cond);
	free(a);
}

static void da_answer_question(struct da_aside *a)
{
	int fds[DW_REGIONS_MAX];
	unsigned count = a->asked_count, question = a->question;
	const char *why;

	memcpy(fds, a->asked, count * sizeof(fds[0]));
	a->asked_count = 0;
	pthread_mutex_unlock(&a->lock);
	why = da_judge(fds, count);
	pthread_mutex_lock(&a->lock);
	if (a->question != question)
		return;
	a->why = why;
	a->answered = true;
	if (eventfd_write(a->event_fd, 1) < 0)
		assert(errno == EAGAIN);
}

static void da_close_one(struct da_aside *a)
{
	int fd = a->closing[--a->closing_count];

	pthread_mutex_unlock(&a->lock);
	close(fd);
	pthread_mutex_lock(&a->lock);
}

static void *da_main(void *arg)
{
	struct da_aside *a = arg;
	bool alone;

	pthread_mutex_lock(&a->lock);
	while (!a->quit || a->closing_count) {
		a->busy = true;
		if (a->asked_count)
			da_answer_question(a);
		else if (a->closing_count)
			da_close_one(a);
		a->busy = false;
		if (!a->quit && !a->asked_count && !a->closing_count)
			pthread_cond_wait(&a->cond, &a->lock);
	}
	alone = a->alone;
	pthread_mutex_unlock(&a->lock);
	if (alone)
		da_free(a);
	return NULL;
}

int da_create(struct da_aside **out)
{
	struct da_aside *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->cond, NULL);
	a->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (a->event_fd < 0) {
		int err = -errno;

		da_free(a);
		return err;
	}
	*out = a;
	return 0;
}

void da_destroy(struct da_aside *a)
{
	bool join, ours;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->quit = true;
	a->asked_count = 0;
	a->question++;
	a->alone = a->started && (a->busy || a->closing_count);
	join = a->started && !a->alone;
	ours = !a->alone;
	if (a->alone)
		pthread_detach(a->thread);
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->lock);
	if (join)
		pthread_join(a->thread, NULL);
	if (ours)
		da_free(a);
}

int da_event_fd(const struct da_aside *a)
{
	return a->event_fd;
}

/* Under the lock. */
static int da_start(struct da_aside *a)
{
	int rc = a->started ? 0 : -pthread_create(&a->thread, NULL, da_main, a);

	if (rc == 0 && !a->started)
		pthread_setname_np(a->thread, "spinfs-aside");
	a->started |= rc == 0;
	pthread_cond_signal(&a->cond);
	return rc;
}

int da_ask(struct da_aside *a, const int *fds, unsigned count)
{
	int rc;

	pthread_mutex_lock(&a->lock);
	memcpy(a->asked, fds, count * sizeof(fds[0]));
	a->asked_count = count;
	a->question++;
	a->answered = false;
	rc = da_start(a);
	if (rc < 0)
		a->asked_count = 0;
	pthread_mutex_unlock(&a->lock);
	return rc;
}

bool da_answer(struct da_aside *a, const char **why)
{
	bool answered;
	eventfd_t val;

	pthread_mutex_lock(&a->lock);
	if (eventfd_read(a->event_fd, &val) < 0)
		assert(errno == EAGAIN);
	answered = a->answered;
	a->answered = false;
	*why = a->why;
	pthread_mutex_unlock(&a->lock);
	return answered;
}

void da_close(struct da_aside *a, int fd)
{
	bool taken;

	pthread_mutex_lock(&a->lock);
	taken = a->closing_count < DA_CLOSING_MAX;
	if (taken) {
		a->closing[a->closing_count++] = fd;
		if (da_start(a) < 0) {
			a->closing_count--;
			taken = false;
		}
	}
	pthread_mutex_unlock(&a->lock);
	/* Without a thread there is no other way. */
	if (!taken)
		close(fd);
}

bool da_full(struct da_aside *a)
{
	bool full;

	pthread_mutex_lock(&a->lock);
	full = a->closing_count > DA_CLOSING_MAX - DW_REGIONS_MAX;
	pthread_mutex_unlock(&a->lock);
	return full;
}
