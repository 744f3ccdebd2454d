/* auth/result.h - what the auth process may answer: one list for all its questions.
 *
 * The comment behind each tells what a mail protocol makes of it (RFC 5321, 4954 and 5248). */
#ifndef AUTH_RESULT_H
#define AUTH_RESULT_H

#define AUTH_RESULTS(X)                                                                            \
	X(OK, "yes")                                                                               \
	/* sasl only: the data is a challenge, the client's answer to it comes next */             \
	X(CONTINUE, "go on")                                                                       \
	/* 553 5.1.3 */                                                                            \
	X(BAD_ADDRESS, "not an address")                                                           \
	/* the domain is none of ours; 550 5.7.1 */                                                \
	X(NOT_LOCAL, "not a domain of ours")                                                       \
	/* 550 5.1.1 */                                                                            \
	X(NO_USER, "no such user")                                                                 \
	/* this sender address is not that user's; 550 5.7.1 */                                    \
	X(NOT_ALLOWED, "not an address of that user")                                              \
	/* wrong user, password, proof or binding: nobody is told which; 535 5.7.8 */              \
	X(DENIED, "wrong credentials")                                                             \
	/* right credentials, but not for acting as that other user; 535 5.7.8 */                  \
	X(AUTHZID, "may not act as that user")                                                     \
	/* 501 5.5.2 */                                                                            \
	X(MALFORMED, "not what the mechanism says")                                                \
	/* unknown, or not in this session; 504 5.5.4 */                                           \
	X(MECHANISM, "no such mechanism here")                                                     \
	/* too many failures lately; nothing was looked at; 454 4.7.0 */                           \
	X(LIMIT, "too many failed logins lately")                                                  \
	/* auth is busy, or away: temporary; 454 4.7.0, at RCPT 451 4.3.0 */                       \
	X(AWAY, "not available at present")

enum auth_result {
#define AUTH_RESULT_ENUM(name, text) AUTH_##name,
	AUTH_RESULTS(AUTH_RESULT_ENUM)
#undef AUTH_RESULT_ENUM
	AUTH_RESULT_COUNT
};

/* "no such user": for logs. Static storage. */
const char *auth_result_text(enum auth_result r);

/* The mechanisms, best first. A worker offers of them what its session allows: EXTERNAL when its
 * certificate maps to a user, the others inside TLS where the service's login takes passwords, PLUS when
 * the session has a tls-exporter binding. */
#define AUTH_MECHANISMS(X)                                                                         \
	X(EXTERNAL, "EXTERNAL")                                                                    \
	X(SCRAM_SHA_256_PLUS, "SCRAM-SHA-256-PLUS")                                                \
	X(SCRAM_SHA_256, "SCRAM-SHA-256")                                                          \
	X(PLAIN, "PLAIN")

enum auth_mechanism {
#define AUTH_MECHANISM_ENUM(name, text) AUTH_M_##name,
	AUTH_MECHANISMS(AUTH_MECHANISM_ENUM)
#undef AUTH_MECHANISM_ENUM
	AUTH_M_COUNT
};

/* "SCRAM-SHA-256". Static storage. */
const char *auth_mechanism_name(enum auth_mechanism m);

#define AUTH_MESSAGE_MAX 4096 /* octets of one SASL message, not in base64; longer ones are MALFORMED */
#define AUTH_BINDING_MAX 64   /* octets of a channel binding; tls-exporter has 32 (RFC 9266) */
#define AUTH_RECIPIENTS_MAX 32 /* users that one alias reaches */

#endif
