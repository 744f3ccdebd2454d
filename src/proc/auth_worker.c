/* proc/auth_worker.c - the auth process and one worker: its questions, its SASL exchanges. A worker speaks for
 * strangers: each frame is decoded, bounded and answered, or the worker is condemned. */
#include "proc/auth.h"

#include "proc/auth_wire.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 256

struct exchange {
	TAILQ_ENTRY(exchange) next;
	struct auth_worker *worker;
	uint32_t id; /* the worker's */
	struct sasl *sasl;
	bool busy; /* an answer is due: the worker has nothing to say but that it wants none any more */
};

TAILQ_HEAD(exchange_list, exchange);

struct auth_worker {
	TAILQ_ENTRY(auth_worker) next;
	struct auth *auth;
	struct link *link;
	struct auth_realm *realm; /* NULL: it is gone, and so is the worker in a moment */
	struct exchange_list exchanges[BUCKETS];
	unsigned nexchanges;
};

static struct exchange_list *
bucket(struct auth_worker *w, uint32_t id)
{
	return &w->exchanges[id % BUCKETS];
}

static struct exchange *
find(struct auth_worker *w, uint32_t id)
{
	struct exchange *x;

	TAILQ_FOREACH(x, bucket(w, id), next)
		if (x->id == id)
			return x;
	return NULL;
}

static void
exchange_free(struct exchange *x)
{
	sasl_free(&x->sasl);
	TAILQ_REMOVE(bucket(x->worker, x->id), x, next);
	x->worker->nexchanges--;
	free(x);
}

static void
exchanges_free(struct auth_worker *w)
{
	struct exchange *x;
	size_t i;

	for (i = 0; i < BUCKETS; i++)
		while ((x = TAILQ_FIRST(&w->exchanges[i])) != NULL)
			exchange_free(x);
}

/* A worker that does not take its answers is at fault: its channel ends, which it and we then meet. */
static void
reply(struct auth_worker *w, struct frame *f)
{
	int rc = link_send(w->link, f, -1);

	if (rc != 0 && rc != PT_EEOF)
		log_msg(LOG_L_ERROR, "a worker does not take our answers (%s)", pt_strerror(rc));
}

static void
reply_sasl(struct auth_worker *w, uint32_t id, enum auth_result result, const char *user, const char *by,
	   struct span data)
{
	struct msg_auth_sasl_answer m = { .result = (uint8_t)result, .user = span_str(user),
		.by = span_str(by), .data = data };
	struct frame f;

	PT_ASSERT(msg_auth_sasl_answer_encode(&m, id, &f) == 0);
	reply(w, &f);
}

static const struct directory *
directory_of(const struct auth_worker *w)
{
	static const struct directory none = { .users = NULL };

	return w->realm != NULL ? &w->realm->realm.directory : &none;
}

/* --- questions -------------------------------------------------------------------------------- */

static int
on_identify(void *self, void *peer, struct frame *f)
{
	struct auth_worker *w = self;
	const struct directory *d = directory_of(w);
	struct msg_auth_identity r = { .result = AUTH_AWAY };
	struct msg_auth_identify m;
	const struct user *user;
	uint32_t id = f->id;

	(void)peer;
	if (msg_auth_identify_decode(f, &m) != 0)
		return PT_EPROTO;
	if (d->users != NULL) {
		user = directory_login(d, m.user);
		r.result = user != NULL ? AUTH_OK : AUTH_NO_USER;
		r.user = span_str(user != NULL ? user->address : "");
	}
	PT_ASSERT(msg_auth_identity_encode(&r, id, f) == 0);
	reply(w, f);
	return 0;
}

static int
on_recipient(void *self, void *peer, struct frame *f)
{
	struct auth_worker *w = self;
	struct msg_auth_recipients r = { .result = AUTH_AWAY };
	struct msg_auth_recipient m;
	struct directory_answer a;
	uint32_t id = f->id;
	struct buf users;
	size_t i;

	(void)peer;
	if (msg_auth_recipient_decode(f, &m) != 0)
		return PT_EPROTO;
	r.result = (uint8_t)directory_recipient(directory_of(w), m.address, &a);
	buf_init(&users, FRAME_PAYLOAD_MAX - 1024);
	for (i = 0; i < a.n; i++)
		PT_ASSERT(auth_wire_put(&users, a.users[i]->address, a.users[i]->quota) == 0);
	r.users = buf_span(&users);
	r.detail = span_str(a.detail);
	PT_ASSERT(msg_auth_recipients_encode(&r, id, f) == 0);
	reply(w, f);
	buf_fini(&users);
	return 0;
}

_Static_assert(AUTH_RECIPIENTS_MAX * (8 + NORMAL_ADDRESS_MAX) <= FRAME_PAYLOAD_MAX - 1024,
	"whom an alias reaches fits in a frame");

static int
on_sender(void *self, void *peer, struct frame *f)
{
	char allowed[DIRECTORY_ALLOWED_MAX], user[NORMAL_ADDRESS_MAX];
	struct auth_worker *w = self;
	struct msg_auth_sender_is r;
	struct msg_auth_sender m;
	uint32_t id = f->id;

	(void)peer;
	if (msg_auth_sender_decode(f, &m) != 0)
		return PT_EPROTO;
	(void)normal_address(m.user, user); /* what is no address is nobody */
	r.result = (uint8_t)directory_sender(directory_of(w), user, m.address, allowed);
	r.allowed = span_str(allowed);
	PT_ASSERT(msg_auth_sender_is_encode(&r, id, f) == 0);
	reply(w, f);
	return 0;
}

_Static_assert(DIRECTORY_ALLOWED_MAX <= AUTH_TEXT_MAX, "the client has room for it");

/* --- exchanges -------------------------------------------------------------------------------- */

static void
sasl_answered(void *arg, const struct sasl_answer *a)
{
	struct exchange *x = arg;

	x->busy = false;
	reply_sasl(x->worker, x->id, a->result, a->user, a->by, a->data);
	if (a->result == AUTH_CONTINUE)
		return;
	x->sasl = NULL; /* gone when we return */
	exchange_free(x);
}

static struct exchange *
exchange_new(struct auth_worker *w, uint32_t id, const struct sasl_begin *b, enum auth_result *why)
{
	struct exchange *x = NULL;

	*why = AUTH_AWAY;
	if (w->realm == NULL || w->nexchanges >= AUTH_EXCHANGES_MAX || (x = calloc(1, sizeof *x)) == NULL)
		return NULL;
	*x = (struct exchange){ .worker = w, .id = id };
	x->sasl = sasl_new(&w->auth->server, &w->realm->realm, b, ev_now_ms(), sasl_answered, x, why);
	if (x->sasl == NULL) {
		free(x);
		return NULL;
	}
	TAILQ_INSERT_TAIL(bucket(w, id), x, next);
	w->nexchanges++;
	return x;
}

static int
on_sasl_begin(void *self, void *peer, struct frame *f)
{
	struct auth_worker *w = self;
	struct msg_auth_sasl_begin m;
	enum auth_result why;
	struct sasl_begin b;
	struct exchange *x;

	(void)peer;
	if (msg_auth_sasl_begin_decode(f, &m) != 0 || (m.flags & ~AUTH_WIRE_FLAGS) != 0 || find(w, f->id) != NULL)
		return PT_EPROTO;
	b = (struct sasl_begin){ .mechanism = m.mechanism, .tls = (m.flags & AUTH_WIRE_TLS) != 0,
		.identity = m.identity, .binding = m.binding, .address_key = m.address_key,
		.success_data = (m.flags & AUTH_WIRE_SUCCESS_DATA) != 0 };
	if ((x = exchange_new(w, f->id, &b, &why)) == NULL) {
		reply_sasl(w, f->id, why, "", "", (struct span){ NULL, 0 });
	} else {
		x->busy = true;
		sasl_start(x->sasl, (m.flags & AUTH_WIRE_INITIAL) != 0 ? &m.initial : NULL, ev_now_ms());
	}
	explicit_bzero(f->octets, FRAME_HEADER + f->len);
	return 0;
}

static int
on_sasl_step(void *self, void *peer, struct frame *f)
{
	struct auth_worker *w = self;
	struct msg_auth_sasl_step m;
	struct exchange *x;

	(void)peer;
	if (msg_auth_sasl_step_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((x = find(w, f->id)) == NULL) { /* its realm has gone */
		reply_sasl(w, f->id, AUTH_AWAY, "", "", (struct span){ NULL, 0 });
	} else {
		if (x->busy)
			return PT_EPROTO;
		x->busy = true;
		sasl_step(x->sasl, m.message, ev_now_ms());
	}
	explicit_bzero(f->octets, FRAME_HEADER + f->len);
	return 0;
}

static int
on_sasl_abort(void *self, void *peer, struct frame *f)
{
	struct auth_worker *w = self;
	struct msg_auth_sasl_abort m;
	struct exchange *x;

	(void)peer;
	if (msg_auth_sasl_abort_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((x = find(w, f->id)) != NULL) /* its end may just have been on the way */
		exchange_free(x);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_AUTH_IDENTIFY, 1u << ROLE_WORKER, IPC_ANY_STATE, on_identify },
	{ MSG_T_AUTH_RECIPIENT, 1u << ROLE_WORKER, IPC_ANY_STATE, on_recipient },
	{ MSG_T_AUTH_SENDER, 1u << ROLE_WORKER, IPC_ANY_STATE, on_sender },
	{ MSG_T_AUTH_SASL_BEGIN, 1u << ROLE_WORKER, IPC_ANY_STATE, on_sasl_begin },
	{ MSG_T_AUTH_SASL_STEP, 1u << ROLE_WORKER, IPC_ANY_STATE, on_sasl_step },
	{ MSG_T_AUTH_SASL_ABORT, 1u << ROLE_WORKER, IPC_ANY_STATE, on_sasl_abort },
};

/* --- changes ---------------------------------------------------------------------------------- */

/* What was gathered goes to all of the realm's workers. */
static void
tell(struct auth *a, const struct auth_realm *realm, enum auth_change what, struct buf *names)
{
	struct msg_auth_ousted m = { .what = (uint8_t)what, .users = buf_span(names) };
	struct auth_worker *w;
	struct frame f;

	if (buf_size(names) == 0)
		return;
	TAILQ_FOREACH(w, &a->workers, next) {
		if (w->realm != realm)
			continue;
		PT_ASSERT(msg_auth_ousted_encode(&m, 0, &f) == 0);
		reply(w, &f);
	}
	buf_fini(names);
}

void
auth_worker_tell_ousted(struct auth *a, const struct auth_realm *realm, const struct users *were)
{
	static const enum auth_change whats[] = { [USERS_GONE] = AUTH_CHANGE_GONE,
		[USERS_PASSWORD] = AUTH_CHANGE_PASSWORD };
	struct buf names[AUTH_CHANGE_COUNT];
	enum users_change change;
	const struct user *user;
	enum auth_change what;
	size_t i;

	for (i = 0; i < AUTH_CHANGE_COUNT; i++)
		buf_init(&names[i], AUTH_OUSTED_MAX);
	for (i = 0; i < users_count(were); i++) {
		user = users_at(were, i);
		if ((change = users_compare(user, realm->users)) == USERS_SAME)
			continue;
		what = whats[change];
		if (buf_size(&names[what]) + strlen(user->address) + 1 > AUTH_OUSTED_MAX)
			tell(a, realm, what, &names[what]);
		PT_ASSERT(buf_append(&names[what], user->address, strlen(user->address) + 1) == 0);
	}
	for (i = 0; i < AUTH_CHANGE_COUNT; i++)
		tell(a, realm, (enum auth_change)i, &names[i]);
}

/* --- the channel ------------------------------------------------------------------------------ */

static void
worker_gone(void *self, struct link *link, int rc)
{
	struct auth_worker *w = self;
	struct auth *a = w->auth;

	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "a worker broke the protocol; it gets no more answers");
	exchanges_free(w);
	link_free(&link);
	TAILQ_REMOVE(&a->workers, w, next);
	free(w);
	a->nworkers--;
	if (a->stopping && a->nworkers == 0)
		exit(0);
}

int
auth_worker_new(struct auth *a, int fd, uint64_t generation)
{
	struct auth_worker *w = calloc(1, sizeof *w);
	size_t i;

	PT_ASSERT(w != NULL);
	*w = (struct auth_worker){ .auth = a, .realm = auth_realm_get(a, generation) };
	for (i = 0; i < BUCKETS; i++)
		TAILQ_INIT(&w->exchanges[i]);
	if ((w->link = link_new(&a->child, fd, ROLE_WORKER, rules, PT_COUNT(rules), w, worker_gone)) == NULL) {
		free(w);
		return PT_ENOMEM;
	}
	TAILQ_INSERT_TAIL(&a->workers, w, next);
	a->nworkers++;
	return 0;
}

void
auth_worker_forget_realm(struct auth *a, const struct auth_realm *realm)
{
	struct auth_worker *w;

	TAILQ_FOREACH(w, &a->workers, next) {
		if (w->realm != realm)
			continue;
		exchanges_free(w);
		w->realm = NULL;
	}
}

void
auth_worker_tell_change(struct auth *a, const struct auth_realm *realm)
{
	struct msg_auth_changed m = { .unused = 0 };
	struct auth_worker *w;
	struct frame f;

	TAILQ_FOREACH(w, &a->workers, next) {
		if (w->realm != realm)
			continue;
		PT_ASSERT(msg_auth_changed_encode(&m, 0, &f) == 0);
		reply(w, &f);
	}
}
