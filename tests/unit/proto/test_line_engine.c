/* unit/proto/test_line_engine.c - what scripts cannot see: memory, back-pressure, and what happens
 * when there is none left. malloc and its kin are wrapped by the linker and counted here. */
#include "test.h"

#include "proto/line/line_cmd.h"
#include "proto/line/line_engine.h"
#include "util/err.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

static size_t held;             /* octets */
static unsigned long made;      /* allocations so far */
static unsigned long fail_from; /* this one and all behind it fail; 0: none */

static void *
count(void *p)
{
	held += p == NULL ? 0 : malloc_usable_size(p);
	return p;
}

void *
__wrap_malloc(size_t n)
{
	made++;
	return fail_from > 0 && made >= fail_from ? NULL : count(__real_malloc(n));
}

void *
__wrap_calloc(size_t n, size_t size)
{
	made++;
	return fail_from > 0 && made >= fail_from ? NULL : count(__real_calloc(n, size));
}

void
__wrap_free(void *p)
{
	held -= p == NULL ? 0 : malloc_usable_size(p);
	__real_free(p);
}

static const struct engine_conf conf = { .hostname = "mail.example.org", .service = "example",
					 .idle_timeout_ms = 300000 };
static const struct engine_peer plaintext;
static const struct engine_peer tls = { .tls = true, .tls_version = "TLS1.3",
					.tls_cipher = "AES-128-GCM", .tls_group = "X25519",
					.verdict = "none" };

static struct engine *
start(const struct engine_peer *peer, enum engine_offer offer)
{
	struct engine *e = line_protocol.new(&conf, ENGINE_GREET, offer, peer, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	engine_output_done(e, engine_output(e).n);
	return e;
}

static size_t
offer(struct engine *e, const char *text)
{
	return engine_input(e, (const uint8_t *)text, strlen(text), 0);
}

/* Ten thousand idle sessions live in one worker. */
static void
test_idle_memory(void)
{
	size_t before = held, idle;
	struct engine *e = start(&tls, ENGINE_OFFER_NONE);

	idle = held - before;
	CU_ASSERT(idle <= 200);
	CU_ASSERT_EQUAL(offer(e, "WHOAMI\r\nECHO x\r\nFROB\r\nNO"), 24);
	CU_ASSERT(held - before > idle);
	CU_ASSERT_EQUAL(offer(e, "OP\r\n"), 4);
	engine_output_done(e, engine_output(e).n);
	CU_ASSERT_EQUAL(held - before, idle); /* nothing waits: nothing is held */
	engine_free(&e);
	CU_ASSERT_PTR_NULL(e);
	CU_ASSERT_EQUAL(held, before);
	engine_free(&e);
}

/* A command in one piece is never copied: the reply is all that needs memory. */
static void
test_noop_allocations(void)
{
	struct engine *e = start(&tls, ENGINE_OFFER_NONE);
	unsigned long before = made;
	unsigned i;

	for (i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(offer(e, "NOOP\r\n"), 6);
		engine_output_done(e, engine_output(e).n);
	}
	CU_ASSERT(made - before <= 100);
	before = made;
	for (i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(offer(e, "NOOP\r\n"), 6);
	CU_ASSERT(made - before <= 4); /* pipelined: the buffer grows, no more */
	engine_free(&e);
}

/* A peer that sends and never reads. */
static void
test_back_pressure(void)
{
	static const char *const commands[] = { "NOOP\r\n", "WHOAMI\r\n", "HELP\r\n",
						"CAPABILITY\r\n" };
	char echo[LINE_LINE_MAX + 1];
	size_t i, taken, before = held, drained = 0;
	struct engine_event ev;
	struct engine *e;
	const char *command;

	memset(echo, '"', sizeof(echo));
	memcpy(echo, "ECHO ", 5);
	memcpy(echo + LINE_LINE_MAX - 2, "\r\n", 3);
	for (i = 0; i <= PT_COUNT(commands); i++) {
		command = i < PT_COUNT(commands) ? commands[i] : echo;
		e = start(&tls, ENGINE_OFFER_NONE);
		do {
			CU_ASSERT(engine_output(e).n <= ENGINE_OUTPUT_MAX);
			taken = offer(e, command);
			CU_ASSERT(taken == 0 || taken == strlen(command));
		} while (taken > 0);
		CU_ASSERT(engine_output(e).n > ENGINE_OUTPUT_HIGH);
		CU_ASSERT(held - before <= 2 * ENGINE_OUTPUT_MAX + LINE_LINE_MAX + 512);
		CU_ASSERT_FALSE(engine_event(e, &ev));
		/* at the mark input is taken again, one octet above it is not */
		engine_output_done(e, engine_output(e).n - ENGINE_OUTPUT_HIGH - 1);
		CU_ASSERT_EQUAL(offer(e, command), 0);
		engine_output_done(e, 1);
		CU_ASSERT_EQUAL(offer(e, command), strlen(command));
		/* and it does not stay for ever: the idle goodbye fits too */
		CU_ASSERT_EQUAL(engine_tick(e, 1000000), UINT64_MAX);
		CU_ASSERT_TRUE(engine_event(e, &ev));
		CU_ASSERT_EQUAL(ev.why, ENGINE_CLOSE_IDLE);
		CU_ASSERT(engine_output(e).n <= ENGINE_OUTPUT_MAX);
		drained += engine_output(e).n;
		engine_free(&e);
	}
	CU_ASSERT(drained > 0);
	CU_ASSERT_EQUAL(held, before);
}

/* Half a line is held within its bound; an over-long one is not stored. */
static void
test_input_memory(void)
{
	struct engine *e = start(&tls, ENGINE_OFFER_NONE);
	size_t i, before = held, most = 0;

	for (i = 0; i < 20000; i++) {
		CU_ASSERT_EQUAL(offer(e, "a"), 1);
		most = held - before > most ? held - before : most;
	}
	engine_output_done(e, engine_output(e).n);
	CU_ASSERT(most <= 4 * LINE_LINE_MAX);
	CU_ASSERT_EQUAL(held, before);
	engine_free(&e);
}

static const char talk[] = "NOOP\r\nNOOP tag\r\nECHO x\"y\r\nHELP\r\nHELP ECHO\r\nCAPABILITY\r\n"
			   "WHOAMI\r\nFROB\r\n\nSTARTTLS\r\nHELP\r\nQUIT\r\n";

/* One session in pieces of the given size, the output drained when drain. Returns false when the
 * engine could not be made. */
static bool
converse(size_t piece, bool drain, enum engine_close *why)
{
	struct engine *e;
	struct engine_event ev;
	size_t i, n;

	if ((e = line_protocol.new(&conf, ENGINE_GREET, ENGINE_OFFER_NONE, &tls, 0)) == NULL)
		return false;
	*why = ENGINE_CLOSE_COUNT;
	for (i = 0; i < sizeof(talk) - 1; i += n) {
		n = sizeof(talk) - 1 - i < piece ? sizeof(talk) - 1 - i : piece;
		n = engine_input(e, (const uint8_t *)talk + i, n, 0);
		if (drain || engine_output(e).n > ENGINE_OUTPUT_HIGH)
			engine_output_done(e, engine_output(e).n);
		while (engine_event(e, &ev)) {
			CU_ASSERT_EQUAL(ev.type, ENGINE_EV_CLOSE);
			*why = ev.why;
		}
		if (*why != ENGINE_CLOSE_COUNT)
			break;
		CU_ASSERT_FATAL(n > 0);
	}
	engine_free(&e);
	return true;
}

/* Each allocation fails in turn, with all behind it: the session closes, and says so. */
static void
test_no_memory(void)
{
	static const size_t pieces[] = { 1, 3, 1000 };
	unsigned long n, all;
	size_t before = held, i;
	enum engine_close why;
	unsigned drain, refused = 0;

	for (i = 0; i < PT_COUNT(pieces); i++) {
		for (drain = 0; drain < 2; drain++) {
			all = made;
			CU_ASSERT_TRUE(converse(pieces[i], drain, &why));
			CU_ASSERT_EQUAL(why, ENGINE_CLOSE_QUIT);
			all = made - all;
			for (n = 1; n <= all; n++) {
				fail_from = made + n;
				if (!converse(pieces[i], drain, &why))
					refused++;
				else
					CU_ASSERT_EQUAL(why, ENGINE_CLOSE_NO_MEMORY);
				fail_from = 0;
				CU_ASSERT_EQUAL(held, before);
			}
		}
	}
	CU_ASSERT_EQUAL(refused, 2 * PT_COUNT(pieces)); /* the engine itself, once in each */
}

/* Each command, cut in two at every place and octet by octet, says what it says whole. */
static void
test_every_split(void)
{
	static const char *const commands[] = {
		"CAPABILITY\r\n", "ECHO a \"b\"\r\n", "HELP\r\n", "HELP NOOP\r\n", "NOOP\r\n",
		"NOOP \"a b\"\r\n", "QUIT\r\n", "STARTTLS\r\n", "WHOAMI\r\n", "FROB\r\n", "NOOP\n",
		"NO\rOP\r\n", "\r\n", "ECHO \xff\r\n",
	};
	uint8_t whole[ENGINE_OUTPUT_MAX];
	struct engine *e;
	size_t i, k, len, n, step;

	for (i = 0; i < PT_COUNT(commands); i++) {
		len = strlen(commands[i]);
		e = start(&tls, ENGINE_OFFER_NONE);
		CU_ASSERT_EQUAL(offer(e, commands[i]), len);
		n = engine_output(e).n;
		CU_ASSERT_FATAL(n > 0);
		memcpy(whole, engine_output(e).p, n);
		engine_free(&e);
		for (step = 0; step < len; step++) { /* 0: octet by octet */
			e = start(&tls, ENGINE_OFFER_NONE);
			for (k = 0; k < len; k += step == 0 ? 1 : k == 0 ? step : len - k)
				engine_input(e, (const uint8_t *)commands[i] + k,
					     step == 0 ? 1 : k == 0 ? step : len - k, 0);
			CU_ASSERT(span_equal(engine_output(e), (struct span){ whole, n }));
			engine_free(&e);
		}
	}
}

static void
test_refusals(void)
{
	static const char *const begins[ENGINE_BYE_COUNT] = { "BYE (TRYLATER) \"The server is going down",
					      "BYE (TRYLATER) \"The server has as many",
					      "BYE (TRYLATER) \"Your address has as many",
					      "BYE \"Your client certificate is not",
					      "BYE \"Your user was removed", "BYE \"Your user was removed" };
	unsigned why;
	const char *s;

	for (why = 0; why < ENGINE_BYE_COUNT; why++) {
		s = line_protocol.refusal((enum engine_bye)why);
		CU_ASSERT_EQUAL(strncmp(s, begins[why], strlen(begins[why])), 0);
		CU_ASSERT_STRING_EQUAL(s + strlen(s) - 2, "\r\n");
	}
	for (why = 0; why < ENGINE_CLOSE_COUNT; why++)
		CU_ASSERT(strlen(engine_close_text((enum engine_close)why)) > 3);
}

/* Deadlines as the caller sees them. */
static void
test_deadlines(void)
{
	struct engine *e = start(&plaintext, ENGINE_OFFER_REQUIRED);
	struct engine_event ev;

	CU_ASSERT_EQUAL(engine_tick(e, 0), 300000);
	CU_ASSERT_EQUAL(engine_input(e, (const uint8_t *)"NO", 2, 5), 2);
	CU_ASSERT_EQUAL(engine_tick(e, 5), 300000);
	CU_ASSERT_EQUAL(engine_input(e, (const uint8_t *)"OP\r\n", 4, 7), 4);
	CU_ASSERT_EQUAL(engine_tick(e, 7), 300007);
	CU_ASSERT_EQUAL(engine_input(e, (const uint8_t *)"STARTTLS\r\n", 10, 9), 10);
	CU_ASSERT_EQUAL(engine_tick(e, 900000), UINT64_MAX); /* parked: no time of ours runs */
	CU_ASSERT_TRUE_FATAL(engine_event(e, &ev));
	CU_ASSERT_EQUAL(ev.type, ENGINE_EV_START_TLS);
	CU_ASSERT_FALSE(engine_event(e, &ev)); /* once */
	engine_answer(e, ENGINE_ANSWER_UNAVAILABLE, 900000);
	CU_ASSERT_EQUAL(engine_tick(e, 900000), 1200000);
	CU_ASSERT_EQUAL(engine_tick(e, 1199999), 1200000);
	CU_ASSERT_EQUAL(engine_tick(e, 1200000), UINT64_MAX);
	CU_ASSERT_TRUE(engine_event(e, &ev));
	CU_ASSERT_EQUAL(ev.why, ENGINE_CLOSE_IDLE);
	engine_free(&e);
}

static const struct test_row rows[] = {
	{ "an idle session is small", test_idle_memory },
	{ "NOOP copies nothing", test_noop_allocations },
	{ "a peer that never reads", test_back_pressure },
	{ "a line without an end is not stored", test_input_memory },
	{ "no memory", test_no_memory },
	{ "every command at every split", test_every_split },
	{ "refusals and close texts", test_refusals },
	{ "deadlines", test_deadlines },
};

TEST_MAIN("proto/line_engine", rows)
