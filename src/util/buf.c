/* util/buf.c - the bounded buffer. Growth doubles, from BUF_MIN up to the maximum. */
#include "util/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MIN 128

void
buf_init(struct buf *b, size_t max_octets)
{
	*b = (struct buf){ .max = max_octets };
}

static void
wipe(struct buf *b)
{
	if (b->base == NULL)
		return;
	explicit_bzero(b->base, b->cap);
	free(b->base);
}

void
buf_fini(struct buf *b)
{
	wipe(b);
	*b = (struct buf){ .max = b->max };
}

void
buf_wipe(struct buf *b)
{
	buf_fini(b);
}

/* Makes room for n more behind len: first by moving to the front, then by growing. */
static int
make_room(struct buf *b, size_t n)
{
	size_t cap = b->cap > 0 ? b->cap : BUF_MIN, need = buf_size(b) + n;
	uint8_t *base;

	if (need > b->max || need < n)
		return PT_ETOOBIG;
	if (b->cap - b->len >= n)
		return 0;
	if (b->cap >= need && b->off > 0) {
		memmove(b->base, b->base + b->off, buf_size(b));
	} else {
		while (cap < need)
			cap *= 2;
		if ((base = malloc(cap)) == NULL)
			return PT_ENOMEM;
		if (buf_size(b) > 0)
			memcpy(base, b->base + b->off, buf_size(b));
		wipe(b); /* nobody can reach it any more, and it may be a key */
		b->base = base;
		b->cap = cap;
	}
	b->len -= b->off;
	b->off = 0;
	return 0;
}

int
buf_append(struct buf *b, const void *p, size_t n)
{
	int rc;

	if (n == 0)
		return 0;
	if ((rc = make_room(b, n)) != 0)
		return rc;
	memcpy(b->base + b->len, p, n);
	b->len += n;
	return 0;
}

int
buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, rc;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	PT_ASSERT(n >= 0);
	if ((rc = make_room(b, (size_t)n + 1)) != 0)
		return rc;
	va_start(ap, fmt);
	vsnprintf((char *)b->base + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void
buf_consume(struct buf *b, size_t n)
{
	PT_ASSERT(n <= buf_size(b));
	b->off += n;
	if (b->off == b->len)
		buf_fini(b);
}
