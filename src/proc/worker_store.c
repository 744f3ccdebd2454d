/* proc/worker_store.c - see worker_store.h. */
#include "proc/worker_store.h"

#include "util/log.h"

#include <stdlib.h>

struct worker_store {
	struct ev_loop *loop;
	struct store *store;
	struct ev_io io;
	bool watching;
	TAILQ_HEAD(, worker_store_wait) waiting;
};

struct worker_store *
worker_store_new(struct ev_loop *loop)
{
	struct worker_store *ws = calloc(1, sizeof *ws);

	if (ws == NULL)
		return NULL;
	ws->loop = loop;
	TAILQ_INIT(&ws->waiting);
	if ((ws->store = store_new()) == NULL) {
		free(ws);
		return NULL;
	}
	return ws;
}

static void
unwatch(struct worker_store *ws)
{
	if (ws->watching)
		ev_io_fini(&ws->io);
	ws->watching = false;
}

void
worker_store_free(struct worker_store **wsp)
{
	struct worker_store *ws = *wsp;

	if (ws == NULL)
		return;
	while (!TAILQ_EMPTY(&ws->waiting))
		worker_store_wait_end(TAILQ_FIRST(&ws->waiting));
	unwatch(ws);
	store_free(&ws->store);
	free(ws);
	*wsp = NULL;
}

void
worker_store_asked(struct worker_store *ws)
{
	if (ws->watching && store_attached(ws->store))
		ev_io_want(&ws->io, EV_IO_READ | (store_wants_write(ws->store) ? EV_IO_WRITE : 0));
}

static void
on_ready(void *arg, unsigned what)
{
	struct worker_store *ws = arg;
	int rc, fd = store_fd(ws->store);

	(void)what;
	/* the descriptor is closed inside when the store has gone: off the loop first, if nobody put a new one there */
	rc = store_dispatch(ws->store);
	if (rc != 0 && store_fd(ws->store) != fd) {
		unwatch(ws);
		if (rc == PT_EPROTO)
			log_msg(LOG_L_ERROR, "the store sent what it may not: its channel is closed");
		return;
	}
	worker_store_asked(ws);
}

/* --- who waits for it ------------------------------------------------------------------------- */

void
worker_store_wait_end(struct worker_store_wait *w)
{
	if (w->ws == NULL)
		return;
	TAILQ_REMOVE(&w->ws->waiting, w, next);
	w->ws = NULL;
	ev_timer_fini(&w->timer);
}

/* The wait is over, one way or the other. */
static void
over(void *arg)
{
	struct worker_store_wait *w = arg;

	worker_store_wait_end(w);
	w->done(w->arg); /* w may wait again now, or be gone */
}

void
worker_store_wait(struct worker_store *ws, struct worker_store_wait *w, uint64_t max_ms,
		  void (*done)(void *arg), void *arg)
{
	PT_ASSERT(w->ws == NULL);
	w->ws = ws;
	w->done = done;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&ws->waiting, w, next);
	ev_timer_init(&w->timer, ws->loop, over, w);
	ev_timer_set(&w->timer, max_ms);
}

void
worker_store_attach(struct worker_store *ws, int fd)
{
	unwatch(ws);
	store_attach(ws->store, fd);
	if (!store_attached(ws->store)) {
		log_msg(LOG_L_ERROR, "no memory for the channel to the store");
		return;
	}
	ev_io_init(&ws->io, ws->loop, fd, on_ready, ws);
	ws->watching = true;
	while (store_attached(ws->store) && !TAILQ_EMPTY(&ws->waiting))
		over(TAILQ_FIRST(&ws->waiting));
	worker_store_asked(ws);
}

struct store *
worker_store(const struct worker_store *ws)
{
	return ws->store;
}
