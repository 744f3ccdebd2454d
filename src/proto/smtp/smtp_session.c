/* proto/smtp/smtp_session.c - the commands that are about the session, not about a message. */
#include "proto/smtp/smtp_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_MAX 512 /* octets of the list of commands */

void
smtp_greet(struct smtp_engine *e)
{
	smtp_say_about(e, e->kind == SMTP_KIND_LMTP ? SMTP_TX_GREETING_LMTP : SMTP_TX_GREETING,
		       span_str(e->conf->hostname));
}

/* EHLO, HELO and LHLO begin anew: what was under way is forgotten (RFC 5321 §4.1.4). */
static bool
hello(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	char *helo = strndup((const char *)cmd->arg.p, cmd->arg.n);

	if (helo == NULL) {
		smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
		return false;
	}
	free(e->helo);
	e->helo = helo;
	smtp_tx_end(e);
	return e->state != SMTP_ST_CLOSED;
}

void
smtp_act_ehlo(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	const char *mechanisms[MECHANISMS_MAX];
	struct smtp_offer offer = {
		.locked = e->offer == ENGINE_OFFER_REQUIRED,
		.starttls = e->offer != ENGINE_OFFER_NONE,
		.size = e->smtp->max_message_octets,
		.mechanisms = mechanisms,
		.nmechanisms = smtp_auth_offer(e, mechanisms),
	};

	if (!hello(e, cmd))
		return;
	e->esmtp = true;
	smtp_said(e, smtp_reply_ehlo(&e->out, e->conf->hostname, &offer));
}

void
smtp_act_helo(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	if (!hello(e, cmd))
		return;
	e->esmtp = false;
	smtp_say_about(e, SMTP_TX_HELO, span_str(e->conf->hostname));
}

void
smtp_act_help(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	const struct smtp_rule *rule;
	char list[HELP_MAX] = "";
	size_t n = 0;
	unsigned v;

	(void)cmd;
	for (v = 0; v < SMTP_V_COUNT; v++) {
		rule = smtp_rule_get((enum smtp_kind)e->kind, (enum smtp_verb)v);
		if (rule->help != NULL && (v != SMTP_V_STARTTLS || e->offer != ENGINE_OFFER_NONE))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? "; " : "",
					      rule->help);
		PT_ASSERT(n < sizeof(list));
	}
	smtp_say_about(e, SMTP_TX_HELP, span_str(list));
}

void
smtp_act_noop(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	(void)cmd;
	smtp_say(e, SMTP_TX_OK);
}

void
smtp_act_quit(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	(void)cmd;
	smtp_say_and_finish(e, SMTP_TX_QUIT, ENGINE_CLOSE_QUIT);
}

void
smtp_act_rset(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	(void)cmd;
	smtp_say(e, SMTP_TX_RESET);
	smtp_tx_end(e);
}

void
smtp_act_starttls(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	(void)cmd;
	e->want |= WANT_START_TLS;
	smtp_enter(e, SMTP_ST_UPGRADING);
}

/* Tells nobody who lives here (RFC 5321 §3.5.3, §7.3). */
void
smtp_act_vrfy(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	(void)cmd;
	smtp_say(e, SMTP_TX_VRFY);
}
