/* tls/tls_session.h - one TLS session of a server, over octets that the caller moves.
 *
 * The session reads and writes through a struct tls_transport and never touches a socket or a
 * clock: deadlines are the caller's. A connection may live through several sessions. RFC 8446, 5246.
 * Not thread safe. */
#ifndef TLS_TLS_SESSION_H
#define TLS_TLS_SESSION_H

#include "tls/tls_cred.h"
#include "tls/tls_fault.h"
#include "tls/tls_hello.h"
#include "tls/tls_ticket.h"
#include "tls/tls_verdict.h"

#include <sys/types.h>

#define TLS_CLIENT_CHAIN_MAX (32 * 1024) /* octets of handshake messages from one client */
#define TLS_SANS_MAX 32                  /* subjectAltNames that are looked at */
#define TLS_NAME_MAX 1024                /* octets of one name; a longer one is left out */
#define TLS_RECORD_MAX 16384             /* octets of plaintext in one record */
#define TLS_ALPN_MAX 4                   /* names of one protocol */

/* A message of the session as it passes, for whoever wants to follow it. */
struct tls_step {
	bool alert;     /* otherwise a handshake message */
	bool in;        /* from the peer */
	uint8_t number; /* of the alert, or of the message's type */
	size_t size;    /* octets of the message's body; 0 of an alert */
	const struct tls_hello *hello; /* of a ClientHello, else NULL; borrowed during the call */
};

/* read and write: octets moved, or PT_EAGAIN, PT_EEOF (read only: the peer has ended), PT_EIO. */
struct tls_transport {
	ssize_t (*read)(void *arg, void *p, size_t n);
	ssize_t (*write)(void *arg, const void *p, size_t n);
	void *arg;
	void (*step)(void *arg, const struct tls_step *step); /* NULL: nobody follows */
};

enum tls_status {
	TLS_OK,
	TLS_WANT_READ,   /* call again when octets have come */
	TLS_WANT_WRITE,  /* call again when octets have gone */
	TLS_CLOSED,      /* close_notify: the peer's orderly end of input */
	TLS_CANCELED,    /* user_canceled: an orderly end, but of the connection */
	TLS_TRUNCATED,   /* the transport ended without close_notify */
	TLS_RENEGOTIATE, /* the peer wants a handshake anew: tls_session_renegotiate() or _refuse() */
	TLS_DATA,        /* application data stands before the handshake: tls_session_recv() first */
	TLS_FLOOD,       /* too many key updates at once; our alert is on its way */
	TLS_FAILED,      /* see tls_session_failure(); our alert is on its way */
};

/* Alerts that a caller has reason to send (RFC 8446 §6.2). */
#define TLS_ALERT_UNEXPECTED_MESSAGE 10
/* And that say what a peer thinks of our certificate. */
#define TLS_ALERT_BAD_CERTIFICATE 42
#define TLS_ALERT_CERTIFICATE_UNKNOWN 46
#define TLS_ALERT_UNRECOGNIZED_NAME 112

/* A trust domain: whose certificate a session has, who is trusted in it, which tickets open there. All borrowed
 * during the call that gets it, but name, which outlives the session. */
struct tls_domain {
	struct tls_cred *cred;
	const struct tls_ticket_key *ticket; /* NULL: no tickets */
	const char *name; /* of the name block, for logs; NULL: none */
};

/* Finds the domain of a host name (SNI, RFC 6066 §3), which is as the client wrote it, but for a dot at its end; NULL:
 * it asks for none. */
typedef void tls_choose_f(void *arg, const char *host, struct tls_domain *domain_out);

struct tls_session;

/* A fresh session; takes a reference to cred. transport is copied. NULL when out of memory. */
struct tls_session *tls_session_new(struct tls_cred *cred, const struct tls_transport *transport);

/* Before the handshake, at most once: tickets sealed with this key are taken, and given. A session without
 * this call neither takes nor gives any. The key is copied. PT_ENOMEM. */
int tls_session_offer_tickets(struct tls_session *s, const struct tls_ticket_key *key) PT_MUST_USE;

/* Before the handshake: what a client may call the protocol (RFC 7301), ends with NULL, at most TLS_ALPN_MAX, borrowed for
 * the session's life. One that names protocols and none of these gets alert 120; one that names none goes on. */
void tls_session_speak(struct tls_session *s, const char *const *alpn);

/* Instead of tls_session_offer_tickets(), before the handshake, at most once: the domain is chosen by the name that the client asks for. f is
 * called once in a session, as soon as its first ClientHello is there: before any ticket is opened and
 * any certificate chosen. A second ClientHello (RFC 8446 §4.1.4), a renegotiation, and whatever they ask
 * for, change nothing. cred, which the session began with, counts for versions and algorithms alone, so all
 * domains must have the same. tickets: whether f will give keys. arg outlives the session's handshake. */
void tls_session_choose(struct tls_session *s, bool tickets, tls_choose_f *f, void *arg);

/* Wipes our secrets, frees, gives the credential set back; NULL is fine; sets the pointer to NULL. */
void tls_session_free(struct tls_session **s);

/* Goes on with the handshake: TLS_OK when it is complete and the client certificate is judged. */
enum tls_status tls_session_handshake(struct tls_session *s) PT_MUST_USE;

/* Accepts what TLS_RENEGOTIATE asked for: tls_session_handshake() goes on with it, and until that is done nothing
 * can be sent. verify_again: the client is asked for its certificate again, and that is judged; otherwise
 * none is asked for. Either way the certificate must be the one that the session has (or none, as before),
 * with the same verdict: the handshake fails otherwise. False: not possible, because the session has
 * no secure renegotiation (RFC 5746); refuse it. */
bool tls_session_renegotiate(struct tls_session *s, bool verify_again) PT_MUST_USE;

/* Refuses it with the warning no_renegotiation. The session can only be ended then. */
void tls_session_refuse(struct tls_session *s);

/* How many key updates (RFC 8446 §4.6.3) the peer has sent so far. */
unsigned tls_session_key_updates(const struct tls_session *s);

/* The client's first flight (ClientHello) has been read completely. */
bool tls_session_hello_seen(const struct tls_session *s);

/* Reads plaintext: TLS_OK with *n_out > 0, or another status. */
enum tls_status tls_session_recv(struct tls_session *s, void *p, size_t n, size_t *n_out) PT_MUST_USE;

/* Plaintext that recv() would give without reading from the transport. */
bool tls_session_has_pending(const struct tls_session *s);

/* Encrypts and writes; *n_out octets are dealt with (at most TLS_RECORD_MAX in one call). */
enum tls_status tls_session_send(struct tls_session *s, struct span data, size_t *n_out) PT_MUST_USE;

/* Writes the tickets that are due (TLS 1.3: two after a full handshake, one after a resumed one), so that
 * they travel with what is sent next; later calls do nothing. *n_out: tickets given out since the call
 * before, those that TLS 1.2 gives within the handshake included. Only after TLS_OK from
 * tls_session_handshake(): a client that is refused gets none. */
enum tls_status tls_session_send_tickets(struct tls_session *s, unsigned *n_out) PT_MUST_USE;

/* Writes our close_notify, once; further calls are TLS_OK. */
enum tls_status tls_session_bye(struct tls_session *s) PT_MUST_USE;

/* Writes a fatal alert with that number; the session is of no use afterwards. */
void tls_session_alert(struct tls_session *s, unsigned alert);

/* What a finished handshake is about. Strings live as long as the session. */
struct tls_facts {
	const char *version; /* "TLS1.3" */
	const char *cipher;  /* "AES-128-GCM" */
	const char *group;   /* "X25519"; NULL if none */
	const char *suite;   /* as IANA names it: "TLS_AES_128_GCM_SHA256" */
	const char *name;    /* of the domain; NULL: none */
	const char *signature; /* with which the server proved its key; NULL if it was resumed */
	bool resumed;
	bool asked; /* for a client certificate, in this domain */
	bool known; /* the client's chain was verified before with this credential set */
	enum tls_verdict verdict;
	int64_t trusted_until_s; /* TRUSTED holds until then by the clock, seconds since 1970; then judge it anew */
	const char *subject;     /* RFC 4514; NULL without a certificate */
	const char *const *sans; /* "email:a@b", "dns:x", "uri:y", "ip:z" */
	size_t nsans;
};

/* The name of the domain, once it has been chosen; NULL before, and for none. */
const char *tls_session_name(const struct tls_session *s);

/* Only after TLS_OK from tls_session_handshake(). */
const struct tls_facts *tls_session_facts(const struct tls_session *s);

/* What binds a login inside the session to it: tls-exporter (RFC 9266), the same at both ends and at nobody's
 * between. False in TLS 1.2, where it would need more than the version to be safe (§4.2), and before the handshake is
 * done. */
#define TLS_BINDING_SIZE 32
bool tls_session_binding(const struct tls_session *s, uint8_t out[TLS_BINDING_SIZE]);

/* More of the client certificate, read when it is asked for. A name that is longer than TLS_NAME_MAX or has control
 * characters in it is empty, and so is what cannot be read. */
#define TLS_SERIAL_MAX 32 /* octets; RFC 5280 §4.1.2.2 allows 20 */
struct tls_details {
	char issuer[TLS_NAME_MAX + 1];       /* RFC 4514 */
	char serial[2 * TLS_SERIAL_MAX + 1]; /* hexadecimal, upper case */
	char fingerprint[64 + 1];            /* SHA-256, hexadecimal, lower case */
	int64_t from_s, until_s;             /* validity in seconds since 1970; both 0: not known */
};

/* False: the client has sent none. Only after TLS_OK from tls_session_handshake(). */
bool tls_session_details(const struct tls_session *s, struct tls_details *out);

/* The certificate was judged trusted, the rule applies here, and the chain ends in a CA of that rule's file. */
bool tls_session_chain_from(const struct tls_session *s, size_t from);

/* Judges the certificate of a complete session anew, by another credential set of its domain (or its own once more):
 * its CAs and revocation lists, and the clock of now. That set counts for the session from now on, in renegotiations
 * too; of server certificates it keeps those that it has shown. Returns the verdict, which is in
 * tls_session_facts() then. Who was not trusted stays so; that a revocation list has become too old is not held against
 * a session that exists. Not while a handshake is under way. */
enum tls_verdict tls_session_judge(struct tls_session *s, struct tls_cred *now);

/* It was judged by this set last. */
bool tls_session_judged_by(const struct tls_session *s, const struct tls_cred *cred);
/* What became of a ticket that the client came with. */
enum tls_ticket_fate {
	TLS_TICKET_NONE,    /* it came without one, or its session was resumed, or nothing is decided yet */
	TLS_TICKET_OFF,     /* this session takes none */
	TLS_TICKET_FOREIGN, /* not sealed with a key that is known to be ours */
	TLS_TICKET_OLD,     /* sealed with one of ours; its time is over, or it does not fit any more */
};

/* What the handshake has shown so far of both sides; good at any time. */
struct tls_offer {
	uint8_t version_min, version_max; /* ranks (tls_hello.h) of what the client offers; 0: no ClientHello yet */
	uint8_t version;  /* rank of the one that was chosen; 0: none yet */
	uint16_t suites;  /* that the client offers */
	uint16_t suites_known; /* of them, those that we have, too */
	bool groups_fit;  /* of the key exchange groups one at least is ours, or the client names none */
	enum tls_client_cert client_cert; /* of the domain that the session belongs to */
	enum tls_ticket_fate ticket;
};
struct tls_offer tls_session_offer(const struct tls_session *s);

#define TLS_SHOWN_NAME_MAX 256 /* octets of a name with its NUL; a longer one is cut */

/* What the client showed of itself, as far as it can be read, whatever the verdict. */
struct tls_shown {
	unsigned n;          /* certificates; 0: none, and the rest means nothing */
	char subject[TLS_SHOWN_NAME_MAX]; /* RFC 4514, printable */
	char issuer[TLS_SHOWN_NAME_MAX];  /* of the leaf; of TLS_REASON_INCOMPLETE: whose certificate is missing */
	const char *const *sans;          /* as in tls_facts; they live as long as the session */
	size_t nsans;
	uint8_t serial[20];
	size_t nserial;
	int64_t not_before, not_after; /* of the leaf, seconds since 1970 */
	bool self_signed;
	enum tls_reason reason; /* of a bad verdict */
	int64_t when;           /* when what it names happened: a revocation, an expiry; 0: not known */
};

/* Costs a few thousand instructions where names are plain. To be asked while the session lives. */
void tls_session_shown(struct tls_session *s, struct tls_shown *out);

/* The verdict of the handshake under way or done; NONE before there is one. */
enum tls_verdict tls_session_verdict(const struct tls_session *s);

/* The certificate that we showed is for the name that the client asked for (RFC 6066 §3), or it asked for none. */
bool tls_session_serves_name(const struct tls_session *s);

/* The protocol that ALPN has chosen (RFC 7301); n 0: none. Borrowed from the session. */
struct span tls_session_alpn(const struct tls_session *s);

/* Why it failed, for the log. */
struct tls_failure {
	enum tls_fault fault;
	int code;              /* GnuTLS error */
	const char *text;      /* its text; static */
	unsigned alert_sent;   /* number of the alert that we sent; 0: none */
	unsigned alert_got;    /* number of the alert that the peer sent; 0: none */
	bool resumed;          /* it was a resumed session */
	enum tls_verdict verdict; /* that ended it under optional and require; TRUSTED otherwise */
	bool changed;          /* a renegotiation came with another certificate or verdict */
	bool signature;        /* our own signature could not be had */
	bool protocol;         /* the client wants another protocol (ALPN) */
};
const struct tls_failure *tls_session_failure(const struct tls_session *s);

#endif
