/* store/local_carry.c - mailboxes that cannot be written: an immutable folder, a file where a folder should be, a disk that answers
 * EIO for one of them. What was accepted for them stays in the journal and is tried again every second; nothing more is
 * accepted for them, and what is asked of them is refused instead of waiting.
 *
 * Their records must not keep the journal full for all others. So before it is, those parts of them that are not carried
 * out are written into it once more, as new records at its end, in their order; when these are durable the old ones are
 * no longer needed. Nothing else can have happened to these mailboxes in between.
 *
 * A part that is about two mailboxes (a copy, say) and waits for its turn in one that cannot be written keeps the other one waiting, too, and
 * that may hold up others. All of these are *blocked*; a mailbox is stuck while any of its parts is. */
#include "store/local.h"

#include "store/record.h"

#include <stdlib.h>
#include <string.h>

struct carry {
	struct store_commit c; /* first */
	struct local *l;
	struct apply *a;
	struct span body; /* owned */
};

bool
local_stuck(struct store_backend *be, const char *user, const char *key)
{
	struct box *b = local_find((struct local *)be, user, key);

	return b != NULL && b->stuck > 0;
}

/* --- blocked ------------------------------------------------------------------------------------------------- */

static bool
shares_box(const struct apply_job *a, const struct apply_job *b)
{
	unsigned i, k;

	for (i = 0; i < a->nboxes; i++)
		for (k = 0; k < b->nboxes; k++)
			if (a->box[i] == b->box[k])
				return true;
	return false;
}

static bool
has_stuck_box(const struct apply_job *aj)
{
	unsigned i;

	for (i = 0; i < aj->nboxes; i++)
		if (aj->box[i]->stuck > 0)
			return true;
	return false;
}

/* Of those before it in a queue one is blocked. */
static bool
is_behind(const struct local *l, const struct apply_job *aj)
{
	const struct apply *a;
	const struct apply_job *b;

	if (!has_stuck_box(aj))
		return false;
	TAILQ_FOREACH(a, &l->applying, next)
		TAILQ_FOREACH(b, &a->parts, of)
			if (b->blocked && b->order < aj->order && shares_box(aj, b))
				return true;
	return false;
}

/* Who waits there and only reads leaves, and the mailboxes above are told. */
static void
refuse(struct local *l, const struct apply_job *aj)
{
	unsigned i;

	for (i = 0; i < aj->nboxes; i++)
		crew_refuse(l->crew, &aj->box[i]->strand);
	for (i = 0; i < aj->nboxes; i++)
		if (l->be.stuck != NULL)
			l->be.stuck(l->be.stuck_arg, aj->box[i]->user, aj->box[i]->key);
}

static void
block(struct local *l, struct apply_job *aj)
{
	unsigned i;

	aj->blocked = true;
	for (i = 0; i < aj->nboxes; i++)
		aj->box[i]->stuck++;
	refuse(l, aj);
}

/* Of one box alone need not be looked at: they hold up nobody else, and their box is stuck. Those behind another one come later in the
 * order, but what is written into the journal again goes to the end of `applying`: hence as often as anything is found. */
static void
spread(struct local *l)
{
	struct apply *a;
	struct apply_job *aj;
	bool found;

	do {
		found = false;
		TAILQ_FOREACH(a, &l->applying, next)
			TAILQ_FOREACH(aj, &a->parts, of)
				if (aj->nboxes > 1 && !aj->blocked && is_behind(l, aj)) {
					block(l, aj);
					found = true;
				}
	} while (found);
}

void
local_block(struct local *l, struct apply_job *aj)
{
	if (aj->blocked) { /* again: who came meanwhile */
		refuse(l, aj);
		return;
	}
	block(l, aj);
	spread(l);
}

void
local_block_behind(struct local *l, struct apply_job *aj)
{
	if (aj->nboxes > 1 && is_behind(l, aj))
		block(l, aj);
}

void
local_unblock(struct apply_job *aj)
{
	unsigned i;

	if (!aj->blocked)
		return;
	aj->blocked = false;
	for (i = 0; i < aj->nboxes; i++)
		aj->box[i]->stuck--;
}

/* --- into the journal once more -------------------------------------------------------------------------------- */

#define HELD_DEPTH_MAX 32 /* one waits for one that waits for one: beyond, it is looked at later */

/* Nothing of that box runs, or will before the next try: the first in its queue is parked, or waits in another one that is held. */
static bool
is_held(const struct local *l, const struct box *b, unsigned depth)
{
	const struct crew_job *first = crew_strand_first(l->crew, &b->strand);
	const struct apply_job *aj = (const struct apply_job *)first;
	unsigned i;

	if (first == NULL || first->run != apply_run || depth == 0)
		return false;
	if (aj->parked)
		return true;
	for (i = 0; i < aj->nboxes; i++)
		if (aj->box[i] != b && crew_strand_first(l->crew, &aj->box[i]->strand) != first &&
		    is_held(l, aj->box[i], depth - 1))
			return true;
	return false;
}

/* None of its parts is running, or will before the next try: those that are not parked wait behind one that is. */
static bool
is_parked(const struct local *l, const struct apply *a)
{
	const struct apply_job *aj;
	unsigned i;
	bool waits;

	if (TAILQ_EMPTY(&a->parts) || a->carried)
		return false;
	TAILQ_FOREACH(aj, &a->parts, of) {
		for (i = 0, waits = aj->parked; i < aj->nboxes && !waits; i++)
			waits = crew_strand_first(l->crew, &aj->box[i]->strand) != &aj->job &&
				is_held(l, aj->box[i], HELD_DEPTH_MAX);
		if (!waits)
			return false;
	}
	return true;
}

bool
local_carries(const struct local *l, const char *file)
{
	const struct apply *a;
	const struct apply_job *aj;

	/* also while it is tried again, or waits for its turn; the LSN of all others is as old as what they need */
	TAILQ_FOREACH(a, &l->applying, next)
		TAILQ_FOREACH(aj, &a->parts, of)
			if (a->moved && memmem(aj->text.p, aj->text.n, file, strlen(file)) != NULL)
				return true;
	return false;
}

static void
carried(struct store_commit *c, enum store_rc rc)
{
	struct carry *k = (struct carry *)c;
	struct local *l = k->l;
	const struct apply *again = c->engine;

	k->a->carried = false;
	l->carrying--;
	if (rc == STORE_OK && !l->failed) {
		k->a->lsn = again->lsn;
		k->a->moved = l->moved = true;
		k->a->at = again->at;
		TAILQ_REMOVE(&l->applying, k->a, next);
		TAILQ_INSERT_TAIL(&l->applying, k->a, next);
	}
	buf_fini(&c->text);
	free((void *)(uintptr_t)k->body.p);
	free(k);
}

/* What of it is about files and indexes; the rest has been done, and must not be done again. */
static int
put_lines(struct buf *out, struct span text)
{
	struct record_line line;
	bool bad;
	int rc = 0;

	while (rc == 0 && record_next(&text, &line, &bad))
		if (line.index || strchr("BIFSXDRsVv", line.kind) != NULL)
			rc = buf_append(out, line.raw.p, line.raw.n);
	return rc;
}

static int
carry(struct local *l, struct apply *a)
{
	struct carry *k = calloc(1, sizeof *k);
	const struct apply_job *aj;
	uint8_t *body = malloc(a->at.body_len + 1u);
	int rc = k == NULL || body == NULL ? PT_ENOMEM
		: journal_read(l->journal, a->at.segment, a->at.body, body, a->at.body_len);

	if (k != NULL)
		buf_init(&k->c.text, STORE_TXN_OCTETS_MAX * 2);
	TAILQ_FOREACH(aj, &a->parts, of)
		if (rc == 0)
			rc = put_lines(&k->c.text, aj->text);
	if (rc != 0) {
		if (k != NULL)
			buf_fini(&k->c.text);
		free(body);
		free(k);
		return rc;
	}
	k->l = l;
	k->a = a;
	k->body = (struct span){ body, a->at.body_len };
	k->c.bodies = &k->body;
	k->c.nbodies = 1;
	k->c.carry = true;
	k->c.done = carried;
	if ((rc = local_append(l, &k->c)) != 0) {
		buf_fini(&k->c.text);
		free(body);
		free(k);
		return rc;
	}
	a->carried = true;
	l->carrying++;
	return 0;
}

void
local_carry(struct local *l)
{
	struct apply *a, *next;
	unsigned used, spare, max;
	uint64_t end = journal_next(l->journal);
	int rc;

	journal_segments(l->journal, &used, &spare, &max);
	a = TAILQ_FIRST(&l->applying);
	if (used <= max / 2 || a == NULL || !is_parked(l, a) || l->retrying > 0 || l->carrying > 0 || l->failed ||
	    journal_recyclable(l->journal, local_oldest(l)) > 0)
		return;
	for (; a != NULL && a->lsn < end; a = next) {
		next = TAILQ_NEXT(a, next);
		if (!is_parked(l, a) || (rc = carry(l, a)) == 0)
			continue;
		if (rc == PT_EFULL)
			local_make_spare(l, true);
		break;
	}
	local_flush(&l->be);
}
