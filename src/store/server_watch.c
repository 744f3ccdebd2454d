/* store/server_watch.c - who hears of what: keys that changed, something in the queue that is due. */
#include "store/server_impl.h"

#include <stdlib.h>
#include <string.h>

static void
say(struct peer *p, const struct peer_watch *w, const char *key, uint64_t version)
{
	struct msg_store_watched m = { .watch = w->id, .key = span_str(key), .version = version };
	struct frame f;

	PT_ASSERT(msg_store_watched_encode(&m, 0, &f) == 0);
	peer_send(p, &f, -1);
}

static struct peer_watch *
watch_find(struct peer *p, uint32_t id)
{
	struct peer_watch *w;

	SLIST_FOREACH(w, &p->watches, next)
		if (w->id == id)
			break;
	return w;
}

/* The queue is the relay's. */
static bool
may_watch(const struct peer *p, struct span space)
{
	return space.n == 0 ? p->class == STORE_CLASS_RELAY : server_space(p->class, space, false);
}

/* Once, until it claims: who hears and does not come is not told again. */
static void
tell_due(struct peer *p, struct peer_watch *w)
{
	if (w->told)
		return;
	w->told = true;
	say(p, w, "", 0);
}

void
peer_watch_again(struct peer *p)
{
	struct peer_watch *w;

	SLIST_FOREACH(w, &p->watches, next)
		w->told = false;
	if (mb_due(p->s->mbs))
		server_changed(p->s, "", "", 0);
}

int
on_watch(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	struct msg_store_watch m;
	struct peer_watch *w;

	if (msg_store_watch_decode(f, &m) != 0 || !may_watch(p, m.space) ||
	    watch_find(p, m.watch) != NULL || p->nwatches >= PEER_WATCHES_MAX)
		return PT_EPROTO;
	if ((w = calloc(1, sizeof *w)) == NULL) {
		p->dead = true; /* who believes to hear of everything must hear of everything */
		return 0;
	}
	w->id = m.watch;
	if (m.space.n > 0)
		memcpy(w->space, m.space.p, m.space.n);
	SLIST_INSERT_HEAD(&p->watches, w, next);
	p->nwatches++;
	if (m.space.n > 0)
		say(p, w, "", 0);
	else if (mb_due(s->mbs))
		tell_due(p, w);
	return 0;
}

int
on_watch_end(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_watch_end m;
	struct peer_watch *w;

	(void)self;
	if (msg_store_watch_end_decode(f, &m) != 0 || (w = watch_find(p, m.watch)) == NULL)
		return PT_EPROTO;
	SLIST_REMOVE(&p->watches, w, peer_watch, next);
	p->nwatches--;
	free(w);
	return 0;
}

void
server_changed(void *arg, const char *space, const char *key, uint64_t version)
{
	struct server *s = arg;
	struct peer_watch *w;
	struct peer *p;

	TAILQ_FOREACH(p, &s->peers, next)
		SLIST_FOREACH(w, &p->watches, next)
			if (strcmp(w->space, space) != 0)
				continue;
			else if (space[0] == '\0')
				tell_due(p, w);
			else
				say(p, w, key, version);
}

void
peer_watches_free(struct peer *p)
{
	struct peer_watch *w;

	while ((w = SLIST_FIRST(&p->watches)) != NULL) {
		SLIST_REMOVE_HEAD(&p->watches, next);
		free(w);
	}
}
