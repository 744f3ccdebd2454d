/* proc/conn_program.h - the program of one session of an exec service, as the worker that has the connection sees
 * it: two pipes, and the spawn process, which started it and ends it. */
#ifndef PROC_CONN_PROGRAM_H
#define PROC_CONN_PROGRAM_H

#include "proc/auth_client.h"
#include "proc/worker.h"

#define PROGRAM_STATUS_MS 50 /* behind the end of its output, for word of how it ended */

struct conn_program {
	TAILQ_ENTRY(conn_program) next; /* of its spawner's */
	struct conn *conn;
	struct spawner *spawner; /* NULL: it has gone */
	uint32_t id;
	uint32_t pid;       /* 0: not known yet */
	int in_fd, out_fd;  /* -1: closed, or not there yet */
	bool runs;          /* both have come */
	bool readable;      /* out_fd may have something for us */
	bool writable;      /* in_fd may take something */
	bool eof;           /* it writes no more */
	bool ended;         /* the spawn process has said so, or is gone */
	bool told;          /* the engine knows that its output has ended */
	struct auth_request auth; /* before it is asked for: is the client one of our users? */
	struct ev_io in_io, out_io;
	struct ev_timer timer;
};

/* --- from the connection --- */

/* Asks for the service's program; where there are users, auth is first asked whether the client is one of them. The engine
 * is answered now (nobody can be asked) or later. */
void conn_program_start(struct conn *c);

/* The engine has no more for it. */
void conn_program_end_input(struct conn *c);

/* Moves octets between the program and the engine; true when some have moved. */
bool conn_program_step(struct conn *c);

/* At the end of a wake-up: what the program is watched for. */
void conn_program_watch(struct conn *c);

/* Nobody waits for its output any longer: the engine is told that it has ended. */
void conn_program_late(struct conn *c);

/* The session is over: the program is ended. NULL inside is fine; sets the pointer to NULL. */
void conn_program_free(struct conn_program **p);

/* --- from the spawn process (worker_spawn.c); any may free the connection --- */
void conn_program_got_input(struct conn_program *p, int fd);
void conn_program_got_output(struct conn_program *p, int fd, uint32_t pid);
void conn_program_refused(struct conn_program *p, enum engine_no_program why);
void conn_program_ended(struct conn_program *p, uint32_t code, uint32_t signal);
void conn_program_lost(struct conn_program *p); /* the spawn process has died */

#endif
