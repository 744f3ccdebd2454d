/* proto/smtp/smtp_mail.c - MAIL, RCPT, DATA, BDAT: the envelope (RFC 5321 §3.3, RFC 6409, RFC 3030). */
#include "proto/smtp/smtp_impl.h"

#include "util/scan.h"

#include <stdlib.h>
#include <string.h>

#define RECIPIENTS_FIRST 4 /* room made for with the first recipient */

/* Parameters of MAIL. */
struct params {
	bool size, body, utf8, auth; /* came */
	uint64_t octets;
};

void
smtp_tx_free(struct smtp_tx **tx)
{
	struct smtp_tx *t = *tx;
	size_t i;

	if (t == NULL)
		return;
	smtp_body_free(&t->body);
	for (i = 0; i < t->envelope.nrecipients; i++)
		free((void *)(uintptr_t)t->rcpts[i].p);
	free(t->rcpts);
	free(t->results);
	free(t);
	*tx = NULL;
}

static bool
param_size(struct params *p, struct span value)
{
	bool again = p->size;

	p->size = true;
	return !again && value.n <= 20 && scan_u64(value, &p->octets);
}

static bool
param_body(struct params *p, struct span value)
{
	bool again = p->body;

	p->body = true;
	return !again && (span_is_nocase(value, "7BIT") || span_is_nocase(value, "8BITMIME"));
}

static bool
param_utf8(struct params *p, struct span value)
{
	bool again = p->utf8;

	p->utf8 = true;
	return !again && value.p == NULL;
}

/* Whoever sent it first: taken and, as RFC 4954 §5 lets us, not believed. */
static bool
param_auth(struct params *p, struct span value)
{
	bool again = p->auth;

	p->auth = true;
	return !again && value.n > 0;
}

static enum smtp_text
params_read(const struct smtp_engine *e, struct span rest, struct params *out)
{
	static const struct {
		const char *key;
		bool (*read)(struct params *p, struct span value);
		bool submission; /* only there */
	} params[] = {
		{ "SIZE", param_size, false },
		{ "BODY", param_body, false },
		{ "SMTPUTF8", param_utf8, false },
		{ "AUTH", param_auth, true },
	};
	struct span key, value;
	enum smtp_param rc;
	size_t i;

	while ((rc = smtp_param_next(&rest, &key, &value)) == SMTP_PARAM_OK) {
		for (i = 0; i < PT_COUNT(params) && !span_is_nocase(key, params[i].key); i++)
			;
		if (!e->esmtp || i == PT_COUNT(params) ||
		    (params[i].submission && e->kind != SMTP_KIND_SUBMISSION))
			return SMTP_TX_PARAMETER;
		if (!params[i].read(out, value))
			return SMTP_TX_PARAMETER_VALUE;
	}
	return rc == SMTP_PARAM_END ? SMTP_TX_NONE : SMTP_TX_PARAMETER_VALUE;
}

/* "FROM:" or "TO:" and a path; what follows the path to *rest. A blank behind the colon is not in RFC 5321, but
 * in what many programs send; nothing is unclear about it. */
static bool
prefix(struct span *arg, const char *word)
{
	size_t n = strlen(word);

	if (arg->n < n || !span_is_nocase((struct span){ arg->p, n }, word))
		return false;
	for (; n < arg->n && arg->p[n] == ' '; n++)
		;
	arg->p += n;
	arg->n -= n;
	return true;
}

/* A path is followed by nothing or by a blank. */
static bool
path_ends(struct span rest)
{
	return rest.n == 0 || rest.p[0] == ' ';
}

/* Whether the path holds UTF-8 is looked at when the parameters are known: SMTPUTF8 stands behind it. */
static enum smtp_text
sender_read(const struct smtp_engine *e, struct span arg, struct mail_addr *sender, struct params *p)
{
	enum smtp_text t;
	size_t used;

	if (!prefix(&arg, "FROM:"))
		return SMTP_TX_MAIL_SYNTAX;
	switch (mail_path_read(arg, MAIL_ADDR_NULL | MAIL_ADDR_ALLOW_UTF8, sender, &used)) {
	case MAIL_ADDR_OK:
		break;
	case MAIL_ADDR_TOO_LONG:
		return SMTP_TX_SENDER_LONG;
	default:
		return SMTP_TX_SENDER_SYNTAX;
	}
	arg.p += used;
	arg.n -= used;
	if (!path_ends(arg))
		return SMTP_TX_SENDER_SYNTAX;
	if ((t = params_read(e, arg, p)) != SMTP_TX_NONE)
		return t;
	return sender->utf8 && !p->utf8 ? SMTP_TX_SENDER_UTF8 : SMTP_TX_NONE;
}

static void
sender_taken(struct smtp_engine *e)
{
	smtp_enter(e, SMTP_ST_MAIL);
	smtp_say(e, SMTP_TX_SENDER_OK);
}

/* MAIL was well written, and is refused all the same. */
static void
refuse_sender(struct smtp_engine *e, enum smtp_text why, struct span value)
{
	smtp_note(e, NOTE_SENDER_REFUSED, why)->address = e->tx->envelope.sender;
	smtp_refuse_about(e, why, value);
	smtp_tx_end(e);
}

void
smtp_act_mail(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	uint64_t max = e->smtp->max_message_octets;
	struct params p = { .size = false };
	struct smtp_tx *tx;
	enum smtp_text t;

	if ((tx = calloc(1, sizeof(*tx))) == NULL) {
		smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
		return;
	}
	if ((t = sender_read(e, cmd->arg, &tx->sender, &p)) != SMTP_TX_NONE) {
		free(tx);
		smtp_refuse(e, t);
		return;
	}
	tx->envelope = (struct ask_envelope){ .sender = mail_addr_text(&tx->sender),
		.declared = p.octets, .utf8 = p.utf8, .each = e->kind == SMTP_KIND_LMTP };
	e->tx = tx;
	if (max > 0 && p.octets > max) {
		refuse_sender(e, SMTP_TX_TOO_BIG, (struct span){ NULL, 0 }); /* before an octet of it is sent (RFC 1870 §6.1) */
		return;
	}
	if (e->kind != SMTP_KIND_SUBMISSION || tx->sender.n == 0) {
		sender_taken(e); /* the null sender is what reports and receipts come from */
		return;
	}
	e->ask = (struct ask){ .address = tx->envelope.sender };
	smtp_ask(e, ASK_SENDER);
}

void
smtp_mail_sender_reply(struct smtp_engine *e, const struct ask_reply *reply)
{
	if (reply->result == ASK_OK) {
		sender_taken(e);
		return;
	}
	PT_ASSERT(reply->result == ASK_TEMP || reply->result == ASK_DENIED);
	refuse_sender(e, reply->result == ASK_TEMP ? SMTP_TX_ASK_LATER : SMTP_TX_SENDER_DENIED,
		reply->text.n > 0 ? reply->text : span_str(e->user));
}

/* --- recipients ------------------------------------------------------------------------------- */

static enum smtp_text
recipient_read(const struct smtp_engine *e, struct span arg, struct mail_addr *rcpt)
{
	unsigned flags = MAIL_ADDR_POSTMASTER | (e->tx->envelope.utf8 ? MAIL_ADDR_ALLOW_UTF8 : 0);
	struct span key, value;
	size_t used;

	if (!prefix(&arg, "TO:"))
		return SMTP_TX_RCPT_SYNTAX;
	switch (mail_path_read(arg, flags, rcpt, &used)) {
	case MAIL_ADDR_OK:
		break;
	case MAIL_ADDR_TOO_LONG:
		return SMTP_TX_ADDRESS_LONG;
	case MAIL_ADDR_UTF8:
		return SMTP_TX_RECIPIENT_UTF8;
	case MAIL_ADDR_SYNTAX:
		return SMTP_TX_RECIPIENT_SYNTAX;
	}
	arg.p += used;
	arg.n -= used;
	if (!path_ends(arg))
		return SMTP_TX_RECIPIENT_SYNTAX;
	switch (smtp_param_next(&arg, &key, &value)) {
	case SMTP_PARAM_END:
		return SMTP_TX_NONE;
	case SMTP_PARAM_OK:
		return SMTP_TX_PARAMETER; /* there are none yet */
	case SMTP_PARAM_BAD:
		break;
	}
	return SMTP_TX_PARAMETER_VALUE;
}

void
smtp_act_rcpt(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	struct smtp_tx *tx = e->tx;
	enum smtp_text t = recipient_read(e, cmd->arg, &tx->rcpt);

	if (t != SMTP_TX_NONE) {
		tx->refused = true;
		smtp_refuse(e, t);
		return;
	}
	if (e->smtp->max_recipients > 0 && tx->envelope.nrecipients >= e->smtp->max_recipients) {
		smtp_say(e, SMTP_TX_TOO_MANY_RECIPIENTS);
		return;
	}
	e->ask = (struct ask){ .address = mail_addr_text(&tx->rcpt), .envelope = &tx->envelope };
	smtp_ask(e, ASK_RECIPIENT);
}

static bool
recipient_add(struct smtp_tx *tx)
{
	size_t n = tx->envelope.nrecipients, room = tx->room > 0 ? 2 * tx->room : RECIPIENTS_FIRST;
	struct span *rcpts;
	uint8_t *text;

	if (n == tx->room) {
		if ((rcpts = reallocarray(tx->rcpts, room, sizeof(*rcpts))) == NULL)
			return false;
		tx->rcpts = rcpts;
		tx->room = room;
	}
	if ((text = malloc(tx->rcpt.n)) == NULL)
		return false;
	memcpy(text, tx->rcpt.text, tx->rcpt.n);
	tx->rcpts[n] = (struct span){ text, tx->rcpt.n };
	tx->envelope.recipients = tx->rcpts;
	tx->envelope.nrecipients = n + 1;
	return true;
}

static enum smtp_text
recipient_text(const struct smtp_engine *e, enum ask_result result)
{
	switch (result) {
	case ASK_OK:
		return SMTP_TX_RECIPIENT_OK;
	case ASK_UNKNOWN:
		return SMTP_TX_USER_UNKNOWN;
	case ASK_ELSEWHERE:
		return e->kind == SMTP_KIND_SUBMISSION ? SMTP_TX_NO_RELAY_YET : SMTP_TX_NO_RELAY;
	case ASK_OVERQUOTA:
		return SMTP_TX_OVERQUOTA;
	default:
		PT_ASSERT(result == ASK_TEMP);
		return SMTP_TX_ASK_LATER;
	}
}

void
smtp_mail_recipient_reply(struct smtp_engine *e, const struct ask_reply *reply)
{
	enum smtp_text t = recipient_text(e, reply->result);

	if (reply->result == ASK_OK) {
		if (!recipient_add(e->tx)) {
			smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
			return;
		}
		smtp_enter(e, SMTP_ST_RCPT);
		smtp_say(e, t);
		return;
	}
	e->tx->refused = true;
	smtp_note(e, NOTE_RECIPIENT_REFUSED, t)->address = mail_addr_text(&e->tx->rcpt);
	smtp_say(e, t);
	/* who tries names until one fits does not go on for ever */
	if ((reply->result == ASK_UNKNOWN || reply->result == ASK_ELSEWHERE) &&
	    ++e->unknown == e->smtp->max_unknown)
		smtp_say_and_finish(e, SMTP_TX_UNKNOWN_USERS, ENGINE_CLOSE_TOO_MUCH);
}

/* --- the message begins ----------------------------------------------------------------------- */

void
smtp_act_data(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	(void)cmd;
	smtp_body_ask(e, false);
}

/* The octets of a chunk come whatever is thought of it: they are read, and the reply follows them
 * (RFC 3030 §2). */
void
smtp_act_bdat(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	uint64_t max = e->smtp->max_message_octets, received;

	PT_ASSERT(smtp_bdat_read(cmd->arg, &e->chunk, &e->chunk_last) == SMTP_BDAT_OK);
	received = e->tx != NULL && e->tx->body != NULL ? e->tx->body->received : 0;
	if (e->chunk_refusal == SMTP_TX_NONE && max > 0 &&
	    (received > max || e->chunk > max - received))
		e->chunk_refusal = SMTP_TX_TOO_BIG;
	if (e->chunk_refusal == SMTP_TX_NONE && e->state == SMTP_ST_RCPT)
		smtp_body_ask(e, true);
	else
		smtp_chunk_begin(e);
}
