/* unit/tls/test_cuts.c - a whole session, from the first octet of the handshake to both close_notify, with its
 * streams cut at every octet: stalled there in either direction, ended, reset, and with that octet changed.
 *
 * What the pull and push functions of a session must not do is to lose, double or reorder an octet, to ask GnuTLS
 * for ever when nothing moves, or to take half a session for a whole one. */
#include "test.h"
#include "duet.h"

#include <stdlib.h>
#include <string.h>

#define HELLO "OK \"the server's first words\"\r\n"
#define ASK "ECHO what the client says\r\n"
#define ANSWER "OK \"what the server answers\"\r\n"
#define STEPS_MAX 64 /* rounds in which nobody may be waiting for nothing */
#define IDLE_MAX 3 /* rounds in which no octet moves: GnuTLS reads a ticket in one of its own */
#define TEXT_MAX 256

static struct pki *ca, *server, *alice;
static char *server_pem, *ca_pem;
static struct duet_signer signer;
static struct tls_cred *cred;
static struct tls_ticket_key ticket;
static struct duet duet;

/* What became of a session. */
struct outcome {
	enum tls_status handshake, end; /* end: of what the server read last */
	int client; /* its handshake */
	char heard[TEXT_MAX], answered[TEXT_MAX]; /* by the server; by the client */
	size_t nheard, nanswered;
	bool client_closed; /* it got our close_notify */
	size_t in, out; /* octets that passed */
};

static void
test_begin(void)
{
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3,
		.client_cert = TLS_CLIENT_CERT_OPTIONAL, .nchains = 1, .ncas = 1, .sign = duet_sign,
		.sign_arg = &signer };
	static const uint8_t master[TLS_TICKET_MASTER_SIZE] = { 1, 2, 3 };
	struct tls_ca_file file;
	struct tls_chain chain;
	struct diag diag;

	ca = pki_new(&(struct pki_spec){ .cn = "CA", .ca = true }, NULL);
	server = pki_new(&(struct pki_spec){ .cn = "server" }, ca);
	alice = pki_new(&(struct pki_spec){ .cn = "alice", .email = "alice@example.org",
		.purpose = GNUTLS_KP_TLS_WWW_CLIENT }, ca);
	server_pem = duet_add_key(&signer, server, NULL);
	ca_pem = pki_cert_pem(ca);
	chain = (struct tls_chain){ span_str(server_pem), 0 };
	file = (struct tls_ca_file){ span_str(ca_pem), "ca.pem" };
	conf.chains = &chain;
	conf.cas = &file;
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
	CU_ASSERT_EQUAL_FATAL(tls_ticket_key_derive(master, "line", "", cred, 3600, &ticket), 0);
}

static void
test_end(void)
{
	tls_cred_unref(&cred);
	duet_signer_fini(&signer);
	pki_free(&ca);
	pki_free(&server);
	pki_free(&alice);
	free(server_pem);
	free(ca_pem);
}

/* --- the two sides, a step at a time ---------------------------------------------------------- */

static bool
waits(enum tls_status s)
{
	return s == TLS_WANT_READ || s == TLS_WANT_WRITE;
}

struct server_side {
	enum tls_status handshake, status;
	size_t said;     /* octets of HELLO and ANSWER that are dealt with */
	size_t may_say;  /* how many of them are due */
	bool ended, bye;
};

/* What the server does when it is woken, as far as it can. */
static void
server_step(struct server_side *s, struct outcome *o)
{
	static const char words[] = HELLO ANSWER;
	unsigned tickets;
	size_t n;

	if (waits(s->handshake)) {
		duet.to_client.met = false;
		s->handshake = tls_session_handshake(duet.server);
		if (waits(s->handshake)) /* it says what it waits for */
			CU_ASSERT_EQUAL(s->handshake, duet.to_client.met ? TLS_WANT_WRITE : TLS_WANT_READ);
		if (s->handshake != TLS_OK)
			return;
		s->may_say = sizeof HELLO - 1;
	}
	if (s->handshake != TLS_OK || s->bye)
		return;
	while (s->said < s->may_say) {
		if (tls_session_send_tickets(duet.server, &tickets) != TLS_OK ||
		    tls_session_send(duet.server, (struct span){ (const uint8_t *)words + s->said,
			s->may_say - s->said }, &n) != TLS_OK)
			break;
		s->said += n;
	}
	while (!s->ended) {
		s->status = tls_session_recv(duet.server, o->heard + o->nheard, sizeof o->heard - o->nheard, &n);
		if (waits(s->status))
			break;
		CU_ASSERT_TRUE((s->status == TLS_OK) == (n > 0));
		o->nheard += n;
		s->ended = s->status != TLS_OK;
		if (o->nheard >= sizeof ASK - 1)
			s->may_say = sizeof words - 1;
	}
	/* our close_notify behind all that is to be said */
	if (s->ended && s->status == TLS_CLOSED && s->said == s->may_say)
		s->bye = tls_session_bye(duet.server) == TLS_OK;
}

/* The client asks when it has heard the first words, and goes when it has its answer. */
static void
client_step(struct outcome *o, bool *asked, bool *gone)
{
	ssize_t r;

	if (duet.client_rc == GNUTLS_E_AGAIN)
		duet.client_rc = gnutls_handshake(duet.client);
	if (duet.client_rc != 0)
		return;
	while ((r = duet_client_recv(&duet, o->answered + o->nanswered, sizeof o->answered - o->nanswered)) > 0)
		o->nanswered += (size_t)r;
	o->client_closed = o->client_closed || r == 0;
	if (!*asked && o->nanswered >= sizeof HELLO - 1)
		*asked = gnutls_record_send(duet.client, ASK, sizeof ASK - 1) == sizeof ASK - 1;
	if (!*gone && o->nanswered >= sizeof HELLO ANSWER - 1)
		*gone = gnutls_bye(duet.client, GNUTLS_SHUT_WR) == 0;
}

/* Runs both until nothing moves; then, if there is a stall, lifts it and goes on. damage: that octet of what the client
 * sends is changed. */
static void
run(struct outcome *o, bool tls13, const struct pki *cert, enum wire_cut how, const size_t *in_at,
    const size_t *out_at, const size_t *damage)
{
	struct server_side s = { .handshake = TLS_WANT_READ };
	bool asked = false, gone = false;
	size_t moved, before, in, i, idle = 0;

	memset(o, 0, sizeof *o);
	duet_init(&duet, cred, tls13 ? DUET_TLS13 : DUET_TLS12, cert, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(tls_session_offer_tickets(duet.server, &ticket), 0);
	duet.to_server.cut = in_at != NULL;
	duet.to_server.cut_at = in_at != NULL ? *in_at : 0;
	duet.to_client.cut = out_at != NULL;
	duet.to_client.cut_at = out_at != NULL ? *out_at : 0;
	duet.to_server.cut_how = duet.to_client.cut_how = how;
	for (i = 0; i < STEPS_MAX; i++) {
		moved = duet.to_server.passed + duet.to_client.passed;
		before = duet.to_server.len - duet.to_server.off;
		client_step(o, &asked, &gone);
		if (damage != NULL && duet.to_server.len > duet.to_server.off + before) {
			in = duet.to_server.passed + before; /* the number of the first new octet */
			if (*damage >= in && *damage < in + (duet.to_server.len - duet.to_server.off - before))
				duet.to_server.octets[duet.to_server.off + *damage - duet.to_server.passed] ^= 0x21;
		}
		server_step(&s, o);
		idle = duet.to_server.passed + duet.to_client.passed != moved ||
			duet.to_server.len - duet.to_server.off != before ? 0 : idle + 1;
		if (idle < IDLE_MAX)
			continue;
		if (how != WIRE_STALL || (!duet.to_server.cut && !duet.to_client.cut))
			break;
		CU_ASSERT_TRUE(s.handshake == TLS_OK || waits(s.handshake));
		duet.to_server.cut = duet.to_client.cut = false;
		idle = 0;
	}
	CU_ASSERT_TRUE(i < STEPS_MAX);
	o->handshake = s.handshake;
	o->end = s.status;
	o->client = duet.client_rc;
	o->in = duet.to_server.passed;
	o->out = duet.to_client.passed;
}

static bool
complete(const struct outcome *o)
{
	return o->handshake == TLS_OK && o->end == TLS_CLOSED && o->client == 0 && o->client_closed &&
		o->nheard == sizeof ASK - 1 && memcmp(o->heard, ASK, o->nheard) == 0 &&
		o->nanswered == sizeof HELLO ANSWER - 1 && memcmp(o->answered, HELLO ANSWER, o->nanswered) == 0;
}

/* What was heard is what was said, as far as it goes. */
static bool
true_as_far_as_it_goes(const struct outcome *o)
{
	return o->nheard <= sizeof ASK - 1 && memcmp(o->heard, ASK, o->nheard) == 0 &&
		o->nanswered <= sizeof HELLO ANSWER - 1 && memcmp(o->answered, HELLO ANSWER, o->nanswered) == 0;
}

/* --- the tests: each over both versions, without and with a certificate ------------------------ */

/* f for every octet of what the client sends (in) or the server (out). */
static void
each(void (*f)(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole), bool in)
{
	const struct pki *const certs[] = { NULL, alice };
	struct outcome whole;
	size_t at, n;
	int v, c;

	for (v = 0; v < 2; v++)
		for (c = 0; c < 2; c++) {
			run(&whole, v == 1, certs[c], WIRE_STALL, NULL, NULL, NULL);
			CU_ASSERT_TRUE_FATAL(complete(&whole));
			duet_fini(&duet);
			n = in ? whole.in : whole.out;
			for (at = 0; at < n; at++) {
				f(v == 1, certs[c], at, &whole);
				if (CU_get_number_of_failures() > 0) {
					fprintf(stderr, "\nTLS 1.%d, %s, octet %zu of %zu\n", v + 2,
						c ? "certificate" : "none", at, n);
					return;
				}
			}
		}
}

static void
stall_in(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole)
{
	struct outcome o;

	(void)whole;
	run(&o, tls13, cert, WIRE_STALL, &at, NULL, NULL);
	CU_ASSERT_TRUE(complete(&o));
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict,
		cert != NULL ? TLS_VERDICT_TRUSTED : TLS_VERDICT_NONE);
	duet_fini(&duet);
}

static void
stall_out(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole)
{
	struct outcome o;

	(void)whole;
	run(&o, tls13, cert, WIRE_STALL, NULL, &at, NULL);
	CU_ASSERT_TRUE(complete(&o));
	duet_fini(&duet);
}

/* The stream ends there, or breaks: never a whole session, and never words that were not said. The lengths of two
 * handshakes may differ by the octets of signatures, so that the last few may be behind the end. */
static void
lost(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole, enum wire_cut how)
{
	struct outcome o;

	run(&o, tls13, cert, how, &at, NULL, NULL);
	CU_ASSERT_TRUE(true_as_far_as_it_goes(&o));
	if (at + 8 < whole->in) {
		CU_ASSERT_FALSE(complete(&o));
		CU_ASSERT_EQUAL(o.handshake == TLS_OK ? o.end : o.handshake,
			how == WIRE_END ? TLS_TRUNCATED : TLS_FAILED);
	}
	duet_fini(&duet);
}

static void
end_in(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole)
{
	lost(tls13, cert, at, whole, WIRE_END);
}

static void
reset_in(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole)
{
	lost(tls13, cert, at, whole, WIRE_RESET);
}

/* A changed octet: the handshake fails with an alert, or (in the version numbers that nobody reads) nothing comes of
 * it; a client never gets another certificate's verdict, and nobody hears what was not said. */
static void
changed(bool tls13, const struct pki *cert, size_t at, const struct outcome *whole)
{
	enum tls_verdict v;
	struct outcome o;

	(void)whole;
	run(&o, tls13, cert, WIRE_STALL, NULL, NULL, &at);
	CU_ASSERT_TRUE(true_as_far_as_it_goes(&o));
	if (o.handshake == TLS_OK) {
		v = tls_session_facts(duet.server)->verdict;
		CU_ASSERT_EQUAL(v, cert != NULL ? TLS_VERDICT_TRUSTED : TLS_VERDICT_NONE);
	}
	/* a length that grew waits for more, which is a matter of the deadline */
	if (o.handshake == TLS_FAILED)
		CU_ASSERT_TRUE(tls_session_failure(duet.server)->alert_sent != 0 ||
			tls_session_failure(duet.server)->alert_got != 0);
	duet_fini(&duet);
}

static void
test_stall_in(void)
{
	each(stall_in, true);
}

static void
test_stall_out(void)
{
	each(stall_out, false);
}

static void
test_end_in(void)
{
	each(end_in, true);
}

static void
test_reset_in(void)
{
	each(reset_in, true);
}

static void
test_changed(void)
{
	each(changed, true);
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "the client stalls at every octet", test_stall_in },
	{ "the network takes no more at every octet", test_stall_out },
	{ "the end at every octet", test_end_in },
	{ "a reset at every octet", test_reset_in },
	{ "every octet changed", test_changed },
	{ "certificates freed", test_end },
};
TEST_MAIN("tls/cuts", rows)
