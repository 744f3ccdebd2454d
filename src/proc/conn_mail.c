/* proc/conn_mail.c - see conn_mail.h. Who exists, who may send as whom, who is logged in; the messages are in
 * conn_deliver.c. */
#include "proc/conn_mail_impl.h"

#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

/* An answer that is known; the engine may have more to say or ask when this returns. */
void
mail_reply(struct mail *m, const struct ask_reply *reply)
{
	engine_reply(m->conn->engine, reply, ev_now_ms());
}

static void
reply_result(struct mail *m, enum ask_result result)
{
	const struct ask_reply reply = { .result = result };

	mail_reply(m, &reply);
}

/* --- recipients ------------------------------------------------------------------------------- */

void
mail_recipients_cut(struct mail *m, size_t n)
{
	while (m->nrcpts > n)
		free(m->rcpts[--m->nrcpts].users);
	if (n == 0) {
		free(m->rcpts);
		m->rcpts = NULL;
		m->room = 0;
	}
}

/* Whom the recipient that was asked about reaches. */
static bool
recipient_add(struct mail *m, const struct auth_recipient *users, size_t n)
{
	size_t room = m->room > 0 ? 2 * m->room : 4, i;
	struct mail_rcpt *r;

	if (m->nrcpts == m->room) {
		if ((r = reallocarray(m->rcpts, room, sizeof *r)) == NULL)
			return false;
		m->rcpts = r;
		m->room = room;
	}
	r = &m->rcpts[m->nrcpts];
	if ((r->users = calloc(n, sizeof *r->users)) == NULL)
		return false;
	memcpy(r->users, users, n * sizeof *r->users);
	r->n = n;
	/* somebody must be reached who can mend what is broken (RFC 5321 §4.5.1), a full mailbox perhaps */
	for (i = 0; m->postmaster && i < n; i++)
		r->users[i].quota = STORE_NO_QUOTA;
	m->nrcpts++;
	return true;
}

/* --- answers of auth -------------------------------------------------------------------------- */

static enum ask_result
result_of(enum auth_result r)
{
	static const enum ask_result results[AUTH_RESULT_COUNT] = {
		[AUTH_OK] = ASK_OK,
		[AUTH_CONTINUE] = ASK_MORE,
		[AUTH_BAD_ADDRESS] = ASK_UNKNOWN,
		[AUTH_NOT_LOCAL] = ASK_ELSEWHERE,
		[AUTH_NO_USER] = ASK_UNKNOWN,
		[AUTH_NOT_ALLOWED] = ASK_DENIED,
		[AUTH_DENIED] = ASK_DENIED,
		[AUTH_AUTHZID] = ASK_OTHER,
		[AUTH_MALFORMED] = ASK_MALFORMED,
		[AUTH_MECHANISM] = ASK_DENIED,
		[AUTH_LIMIT] = ASK_LIMITED,
		[AUTH_AWAY] = ASK_TEMP,
	};

	return results[r];
}

/* What this kind of question has no answer for is the next best one. */
static enum ask_result
result_for(enum ask_kind kind, enum ask_result r)
{
	if (kind == ASK_SENDER && r == ASK_UNKNOWN)
		return ASK_DENIED;
	if (kind == ASK_IDENTITY && r != ASK_OK && r != ASK_TEMP)
		return ASK_UNKNOWN;
	return r;
}

/* Who the session belongs to from here on, so that it ends with him. */
static bool
login_keep(struct mail *m, const struct auth_answer *a)
{
	free(m->login);
	free(m->by);
	m->login = strdup(a->user);
	m->by = a->by[0] != '\0' ? strdup(a->by) : NULL;
	return m->login != NULL && (a->by[0] == '\0' || m->by != NULL);
}

static void
answered(void *arg, const struct auth_answer *a)
{
	struct mail *m = arg;
	struct ask_reply reply = { .result = result_for(m->asked, result_of(a->result)) };

	if (m->asked == ASK_SASL || m->asked == ASK_IDENTITY) {
		reply.text = a->data;
		reply.user = a->result == AUTH_OK ? a->user : a->by[0] != '\0' ? a->by : NULL;
	}
	if (m->asked == ASK_SENDER)
		reply.text = span_str(a->text != NULL ? a->text : "");
	if (m->asked == ASK_SASL && reply.result == ASK_OK && !login_keep(m, a))
		reply.result = ASK_TEMP;
	if (m->asked == ASK_RECIPIENT && reply.result == ASK_OK)
		reply.result = recipient_add(m, a->recipients, a->nrecipients) ? mail_room_ask(m) : ASK_TEMP;
	if (m->asked == ASK_RECIPIENT && reply.result == ASK_MORE)
		return;
	mail_reply(m, &reply);
	conn_wake(m->conn);
}

/* --- questions for auth ----------------------------------------------------------------------- */

static bool
mechanism_find(const char *name, enum auth_mechanism *out)
{
	unsigned i;

	for (i = 0; i < AUTH_M_COUNT; i++) {
		if (strcmp(name, auth_mechanism_name((enum auth_mechanism)i)) == 0) {
			*out = (enum auth_mechanism)i;
			return true;
		}
	}
	return false;
}

/* That he is who it is. */
static void
reply_user(struct mail *m, const char *user)
{
	const struct ask_reply reply = { .result = ASK_OK, .user = user };

	mail_reply(m, &reply);
}

static void
ask_identity(struct mail *m)
{
	struct auth_client *auth = m->conn->worker->auth;
	char user[NORMAL_ADDRESS_MAX];
	const char *known;

	strlcpy(user, m->conn->secure->identity, sizeof user);
	if ((known = auth_client_knows_identity(auth, user)) != NULL)
		reply_user(m, known);
	else
		auth_client_identify(auth, &m->auth, user, answered, m);
}

static void
ask_sasl(struct mail *m, const struct ask *ask)
{
	struct conn *c = m->conn;
	const char *known;
	uint8_t binding[TLS_BINDING_SIZE];
	struct auth_sasl s = { .tls = c->secure != NULL, .address_key = c->key, .has_initial = true,
			       .initial = ask->data };

	if (ask->mechanism == NULL) {
		auth_client_sasl_step(c->worker->auth, &m->auth, ask->data);
		return;
	}
	if (!mechanism_find(ask->mechanism, &s.mechanism)) {
		reply_result(m, ASK_DENIED);
		return;
	}
	s.identity = ask->user; /* before a login only a certificate makes one */
	if (s.mechanism == AUTH_M_EXTERNAL && ask->data.n == 0 && ask->user != NULL && c->secure != NULL &&
	    (known = auth_client_knows_external(c->worker->auth, ask->user)) != NULL) {
		reply_user(m, known);
		return;
	}
	if (c->tls != NULL && tls_session_binding(c->tls, binding))
		s.binding = (struct span){ binding, sizeof binding };
	auth_client_sasl_begin(c->worker->auth, &m->auth, &s, answered, m);
	explicit_bzero(binding, sizeof binding);
}

static bool
is_postmaster(struct span address)
{
	static const char name[] = "postmaster";
	const uint8_t *at = address.n > 0 ? memchr(address.p, '@', address.n) : NULL;

	return span_is_nocase((struct span){ address.p, at != NULL ? (size_t)(at - address.p) : address.n }, name);
}

static void
ask_recipient(struct mail *m, const struct ask *ask)
{
	const struct auth_recipient *users;
	enum ask_result result;
	size_t n;

	mail_recipients_cut(m, ask->envelope->nrecipients);
	m->declared = ask->envelope->declared;
	m->postmaster = is_postmaster(ask->address);
	if (!auth_client_knows_recipient(m->conn->worker->auth, ask->address, &users, &n)) {
		auth_client_recipient(m->conn->worker->auth, &m->auth, ask->address, answered, m);
		return;
	}
	result = recipient_add(m, users, n) ? mail_room_ask(m) : ASK_TEMP;
	if (result != ASK_MORE)
		reply_result(m, result);
}

static void
ask_sender(struct mail *m, const struct ask *ask)
{
	if (auth_client_knows_sender(m->conn->worker->auth, ask->user, ask->address))
		reply_result(m, ASK_OK);
	else
		auth_client_sender(m->conn->worker->auth, &m->auth, ask->user, ask->address, answered, m);
}

static struct mail *
mail_of(struct conn *c)
{
	if (c->mail == NULL && (c->mail = calloc(1, sizeof *c->mail)) != NULL) {
		c->mail->conn = c;
		buf_init(&c->mail->waiting, ASK_SINK_ROOM_MIN);
	}
	return c->mail;
}

void
conn_mail_ask(struct conn *c, const struct ask *ask)
{
	static const struct ask_reply later = { .result = ASK_TEMP };
	struct mail *m = mail_of(c);

	if (m == NULL) {
		engine_reply(c->engine, &later, ev_now_ms());
		return;
	}
	m->asked = ask->kind;
	if (ask->kind != ASK_SASL || ask->mechanism != NULL)
		auth_client_cancel(c->worker->auth, &m->auth); /* a login that was given up half way */
	switch (ask->kind) {
	case ASK_IDENTITY:
		ask_identity(m);
		break;
	case ASK_RECIPIENT:
		ask_recipient(m, ask);
		break;
	case ASK_SENDER:
		ask_sender(m, ask);
		break;
	case ASK_SASL:
		ask_sasl(m, ask);
		break;
	case ASK_BODY:
		mail_body(m, ask);
		break;
	case ASK_COMMIT:
		mail_commit(m, ask->envelope);
		break;
	case ASK_KIND_COUNT:
		break;
	}
}

const char *
conn_mail_user(const struct conn *c)
{
	return c->mail != NULL ? c->mail->login : NULL;
}

void
conn_mail_forget(struct conn *c)
{
	struct mail *m = c->mail;

	if (m == NULL)
		return;
	c->mail = NULL;
	auth_client_cancel(c->worker->auth, &m->auth);
	mail_abandon(m);
	mail_room_forget(m);
	mail_recipients_cut(m, 0);
	buf_fini(&m->waiting);
	free(m->login);
	free(m->by);
	free(m);
}
