/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arrays of segments. The arrays are the daemon's own, what they point to may be guest memory: it is copied
 * from or to once and never interpreted here.
 */
#ifndef SFS_IOV_H
#define SFS_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/** Copies up to @len bytes, starting @off bytes into the segments, to @dst. Returns the number copied. */
size_t sfs_iov_to_buf(const struct iovec *iov, unsigned cnt, size_t off, void *dst, size_t len);

/** Copies up to @len bytes of @src to the segments, starting @off bytes into them. Returns the number copied. */
size_t sfs_iov_from_buf(const struct iovec *iov, unsigned cnt, size_t off, const void *src, size_t len);

/** Total bytes of the segments. */
size_t sfs_iov_bytes(const struct iovec *iov, unsigned cnt);

/** Drops the first @len bytes: moves *@iov and *@cnt on and shortens the first segment that stays, in place. */
void sfs_iov_advance(struct iovec **iov, unsigned *cnt, size_t len);

/** Cuts the segments to @len bytes in all, in place; returns the number of segments that stay. */
unsigned sfs_iov_cut(struct iovec *iov, unsigned cnt, size_t len);

#endif
