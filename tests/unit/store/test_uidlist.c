/* unit/store/test_uidlist.c - Dovecot's lists: what is taken from them and what is passed over. */
#include "store/uidlist.h"

#include "test.h"
#include "util/err.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *text;
	bool ok;
	uint32_t uidvalidity, uidnext;
} heads[] = {
	{ "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n", true, 1275660208, 25022 },
	{ "3 N7 V5\n", true, 5, 7 },
	{ "3\n", true, 0, 0 },
	{ "3  V5   N7 \n", true, 5, 7 },
	{ "3 V4294967294 N4294967294\n", true, 4294967294u, 4294967294u },
	{ "3 V4294967295 N99999999999999999999\n", true, 0, 0 },
	{ "3 V5x N-7 X3\n", true, 0, 0 },
	{ "3 V N\n", true, 0, 0 },
	{ "1 1275660208 25022\n", false, 0, 0 },
	{ "33 V5\n", false, 0, 0 },
	{ "3V5\n", false, 0, 0 },
	{ "\n", false, 0, 0 },
	{ "3 V5", false, 0, 0 },
	{ "", false, 0, 0 },
};

static void
test_heads(void)
{
	struct uidlist_head h;
	struct span s;
	size_t i;

	for (i = 0; i < PT_COUNT(heads); i++) {
		s = span_str(heads[i].text);
		CU_ASSERT_EQUAL(uidlist_begin(&s, &h), heads[i].ok);
		CU_ASSERT_EQUAL(h.uidvalidity, heads[i].uidvalidity);
		CU_ASSERT_EQUAL(h.uidnext, heads[i].uidnext);
		if (heads[i].ok)
			CU_ASSERT_EQUAL(s.n, 0);
	}
}

static const struct {
	const char *line;
	uint32_t uid; /* 0: passed over */
	const char *name;
} entries[] = {
	{ "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,", 25006, "1276528487.M364837P9451.kurkku,S=1355,W=1394:2," },
	{ "25017 W2481 :1276533073.M242911P3632.kurkku:2,F", 25017, "1276533073.M242911P3632.kurkku:2,F" },
	{ "1 W2 S3 P4 G5 :a", 1, "a" },
	{ "7  :two spaces", 7, "two spaces" },
	{ "8 :with :colons", 8, "with :colons" },
	{ "4294967294 :x", 4294967294u, "x" },
	{ "4294967295 :x", 0, NULL },
	{ "99999999999999 :x", 0, NULL },
	{ "0 :x", 0, NULL },
	{ "-1 :x", 0, NULL },
	{ "5x :x", 0, NULL },
	{ "5 :", 0, NULL },
	{ "5 x", 0, NULL },
	{ "5:x", 0, NULL },
	{ "5", 0, NULL },
	{ "", 0, NULL },
	{ ":x", 0, NULL },
};

static void
test_entries(void)
{
	struct uidlist_entry e;
	char text[256];
	struct span s;
	size_t i;

	for (i = 0; i < PT_COUNT(entries); i++) {
		snprintf(text, sizeof text, "%s\n9 :last\n", entries[i].line);
		s = span_str(text);
		CU_ASSERT_TRUE_FATAL(uidlist_next(&s, &e));
		if (entries[i].uid != 0) {
			CU_ASSERT_EQUAL(e.uid, entries[i].uid);
			CU_ASSERT_TRUE(span_equal(e.name, span_str(entries[i].name)));
			CU_ASSERT_TRUE_FATAL(uidlist_next(&s, &e));
		}
		CU_ASSERT_EQUAL(e.uid, 9);
		CU_ASSERT_TRUE(span_equal(e.name, span_str("last")));
		CU_ASSERT_FALSE(uidlist_next(&s, &e));
	}
}

/* A list that is being written, at every octet: whole lines count, and nothing of the rest. */
static void
test_cut(void)
{
	static const char text[] = "3 V5 N7\n1 :a\n2 W3 :b:2,S\n3 :c\n";
	size_t n, i, whole, lines;
	struct uidlist_head h;
	struct uidlist_entry e;
	struct span s;

	for (n = 0; n < sizeof text; n++) {
		for (i = lines = 0; i < n; i++)
			lines += text[i] == '\n';
		s = (struct span){ (const uint8_t *)text, n };
		CU_ASSERT_EQUAL(uidlist_begin(&s, &h), lines > 0);
		for (whole = 0; uidlist_next(&s, &e); whole++)
			CU_ASSERT_EQUAL(e.uid, whole + 1);
		CU_ASSERT_EQUAL(whole, lines > 0 ? lines - 1 : 0);
	}
}

static void
test_keywords(void)
{
	char k[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1] = { [3] = "Mine" };
	char text[1024], longest[STORE_KEYWORD_MAX + 2];

	memset(longest, 'x', sizeof longest);
	longest[STORE_KEYWORD_MAX] = '\0';
	snprintf(text, sizeof text, "0 $Forwarded\n1 Old\n1 New\n25 Last\n26 TooHigh\n-1 x\n2\n4 \n5 two words\n6 \\Seen\n"
		"3 Theirs\nx\n7 %s\n8 %sx\n9 cut", longest, longest);
	uidlist_keywords(span_str(text), k);
	CU_ASSERT_STRING_EQUAL(k[0], "$Forwarded");
	CU_ASSERT_STRING_EQUAL(k[1], "New");
	CU_ASSERT_STRING_EQUAL(k[2], "");
	CU_ASSERT_STRING_EQUAL(k[3], "Mine");
	CU_ASSERT_STRING_EQUAL(k[4], "");
	CU_ASSERT_STRING_EQUAL(k[5], "");
	CU_ASSERT_STRING_EQUAL(k[6], "");
	CU_ASSERT_STRING_EQUAL(k[7], longest);
	CU_ASSERT_STRING_EQUAL(k[8], "");
	CU_ASSERT_STRING_EQUAL(k[9], "");
	CU_ASSERT_STRING_EQUAL(k[25], "Last");
}

static const struct test_row rows[] = {
	{ "first lines", test_heads },
	{ "messages", test_entries },
	{ "cut anywhere", test_cut },
	{ "keywords", test_keywords },
};

TEST_MAIN("store/uidlist", rows)
