/* unit/store/test_local.c - the local engine among others: programs that change the same Maildirs, indexes that are lost, disks that
 * fail or are full. */
#include "store/rig.h"

#include "store/local.h"
#include "store/maildir.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define USER RIG_USER
#define INBOX "mail/" USER "/Maildir"
#define STUCK "stuck@example.test"

/* --- faults ---------------------------------------------------------------------------------------------------- */

static _Atomic int fail_flush, fail_rename; /* errno for the next, of whichever thread; a rename of mail */
static bool full, read_only;
static unsigned left; /* octets of the disk; 0: what there is */
static _Atomic long set_back_s; /* the clock */
static _Atomic bool immutable; /* STUCK's mailboxes */
static _Atomic bool hold; /* flushes do not end */
static _Atomic unsigned held;
static _Atomic unsigned let, lose; /* bits of the held ones: those that end, those that fail then */
static _Atomic unsigned slow_us;   /* each flush */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_renameat(int a, const char *from, int b, const char *to);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
time_t __real_time(time_t *t);
time_t __wrap_time(time_t *t);
int __real_fstatvfs(int fd, struct statvfs *v);
int __wrap_fstatvfs(int fd, struct statvfs *v);

int
__wrap_fdatasync(int fd)
{
	int e = fail_flush;
	unsigned mine = hold ? 1u << (held++ & 31) : 0;

	fail_flush = 0;
	usleep(slow_us);
	while (mine != 0 && hold && (let & mine) == 0)
		usleep(1000);
	if ((mine & lose) != 0)
		e = EIO;
	if (e != 0)
		errno = e;
	return e != 0 ? -1 : __real_fdatasync(fd);
}

int
__wrap_renameat(int a, const char *from, int b, const char *to)
{
	int e = strstr(to, ".pj") != NULL ? 0 : atomic_exchange(&fail_rename, 0); /* a thread makes segments whenever it likes */
	char link[32], path[256];
	ssize_t n;

	if (immutable) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", b);
		n = readlink(link, path, sizeof path - 1);
		path[n < 0 ? 0 : n] = '\0';
		if (strstr(path, STUCK) != NULL) {
			errno = EPERM;
			return -1;
		}
	}
	if (e != 0)
		errno = e;
	return e != 0 ? -1 : __real_renameat(a, from, b, to);
}

int
__wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	int rc = __real_clock_gettime(clock, t);

	if (clock == CLOCK_REALTIME)
		t->tv_sec -= set_back_s;
	return rc;
}

time_t
__wrap_time(time_t *t)
{
	time_t now = __real_time(NULL) - set_back_s;

	if (t != NULL)
		*t = now;
	return now;
}

int
__wrap_fstatvfs(int fd, struct statvfs *v)
{
	int rc = __real_fstatvfs(fd, v);

	if (full)
		v->f_bavail = 0;
	if (left > 0) {
		v->f_frsize = 1;
		v->f_bavail = left;
	}
	if (read_only)
		v->f_flag |= ST_RDONLY;
	return rc;
}

/* Reading comes behind what was committed: what others see is there. */
static void
applied(struct rig *r)
{
	struct index x;

	CU_ASSERT_TRUE(rig_index(r, USER, "INBOX", &x));
	index_fini(&x);
}

static void
begin(struct rig *r)
{
	memset(r, 0, sizeof *r);
	rig_open(r, RIG_LOCAL);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "one\r\n")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "two\r\n")).rc, STORE_OK);
	applied(r);
}

struct rescan {
	bool done;
	enum store_rc rc;
};

static void
on_rescan(void *arg, enum store_rc rc)
{
	struct rescan *s = arg;

	s->done = true;
	s->rc = rc;
}

static void
rescan(struct rig *r)
{
	struct rescan s = { false, STORE_OK };
	int i;

	mb_rescan(r->mbs, USER, "INBOX", on_rescan, &s);
	for (i = 0; i < 5000 && !s.done; i++)
		rig_settle(r);
	CU_ASSERT_TRUE(s.done);
	CU_ASSERT_EQUAL(s.rc, STORE_OK);
	rig_settle(r);
}

/* --- other programs --------------------------------------------------------------------------------------------- */

static void
test_python(void)
{
	struct rig r;

	begin(&r);
	/* what we wrote is a Maildir to others, and they change it as they do */
	rig_shell(&r, "python3 -B -c '\n"
		"import mailbox\n"
		"m = mailbox.Maildir(\"" INBOX "\", create=False)\n"
		"import os\n"
		"assert len(m) == 2, m.keys()\n"
		"k = [k for k in m.keys() if b\"one\" in m.get_bytes(k)][0]\n"
		"assert m[k].get_subdir() == \"new\"\n"
		"os.rename(\"" INBOX "/new/\" + k, \"" INBOX "/cur/\" + k + \":2,S\")\n"
		"m.add(\"From: x\\n\\nthree\\n\")\n'");
	rescan(&r);
	rig_is(&r, "INBOX", "1 S:one\r\n 2 N:two\r\n 3 N:From: x\r\n\r\nthree\r\n");
	rig_shell(&r, "python3 -B -c '\n"
		"import mailbox\n"
		"m = mailbox.Maildir(\"" INBOX "\", create=False)\n"
		"m.remove([k for k in m.keys() if b\"two\" in m.get_bytes(k)][0])\n'");
	rescan(&r);
	rig_is(&r, "INBOX", "1 S:one\r\n 3 N:From: x\r\n\r\nthree\r\n");
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "3", STORE_FLAGS_ADD, STORE_FLAGGED)).text, "");
	rig_is(&r, "INBOX", "1 S:one\r\n 3 F:From: x\r\n\r\nthree\r\n");
	rig_restart(&r);
	rig_is(&r, "INBOX", "1 S:one\r\n 3 F:From: x\r\n\r\nthree\r\n");
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "4")).uids, "4");
	rig_close(&r);
}

static void
test_renamed_under_us(void)
{
	struct rig r;

	begin(&r);
	rig_settle(&r);
	/* before it is noticed: found all the same */
	rig_shell(&r, "cd " INBOX " && for f in new/*U=1; do mv $f cur/${f#new/}:2,F; done");
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n");
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN)).rc, STORE_OK);
	applied(&r);
	rig_is(&r, "INBOX", "1 S:one\r\n 2 N:two\r\n");
	rig_shell(&r, "cd " INBOX " && ls cur | grep -q ':2,S$'");
	/* and what is gone is no failure */
	rig_shell(&r, "rm " INBOX "/cur/*U=1:2,S");
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_DELETED)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_expunge(USER, "INBOX", "1")).rc, STORE_OK);
	rescan(&r);
	rig_is(&r, "INBOX", "2 N:two\r\n");
	rig_close(&r);
}

/* Looked at again while what was found is on its way to the log: found once. */
static void
test_found_once(void)
{
	struct rescan s[3] = { { false, STORE_OK } };
	struct index x;
	struct rig r;
	unsigned k;
	int i;

	begin(&r);
	rescan(&r);
	rig_shell(&r, "printf 'new\\r\\n' > " INBOX "/new/123.x.host");
	for (k = 0; k < 3; k++)
		mb_rescan(r.mbs, USER, "INBOX", on_rescan, &s[k]);
	for (i = 0; i < 5000 && !(s[0].done && s[1].done && s[2].done); i++)
		rig_settle(&r);
	CU_ASSERT_TRUE(s[0].done && s[1].done && s[2].done);
	rig_settle(&r);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_EQUAL(x.n, 3);
	index_fini(&x);
	rig_close(&r);
}

/* Letters in another order, none at all, some that nobody knows; flags in new/, which mutt writes. */
static void
test_other_names(void)
{
	struct rig r;

	begin(&r);
	rig_settle(&r);
	rig_shell(&r, "cd " INBOX " && printf a > cur/1.a.h:2,SF && printf b > cur/2.b.h && printf c > cur/3.c.h:2,SZR && "
		"printf d > new/4.d.h:2,F && printf e > new/5.e.h:2, && printf f > cur/6.f.h:2,SS && "
		"for f in new/*U=1; do mv $f $f:2,F; done; for f in new/*U=2; do mv $f cur/${f#new/}:2,TS; done");
	rescan(&r);
	rig_is(&r, "INBOX", "1 F:one\r\n 2 ST:two\r\n 3 FS:a 4 :b 5 RS:c 6 F:d 7 N:e 8 S:f");
	rig_shell(&r, "cd " INBOX " && mv cur/1.a.h:2,FS cur/1.a.h:2,SFT && mv new/5.e.h new/5.e.h:2,R");
	rescan(&r);
	rig_is(&r, "INBOX", "1 F:one\r\n 2 ST:two\r\n 3 FST:a 4 :b 5 RS:c 6 F:d 7 R:e 8 S:f");
	rig_restart(&r);
	rig_is(&r, "INBOX", "1 F:one\r\n 2 ST:two\r\n 3 FST:a 4 :b 5 RS:c 6 F:d 7 R:e 8 S:f");
	rig_close(&r);
}

/* A view hears of it by itself, and quickly. */
struct watching {
	struct mb_view *v;
	unsigned events;
};

static void
on_event(void *arg, enum mb_event what, uint64_t octets)
{
	struct watching *w = arg;

	(void)octets;
	CU_ASSERT_EQUAL(what, MB_GREW);
	w->events++;
}

static void
on_view(void *arg, enum store_rc rc, struct mb_view *v, int fd, uint64_t octets)
{
	struct watching *w = arg;

	(void)octets;
	CU_ASSERT_EQUAL(rc, STORE_OK);
	w->v = v;
	close(fd);
}

static void
test_watched(void)
{
	struct watching w = { NULL, 0 };
	struct rig r;
	unsigned before;
	int i;

	begin(&r);
	mb_view_open(r.mbs, USER, "INBOX", on_event, &w, on_view, &w);
	for (i = 0; i < 5000 && w.v == NULL; i++)
		rig_settle(&r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.v);
	rig_settle(&r);
	before = w.events;
	rig_shell(&r, "printf 'new\\r\\n' > " INBOX "/tmp/x && mv " INBOX "/tmp/x " INBOX "/new/123.x.host");
	for (i = 0; i < 5000 && w.events == before; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(w.events, before + 1);
	/* our own changes are no reason to look */
	before = w.events;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "ours")).rc, STORE_OK);
	for (i = 0; i < 10; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(w.events, before + 1);
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:new\r\n 4 N:ours");
	mb_view_close(&w.v);
	rig_close(&r);
}

/* More changes than the kernel keeps: then everything is looked at. */
static void
test_overflow(void)
{
	struct watching w = { NULL, 0 };
	struct index x;
	struct rig r;
	int i;

	begin(&r);
	mb_view_open(r.mbs, USER, "INBOX", on_event, &w, on_view, &w);
	for (i = 0; i < 5000 && w.v == NULL; i++)
		rig_settle(&r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.v);
	rig_settle(&r);
	rig_shell(&r, "max=$(cat /proc/sys/fs/inotify/max_queued_events) && cd " INBOX "/new && "
		"seq 1 $((max > 65536 ? 1 : max / 2 + 100)) | sed 's/.*/.x&/' | xargs touch && ls -A | grep '^.x' | xargs rm && printf late > 123.late.h");
	for (i = 0; i < 200; i++) {
		rig_settle(&r);
		CU_ASSERT_TRUE_FATAL(rig_index(&r, USER, "INBOX", &x));
		if (x.n == 3)
			i = 200;
		index_fini(&x);
	}
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:late");
	mb_view_close(&w.v);
	rig_close(&r);
}

/* UIDs survive the loss of the index; UIDVALIDITY is another. */
static void
test_lost_index(void)
{
	struct rig_reply before, after;
	struct rig r;

	begin(&r);
	before = rig_commit(&r, rig_add(NULL, USER, "INBOX", "three"));
	rig_commit(&r, rig_flags(USER, "INBOX", "2", STORE_FLAGS_ADD, STORE_DELETED));
	rig_commit(&r, rig_expunge(USER, "INBOX", "2"));
	rig_commit(&r, rig_flags(USER, "INBOX", "3", STORE_FLAGS_ADD, STORE_FLAGGED));
	rig_stop(&r);
	rig_shell(&r, "rm -rf journal/* " INBOX "/postern-index");
	rig_start(&r);
	after = rig_commit(&r, rig_add(NULL, USER, "INBOX", "four"));
	CU_ASSERT_STRING_EQUAL(after.uids, "4");
	CU_ASSERT(after.uidvalidity > before.uidvalidity);
	CU_ASSERT(after.modseq > before.modseq + 1000000);
	rig_is(&r, "INBOX", "1 N:one\r\n 3 F:three 4 N:four");
	rig_close(&r);
}

/* Taken away while the mailbox is in memory, and nobody has the file open any more: made again, and not looked for without end. */
static void
test_index_taken_away(void)
{
	struct rescan s = { false, STORE_OK };
	char user[64];
	struct index x;
	struct rig r;
	int i;

	begin(&r);
	rig_scan(&r, USER, "INBOX");
	for (i = 0; i < 1100; i++) { /* more than are kept open */
		snprintf(user, sizeof user, "user%d@example.test", i);
		CU_ASSERT_FALSE(rig_index(&r, user, "INBOX", &x));
	}
	rig_shell(&r, "rm " INBOX "/postern-index");
	mb_rescan(r.mbs, USER, "INBOX", on_rescan, &s);
	for (i = 0; i < 1000 && !s.done; i++)
		rig_settle(&r);
	CU_ASSERT_TRUE(s.done);
	for (i = 0; i < 3; i++)
		rig_settle(&r);
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).uids, "3");
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:three");
	rig_close(&r);
}

/* UIDs in names are believed within reason: the last one there is would be the mailbox's end. */
static void
test_highest_uid(void)
{
	struct rig r;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	rig_shell(&r, "mkdir -p " INBOX "/cur " INBOX "/new " INBOX "/tmp && cd " INBOX "/cur && printf a > "
		"1.M1P1.h,S=1,U=4294967294:2, && printf b > 2.M1P1.h,S=1,U=7:2,");
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "x")).uids, "9");
	rig_is(&r, "INBOX", "7 :b 8 :a 9 N:x");
	rig_close(&r);
}

/* More messages than one record of the journal can name. */
static void
test_large_import(void)
{
	struct index x;
	struct rig r = { .segment_octets = 4u << 20 };

	rig_open(&r, RIG_LOCAL);
	rig_shell(&r, "mkdir -p " INBOX "/cur " INBOX "/new " INBOX "/tmp && cd " INBOX "/cur && seq 1 20000 | "
		"sed 's/.*/1700000000.M&P&.a.host.with.quite.a.long.name.so.that.a.line.of.the.index.is.long.as.well.and.two.hundred."
		"octets.are.had.soon.example.com:2,S/' | xargs touch");
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "x")).uids, "20001");
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_EQUAL(x.n, 20001);
	index_fini(&x);
	rig_close(&r);
}

/* A Maildir of Dovecot's moves in place: UIDs, UIDVALIDITY, keywords. */
static void
test_dovecot(void)
{
	struct rig_reply p;
	struct index x;
	struct rig r;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	rig_shell(&r, "mkdir -p " INBOX "/cur " INBOX "/new " INBOX "/tmp && cd " INBOX " && "
		"printf 'a\\r\\n' > cur/1.M1P1.h,S=3,W=3:2,Sa && printf 'b\\n' > cur/2.M1P1.h,S=2,W=3:2, && "
		"printf 'c\\r\\n' > new/3.M1P1.h && "
		"printf '3 V1234 N50 G0011\\n7 :1.M1P1.h,S=3,W=3\\n41 W3 :2.M1P1.h,S=2,W=3:2,S\\n' > dovecot-uidlist && "
		"printf '0 $Work\\n' > dovecot-keywords");
	p = rig_commit(&r, rig_add(NULL, USER, "INBOX", "ours"));
	CU_ASSERT_EQUAL(p.uidvalidity, 1234);
	rig_is(&r, "INBOX", "7 Sa:a\r\n 41 :b\r\n 50 N:c\r\n 51 N:ours");
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_STRING_EQUAL(x.keywords[0], "$Work");
	CU_ASSERT_EQUAL(x.msgs[1].size, 3); /* with CRLF */
	index_fini(&x);
	rig_close(&r);
}

/* What people put into a Maildir that is no message. */
static void
test_strange_files(void)
{
	struct rig r;

	begin(&r);
	rig_shell(&r, "cd " INBOX " && mkdir new/folder && ln -s /etc/passwd new/link && mkfifo new/fifo && "
		"ln -s /etc .Evil && touch \"new/a\nb\" && printf 'ok' > 'new/with space' && chmod 0 new/fifo");
	rescan(&r);
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:ok");
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "Evil", "x")).rc, STORE_NOTFOUND);
	rig_close(&r);
}

/* A file that may not be read, of root's say, hides none of the others. (It hid the mailbox.) */
static void
test_unreadable(void)
{
	bool root = geteuid() == 0;
	struct rig r;

	begin(&r);
	rig_shell(&r, "cd " INBOX "/new && printf good > good && printf bad > bad && chmod 0 bad");
	if (root) { /* who may read everything */
		rig_shell(&r, "chown -R 65534 . && chown 0 " INBOX "/new/bad");
		CU_ASSERT_EQUAL_FATAL(seteuid(65534), 0); /* of all threads */
	}
	rescan(&r);
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:good");
	if (root)
		CU_ASSERT_EQUAL_FATAL(seteuid(0), 0);
	rig_shell(&r, "chmod 0600 " INBOX "/new/bad");
	rescan(&r); /* nobody has forgotten it */
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:good 4 N:bad");
	rig_close(&r);
}

/* --- disks ------------------------------------------------------------------------------------------------------- */

static void
test_flush_fails(void)
{
	struct rig r;

	begin(&r);
	rig_settle(&r);
	fail_flush = EIO;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).rc, STORE_TEMP);
	CU_ASSERT_TRUE(r.failed); /* the process must end now */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_put("s", "k", "v", 0, 0)).rc, STORE_TEMP);
	rig_settle(&r);
	rig_restart(&r);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_put("s", "k", "v", 0, 0)).rc, STORE_OK);
	rig_close(&r);
}

static void
on_held(struct mb_txn *t, const struct mb_reply *reply)
{
	*(enum store_rc *)t->arg = reply->rc;
}

/* A turn without waiting until nothing is under way. */
static void
nudge(struct rig *r)
{
	usleep(1000);
	mailboxes_flush(r->mbs);
	r->be->ops->dispatch(r->be);
}

/* On a slow disk several flushes are under way at once. Whichever comes to its end first, what is acknowledged is all that came before:
 * the last one waits for the first, and when the one between them fails it has failed, too. */
static void
test_flushes_overlap(void)
{
	enum store_rc rc[3] = { STORE_UNKNOWN, STORE_UNKNOWN, STORE_UNKNOWN };
	char body[8];
	struct mb_txn *t;
	struct rig r;
	unsigned i;

	begin(&r);
	slow_us = 3000;
	for (i = 0; i < 24; i++) { /* the engine learns what disk it has */
		snprintf(body, sizeof body, "k%u", i);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_put("s", body, "v", 0, 0)).rc, STORE_OK);
	}
	rig_settle(&r);
	slow_us = 0;
	held = let = lose = 0;
	hold = true;
	for (i = 0; i < PT_COUNT(rc); i++) {
		snprintf(body, sizeof body, "m%u", i);
		t = rig_add(NULL, USER, "INBOX", body);
		t->done = on_held;
		t->arg = &rc[i];
		mb_commit(r.mbs, t);
		while (held <= i)
			nudge(&r);
	}
	let = 4;
	for (i = 0; i < 50; i++)
		nudge(&r);
	CU_ASSERT(rc[0] == STORE_UNKNOWN && rc[1] == STORE_UNKNOWN && rc[2] == STORE_UNKNOWN);
	let = 4 | 1;
	while (rc[0] == STORE_UNKNOWN)
		nudge(&r);
	CU_ASSERT(rc[0] == STORE_OK && rc[1] == STORE_UNKNOWN && rc[2] == STORE_UNKNOWN && !r.failed);
	lose = 2;
	let = 4 | 2 | 1;
	while (rc[2] == STORE_UNKNOWN)
		nudge(&r);
	CU_ASSERT(rc[1] == STORE_TEMP && rc[2] == STORE_TEMP && r.failed);
	hold = false;
	rig_restart(&r);
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:m0 4 N:m1 5 N:m2"); /* nobody has heard that they are not there */
	rig_close(&r);
}

/* Who waits for the disk waits; all others go on. (The main thread waited, and everybody with it.) */
static void
test_flush_is_slow(void)
{
	enum store_rc rc[3] = { STORE_UNKNOWN, STORE_UNKNOWN, STORE_UNKNOWN };
	struct mb_txn *t;
	struct rig r;
	unsigned i;

	begin(&r);
	r.settle_s = 1;
	hold = true;
	held = 0;
	for (i = 0; i < PT_COUNT(rc); i++) {
		t = rig_add(NULL, i == 2 ? "bob@example.test" : USER, "INBOX", "more");
		t->done = on_held;
		t->arg = &rc[i];
		mb_commit(r.mbs, t);
		while (i == 1 && held == 0)
			rig_settle(&r);
	}
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n");
	rig_scan(&r, USER, "INBOX");
	CU_ASSERT(held >= 1);
	for (i = 0; i < PT_COUNT(rc); i++)
		CU_ASSERT_EQUAL(rc[i], STORE_UNKNOWN);
	hold = false;
	while (rc[0] == STORE_UNKNOWN || rc[1] == STORE_UNKNOWN || rc[2] == STORE_UNKNOWN)
		rig_settle(&r);
	for (i = 0; i < PT_COUNT(rc); i++)
		CU_ASSERT_EQUAL(rc[i], STORE_OK);
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:more 4 N:more");
	rig_close(&r);
}

/* Durable already: it is done later, not lost. */
static void
test_apply_fails(void)
{
	struct rig r;
	int i;

	begin(&r);
	r.settle_s = 1;
	rig_settle(&r);
	fail_rename = ENOSPC;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).rc, STORE_OK);
	for (i = 0; i < 5; i++)
		rig_settle(&r);
	usleep(1100000); /* the engine tries again after a second */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "four")).rc, STORE_OK);
	rig_is(&r, "INBOX", "1 N:one\r\n 2 N:two\r\n 3 N:three 4 N:four");
	rig_close(&r);
}

void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void
on_stuck_boxes(void *arg, enum store_rc rc, const struct mb_status *boxes, size_t n)
{
	(void)boxes;
	(void)n;
	*(enum store_rc *)arg = rc;
}

/* One mailbox can never be written: it alone is refused, what was accepted for it stays, and the journal is as free as ever.
 * (It was full after a while, for everybody.) */
static void
test_stuck(void)
{
	static char body[30000];
	enum store_rc listed = STORE_UNKNOWN;
	struct index x;
	struct rig r;
	struct store_standing now;
	unsigned round, i;

	memset(&r, 0, sizeof r);
	r.segments = 4;
	r.segment_octets = 100000;
	memset(body, 'x', sizeof body - 1);
	rig_open(&r, RIG_LOCAL);
	r.settle_s = 1;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, STUCK, "INBOX", "first")).rc, STORE_OK);
	CU_ASSERT_TRUE(rig_index(&r, STUCK, "INBOX", &x));
	index_fini(&x);
	immutable = true;
	if (__lsan_disable != NULL)
		__lsan_disable(); /* the engine is thrown away with these */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(rig_add(NULL, STUCK, "INBOX", "second"), USER, "INBOX", "too")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, STUCK, "INBOX", "third")).rc, STORE_OK);
	if (__lsan_enable != NULL)
		__lsan_enable();
	for (round = 0; round < 3; round++) {
		while (!r.be->ops->stuck(r.be, STUCK, "INBOX"))
			rig_settle(&r);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, STUCK, "INBOX", "no")).rc, STORE_TEMP);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(STUCK, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN)).rc, STORE_TEMP);
		CU_ASSERT_FALSE(rig_index(&r, STUCK, "INBOX", &x));
		r.be->ops->stat(r.be, &now);
		CU_ASSERT_EQUAL(now.stuck, 1);
		CU_ASSERT(now.unapplied >= 2);
		left = 10; /* "second" and "third" have room to come */
		CU_ASSERT_EQUAL(r.be->ops->room(r.be, 0), STORE_FULL);
		left = 0;
		CU_ASSERT(now.segments > 0 && now.newest > now.durable);
		mb_boxes(r.mbs, STUCK, on_stuck_boxes, &listed);
		while (listed == STORE_UNKNOWN)
			rig_settle(&r);
		for (i = 0; i < 40; i++) /* three times what the journal holds */
			CU_ASSERT_EQUAL_FATAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", body)).rc, STORE_OK);
		if (round == 1) {
			rig_restart(&r);
			CU_ASSERT_FALSE(rig_index(&r, STUCK, "INBOX", &x)); /* asked before it is known; it waited for ever */
		}
	}
	immutable = false;
	while (r.be->ops->stuck(r.be, STUCK, "INBOX"))
		rig_settle(&r);
	r.be->ops->stat(r.be, &now);
	CU_ASSERT_EQUAL(now.stuck, 0);
	while (now.unapplied > 0) {
		rig_settle(&r);
		r.be->ops->stat(r.be, &now);
	}
	left = 10;
	CU_ASSERT_EQUAL(r.be->ops->room(r.be, 10), STORE_OK);
	CU_ASSERT_EQUAL(r.be->ops->room(r.be, 11), STORE_FULL);
	left = 0;
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, STUCK, "INBOX", "fourth")).uids, "4");
	CU_ASSERT_STRING_EQUAL(rig_dump(&r, STUCK, "INBOX"), "1 N:first 2 N:second 3 N:third 4 N:fourth");
	rig_restart(&r);
	CU_ASSERT_STRING_EQUAL(rig_dump(&r, STUCK, "INBOX"), "1 N:first 2 N:second 3 N:third 4 N:fourth");
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_EQUAL(x.n, 121);
	index_fini(&x);
	rig_close(&r);
}

/* Killed while it removed a mailbox whose record no journal has any more: what is left goes at the next checkpoint. */
static void
test_half_deleted(void)
{
	struct rig r;

	begin(&r);
	rig_shell(&r, "mkdir -p mail/.tmp/deleted-0000000000000001-0/cur && touch mail/.tmp/deleted-0000000000000001-0/cur/x");
	rig_shell(&r, "mkdir -p mail/.tmp/deleted-00000000000fffff-0/cur");
	rig_checkpoint(&r);
	rig_shell(&r, "test ! -e mail/.tmp/deleted-0000000000000001-0 && test -e mail/.tmp/deleted-00000000000fffff-0/cur");
	rig_close(&r);
}

/* The clock is set back by a day, also while the store is not there: numbers go on, names are unique. */
static void
test_clock(void)
{
	struct rig_reply a, b, c;
	struct index x;
	struct rig r;
	uint32_t i;

	begin(&r);
	a = rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN));
	set_back_s = 86400;
	b = rig_commit(&r, rig_add(NULL, USER, "INBOX", "three"));
	CU_ASSERT_STRING_EQUAL(b.uids, "3");
	CU_ASSERT(b.modseq > a.modseq);
	rig_checkpoint(&r); /* or the journal would make the index as it was */
	rig_checkpoint(&r);
	rig_stop(&r);
	set_back_s = 2 * 86400;
	rig_shell(&r, "rm " INBOX "/postern-index");
	rig_start(&r);
	c = rig_commit(&r, rig_add(NULL, USER, "INBOX", "four"));
	CU_ASSERT_STRING_EQUAL(c.uids, "4");
	CU_ASSERT(c.modseq > b.modseq);
	rig_is(&r, "INBOX", "1 S:one\r\n 2 N:two\r\n 3 N:three 4 N:four");
	CU_ASSERT(c.uidvalidity > b.uidvalidity);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	for (i = 0; i < x.n; i++)
		CU_ASSERT_EQUAL(x.msgs[i].uid, i + 1);
	index_fini(&x);
	rig_shell(&r, "test $(ls " INBOX "/new " INBOX "/cur | grep ,S= | sed 's/:2.*//' | sort -u | wc -l) = 4");
	set_back_s = 0;
	rig_close(&r);
}

static void
test_full(void)
{
	struct rig r;

	begin(&r);
	full = true;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).rc, STORE_FULL);
	/* what makes room is possible */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_DELETED)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_expunge(USER, "INBOX", "1")).rc, STORE_OK);
	full = false;
	read_only = true;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).rc, STORE_TEMP);
	read_only = false;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).rc, STORE_OK);
	rig_is(&r, "INBOX", "2 N:two\r\n 3 N:three");
	rig_close(&r);
}

/* More than the journal holds, by far: it is emptied on the way. */
static void
test_many(void)
{
	static char body[30000];
	struct rig r;
	unsigned i;

	memset(&r, 0, sizeof r);
	r.segments = 3;
	r.segment_octets = 100000;
	rig_open(&r, RIG_LOCAL);
	memset(body, 'x', sizeof body - 1);
	for (i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL_FATAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", body)).rc, STORE_OK);
	}
	rig_restart(&r);
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "last")).uids, "101");
	rig_close(&r);
}

/* A journal that is more than half full does not take all that is given to it at once, and does not get full; when there is room
 * again, or the engine ends, nobody has been forgotten. */
static void
test_held_back(void)
{
	enum store_rc rc[24];
	static char body[12000];
	struct mb_txn *t;
	struct local *l;
	unsigned i, n, end;
	struct rig r;

	memset(body, 'x', sizeof body - 1);
	for (end = 0; end < 2; end++) {
		memset(&r, 0, sizeof r);
		r.no_checkpoints = true;
		rig_open(&r, RIG_LOCAL);
		l = (struct local *)r.be;
		l->pace.between_us = 60000000; /* so long the next segment will take */
		for (n = 0; journal_room(l->journal) > journal_all(l->journal) / 2; n++)
			CU_ASSERT_EQUAL_FATAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", body)).rc, STORE_OK);
		CU_ASSERT_FALSE(l->pace.on);
		for (i = 0; i < PT_COUNT(rc); i++) {
			rc[i] = STORE_UNKNOWN;
			t = rig_add(NULL, USER, "INBOX", body);
			t->done = on_held;
			t->arg = &rc[i];
			mb_commit(r.mbs, t);
		}
		rig_turn(&r, 0);
		while (l->flights > 0)
			rig_turn(&r, 10);
		CU_ASSERT(l->pace.on && l->nqueued > 0 && journal_room(l->journal) > journal_all(l->journal) / 8);
		CU_ASSERT(rc[0] == STORE_OK && rc[PT_COUNT(rc) - 1] == STORE_UNKNOWN);
		if (end == 0) {
			rig_checkpoint(&r);
			rig_turn(&r, 10);
			CU_ASSERT(!l->pace.on && l->nqueued == 0);
		} else {
			rig_stop(&r);
		}
		for (i = 0; i < PT_COUNT(rc); i++)
			CU_ASSERT_EQUAL(rc[i], STORE_OK);
		if (end == 1)
			rig_start(&r);
		r.no_checkpoints = false; /* a start begins a segment, and there is none */
		CU_ASSERT_EQUAL(atoi(rig_commit(&r, rig_add(NULL, USER, "INBOX", "last")).uids), (int)(n + PT_COUNT(rc) + 1));
		rig_close(&r);
	}
}

/* A log that has grown is written anew, and nothing is missing. */
static void
test_compaction(void)
{
	struct index x;
	struct rig r;
	int i;

	begin(&r);
	for (i = 0; i < 3000; i++)
		CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1:2", i % 2 ? STORE_FLAGS_ADD
			: STORE_FLAGS_REMOVE, STORE_SEEN | STORE_FLAGGED)).rc, STORE_OK);
	for (i = 0; i < 5; i++)
		rig_settle(&r);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT(x.lines < 3000);
	CU_ASSERT_NOT_EQUAL(x.floor, 0);
	index_fini(&x);
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).uids, "3");
	rig_is(&r, "INBOX", "1 FS:one\r\n 2 FS:two\r\n 3 N:three");
	rig_restart(&r);
	rig_is(&r, "INBOX", "1 FS:one\r\n 2 FS:two\r\n 3 N:three");
	rig_close(&r);
}

/* What a person did with mutt stays done: files that a checkpoint has covered are not made again. */
static void
changed_by_hand(struct rig *r)
{
	rig_shell(r, "cd " INBOX " && rm new/*U=1 && for f in new/*U=2; do mv $f cur/${f#new/}:2,SF; done");
	rig_restart(r);
	rig_scan(r, USER, "INBOX");
	rig_is(r, "INBOX", "2 FS:two\r\n");
	rig_close(r);
}

static void
test_done_by_hand(void)
{
	struct rig r;

	int i;

	for (i = 0; i < 2; i++) {
		memset(&r, 0, sizeof r);
		r.no_checkpoints = true; /* but those that we ask for */
		r.tidy = i == 1;
		rig_open(&r, RIG_LOCAL);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "one\r\n")).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "two\r\n")).rc, STORE_OK);
		applied(&r);
		if (r.tidy)
			rig_restart(&r); /* ended in peace */
		else
			rig_checkpoint(&r); /* killed, later than a checkpoint */
		changed_by_hand(&r);
	}
}

/* Numbers of transactions go on, however often it starts with nothing to do. */
static void
test_numbers_go_on(void)
{
	struct rig r;
	uint64_t last;
	int i;

	begin(&r);
	last = r.be->ops->next_id(r.be);
	for (i = 0; i < 4; i++) {
		rig_restart(&r);
		(void)r.be->ops->tick(r.be, 1);
		rig_settle(&r);
		(void)r.be->ops->tick(r.be, UINT64_MAX / 2);
		rig_settle(&r);
		(void)r.be->ops->tick(r.be, UINT64_MAX / 2 + 100000);
		rig_settle(&r);
		CU_ASSERT(r.be->ops->next_id(r.be) >= last);
		last = r.be->ops->next_id(r.be);
	}
	rig_close(&r);
}

/* A folder that another program made under the new name in that very moment: nothing is lost for it. */
static void
test_rename_meets_folder(void)
{
	struct rig r;
	int i;

	begin(&r);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "A", "precious")).rc, STORE_OK);
	rig_is(&r, "A", "1 N:precious");
	fail_rename = ENOTEMPTY; /* as it is with the folder there */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_RENAME, "A", "B")).rc, STORE_OK);
	rig_shell(&r, "mkdir -p " INBOX "/.B/cur " INBOX "/.B/new && printf 'theirs' > " INBOX "/.B/new/1.x.h");
	for (i = 0; i < 3; i++)
		rig_settle(&r);
	usleep(1100000); /* the engine tries again after a second */
	for (i = 0; i < 3; i++)
		rig_settle(&r);
	rig_is(&r, "A", "1 N:precious");
	rig_restart(&r);
	rig_settle(&r);
	rig_is(&r, "A", "1 N:precious");
	rig_scan(&r, USER, "B");
	rig_is(&r, "B", "1 N:theirs");
	rig_close(&r);
}

/* Killed while a deleted mailbox was being removed: it is gone, and so is what was left of it. */
static void
test_half_removed(void)
{
	struct rig r;

	begin(&r);
	r.no_checkpoints = true;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "A", "x")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_DELETE, "A", NULL)).rc, STORE_OK);
	rig_is(&r, "A", "none");
	rig_stop(&r);
	rig_shell(&r, "mkdir -p mail/.tmp/deleted-0000000000000005-0/cur mail/.tmp/deleted-0000000000000001-0/new && "
		"touch mail/.tmp/deleted-0000000000000005-0/cur/1.x.h");
	rig_start(&r);
	rig_is(&r, "A", "none");
	rig_checkpoint(&r);
	rig_shell(&r, "! ls mail/.tmp | grep deleted");
	rig_close(&r);
}

struct listing {
	bool done;
	unsigned n, inboxes;
	bool subscribed;
};

static void
on_boxes(void *arg, enum store_rc rc, const struct mb_status *boxes, size_t n)
{
	struct listing *l = arg;
	size_t i;

	CU_ASSERT_EQUAL(rc, STORE_OK);
	l->done = true;
	l->n = (unsigned)n;
	for (i = 0; i < n; i++)
		if (strcmp(boxes[i].key, "INBOX") == 0) {
			l->inboxes++;
			l->subscribed = boxes[i].subscribed;
		}
}

/* There is one INBOX, whatever folders and subscriptions are called. */
static void
test_one_inbox(void)
{
	struct listing l = { .done = false };
	struct rig r;
	int i;

	begin(&r);
	rig_shell(&r, "cd " INBOX " && mkdir -p .INBOX/cur .inbox/new .Inbox.x/cur .x./cur ..y/cur .z..z/cur '.&bad/cur' && "
		"printf 'inbox\nGone\n' > subscriptions");
	mb_boxes(r.mbs, USER, on_boxes, &l);
	for (i = 0; i < 5000 && !l.done; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(l.n, 3); /* INBOX, Inbox.x, Gone */
	CU_ASSERT_EQUAL(l.inboxes, 1);
	CU_ASSERT_TRUE(l.subscribed);
	rig_close(&r);
}

static const struct test_row rows[] = {
	{ "python's mailbox", test_python },
	{ "renamed under us", test_renamed_under_us },
	{ "names that others give", test_other_names },
	{ "found once", test_found_once },
	{ "watched", test_watched },
	{ "more changes than the kernel keeps", test_overflow },
	{ "a lost index", test_lost_index },
	{ "an index is taken away", test_index_taken_away },
	{ "the highest UID", test_highest_uid },
	{ "a large import", test_large_import },
	{ "a Maildir of Dovecot's", test_dovecot },
	{ "strange files", test_strange_files },
	{ "a flush that fails", test_flush_fails },
	{ "a flush that takes long", test_flush_is_slow },
	{ "flushes overlap on a slow disk", test_flushes_overlap },
	{ "a file that may not be read", test_unreadable },
	{ "a mailbox that cannot be written", test_apply_fails },
	{ "what was done by hand", test_done_by_hand },
	{ "numbers go on", test_numbers_go_on },
	{ "half removed", test_half_removed },
	{ "one INBOX", test_one_inbox },
	{ "renamed to where others made a folder", test_rename_meets_folder },
	{ "a mailbox that can never be written", test_stuck },
	{ "a mailbox that is half deleted", test_half_deleted },
	{ "a clock that is set back", test_clock },
	{ "a full disk, and one that is read only", test_full },
	{ "more than the journal holds", test_many },
	{ "held back", test_held_back },
	{ "a log is written anew", test_compaction },
};

TEST_MAIN("store/local", rows)
