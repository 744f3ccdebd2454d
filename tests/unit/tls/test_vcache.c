/* unit/tls/test_vcache.c - chains that were found good: hits, misses, the time in which they count, the limit. */
#include "test.h"

#include "tls/tls_vcache.h"

#include <string.h>

#define T 1700000000

static struct tls_vcache *cache;

/* A key of that number; the first two octets, by which it is found, are equal for numbers that differ by a
 * multiple of 8. */
static const uint8_t *
key(unsigned n)
{
	static uint8_t k[TLS_VCACHE_KEY_SIZE];

	memset(k, 0, sizeof k);
	k[0] = (uint8_t)(n % 8);
	memcpy(k + 8, &n, sizeof n);
	return k;
}

static void
begin(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(cache = tls_vcache_new());
	CU_ASSERT_EQUAL(tls_vcache_count(cache), 0);
}

static void
end(void)
{
	tls_vcache_free(&cache);
	CU_ASSERT_PTR_NULL(cache);
	tls_vcache_free(&cache); /* NULL is fine */
}

static void
test_time(void)
{
	static const struct {
		int64_t from, until, now;
		bool has;
	} rows[] = {
		{ T, T + 10, T, true },
		{ T, T + 10, T + 10, true },
		{ T, T + 10, T - 1, false },
		{ T, T + 10, T + 11, false },
		{ T, T, T, true },
		{ T + 1, T, T, false }, /* never valid */
		{ INT64_MIN, INT64_MAX, T, true },
		{ INT64_MIN, INT64_MAX, INT64_MAX, true },
		{ -5, 0, -5, true },
	};
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		begin();
		CU_ASSERT_FALSE(tls_vcache_has(cache, key(1), rows[i].now, NULL));
		tls_vcache_add(cache, key(1), rows[i].from, rows[i].until);
		CU_ASSERT_EQUAL(tls_vcache_has(cache, key(1), rows[i].now, NULL), rows[i].has);
		CU_ASSERT_FALSE(tls_vcache_has(cache, key(9), rows[i].now, NULL)); /* same bucket */
		CU_ASSERT_FALSE(tls_vcache_has(cache, key(2), rows[i].now, NULL));
		end();
	}
}

/* Known before: its time is the new one, and it takes no second place. */
static void
test_again(void)
{
	begin();
	tls_vcache_add(cache, key(1), T, T + 10);
	CU_ASSERT_FALSE(tls_vcache_has(cache, key(1), T + 20, NULL));
	tls_vcache_add(cache, key(1), T, T + 30);
	CU_ASSERT_TRUE(tls_vcache_has(cache, key(1), T + 20, NULL));
	CU_ASSERT_EQUAL(tls_vcache_count(cache), 1);
	end();
}

/* Every octet of the key counts. */
static void
test_octets(void)
{
	uint8_t k[TLS_VCACHE_KEY_SIZE];
	size_t i;

	begin();
	tls_vcache_add(cache, key(1), T, T);
	memcpy(k, key(1), sizeof k);
	CU_ASSERT_TRUE(tls_vcache_has(cache, k, T, NULL));
	for (i = 0; i < sizeof k; i++) {
		k[i] ^= 1;
		CU_ASSERT_FALSE(tls_vcache_has(cache, k, T, NULL));
		k[i] ^= 1;
	}
	end();
}

/* At the maximum all are there; from then on the oldest goes for each that comes. */
static void
test_limit(void)
{
	unsigned i, n;

	begin();
	for (i = 0; i < TLS_VCACHE_MAX; i++)
		tls_vcache_add(cache, key(i), T, T);
	CU_ASSERT_EQUAL(tls_vcache_count(cache), TLS_VCACHE_MAX);
	for (n = i = 0; i < TLS_VCACHE_MAX; i++)
		n += tls_vcache_has(cache, key(i), T, NULL);
	CU_ASSERT_EQUAL(n, TLS_VCACHE_MAX);
	tls_vcache_add(cache, key(TLS_VCACHE_MAX), T, T);
	CU_ASSERT_EQUAL(tls_vcache_count(cache), TLS_VCACHE_MAX);
	CU_ASSERT_FALSE(tls_vcache_has(cache, key(0), T, NULL));
	CU_ASSERT_TRUE(tls_vcache_has(cache, key(1), T, NULL));
	CU_ASSERT_TRUE(tls_vcache_has(cache, key(TLS_VCACHE_MAX), T, NULL));
	for (i = TLS_VCACHE_MAX + 1; i < 3 * TLS_VCACHE_MAX + 100; i++) /* round and round */
		tls_vcache_add(cache, key(i), T, T);
	CU_ASSERT_EQUAL(tls_vcache_count(cache), TLS_VCACHE_MAX);
	for (n = i = 0; i < 3 * TLS_VCACHE_MAX + 100; i++)
		if (tls_vcache_has(cache, key(i), T, NULL)) {
			n++;
			CU_ASSERT_TRUE(i >= 2 * TLS_VCACHE_MAX + 100);
		}
	CU_ASSERT_EQUAL(n, TLS_VCACHE_MAX);
	end();
}

/* What one knows is nothing to another. */
static void
test_two(void)
{
	struct tls_vcache *other = tls_vcache_new();

	begin();
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	tls_vcache_add(cache, key(1), T, T);
	CU_ASSERT_FALSE(tls_vcache_has(other, key(1), T, NULL));
	tls_vcache_free(&other);
	end();
}

static const struct test_row rows[] = {
	{ "the time in which a chain counts", test_time },
	{ "known before", test_again },
	{ "every octet counts", test_octets },
	{ "the limit", test_limit },
	{ "two caches", test_two },
};
TEST_MAIN("tls/vcache", rows)
