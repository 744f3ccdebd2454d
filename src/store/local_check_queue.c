/* store/local_check_queue.c - whether the queue's files are those of what is queued: a message and an envelope for each that a checkpoint has
 * saved, whole, of the right length, and none beside.
 *
 * Beside a store that goes on: what the table says is copied, then the folder is read in a thread, and what does not fit is looked at
 * again while no checkpoint writes there. Only what is wrong then is a finding. */
#include "store/local.h"

#include "store/hex.h"
#include "store/maildir.h"
#include "store/queue_env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ASIDE "lost"     /* folder for what nobody can deliver */
#define NAME_ROOM 48
#define OLD_S 3600       /* of what was begun and never ended */

/* What a message's files are. */
struct files {
	int rc;               /* they cannot be looked at */
	bool eml, env;        /* there */
	uint64_t octets;      /* of the .eml */
	uint64_t env_octets;
	struct queue_env open;
};

/* What the table says of one that has files. */
struct saved {
	uint64_t qid, octets, env_octets;
};

struct suspect {
	uint64_t qid;
	bool known;   /* the table has it */
	struct saved say;
	struct files f;
	bool move;    /* aside */
	size_t finding;
};

struct queue_look {
	struct crew_job job;
	struct local *l;
	struct checking *c;
	struct saved *saved; /* by id */
	size_t nsaved, saved_cap;
	uint64_t *ids;       /* of the folder's files */
	size_t nids, ids_cap;
	struct suspect *list;
	size_t n, cap;
	struct queue_turn turn;
	void (*done)(void *arg);
	void *arg;
};

static bool
grow(void **list, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap == 0 ? 64 : *cap * 2;
	void *grown;

	if (n < *cap)
		return true;
	if ((grown = reallocarray(*list, more, size)) == NULL)
		return false;
	*list = grown;
	*cap = more;
	return true;
}

/* --- what the table says ------------------------------------------------------------------------------------------ */

static void
copy_saved(void *arg, const struct queue_entry *e)
{
	struct queue_look *q = arg;

	if (!e->saved)
		return;
	if (!grow((void **)&q->saved, q->nsaved, &q->saved_cap, sizeof *q->saved))
		q->c->rc = PT_ENOMEM;
	else
		q->saved[q->nsaved++] = (struct saved){ e->qid, e->octets, e->env_octets };
}

struct queue_look *
queue_look_new(struct local *l, struct checking *c)
{
	struct queue_look *q = calloc(1, sizeof *q);

	if (q == NULL)
		return NULL;
	q->l = l;
	q->c = c;
	queue_each(l->be.queue, copy_saved, q);
	return q;
}

/* --- what the folder has ------------------------------------------------------------------------------------------- */

static void
file_name(char out[NAME_ROOM], const char *folder, uint64_t qid, const char *end)
{
	snprintf(out, NAME_ROOM, "%s%016llx.%s", folder, (unsigned long long)qid, end);
}

static int
look_env(struct queue_look *q, uint64_t qid, const char *name, struct files *out)
{
	int fd = maildir_open(q->l->conf.queue_fd, name, O_RDONLY), rc = 0;
	uint8_t *text = NULL;
	struct buf lines;
	struct span s;
	struct stat st;

	if (fd < 0)
		return fd == PT_ENOENT ? 0 : fd;
	out->env = true;
	if (fstat(fd, &st) != 0 || (st.st_size <= QUEUE_ENV_MAX && read_whole(fd, &text, &s.n) != 0))
		rc = PT_EIO;
	close(fd);
	if (rc != 0 || text == NULL) /* none of ours is as long */
		return rc;
	s.p = text;
	out->env_octets = s.n;
	buf_init(&lines, QUEUE_ENV_MAX);
	rc = queue_env_open(s, qid, &lines, &out->open);
	buf_fini(&lines);
	free(text);
	return rc;
}

static void
look_files(struct queue_look *q, uint64_t qid, struct files *out)
{
	char name[NAME_ROOM];
	struct stat st;

	*out = (struct files){ .rc = 0 };
	file_name(name, "", qid, "eml");
	if (fstatat(q->l->conf.queue_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		out->eml = S_ISREG(st.st_mode);
		out->octets = (uint64_t)st.st_size;
	} else if (errno != ENOENT) {
		out->rc = maildir_error(errno);
	}
	file_name(name, "", qid, "env");
	if (out->rc == 0)
		out->rc = look_env(q, qid, name, out);
}

/* Whether they are what the table says: the message as it was accepted, and an envelope that is whole as far as it was written. What
 * follows there was begun when a process was killed; the next checkpoint writes over it. */
static bool
fits(const struct files *f, const struct saved *s, bool changing)
{
	return f->rc == 0 && f->eml && f->octets == s->octets && f->env && f->open.head > 0 && f->open.octets == s->octets &&
		f->open.whole >= s->env_octets && (changing || f->open.passed == 0);
}

static int
by_id(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return x < y ? -1 : x > y;
}

static void
suspect(struct queue_look *q, uint64_t qid, const struct saved *s)
{
	if (!grow((void **)&q->list, q->n, &q->cap, sizeof *q->list)) {
		q->c->rc = PT_ENOMEM;
		return;
	}
	q->list[q->n++] = (struct suspect){ .qid = qid, .known = s != NULL };
}

static void
see_other(struct queue_look *q, int fd, const char *name)
{
	size_t n = strlen(name);
	struct store_finding *f;
	struct stat st;

	if (name[0] == '.' || strcmp(name, ASIDE) == 0 || strncmp(name, NURSERY_PREFIX, strlen(NURSERY_PREFIX)) == 0 ||
	    fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	if (n <= 4 || strcmp(name + n - 4, ".new") != 0 || !S_ISREG(st.st_mode)) {
		check_found(q->c, "stranger", STORE_FIX_NONE, "queue/%s is not of the store: somebody put it there", name);
		return;
	}
	if (time(NULL) - st.st_mtime < OLD_S || time(NULL) - st.st_ctime < OLD_S)
		return;
	f = check_found(q->c, "leftover", STORE_FIX_TIDY, "queue/%s was begun more than an hour ago and never ended", name);
	if (q->c->tidy && f != NULL)
		f->mended = unlinkat(fd, name, 0) == 0;
}

static void
see(struct queue_look *q, int fd, const char *name)
{
	uint64_t qid;

	if (strlen(name) != 20 || !hex_get((const uint8_t *)name, 16, &qid) ||
	    (strcmp(name + 16, ".eml") != 0 && strcmp(name + 16, ".env") != 0))
		see_other(q, fd, name);
	else if (!grow((void **)&q->ids, q->nids, &q->ids_cap, sizeof *q->ids))
		q->c->rc = PT_ENOMEM;
	else
		q->ids[q->nids++] = qid;
}

static int
see_all(struct queue_look *q)
{
	int fd = openat(q->l->conf.queue_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *dir;
	int rc;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return PT_EIO;
	}
	while ((errno = 0, e = readdir(dir)) != NULL)
		see(q, fd, e->d_name);
	rc = errno != 0 ? PT_EIO : 0;
	closedir(dir);
	return rc;
}

void
queue_look_files(struct queue_look *q)
{
	const struct saved *s;
	struct files f;
	size_t i;
	int rc;

	if ((rc = see_all(q)) != 0)
		q->c->rc = rc;
	if (q->nids > 0)
		qsort(q->ids, q->nids, sizeof *q->ids, by_id);
	if (q->nsaved > 0)
		qsort(q->saved, q->nsaved, sizeof *q->saved, by_id);
	for (i = 0; i < q->nids; i++) {
		q->c->out.files++;
		if (i > 0 && q->ids[i] == q->ids[i - 1])
			continue;
		s = q->nsaved == 0 ? NULL : bsearch(&q->ids[i], q->saved, q->nsaved, sizeof *s, by_id);
		look_files(q, q->ids[i], &f);
		q->c->out.octets += f.octets + f.env_octets;
		if (s == NULL || !fits(&f, s, false))
			suspect(q, q->ids[i], s);
	}
	for (i = 0; i < q->nsaved; i++) /* no file at all */
		if (q->nids == 0 || bsearch(&q->saved[i].qid, q->ids, q->nids, sizeof *q->ids, by_id) == NULL)
			suspect(q, q->saved[i].qid, &q->saved[i]);
}

/* --- what is wrong --------------------------------------------------------------------------------------------------- */

#define QID(x) (unsigned long long)(x)

static struct store_finding *
say_unknown(struct checking *c, const struct suspect *s)
{
	const struct files *f = &s->f;

	if (f->env && f->open.head > 0)
		return check_found(c, "queue-unknown", STORE_FIX_NONE, "queue/%016llx.env is not known to the store: somebody has put it there, and "
			"it is taken in at the next start", QID(s->qid));
	if (f->env)
		return check_found(c, "queue-envelope", STORE_FIX_ASIDE, "queue/%016llx.env is damaged: nobody knows where its message should go%s",
			QID(s->qid), f->eml ? ", which is in the .eml beside it; send it again" : "");
	return check_found(c, "queue-orphan", STORE_FIX_ASIDE, "queue/%016llx.eml (%llu octets) has no envelope: nobody knows where it should "
		"go; send it again if it is wanted", QID(s->qid), (unsigned long long)f->octets);
}

static struct store_finding *
say_known(struct checking *c, const struct suspect *s, const struct queue_entry *e)
{
	const struct files *f = &s->f;

	if (!f->eml)
		return check_found(c, "queue-body", STORE_FIX_ASIDE, "message %016llx in the queue, from <%.256s> to %u recipients, has no file: it "
			"cannot be delivered", QID(s->qid), e->sender, e->left);
	if (f->octets != s->say.octets)
		return check_found(c, "queue-body", STORE_FIX_ASIDE, "message %016llx in the queue, from <%.256s> to %u recipients: its file has %llu "
			"octets, and %llu were accepted; it cannot be delivered", QID(s->qid), e->sender, e->left,
			(unsigned long long)f->octets, (unsigned long long)s->say.octets);
	if (!f->env)
		return check_found(c, "queue-envelope", STORE_FIX_ENVELOPE, "queue/%016llx.env is missing: only the store that runs knows where its "
			"message should go", QID(s->qid));
	return check_found(c, "queue-lines", STORE_FIX_ENVELOPE, "queue/%016llx.env has lines that are not what was written, from octet %llu "
		"on: what they said is lost with the store that runs", QID(s->qid), (unsigned long long)f->open.whole);
}

static void
judge_unknown(struct queue_look *q, struct suspect *s)
{
	const struct store_finding *f;

	if (queue_find(q->l->be.queue, s->qid) != NULL || (!s->f.eml && !s->f.env))
		return;
	f = say_unknown(q->c, s);
	s->move = q->c->tidy && f != NULL && f->fix == STORE_FIX_ASIDE;
}

static void
judge_known(struct queue_look *q, struct suspect *s)
{
	struct queue_entry *e = queue_find(q->l->be.queue, s->qid);
	struct store_finding *f;

	if (e == NULL || fits(&s->f, &s->say, e->dirty))
		return;
	f = say_known(q->c, s, e);
	if (!q->c->tidy || f == NULL)
		return;
	if (f->fix == STORE_FIX_ASIDE) {
		s->move = queue_drop(q->l->be.queue, e); /* unless somebody is at it */
	} else {
		queue_anew(q->l->be.queue, e);
		f->mended = true; /* with the next checkpoint */
	}
}

static void
judge(struct queue_look *q)
{
	struct suspect *s;

	for (s = q->list; s < q->list + q->n; s++) {
		s->finding = q->c->out.n;
		if (s->f.rc != 0)
			check_found(q->c, "queue-unreadable", STORE_FIX_NONE, "the files of message %016llx in the queue cannot be read: %s",
				QID(s->qid), pt_strerror(s->f.rc));
		else if (s->known)
			judge_known(q, s);
		else
			judge_unknown(q, s);
	}
}

/* Into the folder beside it, the envelope last: as long as it is here, so much as is known of the message is found again. */
static bool
move_aside(int queue_fd, uint64_t qid)
{
	static const char *const ends[] = { "eml", "env" };
	char from[NAME_ROOM], to[NAME_ROOM];
	bool ok = mkdirat(queue_fd, ASIDE, 0700) == 0 || errno == EEXIST;
	size_t i;

	for (i = 0; i < PT_COUNT(ends) && ok; i++) {
		file_name(from, "", qid, ends[i]);
		file_name(to, ASIDE "/", qid, ends[i]);
		ok = renameat(queue_fd, from, queue_fd, to) == 0 || errno == ENOENT;
	}
	return ok;
}

/* --- steps --------------------------------------------------------------------------------------------------------- */

static void
finish(struct queue_look *q)
{
	void (*done)(void *) = q->done;
	void *arg = q->arg;

	free(q->saved);
	free(q->ids);
	free(q->list);
	free(q);
	done(arg);
}

static void
leave(struct queue_look *q)
{
	local_queue_turn_over(q->l);
	finish(q);
}

static void
move_run(struct crew_job *j)
{
	struct queue_look *q = (struct queue_look *)j;
	struct suspect *s;

	for (s = q->list; s < q->list + q->n; s++)
		if (s->move)
			q->c->out.list[s->finding].mended = move_aside(q->l->conf.queue_fd, s->qid);
}

static void
move_done(struct crew_job *j)
{
	leave((struct queue_look *)j);
}

static void
again_run(struct crew_job *j)
{
	struct queue_look *q = (struct queue_look *)j;
	size_t i;

	for (i = 0; i < q->n; i++)
		look_files(q, q->list[i].qid, &q->list[i].f);
}

static void
again_done(struct crew_job *j)
{
	struct queue_look *q = (struct queue_look *)j;
	bool move = false;
	size_t i;

	judge(q);
	for (i = 0; i < q->n; i++)
		move = move || q->list[i].move;
	if (!move) {
		leave(q);
		return;
	}
	q->job = (struct crew_job){ .run = move_run, .done = move_done, .lane = CREW_READ };
	crew_submit(q->l->crew, &q->job, NULL, 0);
}

/* What is under way, or came since the first look, is none. */
static bool
still_suspect(struct queue_look *q, struct suspect *s)
{
	const struct queue_entry *e = queue_find(q->l->be.queue, s->qid);

	if (e == NULL)
		return !s->known && !queue_going(q->l->be.queue, s->qid);
	s->say = (struct saved){ e->qid, e->octets, e->env_octets };
	return s->known && e->saved;
}

static void
look_again(void *arg)
{
	struct queue_look *q = arg;
	size_t i, n = 0;

	for (i = 0; i < q->n; i++)
		if (still_suspect(q, &q->list[i]))
			q->list[n++] = q->list[i];
	q->n = n;
	q->job = (struct crew_job){ .run = again_run, .done = again_done, .lane = CREW_READ };
	crew_submit(q->l->crew, &q->job, NULL, 0);
}

void
queue_look_end(struct queue_look *q, void (*done)(void *arg), void *arg)
{
	q->done = done;
	q->arg = arg;
	if (q->c->rc != 0 || q->n == 0)
		finish(q);
	else
		local_queue_turn(q->l, &q->turn, look_again, q);
}
