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
	uint64_t lsn, modseq; /* of one mailbox both go up together */
	char id[33];
	const char *key; /* behind the user's name */
	char user[];
};

struct endings {
	struct names *ids; /* seen: deleted */
	struct move **moves; /* owned; by id, then by LSN, when all are there: a client can rename a mailbox as often as it likes */
	size_t nmoves, cap;
	struct names *made; /* by "user key" as records have it; size: the LSN of the last mailbox that is made there */
};

struct endings *
endings_new(void)
{
	struct endings *e = calloc(1, sizeof *e);

	if (e != NULL && ((e->ids = names_new()) == NULL || (e->made = names_new()) == NULL))
		endings_free(&e);
	return e;
}

void
endings_free(struct endings **ep)
{
	struct endings *e = *ep;

	if (e == NULL)
		return;
	while (e->nmoves > 0)
		free(e->moves[--e->nmoves]);
	free(e->moves);
	names_free(&e->ids);
	names_free(&e->made);
	free(e);
	*ep = NULL;
}

static int
add_move(struct endings *e, uint64_t lsn, const struct record_line *line)
{
	char user[STORE_USER_MAX + 1], key[STORE_BOX_MAX + 1];
	struct move *m, **grown;
	uint64_t modseq;
	size_t n;

	if (!record_word(line->word[0], user, sizeof user) || !record_word(line->word[2], key, sizeof key) ||
	    !record_number(line->word[4], &modseq))
		return 0;
	if (e->nmoves == e->cap) {
		if ((grown = reallocarray(e->moves, e->cap == 0 ? 16 : e->cap * 2, sizeof(*grown))) == NULL)
			return PT_ENOMEM;
		e->moves = grown;
		e->cap = e->cap == 0 ? 16 : e->cap * 2;
	}
	n = strlen(user) + 1;
	if ((m = calloc(1, sizeof *m + n + strlen(key) + 1)) == NULL)
		return PT_ENOMEM;
	m->lsn = lsn;
	m->modseq = modseq;
	memcpy(m->id, line->word[3].p, 32);
	memcpy(m->user, user, n);
	strcpy(m->user + n, key);
	m->key = m->user + n;
	e->moves[e->nmoves++] = m;
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

/* "user key" of a line "B" or "D", or "R": its former name. */
static struct span
place_of(const struct record_line *line)
{
	return (struct span){ line->word[0].p, (size_t)(line->word[1].p + line->word[1].n - line->word[0].p) };
}

int
endings_made(struct endings *e, uint64_t lsn, const struct record_line *line)
{
	struct span place = place_of(line);
	int rc = names_add(e->made, place, 0, 0);

	if (rc == 0)
		names_find(e->made, place)->size = lsn;
	return rc;
}

static int
by_id(const void *a, const void *b)
{
	const struct move *x = *(struct move *const *)a, *y = *(struct move *const *)b;
	int order = memcmp(x->id, y->id, 32);

	return order != 0 ? order : x->lsn < y->lsn ? -1 : x->lsn > y->lsn;
}

void
endings_sort(struct endings *e)
{
	if (e->nmoves > 1)
		qsort(e->moves, e->nmoves, sizeof(*e->moves), by_id);
}

static bool
is_any(const struct endings *e, struct span id)
{
	return e != NULL && names_find(e->ids, id) != NULL;
}

bool
endings_deleted(const struct endings *e, struct span id)
{
	const struct name *n = e == NULL ? NULL : names_find(e->ids, id);

	return n != NULL && n->seen;
}

bool
endings_made_since(const struct endings *e, uint64_t lsn, const struct record_line *line)
{
	const struct name *n = e == NULL ? NULL : names_find(e->made, place_of(line));

	return n != NULL && n->size > lsn;
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

/* The place of the mailbox's first move above lsn; nmoves: it has none. */
static size_t
first_above(const struct endings *e, struct span id, uint64_t lsn)
{
	struct move key = { .lsn = lsn }, *want = &key;
	size_t low = 0, high = e->nmoves, middle;

	memcpy(key.id, id.p, 32);
	while (low < high) {
		middle = low + (high - low) / 2;
		if (by_id(&e->moves[middle], &want) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < e->nmoves && span_equal(id, span_str(e->moves[low]->id)) ? low : e->nmoves;
}

bool
endings_moved_on(const struct local *l, struct span id, uint64_t lsn)
{
	const struct endings *e = l->ended;
	size_t i;

	if (!is_any(e, id))
		return false;
	for (i = first_above(e, id, lsn); i < e->nmoves && span_equal(id, span_str(e->moves[i]->id)); i++)
		if (is_at(l, e->moves[i]->user, e->moves[i]->key, id))
			return true;
	return false;
}

bool
endings_gone_from(const struct local *l, uint64_t lsn, const struct record_line *line)
{
	struct span id = line->word[2];

	return is_any(l->ended, id) && (endings_made_since(l->ended, lsn, line) || endings_deleted(l->ended, id) ||
		endings_moved_on(l, id, lsn));
}

bool
endings_moved_since(const struct endings *e, struct span id, uint64_t lsn, uint64_t modseq)
{
	size_t i;

	if (!is_any(e, id))
		return false;
	i = first_above(e, id, lsn);
	return i < e->nmoves && e->moves[i]->modseq <= modseq;
}
