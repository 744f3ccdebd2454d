/* store/uidset.h - sets of UIDs as text, "1:5,7": read range by range, written in ascending order. Pure. */
#ifndef STORE_UIDSET_H
#define STORE_UIDSET_H

#include "util/buf.h"
#include "util/span.h"

struct uidset_range {
	uint32_t first; /* never 0 */
	uint32_t last;  /* not below first */
};

/* Takes the first range from s. false: s is empty, or what comes is none (then s is not empty after it). */
bool uidset_next(struct span *s, struct uidset_range *r_out);

/* The whole text is a set of ranges, each above the one before. */
bool uidset_valid(struct span s);

/* Collects UIDs, each above the one before (others are kept as they come, as a range of their own). */
struct uidset_writer {
	struct buf *out; /* borrowed */
	struct uidset_range open; /* first 0: none */
	bool some;
	int rc;
};

void uidset_begin(struct uidset_writer *w, struct buf *out);
void uidset_add(struct uidset_writer *w, uint32_t uid);

/* Writes the rest: 0, or why it did not fit. */
int uidset_end(struct uidset_writer *w) PT_MUST_USE;

#endif
