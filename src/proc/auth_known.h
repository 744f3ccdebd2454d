/* proc/auth_known.h - what auth said and still holds, so that it need not be asked again: that a certificate's user is one, that
 * this is his login, that he may send with an address, and whom an address reaches.
 *
 * Good news only: a refusal is always auth's own. Nothing is ever answered from here after auth said that its users are
 * others (AUTH_CHANGED), or when it is away: auth_client.c forgets all then. Memory is bounded: AUTH_KNOWN_SLOTS answers of
 * AUTH_KNOWN_USERS_MAX users at most, one for each place; whoever finds two addresses for one place only makes auth be asked
 * more often. */
#ifndef PROC_AUTH_KNOWN_H
#define PROC_AUTH_KNOWN_H

#include "proc/auth_wire.h"
#include "util/span.h"

#define AUTH_KNOWN_SLOTS 1024
#define AUTH_KNOWN_USERS_MAX 4

struct auth_known;

enum auth_known_kind {
	AUTH_KNOWN_IDENTITY,  /* of a certificate's user: his normal form */
	AUTH_KNOWN_EXTERNAL,  /* EXTERNAL as that user, asking for no other: the same */
	AUTH_KNOWN_SENDER,    /* a user and an address: nobody */
	AUTH_KNOWN_RECIPIENT, /* an address: whom it reaches */
};

/* A question that is open, as it will be remembered. */
struct auth_known_key;

struct auth_known *auth_known_new(void); /* NULL: out of memory */
void auth_known_free(struct auth_known **k);

/* User and address as they are written; "" and empty where the kind has none. NULL: out of memory, the answer is not remembered
 * then. */
struct auth_known_key *auth_known_key(enum auth_known_kind kind, const char *user, struct span address);
void auth_known_key_free(struct auth_known_key **key);

/* The answer to it was AUTH_OK. Takes the key, which may be NULL. */
void auth_known_put(struct auth_known *k, struct auth_known_key **key, const struct auth_recipient *users, size_t n);

/* Whether the answer is known. users: borrowed until the next call. */
bool auth_known_find(const struct auth_known *k, enum auth_known_kind kind, const char *user, struct span address,
		     const struct auth_recipient **users_out, size_t *n_out);

void auth_known_forget(struct auth_known *k);

#endif
