/* store/local_checkpoint.c - main thread: from time to time what was carried out is made durable, and the journal gets its segments back. */
#include "store/local.h"

#include "store/record.h"
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKPOINT_MS 30000
#define RETRY_MS 1000
#define KEEP_MS 5000

struct checkpoint {
	struct crew_job job;
	struct local *l;
	uint64_t lsn;
	int rc;
};

static void
checkpoint_run(struct crew_job *j)
{
	struct checkpoint *c = (struct checkpoint *)j;

	c->rc = syncfs(c->l->conf.mail_fd) != 0 || syncfs(c->l->conf.kv_fd) != 0 ||
		(c->l->queue_apart && syncfs(c->l->conf.queue_fd) != 0) ? errno : 0;
	if (c->rc == 0)
		graves_clear(c->l->tmp_fd, c->lsn);
}

static void
drop_files(struct local *l, uint64_t lsn)
{
	size_t i, kept = 0;

	for (i = 0; i < l->ndrops; i++)
		if (l->drops[i].lsn < lsn && !local_carries(l, l->drops[i].name))
			(void)unlinkat(l->tmp_fd, l->drops[i].name, 0);
		else
			l->drops[kept++] = l->drops[i];
	l->ndrops = kept;
}

static void
mark_applied(struct store_commit *c)
{
	struct local *l = (struct local *)((char *)c - offsetof(struct local, mark));

	if (l->synced == c->id) /* nothing else was accepted meanwhile, and this needs no carrying out */
		l->synced++;
	l->marking = false;
}

static void
mark_done(struct store_commit *c, enum store_rc rc)
{
	if (rc != STORE_OK)
		((struct local *)((char *)c - offsetof(struct local, mark)))->marking = false;
}

/* Notes in the journal what a checkpoint has covered; goes with the next flush. Without it the next start would do again what was
 * done long ago, while other programs have changed the files: what they removed would be back. */
static void
mark(struct local *l)
{
	char lsn[24];

	if (l->marking || l->failed)
		return;
	snprintf(lsn, sizeof lsn, "%llu", (unsigned long long)l->synced);
	buf_fini(&l->mark.text); /* the last one's */
	l->mark = (struct store_commit){ .done = mark_done, .applied = mark_applied };
	buf_init(&l->mark.text, 64);
	if (record_put(&l->mark.text, 'C', 1, (struct span[]){ span_str(lsn) }) != 0)
		return;
	l->marking = true;
	local_commit(&l->be, &l->mark);
}

static void
checkpoint_end(struct local *l, uint64_t lsn, int error)
{
	if (error != 0) {
		log_msg(LOG_L_ERROR, "the mail file system cannot be flushed: %s", strerror(error));
		if (!l->failed)
			local_fail(l); /* a second one may succeed without the data */
		return;
	}
	l->synced = lsn;
	settle_below(l, lsn);
	l->checkpointed = time(NULL);
	local_recycle(l);
	drop_files(l, lsn);
	mark(l);
}

void
local_checkpoint_now(struct local *l)
{
	struct checkpoint c = { .l = l, .lsn = journal_next(l->journal) };

	checkpoint_run(&c.job);
	checkpoint_end(l, c.lsn, c.rc);
}

static void
checkpoint_done(struct crew_job *j)
{
	struct checkpoint *c = (struct checkpoint *)j;
	struct local *l = c->l;

	l->checkpointing = false;
	l->next_checkpoint = l->now_ms + CHECKPOINT_MS;
	checkpoint_end(l, c->lsn, c->rc);
	free(c);
	if (l->queued != NULL)
		local_flush(&l->be);
}

uint64_t
local_oldest(const struct local *l)
{
	const struct apply *a = TAILQ_FIRST(&l->applying);

	if (a != NULL)
		return a->lsn;
	if (l->flights > 0)
		return l->flight[l->first_flight].list->id;
	return l->batch != NULL ? l->batch->id : journal_next(l->journal);
}

/* Files of what is queued are written: now all of it can be flushed. */
static void
checkpoint_flush(void *arg, int rc)
{
	struct checkpoint *c = arg;
	struct local *l = c->l;

	if (rc == 0) {
		crew_submit(l->crew, &c->job, NULL, 0);
		return;
	}
	/* what is queued is in the journal alone, which must keep it */
	l->checkpointing = false;
	l->next_checkpoint = l->now_ms + RETRY_MS;
	free(c);
}

static void
checkpoint(struct local *l)
{
	struct checkpoint *c;
	uint64_t lsn = local_oldest(l);

	if (l->checkpointing || lsn == l->synced || (c = calloc(1, sizeof *c)) == NULL)
		return;
	c->job = (struct crew_job){ .run = checkpoint_run, .done = checkpoint_done, .lane = CREW_READ };
	c->l = l;
	c->lsn = lsn;
	l->checkpointing = true;
	if (l->be.queue != NULL)
		local_queue_save(l, checkpoint_flush, c);
	else
		checkpoint_flush(c, 0);
}

uint64_t
local_tick(struct store_backend *be, uint64_t now_ms)
{
	struct local *l = (struct local *)be;
	unsigned used, spare, max;

	if (l->next_checkpoint == UINT64_MAX)
		l->next_checkpoint = now_ms + CHECKPOINT_MS;
	if (l->now_ms == 0)
		l->keep_until = now_ms + KEEP_MS;
	l->now_ms = now_ms;
	local_carry(l);
	if (!TAILQ_EMPTY(&l->failing) && now_ms >= l->next_retry) {
		l->next_retry = now_ms + RETRY_MS;
		local_retry_failed(l);
	}
	journal_segments(l->journal, &used, &spare, &max);
	if (now_ms >= l->keep_until && journal_recyclable(l->journal, l->synced) > 0) {
		local_recycle(l);
		journal_segments(l->journal, &used, &spare, &max);
	}
	local_make_spare(l, false); /* one after the other, until the journal has its room */
	if (now_ms >= l->next_checkpoint ||
	    (used > max / 2 && journal_recyclable(l->journal, local_oldest(l)) > 0 &&
	     journal_recyclable(l->journal, l->synced) == 0)) {
		l->next_checkpoint = now_ms + CHECKPOINT_MS;
		checkpoint(l);
	}
	if (used > max / 2) /* somebody may be held back */
		return now_ms + PACE_SLICE_US / 1000;
	if (!TAILQ_EMPTY(&l->failing) || used == max / 2)
		return now_ms + 100;
	return l->next_checkpoint;
}
