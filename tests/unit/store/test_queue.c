/* unit/store/test_queue.c - the queue: the table alone and its files' text, then through both engines, checkpoints, restarts and
 * lost files. */
#include "store/queue.h"

#include "store/rig.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW 1000000

/* --- the table ---------------------------------------------------------------------------------------------------- */

static void
take(struct queue *q, const char *text)
{
	CU_ASSERT_EQUAL_FATAL(queue_take(q, span_str(text), 3, 1000), 0);
}

/* "qid due:0d1/2w3@50 body" of one message: recipients' number, state, attempts, time. */
static const char *
dump(const struct queue *q, uint64_t qid)
{
	static char out[512];
	const struct queue_entry *e = queue_find(q, qid);
	size_t n = 0;
	uint32_t i;

	if (e == NULL)
		return "none";
	out[0] = '\0';
	for (i = 0; i < e->nrcpts; i++)
		n += (size_t)snprintf(out + n, sizeof out - n, "%s%u%c%u@%lld:%s", i > 0 ? " " : "", i,
			queue_state_letter(e->rcpts[i].state), e->rcpts[i].attempts, (long long)e->rcpts[i].next,
			e->rcpts[i].reply);
	return out;
}

#define TWO "I 10 5\nQ 7 900 5 2 s@x RET=FULL%20X alice sub\nr 7 0 1000 a@x P%20Q\nr 7 1 2000 b@x \n"

static void
test_lines(void)
{
	struct queue *q = queue_new();
	const struct queue_entry *e;

	take(q, "T 00\nB u INBOX id\n" TWO "X\n");
	e = queue_find(q, 7);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_STRING_EQUAL(e->sender, "s@x");
	CU_ASSERT_STRING_EQUAL(e->params, "RET=FULL X");
	CU_ASSERT_STRING_EQUAL(e->identity, "alice");
	CU_ASSERT_STRING_EQUAL(e->service, "sub");
	CU_ASSERT_STRING_EQUAL(e->rcpts[0].params, "P Q");
	CU_ASSERT_EQUAL(e->body.in, QUEUE_IN_JOURNAL);
	CU_ASSERT_EQUAL(e->body.segment, 3);
	CU_ASSERT_EQUAL(e->body.off, 1010);
	CU_ASSERT_STRING_EQUAL(dump(q, 7), "0w0@1000: 1w0@2000:");
	take(q, "q 7 0 1 w 1500 450%20later\n");
	take(q, "q 7 0 1 f 0 again\n"); /* the first word about an attempt stands */
	CU_ASSERT_STRING_EQUAL(dump(q, 7), "0w1@1500:450 later 1w0@2000:");
	take(q, "q 7 0 1 d 0 but%20a%20delivery%20is%20true\n");
	CU_ASSERT_STRING_EQUAL(dump(q, 7), "0d1@0:but a delivery is true 1w0@2000:");
	take(q, "q 7 0 2 w 9 no\n"); /* what is done stays so */
	take(q, "Z 7\n");            /* what is not done is not removed, whatever is said */
	CU_ASSERT_STRING_EQUAL(dump(q, 7), "0d1@0:but a delivery is true 1w0@2000:");
	take(q, "q 7 1 5 x 0 \nZ 7\n");
	CU_ASSERT_STRING_EQUAL(dump(q, 7), "none");
	take(q, "q 7 1 6 x 0 \n"); /* of one that is done */
	CU_ASSERT_EQUAL(queue_count(q), 0);
	CU_ASSERT(queue_id(q, 0) == 8);
	CU_ASSERT(queue_id(q, 1) == 1u << 20);
	queue_free(&q);
}

/* Lines that cannot be: nothing of them is taken, and nothing is left behind. */
static void
test_bad_lines(void)
{
	static const char *const bad[] = { "Q 7 900 5 0 s x y z\n", "Q 7 900 5 1001 s x y z\n", "Q 7 900 5 1 s x y z\n",
		"Q 7 900 5 1 s x y z\nr 8 0 1 a p\n", "Q 7 900 5 1 s x y z\nr 7 1 1 a p\n", "r 7 0 1 a p\n",
		"Q 7 900 5 1 %zz x y z\nr 7 0 1 a p\n", "Q 7 900 5 2 s x y z\nr 7 0 1 a p\nQ 8 1 1 1 s x y z\n",
		"Q 7 900 5 1 s x y\n", "q 9 0 1 w 1\n", "q 9 0 1 z 1 r\n", "q 9 0 0 d 1 r\n", "q 9 0 99999999999 w 1 r\n", "Z x\n", "Q 7" };
	struct queue *q = queue_new();
	char long_line[2048];
	size_t i;

	take(q, "Q 9 900 5 1 s x y z\nr 9 0 1 a p\n");
	for (i = 0; i < PT_COUNT(bad); i++)
		CU_ASSERT_EQUAL(queue_take(q, span_str(bad[i]), 0, 0), PT_EPROTO);
	CU_ASSERT_EQUAL(queue_take(q, span_str("q 9 1 1 w 1 r\n"), 0, 0), PT_EPROTO); /* no such recipient */
	snprintf(long_line, sizeof long_line, "Q 7 9 5 1 %0*d x y z\nr 7 0 1 a p\n", STORE_ADDRESS_MAX, 0);
	take(q, long_line);
	snprintf(long_line, sizeof long_line, "Q 8 9 5 1 %0*d x y z\nr 8 0 1 a p\n", STORE_ADDRESS_MAX + 1, 0);
	CU_ASSERT_EQUAL(queue_take(q, span_str(long_line), 0, 0), PT_EPROTO);
	CU_ASSERT_EQUAL(queue_count(q), 2);
	queue_free(&q);
}

static void
test_limits(void)
{
	char text[STORE_PARAMS_MAX + 1];

	memset(text, 'a', sizeof text);
	CU_ASSERT_TRUE(queue_address_ok((struct span){ (uint8_t *)text, STORE_ADDRESS_MAX }));
	CU_ASSERT_FALSE(queue_address_ok((struct span){ (uint8_t *)text, STORE_ADDRESS_MAX + 1 }));
	CU_ASSERT_TRUE(queue_service_ok((struct span){ (uint8_t *)text, STORE_SERVICE_MAX }));
	CU_ASSERT_FALSE(queue_service_ok((struct span){ (uint8_t *)text, STORE_SERVICE_MAX + 1 }));
	CU_ASSERT_TRUE(queue_text_ok((struct span){ (uint8_t *)text, STORE_PARAMS_MAX }, STORE_PARAMS_MAX));
	CU_ASSERT_FALSE(queue_text_ok((struct span){ (uint8_t *)text, STORE_PARAMS_MAX + 1 }, STORE_PARAMS_MAX));
	CU_ASSERT_TRUE(queue_address_ok(span_str("")));
	CU_ASSERT_FALSE(queue_address_ok(span_str("a\r\nb")));
	CU_ASSERT_FALSE(queue_text_ok((struct span){ (const uint8_t *)"\0", 1 }, 10));
	CU_ASSERT_TRUE(queue_text_ok(span_str("\r\n\t%"), 10));
}

/* All lines of a message, as a checkpoint would write them. */
static struct buf
env_of(struct queue *q)
{
	struct buf text;
	bool all;

	buf_init(&text, QUEUE_ENV_MAX);
	queue_save_begin(q);
	CU_ASSERT_PTR_NOT_NULL_FATAL(queue_save_next(q, &text, &all));
	return text;
}

/* An .env, cut at every octet, with something else behind it or not: what is whole of it counts, and without all recipients it
 * is none. */
static void
test_cut(void)
{
	struct queue *q = queue_new(), *other;
	struct buf env, more;
	struct span s;
	uint8_t text[2048];
	size_t n, taken, head, last = 0;
	bool all;
	int rc, junk;

	take(q, TWO "q 7 0 1 w 1500 450%20later\n");
	env = env_of(q);
	queue_saved(q, 7, true, true, buf_size(&env));
	take(q, "q 7 1 1 w 2500 451\nq 7 0 2 d 0 ok\n");
	buf_init(&more, QUEUE_ENV_MAX);
	queue_save_begin(q);
	CU_ASSERT_PTR_NOT_NULL_FATAL(queue_save_next(q, &more, &all));
	CU_ASSERT_FALSE(all);
	head = buf_size(&env);
	s = buf_span(&more);
	CU_ASSERT_EQUAL_FATAL(buf_append(&env, s.p, s.n), 0);
	s = buf_span(&env);
	CU_ASSERT_FATAL(s.n + 20 < sizeof text);
	for (n = 0; n <= s.n; n++)
		for (junk = 0; junk < 3; junk++) {
			memcpy(text, s.p, n);
			memset(text + n, junk == 1 ? '\0' : '\n', 20);
			CU_ASSERT_PTR_NOT_NULL_FATAL(other = queue_new());
			rc = queue_load(other, 7, (struct span){ text, n + (junk > 0 ? 20 : 0) }, &taken);
			CU_ASSERT(rc == 0 || rc == PT_EPROTO);
			CU_ASSERT(taken <= n + (junk == 2)); /* a line without its end, which that was */
			if (rc != 0) {
				CU_ASSERT(n < head);
				CU_ASSERT_EQUAL(queue_count(other), 0);
			} else if (n == s.n) {
				CU_ASSERT_EQUAL(taken, n);
				CU_ASSERT_STRING_EQUAL(dump(other, 7), "0d2@0:ok 1w1@2500:451");
			} else {
				CU_ASSERT(taken >= last || junk > 0);
				CU_ASSERT_EQUAL(queue_find(other, 7)->env_octets, taken);
			}
			last = taken;
			queue_free(&other);
		}
	/* under another name it is not that message */
	other = queue_new();
	CU_ASSERT_EQUAL(queue_load(other, 8, s, &taken), PT_EPROTO);
	CU_ASSERT_EQUAL(queue_load(other, 7, s, &taken), 0);
	CU_ASSERT_EQUAL(queue_load(other, 7, s, &taken), PT_EPROTO); /* there already */
	CU_ASSERT_FALSE(queue_dirty(other));
	/* the journal behind it: older lines change nothing, newer ones do, and its message is the journal's */
	queue_replaying(other, true);
	take(other, TWO "q 7 0 1 w 1500 450%20later\nq 7 1 1 w 2500 451\n");
	CU_ASSERT_STRING_EQUAL(dump(other, 7), "0d2@0:ok 1w1@2500:451");
	CU_ASSERT_EQUAL(queue_find(other, 7)->body.in, QUEUE_IN_JOURNAL);
	take(other, "q 7 1 2 f 0 no\nZ 7\nZ 6\n");
	queue_replaying(other, false);
	CU_ASSERT_EQUAL(queue_count(other), 0);
	CU_ASSERT_TRUE(queue_replayed_gone(other, 7));
	CU_ASSERT_TRUE(queue_replayed_gone(other, 6));
	CU_ASSERT_FALSE(queue_replayed_gone(other, 5));
	queue_free(&other);
	buf_fini(&env);
	buf_fini(&more);
	queue_free(&q);
}

/* One octet of an .env is another one: what is behind it does not count. */
static void
test_flipped(void)
{
	struct queue *q = queue_new(), *other;
	struct buf env;
	struct span s;
	uint8_t text[2048];
	size_t i, taken;

	take(q, TWO "q 7 0 1 w 1500 450%20later\n");
	env = env_of(q);
	s = buf_span(&env);
	for (i = 0; i < s.n; i++) {
		memcpy(text, s.p, s.n);
		text[i] ^= 0x15;
		CU_ASSERT_PTR_NOT_NULL_FATAL(other = queue_new());
		if (queue_load(other, 7, (struct span){ text, s.n }, &taken) == 0)
			CU_ASSERT_STRING_EQUAL(dump(other, 7), "0w0@0: 1w0@2000:");
		CU_ASSERT(taken <= i);
		queue_free(&other);
	}
	buf_fini(&env);
	queue_free(&q);
}

static uint32_t state;

static uint32_t
rnd(uint32_t n)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % n;
}

#define MESSAGES 40

struct plain {
	bool there;
	int64_t next[2];
	bool done[2];
	const void *holder;
	uint64_t until;
	unsigned pins;
};

/* The model: the earliest time of a message that may be claimed; -1: none. */
static int64_t
plain_due(const struct plain *m)
{
	int64_t due = INT64_MAX;
	unsigned i, k;

	for (i = 0; i < MESSAGES; i++)
		for (k = 0; k < 2; k++)
			if (m[i].there && !m[i].done[k] && m[i].until == 0 && m[i].pins == 0 && m[i].next[k] < due)
				due = m[i].next[k];
	return due;
}

/* Both heaps against arrays. */
static void
test_heaps(void)
{
	static const char holders[3];
	struct plain m[MESSAGES];
	struct queue *q = queue_new();
	struct queue_entry *e;
	char text[256];
	int64_t now = NOW;
	uint64_t ms = 1000;
	uint32_t attempt = 1, i, k;
	int step;

	memset(m, 0, sizeof m);
	state = 4711;
	for (step = 0; step < 20000; step++) {
		i = rnd(MESSAGES);
		k = rnd(2);
		e = queue_find(q, i + 1);
		CU_ASSERT_EQUAL_FATAL(e != NULL, m[i].there);
		switch (rnd(8)) {
		case 0:
			if (e != NULL)
				break;
			m[i] = (struct plain){ .there = true, .next = { now + rnd(50), now + rnd(50) } };
			snprintf(text, sizeof text, "I 0 0\nQ %u 1 0 2 s p i s\nr %u 0 %lld a p\nr %u 1 %lld b p\n", i + 1,
				i + 1, (long long)m[i].next[0], i + 1, (long long)m[i].next[1]);
			take(q, text);
			break;
		case 1:
			if (e == NULL || m[i].done[k])
				break;
			m[i].done[k] = rnd(2);
			m[i].next[k] = now + rnd(100);
			snprintf(text, sizeof text, "q %u %u %u %c %lld r\n", i + 1, k, attempt++, m[i].done[k] ? 'd' : 'w',
				(long long)m[i].next[k]);
			if (m[i].done[0] && m[i].done[1])
				m[i].there = false;
			take(q, text);
			break;
		case 2:
			e = queue_claim(q, now, &holders[i % 3], ms + 1 + rnd(30));
			CU_ASSERT_EQUAL_FATAL(e != NULL, plain_due(m) <= now);
			if (e != NULL) {
				i = (uint32_t)e->qid - 1;
				CU_ASSERT_FATAL(m[i].until == 0 && m[i].pins == 0);
				m[i].until = e->until_ms;
				m[i].holder = e->holder;
			}
			break;
		case 3:
			if (e == NULL)
				break;
			k = rnd(4);
			CU_ASSERT_EQUAL(queue_hold(q, e, &holders[i % 3], k == 0 ? 0 : ms + 10 * k),
				k == 0 ? m[i].holder == &holders[i % 3] : m[i].holder == NULL || m[i].holder == &holders[i % 3]);
			m[i].until = e->until_ms;
			m[i].holder = e->holder;
			break;
		case 4:
			if (e != NULL && m[i].pins == 0) {
				queue_pin(q, e);
				m[i].pins++;
			} else {
				queue_unpin(q, i + 1);
				m[i].pins = 0;
			}
			break;
		case 5:
			if (rnd(20) != 0)
				break;
			queue_release(q, &holders[0]);
			for (i = 0; i < MESSAGES; i++)
				if (m[i].holder == &holders[0] && m[i].until != 0) {
					m[i].holder = NULL;
					m[i].until = 0;
				}
			break;
		default:
			now += rnd(5);
			ms += rnd(5);
			queue_tick(q, ms);
			for (i = 0; i < MESSAGES; i++)
				if (m[i].until != 0 && m[i].until <= ms) {
					m[i].until = 0;
					m[i].holder = NULL;
				}
		}
		CU_ASSERT_EQUAL_FATAL(queue_due_next(q), plain_due(m));
	}
	queue_free(&q);
}

/* An .env that grew long is written anew, and no shorter one is. */
static void
test_anew(void)
{
	struct queue *q = queue_new();
	char line[64];
	struct buf text;
	uint64_t octets = 0;
	unsigned i, anew = 0;
	bool all;

	take(q, "I 0 0\nQ 7 900 5 1 s@x p i s\nr 7 0 1000 a@x p\n");
	for (i = 1; i < 4000; i++) {
		snprintf(line, sizeof line, "q 7 0 %u w 1 come%%20back%%20later\n", i);
		take(q, line);
		text = env_of(q);
		buf_fini(&text);
		buf_init(&text, QUEUE_ENV_MAX);
		CU_ASSERT_PTR_NULL(queue_save_next(q, &text, &all));
		octets += 60;
		queue_saved(q, 7, true, i == 1, octets);
		if (queue_find(q, 7)->anew) {
			anew++;
			octets = 300;
			queue_saved(q, 7, true, true, octets);
		}
	}
	CU_ASSERT(anew >= 2 && anew <= 5);
	queue_free(&q);
}

/* --- through an engine --------------------------------------------------------------------------------------------- */

static uint64_t
queue_one(struct rig *r, unsigned nrcpts, const char *body)
{
	struct rig_reply p = rig_commit(r, rig_queue(NULL, "s@example.test", nrcpts, body));

	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	CU_ASSERT(p.id != 0);
	return p.id;
}

static enum store_rc
outcome(struct rig *r, uint64_t qid, uint32_t rcpt, uint32_t attempt, enum store_rcpt_state s, int64_t next)
{
	return rig_commit(r, rig_outcome(NULL, qid, rcpt, attempt, s, next, "250 2.0.0 thanks")).rc;
}

static void
restart(struct rig *r)
{
	rig_restart(r);
	if (r->kind != RIG_MEMORY)
		rig_ahead_ms += 6000; /* nobody comes back */
	rig_settle(r);
}

static bool
has(struct rig *r, const char *test)
{
	char command[256];

	snprintf(command, sizeof command, "cd %s && { %s; } >/dev/null", r->dir, test);
	return system(command) == 0;
}

static void
do_life(struct rig *r)
{
	char me[1], bodies[4][64];
	uint64_t a, b, got[4];

	rig_clock = NOW;
	a = queue_one(r, 2, "one\r\n");
	b = queue_one(r, 1, "two\r\n");
	CU_ASSERT(b > a);
	CU_ASSERT_EQUAL(rig_claim(r, me, 4, 60, got, bodies), 2);
	CU_ASSERT_STRING_EQUAL(bodies[got[0] == a ? 0 : 1], "one\r\n");
	CU_ASSERT_STRING_EQUAL(bodies[got[0] == a ? 1 : 0], "two\r\n");
	CU_ASSERT_EQUAL(rig_claim(r, me, 4, 60, got, bodies), 0);
	CU_ASSERT_EQUAL(outcome(r, a, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	CU_ASSERT_EQUAL(outcome(r, a, 1, 1, STORE_RCPT_WAITING, NOW + 300), STORE_OK);
	CU_ASSERT_EQUAL(outcome(r, a, 1, 3, STORE_RCPT_WAITING, NOW + 300), STORE_INVALID); /* one was left out */
	CU_ASSERT_EQUAL(outcome(r, a, 1, 0, STORE_RCPT_WAITING, NOW + 300), STORE_INVALID);
	CU_ASSERT_EQUAL(outcome(r, a, 2, 1, STORE_RCPT_WAITING, NOW + 300), STORE_INVALID);
	CU_ASSERT_EQUAL(outcome(r, b + 1, 0, 1, STORE_RCPT_FAILED, 0), STORE_NOTFOUND);
	CU_ASSERT_EQUAL(outcome(r, b, 0, 1, STORE_RCPT_FAILED, 0), STORE_OK);
	CU_ASSERT_EQUAL(outcome(r, b, 0, 1, STORE_RCPT_FAILED, 0), STORE_NOTFOUND); /* done */
	CU_ASSERT_STRING_EQUAL(dump(r->queue, a), "0d1@0:250 2.0.0 thanks 1w1@1000300:250 2.0.0 thanks");
	mb_hold(r->mbs, me, a, 0);
	CU_ASSERT_EQUAL(rig_claim(r, me, 4, 60, got, bodies), 0);
	rig_clock = NOW + 300;
	CU_ASSERT_TRUE(mb_due(r->mbs));
	restart(r);
	rig_settle(r);
	CU_ASSERT_EQUAL(queue_count(r->queue), 1);
	CU_ASSERT_STRING_EQUAL(dump(r->queue, a), "0d1@0:250 2.0.0 thanks 1w1@1000300:250 2.0.0 thanks");
	CU_ASSERT_EQUAL(rig_claim(r, me, 4, 60, got, bodies), 1);
	CU_ASSERT_STRING_EQUAL(bodies[0], "one\r\n");
	/* again, and it is still said once */
	CU_ASSERT_EQUAL(outcome(r, a, 1, 1, STORE_RCPT_EXPIRED, 0), STORE_OK);
	CU_ASSERT_EQUAL(queue_count(r->queue), 1);
	CU_ASSERT_EQUAL(outcome(r, a, 1, 2, STORE_RCPT_EXPIRED, 0), STORE_OK);
	CU_ASSERT_EQUAL(queue_count(r->queue), 0);
	restart(r);
	CU_ASSERT_EQUAL(queue_count(r->queue), 0);
	rig_clock = 0;
}

/* Both last recipients in one batch, and one that the engine refuses. */
static void
do_refused(struct rig *r)
{
	struct mb_txn *t;
	uint64_t a = queue_one(r, 2, "x");

	if (r->kind == RIG_MEMORY) {
		memory_inject(r->be, MEMORY_COMMIT, STORE_TEMP, 1);
		CU_ASSERT_EQUAL(rig_commit(r, rig_queue(NULL, "s", 1, "y")).rc, STORE_TEMP);
		memory_inject(r->be, MEMORY_COMMIT, STORE_TEMP, 1);
		CU_ASSERT_EQUAL(outcome(r, a, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_TEMP);
		CU_ASSERT_EQUAL(queue_count(r->queue), 1);
		CU_ASSERT_TRUE(mb_due(r->mbs)); /* not pinned for ever */
	}
	t = rig_outcome(NULL, a, 0, 1, STORE_RCPT_DELIVERED, 0, "");
	t = rig_outcome(t, a, 1, 1, STORE_RCPT_FAILED, 0, "");
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OK);
	CU_ASSERT_EQUAL(queue_count(r->queue), 0);
	t = mb_txn_new();
	CU_ASSERT_EQUAL(rig_commit(r, rig_queue(t, "", 0, "nobody")).rc, STORE_INVALID);
	a = queue_one(r, STORE_RCPTS_MAX, "many");
	CU_ASSERT_EQUAL(queue_find(r->queue, a)->nrcpts, STORE_RCPTS_MAX);
	restart(r);
	CU_ASSERT_EQUAL(queue_find(r->queue, a)->nrcpts, STORE_RCPTS_MAX);
}

/* In one transaction with a message for a mailbox: a copy here, the rest elsewhere; and asked again, one id. */
static void
do_mixed(struct rig *r)
{
	struct rig_reply p[3];
	struct mb_txn *t;
	int i;

	for (i = 0; i < 3; i++) {
		t = rig_add(NULL, "alice@example.test", "INBOX", "here");
		t = rig_queue(t, "alice@example.test", 1, "there");
		t = rig_add(t, "alice@example.test", "INBOX", "and here");
		strcpy(t->id, "aabbccddeeff00112233445566778899");
		p[i] = rig_commit(r, t);
		CU_ASSERT_EQUAL(p[i].rc, STORE_OK);
		CU_ASSERT_EQUAL(p[i].id, p[0].id);
		if (i == 1)
			restart(r);
	}
	CU_ASSERT_STRING_EQUAL(rig_dump(r, "alice@example.test", "INBOX"), "1 N:here 2 N:and here");
	CU_ASSERT_EQUAL(queue_count(r->queue), 1);
	CU_ASSERT_PTR_NOT_NULL(queue_find(r->queue, p[0].id));
}

/* Leases: by time, by the holder's end, and after a start those of the last process first. */
static void
do_leases(struct rig *r)
{
	char me[1], you[1];
	uint64_t got[4], a = queue_one(r, 1, "x");

	CU_ASSERT_EQUAL(rig_claim(r, me, 1, 60, got, NULL), 1);
	CU_ASSERT_EQUAL(got[0], a);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 0);
	mb_hold(r->mbs, you, a, 0); /* not his to give back */
	mb_hold(r->mbs, you, a, 600);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 0);
	rig_ahead_ms += 59000;
	mb_hold(r->mbs, me, a, 60);
	rig_ahead_ms += 59000;
	rig_settle(r);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 0);
	rig_ahead_ms += 2000;
	rig_settle(r);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 1);
	mb_unclaim(r->mbs, you);
	CU_ASSERT_EQUAL(rig_claim(r, me, 1, 60, got, NULL), 1);
	mb_unclaim(r->mbs, you);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 0);
	if (r->kind == RIG_MEMORY)
		return;
	rig_restart(r);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 0);
	mb_hold(r->mbs, me, a, 60); /* who had it is back */
	rig_ahead_ms += 10000;
	rig_settle(r);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 0);
	rig_ahead_ms += 60000;
	rig_settle(r);
	CU_ASSERT_EQUAL(rig_claim(r, you, 1, 60, got, NULL), 1);
}

static void
test_life(void)
{
	rig_each(do_life);
}

static void
test_refused(void)
{
	rig_each(do_refused);
}

static void
test_mixed(void)
{
	rig_each(do_mixed);
}

static void
test_leases(void)
{
	rig_each(do_leases);
}

/* --- files --------------------------------------------------------------------------------------------------------- */

static void
begin(struct rig *r)
{
	memset(r, 0, sizeof *r);
	r->no_checkpoints = true; /* but those that are asked for */
	rig_open(r, RIG_LOCAL);
}

static const char *
body_of(struct rig *r, uint64_t qid)
{
	static char bodies[16][64];
	static char me[1];
	uint64_t got[16];
	unsigned i, n = rig_claim(r, me, 16, 60, got, bodies);

	mb_unclaim(r->mbs, me);
	for (i = 0; i < n; i++)
		if (got[i] == qid)
			return bodies[i];
	return "none";
}

/* What is done before a checkpoint never becomes a file; what is not does, and loses it when it is done. */
static void
test_files(void)
{
	struct rig r;
	uint64_t a, b, c;

	begin(&r);
	a = queue_one(&r, 2, "one\r\n");
	b = queue_one(&r, 1, "two\r\n");
	CU_ASSERT_EQUAL(outcome(&r, b, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	CU_ASSERT_TRUE(has(&r, "test -z \"$(ls -I 'fresh-*' queue)\""));
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 2 && printf 'one\\r\\n' | cmp - queue/*.eml"));
	CU_ASSERT_TRUE(has(&r, "grep -q '^r [0-9]* 1 [0-9]* r1@example.test NOTIFY=NEVER%20ORCPT=rfc822;1 ~' queue/*.env"));
	CU_ASSERT_STRING_EQUAL(body_of(&r, a), "one\r\n");
	CU_ASSERT_EQUAL(outcome(&r, a, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 2 && grep -c ' d 0 250%20' queue/*.env | grep -qx 1"));
	c = queue_one(&r, 1, "three\r\n");
	restart(&r);
	CU_ASSERT_STRING_EQUAL(body_of(&r, a), "one\r\n");
	CU_ASSERT_STRING_EQUAL(body_of(&r, c), "three\r\n");
	CU_ASSERT_EQUAL(outcome(&r, a, 1, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 2 && printf 'three\\r\\n' | cmp - queue/*.eml"));
	CU_ASSERT_EQUAL(outcome(&r, c, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test -z \"$(ls -I 'fresh-*' queue)\""));
	rig_close(&r);
}

/* The journal is gone, as it is when a checkpoint had all of it: files alone. */
static void
test_files_alone(void)
{
	struct rig r;
	uint64_t a, b;

	begin(&r);
	a = queue_one(&r, 2, "one\r\n");
	rig_checkpoint(&r);
	CU_ASSERT_EQUAL(outcome(&r, a, 1, 1, STORE_RCPT_WAITING, 5), STORE_OK);
	rig_checkpoint(&r);
	rig_stop(&r);
	rig_shell(&r, "rm journal/*.pj");
	rig_start(&r);
	CU_ASSERT_STRING_EQUAL(dump(r.queue, a) + 3, strchr(dump(r.queue, a), '@'));
	CU_ASSERT_PTR_NOT_NULL(strstr(dump(r.queue, a), "1w1@5:250 2.0.0 thanks"));
	rig_ahead_ms += 6000;
	rig_settle(&r);
	CU_ASSERT_STRING_EQUAL(body_of(&r, a), "one\r\n");
	b = queue_one(&r, 1, "two\r\n");
	CU_ASSERT(b > a);
	CU_ASSERT_EQUAL(outcome(&r, a, 0, 1, STORE_RCPT_FAILED, 0), STORE_OK);
	CU_ASSERT_EQUAL(outcome(&r, a, 1, 2, STORE_RCPT_FAILED, 0), STORE_OK);
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 2"));
	rig_close(&r);
}

/* Whatever of the files is lost or torn, the journal has it; and the same journal twice is as once. */
static void
test_files_lost(void)
{
	static const char *const losses[] = { "true", "rm queue/*.env", "rm queue/*.eml", "rm queue/*",
		"for f in queue/*; do : >$f; done", "for f in queue/*; do echo junk >>$f; done",
		"for f in queue/*.env; do head -c 30 $f >x; mv x $f; done",
		"for f in queue/*.env; do head -c -3 $f >x; mv x $f; done",
		"for f in queue/*; do dd if=/dev/zero of=$f bs=1 count=4 conv=notrunc 2>/dev/null; done",
		"for f in queue/*; do cp $f $f.new; done" };
	struct rig r;
	uint64_t a, b, c;
	size_t i;

	for (i = 0; i < PT_COUNT(losses); i++) {
		begin(&r);
		a = queue_one(&r, 2, "one\r\n");
		b = queue_one(&r, 1, "two\r\n");
		CU_ASSERT_EQUAL(outcome(&r, a, 0, 1, STORE_RCPT_WAITING, 5), STORE_OK);
		rig_save(&r);
		c = queue_one(&r, 1, "three\r\n");
		CU_ASSERT_EQUAL(outcome(&r, a, 0, 2, STORE_RCPT_DELIVERED, 0), STORE_OK);
		CU_ASSERT_EQUAL(outcome(&r, b, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
		rig_stop(&r);
		rig_shell(&r, losses[i]);
		rig_start(&r);
		restart(&r);
		rig_settle(&r);
		CU_ASSERT_EQUAL(queue_count(r.queue), 2);
		CU_ASSERT_PTR_NOT_NULL(strstr(dump(r.queue, a), "0d2@0:250 2.0.0 thanks 1w0@"));
		CU_ASSERT_STRING_EQUAL(body_of(&r, a), "one\r\n");
		CU_ASSERT_STRING_EQUAL(body_of(&r, c), "three\r\n");
		rig_checkpoint(&r);
		CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 4")); /* b's are gone */
		rig_stop(&r);
		rig_shell(&r, "rm journal/*.pj");
		rig_start(&r);
		rig_ahead_ms += 6000;
		rig_settle(&r);
		CU_ASSERT_PTR_NOT_NULL(strstr(dump(r.queue, a), "0d2@0:250 2.0.0 thanks 1w0@"));
		CU_ASSERT_STRING_EQUAL(body_of(&r, a), "one\r\n");
		rig_close(&r);
	}
}

/* What was removed while the server was stopped does not come back, though the journal has not yet forgotten it. */
static void
test_files_removed(void)
{
	struct rig r;
	uint64_t a;

	begin(&r);
	queue_one(&r, 1, "one\r\n");
	rig_checkpoint(&r);
	a = queue_one(&r, 1, "two\r\n");
	rig_stop(&r);
	rig_shell(&r, "rm queue/*");
	rig_start(&r);
	rig_ahead_ms += 6000;
	rig_settle(&r);
	CU_ASSERT_EQUAL(queue_count(r.queue), 1);
	CU_ASSERT_STRING_EQUAL(body_of(&r, a), "two\r\n");
	rig_close(&r);
}

/* An end in good order: all is in files, and nothing is carried out again. */
static void
test_files_tidy(void)
{
	struct rig r = { .no_checkpoints = true, .tidy = true };
	uint64_t a;

	rig_open(&r, RIG_LOCAL);
	a = queue_one(&r, 2, "one\r\n");
	CU_ASSERT_EQUAL(outcome(&r, a, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	rig_stop(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 2"));
	rig_shell(&r, "rm journal/*.pj");
	rig_start(&r);
	CU_ASSERT_PTR_NOT_NULL(strstr(dump(r.queue, a), "0d1@0:250 2.0.0 thanks 1w0@"));
	CU_ASSERT_EQUAL(outcome(&r, a, 1, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	rig_stop(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 0"));
	rig_start(&r);
	rig_close(&r);
}

/* Who has no place for what is queued does not get the journal: it would be forgotten with it. */
static void
test_no_queue(void)
{
	struct rig r;
	struct store_backend *be;
	struct diag diag = { "" };
	uint64_t a;

	begin(&r);
	a = queue_one(&r, 1, "one\r\n");
	rig_stop(&r);
	{
		struct local_conf lc = { .journal_fd = r.journal_fd, .kv_fd = r.kv_fd, .mail_fd = r.mail_fd,
			.host = "test.example", .segments = 4, .segment_octets = 256 * 1024 };

		CU_ASSERT_EQUAL(local_open(&lc, NULL, NULL, NULL, &be, &diag), PT_EINVAL);
	}
	rig_start(&r);
	CU_ASSERT_PTR_NOT_NULL(queue_find(r.queue, a));
	rig_close(&r);
}

/* Beyond what the journal has: what is lost is lost, is said, and takes nobody else with it. Nothing is removed that somebody might
 * still want. */
static void
test_files_damaged(void)
{
	struct rig r;
	char command[128];
	uint64_t a, b, c, d;

	begin(&r);
	a = queue_one(&r, 1, "one\r\n");
	b = queue_one(&r, 1, "two\r\n");
	c = queue_one(&r, 1, "three\r\n");
	d = queue_one(&r, 1, "four\r\n");
	rig_checkpoint(&r);
	rig_stop(&r);
	snprintf(command, sizeof command, "rm journal/*.pj queue/%016llx.env queue/%016llx.eml", (unsigned long long)a,
		(unsigned long long)b);
	rig_shell(&r, command);
	snprintf(command, sizeof command, "echo junk >queue/%016llx.env; echo x >queue/README", (unsigned long long)c);
	rig_shell(&r, command);
	rig_start(&r);
	rig_ahead_ms += 6000;
	rig_settle(&r);
	CU_ASSERT_EQUAL(queue_count(r.queue), 2); /* b is known, and never due */
	CU_ASSERT_STRING_EQUAL(body_of(&r, d), "four\r\n");
	CU_ASSERT_STRING_EQUAL(body_of(&r, b), "none");
	CU_ASSERT_EQUAL(outcome(&r, d, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue/*.eml | wc -l) = 2 && test $(ls -I 'fresh-*' queue/*.env | wc -l) = 2"));
	CU_ASSERT_FALSE(mb_due(r.mbs));
	rig_close(&r);
}

/* A folder that cannot be written: the journal keeps all, and it is tried again. */
static void
test_files_refused(void)
{
	struct rig r;
	char command[128];
	uint64_t a;

	begin(&r);
	a = queue_one(&r, 1, "one\r\n");
	snprintf(command, sizeof command, "mkdir queue/%016llx.eml && touch queue/%016llx.eml/x", (unsigned long long)a,
		(unsigned long long)a);
	rig_shell(&r, command);
	rig_checkpoint(&r);
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 1"));
	CU_ASSERT_TRUE(queue_dirty(r.queue));
	rig_shell(&r, "rm -r queue/*");
	rig_checkpoint(&r);
	CU_ASSERT_FALSE(queue_dirty(r.queue));
	CU_ASSERT_TRUE(has(&r, "test $(ls -I 'fresh-*' queue | wc -l) = 2"));
	rig_close(&r);
}

/* Torn records: the journal's end with a message or an outcome in it, cut at every eighth octet: all of the record or nothing. */
static void
test_torn(void)
{
	struct rig r;
	char command[256];
	uint64_t a;
	unsigned cut, kept[2] = { 0, 0 };

	for (cut = 1; cut < 640; cut += 8) {
		begin(&r);
		a = queue_one(&r, 2, "one\r\n");
		CU_ASSERT_EQUAL(outcome(&r, a, 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
		queue_one(&r, 1, "two\r\n");
		rig_stop(&r);
		/* the last octets that are not zero, minus cut */
		snprintf(command, sizeof command, "f=$(ls journal/0*.pj | tail -1); n=$(tr -d '\\000' <$f | wc -c); "
			"dd if=/dev/zero of=$f bs=1 seek=$((n > %u ? n - %u : 0)) count=%u conv=notrunc 2>/dev/null",
			cut, cut, cut);
		rig_shell(&r, command);
		rig_start(&r);
		CU_ASSERT(queue_count(r.queue) <= 1);
		if (queue_count(r.queue) == 1)
			kept[strncmp(dump(r.queue, a), "0d1@0:250 2.0.0 thanks 1w0@", 27) == 0]++;
		rig_close(&r);
	}
	CU_ASSERT(kept[0] > 0 && kept[1] > 0); /* of both kinds there were some */
}

static const struct test_row rows[] = {
	{ "lines", test_lines },
	{ "lines that cannot be", test_bad_lines },
	{ "limits", test_limits },
	{ ".env cut", test_cut },
	{ ".env with another octet", test_flipped },
	{ "heaps", test_heaps },
	{ ".env written anew", test_anew },
	{ "a message's life", test_life },
	{ "refused", test_refused },
	{ "in one transaction", test_mixed },
	{ "leases", test_leases },
	{ "files", test_files },
	{ "files alone", test_files_alone },
	{ "files that are lost", test_files_lost },
	{ "files that are removed", test_files_removed },
	{ "files at an end in good order", test_files_tidy },
	{ "no place for the queue", test_no_queue },
	{ "files that are damaged", test_files_damaged },
	{ "files that cannot be", test_files_refused },
	{ "torn records", test_torn },
};

TEST_MAIN("store/queue", rows)
