/* store/server_read.c - views, messages, lists and keys: what changes nothing. */
#include "store/server_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTS_WAITING_MAX 64 /* frames of a list in a channel's queue, then the rest waits */

struct peer_view *
peer_view_find(struct peer *p, uint32_t id)
{
	struct peer_view *v = p->views[id % PEER_HASH];

	while (v != NULL && v->id != id)
		v = v->next;
	return v;
}

/* --- views -------------------------------------------------------------------------------------------------- */

static void
send_log(struct peer *p, uint32_t view, uint32_t id, int fd, uint64_t octets)
{
	struct msg_store_view m = { .view = view, .octets = octets };
	struct frame f;

	PT_ASSERT(msg_store_view_encode(&m, id, &f) == 0);
	peer_send(p, &f, fd);
}

static void
send_event(struct peer_view *v, bool gone, uint64_t octets)
{
	struct msg_store_event m = { .view = v->id, .gone = gone, .octets = octets };
	struct frame f;

	PT_ASSERT(msg_store_event_encode(&m, 0, &f) == 0);
	peer_send(v->peer, &f, -1);
}

static void
replaced(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	struct request *q = arg;
	struct peer_view *v = q->peer == NULL ? NULL : peer_view_find(q->peer, q->id);

	if (v != NULL && v->v != NULL && rc == STORE_OK)
		send_log(q->peer, v->id, 0, fd, octets);
	else if (v != NULL && v->v != NULL)
		send_event(v, true, 0); /* it cannot be followed: to be opened again */
	if (fd >= 0)
		close(fd);
	request_free(&q);
}

static void
on_event(void *arg, enum mb_event what, uint64_t octets)
{
	struct peer_view *v = arg;
	struct request *q;

	if (what != MB_REPLACED) {
		send_event(v, what == MB_GONE, octets);
		return;
	}
	if (v->peer->nfds >= PEER_FDS_MAX || (q = request_new(v->peer, v->id)) == NULL) {
		send_event(v, true, 0);
		return;
	}
	request_charge(q, 0, true);
	mb_view_log(v->v, replaced, q);
}

static void
view_unlink(struct peer_view *v)
{
	struct peer_view **at = &v->peer->views[v->id % PEER_HASH];

	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	v->peer->nviews--;
}

static void
view_opened(void *arg, enum store_rc rc, struct mb_view *mv, int fd, uint64_t octets)
{
	struct request *q = arg;
	struct peer_view *v = q->view;

	if (v->closed) { /* every question is answered: its client may wait until nothing is under way */
		mb_view_close(&mv);
		free(v);
		if (q->peer != NULL)
			reply_rc(q->peer, q->id, STORE_NOTFOUND, "it was closed meanwhile");
	} else if (rc == STORE_OK) {
		v->v = mv;
		send_log(q->peer, v->id, q->id, fd, octets);
	} else {
		view_unlink(v);
		free(v);
		reply_rc(q->peer, q->id, rc, "");
	}
	if (fd >= 0)
		close(fd);
	request_free(&q);
}

int
on_view_open(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	char user[STORE_USER_MAX + 1], key[STORE_BOX_MAX + 1];
	struct msg_store_view_open m;
	struct peer_view *v;
	struct request *q;

	if (msg_store_view_open_decode(f, &m) != 0 || peer_view_find(p, m.view) != NULL)
		return PT_EPROTO;
	if (!maildir_user_ok(m.user) || !maildir_key(m.box, key)) {
		reply_rc(p, f->id, STORE_INVALID, "no mailbox can have that name");
		return 0;
	}
	if (p->nviews >= PEER_VIEWS_MAX) {
		s->refused++;
		reply_rc(p, f->id, STORE_TEMP, "too many mailboxes are open");
		return 0;
	}
	if ((v = calloc(1, sizeof *v)) == NULL || (q = request_new(p, f->id)) == NULL) {
		free(v);
		reply_rc(p, f->id, STORE_TEMP, "");
		return 0;
	}
	memcpy(user, m.user.p, m.user.n);
	user[m.user.n] = '\0';
	v->peer = p;
	v->id = m.view;
	v->next = p->views[m.view % PEER_HASH];
	p->views[m.view % PEER_HASH] = v;
	p->nviews++;
	q->view = v;
	request_charge(q, 0, true);
	mb_view_open(s->mbs, user, key, on_event, v, view_opened, q);
	return 0;
}

int
on_view_close(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_view_close m;
	struct peer_view *v;

	(void)self;
	if (msg_store_view_close_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((v = peer_view_find(p, m.view)) == NULL)
		return 0; /* it could not be opened, which the client did not know yet */
	view_unlink(v);
	if (v->v == NULL) {
		v->closed = true; /* view_opened() frees it */
		return 0;
	}
	mb_view_close(&v->v);
	free(v);
	return 0;
}

/* --- messages ----------------------------------------------------------------------------------------------- */

static void
fetched(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	struct request *q = arg;
	struct msg_store_message m = { .octets = octets };
	struct frame f;

	if (q->peer != NULL && rc == STORE_OK) {
		PT_ASSERT(msg_store_message_encode(&m, q->id, &f) == 0);
		peer_send(q->peer, &f, fd);
	} else if (q->peer != NULL) {
		reply_rc(q->peer, q->id, rc, "");
	}
	if (fd >= 0)
		close(fd);
	request_free(&q);
}

int
on_fetch(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_fetch m;
	struct peer_view *v;
	struct request *q;

	(void)self;
	if (msg_store_fetch_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((v = peer_view_find(p, m.view)) == NULL)
		reply_rc(p, f->id, STORE_NOTFOUND, "the mailbox is not open");
	else if (v->v == NULL)
		reply_rc(p, f->id, STORE_TEMP, "the mailbox is being opened");
	else if ((q = request_new(p, f->id)) == NULL)
		reply_rc(p, f->id, STORE_TEMP, "");
	else {
		request_charge(q, 0, true);
		mb_view_fetch(v->v, m.uid, fetched, q);
	}
	return 0;
}

/* --- lists and keys ------------------------------------------------------------------------------------------ */

static void
send_box(struct peer *p, uint32_t id, const struct mb_status *b)
{
	const struct store_status *st = &b->status;
	char name[STORE_BOX_MAX * 3 + 1];
	struct msg_store_box_status m = { .present = b->exists, .subscribed = b->subscribed,
		.uidvalidity = st->uidvalidity, .uidnext = st->uidnext, .messages = st->messages,
		.unseen = st->unseen, .recent = st->recent, .deleted = st->deleted,
		.octets = st->octets, .modseq = st->modseq, .id = span_str(st->id) };
	struct frame f;

	if (!maildir_key_name(b->key, name))
		return;
	m.box = span_str(name);
	PT_ASSERT(msg_store_box_status_encode(&m, id, &f) == 0);
	peer_send(p, &f, -1);
}

void
peer_lists_send(struct peer *p)
{
	struct request *q;

	while ((q = STAILQ_FIRST(&p->lists)) != NULL && !p->dead && chan_waiting(p->chan) < LISTS_WAITING_MAX) {
		if (q->listed < q->nlist) {
			send_box(p, q->id, &q->list[q->listed++]);
			continue;
		}
		STAILQ_REMOVE_HEAD(&p->lists, next_list);
		reply_rc(p, q->id, STORE_OK, "");
		request_free(&q);
	}
}

/* A list may be longer than what a channel holds. */
static void
boxes(void *arg, enum store_rc rc, const struct mb_status *list, size_t n)
{
	struct request *q = arg;
	struct peer *p = q->peer;

	if (p != NULL && n > 0 && (q->list = reallocarray(NULL, n, sizeof *list)) != NULL) {
		memcpy(q->list, list, n * sizeof *list);
		q->nlist = n;
		request_charge(q, n * sizeof *list, false);
		STAILQ_INSERT_TAIL(&p->lists, q, next_list);
		if (!q->s->in_turn) /* else at its end */
			peer_lists_send(p);
		return;
	}
	if (p != NULL)
		reply_rc(p, q->id, rc == STORE_OK && n > 0 ? STORE_TEMP : rc, "");
	request_free(&q);
}

/* A request about a user: his name into user (STORE_USER_MAX + 1 octets). NULL: it is answered. */
static struct request *
user_request(struct peer *p, uint32_t id, struct span name, char *user)
{
	struct request *q;

	if (!maildir_user_ok(name)) {
		reply_rc(p, id, STORE_INVALID, "no user can have that name");
		return NULL;
	}
	memcpy(user, name.p, name.n);
	user[name.n] = '\0';
	if ((q = request_new(p, id)) == NULL)
		reply_rc(p, id, STORE_TEMP, "");
	return q;
}

int
on_boxes(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	char user[STORE_USER_MAX + 1];
	struct msg_store_boxes m;
	struct request *q;

	if (msg_store_boxes_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((q = user_request(p, f->id, m.user, user)) != NULL)
		mb_boxes(s->mbs, user, boxes, q);
	return 0;
}

static void
room(void *arg, enum store_rc rc, uint64_t octets)
{
	struct msg_store_room_is m = { .octets = octets };
	struct request *q = arg;
	struct frame f;

	if (q->peer != NULL && rc == STORE_OK) {
		PT_ASSERT(msg_store_room_is_encode(&m, q->id, &f) == 0);
		peer_send(q->peer, &f, -1);
	} else if (q->peer != NULL) {
		reply_rc(q->peer, q->id, rc, "");
	}
	request_free(&q);
}

int
on_room(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	char user[STORE_USER_MAX + 1];
	struct msg_store_room m;
	struct request *q;

	if (msg_store_room_decode(f, &m) != 0 || m.quota == 0)
		return PT_EPROTO;
	if ((q = user_request(p, f->id, m.user, user)) != NULL)
		mb_room(s->mbs, user, m.quota, room, q);
	return 0;
}

int
on_get(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	char space[STORE_SPACE_MAX + 1], key[STORE_KEY_MAX + 1];
	struct msg_store_get m;
	struct msg_store_value out;
	struct kv_entry e;
	uint32_t id = f->id;

	if (msg_store_get_decode(f, &m) != 0 || !server_space(p->class, m.space, false))
		return PT_EPROTO;
	if (!kv_key_ok(m.key)) {
		reply_rc(p, id, STORE_INVALID, "");
		return 0;
	}
	memcpy(space, m.space.p, m.space.n);
	space[m.space.n] = '\0';
	memcpy(key, m.key.p, m.key.n);
	key[m.key.n] = '\0';
	if (!mailboxes_key(s->mbs, space, key, &e)) {
		reply_rc(p, id, STORE_NOTFOUND, "");
		return 0;
	}
	out = (struct msg_store_value){ .version = e.version, .value = e.value };
	PT_ASSERT(msg_store_value_encode(&out, id, f) == 0);
	peer_send(p, f, -1);
	return 0;
}
