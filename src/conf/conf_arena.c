/* conf/conf_arena.c - see conf_arena.h. Chunks of a fixed size; what is larger gets its own. */
#include "conf/conf_arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_OCTETS 8192

struct conf_chunk {
	struct conf_chunk *next;
	size_t used, cap;
	_Alignas(max_align_t) uint8_t octets[];
};

void *
conf_arena_alloc(struct conf_arena *a, size_t n)
{
	size_t align = _Alignof(max_align_t), cap;
	struct conf_chunk *c = a->chunks;
	void *p;

	n = (n + align - 1) / align * align;
	if (c == NULL || c->cap - c->used < n) {
		cap = n > CHUNK_OCTETS ? n : CHUNK_OCTETS;
		if ((c = calloc(1, sizeof *c + cap)) == NULL) {
			a->failed = true;
			return NULL;
		}
		c->cap = cap;
		c->next = a->chunks;
		a->chunks = c;
	}
	p = c->octets + c->used;
	c->used += n;
	return p;
}

char *
conf_arena_strn(struct conf_arena *a, const void *p, size_t n)
{
	char *s = conf_arena_alloc(a, n + 1);

	if (s != NULL && n > 0)
		memcpy(s, p, n);
	return s;
}

char *
conf_arena_str(struct conf_arena *a, const char *s)
{
	return conf_arena_strn(a, s, strlen(s));
}

char *
conf_arena_printf(struct conf_arena *a, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	PT_ASSERT(n >= 0);
	if ((s = conf_arena_alloc(a, (size_t)n + 1)) == NULL)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}

void
conf_arena_fini(struct conf_arena *a)
{
	struct conf_chunk *c;

	while ((c = a->chunks) != NULL) {
		a->chunks = c->next;
		free(c);
	}
	a->failed = false;
}
