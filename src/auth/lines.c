/* auth/lines.c - see lines.h. */
#include "auth/lines.h"

#include "mail/normal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
lines_mistake(struct lines *l, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (++l->nmistakes > LINES_MISTAKES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (buf_printf(l->mistakes, "%s:%u: %s\n", l->name, l->line, text) == PT_ENOMEM)
		l->rc = PT_ENOMEM;
}

void
lines_init(struct lines *l, const char *name, struct span text, size_t max, struct buf *mistakes)
{
	*l = (struct lines){ .name = name, .rest = text, .mistakes = mistakes };
	if (text.n > max) {
		lines_mistake(l, "%zu octets; expected at most %zu", text.n, max);
		l->rest.n = 0;
	}
}

struct span
lines_cut(struct span *s, char c)
{
	const uint8_t *p = s->n > 0 ? memchr(s->p, c, s->n) : NULL;
	struct span head = *s;

	if (p == NULL) {
		s->n = 0;
		return head;
	}
	head.n = (size_t)(p - s->p);
	*s = (struct span){ p + 1, s->n - head.n - 1 };
	return head;
}

static bool
is_text(struct lines *l, struct span line)
{
	size_t i;

	if (line.n > LINES_MAX) {
		lines_mistake(l, "a line of %zu octets; expected at most %d", line.n, LINES_MAX);
		return false;
	}
	for (i = 0; i < line.n; i++) {
		if ((line.p[i] >= 0x20 && line.p[i] != 0x7f) || line.p[i] == '\t')
			continue;
		lines_mistake(l, line.p[i] == '\r' ? "a carriage return; expected lines that end in LF alone"
						   : "a control character; expected text");
		return false;
	}
	return true;
}

static size_t
split(struct span line, struct span *fields, size_t max)
{
	size_t i = 0, n = 0, from;

	for (;;) {
		while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'))
			i++;
		if (i == line.n)
			return n;
		from = i;
		while (i < line.n && line.p[i] != ' ' && line.p[i] != '\t')
			i++;
		if (n < max)
			fields[n] = (struct span){ line.p + from, i - from };
		n++;
	}
}

size_t
lines_next(struct lines *l, struct span *fields, size_t max)
{
	struct span line;
	size_t n;

	while (l->rest.n > 0 && l->rc == 0) {
		l->line++;
		line = lines_cut(&l->rest, '\n');
		if (is_text(l, line) && (n = split(line, fields, max)) > 0 && fields[0].p[0] != '#')
			return n;
	}
	return 0;
}

int
lines_end(struct lines *l)
{
	if (l->rc == 0 && l->nmistakes > LINES_MISTAKES_MAX &&
	    buf_printf(l->mistakes, "%s: %zu more mistakes\n", l->name,
		    l->nmistakes - LINES_MISTAKES_MAX) == PT_ENOMEM)
		l->rc = PT_ENOMEM;
	return l->rc != 0 ? l->rc : l->nmistakes > 0 ? PT_EINVAL : 0;
}

char *
lines_address(struct lines *l, struct span field, const char *what)
{
	char normal[NORMAL_ADDRESS_MAX], shown[80], *copy;

	if (!normal_address(field, normal)) {
		lines_mistake(l, "'%s' is not %s; expected NAME@DOMAIN",
			span_print(field, shown, sizeof shown), what);
		return NULL;
	}
	if ((copy = strdup(normal)) == NULL)
		l->rc = PT_ENOMEM;
	return copy;
}
