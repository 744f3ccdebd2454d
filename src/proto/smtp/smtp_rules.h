/* proto/smtp/smtp_rules.h - what each command is in each of the three protocols: where it is legal, what
 * else is said, what it does. One row per verb and protocol, to be held against RFC 5321 §4.1.4. */
#ifndef PROTO_SMTP_SMTP_RULES_H
#define PROTO_SMTP_SMTP_RULES_H

#include "proto/smtp/smtp_cmd.h"
#include "proto/smtp/smtp_reply.h"

struct smtp_engine;

/* X(name). Up to BDAT: where commands are taken. */
#define SMTP_STATES(X)                                                                             \
	X(LOCKED)     /* plaintext, and TLS is required */                                         \
	X(START)      /* the client has not said who it is */                                      \
	X(READY)      /* it has */                                                                 \
	X(MAIL)       /* a sender, no recipient yet */                                             \
	X(RCPT)       /* a sender and at least one recipient */                                    \
	X(BDAT)       /* between two chunks of a message */                                        \
	X(SASL)       /* a challenge is given: the next line is its response */                    \
	X(DATA)       /* a message is coming, up to its dot */                                     \
	X(CHUNK)      /* so many octets are coming */                                              \
	X(WAITING)    /* before the greeting: nothing may come */                                  \
	X(ASKING)     /* a question is open: parked */                                             \
	X(UPGRADING)  /* STARTTLS came: parked */                                                  \
	X(UPGRADED)   /* the go-ahead is given: the last thing said */                             \
	X(CLOSED)     /* ENGINE_EV_CLOSE is given out or will be */

enum smtp_state {
#define SMTP_STATE_ENUM(name) SMTP_ST_##name,
	SMTP_STATES(SMTP_STATE_ENUM)
#undef SMTP_STATE_ENUM
	SMTP_ST_COUNT
};

enum smtp_kind {
	SMTP_KIND_MX,
	SMTP_KIND_SUBMISSION,
	SMTP_KIND_LMTP,
	SMTP_KIND_COUNT
};

/* Looks at the arguments only: the refusal, or SMTP_TX_NONE. */
typedef enum smtp_text smtp_check_f(const struct smtp_cmd *cmd);

/* Does it. */
typedef void smtp_act_f(struct smtp_engine *e, const struct smtp_cmd *cmd);

/* Nothing may stand behind it in the same offer (RFC 3207 §4.2, CVE-2011-0411). */
#define SMTP_R_LAST 0x1u
/* The client must be logged in. */
#define SMTP_R_LOGIN 0x2u
/* It is acted on in any state, because octets follow it that are no commands. */
#define SMTP_R_ALWAYS 0x4u

struct smtp_rule {
	uint16_t when;  /* states it is legal in, 1u << state; 0: it does not exist here */
	uint8_t flags;  /* SMTP_R_... */
	uint8_t early;  /* enum smtp_text: why not where the client has not said who it is; or why not at all */
	uint8_t other;  /* the same for all other states */
	smtp_check_f *check;
	smtp_act_f *act;
	const char *help; /* how it is written */
};

/* verb < SMTP_V_COUNT; static storage. */
const struct smtp_rule *smtp_rule_get(enum smtp_kind kind, enum smtp_verb verb);

/* Why the verb, which may be SMTP_V_UNKNOWN, is refused in this state; SMTP_TX_NONE when legal. */
enum smtp_text smtp_rule_refusal(enum smtp_kind kind, enum smtp_verb verb, enum smtp_state state);

/* The acts, by file: smtp_session.c, smtp_auth.c, smtp_mail.c. */
smtp_act_f smtp_act_ehlo, smtp_act_helo, smtp_act_help, smtp_act_noop, smtp_act_quit, smtp_act_rset,
	smtp_act_starttls, smtp_act_vrfy;
smtp_act_f smtp_act_auth;
smtp_act_f smtp_act_mail, smtp_act_rcpt, smtp_act_data, smtp_act_bdat;

#endif
