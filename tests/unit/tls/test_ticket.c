/* unit/tls/test_ticket.c - session tickets against a GnuTLS client, over memory: the keys of trust domains, how
 * many are given, what a resumed session is worth today; and chains that are verified once.
 *
 * time() is this file's own, for ours and for the library: days pass at will. */
#include "test.h"
#include "duet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define HOUR_S 3600L
#define LIFETIME_S (6 * HOUR_S)

static long passed_s;

time_t
time(time_t *out)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	tv.tv_sec += passed_s;
	if (out != NULL)
		*out = tv.tv_sec;
	return tv.tv_sec;
}

static struct pki *ca, *other_ca, *inter, *server, *alice, *brief, *large, *indirect, *stranger;
static struct duet_signer signer;
static char *server_pem, *ca_pem, *other_pem;
static struct duet duet;
static const uint8_t master[TLS_TICKET_MASTER_SIZE] = "master key";

static struct pki *
leaf(const struct pki *issuer, long to_s, size_t padding)
{
	const struct pki_spec s = { .cn = "alice", .email = "alice@example.org", .from_s = -HOUR_S,
		.to_s = to_s, .padding = padding, .purpose = GNUTLS_KP_TLS_WWW_CLIENT };

	return pki_new(&s, issuer);
}

static void
test_begin(void)
{
	ca = pki_new(&(struct pki_spec){ .cn = "CA", .ca = true }, NULL);
	other_ca = pki_new(&(struct pki_spec){ .cn = "other CA", .ca = true }, NULL);
	inter = pki_new(&(struct pki_spec){ .cn = "between", .ca = true }, ca);
	server = pki_new(&(struct pki_spec){ .cn = "server" }, ca);
	alice = leaf(ca, 24 * HOUR_S, 0);
	brief = leaf(ca, 60, 0);
	large = leaf(ca, 24 * HOUR_S, TLS_CLIENT_CHAIN_MAX - 4096);
	indirect = leaf(inter, 24 * HOUR_S, 0);
	stranger = leaf(other_ca, 24 * HOUR_S, 0);
	server_pem = duet_add_key(&signer, server, NULL);
	ca_pem = pki_cert_pem(ca);
	other_pem = pki_cert_pem(other_ca);
}

static void
test_end(void)
{
	struct pki **all[] = { &ca, &other_ca, &inter, &server, &alice, &brief, &large, &indirect, &stranger };
	size_t i;

	for (i = 0; i < PT_COUNT(all); i++)
		pki_free(all[i]);
	duet_signer_fini(&signer);
	free(server_pem);
	free(ca_pem);
	free(other_pem);
}

/* cas: 'c' our CA, 'o' the other. */
static struct tls_cred *
cred_for(enum tls_client_cert mode, const char *cas, uint64_t generation)
{
	const struct tls_chain chain = { span_str(server_pem), 0 };
	struct tls_ca_file files[4];
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3, .client_cert = mode,
		.chains = &chain, .nchains = 1, .cas = files, .generation = generation,
		.sign = duet_sign, .sign_arg = &signer };
	struct tls_cred *cred;
	struct diag diag = { "" };

	for (; cas[conf.ncas] != '\0'; conf.ncas++)
		files[conf.ncas] = (struct tls_ca_file){
			span_str(cas[conf.ncas] == 'c' ? ca_pem : other_pem), "ca.pem" };
	if (tls_cred_new(&conf, &cred, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	return cred;
}

/* --- keys ------------------------------------------------------------------------------------- */

static void
test_domains(void)
{
	static const struct {
		const char *service, *sni, *cas;
		enum tls_client_cert mode;
		uint8_t first; /* octet of the master key */
		bool same;     /* as the first row */
	} rows[] = {
		{ "line", "", "co", TLS_CLIENT_CERT_REQUEST, 'm', true },
		{ "line", "", "oc", TLS_CLIENT_CERT_REQUEST, 'm', true },
		{ "line", "", "coc", TLS_CLIENT_CERT_REQUEST, 'm', true },
		{ "line", "", "c", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "line", "", "o", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "line", "", "", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "line", "", "co", TLS_CLIENT_CERT_NONE, 'm', false },
		{ "line", "", "co", TLS_CLIENT_CERT_OPTIONAL, 'm', false },
		{ "line", "", "co", TLS_CLIENT_CERT_REQUIRE, 'm', false },
		{ "line2", "", "co", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "lin", "", "co", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "lin", "e", "co", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "", "line", "co", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "line", "x", "co", TLS_CLIENT_CERT_REQUEST, 'm', false },
		{ "line", "", "co", TLS_CLIENT_CERT_REQUEST, 'n', false },
	};
	struct tls_ticket_key keys[PT_COUNT(rows)];
	uint8_t m[sizeof master];
	struct tls_cred *cred;
	size_t i, k;

	memcpy(m, master, sizeof m);
	for (i = 0; i < PT_COUNT(rows); i++) {
		m[0] = rows[i].first;
		cred = cred_for(rows[i].mode, rows[i].cas, i); /* the generation does not count */
		CU_ASSERT_EQUAL(tls_ticket_key_derive(m, rows[i].service, rows[i].sni, cred, LIFETIME_S,
			&keys[i]), 0);
		CU_ASSERT_EQUAL(keys[i].lifetime_s, LIFETIME_S);
		tls_cred_unref(&cred);
		for (k = 0; k < i; k++) /* equal only to those of its own domain */
			CU_ASSERT_EQUAL(memcmp(keys[k].octets, keys[i].octets, sizeof keys[i].octets) == 0,
				rows[k].same && rows[i].same);
	}
}

/* --- meetings --------------------------------------------------------------------------------- */

struct meeting {
	struct tls_cred *cred;
	const struct tls_ticket_key *key; /* NULL: no tickets */
	bool tls13;
	const struct pki *cert;
	const struct pki *chain[2];
};

static struct tls_ticket_key
some_key(void)
{
	struct tls_ticket_key key = { .lifetime_s = LIFETIME_S };

	memset(key.octets, 'k', sizeof key.octets);
	return key;
}

/* One handshake and, if it succeeds, one octet from the server; with a session in *ticket it is offered,
 * and the newest is put there. Returns the tickets given. duet_fini() when it has been looked at. */
static unsigned
meet(const struct meeting *m, gnutls_datum_t *ticket)
{
	unsigned n = 0;
	char octet;
	size_t sent;

	duet_init(&duet, m->cred, m->tls13 ? DUET_TLS13 : DUET_TLS12, m->cert, m->chain, NULL);
	if (m->key != NULL)
		CU_ASSERT_EQUAL_FATAL(tls_session_offer_tickets(duet.server, m->key), 0);
	if (ticket->data != NULL)
		CU_ASSERT_EQUAL(gnutls_session_set_data(duet.client, ticket->data, ticket->size), 0);
	gnutls_free(ticket->data);
	*ticket = (gnutls_datum_t){ NULL, 0 };
	duet_handshake(&duet);
	if (duet.status != TLS_OK)
		return 0;
	CU_ASSERT_EQUAL(tls_session_send_tickets(duet.server, &n), TLS_OK);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
	while (duet_client_recv(&duet, &octet, 1) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL(octet, 'x');
	/* in TLS 1.2 a resumed session keeps the ticket that it came with */
	if (!m->tls13 || (gnutls_session_get_flags(duet.client) & GNUTLS_SFLAGS_SESSION_TICKET) != 0)
		CU_ASSERT_EQUAL(gnutls_session_get_data2(duet.client, ticket), 0);
	return n;
}

/* One octet from the server, and then the session as the client keeps it. */
static gnutls_datum_t
take_ticket(void)
{
	gnutls_datum_t ticket = { NULL, 0 };
	size_t sent;
	unsigned n;
	char octet;

	CU_ASSERT_EQUAL(tls_session_send_tickets(duet.server, &n), TLS_OK);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
	while (duet_client_recv(&duet, &octet, 1) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL(gnutls_session_get_data2(duet.client, &ticket), 0);
	return ticket;
}

static void
drop(gnutls_datum_t *ticket)
{
	gnutls_free(ticket->data);
	*ticket = (gnutls_datum_t){ NULL, 0 };
}

static void
test_numbers(void)
{
	struct tls_ticket_key key = some_key();
	struct meeting m = { .cert = alice };
	gnutls_datum_t ticket = { NULL, 0 };
	unsigned again;
	int v, i;

	m.cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	for (v = 0; v < 2; v++) {
		m.tls13 = v == 1;
		m.key = &key;
		CU_ASSERT_EQUAL(meet(&m, &ticket), v == 1 ? 2 : 1);
		CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
		CU_ASSERT_EQUAL(tls_session_send_tickets(duet.server, &again), TLS_OK);
		CU_ASSERT_EQUAL(again, 0);
		duet_fini(&duet);
		for (i = 0; i < 3; i++) {
			CU_ASSERT_EQUAL(meet(&m, &ticket), v == 1 ? 1 : 0);
			CU_ASSERT_TRUE(tls_session_facts(duet.server)->resumed);
			CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
			CU_ASSERT_STRING_EQUAL(tls_session_facts(duet.server)->sans[0],
				"email:alice@example.org");
			duet_fini(&duet);
			CU_ASSERT_PTR_NOT_NULL_FATAL(ticket.data);
		}
		m.key = NULL; /* off: not taken, not given */
		CU_ASSERT_EQUAL(meet(&m, &ticket), 0);
		CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
		CU_ASSERT_FALSE(gnutls_session_get_flags(duet.client) & GNUTLS_SFLAGS_SESSION_TICKET);
		duet_fini(&duet);
		drop(&ticket);
	}
	tls_cred_unref(&m.cred);
}

/* A ticket sealed with another key, or for another lifetime, is no ticket: a full handshake. */
static void
test_other_key(void)
{
	struct tls_ticket_key key = some_key(), other = some_key();
	struct meeting m = { .cert = alice };
	gnutls_datum_t ticket = { NULL, 0 };
	int v;

	other.octets[0] ^= 1;
	m.cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	for (v = 0; v < 2; v++) {
		m.tls13 = v == 1;
		m.key = &key;
		(void)meet(&m, &ticket);
		duet_fini(&duet);
		m.key = &other;
		CU_ASSERT_EQUAL(meet(&m, &ticket), v == 1 ? 2 : 1);
		CU_ASSERT_EQUAL(duet.status, TLS_OK);
		CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
		duet_fini(&duet);
		drop(&ticket);
	}
	tls_cred_unref(&m.cred);
}

/* The largest chain that is taken comes back in a ticket, in a ClientHello that is taken, too. */
static void
test_large(void)
{
	struct tls_ticket_key key = some_key();
	struct meeting m = { .cert = large, .key = &key };
	gnutls_datum_t ticket = { NULL, 0 };
	int v;

	m.cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	for (v = 0; v < 2; v++) {
		m.tls13 = v == 1;
		(void)meet(&m, &ticket);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		duet_fini(&duet);
		CU_ASSERT_TRUE(ticket.size > TLS_CLIENT_CHAIN_MAX - 4096);
		(void)meet(&m, &ticket);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		CU_ASSERT_TRUE(tls_session_facts(duet.server)->resumed);
		duet_fini(&duet);
		drop(&ticket);
	}
	tls_cred_unref(&m.cred);
}

/* A ClientHello of that length (of zeros, so nothing comes of it): is it too long, or only nonsense? */
static bool
is_too_long(struct tls_cred *cred, const struct tls_ticket_key *key, size_t len)
{
	uint8_t *p = duet.to_server.octets;
	size_t at, n;
	bool is;

	duet_init(&duet, cred, DUET_TLS13, NULL, NULL, NULL);
	if (key != NULL)
		CU_ASSERT_EQUAL(tls_session_offer_tickets(duet.server, key), 0);
	for (at = 0; at < len + 4; at += n) {
		n = len + 4 - at < 16384 ? len + 4 - at : 16384;
		memcpy(p, (uint8_t[]){ 22, 3, 1, (uint8_t)(n >> 8), (uint8_t)n }, 5);
		memset(p + 5, 0, n);
		if (at == 0)
			memcpy(p + 5, (uint8_t[]){ 1, 0, (uint8_t)(len >> 8), (uint8_t)len }, 4);
		p += 5 + n;
	}
	duet.to_server.len = (size_t)(p - duet.to_server.octets);
	CU_ASSERT_EQUAL(tls_session_handshake(duet.server), TLS_FAILED);
	is = tls_session_failure(duet.server)->code == GNUTLS_E_HANDSHAKE_TOO_LARGE;
	duet_fini(&duet);
	return is;
}

static void
test_long_hello(void)
{
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	struct tls_ticket_key key = some_key();
	size_t max = TLS_CLIENT_CHAIN_MAX + TLS_TICKET_WRAP_MAX;

	CU_ASSERT_FALSE(is_too_long(cred, &key, 1000));
	CU_ASSERT_FALSE(is_too_long(cred, &key, max));
	CU_ASSERT_TRUE(is_too_long(cred, &key, max + 1));
	CU_ASSERT_TRUE(is_too_long(cred, &key, 65000));
	CU_ASSERT_FALSE(is_too_long(cred, NULL, TLS_CLIENT_CHAIN_MAX - 1000));
	CU_ASSERT_TRUE(is_too_long(cred, NULL, TLS_CLIENT_CHAIN_MAX + 1));
	tls_cred_unref(&cred);
}

/* A transport that takes tickets a little at a time. */
static void
test_narrow(void)
{
	struct tls_ticket_key key = some_key();
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	enum tls_status status;
	unsigned n, sum = 0, waits = 0;
	char octet;
	size_t sent;

	duet_init(&duet, cred, DUET_TLS13, alice, NULL, NULL);
	CU_ASSERT_EQUAL(tls_session_offer_tickets(duet.server, &key), 0);
	duet_handshake(&duet);
	duet.to_client.room = 100;
	do {
		status = tls_session_send_tickets(duet.server, &n);
		sum += n;
		waits += status == TLS_WANT_WRITE;
		(void)duet_client_recv(&duet, &octet, 1);
	} while (status == TLS_WANT_WRITE && waits < 1000);
	CU_ASSERT_EQUAL(status, TLS_OK);
	CU_ASSERT_EQUAL(sum, 2);
	CU_ASSERT_TRUE(waits > 10);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
	while (duet_client_recv(&duet, &octet, 1) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL(octet, 'x');
	CU_ASSERT_TRUE(gnutls_session_get_flags(duet.client) & GNUTLS_SFLAGS_SESSION_TICKET);
	duet_fini(&duet);
	tls_cred_unref(&cred);
}

/* --- judged again ----------------------------------------------------------------------------- */

/* What a session that was fine once is worth where, or when, it is resumed. The key is the same on purpose:
 * the second gate behind that of the domains. */
static void
test_judged_again(void)
{
	static const struct {
		const char *name;
		struct pki *const *cert; /* NULL: none */
		const char *cas;         /* where it is resumed */
		long later_s;
		enum tls_verdict verdict;
	} rows[] = {
		{ "the same", &alice, "c", 0, TLS_VERDICT_TRUSTED },
		{ "a CA more", &alice, "oc", 0, TLS_VERDICT_TRUSTED },
		{ "without certificate", NULL, "c", 0, TLS_VERDICT_NONE },
		{ "its CA taken out", &alice, "o", 0, TLS_VERDICT_UNKNOWN_CA },
		{ "no CA left", &alice, "", 0, TLS_VERDICT_UNKNOWN_CA },
		{ "expired since", &brief, "c", 120, TLS_VERDICT_EXPIRED },
		{ "the clock set back", &alice, "c", -2 * HOUR_S, TLS_VERDICT_NOT_YET_VALID },
	};
	struct tls_ticket_key key = some_key();
	gnutls_datum_t ticket = { NULL, 0 };
	const struct tls_failure *f;
	bool refused, tls13;
	unsigned alert, failures;
	struct meeting m;
	size_t i;
	int mode, v;

	for (v = 0; v < 2; v++)
		for (mode = TLS_CLIENT_CERT_NONE; mode <= TLS_CLIENT_CERT_REQUIRE; mode++)
			for (i = 0; i < PT_COUNT(rows); i++) {
				enum tls_verdict want = mode == TLS_CLIENT_CERT_NONE ? TLS_VERDICT_NONE
					: rows[i].verdict;

				failures = CU_get_number_of_failures();
				tls13 = v == 1;
				m = (struct meeting){ .key = &key, .tls13 = tls13,
					.cert = rows[i].cert != NULL ? *rows[i].cert : NULL,
					.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "c", 1) };
				(void)meet(&m, &ticket);
				duet_fini(&duet);
				tls_cred_unref(&m.cred);
				m.cred = cred_for((enum tls_client_cert)mode, rows[i].cas, 2);
				passed_s = rows[i].later_s;
				(void)meet(&m, &ticket);
				passed_s = 0;
				f = tls_session_failure(duet.server);
				/* GnuTLS takes no ticket of TLS 1.2 from its future: full, and the same verdict */
				if (rows[i].later_s < 0 && !f->resumed) {
					CU_ASSERT_TRUE(duet.status == TLS_FAILED ||
						tls_session_facts(duet.server)->verdict == want);
					goto next;
				}
				CU_ASSERT_TRUE(f->resumed);
				refused = (mode == TLS_CLIENT_CERT_REQUIRE && want != TLS_VERDICT_TRUSTED) ||
					(mode == TLS_CLIENT_CERT_OPTIONAL &&
						want != TLS_VERDICT_TRUSTED && want != TLS_VERDICT_NONE);
				CU_ASSERT_EQUAL(duet.status, refused ? TLS_FAILED : TLS_OK);
				if (duet.status == TLS_OK) {
					CU_ASSERT_TRUE(tls_session_facts(duet.server)->resumed);
					CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, want);
				} else {
					alert = want == TLS_VERDICT_NONE && !tls13 ? 40
						: tls_verdict_alert(want, 3);
					CU_ASSERT_EQUAL(f->verdict, want);
					CU_ASSERT_EQUAL(f->alert_sent, alert);
					CU_ASSERT_EQUAL(duet.client_alert, alert);
					CU_ASSERT_PTR_NULL(ticket.data);
					CU_ASSERT_EQUAL(duet.to_client.len, 0); /* nothing behind the alert */
				}
next:
				if (CU_get_number_of_failures() != failures)
					fprintf(stderr, "\nTLS 1.%d, mode %d, %s: status %d, alert %u\n",
						tls13 ? 3 : 2, mode, rows[i].name, duet.status,
						duet.client_alert);
				duet_fini(&duet);
				drop(&ticket);
				tls_cred_unref(&m.cred);
			}
}

/* A client that is refused gets none, in either version. */
static void
test_refused(void)
{
	struct tls_ticket_key key = some_key();
	struct meeting m = { .key = &key };
	const struct pki *certs[] = { NULL, stranger };
	gnutls_datum_t ticket = { NULL, 0 };
	size_t i;
	int v;

	m.cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	for (v = 0; v < 2; v++)
		for (i = 0; i < PT_COUNT(certs); i++) {
			m.tls13 = v == 1;
			m.cert = certs[i];
			(void)meet(&m, &ticket);
			CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
			CU_ASSERT_TRUE(duet.client_alert != 0);
			CU_ASSERT_FALSE(gnutls_session_get_flags(duet.client) & GNUTLS_SFLAGS_SESSION_TICKET);
			CU_ASSERT_FALSE(tls_session_failure(duet.server)->resumed);
			duet_fini(&duet);
		}
	tls_cred_unref(&m.cred);
}

/* --- verified once ---------------------------------------------------------------------------- */

static void
expect(struct meeting *m, bool tls13, bool known, enum tls_verdict verdict)
{
	gnutls_datum_t none = { NULL, 0 };

	m->tls13 = tls13;
	(void)meet(m, &none);
	drop(&none);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->known, known);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, verdict);
	duet_fini(&duet);
}

static void
test_known(void)
{
	struct meeting m = { .cert = alice }, other = { .cert = alice };

	m.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "c", 1);
	other.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "c", 2);
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	expect(&m, true, true, TLS_VERDICT_TRUSTED);
	expect(&m, false, true, TLS_VERDICT_TRUSTED);
	/* another generation, another set of CAs: nothing is known there */
	expect(&other, true, false, TLS_VERDICT_TRUSTED);
	tls_cred_unref(&other.cred);
	other.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "o", 1);
	expect(&other, true, false, TLS_VERDICT_UNKNOWN_CA);
	tls_cred_unref(&other.cred);
	/* another chain of the same leaf */
	m.chain[0] = ca;
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	expect(&m, true, true, TLS_VERDICT_TRUSTED);
	m = (struct meeting){ .cred = m.cred, .cert = indirect };
	expect(&m, true, false, TLS_VERDICT_UNKNOWN_CA);
	m.chain[0] = inter;
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	expect(&m, false, true, TLS_VERDICT_TRUSTED);
	m.chain[0] = NULL;
	expect(&m, true, false, TLS_VERDICT_UNKNOWN_CA);
	/* only good ones are remembered */
	m = (struct meeting){ .cred = m.cred, .cert = stranger };
	expect(&m, true, false, TLS_VERDICT_UNKNOWN_CA);
	expect(&m, true, false, TLS_VERDICT_UNKNOWN_CA);
	m.cert = NULL;
	expect(&m, true, false, TLS_VERDICT_NONE);
	tls_cred_unref(&m.cred);
}

/* Not a second longer than the certificate, not a second before it. */
static void
test_known_time(void)
{
	struct meeting m = { .cert = brief };

	m.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "c", 1);
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	passed_s = 30;
	expect(&m, true, true, TLS_VERDICT_TRUSTED);
	passed_s = 120;
	expect(&m, true, false, TLS_VERDICT_EXPIRED);
	passed_s = -2 * HOUR_S;
	expect(&m, true, false, TLS_VERDICT_NOT_YET_VALID);
	passed_s = 0;
	expect(&m, true, true, TLS_VERDICT_TRUSTED);
	m.cert = alice;
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	passed_s = 23 * HOUR_S;
	expect(&m, true, true, TLS_VERDICT_TRUSTED);
	passed_s = 0;
	tls_cred_unref(&m.cred);
}

/* A CA that ends before the certificate that it signed. */
static void
test_known_ca_time(void)
{
	struct pki *short_ca = pki_new(&(struct pki_spec){ .cn = "short CA", .ca = true, .from_s = -2 * HOUR_S,
		.to_s = HOUR_S }, NULL);
	struct pki *long_leaf = leaf(short_ca, 24 * HOUR_S, 0);
	struct meeting m = { .cert = long_leaf };
	char *kept = ca_pem;

	ca_pem = pki_cert_pem(short_ca);
	m.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "c", 1);
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	expect(&m, true, true, TLS_VERDICT_TRUSTED);
	passed_s = 2 * HOUR_S;
	expect(&m, true, false, TLS_VERDICT_EXPIRED);
	passed_s = 0;
	tls_cred_unref(&m.cred);
	free(ca_pem);
	ca_pem = kept;
	pki_free(&long_leaf);
	pki_free(&short_ca);
}

/* A chain that is known, presented by somebody without its key: the handshake refuses that. */
static void
test_known_is_no_proof(void)
{
	struct pki thief = { .crt = alice->crt, .key = stranger->key };
	struct meeting m = { .cert = alice };
	gnutls_x509_crt_t crts[1] = { thief.crt };
	int v;

	m.cred = cred_for(TLS_CLIENT_CERT_REQUIRE, "c", 1);
	expect(&m, true, false, TLS_VERDICT_TRUSTED);
	for (v = 0; v < 2; v++) {
		duet_init(&duet, m.cred, v ? DUET_TLS13 : DUET_TLS12, NULL, NULL, NULL);
		/* the library compares key and certificate, unless it is told not to */
		gnutls_certificate_set_flags(duet.client_cred, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
		CU_ASSERT_TRUE_FATAL(gnutls_certificate_set_x509_key(duet.client_cred, crts, 1,
			thief.key) >= 0);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
		CU_ASSERT_TRUE(duet.client_alert != 0);
		duet_fini(&duet);
	}
	tls_cred_unref(&m.cred);
}

/* --- tickets that are opened and not taken ----------------------------------------------------- */

/* Who offers somebody's ticket, read off the wire, in a handshake in which it can be opened and is not taken. */
struct thief {
	const char *what;
	bool tls13;
	const char *first, *then; /* priorities of the two handshakes; NULL: the plain one */
	const char *first_name, *then_name;
	long late_s; /* behind the ClientHello */
	bool fails;  /* GnuTLS has no full handshake for it */
};

static const struct thief thieves[] = {
	{ .what = "another name", .first_name = "a.example", .then_name = "b.example" },
	{ .what = "a name now", .then_name = "b.example" },
	{ .what = "no name now", .first_name = "a.example" },
	{ .what = "no extended master secret", .then = DUET_TLS12 ":%NO_SESSION_HASH" },
	{ .what = "extended master secret now", .first = DUET_TLS12 ":%NO_SESSION_HASH" },
	{ .what = "too old", .late_s = LIFETIME_S + 60 },
	{ .what = "too old", .tls13 = true, .late_s = LIFETIME_S + 60 },
	{ .what = "another hash", .tls13 = true, .first = DUET_TLS13 ":-CIPHER-ALL:+AES-128-GCM",
	  .then = DUET_TLS13 ":-CIPHER-ALL:+AES-256-GCM", .fails = true },
};

static void
must(const struct thief *t, bool ok)
{
	CU_ASSERT_TRUE(ok);
	if (!ok)
		printf("\n    %s, TLS 1.%d\n", t->what, t->tls13 ? 3 : 2);
}

/* The second handshake: with the ticket, and without a certificate. */
static void
steal(const struct thief *t, struct tls_cred *cred, const struct tls_ticket_key *key, const gnutls_datum_t *ticket)
{
	const char *plain = t->tls13 ? DUET_TLS13 : DUET_TLS12;

	duet_init(&duet, cred, t->then != NULL ? t->then : plain, NULL, NULL, t->then_name);
	CU_ASSERT_EQUAL_FATAL(tls_session_offer_tickets(duet.server, key), 0);
	CU_ASSERT_EQUAL(gnutls_session_set_data(duet.client, ticket->data, ticket->size), 0);
	duet.client_rc = gnutls_handshake(duet.client);
	passed_s += t->late_s;
	duet_handshake(&duet);
}

/* What the thief gets of it; then a ticket of its own session, if there is one, is no better. */
static void
check_nobody(const struct thief *t, struct tls_cred *cred, const struct tls_ticket_key *key)
{
	struct meeting m = { .cred = cred, .key = key,
		.tls13 = gnutls_protocol_get_version(duet.client) == GNUTLS_TLS1_3 };
	const struct tls_facts *facts = tls_session_facts(duet.server);
	gnutls_datum_t own = { NULL, 0 };
	size_t sent;
	unsigned n;
	char octet;

	must(t, facts->verdict == TLS_VERDICT_NONE && facts->subject == NULL && facts->nsans == 0 &&
		!facts->resumed);
	CU_ASSERT_EQUAL(tls_session_send_tickets(duet.server, &n), TLS_OK);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
	while (duet_client_recv(&duet, &octet, 1) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL(octet, 'x');
	if ((gnutls_session_get_flags(duet.client) & GNUTLS_SFLAGS_SESSION_TICKET) == 0)
		return;
	CU_ASSERT_EQUAL(gnutls_session_get_data2(duet.client, &own), 0);
	duet_fini(&duet);
	(void)meet(&m, &own);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_NONE);
	CU_ASSERT_PTR_NULL(tls_session_facts(duet.server)->subject);
	drop(&own);
}

/* GnuTLS shows the chain of such a ticket as if the client had shown it. */
static void
test_stolen(void)
{
	static const enum tls_client_cert modes[] = { TLS_CLIENT_CERT_NONE, TLS_CLIENT_CERT_REQUEST,
		TLS_CLIENT_CERT_OPTIONAL, TLS_CLIENT_CERT_REQUIRE };
	struct tls_ticket_key key = some_key();
	const struct thief *t;
	struct tls_cred *cred;
	gnutls_datum_t ticket;
	size_t m;

	for (m = 0; m < PT_COUNT(modes); m++)
		for (t = thieves; t < thieves + PT_COUNT(thieves); t++) {
			passed_s = 0;
			cred = cred_for(modes[m], "c", 1);
			duet_init(&duet, cred, t->first != NULL ? t->first : t->tls13 ? DUET_TLS13 : DUET_TLS12,
				alice, NULL, t->first_name);
			CU_ASSERT_EQUAL_FATAL(tls_session_offer_tickets(duet.server, &key), 0);
			duet_handshake(&duet);
			CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
			ticket = take_ticket();
			duet_fini(&duet);
			steal(t, cred, &key, &ticket);
			if (modes[m] == TLS_CLIENT_CERT_REQUIRE || t->fails)
				must(t, duet.status == TLS_FAILED);
			if (modes[m] == TLS_CLIENT_CERT_REQUIRE && !t->fails)
				CU_ASSERT_EQUAL(tls_session_failure(duet.server)->verdict, TLS_VERDICT_NONE);
			if (modes[m] != TLS_CLIENT_CERT_REQUIRE && !t->fails) {
				CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
				check_nobody(t, cred, &key);
			}
			duet_fini(&duet);
			drop(&ticket);
			tls_cred_unref(&cred);
		}
	passed_s = 0;
}

/* The same in a renegotiation, whose ticket would be made with it. */
static void
test_stolen_again(void)
{
	struct tls_ticket_key key = some_key();
	struct meeting m = { .key = &key, .cert = alice };
	gnutls_datum_t ticket = { NULL, 0 };
	char octet;
	size_t n;
	int i, again;

	m.cred = cred_for(TLS_CLIENT_CERT_REQUEST, "c", 1);
	for (again = 0; again < 2; again++) {
		(void)meet(&m, &ticket);
		duet_fini(&duet);
		duet_init(&duet, m.cred, DUET_TLS12, NULL, NULL, NULL);
		CU_ASSERT_EQUAL_FATAL(tls_session_offer_tickets(duet.server, &key), 0);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		CU_ASSERT_EQUAL(gnutls_session_set_data(duet.client, ticket.data, ticket.size), 0);
		CU_ASSERT_EQUAL(gnutls_server_name_set(duet.client, GNUTLS_NAME_DNS, "b.example", 9), 0);
		duet.client_rc = gnutls_handshake(duet.client);
		CU_ASSERT_EQUAL(tls_session_recv(duet.server, &octet, 1, &n), TLS_RENEGOTIATE);
		CU_ASSERT_TRUE_FATAL(tls_session_renegotiate(duet.server, again == 1));
		for (i = 0; i < 8 && (duet.status = tls_session_handshake(duet.server)) == TLS_WANT_READ; i++)
			duet.client_rc = gnutls_handshake(duet.client);
		CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
		CU_ASSERT_TRUE(tls_session_failure(duet.server)->changed);
		duet_fini(&duet);
		drop(&ticket);
	}
	tls_cred_unref(&m.cred);
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "keys of trust domains", test_domains },
	{ "how many are given", test_numbers },
	{ "another key", test_other_key },
	{ "the largest chain", test_large },
	{ "the longest ClientHello", test_long_hello },
	{ "a transport that takes little", test_narrow },
	{ "resumed sessions are judged again", test_judged_again },
	{ "none for a client that is refused", test_refused },
	{ "chains are verified once", test_known },
	{ "within their time", test_known_time },
	{ "and that of the CA", test_known_ca_time },
	{ "a known chain proves nothing", test_known_is_no_proof },
	{ "a ticket that is not taken proves nothing", test_stolen },
	{ "nor does it in a renegotiation", test_stolen_again },
	{ "certificates freed", test_end },
};
TEST_MAIN("tls/ticket", rows)
