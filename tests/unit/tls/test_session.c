/* unit/tls/test_session.c - a server session against a GnuTLS client, over memory: every mode with every kind of
 * certificate in both versions, and what a peer can do wrong. */
#include "test.h"
#include "duet.h"

#include <stdlib.h>
#include <string.h>

#define CLIENT_PURPOSE GNUTLS_KP_TLS_WWW_CLIENT
#define DAY_S 86400L

enum kind { /* of client certificate */
	ABSENT, TRUSTED, TRUSTED_RSA, TRUSTED_ED25519, NO_PURPOSE, VIA_INTERMEDIATE, NO_INTERMEDIATE,
	UNKNOWN_CA, SELF_SIGNED, EXPIRED, NOT_YET_VALID, WRONG_PURPOSE, TAMPERED, NAME_VIOLATION,
	NAME_PERMITTED, EXPIRED_INTERMEDIATE, ISSUER_NO_CA, KIND_COUNT
};

static struct pki *ca, *foreign_ca, *inter, *old_inter, *narrow, *no_ca, *server;
static struct pki *client[KIND_COUNT];
static const struct pki *chains[KIND_COUNT][3];
static struct duet_signer signer;
static char *server_pem, *ca_pem;

static struct pki *
leaf(struct pki_spec s, const struct pki *issuer)
{
	s.cn = "alice";
	s.email = s.email != NULL ? s.email : "alice@example.org";
	return pki_new(&s, issuer);
}

#define LEAF(issuer, ...) leaf((struct pki_spec){ .purpose = CLIENT_PURPOSE, __VA_ARGS__ }, issuer)
#define CA(issuer, ...) pki_new(&(struct pki_spec){ .ca = true, __VA_ARGS__ }, issuer)

static void
test_begin(void)
{
	ca = CA(NULL, .cn = "our CA");
	foreign_ca = CA(NULL, .cn = "foreign CA");
	inter = CA(ca, .cn = "intermediate CA");
	old_inter = CA(ca, .cn = "old CA", .from_s = -2 * DAY_S, .to_s = -DAY_S);
	narrow = CA(ca, .cn = "narrow CA", .permitted_email = "example.com");
	no_ca = LEAF(ca, .cn = NULL);
	server = pki_new(&(struct pki_spec){ .cn = "server.example.org" }, ca);
	client[TRUSTED] = LEAF(ca, .cn = NULL);
	client[TRUSTED_RSA] = LEAF(ca, .kind = PKI_RSA);
	client[TRUSTED_ED25519] = LEAF(ca, .kind = PKI_ED25519);
	client[NO_PURPOSE] = leaf((struct pki_spec){ .purpose = NULL }, ca);
	client[VIA_INTERMEDIATE] = LEAF(inter, .cn = NULL);
	client[NO_INTERMEDIATE] = LEAF(inter, .cn = NULL);
	client[UNKNOWN_CA] = LEAF(foreign_ca, .cn = NULL);
	client[SELF_SIGNED] = LEAF(NULL, .cn = NULL);
	client[EXPIRED] = LEAF(ca, .from_s = -2 * DAY_S, .to_s = -60);
	client[NOT_YET_VALID] = LEAF(ca, .from_s = 3600, .to_s = DAY_S);
	client[WRONG_PURPOSE] = leaf((struct pki_spec){ .purpose = GNUTLS_KP_TLS_WWW_SERVER }, ca);
	client[TAMPERED] = LEAF(ca, .cn = NULL);
	pki_tamper(client[TAMPERED]);
	client[NAME_VIOLATION] = LEAF(narrow, .cn = NULL);
	client[NAME_PERMITTED] = LEAF(narrow, .email = "alice@example.com");
	client[EXPIRED_INTERMEDIATE] = LEAF(old_inter, .cn = NULL);
	client[ISSUER_NO_CA] = LEAF(no_ca, .cn = NULL);
	chains[VIA_INTERMEDIATE][0] = inter;
	chains[UNKNOWN_CA][0] = foreign_ca;
	chains[NAME_VIOLATION][0] = chains[NAME_PERMITTED][0] = narrow;
	chains[EXPIRED_INTERMEDIATE][0] = old_inter;
	chains[ISSUER_NO_CA][0] = no_ca;
	server_pem = duet_add_key(&signer, server, ca);
	ca_pem = pki_cert_pem(ca);
}

static void
test_end(void)
{
	size_t i;

	for (i = 0; i < KIND_COUNT; i++)
		pki_free(&client[i]);
	pki_free(&ca);
	pki_free(&foreign_ca);
	pki_free(&inter);
	pki_free(&old_inter);
	pki_free(&narrow);
	pki_free(&no_ca);
	pki_free(&server);
	duet_signer_fini(&signer);
	free(server_pem);
	free(ca_pem);
}

static struct tls_cred *
cred_for(enum tls_client_cert mode)
{
	const struct tls_chain chain = { span_str(server_pem), 0 };
	const struct tls_ca_file file = { span_str(ca_pem), "ca.pem" };
	const struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3,
		.client_cert = mode, .chains = &chain, .nchains = 1, .cas = &file, .ncas = 1,
		.generation = 42, .sign = duet_sign, .sign_arg = &signer };
	struct tls_cred *cred;
	struct diag diag = { "" };

	if (tls_cred_new(&conf, &cred, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	return cred;
}

/* Both sides with a certificate of that kind; the credential set goes with the session. */
static void
begin(struct duet *d, enum tls_client_cert mode, enum kind kind, bool tls13)
{
	struct tls_cred *cred = cred_for(mode);

	duet_init(d, cred, tls13 ? DUET_TLS13 : DUET_TLS12, client[kind], chains[kind], NULL);
	tls_cred_unref(&cred);
}

static struct duet duet; /* large */

static void
established(struct duet *d, bool tls13)
{
	begin(d, TLS_CLIENT_CERT_REQUEST, TRUSTED, tls13);
	duet_handshake(d);
	CU_ASSERT_EQUAL_FATAL(d->status, TLS_OK);
	CU_ASSERT_EQUAL_FATAL(d->client_rc, 0);
}

/* --- modes and certificates ------------------------------------------------------------------- */

static const struct {
	enum kind kind;
	const char *name;
	enum tls_verdict verdict;
} kinds[] = {
	{ ABSENT, "none", TLS_VERDICT_NONE },
	{ TRUSTED, "trusted", TLS_VERDICT_TRUSTED },
	{ TRUSTED_RSA, "trusted, RSA", TLS_VERDICT_TRUSTED },
	{ TRUSTED_ED25519, "trusted, Ed25519", TLS_VERDICT_TRUSTED },
	{ NO_PURPOSE, "for any purpose", TLS_VERDICT_TRUSTED },
	{ VIA_INTERMEDIATE, "via an intermediate CA", TLS_VERDICT_TRUSTED },
	{ NO_INTERMEDIATE, "intermediate CA not sent", TLS_VERDICT_UNKNOWN_CA },
	{ UNKNOWN_CA, "unknown CA", TLS_VERDICT_UNKNOWN_CA },
	{ SELF_SIGNED, "self-signed", TLS_VERDICT_UNKNOWN_CA },
	{ EXPIRED, "expired", TLS_VERDICT_EXPIRED },
	{ NOT_YET_VALID, "not yet valid", TLS_VERDICT_NOT_YET_VALID },
	{ WRONG_PURPOSE, "of a server", TLS_VERDICT_WRONG_PURPOSE },
	{ TAMPERED, "tampered with", TLS_VERDICT_BAD_SIGNATURE },
	{ NAME_VIOLATION, "name not permitted", TLS_VERDICT_UNKNOWN_CA },
	{ NAME_PERMITTED, "name permitted", TLS_VERDICT_TRUSTED },
	{ EXPIRED_INTERMEDIATE, "intermediate CA expired", TLS_VERDICT_EXPIRED },
	{ ISSUER_NO_CA, "issued by a leaf", TLS_VERDICT_UNKNOWN_CA },
};

static void
check_one(enum tls_client_cert mode, size_t row, bool tls13)
{
	enum tls_verdict v = mode == TLS_CLIENT_CERT_NONE ? TLS_VERDICT_NONE : kinds[row].verdict;
	bool refused = (mode == TLS_CLIENT_CERT_REQUIRE && v != TLS_VERDICT_TRUSTED) ||
		(mode == TLS_CLIENT_CERT_OPTIONAL && v != TLS_VERDICT_TRUSTED && v != TLS_VERDICT_NONE);
	const struct tls_failure *f;
	const struct tls_facts *facts;
	unsigned alert, failures = CU_get_number_of_failures();
	char what[128];

	begin(&duet, mode, kinds[row].kind, tls13);
	duet_handshake(&duet);
	f = tls_session_failure(duet.server);
	if (refused) {
		alert = v == TLS_VERDICT_NONE && !tls13 ? 40 : tls_verdict_alert(v, 3);
		CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
		CU_ASSERT_EQUAL(f->verdict, v);
		CU_ASSERT_EQUAL(f->alert_sent, alert);
		CU_ASSERT_EQUAL(duet.client_alert, alert);
		CU_ASSERT_FALSE(tls_session_chain_from(duet.server, 0));
		CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK); /* nothing behind the alert */
	} else {
		CU_ASSERT_EQUAL(duet.status, TLS_OK);
		CU_ASSERT_EQUAL(duet.client_alert, 0);
		CU_ASSERT_EQUAL(f->verdict, TLS_VERDICT_TRUSTED);
		CU_ASSERT_EQUAL(f->alert_sent, 0);
	}
	if (duet.status == TLS_OK) {
		facts = tls_session_facts(duet.server);
		CU_ASSERT_EQUAL(facts->verdict, v);
		CU_ASSERT_STRING_EQUAL(facts->version, tls13 ? "TLS1.3" : "TLS1.2");
		CU_ASSERT_STRING_EQUAL(facts->cipher, "AES-128-GCM");
		CU_ASSERT_STRING_EQUAL(facts->group, "X25519");
		CU_ASSERT_FALSE(facts->resumed);
		CU_ASSERT_EQUAL(facts->subject != NULL, v != TLS_VERDICT_NONE);
		CU_ASSERT_EQUAL(facts->nsans, v != TLS_VERDICT_NONE);
	}
	CU_ASSERT_TRUE(tls_session_hello_seen(duet.server));
	if (CU_get_number_of_failures() != failures) {
		snprintf(what, sizeof what, "TLS 1.%d, mode %d, %s: status %d, client %d, alert %u",
			tls13 ? 3 : 2, mode, kinds[row].name, duet.status, duet.client_rc,
			duet.client_alert);
		fprintf(stderr, "\n%s\n", what);
	}
	duet_fini(&duet);
}

static void
test_matrix(void)
{
	size_t i;
	int mode, v;

	CU_ASSERT_EQUAL(PT_COUNT(kinds), KIND_COUNT);
	for (v = 0; v < 2; v++)
		for (mode = TLS_CLIENT_CERT_NONE; mode <= TLS_CLIENT_CERT_REQUIRE; mode++)
			for (i = 0; i < PT_COUNT(kinds); i++)
				check_one((enum tls_client_cert)mode, i, v == 1);
}

/* Whoever signs is asked by the number and the generation of the credential set. */
static void
test_signer(void)
{
	int v;

	for (v = 0; v < 2; v++) {
		begin(&duet, TLS_CLIENT_CERT_NONE, ABSENT, v == 1);
		signer.calls = 0;
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(duet.status, TLS_OK);
		CU_ASSERT_EQUAL(signer.calls, 1);
		CU_ASSERT_EQUAL(signer.generation, 42);
		CU_ASSERT_EQUAL(signer.key, 0);
		duet_fini(&duet);
		begin(&duet, TLS_CLIENT_CERT_NONE, ABSENT, v == 1);
		signer.rc = PT_EUNAVAIL; /* the keyholder is away */
		duet_handshake(&duet);
		signer.rc = 0;
		CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
		CU_ASSERT_EQUAL(duet.client_alert, 80);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_sent, 80);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->verdict, TLS_VERDICT_TRUSTED);
		duet_fini(&duet);
	}
}

/* --- octet by octet --------------------------------------------------------------------------- */

static void
test_drip(void)
{
	int v, i;

	for (v = 0; v < 2; v++) {
		begin(&duet, TLS_CLIENT_CERT_REQUIRE, TRUSTED, v == 1);
		CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_WANT_READ);
		for (i = 0; i < 8 && (duet.status != TLS_OK || duet.client_rc != 0); i++) {
			if (duet.client_rc != 0)
				duet.client_rc = gnutls_handshake(duet.client);
			if (i == 0)
				CU_ASSERT_FALSE(tls_session_hello_seen(duet.server));
			duet.to_server.hold = duet.to_server.len - duet.to_server.off;
			while (duet.to_server.hold > 0 && duet.status != TLS_OK) {
				CU_ASSERT_EQUAL_FATAL(duet.status, TLS_WANT_READ);
				duet.to_server.hold--;
				duet.status = tls_session_handshake(duet.server);
			}
			CU_ASSERT_TRUE(tls_session_hello_seen(duet.server));
		}
		CU_ASSERT_EQUAL(duet.status, TLS_OK);
		CU_ASSERT_EQUAL(duet.client_rc, 0);
		CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
		duet_fini(&duet);
	}
}

/* A transport that takes little at a time, in parts or all or nothing. */
static void
test_narrow_transport(void)
{
	int v, whole, i;

	for (v = 0; v < 2; v++)
		for (whole = 0; whole < 2; whole++) {
			begin(&duet, TLS_CLIENT_CERT_REQUIRE, TRUSTED, v == 1);
			duet.to_client.room = whole ? 1700 : 7;
			duet.to_client.whole = whole;
			for (i = 0; i < 4000 && (duet.status != TLS_OK || duet.client_rc != 0); i++) {
				if (duet.client_rc == GNUTLS_E_AGAIN)
					duet.client_rc = gnutls_handshake(duet.client);
				if (duet.status == TLS_WANT_READ || duet.status == TLS_WANT_WRITE)
					duet.status = tls_session_handshake(duet.server);
			}
			CU_ASSERT_EQUAL(duet.status, TLS_OK);
			CU_ASSERT_EQUAL(duet.client_rc, 0);
			duet_fini(&duet);
		}
}

/* --- records ---------------------------------------------------------------------------------- */

static void
test_records(void)
{
	static uint8_t data[100 * 1000], got[sizeof data];
	size_t sent, n, have;
	ssize_t r;
	int v;

	for (n = 0; n < sizeof data; n++)
		data[n] = (uint8_t)(n * 7 + n / 256);
	for (v = 0; v < 2; v++) {
		established(&duet, v == 1);
		/* from the client, in records of the largest size, read in pieces of 1,000 */
		for (sent = 0; sent < sizeof data; sent += (size_t)r) {
			r = gnutls_record_send(duet.client, data + sent, sizeof data - sent);
			CU_ASSERT_TRUE_FATAL(r > 0);
		}
		memset(got, 0, sizeof got);
		for (have = 0; have < sizeof data; have += n) {
			CU_ASSERT_EQUAL_FATAL(tls_session_recv(duet.server, got + have,
				sizeof data - have < 1000 ? sizeof data - have : 1000, &n), TLS_OK);
			CU_ASSERT_TRUE(n > 0);
		}
		CU_ASSERT_FALSE(tls_session_has_pending(duet.server));
		CU_ASSERT_EQUAL(memcmp(data, got, sizeof data), 0);
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, got, 1, &n), TLS_WANT_READ);
		CU_ASSERT_EQUAL(n, 0);
		/* to the client, at most one record in a call, through a narrow transport */
		duet.to_client.room = 20000;
		duet.to_client.whole = v == 0;
		memset(got, 0, sizeof got);
		for (sent = have = 0; have < sizeof data;) {
			if (sent < sizeof data) {
				switch (tls_session_send(duet.server,
					(struct span){ data + sent, sizeof data - sent }, &n)) {
				case TLS_OK:
					CU_ASSERT_TRUE(n > 0 && n <= TLS_RECORD_MAX);
					sent += n;
					break;
				case TLS_WANT_WRITE:
					CU_ASSERT_EQUAL(n, 0);
					break;
				default:
					CU_FAIL_FATAL("send failed");
				}
			}
			if ((r = gnutls_record_recv(duet.client, got + have, sizeof got - have)) > 0)
				have += (size_t)r;
			else
				CU_ASSERT_EQUAL_FATAL(r, GNUTLS_E_AGAIN);
		}
		CU_ASSERT_EQUAL(memcmp(data, got, sizeof data), 0);
		duet_fini(&duet);
	}
}

static void
test_pending(void)
{
	uint8_t octet;
	size_t n;

	established(&duet, true);
	CU_ASSERT_FALSE(tls_session_has_pending(duet.server));
	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "ab", 2), 2);
	CU_ASSERT_FALSE(tls_session_has_pending(duet.server)); /* on the wire, not decrypted */
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, &octet, 1, &n), TLS_OK);
	CU_ASSERT_TRUE(tls_session_has_pending(duet.server));
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, &octet, 1, &n), TLS_OK);
	CU_ASSERT_EQUAL(octet, 'b');
	CU_ASSERT_FALSE(tls_session_has_pending(duet.server));
	duet_fini(&duet);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void
test_close(void)
{
	uint8_t octets[64];
	size_t n;
	int v;

	for (v = 0; v < 2; v++) {
		established(&duet, v == 1);
		CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "last", 4), 4);
		CU_ASSERT_EQUAL(gnutls_bye(duet.client, GNUTLS_SHUT_WR), 0);
		/* plaintext behind it, in the same segment, is nobody's here */
		memcpy(duet.to_server.octets + duet.to_server.len, "NOOP\r\n", 6);
		duet.to_server.len += 6;
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_OK);
		CU_ASSERT_EQUAL(n, 4);
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_CLOSED);
		CU_ASSERT_EQUAL(n, 0);
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_CLOSED);
		CU_ASSERT_EQUAL(duet.to_server.len - duet.to_server.off, 6);
		/* our direction is still open */
		CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("answer"), &n), TLS_OK);
		CU_ASSERT_EQUAL(gnutls_record_recv(duet.client, octets, sizeof octets), 6);
		/* once, also when the transport is full at first */
		duet.to_client.room = 1;
		duet.to_client.octets[duet.to_client.len++] = 0;
		CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_WANT_WRITE);
		duet.to_client.len = duet.to_client.off = 0;
		duet.to_client.room = 0;
		CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
		n = duet.to_client.len;
		CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
		CU_ASSERT_EQUAL(duet.to_client.len, n);
		CU_ASSERT_EQUAL(gnutls_record_recv(duet.client, octets, sizeof octets), 0);
		duet_fini(&duet);
	}
}

static void
test_truncation(void)
{
	static const size_t cuts[] = { 0, 1, 4, 5, 6, 20 }; /* octets of a record that still come */
	uint8_t octets[64];
	size_t n, i, len;
	int v;

	for (v = 0; v < 2; v++) {
		for (i = 0; i < PT_COUNT(cuts); i++) {
			established(&duet, v == 1);
			CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "hello", 5), 5);
			duet.to_server.len = duet.to_server.off + cuts[i];
			duet.to_server.ended = true;
			len = duet.to_client.len;
			CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n),
				TLS_TRUNCATED);
			CU_ASSERT_EQUAL(n, 0);
			CU_ASSERT_EQUAL(duet.to_client.len, len); /* no alert to nobody */
			CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
			duet_fini(&duet);
			/* the same in the handshake */
			begin(&duet, TLS_CLIENT_CERT_NONE, ABSENT, v == 1);
			duet.client_rc = gnutls_handshake(duet.client);
			duet.to_server.len = duet.to_server.off + cuts[i];
			duet.to_server.ended = true;
			CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_TRUNCATED);
			CU_ASSERT_EQUAL(duet.to_client.len, 0);
			duet_fini(&duet);
		}
		established(&duet, v == 1);
		duet.to_server.broken = duet.to_client.broken = true; /* a reset */
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_FAILED);
		CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &n), TLS_FAILED);
		duet_fini(&duet);
	}
}

static void
test_garbage(void)
{
	static const struct {
		const char *name, *octets;
		size_t n;
	} rows[] = {
		{ "HTTP", "GET / HTTP/1.0\r\n\r\n", 18 },
		{ "a command", "NOOP\r\nQUIT\r\n", 12 },
		{ "zeros", "\0\0\0\0\0\0\0\0\0\0\0\0", 12 },
		{ "another record", "\x17\x03\x03\0\x05hello", 10 },
		{ "a short ClientHello", "\x16\x03\x01\0\x06\x01\0\0\x02\x03\x03", 11 },
		{ "a ClientHello of one octet", "\x16\x03\x01\0\x05\x01\0\0\x01\x03", 10 },
		{ "an empty handshake record", "\x16\x03\x01\0\0", 5 },
		{ "a ServerHello", "\x16\x03\x03\0\x04\x02\0\0\0", 9 },
		{ "a record that is too long", "\x16\x03\x01\xff\xff", 5 },
	};
	const struct tls_failure *f;
	enum tls_status status;
	uint8_t octets[64];
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++) {
		begin(&duet, TLS_CLIENT_CERT_NONE, ABSENT, true);
		memcpy(duet.to_server.octets, rows[i].octets, rows[i].n);
		duet.to_server.len = rows[i].n;
		/* the peer still listens: it is told, and nobody calls it truncated */
		status = tls_session_handshake(duet.server);
		f = tls_session_failure(duet.server);
		if (status != TLS_FAILED || f->alert_sent == 0 || duet.to_client.len == 0)
			fprintf(stderr, "\n%s: status %d, code %d, alert %u\n", rows[i].name, status,
				f->code, f->alert_sent);
		CU_ASSERT_EQUAL(status, TLS_FAILED);
		CU_ASSERT_TRUE(f->alert_sent != 0 && f->text != NULL);
		CU_ASSERT_TRUE(duet.to_client.len > 0);
		duet_fini(&duet);
	}
	/* a record that was changed on its way */
	established(&duet, true);
	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "hello", 5), 5);
	duet.to_server.octets[duet.to_server.len - 1] ^= 1;
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_FAILED);
	CU_ASSERT_EQUAL(duet_client_recv(&duet, octets, sizeof octets), GNUTLS_E_FATAL_ALERT_RECEIVED);
	CU_ASSERT_EQUAL(duet.client_alert, 20); /* bad_record_mac */
	duet_fini(&duet);
}

static void
test_client_alert(void)
{
	uint8_t octets[16];
	size_t n;
	int v;

	for (v = 0; v < 2; v++) {
		established(&duet, v == 1);
		gnutls_alert_send(duet.client, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR);
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_FAILED);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_got, 80);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_sent, 0);
		duet_fini(&duet);
	}
	/* Java's close() in TLS 1.3 begins with user_canceled: an orderly end, but of the connection */
	established(&duet, true);
	gnutls_alert_send(duet.client, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_CANCELED);
	CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
	duet_fini(&duet);
	/* in the handshake */
	begin(&duet, TLS_CLIENT_CERT_NONE, ABSENT, false);
	duet.client_rc = gnutls_handshake(duet.client);
	CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_WANT_READ);
	gnutls_alert_send(duet.client, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
	CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_FAILED);
	CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_got, 42);
	duet_fini(&duet);
}

static void
test_our_alert(void)
{
	uint8_t octets[16];
	size_t n;

	established(&duet, true);
	tls_session_alert(duet.server, 49);
	tls_session_alert(duet.server, 80); /* one is enough */
	CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_sent, 49);
	CU_ASSERT_EQUAL(duet_client_recv(&duet, octets, sizeof octets), GNUTLS_E_FATAL_ALERT_RECEIVED);
	CU_ASSERT_EQUAL(duet.client_alert, 49);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &n), TLS_FAILED);
	CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
	CU_ASSERT_EQUAL(duet.to_client.len, 0);
	duet_fini(&duet);
}

static void
test_renegotiation(void)
{
	uint8_t octets[16];
	size_t n;
	int rc;

	established(&duet, false);
	CU_ASSERT_EQUAL(gnutls_handshake(duet.client), GNUTLS_E_AGAIN);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_RENEGOTIATE);
	tls_session_refuse(duet.server);
	rc = gnutls_handshake(duet.client);
	CU_ASSERT_EQUAL(rc, GNUTLS_E_WARNING_ALERT_RECEIVED);
	CU_ASSERT_EQUAL(gnutls_alert_get(duet.client), GNUTLS_A_NO_RENEGOTIATION);
	CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
	CU_ASSERT_TRUE(duet.to_client.len > 0);
	duet_fini(&duet);
}

/* The client begins anew, with another certificate or none; the server takes it up. */
static void
renegotiate(struct duet *d, enum kind then, bool verify_again)
{
	uint8_t octets[16];
	size_t n;
	int i;

	gnutls_certificate_free_keys(d->client_cred);
	if (client[then] != NULL)
		CU_ASSERT_TRUE_FATAL(gnutls_certificate_set_x509_key(d->client_cred, &client[then]->crt, 1,
			client[then]->key) >= 0);
	d->client_rc = gnutls_handshake(d->client);
	CU_ASSERT_EQUAL_FATAL(d->client_rc, GNUTLS_E_AGAIN);
	CU_ASSERT_EQUAL_FATAL(tls_session_recv(d->server, octets, sizeof octets, &n), TLS_RENEGOTIATE);
	CU_ASSERT_TRUE_FATAL(tls_session_renegotiate(d->server, verify_again));
	d->status = TLS_WANT_READ;
	for (i = 0; i < 32; i++) {
		if (d->status == TLS_WANT_READ || d->status == TLS_WANT_WRITE)
			d->status = tls_session_handshake(d->server);
		if (d->client_rc == GNUTLS_E_AGAIN)
			d->client_rc = gnutls_handshake(d->client);
	}
}

/* The certificate and its verdict stay what they were, or the session ends with alert 49. */
static void
test_renegotiation_identity(void)
{
	static const struct {
		enum kind first, then;
		bool verify_again, goes_on;
	} rows[] = {
		{ TRUSTED, TRUSTED, false, true }, { TRUSTED, TRUSTED, true, true },
		{ ABSENT, ABSENT, false, true },   { ABSENT, ABSENT, true, true },
		{ EXPIRED, EXPIRED, true, true },  { UNKNOWN_CA, UNKNOWN_CA, true, true },
		/* not asked: nothing comes, nothing changes */
		{ TRUSTED, TRUSTED_RSA, false, true }, { TRUSTED, ABSENT, false, true },
		{ ABSENT, TRUSTED, false, true },
		{ TRUSTED, TRUSTED_RSA, true, false }, { TRUSTED, ABSENT, true, false },
		{ TRUSTED, UNKNOWN_CA, true, false },  { ABSENT, TRUSTED, true, false },
		{ ABSENT, EXPIRED, true, false },      { EXPIRED, TRUSTED, true, false },
	};
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUEST);
	const struct tls_facts *facts;
	uint8_t octets[16];
	char *subject;
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++) {
		duet_init(&duet, cred, DUET_TLS12, client[rows[i].first], NULL, NULL);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		facts = tls_session_facts(duet.server);
		subject = facts->subject != NULL ? strdup(facts->subject) : NULL;
		renegotiate(&duet, rows[i].then, rows[i].verify_again);
		CU_ASSERT_EQUAL(duet.status, rows[i].goes_on ? TLS_OK : TLS_FAILED);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->changed, !rows[i].goes_on);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_sent, rows[i].goes_on ? 0 : 49);
		facts = tls_session_facts(duet.server); /* those of the first handshake, whatever came */
		CU_ASSERT_EQUAL(facts->subject != NULL, subject != NULL);
		if (subject != NULL)
			CU_ASSERT_STRING_EQUAL(facts->subject, subject);
		free(subject);
		if (rows[i].goes_on) {
			CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "x", 1), 1);
			CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_OK);
			CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("y"), &n), TLS_OK);
			CU_ASSERT_EQUAL(duet_client_recv(&duet, octets, sizeof octets), 1);
		} else {
			CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("y"), &n), TLS_FAILED);
		}
		duet_fini(&duet);
	}
	tls_cred_unref(&cred);
}

/* What stands before the ClientHello is read before it; what is put between the messages of a handshake
 * ends the session. */
static void
test_renegotiation_data(void)
{
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUEST);
	uint8_t octets[16];
	size_t n;

	duet_init(&duet, cred, DUET_TLS12, client[TRUSTED], NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "x", 1), 1);
	CU_ASSERT_EQUAL(gnutls_handshake(duet.client), GNUTLS_E_AGAIN);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_OK);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_RENEGOTIATE);
	CU_ASSERT_TRUE(tls_session_renegotiate(duet.server, true));
	CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_WANT_READ);
	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "z", 1), 1);
	CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_FAILED);
	CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_sent, TLS_ALERT_UNEXPECTED_MESSAGE);
	duet_fini(&duet);
	tls_cred_unref(&cred);
}

static void
test_renegotiation_insecure(void)
{
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUEST);
	uint8_t octets[16];
	size_t n;

	duet_init(&duet, cred, DUET_TLS12 ":%DISABLE_SAFE_RENEGOTIATION", client[TRUSTED], NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(gnutls_handshake(duet.client), GNUTLS_E_AGAIN);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_RENEGOTIATE);
	CU_ASSERT_FALSE(tls_session_renegotiate(duet.server, false));
	tls_session_refuse(duet.server);
	CU_ASSERT_EQUAL(tls_session_bye(duet.server), TLS_OK);
	duet_fini(&duet);
	tls_cred_unref(&cred);
}

/* Each is counted; GnuTLS's own limit comes as a flood. */
static void
test_key_updates_counted(void)
{
	enum tls_status status = TLS_WANT_READ;
	uint8_t octets[16];
	unsigned i;
	size_t n;

	established(&duet, true);
	CU_ASSERT_EQUAL(tls_session_key_updates(duet.server), 0);
	for (i = 1; i <= 5; i++) {
		CU_ASSERT_EQUAL(gnutls_session_key_update(duet.client, 0), 0);
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_WANT_READ);
		CU_ASSERT_EQUAL(tls_session_key_updates(duet.server), i);
	}
	for (i = 0; i < 20 && status == TLS_WANT_READ; i++) {
		CU_ASSERT_EQUAL(gnutls_session_key_update(duet.client, 0), 0);
		status = tls_session_recv(duet.server, octets, sizeof octets, &n);
	}
	CU_ASSERT_EQUAL(status, TLS_FLOOD);
	CU_ASSERT_EQUAL(tls_session_failure(duet.server)->alert_sent, TLS_ALERT_UNEXPECTED_MESSAGE);
	duet_fini(&duet);
}

/* Key updates of TLS 1.3 go on inside recv(). */
static void
test_key_update(void)
{
	uint8_t octets[16];
	size_t n;

	established(&duet, true);
	CU_ASSERT_EQUAL(gnutls_session_key_update(duet.client, GNUTLS_KU_PEER), 0);
	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "x", 1), 1);
	do
		n = 0;
	while (tls_session_recv(duet.server, octets, sizeof octets, &n) == TLS_WANT_READ &&
		duet.to_server.len > 0);
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("y"), &n), TLS_OK);
	while (gnutls_record_recv(duet.client, octets, sizeof octets) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL(octets[0], 'y');
	duet_fini(&duet);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void
test_chain_size(void)
{
	struct pki *small = LEAF(ca, .padding = TLS_CLIENT_CHAIN_MAX - 4096);
	struct pki *large = LEAF(ca, .padding = TLS_CLIENT_CHAIN_MAX);
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUEST);
	int v;

	for (v = 0; v < 2; v++) {
		duet_init(&duet, cred, v ? DUET_TLS13 : DUET_TLS12, small, NULL, NULL);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(duet.status, TLS_OK);
		duet_fini(&duet);
		duet_init(&duet, cred, v ? DUET_TLS13 : DUET_TLS12, large, NULL, NULL);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
		CU_ASSERT_EQUAL(tls_session_failure(duet.server)->code, GNUTLS_E_HANDSHAKE_TOO_LARGE);
		CU_ASSERT_TRUE(duet.client_alert != 0);
		duet_fini(&duet);
	}
	tls_cred_unref(&cred);
	pki_free(&small);
	pki_free(&large);
}

static void
test_versions(void)
{
	static const struct {
		const char *client;
		unsigned ours;
		const char *version; /* NULL: refused */
	} rows[] = {
		{ DUET_TLS12, TLS_PROTO_1_2, "TLS1.2" },
		{ DUET_TLS13, TLS_PROTO_1_3, "TLS1.3" },
		{ DUET_TLS12, TLS_PROTO_1_3, NULL },
		{ DUET_TLS13, TLS_PROTO_1_2, NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0", TLS_PROTO_1_2 | TLS_PROTO_1_3, NULL },
		{ "NORMAL", TLS_PROTO_1_2 | TLS_PROTO_1_3, "TLS1.3" },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC:+MAC-ALL",
			TLS_PROTO_1_2, NULL }, /* AEAD only */
	};
	const struct tls_chain chain = { span_str(server_pem), 0 };
	struct tls_cred_conf conf = { .chains = &chain, .nchains = 1, .sign = duet_sign,
		.sign_arg = &signer };
	struct tls_cred *cred;
	struct diag diag;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		conf.protocols = rows[i].ours;
		CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
		duet_init(&duet, cred, rows[i].client, NULL, NULL, NULL);
		tls_cred_unref(&cred);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(duet.status, rows[i].version != NULL ? TLS_OK : TLS_FAILED);
		if (duet.status == TLS_OK) {
			CU_ASSERT_STRING_EQUAL(tls_session_facts(duet.server)->version, rows[i].version);
		} else {
			CU_ASSERT_TRUE(duet.client_alert == 70 || duet.client_alert == 40);
		}
		duet_fini(&duet);
	}
}

/* Both ends have the same, no two sessions have, and TLS 1.2 has none. */
static void
test_binding(void)
{
	uint8_t ours[TLS_BINDING_SIZE], before[TLS_BINDING_SIZE] = { 0 };
	gnutls_datum_t theirs;
	int i;

	for (i = 0; i < 2; i++) {
		begin(&duet, TLS_CLIENT_CERT_REQUEST, TRUSTED, true);
		CU_ASSERT_FALSE(tls_session_binding(duet.server, ours));
		duet_handshake(&duet);
		CU_ASSERT_TRUE_FATAL(tls_session_binding(duet.server, ours));
		CU_ASSERT_EQUAL_FATAL(gnutls_session_channel_binding(duet.client, GNUTLS_CB_TLS_EXPORTER, &theirs), 0);
		CU_ASSERT_EQUAL(theirs.size, TLS_BINDING_SIZE);
		CU_ASSERT_EQUAL(memcmp(ours, theirs.data, TLS_BINDING_SIZE), 0);
		CU_ASSERT_NOT_EQUAL(memcmp(ours, before, TLS_BINDING_SIZE), 0);
		memcpy(before, ours, sizeof before);
		gnutls_free(theirs.data);
		duet_fini(&duet);
	}
	begin(&duet, TLS_CLIENT_CERT_REQUEST, TRUSTED, false);
	duet_handshake(&duet);
	CU_ASSERT_FALSE(tls_session_binding(duet.server, ours));
	duet_fini(&duet);
}

static void
test_free(void)
{
	struct tls_session *none = NULL;

	tls_session_free(&none);
	begin(&duet, TLS_CLIENT_CERT_REQUEST, TRUSTED, true); /* never used */
	duet_fini(&duet);
	begin(&duet, TLS_CLIENT_CERT_REQUEST, TRUSTED, true); /* in the middle */
	duet.client_rc = gnutls_handshake(duet.client);
	CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_WANT_READ);
	duet_fini(&duet);
}

/* What a client may call the protocol (RFC 7301); begun again without tickets as well. */
static void
test_alpn(void)
{
	static const char *const two[] = { "one", "two", NULL }, *const none[] = { NULL };
	static const struct {
		const char *const *ours;
		const char *theirs[3]; /* of the client, ends with NULL */
		const char *selected;  /* NULL: nothing */
		bool refused;
	} rows[] = {
		{ two, { NULL }, NULL, false },
		{ two, { "one", NULL }, "one", false },
		{ two, { "two", "one" }, "one", false }, /* our order */
		{ two, { "http/1.1", "two" }, "two", false },
		{ two, { "http/1.1", "h2" }, NULL, true },
		{ two, { "ONE", NULL }, NULL, true },
		{ two, { "on", "ones" }, NULL, true },
		{ none, { "http/1.1", NULL }, NULL, false },
		{ NULL, { "http/1.1", NULL }, NULL, false },
	};
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUEST);
	gnutls_datum_t names[2], got;
	unsigned n;
	size_t i, v;

	for (v = 0; v < 2; v++)
		for (i = 0; i < PT_COUNT(rows); i++) {
			duet_init(&duet, cred, v == 0 ? DUET_TLS12 : DUET_TLS13, NULL, NULL, NULL);
			tls_session_speak(duet.server, rows[i].ours);
			for (n = 0; n < 2 && rows[i].theirs[n] != NULL; n++)
				names[n] = (gnutls_datum_t){ (unsigned char *)(uintptr_t)rows[i].theirs[n],
					(unsigned)strlen(rows[i].theirs[n]) };
			if (n > 0)
				CU_ASSERT_EQUAL(gnutls_alpn_set_protocols(duet.client, names, n, 0), 0);
			duet_handshake(&duet);
			CU_ASSERT_EQUAL(duet.status, rows[i].refused ? TLS_FAILED : TLS_OK);
			CU_ASSERT_EQUAL(duet.client_alert, rows[i].refused ? 120 : 0);
			CU_ASSERT_EQUAL(tls_session_failure(duet.server)->protocol, rows[i].refused);
			CU_ASSERT_EQUAL(gnutls_alpn_get_selected_protocol(duet.client, &got) == 0,
				rows[i].selected != NULL);
			if (rows[i].selected != NULL)
				CU_ASSERT_TRUE(span_equal((struct span){ got.data, got.size }, span_str(rows[i].selected)));
			duet_fini(&duet);
		}
	tls_cred_unref(&cred);
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "every mode with every certificate", test_matrix },
	{ "the signer, and its failure", test_signer },
	{ "a handshake octet by octet", test_drip },
	{ "a transport that takes little", test_narrow_transport },
	{ "records", test_records },
	{ "pending plaintext", test_pending },
	{ "close_notify", test_close },
	{ "truncation", test_truncation },
	{ "garbage", test_garbage },
	{ "alerts from the client", test_client_alert },
	{ "an alert of ours", test_our_alert },
	{ "renegotiation", test_renegotiation },
	{ "renegotiation: who it is", test_renegotiation_identity },
	{ "renegotiation: data within", test_renegotiation_data },
	{ "ALPN", test_alpn },
	{ "renegotiation: insecure", test_renegotiation_insecure },
	{ "key updates counted", test_key_updates_counted },
	{ "key update", test_key_update },
	{ "the largest client chain", test_chain_size },
	{ "versions and ciphers", test_versions },
	{ "channel binding", test_binding },
	{ "freed at any time", test_free },
	{ "certificates freed", test_end },
};
TEST_MAIN("tls/session", rows)
