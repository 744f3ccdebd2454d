/* store/server.c - channels and turns: everything that all clients have sent is taken, then flushed once, then
 * answered. */
#include "store/server_impl.h"

#include "util/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 64

/* --- what one may have at a time --------------------------------------------------------------------------- */

static bool
has_enough(const struct peer *p)
{
	return p->nrequests >= PEER_REQUESTS_MAX || p->octets >= PEER_OCTETS_MAX ||
		p->nfds + chan_waiting(p->chan) >= PEER_FDS_MAX;
}

/* Who has enough is not read from: its frames wait in its socket, and nobody else's. */
static void
watch(struct peer *p)
{
	struct epoll_event ev = { .data = { .ptr = p } };
	bool full = has_enough(p), quiet = full || p->s->quiet;
	/* what came in one packet with others announces itself no more: a channel that can be written does */
	bool writing = chan_wants_write(p->chan) || (!quiet && chan_has_more(p->chan));

	if (p->dead || (writing == p->writing && quiet == p->quiet))
		return;
	p->s->waits += full && !p->full;
	p->full = full;
	p->quiet = quiet;
	p->writing = writing;
	ev.events = (quiet ? 0 : EPOLLIN) | (writing ? EPOLLOUT : 0);
	PT_ASSERT(epoll_ctl(p->s->epoll_fd, EPOLL_CTL_MOD, chan_fd(p->chan), &ev) == 0);
}

/* --- requests ---------------------------------------------------------------------------------------------- */

struct request *
request_new(struct peer *p, uint32_t id)
{
	struct request *q = calloc(1, sizeof *q);

	if (q == NULL)
		return NULL;
	q->peer = p;
	q->s = p->s;
	q->id = id;
	p->nrequests++;
	p->s->nrequests++;
	LIST_INSERT_HEAD(&p->requests, q, next);
	return q;
}

void
request_charge(struct request *q, size_t octets, bool fd)
{
	q->octets += octets;
	q->peer->octets += octets;
	q->peer->nfds += fd && !q->fd;
	q->fd = q->fd || fd;
}

void
request_free(struct request **qp)
{
	struct request *q = *qp;

	if (q == NULL)
		return;
	if (q->peer != NULL) {
		LIST_REMOVE(q, next);
		q->peer->nrequests--;
		q->peer->octets -= q->octets;
		q->peer->nfds -= q->fd;
		if (q->peer->full)
			watch(q->peer);
	}
	free(q->list);
	if (--q->s->nrequests == 0 && q->s->closed)
		free(q->s);
	free(q);
	*qp = NULL;
}

void
reply_rc(struct peer *p, uint32_t id, enum store_rc rc, const char *text)
{
	struct msg_store_reply m = { .rc = (uint8_t)rc, .text = span_str(text) };
	struct frame f;

	PT_ASSERT(msg_store_reply_encode(&m, id, &f) == 0);
	peer_send(p, &f, -1);
}

/* --- channels ---------------------------------------------------------------------------------------------- */

void
peer_send(struct peer *p, struct frame *f, int fd)
{
	if (p->dead)
		return;
	if (p->s->in_turn)
		chan_hold(p->chan);
	if (chan_send(p->chan, f, fd) != 0)
		p->dead = true; /* gone, or it reads nothing: freed at the end of the turn */
	else if (!p->s->in_turn)
		watch(p);
}

static void
peer_free(struct peer *p)
{
	struct server *s = p->s;
	struct request *q;
	struct peer_view *v;
	struct peer_file *f;
	unsigned i;

	peer_txn_drop(p);
	peer_watches_free(p);
	mb_unclaim(s->mbs, p);
	while ((q = LIST_FIRST(&p->requests)) != NULL) {
		LIST_REMOVE(q, next);
		q->peer = NULL; /* it goes on: a transaction that was sent is done */
		if (q->list != NULL)
			request_free(&q);
	}
	for (i = 0; i < PEER_HASH; i++) {
		while ((v = p->views[i]) != NULL) {
			p->views[i] = v->next;
			if (v->v == NULL) {
				v->closed = true; /* freed when it has been opened */
				v->peer = NULL;
				continue;
			}
			mb_view_close(&v->v);
			free(v);
		}
		while ((f = p->files[i]) != NULL) {
			p->files[i] = f->next;
			peer_file_unref(s, f);
		}
	}
	TAILQ_REMOVE(&s->peers, p, next);
	s->npeers--;
	chan_free(&p->chan);
	free(p);
}

void
peer_condemn(struct peer *p, const char *what)
{
	if (!p->dead) {
		p->s->condemned++;
		log_msg(LOG_L_ERROR, "a client %s: its channel is closed", what);
		if (p->who != 0 && p->s->on_condemned != NULL)
			p->s->on_condemned(p->s->on_condemned_arg, p->who, what);
	}
	p->dead = true;
}

static void
peer_ready(struct peer *p, uint32_t events)
{
	bool gone = (events & (EPOLLHUP | EPOLLERR)) != 0; /* what it has sent is done, and there is no more */
	struct frame f;
	int i, rc = 0;

	if (events & EPOLLOUT)
		rc = chan_flush(p->chan);
	for (i = 0; rc == 0 && !p->dead && (gone || (!p->s->quiet && !has_enough(p))) &&
	     (i < PEER_TURN_MAX || chan_has_more(p->chan)); i++)
		if ((rc = chan_recv(p->chan, &f)) == 0)
			rc = ipc_dispatch(server_rules, server_nrules, (unsigned)p->class, 0, p->s, p, &f);
	if (rc == PT_EPROTO)
		peer_condemn(p, "sent what it may not");
	else if (rc != 0 && rc != PT_EAGAIN)
		p->dead = true;
}

/* What was answered goes out, and as much of lists as the channel takes. */
static void
peer_turn_end(struct peer *p)
{
	do {
		peer_lists_send(p);
		if (chan_flush(p->chan) != 0)
			p->dead = true;
	} while (!p->dead && !STAILQ_EMPTY(&p->lists) && !chan_wants_write(p->chan));
	watch(p);
}

int
server_peer(struct server *s, int fd, enum store_class class, uint32_t who)
{
	struct peer *p = calloc(1, sizeof *p);
	struct epoll_event ev = { .events = EPOLLIN, .data = { .ptr = p } };

	if (p == NULL) {
		close(fd);
		return PT_ENOMEM;
	}
	p->s = s;
	p->class = class;
	p->who = who;
	LIST_INIT(&p->requests);
	SLIST_INIT(&p->watches);
	STAILQ_INIT(&p->lists);
	if ((p->chan = chan_new(fd)) != NULL && class != STORE_CLASS_CONTROL)
		chan_bundle(p->chan); /* control's end is as all its others are */
	if (p->chan == NULL || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		chan_free(&p->chan);
		free(p);
		return PT_ENOMEM;
	}
	TAILQ_INSERT_TAIL(&s->peers, p, next);
	s->npeers++;
	return 0;
}

/* --- all of it --------------------------------------------------------------------------------------------- */

struct server *
server_new(struct store_backend *be, struct mailboxes *mbs, struct kv *kv)
{
	struct server *s = calloc(1, sizeof *s);
	struct epoll_event ev = { .events = EPOLLIN, .data = { .ptr = NULL } };

	if (s == NULL)
		return NULL;
	s->be = be;
	s->mbs = mbs;
	s->kv = kv;
	TAILQ_INIT(&s->peers);
	if ((s->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) {
		free(s);
		return NULL;
	}
	if (be->ops->fd(be) >= 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, be->ops->fd(be), &ev) != 0)
		server_free(&s);
	else
		mailboxes_watch(mbs, server_changed, s);
	return s;
}

void
server_free(struct server **sp)
{
	struct server *s = *sp;
	struct peer *p;

	if (s == NULL)
		return;
	mailboxes_watch(s->mbs, NULL, NULL); /* nobody hears that what others had claimed is due */
	while ((p = TAILQ_FIRST(&s->peers)) != NULL)
		peer_free(p);
	close(s->epoll_fd);
	s->epoll_fd = -1;
	s->closed = true;
	if (s->nrequests == 0)
		free(s); /* otherwise the last of what is under way does it */
	*sp = NULL;
}

void
server_on_condemned(struct server *s, server_condemned_f *f, void *arg)
{
	s->on_condemned = f;
	s->on_condemned_arg = arg;
}

int
server_fd(const struct server *s)
{
	return s->epoll_fd;
}

void
server_dispatch(struct server *s)
{
	struct epoll_event events[EVENTS_MAX];
	struct peer *p, *next;
	bool engine = false;
	int i, n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, 0);

	s->in_turn = true;
	if (s->be->ops->turn != NULL)
		s->be->ops->turn(s->be, true);
	for (i = 0; i < n; i++) {
		if (events[i].data.ptr == NULL)
			engine = true;
		else if (!((struct peer *)events[i].data.ptr)->dead)
			peer_ready(events[i].data.ptr, events[i].events);
	}
	if (engine) /* behind what has come, which is then in the next batch if one was flushed */
		s->be->ops->dispatch(s->be);
	mailboxes_flush(s->mbs);
	s->in_turn = false;
	for (p = TAILQ_FIRST(&s->peers); p != NULL; p = next) {
		next = TAILQ_NEXT(p, next);
		if (!p->dead)
			peer_turn_end(p);
		if (p->dead)
			peer_free(p);
	}
	if (s->be->ops->turn != NULL)
		s->be->ops->turn(s->be, false);
}

struct server_count
server_count(const struct server *s)
{
	return (struct server_count){ .peers = s->npeers, .requests = s->nrequests, .condemned = s->condemned,
		.waits = s->waits, .refused = s->refused };
}

bool
server_quiet(struct server *s)
{
	struct peer *p;
	bool waiting = false;

	s->quiet = true;
	TAILQ_FOREACH(p, &s->peers, next) {
		watch(p);
		waiting = waiting || chan_wants_write(p->chan);
	}
	return !waiting && s->nrequests == 0;
}
