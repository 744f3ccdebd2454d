/* tls/tls_session.c - handshake, records, alerts and the end of a session. */
#include "tls/tls_session.h"

#include "tls/tls_session_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 256 /* octets of a host name with a NUL; a longer one is none */
#define CONTENT_ALERT 21 /* RFC 8446 §5.1 */

/* In TLS 1.3 a client that does not like our certificate may say so when it has no keys to say it with yet (OpenSSL
 * does): in plaintext, and GnuTLS only finds that it does not decrypt. GnuTLS reads header and body of a record
 * apart. It is noted for people: the session fails either way. */
static void
look_for_alert(struct tls_session *s, const uint8_t *p, size_t n)
{
	if (s->alert_next && n == 2) {
		s->alert_seen = true;
		s->alert_plain = p[1];
	}
	s->alert_next = n == TLS_RECORD_HEADER && p[0] == CONTENT_ALERT && p[3] == 0 && p[4] == 2;
}

static ssize_t
pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct tls_session *s = arg;
	struct span kept = buf_span(&s->hello);
	ssize_t r;

	if (s->anew && kept.n > 0) {
		n = n < kept.n ? n : kept.n;
		memcpy(p, kept.p, n);
		buf_consume(&s->hello, n);
		s->fed = true;
		return (ssize_t)n;
	}
	r = s->transport.read(s->transport.arg, p, n);
	s->fed = r != PT_EAGAIN;
	if (r >= 0 && !s->done)
		look_for_alert(s, p, (size_t)r);
	if (r >= 0)
		return r;
	if (r == PT_EEOF) {
		s->ended = true;
		return 0;
	}
	gnutls_transport_set_errno(s->g, r == PT_EAGAIN ? EAGAIN : ECONNRESET);
	return -1;
}

static ssize_t
vec_push(gnutls_transport_ptr_t arg, const giovec_t *iov, int count)
{
	struct tls_session *s = arg;
	ssize_t sum = 0, r;
	int i;

	for (i = 0; i < count; i++) {
		r = s->transport.write(s->transport.arg, iov[i].iov_base, iov[i].iov_len);
		if (r < 0 && sum > 0)
			return sum;
		if (r < 0) {
			gnutls_transport_set_errno(s->g, r == PT_EAGAIN ? EAGAIN : EPIPE);
			return -1;
		}
		sum += r;
		if ((size_t)r < iov[i].iov_len)
			break;
	}
	return sum;
}

static bool
refuses(enum tls_client_cert mode, enum tls_verdict v)
{
	switch (mode) {
	case TLS_CLIENT_CERT_NONE:
	case TLS_CLIENT_CERT_REQUEST:
		return false;
	case TLS_CLIENT_CERT_OPTIONAL:
		return v != TLS_VERDICT_TRUSTED && v != TLS_VERDICT_NONE;
	case TLS_CLIENT_CERT_REQUIRE:
		return v != TLS_VERDICT_TRUSTED;
	}
	return true;
}

static struct tls_cred *
trust_of(const struct tls_session *s)
{
	return s->trust != NULL ? s->trust : s->cred;
}

/* GnuTLS verifies with the CAs of the session's credentials, whose certificates are those that it shows. */
static void
use_x509(struct tls_session *s, const struct tls_cred *cred)
{
	/* replaces the one that is there, so it needs no memory */
	PT_ASSERT(gnutls_credentials_set(s->g, GNUTLS_CRD_CERTIFICATE, cred->x509) == 0);
}

static enum tls_verdict
judge_chain(struct tls_session *s)
{
	const struct tls_cred *trust = trust_of(s);
	enum tls_verdict v;

	if (trust != s->cred)
		use_x509(s, trust);
	v = tls_judge(s->g, trust, &s->facts.known, &s->status, &s->facts.trusted_until_s);
	if (trust != s->cred)
		use_x509(s, s->cred);
	return v;
}

/* A chain counts when it was shown in this handshake, or comes from the ticket that is resumed; GnuTLS also shows
 * that of a ticket which it does not resume, and in a renegotiation that of the first handshake. */
static enum tls_verdict
verdict_now(struct tls_session *s)
{
	if (!s->shown && (s->again || !gnutls_session_is_resumed(s->g)))
		return TLS_VERDICT_NONE;
	return judge_chain(s);
}

/* The gate of optional and require, inside the handshake so that a refused client gets its alert in
 * time. In TLS 1.2 the peer has not yet proved that it has the key: no identity comes from here. */
static int
verify_callback(gnutls_session_t g)
{
	struct tls_session *s = gnutls_session_get_ptr(g);
	enum tls_verdict v = verdict_now(s);

	s->judged = true;
	s->verdict = v;
	if (!refuses(s->cred->client_cert, v))
		return 0;
	s->failure.verdict = v;
	return v == TLS_VERDICT_NONE ? GNUTLS_E_NO_CERTIFICATE_FOUND
				     : GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

/* --- the domain ------------------------------------------------------------------------------- */

static void
use_cred(struct tls_session *s)
{
	enum tls_client_cert mode = s->cred->client_cert;

	tls_judge_prepare(s->g, s->cred);
	gnutls_session_set_verify_function(s->g,
		mode == TLS_CLIENT_CERT_OPTIONAL || mode == TLS_CLIENT_CERT_REQUIRE ? verify_callback : NULL);
}

/* The host that the client asks for; NULL: none. */
static const char *
server_name(gnutls_session_t g, char out[HOST_MAX])
{
	size_t n = HOST_MAX;
	unsigned type;

	if (gnutls_server_name_get(g, out, &n, &type, 0) != 0 || type != GNUTLS_NAME_DNS || n == 0 ||
	    n >= HOST_MAX || memchr(out, '\0', n) != NULL)
		return NULL;
	out[n] = '\0';
	if (out[n - 1] == '.') /* RFC 6066 §3: without it */
		out[n - 1] = '\0';
	return out;
}

/* A ticket holds the client's chain, and comes back in its ClientHello. */
static void
expect_tickets(struct tls_session *s)
{
	s->tickets = true;
	gnutls_handshake_set_max_packet_length(s->g, TLS_HELLO_MAX);
}

static int
enable_tickets(struct tls_session *s, const struct tls_ticket_key *key)
{
	const gnutls_datum_t d = { (unsigned char *)(uintptr_t)key->octets, sizeof key->octets };

	s->ticket_tag = tls_message_ticket_tag(key);
	gnutls_db_set_cache_expiration(s->g, (int)key->lifetime_s);
	return gnutls_session_ticket_enable_server(s->g, &d);
}

/* GnuTLS calls this when it has read the name in a ClientHello, and opens tickets after it in every version. */
static int
after_client_hello(gnutls_session_t g)
{
	struct tls_session *s = gnutls_session_get_ptr(g);
	struct tls_domain domain = { NULL, NULL, NULL };
	char host[HOST_MAX];
	tls_choose_f *choose = s->choose;
	int rc;

	if (choose == NULL)
		return 0; /* chosen: a later ClientHello asks in vain */
	s->choose = NULL;
	choose(s->choose_arg, server_name(g, host), &domain);
	s->facts.name = domain.name;
	if (domain.cred != s->cred) {
		if ((rc = gnutls_credentials_set(g, GNUTLS_CRD_CERTIFICATE, domain.cred->x509)) != 0)
			return rc;
		tls_cred_unref(&s->cred);
		s->cred = tls_cred_ref(domain.cred);
		use_cred(s);
	}
	s->tickets = s->tickets && domain.ticket != NULL;
	return s->tickets ? enable_tickets(s, domain.ticket) : 0;
}

void
tls_session_choose(struct tls_session *s, bool tickets, tls_choose_f *f, void *arg)
{
	PT_ASSERT(s->choose == NULL && !s->tickets && !s->hello_seen);
	s->choose = f;
	s->choose_arg = arg;
	gnutls_handshake_set_post_client_hello_function(s->g, after_client_hello);
	if (tickets)
		expect_tickets(s);
}

static int
set_alpn(struct tls_session *s)
{
	gnutls_datum_t names[TLS_ALPN_MAX];
	unsigned n;

	for (n = 0; s->alpn != NULL && s->alpn[n] != NULL; n++) {
		PT_ASSERT(n < TLS_ALPN_MAX);
		names[n] = (gnutls_datum_t){ (unsigned char *)(uintptr_t)s->alpn[n], (unsigned)strlen(s->alpn[n]) };
	}
	return n == 0 ? 0 : gnutls_alpn_set_protocols(s->g, names, n,
				GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE);
}

void
tls_session_speak(struct tls_session *s, const char *const *alpn)
{
	PT_ASSERT(!s->hello_seen);
	s->alpn = alpn;
	PT_ASSERT(set_alpn(s) == 0); /* it copies into the session */
}

/* A fresh GnuTLS session for s->cred. */
static int
open_gnutls(struct tls_session *s)
{
	gnutls_session_t g;

	if (gnutls_init(&g, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
		    GNUTLS_NO_AUTO_SEND_TICKET) != 0)
		return PT_ENOMEM;
	s->g = g;
	gnutls_session_set_ptr(g, s);
	gnutls_transport_set_ptr(g, s);
	gnutls_transport_set_pull_function(g, pull);
	gnutls_transport_set_vec_push_function(g, vec_push);
	gnutls_handshake_set_max_packet_length(g, TLS_CLIENT_CHAIN_MAX);
	gnutls_handshake_set_hook_function(g, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_PRE, tls_message_hook);
	if (gnutls_priority_set(g, s->cred->priority) != 0 ||
	    gnutls_credentials_set(g, GNUTLS_CRD_CERTIFICATE, s->cred->x509) != 0 || set_alpn(s) != 0)
		return PT_ENOMEM;
	use_cred(s);
	return 0;
}

struct tls_session *
tls_session_new(struct tls_cred *cred, const struct tls_transport *transport)
{
	struct tls_session *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->transport = *transport;
	s->cred = tls_cred_ref(cred);
	s->failure.verdict = TLS_VERDICT_TRUSTED;
	buf_init(&s->hello, TLS_HELLO_RECORDS_MAX);
	if (open_gnutls(s) != 0)
		tls_session_free(&s);
	return s;
}

/* The client's ticket was opened and is not taken. Nothing has been said yet: the same ClientHello to a session that
 * takes and gives no tickets, in the same domain, is as if the ticket could not be opened. */
static int
begin_anew(struct tls_session *s)
{
	PT_ASSERT(buf_size(&s->hello) > 0);
	gnutls_deinit(s->g);
	s->g = NULL;
	s->anew = s->told = true;
	s->tickets = false;
	if (open_gnutls(s) != 0)
		return GNUTLS_E_MEMORY_ERROR;
	gnutls_handshake_set_max_packet_length(s->g, TLS_HELLO_MAX);
	return GNUTLS_E_INTERRUPTED;
}

int
tls_session_offer_tickets(struct tls_session *s, const struct tls_ticket_key *key)
{
	PT_ASSERT(s->choose == NULL && !s->tickets && !s->hello_seen);
	if (enable_tickets(s, key) != 0)
		return PT_ENOMEM;
	expect_tickets(s);
	return 0;
}

void
tls_session_free(struct tls_session **sp)
{
	struct tls_session *s = *sp;

	if (s == NULL)
		return;
	if (s->g != NULL)
		gnutls_deinit(s->g);
	buf_fini(&s->hello);
	tls_peer_fini(&s->peer);
	tls_cred_unref(&s->cred);
	tls_cred_unref(&s->trust);
	free(s);
	*sp = NULL;
}

void
tls_session_alert(struct tls_session *s, unsigned alert)
{
	if (s->dead)
		return;
	s->dead = true;
	s->failure.alert_sent = alert;
	tls_message_tell_alert(s, false, alert);
	(void)gnutls_alert_send(s->g, GNUTLS_AL_FATAL, (gnutls_alert_description_t)alert);
}

/* GnuTLS finds no suite also where the certificate or the groups are what does not fit. */
static enum tls_fault
fault_of(const struct tls_session *s, int code)
{
	enum tls_fault fault = tls_fault_of(code, s->ended);

	if (s->failure.verdict != TLS_VERDICT_TRUSTED)
		return TLS_FAULT_CERTIFICATE;
	if (fault == TLS_FAULT_DECRYPT && s->alert_seen)
		return TLS_FAULT_ALERT;
	if (fault != TLS_FAULT_CIPHER || s->offer.suites_known == 0)
		return fault;
	return s->offer.groups_fit ? TLS_FAULT_SIGNATURE : TLS_FAULT_GROUP;
}

/* The session has failed with a GnuTLS error: note why, and tell the peer if there is anybody. */
static enum tls_status
fail(struct tls_session *s, int code)
{
	unsigned alert = 0;
	int level;

	if (code == GNUTLS_E_SESSION_USER_ID_CHANGED) /* GnuTLS compares the leaf, too */
		s->failure.changed = true;
	s->again = false;
	s->failure.code = code;
	s->failure.text = gnutls_strerror(code);
	s->failure.signature = code == GNUTLS_E_PK_SIGN_FAILED;
	s->failure.protocol = code == GNUTLS_E_NO_APPLICATION_PROTOCOL;
	s->failure.fault = fault_of(s, code);
	/* the second also stands for lengths within a message that do not fit: those get an alert */
	if (code == GNUTLS_E_PREMATURE_TERMINATION ||
	    (code == GNUTLS_E_UNEXPECTED_PACKET_LENGTH && s->ended)) {
		s->dead = true;
		return TLS_TRUNCATED;
	}
	if (s->failure.fault == TLS_FAULT_ALERT) {
		s->failure.alert_got = s->alert_seen ? s->alert_plain : (unsigned)gnutls_alert_get(s->g);
		tls_message_tell_alert(s, true, s->failure.alert_got);
		s->dead = true;
		return TLS_FAILED;
	}
	if (code == GNUTLS_E_PULL_ERROR || code == GNUTLS_E_PUSH_ERROR) {
		s->dead = true;
		return TLS_FAILED;
	}
	if (s->failure.changed)
		alert = GNUTLS_A_ACCESS_DENIED;
	else if (s->failure.verdict != TLS_VERDICT_TRUSTED)
		alert = tls_verdict_alert(s->failure.verdict, tls_message_minor(s));
	else if (code == GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS)
		alert = GNUTLS_A_UNEXPECTED_MESSAGE;
	else if (code == GNUTLS_E_PK_SIGN_FAILED)
		alert = GNUTLS_A_INTERNAL_ERROR; /* the keyholder is away */
	else if ((level = gnutls_error_to_alert(code, NULL)) > 0)
		alert = (unsigned)level;
	tls_session_alert(s, alert > 0 ? alert : GNUTLS_A_INTERNAL_ERROR);
	return TLS_FAILED;
}

static enum tls_status
want(const struct tls_session *s)
{
	return gnutls_record_get_direction(s->g) == 0 ? TLS_WANT_READ : TLS_WANT_WRITE;
}

/* A renegotiation has returned 0. What was said and done before belongs to whom the first handshake proved:
 * nobody may take it over, and an anonymous session does not become somebody's. This also meets a
 * client that does not show its certificate any more, and one whose certificate has expired meanwhile. */
static enum tls_status
judge_again(struct tls_session *s)
{
	uint8_t leaf[TLS_LEAF_HASH] = { 0 };

	s->again = false;
	if ((s->shown || s->has_peer) && tls_message_leaf(s, leaf) != 0)
		return fail(s, GNUTLS_E_INTERNAL_ERROR);
	if (memcmp(leaf, s->leaf, sizeof leaf) != 0 || s->verdict != s->facts.verdict)
		return fail(s, GNUTLS_E_SESSION_USER_ID_CHANGED);
	s->facts.cipher = gnutls_cipher_get_name(gnutls_cipher_get(s->g));
	s->facts.suite = gnutls_ciphersuite_get(s->g);
	s->facts.group = gnutls_group_get_name(gnutls_group_get(s->g));
	return TLS_OK;
}

/* The handshake has returned 0. What the callback did not judge is judged now: under request, where
 * the verdict is an attribute, and after a resumed handshake, which asks no callback. */
static enum tls_status
judge(struct tls_session *s)
{
	const char *group = gnutls_group_get_name(gnutls_group_get(s->g));

	bool resumed = gnutls_session_is_resumed(s->g) != 0;

	if (!s->again)
		s->facts.resumed = s->failure.resumed = resumed;
	/* a renegotiation that resumes comes without a certificate: verify always takes it for none */
	if (!s->judged || (resumed && !s->again))
		s->verdict = verdict_now(s);
	if (refuses(s->cred->client_cert, s->verdict)) {
		s->failure.verdict = s->verdict;
		return fail(s, GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR);
	}
	if (s->again)
		return judge_again(s);
	s->facts.verdict = s->verdict;
	s->facts.asked = s->cred->client_cert != TLS_CLIENT_CERT_NONE;
	s->has_peer = s->shown || resumed;
	if (s->has_peer && tls_message_leaf(s, s->leaf) != 0)
		return fail(s, GNUTLS_E_INTERNAL_ERROR);
	if (s->has_peer && tls_peer_read(s->g, &s->peer) != 0)
		return fail(s, GNUTLS_E_MEMORY_ERROR);
	s->facts.version = gnutls_protocol_get_name(gnutls_protocol_get_version(s->g));
	s->facts.cipher = gnutls_cipher_get_name(gnutls_cipher_get(s->g));
	s->facts.suite = gnutls_ciphersuite_get(s->g);
	s->facts.group = group;
	if (!resumed)
		s->facts.signature = gnutls_sign_get_name(
			(gnutls_sign_algorithm_t)gnutls_sign_algorithm_get(s->g));
	s->facts.subject = s->peer.subject;
	s->facts.sans = (const char *const *)s->peer.sans;
	s->facts.nsans = s->peer.nsans;
	if (s->tickets && tls_message_minor(s) == 3 && (s->has_peer || !tls_message_has_chain(s)))
		s->tickets_due = s->facts.resumed ? 1 : 2;
	s->done = true;
	return TLS_OK;
}

static enum tls_ticket_fate
ticket_fate(const struct tls_session *s)
{
	if (!s->done || !s->ticket_came || s->facts.resumed)
		return TLS_TICKET_NONE;
	if (!s->tickets && !s->anew)
		return TLS_TICKET_OFF;
	return tls_message_ticket_is_ours(s, s->ticket_name) ? TLS_TICKET_OLD : TLS_TICKET_FOREIGN;
}

struct tls_offer
tls_session_offer(const struct tls_session *s)
{
	struct tls_offer offer = s->offer;

	offer.ticket = ticket_fate(s);
	offer.client_cert = s->cred->client_cert;
	return offer;
}

enum tls_verdict
tls_session_verdict(const struct tls_session *s)
{
	return s->verdict;
}

bool
tls_session_serves_name(const struct tls_session *s)
{
	return tls_judge_serves_name(s->g);
}

struct span
tls_session_alpn(const struct tls_session *s)
{
	gnutls_datum_t d = { NULL, 0 };

	if (gnutls_alpn_get_selected_protocol(s->g, &d) != 0)
		return (struct span){ NULL, 0 };
	return (struct span){ d.data, d.size };
}

void
tls_session_shown(struct tls_session *s, struct tls_shown *out)
{
	memset(out, 0, sizeof *out);
	if (s->done ? s->facts.verdict == TLS_VERDICT_NONE
		    : !s->shown && !gnutls_session_is_resumed(s->g))
		return; /* GnuTLS may show a chain that counts for nothing */
	/* of a handshake that failed nobody has read the names yet */
	if (!s->done && s->peer.subject == NULL && s->peer.sans == NULL && tls_peer_read(s->g, &s->peer) != 0)
		tls_peer_fini(&s->peer);
	tls_judge_shown(s->g, trust_of(s), &s->peer, s->done ? s->facts.verdict : s->verdict, s->status, out);
	out->sans = (const char *const *)s->peer.sans;
	out->nsans = s->peer.nsans;
}

/* Whether to call GnuTLS again at once. "again" also comes behind a KeyUpdate with more in the transport,
 * and behind a part of a record with the end right after it: no event announces either. */
static bool
repeats(struct tls_session *s, ssize_t rc)
{
	if (rc == GNUTLS_E_WARNING_ALERT_RECEIVED)
		tls_message_tell_alert(s, true, (unsigned)gnutls_alert_get(s->g));
	return rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED ||
		(rc == GNUTLS_E_AGAIN && s->fed && want(s) == TLS_WANT_READ);
}

enum tls_status
tls_session_handshake(struct tls_session *s)
{
	int rc;

	PT_ASSERT(!s->done || s->again);
	do {
		s->fed = false;
		rc = gnutls_handshake(s->g);
		if (rc == TLS_E_STALE)
			rc = begin_anew(s);
	} while (repeats(s, rc));
	if (rc == GNUTLS_E_AGAIN)
		return want(s);
	if (rc == GNUTLS_E_GOT_APPLICATION_DATA && s->again)
		return TLS_DATA;
	return rc == 0 ? judge(s) : fail(s, rc);
}

bool
tls_session_hello_seen(const struct tls_session *s)
{
	return s->hello_seen;
}

bool
tls_session_renegotiate(struct tls_session *s, bool verify_again)
{
	PT_ASSERT(s->done && !s->again);
	if (!gnutls_safe_renegotiation_status(s->g))
		return false;
	s->again = true;
	s->shown = false;
	/* not asked again, the verdict stays: GnuTLS keeps the chain of the first handshake */
	s->judged = !verify_again;
	if (verify_again)
		tls_judge_prepare(s->g, s->cred);
	else
		gnutls_certificate_server_set_request(s->g, GNUTLS_CERT_IGNORE);
	return true;
}

/* The ClientHello stays queued in GnuTLS, so nothing can follow it anyway. */
void
tls_session_refuse(struct tls_session *s)
{
	tls_message_tell_alert(s, false, GNUTLS_A_NO_RENEGOTIATION);
	(void)gnutls_alert_send(s->g, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION);
	s->failure.code = GNUTLS_E_REHANDSHAKE;
	s->failure.text = gnutls_strerror(GNUTLS_E_REHANDSHAKE);
}

unsigned
tls_session_key_updates(const struct tls_session *s)
{
	return s->key_updates;
}

enum tls_status
tls_session_recv(struct tls_session *s, void *p, size_t n, size_t *n_out)
{
	ssize_t r;

	*n_out = 0;
	PT_ASSERT(s->done);
	do {
		s->fed = false;
		r = gnutls_record_recv(s->g, p, n);
	} while (repeats(s, r));
	if (r > 0) {
		*n_out = (size_t)r;
		return TLS_OK;
	}
	if (r == 0) {
		tls_message_tell_alert(s, true, GNUTLS_A_CLOSE_NOTIFY);
		return TLS_CLOSED;
	}
	if (r == GNUTLS_E_AGAIN)
		return TLS_WANT_READ;
	if (r == GNUTLS_E_REHANDSHAKE && !s->again)
		return TLS_RENEGOTIATE;
	/* Java's close() sends user_canceled before close_notify: an orderly end, but of all */
	if (r == GNUTLS_E_FATAL_ALERT_RECEIVED && gnutls_alert_get(s->g) == GNUTLS_A_USER_CANCELED) {
		tls_message_tell_alert(s, true, GNUTLS_A_USER_CANCELED);
		s->dead = true;
		return TLS_CANCELED;
	}
	/* GnuTLS allows eight key updates in a second (of one record's time) and has no other use of this */
	if (r == GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS && s->key_updates > 0) {
		(void)fail(s, (int)r);
		return TLS_FLOOD;
	}
	return fail(s, (int)r);
}

bool
tls_session_has_pending(const struct tls_session *s)
{
	return s->done && gnutls_record_check_pending(s->g) > 0;
}

enum tls_status
tls_session_send(struct tls_session *s, struct span data, size_t *n_out)
{
	ssize_t r;

	*n_out = 0;
	PT_ASSERT(s->done && !s->again);
	if (s->dead)
		return TLS_FAILED;
	do /* a record under way is finished first; its length is that of the original call */
		r = s->sending ? gnutls_record_send(s->g, NULL, 0)
			       : gnutls_record_send(s->g, data.p, data.n);
	while (r == GNUTLS_E_INTERRUPTED);
	s->sending = r == GNUTLS_E_AGAIN;
	if (r >= 0) {
		*n_out = (size_t)r;
		return TLS_OK;
	}
	return s->sending ? TLS_WANT_WRITE : fail(s, (int)r);
}

enum tls_status
tls_session_send_tickets(struct tls_session *s, unsigned *n_out)
{
	int rc = 0;

	PT_ASSERT(s->done);
	*n_out = 0;
	if (s->tickets_due > 0 && !s->dead) {
		do
			rc = gnutls_session_ticket_send(s->g, s->tickets_due, 0);
		while (rc == GNUTLS_E_INTERRUPTED);
		if (rc == GNUTLS_E_AGAIN)
			return TLS_WANT_WRITE;
	}
	s->tickets_due = 0;
	*n_out = s->tickets_given;
	s->tickets_given = 0;
	return rc >= 0 ? TLS_OK : fail(s, rc);
}

enum tls_status
tls_session_bye(struct tls_session *s)
{
	int rc;

	if (s->dead || s->bye_sent || !s->done)
		return TLS_OK;
	rc = gnutls_bye(s->g, GNUTLS_SHUT_WR);
	if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED)
		return TLS_WANT_WRITE;
	s->bye_sent = true;
	tls_message_tell_alert(s, false, GNUTLS_A_CLOSE_NOTIFY);
	if (rc == 0)
		return TLS_OK;
	s->dead = true;
	return TLS_FAILED;
}

const char *
tls_session_name(const struct tls_session *s)
{
	return s->facts.name;
}

const struct tls_facts *
tls_session_facts(const struct tls_session *s)
{
	PT_ASSERT(s->done);
	return &s->facts;
}

bool
tls_session_binding(const struct tls_session *s, uint8_t out[TLS_BINDING_SIZE])
{
	gnutls_datum_t binding = { NULL, 0 };
	bool ok;

	if (!s->done || gnutls_protocol_get_version(s->g) < GNUTLS_TLS1_3 ||
	    gnutls_session_channel_binding(s->g, GNUTLS_CB_TLS_EXPORTER, &binding) != 0)
		return false;
	ok = binding.size == TLS_BINDING_SIZE;
	if (ok)
		memcpy(out, binding.data, TLS_BINDING_SIZE);
	gnutls_free(binding.data);
	return ok;
}

bool
tls_session_details(const struct tls_session *s, struct tls_details *out)
{
	return tls_peer_details(s->g, out);
}

bool
tls_session_chain_from(const struct tls_session *s, size_t from)
{
	return s->done && s->facts.verdict == TLS_VERDICT_TRUSTED &&
		tls_judge_chain_from(s->g, trust_of(s), from);
}

/* From now on this set counts: for all where its server certificates are the same, so that the one before can go; for
 * judging else. */
static void
follow(struct tls_session *s, struct tls_cred *now)
{
	struct tls_cred *before;

	if (trust_of(s) == now)
		return;
	tls_cred_unref(&s->trust);
	if (now == s->cred)
		return;
	if (memcmp(now->chains, s->cred->chains, sizeof now->chains) != 0) {
		s->trust = tls_cred_ref(now);
		return;
	}
	use_x509(s, now);
	before = s->cred;
	s->cred = tls_cred_ref(now);
	tls_cred_unref(&before);
}

enum tls_verdict
tls_session_judge(struct tls_session *s, struct tls_cred *now)
{
	enum tls_verdict v;

	PT_ASSERT(s->done && !s->again);
	follow(s, now);
	if (s->facts.verdict != TLS_VERDICT_TRUSTED)
		return s->facts.verdict;
	if ((v = judge_chain(s)) != TLS_VERDICT_CRL_STALE)
		s->verdict = s->facts.verdict = v;
	return s->facts.verdict;
}

bool
tls_session_judged_by(const struct tls_session *s, const struct tls_cred *cred)
{
	return trust_of(s) == cred;
}

const struct tls_failure *
tls_session_failure(const struct tls_session *s)
{
	return &s->failure;
}
