/* bench/queued.c - the queue's row: the store's engine in this process, because nothing that runs may queue anything yet.
 *
 *     queued DIR [MESSAGES [OCTETS]]
 *
 * So many messages are queued, 100 at a time; a checkpoint makes files of them; an attempt of each is put off, and a
 * checkpoint adds to the files; the store is opened again; all are claimed, delivered, and a checkpoint removes the files.
 * Then as many of the same messages go to 100 mailboxes. One line of JSON: rates, milliseconds, and for checkpoints the
 * longest that the main thread was held up. */
#include "store/local.h"
#include "store/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AT_A_TIME 100
#define USERS 100

static struct store_backend *be;
static struct mailboxes *mbs;
static struct queue *queue;
static struct kv *kv;
static int folders[4];
static unsigned messages = 10000;
static size_t octets = 4096;
static uint8_t *body;
static uint64_t *ids, ahead_ms, fake_ms;
static unsigned busy, done_n;
static double held_ms; /* the longest turn */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static uint64_t
clock_ms(void)
{
	return (uint64_t)now() + ahead_ms;
}

static void
on_key(void *arg, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	(void)arg;
	PT_ASSERT(kv_set(kv, space, key, version, expires, value) == 0);
}

static void
open_store(void)
{
	struct local_conf lc = { .journal_fd = folders[0], .kv_fd = folders[1], .queue_fd = folders[2],
		.mail_fd = folders[3], .host = "bench.example", .tidy = true };
	struct mailboxes_conf mc = { .host = "bench.example", .clock_ms = clock_ms };
	struct diag diag = { "" };

	PT_ASSERT((kv = kv_new()) != NULL && (queue = queue_new()) != NULL);
	lc.queue = mc.queue = queue;
	if (local_open(&lc, on_key, NULL, NULL, &be, &diag) != 0) {
		fprintf(stderr, "queued: %s\n", diag.text);
		exit(1);
	}
	PT_ASSERT((mbs = mailboxes_new(be, kv, &mc)) != NULL);
}

static void
close_store(void)
{
	be->ops->close(be);
	mailboxes_free(&mbs);
	kv_free(&kv);
	queue_free(&queue);
}

/* Time for the engine goes by fake_ms: checkpoints come when they are asked for. */
static void
turn(void)
{
	struct pollfd p = { .fd = be->ops->fd(be), .events = POLLIN };
	double began;

	(void)poll(&p, 1, 5);
	began = now();
	be->ops->dispatch(be);
	(void)mailboxes_tick(mbs, fake_ms);
	mailboxes_flush(mbs);
	if (now() - began > held_ms)
		held_ms = now() - began;
}

static void
on_done(struct mb_txn *t, const struct mb_reply *r)
{
	if (r->rc != STORE_OK) {
		fprintf(stderr, "queued: %s %s\n", store_rc_text(r->rc), r->text);
		exit(1);
	}
	if (t->arg != NULL)
		*(uint64_t *)t->arg = r->id;
	busy--;
	done_n++;
	free(t->bodies);
	t->bodies = NULL;
	t->nbodies = 0;
}

static struct mb_op *
op_new(struct mb_txn **t, enum mb_op_kind kind, uint64_t *id)
{
	struct mb_op *o;

	PT_ASSERT((*t = mb_txn_new()) != NULL && (o = mb_txn_op(*t)) != NULL);
	o->kind = kind;
	(*t)->done = on_done;
	(*t)->arg = id;
	if (kind == MB_QUEUE || kind == MB_ADD) {
		PT_ASSERT(((*t)->bodies = malloc(sizeof *(*t)->bodies)) != NULL);
		(*t)->bodies[0] = (struct span){ body, octets };
		(*t)->nbodies = 1;
		o->body = 0;
		o->octets = octets;
	}
	return o;
}

static void
ask_queue(unsigned i)
{
	struct mb_txn *t;
	struct mb_op *o = op_new(&t, MB_QUEUE, &ids[i]);

	PT_ASSERT((o->queued = mb_queued_new()) != NULL);
	o->queued->sender = strdup("somebody@bench.example");
	o->queued->params = strdup("RET=HDRS");
	o->queued->identity = strdup("somebody@bench.example/phone");
	o->queued->service = strdup("submission");
	PT_ASSERT(mb_queued_rcpt(o->queued, span_str("somebody.else@example.test"), span_str("NOTIFY=FAILURE")) == 0);
	mb_commit(mbs, t);
}

static void
ask_outcome(unsigned i, uint32_t attempt, enum store_rcpt_state state)
{
	struct mb_txn *t;
	struct mb_op *o = op_new(&t, MB_OUTCOME, NULL);

	o->outcome = (struct mb_outcome){ .qid = ids[i], .attempt = attempt, .state = state, .next = 1,
		.reply = strdup("451 4.7.1 Greylisted, come back in five minutes") };
	mb_commit(mbs, t);
}

static void
ask_later(unsigned i)
{
	ask_outcome(i, 1, STORE_RCPT_WAITING);
}

static void
ask_delivered(unsigned i)
{
	ask_outcome(i, 2, STORE_RCPT_DELIVERED);
}

static void
ask_add(unsigned i)
{
	struct mb_txn *t;
	struct mb_op *o = op_new(&t, MB_ADD, NULL);

	snprintf(o->user, sizeof o->user, "u%u@bench.example", i % USERS);
	snprintf(o->key, sizeof o->key, "INBOX");
	mb_commit(mbs, t);
}

/* All of them; changes a second, to the acknowledgement. */
static double
all(void (*ask)(unsigned i))
{
	double began = now();
	unsigned i = 0;

	for (done_n = 0; done_n < messages; turn())
		for (; i < messages && busy < AT_A_TIME; busy++)
			ask(i++);
	return messages / (now() - began) * 1000;
}

/* One checkpoint to its end. */
static double
checkpoint(double *held_out)
{
	struct local *l = (struct local *)be;
	double began = now();

	held_ms = 0;
	fake_ms += 100000;
	turn();
	while (l->checkpointing)
		turn();
	*held_out = held_ms;
	return now() - began;
}

/* The journal has all its room: making it would be measured, too. */
static void
await_segments(void)
{
	struct local *l = (struct local *)be;
	unsigned used, spare, max;

	do {
		turn();
		journal_segments(l->journal, &used, &spare, &max);
	} while (l->making_spare || used + spare < max);
}

static void
on_claimed(void *arg, const struct queue_entry *e, int64_t at, int fd)
{
	(void)arg;
	(void)e;
	(void)at;
	(void)fd;
	done_n++;
}

static void
on_claim_done(void *arg)
{
	*(bool *)arg = true;
}

static double
claims(void)
{
	double began = now();
	bool there;

	for (done_n = 0; done_n < messages;) {
		there = false;
		mb_claim(mbs, &busy, STORE_CLAIM_MAX, 600, on_claimed, on_claim_done, &there);
		while (!there)
			turn();
	}
	return messages / (now() - began) * 1000;
}

static void
folder(const char *dir, const char *name, int *fd)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if ((mkdir(path, 0700) != 0 && errno != EEXIST) || (*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		fprintf(stderr, "queued: %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	static const char *const names[] = { "journal", "kv", "queue", "mail" };
	double queued, added, later, delivered, claimed, cp[3], held[3], opened;
	size_t i;

	if (argc < 2)
		return 2;
	messages = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : messages;
	octets = argc > 3 ? strtoul(argv[3], NULL, 10) : octets;
	PT_ASSERT((ids = calloc(messages + 1u, sizeof *ids)) != NULL && (body = malloc(octets + 1)) != NULL);
	for (i = 0; i < octets; i++)
		body[i] = (uint8_t)("0123456789abcdef0123456789abcdef\r\n"[i % 34]);
	for (i = 0; i < 4; i++)
		folder(argv[1], names[i], &folders[i]);
	open_store();
	fake_ms = 1;
	await_segments();
	queued = all(ask_queue);
	cp[0] = checkpoint(&held[0]);
	later = all(ask_later);
	cp[1] = checkpoint(&held[1]);
	close_store();
	opened = now();
	open_store();
	opened = now() - opened;
	PT_ASSERT(queue_count(queue) == messages);
	fake_ms = 1;
	ahead_ms = 6000; /* who had claimed something of the last process would have said so */
	turn();
	claimed = claims();
	delivered = all(ask_delivered);
	cp[2] = checkpoint(&held[2]);
	PT_ASSERT(queue_count(queue) == 0);
	added = all(ask_add);
	close_store();
	printf("{\"queued\":%.0f,\"added\":%.0f,\"later\":%.0f,\"claimed\":%.0f,\"delivered\":%.0f,\"opened_ms\":%.1f,"
		"\"made_ms\":%.1f,\"made_held_ms\":%.2f,\"more_ms\":%.1f,\"more_held_ms\":%.2f,\"gone_ms\":%.1f,"
		"\"gone_held_ms\":%.2f}\n", queued, added, later, claimed, delivered, opened, cp[0], held[0], cp[1], held[1],
		cp[2], held[2]);
	return 0;
}
