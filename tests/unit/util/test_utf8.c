/* unit/util/test_utf8.c - what is UTF-8 that may be shown, and where it is cut. */
#include "test.h"

#include "util/err.h"
#include "util/utf8.h"

#include <string.h>

static void
test_printable(void)
{
	static const struct {
		const char *text;
		bool printable;
	} rows[] = {
		{ "", true },
		{ " ~", true },
		{ "a\x1f", false },              /* C0 */
		{ "\x7f", false },               /* DEL */
		{ "\xc2\x9f", false },           /* C1 */
		{ "\xc2\xa0", true },            /* the first behind C1 */
		{ "\x80", false },               /* no leading octet */
		{ "\xbf", false },
		{ "\xc1\xbf", false },           /* overlong, two octets */
		{ "\xdf\xbf", true },
		{ "\xdf", false },               /* cut off */
		{ "\xdf\x41", false },
		{ "\xe0\x9f\xbf", false },       /* overlong, three octets */
		{ "\xe0\xa0\x80", true },
		{ "\xed\x9f\xbf", true },
		{ "\xed\xa0\x80", false },       /* first surrogate */
		{ "\xed\xbf\xbf", false },       /* last one */
		{ "\xee\x80\x80", true },
		{ "\xe4\xb8", false },
		{ "\xf0\x8f\xbf\xbf", false },   /* overlong, four octets */
		{ "\xf0\x90\x80\x80", true },
		{ "\xf4\x8f\xbf\xbf", true },    /* U+10FFFF */
		{ "\xf4\x90\x80\x80", false },
		{ "\xf5\x80\x80\x80", false },
		{ "\xf0\x9f\x8c", false },
		{ "\xff", false },
	};
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_EQUAL(utf8_printable(span_str(rows[i].text)), rows[i].printable);
	CU_ASSERT_FALSE(utf8_printable((struct span){ (const uint8_t *)"a\0b", 3 }));
	CU_ASSERT_EQUAL(utf8_printable_char(span_str("a\xc3")), 1); /* looks at no more than it */
	CU_ASSERT_EQUAL(utf8_printable_char(span_str("\xc3\xa4" "x")), 2);
	CU_ASSERT_EQUAL(utf8_printable_char(span_str("\xc3")), 0);
	CU_ASSERT_EQUAL(utf8_printable_char(span_str("\t")), 0);
	CU_ASSERT_EQUAL(utf8_printable_char((struct span){ NULL, 0 }), 0);
}

static void
test_cut(void)
{
	/* one character each of one, two, three and four octets */
	static const char text[] = "a\xc3\xbc\xe4\xb8\x96\xf0\x9f\x8c\x8d";
	static const size_t ends[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10 };
	struct span s = span_str(text), cut;
	size_t max;

	for (max = 0; max < PT_COUNT(ends); max++) {
		cut = utf8_cut(s, max);
		CU_ASSERT_EQUAL(cut.n, ends[max]);
		CU_ASSERT_PTR_EQUAL(cut.p, s.p);
		CU_ASSERT(utf8_printable(cut));
	}
	/* what is not UTF-8 is cut where it was asked */
	CU_ASSERT_EQUAL(utf8_cut(span_str("\x80\x80\x80\x80\x80\x80"), 5).n, 5);
	CU_ASSERT_EQUAL(utf8_cut(span_str("\x80\x80"), 1).n, 1);
}

static const struct test_row rows[] = {
	{ "what may be shown", test_printable },
	{ "never cut within a character", test_cut },
};

TEST_MAIN("util/utf8", rows)
