/* proto/smtp/smtp_rules.c - the three tables of commands, and the checks of their arguments. */
#include "proto/smtp/smtp_rules.h"

#include "util/err.h"

#define IN(s) (1u << SMTP_ST_##s)
#define SECURED (IN(START) | IN(READY) | IN(MAIL) | IN(RCPT) | IN(BDAT)) /* as far as it must be */
#define ANYWHERE (IN(LOCKED) | SECURED)
#define NO(why) 0, 0, SMTP_TX_##why, SMTP_TX_##why, NULL, NULL, NULL

static enum smtp_text
check_any(const struct smtp_cmd *cmd)
{
	(void)cmd;
	return SMTP_TX_NONE;
}

static enum smtp_text
check_none(const struct smtp_cmd *cmd)
{
	return cmd->has_arg ? SMTP_TX_NO_ARGUMENT : SMTP_TX_NONE;
}

static enum smtp_text
check_some(const struct smtp_cmd *cmd)
{
	return cmd->has_arg ? SMTP_TX_NONE : SMTP_TX_NEEDS_ARGUMENT;
}

static enum smtp_text
check_helo(const struct smtp_cmd *cmd)
{
	return smtp_helo_valid(cmd->arg) ? SMTP_TX_NONE : SMTP_TX_HELO_ARGUMENT;
}

static enum smtp_text
check_starttls(const struct smtp_cmd *cmd)
{
	return cmd->has_arg ? SMTP_TX_TLS_ARGUMENT : SMTP_TX_NONE;
}

static enum smtp_text
check_auth(const struct smtp_cmd *cmd)
{
	struct span mechanism, initial;

	return smtp_auth_read(cmd->arg, &mechanism, &initial) ? SMTP_TX_NONE : SMTP_TX_AUTH_SYNTAX;
}

static enum smtp_text
check_bdat(const struct smtp_cmd *cmd)
{
	uint64_t octets;
	bool last;

	switch (smtp_bdat_read(cmd->arg, &octets, &last)) {
	case SMTP_BDAT_OK:
		return SMTP_TX_NONE;
	case SMTP_BDAT_HUGE:
		return SMTP_TX_BDAT_HUGE;
	default:
		return SMTP_TX_BDAT_SYNTAX;
	}
}

static const struct smtp_rule rules[SMTP_KIND_COUNT][SMTP_V_COUNT] = {
	[SMTP_KIND_MX] = {
		[SMTP_V_AUTH] = { NO(AUTH_NOT_HERE) },
		[SMTP_V_BDAT] = { IN(RCPT) | IN(BDAT), SMTP_R_ALWAYS, SMTP_TX_FIRST_HELO,
				  SMTP_TX_FIRST_RCPT, check_bdat, smtp_act_bdat, "BDAT octets [LAST]" },
		[SMTP_V_DATA] = { IN(RCPT), 0, SMTP_TX_FIRST_HELO, SMTP_TX_FIRST_RCPT, check_none,
				  smtp_act_data, "DATA" },
		[SMTP_V_EHLO] = { ANYWHERE, 0, 0, 0, check_helo, smtp_act_ehlo, "EHLO domain" },
		[SMTP_V_EXPN] = { NO(NOT_HERE) },
		[SMTP_V_HELO] = { SECURED, 0, 0, 0, check_helo, smtp_act_helo, "HELO domain" },
		[SMTP_V_HELP] = { SECURED, 0, 0, 0, check_any, smtp_act_help, "HELP" },
		[SMTP_V_LHLO] = { NO(SAY_EHLO) },
		[SMTP_V_MAIL] = { IN(READY), 0, SMTP_TX_FIRST_HELO, SMTP_TX_NESTED, check_some,
				  smtp_act_mail, "MAIL FROM:<address> [parameters]" },
		[SMTP_V_NOOP] = { ANYWHERE, 0, 0, 0, check_any, smtp_act_noop, "NOOP" },
		[SMTP_V_QUIT] = { ANYWHERE, 0, 0, 0, check_none, smtp_act_quit, "QUIT" },
		[SMTP_V_RCPT] = { IN(MAIL) | IN(RCPT), 0, SMTP_TX_FIRST_HELO, SMTP_TX_FIRST_MAIL,
				  check_some, smtp_act_rcpt, "RCPT TO:<address>" },
		[SMTP_V_RSET] = { SECURED, 0, 0, 0, check_none, smtp_act_rset, "RSET" },
		[SMTP_V_STARTTLS] = { IN(LOCKED) | IN(START) | IN(READY), SMTP_R_LAST, 0, SMTP_TX_NESTED,
				      check_starttls, smtp_act_starttls, "STARTTLS" },
		[SMTP_V_VRFY] = { SECURED, 0, 0, 0, check_some, smtp_act_vrfy, "VRFY address" },
	},
	[SMTP_KIND_SUBMISSION] = {
		[SMTP_V_AUTH] = { IN(READY), 0, SMTP_TX_FIRST_HELO, SMTP_TX_NESTED, check_auth,
				  smtp_act_auth, "AUTH mechanism [response]" },
		[SMTP_V_BDAT] = { IN(RCPT) | IN(BDAT), SMTP_R_ALWAYS, SMTP_TX_FIRST_HELO,
				  SMTP_TX_FIRST_RCPT, check_bdat, smtp_act_bdat, "BDAT octets [LAST]" },
		[SMTP_V_DATA] = { IN(RCPT), 0, SMTP_TX_FIRST_HELO, SMTP_TX_FIRST_RCPT, check_none,
				  smtp_act_data, "DATA" },
		[SMTP_V_EHLO] = { ANYWHERE, 0, 0, 0, check_helo, smtp_act_ehlo, "EHLO domain" },
		[SMTP_V_EXPN] = { NO(NOT_HERE) },
		[SMTP_V_HELO] = { SECURED, 0, 0, 0, check_helo, smtp_act_helo, "HELO domain" },
		[SMTP_V_HELP] = { SECURED, 0, 0, 0, check_any, smtp_act_help, "HELP" },
		[SMTP_V_LHLO] = { NO(SAY_EHLO) },
		[SMTP_V_MAIL] = { IN(READY), SMTP_R_LOGIN, SMTP_TX_FIRST_HELO, SMTP_TX_NESTED, check_some,
				  smtp_act_mail, "MAIL FROM:<address> [parameters]" },
		[SMTP_V_NOOP] = { ANYWHERE, 0, 0, 0, check_any, smtp_act_noop, "NOOP" },
		[SMTP_V_QUIT] = { ANYWHERE, 0, 0, 0, check_none, smtp_act_quit, "QUIT" },
		[SMTP_V_RCPT] = { IN(MAIL) | IN(RCPT), 0, SMTP_TX_FIRST_HELO, SMTP_TX_FIRST_MAIL,
				  check_some, smtp_act_rcpt, "RCPT TO:<address>" },
		[SMTP_V_RSET] = { SECURED, 0, 0, 0, check_none, smtp_act_rset, "RSET" },
		[SMTP_V_STARTTLS] = { IN(LOCKED) | IN(START) | IN(READY), SMTP_R_LAST, 0, SMTP_TX_NESTED,
				      check_starttls, smtp_act_starttls, "STARTTLS" },
		[SMTP_V_VRFY] = { SECURED, 0, 0, 0, check_some, smtp_act_vrfy, "VRFY address" },
	},
	[SMTP_KIND_LMTP] = {
		[SMTP_V_AUTH] = { NO(AUTH_NOT_HERE) },
		[SMTP_V_BDAT] = { IN(RCPT) | IN(BDAT), SMTP_R_ALWAYS, SMTP_TX_FIRST_HELO,
				  SMTP_TX_FIRST_RCPT, check_bdat, smtp_act_bdat, "BDAT octets [LAST]" },
		[SMTP_V_DATA] = { IN(RCPT), 0, SMTP_TX_FIRST_HELO, SMTP_TX_FIRST_RCPT, check_none,
				  smtp_act_data, "DATA" },
		[SMTP_V_EHLO] = { NO(SAY_LHLO) }, /* RFC 2033 §4.1 */
		[SMTP_V_EXPN] = { NO(NOT_HERE) },
		[SMTP_V_HELO] = { NO(SAY_LHLO) },
		[SMTP_V_HELP] = { SECURED, 0, 0, 0, check_any, smtp_act_help, "HELP" },
		[SMTP_V_LHLO] = { ANYWHERE, 0, 0, 0, check_helo, smtp_act_ehlo, "LHLO domain" },
		[SMTP_V_MAIL] = { IN(READY), 0, SMTP_TX_FIRST_HELO, SMTP_TX_NESTED, check_some,
				  smtp_act_mail, "MAIL FROM:<address> [parameters]" },
		[SMTP_V_NOOP] = { ANYWHERE, 0, 0, 0, check_any, smtp_act_noop, "NOOP" },
		[SMTP_V_QUIT] = { ANYWHERE, 0, 0, 0, check_none, smtp_act_quit, "QUIT" },
		[SMTP_V_RCPT] = { IN(MAIL) | IN(RCPT), 0, SMTP_TX_FIRST_HELO, SMTP_TX_FIRST_MAIL,
				  check_some, smtp_act_rcpt, "RCPT TO:<address>" },
		[SMTP_V_RSET] = { SECURED, 0, 0, 0, check_none, smtp_act_rset, "RSET" },
		[SMTP_V_STARTTLS] = { IN(LOCKED) | IN(START) | IN(READY), SMTP_R_LAST, 0, SMTP_TX_NESTED,
				      check_starttls, smtp_act_starttls, "STARTTLS" },
		[SMTP_V_VRFY] = { SECURED, 0, 0, 0, check_some, smtp_act_vrfy, "VRFY address" },
	},
};
_Static_assert(SMTP_TX_COUNT < 256, "a text's number fits a rule");

const struct smtp_rule *
smtp_rule_get(enum smtp_kind kind, enum smtp_verb verb)
{
	PT_ASSERT((unsigned)kind < SMTP_KIND_COUNT && (unsigned)verb < SMTP_V_COUNT);
	return &rules[kind][verb];
}

enum smtp_text
smtp_rule_refusal(enum smtp_kind kind, enum smtp_verb verb, enum smtp_state state)
{
	const struct smtp_rule *rule;

	if (verb != SMTP_V_UNKNOWN && (smtp_rule_get(kind, verb)->when & 1u << state) != 0)
		return SMTP_TX_NONE;
	if (state == SMTP_ST_LOCKED)
		return SMTP_TX_TLS_FIRST; /* unknown ones too: plaintext learns no more */
	if (verb == SMTP_V_UNKNOWN)
		return SMTP_TX_UNKNOWN;
	rule = smtp_rule_get(kind, verb);
	if (state == SMTP_ST_BDAT && rule->when != 0)
		return SMTP_TX_IN_CHUNKS;
	return (enum smtp_text)(state == SMTP_ST_START ? rule->early : rule->other);
}
