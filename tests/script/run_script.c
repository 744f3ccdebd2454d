/* script/run_script.c - replays conversation scripts against an engine (README.md has the format).
 *
 * No sockets, no sleep: the clock is a number. Each script is replayed whole, one octet at a time,
 * and once for each place at which its lines can be cut in two; all must say the same. Without
 * arguments it runs every script below this folder, and then those that must fail. */
#include "script.h"

#include "proto/exec/exec_engine.h"
#include "proto/line/line_engine.h"
#include "proto/smtp/smtp_engine.h"
#include "ask.h"
#include "util/buf.h"
#include "util/scan.h"

#include <fnmatch.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SANS_MAX 32
#define EVENTS_MAX 16
#define GOT_MAX (1024 * 1024)
#define SHOWN_MAX 200 /* octets of a line in a message */

static const struct engine_protocol *const protocols[] = { &line_protocol, &exec_protocol, &smtp_protocol,
							  &submission_protocol, &lmtp_protocol };

/* Names as scripts write them. */
static const char *const start_names[] = { [ENGINE_GREET] = "greet", [ENGINE_UPGRADED] = "upgraded",
					   [ENGINE_RESTARTED] = "restarted" };
static const char *const offer_names[] = { [ENGINE_OFFER_NONE] = "none",
					   [ENGINE_OFFER_STARTTLS] = "starttls",
					   [ENGINE_OFFER_REQUIRED] = "required" };
static const char *const event_names[] = { [ENGINE_EV_START_TLS] = "start-tls",
					   [ENGINE_EV_INJECTION] = "injection",
					   [ENGINE_EV_CLOSE] = "close",
					   [ENGINE_EV_ASK] = "", [ENGINE_EV_NOTE] = "note",

					   [ENGINE_EV_START_PROGRAM] = "start-program",
					   [ENGINE_EV_END_PROGRAM_INPUT] = "end-program-input" };
static const char *const bye_names[] = { [ENGINE_BYE_SHUTDOWN] = "shutdown",
					 [ENGINE_BYE_LIMIT_TOTAL] = "limit-total",
					 [ENGINE_BYE_LIMIT_ADDRESS] = "limit-address",
					 [ENGINE_BYE_CERTIFICATE] = "certificate",
					 [ENGINE_BYE_USER] = "user",
					 [ENGINE_BYE_PASSWORD] = "password" };

/* Of an exec service. */
struct exec_facts {
	struct exec_conf conf;
	const char *plaintext[EXEC_PATTERNS_MAX];
	struct exec_capability capabilities[EXEC_CAPABILITIES_MAX];
};

struct facts {
	struct exec_facts exec;
	struct engine_conf conf;
	struct engine_peer peer;
	struct smtp_conf smtp;
	const char *sans[SANS_MAX];
};

/* Something that the engine told, as a script's step names it. */
struct told {
	enum engine_event_type type;
	enum ask_kind kind; /* of ENGINE_EV_ASK */
	char words[ASK_WORDS_MAX];
};

struct run {
	const struct script *script;
	const struct step *step;
	size_t cut;    /* SIZE_MAX: lines are offered whole; 0: octet by octet; else cut there */
	const struct engine_protocol *protocol;
	enum engine_offer offer;
	struct facts next; /* what steps set for the next session */
	struct facts live; /* the running session's */
	struct engine *e;
	uint64_t now_ms;
	struct buf unsent; /* octets that the engine has not taken */
	struct buf got;    /* output that no step has read */
	struct buf input;  /* of the program, that no step has read */
	char *parts[EXEC_CAPABILITIES_MAX * 4]; /* owned */
	size_t nparts;
	struct told events[EVENTS_MAX];
	size_t nevents;
	struct told question; /* given out, not answered, while asked */
	struct ask_script ask;
	bool asked;  /* a question is not answered */
	bool closed; /* a close was seen */
	bool expected; /* at least one step looked at something */
	struct diag *diag;
};

typedef int step_f(struct run *r, const struct step *st);

__attribute__((format(printf, 2, 3))) static int
fail(struct run *r, const char *fmt, ...)
{
	char text[DIAG_MAX / 2], replay[48] = "";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (r->cut == 0)
		snprintf(replay, sizeof(replay), " (sent octet by octet)");
	else if (r->cut != SIZE_MAX)
		snprintf(replay, sizeof(replay), " (lines cut after %zu octets)", r->cut);
	return diag_set(r->diag, PT_EPROTO, "%s:%u: %s%s", r->script->path, r->step->line, text,
			replay);
}

/* The index of word in a list of names, -1 for none. */
static int
find(const char *const *names, size_t n, const char *word)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(names[i], word) == 0)
			return (int)i;
	return -1;
}

static const char *
show(struct span s, char *out)
{
	return span_print(s, out, SHOWN_MAX);
}

/* What stands in an event step without its answer: "close quit", "recipient bob@example.org". */
static void
event_words(const struct engine_event *ev, char out[ASK_WORDS_MAX])
{
	switch (ev->type) {
	case ENGINE_EV_ASK:
		ask_words(ev->ask, out);
		break;
	case ENGINE_EV_NOTE:
		ask_note_words(ev->note, out);
		break;
	case ENGINE_EV_CLOSE:
		snprintf(out, ASK_WORDS_MAX, "close %s", engine_close_text(ev->why));
		break;
	default:
		snprintf(out, ASK_WORDS_MAX, "%s", event_names[ev->type]);
	}
}

static int
tell(struct run *r, const struct engine_event *ev, const char *words)
{
	struct told *t = &r->events[r->nevents];

	if (r->nevents == EVENTS_MAX)
		return fail(r, "more than %d events wait", EVENTS_MAX);
	t->type = ENGINE_EV_NOTE;
	if (ev != NULL)
		t->type = ev->type;
	if (ev != NULL && ev->type == ENGINE_EV_ASK)
		t->kind = ev->ask->kind;
	snprintf(t->words, sizeof(t->words), "%s", words);
	r->nevents++;
	return 0;
}

static int
body_unread(struct run *r)
{
	char shown[SHOWN_MAX];

	if (!r->ask.looked || buf_size(&r->ask.body) == 0)
		return 0;
	return fail(r, "a body that no step reads to its end: %s", show(buf_span(&r->ask.body), shown));
}

static int
reply(struct run *r, enum ask_kind kind, const char *words)
{
	struct ask_reply answer;
	int rc;

	if (kind == ASK_BODY && (rc = body_unread(r)) != 0)
		return rc;
	if (!ask_answer(&r->ask, kind, words, &answer))
		return fail(r, "no such answer: %s", words);
	engine_reply(r->e, &answer, r->now_ms);
	return 0;
}

/* One event: to the list of those that steps read, or answered at once. */
static int
take_event(struct run *r, const struct engine_event *ev)
{
	char words[ASK_WORDS_MAX];
	int rc;

	while (r->ask.told < r->ask.drops) {
		r->ask.told++;
		if ((rc = tell(r, NULL, "drop")) != 0)
			return rc;
	}
	if (ev == NULL || (ev->type == ENGINE_EV_NOTE && !r->ask.notes))
		return 0;
	if (ev->type == ENGINE_EV_ASK && (r->ask.automatic & 1u << ev->ask->kind) != 0)
		return reply(r, ev->ask->kind, "ok");
	event_words(ev, words);
	r->closed = r->closed || ev->type == ENGINE_EV_CLOSE;
	return tell(r, ev, words);
}

static int
take_events(struct run *r)
{
	struct engine_event ev;
	int rc;

	while (engine_event(r->e, &ev))
		if ((rc = take_event(r, &ev)) != 0)
			return rc;
	return take_event(r, NULL);
}

/* Takes all that the engine has for us. */
static int
pump(struct run *r)
{
	struct span out;
	int rc;

	if ((rc = take_events(r)) != 0)
		return rc;
	while (engine_has_program(r->e) && (out = engine_to_program(r->e)).n > 0) {
		if (buf_append(&r->input, out.p, out.n) != 0)
			return fail(r, "more input of a program than %d octets", GOT_MAX);
		engine_to_program_done(r->e, out.n);
		if ((rc = take_events(r)) != 0)
			return rc;
	}
	while ((out = engine_output(r->e)).n > 0) {
		if (buf_append(&r->got, out.p, out.n) != 0)
			return fail(r, "more output than %d octets", GOT_MAX);
		engine_output_done(r->e, out.n);
	}
	return take_events(r); /* output that has gone may have been the last */
}

/* Offers what is unsent until nothing more is taken. */
static int
offer_unsent(struct run *r)
{
	struct span s;
	size_t taken;
	int rc;

	do {
		s = buf_span(&r->unsent);
		if (s.n == 0)
			return 0;
		taken = engine_input(r->e, s.p, s.n, r->now_ms);
		buf_consume(&r->unsent, taken);
		if ((rc = pump(r)) != 0)
			return rc;
	} while (taken > 0);
	return 0;
}

static int
send_piece(struct run *r, const char *p, size_t n)
{
	if (n > 0 && buf_append(&r->unsent, p, n) != 0)
		return fail(r, "more unsent octets than there is room for");
	return offer_unsent(r);
}

/* Before the client does something, all that came before must have been looked at. */
static int
nothing_unread(struct run *r)
{
	struct span s = buf_span(&r->got);
	char shown[SHOWN_MAX];
	const uint8_t *cr;

	if (s.n > 0) {
		if ((cr = memchr(s.p, '\r', s.n)) != NULL)
			s.n = (size_t)(cr - s.p);
		return fail(r, "output that no step reads: %s", show(s, shown));
	}
	if (r->nevents > 0)
		return fail(r, "an event that no step reads: %s", r->events[0].words);
	if ((s = buf_span(&r->input)).n > 0)
		return fail(r, "input of the program that no step reads: %s", show(s, shown));
	return 0;
}

static int
client_ready(struct run *r)
{
	if (r->e == NULL)
		return fail(r, "no session has been started");
	if (r->closed)
		return fail(r, "the engine has closed the session");
	return nothing_unread(r);
}

static int
step_client(struct run *r, const struct step *st)
{
	size_t i, n = st->len;
	int rc;

	if ((rc = client_ready(r)) != 0)
		return rc;
	if (r->cut == SIZE_MAX || st->verb == SCRIPT_V_CLIENT_WHOLE)
		return send_piece(r, st->text, n);
	if (r->cut == 0) {
		for (i = 0; i < n; i++)
			if ((rc = send_piece(r, st->text + i, 1)) != 0)
				return rc;
		return 0;
	}
	i = r->cut < n ? r->cut : n;
	if ((rc = send_piece(r, st->text, i)) != 0)
		return rc;
	return send_piece(r, st->text + i, n - i);
}

static int
step_client_refused(struct run *r, const struct step *st)
{
	size_t taken;

	if (r->e == NULL)
		return fail(r, "no session has been started");
	taken = engine_input(r->e, (const uint8_t *)st->text, st->len, r->now_ms);
	r->expected = true;
	return taken == 0 ? pump(r) : fail(r, "%zu octets were taken, expected none", taken);
}

static bool
matches(const struct step *st, struct span line)
{
	char text[64 * 1024];

	if (st->verb != SCRIPT_V_SERVER_LIKE && st->verb != SCRIPT_V_BODY_LIKE)
		return span_equal(line, (struct span){ (const uint8_t *)st->text, st->len });
	if (line.n == 0 || line.n >= sizeof(text) || memchr(line.p, '\0', line.n) != NULL)
		return false;
	memcpy(text, line.p, line.n);
	text[line.n] = '\0';
	return fnmatch(st->text, text, 0) == 0;
}

static int
step_server(struct run *r, const struct step *st)
{
	struct span s = buf_span(&r->got), want = { (const uint8_t *)st->text, st->len };
	char wanted[SHOWN_MAX], shown[SHOWN_MAX];
	const uint8_t *lf;

	r->expected = true;
	show(want, wanted);
	if (s.n == 0)
		return fail(r, "expected: %s; got: nothing", wanted);
	if ((lf = memchr(s.p, '\n', s.n)) == NULL || lf == s.p || lf[-1] != '\r')
		return fail(r, "expected: %s; got a line without CRLF: %s", wanted, show(s, shown));
	s.n = (size_t)(lf - s.p) - 1;
	if (!matches(st, s))
		return fail(r, "expected: %s; got: %s", wanted, show(s, shown));
	buf_consume(&r->got, s.n + 2);
	return 0;
}

/* All lines of one reply with this code: "250-x", "250 y". */
static int
step_server_all(struct run *r, const struct step *st)
{
	struct step line = { .verb = SCRIPT_V_SERVER_LIKE, .line = st->line };
	char pattern[16];
	struct span s;
	bool more;
	int rc;

	snprintf(pattern, sizeof(pattern), "%.3s[- ]*", st->text);
	line.text = pattern;
	line.len = strlen(pattern);
	do {
		s = buf_span(&r->got);
		more = s.n > 3 && s.p[3] == '-';
		if ((rc = step_server(r, &line)) != 0)
			return rc;
	} while (more);
	return 0;
}

static int
step_server_octets(struct run *r, const struct step *st)
{
	struct span s = buf_span(&r->got), want = { (const uint8_t *)st->text, st->len };
	char wanted[SHOWN_MAX], shown[SHOWN_MAX];

	r->expected = true;
	if (s.n < want.n || memcmp(s.p, want.p, want.n) != 0)
		return fail(r, "expected octets: %s; got: %s", show(want, wanted), show(s, shown));
	buf_consume(&r->got, want.n);
	return 0;
}

static int
step_protocol(struct run *r, const struct step *st)
{
	size_t i;

	for (i = 0; i < PT_COUNT(protocols); i++) {
		if (strcmp(protocols[i]->name, st->text) == 0) {
			r->protocol = protocols[i];
			return 0;
		}
	}
	return fail(r, "no such protocol: %s", st->text);
}

/* "300s" or "299999ms". */
static int
duration(struct run *r, const char *text, uint64_t *ms_out)
{
	size_t n = strspn(text, "0123456789");

	if (!scan_u64((struct span){ (const uint8_t *)text, n }, ms_out) || *ms_out > UINT32_MAX)
		return fail(r, "not a time: %s; expected such as 300s or 5ms", text);
	if (strcmp(text + n, "s") == 0)
		*ms_out *= 1000;
	else if (strcmp(text + n, "ms") != 0)
		return fail(r, "not a time: %s; expected such as 300s or 5ms", text);
	return 0;
}

/* The value behind "name " in text; NULL when it begins otherwise. */
static const char *
value_of(const char *text, const char *name)
{
	size_t n = strlen(name);

	return strncmp(text, name, n) == 0 && text[n] == ' ' ? text + n + 1 : NULL;
}

/* Of struct smtp_conf: "max-errors 3", "login certificate password". *rc_out is the result when it is one. */
static bool
conf_smtp(struct run *r, const char *text, int *rc_out)
{
	struct smtp_conf *c = &r->next.smtp;
	const struct {
		const char *name;
		uint32_t *to;
	} numbers[] = { { "max-recipients", &c->max_recipients }, { "max-errors", &c->max_errors },
			{ "max-unknown", &c->max_unknown }, { "max-commands", &c->max_commands } };
	const char *v;
	uint64_t n;
	size_t i;

	*rc_out = 0;
	for (i = 0; i < PT_COUNT(numbers); i++) {
		if ((v = value_of(text, numbers[i].name)) == NULL)
			continue;
		if (!scan_u64(span_str(v), &n) || n > UINT32_MAX)
			*rc_out = fail(r, "not a number: %s", v);
		*numbers[i].to = (uint32_t)n;
		return true;
	}
	if ((v = value_of(text, "size")) != NULL) {
		if (!scan_u64(span_str(v), &c->max_message_octets))
			*rc_out = fail(r, "not a number: %s", v);
	} else if ((v = value_of(text, "message-timeout")) != NULL) {
		if ((*rc_out = duration(r, v, &n)) == 0)
			c->message_timeout_ms = (uint32_t)n;
	} else if ((v = value_of(text, "greeting-delay")) != NULL) {
		if ((*rc_out = duration(r, v, &n)) == 0)
			c->greeting_delay_ms = (uint32_t)n;
	} else if ((v = value_of(text, "login")) != NULL) {
		c->login = (strstr(v, "certificate") != NULL ? SMTP_LOGIN_CERTIFICATE : 0) |
			   (strstr(v, "password") != NULL ? SMTP_LOGIN_PASSWORD : 0);
	} else {
		return false;
	}
	return true;
}

/* A script's strings end at its "|" signs, which are written over. */
static char *
part_of(char **rest)
{
	char *part = *rest, *bar = strstr(part, " | ");

	*rest = NULL;
	if (bar != NULL) {
		*bar = '\0';
		*rest = bar + 3;
	}
	return part;
}

/* capability PLACE TEXT | PATTERN [| TO] */
static int
conf_capability(struct run *r, const char *text)
{
	static const char *const places[] = { [EXEC_BEFORE] = "before", [EXEC_AFTER] = "after",
					      [EXEC_APPEND] = "append" };
	struct exec_facts *x = &r->next.exec;
	struct exec_capability *c = &x->capabilities[x->conf.ncapabilities];
	size_t i, k = r->nparts;
	char *rest;

	if (x->conf.ncapabilities == EXEC_CAPABILITIES_MAX || k == PT_COUNT(r->parts) ||
	    (rest = r->parts[r->nparts++] = strdup(text)) == NULL)
		return fail(r, "too many capabilities");
	for (i = 0; i < PT_COUNT(places); i++)
		if (value_of(rest, places[i]) != NULL)
			break;
	if (i == PT_COUNT(places))
		return fail(r, "no such place: %s", text);
	c->place = (enum exec_place)i;
	rest += strlen(places[i]) + 1;
	c->text = part_of(&rest);
	c->pattern = rest != NULL ? part_of(&rest) : "";
	c->to = rest;
	x->conf.ncapabilities++;
	return 0;
}

static int
conf_exec(struct run *r, const char *text)
{
	static const char *const words[EXEC_TEXT_COUNT] = {
#define EXEC_TEXT_WORD(name, word, text) [EXEC_TX_##name] = (word),
		EXEC_TEXTS(EXEC_TEXT_WORD)
#undef EXEC_TEXT_WORD
	};
	struct exec_facts *x = &r->next.exec;
	const struct {
		const char *name;
		bool *to;
	} flags[] = { { "at-once", &x->conf.at_once }, { "login", &x->conf.needs_login },
		      { "case-sensitive", &x->conf.case_sensitive }, { "arguments", &x->conf.arguments } };
	const struct {
		const char *name;
		const char **to;
	} texts[] = { { "greeting", &x->conf.greeting }, { "keyword", &x->conf.keyword },
		      { "reply", &x->conf.reply }, { "banner", &x->conf.banner } };
	const char *v, *said;
	uint64_t ms;
	size_t i;
	int rc;

	for (i = 0; i < PT_COUNT(flags); i++)
		if (strcmp(text, flags[i].name) == 0) {
			*flags[i].to = true;
			return 0;
		}
	for (i = 0; i < PT_COUNT(texts); i++)
		if ((v = value_of(text, texts[i].name)) != NULL) {
			*texts[i].to = v;
			return 0;
		}
	if ((v = value_of(text, "capability")) != NULL)
		return conf_capability(r, v);
	if ((v = value_of(text, "plaintext")) != NULL && x->conf.nplaintext < EXEC_PATTERNS_MAX) {
		x->plaintext[x->conf.nplaintext++] = v;
		return 0;
	}
	if ((v = value_of(text, "linger")) != NULL) {
		if ((rc = duration(r, v, &ms)) == 0)
			x->conf.linger_ms = (uint32_t)ms;
		return rc;
	}
	for (i = 0; (v = value_of(text, "say")) != NULL && i < EXEC_TEXT_COUNT; i++)
		if ((said = value_of(v, words[i])) != NULL) {
			x->conf.says[i] = said;
			return 0;
		}
	return fail(r, "no such conf: exec %s", text);
}

static int
step_conf(struct run *r, const struct step *st)
{
	const char *v;
	uint64_t ms;
	int rc;

	if ((v = value_of(st->text, "hostname")) != NULL) {
		r->next.conf.hostname = v;
	} else if ((v = value_of(st->text, "service")) != NULL) {
		r->next.conf.service = v;
	} else if ((v = value_of(st->text, "idle-timeout")) != NULL) {
		if ((rc = duration(r, v, &ms)) != 0)
			return rc;
		r->next.conf.idle_timeout_ms = (uint32_t)ms;
	} else if (conf_smtp(r, st->text, &rc)) {
		return rc;
	} else if ((v = value_of(st->text, "exec")) != NULL) {
		return conf_exec(r, v);
	} else {
		return fail(r, "no such conf: %s", st->text);
	}
	return 0;
}

static int
step_offer(struct run *r, const struct step *st)
{
	int i = find(offer_names, PT_COUNT(offer_names), st->text);

	if (i < 0)
		return fail(r, "no such offer: %s", st->text);
	r->offer = (enum engine_offer)i;
	return 0;
}

static int
step_peer(struct run *r, const struct step *st)
{
	struct engine_peer *p = &r->next.peer;
	const struct {
		const char *name;
		const char **to;
	} facts[] = {
		{ "version", &p->tls_version }, { "cipher", &p->tls_cipher },
		{ "group", &p->tls_group },     { "verdict", &p->verdict },
		{ "subject", &p->subject },     { "identity", &p->identity },
		{ "suite", &p->tls_suite },     { "address", &p->address },
	};
	const char *v;
	size_t i;

	if (strcmp(st->text, "tls") == 0 || strcmp(st->text, "resumed") == 0) {
		p->tls = true;
		p->resumed = p->resumed || st->text[0] == 'r';
		return 0;
	}
	if (strcmp(st->text, "binds") == 0) {
		p->binds = true;
		return 0;
	}
	if (strcmp(st->text, "plaintext") == 0) {
		*p = (struct engine_peer){ 0 };
		return 0;
	}
	if ((v = value_of(st->text, "san")) != NULL) {
		if (p->nsans == SANS_MAX)
			return fail(r, "more than %d names", SANS_MAX);
		r->next.sans[p->nsans++] = v;
		return 0;
	}
	for (i = 0; i < PT_COUNT(facts); i++) {
		if ((v = value_of(st->text, facts[i].name)) != NULL) {
			*facts[i].to = v;
			return 0;
		}
	}
	return fail(r, "no such fact of a peer: %s", st->text);
}

static int
step_start(struct run *r, const struct step *st)
{
	int i = find(start_names, PT_COUNT(start_names), st->text), rc;

	if (i < 0)
		return fail(r, "no such start: %s", st->text);
	if (r->protocol == NULL)
		return fail(r, "no protocol has been named");
	if ((rc = nothing_unread(r)) != 0)
		return rc;
	if (r->next.peer.tls && r->offer != ENGINE_OFFER_NONE)
		return fail(r, "STARTTLS cannot be offered within TLS: offer none");
	if ((i == ENGINE_UPGRADED) != r->next.peer.tls && i != ENGINE_GREET)
		return fail(r, "upgraded is within TLS, restarted is in plaintext");
	engine_free(&r->e);
	buf_fini(&r->unsent);
	r->closed = r->asked = false;
	r->live = r->next;
	r->live.peer.sans = r->live.sans;
	r->live.conf.smtp = &r->live.smtp;
	r->ask.live = false;
	r->live.conf.exec = &r->live.exec.conf;
	r->live.exec.conf.plaintext = r->live.exec.plaintext;
	r->live.exec.conf.capabilities = r->live.exec.capabilities;
	r->e = r->protocol->new(&r->live.conf, (enum engine_start)i, r->offer, &r->live.peer,
				r->now_ms);
	return r->e == NULL ? fail(r, "out of memory") : pump(r);
}

static int
answer(struct run *r, const char *word)
{
	static const char *const names[] = { [ENGINE_ANSWER_OK] = "ok",
					     [ENGINE_ANSWER_UNAVAILABLE] = "unavailable" };
	int i, rc;

	if (!r->asked || r->closed)
		return fail(r, "nothing has been asked");
	if (r->question.type == ENGINE_EV_ASK) {
		if ((rc = reply(r, r->question.kind, word)) != 0)
			return rc;
	} else {
		if ((i = find(names, PT_COUNT(names), word)) < 0)
			return fail(r, "no such answer: %s", word);
		engine_answer(r->e, (enum engine_answer)i, r->now_ms);
	}
	r->asked = false;
	if ((rc = pump(r)) != 0)
		return rc;
	return offer_unsent(r);
}

static int
step_event(struct run *r, const struct step *st)
{
	const char *arrow = strstr(st->text, " -> ");
	size_t n = arrow == NULL ? st->len : (size_t)(arrow - st->text);
	struct told *t = &r->events[0];

	r->expected = true;
	if (r->e == NULL)
		return fail(r, "no session has been started");
	if (n == 6 && memcmp(st->text, "answer", n) == 0 && arrow != NULL)
		return answer(r, arrow + 4);
	if (r->nevents == 0)
		return fail(r, "expected event: %.*s; got: none", (int)n, st->text);
	if (strlen(t->words) != n || memcmp(t->words, st->text, n) != 0)
		return fail(r, "expected event: %.*s; got: %s", (int)n, st->text, t->words);
	if (t->type == ENGINE_EV_START_TLS || t->type == ENGINE_EV_ASK) {
		r->question = *t;
		r->asked = true;
	}
	memmove(r->events, r->events + 1, --r->nevents * sizeof(r->events[0]));
	return arrow == NULL ? 0 : answer(r, arrow + 4);
}

static int
step_body(struct run *r, const struct step *st)
{
	struct span s = buf_span(&r->ask.body), want = { (const uint8_t *)st->text, st->len };
	char wanted[SHOWN_MAX], shown[SHOWN_MAX];
	const uint8_t *lf;
	size_t skip = 0;

	r->expected = r->ask.looked = true;
	if (st->verb == SCRIPT_V_BODY_RAW) {
		if (s.n > want.n)
			s.n = want.n;
	} else if (s.n > 0 && (lf = memchr(s.p, '\n', s.n)) != NULL && lf > s.p && lf[-1] == '\r') {
		s.n = (size_t)(lf - s.p) - 1;
		skip = 2;
	}
	if (!matches(st, s))
		return fail(r, "expected in the body: %s; got: %s", show(want, wanted), show(s, shown));
	buf_consume(&r->ask.body, s.n + skip);
	return 0;
}

static int
step_sink(struct run *r, const struct step *st)
{
	uint64_t n = SIZE_MAX;

	if (strcmp(st->text, "room all") != 0 &&
	    (strncmp(st->text, "room ", 5) != 0 || !scan_u64(span_str(st->text + 5), &n)))
		return fail(r, "not of a sink: %s", st->text);
	r->ask.room = (size_t)n;
	return r->e == NULL ? 0 : offer_unsent(r);
}

static int
step_auto(struct run *r, const struct step *st)
{
	return ask_automatic(&r->ask, st->text) ? 0 : fail(r, "no such question: %s", st->text);
}

static int
step_notes(struct run *r, const struct step *st)
{
	r->ask.notes = strcmp(st->text, "on") == 0;
	return r->ask.notes || strcmp(st->text, "off") == 0 ? 0 : fail(r, "notes are on or off");
}

static int
step_wait(struct run *r, const struct step *st)
{
	uint64_t ms, end_ms, next_ms;
	int rc;

	if ((rc = client_ready(r)) != 0 || (rc = duration(r, st->text, &ms)) != 0)
		return rc;
	end_ms = r->now_ms + ms;
	while ((next_ms = engine_tick(r->e, r->now_ms)) <= end_ms) {
		if (next_ms <= r->now_ms)
			return fail(r, "the engine names a deadline that has passed");
		r->now_ms = next_ms;
	}
	r->now_ms = end_ms;
	engine_tick(r->e, r->now_ms);
	return pump(r);
}

static int
step_end_of_input(struct run *r, const struct step *st)
{
	if (st->len > 0)
		return fail(r, "end-of-input stands alone");
	if (r->e == NULL)
		return fail(r, "no session has been started");
	engine_end_of_input(r->e);
	return pump(r);
}

static int
step_bye(struct run *r, const struct step *st)
{
	int i = find(bye_names, PT_COUNT(bye_names), st->text);

	if (i < 0)
		return fail(r, "no such bye: %s", st->text);
	if (r->e == NULL)
		return fail(r, "no session has been started");
	engine_bye(r->e, (enum engine_bye)i);
	return pump(r);
}

/* --- the program ------------------------------------------------------------------------------ */

static int
program_ready(struct run *r)
{
	if (r->e == NULL || !engine_has_program(r->e))
		return fail(r, "no session with a program has been started");
	return r->nevents == 0 ? 0 : fail(r, "an event that no step reads: %s", r->events[0].words);
}

/* The program writes, as much as is taken at a time; octet by octet where the client speaks so. */
static int
step_program_output(struct run *r, const struct step *st)
{
	size_t done = 0, room, n;
	int rc;

	if ((rc = program_ready(r)) != 0)
		return rc;
	while (done < st->len) {
		n = r->cut == 0 ? 1 : st->len - done;
		if ((room = engine_program_room(r->e)) == 0)
			return fail(r, "the program's output is not taken");
		if (n > room)
			n = room;
		engine_program_output(r->e, (const uint8_t *)st->text + done, n, r->now_ms);
		done += n;
		if ((rc = pump(r)) != 0)
			return rc;
	}
	return offer_unsent(r);
}

static int
step_program_input(struct run *r, const struct step *st)
{
	struct span s = buf_span(&r->input), want = { (const uint8_t *)st->text, st->len };
	char wanted[SHOWN_MAX], shown[SHOWN_MAX];

	r->expected = true;
	if (s.n < want.n || memcmp(s.p, want.p, want.n) != 0)
		return fail(r, "expected as the program's input: %s; got: %s", show(want, wanted),
			show(s, shown));
	buf_consume(&r->input, want.n);
	return 0;
}

static int
step_program(struct run *r, const struct step *st)
{
	int rc;

	if ((rc = program_ready(r)) != 0)
		return rc;
	if (strcmp(st->text, "runs") == 0)
		engine_program_started(r->e, r->now_ms);
	else if (strcmp(st->text, "busy") == 0)
		engine_program_refused(r->e, ENGINE_NO_PROGRAM_BUSY);
	else if (strcmp(st->text, "failed") == 0)
		engine_program_refused(r->e, ENGINE_NO_PROGRAM_FAILED);
	else if (strcmp(st->text, "away") == 0)
		engine_program_refused(r->e, ENGINE_NO_PROGRAM_AWAY);
	else if (strcmp(st->text, "nobodys") == 0)
		engine_program_refused(r->e, ENGINE_NO_PROGRAM_LOGIN);
	else if (strcmp(st->text, "ends") == 0)
		engine_program_ended(r->e);
	else
		return fail(r, "no such step of a program: %s", st->text);
	if ((rc = pump(r)) != 0)
		return rc;
	return offer_unsent(r);
}

static step_f *const acts[SCRIPT_V_COUNT] = {
	[SCRIPT_V_CLIENT] = step_client,
	[SCRIPT_V_CLIENT_RAW] = step_client,
	[SCRIPT_V_CLIENT_WHOLE] = step_client,
	[SCRIPT_V_CLIENT_REFUSED] = step_client_refused,
	[SCRIPT_V_SERVER] = step_server,
	[SCRIPT_V_SERVER_RAW] = step_server,
	[SCRIPT_V_SERVER_ALL] = step_server_all,
	[SCRIPT_V_SERVER_LIKE] = step_server,
	[SCRIPT_V_BODY] = step_body,
	[SCRIPT_V_BODY_RAW] = step_body,
	[SCRIPT_V_BODY_LIKE] = step_body,
	[SCRIPT_V_SINK] = step_sink,
	[SCRIPT_V_AUTO] = step_auto,
	[SCRIPT_V_NOTES] = step_notes,
	[SCRIPT_V_PROTOCOL] = step_protocol,
	[SCRIPT_V_CONF] = step_conf,
	[SCRIPT_V_OFFER] = step_offer,
	[SCRIPT_V_PEER] = step_peer,
	[SCRIPT_V_START] = step_start,
	[SCRIPT_V_EVENT] = step_event,
	[SCRIPT_V_WAIT] = step_wait,
	[SCRIPT_V_END_OF_INPUT] = step_end_of_input,
	[SCRIPT_V_BYE] = step_bye,
	[SCRIPT_V_SERVER_OCTETS] = step_server_octets,
	[SCRIPT_V_PROGRAM_LINE] = step_program_output,
	[SCRIPT_V_PROGRAM_RAW] = step_program_output,
	[SCRIPT_V_PROGRAM_INPUT] = step_program_input,
	[SCRIPT_V_PROGRAM] = step_program,
};

/* What must hold when the last step is done. */
static int
check_end(struct run *r)
{
	int rc;

	if (!r->expected)
		return fail(r, "the script expects nothing");
	if ((rc = nothing_unread(r)) != 0 || (rc = body_unread(r)) != 0)
		return rc;
	if (!r->closed && buf_size(&r->unsent) > 0)
		return fail(r, "%zu octets were never taken", buf_size(&r->unsent));
	return 0;
}

/* One replay; cut as in struct run. */
static int
replay(const struct script *s, size_t cut, struct diag *diag)
{
	static const struct step none = { .verb = SCRIPT_V_COUNT };
	struct run *r;
	size_t i;
	int rc = 0;

	if ((r = calloc(1, sizeof(*r))) == NULL)
		return diag_set(diag, PT_ENOMEM, "%s: out of memory", s->path);
	r->script = s;
	r->step = &none;
	r->cut = cut;
	r->diag = diag;
	r->now_ms = 1000;
	r->next.conf = (struct engine_conf){ .hostname = "mail.example.org", .service = "example",
					     .idle_timeout_ms = 300000 };
	r->next.smtp = (struct smtp_conf){ .max_message_octets = 1000000, .max_recipients = 100,
					   .max_errors = 20, .max_unknown = 10, .max_commands = 1000,
					   .login = SMTP_LOGIN_CERTIFICATE };
	ask_script_init(&r->ask);
	r->next.exec.conf = (struct exec_conf){ .keyword = "STARTTLS", .reply = "OK begin TLS",
						.linger_ms = 2000 };
	buf_init(&r->unsent, SCRIPT_TEXT_MAX * 2);
	buf_init(&r->got, GOT_MAX);
	buf_init(&r->input, GOT_MAX);
	for (i = 0; i < s->n && rc == 0; i++) {
		r->step = &s->steps[i];
		rc = acts[r->step->verb](r, r->step);
	}
	if (rc == 0)
		rc = check_end(r);
	engine_free(&r->e);
	buf_fini(&r->unsent);
	buf_fini(&r->got);
	ask_script_fini(&r->ask);
	buf_fini(&r->input);
	while (r->nparts > 0)
		free(r->parts[--r->nparts]);
	free(r);
	return rc;
}

/* The next place to cut lines at: all of them near the ends and where limits are, few between. */
static size_t
next_cut(size_t cut, size_t longest)
{
	size_t near = 80;

	if (cut < near || cut + near >= longest || (cut > 1000 && cut < 1100))
		return cut + 1;
	return cut + 97 + near >= longest ? longest - near : cut + 97;
}

static int
replay_all(const struct script *s, struct diag *diag)
{
	size_t i, cut, longest = 0;
	enum script_verb verb;
	int rc;

	for (i = 0; i < s->n; i++) {
		verb = s->steps[i].verb;
		if ((verb == SCRIPT_V_CLIENT || verb == SCRIPT_V_CLIENT_RAW) &&
		    s->steps[i].len > longest)
			longest = s->steps[i].len;
	}
	if ((rc = replay(s, SIZE_MAX, diag)) != 0 || (rc = replay(s, 0, diag)) != 0)
		return rc;
	for (cut = 1; cut < longest; cut = next_cut(cut, longest))
		if ((rc = replay(s, cut, diag)) != 0)
			return rc;
	return 0;
}

/* Runs one script; one that must fail must do so at the line and with the text that it names. */
static bool
run_file(const char *path, bool must_fail)
{
	struct diag diag = { "" };
	struct script s;
	char want[DIAG_MAX];
	int rc;

	if ((rc = script_read(&s, path, &diag)) == 0)
		rc = replay_all(&s, &diag);
	if (must_fail && s.fails_text != NULL) {
		snprintf(want, sizeof(want), "%s:%u: %s", path, s.fails_line, s.fails_text);
		if (rc == 0)
			diag_set(&diag, 0, "%s: did not fail, expected: %s", path, want);
		rc = rc != 0 && strncmp(diag.text, want, strlen(want)) == 0 ? 0 : PT_EINVAL;
	} else if (must_fail) {
		rc = diag_set(&diag, PT_EINVAL, "%s: does not say where it must fail", path);
	}
	script_fini(&s);
	if (rc == 0)
		printf("ok %s\n", path);
	else
		printf("not ok %s\n%s\n", path, diag.text);
	return rc == 0;
}

static void
run_glob(const char *pattern, bool must_fail, unsigned *passed, unsigned *failed)
{
	glob_t g;
	size_t i;

	if (glob(pattern, 0, NULL, &g) != 0) {
		printf("not ok %s: no such scripts\n", pattern);
		++*failed;
		return;
	}
	for (i = 0; i < g.gl_pathc; i++)
		++*(run_file(g.gl_pathv[i], must_fail) ? passed : failed);
	globfree(&g);
}

int
main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0;
	size_t i;
	char pattern[4096];

	for (i = 1; i < (size_t)argc; i++)
		++*(run_file(argv[i], false) ? &passed : &failed);
	for (i = 0; i < PT_COUNT(protocols) && argc < 2; i++) {
		snprintf(pattern, sizeof(pattern), TEST_SRCDIR "/script/%s/*.txt",
			 protocols[i]->name);
		run_glob(pattern, false, &passed, &failed);
	}
	if (argc < 2)
		run_glob(TEST_SRCDIR "/script/must-fail/*.txt", true, &passed, &failed);
	printf("# %u passed, %u failed, 0 skipped\n", passed, failed);
	return passed > 0 && failed == 0 ? 0 : 1;
}
