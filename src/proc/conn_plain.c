/* proc/conn_plain.c - a connection in plaintext: octets to and from its engine as they are. */
#include "proc/conn_impl.h"

/* Moves the engine's output to the stream; true when all of it has gone. last: nothing follows it in this state, so it
 * goes whatever the peer has not read yet: there is room for one engine's output above STREAM_OUT_HIGH. */
bool
conn_pump_plain(struct conn *c, bool last)
{
	struct span out;

	_Static_assert(STREAM_OUT_HIGH + 3 * ENGINE_OUTPUT_MAX < STREAM_OUT_MAX, "the last words fit");
	while ((out = engine_output(c->engine)).n > 0) {
		if (!last && stream_unsent(&c->stream) > STREAM_OUT_HIGH)
			return false;
		if (stream_put(&c->stream, out.p, out.n) != 0) {
			conn_give_up(c);
			return false;
		}
		engine_output_done(c->engine, out.n);
	}
	return true;
}

bool
conn_step_plain(struct conn *c)
{
	struct conn_asked asked = conn_events(c);
	struct span in;
	size_t n;
	int rc;

	if (!conn_pump_plain(c, asked.go_tls) && (asked.close || !conn_reads_on(c)))
		return c->at.state == CONN_ENDED;
	if (asked.close) {
		conn_begin_close(c);
		return true;
	}
	if (asked.go_tls) {
		conn_begin_handshake(c);
		return true;
	}
	if (conn_program_step(c))
		return true;
	if ((rc = stream_fill(&c->stream)) == PT_EAGAIN)
		return false;
	if (rc == PT_EEOF) {
		conn_rec_step(c, REC_STEP_END, REC_WAY_IN);
		c->rec.cause = REC_CAUSE_END_OF_FILE;
		return conn_end_of_input(c, CONN_EV_END_OF_FILE);
	}
	if (rc != 0) {
		conn_reset(c);
		conn_give_up(c);
		return true;
	}
	in = stream_pending(&c->stream);
	conn_rec_first(c, false, in);
	n = engine_input(c->engine, in.p, in.n, ev_now_ms());
	stream_take(&c->stream, n);
	return n > 0 || engine_output(c->engine).n > 0; /* else it waits for what we do not have */
}
