/* conf/conf_errors.c - the mistakes of one run: kept in the order of file and place, bounded in
 * number, and printed with the line they are in. Texts are copied, for the file is gone by then. */
#include "conf/conf_errors.h"

#include "conf/conf_utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX    1024 /* octets of one message */
#define PLACE_MAX   32   /* octets of ":line:column" and a NUL */
#define LINE_BEFORE 100  /* octets of the line shown before the mistake, when it is long */
#define LINE_SHOWN  160  /* octets of the line shown in all */
#define GUESS_MAX   32   /* octets; longer words are no directive */

struct mistake {
	char *where; /* file, or "file:line:column" */
	char *text;
	char *line;  /* NULL: none to show */
	size_t lead; /* octets of line before the mistake */
	size_t len;  /* octets it covers */
	unsigned file, row, column;
};

struct conf_errors {
	struct mistake kept[CONF_ERRORS_MAX];
	size_t nkept;
	size_t count;
	bool nomem;
};

struct conf_errors *
conf_errors_new(void)
{
	return calloc(1, sizeof(struct conf_errors));
}

static void
mistake_fini(struct mistake *m)
{
	free(m->where);
	free(m->text);
	free(m->line);
}

void
conf_errors_free(struct conf_errors **e)
{
	size_t i;

	if (*e == NULL)
		return;
	for (i = 0; i < (*e)->nkept; i++)
		mistake_fini(&(*e)->kept[i]);
	free(*e);
	*e = NULL;
}

size_t
conf_errors_count(const struct conf_errors *e)
{
	return e->count;
}

bool
conf_errors_nomem(const struct conf_errors *e)
{
	return e->nomem;
}

/* Copies what is shown of the line around pos; of a long line a window. */
static bool
copy_line(struct mistake *m, const struct conf_pos *pos)
{
	const uint8_t *text = pos->file->text;
	size_t from, to = pos->off, bol, max, i;

	bol = pos->off - (pos->column - 1);
	from = pos->column - 1 > LINE_BEFORE ? pos->off - LINE_BEFORE : bol;
	while (from > bol && (text[from] & 0xc0) == 0x80)
		from--; /* not into the middle of a character */
	max = from + LINE_SHOWN;
	while (to < pos->file->len && to < max && text[to] != '\n')
		to++;
	if (to > from && text[to - 1] == '\r')
		to--;
	m->lead = pos->off - from;
	m->len = pos->len;
	if ((m->line = calloc(1, to - from + 1)) == NULL)
		return false;
	for (i = from; i < to; i++)
		m->line[i - from] = text[i] != '\0' ? (char)text[i] : '\1'; /* both print as '?' */
	return true;
}

static bool
before(const struct mistake *a, const struct mistake *b)
{
	if (a->file != b->file)
		return a->file < b->file;
	if (a->row != b->row)
		return a->row < b->row;
	return a->column < b->column;
}

/* Keeps m in its place; when there are too many, the last one goes. Takes m. */
static void
keep(struct conf_errors *e, struct mistake *m)
{
	size_t i;

	e->count++;
	if (e->nkept == CONF_ERRORS_MAX) {
		if (!before(m, &e->kept[e->nkept - 1])) {
			mistake_fini(m);
			return;
		}
		mistake_fini(&e->kept[--e->nkept]);
	}
	for (i = e->nkept; i > 0 && before(m, &e->kept[i - 1]); i--)
		e->kept[i] = e->kept[i - 1];
	e->kept[i] = *m;
	e->nkept++;
}

static void
add(struct conf_errors *e, const char *name, const struct conf_pos *pos, const char *text)
{
	struct mistake m = { 0 };
	size_t n;

	name = pos != NULL ? pos->file->name : name;
	n = strlen(name) + PLACE_MAX;
	if ((m.where = malloc(n)) == NULL || (m.text = strdup(text)) == NULL ||
	    (pos != NULL && !copy_line(&m, pos))) {
		mistake_fini(&m);
		e->nomem = true;
		return;
	}
	snprintf(m.where, n, "%s", name);
	if (pos != NULL) {
		snprintf(m.where, n, "%s:%u:%u", name, pos->line, pos->column);
		m.file = pos->file->index;
		m.row = pos->line;
		m.column = pos->column;
	}
	keep(e, &m);
}

static void append(char *text, const char *fmt, ...) PT_PRINTF(2, 3);

static void
append(char *text, const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, TEXT_MAX - n, fmt, ap);
	va_end(ap);
}

void
conf_mistake(struct conf_errors *e, const struct conf_pos *pos, const char *meant, const char *fmt,
	     ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (meant != NULL)
		append(text, "; did you mean '%.*s'?", CONF_TEXT_SHOWN, meant);
	add(e, NULL, pos, text);
}

void
conf_mistake_word(struct conf_errors *e, const struct conf_word *w, const char *meant,
		  const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (w->macro != NULL)
		append(text, " ($%.*s is defined at %s:%u)", CONF_TEXT_SHOWN, w->macro->name,
		       w->macro->pos.file->name, w->macro->pos.line);
	if (meant != NULL)
		append(text, "; did you mean '%.*s'?", CONF_TEXT_SHOWN, meant);
	add(e, NULL, &w->pos, text);
}

void
conf_mistake_file(struct conf_errors *e, const char *name, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	add(e, name, NULL, text);
}

/* The line under the line: as wide as what stands above, tabs as tabs, one mark for a character. */
static int
print_caret(struct buf *out, const struct mistake *m)
{
	size_t i, len, n = strlen(m->line), end = m->lead + m->len;
	int rc = buf_append_str(out, "    ");

	for (i = 0; i < m->lead && rc == 0; i += len) {
		len = i < n ? conf_utf8_text((const uint8_t *)m->line + i, n - i) : 1;
		len = len > 0 ? len : 1;
		rc = buf_append(out, i < n && m->line[i] == '\t' ? "\t" : " ", 1);
	}
	for (; (i < end && i < n && rc == 0) || i == m->lead; i += len) {
		len = i < n ? conf_utf8_text((const uint8_t *)m->line + i, n - i) : 1;
		len = len > 0 ? len : 1;
		rc = rc != 0 ? rc : buf_append(out, i == m->lead ? "^" : "~", 1);
	}
	return rc != 0 ? rc : buf_append(out, "\n", 1);
}

static int
print_mistake(struct buf *out, const struct mistake *m)
{
	int rc;

	if ((rc = conf_utf8_print(out, m->where)) != 0 || (rc = buf_append_str(out, ": ")) != 0 ||
	    (rc = conf_utf8_print(out, m->text)) != 0 || (rc = buf_append(out, "\n", 1)) != 0)
		return rc;
	if (m->line == NULL)
		return 0;
	if ((rc = buf_append_str(out, "    ")) != 0 || (rc = conf_utf8_print(out, m->line)) != 0 ||
	    (rc = buf_append(out, "\n", 1)) != 0)
		return rc;
	return print_caret(out, m);
}

int
conf_errors_print(const struct conf_errors *e, struct buf *out)
{
	size_t i;
	int rc;

	for (i = 0; i < e->nkept; i++)
		if ((rc = print_mistake(out, &e->kept[i])) != 0)
			return rc;
	if (e->count > e->nkept)
		return buf_printf(out, "and %zu more\n", e->count - e->nkept);
	return 0;
}

static char
fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c + ('a' - 'A'));
	return c == '_' ? '-' : c;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

/* Edit distance with swaps of neighbours (optimal string alignment); both are at most GUESS_MAX. */
static unsigned
distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned row[3][GUESS_MAX + 1], *cur, *one, *two;
	size_t i, j;

	for (j = 0; j <= nb; j++)
		row[0][j] = (unsigned)j;
	for (i = 1; i <= na; i++) {
		cur = row[i % 3];
		one = row[(i + 2) % 3];
		two = row[(i + 1) % 3];
		cur[0] = (unsigned)i;
		for (j = 1; j <= nb; j++) {
			cur[j] = min3(one[j] + 1, cur[j - 1] + 1,
				      one[j - 1] + (fold(a[i - 1]) != fold(b[j - 1])));
			if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
			    fold(a[i - 2]) == fold(b[j - 1]) && two[j - 2] + 1 < cur[j])
				cur[j] = two[j - 2] + 1;
		}
	}
	return row[na % 3][nb];
}

void
conf_guess_init(struct conf_guess *g, const char *word)
{
	*g = (struct conf_guess){ .word = word };
}

void
conf_guess_try(struct conf_guess *g, const char *name)
{
	size_t na = strlen(g->word), nb = strlen(name), shorter = na < nb ? na : nb;
	unsigned d, max = shorter <= 3 ? 1 : shorter <= 6 ? 2 : 3;

	if (na > GUESS_MAX || nb > GUESS_MAX || na == 0 || (*name >= '0' && *name <= '9'))
		return; /* nobody mistypes a number into another by letters */
	d = distance(g->word, na, name, nb);
	if (d <= max && d < shorter && (g->best == NULL || d < g->distance)) {
		g->best = name;
		g->distance = d;
	}
}
