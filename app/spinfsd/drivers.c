/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "drivers.h"
#ifdef SFS_WITH_FS_PASSTHROUGH
#include "sfs_passthrough.h"
#endif
#ifdef SFS_WITH_FS_MEM
#include "sfs_mem_fs.h"
#endif
#ifdef SFS_WITH_FS_NULL
#include "sfs_null.h"
#endif

static const struct sfs_fs_ops *const fs_drivers[] = {
#ifdef SFS_WITH_FS_PASSTHROUGH
    &sfs_fs_passthrough,
#endif
#ifdef SFS_WITH_FS_MEM
    &sfs_fs_mem,
#endif
#ifdef SFS_WITH_FS_NULL
    &sfs_fs_null,
#endif
};

const char *const spinfsd_fs_names[] = {
#ifdef SFS_WITH_FS_PASSTHROUGH
    "passthrough",
#endif
#ifdef SFS_WITH_FS_MEM
    "mem",
#endif
#ifdef SFS_WITH_FS_NULL
    "null",
#endif
    NULL,
};

/* In the order in which `auto` tries them. */
static const struct {
	enum spinfsd_engine id;
	const struct sfs_aio_ops *ops;
} engines[] = {
    {SPINFSD_ENGINE_IO_URING, &sfs_aio_uring},
    {SPINFSD_ENGINE_LIBAIO, &sfs_aio_libaio},
    {SPINFSD_ENGINE_WORKERS, &sfs_aio_workers},
};

const struct sfs_fs_ops *spinfsd_fs_find(const char *name)
{
	for (size_t i = 0; i < SFS_ARRAY_SIZE(fs_drivers); i++)
		if (!strcmp(fs_drivers[i]->name, name))
			return fs_drivers[i];
	return NULL;
}

int spinfsd_engine_pick(enum spinfsd_engine wanted, const struct sfs_aio_ops **engine)
{
	int rc = -ENOENT;

	for (size_t i = 0; i < SFS_ARRAY_SIZE(engines); i++) {
		if (wanted != SPINFSD_ENGINE_AUTO && wanted != engines[i].id)
			continue;
		rc = sfs_aio_probe(engines[i].ops);
		if (rc == 0) {
			if (wanted == SPINFSD_ENGINE_AUTO && i > 0)
				SFS_WARN("io.engine: this host refuses io_uring; using %s",
					 engines[i].ops->name);
			*engine = engines[i].ops;
			return 0;
		}
		if (wanted != SPINFSD_ENGINE_AUTO)
			SFS_ERROR("io.engine: this host refuses %s: %s; use auto or another engine",
				  engines[i].ops->name, strerror(-rc));
	}
	return rc;
}
