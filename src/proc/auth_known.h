/* proc/auth_known.h - what auth said and still holds, so that it need not be asked again: that a user may send with an
 * address, and whom an address reaches.
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

/* A question that is open, as it will be remembered. */
struct auth_known_key;

struct auth_known *auth_known_new(void); /* NULL: out of memory */
void auth_known_free(struct auth_known **k);

/* user: who wants to send with the address; NULL: it is a recipient. The address is taken as it is written. NULL: out of
 * memory, the answer is not remembered then. */
struct auth_known_key *auth_known_key(const char *user, struct span address);
void auth_known_key_free(struct auth_known_key **key);

/* The answer to it was AUTH_OK: users are those that a recipient reaches, none of a sender. Takes the key. */
void auth_known_put(struct auth_known *k, struct auth_known_key **key, const struct auth_recipient *users, size_t n);

/* Whether the answer is known. users: borrowed until the next call. */
bool auth_known_find(const struct auth_known *k, const char *user, struct span address,
		     const struct auth_recipient **users_out, size_t *n_out);

void auth_known_forget(struct auth_known *k);

#endif
