/* util/rate.h - "at most N in any window of that length": what already happened, and whether once more is
 * allowed.
 *
 * An exact sliding window: the times of the last N events are kept, so no N + 1 of them ever lie within
 * one window, wherever it begins. Knows no clock. Memory: none before the first event, then 8 octets
 * for each of N. Not thread safe. */
#ifndef UTIL_RATE_H
#define UTIL_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_MAX 100 /* the greatest N */

/* All zero: nothing has happened yet. */
struct rate {
	uint64_t *times; /* owned; a ring of max entries */
	uint32_t n;      /* entries in use */
	uint32_t oldest;
};

/* One more event at now_ms (never earlier than the one before). True: it is allowed, and counted. False: max
 * (at most RATE_MAX; 0 allows none) are in the window_ms that end now, or there is no memory; nothing
 * is counted then. An event is out of the window when window_ms have passed since. max and window_ms are
 * the same in all calls for one r. */
bool rate_take(struct rate *r, uint32_t max, uint64_t window_ms, uint64_t now_ms);

/* Frees, and leaves it as if nothing had happened. */
void rate_fini(struct rate *r);

#endif
