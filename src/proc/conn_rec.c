/* proc/conn_rec.c - see conn_rec.h. The only place where a connection's facts become a record. */
#include "proc/conn_impl.h"
#include "proc/conn_mail.h"

#include "proc/conn_rec.h"
#include "proc/rec_log.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* --- basics ------------------------------------------------------------------------------------ */

static void
put_addr(const union addr *a, struct rec_addr *out)
{
	memset(out, 0, sizeof *out);
	switch (a->sa.sa_family) {
	case AF_INET:
		out->family = REC_IPV4;
		memcpy(out->octets, &a->in.sin_addr, 4);
		out->port = ntohs(a->in.sin_port);
		break;
	case AF_INET6:
		out->port = ntohs(a->in6.sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
			out->family = REC_IPV4;
			memcpy(out->octets, &a->in6.sin6_addr.s6_addr[12], 4);
		} else {
			out->family = REC_IPV6;
			memcpy(out->octets, &a->in6.sin6_addr, 16);
		}
		break;
	default:
		out->family = REC_UNIX;
	}
}

static bool
is_any(const struct rec_addr *a)
{
	static const uint8_t zeros[16];

	return a->family != REC_UNIX && memcmp(a->octets, zeros, sizeof zeros) == 0;
}

static uint64_t
real_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What does not change while the connection lives. fd -1: it is closed already. */
static void
put_basics(struct rec *r, const struct worker *w, const struct service *svc, const struct conf_listen *listen,
	   int fd, const union addr *peer)
{
	static const uint8_t modes[] = {
		[CONF_LISTEN_STARTTLS] = REC_MODE_STARTTLS,
		[CONF_LISTEN_STARTTLS_REQUIRED] = REC_MODE_STARTTLS_REQUIRED,
		[CONF_LISTEN_TLS] = REC_MODE_TLS,
		[CONF_LISTEN_PLAIN] = REC_MODE_PLAIN,
	};
	static const uint8_t client_certs[] = {
		[CONF_CC_NONE] = REC_CC_NONE,
		[CONF_CC_REQUEST] = REC_CC_REQUEST,
		[CONF_CC_OPTIONAL] = REC_CC_OPTIONAL,
		[CONF_CC_REQUIRE] = REC_CC_REQUIRE,
	};
	const struct conf_tls *tls = svc->conf->tls;
	union addr local = { .sa.sa_family = AF_UNSPEC };
	socklen_t len = sizeof local;

	put_addr(peer, &r->peer);
	memcpy(&local, &listen->addr, listen->addr_len);
	put_addr(&local, &r->local);
	if (is_any(&r->local) && fd >= 0 && getsockname(fd, &local.sa, &len) == 0)
		put_addr(&local, &r->local);
	r->pid = w->pid;
	r->generation = w->generation;
	r->mode = modes[listen->mode];
	if (tls != NULL) {
		r->client_cert = client_certs[tls->client_certificate];
		r->allowed = (uint8_t)((tls->protocols & CONF_TLS_1_2 ? 1u << TLS_RANK_12 : 0) |
				       (tls->protocols & CONF_TLS_1_3 ? 1u << TLS_RANK_13 : 0));
	}
	rec_text_set(r->service, sizeof r->service, svc->conf->name);
}

static void
put_conn_basics(struct rec *r, const struct conn *c)
{
	union addr peer = { .sa.sa_family = AF_UNSPEC };

	memcpy(&peer, c->peer, sizeof c->peer);
	put_basics(r, c->worker, c->service, c->listen, c->stream.fd, &peer);
	r->start_us = c->rec.start_us;
}

static uint64_t
since_accept(const struct conn *c)
{
	return ev_now_us() - c->rec.accept_us;
}

static enum rec_phase
phase_of(const struct conn *c)
{
	static const enum rec_phase phases[CONN_STATE_COUNT] = {
		[CONN_PLAIN] = REC_PHASE_PLAIN,
		[CONN_HANDSHAKE] = REC_PHASE_HANDSHAKE,
		[CONN_SECURE] = REC_PHASE_SECURE,
		[CONN_REHANDSHAKE] = REC_PHASE_REHANDSHAKE,
		[CONN_CLOSING] = REC_PHASE_CLOSING,
		[CONN_ENDED] = REC_PHASE_CLOSING,
	};

	if (c->at.state == CONN_ENDING)
		return c->tls != NULL ? REC_PHASE_SECURE : REC_PHASE_PLAIN;
	return phases[c->at.state];
}

/* Numbers that grow while it lives. */
static void
put_state(struct rec *r, const struct conn *c)
{
	r->phase = (uint8_t)phase_of(c);
	r->end_us = since_accept(c);
	r->octets_in = c->stream.octets_in;
	r->octets_out = c->stream.octets_out;
	r->plain_first = c->rec.plain_first;
	r->tls_first = c->rec.tls_first;
	r->restarts = c->rec.restarts;
	r->renegotiations = c->rec.renegotiations;
	r->flags |= c->rec.flags;
	r->tickets = (uint8_t)(c->rec.tickets < UINT8_MAX ? c->rec.tickets : UINT8_MAX);
}

/* --- the session ------------------------------------------------------------------------------- */

static void
put_offer(struct rec *r, const struct conn *c)
{
	static const uint8_t tickets[] = {
		[TLS_TICKET_NONE] = REC_TICKET_NONE,
		[TLS_TICKET_OFF] = REC_TICKET_OFF,
		[TLS_TICKET_FOREIGN] = REC_TICKET_FOREIGN,
		[TLS_TICKET_OLD] = REC_TICKET_OLD,
	};
	static const uint8_t modes[] = {
		[TLS_CLIENT_CERT_NONE] = REC_CC_NONE,
		[TLS_CLIENT_CERT_REQUEST] = REC_CC_REQUEST,
		[TLS_CLIENT_CERT_OPTIONAL] = REC_CC_OPTIONAL,
		[TLS_CLIENT_CERT_REQUIRE] = REC_CC_REQUIRE,
	};
	struct tls_offer o = tls_session_offer(c->tls);

	/* an earlier session of this connection may have set them */
	r->flags &= ~(uint32_t)(REC_F_HELLO | REC_F_RESUMED | REC_F_KNOWN | REC_F_REFUSED | REC_F_ALERT_SENT |
		REC_F_ALERT_GOT | REC_F_SELF_SIGNED | REC_F_OTHER_NAME);
	r->offered_min = o.version_min;
	r->offered_max = o.version_max;
	r->offered_suites = o.suites;
	r->version = o.version;
	r->ticket = tickets[o.ticket];
	r->client_cert = modes[o.client_cert];
	rec_text_set(r->domain, sizeof r->domain, tls_session_name(c->tls));
	r->key_updates = (uint16_t)tls_session_key_updates(c->tls);
	if (tls_session_hello_seen(c->tls))
		r->flags |= REC_F_HELLO;
}

static void
put_sans(struct rec *r, const struct tls_shown *shown)
{
	char text[sizeof r->sans] = "";
	size_t i;

	for (i = 0; i < shown->nsans; i++) {
		if (i > 0)
			strlcat(text, ", ", sizeof text);
		if (strlcat(text, shown->sans[i], sizeof text) >= sizeof text)
			break;
	}
	rec_text_set(r->sans, sizeof r->sans, text);
	explicit_bzero(text, sizeof text);
}

static void
put_shown(struct rec *r, const struct conn *c)
{
	struct tls_shown shown;

	tls_session_shown(c->tls, &shown);
	r->chain = (uint8_t)(shown.n < UINT8_MAX ? shown.n : UINT8_MAX);
	rec_text_set(r->subject, sizeof r->subject, shown.subject);
	rec_text_set(r->issuer, sizeof r->issuer, shown.issuer);
	put_sans(r, &shown);
	memcpy(r->serial, shown.serial, sizeof r->serial);
	r->nserial = (uint8_t)shown.nserial;
	r->not_before = shown.not_before;
	r->not_after = shown.not_after;
	r->reason = (uint8_t)shown.reason;
	r->when = shown.when;
	if (shown.self_signed)
		r->flags |= REC_F_SELF_SIGNED;
	explicit_bzero(&shown, sizeof shown);
}

/* What clients do when they miss the name that they asked for. */
static bool
may_be_a_name(const struct tls_failure *f)
{
	const unsigned a = f->alert_got;

	return f->fault == TLS_FAULT_ALERT && (a == TLS_ALERT_BAD_CERTIFICATE || a == TLS_ALERT_CERTIFICATE_UNKNOWN ||
						a == TLS_ALERT_UNRECOGNIZED_NAME);
}

static void
put_failure(struct rec *r, const struct conn *c)
{
	const struct tls_failure *f = tls_session_failure(c->tls);

	r->fault = (uint8_t)f->fault;
	r->error = f->code;
	r->alert_sent = (uint8_t)f->alert_sent;
	r->alert_got = (uint8_t)f->alert_got;
	if (f->alert_sent != 0)
		r->flags |= REC_F_ALERT_SENT;
	if (f->fault == TLS_FAULT_ALERT)
		r->flags |= REC_F_ALERT_GOT;
	if (f->resumed)
		r->flags |= REC_F_RESUMED;
	if (may_be_a_name(f) && !tls_session_serves_name(c->tls))
		r->flags |= REC_F_OTHER_NAME;
	if (f->fault != TLS_FAULT_CERTIFICATE)
		return;
	r->flags |= REC_F_REFUSED;
	r->verdict = (uint8_t)f->verdict;
}

static void
put_facts(struct rec *r, const struct conn *c)
{
	const struct tls_facts *f = tls_session_facts(c->tls);
	struct span alpn = tls_session_alpn(c->tls);
	char text[sizeof r->alpn];

	rec_text_set(r->cipher, sizeof r->cipher, f->cipher);
	rec_text_set(r->group, sizeof r->group, f->group);
	rec_text_set(r->signature, sizeof r->signature, f->signature);
	rec_text_set(r->alpn, sizeof r->alpn, alpn.n > 0 ? span_print(alpn, text, sizeof text) : NULL);
	if (f->resumed)
		r->flags |= REC_F_RESUMED;
	if (f->known)
		r->flags |= REC_F_KNOWN;
	r->verdict = c->rec.verdict;
}

/* All that the session knows; it may be in any state, or not there. */
static void
put_session(struct rec *r, const struct conn *c)
{
	if (c->tls == NULL)
		return;
	put_offer(r, c);
	if (c->secure != NULL) {
		put_facts(r, c);
		rec_text_set(r->user, sizeof r->user, conn_mail_user(c) != NULL ? conn_mail_user(c) : c->secure->identity);
	} else {
		r->verdict = (uint8_t)tls_session_verdict(c->tls);
	}
	put_shown(r, c);
	put_failure(r, c);
}

/* --- steps ------------------------------------------------------------------------------------- */

static void
add_step(struct conn *c, enum rec_step_kind kind, uint8_t number, enum rec_way way, size_t size)
{
	struct rec_writer *w = c->worker->rec_writer;
	struct rec *r;

	if (w == NULL || (r = rec_writer_begin(w, c->rec.ref)) == NULL)
		return;
	rec_step_add(r, kind, number, way, (uint32_t)size, since_accept(c));
	r->phase = (uint8_t)phase_of(c);
	rec_writer_commit(w, c->rec.ref);
}

void
conn_rec_step(struct conn *c, enum rec_step_kind kind, enum rec_way way)
{
	add_step(c, kind, 0, way, 0);
}

void
conn_rec_program(struct conn *c, uint32_t code, uint32_t signal)
{
	if (signal != 0)
		add_step(c, REC_STEP_PROGRAM_SIGNAL, (uint8_t)signal, REC_WAY_NONE, 0);
	else
		add_step(c, REC_STEP_PROGRAM_EXIT, (uint8_t)code, REC_WAY_NONE, 0);
}

/* What it asks for. Of ALPN the first; when it is established, what was chosen stands there. */
static void
keep_wishes(struct conn *c, const struct tls_hello *h)
{
	struct rec_writer *w = c->worker->rec_writer;
	struct rec *r;

	if (h->sni.n + h->alpn.n == 0 || w == NULL || (r = rec_writer_begin(w, c->rec.ref)) == NULL)
		return;
	span_print(h->sni, r->sni, sizeof r->sni);
	span_print(h->alpn, r->alpn, sizeof r->alpn);
	rec_writer_commit(w, c->rec.ref);
}

void
conn_rec_message(void *arg, const struct tls_step *step)
{
	struct conn *c = arg;

	add_step(c, step->alert ? REC_STEP_ALERT : REC_STEP_HANDSHAKE, step->number,
		step->in ? REC_WAY_IN : REC_WAY_OUT, step->size);
	if (step->hello != NULL)
		keep_wishes(c, step->hello);
}

void
conn_rec_first(struct conn *c, bool tls, struct span in)
{
	uint8_t *first = tls ? &c->rec.tls_first : &c->rec.plain_first;

	if (*first == REC_OCTETS_NONE)
		*first = (uint8_t)rec_octets_kind(in.p, in.n);
}

/* --- faults ------------------------------------------------------------------------------------ */

/* Names of clients are in the recorder, and nowhere else longer than they are needed. */
static void
wipe(struct rec *r)
{
	explicit_bzero(r, sizeof *r);
}

/* The record as it is, or, where its steps are lost, all that can be said of the connection. */
static struct rec *
gather(struct conn *c)
{
	struct worker *w = c->worker;
	struct rec *r = &w->rec_scratch, *kept;

	if (w->rec_writer != NULL && (kept = rec_writer_begin(w->rec_writer, c->rec.ref)) != NULL) {
		*r = *kept;
		rec_writer_commit(w->rec_writer, c->rec.ref);
	} else {
		memset(r, 0, sizeof *r);
		r->flags = REC_F_OPEN | REC_F_PARTIAL;
		put_conn_basics(r, c);
		r->id = c->rec.ref.id != 0 ? c->rec.ref.id : REC_ID(w->slot, 1);
	}
	put_state(r, c);
	return r;
}

static void
keep(struct conn *c, const struct rec *r)
{
	struct rec_writer *w = c->worker->rec_writer;
	struct rec *kept;

	if (w == NULL)
		return;
	if ((kept = rec_writer_begin(w, c->rec.ref)) != NULL) {
		*kept = *r;
		rec_writer_commit(w, c->rec.ref);
	}
	if (r->code != WHY_NOTHING && c->rec.kind > WHY_NOTE)
		rec_writer_fail(w, r);
}

static void
judge(struct conn *c, struct rec *r)
{
	enum why_code code = why_judge(r);

	if (code == WHY_NOTHING)
		return;
	r->code = (uint16_t)code;
	if (c->rec.code != WHY_NOTHING && why_kind(r) <= (enum why_kind)c->rec.kind)
		return;
	c->rec.code = r->code;
	c->rec.kind = (uint8_t)why_kind(r);
	rec_log(c->worker->why_limit, r);
	keep(c, r);
}

void
conn_fault_n(struct conn *c, enum rec_cause cause, uint64_t number, uint64_t window_ms)
{
	struct rec *r = gather(c);

	put_session(r, c);
	r->cause = (uint8_t)cause;
	r->number = number;
	r->window_ms = window_ms;
	judge(c, r);
	wipe(r);
}

void
conn_fault(struct conn *c, enum rec_cause cause)
{
	conn_fault_n(c, cause, 0, 0);
}

/* --- a connection's way ------------------------------------------------------------------------ */

void
conn_rec_open(struct conn *c)
{
	struct rec_writer *w = c->worker->rec_writer;
	struct rec *r;

	c->rec.start_us = real_us();
	c->rec.accept_us = ev_now_us();
	if (w == NULL)
		return;
	c->rec.ref = rec_writer_open(w);
	r = rec_writer_begin(w, c->rec.ref);
	put_conn_basics(r, c);
	rec_step_add(r, REC_STEP_ACCEPTED, 0, REC_WAY_NONE, 0, 0);
	rec_writer_commit(w, c->rec.ref);
}

void
conn_rec_established(struct conn *c, enum tls_verdict verdict, const char *user)
{
	struct rec_writer *w = c->worker->rec_writer;
	const bool judged = tls_session_facts(c->tls)->asked;
	struct rec *r;

	c->rec.flags |= REC_F_SECURED;
	c->rec.verdict = (uint8_t)verdict;
	if (judged && verdict != TLS_VERDICT_NONE)
		add_step(c, REC_STEP_VERDICT, (uint8_t)verdict, REC_WAY_NONE, 0);
	conn_rec_step(c, REC_STEP_ESTABLISHED, REC_WAY_NONE);
	if (w != NULL && (r = rec_writer_begin(w, c->rec.ref)) != NULL) {
		put_state(r, c);
		put_offer(r, c);
		put_facts(r, c);
		put_shown(r, c);
		rec_text_set(r->user, sizeof r->user, user);
		rec_writer_commit(w, c->rec.ref);
	}
	/* trusted but nobody's is no fault where no certificate is to be somebody's */
	if (judged && verdict != TLS_VERDICT_NONE && verdict != TLS_VERDICT_TRUSTED &&
	    (verdict != TLS_VERDICT_UNMAPPED || c->worker->conf->nmaps > 0))
		conn_fault(c, REC_CAUSE_LOGIN);
	else if (tls_session_offer(c->tls).ticket != TLS_TICKET_NONE)
		conn_fault(c, REC_CAUSE_TICKET);
}

/* The last state counts, and the last step. */
static void
finish(struct conn *c)
{
	struct rec_writer *w = c->worker->rec_writer;
	struct rec *r;

	if (w == NULL || (r = rec_writer_begin(w, c->rec.ref)) == NULL)
		return;
	r->octets_in = c->stream.octets_in;
	r->octets_out = c->stream.octets_out;
	r->flags &= ~REC_F_OPEN;
	rec_step_add(r, REC_STEP_CLOSED, 0, REC_WAY_NONE, 0, since_accept(c));
	r->phase = REC_PHASE_CLOSING;
	rec_writer_commit(w, c->rec.ref);
	if (c->rec.code != WHY_NOTHING && c->rec.kind > WHY_NOTE)
		rec_writer_fail_again(w, r); /* nobody but us writes to it */
	rec_writer_close(w, c->rec.ref);
}

void
conn_rec_close(struct conn *c)
{
	struct rec *r;

	/* it ended well as far as it goes: only what never came to TLS may need a word */
	if (c->rec.code == WHY_NOTHING && (c->rec.flags & REC_F_SECURED) == 0) {
		r = gather(c);
		r->flags &= ~REC_F_OPEN;
		r->cause = c->rec.cause;
		judge(c, r);
		wipe(r);
	}
	finish(c);
}

void
conn_rec_refused(struct listener *l, const union addr *peer, socklen_t len, enum rec_cause cause,
		 uint64_t number)
{
	struct worker *w = l->worker;
	struct rec *r = &w->rec_scratch;
	union addr known = { .sa.sa_family = AF_UNSPEC };

	memset(r, 0, sizeof *r);
	memcpy(&known, peer, len < sizeof known ? len : sizeof known);
	put_basics(r, w, l->service, l->conf, -1, &known);
	r->id = w->rec_writer != NULL ? rec_writer_id(w->rec_writer) : REC_ID(w->slot, 1);
	r->start_us = real_us();
	r->phase = REC_PHASE_REFUSED;
	r->cause = (uint8_t)cause;
	r->number = number;
	rec_step_add(r, REC_STEP_CLOSED, 0, REC_WAY_NONE, 0, 0);
	r->code = (uint16_t)why_judge(r);
	rec_log(w->why_limit, r);
	if (w->rec_writer != NULL)
		rec_writer_fail(w->rec_writer, r);
	wipe(r);
}

void
conn_rec_second(struct worker *w, uint64_t now_ms)
{
	rec_log_left(w->why_limit, now_ms, false);
}
