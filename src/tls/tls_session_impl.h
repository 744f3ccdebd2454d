/* tls/tls_session_impl.h - a session as its two files see it: tls_session.c (handshake, records, its end) and tls_message.c
 * (the messages of a handshake). Nobody else includes it. */
#ifndef TLS_TLS_SESSION_IMPL_H
#define TLS_TLS_SESSION_IMPL_H

#include "tls/tls_judge.h"
#include "tls/tls_session.h"

#define TLS_LEAF_HASH 32 /* SHA-256 */
#define TLS_E_STALE GNUTLS_E_APPLICATION_ERROR_MIN /* our own, of tls_message_hook() */
#define TLS_RECORD_HEADER 5
#define TLS_HELLO_MAX (TLS_CLIENT_CHAIN_MAX + TLS_TICKET_WRAP_MAX) /* octets of a ClientHello with a ticket */
#define TLS_HELLO_RECORDS_MAX (TLS_HELLO_MAX + 4 * (TLS_RECORD_HEADER + 4))

struct tls_session {
	gnutls_session_t g;
	struct tls_cred *cred; /* our reference */
	struct tls_cred *trust; /* what client certificates are judged by, our reference; NULL: cred */
	struct tls_transport transport;
	struct tls_peer peer; /* subject and names of the client certificate */
	struct tls_facts facts;
	struct tls_failure failure;
	tls_choose_f *choose; /* NULL: the domain is given, or has been chosen */
	void *choose_arg;
	const char *const *alpn; /* NULL: whatever the client names */
	unsigned key_updates; /* received */
	uint8_t leaf[TLS_LEAF_HASH];     /* of the client's certificate; zeros: none */
	enum tls_verdict verdict;    /* of the handshake under way */
	bool done;       /* handshake complete, facts valid */
	bool again;      /* done once, and another handshake is under way */
	bool hello_seen;
	bool shown;      /* a certificate, in this handshake */
	bool has_peer;   /* the first handshake proved the chain that GnuTLS shows: see verdict_now() */
	bool anew;       /* a handshake that was begun again, without tickets: see begin_anew() */
	struct buf hello; /* records of the ClientHello, until we know that it need not be read again */
	bool judged;     /* in this handshake, by the callback */
	bool dead;       /* no record can be sent any more */
	bool bye_sent;
	bool sending;    /* GnuTLS holds a record that the transport did not take */
	bool ended;      /* the transport has nothing more to read */
	bool fed;        /* the last read from the transport brought octets or the end */
	bool tickets;    /* are taken and given */
	bool ticket_came; /* with the ClientHello, */
	uint8_t ticket_name[TLS_TICKET_NAME_SIZE]; /* of the key that sealed it */
	uint64_t ticket_tag; /* of the key that tickets are sealed with here */
	bool told;       /* the ClientHello that is read anew was told of */
	bool alert_next; /* what is read next is the body of an alert in plaintext */
	bool alert_seen;
	uint8_t alert_plain; /* its number, then */
	struct tls_offer offer;
	unsigned status; /* of the chain, as GnuTLS verified it */
	unsigned tickets_due;   /* to be sent with the first record */
	unsigned tickets_given; /* and not reported yet */
};

/* GnuTLS's one hook for a session, before a message is sent and when one has come. 0, or an error that ends the handshake:
 * TLS_E_STALE when a ticket was opened that is not to count, so that it begins anew without one;
 * GNUTLS_E_SESSION_USER_ID_CHANGED when that happens in a renegotiation. */
int tls_message_hook(gnutls_session_t g, unsigned type, unsigned post, unsigned incoming,
		     const gnutls_datum_t *msg);

/* Tells who follows of an alert. */
void tls_message_tell_alert(struct tls_session *s, bool in, unsigned alert);

/* 3: TLS 1.3; 2: TLS 1.2. */
unsigned tls_message_minor(const struct tls_session *s);

/* Whether GnuTLS shows a chain, proved or not; and its leaf, in few octets (zeros for none; 0 or GnuTLS's error). */
bool tls_message_has_chain(const struct tls_session *s);
int tls_message_leaf(const struct tls_session *s, uint8_t out[TLS_LEAF_HASH]);

/* Tells keys of tickets apart, within this process; and whether a ticket of that name was sealed with this session's. */
uint64_t tls_message_ticket_tag(const struct tls_ticket_key *key);
bool tls_message_ticket_is_ours(const struct tls_session *s, const uint8_t name[TLS_TICKET_NAME_SIZE]);

#endif
