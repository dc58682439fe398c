/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "door_int.h"

#define DL_BACKLOG 16 /* VMMs that wait for the one before to leave */

static int dl_address(const char *path, struct sockaddr_un *sa)
{
	size_t len = strlen(path);

	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0 || len >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memcpy(sa->sun_path, path, len + 1);
	return 0;
}

static int dl_bind(const char *path)
{
	struct sockaddr_un sa;
	int err, fd;

	err = dl_address(path, &sa);
	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The socket's own mode is the one its file begins with: nobody else's from the first moment,
	 * whatever the umask. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int dl_listen(const char *path, int backlog)
{
	int fd = dl_bind(path);

	if (fd >= 0 && listen(fd, backlog) < 0) {
		int err = -errno;

		unlink(path);
		close(fd);
		return err;
	}
	return fd;
}

/* Removes a socket file that nobody listens on. */
static int dl_remove_stale(const char *path)
{
	struct sockaddr_un sa;
	struct stat st;
	int err, fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	err = dl_address(path, &sa);
	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	close(fd);
	if (err == 0 || err == -EAGAIN || err == -EPROTOTYPE)
		return -EADDRINUSE;
	if (err != -ECONNREFUSED)
		return err == -ENOENT ? 0 : err;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Group and mode, through a handle of the file that was bound, so that a path that is swapped meanwhile is
 * not touched. */
static int dl_permit(struct sfs_door_device *d)
{
	char self[32];
	struct stat st;
	int err = 0, fd = open(d->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	snprintf(self, sizeof(self), "%d", fd);
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISSOCK(st.st_mode))
		err = -EEXIST;
	else if (d->opts.gid != (gid_t)-1 && fchownat(fd, "", (uid_t)-1, d->opts.gid, AT_EMPTY_PATH) < 0)
		err = -errno;
	else if (fchmodat(d->door->proc_fd, self, d->opts.mode, 0) < 0)
		err = -errno;
	close(fd);
	d->path_dev = st.st_dev;
	d->path_ino = st.st_ino;
	return err;
}

static int dl_open_path(struct sfs_door_device *d)
{
	int err = dl_remove_stale(d->path);
	int fd;

	if (err < 0)
		return err;
	fd = dl_bind(d->path);
	if (fd < 0)
		return fd;
	err = dl_permit(d);
	/* Only now can anybody connect. */
	if (err == 0 && listen(fd, DL_BACKLOG) < 0)
		err = -errno;
	if (err < 0) {
		unlink(d->path);
		close(fd);
		return err;
	}
	d->listener.fd = fd;
	return 0;
}

static int dl_open_fd(struct sfs_door_device *d)
{
	int fd = d->opts.listen_fd;
	int listens = 0, domain = 0, type = 0, flags;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	if (!listens || domain != AF_UNIX || type != SOCK_STREAM)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	d->listener.fd = fd;
	return 0;
}

static const char *dl_reason(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return "another process listens there";
	case -EEXIST:
		return "it exists and is not a socket";
	case -EINVAL:
	case -ENOTSOCK:
		return "not a listening unix stream socket";
	default:
		return strerror(-err);
	}
}

int dl_open(struct sfs_door_device *d)
{
	int err = d->path ? dl_open_path(d) : dl_open_fd(d);

	if (err < 0)
		SFS_ERROR("%s: cannot listen on %s: %s", d->name, d->path ? d->path : "the descriptor passed",
			  dl_reason(err));
	return err;
}

void dl_close(struct sfs_door_device *d)
{
	struct stat st;

	if (d->listener.fd < 0)
		return;
	if (d->path && lstat(d->path, &st) == 0 && st.st_dev == d->path_dev && st.st_ino == d->path_ino)
		unlink(d->path);
	dd_source_close(&d->listener);
}
