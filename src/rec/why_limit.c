/* rec/why_limit.c - see why_limit.h: a hash table whose entries live for a minute. */
#include "rec/why_limit.h"

#include <stdlib.h>
#include <string.h>

#define PROBES 8u /* places looked at for one pair */

struct place {
	struct rec_addr peer;
	uint16_t code; /* 0: free */
	uint32_t lines, left;
	uint64_t since_ms;
};

struct why_limit {
	unsigned nleft; /* places with something left out */
	struct place places[WHY_LIMIT_PLACES];
};

struct why_limit *
why_limit_new(void)
{
	return calloc(1, sizeof(struct why_limit));
}

void
why_limit_free(struct why_limit **l)
{
	free(*l);
	*l = NULL;
}

static size_t
hash(const struct rec_addr *peer, uint16_t code)
{
	uint64_t h = 0xcbf29ce484222325u ^ code;
	size_t i;

	for (i = 0; i < sizeof peer->octets; i++)
		h = (h ^ peer->octets[i]) * 0x100000001b3u;
	return (size_t)(h ^ h >> 29);
}

static bool
is_of(const struct place *p, const struct rec_addr *peer, uint16_t code)
{
	return p->code == code && p->peer.family == peer->family &&
		memcmp(p->peer.octets, peer->octets, sizeof peer->octets) == 0;
}

static bool
is_over(const struct place *p, uint64_t now_ms)
{
	return now_ms - p->since_ms >= WHY_LIMIT_WINDOW_MS;
}

/* Its place, or one that may be had; NULL: none. */
static struct place *
find(struct why_limit *l, const struct rec_addr *peer, uint16_t code, uint64_t now_ms)
{
	size_t h = hash(peer, code), i;
	struct place *p, *free_one = NULL;

	for (i = 0; i < PROBES; i++) {
		p = &l->places[(h + i) % WHY_LIMIT_PLACES];
		if (is_of(p, peer, code))
			return p;
		if (free_one == NULL && (p->code == 0 || (is_over(p, now_ms) && p->left == 0)))
			free_one = p;
	}
	return free_one;
}

bool
why_limit_take(struct why_limit *l, const struct rec_addr *peer, uint16_t code, uint64_t now_ms)
{
	struct place *p = find(l, peer, code, now_ms);

	if (p == NULL)
		return true;
	/* what was left out is told first: until then the minute goes on */
	if (!is_of(p, peer, code) || (is_over(p, now_ms) && p->left == 0))
		*p = (struct place){ .peer = *peer, .code = code, .since_ms = now_ms };
	if (p->lines < WHY_LIMIT_LINES) {
		p->lines++;
		return true;
	}
	l->nleft += p->left++ == 0;
	return false;
}

bool
why_limit_left(struct why_limit *l, uint64_t now_ms, bool all, struct why_left *out)
{
	struct place *p;
	size_t i;

	for (i = 0; l->nleft > 0 && i < WHY_LIMIT_PLACES; i++) {
		p = &l->places[i];
		if (p->left == 0 || (!all && !is_over(p, now_ms)))
			continue;
		*out = (struct why_left){ p->peer, p->code, p->left };
		p->code = 0;
		p->left = 0;
		l->nleft--;
		return true;
	}
	return false;
}
