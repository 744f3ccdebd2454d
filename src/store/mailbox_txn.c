/* store/mailbox_txn.c - a transaction: made, handed to the engine as a record, answered. */
#include "store/mailbox_impl.h"

#include "store/record.h"

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
			txn_refuse(same, STORE_TEMP, NULL);
		else
			mb_commit(same->mbs, same);
	}
}

void
txn_refuse(struct mb_txn *t, enum store_rc rc, const char *text)
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

/* Only its id: there is nothing to be made durable. */
bool
txn_is_empty(const struct mb_txn *t)
{
	struct span text = buf_span(&t->commit.text);
	struct record_line line;
	bool bad;

	return !record_next(&text, &line, &bad) || (line.kind == 'T' && text.n == 0);
}

void
txn_finish(struct mb_txn *t, int rc)
{
	unsigned i;

	if (rc == 0 && !txn_is_empty(t)) {
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
	txn_refuse(t, rc == PT_ETOOBIG ? STORE_INVALID : rc == PT_EFULL ? STORE_FULL : STORE_TEMP,
		rc == PT_EFULL ? "there is no room for more" : NULL);
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
		txn_refuse(t, STORE_INVALID, "what copies, renames, makes or deletes a mailbox has no other part about it");
	else
		txn_try(t);
}
