/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of extended attributes by rules: what the guest may call what, and what it sees of the host's. */
#include <sys/xattr.h>

#include "pt_rig.h"
#include "sfs_passthrough.h"

#define ROOT SFS_ROOT_ID

/* --- the rules' text --- */

static void refused(struct rig *r, const char *options, const char *why)
{
	char text[1024];

	if (rig_try(r, options, text, sizeof(text)) != -EINVAL || !strstr(text, why) ||
	    !strstr(text, "xattrmap"))
		fail_msg("%s: %s", options, text);
}

static void test_syntax(void **state)
{
	static const char *const good[] = {
	    ":ok:all:::",
	    "  :ok:all:::  \\n",
	    "/prefix/all/trusted./v./ /bad/server//trusted./ /bad/client/v.//\\n/ok/all///",
	    ":prefix:client:user.:a.: :bad:client::: :ok:server:::",
	    ":map::user.virtiofs.:",
	    ":map:trusted.:user.virtiofs.:",
	    ":unsupported:all:system.:system.: :ok:all:::",
	};
	static const struct {
		const char *rules, *why;
	} bad[] = {
	    {"", "do not end"},
	    {"   ", "do not end"},
	    {":ok:client:::", "do not end"},
	    {":ok:server:::", "do not end"},
	    {":prefix:all:user.:a.:", "do not end"},
	    {":ok:all::", "last separator"},
	    {":ok:all", "last separator"},
	    {":", "last separator"},
	    {":fine:all:::", "types"},
	    {":ok:both:::", "scopes"},
	    {":map::user.: :ok:all:::", "follow"},
	    {":ok:all::: x", "last separator"},
	};
	struct rig *r = *state;
	char options[1024], text[1024];

	for (size_t i = 0; i < SFS_ARRAY_SIZE(good); i++) {
		snprintf(options, sizeof(options), ", \"xattrmap\": \"%s\"", good[i]);
		if (rig_try(r, options, text, sizeof(text)))
			fail_msg("%s: %s", good[i], text);
	}
	for (size_t i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		snprintf(options, sizeof(options), ", \"xattrmap\": \"%s\"", bad[i].rules);
		refused(r, options, bad[i].why);
	}
	assert_int_equal(rig_try(r, ", \"xattrmap\": null", text, sizeof(text)), 0);
	refused(r, ", \"xattrmap\": \":ok:all:::\", \"xattr\": false", "needs");
}

static void test_too_much(void **state)
{
	struct rig *r = *state;
	char options[2048] = ", \"xattrmap\": \"";
	size_t at = strlen(options);

	memset(options + at, 'x', 400);
	memcpy(options + at, ":ok:all:", 8);
	strcpy(options + at + 400, "::\"");
	refused(r, options, "longer");
	at += (size_t)sprintf(options + at, ":ok:all:::");
	for (unsigned i = 0; i < 64; i++)
		at += (size_t)sprintf(options + at, ":ok:all:::");
	strcpy(options + at, "\"");
	refused(r, options, "64");
}

/* What the host's kernel does by a name, it does not do under another one. */
static void test_what_goes_together(void **state)
{
	struct rig *r = *state;
	char text[1024];

	refused(r, ", \"xattrmap\": \":map::user.v.:\", \"posix_acl\": \"always\"", "posix_acl");
	refused(r, ", \"xattrmap\": \":map::user.v.:\", \"killpriv_v2\": true", "killpriv_v2");
	refused(r, ", \"xattrmap\": \":bad:all:security.:::ok:all:::\", \"security_label\": \"auto\"",
		"security_label");
	assert_int_equal(rig_try(r,
				 ", \"xattrmap\": \":map:trusted.:user.v.:\", \"posix_acl\": \"always\", "
				 "\"killpriv_v2\": true",
				 text, sizeof(text)),
			 0);
	/* Left to the daemon, ACLs are off where they cannot be. */
	rig_start(r, ", \"xattrmap\": \":map::user.v.:\"");
	assert_int_equal(sfs_session_init_flags(r->g.se) & FUSE_POSIX_ACL, 0);
	rig_stop(r);
	rig_start(r, ", \"xattrmap\": \":map:trusted.:user.v.:\"");
	assert_int_not_equal(sfs_session_init_flags(r->g.se) & FUSE_POSIX_ACL, 0);
}

/* --- their use --- */

static int set(struct rig *r, uint64_t node, const char *name, const char *value)
{
	return fc_setxattr(&r->c, node, name, value, (uint32_t)strlen(value), 0);
}

static bool host_has(struct rig *r, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/f", r->share);
	return getxattr(path, name, NULL, 0) >= 0;
}

static void host_set(struct rig *r, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/f", r->share);
	assert_int_equal(setxattr(path, name, "h", 1, 0), 0);
}

/* The list as "a b c ", in the host's order, which is not ours to say: names one by one. */
static bool listed(struct rig *r, uint64_t node, const char *name)
{
	char list[1024];
	int64_t bytes = fc_listxattr(&r->c, node, list, sizeof(list));

	assert_true(bytes >= 0);
	/* Asked for its length first, it is as long. */
	assert_int_equal(fc_listxattr(&r->c, node, list, 0), bytes);
	bytes = fc_listxattr(&r->c, node, list, sizeof(list));
	for (int64_t at = 0; at < bytes; at += (int64_t)strlen(list + at) + 1)
		if (strcmp(list + at, name) == 0)
			return true;
	return false;
}

static uint64_t begin(struct rig *r, const char *rules)
{
	char options[512];

	rig_file(r, "f", "x");
	snprintf(options, sizeof(options), ", \"xattrmap\": \"%s\"", rules);
	/* The short form of SETXATTR is what fc_setxattr() sends. */
	rig_start_with(r, options, RIG_FLAGS_ALL & ~(uint64_t)(FUSE_POSIX_ACL | FUSE_SETXATTR_EXT), NULL);
	return rig_node(r, ROOT, "f");
}

static void test_map_all(void **state)
{
	struct rig *r = *state;
	uint64_t f = begin(r, ":map::user.v.:");
	char value[64], name[256];

	host_set(r, "user.hosts");
	assert_int_equal(set(r, f, "trusted.a", "1"), 0);
	assert_int_equal(set(r, f, "security.anything", "22"), 0);
	assert_int_equal(set(r, f, "user.u", "333"), 0);
	assert_true(host_has(r, "user.v.trusted.a") && host_has(r, "user.v.security.anything") &&
		    host_has(r, "user.v.user.u"));
	assert_false(host_has(r, "user.u"));
	assert_int_equal(fc_getxattr(&r->c, f, "security.anything", value, sizeof(value)), 2);
	assert_int_equal(fc_getxattr(&r->c, f, "user.hosts", value, sizeof(value)), -ENODATA);
	assert_true(listed(r, f, "trusted.a") && listed(r, f, "security.anything") && listed(r, f, "user.u"));
	assert_false(listed(r, f, "user.hosts") || listed(r, f, "user.v.user.u"));
	/* Nobody applies them: a capability that the guest set is its own to take away. */
	assert_int_equal(set(r, f, "security.capability", "x"), 0);
	assert_int_equal(fc_removexattr(&r->c, f, "security.capability"), 0);
	assert_int_equal(fc_removexattr(&r->c, f, "security.capability"), -ENODATA);
	assert_int_equal(fc_removexattr(&r->c, f, "trusted.a"), 0);
	assert_false(host_has(r, "user.v.trusted.a"));
	/* A name that would grow too long. */
	memset(name, 'n', 255);
	memcpy(name, "user.", 5);
	name[255] = '\0';
	assert_int_equal(set(r, f, name, "v"), -ERANGE);
	name[248] = '\0';
	assert_int_equal(set(r, f, name, "v"), 0);
	assert_true(listed(r, f, name));
}

static void test_map_some(void **state)
{
	struct rig *r = *state;
	uint64_t f = begin(r, ":map:trusted.:user.v.:");
	char value[64];

	assert_int_equal(set(r, f, "trusted.a", "1"), 0);
	assert_int_equal(set(r, f, "user.a", "1"), 0);
	assert_true(host_has(r, "user.v.trusted.a") && host_has(r, "user.a"));
	assert_true(listed(r, f, "trusted.a") && listed(r, f, "user.a"));
	assert_false(listed(r, f, "user.v.trusted.a"));
	/* The translated ones are not to be reached beside the rule. */
	assert_int_equal(set(r, f, "user.v.trusted.a", "1"), -EPERM);
	assert_int_equal(fc_getxattr(&r->c, f, "user.v.trusted.a", value, sizeof(value)), -EPERM);
	assert_int_equal(fc_removexattr(&r->c, f, "user.v.trusted.a"), -EPERM);
	if (rig_is_root()) {
		host_set(r, "trusted.hosts");
		assert_false(listed(r, f, "trusted.hosts"));
		assert_int_equal(fc_getxattr(&r->c, f, "trusted.hosts", value, sizeof(value)), -ENODATA);
	}
}

/* The first rule that fits decides; each side has rules of its own. */
static void test_order(void **state)
{
	struct rig *r = *state;
	uint64_t f =
	    begin(r, ":ok:client:user.plain:: :unsupported:client:user.no:: :bad:all:user.bad:user.bad: "
		     ":prefix:client:user.:user.c.: :ok:server::user.plain: :bad:server::user.c.h: "
		     ":prefix:server::user.c.: :bad:all:::");
	char value[64];

	assert_int_equal(set(r, f, "user.plain1", "v"), 0);
	assert_int_equal(set(r, f, "user.no", "v"), -EOPNOTSUPP);
	assert_int_equal(set(r, f, "user.bad", "v"), -EPERM);
	assert_int_equal(set(r, f, "user.x", "v"), 0);
	assert_int_equal(set(r, f, "trusted.x", "v"), -EPERM);
	assert_true(host_has(r, "user.plain1") && host_has(r, "user.c.user.x"));
	host_set(r, "user.bad1");
	host_set(r, "user.c.hidden");
	host_set(r, "user.c.");
	assert_true(listed(r, f, "user.plain1") && listed(r, f, "user.x"));
	assert_false(listed(r, f, "user.bad1") || listed(r, f, "hidden") || listed(r, f, ""));
	assert_int_equal(fc_getxattr(&r->c, f, "user.bad1", value, sizeof(value)), -EPERM);
}

/* No rule makes an ACL of what is none for the guest. */
static void test_no_acl_by_the_back_door(void **state)
{
	struct rig *r = *state;
	uint64_t f = begin(r, ":prefix:client:posix_acl_:system.: :prefix:all:user.x.:system.: :bad:all:::");

	assert_int_equal(sfs_session_init_flags(r->g.se) & FUSE_POSIX_ACL, 0);
	assert_int_equal(set(r, f, "system.posix_acl_access", "x"), -EOPNOTSUPP);
	assert_int_equal(set(r, f, "posix_acl_access", "x"), -EOPNOTSUPP);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_syntax),   T(test_too_much), T(test_what_goes_together),      T(test_map_all),
	    T(test_map_some), T(test_order),    T(test_no_acl_by_the_back_door),
	};

	return cmocka_run_group_tests_name("passthrough_xattrmap", tests, NULL, NULL);
}
