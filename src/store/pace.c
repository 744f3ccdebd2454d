/* store/pace.c - see pace.h. */
#include "store/pace.h"

#define QUICK_OCTETS_US 128  /* before anything is known a segment is expected as if half of all were written at this rate */
#define LONG_US 60000000u    /* what took longer tells nothing of the next time */

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool
pace_may(struct pace *p, uint64_t now_us, uint64_t room, uint64_t all)
{
	bool more = p->on && room > p->room;

	if (more)
		p->between_us = later(now_us - p->since_us, 1);
	p->room = room;
	if (room >= all / 2) {
		p->on = false;
		return true;
	}
	if (!p->on) {
		p->on = true;
		p->paid_us = p->shut_us = 0;
	} else if (!more) {
		return now_us >= p->shut_us;
	}
	p->since_us = now_us;
	p->shut_us = earlier(p->shut_us, now_us); /* what was little room is more */
	p->paid_us = earlier(p->paid_us, now_us);
	return true;
}

/* How long the room that is left must last. */
static uint64_t
span_us(const struct pace *p, uint64_t now_us, uint64_t all)
{
	uint64_t known = p->between_us > 0 ? p->between_us : all / 2 / QUICK_OCTETS_US + 1;

	return earlier(later(known, now_us - p->since_us), LONG_US);
}

void
pace_took(struct pace *p, uint64_t now_us, uint64_t octets, uint64_t all)
{
	double half = (double)(all / 2), room = (double)p->room, rate;

	if (!p->on)
		return;
	/* octets a microsecond: without end at half, a share of what is left at the end */
	rate = (room + 1) * half / (half - room) / (double)span_us(p, now_us, all);
	p->paid_us = later(p->paid_us, now_us - earlier(now_us, PACE_SAVED_US));
	if ((double)octets >= rate * PACE_LATE_US)
		p->paid_us += PACE_LATE_US;
	else
		p->paid_us += (uint64_t)((double)octets / rate);
	p->paid_us = earlier(p->paid_us, now_us + PACE_LATE_US);
	if (p->paid_us > now_us)
		p->shut_us = later(p->paid_us, now_us + PACE_SLICE_US);
}
