/* proc/conn_secure.c - a connection in a TLS session: octets to and from its engine, renegotiation, key
 * updates, and the ways in which a session ends. */
#include "proc/conn_impl.h"

#include <string.h>

/* Tickets go in front of the first words of the session, so that they need no packet of their own. */
static enum tls_status
send_secure(struct conn *c, struct span out, size_t *n_out)
{
	enum tls_status status;
	unsigned tickets;

	*n_out = 0;
	status = tls_session_send_tickets(c->tls, &tickets);
	if (tickets > 0) {
		COUNT(c, tickets, tickets);
		c->rec.tickets = (uint16_t)(c->rec.tickets + tickets);
	}
	return status == TLS_OK ? tls_session_send(c->tls, out, n_out) : status;
}

/* The engine's output into the session; true when all of it has gone. */
bool
conn_pump_secure(struct conn *c)
{
	struct span out;
	size_t n;

	while ((out = engine_output(c->engine)).n > 0) {
		if (stream_unsent(&c->stream) > STREAM_OUT_HIGH)
			return false;
		switch (send_secure(c, out, &n)) {
		case TLS_OK:
			engine_output_done(c->engine, n);
			break;
		case TLS_WANT_WRITE:
			return false;
		default:
			conn_fault(c, REC_CAUSE_TLS);
			conn_give_up(c);
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
		conn_give_up(c);
	return true;
}

/* The client wants a handshake anew in its session (TLS 1.2). */
static bool
renegotiate(struct conn *c)
{
	const struct conf_tls *tls = c->service->conf->tls;
	const struct conf_rate *rate = &tls->renegotiation;
	enum rec_cause cause;

	conn_rec_step(c, REC_STEP_RENEGOTIATION, REC_WAY_IN);
	if (rate->count == 0)
		cause = REC_CAUSE_RENEGOTIATION_OFF;
	else if (!rate_take(&c->renegotiations, (uint32_t)rate->count, rate->window_ms, ev_now_ms()))
		cause = REC_CAUSE_RENEGOTIATION_RATE;
	else if (!tls_session_renegotiate(c->tls, tls->verify == CONF_VERIFY_ALWAYS))
		cause = REC_CAUSE_RENEGOTIATION_INSECURE;
	else {
		conn_enter(c, CONN_EV_RENEGOTIATE);
		return true;
	}
	COUNT(c, renegotiations_refused, 1);
	conn_fault_n(c, cause, rate->count, rate->window_ms);
	tls_session_refuse(c->tls);
	conn_begin_close(c);
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
	conn_fault_n(c, REC_CAUSE_KEY_UPDATES, CONN_KEY_UPDATES_MAX, CONN_KEY_UPDATES_WINDOW_MS);
	conn_begin_close(c);
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
		return conn_end_of_input(c, CONN_EV_CLOSE_NOTIFY);
	case TLS_TRUNCATED:
		COUNT(c, truncated, 1);
		conn_rec_step(c, REC_STEP_END, REC_WAY_IN);
		conn_fault(c, REC_CAUSE_TRUNCATED);
		conn_begin_close(c);
		return true;
	case TLS_RENEGOTIATE:
		return renegotiate(c);
	case TLS_FLOOD:
		key_update_flood(c);
		break;
	case TLS_CANCELED: /* Java's close() in TLS 1.3: the session cannot be used, and the client goes */
		conn_begin_close(c);
		return true;
	case TLS_DATA:
	case TLS_FAILED:
		conn_fault(c, REC_CAUSE_TLS);
		conn_begin_close(c);
		return true;
	}
	explicit_bzero(c->worker->plain, n); /* the next connection uses it */
	return true;
}

/* What was decrypted and kept; false: the engine takes nothing of it, or there is none. */
static bool
feed_kept(struct conn *c)
{
	struct span kept = buf_span(&c->plain);
	size_t n;

	if (kept.n == 0)
		return false;
	n = engine_input(c->engine, kept.p, kept.n, ev_now_ms());
	buf_consume(&c->plain, n);
	return n > 0;
}

bool
conn_step_secure(struct conn *c)
{
	struct conn_asked asked = conn_events(c);

	PT_ASSERT(!asked.go_tls); /* not offered inside TLS */
	/* replies to commands that came together go into one record */
	if (!asked.close && engine_output(c->engine).n < CONN_TOGETHER && feed_kept(c))
		return true;
	if (!conn_pump_secure(c) && (asked.close || !conn_reads_on(c)))
		return c->at.state == CONN_ENDED;
	if (asked.close) {
		conn_begin_close(c);
		return true;
	}
	if (conn_program_step(c))
		return true;
	if (buf_size(&c->plain) > 0)
		return feed_kept(c);
	/* nothing read and nothing decrypted: asking GnuTLS would cost two allocations */
	if (stream_pending(&c->stream).n == 0 && c->stream.dry && !tls_session_has_pending(c->tls))
		return false;
	return read_secure(c);
}
