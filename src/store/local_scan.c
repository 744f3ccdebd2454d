/* store/local_scan.c - a mailbox's files held against its index: what mutt, procmail or rsync did meanwhile, and,
 * where there is no index, all of it: with the UIDs that names or Dovecot's files give. Message contents are looked at for
 * one thing only: whether lines end in LF alone, which changes a message's size. */
#include "store/local.h"

#include "store/maildir.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOUBT_NS 50000000 /* a folder's time is no finer than the kernel's tick; changes as recent as this may come again */

struct scan_job {
	struct crew_job job;
	struct local *l;
	struct box *b;
	bool all;
	store_scan_cb *cb;
	void *arg;
	int rc;
	struct store_scan *s; /* NULL: no difference */
	uint32_t uidnext;     /* of the index */
	uint32_t unreadable;  /* files that are not ours to read */
	size_t found_cap, flagged_cap, gone_cap;
	struct names *again; /* a second reading, if one was needed */
};

void
store_scan_free(struct store_scan **sp)
{
	struct store_scan *s = *sp;
	size_t i;

	if (s == NULL)
		return;
	for (i = 0; i < s->nfound; i++)
		free(s->found[i].base);
	free(s->found);
	free(s->flagged);
	free(s->gone);
	free(s);
	*sp = NULL;
}

/* Room for one more element of an array. */
static int
room(void *array, size_t n, size_t *cap, size_t size)
{
	void **p = array, *grown;
	size_t c = *cap == 0 ? 16 : *cap * 2;

	if (n < *cap)
		return 0;
	if ((grown = reallocarray(*p, c, size)) == NULL)
		return PT_ENOMEM;
	*p = grown;
	*cap = c;
	return 0;
}

/* --- files ------------------------------------------------------------------------------------------------ */

/* Octets with CRLF, and whether that is not what the file has. */
static int
measure(int fd, uint64_t *size_out, bool *lf_out)
{
	uint8_t *buf = malloc(65536), last = 0;
	uint64_t size = 0, bare = 0;
	ssize_t n, i;

	if (buf == NULL)
		return PT_ENOMEM;
	while ((n = read(fd, buf, 65536)) > 0) {
		size += (uint64_t)n;
		for (i = 0; i < n; last = buf[i++])
			bare += buf[i] == '\n' && (i == 0 ? last : buf[i - 1]) != '\r';
	}
	free(buf);
	*size_out = size + bare;
	*lf_out = bare > 0;
	return n < 0 ? PT_EIO : 0;
}

static bool
is_ours(const struct name *e)
{
	const char *m = strstr(e->base, ".M");

	return e->has_size && !e->has_virtual && e->uid != 0 && m != NULL && strchr(m, 'P') != NULL;
}

/* When it came: a name of ours says it. Its file may be younger, when the journal was carried out later; it is older when
 * somebody said another date. */
static int64_t
date_of(const struct name *e, const struct stat *st)
{
	int64_t sec = 0;
	const char *c;

	for (c = e->base; *c >= '0' && *c <= '9' && sec < UINT32_MAX; c++)
		sec = sec * 10 + (*c - '0');
	if (is_ours(e) && st->st_mtime >= sec)
		return sec;
	return st->st_mtime > 0 ? st->st_mtime : 0;
}

int
found_look(int dir_fd, const struct name *e, struct store_found *f)
{
	char path[MAILDIR_NAME_MAX + 8];
	struct stat st;
	bool lf = false;
	int fd, rc;

	*f = (struct store_found){ .flags = e->flags, .where = e->where };
	box_path(span_str(e->base), e->flags, e->where, path);
	if ((fd = maildir_open(dir_fd, path, O_RDONLY)) < 0)
		return fd == PT_EIO && (errno == EACCES || errno == EPERM) ? PT_EPERM : fd;
	rc = fstat(fd, &st) == 0 ? 0 : PT_EIO;
	f->date = date_of(e, &st);
	f->size = (uint64_t)st.st_size;
	if (rc == 0 && !(is_ours(e) && e->size == f->size)) {
		if (e->has_size && e->has_virtual && e->size == f->size && e->virt >= e->size) {
			f->size = e->virt;
			lf = e->virt != e->size;
		} else {
			rc = measure(fd, &f->size, &lf);
		}
	}
	close(fd);
	if (lf)
		f->where |= INDEX_LF;
	return rc;
}

static int
found_add(struct scan_job *j, const struct name *e)
{
	struct store_scan *s = j->s;
	struct store_found f;
	int rc = found_look(j->b->dir_fd, e, &f);

	if (rc == PT_ENOENT)
		return 0; /* gone again, or no file */
	if (rc == PT_EPERM) { /* one file must not hide all others */
		j->unreadable++;
		return 0;
	}
	if (rc != 0 || (rc = room(&s->found, s->nfound, &j->found_cap, sizeof *s->found)) != 0)
		return rc;
	/* a name of ours, and a UID that the index has not come to: its line was lost. Below, it is another mailbox's, or a message that was
	 * removed and came back */
	if ((s->fresh || (is_ours(e) && e->uid >= j->uidnext)) && e->uid <= BOX_UID_TRUST_MAX)
		f.uid = e->uid;
	if ((f.base = strdup(e->base)) == NULL)
		return PT_ENOMEM;
	s->found[s->nfound++] = f;
	return 0;
}

static int
unseen(void *arg, struct name *e)
{
	return e->seen ? 0 : found_add(arg, e);
}

/* By UID, those without one behind, in the order of their names: that is time. */
static int
by_uid(const void *a, const void *b)
{
	const struct store_found *x = a, *y = b;
	uint32_t u = x->uid - 1, v = y->uid - 1; /* 0 is the highest */

	return u != v ? (u < v ? -1 : 1) : strcmp(x->base, y->base);
}

/* Of two with the same UID the second gets a new one. */
static void
sort_found(struct store_scan *s)
{
	uint32_t last = 0, uid;
	size_t i;

	if (s->nfound == 0)
		return;
	qsort(s->found, s->nfound, sizeof *s->found, by_uid);
	for (i = 0; i < s->nfound; last = uid, i++)
		if ((uid = s->found[i].uid) == last)
			s->found[i].uid = 0;
	qsort(s->found, s->nfound, sizeof *s->found, by_uid);
}

/* --- against the index ------------------------------------------------------------------------------------ */

/* A name that was given while the folder was read may be in no place that was looked at: before a message counts as gone, all is
 * looked through once more. */
static int
look_again(struct scan_job *j, struct span base, struct name **out)
{
	int rc = j->again == NULL ? names_read(j->b->dir_fd, &j->again) : 0;

	*out = rc == 0 ? names_find(j->again, base) : NULL;
	return rc;
}

static int
compare_one(struct scan_job *j, struct names *n, const struct store_msg *m, struct span base)
{
	struct name *e = names_find(n, base);
	struct store_scan *s = j->s;
	int rc;

	if (e == NULL && (rc = look_again(j, base, &e)) != 0)
		return rc;
	if (e == NULL) {
		if ((rc = room(&s->gone, s->ngone, &j->gone_cap, sizeof *s->gone)) == 0)
			s->gone[s->ngone++] = m->uid;
		return rc;
	}
	e->seen = true;
	if (e->where & INDEX_NEW)
		return 0;
	if (e->flags == m->flags && !(m->where & INDEX_NEW))
		return 0;
	if ((rc = room(&s->flagged, s->nflagged, &j->flagged_cap, sizeof *s->flagged)) == 0)
		s->flagged[s->nflagged++] = (struct store_flagged){ m->uid, e->flags };
	return rc;
}

static int
compare(struct scan_job *j, struct names *n)
{
	struct index_line line;
	struct index x;
	struct span text = { NULL, 0 };
	uint8_t *p = NULL;
	uint32_t i;
	bool bad;
	int rc = 0;

	index_init(&x);
	if (j->b->index_fd >= 0 && (rc = read_whole(j->b->index_fd, &p, &text.n)) != 0)
		return rc;
	text.p = p;
	if (text.n > 0)
		(void)index_feed(&x, text, UINT32_MAX, NULL, NULL, &bad, &rc);
	j->s->fresh = x.uidvalidity == 0;
	j->uidnext = x.uidnext;
	for (i = 0; i < x.n && rc == 0; i++) {
		PT_ASSERT(index_line_parse((struct span){ text.p + x.msgs[i].line, text.n - x.msgs[i].line },
			&line, &bad) > 0);
		rc = compare_one(j, n, &x.msgs[i], line.text);
	}
	index_fini(&x);
	free(p);
	return rc;
}

/* --- other programs' indexes ------------------------------------------------------------------------------ */

static int
slurp(int dir_fd, const char *name, uint8_t **p, struct span *s)
{
	int fd = maildir_open(dir_fd, name, O_RDONLY), rc;

	*p = NULL;
	if (fd < 0)
		return fd;
	rc = read_whole(fd, p, &s->n);
	close(fd);
	s->p = *p;
	return rc;
}

void
box_uidlist(int dir_fd, struct names *n, const uint32_t *uidvalidity, struct uidlist_head *head)
{
	struct uidlist_entry entry;
	struct maildir_name m;
	struct name *e;
	struct span s;
	uint8_t *p;

	*head = (struct uidlist_head){ 0, 0 };
	if (slurp(dir_fd, UIDLIST_FILE, &p, &s) != 0)
		return;
	if (uidlist_begin(&s, head) && (uidvalidity == NULL || *uidvalidity == head->uidvalidity))
		while (uidlist_next(&s, &entry))
			if (maildir_name_parse(entry.name, &m) &&
			    (e = names_find(n, (struct span){ entry.name.p, m.base })) != NULL)
				names_set_uid(n, e, entry.uid);
	free(p);
}

void
box_keywords(int dir_fd, char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1])
{
	static const char *const files[] = { KEYWORDS_FILE, UIDLIST_KEYWORDS_FILE };
	struct span s;
	uint8_t *p;
	size_t i;

	for (i = 0; i < PT_COUNT(files); i++)
		if (slurp(dir_fd, files[i], &p, &s) == 0) {
			uidlist_keywords(s, keywords);
			free(p);
		}
}

/* --- the job ----------------------------------------------------------------------------------------------- */

static bool
times(const struct box *b, struct timespec *new_out, struct timespec *cur_out)
{
	struct stat n, c;

	if (fstatat(b->dir_fd, "new", &n, AT_SYMLINK_NOFOLLOW) != 0 ||
	    fstatat(b->dir_fd, "cur", &c, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	*new_out = n.st_mtim;
	*cur_out = c.st_mtim;
	return true;
}

static bool
same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool
settled(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	/* a clock that was set back makes everything young: look again */
	return (now.tv_sec - t->tv_sec) * 1000000000ll + (now.tv_nsec - t->tv_nsec) > DOUBT_NS;
}

static void
scan_run(struct crew_job *pj)
{
	struct scan_job *j = (struct scan_job *)pj;
	struct box *b = j->b;
	struct timespec t_new, t_cur;
	struct uidlist_head head;
	struct names *n = NULL;
	bool known;

	if ((j->rc = box_open(j->l, b, false)) != 0)
		return;
	known = times(b, &t_new, &t_cur);
	if (!j->all && b->clean && known && same(&t_new, &b->seen_new) && same(&t_cur, &b->seen_cur))
		return;
	if ((j->s = calloc(1, sizeof *j->s)) == NULL) {
		j->rc = PT_ENOMEM;
		return;
	}
	if ((j->rc = names_read(b->dir_fd, &n)) != 0 || (j->rc = compare(j, n)) != 0)
		goto out;
	if (j->s->fresh) {
		box_uidlist(b->dir_fd, n, NULL, &head);
		j->s->uidvalidity = head.uidvalidity;
		j->s->uidnext = head.uidnext;
		box_keywords(b->dir_fd, j->s->keywords);
	}
	if ((j->rc = names_each(n, unseen, j)) != 0)
		goto out;
	sort_found(j->s);
	b->clean = known && !j->s->fresh && settled(&t_new) && settled(&t_cur) && j->s->nfound == 0;
	b->seen_new = t_new;
	b->seen_cur = t_cur;
out:
	names_free(&n);
	names_free(&j->again);
	if (j->rc != 0 || (!j->s->fresh && j->s->nfound + j->s->nflagged + j->s->ngone == 0))
		store_scan_free(&j->s);
}

static void
scan_refused(struct crew_job *pj)
{
	((struct scan_job *)pj)->rc = PT_EBUSY;
}

static void
scan_done(struct crew_job *pj)
{
	struct scan_job *j = (struct scan_job *)pj;

	if (j->unreadable > 0)
		log_msg(LOG_L_WARNING, "mailbox %s of %s: %u files of other programs may not be read; left out",
			j->b->key, j->b->user, j->unreadable);
	j->cb(j->arg, local_rc(j->rc), j->s);
	local_box_left(j->l, j->b);
	free(j);
}

void
local_scan(struct store_backend *be, const char *user, const char *key, bool all, store_scan_cb *cb,
	   void *arg)
{
	struct local *l = (struct local *)be;
	struct scan_job *j = calloc(1, sizeof *j);

	if (j == NULL || (j->b = local_box(l, user, key)) == NULL) {
		free(j);
		cb(arg, STORE_TEMP, NULL);
		return;
	}
	j->job = (struct crew_job){ .run = scan_run, .done = scan_done, .lane = CREW_READ, .refused = scan_refused };
	j->l = l;
	j->all = all;
	j->cb = cb;
	j->arg = arg;
	local_submit_read(l, &j->job, j->b);
}
