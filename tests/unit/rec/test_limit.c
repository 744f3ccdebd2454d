/* unit/rec/test_limit.c - ten lines in a minute for an address and a code, and the number of those left out. */
#include "test.h"

#include "rec/why_limit.h"

static struct rec_addr
host(unsigned n)
{
	return (struct rec_addr){ .family = REC_IPV4, .octets = { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } };
}

static void
test_limit(void)
{
	struct why_limit *l = why_limit_new();
	struct rec_addr a = host(1), b = host(2);
	struct why_left left;
	unsigned i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	for (i = 0; i < WHY_LIMIT_LINES; i++)
		CU_ASSERT_TRUE(why_limit_take(l, &a, 7, 1000 + i));
	for (i = 0; i < 5; i++)
		CU_ASSERT_FALSE(why_limit_take(l, &a, 7, 2000));
	CU_ASSERT_TRUE(why_limit_take(l, &a, 8, 2000)); /* another code */
	CU_ASSERT_TRUE(why_limit_take(l, &b, 7, 2000)); /* another address */
	CU_ASSERT_FALSE(why_limit_left(l, 1000 + WHY_LIMIT_WINDOW_MS - 1, false, &left));
	CU_ASSERT_TRUE_FATAL(why_limit_left(l, 1000 + WHY_LIMIT_WINDOW_MS, false, &left));
	CU_ASSERT_EQUAL(left.n, 5);
	CU_ASSERT_EQUAL(left.code, 7);
	CU_ASSERT_EQUAL(left.peer.octets[3], 1);
	CU_ASSERT_FALSE(why_limit_left(l, 1000 + WHY_LIMIT_WINDOW_MS, true, &left));
	/* a new minute */
	for (i = 0; i < WHY_LIMIT_LINES; i++)
		CU_ASSERT_TRUE(why_limit_take(l, &a, 7, 100000));
	CU_ASSERT_FALSE(why_limit_take(l, &a, 7, 100000));
	/* what was left out is told before the next minute begins */
	CU_ASSERT_FALSE(why_limit_take(l, &a, 7, 900000));
	CU_ASSERT_TRUE_FATAL(why_limit_left(l, 900000, false, &left));
	CU_ASSERT_EQUAL(left.n, 2);
	CU_ASSERT_TRUE(why_limit_take(l, &a, 7, 900000));
	/* one whose minute is over with nothing left out just begins again */
	for (i = 0; i < WHY_LIMIT_LINES; i++)
		CU_ASSERT_TRUE(why_limit_take(l, &b, 7, 2000 + WHY_LIMIT_WINDOW_MS));
	CU_ASSERT_FALSE(why_limit_take(l, &b, 7, 2000 + WHY_LIMIT_WINDOW_MS));
	why_limit_free(&l);
	CU_ASSERT_PTR_NULL(l);
	why_limit_free(&l);
}

/* More than there are places for: nobody is kept from the log, and no count is lost. */
static void
test_full(void)
{
	struct why_limit *l = why_limit_new();
	struct why_left left;
	struct rec_addr a;
	unsigned n, i, out = 0, told = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	for (n = 0; n < 20 * WHY_LIMIT_PLACES; n++) {
		a = host(n);
		for (i = 0; i < WHY_LIMIT_LINES + 1; i++)
			out += !why_limit_take(l, &a, 3, 1);
	}
	CU_ASSERT(out > 0 && out <= WHY_LIMIT_PLACES);
	while (why_limit_left(l, 1, true, &left))
		told += left.n;
	CU_ASSERT_EQUAL(told, out);
	why_limit_free(&l);
}

static const struct test_row rows[] = {
	{ "ten in a minute", test_limit },
	{ "full", test_full },
};
TEST_MAIN("rec/why_limit", rows)
