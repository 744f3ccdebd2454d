/* store/latency.c - see latency.h. */
#include "store/latency.h"

/* 0 to 3: one each; then the highest bit and the two below it. */
static unsigned
slot(uint64_t us)
{
	unsigned bit, n;

	if (us < 4)
		return (unsigned)us;
	bit = 63 - (unsigned)__builtin_clzll(us);
	n = 4 * (bit - 1) + (unsigned)(us >> (bit - 2) & 3);
	return n < LATENCY_SLOTS ? n : LATENCY_SLOTS - 1;
}

/* The longest that is in it. */
static uint64_t
slot_end(unsigned n)
{
	if (n < 4)
		return n;
	return n + 1 == LATENCY_SLOTS ? UINT64_MAX : ((uint64_t)(5 + n % 4) << (n / 4 - 1)) - 1;
}

void
latency_add(struct latency *l, uint64_t us)
{
	l->count++;
	l->total_us += us;
	if (us > l->longest_us)
		l->longest_us = us;
	l->slots[slot(us)]++;
}

uint64_t
latency_mean(const struct latency *l)
{
	return l->count == 0 ? 0 : l->total_us / l->count;
}

uint64_t
latency_quantile(const struct latency *l, unsigned permille)
{
	uint64_t wanted = l->count / 1000 * permille + (l->count % 1000 * permille + 999) / 1000, seen = 0, end;
	unsigned i;

	if (l->count == 0)
		return 0;
	for (i = 0; i + 1 < LATENCY_SLOTS; i++)
		if ((seen += l->slots[i]) >= wanted && seen > 0)
			break;
	end = slot_end(i);
	return end < l->longest_us ? end : l->longest_us;
}
