/* unit/store/test_row.c - rows: written, read, as JSON; and questions: what they need. */
#include "store/admin.h"
#include "store/row.h"
#include "store/row_json.h"

#include "test.h"

#include <stdlib.h>
#include <string.h>

static void
json_is(struct span row, const char *want)
{
	json_t *o = row_json(row);
	char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_STRING_EQUAL(text, want);
	free(text);
	json_decref(o);
}

static void
test_fields(void)
{
	struct row_field f;
	struct span s;
	struct buf row;
	bool bad;
	size_t n;

	buf_init(&row, ROW_MAX);
	CU_ASSERT_EQUAL(row_text(&row, "name", "a\"b"), 0);
	CU_ASSERT_EQUAL(row_text(&row, "odd", "x\xff\xfey"), 0);
	CU_ASSERT_EQUAL(row_number(&row, "n", UINT64_MAX), 0);
	CU_ASSERT_EQUAL(row_truth(&row, "t", true), 0);
	CU_ASSERT_EQUAL(row_truth(&row, "f", false), 0);
	s = buf_span(&row);
	json_is(s, "{\"f\":false,\"n\":9223372036854775807,\"name\":\"a\\\"b\",\"odd\":\"x??y\",\"t\":true}");
	for (n = 0; row_next(&s, &f, &bad); n++)
		CU_ASSERT(f.kind != 'n' || f.number == UINT64_MAX);
	CU_ASSERT_FALSE(bad);
	CU_ASSERT_EQUAL(n, 5);
	for (n = 1; n < buf_size(&row); n++) { /* cut anywhere: whole fields, then bad, or the end of one */
		s = (struct span){ buf_span(&row).p, n };
		while (row_next(&s, &f, &bad))
			continue;
		CU_ASSERT(bad || s.n == 0);
	}
	buf_fini(&row);
	buf_init(&row, 8);
	CU_ASSERT_EQUAL(row_text(&row, "a", "1234"), 0);
	CU_ASSERT_EQUAL(row_text(&row, "a", "1234"), PT_ETOOBIG);
	buf_fini(&row);
}

static const struct {
	const char *octets;
	size_t n;
} bad_rows[] = {
	{ "x", 1 }, { "sname\0value", 11 }, { "s\0v\0", 4 }, { "qa\0b\0", 5 }, { "na\0x\0", 5 }, { "na\0\0", 4 },
	{ "na\0-1\0", 6 }, { "na\0" "18446744073709551616\0", 24 }, { "ba\0" "2\0", 5 }, { "\0a\0b\0", 5 },
};

static void
test_bad(void)
{
	struct row_field f;
	struct span s;
	bool bad;
	size_t i;

	for (i = 0; i < PT_COUNT(bad_rows); i++) {
		s = (struct span){ (const uint8_t *)bad_rows[i].octets, bad_rows[i].n };
		CU_ASSERT_PTR_NULL(row_json(s));
		CU_ASSERT_FALSE(row_next(&s, &f, &bad));
		CU_ASSERT_TRUE(bad);
	}
}

static void
test_questions(void)
{
	struct admin_question q;
	unsigned i;

	for (i = 0; i < ADMIN_WHATS; i++)
		CU_ASSERT_EQUAL(admin_find(admin_name(i)), (enum admin_what)i);
	CU_ASSERT_EQUAL(admin_find("nonsense"), ADMIN_WHATS);
	CU_ASSERT_PTR_NULL(admin_name(ADMIN_WHATS));
	CU_ASSERT_PTR_NOT_NULL(admin_question_make(&q, ADMIN_WHATS, false, span_str(""), span_str("")));
	CU_ASSERT_PTR_NOT_NULL(admin_question_make(&q, ADMIN_REINDEX, false, span_str("a@b"), span_str("")));
	CU_ASSERT_PTR_NOT_NULL(admin_question_make(&q, ADMIN_REINDEX, false, span_str("a/b"), span_str("INBOX")));
	CU_ASSERT_PTR_NOT_NULL(admin_question_make(&q, ADMIN_REINDEX, false, span_str("a@b"), span_str("x..y")));
	CU_ASSERT_PTR_NULL(admin_question_make(&q, ADMIN_REINDEX, false, span_str("a@b"), span_str("inbox")));
	CU_ASSERT_STRING_EQUAL(q.user, "a@b");
	CU_ASSERT_STRING_EQUAL(q.key, "INBOX");
	CU_ASSERT_TRUE(admin_changes(ADMIN_REINDEX, false));
	CU_ASSERT_FALSE(admin_changes(ADMIN_USERS, false));
	CU_ASSERT_TRUE(admin_changes(ADMIN_USERS, true));
}

static const struct test_row rows[] = {
	{ "fields", test_fields },
	{ "what is not a row", test_bad },
	{ "questions", test_questions },
};

TEST_MAIN("store/row", rows)
