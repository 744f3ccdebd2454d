/* store/row.c - see row.h. */
#include "store/row.h"

#include <stdio.h>
#include <string.h>

static int
put(struct buf *row, char kind, const char *name, const char *value)
{
	int rc = buf_append(row, &kind, 1);

	if (rc == 0)
		rc = buf_append(row, name, strlen(name) + 1);
	return rc != 0 ? rc : buf_append(row, value, strlen(value) + 1);
}

int
row_text(struct buf *row, const char *name, const char *value)
{
	return put(row, 's', name, value);
}

int
row_number(struct buf *row, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%llu", (unsigned long long)value);
	return put(row, 'n', name, text);
}

int
row_truth(struct buf *row, const char *name, bool value)
{
	return put(row, 'b', name, value ? "1" : "0");
}

/* A C string in front, taken. NULL: it has no end. */
static const char *
take_string(struct span *s)
{
	const char *text = (const char *)s->p;
	const uint8_t *end = s->n == 0 ? NULL : memchr(s->p, '\0', s->n);

	if (end == NULL)
		return NULL;
	s->n -= (size_t)(end - s->p) + 1;
	s->p = end + 1;
	return text;
}

static bool
number(const char *text, uint64_t *v)
{
	size_t i;

	*v = 0;
	for (i = 0; text[i] >= '0' && text[i] <= '9' && i < 20; i++)
		if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, (uint64_t)(text[i] - '0'), v))
			return false;
	return i > 0 && text[i] == '\0';
}

bool
row_next(struct span *row, struct row_field *out, bool *bad)
{
	*bad = false;
	if (row->n == 0)
		return false;
	*bad = true;
	out->kind = (char)row->p[0];
	out->number = 0;
	row->p++;
	row->n--;
	if ((out->name = take_string(row)) == NULL || (out->value = take_string(row)) == NULL || out->name[0] == '\0')
		return false;
	if (out->kind != 's' && (!number(out->value, &out->number) || (out->kind != 'n' && out->kind != 'b') ||
	    (out->kind == 'b' && out->number > 1)))
		return false;
	*bad = false;
	return true;
}
