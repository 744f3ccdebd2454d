/* unit/proto/test_smtp_engine.c - what scripts cannot see: memory, and what happens when there is none
 * left. malloc and its kin are wrapped by the linker and counted here. */
#include "test.h"

#include "proto/ask.h"
#include "proto/smtp/smtp_engine.h"
#include "util/err.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);

static size_t held;             /* octets */
static unsigned long made;      /* allocations so far */
static unsigned long fail_from; /* this one and all behind it fail; 0: none */

static bool
fails(void)
{
	made++;
	return fail_from > 0 && made >= fail_from;
}

static void *
count(void *p)
{
	held += p == NULL ? 0 : malloc_usable_size(p);
	return p;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : count(__real_malloc(n));
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : count(__real_calloc(n, size));
}

void *
__wrap_reallocarray(void *p, size_t n, size_t size)
{
	if (fails())
		return NULL;
	held -= p == NULL ? 0 : malloc_usable_size(p);
	return count(__real_reallocarray(p, n, size));
}

char *
__wrap_strdup(const char *s)
{
	return fails() ? NULL : count(__real_strdup(s));
}

char *
__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : count(__real_strndup(s, n));
}

void
__wrap_free(void *p)
{
	held -= p == NULL ? 0 : malloc_usable_size(p);
	__real_free(p);
}

static const struct smtp_conf limits = { .max_message_octets = 100 * 1024 * 1024, .max_recipients = 1000,
					 .login = SMTP_LOGIN_CERTIFICATE | SMTP_LOGIN_PASSWORD };
static const struct engine_conf conf = { .hostname = "mail.example.org", .service = "example",
					 .idle_timeout_ms = 300000, .smtp = &limits };
static const struct engine_peer tls = { .tls = true, .tls_version = "TLS1.3", .verdict = "trusted",
					.identity = "alice@example.org", .binds = true,
					.tls_suite = "TLS_AES_128_GCM_SHA256", .tls_group = "X25519" };

static uint64_t put;
static unsigned opened, dropped, committed;

static size_t
sink_room(void *arg)
{
	(void)arg;
	return ASK_SINK_ROOM_MIN;
}

static void
sink_put(void *arg, const uint8_t *p, size_t n)
{
	(void)arg;
	(void)p;
	CU_ASSERT_TRUE(n <= ASK_SINK_ROOM_MIN);
	put += n;
}

static void
sink_drop(void *arg)
{
	(void)arg;
	dropped++;
}

static const struct ask_sink_ops sink = { sink_room, sink_put, sink_drop };

/* Says yes to all that is asked. true: the session is closed. */
static bool
events(struct engine *e)
{
	struct engine_event ev;
	struct ask_reply yes = { .result = ASK_OK, .user = "alice@example.org", .id = "1a2b3c" };
	bool closed = false;

	while (engine_event(e, &ev)) {
		closed = closed || ev.type == ENGINE_EV_CLOSE;
		if (ev.type != ENGINE_EV_ASK)
			continue;
		yes.sink = (struct ask_sink){ &sink, NULL };
		opened += ev.ask->kind == ASK_BODY;
		committed += ev.ask->kind == ASK_COMMIT;
		engine_reply(e, &yes, 0);
	}
	return closed;
}

/* Offers text until it is taken or the session is closed, and reads what is said. */
static void
talk(struct engine *e, const char *text, size_t n)
{
	size_t taken, at = 0;
	bool closed = events(e);

	while (at < n && !closed) {
		taken = engine_input(e, (const uint8_t *)text + at, n - at, 0);
		engine_output_done(e, engine_output(e).n);
		closed = events(e);
		at += taken;
		if (taken == 0)
			CU_ASSERT_TRUE_FATAL(closed || engine_output(e).n == 0);
	}
	engine_output_done(e, engine_output(e).n);
}

static const char session[] =
	"EHLO client.example\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<alice@example.org>\r\n"
	"RCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n"
	"RCPT TO:<d@example.org>\r\nRCPT TO:<e@example.org>\r\nDATA\r\n"
	"From: sales@example.org\r\n\r\nbody\r\n.\r\n";

static void
test_idle(void)
{
	struct engine *e;
	size_t before = held, idle;

	e = submission_protocol.new(&conf, ENGINE_UPGRADED, ENGINE_OFFER_NONE, &tls, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	talk(e, "EHLO client.example\r\n", 21);
	idle = held - before;
	CU_ASSERT_TRUE(idle <= 600);
	talk(e, session, sizeof(session) - 1);
	CU_ASSERT_EQUAL(held - before, idle); /* a message leaves nothing behind */
	talk(e, "MAIL FR", 7);
	engine_free(&e);
	CU_ASSERT_EQUAL(held, before);
	CU_ASSERT_EQUAL(opened, dropped + committed);
}

/* 50 MiB stream past, and the engine grows by nothing. */
static void
test_stream(void)
{
	static char block[64 * 1024];
	size_t before = held, most = 0, i;
	struct engine *e;
	uint64_t want;

	for (i = 0; i + 64 <= sizeof(block); i += 64) {
		memset(block + i, 'x', 62);
		memcpy(block + i + 62, "\r\n", 2);
	}
	e = submission_protocol.new(&conf, ENGINE_UPGRADED, ENGINE_OFFER_NONE, &tls, 0);
	talk(e, session, sizeof(session) - 1 - strlen("body\r\n.\r\n"));
	want = put;
	for (i = 0; i < 50 * 1024 * 1024 / sizeof(block); i++) {
		talk(e, block, sizeof(block));
		most = held - before > most ? held - before : most;
	}
	CU_ASSERT_EQUAL(put - want, i * sizeof(block));
	CU_ASSERT_TRUE(most <= 9 * 1024);
	engine_free(&e);
	CU_ASSERT_EQUAL(held, before);
	CU_ASSERT_EQUAL(opened, dropped + committed);
}

/* Wherever memory ends, the session does, cleanly. */
static void
test_no_memory(void)
{
	size_t before = held;
	unsigned long n;
	struct engine *e;

	for (n = 1; n < 400; n++) {
		made = 0;
		fail_from = n;
		e = submission_protocol.new(&conf, ENGINE_GREET, ENGINE_OFFER_NONE, &tls, 0);
		if (e != NULL)
			talk(e, session, sizeof(session) - 1);
		engine_free(&e);
		CU_ASSERT_EQUAL(held, before);
		CU_ASSERT_EQUAL(opened, dropped + committed);
		if (made < fail_from)
			break;
	}
	CU_ASSERT_TRUE(n > 20 && n < 400);
	fail_from = 0;
}

static const struct test_row rows[] = {
	{ "an idle session holds little", test_idle },
	{ "a message streams past", test_stream },
	{ "out of memory anywhere", test_no_memory },
};
TEST_MAIN("smtp_engine", rows)
