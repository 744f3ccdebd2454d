/* proc/identity.h - the user that a trusted certificate maps to (until auth exists, in the worker). */
#ifndef PROC_IDENTITY_H
#define PROC_IDENTITY_H

#include "conf/conf.h"
#include "tls/tls_session.h"

#define IDENTITY_MAX 320 /* octets of a user with the NUL: RFC 5321 §4.5.3.1 allows 64 + 1 + 255 */

enum identity_result {
	IDENTITY_NONE,      /* no rule gave a user */
	IDENTITY_FOUND,
	IDENTITY_AMBIGUOUS, /* two different users match: nobody is logged in */
};

/* Applies the rules in order to every name of the session's certificate, which must have been judged
 * trusted. user_out holds IDENTITY_MAX octets. */
enum identity_result identity_map(const struct conf *conf, const struct tls_session *s,
				  char user_out[IDENTITY_MAX]);

/* A mail address as a user: the local part as it is, the domain in lower case as A-labels of its NFC form
 * (RFC 5890). false for what is no address or too long. */
bool identity_of_address(const char *address, char user_out[IDENTITY_MAX]);

#endif
