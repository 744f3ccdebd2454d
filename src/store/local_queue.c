/* store/local_queue.c - what is still queued at a checkpoint gets files, <queue id>.eml and .env; what is done loses them; and what is
 * queued is read again at the start. Nothing of it happens for a message that is done before a checkpoint.
 *
 * Until the checkpoint's flush the journal has all of it, so files need no flush of their own, but where an .env takes the
 * place of one that was flushed long ago. A message's file that was there is never written to: somebody may be reading it,
 * across the end of a store process. */
#include "store/local.h"

#include "store/hex.h"
#include "store/maildir.h"
#include "util/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAVE_MAX 128                /* messages of one job: the main thread makes their lines in between */
#define SAVE_OCTETS_MAX (512u << 10)
#define NAME_ROOM 40
#define SAID_MAX 10                 /* files that the log tells one by one */

/* --- files --------------------------------------------------------------------------------------------------------- */

/* "<16 hex>.eml" */
static void
file_name(char out[NAME_ROOM], uint64_t qid, const char *end)
{
	snprintf(out, NAME_ROOM, "%016llx.%s", (unsigned long long)qid, end);
}

static bool
name_parse(const char *name, const char *end, uint64_t *qid_out)
{
	return strlen(name) == 17 + strlen(end) && name[16] == '.' && strcmp(name + 17, end) == 0 &&
		hex_get((const uint8_t *)name, 16, qid_out);
}

static int
take_name(int dir_fd, const char *from, const char *to)
{
	return renameat(dir_fd, from, dir_fd, to) == 0 ? 0 : maildir_error(errno);
}

/* Where making files is quick: messages come and go here all the time. In its place it is whole. */
static int
write_file(struct local *l, const char *name, struct span s, bool flush)
{
	struct nursery_file f;
	char tmp[NAME_ROOM];
	int rc;

	snprintf(tmp, sizeof tmp, "%s.new", name);
	if ((rc = nursery_make(l->queue_nursery, tmp, &f)) != 0)
		return rc;
	rc = maildir_write(f.fd, s.p, s.n);
	if (rc == 0 && flush && fdatasync(f.fd) != 0)
		rc = PT_EIO;
	if (rc == 0 && renameat(f.folder, tmp, l->conf.queue_fd, name) != 0)
		rc = maildir_error(errno);
	nursery_done(l->queue_nursery, &f, rc == 0 ? NULL : tmp);
	return rc;
}

static int
copy_file(int from, int dir_fd, const char *name)
{
	uint8_t *octets = malloc(65536);
	int to = octets == NULL ? PT_ENOMEM : maildir_open(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC), rc = 0;
	ssize_t n = 0;

	while (to >= 0 && rc == 0 && (n = read(from, octets, 65536)) > 0)
		rc = maildir_write(to, octets, (size_t)n);
	if (to >= 0)
		close(to);
	free(octets);
	return to < 0 ? to : rc != 0 ? rc : n < 0 ? PT_EIO : 0;
}

/* --- saving -------------------------------------------------------------------------------------------------------- */

struct item {
	uint64_t qid, octets;
	struct queue_body body;
	struct buf text;
	bool all, replace, lost;
	uint64_t at;  /* of the .env */
	int rc;
};

struct save {
	struct crew_job job;
	struct queue_turn turn;
	struct local *l;
	struct item item[SAVE_MAX];
	unsigned n;
	uint64_t *gone;
	size_t ngone;
	int rc; /* the first failure of all */
	void (*done)(void *arg, int rc);
	void *arg;
};

static int
save_from_journal(struct local *l, const struct item *it, const char *name)
{
	uint8_t *body = malloc(it->octets > 0 ? it->octets : 1);
	int rc;

	if (body == NULL)
		return PT_ENOMEM;
	if ((rc = journal_read(l->journal, it->body.segment, it->body.off, body, it->octets)) == 0)
		rc = write_file(l, name, (struct span){ body, it->octets }, false);
	free(body);
	return rc;
}

/* A large body has been flushed; it gets another name, or is copied to another file system. */
static int
save_from_tmp(struct local *l, const struct item *it, const char *name)
{
	int from = maildir_open(l->tmp_fd, it->body.file, O_RDONLY), rc = 0;

	if (from < 0)
		return from;
	(void)unlinkat(l->conf.queue_fd, name, 0);
	if (linkat(l->tmp_fd, it->body.file, l->conf.queue_fd, name, 0) != 0)
		rc = errno == EXDEV || errno == EPERM || errno == EACCES
			? copy_file(from, l->conf.queue_fd, name) : maildir_error(errno);
	close(from);
	return rc;
}

/* Whether its file is there and whole: 0, PT_ENOENT; or it cannot be said. */
static int
has_eml(const struct local *l, uint64_t qid, uint64_t octets)
{
	char name[NAME_ROOM];
	struct stat st;

	file_name(name, qid, "eml");
	if (fstatat(l->conf.queue_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return maildir_error(errno);
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size == octets ? 0 : PT_ENOENT;
}

static int
save_message(struct local *l, const struct item *it)
{
	char name[NAME_ROOM], tmp[NAME_ROOM];
	int rc;

	file_name(name, it->qid, "eml");
	file_name(tmp, it->qid, "eml.new");
	if (it->body.in == QUEUE_IN_JOURNAL)
		return save_from_journal(l, it, name);
	if (it->body.in == QUEUE_IN_FILE)
		return 0;
	rc = save_from_tmp(l, it, tmp);
	if (rc == PT_ENOENT) /* a checkpoint before the last start had all of it */
		return has_eml(l, it->qid, it->octets);
	if (rc == 0)
		rc = take_name(l->conf.queue_fd, tmp, name);
	(void)unlinkat(l->conf.queue_fd, tmp, 0); /* also where both were one file: then a rename does nothing */
	return rc;
}

/* Behind what is there; whatever follows it there was not whole. */
static int
append_env(struct local *l, const struct item *it, const char *name)
{
	struct span s = buf_span(&it->text);
	int fd = maildir_open(l->conf.queue_fd, name, O_WRONLY), rc;

	if (fd < 0)
		return fd;
	rc = lseek(fd, (off_t)it->at, SEEK_SET) < 0 ? PT_EIO : maildir_write(fd, s.p, s.n);
	if (rc == 0 && ftruncate(fd, (off_t)(it->at + s.n)) != 0)
		rc = PT_EIO;
	close(fd);
	return rc;
}

static int
save_envelope(struct local *l, const struct item *it)
{
	char name[NAME_ROOM];

	file_name(name, it->qid, "env");
	if (!it->all)
		return append_env(l, it, name);
	return write_file(l, name, buf_span(&it->text), it->replace);
}

static void
save_run(struct crew_job *j)
{
	struct save *s = (struct save *)j;
	unsigned i;

	for (i = 0; i < s->n; i++) {
		struct item *it = &s->item[i];

		it->rc = it->all ? save_message(s->l, it) : 0;
		it->lost = it->rc == PT_ENOENT && it->body.in == QUEUE_IN_TMP;
		if (it->lost)
			it->rc = 0; /* whom it was for is still to be known */
		if (it->rc == 0)
			it->rc = save_envelope(s->l, it);
	}
}

static void
gone_run(struct crew_job *j)
{
	struct save *s = (struct save *)j;
	static const char *const ends[] = { "eml", "env" };
	char name[NAME_ROOM];
	size_t i, k;

	for (i = 0; i < s->ngone; i++)
		for (k = 0; k < PT_COUNT(ends); k++) {
			file_name(name, s->gone[i], ends[k]);
			if (unlinkat(s->l->conf.queue_fd, name, 0) != 0 && errno != ENOENT)
				s->rc = maildir_error(errno);
		}
}

static void
save_over(struct save *s)
{
	struct local *l = s->l;

	if (s->rc != 0 && !l->queue_failed)
		log_msg(LOG_L_ERROR, "what is queued cannot be written to its folder: %s; trying again, the journal has it",
			pt_strerror(s->rc));
	else if (s->rc == 0 && l->queue_failed)
		log_msg(LOG_L_NOTICE, "what is queued can be written to its folder again");
	l->queue_failed = s->rc != 0;
	local_queue_turn_over(l);
	s->done(s->arg, s->rc);
	free(s);
}

static void
gone_done(struct crew_job *j)
{
	struct save *s = (struct save *)j;

	if (s->rc != 0)
		queue_gone_again(s->l->be.queue, s->gone, s->ngone);
	else
		free(s->gone);
	save_over(s);
}

static void save_next(struct save *s);

static void
say_lost(uint64_t qid)
{
	log_msg(LOG_L_ERROR, "queued message %016llx is lost: its file is not there, or not whole. It cannot be delivered; its "
		"envelope stays in queue/%016llx.env until that is removed while the server is stopped",
		(unsigned long long)qid, (unsigned long long)qid);
}

static void
save_done(struct crew_job *j)
{
	struct save *s = (struct save *)j;
	struct queue *q = s->l->be.queue;
	struct queue_entry *e;
	unsigned i;

	for (i = 0; i < s->n; i++) {
		struct item *it = &s->item[i];

		queue_saved(q, it->qid, it->rc == 0, it->all, it->at + buf_size(&it->text));
		if (it->rc != 0)
			s->rc = it->rc;
		if (it->lost && (e = queue_find(q, it->qid)) != NULL) {
			say_lost(it->qid);
			queue_break(q, e);
		}
		buf_fini(&it->text);
	}
	save_next(s);
}

/* The next messages that have changed; then those that are done; then the end. */
static void
save_next(struct save *s)
{
	struct queue *q = s->l->be.queue;
	struct queue_entry *e;
	struct item *it;
	size_t octets = 0;

	for (s->n = 0; s->rc == 0 && s->n < SAVE_MAX && octets < SAVE_OCTETS_MAX; s->n++) {
		it = &s->item[s->n];
		buf_init(&it->text, QUEUE_ENV_MAX);
		if ((e = queue_save_next(q, &it->text, &it->all)) == NULL)
			break;
		it->qid = e->qid;
		it->octets = e->octets;
		it->body = e->body;
		it->replace = it->all && e->saved;
		it->lost = false;
		it->at = it->all ? 0 : e->env_octets;
		octets += buf_size(&it->text);
	}
	s->job = (struct crew_job){ .run = save_run, .done = save_done, .lane = CREW_READ };
	if (s->n == 0) {
		s->gone = s->rc == 0 ? queue_gone(q, &s->ngone) : NULL;
		s->job.run = gone_run;
		s->job.done = gone_done;
	}
	if (s->n == 0 && s->gone == NULL)
		save_over(s);
	else
		crew_submit(s->l->crew, &s->job, NULL, 0);
}

static void
save_begin(void *arg)
{
	struct save *s = arg;

	queue_save_begin(s->l->be.queue);
	save_next(s);
}

void
local_queue_save(struct local *l, void (*done)(void *arg, int rc), void *arg)
{
	struct save *s;

	if (!queue_dirty(l->be.queue)) {
		done(arg, 0);
		return;
	}
	if ((s = calloc(1, sizeof *s)) == NULL) {
		done(arg, PT_ENOMEM);
		return;
	}
	s->l = l;
	s->done = done;
	s->arg = arg;
	local_queue_turn(l, &s->turn, save_begin, s);
}

void
local_queue_turn(struct local *l, struct queue_turn *t, void (*begin)(void *arg), void *arg)
{
	t->begin = begin;
	t->arg = arg;
	STAILQ_INSERT_TAIL(&l->queue_turns, t, next);
	if (STAILQ_FIRST(&l->queue_turns) == t)
		begin(arg);
}

void
local_queue_turn_over(struct local *l)
{
	struct queue_turn *t;

	STAILQ_REMOVE_HEAD(&l->queue_turns, next);
	if ((t = STAILQ_FIRST(&l->queue_turns)) != NULL)
		t->begin(t->arg);
}

/* --- reading a message --------------------------------------------------------------------------------------------- */

struct queue_read {
	struct crew_job job;
	struct local *l;
	uint64_t qid, octets;
	struct queue_body body;
	int fd, rc;
	store_fd_cb *cb;
	void *arg;
};

/* Memory that nobody can change any more. */
static int
read_journal(struct queue_read *r)
{
	uint8_t *body = malloc(r->octets > 0 ? r->octets : 1);
	int rc = PT_ENOMEM;

	if (body == NULL || (r->fd = memfd_create("postern-queued", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0) {
		free(body);
		return rc;
	}
	if ((rc = journal_read(r->l->journal, r->body.segment, r->body.off, body, r->octets)) == 0)
		rc = maildir_write(r->fd, body, r->octets);
	if (rc == 0 && fcntl(r->fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
		rc = PT_EIO;
	free(body);
	return rc;
}

static void
read_run(struct crew_job *j)
{
	struct queue_read *r = (struct queue_read *)j;
	char name[NAME_ROOM];
	struct stat st;

	r->fd = -1;
	if (r->body.in == QUEUE_IN_JOURNAL) {
		r->rc = read_journal(r);
		return;
	}
	file_name(name, r->qid, "eml");
	r->fd = r->body.in == QUEUE_IN_TMP ? maildir_open(r->l->tmp_fd, r->body.file, O_RDONLY) : PT_ENOENT;
	if (r->fd == PT_ENOENT)
		r->fd = maildir_open(r->l->conf.queue_fd, name, O_RDONLY);
	r->rc = r->fd < 0 ? r->fd : fstat(r->fd, &st) != 0 ? PT_EIO
		: (uint64_t)st.st_size != r->octets ? PT_ENOENT : 0;
}

static void
read_done(struct crew_job *j)
{
	struct queue_read *r = (struct queue_read *)j;
	const struct queue_entry *e = queue_find(r->l->be.queue, r->qid);

	if (r->fd >= 0 && (r->rc != 0 || e == NULL || (e->body.in == QUEUE_IN_FILE && r->body.in == QUEUE_IN_JOURNAL))) {
		close(r->fd);
		r->fd = -1;
	}
	if (e == NULL) {
		r->rc = PT_ENOENT;
	} else if (e->body.in == QUEUE_IN_FILE && r->body.in == QUEUE_IN_JOURNAL) {
		/* a checkpoint came in between, and its segment may be another one's by now */
		r->body = e->body;
		crew_submit(r->l->crew, &r->job, NULL, 0);
		return;
	}
	r->cb(r->arg, local_rc(r->rc), r->rc == 0 ? r->fd : -1, r->octets);
	free(r);
}

void
local_queue_open(struct store_backend *be, uint64_t qid, store_fd_cb *cb, void *arg)
{
	struct local *l = (struct local *)be;
	const struct queue_entry *e = l->be.queue == NULL ? NULL : queue_find(l->be.queue, qid);
	struct queue_read *r = e == NULL ? NULL : calloc(1, sizeof *r);

	if (r == NULL) {
		cb(arg, e == NULL ? STORE_NOTFOUND : STORE_TEMP, -1, 0);
		return;
	}
	r->job = (struct crew_job){ .run = read_run, .done = read_done, .lane = CREW_READ };
	r->l = l;
	r->qid = qid;
	r->octets = e->octets;
	r->body = e->body;
	r->cb = cb;
	r->arg = arg;
	crew_submit(l->crew, &r->job, NULL, 0);
}

/* --- the start ----------------------------------------------------------------------------------------------------- */

static int
found_add(struct queue_found *f, uint64_t qid)
{
	size_t cap = f->cap == 0 ? 64 : f->cap * 2;
	uint64_t *grown;

	if (f->n == f->cap) {
		if ((grown = reallocarray(f->id, cap, sizeof *grown)) == NULL)
			return PT_ENOMEM;
		f->id = grown;
		f->cap = cap;
	}
	f->id[f->n++] = qid;
	return 0;
}

static int
load_env(struct local *l, const char *name, uint64_t qid)
{
	const struct queue_entry *e;
	uint8_t *text = NULL;
	struct span s;
	size_t taken = 0;
	struct stat st;
	int fd = maildir_open(l->conf.queue_fd, name, O_RDONLY), rc;

	if (fd < 0)
		return fd == PT_ENOENT ? 0 : fd;
	if (fstat(fd, &st) != 0)
		rc = PT_EIO;
	else if (st.st_size > QUEUE_ENV_MAX)
		rc = PT_EPROTO;
	else if ((rc = read_whole(fd, &text, &s.n)) == 0) {
		s.p = text;
		rc = queue_load(l->be.queue, qid, s, &taken);
	}
	close(fd);
	free(text);
	if (rc == PT_EPROTO)
		return found_add(&l->bad_env, qid);
	if (rc != 0 || (e = queue_find(l->be.queue, qid)) == NULL)
		return rc;
	rc = has_eml(l, qid, e->octets);
	return rc == PT_ENOENT ? found_add(&l->no_eml, qid) : rc;
}

static int
load_one(struct local *l, const char *name)
{
	size_t n = strlen(name);
	uint64_t qid;

	if (name_parse(name, "env", &qid))
		return load_env(l, name, qid);
	if (name_parse(name, "eml", &qid))
		return found_add(&l->eml, qid);
	if (n > 4 && strcmp(name + n - 4, ".new") == 0)
		(void)unlinkat(l->conf.queue_fd, name, 0);
	return 0;
}

int
local_queue_load(struct local *l, struct diag *diag)
{
	struct stat q, k, m;
	struct dirent *e;
	DIR *dir;
	int fd, rc = 0;

	if (l->be.queue == NULL)
		return 0;
	if (fstat(l->conf.queue_fd, &q) != 0 || fstat(l->conf.kv_fd, &k) != 0 || fstat(l->conf.mail_fd, &m) != 0)
		return diag_set(diag, PT_EIO, "cannot look at the queue's folder: %s", strerror(errno));
	l->queue_apart = q.st_dev != k.st_dev && q.st_dev != m.st_dev;
	queue_replaying(l->be.queue, true);
	fd = openat(l->conf.queue_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return diag_set(diag, PT_EIO, "cannot read the queue's folder: %s", strerror(errno));
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if ((rc = load_one(l, e->d_name)) != 0)
			diag_set(diag, rc, "cannot read %s of the queue: %s", e->d_name, pt_strerror(rc));
	if (rc == 0 && errno != 0)
		rc = diag_set(diag, PT_EIO, "cannot read the queue's folder: %s", strerror(errno));
	closedir(dir);
	return rc;
}

static void
found_remove(struct queue_found *f, uint64_t qid)
{
	size_t i, n = 0;

	for (i = 0; i < f->n; i++)
		if (f->id[i] != qid)
			f->id[n++] = f->id[i];
	f->n = n;
}

/* Those that neither the journal nor a whole .env knows. */
static size_t
unknown(const struct queue *q, struct queue_found *f)
{
	size_t i, n = 0;

	for (i = 0; i < f->n; i++)
		if (queue_find(q, f->id[i]) == NULL && !queue_replayed_gone(q, f->id[i]))
			f->id[n++] = f->id[i];
	f->n = n;
	return n;
}

static void
say(const struct queue_found *f, const char *end, const char *what)
{
	size_t i;

	for (i = 0; i < f->n && i < SAID_MAX; i++)
		log_msg(LOG_L_ERROR, "queue/%016llx.%s %s", (unsigned long long)f->id[i], end, what);
	if (f->n > SAID_MAX)
		log_msg(LOG_L_ERROR, "the same of %zu more in the queue's folder", f->n - SAID_MAX);
}

void
local_queue_replayed(struct local *l)
{
	struct queue *q = l->be.queue;
	struct queue_entry *e;
	size_t i;

	if (q == NULL)
		return;
	queue_replaying(q, false);
	if (unknown(q, &l->bad_env) > 0)
		say(&l->bad_env, "env", "is damaged: nobody knows where its message should go. The message in the .eml beside it "
			"stays there; send it again or remove both");
	for (i = 0; i < l->bad_env.n; i++) /* said */
		found_remove(&l->eml, l->bad_env.id[i]);
	if (unknown(q, &l->eml) > 0)
		say(&l->eml, "eml", "has no envelope: nobody knows where it should go. It stays there; send it again or remove it");
	for (i = 0; i < l->no_eml.n; i++)
		if ((e = queue_find(q, l->no_eml.id[i])) != NULL && e->body.in == QUEUE_IN_FILE) {
			say_lost(e->qid);
			queue_break(q, e);
		}
	if (queue_count(q) > 0)
		log_msg(LOG_L_NOTICE, "%zu messages are queued", queue_count(q));
}
