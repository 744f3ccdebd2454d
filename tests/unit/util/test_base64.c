/* unit/util/test_base64.c - base64 to the octet, and what is none. */
#include "test.h"

#include "util/base64.h"

#include <string.h>

static void
test_vectors(void)
{
	static const char *const rows[][2] = { /* RFC 4648 §10 */
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xfe", "+//+" },
	};
	uint8_t out[16];
	struct buf b;
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++) {
		buf_init(&b, 64);
		CU_ASSERT_EQUAL(base64_encode(&b, span_str(rows[i][0])), 0);
		CU_ASSERT(span_equal(buf_span(&b), span_str(rows[i][1])));
		CU_ASSERT_EQUAL(buf_size(&b), BASE64_ENCODED(strlen(rows[i][0])));
		buf_fini(&b);
		CU_ASSERT_TRUE(base64_decode(span_str(rows[i][1]), out, sizeof(out), &n));
		CU_ASSERT(span_equal((struct span){ out, n }, span_str(rows[i][0])));
		/* exactly enough room, and one octet less */
		CU_ASSERT_TRUE(base64_decode(span_str(rows[i][1]), out, n, &n));
		if (n > 0)
			CU_ASSERT_FALSE(base64_decode(span_str(rows[i][1]), out, n - 1, &n));
	}
}

static void
test_bad(void)
{
	static const char *const rows[] = { "Z", "Zg", "Zg=", "Zg===", "====", "Zg==Zg==", "=Zg=", "Zh==",
		"Zm9=", "Zm 9", "Zm9v\r\n", "Zm9-", "Zm9_", "Z===", "*", "Zg=g" };
	uint8_t out[16];
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_FALSE(base64_decode(span_str(rows[i]), out, sizeof(out), &n));
}

static const struct test_row rows[] = {
	{ "vectors, both ways", test_vectors },
	{ "what is none", test_bad },
};
TEST_MAIN("base64", rows)
