/* unit/store/test_mailbox_txn.c - transactions that get in each other's way, or in their own. */
#include "store/rig.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER RIG_USER

static enum store_rc
box(struct rig *r, enum store_box_op op, const char *key, const char *to)
{
	return rig_commit(r, rig_box(USER, op, key, to)).rc;
}

/* --- mailboxes ------------------------------------------------------------------------------------------------ */

/* Nobody's messages are under the new names, of the mailbox or of those below it. */
static void
do_rename_taken(struct rig *r)
{
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A.x", NULL));
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "B.x", NULL));
	rig_must(r, rig_add(NULL, USER, "A.x", "precious"));
	rig_must(r, rig_add(NULL, USER, "B.x", "other"));
	CU_ASSERT_EQUAL(box(r, STORE_BOX_RENAME, "A", "B"), STORE_EXISTS);
	rig_is(r, "A", "");
	rig_is(r, "A.x", "1 N:precious");
	rig_is(r, "B.x", "1 N:other");
	rig_must(r, rig_box(USER, STORE_BOX_DELETE, "B.x", NULL));
	CU_ASSERT_EQUAL(box(r, STORE_BOX_RENAME, "A", "B"), STORE_OK);
	rig_is(r, "B.x", "1 N:precious");
	rig_is(r, "A.x", "none");
	rig_restart(r);
	rig_is(r, "B.x", "1 N:precious");
}

static void
test_rename_taken(void)
{
	rig_each(do_rename_taken);
}

/* All of them get their new names, or none. */
static void
do_rename_long(struct rig *r)
{
	char deep[STORE_BOX_MAX + 1], to[STORE_BOX_MAX + 1];

	memset(deep, 'x', sizeof deep - 1);
	deep[sizeof deep - 1] = '\0';
	memcpy(deep, "A.", 2);
	memset(to, 'B', sizeof to - 1);
	to[2] = '\0';
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, deep, NULL));
	CU_ASSERT_EQUAL(box(r, STORE_BOX_RENAME, "A", to), STORE_INVALID);
	rig_is(r, "A", "");
	rig_is(r, deep, "");
	to[1] = '\0'; /* as long as the old one: at the limit */
	CU_ASSERT_EQUAL(box(r, STORE_BOX_RENAME, "A", to), STORE_OK);
	deep[0] = 'B';
	rig_is(r, deep, "");
}

static void
test_rename_long(void)
{
	rig_each(do_rename_long);
}

struct two {
	unsigned done;
	enum store_rc rc[2];
};

static void
on_done(struct mb_txn *t, const struct mb_reply *reply)
{
	struct two *w = t->arg;

	w->rc[w->done++] = reply->rc;
}

/* The name was free when the list of mailboxes was read. */
static void
do_rename_race(struct rig *r)
{
	struct mb_txn *a = rig_box(USER, STORE_BOX_RENAME, "A", "B"), *b = rig_box(USER, STORE_BOX_CREATE, "B", NULL);
	struct two w = { 0, { STORE_UNKNOWN, STORE_UNKNOWN } };
	int i;

	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_add(NULL, USER, "A", "precious"));
	a->done = b->done = on_done;
	a->arg = b->arg = &w;
	mb_commit(r->mbs, a);
	mb_commit(r->mbs, b);
	for (i = 0; i < 5000 && w.done < 2; i++)
		rig_settle(r);
	CU_ASSERT_EQUAL_FATAL(w.done, 2);
	CU_ASSERT((w.rc[0] == STORE_OK && w.rc[1] == STORE_EXISTS) || (w.rc[0] == STORE_OK && w.rc[1] == STORE_OK) ||
		(w.rc[0] == STORE_EXISTS && w.rc[1] == STORE_OK));
	if (strcmp(rig_dump(r, USER, "A"), "none") == 0)
		rig_is(r, "B", "1 N:precious");
	else
		rig_is(r, "A", "1 N:precious");
}

static void
test_rename_race(void)
{
	rig_each(do_rename_race);
}

/* UIDs of a mailbox that had that name before: nothing of what is there now is touched. */
static void
do_another(struct rig *r)
{
	struct mb_txn *t[4];
	uint32_t uidvalidity;
	struct index x;
	unsigned k, other;

	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "B", NULL));
	rig_must(r, rig_add(NULL, USER, "A", "x"));
	rig_must(r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_DELETED));
	rig_settle(r);
	CU_ASSERT_TRUE_FATAL(rig_index(r, USER, "A", &x));
	uidvalidity = x.uidvalidity;
	index_fini(&x);
	for (other = 2; other-- > 0;) {
		t[0] = rig_copy(USER, "A", "1", "B", false);
		t[1] = rig_copy(USER, "A", "1", "B", true);
		t[2] = rig_flags(USER, "A", "1", STORE_FLAGS_REMOVE, STORE_DELETED);
		t[3] = rig_expunge(USER, "A", "1");
		for (k = 0; k < PT_COUNT(t); k++) {
			t[k]->ops[0].uidvalidity = uidvalidity + other;
			CU_ASSERT_EQUAL(rig_commit(r, t[k]).rc, other ? STORE_NOTFOUND : STORE_OK);
		}
		rig_settle(r);
		rig_is(r, "A", other ? "1 T:x" : "");
		rig_is(r, "B", other ? "" : "1 T:x 2 T:x");
	}
}

static void
test_another(void)
{
	rig_each(do_another);
}

/* Every part is looked at before any is done: what goes cannot be changed in one breath. It once ended the process. */
static void
do_alone(struct rig *r)
{
	struct mb_txn *t;
	struct mb_op *op;

	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_add(NULL, USER, "A", "x"));
	t = rig_box(USER, STORE_BOX_DELETE, "A", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(op = mb_txn_op(t));
	*op = t->ops[0];
	op->kind = MB_FLAGS;
	op->set = strdup("1");
	op->keywords = calloc(1, sizeof *op->keywords);
	op->nkeywords = 1;
	strcpy(op->keywords[0], "$Late");
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_INVALID);
	t = rig_box(USER, STORE_BOX_CREATE, "B", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(op = mb_txn_op(t));
	*op = t->ops[0];
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_INVALID);
	/* made and subscribed to is what people want */
	t = rig_box(USER, STORE_BOX_CREATE, "B", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(op = mb_txn_op(t));
	*op = t->ops[0];
	op->box_op = STORE_BOX_SUBSCRIBE;
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OK);
	rig_is(r, "A", "1 N:x");
	rig_is(r, "B", "");
}

static void
test_alone(void)
{
	rig_each(do_alone);
}

/* --- quota ------------------------------------------------------------------------------------------------------ */

/* All parts of a transaction together, and of each user. */
static void
do_quota(struct rig *r)
{
	struct mb_txn *t = rig_add(NULL, USER, "INBOX", "12345");

	r->quota_octets = 15;
	t = rig_add(rig_add(rig_add(t, "bob@example.test", "INBOX", "1234567890"), USER, "INBOX", "12345"), USER, "INBOX", "12345");
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OK); /* at the limit */
	t = rig_add(rig_add(NULL, "carol@example.test", "INBOX", "1234567890"), "carol@example.test", "INBOX", "123456");
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OVERQUOTA);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, "carol@example.test", "INBOX", "1234567890")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, "carol@example.test", "INBOX", "12345")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, "carol@example.test", "INBOX", "1")).rc, STORE_OVERQUOTA);
}

static void
test_quota(void)
{
	rig_each(do_quota);
}

/* --- sent again ------------------------------------------------------------------------------------------------- */

struct answers {
	unsigned n;
	enum store_rc rc[3];
	char uids[3][32];
};

static void
on_answer(struct mb_txn *t, const struct mb_reply *reply)
{
	struct answers *a = t->arg;
	struct span u = buf_span(&reply->uids);

	a->rc[a->n] = reply->rc;
	snprintf(a->uids[a->n++], sizeof a->uids[0], "%.*s", (int)u.n, u.n > 0 ? (const char *)u.p : "");
}

static void
three_times(struct rig *r, struct answers *a)
{
	struct mb_txn *t;
	int i;

	memset(a, 0, sizeof *a);
	for (i = 0; i < 3; i++) {
		t = rig_add(NULL, USER, "INBOX", "once");
		strcpy(t->id, "00112233445566778899aabbccddeeff");
		t->done = on_answer;
		t->arg = a;
		mb_commit(r->mbs, t);
	}
	for (i = 0; i < 5000 && a->n < 3; i++)
		rig_settle(r);
	CU_ASSERT_EQUAL(a->n, 3);
}

/* A client whose channel broke sends again what the store has not answered yet: once is enough. */
static void
do_under_way(struct rig *r)
{
	struct answers a;
	int i;

	three_times(r, &a);
	for (i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(a.rc[i], STORE_OK);
		CU_ASSERT_STRING_EQUAL(a.uids[i], "1");
	}
	rig_is(r, "INBOX", "1 N:once");
}

static void
test_under_way(void)
{
	struct answers a;
	struct rig r;

	rig_each(do_under_way);
	/* the first fails: those behind it are for trying */
	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_MEMORY);
	memory_inject(r.be, MEMORY_COMMIT, STORE_TEMP, 1);
	three_times(&r, &a);
	CU_ASSERT_EQUAL(a.rc[0], STORE_TEMP);
	CU_ASSERT_EQUAL(a.rc[1], STORE_OK);
	CU_ASSERT_EQUAL(a.rc[2], STORE_OK);
	rig_is(&r, "INBOX", "1 N:once");
	rig_close(&r);
}

static struct rig_reply
with_id(struct rig *r, struct mb_txn *t, const char *id)
{
	snprintf(t->id, sizeof t->id, "%s", id);
	return rig_commit(r, t);
}

/* What is answered after a restart says what the first answer said. */
static void
do_same_answer(struct rig *r)
{
	static const char put[] = "10112233445566778899aabbccddeeff", move[] = "20112233445566778899aabbccddeeff",
		flags[] = "30112233445566778899aabbccddeeff";
	struct rig_reply p[2], m[2], f[2];
	struct mb_txn *t;
	int i;

	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_add(NULL, USER, "INBOX", "x"));
	rig_must(r, rig_add(NULL, USER, "INBOX", "y"));
	rig_must(r, rig_put("sieve", "other", "1", 0, 0));
	for (i = 0; i < 2; i++) {
		p[i] = with_id(r, rig_put("sieve", "k", "v", 0, 0), put);
		m[i] = with_id(r, rig_copy(USER, "INBOX", "2", "A", true), move);
		rig_restart(r);
	}
	CU_ASSERT_NOT_EQUAL(p[0].id, 0);
	CU_ASSERT_EQUAL(p[1].rc, STORE_OK);
	CU_ASSERT_EQUAL(p[0].id, p[1].id);
	CU_ASSERT_STRING_EQUAL(m[0].sources, "2");
	CU_ASSERT_STRING_EQUAL(m[1].sources, "2");
	CU_ASSERT_STRING_EQUAL(m[1].uids, "1");
	/* done in part: that it was us who changed the rest is no conflict */
	rig_must(r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN));
	rig_must(r, rig_add(NULL, USER, "INBOX", "z"));
	for (i = 0; i < 2; i++) {
		t = rig_flags(USER, "INBOX", "1,3", STORE_FLAGS_ADD, STORE_FLAGGED);
		t->ops[0].unchangedsince = 4;
		f[i] = with_id(r, t, flags);
	}
	CU_ASSERT_EQUAL(f[0].rc, f[1].rc);
	CU_ASSERT_STRING_EQUAL(f[0].uids, f[1].uids);
	CU_ASSERT_EQUAL(f[0].rc, STORE_CONFLICT);
	CU_ASSERT_STRING_EQUAL(f[0].uids, "3");
}

static void
test_same_answer(void)
{
	rig_each(do_same_answer);
}

static const struct test_row rows[] = {
	{ "renamed where others are", test_rename_taken },
	{ "renamed to a name that is too long", test_rename_long },
	{ "renamed and made at once", test_rename_race },
	{ "of another mailbox of that name", test_another },
	{ "parts that are in each other's way", test_alone },
	{ "a quota over all parts", test_quota },
	{ "sent again while it is under way", test_under_way },
	{ "the same answer after a restart", test_same_answer },
};

TEST_MAIN("store/mailbox_txn", rows)
