/* store/admin.c - see admin.h. */
#include "store/admin.h"

#include "store/mailbox_impl.h"
#include "store/row.h"

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

/* Of a mailbox: how it is called in UTF-8. */
static int
put_box(struct buf *row, const char *user, const char *key)
{
	char name[STORE_BOX_MAX * 3 + 1];
	int rc = row_text(row, "user", user);

	if (rc != 0 || !maildir_key_name(key, name))
		return rc != 0 ? rc : PT_EINVAL;
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
	finish(a, rc, rc == STORE_NOTFOUND ? "this user has no mailbox" : "");
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
	case ADMIN_WHATS:
		break;
	}
	finish(a, STORE_INVALID, "this store cannot tell");
}
