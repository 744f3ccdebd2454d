/* store/local_apply.c - carries a transaction out: files in their places, lines at the end of the index. Runs in
 * threads, one job at a time for each box. */
#include "store/local_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define INDEX_BATCH_MAX (64u << 20) /* lines of one job; a transaction is smaller */

/* --- a box's descriptors ----------------------------------------------------------------------------------------- */

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

/* --- lines of the index ------------------------------------------------------------------------------------------ */

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
		if (x.kind == 'P') {
			memcpy(r->box->id, x.guid.p, 32);
			claim_none(r->box);
		}
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

struct box *
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
	/* That one had an index to its end, so where it has gone from here this is the folder of another one, made since; what the
	 * first one had must not come back in it. But it may never have come here (rename_onto() in local_whole.c): then what it was
	 * given under this name stands in the folder that has it. */
	if (r->files_only && endings_gone_from(r->l, r->aj->a->lsn, line))
		r->skip = true;
	/* it had another name since, and came back: to do this again would undo what was done there */
	if (!r->skip && r->box->uidnext != 0 &&
	    endings_moved_since(r->l->ended, line->word[2], r->aj->a->lsn, r->box->modseq))
		r->skip = true;
	return 0;
}

/* --- keys -------------------------------------------------------------------------------------------------------- */

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

/* --- lines ------------------------------------------------------------------------------------------------------- */

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
