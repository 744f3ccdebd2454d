/* tls/tls_message.c - what passes in a handshake, message by message: noted for those who follow, counted, bounded; and
 * what must not be sent, is not. See tls_session_impl.h. */
#include "tls/tls_session_impl.h"

#include <gnutls/crypto.h>
#include <string.h>

#define NO_CERTIFICATES_12 6 /* octets of a Certificate message without one: RFC 5246 §7.4.6 says 3; GnuTLS takes 6 */
#define NO_CERTIFICATES_13 4 /* and with an empty context: RFC 8446 §4.4.2 */
#define KEY_UPDATE 24 /* RFC 8446 §4; GnuTLS has no public name for it */
#define HANDSHAKE_MAX (128 * 1024) /* octets of a whole handshake, ours included: GnuTLS's own default */

/* --- tickets that are opened and not taken ---------------------------------------------------- */

/* GnuTLS puts the chain that a ticket holds into the session as soon as the ticket is opened, and leaves it there
 * when it does not resume after all: the ticket is too old, is for another host name, another hash, or
 * without extended master secret. A full handshake follows, in which the client proves nothing of it. Everybody on
 * the way can read a ticket off the wire; so such a chain must not count, and no ticket must be made
 * with it in the session. */
bool
tls_message_has_chain(const struct tls_session *s)
{
	unsigned n = 0;

	return gnutls_certificate_get_peers(s->g, &n) != NULL && n > 0;
}

/* The leaf of the chain that GnuTLS shows, in few octets: zeros for none. */
int
tls_message_leaf(const struct tls_session *s, uint8_t out[TLS_LEAF_HASH])
{
	const gnutls_datum_t *raw;
	unsigned n = 0;

	memset(out, 0, TLS_LEAF_HASH);
	if ((raw = gnutls_certificate_get_peers(s->g, &n)) == NULL || n == 0)
		return 0;
	return gnutls_hash_fast(GNUTLS_DIG_SHA256, raw[0].data, raw[0].size, out);
}

/* --- telling who follows ---------------------------------------------------------------------- */

static void
tell(struct tls_session *s, const struct tls_step *step)
{
	if (s->transport.step != NULL)
		s->transport.step(s->transport.arg, step);
}

void
tls_message_tell_alert(struct tls_session *s, bool in, unsigned alert)
{
	tell(s, &(struct tls_step){ .alert = true, .in = in, .number = (uint8_t)alert });
}

unsigned
tls_message_minor(const struct tls_session *s)
{
	return gnutls_protocol_get_version(s->g) == GNUTLS_TLS1_3 ? 3 : 2;
}

/* A HelloRetryRequest is about to be made, though a ticket has been taken: that it was, GnuTLS does not forget, whatever
 * ticket the second ClientHello has, and whether it is taken or not. So this ticket is not taken. */
static int
look_for_taken(const struct tls_session *s)
{
	if (!gnutls_session_is_resumed(s->g))
		return 0;
	return s->again ? GNUTLS_E_SESSION_USER_ID_CHANGED : TLS_E_STALE; /* TLS 1.2 only has a renegotiation */
}

/* Keeps a ClientHello as the records that it may have come in. */
static int
keep_hello(struct tls_session *s, const gnutls_datum_t *msg)
{
	uint8_t head[TLS_RECORD_HEADER + 4] = { 22, 3, 1, 0, 0, GNUTLS_HANDSHAKE_CLIENT_HELLO,
		(uint8_t)(msg->size >> 16), (uint8_t)(msg->size >> 8), (uint8_t)msg->size };
	size_t at = 0, n, extra = 4;
	int rc = 0;

	buf_fini(&s->hello);
	if (msg->size > TLS_HELLO_MAX)
		return 0; /* GnuTLS refuses it */
	for (; at < msg->size && rc == 0; at += n, extra = 0) {
		n = msg->size - at;
		n = n < TLS_RECORD_MAX - extra ? n : TLS_RECORD_MAX - extra;
		head[3] = (uint8_t)((n + extra) >> 8);
		head[4] = (uint8_t)(n + extra);
		rc = buf_append(&s->hello, head, TLS_RECORD_HEADER + extra);
		if (rc == 0)
			rc = buf_append(&s->hello, msg->data + at, n);
	}
	return rc == 0 ? 0 : GNUTLS_E_MEMORY_ERROR;
}

/* Our ServerHello is about to be made: it is decided whether a ticket is taken. TLS 1.2 would seal a chain that is not
 * the client's into the ticket of this very handshake. In TLS 1.3 we give tickets ourselves, and give none. */
static int
look_for_stale_chain(struct tls_session *s)
{
	uint8_t leaf[TLS_LEAF_HASH];

	if (gnutls_session_is_resumed(s->g) || tls_message_minor(s) == 3 || !tls_message_has_chain(s)) {
		buf_fini(&s->hello);
		return 0;
	}
	if (!s->again)
		return TLS_E_STALE;
	/* a renegotiation: GnuTLS goes on showing the chain of the first handshake, and that alone is in order */
	return tls_message_leaf(s, leaf) == 0 && memcmp(leaf, s->leaf, sizeof leaf) == 0
		? 0 : GNUTLS_E_SESSION_USER_ID_CHANGED;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Tells keys apart, within this process. */
uint64_t
tls_message_ticket_tag(const struct tls_ticket_key *key)
{
	uint64_t h = 0xcbf29ce484222325u;
	size_t i;

	for (i = 0; i < sizeof key->octets; i++)
		h = (h ^ key->octets[i]) * 0x100000001b3u;
	return h;
}

bool
tls_message_ticket_is_ours(const struct tls_session *s, const uint8_t name[TLS_TICKET_NAME_SIZE])
{
	const struct tls_ticket_name *t = s->cred->ticket_names;
	unsigned i;

	for (i = 0; i < TLS_TICKET_NAMES; i++)
		if (t[i].tag == s->ticket_tag && memcmp(t[i].name, name, TLS_TICKET_NAME_SIZE) == 0)
			return true;
	return false;
}

/* By the name in front of our own tickets we know them again. */
static void
note_ticket(struct tls_session *s, const gnutls_datum_t *msg)
{
	struct span ticket = tls_hello_new_ticket((struct span){ msg->data, msg->size }, tls_message_minor(s));
	struct tls_ticket_name *t;

	if (ticket.n <= TLS_TICKET_NAME_SIZE || tls_message_ticket_is_ours(s, ticket.p))
		return;
	t = &s->cred->ticket_names[s->cred->nticket_names++ % TLS_TICKET_NAMES];
	t->tag = s->ticket_tag;
	memcpy(t->name, ticket.p, TLS_TICKET_NAME_SIZE);
}

static void
note_hello(struct tls_session *s, const struct tls_hello *h)
{
	s->offer.version_min = h->version_min;
	s->offer.version_max = h->version_max;
	s->offer.suites = h->suites;
	s->offer.suites_known = h->suites_known;
	s->offer.groups_fit = h->groups == 0 || h->groups_known > 0;
	s->ticket_came = h->has_ticket;
	if (h->ticket.n >= TLS_TICKET_NAME_SIZE)
		memcpy(s->ticket_name, h->ticket.p, TLS_TICKET_NAME_SIZE);
}

static void
note_message(struct tls_session *s, unsigned type, bool in, const gnutls_datum_t *msg)
{
	struct tls_step step = { .in = in, .number = (uint8_t)type, .size = msg->size };
	struct tls_hello hello;

	if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO && in) {
		if (s->told) { /* it came once, and is read again */
			s->told = false;
			return;
		}
		(void)tls_hello_read((struct span){ msg->data, msg->size }, &hello);
		note_hello(s, &hello);
		step.hello = &hello;
	}
	if (type == GNUTLS_HANDSHAKE_SERVER_HELLO && !in)
		s->offer.version = tls_message_minor(s) == 3 ? TLS_RANK_13 : TLS_RANK_12;
	if (type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET && !in)
		note_ticket(s, msg);
	tell(s, &step);
}

static int
look_before_sending(struct tls_session *s, unsigned type)
{
	if (type == GNUTLS_HANDSHAKE_SERVER_HELLO)
		return look_for_stale_chain(s);
	return type == GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST ? look_for_taken(s) : 0;
}

/* GnuTLS has one hook for a session: all that handshake messages tell us is noted here. */
int
tls_message_hook(gnutls_session_t g, unsigned type, unsigned post, unsigned incoming,
	     const gnutls_datum_t *msg)
{
	struct tls_session *s = gnutls_session_get_ptr(g);
	size_t limit = TLS_CLIENT_CHAIN_MAX;
	int rc;

	(void)post;
	if (!incoming && (rc = look_before_sending(s, type)) != 0)
		return rc; /* it is not sent */
	note_message(s, type, incoming != 0, msg);
	if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO && incoming) {
		s->hello_seen = true;
		if (s->tickets && !s->again && keep_hello(s, msg) != 0)
			return GNUTLS_E_MEMORY_ERROR;
		/* the limit is that of all messages together, this one included: a large ticket in it must
		 * not take the room of those that follow */
		if (s->tickets && msg->size > TLS_TICKET_WRAP_MAX && msg->size <= TLS_HELLO_MAX)
			limit += msg->size;
		gnutls_handshake_set_max_packet_length(g, limit);
	}
	/* so does our own ticket of TLS 1.2, which holds the client's chain and comes last */
	if (type == GNUTLS_HANDSHAKE_FINISHED && incoming)
		gnutls_handshake_set_max_packet_length(g, HANDSHAKE_MAX);
	if (type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET && !incoming)
		s->tickets_given++;
	if (type == GNUTLS_HANDSHAKE_CERTIFICATE_PKT && incoming)
		s->shown = msg->size > (tls_message_minor(s) == 3 ? NO_CERTIFICATES_13 : NO_CERTIFICATES_12);
	if (type == KEY_UPDATE && incoming)
		s->key_updates++;
	return 0;
}
