/* proc/spawn.h - the process that starts the programs of exec services; shared by its files. */
#ifndef PROC_SPAWN_H
#define PROC_SPAWN_H

#include "conf/conf.h"
#include "proc/child.h"
#include "proc/groups.h"
#include "proc/program_user.h"
#include "util/rate.h"

#include <sys/queue.h>

#define SPAWN_LINE_MAX 512          /* octets of one line of a program's stderr in the log */
#define SPAWN_LINES 100             /* of one program, */
#define SPAWN_LINES_WINDOW_MS 10000 /* in that time; the rest is counted */
#define SPAWN_GROUP_POLL_MS 100     /* for the rest of a process group to be gone */
#define SPAWN_FILES_DEFAULT 1024    /* descriptors, where the configuration has no limit */

struct program;
TAILQ_HEAD(program_list, program);

/* All programs of the services of one name, whatever their generation: limits count these. */
struct pool {
	TAILQ_ENTRY(pool) next;
	char *name;
	unsigned running, waiting;
	struct program_list queue; /* those that wait, in order */
};

/* A service as programs of it are started. */
struct plan {
	const struct conf_service *conf; /* borrowed from its generation */
	struct pool *pool;
	struct program_user *user; /* owned; NULL: the server's own */
};

struct plan_generation {
	TAILQ_ENTRY(plan_generation) next;
	uint64_t number;
	struct conf *conf;
	struct plan plans[CONF_SERVICES_MAX]; /* by index; those of other protocols are empty */
};

struct spawn {
	struct child child;
	bool is_root;
	struct groups *groups;
	TAILQ_HEAD(, plan_generation) generations;
	TAILQ_HEAD(, pool) pools;
	struct program_list programs;
	unsigned nlinks;
	bool stopping;
	struct ev_timer stop_timer; /* then whatever is left is killed */
};

/* A worker: it may name services of its own generation. */
struct spawn_link {
	struct spawn *spawn;
	struct link *link; /* NULL: gone */
	uint64_t generation;
};

enum program_state {
	PROGRAM_WAITING,  /* for another to end */
	PROGRAM_STARTING, /* forked; not yet the program */
	PROGRAM_RUNNING,
	PROGRAM_ENDED,    /* but others of its group have not */
};

struct program {
	TAILQ_ENTRY(program) all, queue;
	struct spawn *spawn;
	struct spawn_link *owner; /* NULL: nobody asks for it any more */
	uint32_t id;              /* the owner's */
	const struct plan *plan;  /* NULL once it runs */
	struct pool *pool;
	struct buf environment;   /* as it came, until it is started */
	enum program_state state;
	uint32_t stop_timeout_ms;
	bool told;  /* SIGTERM was sent */
	pid_t pid;  /* also the number of its group */
	int slot;   /* in groups */
	int pidfd, status_fd, in_fd, out_fd, err_fd; /* -1: none */
	struct ev_io exit_io, status_io, err_io;
	struct ev_timer timer;
	uint64_t kill_ms; /* when what is left is killed */
	char line[SPAWN_LINE_MAX];
	size_t line_len;
	struct rate lines;
	unsigned dropped;
};

/* --- spawn_program.c: a program's life --- */

/* Starts it, or lets it wait; what is wrong the owner is told. environment is borrowed. */
void program_new(struct spawn_link *owner, uint32_t id, const struct plan *plan, struct span environment);
struct program *program_find(struct spawn_link *owner, uint32_t id);

/* Nobody needs it: SIGTERM to its group, SIGKILL later. May free it. */
void program_leave(struct program *p);

/* The generation of its plan goes; it is of no use to anybody who might still wait for it. */
void program_forget_plan(struct program *p);

/* Ends all at once. */
void program_kill_all(struct spawn *s);

/* --- spawn_stderr.c --- */
void program_read_stderr(struct program *p); /* what there is now */
void program_end_stderr(struct program *p);  /* and that was all */

/* --- spawn_exec.c: what a new process does until it is the program --- */

struct spawn_failure { /* read from the status pipe: why it is not */
	int step, error;
};

/* In the child. Never returns; failures go to status_fd. fds: what becomes 0, 1 and 2. environment: as
 * program_env_put() made it, and checked. */
__attribute__((noreturn)) void spawn_become(const struct plan *plan, struct span environment, const int fds[3],
					    int status_fd, pid_t parent);

/* "cannot enter the directory /x: No such file or directory". Returns out. */
const char *spawn_failure_text(const struct plan *plan, const struct spawn_failure *f, char *out, size_t cap);

/* --- spawn.c --- */
void spawn_end_if_done(struct spawn *s);

#endif
