/* store/mailbox_lines.c - changes as lines of a record, taken into memory as they are written: what is in memory is always what
 * the log will say when all that was committed is applied. */
#include "store/mailbox_impl.h"

#include "store/record.h"
#include "store/uidset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void
writing_begin(struct writing *w, struct mailboxes *mbs, struct mb_txn *t)
{
	struct timespec now;

	*w = (struct writing){ .mbs = mbs, .t = t };
	clock_gettime(CLOCK_REALTIME, &now);
	w->stamp = (struct maildir_stamp){ .sec = (uint64_t)mailbox_clock(mbs),
		.us = (uint32_t)(now.tv_nsec / 1000), .lsn = mbs->be->ops->next_id(mbs->be) };
	buf_init(&t->commit.text, STORE_TXN_OCTETS_MAX * 16u);
	if (t->id[0] != '\0')
		writing_line(w, 'T', 1, (struct span[]){ span_str(t->id) });
}

void
writing_line(struct writing *w, char kind, unsigned n, const struct span *words)
{
	if (w->rc == 0)
		w->rc = record_put(&w->t->commit.text, kind, n, words);
}

uint64_t
writing_box(struct writing *w, struct mailbox *mb)
{
	struct mb_touched *td = NULL;

	txn_touched(w->t, mb, &td);
	if (td == NULL) {
		w->rc = PT_ENOMEM;
		return 0;
	}
	if (td->modseq == 0)
		td->modseq = mb->x.modseq + 1;
	w->mb = mb;
	return td->modseq;
}

void
writing_say(struct writing *w)
{
	if (w->said == w->mb)
		return;
	w->said = w->mb;
	writing_line(w, 'B', 3, (struct span[]){ span_str(w->mb->user), span_str(w->mb->key),
		span_str(w->mb->x.id) });
}

void
writing_hint(struct writing *w, const struct store_msg *m)
{
	struct store_commit *c = &w->t->commit;
	struct store_hint *grown;
	size_t cap;

	if (c->nhints == w->t->hints_cap) {
		cap = w->t->hints_cap == 0 ? 8 : w->t->hints_cap * 2;
		if ((grown = reallocarray(c->hints, cap, sizeof *grown)) == NULL) {
			w->rc = PT_ENOMEM;
			return;
		}
		c->hints = grown;
		w->t->hints_cap = cap;
	}
	c->hints[c->nhints++] = (struct store_hint){ .uid = m->uid, .flags = m->flags, .line = m->line,
		.where = m->where };
}

void
writing_take(struct writing *w, size_t from)
{
	struct span s = buf_span(&w->t->commit.text);
	struct index *x = &w->mb->x;
	uint64_t octets = x->octets;
	uint32_t n = x->n;
	bool bad;
	int rc;

	if (w->rc != 0)
		return;
	s.p += from;
	s.n -= from;
	PT_ASSERT(index_feed(x, s, 1, NULL, NULL, &bad, &rc) == s.n || rc != 0);
	w->rc = rc;
	if (x->octets != octets || x->n != n)
		mb_quota_change(w->mbs, w->mb->user, (int64_t)(x->octets - octets), (int64_t)x->n - n);
}

void
writing_create(struct writing *w, struct mailbox *mb, uint32_t uidvalidity)
{
	uint32_t random[4];
	char id[33];
	size_t from;

	arc4random_buf(random, sizeof random);
	snprintf(id, sizeof id, "%08x%08x%08x%08x", random[0], random[1], random[2], random[3]);
	index_fini(&mb->x);
	memcpy(mb->x.id, id, sizeof id);
	(void)writing_box(w, mb);
	writing_say(w);
	from = buf_size(&w->t->commit.text);
	if (w->rc == 0)
		w->rc = index_put_header(&w->t->commit.text, uidvalidity, id, mailbox_clock(w->mbs));
	writing_take(w, from);
	mb->unborn = true;
	mb->state = MB_READY;
}

void
writing_rebuild(struct writing *w, struct mailbox *mb, uint32_t uidvalidity)
{
	struct mb_touched *td;

	writing_create(w, mb, uidvalidity != 0 ? uidvalidity : txn_uidvalidity(w, mb->user));
	txn_touched(w->t, mb, &td);
	if (td != NULL)
		td->modseq = (uint64_t)mailbox_clock(w->mbs) << 20;
}

uint32_t
writing_add(struct writing *w, struct index_add *a)
{
	char base[MAILDIR_BASE_MAX + 1], guid[33];
	size_t from;

	writing_say(w);
	a->modseq = writing_box(w, w->mb);
	a->uid = w->mb->x.uidnext > a->uid ? w->mb->x.uidnext : a->uid;
	if (a->uid >= UINT32_MAX || w->mb->x.n >= INDEX_MESSAGES_MAX) {
		w->rc = PT_ETOOBIG; /* RFC 3501 §2.3.1.1: the mailbox has come to its end */
		return 0;
	}
	if (a->base.n == 0) {
		maildir_base(&w->stamp, w->mbs->host, a->size, a->uid, base);
		a->base = span_str(base);
	}
	if (a->guid == NULL) {
		maildir_guid(a->base, guid);
		a->guid = guid;
	}
	from = buf_size(&w->t->commit.text);
	if (w->rc == 0)
		w->rc = index_put_add(&w->t->commit.text, a);
	writing_take(w, from);
	a->guid = NULL;
	a->base = (struct span){ NULL, 0 };
	return a->uid;
}

/* One line for as many UIDs as fit. kind '=' or '-'. */
static void
set_line(struct writing *w, char kind, uint64_t modseq, struct buf *set, uint32_t flags)
{
	size_t from;

	writing_say(w);
	from = buf_size(&w->t->commit.text);
	if (w->rc == 0)
		w->rc = kind == '=' ? index_put_flags(&w->t->commit.text, modseq, buf_span(set), flags)
			: index_put_gone(&w->t->commit.text, modseq, buf_span(set));
	writing_take(w, from);
	buf_fini(set);
}

void
writing_flags(struct writing *w, const struct store_flagged *f, size_t n)
{
	uint64_t modseq = writing_box(w, w->mb);
	struct uidset_writer set;
	struct buf text;
	bool found;
	size_t i;

	buf_init(&text, INDEX_LINE_MAX);
	uidset_begin(&set, &text);
	for (i = 0; i < n && w->rc == 0; i++) {
		writing_hint(w, &w->mb->x.msgs[index_find(&w->mb->x, f[i].uid, &found)]);
		PT_ASSERT(found);
		uidset_add(&set, f[i].uid);
		if (i + 1 < n && f[i + 1].flags == f[i].flags && buf_size(&text) < INDEX_SET_MAX - 64)
			continue;
		w->rc = uidset_end(&set);
		set_line(w, '=', modseq, &text, f[i].flags);
		uidset_begin(&set, &text);
	}
	buf_fini(&text);
}

void
writing_gone(struct writing *w, const uint32_t *uids, size_t n)
{
	uint64_t modseq = writing_box(w, w->mb);
	struct uidset_writer set;
	struct buf text;
	bool found;
	size_t i;

	buf_init(&text, INDEX_LINE_MAX);
	uidset_begin(&set, &text);
	for (i = 0; i < n && w->rc == 0; i++) {
		writing_hint(w, &w->mb->x.msgs[index_find(&w->mb->x, uids[i], &found)]);
		PT_ASSERT(found);
		uidset_add(&set, uids[i]);
		if (i + 1 < n && buf_size(&text) < INDEX_SET_MAX - 64)
			continue;
		w->rc = uidset_end(&set);
		set_line(w, '-', modseq, &text, 0);
		uidset_begin(&set, &text);
	}
	buf_fini(&text);
}

bool
writing_keywords(struct writing *w, const char (*names)[STORE_KEYWORD_MAX + 1], unsigned n, bool make,
		 uint32_t *flags_out)
{
	struct index *x = &w->mb->x;
	unsigned i, k;
	size_t from;
	bool all = true;
	int at;

	*flags_out = 0;
	for (i = 0; i < n; i++) {
		if ((at = index_keyword(x, span_str(names[i]))) >= 0) {
			*flags_out |= STORE_KEYWORD(at);
			continue;
		}
		for (k = 0; k < STORE_KEYWORDS_MAX && x->keywords[k][0] != '\0'; k++)
			continue;
		if (!make || k == STORE_KEYWORDS_MAX) {
			all = false;
			continue;
		}
		uint64_t modseq = writing_box(w, w->mb);

		writing_say(w);
		from = buf_size(&w->t->commit.text);
		if (w->rc == 0)
			w->rc = index_put_keyword(&w->t->commit.text, modseq, k, names[i]);
		writing_take(w, from);
		*flags_out |= STORE_KEYWORD(k);
	}
	return all;
}
