/* fuzz/fuzz_sasl.c - any messages to any mechanism.
 *
 * The first octet: mechanism, whether the session has a binding, a certificate and an initial response. Messages are
 * separated by an octet 0xff. Nobody here knows a password, so nobody but the certificate's user gets in. The pool
 * has no threads: a PLAIN message that gets that far finds it busy. */
#include "auth/sasl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct talk {
	struct sasl *s;
	unsigned answers;
};

static const char *identity;

static void
answered(void *arg, const struct sasl_answer *a)
{
	struct talk *t = arg;

	t->answers++;
	PT_ASSERT(a->result < AUTH_RESULT_COUNT && a->data.n <= AUTH_MESSAGE_MAX);
	PT_ASSERT((a->result == AUTH_OK) == (a->user[0] != '\0'));
	if (a->result == AUTH_OK)
		PT_ASSERT(strcmp(a->user, identity) == 0);
	if (a->result != AUTH_CONTINUE)
		t->s = NULL;
}

static void
prepare(struct sasl_server *server, struct sasl_realm *realm)
{
	static const char text[] = "alice@example.org {SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
		"bob@example.org -\n";
	static struct users *users;
	struct buf mistakes;

	if (users != NULL)
		return;
	buf_init(&mistakes, 1024);
	PT_ASSERT(users_parse("users", span_str(text), &users, &mistakes) == 0);
	buf_fini(&mistakes);
	PT_ASSERT(sasl_server_init(server) == 0 && (server->pool = pool_new()) != NULL &&
		  (server->failures = failures_new(1)) != NULL);
	realm->directory.users = users;
	verify_model(users, &realm->model);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sasl_server server;
	static struct sasl_realm realm;
	static uint64_t now;
	struct talk t = { .s = NULL };
	struct sasl_begin b = { .tls = true };
	enum auth_result why;
	struct span message;
	const uint8_t *end;
	unsigned n = 0;

	prepare(&server, &realm);
	if (size == 0)
		return 0;
	now += FAILURES_WINDOW_MS; /* what failed before is forgotten */
	identity = data[0] & 0x10 ? "bob@example.org" : "";
	b.mechanism = data[0] & 7;
	b.identity = span_str(identity);
	b.binding = span_str(data[0] & 0x20 ? "0123456789abcdef0123456789abcdef" : "");
	b.success_data = (data[0] & 0x80) != 0;
	if ((t.s = sasl_new(&server, &realm, &b, now, answered, &t, &why)) == NULL)
		return 0;
	if (data[0] & 0x40) {
		sasl_start(t.s, NULL, now);
		PT_ASSERT(++n == t.answers);
	}
	for (data++, size--; t.s != NULL; data += message.n + 1, size -= message.n + 1) {
		end = size > 0 ? memchr(data, 0xff, size) : NULL;
		message = (struct span){ data, end != NULL ? (size_t)(end - data) : size };
		if (n == 0)
			sasl_start(t.s, &message, now);
		else
			sasl_step(t.s, message, now);
		PT_ASSERT(++n == t.answers);
		if (end == NULL)
			break;
	}
	sasl_free(&t.s);
	return 0;
}
