/* store/mailbox_txn.c - a transaction's life: wait for its mailboxes, look at all of it, write all of it, answer. */
#include "store/mailbox_impl.h"

#include "store/record.h"
#include "store/uidset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_SET_MAX (12 * 1024) /* octets of a set of UIDs in an answer */

/* --- made and freed --------------------------------------------------------------------------------------- */

struct mb_txn *
mb_txn_new(void)
{
	struct mb_txn *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	buf_init(&t->reply.uids, REPLY_SET_MAX);
	buf_init(&t->reply.sources, REPLY_SET_MAX);
	t->reply.text = "";
	return t;
}

struct mb_op *
mb_txn_op(struct mb_txn *t)
{
	struct mb_op *grown;
	unsigned cap = t->nops == 0 ? 1 : t->nops;

	if (t->nops >= STORE_TXN_OPS_MAX)
		return NULL;
	if ((t->nops & (t->nops - 1)) == 0) { /* at each power of two: twice as many */
		if ((grown = reallocarray(t->ops, (size_t)cap * 2, sizeof *grown)) == NULL)
			return NULL;
		t->ops = grown;
	}
	memset(&t->ops[t->nops], 0, sizeof *t->ops);
	t->ops[t->nops].body = -1;
	return &t->ops[t->nops++];
}

void
mb_txn_free(struct mb_txn **tp)
{
	struct mb_txn *t = *tp;
	unsigned i;

	if (t == NULL)
		return;
	for (i = 0; i < t->nops; i++) {
		free(t->ops[i].keywords);
		free(t->ops[i].set);
		free(t->ops[i].name);
		buf_fini(&t->ops[i].value);
		buf_fini(&t->ops[i].old_value);
		mb_queued_free(&t->ops[i].queued);
		free(t->ops[i].outcome.reply);
	}
	free(t->ops);
	free(t->bodies);
	buf_fini(&t->reply.uids);
	buf_fini(&t->reply.sources);
	buf_fini(&t->commit.text);
	free(t->commit.hints);
	free(t->touched);
	free(t->list);
	free(t);
	*tp = NULL;
}

void
txn_touched(struct mb_txn *t, struct mailbox *mb, struct mb_touched **out)
{
	struct mb_touched *grown;
	unsigned i;

	*out = NULL;
	for (i = t->ntouched; i-- > 0;)
		if (t->touched[i].mb == mb) {
			*out = &t->touched[i];
			return;
		}
	if ((grown = reallocarray(t->touched, t->ntouched + 1u, sizeof *grown)) == NULL)
		return;
	t->touched = grown;
	*out = &grown[t->ntouched++];
	**out = (struct mb_touched){ .mb = mb };
	mailbox_pin(mb);
}

static void refuse(struct mb_txn *t, enum store_rc rc, const char *text);

/* --- answers ---------------------------------------------------------------------------------------------- */

static void
answer(struct mb_txn *t)
{
	struct mb_txn *same, *next;

	if (t->answered)
		return;
	t->answered = true;
	if (t->is_late)
		TAILQ_REMOVE(&t->mbs->late, t, late);
	t->is_late = false;
	if (t->id[0] != '\0' && (t->reply.rc == STORE_OK || (t->reply.rc == STORE_CONFLICT && t->written)))
		mb_ids_done(t->mbs->ids, t->id, &t->reply);
	same = mb_ids_end(t->mbs->ids, t);
	if (t->done != NULL)
		t->done(t, &t->reply);
	for (; same != NULL; same = next) { /* what failed is tried again for them */
		next = same->same;
		same->same = NULL;
		if (same->mbs->closing)
			refuse(same, STORE_TEMP, NULL);
		else
			mb_commit(same->mbs, same);
	}
}

static void
refuse(struct mb_txn *t, enum store_rc rc, const char *text)
{
	t->reply.rc = rc;
	if (text != NULL)
		t->reply.text = text;
	answer(t);
	mb_txn_free(&t);
}

static void
commit_applied(struct store_commit *c)
{
	struct mb_txn *t = (struct mb_txn *)((char *)c - offsetof(struct mb_txn, commit));
	struct mb_touched *td;
	unsigned i;

	for (i = 0; i < t->ntouched; i++) {
		td = &t->touched[i];
		td->mb->unapplied--;
		mailbox_born(td->mb);
		if (!td->gone && !td->mb->stale)
			mailbox_tell(td->mb, MB_GREW, td->end);
		mailbox_unpin(td->mb);
		if (td->mb->stale && td->mb->unapplied == 0)
			mailbox_reload(td->mb);
		else
			mailbox_maybe_compact(td->mb);
		mailbox_quiet(td->mb, STORE_OK);
	}
	if (t->merges != NULL)
		mailbox_merged(t->merges);
	answer(t);
	mb_txn_free(&t);
}

static void
undo(struct mb_txn *t)
{
	unsigned i;

	for (i = t->nops; i-- > 0;)
		if (t->ops[i].kind == MB_PUT && t->ops[i].version != 0)
			kv_undo(t->mbs->kv, t->ops[i].space, t->ops[i].name,
				t->ops[i].had ? &t->ops[i].before : NULL);
		else
			queue_written(t->mbs, &t->ops[i], false);
	for (i = 0; i < t->ntouched; i++) {
		t->touched[i].mb->unapplied--;
		t->touched[i].mb->unborn = false; /* who waits hears it when it has been read */
		mailbox_unpin(t->touched[i].mb);
		mb_quota_unknown(t->mbs, t->touched[i].mb->user);
		mailbox_reload(t->touched[i].mb);
		mailbox_quiet(t->touched[i].mb, STORE_OK);
	}
	if (t->merges != NULL)
		mailbox_merged(t->merges);
}

/* What others watch has changed for good. */
static void
tell(struct mb_txn *t)
{
	struct mailboxes *mbs = t->mbs;
	unsigned i;

	for (i = 0; i < t->nops && mbs->changed != NULL; i++)
		if (t->ops[i].kind == MB_PUT)
			mbs->changed(mbs->changed_arg, t->ops[i].space, t->ops[i].name, t->ops[i].version);
	for (i = 0; i < t->nops && t->commit.queue; i++)
		queue_written(mbs, &t->ops[i], true);
	if (t->commit.queue)
		mailboxes_queue_look(mbs);
}

static bool
touches_stuck(const struct mb_txn *t)
{
	struct store_backend *be = t->mbs->be;
	unsigned i;

	for (i = 0; i < t->ntouched && be->ops->stuck != NULL; i++)
		if (be->ops->stuck(be, t->touched[i].mb->user, t->touched[i].mb->key))
			return true;
	return false;
}

static void
commit_done(struct store_commit *c, enum store_rc rc)
{
	struct mb_txn *t = (struct mb_txn *)((char *)c - offsetof(struct mb_txn, commit));

	if (rc != STORE_OK) {
		undo(t);
		t->written = false;
		t->reply.rc = rc;
		answer(t);
		mb_txn_free(&t);
		return;
	}
	tell(t);
	if ((!t->after_apply && (t->is_viewed == NULL || !t->is_viewed(t))) || touches_stuck(t)) {
		answer(t);
		return;
	}
	t->is_late = true;
	TAILQ_INSERT_TAIL(&t->mbs->late, t, late);
}

void
txn_stuck(struct mailboxes *mbs, const struct mailbox *mb)
{
	struct mb_txn *t, *next;
	unsigned i;

	for (t = TAILQ_FIRST(&mbs->late); t != NULL; t = next) {
		next = TAILQ_NEXT(t, late);
		for (i = 0; i < t->ntouched && t->touched[i].mb != mb; i++)
			continue;
		if (i < t->ntouched)
			answer(t);
	}
}

static void
submit(struct mb_txn *t)
{
	unsigned i;

	for (i = 0; i < t->ntouched; i++) {
		t->touched[i].end = t->touched[i].mb->x.end;
		t->touched[i].mb->unapplied++;
	}
	t->commit.bodies = t->bodies;
	t->commit.nbodies = t->nbodies;
	t->written = true;
	t->commit.done = commit_done;
	t->commit.applied = commit_applied;
	if (t->reply.id == 0)
		t->reply.id = t->mbs->be->ops->next_id(t->mbs->be);
	t->mbs->be->ops->commit(t->mbs->be, &t->commit);
}

/* --- looking: all mailboxes are there ---------------------------------------------------------------------- */

/* What looking at an operation says: go on, it waits (and looks again later), or it is refused. */
enum look { LOOK_ON, LOOK_WAIT, LOOK_NO };

static void try(struct mb_txn *t);

static void
woken(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct mb_txn *t = arg;

	(void)mb;
	if (rc == STORE_OK || rc == STORE_NOTFOUND)
		try(t);
	else
		refuse(t, rc, NULL);
}

static void
counted(void *arg)
{
	try(arg);
}

static enum look
no(struct mb_txn *t, enum store_rc rc, const char *text)
{
	t->reply.rc = rc;
	t->reply.text = text;
	return LOOK_NO;
}

static bool
settled(const struct mailbox *mb)
{
	return mb->state == MB_READY || mb->state == MB_NONE;
}

static bool
keywords_fit(const struct mailbox *mb, const struct mb_op *op)
{
	unsigned i, used = 0, fresh = 0;

	for (i = 0; i < STORE_KEYWORDS_MAX; i++)
		used += mb->x.keywords[i][0] != '\0';
	for (i = 0; i < op->nkeywords; i++)
		fresh += index_keyword(&mb->x, span_str(op->keywords[i])) < 0;
	return used + fresh <= STORE_KEYWORDS_MAX;
}

static bool
is_renamed(const struct mb_txn *t, const char *key)
{
	size_t n = strlen(t->ops[0].key);

	return strncmp(key, t->ops[0].key, n) == 0 && (key[n] == '\0' || key[n] == '.');
}

/* What `key` is called when `old` has become `new`. to has STORE_BOX_MAX + 1 octets; false: too long. */
static bool
new_name(char *to, const char *key, const char *old, const char *new)
{
	return snprintf(to, STORE_BOX_MAX + 1, "%s%s", new, key + strlen(old)) <= STORE_BOX_MAX;
}

/* In the list, or made since it was read. */
static bool
name_taken(struct mb_txn *t, const char *user, const char *key)
{
	const struct mailbox *mb = mailbox_find(t->mbs, user, key);
	size_t i;

	for (i = 0; i < t->nlist; i++)
		if (t->list[i].exists && strcmp(t->list[i].key, key) == 0)
			return true;
	return mb != NULL && mb->state != MB_NONE;
}

static enum look
look_box(struct mb_txn *t, struct mb_op *op, struct mailbox *mb)
{
	char to[STORE_BOX_MAX + 1];
	size_t i;

	switch (op->box_op) {
	case STORE_BOX_CREATE:
		return mb->state == MB_READY ? no(t, STORE_EXISTS, "the mailbox exists already") : LOOK_ON;
	case STORE_BOX_SUBSCRIBE:
	case STORE_BOX_UNSUBSCRIBE:
		return LOOK_ON;
	default:
		break;
	}
	if (strcmp(op->key, "INBOX") == 0)
		return no(t, STORE_DENIED, "INBOX can be neither deleted nor renamed");
	if (mb->state != MB_READY)
		return no(t, STORE_NOTFOUND, "there is no such mailbox");
	if (op->box_op != STORE_BOX_RENAME)
		return LOOK_ON;
	if (strcmp(op->key2, "INBOX") == 0)
		return no(t, STORE_EXISTS, "INBOX exists already");
	if (strncmp(op->key2, op->key, strlen(op->key)) == 0 && op->key2[strlen(op->key)] == '.')
		return no(t, STORE_INVALID, "a mailbox cannot go below itself");
	if (name_taken(t, op->user, op->key2))
		return no(t, STORE_EXISTS, "a mailbox of the new name exists already");
	for (i = 0; i < t->nlist; i++) {
		if (!t->list[i].exists || !is_renamed(t, t->list[i].key))
			continue;
		if (!new_name(to, t->list[i].key, op->key, op->key2))
			return no(t, STORE_INVALID, "the name of a mailbox below it would be too long");
		if (name_taken(t, op->user, to))
			return no(t, STORE_EXISTS, "a mailbox of the new name of one below it exists already");
	}
	return LOOK_ON;
}

static enum look
look_put(struct mb_txn *t, struct mb_op *op)
{
	struct kv_entry e;
	bool there = kv_get(t->mbs->kv, op->space, op->name, mailbox_clock(t->mbs), &e);

	if (op->expect == STORE_ANY_VERSION)
		return LOOK_ON;
	if (op->expect == 0)
		return there ? no(t, STORE_EXISTS, "the key is there already") : LOOK_ON;
	return there && e.version == op->expect ? LOOK_ON
		: no(t, STORE_CONFLICT, "the key was changed meanwhile");
}

static enum look
look_room(struct mb_txn *t, const char *user, uint64_t limit, uint64_t octets, uint64_t messages)
{
	enum store_rc rc;

	if (mb_quota_check(t->mbs, user, limit, octets, messages, counted, t, &rc))
		return LOOK_ON;
	return rc == STORE_OK ? LOOK_WAIT : no(t, rc, rc == STORE_OVERQUOTA
		? "the mailboxes of this user are full" : "");
}

static void
set_size(const struct mailbox *mb, struct span set, uint64_t *octets, uint64_t *n)
{
	struct uidset_range r;
	uint32_t i;
	bool found;

	*octets = *n = 0;
	while (uidset_next(&set, &r))
		for (i = index_find(&mb->x, r.first, &found); i < mb->x.n && mb->x.msgs[i].uid <= r.last; i++) {
			*octets += mb->x.msgs[i].size;
			*n += 1;
		}
}

static enum look
look(struct mb_txn *t, struct mb_op *op)
{
	struct mailbox *mb = NULL, *to;
	const char *text = "";
	uint64_t octets, n;
	enum store_rc rc;

	if (op->kind == MB_PUT)
		return look_put(t, op);
	if (op->kind == MB_QUEUE || op->kind == MB_OUTCOME) {
		rc = queue_look(t->mbs, op, &text);
		return rc == STORE_OK ? LOOK_ON : no(t, rc, text);
	}
	if ((mb = mailbox_find(t->mbs, op->user, op->key)) == NULL)
		return no(t, STORE_TEMP, "");
	switch (op->kind) {
	case MB_ADD:
		if (mb->state == MB_NONE && strcmp(op->key, "INBOX") != 0)
			return no(t, STORE_NOTFOUND, "there is no such mailbox");
		if (op->nkeywords > 0 && !keywords_fit(mb, op))
			return no(t, STORE_DENIED, "a mailbox has at most 26 keywords");
		return look_room(t, op->user, op->quota, op->octets, 1);
	case MB_COPY:
		to = mailbox_find(t->mbs, op->user, op->key2);
		if (mb->state != MB_READY)
			return no(t, STORE_NOTFOUND, "the mailbox is gone");
		if (to == NULL || (to->state != MB_READY && strcmp(op->key2, "INBOX") != 0))
			return no(t, STORE_NOTFOUND, "there is no such mailbox");
		if (op->move)
			return LOOK_ON;
		set_size(mb, span_str(op->set), &octets, &n);
		return look_room(t, op->user, 0, octets, n);
	case MB_FLAGS:
		if (mb->state != MB_READY)
			return no(t, STORE_NOTFOUND, "the mailbox is gone");
		return op->flag_op == STORE_FLAGS_REMOVE || keywords_fit(mb, op) ? LOOK_ON
			: no(t, STORE_DENIED, "a mailbox has at most 26 keywords");
	case MB_EXPUNGE:
		return mb->state == MB_READY ? LOOK_ON : no(t, STORE_NOTFOUND, "the mailbox is gone");
	case MB_BOX:
		return look_box(t, op, mb);
	case MB_PUT:
	case MB_QUEUE:
	case MB_OUTCOME:
		break;
	}
	return LOOK_ON;
}

/* --- writing: nothing is refused any more ------------------------------------------------------------------ */

uint32_t
txn_spare_uidvalidity(struct mailboxes *mbs, const char *user)
{
	int64_t now = mailbox_clock(mbs);
	uint32_t v = now > 0 && now < UINT32_MAX ? (uint32_t)now : 1;
	struct kv_entry e;
	uint64_t last;

	/* above every one that this user has seen, also when the clock was set back */
	if (kv_get(mbs->kv, "uidvalidity", user, now, &e) && record_number(e.value, &last) && last >= v &&
	    last < UINT32_MAX)
		v = (uint32_t)last + 1;
	return v;
}

uint32_t
txn_uidvalidity(struct writing *w, const char *user)
{
	uint32_t v = txn_spare_uidvalidity(w->mbs, user);
	char text[16], version[24];

	snprintf(text, sizeof text, "%u", v);
	snprintf(version, sizeof version, "%llu", (unsigned long long)kv_next_version(w->mbs->kv));
	writing_line(w, 'V', 5, (struct span[]){ span_str("uidvalidity"), span_str(user), span_str(version),
		span_str("0"), span_str(text) });
	w->said = NULL; /* the line ends the mailbox's */
	if (w->rc == 0)
		w->rc = kv_set(w->mbs->kv, "uidvalidity", user, kv_next_version(w->mbs->kv), 0, span_str(text));
	return v;
}

static void
create(struct writing *w, struct mailbox *mb)
{
	writing_create(w, mb, txn_uidvalidity(w, mb->user));
}

void
writing_source(struct writing *w, const struct mb_op *op)
{
	char a[24], b[24];
	uint64_t off = 0;
	int i;

	snprintf(b, sizeof b, "%llu", (unsigned long long)op->octets);
	if (op->body < 0) {
		writing_line(w, 'F', 2, (struct span[]){ span_str(op->file), span_str(b) });
		return;
	}
	for (i = 0; i < op->body; i++)
		off += w->t->bodies[i].n;
	snprintf(a, sizeof a, "%llu", (unsigned long long)off);
	writing_line(w, 'I', 2, (struct span[]){ span_str(a), span_str(b) });
}

static void
note_uid(struct writing *w, struct uidset_writer *set, uint32_t uid)
{
	uidset_add(set, uid);
	w->t->reply.uidvalidity = w->mb->x.uidvalidity;
	w->t->reply.modseq = w->mb->x.modseq;
}

static void
write_add(struct writing *w, struct mb_op *op, struct uidset_writer *uids)
{
	struct mailbox *mb = mailbox_find(w->mbs, op->user, op->key);
	struct index_add a = { .flags = op->flags, .size = op->octets, .date = op->date };
	uint32_t keywords;

	if (mb->state == MB_NONE)
		create(w, mb);
	(void)writing_box(w, mb);
	(void)writing_keywords(w, (const char (*)[STORE_KEYWORD_MAX + 1])op->keywords, op->nkeywords, true,
		&keywords);
	writing_say(w);
	a.flags |= keywords;
	a.where = op->has_flags ? 0 : INDEX_NEW;
	if (a.date == 0)
		a.date = mailbox_clock(w->mbs);
	writing_source(w, op);
	note_uid(w, uids, writing_add(w, &a));
}

/* Keywords have other letters in another mailbox. */
static uint32_t
translate(struct writing *w, const struct mailbox *from, uint32_t flags)
{
	uint32_t out = flags & (STORE_KEYWORD(0) - 1), bit;
	unsigned k;

	for (k = 0; k < STORE_KEYWORDS_MAX; k++)
		if ((flags & STORE_KEYWORD(k)) && from->x.keywords[k][0] != '\0') {
			(void)writing_keywords(w, &from->x.keywords[k], 1, true, &bit);
			out |= bit;
		}
	return out;
}

static void
copy_one(struct writing *w, struct mailbox *from, const struct store_msg *m, struct uidset_writer *uids)
{
	struct index_add a = { .size = m->size, .date = m->date, .where = m->where };
	char uid[16], guid[33];

	a.flags = translate(w, from, m->flags);
	index_guid(m, guid);
	a.guid = guid;
	snprintf(uid, sizeof uid, "%u", m->uid);
	writing_say(w);
	writing_line(w, 'S', 4, (struct span[]){ span_str(from->user), span_str(from->key), span_str(uid),
		span_str(from->x.id) });
	writing_hint(w, m);
	note_uid(w, uids, writing_add(w, &a));
}

static void
write_copy(struct writing *w, struct mb_op *op, struct uidset_writer *uids, struct uidset_writer *sources)
{
	struct mailbox *from = mailbox_find(w->mbs, op->user, op->key);
	struct mailbox *to = mailbox_find(w->mbs, op->user, op->key2);
	struct span set = span_str(op->set);
	struct uidset_range r;
	uint32_t *moved = NULL, i, last = from->x.uidnext - 1;
	struct store_msg m;
	size_t n = 0;
	bool found;

	if (op->move && (moved = calloc((size_t)from->x.n + 1, sizeof *moved)) == NULL)
		w->rc = PT_ENOMEM;
	while (w->rc == 0 && uidset_next(&set, &r))
		for (i = index_find(&from->x, r.first, &found); i < from->x.n && from->x.msgs[i].uid <= r.last &&
		     from->x.msgs[i].uid <= last && w->rc == 0; i++) {
			m = from->x.msgs[i]; /* a copy within a mailbox may move the array */
			if (to->state == MB_NONE)
				create(w, to);
			(void)writing_box(w, to);
			copy_one(w, from, &m, uids);
			uidset_add(sources, m.uid);
			if (op->move)
				moved[n++] = m.uid;
		}
	if (op->move && n > 0 && w->rc == 0) {
		(void)writing_box(w, from);
		writing_gone(w, moved, n);
	}
	free(moved);
}

static int
by_flags(const void *a, const void *b)
{
	const struct store_flagged *x = a, *y = b;

	if (x->flags != y->flags)
		return x->flags < y->flags ? -1 : 1;
	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static uint32_t
changed_flags(const struct mb_op *op, uint32_t now, uint32_t bits)
{
	switch (op->flag_op) {
	case STORE_FLAGS_ADD:
		return now | bits;
	case STORE_FLAGS_REMOVE:
		return now & ~bits;
	default:
		return bits;
	}
}

static void
write_flags(struct writing *w, struct mb_op *op, struct uidset_writer *uids)
{
	struct mailbox *mb = mailbox_find(w->mbs, op->user, op->key);
	struct span set = span_str(op->set);
	struct store_flagged *f = calloc((size_t)mb->x.n + 1, sizeof *f);
	const struct store_msg *m;
	struct uidset_range r;
	uint32_t bits, i, flags;
	size_t n = 0;
	bool found;

	if (f == NULL) {
		w->rc = PT_ENOMEM;
		return;
	}
	(void)writing_box(w, mb);
	(void)writing_keywords(w, (const char (*)[STORE_KEYWORD_MAX + 1])op->keywords, op->nkeywords,
		op->flag_op != STORE_FLAGS_REMOVE, &bits);
	bits |= op->flags;
	while (uidset_next(&set, &r))
		for (i = index_find(&mb->x, r.first, &found); i < mb->x.n && mb->x.msgs[i].uid <= r.last; i++) {
			m = &mb->x.msgs[i];
			flags = changed_flags(op, m->flags, bits);
			if (m->modseq > op->unchangedsince) {
				uidset_add(uids, m->uid);
				w->t->reply.rc = STORE_CONFLICT;
				w->t->reply.text = "some messages were changed meanwhile";
			} else if (flags != m->flags) {
				f[n++] = (struct store_flagged){ m->uid, flags };
			}
		}
	if (n > 0) {
		qsort(f, n, sizeof *f, by_flags);
		writing_flags(w, f, n);
	}
	w->t->reply.modseq = mb->x.modseq;
	free(f);
}

static void
write_expunge(struct writing *w, struct mb_op *op, struct uidset_writer *out)
{
	struct mailbox *mb = mailbox_find(w->mbs, op->user, op->key);
	struct span set = span_str(op->set);
	uint32_t *uids = calloc((size_t)mb->x.n + 1, sizeof *uids), i;
	struct uidset_range r;
	size_t n = 0;
	bool found;

	if (uids == NULL) {
		w->rc = PT_ENOMEM;
		return;
	}
	while (uidset_next(&set, &r))
		for (i = index_find(&mb->x, r.first, &found); i < mb->x.n && mb->x.msgs[i].uid <= r.last; i++)
			if (mb->x.msgs[i].flags & STORE_DELETED) {
				uidset_add(out, mb->x.msgs[i].uid);
				uids[n++] = mb->x.msgs[i].uid;
			}
	if (n > 0) {
		(void)writing_box(w, mb);
		writing_gone(w, uids, n);
	}
	w->t->reply.modseq = mb->x.modseq;
	free(uids);
}

/* The mailbox in memory under its old name is no more; views hear it when the record is there. */
static void
touch_gone(struct writing *w, struct mailbox *mb)
{
	struct mb_touched *td;

	txn_touched(w->t, mb, &td);
	if (td == NULL) {
		w->rc = PT_ENOMEM;
		return;
	}
	td->gone = true;
	mb_quota_change(w->mbs, mb->user, -(int64_t)mb->x.octets, -(int64_t)mb->x.n);
	mailbox_gone(mb);
}

static void
rename_one(struct writing *w, const char *user, const char *key, const char *old, const char *new)
{
	char to[STORE_BOX_MAX + 1], modseq[24];
	struct mailbox *mb = mailbox_find(w->mbs, user, key);

	if (mb == NULL || mb->state != MB_READY || !new_name(to, key, old, new))
		return;
	snprintf(modseq, sizeof modseq, "%llu", (unsigned long long)mb->x.modseq + 1);
	writing_line(w, 'R', 5, (struct span[]){ span_str(user), span_str(key), span_str(to),
		span_str(mb->x.id), span_str(modseq) });
	touch_gone(w, mb);
	if ((mb = mailbox_get(w->mbs, user, to)) != NULL) {
		struct mb_touched *td;

		txn_touched(w->t, mb, &td);
		if (td != NULL)
			td->gone = true;
		mb->stale = true; /* read when it is applied */
		mb->state = MB_LOADING;
	}
}

static void
write_box(struct writing *w, struct mb_op *op)
{
	struct mailbox *mb = mailbox_find(w->mbs, op->user, op->key);
	size_t i;

	switch (op->box_op) {
	case STORE_BOX_CREATE:
		create(w, mb);
		w->t->reply.uidvalidity = mb->x.uidvalidity;
		break;
	case STORE_BOX_DELETE:
		writing_line(w, 'D', 3, (struct span[]){ span_str(op->user), span_str(op->key),
			span_str(mb->x.id) });
		touch_gone(w, mb);
		break;
	case STORE_BOX_RENAME:
		for (i = 0; i < w->t->nlist; i++)
			if (w->t->list[i].exists && is_renamed(w->t, w->t->list[i].key))
				rename_one(w, op->user, w->t->list[i].key, op->key, op->key2);
		mb_quota_unknown(w->mbs, op->user);
		break;
	default:
		writing_line(w, 's', 3, (struct span[]){ span_str(op->user), span_str(op->key),
			span_str(op->box_op == STORE_BOX_SUBSCRIBE ? "1" : "0") });
	}
	w->said = NULL;
}

static void
write_put(struct writing *w, struct mb_op *op)
{
	uint64_t version = kv_next_version(w->mbs->kv);
	int64_t expires = op->ttl_s == 0 ? 0 : mailbox_clock(w->mbs) + op->ttl_s;
	char v[24], e[24];

	op->had = kv_get(w->mbs->kv, op->space, op->name, mailbox_clock(w->mbs), &op->before);
	if (op->had) { /* its own copy: the table's goes */
		buf_init(&op->old_value, STORE_VALUE_MAX);
		if (buf_append(&op->old_value, op->before.value.p, op->before.value.n) != 0)
			w->rc = PT_ENOMEM;
		op->before.value = buf_span(&op->old_value);
	}
	snprintf(v, sizeof v, "%llu", (unsigned long long)version);
	snprintf(e, sizeof e, "%lld", (long long)expires);
	writing_line(w, op->has_value ? 'V' : 'v', op->has_value ? 5 : 3, (struct span[]){ span_str(op->space),
		span_str(op->name), span_str(v), span_str(e), buf_span(&op->value) });
	w->said = NULL;
	if (w->rc == 0)
		w->rc = kv_set(w->mbs->kv, op->space, op->name, version, op->has_value ? expires : -1,
			buf_span(&op->value));
	if (w->rc == 0)
		op->version = w->t->reply.id = version;
}

/* Only its id: there is nothing to be made durable. */
static bool
is_empty(const struct mb_txn *t)
{
	struct span text = buf_span(&t->commit.text);
	struct record_line line;
	bool bad;

	return !record_next(&text, &line, &bad) || (line.kind == 'T' && text.n == 0);
}

static void
write_all(struct mb_txn *t)
{
	struct uidset_writer uids, sources;
	struct writing w;
	struct mb_op *op;
	unsigned i;

	writing_begin(&w, t->mbs, t);
	uidset_begin(&uids, &t->reply.uids);
	uidset_begin(&sources, &t->reply.sources);
	for (i = 0; i < t->nops && w.rc == 0; i++) {
		op = &t->ops[i];
		switch (op->kind) {
		case MB_ADD:
			write_add(&w, op, &uids);
			break;
		case MB_COPY:
			write_copy(&w, op, &uids, &sources);
			break;
		case MB_FLAGS:
			write_flags(&w, op, &uids);
			break;
		case MB_EXPUNGE:
			write_expunge(&w, op, &uids);
			break;
		case MB_BOX:
			write_box(&w, op);
			break;
		case MB_PUT:
			write_put(&w, op);
			break;
		case MB_QUEUE:
		case MB_OUTCOME:
			queue_write(&w, op);
			break;
		}
	}
	/* an answer that does not fit is an answer without UIDs: what was done is done */
	if (uidset_end(&uids) != 0 || uidset_end(&sources) != 0) {
		buf_fini(&t->reply.uids);
		buf_fini(&t->reply.sources);
	}
	if (w.rc == 0 && t->reply.rc == STORE_CONFLICT && !is_empty(t)) /* repeated after a start, it is answered so again */
		writing_line(&w, 'M', 1, (struct span[]){ buf_span(&t->reply.uids) });
	txn_finish(t, w.rc);
}

void
txn_finish(struct mb_txn *t, int rc)
{
	unsigned i;

	if (rc == 0 && !is_empty(t)) {
		submit(t);
		return;
	}
	if (rc == 0) {
		for (i = 0; i < t->ntouched; i++)
			mailbox_unpin(t->touched[i].mb);
		if (t->merges != NULL)
			mailbox_merged(t->merges);
		answer(t);
		mb_txn_free(&t);
		return;
	}
	for (i = 0; i < t->ntouched; i++)
		t->touched[i].mb->unapplied++; /* undo() takes it back */
	undo(t);
	refuse(t, rc == PT_ETOOBIG ? STORE_INVALID : rc == PT_EFULL ? STORE_FULL : STORE_TEMP,
		rc == PT_EFULL ? "there is no room for more" : NULL);
}

/* --- waiting --------------------------------------------------------------------------------------------- */

static void
listed(void *arg, enum store_rc rc, struct store_listed *list, size_t n)
{
	struct mb_txn *t = arg;

	if (rc == STORE_OK && n > 0 && (t->list = calloc(n, sizeof *list)) == NULL)
		rc = STORE_TEMP;
	if (rc != STORE_OK) {
		refuse(t, rc, NULL);
		return;
	}
	if (n > 0)
		memcpy(t->list, list, n * sizeof *list);
	t->nlist = n;
	t->listed = true;
	try(t);
}

static bool
needs_list(const struct mb_txn *t)
{
	return !t->listed && t->nops > 0 && t->ops[0].kind == MB_BOX && t->ops[0].box_op == STORE_BOX_RENAME;
}

/* It would be accepted, and wait in the journal for nobody knows how long. */
static bool
is_stuck(const struct mb_txn *t, const struct mb_op *op)
{
	struct store_backend *be = t->mbs->be;

	if (be->ops->stuck == NULL || op->kind > MB_PUT)
		return false;
	if (op->kind == MB_PUT)
		return be->ops->stuck(be, "", op->space);
	return be->ops->stuck(be, op->user, "") || be->ops->stuck(be, op->user, op->key) ||
		(op->key2[0] != '\0' && be->ops->stuck(be, op->user, op->key2));
}

/* All loads begin; the first that is not ready is the one to wait for. NULL: all are there. */
static struct mailbox *
first_unready(struct mb_txn *t, enum store_rc *failed)
{
	struct mailbox *mb, *wait = NULL;
	struct mb_op *op;
	unsigned i, k;

	*failed = STORE_OK;
	for (i = 0; i < t->nops; i++) {
		op = &t->ops[i];
		if (is_stuck(t, op)) {
			*failed = STORE_TEMP;
			return NULL;
		}
		for (k = 0; op->kind < MB_PUT && k < (op->kind == MB_COPY ? 2 : 1); k++) {
			mb = mailbox_get(t->mbs, op->user, k == 0 ? op->key : op->key2);
			if (mb == NULL)
				*failed = STORE_TEMP;
			else if (!settled(mb) && wait == NULL)
				wait = mb;
			else if (mb->failed != STORE_OK)
				*failed = mb->failed;
		}
	}
	for (i = 0; i < t->nlist; i++) { /* a rename: its children too */
		if (!t->list[i].exists || !is_renamed(t, t->list[i].key))
			continue;
		if ((mb = mailbox_get(t->mbs, t->ops[0].user, t->list[i].key)) == NULL)
			*failed = STORE_TEMP;
		else if (!settled(mb) && wait == NULL)
			wait = mb;
	}
	return wait;
}

static void
try(struct mb_txn *t)
{
	struct mailbox *wait;
	enum store_rc rc;
	uint64_t octets = 0;
	enum look l = LOOK_ON;
	unsigned i;

	wait = first_unready(t, &rc);
	if (rc != STORE_OK) {
		refuse(t, rc, NULL);
		return;
	}
	if (wait != NULL) {
		mailbox_wait(wait, woken, t);
		return;
	}
	if (needs_list(t)) {
		t->mbs->be->ops->list(t->mbs->be, t->ops[0].user, listed, t);
		return;
	}
	t->mbs->look_pass++;
	for (i = 0; i < t->nops && l == LOOK_ON; i++) {
		if ((l = look(t, &t->ops[i])) == LOOK_WAIT)
			return; /* it may have come to its end already: an engine may answer at once */
		octets += t->ops[i].kind == MB_ADD || t->ops[i].kind == MB_QUEUE ? t->ops[i].octets
			: t->ops[i].kind == MB_PUT ? 1 : 0;
	}
	if (l == LOOK_ON && octets > 0 && (rc = t->mbs->be->ops->room(t->mbs->be, octets)) != STORE_OK)
		l = no(t, rc, rc == STORE_FULL ? "the disk is full" : "");
	if (l == LOOK_NO)
		refuse(t, t->reply.rc, NULL);
	else
		write_all(t);
}

/* A mailbox that is made or goes: no other part is about it, because each was looked at before any is done. */
static bool
is_alone(const struct mb_txn *t, const struct mb_op *op)
{
	const struct mb_op *o;

	for (o = t->ops; o < t->ops + t->nops; o++)
		if (o != op && o->kind != MB_PUT && strcmp(o->key, op->key) == 0 && strcmp(o->user, op->user) == 0 &&
		    !(o->kind == MB_BOX && (o->box_op == STORE_BOX_SUBSCRIBE || o->box_op == STORE_BOX_UNSUBSCRIBE)))
			return false;
	return true;
}

/* Copies tie two mailboxes together: such a transaction has no other part. */
static bool
shape_ok(const struct mb_txn *t)
{
	const struct mb_op *op;
	unsigned tied = 0;

	for (op = t->ops; op < t->ops + t->nops; op++) {
		tied += op->kind == MB_COPY || (op->kind == MB_BOX && op->box_op == STORE_BOX_RENAME);
		if (op->kind == MB_BOX && (op->box_op == STORE_BOX_CREATE || op->box_op == STORE_BOX_DELETE) &&
		    !is_alone(t, op))
			return false;
	}
	return t->nops > 0 && (tied == 0 || t->nops == 1);
}

void
mb_commit(struct mailboxes *mbs, struct mb_txn *t)
{
	struct mb_known known;

	t->mbs = mbs;
	if (t->id[0] != '\0' && mb_ids_find(mbs->ids, t->id, &known)) {
		t->reply.rc = known.rc;
		t->reply.id = known.id;
		t->reply.uidvalidity = known.uidvalidity;
		t->reply.modseq = known.modseq;
		t->answered = true; /* nothing to remember */
		if (buf_append_str(&t->reply.uids, known.uids) != 0 ||
		    buf_append_str(&t->reply.sources, known.sources) != 0)
			buf_fini(&t->reply.uids);
		t->done(t, &t->reply);
		mb_txn_free(&t);
		return;
	}
	if (!mb_ids_begin(mbs->ids, t))
		return;
	if (!shape_ok(t))
		refuse(t, STORE_INVALID, "what copies, renames, makes or deletes a mailbox has no other part about it");
	else
		try(t);
}
