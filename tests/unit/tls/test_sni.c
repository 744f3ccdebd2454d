/* unit/tls/test_sni.c - the trust domain of a session is chosen by the name in its first ClientHello: its
 * certificate, its CAs, its mode and its tickets, against a GnuTLS client, over memory. */
#include "test.h"
#include "duet.h"

#include <stdlib.h>
#include <string.h>

static struct pki *ca, *other_ca, *alice, *stranger;
static struct duet_signer signer;
static char *ca_pem, *other_pem;
static struct duet duet;

enum { FIRST, NET, OTHER, DOMAINS };

/* As a service has them. */
static struct at {
	const char *name;
	const char *cn; /* of the server's certificate */
	enum tls_client_cert mode;
	bool other; /* it trusts the other CA */
	struct tls_cred *cred;
	struct tls_ticket_key key;
	struct pki *leaf;
	char *pem;
} at[DOMAINS] = {
	{ .cn = "first", .mode = TLS_CLIENT_CERT_REQUEST },
	{ .name = "net", .cn = "net", .mode = TLS_CLIENT_CERT_REQUIRE },
	{ .name = "other", .cn = "other", .mode = TLS_CLIENT_CERT_OPTIONAL, .other = true },
};

static struct chooser {
	unsigned calls;
	char host[300]; /* as it was told; "-": none */
	bool no_tickets;
} chooser;

static void
choose(void *arg, const char *host, struct tls_domain *out)
{
	struct chooser *c = arg;
	struct at *a = &at[FIRST];

	c->calls++;
	strlcpy(c->host, host != NULL ? host : "-", sizeof c->host);
	if (host != NULL && strcasecmp(host, "net.example") == 0)
		a = &at[NET];
	if (host != NULL && strcasecmp(host, "other.example") == 0)
		a = &at[OTHER];
	*out = (struct tls_domain){ .cred = a->cred, .name = a->name, .ticket = c->no_tickets ? NULL : &a->key };
}

static struct tls_cred *
make_cred(const struct at *a, uint32_t key)
{
	const struct tls_chain chain = { span_str(a->pem), key };
	const struct tls_ca_file file = { span_str(a->other ? other_pem : ca_pem), "ca.pem" };
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3, .client_cert = a->mode,
		.chains = &chain, .nchains = 1, .cas = &file, .ncas = 1, .generation = 1, .sign = duet_sign,
		.sign_arg = &signer };
	struct tls_cred *cred;
	struct diag diag = { "" };

	if (tls_cred_new(&conf, &cred, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	return cred;
}

static void
test_begin(void)
{
	static const uint8_t master[TLS_TICKET_MASTER_SIZE] = "m";
	uint32_t i;

	ca = pki_new(&(struct pki_spec){ .cn = "CA", .ca = true }, NULL);
	other_ca = pki_new(&(struct pki_spec){ .cn = "other CA", .ca = true }, NULL);
	alice = pki_new(&(struct pki_spec){ .cn = "alice", .email = "alice@example.org" }, ca);
	stranger = pki_new(&(struct pki_spec){ .cn = "stranger" }, other_ca);
	ca_pem = pki_cert_pem(ca);
	other_pem = pki_cert_pem(other_ca);
	for (i = 0; i < DOMAINS; i++) {
		at[i].leaf = pki_new(&(struct pki_spec){ .cn = at[i].cn }, ca);
		at[i].pem = duet_add_key(&signer, at[i].leaf, NULL);
		at[i].cred = make_cred(&at[i], i);
		CU_ASSERT_EQUAL(tls_ticket_key_derive(master, "line", at[i].name != NULL ? at[i].name : "",
			at[i].cred, 3600, &at[i].key), 0);
	}
}

static void
test_end(void)
{
	size_t i;

	for (i = 0; i < DOMAINS; i++) {
		tls_cred_unref(&at[i].cred);
		pki_free(&at[i].leaf);
		free(at[i].pem);
	}
	duet_signer_fini(&signer);
	pki_free(&ca);
	pki_free(&other_ca);
	pki_free(&alice);
	pki_free(&stranger);
	free(ca_pem);
	free(other_pem);
}

static unsigned hellos; /* that the client sent */

static int
count_hello(gnutls_session_t g, unsigned type, unsigned post, unsigned incoming, const gnutls_datum_t *msg)
{
	(void)g;
	(void)type;
	(void)post;
	(void)msg;
	hellos += !incoming;
	return 0;
}

/* Offers *ticket if there is one. duet_fini() when it has been looked at. */
static void
meet(const char *priority, const char *host, const struct pki *cert, const gnutls_datum_t *ticket)
{
	chooser.calls = 0;
	hellos = 0;
	duet_init(&duet, at[FIRST].cred, priority, cert, NULL, host);
	tls_session_choose(duet.server, true, choose, &chooser);
	CU_ASSERT_PTR_NULL(tls_session_name(duet.server));
	gnutls_handshake_set_hook_function(duet.client, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_PRE,
		count_hello);
	if (ticket != NULL)
		CU_ASSERT_EQUAL(gnutls_session_set_data(duet.client, ticket->data, ticket->size), 0);
	duet_handshake(&duet);
}

/* The certificate that the client sees. */
static bool
is_leaf(const struct at *a)
{
	const gnutls_datum_t *raw;
	gnutls_x509_crt_t crt;
	unsigned n = 0;
	bool same;

	if ((raw = gnutls_certificate_get_peers(duet.client, &n)) == NULL || n == 0)
		return false;
	PT_ASSERT(gnutls_x509_crt_init(&crt) == 0 && gnutls_x509_crt_import(crt, raw, GNUTLS_X509_FMT_DER) == 0);
	same = gnutls_x509_crt_equals(crt, a->leaf->crt) != 0;
	gnutls_x509_crt_deinit(crt);
	return same;
}

static const char *const versions[] = { DUET_TLS12, DUET_TLS13 };

/* --- which name ------------------------------------------------------------------------------- */

static void
test_names(void)
{
	static const struct {
		const char *asked, *told;
		int domain;
	} rows[] = {
		{ NULL, "-", FIRST },
		{ "net.example", "net.example", NET },
		{ "NET.Example", "NET.Example", NET },
		{ "other.example", "other.example", OTHER },
		{ "b\xc3\xbc" "cher.example", "xn--bcher-kva.example", FIRST },
		{ "xn--bcher-kva.example", "xn--bcher-kva.example", FIRST },
		{ "nobody.example", "nobody.example", FIRST },
		{ "127.0.0.1", "127.0.0.1", FIRST },
		{ "-a.example", "-a.example", FIRST },
		{ "dot.example.", "dot.example", FIRST },
	};
	size_t i, v;

	for (v = 0; v < PT_COUNT(versions); v++)
		for (i = 0; i < PT_COUNT(rows); i++) {
			const struct at *a = &at[rows[i].domain];

			meet(versions[v], rows[i].asked, a->other ? stranger : alice, NULL);
			CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
			CU_ASSERT_EQUAL(duet.client_rc, 0);
			CU_ASSERT_EQUAL(chooser.calls, 1);
			CU_ASSERT_STRING_EQUAL(chooser.host, rows[i].told);
			CU_ASSERT_TRUE(is_leaf(a));
			CU_ASSERT_EQUAL(signer.key, (uint32_t)rows[i].domain);
			CU_ASSERT_PTR_EQUAL(tls_session_facts(duet.server)->name, a->name);
			CU_ASSERT_PTR_EQUAL(tls_session_name(duet.server), a->name);
			CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
			duet_fini(&duet);
		}
}

/* --- who is trusted --------------------------------------------------------------------------- */

static void
test_modes(void)
{
	static const struct {
		const char *host;
		int cert; /* 0: none, 1: alice, 2: the stranger */
		enum tls_status status;
		unsigned alert12, alert13;
		enum tls_verdict verdict;
	} rows[] = {
		{ NULL, 0, TLS_OK, 0, 0, TLS_VERDICT_NONE },
		{ NULL, 1, TLS_OK, 0, 0, TLS_VERDICT_TRUSTED },
		{ NULL, 2, TLS_OK, 0, 0, TLS_VERDICT_UNKNOWN_CA },
		{ "net.example", 0, TLS_FAILED, 40, 116, TLS_VERDICT_NONE },
		{ "net.example", 1, TLS_OK, 0, 0, TLS_VERDICT_TRUSTED },
		{ "net.example", 2, TLS_FAILED, 48, 48, TLS_VERDICT_UNKNOWN_CA },
		{ "other.example", 0, TLS_OK, 0, 0, TLS_VERDICT_NONE },
		{ "other.example", 1, TLS_FAILED, 48, 48, TLS_VERDICT_UNKNOWN_CA },
		{ "other.example", 2, TLS_OK, 0, 0, TLS_VERDICT_TRUSTED },
	};
	const struct pki *certs[] = { NULL, alice, stranger };
	size_t i, v;

	for (v = 0; v < PT_COUNT(versions); v++)
		for (i = 0; i < PT_COUNT(rows); i++) {
			meet(versions[v], rows[i].host, certs[rows[i].cert], NULL);
			CU_ASSERT_EQUAL(duet.status, rows[i].status);
			CU_ASSERT_EQUAL(duet.client_alert, v == 0 ? rows[i].alert12 : rows[i].alert13);
			CU_ASSERT_EQUAL(duet.status == TLS_OK ? tls_session_facts(duet.server)->verdict
							      : tls_session_failure(duet.server)->verdict,
				rows[i].verdict);
			duet_fini(&duet);
		}
}

/* A domain that asks for none behind one that would. */
static void
test_mode_none(void)
{
	struct tls_cred *kept = at[NET].cred;
	size_t v;

	at[NET].mode = TLS_CLIENT_CERT_NONE;
	at[NET].cred = make_cred(&at[NET], NET);
	for (v = 0; v < PT_COUNT(versions); v++) {
		meet(versions[v], "net.example", alice, NULL);
		CU_ASSERT_EQUAL(duet.status, TLS_OK);
		CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_NONE);
		CU_ASSERT_PTR_NULL(tls_session_facts(duet.server)->subject);
		CU_ASSERT_FALSE(tls_session_facts(duet.server)->asked);
		duet_fini(&duet);
		meet(versions[v], NULL, alice, NULL);
		CU_ASSERT_TRUE(tls_session_facts(duet.server)->asked);
		duet_fini(&duet);
	}
	tls_cred_unref(&at[NET].cred);
	at[NET].cred = kept;
	at[NET].mode = TLS_CLIENT_CERT_REQUIRE;
}

/* --- tickets ---------------------------------------------------------------------------------- */

static gnutls_datum_t
take_ticket(void)
{
	gnutls_datum_t ticket = { NULL, 0 };
	size_t sent;
	unsigned n;
	char octet;

	CU_ASSERT_EQUAL(tls_session_send_tickets(duet.server, &n), TLS_OK);
	CU_ASSERT_TRUE(n > 0);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
	while (duet_client_recv(&duet, &octet, 1) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL(gnutls_session_get_data2(duet.client, &ticket), 0);
	return ticket;
}

/* A ticket opens at its own name alone, in both versions, whatever certificate is offered beside it. A client that
 * comes with an anonymous ticket to "require" is refused like one without. */
static void
test_tickets(void)
{
	static const char *const hosts[] = { NULL, "net.example", "other.example" };
	static const char *const same[] = { "unknown.example", "NET.EXAMPLE", "Other.example" };
	gnutls_datum_t ticket;
	size_t v;
	int home, away;

	for (v = 0; v < PT_COUNT(versions); v++)
		for (home = 0; home < DOMAINS; home++) {
			meet(versions[v], hosts[home], at[home].other ? stranger : alice, NULL);
			CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
			ticket = take_ticket();
			duet_fini(&duet);
			for (away = 0; away < DOMAINS; away++) {
				meet(versions[v], hosts[away], at[away].other ? stranger : alice, &ticket);
				CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
				CU_ASSERT_EQUAL(tls_session_facts(duet.server)->resumed, home == away);
				CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
				if (home != away)
					CU_ASSERT_TRUE(is_leaf(&at[away]));
				duet_fini(&duet);
			}
			/* the same domain by another name; in TLS 1.2 a ticket is for one name as it was written */
			meet(versions[v], same[home], at[home].other ? stranger : alice, &ticket);
			CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
			CU_ASSERT_EQUAL(tls_session_facts(duet.server)->resumed, v == 1);
			CU_ASSERT_STRING_EQUAL(tls_session_facts(duet.server)->subject,
				at[home].other ? "CN=stranger" : "CN=alice");
			duet_fini(&duet);
			gnutls_free(ticket.data);
		}
}

static void
test_anonymous_ticket(void)
{
	gnutls_datum_t ticket;
	size_t v;

	for (v = 0; v < PT_COUNT(versions); v++) {
		meet(versions[v], NULL, NULL, NULL);
		ticket = take_ticket();
		duet_fini(&duet);
		meet(versions[v], "net.example", NULL, &ticket);
		CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
		CU_ASSERT_EQUAL(duet.client_alert, v == 0 ? 40 : 116);
		duet_fini(&duet);
		gnutls_free(ticket.data);
	}
}

static void
test_no_tickets(void)
{
	gnutls_datum_t ticket;
	size_t v;

	for (v = 0; v < PT_COUNT(versions); v++) {
		meet(versions[v], "net.example", alice, NULL);
		ticket = take_ticket();
		duet_fini(&duet);
		chooser.no_tickets = true;
		meet(versions[v], "net.example", alice, &ticket);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
		chooser.no_tickets = false;
		duet_fini(&duet);
		gnutls_free(ticket.data);
	}
}

/* --- only once -------------------------------------------------------------------------------- */

/* A client whose key share is not the one that we want sends its ClientHello twice; no ticket is taken across that
 * (test_retry.c). */
static void
test_hello_retry(void)
{
	gnutls_datum_t ticket;
	int i;

	for (i = 0; i < 2; i++) {
		meet(i == 0 ? DUET_TLS13 : DUET_TLS13 ":-GROUP-ALL:+GROUP-SECP384R1:+GROUP-SECP256R1", "net.example", alice,
			i == 0 ? NULL : &ticket);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		CU_ASSERT_EQUAL(hellos, i == 0 ? 1 : 2);
		CU_ASSERT_EQUAL(chooser.calls, 1);
		CU_ASSERT_STRING_EQUAL(tls_session_facts(duet.server)->name, "net");
		CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
		if (i == 0)
			ticket = take_ticket();
		else
			gnutls_free(ticket.data);
		duet_fini(&duet);
	}
}

/* In a renegotiation the client asks for a domain where less is demanded: it stays where it is. */
static void
test_renegotiation(void)
{
	char octet;
	size_t n;
	int i;

	meet(DUET_TLS12, "net.example", alice, NULL);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(gnutls_server_name_set(duet.client, GNUTLS_NAME_DNS, "other.example", 13), 0);
	duet.client_rc = gnutls_handshake(duet.client);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, &octet, 1, &n), TLS_RENEGOTIATE);
	CU_ASSERT_TRUE_FATAL(tls_session_renegotiate(duet.server, true));
	for (i = 0; i < 8; i++) {
		duet.status = tls_session_handshake(duet.server);
		if (duet.status != TLS_WANT_READ)
			break;
		duet.client_rc = gnutls_handshake(duet.client);
	}
	CU_ASSERT_EQUAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(chooser.calls, 1);
	CU_ASSERT_STRING_EQUAL(tls_session_facts(duet.server)->name, "net");
	CU_ASSERT_EQUAL(signer.key, NET);
	duet_fini(&duet);
}

/* The set of a domain may be replaced while a session is in it. */
static void
test_replaced(void)
{
	struct tls_cred *old = at[NET].cred;
	size_t v, sent;

	for (v = 0; v < PT_COUNT(versions); v++) {
		meet(versions[v], "net.example", alice, NULL);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		at[NET].cred = make_cred(&at[NET], NET);
		tls_cred_unref(&old); /* the session has the last reference */
		CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
		duet_fini(&duet);
		old = at[NET].cred;
	}
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "names", test_names },
	{ "modes and CAs", test_modes },
	{ "none asked for", test_mode_none },
	{ "tickets", test_tickets },
	{ "an anonymous ticket", test_anonymous_ticket },
	{ "no tickets", test_no_tickets },
	{ "a second ClientHello", test_hello_retry },
	{ "renegotiation", test_renegotiation },
	{ "a set is replaced", test_replaced },
	{ "certificates freed", test_end },
};

TEST_MAIN("tls/sni", rows)
