/* proc/auth_client.c - see auth_client.h. Requests that wait are found by their id. Answers that are known here (auth
 * is away) wait for the next turn of the loop, so that no callback comes from inside a question. */
#include "proc/auth_client.h"

#include "ipc/msg.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BUCKETS 1024

TAILQ_HEAD(request_list, auth_request);

/* One auth process. After an upgrade the old one has what it was asked, the new one gets what comes. */
struct auth_peer {
	TAILQ_ENTRY(auth_peer) next;
	struct auth_client *client;
	struct link *link;
	unsigned nrequests;
	bool broken; /* it did not take a frame: its end is about to be met */
};

struct auth_client {
	struct child *child;
	struct auth_peer *peer; /* who is asked; NULL: away */
	TAILQ_HEAD(, auth_peer) peers; /* all, that one among them */
	bool was_away;
	auth_ousted_f *ousted;
	void *arg;
	uint32_t next_id;
	struct request_list asked[BUCKETS]; /* ASKED and EXCHANGE */
	struct request_list known;
	struct auth_known *remembered; /* of that peer, since its users last changed */
	struct ev_timer timer; /* known answers are told, peers without a purpose are let go */
};

static struct request_list *
bucket(struct auth_client *c, uint32_t id)
{
	return &c->asked[id % BUCKETS];
}

/* --- answers ---------------------------------------------------------------------------------- */

/* All that were known when it began; a callback may ask again, and cancel any of them. */
static void
tell_known(struct auth_client *c)
{
	struct auth_answer a = { .user = "", .by = "", .detail = "", .text = "" };
	struct auth_request *r;
	uint32_t end = c->next_id;

	while ((r = TAILQ_FIRST(&c->known)) != NULL && (int32_t)(r->id - end) < 0) {
		TAILQ_REMOVE(&c->known, r, next);
		r->state = AUTH_REQUEST_IDLE;
		a.result = r->result;
		r->done(r->arg, &a);
	}
	if (r != NULL)
		ev_timer_set(&c->timer, 0);
}

static void
peer_free(struct auth_peer *p)
{
	TAILQ_REMOVE(&p->client->peers, p, next);
	if (p->client->peer == p) {
		p->client->peer = NULL;
		auth_known_forget(p->client->remembered);
	}
	link_free(&p->link);
	free(p);
}

static void
on_timer(void *arg)
{
	struct auth_client *c = arg;
	struct auth_peer *p, *next;

	for (p = TAILQ_FIRST(&c->peers); p != NULL; p = next) {
		next = TAILQ_NEXT(p, next);
		if (p != c->peer && p->nrequests == 0)
			peer_free(p);
	}
	tell_known(c);
}

/* Takes a request from the one who was asked. Not the place to free him: we may be in a callback of his link. */
static void
leave_peer(struct auth_client *c, struct auth_request *r)
{
	TAILQ_REMOVE(bucket(c, r->id), r, next);
	if (--r->peer->nrequests == 0 && r->peer != c->peer)
		ev_timer_set(&c->timer, 0);
	r->peer = NULL;
	auth_known_key_free(&r->key);
}

static void
answer_later(struct auth_client *c, struct auth_request *r, enum auth_result result)
{
	r->id = c->next_id++;
	r->state = AUTH_REQUEST_KNOWN;
	r->result = result;
	TAILQ_INSERT_TAIL(&c->known, r, next);
	ev_timer_set(&c->timer, 0);
}

/* The request that a frame answers; NULL: it was cancelled meanwhile. */
static int
find(struct auth_client *c, const struct frame *f, struct auth_request **r_out)
{
	struct auth_request *r;

	*r_out = NULL;
	TAILQ_FOREACH(r, bucket(c, f->id), next)
		if (r->id == f->id)
			break;
	if (r == NULL)
		return 0;
	if (r->state != AUTH_REQUEST_ASKED || r->answer != f->type)
		return PT_EPROTO;
	*r_out = r;
	return 0;
}

static void
remember(struct auth_client *c, struct auth_request *r, const struct auth_answer *a)
{
	struct auth_recipient self = { .quota = 0 };

	if (a->user[0] == '\0') {
		auth_known_put(c->remembered, &r->key, a->recipients, a->nrecipients);
		return;
	}
	strlcpy(self.user, a->user, sizeof self.user);
	auth_known_put(c->remembered, &r->key, &self, 1);
}

static void
finish(struct auth_client *c, struct auth_request *r, const struct auth_answer *a)
{
	if (a->result == AUTH_CONTINUE) {
		r->state = AUTH_REQUEST_EXCHANGE;
	} else {
		if (a->result == AUTH_OK && r->peer == c->peer)
			remember(c, r, a);
		leave_peer(c, r);
		r->state = AUTH_REQUEST_IDLE;
	}
	r->done(r->arg, a); /* r may be in use again now, or gone */
}

/* A user as it came; false when it is too long or has no text in it. */
static bool
copy_user(struct span user, char out[NORMAL_ADDRESS_MAX])
{
	if (user.n >= NORMAL_ADDRESS_MAX || (user.n > 0 && memchr(user.p, '\0', user.n) != NULL))
		return false;
	if (user.n > 0)
		memcpy(out, user.p, user.n);
	out[user.n] = '\0';
	return true;
}

/* What may be the answer to each question. Anything else is no answer of ours: it condemns who sent it, and never comes to
 * an engine, which would have no words for it. */
#define IS(name) (1u << AUTH_##name)
#define IDENTITY_MAY (IS(OK) | IS(NO_USER) | IS(AWAY))
#define RECIPIENTS_MAY (IS(OK) | IS(BAD_ADDRESS) | IS(NOT_LOCAL) | IS(NO_USER) | IS(AWAY))
#define SENDER_MAY (IS(OK) | IS(BAD_ADDRESS) | IS(NO_USER) | IS(NOT_ALLOWED) | IS(AWAY))
#define SASL_MAY                                                                                   \
	(IS(OK) | IS(CONTINUE) | IS(DENIED) | IS(AUTHZID) | IS(MALFORMED) | IS(MECHANISM) | IS(LIMIT) | IS(AWAY))

static bool
may_be(uint8_t result, unsigned may)
{
	return result < AUTH_RESULT_COUNT && (may & 1u << result) != 0;
}

static int
on_identity(void *self, void *peer, struct frame *f)
{
	struct auth_client *c = ((struct auth_peer *)self)->client;
	struct msg_auth_identity m;
	struct auth_request *r;
	char user[NORMAL_ADDRESS_MAX];

	(void)peer;
	if (msg_auth_identity_decode(f, &m) != 0 || !may_be(m.result, IDENTITY_MAY) || !copy_user(m.user, user) ||
	    (m.result == AUTH_OK) != (user[0] != '\0') || find(c, f, &r) != 0)
		return PT_EPROTO;
	if (r != NULL)
		finish(c, r, &(struct auth_answer){ .result = m.result, .user = user, .by = "", .detail = "", .text = "" });
	return 0;
}

static int
on_recipients(void *self, void *peer, struct frame *f)
{
	struct auth_recipient users[AUTH_RECIPIENTS_MAX];
	struct auth_client *c = ((struct auth_peer *)self)->client;
	struct msg_auth_recipients m;
	char detail[NORMAL_ADDRESS_MAX];
	struct auth_request *r;
	size_t n = 0;

	(void)peer;
	if (msg_auth_recipients_decode(f, &m) != 0 || !may_be(m.result, RECIPIENTS_MAY) ||
	    !copy_user(m.detail, detail) || find(c, f, &r) != 0)
		return PT_EPROTO;
	while (m.users.n > 0) {
		if (n == AUTH_RECIPIENTS_MAX || !auth_wire_take(&m.users, &users[n]))
			return PT_EPROTO;
		n++;
	}
	if ((n > 0) != (m.result == AUTH_OK))
		return PT_EPROTO;
	if (r != NULL)
		finish(c, r, &(struct auth_answer){ .result = m.result, .user = "", .by = "", .recipients = users,
			.nrecipients = n, .detail = detail, .text = "" });
	return 0;
}

static int
on_sender_is(void *self, void *peer, struct frame *f)
{
	struct auth_client *c = ((struct auth_peer *)self)->client;
	struct msg_auth_sender_is m;
	struct auth_request *r;
	char text[AUTH_TEXT_MAX];

	(void)peer;
	if (msg_auth_sender_is_decode(f, &m) != 0 || !may_be(m.result, SENDER_MAY) ||
	    m.allowed.n >= sizeof text || find(c, f, &r) != 0)
		return PT_EPROTO;
	snprintf(text, sizeof text, "%.*s", (int)m.allowed.n, (const char *)m.allowed.p);
	if (r != NULL)
		finish(c, r, &(struct auth_answer){ .result = m.result, .user = "", .by = "", .detail = "", .text = text });
	return 0;
}

static int
on_sasl_answer(void *self, void *peer, struct frame *f)
{
	struct auth_client *c = ((struct auth_peer *)self)->client;
	struct msg_auth_sasl_answer m;
	struct auth_request *r;
	char user[NORMAL_ADDRESS_MAX], by[NORMAL_ADDRESS_MAX];

	(void)peer;
	if (msg_auth_sasl_answer_decode(f, &m) != 0 || !may_be(m.result, SASL_MAY) ||
	    m.data.n > AUTH_MESSAGE_MAX || !copy_user(m.user, user) || !copy_user(m.by, by) ||
	    (m.result == AUTH_OK) != (user[0] != '\0') || find(c, f, &r) != 0)
		return PT_EPROTO;
	if (r != NULL)
		finish(c, r, &(struct auth_answer){ .result = m.result, .user = user, .by = by, .data = m.data,
			.detail = "", .text = "" });
	return 0;
}

static int
on_changed(void *self, void *peer, struct frame *f)
{
	struct auth_peer *p = self;
	struct msg_auth_changed m;

	(void)peer;
	if (msg_auth_changed_decode(f, &m) != 0)
		return PT_EPROTO;
	if (p == p->client->peer)
		auth_known_forget(p->client->remembered);
	return 0;
}

static int
on_ousted(void *self, void *peer, struct frame *f)
{
	struct auth_client *c = ((struct auth_peer *)self)->client;
	struct msg_auth_ousted m;
	struct span names;

	(void)peer;
	if (msg_auth_ousted_decode(f, &m) != 0 || m.what >= AUTH_CHANGE_COUNT || m.users.n == 0 ||
	    m.users.n > AUTH_OUSTED_MAX)
		return PT_EPROTO;
	for (names = m.users; names.n > 0;)
		if (auth_wire_take_name(&names) == NULL)
			return PT_EPROTO;
	c->ousted(c->arg, (enum auth_change)m.what, m.users);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_AUTH_IDENTITY, 1u << ROLE_AUTH, IPC_ANY_STATE, on_identity },
	{ MSG_T_AUTH_RECIPIENTS, 1u << ROLE_AUTH, IPC_ANY_STATE, on_recipients },
	{ MSG_T_AUTH_SENDER_IS, 1u << ROLE_AUTH, IPC_ANY_STATE, on_sender_is },
	{ MSG_T_AUTH_SASL_ANSWER, 1u << ROLE_AUTH, IPC_ANY_STATE, on_sasl_answer },
	{ MSG_T_AUTH_CHANGED, 1u << ROLE_AUTH, IPC_ANY_STATE, on_changed },
	{ MSG_T_AUTH_OUSTED, 1u << ROLE_AUTH, IPC_ANY_STATE, on_ousted },
};

/* --- the channel ------------------------------------------------------------------------------ */

/* It will not answer any more. */
static void
lose_all(struct auth_client *c, const struct auth_peer *p)
{
	struct auth_request *r, *next;
	size_t i;

	for (i = 0; i < BUCKETS; i++)
		for (r = TAILQ_FIRST(&c->asked[i]); r != NULL; r = next) {
			next = TAILQ_NEXT(r, next);
			if (r->peer != p)
				continue;
			leave_peer(c, r);
			if (r->state == AUTH_REQUEST_ASKED)
				answer_later(c, r, AUTH_AWAY);
			else
				r->state = AUTH_REQUEST_IDLE; /* its next step will be told */
		}
}

static void
auth_gone(void *self, struct link *link, int rc)
{
	struct auth_peer *p = self;
	struct auth_client *c = p->client;

	(void)link;
	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "auth broke the protocol: it is asked nothing until it was started again");
	else if (p == c->peer)
		log_msg(LOG_L_WARNING, "auth is away: logins and recipients are put off until it is back");
	c->was_away = c->was_away || p == c->peer;
	lose_all(c, p);
	peer_free(p);
}

struct auth_client *
auth_client_new(struct child *child, auth_ousted_f *ousted, void *arg)
{
	struct auth_client *c = calloc(1, sizeof *c);
	size_t i;

	if (c == NULL)
		return NULL;
	if ((c->remembered = auth_known_new()) == NULL) {
		free(c);
		return NULL;
	}
	c->child = child;
	c->ousted = ousted;
	c->arg = arg;
	c->next_id = 1;
	for (i = 0; i < BUCKETS; i++)
		TAILQ_INIT(&c->asked[i]);
	TAILQ_INIT(&c->known);
	TAILQ_INIT(&c->peers);
	ev_timer_init(&c->timer, child->loop, on_timer, c);
	return c;
}

void
auth_client_free(struct auth_client **c)
{
	struct auth_peer *p;

	if (*c == NULL)
		return;
	while ((p = TAILQ_FIRST(&(*c)->peers)) != NULL)
		peer_free(p);
	ev_timer_fini(&(*c)->timer);
	auth_known_free(&(*c)->remembered);
	free(*c);
	*c = NULL;
}

void
auth_client_set(struct auth_client *c, int fd)
{
	struct auth_peer *p = calloc(1, sizeof *p);

	PT_ASSERT(p != NULL);
	*p = (struct auth_peer){ .client = c };
	TAILQ_INSERT_TAIL(&c->peers, p, next);
	if (c->peer != NULL)
		ev_timer_set(&c->timer, 0);
	c->peer = p;
	auth_known_forget(c->remembered); /* another one may have read other users */
	if ((p->link = link_new(c->child, fd, ROLE_AUTH, rules, PT_COUNT(rules), p, auth_gone)) == NULL) {
		peer_free(p);
		c->was_away = true;
		return;
	}
	if (c->was_away)
		log_msg(LOG_L_NOTICE, "auth is back");
	c->was_away = false;
}

bool
auth_client_available(const struct auth_client *c)
{
	return c->peer != NULL && !c->peer->broken;
}

/* False: it does not take it. It is not freed here: we may be in a callback of that very link. Its end comes from the
 * loop. */
static bool
send_frame(struct auth_peer *p, struct frame *f)
{
	if (p == NULL || p->broken)
		return false;
	if (link_send(p->link, f, -1) == 0)
		return true;
	(void)shutdown(chan_fd(p->link->chan), SHUT_RDWR);
	p->broken = true;
	return false;
}

/* --- what need not be asked ------------------------------------------------------------------- */

static const char *
known_user(const struct auth_client *c, enum auth_known_kind kind, const char *user)
{
	const struct auth_recipient *self;
	size_t n;

	return auth_client_available(c) && auth_known_find(c->remembered, kind, user, (struct span){ NULL, 0 }, &self, &n)
		? self->user : NULL;
}

const char *
auth_client_knows_identity(const struct auth_client *c, const char *user)
{
	return known_user(c, AUTH_KNOWN_IDENTITY, user);
}

const char *
auth_client_knows_external(const struct auth_client *c, const char *identity)
{
	return known_user(c, AUTH_KNOWN_EXTERNAL, identity);
}

bool
auth_client_knows_sender(const struct auth_client *c, const char *user, struct span address)
{
	const struct auth_recipient *none;
	size_t n;

	return auth_client_available(c) && 
		auth_known_find(c->remembered, AUTH_KNOWN_SENDER, user, address, &none, &n);
}

bool
auth_client_knows_recipient(const struct auth_client *c, struct span address, const struct auth_recipient **users_out,
			    size_t *n_out)
{
	return auth_client_available(c) && 
		auth_known_find(c->remembered, AUTH_KNOWN_RECIPIENT, "", address, users_out, n_out);
}

/* --- questions -------------------------------------------------------------------------------- */

/* Sends what was encoded into f (rc: of that) and waits. */
static void
ask(struct auth_client *c, struct auth_peer *p, struct auth_request *r, int rc, struct frame *f, uint16_t answer)
{
	PT_ASSERT(r->state == AUTH_REQUEST_IDLE);
	r->answer = answer;
	if (rc != 0) {
		answer_later(c, r, answer == MSG_T_AUTH_SASL_ANSWER ? AUTH_MALFORMED : AUTH_BAD_ADDRESS);
	} else if (!send_frame(p, f)) {
		answer_later(c, r, AUTH_AWAY);
	} else {
		r->peer = p;
		p->nrequests++;
		r->id = f->id;
		r->state = AUTH_REQUEST_ASKED;
		TAILQ_INSERT_TAIL(bucket(c, r->id), r, next);
	}
}

void
auth_client_identify(struct auth_client *c, struct auth_request *r, const char *user, auth_answer_f *done,
		     void *arg)
{
	struct msg_auth_identify m = { .user = span_str(user) };
	struct frame f;
	int rc = msg_auth_identify_encode(&m, c->next_id++, &f);

	r->done = done;
	r->arg = arg;
	ask(c, c->peer, r, rc, &f, MSG_T_AUTH_IDENTITY);
	if (r->state == AUTH_REQUEST_ASKED)
		r->key = auth_known_key(AUTH_KNOWN_IDENTITY, user, (struct span){ NULL, 0 });
}

void
auth_client_recipient(struct auth_client *c, struct auth_request *r, struct span address, auth_answer_f *done,
		      void *arg)
{
	struct msg_auth_recipient m = { .address = address };
	struct frame f;
	int rc = msg_auth_recipient_encode(&m, c->next_id++, &f);

	r->done = done;
	r->arg = arg;
	ask(c, c->peer, r, rc, &f, MSG_T_AUTH_RECIPIENTS);
	if (r->state == AUTH_REQUEST_ASKED)
		r->key = auth_known_key(AUTH_KNOWN_RECIPIENT, "", address);
}

void
auth_client_sender(struct auth_client *c, struct auth_request *r, const char *user, struct span address,
		   auth_answer_f *done, void *arg)
{
	struct msg_auth_sender m = { .user = span_str(user), .address = address };
	struct frame f;
	int rc = msg_auth_sender_encode(&m, c->next_id++, &f);

	r->done = done;
	r->arg = arg;
	ask(c, c->peer, r, rc, &f, MSG_T_AUTH_SENDER_IS);
	if (r->state == AUTH_REQUEST_ASKED)
		r->key = auth_known_key(AUTH_KNOWN_SENDER, user, address);
}

void
auth_client_sasl_begin(struct auth_client *c, struct auth_request *r, const struct auth_sasl *s,
		       auth_answer_f *done, void *arg)
{
	struct msg_auth_sasl_begin m = { .mechanism = (uint8_t)s->mechanism, .address_key = s->address_key,
		.identity = span_str(s->identity != NULL ? s->identity : ""), .binding = s->binding,
		.initial = s->has_initial ? s->initial : (struct span){ NULL, 0 } };
	struct frame f;
	int rc;

	m.flags = (uint8_t)((s->tls ? AUTH_WIRE_TLS : 0) | (s->has_initial ? AUTH_WIRE_INITIAL : 0) |
		(s->success_data ? AUTH_WIRE_SUCCESS_DATA : 0));
	r->done = done;
	r->arg = arg;
	rc = s->initial.n > AUTH_MESSAGE_MAX ? PT_ETOOBIG : msg_auth_sasl_begin_encode(&m, c->next_id++, &f);
	ask(c, c->peer, r, rc, &f, MSG_T_AUTH_SASL_ANSWER);
	/* what a password proves is proved each time */
	if (r->state == AUTH_REQUEST_ASKED && s->mechanism == AUTH_M_EXTERNAL && s->has_initial && s->initial.n == 0 &&
	    s->identity != NULL)
		r->key = auth_known_key(AUTH_KNOWN_EXTERNAL, s->identity, (struct span){ NULL, 0 });
	if (rc == 0)
		explicit_bzero(f.octets, FRAME_HEADER + f.len);
}

static void
send_abort(struct auth_request *r)
{
	struct msg_auth_sasl_abort m = { .unused = 0 };
	struct frame f;

	PT_ASSERT(msg_auth_sasl_abort_encode(&m, r->id, &f) == 0);
	(void)send_frame(r->peer, &f);
}

void
auth_client_sasl_step(struct auth_client *c, struct auth_request *r, struct span response)
{
	struct msg_auth_sasl_step m = { .message = response };
	struct auth_peer *p;
	struct frame f;
	int rc;

	if (r->state == AUTH_REQUEST_IDLE) { /* auth died in between */
		answer_later(c, r, AUTH_AWAY);
		return;
	}
	PT_ASSERT(r->state == AUTH_REQUEST_EXCHANGE);
	if (response.n > AUTH_MESSAGE_MAX) {
		send_abort(r);
		leave_peer(c, r);
		answer_later(c, r, AUTH_MALFORMED);
		return;
	}
	p = r->peer; /* who has the exchange, whoever is asked by now */
	leave_peer(c, r);
	r->state = AUTH_REQUEST_IDLE;
	rc = msg_auth_sasl_step_encode(&m, r->id, &f);
	ask(c, p, r, rc, &f, MSG_T_AUTH_SASL_ANSWER);
	explicit_bzero(f.octets, FRAME_HEADER + f.len);
}

void
auth_client_cancel(struct auth_client *c, struct auth_request *r)
{
	switch (r->state) {
	case AUTH_REQUEST_IDLE:
		return;
	case AUTH_REQUEST_KNOWN:
		TAILQ_REMOVE(&c->known, r, next);
		break;
	case AUTH_REQUEST_ASKED:
	case AUTH_REQUEST_EXCHANGE:
		if (r->answer == MSG_T_AUTH_SASL_ANSWER)
			send_abort(r);
		leave_peer(c, r);
		break;
	}
	r->state = AUTH_REQUEST_IDLE;
}
