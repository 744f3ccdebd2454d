/* unit/tls/test_der.c - what is read of a certificate without GnuTLS: times and extensions, held against what
 * GnuTLS reads. */
#include "test.h"
#include "pki.h"

#include "tls/tls_der.h"

#include <stdlib.h>
#include <string.h>

#define OCTETS(s) { (const uint8_t *)(s), sizeof(s) - 1 }

static void
test_times(void)
{
	static const struct {
		struct span in;
		int64_t want; /* -1: not taken */
	} rows[] = {
		{ OCTETS("\x17\x0d" "700101000000Z"), 0 },
		{ OCTETS("\x17\x0d" "491231235959Z"), 2524607999 },
		{ OCTETS("\x17\x0d" "500101000000Z"), -631152000 }, /* of 1950 */
		{ OCTETS("\x17\x0d" "000229120000Z"), 951825600 },
		{ OCTETS("\x17\x0d" "261127165310Z"), 1795798390 },
		{ OCTETS("\x18\x0f" "20500101000000Z"), 2524608000 },
		{ OCTETS("\x18\x0f" "21000301000000Z"), 4107542400 }, /* no leap year */
		{ OCTETS("\x18\x0f" "99991231235959Z"), 253402300799 },
		{ OCTETS("\x17\x0d" "261327165310Z"), -1 },
		{ OCTETS("\x17\x0d" "260027165310Z"), -1 },
		{ OCTETS("\x17\x0d" "261100165310Z"), -1 },
		{ OCTETS("\x17\x0d" "261132165310Z"), -1 },
		{ OCTETS("\x17\x0d" "261127245310Z"), -1 },
		{ OCTETS("\x17\x0d" "261127166010Z"), -1 },
		{ OCTETS("\x17\x0d" "261127165360Z"), -1 },
		{ OCTETS("\x17\x0d" "261127165310z"), -1 },
		{ OCTETS("\x17\x0d" "26112716531 Z"), -1 },
		{ OCTETS("\x17\x0b" "2611271653Z"), -1 }, /* no seconds */
		{ OCTETS("\x17\x0c" "261127165310"), -1 }, /* no zone */
		{ OCTETS("\x17\x11" "261127165310+0100"), -1 },
		{ OCTETS("\x18\x11" "20261127165310.0Z"), -1 },
		{ OCTETS("\x18\x0d" "261127165310Z"), -1 }, /* a form under the other one's tag */
		{ OCTETS("\x17\x0f" "20261127165310Z"), -1 },
		{ OCTETS("\x16\x0d" "261127165310Z"), -1 },
		{ OCTETS("\x17\x0e" "261127165310Z"), -1 }, /* cut */
		{ OCTETS("\x17\x00"), -1 },
	};
	struct span in;
	int64_t got;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		in = rows[i].in;
		got = -1;
		if (der_time(&in, &got) != (rows[i].want != -1) || got != rows[i].want ||
		    in.n != (rows[i].want != -1 ? 0 : rows[i].in.n)) {
			fprintf(stderr, "\nrow %zu: %lld\n", i, (long long)got);
			CU_FAIL("a time");
		}
	}
}

/* The certificates that GnuTLS writes in a hundred years: its clock and ours are the same. */
static void
test_as_gnutls(void)
{
	static const long day = 86400;
	struct der_crt crt;
	gnutls_datum_t der;
	struct pki *p;
	int64_t from, to;
	long at;

	for (at = -50 * 365; at < 50 * 365; at += 97) {
		p = pki_new(&(struct pki_spec){ .cn = "x", .from_s = at * day + at, .to_s = (at + 97) * day }, NULL);
		CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_DER, &der), 0);
		CU_ASSERT_TRUE_FATAL(der_crt_read((struct span){ der.data, der.size }, &crt));
		CU_ASSERT_TRUE(der_time(&crt.validity, &from) && der_time(&crt.validity, &to));
		CU_ASSERT_EQUAL(crt.validity.n, 0);
		CU_ASSERT_EQUAL(from, gnutls_x509_crt_get_activation_time(p->crt));
		CU_ASSERT_EQUAL(to, gnutls_x509_crt_get_expiration_time(p->crt));
		gnutls_free(der.data);
		pki_free(&p);
	}
}

static void
test_extension(void)
{
	static const uint8_t san[] = { 0x55, 0x1d, 0x11 }, nobodys[] = { 0x55, 0x1d, 0x7f };
	struct pki *p = pki_new(&(struct pki_spec){ .cn = "x", .email = "alice@example.org", .padding = 300 }, NULL);
	struct span value = { NULL, 0 }, whole;
	gnutls_datum_t der, theirs;
	struct der_crt crt;
	unsigned critical;
	uint8_t *cut;
	size_t n;

	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_DER, &der), 0);
	whole = (struct span){ der.data, der.size };
	CU_ASSERT_TRUE_FATAL(der_crt_read(whole, &crt));
	CU_ASSERT_TRUE(der_crt_extension(&crt, (struct span){ san, sizeof san }, &value));
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_get_extension_by_oid2(p->crt, "2.5.29.17", 0, &theirs, &critical), 0);
	CU_ASSERT_TRUE(span_equal(value, (struct span){ theirs.data, theirs.size }));
	CU_ASSERT_FALSE(der_crt_extension(&crt, (struct span){ nobodys, sizeof nobodys }, &value));
	/* cut anywhere, and nothing behind the end is looked at (a sanitizer sees it) */
	for (n = 0; n < whole.n; n++) {
		CU_ASSERT_PTR_NOT_NULL_FATAL((cut = malloc(n > 0 ? n : 1)));
		memcpy(cut, whole.p, n);
		CU_ASSERT_FALSE(der_crt_read((struct span){ cut, n }, &crt) &&
			der_crt_extension(&crt, (struct span){ san, sizeof san }, &value));
		free(cut);
	}
	gnutls_free(theirs.data);
	gnutls_free(der.data);
	pki_free(&p);
}

static const struct test_row rows[] = {
	{ "times", test_times },
	{ "times as GnuTLS reads them", test_as_gnutls },
	{ "an extension", test_extension },
};
TEST_MAIN("tls/der", rows)
