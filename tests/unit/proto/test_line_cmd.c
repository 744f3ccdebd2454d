/* unit/proto/test_line_cmd.c - the pure parser: every prefix, limit and kind of bad line. */
#include "test.h"

#include "proto/line/line_cmd.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

/* Parses an exact copy, so that a sanitizer sees the first octet read behind the end. */
static enum line_parse
parse(const char *text, size_t n, struct line_cmd *cmd, size_t *used)
{
	static uint8_t *copy; /* what the spans of the last result point into */

	free(copy);
	copy = NULL;
	if (text == NULL)
		return LINE_PARSE_MORE;
	copy = malloc(n > 0 ? n : 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, text, n);
	return line_cmd_parse(copy, n, cmd, used);
}

static void
test_good(void)
{
	static const struct {
		const char *text;
		enum line_verb verb;
		const char *arg; /* NULL: none */
	} rows[] = {
		{ "CAPABILITY\r\n", LINE_V_CAPABILITY, NULL },
		{ "ECHO hello\r\n", LINE_V_ECHO, "hello" },
		{ "echo  a \r\n", LINE_V_ECHO, " a " },
		{ "HELP\r\n", LINE_V_HELP, NULL },
		{ "NoOp \"x\"\r\n", LINE_V_NOOP, "\"x\"" },
		{ "NOOP \r\n", LINE_V_NOOP, "" },
		{ "QUIT\r\n", LINE_V_QUIT, NULL },
		{ "StartTLS\r\n", LINE_V_STARTTLS, NULL },
		{ "whoami\r\n", LINE_V_WHOAMI, NULL },
		{ "FROB x\r\n", LINE_V_UNKNOWN, "x" },
		{ " NOOP\r\n", LINE_V_UNKNOWN, "NOOP" },
		{ "NOO\r\n", LINE_V_UNKNOWN, NULL },
		{ "NOOPS\r\n", LINE_V_UNKNOWN, NULL },
	};
	struct line_cmd cmd;
	size_t i, n, len, used;
	char more[64];

	for (i = 0; i < PT_COUNT(rows); i++) {
		len = strlen(rows[i].text);
		for (n = 0; n < len; n++) { /* every prefix asks for more and uses nothing */
			CU_ASSERT_EQUAL(parse(rows[i].text, n, &cmd, &used), LINE_PARSE_MORE);
			CU_ASSERT_EQUAL(used, 0);
		}
		/* what stands behind the line changes nothing */
		memcpy(more, rows[i].text, len);
		memcpy(more + len, "\0\nX", 3);
		for (n = len; n < len + 4; n++) {
			CU_ASSERT_EQUAL(parse(more, n, &cmd, &used), LINE_PARSE_OK);
			CU_ASSERT_EQUAL(used, len);
			CU_ASSERT_EQUAL(cmd.verb, rows[i].verb);
			CU_ASSERT_EQUAL(cmd.has_arg, rows[i].arg != NULL);
			if (rows[i].arg != NULL)
				CU_ASSERT(span_equal(cmd.arg, span_str(rows[i].arg)));
		}
	}
	parse(NULL, 0, &cmd, &used);
}

#define ROW(text, used, bad, open) { text, sizeof(text) - 1, used, LINE_BAD_##bad, open }

static void
test_bad(void)
{
	static const struct {
		const char *text;
		size_t len, used;
		enum line_bad bad;
		bool open;
	} rows[] = {
		ROW("\n", 1, LF, false),
		ROW("NOOP\n", 5, LF, false),
		ROW("NOOP\rX", 5, CR, true),
		ROW("\r\r", 1, CR, true),
		ROW("\0", 1, NUL, true),
		ROW("NO\0", 3, NUL, true),
		ROW("\r\0", 1, CR, true),
		ROW("\r\n", 2, EMPTY, false),
		ROW("ECHO \t\r\n", 8, TEXT, false),
		ROW("ECHO \xff\r\n", 8, TEXT, false),
		ROW("\x1bNOOP\r\n", 7, TEXT, false),
	};
	struct line_cmd cmd;
	size_t i, n, used;

	for (i = 0; i < PT_COUNT(rows); i++) {
		for (n = 0; n < rows[i].len; n++) {
			CU_ASSERT_EQUAL(parse(rows[i].text, n, &cmd, &used), LINE_PARSE_MORE);
			CU_ASSERT_EQUAL(used, 0);
		}
		CU_ASSERT_EQUAL(parse(rows[i].text, n, &cmd, &used), LINE_PARSE_BAD);
		CU_ASSERT_EQUAL(used, rows[i].used);
		CU_ASSERT_EQUAL(cmd.bad, rows[i].bad);
		CU_ASSERT_EQUAL(cmd.open, rows[i].open);
	}
	parse(NULL, 0, &cmd, &used);
}

static void
test_limit(void)
{
	char line[LINE_LINE_MAX + 16];
	struct line_cmd cmd;
	size_t n, used;

	memset(line, 'a', sizeof(line));
	memcpy(line, "ECHO ", 5);
	for (n = 0; n < LINE_LINE_MAX; n++)
		CU_ASSERT_EQUAL(parse(line, n, &cmd, &used), LINE_PARSE_MORE);
	for (; n < sizeof(line); n++) {
		CU_ASSERT_EQUAL(parse(line, n, &cmd, &used), LINE_PARSE_BAD);
		CU_ASSERT_EQUAL(cmd.bad, LINE_BAD_LONG);
		CU_ASSERT_EQUAL(used, LINE_LINE_MAX);
		CU_ASSERT_TRUE(cmd.open);
	}
	memcpy(line + LINE_LINE_MAX - 2, "\r\n", 2); /* the maximum */
	CU_ASSERT_EQUAL(parse(line, sizeof(line), &cmd, &used), LINE_PARSE_OK);
	CU_ASSERT_EQUAL(used, LINE_LINE_MAX);
	CU_ASSERT_EQUAL(cmd.arg.n, LINE_LINE_MAX - 7);
	memcpy(line + LINE_LINE_MAX - 2, "a\r\n", 3); /* and one more */
	CU_ASSERT_EQUAL(parse(line, sizeof(line), &cmd, &used), LINE_PARSE_BAD);
	CU_ASSERT_EQUAL(cmd.bad, LINE_BAD_LONG);
	parse(NULL, 0, &cmd, &used);
}

static void
test_strings(void)
{
	static const struct {
		const char *arg, *means; /* NULL: it is no string */
	} rows[] = {
		{ "", NULL },           { "word", "word" },     { "two words", NULL },
		{ "wo\"rd", NULL },     { "wo\\rd", NULL },     { "\"\"", "" },
		{ "\"a b\"", "a b" },   { "\"\\\"\"", "\"" },   { "\"\\\\\"", "\\" },
		{ "\"\\a\"", NULL },    { "\"", NULL },         { "\"a", NULL },
		{ "\"a\\\"", NULL },    { "\"a\"b\"", NULL },   { "\"a\" ", NULL },
	};
	uint8_t out[16];
	size_t i, n;
	bool ok;

	for (i = 0; i < PT_COUNT(rows); i++) {
		ok = line_string_read(span_str(rows[i].arg), out, sizeof(out), &n);
		CU_ASSERT_EQUAL(ok, rows[i].means != NULL);
		if (ok)
			CU_ASSERT(span_equal((struct span){ out, n }, span_str(rows[i].means)));
	}
	CU_ASSERT_TRUE(line_string_read(span_str("0123456789abcdef"), out, sizeof(out), &n));
	CU_ASSERT_FALSE(line_string_read(span_str("0123456789abcdefg"), out, sizeof(out), &n));
	CU_ASSERT_TRUE(line_string_read(span_str("\"0123456789abcde\\\"\""), out, sizeof(out), &n));
	CU_ASSERT_FALSE(line_string_read(span_str("\"0123456789abcdefg\""), out, sizeof(out), &n));
}

static const struct test_row rows[] = {
	{ "good lines, and every prefix of them", test_good },
	{ "bad lines, and every prefix of them", test_bad },
	{ "line length at its maximum and one more", test_limit },
	{ "strings", test_strings },
};

TEST_MAIN("proto/line_cmd", rows)
