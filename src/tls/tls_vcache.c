/* tls/tls_vcache.c - see tls_vcache.h. A ring of entries in the order in which they came, and chains of them
 * by hash. The keys are digests of chains that our CAs signed: nobody can choose them to collide. */
#include "tls/tls_vcache.h"

#include <stdlib.h>
#include <string.h>

#define NONE 0xffffu
#define BUCKETS TLS_VCACHE_MAX

_Static_assert(TLS_VCACHE_MAX < NONE && (BUCKETS & (BUCKETS - 1)) == 0,
	"places are 16 bits, and a bucket is found by a mask");

struct entry {
	uint8_t key[TLS_VCACHE_KEY_SIZE];
	int64_t from_s, until_s;
	uint16_t next; /* of the same bucket; a place + 1, 0: none */
};

struct tls_vcache {
	unsigned refs;
	size_t count;
	size_t oldest; /* of a full ring: the next to go */
	uint16_t buckets[BUCKETS]; /* a place + 1, 0: none */
	unsigned nbetween; /* ever added */
	uint64_t between[TLS_VCACHE_BETWEEN_MAX];
	struct entry entries[TLS_VCACHE_MAX];
};

struct tls_vcache *
tls_vcache_new(void)
{
	struct tls_vcache *c = calloc(1, sizeof *c);

	if (c != NULL)
		c->refs = 1;
	return c;
}

struct tls_vcache *
tls_vcache_ref(struct tls_vcache *c)
{
	c->refs++;
	return c;
}

void
tls_vcache_free(struct tls_vcache **c)
{
	if (*c != NULL && --(*c)->refs == 0)
		free(*c);
	*c = NULL;
}

static size_t
bucket_of(const uint8_t *key)
{
	return (size_t)(key[0] | key[1] << 8) & (BUCKETS - 1);
}

/* Its place, or NONE. */
static size_t
find(const struct tls_vcache *c, const uint8_t *key)
{
	uint16_t at;

	for (at = c->buckets[bucket_of(key)]; at != 0; at = c->entries[at - 1].next)
		if (memcmp(c->entries[at - 1].key, key, TLS_VCACHE_KEY_SIZE) == 0)
			return at - 1u;
	return NONE;
}

bool
tls_vcache_has(const struct tls_vcache *c, const uint8_t key[TLS_VCACHE_KEY_SIZE], int64_t now_s,
	       int64_t *until)
{
	size_t at = find(c, key);

	if (at != NONE && until != NULL)
		*until = c->entries[at].until_s;
	return at != NONE && c->entries[at].from_s <= now_s && now_s <= c->entries[at].until_s;
}

static void
unlink_entry(struct tls_vcache *c, size_t place)
{
	uint16_t *at = &c->buckets[bucket_of(c->entries[place].key)];

	while (*at != place + 1) {
		PT_ASSERT(*at != 0);
		at = &c->entries[*at - 1].next;
	}
	*at = c->entries[place].next;
}

void
tls_vcache_add(struct tls_vcache *c, const uint8_t key[TLS_VCACHE_KEY_SIZE], int64_t from_s,
	       int64_t until_s)
{
	size_t at = find(c, key);
	uint16_t *bucket;

	if (at == NONE) {
		if (c->count < TLS_VCACHE_MAX) {
			at = c->count++;
		} else {
			at = c->oldest;
			c->oldest = (c->oldest + 1) % TLS_VCACHE_MAX;
			unlink_entry(c, at);
		}
		bucket = &c->buckets[bucket_of(key)];
		memcpy(c->entries[at].key, key, TLS_VCACHE_KEY_SIZE);
		c->entries[at].next = *bucket;
		*bucket = (uint16_t)(at + 1);
	}
	c->entries[at].from_s = from_s;
	c->entries[at].until_s = until_s;
}

size_t
tls_vcache_count(const struct tls_vcache *c)
{
	return c->count;
}

/* FNV-1a */
static uint64_t
hash_name(struct span name)
{
	uint64_t h = 0xcbf29ce484222325u;
	size_t i;

	for (i = 0; i < name.n; i++)
		h = (h ^ name.p[i]) * 0x100000001b3u;
	return h;
}

bool
tls_vcache_has_between(const struct tls_vcache *c, struct span name)
{
	uint64_t h = hash_name(name);
	unsigned i;

	for (i = 0; i < c->nbetween && i < TLS_VCACHE_BETWEEN_MAX; i++)
		if (c->between[i] == h)
			return true;
	return false;
}

void
tls_vcache_add_between(struct tls_vcache *c, struct span name)
{
	if (!tls_vcache_has_between(c, name))
		c->between[c->nbetween++ % TLS_VCACHE_BETWEEN_MAX] = hash_name(name);
	if (c->nbetween == 2 * TLS_VCACHE_BETWEEN_MAX)
		c->nbetween = TLS_VCACHE_BETWEEN_MAX; /* full, and so it stays */
}
