/* unit/store/test_boxes.c - mailboxes that go or get another name: what is flushed, by whom, and in which order; and mailboxes that
 * cannot be written, with all that wait behind them. */
#include "store/rig.h"

#include "store/local.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER "alice@example.test"
#define FROZEN "frozen@example.test"
#define OTHER "other@example.test"

/* --- faults, and what is flushed --------------------------------------------------------------------------------- */

static _Atomic unsigned wholes;       /* flushes of all there is */
static _Atomic bool hold_whole;       /* they do not end */
static _Atomic int fail_whole;        /* errno, for all */
static _Atomic bool renamed, name_flushed; /* a mailbox's folder; and it is on the disk */
static _Atomic unsigned notes, early; /* of a rename that were flushed; before its name was */
static _Atomic bool frozen;           /* nothing comes into folders with that in their path: */
static char *_Atomic where;
static _Atomic bool hold_link;        /* a large message does not come there, nor fail */
static _Atomic unsigned held_links;
static _Atomic bool hold_list;        /* flushes of subscriptions do not end */
static _Atomic unsigned lists;        /* flushes of them */
static _Atomic int fail_list;         /* errno, for all */

int __real_syncfs(int fd);
int __wrap_syncfs(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_renameat(int a, const char *from, int b, const char *to);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int __real_linkat(int a, const char *from, int b, const char *to, int flags);
int __wrap_linkat(int a, const char *from, int b, const char *to, int flags);

static const char *
path_of(int fd, char path[512])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, 511);
	path[n < 0 ? 0 : n] = '\0';
	return path;
}

static bool
ends_with(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

int
__wrap_syncfs(int fd)
{
	wholes++;
	while (hold_whole)
		usleep(1000);
	if (fail_whole != 0) {
		errno = fail_whole;
		return -1;
	}
	name_flushed = true;
	return __real_syncfs(fd);
}

int
__wrap_fsync(int fd)
{
	char path[512];
	int rc = __real_fsync(fd);

	if (rc == 0 && ends_with(path_of(fd, path), USER "/Maildir"))
		name_flushed = true;
	return rc;
}

int
__wrap_fdatasync(int fd)
{
	char path[512];

	if (renamed && ends_with(path_of(fd, path), "/.New/postern-index")) {
		notes++;
		early += !name_flushed;
	}
	if (ends_with(path_of(fd, path), "/subscriptions.new")) {
		for (lists++; hold_list;)
			usleep(1000);
		if (fail_list != 0) {
			errno = fail_list;
			return -1;
		}
	}
	return __real_fdatasync(fd);
}

static bool
is_frozen(int fd)
{
	char path[512];

	return frozen && strstr(path_of(fd, path), where) != NULL;
}

int
__wrap_renameat(int a, const char *from, int b, const char *to)
{
	if (is_frozen(b)) {
		errno = EPERM;
		return -1;
	}
	if (strcmp(to, ".New") == 0) {
		name_flushed = false;
		renamed = true;
	}
	return __real_renameat(a, from, b, to);
}

int
__wrap_linkat(int a, const char *from, int b, const char *to, int flags)
{
	if (is_frozen(b)) {
		for (held_links += hold_link; hold_link;)
			usleep(1000);
		errno = EPERM;
		return -1;
	}
	return __real_linkat(a, from, b, to, flags);
}

/* --- helpers --------------------------------------------------------------------------------------------------- */

static void
begin(struct rig *r)
{
	memset(r, 0, sizeof *r);
	rig_open(r, RIG_LOCAL);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "one")).rc, STORE_OK);
	rig_settle(r);
	wholes = 0;
}

static void
is(struct rig *r, const char *user, const char *key, const char *want)
{
	const char *got = rig_dump(r, user, key);

	if (strcmp(got, want) != 0)
		fprintf(stderr, "\n%s: got <%s>, want <%s>\n", key, got, want);
	CU_ASSERT_STRING_EQUAL(got, want);
}

static void
box(struct rig *r, const char *user, enum store_box_op op, const char *key, const char *to)
{
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(user, op, key, to)).rc, STORE_OK);
}

static void
freeze(const char *path)
{
	where = (char *)(uintptr_t)path;
	frozen = true;
}

static void
on_reply(struct mb_txn *t, const struct mb_reply *reply)
{
	*(enum store_rc *)t->arg = reply->rc;
}

/* Does not wait for the answer. */
static void
send_off(struct rig *r, struct mb_txn *t, enum store_rc *rc)
{
	*rc = STORE_UNKNOWN;
	t->done = on_reply;
	t->arg = rc;
	mb_commit(r->mbs, t);
	mailboxes_flush(r->mbs);
}

static void
answered(struct rig *r, const enum store_rc *rc)
{
	unsigned i;

	for (i = 0; i < 12000 && *rc == STORE_UNKNOWN; i++) /* for hangs */
		rig_turn(r, 5);
	CU_ASSERT_NOT_EQUAL_FATAL(*rc, STORE_UNKNOWN);
}

/* --- what is flushed --------------------------------------------------------------------------------------------- */

/* All that was accepted before is on the disk before a mailbox goes or has another name; a checkpoint is as good. (A rename flushed
 * all twice.) */
static void
test_flush(void)
{
	struct rig r;

	begin(&r);
	box(&r, USER, STORE_BOX_CREATE, "From", NULL);
	box(&r, USER, STORE_BOX_CREATE, "Second", NULL);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "From", "lent")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_copy(USER, "From", "1", "Second", false)).rc, STORE_OK);
	box(&r, USER, STORE_BOX_DELETE, "From", NULL);
	is(&r, USER, "Second", "1 N:lent");
	rig_settle(&r);
	CU_ASSERT_EQUAL(wholes, 1);
	box(&r, USER, STORE_BOX_RENAME, "Second", "Third");
	is(&r, USER, "Third", "1 N:lent");
	CU_ASSERT_EQUAL(wholes, 2);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_copy(USER, "Third", "1", "INBOX", false)).rc, STORE_OK);
	rig_checkpoint(&r);
	rig_restart(&r);
	is(&r, USER, "From", "none");
	is(&r, USER, "INBOX", "1 N:one 2 N:lent");
	rig_close(&r);
}

/* A mailbox with children is renamed by one flush for all. */
static void
test_children(void)
{
	char name[32];
	struct rig r;
	unsigned i;

	begin(&r);
	box(&r, USER, STORE_BOX_CREATE, "Old", NULL);
	for (i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "Old.child%u", i);
		box(&r, USER, STORE_BOX_CREATE, name, NULL);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, name, "text")).rc, STORE_OK);
	}
	rig_settle(&r);
	box(&r, USER, STORE_BOX_RENAME, "Old", "New");
	is(&r, USER, "New.child9", "1 N:text");
	CU_ASSERT_EQUAL(wholes, 1);
	rig_close(&r);
}

/* A flush that takes long holds up who needs it, and nobody else; and it is one for all. (Both threads sat in one.) */
static void
test_shared(void)
{
	static const char *const users[] = { "a@example.test", "b@example.test", "c@example.test", "d@example.test" };
	enum store_rc rc[PT_COUNT(users)];
	struct index x;
	struct rig r;
	unsigned i;

	begin(&r);
	for (i = 0; i < PT_COUNT(users); i++)
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, users[i], "INBOX", "text")).rc, STORE_OK);
	for (i = 0; i < PT_COUNT(users); i++) {
		box(&r, users[i], STORE_BOX_CREATE, "Old", NULL);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, users[i], "Old", "text")).rc, STORE_OK);
		CU_ASSERT_TRUE(rig_index(&r, users[i], "Old", &x));
		index_fini(&x);
	}
	hold_whole = true;
	for (i = 0; i < PT_COUNT(users); i++)
		send_off(&r, rig_box(users[i], STORE_BOX_RENAME, "Old", "Young"), &rc[i]);
	for (i = 0; i < PT_COUNT(users); i++)
		answered(&r, &rc[i]); /* which is before it is carried out */
	while (wholes == 0)
		rig_turn(&r, 5);
	for (i = 0; i < 10; i++) /* all that is done for others goes on */
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "more")).rc, STORE_OK);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_EQUAL(x.n, 11);
	index_fini(&x);
	CU_ASSERT_EQUAL(wholes, 1);
	hold_whole = false;
	for (i = 0; i < PT_COUNT(users); i++)
		is(&r, users[i], "Young", "1 N:text");
	CU_ASSERT(wholes <= 2); /* who came while the first was under way */
	rig_close(&r);
}

/* What a user has subscribed to, as others read it. */
static void
subscribed(struct rig *r, const char *user, const char *want)
{
	char path[128], text[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "%s/Maildir/subscriptions", user);
	fd = openat(r->mail_fd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	text[n < 0 ? 0 : n] = '\0';
	CU_ASSERT_STRING_EQUAL(text, want);
	if (fd >= 0)
		close(fd);
}

/* So is the flush of a list of subscriptions; and what is so already needs none. (It was waited for by who writes mailboxes.) */
static void
test_subscribe(void)
{
	static const char *const users[] = { "a@example.test", "b@example.test", "c@example.test", "d@example.test" };
	struct index x;
	struct rig r;
	unsigned i;

	begin(&r);
	for (i = 0; i < PT_COUNT(users); i++)
		box(&r, users[i], STORE_BOX_SUBSCRIBE, "Old", NULL);
	rig_settle(&r);
	lists = 0;
	hold_list = true;
	for (i = 0; i < PT_COUNT(users); i++)
		box(&r, users[i], STORE_BOX_SUBSCRIBE, "Young", NULL);
	while (lists == 0)
		rig_turn(&r, 5);
	for (i = 0; i < 10; i++) /* all that is done for others goes on */
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "more")).rc, STORE_OK);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT_EQUAL(x.n, 11);
	index_fini(&x);
	CU_ASSERT_EQUAL(lists, 1);
	subscribed(&r, users[0], "Old\n"); /* the old one is there until then */
	hold_list = false;
	rig_settle(&r);
	CU_ASSERT_EQUAL(lists, PT_COUNT(users));
	CU_ASSERT_EQUAL(wholes, 0); /* nothing else had to be flushed */
	for (i = 0; i < PT_COUNT(users); i++)
		subscribed(&r, users[i], "Old\nYoung\n");
	box(&r, users[0], STORE_BOX_SUBSCRIBE, "Old", NULL);
	box(&r, users[0], STORE_BOX_UNSUBSCRIBE, "Other", NULL);
	rig_settle(&r);
	CU_ASSERT_EQUAL(lists, PT_COUNT(users));
	box(&r, users[0], STORE_BOX_UNSUBSCRIBE, "Old", NULL);
	rig_settle(&r);
	subscribed(&r, users[0], "Young\n");
	rig_close(&r);
}

/* Others' lines stay; one that cannot be flushed takes no other's place, and is written anew. */
static void
test_subscribe_fails(void)
{
	enum store_rc rc;
	struct rig r;
	unsigned i;

	begin(&r);
	rig_shell(&r, "printf 'inbox\\nWork\\n\\nNews' > mail/" USER "/Maildir/subscriptions");
	fail_list = EIO;
	lists = 0;
	send_off(&r, rig_box(USER, STORE_BOX_SUBSCRIBE, "Young", NULL), &rc);
	answered(&r, &rc);
	CU_ASSERT_EQUAL(rc, STORE_OK);
	for (i = 0; i < 12000 && lists < 2; i++) /* for hangs */
		rig_turn(&r, 5);
	CU_ASSERT(lists >= 2);
	subscribed(&r, USER, "inbox\nWork\n\nNews");
	fail_list = 0;
	while (!TAILQ_EMPTY(&((struct local *)r.be)->applying))
		rig_turn(&r, 5);
	CU_ASSERT_FALSE(r.failed);
	subscribed(&r, USER, "inbox\nWork\nNews\nYoung\n");
	box(&r, USER, STORE_BOX_UNSUBSCRIBE, "INBOX", NULL);
	rig_settle(&r);
	subscribed(&r, USER, "Work\nNews\nYoung\n");
	rig_close(&r);
}

void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* A flush that failed is not tried again: what it was for is not done, by this process. */
static void
test_flush_fails(void)
{
	struct rig r;
	unsigned i;

	begin(&r);
	box(&r, USER, STORE_BOX_CREATE, "Old", NULL);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "Old", "text")).rc, STORE_OK);
	rig_settle(&r);
	fail_whole = EIO;
	if (__lsan_disable != NULL)
		__lsan_disable(); /* the engine is thrown away with this */
	box(&r, USER, STORE_BOX_RENAME, "Old", "Young");
	if (__lsan_enable != NULL)
		__lsan_enable();
	for (i = 0; i < 1000 && !r.failed; i++)
		rig_settle(&r);
	CU_ASSERT_TRUE(r.failed);
	fail_whole = 0;
	for (i = 0; i < 3; i++)
		rig_settle(&r);
	rig_shell(&r, "test -d mail/" USER "/Maildir/.Old && test ! -e mail/" USER "/Maildir/.Young");
	rig_restart(&r);
	is(&r, USER, "Young", "1 N:text");
	is(&r, USER, "Old", "none");
	rig_close(&r);
}

/* The note that a mailbox has its new name is never on the disk without the name: a replay would take the rename for done, and for
 * undone by a later one. */
static void
test_note_after_name(void)
{
	struct index x;
	struct rig r;

	begin(&r);
	box(&r, USER, STORE_BOX_CREATE, "Old", NULL);
	notes = early = 0;
	box(&r, USER, STORE_BOX_RENAME, "Old", "New");
	CU_ASSERT_TRUE(rig_index(&r, USER, "New", &x));
	index_fini(&x);
	CU_ASSERT_EQUAL(notes, 1);
	CU_ASSERT_EQUAL(early, 0);
	rig_close(&r);
}

/* --- mailboxes that cannot be written ----------------------------------------------------------------------------- */

static void
on_reindexed(void *arg, enum store_rc rc, const struct store_status *s, const struct store_rebuilt *r)
{
	(void)s;
	(void)r;
	*(enum store_rc *)arg = rc;
}

static void
on_event(void *arg, enum mb_event what, uint64_t octets)
{
	(void)arg;
	(void)what;
	(void)octets;
}

static void
on_view(void *arg, enum store_rc rc, struct mb_view *v, int fd, uint64_t octets)
{
	(void)octets;
	if (v != NULL)
		mb_view_close(&v);
	if (fd >= 0)
		close(fd);
	*(enum store_rc *)arg = rc;
}

/* Whoever came before it was known that the mailbox cannot be written hears it, whatever it is that he waits for. */
static void
test_waiters(void)
{
	enum store_rc reindexed = STORE_UNKNOWN, viewed = STORE_UNKNOWN, added, again = STORE_UNKNOWN, flagged;
	struct mb_txn *t;
	struct rig r;

	begin(&r);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, FROZEN, "INBOX", "first")).rc, STORE_OK);
	rig_settle(&r);
	freeze(FROZEN);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, FROZEN, "INBOX", "second")).rc, STORE_OK);
	t = rig_flags(FROZEN, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN);
	t->after_apply = true; /* as it is for who looks at the mailbox */
	send_off(&r, t, &flagged);
	mb_reindex(r.mbs, FROZEN, "INBOX", on_reindexed, &reindexed); /* waits until all is in the files */
	mb_view_open(r.mbs, FROZEN, "INBOX", on_event, NULL, on_view, &viewed); /* and these for it */
	mb_reindex(r.mbs, FROZEN, "INBOX", on_reindexed, &again);
	send_off(&r, rig_add(NULL, FROZEN, "INBOX", "third"), &added);
	answered(&r, &viewed);
	answered(&r, &reindexed);
	answered(&r, &again);
	answered(&r, &added);
	answered(&r, &flagged);
	CU_ASSERT_EQUAL(flagged, STORE_OK); /* it is accepted */
	CU_ASSERT_EQUAL(viewed, STORE_TEMP);
	CU_ASSERT_EQUAL(reindexed, STORE_TEMP);
	CU_ASSERT_EQUAL(again, STORE_TEMP);
	CU_ASSERT_EQUAL(added, STORE_TEMP);
	frozen = false;
	while (r.be->ops->stuck(r.be, FROZEN, "INBOX"))
		rig_turn(&r, 5);
	is(&r, FROZEN, "INBOX", "1 S:first 2 N:second");
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, FROZEN, "INBOX", "fourth")).uids, "3");
	rig_close(&r);
}

/* What is about two mailboxes and waits in the one keeps the other waiting: that one is refused as well, until it can go on. */
static void
test_joint(void)
{
	struct store_standing now;
	enum store_rc rc[3];
	struct index x;
	struct rig r;
	unsigned i;

	begin(&r);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, OTHER, "INBOX", "first")).rc, STORE_OK);
	box(&r, OTHER, STORE_BOX_CREATE, "Target", NULL);
	box(&r, OTHER, STORE_BOX_CREATE, "Free", NULL);
	box(&r, OTHER, STORE_BOX_CREATE, "Frozen", NULL);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, OTHER, "Frozen", "cold")).rc, STORE_OK);
	rig_settle(&r);
	freeze("/.Frozen");
	send_off(&r, rig_add(NULL, OTHER, "Frozen", "colder"), &rc[0]);
	send_off(&r, rig_copy(OTHER, "Frozen", "1", "Target", false), &rc[1]);
	send_off(&r, rig_copy(OTHER, "Target", "1", "INBOX", false), &rc[2]);
	for (i = 0; i < PT_COUNT(rc); i++) {
		answered(&r, &rc[i]);
		CU_ASSERT_EQUAL(rc[i], STORE_OK);
	}
	while (!r.be->ops->stuck(r.be, OTHER, "Frozen"))
		rig_turn(&r, 5);
	CU_ASSERT_TRUE(r.be->ops->stuck(r.be, OTHER, "Target"));
	CU_ASSERT_TRUE(r.be->ops->stuck(r.be, OTHER, "INBOX")); /* behind one that is behind */
	CU_ASSERT_FALSE(r.be->ops->stuck(r.be, OTHER, "Free"));
	CU_ASSERT_FALSE(rig_index(&r, OTHER, "Target", &x)); /* waited for ever */
	CU_ASSERT_FALSE(rig_index(&r, OTHER, "INBOX", &x));
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, OTHER, "Target", "no")).rc, STORE_TEMP);
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, OTHER, "Free", "yes")).rc, STORE_OK);
	is(&r, OTHER, "Free", "1 N:yes");
	frozen = false;
	while (r.be->ops->stuck(r.be, OTHER, "Frozen") || r.be->ops->stuck(r.be, OTHER, "INBOX"))
		rig_turn(&r, 5);
	is(&r, OTHER, "Target", "1 N:cold");
	is(&r, OTHER, "INBOX", "1 N:first 2 N:cold");
	is(&r, OTHER, "Frozen", "1 N:cold 2 N:colder");
	r.be->ops->stat(r.be, &now);
	CU_ASSERT_EQUAL(now.stuck, 0);
	rig_close(&r);
}

/* A large message for a mailbox that cannot be written, whose record has gone to the journal's end: its file stays, also when a
 * checkpoint comes just while it is tried again. */
static void
test_large(void)
{
	static char body[30000];
	struct local *l;
	struct rig r;
	unsigned i;

	memset(&r, 0, sizeof r);
	r.segments = 4;
	r.segment_octets = 100000;
	memset(body, 'x', sizeof body - 1);
	rig_open(&r, RIG_LOCAL);
	l = (struct local *)r.be;
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, FROZEN, "INBOX", "first")).rc, STORE_OK);
	rig_settle(&r);
	freeze(FROZEN);
	rig_add_large(&r, FROZEN, "INBOX", "large");
	while (!r.be->ops->stuck(r.be, FROZEN, "INBOX"))
		rig_turn(&r, 5);
	for (i = 0; i < 400 && !l->moved; i++)
		CU_ASSERT_EQUAL_FATAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", body)).rc, STORE_OK);
	CU_ASSERT_TRUE_FATAL(l->moved);
	held_links = 0;
	hold_link = true;
	while (held_links == 0)
		rig_turn(&r, 5);
	CU_ASSERT_TRUE(TAILQ_EMPTY(&l->failing)); /* just now */
	(void)r.be->ops->tick(r.be, l->now_ms + 600000); /* a checkpoint */
	for (i = 0; i < 1000 && l->checkpointing; i++)
		rig_turn(&r, 5);
	frozen = hold_link = false;
	while (r.be->ops->stuck(r.be, FROZEN, "INBOX"))
		rig_turn(&r, 5);
	is(&r, FROZEN, "INBOX", "1 N:first 2 N:large");
	rig_close(&r);
}

static const struct test_row rows[] = {
	{ "flushed before it goes", test_flush },
	{ "one flush for all children", test_children },
	{ "one flush for all, which holds up nobody else", test_shared },
	{ "nor does that of subscriptions", test_subscribe },
	{ "subscriptions that cannot be flushed", test_subscribe_fails },
	{ "a flush that fails", test_flush_fails },
	{ "the name before the note", test_note_after_name },
	{ "who waits for a mailbox that cannot be written", test_waiters },
	{ "mailboxes behind one that cannot be written", test_joint },
	{ "a large message for one", test_large },
};

TEST_MAIN("store/boxes", rows)
