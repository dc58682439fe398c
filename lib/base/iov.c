/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdint.h>
#include <string.h>

#include "sfs_iov.h"

enum copy_dir { TO_BUF, FROM_BUF };

static size_t iov_copy(const struct iovec *iov, unsigned cnt, size_t off, char *buf, size_t len,
		       enum copy_dir dir)
{
	size_t done = 0;

	for (unsigned i = 0; i < cnt && done < len; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		size_t n = iov[i].iov_len - off;
		char *seg = (char *)iov[i].iov_base + off;

		if (n > len - done)
			n = len - done;
		if (dir == TO_BUF)
			memcpy(buf + done, seg, n);
		else
			memcpy(seg, buf + done, n);
		done += n;
		off = 0;
	}
	return done;
}

size_t sfs_iov_to_buf(const struct iovec *iov, unsigned cnt, size_t off, void *dst, size_t len)
{
	return iov_copy(iov, cnt, off, dst, len, TO_BUF);
}

size_t sfs_iov_from_buf(const struct iovec *iov, unsigned cnt, size_t off, const void *src, size_t len)
{
	return iov_copy(iov, cnt, off, (char *)(uintptr_t)src, len, FROM_BUF);
}

size_t sfs_iov_bytes(const struct iovec *iov, unsigned cnt)
{
	size_t n = 0;

	for (unsigned i = 0; i < cnt; i++)
		n += iov[i].iov_len;
	return n;
}

void sfs_iov_advance(struct iovec **iov, unsigned *cnt, size_t len)
{
	while (*cnt && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*cnt)--;
	}
	if (*cnt && len) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

unsigned sfs_iov_cut(struct iovec *iov, unsigned cnt, size_t len)
{
	for (unsigned i = 0; i < cnt; i++) {
		if (iov[i].iov_len >= len) {
			iov[i].iov_len = len;
			return len ? i + 1 : i;
		}
		len -= iov[i].iov_len;
	}
	return cnt;
}
