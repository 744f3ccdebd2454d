/* unit/store/test_stat.c - what the store says of itself is what was done to it; latencies are counted as they were. */
#include "store/admin.h"
#include "store/latency.h"
#include "store/rig.h"
#include "store/row.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER "alice@example.test"
#define FIGURES_MAX 32

struct told {
	bool done;
	enum store_rc rc;
	unsigned rows, n;
	struct { char name[32]; uint64_t number; } figures[FIGURES_MAX];
	char box[64], text[256];
};

static void
on_row(void *arg, struct span row)
{
	struct told *t = arg;
	struct row_field f;
	bool bad;

	t->rows++;
	while (row_next(&row, &f, &bad)) {
		if (f.kind == 's' && strcmp(f.name, "mailbox") == 0)
			snprintf(t->box, sizeof t->box, "%s", f.value);
		if (f.kind != 'n')
			continue;
		CU_ASSERT_FATAL(t->n < FIGURES_MAX);
		snprintf(t->figures[t->n].name, sizeof t->figures[0].name, "%s", f.name);
		t->figures[t->n++].number = f.number;
	}
	CU_ASSERT_FALSE(bad);
}

static void
on_end(void *arg, enum store_rc rc, const char *text)
{
	struct told *t = arg;

	CU_ASSERT_FALSE(t->done);
	t->done = true;
	t->rc = rc;
	snprintf(t->text, sizeof t->text, "%s", text);
}

static struct told
ask(struct rig *r, enum admin_what what, const char *user, const char *box)
{
	struct admin_question q;
	struct told t = { .done = false };

	CU_ASSERT_PTR_NULL_FATAL(admin_question_make(&q, what, false, span_str(user), span_str(box)));
	q.clients = 7;
	admin_ask(r->mbs, &q, on_row, on_end, &t);
	rig_wait(r, &t.done);
	return t;
}

/* UINT64_MAX: it is not told. */
static uint64_t
figure(const struct told *t, const char *name)
{
	unsigned i;

	for (i = 0; i < t->n; i++)
		if (strcmp(t->figures[i].name, name) == 0)
			return t->figures[i].number;
	return UINT64_MAX;
}

static void
test_questions(void)
{
	struct admin_question q;

	CU_ASSERT_EQUAL(admin_find("stat"), ADMIN_STAT);
	CU_ASSERT_EQUAL(admin_find("stat-store"), ADMIN_STAT_STORE);
	CU_ASSERT_FALSE(admin_changes(ADMIN_STAT, false));
	CU_ASSERT_FALSE(admin_changes(ADMIN_STAT_STORE, false));
	CU_ASSERT_PTR_NOT_NULL(admin_question_make(&q, ADMIN_STAT, false, span_str(USER), span_str("")));
	CU_ASSERT_PTR_NOT_NULL(admin_question_make(&q, ADMIN_STAT, false, span_str(""), span_str("INBOX")));
	CU_ASSERT_PTR_NULL(admin_question_make(&q, ADMIN_STAT_STORE, false, span_str(""), span_str("")));
	CU_ASSERT_EQUAL(q.clients, 0);
}

static void
test_mailbox(enum rig_kind kind)
{
	struct rig r;
	struct told t;
	unsigned i;

	memset(&r, 0, sizeof r);
	rig_open(&r, kind);
	for (i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "hello\r\n")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1:2", STORE_FLAGS_SET, STORE_SEEN)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "5", STORE_FLAGS_SET, STORE_DELETED)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_expunge(USER, "INBOX", "5")).rc, STORE_OK);
	t = ask(&r, ADMIN_STAT, USER, "INBOX");
	CU_ASSERT_EQUAL(t.rc, STORE_OK);
	CU_ASSERT_EQUAL(t.rows, 1);
	CU_ASSERT_STRING_EQUAL(t.box, "INBOX");
	CU_ASSERT_EQUAL(figure(&t, "messages"), 4);
	CU_ASSERT_EQUAL(figure(&t, "octets"), 4 * 7);
	CU_ASSERT_EQUAL(figure(&t, "unseen"), 2);
	CU_ASSERT_EQUAL(figure(&t, "uidnext"), 6);
	CU_ASSERT(figure(&t, "uidvalidity") > 0 && figure(&t, "uidvalidity") < UINT32_MAX);
	CU_ASSERT(figure(&t, "modseq") > 0 && figure(&t, "modseq") != UINT64_MAX);
	CU_ASSERT_EQUAL(figure(&t, "quota"), UINT64_MAX);
	t = ask(&r, ADMIN_STAT, USER, "Nowhere");
	CU_ASSERT_EQUAL(t.rc, STORE_NOTFOUND);
	CU_ASSERT_EQUAL(t.rows, 0);
	CU_ASSERT_STRING_EQUAL(t.text, "there is no such mailbox");
	t = ask(&r, ADMIN_BOXES, "nobody@example.test", "");
	CU_ASSERT_EQUAL(t.rc, STORE_NOTFOUND);
	CU_ASSERT_PTR_NOT_NULL(strstr(t.text, "this user has no mailbox: "));
	rig_close(&r);
}

static void
test_local_mailbox(void)
{
	test_mailbox(RIG_LOCAL);
}

/* The last word counts. */
static void
test_quota(void)
{
	struct mb_txn *txn;
	struct rig r;
	struct told t;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	txn = rig_add(NULL, USER, "INBOX", "hello\r\n");
	txn->ops[0].quota = 1000;
	CU_ASSERT_EQUAL(rig_commit(&r, txn).rc, STORE_OK);
	t = ask(&r, ADMIN_STAT, USER, "INBOX");
	CU_ASSERT_EQUAL(figure(&t, "quota"), 1000);
	txn = rig_add(NULL, USER, "INBOX", "hello\r\n");
	txn->ops[0].quota = 2000;
	CU_ASSERT_EQUAL(rig_commit(&r, txn).rc, STORE_OK);
	t = ask(&r, ADMIN_STAT, USER, "INBOX");
	CU_ASSERT_EQUAL(figure(&t, "quota"), 2000);
	rig_close(&r);
}

/* What others put there counts, though nobody has looked before. */
static void
test_others(void)
{
	struct rig r;
	struct told t;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "hello\r\n")).rc, STORE_OK);
	rig_settle(&r);
	rig_stop(&r);
	rig_shell(&r, "printf 'Subject: x\\n\\n' > mail/" USER "/Maildir/new/1.x.host");
	rig_start(&r);
	t = ask(&r, ADMIN_STAT, USER, "INBOX");
	CU_ASSERT_EQUAL(figure(&t, "messages"), 2);
	CU_ASSERT_EQUAL(figure(&t, "octets"), 7 + 14);
	CU_ASSERT_EQUAL(figure(&t, "uidnext"), 3);
	rig_close(&r);
}

static void
test_store(void)
{
	uint64_t flushes, newest, keys;
	struct rig r;
	struct told t;

	memset(&r, 0, sizeof r);
	r.no_checkpoints = true;
	rig_open(&r, RIG_LOCAL);
	t = ask(&r, ADMIN_STAT_STORE, "", "");
	CU_ASSERT_EQUAL(t.rc, STORE_OK);
	CU_ASSERT_EQUAL(t.rows, 1);
	CU_ASSERT_EQUAL(figure(&t, "clients"), 7);
	CU_ASSERT_EQUAL(figure(&t, "keys"), 0);
	CU_ASSERT_EQUAL(figure(&t, "stuck"), 0);
	CU_ASSERT_EQUAL(figure(&t, "mailboxes_in_memory"), 0);
	CU_ASSERT_EQUAL(figure(&t, "checkpointed"), UINT64_MAX);
	CU_ASSERT(figure(&t, "segment_octets") > 0);
	CU_ASSERT(figure(&t, "margin_octets") != UINT64_MAX);
	flushes = figure(&t, "flushes");
	newest = figure(&t, "newest");
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "hello\r\n")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_put("line", "key", "value", 0, 0)).rc, STORE_OK);
	rig_settle(&r);
	t = ask(&r, ADMIN_STAT_STORE, "", "");
	CU_ASSERT_EQUAL(figure(&t, "newest"), newest + 2);
	CU_ASSERT_EQUAL(figure(&t, "flushes"), flushes + 2);
	CU_ASSERT(figure(&t, "segments") >= 1 && figure(&t, "segments") <= figure(&t, "segments_max"));
	CU_ASSERT(figure(&t, "flush_p50_us") <= figure(&t, "flush_p99_us"));
	CU_ASSERT(figure(&t, "flush_p99_us") <= figure(&t, "flush_longest_us"));
	CU_ASSERT(figure(&t, "flush_mean_us") <= figure(&t, "flush_longest_us"));
	CU_ASSERT_EQUAL(figure(&t, "unapplied"), 0);
	keys = figure(&t, "keys"); /* the store has its own: who had which UIDVALIDITY */
	CU_ASSERT(keys >= 1 && keys <= 2);
	CU_ASSERT_EQUAL(figure(&t, "mailboxes_in_memory"), 1);
	CU_ASSERT_EQUAL(figure(&t, "mailboxes_open"), 0);
	CU_ASSERT(figure(&t, "durable") < newest + 2);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_put("line", "another", "value", 0, 0)).rc, STORE_OK);
	rig_checkpoint(&r);
	t = ask(&r, ADMIN_STAT_STORE, "", "");
	CU_ASSERT_EQUAL(figure(&t, "keys"), keys + 1);
	CU_ASSERT(figure(&t, "durable") >= newest + 3);
	CU_ASSERT(figure(&t, "durable") <= figure(&t, "newest"));
	CU_ASSERT(figure(&t, "checkpointed") > 1700000000 && figure(&t, "checkpointed") != UINT64_MAX);
	newest = figure(&t, "durable");
	rig_settle(&r);
	rig_stop(&r);
	rig_start(&r);
	t = ask(&r, ADMIN_STAT_STORE, "", "");
	CU_ASSERT_EQUAL(figure(&t, "checkpointed"), UINT64_MAX);
	/* the journal remembers, but not that the record which says so was covered too */
	CU_ASSERT(figure(&t, "durable") >= newest - 1 && figure(&t, "durable") <= newest);
	rig_close(&r);
}

static void
test_memory(void)
{
	struct rig r;
	struct told t;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_MEMORY);
	t = ask(&r, ADMIN_STAT_STORE, "", "");
	CU_ASSERT_EQUAL(t.rc, STORE_INVALID);
	CU_ASSERT_STRING_EQUAL(t.text, "this store cannot tell");
	rig_close(&r);
	test_mailbox(RIG_MEMORY);
}

/* A quantile is not below what is true, and at most a quarter above. */
static void
test_latency(void)
{
	static struct latency l;
	uint64_t us, q;
	unsigned i;

	memset(&l, 0, sizeof l);
	CU_ASSERT_EQUAL(latency_mean(&l), 0);
	CU_ASSERT_EQUAL(latency_quantile(&l, 990), 0);
	for (us = 1; us <= 1000; us++)
		latency_add(&l, us);
	CU_ASSERT_EQUAL(l.count, 1000);
	CU_ASSERT_EQUAL(l.longest_us, 1000);
	CU_ASSERT_EQUAL(latency_mean(&l), 500);
	for (i = 1; i <= 1000; i++) {
		q = latency_quantile(&l, i);
		CU_ASSERT(q >= i && q <= i + i / 4);
	}
	CU_ASSERT_EQUAL(latency_quantile(&l, 1000), 1000);
	for (i = 0; i < 64; i++) {
		memset(&l, 0, sizeof l);
		us = UINT64_C(1) << i;
		latency_add(&l, us);
		CU_ASSERT_EQUAL(latency_quantile(&l, 500), us);
		latency_add(&l, us - 1);
		q = latency_quantile(&l, 500);
		CU_ASSERT(q >= us - 1 && q <= us);
	}
	memset(&l, 0, sizeof l);
	for (i = 0; i < 99; i++)
		latency_add(&l, 3);
	latency_add(&l, UINT64_MAX / 2);
	CU_ASSERT_EQUAL(latency_quantile(&l, 990), 3);
	CU_ASSERT_EQUAL(latency_quantile(&l, 991), UINT64_MAX / 2);
}

static const struct test_row rows[] = {
	{ "which questions there are", test_questions },
	{ "a mailbox", test_local_mailbox },
	{ "a quota", test_quota },
	{ "what others did", test_others },
	{ "the store", test_store },
	{ "an engine that cannot tell", test_memory },
	{ "latencies", test_latency },
};

TEST_MAIN("store/stat", rows)
