/* proto/line/line_rules.h - what each command of the line protocol is: where it is legal, what it
 * takes, what it does. One row per verb, to be held against doc/line.md §5. */
#ifndef PROTO_LINE_LINE_RULES_H
#define PROTO_LINE_LINE_RULES_H

#include "proto/line/line_cmd.h"
#include "proto/line/line_reply.h"

struct line_engine;

/* X(name). The first four are where a session stands, fixed by how it began, and the only ones in
 * which it takes commands; line_engine.c relies on this order. */
#define LINE_STATES(X)                                                                             \
	X(LOCKED)     /* plaintext, and TLS is required */                                         \
	X(OPEN)       /* plaintext, TLS is offered */                                              \
	X(PLAIN)      /* plaintext, and there is no TLS here */                                    \
	X(SECURE)     /* within TLS */                                                             \
	X(UPGRADING)  /* STARTTLS came: parked until it is answered */                             \
	X(UPGRADED)   /* the go-ahead is given: the last thing said */                             \
	X(CLOSED)     /* ENGINE_EV_CLOSE is given out or will be */

enum line_state {
#define LINE_STATE_ENUM(name) LINE_ST_##name,
	LINE_STATES(LINE_STATE_ENUM)
#undef LINE_STATE_ENUM
	LINE_ST_COUNT
};

/* Looks at the arguments only: the refusal, or LINE_TX_NONE. */
typedef enum line_text line_check_f(const struct line_cmd *cmd);

/* Does it. The arguments are checked. */
typedef void line_act_f(struct line_engine *e, const struct line_cmd *cmd);

/* Nothing may stand behind it in the same offer (RFC 5804 §2.2, CVE-2011-0411). */
#define LINE_R_LAST 0x1u

struct line_rule {
	unsigned when;  /* states it is legal in, 1u << state */
	unsigned flags; /* LINE_R_... */
	line_check_f *check;
	line_act_f *act;
	const char *usage;
	const char *help; /* one sentence */
};

/* verb < LINE_V_COUNT; static storage. */
const struct line_rule *line_rule_get(enum line_verb verb);

/* Why the verb, which may be LINE_V_UNKNOWN, is refused in this state; LINE_TX_NONE when legal. */
enum line_text line_rule_refusal(enum line_verb verb, enum line_state state);

/* The acts, in line_engine.c. */
line_act_f line_act_capability, line_act_echo, line_act_help, line_act_noop, line_act_quit,
	line_act_starttls, line_act_whoami;

#endif
