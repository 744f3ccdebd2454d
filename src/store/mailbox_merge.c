/* store/mailbox_merge.c - what other programs did becomes lines of the log like everything else, so that it is
 * numbered once and survives; and logs that have grown are written anew. */
#include "store/mailbox_impl.h"

#include "util/log.h"

#include <stdlib.h>
#include <string.h>

#define COMPACT_SLACK 1000        /* lines more than twice the messages */
#define COMPACT_OCTETS (64u << 10)
#define MERGE_MAX 8000            /* messages of one record: a journal of the smallest size has room for it */

/* --- lines ------------------------------------------------------------------------------------------------- */

static void
merge_keywords(struct writing *w, const struct store_scan *s)
{
	struct index *x = &w->mb->x;
	size_t from;
	unsigned k;

	for (k = 0; k < STORE_KEYWORDS_MAX; k++) {
		if (s->keywords[k][0] == '\0' || x->keywords[k][0] != '\0')
			continue;
		uint64_t modseq = writing_box(w, w->mb);

		writing_say(w);
		from = buf_size(&w->t->commit.text);
		if (w->rc == 0)
			w->rc = index_put_keyword(&w->t->commit.text, modseq, k, s->keywords[k]);
		writing_take(w, from);
	}
}

static void
merge_next(struct writing *w, uint32_t uidnext)
{
	size_t from;

	if (uidnext <= w->mb->x.uidnext)
		return;
	writing_say(w);
	from = buf_size(&w->t->commit.text);
	if (w->rc == 0)
		w->rc = index_put_next(&w->t->commit.text, uidnext);
	writing_take(w, from);
}

static void
merge_found(struct writing *w, const struct store_scan *s, size_t from, size_t to)
{
	size_t i;

	for (i = from; i < to && w->rc == 0; i++) {
		struct index_add a = { .uid = s->found[i].uid, .flags = s->found[i].flags,
			.where = s->found[i].where, .size = s->found[i].size, .date = s->found[i].date,
			.base = span_str(s->found[i].base) };

		if (s->fresh && a.uid == 0) /* those below were somebody's who is gone */
			merge_next(w, s->uidnext);
		writing_say(w);
		writing_line(w, 'X', 0, NULL);
		(void)writing_add(w, &a);
	}
}

static int
by_flags(const void *a, const void *b)
{
	const struct store_flagged *x = a, *y = b;

	if (x->flags != y->flags)
		return x->flags < y->flags ? -1 : 1;
	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

/* What was seen may be older than what was committed since. */
static void
merge_changes(struct writing *w, struct store_scan *s)
{
	const struct index *x = &w->mb->x;
	size_t i, nf = 0, ng = 0;
	uint32_t at;
	bool found;

	for (i = 0; i < s->nflagged; i++) {
		at = index_find(x, s->flagged[i].uid, &found);
		if (found && (x->msgs[at].flags != s->flagged[i].flags || (x->msgs[at].where & INDEX_NEW)))
			s->flagged[nf++] = s->flagged[i];
	}
	for (i = 0; i < s->ngone; i++) {
		(void)index_find(x, s->gone[i], &found);
		if (found)
			s->gone[ng++] = s->gone[i];
	}
	if (nf + ng > 0) { /* what was found is so already; by now it may be otherwise again, which must not be undone */
		writing_say(w);
		writing_line(w, 'X', 0, NULL);
	}
	if (nf > 0) {
		qsort(s->flagged, nf, sizeof *s->flagged, by_flags);
		writing_flags(w, s->flagged, nf);
	}
	if (ng > 0)
		writing_gone(w, s->gone, ng);
}

/* What comes before the messages that were found. */
static void
merge_first(struct writing *w, struct mailbox *mb, struct store_scan *s)
{
	if (s->fresh) {
		writing_rebuild(w, mb, s->uidvalidity);
		log_msg(LOG_L_NOTICE, "mailbox %s of %s has no index: made from the names of %zu messages", mb->key,
			mb->user, s->nfound);
	}
	(void)writing_box(w, mb);
	merge_keywords(w, s);
	merge_changes(w, s);
}

/* One record for each MERGE_MAX messages. false: one of them failed, and the mailbox is read again. */
static bool
merge(struct mailbox *mb, struct store_scan *s)
{
	unsigned reloads = mb->reloads;
	size_t at = 0, to;
	struct mb_txn *t;
	struct writing w;

	do {
		if ((t = mb_txn_new()) == NULL)
			return at == 0; /* the next scan says the same */
		t->mbs = mb->mbs;
		t->merges = mb;
		mb->merging++;
		mailbox_pin(mb);
		writing_begin(&w, mb->mbs, t);
		if (at == 0)
			merge_first(&w, mb, s);
		else
			(void)writing_box(&w, mb);
		to = s->nfound - at > MERGE_MAX ? at + MERGE_MAX : s->nfound;
		merge_found(&w, s, at, to);
		if (to == s->nfound && s->fresh)
			merge_next(&w, s->uidnext);
		txn_finish(t, w.rc);
		at = to;
	} while (at < s->nfound && mb->reloads == reloads);
	return mb->reloads == reloads;
}

/* --- scans ------------------------------------------------------------------------------------------------- */

static void
tell_scanned(struct mailbox *mb, enum store_rc rc)
{
	STAILQ_HEAD(, waiter) list = STAILQ_HEAD_INITIALIZER(list);
	struct waiter *w;

	STAILQ_CONCAT(&list, &mb->scan_waiters);
	while ((w = STAILQ_FIRST(&list)) != NULL) {
		STAILQ_REMOVE_HEAD(&list, next);
		w->f(w->arg, rc, mb);
		free(w);
	}
}

void
mailbox_scan_refused(struct mailbox *mb)
{
	tell_scanned(mb, STORE_TEMP);
}

static void
scanned(void *arg, enum store_rc rc, struct store_scan *s)
{
	struct mailbox *mb = arg;
	bool fresh = mb->state == MB_LOADING && !mb->stale && mb->x.uidvalidity == 0, merged = true;

	mb->scanning = false;
	if (mb->mbs->closing) {
		store_scan_free(&s);
		mailbox_unpin(mb);
		return;
	}
	if (fresh && rc == STORE_OK && (s == NULL || !s->fresh))
		rc = STORE_TEMP; /* an index came meanwhile: read it */
	if (!fresh && mb->x.uidvalidity != mb->scanned_as) { /* made again meanwhile: nothing of what was seen is of this one */
		mb->scan_again = true;
		merged = false;
	} else if (rc == STORE_OK && s != NULL && (fresh || (mb->state == MB_READY && !s->fresh)))
		merged = merge(mb, s);
	else if (rc == STORE_OK && s != NULL && mb->state == MB_READY)
		mailbox_reload(mb); /* its index was taken away: made again when it is read */
	else if (s != NULL)
		mb->scan_again = true;
	mb->scanned = rc == STORE_OK && merged;
	store_scan_free(&s);
	if (fresh && !merged) {
		mb->not_merged = true; /* it is being read again, and that is told */
	} else if (fresh) {
		if (rc != STORE_OK)
			mb->failed = rc;
		mailbox_settled(mb, rc == STORE_OK ? MB_READY : MB_NONE, rc);
	}
	if (mb->scan_again && mb->state == MB_READY) {
		mb->scan_again = false;
		mailbox_scan(mb, true);
	} else {
		tell_scanned(mb, rc);
	}
	mailbox_unpin(mb);
}

void
mailbox_merged(struct mailbox *mb)
{
	PT_ASSERT(mb->merging > 0);
	mb->merging--;
	mailbox_unpin(mb);
	if (mb->merging > 0 || !mb->scan_again || mb->scanning || mb->state == MB_BUSY)
		return; /* who is at it goes on */
	if (mb->state != MB_READY) {
		tell_scanned(mb, STORE_TEMP);
		return;
	}
	mb->scan_again = false;
	mailbox_scan(mb, true);
}

void
mailbox_scan(struct mailbox *mb, bool all)
{
	if (mb->scanning || mb->merging > 0) {
		mb->scan_again = true;
		return;
	}
	mb->scanning = true;
	mb->scanned_as = mb->x.uidvalidity;
	mailbox_pin(mb);
	mb->mbs->be->ops->scan(mb->mbs->be, mb->user, mb->key, all, scanned, mb);
}

/* Our own changes are seen, too. What name and index agree on is ours, or at least done. */
static bool
is_known(const struct mailbox *mb, struct span name, bool in_new, bool went)
{
	struct maildir_name n;
	const struct store_msg *m;
	char a[33], b[33];
	bool found, same;
	uint32_t i;

	if (!maildir_name_parse(name, &n))
		return name.n > 0; /* no message */
	if (!n.has_uid)
		return false;
	i = index_find(&mb->x, n.uid, &found);
	if (!found)
		return went;
	m = &mb->x.msgs[i];
	maildir_guid((struct span){ name.p, n.base }, a);
	index_guid(m, b);
	same = in_new ? (m->where & INDEX_NEW) != 0 : !(m->where & INDEX_NEW) && m->flags == n.flags;
	return went ? !same : same && strcmp(a, b) == 0;
}

void
mailbox_touched(void *arg, const char *user, const char *key, struct span name, bool in_new, bool went)
{
	struct mailbox *mb = mailbox_find(arg, user, key);

	if (mb == NULL || mb->state == MB_NONE)
		return;
	if (mb->state != MB_READY) /* when it is there again */
		mb->scan_again = true;
	else if (!is_known(mb, name, in_new, went))
		mailbox_scan(mb, true);
}

struct rescan {
	store_done_cb *cb;
	void *arg;
};

static void
rescanned(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct rescan *r = arg;

	(void)mb;
	r->cb(r->arg, rc);
	free(r);
}

static void
rescan(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct waiter *w;

	if (rc != STORE_OK || !(mb->mbs->be->ops->caps & STORE_CAP_EXTERNAL) ||
	    (w = calloc(1, sizeof *w)) == NULL) {
		rescanned(arg, rc, mb);
		return;
	}
	*w = (struct waiter){ .f = rescanned, .arg = arg };
	STAILQ_INSERT_TAIL(&mb->scan_waiters, w, next);
	mailbox_scan(mb, !mb->scanned);
}

void
mb_rescan(struct mailboxes *mbs, const char *user, const char *key, store_done_cb *cb, void *arg)
{
	struct mailbox *mb = mailbox_get(mbs, user, key);
	struct rescan *r = calloc(1, sizeof *r);

	if (mb == NULL || r == NULL) {
		free(r);
		cb(arg, STORE_TEMP);
		return;
	}
	*r = (struct rescan){ cb, arg };
	mailbox_wait(mb, rescan, r);
}

/* --- compaction --------------------------------------------------------------------------------------------- */

static void
compacted(void *arg, enum store_rc rc, struct index *x)
{
	struct mailbox *mb = arg;

	mailbox_unpin(mb);
	if (mb->mbs->closing)
		return;
	mb->compact_at = mb->x.lines * 2;
	if (rc == STORE_OK) {
		index_fini(&mb->x);
		mb->x = *x;
		index_init(x);
		mb->compact_at = 0;
		mailbox_tell(mb, MB_REPLACED, mb->x.end);
	} else {
		log_msg(LOG_L_WARNING, "the index of mailbox %s of %s cannot be written anew: %s", mb->key,
			mb->user, store_rc_text(rc));
	}
	mailbox_settled(mb, MB_READY, STORE_OK);
	if (mb->scan_again && mb->state == MB_READY && !mb->scanning) {
		mb->scan_again = false;
		mailbox_scan(mb, true);
	}
}

void
mailbox_maybe_compact(struct mailbox *mb)
{
	if (mb->state != MB_READY || mb->unapplied > 0 || mb->stale || mb->x.end < COMPACT_OCTETS ||
	    mb->x.lines < 2 * mb->x.n + COMPACT_SLACK || mb->x.lines < mb->compact_at)
		return;
	mb->state = MB_BUSY;
	mailbox_pin(mb);
	mb->mbs->be->ops->log_compact(mb->mbs->be, mb->user, mb->key, compacted, mb);
}
