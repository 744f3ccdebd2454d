/* unit/tls/test_retry.c - a HelloRetryRequest makes the client send a second ClientHello (RFC 8446 §4.1.4), and
 * GnuTLS opens the tickets of both: what the first has proved must not be worth what the second shows. */
#include "test.h"
#include "duet.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDENTITY_MAX 4096
#define PRE_SHARED_KEY 41
#define TRIES 64
#define RETRIED DUET_TLS13 ":-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP384R1" /* its key share is of the first: not ours */

struct identity {
	size_t n;
	uint8_t octets[IDENTITY_MAX];
};

static struct pki *ca, *server, *alice, *mallory;
static struct duet_signer signer;
static char *server_pem, *ca_pem;
static struct duet duet;
static struct identity seen;          /* of the last ClientHello */
static const struct identity *stolen; /* put into the second ClientHello; NULL: it goes as it is */
static unsigned hellos;

static struct pki *
leaf(const char *email)
{
	return pki_new(&(struct pki_spec){ .cn = "client", .email = email, .purpose = GNUTLS_KP_TLS_WWW_CLIENT }, ca);
}

static void
test_begin(void)
{
	ca = pki_new(&(struct pki_spec){ .cn = "CA", .ca = true }, NULL);
	server = pki_new(&(struct pki_spec){ .cn = "server" }, ca);
	alice = leaf("alice@a.example");
	server_pem = duet_add_key(&signer, server, NULL);
	ca_pem = pki_cert_pem(ca);
}

static void
test_end(void)
{
	pki_free(&ca);
	pki_free(&server);
	pki_free(&alice);
	duet_signer_fini(&signer);
	free(server_pem);
	free(ca_pem);
}

static struct tls_cred *
cred_for(enum tls_client_cert mode)
{
	const struct tls_chain chain = { span_str(server_pem), 0 };
	const struct tls_ca_file file = { span_str(ca_pem), "ca.pem" };
	const struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3, .client_cert = mode,
		.chains = &chain, .nchains = 1, .cas = &file, .ncas = 1, .generation = 1,
		.sign = duet_sign, .sign_arg = &signer };
	struct diag diag = { "" };
	struct tls_cred *cred;

	if (tls_cred_new(&conf, &cred, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	return cred;
}

/* --- what is in a ClientHello ------------------------------------------------------------------ */

static size_t
number(const uint8_t *p, size_t octets)
{
	size_t v = 0;

	while (octets-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* The ticket that a ClientHello of our own client offers. */
static void
note_identity(const gnutls_datum_t *msg)
{
	const uint8_t *p = msg->data + 2 + 32, *end = msg->data + msg->size;

	seen.n = 0;
	p += 1 + number(p, 1); /* session id */
	p += 2 + number(p, 2); /* cipher suites */
	p += 1 + number(p, 1); /* compression methods */
	for (p += 2; p < end; p += 4 + number(p + 2, 2))
		if (number(p, 2) == PRE_SHARED_KEY) {
			seen.n = number(p + 6, 2);
			PT_ASSERT(seen.n <= sizeof seen.octets);
			memcpy(seen.octets, p + 8, seen.n);
		}
}

/* In all of this process's memory that can be written: the client's message is in its transcript already. */
static void
replace(const struct identity *old, const struct identity *new)
{
	static uint8_t block[1 << 20];
	FILE *maps = fopen("/proc/self/maps", "r");
	int mem = open("/proc/self/mem", O_RDWR);
	unsigned long from, to;
	char line[512], rights[8];
	ssize_t n;
	uint8_t *at;

	PT_ASSERT(maps != NULL && mem >= 0);
	while (fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[1] != 'w' || to - from > 64 << 20)
			continue;
		for (; from < to; from += sizeof block - IDENTITY_MAX) {
			n = pread(mem, block, sizeof block < to - from ? sizeof block : to - from, (off_t)from);
			for (at = block; n > 0 && (at = memmem(at, (size_t)(block + n - at), old->octets, old->n)) != NULL;
				at++)
				if (from + (size_t)(at - block) != (unsigned long)(uintptr_t)old->octets)
					(void)!pwrite(mem, new->octets, new->n, (off_t)(from + (size_t)(at - block)));
		}
	}
	close(mem);
	fclose(maps);
}

static int
client_hook(gnutls_session_t g, unsigned type, unsigned when, unsigned incoming, const gnutls_datum_t *msg)
{
	static struct identity own;

	(void)g;
	(void)type;
	(void)when;
	if (incoming)
		return 0;
	hellos++;
	note_identity(msg);
	if (hellos == 2 && stolen != NULL) {
		own = seen;
		CU_ASSERT_EQUAL_FATAL(own.n, stolen->n);
		replace(&own, stolen);
		note_identity(msg);
		CU_ASSERT_TRUE(seen.n == stolen->n && memcmp(seen.octets, stolen->octets, seen.n) == 0);
	}
	return 0;
}

/* --- meetings ---------------------------------------------------------------------------------- */

static void
begin(struct tls_cred *cred, const char *priority, const struct pki *cert, const gnutls_datum_t *ticket)
{
	struct tls_ticket_key key = { .lifetime_s = 3600 };

	memset(key.octets, 'k', sizeof key.octets);
	duet_init(&duet, cred, priority, cert, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(tls_session_offer_tickets(duet.server, &key), 0);
	if (ticket != NULL)
		CU_ASSERT_EQUAL(gnutls_session_set_data(duet.client, ticket->data, ticket->size), 0);
	gnutls_handshake_set_hook_function(duet.client, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_PRE, client_hook);
	hellos = 0;
	seen.n = 0;
}

/* The session of that certificate's owner, and the ticket in it as it goes over the wire. */
static gnutls_datum_t
ticket_of(struct tls_cred *cred, const struct pki *cert, struct identity *id)
{
	gnutls_datum_t ticket = { NULL, 0 };
	size_t sent;
	unsigned n;
	char octet;

	begin(cred, DUET_TLS13, cert, NULL);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(tls_session_send_tickets(duet.server, &n), TLS_OK);
	CU_ASSERT_EQUAL(tls_session_send(duet.server, span_str("x"), &sent), TLS_OK);
	while (duet_client_recv(&duet, &octet, 1) == GNUTLS_E_AGAIN)
		CU_ASSERT_TRUE_FATAL(duet.to_client.len > 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_session_get_data2(duet.client, &ticket), 0);
	duet_fini(&duet);
	begin(cred, DUET_TLS13, cert, &ticket);
	CU_ASSERT_EQUAL(gnutls_handshake(duet.client), GNUTLS_E_AGAIN);
	CU_ASSERT_TRUE_FATAL(seen.n > 0);
	*id = seen;
	duet_fini(&duet);
	return ticket;
}

/* Who has to send a second ClientHello is not resumed, and loses nothing else. */
static void
test_retried(void)
{
	struct tls_cred *cred = cred_for(TLS_CLIENT_CERT_REQUIRE);
	gnutls_datum_t ticket;
	struct identity id;

	ticket = ticket_of(cred, alice, &id);
	stolen = NULL;
	begin(cred, RETRIED, alice, &ticket);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(hellos, 2);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
	CU_ASSERT_STRING_EQUAL(tls_session_facts(duet.server)->sans[0], "email:alice@a.example");
	duet_fini(&duet);
	begin(cred, RETRIED, NULL, &ticket);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(duet.status, TLS_FAILED);
	CU_ASSERT_EQUAL(tls_session_failure(duet.server)->verdict, TLS_VERDICT_NONE);
	duet_fini(&duet);
	gnutls_free(ticket.data);
	tls_cred_unref(&cred);
}

/* Mallory's own ticket, as long as that one. */
static gnutls_datum_t
ticket_like(struct tls_cred *cred, const struct identity *other)
{
	gnutls_datum_t ticket;
	struct identity own;
	int i;

	for (i = 0; i < TRIES; i++) { /* signatures differ in length by an octet or two */
		mallory = leaf("mally@m.example");
		ticket = ticket_of(cred, mallory, &own);
		if (own.n == other->n)
			return ticket;
		gnutls_free(ticket.data);
		pki_free(&mallory);
	}
	CU_FAIL_FATAL("no ticket of that length");
	return (gnutls_datum_t){ NULL, 0 };
}

/* The first ClientHello has Mallory's own ticket and proves that it is hers. The second has Alice's, read off the wire:
 * it is opened and not taken, being too old by what stands beside it. It must not count as what was taken. */
static void
test_swapped(void)
{
	static const enum tls_client_cert modes[] = { TLS_CLIENT_CERT_REQUEST, TLS_CLIENT_CERT_OPTIONAL,
		TLS_CLIENT_CERT_REQUIRE };
	struct identity hers;
	gnutls_datum_t of_alice, of_mallory;
	struct tls_cred *cred;
	size_t m;

	for (m = 0; m < PT_COUNT(modes); m++) {
		cred = cred_for(modes[m]);
		of_alice = ticket_of(cred, alice, &hers);
		of_mallory = ticket_like(cred, &hers);
		stolen = &hers;
		begin(cred, RETRIED, NULL, &of_mallory);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(hellos, 2);
		CU_ASSERT_EQUAL(duet.status, modes[m] == TLS_CLIENT_CERT_REQUIRE ? TLS_FAILED : TLS_OK);
		if (duet.status == TLS_OK) {
			CU_ASSERT_FALSE(tls_session_facts(duet.server)->resumed);
			CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_NONE);
			CU_ASSERT_PTR_NULL(tls_session_facts(duet.server)->subject);
		}
		duet_fini(&duet);
		stolen = NULL;
		gnutls_free(of_alice.data);
		gnutls_free(of_mallory.data);
		pki_free(&mallory);
		tls_cred_unref(&cred);
	}
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "the same ticket twice", test_retried },
	{ "another ticket in the second ClientHello", test_swapped },
	{ "certificates freed", test_end },
};
TEST_MAIN("tls/retry", rows)
