/* auth/users.h - the users file: who has a mailbox here, by what else it is reached, and how they log in.
 *
 * One user on a line (auth/lines.h):
 *
 *     address  credentials  [quota  [aliases]]
 *     alice@example.org  {SCRAM-SHA-256}32768,SALT,STORED,SERVER{yescrypt}$y$j9T$...  10G  sales@example.org
 *     scanner@example.org  -
 *
 * credentials: "-" (no password: certificates only), or one or both forms, one behind the other:
 * {SCRAM-SHA-256} with iterations, salt, StoredKey and ServerKey (RFC 5803; the last three in base64), and {yescrypt}
 * with what crypt(5) says. quota: "-" (none) or a number with K, M, G or T (powers of 1024). aliases: "-" or
 * addresses separated by commas; an alias that several users have reaches all of them.
 *
 * Addresses are kept in their normal form (mail/normal.h). Every mistake of a file is reported with its
 * line; a file with one gives nothing, so that whoever has an older one keeps that. Credentials are
 * wiped with the struct. Knows no file: its owner reads. */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H

#include "util/buf.h"

#define USERS_FILE_MAX (64u * 1024 * 1024) /* octets */
#define USERS_MAX 200000
#define USERS_ALIASES_MAX 100    /* of one user */
#define USERS_ALIAS_USERS_MAX 32 /* users that have one alias */

#define USERS_ITERATIONS_MIN 4096    /* RFC 7677 §4 */
#define USERS_ITERATIONS_MAX 1000000 /* checking PLAIN costs as many here: half a second */
#define USERS_SALT_MIN 8             /* octets, decoded */
#define USERS_SALT_MAX 64
#define USERS_KEY_SIZE 32            /* of SHA-256 */
#define USERS_BASE64_MAX 89          /* of a salt or key, with the NUL */
#define USERS_YESCRYPT_MAX 256       /* octets with the NUL */

/* The SCRAM form; strings are base64. iterations 0: there is none. */
struct user_scram {
	uint32_t iterations;
	char salt[USERS_BASE64_MAX], stored_key[USERS_BASE64_MAX], server_key[USERS_BASE64_MAX];
};

struct user_credentials {
	struct user_scram scram;
	char yescrypt[USERS_YESCRYPT_MAX]; /* "": there is none */
};

struct user {
	char *address; /* normal form */
	struct user_credentials credentials;
	uint64_t quota; /* octets; 0: none */
	char **aliases; /* normal form */
	size_t naliases;
	unsigned line;
};

struct users;

/* name stands in mistakes. 0 and *users_out, owned; PT_EINVAL with one line for each mistake, "name:line: what;
 * what was expected", appended to mistakes; PT_ENOMEM. */
int users_parse(const char *name, struct span text, struct users **users_out, struct buf *mistakes)
	PT_MUST_USE;
void users_free(struct users **users);

/* All of them, in the order of the file. Borrowed. */
size_t users_count(const struct users *users);
const struct user *users_at(const struct users *users, size_t i);

/* The user with that address (normal form); NULL: none. Aliases do not count. */
const struct user *users_get(const struct users *users, const char *address);

/* The users that have that alias (normal form), in the order of the file: how many, at most
 * USERS_ALIAS_USERS_MAX. */
size_t users_by_alias(const struct users *users, const char *alias,
		      const struct user *out[USERS_ALIAS_USERS_MAX]);

/* What has become of a user of an earlier file. */
enum users_change {
	USERS_SAME,
	USERS_GONE,     /* he is none any more */
	USERS_PASSWORD, /* he logs in with another password, or with none */
};

enum users_change users_compare(const struct user *was, const struct users *now);

/* The same stored forms of a password. */
bool users_credentials_equal(const struct user_credentials *a, const struct user_credentials *b);

/* --- the parts of a line, for those who write one ---------------------------------------------- */

/* The whole field of credentials, without "-". On a mistake *why says what was expected; static. */
bool users_credentials_parse(struct span field, struct user_credentials *c_out, const char **why);

/* "-", or a number with its unit; false when it is neither or does not fit. */
bool users_quota_parse(struct span field, uint64_t *octets_out);

/* The shortest way to write it: "10G", "-". */
void users_quota_print(uint64_t octets, char out[32]);

#endif
