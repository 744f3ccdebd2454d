/* proto/line/line_rules.c - the table of commands, and the checks of their arguments. */
#include "proto/line/line_rules.h"

#include "util/err.h"

#include <string.h>

#define IN(s) (1u << LINE_ST_##s)
#define ANYWHERE (IN(LOCKED) | IN(OPEN) | IN(PLAIN) | IN(SECURE))

static enum line_text
check_none(const struct line_cmd *cmd)
{
	return cmd->has_arg ? LINE_TX_NO_ARGUMENT : LINE_TX_NONE;
}

static enum line_text
check_echo(const struct line_cmd *cmd)
{
	return cmd->has_arg ? LINE_TX_NONE : LINE_TX_ECHO_ARGUMENT;
}

static enum line_text
check_help(const struct line_cmd *cmd)
{
	if (!cmd->has_arg)
		return LINE_TX_NONE;
	if (cmd->arg.n == 0 || memchr(cmd->arg.p, ' ', cmd->arg.n) != NULL)
		return LINE_TX_HELP_ARGUMENT;
	return LINE_TX_NONE;
}

static enum line_text
check_noop(const struct line_cmd *cmd)
{
	uint8_t tag[LINE_LINE_MAX];
	size_t n;

	if (!cmd->has_arg || line_string_read(cmd->arg, tag, sizeof(tag), &n))
		return LINE_TX_NONE;
	return LINE_TX_NOOP_ARGUMENT;
}

static enum line_text
check_starttls(const struct line_cmd *cmd)
{
	return cmd->has_arg ? LINE_TX_TLS_ARGUMENT : LINE_TX_NONE;
}

static const struct line_rule rules[LINE_V_COUNT] = {
	[LINE_V_CAPABILITY] = { ANYWHERE, 0, check_none, line_act_capability,
				"CAPABILITY", "tells what this server can do" },
	[LINE_V_ECHO] = { IN(OPEN) | IN(PLAIN) | IN(SECURE), 0, check_echo, line_act_echo,
			  "ECHO text", "sends the text back" },
	[LINE_V_HELP] = { ANYWHERE, 0, check_help, line_act_help,
			  "HELP [command]", "explains the commands, or one of them" },
	[LINE_V_NOOP] = { ANYWHERE, 0, check_noop, line_act_noop,
			  "NOOP [string]", "does nothing, and sends the string back as a tag" },
	[LINE_V_QUIT] = { ANYWHERE, 0, check_none, line_act_quit,
			  "QUIT", "ends the session" },
	[LINE_V_STARTTLS] = { IN(LOCKED) | IN(OPEN), LINE_R_LAST, check_starttls, line_act_starttls,
			      "STARTTLS", "begins TLS; wait for its reply before the handshake" },
	[LINE_V_WHOAMI] = { ANYWHERE, 0, check_none, line_act_whoami,
			    "WHOAMI", "tells who you are and how the connection is protected" },
};

const struct line_rule *
line_rule_get(enum line_verb verb)
{
	PT_ASSERT((unsigned)verb < LINE_V_COUNT);
	return &rules[verb];
}

enum line_text
line_rule_refusal(enum line_verb verb, enum line_state state)
{
	if (verb != LINE_V_UNKNOWN && (rules[verb].when & 1u << state) != 0)
		return LINE_TX_NONE;
	if (state == LINE_ST_LOCKED)
		return LINE_TX_ENCRYPT_NEEDED; /* unknown ones too: plaintext learns no more */
	if (verb == LINE_V_UNKNOWN)
		return LINE_TX_UNKNOWN;
	PT_ASSERT(verb == LINE_V_STARTTLS); /* the only one that is not legal everywhere else */
	return state == LINE_ST_SECURE ? LINE_TX_TLS_UP : LINE_TX_TLS_NOT_OFFERED;
}
