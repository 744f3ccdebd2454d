/* proc/conn_close.c - the end of a session, and of a connection: back to plaintext with nothing kept, or the last
 * octets on their way and a bounded wait. */
#include "proc/conn_impl.h"

/* The stream is full: the peer does not read. */
static void
conn_stuck(struct conn *c)
{
	conn_fault(c, REC_CAUSE_NOT_READING);
	c->stream.broken = true;
}

/* What the peer gets now is the last: close_notify behind it, then our FIN, then a bounded wait for
 * its end, so that the kernel does not throw our last words away with a reset. */
void
conn_begin_close(struct conn *c)
{
	if (c->tls != NULL)
		if (tls_session_bye(c->tls) != TLS_OK)
			conn_stuck(c);
	conn_enter(c, CONN_EV_CLOSE);
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
	conn_fault_n(c, REC_CAUSE_RESTARTS, conf->restarts.count, conf->restarts.window_ms);
	return false;
}

/* The engine has said all. Our close_notify stands behind that and before everything in plaintext, because
 * the stream keeps the order; then nothing of the session is left. What came behind the peer's
 * close_notify is still in the stream, and is the new engine's first input. */
static void
restart(struct conn *c)
{
	if (tls_session_bye(c->tls) != TLS_OK) {
		conn_give_up(c);
		return;
	}
	conn_enter(c, CONN_EV_BYE);
	conn_enter(c, CONN_EV_RESTART);
	COUNT(c, restarts, 1);
	c->rec.restarts++;
	conn_rec_step(c, REC_STEP_RESTART, REC_WAY_NONE);
	(void)conn_new_engine(c, ENGINE_RESTARTED, conn_offer(c->listen->mode));
}

/* The engine knows that its input has ended; until it closes, it may speak. */
bool
conn_step_ending(struct conn *c)
{
	struct conn_asked asked = conn_events(c);

	if (!(c->tls != NULL ? conn_pump_secure(c) : conn_pump_plain(c, false)) &&
	    (asked.close || !conn_reads_on(c)))
		return c->at.state == CONN_ENDED;
	if (!asked.close)
		return conn_program_step(c);
	/* any other reason, such as the server's goodbye, ends the connection and not just the session */
	if (asked.why == ENGINE_CLOSE_END_OF_INPUT && may_restart(c))
		restart(c);
	else
		conn_begin_close(c);
	return true;
}

/* --- the end ---------------------------------------------------------------------------------- */

bool
conn_step_closing(struct conn *c)
{
	size_t n;
	int rc;

	if (!c->stream.broken && stream_unsent(&c->stream) > 0)
		return false; /* first our last words; the deadline is running */
	/* who has ended, or said close_notify and sent nothing since, is not waited for */
	if (c->stream.broken || c->stream.eof ||
	    ((c->at.flags & CONN_F_CLEAN) && stream_pending(&c->stream).n == 0 && c->stream.dry)) {
		conn_give_up(c);
		return true;
	}
	if (!c->shut) {
		c->shut = true;
		stream_shut_write(&c->stream);
	}
	rc = stream_discard(&c->stream, CONN_LINGER_OCTETS - c->discarded, &n);
	c->discarded += n;
	if (rc != 0 || c->discarded >= CONN_LINGER_OCTETS) {
		conn_give_up(c);
		return true;
	}
	return false;
}
