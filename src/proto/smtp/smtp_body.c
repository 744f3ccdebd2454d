/* proto/smtp/smtp_body.c - a message streams past: from the caller's buffer into its sink, with our trace
 * in front and what submission adds at the end of its header.
 *
 * A message that will not be kept is read to its end all the same, so that the client comes to hear why. */
#include "proto/smtp/smtp_impl.h"

#include "mail/mail_from.h"
#include "mail/mail_trace.h"
#include "util/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(MAIL_TRACE_MAX + sizeof(((struct mail_header *)0)->held) < ASK_SINK_ROOM_MIN,
	       "what we add fits, and input behind it");

/* --- the sink --------------------------------------------------------------------------------- */

static void
sink_drop(struct smtp_body *b)
{
	if (b->sink.ops == NULL)
		return;
	b->sink.ops->drop(b->sink.arg);
	b->sink.ops = NULL;
}

static void
sink_put(struct smtp_body *b, struct span s)
{
	if (b->sink.ops == NULL || s.n == 0)
		return;
	b->sink.ops->put(b->sink.arg, s.p, s.n);
	b->put += s.n;
}

void
smtp_body_free(struct smtp_body **body)
{
	if (*body == NULL)
		return;
	sink_drop(*body);
	free(*body);
	*body = NULL;
}

/* It will not be kept; the first reason counts. */
static void
spoil(struct smtp_body *b, enum smtp_text why)
{
	if (b->refusal == SMTP_TX_NONE)
		b->refusal = why;
	sink_drop(b);
}

bool
smtp_body_stalled(const struct smtp_engine *e)
{
	const struct smtp_body *b = e->tx != NULL ? e->tx->body : NULL;

	return b != NULL && (e->state == SMTP_ST_DATA || e->state == SMTP_ST_CHUNK) &&
	       b->sink.ops != NULL && b->sink.ops->room(b->sink.arg) == 0;
}

/* A client that sends an octet now and then would hold a body for ever: being idle is not all that is bounded. */
uint64_t
smtp_body_deadline(struct smtp_engine *e, uint64_t now_ms)
{
	struct smtp_body *b = e->tx != NULL ? e->tx->body : NULL;
	bool stalled = smtp_body_stalled(e);

	if (b == NULL || b->deadline_ms == UINT64_MAX || e->tx_over)
		return UINT64_MAX;
	if (stalled && b->stalled_ms == UINT64_MAX) {
		b->stalled_ms = now_ms;
	} else if (!stalled && b->stalled_ms != UINT64_MAX) {
		b->deadline_ms += now_ms - b->stalled_ms;
		b->stalled_ms = UINT64_MAX;
	}
	return stalled ? UINT64_MAX : b->deadline_ms;
}

/* --- it begins -------------------------------------------------------------------------------- */

void
smtp_body_ask(struct smtp_engine *e, bool chunks)
{
	struct smtp_tx *tx = e->tx;

	PT_ASSERT(tx->body == NULL && tx->envelope.nrecipients > 0);
	if ((tx->body = malloc(sizeof(*tx->body))) == NULL) {
		smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
		return;
	}
	memset(tx->body, 0, offsetof(struct smtp_body, header));
	tx->body->refusal = SMTP_TX_NONE;
	tx->body->deadline_ms = tx->body->stalled_ms = UINT64_MAX;
	tx->body->chunks = chunks;
	smtp_data_init(&tx->body->data, !chunks);
	mail_header_init(&tx->body->header, e->kind == SMTP_KIND_SUBMISSION);
	e->ask = (struct ask){ .envelope = &tx->envelope };
	smtp_ask(e, ASK_BODY);
}

/* RFC 3848 §1, RFC 6531 §4.3, RFC 5321 §4.4. */
static const char *
with(const struct smtp_engine *e, char *out, size_t cap)
{
	bool utf8 = e->tx->envelope.utf8;

	if (!e->esmtp)
		return "SMTP";
	snprintf(out, cap, "%s%s%s%s", utf8 ? "UTF8" : e->kind == SMTP_KIND_LMTP ? "" : "E",
		 e->kind == SMTP_KIND_LMTP ? "LMTP" : "SMTP", e->peer->tls ? "S" : "",
		 e->user != NULL ? "A" : "");
	return out;
}

static int
trace(struct smtp_engine *e, struct buf *out)
{
	const struct ask_envelope *env = &e->tx->envelope;
	const struct smtp_body *b = e->tx->body;
	char protocol[16];
	struct mail_trace t = {
		.helo = span_str(e->helo), .address = e->peer->address,
		.hostname = e->conf->hostname, .with = with(e, protocol, sizeof(protocol)),
		.id = b->id, .user = e->user, .mechanism = e->mechanism, .utf8 = env->utf8,
		.tls_suite = e->peer->tls ? e->peer->tls_suite : NULL,
		.tls_group = e->peer->tls ? e->peer->tls_group : NULL,
		.tls_version = e->peer->tls_version, .now_s = b->now_s,
	};
	int rc;

	if (env->nrecipients == 1)
		t.recipient = env->recipients[0];
	/* each delivery of ours is the last one (RFC 5321 §4.4) */
	if ((rc = mail_trace_return_path(out, env->sender)) != 0)
		return rc;
	return mail_trace_received(out, &t);
}

/* Puts what one function appends into the sink. */
static void
put_made(struct smtp_engine *e, int (*make)(struct smtp_engine *e, struct buf *out))
{
	struct buf out;
	int rc;

	buf_init(&out, MAIL_TRACE_MAX);
	rc = make(e, &out);
	sink_put(e->tx->body, buf_span(&out));
	buf_fini(&out);
	smtp_said(e, rc);
}

static enum smtp_text
body_text(enum ask_result result)
{
	PT_ASSERT(result == ASK_TEMP || result == ASK_FULL);
	return result == ASK_FULL ? SMTP_TX_FULL : SMTP_TX_COMMIT_LATER;
}

void
smtp_body_reply(struct smtp_engine *e, const struct ask_reply *reply, uint64_t now_ms)
{
	struct smtp_body *b = e->tx->body;
	bool chunks = b->chunks;

	if (reply->result == ASK_OK) {
		PT_ASSERT(reply->sink.ops != NULL && strlen(reply->id) <= ASK_ID_MAX);
		b->sink = reply->sink;
		b->now_s = reply->now_s;
		strcpy(b->id, reply->id);
		if (e->smtp->message_timeout_ms > 0)
			b->deadline_ms = now_ms + e->smtp->message_timeout_ms;
		put_made(e, trace);
	} else {
		smtp_body_free(&e->tx->body); /* the recipients stay: DATA may be tried again */
	}
	if (chunks) {
		if (reply->result != ASK_OK)
			e->chunk_refusal = (uint8_t)body_text(reply->result);
		smtp_chunk_begin(e);
	} else if (reply->result == ASK_OK) {
		smtp_enter(e, SMTP_ST_DATA);
		smtp_say(e, SMTP_TX_GO_ON);
	} else {
		smtp_note(e, NOTE_DISCARDED, body_text(reply->result))->envelope = &e->tx->envelope;
		smtp_say(e, body_text(reply->result));
	}
}

/* --- its end ---------------------------------------------------------------------------------- */

/* One reply for the message; in LMTP one for each recipient that was taken (RFC 2033 §4.2), and as many as there
 * are have room at once. */
static void
room_for(struct smtp_engine *e, size_t replies)
{
	size_t max = ENGINE_OUTPUT_MAX + replies * SMTP_REPLY_MAX;

	if (max > e->out.max)
		e->out.max = max;
}

static void
say_result(struct smtp_engine *e, const enum smtp_text *texts, size_t n)
{
	size_t i;

	room_for(e, n);
	for (i = 0; i < n; i++)
		smtp_say_about(e, texts[i], span_str(e->tx->body->id));
}

/* each: where LMTP has a reply for each recipient. A message may be refused before it has a body. */
static void
refuse_message(struct smtp_engine *e, enum smtp_text why, bool each)
{
	size_t i, n = each && e->tx->envelope.each ? e->tx->envelope.nrecipients : 1;
	struct note *note = smtp_note(e, NOTE_DISCARDED, why);
	struct smtp_body *b = e->tx->body;

	room_for(e, n);
	note->envelope = &e->tx->envelope;
	if (b != NULL) {
		sink_drop(b);
		note->id = b->id;
		note->octets = b->received;
		note->address = b->denied ? mail_addr_text(&b->addr) : (struct span){ NULL, 0 };
	}
	for (i = 0; i < n; i++)
		smtp_say_about(e, why, span_str(b != NULL ? b->allowed : ""));
	smtp_tx_end(e);
}

static void
commit(struct smtp_engine *e)
{
	struct smtp_body *b = e->tx->body;

	if (b->refusal != SMTP_TX_NONE) {
		refuse_message(e, b->refusal, true);
		return;
	}
	e->ask = (struct ask){ .envelope = &e->tx->envelope, .octets = b->put };
	smtp_ask(e, ASK_COMMIT);
}

/* One mailbox of several was too full. What the client said of the size held, so room was found for it when the recipient
 * was named: others were faster, and the next try refuses that recipient alone. Else there is no saying, so no next try. */
static enum smtp_text
overquota_text(const struct smtp_engine *e)
{
	const struct ask_envelope *env = &e->tx->envelope;

	if (env->each || env->nrecipients == 1)
		return SMTP_TX_OVERQUOTA;
	return env->declared > 0 && env->declared >= e->tx->body->received ? SMTP_TX_OVERQUOTA_NOW : SMTP_TX_OVERQUOTA_SOME;
}

static enum smtp_text
commit_text(const struct smtp_engine *e, enum ask_result result)
{
	switch (result) {
	case ASK_OK:
		return SMTP_TX_ACCEPTED;
	case ASK_TEMP:
		return SMTP_TX_COMMIT_LATER;
	case ASK_FULL:
		return SMTP_TX_FULL;
	case ASK_OVERQUOTA:
		return overquota_text(e);
	default:
		PT_ASSERT(result == ASK_UNKNOWN);
		return SMTP_TX_USER_UNKNOWN;
	}
}

/* What one reply for all recipients says: that it is kept only where it is for each of them. */
static enum smtp_text
one_for_all(const enum smtp_text *texts, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (texts[i] != SMTP_TX_ACCEPTED)
			return texts[i];
	return SMTP_TX_ACCEPTED;
}

void
smtp_body_commit_reply(struct smtp_engine *e, const struct ask_reply *reply)
{
	struct smtp_tx *tx = e->tx;
	size_t i, n = tx->envelope.nrecipients;
	enum smtp_text *texts, one;
	bool any = false;
	struct note *note;

	texts = calloc(n, sizeof(*texts));
	tx->results = calloc(n, sizeof(*tx->results));
	if (texts == NULL || tx->results == NULL) {
		free(texts);
		smtp_finish(e, ENGINE_CLOSE_NO_MEMORY); /* it is kept, and will come again */
		return;
	}
	for (i = 0; i < n; i++) {
		tx->results[i] = reply->each != NULL ? reply->each[i] : reply->result;
		texts[i] = commit_text(e, tx->results[i]);
		any = any || tx->results[i] == ASK_OK;
	}
	one = one_for_all(texts, n);
	note = smtp_note(e, any ? NOTE_MESSAGE : NOTE_DISCARDED, one);
	note->id = tx->body->id;
	note->envelope = &tx->envelope;
	note->results = tx->results;
	note->octets = tx->body->put;
	note->mechanism = e->mechanism;
	if (tx->envelope.each)
		say_result(e, texts, n);
	else
		say_result(e, &one, 1);
	free(texts);
	if (any)
		e->commands = 0;
	smtp_tx_end(e);
}

/* --- who sent it ------------------------------------------------------------------------------ */

static const struct {
	enum smtp_text denied, syntax;
} who_texts[MAIL_FIELD_COUNT] = {
	[MAIL_FIELD_FROM] = { SMTP_TX_FROM_DENIED, SMTP_TX_FROM_SYNTAX },
	[MAIL_FIELD_SENDER] = { SMTP_TX_SENDER_FIELD_DENIED, SMTP_TX_SENDER_FIELD_SYNTAX },
	[MAIL_FIELD_RESENT_FROM] = { SMTP_TX_RESENT_DENIED, SMTP_TX_RESENT_SYNTAX },
	[MAIL_FIELD_RESENT_SENDER] = { SMTP_TX_RESENT_DENIED, SMTP_TX_RESENT_SYNTAX },
};

/* The next address of these fields to b->addr; false when there are no more, or one cannot be read. */
static bool
who_next(struct smtp_body *b)
{
	while (b->who_open || b->who < b->header.nwho) {
		if (!b->who_open)
			b->who_rest = mail_header_who(&b->header, b->who, &b->whose);
		b->who_any = b->who_any && b->who_open;
		b->who_open = true;
		switch (mail_from_next(&b->who_rest, &b->addr)) {
		case MAIL_FROM_ADDR:
			b->who_any = true;
			return true;
		case MAIL_FROM_END:
			b->who_open = false;
			b->who++;
			if (b->who_any) /* a name or a comment alone: who it is would be a claim */
				continue;
			break;
		case MAIL_FROM_BAD:
			break;
		}
		spoil(b, who_texts[b->whose].syntax);
		return false;
	}
	return false;
}

/* Each address of From, Sender, Resent-From and Resent-Sender (RFC 5322 §3.6.2, §3.6.6) must be one that the user may send
 * as, and one that differs from the sender is asked about. true: a question is open. */
static bool
who_ask(struct smtp_engine *e)
{
	struct smtp_body *b = e->tx->body;

	if (b->who_done || !b->header.over || b->refusal != SMTP_TX_NONE)
		return false;
	while (who_next(b)) {
		if (span_equal(mail_addr_text(&b->addr), e->tx->envelope.sender))
			continue;
		if (b->nwho++ == SMTP_WHO_MAX) {
			spoil(b, SMTP_TX_WHO_MANY);
			return false;
		}
		e->ask = (struct ask){ .address = mail_addr_text(&b->addr) };
		smtp_ask(e, ASK_SENDER);
		return true;
	}
	b->who_done = b->refusal == SMTP_TX_NONE;
	return false;
}

/* --- its octets ------------------------------------------------------------------------------- */

/* Submission adds what a message must have (RFC 6409 §8.1-8.3, RFC 5322 §3.6), and the empty line where what
 * follows is none. */
static int
missing(struct smtp_engine *e, struct buf *out)
{
	const struct smtp_body *b = e->tx->body;
	const uint32_t *count = b->header.count;
	struct span sender = e->tx->envelope.sender;
	int rc = 0;

	if (count[MAIL_FIELD_FROM] == 0)
		rc = mail_trace_from(out, sender.n > 0 ? sender : span_str(e->user));
	if (rc == 0 && count[MAIL_FIELD_DATE] == 0)
		rc = mail_trace_date(out, b->now_s);
	if (rc == 0 && count[MAIL_FIELD_MESSAGE_ID] == 0)
		rc = mail_trace_message_id(out, b->id, e->conf->hostname);
	return rc;
}

static int
line_end(struct smtp_engine *e, struct buf *out)
{
	(void)e;
	return buf_append_str(out, "\r\n");
}

/* The header has ended; next: the octet behind it, '\r' when that is the empty line. */
static void
header_end(struct smtp_engine *e, uint8_t next)
{
	struct smtp_body *b = e->tx->body;

	b->header.over = true;
	b->who_done = b->header.nwho == 0 && !b->header.who_long;
	if (b->header.count[MAIL_FIELD_RECEIVED] > SMTP_HOPS_MAX)
		spoil(b, SMTP_TX_LOOP);
	if (e->kind != SMTP_KIND_SUBMISSION)
		return;
	/* which one a reader shows is its own choice (RFC 5322 §3.6) */
	if (b->header.count[MAIL_FIELD_FROM] > 1)
		spoil(b, SMTP_TX_FROM_TWICE);
	if (b->header.count[MAIL_FIELD_SENDER] > 1)
		spoil(b, SMTP_TX_SENDER_FIELD_TWICE);
	if (b->header.who_long)
		spoil(b, SMTP_TX_WHO_MANY);
	if (mail_header_open(&b->header)) /* what we add is no part of that field */
		put_made(e, line_end);
	put_made(e, missing);
	if (next != '\r')
		put_made(e, line_end);
}

/* Text of the message, without dots; it does not end in a CR. */
static void
text(struct smtp_engine *e, struct span s)
{
	struct smtp_body *b = e->tx->body;
	struct span held, rest;
	size_t used;
	bool over;

	if (s.n == 0 || b->refusal != SMTP_TX_NONE)
		return;
	if (!b->header.over) {
		over = mail_header_walk(&b->header, s, &held, &rest, &used);
		sink_put(b, held);
		sink_put(b, rest);
		if (!over)
			return;
		s.p += used;
		s.n -= used;
		rest = mail_header_rest(&b->header);
		header_end(e, rest.n > 0 ? rest.p[0] : s.p[0]);
		sink_put(b, rest);
	}
	sink_put(b, s);
}

static enum smtp_text
spoilt_text(enum smtp_spoilt why)
{
	static const enum smtp_text texts[] = {
		[SMTP_SPOILT_NOT] = SMTP_TX_NONE,     [SMTP_SPOILT_LF] = SMTP_TX_BODY_LF,
		[SMTP_SPOILT_CR] = SMTP_TX_BODY_CR,   [SMTP_SPOILT_NUL] = SMTP_TX_BODY_NUL,
		[SMTP_SPOILT_LONG] = SMTP_TX_BODY_LONG,
	};

	return texts[why];
}

/* The last octet has come. */
static void
complete(struct smtp_engine *e)
{
	struct smtp_body *b = e->tx->body;

	b->complete = true;
	smtp_data_finish(&b->data);
	if (b->data.spoilt != SMTP_SPOILT_NOT)
		spoil(b, spoilt_text((enum smtp_spoilt)b->data.spoilt));
	if (!b->header.over && b->refusal == SMTP_TX_NONE) { /* it is all header, but for what is none */
		header_end(e, mail_header_rest(&b->header).n > 0 ? 'x' : '\r');
		sink_put(b, mail_header_rest(&b->header));
	}
	if (!who_ask(e))
		commit(e);
}

/* Limits of what came in; false when it is cut off. */
static bool
within_limits(struct smtp_engine *e)
{
	uint64_t max = e->smtp->max_message_octets;
	struct smtp_body *b = e->tx->body;

	if (max == 0 || b->received <= max)
		return true;
	spoil(b, SMTP_TX_TOO_BIG);
	if (b->received - max <= SMTP_SWALLOW_MAX)
		return true;
	refuse_message(e, SMTP_TX_TOO_BIG, true);
	smtp_finish(e, ENGINE_CLOSE_TOO_MUCH);
	return false;
}

/* Octets of a message that a sink has room for; what is added on the way fits behind them. */
static size_t
room(const struct smtp_body *b, size_t len)
{
	size_t n;

	if (b->sink.ops == NULL)
		return len;
	if ((n = b->sink.ops->room(b->sink.arg)) == 0)
		return 0;
	PT_ASSERT(n >= ASK_SINK_ROOM_MIN);
	n -= MAIL_TRACE_MAX;
	return len < n ? len : n;
}

/* One step through in. Returns the octets taken. */
static size_t
stream(struct smtp_engine *e, struct span in)
{
	struct smtp_body *b = e->tx->body;
	enum smtp_data_step step;
	struct span run;
	size_t used;

	step = smtp_data_next(&b->data, in, &run, &used);
	b->received += b->chunks ? used : run.n; /* dots that were added do not count */
	if (b->data.spoilt != SMTP_SPOILT_NOT)
		spoil(b, spoilt_text((enum smtp_spoilt)b->data.spoilt));
	text(e, run);
	if (e->state == SMTP_ST_CLOSED)
		return used;
	if (step == SMTP_DATA_AMBIGUOUS) {
		refuse_message(e, SMTP_TX_AMBIGUOUS_END, true);
		smtp_finish(e, ENGINE_CLOSE_ERRORS);
	} else if (within_limits(e)) {
		if (step == SMTP_DATA_END)
			complete(e);
		else
			who_ask(e);
	}
	return used;
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* Whether its octets go anywhere. */
static bool
chunk_wanted(const struct smtp_engine *e)
{
	return e->chunk_refusal == SMTP_TX_NONE && e->tx->body->refusal == SMTP_TX_NONE;
}

/* The chunk is read: what is said of it. */
static void
chunk_end(struct smtp_engine *e)
{
	struct smtp_body *b = e->tx != NULL ? e->tx->body : NULL;
	char octets[24];

	if (e->chunk_refusal != SMTP_TX_NONE) {
		if (b != NULL || e->back == SMTP_ST_RCPT) {
			/* the first one, too, ends the message: what stands behind it would become one (RFC 3030 §2) */
			refuse_message(e, (enum smtp_text)e->chunk_refusal, e->chunk_last);
		} else {
			smtp_enter(e, (enum smtp_state)e->back);
			smtp_refuse(e, (enum smtp_text)e->chunk_refusal);
		}
	} else if (e->chunk_last) {
		complete(e);
	} else if (b->refusal != SMTP_TX_NONE) {
		refuse_message(e, b->refusal, false); /* the rest is refused as coming without MAIL */
	} else {
		snprintf(octets, sizeof(octets), "%llu", (unsigned long long)b->received);
		smtp_enter(e, SMTP_ST_BDAT);
		smtp_say_about(e, SMTP_TX_CHUNK_OK, span_str(octets));
	}
}

void
smtp_chunk_begin(struct smtp_engine *e)
{
	if (e->chunk > SMTP_SWALLOW_MAX && e->chunk_refusal != SMTP_TX_NONE) {
		smtp_say_and_finish(e, (enum smtp_text)e->chunk_refusal, ENGINE_CLOSE_TOO_MUCH);
		return;
	}
	e->back = e->state;
	smtp_enter(e, SMTP_ST_CHUNK);
	if (e->chunk == 0)
		chunk_end(e);
}

static void
deny_who(struct smtp_engine *e, struct span allowed)
{
	struct smtp_body *b = e->tx->body;

	if (allowed.n == 0)
		allowed = span_str(e->user);
	allowed = utf8_cut(allowed, SMTP_VALUE_MAX);
	memcpy(b->allowed, allowed.p, allowed.n);
	b->allowed[allowed.n] = '\0';
	b->denied = true;
	spoil(b, who_texts[b->whose].denied);
}

void
smtp_body_sender_reply(struct smtp_engine *e, const struct ask_reply *reply)
{
	struct smtp_body *b = e->tx->body;

	if (reply->result == ASK_TEMP)
		spoil(b, SMTP_TX_ASK_LATER);
	else if (reply->result != ASK_OK)
		deny_who(e, reply->text);
	if (who_ask(e))
		return;
	if (b->complete)
		commit(e);
	else if (e->state == SMTP_ST_CHUNK && e->chunk == 0)
		chunk_end(e);
}

static size_t
chunk_input(struct smtp_engine *e, const uint8_t *buf, size_t len)
{
	size_t n = len < e->chunk ? len : (size_t)e->chunk, used = n;

	if (e->tx != NULL && e->tx->body != NULL && chunk_wanted(e)) {
		if ((n = room(e->tx->body, n)) == 0)
			return 0;
		used = stream(e, (struct span){ buf, n });
	} else if (e->chunk > SMTP_SWALLOW_MAX) { /* spoilt on its way, where a message may have any size */
		refuse_message(e, e->tx->body->refusal, true);
		smtp_finish(e, ENGINE_CLOSE_TOO_MUCH);
		return used;
	}
	e->chunk -= used;
	if (e->chunk == 0 && e->state == SMTP_ST_CHUNK)
		chunk_end(e);
	return used;
}

size_t
smtp_body_input(struct smtp_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t n;

	smtp_idle_start(e, now_ms);
	if (e->state == SMTP_ST_CHUNK)
		return chunk_input(e, buf, len);
	if ((n = room(e->tx->body, len)) == 0)
		return 0;
	return stream(e, (struct span){ buf, n });
}
