/* bench/client.c - see client.h. */
#include "client.h"

#include "meter.h"

#include <string.h>
#include <sys/socket.h>

#define TALK_NOOPS 4 /* for STARTTLS, ClientHello, Finished and NOOP */

static struct pki_pool *certs;
static size_t cert_next;
static bool resumes;

void
client_setup(uint16_t port, struct pki_pool *pool, bool resume)
{
	resumes = resume;
	certs = pool;
	wire_setup(port, pool);
}

static enum client_state
failed(struct client *c, const char *why)
{
	c->why = why;
	return CLIENT_FAILED;
}

void
client_end(struct client *c)
{
	wire_close(&c->wire);
}

enum client_state
client_begin(struct client *c, unsigned number, enum client_goal goal)
{
	const char *why;

	c->goal = goal;
	c->phase = PHASE_GREETING;
	c->have = 0;
	c->said = 0;
	c->why = "";
	c->begun_ns = meter_now_ns();
	why = wire_open(&c->wire, number);
	return why == NULL ? CLIENT_BUSY : failed(c, why); /* the greeting tells that it is connected */
}

static bool
say(struct client *c, const char *command)
{
	return wire_send(&c->wire, command, strlen(command)) == (ssize_t)strlen(command);
}

/* Reads what is there, as wire_recv() tells it. */
static ssize_t
hear(struct client *c)
{
	size_t room = sizeof c->room - c->have;
	ssize_t n = room > 0 ? wire_recv(&c->wire, c->room + c->have, room) : WIRE_BROKEN;

	if (n > 0)
		c->have += (size_t)n;
	return n;
}

/* Whether the reply is complete: its last line is the first that does not begin with a quote. */
static bool
reply_ended(const struct client *c, bool *ok)
{
	const char *p = c->room, *end = c->room + c->have, *nl;

	for (; (nl = memchr(p, '\n', (size_t)(end - p))) != NULL; p = nl + 1) {
		if (*p == '"')
			continue;
		*ok = nl + 1 == end && end - p > 2 && memcmp(p, "OK", 2) == 0;
		return true;
	}
	return false;
}

static enum client_state
begin_tls(struct client *c)
{
	const char *why;

	if (c->goal == CLIENT_STALLED) {
		c->phase = PHASE_STALL;
		why = wire_stall(&c->wire);
		return why == NULL ? CLIENT_THERE : failed(c, why);
	}
	c->phase = PHASE_HANDSHAKE;
	if (certs != NULL)
		c->wire.cert = cert_next++;
	if ((why = wire_begin_tls(&c->wire, resumes)) == NULL && c->session.data != NULL &&
	    gnutls_session_set_data(c->wire.tls, c->session.data, c->session.size) != 0)
		why = "gnutls_session_set_data";
	return why == NULL ? CLIENT_BUSY : failed(c, why);
}

/* The tickets came with the first reply at the latest. */
static bool
keep_session(struct client *c)
{
	gnutls_free(c->session.data);
	c->session = (gnutls_datum_t){ NULL, 0 };
	return (gnutls_session_get_flags(c->wire.tls) & GNUTLS_SFLAGS_SESSION_TICKET) != 0 &&
		gnutls_session_get_data2(c->wire.tls, &c->session) == 0;
}

/* A reply that was good: what comes next. */
static enum client_state
next_phase(struct client *c)
{
	c->have = 0;
	switch (c->phase) {
	case PHASE_GREETING:
		if (c->goal == CLIENT_GREETED) {
			c->phase = PHASE_READY;
			return CLIENT_THERE;
		}
		if (c->goal == CLIENT_TALK)
			return client_noop(c);
		c->phase = PHASE_STARTTLS;
		return say(c, "STARTTLS\r\n") ? CLIENT_BUSY : failed(c, "send");
	case PHASE_STARTTLS:
		return begin_tls(c);
	case PHASE_CAPABILITIES:
		c->phase = PHASE_READY;
		return c->goal == CLIENT_CYCLE ? client_noop(c) : CLIENT_THERE;
	case PHASE_NOOP:
		if (c->goal == CLIENT_TALK) {
			if (++c->said < TALK_NOOPS)
				return client_noop(c);
			c->phase = PHASE_BYE;
			return shutdown(c->wire.fd, SHUT_WR) == 0 ? CLIENT_BUSY : failed(c, "shutdown");
		}
		if (c->goal != CLIENT_CYCLE) {
			c->phase = PHASE_READY;
			return CLIENT_THERE;
		}
		if (resumes && !keep_session(c))
			return failed(c, "no ticket");
		c->phase = PHASE_BYE;
		return gnutls_bye(c->wire.tls, GNUTLS_SHUT_WR) == 0 ? CLIENT_BUSY : failed(c, "bye");
	default:
		return failed(c, "a reply that nobody asked for");
	}
}

enum client_state
client_noop(struct client *c)
{
	c->phase = PHASE_NOOP;
	return say(c, "NOOP\r\n") ? CLIENT_BUSY : failed(c, "send");
}

/* Reads replies as far as they have come. */
static enum client_state
converse(struct client *c)
{
	enum client_state s = CLIENT_BUSY;
	bool ok = false;
	ssize_t n;

	while (s == CLIENT_BUSY && c->phase != PHASE_HANDSHAKE) {
		n = hear(c);
		if (n == 0)
			return c->phase == PHASE_BYE ? CLIENT_THERE : failed(c, "closed by the server");
		if (n == WIRE_BROKEN)
			return failed(c, "receive");
		if (n == WIRE_LATER)
			return CLIENT_BUSY;
		if (!reply_ended(c, &ok))
			continue;
		if (!ok)
			return failed(c, "the server did not say OK");
		s = next_phase(c);
		if (s == CLIENT_BUSY && !wire_pending(&c->wire))
			break; /* we have just spoken: nothing can be there yet */
	}
	return s;
}

enum client_state
client_step(struct client *c)
{
	enum client_state s;
	int rc;

	if (c->phase == PHASE_STALL || c->phase == PHASE_READY) /* only the end can come */
		return failed(c, "closed by the server");
	if (c->phase != PHASE_HANDSHAKE) {
		s = converse(c);
		if (s != CLIENT_BUSY || c->phase != PHASE_HANDSHAKE)
			return s;
	}
	/* straight behind the reply to STARTTLS, since in TLS the client speaks first */
	if ((rc = gnutls_handshake(c->wire.tls)) != 0)
		return gnutls_error_is_fatal(rc) ? failed(c, gnutls_strerror(rc)) : CLIENT_BUSY;
	if (c->session.data != NULL && !gnutls_session_is_resumed(c->wire.tls))
		return failed(c, "a full handshake");
	c->phase = PHASE_CAPABILITIES;
	return converse(c);
}

bool
client_drip(struct client *c)
{
	return wire_drip(&c->wire);
}
