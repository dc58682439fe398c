/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of extended attributes, translated between guest and host by rules in virtiofsd's syntax. A map is constant once parsed and may
 * be used by any thread; nothing here blocks.
 */
#ifndef XATTRMAP_H
#define XATTRMAP_H

#include <stdbool.h>

#define PT_XATTR_NAME_BYTES 256 /* XATTR_NAME_MAX and the NUL */

/* Names that mean something to the kernel. */
#define PT_ACL_ACCESS  "system.posix_acl_access"
#define PT_ACL_DEFAULT "system.posix_acl_default"
#define PT_CAPABILITY  "security.capability"
#define PT_SELINUX     "security.selinux"

struct pt_xattrmap;

/** Parses @text. 0 and the caller's *@map, or -EINVAL with *@why and *@at, the offset in the text, or -ENOMEM. */
int pt_xattrmap_parse(const char *text, struct pt_xattrmap **map, const char **why, unsigned *at);
void pt_xattrmap_free(struct pt_xattrmap *map);

/**
 * What the guest's @name is called on the host, into @host. 0, or what the guest is to get: -EPERM (a rule forbids it, or none is for
 * it), -EOPNOTSUPP (a rule says so), -ERANGE (too long there).
 */
int pt_xattrmap_to_host(const struct pt_xattrmap *map, const char *name, char host[PT_XATTR_NAME_BYTES]);

/** What the host's @name is called in the guest: a part of @name; NULL: it is not seen there. */
const char *pt_xattrmap_to_guest(const struct pt_xattrmap *map, const char *name);

/** Whether @name is the same on both sides. @map NULL: none. */
bool pt_xattrmap_keeps(const struct pt_xattrmap *map, const char *name);

#endif
