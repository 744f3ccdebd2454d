/* store/server_queue.c - what is queued: messages for it, what attempts came to, and claims. */
#include "store/server_impl.h"

#include <stdlib.h>
#include <string.h>

/* --- parts of transactions ----------------------------------------------------------------------------------- */

/* A string from outside, or the transaction is wrong. Owned. */
static char *
string(struct peer *p, struct span s, bool ok)
{
	char *text = ok ? strndup(s.n > 0 ? (const char *)s.p : "", s.n) : NULL;

	if (text == NULL)
		p->tbad = true;
	return text;
}

int
on_queue(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_queue m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_queue_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_QUEUE, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	if ((op->queued = mb_queued_new()) == NULL) {
		op->kind = MB_PUT; /* of no use, and refused with the rest */
		p->tbad = true;
		return 0;
	}
	op->queued->sender = string(p, m.sender, queue_address_ok(m.sender));
	op->queued->params = string(p, m.params, queue_text_ok(m.params, STORE_PARAMS_MAX));
	op->queued->identity = string(p, m.identity, queue_address_ok(m.identity));
	op->queued->service = string(p, m.service, queue_service_ok(m.service));
	op->queued->due = m.due > INT64_MAX ? 0 : (int64_t)m.due;
	return peer_part_body(p, op, m.in_file, m.body);
}

int
on_queue_rcpt(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_queue_rcpt m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_queue_rcpt_decode(f, &m) != 0 || p->t == NULL || p->tid != f->id || p->t->nops == 0 ||
	    (p->toctets += f->len) > STORE_TXN_OCTETS_MAX)
		return PT_EPROTO;
	op = &p->t->ops[p->t->nops - 1];
	if (op->queued == NULL)
		return p->tbad ? 0 : PT_EPROTO;
	if (!queue_address_ok(m.address) || m.address.n == 0 || !queue_text_ok(m.params, STORE_PARAMS_MAX)) {
		p->tbad = true;
		return 0;
	}
	rc = mb_queued_rcpt(op->queued, m.address, m.params);
	if (rc == PT_ENOMEM)
		p->tbad = true;
	return rc == PT_ENOMEM ? 0 : rc == PT_ETOOBIG ? PT_EPROTO : 0;
}

int
on_outcome(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_outcome m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_outcome_decode(f, &m) != 0 || m.state >= STORE_RCPT_STATE_COUNT)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_OUTCOME, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	op->outcome = (struct mb_outcome){ .qid = m.qid, .rcpt = m.rcpt, .attempt = m.attempt,
		.state = (enum store_rcpt_state)m.state, .next = m.next > INT64_MAX ? INT64_MAX : (int64_t)m.next };
	op->outcome.reply = string(p, m.reply, queue_text_ok(m.reply, STORE_OUTCOME_MAX));
	return 0;
}

/* --- claims --------------------------------------------------------------------------------------------------- */

static void
send_rcpt(struct request *q, const struct queue_entry *e, uint32_t i)
{
	const struct queue_rcpt *r = &e->rcpts[i];
	struct msg_store_claimed_rcpt m = { .rcpt = i, .attempts = r->attempts, .address = span_str(r->address),
		.params = span_str(r->params), .reply = span_str(r->reply) };
	struct frame f;

	PT_ASSERT(msg_store_claimed_rcpt_encode(&m, q->id, &f) == 0);
	peer_send(q->peer, &f, -1);
}

static void
claimed(void *arg, const struct queue_entry *e, int64_t now, int fd)
{
	struct request *q = arg;
	struct msg_store_claimed m = { .qid = e->qid, .received = (uint64_t)e->received, .octets = e->octets,
		.sender = span_str(e->sender), .params = span_str(e->params), .identity = span_str(e->identity),
		.service = span_str(e->service) };
	struct frame f;
	uint32_t i;

	if (q->peer == NULL)
		return; /* and what it had claimed is free again */
	for (i = 0; i < e->nrcpts; i++)
		if (queue_rcpt_due(&e->rcpts[i], now))
			send_rcpt(q, e, i);
	PT_ASSERT(msg_store_claimed_encode(&m, q->id, &f) == 0);
	peer_send(q->peer, &f, fd);
}

static void
claim_done(void *arg)
{
	struct request *q = arg;

	if (q->peer != NULL) {
		q->peer->claiming = false;
		reply_rc(q->peer, q->id, STORE_OK, "");
		peer_watch_again(q->peer);
	}
	request_free(&q);
}

int
on_claim(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	struct msg_store_claim m;
	struct request *q;

	if (msg_store_claim_decode(f, &m) != 0 || m.max == 0 || m.max > STORE_CLAIM_MAX || m.lease_s == 0 ||
	    m.lease_s > STORE_LEASE_MAX_S)
		return PT_EPROTO;
	/* each answer may be a thousand frames, and the channel holds some thousands */
	if (p->claiming || (q = request_new(p, f->id)) == NULL) {
		reply_rc(p, f->id, STORE_TEMP, p->claiming ? "one claim at a time" : "");
		return 0;
	}
	p->claiming = true;
	mb_claim(s->mbs, p, m.max, m.lease_s, claimed, claim_done, q);
	return 0;
}

int
on_hold(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct msg_store_hold m;

	if (msg_store_hold_decode(f, &m) != 0 || m.lease_s > STORE_LEASE_MAX_S)
		return PT_EPROTO;
	mb_hold(s->mbs, peer, m.qid, m.lease_s);
	return 0;
}
