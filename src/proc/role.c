/* proc/role.c - names. */
#include "proc/role.h"

const char *
role_name(unsigned role)
{
	switch (role) {
	case ROLE_PARENT:
		return "parent";
	case ROLE_KEYHOLDER:
		return "keyholder";
	case ROLE_WORKER:
		return "worker";
	case ROLE_CONTROL:
		return "control";
	}
	return "unknown";
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
