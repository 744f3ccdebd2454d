/* store/client_queue.c - messages for the queue, what became of them, and claims. */
#include "store/client_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- parts of a transaction ---------------------------------------------------------------------------------- */

static bool
text_ok(struct span s, size_t max)
{
	return s.n <= max && (s.n == 0 || memchr(s.p, '\0', s.n) == NULL);
}

int
store_txn_queue(struct store_txn *t, const struct store_envelope *e, struct store_blob *b)
{
	struct msg_store_queue m = { .sender = span_str(e->sender), .params = e->params,
		.identity = span_str(e->identity), .service = span_str(e->service),
		.due = e->due < 0 ? 0 : (uint64_t)e->due };
	struct frame f;
	size_t i;
	int rc;

	if (e->nrcpts == 0 || !text_ok(e->params, STORE_PARAMS_MAX))
		return txn_bad(t, PT_EINVAL);
	if (e->nrcpts > STORE_RCPTS_MAX || m.sender.n > STORE_ADDRESS_MAX || m.identity.n > STORE_ADDRESS_MAX ||
	    m.service.n > STORE_SERVICE_MAX)
		return txn_bad(t, PT_ETOOBIG);
	rc = txn_add(t, msg_store_queue_encode(&m, 0, &f), &f, b);
	for (i = 0; rc == 0 && i < e->nrcpts; i++) {
		struct msg_store_queue_rcpt r = { .address = span_str(e->rcpts[i].address),
			.params = e->rcpts[i].params };

		if (r.address.n == 0 || r.address.n > STORE_ADDRESS_MAX || !text_ok(r.params, STORE_PARAMS_MAX))
			return txn_bad(t, PT_EINVAL);
		rc = txn_add(t, msg_store_queue_rcpt_encode(&r, 0, &f), &f, NULL);
	}
	return rc;
}

int
store_txn_outcome(struct store_txn *t, uint64_t qid, uint32_t rcpt, uint32_t attempt, enum store_rcpt_state state,
		  int64_t next, struct span reply)
{
	struct msg_store_outcome m = { .qid = qid, .rcpt = rcpt, .attempt = attempt, .state = (uint8_t)state,
		.next = next < 0 ? 0 : (uint64_t)next, .reply = reply };
	struct frame f;

	if (!text_ok(reply, STORE_OUTCOME_MAX) || attempt == 0 || rcpt >= STORE_RCPTS_MAX)
		return txn_bad(t, PT_EINVAL);
	return txn_add(t, msg_store_outcome_encode(&m, 0, &f), &f, NULL);
}

/* --- claims --------------------------------------------------------------------------------------------------- */

void
store_claim(struct store *s, unsigned max, uint32_t lease_s, store_cb *cb, void *arg)
{
	struct msg_store_claim m = { .max = max, .lease_s = lease_s };
	struct frame f;
	struct call *c;
	bool ok = max > 0 && max <= STORE_CLAIM_MAX && lease_s > 0 && lease_s <= STORE_LEASE_MAX_S;

	c = store_ask(s, 0, ok ? msg_store_claim_encode(&m, 0, &f) : PT_EINVAL, &f, cb, arg);
	if (c != NULL)
		c->lease_s = lease_s;
}

static void
send_hold(struct store *s, uint64_t qid, uint32_t lease_s)
{
	struct msg_store_hold m = { .qid = qid, .lease_s = lease_s };
	struct frame f;

	PT_ASSERT(msg_store_hold_encode(&m, 0, &f) == 0);
	store_tell(s, &f);
}

static struct held *
held_find(struct store *s, uint64_t qid)
{
	struct held *h;

	TAILQ_FOREACH(h, &s->held, next)
		if (h->qid == qid)
			break;
	return h;
}

void
store_hold(struct store *s, uint64_t qid, uint32_t lease_s)
{
	struct held *h = held_find(s, qid);

	if (h == NULL)
		return; /* none of ours */
	h->lease_s = lease_s < STORE_LEASE_MAX_S ? lease_s : STORE_LEASE_MAX_S;
	send_hold(s, qid, h->lease_s);
	if (lease_s == 0) {
		TAILQ_REMOVE(&s->held, h, next);
		free(h);
	}
}

void
held_again(struct store *s)
{
	struct held *h;

	TAILQ_FOREACH(h, &s->held, next)
		send_hold(s, h->qid, h->lease_s);
}

static struct span
dup_span(struct span s)
{
	uint8_t *p = malloc(s.n + 1);

	if (p == NULL)
		return (struct span){ NULL, 0 };
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct span){ p, s.n };
}

static char *
dup_text(struct span s)
{
	return (char *)(uintptr_t)dup_span(s).p;
}

static void
free_span(struct span s)
{
	free((void *)(uintptr_t)s.p);
}

static void
rcpts_free(const struct store_claimed_rcpt *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		free((char *)(uintptr_t)list[i].address);
		free_span(list[i].params);
		free_span(list[i].reply);
	}
	free((void *)(uintptr_t)list);
}

void
claims_free(struct call *c)
{
	struct store_claimed *m;
	size_t i;

	for (i = 0; i < c->nclaimed; i++) {
		m = &c->claimed[i];
		if (m->fd >= 0)
			close(m->fd);
		free((char *)(uintptr_t)m->sender);
		free_span(m->params);
		free((char *)(uintptr_t)m->identity);
		free((char *)(uintptr_t)m->service);
		rcpts_free(m->rcpts, m->nrcpts);
	}
	free(c->claimed);
	rcpts_free(c->rcpts, c->nrcpts);
	c->claimed = NULL;
	c->rcpts = NULL;
	c->nclaimed = c->nrcpts = 0;
}

void
claim_again(struct call *c)
{
	rcpts_free(c->rcpts, c->nrcpts);
	c->rcpts = NULL;
	c->nrcpts = 0;
}

static int
claim_rcpt(struct store *s, struct frame *f)
{
	struct msg_store_claimed_rcpt m;
	struct store_claimed_rcpt *grown, *r;
	struct call *c;

	if (msg_store_claimed_rcpt_decode(f, &m) != 0 || (c = call_find(s, f->id)) == NULL ||
	    c->nrcpts >= STORE_RCPTS_MAX)
		return PT_EPROTO;
	if ((grown = reallocarray(c->rcpts, c->nrcpts + 1, sizeof *grown)) == NULL)
		return PT_ENOMEM;
	c->rcpts = grown;
	r = &grown[c->nrcpts++];
	*r = (struct store_claimed_rcpt){ .number = m.rcpt, .attempts = m.attempts, .address = dup_text(m.address),
		.params = dup_span(m.params), .reply = dup_span(m.reply) };
	return r->address == NULL || r->params.p == NULL || r->reply.p == NULL ? PT_ENOMEM : 0;
}

/* One that came again, because the store process died before it had answered, is the same one. */
static int
hold_new(struct store *s, uint64_t qid, uint32_t lease_s)
{
	struct held *h = held_find(s, qid);

	if (h == NULL) {
		if ((h = calloc(1, sizeof *h)) == NULL)
			return PT_ENOMEM;
		h->qid = qid;
		TAILQ_INSERT_TAIL(&s->held, h, next);
	}
	h->lease_s = lease_s;
	return 0;
}

static int
claim_message(struct store *s, struct frame *f)
{
	struct msg_store_claimed m;
	struct store_claimed *grown, *e;
	struct call *c;

	if (msg_store_claimed_decode(f, &m) != 0 || (c = call_find(s, f->id)) == NULL)
		return PT_EPROTO;
	if ((grown = reallocarray(c->claimed, c->nclaimed + 1, sizeof *grown)) == NULL || hold_new(s, m.qid, c->lease_s) != 0)
		return PT_ENOMEM;
	c->claimed = grown;
	e = &grown[c->nclaimed++];
	*e = (struct store_claimed){ .qid = m.qid, .received = (int64_t)m.received, .size = m.octets,
		.sender = dup_text(m.sender), .params = dup_span(m.params), .identity = dup_text(m.identity),
		.service = dup_text(m.service), .rcpts = c->rcpts, .nrcpts = c->nrcpts, .fd = frame_take_fd(f) };
	c->rcpts = NULL;
	c->nrcpts = 0;
	return e->sender == NULL || e->params.p == NULL || e->identity == NULL || e->service == NULL ? PT_ENOMEM : 0;
}

const struct answer queue_answers[QUEUE_ANSWERS] = {
	{ MSG_T_STORE_CLAIMED_RCPT, claim_rcpt },
	{ MSG_T_STORE_CLAIMED, claim_message },
};
