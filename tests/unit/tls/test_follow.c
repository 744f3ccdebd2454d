/* unit/tls/test_follow.c - a session that lives on when its credential set was replaced: it is judged by the new one,
 * and the old one is freed as soon as nothing of it can be needed. Worth running under valgrind: GnuTLS borrows. */
#include "test.h"
#include "duet.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DAY_S 86400L

static struct pki *ca, *ca_2, *server, *server_2, *alice, *alice_2, *brief, *nobody;
static struct duet_signer signer;
static char *server_pem, *server_2_pem, *ca_pem, *ca_2_pem, *both_pem;
static struct duet duet;
static unsigned gone[8]; /* times, by generation */

static struct pki *
leaf(long to_s, const struct pki *issuer)
{
	return pki_new(&(struct pki_spec){ .cn = "alice", .purpose = GNUTLS_KP_TLS_WWW_CLIENT,
		.email = "alice@example.org", .from_s = -DAY_S, .to_s = to_s }, issuer);
}

static void
test_begin(void)
{
	ca = pki_new(&(struct pki_spec){ .cn = "one", .ca = true }, NULL);
	ca_2 = pki_new(&(struct pki_spec){ .cn = "two", .ca = true }, NULL);
	server = pki_new(&(struct pki_spec){ .cn = "server.example.org" }, ca);
	server_2 = pki_new(&(struct pki_spec){ .cn = "server.example.org" }, ca);
	alice = leaf(DAY_S, ca);
	alice_2 = leaf(DAY_S, ca_2);
	server_pem = duet_add_key(&signer, server, ca);
	server_2_pem = duet_add_key(&signer, server_2, ca);
	ca_pem = pki_cert_pem(ca);
	ca_2_pem = pki_cert_pem(ca_2);
	both_pem = pki_join(pki_cert_pem(ca), pki_cert_pem(ca_2), NULL);
}

static void
test_end(void)
{
	struct pki **all[] = { &ca, &ca_2, &server, &server_2, &alice, &alice_2, &brief };
	size_t i;

	for (i = 0; i < PT_COUNT(all); i++)
		pki_free(all[i]);
	duet_signer_fini(&signer);
	free(server_pem);
	free(server_2_pem);
	free(ca_pem);
	free(ca_2_pem);
	free(both_pem);
}

static void
on_gone(void *arg, uint64_t generation)
{
	CU_ASSERT_PTR_EQUAL(arg, gone);
	gone[generation]++;
}

/* key: the number of the server's certificate. */
static struct tls_cred *
set(uint64_t generation, uint32_t key, const char *cas, const struct tls_cred *before)
{
	const struct tls_chain chain = { span_str(key == 0 ? server_pem : server_2_pem), key };
	const struct tls_ca_file file = { span_str(cas), "ca.pem" };
	const struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3,
		.client_cert = TLS_CLIENT_CERT_REQUEST, .chains = &chain, .nchains = 1, .cas = &file,
		.ncas = 1, .generation = generation, .sign = duet_sign, .sign_arg = &signer,
		.before = before, .gone = on_gone, .gone_arg = gone };
	struct tls_cred *cred;
	struct diag diag = { "" };

	if (tls_cred_new(&conf, &cred, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	return cred;
}

/* A session of generation 1, to which nobody but it has a reference. */
static void
begin(const struct pki *cert, bool tls13, const char *cas)
{
	struct tls_cred *cred = set(1, 0, cas, NULL);

	memset(gone, 0, sizeof gone);
	duet_init(&duet, cred, tls13 ? DUET_TLS13 : DUET_TLS12, cert, NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_TRUE(tls_session_judged_by(duet.server, cred));
	tls_cred_unref(&cred);
	CU_ASSERT_EQUAL(gone[1], 0);
}

static void
talk(void)
{
	uint8_t octets[16];
	size_t n;

	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "x", 1), 1);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_OK);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("y"), &n), TLS_OK);
	CU_ASSERT_EQUAL(duet_client_recv(&duet, octets, sizeof octets), 1);
}

/* TLS 1.2. *generation_out: of the key that signed. */
static enum tls_status
renegotiate(bool verify_again)
{
	uint8_t octets[16];
	enum tls_status status = TLS_WANT_READ;
	size_t n;
	int rc, i;

	CU_ASSERT_EQUAL_FATAL(gnutls_handshake(duet.client), GNUTLS_E_AGAIN);
	CU_ASSERT_EQUAL_FATAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_RENEGOTIATE);
	CU_ASSERT_TRUE_FATAL(tls_session_renegotiate(duet.server, verify_again));
	for (i = 0, rc = GNUTLS_E_AGAIN; i < 32; i++) {
		if (status == TLS_WANT_READ || status == TLS_WANT_WRITE)
			status = tls_session_handshake(duet.server);
		if (rc == GNUTLS_E_AGAIN)
			rc = gnutls_handshake(duet.client);
	}
	return status;
}

static const struct {
	struct pki **client;
	char **before, **now; /* CAs */
	enum tls_verdict first, then;
} rows[] = {
	{ &alice, &ca_pem, &ca_pem, TLS_VERDICT_TRUSTED, TLS_VERDICT_TRUSTED },
	{ &alice, &both_pem, &ca_pem, TLS_VERDICT_TRUSTED, TLS_VERDICT_TRUSTED },
	{ &alice, &ca_pem, &both_pem, TLS_VERDICT_TRUSTED, TLS_VERDICT_TRUSTED },
	{ &alice, &both_pem, &ca_2_pem, TLS_VERDICT_TRUSTED, TLS_VERDICT_UNKNOWN_CA },
	{ &alice_2, &both_pem, &ca_pem, TLS_VERDICT_TRUSTED, TLS_VERDICT_UNKNOWN_CA },
	/* who was not trusted stays so, and must come again: a renegotiation makes nobody of a session somebody */
	{ &alice_2, &ca_pem, &both_pem, TLS_VERDICT_UNKNOWN_CA, TLS_VERDICT_UNKNOWN_CA },
	{ &nobody, &ca_pem, &both_pem, TLS_VERDICT_NONE, TLS_VERDICT_NONE },
};

static void
follow(size_t i, bool tls13, uint32_t key)
{
	struct tls_cred *now = set(2, key, *rows[i].now, NULL);

	begin(*rows[i].client, tls13, *rows[i].before);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, rows[i].first);
	CU_ASSERT_FALSE(tls_session_judged_by(duet.server, now));
	CU_ASSERT_EQUAL(tls_session_judge(duet.server, now), rows[i].then);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, rows[i].then);
	CU_ASSERT_TRUE(tls_session_judged_by(duet.server, now));
	tls_cred_unref(&now);
	/* of the old one only a certificate that is not in the new one can be needed */
	CU_ASSERT_EQUAL(gone[1], key == 0);
	CU_ASSERT_EQUAL(gone[2], 0);
	talk();
	if (!tls13 && rows[i].first == TLS_VERDICT_UNKNOWN_CA) {
		CU_ASSERT_EQUAL(renegotiate(true), TLS_FAILED);
		CU_ASSERT_TRUE(tls_session_failure(duet.server)->changed);
		duet_fini(&duet);
		return;
	}
	if (!tls13) {
		CU_ASSERT_EQUAL(renegotiate(true), TLS_OK); /* the same certificate with the same verdict */
		CU_ASSERT_EQUAL(signer.generation, key == 0 ? 2 : 1);
		CU_ASSERT_EQUAL(signer.key, 0);
		CU_ASSERT_EQUAL(renegotiate(false), TLS_OK);
		CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, rows[i].then);
		talk();
	}
	/* and a third, with the first key again */
	now = set(3, 0, *rows[i].before, NULL);
	(void)tls_session_judge(duet.server, now);
	tls_cred_unref(&now);
	CU_ASSERT_EQUAL(gone[1], 1);
	CU_ASSERT_EQUAL(gone[2], 1);
	talk();
	duet_fini(&duet);
	CU_ASSERT_EQUAL(gone[3], 1);
}

static void
test_rows(void)
{
	size_t i;
	uint32_t key;

	for (i = 0; i < PT_COUNT(rows); i++)
		for (key = 0; key < 2; key++) {
			follow(i, false, key);
			follow(i, true, key);
		}
}

/* What was verified under the same CAs is not verified again, under others it is. */
static void
test_known(void)
{
	struct tls_cred *one = set(1, 0, ca_pem, NULL), *same = set(2, 1, ca_pem, one),
			*other = set(3, 0, both_pem, one);

	duet_init(&duet, one, DUET_TLS13, alice, NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_FALSE(tls_session_facts(duet.server)->known);
	tls_cred_unref(&one);
	CU_ASSERT_EQUAL(tls_session_judge(duet.server, same), TLS_VERDICT_TRUSTED);
	CU_ASSERT_TRUE(tls_session_facts(duet.server)->known);
	CU_ASSERT_EQUAL(tls_session_judge(duet.server, other), TLS_VERDICT_TRUSTED);
	CU_ASSERT_FALSE(tls_session_facts(duet.server)->known);
	duet_fini(&duet);
	/* a cache outlives the set that it began with */
	duet_init(&duet, same, DUET_TLS12, alice, NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_TRUE(tls_session_facts(duet.server)->known);
	duet_fini(&duet);
	tls_cred_unref(&same);
	tls_cred_unref(&other);
}

/* Until when the verdict holds by the clock, and what it is then. */
static void
test_clock(void)
{
	time_t end = time(NULL) + 3;
	int64_t until;

	brief = leaf(3, ca);
	begin(alice, true, ca_pem);
	until = tls_session_facts(duet.server)->trusted_until_s;
	CU_ASSERT_TRUE(until > time(NULL) + DAY_S / 2 && until <= time(NULL) + DAY_S);
	duet_fini(&duet);
	begin(brief, true, ca_pem);
	if (tls_session_facts(duet.server)->verdict == TLS_VERDICT_TRUSTED) { /* else: a machine that stood still */
		struct tls_cred *now = set(2, 1, ca_pem, NULL);

		until = tls_session_facts(duet.server)->trusted_until_s;
		CU_ASSERT_TRUE(until >= end && until <= end + 3600);
		while (time(NULL) <= until)
			usleep(100000);
		CU_ASSERT_EQUAL(tls_session_judge(duet.server, now), TLS_VERDICT_EXPIRED);
		tls_cred_unref(&now);
	}
	duet_fini(&duet);
}

static const struct test_row tests[] = {
	{ "keys and certificates", test_begin },
	{ "every change of CAs, with the same key and another", test_rows },
	{ "what is known", test_known },
	{ "the clock", test_clock },
	{ "the end", test_end },
};
TEST_MAIN("tls/follow", tests)
