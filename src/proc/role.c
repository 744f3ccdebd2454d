/* proc/role.c - names, and the program of each role. */
#include "proc/role.h"

#include <stddef.h>

static const struct {
	const char *name, *program;
} roles[ROLE_COUNT] = {
	[ROLE_PARENT] = { "parent", NULL },
	[ROLE_KEYHOLDER] = { "keyholder", NULL },
	[ROLE_WORKER] = { "worker", NULL },
	[ROLE_CONTROL] = { "control", "postern-control" },
	[ROLE_AUTH] = { "auth", "postern-auth" },
	[ROLE_SPAWN] = { "spawn", NULL },
	[ROLE_STORE] = { "store", "postern-store" },
};

const char *
role_name(unsigned role)
{
	return role < ROLE_COUNT ? roles[role].name : "unknown";
}

unsigned
role_folders(unsigned role)
{
	return role == ROLE_STORE ? ROLE_FD_MAX - ROLE_FD_FOLDER : 0;
}

const char *
role_program(unsigned role)
{
	return role < ROLE_COUNT ? roles[role].program : NULL;
}

const char *
proc_state_name(unsigned state)
{
	switch (state) {
	case PROC_STARTING:
		return "starting";
	case PROC_READY:
		return "ready";
	case PROC_SERVING:
		return "serving";
	case PROC_DRAINING:
		return "draining";
	case PROC_STOPPING:
		return "stopping";
	}
	return "unknown";
}
