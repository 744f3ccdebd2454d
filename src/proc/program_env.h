/* proc/program_env.h - what a program of an exec service is told about its client, as variables of its
 * environment.
 *
 * A worker knows the values, the spawn process the names: on the way between them a variable is a number, and the
 * one that receives it checks the value. So whatever a worker says, no program gets another variable than
 * these, or a value that is not one line of text. Pure. */
#ifndef PROC_PROGRAM_ENV_H
#define PROC_PROGRAM_ENV_H

#include "util/buf.h"

#define PROGRAM_ENV_VALUE_MAX 1024      /* octets of one value; a longer one is left out */
#define PROGRAM_ENV_MAX (14 * 1024)     /* octets of all of them on their way */
#define PROGRAM_ENV_NAME_MAX 32

/* In order of importance: what does not fit is left out from the end. */
#define PROGRAM_ENV_VARS(X)                                                                        \
	X(USER, "POSTERN_USER")              /* who the client is, by its certificate */           \
	X(DEVICE, "POSTERN_DEVICE")          /* with which of their devices */                     \
	X(SERVICE, "POSTERN_SERVICE")                                                              \
	X(VERDICT, "POSTERN_VERDICT")        /* on its certificate: trusted, none, expired ... */  \
	X(PROTO, "PROTO")                    /* TCP, TCP6, UNIX */                                 \
	X(REMOTE_IP, "TCPREMOTEIP")                                                                \
	X(REMOTE_PORT, "TCPREMOTEPORT")                                                            \
	X(LOCAL_IP, "TCPLOCALIP")                                                                  \
	X(LOCAL_PORT, "TCPLOCALPORT")                                                              \
	X(LOCAL_PATH, "UNIXLOCALPATH")                                                             \
	X(TLS_PROTOCOL, "TLS_PROTOCOL")      /* TLSv1.3 */                                         \
	X(TLS_CIPHER, "TLS_CIPHER")          /* AES-128-GCM */                                     \
	X(TLS_GROUP, "TLS_GROUP")            /* X25519 */                                          \
	X(TLS_RESUMED, "TLS_RESUMED")        /* yes, no */                                         \
	X(CLIENT_VERIFY, "SSL_CLIENT_VERIFY") /* SUCCESS, NONE, FAILED:expired */                  \
	X(CLIENT_S_DN, "SSL_CLIENT_S_DN")    /* subject, RFC 4514 */                               \
	X(CLIENT_I_DN, "SSL_CLIENT_I_DN")    /* issuer */                                          \
	X(CLIENT_SERIAL, "SSL_CLIENT_M_SERIAL") /* upper-case hex */                               \
	X(CLIENT_FINGERPRINT, "SSL_CLIENT_FINGERPRINT") /* SHA-256 of the certificate, hex */      \
	X(CLIENT_START, "SSL_CLIENT_V_START") /* Nov 27 12:00:00 2026 GMT */                       \
	X(CLIENT_END, "SSL_CLIENT_V_END")                                                          \
	X(SAN_EMAIL_0, "SSL_CLIENT_SAN_Email_0")                                                   \
	X(SAN_EMAIL_1, "SSL_CLIENT_SAN_Email_1")                                                   \
	X(SAN_EMAIL_2, "SSL_CLIENT_SAN_Email_2")                                                   \
	X(SAN_EMAIL_3, "SSL_CLIENT_SAN_Email_3")                                                   \
	X(SAN_DNS_0, "SSL_CLIENT_SAN_DNS_0")                                                       \
	X(SAN_DNS_1, "SSL_CLIENT_SAN_DNS_1")                                                       \
	X(SAN_DNS_2, "SSL_CLIENT_SAN_DNS_2")                                                       \
	X(SAN_DNS_3, "SSL_CLIENT_SAN_DNS_3")

enum program_env_var {
#define PROGRAM_ENV_ENUM(var, name) PROGRAM_ENV_##var,
	PROGRAM_ENV_VARS(PROGRAM_ENV_ENUM)
#undef PROGRAM_ENV_ENUM
	PROGRAM_ENV_COUNT
};
#define PROGRAM_ENV_SANS 4 /* of each kind */

/* "POSTERN_USER". Static storage. */
const char *program_env_name(enum program_env_var var);

/* Adds a variable for the way; buf has PROGRAM_ENV_MAX. A value that is NULL, longer than PROGRAM_ENV_VALUE_MAX or no
 * line of text (control characters) is left out, as is one for which there is no room: what a program reads is
 * never a part of it. */
void program_env_put(struct buf *buf, enum program_env_var var, const char *value);

/* The way's other end: calls f with "NAME=VALUE" for each variable. PT_EPROTO: it is not what program_env_put()
 * makes, or has a variable twice. f returns 0, or what ends it and is returned. */
typedef int program_env_f(void *arg, const char *assignment);
int program_env_each(struct span env, program_env_f *f, void *arg) PT_MUST_USE;

#endif
