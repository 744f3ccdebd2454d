/* store/local_whole.c - mailboxes as a whole: deleted, and renamed. In threads. */
#include "store/local_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Replay: the record took the mailbox's name, and another one got it after that. If what is in the folder came there after the mailbox
 * had gone, it is that one's: its own messages come again, but not those that other programs have brought. */
static bool
must_spare(const struct run *r, const struct box *b, const struct record_line *line)
{
	return r->replay && b->names != NULL && endings_made_since(r->l->ended, r->aj->a->lsn, line);
}

static int
remove_own(void *arg, struct name *e)
{
	const struct box *b = arg;
	char path[PATH_ROOM];
	int rc = 0;

	if (e->uid == 0)
		return 0;
	box_path(span_str(e->base), e->flags, e->where, path);
	rc = maildir_unlink(b->dir_fd, path);
	return rc == PT_ENOENT ? 0 : rc;
}

static int
sync_parts(int dir_fd)
{
	static const char *const parts[] = { "new", "cur" };
	int fd, rc = 0;
	size_t i;

	for (i = 0; i < PT_COUNT(parts) && rc == 0; i++) {
		fd = openat(dir_fd, parts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			rc = fsync(fd) == 0 ? 0 : PT_EIO;
			close(fd);
		} else if (errno != ENOENT) {
			rc = maildir_error(errno);
		}
	}
	return rc;
}

/* What the journal gives to the mailbox goes, and its index last: without that nobody would know whose the rest was. */
static int
empty_out(struct box *b)
{
	int rc = names_each(b->names, remove_own, b);

	if (rc == 0)
		rc = sync_parts(b->dir_fd);
	if (rc == 0 && (rc = maildir_unlink(b->dir_fd, KEYWORDS_FILE)) == PT_ENOENT)
		rc = 0;
	if (rc == 0 && (rc = maildir_unlink(b->dir_fd, INDEX_FILE)) == PT_ENOENT)
		rc = 0;
	if (rc == 0 && fsync(b->dir_fd) != 0)
		rc = PT_EIO;
	box_close(b);
	names_free(&b->names);
	return rc;
}

struct giving {
	int from_fd, to_fd;
};

static int
give_back_one(void *arg, struct name *e)
{
	const struct giving *g = arg;
	char path[PATH_ROOM];
	int rc = 0;

	if (e->uid != 0)
		return 0;
	box_path(span_str(e->base), e->flags, e->where, path);
	rc = maildir_rename(g->from_fd, path, g->to_fd, path);
	return rc == PT_ENOENT ? 0 : rc;
}

/* A folder got another name with all that was in it: what is not the mailbox's comes back to where it was. */
static int
give_back(int user_fd, const struct box *from, const struct box *to, struct names *names)
{
	struct giving g = { .from_fd = maildir_box_open(user_fd, to->key, false) };
	int rc = g.from_fd < 0 ? g.from_fd : 0;

	if (rc == 0 && (g.to_fd = maildir_box_open(user_fd, from->key, true)) < 0)
		rc = g.to_fd;
	if (rc == 0) {
		if ((rc = names_each(names, give_back_one, &g)) == 0)
			rc = sync_parts(g.to_fd);
		close(g.to_fd);
	}
	if (g.from_fd >= 0)
		close(g.from_fd);
	return rc == PT_ENOENT ? 0 : rc;
}

static int
bury(struct run *r, struct box *b, const struct record_line *line)
{
	char folder[STORE_BOX_MAX + 2], grave[64];
	int user_fd, rc = 0;

	if (must_spare(r, b, line))
		return empty_out(b);
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

int
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

/* At a start the new name was free when the record was made. So where it has a mailbox, the record has been carried out, and what has the
 * old name is of this replay; its messages were flushed under the new one. A folder without an index may be that of a mailbox which got the
 * name later and lost its index: if ours has been brought on from there, or is deleted further on, it needs no place.
 * Otherwise the folder is another program's, and at a second try so is every folder: the mailbox keeps its name. */
static int
rename_onto(struct run *r, struct box *from, struct box *to, const struct record_line *line, uint64_t modseq)
{
	if (r->aj->a->commit == NULL) {
		if ((prepare_replay(r, to) == 0 && to->uidnext != 0) ||
		    endings_moved_on(r->l, line->word[3], r->aj->a->lsn))
			return bury(r, from, line);
		if (endings_deleted(r->l->ended, line->word[3]))
			return settle_may(r->aj) ? bury(r, from, line) : APPLY_WAITS;
	}
	/* a later replay takes the note for a word that all before it is on the disk */
	if (!settle_may(r->aj))
		return APPLY_WAITS;
	r->aj->kept = true;
	return note_move(r, from, modseq); /* and at later replays, too */
}

int
rename_box(struct run *r, const struct record_line *line)
{
	struct box *from = box_of(r, line->word[0], line->word[1]);
	struct box *to = box_of(r, line->word[0], line->word[2]);
	char a[STORE_BOX_MAX + 2], b[STORE_BOX_MAX + 2];
	struct names *spared = NULL;
	uint64_t modseq;
	int user_fd, rc = 0;

	PT_ASSERT(record_number(line->word[4], &modseq));
	if (r->replay && (!is_same_box(r, from, line->word[3]) || from->modseq >= modseq))
		return 0; /* done; and if the mailbox has the old name, it came back to it later */
	if (r->replay && box_open(r->l, to, false) == 0)
		return rename_onto(r, from, to, line, modseq);
	/* what the journal would write again must not have to be looked for under another name */
	if (!settle_may(r->aj))
		return APPLY_WAITS;
	if (must_spare(r, from, line)) {
		spared = from->names;
		from->names = NULL;
	}
	box_close(from);
	box_close(to);
	names_free(&from->names);
	names_free(&to->names);
	if ((user_fd = maildir_user_open(r->l->conf.mail_fd, from->user, false)) < 0) {
		names_free(&spared);
		return user_fd == PT_ENOENT ? 0 : user_fd;
	}
	maildir_folder(from->key, a);
	maildir_folder(to->key, b);
	if (renameat(user_fd, a, user_fd, b) != 0 && errno != ENOENT)
		rc = maildir_error(errno);
	if (rc == 0 && spared != NULL)
		rc = give_back(user_fd, from, to, spared);
	names_free(&spared);
	/* the note must never be there without the name: it says that all was done */
	if (rc == 0 && fsync(user_fd) != 0)
		rc = PT_EIO;
	close(user_fd);
	return rc != 0 ? rc : note_move(r, to, modseq);
}
