/* proc/conn_handshake.c - a connection in a handshake: from the go-ahead to a judged session with its engine,
 * or to the alert that says why not; and how long that may take. */
#include "proc/conn_impl.h"

#include "proc/conn_count.h"
#include "proc/identity.h"

#include <stdlib.h>
#include <string.h>

#define CROWDED_DIVISOR 4 /* deadlines of handshakes shrink to a quarter above 80 % of a limit */

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
	conn_rec_first(c, true, in);
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
choose_domain(void *arg, const char *host, struct tls_domain *out)
{
	const struct conn *c = arg;
	const struct domain *d = domains_find(&c->service->domains, host);

	*out = (struct tls_domain){ .cred = d->cred, .ticket = d->tickets ? &d->ticket : NULL, .name = d->name };
}

/* Each handshake but a renegotiation has a session of its own, never one that was used before. */
void
conn_open_session(struct conn *c)
{
	const struct tls_transport t = { tls_read, tls_write, c, conn_rec_message };
	const struct domain *d = &c->service->domains.list[0];

	c->handshake_us = ev_now_us();
	c->rec.tls_first = REC_OCTETS_NONE;
	c->tls = tls_session_new(d->cred, &t);
	if (c->tls != NULL)
		tls_session_speak(c->tls, c->service->protocol->alpn);
	if (c->tls != NULL && c->service->domains.n > 1)
		tls_session_choose(c->tls, d->tls->tickets, choose_domain, c);
	else if (c->tls != NULL && d->tickets && tls_session_offer_tickets(c->tls, &d->ticket) != 0)
		tls_session_free(&c->tls);
	if (c->tls != NULL)
		return;
	conn_fault(c, REC_CAUSE_NO_MEMORY);
	conn_give_up(c);
}

void
conn_begin_handshake(struct conn *c)
{
	conn_enter(c, CONN_EV_UPGRADE); /* what the engine learnt in plaintext goes with it (RFC 3207 §4.2) */
	stream_flush(&c->stream);       /* the go-ahead: the client makes its ClientHello while we make a session */
	conn_open_session(c);
}

/* --- steps ------------------------------------------------------------------------------------ */

/* Whether a password login in this session may be bound to it. */
static bool
binds(const struct conn *c)
{
	uint8_t binding[TLS_BINDING_SIZE];

	return (c->service->conf->login & CONF_LOGIN_PASSWORD) != 0 && tls_session_binding(c->tls, binding);
}

/* The handshake is done and judged: facts for the engine, a new engine for the session. */
static bool
begin_secure(struct conn *c)
{
	const struct tls_facts *facts = tls_session_facts(c->tls);
	enum tls_verdict verdict = facts->verdict;
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
		c->rec.flags |= REC_F_AMBIGUOUS;
		verdict = TLS_VERDICT_UNMAPPED;
		break;
	case IDENTITY_NONE:
		if (facts->verdict == TLS_VERDICT_TRUSTED)
			verdict = TLS_VERDICT_UNMAPPED;
		break;
	}
	conn_rec_established(c, verdict, s->identity);
	conn_count_handshake(c->service->count, facts, verdict, ev_now_us() - c->handshake_us);
	s->peer = (struct engine_peer){ .tls = true, .resumed = facts->resumed,
		.tls_version = facts->version, .tls_cipher = facts->cipher,
		.tls_group = facts->group, .subject = facts->subject,
		/* where none was asked for nothing was concluded */
		.verdict = facts->asked ? tls_verdict_name(verdict) : NULL,
		.sans = facts->sans, .nsans = facts->nsans, .identity = s->identity,
		.tls_suite = facts->suite, .binds = binds(c),
		.address = c->known != NULL ? c->known->plain.address : NULL };
	return conn_new_engine(c, c->listen->mode == CONF_LISTEN_TLS ? ENGINE_GREET : ENGINE_UPGRADED,
		ENGINE_OFFER_NONE);
}

static bool
established(struct conn *c)
{
	const struct tls_facts *facts = tls_session_facts(c->tls);

	if (c->at.state == CONN_REHANDSHAKE) { /* the same engine, facts and identity go on */
		COUNT(c, renegotiations, 1);
		c->rec.renegotiations++;
		conn_rec_step(c, REC_STEP_ESTABLISHED, REC_WAY_NONE);
		c->secure->peer.tls_cipher = facts->cipher;
		c->secure->peer.tls_group = facts->group;
		conn_enter(c, CONN_EV_ESTABLISHED);
		conn_judge_late(c);
		conn_users_late(c);
		return true;
	}
	COUNT(c, tls_sessions, 1);
	c->watched = true;
	stream_acknowledge(&c->stream); /* its last flight: after STARTTLS it speaks next, too */
	conn_enter(c, CONN_EV_ESTABLISHED);
	conn_judge_early(c);
	if (!begin_secure(c))
		conn_give_up(c);
	else
		conn_judge_late(c);
	return true;
}

static bool
handshake_failed(struct conn *c)
{
	if (c->at.state == CONN_HANDSHAKE) {
		conn_count_failure(c->service->count, tls_session_failure(c->tls),
			tls_session_hello_seen(c->tls));
	} else {
		COUNT(c, renegotiations_refused, 1);
	}
	conn_fault(c, REC_CAUSE_TLS);
	conn_begin_close(c);
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

bool
conn_step_handshake(struct conn *c)
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

/* --- deadlines -------------------------------------------------------------------------------- */

uint64_t
conn_handshake_deadline(const struct conn *c)
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

void
conn_handshake_late(struct conn *c)
{
	if (c->at.state == CONN_REHANDSHAKE)
		COUNT(c, renegotiations_refused, 1);
	else
		conn_count_failure(c->service->count, NULL, tls_session_hello_seen(c->tls));
	conn_rec_step(c, REC_STEP_LATE, REC_WAY_NONE);
	if (accept_is_crowded(c->worker, c->service))
		c->rec.flags |= REC_F_CROWDED;
	conn_fault_n(c, REC_CAUSE_LATE, conn_handshake_deadline(c) - c->since_ms, 0);
	conn_give_up(c);
}

void
conn_sweep_handshakes(struct worker *w, uint64_t now_ms)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&w->handshakes); c != NULL; c = next) {
		next = TAILQ_NEXT(c, handshakes);
		if (conn_handshake_deadline(c) > now_ms) {
			/* the later ones have even more time, unless they wait for their first flight */
			if (tls_session_hello_seen(c->tls))
				continue;
			break;
		}
		conn_handshake_late(c);
		conn_free(c);
	}
}
