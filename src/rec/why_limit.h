/* rec/why_limit.h - not more than so many lines in the log about one address and one code in a minute, and how many
 * were left out. Knows no clock. Not thread safe. */
#ifndef REC_WHY_LIMIT_H
#define REC_WHY_LIMIT_H

#include "rec/rec.h"

#define WHY_LIMIT_LINES 10u          /* of one address and code in */
#define WHY_LIMIT_WINDOW_MS 60000u
#define WHY_LIMIT_PLACES 1024u       /* pairs of address and code that are watched at a time */

struct why_limit;

/* NULL when out of memory. */
struct why_limit *why_limit_new(void);
void why_limit_free(struct why_limit **l);

/* May a line about this be written now? False: it is counted as left out. When more pairs are seen than there are
 * places, those without one are not limited: that is the log's own limit's business. */
bool why_limit_take(struct why_limit *l, const struct rec_addr *peer, uint16_t code, uint64_t now_ms);

struct why_left {
	struct rec_addr peer;
	uint16_t code;
	uint32_t n;
};

/* The next pair whose minute is over and of which lines were left out; false: no more. all: also those whose
 * minute is not over. */
bool why_limit_left(struct why_limit *l, uint64_t now_ms, bool all, struct why_left *out);

#endif
