/* cli/cli_table.c - see cli_table.h. */
#include "cli/cli_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cli_table {
	const struct cli_column *columns;
	size_t ncolumns;
	char **cells; /* row by row */
	size_t ncells;
	size_t room;
	bool short_of_memory;
};

struct cli_table *
cli_table_new(const struct cli_column *columns, size_t n)
{
	struct cli_table *t;

	PT_ASSERT(n > 0 && n <= CLI_TABLE_COLUMNS_MAX);
	if ((t = calloc(1, sizeof *t)) == NULL)
		return NULL;
	t->columns = columns;
	t->ncolumns = n;
	return t;
}

void
cli_table_free(struct cli_table **t)
{
	size_t i;

	if (*t == NULL)
		return;
	for (i = 0; i < (*t)->ncells; i++)
		free((*t)->cells[i]);
	free((*t)->cells);
	free(*t);
	*t = NULL;
}

void
cli_table_cell(struct cli_table *t, const char *text)
{
	size_t room = t->room == 0 ? 64 : t->room * 2;
	char **cells;

	if (t->ncells == t->room) {
		if ((cells = reallocarray(t->cells, room, sizeof *cells)) == NULL) {
			t->short_of_memory = true;
			return;
		}
		t->cells = cells;
		t->room = room;
	}
	if ((t->cells[t->ncells] = strdup(text)) == NULL)
		t->short_of_memory = true;
	else
		t->ncells++;
}

void
cli_table_number(struct cli_table *t, long long number)
{
	char text[32];

	snprintf(text, sizeof text, "%lld", number);
	cli_table_cell(t, text);
}

/* Characters of UTF-8: octets that do not continue one (RFC 3629 §3). */
static size_t
text_width(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static int
put_cell(struct buf *out, const struct cli_column *c, const char *text, size_t width, bool last)
{
	int fill = (int)(width - text_width(text)), rc;

	if (c->right && (rc = buf_printf(out, "%*s", fill, "")) != 0)
		return rc;
	if ((rc = buf_append_str(out, text)) != 0)
		return rc;
	if (last) {
		while (out->len > out->off && out->base[out->len - 1] == ' ')
			out->len--; /* what empty cells left behind */
		return buf_append_str(out, "\n");
	}
	return buf_printf(out, "%*s", (c->right ? 0 : fill) + 2, "");
}

int
cli_table_print(const struct cli_table *t, struct buf *out)
{
	size_t width[CLI_TABLE_COLUMNS_MAX], i, k, w;
	int rc;

	if (t->short_of_memory)
		return PT_ENOMEM;
	for (k = 0; k < t->ncolumns; k++) {
		width[k] = text_width(t->columns[k].heading);
		for (i = k; i < t->ncells; i += t->ncolumns)
			if ((w = text_width(t->cells[i])) > width[k])
				width[k] = w;
	}
	for (k = 0; k < t->ncolumns; k++)
		if ((rc = put_cell(out, &t->columns[k], t->columns[k].heading, width[k],
				   k + 1 == t->ncolumns)) != 0)
			return rc;
	for (i = 0; i < t->ncells; i++) {
		k = i % t->ncolumns;
		if ((rc = put_cell(out, &t->columns[k], t->cells[i], width[k],
				   k + 1 == t->ncolumns || i + 1 == t->ncells)) != 0)
			return rc;
	}
	return 0;
}
