/* tests/crash/crash_queue.c - queue and keys, changed as fast as it goes, by a process that is to be killed.
 *
 *     crash_queue DIR MEMORY SEED
 *
 * DIR has journal/, kv/, queue/ and mail/. What was asked and what was acknowledged is in MEMORY, a file that is shared and so
 * outlives any kill. At the start everything that is in the store is compared with it: what was acknowledged is there, in that
 * state or in the one that was asked for last, with its message to the octet; what was asked for may be there, whole; nothing
 * else is. Then "ok <acknowledged>", or "WRONG ..." and an end; and on until it is killed. Everything
 * else is the store's own code. */
#include "store/local.h"
#include "store/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 96
#define RCPTS 3
#define KEYS 24
#define BODY_MAX 40000

enum phase { FREE, ASKED, THERE, GONE };

struct sent_rcpt {
	uint32_t attempts, asked_attempts;
	uint32_t state, asked_state;
};

struct slot {
	uint32_t phase, busy;
	uint64_t tag, qid;
	uint32_t nrcpts, octets;
	uint32_t at; /* the recipient of what was asked last */
	struct sent_rcpt r[RCPTS];
};

struct keyed {
	uint64_t value, asked; /* 0: none */
	uint32_t busy;
};

struct memory {
	uint64_t acked, next_tag;
	struct slot slot[SLOTS];
	struct keyed key[KEYS];
};

struct op {
	struct slot *slot;
	struct keyed *key;
	uint8_t *body;
	struct span span;
};

static struct memory *m;
static struct queue *queue;
static struct kv *kv;
static struct store_backend *be;
static struct mailboxes *mbs;
static unsigned busy;
static uint32_t state;

static uint32_t
rnd(uint32_t n)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % n;
}

static void __attribute__((format(printf, 1, 2), noreturn))
wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("WRONG ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	_exit(1);
}

/* What the message of that tag is. */
static void
fill(uint8_t *p, uint32_t octets, uint64_t tag)
{
	uint32_t i;

	for (i = 0; i < octets; i++)
		p[i] = (uint8_t)(tag * 31 + i * 7 + i / 251);
}

/* --- what is there against what should be ---------------------------------------------------------------------------- */

static void
check_rcpt(const struct slot *s, const struct queue_entry *e, uint32_t i)
{
	const struct sent_rcpt *r = &s->r[i];
	const struct queue_rcpt *x = &e->rcpts[i];

	if ((x->attempts == r->attempts && (uint32_t)x->state == r->state) ||
	    (x->attempts == r->asked_attempts && (uint32_t)x->state == r->asked_state))
		return;
	wrong("message %llx, recipient %u: attempt %u, state %c; acknowledged %u, %u; asked for %u, %u",
		(unsigned long long)e->qid, i, x->attempts, queue_state_letter(x->state), r->attempts, r->state,
		r->asked_attempts, r->asked_state);
}

struct reading {
	const struct slot *s;
	unsigned *left;
};

static void
on_body(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	static uint8_t want[BODY_MAX], got[BODY_MAX];
	struct reading *r = arg;
	const struct slot *s = r->s;

	if (rc != STORE_OK || octets != s->octets)
		wrong("message %llx cannot be read: %s", (unsigned long long)s->qid, store_rc_text(rc));
	fill(want, s->octets, s->tag);
	if (pread(fd, got, s->octets, 0) != (ssize_t)s->octets || memcmp(want, got, s->octets) != 0)
		wrong("message %llx is another one", (unsigned long long)s->qid);
	close(fd);
	--*r->left;
	free(r);
}

/* The state after the crash is the one that all goes on from. */
static void
settle(struct slot *s, const struct queue_entry *e)
{
	uint32_t i;

	s->busy = 0;
	s->phase = e == NULL ? FREE : THERE;
	s->qid = e == NULL ? 0 : e->qid;
	for (i = 0; e != NULL && i < s->nrcpts; i++) {
		s->r[i].attempts = s->r[i].asked_attempts = e->rcpts[i].attempts;
		s->r[i].state = s->r[i].asked_state = (uint32_t)e->rcpts[i].state;
	}
}

/* Whether what was asked for would have ended it. */
static bool
may_be_gone(const struct slot *s)
{
	uint32_t i;

	for (i = 0; i < s->nrcpts; i++)
		if (s->r[i].asked_state == STORE_RCPT_WAITING)
			return false;
	return true;
}

static void
find(void *arg, const struct queue_entry *e)
{
	const struct queue_entry **found = arg;
	unsigned long long tag;
	unsigned slot;

	if (sscanf(e->sender, "%llu.%u@crash", &tag, &slot) != 2 || slot >= SLOTS || m->slot[slot].tag != tag ||
	    m->slot[slot].phase == FREE || m->slot[slot].phase == GONE)
		wrong("message %llx of %s should not be there", (unsigned long long)e->qid, e->sender);
	if (found[slot] != NULL)
		wrong("message of %s is there twice", e->sender);
	found[slot] = e;
}

static void
check_queue(unsigned *left)
{
	const struct queue_entry *found[SLOTS] = { NULL };
	struct reading *r;
	uint32_t i, k;

	queue_each(queue, find, found);
	for (i = 0; i < SLOTS; i++) {
		struct slot *s = &m->slot[i];
		const struct queue_entry *e = found[i];

		if (e == NULL && s->phase == THERE && !may_be_gone(s))
			wrong("message %llx is not there", (unsigned long long)s->qid);
		if (e != NULL && (e->nrcpts != s->nrcpts || (s->phase == THERE && e->qid != s->qid)))
			wrong("message %llx is not the one that was asked for", (unsigned long long)e->qid);
		for (k = 0; e != NULL && k < s->nrcpts; k++)
			check_rcpt(s, e, k);
		settle(s, e);
		if (e == NULL)
			continue;
		PT_ASSERT((r = malloc(sizeof *r)) != NULL);
		*r = (struct reading){ s, left };
		++*left;
		be->ops->queue_open(be, e->qid, on_body, r);
	}
}

static void
check_keys(void)
{
	struct kv_entry e;
	char name[16], value[24];
	uint64_t is;
	uint32_t i;

	for (i = 0; i < KEYS; i++) {
		struct keyed *k = &m->key[i];

		snprintf(name, sizeof name, "k%u", i);
		is = 0;
		if (mailboxes_key(mbs, "greylist", name, &e)) {
			snprintf(value, sizeof value, "%.*s", (int)(e.value.n < 20 ? e.value.n : 20), (const char *)e.value.p);
			is = strtoull(value, NULL, 10);
		}
		if (is != k->value && is != k->asked)
			wrong("key %s is %llu, acknowledged %llu, asked for %llu", name, (unsigned long long)is,
				(unsigned long long)k->value, (unsigned long long)k->asked);
		k->value = k->asked = is;
		k->busy = 0;
	}
}

/* --- load ------------------------------------------------------------------------------------------------------------ */

static void
done(struct mb_txn *t, const struct mb_reply *reply)
{
	struct op *op = t->arg;
	struct slot *s = op->slot;
	bool gone = true;
	uint32_t i;

	if (reply->rc != STORE_OK)
		wrong("a change was refused: %s %s", store_rc_text(reply->rc), reply->text);
	if (op->key != NULL) {
		op->key->value = op->key->asked;
		op->key->busy = 0;
	} else if (s->phase == ASKED) {
		s->qid = reply->id;
		s->phase = THERE;
		s->busy = 0;
	} else {
		s->r[s->at].attempts = s->r[s->at].asked_attempts;
		s->r[s->at].state = s->r[s->at].asked_state;
		for (i = 0; i < s->nrcpts; i++)
			gone = gone && s->r[i].state != STORE_RCPT_WAITING;
		if (gone)
			s->phase = GONE;
		s->busy = 0;
	}
	m->acked++;
	busy--;
	free(op->body);
	free(op);
	t->nbodies = 0;
}

static struct op *
op_new(struct mb_txn **t, enum mb_op_kind kind, struct mb_op **o)
{
	struct op *op = calloc(1, sizeof *op);

	PT_ASSERT(op != NULL && (*t = mb_txn_new()) != NULL && (*o = mb_txn_op(*t)) != NULL);
	(*o)->kind = kind;
	(*t)->done = done;
	(*t)->arg = op;
	busy++;
	return op;
}

static void
ask_message(struct slot *s)
{
	struct mb_txn *t;
	struct mb_op *o;
	struct op *op = op_new(&t, MB_QUEUE, &o);
	char text[64];
	uint32_t i;

	op->slot = s;
	memset(s->r, 0, sizeof s->r);
	s->qid = 0;
	s->tag = ++m->next_tag;
	s->nrcpts = 1 + rnd(RCPTS);
	s->octets = rnd(20) == 0 ? rnd(BODY_MAX) : rnd(3000);
	s->busy = 1;
	s->phase = ASKED;
	PT_ASSERT((op->body = malloc(s->octets + 1)) != NULL);
	fill(op->body, s->octets, s->tag);
	op->span = (struct span){ op->body, s->octets };
	PT_ASSERT((t->bodies = malloc(sizeof *t->bodies)) != NULL);
	t->bodies[0] = op->span;
	t->nbodies = 1;
	o->body = 0;
	o->octets = s->octets;
	PT_ASSERT((o->queued = mb_queued_new()) != NULL);
	snprintf(text, sizeof text, "%llu.%zu@crash", (unsigned long long)s->tag, (size_t)(s - m->slot));
	o->queued->sender = strdup(text);
	o->queued->params = strdup("");
	o->queued->identity = strdup("somebody");
	o->queued->service = strdup("crash");
	for (i = 0; i < s->nrcpts; i++)
		PT_ASSERT(mb_queued_rcpt(o->queued, span_str("somebody@example.test"), span_str("NOTIFY=NEVER")) == 0);
	mb_commit(mbs, t);
}

static void
ask_outcome(struct slot *s)
{
	struct mb_txn *t;
	struct mb_op *o;
	struct op *op;
	uint32_t i = rnd(s->nrcpts);

	if (s->r[i].state != STORE_RCPT_WAITING)
		return;
	op = op_new(&t, MB_OUTCOME, &o);
	op->slot = s;
	s->at = i;
	s->r[i].asked_attempts = s->r[i].attempts + 1;
	s->r[i].asked_state = rnd(3) == 0 ? STORE_RCPT_DELIVERED : STORE_RCPT_WAITING;
	s->busy = 1;
	o->outcome = (struct mb_outcome){ .qid = s->qid, .rcpt = i, .attempt = s->r[i].asked_attempts,
		.state = (enum store_rcpt_state)s->r[i].asked_state, .next = 1, .reply = strdup("250 whatever") };
	mb_commit(mbs, t);
}

static void
ask_key(struct keyed *k)
{
	struct mb_txn *t;
	struct mb_op *o;
	struct op *op = op_new(&t, MB_PUT, &o);
	char text[24];

	op->key = k;
	k->asked = rnd(5) == 0 ? 0 : ++m->next_tag;
	k->busy = 1;
	snprintf(o->space, sizeof o->space, "greylist");
	snprintf(text, sizeof text, "k%zu", (size_t)(k - m->key));
	o->name = strdup(text);
	o->has_value = k->asked != 0;
	snprintf(text, sizeof text, "%llu", (unsigned long long)k->asked);
	buf_init(&o->value, STORE_VALUE_MAX);
	PT_ASSERT(buf_append_str(&o->value, text) == 0);
	o->expect = STORE_ANY_VERSION;
	mb_commit(mbs, t);
}

static void
ask(void)
{
	unsigned n = 1 + rnd(12), i;

	for (i = 0; i < n; i++) {
		struct slot *s = &m->slot[rnd(SLOTS)];
		struct keyed *k = &m->key[rnd(KEYS)];

		if (rnd(6) == 0 && !k->busy)
			ask_key(k);
		else if (!s->busy && (s->phase == FREE || s->phase == GONE))
			ask_message(s);
		else if (!s->busy && s->phase == THERE)
			ask_outcome(s);
	}
}

/* --- all of it ------------------------------------------------------------------------------------------------------- */

static void
on_key(void *arg, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	(void)arg;
	PT_ASSERT(kv_set(kv, space, key, version, expires, value) == 0);
}

static void
on_failed(void *arg, const char *what)
{
	(void)arg;
	wrong("%s", what);
}

static int
folder(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "crash_queue: %s: %s\n", name, strerror(errno));
		exit(2);
	}
	return fd;
}

/* Time goes a thousand times as fast for checkpoints: one every 30 ms. */
static void
turn(void)
{
	struct pollfd p = { .fd = be->ops->fd(be), .events = POLLIN };
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	(void)mailboxes_tick(mbs, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
	mailboxes_flush(mbs);
	if (poll(&p, 1, busy > 0 ? 10 : 0) > 0)
		be->ops->dispatch(be);
}

static void
open_store(const char *dir_name)
{
	int dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct local_conf lc = { .journal_fd = folder(dir, "journal"), .kv_fd = folder(dir, "kv"),
		.queue_fd = folder(dir, "queue"), .mail_fd = folder(dir, "mail"), .host = "crash.example", .segments = 4,
		.segment_octets = 512 * 1024, .failed = on_failed };
	struct mailboxes_conf mc = { .host = "crash.example" };
	struct diag diag = { "" };

	PT_ASSERT((kv = kv_new()) != NULL && (queue = queue_new()) != NULL);
	lc.queue = mc.queue = queue;
	if (local_open(&lc, on_key, NULL, NULL, &be, &diag) != 0)
		wrong("the store cannot be opened: %s", diag.text);
	PT_ASSERT((mbs = mailboxes_new(be, kv, &mc)) != NULL);
}

int
main(int argc, char **argv)
{
	unsigned left = 0;
	int fd;

	if (argc < 4)
		return 2;
	state = (uint32_t)strtoul(argv[3], NULL, 10);
	fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof *m) != 0 ||
	    (m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		return 2;
	open_store(argv[1]);
	check_keys();
	check_queue(&left);
	while (left > 0)
		turn();
	printf("ok %llu\n", (unsigned long long)m->acked);
	fflush(stdout);
	for (;;) {
		if (busy < 64)
			ask();
		turn();
	}
}
