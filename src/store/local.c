/* store/local.c - the main thread's side of the local engine.
 *
 * A turn of the process gathers transactions (local_commit), then local_flush() has them written with one flush, and
 * everybody is told; only then the files follow, by jobs. What is accepted is in the journal, what is applied but not
 * yet flushed by the file system stays in the journal too, until a checkpoint has had its syncfs. */
#include "store/local.h"

#include "store/maildir.h"

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

static void
local_turn(struct store_backend *be, bool begins)
{
	struct local *l = (struct local *)be;

	(begins ? crew_turn_begin : crew_turn_end)(l->crew);
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
	int rc = 0;

	if (journal_next(l->journal) == l->synced)
		return;
	if (l->be.queue != NULL) {
		local_queue_save(l, tidy_saved, &rc);
		crew_drain(l->crew);
	}
	if (rc != 0)
		return; /* the journal has it */
	local_checkpoint_now(l);
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
	nursery_close(&l->queue_nursery);
	journal_close(&l->journal);
	if (l->tmp_fd >= 0)
		close(l->tmp_fd);
	if (l->inotify_fd >= 0)
		close(l->inotify_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	names_free(&l->graves);
	buf_fini(&l->mark.text);
	endings_free(&l->ended);
	free(l->hash);
	free(l->drops);
	free(l->eml.id);
	free(l->bad_env.id);
	free(l->no_eml.id);
	free(l);
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
open_nurseries(struct local *l, struct diag *diag)
{
	l->nursery = nursery_open(l->tmp_fd, NULL);
	if (l->be.queue != NULL)
		l->queue_nursery = nursery_open(l->conf.queue_fd, NULL);
	return l->nursery != NULL && (l->be.queue == NULL || l->queue_nursery != NULL) ? 0
		: diag_set(diag, PT_ENOMEM, "out of memory");
}

static const struct store_backend_ops local_ops = {
	.name = "local",
	.caps = STORE_CAP_MAILDIR | STORE_CAP_ATOMIC_MULTI | STORE_CAP_LINK_COPY | STORE_CAP_EXTERNAL,
	.close = local_close,
	.fd = local_fd,
	.dispatch = local_dispatch, .turn = local_turn,
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
	.file_written = local_file_written,
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
	    (rc = open_nurseries(l, diag)) != 0 ||
	    (rc = local_replay(l, key_f, id_f, arg, diag)) != 0) {
		l->failed = true; /* carries nothing out */
		local_close(&l->be);
		return rc;
	}
	local_sweep(l);
	*be_out = &l->be;
	return 0;
}
