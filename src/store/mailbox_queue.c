/* store/mailbox_queue.c - what is queued: what a transaction says of it is checked and becomes lines; who may have it. */
#include "store/mailbox_impl.h"

#include "store/record.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 5000 /* after a start: who had claimed something of the last process says so */
#define AGAIN_MS 60000 /* what could not be read is tried again */

static uint64_t
clock_ms(const struct mailboxes *mbs)
{
	struct timespec t;

	if (mbs->conf.clock_ms != NULL)
		return mbs->conf.clock_ms();
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- made and freed --------------------------------------------------------------------------------------- */

static char *
string(struct span s)
{
	return strndup(s.n > 0 ? (const char *)s.p : "", s.n);
}

struct mb_queued *
mb_queued_new(void)
{
	return calloc(1, sizeof(struct mb_queued));
}

int
mb_queued_rcpt(struct mb_queued *m, struct span address, struct span params)
{
	uint32_t cap = m->cap == 0 ? 4 : m->cap * 2;
	struct mb_queued_rcpt *grown, *r;

	if (m->nrcpts == STORE_RCPTS_MAX)
		return PT_ETOOBIG;
	if (m->nrcpts == m->cap) {
		if ((grown = reallocarray(m->rcpts, cap, sizeof *grown)) == NULL)
			return PT_ENOMEM;
		m->rcpts = grown;
		m->cap = cap;
	}
	r = &m->rcpts[m->nrcpts];
	r->address = string(address);
	r->params = string(params);
	m->nrcpts++;
	return r->address == NULL || r->params == NULL ? PT_ENOMEM : 0;
}

void
mb_queued_free(struct mb_queued **mp)
{
	struct mb_queued *m = *mp;
	uint32_t i;

	if (m == NULL)
		return;
	for (i = 0; i < m->nrcpts; i++) {
		free(m->rcpts[i].address);
		free(m->rcpts[i].params);
	}
	free(m->rcpts);
	free(m->sender);
	free(m->params);
	free(m->identity);
	free(m->service);
	free(m);
	*mp = NULL;
}

/* --- looking ----------------------------------------------------------------------------------------------- */

static enum store_rc
look_message(struct mailboxes *mbs, const struct mb_queued *m, const char **text)
{
	if (queue_full(mbs->conf.queue)) {
		*text = "the queue is full";
		return STORE_FULL;
	}
	if (m->nrcpts == 0) {
		*text = "a message in the queue needs a recipient";
		return STORE_INVALID;
	}
	return STORE_OK;
}

static enum store_rc
look_outcome(struct mailboxes *mbs, const struct mb_outcome *o, const char **text)
{
	const struct queue_entry *e = queue_find(mbs->conf.queue, o->qid);

	if (e == NULL) {
		*text = "there is no such message in the queue; all its recipients may be done";
		return STORE_NOTFOUND;
	}
	if (o->rcpt >= e->nrcpts || o->attempt == 0 || o->attempt > e->rcpts[o->rcpt].written_attempts + 1) {
		*text = "the message has no such recipient, or an attempt was left out";
		return STORE_INVALID;
	}
	return STORE_OK;
}

enum store_rc
queue_look(struct mailboxes *mbs, const struct mb_op *op, const char **text)
{
	if (mbs->conf.queue == NULL) {
		*text = "this store has no queue";
		return STORE_INVALID;
	}
	return op->kind == MB_QUEUE ? look_message(mbs, op->queued, text) : look_outcome(mbs, &op->outcome, text);
}

/* --- writing ----------------------------------------------------------------------------------------------- */

static struct span
number(char text[24], uint64_t v)
{
	snprintf(text, 24, "%llu", (unsigned long long)v);
	return span_str(text);
}

static void
write_message(struct writing *w, struct mb_op *op)
{
	struct mailboxes *mbs = w->mbs;
	struct mb_queued *m = op->queued;
	int64_t now = mailbox_clock(mbs), due = m->due != 0 ? m->due : now;
	uint64_t qid = queue_id(mbs->conf.queue, now);
	char a[4][24];
	uint32_t i;

	writing_source(w, op);
	writing_line(w, 'Q', 8, (struct span[]){ number(a[0], qid), number(a[1], (uint64_t)now),
		number(a[2], op->octets), number(a[3], m->nrcpts), span_str(m->sender), span_str(m->params),
		span_str(m->identity), span_str(m->service) });
	for (i = 0; i < m->nrcpts; i++)
		writing_line(w, 'r', 5, (struct span[]){ number(a[0], qid), number(a[1], i), number(a[2], (uint64_t)due),
			span_str(m->rcpts[i].address), span_str(m->rcpts[i].params) });
	w->t->commit.queue = true;
	w->t->reply.id = qid;
}

/* Its line would change nothing: said before, and durable. */
static bool
is_known(const struct queue_rcpt *r, const struct mb_outcome *o)
{
	return r->state != STORE_RCPT_WAITING || (o->attempt <= r->attempts && o->state != STORE_RCPT_DELIVERED);
}

static bool
is_last(const struct queue_entry *e)
{
	uint32_t i;

	for (i = 0; i < e->nrcpts; i++)
		if (e->rcpts[i].state == STORE_RCPT_WAITING && !e->rcpts[i].written_done)
			return false;
	return true;
}

static void
write_outcome(struct writing *w, struct mb_outcome *o)
{
	struct queue *q = w->mbs->conf.queue;
	struct queue_entry *e = queue_find(q, o->qid);
	struct queue_rcpt *r = &e->rcpts[o->rcpt];
	char a[4][24], letter[2] = { queue_state_letter(o->state), '\0' };

	if (is_known(r, o))
		return;
	writing_line(w, 'q', 6, (struct span[]){ number(a[0], o->qid), number(a[1], o->rcpt), number(a[2], o->attempt),
		span_str(letter), number(a[3], o->state == STORE_RCPT_WAITING ? (uint64_t)o->next : 0),
		span_str(o->reply) });
	if (o->attempt > r->written_attempts)
		r->written_attempts = o->attempt;
	if (o->state != STORE_RCPT_WAITING && !r->written_done)
		r->written_done = o->marked = true;
	queue_pin(q, e);
	o->pinned = true;
	w->t->commit.queue = true;
	if (o->marked && is_last(e))
		writing_line(w, 'Z', 1, (struct span[]){ number(a[0], o->qid) });
}

void
queue_write(struct writing *w, struct mb_op *op)
{
	if (op->kind == MB_QUEUE)
		write_message(w, op);
	else
		write_outcome(w, &op->outcome);
	w->said = NULL;
}

void
queue_written(struct mailboxes *mbs, struct mb_op *op, bool ok)
{
	struct mb_outcome *o = &op->outcome;
	struct queue_entry *e;

	if (op->kind != MB_OUTCOME || !o->pinned)
		return;
	if (!ok && o->marked && (e = queue_find(mbs->conf.queue, o->qid)) != NULL)
		e->rcpts[o->rcpt].written_done = false;
	queue_unpin(mbs->conf.queue, o->qid);
	o->pinned = false;
}

/* --- claims ------------------------------------------------------------------------------------------------- */

struct claiming {
	struct mailboxes *mbs;
	const void *holder;
	int64_t now;
	unsigned opening; /* messages, and the claim itself */
	mb_claimed_f *each;
	mb_claim_done_f *done;
	void *arg;
};

struct opening {
	struct claiming *c;
	uint64_t qid;
};

static void
claiming_unref(struct claiming *c)
{
	if (--c->opening > 0)
		return;
	c->done(c->arg);
	free(c);
}

static void
cannot_read(struct claiming *c, struct queue_entry *e, enum store_rc rc)
{
	struct queue *q = c->mbs->conf.queue;

	log_msg(LOG_L_ERROR, "queued message %016llx cannot be read: %s; %s", (unsigned long long)e->qid,
		store_rc_text(rc), rc == STORE_NOTFOUND ? "it cannot be delivered" : "trying again in a minute");
	if (rc == STORE_NOTFOUND)
		queue_break(q, e);
	(void)queue_hold(q, e, c->holder, clock_ms(c->mbs) + AGAIN_MS);
}

static void
opened(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	struct opening *o = arg;
	struct claiming *c = o->c;
	struct queue_entry *e = queue_find(c->mbs->conf.queue, o->qid);

	(void)octets;
	if (e != NULL && e->holder == c->holder && e->until_ms != 0) { /* neither done nor given up meanwhile */
		if (rc == STORE_OK)
			c->each(c->arg, e, c->now, fd);
		else
			cannot_read(c, e, rc);
	}
	if (fd >= 0)
		close(fd);
	free(o);
	claiming_unref(c);
}

static uint32_t
due_rcpts(const struct queue_entry *e, int64_t now)
{
	uint32_t i, n = 0;

	for (i = 0; i < e->nrcpts; i++)
		n += queue_rcpt_due(&e->rcpts[i], now);
	return n;
}

void
mb_claim(struct mailboxes *mbs, const void *holder, unsigned max, uint32_t lease_s, mb_claimed_f *each,
	 mb_claim_done_f *done, void *arg)
{
	struct claiming *c = calloc(1, sizeof *c);
	uint64_t until = clock_ms(mbs) + (uint64_t)lease_s * 1000;
	struct queue_entry *e;
	struct opening *o;
	uint32_t rcpts = 0;
	unsigned n;

	if (c == NULL || mbs->conf.queue == NULL) {
		free(c);
		done(arg);
		return;
	}
	*c = (struct claiming){ .mbs = mbs, .holder = holder, .now = mailbox_clock(mbs), .opening = 1, .each = each,
		.done = done, .arg = arg };
	for (n = 0; n < max && rcpts < STORE_RCPTS_MAX; n++) {
		if ((o = calloc(1, sizeof *o)) == NULL || (e = queue_claim(mbs->conf.queue, c->now, holder, until)) == NULL) {
			free(o);
			break;
		}
		*o = (struct opening){ c, e->qid };
		rcpts += due_rcpts(e, c->now);
		c->opening++;
		mbs->be->ops->queue_open(mbs->be, e->qid, opened, o);
	}
	claiming_unref(c);
}

void
mb_hold(struct mailboxes *mbs, const void *holder, uint64_t qid, uint32_t lease_s)
{
	struct queue_entry *e = mbs->conf.queue == NULL ? NULL : queue_find(mbs->conf.queue, qid);

	if (e != NULL)
		(void)queue_hold(mbs->conf.queue, e, holder, lease_s == 0 ? 0
			: clock_ms(mbs) + (uint64_t)lease_s * 1000);
	mailboxes_queue_look(mbs);
}

void
mb_unclaim(struct mailboxes *mbs, const void *holder)
{
	if (mbs->conf.queue == NULL)
		return;
	queue_release(mbs->conf.queue, holder);
	mailboxes_queue_look(mbs);
}

bool
mb_due(const struct mailboxes *mbs)
{
	return mbs->conf.queue != NULL && queue_due(mbs->conf.queue, mailbox_clock(mbs));
}

void
mailboxes_queue_look(struct mailboxes *mbs)
{
	if (mbs->changed != NULL && mb_due(mbs))
		mbs->changed(mbs->changed_arg, "", "", 0);
}

void
mailboxes_queue_begin(struct mailboxes *mbs)
{
	queue_hold_all(mbs->conf.queue, clock_ms(mbs) + GRACE_MS);
}

uint64_t
mailboxes_queue_tick(struct mailboxes *mbs, uint64_t now_ms)
{
	struct queue *q = mbs->conf.queue;
	uint64_t now = clock_ms(mbs), lease, next = UINT64_MAX;
	int64_t clock = mailbox_clock(mbs), due;

	queue_tick(q, now);
	mailboxes_queue_look(mbs);
	if ((lease = queue_lease_next(q)) != UINT64_MAX)
		next = now_ms + (lease > now ? lease - now : 0);
	due = queue_due_next(q);
	if (due > clock && due - clock < 86400 && now_ms + (uint64_t)(due - clock) * 1000 < next)
		next = now_ms + (uint64_t)(due - clock) * 1000;
	return next;
}
