/* unit/store/test_recovery.c - what a replay, another program, or both at once must not undo. Found by tests/crash. */
#include "store/mailbox_impl.h"
#include "store/rig.h"

#include "test.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define USER RIG_USER
#define MAILDIR "mail/" USER "/Maildir"

static const char *hidden; /* what a name has in it that is not read the next time */
static atomic_bool held;   /* who reads a name with "hold" in it waits */

struct dirent *__real_readdir(DIR *d);
struct dirent *__wrap_readdir(DIR *d);

struct dirent *
__wrap_readdir(DIR *d)
{
	struct dirent *e = __real_readdir(d);
	int i;

	for (i = 0; e != NULL && atomic_load(&held) && strstr(e->d_name, "hold") != NULL && i < 20000; i++)
		usleep(1000);
	if (e != NULL && hidden != NULL && strstr(e->d_name, hidden) != NULL) {
		hidden = NULL;
		e = __real_readdir(d);
	}
	return e;
}

static uint64_t
settled(struct rig *r, struct mb_txn *t)
{
	uint64_t id = rig_must(r, t);

	rig_settle(r);
	return id;
}

/* A rename that would run into a mailbox below the new name: refused, not begun. */
static void
do_below_new_name(struct rig *r)
{
	settled(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(r, rig_box(USER, STORE_BOX_CREATE, "A.x", NULL));
	settled(r, rig_box(USER, STORE_BOX_CREATE, "B.x", NULL));
	settled(r, rig_add(NULL, USER, "A.x", "of A"));
	settled(r, rig_add(NULL, USER, "B.x", "of B"));
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "A", "B")).rc, STORE_EXISTS);
	rig_is(r, "A.x", "1 N:of A");
	rig_is(r, "B.x", "1 N:of B");
	settled(r, rig_box(USER, STORE_BOX_RENAME, "A", "C"));
	rig_is(r, "C.x", "1 N:of A");
}

static void
test_below_new_name(void)
{
	rig_each(do_below_new_name);
}

/* What was answered once with some left as they were is so answered again. */
static void
do_conflict_again(struct rig *r)
{
	struct rig_reply p, q;
	struct mb_txn *t;
	int i;

	settled(r, rig_add(NULL, USER, "INBOX", "one"));
	p = rig_commit(r, rig_add(NULL, USER, "INBOX", "two"));
	settled(r, rig_flags(USER, "INBOX", "2", STORE_FLAGS_ADD, STORE_SEEN));
	for (i = 0; i < 3; i++) {
		t = rig_flags(USER, "INBOX", "1:2", STORE_FLAGS_ADD, STORE_FLAGGED);
		strcpy(t->id, "00112233445566778899aabbccddee01");
		t->ops[0].unchangedsince = p.modseq;
		q = rig_commit(r, t);
		CU_ASSERT_EQUAL(q.rc, STORE_CONFLICT);
		CU_ASSERT_STRING_EQUAL(q.uids, "2");
		rig_settle(r);
		if (i == 1)
			rig_restart(r);
	}
	rig_is(r, "INBOX", "1 F:one 2 S:two");
}

static void
test_conflict_again(void)
{
	rig_each(do_conflict_again);
}

struct opened {
	struct mb_view *v;
	enum store_rc rc;
	bool done;
};

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
	struct opened *o = arg;

	(void)octets;
	o->rc = rc;
	o->v = v;
	o->done = true;
	if (fd >= 0)
		close(fd);
}

/* Somebody who hears that a mailbox is there may open it at once. */
static void
do_not_yet_there(struct rig *r)
{
	struct mb_txn *t = rig_box(USER, STORE_BOX_CREATE, "New", NULL);
	struct opened o = { .done = false };
	int i;

	/* it is known not to be there: the creation is looked at before this returns */
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "New", "x")).rc, STORE_NOTFOUND);
	mb_commit(r->mbs, t);
	mb_view_open(r->mbs, USER, "New", on_event, NULL, on_view, &o);
	for (i = 0; i < 5000 && !o.done; i++)
		rig_settle(r);
	CU_ASSERT_TRUE(o.done);
	CU_ASSERT_EQUAL(o.rc, STORE_OK);
	if (o.v != NULL)
		mb_view_close(&o.v);
}

static void
test_not_yet_there(void)
{
	rig_each(do_not_yet_there);
}

/* A name that another program gave since the last flags of ours is not taken back by a replay. */
static void
test_flags_of_others(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_add(NULL, USER, "INBOX", "one"));
	settled(&r, rig_add(NULL, USER, "INBOX", "two"));
	settled(&r, rig_flags(USER, "INBOX", "1:2", STORE_FLAGS_ADD, STORE_SEEN));
	settled(&r, rig_flags(USER, "INBOX", "2", STORE_FLAGS_ADD, STORE_DRAFT));
	rig_shell(&r, "cd " MAILDIR "/cur && mv *U=1:2,S $(echo *U=1:2,S | sed 's/S$/FS/')");
	/* this one the power took back: it was ours */
	rig_shell(&r, "cd " MAILDIR "/cur && mv *U=2:2,DS $(echo *U=2:2,DS | sed 's/DS$/S/')");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "INBOX");
	rig_is(&r, "INBOX", "1 FS:one 2 DS:two");
	rig_close(&r);
}

static void
looked(void *arg, enum store_rc rc)
{
	CU_ASSERT_EQUAL(rc, STORE_OK);
	++*(int *)arg;
}

/* Two looks, and what the first found is not yet in the log when the second begins. */
static void
test_found_twice(void)
{
	struct rig r = { .segments = 0 };
	int looks = 0, i;

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_add(NULL, USER, "INBOX", "one"));
	rig_shell(&r, "printf new > " MAILDIR "/new/123.x.host");
	mb_rescan(r.mbs, USER, "INBOX", looked, &looks);
	mb_rescan(r.mbs, USER, "INBOX", looked, &looks);
	for (i = 0; i < 5000 && looks < 2; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(looks, 2);
	rig_settle(&r);
	rig_is(&r, "INBOX", "1 N:one 2 N:new");
	rig_close(&r);
}

/* A mailbox is deleted and made again while its folder is read: nothing of what was seen is of the new one. */
static void
test_seen_before(void)
{
	struct rig r = { .segments = 0 };
	int looks = 0, i;

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "old"));
	rig_shell(&r, "cd " MAILDIR "/.A && f=$(ls new) && mv new/$f cur/$f:2,F && printf found > new/123.hold.host");
	atomic_store(&held, true);
	mb_rescan(r.mbs, USER, "A", looked, &looks);
	rig_must(&r, rig_box(USER, STORE_BOX_DELETE, "A", NULL));
	rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(&r, rig_add(NULL, USER, "A", "new"));
	CU_ASSERT_EQUAL(looks, 0);
	atomic_store(&held, false);
	for (i = 0; i < 5000 && looks < 1; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(looks, 1);
	rig_settle(&r);
	rig_is(&r, "A", "1 N:new");
	rig_close(&r);
}

/* Deleted, and made again; the disk has lost the new one's index. What was in the first does not come back. */
static void
test_made_again(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_checkpoint(&r);
	settled(&r, rig_add(NULL, USER, "A", "old"));
	settled(&r, rig_box(USER, STORE_BOX_DELETE, "A", NULL));
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "new"));
	rig_shell(&r, "rm " MAILDIR "/.A/postern-index");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 N:new");
	rig_close(&r);
}

/* Of a mailbox that was made again the index has come to the disk, and the folders where its messages stand have not. The file of a
 * large one is there: what is missing is no sign that others have had it, nor that they gave it other flags. */
static void
test_half_made(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_checkpoint(&r);
	settled(&r, rig_add(NULL, USER, "A", "old"));
	settled(&r, rig_box(USER, STORE_BOX_DELETE, "A", NULL));
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_add_large(&r, USER, "A", "large");
	settled(&r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_SEEN));
	rig_shell(&r, "rm -r " MAILDIR "/.A/new " MAILDIR "/.A/cur");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 S:large");
	/* a small one comes there at once, too */
	settled(&r, rig_add(NULL, USER, "A", "small"));
	rig_shell(&r, "rm -r " MAILDIR "/.A/new");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 S:large 2 N:small");
	settled(&r, rig_flags(USER, "A", "2", STORE_FLAGS_ADD, STORE_SEEN));
	rig_shell(&r, "cd " MAILDIR "/.A && f=$(ls cur | grep U=2:) && mv cur/$f new/${f%:2,S} && rm -r cur");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 S:large 2 S:small");
	rig_close(&r);
}

/* Renamed, deleted there, and another one made under that name, whose index the disk has lost. A replay makes the first one again under its
 * old name, and must not take the folder of the last one for another program's. */
static void
test_name_used_again(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "old"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "A", "B"));
	settled(&r, rig_add(NULL, USER, "B", "older"));
	settled(&r, rig_box(USER, STORE_BOX_DELETE, "B", NULL));
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "B", NULL));
	settled(&r, rig_add(NULL, USER, "B", "new"));
	rig_shell(&r, "rm " MAILDIR "/.B/postern-index");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "B");
	rig_is(&r, "A", "none");
	rig_is(&r, "B", "1 N:new");
	/* the same, but renamed on */
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "C", NULL));
	settled(&r, rig_add(NULL, USER, "C", "moved"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "C", "D"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "D", "E"));
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "D", NULL));
	settled(&r, rig_add(NULL, USER, "D", "newer"));
	rig_shell(&r, "rm " MAILDIR "/.D/postern-index");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "D");
	rig_is(&r, "C", "none");
	rig_is(&r, "D", "1 N:newer");
	rig_is(&r, "E", "1 N:moved");
	rig_close(&r);
}

/* A mailbox made again has lost its index, and a file of it has nothing right in it. The replay makes the one before in the same folder:
 * what has the same UID there is not that one's message, and no copy of it. */
static void
test_uid_of_another(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "Z", NULL));
	settled(&r, rig_add(NULL, USER, "Z", "right"));
	rig_checkpoint(&r); /* this is not done again */
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_copy(USER, "Z", "1", "A", false));
	settled(&r, rig_box(USER, STORE_BOX_DELETE, "Z", NULL));
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "B", NULL));
	settled(&r, rig_copy(USER, "A", "1", "B", false));
	settled(&r, rig_box(USER, STORE_BOX_DELETE, "A", NULL));
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "last"));
	rig_shell(&r, "cd " MAILDIR "/.A && rm postern-index && f=$(echo new/*U=1) && test -f $f && printf torn > $f");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 N:last");
	rig_is(&r, "B", "1 N:right");
	rig_close(&r);
}

/* Renamed and back: what was done under the other name cannot be done again, so what came before must not be either, or it undoes that. */
static void
test_back_again(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_checkpoint(&r);
	settled(&r, rig_add(NULL, USER, "A", "kept"));
	settled(&r, rig_add(NULL, USER, "A", "gone"));
	settled(&r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_SEEN));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "A", "B"));
	settled(&r, rig_flags(USER, "B", "1", STORE_FLAGS_SET, STORE_FLAGGED));
	settled(&r, rig_flags(USER, "B", "2", STORE_FLAGS_ADD, STORE_DELETED));
	settled(&r, rig_expunge(USER, "B", "2"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "B", "A"));
	rig_is(&r, "A", "1 F:kept");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 F:kept");
	/* to and fro, and from a name under which the replay makes it once more */
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "C", NULL));
	settled(&r, rig_add(NULL, USER, "C", "first"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "C", "D"));
	settled(&r, rig_add(NULL, USER, "D", "second"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "D", "C"));
	settled(&r, rig_copy(USER, "C", "1:2", "A", true));
	settled(&r, rig_add(NULL, USER, "C", "third"));
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "C", "D"));
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_scan(&r, USER, "D");
	rig_is(&r, "A", "1 F:kept 3 N:first 4 N:second");
	rig_is(&r, "C", "none");
	rig_is(&r, "D", "3 N:third");
	rig_close(&r);
}

static void
brought(struct rig *r)
{
	rig_shell(r, "cd " MAILDIR "/.A && printf brought > new/123.x.host");
	rig_scan(r, USER, "A");
	rig_is(r, "A", "1 N:brought");
	rig_shell(r, "cd " MAILDIR "/.A && : > postern-index");
	rig_restart(r);
	rig_settle(r);
	rig_scan(r, USER, "A");
	rig_is(r, "A", "1 N:brought");
}

/* What another program has brought into a mailbox that was made again is nowhere in the journal. The mailbox has lost its index, and a
 * replay makes the former ones in its folder first: they go without it. */
static void
test_brought_by_others(void)
{
	enum { DELETED_THERE, RENAMED, RENAMED_AND_DELETED, RENAMED_ON, ENDINGS };
	struct rig r;
	int ending;

	for (ending = 0; ending < ENDINGS; ending++) {
		r = (struct rig){ .no_checkpoints = true };
		rig_open(&r, RIG_LOCAL);
		settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
		settled(&r, rig_add(NULL, USER, "A", "former"));
		settled(&r, ending == DELETED_THERE ? rig_box(USER, STORE_BOX_DELETE, "A", NULL)
			: rig_box(USER, STORE_BOX_RENAME, "A", "B"));
		if (ending == RENAMED_AND_DELETED)
			settled(&r, rig_box(USER, STORE_BOX_DELETE, "B", NULL));
		if (ending == RENAMED_ON)
			settled(&r, rig_box(USER, STORE_BOX_RENAME, "B", "C"));
		settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
		brought(&r);
		rig_is(&r, "B", ending == RENAMED ? "1 N:former" : "none");
		rig_is(&r, "C", ending == RENAMED_ON ? "1 N:former" : "none");
		rig_close(&r);
	}
}

/* Another program has made a folder of the new name before a rename was carried out, and then came the crash: the mailbox keeps its name, and
 * what was put into it under the new one is there, too. */
static void
test_kept_and_added(void)
{
	struct rig r = { .no_checkpoints = true };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "first"));
	rig_checkpoint(&r);
	rig_shell(&r, "cp -a " MAILDIR "/.A saved");
	settled(&r, rig_box(USER, STORE_BOX_RENAME, "A", "B"));
	settled(&r, rig_add(NULL, USER, "B", "second"));
	rig_shell(&r, "rm -r " MAILDIR "/.B && mv saved " MAILDIR "/.A && mkdir " MAILDIR "/.B && cd " MAILDIR
		"/.B && mkdir cur new tmp && printf theirs > new/123.x.host");
	rig_restart(&r);
	rig_settle(&r);
	rig_scan(&r, USER, "A");
	rig_scan(&r, USER, "B");
	rig_is(&r, "A", "1 N:first");
	CU_ASSERT_PTR_NOT_NULL(strstr(rig_dump(&r, USER, "B"), ":theirs"));
	CU_ASSERT_PTR_NOT_NULL(strstr(rig_dump(&r, USER, "B"), ":second"));
	rig_close(&r);
}

/* A deletion that the power took back, while a part of what it had moved away is still there. */
static void
test_deleted_again(void)
{
	struct rig r = { .no_checkpoints = true };
	char command[256];
	uint64_t id;

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "old"));
	rig_shell(&r, "cp -a " MAILDIR "/.A saved");
	id = settled(&r, rig_box(USER, STORE_BOX_DELETE, "A", NULL));
	snprintf(command, sizeof command, "mv saved " MAILDIR "/.A && mkdir -p mail/.tmp/deleted-%016llx-0/cur && "
		"touch mail/.tmp/deleted-%016llx-0/cur/1", (unsigned long long)id, (unsigned long long)id);
	rig_shell(&r, command);
	rig_restart(&r);
	rig_settle(&r);
	rig_is(&r, "A", "none");
	rig_close(&r);
}

/* A name that was changed while the folder was read, and seen under neither. */
static void
test_missed(void)
{
	struct rig r = { .segments = 0 };

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_add(NULL, USER, "INBOX", "one"));
	settled(&r, rig_add(NULL, USER, "INBOX", "two"));
	rig_shell(&r, "rm " MAILDIR "/new/*U=2");
	hidden = "U=1";
	rig_scan(&r, USER, "INBOX");
	CU_ASSERT_PTR_NULL(hidden);
	rig_is(&r, "INBOX", "1 N:one");
	rig_close(&r);
}

static void
on_fetched(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	CU_ASSERT_EQUAL(rc, STORE_OK);
	CU_ASSERT_EQUAL(octets, 3);
	++*(int *)arg;
	if (fd >= 0)
		close(fd);
}

/* A message is there also while its mailbox's log is written anew. */
static void
test_read_meanwhile(void)
{
	struct opened o = { .done = false };
	struct rig r = { .segments = 0 };
	int i, asked = 0, answered = 0;
	struct index x;

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_add(NULL, USER, "INBOX", "one"));
	mb_view_open(r.mbs, USER, "INBOX", on_event, NULL, on_view, &o);
	for (i = 0; i < 5000 && !o.done; i++)
		rig_settle(&r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o.v);
	for (i = 0; i < 4000; i++) {
		CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", i % 2 ? STORE_FLAGS_ADD : STORE_FLAGS_REMOVE,
			STORE_SEEN | STORE_FLAGGED)).rc, STORE_OK);
		mb_view_fetch(o.v, 1, on_fetched, &answered);
		asked++;
	}
	for (i = 0; i < 5000 && answered < asked; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(answered, asked);
	CU_ASSERT_TRUE(rig_index(&r, USER, "INBOX", &x));
	CU_ASSERT(x.lines < 4000); /* it was */
	index_fini(&x);
	mb_view_close(&o.v);
	rig_close(&r);
}

static void
on_answered(struct mb_txn *t, const struct mb_reply *reply)
{
	CU_ASSERT_EQUAL(reply->rc, STORE_OK);
	++*(int *)t->arg;
}

static void
on_not_fetched(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	(void)octets;
	CU_ASSERT_EQUAL(rc, STORE_NOTFOUND);
	CU_ASSERT_EQUAL(fd, -1);
	++*(int *)arg;
}

/* Who waits to read a message while the mailbox is deleted and made again gets none of the new one's. */
static void
test_read_another(void)
{
	struct opened o = { .done = false };
	struct rig r = { .segments = 0 };
	struct mb_txn *t[3];
	int i, answered = 0;

	rig_open(&r, RIG_LOCAL);
	settled(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	settled(&r, rig_add(NULL, USER, "A", "old"));
	mb_view_open(r.mbs, USER, "A", on_event, NULL, on_view, &o);
	for (i = 0; i < 5000 && !o.done; i++)
		rig_settle(&r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o.v);
	for (i = 0; i < 8000 && mailbox_find(r.mbs, USER, "A")->state != MB_BUSY; i++)
		rig_must(&r, rig_flags(USER, "A", "1", i % 2 ? STORE_FLAGS_ADD : STORE_FLAGS_REMOVE, STORE_SEEN | STORE_FLAGGED));
	CU_ASSERT_EQUAL(mailbox_find(r.mbs, USER, "A")->state, MB_BUSY);
	t[0] = rig_box(USER, STORE_BOX_DELETE, "A", NULL);
	t[1] = rig_box(USER, STORE_BOX_CREATE, "A", NULL);
	t[2] = rig_add(NULL, USER, "A", "new");
	for (i = 0; i < 3; i++) {
		t[i]->done = on_answered;
		t[i]->arg = &answered;
		mb_commit(r.mbs, t[i]);
	}
	CU_ASSERT_EQUAL(answered, 0);
	mb_view_fetch(o.v, 1, on_not_fetched, &answered);
	for (i = 0; i < 5000 && answered < 4; i++)
		rig_settle(&r);
	CU_ASSERT_EQUAL(answered, 4);
	rig_is(&r, "A", "1 N:new");
	mb_view_close(&o.v);
	rig_close(&r);
}

static const struct test_row tests[] = {
	{ "a mailbox below the new name", test_below_new_name },
	{ "a conflict, asked again", test_conflict_again },
	{ "opened before it is made", test_not_yet_there },
	{ "flags that others gave", test_flags_of_others },
	{ "found by two looks", test_found_twice },
	{ "seen before it was made again", test_seen_before },
	{ "made again under its old name", test_made_again },
	{ "half made", test_half_made },
	{ "a name used again", test_name_used_again },
	{ "the UID of another one", test_uid_of_another },
	{ "renamed and back again", test_back_again },
	{ "brought by another program", test_brought_by_others },
	{ "a name kept, and a message under the new one", test_kept_and_added },
	{ "deleted again", test_deleted_again },
	{ "missed while it was renamed", test_missed },
	{ "read while its log is written anew", test_read_meanwhile },
	{ "waited for while another is made", test_read_another },
};

TEST_MAIN("store/recovery", tests)
