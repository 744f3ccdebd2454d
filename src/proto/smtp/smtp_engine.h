/* proto/smtp/smtp_engine.h - one session of smtp (a domain's MX), submission or lmtp without I/O: RFC 5321, 6409,
 * 2033, 3207, 4954, 1870 (SIZE), 2920 (PIPELINING), 6152 (8BITMIME), 6531 (SMTPUTF8), 2034
 * (ENHANCEDSTATUSCODES), 3030 (CHUNKING).
 *
 * The interface is struct engine_protocol: make one with smtp_protocol.new() and its kin, drive it with the
 * functions of proto/engine.h, answer its questions (proto/ask.h). Not thread safe. Memory: at most 512
 * octets and the client's name while nothing waits; a transaction has its addresses, a message that is
 * coming 8 KiB beside them; octets of a message are never kept. */
#ifndef PROTO_SMTP_SMTP_ENGINE_H
#define PROTO_SMTP_SMTP_ENGINE_H

#include "proto/engine.h"

#define SMTP_SKIP_MAX (64 * 1024) /* octets skipped of one bad line before the session is ended */
#define SMTP_LOGINS_MAX 3         /* failed logins in a session; the last one ends it (RFC 4954 §4) */
#define SMTP_IDENTITIES_MAX 16    /* times that a session asks again whose its certificate is */
#define SMTP_HOPS_MAX 100         /* Received fields of a message (RFC 5321 §6.3) */
#define SMTP_WHO_MAX 16           /* addresses of From, Sender and Resent fields that are asked about */
/* Octets that are read and thrown away of a message beyond its limit, so that the client comes to hear why; one
 * that goes on is cut off. */
#define SMTP_SWALLOW_MAX (64 * 1024 * 1024)

#define SMTP_LOGIN_CERTIFICATE 0x1u
#define SMTP_LOGIN_PASSWORD 0x2u

/* Of a service. 0: no limit. */
struct smtp_conf {
	uint64_t max_message_octets;
	uint32_t max_recipients; /* of a message; 100 at least (RFC 5321 §4.5.3.1.8) */
	uint32_t max_errors;     /* replies 5xx of a session, but those on recipients and messages */
	uint32_t max_unknown;    /* recipients that do not exist, of a session */
	uint32_t max_commands;   /* without a message between, of a session where nobody is logged in */
	uint32_t message_timeout_ms; /* from DATA, or the first BDAT, to the last octet */
	uint32_t greeting_delay_ms; /* of smtp, in plaintext: who speaks before it is up is no mail server */
	unsigned login;          /* of submission: SMTP_LOGIN_... */
};

extern const struct engine_protocol smtp_protocol;
extern const struct engine_protocol submission_protocol;
extern const struct engine_protocol lmtp_protocol;

#endif
