/* auth/verify.h - a password and its stored forms: checking one, making both, and forms for those who do not exist.
 *
 * Checking takes 3 ms and more by the SCRAM form, and several times that and 16 MiB by yescrypt: in the auth process it
 * belongs to the pool's threads. Thread safe. */
#ifndef AUTH_VERIFY_H
#define AUTH_VERIFY_H

#include "auth/users.h"

#define VERIFY_PASSWORD_MAX 511 /* octets: what crypt(3) takes */
#define VERIFY_ITERATIONS 32768 /* of the SCRAM form that we make: 50 ms for a client that does it slowly */
#define VERIFY_SALT_SIZE 16
#define VERIFY_SECRET_SIZE 64
#define VERIFY_FIELD_MAX 512    /* octets of both forms as a field of the users file, with the NUL */

/* Called every VERIFY_PAUSE_US or so of the work with a SCRAM form: others may want the processor. */
#define VERIFY_PAUSE_US 200
typedef void verify_pause_f(void *arg);

/* Is this the password? pause may be NULL. It has been through SASLprep. Against the SCRAM form where there is one, else the yescrypt
 * form; false without either. Where both stand in a file who steals it attacks the cheaper one, so the dearer would
 * only cost the server. */
bool verify_password(const struct user_credentials *c, const char *password, verify_pause_f *pause, void *arg);

/* Whether it is the SCRAM form that would be checked. */
static inline bool
verify_is_scram(const struct user_credentials *c)
{
	return c->scram.iterations != 0;
}

/* Both forms of a new password as a field of the users file. PT_EINVAL when it is empty, longer than
 * VERIFY_PASSWORD_MAX, or has characters that SASLprep (RFC 4013) does not take; PT_EIO, PT_ENOMEM. */
int verify_make(const char *password, char field_out[VERIFY_FIELD_MAX]) PT_MUST_USE;

/* What to check against when there is no such user, or none with a password: forms that no password has, the
 * same for the same name as long as the secret is, and in every outward respect like the others. There is a SCRAM
 * form always, and a yescrypt form when model has one: then a password is to be checked against that, and who does so
 * sets scram.iterations to 0. Nobody sees from salt, iterations or time who exists. */
void verify_fake(const uint8_t secret[VERIFY_SECRET_SIZE], const char *name,
		 const struct user_credentials *model, struct user_credentials *out);

/* The model: the iterations that most users with a SCRAM form have, ours when there is none; and a yescrypt form when
 * most who have a password have nothing else. */
void verify_model(const struct users *users, struct user_credentials *model_out);

#endif
