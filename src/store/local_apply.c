/* store/local_apply.c - carries a transaction out: files in their places, lines at the end of the index. Runs in
 * threads, one job at a time for each box.
 *
 * Everything can be done twice: after a crash the whole journal is done again, in order, whatever of it had reached
 * the disk. Then contents are written over what may be garbage (in place: a copy may share the file), files are found under
 * whatever name they have by now, and index lines that are there are not written again. */
#include "store/local.h"

#include "store/maildir.h"
#include "store/record.h"
#include "store/uidset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM (MAILDIR_NAME_MAX + 5)
#define INDEX_BATCH_MAX (64u << 20) /* lines of one job; a transaction is smaller */

/* --- a box's descriptors -------------------------------------------------------------------------------- */

void
box_close(struct box *b)
{
	if (b->dir_fd >= 0)
		close(b->dir_fd);
	if (b->index_fd >= 0)
		close(b->index_fd);
	b->dir_fd = b->index_fd = -1;
}

/* What can only be read is read (also by a replay, which may find all done), and opened again each time: the disk may be written
 * again by then. */
static int
open_index(struct box *b, bool make)
{
	int fd = maildir_open(b->dir_fd, INDEX_FILE, O_RDWR | O_APPEND);

	if (fd == PT_ENOENT && make)
		fd = maildir_open(b->dir_fd, INDEX_FILE, O_RDWR | O_APPEND | O_CREAT);
	b->read_only = fd == PT_EIO && errno == EROFS;
	if (b->read_only)
		fd = maildir_open(b->dir_fd, INDEX_FILE, O_RDONLY);
	if (fd >= 0 && b->index_fd >= 0)
		close(b->index_fd);
	if (fd >= 0)
		b->index_fd = fd;
	return fd >= 0 || fd == PT_ENOENT ? 0 : fd;
}

int
box_open(struct local *l, struct box *b, bool make)
{
	int user_fd, fd, rc;

	if (b->dir_fd >= 0 && !b->read_only && (b->index_fd >= 0 || !make))
		return 0;
	/* INBOX: its folder is the user's, and may have been there for another mailbox */
	if (make && b->dir_fd >= 0 && b->key[0] != '\0' && (rc = maildir_box_mend(b->dir_fd)) != 0)
		return rc;
	if (b->dir_fd < 0) {
		if ((user_fd = maildir_user_open(l->conf.mail_fd, b->user, make)) < 0)
			return user_fd;
		fd = b->key[0] == '\0' ? dup(user_fd) : maildir_box_open(user_fd, b->key, make);
		close(user_fd);
		if (fd < 0)
			return b->key[0] == '\0' ? PT_EIO : fd;
		b->dir_fd = fd;
	}
	return b->key[0] == '\0' ? 0 : open_index(b, make);
}

void
box_path(struct span base, uint32_t flags, uint8_t where, char *out)
{
	memcpy(out, where & INDEX_NEW ? "new/" : "cur/", 4);
	memcpy(out + 4, base.p, base.n);
	out[4 + base.n] = '\0';
	if (!(where & INDEX_NEW))
		maildir_info(flags, out + 4 + base.n);
}

int
box_base(const struct box *b, uint64_t line, uint32_t uid, char *base)
{
	char text[512];
	struct index_line x;
	size_t have = 0;
	ssize_t n = 1;
	bool bad;

	if (b->index_fd < 0)
		return PT_ENOENT;
	while (n > 0 && have < sizeof text && memchr(text, '\n', have) == NULL) {
		if ((n = pread(b->index_fd, text + have, sizeof text - have, (off_t)(line + have))) < 0)
			return PT_EIO;
		have += (size_t)n;
	}
	if (index_line_parse((struct span){ (uint8_t *)text, have }, &x, &bad) == 0 || x.kind != '+' || x.uid != uid)
		return PT_ENOENT;
	memcpy(base, x.text.p, x.text.n);
	base[x.text.n] = '\0';
	return 0;
}

/* --- one job -------------------------------------------------------------------------------------------- */

/* Where the next "+" gets its file. */
enum source { SOURCE_NONE, SOURCE_BODY, SOURCE_FILE, SOURCE_COPY, SOURCE_THERE };

struct run {
	struct local *l;
	struct apply_job *aj;
	bool replay;
	struct box *box; /* of the lines */
	struct span box_id;
	bool skip;       /* replay: the mailbox is gone by now, or another one */
	bool files_only; /* replay: its index is lost; the next look at it makes one from the files */
	struct buf out;  /* lines for its index */
	size_t hint;
	enum source source;
	uint64_t off, octets;
	char file[64];
	struct box *from;
	uint32_t from_uid;
	struct span from_id;
};

static const struct store_hint *
next_hint(struct run *r, uint32_t uid)
{
	const struct store_hint *h;

	if (r->aj->a->hints == NULL)
		return NULL;
	PT_ASSERT(r->hint < r->aj->a->nhints);
	h = &r->aj->a->hints[r->hint++];
	PT_ASSERT(h->uid == uid);
	return h;
}

static int
flush_lines(struct run *r)
{
	struct span s = buf_span(&r->out);
	ssize_t n;
	int rc = 0;

	while (s.n > 0) {
		if (r->box->index_fd < 0)
			return PT_ENOENT;
		n = write(r->box->index_fd, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = maildir_error(errno);
			break;
		}
		s.p += n;
		s.n -= (size_t)n;
	}
	buf_fini(&r->out);
	return rc;
}

static int
write_again(struct run *r, const char *path, const uint8_t *body)
{
	int fd = maildir_open(r->box->dir_fd, path, O_WRONLY | O_TRUNC), rc;

	if (fd < 0)
		return fd;
	rc = maildir_write(fd, body, r->octets);
	close(fd);
	return rc;
}

/* Replay: most files are right. */
static bool
has_body(struct run *r, const char *path, const uint8_t *body)
{
	uint8_t *have = malloc(r->octets + 1);
	int fd = maildir_open(r->box->dir_fd, path, O_RDONLY);
	bool same = have != NULL && fd >= 0 &&
		pread(fd, have, r->octets + 1, 0) == (ssize_t)r->octets && memcmp(have, body, r->octets) == 0;

	if (fd >= 0)
		close(fd);
	free(have);
	return same;
}

/* Before it is in its place: where its line is in the transaction. */
static void
new_name(const struct run *r, const struct index_line *x, char out[PATH_ROOM])
{
	snprintf(out, PATH_ROOM, "new-%016llx-%zx", (unsigned long long)r->aj->a->lsn,
		(size_t)(x->text.p - r->aj->a->whole));
}

/* What was not there may have been our cur/ or new/: somebody took it away, or a crash. Now it is there: once more. */
static bool
is_mended(const struct run *r, int *rc)
{
	return *rc == PT_ENOENT && (*rc = maildir_box_mend(r->box->dir_fd)) == 0;
}

/* Not in the mailbox's own folder: see nursery.h. There it is renamed to when it is whole. */
static int
write_new(struct run *r, const struct index_line *x, const char *path, const uint8_t *body)
{
	const struct name *e = r->box->names == NULL ? NULL : names_find(r->box->names, x->text);
	char tmp[PATH_ROOM];
	struct nursery_file f;
	int rc;

	if (e != NULL) { /* replay: perhaps with nothing in it; links to it get it, too */
		box_path(x->text, e->flags, e->where, tmp);
		if (has_body(r, tmp, body))
			return 0;
		if ((rc = write_again(r, tmp, body)) != PT_ENOENT)
			return rc;
	}
	new_name(r, x, tmp);
	if ((rc = nursery_make(r->l->nursery, tmp, &f)) != 0)
		return rc;
	if ((rc = maildir_write(f.fd, body, r->octets)) == 0 &&
	    (rc = maildir_rename(f.folder, tmp, r->box->dir_fd, path)) != 0 && is_mended(r, &rc))
		rc = maildir_rename(f.folder, tmp, r->box->dir_fd, path);
	nursery_done(r->l->nursery, &f, rc == 0 ? NULL : tmp);
	return rc;
}

static int
place_body(struct run *r, const struct index_line *x, const char *path)
{
	uint8_t *body = malloc(r->octets > 0 ? r->octets : 1);
	int rc;

	if (body == NULL)
		return PT_ENOMEM;
	if ((rc = journal_read(r->l->journal, r->aj->a->at.segment, r->aj->a->at.body + r->off, body,
		     r->octets)) == 0)
		rc = write_new(r, x, path, body);
	free(body);
	return rc;
}

static int
place_file(struct run *r, const struct index_line *x, const char *path)
{
	int rc;

	/* replay: there under some name, and its octets were flushed before the record */
	if (r->box->names != NULL && names_find(r->box->names, x->text) != NULL)
		return 0;
	rc = maildir_link(r->l->tmp_fd, r->file, r->box->dir_fd, path);
	if (is_mended(r, &rc))
		rc = maildir_link(r->l->tmp_fd, r->file, r->box->dir_fd, path);
	/* replay: a checkpoint had everything and removed it, and the message was removed since */
	return rc == PT_ENOENT && r->replay ? 0 : rc;
}

/* The path of a message that is there, below its box's folder. */
static int
find_path(struct box *b, uint32_t uid, const struct store_hint *h, char *base, char *path)
{
	struct name *e = NULL;
	int rc = 0;

	if (h != NULL && (rc = box_base(b, h->line, uid, base)) == PT_ENOENT)
		h = NULL; /* its line is damaged; the file's name may say which it is */
	if (h != NULL) {
		if (rc != 0)
			return rc;
		box_path(span_str(base), h->flags, h->where, path);
		if (faccessat(b->dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return 0;
	}
	/* somebody renamed it, or this is a replay */
	if (b->names == NULL && (rc = names_read(b->dir_fd, &b->names)) != 0)
		return rc;
	e = h != NULL ? names_find(b->names, span_str(base)) : names_find_uid(b->names, uid);
	if (e == NULL)
		return PT_ENOENT;
	snprintf(base, MAILDIR_BASE_MAX + 1, "%s", e->base);
	box_path(span_str(base), e->flags, e->where, path);
	return 0;
}

static void
names_forget(struct box *b, bool replay)
{
	if (!replay)
		names_free(&b->names);
}

/* --- before a replay -------------------------------------------------------------------------------------- */

/* Replay: from now on the UID means that name. A file that others brought may have any U= of its own. */
static void
claim(struct box *b, const struct index_line *x)
{
	struct name *e = names_find(b->names, x->text);

	if (e == NULL)
		return;
	names_set_uid(b->names, e, x->uid);
	names_ours(e, x->flags, x->where);
}

/* A name that the log gives, or gave: what it has now is of our making, unless somebody did the same. */
static void
claim_flags(struct box *b, const struct index_line *x)
{
	struct span set = x->text;
	struct uidset_range g;
	struct name *e;
	uint64_t uid;

	while (uidset_next(&set, &g))
		for (uid = g.first; uid <= g.last; uid++)
			if ((e = names_find_uid(b->names, (uint32_t)uid)) != NULL)
				names_ours(e, x->flags, 0);
}

static int
forget_uid(void *arg, struct name *e)
{
	names_set_uid(arg, e, 0);
	return 0;
}

/* The names that the index has say which UID they are, also of messages that are gone from it. What is damaged is passed over. */
static int
claim_all(struct box *b)
{
	struct index_line x;
	const uint8_t *nl;
	struct span s;
	uint8_t *text;
	size_t used;
	bool bad;
	int rc = read_whole(b->index_fd, &text, &s.n);

	if (rc != 0)
		return rc;
	names_each(b->names, forget_uid, b->names);
	for (s.p = text; s.n > 0; s.p += used, s.n -= used) {
		if ((used = index_line_parse(s, &x, &bad)) > 0) {
			if (x.kind == '+')
				claim(b, &x);
			else if (x.kind == '=')
				claim_flags(b, &x);
			continue;
		}
		if ((nl = memchr(s.p, '\n', s.n)) == NULL)
			break;
		used = (size_t)(nl - s.p) + 1;
	}
	free(text);
	return 0;
}

/* Lines are added to a damaged index, whole ones: the last of what is there may have no end. */
static int
end_line(struct box *b)
{
	struct stat st;
	char last;

	if (fstat(b->index_fd, &st) != 0 || st.st_size == 0 || pread(b->index_fd, &last, 1, st.st_size - 1) != 1)
		return PT_EIO;
	return last == '\n' ? 0 : maildir_write(b->index_fd, (const uint8_t *)"\n", 1);
}

/* Before the first line of a replay: what is in the index, and which files are there. */
static int
prepare_replay(struct run *r, struct box *b)
{
	struct index x;
	int rc;

	if (b->names != NULL)
		return 0;
	b->uidnext = 0;
	b->modseq = 0;
	b->damaged = false;
	if (b->index_fd >= 0) {
		if ((rc = box_index(r->l, b, true, &x, &b->damaged)) != 0)
			return rc;
		b->uidnext = x.uidvalidity != 0 ? x.uidnext : 0;
		b->modseq = x.modseq;
		memcpy(b->id, x.id, sizeof b->id);
		index_fini(&x);
		if (b->damaged && (rc = end_line(b)) != 0)
			return rc;
	}
	if ((rc = names_read(b->dir_fd, &b->names)) == 0 && b->uidnext != 0)
		rc = claim_all(b);
	return rc;
}

/* Replay: the source is gone; perhaps it was still there when the record was made, and the copy is not on the disk. */
static int
link_grave(struct run *r, int to_fd, const char *to)
{
	const struct name *grave;
	char name[GRAVE_ROOM];

	if (r->l->graves == NULL)
		return PT_ENOENT;
	snprintf(name, sizeof name, "%.*s-%08x", (int)r->from_id.n, (const char *)r->from_id.p, r->from_uid);
	if ((grave = names_find(r->l->graves, span_str(name))) == NULL)
		return PT_ENOENT;
	grave_name(name, grave->size, r->from_id, r->from_uid);
	return maildir_link(r->l->tmp_fd, name, to_fd, to);
}

/* --- copies ------------------------------------------------------------------------------------------------ */

static int
link_source(struct run *r, int to_fd, const char *to)
{
	char base[MAILDIR_BASE_MAX + 1], from[PATH_ROOM];
	const struct store_hint *h = next_hint(r, r->from_uid);
	int rc = box_open(r->l, r->from, false);

	if (rc == 0)
		rc = find_path(r->from, r->from_uid, h, base, from);
	if (rc == 0)
		rc = maildir_link(r->from->dir_fd, from, to_fd, to);
	names_forget(r->from, r->replay);
	return rc == PT_ENOENT && r->replay ? link_grave(r, to_fd, to) : rc;
}

/* Replay: the source has the right octets by now, the copy may be another file without them, under any flags. */
static int
place_copy_again(struct run *r, const struct index_line *x, const char *path)
{
	const struct name *e = r->box->names == NULL ? NULL : names_find(r->box->names, x->text);
	char tmp[PATH_ROOM], there[PATH_ROOM];
	int rc;

	new_name(r, x, tmp);
	(void)unlinkat(r->l->tmp_fd, tmp, 0);
	if ((rc = link_source(r, r->l->tmp_fd, tmp)) != 0)
		return rc;
	if (e != NULL)
		box_path(x->text, e->flags, e->where, there);
	rc = maildir_rename(r->l->tmp_fd, tmp, r->box->dir_fd, e != NULL ? there : path);
	(void)unlinkat(r->l->tmp_fd, tmp, 0); /* two names of one file: a rename does nothing */
	return rc;
}

static int
copy_once(struct run *r, const struct index_line *x, const char *path)
{
	return r->replay ? place_copy_again(r, x, path) : link_source(r, r->box->dir_fd, path);
}

static int
place_copy(struct run *r, const struct index_line *x, const char *path)
{
	size_t hint = r->hint;
	int rc = copy_once(r, x, path);

	if (is_mended(r, &rc)) {
		r->hint = hint;
		rc = copy_once(r, x, path);
	}
	/* others took it: the next scan says so; replay: done before, and the source has gone since */
	return rc == PT_ENOENT ? 0 : rc;
}

static int
set_date(struct run *r, const struct index_line *x, const char *path)
{
	struct span s = x->text;
	uint64_t sec = 0;

	for (; s.n > 0 && s.p[0] >= '0' && s.p[0] <= '9' && sec < UINT32_MAX; s.p++, s.n--)
		sec = sec * 10 + (uint64_t)(s.p[0] - '0');
	if (sec != (uint64_t)x->date) /* else the name says it */
		(void)!maildir_set_time(r->box->dir_fd, path, x->date);
	return 0;
}

static int
add_message(struct run *r, const struct index_line *x)
{
	char path[PATH_ROOM];
	enum source source = r->source;
	int rc = 0;

	r->source = SOURCE_NONE;
	box_path(x->text, x->flags, x->where, path);
	switch (source) {
	case SOURCE_BODY:
		rc = place_body(r, x, path);
		break;
	case SOURCE_FILE:
		rc = place_file(r, x, path);
		break;
	case SOURCE_COPY:
		rc = place_copy(r, x, path);
		break;
	case SOURCE_THERE:
	case SOURCE_NONE:
		return 0;
	}
	if (rc == 0 && r->box->names != NULL && names_find(r->box->names, x->text) == NULL)
		rc = names_add(r->box->names, x->text, x->flags, x->where);
	return rc == 0 && source != SOURCE_COPY ? set_date(r, x, path) : rc;
}

/* Replay: whether somebody else gave the message the name it has now, since: then the next scan says so. */
static bool
is_foreign(const struct run *r, const char *base, uint32_t flags)
{
	struct name *e = r->replay && r->box->names != NULL ? names_find(r->box->names, span_str(base)) : NULL;

	if (e == NULL || r->box->uidnext == 0)
		return false;
	names_ours(e, flags, 0);
	return !e->ours;
}

static int
rename_message(struct run *r, uint32_t uid, uint32_t flags)
{
	char base[MAILDIR_BASE_MAX + 1], from[PATH_ROOM], to[PATH_ROOM];
	const struct store_hint *h = next_hint(r, uid);
	struct name *e;
	int rc = find_path(r->box, uid, h, base, from);

	if (rc == 0 && !is_foreign(r, base, flags)) {
		box_path(span_str(base), flags, 0, to);
		if (strcmp(from, to) != 0)
			rc = maildir_rename(r->box->dir_fd, from, r->box->dir_fd, to);
		if (r->box->names != NULL && (e = names_find(r->box->names, span_str(base))) != NULL) {
			e->flags = flags;
			e->where = 0;
		}
	}
	names_forget(r->box, r->replay);
	return rc == PT_ENOENT ? 0 : rc; /* others took it away: the next scan says so */
}

/* Into .tmp first: what was copied from it may not be on the disk yet, and which of two folders' changes comes there
 * first is the file system's choice. */
static int
remove_message(struct run *r, uint32_t uid)
{
	char base[MAILDIR_BASE_MAX + 1], path[PATH_ROOM], grave[GRAVE_ROOM];
	const struct store_hint *h = next_hint(r, uid);
	struct name *e;
	int rc = find_path(r->box, uid, h, base, path);

	if (rc == 0) {
		grave_name(grave, r->aj->a->lsn, r->box_id, uid);
		if ((rc = maildir_rename(r->box->dir_fd, path, r->l->tmp_fd, grave)) == PT_EIO)
			rc = maildir_unlink(r->box->dir_fd, path); /* another file system */
		if (rc == 0 && r->replay) /* the same file may lie there: two names of one, and a rename does nothing */
			(void)!maildir_unlink(r->box->dir_fd, path);
		if (r->box->names != NULL && (e = names_find(r->box->names, span_str(base))) != NULL)
			names_remove(r->box->names, e);
	}
	names_forget(r->box, r->replay);
	return rc == PT_ENOENT ? 0 : rc;
}

/* Others did it. */
static void
was_found(struct run *r, uint32_t uid, const struct index_line *x)
{
	struct name *e = r->replay && r->box->names != NULL ? names_find_uid(r->box->names, uid) : NULL;

	(void)next_hint(r, uid);
	if (e != NULL && x->kind == '=')
		names_ours(e, x->flags, 0);
}

static int
each_of_set(struct run *r, const struct index_line *x)
{
	struct span set = x->text;
	struct uidset_range g;
	uint64_t uid;
	int rc = 0;

	while (rc == 0 && uidset_next(&set, &g))
		for (uid = g.first; uid <= g.last && rc == 0; uid++)
			if (r->source == SOURCE_THERE)
				was_found(r, (uint32_t)uid, x);
			else
				rc = x->kind == '=' ? rename_message(r, (uint32_t)uid, x->flags)
					: remove_message(r, (uint32_t)uid);
	return rc;
}

/* For other programs, and for the day when the index is lost. */
static int
note_keyword(struct run *r, const struct index_line *x)
{
	char text[STORE_KEYWORD_MAX + 16];
	int n = snprintf(text, sizeof text, "%u %.*s\n", x->uid, (int)x->text.n, (const char *)x->text.p);
	int fd = maildir_open(r->box->dir_fd, KEYWORDS_FILE, O_RDWR | O_APPEND | O_CREAT), rc;

	if (fd < 0)
		return fd;
	rc = maildir_append(fd, (const uint8_t *)text, (size_t)n);
	close(fd);
	return rc;
}

/* Replay: is the line in the index already? Of the last transaction some lines may be missing. */
static bool
line_there(const struct box *b, const struct index_line *x)
{
	if (b->damaged)
		return x->kind == 'P' || x->kind == 'L';
	switch (x->kind) {
	case 'P':
		return b->uidnext != 0;
	case '+':
		return x->uid < b->uidnext;
	case 'U':
		return x->uid <= b->uidnext;
	case 'L':
		return true;
	default:
		return x->modseq < b->modseq;
	}
}

static int
index_line(struct run *r, const struct record_line *line)
{
	struct index_line x;
	bool bad;
	int rc = 0;

	PT_ASSERT(r->box != NULL && index_line_parse(line->raw, &x, &bad) > 0);
	if (x.kind == 'P' && r->box->index_fd < 0 && (rc = box_open(r->l, r->box, true)) != 0)
		return rc;
	if (x.kind == 'P' && !r->replay && ftruncate(r->box->index_fd, 0) != 0) /* what was there could not be read */
		return maildir_error(errno);
	if (x.kind == '+') {
		rc = add_message(r, &x);
		if (r->replay && r->box->names != NULL)
			claim(r->box, &x);
	} else if (x.kind == '=' || x.kind == '-')
		rc = each_of_set(r, &x);
	else if (x.kind == 'k')
		rc = note_keyword(r, &x);
	if (rc != 0 || r->files_only || (r->replay && line_there(r->box, &x)))
		return rc;
	if (r->replay) {
		if (x.kind == 'P')
			memcpy(r->box->id, x.guid.p, 32);
		r->box->uidnext = x.kind == '+' ? x.uid + 1 : x.kind == 'U' ? x.uid
			: r->box->uidnext == 0 ? 1 : r->box->uidnext;
		r->box->modseq = x.modseq > r->box->modseq ? x.modseq : r->box->modseq;
	}
	return buf_append(&r->out, line->raw.p, line->raw.n);
}

static bool
begins_with_header(struct span rest)
{
	return rest.n > 1 && rest.p[0] == 'P' && rest.p[1] == '1';
}

static struct box *
box_of(struct run *r, struct span user, struct span key)
{
	char u[STORE_USER_MAX + 1], k[STORE_BOX_MAX + 1];
	unsigned i;

	PT_ASSERT(record_word(user, u, sizeof u) && record_word(key, k, sizeof k));
	for (i = 0; i < r->aj->nboxes; i++)
		if (strcmp(r->aj->box[i]->user, u) == 0 && strcmp(r->aj->box[i]->key, k) == 0)
			return r->aj->box[i];
	PT_ASSERT(!"a job has all boxes of its lines");
	return NULL;
}

static int
enter_box(struct run *r, const struct record_line *line, struct span rest)
{
	bool make = begins_with_header(rest);
	int rc;

	if (r->box != NULL && (rc = flush_lines(r)) != 0)
		return rc;
	r->box = box_of(r, line->word[0], line->word[1]);
	r->box_id = line->word[2];
	if (!r->replay)
		names_free(&r->box->names);
	else if (make && r->box->names == NULL)
		box_close(r->box); /* to make what of its folders is missing */
	r->box->clean = false;
	rc = box_open(r->l, r->box, make);
	/* somebody took cur/, new/ or tmp/ away, which must not keep the journal full for all others; or the mailbox was made again, and
	 * was met by the replay under its former id */
	if (rc == 0 && (r->aj->tries > 0 || (r->replay && make)))
		rc = maildir_box_mend(r->box->dir_fd);
	r->skip = r->files_only = false;
	if (!r->replay)
		return rc;
	if (rc == PT_ENOENT && !make) {
		r->skip = true; /* deleted or renamed later in the journal, and that was already done */
		return 0;
	}
	if (rc != 0 || (rc = prepare_replay(r, r->box)) != 0)
		return rc;
	r->skip = r->box->uidnext != 0 && !span_equal(line->word[2], span_str(r->box->id));
	r->files_only = r->box->uidnext == 0 && !make;
	/* That one had an index to its end, so this is the folder of another one, made since, whose index was lost; what the
	 * first one had must not come back in it. */
	if (r->files_only && r->l->ended != NULL && names_find(r->l->ended, line->word[2]) != NULL)
		r->skip = true;
	return 0;
}

/* Replay: whether the mailbox is still the one that a line is about. */
static bool
is_same_box(struct run *r, struct box *b, struct span id)
{
	return box_open(r->l, b, false) == 0 && prepare_replay(r, b) == 0 && b->uidnext != 0 &&
		span_equal(id, span_str(b->id));
}

/* --- mailboxes as a whole ------------------------------------------------------------------------------- */

/* At once for everybody, then in peace; and durable first, or a loss of power might bring back a part of it, without the
 * index that tells a replay which mailbox that was. */
static int
move_out(struct run *r, int user_fd, const char *folder, const char *grave)
{
	int rc = renameat(user_fd, folder, r->l->tmp_fd, grave) == 0 ? 0 : errno;

	if (rc == ENOTEMPTY || rc == EEXIST) { /* what is left of it from before a replay */
		tree_remove(r->l->tmp_fd, grave, 3);
		rc = renameat(user_fd, folder, r->l->tmp_fd, grave) == 0 ? 0 : errno;
	}
	if (rc == ENOENT)
		return 0;
	if (rc == 0 && (fsync(user_fd) != 0 || fsync(r->l->tmp_fd) != 0))
		rc = EIO;
	if (rc == 0)
		tree_remove(r->l->tmp_fd, grave, 3);
	return rc == 0 ? 0 : maildir_error(rc);
}

static int
bury(struct run *r, struct box *b, const struct record_line *line)
{
	char folder[STORE_BOX_MAX + 2], grave[64];
	int user_fd, rc = 0;

	box_close(b);
	names_free(&b->names);
	if ((user_fd = maildir_user_open(r->l->conf.mail_fd, b->user, false)) < 0)
		return user_fd == PT_ENOENT ? 0 : user_fd;
	maildir_folder(b->key, folder);
	snprintf(grave, sizeof grave, DELETED "%016llx-%zx", (unsigned long long)r->aj->a->lsn,
		(size_t)(line->raw.p - r->aj->a->whole));
	if (strcmp(folder, ".") != 0)
		rc = move_out(r, user_fd, folder, grave);
	close(user_fd);
	return rc;
}

static int
delete_box(struct run *r, const struct record_line *line)
{
	struct box *b = box_of(r, line->word[0], line->word[1]);

	if (r->replay && !is_same_box(r, b, line->word[2]))
		return 0;
	/* what was copied from here could not be copied again */
	return settle_may(r->aj) ? bury(r, b, line) : APPLY_WAITS;
}

/* Durable before anything else happens under either name. */
static int
note_move(struct run *r, struct box *to, uint64_t modseq)
{
	struct buf text;
	int rc = box_open(r->l, to, false);

	if (rc != 0)
		return rc == PT_ENOENT ? 0 : rc;
	buf_init(&text, 64);
	if ((rc = index_put_moved(&text, modseq)) == 0 && to->index_fd >= 0)
		rc = maildir_write(to->index_fd, buf_span(&text).p, buf_size(&text));
	buf_fini(&text);
	if (rc == 0 && ((to->index_fd >= 0 && fdatasync(to->index_fd) != 0) || fsync(to->dir_fd) != 0))
		rc = PT_EIO;
	return rc;
}

static int
rename_box(struct run *r, const struct record_line *line)
{
	struct box *from = box_of(r, line->word[0], line->word[1]);
	struct box *to = box_of(r, line->word[0], line->word[2]);
	char a[STORE_BOX_MAX + 2], b[STORE_BOX_MAX + 2];
	uint64_t modseq;
	int user_fd, rc = 0;

	PT_ASSERT(record_number(line->word[4], &modseq));
	if (r->replay && (!is_same_box(r, from, line->word[3]) || from->modseq >= modseq))
		return 0; /* done; and if the mailbox has the old name, it came back to it later */
	if (r->replay && box_open(r->l, to, false) == 0) {
		/* At a start: the new name was free then, it is done. What has the old name is of this replay, and its messages
		 * were flushed under the new one. But a folder without an index is another program's, and at a second try
		 * so is every folder: the mailbox keeps its name. */
		if (r->aj->a->commit == NULL && prepare_replay(r, to) == 0 && to->uidnext != 0)
			return bury(r, from, line);
		r->aj->kept = true;
		return note_move(r, from, modseq); /* and at later replays, too */
	}
	/* what the journal would write again must not have to be looked for under another name */
	if (!settle_may(r->aj))
		return APPLY_WAITS;
	box_close(from);
	box_close(to);
	names_free(&from->names);
	names_free(&to->names);
	if ((user_fd = maildir_user_open(r->l->conf.mail_fd, from->user, false)) < 0)
		return user_fd == PT_ENOENT ? 0 : user_fd;
	maildir_folder(from->key, a);
	maildir_folder(to->key, b);
	if (renameat(user_fd, a, user_fd, b) != 0 && errno != ENOENT)
		rc = maildir_error(errno);
	/* the note must never be there without the name: it says that all was done */
	if (rc == 0 && fsync(user_fd) != 0)
		rc = PT_EIO;
	close(user_fd);
	return rc != 0 ? rc : note_move(r, to, modseq);
}

/* --- keys ------------------------------------------------------------------------------------------------- */

/* Key logs are opened for each line's job: they are few and change seldom compared with mail. */
static int
key_line(struct run *r, const struct record_line *line)
{
	char name[STORE_SPACE_MAX + 8];
	int fd, rc;

	snprintf(name, sizeof name, "%.*s.log", STORE_SPACE_MAX, r->aj->box[0]->key);
	fd = maildir_open(r->l->conf.kv_fd, name, O_RDWR | O_APPEND | O_CREAT);
	if (fd < 0)
		return fd;
	rc = maildir_append(fd, line->raw.p, line->raw.n);
	close(fd);
	return rc;
}

/* --- lines ------------------------------------------------------------------------------------------------ */

static int
source_line(struct run *r, const struct record_line *line)
{
	uint64_t uid;

	switch (line->kind) {
	case 'I':
		r->source = SOURCE_BODY;
		PT_ASSERT(record_number(line->word[0], &r->off) && record_number(line->word[1], &r->octets));
		return r->off > r->aj->a->at.body_len || r->octets > r->aj->a->at.body_len - r->off
			? PT_EPROTO : 0;
	case 'F':
		r->source = SOURCE_FILE;
		return record_word(line->word[0], r->file, sizeof r->file) &&
			strchr(r->file, '/') == NULL ? 0 : PT_EPROTO;
	case 'S':
		r->source = SOURCE_COPY;
		r->from = box_of(r, line->word[0], line->word[1]);
		r->from->clean = false;
		if (!r->replay)
			names_free(&r->from->names);
		PT_ASSERT(record_number(line->word[2], &uid));
		if (r->replay && !is_same_box(r, r->from, line->word[3])) { /* deleted since: the copy was flushed before */
			r->source = SOURCE_THERE;
			(void)next_hint(r, (uint32_t)uid);
			return 0;
		}
		r->from_uid = (uint32_t)uid;
		r->from_id = line->word[3];
		return 0;
	default:
		r->source = SOURCE_THERE;
		return 0;
	}
}

static int
one_line(struct run *r, const struct record_line *line, struct span rest)
{
	if (line->index)
		return r->skip ? 0 : index_line(r, line);
	switch (line->kind) {
	case 'B':
		return enter_box(r, line, rest);
	case 'I':
	case 'F':
	case 'S':
	case 'X':
		return source_line(r, line);
	case 'D':
		return delete_box(r, line);
	case 'R':
		return rename_box(r, line);
	case 's':
		return local_subscribe(r->aj, line);
	case 'V':
	case 'v':
		return key_line(r, line);
	default:
		return 0;
	}
}

/* The job keeps its turn, and begins again with the line that has to wait. */
static int
suspend(struct run *r, size_t done)
{
	int rc = r->box != NULL ? flush_lines(r) : 0;

	if (rc != 0)
		return rc;
	r->aj->begun = done;
	r->aj->begun_hint = r->hint;
	r->aj->settling = r->aj->job.again = true;
	return 0;
}

/* A second try may find any part of the first one done, like a replay. */
static void
begin_again(struct apply_job *aj)
{
	unsigned i;

	for (i = 0; i < aj->nboxes; i++) {
		box_close(aj->box[i]);
		names_free(&aj->box[i]->names);
	}
}

void
apply_run(struct crew_job *j)
{
	struct apply_job *aj = (struct apply_job *)j;
	struct run r = { .l = aj->l, .aj = aj, .replay = aj->a->commit == NULL || aj->tries > 0,
		.hint = aj->begun > 0 ? aj->begun_hint : aj->hint };
	struct record_line line;
	struct span text = { aj->text.p + aj->begun, aj->text.n - aj->begun };
	size_t done = aj->begun;
	unsigned i;
	bool bad;
	int rc = 0;

	buf_init(&r.out, INDEX_BATCH_MAX);
	if (aj->tries > 0 && aj->begun == 0)
		begin_again(aj);
	while (rc == 0 && record_next(&text, &line, &bad))
		if ((rc = one_line(&r, &line, text)) == 0)
			done = aj->text.n - text.n;
	if (rc == APPLY_WAITS)
		rc = suspend(&r, done);
	else if (rc == 0 && r.box != NULL)
		rc = flush_lines(&r);
	buf_fini(&r.out);
	if (r.replay && aj->a->commit != NULL && !aj->settling)
		for (i = 0; i < aj->nboxes; i++)
			names_free(&aj->box[i]->names);
	aj->rc = rc;
	if (rc != 0) {
		aj->begun = 0;
		aj->l->stuck++;
		aj->job.again = true;
	}
}
