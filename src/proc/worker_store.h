/* proc/worker_store.h - the store as a worker sees it: store/store.h, watched by the worker's loop. */
#ifndef PROC_WORKER_STORE_H
#define PROC_WORKER_STORE_H

#include "ev/ev.h"
#include "store/store.h"

#include <sys/queue.h>

struct worker_store;

/* Who waits for the store process; embedded in its owner, zeroed at first. */
struct worker_store_wait {
	TAILQ_ENTRY(worker_store_wait) next;
	struct worker_store *ws; /* NULL: it does not wait */
	struct ev_timer timer;
	void (*done)(void *arg);
	void *arg;
};

/* NULL when out of memory. */
struct worker_store *worker_store_new(struct ev_loop *loop);
void worker_store_free(struct worker_store **ws);

/* A channel to the store process (taken), at the start and each time it was started again. */
void worker_store_attach(struct worker_store *ws, int fd);

/* What engines' events become calls of. Owned by ws; never NULL. store_attached() is false while the store process is away:
 * what is asked then waits for the next one. */
struct store *worker_store(const struct worker_store *ws);

/* Calls done, once, when a store process is there again or after max_ms: store_attached() tells which. Never before this
 * returns. w must not wait already. */
void worker_store_wait(struct worker_store *ws, struct worker_store_wait *w, uint64_t max_ms,
		       void (*done)(void *arg), void *arg);
void worker_store_wait_end(struct worker_store_wait *w); /* it is not called any more; fine at any time */

/* After calls that asked something: has what did not fit into the channel sent when there is room. Cheap. */
void worker_store_asked(struct worker_store *ws);

#endif
