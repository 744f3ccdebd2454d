/* auth/sasl.h - one SASL exchange (RFC 4422), from its first message to the user who is logged in.
 *
 * EXTERNAL (RFC 4422 appendix A), SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677, 9266), PLAIN (RFC
 * 4616), by libgsasl. Messages come and go as octets, without base64. What holds for all:
 *
 * - Everything but EXTERNAL is a password: without TLS nothing begins.
 * - Who logs in is a user of the directory by his own address. A wrong password, an unknown user and a user
 *   without a password get the same answers in the same time.
 * - authzid: empty, "=" and the user's own are himself; another user's needs a row of the impersonate table.
 * - Where the session has a channel binding the PLUS form is offered; a client that says it could bind but the
 *   server could not ("y") has been lied to, and is refused (RFC 5802 §6).
 * - Who is removed or gets another password while he logs in is not logged in.
 * - Failures are counted (auth/failures.h); above a limit nothing is looked at.
 *
 * The answer comes by callback: from inside sasl_begin() and sasl_step(), or later, when a password had to be
 * checked in the pool. Not thread safe. */
#ifndef AUTH_SASL_H
#define AUTH_SASL_H

#include "auth/directory.h"
#include "auth/failures.h"
#include "auth/impersonate.h"
#include "auth/pool.h"

/* What all exchanges share. */
struct sasl_server {
	struct failures *failures;
	struct pool *pool;
	uint8_t secret[VERIFY_SECRET_SIZE]; /* of those who do not exist */
	struct Gsasl *gsasl;                /* sasl_server_init() */
};

/* Whose users they are about. Outlives its exchanges; what is in it may change between calls, as an exchange keeps
 * copies of what it needs for longer. */
struct sasl_realm {
	struct directory directory;
	const struct impersonate *impersonate; /* NULL: nobody */
	struct user_credentials model;         /* verify_model() of the directory's users */
};

/* Makes the library's part. PT_ENOMEM, PT_EUNAVAIL when it lacks a mechanism. */
int sasl_server_init(struct sasl_server *s) PT_MUST_USE;
void sasl_server_fini(struct sasl_server *s); /* wipes the secret, too */

struct sasl_begin {
	unsigned mechanism; /* enum auth_mechanism, as it came: any number */
	bool tls;
	struct span identity; /* user of the certificate; empty: none. With one, a password login as another user is
	                       * refused */
	struct span binding;  /* tls-exporter; empty: the session has none */
	uint64_t address_key; /* failures are counted by it; 0: not by address */
	bool success_data;    /* the mechanism's last words may come with AUTH_OK; else they are a challenge, to which
	                       * the client's answer must be empty */
};

struct sasl_answer {
	enum auth_result result;
	const char *user; /* of AUTH_OK, normal form; else "" */
	/* of AUTH_OK by a password: whose it is, which differs from user with an authzid. Of a refusal: the user of ours who was
	 * named, for the log and for nobody else. Else "" (a name that is nobody's may be a password in the wrong field) */
	const char *by;
	struct span data; /* of AUTH_CONTINUE: the challenge; of AUTH_OK: last words, perhaps none */
};

struct sasl;

/* Called once for each sasl_start() and sasl_step(). Everything but AUTH_CONTINUE is the end: the exchange is gone
 * when the callback returns (the callee frees nothing). a is borrowed. */
typedef void sasl_answer_f(void *arg, const struct sasl_answer *a);

/* A new exchange, owned by the caller until its end has been called back. NULL: *why_out says why not; nothing
 * is called. */
struct sasl *sasl_new(struct sasl_server *server, const struct sasl_realm *realm, const struct sasl_begin *b,
		      uint64_t now_ms, sasl_answer_f *f, void *arg, enum auth_result *why_out);

/* The first step: with the client's initial response, or (NULL) without one. */
void sasl_start(struct sasl *s, const struct span *initial, uint64_t now_ms);

/* The client's next message. Never while an answer is due. */
void sasl_step(struct sasl *s, struct span message, uint64_t now_ms);

/* Ends it without an answer; that counts as no failure, as it told nobody anything. NULL is fine; sets the pointer
 * to NULL. */
void sasl_free(struct sasl **s);

#endif
