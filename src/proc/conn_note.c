/* proc/conn_note.c - the log lines of mail: each message, each login, each refusal. What a client typed comes here only
 * through span_print(). */
#include "proc/conn_mail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_SHOWN 330  /* octets of one address */
#define LIST_MAX 1200       /* of the recipients in one line; more of them have more lines */

/* As many recipients as fit, from *at on, each with what became of it where that differs from being accepted. */
static const char *
recipients(const struct note *n, size_t *at, char out[LIST_MAX])
{
	const struct ask_envelope *env = n->envelope;
	char name[NAME_MAX_SHOWN];
	size_t i, len = 0;
	bool told;

	out[0] = '\0';
	for (i = *at; i < env->nrecipients && len + NAME_MAX_SHOWN + 40 <= LIST_MAX; i++) {
		told = n->results != NULL && n->results[i] != ASK_OK;
		len += (size_t)snprintf(out + len, LIST_MAX - len, "%s<%s>%s%s%s", i > *at ? " " : "",
			span_print(env->recipients[i], name, sizeof name), told ? " (" : "",
			told ? ask_result_name(n->results[i]) : "", told ? ")" : "");
	}
	*at = i;
	return out;
}

/* One line; the text is for people, the fields for machines. */
static void
line(const struct conn *c, enum log_level level, const struct note *n, const char *text)
{
	const struct engine_peer *p = c->secure != NULL ? &c->secure->peer : NULL;
	struct log_field f[LOG_FIELDS_MAX];
	char peer[ADDR_TEXT_MAX], reply[16], size[24];
	size_t k = 0;

	f[k++] = (struct log_field){ "service", c->service->conf->name };
	f[k++] = (struct log_field){ "peer", conn_peer_text(c, peer) };
	f[k++] = (struct log_field){ "code", note_kind_name(n->kind) };
	if (n->reply.n > 0)
		f[k++] = (struct log_field){ "reply", span_print(n->reply, reply, sizeof reply) };
	if (n->id != NULL)
		f[k++] = (struct log_field){ "id", n->id };
	if (n->user != NULL)
		f[k++] = (struct log_field){ "user", n->user };
	if (n->mechanism != NULL)
		f[k++] = (struct log_field){ "login", n->mechanism };
	f[k++] = (struct log_field){ "tls", p != NULL ? p->tls_version : "none" };
	if (p != NULL && p->identity != NULL)
		f[k++] = (struct log_field){ "identity", p->identity };
	if (n->envelope != NULL) {
		snprintf(size, sizeof size, "%" PRIu64, n->octets);
		f[k++] = (struct log_field){ "size", size };
	}
	log_fields(level, f, k, "%s", text);
}

static void
message(const struct conn *c, const struct note *n)
{
	const char *id = n->id != NULL && n->id[0] != '\0' ? n->id : "without id";
	enum log_level level = n->kind == NOTE_MESSAGE ? LOG_L_INFO : LOG_L_NOTICE;
	char from[NAME_MAX_SHOWN], to[LIST_MAX], more[32] = "", text[LOG_LINE_MAX];
	size_t at = 0;

	(void)recipients(n, &at, to);
	if (at < n->envelope->nrecipients)
		snprintf(more, sizeof more, " and %zu more", n->envelope->nrecipients - at);
	snprintf(text, sizeof text, "message %s: %s from <%s> to %s%s, %" PRIu64 " octets%s", id,
		n->kind == NOTE_MESSAGE ? "accepted" : "not accepted",
		span_print(n->envelope->sender, from, sizeof from), to, more, n->octets,
		n->kind == NOTE_DISCARDED && n->reply.n == 0 ? "; the connection ended first" : "");
	line(c, level, n, text);
	while (at < n->envelope->nrecipients) {
		snprintf(text, sizeof text, "message %s: also to %s", id, recipients(n, &at, to));
		line(c, level, n, text);
	}
}

static void
count(const struct conn *c, enum note_kind kind)
{
	switch (kind) {
	case NOTE_MESSAGE:
		COUNT(c, messages, 1);
		break;
	case NOTE_DISCARDED:
		COUNT(c, messages_refused, 1);
		break;
	case NOTE_LOGIN:
		COUNT(c, logins, 1);
		break;
	case NOTE_LOGIN_FAILED:
		COUNT(c, logins_failed, 1);
		break;
	case NOTE_SENDER_REFUSED:
		COUNT(c, senders_refused, 1);
		break;
	case NOTE_RECIPIENT_REFUSED:
		COUNT(c, recipients_refused, 1);
		break;
	case NOTE_EARLY_TALKER:
		COUNT(c, early_talkers, 1);
		break;
	case NOTE_KIND_COUNT:
		break;
	}
}

void
conn_mail_note(const struct conn *c, const struct note *n)
{
	char address[NAME_MAX_SHOWN], text[NAME_MAX_SHOWN + 200];

	count(c, n->kind);
	switch (n->kind) {
	case NOTE_MESSAGE:
	case NOTE_DISCARDED:
		message(c, n);
		return;
	case NOTE_LOGIN:
		snprintf(text, sizeof text, "%s logged in by %s", n->user, n->mechanism);
		break;
	case NOTE_LOGIN_FAILED:
		snprintf(text, sizeof text, "a login%s%s by %s failed", n->address.n > 0 ? " as " : "",
			n->address.n > 0 ? span_print(n->address, address, sizeof address) : "", n->mechanism);
		break;
	case NOTE_SENDER_REFUSED:
	case NOTE_RECIPIENT_REFUSED:
		snprintf(text, sizeof text, "%s <%s> refused",
			n->kind == NOTE_SENDER_REFUSED ? "sender" : "recipient",
			span_print(n->address, address, sizeof address));
		break;
	case NOTE_EARLY_TALKER: /* the end of the session says so */
	case NOTE_KIND_COUNT:
		return;
	}
	line(c, n->kind == NOTE_LOGIN ? LOG_L_INFO : LOG_L_NOTICE, n, text);
}
