/* unit/tls/test_plain.c - names that are read without GnuTLS: whatever is taken for plain, GnuTLS reads as the same
 * text. Held against it for names as they are usual, and for each of them with any one octet changed. */
#include "test.h"

#include "tls/tls_plain.h"

#include <gnutls/x509-ext.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#define OCTETS(s) { (const uint8_t *)(s), sizeof(s) - 1 }
#define CN(tag, n, text) "\x06\x03\x55\x04\x03" tag n text
#define TEXT_MAX 512
#define SANS_MAX 4

/* As it stands in a certificate: the first part comes last in the text. */
static const struct span usual_name = OCTETS("\x30\x76"
	"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02" "DE"
	"\x31\x17\x30\x15\x06\x0a\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19\x16\x07" "example"
	"\x31\x15\x30\x13\x06\x03\x55\x04\x0a\x13\x0c" "Example Inc."
	"\x31\x0e\x30\x0c\x06\x03\x55\x04\x0b\x0c\x05" "\xc3\x9c" "nit"
	"\x31\x0e\x30\x0c\x06\x03\x55\x04\x03\x0c\x05" "alice"
	"\x31\x17\x30\x15\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01\x16\x08" "a@e.test");
static const char usual_text[] = "EMAIL=a@e.test,CN=alice,OU=\xc3\x9cnit,O=Example Inc.,DC=example,C=DE";

static const struct span usual_sans = OCTETS("\x30\x27"
	"\x81\x08" "a@e.test"
	"\x82\x06" "e.test"
	"\x86\x0d" "urn:example:a"
	"\x87\x04\x7f\x00\x00\x01");

/* GnuTLS's text of it; NULL: none. */
static char *
their_name(struct span name)
{
	const gnutls_datum_t der = { (unsigned char *)(uintptr_t)name.p, (unsigned)name.n };
	gnutls_datum_t dn;
	char *s;

	if (gnutls_x509_rdn_get2(&der, &dn, 0) != 0)
		return NULL;
	s = strndup((const char *)dn.data, dn.size);
	gnutls_free(dn.data);
	return s;
}

static bool
same_name(struct span name, const char *text, size_t n)
{
	char *theirs = their_name(name);
	bool same = theirs != NULL && strlen(theirs) == n && memcmp(theirs, text, n) == 0;

	if (!same)
		fprintf(stderr, "\nours %.*s, theirs %s\n", (int)n, text, theirs != NULL ? theirs : "(none)");
	free(theirs);
	return same;
}

static bool
same_sans(struct span value, const struct plain_san *sans, size_t n)
{
	const gnutls_datum_t der = { (unsigned char *)(uintptr_t)value.p, (unsigned)value.n };
	gnutls_subject_alt_names_t theirs;
	gnutls_datum_t name;
	unsigned i, type;
	bool same;

	PT_ASSERT(gnutls_subject_alt_names_init(&theirs) == 0);
	same = gnutls_x509_ext_import_subject_alt_names(&der, theirs, 0) == 0;
	for (i = 0; i < n && same; i++)
		same = gnutls_subject_alt_names_get(theirs, i, &type, &name, NULL) == 0 &&
			(int)type == sans[i].type &&
			span_equal((struct span){ name.data, name.size }, sans[i].name);
	same = same && gnutls_subject_alt_names_get(theirs, i, &type, &name, NULL) != 0;
	gnutls_subject_alt_names_deinit(theirs);
	return same;
}

static void
test_usual(void)
{
	struct plain_san sans[SANS_MAX];
	char text[TEXT_MAX];
	size_t n = 0;

	CU_ASSERT(plain_dn(usual_name, text, sizeof text, &n));
	CU_ASSERT(n == sizeof usual_text - 1 && memcmp(text, usual_text, n) == 0);
	CU_ASSERT(same_name(usual_name, text, n));
	CU_ASSERT(plain_sans(usual_sans, sans, SANS_MAX, &n));
	CU_ASSERT(n == 4 && same_sans(usual_sans, sans, n));
}

/* Exactly as much room as is needed, and one less. */
static void
test_limits(void)
{
	struct plain_san sans[SANS_MAX];
	char text[TEXT_MAX];
	size_t n;

	CU_ASSERT(plain_dn(usual_name, text, sizeof usual_text - 1, &n));
	CU_ASSERT(!plain_dn(usual_name, text, sizeof usual_text - 2, &n));
	CU_ASSERT(plain_sans(usual_sans, sans, 4, &n));
	CU_ASSERT(!plain_sans(usual_sans, sans, 3, &n));
}

/* What would need a second thought is not plain. */
static void
test_odd_names(void)
{
	static const struct span rows[] = {
		OCTETS("\x30\x00"),                                     /* no subject */
		OCTETS("\x30\x02\x31\x00"),                             /* an empty part */
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", ",")),
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", "#")),
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", " ")),
		OCTETS("\x30\x0d\x31\x0b\x30\x09" CN("\x0c", "\x02", "a ")),
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", "\0")),
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", "\n")),
		OCTETS("\x30\x0d\x31\x0b\x30\x09" CN("\x0c", "\x02", "\xc2\x85")), /* C1 */
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", "\xfc")),     /* no UTF-8 */
		OCTETS("\x30\x0b\x31\x09\x30\x07" CN("\x0c", "\x00", "")),
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x14", "\x01", "a")),        /* T61String */
		OCTETS("\x30\x0d\x31\x0b\x30\x09" CN("\x1e", "\x02", "\0a")),      /* BMPString */
		OCTETS("\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x63\x0c\x01" "a"), /* an attribute nobody knows */
		OCTETS("\x30\x16\x31\x14\x30\x08" CN("\x0c", "\x01", "a") "\x30\x08" CN("\x0c", "\x01", "b")),
		OCTETS("\x30\x0c\x31\x0a\x30\x08" CN("\x0c", "\x01", "a") "\x00"), /* something behind it */
		OCTETS("\x30\x0d\x31\x0a\x30\x08" CN("\x0c", "\x01", "a")),        /* cut */
	};
	char text[TEXT_MAX];
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++)
		if (plain_dn(rows[i], text, sizeof text, &n)) {
			fprintf(stderr, "\nrow %zu\n", i);
			CU_FAIL("taken for plain");
		}
}

static void
test_odd_sans(void)
{
	static const struct span rows[] = {
		OCTETS("\x30\x00"),
		OCTETS("\x30\x02\x82\x00"),
		OCTETS("\x30\x04\x82\x02" "a\0"),
		OCTETS("\x30\x04\x82\x02" "a\x7f"),
		OCTETS("\x30\x04\x81\x02\xc3\xbc"),
		OCTETS("\x30\x05\x87\x03\x7f\x00\x01"),
		OCTETS("\x30\x05\x88\x03\x55\x04\x03"),         /* registeredID */
		OCTETS("\x30\x06\xa2\x04\x16\x02" "ab"),        /* explicit where it is implicit */
		OCTETS("\x30\x04\x82\x01" "a\x00"),
		OCTETS("\x30\x03\x82\x01" "a\x00"),
		OCTETS("\x30\x04\x82\x01" "a"),
	};
	struct plain_san sans[SANS_MAX];
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++)
		if (plain_sans(rows[i], sans, SANS_MAX, &n)) {
			fprintf(stderr, "\nrow %zu\n", i);
			CU_FAIL("taken for plain");
		}
}

/* Any one octet is any other. */
static void
test_changed(void)
{
	struct plain_san sans[SANS_MAX];
	uint8_t changed[256];
	char text[TEXT_MAX];
	unsigned v, taken = 0;
	struct span s;
	size_t i, n;

	for (i = 0; i < usual_name.n; i++)
		for (v = 0; v < 256; v++) {
			memcpy(changed, usual_name.p, usual_name.n);
			changed[i] = (uint8_t)v;
			s = (struct span){ changed, usual_name.n };
			if (plain_dn(s, text, sizeof text, &n) && ++taken > 0)
				CU_ASSERT_FATAL(same_name(s, text, n));
		}
	CU_ASSERT(taken > 1000); /* letters */
	for (i = 0, taken = 0; i < usual_sans.n; i++)
		for (v = 0; v < 256; v++) {
			memcpy(changed, usual_sans.p, usual_sans.n);
			changed[i] = (uint8_t)v;
			s = (struct span){ changed, usual_sans.n };
			if (plain_sans(s, sans, SANS_MAX, &n) && ++taken > 0)
				CU_ASSERT_FATAL(same_sans(s, sans, n));
		}
	CU_ASSERT(taken > 1000);
}

static const struct test_row rows[] = {
	{ "usual names", test_usual },
	{ "room for them", test_limits },
	{ "names that are not plain", test_odd_names },
	{ "subjectAltNames that are not plain", test_odd_sans },
	{ "any octet changed", test_changed },
};
TEST_MAIN("tls/plain", rows)
