/* util/buf.h - a growing run of octets with a stated maximum: append at the end, take from the front.
 *
 * Holds no memory while empty (an idle connection has many of these). Not thread safe. */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include "util/err.h"
#include "util/span.h"

struct buf {
	uint8_t *base; /* owned; NULL while empty */
	size_t off;    /* first octet not yet taken */
	size_t len;    /* end of what was appended; octets held are [off, len) */
	size_t cap;    /* size of base */
	size_t max;    /* buf_append() never holds more than this */
};

/* Empty, with a maximum in octets. Allocates nothing; cannot fail. */
void buf_init(struct buf *b, size_t max_octets);

/* Wipes and frees what it holds and leaves it empty and usable. Always wiped, also when it grows or has been
 * drained: what came inside TLS must not be found in the process when its session is over. */
void buf_fini(struct buf *b);

/* The same, by the name that says that it matters here: for keys. */
void buf_wipe(struct buf *b);

static inline size_t
buf_size(const struct buf *b)
{
	return b->len - b->off;
}

/* What it holds: borrowed, valid until the next call that takes b. */
static inline struct span
buf_span(const struct buf *b)
{
	return (struct span){ b->base == NULL ? NULL : b->base + b->off, b->len - b->off };
}

/* Adds n octets. PT_ETOOBIG above the maximum, PT_ENOMEM; nothing is added then. */
int buf_append(struct buf *b, const void *p, size_t n) PT_MUST_USE;
int buf_append_str(struct buf *b, const char *s) PT_MUST_USE;
int buf_printf(struct buf *b, const char *fmt, ...) PT_MUST_USE PT_PRINTF(2, 3);

/* Takes n octets (n <= size) from the front; frees the memory when none are left. */
void buf_consume(struct buf *b, size_t n);

#endif
