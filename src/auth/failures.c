/* auth/failures.c - see failures.h. Each entry is one number: until when its failures are remembered (the
 * "theoretical arrival time" of a leaky bucket); a failure moves it on by window / limit. */
#include "auth/failures.h"

#include <stdlib.h>
#include <stddef.h>

#define WAYS 8
#define SETS 1024

struct entry {
	uint64_t key; /* 0: free */
	uint64_t until_ms;
};

struct failures_table {
	struct entry sets[SETS][WAYS];
};

struct failures {
	uint64_t seed;
	struct failures_table addresses, users;
	struct failures_table known; /* address and user together; until: when that is forgotten */
};

/* Never 0. */
static uint64_t
mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return x != 0 ? x : 1;
}

static uint64_t
key_of(const struct failures *f, uint64_t address, const char *user)
{
	uint64_t x = mix(f->seed ^ address);

	for (; user != NULL && *user != '\0'; user++)
		x = (x ^ (uint8_t)*user) * UINT64_C(0x100000001b3);
	return mix(x);
}

static const struct entry *
find(const struct failures_table *t, uint64_t key)
{
	size_t i;

	for (i = 0; i < WAYS; i++)
		if (t->sets[key % SETS][i].key == key)
			return &t->sets[key % SETS][i];
	return NULL;
}

/* The key's entry, or the one that is forgotten first, emptied. */
static struct entry *
take(struct failures_table *t, uint64_t key)
{
	struct entry *e = &t->sets[key % SETS][0], *first = e;
	size_t i;

	for (i = 0; i < WAYS; i++, e++) {
		if (e->key == key)
			return e;
		if (e->until_ms < first->until_ms)
			first = e;
	}
	*first = (struct entry){ key, 0 };
	return first;
}

static bool
has_room(const struct failures_table *t, uint64_t key, unsigned limit, uint64_t now_ms)
{
	const struct entry *e = find(t, key);

	return e == NULL || e->until_ms <= now_ms ||
		e->until_ms - now_ms <= FAILURES_WINDOW_MS - FAILURES_WINDOW_MS / limit;
}

static void
count(struct failures_table *t, uint64_t key, unsigned limit, uint64_t now_ms)
{
	struct entry *e = take(t, key);

	if (e->until_ms < now_ms)
		e->until_ms = now_ms;
	e->until_ms += FAILURES_WINDOW_MS / limit;
	if (e->until_ms > now_ms + FAILURES_WINDOW_MS)
		e->until_ms = now_ms + FAILURES_WINDOW_MS;
}

struct failures *
failures_new(uint64_t seed)
{
	struct failures *f = calloc(1, sizeof *f);

	if (f != NULL)
		f->seed = seed;
	return f;
}

void
failures_free(struct failures **f)
{
	free(*f);
	*f = NULL;
}

bool
failures_allows(const struct failures *f, uint64_t address, const char *user, uint64_t now_ms)
{
	const struct entry *known;

	if (address != 0 && !has_room(&f->addresses, key_of(f, address, NULL), FAILURES_PER_ADDRESS, now_ms))
		return false;
	if (user == NULL || has_room(&f->users, key_of(f, 0, user), FAILURES_PER_USER, now_ms))
		return true;
	known = find(&f->known, key_of(f, address, user));
	return known != NULL && known->until_ms > now_ms;
}

void
failures_add(struct failures *f, uint64_t address, const char *user, uint64_t now_ms)
{
	if (address != 0)
		count(&f->addresses, key_of(f, address, NULL), FAILURES_PER_ADDRESS, now_ms);
	if (user != NULL)
		count(&f->users, key_of(f, 0, user), FAILURES_PER_USER, now_ms);
}

void
failures_success(struct failures *f, uint64_t address, const char *user, uint64_t now_ms)
{
	take(&f->known, key_of(f, address, user))->until_ms = now_ms + FAILURES_KNOWN_MS;
}
