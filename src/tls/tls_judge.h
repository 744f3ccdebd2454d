/* tls/tls_judge.h - judging a client certificate; within tls/ only. */
#ifndef TLS_TLS_JUDGE_H
#define TLS_TLS_JUDGE_H

#include "tls/tls_impl.h"
#include "tls/tls_session.h"

/* Names of the client certificate, printable, owned. */
struct tls_peer {
	char *subject;
	char **sans;
	size_t nsans;
};

/* Before the handshake: whether to ask for a certificate, and with which CA names. */
void tls_judge_prepare(gnutls_session_t g, const struct tls_cred *cred);

/* The chain that the peer presented (or whose ticket it has), against the credential set as it is now:
 * our CAs alone, clientAuth purpose, revocation lists, the clock. *known_out: its signatures were verified
 * before with this credential set, and were not verified again. *status_out: what GnuTLS says of the chain, for
 * tls_judge_shown(). That the peer has the key is not looked at here: the handshake proves it (or, for a resumed
 * session, did). g's own credentials must be cred's. *until_s_out: for how long "trusted" can hold by the clock alone,
 * seconds since 1970. */
enum tls_verdict tls_judge(gnutls_session_t g, const struct tls_cred *cred, bool *known_out,
			   unsigned *status_out, int64_t *until_s_out);

/* What the client showed, for people: all but the names; peer: as read; v and status: as judged. */
void tls_judge_shown(gnutls_session_t g, const struct tls_cred *cred, const struct tls_peer *peer, enum tls_verdict v,
		     unsigned status, struct tls_shown *out);

/* For a trusted chain: it ends in a CA of that rule's file. */
bool tls_judge_chain_from(gnutls_session_t g, const struct tls_cred *cred, size_t from);

/* 0 also when there is no certificate (all empty then); PT_ENOMEM. */
int tls_peer_read(gnutls_session_t g, struct tls_peer *peer_out) PT_MUST_USE;
/* tls_details.c: see tls_session_details(). */
bool tls_peer_details(gnutls_session_t g, struct tls_details *out);
void tls_peer_fini(struct tls_peer *peer);

/* As tls_session_serves_name(). */
bool tls_judge_serves_name(gnutls_session_t g);

#endif
