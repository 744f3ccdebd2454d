/* unit/auth/test_failures.c - how often one may fail, with a clock of the test's own. */
#include "test.h"

#include "auth/failures.h"
#include "util/err.h"

#include <stdio.h>

#define MINUTE 60000u
#define ALICE "alice@example.org"
#define BOB "bob@example.org"

static void
fail(struct failures *f, unsigned n, uint64_t address, const char *user, uint64_t now)
{
	while (n-- > 0)
		failures_add(f, address, user, now);
}

static void
test_address(void)
{
	struct failures *f = failures_new(1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fail(f, FAILURES_PER_ADDRESS - 1, 7, NULL, 1000);
	CU_ASSERT_TRUE(failures_allows(f, 7, ALICE, 1000));
	fail(f, 1, 7, ALICE, 1000);
	CU_ASSERT_FALSE(failures_allows(f, 7, ALICE, 1000));
	CU_ASSERT_FALSE(failures_allows(f, 7, BOB, 1000)); /* whoever is tried */
	CU_ASSERT_FALSE(failures_allows(f, 7, NULL, 1000));
	CU_ASSERT_TRUE(failures_allows(f, 8, ALICE, 1000));
	CU_ASSERT_TRUE(failures_allows(f, 0, ALICE, 1000));
	CU_ASSERT_FALSE(failures_allows(f, 7, NULL, 1000 + MINUTE - 1));
	CU_ASSERT_TRUE(failures_allows(f, 7, NULL, 1000 + MINUTE)); /* one is forgotten */
	fail(f, 1, 7, NULL, 1000 + MINUTE);
	CU_ASSERT_FALSE(failures_allows(f, 7, NULL, 1000 + MINUTE));
	/* however many came at once: never further away than the window */
	fail(f, 1000, 7, NULL, 1000 + MINUTE);
	CU_ASSERT_TRUE(failures_allows(f, 7, NULL, 1000 + 2 * MINUTE));
	CU_ASSERT_TRUE(failures_allows(f, 7, NULL, 1000 + 100 * MINUTE));
	failures_free(&f);
	CU_ASSERT_PTR_NULL(f);
}

static void
test_user(void)
{
	struct failures *f = failures_new(2);
	unsigned i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	failures_success(f, 1, ALICE, 500);
	for (i = 0; i < FAILURES_PER_USER; i++) {
		CU_ASSERT_TRUE(failures_allows(f, 100 + i, ALICE, 1000));
		failures_add(f, 100 + i, ALICE, 1000); /* a swarm */
	}
	CU_ASSERT_FALSE(failures_allows(f, 99, ALICE, 1000));
	CU_ASSERT_FALSE(failures_allows(f, 0, ALICE, 1000));
	CU_ASSERT_TRUE(failures_allows(f, 99, BOB, 1000));
	CU_ASSERT_TRUE(failures_allows(f, 1, ALICE, 1000)); /* it is not locked out where it lives */
	fail(f, FAILURES_PER_ADDRESS, 1, ALICE, 1000);
	CU_ASSERT_FALSE(failures_allows(f, 1, ALICE, 1000)); /* but its address counts all the same */
	failures_free(&f);
}

static void
test_known_ends(void)
{
	struct failures *f = failures_new(3);
	uint64_t end = 500 + FAILURES_KNOWN_MS;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	failures_success(f, 1, ALICE, 500);
	fail(f, FAILURES_PER_USER, 0, ALICE, end - 1);
	CU_ASSERT_TRUE(failures_allows(f, 1, ALICE, end - 1));
	CU_ASSERT_FALSE(failures_allows(f, 1, ALICE, end));
	failures_free(&f);
}

/* More addresses than there is room for: those that have failed most are remembered. */
static void
test_flood(void)
{
	struct failures *f = failures_new(4);
	uint64_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fail(f, FAILURES_PER_ADDRESS, 7, NULL, 1000);
	for (i = 1000; i < 101000; i++)
		failures_add(f, i, NULL, 1000);
	CU_ASSERT_FALSE(failures_allows(f, 7, NULL, 1000));
	failures_free(&f);
}

static const struct test_row tests[] = {
	{ "by address", test_address },
	{ "by user", test_user },
	{ "a known address is forgotten", test_known_ends },
	{ "a flood", test_flood },
};

TEST_MAIN("auth/failures", tests)
