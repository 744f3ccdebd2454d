/* proc/auth_wire.c - see auth_wire.h. */
#include "proc/auth_wire.h"

#include "util/utf8.h"

#include <string.h>

#define QUOTA_SIZE 8

int
auth_wire_put(struct buf *list, const char *user, uint64_t quota)
{
	uint8_t octets[QUOTA_SIZE];
	size_t i;
	int rc;

	for (i = 0; i < QUOTA_SIZE; i++)
		octets[i] = (uint8_t)(quota >> (8 * (QUOTA_SIZE - 1 - i)));
	if ((rc = buf_append(list, octets, sizeof octets)) != 0)
		return rc;
	return buf_append(list, user, strlen(user) + 1);
}

bool
auth_wire_take(struct span *list, struct auth_recipient *r)
{
	struct span user;
	const uint8_t *end;
	size_t i;

	if (list->n <= QUOTA_SIZE || (end = memchr(list->p + QUOTA_SIZE, '\0', list->n - QUOTA_SIZE)) == NULL)
		return false;
	user = (struct span){ list->p + QUOTA_SIZE, (size_t)(end - list->p) - QUOTA_SIZE };
	if (user.n == 0 || user.n >= sizeof r->user || !utf8_printable(user))
		return false;
	r->quota = 0;
	for (i = 0; i < QUOTA_SIZE; i++)
		r->quota = r->quota << 8 | list->p[i];
	memcpy(r->user, user.p, user.n + 1);
	list->n -= QUOTA_SIZE + user.n + 1;
	list->p = end + 1;
	return true;
}

const char *
auth_wire_take_name(struct span *users)
{
	const uint8_t *end = users->n > 0 ? memchr(users->p, '\0', users->n) : NULL;
	struct span name;

	if (end == NULL)
		return NULL;
	name = (struct span){ users->p, (size_t)(end - users->p) };
	if (name.n == 0 || name.n >= NORMAL_ADDRESS_MAX || !utf8_printable(name))
		return NULL;
	users->p += name.n + 1;
	users->n -= name.n + 1;
	return (const char *)name.p;
}
