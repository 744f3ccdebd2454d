/* store/mailbox.c - mailboxes in memory and who waits for them; views. */
#include "store/mailbox_impl.h"

#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HASH_SIZE 8192
#define SWEEP_PLACES 4096        /* of the table of keys, with each tick */
#define BOXES_MAX 8192           /* in memory; more go, those in use stay */
#define BOXES_KEPT 4096          /* however many messages they have */
#define NONE_MS 1000             /* that a mailbox is not there is believed for so long */
#define MESSAGES_MAX (4u << 20)  /* in memory: 56 octets each */

int64_t
mailbox_clock(const struct mailboxes *mbs)
{
	return mbs->conf.clock != NULL ? mbs->conf.clock() : (int64_t)time(NULL);
}

static uint64_t
monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- in memory -------------------------------------------------------------------------------------------- */

static size_t
slot(const struct mailboxes *mbs, const char *user, const char *key)
{
	size_t h = 14695981039346656037ull;

	for (; *user != '\0'; user++)
		h = (h ^ (uint8_t)*user) * 1099511628211ull;
	for (h *= 31; *key != '\0'; key++)
		h = (h ^ (uint8_t)*key) * 1099511628211ull;
	return h % mbs->nhash;
}

struct mailbox *
mailbox_find(struct mailboxes *mbs, const char *user, const char *key)
{
	struct mailbox *mb;

	for (mb = mbs->hash[slot(mbs, user, key)]; mb != NULL; mb = mb->hash_next)
		if (strcmp(mb->user, user) == 0 && strcmp(mb->key, key) == 0)
			return mb;
	return NULL;
}

static void
mailbox_free(struct mailbox *mb)
{
	struct mailboxes *mbs = mb->mbs;
	struct mailbox **at = &mbs->hash[slot(mbs, mb->user, mb->key)];

	while (*at != mb)
		at = &(*at)->hash_next;
	*at = mb->hash_next;
	TAILQ_REMOVE(&mbs->lru, mb, lru);
	mbs->nboxes--;
	mbs->messages -= mb->counted;
	index_fini(&mb->x);
	free(mb);
}

static bool
in_use(const struct mailbox *mb)
{
	return mb->pins > 0 || mb->state == MB_LOADING || mb->state == MB_BUSY ||
		!TAILQ_EMPTY(&mb->views) || !STAILQ_EMPTY(&mb->waiters);
}

static void
trim(struct mailboxes *mbs)
{
	struct mailbox *mb, *next;

	for (mb = TAILQ_FIRST(&mbs->lru); mb != NULL && (mbs->nboxes > BOXES_MAX ||
	     (mbs->messages > MESSAGES_MAX && mbs->nboxes > BOXES_KEPT)); mb = next) {
		next = TAILQ_NEXT(mb, lru);
		if (!in_use(mb))
			mailbox_free(mb);
	}
}

void
mailbox_pin(struct mailbox *mb)
{
	mb->pins++;
}

void
mailbox_unpin(struct mailbox *mb)
{
	PT_ASSERT(mb->pins > 0);
	mb->pins--;
}

static void
tell_waiters(struct mailbox *mb, enum store_rc rc)
{
	STAILQ_HEAD(, waiter) list = STAILQ_HEAD_INITIALIZER(list);
	struct waiter *w;

	STAILQ_CONCAT(&list, &mb->waiters);
	mailbox_pin(mb);
	while ((w = STAILQ_FIRST(&list)) != NULL) {
		STAILQ_REMOVE_HEAD(&list, next);
		w->f(w->arg, rc, mb);
		free(w);
	}
	mailbox_unpin(mb);
}

void
mailbox_settled(struct mailbox *mb, enum mb_state state, enum store_rc rc)
{
	mb->state = state;
	mb->looked_ms = monotonic_ms();
	mb->mbs->messages += mb->x.n - mb->counted;
	mb->counted = mb->x.n;
	tell_waiters(mb, rc);
}

void
mailbox_born(struct mailbox *mb)
{
	if (!mb->unborn)
		return;
	mb->unborn = false;
	if (mb->state == MB_READY || mb->state == MB_NONE)
		mailbox_settled(mb, mb->state, mb->state == MB_READY ? STORE_OK : STORE_NOTFOUND);
}

static bool
is_stuck(const struct mailbox *mb)
{
	struct store_backend *be = mb->mbs->be;

	return be->ops->stuck != NULL && be->ops->stuck(be, mb->user, mb->key);
}

/* What waits for nothing but the end of what was accepted would wait until somebody mends the mailbox. */
static void
mailbox_stuck(void *arg, const char *user, const char *key)
{
	struct mailboxes *mbs = arg;
	struct mailbox *mb = mbs->closing ? NULL : mailbox_find(mbs, user, key);

	if (mb == NULL)
		return;
	mailbox_pin(mb);
	tell_waiters(mb, STORE_TEMP);
	txn_stuck(mbs, mb);
	if (mb->merging > 0)
		mailbox_scan_refused(mb);
	if (mb->quiet != NULL)
		mailbox_quiet(mb, STORE_TEMP);
	mailbox_unpin(mb);
}

/* --- loading ---------------------------------------------------------------------------------------------- */

static void load(struct mailbox *mb);

static void
loaded(void *arg, enum store_rc rc, struct index *x)
{
	struct mailbox *mb = arg;

	mailbox_unpin(mb);
	if (mb->mbs->closing)
		return;
	if (mb->stale) { /* what was read is about to change */
		if (mb->unapplied == 0)
			load(mb);
		return;
	}
	if (mb->not_merged) { /* once is enough: the next who asks tries again */
		mb->not_merged = false;
		rc = STORE_TEMP;
	}
	if (rc != STORE_OK) {
		index_fini(&mb->x);
		if (rc != STORE_NOTFOUND && !is_stuck(mb)) /* that was said */
			log_msg(LOG_L_ERROR, "cannot read mailbox %s of %s: %s", mb->key, mb->user,
				store_rc_text(rc));
		/* an error is for those who wait now; the next one tries again */
		mb->failed = rc == STORE_NOTFOUND ? STORE_OK : rc;
		mailbox_settled(mb, MB_NONE, rc);
		return;
	}
	index_fini(&mb->x);
	mb->x = *x;
	index_init(x);
	if (mb->x.uidvalidity == 0) {
		mailbox_scan(mb, true); /* settles when it knows what is there */
		return;
	}
	if (!TAILQ_EMPTY(&mb->views)) /* read again: it may have been found damaged, and be another file */
		mailbox_tell(mb, MB_REPLACED, mb->x.end);
	mailbox_settled(mb, MB_READY, STORE_OK);
	if (mb->scan_again && mb->state == MB_READY && !mb->scanning) {
		mb->scan_again = false;
		mailbox_scan(mb, true);
	}
}

static void
load(struct mailbox *mb)
{
	mb->stale = false;
	mb->failed = STORE_OK;
	mb->state = MB_LOADING;
	mailbox_pin(mb);
	mb->mbs->be->ops->load(mb->mbs->be, mb->user, mb->key, loaded, mb);
}

void
mailbox_reload(struct mailbox *mb)
{
	mb->reloads++;
	mb->stale = true;
	mb->state = MB_LOADING;
	if (mb->unapplied == 0)
		load(mb);
}

void
mailbox_quiet(struct mailbox *mb, enum store_rc rc)
{
	void (*quiet)(void *, enum store_rc) = mb->quiet;

	if (quiet == NULL || (mb->unapplied > 0 && rc == STORE_OK))
		return;
	mb->quiet = NULL;
	quiet(mb->quiet_arg, rc);
}

static struct mailbox *
mailbox_new(struct mailboxes *mbs, const char *user, const char *key)
{
	struct mailbox *mb;
	size_t at;

	trim(mbs);
	if ((mb = calloc(1, sizeof *mb)) == NULL)
		return NULL;
	mb->mbs = mbs;
	snprintf(mb->user, sizeof mb->user, "%s", user);
	snprintf(mb->key, sizeof mb->key, "%s", key);
	mb->state = MB_NONE;
	index_init(&mb->x);
	STAILQ_INIT(&mb->waiters);
	STAILQ_INIT(&mb->scan_waiters);
	TAILQ_INIT(&mb->views);
	at = slot(mbs, user, key);
	mb->hash_next = mbs->hash[at];
	mbs->hash[at] = mb;
	mbs->nboxes++;
	TAILQ_INSERT_TAIL(&mbs->lru, mb, lru);
	return mb;
}

struct mailbox *
mailbox_place(struct mailboxes *mbs, const char *user, const char *key)
{
	struct mailbox *mb = mailbox_find(mbs, user, key);

	return mb != NULL ? mb : mailbox_new(mbs, user, key);
}

struct mailbox *
mailbox_get(struct mailboxes *mbs, const char *user, const char *key)
{
	struct mailbox *mb = mailbox_find(mbs, user, key);

	if (mb != NULL) {
		TAILQ_REMOVE(&mbs->lru, mb, lru);
		TAILQ_INSERT_TAIL(&mbs->lru, mb, lru);
		/* others may have made it since; only loading tells */
		if (mb->failed != STORE_OK || (mb->state == MB_NONE && mb->pins == 0 &&
		    monotonic_ms() - mb->looked_ms > NONE_MS && (mbs->be->ops->caps & STORE_CAP_EXTERNAL)))
			load(mb);
		return mb;
	}
	if ((mb = mailbox_new(mbs, user, key)) != NULL)
		load(mb);
	return mb;
}

static void
wait_for(struct mailbox *mb, void (*f)(void *, enum store_rc, struct mailbox *), void *arg)
{
	struct waiter *w = calloc(1, sizeof *w);

	if (w == NULL) {
		f(arg, STORE_TEMP, mb);
		return;
	}
	w->f = f;
	w->arg = arg;
	STAILQ_INSERT_TAIL(&mb->waiters, w, next);
}

void
mailbox_wait(struct mailbox *mb, void (*f)(void *, enum store_rc, struct mailbox *), void *arg)
{
	if ((mb->state == MB_LOADING || mb->state == MB_BUSY) && is_stuck(mb))
		f(arg, STORE_TEMP, mb);
	else if (mb->state == MB_LOADING || mb->state == MB_BUSY)
		wait_for(mb, f, arg);
	else
		f(arg, mb->state == MB_READY ? STORE_OK : mb->failed != STORE_OK ? mb->failed : STORE_NOTFOUND, mb);
}

/* --- views ------------------------------------------------------------------------------------------------ */

void
mailbox_tell(struct mailbox *mb, enum mb_event what, uint64_t octets)
{
	struct mb_view *v, *next;

	for (v = TAILQ_FIRST(&mb->views); v != NULL; v = next) {
		next = TAILQ_NEXT(v, next);
		if (v->open)
			v->event(v->event_arg, what, octets);
	}
}

static void
watch(struct mailbox *mb, bool on)
{
	struct store_backend *be = mb->mbs->be;

	if (mb->watched == on || !(be->ops->caps & STORE_CAP_EXTERNAL))
		return;
	if (be->ops->watch(be, mb->user, mb->key, on) != 0)
		log_msg(LOG_L_WARNING, "mailbox %s of %s cannot be watched: what other programs change there is "
			"seen when it is opened", mb->key, mb->user);
	mb->watched = on;
}

void
mailbox_gone(struct mailbox *mb)
{
	struct mb_view *v;

	watch(mb, false);
	while ((v = TAILQ_FIRST(&mb->views)) != NULL) {
		TAILQ_REMOVE(&mb->views, v, next);
		v->mb = NULL;
		if (v->open)
			v->event(v->event_arg, MB_GONE, 0);
	}
	index_fini(&mb->x);
	mb->state = MB_NONE;
	mb->scanned = false;
}

struct opening {
	struct mailboxes *mbs;
	bool made; /* it was not there, and has been made */
	struct mb_view *v;
	mb_event_f *event;
	void *event_arg;
	mb_view_cb *cb;
	void *arg;
};

static void
view_opened(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	struct opening *o = arg;
	struct mb_view *v = o->v;

	if (rc == STORE_OK && v->mb == NULL) { /* deleted meanwhile */
		close(fd);
		rc = STORE_NOTFOUND;
	}
	if (rc != STORE_OK) {
		mb_view_close(&o->v);
		o->cb(o->arg, rc, NULL, -1, 0);
	} else {
		if (v->mbs->be->ops->caps & STORE_CAP_EXTERNAL) {
			watch(v->mb, true);
			mailbox_scan(v->mb, !v->mb->scanned);
		}
		v->open = true;
		v->uidvalidity = v->mb->x.uidvalidity;
		o->cb(o->arg, STORE_OK, v, fd, octets); /* may close it */
	}
	free(o);
}

static void view_there(void *arg, enum store_rc rc, struct mailbox *mb);

static void
inbox_made(struct mb_txn *t, const struct mb_reply *r)
{
	struct opening *o = t->arg;
	struct mailbox *mb = r->rc == STORE_OK || r->rc == STORE_EXISTS
		? mailbox_get(o->mbs, t->ops[0].user, t->ops[0].key) : NULL;

	if (mb != NULL) {
		mailbox_wait(mb, view_there, o);
		return;
	}
	o->cb(o->arg, r->rc == STORE_OK || r->rc == STORE_EXISTS ? STORE_TEMP : r->rc, NULL, -1, 0);
	free(o);
}

/* INBOX is there for everybody (RFC 3501 §5.1), also before the first message. false: out of memory. */
static bool
make_inbox(struct opening *o, const struct mailbox *mb)
{
	struct mb_txn *t = mb_txn_new();
	struct mb_op *op = t == NULL ? NULL : mb_txn_op(t);

	if (op == NULL) {
		mb_txn_free(&t);
		return false;
	}
	o->made = true;
	op->kind = MB_BOX;
	op->box_op = STORE_BOX_CREATE;
	memcpy(op->user, mb->user, sizeof op->user);
	memcpy(op->key, mb->key, sizeof op->key);
	t->done = inbox_made;
	t->arg = o;
	mb_commit(o->mbs, t);
	return true;
}

static void
view_there(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct opening *o = arg;

	if (rc == STORE_NOTFOUND && !o->made && strcmp(mb->key, "INBOX") == 0 && make_inbox(o, mb))
		return;
	if (rc == STORE_OK && mb->unborn && is_stuck(mb))
		rc = STORE_TEMP;
	if (rc == STORE_OK && mb->unborn) { /* it was just made, or is found to be there, and has no log yet */
		wait_for(mb, view_there, o);
		return;
	}
	if (rc == STORE_OK && (o->v = calloc(1, sizeof *o->v)) == NULL)
		rc = STORE_TEMP;
	if (rc != STORE_OK) {
		o->cb(o->arg, rc, NULL, -1, 0);
		free(o);
		return;
	}
	o->v->mb = mb;
	o->v->mbs = mb->mbs;
	o->v->event = o->event;
	o->v->event_arg = o->event_arg;
	TAILQ_INSERT_TAIL(&mb->views, o->v, next);
	mb->mbs->be->ops->log_open(mb->mbs->be, mb->user, mb->key, view_opened, o);
}

void
mb_view_open(struct mailboxes *mbs, const char *user, const char *key, mb_event_f *event, void *event_arg,
	     mb_view_cb *cb, void *arg)
{
	struct opening *o = calloc(1, sizeof *o);
	struct mailbox *mb = mailbox_get(mbs, user, key);

	if (o == NULL || mb == NULL) {
		free(o);
		cb(arg, STORE_TEMP, NULL, -1, 0);
		return;
	}
	*o = (struct opening){ .mbs = mbs, .event = event, .event_arg = event_arg, .cb = cb, .arg = arg };
	mailbox_wait(mb, view_there, o);
}

void
mb_view_log(struct mb_view *v, store_fd_cb *cb, void *arg)
{
	if (v->mb == NULL)
		cb(arg, STORE_NOTFOUND, -1, 0);
	else
		v->mbs->be->ops->log_open(v->mbs->be, v->mb->user, v->mb->key, cb, arg);
}

void
mb_view_close(struct mb_view **vp)
{
	struct mb_view *v = *vp;

	if (v == NULL)
		return;
	if (v->mb != NULL) {
		TAILQ_REMOVE(&v->mb->views, v, next);
		if (TAILQ_EMPTY(&v->mb->views))
			watch(v->mb, false);
	}
	free(v);
	*vp = NULL;
}

struct fetching {
	uint32_t uid, uidvalidity;
	store_fd_cb *cb;
	void *arg;
};

static void
fetch(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct fetching f = *(struct fetching *)arg;
	struct store_hint hint = { .uid = f.uid };
	bool found;
	uint32_t i = index_find(&mb->x, f.uid, &found);

	free(arg);
	if (rc != STORE_OK || !found || mb->x.uidvalidity != f.uidvalidity) { /* made again meanwhile */
		f.cb(f.arg, rc != STORE_OK ? rc : STORE_NOTFOUND, -1, 0);
		return;
	}
	hint.flags = mb->x.msgs[i].flags;
	hint.line = mb->x.msgs[i].line;
	hint.where = mb->x.msgs[i].where;
	mb->mbs->be->ops->blob_open(mb->mbs->be, mb->user, mb->key, &hint, f.cb, f.arg);
}

void
mb_view_fetch(struct mb_view *v, uint32_t uid, store_fd_cb *cb, void *arg)
{
	struct fetching *f;

	if (v->mb == NULL) {
		cb(arg, STORE_NOTFOUND, -1, 0);
		return;
	}
	if ((f = calloc(1, sizeof *f)) == NULL) {
		cb(arg, STORE_TEMP, -1, 0);
		return;
	}
	*f = (struct fetching){ uid, v->uidvalidity, cb, arg };
	/* not while its log is written anew: lines are in other places then */
	mailbox_wait(v->mb, fetch, f);
}

struct mb_view *
mb_view_of(struct mailboxes *mbs, const char *user, const char *key, struct mb_view *before)
{
	struct mailbox *mb;

	if (before != NULL)
		return TAILQ_NEXT(before, next);
	mb = mailbox_find(mbs, user, key);
	return mb == NULL ? NULL : TAILQ_FIRST(&mb->views);
}

void *
mb_view_arg(const struct mb_view *v)
{
	return v->event_arg;
}

const char *
mb_view_user(const struct mb_view *v)
{
	return v->mb == NULL ? NULL : v->mb->user;
}

const char *
mb_view_key(const struct mb_view *v)
{
	return v->mb == NULL ? NULL : v->mb->key;
}

uint32_t
mb_view_uidvalidity(const struct mb_view *v)
{
	return v->uidvalidity;
}

/* --- lists ------------------------------------------------------------------------------------------------ */

struct listing {
	struct mailboxes *mbs;
	char user[STORE_USER_MAX + 1];
	struct mb_status *boxes;
	size_t n, at;
	bool as_is; /* nobody looks for what others did */
	mb_boxes_cb *cb;
	void *arg;
};

static void list_next(struct listing *l);

static void
list_loaded(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct listing *l = arg;

	if (rc == STORE_OK)
		index_status(&mb->x, &l->boxes[l->at].status);
	else
		l->boxes[l->at].exists = false;
	l->at++;
	list_next(l);
}

static void
list_scanned(void *arg, enum store_rc rc)
{
	struct listing *l = arg;
	struct mailbox *mb = mailbox_get(l->mbs, l->user, l->boxes[l->at].key);

	(void)rc; /* what is known is better than nothing */
	if (mb == NULL)
		list_loaded(l, STORE_TEMP, NULL);
	else
		mailbox_wait(mb, list_loaded, l);
}

/* Without a call for each: there may be thousands. */
static bool
list_ready(struct listing *l)
{
	struct mailbox *mb = mailbox_find(l->mbs, l->user, l->boxes[l->at].key);

	if (!l->as_is || mb == NULL || mb->state != MB_READY)
		return false;
	index_status(&mb->x, &l->boxes[l->at].status);
	return true;
}

static void
list_next(struct listing *l)
{
	while (l->at < l->n && (!l->boxes[l->at].exists || list_ready(l)))
		l->at++;
	if (l->at < l->n && l->as_is) {
		list_scanned(l, STORE_OK);
		return;
	}
	if (l->at < l->n) {
		mb_rescan(l->mbs, l->user, l->boxes[l->at].key, list_scanned, l);
		return;
	}
	l->cb(l->arg, STORE_OK, l->boxes, l->n);
	free(l->boxes);
	free(l);
}

static void
listed(void *arg, enum store_rc rc, struct store_listed *list, size_t n)
{
	struct listing *l = arg;
	size_t i;

	if (rc == STORE_OK && n > 0 && (l->boxes = calloc(n, sizeof *l->boxes)) == NULL)
		rc = STORE_TEMP;
	if (rc != STORE_OK) {
		l->cb(l->arg, rc, NULL, 0);
		free(l);
		return;
	}
	l->n = n;
	for (i = 0; i < n; i++) {
		memcpy(l->boxes[i].key, list[i].key, sizeof list[i].key);
		l->boxes[i].exists = list[i].exists;
		l->boxes[i].subscribed = list[i].subscribed;
	}
	list_next(l);
}

static void
list(struct mailboxes *mbs, const char *user, bool as_is, mb_boxes_cb *cb, void *arg)
{
	struct listing *l = calloc(1, sizeof *l);

	if (l == NULL) {
		cb(arg, STORE_TEMP, NULL, 0);
		return;
	}
	l->mbs = mbs;
	l->as_is = as_is;
	l->cb = cb;
	l->arg = arg;
	snprintf(l->user, sizeof l->user, "%s", user);
	mbs->be->ops->list(mbs->be, user, listed, l);
}

void
mb_boxes(struct mailboxes *mbs, const char *user, mb_boxes_cb *cb, void *arg)
{
	list(mbs, user, false, cb, arg);
}

void
mb_boxes_as_is(struct mailboxes *mbs, const char *user, mb_boxes_cb *cb, void *arg)
{
	list(mbs, user, true, cb, arg);
}

struct stating {
	struct mailboxes *mbs;
	char user[STORE_USER_MAX + 1];
	char key[STORE_BOX_MAX + 1];
	mb_stat_cb *cb;
	void *arg;
};

static void
stat_loaded(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct stating *s = arg;
	struct store_status st;

	if (rc == STORE_OK)
		index_status(&mb->x, &st);
	s->cb(s->arg, rc, rc == STORE_OK ? &st : NULL);
	free(s);
}

static void
stat_scanned(void *arg, enum store_rc rc)
{
	struct stating *s = arg;
	struct mailbox *mb = s->mbs->closing ? NULL : mailbox_get(s->mbs, s->user, s->key);

	(void)rc; /* what is known is better than nothing */
	if (mb == NULL)
		stat_loaded(s, STORE_TEMP, NULL);
	else
		mailbox_wait(mb, stat_loaded, s);
}

void
mb_stat(struct mailboxes *mbs, const char *user, const char *key, mb_stat_cb *cb, void *arg)
{
	struct stating *s = calloc(1, sizeof *s);

	if (s == NULL) {
		cb(arg, STORE_TEMP, NULL);
		return;
	}
	s->mbs = mbs;
	s->cb = cb;
	s->arg = arg;
	snprintf(s->user, sizeof s->user, "%s", user);
	snprintf(s->key, sizeof s->key, "%s", key);
	mb_rescan(mbs, user, key, stat_scanned, s);
}

void
mailboxes_count(const struct mailboxes *mbs, size_t *memory_out, size_t *open_out)
{
	const struct mailbox *mb;

	*memory_out = *open_out = 0;
	TAILQ_FOREACH(mb, &mbs->lru, lru) {
		*memory_out += mb->state != MB_NONE;
		*open_out += !TAILQ_EMPTY(&mb->views);
	}
}

/* --- all of it -------------------------------------------------------------------------------------------- */

struct mailboxes *
mailboxes_new(struct store_backend *be, struct kv *kv, const struct mailboxes_conf *conf)
{
	struct mailboxes *mbs = calloc(1, sizeof *mbs);

	if (mbs == NULL)
		return NULL;
	mbs->be = be;
	mbs->kv = kv;
	mbs->conf = *conf;
	maildir_host(conf->host, mbs->host);
	TAILQ_INIT(&mbs->lru);
	TAILQ_INIT(&mbs->late);
	mbs->hash = calloc(HASH_SIZE, sizeof *mbs->hash);
	mbs->nhash = HASH_SIZE;
	mbs->ids = mb_ids_new();
	if (mbs->hash == NULL || mbs->ids == NULL) {
		mailboxes_free(&mbs);
		return NULL;
	}
	be->touched = mailbox_touched;
	be->touched_arg = mbs;
	be->stuck = mailbox_stuck;
	be->stuck_arg = mbs;
	be->queue = conf->queue;
	if (conf->queue != NULL)
		mailboxes_queue_begin(mbs);
	return mbs;
}

void
mailboxes_free(struct mailboxes **mbsp)
{
	struct mailboxes *mbs = *mbsp;
	struct mailbox *mb;

	if (mbs == NULL)
		return;
	mbs->closing = true;
	if (mbs->hash != NULL)
		TAILQ_FOREACH(mb, &mbs->lru, lru) {
			mailbox_settled(mb, MB_NONE, STORE_TEMP);
			mb->unapplied = 0;
			mailbox_quiet(mb, STORE_OK);
		}
	if (mbs->hash != NULL)
		while ((mb = TAILQ_FIRST(&mbs->lru)) != NULL)
			mailbox_free(mb);
	mb_quota_free(mbs);
	mb_ids_free(&mbs->ids);
	free(mbs->hash);
	free(mbs);
	*mbsp = NULL;
}

void
mailboxes_flush(struct mailboxes *mbs)
{
	mbs->be->ops->flush(mbs->be);
}

bool
mailboxes_key(struct mailboxes *mbs, const char *space, const char *key, struct kv_entry *out)
{
	return kv_get(mbs->kv, space, key, mailbox_clock(mbs), out);
}

void
mailboxes_watch(struct mailboxes *mbs, mb_changed_f *f, void *arg)
{
	mbs->changed = f;
	mbs->changed_arg = arg;
}

static void
keys_replaced(void *arg, enum store_rc rc)
{
	(void)arg;
	if (rc != STORE_OK)
		log_msg(LOG_L_WARNING, "cannot write a log of keys anew: %s", store_rc_text(rc));
}

uint64_t
mailboxes_tick(struct mailboxes *mbs, uint64_t now_ms)
{
	char space[STORE_SPACE_MAX + 1];
	uint64_t next, queue;
	struct buf text;

	buf_init(&text, 1u << 30);
	kv_sweep(mbs->kv, mailbox_clock(mbs), SWEEP_PLACES);
	if (kv_compact(mbs->kv, mailbox_clock(mbs), space, &text))
		mbs->be->ops->keys_replace(mbs->be, space, &text, keys_replaced, NULL);
	buf_fini(&text);
	next = mbs->be->ops->tick(mbs->be, now_ms);
	queue = mbs->conf.queue != NULL ? mailboxes_queue_tick(mbs, now_ms) : UINT64_MAX;
	return queue < next ? queue : next;
}
