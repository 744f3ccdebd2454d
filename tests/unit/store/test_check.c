/* unit/store/test_check.c - each thing that can be wrong, made wrong: it is found, nothing else is, and it is mended only when asked. */
#include "store/mailbox_impl.h"
#include "store/rig.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER RIG_USER
#define INBOX "mail/" USER "/Maildir"

static void
begin(struct rig *r)
{
	unsigned i;

	memset(r, 0, sizeof *r);
	rig_open(r, RIG_LOCAL);
	for (i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "hello\r\n")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_flags(USER, "INBOX", "1:2", STORE_FLAGS_SET, STORE_SEEN)).rc, STORE_OK);
	rig_settle(r);
	CU_ASSERT_STRING_EQUAL(rig_ask(r, ADMIN_CHECK, false).kinds, "");
	CU_ASSERT_STRING_EQUAL(rig_ask(r, ADMIN_CHECK_STORE, false).kinds, "");
	CU_ASSERT_EQUAL(rig_ask(r, ADMIN_CHECK, false).files, 4);
	rig_stop(r); /* nothing in memory, nothing in the journal */
	rig_shell(r, "rm journal/*");
	rig_start(r);
}

/* What is done in INBOX's folder, what is found, how much of it is mended when it is asked for, and what is found then. */
static const struct {
	const char *damage, *found;
	unsigned mended;
	const char *then;
} mailboxes[] = {
	{ "true", "", 0, "" },
	{ "rm cur/*,U=1:2,S", "missing ", 1, "" },
	{ "mv cur/*,U=1:2,S $(echo cur/*,U=1:2,S | sed s/S$/FS/)", "flags ", 1, "" },
	{ "mv new/*,U=3 cur/ && cd cur && mv *,U=3 $(echo *,U=3):2,", "flags ", 1, "" },
	{ "cp new/*,U=3 cur/x && mv cur/x $(echo new/*,U=3 | sed s/new/cur/):2,S", "double ", 0, "double " },
	{ "for f in new/*,U=3; do printf more >> $f; done", "size ", 1, "size-name " },
	{ "for f in new/*,U=3; do : > $f; done", "size ", 1, "size-name " },
	{ "ln -s /etc/passwd cur/link:2, && mkfifo new/fifo && mkdir cur/folder", "not-a-file not-a-file not-a-file ", 0,
		"not-a-file not-a-file not-a-file " },
	{ "touch \"new/a\nb\"", "name ", 0, "name " },
	{ "rmdir tmp; rm -r new; mkdir tmp", "folder missing missing ", 2, "folder " },
	{ "rm postern-index", "index-lost not-indexed ", 1, "" },
	{ "truncate -s -5 postern-index", "index-cut flags flags ", 3, "" },
	{ "printf junk >> postern-index", "index-cut ", 1, "" },
	{ "sed -i '1s/P1/P2/' postern-index", "index-header ", 1, "" },
	{ "sed -i '2s/hello/x/; 2s/+ /+  /' postern-index", "index-damaged ", 1, "" },
	{ "sed -n 2p postern-index >> postern-index", "index-order ", 1, "" },
	{ "touch -d '3 days ago' tmp/old tmp/older", "", 0, "" }, /* its inode is young: somebody may be at it */
};

static bool
begins_as(const char *kinds, const char *want)
{
	/* files that the lost lines knew are young here: only what is wrong with the index itself counts */
	const char *rest = strstr(want, "not-indexed ");

	return rest == NULL ? strcmp(kinds, want) == 0 : strncmp(kinds, want, (size_t)(rest - want)) == 0;
}

static void
test_mailboxes(void)
{
	char command[512];
	struct rig_told t;
	struct rig r;
	size_t i;

	for (i = 0; i < PT_COUNT(mailboxes); i++) {
		begin(&r);
		snprintf(command, sizeof command, "cd " INBOX " && %s", mailboxes[i].damage);
		rig_shell(&r, command);
		t = rig_ask(&r, ADMIN_CHECK, false);
		CU_ASSERT_EQUAL(t.rc, STORE_OK);
		if (!begins_as(t.kinds, mailboxes[i].found))
			fprintf(stderr, "\n%s: found <%s>\n", mailboxes[i].damage, t.kinds);
		CU_ASSERT_TRUE(begins_as(t.kinds, mailboxes[i].found));
		CU_ASSERT_EQUAL(t.repaired, 0);
		t = rig_ask(&r, ADMIN_CHECK, false); /* nothing was mended */
		CU_ASSERT_TRUE(begins_as(t.kinds, mailboxes[i].found));
		t = rig_ask(&r, ADMIN_CHECK, true);
		CU_ASSERT(t.repaired >= mailboxes[i].mended);
		rig_settle(&r);
		t = rig_ask(&r, ADMIN_CHECK, false);
		if (strcmp(t.kinds, mailboxes[i].then) != 0)
			fprintf(stderr, "\n%s: then <%s>\n", mailboxes[i].damage, t.kinds);
		CU_ASSERT_STRING_EQUAL(t.kinds, mailboxes[i].then);
		CU_ASSERT_EQUAL(t.young, 0);
		rig_close(&r);
	}
}

/* A file that others just brought is no finding; of a mailbox that is not there nothing can be said. */
static void
test_young(void)
{
	struct rig_told t;
	struct rig r;

	begin(&r);
	rig_shell(&r, "printf x > " INBOX "/new/1.other");
	t = rig_ask(&r, ADMIN_CHECK, false);
	CU_ASSERT_EQUAL(t.young + t.found, 1); /* a slow machine may take its minute for this */
	CU_ASSERT_STRING_EQUAL(t.kinds, t.young == 1 ? "" : "not-indexed ");
	rig_close(&r);
	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	t = rig_ask(&r, ADMIN_CHECK, false);
	CU_ASSERT_EQUAL(t.rc, STORE_NOTFOUND);
	rig_close(&r);
}

static const struct {
	const char *damage, *found;
} stores[] = {
	{ "printf x > mail/.tmp/notes && touch -d yesterday mail/.tmp/notes", "" }, /* its inode is young */
	{ "printf 'no key\\n' >> kv/uidvalidity.log", "keys " },
	{ "printf 'V uidvalidity a 1 0 torn' >> kv/uidvalidity.log", "" },
};

static void
test_stores(void)
{
	struct rig_told t;
	struct rig r;
	size_t i;

	for (i = 0; i < PT_COUNT(stores); i++) {
		begin(&r);
		rig_shell(&r, stores[i].damage);
		t = rig_ask(&r, ADMIN_CHECK_STORE, false);
		CU_ASSERT_EQUAL(t.rc, STORE_OK);
		CU_ASSERT_STRING_EQUAL(t.kinds, stores[i].found);
		rig_close(&r);
	}
}

/* Segments of which one is lost, or has become nonsense. */
static void
test_journal(void)
{
	static char body[8192];
	struct rig r;
	unsigned i;

	memset(body, 'x', sizeof body - 1);
	memset(&r, 0, sizeof r);
	r.no_checkpoints = true;
	r.segments = 8;
	r.segment_octets = 64 * 1024;
	rig_open(&r, RIG_LOCAL);
	for (i = 0; i < 30; i++)
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", body)).rc, STORE_OK);
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, false).kinds, "");
	rig_shell(&r, "set -- journal/0*.pj && test $# -ge 4 && printf Z | dd of=$2 bs=1 seek=20000 conv=notrunc status=none");
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, false).kinds, "journal-gap ");
	rig_shell(&r, "set -- journal/0*.pj && printf Z | dd of=$2 bs=1 conv=notrunc status=none");
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, false).kinds, "journal journal-gap ");
	rig_close(&r);
}

/* What a user has, as the quota is held against it, and as other programs count. */
static void
test_sums(void)
{
	struct rig_told t;
	struct rig r;

	begin(&r);
	r.quota_octets = 1000;
	mb_quota_change(r.mbs, USER, 100, 1); /* nobody has counted yet: nothing is believed */
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_USER, true).kinds, "");
	rig_must(&r, rig_add(NULL, USER, "INBOX", "hello\r\n"));
	rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "Sent", NULL));
	rig_must(&r, rig_add(NULL, USER, "Sent", "hello\r\n"));
	rig_must(&r, rig_expunge(USER, "INBOX", "1"));
	rig_settle(&r);
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_USER, false).kinds, "");
	mb_quota_change(r.mbs, USER, 980, 0);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "hello\r\n")).rc, STORE_OVERQUOTA);
	t = rig_ask(&r, ADMIN_CHECK_USER, false);
	CU_ASSERT_STRING_EQUAL(t.kinds, "quota ");
	CU_ASSERT_EQUAL(t.repaired, 0);
	t = rig_ask(&r, ADMIN_CHECK_USER, true);
	CU_ASSERT_STRING_EQUAL(t.kinds, "quota ");
	CU_ASSERT_EQUAL(t.repaired, 1);
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_USER, false).kinds, "");
	rig_must(&r, rig_add(NULL, USER, "INBOX", "hello\r\n"));
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_USER, false).kinds, "");
	rig_close(&r);
}

/* There are 4 messages of 7 octets in INBOX, too young to say who has counted them and who has not. */
static const struct {
	const char *text;
	bool found;
} counts[] = {
	{ "10000S,100C\\n28 4\\n", false },
	{ "10000S,100C\\n14 2\\n  7 1\\n14 2\\n-7 -1\\n", false },
	{ "10000S,100C\\n29 4\\n", true },
	{ "10000S,100C\\n28 5\\n", true },
	{ "10000S,100C\\n-1 0\\n", true },
	{ "10000S,100C\\n28 4\\nx 1\\n", true },
	{ "10000S,100C\\n28 99999999999999999999\\n", true },
	{ "nothing", true },
	{ "", true },
};

static void
test_counts(void)
{
	char command[256];
	struct rig_told t;
	struct rig r;
	size_t i;

	begin(&r);
	for (i = 0; i < PT_COUNT(counts); i++) {
		snprintf(command, sizeof command, "cd " INBOX " && printf '%s' > maildirsize", counts[i].text);
		rig_shell(&r, command);
		CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_USER, false).kinds, ""); /* it is being written */
		rig_shell(&r, "touch -d '1 hour ago' " INBOX "/maildirsize");
		t = rig_ask(&r, ADMIN_CHECK_USER, false);
		CU_ASSERT_EQUAL(t.rc, STORE_OK);
		CU_ASSERT_STRING_EQUAL(t.kinds, counts[i].found ? "maildirsize " : "");
		t = rig_ask(&r, ADMIN_CHECK_USER, true);
		CU_ASSERT_EQUAL(t.repaired, counts[i].found);
		CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_USER, false).kinds, "");
		rig_shell(&r, counts[i].found ? "test ! -e " INBOX "/maildirsize" : "test -e " INBOX "/maildirsize");
	}
	rig_close(&r);
}

/* Whatever is under way, a check finds nothing. */
static void
counted(struct mb_txn *t, const struct mb_reply *reply)
{
	CU_ASSERT_EQUAL(reply->rc, STORE_OK);
	(*(unsigned *)t->arg)++;
}

static void
test_meanwhile(void)
{
	struct rig_told t[8];
	struct mb_txn *txn;
	unsigned n = 0, i;
	struct rig r;

	begin(&r);
	r.quota_octets = 1ull << 40; /* that it is counted */
	for (i = 0; i < 160; i++) {
		txn = i % 3 < 2 ? rig_add(NULL, USER, "INBOX", "x") : rig_flags(USER, "INBOX", "1:*", STORE_FLAGS_ADD, STORE_FLAGGED);
		txn->done = counted;
		txn->arg = &n;
		mb_commit(r.mbs, txn);
		if (i % 20 == 0)
			rig_ask_start(&r, i % 40 == 0 ? ADMIN_CHECK : ADMIN_CHECK_USER, false, &t[i / 20]);
		if (i % 7 == 0)
			mailboxes_flush(r.mbs);
	}
	for (i = 0; i < 8; i++) {
		rig_wait(&r, &t[i].done);
		CU_ASSERT_STRING_EQUAL(t[i].kinds, "");
		CU_ASSERT_EQUAL(t[i].rc, STORE_OK);
	}
	rig_settle(&r);
	CU_ASSERT_EQUAL(n, 160);
	rig_close(&r);
}

static const struct test_row rows[] = {
	{ "mailboxes", test_mailboxes },
	{ "what has just come", test_young },
	{ "what belongs to no mailbox", test_stores },
	{ "the journal", test_journal },
	{ "what a user has", test_sums },
	{ "what others count", test_counts },
	{ "while it is used", test_meanwhile },
};

TEST_MAIN("store/check", rows)
