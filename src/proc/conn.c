/* proc/conn.c - see conn.h.
 *
 * An octet's way: kernel -> stream (the worker's scratch) -> TLS session -> engine, and back. Each wake-up
 * runs steps until nothing moves, between one stream_enter() and one stream_leave(): one read, one
 * write. A state changes in conn_enter() only, by the table of conn_state.c; the steps of each state are in
 * files of their own: conn_plain.c, conn_handshake.c, conn_secure.c, conn_close.c. */
#include "proc/conn_impl.h"

#include "proc/conn_mail.h"

#include "util/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void run(struct conn *c, bool readable);

/* --- states ----------------------------------------------------------------------------------- */

/* An engine that ends in the middle of a message has something for the log, also where nothing can be said. */
static void
last_notes(struct conn *c)
{
	struct engine_event ev;

	if (c->engine == NULL || c->mail == NULL)
		return;
	engine_end_of_input(c->engine);
	while (engine_event(c->engine, &ev))
		if (ev.type == ENGINE_EV_NOTE)
			conn_mail_note(c, ev.note);
}

/* drops: CONN_F_HAS. The engine first: it borrows the facts, which borrow from the session. */
static void
drop(struct conn *c, unsigned drops)
{
	if (drops & CONN_F_ENGINE) {
		last_notes(c);
		conn_program_free(&c->program);
		engine_free(&c->engine); /* it drops what it holds of a message */
		conn_mail_forget(c);
	}
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
void
conn_enter(struct conn *c, enum conn_event ev)
{
	struct conn_at to;
	unsigned drops;

	PT_ASSERT(conn_state_next(c->at, ev, &to, &drops));
	drop(c, drops);
	place(c, to);
}

void
conn_give_up(struct conn *c)
{
	if (c->at.state != CONN_ENDED)
		conn_enter(c, CONN_EV_ABORT);
}

/* It is over, and what follows is no news. */
static bool
is_closing(const struct conn *c)
{
	return c->at.state == CONN_CLOSING || c->at.state == CONN_ENDED;
}

void
conn_reset(struct conn *c)
{
	conn_rec_step(c, REC_STEP_RESET, REC_WAY_IN);
	conn_fault(c, REC_CAUSE_RESET);
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

/* --- engines ---------------------------------------------------------------------------------- */

bool
conn_new_engine(struct conn *c, enum engine_start start, enum engine_offer offer)
{
	static const struct engine_peer in_plaintext = { .tls = false };
	const struct engine_peer *peer = c->secure != NULL ? &c->secure->peer
					 : c->known != NULL ? &c->known->plain : &in_plaintext;
	struct service *svc = c->service;

	PT_ASSERT(c->engine == NULL); /* one for each session */
	c->engine = svc->protocol->new(&svc->engine_conf, start, offer, peer, ev_now_ms());
	c->inside = c->secure != NULL;
	c->leaving = false;
	if (c->engine != NULL)
		return true;
	conn_fault(c, REC_CAUSE_NO_MEMORY);
	conn_give_up(c);
	return false;
}

enum engine_offer
conn_offer(enum conf_listen_mode mode)
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

static bool
tls_possible(const struct conn *c)
{
	return c->service->domains.n > 0 && signer_available(&c->worker->signer);
}

/* Its reasons that are none of an orderly end. */
static void
engine_closed(struct conn *c, enum engine_close why)
{
	static const enum rec_cause causes[ENGINE_CLOSE_COUNT] = {
		[ENGINE_CLOSE_IDLE] = REC_CAUSE_IDLE,
		[ENGINE_CLOSE_ERRORS] = REC_CAUSE_ERRORS,
		[ENGINE_CLOSE_LINE_TOO_LONG] = REC_CAUSE_LINE_TOO_LONG,
		[ENGINE_CLOSE_NO_MEMORY] = REC_CAUSE_NO_MEMORY,
		[ENGINE_CLOSE_EARLY_TALKER] = REC_CAUSE_EARLY_TALKER,
		[ENGINE_CLOSE_LOGINS] = REC_CAUSE_LOGINS,
		[ENGINE_CLOSE_TOO_MUCH] = REC_CAUSE_TOO_MUCH,
		[ENGINE_CLOSE_SLOW] = REC_CAUSE_SLOW,
	};

	/* why nobody was logged in has been said already, or there was no certificate */
	if (why == ENGINE_CLOSE_LOGIN && c->rec.code == 0)
		conn_fault(c, REC_CAUSE_LOGIN);
	if (why == ENGINE_CLOSE_IDLE)
		conn_rec_step(c, REC_STEP_LATE, REC_WAY_NONE);
	/* it may well have spoken: what we have answered already is in the way */
	if (why == ENGINE_CLOSE_IDLE && stream_unsent(&c->stream) > 0)
		conn_fault(c, REC_CAUSE_NOT_READING);
	else if (causes[why] != REC_CAUSE_NONE)
		conn_fault(c, causes[why]);
}

struct conn_asked
conn_events(struct conn *c)
{
	struct conn_asked asked = { .go_tls = false };
	struct engine_event ev;

	while (engine_event(c->engine, &ev)) {
		switch (ev.type) {
		case ENGINE_EV_START_TLS:
			asked.go_tls = tls_possible(c);
			conn_rec_step(c, REC_STEP_STARTTLS, REC_WAY_IN);
			conn_rec_step(c, asked.go_tls ? REC_STEP_GO_AHEAD : REC_STEP_UNAVAILABLE, REC_WAY_OUT);
			if (!asked.go_tls) {
				COUNT(c, unavailable, 1);
				conn_fault(c, REC_CAUSE_NO_KEYHOLDER);
			}
			engine_answer(c->engine, asked.go_tls ? ENGINE_ANSWER_OK
							      : ENGINE_ANSWER_UNAVAILABLE, ev_now_ms());
			break;
		case ENGINE_EV_INJECTION:
			COUNT(c, injections, 1);
			conn_rec_step(c, REC_STEP_INJECTION, REC_WAY_IN);
			conn_fault(c, REC_CAUSE_INJECTION);
			break;
		case ENGINE_EV_START_PROGRAM:
			conn_program_start(c);
			break;
		case ENGINE_EV_END_PROGRAM_INPUT:
			conn_program_end_input(c);
			break;
		case ENGINE_EV_CLOSE:
			c->leaving = true;
			c->leave_why = (uint8_t)ev.why;
			c->leave_ms = ev_now_ms() + c->worker->conf->linger_ms;
			if (ev.needed_tls)
				c->rec.flags |= REC_F_NEEDS_TLS;
			engine_closed(c, ev.why);
			/* it takes no answer any more, and nothing from a program */
			conn_mail_forget(c);
			conn_program_free(&c->program);
			break;
		case ENGINE_EV_ASK:
			conn_mail_ask(c, ev.ask);
			break;
		case ENGINE_EV_NOTE:
			conn_mail_note(c, ev.note);
			break;
		}
	}
	asked.close = c->leaving;
	asked.why = (enum engine_close)c->leave_why;
	return asked;
}

/* The peer says no more: the engine is told, and what it still has to say goes out in ENDING. */
bool
conn_end_of_input(struct conn *c, enum conn_event ev)
{
	engine_end_of_input(c->engine);
	conn_enter(c, ev);
	return true;
}

/* --- time ------------------------------------------------------------------------------------- */

/* Nothing is set anew per command: the timer fires, looks, and sets the rest. */
static void
arm(struct conn *c, uint64_t now_ms)
{
	PT_ASSERT(c->deadline_ms != UINT64_MAX); /* every connection has one */
	if (c->timer_ms != 0 && c->timer_ms <= c->deadline_ms)
		return;
	/* at once is after the others, and not a millisecond later: a program's output may be waiting */
	c->timer_ms = c->deadline_ms > now_ms ? c->deadline_ms : now_ms;
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
		if (c->leaving) {
			c->deadline_ms = c->leave_ms;
			if (now_ms >= c->leave_ms) {
				conn_fault(c, REC_CAUSE_NOT_READING);
				conn_give_up(c);
			}
			break;
		}
		c->deadline_ms = engine_tick(c->engine, now_ms);
		if (c->deadline_ms == UINT64_MAX) /* it waits for an answer, which is sure to come */
			c->deadline_ms = now_ms + CONN_PARKED_MS;
		break;
	case CONN_CLOCK_HANDSHAKE:
		c->deadline_ms = conn_handshake_deadline(c);
		if (c->deadline_ms <= now_ms)
			conn_handshake_late(c);
		break;
	case CONN_CLOCK_LINGER:
		if (c->deadline_ms > now_ms)
			break;
		/* a peer that reads all it gets is not given up for a program that goes on */
		if (c->at.state == CONN_ENDING && c->program != NULL && !c->program->told &&
		    stream_unsent(&c->stream) == 0) {
			conn_program_late(c);
			c->deadline_ms = now_ms + c->worker->conf->linger_ms;
		} else {
			if (stream_unsent(&c->stream) > 0)
				conn_fault(c, REC_CAUSE_NOT_READING);
			conn_give_up(c);
		}
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
		return conn_step_plain(c);
	case CONN_HANDSHAKE:
	case CONN_REHANDSHAKE:
		return conn_step_handshake(c);
	case CONN_SECURE:
		return conn_step_secure(c);
	case CONN_ENDING:
		return conn_step_ending(c);
	case CONN_CLOSING:
		return conn_step_closing(c);
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
		return buf_size(&c->plain) == 0 &&
			(engine_output(c->engine).n == 0 || engine_has_program(c->engine));
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
	if (stream_leave(&c->stream) != 0 || c->stream.broken) {
		if (!is_closing(c))
			conn_reset(c);
		conn_give_up(c);
	}
	/* what waited for the last octets to go may be done now */
	if (c->at.state == CONN_CLOSING && stream_unsent(&c->stream) == 0) {
		stream_enter(&c->stream, !c->stream.dry);
		(void)conn_step_closing(c);
		if (stream_leave(&c->stream) != 0)
			conn_give_up(c);
	}
	if (c->at.state == CONN_ENDED) {
		conn_free(c);
		return;
	}
	if (conn_state_clock(c->at.state) == CONN_CLOCK_LINGER && c->stream.octets_out > sent)
		c->deadline_ms = now + c->worker->conf->linger_ms; /* it does read */
	if (c->leaving && c->stream.octets_out > sent)
		c->leave_ms = now + c->worker->conf->linger_ms;
	/* what an engine says last waits for room in the stream, which may be there by now: nothing else wakes us then */
	if (stream_unsent(&c->stream) > 0 ||
	    ((c->leaving || c->at.state == CONN_ENDING) && c->engine != NULL && engine_output(c->engine).n > 0))
		want |= EV_IO_WRITE;
	if (may_read(c))
		want |= EV_IO_READ;
	ev_io_want(&c->io, want);
	conn_program_watch(c);
	tick(c, now);
	/* turns used up, or time made output: once more, after the others */
	if (i == CONN_TURNS_MAX || c->at.state == CONN_ENDED ||
	    (conn_state_clock(c->at.state) == CONN_CLOCK_ENGINE && engine_output(c->engine).n > 0 &&
		    stream_unsent(&c->stream) == 0))
		c->deadline_ms = now;
	arm(c, now);
}

void
conn_wake(struct conn *c)
{
	run(c, false);
}

static void
ready(void *arg, unsigned what)
{
	run(arg, (what & EV_IO_READ) != 0);
}

/* --- begin and end ---------------------------------------------------------------------------- */

/* Engines that ask put the peer's address into what they take. false: out of memory. */
static bool
know(struct conn *c, const union addr *peer, socklen_t peer_len)
{
	switch (c->service->conf->protocol) {
	case CONF_PROTOCOL_SMTP:
	case CONF_PROTOCOL_SUBMISSION:
	case CONF_PROTOCOL_LMTP:
		break;
	default:
		return true;
	}
	if ((c->known = calloc(1, sizeof *c->known)) == NULL)
		return false;
	if (peer->sa.sa_family != AF_UNIX)
		c->known->plain.address = addr_host_text(peer, peer_len, c->known->address);
	return true;
}

struct conn *
conn_new(struct worker *w, struct listener *l, int fd, const union addr *peer, socklen_t peer_len,
	 uint64_t key)
{
	struct conn *c = calloc(1, sizeof *c);

	if (c != NULL)
		c->service = l->service;
	if (c == NULL || !know(c, peer, peer_len) || table_addr_add(w->table, key) != 0) {
		if (c != NULL)
			free(c->known);
		free(c);
		close(fd);
		return NULL;
	}
	c->worker = w;
	c->listen = l->conf;
	c->key = key;
	memcpy(c->peer, peer, peer_len < sizeof c->peer ? peer_len : sizeof c->peer);
	stream_init(&c->stream, fd, &w->scratch);
	buf_init(&c->plain, TLS_RECORD_MAX);
	ev_io_init(&c->io, w->child.loop, fd, ready, c);
	ev_timer_init(&c->timer, w->child.loop, timer_fired, c);
	TAILQ_INSERT_TAIL(&w->conns, c, all);
	conn_rec_open(c);
	COUNT(c, connections, 1);
	COUNT(c, accepted, 1);
	place(c, conn_state_start(l->conf->mode == CONF_LISTEN_TLS,
		conn_offer(l->conf->mode) != ENGINE_OFFER_NONE));
	if (l->conf->mode == CONF_LISTEN_TLS) {
		conn_rec_step(c, REC_STEP_TLS_BEGINS, REC_WAY_NONE);
		conn_open_session(c);
	} else {
		(void)conn_new_engine(c, ENGINE_GREET, conn_offer(l->conf->mode));
	}
	run(c, l->conf->mode == CONF_LISTEN_TLS); /* elsewhere we speak first */
	return c;
}

void
conn_free(struct conn *c)
{
	struct worker *w = c->worker;

	conn_rec_close(c);
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
	if (w->judge_next == c)
		w->judge_next = TAILQ_NEXT(c, all);
	TAILQ_REMOVE(&w->conns, c, all);
	free(c->known);
	free(c);
	worker_conn_gone(w);
}

void
conn_goodbye(struct conn *c)
{
	enum conn_clock clock = conn_state_clock(c->at.state);

	if (!is_closing(c)) {
		conn_rec_step(c, REC_STEP_GOODBYE, REC_WAY_NONE);
		conn_fault(c, REC_CAUSE_GOODBYE);
	}
	if (clock == CONN_CLOCK_ENGINE)
		engine_bye(c->engine, ENGINE_BYE_SHUTDOWN);
	else if (clock == CONN_CLOCK_HANDSHAKE)
		conn_give_up(c);
	run(c, true);
}

struct conn *
conn_next(struct conn *c)
{
	return TAILQ_NEXT(c, all);
}
