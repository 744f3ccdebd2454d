/* proc/conn.c - see conn.h.
 *
 * An octet's way: kernel -> stream (the worker's scratch) -> TLS session -> engine, and back. Each wake-up
 * runs steps until nothing moves, between one stream_enter() and one stream_leave(): one read, one
 * write. A state changes in enter() only, by the table of conn_state.c. */
#include "proc/conn_impl.h"

#include "proc/conn_count.h"
#include "proc/identity.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CROWDED_DIVISOR 4 /* deadlines of handshakes shrink to a quarter above 80 % of a limit */

static const struct engine_peer in_plaintext = { .tls = false };

static void run(struct conn *c, bool readable);

/* --- states ----------------------------------------------------------------------------------- */

/* drops: CONN_F_HAS. The engine first: it borrows the facts, which borrow from the session. */
static void
drop(struct conn *c, unsigned drops)
{
	if (drops & CONN_F_ENGINE)
		engine_free(&c->engine);
	if (drops & CONN_F_INSIDE)
		c->inside = false;
	if ((drops & CONN_F_IDENTITY) && c->secure != NULL) {
		if (c->secure->identity != NULL)
			freezero(c->secure->identity, strlen(c->secure->identity));
		freezero(c->secure, sizeof *c->secure);
		c->secure = NULL;
	}
	if (drops & CONN_F_TLS) {
		tls_session_free(&c->tls);
		if (c->watched)
			COUNT(c, tls_sessions, -1);
		c->watched = false;
		c->key_updates_seen = 0;
		buf_fini(&c->plain);
	}
}

/* The list of handshakes has all whose clock is a handshake's. */
static void
place(struct conn *c, struct conn_at at)
{
	enum conn_clock was = conn_state_clock(c->at.state), is = conn_state_clock(at.state);

	if (was == CONN_CLOCK_HANDSHAKE && is != CONN_CLOCK_HANDSHAKE)
		TAILQ_REMOVE(&c->worker->handshakes, c, handshakes);
	if (was != CONN_CLOCK_HANDSHAKE && is == CONN_CLOCK_HANDSHAKE)
		TAILQ_INSERT_TAIL(&c->worker->handshakes, c, handshakes);
	c->since_ms = ev_now_ms();
	if (is == CONN_CLOCK_LINGER && at.state != c->at.state)
		c->deadline_ms = c->since_ms + c->worker->conf->linger_ms;
	c->at = at;
}

/* What the new state does not keep is gone when this returns; what it has and was not there the caller
 * makes. An event that the table does not allow is our bug. */
static void
enter(struct conn *c, enum conn_event ev)
{
	struct conn_at to;
	unsigned drops;

	PT_ASSERT(conn_state_next(c->at, ev, &to, &drops));
	drop(c, drops);
	place(c, to);
}

static void
give_up(struct conn *c)
{
	if (c->at.state != CONN_ENDED)
		enter(c, CONN_EV_ABORT);
}

/* What the table says is held against what there is. */
static void
check(const struct conn *c)
{
	unsigned has = 0;

	has |= c->engine != NULL ? CONN_F_ENGINE : 0;
	has |= c->tls != NULL ? CONN_F_TLS : 0;
	has |= c->secure != NULL ? CONN_F_IDENTITY : 0;
	has |= c->inside ? CONN_F_INSIDE : 0;
	PT_ASSERT(has == (c->at.flags & CONN_F_HAS));
}

/* What the peer gets now is the last: close_notify behind it, then our FIN, then a bounded wait for
 * its end, so that the kernel does not throw our last words away with a reset. */
static void
begin_close(struct conn *c)
{
	if (c->tls != NULL)
		if (tls_session_bye(c->tls) != TLS_OK)
			c->stream.broken = true; /* the stream is full: the peer does not read */
	enter(c, CONN_EV_CLOSE);
}

static bool
new_engine(struct conn *c, enum engine_start start, enum engine_offer offer,
	   const struct engine_peer *peer)
{
	struct service *svc = c->service;

	PT_ASSERT(c->engine == NULL); /* one for each session */
	c->engine = svc->protocol->new(&svc->engine_conf, start, offer, peer, ev_now_ms());
	c->inside = peer != &in_plaintext;
	if (c->engine != NULL)
		return true;
	give_up(c);
	return false;
}

static enum engine_offer
offer_of(enum conf_listen_mode mode)
{
	switch (mode) {
	case CONF_LISTEN_STARTTLS:
		return ENGINE_OFFER_STARTTLS;
	case CONF_LISTEN_STARTTLS_REQUIRED:
		return ENGINE_OFFER_REQUIRED;
	case CONF_LISTEN_TLS:
	case CONF_LISTEN_PLAIN:
		break;
	}
	return ENGINE_OFFER_NONE;
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

/* Each handshake but a renegotiation has a session of its own, never one that was used before. */
static void
open_session(struct conn *c)
{
	const struct tls_transport t = { tls_read, tls_write, c };

	c->handshake_us = ev_now_us();
	c->tls = tls_session_new(c->service->cred, &t);
	if (c->tls != NULL && c->service->tickets &&
	    tls_session_offer_tickets(c->tls, &c->service->ticket) != 0)
		tls_session_free(&c->tls);
	if (c->tls == NULL)
		give_up(c);
}

static void
begin_handshake(struct conn *c)
{
	enter(c, CONN_EV_UPGRADE); /* what the engine learnt in plaintext goes with it (RFC 3207 §4.2) */
	open_session(c);
}

/* --- events of the engine --------------------------------------------------------------------- */

static bool
tls_possible(const struct conn *c)
{
	return c->service->cred != NULL && signer_available(&c->worker->signer);
}

/* What to do once the engine's output is on its way. Each is told once, so that output must go. */
struct asked {
	bool go_tls;
	bool close;
	enum engine_close why;
};

static struct asked
handle_events(struct conn *c)
{
	struct asked asked = { .go_tls = false };
	struct engine_event ev;

	while (engine_event(c->engine, &ev)) {
		switch (ev.type) {
		case ENGINE_EV_START_TLS:
			asked.go_tls = tls_possible(c);
			if (!asked.go_tls)
				COUNT(c, unavailable, 1);
			engine_answer(c->engine, asked.go_tls ? ENGINE_ANSWER_OK
							      : ENGINE_ANSWER_UNAVAILABLE, ev_now_ms());
			break;
		case ENGINE_EV_INJECTION:
			COUNT(c, injections, 1);
			conn_say(c, LOG_L_WARNING, "injection", "octets behind STARTTLS in the same read: an "
				"injection; the connection is closed and nothing of it was run");
			break;
		case ENGINE_EV_CLOSE:
			asked.close = true;
			asked.why = ev.why;
			break;
		}
	}
	return asked;
}

/* --- plaintext -------------------------------------------------------------------------------- */

/* Moves the engine's output to the stream; true when all of it has gone. last: nothing follows it in this state, so it
 * goes whatever the peer has not read yet: there is room for one engine's output above STREAM_OUT_HIGH. */
static bool
pump_plain(struct conn *c, bool last)
{
	struct span out;

	_Static_assert(STREAM_OUT_HIGH + 3 * ENGINE_OUTPUT_MAX < STREAM_OUT_MAX, "the last words fit");
	while ((out = engine_output(c->engine)).n > 0) {
		if (!last && stream_unsent(&c->stream) > STREAM_OUT_HIGH)
			return false;
		if (stream_put(&c->stream, out.p, out.n) != 0) {
			give_up(c);
			return false;
		}
		engine_output_done(c->engine, out.n);
	}
	return true;
}

/* The peer says no more: the engine is told, and what it still has to say goes out in ENDING. */
static bool
end_of_input(struct conn *c, enum conn_event ev)
{
	engine_end_of_input(c->engine);
	enter(c, ev);
	return true;
}

static bool
step_plain(struct conn *c)
{
	struct asked asked = handle_events(c);
	struct span in;
	size_t n;
	int rc;

	if (!pump_plain(c, asked.close || asked.go_tls))
		return c->at.state == CONN_ENDED;
	if (asked.close) {
		begin_close(c);
		return true;
	}
	if (asked.go_tls) {
		begin_handshake(c);
		return true;
	}
	if ((rc = stream_fill(&c->stream)) == PT_EAGAIN)
		return false;
	if (rc == PT_EEOF)
		return end_of_input(c, CONN_EV_END_OF_FILE);
	if (rc != 0) {
		give_up(c);
		return true;
	}
	in = stream_pending(&c->stream);
	n = engine_input(c->engine, in.p, in.n, ev_now_ms());
	stream_take(&c->stream, n);
	return n > 0 || engine_output(c->engine).n > 0; /* else it waits for what we do not have */
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
		conn_say(c, LOG_L_NOTICE, "identity-ambiguous", "the certificate names two different users: "
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
established(struct conn *c)
{
	const struct tls_facts *facts = tls_session_facts(c->tls);

	if (c->at.state == CONN_REHANDSHAKE) { /* the same engine, facts and identity go on */
		COUNT(c, renegotiations, 1);
		c->secure->peer.tls_cipher = facts->cipher;
		c->secure->peer.tls_group = facts->group;
		enter(c, CONN_EV_ESTABLISHED);
		return true;
	}
	COUNT(c, tls_sessions, 1);
	c->watched = true;
	enter(c, CONN_EV_ESTABLISHED);
	if (!begin_secure(c))
		give_up(c);
	return true;
}

static bool
handshake_failed(struct conn *c)
{
	if (c->at.state == CONN_HANDSHAKE) {
		conn_count_failure(c->service->count, tls_session_failure(c->tls),
			tls_session_hello_seen(c->tls));
		conn_say_handshake_failed(c);
	} else {
		COUNT(c, renegotiations_refused, 1);
		if (tls_session_failure(c->tls)->changed)
			conn_say(c, LOG_L_WARNING, "identity-changed", "a renegotiation came with another client "
				"certificate, or with a first or no one; the connection is closed");
		else
			conn_say_handshake_failed(c);
	}
	begin_close(c);
	return true;
}

/* Octets that the client sent before its part of a renegotiation: they wait for its end. */
static bool
read_before_handshake(struct conn *c)
{
	uint8_t *p = c->worker->plain;
	size_t n;
	int rc;

	switch (tls_session_recv(c->tls, p, sizeof c->worker->plain, &n)) {
	case TLS_OK:
		rc = buf_append(&c->plain, p, n);
		explicit_bzero(p, n);
		return rc == 0 || handshake_failed(c);
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		return false;
	default:
		return handshake_failed(c);
	}
}

static bool
step_handshake(struct conn *c)
{
	switch (tls_session_handshake(c->tls)) {
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		return false;
	case TLS_OK:
		return established(c);
	case TLS_DATA:
		return read_before_handshake(c);
	default:
		return handshake_failed(c);
	}
}

/* Tickets go in front of the first words of the session, so that they need no packet of their own. */
static enum tls_status
send_secure(struct conn *c, struct span out, size_t *n_out)
{
	enum tls_status status;
	unsigned tickets;

	*n_out = 0;
	status = tls_session_send_tickets(c->tls, &tickets);
	if (tickets > 0)
		COUNT(c, tickets, tickets);
	return status == TLS_OK ? tls_session_send(c->tls, out, n_out) : status;
}

/* The engine's output into the session; true when all of it has gone. last: as in pump_plain(). */
static bool
pump_secure(struct conn *c, bool last)
{
	struct span out;
	size_t n;

	while ((out = engine_output(c->engine)).n > 0) {
		if (!last && stream_unsent(&c->stream) > STREAM_OUT_HIGH)
			return false;
		switch (send_secure(c, out, &n)) {
		case TLS_OK:
			engine_output_done(c->engine, n);
			break;
		case TLS_WANT_WRITE:
			if (!last)
				return false;
			/* fall through */
		default:
			give_up(c);
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
		give_up(c);
	return true;
}

/* The client wants a handshake anew in its session (TLS 1.2). */
static bool
renegotiate(struct conn *c)
{
	const struct conf_tls *tls = c->service->conf->tls;
	const struct conf_rate *rate = &tls->renegotiation;
	char text[160];
	const char *why;

	if (rate->count == 0)
		why = "which is off";
	else if (!rate_take(&c->renegotiations, (uint32_t)rate->count, rate->window_ms, ev_now_ms()))
		why = "once more than is allowed";
	else if (!tls_session_renegotiate(c->tls, tls->verify == CONF_VERIFY_ALWAYS))
		why = "but has no secure renegotiation (RFC 5746)";
	else {
		enter(c, CONN_EV_RENEGOTIATE);
		return true;
	}
	COUNT(c, renegotiations_refused, 1);
	snprintf(text, sizeof text, "the client asked for a renegotiation, %s; the connection is closed",
		why);
	conn_say(c, LOG_L_NOTICE, "renegotiation", text);
	tls_session_refuse(c->tls);
	begin_close(c);
	return true;
}

/* Counts the key updates that the last read brought; false: too many. */
static bool
key_updates_allowed(struct conn *c)
{
	unsigned n = tls_session_key_updates(c->tls);

	while (c->key_updates_seen != n) {
		c->key_updates_seen++;
		if (!rate_take(&c->key_updates, CONN_KEY_UPDATES_MAX, CONN_KEY_UPDATES_WINDOW_MS,
			    ev_now_ms()))
			return false;
	}
	return true;
}

static bool
key_update_flood(struct conn *c)
{
	COUNT(c, key_update_floods, 1);
	conn_say(c, LOG_L_NOTICE, "key-updates", "too many key updates; the connection is closed");
	begin_close(c);
	return true;
}

static bool
read_secure(struct conn *c)
{
	enum tls_status status;
	size_t n;

	status = tls_session_recv(c->tls, c->worker->plain, sizeof c->worker->plain, &n);
	if (!key_updates_allowed(c) && status != TLS_FLOOD) {
		tls_session_alert(c->tls, TLS_ALERT_UNEXPECTED_MESSAGE);
		status = TLS_FLOOD;
	}
	switch (status) {
	case TLS_OK:
		offer(c, c->worker->plain, n);
		break;
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		return false;
	case TLS_CLOSED:
		return end_of_input(c, CONN_EV_CLOSE_NOTIFY);
	case TLS_TRUNCATED:
		COUNT(c, truncated, 1);
		conn_say(c, LOG_L_DEBUG, "truncated", "the connection ended without close_notify");
		begin_close(c);
		return true;
	case TLS_RENEGOTIATE:
		return renegotiate(c);
	case TLS_FLOOD:
		key_update_flood(c);
		break;
	case TLS_CANCELED: /* Java's close() in TLS 1.3: the session cannot be used, and the client goes */
		begin_close(c);
		return true;
	case TLS_DATA:
	case TLS_FAILED:
		conn_say_session_failed(c);
		begin_close(c);
		return true;
	}
	explicit_bzero(c->worker->plain, n); /* the next connection uses it */
	return true;
}

static bool
step_secure(struct conn *c)
{
	struct asked asked = handle_events(c);
	struct span kept;
	size_t n;

	PT_ASSERT(!asked.go_tls); /* not offered inside TLS */
	if (!pump_secure(c, asked.close))
		return c->at.state == CONN_ENDED;
	if (asked.close) {
		begin_close(c);
		return true;
	}
	if ((kept = buf_span(&c->plain)).n > 0) {
		n = engine_input(c->engine, kept.p, kept.n, ev_now_ms());
		buf_consume(&c->plain, n);
		return n > 0;
	}
	/* nothing read and nothing decrypted: asking GnuTLS would cost two allocations */
	if (stream_pending(&c->stream).n == 0 && c->stream.dry && !tls_session_has_pending(c->tls))
		return false;
	return read_secure(c);
}

/* --- back to plaintext ------------------------------------------------------------------------ */

static bool
may_restart(struct conn *c)
{
	const struct conf_service *conf = c->service->conf;

	if (!(c->at.flags & CONN_F_STARTTLS) || !(c->at.flags & CONN_F_CLEAN) ||
	    conf->after_close != CONF_AFTER_CLOSE_PLAINTEXT || conf->restarts.count == 0)
		return false;
	if (rate_take(&c->restarts, (uint32_t)conf->restarts.count, conf->restarts.window_ms, ev_now_ms()))
		return true;
	COUNT(c, restarts_refused, 1);
	conn_say(c, LOG_L_NOTICE, "restarts", "the client went back to plaintext more often than is allowed; "
		"the connection is closed");
	return false;
}

/* The engine has said all. Our close_notify stands behind that and before everything in plaintext, because
 * the stream keeps the order; then nothing of the session is left. What came behind the peer's
 * close_notify is still in the stream, and is the new engine's first input. */
static void
restart(struct conn *c)
{
	if (tls_session_bye(c->tls) != TLS_OK) {
		give_up(c);
		return;
	}
	enter(c, CONN_EV_BYE);
	enter(c, CONN_EV_RESTART);
	COUNT(c, restarts, 1);
	(void)new_engine(c, ENGINE_RESTARTED, offer_of(c->listen->mode), &in_plaintext);
}

/* The engine knows that its input has ended; until it closes, it may speak. */
static bool
step_ending(struct conn *c)
{
	struct asked asked = handle_events(c);

	if (!(c->tls != NULL ? pump_secure(c, asked.close) : pump_plain(c, asked.close)))
		return c->at.state == CONN_ENDED;
	if (!asked.close)
		return false;
	/* any other reason, such as the server's goodbye, ends the connection and not just the session */
	if (asked.why == ENGINE_CLOSE_END_OF_INPUT && may_restart(c))
		restart(c);
	else
		begin_close(c);
	return true;
}

/* --- the end ---------------------------------------------------------------------------------- */

static bool
step_closing(struct conn *c)
{
	size_t n;
	int rc;

	/* who said close_notify and has sent nothing since is not waited for */
	if (c->stream.broken || ((c->at.flags & CONN_F_CLEAN) && stream_unsent(&c->stream) == 0 &&
		    stream_pending(&c->stream).n == 0 && c->stream.dry)) {
		give_up(c);
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
		give_up(c);
		return true;
	}
	return false;
}

static void
conn_free(struct conn *c)
{
	struct worker *w = c->worker;

	drop(c, CONN_F_HAS);
	rate_fini(&c->restarts);
	rate_fini(&c->renegotiations);
	rate_fini(&c->key_updates);
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
	if (c->at.state == CONN_REHANDSHAKE)
		COUNT(c, renegotiations_refused, 1);
	else
		conn_count_failure(c->service->count, NULL, tls_session_hello_seen(c->tls));
	conn_say(c, LOG_L_NOTICE, "handshake-timeout", tls_session_hello_seen(c->tls)
		? "TLS handshake not finished in time"
		: "TLS handshake not begun in time: no complete ClientHello came");
	give_up(c);
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
	PT_ASSERT(c->deadline_ms != UINT64_MAX); /* every connection has one */
	if (c->timer_ms != 0 && c->timer_ms <= c->deadline_ms)
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
	switch (conn_state_clock(c->at.state)) {
	case CONN_CLOCK_ENGINE:
		c->deadline_ms = engine_tick(c->engine, now_ms);
		break;
	case CONN_CLOCK_HANDSHAKE:
		c->deadline_ms = handshake_deadline(c);
		if (c->deadline_ms <= now_ms)
			handshake_late(c);
		break;
	case CONN_CLOCK_LINGER:
		if (c->deadline_ms <= now_ms)
			give_up(c);
		break;
	case CONN_CLOCK_NONE:
		break;
	}
}

/* --- one wake-up ------------------------------------------------------------------------------ */

static bool
step(struct conn *c)
{
	check(c);
	switch (c->at.state) {
	case CONN_PLAIN:
		return step_plain(c);
	case CONN_HANDSHAKE:
	case CONN_REHANDSHAKE:
		return step_handshake(c);
	case CONN_SECURE:
		return step_secure(c);
	case CONN_ENDING:
		return step_ending(c);
	case CONN_CLOSING:
		return step_closing(c);
	case CONN_ENDED:
	case CONN_STATE_COUNT:
		break;
	}
	return false;
}

/* Reading stops while the peer does not read: what it sends waits in the kernel, not here. */
static bool
may_read(const struct conn *c)
{
	if (c->stream.eof || conn_state_input(c->at.state) == CONN_IN_NOT)
		return false;
	if (conn_state_clock(c->at.state) == CONN_CLOCK_ENGINE)
		return engine_output(c->engine).n == 0 && buf_size(&c->plain) == 0;
	return true;
}

/* readable: false where nothing says that the peer has sent something; if it has, epoll tells. */
static void
run(struct conn *c, bool readable)
{
	uint64_t now = ev_now_ms(), sent = c->stream.octets_out;
	unsigned want = 0;
	int i;

	stream_enter(&c->stream, readable);
	tick(c, now);
	for (i = 0; i < CONN_TURNS_MAX; i++)
		if (!step(c))
			break;
	if (stream_leave(&c->stream) != 0 || c->stream.broken)
		give_up(c);
	/* what waited for the last octets to go may be done now */
	if (c->at.state == CONN_CLOSING && stream_unsent(&c->stream) == 0) {
		stream_enter(&c->stream, !c->stream.dry);
		(void)step_closing(c);
		if (stream_leave(&c->stream) != 0)
			give_up(c);
	}
	if (c->at.state == CONN_ENDED) {
		conn_free(c);
		return;
	}
	if (conn_state_clock(c->at.state) == CONN_CLOCK_LINGER && c->stream.octets_out > sent)
		c->deadline_ms = now + c->worker->conf->linger_ms; /* it does read */
	if (stream_unsent(&c->stream) > 0)
		want |= EV_IO_WRITE;
	if (may_read(c))
		want |= EV_IO_READ;
	ev_io_want(&c->io, want);
	tick(c, now);
	/* turns used up, or time made output: once more, after the others */
	if (i == CONN_TURNS_MAX || c->at.state == CONN_ENDED ||
	    (conn_state_clock(c->at.state) == CONN_CLOCK_ENGINE && engine_output(c->engine).n > 0 &&
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
	place(c, conn_state_start(l->conf->mode == CONF_LISTEN_TLS,
		offer_of(l->conf->mode) != ENGINE_OFFER_NONE));
	if (l->conf->mode == CONF_LISTEN_TLS)
		open_session(c);
	else
		(void)new_engine(c, ENGINE_GREET, offer_of(l->conf->mode), &in_plaintext);
	run(c, l->conf->mode == CONF_LISTEN_TLS); /* elsewhere we speak first */
	return c;
}

void
conn_goodbye(struct conn *c)
{
	enum conn_clock clock = conn_state_clock(c->at.state);

	if (clock == CONN_CLOCK_ENGINE)
		engine_bye(c->engine, ENGINE_BYE_SHUTDOWN);
	else if (clock == CONN_CLOCK_HANDSHAKE)
		give_up(c);
	run(c, true);
}

struct conn *
conn_next(struct conn *c)
{
	return TAILQ_NEXT(c, all);
}
