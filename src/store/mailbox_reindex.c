/* store/mailbox_reindex.c - a log made anew because somebody asked for it, or because it was found damaged: nothing else happens to the
 * mailbox meanwhile, and everybody who has it open is told to read it again. */
#include "store/mailbox_impl.h"

#include "util/log.h"

#include <stdlib.h>
#include <string.h>

struct reindex {
	struct mailbox *mb;
	mb_reindex_cb *cb;
	void *arg;
	struct store_header known;
	bool holds; /* the mailbox is busy because of us */
};

/* The UIDVALIDITY that the new log has is taken: no other mailbox of this user gets it or one below. */
static void
note_uidvalidity(struct mailbox *mb)
{
	struct mb_txn *t = mb_txn_new();
	struct writing w;

	if (t == NULL)
		return; /* the clock is above it in a second */
	t->mbs = mb->mbs;
	writing_begin(&w, mb->mbs, t);
	(void)txn_uidvalidity(&w, mb->user);
	txn_finish(t, w.rc);
}

static void
take(struct mailbox *mb, struct index *x)
{
	index_fini(&mb->x);
	mb->x = *x;
	index_init(x);
	mb->failed = STORE_OK;
	mb->stale = false;
	mb->compact_at = 0;
	mb_quota_unknown(mb->mbs, mb->user);
	mailbox_tell(mb, MB_REPLACED, mb->x.end);
}

static void
rebuilt(void *arg, enum store_rc rc, struct index *x, const struct store_rebuilt *out)
{
	struct reindex *r = arg;
	struct mailbox *mb = r->mb;
	struct store_status st = { 0 };

	mailbox_unpin(mb);
	if (mb->mbs->closing) {
		r->cb(r->arg, STORE_TEMP, &st, out);
		free(r);
		return;
	}
	if (rc == STORE_OK || x->uidvalidity != 0) { /* the new one is in its place, for good or not */
		take(mb, x);
		if (out->header == STORE_HEADER_NEW)
			note_uidvalidity(mb);
		index_status(&mb->x, &st);
	}
	if (rc == STORE_OK || r->known.uidvalidity != 0) {
		mailbox_settled(mb, MB_READY, STORE_OK); /* after a failure what was there is there */
	} else {
		mb->failed = rc == STORE_NOTFOUND ? STORE_OK : rc;
		mailbox_settled(mb, MB_NONE, rc);
	}
	if (mb->scan_again && mb->state == MB_READY && !mb->scanning) {
		mb->scan_again = false;
		mailbox_scan(mb, true);
	}
	r->cb(r->arg, rc, &st, out);
	free(r);
}

static void
give_up(struct reindex *r)
{
	static const struct store_rebuilt nothing;
	struct store_status none = { 0 };

	mailbox_unpin(r->mb);
	r->cb(r->arg, STORE_TEMP, &none, &nothing);
	free(r);
}

static void try(void *arg);

static void
settled(void *arg, enum store_rc rc, struct mailbox *mb)
{
	/* what cannot be read is what this is for, but not what cannot be written */
	if (rc != STORE_OK && (mb->state == MB_LOADING || mb->state == MB_BUSY))
		give_up(arg);
	else
		try(arg);
}

/* What was committed is in the log, or will not be soon. */
static void
quiet(void *arg, enum store_rc rc)
{
	struct reindex *r = arg;
	struct mailbox *mb = r->mb;

	if (rc == STORE_OK) {
		try(r);
		return;
	}
	if (mb->state == MB_BUSY) /* as it was before */
		mailbox_settled(mb, mb->x.uidvalidity != 0 ? MB_READY : MB_NONE,
			mb->x.uidvalidity != 0 ? STORE_OK : STORE_NOTFOUND);
	give_up(r);
}

/* All that was committed is in the old log, and nobody commits. */
static void
start(struct reindex *r)
{
	struct mailbox *mb = r->mb;

	r->known = (struct store_header){ .created = mailbox_clock(mb->mbs),
		.spare_uidvalidity = txn_spare_uidvalidity(mb->mbs, mb->user) };
	if (mb->x.uidvalidity != 0) {
		r->known.uidvalidity = mb->x.uidvalidity;
		memcpy(r->known.id, mb->x.id, sizeof r->known.id);
		r->known.created = mb->x.created;
		r->known.uidnext = mb->x.uidnext;
		r->known.modseq = mb->x.modseq;
	}
	mb->mbs->be->ops->rebuild(mb->mbs->be, mb->user, mb->key, &r->known, rebuilt, r);
}

static void
try(void *arg)
{
	struct reindex *r = arg;
	struct mailbox *mb = r->mb;

	if (mb->mbs->closing) {
		give_up(r);
		return;
	}
	if (r->holds && mb->state == MB_BUSY) {
		start(r);
		return;
	}
	r->holds = false; /* a commit failed, and it is read again */
	if (mb->state == MB_LOADING || mb->state == MB_BUSY) {
		mailbox_wait(mb, settled, r);
		return;
	}
	r->holds = true;
	mb->state = MB_BUSY; /* nothing new; what is on its way names places in the old log */
	if (mb->unapplied == 0) {
		start(r);
		return;
	}
	mb->quiet = quiet;
	mb->quiet_arg = r;
}

void
mb_reindex(struct mailboxes *mbs, const char *user, const char *key, mb_reindex_cb *cb, void *arg)
{
	static const struct store_rebuilt nothing;
	struct store_status none = { 0 };
	struct reindex *r = calloc(1, sizeof *r);
	struct mailbox *mb = mailbox_place(mbs, user, key);

	if (r == NULL || mb == NULL || mbs->be->ops->rebuild == NULL) {
		free(r);
		cb(arg, mbs->be->ops->rebuild == NULL ? STORE_INVALID : STORE_TEMP, &none, &nothing);
		return;
	}
	*r = (struct reindex){ .mb = mb, .cb = cb, .arg = arg };
	mailbox_pin(mb); /* until rebuilt() */
	try(r);
}
