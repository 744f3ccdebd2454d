/* conf/conf_arena.h - memory that is taken in pieces and given back whole.
 *
 * Reading a file makes thousands of small objects that end together, so none is freed alone.
 * Running out of memory is remembered: the reader goes on as far as it can and asks once, at the
 * end. */
#ifndef CONF_CONF_ARENA_H
#define CONF_CONF_ARENA_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>

struct conf_arena {
	struct conf_chunk *chunks;
	bool failed; /* an allocation did; what was built since is incomplete */
};

/* Zeroed memory for any type, n > 0 octets. NULL when out of memory: failed is set then. */
void *conf_arena_alloc(struct conf_arena *a, size_t n) PT_MUST_USE;

/* A copy of n octets with a NUL behind; NULL when out of memory. */
char *conf_arena_strn(struct conf_arena *a, const void *p, size_t n) PT_MUST_USE;
char *conf_arena_str(struct conf_arena *a, const char *s) PT_MUST_USE;

/* The octets of fmt; NULL when out of memory. */
char *conf_arena_printf(struct conf_arena *a, const char *fmt, ...) PT_MUST_USE PT_PRINTF(2, 3);

/* Frees everything; the arena is empty and usable. */
void conf_arena_fini(struct conf_arena *a);

#endif
