/* store/local_journal.c - the main thread's side of the journal: transactions gather, flushes make them durable, and in the order of
 * the journal they are answered and carried out. Its segments are made ahead and recycled here. */
#include "store/local.h"

#include "util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_INLINE_US 500 /* a flush that is about as short as waking a thread twice is not worth that */
#define FLUSH_INLINE_OCTETS (64u << 10)

uint64_t
local_next_id(const struct store_backend *be)
{
	const struct local *l = (const struct local *)be;

	return journal_next(l->journal) + l->nqueued;
}

void
local_recycle(struct local *l)
{
	unsigned used, spare, max;
	struct diag diag;

	journal_segments(l->journal, &used, &spare, &max);
	if (l->now_ms < l->keep_until) {
		if (spare > 0 || used < max)
			return;
		max = 1;
	}
	if (journal_recycle(l->journal, l->synced, max, &diag) != 0)
		log_msg(LOG_L_ERROR, "%s", diag.text);
}

struct spare {
	struct crew_job job;
	struct local *l;
	uint32_t number;
	int fd, rc;
};

static void
spare_run(struct crew_job *j)
{
	struct spare *s = (struct spare *)j;

	s->rc = journal_spare_make(s->l->journal, s->number, &s->fd);
}

static void
spare_done(struct crew_job *j)
{
	struct spare *s = (struct spare *)j;

	s->l->making_spare = false;
	if (s->rc == 0)
		s->rc = journal_spare_add(s->l->journal, s->number, s->fd);
	if (s->rc != 0)
		log_msg(LOG_L_WARNING, "cannot make another journal segment: %s", pt_strerror(s->rc));
	if (s->rc == 0) { /* who waited for it */
		local_carry(s->l);
		local_flush(&s->l->be);
	}
	free(s);
}

void
local_make_spare(struct local *l, bool extra)
{
	struct spare *s;
	unsigned used, spare, max;

	journal_segments(l->journal, &used, &spare, &max);
	if (l->making_spare || used + spare >= max + extra || (s = calloc(1, sizeof *s)) == NULL)
		return;
	s->job = (struct crew_job){ .run = spare_run, .done = spare_done, .lane = CREW_READ };
	s->l = l;
	s->number = journal_spare_number(l->journal);
	s->fd = -1;
	l->making_spare = true;
	crew_submit(l->crew, &s->job, NULL, 0);
}

int
local_append(struct local *l, struct store_commit *c)
{
	struct apply *a = calloc(1, sizeof *a);
	int rc;

	if (a == NULL)
		return PT_ENOMEM;
	c->id = a->lsn = journal_next(l->journal);
	rc = journal_append(l->journal, buf_span(&c->text), c->bodies, c->nbodies, &a->at);
	if (rc == PT_EFULL && journal_recyclable(l->journal, l->synced) > 0) {
		local_recycle(l);
		rc = journal_append(l->journal, buf_span(&c->text), c->bodies, c->nbodies, &a->at);
	}
	if (rc != 0) {
		if (rc == PT_EFULL)
			local_make_spare(l, false);
		free(a);
		return rc;
	}
	a->commit = c;
	a->owed = c->carry ? 0 : a->at.body_len; /* carried: counted where it was first */
	l->owed += a->owed;
	a->hints = c->hints;
	a->nhints = c->nhints;
	buf_init(&a->text, 0);
	c->engine = a;
	c->next = NULL;
	*l->batch_end = c;
	l->batch_end = &c->next;
	return 0;
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Octets of the journal that may be had at once. */
static uint64_t
room_of(const struct local *l, uint64_t all)
{
	uint64_t room = journal_room(l->journal);

	if (room < all / 2 && l->now_ms < l->keep_until) /* what is recycled only as far as it is needed */
		room += journal_recyclable(l->journal, l->synced) * l->segment_octets;
	return room;
}

/* Into the batch, unless the journal is so full that it must wait: PT_EBUSY. */
static int
enter(struct local *l, struct store_commit *c)
{
	uint64_t now, all = journal_all(l->journal), room = room_of(l, all);
	const struct apply *a;
	int rc;

	if (l->closing || (room >= all / 2 && !l->pace.on))
		return local_append(l, c);
	now = now_us();
	if (!pace_may(&l->pace, now, room, all))
		return PT_EBUSY;
	if ((rc = local_append(l, c)) != 0)
		return rc;
	a = c->engine;
	pace_took(&l->pace, now, JOURNAL_HEADER + a->at.text_len + a->at.body_len, all);
	return 0;
}

void
local_commit(struct store_backend *be, struct store_commit *c)
{
	struct local *l = (struct local *)be;
	int rc;

	c->id = local_next_id(be);
	c->next = NULL;
	if (l->failed) {
		c->done(c, STORE_TEMP);
		return;
	}
	rc = l->queued != NULL ? PT_EBUSY : enter(l, c);
	if (rc == PT_EBUSY || rc == PT_EFULL) { /* the next batch, or when a segment is free */
		*l->queued_end = c;
		l->queued_end = &c->next;
		l->nqueued++;
		if (rc == PT_EFULL)
			l->next_checkpoint = 0;
	} else if (rc != 0) {
		c->done(c, local_rc(rc));
	}
}

void
local_answer(struct store_commit *c, bool started, enum store_rc rc)
{
	struct store_commit *next;

	for (; c != NULL; c = next) {
		next = c->next;
		if (started)
			free(c->engine);
		c->done(c, rc);
	}
}

void
local_fail(struct local *l)
{
	struct store_commit *batch = l->batch, *queued = l->queued;

	l->failed = true;
	l->batch = l->queued = NULL;
	l->nqueued = 0;
	l->batch_end = &l->batch;
	l->queued_end = &l->queued;
	local_answer(batch, true, STORE_TEMP);
	local_answer(queued, false, STORE_TEMP);
	if (l->conf.failed != NULL)
		l->conf.failed(l->conf.failed_arg, "the disk failed");
}

static void flush_done(struct crew_job *j);

static void
flush_run(struct crew_job *j)
{
	struct flight *f = (struct flight *)j;
	uint64_t began = now_us();

	journal_flush_run(f->f);
	f->took_us = now_us() - began;
}

/* How long flushes take. Of the quickest: on a disk that is quick some take long because the processors, or the disk, are busy with
 * other things, and that is no reason to have more of them. */
static void
flush_timed(struct local *l, uint64_t us)
{
	l->flush_us = (7 * l->flush_us + us) / 8;
	if (us < l->flush_least_us || l->flush_least_us == 0)
		l->flush_least_us = us;
	else
		l->flush_least_us += (us - l->flush_least_us + 15) / 16;
}

/* Takes the oldest batch, which is over; *rc_out: how it went. */
static struct store_commit *
flight_take(struct local *l, int *rc_out)
{
	struct flight *f = &l->flight[l->first_flight];

	if ((*rc_out = journal_flush_end(l->journal, f->f)) == 0)
		latency_add(&l->flushes, f->took_us);
	else if (!l->failed)
		log_msg(LOG_L_ERROR, "cannot flush the journal: %s; nothing of this batch is acknowledged, and nothing of "
			"those behind it", strerror(errno));
	flush_timed(l, f->took_us);
	l->first_flight = (l->first_flight + 1) % JOURNAL_FLIGHTS;
	l->flights--;
	return f->list;
}

/* A batch is on the disk, or not: acknowledged before its files are written. */
static void
flight_over(struct local *l, struct store_commit *c, int rc)
{
	struct store_commit *next;
	struct apply *a;

	if (rc != 0) {
		local_answer(c, true, STORE_TEMP);
		if (!l->failed)
			local_fail(l);
		return;
	}
	if (l->failed) { /* by a checkpoint meanwhile: the next process carries it out */
		local_answer(c, true, STORE_OK);
		return;
	}
	for (; c != NULL; c = next) {
		next = c->next;
		a = c->engine;
		if (c->carry) {
			c->done(c, STORE_OK);
			free(a);
			continue;
		}
		if (c->queue && l->be.queue != NULL) /* it is durable: who cannot keep it must end and replay */
			PT_ASSERT(queue_take(l->be.queue, buf_span(&c->text), a->at.segment, a->at.body) == 0);
		local_apply_start(l, a, buf_span(&c->text));
		c->done(c, STORE_OK); /* may ask for what comes behind these jobs */
		local_apply_started(l, a);
	}
}

/* Into the batch, as far as it goes. */
static void
take_queued(struct local *l)
{
	struct store_commit *c;
	int rc;

	while ((c = l->queued) != NULL) {
		l->queued = c->next;
		l->nqueued--;
		if (l->queued == NULL)
			l->queued_end = &l->queued;
		if ((rc = enter(l, c)) == 0)
			continue;
		if (rc != PT_EBUSY && rc != PT_EFULL) {
			c->done(c, local_rc(rc));
			continue;
		}
		c->next = l->queued;
		if (l->queued == NULL)
			l->queued_end = &c->next;
		l->queued = c;
		l->nqueued++;
		return;
	}
}

/* The batch begins its way to the disk, while the next one gathers. here: it is waited for. false: it must wait for one that is
 * under way (journal_flush_begin()). */
static bool
flush_start(struct local *l, bool here)
{
	struct flight *f = &l->flight[(l->first_flight + l->flights) % JOURNAL_FLIGHTS];
	struct journal_flight *begun = journal_flush_begin(l->journal);
	struct store_commit *c;
	int rc;

	PT_ASSERT(begun != NULL || l->flights > 0);
	if (begun == NULL)
		return false;
	*f = (struct flight){ .job = { .run = flush_run, .done = flush_done, .lane = CREW_FLUSH }, .l = l, .f = begun,
		.list = l->batch, .began_us = now_us() };
	l->flights++;
	l->batch = NULL;
	l->batch_end = &l->batch;
	if (here) {
		PT_ASSERT(l->flights == 1);
		crew_wake(l->crew);
		flush_run(&f->job);
		c = flight_take(l, &rc);
		flight_over(l, c, rc);
	} else {
		crew_submit(l->crew, &f->job, NULL, 0);
	}
	return true;
}

/* Whether another flush may begin. On a quick disk one at a time is best: what comes meanwhile goes with the next, and each costs two
 * wake-ups. On a slow one they begin as far apart as they would end in turns: whoever comes waits for a fraction of a flush, and
 * then for its own. What gathers is not for ever: the end of each asks again. */
static bool
may_start(const struct local *l)
{
	const struct flight *youngest;

	if (l->flights == 0)
		return true;
	if (l->flights == JOURNAL_FLIGHTS || l->closing || l->flush_least_us < FLUSH_INLINE_US)
		return false;
	youngest = &l->flight[(l->first_flight + l->flights - 1) % JOURNAL_FLIGHTS];
	return l->queued != NULL || now_us() - youngest->began_us >= l->flush_us / JOURNAL_FLIGHTS;
}

static void
flush_done(struct crew_job *j)
{
	struct flight *f = (struct flight *)j;
	struct local *l = f->l;
	struct store_commit *c;
	int rc;

	f->over = true;
	while (l->flights > 0 && l->flight[l->first_flight].over) {
		c = flight_take(l, &rc);
		/* the disk need not wait until all are answered */
		if (rc == 0 && !l->failed && !l->closing) {
			take_queued(l);
			if (l->batch != NULL && l->batch->next != NULL && may_start(l))
				(void)flush_start(l, false);
		}
		flight_over(l, c, rc);
	}
	local_flush(&l->be); /* what came meanwhile */
}

void
local_flush(struct store_backend *be)
{
	struct local *l = (struct local *)be;
	bool here;

	while (!l->failed && may_start(l)) {
		take_queued(l);
		if (l->batch == NULL)
			return; /* nothing, or no segment is free: after the next checkpoint */
		/* For who is alone, on a fast disk, it is waited for here: nobody else is held up for long, and being
		 * woken twice takes half as long as the flush. */
		here = l->flights == 0 && (l->closing || (l->batch->next == NULL && l->flush_us < FLUSH_INLINE_US &&
			journal_batch(l->journal) <= FLUSH_INLINE_OCTETS));
		if (!flush_start(l, here))
			return;
	}
}
