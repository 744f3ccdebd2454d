/* proc/worker_store.h - the store as a worker sees it: store/store.h, watched by the worker's loop. */
#ifndef PROC_WORKER_STORE_H
#define PROC_WORKER_STORE_H

#include "ev/ev.h"
#include "store/store.h"

struct worker_store;

/* NULL when out of memory. */
struct worker_store *worker_store_new(struct ev_loop *loop);
void worker_store_free(struct worker_store **ws);

/* A channel to the store process (taken), at the start and each time it was started again. */
void worker_store_attach(struct worker_store *ws, int fd);

/* What engines' events become calls of. Owned by ws; never NULL. store_attached() is false while the store process is away:
 * what is asked then waits for the next one. */
struct store *worker_store(const struct worker_store *ws);

/* After calls that asked something: has what did not fit into the channel sent when there is room. Cheap. */
void worker_store_asked(struct worker_store *ws);

#endif
