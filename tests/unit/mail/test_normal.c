/* unit/mail/test_normal.c - the one form of a domain and of an address. */
#include "test.h"

#include "mail/normal.h"

#include <string.h>

#define L64 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234"
#define D63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"
#define D61 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1"

struct row {
	const char *in, *out; /* NULL: none */
};

static void
test_domains(void)
{
	static const struct row rows[] = {
		{ "example.org", "example.org" },
		{ "EXAMPLE.Org", "example.org" },
		{ "a", "a" },
		{ "1.2", "1.2" },
		{ "b\xc3\xbc" "cher.example", "xn--bcher-kva.example" },
		{ "BU\xcc\x88" "CHER.example", "xn--bcher-kva.example" },
		{ "XN--BCHER-KVA.example", "xn--bcher-kva.example" },
		{ D63 ".x", D63 ".x" },
		{ D63 "x.x", NULL },
		{ D63 "." D63 "." D63 "." D61, D63 "." D63 "." D63 "." D61 },
		{ D63 "." D63 "." D63 "." D61 "x", NULL },
		{ "", NULL },
		{ ".", NULL },
		{ "a.", NULL },
		{ ".a", NULL },
		{ "a..b", NULL },
		{ "-a.b", NULL },
		{ "a-.b", NULL },
		{ "a_b.c", NULL },
		{ "a b.c", NULL },
		{ "[127.0.0.1]", NULL },
		{ "xn--.example", NULL },
		{ "exam\xc2\xa0ple.org", NULL },
		{ "exam\xff" "ple.org", NULL },
		{ "a\tb.org", NULL },
	};
	char out[NORMAL_DOMAIN_MAX];
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		memset(out, 'x', sizeof out);
		if (normal_domain(span_str(rows[i].in), out) != (rows[i].out != NULL) ||
		    strcmp(out, rows[i].out != NULL ? rows[i].out : "") != 0)
			CU_FAIL_FATAL(rows[i].in);
		CU_PASS();
	}
	CU_ASSERT_FALSE(normal_domain((struct span){ (const uint8_t *)"a\0b", 3 }, out));
}

static void
test_addresses(void)
{
	static const struct row rows[] = {
		{ "alice@example.org", "alice@example.org" },
		{ "Alice@EXAMPLE.org", "alice@example.org" },
		{ "\"Alice\"@example.org", "alice@example.org" },
		{ "\"a\\lice\"@example.org", "alice@example.org" },
		{ "a.b+c-d_e@example.org", "a.b+c-d_e@example.org" },
		{ "al\xc3\xa9@b\xc3\xbc" "cher.example", "al\xc3\xa9@xn--bcher-kva.example" },
		{ L64 "@example.org", L64 "@example.org" },
		{ L64 "x@example.org", NULL },
		{ "\"" L64 "\"@example.org", L64 "@example.org" },
		{ "\"" L64 "x\"@example.org", NULL },
		{ L64 "@" D63 "." D63 "." D63 "." D61, L64 "@" D63 "." D63 "." D63 "." D61 },
		{ "", NULL },
		{ "@", NULL },
		{ "alice", NULL },
		{ "alice@", NULL },
		{ "@example.org", NULL },
		{ "\"\"@example.org", NULL },
		{ "\"@example.org", NULL },
		{ "\"a\\\"@example.org", NULL },
		{ "\"a\"b\"@example.org", NULL },
		{ "\"a b\"@example.org", NULL },
		{ "\"a@b\"@example.org", NULL },
		{ "a@b@example.org", NULL },
		{ ".a@example.org", NULL },
		{ "a.@example.org", NULL },
		{ "a..b@example.org", NULL },
		{ "\"..\"@example.org", NULL },
		{ "a/b@example.org", NULL },
		{ "../../etc@example.org", NULL },
		{ "a b@example.org", NULL },
		{ "a<b@example.org", NULL },
		{ "a\x7f@example.org", NULL },
		{ "a\xff@example.org", NULL },
		{ "alice@[127.0.0.1]", NULL },
		{ "alice@example.org.", NULL },
	};
	char out[NORMAL_ADDRESS_MAX];
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		memset(out, 'x', sizeof out);
		if (normal_address(span_str(rows[i].in), out) != (rows[i].out != NULL) ||
		    strcmp(out, rows[i].out != NULL ? rows[i].out : "") != 0)
			CU_FAIL_FATAL(rows[i].in);
		CU_PASS();
	}
}

/* What comes out goes in and comes out the same. */
static void
test_again(void)
{
	static const char *const rows[] = { "Alice+X@EXAMPLE.org", "\"o'neil\"@B\xc3\xbc" "cher.example" };
	char once[NORMAL_ADDRESS_MAX], twice[NORMAL_ADDRESS_MAX];
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CU_ASSERT_TRUE_FATAL(normal_address(span_str(rows[i]), once));
		CU_ASSERT_TRUE_FATAL(normal_address(span_str(once), twice));
		CU_ASSERT_STRING_EQUAL(once, twice);
	}
}

static const struct test_row tests[] = {
	{ "domains", test_domains },
	{ "addresses", test_addresses },
	{ "a normal form is its own", test_again },
};

TEST_MAIN("mail/normal", tests)
