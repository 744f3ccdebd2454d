/* util/rate.c - see rate.h. */
#include "util/rate.h"

#include "util/err.h"

#include <stdlib.h>

bool
rate_take(struct rate *r, uint32_t max, uint64_t window_ms, uint64_t now_ms)
{
	PT_ASSERT(max <= RATE_MAX);
	if (max == 0)
		return false;
	if (r->times == NULL && (r->times = calloc(max, sizeof *r->times)) == NULL)
		return false;
	while (r->n > 0 && now_ms - r->times[r->oldest] >= window_ms) {
		r->oldest = (r->oldest + 1) % max;
		r->n--;
	}
	if (r->n == max)
		return false;
	r->times[(r->oldest + r->n++) % max] = now_ms;
	return true;
}

void
rate_fini(struct rate *r)
{
	free(r->times);
	*r = (struct rate){ .times = NULL };
}
