/* SPDX-License-Identifier: MIT */
/*
 * Linux's sandbox, from the outside in. See sandbox.h for what stays and what goes.
 *
 *	fds            all but those handed are closed, before anything else can use them
 *	namespaces     as root first with root's own right, which works where user namespaces are denied
 *	user           root becomes an ordinary user; nobody is left as he is
 *	namespaces     as that user by a user namespace. No id is mapped in it: nothing in it can ever be
 *	               anybody, and it takes no write to /proc, for which the process would have to be
 *	               open to ptrace by its new uid for a moment
 *	privileges     capabilities, securebits, no_new_privs, not dumpable, no new processes
 *	Landlock       in any case where the kernel has it: where namespaces are denied it is the wall,
 *	               else it keeps us from abstract unix sockets, which no mount namespace hides
 *	a look back    each of the above is checked by asking for what must not be there any more
 *	seccomp        last, since it forbids what all of the above needs
 *
 * The network namespace stays: the worker's sockets are the guest's way to the host's network.
 */
#include "dataplane/sandbox/sandbox.h"

#include "dataplane/sandbox/linux.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* What was tried, and why it did not do: negative errno, 0 for done. */
struct attempt {
	int namespaces;
	int landlock;
};

/* Namespaces as far as they go, and the change of user, which lies between the two ways there. */
static int isolate(struct attempt *tried, struct error *err)
{
	bool root = geteuid() == 0;
	uid_t uid;
	gid_t gid;
	int rc;

	privilege_user(&uid, &gid); /* reads /etc/passwd, so before the root is gone */
	tried->namespaces = root ? namespace_enter(false) : -1;
	privilege_drop_bounding();
	rc = privilege_drop_user(uid, gid);
	if (rc < 0)
		return error_set(err, 500, NULL, "sandbox: becoming uid %u: %s", (unsigned)uid,
			errno_text(rc));
	if (tried->namespaces < 0)
		tried->namespaces = namespace_enter(true);
	else
		namespace_user(); /* root's empty root is as good without */
	/* A new user namespace begins with all capabilities over itself. */
	privilege_drop_bounding();
	return 0;
}

static int verify(enum sandbox_level level, const struct attempt *tried, struct error *err)
{
	int rc = privilege_verify(level == SANDBOX_NAMESPACE);

	if (rc < 0)
		return error_set(
			err, 500, NULL, "sandbox: privileges are still there: %s", errno_text(rc));
	if (tried->landlock == 0)
		rc = landlock_verify();
	if (rc < 0)
		return error_set(
			err, 500, NULL, "sandbox: Landlock does not hold: %s", errno_text(rc));
	return 0;
}

/* 0 where the level will do, else says what was missing. */
static int judge(enum sandbox_level least, enum sandbox_level got, const struct attempt *tried,
	struct error *err)
{
	char namespaces[128]; /* errno_text() has one buffer */

	if (got <= least)
		return 0;
	snprintf(namespaces, sizeof(namespaces), "%s",
		tried->namespaces ? errno_text(tried->namespaces) : "work");
	return error_set(err, 503, NULL,
		"sandbox: level %s is wanted, %s is what there is (namespaces: %s; Landlock: %s)",
		sandbox_level_name(least), sandbox_level_name(got), namespaces,
		tried->landlock ? errno_text(tried->landlock) : "works");
}

int sandbox_enter(enum sandbox_level least, const int *keep, size_t kept, enum sandbox_level *got,
	struct error *err)
{
	struct attempt tried;
	int rc;

	rc = privilege_fds(keep, kept);
	if (rc < 0)
		return error_set(err, 500, NULL, "sandbox: file descriptors: %s", errno_text(rc));
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1); /* a second arena reads /sys and /proc */
#endif
	if (isolate(&tried, err) < 0)
		return -1;
	rc = privilege_drop();
	if (rc < 0)
		return error_set(err, 500, NULL, "sandbox: privileges: %s", errno_text(rc));
	if (tried.namespaces == 0)
		rc = namespace_verify();
	if (rc < 0)
		return error_set(
			err, 500, NULL, "sandbox: the root is not empty: %s", errno_text(rc));
	tried.landlock = landlock_enter();

	*got = SANDBOX_WEAK;
	if (tried.landlock == 0)
		*got = SANDBOX_LANDLOCK;
	if (tried.namespaces == 0)
		*got = SANDBOX_NAMESPACE;
	if (judge(least, *got, &tried, err) < 0 || verify(*got, &tried, err) < 0)
		return -1;
	rc = seccomp_enter(*got);
	if (rc < 0)
		return error_set(err, 500, NULL, "sandbox: seccomp: %s", errno_text(rc));
	return 0;
}
