/* auth/impersonate.c - see impersonate.h. */
#include "auth/impersonate.h"

#include "auth/lines.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct row {
	STAILQ_ENTRY(row) next;
	char *who;
	char *whom; /* NULL: everybody */
};

struct impersonate {
	STAILQ_HEAD(, row) rows;
};

static void
add_row(struct impersonate *t, struct lines *l, struct span who, struct span whom)
{
	struct row *row = calloc(1, sizeof *row);

	if (row == NULL) {
		l->rc = PT_ENOMEM;
		return;
	}
	STAILQ_INSERT_TAIL(&t->rows, row, next);
	row->who = lines_address(l, who, "a user");
	if (row->who != NULL && !span_equal(whom, span_str("*")))
		row->whom = lines_address(l, whom, "a user or *");
}

int
impersonate_parse(const char *name, struct span text, struct impersonate **out, struct buf *mistakes)
{
	struct span fields[IMPERSONATE_FIELDS_MAX];
	struct impersonate *t = calloc(1, sizeof *t);
	struct lines l;
	size_t i, n;
	int rc;

	*out = NULL;
	if (t == NULL)
		return PT_ENOMEM;
	STAILQ_INIT(&t->rows);
	lines_init(&l, name, text, IMPERSONATE_FILE_MAX, mistakes);
	while ((n = lines_next(&l, fields, IMPERSONATE_FIELDS_MAX)) > 0) {
		if (n > IMPERSONATE_FIELDS_MAX)
			lines_mistake(&l, "%zu fields; expected at most %d, and further ones in another line", n,
				IMPERSONATE_FIELDS_MAX);
		else if (n == 1)
			lines_mistake(&l, "nobody behind the user; expected whom he may act as, or *");
		for (i = 1; i < n && n <= IMPERSONATE_FIELDS_MAX && l.rc == 0; i++)
			add_row(t, &l, fields[0], fields[i]);
	}
	if ((rc = lines_end(&l)) != 0)
		impersonate_free(&t);
	*out = t;
	return rc;
}

void
impersonate_free(struct impersonate **tp)
{
	struct impersonate *t = *tp;
	struct row *row;

	if (t == NULL)
		return;
	while ((row = STAILQ_FIRST(&t->rows)) != NULL) {
		STAILQ_REMOVE_HEAD(&t->rows, next);
		free(row->who);
		free(row->whom);
		free(row);
	}
	free(t);
	*tp = NULL;
}

bool
impersonate_allows(const struct impersonate *t, const char *who, const char *whom)
{
	const struct row *row;

	if (strcmp(who, whom) == 0)
		return true;
	if (t == NULL)
		return false;
	STAILQ_FOREACH(row, &t->rows, next)
		if (strcmp(row->who, who) == 0 && (row->whom == NULL || strcmp(row->whom, whom) == 0))
			return true;
	return false;
}
