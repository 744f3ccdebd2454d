/* proc/role.h - the processes, and the descriptors that each finds when it starts. */
#ifndef PROC_ROLE_H
#define PROC_ROLE_H

/* Numbers go into frames and over an upgrade: a new role is added at the end. */
enum role {
	ROLE_PARENT,
	ROLE_KEYHOLDER,
	ROLE_WORKER,
	ROLE_CONTROL,
	ROLE_AUTH,
	ROLE_SPAWN,
	ROLE_STORE,
	ROLE_COUNT
};

/* Fixed descriptors of a child. */
#define ROLE_FD_PARENT 3 /* channel to the parent */
#define ROLE_FD_LOG 4    /* where log frames go; control: /dev/null */
#define ROLE_FD_ROOT 5   /* the empty folder that becomes its root; /dev/null without root */
#define ROLE_FD_FOLDER 6 /* store: the first of its folders (proc/storage.h) */
#define ROLE_FD_MAX 10   /* one more than the last */

/* How many folders a role gets. */
unsigned role_folders(unsigned role);

enum proc_state {
	PROC_STARTING,
	PROC_READY,    /* confined and loaded, waiting to be started */
	PROC_SERVING,
	PROC_DRAINING, /* accepts no more, sessions go on */
	PROC_STOPPING, /* says goodbye */
};

/* "worker", and "serving". Static storage. */
const char *role_name(unsigned role);

/* The program in libexec/postern that it is, "postern-control"; NULL: posternd itself. Static storage. */
const char *role_program(unsigned role);

const char *proc_state_name(unsigned state);

#endif
