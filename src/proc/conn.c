/* proc/conn.c - see conn.h.
 *
 * An octet's way: kernel -> stream (the worker's scratch) -> TLS session -> engine, and back. Each wake-up
 * runs steps until nothing moves, between one stream_enter() and one stream_leave(): one read, one
 * write. A state changes in enter() only. */
#include "proc/conn.h"

#include "proc/conn_count.h"
#include "proc/identity.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CROWDED_DIVISOR 4 /* deadlines of handshakes shrink to a quarter above 80 % of a limit */

#define COUNT(c, what, n)                                                                          \
	atomic_fetch_add_explicit(&(c)->service->count->what, (uint64_t)(int64_t)(n),              \
		memory_order_relaxed)

/* What exists only while TLS is up. */
struct secure {
	struct engine_peer peer;
	char *identity;
};

struct conn {
	TAILQ_ENTRY(conn) all;
	TAILQ_ENTRY(conn) handshakes;
	struct worker *worker;
	struct service *service;
	const struct conf_listen *listen;
	enum conn_state state;
	bool input_ended;   /* the engine has been told */
	bool shut;          /* our side of the socket is closed */
	bool clean;         /* the peer closed in order: no need to wait for it */
	bool watched;       /* counted in tls_sessions */
	uint8_t peer[sizeof(struct sockaddr_in6)];
	uint64_t key;
	uint64_t since_ms;    /* of this state */
	uint64_t handshake_us; /* when the handshake began */
	uint64_t deadline_ms; /* of this state, or the engine's; UINT64_MAX: none */
	uint64_t timer_ms;    /* when the timer fires; 0: not set */
	size_t discarded;
	struct engine *engine;
	struct tls_session *tls;
	struct secure *secure;
	struct buf plain; /* decrypted and not taken by the engine */
	struct stream stream;
	struct ev_io io;
	struct ev_timer timer;
};

static const struct engine_peer in_plaintext = { .tls = false };

static void run(struct conn *c, bool readable);

/* --- the log ---------------------------------------------------------------------------------- */

static const char *
peer_text(const struct conn *c, char out[ADDR_TEXT_MAX])
{
	union addr a = { .sa.sa_family = AF_UNSPEC };

	memcpy(&a, c->peer, sizeof c->peer);
	return addr_text(&a, sizeof c->peer, out);
}

static void
say(const struct conn *c, enum log_level level, const char *code, const char *what)
{
	char peer[ADDR_TEXT_MAX];
	const struct log_field f[] = {
		{ "service", c->service->conf->name },
		{ "peer", peer_text(c, peer) },
		{ "code", code },
	};

	log_fields(level, f, PT_COUNT(f), "%s", what);
}

static void
say_handshake_failed(const struct conn *c)
{
	const struct tls_failure *f = tls_session_failure(c->tls);
	char text[256];

	if (f->verdict != TLS_VERDICT_TRUSTED)
		snprintf(text, sizeof text, "TLS handshake refused: client certificate %s (alert %u "
			"sent)", tls_verdict_name(f->verdict), f->alert_sent);
	else if (f->alert_got != 0)
		snprintf(text, sizeof text, "TLS handshake ended by the client with alert %u",
			f->alert_got);
	else if (f->alert_sent != 0)
		snprintf(text, sizeof text, "TLS handshake failed: %s (alert %u sent)", f->text,
			f->alert_sent);
	else
		snprintf(text, sizeof text, "TLS handshake failed: %s",
			f->text != NULL ? f->text : "the connection ended");
	say(c, LOG_L_NOTICE, f->verdict != TLS_VERDICT_TRUSTED ? "certificate-refused"
							       : "handshake-failed", text);
}

static void
say_session_failed(const struct conn *c)
{
	const struct tls_failure *f = tls_session_failure(c->tls);
	char text[256];

	snprintf(text, sizeof text, "TLS session failed: %s (alert sent %u, received %u)",
		f->text != NULL ? f->text : "unknown", f->alert_sent, f->alert_got);
	say(c, LOG_L_NOTICE, "session-failed", text);
}

/* --- states ----------------------------------------------------------------------------------- */

static void
enter(struct conn *c, enum conn_state state)
{
	if (c->state == CONN_HANDSHAKE && state != CONN_HANDSHAKE)
		TAILQ_REMOVE(&c->worker->handshakes, c, handshakes);
	if (state == CONN_HANDSHAKE && c->state != CONN_HANDSHAKE)
		TAILQ_INSERT_TAIL(&c->worker->handshakes, c, handshakes);
	c->state = state;
	c->since_ms = ev_now_ms();
}

static void
drop_session(struct conn *c)
{
	engine_free(&c->engine);
	if (c->secure != NULL) {
		free(c->secure->identity);
		free(c->secure);
		c->secure = NULL;
	}
	tls_session_free(&c->tls);
	if (c->watched)
		COUNT(c, tls_sessions, -1);
	c->watched = false;
	buf_wipe(&c->plain);
}

/* What the peer gets now is the last: close_notify behind it, then our FIN, then a bounded wait for
 * its end, so that the kernel does not throw our last words away with a reset. */
static void
begin_close(struct conn *c)
{
	if (c->tls != NULL)
		if (tls_session_bye(c->tls) != TLS_OK)
			c->stream.broken = true; /* the stream is full: the peer does not read */
	drop_session(c);
	enter(c, CONN_CLOSING);
	c->deadline_ms = c->since_ms + c->worker->conf->linger_ms;
}

static bool
new_engine(struct conn *c, enum engine_start start, enum engine_offer offer,
	   const struct engine_peer *peer)
{
	struct service *svc = c->service;

	engine_free(&c->engine);
	c->engine = svc->protocol->new(&svc->engine_conf, start, offer, peer, ev_now_ms());
	if (c->engine != NULL)
		return true;
	enter(c, CONN_ENDED);
	return false;
}

/* --- transport of the TLS session ------------------------------------------------------------- */

static ssize_t
tls_read(void *arg, void *p, size_t n)
{
	struct conn *c = arg;
	struct span in;
	int rc = stream_fill(&c->stream);

	if (rc != 0)
		return rc;
	in = stream_pending(&c->stream);
	if (n > in.n)
		n = in.n;
	memcpy(p, in.p, n);
	stream_take(&c->stream, n);
	return (ssize_t)n;
}

static ssize_t
tls_write(void *arg, const void *p, size_t n)
{
	struct conn *c = arg;
	int rc = stream_put(&c->stream, p, n);

	return rc == 0 ? (ssize_t)n : rc;
}

static void
begin_handshake(struct conn *c)
{
	const struct tls_transport t = { tls_read, tls_write, c };

	engine_free(&c->engine); /* what it learnt in plaintext goes with it (RFC 3207 §4.2) */
	c->handshake_us = ev_now_us();
	c->tls = tls_session_new(c->service->cred, &t);
	enter(c, c->tls != NULL ? CONN_HANDSHAKE : CONN_ENDED);
}

/* --- events of the engine --------------------------------------------------------------------- */

static bool
tls_possible(const struct conn *c)
{
	return c->service->cred != NULL && signer_available(&c->worker->signer);
}

/* Handles what the engine asks for; true when it asked for something. *go_tls, *close: what to do once
 * its output is on its way. */
static bool
handle_events(struct conn *c, bool *go_tls, bool *close)
{
	struct engine_event ev;
	bool any = false;

	while (engine_event(c->engine, &ev)) {
		any = true;
		switch (ev.type) {
		case ENGINE_EV_START_TLS:
			*go_tls = tls_possible(c);
			if (!*go_tls)
				COUNT(c, unavailable, 1);
			engine_answer(c->engine, *go_tls ? ENGINE_ANSWER_OK
							 : ENGINE_ANSWER_UNAVAILABLE, ev_now_ms());
			break;
		case ENGINE_EV_INJECTION:
			COUNT(c, injections, 1);
			say(c, LOG_L_WARNING, "injection", "octets behind STARTTLS in the same read: an "
				"injection; the connection is closed and nothing of it was run");
			break;
		case ENGINE_EV_CLOSE:
			*close = true;
			break;
		}
	}
	return any;
}

/* --- plaintext -------------------------------------------------------------------------------- */

/* Moves the engine's output to the stream; true when all of it has gone. */
static bool
pump_plain(struct conn *c)
{
	struct span out;

	while ((out = engine_output(c->engine)).n > 0) {
		if (stream_unsent(&c->stream) > STREAM_OUT_HIGH)
			return false;
		if (stream_put(&c->stream, out.p, out.n) != 0) {
			enter(c, CONN_ENDED);
			return false;
		}
		engine_output_done(c->engine, out.n);
	}
	return true;
}

static bool
tell_end_of_input(struct conn *c)
{
	if (c->input_ended)
		return false;
	c->input_ended = true;
	engine_end_of_input(c->engine);
	return true;
}

static bool
step_plain(struct conn *c)
{
	bool go_tls = false, close = false;
	struct span in;
	size_t n;
	int rc;

	(void)handle_events(c, &go_tls, &close);
	if (!pump_plain(c))
		return c->state == CONN_ENDED;
	if (close) {
		begin_close(c);
		return true;
	}
	if (go_tls) {
		begin_handshake(c);
		return true;
	}
	if ((rc = stream_fill(&c->stream)) == PT_EAGAIN)
		return false;
	if (rc == PT_EEOF)
		return tell_end_of_input(c);
	if (rc != 0) {
		enter(c, CONN_ENDED);
		return true;
	}
	in = stream_pending(&c->stream);
	n = engine_input(c->engine, in.p, in.n, ev_now_ms());
	stream_take(&c->stream, n);
	return true;
}

/* --- TLS -------------------------------------------------------------------------------------- */

/* The handshake is done and judged: facts for the engine, a new engine for the session. */
static bool
begin_secure(struct conn *c)
{
	const struct tls_facts *facts = tls_session_facts(c->tls);
	enum tls_verdict verdict = facts->verdict;
	/* where none was asked for nothing was concluded */
	bool asked = c->service->conf->tls->client_certificate != CONF_CC_NONE;
	char user[IDENTITY_MAX];
	struct secure *s;

	if ((s = c->secure = calloc(1, sizeof *s)) == NULL)
		return false;
	switch (identity_map(c->worker->conf, c->tls, user)) {
	case IDENTITY_FOUND:
		if ((s->identity = strdup(user)) == NULL)
			return false;
		break;
	case IDENTITY_AMBIGUOUS:
		say(c, LOG_L_NOTICE, "identity-ambiguous", "the certificate names two different users: "
			"nobody is logged in; give each user a certificate of their own");
		verdict = TLS_VERDICT_UNMAPPED;
		break;
	case IDENTITY_NONE:
		if (facts->verdict == TLS_VERDICT_TRUSTED)
			verdict = TLS_VERDICT_UNMAPPED;
		break;
	}
	conn_count_handshake(c->service->count, facts, verdict, ev_now_us() - c->handshake_us);
	s->peer = (struct engine_peer){ .tls = true, .resumed = facts->resumed,
		.tls_version = facts->version, .tls_cipher = facts->cipher,
		.tls_group = facts->group, .verdict = asked ? tls_verdict_name(verdict) : NULL, .subject = facts->subject,
		.sans = facts->sans, .nsans = facts->nsans, .identity = s->identity };
	return new_engine(c, c->listen->mode == CONF_LISTEN_TLS ? ENGINE_GREET : ENGINE_UPGRADED,
		ENGINE_OFFER_NONE, &s->peer);
}

static bool
step_handshake(struct conn *c)
{
	switch (tls_session_handshake(c->tls)) {
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		return false;
	case TLS_OK:
		COUNT(c, tls_sessions, 1);
		c->watched = true;
		if (!begin_secure(c)) {
			enter(c, CONN_ENDED);
			return true;
		}
		enter(c, CONN_SECURE);
		return true;
	default:
		conn_count_failure(c->service->count, tls_session_failure(c->tls),
			tls_session_hello_seen(c->tls));
		say_handshake_failed(c);
		begin_close(c);
		return true;
	}
}

/* The engine's output into the session; true when all of it has gone. */
static bool
pump_secure(struct conn *c)
{
	struct span out;
	size_t n;

	while ((out = engine_output(c->engine)).n > 0) {
		if (stream_unsent(&c->stream) > STREAM_OUT_HIGH)
			return false;
		switch (tls_session_send(c->tls, out, &n)) {
		case TLS_OK:
			engine_output_done(c->engine, n);
			break;
		case TLS_WANT_WRITE:
			return false;
		default:
			enter(c, CONN_ENDED);
			return false;
		}
	}
	return true;
}

/* Offers octets to the engine and keeps what it does not take. */
static bool
offer(struct conn *c, const uint8_t *p, size_t n)
{
	size_t taken = engine_input(c->engine, p, n, ev_now_ms());

	if (taken < n && buf_append(&c->plain, p + taken, n - taken) != 0)
		enter(c, CONN_ENDED);
	return true;
}

static bool
read_secure(struct conn *c)
{
	size_t n;

	switch (tls_session_recv(c->tls, c->worker->plain, sizeof c->worker->plain, &n)) {
	case TLS_OK:
		offer(c, c->worker->plain, n);
		explicit_bzero(c->worker->plain, n); /* the next connection uses it */
		return true;
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		return false;
	case TLS_CLOSED:
		c->clean = true;
		return tell_end_of_input(c);
	case TLS_TRUNCATED:
		COUNT(c, truncated, 1);
		say(c, LOG_L_DEBUG, "truncated", "the connection ended without close_notify");
		begin_close(c);
		return true;
	case TLS_RENEGOTIATE:
		say(c, LOG_L_NOTICE, "renegotiation", "the client asked for a renegotiation, which is "
			"off; the connection is closed");
		begin_close(c);
		return true;
	case TLS_FAILED:
		say_session_failed(c);
		begin_close(c);
		return true;
	}
	return false;
}

static bool
step_secure(struct conn *c)
{
	bool go_tls = false, close = false;
	struct span kept;
	size_t n;

	(void)handle_events(c, &go_tls, &close);
	PT_ASSERT(!go_tls); /* not offered inside TLS */
	if (!pump_secure(c))
		return c->state == CONN_ENDED;
	if (close) {
		begin_close(c);
		return true;
	}
	if ((kept = buf_span(&c->plain)).n > 0) {
		n = engine_input(c->engine, kept.p, kept.n, ev_now_ms());
		buf_consume(&c->plain, n);
		return n > 0;
	}
	if (c->input_ended)
		return false;
	/* nothing read and nothing decrypted: asking GnuTLS would cost two allocations */
	if (stream_pending(&c->stream).n == 0 && c->stream.dry && !tls_session_has_pending(c->tls))
		return false;
	return read_secure(c);
}

/* --- the end ---------------------------------------------------------------------------------- */

static bool
step_closing(struct conn *c)
{
	size_t n;
	int rc;

	if (c->stream.broken || (c->clean && stream_unsent(&c->stream) == 0)) {
		enter(c, CONN_ENDED);
		return true;
	}
	if (stream_unsent(&c->stream) > 0)
		return false; /* first our last words; the deadline is running */
	if (!c->shut) {
		c->shut = true;
		stream_shut_write(&c->stream);
	}
	rc = stream_discard(&c->stream, CONN_LINGER_OCTETS - c->discarded, &n);
	c->discarded += n;
	if (rc != 0 || c->discarded >= CONN_LINGER_OCTETS) {
		enter(c, CONN_ENDED);
		return true;
	}
	return false;
}

static void
conn_free(struct conn *c)
{
	struct worker *w = c->worker;

	if (c->state == CONN_HANDSHAKE)
		TAILQ_REMOVE(&w->handshakes, c, handshakes);
	drop_session(c);
	ev_io_fini(&c->io);
	ev_timer_fini(&c->timer);
	COUNT(c, octets_in, c->stream.octets_in);
	COUNT(c, octets_out, c->stream.octets_out);
	COUNT(c, connections, -1);
	stream_fini(&c->stream);
	table_addr_sub(w->table, c->key);
	TAILQ_REMOVE(&w->conns, c, all);
	free(c);
	worker_conn_gone(w);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static uint64_t
handshake_deadline(const struct conn *c)
{
	const struct conf_tls *tls = c->service->conf->tls;
	uint64_t total = tls->handshake_timeout_ms, first = tls->first_flight_timeout_ms;

	if (accept_is_crowded(c->worker, c->service)) {
		total /= CROWDED_DIVISOR;
		first /= CROWDED_DIVISOR;
	}
	if (!tls_session_hello_seen(c->tls) && first < total)
		total = first;
	return c->since_ms + total;
}

static void
handshake_late(struct conn *c)
{
	conn_count_failure(c->service->count, NULL, tls_session_hello_seen(c->tls));
	say(c, LOG_L_NOTICE, "handshake-timeout", tls_session_hello_seen(c->tls)
		? "TLS handshake not finished in time"
		: "TLS handshake not begun in time: no complete ClientHello came");
	enter(c, CONN_ENDED);
}

void
conn_sweep_handshakes(struct worker *w, uint64_t now_ms)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&w->handshakes); c != NULL; c = next) {
		next = TAILQ_NEXT(c, handshakes);
		if (handshake_deadline(c) > now_ms) {
			/* the later ones have even more time, unless they wait for their first flight */
			if (tls_session_hello_seen(c->tls))
				continue;
			break;
		}
		handshake_late(c);
		conn_free(c);
	}
}

/* Nothing is set anew per command: the timer fires, looks, and sets the rest. */
static void
arm(struct conn *c, uint64_t now_ms)
{
	if (c->deadline_ms == UINT64_MAX || (c->timer_ms != 0 && c->timer_ms <= c->deadline_ms))
		return;
	c->timer_ms = c->deadline_ms > now_ms ? c->deadline_ms : now_ms + 1;
	ev_timer_set(&c->timer, c->timer_ms - now_ms);
}

static void
timer_fired(void *arg)
{
	struct conn *c = arg;

	c->timer_ms = 0;
	run(c, false);
}

/* What time has to say in this state. */
static void
tick(struct conn *c, uint64_t now_ms)
{
	switch (c->state) {
	case CONN_PLAIN:
	case CONN_SECURE:
		c->deadline_ms = engine_tick(c->engine, now_ms);
		break;
	case CONN_HANDSHAKE:
		c->deadline_ms = handshake_deadline(c);
		if (c->deadline_ms <= now_ms)
			handshake_late(c);
		break;
	case CONN_CLOSING:
		if (c->deadline_ms <= now_ms)
			enter(c, CONN_ENDED);
		break;
	case CONN_ENDED:
		break;
	}
}

/* --- one wake-up ------------------------------------------------------------------------------ */

static bool
step(struct conn *c)
{
	switch (c->state) {
	case CONN_PLAIN:
		return step_plain(c);
	case CONN_HANDSHAKE:
		return step_handshake(c);
	case CONN_SECURE:
		return step_secure(c);
	case CONN_CLOSING:
		return step_closing(c);
	case CONN_ENDED:
		break;
	}
	return false;
}

/* Reading stops while the peer does not read: what it sends waits in the kernel, not here. */
static bool
may_read(const struct conn *c)
{
	if (c->stream.eof)
		return false;
	if (c->state == CONN_PLAIN || c->state == CONN_SECURE)
		return engine_output(c->engine).n == 0 && buf_size(&c->plain) == 0 && !c->input_ended;
	return true;
}

/* readable: false where nothing says that the peer has sent something; if it has, epoll tells. */
static void
run(struct conn *c, bool readable)
{
	size_t unsent = stream_unsent(&c->stream);
	uint64_t now = ev_now_ms();
	unsigned want = 0;
	int i;

	stream_enter(&c->stream, readable);
	tick(c, now);
	for (i = 0; i < CONN_TURNS_MAX; i++)
		if (!step(c))
			break;
	if (stream_leave(&c->stream) != 0 || (c->stream.broken && c->state != CONN_ENDED))
		enter(c, CONN_ENDED);
	/* what waited for the last octets to go may be done now */
	if (c->state == CONN_CLOSING && stream_unsent(&c->stream) == 0) {
		stream_enter(&c->stream, !c->stream.dry);
		(void)step_closing(c);
		if (stream_leave(&c->stream) != 0)
			enter(c, CONN_ENDED);
	}
	if (c->state == CONN_ENDED) {
		conn_free(c);
		return;
	}
	if (c->state == CONN_CLOSING && stream_unsent(&c->stream) < unsent)
		c->deadline_ms = now + c->worker->conf->linger_ms; /* it does read */
	if (stream_unsent(&c->stream) > 0)
		want |= EV_IO_WRITE;
	if (may_read(c))
		want |= EV_IO_READ;
	ev_io_want(&c->io, want);
	tick(c, now);
	/* turns used up, or time made output: once more, after the others */
	if (i == CONN_TURNS_MAX || c->state == CONN_ENDED ||
	    ((c->state == CONN_PLAIN || c->state == CONN_SECURE) && engine_output(c->engine).n > 0 &&
		    stream_unsent(&c->stream) == 0))
		c->deadline_ms = now;
	arm(c, now);
}

static void
ready(void *arg, unsigned what)
{
	run(arg, (what & EV_IO_READ) != 0);
}

struct conn *
conn_new(struct worker *w, struct listener *l, int fd, const union addr *peer, socklen_t peer_len,
	 uint64_t key)
{
	struct conn *c = calloc(1, sizeof *c);

	if (c == NULL || table_addr_add(w->table, key) != 0) {
		free(c);
		close(fd);
		return NULL;
	}
	c->worker = w;
	c->service = l->service;
	c->listen = l->conf;
	c->key = key;
	memcpy(c->peer, peer, peer_len < sizeof c->peer ? peer_len : sizeof c->peer);
	stream_init(&c->stream, fd, &w->scratch);
	buf_init(&c->plain, TLS_RECORD_MAX);
	ev_io_init(&c->io, w->child.loop, fd, ready, c);
	ev_timer_init(&c->timer, w->child.loop, timer_fired, c);
	TAILQ_INSERT_TAIL(&w->conns, c, all);
	COUNT(c, connections, 1);
	COUNT(c, accepted, 1);
	enter(c, CONN_PLAIN);
	if (l->conf->mode == CONF_LISTEN_TLS) {
		begin_handshake(c);
	} else {
		(void)new_engine(c, ENGINE_GREET,
			l->conf->mode == CONF_LISTEN_PLAIN ? ENGINE_OFFER_NONE
			: l->conf->mode == CONF_LISTEN_STARTTLS ? ENGINE_OFFER_STARTTLS
								: ENGINE_OFFER_REQUIRED,
			&in_plaintext);
	}
	run(c, l->conf->mode == CONF_LISTEN_TLS); /* elsewhere we speak first */
	return c;
}

void
conn_goodbye(struct conn *c)
{
	if (c->state == CONN_PLAIN || c->state == CONN_SECURE)
		engine_bye(c->engine, ENGINE_BYE_SHUTDOWN);
	else if (c->state == CONN_HANDSHAKE)
		enter(c, CONN_ENDED);
	run(c, true);
}

struct conn *
conn_next(struct conn *c)
{
	return TAILQ_NEXT(c, all);
}
