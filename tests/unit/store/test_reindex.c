/* unit/store/test_reindex.c - an index made anew: whatever has become of it, messages keep their UIDs, and nothing is lost that
 * is done meanwhile. */
#include "store/rig.h"

#include "store/maildir.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define USER RIG_USER
#define INBOX "mail/" USER "/Maildir"

static int fail_rename; /* errno for the next */

int __real_renameat(int a, const char *from, int b, const char *to);
int __wrap_renameat(int a, const char *from, int b, const char *to);

int
__wrap_renameat(int a, const char *from, int b, const char *to)
{
	int e = strcmp(to, INDEX_FILE) == 0 ? fail_rename : 0;

	if (e == 0)
		return __real_renameat(a, from, b, to);
	fail_rename = 0;
	errno = e;
	return -1;
}

struct result {
	bool done;
	enum store_rc rc;
	struct store_status st;
	struct store_rebuilt out;
};

static void
on_reindex(void *arg, enum store_rc rc, const struct store_status *st, const struct store_rebuilt *out)
{
	struct result *r = arg;

	CU_ASSERT_FALSE(r->done);
	r->done = true;
	r->rc = rc;
	r->st = *st;
	r->out = *out;
}

static struct result
reindex(struct rig *r, const char *key)
{
	struct result res = { .done = false };

	mb_reindex(r->mbs, USER, key, on_reindex, &res);
	rig_wait(r, &res.done);
	return res;
}

/* Five messages, of which the third is gone; flags, a keyword, one still in new/. */
#define ALL "1 S:one\r\n 2 Fa:two\r\n 4 :four\r\n 5 N:five\r\n"

static void
begin(struct rig *r)
{
	static const char *const bodies[] = { "one\r\n", "two\r\n", "three\r\n", "four\r\n", "five\r\n" };
	struct mb_txn *t;
	size_t i;

	memset(r, 0, sizeof *r);
	rig_open(r, RIG_LOCAL);
	for (i = 0; i < PT_COUNT(bodies); i++)
		CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", bodies[i])).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_SET, STORE_SEEN)).rc, STORE_OK);
	t = rig_flags(USER, "INBOX", "2", STORE_FLAGS_SET, STORE_FLAGGED);
	t->ops[0].keywords = calloc(1, sizeof *t->ops[0].keywords);
	snprintf(t->ops[0].keywords[0], STORE_KEYWORD_MAX + 1, "Work");
	t->ops[0].nkeywords = 1;
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_flags(USER, "INBOX", "3:4", STORE_FLAGS_SET, STORE_DELETED)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_expunge(USER, "INBOX", "3")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_flags(USER, "INBOX", "4", STORE_FLAGS_SET, 0)).rc, STORE_OK);
	rig_is(r, "INBOX", ALL);
}

/* Nothing of it is in the journal any more: what is lost is lost. */
static void
forget_journal(struct rig *r)
{
	rig_stop(r);
	rig_shell(r, "rm journal/*");
	rig_start(r);
}

static uint8_t *
read_index(struct rig *r, size_t *n)
{
	int fd = openat(r->dir_fd, INBOX "/" INDEX_FILE, O_RDONLY);
	uint8_t *p = malloc(1 << 20);
	ssize_t got;

	CU_ASSERT_FATAL(fd >= 0 && p != NULL);
	got = read(fd, p, 1 << 20);
	CU_ASSERT_FATAL(got > 0);
	close(fd);
	*n = (size_t)got;
	return p;
}

static void
write_index(struct rig *r, const uint8_t *p, size_t n)
{
	int fd = openat(r->dir_fd, INBOX "/" INDEX_FILE, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CU_ASSERT_FATAL(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
}

/* --- what has become of the index ---------------------------------------------------------------------------- */

static void
test_whole(void)
{
	struct result res;
	struct index x, y;
	struct rig r;
	uint64_t before = (uint64_t)time(NULL) << 20;

	begin(&r);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.rc, STORE_OK);
	CU_ASSERT_EQUAL(res.out.header, STORE_HEADER_KEPT);
	CU_ASSERT_EQUAL(res.out.messages, 4);
	CU_ASSERT_EQUAL(res.out.kept, 4);
	CU_ASSERT_EQUAL(res.out.missing + res.out.damaged + res.out.given + res.out.named, 0);
	CU_ASSERT_EQUAL(res.st.uidnext, 6);
	rig_is(&r, "INBOX", ALL);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &y));
	CU_ASSERT_EQUAL(x.uidvalidity, y.uidvalidity);
	CU_ASSERT_STRING_EQUAL(x.id, y.id);
	CU_ASSERT_STRING_EQUAL(y.keywords[0], "Work");
	CU_ASSERT(y.modseq >= before && y.floor == y.modseq);
	CU_ASSERT_EQUAL(y.msgs[0].modseq, y.modseq);
	CU_ASSERT_EQUAL(x.msgs[1].date, y.msgs[1].date);
	CU_ASSERT_EQUAL(x.msgs[1].guid[0], y.msgs[1].guid[0]);
	index_fini(&x);
	index_fini(&y);
	/* and it goes on, through a restart as well */
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "six")).uids, "6");
	rig_restart(&r);
	rig_is(&r, "INBOX", ALL " 6 N:six");
	rig_close(&r);
}

static void
check_cut(struct rig *r, const uint8_t *text, size_t cut, bool header)
{
	struct result res;

	rig_stop(r);
	write_index(r, text, cut);
	rig_start(r);
	res = reindex(r, "INBOX");
	CU_ASSERT_EQUAL_FATAL(res.rc, STORE_OK);
	CU_ASSERT_EQUAL(res.out.header, header ? STORE_HEADER_KEPT : STORE_HEADER_NEW);
	CU_ASSERT_EQUAL(res.out.messages, 4);
	CU_ASSERT_EQUAL(res.out.given, 0);
	rig_is(r, "INBOX", ALL);
}

/* Whatever octet it ends at, every message keeps its UID; UIDVALIDITY is a new one only where the header is not whole. */
static void
test_cut(void)
{
	size_t n, i, header;
	uint8_t *text;
	struct rig r;

	begin(&r);
	forget_journal(&r);
	text = read_index(&r, &n);
	header = (size_t)((uint8_t *)memchr(text, '\n', n) - text) + 1;
	for (i = 0; i < n; i++)
		check_cut(&r, text, i, i >= header);
	rig_stop(&r);
	CU_ASSERT_EQUAL(unlinkat(r.dir_fd, INBOX "/" INDEX_FILE, 0), 0);
	rig_start(&r);
	CU_ASSERT_EQUAL(reindex(&r, "INBOX").rc, STORE_OK);
	rig_is(&r, "INBOX", ALL);
	free(text);
	rig_close(&r);
}

/* An octet that is another one takes a line away, and no more; also where nobody asks, when the mailbox is read, and when the journal is
 * carried out again. */
static void
damaged(bool journal)
{
	size_t n, i, header, bad;
	struct result res;
	uint8_t *text;
	struct index x;
	struct rig r;

	begin(&r);
	if (!journal)
		forget_journal(&r);
	text = read_index(&r, &n);
	header = (size_t)((uint8_t *)memchr(text, '\n', n) - text) + 1;
	for (i = header; i < n; i += 7) {
		bad = text[i] == '\n' ? i - 1 : i;
		rig_stop(&r);
		text[bad] ^= 0x10;
		write_index(&r, text, n);
		text[bad] ^= 0x10;
		rig_start(&r);
		if (i % 2 == 0) {
			res = reindex(&r, "INBOX");
			CU_ASSERT_EQUAL(res.rc, STORE_OK);
			CU_ASSERT(journal || res.out.damaged == 1);
		}
		rig_scan(&r, USER, "INBOX");
		rig_is(&r, "INBOX", ALL);
		CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
		CU_ASSERT_STRING_EQUAL(x.keywords[0], "Work");
		index_fini(&x);
	}
	free(text);
	rig_close(&r);
}

static void
test_damaged(void)
{
	damaged(false);
}

static void
test_damaged_and_replayed(void)
{
	damaged(true);
}

/* It goes while the server runs: what is in memory says what the header was. */
static void
test_lost_while_open(void)
{
	struct result res;
	struct index x;
	struct rig r;

	begin(&r);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	rig_shell(&r, "cd " INBOX " && printf 'nonsense\\nnonsense\\n' > postern-index && rm -f postern-keywords");
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.rc, STORE_OK);
	CU_ASSERT_EQUAL(res.out.header, STORE_HEADER_KEPT);
	CU_ASSERT_EQUAL(res.out.named, 4);
	CU_ASSERT_EQUAL(res.st.uidvalidity, x.uidvalidity);
	CU_ASSERT_STRING_EQUAL(res.st.id, x.id);
	index_fini(&x);
	rig_is(&r, "INBOX", ALL);
	rig_close(&r);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static void
test_names(void)
{
	struct result res;
	struct rig r;

	begin(&r);
	/* of another mailbox, with a UID that is taken here, one that is free, and one that another had; twice the same; one that is gone */
	rig_shell(&r, "cd " INBOX " && printf a > cur/100.x,U=2:2,S && printf b > cur/101.x,U=3:2, && printf c > cur/102.x,U=40:2, && "
		"printf d > cur/103.x,U=40:2, && printf e > cur/104.x:2, && rm cur/*,U=1:2,S && printf f > cur/105.x,U=4294967294:2,");
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.rc, STORE_OK);
	CU_ASSERT_EQUAL(res.out.kept, 3);
	CU_ASSERT_EQUAL(res.out.missing, 1);
	CU_ASSERT_EQUAL(res.out.named, 1);
	CU_ASSERT_EQUAL(res.out.given, 5);
	rig_is(&r, "INBOX", "2 Fa:two\r\n 4 :four\r\n 5 N:five\r\n 40 :c 41 S:a 42 :b 43 :d 44 :e 45 :f");
	rig_close(&r);
}

/* A Maildir of Dovecot's; then its list is old, and its index lost: what the list says is still better than nothing. */
static void
test_dovecot(void)
{
	struct result res;
	struct index x;
	struct rig r;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	rig_shell(&r, "mkdir -p " INBOX "/cur " INBOX "/new " INBOX "/tmp && cd " INBOX " && "
		"printf 'a\\r\\n' > cur/1.M1P1.h,S=3,W=3:2,Sa && printf 'b\\n' > cur/2.M1P1.h,S=2,W=3:2, && "
		"printf 'c\\r\\n' > new/3.M1P1.h && printf 'd\\r\\n' > new/5.M1P1.h,S=3:2,F && "
		"printf '3 V1234 N50 G0011\\n45 :5.M1P1.h,S=3\\n7 :1.M1P1.h,S=3,W=3\\n41 W3 :2.M1P1.h,S=2,W=3:2,S\\n44 :4.gone\\n' > dovecot-uidlist && "
		"printf '0 $Work\\n' > dovecot-keywords");
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.rc, STORE_OK);
	CU_ASSERT_EQUAL(res.out.header, STORE_HEADER_IMPORTED);
	CU_ASSERT_EQUAL(res.out.imported, 3);
	CU_ASSERT_EQUAL(res.out.given, 1);
	CU_ASSERT_EQUAL(res.st.uidvalidity, 1234);
	rig_is(&r, "INBOX", "7 Sa:a\r\n 41 :b\r\n 45 F:d\r\n 50 N:c\r\n");
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_STRING_EQUAL(x.keywords[0], "$Work");
	CU_ASSERT_EQUAL(x.msgs[1].size, 3);
	CU_ASSERT_EQUAL(x.msgs[1].where, INDEX_LF);
	index_fini(&x);
	/* again, with our index: nothing is different */
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.out.kept, 4);
	rig_is(&r, "INBOX", "7 Sa:a\r\n 41 :b\r\n 45 F:d\r\n 50 N:c\r\n");
	/* a message that only our index knows, cut off with its line; the list is of our UIDVALIDITY */
	rig_stop(&r);
	rig_shell(&r, "cd " INBOX " && head -n 2 postern-index > x && mv x postern-index");
	rig_start(&r);
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.out.header, STORE_HEADER_KEPT);
	CU_ASSERT_EQUAL(res.out.imported, 3);
	rig_is(&r, "INBOX", "7 Sa:a\r\n 41 :b\r\n 45 F:d\r\n 50 N:c\r\n");
	/* of another UIDVALIDITY it is not believed */
	rig_stop(&r);
	rig_shell(&r, "cd " INBOX " && head -n 2 postern-index > x && mv x postern-index && sed -i 's/V1234/V99/' dovecot-uidlist");
	rig_start(&r);
	CU_ASSERT_EQUAL(reindex(&r, "INBOX").out.given, 4);
	rig_close(&r);
}

static void
test_nothing_there(void)
{
	struct rig r;

	begin(&r);
	CU_ASSERT_EQUAL(reindex(&r, "Nowhere").rc, STORE_NOTFOUND);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_CREATE, "Nowhere", NULL)).rc, STORE_OK);
	CU_ASSERT_EQUAL(reindex(&r, "Nowhere").out.messages, 0);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "Nowhere", "x")).rc, STORE_OK);
	rig_is(&r, "Nowhere", "1 N:x");
	rig_close(&r);
}

static void
test_memory(void)
{
	struct rig r;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_MEMORY);
	CU_ASSERT_EQUAL(reindex(&r, "INBOX").rc, STORE_INVALID);
	rig_close(&r);
}

/* --- meanwhile --------------------------------------------------------------------------------------------------- */

static void
counted(struct mb_txn *t, const struct mb_reply *reply)
{
	CU_ASSERT_EQUAL(reply->rc, STORE_OK);
	(*(unsigned *)t->arg)++;
}

static void
commit(struct rig *r, struct mb_txn *t, unsigned *n)
{
	t->done = counted;
	t->arg = n;
	mb_commit(r->mbs, t);
}

/* Committed and not flushed, flushed and not applied, and asked for while it is under way: all of it is done, once. */
static void
test_meanwhile(void)
{
	struct result a = { .done = false }, b = { .done = false };
	unsigned n = 0, i;
	struct rig r;

	const char *dump;

	begin(&r);
	for (i = 0; i < 20; i++)
		commit(&r, rig_add(NULL, USER, "INBOX", "x"), &n);
	commit(&r, rig_flags(USER, "INBOX", "2", STORE_FLAGS_SET, STORE_DRAFT), &n);
	mb_reindex(r.mbs, USER, "INBOX", on_reindex, &a);
	mb_reindex(r.mbs, USER, "INBOX", on_reindex, &b);
	for (i = 0; i < 20; i++)
		commit(&r, rig_add(NULL, USER, "INBOX", "y"), &n);
	commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_SET, STORE_DELETED), &n);
	commit(&r, rig_expunge(USER, "INBOX", "1"), &n);
	rig_wait(&r, &a.done);
	rig_wait(&r, &b.done);
	rig_settle(&r);
	CU_ASSERT_EQUAL(n, 43);
	CU_ASSERT_EQUAL(a.rc, STORE_OK);
	CU_ASSERT_EQUAL(b.rc, STORE_OK);
	CU_ASSERT_EQUAL(a.out.given + a.out.missing + a.out.damaged + b.out.given + b.out.missing, 0);
	rig_restart(&r);
	dump = rig_dump(&r, USER, "INBOX");
	CU_ASSERT_PTR_NOT_NULL(strstr(dump, "2 D:two\r\n 4 :four\r\n 5 N:five\r\n 6 N:x 7 N:x"));
	CU_ASSERT_PTR_NOT_NULL(strstr(dump, "25 N:x 26 N:y"));
	CU_ASSERT_PTR_NOT_NULL(strstr(dump, "45 N:y"));
	rig_close(&r);
}

struct events {
	unsigned grew, replaced, gone;
	bool open;
	struct mb_view *v;
};

static void
on_event(void *arg, enum mb_event what, uint64_t octets)
{
	struct events *e = arg;

	(void)octets;
	e->grew += what == MB_GREW;
	e->replaced += what == MB_REPLACED;
	e->gone += what == MB_GONE;
}

static void
on_open(void *arg, enum store_rc rc, struct mb_view *v, int fd, uint64_t octets)
{
	struct events *e = arg;

	(void)octets;
	CU_ASSERT_EQUAL_FATAL(rc, STORE_OK);
	e->v = v;
	e->open = true;
	close(fd);
}

static void
test_views(void)
{
	struct events e = { .open = false };
	struct rig r;

	begin(&r);
	mb_view_open(r.mbs, USER, "INBOX", on_event, &e, on_open, &e);
	rig_wait(&r, &e.open);
	CU_ASSERT_EQUAL(reindex(&r, "INBOX").rc, STORE_OK);
	CU_ASSERT_EQUAL(e.replaced, 1);
	CU_ASSERT_EQUAL(e.gone, 0);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "x")).rc, STORE_OK);
	rig_settle(&r);
	CU_ASSERT(e.grew >= 1);
	mb_view_close(&e.v);
	rig_close(&r);
}

/* A disk that takes no new index: the old one stays, and is used. */
static void
test_fails(void)
{
	struct result res;
	struct rig r;

	begin(&r);
	fail_rename = EIO;
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.rc, STORE_TEMP);
	rig_is(&r, "INBOX", ALL);
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "six")).uids, "6");
	rig_is(&r, "INBOX", ALL " 6 N:six");
	rig_restart(&r);
	fail_rename = EIO;
	CU_ASSERT_EQUAL(reindex(&r, "INBOX").rc, STORE_TEMP); /* not in memory */
	CU_ASSERT_EQUAL(reindex(&r, "INBOX").rc, STORE_OK);
	rig_is(&r, "INBOX", ALL " 6 N:six");
	rig_close(&r);
}

/* The journal still has all of it, and the header is lost: what it says of the old one must not be missed, nor done to the new. */
static void
test_journal_of_the_old(void)
{
	struct result res;
	struct rig r;

	memset(&r, 0, sizeof r);
	r.no_checkpoints = true;
	rig_open(&r, RIG_LOCAL);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "one")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "two")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_SET, STORE_DELETED)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_expunge(USER, "INBOX", "1")).rc, STORE_OK);
	rig_settle(&r);
	res = reindex(&r, "INBOX");
	CU_ASSERT_EQUAL(res.st.uidnext, 3);
	rig_restart(&r);
	rig_is(&r, "INBOX", "2 N:two");
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).uids, "3");
	rig_restart(&r);
	rig_is(&r, "INBOX", "2 N:two 3 N:three");
	rig_close(&r);
}

static const struct test_row rows[] = {
	{ "a whole index", test_whole },
	{ "cut at every octet", test_cut },
	{ "damaged", test_damaged },
	{ "damaged, and the journal is carried out again", test_damaged_and_replayed },
	{ "lost while it is open", test_lost_while_open },
	{ "names with UIDs of their own", test_names },
	{ "a Maildir of Dovecot's", test_dovecot },
	{ "nothing there", test_nothing_there },
	{ "an engine without files", test_memory },
	{ "what is done meanwhile", test_meanwhile },
	{ "views", test_views },
	{ "a disk that fails", test_fails },
	{ "the journal of the old index", test_journal_of_the_old },
};

TEST_MAIN("store/reindex", rows)
