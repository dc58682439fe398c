/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bugs on purpose, for the simulation to find: in builds with -Dplanted_bugs=true the one that SPINFS_PLANT names is
 * there. In all others there is no trace of them.
 */
#ifndef PLANT_H
#define PLANT_H

#include <stdbool.h>

#ifdef SPINFS_PLANTED_BUGS
#include <stdlib.h>
#include <string.h>

static inline bool sfs_plant(const char *name)
{
	const char *planted = getenv("SPINFS_PLANT");

	return planted && strcmp(planted, name) == 0;
}
#else
#define sfs_plant(name) false
#endif

#endif
