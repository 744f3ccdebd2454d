/* store/latency.h - how long something took, counted: how often, the mean, the longest, and quantiles that are right to a
 * quarter. Microseconds. A few hundred octets, and an addition costs nothing that could be measured. Not thread safe. */
#ifndef STORE_LATENCY_H
#define STORE_LATENCY_H

#include <stdint.h>

#define LATENCY_SLOTS 128 /* four for each doubling: the last has all from 2^32 us, more than an hour, on */

/* Zeros: nothing yet. */
struct latency {
	uint64_t count, total_us, longest_us;
	uint64_t slots[LATENCY_SLOTS];
};

void latency_add(struct latency *l, uint64_t us);
uint64_t latency_mean(const struct latency *l); /* 0 when there was none */

/* So many of a thousand took no longer, as the end of their slot says: at most a quarter too much, never too little. */
uint64_t latency_quantile(const struct latency *l, unsigned permille);

#endif
