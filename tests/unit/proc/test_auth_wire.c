/* unit/proc/test_auth_wire.c - the list of users in an answer: there and back, and cut at every octet. */
#include "test.h"

#include "auth/result.h"
#include "proc/auth_wire.h"

#include <string.h>

static void
test_there_and_back(void)
{
	char longest[NORMAL_ADDRESS_MAX];
	struct auth_recipient r;
	struct span list;
	struct buf b;
	int i;

	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	buf_init(&b, AUTH_RECIPIENTS_MAX * (8 + NORMAL_ADDRESS_MAX));
	for (i = 0; i < AUTH_RECIPIENTS_MAX; i++)
		CU_ASSERT_EQUAL(auth_wire_put(&b, i == 3 ? longest : "a@b", i == 4 ? UINT64_MAX : (uint64_t)i), 0);
	list = buf_span(&b);
	for (i = 0; i < AUTH_RECIPIENTS_MAX; i++) {
		CU_ASSERT_TRUE_FATAL(auth_wire_take(&list, &r));
		CU_ASSERT_STRING_EQUAL(r.user, i == 3 ? longest : "a@b");
		CU_ASSERT_EQUAL(r.quota, i == 4 ? UINT64_MAX : (uint64_t)i);
	}
	CU_ASSERT_EQUAL(list.n, 0);
	CU_ASSERT_FALSE(auth_wire_take(&list, &r));
	buf_fini(&b);
}

static void
test_bad(void)
{
	static const uint8_t good[] = { 0, 0, 0, 0, 0, 0, 0, 1, 'a', '@', 'b', 0 },
			     empty[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0 },
			     control[] = { 0, 0, 0, 0, 0, 0, 0, 1, 'a', '\n', 0 },
			     not_text[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0 };
	uint8_t too_long[8 + NORMAL_ADDRESS_MAX + 1] = { 0 };
	struct auth_recipient r;
	struct span s;
	size_t n;

	for (n = 0; n < sizeof good; n++) {
		s = (struct span){ good, n };
		CU_ASSERT_FALSE(auth_wire_take(&s, &r));
		CU_ASSERT_EQUAL(s.n, n);
	}
	s = (struct span){ good, sizeof good };
	CU_ASSERT_TRUE(auth_wire_take(&s, &r));
	s = (struct span){ empty, sizeof empty };
	CU_ASSERT_FALSE(auth_wire_take(&s, &r));
	s = (struct span){ control, sizeof control };
	CU_ASSERT_FALSE(auth_wire_take(&s, &r));
	s = (struct span){ not_text, sizeof not_text };
	CU_ASSERT_FALSE(auth_wire_take(&s, &r));
	memset(too_long + 8, 'x', NORMAL_ADDRESS_MAX); /* and its NUL: one more than there is room for */
	s = (struct span){ too_long, sizeof too_long };
	CU_ASSERT_FALSE(auth_wire_take(&s, &r));
	s = (struct span){ too_long + 1, sizeof too_long - 1 };
	too_long[8] = 0; /* the quota's last octet */
	CU_ASSERT_TRUE(auth_wire_take(&s, &r));
}

static const struct test_row rows[] = {
	{ "there and back", test_there_and_back },
	{ "what is no list", test_bad },
};
TEST_MAIN("proc/auth_wire", rows)
