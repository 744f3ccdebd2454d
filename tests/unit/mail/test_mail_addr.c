/* unit/mail/test_mail_addr.c - mailboxes and paths: what is one, and its one form. */
#include "test.h"

#include "mail/mail_addr.h"
#include "util/err.h"

#include <stdio.h>
#include <string.h>

static void
test_paths(void)
{
	static const struct {
		const char *in;
		unsigned flags;
		enum mail_addr_rc rc;
		const char *text; /* canonical; NULL: not looked at */
	} rows[] = {
		{ "<alice@example.org>", 0, MAIL_ADDR_OK, "alice@example.org" },
		{ "<Alice@EXAMPLE.org>", 0, MAIL_ADDR_OK, "Alice@example.org" },
		{ "<a.b.c@x>", 0, MAIL_ADDR_OK, "a.b.c@x" },
		{ "<alice@example.org.>", 0, MAIL_ADDR_OK, "alice@example.org" },
		{ "<\"alice\"@example.org>", 0, MAIL_ADDR_OK, "alice@example.org" },
		{ "<\"al\\ice\"@example.org>", 0, MAIL_ADDR_OK, "alice@example.org" },
		{ "<\"a b\"@x>", 0, MAIL_ADDR_OK, "\"a b\"@x" },
		{ "<\"a\\\"\\\\b\"@x>", 0, MAIL_ADDR_OK, "\"a\\\"\\\\b\"@x" },
		{ "<\"\"@x>", 0, MAIL_ADDR_OK, "\"\"@x" },
		{ "<\"a..b\"@x>", 0, MAIL_ADDR_OK, "\"a..b\"@x" },
		{ "<\"<>@\"@x>", 0, MAIL_ADDR_OK, "\"<>@\"@x" },
		{ "<!#$%&'*+-/=?^_`{|}~@x>", 0, MAIL_ADDR_OK, "!#$%&'*+-/=?^_`{|}~@x" },
		{ "<a@[192.0.2.1]>", 0, MAIL_ADDR_OK, "a@[192.0.2.1]" },
		{ "<a@[IPv6:2001:DB8::1]>", 0, MAIL_ADDR_OK, "a@[ipv6:2001:db8::1]" },
		{ "<@one.example,@two.example:a@x>", 0, MAIL_ADDR_OK, "a@x" },
		{ "<@one.example:a@x>", 0, MAIL_ADDR_OK, "a@x" },
		{ "<under_score@a_b.example>", 0, MAIL_ADDR_OK, NULL },
		{ "<>", MAIL_ADDR_NULL, MAIL_ADDR_OK, "" },
		{ "<Postmaster>", MAIL_ADDR_POSTMASTER, MAIL_ADDR_OK, "postmaster" },
		{ "<m\xc3\xbcller@b\xc3\xbc\x63her.example>", MAIL_ADDR_ALLOW_UTF8, MAIL_ADDR_OK,
		  "m\xc3\xbcller@b\xc3\xbc\x63her.example" },
		{ "<m\xc3\xbcller@x>", 0, MAIL_ADDR_UTF8, NULL },
		{ "<a@b\xc3\xbc.example>", 0, MAIL_ADDR_UTF8, NULL },
		/* none */
		{ "", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "a@x", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a>", MAIL_ADDR_POSTMASTER, MAIL_ADDR_SYNTAX, NULL },
		{ "<postmaster>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@x", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<.a@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a.@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a..b@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a b@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@x y>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@x,b@y>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@b@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@x..y>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@.x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@-x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@x->", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@[192.0.2]>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@[192.0.2.1>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<a@[IPv6:x]>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<\"a@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<\"a\"b@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<\"a\x01\"@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<\"a\\", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<@one.example,a@x>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<@one.example:>", 0, MAIL_ADDR_SYNTAX, NULL },
		{ "<m\xc3@x>", MAIL_ADDR_ALLOW_UTF8, MAIL_ADDR_SYNTAX, NULL },
		{ "<\xc2\x85@x>", MAIL_ADDR_ALLOW_UTF8, MAIL_ADDR_SYNTAX, NULL }, /* C1 */
	};
	struct mail_addr a, again;
	size_t i, used;
	char text[MAIL_ADDR_MAX + 3];

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL_FATAL(mail_path_read(span_str(rows[i].in), rows[i].flags, &a, &used),
				      rows[i].rc);
		if (rows[i].rc != MAIL_ADDR_OK)
			continue;
		CU_ASSERT_EQUAL(used, strlen(rows[i].in));
		CU_ASSERT_EQUAL(a.n, strlen(a.text));
		if (rows[i].text != NULL)
			CU_ASSERT_STRING_EQUAL(a.text, rows[i].text);
		/* the canonical form is its own canonical form */
		snprintf(text, sizeof(text), "<%s>", a.text);
		CU_ASSERT_EQUAL(mail_path_read(span_str(text), rows[i].flags, &again, &used),
				MAIL_ADDR_OK);
		CU_ASSERT_STRING_EQUAL(again.text, a.text);
	}
}

static void
test_what_follows(void)
{
	struct mail_addr a;
	size_t used;

	CU_ASSERT_EQUAL(mail_path_read(span_str("<a@x> SIZE=5"), 0, &a, &used), MAIL_ADDR_OK);
	CU_ASSERT_EQUAL(used, 5);
	CU_ASSERT_EQUAL(mail_addr_read(span_str("a@x"), &a), MAIL_ADDR_OK);
	CU_ASSERT_EQUAL(mail_addr_read(span_str("a@x "), &a), MAIL_ADDR_SYNTAX);
	CU_ASSERT_EQUAL(mail_addr_read(span_str("<a@x>"), &a), MAIL_ADDR_SYNTAX);
}

static void
test_parts(void)
{
	struct mail_addr a;
	struct span d;

	CU_ASSERT_EQUAL(mail_addr_read(span_str("\"a@b\"@Example.ORG"), &a), MAIL_ADDR_OK);
	CU_ASSERT_EQUAL(a.local, 5);
	d = mail_addr_domain(&a);
	CU_ASSERT(span_equal(d, span_str("example.org")));
	CU_ASSERT_FALSE(a.literal);
	CU_ASSERT_EQUAL(mail_addr_read(span_str("a@[192.0.2.1]"), &a), MAIL_ADDR_OK);
	CU_ASSERT_TRUE(a.literal);
}

/* A local part of n letters. */
static enum mail_addr_rc
with_local(size_t n)
{
	char text[MAIL_LOCAL_MAX + 16];
	struct mail_addr a;
	size_t used;

	memset(text, 'a', sizeof(text));
	text[0] = '<';
	strcpy(text + 1 + n, "@x>");
	return mail_path_read(span_str(text), 0, &a, &used);
}

/* A domain of n letters in labels of 50. */
static enum mail_addr_rc
with_domain(size_t n)
{
	char text[MAIL_DOMAIN_MAX + 16];
	struct mail_addr a;
	size_t i, used;

	strcpy(text, "<a@");
	for (i = 0; i < n; i++)
		text[3 + i] = i % 50 == 49 && i + 1 < n ? '.' : 'x';
	strcpy(text + 3 + n, ">");
	return mail_path_read(span_str(text), 0, &a, &used);
}

static void
test_maxima(void)
{
	char label[MAIL_LABEL_MAX + 2];
	char quoted[MAIL_LOCAL_MAX + 16];
	struct mail_addr a;
	size_t i;

	CU_ASSERT_EQUAL(with_local(MAIL_LOCAL_MAX), MAIL_ADDR_OK);
	CU_ASSERT_EQUAL(with_local(MAIL_LOCAL_MAX + 1), MAIL_ADDR_TOO_LONG);
	CU_ASSERT_EQUAL(with_domain(MAIL_DOMAIN_MAX), MAIL_ADDR_OK);
	CU_ASSERT_EQUAL(with_domain(MAIL_DOMAIN_MAX + 1), MAIL_ADDR_TOO_LONG);
	memset(label, 'x', sizeof(label));
	CU_ASSERT_TRUE(mail_domain_valid((struct span){ (uint8_t *)label, MAIL_LABEL_MAX }));
	CU_ASSERT_FALSE(mail_domain_valid((struct span){ (uint8_t *)label, MAIL_LABEL_MAX + 1 }));
	/* quotes count: decoded it fits, written out it does not */
	for (i = 0; i < 2; i++) {
		memset(quoted, ' ', sizeof(quoted));
		quoted[0] = '"';
		strcpy(quoted + MAIL_LOCAL_MAX - 1 + i, "\"@x");
		CU_ASSERT_EQUAL(mail_addr_read(span_str(quoted), &a),
				i == 0 ? MAIL_ADDR_OK : MAIL_ADDR_TOO_LONG);
	}
}

static void
test_literals(void)
{
	static const struct {
		const char *in;
		bool valid;
	} rows[] = {
		{ "[192.0.2.1]", true },      { "[IPv6:::1]", true },
		{ "[ipv6:2001:db8::1]", true }, { "[IPv6:1.2.3.4]", false },
		{ "[2001:db8::1]", false },   { "[]", false },
		{ "[", false },               { "[IPv6:]", false },
		{ "192.0.2.1", false },       { "[192.0.2.256]", false },
		{ "[192.0.2.1", false },      { "[192.0.2.1]x", false },
		{ "[IPv6:2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]", false },
	};
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_EQUAL(mail_literal_valid(span_str(rows[i].in)), rows[i].valid);
}

static const struct test_row rows[] = {
	{ "paths, and their one form", test_paths },
	{ "what stands behind an address", test_what_follows },
	{ "local part and domain", test_parts },
	{ "at the maximum, and one more", test_maxima },
	{ "address literals", test_literals },
};
TEST_MAIN("mail_addr", rows)
