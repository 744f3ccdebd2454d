/* auth/directory.c - see directory.h. */
#include "auth/directory.h"

#include <stdio.h>
#include <string.h>

static bool
is_ours(const struct directory *d, const char *domain)
{
	size_t i;

	for (i = 0; i < d->ndomains; i++)
		if (strcmp(d->domains[i], domain) == 0)
			return true;
	return false;
}

/* Exactly that address, as a user's own or as an alias. */
static size_t
exact(const struct directory *d, const char *address, const struct user *out[USERS_ALIAS_USERS_MAX])
{
	const struct user *user = users_get(d->users, address);

	if (user == NULL)
		return users_by_alias(d->users, address, out);
	out[0] = user;
	return 1;
}

/* Takes "+detail" out of a normal address; false when there is none, or nothing before it. */
static bool
without_detail(char address[NORMAL_ADDRESS_MAX])
{
	char *at = strrchr(address, '@'), *plus = strchr(address, '+');

	if (plus == NULL || plus > at || plus == address)
		return false;
	memmove(plus, at, strlen(at) + 1);
	return true;
}

/* The detail as it was written: the normal form has another case. */
static void
copy_detail(struct span address, char detail[NORMAL_LOCAL_MAX + 1])
{
	const uint8_t *plus = memchr(address.p, '+', address.n), *at = memrchr(address.p, '@', address.n);
	size_t n;

	detail[0] = '\0';
	if (plus == NULL || at == NULL || plus > at)
		return;
	n = (size_t)(at - plus) - 1;
	if (n > 0 && plus[n] == '"')
		n--; /* "alice+detail"@example.org */
	if (n > NORMAL_LOCAL_MAX)
		return;
	memcpy(detail, plus + 1, n);
	detail[n] = '\0';
}

/* Always somebody, when there is anybody (RFC 5321 §4.5.1). */
static size_t
postmaster(const struct directory *d, const struct user *out[USERS_ALIAS_USERS_MAX])
{
	size_t n = d->postmaster != NULL ? exact(d, d->postmaster, out) : 0;

	if (n == 0 && users_count(d->users) > 0) {
		out[0] = users_at(d->users, 0);
		n = 1;
	}
	return n;
}

enum auth_result
directory_recipient(const struct directory *d, struct span address, struct directory_answer *a)
{
	char normal[NORMAL_ADDRESS_MAX], plain[NORMAL_ADDRESS_MAX];
	const char *at;

	*a = (struct directory_answer){ .n = 0 };
	if (d->users == NULL)
		return AUTH_AWAY;
	if (span_is_nocase(address, "postmaster"))
		return (a->n = postmaster(d, a->users)) > 0 ? AUTH_OK : AUTH_NO_USER;
	if (!normal_address(address, normal))
		return AUTH_BAD_ADDRESS;
	if (!is_ours(d, strrchr(normal, '@') + 1))
		return AUTH_NOT_LOCAL;
	if ((a->n = exact(d, normal, a->users)) > 0)
		return AUTH_OK;
	memcpy(plain, normal, sizeof plain);
	if (without_detail(plain) && (a->n = exact(d, plain, a->users)) > 0) {
		copy_detail(address, a->detail);
		return AUTH_OK;
	}
	at = strrchr(plain, '@');
	if ((size_t)(at - plain) == strlen("postmaster") && strncmp(plain, "postmaster", strlen("postmaster")) == 0 &&
	    (a->n = postmaster(d, a->users)) > 0)
		return AUTH_OK;
	return AUTH_NO_USER;
}

const struct user *
directory_login(const struct directory *d, struct span name)
{
	char normal[NORMAL_ADDRESS_MAX];

	return d->users != NULL && normal_address(name, normal) ? users_get(d->users, normal) : NULL;
}

static bool
has_address(const struct user *user, const char *address)
{
	size_t i;

	if (strcmp(user->address, address) == 0)
		return true;
	for (i = 0; i < user->naliases; i++)
		if (strcmp(user->aliases[i], address) == 0)
			return true;
	return false;
}

static void
list_addresses(const struct user *user, char out[DIRECTORY_ALLOWED_MAX])
{
	static const char more[] = ", ...";
	size_t at, i, n;

	at = (size_t)snprintf(out, DIRECTORY_ALLOWED_MAX, "%s", user->address);
	for (i = 0; i < user->naliases; i++) {
		n = 2 + strlen(user->aliases[i]);
		if (at + n + sizeof more > DIRECTORY_ALLOWED_MAX) {
			memcpy(out + at, more, sizeof more);
			return;
		}
		at += (size_t)snprintf(out + at, DIRECTORY_ALLOWED_MAX - at, ", %s", user->aliases[i]);
	}
}

_Static_assert(DIRECTORY_ALLOWED_MAX >= NORMAL_ADDRESS_MAX + 8, "one address and the dots always fit");

enum auth_result
directory_sender(const struct directory *d, const char *name, struct span address,
		 char allowed[DIRECTORY_ALLOWED_MAX])
{
	char normal[NORMAL_ADDRESS_MAX];
	const struct user *user;

	allowed[0] = '\0';
	if (d->users == NULL)
		return AUTH_AWAY;
	if ((user = directory_login(d, span_str(name))) == NULL)
		return AUTH_NO_USER;
	if (!normal_address(address, normal))
		return AUTH_BAD_ADDRESS;
	if (has_address(user, normal) || (without_detail(normal) && has_address(user, normal)))
		return AUTH_OK;
	list_addresses(user, allowed);
	return AUTH_NOT_ALLOWED;
}
