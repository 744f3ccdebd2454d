/* auth/lines.h - reading our small tables: a line is a row, fields are separated by blanks, '#' begins a comment
 * line; every mistake is reported with its line. */
#ifndef AUTH_LINES_H
#define AUTH_LINES_H

#include "util/buf.h"

#define LINES_MAX 16384       /* octets of a line without its end */
#define LINES_MISTAKES_MAX 50 /* reported; the rest are counted */

struct lines {
	const char *name; /* of the file, in mistakes */
	struct span rest; /* not yet read */
	unsigned line;    /* the one under way, from 1 */
	struct buf *mistakes;
	size_t nmistakes;
	int rc; /* PT_ENOMEM: remembered, ends the run */
};

/* Text of more than max octets is a mistake, and nothing of it is read. */
void lines_init(struct lines *l, const char *name, struct span text, size_t max, struct buf *mistakes);

/* The fields of the next line that has any, at most max (further ones are counted, not stored). Lines that are too
 * long or have control characters are reported and left out. 0 at the end. */
size_t lines_next(struct lines *l, struct span *fields, size_t max);

/* Appends "name:line: text". */
void lines_mistake(struct lines *l, const char *fmt, ...) PT_PRINTF(2, 3);

/* 0, PT_EINVAL when there was a mistake, PT_ENOMEM. */
int lines_end(struct lines *l) PT_MUST_USE;

/* Cuts s at the first c: what is before it is returned, s begins behind it, or is empty. */
struct span lines_cut(struct span *s, char c);

/* An address in its normal form, owned; NULL: reported ("'x' is not WHAT"), or memory is short. */
char *lines_address(struct lines *l, struct span field, const char *what);

#endif
