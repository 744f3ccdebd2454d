/* proto/smtp/smtp_engine.c - the states of a session: input to commands, questions, time, the end.
 *
 * Input is parsed where the caller has it; only a line that is not complete is copied, and octets of a
 * message go from there into their sink. State changes in smtp_enter() only. */
#include "proto/smtp/smtp_impl.h"

#include "util/log.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct smtp_engine) <= 512, "ten thousand idle sessions live in one worker");

static struct smtp_engine *
self(struct engine *base)
{
	return (struct smtp_engine *)base;
}

void
smtp_enter(struct smtp_engine *e, enum smtp_state state)
{
	static const char *const names[] = {
#define SMTP_STATE_NAME(name) [SMTP_ST_##name] = #name,
		SMTP_STATES(SMTP_STATE_NAME)
#undef SMTP_STATE_NAME
	};

	if (e->state == SMTP_ST_CLOSED)
		return; /* lack of memory may have ended it in the middle of a command */
	log_msg(LOG_L_DEBUG, "smtp: %s to %s", names[e->state], names[state]);
	e->state = (uint8_t)state;
}

enum smtp_state
smtp_ground(const struct smtp_engine *e)
{
	if (e->offer == ENGINE_OFFER_REQUIRED)
		return SMTP_ST_LOCKED;
	return e->helo != NULL ? SMTP_ST_READY : SMTP_ST_START;
}

struct note *
smtp_note(struct smtp_engine *e, enum note_kind kind, enum smtp_text t)
{
	PT_ASSERT((e->want & WANT_NOTE) == 0);
	e->want |= WANT_NOTE;
	e->note = (struct note){ .kind = kind, .user = e->user };
	if (t != SMTP_TX_NONE)
		e->note.reply = smtp_reply_code(t);
	return &e->note;
}

/* A message that had begun and will not be kept. */
static void
note_discarded(struct smtp_engine *e)
{
	struct note *n;

	if (e->tx == NULL || e->tx->body == NULL || e->tx_over || (e->want & WANT_NOTE) != 0)
		return;
	if (e->asked && e->ask.kind == ASK_COMMIT)
		return; /* it is the caller's already, who knows what becomes of it */
	n = smtp_note(e, NOTE_DISCARDED, SMTP_TX_NONE);
	n->id = e->tx->body->id;
	n->envelope = &e->tx->envelope;
	n->octets = e->tx->body->put;
}

/* The session is over: a question is withdrawn, a message under way is dropped. */
void
smtp_finish(struct smtp_engine *e, enum engine_close why)
{
	struct smtp_body *body = e->tx != NULL ? e->tx->body : NULL;

	if (e->state == SMTP_ST_CLOSED)
		return;
	note_discarded(e);
	if (body != NULL && body->sink.ops != NULL) {
		body->sink.ops->drop(body->sink.arg);
		body->sink.ops = NULL;
	}
	e->tx_over = e->tx != NULL;
	e->asked = false;
	e->want = (e->want & (WANT_INJECTION | WANT_NOTE)) | WANT_CLOSE;
	e->why = (uint8_t)why;
	buf_wipe(&e->sasl);
	smtp_enter(e, SMTP_ST_CLOSED);
}

/* More than fits is our own bug: input is not taken above ENGINE_OUTPUT_HIGH, and every reply fits
 * behind that. */
void
smtp_said(struct smtp_engine *e, int rc)
{
	PT_ASSERT(rc == 0 || rc == PT_ENOMEM);
	if (rc != 0)
		smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
}

/* Nothing is said behind a reply that could not be finished. */
void
smtp_say(struct smtp_engine *e, enum smtp_text t)
{
	if (e->state != SMTP_ST_CLOSED)
		smtp_said(e, smtp_reply_text(&e->out, t));
}

void
smtp_say_about(struct smtp_engine *e, enum smtp_text t, struct span value)
{
	bool utf8 = e->tx != NULL && e->tx->envelope.utf8;

	if (e->state != SMTP_ST_CLOSED)
		smtp_said(e, smtp_reply_about(&e->out, t, value, utf8));
}

void
smtp_say_and_finish(struct smtp_engine *e, enum smtp_text t, enum engine_close why)
{
	smtp_say(e, t);
	smtp_finish(e, why);
}

void
smtp_refuse(struct smtp_engine *e, enum smtp_text t)
{
	smtp_refuse_about(e, t, (struct span){ NULL, 0 });
}

void
smtp_refuse_about(struct smtp_engine *e, enum smtp_text t, struct span value)
{
	smtp_say_about(e, t, value);
	e->needed_tls = e->needed_tls || t == SMTP_TX_TLS_FIRST;
	if (smtp_reply_is_permanent(t) && ++e->errors == e->smtp->max_errors)
		smtp_say_and_finish(e, SMTP_TX_ERRORS, ENGINE_CLOSE_ERRORS);
}

void
smtp_ask(struct smtp_engine *e, enum ask_kind kind)
{
	if (e->state == SMTP_ST_CLOSED)
		return;
	e->ask.kind = kind;
	e->ask.user = e->user;
	e->want |= WANT_ASK;
	e->back = e->state;
	smtp_enter(e, SMTP_ST_ASKING);
}

void
smtp_tx_end(struct smtp_engine *e)
{
	if (e->state == SMTP_ST_CLOSED)
		return;
	note_discarded(e);
	if ((e->want & WANT_NOTE) != 0)
		e->tx_over = true;
	else
		smtp_tx_free(&e->tx);
	smtp_enter(e, smtp_ground(e));
	if (e->leaving)
		smtp_say_and_finish(e, SMTP_TX_SHUTDOWN, ENGINE_CLOSE_BYE);
}

void
smtp_idle_start(struct smtp_engine *e, uint64_t now_ms)
{
	uint32_t timeout_ms = e->conf->idle_timeout_ms;

	e->deadline_ms = timeout_ms == 0 ? UINT64_MAX : now_ms + timeout_ms;
}

/* The note about a transaction that is over has been read. */
static void
tx_over(struct smtp_engine *e)
{
	if (!e->tx_over || (e->want & WANT_NOTE) != 0)
		return;
	smtp_tx_free(&e->tx);
	e->tx_over = false;
}

static bool
takes_input(const struct smtp_engine *e)
{
	return e->state <= SMTP_ST_WAITING && (e->want & WANT_NOTE) == 0 && !e->held &&
	       buf_size(&e->out) <= ENGINE_OUTPUT_HIGH;
}

/* --- commands --------------------------------------------------------------------------------- */

/* Why a command that needs a login is refused. */
static enum smtp_text
login_text(const struct smtp_engine *e)
{
	if (!e->peer->tls)
		return e->offer == ENGINE_OFFER_NONE ? SMTP_TX_LOGIN_FIRST : SMTP_TX_TLS_FIRST;
	if (e->unknown_yet)
		return SMTP_TX_AUTH_UNAVAILABLE;
	if (e->peer->identity != NULL && (e->smtp->login & SMTP_LOGIN_CERTIFICATE) != 0)
		return SMTP_TX_LOGIN_UNMAPPED;
	return smtp_reply_login(e->peer, e->smtp->login & SMTP_LOGIN_CERTIFICATE);
}

/* Why it is refused before it is looked at closely. */
static enum smtp_text
refusal(const struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	enum smtp_kind kind = (enum smtp_kind)e->kind;
	const struct smtp_rule *rule;
	enum smtp_text t = smtp_rule_refusal(kind, cmd->verb, (enum smtp_state)e->state);

	if (t == SMTP_TX_FIRST_RCPT && e->state == SMTP_ST_MAIL && e->tx->refused &&
	    kind != SMTP_KIND_LMTP) /* where RFC 2033 §4.2 wants 503 */
		return SMTP_TX_NO_RECIPIENTS;
	if (t != SMTP_TX_NONE || cmd->verb == SMTP_V_UNKNOWN)
		return t;
	rule = smtp_rule_get(kind, cmd->verb);
	if (cmd->verb == SMTP_V_STARTTLS && e->offer == ENGINE_OFFER_NONE)
		return e->peer->tls ? SMTP_TX_TLS_UP : SMTP_TX_TLS_NOT_OFFERED;
	if ((rule->flags & SMTP_R_LOGIN) != 0 && e->user == NULL)
		return login_text(e);
	return rule->check(cmd);
}

/* Commands that lead nowhere are bounded where nobody is known to answer for them. */
static bool
too_many(struct smtp_engine *e)
{
	if (e->user != NULL || e->smtp->max_commands == 0 || e->commands++ < e->smtp->max_commands)
		return false;
	smtp_say_and_finish(e, SMTP_TX_COMMANDS, ENGINE_CLOSE_TOO_MUCH);
	return true;
}

/* Behind such a line a chunk comes of which nobody knows where it ends: not one octet of it may be read as a command, as
 * who wrote the message would have written that, too (smuggling). */
static void
lost(struct smtp_engine *e, enum smtp_text why)
{
	enum smtp_text t = e->state == SMTP_ST_LOCKED ? SMTP_TX_TLS_FIRST : why;

	e->needed_tls = e->needed_tls || t == SMTP_TX_TLS_FIRST;
	smtp_say_and_finish(e, t, ENGINE_CLOSE_ERRORS);
}

/* One command. more: octets stand behind its line in the same offer. */
static void
run(struct smtp_engine *e, const struct smtp_cmd *cmd, bool more)
{
	enum smtp_text t = refusal(e, cmd);
	const struct smtp_rule *rule;

	if (too_many(e))
		return;
	rule = cmd->verb == SMTP_V_UNKNOWN ? NULL : smtp_rule_get((enum smtp_kind)e->kind, cmd->verb);
	if (t != SMTP_TX_NONE && rule != NULL && (rule->flags & SMTP_R_ALWAYS) != 0) {
		e->chunk_refusal = (uint8_t)t;
		if ((t = rule->check(cmd)) == SMTP_TX_NONE)
			rule->act(e, cmd);
		else
			lost(e, t);
		return;
	}
	if (t != SMTP_TX_NONE) {
		smtp_refuse(e, t);
		return;
	}
	if ((rule->flags & SMTP_R_LAST) != 0 && more) {
		/* Sent before our reply: plaintext that would pose as what came inside TLS. It is
		 * never read, and TLS never begins (RFC 3207 §4.2, CVE-2011-0411). */
		e->want |= WANT_INJECTION;
		smtp_say_and_finish(e, SMTP_TX_INJECTION, ENGINE_CLOSE_INJECTION);
		return;
	}
	e->chunk_refusal = SMTP_TX_NONE;
	rule->act(e, cmd);
}

/* --- a certificate whose user could not be looked up ------------------------------------------- */

/* Who knows the users was away when the session began. Before a command that a login matters to it is asked again, so that
 * a client that came in such a moment need not connect anew. */
static bool
asks_again(const struct smtp_engine *e, const struct smtp_cmd *cmd)
{
	enum smtp_kind kind = (enum smtp_kind)e->kind;
	struct span name, initial;

	if (!e->unknown_yet || e->user != NULL || e->identities == SMTP_IDENTITIES_MAX)
		return false;
	if (smtp_rule_refusal(kind, cmd->verb, (enum smtp_state)e->state) != SMTP_TX_NONE ||
	    smtp_rule_get(kind, cmd->verb)->check(cmd) != SMTP_TX_NONE)
		return false;
	if (cmd->verb == SMTP_V_AUTH)
		return smtp_auth_read(cmd->arg, &name, &initial) && span_is_nocase(name, "EXTERNAL");
	return cmd->verb == SMTP_V_EHLO || cmd->verb == SMTP_V_MAIL;
}

static void
identity_ask(struct smtp_engine *e)
{
	e->ask = (struct ask){ .address = span_str(e->peer->identity) };
	smtp_ask(e, ASK_IDENTITY);
}

/* line: all of the command, which waits for the answer. */
static void
hold(struct smtp_engine *e, struct span line)
{
	int rc = buf_append(&e->in, line.p, line.n);

	smtp_said(e, rc);
	if (rc != 0)
		return;
	e->identities++;
	e->held = true;
	identity_ask(e);
}

/* What belonged to a command that was complete is done: goodbye, where that waited for it. */
static void
settle(struct smtp_engine *e)
{
	if (e->held)
		return;
	if (e->ended && e->state != SMTP_ST_ASKING && e->state != SMTP_ST_CLOSED)
		smtp_finish(e, ENGINE_CLOSE_END_OF_INPUT);
	else if (e->leaving && e->state <= SMTP_ST_SASL && e->state != SMTP_ST_BDAT)
		smtp_say_and_finish(e, SMTP_TX_SHUTDOWN, ENGINE_CLOSE_BYE);
}

/* The answer has come, and the note about it has been read: now the command has its turn. */
static void
run_held(struct smtp_engine *e)
{
	struct buf held = e->in;
	struct span line = buf_span(&held);
	struct smtp_cmd cmd;
	size_t used;

	buf_init(&e->in, SMTP_AUTH_LINE_MAX);
	e->held = false;
	PT_ASSERT(smtp_cmd_parse(line.p, line.n, &cmd, &used) == SMTP_PARSE_OK && used == line.n);
	run(e, &cmd, false);
	buf_fini(&held);
	settle(e);
}

/* --- lines ------------------------------------------------------------------------------------ */

/* A line that is none: answered at once and once, then dropped up to its end. */
static void
run_bad(struct smtp_engine *e, const struct smtp_line *line, struct span in)
{
	static const enum smtp_text texts[] = {
		[SMTP_BAD_LF] = SMTP_TX_BARE_LF,     [SMTP_BAD_CR] = SMTP_TX_BARE_CR,
		[SMTP_BAD_NUL] = SMTP_TX_NUL,        [SMTP_BAD_LONG] = SMTP_TX_TOO_LONG,
		[SMTP_BAD_TEXT] = SMTP_TX_TEXT,      [SMTP_BAD_EMPTY] = SMTP_TX_EMPTY,
	};

	e->skipping = line->open;
	e->skipped = 0;
	if (e->state == SMTP_ST_SASL) {
		buf_wipe(&e->in);
		smtp_auth_fail(e, line->bad == SMTP_BAD_LONG ? SMTP_TX_AUTH_LONG : texts[line->bad]);
		return;
	}
	if (too_many(e))
		return;
	if (smtp_is_bdat(in))
		lost(e, SMTP_TX_BDAT_SYNTAX);
	else
		smtp_refuse(e, texts[line->bad]);
}

/* Drops octets of a bad line up to its LF. Returns how many. */
static size_t
skip(struct smtp_engine *e, const uint8_t *buf, size_t len)
{
	size_t max = SMTP_SKIP_MAX - e->skipped, n = len < max ? len : max;
	const uint8_t *lf = memchr(buf, '\n', n);

	if (lf != NULL) {
		e->skipping = false;
		return (size_t)(lf - buf) + 1;
	}
	e->skipped += (uint32_t)n;
	if (e->skipped == SMTP_SKIP_MAX)
		smtp_say_and_finish(e, SMTP_TX_LINE_ENDLESS, ENGINE_CLOSE_LINE_TOO_LONG);
	return n;
}

/* One line, a command or the response to a challenge. */
static enum smtp_parse
line_run(struct smtp_engine *e, struct span in, bool more, size_t *used, uint64_t now_ms)
{
	bool sasl = e->state == SMTP_ST_SASL;
	struct smtp_cmd cmd;
	enum smtp_parse rc;

	if (sasl)
		rc = smtp_line_parse(in.p, in.n, SMTP_AUTH_LINE_MAX, &cmd.line, used);
	else
		rc = smtp_cmd_parse(in.p, in.n, &cmd, used);
	if (rc == SMTP_PARSE_BAD)
		run_bad(e, &cmd.line, in);
	if (rc != SMTP_PARSE_OK)
		return rc;
	smtp_idle_start(e, now_ms);
	if (sasl)
		smtp_auth_line(e, cmd.line.text);
	else if (asks_again(e, &cmd))
		hold(e, (struct span){ in.p, *used });
	else
		run(e, &cmd, more || *used < in.n);
	return rc;
}

/* A line straight from the caller's buffer. Returns the octets taken (> 0). */
static size_t
line_whole(struct smtp_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t used;

	if (line_run(e, (struct span){ buf, len }, false, &used, now_ms) == SMTP_PARSE_MORE) {
		smtp_said(e, buf_append(&e->in, buf, len));
		return len;
	}
	return used;
}

/* A line whose beginning we hold: takes from the caller what belongs to it, no more. */
static size_t
line_rest(struct smtp_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t room = SMTP_AUTH_LINE_MAX - buf_size(&e->in), n = len < room ? len : room, used;
	const uint8_t *lf = memchr(buf, '\n', n);
	struct buf held;
	struct span line;
	int rc;

	if (lf != NULL)
		n = (size_t)(lf - buf) + 1;
	if ((rc = buf_append(&e->in, buf, n)) != 0) {
		smtp_said(e, rc);
		return n;
	}
	held = e->in; /* the command runs with an empty one: it may be the last of this session */
	buf_init(&e->in, SMTP_AUTH_LINE_MAX);
	line = buf_span(&held);
	switch (line_run(e, line, n < len, &used, now_ms)) {
	case SMTP_PARSE_MORE:
		e->in = held;
		return n;
	case SMTP_PARSE_OK:
		PT_ASSERT(used == line.n);
		break;
	case SMTP_PARSE_BAD:
		/* it may have been bad before its end, which we hold already or which is to come */
		if (e->skipping && used < line.n)
			skip(e, line.p + used, line.n - used);
		break;
	}
	buf_fini(&held);
	return n;
}

/* Spoke before it was greeted: not one octet of it is a command. RFC 5321 §3.1 would have us wait for its QUIT; who does not
 * wait for us is no mail server, and would hold a connection for nothing. */
static size_t
early(struct smtp_engine *e, size_t len)
{
	smtp_note(e, NOTE_EARLY_TALKER, SMTP_TX_EARLY);
	smtp_say_and_finish(e, SMTP_TX_EARLY, ENGINE_CLOSE_EARLY_TALKER);
	return len;
}

static size_t
smtp_input(struct engine *base, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct smtp_engine *e = self(base);
	size_t taken = 0, n;

	tx_over(e);
	while (taken < len && takes_input(e)) {
		if (e->state == SMTP_ST_WAITING)
			n = early(e, len - taken);
		else if (e->skipping)
			n = skip(e, buf + taken, len - taken);
		else if (e->state == SMTP_ST_DATA || e->state == SMTP_ST_CHUNK)
			n = smtp_body_input(e, buf + taken, len - taken, now_ms);
		else if (buf_size(&e->in) > 0)
			n = line_rest(e, buf + taken, len - taken, now_ms);
		else
			n = line_whole(e, buf + taken, len - taken, now_ms);
		if (n == 0) {
			(void)smtp_body_deadline(e, now_ms); /* the sink takes no more now: its clock stands still */
			break;
		}
		taken += n;
	}
	return taken;
}

/* --- output and events ------------------------------------------------------------------------ */

static struct span
smtp_output(const struct engine *base)
{
	struct span s = buf_span(&((const struct smtp_engine *)base)->out);

	if (s.n > ENGINE_OUTPUT_MAX) /* LMTP's replies for many recipients: in pieces */
		s.n = ENGINE_OUTPUT_MAX;
	return s;
}

static void
smtp_output_done(struct engine *base, size_t n)
{
	buf_consume(&self(base)->out, n);
}

static bool
event_take(struct smtp_engine *e, unsigned want)
{
	if ((e->want & want) == 0)
		return false;
	e->want &= (uint8_t)~want;
	return true;
}

static bool
event_next(struct smtp_engine *e, struct engine_event *ev_out)
{
	*ev_out = (struct engine_event){ .type = ENGINE_EV_CLOSE };
	if (event_take(e, WANT_START_TLS)) {
		e->asked = true;
		ev_out->type = ENGINE_EV_START_TLS;
	} else if (event_take(e, WANT_ASK)) {
		e->asked = true;
		ev_out->type = ENGINE_EV_ASK;
		ev_out->ask = &e->ask;
		if (e->ask.kind == ASK_COMMIT)
			e->tx->body->sink.ops = NULL; /* the caller's from here on */
	} else if (event_take(e, WANT_NOTE)) {
		ev_out->type = ENGINE_EV_NOTE;
		ev_out->note = &e->note;
		return true; /* the transaction that it tells of must stay */
	} else if (event_take(e, WANT_INJECTION)) {
		ev_out->type = ENGINE_EV_INJECTION;
	} else if (event_take(e, WANT_CLOSE)) {
		ev_out->why = (enum engine_close)e->why;
		ev_out->needed_tls = e->needed_tls;
	} else {
		ev_out = NULL;
	}
	tx_over(e);
	return ev_out != NULL;
}

static bool
smtp_event(struct engine *base, struct engine_event *ev_out)
{
	struct smtp_engine *e = self(base);

	if (event_next(e, ev_out))
		return true;
	if (!e->held || e->state == SMTP_ST_ASKING || e->state == SMTP_ST_CLOSED)
		return false;
	run_held(e);
	return event_next(e, ev_out);
}

static void
smtp_answer(struct engine *base, enum engine_answer answer, uint64_t now_ms)
{
	struct smtp_engine *e = self(base);

	PT_ASSERT(e->asked && e->state == SMTP_ST_UPGRADING);
	e->asked = false;
	if (answer == ENGINE_ANSWER_OK) {
		smtp_enter(e, SMTP_ST_UPGRADED);
		smtp_say(e, SMTP_TX_GO_AHEAD);
		return;
	}
	PT_ASSERT(answer == ENGINE_ANSWER_UNAVAILABLE);
	smtp_enter(e, smtp_ground(e));
	smtp_idle_start(e, now_ms);
	smtp_say(e, SMTP_TX_TLS_UNAVAILABLE);
}

/* Whether the user that the certificate maps to is one of ours. */
static void
identity_reply(struct smtp_engine *e, const struct ask_reply *reply)
{
	PT_ASSERT(reply->result == ASK_OK || reply->result == ASK_UNKNOWN || reply->result == ASK_TEMP);
	e->certificate = reply->result == ASK_OK;
	e->unknown_yet = reply->result == ASK_TEMP;
	if (!e->certificate)
		return;
	e->mechanism = "certificate";
	if ((e->user = strdup(reply->user)) == NULL)
		smtp_finish(e, ENGINE_CLOSE_NO_MEMORY);
	else
		smtp_note(e, NOTE_LOGIN, SMTP_TX_NONE)->mechanism = e->mechanism;
}

static void
smtp_reply(struct engine *base, const struct ask_reply *reply, uint64_t now_ms)
{
	struct smtp_engine *e = self(base);

	PT_ASSERT(e->asked && e->state == SMTP_ST_ASKING);
	PT_ASSERT((unsigned)reply->result < ASK_RESULT_COUNT);
	e->asked = false;
	smtp_enter(e, (enum smtp_state)e->back);
	smtp_idle_start(e, now_ms);
	switch (e->ask.kind) {
	case ASK_IDENTITY:
		identity_reply(e, reply);
		break;
	case ASK_RECIPIENT:
		smtp_mail_recipient_reply(e, reply);
		break;
	case ASK_SENDER:
		if (e->tx->body == NULL)
			smtp_mail_sender_reply(e, reply);
		else
			smtp_body_sender_reply(e, reply);
		break;
	case ASK_SASL:
		smtp_auth_reply(e, reply);
		break;
	case ASK_BODY:
		smtp_body_reply(e, reply, now_ms);
		break;
	case ASK_COMMIT:
		smtp_body_commit_reply(e, reply);
		break;
	case ASK_KIND_COUNT:
		break;
	}
	settle(e);
}

/* --- time and the end ------------------------------------------------------------------------- */

static uint64_t
smtp_tick(struct engine *base, uint64_t now_ms)
{
	struct smtp_engine *e = self(base);
	uint64_t message_ms;

	if (e->state > SMTP_ST_WAITING)
		return UINT64_MAX;
	message_ms = smtp_body_deadline(e, now_ms);
	if (smtp_body_stalled(e))
		smtp_idle_start(e, now_ms); /* the client waits for us */
	if (now_ms >= message_ms) {
		smtp_say_and_finish(e, SMTP_TX_SLOW, ENGINE_CLOSE_SLOW);
		return UINT64_MAX;
	}
	if (now_ms < e->deadline_ms)
		return message_ms < e->deadline_ms ? message_ms : e->deadline_ms;
	if (e->state == SMTP_ST_WAITING) {
		smtp_enter(e, smtp_ground(e));
		smtp_idle_start(e, now_ms);
		smtp_greet(e);
		return e->deadline_ms;
	}
	smtp_say_and_finish(e, SMTP_TX_IDLE, ENGINE_CLOSE_IDLE);
	return UINT64_MAX;
}

static void
smtp_end_of_input(struct engine *base)
{
	struct smtp_engine *e = self(base);

	if (e->state == SMTP_ST_ASKING)
		e->ended = true;
	else if (e->state != SMTP_ST_UPGRADED)
		smtp_finish(e, ENGINE_CLOSE_END_OF_INPUT);
}

static enum smtp_text
bye_text(enum engine_bye why)
{
	static const enum smtp_text texts[] = {
		[ENGINE_BYE_SHUTDOWN] = SMTP_TX_SHUTDOWN,
		[ENGINE_BYE_LIMIT_TOTAL] = SMTP_TX_LIMIT_TOTAL,
		[ENGINE_BYE_LIMIT_ADDRESS] = SMTP_TX_LIMIT_ADDRESS,
		[ENGINE_BYE_CERTIFICATE] = SMTP_TX_CERTIFICATE,
		[ENGINE_BYE_USER] = SMTP_TX_USER_GONE,
		[ENGINE_BYE_PASSWORD] = SMTP_TX_PASSWORD_CHANGED,
	};
	_Static_assert(PT_COUNT(texts) == ENGINE_BYE_COUNT, "each goodbye has its words");

	PT_ASSERT((unsigned)why < ENGINE_BYE_COUNT);
	return texts[why];
}

/* A message under way is worth waiting for: cut off behind its last octet, it would come twice. */
static bool
under_way(const struct smtp_engine *e)
{
	return e->state == SMTP_ST_DATA || e->state == SMTP_ST_CHUNK || e->state == SMTP_ST_BDAT ||
	       e->state == SMTP_ST_ASKING;
}

static void
smtp_bye(struct engine *base, enum engine_bye why)
{
	struct smtp_engine *e = self(base);

	if (why == ENGINE_BYE_SHUTDOWN && under_way(e))
		e->leaving = true;
	else if (e->state != SMTP_ST_UPGRADED)
		smtp_say_and_finish(e, bye_text(why), ENGINE_CLOSE_BYE);
}

static void
smtp_free(struct engine **base)
{
	struct smtp_engine *e = self(*base);

	smtp_tx_free(&e->tx);
	buf_fini(&e->in);
	buf_fini(&e->out);
	buf_wipe(&e->sasl);
	free(e->helo);
	free(e->user);
	free(e->claimed);
	free(e);
	*base = NULL;
}

static const struct engine_ops smtp_ops = {
	.name = "smtp",
	.input = smtp_input,
	.output = smtp_output,
	.output_done = smtp_output_done,
	.event = smtp_event,
	.answer = smtp_answer,
	.tick = smtp_tick,
	.end_of_input = smtp_end_of_input,
	.bye = smtp_bye,
	.free = smtp_free,
	.reply = smtp_reply,
};

/* --- the beginning ---------------------------------------------------------------------------- */

/* A certificate that maps is the login of submission where that is configured. */
static bool
login_by_certificate(const struct smtp_engine *e)
{
	return e->kind == SMTP_KIND_SUBMISSION && (e->smtp->login & SMTP_LOGIN_CERTIFICATE) != 0 &&
	       e->peer->tls && e->peer->identity != NULL;
}

/* The session begins: after TLS is up by STARTTLS, and after it has gone, the client speaks first. */
static void
begin(struct smtp_engine *e, enum engine_start start, uint64_t now_ms)
{
	smtp_idle_start(e, now_ms);
	if (start != ENGINE_GREET)
		return;
	if (e->kind == SMTP_KIND_MX && !e->peer->tls && e->smtp->greeting_delay_ms > 0) {
		smtp_enter(e, SMTP_ST_WAITING);
		e->deadline_ms = now_ms + e->smtp->greeting_delay_ms;
	} else {
		smtp_greet(e);
	}
}

static struct engine *
engine_start(enum smtp_kind kind, const struct engine_conf *conf, enum engine_start start,
	     enum engine_offer offer, const struct engine_peer *peer, uint64_t now_ms)
{
	struct smtp_engine *e;

	PT_ASSERT(!peer->tls || offer == ENGINE_OFFER_NONE); /* never TLS within TLS */
	PT_ASSERT(start != ENGINE_UPGRADED || peer->tls);
	PT_ASSERT(start != ENGINE_RESTARTED || !peer->tls);
	PT_ASSERT(conf->smtp != NULL);
	if ((e = calloc(1, sizeof(*e))) == NULL)
		return NULL;
	e->base.ops = &smtp_ops;
	e->conf = conf;
	e->smtp = conf->smtp;
	e->peer = peer;
	e->kind = (uint8_t)kind;
	e->offer = (uint8_t)offer;
	buf_init(&e->in, SMTP_AUTH_LINE_MAX);
	buf_init(&e->out, ENGINE_OUTPUT_MAX);
	buf_init(&e->sasl, SMTP_AUTH_LINE_MAX);
	e->state = (uint8_t)smtp_ground(e);
	begin(e, start, now_ms);
	if (login_by_certificate(e))
		identity_ask(e);
	return &e->base;
}

static struct engine *
mx_new(const struct engine_conf *conf, enum engine_start start, enum engine_offer offer,
       const struct engine_peer *peer, uint64_t now_ms)
{
	return engine_start(SMTP_KIND_MX, conf, start, offer, peer, now_ms);
}

static struct engine *
submission_new(const struct engine_conf *conf, enum engine_start start, enum engine_offer offer,
	       const struct engine_peer *peer, uint64_t now_ms)
{
	return engine_start(SMTP_KIND_SUBMISSION, conf, start, offer, peer, now_ms);
}

static struct engine *
lmtp_new(const struct engine_conf *conf, enum engine_start start, enum engine_offer offer,
	 const struct engine_peer *peer, uint64_t now_ms)
{
	return engine_start(SMTP_KIND_LMTP, conf, start, offer, peer, now_ms);
}

static const char *
smtp_refusal(enum engine_bye why)
{
	return smtp_reply_line(bye_text(why));
}

/* Not registered, but what other servers and the clients that name one use. */
static const char *const smtp_alpn[] = { "smtp", NULL };
static const char *const lmtp_alpn[] = { "lmtp", NULL };

const struct engine_protocol smtp_protocol = {
	.name = "smtp",
	.alpn = smtp_alpn,
	.new = mx_new,
	.refusal = smtp_refusal,
};

const struct engine_protocol submission_protocol = {
	.name = "submission",
	.alpn = smtp_alpn,
	.new = submission_new,
	.refusal = smtp_refusal,
};

const struct engine_protocol lmtp_protocol = {
	.name = "lmtp",
	.alpn = lmtp_alpn,
	.new = lmtp_new,
	.refusal = smtp_refusal,
};
