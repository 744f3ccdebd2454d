/* store/local_carry.c - mailboxes that cannot be written: an immutable folder, a file where a folder should be, a disk that answers
 * EIO for one of them. What was accepted for them stays in the journal and is tried again every second; nothing more is
 * accepted for them, and what is asked of them is refused instead of waiting.
 *
 * Their records must not keep the journal full for all others. So before it is, those parts of them that are not carried
 * out are written into it once more, as new records at its end, in their order; when these are durable the old ones are
 * no longer needed. Nothing else can have happened to these mailboxes in between. */
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

	return b != NULL && b->stuck;
}

/* None of its parts is running, or will before the next try: those that are not parked wait behind one that is. */
static bool
is_parked(const struct apply *a)
{
	const struct apply_job *aj;
	unsigned i;
	bool waits;

	if (TAILQ_EMPTY(&a->parts) || a->carried)
		return false;
	TAILQ_FOREACH(aj, &a->parts, of) {
		for (i = 0, waits = aj->parked; i < aj->nboxes; i++)
			waits = waits || aj->box[i]->stuck;
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
		k->a->moved = true;
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
	if (used <= max / 2 || a == NULL || !is_parked(a) || l->retrying > 0 || l->carrying > 0 || l->failed ||
	    journal_recyclable(l->journal, local_oldest(l)))
		return;
	for (; a != NULL && a->lsn < end; a = next) {
		next = TAILQ_NEXT(a, next);
		if (!is_parked(a) || (rc = carry(l, a)) == 0)
			continue;
		if (rc == PT_EFULL)
			local_make_spare(l, true);
		break;
	}
	local_flush(&l->be);
}
