/* proc/auth.h - the auth process: shared by its own files (auth.c, auth_realm.c, auth_worker.c, auth_hash.c). */
#ifndef PROC_AUTH_H
#define PROC_AUTH_H

#include "auth/sasl.h"
#include "conf/conf.h"
#include "proc/child.h"

#include <sys/queue.h>

/* The users of one configuration: workers of that generation are answered from here and from nowhere else. */
struct auth_realm {
	TAILQ_ENTRY(auth_realm) next;
	uint64_t generation;
	struct conf *conf; /* domains and postmaster are in it */
	struct sasl_realm realm; /* points to what follows */
	struct users *users;             /* NULL until they were loaded */
	struct impersonate *impersonate; /* NULL: no such table */
	struct auth_load *load;          /* files on their way; NULL: none */
};

struct auth {
	struct child child;
	struct sasl_server server;
	struct ev_io pool_io;
	TAILQ_HEAD(, auth_realm) realms;
	TAILQ_HEAD(, auth_worker) workers;
	unsigned nworkers;
	bool stopping; /* end when the last worker has gone over to the next auth process */
};

/* auth_realm.c: rows of the table of what the parent says */
struct auth_realm *auth_realm_get(struct auth *a, uint64_t generation); /* NULL: there is none */
int auth_on_config(void *self, void *peer, struct frame *f);
int auth_on_cred_begin(void *self, void *peer, struct frame *f);
int auth_on_cred_file(void *self, void *peer, struct frame *f);
int auth_on_cred_end(void *self, void *peer, struct frame *f);
int auth_on_cred_release(void *self, void *peer, struct frame *f);

/* auth_worker.c */
int auth_worker_new(struct auth *a, int fd, uint64_t generation) PT_MUST_USE; /* takes fd */
void auth_worker_forget_realm(struct auth *a, const struct auth_realm *realm); /* it is about to go */
void auth_worker_tell_change(struct auth *a, const struct auth_realm *realm);  /* its users are others now */

/* Tells the workers of realm what has become of its users, which were others until now. */
void auth_worker_tell_ousted(struct auth *a, const struct auth_realm *realm, const struct users *were);

/* auth_hash.c: a password from standard input, its stored forms to standard output. Returns the exit code. */
int auth_hash_main(void);

#endif
