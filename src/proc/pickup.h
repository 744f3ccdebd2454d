/* proc/pickup.h - certificate, key, CA and revocation list files that change are picked up without a reload.
 *
 * Part of the parent. One pick-up at a time: all files of a generation's configuration are opened anew as a set with a
 * number of its own, the keyholder loads the keys, the generation's workers load the rest; when all have said yes
 * they are told to use it. Any no, a time-out, or a process that dies meanwhile: nothing has changed anywhere. It
 * follows the current generation and those that drain, so that what is revoked is revoked for all. */
#ifndef PROC_PICKUP_H
#define PROC_PICKUP_H

#include "ev/ev.h"
#include "proc/credset.h"
#include "util/diag.h"

#define PICKUP_TIMEOUT_MS 30000 /* for all processes to load it */
#define PICKUP_AGAIN_MS 1000    /* the one more attempt after one that failed: half of a pair may have been there */
#define PICKUP_SETS_MAX 32      /* of a generation at a time; sessions of older ones cannot renegotiate any more */

struct generation;
struct msg_cred_ack;
struct parent;
struct proc;
struct watch;

struct pickup {
	struct watch *watch; /* NULL: out of memory at the start */
	struct generation *g; /* whose next set is being loaded; NULL: none is */
	struct cred_set *set; /* it; owned */
	bool keys_asked;      /* the helpers have to say yes; then the workers */
	struct ev_timer late, again;
	bool weakness_said;
	uint64_t done_s, failed_s; /* seconds since 1970; 0: never */
	char why[DIAG_MAX];        /* of the last failure */
};

void pickup_init(struct parent *p);

/* The generations have changed: their files are watched, and those that have changed since they were opened picked
 * up. */
void pickup_follow(struct parent *p);

/* A new current generation serves: the same, and its credentials are in use. */
void pickup_serving(struct parent *p);

/* Gives up what is under way; it is done again later. Before a reload, an upgrade, the end. */
void pickup_abort(struct parent *p);

/* A set is being loaded: no worker must be started meanwhile. */
bool pickup_is_loading(const struct parent *p);

/* A CRED_ACK; false: it is not about a set that is, or was, being picked up. */
bool pickup_acked(struct parent *p, struct proc *proc, const struct msg_cred_ack *m, const char *text);

/* A worker needs nothing of that credential generation any more. */
void pickup_unused(struct parent *p, const struct proc *worker, uint64_t number);

/* A process has ended (and is in no list any more). */
void pickup_proc_gone(struct parent *p, const struct proc *proc);

/* CRED_STATE to control. */
void pickup_tell(struct parent *p);

#endif
