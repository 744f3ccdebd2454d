/* store/admin.c - see admin.h. */
#include "store/admin.h"

#include "store/mailbox_impl.h"
#include "store/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A question under way. */
struct asked {
	struct mailboxes *mbs;
	struct admin_question q;
	admin_row_f *row;
	admin_end_f *end;
	void *arg;
};

static void
finish(struct asked *a, enum store_rc rc, const char *text)
{
	a->end(a->arg, rc, text);
	free(a);
}

/* Tells a row that was put together; rc: the first failure of that. */
static enum store_rc
tell(struct asked *a, struct buf *row, int rc)
{
	if (rc == 0)
		a->row(a->arg, buf_span(row));
	buf_fini(row);
	return rc == 0 ? STORE_OK : STORE_TEMP;
}

/* Of a mailbox: whose it is, and how it is called in UTF-8. */
static int
put_box(struct buf *row, const char *user, const char *key)
{
	char name[STORE_BOX_MAX * 3 + 1];
	int rc = row_text(row, "user", user);

	if (rc != 0 || key[0] == '\0')
		return rc; /* the user as a whole */
	if (!maildir_key_name(key, name))
		return PT_EINVAL;
	return row_text(row, "mailbox", name);
}

/* --- who there is ------------------------------------------------------------------------------------------ */

static void
users(void *arg, enum store_rc rc, const char *const *names, size_t n)
{
	struct asked *a = arg;
	struct buf row;
	size_t i;

	for (i = 0; i < n && rc == STORE_OK; i++) {
		buf_init(&row, ROW_MAX);
		rc = tell(a, &row, row_text(&row, "user", names[i]));
	}
	finish(a, rc, "");
}

static int
by_key(const void *a, const void *b)
{
	const struct store_listed *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static void
boxes(void *arg, enum store_rc rc, struct store_listed *list, size_t n)
{
	struct asked *a = arg;
	size_t i, told = 0;
	struct buf row;

	if (n > 1)
		qsort(list, n, sizeof *list, by_key);
	for (i = 0; i < n && rc == STORE_OK && told < ADMIN_PAGE; i++) {
		if (!list[i].exists || strcmp(list[i].key, a->q.key) <= 0)
			continue;
		buf_init(&row, ROW_MAX);
		rc = tell(a, &row, put_box(&row, a->q.user, list[i].key));
		told++;
	}
	finish(a, rc, rc == STORE_NOTFOUND ? "this user has no mailbox: nothing was ever delivered to that address; \"postern store stat\" "
		"lists who has mail, and \"postern user list\" who may have" : "");
}

/* --- an index made anew ------------------------------------------------------------------------------------- */

static void
reindexed(void *arg, enum store_rc rc, const struct store_status *st, const struct store_rebuilt *r)
{
	static const char *const headers[] = { [STORE_HEADER_KEPT] = "kept", [STORE_HEADER_IMPORTED] = "imported",
		[STORE_HEADER_NEW] = "new" };
	const struct {
		const char *name;
		uint64_t n;
	} numbers[] = {
		{ "messages", r->messages }, { "octets", st->octets }, { "uidvalidity", st->uidvalidity },
		{ "uidnext", st->uidnext }, { "modseq", st->modseq }, { "kept", r->kept }, { "named", r->named },
		{ "imported", r->imported }, { "given", r->given }, { "missing", r->missing }, { "damaged", r->damaged },
	};
	struct asked *a = arg;
	struct buf row;
	size_t i;
	int out;

	if (rc != STORE_OK) {
		finish(a, rc, rc == STORE_NOTFOUND ? "there is no such mailbox"
			: rc == STORE_INVALID ? "this store has nothing to make an index of" : "");
		return;
	}
	buf_init(&row, ROW_MAX);
	out = put_box(&row, a->q.user, a->q.key);
	if (out == 0)
		out = row_text(&row, "header", headers[r->header]);
	for (i = 0; i < PT_COUNT(numbers) && out == 0; i++)
		out = row_number(&row, numbers[i].name, numbers[i].n);
	finish(a, tell(a, &row, out), "");
}

/* --- a check ------------------------------------------------------------------------------------------------- */

struct check {
	struct asked *a;
	struct store_checked c; /* with a copy of the list */
};

static const char *const fixes[] = {
	[STORE_FIX_NONE] = "",
	[STORE_FIX_SCAN] = "the index takes it in at the next look at the mailbox",
	[STORE_FIX_REINDEX] = "the index is made anew",
	[STORE_FIX_COUNT] = "it is counted anew",
	[STORE_FIX_TIDY] = "it is removed",
	[STORE_FIX_ASIDE] = "what is there of it is moved to queue/lost, and nobody else is told",
	[STORE_FIX_ENVELOPE] = "the envelope is written anew with the next checkpoint",
	[STORE_FIX_COUNT_FILE] = "it is removed, and who counts by it counts anew",
};

static int
put_finding(struct buf *row, const struct asked *a, const struct store_finding *f, bool mended)
{
	int rc = a->q.user[0] != '\0' ? put_box(row, a->q.user, a->q.key) : 0;

	if (rc == 0)
		rc = row_text(row, "kind", f->kind);
	if (rc == 0)
		rc = row_text(row, "text", f->text);
	if (rc == 0)
		rc = row_text(row, "repair", fixes[f->fix]);
	return rc != 0 ? rc : row_truth(row, "repaired", f->fix >= STORE_FIX_TIDY ? f->mended : mended && f->fix != STORE_FIX_NONE);
}

static int
put_sum(struct buf *row, const struct store_checked *c)
{
	int rc = row_number(row, "found", c->found);

	if (rc == 0)
		rc = row_number(row, "files", c->files);
	if (rc == 0)
		rc = row_number(row, "octets", c->octets);
	return rc != 0 ? rc : row_number(row, "young", c->young);
}

static void
tell_check(struct check *k, bool mended)
{
	struct asked *a = k->a;
	enum store_rc rc = STORE_OK;
	struct buf row;
	size_t i;

	for (i = 0; i < k->c.n && rc == STORE_OK; i++) {
		buf_init(&row, ROW_MAX);
		rc = tell(a, &row, put_finding(&row, a, &k->c.list[i], mended));
	}
	buf_init(&row, ROW_MAX);
	if (rc == STORE_OK)
		rc = tell(a, &row, put_sum(&row, &k->c));
	free(k->c.list);
	free(k);
	finish(a, rc, "");
}

static void
check_reindexed(void *arg, enum store_rc rc, const struct store_status *st, const struct store_rebuilt *r)
{
	(void)st;
	(void)r;
	tell_check(arg, rc == STORE_OK);
}

static void
check_scanned(void *arg, enum store_rc rc)
{
	tell_check(arg, rc == STORE_OK);
}

static void
repair(struct check *k)
{
	struct asked *a = k->a;
	struct mailbox *mb;

	if (k->c.fixes & 1u << STORE_FIX_REINDEX) {
		mb_reindex(a->mbs, a->q.user, a->q.key, check_reindexed, k);
		return;
	}
	if ((mb = mailbox_find(a->mbs, a->q.user, a->q.key)) != NULL)
		mb->scanned = false; /* all of it, whatever the folders' times say */
	mb_rescan(a->mbs, a->q.user, a->q.key, check_scanned, k);
}

static void
audited(void *arg, enum store_rc rc, const struct mb_quota_audit *a)
{
	struct check *k = arg;
	struct store_finding *f = &k->c.list[k->c.n];

	if (rc != STORE_OK) {
		struct asked *asked = k->a;

		free(k->c.list);
		free(k);
		finish(asked, rc, "");
		return;
	}
	if (a->known && (a->octets != a->box_octets || a->messages != a->box_messages)) {
		*f = (struct store_finding){ .kind = "quota", .fix = STORE_FIX_COUNT };
		snprintf(f->text, sizeof f->text, "the quota is held against %lld octets in %lld messages, and the mailboxes have %lld in %lld",
			(long long)a->octets, (long long)a->messages, (long long)a->box_octets, (long long)a->box_messages);
		k->c.n++;
		k->c.found++;
	}
	tell_check(k, k->a->q.repair);
}

static void
checked(void *arg, enum store_rc rc, const struct store_checked *c)
{
	struct asked *a = arg;
	struct check *k = rc == STORE_OK ? calloc(1, sizeof *k) : NULL;

	if (k != NULL && (k->c.list = calloc(c->n + 1, sizeof *c->list)) == NULL) {
		free(k);
		k = NULL;
	}
	if (k == NULL) {
		finish(a, rc == STORE_OK ? STORE_TEMP : rc, rc == STORE_NOTFOUND ? "there is no such mailbox" : "");
		return;
	}
	k->a = a;
	if (c->n > 0)
		memcpy(k->c.list, c->list, c->n * sizeof *c->list);
	k->c.n = c->n;
	k->c.found = c->found;
	k->c.fixes = c->fixes;
	k->c.files = c->files;
	k->c.octets = c->octets;
	k->c.young = c->young;
	if (a->q.what == ADMIN_CHECK_USER)
		mb_quota_audit(a->mbs, a->q.user, a->q.repair, audited, k);
	else if (a->q.repair && (c->fixes & (1u << STORE_FIX_REINDEX | 1u << STORE_FIX_SCAN)))
		repair(k);
	else
		tell_check(k, false);
}

/* --- how it stands ------------------------------------------------------------------------------------------- */

struct figure {
	const char *name;
	uint64_t n;
	bool unknown;
};

static int
put_figures(struct buf *row, const struct figure *list, size_t n)
{
	size_t i;
	int rc = 0;

	for (i = 0; i < n && rc == 0; i++)
		if (!list[i].unknown)
			rc = row_number(row, list[i].name, list[i].n);
	return rc;
}

static void
stated(void *arg, enum store_rc rc, const struct store_status *st)
{
	struct asked *a = arg;
	uint64_t quota = mb_quota_limit(a->mbs, a->q.user);
	struct buf row;
	int out;

	if (rc != STORE_OK) {
		finish(a, rc, rc == STORE_NOTFOUND ? "there is no such mailbox" : "");
		return;
	}
	buf_init(&row, ROW_MAX);
	out = put_box(&row, a->q.user, a->q.key);
	if (out == 0)
		out = put_figures(&row, (struct figure[]){ { "messages", st->messages, false }, { "octets", st->octets, false },
			{ "unseen", st->unseen, false }, { "uidnext", st->uidnext, false }, { "uidvalidity", st->uidvalidity, false },
			{ "modseq", st->modseq, false }, { "quota", quota, quota == 0 } }, 7);
	finish(a, tell(a, &row, out), "");
}

static void
stat_store(struct asked *a)
{
	struct mailboxes *mbs = a->mbs;
	struct store_standing s;
	size_t memory, open;
	struct buf row;

	mbs->be->ops->stat(mbs->be, &s);
	mailboxes_count(mbs, &memory, &open);
	{
		const struct figure list[] = {
			{ "segments", s.segments, false }, { "spare", s.spare, false }, { "segments_max", s.segments_max, false },
			{ "segment_octets", s.segment_octets, false }, { "newest", s.newest, false }, { "durable", s.durable, false },
			{ "checkpointed", (uint64_t)s.checkpointed, s.checkpointed <= 0 }, { "unapplied", s.unapplied, false },
			{ "stuck", s.stuck, false }, { "flushes", s.flushes.count, false },
			{ "flush_mean_us", latency_mean(&s.flushes), false },
			{ "flush_p50_us", latency_quantile(&s.flushes, 500), false },
			{ "flush_p99_us", latency_quantile(&s.flushes, 990), false },
			{ "flush_longest_us", s.flushes.longest_us, false }, { "free_octets", s.free_octets, !s.has_octets },
			{ "margin_octets", s.margin_octets, false }, { "free_inodes", s.free_inodes, !s.has_inodes },
			{ "margin_inodes", s.margin_inodes, false }, { "clients", a->q.clients, false },
			{ "mailboxes_open", open, false }, { "mailboxes_in_memory", memory, false },
			{ "queued", mbs->conf.queue == NULL ? 0 : queue_count(mbs->conf.queue), false },
			{ "keys", kv_count(mbs->kv), false },
		};

		buf_init(&row, ROW_MAX);
		finish(a, tell(a, &row, put_figures(&row, list, PT_COUNT(list))), "");
	}
}

/* --- questions ----------------------------------------------------------------------------------------------- */

void
admin_ask(struct mailboxes *mbs, const struct admin_question *q, admin_row_f *row, admin_end_f *end, void *arg)
{
	const struct store_backend_ops *ops = mbs->be->ops;
	struct asked *a = calloc(1, sizeof *a);

	if (a == NULL) {
		end(arg, STORE_TEMP, "out of memory");
		return;
	}
	*a = (struct asked){ .mbs = mbs, .q = *q, .row = row, .end = end, .arg = arg };
	if (q->key[0] != '\0' && q->what != ADMIN_BOXES && ops->stuck != NULL && ops->stuck(mbs->be, q->user, q->key)) {
		finish(a, STORE_TEMP, "what was accepted for this mailbox cannot be written at present, and the journal keeps it: the log says why");
		return;
	}
	switch (q->what) {
	case ADMIN_USERS:
		if (ops->users == NULL)
			break;
		ops->users(mbs->be, a->q.user, ADMIN_PAGE, users, a);
		return;
	case ADMIN_BOXES:
		ops->list(mbs->be, a->q.user, boxes, a);
		return;
	case ADMIN_REINDEX:
		mb_reindex(mbs, a->q.user, a->q.key, reindexed, a);
		return;
	case ADMIN_CHECK:
	case ADMIN_CHECK_USER:
	case ADMIN_CHECK_STORE:
		if (ops->check == NULL)
			break;
		if (q->what != ADMIN_CHECK)
			a->q.key[0] = '\0';
		if (q->what == ADMIN_CHECK_STORE)
			a->q.user[0] = '\0';
		ops->check(mbs->be, a->q.user, a->q.key, a->q.repair, checked, a);
		return;
	case ADMIN_STAT:
		mb_stat(mbs, a->q.user, a->q.key, stated, a);
		return;
	case ADMIN_STAT_STORE:
		if (ops->stat == NULL)
			break;
		stat_store(a);
		return;
	case ADMIN_WHATS:
		break;
	}
	finish(a, STORE_INVALID, "this store cannot tell");
}
