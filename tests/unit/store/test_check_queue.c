/* unit/store/test_check_queue.c - the queue's files, each made wrong in every way: it is found, nothing else is, it is mended only when asked,
 * what is left is delivered, and beside a store that is used nothing is ever found. */
#include "store/local.h"
#include "store/queue_env.h"
#include "store/rig.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATER 4000000000

/* Three messages, two recipients each; of the first one the first recipient has been tried twice. */
static uint64_t
begin(struct rig *r)
{
	uint64_t qid;

	memset(r, 0, sizeof *r);
	r->no_checkpoints = true; /* but those that are asked for */
	rig_open(r, RIG_LOCAL);
	qid = rig_must(r, rig_queue(NULL, "s@example.test", 2, "first\r\n"));
	rig_must(r, rig_queue(NULL, "s@example.test", 2, "second\r\n"));
	rig_must(r, rig_queue(NULL, "s@example.test", 2, "third\r\n"));
	rig_checkpoint(r);
	rig_must(r, rig_outcome(NULL, qid, 0, 1, STORE_RCPT_WAITING, 1, "450 later"));
	rig_checkpoint(r);
	rig_must(r, rig_outcome(NULL, qid, 0, 2, STORE_RCPT_WAITING, LATER, "450 later"));
	rig_checkpoint(r);
	CU_ASSERT_STRING_EQUAL(rig_ask(r, ADMIN_CHECK_STORE, false).kinds, "");
	return qid;
}

/* Done in the queue's folder, $q is the first message's id: with the store running, or before it starts. What is found, how much of it is
 * mended, what is found after another checkpoint, and how many messages are queued then. */
static const struct {
	const char *damage;
	bool before_start;
	const char *found;
	unsigned mended;
	const char *then;
	size_t left;
} rows_of_damage[] = {
	{ "true", false, "", 0, "", 3 },
	{ "true", true, "", 0, "", 3 },
	{ "rm $q.eml", false, "queue-body ", 1, "", 2 },
	{ "rm $q.eml", true, "queue-body ", 1, "", 2 },
	{ "rm $q.eml $q.env", false, "queue-body ", 1, "", 2 },
	{ "mkdir lost && mv $q.eml lost", true, "queue-body ", 1, "", 2 }, /* killed while it repaired */
	{ "printf more >> $q.eml", false, "queue-body ", 1, "", 2 },
	{ "printf more >> $q.eml", true, "queue-body ", 1, "", 2 },
	{ "truncate -s -1 $q.eml", true, "queue-body ", 1, "", 2 },
	{ "rm $q.eml && mkfifo $q.eml", false, "queue-body ", 1, "", 2 },
	{ "rm $q.env", false, "queue-envelope ", 1, "", 3 },
	{ "rm $q.env", true, "queue-orphan ", 1, "", 2 },
	{ ": > $q.env", false, "queue-lines ", 1, "", 3 },
	{ ": > $q.env", true, "queue-envelope ", 1, "", 2 },
	{ "sed -i s/second/x/ $q.env; sed -i 1s/8BIT/7BIT/ $q.env", false, "queue-lines ", 1, "", 3 },
	{ "sed -i 1s/8BIT/7BIT/ $q.env", true, "queue-envelope ", 1, "", 2 },
	{ "sed -i 4s/450/550/ $q.env", false, "queue-lines ", 1, "", 3 },
	{ "sed -i 4s/450/550/ $q.env", true, "queue-lines ", 1, "", 3 },
	{ "printf 'torn' >> $q.env", false, "queue-lines ", 1, "", 3 },
	{ "printf 'torn' >> $q.env", true, "queue-lines ", 1, "", 3 },
	{ "truncate -s -1 $q.env", false, "queue-lines ", 1, "", 3 },
	{ "truncate -s 9M $q.env", false, "queue-lines ", 1, "", 3 },
	{ "cp $q.eml 00000000000000ff.eml", false, "queue-orphan ", 1, "", 3 },
	{ "cp $q.env 00000000000000ff.env", true, "queue-envelope ", 1, "", 3 },
	{ "printf junk > 00000000000000ff.env; cp $q.eml 00000000000000ff.eml", false, "queue-envelope ", 1, "", 3 },
	{ "touch notes; mkdir folder; ln -s x link", false, "stranger stranger stranger ", 0, "stranger stranger stranger ", 3 },
	{ "touch -d yesterday $q.env.new", false, "", 0, "", 3 }, /* its inode is young */
};

static struct rig_told
look(struct rig *r, size_t i, const char *want, bool repair)
{
	struct rig_told t = rig_ask(r, ADMIN_CHECK_STORE, repair);

	CU_ASSERT_EQUAL(t.rc, STORE_OK);
	if (strcmp(t.kinds, want) != 0)
		fprintf(stderr, "\n%s: found <%s>\n", rows_of_damage[i].damage, t.kinds);
	CU_ASSERT_STRING_EQUAL(t.kinds, want);
	return t;
}

static void
test_damage(void)
{
	char command[512];
	uint64_t qid;
	struct rig r;
	size_t i;

	for (i = 0; i < PT_COUNT(rows_of_damage); i++) {
		qid = begin(&r);
		snprintf(command, sizeof command, "cd queue && q=%016llx && { %s; }", (unsigned long long)qid,
			rows_of_damage[i].damage);
		if (rows_of_damage[i].before_start) {
			rig_stop(&r);
			rig_shell(&r, "rm journal/*");
		}
		rig_shell(&r, command);
		if (rows_of_damage[i].before_start)
			rig_start(&r);
		CU_ASSERT_EQUAL(look(&r, i, rows_of_damage[i].found, false).repaired, 0);
		CU_ASSERT_EQUAL(look(&r, i, rows_of_damage[i].found, false).repaired, 0);
		CU_ASSERT_EQUAL(look(&r, i, rows_of_damage[i].found, true).repaired, rows_of_damage[i].mended);
		rig_save(&r);
		(void)look(&r, i, rows_of_damage[i].then, false);
		CU_ASSERT_EQUAL(queue_count(r.queue), rows_of_damage[i].left);
		rig_stop(&r);
		rig_shell(&r, "rm -f journal/*");
		rig_start(&r);
		(void)look(&r, i, rows_of_damage[i].then, false);
		CU_ASSERT_EQUAL(queue_count(r.queue), rows_of_damage[i].left);
		rig_close(&r);
	}
}

/* Nothing is thrown away: what nobody can deliver is there for a person to look at. */
static void
test_aside(void)
{
	char command[512];
	struct rig r;
	uint64_t qid = begin(&r);

	snprintf(command, sizeof command, "printf more >> queue/%016llx.eml", (unsigned long long)qid);
	rig_shell(&r, command);
	CU_ASSERT_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, true).repaired, 1);
	snprintf(command, sizeof command, "cd queue/lost && grep -q more %016llx.eml && grep -q s@example.test %016llx.env",
		(unsigned long long)qid, (unsigned long long)qid);
	rig_shell(&r, command);
	rig_close(&r);
}

/* One that somebody has is left alone; a file that was put there is said to be taken in, and is. */
static void
test_not_now(void)
{
	char command[512];
	uint64_t qids[3];
	struct rig r;
	uint64_t qid = begin(&r);

	snprintf(command, sizeof command, "mv queue/%016llx.* .", (unsigned long long)qid + 1);
	CU_ASSERT_EQUAL(rig_claim(&r, &r, 3, 60, qids, NULL), 3);
	rig_shell(&r, command);
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, false).kinds, "queue-body ");
	CU_ASSERT_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, true).repaired, 0);
	CU_ASSERT_EQUAL(queue_count(r.queue), 3);
	rig_stop(&r);
	rig_shell(&r, "rm journal/*");
	rig_start(&r);
	CU_ASSERT_EQUAL(queue_count(r.queue), 2);
	rig_shell(&r, "mv *.eml *.env queue");
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, true).kinds, "queue-unknown ");
	rig_stop(&r);
	rig_start(&r);
	CU_ASSERT_EQUAL(queue_count(r.queue), 3);
	CU_ASSERT_STRING_EQUAL(rig_ask(&r, ADMIN_CHECK_STORE, false).kinds, "");
	rig_close(&r);
}

/* Messages come, are tried, and go; checkpoints write and remove their files; nothing is found. */
static void
test_meanwhile(void)
{
	struct rig_told t[40];
	uint64_t qids[400];
	unsigned i, asked = 0;
	struct rig r;

	memset(&r, 0, sizeof r);
	rig_open(&r, RIG_LOCAL);
	for (i = 0; i < 400; i++) {
		qids[i] = rig_must(&r, rig_queue(NULL, "s@example.test", 1 + i % 2, "hello\r\n"));
		if (i >= 8)
			rig_must(&r, rig_outcome(NULL, qids[i - 8], 0, 1, i % 3 == 0 ? STORE_RCPT_WAITING : STORE_RCPT_DELIVERED, 1, ""));
		if (i >= 20 && i % 2 == 0)
			rig_must(&r, rig_outcome(NULL, qids[i - 19], 1, 1, STORE_RCPT_FAILED, 0, "no"));
		if (i % 10 == 9)
			rig_ask_start(&r, ADMIN_CHECK_STORE, false, &t[asked++]);
		if (i % 4 == 3)
			rig_save(&r);
	}
	while (asked > 0) {
		rig_wait(&r, &t[--asked].done);
		CU_ASSERT_EQUAL(t[asked].rc, STORE_OK);
		CU_ASSERT_STRING_EQUAL(t[asked].kinds, "");
		CU_ASSERT_EQUAL(t[asked].repaired, 0);
	}
	rig_close(&r);
}

/* --- an .env's octets --------------------------------------------------------------------------------------------- */

static void
open_it(struct span env, uint64_t qid, struct queue_env *out)
{
	struct buf lines;

	buf_init(&lines, QUEUE_ENV_MAX);
	CU_ASSERT_EQUAL_FATAL(queue_env_open(env, qid, &lines, out), 0);
	CU_ASSERT(out->whole <= env.n && out->head <= buf_size(&lines));
	buf_fini(&lines);
}

/* Cut at each octet, and each octet another one. */
static void
test_env(void)
{
	struct queue *q = queue_new();
	struct queue_env look;
	struct span s;
	struct buf env;
	uint8_t *p;
	size_t i;

	CU_ASSERT_EQUAL_FATAL(queue_take(q, span_str("Q 7 900 5 1 s@x p alice sub\nr 7 0 1000 a@x p\nq 7 0 1 w 1500 450\n"), 0, 0), 0);
	buf_init(&env, QUEUE_ENV_MAX);
	CU_ASSERT_EQUAL_FATAL(queue_env_put(queue_find(q, 7), true, &env), 0);
	s = buf_span(&env);
	p = malloc(s.n);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	open_it(s, 7, &look);
	CU_ASSERT(look.whole == s.n && look.passed == 0 && !look.behind && look.head > 0 && look.octets == 5 && look.rcpts == 1);
	open_it(s, 8, &look);
	CU_ASSERT_EQUAL(look.head, 0);
	for (i = 0; i < s.n; i++) {
		open_it((struct span){ s.p, i }, 7, &look);
		CU_ASSERT_EQUAL(look.passed, i > look.whole);
		memcpy(p, s.p, s.n);
		p[i] ^= 0x20;
		open_it((struct span){ p, s.n }, 7, &look);
		CU_ASSERT(look.passed > 0 && look.whole <= i);
	}
	free(p);
	buf_fini(&env);
	queue_free(&q);
}

static const struct test_row rows[] = {
	{ "each damage", test_damage },
	{ "what is moved", test_aside },
	{ "what is not", test_not_now },
	{ "while it is used", test_meanwhile },
	{ "an envelope", test_env },
};

TEST_MAIN("store/check_queue", rows)
