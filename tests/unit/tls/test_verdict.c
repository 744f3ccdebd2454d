/* unit/tls/test_verdict.c - names and alerts, as clients and logs see them. */
#include "test.h"

#include "tls/tls_verdict.h"
#include "util/err.h"

static void
test_verdicts(void)
{
	static const struct {
		enum tls_verdict v;
		const char *name;
		unsigned alert12, alert13;
	} rows[] = {
		{ TLS_VERDICT_NONE, "none", 40, 116 },
		{ TLS_VERDICT_TRUSTED, "trusted", 0, 0 },
		{ TLS_VERDICT_EXPIRED, "expired", 45, 45 },
		{ TLS_VERDICT_NOT_YET_VALID, "not-yet-valid", 45, 45 },
		{ TLS_VERDICT_REVOKED, "revoked", 44, 44 },
		{ TLS_VERDICT_UNKNOWN_CA, "unknown-ca", 48, 48 },
		{ TLS_VERDICT_WRONG_PURPOSE, "wrong-purpose", 43, 43 },
		{ TLS_VERDICT_BAD_SIGNATURE, "bad-signature", 42, 42 },
		{ TLS_VERDICT_CRL_STALE, "crl-stale", 46, 46 },
		{ TLS_VERDICT_UNMAPPED, "unmapped", 49, 49 },
	};
	size_t i;

	CU_ASSERT_EQUAL(PT_COUNT(rows), TLS_VERDICT_COUNT); /* a new one has a row here */
	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(rows[i].v, i);
		CU_ASSERT_STRING_EQUAL(tls_verdict_name(rows[i].v), rows[i].name);
		CU_ASSERT_EQUAL(tls_verdict_alert(rows[i].v, 2), rows[i].alert12);
		CU_ASSERT_EQUAL(tls_verdict_alert(rows[i].v, 3), rows[i].alert13);
	}
}

static const struct test_row rows[] = {
	{ "names and alerts", test_verdicts },
};
TEST_MAIN("tls/verdict", rows)
