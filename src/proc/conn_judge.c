/* proc/conn_judge.c - sessions that exist, when what they rest on does not any more: a certificate is revoked, its CA
 * taken out, its time over. They are judged anew with the credential set in use, and end with their protocol's goodbye
 * when the login, or that there is a session at all, rests on what is not trusted any more. A few at a time: ten
 * thousand sessions must not keep the others waiting. */
#include "proc/conn_impl.h"

#include "proc/identity.h"
#include "proc/worker.h"

#include <string.h>
#include <time.h>

#define BUDGET_US 2000 /* in one turn of the loop */

static struct domain *
domain_of(const struct conn *c)
{
	const char *name = tls_session_name(c->tls);
	struct domains *all = &c->service->domains;
	size_t i;

	for (i = 0; i < all->n; i++)
		if (all->list[i].name == name) /* the very one that choose_domain() gave */
			return &all->list[i];
	return &all->list[0];
}

/* Its mode demands that a certificate that came is trusted. */
static bool
demands(const struct domain *d)
{
	return d->tls->client_certificate == CONF_CC_OPTIONAL || d->tls->client_certificate == CONF_CC_REQUIRE;
}

/* The rules of identity look at the same CAs' files, which may have changed too. */
static bool
is_still(const struct conn *c)
{
	char user[IDENTITY_MAX];

	return c->secure->identity == NULL || (identity_map(c->worker->conf, c->tls, user) == IDENTITY_FOUND &&
		strcmp(user, c->secure->identity) == 0);
}

static void
say_goodbye(struct conn *c, enum tls_verdict verdict)
{
	COUNT(c, distrusted, 1);
	c->rec.verdict = (uint8_t)verdict;
	conn_fault(c, REC_CAUSE_DISTRUSTED);
	engine_bye(c->engine, ENGINE_BYE_CERTIFICATE);
}

/* When the clock alone may change a verdict. */
static void
note_end(const struct conn *c)
{
	const struct tls_facts *facts = tls_session_facts(c->tls);

	if (facts->verdict == TLS_VERDICT_TRUSTED && facts->trusted_until_s < c->worker->judge_s)
		c->worker->judge_s = facts->trusted_until_s;
}

static bool
is_due(const struct conn *c, const struct domain *d)
{
	const struct tls_facts *facts = tls_session_facts(c->tls);

	return !tls_session_judged_by(c->tls, d->cred) ||
		(facts->verdict == TLS_VERDICT_TRUSTED && facts->trusted_until_s < (int64_t)time(NULL));
}

/* True when it has got its goodbye. */
static bool
judge(struct conn *c)
{
	struct domain *d = domain_of(c);
	enum tls_verdict was = tls_session_facts(c->tls)->verdict, v;

	if (!is_due(c, d)) {
		note_end(c);
		return false;
	}
	v = tls_session_judge(c->tls, d->cred);
	note_end(c);
	if (was != TLS_VERDICT_TRUSTED)
		return false;
	if (v != TLS_VERDICT_TRUSTED)
		c->secure->peer.verdict = tls_verdict_name(v);
	if (v == TLS_VERDICT_TRUSTED ? is_still(c) : c->secure->identity == NULL && !demands(d))
		return false;
	say_goodbye(c, v);
	return true;
}

/* A set may have come into use between the judgement in the handshake and its end. */
void
conn_judge_early(struct conn *c)
{
	struct domain *d = domain_of(c);
	enum tls_verdict was = tls_session_facts(c->tls)->verdict;

	if (is_due(c, d))
		c->refused = was != tls_session_judge(c->tls, d->cred) && demands(d);
	note_end(c);
}

void
conn_judge_late(struct conn *c)
{
	if (c->refused)
		say_goodbye(c, tls_session_facts(c->tls)->verdict);
	else
		(void)judge(c);
	c->refused = false;
}

/* --- all of them ------------------------------------------------------------------------------ */

static void
go_on(void *arg)
{
	struct worker *w = arg;
	uint64_t end = ev_now_us() + BUDGET_US;
	struct conn *c;

	while ((c = w->judge_next) != NULL && ev_now_us() < end) {
		w->judge_next = conn_next(c);
		/* one in a renegotiation is judged at its end; all others have no session, or none any more */
		if (c->at.state == CONN_SECURE && judge(c))
			conn_wake(c);
	}
	if (w->judge_next != NULL)
		ev_timer_set(&w->judge_timer, 0);
}

void
judge_begin(struct worker *w)
{
	w->judge_s = INT64_MAX;
	w->judge_next = TAILQ_FIRST(&w->conns);
	if (w->judge_next != NULL)
		ev_timer_set(&w->judge_timer, 0);
}

void
judge_second(struct worker *w)
{
	if (w->judge_s < (int64_t)time(NULL))
		judge_begin(w);
}

void
judge_init(struct worker *w)
{
	w->judge_s = INT64_MAX;
	ev_timer_init(&w->judge_timer, w->child.loop, go_on, w);
}
