/* store/mailbox_write.c - a transaction's operations as lines: nothing is refused any more. */
#include "store/mailbox_impl.h"

#include "store/record.h"
#include "store/uidset.h"

#include <stdio.h>
#include <stdlib.h>

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

	if (mb == NULL || mb->state != MB_READY || !txn_new_name(to, key, old, new))
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
			if (w->t->list[i].exists && txn_renames(w->t, w->t->list[i].key))
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

void
txn_write(struct mb_txn *t)
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
	if (w.rc == 0 && t->reply.rc == STORE_CONFLICT && !txn_is_empty(t)) /* repeated after a start, it is answered so again */
		writing_line(&w, 'M', 1, (struct span[]){ buf_span(&t->reply.uids) });
	txn_finish(t, w.rc);
}
