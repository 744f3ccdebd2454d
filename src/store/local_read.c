/* store/local_read.c - what reads: indexes, messages, lists of mailboxes. All of it
 * waits for the disk, so all of it is jobs; those of a mailbox come behind what was committed to it before. */
#include "store/local.h"

#include "store/maildir.h"
#include "store/record.h"
#include "util/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_AHEAD (256u * 1024)     /* of a message that is asked for: it is in memory when the reader has it */
#define INDEX_OCTETS_MAX (4ull << 30)
#define BOXES_MAX 20000

struct read_job {
	struct crew_job job;
	struct local *l;
	struct box *b; /* NULL: none */
	union {
		store_load_cb *load;
		store_fd_cb *fd;
		store_done_cb *done;
		store_list_cb *list;
	} cb;
	void *arg;
	int rc;
	struct index x;
	struct store_rebuilt rebuilt;
	bool mended; /* the index was damaged: rebuilt */
	int fd;
	uint64_t octets;
	struct store_hint hint;
	struct buf text;
	struct store_listed *listed;
	size_t nlisted, capacity;
};

static void
job_refused(struct crew_job *j)
{
	((struct read_job *)j)->rc = PT_EBUSY;
}

static struct read_job *
job_new(struct local *l, const char *user, const char *key, void (*run)(struct crew_job *),
	void (*done)(struct crew_job *), void *arg)
{
	struct read_job *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->job = (struct crew_job){ .run = run, .done = done, .lane = CREW_READ, .refused = job_refused };
	r->l = l;
	r->arg = arg;
	r->fd = -1;
	if (user != NULL && (r->b = local_box(l, user, key)) == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

static void
job_submit(struct read_job *r)
{
	local_submit_read(r->l, &r->job, r->b);
}

static void
job_free(struct read_job *r)
{
	if (r->b != NULL)
		local_box_left(r->l, r->b);
	free(r->listed);
	free(r);
}

/* --- indexes --------------------------------------------------------------------------------------------- */

int
read_whole(int fd, uint8_t **text_out, size_t *n_out)
{
	struct stat st;
	uint8_t *p;
	size_t have = 0;
	ssize_t n;

	*text_out = NULL;
	if (fstat(fd, &st) != 0 || (uint64_t)st.st_size > INDEX_OCTETS_MAX)
		return PT_EIO;
	if ((p = malloc((size_t)st.st_size + 1)) == NULL)
		return PT_ENOMEM;
	while (have < (size_t)st.st_size) {
		n = pread(fd, p + have, (size_t)st.st_size - have, (off_t)have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(p);
			return PT_EIO;
		}
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*text_out = p;
	*n_out = have;
	return 0;
}

/* Whether lines stand in what could not be read. Without a header nothing in it means anything. After a loss of power the end may be anything, and
 * the journal has it: there whole lines must follow. */
static bool
is_damage(const struct index *x, struct span rest, bool replay)
{
	struct index_line line;
	const uint8_t *nl;
	bool bad;

	if (x->uidvalidity == 0)
		return false;
	while ((nl = memchr(rest.p, '\n', rest.n)) != NULL) {
		rest.n -= (size_t)(nl - rest.p) + 1;
		rest.p = nl + 1;
		if (!replay || (rest.n > 0 && index_line_parse(rest, &line, &bad) > 0))
			return true;
	}
	return false;
}

int
box_index(struct local *l, struct box *b, bool replay, struct index *x, bool *damaged_out)
{
	uint8_t *text;
	size_t n, taken;
	bool bad;
	int rc;

	index_init(x);
	*damaged_out = false;
	if (b->index_fd < 0)
		return 0;
	if ((rc = read_whole(b->index_fd, &text, &n)) != 0)
		return rc;
	taken = index_feed(x, (struct span){ text, n }, UINT32_MAX, NULL, NULL, &bad, &rc);
	*damaged_out = rc == 0 && taken < n && is_damage(x, (struct span){ text + taken, n - taken }, replay);
	free(text);
	if (rc == 0 && taken < n && !*damaged_out) {
		if (ftruncate(b->index_fd, (off_t)taken) != 0) /* on a disk that is read only, too: what is added later would follow it */
			rc = PT_EIO;
		else
			l->cut_octets += n - taken; /* the main thread says so: the log is its */
	}
	if (rc != 0)
		index_fini(x);
	return rc;
}

static void
load_run(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;
	struct store_header none = { 0 };

	if ((r->rc = box_open(r->l, r->b, false)) != 0 ||
	    (r->rc = box_index(r->l, r->b, false, &r->x, &r->mended)) != 0 || !r->mended)
		return;
	index_fini(&r->x);
	r->rc = box_rebuild(r->l, r->b, &none, &r->rebuilt, &r->x);
}

static void
load_done(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;
	uint64_t cut = atomic_exchange(&r->l->cut_octets, 0);

	if (cut > 0)
		log_msg(LOG_L_WARNING, "mailbox %s of %s, or one beside it: the last %llu octets of the index are not whole "
			"lines; cut off", r->b->key, r->b->user, (unsigned long long)cut);
	if (r->mended && r->rc == 0)
		log_msg(LOG_L_WARNING, "mailbox %s of %s: the index was damaged in %llu places and has been made anew; %u messages, "
			"%u with a new UID", r->b->key, r->b->user, (unsigned long long)r->rebuilt.damaged,
			r->rebuilt.messages, r->rebuilt.given);
	r->cb.load(r->arg, local_rc(r->rc), &r->x);
	index_fini(&r->x);
	job_free(r);
}

static void
load_with(struct store_backend *be, const char *user, const char *key, void (*run)(struct crew_job *),
	  store_load_cb *cb, void *arg)
{
	struct read_job *r = job_new((struct local *)be, user, key, run, load_done, arg);
	struct index none;

	if (r == NULL) {
		index_init(&none);
		cb(arg, STORE_TEMP, &none);
		return;
	}
	index_init(&r->x);
	r->cb.load = cb;
	job_submit(r);
}

void
local_load(struct store_backend *be, const char *user, const char *key, store_load_cb *cb, void *arg)
{
	load_with(be, user, key, load_run, cb, arg);
}

static void
fd_done(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;

	r->cb.fd(r->arg, local_rc(r->rc), r->rc == 0 ? r->fd : -1, r->octets);
	job_free(r);
}

static void
log_open_run(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;
	struct stat st;

	if ((r->rc = box_open(r->l, r->b, false)) != 0)
		return;
	if ((r->fd = maildir_open(r->b->dir_fd, INDEX_FILE, O_RDONLY)) < 0) {
		r->rc = r->fd;
		return;
	}
	if (fstat(r->fd, &st) != 0) {
		r->rc = PT_EIO;
		close(r->fd);
		return;
	}
	r->octets = (uint64_t)st.st_size;
}

static void
submit_fd(struct read_job *r, store_fd_cb *cb, void *arg)
{
	if (r == NULL) {
		cb(arg, STORE_TEMP, -1, 0);
		return;
	}
	r->cb.fd = cb;
	job_submit(r);
}

void
local_log_open(struct store_backend *be, const char *user, const char *key, store_fd_cb *cb, void *arg)
{
	submit_fd(job_new((struct local *)be, user, key, log_open_run, fd_done, arg), cb, arg);
}

int
box_write_new(int dir_fd, const char *name, struct span s)
{
	char tmp[128];
	int fd, rc = 0;
	ssize_t n;

	snprintf(tmp, sizeof tmp, "%s.new", name);
	if ((fd = maildir_open(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC)) < 0)
		return fd;
	while (s.n > 0 && rc == 0) {
		n = write(fd, s.p, s.n);
		if (n > 0) {
			s.p += n;
			s.n -= (size_t)n;
		} else if (errno != EINTR) {
			rc = maildir_error(errno);
		}
	}
	/* what it replaces was flushed long ago, so it must be before it takes the place */
	if (rc == 0 && (fdatasync(fd) != 0 || renameat(dir_fd, tmp, dir_fd, name) != 0))
		rc = PT_EIO;
	close(fd);
	if (rc != 0)
		(void)unlinkat(dir_fd, tmp, 0);
	return rc;
}

static void
replace_run(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;
	char name[STORE_SPACE_MAX + 8];

	snprintf(name, sizeof name, "%.*s.log", STORE_SPACE_MAX, r->b->key);
	r->rc = box_write_new(r->l->conf.kv_fd, name, buf_span(&r->text));
}

static void
replace_done(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;

	r->cb.done(r->arg, local_rc(r->rc));
	buf_fini(&r->text);
	job_free(r);
}

void
local_keys_replace(struct store_backend *be, const char *space, struct buf *text, store_done_cb *cb, void *arg)
{
	struct read_job *r = job_new((struct local *)be, "", space, replace_run, replace_done, arg);

	if (r == NULL) {
		cb(arg, STORE_TEMP);
		return;
	}
	r->text = *text;
	buf_init(text, text->max);
	r->cb.done = cb;
	job_submit(r);
}

static int
compact(struct read_job *r)
{
	struct index x;
	struct buf out;
	struct span text;
	uint8_t *p;
	bool bad;
	int rc;

	if ((rc = read_whole(r->b->index_fd, &p, &text.n)) != 0)
		return rc;
	text.p = p;
	index_init(&x);
	buf_init(&out, INDEX_OCTETS_MAX);
	(void)index_feed(&x, text, UINT32_MAX, NULL, NULL, &bad, &rc);
	if (rc == 0)
		rc = index_compact(&x, text, &out);
	/* a replay tells our names from others' by what the log has said, and which file a copy was made of: names that it forgets
	 * must be over, messages that it forgets gone for good */
	if (rc == 0 && syncfs(r->l->conf.mail_fd) != 0)
		rc = PT_EIO;
	if (rc == 0 && (rc = box_write_new(r->b->dir_fd, INDEX_FILE, buf_span(&out))) == 0) {
		box_close(r->b); /* its descriptor is the old file's */
		(void)index_feed(&r->x, buf_span(&out), UINT32_MAX, NULL, NULL, &bad, &rc);
	}
	index_fini(&x);
	buf_fini(&out);
	free(p);
	return rc;
}

static void
compact_run(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;

	if ((r->rc = box_open(r->l, r->b, false)) == 0)
		r->rc = r->b->index_fd < 0 ? PT_ENOENT : compact(r);
}

void
local_log_compact(struct store_backend *be, const char *user, const char *key, store_load_cb *cb, void *arg)
{
	load_with(be, user, key, compact_run, cb, arg);
}

/* --- messages ---------------------------------------------------------------------------------------------- */

struct crlf {
	uint8_t out[2 * 65536];
	uint8_t last;
};

static size_t
convert(struct crlf *c, const uint8_t *p, size_t n)
{
	size_t i, k = 0;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n' && c->last != '\r')
			c->out[k++] = '\r';
		c->out[k++] = c->last = p[i];
	}
	return k;
}

/* A file with LF line ends becomes one with CRLF, which nobody else sees. Who gets it only reads: what it could write
 * would fill the disk. */
static int
with_crlf(struct local *l, int from, int *fd_out, uint64_t *octets_out)
{
	struct crlf *c = calloc(1, sizeof *c);
	uint8_t *in = malloc(65536);
	char name[LOCAL_TMP_NAME];
	ssize_t n = -1;
	size_t k;
	int to, rc = PT_EIO;

	*octets_out = 0;
	to = local_tmp_open(l, "crlf-", name);
	if (to >= 0 && (*fd_out = maildir_open(l->tmp_fd, name, O_RDONLY)) < 0) {
		close(to);
		to = -1;
	}
	if (to >= 0)
		(void)unlinkat(l->tmp_fd, name, 0);
	if (to >= 0 && c != NULL && in != NULL)
		while ((n = read(from, in, 65536)) > 0) {
			k = convert(c, in, (size_t)n);
			if (write(to, c->out, k) != (ssize_t)k) {
				n = -1;
				break;
			}
			*octets_out += k;
		}
	free(in);
	free(c);
	if (to < 0)
		return rc;
	close(to);
	if (n == 0)
		return 0;
	close(*fd_out);
	return rc;
}

static int
open_message(struct read_job *r)
{
	char base[MAILDIR_BASE_MAX + 1], path[MAILDIR_NAME_MAX + 8];
	struct names *names;
	const struct name *e;
	int fd, rc;

	if ((rc = box_base(r->b, r->hint.line, r->hint.uid, base)) != 0)
		return rc;
	box_path(span_str(base), r->hint.flags, r->hint.where, path);
	if ((fd = maildir_open(r->b->dir_fd, path, O_RDONLY)) != PT_ENOENT)
		return fd;
	if ((rc = names_read(r->b->dir_fd, &names)) != 0) /* somebody renamed it */
		return rc;
	if ((e = names_find(names, span_str(base))) != NULL) {
		box_path(span_str(base), e->flags, e->where, path);
		fd = maildir_open(r->b->dir_fd, path, O_RDONLY);
	}
	names_free(&names);
	return fd;
}

static void
blob_open_run(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;
	struct stat st;
	uint8_t *scratch;
	int fd;

	if ((r->rc = box_open(r->l, r->b, false)) != 0)
		return;
	if ((fd = open_message(r)) < 0) {
		r->rc = fd;
		return;
	}
	if (r->hint.where & INDEX_LF) {
		r->rc = with_crlf(r->l, fd, &r->fd, &r->octets);
		close(fd);
		return;
	}
	r->rc = fstat(fd, &st) == 0 ? 0 : PT_EIO;
	r->fd = fd;
	r->octets = (uint64_t)st.st_size;
	if ((scratch = malloc(READ_AHEAD)) != NULL) {
		if (pread(fd, scratch, READ_AHEAD, 0) < 0)
			r->rc = PT_EIO;
		free(scratch);
	}
	if (r->rc != 0)
		close(fd);
}

void
local_blob_open(struct store_backend *be, const char *user, const char *key, const struct store_hint *h,
		store_fd_cb *cb, void *arg)
{
	struct read_job *r = job_new((struct local *)be, user, key, blob_open_run, fd_done, arg);

	if (r != NULL)
		r->hint = *h;
	submit_fd(r, cb, arg);
}

/* --- mailboxes of a user ---------------------------------------------------------------------------------- */

static int
listed_add(struct read_job *r, const char *key, bool exists)
{
	struct store_listed *grown;
	size_t i;

	/* subscriptions are few; folders come first */
	for (i = 0; !exists && i < r->nlisted; i++)
		if (strcmp(r->listed[i].key, key) == 0) {
			r->listed[i].subscribed = true;
			return 0;
		}
	if (r->nlisted == BOXES_MAX)
		return PT_ETOOBIG;
	if (r->nlisted == r->capacity) {
		size_t cap = r->capacity == 0 ? 16 : r->capacity * 2;

		if ((grown = reallocarray(r->listed, cap, sizeof *grown)) == NULL)
			return PT_ENOMEM;
		r->listed = grown;
		r->capacity = cap;
	}
	memset(&r->listed[r->nlisted], 0, sizeof *r->listed);
	snprintf(r->listed[r->nlisted].key, sizeof r->listed->key, "%s", key);
	r->listed[r->nlisted].exists = exists;
	r->listed[r->nlisted++].subscribed = !exists;
	return 0;
}

static int
list_folders(struct read_job *r)
{
	char name[STORE_BOX_MAX * 3 + 1];
	struct dirent *e;
	DIR *dir;
	int fd = openat(r->b->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return PT_EIO;
	}
	rc = listed_add(r, "INBOX", true);
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if (e->d_name[0] == '.' && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) &&
		    strlen(e->d_name) <= STORE_BOX_MAX + 1 && strcmp(e->d_name, ".") != 0 &&
		    strcasecmp(e->d_name + 1, "INBOX") != 0 && /* that one is the user's folder itself */
		    maildir_key_name(e->d_name + 1, name))
			rc = listed_add(r, e->d_name + 1, true);
	if (rc == 0 && errno != 0)
		rc = PT_EIO;
	closedir(dir);
	return rc;
}

static int
list_subscriptions(struct read_job *r)
{
	char key[STORE_BOX_MAX + 1], name[STORE_BOX_MAX * 3 + 1];
	uint8_t *text, *nl;
	struct span s;
	size_t n;
	int fd = maildir_open(r->b->dir_fd, "subscriptions", O_RDONLY), rc;

	if (fd < 0)
		return fd == PT_ENOENT ? 0 : fd;
	rc = read_whole(fd, &text, &s.n);
	close(fd);
	if (rc != 0)
		return rc;
	for (s.p = text; s.n > 0 && rc == 0; s.p += n + 1, s.n -= n + 1) {
		if ((nl = memchr(s.p, '\n', s.n)) == NULL)
			break;
		n = (size_t)(nl - s.p);
		if (n == 0 || n > STORE_BOX_MAX)
			continue;
		memcpy(key, s.p, n);
		key[n] = '\0';
		if (strcasecmp(key, "INBOX") == 0)
			memcpy(key, "INBOX", 5);
		if (maildir_key_name(key, name))
			rc = listed_add(r, key, false);
	}
	free(text);
	return rc;
}

static void
list_run(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;

	if ((r->rc = box_open(r->l, r->b, false)) == 0 && (r->rc = list_folders(r)) == 0)
		r->rc = list_subscriptions(r);
}

static void
list_done(struct crew_job *j)
{
	struct read_job *r = (struct read_job *)j;

	r->cb.list(r->arg, local_rc(r->rc), r->listed, r->nlisted);
	job_free(r);
}

void
local_list(struct store_backend *be, const char *user, store_list_cb *cb, void *arg)
{
	struct read_job *r = job_new((struct local *)be, user, "", list_run, list_done, arg);

	if (r == NULL) {
		cb(arg, STORE_TEMP, NULL, 0);
		return;
	}
	r->cb.list = cb;
	job_submit(r);
}

/* --- keys ------------------------------------------------------------------------------------------------- */

static void
key_of(const struct record_line *line, const char *space, store_key_f *f, void *arg, char *value)
{
	char key[STORE_KEY_MAX + 1], named[STORE_SPACE_MAX + 1];
	uint64_t version, expires = 0;

	if ((line->kind != 'V' && line->kind != 'v') || !record_word(line->word[0], named, sizeof named) ||
	    strcmp(named, space) != 0 || !record_word(line->word[1], key, sizeof key) ||
	    !record_number(line->word[2], &version))
		return;
	value[0] = '\0';
	if (line->kind == 'V' && (!record_number(line->word[3], &expires) || expires > INT64_MAX ||
	    !record_word(line->word[4], value, STORE_VALUE_MAX + 1)))
		return;
	f(arg, space, key, version, line->kind == 'v' ? -1 : (int64_t)expires, span_str(value));
}

static void
skip_line(struct span *s)
{
	const uint8_t *nl = memchr(s->p, '\n', s->n);

	s->n -= (size_t)(nl - s->p) + 1;
	s->p = nl + 1;
}

/* A torn line at the end is in the journal still. */
static int
read_keys(struct local *l, const char *file, store_key_f *f, void *arg)
{
	char space[STORE_SPACE_MAX + 1], value[STORE_VALUE_MAX + 1];
	struct record_line line;
	uint8_t *text;
	struct span s;
	bool bad;
	int fd, rc;

	snprintf(space, sizeof space, "%.*s", (int)(strlen(file) - 4), file);
	if ((fd = maildir_open(l->conf.kv_fd, file, O_RDWR)) < 0)
		return fd;
	if ((rc = read_whole(fd, &text, &s.n)) == 0) {
		s.p = text;
		while (s.n > 0) {
			if (record_next(&s, &line, &bad))
				key_of(&line, space, f, arg, value);
			else if (memchr(s.p, '\n', s.n) == NULL)
				break;
			else
				skip_line(&s);
		}
		if (s.n > 0 && ftruncate(fd, (off_t)(s.p - text)) != 0)
			rc = PT_EIO;
		free(text);
	}
	close(fd);
	return rc;
}

int
local_keys(struct local *l, store_key_f *f, void *arg, struct diag *diag)
{
	struct dirent *e;
	DIR *dir;
	size_t n;
	int fd = openat(l->conf.kv_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return diag_set(diag, PT_EIO, "cannot read the folder of keys: %s", strerror(errno));
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL) {
		n = strlen(e->d_name);
		if (f != NULL && n > 4 && n <= STORE_SPACE_MAX + 4 && strcmp(e->d_name + n - 4, ".log") == 0 &&
		    (rc = read_keys(l, e->d_name, f, arg)) != 0)
			diag_set(diag, rc, "cannot read the keys of %s: %s", e->d_name, pt_strerror(rc));
	}
	if (rc == 0 && errno != 0)
		rc = diag_set(diag, PT_EIO, "cannot read the folder of keys: %s", strerror(errno));
	closedir(dir);
	return rc;
}
