/* auth/verify.h - a password and its stored forms: checking one, making both, and forms for those who do not exist.
 *
 * Checking and making take tens of milliseconds and (yescrypt) 16 MiB: in the auth process they belong to the
 * pool's threads. Thread safe. */
#ifndef AUTH_VERIFY_H
#define AUTH_VERIFY_H

#include "auth/users.h"

#define VERIFY_PASSWORD_MAX 511 /* octets: what crypt(3) takes */
#define VERIFY_ITERATIONS 32768 /* of the SCRAM form that we make: 50 ms for a client that does it slowly */
#define VERIFY_SALT_SIZE 16
#define VERIFY_SECRET_SIZE 64
#define VERIFY_FIELD_MAX 512    /* octets of both forms as a field of the users file, with the NUL */

/* Is this the password? It has been through SASLprep. Against the yescrypt form where there is one, else the
 * SCRAM form; false without either. */
bool verify_password(const struct user_credentials *c, const char *password);

/* Both forms of a new password as a field of the users file. PT_EINVAL when it is empty, longer than
 * VERIFY_PASSWORD_MAX, or has characters that SASLprep (RFC 4013) does not take; PT_EIO, PT_ENOMEM. */
int verify_make(const char *password, char field_out[VERIFY_FIELD_MAX]) PT_MUST_USE;

/* What to check against when there is no such user, or none with a password: forms that no password has, the
 * same for the same name as long as the secret is, and in every outward respect like the others (model: the kind
 * of forms that users here have). Nobody sees from salt, iterations or time who exists. */
void verify_fake(const uint8_t secret[VERIFY_SECRET_SIZE], const char *name,
		 const struct user_credentials *model, struct user_credentials *out);

/* The model: the forms and the iterations that most users with a password have; ours when nobody has any. */
void verify_model(const struct users *users, struct user_credentials *model_out);

#endif
