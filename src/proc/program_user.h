/* proc/program_user.h - the account that programs of a service run as. */
#ifndef PROC_PROGRAM_USER_H
#define PROC_PROGRAM_USER_H

#include "util/diag.h"

#include <sys/types.h>

#define PROGRAM_USER_GROUPS_MAX 64

struct program_user {
	uid_t uid;
	gid_t gid;
	gid_t groups[PROGRAM_USER_GROUPS_MAX]; /* gid among them */
	int ngroups;
};

/* Looks it up. Never root: PT_EPERM for that, PT_ENOENT when there is none, PT_EFULL when it is in more groups. */
int program_user_find(const char *name, struct program_user *user_out, struct diag *diag) PT_MUST_USE;

#endif
