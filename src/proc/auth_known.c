/* proc/auth_known.c - see auth_known.h. A table of one place for each hash: what comes takes the place of what was. */
#include "proc/auth_known.h"

#include "util/err.h"

#include <stdlib.h>
#include <string.h>

struct auth_known_key {
	struct auth_recipient *users; /* owned; NULL: none */
	size_t nusers;
	uint64_t hash;
	enum auth_known_kind kind;
	size_t nuser, naddress; /* the user's name stands in front of the address */
	uint8_t octets[];
};

struct auth_known {
	struct auth_known_key *slots[AUTH_KNOWN_SLOTS];
	size_t count;
};

static uint64_t
hash(uint64_t h, const void *p, size_t n)
{
	const uint8_t *s = p;
	size_t i;

	for (i = 0; i < n; i++)
		h = (h ^ s[i]) * UINT64_C(1099511628211);
	return h;
}

static uint64_t
hash_of(enum auth_known_kind kind, const char *user, struct span address)
{
	uint64_t h = UINT64_C(14695981039346656037) + kind;

	h = hash(h, user, strlen(user) + 1);
	h = hash(h, address.p, address.n);
	return h ^ h >> 32;
}

struct auth_known *
auth_known_new(void)
{
	return calloc(1, sizeof(struct auth_known));
}

void
auth_known_free(struct auth_known **k)
{
	if (*k == NULL)
		return;
	auth_known_forget(*k);
	free(*k);
	*k = NULL;
}

struct auth_known_key *
auth_known_key(enum auth_known_kind kind, const char *user, struct span address)
{
	size_t n = strlen(user);
	struct auth_known_key *key = calloc(1, sizeof *key + n + address.n);

	if (key == NULL)
		return NULL;
	key->hash = hash_of(kind, user, address);
	key->kind = kind;
	key->nuser = n;
	key->naddress = address.n;
	if (n > 0)
		memcpy(key->octets, user, n);
	if (address.n > 0)
		memcpy(key->octets + n, address.p, address.n);
	return key;
}

void
auth_known_key_free(struct auth_known_key **key)
{
	if (*key == NULL)
		return;
	free((*key)->users);
	free(*key);
	*key = NULL;
}

static bool
is_key(const struct auth_known_key *key, enum auth_known_kind kind, const char *user, struct span address)
{
	return key->kind == kind && span_equal((struct span){ key->octets, key->nuser }, span_str(user)) &&
		span_equal((struct span){ key->octets + key->nuser, key->naddress }, address);
}

void
auth_known_put(struct auth_known *k, struct auth_known_key **key, const struct auth_recipient *users, size_t n)
{
	struct auth_known_key *new = *key, **slot;

	*key = NULL;
	if (new == NULL)
		return;
	PT_ASSERT(new->users == NULL && (new->kind == AUTH_KNOWN_SENDER) == (n == 0));
	if (n > AUTH_KNOWN_USERS_MAX || (n > 0 && (new->users = calloc(n, sizeof *users)) == NULL)) {
		auth_known_key_free(&new);
		return;
	}
	if (n > 0)
		memcpy(new->users, users, n * sizeof *users);
	new->nusers = n;
	slot = &k->slots[new->hash % AUTH_KNOWN_SLOTS];
	k->count += *slot == NULL;
	auth_known_key_free(slot);
	*slot = new;
}

bool
auth_known_find(const struct auth_known *k, enum auth_known_kind kind, const char *user, struct span address,
		const struct auth_recipient **users_out, size_t *n_out)
{
	const struct auth_known_key *key = k->slots[hash_of(kind, user, address) % AUTH_KNOWN_SLOTS];

	if (key == NULL || !is_key(key, kind, user, address))
		return false;
	*users_out = key->users;
	*n_out = key->nusers;
	return true;
}

void
auth_known_forget(struct auth_known *k)
{
	size_t i;

	for (i = 0; k->count > 0; i++) {
		k->count -= k->slots[i] != NULL;
		auth_known_key_free(&k->slots[i]);
	}
}
