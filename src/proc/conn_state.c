/* proc/conn_state.c - the table of conn_state.h. */
#include "proc/conn_state.h"

#include "util/err.h"

#include <stddef.h>

#define IN(s) (1u << CONN_##s)
#define ALIVE (IN(PLAIN) | IN(HANDSHAKE) | IN(SECURE) | IN(REHANDSHAKE) | IN(ENDING))
#define SESSION (CONN_F_ENGINE | CONN_F_TLS | CONN_F_IDENTITY | CONN_F_INSIDE)

/* An event is allowed in the states of `from` when all of `needs` are set and none of `bars`. Then `drops` is given
 * up, `clears` forgotten, and `makes` is there. The first row that fits counts. */
static const struct rule {
	enum conn_event event;
	unsigned from;
	unsigned needs, bars;
	enum conn_state to;
	unsigned drops, clears, makes;
} rules[] = {
	/* what the engine learnt in plaintext goes with it: RFC 3207 §4.2 */
	{ CONN_EV_UPGRADE, IN(PLAIN), CONN_F_STARTTLS | CONN_F_ENGINE, CONN_F_TLS, CONN_HANDSHAKE,
	  CONN_F_ENGINE, 0, CONN_F_TLS },
	{ CONN_EV_ESTABLISHED, IN(HANDSHAKE), CONN_F_TLS, CONN_F_ENGINE | CONN_F_IDENTITY, CONN_SECURE,
	  0, 0, CONN_F_ENGINE | CONN_F_IDENTITY | CONN_F_INSIDE },
	{ CONN_EV_RENEGOTIATE, IN(SECURE), CONN_F_TLS | CONN_F_INSIDE, 0, CONN_REHANDSHAKE, 0, 0, 0 },
	{ CONN_EV_ESTABLISHED, IN(REHANDSHAKE), CONN_F_TLS | CONN_F_INSIDE, 0, CONN_SECURE, 0, 0, 0 },
	{ CONN_EV_CLOSE_NOTIFY, IN(SECURE), CONN_F_TLS, 0, CONN_ENDING, 0, 0, CONN_F_CLEAN },
	{ CONN_EV_END_OF_FILE, IN(PLAIN), 0, CONN_F_TLS, CONN_ENDING, 0, 0, 0 },
	{ CONN_EV_BYE, IN(ENDING), CONN_F_TLS | CONN_F_CLEAN, CONN_F_BYE, CONN_ENDING, 0, 0, CONN_F_BYE },
	/* only where STARTTLS led into TLS, both have said close_notify, and nothing of the session stays */
	{ CONN_EV_RESTART, IN(ENDING), CONN_F_STARTTLS | CONN_F_TLS | CONN_F_CLEAN | CONN_F_BYE, 0,
	  CONN_PLAIN, SESSION, CONN_F_CLEAN | CONN_F_BYE, CONN_F_ENGINE },
	{ CONN_EV_CLOSE, ALIVE, 0, 0, CONN_CLOSING, SESSION, 0, 0 },
	{ CONN_EV_ABORT, ALIVE | IN(CLOSING), 0, 0, CONN_ENDED, SESSION, 0, 0 },
};

static const struct state {
	const char *name;
	enum conn_input input;
	enum conn_clock clock;
} states[CONN_STATE_COUNT] = {
#define STATE_ROW(name, input, clock) [CONN_##name] = { #name, CONN_IN_##input, CONN_CLOCK_##clock },
	CONN_STATES(STATE_ROW)
#undef STATE_ROW
};

struct conn_at
conn_state_start(bool implicit_tls, bool starttls)
{
	PT_ASSERT(!implicit_tls || !starttls);
	if (implicit_tls)
		return (struct conn_at){ CONN_HANDSHAKE, CONN_F_TLS };
	return (struct conn_at){ CONN_PLAIN, CONN_F_ENGINE | (starttls ? CONN_F_STARTTLS : 0) };
}

bool
conn_state_next(struct conn_at at, enum conn_event ev, struct conn_at *to_out, unsigned *drops_out)
{
	const struct rule *r;
	size_t i;

	for (i = 0; i < PT_COUNT(rules); i++) {
		r = &rules[i];
		if (r->event != ev || (r->from & 1u << at.state) == 0 ||
		    (at.flags & r->needs) != r->needs || (at.flags & r->bars) != 0)
			continue;
		*to_out = (struct conn_at){ r->to, (at.flags & ~(r->drops | r->clears)) | r->makes };
		*drops_out = at.flags & r->drops;
		return true;
	}
	return false;
}

enum conn_input
conn_state_input(enum conn_state state)
{
	return states[state].input;
}

enum conn_clock
conn_state_clock(enum conn_state state)
{
	return states[state].clock;
}

const char *
conn_state_name(enum conn_state state)
{
	return states[state].name;
}
