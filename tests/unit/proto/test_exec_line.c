/* unit/proto/test_exec_line.c - lines, keywords and patterns of exec services: the pure parts. */
#include "test.h"

#include "proto/exec/exec_line.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

static void
test_lines(void)
{
	static const struct {
		const char *text;
		size_t line, used; /* used 0: no end */
	} rows[] = {
		{ "", 0, 0 }, { "a", 1, 0 }, { "a\r", 2, 0 }, { "\n", 0, 1 }, { "\r\n", 0, 2 }, { "ab\n", 2, 3 },
		{ "ab\r\n", 2, 4 }, { "a\rb\n", 3, 4 }, { "a\r\r\n", 2, 4 }, { "a\nb\n", 1, 2 },
	};
	size_t i, used, len;
	struct span line;
	uint8_t *copy;

	for (i = 0; i < PT_COUNT(rows); i++) {
		len = strlen(rows[i].text);
		CU_ASSERT_PTR_NOT_NULL_FATAL(copy = malloc(len + (len == 0)));
		memcpy(copy, rows[i].text, len);
		CU_ASSERT_EQUAL(exec_line_parse(copy, len, &line, &used),
			rows[i].used == 0 ? EXEC_L_MORE : EXEC_L_OK);
		CU_ASSERT_EQUAL(line.n, rows[i].line);
		CU_ASSERT_EQUAL(used, rows[i].used == 0 ? len : rows[i].used);
		free(copy);
	}
}

/* The longest line that is one, and one octet more. */
static void
test_limit(void)
{
	uint8_t *buf = malloc(EXEC_LINE_MAX + 1);
	struct span line;
	size_t used;

	CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
	memset(buf, 'x', EXEC_LINE_MAX + 1);
	CU_ASSERT_EQUAL(exec_line_parse(buf, EXEC_LINE_MAX - 1, &line, &used), EXEC_L_MORE);
	CU_ASSERT_EQUAL(exec_line_parse(buf, EXEC_LINE_MAX, &line, &used), EXEC_L_LONG);
	CU_ASSERT_EQUAL(used, EXEC_LINE_MAX);
	buf[EXEC_LINE_MAX - 1] = '\n';
	CU_ASSERT_EQUAL(exec_line_parse(buf, EXEC_LINE_MAX, &line, &used), EXEC_L_OK);
	CU_ASSERT_EQUAL(line.n, EXEC_LINE_MAX - 1);
	buf[EXEC_LINE_MAX - 1] = 'x';
	buf[EXEC_LINE_MAX] = '\n';
	CU_ASSERT_EQUAL(exec_line_parse(buf, EXEC_LINE_MAX + 1, &line, &used), EXEC_L_LONG);
	CU_ASSERT_EQUAL(used, EXEC_LINE_MAX);
	free(buf);
}

static void
test_keyword(void)
{
	static const struct {
		const char *keyword, *line;
		bool case_sensitive, arguments;
		enum exec_keyword want;
	} rows[] = {
		{ "STARTTLS", "STARTTLS", false, false, EXEC_K_YES },
		{ "STARTTLS", "starttls", false, false, EXEC_K_YES },
		{ "starttls", "STARTTLS", false, false, EXEC_K_YES },
		{ "STARTTLS", "starttls", true, false, EXEC_K_NO },
		{ "STARTTLS", "STARTTLS", true, false, EXEC_K_YES },
		{ "STARTTLS", "STARTTLS \t ", false, false, EXEC_K_YES },
		{ "STARTTLS", " STARTTLS", false, false, EXEC_K_NO },
		{ "STARTTLS", "STARTTL", false, false, EXEC_K_NO },
		{ "STARTTLS", "STARTTLSX", false, true, EXEC_K_NO },
		{ "STARTTLS", "STARTTLS x", false, false, EXEC_K_ARGUMENTS },
		{ "STARTTLS", "STARTTLS\tx", false, false, EXEC_K_ARGUMENTS },
		{ "STARTTLS", "STARTTLS x", false, true, EXEC_K_YES },
		{ "STARTTLS", "", false, true, EXEC_K_NO },
		{ "AUTH TLS", "auth tls", false, false, EXEC_K_YES },
		{ "AUTH TLS", "auth", false, true, EXEC_K_NO },
		{ "[{", "{[", false, false, EXEC_K_NO }, /* only letters have a case */
		{ "[", "{", false, false, EXEC_K_NO },
	};
	struct exec_conf conf = { .keyword = NULL };
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		conf.keyword = rows[i].keyword;
		conf.case_sensitive = rows[i].case_sensitive;
		conf.arguments = rows[i].arguments;
		CU_ASSERT_EQUAL(exec_line_keyword(&conf, span_str(rows[i].line)), rows[i].want);
	}
}

static void
test_patterns(void)
{
	static const struct {
		const char *pattern, *line;
		bool want;
	} rows[] = {
		{ "", "", true }, { "", "a", false }, { "*", "", true }, { "*", "abc", true }, { "a", "A", true },
		{ "a", "ab", false }, { "a*", "a", true }, { "a*", "abc", true }, { "*c", "abc", true },
		{ "*b", "abc", false }, { "a?c", "abc", true }, { "a?c", "ac", false }, { "?", "", false },
		{ "**", "x", true }, { "*a*b*", "xxaxxbxx", true }, { "*a*b*", "xxbxxaxx", false },
		{ "250 *", "250 ok", true }, { "250 *", "250-ok", false }, { "*ab", "aab", true },
		{ "*aab", "aaab", true }, { "a*b*c", "abbbcbc", true }, { "a*b*c", "abbbcb", false },
		{ "\\*", "\\x", true }, { "[a]", "a", false },
	};
	char many[4096];
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		if (exec_line_matches(rows[i].pattern, span_str(rows[i].line)) != rows[i].want) {
			fprintf(stderr, "\n%s on %s\n", rows[i].pattern, rows[i].line);
			CU_FAIL("a pattern");
		}
	/* what would take for ever with a backtracking matcher */
	memset(many, 'a', sizeof many);
	CU_ASSERT_FALSE(exec_line_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*b", (struct span){ (uint8_t *)many,
			sizeof many }));
}

static const struct test_row rows[] = {
	{ "lines", test_lines },
	{ "the longest line", test_limit },
	{ "keywords", test_keyword },
	{ "patterns", test_patterns },
};
TEST_MAIN("proto/exec_line", rows)
