/* tls/tls_cred.h - the credential set of one trust domain: server certificates (their keys are
 * elsewhere), the CAs we trust for clients, priorities. The worker's side.
 *
 * Reference counted, because a session borrows it from GnuTLS without counting: a set that was
 * replaced lives until its last session has ended. Not thread safe. */
#ifndef TLS_TLS_CRED_H
#define TLS_TLS_CRED_H

#include "tls/tls_crl.h"
#include "tls/tls_key.h"

#define TLS_PROTO_1_2 1u
#define TLS_PROTO_1_3 2u

enum tls_client_cert {
	TLS_CLIENT_CERT_NONE,     /* not asked for */
	TLS_CLIENT_CERT_REQUEST,  /* asked for; the verdict is an attribute of the session */
	TLS_CLIENT_CERT_OPTIONAL, /* none is fine; a bad one ends the handshake */
	TLS_CLIENT_CERT_REQUIRE,  /* none or a bad one ends the handshake */
};

#define TLS_OCSPS_MAX 32               /* OCSP responses of one set, counted for each certificate */
#define TLS_OCSP_FILE_MAX (256 * 1024) /* octets of one file of them */
#define TLS_OCSP_DEFAULT_S (15 * 86400) /* a response without nextUpdate is good for that long, as GnuTLS has it */

#define TLS_FROM_MAX 64 /* rules with a CA file of their own: as many as there may be rules */

/* Where signatures come from. Blocks until the answer is there or its own time-out has passed.
 * sig_out holds TLS_SIGNATURE_MAX octets. 0, or any error: the handshake fails then. */
typedef int tls_sign_f(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed,
		       struct span data, uint8_t *sig_out, size_t *len_out);

/* A set of that generation has given up its last reference, and is freed. */
typedef void tls_gone_f(void *arg, uint64_t generation);

struct tls_chain {
	struct span pem; /* certificates, leaf first */
	uint32_t key;    /* the key's number, passed to the signer */
};

struct tls_ca_file {
	struct span pem;
	const char *path; /* for messages */
};

/* One mistake, as diag would have it. */
typedef void tls_report_f(void *arg, const char *text);

struct tls_cred_conf { /* all borrowed during the call, the signer for ever */
	unsigned protocols;   /* TLS_PROTO_* */
	const char *priority; /* GnuTLS priority string; NULL: ours */
	enum tls_client_cert client_cert;
	const struct tls_chain *chains; /* in any order: ECDSA goes before Ed25519, that before RSA */
	size_t nchains;
	const struct tls_ca_file *cas;
	size_t ncas;
	const struct tls_ca_file *froms; /* CA files of identity rules, at most TLS_FROM_MAX: see tls_cred_applies() */
	size_t nfroms;
	const struct tls_ca_file *ocsps; /* OCSP responses for the chains, DER or PEM */
	size_t nocsps;
	struct tls_crl_set *crls; /* taken by a call that succeeds; NULL: nothing is revoked */
	uint64_t generation;
	tls_sign_f *sign;
	void *sign_arg;
	tls_report_f *report; /* gets every mistake instead of diag the first; NULL: none */
	void *report_arg;
	const struct tls_cred *before; /* the set that this one replaces: what both trust is not verified anew; NULL: none */
	tls_gone_f *gone; /* NULL: nobody wants to know */
	void *gone_arg;
};

struct tls_cred;

/* Makes one test signature with each key: one that does not fit the certificate is an error, none at all
 * (nobody signs at present) is not. PT_EINVAL with a sentence in diag; PT_ENOMEM. */
int tls_cred_new(const struct tls_cred_conf *conf, struct tls_cred **cred_out, struct diag *diag)
	PT_MUST_USE;

/* The identity rule with that CA file (its number in froms) applies: the CAs of client-ca include all of the file. */
bool tls_cred_applies(const struct tls_cred *cred, size_t from);

struct tls_cred *tls_cred_ref(struct tls_cred *cred);

/* Gives up one reference; NULL is fine; sets the pointer to NULL. */
void tls_cred_unref(struct tls_cred **cred);

uint64_t tls_cred_generation(const struct tls_cred *cred);

/* The next thing that an administrator should know and that has not been said of this set: of its revocation lists
 * (tls_crl_warning()); of an OCSP response that is or will soon be out of date, or says "revoked". False when there is
 * nothing new. *code_out is a word for machines, static; text_out holds TLS_CRL_WARNING_MAX octets, printable. */
bool tls_cred_warning(struct tls_cred *cred, uint64_t now, const char **code_out, char *text_out) PT_MUST_USE;

/* When the first of its OCSP responses is out of date, in seconds of the epoch; 0: it has none. */
uint64_t tls_cred_ocsp_next_update(const struct tls_cred *cred);

/* Its revocation lists, borrowed; NULL: it has none. */
struct tls_crl_set *tls_cred_crls(const struct tls_cred *cred);

/* A priority string as GnuTLS reads it: PT_EINVAL with the place of the mistake in diag. */
int tls_priority_check(const char *priority, struct diag *diag) PT_MUST_USE;

#endif
