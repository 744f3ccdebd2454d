/* unit/store/test_mailbox.c - one suite over all engines: what a transaction does, and what is still there after a restart. */
#include "store/rig.h"

#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER RIG_USER

static void
add_two(struct rig *r)
{
	struct rig_reply p = rig_commit(r, rig_add(NULL, USER, "INBOX", "one"));

	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	CU_ASSERT_STRING_EQUAL(p.uids, "1");
	CU_ASSERT_NOT_EQUAL(p.uidvalidity, 0);
	CU_ASSERT_NOT_EQUAL(p.id, 0);
	p = rig_commit(r, rig_add(NULL, USER, "INBOX", "two"));
	CU_ASSERT_STRING_EQUAL(p.uids, "2");
}

static void
do_add(struct rig *r)
{
	struct rig_reply p;

	rig_is(r, "INBOX", "none");
	add_two(r);
	rig_is(r, "INBOX", "1 N:one 2 N:two");
	rig_restart(r);
	rig_is(r, "INBOX", "1 N:one 2 N:two");
	p = rig_commit(r, rig_add(rig_add(rig_add(NULL, USER, "INBOX", "3"), "bob@example.test", "INBOX", "4"),
		USER, "INBOX", "5"));
	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	rig_is(r, "INBOX", "1 N:one 2 N:two 3 N:3 4 N:5");
	CU_ASSERT_STRING_EQUAL(rig_dump(r, "bob@example.test", "INBOX"), "1 N:4");
	p = rig_commit(r, rig_add(NULL, USER, "Nowhere", "x"));
	CU_ASSERT_EQUAL(p.rc, STORE_NOTFOUND);
}

static void
test_add(void)
{
	rig_each(do_add);
}

static void
do_flags(struct rig *r)
{
	struct rig_reply p;
	struct mb_txn *t;

	add_two(r);
	p = rig_commit(r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN | STORE_FLAGGED));
	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	rig_is(r, "INBOX", "1 FS:one 2 N:two");
	p = rig_commit(r, rig_flags(USER, "INBOX", "1:5", STORE_FLAGS_REMOVE, STORE_FLAGGED));
	rig_is(r, "INBOX", "1 S:one 2 N:two");
	t = rig_flags(USER, "INBOX", "1:2", STORE_FLAGS_ADD, STORE_DELETED);
	t->ops[0].keywords = calloc(1, sizeof *t->ops[0].keywords);
	strcpy(t->ops[0].keywords[0], "$Work");
	t->ops[0].nkeywords = 1;
	p = rig_commit(r, t);
	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	rig_is(r, "INBOX", "1 STa:one 2 Ta:two");
	/* the second was changed since: only the first follows */
	t = rig_flags(USER, "INBOX", "1:2", STORE_FLAGS_SET, 0);
	t->ops[0].unchangedsince = p.modseq - 1;
	p = rig_commit(r, t);
	CU_ASSERT_EQUAL(p.rc, STORE_CONFLICT);
	CU_ASSERT_STRING_EQUAL(p.uids, "1:2");
	rig_restart(r);
	rig_is(r, "INBOX", "1 STa:one 2 Ta:two");
	p = rig_commit(r, rig_expunge(USER, "INBOX", "2:9"));
	CU_ASSERT_STRING_EQUAL(p.uids, "2");
	rig_is(r, "INBOX", "1 STa:one");
	rig_restart(r);
	rig_is(r, "INBOX", "1 STa:one");
	p = rig_commit(r, rig_add(NULL, USER, "INBOX", "three"));
	CU_ASSERT_STRING_EQUAL(p.uids, "3"); /* never 2 again */
	rig_is(r, "INBOX", "1 STa:one 3 N:three");
}

static void
test_flags(void)
{
	rig_each(do_flags);
}

static void
do_copy(struct rig *r)
{
	struct rig_reply p;

	add_two(r);
	p = rig_commit(r, rig_copy(USER, "INBOX", "1:2", "Archive", false));
	CU_ASSERT_EQUAL(p.rc, STORE_NOTFOUND);
	p = rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "Archive", NULL));
	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	p = rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "Archive", NULL));
	CU_ASSERT_EQUAL(p.rc, STORE_EXISTS);
	p = rig_commit(r, rig_copy(USER, "INBOX", "1:2", "Archive", false));
	CU_ASSERT_STRING_EQUAL(p.uids, "1:2");
	CU_ASSERT_STRING_EQUAL(p.sources, "1:2");
	rig_is(r, "Archive", "1 N:one 2 N:two");
	rig_is(r, "INBOX", "1 N:one 2 N:two");
	p = rig_commit(r, rig_copy(USER, "INBOX", "2", "Archive", true));
	CU_ASSERT_STRING_EQUAL(p.uids, "3");
	rig_is(r, "Archive", "1 N:one 2 N:two 3 N:two");
	rig_is(r, "INBOX", "1 N:one");
	p = rig_commit(r, rig_copy(USER, "INBOX", "1:9", "INBOX", true));
	rig_is(r, "INBOX", "3 N:one");
	rig_restart(r);
	rig_is(r, "Archive", "1 N:one 2 N:two 3 N:two");
	rig_is(r, "INBOX", "3 N:one");
}

static void
test_copy(void)
{
	rig_each(do_copy);
}

static void
do_boxes(struct rig *r)
{
	struct rig_reply p;
	uint32_t before;

	add_two(r);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL)).rc, STORE_OK);
	p = rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "A.B", NULL));
	before = p.uidvalidity;
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "A.B", "deep")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "A", "A.C")).rc, STORE_INVALID);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "A", "INBOX")).rc, STORE_EXISTS);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "INBOX", "X")).rc, STORE_DENIED);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "A", "C")).rc, STORE_OK);
	rig_is(r, "A.B", "none");
	rig_is(r, "C.B", "1 N:deep");
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "C.B", "more")).rc, STORE_OK);
	rig_is(r, "C.B", "1 N:deep 2 N:more");
	rig_restart(r);
	rig_is(r, "C.B", "1 N:deep 2 N:more");
	rig_is(r, "A", "none");
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_DELETE, "C.B", NULL)).rc, STORE_OK);
	rig_is(r, "C.B", "none");
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "C.B", "more")).rc, STORE_NOTFOUND);
	p = rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "C.B", NULL));
	CU_ASSERT(p.uidvalidity > before);
	rig_is(r, "C.B", "");
	rig_restart(r);
	rig_is(r, "C.B", "");
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_DELETE, "INBOX", NULL)).rc, STORE_DENIED);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_SUBSCRIBE, "C", NULL)).rc, STORE_OK);
}

/* A name that has had several owners: what the journal says of the first must not touch the last. */
static void
do_names(struct rig *r)
{
	rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_commit(r, rig_add(NULL, USER, "A", "old"));
	rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "C", NULL));
	rig_commit(r, rig_add(NULL, USER, "C", "first"));
	rig_commit(r, rig_box(USER, STORE_BOX_DELETE, "C", NULL));
	rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "A", "C"));
	rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_commit(r, rig_add(NULL, USER, "A", "new"));
	rig_commit(r, rig_add(NULL, USER, "C", "second"));
	rig_restart(r);
	rig_is(r, "A", "1 N:new");
	rig_is(r, "C", "1 N:old 2 N:second");
	rig_restart(r);
	rig_is(r, "A", "1 N:new");
	rig_is(r, "C", "1 N:old 2 N:second");
}

static void
test_names(void)
{
	rig_each(do_names);
}

static void
test_boxes(void)
{
	rig_each(do_boxes);
}

static const char *
value(struct rig *r, const char *space, const char *key, uint64_t *version)
{
	static char out[64];
	struct kv_entry e;

	if (!kv_get(r->kv, space, key, 0, &e))
		return "none";
	*version = e.version;
	snprintf(out, sizeof out, "%.*s", (int)e.value.n, (const char *)e.value.p);
	return out;
}

static void
do_put(struct rig *r)
{
	uint64_t version = 0, other = 0;

	CU_ASSERT_EQUAL(rig_commit(r, rig_put("sieve", "alice main", "keep;\r\nstop; 100%", 0, 0)).rc, STORE_OK);
	CU_ASSERT_STRING_EQUAL(value(r, "sieve", "alice main", &version), "keep;\r\nstop; 100%");
	CU_ASSERT_EQUAL(rig_commit(r, rig_put("sieve", "alice main", "x", 0, 0)).rc, STORE_EXISTS);
	CU_ASSERT_EQUAL(rig_commit(r, rig_put("sieve", "alice main", "x", version + 1, 0)).rc, STORE_CONFLICT);
	CU_ASSERT_EQUAL(rig_commit(r, rig_put("sieve", "alice main", "", version, 0)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_put("greylist", "k", "v", 0, 3600)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_put("greylist", "gone", "v", 0, 3600)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_put("greylist", "gone", NULL, STORE_ANY_VERSION, 0)).rc, STORE_OK);
	rig_restart(r);
	rig_restart(r);
	CU_ASSERT_STRING_EQUAL(value(r, "sieve", "alice main", &other), "");
	CU_ASSERT(other > version);
	CU_ASSERT_STRING_EQUAL(value(r, "greylist", "k", &other), "v");
	CU_ASSERT_STRING_EQUAL(value(r, "greylist", "gone", &other), "none");
}

static void
test_put(void)
{
	rig_each(do_put);
}

static void
do_again(struct rig *r)
{
	struct mb_txn *t;
	struct rig_reply p, q;
	int i;

	for (i = 0; i < 3; i++) {
		t = rig_add(NULL, USER, "INBOX", "once");
		strcpy(t->id, "00112233445566778899aabbccddeeff");
		q = rig_commit(r, t);
		CU_ASSERT_EQUAL(q.rc, STORE_OK);
		CU_ASSERT_STRING_EQUAL(q.uids, "1");
		if (i == 1)
			CU_ASSERT_EQUAL(p.uidvalidity, q.uidvalidity);
		p = q;
		if (i == 1)
			rig_restart(r);
	}
	rig_is(r, "INBOX", "1 N:once");
}

static void
test_again(void)
{
	rig_each(do_again);
}

static void
do_quota(struct rig *r)
{
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "12345")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL)).rc, STORE_OK);
	r->quota_octets = 15;
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "1234567890")).rc, STORE_OK); /* at max */
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "1")).rc, STORE_OVERQUOTA);
	CU_ASSERT_EQUAL(rig_commit(r, rig_copy(USER, "INBOX", "1", "A", false)).rc, STORE_OVERQUOTA);
	CU_ASSERT_EQUAL(rig_commit(r, rig_copy(USER, "INBOX", "1", "A", true)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_DELETED)).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_expunge(USER, "A", "1")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "12345")).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "1")).rc, STORE_OVERQUOTA);
	r->quota_octets = 0;
	r->quota_messages = 2;
	CU_ASSERT_EQUAL(rig_commit(r, rig_add(NULL, USER, "INBOX", "")).rc, STORE_OVERQUOTA);
}

static void
test_quota(void)
{
	rig_each(do_quota);
}

#define MANY 1100 /* more than an engine has open */

/* A rename of more mailboxes than the engine keeps open. (The second of two that belong together pushed out the first.) */
static void
do_many(struct rig *r)
{
	struct mb_txn *t = rig_box(USER, STORE_BOX_CREATE, "a", NULL);
	struct mb_op *op;
	unsigned i;

	for (i = 1; i < MANY; i++) {
		op = mb_txn_op(t);
		*op = t->ops[0];
		snprintf(op->key, sizeof op->key, "a.%u", i);
	}
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OK);
	CU_ASSERT_EQUAL(rig_commit(r, rig_box(USER, STORE_BOX_RENAME, "a", "b")).rc, STORE_OK);
	rig_is(r, "a.1099", "none");
	rig_is(r, "b.1", "");
	rig_is(r, "b.1099", "");
}

static void
test_many(void)
{
	rig_each(do_many);
}

/* An engine that fails leaves nothing half done, in memory either. */
static void
test_failures(void)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
	struct rig r;
	unsigned rc;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_MEMORY);
	add_two(&r);
	for (rc = STORE_TEMP; rc < STORE_RC_COUNT; rc++) {
		memory_inject(r.be, MEMORY_COMMIT, (enum store_rc)rc, 1);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "x")).rc, rc);
		memory_inject(r.be, MEMORY_COMMIT, (enum store_rc)rc, 1);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN)).rc, rc);
		memory_inject(r.be, MEMORY_COMMIT, (enum store_rc)rc, 1);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_put("s", "k", "v", 0, 0)).rc, rc);
		memory_inject(r.be, MEMORY_COMMIT, (enum store_rc)rc, 1);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL)).rc, rc);
		memory_inject(r.be, MEMORY_LOAD, (enum store_rc)rc, 1);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, names[rc], "INBOX", "x")).rc,
			rc == STORE_NOTFOUND ? STORE_OK : rc);
		memory_inject(r.be, MEMORY_ROOM, (enum store_rc)rc, 1);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "x")).rc, rc);
		rig_is(&r, "INBOX", "1 N:one 2 N:two");
		rig_is(&r, "A", "none");
	}
	CU_ASSERT_EQUAL(rig_commit(&r, rig_put("s", "k", "v", 0, 0)).rc, STORE_OK);
	CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).uids, "3");
	rig_is(&r, "INBOX", "1 N:one 2 N:two 3 N:three");
	rig_close(&r);
}

/* The journal alone has all of it, as after a power loss before the first checkpoint. */
static void
test_lost_files(void)
{
	static const char *const losses[] = {
		"true",
		"rm -rf mail/* mail/.tmp",
		"find mail -name postern-index -delete",
		"find mail -name postern-index | while read f; do echo garbage >>$f; done",
		"find mail -name postern-index | while read f; do truncate -s 200 $f; done",
		"find mail -path '*/new/*' -delete; find mail -path '*/cur/*' -delete",
		"find mail -type f -path '*/new/*' | while read f; do : >$f; done",
		"find mail -type f -path '*/cur/*' | while read f; do echo garbage >$f; done",
		"rm -rf kv/*",
	};
	struct rig r;
	size_t i;
	uint64_t v;

	for (i = 0; i < PT_COUNT(losses); i++) {
		memset(&r, 0, sizeof r);
		r.no_checkpoints = true;
		rig_open(&r, RIG_LOCAL);
		add_two(&r);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL)).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_copy(USER, "INBOX", "1", "A", false)).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_SEEN)).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_copy(USER, "INBOX", "2", "A", true)).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "A", "three")).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "A", "3", STORE_FLAGS_SET, STORE_DELETED)).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_expunge(USER, "A", "3")).rc, STORE_OK);
		CU_ASSERT_EQUAL(rig_commit(&r, rig_put("s", "k", "v", 0, 0)).rc, STORE_OK);
		rig_is(&r, "A", "1 S:one 2 N:two");
		rig_stop(&r);
		rig_shell(&r, losses[i]);
		rig_start(&r);
		rig_is(&r, "INBOX", "1 N:one");
		rig_is(&r, "A", "1 S:one 2 N:two");
		CU_ASSERT_STRING_EQUAL(value(&r, "s", "k", &v), "v");
		rig_restart(&r);
		rig_is(&r, "A", "1 S:one 2 N:two");
		CU_ASSERT_STRING_EQUAL(rig_commit(&r, rig_add(NULL, USER, "A", "four")).uids, "4");
		rig_close(&r);
	}
}

/* Folders of a mailbox that point elsewhere: nothing is put there and nothing taken from there. */
static void
test_links(void)
{
	struct rig r = { .kind = RIG_LOCAL };
	struct stat st;
	int i;

	rig_open(&r, RIG_LOCAL);
	add_two(&r);
	rig_settle(&r);
	rig_shell(&r, "mkdir elsewhere && cd mail/" USER "/Maildir && mv cur ../gone && ln -s ../../../elsewhere cur");
	CU_ASSERT_EQUAL(rig_commit(&r, rig_flags(USER, "INBOX", "1", STORE_FLAGS_ADD, STORE_SEEN)).rc, STORE_OK);
	rig_settle(&r);
	rig_shell(&r, "test -z \"$(ls elsewhere)\"");
	rig_shell(&r, "cd mail/" USER "/Maildir && mv new/* ../../../elsewhere && rmdir new && ln -s ../../../elsewhere new");
	CU_ASSERT_EQUAL(rig_commit(&r, rig_expunge(USER, "INBOX", "2")).rc, STORE_OK);
	rig_settle(&r);
	rig_shell(&r, "test $(ls elsewhere | wc -l) = 2");
	/* what is accepted gets its place all the same, a second later */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_add(NULL, USER, "INBOX", "three")).rc, STORE_OK);
	for (i = 1; i < 100 && fstatat(r.mail_fd, USER "/Maildir/new", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	     !S_ISDIR(st.st_mode); i++) {
		(void)r.be->ops->tick(r.be, (uint64_t)i * 1000);
		rig_settle(&r);
	}
	rig_settle(&r);
	rig_shell(&r, "test $(ls elsewhere | wc -l) = 2 -a ! -L mail/" USER "/Maildir/new");
	rig_shell(&r, "grep -q three mail/" USER "/Maildir/new/*");
	rig_close(&r);
}

/* A mailbox as files, for what the index does not say. */
static void
files_are(struct rig *r, const char *folder, const char *want)
{
	char command[512];

	snprintf(command, sizeof command, "(cd 'mail/" USER "/Maildir/%s' && "
		"test \"$(find new cur -type f | wc -l)\" = '%s') || touch differs", folder, want);
	rig_shell(r, command);
	CU_ASSERT_NOT_EQUAL(faccessat(r->dir_fd, "differs", F_OK, 0), 0);
	rig_shell(r, "rm -f differs");
}

/* Killed again and again: what was removed is removed, whichever of its names the files had by then. */
static void
test_replayed_twice(void)
{
	struct rig r = { .segments = 0 };
	int i;

	rig_open(&r, RIG_LOCAL);
	rig_must(&r, rig_add(NULL, USER, "INBOX", "one"));
	rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(&r, rig_copy(USER, "INBOX", "1", "A", false));
	rig_must(&r, rig_copy(USER, "INBOX", "1", "A", false));
	rig_must(&r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_SEEN | STORE_DELETED));
	rig_must(&r, rig_expunge(USER, "A", "1"));
	rig_must(&r, rig_flags(USER, "A", "2", STORE_FLAGS_ADD, STORE_FLAGGED));
	rig_must(&r, rig_copy(USER, "A", "2", "INBOX", true));
	for (i = 0; i < 3; i++) {
		rig_restart(&r);
		rig_is(&r, "A", "");
		rig_is(&r, "INBOX", "1 N:one 2 F:one");
		files_are(&r, ".A", "0");
		files_are(&r, ".", "2");
	}
	rig_close(&r);
}

/* Moved and removed from where it was, and the disk has the second, not the first. */
static void
test_source_went_first(void)
{
	static const char *const undo[] = { "cd mail/" USER "/Maildir && rm .A/*/*U=1*",
		"cd mail/" USER "/Maildir && rm .A/*/*U=1* && sed -i '$d' .A/postern-index" };
	struct rig r;
	size_t i;

	for (i = 0; i < PT_COUNT(undo); i++) {
		memset(&r, 0, sizeof r);
		rig_open(&r, RIG_LOCAL);
		rig_must(&r, rig_add(NULL, USER, "INBOX", "one"));
		rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
		rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "B", NULL));
		rig_must(&r, rig_copy(USER, "INBOX", "1", "B", true));
		rig_checkpoint(&r); /* the octets are in the journal no more */
		rig_must(&r, rig_copy(USER, "B", "1", "A", true));
		rig_is(&r, "A", "1 N:one");
		rig_stop(&r);
		rig_shell(&r, undo[i]);
		rig_start(&r);
		rig_is(&r, "A", "1 N:one");
		rig_is(&r, "B", "");
		rig_close(&r);
	}
}

/* Another program moved a file here with the U= that it had elsewhere: a replay must not take it for ours. */
static void
test_misleading_name(void)
{
	struct rig r = { .segments = 0 };

	rig_open(&r, RIG_LOCAL);
	rig_must(&r, rig_add(NULL, USER, "INBOX", "one"));
	rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(&r, rig_add(NULL, USER, "A", "two"));
	rig_must(&r, rig_flags(USER, "A", "1", STORE_FLAGS_ADD, STORE_DELETED));
	rig_settle(&r);
	rig_shell(&r, "cd mail/" USER "/Maildir && mv new/*U=1 .A/cur/");
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "1 T:two 2 :one");
	rig_must(&r, rig_expunge(USER, "A", "1"));
	rig_restart(&r);
	rig_scan(&r, USER, "A");
	rig_is(&r, "A", "2 :one");
	rig_close(&r);
}

/* The folder of INBOX is there as soon as another mailbox is. */
static void
test_inbox_comes_late(void)
{
	struct rig r = { .segments = 0 };

	rig_open(&r, RIG_LOCAL);
	rig_must(&r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(&r, rig_add(NULL, USER, "A", "one"));
	rig_settle(&r);
	rig_is(&r, "INBOX", "");
	rig_must(&r, rig_add(NULL, USER, "INBOX", "two"));
	rig_is(&r, "INBOX", "1 N:two");
	rig_close(&r);
}

static void
do_copy_to_inbox(struct rig *r)
{
	rig_must(r, rig_box(USER, STORE_BOX_CREATE, "A", NULL));
	rig_must(r, rig_add(NULL, USER, "A", "one"));
	rig_must(r, rig_copy(USER, "A", "1", "INBOX", false));
	rig_is(r, "INBOX", "1 N:one");
	CU_ASSERT_EQUAL(rig_commit(r, rig_copy(USER, "A", "1", "B", false)).rc, STORE_NOTFOUND);
	rig_restart(r);
	rig_is(r, "INBOX", "1 N:one");
}

static void
test_copy_to_inbox(void)
{
	rig_each(do_copy_to_inbox);
}

static const struct test_row tests[] = {
	{ "add", test_add },
	{ "flags", test_flags },
	{ "copy and move", test_copy },
	{ "mailboxes", test_boxes },
	{ "names with several owners", test_names },
	{ "keys", test_put },
	{ "the same id again", test_again },
	{ "quota", test_quota },
	{ "a rename of more than are open", test_many },
	{ "failures", test_failures },
	{ "what did not reach the files", test_lost_files },
	{ "links in a mailbox", test_links },
	{ "carried out again, twice", test_replayed_twice },
	{ "a source that went before its copy came", test_source_went_first },
	{ "a name that says another UID", test_misleading_name },
	{ "INBOX after another mailbox", test_inbox_comes_late },
	{ "a copy to INBOX makes it", test_copy_to_inbox },
};

TEST_MAIN("store/mailbox", tests)
