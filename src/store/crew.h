/* store/crew.h - helper threads: jobs that may block, kept in order where they touch the same thing.
 *
 * A job belongs to strands (a mailbox is one): jobs of a strand run one after the other, in the order in which they
 * were submitted; a job of several strands waits for its turn in all of them. Lanes with threads of
 * their own, so that slow reading never delays what has been accepted. All functions but a job's run() belong to the
 * main thread. */
#ifndef STORE_CREW_H
#define STORE_CREW_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>

enum crew_lane {
	CREW_APPLY, /* carries out what the journal has */
	CREW_READ,  /* all else: loading, scanning, opening, flushing bodies */
	CREW_FLUSH, /* the journal's flushes, alone */
	CREW_LANES
};

#define CREW_THREADS_MAX 16
#define CREW_STRANDS_INLINE 4

struct crew;
struct crew_job;

/* A place in a strand's queue. */
struct crew_turn {
	struct crew_job *job;
	struct crew_strand *strand;
	struct crew_turn *next;
};

struct crew_strand {
	struct crew_turn *head, *tail; /* head: the job whose turn it is */
};

struct crew_job {
	void (*run)(struct crew_job *);  /* in a thread; must not touch what the main thread changes */
	void (*done)(struct crew_job *); /* afterwards, in crew_dispatch(); may free the job */
	enum crew_lane lane;
	bool again; /* set by run(): it keeps its turn, and runs again after crew_again() */
	bool unhurried; /* nobody waits for its end, which is told at the end of the main thread's turn or within CREW_LATE_MS; not with `again` */
	void (*refused)(struct crew_job *); /* instead of run(), by crew_refuse(); NULL: it waits for its turn whatever happens */
	/* private */
	struct crew_job *next;
	struct crew_turn turn[CREW_STRANDS_INLINE];
	unsigned nturns, waiting;
};

/* threads: for each lane, 1 to CREW_THREADS_MAX. NULL when the system refuses. */
struct crew *crew_new(const unsigned threads[CREW_LANES]);

/* Waits for what runs; what has not begun never will, and its done() is not called. */
void crew_free(struct crew **p);

#define CREW_LATE_MS 2

/* Readable when jobs are done, of which dispatch calls the done(). */
int crew_fd(const struct crew *p);
void crew_dispatch(struct crew *p);

/* The main thread begins a turn: threads of CREW_APPLY hear of what is submitted in it when it ends, and what has ended without being
 * told is then collected. Waking a thread, or being woken, costs more than a small job, and who has been answered first goes first. */
void crew_turn_begin(struct crew *p);
void crew_turn_end(struct crew *p);
void crew_wake(struct crew *p); /* now: the turn will take longer */

/* Queues the job behind all others of its strands (none or up to CREW_STRANDS_INLINE different ones). */
void crew_submit(struct crew *p, struct crew_job *j, struct crew_strand *const *strands, unsigned n);

/* Runs a job once more whose done() was called with `again` set. */
void crew_again(struct crew *p, struct crew_job *j);

/* Those who wait in that strand alone and may be refused are, and leave it; their done() is called in crew_dispatch(). */
void crew_refuse(struct crew *p, struct crew_strand *s);

/* Whose turn it is there; NULL: nobody's. It may run just now. */
const struct crew_job *crew_strand_first(struct crew *p, const struct crew_strand *s);

/* Nothing is queued or running there. */
bool crew_strand_idle(struct crew *p, const struct crew_strand *s);

/* Runs done() of all jobs until none is left; for the end and for tests. */
void crew_drain(struct crew *p);

#endif
