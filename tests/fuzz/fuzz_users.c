/* fuzz/fuzz_users.c - any octets as a users file, and as an impersonate table.
 *
 * What is taken is found again by its address and by each alias; what is refused says why, with a line. */
#include "auth/impersonate.h"
#include "auth/users.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_user(const struct users *u, const struct user *user)
{
	const struct user *found[USERS_ALIAS_USERS_MAX];
	char quota[32];
	uint64_t octets;
	size_t i, k, n;

	PT_ASSERT(users_get(u, user->address) == user);
	for (i = 0; i < user->naliases; i++) {
		n = users_by_alias(u, user->aliases[i], found);
		PT_ASSERT(n > 0 && n <= USERS_ALIAS_USERS_MAX && users_get(u, user->aliases[i]) == NULL);
		for (k = 0; k < n && found[k] != user; k++)
			;
		PT_ASSERT(k < n);
	}
	users_quota_print(user->quota, quota);
	PT_ASSERT(users_quota_parse(span_str(quota), &octets) && octets == user->quota);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct impersonate *t;
	struct buf mistakes;
	struct users *u;
	size_t i;
	int rc;

	buf_init(&mistakes, 1024 * 1024);
	rc = users_parse("users", (struct span){ data, size }, &u, &mistakes);
	PT_ASSERT((rc == 0) == (u != NULL) && (rc == PT_EINVAL) == (buf_size(&mistakes) > 0));
	for (i = 0; u != NULL && i < users_count(u); i++)
		check_user(u, users_at(u, i));
	users_free(&u);
	buf_fini(&mistakes);
	rc = impersonate_parse("impersonate", (struct span){ data, size }, &t, &mistakes);
	PT_ASSERT((rc == 0) == (t != NULL) && (rc == PT_EINVAL) == (buf_size(&mistakes) > 0));
	(void)impersonate_allows(t, "a@b", "c@d");
	impersonate_free(&t);
	buf_fini(&mistakes);
	return 0;
}
