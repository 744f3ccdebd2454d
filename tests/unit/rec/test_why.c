/* unit/rec/test_why.c - every code from the facts that lead to it; that no two sentences are alike, in the table and
 * filled in; dates and spans. */
#include "test.h"

#include "rec/why.h"
#include "tls/tls_fault.h"
#include "tls/tls_verdict.h"
#include "util/log.h"

#include <ctype.h>
#include <string.h>

#define TLS12 4u
#define DAY 86400

/* A record with something in every field that a sentence may need. */
static struct rec
full(void)
{
	struct rec r = { .id = 1, .start_us = 1700000000ull * 1000000, .peer = { REC_IPV4, { 192, 0, 2, 7 }, 4711 },
		.not_before = 1700000000 + 3 * DAY, .not_after = 1700000000 - 10 * DAY, .when = 1700000000 - 5 * 3600,
		.number = 30, .window_ms = 600000, .allowed = 1u << TLS12, .offered_min = 2, .offered_max = 3,
		.offered_suites = 17, .alert_got = 48, .alert_sent = 45, .error = -59 };

	strcpy(r.service, "submission");
	strcpy(r.subject, "CN=alice");
	strcpy(r.issuer, "CN=Example CA");
	strcpy(r.sans, "email:alice@example.org");
	strcpy(r.sni, "mail.example.org");
	strcpy(r.alpn, "h2");
	return r;
}

#define TLS_IN(ph, fa, ...)                                                                        \
	{ .cause = REC_CAUSE_TLS, .phase = REC_PHASE_##ph, .fault = TLS_FAULT_##fa, __VA_ARGS__ }
#define TLS(fa, ...) TLS_IN(HANDSHAKE, fa, .flags = REC_F_HELLO, .tls_first = REC_OCTETS_TLS, __VA_ARGS__)
#define CERT(v, ...) TLS(CERTIFICATE, .verdict = TLS_VERDICT_##v, __VA_ARGS__)
#define ALERT(n) TLS(ALERT, .alert_got = n)
#define CAUSE(c, ...) { .cause = REC_CAUSE_##c, __VA_ARGS__ }
#define REQUIRED .mode = REC_MODE_STARTTLS_REQUIRED
#define AT_ONCE .mode = REC_MODE_TLS

static const struct {
	enum why_code code;
	struct rec facts;
} cases[] = {
	{ WHY_CERT_MISSING, CERT(NONE) },
	{ WHY_CERT_UNKNOWN_CA, CERT(UNKNOWN_CA) },
	{ WHY_CERT_UNKNOWN_CA, CAUSE(LOGIN, .verdict = TLS_VERDICT_UNKNOWN_CA) },
	{ WHY_CERT_CHAIN, CERT(UNKNOWN_CA, .reason = TLS_REASON_INCOMPLETE) },
	{ WHY_CERT_SELF_SIGNED, CERT(UNKNOWN_CA, .reason = TLS_REASON_SELF_SIGNED) },
	{ WHY_CERT_NOT_A_CA, CERT(UNKNOWN_CA, .reason = TLS_REASON_NOT_A_CA) },
	{ WHY_CERT_EXPIRED, CERT(EXPIRED) },
	{ WHY_CERT_CA_EXPIRED, CERT(EXPIRED, .reason = TLS_REASON_ABOVE) },
	{ WHY_CERT_FUTURE, CERT(NOT_YET_VALID) },
	{ WHY_CERT_REVOKED, CERT(REVOKED) },
	{ WHY_CERT_CA_REVOKED, CERT(REVOKED, .reason = TLS_REASON_ABOVE) },
	{ WHY_CRL_STALE, CERT(CRL_STALE) },
	{ WHY_CERT_PURPOSE, CERT(WRONG_PURPOSE) },
	{ WHY_CERT_TAMPERED, CERT(BAD_SIGNATURE) },
	{ WHY_CERT_WEAK, CERT(BAD_SIGNATURE, .reason = TLS_REASON_WEAK) },
	{ WHY_CERT_MALFORMED, TLS(MALFORMED_CERT) },
	{ WHY_CERT_NO_PROOF, TLS(NO_PROOF) },
	{ WHY_CERT_UNMAPPED, CAUSE(LOGIN, .verdict = TLS_VERDICT_UNMAPPED) },
	{ WHY_CERT_AMBIGUOUS, CAUSE(LOGIN, .verdict = TLS_VERDICT_UNMAPPED, .flags = REC_F_AMBIGUOUS) },
	{ WHY_CERT_CHANGED, TLS_IN(REHANDSHAKE, CHANGED, .flags = REC_F_HELLO) },
	{ WHY_LIVE_REVOKED, CAUSE(DISTRUSTED, .verdict = TLS_VERDICT_REVOKED) },
	{ WHY_LIVE_EXPIRED, CAUSE(DISTRUSTED, .verdict = TLS_VERDICT_EXPIRED) },
	{ WHY_LIVE_DISTRUSTED, CAUSE(DISTRUSTED, .verdict = TLS_VERDICT_EXPIRED, .reason = TLS_REASON_ABOVE) },
	{ WHY_LIVE_DISTRUSTED, CAUSE(DISTRUSTED, .verdict = TLS_VERDICT_UNKNOWN_CA) },
	{ WHY_LIVE_UNMAPPED, CAUSE(DISTRUSTED, .verdict = TLS_VERDICT_TRUSTED) },
	{ WHY_LIVE_USER_GONE, CAUSE(USER_GONE) },
	{ WHY_LIVE_PASSWORD, CAUSE(PASSWORD_CHANGED) },
	{ WHY_NO_VERSION, TLS(VERSION) },
	{ WHY_NO_CIPHER, TLS(CIPHER) },
	{ WHY_NO_SIGNATURE, TLS(SIGNATURE) },
	{ WHY_NO_GROUP, TLS(GROUP) },
	{ WHY_NO_PROTOCOL, TLS(ALPN) },
	{ WHY_NAME_UNKNOWN, TLS(SNI) },
	{ WHY_NAME_UNKNOWN, TLS_IN(HANDSHAKE, ALERT, .flags = REC_F_HELLO | REC_F_OTHER_NAME, .alert_got = 42) },
	{ WHY_FALLBACK, TLS(FALLBACK) },
	{ WHY_ALERT_CLOSE, ALERT(0) },
	{ WHY_ALERT_UNEXPECTED, ALERT(10) },
	{ WHY_ALERT_BAD_MAC, ALERT(20) },
	{ WHY_ALERT_OVERFLOW, ALERT(22) },
	{ WHY_ALERT_HANDSHAKE, ALERT(40) },
	{ WHY_ALERT_BAD_CERT, ALERT(42) },
	{ WHY_ALERT_UNSUPPORTED_CERT, ALERT(43) },
	{ WHY_ALERT_REVOKED, ALERT(44) },
	{ WHY_ALERT_EXPIRED, ALERT(45) },
	{ WHY_ALERT_UNKNOWN_CERT, ALERT(46) },
	{ WHY_ALERT_ILLEGAL, ALERT(47) },
	{ WHY_ALERT_UNKNOWN_CA, ALERT(48) },
	{ WHY_ALERT_ACCESS, ALERT(49) },
	{ WHY_ALERT_DECODE, ALERT(50) },
	{ WHY_ALERT_DECRYPT, ALERT(51) },
	{ WHY_ALERT_VERSION, ALERT(70) },
	{ WHY_ALERT_SECURITY, ALERT(71) },
	{ WHY_ALERT_INTERNAL, ALERT(80) },
	{ WHY_ALERT_CANCELED, ALERT(90) },
	{ WHY_ALERT_EXTENSION, ALERT(109) },
	{ WHY_ALERT_EXTENSION, ALERT(110) },
	{ WHY_ALERT_NAME, ALERT(112) },
	{ WHY_ALERT_OCSP, ALERT(113) },
	{ WHY_ALERT_ALPN, ALERT(120) },
	{ WHY_ALERT_OTHER, ALERT(60) },
	{ WHY_ALERT_OTHER, ALERT(255) },
	{ WHY_HTTP_ON_TLS, TLS_IN(HANDSHAKE, VERSION, AT_ONCE, .tls_first = REC_OCTETS_HTTP) },
	{ WHY_PLAIN_AFTER_STARTTLS, TLS_IN(HANDSHAKE, VERSION, REQUIRED, .tls_first = REC_OCTETS_HTTP) },
	{ WHY_PLAIN_ON_TLS, TLS_IN(HANDSHAKE, UNEXPECTED, AT_ONCE, .tls_first = REC_OCTETS_TEXT) },
	{ WHY_PLAIN_ON_TLS, CAUSE(LATE, AT_ONCE, .tls_first = REC_OCTETS_TEXT, .phase = REC_PHASE_HANDSHAKE) },
	{ WHY_PLAIN_AFTER_STARTTLS, TLS_IN(HANDSHAKE, UNEXPECTED, REQUIRED, .tls_first = REC_OCTETS_TEXT) },
	{ WHY_NOT_TLS, TLS_IN(HANDSHAKE, UNEXPECTED, AT_ONCE, .tls_first = REC_OCTETS_SSH) },
	{ WHY_NOT_TLS, TLS_IN(HANDSHAKE, VERSION, AT_ONCE, .tls_first = REC_OCTETS_OTHER) },
	{ WHY_NOT_TLS, TLS(NOT_TLS) },
	{ WHY_HTTP_ON_PLAIN, CAUSE(ERRORS, REQUIRED, .plain_first = REC_OCTETS_HTTP) },
	{ WHY_HTTP_ON_PLAIN, CAUSE(END_OF_FILE, REQUIRED, .plain_first = REC_OCTETS_HTTP) },
	{ WHY_TLS_ON_PLAIN, CAUSE(IDLE, REQUIRED, .plain_first = REC_OCTETS_TLS) },
	{ WHY_TLS_ON_PLAIN, CAUSE(RESET, REQUIRED, .plain_first = REC_OCTETS_TLS) },
	{ WHY_IDLE, CAUSE(IDLE, .mode = REC_MODE_PLAIN, .plain_first = REC_OCTETS_TLS) },
	{ WHY_INJECTION, CAUSE(INJECTION) },
	{ WHY_NEVER_STARTTLS, CAUSE(NONE, REQUIRED, .plain_first = REC_OCTETS_TEXT, .flags = REC_F_NEEDS_TLS) },
	{ WHY_NEVER_STARTTLS, CAUSE(END_OF_FILE, REQUIRED, .plain_first = REC_OCTETS_TEXT, .flags = REC_F_NEEDS_TLS) },
	{ WHY_NOTHING, CAUSE(NONE, REQUIRED, .plain_first = REC_OCTETS_TEXT,
		.flags = REC_F_NEEDS_TLS | REC_F_SECURED) },
	{ WHY_NOTHING, CAUSE(NONE, REQUIRED, .plain_first = REC_OCTETS_TEXT, .flags = REC_F_NEEDS_TLS | REC_F_OPEN) },
	{ WHY_SAID_NOTHING, CAUSE(END_OF_FILE, REQUIRED) },
	{ WHY_LEFT_PLAIN, CAUSE(END_OF_FILE, REQUIRED, .plain_first = REC_OCTETS_TEXT) },
	{ WHY_NOTHING, CAUSE(END_OF_FILE, .mode = REC_MODE_PLAIN, .plain_first = REC_OCTETS_TEXT) },
	{ WHY_NOTHING, CAUSE(END_OF_FILE, REQUIRED, .flags = REC_F_SECURED) },
	{ WHY_NO_HELLO, CAUSE(LATE, .phase = REC_PHASE_HANDSHAKE) },
	{ WHY_SLOW_HELLO, CAUSE(LATE, .phase = REC_PHASE_HANDSHAKE, .tls_first = REC_OCTETS_TLS) },
	{ WHY_STALLED, CAUSE(LATE, .phase = REC_PHASE_HANDSHAKE, .flags = REC_F_HELLO) },
	{ WHY_STALLED, CAUSE(LATE, .phase = REC_PHASE_REHANDSHAKE) },
	{ WHY_CLOSED_BEFORE, TLS_IN(HANDSHAKE, CLOSED, AT_ONCE) },
	{ WHY_CLOSED_WITHIN, TLS(CLOSED) },
	{ WHY_CLOSED_WITHIN, TLS_IN(REHANDSHAKE, CLOSED) },
	{ WHY_RESET_WITHIN, TLS(RESET) },
	{ WHY_RESET_WITHIN, CAUSE(RESET, .phase = REC_PHASE_HANDSHAKE) },
	{ WHY_RESET, TLS_IN(SECURE, RESET) },
	{ WHY_RESET, CAUSE(RESET, .phase = REC_PHASE_SECURE) },
	{ WHY_TRUNCATED, CAUSE(TRUNCATED) },
	{ WHY_TRUNCATED, TLS_IN(SECURE, CLOSED) },
	{ WHY_NOT_READING, CAUSE(NOT_READING) },
	{ WHY_BAD_MAC, TLS_IN(SECURE, DECRYPT) },
	{ WHY_RECORD_OVERFLOW, TLS_IN(SECURE, RECORD_OVERFLOW) },
	{ WHY_TOO_LARGE, TLS(TOO_LARGE) },
	{ WHY_MALFORMED, TLS(MALFORMED) },
	{ WHY_UNEXPECTED, TLS(UNEXPECTED) },
	{ WHY_ILLEGAL, TLS(ILLEGAL) },
	{ WHY_FINISHED, TLS(FINISHED) },
	{ WHY_RENEGOTIATION_OFF, CAUSE(RENEGOTIATION_OFF) },
	{ WHY_RENEGOTIATION_RATE, CAUSE(RENEGOTIATION_RATE) },
	{ WHY_RENEGOTIATION_INSECURE, CAUSE(RENEGOTIATION_INSECURE) },
	{ WHY_KEY_UPDATES, CAUSE(KEY_UPDATES) },
	{ WHY_RESTARTS, CAUSE(RESTARTS) },
	{ WHY_ERRORS, CAUSE(ERRORS, .phase = REC_PHASE_SECURE) },
	{ WHY_ERRORS, CAUSE(ERRORS, REQUIRED, .plain_first = REC_OCTETS_TEXT) },
	{ WHY_EARLY_TALKER, CAUSE(EARLY_TALKER, .plain_first = REC_OCTETS_TEXT) },
	{ WHY_HTTP_ON_PLAIN, CAUSE(EARLY_TALKER, .plain_first = REC_OCTETS_HTTP) },
	{ WHY_LOGINS, CAUSE(LOGINS) },
	{ WHY_TOO_MUCH, CAUSE(TOO_MUCH) },
	{ WHY_LINE_TOO_LONG, CAUSE(LINE_TOO_LONG, .phase = REC_PHASE_SECURE) },
	{ WHY_LIMIT_TOTAL, CAUSE(LIMIT_TOTAL) },
	{ WHY_LIMIT_SERVICE, CAUSE(LIMIT_SERVICE) },
	{ WHY_LIMIT_ADDRESS, CAUSE(LIMIT_ADDRESS) },
	{ WHY_PROGRAM_BUSY, CAUSE(PROGRAM_BUSY) },
	{ WHY_PROGRAM_FAILED, CAUSE(PROGRAM_FAILED) },
	{ WHY_PROGRAM_LOST, CAUSE(PROGRAM_LOST) },
	{ WHY_SLOW, CAUSE(SLOW) },
	{ WHY_NO_KEYHOLDER, CAUSE(NO_KEYHOLDER) },
	{ WHY_NOT_SIGNED, TLS(KEYHOLDER) },
	{ WHY_NO_MEMORY, CAUSE(NO_MEMORY) },
	{ WHY_NO_MEMORY, TLS(MEMORY) },
	{ WHY_IDLE, CAUSE(IDLE, .phase = REC_PHASE_SECURE) },
	{ WHY_GOODBYE, CAUSE(GOODBYE) },
	{ WHY_KILLED, CAUSE(KILLED) },
	{ WHY_INTERNAL, TLS(OTHER) },
	{ WHY_INTERNAL, TLS(NONE) },
	{ WHY_TICKET_OFF, CAUSE(TICKET, .ticket = REC_TICKET_OFF) },
	{ WHY_TICKET_FOREIGN, CAUSE(TICKET, .ticket = REC_TICKET_FOREIGN) },
	{ WHY_TICKET_OLD, CAUSE(TICKET, .ticket = REC_TICKET_OLD) },
	{ WHY_NOTHING, CAUSE(TICKET) },
	{ WHY_NOTHING, CAUSE(NONE) },
};

static void
test_judge(void)
{
	bool seen[WHY_COUNT] = { false };
	enum why_code got;
	size_t i;

	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		got = why_judge(&cases[i].facts);
		if (got != cases[i].code)
			fprintf(stderr, "case %zu: %d, expected %d\n", i, got, cases[i].code);
		CU_ASSERT_EQUAL(got, cases[i].code);
		seen[cases[i].code] = true;
	}
	for (i = 1; i < WHY_COUNT; i++) {
		if (!seen[i])
			fprintf(stderr, "no case leads to %s\n", why_row((enum why_code)i)->word);
		CU_ASSERT_TRUE(seen[i]);
	}
}

/* Any facts that pass rec_check() lead to a row: nothing asserts, nothing is out of a table. */
static void
test_any(void)
{
	struct rec r = { 0 };
	unsigned cause, fault, phase, verdict;

	for (cause = 0; cause < REC_CAUSE_COUNT; cause++)
		for (fault = 0; fault < TLS_FAULT_COUNT; fault++)
			for (phase = 0; phase < REC_PHASE_COUNT; phase++)
				for (verdict = 0; verdict < TLS_VERDICT_COUNT; verdict++) {
					r = (struct rec){ .cause = (uint8_t)cause, .fault = (uint8_t)fault,
						.phase = (uint8_t)phase, .verdict = (uint8_t)verdict };
					CU_ASSERT(why_judge(&r) < WHY_COUNT);
				}
}

static void
sentence(const struct rec *r, char out[WHY_SENTENCE_MAX + 1])
{
	struct buf b;

	buf_init(&b, WHY_SENTENCE_MAX);
	CU_ASSERT_EQUAL_FATAL(why_sentence_put(r, &b), 0);
	memcpy(out, buf_span(&b).p, buf_size(&b));
	out[buf_size(&b)] = '\0';
	buf_fini(&b);
}

static char sentences[WHY_COUNT][WHY_SENTENCE_MAX + 1];

static void
test_sentences(void)
{
	struct rec r = full();
	const struct why *a, *b;
	unsigned i, k;
	size_t n;

	for (i = 1; i < WHY_COUNT; i++) {
		r.code = (uint16_t)i;
		a = why_row((enum why_code)i);
		sentence(&r, sentences[i]);
		n = strlen(sentences[i]);
		CU_ASSERT(isupper((unsigned char)sentences[i][0]));
		CU_ASSERT_EQUAL(sentences[i][n - 1], '.');
		CU_ASSERT_NOT_EQUAL(sentences[i][n - 2], '.');
		CU_ASSERT_PTR_NULL(strstr(sentences[i], "  "));
		CU_ASSERT_PTR_NULL(strpbrk(sentences[i], "{}\n\t"));
		CU_ASSERT(islower((unsigned char)a->next[0]));
		/* it names somebody */
		CU_ASSERT(strstr(a->what, "lient") != NULL || strstr(a->what, "erver") != NULL ||
			  strstr(a->what, "onnection") != NULL || strstr(a->what, "ervice") != NULL);
		CU_ASSERT_EQUAL(strspn(a->word, "abcdefghijklmnopqrstuvwxyz-"), strlen(a->word));
		CU_ASSERT(a->level >= LOG_L_ERROR && a->level <= LOG_L_DEBUG);
		for (k = 1; k < i; k++) {
			b = why_row((enum why_code)k);
			CU_ASSERT_STRING_NOT_EQUAL(a->word, b->word);
			CU_ASSERT_STRING_NOT_EQUAL(a->what, b->what);
			CU_ASSERT_STRING_NOT_EQUAL(sentences[i], sentences[k]);
		}
	}
}

/* The longest of everything still fits. */
static void
test_longest(void)
{
	static char out[WHY_SENTENCE_MAX + 1];
	struct rec r;
	unsigned i;

	memset(&r, 'x', sizeof r);
	r.flags = REC_F_ALL;
	r.peer = (struct rec_addr){ .family = REC_IPV6 };
	r.version = r.offered_max = 5;
	r.offered_min = 4;
	r.tls_first = REC_OCTETS_OTHER;
	r.cause = REC_CAUSE_LOGIN;
	r.nserial = r.nsteps = 0;
	r.service[sizeof r.service - 1] = r.subject[sizeof r.subject - 1] = r.issuer[sizeof r.issuer - 1] =
		r.sans[sizeof r.sans - 1] = r.user[sizeof r.user - 1] = r.sni[sizeof r.sni - 1] = r.domain[sizeof r.domain - 1] = r.alpn[sizeof r.alpn - 1] = '\0';
	for (i = 1; i < WHY_COUNT; i++) {
		r.code = (uint16_t)i;
		sentence(&r, out);
	}
}

static void
test_read_aloud(void)
{
	static const struct {
		enum why_code code;
		uint8_t cause;
		uint32_t flags;
		const char *begins;
	} some[] = {
		{ WHY_CERT_EXPIRED, REC_CAUSE_TLS, REC_F_ALERT_SENT, "The client's certificate CN=alice expired on 4 November "
			"2023, 10 days before this connection, so the server refused it (alert 45); renew it" },
		{ WHY_CERT_EXPIRED, REC_CAUSE_LOGIN, 0, "The client's certificate CN=alice expired on 4 November 2023, 10 "
			"days before this connection, so the session went on with nobody logged in; renew it" },
		{ WHY_CERT_EXPIRED, REC_CAUSE_TLS, REC_F_ALERT_SENT | REC_F_RESUMED, "The client's certificate CN=alice "
			"expired on 4 November 2023, 10 days before this connection, so the server did not resume its "
			"session (alert 45); renew it" },
		{ WHY_CERT_FUTURE, REC_CAUSE_TLS, 0, "The client's certificate CN=alice is valid only from 17 November 2023 "
			"on, 3 days after this connection, so" },
		{ WHY_CERT_REVOKED, REC_CAUSE_TLS, 0, "The client's certificate CN=alice was revoked by its CA on 14 November "
			"2023, 5 hours before this connection, so" },
		{ WHY_NO_VERSION, REC_CAUSE_TLS, 0, "The client speaks no version of TLS that is allowed here: it offers TLS "
			"1.1 at most, and service submission allows only TLS 1.2;" },
		{ WHY_ALERT_OTHER, REC_CAUSE_TLS, 0, "The client ended the connection with alert 48: unknown_ca;" },
		{ WHY_RENEGOTIATION_RATE, REC_CAUSE_TLS, 0, "The client asked for new handshakes within its session "
			"(renegotiation) more often than 30 times in 10 minutes;" },
		{ WHY_LIMIT_ADDRESS, REC_CAUSE_TLS, 0, "Address 192.0.2.7 has 30 connections to service submission," },
	};
	char out[WHY_SENTENCE_MAX + 1];
	struct rec r;
	size_t i;

	for (i = 0; i < sizeof some / sizeof some[0]; i++) {
		r = full();
		r.code = (uint16_t)some[i].code;
		r.cause = some[i].cause;
		r.flags = some[i].flags;
		sentence(&r, out);
		if (strncmp(out, some[i].begins, strlen(some[i].begins)) != 0)
			fprintf(stderr, "%s\n%s\n", out, some[i].begins);
		CU_ASSERT_EQUAL(strncmp(out, some[i].begins, strlen(some[i].begins)), 0);
	}
}

static void
test_kinds(void)
{
	struct rec r = { .code = WHY_CERT_EXPIRED, .cause = REC_CAUSE_TLS };

	CU_ASSERT_EQUAL(why_kind(&r), WHY_FAILED);
	r.cause = REC_CAUSE_LOGIN;
	CU_ASSERT_EQUAL(why_kind(&r), WHY_LOGIN);
	r.code = WHY_IDLE;
	CU_ASSERT_EQUAL(why_kind(&r), WHY_ENDED);
	CU_ASSERT(WHY_NOTE < WHY_ENDED && WHY_ENDED < WHY_LOGIN && WHY_LOGIN < WHY_FAILED);
}

static void
test_spans(void)
{
	static const struct {
		uint64_t s;
		const char *text;
	} spans[] = { { 0, "0 seconds" }, { 1, "1 second" }, { 119, "119 seconds" }, { 120, "2 minutes" },
		{ 7199, "119 minutes" }, { 7200, "2 hours" }, { 2 * 86400, "2 days" }, { 59 * 86400, "59 days" },
		{ 61 * 86400, "2 months" }, { 731 * 86400, "2 years" }, { UINT64_MAX, "584554049253 years" } };
	char out[WHY_SPAN_MAX], date[WHY_DATE_MAX];
	size_t i;

	for (i = 0; i < sizeof spans / sizeof spans[0]; i++)
		CU_ASSERT_STRING_EQUAL(why_span_text(spans[i].s, out), spans[i].text);
	CU_ASSERT_STRING_EQUAL(why_date_text(0, date), "1 January 1970");
	CU_ASSERT_STRING_EQUAL(why_date_text(1580515200, date), "1 February 2020");
	CU_ASSERT_STRING_EQUAL(why_date_text(INT64_MAX, date), "a day out of all calendars");
	CU_ASSERT_STRING_EQUAL(why_date_text(INT64_MIN, date), "a day out of all calendars");
}

static const struct test_row rows[] = {
	{ "facts to codes", test_judge },
	{ "any facts", test_any },
	{ "sentences", test_sentences },
	{ "the longest", test_longest },
	{ "read aloud", test_read_aloud },
	{ "kinds", test_kinds },
	{ "spans and dates", test_spans },
};
TEST_MAIN("rec/why", rows)
