/* unit/store/test_model.c - random operations against a model that is nothing but arrays: after each, and after each restart (some
 * with files lost that had not been flushed), every mailbox, the queue and all keys are what the model says. MODEL_SEED=N
 * runs one again. */
#include "store/rig.h"

#include "store/maildir.h"
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOXES 4
#define MAX 60
#define STEPS 250
#define USER "m@example.test"

struct message {
	uint32_t uid, flags;
	bool is_new;
	char body[16];
};

#define QUEUED 12
#define RCPTS 3
#define KEYS 6
#define NOW 1000000

struct queued {
	uint64_t qid; /* 0: none */
	char body[16];
	unsigned nrcpts;
	struct { enum store_rcpt_state state; uint32_t attempts; int64_t next; } r[RCPTS];
};

struct keyed {
	uint64_t version; /* 0: never there */
	bool there;
	int64_t expires; /* 0: never */
	char value[16];
};

struct model {
	bool saved; /* there was a checkpoint: files are all that there is of some */
	struct queued q[QUEUED];
	struct keyed k[KEYS];
	bool flushed; /* a rename or a deletion flushes all before it: what is older must not be lost any more */
	bool exists[BOXES];
	uint32_t next[BOXES];
	struct message m[BOXES][MAX];
	unsigned n[BOXES];
};

static const char *const keys[BOXES] = { "INBOX", "A", "A.B", "C" };
static struct model model;
static uint32_t state;

static uint32_t
rnd(uint32_t n)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % n;
}

static const char *
model_dump(unsigned b)
{
	static char out[8192];
	char info[MAILDIR_FLAGS_MAX + 1];
	size_t n = 0;
	unsigned i;

	if (!model.exists[b])
		return "none";
	out[0] = '\0';
	for (i = 0; i < model.n[b]; i++) {
		maildir_info(model.m[b][i].flags, info);
		n += (size_t)snprintf(out + n, sizeof out - n, "%s%u %s%s:%s", i > 0 ? " " : "", model.m[b][i].uid,
			model.m[b][i].is_new ? "N" : "", info + 3, model.m[b][i].body);
	}
	return out;
}

static void
check(struct rig *r, uint32_t seed, unsigned step)
{
	const char *got, *want;
	unsigned b;

	for (b = 0; b < BOXES; b++) {
		got = rig_dump(r, USER, keys[b]);
		want = model_dump(b);
		if (strcmp(got, want) != 0)
			fprintf(stderr, "\nseed %u, step %u, %s: got <%s>, want <%s>\n", seed, step, keys[b], got, want);
		CU_ASSERT_STRING_EQUAL_FATAL(got, want);
	}
}

static void
append(unsigned b, uint32_t flags, bool is_new, const char *body)
{
	struct message *m = &model.m[b][model.n[b]++];

	*m = (struct message){ .uid = model.next[b]++, .flags = flags, .is_new = is_new };
	snprintf(m->body, sizeof m->body, "%s", body);
}

static void
drop(unsigned b, unsigned i)
{
	memmove(&model.m[b][i], &model.m[b][i + 1], (--model.n[b] - i) * sizeof model.m[b][0]);
}

static void
create(unsigned b)
{
	model.exists[b] = true;
	model.n[b] = 0;
	model.next[b] = 1;
}

static void
add(struct rig *r, unsigned b)
{
	char body[16];
	enum store_rc rc;

	if (model.n[b] == MAX)
		return;
	snprintf(body, sizeof body, "b%u", rnd(100000));
	rc = rig_commit(r, rig_add(NULL, USER, keys[b], body)).rc;
	CU_ASSERT_EQUAL(rc, b == 0 || model.exists[b] ? STORE_OK : STORE_NOTFOUND);
	if (!model.exists[b] && b == 0)
		create(b);
	if (model.exists[b])
		append(b, 0, true, body);
}

static void
range(unsigned b, uint32_t *lo, uint32_t *hi, char set[32])
{
	*lo = 1 + rnd(model.next[b] + 1);
	*hi = *lo + rnd(4);
	snprintf(set, 32, "%u:%u", *lo, *hi);
}

static void
flags(struct rig *r, unsigned b)
{
	uint32_t lo, hi, bits = rnd(64), was;
	enum store_flag_op op = (enum store_flag_op)rnd(3);
	enum store_rc rc;
	char set[32];
	unsigned i;

	range(b, &lo, &hi, set);
	rc = rig_commit(r, rig_flags(USER, keys[b], set, op, bits)).rc;
	CU_ASSERT_EQUAL(rc, model.exists[b] ? STORE_OK : STORE_NOTFOUND);
	for (i = 0; model.exists[b] && i < model.n[b]; i++) {
		if (model.m[b][i].uid < lo || model.m[b][i].uid > hi)
			continue;
		was = model.m[b][i].flags;
		model.m[b][i].flags = op == STORE_FLAGS_SET ? bits : op == STORE_FLAGS_ADD ? was | bits : was & ~bits;
		if (model.m[b][i].flags != was)
			model.m[b][i].is_new = false;
	}
}

static void
expunge(struct rig *r, unsigned b)
{
	uint32_t lo, hi;
	char set[32];
	unsigned i;

	range(b, &lo, &hi, set);
	CU_ASSERT_EQUAL(rig_commit(r, rig_expunge(USER, keys[b], set)).rc, model.exists[b] ? STORE_OK
		: STORE_NOTFOUND);
	for (i = 0; model.exists[b] && i < model.n[b];)
		if (model.m[b][i].uid >= lo && model.m[b][i].uid <= hi && (model.m[b][i].flags & STORE_DELETED))
			drop(b, i);
		else
			i++;
}

static void
copy(struct rig *r, unsigned b)
{
	unsigned to = rnd(BOXES), i, n, moved = 0;
	uint32_t lo, hi, last = model.next[b];
	bool move = rnd(2);
	enum store_rc rc;
	char set[32];

	range(b, &lo, &hi, set);
	if (model.n[to] + 5 > MAX)
		return;
	rc = rig_commit(r, rig_copy(USER, keys[b], set, keys[to], move)).rc;
	CU_ASSERT_EQUAL(rc, model.exists[b] && model.exists[to] ? STORE_OK : STORE_NOTFOUND);
	if (rc != STORE_OK)
		return;
	for (i = 0, n = model.n[b]; i < n; i++) {
		struct message m = model.m[b][i - moved];

		if (m.uid < lo || m.uid > hi || m.uid >= last)
			continue;
		append(to, m.flags, m.is_new, m.body);
		if (move) {
			drop(b, i - moved);
			moved++;
		}
	}
}

static void
box(struct rig *r, unsigned b)
{
	unsigned to = rnd(BOXES), c;
	enum store_rc rc;

	switch (rnd(3)) {
	case 0:
		rc = rig_commit(r, rig_box(USER, STORE_BOX_CREATE, keys[b], NULL)).rc;
		CU_ASSERT_EQUAL(rc, model.exists[b] ? STORE_EXISTS : STORE_OK);
		if (rc == STORE_OK)
			create(b);
		break;
	case 1:
		rc = rig_commit(r, rig_box(USER, STORE_BOX_DELETE, keys[b], NULL)).rc;
		CU_ASSERT_EQUAL(rc, b == 0 ? STORE_DENIED : model.exists[b] ? STORE_OK : STORE_NOTFOUND);
		model.flushed |= rc == STORE_OK;
		if (rc == STORE_OK)
			model.exists[b] = false;
		break;
	default: /* only what has no children in the model's names: C and A.B among themselves and A */
		c = b == 1 ? 3 : b;
		rc = rig_commit(r, rig_box(USER, STORE_BOX_RENAME, keys[c], keys[to])).rc;
		model.flushed |= rc == STORE_OK;
		if (rc == STORE_OK) {
			CU_ASSERT_TRUE(model.exists[c] && !model.exists[to]);
			memcpy(model.m[to], model.m[c], sizeof model.m[to]);
			model.n[to] = model.n[c];
			model.next[to] = model.next[c];
			model.exists[to] = true;
			model.exists[c] = false;
		} else {
			CU_ASSERT_TRUE(c == 0 || to == 0 || c == to || !model.exists[c] || model.exists[to]);
		}
	}
}

/* --- the queue ----------------------------------------------------------------------------------------------------- */

static void
queue_add(struct rig *r, unsigned b)
{
	struct queued *m = &model.q[(b * 5 + rnd(QUEUED)) % QUEUED];
	struct rig_reply p;
	unsigned i;

	if (m->qid != 0)
		return;
	snprintf(m->body, sizeof m->body, "q%u", rnd(100000));
	m->nrcpts = 1 + rnd(RCPTS);
	p = rig_commit(r, rig_queue(NULL, "s@example.test", m->nrcpts, m->body));
	CU_ASSERT_EQUAL(p.rc, STORE_OK);
	m->qid = p.id;
	for (i = 0; i < m->nrcpts; i++) {
		m->r[i].state = STORE_RCPT_WAITING;
		m->r[i].attempts = 0;
		m->r[i].next = rig_clock;
	}
}

/* What attempts came to, some of it said before, some for a message that is done. */
static void
queue_outcome(struct rig *r, unsigned b)
{
	struct queued *m = &model.q[(b * 5 + rnd(QUEUED)) % QUEUED];
	unsigned i = rnd(RCPTS), k;
	enum store_rcpt_state s = (enum store_rcpt_state)rnd(STORE_RCPT_STATE_COUNT);
	int64_t next = s == STORE_RCPT_WAITING ? rig_clock + rnd(20) : 0;
	uint32_t attempt = m->r[i].attempts + (rnd(4) != 0);
	enum store_rc rc = rig_commit(r, rig_outcome(NULL, m->qid == 0 ? 4711 : m->qid, i, attempt, s, next, "reply")).rc;

	if (m->qid == 0 || i >= m->nrcpts || attempt == 0) {
		CU_ASSERT_EQUAL(rc, m->qid == 0 ? STORE_NOTFOUND : STORE_INVALID);
		return;
	}
	CU_ASSERT_EQUAL(rc, STORE_OK);
	if (m->r[i].state != STORE_RCPT_WAITING || (attempt == m->r[i].attempts && s != STORE_RCPT_DELIVERED))
		return;
	m->r[i].state = s;
	m->r[i].attempts = attempt;
	m->r[i].next = next;
	for (k = 0; k < m->nrcpts && m->r[k].state != STORE_RCPT_WAITING; k++)
		continue;
	if (k == m->nrcpts)
		memset(m, 0, sizeof *m);
}

static bool
is_due(const struct queued *m)
{
	unsigned i;

	for (i = 0; m->qid != 0 && i < m->nrcpts; i++)
		if (m->r[i].state == STORE_RCPT_WAITING && m->r[i].next <= rig_clock)
			return true;
	return false;
}

/* All that is due can be claimed, with its message; nothing else; and is given back. */
static void
queue_claims(struct rig *r, unsigned b)
{
	char bodies[QUEUED + 1][64];
	uint64_t got[QUEUED + 1];
	unsigned i, k, n, due = 0;

	(void)b;
	rig_clock += rnd(10);
	n = rig_claim(r, &model, QUEUED + 1, 60, got, bodies);
	for (i = 0; i < QUEUED; i++) {
		due += is_due(&model.q[i]);
		for (k = 0; k < n; k++)
			if (model.q[i].qid == got[k]) {
				CU_ASSERT_TRUE(is_due(&model.q[i]));
				CU_ASSERT_STRING_EQUAL(bodies[k], model.q[i].body);
			}
	}
	CU_ASSERT_EQUAL(n, due);
	mb_unclaim(r->mbs, &model);
}

static void
queue_check(struct rig *r, uint32_t seed, unsigned step)
{
	const struct queue_entry *e;
	unsigned i, k, n = 0;

	for (i = 0; i < QUEUED; i++) {
		const struct queued *m = &model.q[i];

		if (m->qid == 0)
			continue;
		n++;
		e = queue_find(r->queue, m->qid);
		if (e == NULL)
			fprintf(stderr, "\nseed %u, step %u: a queued message is missing\n", seed, step);
		CU_ASSERT_FATAL(e != NULL && e->nrcpts == m->nrcpts);
		for (k = 0; k < m->nrcpts; k++)
			if (e->rcpts[k].state != m->r[k].state || e->rcpts[k].attempts != m->r[k].attempts ||
			    e->rcpts[k].next != m->r[k].next) {
				fprintf(stderr, "\nseed %u, step %u: a recipient is %c%u@%lld, not %c%u@%lld\n", seed, step,
					queue_state_letter(e->rcpts[k].state), e->rcpts[k].attempts, (long long)e->rcpts[k].next,
					queue_state_letter(m->r[k].state), m->r[k].attempts, (long long)m->r[k].next);
				CU_FAIL_FATAL("a recipient");
			}
	}
	CU_ASSERT_EQUAL(queue_count(r->queue), n);
}

/* --- keys ---------------------------------------------------------------------------------------------------------- */

static bool
key_there(const struct keyed *k)
{
	return k->there && (k->expires == 0 || k->expires > rig_clock);
}

static void
key_put(struct rig *r, unsigned b)
{
	char name[8], value[16];
	unsigned i = (b + rnd(KEYS)) % KEYS, how = rnd(4);
	struct keyed *k = &model.k[i];
	uint64_t expect = how == 0 ? 0 : how == 1 ? k->version + rnd(2) : STORE_ANY_VERSION;
	uint32_t ttl = rnd(3) == 0 ? 1 + rnd(30) : 0;
	bool goes = rnd(4) == 0;
	struct rig_reply p;

	rig_clock += rnd(3);
	snprintf(name, sizeof name, "k%u", i);
	snprintf(value, sizeof value, "v%u", rnd(100000));
	p = rig_commit(r, rig_put("greylist", name, goes ? NULL : value, expect, ttl));
	CU_ASSERT_EQUAL(p.rc, expect == STORE_ANY_VERSION ? STORE_OK
		: expect == 0 ? (key_there(k) ? STORE_EXISTS : STORE_OK)
		: key_there(k) && expect == k->version ? STORE_OK : STORE_CONFLICT);
	if (p.rc != STORE_OK)
		return;
	CU_ASSERT(p.id > k->version);
	k->version = p.id;
	k->there = !goes;
	k->expires = ttl == 0 ? 0 : rig_clock + ttl;
	memcpy(k->value, value, sizeof value);
}

static void
key_check(struct rig *r, uint32_t seed, unsigned step)
{
	struct kv_entry e;
	char name[8];
	bool there;
	unsigned i;

	for (i = 0; i < KEYS; i++) {
		const struct keyed *k = &model.k[i];

		snprintf(name, sizeof name, "k%u", i);
		there = mailboxes_key(r->mbs, "greylist", name, &e);
		if (there != key_there(k) || (there && (e.version != k->version || !span_equal(e.value, span_str(k->value))))) {
			fprintf(stderr, "\nseed %u, step %u: key %s is wrong\n", seed, step, name);
			CU_FAIL_FATAL("a key");
		}
	}
}

static void
checkpoint(struct rig *r, unsigned b)
{
	(void)b;
	if (r->kind != RIG_LOCAL || rnd(8) != 0)
		return;
	rig_checkpoint(r);
	model.flushed = model.saved = true;
}

static void
restart(struct rig *r)
{
	/* what had not been flushed may be anything: nothing was, in so short a time */
	static const char *const losses[] = { "true", "true", "rm -rf mail", "find mail -name postern-index -delete",
		"find mail -type f -path '*/new/*' | while read f; do : >$f; done",
		"find mail -type f -path '*/cur/*' | while read f; do echo junk >$f; done",
		"find mail -name postern-index | while read f; do head -c 300 $f >$f.x; mv $f.x $f; done" };

	static const char *const others[] = { "true", "rm -f queue/*", "rm -f kv/*", "rm -f queue/*.env",
		"for f in queue/* kv/*; do test ! -f $f || { head -c 40 $f >x; mv x $f; }; done" };

	if (r->kind == RIG_MEMORY)
		return;
	rig_stop(r);
	rig_shell(r, losses[model.flushed ? 0 : rnd(PT_COUNT(losses))]);
	rig_shell(r, others[model.saved ? 0 : rnd(PT_COUNT(others))]);
	rig_shell(r, "mkdir -p mail");
	close(r->mail_fd);
	r->mail_fd = openat(r->dir_fd, "mail", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig_start(r);
	rig_ahead_ms += 6000; /* nobody comes back who had claimed something */
	rig_settle(r);
}

static void
run(enum rig_kind kind, uint32_t seed)
{
	void (*const ops[])(struct rig *, unsigned) = { add, add, add, add, flags, flags, copy, copy, expunge, box,
		queue_add, queue_add, queue_outcome, queue_outcome, queue_outcome, queue_claims, key_put, key_put, checkpoint };
	struct rig r;
	unsigned step;

	memset(&r, 0, sizeof r);
	memset(&model, 0, sizeof model);
	for (step = 0; step < BOXES; step++)
		model.next[step] = 1;
	r.segment_octets = 256 * 1024;
	r.segments = 64;
	r.no_checkpoints = true;
	state = seed;
	rig_clock = NOW;
	rig_open(&r, kind);
	/* who has any mailbox has that one: a Maildir is its folder */
	CU_ASSERT_EQUAL(rig_commit(&r, rig_box(USER, STORE_BOX_CREATE, "INBOX", NULL)).rc, STORE_OK);
	create(0);
	for (step = 0; step < STEPS; step++) {
		ops[rnd(PT_COUNT(ops))](&r, rnd(BOXES));
		if (rnd(25) == 0)
			restart(&r);
		if (rnd(4) == 0)
			check(&r, seed, step);
		queue_check(&r, seed, step);
		key_check(&r, seed, step);
	}
	restart(&r);
	check(&r, seed, step);
	queue_check(&r, seed, step);
	key_check(&r, seed, step);
	rig_close(&r);
	rig_clock = 0;
}

static void
test_model(void)
{
	const char *one = getenv("MODEL_SEED"), *many = getenv("MODEL_RUNS");
	uint32_t i, n = many != NULL ? (uint32_t)strtoul(many, NULL, 10) : 10;

	if (one != NULL) {
		run(RIG_LOCAL, (uint32_t)strtoul(one, NULL, 10));
		return;
	}
	for (i = 1; i <= n; i++) {
		run(RIG_MEMORY, i);
		run(RIG_LOCAL, i);
	}
}

static const struct test_row rows[] = {
	{ "random operations", test_model },
};

TEST_MAIN("store/model", rows)
