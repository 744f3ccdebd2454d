/* unit/tls/duet.h - our server session and a GnuTLS client in one process, over two buffers.
 *
 * The server's keys are held as the keyholder holds them, and its signatures are asked for by number. */
#ifndef UNIT_TLS_DUET_H
#define UNIT_TLS_DUET_H

#include "pki.h"

#include "tls/tls_session.h"

#define WIRE_MAX (512 * 1024)
#define DUET_KEYS_MAX 4

struct wire {
	size_t off, len;
	size_t hold;  /* this many octets at the end have not arrived yet */
	size_t passed; /* octets so far: to the server those that it has read, to the client those that were written */
	bool cut;     /* nothing passes behind octet number cut_at; what happens there: */
	size_t cut_at;
	enum wire_cut { WIRE_STALL, WIRE_END, WIRE_RESET } cut_how;
	bool met;     /* it stood in somebody's way; set, never cleared */
	size_t room;  /* the writer gets PT_EAGAIN beyond it; 0: WIRE_MAX */
	bool whole;   /* the writer moves all or nothing */
	bool ended;   /* the reader gets the end once it is empty */
	bool broken;  /* both get PT_EIO */
	uint8_t octets[WIRE_MAX];
};

/* The keys that duet_sign() signs with, by number, and what it does. */
struct duet_signer {
	struct tls_key *keys[DUET_KEYS_MAX];
	size_t nkeys;
	unsigned calls;
	uint64_t generation; /* as last asked */
	uint32_t key;
	int rc;              /* not 0: it fails with this */
};

int duet_sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed,
	      struct span data, uint8_t *sig_out, size_t *len_out);

/* Loads a key and its certificates (leaf first, owned) as the next number. Returns the certificates as PEM. */
char *duet_add_key(struct duet_signer *signer, const struct pki *leaf, const struct pki *issuer);
void duet_signer_fini(struct duet_signer *signer);

struct duet {
	struct tls_session *server;
	gnutls_session_t client;
	gnutls_certificate_credentials_t client_cred;
	struct wire to_server, to_client;
	enum tls_status status; /* of the server's handshake */
	int client_rc;          /* of the client's handshake */
	unsigned client_alert;  /* the last that it got; 0: none */
};

/* Both sides, nothing said yet. cert NULL: the client has none; chain: what it sends behind it, ends with
 * NULL; sni NULL: none. */
void duet_init(struct duet *d, struct tls_cred *cred, const char *client_priority, const struct pki *cert,
	       const struct pki *const *chain, const char *sni);
void duet_fini(struct duet *d);

#define DUET_TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define DUET_TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"

/* Lets both talk until neither has anything to say; the client reads behind its handshake, so that a late
 * alert is seen. */
void duet_handshake(struct duet *d);

/* What the client says and reads, inside TLS; the result is GnuTLS's. */
ssize_t duet_client_recv(struct duet *d, void *p, size_t n);

#endif
