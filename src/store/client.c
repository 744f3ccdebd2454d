/* store/client.c - the channel to the store, and what is under way on it. */
#include "store/client_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_MAX 64
#define QUEUE_MAX 64 /* frames in the channel's queue; a store that takes no more for now is not broken */

/* --- calls ------------------------------------------------------------------------------------------------- */

struct call *
call_new(struct store *s, store_cb *cb, void *arg)
{
	struct call *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->s = s;
	c->cb = cb;
	c->arg = arg;
	if (++s->next_id == 0)
		s->next_id = 1;
	c->id = s->next_id;
	STAILQ_INIT(&c->pieces);
	return c;
}

int
call_add(struct call *c, const struct frame *f, struct store_blob *blob)
{
	struct piece *p = malloc(sizeof *p + f->len);

	if (p == NULL)
		return PT_ENOMEM;
	p->type = f->type;
	p->len = f->len;
	p->blob = blob;
	if (blob != NULL)
		blob->refs++;
	memcpy(p->payload, f->octets + FRAME_HEADER, f->len);
	STAILQ_INSERT_TAIL(&c->pieces, p, next);
	return 0;
}

static void
boxes_free(struct call *c)
{
	size_t i;

	for (i = 0; i < c->nboxes; i++)
		free((char *)(uintptr_t)c->boxes[i].name);
	free(c->boxes);
	c->boxes = NULL;
	c->nboxes = 0;
}

void
call_free(struct call **cp)
{
	struct call *c = *cp;
	struct piece *p;

	if (c == NULL)
		return;
	while ((p = STAILQ_FIRST(&c->pieces)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->pieces, next);
		if (p->blob != NULL)
			blob_unref(p->blob);
		free(p);
	}
	if (c->unsent)
		c->s->nunsent--;
	boxes_free(c);
	claims_free(c);
	free(c);
	*cp = NULL;
}

static void
detach(struct store *s)
{
	chan_free(&s->chan);
}

static void
send_frame(struct store *s, struct frame *f, int fd)
{
	/* a channel that breaks is noticed by store_dispatch(), which its end makes readable */
	if (s->chan != NULL && chan_send(s->chan, f, fd) != 0)
		s->broken = true;
}

static void
send_pieces(struct call *c)
{
	struct piece *p;
	struct frame f;

	/* all in one packet, if they fit */
	if (c->s->chan != NULL && STAILQ_FIRST(&c->pieces) != STAILQ_LAST(&c->pieces, piece, next))
		chan_hold(c->s->chan);
	STAILQ_FOREACH(p, &c->pieces, next) {
		f.type = p->type;
		f.id = c->id;
		f.len = p->len;
		f.fd = -1;
		memcpy(f.octets + FRAME_HEADER, p->payload, p->len);
		send_frame(c->s, &f, -1);
	}
	if (c->s->chan != NULL && chan_flush(c->s->chan) != 0)
		c->s->broken = true;
}

static bool
must_queue(const struct store *s)
{
	return s->nunsent > 0 || chan_waiting(s->chan) >= QUEUE_MAX;
}

static void
queue(struct call *c)
{
	c->unsent = true;
	c->s->nunsent++;
}

/* What has waited, in its order, as far as the channel takes it. */
static void
send_unsent(struct store *s)
{
	struct call *c, *next;

	for (c = TAILQ_FIRST(&s->calls); c != NULL && s->nunsent > 0 && chan_waiting(s->chan) < QUEUE_MAX; c = next) {
		next = TAILQ_NEXT(c, next);
		if (!c->unsent)
			continue;
		c->unsent = false;
		s->nunsent--;
		send_pieces(c);
		if (c->oneway) {
			TAILQ_REMOVE(&s->calls, c, next);
			call_free(&c);
		}
	}
}

/* A new channel: all is sent again, but what was only told is of the old one. */
static void
forget_unsent(struct store *s)
{
	struct call *c, *next;

	for (c = TAILQ_FIRST(&s->calls); c != NULL; c = next) {
		next = TAILQ_NEXT(c, next);
		if (c->unsent)
			s->nunsent--;
		c->unsent = false;
		if (c->oneway) {
			TAILQ_REMOVE(&s->calls, c, next);
			call_free(&c);
		}
	}
}

void
store_tell(struct store *s, struct frame *f)
{
	struct call *c;

	if (s->chan == NULL)
		return;
	if (!must_queue(s)) {
		send_frame(s, f, -1);
		return;
	}
	if ((c = call_new(s, NULL, NULL)) == NULL || call_add(c, f, NULL) != 0) {
		call_free(&c);
		s->broken = true; /* a new channel begins without it */
		return;
	}
	c->oneway = true;
	queue(c);
	TAILQ_INSERT_TAIL(&s->calls, c, next);
}

/* --- what is about a view that is being opened again must come behind it -------------------------------------- */

uint64_t
client_user(const char *user)
{
	uint64_t h = 14695981039346656037ull;

	for (; *user != '\0'; user++)
		h = (h ^ (uint8_t)*user) * 1099511628211ull;
	return h == 0 || h == CLIENT_USERS ? 1 : h;
}

static bool
must_wait(const struct call *c)
{
	const struct store_view *v;

	if (c->user == 0 || c->s->nreopening == 0)
		return false;
	TAILQ_FOREACH(v, &c->s->views, next)
		if (v->reopening && c->view != v && (c->user == v->user_hash || c->user == CLIENT_USERS))
			return true;
	return false;
}

static void
call_send(struct call *c)
{
	c->held = must_wait(c);
	if (c->held)
		return;
	if (must_queue(c->s))
		queue(c);
	else
		send_pieces(c);
}

void
calls_release(struct store *s)
{
	struct call *c;

	TAILQ_FOREACH(c, &s->calls, next)
		if (c->held && s->chan != NULL)
			call_send(c);
}

void
call_start(struct call *c)
{
	TAILQ_INSERT_TAIL(&c->s->calls, c, next);
	c->s->ncalls++;
	if (c->s->chan != NULL)
		call_send(c);
}

void
call_answer(struct call *c, enum store_rc rc, struct store_reply *r)
{
	struct store_reply none = { .fd = -1 };

	TAILQ_REMOVE(&c->s->calls, c, next);
	c->s->ncalls--;
	if (r == NULL)
		r = &none;
	if (c->cb != NULL)
		c->cb(c->arg, rc, r);
	claims_free(c); /* and descriptors that nobody took */
	if (r->fd >= 0)
		close(r->fd);
	call_free(&c);
}

/* --- answers ------------------------------------------------------------------------------------------------ */

struct call *
call_find(struct store *s, uint32_t id)
{
	struct call *c;

	/* answers come nearly in order */
	TAILQ_FOREACH(c, &s->calls, next)
		if (c->id == id)
			return c->oneway ? NULL : c;
	return NULL;
}

static void
answer_view(struct call *c, enum store_rc rc, struct store_reply *r)
{
	struct store_view *v = c->view;

	c->view = NULL;
	if (v->opened) { /* opened again after the store was started anew */
		view_reopening(v, false);
		if (rc != STORE_OK)
			view_event(v, true, 0);
		calls_release(c->s);
		call_answer(c, rc, r);
		return;
	}
	if (rc == STORE_OK) {
		v->opened = true;
		r->view = v;
	} else {
		view_free(v);
	}
	call_answer(c, rc, r);
}

static int
on_reply(struct store *s, struct frame *f)
{
	struct msg_store_reply m;
	struct call *c;

	if (msg_store_reply_decode(f, &m) != 0 || m.rc >= STORE_RC_COUNT || (c = call_find(s, f->id)) == NULL)
		return PT_EPROTO;
	struct store_reply r = { .id = m.number, .uidvalidity = m.uidvalidity, .uids = m.uids,
		.sources = m.sources, .modseq = m.modseq, .text = m.text, .fd = -1, .boxes = c->boxes,
		.nboxes = c->nboxes, .claimed = c->claimed, .nclaimed = c->nclaimed };

	if (c->file != NULL) {
		if (m.rc == STORE_OK)
			return PT_EPROTO;
		blob_file(c->file, (enum store_rc)m.rc, -1, 0);
		call_answer(c, (enum store_rc)m.rc, &r);
	} else if (c->view != NULL) {
		if (m.rc == STORE_OK)
			return PT_EPROTO;
		answer_view(c, (enum store_rc)m.rc, &r);
	} else {
		call_answer(c, (enum store_rc)m.rc, &r);
	}
	return 0;
}

static int
on_file_fd(struct store *s, struct frame *f)
{
	struct msg_store_file_fd m;
	struct call *c;

	if (msg_store_file_fd_decode(f, &m) != 0 || (c = call_find(s, f->id)) == NULL || c->file == NULL ||
	    c->file->file != m.file)
		return PT_EPROTO;
	blob_file(c->file, STORE_OK, frame_take_fd(f), m.margin);
	call_answer(c, STORE_OK, NULL);
	return 0;
}

static struct store_view *
view_find(struct store *s, uint32_t id)
{
	struct store_view *v;

	TAILQ_FOREACH(v, &s->views, next)
		if (v->id == id)
			return v;
	return NULL;
}

static int
on_view(struct store *s, struct frame *f)
{
	struct store_reply r = { .fd = -1 };
	struct msg_store_view m;
	struct store_view *v;
	struct call *c = NULL;
	int rc;

	if (msg_store_view_decode(f, &m) != 0 || (f->id != 0 && (c = call_find(s, f->id)) == NULL))
		return PT_EPROTO;
	v = c != NULL ? c->view : view_find(s, m.view);
	if (v == NULL) { /* closed meanwhile */
		if (c != NULL)
			call_answer(c, STORE_NOTFOUND, NULL);
		return 0;
	}
	if (v->id != m.view)
		return PT_EPROTO;
	rc = view_log(v, frame_take_fd(f), m.octets);
	if (rc == 0 && c != NULL && v->opened && !view_is_same(v)) {
		view_unlearn(v); /* before anything is asked of it: UIDs are others there */
		rc = PT_ENOENT;
	}
	if (c != NULL)
		answer_view(c, rc == 0 ? STORE_OK : STORE_TEMP, &r);
	else if (rc != 0)
		view_event(v, true, 0);
	return 0;
}

static int
on_event(struct store *s, struct frame *f)
{
	struct msg_store_event m;
	struct store_view *v;

	if (msg_store_event_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((v = view_find(s, m.view)) != NULL)
		view_event(v, m.gone, m.octets);
	return 0;
}

static int
on_message(struct store *s, struct frame *f)
{
	struct msg_store_message m;
	struct store_reply r = { .fd = -1 };
	struct call *c;

	if (msg_store_message_decode(f, &m) != 0 || (c = call_find(s, f->id)) == NULL)
		return PT_EPROTO;
	r.fd = frame_take_fd(f);
	r.size = m.octets;
	call_answer(c, STORE_OK, &r);
	return 0;
}

static int
on_box_status(struct store *s, struct frame *f)
{
	struct msg_store_box_status m;
	struct store_box *grown, *b;
	struct call *c;

	if (msg_store_box_status_decode(f, &m) != 0 || m.id.n > 32 || (c = call_find(s, f->id)) == NULL)
		return PT_EPROTO;
	if ((grown = reallocarray(c->boxes, c->nboxes + 1, sizeof *grown)) == NULL)
		return PT_ENOMEM;
	c->boxes = grown;
	b = &grown[c->nboxes];
	*b = (struct store_box){ .exists = m.present, .subscribed = m.subscribed,
		.status = { .uidvalidity = m.uidvalidity, .uidnext = m.uidnext, .messages = m.messages,
			.unseen = m.unseen, .recent = m.recent, .deleted = m.deleted, .octets = m.octets,
			.modseq = m.modseq } };
	if (m.id.n > 0)
		memcpy(b->status.id, m.id.p, m.id.n);
	if ((b->name = strndup((const char *)m.box.p, m.box.n)) == NULL)
		return PT_ENOMEM;
	c->nboxes++;
	return 0;
}

static int
on_room_is(struct store *s, struct frame *f)
{
	struct msg_store_room_is m;
	struct store_reply r = { .fd = -1 };
	struct call *c;

	if (msg_store_room_is_decode(f, &m) != 0 || (c = call_find(s, f->id)) == NULL)
		return PT_EPROTO;
	r.size = m.octets;
	call_answer(c, STORE_OK, &r);
	return 0;
}

static int
on_value(struct store *s, struct frame *f)
{
	struct msg_store_value m;
	struct store_reply r = { .fd = -1 };
	struct call *c;

	if (msg_store_value_decode(f, &m) != 0 || (c = call_find(s, f->id)) == NULL)
		return PT_EPROTO;
	r.value = m.value;
	r.version = m.version;
	call_answer(c, STORE_OK, &r);
	return 0;
}

static int
on_watched(struct store *s, struct frame *f)
{
	return watch_event(s, f);
}

static const struct answer answers[] = {
	{ MSG_T_STORE_REPLY, on_reply },
	{ MSG_T_STORE_FILE_FD, on_file_fd },
	{ MSG_T_STORE_VIEW, on_view },
	{ MSG_T_STORE_EVENT, on_event },
	{ MSG_T_STORE_MESSAGE, on_message },
	{ MSG_T_STORE_BOX_STATUS, on_box_status },
	{ MSG_T_STORE_VALUE, on_value },
	{ MSG_T_STORE_ROOM_IS, on_room_is },
	{ MSG_T_STORE_WATCHED, on_watched },
};

static int
take(struct store *s, struct frame *f)
{
	size_t i;
	int rc = PT_EPROTO;

	for (i = 0; i < PT_COUNT(answers); i++)
		if (answers[i].type == f->type)
			rc = answers[i].f(s, f);
	for (i = 0; i < QUEUE_ANSWERS; i++)
		if (queue_answers[i].type == f->type)
			rc = queue_answers[i].f(s, f);
	frame_fini(f);
	return rc;
}

/* --- connection --------------------------------------------------------------------------------------------- */

struct store *
store_new(void)
{
	struct store *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	TAILQ_INIT(&s->calls);
	TAILQ_INIT(&s->blobs);
	TAILQ_INIT(&s->views);
	TAILQ_INIT(&s->watches);
	TAILQ_INIT(&s->held);
	return s;
}

void
store_free(struct store **sp)
{
	struct store *s = *sp;
	struct call *c;
	struct store_view *v;

	if (s == NULL)
		return;
	s->closing = true;
	detach(s);
	forget_unsent(s);
	while ((c = TAILQ_FIRST(&s->calls)) != NULL) {
		if (c->view != NULL && !c->view->opened) {
			view_free(c->view);
			c->view = NULL;
		}
		call_answer(c, c->commit ? STORE_UNKNOWN : STORE_TEMP, NULL);
	}
	/* what its owners still hold is theirs to free; it has nobody to talk to */
	while ((v = TAILQ_FIRST(&s->views)) != NULL) {
		TAILQ_REMOVE(&s->views, v, next);
		v->s = NULL;
	}
	while (!TAILQ_EMPTY(&s->held)) {
		struct held *h = TAILQ_FIRST(&s->held);

		TAILQ_REMOVE(&s->held, h, next);
		free(h);
	}
	while (!TAILQ_EMPTY(&s->watches)) {
		struct store_watch *w = TAILQ_FIRST(&s->watches);

		TAILQ_REMOVE(&s->watches, w, next);
		w->s = NULL;
	}
	while (!TAILQ_EMPTY(&s->blobs)) {
		struct store_blob *b = TAILQ_FIRST(&s->blobs);

		TAILQ_REMOVE(&s->blobs, b, next);
		b->s = NULL;
	}
	free(s->gathered);
	free(s);
	*sp = NULL;
}

void
store_attach(struct store *s, int fd)
{
	struct store_blob *b;
	struct store_view *v;
	struct call *c, *next;

	detach(s);
	forget_unsent(s);
	s->broken = false;
	s->attached++;
	if ((s->chan = chan_new(fd)) == NULL)
		return;
	chan_bundle(s->chan);
	TAILQ_FOREACH(b, &s->blobs, next)
		blob_detached(b);
	held_again(s); /* before others can claim them */
	watches_begin(s);
	/* views first: what is asked of them comes behind */
	TAILQ_FOREACH(v, &s->views, next)
		if (v->opened && v->gone)
			view_not_reopened(v); /* the last channel may have left that half done: nobody would answer it */
		else if (v->opened)
			view_reopen(v);
	for (c = TAILQ_FIRST(&s->calls); c != NULL; c = next) {
		next = TAILQ_NEXT(c, next);
		boxes_free(c); /* half an answer of the last process */
		claim_again(c);
		if (c->view == NULL || !c->view->opened)
			call_send(c);
	}
}

int
store_fd(const struct store *s)
{
	return s->chan == NULL ? -1 : chan_fd(s->chan);
}

bool
store_wants_write(const struct store *s)
{
	return s->chan != NULL && chan_wants_write(s->chan);
}

bool
store_attached(const struct store *s)
{
	return s->chan != NULL;
}

size_t
store_pending(const struct store *s)
{
	return s->ncalls;
}

int
store_dispatch(struct store *s)
{
	struct frame f;
	int i, rc = 0;

	if (s->chan == NULL)
		return PT_EEOF;
	/* first what the store said, even if it has died since */
	for (i = 0; rc == 0 && s->chan != NULL && (i < TURN_MAX || chan_has_more(s->chan)); i++)
		if ((rc = chan_recv(s->chan, &f)) == 0)
			rc = take(s, &f);
	if (rc == PT_EAGAIN || rc == 0)
		rc = s->chan == NULL || s->broken ? PT_EEOF : chan_flush(s->chan);
	if (rc == 0 && s->chan != NULL)
		send_unsent(s);
	if (rc != 0)
		detach(s);
	return rc == 0 || rc == PT_EPROTO ? rc : PT_EEOF;
}

/* --- small questions ------------------------------------------------------------------------------------------ */

struct call *
store_ask(struct store *s, uint64_t user, int rc, const struct frame *f, store_cb *cb, void *arg)
{
	struct store_reply none = { .fd = -1 };
	struct call *c = rc == 0 ? call_new(s, cb, arg) : NULL;

	if (c == NULL || call_add(c, f, NULL) != 0) {
		call_free(&c);
		cb(arg, rc != 0 ? STORE_INVALID : STORE_TEMP, &none);
		return NULL;
	}
	c->user = user;
	call_start(c);
	return c;
}

void
store_boxes(struct store *s, const char *user, store_cb *cb, void *arg)
{
	struct msg_store_boxes m = { .user = span_str(user) };
	struct frame f;

	(void)store_ask(s, 0, msg_store_boxes_encode(&m, 0, &f), &f, cb, arg);
}

void
store_room(struct store *s, const char *user, uint64_t quota, store_cb *cb, void *arg)
{
	struct msg_store_room m = { .user = span_str(user), .quota = quota };
	struct frame f;

	PT_ASSERT(quota != 0);
	(void)store_ask(s, 0, msg_store_room_encode(&m, 0, &f), &f, cb, arg);
}

void
store_get(struct store *s, const char *space, const char *key, store_cb *cb, void *arg)
{
	struct msg_store_get m = { .space = span_str(space), .key = span_str(key) };
	struct frame f;

	(void)store_ask(s, 0, msg_store_get_encode(&m, 0, &f), &f, cb, arg);
}

void
store_fetch(struct store_view *v, uint32_t uid, store_cb *cb, void *arg)
{
	struct msg_store_fetch m = { .view = v->id, .uid = uid };
	struct store_reply none = { .fd = -1 };
	struct frame f;

	if (v->s == NULL || v->gone)
		cb(arg, STORE_NOTFOUND, &none);
	else
		(void)store_ask(v->s, v->user_hash, msg_store_fetch_encode(&m, 0, &f), &f, cb, arg);
}
