/* store/client_watch.c - keys and the queue, watched, also by the next store process. */
#include "store/client_impl.h"

#include <stdio.h>
#include <stdlib.h>

static void
begin(struct store_watch *w)
{
	struct msg_store_watch m = { .watch = w->id, .space = span_str(w->space) };
	struct frame f;

	PT_ASSERT(msg_store_watch_encode(&m, 0, &f) == 0);
	store_tell(w->s, &f);
}

void
watches_begin(struct store *s)
{
	struct store_watch *w;

	TAILQ_FOREACH(w, &s->watches, next)
		begin(w);
}

struct store_watch *
store_watch(struct store *s, const char *space, store_watch_cb *cb, void *arg)
{
	struct store_watch *w = calloc(1, sizeof *w);

	if (w == NULL)
		return NULL;
	w->s = s;
	w->cb = cb;
	w->arg = arg;
	snprintf(w->space, sizeof w->space, "%s", space);
	if (++s->next_watch == 0)
		s->next_watch = 1;
	w->id = s->next_watch;
	TAILQ_INSERT_TAIL(&s->watches, w, next);
	begin(w);
	return w;
}

struct store_watch *
store_watch_queue(struct store *s, store_watch_cb *cb, void *arg)
{
	return store_watch(s, "", cb, arg);
}

void
store_unwatch(struct store_watch **wp)
{
	struct store_watch *w = *wp;
	struct msg_store_watch_end m;
	struct frame f;

	if (w == NULL)
		return;
	if (w->s != NULL) {
		m.watch = w->id;
		PT_ASSERT(msg_store_watch_end_encode(&m, 0, &f) == 0);
		store_tell(w->s, &f);
		TAILQ_REMOVE(&w->s->watches, w, next);
	}
	free(w);
	*wp = NULL;
}

int
watch_event(struct store *s, const struct frame *f)
{
	struct msg_store_watched m;
	struct store_watch *w;

	if (msg_store_watched_decode(f, &m) != 0)
		return PT_EPROTO;
	TAILQ_FOREACH(w, &s->watches, next)
		if (w->id == m.watch) {
			w->cb(w->arg, m.key, m.version); /* may end it */
			break;
		}
	return 0;
}
