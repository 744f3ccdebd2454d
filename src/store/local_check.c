/* store/local_check.c - whether a mailbox's index and files agree. Nothing is changed but left-overs, and those only when it is asked for.
 *
 * Index and names are read in the mailbox's turn, behind all that was committed and in front of what comes: they agree, whatever is
 * delivered. What takes long, a look at each file, comes after, and delays nobody: a message's octets never change. */
#include "store/local.h"

#include "store/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define YOUNG_S 60                /* what others brought may be so long unseen */
#define LEFTOVER_S (36 * 3600)    /* of tmp/, as Maildir's own rule has it */

struct seen {
	char *name;
	size_t base;    /* octets in front of the flags */
	uint32_t flags;
	uint8_t where;
	bool known;     /* the index has it */
	bool has_size;
	uint64_t size;  /* S= */
	uint32_t uid;   /* of the index */
	uint64_t index_size;
	uint8_t index_where;
};

struct check_job {
	struct crew_job job;
	struct local *l;
	struct box *b; /* NULL: the whole store; key "": a user as a whole */
	struct queue_look *queue; /* of the whole store */
	struct checking c;
	struct check_drops drops;
	struct seen *seen; /* by base name */
	size_t n, cap;
	store_check_cb *cb;
	void *arg;
	int dir_fd;
};

struct store_finding *
check_found(struct checking *c, const char *kind, enum store_fix fix, const char *fmt, ...)
{
	struct store_finding *f, *grown;
	va_list ap;
	size_t cap;

	c->out.found++;
	c->out.fixes |= 1u << fix;
	if (c->out.n == STORE_FINDINGS_MAX)
		return NULL;
	if (c->out.n == c->cap) {
		cap = c->cap == 0 ? 8 : c->cap * 2;
		if ((grown = reallocarray(c->out.list, cap, sizeof *grown)) == NULL)
			return NULL;
		c->out.list = grown;
		c->cap = cap;
	}
	f = &c->out.list[c->out.n++];
	*f = (struct store_finding){ .kind = kind, .fix = fix };
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof f->text, fmt, ap);
	va_end(ap);
	return f;
}

/* --- names ------------------------------------------------------------------------------------------------- */

static int
by_base(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;
	size_t n = x->base < y->base ? x->base : y->base;
	int c = memcmp(x->name, y->name, n);

	return c != 0 ? c : x->base < y->base ? -1 : x->base > y->base ? 1 : (int)y->where - (int)x->where;
}

static int
see(struct check_job *j, const char *part, const struct dirent *e, uint8_t where)
{
	struct maildir_name m;
	struct stat st;
	struct seen *grown;
	size_t cap;

	if (e->d_name[0] == '.')
		return 0;
	if (!maildir_name_parse(span_str(e->d_name), &m)) {
		check_found(&j->c, "name", STORE_FIX_NONE, "%s/%s has a name that no message can have: it is not seen", part, e->d_name);
		return 0;
	}
	if (e->d_type != DT_REG) {
		char path[MAILDIR_NAME_MAX + 8];

		snprintf(path, sizeof path, "%s/%s", part, e->d_name);
		if (fstatat(j->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return 0;
		if (!S_ISREG(st.st_mode)) {
			check_found(&j->c, "not-a-file", STORE_FIX_NONE, "%s is a link, a folder or something else that is no file: it is not "
				"seen", path);
			return 0;
		}
	}
	if (j->n == j->cap) {
		cap = j->cap == 0 ? 64 : j->cap * 2;
		if ((grown = reallocarray(j->seen, cap, sizeof *grown)) == NULL)
			return PT_ENOMEM;
		j->seen = grown;
		j->cap = cap;
	}
	j->seen[j->n] = (struct seen){ .name = strdup(e->d_name), .base = m.base, .flags = m.flags, .where = where,
		.has_size = m.has_size, .size = m.size };
	return j->seen[j->n++].name == NULL ? PT_ENOMEM : 0;
}

static int
see_part(struct check_job *j, const char *part, uint8_t where)
{
	int fd = openat(j->dir_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
	struct dirent *e;
	DIR *dir;

	if (fd < 0 && errno == ENOENT) {
		check_found(&j->c, "folder", STORE_FIX_NONE, "the folder %s is not there: it is made when something is put into it", part);
		return 0;
	}
	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return PT_EIO;
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		rc = see(j, part, e, where);
	if (rc == 0 && errno != 0)
		rc = PT_EIO;
	closedir(dir);
	return rc;
}

/* What a program began and never ended: in tmp/, and of ours beside the index. */
static void
look_tmp(struct check_job *j)
{
	int fd = openat(j->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	time_t now = time(NULL);
	struct store_finding *f;
	struct dirent *e;
	struct stat st;
	DIR *dir;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)) != NULL) {
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
		    now - st.st_mtime < LEFTOVER_S || now - st.st_ctime < LEFTOVER_S)
			continue;
		f = check_found(&j->c, "leftover", STORE_FIX_TIDY, "tmp/%s is older than 36 hours: a delivery that was never ended", e->d_name);
		if (j->c.tidy && f != NULL)
			f->mended = unlinkat(fd, e->d_name, 0) == 0;
	}
	closedir(dir);
}

/* --- the index --------------------------------------------------------------------------------------------- */

static struct seen *
find(struct check_job *j, struct span base)
{
	size_t lo = 0, hi = j->n, mid, n;
	int c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		n = j->seen[mid].base < base.n ? j->seen[mid].base : base.n;
		c = memcmp(j->seen[mid].name, base.p, n);
		if (c == 0 && j->seen[mid].base == base.n)
			hi = mid;
		else if (c < 0 || (c == 0 && j->seen[mid].base < base.n)) {
			lo = mid + 1;
			continue;
		} else {
			hi = mid;
		}
	}
	return lo < j->n && j->seen[lo].base == base.n && memcmp(j->seen[lo].name, base.p, base.n) == 0 ? &j->seen[lo] : NULL;
}

static void
compare_message(struct check_job *j, const struct store_msg *m, struct span base)
{
	struct seen *e = find(j, base);

	if (e == NULL) {
		check_found(&j->c, "missing", STORE_FIX_SCAN, "message %u has no file (%.*s): another program has removed it, or it is lost",
			m->uid, (int)base.n, (const char *)base.p);
		return;
	}
	if (e->known)
		check_found(&j->c, "double-line", STORE_FIX_REINDEX, "message %u has the file of another one (%.*s)", m->uid, (int)base.n,
			(const char *)base.p);
	e->known = true;
	e->uid = m->uid;
	e->index_size = m->size;
	e->index_where = m->where;
	if (e->where != (m->where & INDEX_NEW) || (!(e->where & INDEX_NEW) && e->flags != m->flags))
		check_found(&j->c, "flags", STORE_FIX_SCAN, "message %u has other flags in its file's name (%s) than in the index: another "
			"program has changed them", m->uid, e->name);
}

/* What stands where the reading ended. */
static void
explain_end(struct check_job *j, const struct index *x, struct span rest)
{
	struct index_line line;
	bool bad, whole = index_line_parse(rest, &line, &bad) > 0;

	if (memchr(rest.p, '\n', rest.n) == NULL)
		check_found(&j->c, "index-cut", STORE_FIX_REINDEX, "the last line of the index (octet %llu) is not whole",
			(unsigned long long)x->end);
	else if (x->uidvalidity == 0)
		check_found(&j->c, "index-header", STORE_FIX_REINDEX, "the index has no header that can be read: UIDVALIDITY is lost");
	else if (whole)
		check_found(&j->c, "index-order", STORE_FIX_REINDEX, "line %u of the index (octet %llu) does not follow from those before it "
			"(a UID twice or out of order, or a MODSEQ that falls)", x->lines + 1, (unsigned long long)x->end);
	else
		check_found(&j->c, "index-damaged", STORE_FIX_REINDEX, "line %u of the index (octet %llu) is not what was written: its CRC "
			"is wrong", x->lines + 1, (unsigned long long)x->end);
}

static int
look_index(struct check_job *j)
{
	struct span text = { NULL, 0 };
	struct index_line line;
	struct index x;
	uint8_t *p = NULL;
	uint32_t i;
	bool bad;
	int rc;

	if (j->b->index_fd < 0) {
		if (j->n > 0)
			check_found(&j->c, "index-lost", STORE_FIX_REINDEX, "there is no index: it is made when somebody looks at the mailbox, with the "
				"UIDs that the files' names say");
		return 0;
	}
	if ((rc = read_whole(j->b->index_fd, &p, &text.n)) != 0)
		return rc;
	text.p = p;
	index_init(&x);
	(void)index_feed(&x, text, UINT32_MAX, NULL, NULL, &bad, &rc);
	if (rc == 0 && x.end < text.n)
		explain_end(j, &x, (struct span){ text.p + x.end, text.n - x.end });
	for (i = 0; i < x.n && rc == 0; i++) {
		PT_ASSERT(index_line_parse((struct span){ text.p + x.msgs[i].line, text.n - x.msgs[i].line },
			&line, &bad) > 0);
		compare_message(j, &x.msgs[i], line.text);
	}
	index_fini(&x);
	free(p);
	return rc;
}

static bool
is_there(const struct check_job *j, const struct seen *e)
{
	char path[MAILDIR_NAME_MAX + 8];

	snprintf(path, sizeof path, "%s/%s", e->where & INDEX_NEW ? "new" : "cur", e->name);
	return faccessat(j->dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* One that was moved between the two readings was seen twice, and is not there twice. */
static void
look_doubles(struct check_job *j)
{
	size_t i;

	for (i = 1; i < j->n; i++)
		if (j->seen[i].base == j->seen[i - 1].base &&
		    memcmp(j->seen[i].name, j->seen[i - 1].name, j->seen[i].base) == 0 &&
		    is_there(j, &j->seen[i - 1]) && is_there(j, &j->seen[i]))
			check_found(&j->c, "double", STORE_FIX_NONE, "%s and %s are one message twice: only one of them is seen; remove the one "
				"that is not wanted", j->seen[i - 1].name, j->seen[i].name);
}

/* --- files, one by one ---------------------------------------------------------------------------------------- */

static void
look_unknown(struct check_job *j, const struct seen *e, const struct stat *st)
{
	if (time(NULL) - st->st_ctime < YOUNG_S)
		j->c.out.young++;
	else
		check_found(&j->c, "not-indexed", STORE_FIX_SCAN, "the index does not know the file %s/%s: another program brought it, or "
			"its line is lost", e->where & INDEX_NEW ? "new" : "cur", e->name);
}

static void
look_file(struct check_job *j, const struct seen *e, const struct seen *before)
{
	bool twice = before != NULL && before->base == e->base && memcmp(before->name, e->name, e->base) == 0;
	char path[MAILDIR_NAME_MAX + 8];
	struct stat st;
	uint64_t size;

	snprintf(path, sizeof path, "%s/%s", e->where & INDEX_NEW ? "new" : "cur", e->name);
	if (fstatat(j->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return; /* flags were changed, or it was removed: since the names were read */
	size = (uint64_t)st.st_size;
	j->c.out.files++;
	j->c.out.octets += size;
	if (!e->known && !twice)
		look_unknown(j, e, &st);
	if (e->known && (e->index_where & INDEX_LF ? size > e->index_size : size != e->index_size))
		check_found(&j->c, "size", STORE_FIX_REINDEX, "message %u: its file %s has %llu octets, and the index says %llu", e->uid, path,
			(unsigned long long)size, (unsigned long long)e->index_size);
	else if (e->has_size && size != e->size)
		check_found(&j->c, "size-name", STORE_FIX_NONE, "the file %s has %llu octets, and its name says %llu: it was cut or written to after it "
			"was delivered", path, (unsigned long long)size, (unsigned long long)e->size);
}

/* --- jobs -------------------------------------------------------------------------------------------------- */

static void
check_turn(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;
	int rc;

	if ((rc = box_open(j->l, j->b, false)) != 0 || (j->dir_fd = dup(j->b->dir_fd)) < 0) {
		j->c.rc = rc != 0 ? rc : PT_EUNAVAIL;
		return;
	}
	if ((rc = see_part(j, "new", INDEX_NEW)) == 0)
		rc = see_part(j, "cur", 0);
	if (j->n > 0)
		qsort(j->seen, j->n, sizeof *j->seen, by_base);
	j->c.rc = rc != 0 ? rc : look_index(j);
}

static void
check_files(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;
	size_t i;

	look_doubles(j);
	for (i = 0; i < j->n; i++)
		look_file(j, &j->seen[i], i > 0 ? &j->seen[i - 1] : NULL);
	look_tmp(j);
}

static void
check_all(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;

	check_store(j->l, &j->c, &j->drops);
	if (j->queue != NULL)
		queue_look_files(j->queue);
}

static void
check_over(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;
	size_t i;

	for (i = 0; i < j->drops.n; i++)
		local_file_drop(&j->l->be, j->drops.names[i]);
	j->cb(j->arg, local_rc(j->c.rc), &j->c.out);
	if (j->dir_fd >= 0)
		close(j->dir_fd);
	for (i = 0; i < j->n; i++)
		free(j->seen[i].name);
	free(j->seen);
	free(j->drops.names);
	free(j->c.out.list);
	free(j);
}

static void
check_queue_over(void *arg)
{
	struct check_job *j = arg;

	check_over(&j->job);
}

static void
check_all_done(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;

	if (j->queue != NULL)
		queue_look_end(j->queue, check_queue_over, j);
	else
		check_over(pj);
}

static void
check_whole_user(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;

	if ((j->c.rc = box_open(j->l, j->b, false)) == 0)
		check_user(j->b, &j->c);
}

static void
check_refused(struct crew_job *pj)
{
	((struct check_job *)pj)->c.rc = PT_EBUSY;
}

/* On without the mailbox's turn. */
static void
check_turned(struct crew_job *pj)
{
	struct check_job *j = (struct check_job *)pj;

	local_box_left(j->l, j->b);
	if (j->c.rc != 0 || j->b->key[0] == '\0') {
		check_over(pj);
		return;
	}
	j->job = (struct crew_job){ .run = check_files, .done = check_over, .lane = CREW_READ };
	crew_submit(j->l->crew, &j->job, NULL, 0);
}

void
local_check(struct store_backend *be, const char *user, const char *key, bool tidy, store_check_cb *cb, void *arg)
{
	static const struct store_checked nothing;
	struct local *l = (struct local *)be;
	struct check_job *j = calloc(1, sizeof *j);

	if (j == NULL || (user[0] != '\0' && (j->b = local_box(l, user, key)) == NULL)) {
		free(j);
		cb(arg, STORE_TEMP, &nothing);
		return;
	}
	j->l = l;
	j->c.tidy = tidy;
	j->cb = cb;
	j->arg = arg;
	j->dir_fd = -1;
	if (j->b != NULL) {
		j->job = (struct crew_job){ .run = key[0] != '\0' ? check_turn : check_whole_user, .done = check_turned,
			.refused = check_refused, .lane = CREW_READ };
		local_submit_read(l, &j->job, j->b);
		return;
	}
	if (be->queue != NULL && (j->queue = queue_look_new(l, &j->c)) == NULL)
		j->c.rc = PT_ENOMEM;
	j->job = (struct crew_job){ .run = check_all, .done = check_all_done, .lane = CREW_READ };
	crew_submit(l->crew, &j->job, NULL, 0);
}
