/* proc/conn_deliver.c - messages on their way into the store: a body that is being received, and the transaction that
 * makes it somebody's mail. */
#include "proc/conn_mail_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* So long a message may wait to begin while the store process starts again: that takes some 20 ms, and a client that is refused
 * (451) tries again in minutes. Its sender waits, and nobody else. */
#define STORE_ABSENCE_MAX_MS 5000

/* A commit under way. It outlives its connection. */
struct delivery {
	struct worker *worker;
	struct mail *mail;          /* NULL: nobody waits for the answer any more */
	struct store_blob *body;    /* owned */
	struct mail_rcpt *rcpts;    /* owned, taken from the transaction */
	enum ask_result *results;   /* one for each */
	size_t n, at;               /* at: the recipient whose own transaction is under way */
	bool each;                  /* results may differ */
	bool apart;                 /* one transaction for each recipient, because one for all was refused */
	bool pending;               /* a transaction's result is to come */
	bool inside;                /* store_commit() is being called */
	enum store_rc rc;           /* of the last transaction */
	char id[ASK_ID_MAX + 1];
};

/* --- a body ----------------------------------------------------------------------------------- */

static enum ask_result
write_result(int rc)
{
	return rc == PT_EFULL ? ASK_FULL : ASK_TEMP;
}

/* Passes octets on; what the store does not take yet waits here, and the sink has no room until it has. */
static void
pass_on(struct mail *m, const uint8_t *p, size_t n)
{
	int rc;

	if (m->failed != ASK_OK)
		return; /* what cannot be kept need not be: the commit will say so */
	rc = store_blob_write(m->body, p, n);
	if (rc == PT_EAGAIN)
		rc = buf_append(&m->waiting, p, n);
	if (rc != 0)
		m->failed = write_result(rc);
}

/* The store's file is there. */
static void
body_ready(void *arg)
{
	struct mail *m = arg;
	struct span s = buf_span(&m->waiting);
	struct conn *c;
	int rc = m->failed == ASK_OK ? store_blob_write(m->body, s.p, s.n) : 0;

	if (rc == PT_EAGAIN) {
		store_blob_ready(m->body, body_ready, m);
		return;
	}
	if (rc != 0)
		m->failed = write_result(rc);
	buf_fini(&m->waiting);
	worker_store_asked(m->conn->worker->store);
	if (m->inside)
		return;
	c = m->conn;
	if (m->committing != NULL)
		mail_commit(m, m->committing);
	conn_wake(c);
}

static size_t
sink_room(void *arg)
{
	const struct mail *m = arg;

	return buf_size(&m->waiting) > 0 ? 0 : ASK_SINK_ROOM_MIN;
}

static void
sink_put(void *arg, const uint8_t *p, size_t n)
{
	struct mail *m = arg;
	bool waited = buf_size(&m->waiting) > 0;

	if (waited) {
		if (m->failed == ASK_OK && buf_append(&m->waiting, p, n) != 0)
			m->failed = ASK_TEMP;
		return;
	}
	pass_on(m, p, n);
	if (buf_size(&m->waiting) > 0) {
		m->inside = true; /* it may call back before it returns */
		store_blob_ready(m->body, body_ready, m);
		m->inside = false;
	}
	worker_store_asked(m->conn->worker->store);
}

static void
sink_drop(void *arg)
{
	struct mail *m = arg;

	store_blob_free(&m->body);
	buf_fini(&m->waiting);
}

/* Time, worker and a number: no two messages of one server have the same, also behind a restart. */
static void
make_id(struct mail *m, int64_t now_s)
{
	struct worker *w = m->conn->worker;

	snprintf(m->id, sizeof m->id, "%08" PRIx64 "-%02x-%08" PRIx64, (uint64_t)now_s, w->slot,
		(w->message_seed + ++w->messages) & UINT64_C(0xffffffff));
}

/* The message begins, where there is a store. */
static void
body_begin(struct mail *m)
{
	static const struct ask_sink_ops sink = { sink_room, sink_put, sink_drop };
	struct ask_reply reply = { .result = ASK_TEMP, .now_s = (int64_t)time(NULL) };
	struct worker *w = m->conn->worker;

	PT_ASSERT(m->body == NULL);
	if (store_attached(worker_store(w->store)) &&
	    (m->body = store_blob_new(worker_store(w->store), m->declared)) != NULL) {
		make_id(m, reply.now_s);
		m->failed = ASK_OK;
		reply.result = ASK_OK;
		reply.sink = (struct ask_sink){ &sink, m };
		reply.id = m->id;
	}
	mail_reply(m, &reply);
}

/* The store is there again, or has been away for too long. */
static void
absence_over(void *arg)
{
	struct mail *m = arg;
	struct conn *c = m->conn;

	body_begin(m);
	conn_wake(c);
}

void
mail_body(struct mail *m, const struct ask *ask)
{
	struct worker *w = m->conn->worker;

	m->declared = ask->envelope->declared;
	if (store_attached(worker_store(w->store)))
		body_begin(m);
	else
		worker_store_wait(w->store, &m->absent, STORE_ABSENCE_MAX_MS, absence_over, m);
}

/* --- a commit --------------------------------------------------------------------------------- */

static void
delivery_free(struct delivery *d)
{
	size_t i;

	for (i = 0; i < d->n; i++)
		free(d->rcpts[i].users);
	free(d->rcpts);
	free(d->results);
	store_blob_free(&d->body);
	free(d);
}

static enum ask_result
result_of(enum store_rc rc)
{
	switch (rc) {
	case STORE_OK:
		return ASK_OK;
	case STORE_FULL:
		return ASK_FULL;
	case STORE_OVERQUOTA:
		return ASK_OVERQUOTA;
	case STORE_NOTFOUND:
		return ASK_UNKNOWN;
	default:
		return ASK_TEMP;
	}
}

/* Whether the user is reached by one of the recipients from 'from' on, before the user'th of the rcpt'th. */
static bool
reached(const struct delivery *d, size_t from, size_t rcpt, size_t user)
{
	const char *name = d->rcpts[rcpt].users[user].user;
	size_t i, k;

	for (i = from; i <= rcpt; i++)
		for (k = 0; k < (i < rcpt ? d->rcpts[i].n : user); k++)
			if (strcmp(d->rcpts[i].users[k].user, name) == 0)
				return true;
	return false;
}

static void committed(void *arg, enum store_rc rc, struct store_reply *r);

/* One transaction for the recipients from 'from' up to 'to': each user that they reach gets the message once. false: its
 * result is there already, in d->rc. */
static bool
submit(struct delivery *d, size_t from, size_t to)
{
	struct store_txn *txn = store_txn_new(worker_store(d->worker->store));
	size_t i, k;
	int rc = 0;

	d->rc = STORE_TEMP;
	if (txn == NULL)
		return false;
	for (i = from; i < to && rc == 0; i++)
		for (k = 0; k < d->rcpts[i].n && rc == 0; k++)
			if (!reached(d, from, i, k))
				rc = store_txn_add(txn, d->rcpts[i].users[k].user, NULL, d->body, NULL, 0,
					d->rcpts[i].users[k].quota);
	d->pending = d->inside = true;
	store_commit(&txn, committed, d); /* may call back before it returns */
	d->inside = false;
	worker_store_asked(d->worker->store);
	return d->pending;
}

static void
all_results(struct delivery *d, enum ask_result result)
{
	size_t i;

	for (i = 0; i < d->n; i++)
		d->results[i] = result;
}

/* What a transaction came to. true: so all results are there. One for all may be refused because of one of them:
 * where each recipient hears for himself, each is tried then. */
static bool
settled(struct delivery *d)
{
	if (d->apart) {
		d->results[d->at++] = result_of(d->rc);
		return d->at == d->n;
	}
	if (d->each && d->n > 1 && (d->rc == STORE_OVERQUOTA || d->rc == STORE_NOTFOUND)) {
		d->apart = true;
		return false;
	}
	all_results(d, result_of(d->rc));
	return true;
}

/* Transactions, as long as their results come at once. true: all results are there. */
static bool
proceed(struct delivery *d)
{
	do {
		if (submit(d, d->at, d->apart ? d->at + 1 : d->n))
			return false;
	} while (!settled(d));
	return true;
}

/* All results are there: the engine hears of them, or nobody does. */
static void
finish(struct delivery *d)
{
	const struct ask_reply reply = { .result = d->results[0], .each = d->results };

	if (d->mail != NULL) {
		d->mail->delivery = NULL;
		mail_reply(d->mail, &reply);
	} else {
		log_msg(d->results[0] == ASK_OK ? LOG_L_INFO : LOG_L_NOTICE,
			"message %s: %s; its client had gone before it could be told", d->id,
			d->results[0] == ASK_OK ? "accepted" : "not kept");
	}
	delivery_free(d);
}

static void
committed(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct delivery *d = arg;
	struct conn *c = d->mail != NULL ? d->mail->conn : NULL;

	if (rc != STORE_OK && rc != STORE_OVERQUOTA && rc != STORE_FULL)
		log_msg(LOG_L_WARNING, "message %s: the store says: %s%s%.*s", d->id, store_rc_text(rc),
			r->text.n > 0 ? ": " : "", (int)r->text.n, r->text.n > 0 ? (const char *)r->text.p : "");
	d->rc = rc;
	d->pending = false;
	if (d->inside || (!settled(d) && !proceed(d)))
		return;
	finish(d);
	if (c != NULL)
		conn_wake(c);
}

static struct delivery *
delivery_new(struct mail *m, const struct ask_envelope *envelope)
{
	struct delivery *d = calloc(1, sizeof *d);

	if (d == NULL || (d->results = calloc(m->nrcpts, sizeof *d->results)) == NULL) {
		free(d);
		return NULL;
	}
	d->worker = m->conn->worker;
	d->mail = m;
	d->body = m->body;
	d->rcpts = m->rcpts;
	d->n = m->nrcpts;
	d->each = envelope->each;
	strcpy(d->id, m->id);
	m->body = NULL;
	m->rcpts = NULL;
	m->nrcpts = m->room = 0;
	return d;
}

void
mail_commit(struct mail *m, const struct ask_envelope *envelope)
{
	struct ask_reply reply = { .result = m->failed };

	PT_ASSERT(m->body != NULL && m->nrcpts == envelope->nrecipients);
	m->committing = NULL;
	if (reply.result == ASK_OK && buf_size(&m->waiting) > 0) {
		m->committing = envelope;
		return;
	}
	if (reply.result == ASK_OK && (m->delivery = delivery_new(m, envelope)) == NULL)
		reply.result = ASK_TEMP;
	if (reply.result == ASK_OK) {
		if (proceed(m->delivery)) /* else the answer comes by committed() */
			finish(m->delivery);
		return;
	}
	store_blob_free(&m->body);
	mail_reply(m, &reply);
}

void
mail_abandon(struct mail *m)
{
	worker_store_wait_end(&m->absent);
	store_blob_free(&m->body);
	m->committing = NULL;
	if (m->delivery != NULL)
		m->delivery->mail = NULL;
	m->delivery = NULL;
}
