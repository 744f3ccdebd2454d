/* store/local_place.c - a message gets its file, another name, or goes. In threads. */
#include "store/local_apply.h"

#include "store/uidset.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct store_hint *
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

/* --- from the journal -------------------------------------------------------------------------------------------- */

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

/* --- copies ------------------------------------------------------------------------------------------------------ */

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

/* --- lines ------------------------------------------------------------------------------------------------------- */

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

int
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

int
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
