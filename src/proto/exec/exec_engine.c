/* proto/exec/exec_engine.c - the states of an exec session: lines in plaintext, octets in TLS.
 *
 * State changes in enter() only. What the program is to read waits in `to`, what the client is to read in
 * `out`; neither ever holds up the other. */
#include "proto/exec/exec_line.h"
#include "proto/exec/exec_reply.h"
#include "proto/exec/exec_shape.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>

#define EXEC_STATES(X)                                                                             \
	X(PLAIN)     /* lines, until the keyword comes */                                          \
	X(RELAY)     /* octets to and from the program */                                          \
	X(ENDING)    /* no more input: the program speaks on */                                    \
	X(UPGRADING) /* the keyword came; the caller has not answered */                           \
	X(UPGRADED)  /* the go-ahead was the last */                                               \
	X(CLOSED)

enum exec_state {
#define EXEC_STATE_ENUM(name) EXEC_ST_##name,
	EXEC_STATES(EXEC_STATE_ENUM)
#undef EXEC_STATE_ENUM
};

enum exec_program {
	EXEC_P_NONE,
	EXEC_P_ASKED, /* ENGINE_EV_START_PROGRAM waits or is given out */
	EXEC_P_RUNS,
	EXEC_P_ENDED,
};

/* Events that wait to be given out, in this order. */
#define WANT_START_PROGRAM 0x01u
#define WANT_END_INPUT 0x02u
#define WANT_START_TLS 0x04u
#define WANT_INJECTION 0x08u
#define WANT_CLOSE 0x10u

struct exec_engine {
	struct engine base; /* first: the dispatchers see only this */
	const struct engine_conf *conf;
	const struct engine_peer *peer;
	struct buf line; /* the beginning of a plaintext line whose end has not come */
	struct buf to;   /* for the program */
	struct buf out;  /* for the client */
	struct exec_shape shape; /* of the program's output, where it does not go as it is */
	uint64_t deadline_ms; /* idle, or the end of linger; 0: from the next tick on */
	uint32_t skipped; /* octets of a refused line dropped so far */
	uint8_t state;    /* enum exec_state */
	uint8_t program;  /* enum exec_program */
	uint8_t offer;    /* enum engine_offer */
	uint8_t want;     /* WANT_... */
	uint8_t why;      /* enum engine_close, of WANT_CLOSE; in ENDING: of the one to come */
	uint8_t errors;   /* lines refused so far */
	bool skipping;    /* within a line that was refused: drop up to its LF */
	bool passing;     /* within a long line that the program gets */
	bool asked;       /* ENGINE_EV_START_TLS is given out and not answered */
	bool input_ended; /* the program is to get no more than what is in `to` */
};

_Static_assert(sizeof(struct exec_engine) <= 320, "as the header says");

/* Behind the program's output one text of ours always fits. */
#define OUT_RESERVE 1024
#define OUT_ROOM (ENGINE_OUTPUT_MAX - OUT_RESERVE)
_Static_assert(EXEC_TEXT_MAX + 2 <= OUT_RESERVE, "it does");
_Static_assert(ENGINE_OUTPUT_HIGH + EXEC_SHAPE_STEP_MAX <= OUT_ROOM, "and one line of a shape");

static struct exec_engine *
self(struct engine *base)
{
	return (struct exec_engine *)base;
}

static void
enter(struct exec_engine *e, enum exec_state state)
{
	static const char *const names[] = {
#define EXEC_STATE_NAME(name) [EXEC_ST_##name] = #name,
		EXEC_STATES(EXEC_STATE_NAME)
#undef EXEC_STATE_NAME
	};

	log_msg(LOG_L_DEBUG, "exec: %s to %s", names[e->state], names[state]);
	e->state = (uint8_t)state;
}

static void
finish(struct exec_engine *e, enum engine_close why)
{
	if (e->state == EXEC_ST_CLOSED)
		return;
	e->asked = false;
	e->want = (e->want & WANT_INJECTION) | WANT_CLOSE;
	e->why = (uint8_t)why;
	enter(e, EXEC_ST_CLOSED);
}

static void
must(struct exec_engine *e, int rc)
{
	PT_ASSERT(rc == 0 || rc == PT_ENOMEM);
	if (rc != 0)
		finish(e, ENGINE_CLOSE_NO_MEMORY);
}

static void
say(struct exec_engine *e, enum exec_text t)
{
	if (e->state != EXEC_ST_CLOSED)
		must(e, exec_reply_say(&e->out, e->conf->exec, t, e->peer));
}

static void
say_and_finish(struct exec_engine *e, enum exec_text t, enum engine_close why)
{
	say(e, t);
	finish(e, why);
}

static void
idle_start(struct exec_engine *e, uint64_t now_ms)
{
	uint32_t timeout_ms = e->conf->idle_timeout_ms;

	e->deadline_ms = timeout_ms == 0 ? UINT64_MAX : now_ms + timeout_ms;
}

/* --- the program ------------------------------------------------------------------------------ */

static void
want_program(struct exec_engine *e)
{
	if (e->program != EXEC_P_NONE)
		return;
	e->program = EXEC_P_ASKED;
	e->want |= WANT_START_PROGRAM;
}

/* It gets what waits for it, and then its end of input. */
static void
end_input(struct exec_engine *e)
{
	if (e->input_ended)
		return;
	e->input_ended = true;
	if (buf_size(&e->to) == 0)
		e->want |= WANT_END_INPUT;
}

/* The session is over when the program has said all; why: then. */
static void
begin_end(struct exec_engine *e, enum engine_close why)
{
	if (e->program != EXEC_P_ASKED && e->program != EXEC_P_RUNS) {
		finish(e, why);
		return;
	}
	end_input(e);
	e->why = (uint8_t)why;
	enter(e, EXEC_ST_ENDING);
}

static void
exec_program_started(struct engine *base, uint64_t now_ms)
{
	struct exec_engine *e = self(base);

	PT_ASSERT(e->program == EXEC_P_ASKED && (e->want & WANT_START_PROGRAM) == 0);
	e->program = EXEC_P_RUNS;
	if (e->state == EXEC_ST_PLAIN || e->state == EXEC_ST_RELAY)
		idle_start(e, now_ms);
}

static void
exec_program_refused(struct engine *base, enum engine_no_program why)
{
	static const enum exec_text refusals[] = { [ENGINE_NO_PROGRAM_BUSY] = EXEC_TX_BUSY,
		[ENGINE_NO_PROGRAM_FAILED] = EXEC_TX_FAILED, [ENGINE_NO_PROGRAM_AWAY] = EXEC_TX_AWAY,
		[ENGINE_NO_PROGRAM_LOGIN] = EXEC_TX_LOGIN };
	struct exec_engine *e = self(base);

	PT_ASSERT(e->program == EXEC_P_ASKED && (e->want & WANT_START_PROGRAM) == 0);
	e->program = EXEC_P_ENDED;
	if (e->state == EXEC_ST_UPGRADING || e->state == EXEC_ST_UPGRADED)
		return; /* TLS has another */
	say_and_finish(e, refusals[why], why == ENGINE_NO_PROGRAM_LOGIN ? ENGINE_CLOSE_LOGIN : ENGINE_CLOSE_NO_PROGRAM);
}

static struct span
exec_to(const struct engine *base)
{
	return buf_span(&((const struct exec_engine *)base)->to);
}

static void
exec_to_done(struct engine *base, size_t n)
{
	struct exec_engine *e = self(base);

	buf_consume(&e->to, n);
	if (e->input_ended && n > 0 && buf_size(&e->to) == 0 && e->state != EXEC_ST_CLOSED)
		e->want |= WANT_END_INPUT;
}

/* Once the go-ahead is said, or the last word, no octet of the program's may follow. */
static bool
listens(const struct exec_engine *e)
{
	return e->state == EXEC_ST_PLAIN || e->state == EXEC_ST_RELAY || e->state == EXEC_ST_ENDING;
}

static size_t
exec_room(const struct engine *base)
{
	const struct exec_engine *e = (const struct exec_engine *)base;
	size_t held = buf_size(&e->out);

	if (!listens(e) || held >= OUT_ROOM)
		return 0;
	return exec_shape_is_needed(&e->shape) ? exec_shape_room(&e->shape) : OUT_ROOM - held;
}

/* Lets out what the shape holds; when that was the last of a program, the session is over. */
static void
shape_out(struct exec_engine *e)
{
	if (!listens(e))
		return;
	must(e, exec_shape_out(&e->shape, e->conf->exec, &e->out));
	if (e->program == EXEC_P_ENDED && exec_shape_is_empty(&e->shape))
		finish(e, e->state == EXEC_ST_ENDING ? (enum engine_close)e->why : ENGINE_CLOSE_PROGRAM);
}

static void
exec_output(struct engine *base, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct exec_engine *e = self(base);

	if (e->state == EXEC_ST_RELAY)
		idle_start(e, now_ms);
	if (e->state == EXEC_ST_ENDING && e->why != ENGINE_CLOSE_END_OF_INPUT)
		e->deadline_ms = now_ms + e->conf->exec->linger_ms; /* since its last octet */
	if (!exec_shape_is_needed(&e->shape)) {
		must(e, buf_append(&e->out, buf, len));
		return;
	}
	must(e, exec_shape_in(&e->shape, buf, len, now_ms));
	shape_out(e);
}

static void
exec_program_ended(struct engine *base)
{
	struct exec_engine *e = self(base);

	e->program = EXEC_P_ENDED;
	exec_shape_flush(&e->shape, true);
	shape_out(e);
}

/* --- plaintext -------------------------------------------------------------------------------- */

/* A refused line is counted, so that a peer that speaks something else does not stay for ever. */
static void
refuse(struct exec_engine *e, enum exec_text t)
{
	say(e, t);
	if (++e->errors >= EXEC_ERRORS_MAX)
		say_and_finish(e, EXEC_TX_ERRORS, ENGINE_CLOSE_ERRORS);
}

/* Whether the program gets that line in plaintext. */
static bool
goes_to_program(const struct exec_engine *e, struct span line)
{
	const struct exec_conf *conf = e->conf->exec;
	size_t i;

	if (!conf->at_once)
		return false;
	if (e->offer == ENGINE_OFFER_STARTTLS)
		return true;
	for (i = 0; i < conf->nplaintext; i++)
		if (exec_line_matches(conf->plaintext[i], line))
			return true;
	return false;
}

static void
give_line(struct exec_engine *e, struct span line, const uint8_t *raw, size_t n)
{
	want_program(e);
	exec_shape_command(&e->shape, e->conf->exec, line);
	must(e, buf_append(&e->to, raw, n));
}

/* One line with its end. more: octets stand behind it in the same offer. */
static void
run_line(struct exec_engine *e, struct span line, const uint8_t *raw, size_t n, bool more)
{
	switch (exec_line_keyword(e->conf->exec, line)) {
	case EXEC_K_YES:
		if (more) {
			/* sent before our reply: plaintext that would pose as what came inside TLS. It is
			 * never read, and TLS never begins (CVE-2011-0411) */
			e->want |= WANT_INJECTION;
			say_and_finish(e, EXEC_TX_INJECTION, ENGINE_CLOSE_INJECTION);
			return;
		}
		e->want |= WANT_START_TLS;
		enter(e, EXEC_ST_UPGRADING);
		return;
	case EXEC_K_ARGUMENTS:
		refuse(e, EXEC_TX_ARGUMENTS);
		return;
	case EXEC_K_NO:
		if (goes_to_program(e, line))
			give_line(e, line, raw, n);
		else
			refuse(e, EXEC_TX_BEFORE_TLS);
		return;
	}
}

/* A line without an end where one should be. */
static void
run_long(struct exec_engine *e, struct span line)
{
	e->skipped = 0;
	if (goes_to_program(e, line)) {
		e->passing = true;
		give_line(e, line, line.p, line.n);
		return;
	}
	e->skipping = true;
	refuse(e, EXEC_TX_TOO_LONG);
}

/* The rest of a long line: to its LF, or all there is. */
static size_t
take_rest(struct exec_engine *e, const uint8_t *buf, size_t len)
{
	size_t max = e->passing ? EXEC_TO_MAX - buf_size(&e->to) : EXEC_SKIP_MAX - e->skipped;
	size_t n = len < max ? len : max;
	const uint8_t *lf = memchr(buf, '\n', n);

	if (lf != NULL)
		n = (size_t)(lf - buf) + 1;
	if (e->passing)
		must(e, buf_append(&e->to, buf, n));
	e->skipped += (uint32_t)n;
	if (lf != NULL)
		e->passing = e->skipping = false;
	else if (e->skipping && e->skipped == EXEC_SKIP_MAX)
		say_and_finish(e, EXEC_TX_TOO_LONG, ENGINE_CLOSE_LINE_TOO_LONG);
	return n;
}

/* A line straight from the caller's buffer. Returns the octets taken. */
static size_t
line_whole(struct exec_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct span line;
	size_t used;

	switch (exec_line_parse(buf, len, &line, &used)) {
	case EXEC_L_MORE:
		must(e, buf_append(&e->line, buf, used));
		break;
	case EXEC_L_OK:
		idle_start(e, now_ms);
		run_line(e, line, buf, used, used < len);
		break;
	case EXEC_L_LONG:
		run_long(e, line);
		break;
	}
	return used;
}

/* A line whose beginning we hold: takes from the caller what belongs to it, no more. */
static size_t
line_rest(struct exec_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t room = EXEC_LINE_MAX - buf_size(&e->line), n = len < room ? len : room, used;
	const uint8_t *lf = memchr(buf, '\n', n);
	struct span line, raw;
	int rc;

	if (lf != NULL)
		n = (size_t)(lf - buf) + 1;
	if ((rc = buf_append(&e->line, buf, n)) != 0) {
		must(e, rc);
		return n;
	}
	raw = buf_span(&e->line);
	switch (exec_line_parse(raw.p, raw.n, &line, &used)) {
	case EXEC_L_MORE:
		return n;
	case EXEC_L_OK:
		idle_start(e, now_ms);
		run_line(e, line, raw.p, raw.n, n < len);
		break;
	case EXEC_L_LONG:
		run_long(e, line);
		break;
	}
	buf_fini(&e->line);
	return n;
}

static size_t
plain_input(struct exec_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t taken = 0;

	while (taken < len && e->state == EXEC_ST_PLAIN && buf_size(&e->out) <= ENGINE_OUTPUT_HIGH &&
		buf_size(&e->to) + EXEC_LINE_MAX <= EXEC_TO_MAX) {
		if (e->skipping || e->passing)
			taken += take_rest(e, buf + taken, len - taken);
		else if (buf_size(&e->line) > 0)
			taken += line_rest(e, buf + taken, len - taken, now_ms);
		else
			taken += line_whole(e, buf + taken, len - taken, now_ms);
	}
	return taken;
}

/* --- the engine ------------------------------------------------------------------------------- */

static size_t
exec_input(struct engine *base, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct exec_engine *e = self(base);
	size_t room;

	if (e->state == EXEC_ST_PLAIN)
		return plain_input(e, buf, len, now_ms);
	if (e->state == EXEC_ST_ENDING && e->why == ENGINE_CLOSE_BYE)
		return len; /* the server has ended the session: too late */
	if (e->state != EXEC_ST_RELAY)
		return 0;
	room = EXEC_TO_MAX - buf_size(&e->to);
	if (len > room)
		len = room;
	if (len > 0) {
		must(e, buf_append(&e->to, buf, len));
		idle_start(e, now_ms);
	}
	return len;
}

static struct span
exec_out(const struct engine *base)
{
	return buf_span(&((const struct exec_engine *)base)->out);
}

static void
exec_out_done(struct engine *base, size_t n)
{
	struct exec_engine *e = self(base);

	buf_consume(&e->out, n);
	if (exec_shape_is_needed(&e->shape))
		shape_out(e);
}

static bool
exec_event(struct engine *base, struct engine_event *ev_out)
{
	static const struct {
		unsigned want;
		enum engine_event_type type;
	} order[] = {
		{ WANT_START_PROGRAM, ENGINE_EV_START_PROGRAM },
		{ WANT_END_INPUT, ENGINE_EV_END_PROGRAM_INPUT },
		{ WANT_START_TLS, ENGINE_EV_START_TLS },
		{ WANT_INJECTION, ENGINE_EV_INJECTION },
		{ WANT_CLOSE, ENGINE_EV_CLOSE },
	};
	struct exec_engine *e = self(base);
	size_t i;

	for (i = 0; i < PT_COUNT(order); i++) {
		if ((e->want & order[i].want) == 0)
			continue;
		/* a program that does not run yet is not told of its input's end before it does */
		if (order[i].want == WANT_END_INPUT && e->program != EXEC_P_RUNS)
			continue;
		e->want &= (uint8_t)~order[i].want;
		e->asked |= order[i].want == WANT_START_TLS;
		*ev_out = (struct engine_event){ .type = order[i].type, .why = (enum engine_close)e->why };
		return true;
	}
	return false;
}

static void
exec_answer(struct engine *base, enum engine_answer answer, uint64_t now_ms)
{
	struct exec_engine *e = self(base);

	PT_ASSERT(e->asked);
	e->asked = false;
	if (answer == ENGINE_ANSWER_OK) {
		must(e, exec_reply_line(&e->out, e->conf->exec->reply));
		enter(e, EXEC_ST_UPGRADED);
		return;
	}
	enter(e, EXEC_ST_PLAIN);
	idle_start(e, now_ms);
	say(e, EXEC_TX_UNAVAILABLE);
	if (e->program == EXEC_P_ENDED) /* meanwhile */
		shape_out(e);
}

/* The server ended the session, or nobody spoke: whatever the program still says, this long and no longer. */
static uint64_t
ending_tick(struct exec_engine *e, uint64_t now_ms)
{
	if (e->why == ENGINE_CLOSE_END_OF_INPUT)
		return UINT64_MAX; /* the caller's linger */
	if (e->deadline_ms == 0)
		e->deadline_ms = now_ms + e->conf->exec->linger_ms;
	if (now_ms < e->deadline_ms)
		return e->deadline_ms;
	say_and_finish(e, EXEC_TX_SHUTDOWN, (enum engine_close)e->why);
	return UINT64_MAX;
}

static uint64_t
exec_tick(struct engine *base, uint64_t now_ms)
{
	struct exec_engine *e = self(base);
	uint64_t hold;

	if (e->state == EXEC_ST_ENDING)
		return ending_tick(e, now_ms);
	if (e->state != EXEC_ST_PLAIN && e->state != EXEC_ST_RELAY)
		return UINT64_MAX;
	if (e->deadline_ms <= now_ms) {
		say_and_finish(e, EXEC_TX_IDLE, ENGINE_CLOSE_IDLE);
		return UINT64_MAX;
	}
	hold = exec_shape_deadline(&e->shape);
	if (hold <= now_ms) {
		exec_shape_flush(&e->shape, false);
		shape_out(e);
		hold = UINT64_MAX;
	}
	return hold < e->deadline_ms ? hold : e->deadline_ms;
}

static void
exec_end_of_input(struct engine *base)
{
	struct exec_engine *e = self(base);
	struct span rest = buf_span(&e->line);

	switch ((enum exec_state)e->state) {
	case EXEC_ST_PLAIN:
		/* a program may care for a line without an end; we do not */
		if (rest.n > 0 && goes_to_program(e, rest))
			give_line(e, rest, rest.p, rest.n);
		begin_end(e, ENGINE_CLOSE_END_OF_INPUT);
		break;
	case EXEC_ST_RELAY:
		begin_end(e, ENGINE_CLOSE_END_OF_INPUT);
		break;
	case EXEC_ST_ENDING: /* the server's end was first, and stays the reason */
	case EXEC_ST_UPGRADED:
	case EXEC_ST_CLOSED:
		break;
	case EXEC_ST_UPGRADING:
		finish(e, ENGINE_CLOSE_END_OF_INPUT);
		break;
	}
}

static void
exec_bye(struct engine *base, enum engine_bye why)
{
	struct exec_engine *e = self(base);

	/* limits have a text of their own, before there is an engine */
	if (why >= ENGINE_BYE_CERTIFICATE && e->state != EXEC_ST_UPGRADED) {
		/* who is not trusted any more gets nothing more of the program */
		say_and_finish(e, why == ENGINE_BYE_CERTIFICATE ? EXEC_TX_CERTIFICATE : EXEC_TX_USER, ENGINE_CLOSE_BYE);
	} else if (e->state == EXEC_ST_PLAIN || e->state == EXEC_ST_UPGRADING) {
		say_and_finish(e, EXEC_TX_SHUTDOWN, ENGINE_CLOSE_BYE);
	} else if (e->state == EXEC_ST_RELAY || e->state == EXEC_ST_ENDING) {
		e->deadline_ms = 0;
		begin_end(e, ENGINE_CLOSE_BYE);
	}
}

static void
exec_free(struct engine **base)
{
	struct exec_engine *e = self(*base);

	buf_fini(&e->line);
	buf_fini(&e->to);
	buf_fini(&e->out);
	exec_shape_fini(&e->shape);
	free(e);
	*base = NULL;
}

static const struct engine_program_ops exec_program_ops = {
	.started = exec_program_started,
	.refused = exec_program_refused,
	.to = exec_to,
	.to_done = exec_to_done,
	.room = exec_room,
	.output = exec_output,
	.ended = exec_program_ended,
};

static const struct engine_ops exec_ops = {
	.name = "exec",
	.input = exec_input,
	.output = exec_out,
	.output_done = exec_out_done,
	.event = exec_event,
	.answer = exec_answer,
	.tick = exec_tick,
	.end_of_input = exec_end_of_input,
	.bye = exec_bye,
	.free = exec_free,
	.program = &exec_program_ops,
};

/* A session without STARTTLS before it: in TLS, or on a port that has none. */
static void
begin_relay(struct exec_engine *e, enum engine_start start)
{
	e->state = EXEC_ST_RELAY;
	if (e->conf->exec->needs_login && e->peer->identity == NULL) {
		say_and_finish(e, EXEC_TX_LOGIN, ENGINE_CLOSE_LOGIN);
		return;
	}
	/* behind STARTTLS nobody expects a banner again */
	if (start == ENGINE_UPGRADED)
		exec_shape_skip_banner(&e->shape, e->conf->exec);
	want_program(e);
}

static void
begin_plain(struct exec_engine *e, enum engine_start start)
{
	e->state = EXEC_ST_PLAIN;
	exec_shape_watch(&e->shape, e->conf->exec);
	if (start == ENGINE_RESTARTED)
		exec_shape_skip_banner(&e->shape, e->conf->exec);
	else if (e->conf->exec->at_once)
		want_program(e);
}

static struct engine *
exec_new(const struct engine_conf *conf, enum engine_start start, enum engine_offer offer,
	 const struct engine_peer *peer, uint64_t now_ms)
{
	struct exec_engine *e;

	PT_ASSERT(conf->exec != NULL);
	PT_ASSERT(start != ENGINE_UPGRADED || peer->tls);
	PT_ASSERT(start != ENGINE_RESTARTED || !peer->tls);
	PT_ASSERT(!peer->tls || offer == ENGINE_OFFER_NONE); /* never TLS within TLS */
	if ((e = calloc(1, sizeof(*e))) == NULL)
		return NULL;
	e->base.ops = &exec_ops;
	e->conf = conf;
	e->peer = peer;
	e->offer = (uint8_t)offer;
	buf_init(&e->line, EXEC_LINE_MAX);
	buf_init(&e->to, EXEC_TO_MAX);
	buf_init(&e->out, ENGINE_OUTPUT_MAX);
	exec_shape_init(&e->shape);
	idle_start(e, now_ms);
	if (start == ENGINE_GREET && conf->exec->greeting != NULL)
		must(e, exec_reply_line(&e->out, conf->exec->greeting));
	if (e->state == EXEC_ST_CLOSED)
		return &e->base;
	if (offer == ENGINE_OFFER_NONE)
		begin_relay(e, start);
	else
		begin_plain(e, start);
	return &e->base;
}

const struct engine_protocol exec_protocol = {
	.name = "exec",
	.new = exec_new,
	.refusal = exec_reply_refusal,
};
