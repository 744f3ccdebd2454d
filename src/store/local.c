/* store/local.c - the main thread's side of the local engine.
 *
 * A turn of the process gathers transactions (local_commit), then local_flush() has them written with one flush, and
 * everybody is told; only then the files follow, by jobs. What is accepted is in the journal, what is applied but not
 * yet flushed by the file system stays in the journal too, until a checkpoint has had its syncfs. */
#include "store/local.h"

#include "store/maildir.h"
#include "store/record.h"
#include "store/uidset.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SEGMENT_OCTETS (64ull << 20)
#define SEGMENTS 4
#define CHECKPOINT_MS 30000
#define RETRY_MS 1000
#define KEEP_MS 5000
#define OPEN_BOXES_MAX 1024 /* with two descriptors each */
#define HASH_SIZE 4096

enum store_rc
local_rc(int rc)
{
	switch (rc) {
	case 0:
		return STORE_OK;
	case PT_ENOENT:
		return STORE_NOTFOUND;
	case PT_EFULL:
		return STORE_FULL;
	case PT_ETOOBIG:
	case PT_EINVAL:
		return STORE_INVALID;
	default:
		return STORE_TEMP;
	}
}

/* --- boxes --------------------------------------------------------------------------------------------- */

static size_t
hash_of(const char *user, const char *key)
{
	size_t h = 5381;

	for (; *user != '\0'; user++)
		h = h * 33 ^ (uint8_t)*user;
	for (h = h * 33 ^ '/'; *key != '\0'; key++)
		h = h * 33 ^ (uint8_t)*key;
	return h;
}

static void
forget(struct local *l, struct box *b)
{
	struct box **at = &l->hash[hash_of(b->user, b->key) % l->nhash];

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
	TAILQ_REMOVE(&l->lru, b, lru);
	l->nboxes--;
	box_close(b);
	names_free(&b->names);
	free(b);
}

/* Idle boxes go, the one that was used longest ago first; what is watched stays. */
static void
trim(struct local *l)
{
	struct box *b, *next;

	for (b = TAILQ_FIRST(&l->lru); b != NULL && l->nboxes > OPEN_BOXES_MAX; b = next) {
		next = TAILQ_NEXT(b, lru);
		if (b->wd_new < 0 && b->names == NULL)
			forget(l, b);
	}
}

struct box *
local_find(struct local *l, const char *user, const char *key)
{
	struct box *b = l->hash[hash_of(user, key) % l->nhash];

	while (b != NULL && (strcmp(b->user, user) != 0 || strcmp(b->key, key) != 0))
		b = b->hash_next;
	return b;
}

struct box *
local_box(struct local *l, const char *user, const char *key)
{
	struct box **at, *b = local_find(l, user, key);

	if (b != NULL)
		return b;
	at = &l->hash[hash_of(user, key) % l->nhash];
	trim(l);
	if ((b = calloc(1, sizeof *b)) == NULL)
		return NULL;
	snprintf(b->user, sizeof b->user, "%s", user);
	snprintf(b->key, sizeof b->key, "%s", key);
	b->wd_new = b->wd_cur = b->dir_fd = b->index_fd = -1;
	b->hash_next = *at;
	*at = b;
	l->nboxes++;
	TAILQ_INSERT_TAIL(&l->lru, b, lru);
	return b;
}

void
local_submit(struct local *l, struct crew_job *j, struct box *const *boxes, unsigned n)
{
	struct crew_strand *strands[CREW_STRANDS_INLINE];
	unsigned i;

	for (i = 0; i < n; i++) {
		if (boxes[i]->jobs++ == 0)
			TAILQ_REMOVE(&l->lru, boxes[i], lru);
		strands[i] = &boxes[i]->strand;
	}
	crew_submit(l->crew, j, strands, n);
}

void
local_submit_read(struct local *l, struct crew_job *j, struct box *b)
{
	if (b != NULL && b->stuck > 0) {
		if (b->jobs++ == 0)
			TAILQ_REMOVE(&l->lru, b, lru);
		j->refused(j);
		j->done(j);
		return;
	}
	local_submit(l, j, &b, b == NULL ? 0 : 1);
}

void
local_box_left(struct local *l, struct box *b)
{
	PT_ASSERT(b->jobs > 0);
	if (--b->jobs == 0)
		TAILQ_INSERT_TAIL(&l->lru, b, lru);
}

/* --- applying ------------------------------------------------------------------------------------------ */

/* A box is no longer replayed once all that was replayed is applied: names cost memory. */
static void
names_drop(struct local *l)
{
	struct box *b;
	size_t i;

	for (i = 0; i < l->nhash; i++)
		for (b = l->hash[i]; b != NULL; b = b->hash_next)
			if (b->jobs == 0)
				names_free(&b->names);
}

static void
apply_over(struct local *l, struct apply *a)
{
	bool replayed = a->commit == NULL;

	TAILQ_REMOVE(&l->applying, a, next);
	l->owed -= a->owed;
	if (!replayed)
		a->commit->applied(a->commit);
	buf_fini(&a->text);
	free(a);
	if (replayed && l->replaying &&
	    (TAILQ_EMPTY(&l->applying) || TAILQ_FIRST(&l->applying)->commit != NULL)) {
		l->replaying = false;
		names_drop(l);
		names_free(&l->graves);
		names_free(&l->ended);
		l->next_checkpoint = 0; /* the journal is as full as it was: empty it */
	}
}

void
local_apply_failed(struct local *l, struct apply_job *aj)
{
	aj->parked = true;
	TAILQ_INSERT_TAIL(&l->failing, aj, retry);
	if (aj->tries++ == 0) {
		log_msg(LOG_L_ERROR, "cannot write into mailbox %s of %s: %s; trying again every second; the journal "
			"has what was accepted, and nothing more is accepted for it", aj->box[0]->key,
			aj->box[0]->user, pt_strerror(aj->rc));
		l->next_retry = 0; /* the first time soon: until then who asks waits */
	} else {
		local_block(l, aj);
	}
}

static void
apply_done(struct crew_job *j)
{
	struct apply_job *aj = (struct apply_job *)j;
	struct local *l = aj->l;
	unsigned i;

	if (aj->settling) {
		settle_wait(l, aj);
		return;
	}
	l->retrying -= aj->tries > 0;
	if (aj->job.again) {
		local_apply_failed(l, aj);
		return;
	}
	if (aj->tries > 0)
		log_msg(LOG_L_NOTICE, "mailbox %s of %s can be written again", aj->box[0]->key,
			aj->box[0]->user);
	if (aj->kept)
		log_msg(LOG_L_ERROR, "mailbox %s of %s keeps its name: another program has made a folder of the new one",
			aj->box[1]->key, aj->box[1]->user);
	local_unblock(aj);
	for (i = 0; i < aj->nboxes; i++)
		local_box_left(l, aj->box[i]);
	TAILQ_REMOVE(&aj->a->parts, aj, of);
	if (--aj->a->jobs == 0)
		apply_over(l, aj->a);
	free(aj);
}

static struct apply_job *
part_new(struct local *l, struct apply *a, size_t hint)
{
	struct apply_job *aj = calloc(1, sizeof *aj);

	PT_ASSERT(aj != NULL); /* it is durable: who cannot carry it out must end and replay */
	aj->job = (struct crew_job){ .run = apply_run, .done = apply_done, .lane = CREW_APPLY };
	aj->l = l;
	aj->a = a;
	aj->hint = hint;
	aj->order = ++l->parts_made;
	a->jobs++;
	TAILQ_INSERT_TAIL(&a->parts, aj, of);
	return aj;
}

static void
part_box(struct apply_job *aj, const char *user, const char *key)
{
	struct box *b = local_box(aj->l, user, key);
	unsigned i;

	PT_ASSERT(b != NULL);
	for (i = 0; i < aj->nboxes; i++)
		if (aj->box[i] == b)
			return;
	PT_ASSERT(aj->nboxes < CREW_STRANDS_INLINE);
	aj->box[aj->nboxes++] = b;
}

static void
part_words(struct apply_job *aj, const struct record_line *line, unsigned key_word)
{
	char user[STORE_USER_MAX + 1], key[STORE_BOX_MAX + 1];

	PT_ASSERT(record_word(line->word[0], user, sizeof user) &&
		record_word(line->word[key_word], key, sizeof key));
	part_box(aj, user, key);
}

/* Whether messages go from one mailbox to another: then the lines belong together. */
static bool
is_joint(struct span text)
{
	struct record_line line;
	bool bad;

	while (record_next(&text, &line, &bad))
		if (line.kind == 'S')
			return true;
	return false;
}

/* How many UIDs with a hint a line has. */
static size_t
hints_of(const struct apply *a, const struct record_line *line)
{
	struct uidset_range r;
	struct index_line x;
	bool bad;
	size_t n = 0;

	if (a->hints == NULL)
		return 0;
	if (line->kind == 'S')
		return 1;
	if (line->kind != '=' && line->kind != '-')
		return 0;
	PT_ASSERT(index_line_parse(line->raw, &x, &bad) > 0);
	while (uidset_next(&x.text, &r))
		n += r.last - r.first + 1;
	return n;
}

static void
submit(struct apply_job *aj, const uint8_t *end)
{
	aj->text.n = (size_t)(end - aj->text.p);
	PT_ASSERT(aj->nboxes > 0);
	local_submit(aj->l, &aj->job, aj->box, aj->nboxes);
	local_block_behind(aj->l, aj);
}

/* What makes, removes or renames a mailbox is the user's, too: a list comes behind it. */
static void
add_boxes(struct apply_job *aj, const struct record_line *line, struct span rest)
{
	char space[STORE_SPACE_MAX + 1], user[STORE_USER_MAX + 1];

	switch (line->kind) {
	case 'R':
		part_words(aj, line, 2);
		/* FALLTHROUGH */
	case 'B':
	case 'S':
	case 'D':
		part_words(aj, line, 1);
		break;
	case 'V':
	case 'v':
		PT_ASSERT(record_word(line->word[0], space, sizeof space));
		part_box(aj, "", space);
		return;
	}
	if (line->kind == 'S' || (line->kind == 'B' && (rest.n == 0 || rest.p[0] != 'P')))
		return;
	PT_ASSERT(record_word(line->word[0], user, sizeof user));
	part_box(aj, user, "");
}

/* Cuts a transaction into jobs: one for each mailbox, so that one slow one does not delay the others. */
void
local_apply_start(struct local *l, struct apply *a, struct span text)
{
	struct apply_job *aj = NULL;
	struct record_line line;
	struct span whole = text;
	bool joint = is_joint(text), bad;
	size_t hint = 0;

	TAILQ_INSERT_TAIL(&l->applying, a, next);
	TAILQ_INIT(&a->parts);
	a->jobs = 1; /* until local_apply_started() */
	a->whole = text.p;
	while (record_next(&text, &line, &bad)) {
		if (strchr("BSDRsVv", line.kind) != NULL && (aj == NULL || (!joint && line.kind != 'S'))) {
			if (aj != NULL)
				submit(aj, line.raw.p);
			aj = part_new(l, a, hint);
			aj->text.p = joint ? whole.p : line.raw.p;
		}
		if (strchr("BSDRsVv", line.kind) != NULL)
			add_boxes(aj, &line, text);
		hint += hints_of(a, &line);
	}
	PT_ASSERT(!bad);
	if (aj != NULL)
		submit(aj, whole.p + whole.n);
}

void
local_apply_started(struct local *l, struct apply *a)
{
	if (--a->jobs == 0)
		apply_over(l, a);
}

static void
retry_failed(struct local *l)
{
	struct apply_job *aj, *next;

	for (aj = TAILQ_FIRST(&l->failing); aj != NULL; aj = next) {
		next = TAILQ_NEXT(aj, retry);
		if (aj->a->carried)
			continue;
		TAILQ_REMOVE(&l->failing, aj, retry);
		aj->parked = false;
		l->retrying++;
		crew_again(l->crew, &aj->job);
	}
}

/* --- checkpoints ---------------------------------------------------------------------------------------- */

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

static uint64_t
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
		retry_failed(l);
	}
	journal_segments(l->journal, &used, &spare, &max);
	if (now_ms >= l->keep_until && journal_recyclable(l->journal, l->synced)) {
		local_recycle(l);
		journal_segments(l->journal, &used, &spare, &max);
	}
	local_make_spare(l, false); /* one after the other, until the journal has its room */
	if (now_ms >= l->next_checkpoint ||
	    (used > max / 2 && journal_recyclable(l->journal, local_oldest(l)) &&
	     !journal_recyclable(l->journal, l->synced))) {
		l->next_checkpoint = now_ms + CHECKPOINT_MS;
		checkpoint(l);
	}
	if (!TAILQ_EMPTY(&l->failing) || used > max / 2)
		return now_ms + 100;
	return l->next_checkpoint;
}

/* --- other programs ------------------------------------------------------------------------------------ */

#define WATCHED (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR | IN_DONT_FOLLOW)

/* The kernel has no way to watch by descriptor: the working folder becomes the mail root, the only use of it here.
 * A link on the way could make us hear of another folder; nothing but a scan of ours would follow. */
static int
watch_one(struct local *l, const struct box *b, const char *part)
{
	char folder[STORE_BOX_MAX + 2], path[STORE_USER_MAX + STORE_BOX_MAX + 32];

	maildir_folder(b->key, folder);
	snprintf(path, sizeof path, "%s/Maildir/%s/%s", b->user, folder, part);
	if (fchdir(l->conf.mail_fd) != 0)
		return -1;
	return inotify_add_watch(l->inotify_fd, path, WATCHED);
}

static int
local_watch(struct store_backend *be, const char *user, const char *key, bool on)
{
	struct local *l = (struct local *)be;
	struct box *b = local_box(l, user, key);

	if (b == NULL)
		return PT_ENOMEM;
	if (on && b->wd_new < 0) {
		b->wd_new = watch_one(l, b, "new");
		b->wd_cur = watch_one(l, b, "cur");
		return b->wd_new < 0 || b->wd_cur < 0 ? PT_EUNAVAIL : 0;
	}
	if (!on) {
		if (b->wd_new >= 0)
			(void)inotify_rm_watch(l->inotify_fd, b->wd_new);
		if (b->wd_cur >= 0)
			(void)inotify_rm_watch(l->inotify_fd, b->wd_cur);
		b->wd_new = b->wd_cur = -1;
	}
	return 0;
}

static struct box *
watched(struct local *l, int wd)
{
	struct box *b;
	size_t i;

	for (i = 0; i < l->nhash; i++)
		for (b = l->hash[i]; b != NULL; b = b->hash_next)
			if (wd >= 0 && (b->wd_new == wd || b->wd_cur == wd))
				return b;
	return NULL;
}

/* Some of what happened is lost (the kernel keeps so many events): anything may have changed. */
static void
touch_all(struct local *l)
{
	struct box *b;
	size_t i;

	for (i = 0; i < l->nhash; i++)
		for (b = l->hash[i]; b != NULL; b = b->hash_next)
			if (b->wd_new >= 0 || b->wd_cur >= 0)
				l->be.touched(l->be.touched_arg, b->user, b->key, span_str(""), false, false);
}

static void
read_events(struct local *l)
{
	char events[8192] __attribute__((aligned(8)));
	const struct inotify_event *e;
	struct box *b = NULL;
	ssize_t n, at;
	int wd = -1;

	while ((n = read(l->inotify_fd, events, sizeof events)) > 0)
		for (at = 0; at < n; at += (ssize_t)(sizeof *e + e->len)) {
			e = (const struct inotify_event *)(const void *)(events + at);
			if (l->be.touched == NULL)
				continue;
			if (e->mask & IN_Q_OVERFLOW) {
				touch_all(l);
				continue;
			}
			if (b == NULL || e->wd != wd)
				b = watched(l, wd = e->wd);
			if (b != NULL && !(e->mask & IN_IGNORED))
				l->be.touched(l->be.touched_arg, b->user, b->key,
					span_str(e->len > 0 ? e->name : ""), e->wd == b->wd_new,
					(e->mask & (IN_MOVED_FROM | IN_DELETE)) != 0);
		}
}

/* --- open and close ------------------------------------------------------------------------------------ */

static int
local_fd(const struct store_backend *be)
{
	return ((const struct local *)be)->epoll_fd;
}

static void
local_dispatch(struct store_backend *be)
{
	struct local *l = (struct local *)be;

	if (l->inotify_fd >= 0)
		read_events(l);
	crew_dispatch(l->crew);
}

static enum store_rc
room_in(const struct local *l, int fd, uint64_t octets)
{
	struct statvfs v;

	if (fstatvfs(fd, &v) != 0)
		return STORE_TEMP;
	if (v.f_flag & ST_RDONLY)
		return STORE_TEMP;
	/* 0 blocks: a file system in memory without a limit */
	if (v.f_blocks > 0 && (uint64_t)v.f_bavail * v.f_frsize < octets + l->owed + l->conf.margin_octets)
		return STORE_FULL;
	/* file systems that make inodes as they need them say 0 of 0 */
	return v.f_files > 0 && v.f_favail < l->conf.margin_inodes ? STORE_FULL : STORE_OK;
}

static enum store_rc
local_room(struct store_backend *be, uint64_t octets)
{
	struct local *l = (struct local *)be;
	enum store_rc rc = room_in(l, l->conf.mail_fd, octets);

	return rc == STORE_OK && l->queue_apart ? room_in(l, l->conf.queue_fd, octets) : rc;
}

static void
wait_for_flight(struct local *l)
{
	struct pollfd p = { .fd = crew_fd(l->crew), .events = POLLIN };

	while (l->flights > 0 || l->checkpointing || l->making_spare || l->is_settling) {
		(void)poll(&p, 1, -1);
		crew_dispatch(l->crew);
	}
}

static void
tidy_saved(void *arg, int rc)
{
	*(int *)arg = rc;
}

static void
tidy_up(struct local *l)
{
	struct checkpoint c = { .l = l, .lsn = journal_next(l->journal) };
	int rc = 0;

	if (c.lsn == l->synced)
		return;
	if (l->be.queue != NULL) {
		local_queue_save(l, tidy_saved, &rc);
		crew_drain(l->crew);
	}
	if (rc != 0)
		return; /* the journal has it */
	checkpoint_run(&c.job);
	checkpoint_end(l, c.lsn, c.rc);
}

static void
local_close(struct store_backend *be)
{
	struct local *l = (struct local *)be;
	struct box *b;
	size_t i;

	l->closing = true;
	if (l->crew != NULL && !l->failed) {
		wait_for_flight(l);
		for (i = 0; i < 3; i++) { /* the end of a checkpoint has something to say */
			local_flush(be);
			if (TAILQ_EMPTY(&l->failing))
				crew_drain(l->crew);
			else /* what stands behind a mailbox that cannot be written never begins */
				wait_for_flight(l);
			if (i == 1 && l->conf.tidy && !l->failed && TAILQ_EMPTY(&l->applying))
				tidy_up(l);
		}
		if (l->queued != NULL) {
			local_fail(l);
			if (TAILQ_EMPTY(&l->failing))
				crew_drain(l->crew); /* what was refused is read again */
		}
	} else if (l->crew != NULL) { /* who waits for something is still there */
		if (TAILQ_EMPTY(&l->failing))
			crew_drain(l->crew);
		else
			wait_for_flight(l);
	}
	crew_free(&l->crew);
	while (l->flights > 0) { /* their threads have gone: nobody can say how it went */
		local_answer(l->flight[l->first_flight].list, true, STORE_TEMP);
		l->first_flight = (l->first_flight + 1) % JOURNAL_FLIGHTS;
		l->flights--;
	}
	for (i = 0; i < l->nhash; i++)
		while ((b = l->hash[i]) != NULL) {
			l->hash[i] = b->hash_next;
			box_close(b);
			names_free(&b->names);
			free(b);
		}
	nursery_close(&l->nursery);
	journal_close(&l->journal);
	if (l->tmp_fd >= 0)
		close(l->tmp_fd);
	if (l->inotify_fd >= 0)
		close(l->inotify_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	names_free(&l->graves);
	buf_fini(&l->mark.text);
	names_free(&l->ended);
	free(l->hash);
	free(l->drops);
	free(l->eml.id);
	free(l->bad_env.id);
	free(l->no_eml.id);
	free(l);
}

struct replay {
	struct local *l;
	store_key_f *key_f;
	store_id_f *id_f;
	void *arg;
	TAILQ_HEAD(, apply) records;
	uint64_t mark; /* what is below was in the files for good */
};

static void
replay_key(struct replay *r, const struct record_line *line)
{
	char space[STORE_SPACE_MAX + 1], key[STORE_KEY_MAX + 1], value[STORE_VALUE_MAX + 1];
	uint64_t version, expires = 1;

	if (r->key_f == NULL || !record_word(line->word[0], space, sizeof space) ||
	    !record_word(line->word[1], key, sizeof key) || !record_number(line->word[2], &version))
		return;
	value[0] = '\0';
	if (line->kind == 'V' && (!record_number(line->word[3], &expires) || expires > INT64_MAX ||
	    !record_word(line->word[4], value, sizeof value)))
		return;
	r->key_f(r->arg, space, key, version, line->kind == 'v' ? -1 : (int64_t)expires, span_str(value));
}

static int
replay_line(struct replay *r, const struct record_line *line, struct span text)
{
	switch (line->kind) {
	case 'V':
	case 'v':
		replay_key(r, line);
		return 0;
	case 'T':
		if (r->id_f != NULL && line->word[0].n == 32)
			r->id_f(r->arg, (const char *)line->word[0].p, text);
		return 0;
	case 'D':
		return names_add(r->l->ended, line->word[2], 0, 0);
	case 'R':
		return names_add(r->l->ended, line->word[3], 0, 0);
	default:
		return 0;
	}
}

static int
replay_record(void *arg, const struct journal_record *rec, const struct journal_place *at)
{
	struct replay *r = arg;
	struct record_line line;
	struct span text = rec->text;
	struct apply *a;
	uint64_t lsn;
	bool bad;
	int rc;

	while (record_next(&text, &line, &bad)) {
		if (r->l->be.queue == NULL && (line.kind == 'Q' || line.kind == 'q')) {
			log_msg(LOG_L_ERROR, "the journal has queued messages, and whoever opens it here would lose them");
			return PT_EINVAL;
		}
		if (line.kind == 'C') { /* alone in its record */
			if (record_number(line.word[0], &lsn) && lsn <= rec->lsn && lsn > r->mark)
				r->mark = lsn;
			return 0;
		}
		if ((rc = replay_line(r, &line, rec->text)) != 0)
			return rc;
	}
	if (bad) { /* its CRC was right: written by a version that knows more */
		log_msg(LOG_L_ERROR, "journal record %llu has a line that this version does not know; skipped",
			(unsigned long long)rec->lsn);
		return 0;
	}
	if ((a = calloc(1, sizeof *a)) == NULL)
		return PT_ENOMEM;
	a->lsn = rec->lsn;
	a->at = *at;
	buf_init(&a->text, rec->text.n);
	if ((rc = buf_append(&a->text, rec->text.p, rec->text.n)) != 0) {
		free(a);
		return rc;
	}
	TAILQ_INSERT_TAIL(&r->records, a, next);
	return 0;
}

static void
replay_queue(struct local *l, const struct apply *a)
{
	int rc = l->be.queue == NULL ? 0 : queue_take(l->be.queue, buf_span(&a->text), a->at.segment, a->at.body);

	PT_ASSERT(rc != PT_ENOMEM); /* half a queue is none */
	if (rc != 0)
		log_msg(LOG_L_ERROR, "journal record %llu says of the queue what cannot be; skipped",
			(unsigned long long)a->lsn);
}

/* What no checkpoint covers is carried out again, if all of it can be. Returns how many records. */
static uint64_t
replay_start(struct replay *r, bool all)
{
	struct apply *a;
	uint64_t n = 0;

	while ((a = TAILQ_FIRST(&r->records)) != NULL) {
		TAILQ_REMOVE(&r->records, a, next);
		if (!all || a->lsn < r->mark) {
			buf_fini(&a->text);
			free(a);
			continue;
		}
		n++;
		a->owed = a->at.body_len;
		r->l->owed += a->owed;
		replay_queue(r->l, a);
		local_apply_start(r->l, a, buf_span(&a->text));
		local_apply_started(r->l, a);
	}
	return n;
}

static int
replay(struct local *l, store_key_f *key_f, store_id_f *id_f, void *arg, struct diag *diag)
{
	struct replay r = { .l = l, .key_f = key_f, .id_f = id_f, .arg = arg };
	uint64_t gaps, n;
	int rc;

	TAILQ_INIT(&r.records);
	l->replaying = true;
	if ((l->ended = names_new()) == NULL)
		return diag_set(diag, PT_ENOMEM, "out of memory");
	if ((l->graves = graves_read(l->tmp_fd)) == NULL)
		return diag_set(diag, PT_EIO, "cannot read .tmp in the mail folder: %s", pt_strerror(PT_EIO));
	if ((rc = local_keys(l, key_f, arg, diag)) != 0 || (rc = local_queue_load(l, diag)) != 0)
		return rc;
	rc = journal_replay(l->journal, replay_record, &r, &gaps, diag);
	n = replay_start(&r, rc == 0);
	if (rc != 0)
		return rc;
	l->was_synced = r.mark;
	local_queue_replayed(l);
	if (gaps > 0)
		log_msg(LOG_L_ERROR, "%llu records are missing in the journal: if the disk had failed before, nobody was "
			"told that they were accepted; otherwise its files were changed",
			(unsigned long long)gaps);
	if (n > 0)
		log_msg(LOG_L_NOTICE, "the journal had %llu records: they are carried out again", (unsigned long long)n);
	if (TAILQ_EMPTY(&l->applying)) {
		l->replaying = false;
		names_free(&l->graves);
		names_free(&l->ended);
	}
	return 0;
}

static int
open_tmp(struct local *l, struct diag *diag)
{
	if (mkdirat(l->conf.mail_fd, ".tmp", 0700) != 0 && errno != EEXIST)
		return diag_set(diag, PT_EIO, "cannot make .tmp in the mail folder: %s", strerror(errno));
	l->tmp_fd = openat(l->conf.mail_fd, ".tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->tmp_fd < 0)
		return diag_set(diag, PT_EIO, "cannot open .tmp in the mail folder: %s", strerror(errno));
	return 0;
}

static int
open_descriptors(struct local *l, struct diag *diag)
{
	struct epoll_event ev = { .events = EPOLLIN };

	l->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, crew_fd(l->crew), &ev) != 0 ||
	    (l->inotify_fd >= 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->inotify_fd, &ev) != 0))
		return diag_set(diag, PT_EUNAVAIL, "out of descriptors");
	return open_tmp(l, diag);
}

/* Once the journal is ours alone. */
static int
open_nursery(struct local *l, struct diag *diag)
{
	l->nursery = nursery_open(l->tmp_fd, NULL);
	return l->nursery != NULL ? 0 : diag_set(diag, PT_ENOMEM, "out of memory");
}

static const struct store_backend_ops local_ops = {
	.name = "local",
	.caps = STORE_CAP_MAILDIR | STORE_CAP_ATOMIC_MULTI | STORE_CAP_LINK_COPY | STORE_CAP_EXTERNAL,
	.close = local_close,
	.fd = local_fd,
	.dispatch = local_dispatch,
	.next_id = local_next_id,
	.commit = local_commit,
	.flush = local_flush,
	.load = local_load,
	.log_open = local_log_open,
	.log_compact = local_log_compact,
	.keys_replace = local_keys_replace,
	.blob_open = local_blob_open,
	.queue_open = local_queue_open,
	.file_new = local_file_new,
	.file_sync = local_file_sync,
	.file_drop = local_file_drop,
	.list = local_list,
	.users = local_users,
	.scan = local_scan,
	.rebuild = local_rebuild,
	.check = local_check,
	.stat = local_stat,
	.watch = local_watch,
	.stuck = local_stuck,
	.room = local_room,
	.tick = local_tick,
};

static struct local *
local_new(const struct local_conf *conf)
{
	struct local *l = calloc(1, sizeof *l);
	unsigned threads[CREW_LANES];

	if (l == NULL)
		return NULL;
	l->be.ops = &local_ops;
	l->conf = *conf;
	l->be.margin_octets = conf->margin_octets;
	l->be.queue = conf->queue;
	maildir_host(conf->host, l->host);
	l->tmp_fd = l->inotify_fd = l->epoll_fd = -1;
	l->queued_end = &l->queued;
	l->batch_end = &l->batch;
	l->next_checkpoint = UINT64_MAX;
	TAILQ_INIT(&l->lru);
	TAILQ_INIT(&l->applying);
	TAILQ_INIT(&l->failing);
	STAILQ_INIT(&l->queue_turns);
	TAILQ_INIT(&l->settle_next);
	TAILQ_INIT(&l->settle_now);
	threads[CREW_APPLY] = conf->apply_threads > 0 ? conf->apply_threads : 2;
	threads[CREW_READ] = conf->read_threads > 0 ? conf->read_threads : 4;
	threads[CREW_FLUSH] = JOURNAL_FLIGHTS;
	if ((l->hash = calloc(HASH_SIZE, sizeof *l->hash)) != NULL)
		l->nhash = HASH_SIZE;
	l->crew = crew_new(threads);
	if (l->hash == NULL || l->crew == NULL) {
		local_close(&l->be);
		return NULL;
	}
	return l;
}

int
local_open(const struct local_conf *conf, store_key_f *key_f, store_id_f *id_f, void *arg,
	   struct store_backend **be_out, struct diag *diag)
{
	struct journal_conf jc = { .segment_octets = conf->segment_octets, .segments = conf->segments };
	struct local *l;
	int rc;

	*be_out = NULL;
	if (jc.segment_octets == 0)
		jc.segment_octets = SEGMENT_OCTETS;
	if (jc.segments == 0)
		jc.segments = SEGMENTS;
	if ((l = local_new(conf)) == NULL)
		return diag_set(diag, PT_ENOMEM, "out of memory or threads");
	l->segment_octets = jc.segment_octets;
	if ((rc = open_descriptors(l, diag)) != 0 ||
	    (rc = journal_open(conf->journal_fd, &jc, &l->journal, diag)) != 0 ||
	    (rc = open_nursery(l, diag)) != 0 ||
	    (rc = replay(l, key_f, id_f, arg, diag)) != 0) {
		l->failed = true; /* carries nothing out */
		local_close(&l->be);
		return rc;
	}
	local_sweep(l);
	*be_out = &l->be;
	return 0;
}
