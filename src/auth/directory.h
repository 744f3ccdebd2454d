/* auth/directory.h - whom an address reaches, and which addresses a user may send with.
 *
 * A directory is what such questions are asked of: the users, the domains that are ours, postmaster. All of it is
 * borrowed; the owner puts a new one in its place when the file or the configuration changes. Pure. */
#ifndef AUTH_DIRECTORY_H
#define AUTH_DIRECTORY_H

#include "auth/result.h"
#include "auth/users.h"
#include "mail/normal.h"

struct directory {
	const struct users *users; /* NULL: nobody yet */
	char *const *domains;      /* normal form */
	size_t ndomains;
	const char *postmaster;    /* normal form; NULL: the file's first user */
};

struct directory_answer {
	const struct user *users[USERS_ALIAS_USERS_MAX];
	size_t n;
	char detail[NORMAL_LOCAL_MAX + 1]; /* behind "+", in the writer's own case; "": none */
};

_Static_assert(USERS_ALIAS_USERS_MAX == AUTH_RECIPIENTS_MAX, "an answer holds whom an alias reaches");

/* A recipient (RFC 5321 §4.1.1.3), without <>. In this order: the user or alias of exactly that address; without
 * the part from the first "+" on (the detail: RFC 5233 §1); postmaster, without a domain or at one of ours, in any
 * case (§4.5.1). AUTH_OK with answer_out, AUTH_NO_USER, AUTH_NOT_LOCAL, AUTH_BAD_ADDRESS, AUTH_AWAY while there are
 * no users yet. */
enum auth_result directory_recipient(const struct directory *d, struct span address,
				     struct directory_answer *answer_out);

/* The user that logs in by that name, his own address; NULL: there is none. */
const struct user *directory_login(const struct directory *d, struct span name);

/* May user send as address? His own and his aliases, with a detail too. AUTH_OK, AUTH_BAD_ADDRESS,
 * AUTH_NOT_ALLOWED with the addresses that he may use in allowed, cut with "..." where they do not fit in
 * DIRECTORY_ALLOWED_MAX; AUTH_NO_USER when he is none of ours, AUTH_AWAY. */
#define DIRECTORY_ALLOWED_MAX 384 /* octets with the NUL: a reply line has 512 (RFC 5321 §4.5.3.1.5) */
enum auth_result directory_sender(const struct directory *d, const char *user, struct span address,
				  char allowed[DIRECTORY_ALLOWED_MAX]);

#endif
