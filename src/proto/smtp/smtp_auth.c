/* proto/smtp/smtp_auth.c - AUTH (RFC 4954): the frame around an exchange whose inside is none of ours.
 *
 * What a client sends here may be a password: it is decoded into one buffer, which is wiped when the
 * step is answered. All mechanisms that we offer begin with the client. */
#include "proto/smtp/smtp_impl.h"

#include "util/base64.h"

#include <stdlib.h>
#include <string.h>

size_t
smtp_auth_offer(const struct smtp_engine *e, const char *out[MECHANISMS_MAX])
{
	bool password = (e->smtp->login & SMTP_LOGIN_PASSWORD) != 0;
	size_t n = 0;

	if (e->kind != SMTP_KIND_SUBMISSION || !e->peer->tls)
		return 0;
	if (e->certificate)
		out[n++] = "EXTERNAL";
	if (password && e->peer->binds)
		out[n++] = "SCRAM-SHA-256-PLUS";
	if (password) {
		out[n++] = "SCRAM-SHA-256";
		out[n++] = "PLAIN";
	}
	return n;
}

static const char *
offered(const struct smtp_engine *e, struct span name)
{
	const char *mechanisms[MECHANISMS_MAX];
	size_t i, n = smtp_auth_offer(e, mechanisms);

	for (i = 0; i < n; i++)
		if (span_is_nocase(name, mechanisms[i]))
			return mechanisms[i];
	return NULL;
}

/* The exchange is over and did not lead anywhere. */
void
smtp_auth_fail(struct smtp_engine *e, enum smtp_text t)
{
	struct note *n;

	buf_wipe(&e->sasl);
	smtp_enter(e, SMTP_ST_READY);
	n = smtp_note(e, NOTE_LOGIN_FAILED, t);
	n->mechanism = e->login;
	if (e->claimed != NULL)
		n->address = span_str(e->claimed);
	if (t == SMTP_TX_AUTH_UNAVAILABLE) { /* no fault of the client's */
		smtp_say(e, t);
		return;
	}
	smtp_refuse_about(e, t, span_str(e->user != NULL ? e->user : ""));
	if (++e->logins == SMTP_LOGINS_MAX)
		smtp_say_and_finish(e, SMTP_TX_LOGINS, ENGINE_CLOSE_LOGINS);
}

/* The mechanism is content with the user in e->claimed. Where a certificate is the login already, nothing
 * changes, and it is no one else's session. */
static void
succeed(struct smtp_engine *e)
{
	if (e->user != NULL && strcmp(e->user, e->claimed) != 0) {
		smtp_auth_fail(e, SMTP_TX_AUTH_OTHER);
		return;
	}
	if (e->user == NULL) {
		e->user = e->claimed;
		e->mechanism = e->login;
	} else {
		free(e->claimed);
	}
	e->claimed = NULL;
	e->exchanged = true;
	smtp_enter(e, SMTP_ST_READY);
	smtp_note(e, NOTE_LOGIN, SMTP_TX_LOGGED_IN)->mechanism = e->login;
	smtp_say_about(e, SMTP_TX_LOGGED_IN, span_str(e->user));
}

/* Decodes what the client sent into e->sasl; "=" is nothing, where it comes with AUTH (RFC 4954 §4). */
static int
decode(struct smtp_engine *e, struct span text, bool initial)
{
	static const struct span none = { (const uint8_t *)"=", 1 };
	uint8_t *plain;
	size_t n = 0;
	int rc;

	if (initial && span_equal(text, none))
		return 0;
	if ((plain = malloc(text.n + 1)) == NULL)
		return PT_ENOMEM;
	rc = base64_decode(text, plain, text.n, &n) ? buf_append(&e->sasl, plain, n) : PT_EINVAL;
	explicit_bzero(plain, text.n + 1);
	free(plain);
	return rc;
}

/* One step of the client: with AUTH (initial), or in answer to a challenge. */
static void
step(struct smtp_engine *e, struct span text, bool initial)
{
	int rc = decode(e, text, initial);

	if (rc == PT_EINVAL) {
		smtp_auth_fail(e, SMTP_TX_AUTH_BASE64);
		return;
	}
	smtp_said(e, rc);
	e->ask = (struct ask){ .mechanism = e->began ? NULL : e->login, .data = buf_span(&e->sasl) };
	e->began = true;
	smtp_ask(e, ASK_SASL);
}

/* Why EXTERNAL is not offered in this session, which has TLS. */
static enum smtp_text
no_external(const struct smtp_engine *e)
{
	if ((e->smtp->login & SMTP_LOGIN_CERTIFICATE) == 0)
		return SMTP_TX_EXTERNAL_NOT_HERE;
	if (e->unknown_yet)
		return SMTP_TX_AUTH_UNAVAILABLE;
	return e->peer->identity != NULL ? SMTP_TX_EXTERNAL_UNMAPPED : smtp_reply_external(e->peer);
}

/* A mechanism that is not offered. EXTERNAL is one all the same, and its user is told what is amiss. */
static void
refuse_mechanism(struct smtp_engine *e, struct span name)
{
	if (!span_is_nocase(name, "EXTERNAL")) {
		smtp_refuse(e, SMTP_TX_AUTH_MECHANISM);
		return;
	}
	e->login = "EXTERNAL";
	smtp_auth_fail(e, no_external(e));
}

void
smtp_act_auth(struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	struct span name, initial;

	PT_ASSERT(smtp_auth_read(cmd->arg, &name, &initial));
	if (!e->peer->tls) {
		smtp_refuse(e, e->offer == ENGINE_OFFER_NONE ? SMTP_TX_AUTH_NO_TLS : SMTP_TX_AUTH_TLS);
		return;
	}
	if (e->exchanged) {
		smtp_refuse(e, SMTP_TX_AUTH_TWICE);
		return;
	}
	free(e->claimed); /* of one that failed */
	e->claimed = NULL;
	if ((e->login = offered(e, name)) == NULL) {
		refuse_mechanism(e, name);
		return;
	}
	e->began = false;
	smtp_enter(e, SMTP_ST_SASL);
	if (initial.p != NULL)
		step(e, initial, true);
	else /* the client begins, so the first challenge is empty */
		smtp_said(e, smtp_reply_challenge(&e->out, (struct span){ NULL, 0 }));
}

void
smtp_auth_line(struct smtp_engine *e, struct span line)
{
	static const struct span cancel = { (const uint8_t *)"*", 1 };

	if (span_equal(line, cancel))
		smtp_auth_fail(e, SMTP_TX_AUTH_CANCELLED);
	else if (e->claimed == NULL)
		step(e, line, false);
	else if (line.n == 0) /* it has seen what success had to tell */
		succeed(e);
	else
		smtp_auth_fail(e, SMTP_TX_AUTH_FAILED);
}

/* Why a login that was well written is none. */
static enum smtp_text
failure(const struct smtp_engine *e, enum ask_result result)
{
	bool external = strcmp(e->login, "EXTERNAL") == 0;

	PT_ASSERT(result == ASK_DENIED || result == ASK_OTHER);
	if (external)
		return SMTP_TX_AUTH_FAILED_EXTERNAL;
	if (result == ASK_DENIED)
		return SMTP_TX_AUTH_FAILED;
	return e->user != NULL ? SMTP_TX_AUTH_OTHER : SMTP_TX_AUTH_AUTHZID;
}

void
smtp_auth_reply(struct smtp_engine *e, const struct ask_reply *reply)
{
	buf_wipe(&e->sasl);
	if (reply->result != ASK_MORE && reply->user != NULL)
		e->claimed = strdup(reply->user);
	switch (reply->result) {
	case ASK_MORE:
		smtp_said(e, smtp_reply_challenge(&e->out, reply->text));
		break;
	case ASK_OK:
		PT_ASSERT(reply->user != NULL);
		if (e->claimed == NULL)
			smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
		else if (reply->text.n > 0) /* success has no room for it (RFC 4954 §4) */
			smtp_said(e, smtp_reply_challenge(&e->out, reply->text));
		else
			succeed(e);
		break;
	case ASK_TEMP:
		smtp_auth_fail(e, SMTP_TX_AUTH_UNAVAILABLE);
		break;
	case ASK_MALFORMED:
		smtp_auth_fail(e, SMTP_TX_AUTH_MALFORMED);
		break;
	case ASK_LIMITED:
		smtp_auth_fail(e, SMTP_TX_AUTH_LIMITED);
		break;
	default:
		smtp_auth_fail(e, failure(e, reply->result));
	}
}
