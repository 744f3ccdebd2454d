/* unit/util/test_rate.c - the sliding window, with a clock of the test's own. */
#include "util/rate.h"

#include "test.h"

#define WINDOW 1000

static void
test_none(void)
{
	struct rate r = { .times = NULL };

	CU_ASSERT_FALSE(rate_take(&r, 0, WINDOW, 0));
	CU_ASSERT_FALSE(rate_take(&r, 0, WINDOW, UINT64_MAX));
	CU_ASSERT_PTR_NULL(r.times);
	rate_fini(&r);
}

/* At max and at max + 1, for each max, all at one moment and spread over the window. */
static void
test_max(void)
{
	uint32_t max, i, step;

	for (max = 1; max <= RATE_MAX; max++)
		for (step = 0; step <= 1; step++) {
			struct rate r = { .times = NULL };

			for (i = 0; i < max; i++)
				CU_ASSERT_TRUE(rate_take(&r, max, WINDOW, 5000 + i * step));
			CU_ASSERT_FALSE(rate_take(&r, max, WINDOW, 5000 + i * step));
			CU_ASSERT_FALSE(rate_take(&r, max, WINDOW, 5000 + WINDOW - 1));
			CU_ASSERT_TRUE(rate_take(&r, max, WINDOW, 5000 + WINDOW));
			/* with step 0 all are over by now, with step 1 only the first */
			CU_ASSERT_EQUAL(rate_take(&r, max, WINDOW, 5000 + WINDOW), step == 0 && max > 1);
			rate_fini(&r);
		}
}

/* What is refused is not counted: it does not make the time longer. */
static void
test_refused_is_not_counted(void)
{
	struct rate r = { .times = NULL };
	uint64_t now;

	CU_ASSERT_TRUE(rate_take(&r, 1, WINDOW, 0));
	for (now = 1; now < WINDOW; now++)
		CU_ASSERT_FALSE(rate_take(&r, 1, WINDOW, now));
	CU_ASSERT_TRUE(rate_take(&r, 1, WINDOW, WINDOW));
	rate_fini(&r);
}

/* Against a list of all that happened: no window ever holds more than max, and nothing is refused that
 * would fit. */
static void
test_every_window(void)
{
	uint64_t taken[4000], now = 0;
	uint32_t max, seed = 1;
	size_t n, i, in, k;

	for (max = 1; max <= 5; max++) {
		struct rate r = { .times = NULL };

		for (n = k = 0; k < 2000; k++) {
			seed = seed * 1103515245 + 12345;
			now += (seed >> 16) % 400;
			for (i = in = 0; i < n; i++)
				in += now - taken[i] < WINDOW;
			CU_ASSERT_EQUAL(rate_take(&r, max, WINDOW, now), in < max);
			if (in < max)
				taken[n++] = now;
		}
		CU_ASSERT(n > 300 && n < 2000);
		rate_fini(&r);
	}
}

static void
test_fini(void)
{
	struct rate r = { .times = NULL };

	CU_ASSERT_TRUE(rate_take(&r, 1, WINDOW, 7));
	CU_ASSERT_FALSE(rate_take(&r, 1, WINDOW, 7));
	rate_fini(&r);
	CU_ASSERT_PTR_NULL(r.times);
	CU_ASSERT_TRUE(rate_take(&r, 1, WINDOW, 7));
	rate_fini(&r);
	rate_fini(&r);
}

static const struct test_row rows[] = {
	{ "none allowed", test_none },
	{ "max and max + 1", test_max },
	{ "refused is not counted", test_refused_is_not_counted },
	{ "every window", test_every_window },
	{ "fini", test_fini },
};

TEST_MAIN("util/rate", rows)
