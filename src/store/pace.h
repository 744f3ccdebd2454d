/* store/pace.h - how much is let into a journal that is more than half full.
 *
 * Files are written more slowly than the journal, and room in it comes in whole segments, seconds apart. Whoever filled it at once would wait
 * for the next segment, and everybody with him. So beyond half of it what is let in at any time is a share of the room that is left, as
 * much as lasts until the next segment may be expected: very much at half, less and less behind it. On average that is what the files
 * take, as it is without; but it goes down smoothly, and nobody is stopped for long. Up to half nothing is held back.
 *
 * Octets, and microseconds of a clock that never goes back. Pure: knows no clock and no journal. */
#ifndef STORE_PACE_H
#define STORE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_SLICE_US 5000   /* who is held back is let in that often, with all that the time allows: they share a flush */
#define PACE_SAVED_US 50000  /* nobody saves for longer */
#define PACE_LATE_US 200000  /* nor is anything large paid for longer than that */

struct pace { /* zeros: nothing is held back */
	bool on;             /* more than half is full */
	uint64_t room;       /* when it was last told */
	uint64_t since_us;   /* there was more room than before, or it fell below half */
	uint64_t between_us; /* from one such moment to the next, the last time; 0: it never happened */
	uint64_t paid_us;    /* what was let in is paid for up to this moment */
	uint64_t shut_us;    /* nobody is let in before */
};

/* Whether somebody may be let in, however much he brings. room of `all` octets is free. */
bool pace_may(struct pace *p, uint64_t now_us, uint64_t room, uint64_t all);

/* He was; for pace_may() has just allowed it. */
void pace_took(struct pace *p, uint64_t now_us, uint64_t octets, uint64_t all);

#endif
