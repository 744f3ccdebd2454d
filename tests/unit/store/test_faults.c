/* unit/store/test_faults.c - the n-th call of a kind fails, for each kind of call on files that the store makes, and for n up to where
 * there are no more: one life of a store, from its start over everything it can do to its end. Then the disk is well, the
 * store starts again, and is compared with what was answered: what was done is there, once; what was refused for
 * now is not; of what had no answer, because the journal failed and the process must end, either. Nothing may hang.
 *
 * Each in a process of its own. FAULTS=all: every n, not a selection; FAULTS=call or call:n, call-short or call-torn: that alone. */
#include "store/local.h"
#include "store/mailbox_impl.h"
#include "store/rig.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_MAX 400     /* calls of one kind that are counted */
#define HANG_S 60
#define CHILDREN 4    /* at a time: they wait more than they work */

/* --- calls that fail ------------------------------------------------------------------------------------------------ */

#define CALLS(X) X(openat) X(openat2) X(renameat) X(renameat2) X(linkat) X(unlinkat) X(fstat) X(fstatat) X(faccessat) X(readdir) \
	X(fdopendir) X(pread) X(pwrite) X(read) X(write) X(fsync) X(fdatasync) X(syncfs) X(mkdirat) X(ftruncate) X(lseek) \
	X(utimensat) X(dup) X(fcntl) X(memfd_create) X(copy_file_range) X(inotify_init1) X(inotify_add_watch) X(epoll_create1) \
	X(fstatvfs)
enum call {
#define ENUM(name) C_##name,
	CALLS(ENUM)
	C_COUNT
};
static const char *const names[] = {
#define NAME(name) #name,
	CALLS(NAME)
};

/* How much of it is not done: all; half; half, and the next does nothing, as on a disk that is full. */
enum much { WHOLE, BRIEF, TORN };
static const char *const muches[] = { "", "-short", "-torn" };

static struct {
	_Atomic bool on; /* set last */
	enum call call;
	unsigned nth;
	int error;
	enum much much;
} fault;
static _Atomic unsigned seen;

static bool
fails(enum call call)
{
	unsigned nth;

	if (!fault.on || fault.call != call)
		return false;
	nth = atomic_fetch_add(&seen, 1) + 1;
	if (nth != fault.nth && !(fault.much == TORN && nth == fault.nth + 1))
		return false;
	errno = fault.error;
	return true;
}

/* Of one that fails: only half of it is done. */
static bool
is_brief(size_t n)
{
	return n > 1 && (fault.much == BRIEF || (fault.much == TORN && atomic_load(&seen) == fault.nth));
}

int __real_fstat(int fd, struct stat *st);

/* What crew and inotify tell each other is no disk. */
static bool
is_file(int fd)
{
	struct stat st;

	return __real_fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define WRAP(type, bad, name, params, args) \
	type __real_##name params; \
	type __wrap_##name params; \
	type __wrap_##name params { return fails(C_##name) ? (bad) : __real_##name args; }

WRAP(int, -1, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, -1, renameat2, (int a, const char *from, int b, const char *to, unsigned f), (a, from, b, to, f))
WRAP(int, -1, linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f))
WRAP(int, -1, unlinkat, (int d, const char *p, int f), (d, p, f))
WRAP(int, -1, fstatat, (int d, const char *p, struct stat *st, int f), (d, p, st, f))
WRAP(int, -1, faccessat, (int d, const char *p, int m, int f), (d, p, m, f))
WRAP(struct dirent *, NULL, readdir, (DIR *d), (d))
WRAP(DIR *, NULL, fdopendir, (int fd), (fd))
WRAP(int, -1, fsync, (int fd), (fd))
WRAP(int, -1, fdatasync, (int fd), (fd))
WRAP(int, -1, syncfs, (int fd), (fd))
WRAP(int, -1, mkdirat, (int d, const char *p, mode_t m), (d, p, m))
WRAP(int, -1, ftruncate, (int fd, off_t n), (fd, n))
WRAP(off_t, -1, lseek, (int fd, off_t n, int how), (fd, n, how))
WRAP(int, -1, utimensat, (int d, const char *p, const struct timespec t[2], int f), (d, p, t, f))
WRAP(int, -1, dup, (int fd), (fd))
WRAP(int, -1, memfd_create, (const char *p, unsigned f), (p, f))
WRAP(ssize_t, -1, copy_file_range, (int a, off_t *x, int b, off_t *y, size_t n, unsigned f), (a, x, b, y, n, f))
WRAP(int, -1, inotify_init1, (int f), (f))
WRAP(int, -1, inotify_add_watch, (int fd, const char *p, uint32_t mask), (fd, p, mask))
WRAP(int, -1, epoll_create1, (int f), (f))
WRAP(int, -1, fstatvfs, (int fd, struct statvfs *v), (fd, v))

int __wrap_fstat(int fd, struct stat *st);
int
__wrap_fstat(int fd, struct stat *st)
{
	return fails(C_fstat) ? -1 : __real_fstat(fd, st);
}

int __real_openat(int d, const char *path, int flags, ...);
int __wrap_openat(int d, const char *path, int flags, ...);
int
__wrap_openat(int d, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return fails(C_openat) ? -1 : __real_openat(d, path, flags, mode);
}

/* What has no function of its own: openat2(2). */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long
__wrap_syscall(long number, ...)
{
	long arg[6];
	va_list ap;
	unsigned i;

	va_start(ap, number);
	for (i = 0; i < PT_COUNT(arg); i++)
		arg[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_openat2 && fails(C_openat2))
		return -1;
	return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int
__wrap_fcntl(int fd, int command, ...)
{
	va_list ap;
	long arg;

	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	return fails(C_fcntl) ? -1 : __real_fcntl(fd, command, arg);
}

/* A call that moves octets may also move fewer. */
#define WRAP_IO(name, params, args, shorter) \
	ssize_t __real_##name params; \
	ssize_t __wrap_##name params; \
	ssize_t __wrap_##name params \
	{ \
		if (!is_file(fd) || !fails(C_##name)) \
			return __real_##name args; \
		return is_brief(n) ? __real_##name shorter : -1; \
	}

WRAP_IO(pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), (fd, p, n / 2, at))
WRAP_IO(pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at), (fd, p, n / 2, at))
WRAP_IO(read, (int fd, void *p, size_t n), (fd, p, n), (fd, p, n / 2))
WRAP_IO(write, (int fd, const void *p, size_t n), (fd, p, n), (fd, p, n / 2))

static const struct kind {
	enum call call;
	int error;
	enum much much;
} kinds[] = {
	{ C_openat, EIO, WHOLE }, { C_openat, EMFILE, WHOLE }, { C_openat2, EIO, WHOLE },
	{ C_openat2, EMFILE, WHOLE }, { C_openat2, EROFS, WHOLE }, { C_renameat, EIO, WHOLE },
	{ C_renameat2, EIO, WHOLE }, { C_linkat, EIO, WHOLE }, { C_linkat, EMLINK, WHOLE },
	{ C_unlinkat, EIO, WHOLE }, { C_fstat, EIO, WHOLE }, { C_fstatat, EIO, WHOLE }, { C_faccessat, EIO, WHOLE },
	{ C_readdir, EIO, WHOLE }, { C_fdopendir, ENOMEM, WHOLE }, { C_pread, EIO, WHOLE }, { C_pread, EIO, BRIEF },
	{ C_pwrite, EIO, WHOLE }, { C_pwrite, ENOSPC, BRIEF }, { C_pwrite, ENOSPC, TORN }, { C_read, EIO, WHOLE },
	{ C_read, EIO, BRIEF }, { C_write, ENOSPC, WHOLE }, { C_write, EIO, BRIEF }, { C_write, ENOSPC, TORN },
	{ C_fsync, EIO, WHOLE }, { C_fdatasync, EIO, WHOLE }, { C_syncfs, EIO, WHOLE }, { C_mkdirat, ENOSPC, WHOLE },
	{ C_ftruncate, EIO, WHOLE }, { C_lseek, EIO, WHOLE }, { C_utimensat, EIO, WHOLE }, { C_dup, EMFILE, WHOLE },
	{ C_fcntl, EMFILE, WHOLE }, { C_memfd_create, EMFILE, WHOLE }, { C_copy_file_range, EIO, WHOLE },
	{ C_inotify_init1, EMFILE, WHOLE }, { C_inotify_add_watch, ENOSPC, WHOLE },
	{ C_epoll_create1, EMFILE, WHOLE }, { C_fstatvfs, EIO, WHOLE },
};

/* --- a life ------------------------------------------------------------------------------------------------------------ */

enum answer { NOT_ASKED, DONE, REFUSED, NEVER };

#define STEPS_MAX 40

static struct rig r;
static struct { bool done; enum store_rc rc; uint64_t id; } replies[STEPS_MAX]; /* they may come late */
static unsigned nreplies;
static unsigned wrong;

static void
complain(const char *what, const char *got)
{
	fprintf(stderr, "\n%s%s:%u: %s: %.300s\n", names[fault.call], muches[fault.much], fault.nth, what, got);
	wrong++;
}

static uint64_t ahead_ms; /* checkpoints are not waited for */

static void
turn(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	(void)mailboxes_tick(r.mbs, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + ahead_ms);
	rig_turn(&r, 2);
}

/* Until it is answered, or the process must end. */
static bool
wait_for(const bool *flag, const char *what)
{
	time_t end = time(NULL) + HANG_S;

	while (!*flag && !r.failed && time(NULL) < end)
		turn();
	if (!*flag && !r.failed) {
		complain("hangs", what);
		_exit(1);
	}
	return *flag;
}

static void
on_reply(struct mb_txn *t, const struct mb_reply *reply)
{
	unsigned i = (unsigned)(uintptr_t)t->arg;

	replies[i].done = true;
	replies[i].rc = reply->rc;
	replies[i].id = reply->id;
}

static enum answer
commit(const char *what, struct mb_txn *t, uint64_t *id_out)
{
	unsigned i = nreplies++;

	CU_ASSERT_FATAL(i < STEPS_MAX);
	if (r.failed || r.be == NULL) {
		mb_txn_free(&t);
		return NOT_ASKED;
	}
	t->done = on_reply;
	t->arg = (void *)(uintptr_t)i;
	mb_commit(r.mbs, t);
	if (!wait_for(&replies[i].done, what))
		return NEVER;
	if (id_out != NULL)
		*id_out = replies[i].id;
	if (replies[i].rc == STORE_OK)
		return DONE;
	/* for now, or because of what was refused before */
	if (replies[i].rc != STORE_TEMP && replies[i].rc != STORE_FULL && replies[i].rc != STORE_NOTFOUND &&
	    replies[i].rc != STORE_EXISTS)
		complain("refused, and not for now", store_rc_text(replies[i].rc));
	return r.failed ? NEVER : REFUSED;
}

static void
on_done(void *arg, enum store_rc rc)
{
	(void)rc;
	*(bool *)arg = true;
}

static void
rescan(const char *key)
{
	static bool done[4];
	static unsigned i;

	if (r.failed || r.be == NULL)
		return;
	mb_rescan(r.mbs, RIG_USER, key, on_done, &done[i]);
	(void)wait_for(&done[i++], "a look for what others did");
}

static void
ask(enum admin_what what, const char *name)
{
	static struct rig_told told[8];
	static unsigned i;

	if (r.failed || r.be == NULL)
		return;
	rig_ask_start(&r, what, true, &told[i]);
	(void)wait_for(&told[i++].done, name);
}

static void
on_claimed(void *arg, const struct queue_entry *e, int64_t now, int fd)
{
	(void)arg;
	(void)e;
	(void)now;
	(void)fd;
}

static void
on_claims(void *arg)
{
	*(bool *)arg = true;
}

static void
claim(void)
{
	static bool done;

	if (r.failed || r.be == NULL)
		return;
	mb_claim(r.mbs, &r, 10, 60, on_claimed, on_claims, &done);
	(void)wait_for(&done, "a claim");
}

static void
checkpoint(void)
{
	struct local *l = (struct local *)r.be;
	time_t end = time(NULL) + HANG_S;

	if (r.failed || l == NULL)
		return;
	ahead_ms += 60000;
	do
		turn();
	while (l->checkpointing && !r.failed && time(NULL) < end);
	if (l->checkpointing && !r.failed)
		complain("hangs", "a checkpoint");
}

static struct {
	enum answer add, flags, copy, move, marked, expunge, create, add_b, rename, queue, outcome, key, late, again, subscribe;
	uint64_t queued[3];
} life;

static void
before(void)
{
	unsigned i;
	char body[16];

	r.no_checkpoints = true;
	rig_open(&r, RIG_LOCAL);
	for (i = 1; i <= 6; i++) {
		snprintf(body, sizeof body, "m%u.", i);
		rig_must(&r, rig_add(NULL, RIG_USER, "INBOX", body));
	}
	rig_must(&r, rig_box(RIG_USER, STORE_BOX_CREATE, "A", NULL));
	life.queued[0] = rig_must(&r, rig_queue(NULL, "s@example.test", 1, "q1."));
	life.queued[1] = rig_must(&r, rig_queue(NULL, "s@example.test", 2, "q2."));
	rig_must(&r, rig_put("greylist", "k", "v1", STORE_ANY_VERSION, 0));
	rig_must(&r, rig_box(RIG_USER, STORE_BOX_SUBSCRIBE, "A", NULL));
	rig_checkpoint(&r);
	rig_must(&r, rig_flags(RIG_USER, "INBOX", "6", STORE_FLAGS_ADD, STORE_SEEN));
	rig_must(&r, rig_outcome(NULL, life.queued[1], 0, 1, STORE_RCPT_WAITING, 1, "450"));
	rig_stop(&r);
	rig_shell(&r, "rm -rf mail/" RIG_USER "/Maildir/.A/new mail/" RIG_USER "/Maildir/tmp"); /* are made again */
}

static void
one_life(void)
{
	static const char import[] = "printf 'x1.' > mail/" RIG_USER "/Maildir/new/1700000000.other";

	r.quota_octets = 1u << 30;
	if (!rig_try_start(&r))
		return; /* it says why, and is started again */
	life.add = commit("add", rig_add(NULL, RIG_USER, "INBOX", "a1."), NULL);
	life.flags = commit("flags", rig_flags(RIG_USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_FLAGGED), NULL);
	life.copy = commit("copy", rig_copy(RIG_USER, "INBOX", "2", "A", false), NULL);
	life.move = commit("move", rig_copy(RIG_USER, "INBOX", "3", "A", true), NULL);
	life.marked = commit("mark", rig_flags(RIG_USER, "INBOX", "4", STORE_FLAGS_ADD, STORE_DELETED), NULL);
	life.expunge = commit("expunge", rig_expunge(RIG_USER, "INBOX", "4"), NULL);
	life.create = commit("create", rig_box(RIG_USER, STORE_BOX_CREATE, "B", NULL), NULL);
	life.add_b = commit("add", rig_add(NULL, RIG_USER, "B", "b1."), NULL);
	life.queue = commit("queue", rig_queue(NULL, "s@example.test", 1, "q3."), &life.queued[2]);
	life.outcome = commit("outcome", rig_outcome(NULL, life.queued[0], 0, 1, STORE_RCPT_DELIVERED, 0, "250"), NULL);
	checkpoint();
	life.rename = commit("rename", rig_box(RIG_USER, STORE_BOX_RENAME, "B", "C"), NULL);
	life.key = commit("put", rig_put("greylist", "k", "v2", STORE_ANY_VERSION, 0), NULL);
	life.subscribe = commit("subscribe", rig_box(RIG_USER, STORE_BOX_SUBSCRIBE, "C", NULL), NULL);
	fault.on = false;
	rig_shell(&r, import);
	fault.on = true;
	rescan("INBOX");
	claim();
	ask(ADMIN_CHECK, "a check");
	ask(ADMIN_CHECK_STORE, "a check of the store");
	ask(ADMIN_REINDEX, "an index made anew");
	checkpoint();
	life.late = commit("add", rig_add(NULL, RIG_USER, "INBOX", "a2."), NULL);
	life.again = commit("outcome", rig_outcome(NULL, life.queued[1], 0, 2, STORE_RCPT_FAILED, 0, "550"), NULL);
	checkpoint();
}

/* --- what is there afterwards --------------------------------------------------------------------------------------- */

static unsigned
count(const char *dump, const char *body)
{
	char want[16];
	unsigned n = 0;

	snprintf(want, sizeof want, ":%s", body);
	for (; (dump = strstr(dump, want)) != NULL; dump++)
		n++;
	return n;
}

static void
expect(const char *what, enum answer a, unsigned n, const char *dump)
{
	unsigned least = a == DONE, most = a == DONE || a == NEVER;

	if (n < least || n > most)
		complain(what, dump);
}

static void
compare_mail(void)
{
	char inbox[4096], box_a[4096], box_c[4096];

	snprintf(inbox, sizeof inbox, "%s", rig_dump(&r, RIG_USER, "INBOX"));
	snprintf(box_a, sizeof box_a, "%s", rig_dump(&r, RIG_USER, "A"));
	snprintf(box_c, sizeof box_c, "%s", rig_dump(&r, RIG_USER, life.rename == DONE ? "C" : "B"));
	if (life.rename == NEVER && strcmp(box_c, "none") == 0)
		snprintf(box_c, sizeof box_c, "%s", rig_dump(&r, RIG_USER, "C"));
	expect("what was added", life.add, count(inbox, "a1."), inbox);
	expect("what was added last", life.late, count(inbox, "a2."), inbox);
	expect("what was copied", life.copy, count(box_a, "m2."), box_a);
	expect("what was moved", life.move, count(box_a, "m3."), box_a);
	if (count(box_a, "m3.") + count(inbox, "m3.") != 1)
	{
		complain("moved, and there twice or not at all: INBOX", inbox);
		complain("and A", box_a);
	}
	expect("what was removed", life.marked == DONE ? life.expunge : life.marked, count(inbox, "m4.") == 0, inbox);
	expect("in a mailbox of another name", life.add_b, count(box_c, "b1."), box_c);
	if (count(inbox, "m1.") != 1 || count(inbox, "m2.") != 1 || count(inbox, "m5.") != 1 || count(inbox, "m6.") != 1)
		complain("what was there before", inbox);
	if (life.flags == DONE && strstr(inbox, "F:m1.") == NULL)
		complain("flags", inbox);
	if (strstr(inbox, "6 S:m6.") == NULL)
		complain("flags from before", inbox);
}

static void
compare_queue(void)
{
	const struct queue_entry *e = queue_find(r.queue, life.queued[1]);
	char bodies[4][64];
	uint64_t qids[4];
	unsigned n, i, q[3] = { 0, 0, 0 };

	rig_ahead_ms += 6000; /* nobody comes back who had claimed something */
	rig_settle(&r);
	n = rig_claim(&r, &r, 4, 60, qids, bodies);
	for (i = 0; i < n; i++)
		if (bodies[i][0] == 'q' && bodies[i][1] >= '1' && bodies[i][1] <= '3' && strcmp(bodies[i] + 2, ".") == 0)
			q[bodies[i][1] - '1']++;
		else
			complain("a queued message is another", bodies[i]);
	expect("what was queued", life.queue, q[2], "");
	expect("what was delivered from the queue", life.outcome, q[0] == 0, "");
	if (q[1] != 1 || e == NULL || e->rcpts[0].attempts < 1u + (life.again == DONE) ||
	    (life.again == DONE && e->rcpts[0].state != STORE_RCPT_FAILED))
		complain("a queued message from before", "");
}

static void
compare_subscriptions(void)
{
	char text[256] = "";
	int fd = openat(r.mail_fd, RIG_USER "/Maildir/subscriptions", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n < 2 || memcmp(text, "A\n", 2) != 0)
		complain("subscriptions from before", text);
	expect("a subscription", life.subscribe, strstr(text, "\nC\n") != NULL, text);
}

static void
compare(void)
{
	struct kv_entry k;
	bool found = mailboxes_key(r.mbs, "greylist", "k", &k);

	compare_mail();
	compare_queue();
	compare_subscriptions();
	if (!found || (life.key == DONE && !span_equal(k.value, span_str("v2"))) ||
	    ((life.key == REFUSED || life.key == NOT_ASKED) && !span_equal(k.value, span_str("v1"))))
		complain("a key", "");
	rig_scan(&r, RIG_USER, "INBOX");
	if (r.be != NULL && count(rig_dump(&r, RIG_USER, "INBOX"), "x1.") > 1)
		complain("what others brought", rig_dump(&r, RIG_USER, "INBOX"));
}

/* In a process of its own: whether the fault was met, and all is well. */
enum { MET, WRONG, NOT_MET };

static int
run(const struct kind *k, unsigned nth)
{
	unsigned before_failures = CU_get_number_of_failures();

	(void)alarm(4 * HANG_S);
	before();
	fault.call = k->call;
	fault.error = k->error;
	fault.much = k->much;
	fault.nth = nth;
	fault.on = true;
	one_life();
	if (nth % 2 == 0 && r.be != NULL) /* it fails once more at its end, or it does not */
		fault.on = false;
	if (r.be != NULL)
		rig_stop(&r);
	fault.on = false;
	rig_start(&r);
	rig_settle(&r);
	compare();
	rig_checkpoint(&r);
	rig_restart(&r);
	rig_settle(&r);
	compare();
	rig_close(&r);
	return wrong > 0 || CU_get_number_of_failures() > before_failures ? WRONG : atomic_load(&seen) < nth ? NOT_MET : MET;
}

/* --- all of them ------------------------------------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	const struct kind *k;
	unsigned nth;
};

static bool
is_wanted(const struct kind *k, unsigned *only_nth)
{
	const char *want = getenv("FAULTS"), *colon;
	char name[40];

	*only_nth = 0;
	if (want == NULL || strcmp(want, "all") == 0)
		return true;
	colon = strchr(want, ':');
	*only_nth = colon == NULL ? 0 : (unsigned)strtoul(colon + 1, NULL, 10);
	snprintf(name, sizeof name, "%s%s", names[k->call], muches[k->much]);
	return strlen(name) == (colon == NULL ? strlen(want) : (size_t)(colon - want)) && strncmp(name, want, strlen(name)) == 0;
}

/* false: there is no such call any more. */
static bool
reap(struct child *c)
{
	int status = 0;

	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	c->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) != WRONG)
		return WEXITSTATUS(status) == MET;
	fprintf(stderr, "\n%s%s:%u (%s) went wrong: status %x\n", names[c->k->call], muches[c->k->much], c->nth,
		strerror(c->k->error), (unsigned)status);
	CU_FAIL("a fault");
	return true;
}

static void
start(struct child *c, const struct kind *k, unsigned nth)
{
	*c = (struct child){ .k = k, .nth = nth };
	(void)fflush(NULL);
	c->pid = fork();
	CU_ASSERT_FATAL(c->pid >= 0);
	if (c->pid == 0)
		_exit(run(k, nth));
}

/* Every one where all are asked for; otherwise fewer the further, from another place each time. */
static unsigned
step(unsigned nth, unsigned only)
{
	const char *want = getenv("FAULTS");

	if (only > 0)
		return N_MAX;
	return want != NULL ? 1 : 1 + nth / 2 + (unsigned)rand() % (1 + nth);
}

static void
sweep(const struct kind *k)
{
	struct child children[CHILDREN] = { { .pid = 0 } };
	unsigned nth, only, i, at = 0;
	bool more = true;

	if (!is_wanted(k, &only))
		return;
	for (nth = only > 0 ? only : 1; more && nth <= N_MAX; nth += step(nth, only)) {
		if (children[at].pid != 0)
			more = reap(&children[at]);
		start(&children[at], k, nth);
		at = (at + 1) % CHILDREN;
	}
	for (i = 0; i < CHILDREN; i++)
		if (children[i].pid != 0)
			(void)reap(&children[i]);
}

static void
test_faults(void)
{
	size_t i;

	srand((unsigned)time(NULL));
	for (i = 0; i < PT_COUNT(kinds); i++)
		sweep(&kinds[i]);
}

static const struct test_row rows[] = {
	{ "each call fails once", test_faults },
};

TEST_MAIN("store/faults", rows)
