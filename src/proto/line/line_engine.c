/* proto/line/line_engine.c - the states of a line session: input to commands, commands to replies.
 *
 * The model for the other engines. Input is parsed where the caller has it; only a line that is not
 * complete is copied. State changes in enter() only. */
#include "proto/line/line_engine.h"

#include "proto/line/line_rules.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>

/* Events that wait to be given out, in this order. */
#define WANT_START_TLS 0x1u
#define WANT_INJECTION 0x2u
#define WANT_CLOSE 0x4u

struct line_engine {
	struct engine base; /* first: the dispatchers see only this */
	const struct engine_conf *conf;
	const struct engine_peer *peer;
	struct buf in;        /* the beginning of a line whose end has not come */
	struct buf out;
	uint64_t deadline_ms; /* idle; UINT64_MAX for none */
	uint32_t skipped;     /* octets of a bad line dropped so far */
	uint8_t state;        /* enum line_state */
	uint8_t ground;       /* the state that a refused STARTTLS goes back to */
	uint8_t want;         /* WANT_... */
	uint8_t why;          /* enum engine_close, of WANT_CLOSE */
	uint8_t errors;       /* BAD replies so far */
	bool skipping;        /* within a bad line: drop up to its LF */
	bool asked;           /* ENGINE_EV_START_TLS is given out and not answered */
	bool needed_tls;      /* a command was refused because it needs TLS first */
};

_Static_assert(sizeof(struct line_engine) <= 160, "ten thousand idle sessions live in one worker");

static struct line_engine *
self(struct engine *base)
{
	return (struct line_engine *)base;
}

static void
enter(struct line_engine *e, enum line_state state)
{
	static const char *const names[] = {
#define LINE_STATE_NAME(name) [LINE_ST_##name] = #name,
		LINE_STATES(LINE_STATE_NAME)
#undef LINE_STATE_NAME
	};

	log_msg(LOG_L_DEBUG, "line: %s to %s", names[e->state], names[state]);
	e->state = (uint8_t)state;
}

/* The session is over: a question is withdrawn. A half-read line stays where it is, because a
 * command that ends the session may still be looking at it; no one reads it again. */
static void
finish(struct line_engine *e, enum engine_close why)
{
	if (e->state == LINE_ST_CLOSED)
		return;
	e->asked = false;
	e->want = (e->want & WANT_INJECTION) | WANT_CLOSE;
	e->why = (uint8_t)why;
	enter(e, LINE_ST_CLOSED);
}

/* Takes the result of saying something. More than fits is our own bug: input is not taken above
 * ENGINE_OUTPUT_HIGH, and every reply fits behind that. */
static void
said(struct line_engine *e, int rc)
{
	PT_ASSERT(rc == 0 || rc == PT_ENOMEM);
	if (rc != 0)
		finish(e, ENGINE_CLOSE_NO_MEMORY);
}

/* Nothing is said behind a reply that could not be finished. */
static void
say(struct line_engine *e, enum line_text t)
{
	if (e->state != LINE_ST_CLOSED)
		said(e, line_reply_text(&e->out, t));
}

/* Goodbye with its reason. */
static void
say_and_finish(struct line_engine *e, enum line_text t, enum engine_close why)
{
	say(e, t);
	finish(e, why);
}

/* Says no. BAD is counted, so that a peer that speaks something else does not stay for ever. */
static void
refuse(struct line_engine *e, enum line_text t)
{
	say(e, t);
	e->needed_tls = e->needed_tls || t == LINE_TX_ENCRYPT_NEEDED;
	if (line_reply_is_bad(t) && ++e->errors >= LINE_ERRORS_MAX)
		say_and_finish(e, LINE_TX_BYE_ERRORS, ENGINE_CLOSE_ERRORS);
}

static bool
takes_input(const struct line_engine *e)
{
	return e->state <= LINE_ST_SECURE && buf_size(&e->out) <= ENGINE_OUTPUT_HIGH;
}

static void
idle_start(struct line_engine *e, uint64_t now_ms)
{
	uint32_t timeout_ms = e->conf->idle_timeout_ms;

	e->deadline_ms = timeout_ms == 0 ? UINT64_MAX : now_ms + timeout_ms;
}

void
line_act_capability(struct line_engine *e, const struct line_cmd *cmd)
{
	bool starttls = e->ground == LINE_ST_LOCKED || e->ground == LINE_ST_OPEN;

	(void)cmd;
	said(e, line_reply_capabilities(&e->out, e->conf, starttls));
	say(e, LINE_TX_CAPABILITY);
}

void
line_act_echo(struct line_engine *e, const struct line_cmd *cmd)
{
	said(e, line_reply_data(&e->out, NULL, cmd->arg, LINE_LINE_MAX));
	say(e, LINE_TX_ECHO);
}

static void
help_one(struct line_engine *e, enum line_verb verb)
{
	const struct line_rule *rule = line_rule_get(verb);
	struct span help = span_str(rule->help);

	if (e->state != LINE_ST_CLOSED)
		said(e, line_reply_data(&e->out, rule->usage, help, LINE_VALUE_MAX));
}

void
line_act_help(struct line_engine *e, const struct line_cmd *cmd)
{
	enum line_state state = (enum line_state)e->state; /* lack of memory may change it */
	enum line_verb verb;
	unsigned v;

	if (cmd->has_arg) {
		if ((verb = line_verb_find(cmd->arg)) == LINE_V_UNKNOWN) {
			refuse(e, LINE_TX_HELP_NONE);
			return;
		}
		help_one(e, verb);
		say(e, LINE_TX_HELP_ONE);
		return;
	}
	for (v = 0; v < LINE_V_COUNT; v++)
		if (line_rule_refusal((enum line_verb)v, state) == LINE_TX_NONE)
			help_one(e, (enum line_verb)v);
	say(e, state == LINE_ST_LOCKED ? LINE_TX_HELP_LOCKED : LINE_TX_HELP);
}

void
line_act_noop(struct line_engine *e, const struct line_cmd *cmd)
{
	uint8_t tag[LINE_LINE_MAX];
	size_t n;

	if (!cmd->has_arg) {
		say(e, LINE_TX_NOOP);
		return;
	}
	PT_ASSERT(line_string_read(cmd->arg, tag, sizeof(tag), &n));
	said(e, line_reply_tag(&e->out, (struct span){ tag, n }));
}

void
line_act_quit(struct line_engine *e, const struct line_cmd *cmd)
{
	(void)cmd;
	say_and_finish(e, LINE_TX_QUIT, ENGINE_CLOSE_QUIT);
}

void
line_act_starttls(struct line_engine *e, const struct line_cmd *cmd)
{
	(void)cmd;
	e->want |= WANT_START_TLS;
	enter(e, LINE_ST_UPGRADING);
}

void
line_act_whoami(struct line_engine *e, const struct line_cmd *cmd)
{
	(void)cmd;
	said(e, line_reply_whoami(&e->out, e->peer));
}

/* One command. more: octets stand behind its line in the same offer. */
static void
run(struct line_engine *e, const struct line_cmd *cmd, bool more)
{
	const struct line_rule *rule;
	enum line_text t;

	if ((t = line_rule_refusal(cmd->verb, (enum line_state)e->state)) != LINE_TX_NONE) {
		refuse(e, t);
		return;
	}
	rule = line_rule_get(cmd->verb);
	if ((t = rule->check(cmd)) != LINE_TX_NONE) {
		refuse(e, t);
		return;
	}
	if ((rule->flags & LINE_R_LAST) != 0 && more) {
		/* Sent before our reply: plaintext that would pose as what came inside TLS. It is
		 * never read, and TLS never begins (RFC 5804 §2.2, CVE-2011-0411). */
		e->want |= WANT_INJECTION;
		say_and_finish(e, LINE_TX_BYE_INJECTION, ENGINE_CLOSE_INJECTION);
		return;
	}
	rule->act(e, cmd);
}

/* A line that is none: answered at once and once, then dropped up to its end. */
static void
run_bad(struct line_engine *e, const struct line_cmd *cmd)
{
	static const enum line_text texts[] = {
		[LINE_BAD_LF] = LINE_TX_BARE_LF,     [LINE_BAD_CR] = LINE_TX_BARE_CR,
		[LINE_BAD_NUL] = LINE_TX_NUL,        [LINE_BAD_LONG] = LINE_TX_TOO_LONG,
		[LINE_BAD_TEXT] = LINE_TX_TEXT,      [LINE_BAD_EMPTY] = LINE_TX_EMPTY,
	};

	e->skipping = cmd->open;
	e->skipped = 0;
	refuse(e, texts[cmd->bad]);
}

/* Drops octets of a bad line up to its LF. Returns how many. */
static size_t
skip(struct line_engine *e, const uint8_t *buf, size_t len)
{
	size_t max = LINE_SKIP_MAX - e->skipped, n = len < max ? len : max;
	const uint8_t *lf = memchr(buf, '\n', n);

	if (lf != NULL) {
		e->skipping = false;
		return (size_t)(lf - buf) + 1;
	}
	e->skipped += (uint32_t)n;
	if (e->skipped == LINE_SKIP_MAX)
		say_and_finish(e, LINE_TX_BYE_TOO_LONG, ENGINE_CLOSE_LINE_TOO_LONG);
	return n;
}

/* A line straight from the caller's buffer. Returns the octets taken (> 0). */
static size_t
line_whole(struct line_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct line_cmd cmd;
	size_t used;

	switch (line_cmd_parse(buf, len, &cmd, &used)) {
	case LINE_PARSE_MORE:
		said(e, buf_append(&e->in, buf, len));
		return len;
	case LINE_PARSE_OK:
		idle_start(e, now_ms);
		run(e, &cmd, used < len);
		return used;
	case LINE_PARSE_BAD:
		run_bad(e, &cmd);
		return used;
	}
	PT_ASSERT(!"a parse result");
	return len;
}

/* A line whose beginning we hold: takes from the caller what belongs to it, no more. */
static size_t
line_rest(struct line_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t room = LINE_LINE_MAX - buf_size(&e->in), n = len < room ? len : room, used;
	const uint8_t *lf = memchr(buf, '\n', n);
	struct line_cmd cmd;
	struct span line;
	int rc;

	if (lf != NULL)
		n = (size_t)(lf - buf) + 1;
	if ((rc = buf_append(&e->in, buf, n)) != 0) {
		said(e, rc);
		return n;
	}
	line = buf_span(&e->in);
	switch (line_cmd_parse(line.p, line.n, &cmd, &used)) {
	case LINE_PARSE_MORE:
		return n;
	case LINE_PARSE_OK:
		PT_ASSERT(used == line.n);
		idle_start(e, now_ms);
		run(e, &cmd, n < len);
		break;
	case LINE_PARSE_BAD:
		run_bad(e, &cmd);
		/* it may have been bad before its end, which we hold already or which is to come */
		if (e->skipping && used < line.n)
			skip(e, line.p + used, line.n - used);
		break;
	}
	buf_fini(&e->in);
	return n;
}

static size_t
line_input(struct engine *base, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct line_engine *e = self(base);
	size_t taken = 0;

	while (taken < len && takes_input(e)) {
		if (e->skipping)
			taken += skip(e, buf + taken, len - taken);
		else if (buf_size(&e->in) > 0)
			taken += line_rest(e, buf + taken, len - taken, now_ms);
		else
			taken += line_whole(e, buf + taken, len - taken, now_ms);
	}
	return taken;
}

static struct span
line_output(const struct engine *base)
{
	return buf_span(&((const struct line_engine *)base)->out);
}

static void
line_output_done(struct engine *base, size_t n)
{
	buf_consume(&self(base)->out, n);
}

static bool
line_event(struct engine *base, struct engine_event *ev_out)
{
	struct line_engine *e = self(base);

	*ev_out = (struct engine_event){ .type = ENGINE_EV_CLOSE };
	if ((e->want & WANT_START_TLS) != 0) {
		e->want &= (uint8_t)~WANT_START_TLS;
		e->asked = true;
		ev_out->type = ENGINE_EV_START_TLS;
		return true;
	}
	if ((e->want & WANT_INJECTION) != 0) {
		e->want &= (uint8_t)~WANT_INJECTION;
		ev_out->type = ENGINE_EV_INJECTION;
		return true;
	}
	if ((e->want & WANT_CLOSE) != 0) {
		e->want &= (uint8_t)~WANT_CLOSE;
		ev_out->why = (enum engine_close)e->why;
		ev_out->needed_tls = e->needed_tls;
		return true;
	}
	return false;
}

static void
line_answer(struct engine *base, enum engine_answer answer, uint64_t now_ms)
{
	struct line_engine *e = self(base);

	PT_ASSERT(e->asked);
	e->asked = false;
	if (answer == ENGINE_ANSWER_OK) {
		enter(e, LINE_ST_UPGRADED);
		say(e, LINE_TX_GO_AHEAD);
		return;
	}
	PT_ASSERT(answer == ENGINE_ANSWER_UNAVAILABLE);
	enter(e, (enum line_state)e->ground);
	idle_start(e, now_ms);
	say(e, LINE_TX_TLS_UNAVAILABLE);
}

static uint64_t
line_tick(struct engine *base, uint64_t now_ms)
{
	struct line_engine *e = self(base);

	if (e->state > LINE_ST_SECURE)
		return UINT64_MAX;
	if (now_ms < e->deadline_ms)
		return e->deadline_ms;
	say_and_finish(e, LINE_TX_BYE_IDLE, ENGINE_CLOSE_IDLE);
	return UINT64_MAX;
}

static void
line_end_of_input(struct engine *base)
{
	struct line_engine *e = self(base);

	if (e->state != LINE_ST_UPGRADED)
		finish(e, ENGINE_CLOSE_END_OF_INPUT);
}

static enum line_text
bye_text(enum engine_bye why)
{
	static const enum line_text texts[ENGINE_BYE_COUNT] = {
		[ENGINE_BYE_SHUTDOWN] = LINE_TX_BYE_SHUTDOWN,
		[ENGINE_BYE_LIMIT_TOTAL] = LINE_TX_BYE_LIMIT_TOTAL,
		[ENGINE_BYE_LIMIT_ADDRESS] = LINE_TX_BYE_LIMIT_ADDRESS,
		[ENGINE_BYE_CERTIFICATE] = LINE_TX_BYE_CERTIFICATE,
		[ENGINE_BYE_USER] = LINE_TX_BYE_USER,
		[ENGINE_BYE_PASSWORD] = LINE_TX_BYE_USER, /* there are no passwords here */
	};

	PT_ASSERT((unsigned)why < ENGINE_BYE_COUNT);
	return texts[why];
}

static void
line_bye(struct engine *base, enum engine_bye why)
{
	struct line_engine *e = self(base);

	if (e->state <= LINE_ST_UPGRADING)
		say_and_finish(e, bye_text(why), ENGINE_CLOSE_BYE);
}

static void
line_free(struct engine **base)
{
	struct line_engine *e = self(*base);

	buf_fini(&e->in);
	buf_fini(&e->out);
	free(e);
	*base = NULL;
}

static const struct engine_ops line_ops = {
	.name = "line",
	.input = line_input,
	.output = line_output,
	.output_done = line_output_done,
	.event = line_event,
	.answer = line_answer,
	.tick = line_tick,
	.end_of_input = line_end_of_input,
	.bye = line_bye,
	.free = line_free,
};

static enum line_state
state_at_start(enum engine_offer offer, const struct engine_peer *peer)
{
	PT_ASSERT(!peer->tls || offer == ENGINE_OFFER_NONE); /* never TLS within TLS */
	if (peer->tls)
		return LINE_ST_SECURE;
	return offer == ENGINE_OFFER_REQUIRED ? LINE_ST_LOCKED :
	       offer == ENGINE_OFFER_STARTTLS ? LINE_ST_OPEN : LINE_ST_PLAIN;
}

static struct engine *
line_new(const struct engine_conf *conf, enum engine_start start, enum engine_offer offer,
	 const struct engine_peer *peer, uint64_t now_ms)
{
	struct line_engine *e;
	bool starttls = offer != ENGINE_OFFER_NONE;

	PT_ASSERT(start != ENGINE_UPGRADED || peer->tls);
	PT_ASSERT(start != ENGINE_RESTARTED || !peer->tls);
	if ((e = calloc(1, sizeof(*e))) == NULL)
		return NULL;
	e->base.ops = &line_ops;
	e->conf = conf;
	e->peer = peer;
	buf_init(&e->in, LINE_LINE_MAX);
	buf_init(&e->out, ENGINE_OUTPUT_MAX);
	e->ground = e->state = (uint8_t)state_at_start(offer, peer);
	idle_start(e, now_ms);
	/* after STARTTLS the same as at a new connection: RFC 5804 §2.2 has the capabilities sent
	 * again, because what came in plaintext may have been altered */
	if (start != ENGINE_RESTARTED) {
		said(e, line_reply_capabilities(&e->out, conf, starttls));
		say(e, line_reply_ready(peer, starttls));
	}
	return &e->base;
}

static const char *
line_refusal(enum engine_bye why)
{
	return line_reply_line(bye_text(why));
}

/* Nobody's registered name, but one that no other protocol has. */
static const char *const line_alpn[] = { "postern-line", NULL };

const struct engine_protocol line_protocol = {
	.name = "line",
	.alpn = line_alpn,
	.new = line_new,
	.refusal = line_refusal,
};
