/* unit/proto/test_smtp_cmd.c - lines, commands and their arguments: pure parsers at each split point. */
#include "test.h"

#include "proto/smtp/smtp_cmd.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

static void
test_prefixes(void)
{
	static const char *const rows[] = { "QUIT\r\n", "MAIL FROM:<a@x> SIZE=5\r\n", "AUTH PLAIN AGEAYg==\r\n" };
	struct smtp_cmd cmd;
	size_t i, n, used, len;

	for (i = 0; i < PT_COUNT(rows); i++) {
		len = strlen(rows[i]);
		for (n = 0; n < len; n++) { /* every prefix asks for more and eats nothing */
			CU_ASSERT_EQUAL(smtp_cmd_parse((const uint8_t *)rows[i], n, &cmd, &used),
					SMTP_PARSE_MORE);
			CU_ASSERT_EQUAL(used, 0);
		}
		CU_ASSERT_EQUAL(smtp_cmd_parse((const uint8_t *)rows[i], len, &cmd, &used),
				SMTP_PARSE_OK);
		CU_ASSERT_EQUAL(used, len);
		CU_ASSERT_NOT_EQUAL(cmd.verb, SMTP_V_UNKNOWN);
	}
}

static void
test_bad(void)
{
	static const struct {
		const char *in;
		size_t n, used;
		enum smtp_bad bad;
		bool open;
	} rows[] = {
		{ "NOOP\n", 5, 5, SMTP_BAD_LF, false },
		{ "NOOP\rx", 6, 5, SMTP_BAD_CR, true },
		{ "NO\0OP\r\n", 7, 3, SMTP_BAD_NUL, true },
		{ "\r\n", 2, 2, SMTP_BAD_EMPTY, false },
		{ "  \r\n", 4, 4, SMTP_BAD_EMPTY, false },
		{ "A\xff\r\n", 4, 4, SMTP_BAD_TEXT, false },
		{ "A\tB\r\n", 5, 5, SMTP_BAD_TEXT, false },
	};
	struct smtp_cmd cmd;
	size_t i, used;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(smtp_cmd_parse((const uint8_t *)rows[i].in, rows[i].n, &cmd, &used),
				SMTP_PARSE_BAD);
		CU_ASSERT_EQUAL(used, rows[i].used);
		CU_ASSERT_EQUAL(cmd.line.bad, rows[i].bad);
		CU_ASSERT_EQUAL(cmd.line.open, rows[i].open);
	}
}

/* A line of n octets with its CRLF. */
static enum smtp_parse
of_length(const char *begin, size_t n)
{
	char *line = malloc(n + 1);
	struct smtp_cmd cmd;
	enum smtp_parse rc;
	size_t used;

	memset(line, 'A', n);
	memcpy(line, begin, strlen(begin));
	memcpy(line + n - 2, "\r\n", 2);
	rc = smtp_cmd_parse((const uint8_t *)line, n, &cmd, &used);
	free(line);
	return rc;
}

static void
test_maxima(void)
{
	CU_ASSERT_EQUAL(of_length("NOOP ", SMTP_LINE_MAX), SMTP_PARSE_OK);
	CU_ASSERT_EQUAL(of_length("NOOP ", SMTP_LINE_MAX + 1), SMTP_PARSE_BAD);
	CU_ASSERT_EQUAL(of_length("auth ", SMTP_AUTH_LINE_MAX), SMTP_PARSE_OK);
	CU_ASSERT_EQUAL(of_length("AUTH ", SMTP_AUTH_LINE_MAX + 1), SMTP_PARSE_BAD);
}

static void
test_params(void)
{
	static const struct {
		const char *in, *key, *value; /* of the first */
		enum smtp_param rc;
	} rows[] = {
		{ "", NULL, NULL, SMTP_PARAM_END },       { "  ", NULL, NULL, SMTP_PARAM_END },
		{ "SIZE=5", "SIZE", "5", SMTP_PARAM_OK }, { " A B=c", "A", NULL, SMTP_PARAM_OK },
		{ "X-Y=a=b", "X-Y", "a=b", SMTP_PARAM_OK }, { "=5", NULL, NULL, SMTP_PARAM_BAD },
		{ "A=", NULL, NULL, SMTP_PARAM_BAD },     { "-A", NULL, NULL, SMTP_PARAM_BAD },
		{ "A_B=1", NULL, NULL, SMTP_PARAM_BAD },
	};
	struct span rest, key, value;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		rest = span_str(rows[i].in);
		CU_ASSERT_EQUAL_FATAL(smtp_param_next(&rest, &key, &value), rows[i].rc);
		if (rows[i].rc != SMTP_PARAM_OK)
			continue;
		CU_ASSERT(span_equal(key, span_str(rows[i].key)));
		CU_ASSERT_EQUAL(value.p != NULL, rows[i].value != NULL);
		if (rows[i].value != NULL)
			CU_ASSERT(span_equal(value, span_str(rows[i].value)));
	}
}

static void
test_arguments(void)
{
	static const struct {
		const char *in;
		enum smtp_bdat rc;
		bool last;
		uint64_t octets;
	} bdats[] = {
		{ "0", SMTP_BDAT_OK, false, 0 },         { "5 LAST", SMTP_BDAT_OK, true, 5 },
		{ "5  last", SMTP_BDAT_OK, true, 5 },    { "18446744073709551615", SMTP_BDAT_OK, false, UINT64_MAX },
		{ "18446744073709551616", SMTP_BDAT_HUGE, false, 0 }, { "", SMTP_BDAT_BAD, false, 0 },
		{ "5 FIRST", SMTP_BDAT_BAD, false, 0 },  { "5LAST", SMTP_BDAT_BAD, false, 0 },
		{ "+5", SMTP_BDAT_BAD, false, 0 },       { "LAST", SMTP_BDAT_BAD, false, 0 },
	};
	static const struct {
		const char *in;
		bool good;
	} helos[] = {
		{ "x", true }, { "mail.example.org", true }, { "my_pc", true }, { "[192.0.2.1]", true },
		{ "[IPv6:::1]", true }, { "", false }, { "a b", false }, { "[x]", false }, { "a(b)", false },
		{ "b\xc3\xbc.example", false }, { "a..b", false }, { "x\ry", false },
	};
	struct span mechanism, initial;
	uint64_t octets;
	bool last;
	size_t i;

	for (i = 0; i < PT_COUNT(bdats); i++) {
		CU_ASSERT_EQUAL(smtp_bdat_read(span_str(bdats[i].in), &octets, &last), bdats[i].rc);
		if (bdats[i].rc == SMTP_BDAT_OK)
			CU_ASSERT(octets == bdats[i].octets && last == bdats[i].last);
	}
	CU_ASSERT(smtp_is_bdat(span_str("BDAT")) && smtp_is_bdat(span_str("  bdat 5")) && smtp_is_bdat(span_str("BDAT\xff")));
	CU_ASSERT(!smtp_is_bdat(span_str("BDA")) && !smtp_is_bdat(span_str("BDAT5")) && !smtp_is_bdat(span_str("X BDAT")));
	for (i = 0; i < PT_COUNT(helos); i++)
		CU_ASSERT_EQUAL(smtp_helo_valid(span_str(helos[i].in)), helos[i].good);
	CU_ASSERT_TRUE(smtp_auth_read(span_str("PLAIN"), &mechanism, &initial) && initial.p == NULL);
	CU_ASSERT_TRUE(smtp_auth_read(span_str("SCRAM-SHA-256 ="), &mechanism, &initial) && initial.n == 1);
	CU_ASSERT_FALSE(smtp_auth_read(span_str(""), &mechanism, &initial));
	CU_ASSERT_FALSE(smtp_auth_read(span_str("PLAIN a b"), &mechanism, &initial));
	CU_ASSERT_FALSE(smtp_auth_read(span_str("ABCDEFGHIJKLMNOPQRSTU"), &mechanism, &initial));
}

static const struct test_row rows[] = {
	{ "each prefix asks for more", test_prefixes },
	{ "lines that are none", test_bad },
	{ "at the maximum, and one more", test_maxima },
	{ "parameters", test_params },
	{ "arguments", test_arguments },
};
TEST_MAIN("smtp_cmd", rows)
