/* proc/program_user.c - see program_user.h. */
#include "proc/program_user.h"

#include <grp.h>
#include <pwd.h>
#include <stddef.h>

int
program_user_find(const char *name, struct program_user *user, struct diag *diag)
{
	const struct passwd *pw = getpwnam(name);

	if (pw == NULL)
		return diag_set(diag, PT_ENOENT, "the user %s does not exist", name);
	if (pw->pw_uid == 0)
		return diag_set(diag, PT_EPERM, "the user %s is root, and programs never run as root", name);
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	user->ngroups = PROGRAM_USER_GROUPS_MAX;
	if (getgrouplist(name, pw->pw_gid, user->groups, &user->ngroups) < 0)
		return diag_set(diag, PT_EFULL, "the user %s is in more than %d groups", name,
			PROGRAM_USER_GROUPS_MAX);
	return 0;
}
