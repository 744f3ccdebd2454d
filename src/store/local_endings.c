/* store/local_endings.c - replay: what becomes of mailboxes further on in the journal. Made by the main thread before the first record is
 * carried out; then only read, by threads.
 *
 * A record about a mailbox that went later finds another one in its place, or none, and makes it again. Whether that is what is there, and
 * whether what is in its way is ours, only its end can say. */
#include "store/local.h"

#include "store/maildir.h"
#include "store/record.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct move {
	STAILQ_ENTRY(move) next;
	uint64_t lsn, modseq;
	char id[33];
	const char *key; /* behind the user's name */
	char user[];
};

struct endings {
	struct names *ids; /* seen: deleted */
	STAILQ_HEAD(, move) moves; /* few: searched from end to end, and seldom */
};

struct endings *
endings_new(void)
{
	struct endings *e = calloc(1, sizeof *e);

	if (e == NULL || (e->ids = names_new()) == NULL) {
		free(e);
		return NULL;
	}
	STAILQ_INIT(&e->moves);
	return e;
}

void
endings_free(struct endings **ep)
{
	struct endings *e = *ep;
	struct move *m;

	if (e == NULL)
		return;
	while ((m = STAILQ_FIRST(&e->moves)) != NULL) {
		STAILQ_REMOVE_HEAD(&e->moves, next);
		free(m);
	}
	names_free(&e->ids);
	free(e);
	*ep = NULL;
}

static int
add_move(struct endings *e, uint64_t lsn, const struct record_line *line)
{
	char user[STORE_USER_MAX + 1], key[STORE_BOX_MAX + 1];
	struct move *m;
	uint64_t modseq;
	size_t n;

	if (!record_word(line->word[0], user, sizeof user) || !record_word(line->word[2], key, sizeof key) ||
	    !record_number(line->word[4], &modseq))
		return 0;
	n = strlen(user) + 1;
	if ((m = calloc(1, sizeof *m + n + strlen(key) + 1)) == NULL)
		return PT_ENOMEM;
	m->lsn = lsn;
	m->modseq = modseq;
	memcpy(m->id, line->word[3].p, 32);
	memcpy(m->user, user, n);
	strcpy(m->user + n, key);
	m->key = m->user + n;
	STAILQ_INSERT_TAIL(&e->moves, m, next);
	return 0;
}

int
endings_add(struct endings *e, uint64_t lsn, const struct record_line *line)
{
	struct span id = line->kind == 'D' ? line->word[2] : line->word[3];
	int rc;

	if (id.n != 32)
		return 0;
	if ((rc = names_add(e->ids, id, 0, 0)) != 0)
		return rc;
	if (line->kind == 'R')
		return add_move(e, lsn, line);
	names_find(e->ids, id)->seen = true;
	return 0;
}

bool
endings_any(const struct endings *e, struct span id)
{
	return e != NULL && names_find(e->ids, id) != NULL;
}

bool
endings_deleted(const struct endings *e, struct span id)
{
	const struct name *n = e == NULL ? NULL : names_find(e->ids, id);

	return n != NULL && n->seen;
}

/* Whether the mailbox of that name has that id, by the first line of its index, which was flushed before it got the name. */
static bool
is_at(const struct local *l, const char *user, const char *key, struct span id)
{
	char text[INDEX_LINE_MAX];
	struct index_line x;
	ssize_t n = -1;
	bool bad;
	int user_fd = maildir_user_open(l->conf.mail_fd, user, false), box_fd = -1, fd = -1;

	if (user_fd >= 0 && (box_fd = maildir_box_open(user_fd, key, false)) >= 0 &&
	    (fd = maildir_open(box_fd, INDEX_FILE, O_RDONLY)) >= 0)
		n = pread(fd, text, sizeof text, 0);
	if (fd >= 0)
		close(fd);
	if (box_fd >= 0)
		close(box_fd);
	if (user_fd >= 0)
		close(user_fd);
	return n > 0 && index_line_parse((struct span){ (uint8_t *)text, (size_t)n }, &x, &bad) > 0 && x.kind == 'P' &&
		span_equal(x.guid, id);
}

bool
endings_moved_on(const struct local *l, struct span id, uint64_t lsn)
{
	const struct move *m;

	if (l->ended == NULL)
		return false;
	STAILQ_FOREACH(m, &l->ended->moves, next)
		if (m->lsn > lsn && span_equal(id, span_str(m->id)) && is_at(l, m->user, m->key, id))
			return true;
	return false;
}

bool
endings_moved_since(const struct endings *e, struct span id, uint64_t lsn, uint64_t modseq)
{
	const struct move *m;

	if (!endings_any(e, id))
		return false;
	STAILQ_FOREACH(m, &e->moves, next)
		if (m->lsn > lsn && m->modseq <= modseq && span_equal(id, span_str(m->id)))
			return true;
	return false;
}
