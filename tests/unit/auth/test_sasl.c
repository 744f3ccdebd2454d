/* unit/auth/test_sasl.c - exchanges: with libgsasl as the client, and with messages that no client should send. */
#include "test.h"

#include "auth/sasl.h"

#include <gsasl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINDING "0123456789abcdef0123456789abcdef"
#define VECTOR "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

#define YES_PENCIL "{yescrypt}$y$j75$qGpv6lvmy3rHIMSmlEHlK.$Hda5FjSx5fOqyiACUxCGVg7IgV41LWU1DsLgO1C7DT9"
#define YES_OTHER "{yescrypt}$y$j75$qGpv6lvmy3rHIMSmlEHlK.$VjYnriZe1hTxvF6dB7OzX.hkp.S6zp1gAMCIrVk3UYB"

/* All but nopass, who has certificates only: "pencil". yes has no SCRAM form; the yescrypt form of both is of "other". */
static const char users_text[] = "alice@example.org " VECTOR " - sales@example.org\n"
	"bob@example.org " VECTOR "\n"
	"admin@example.org " VECTOR "\n"
	"yes@example.org " YES_PENCIL "\n"
	"both@example.org " VECTOR YES_OTHER "\n"
	"nopass@example.org -\n";

static struct sasl_server server;
static struct sasl_realm realm;
static struct users *users;
static struct impersonate *table;
static Gsasl *client_ctx;
static uint64_t now;

static void
setup(void)
{
	struct buf b;

	buf_init(&b, 4096);
	PT_ASSERT(users_parse("users", span_str(users_text), &users, &b) == 0);
	PT_ASSERT(impersonate_parse("imp", span_str("admin@example.org *\n"), &table, &b) == 0);
	buf_fini(&b);
	memset(&server, 0, sizeof server);
	PT_ASSERT(sasl_server_init(&server) == 0 && gsasl_init(&client_ctx) == GSASL_OK);
	PT_ASSERT((server.failures = failures_new(5)) != NULL && (server.pool = pool_new()) != NULL);
	PT_ASSERT(pool_start(server.pool, 1) == 0);
	realm = (struct sasl_realm){ .directory.users = users, .impersonate = table };
	verify_model(users, &realm.model);
	now = 1000000;
}

static void
teardown(void)
{
	pool_free(&server.pool);
	failures_free(&server.failures);
	sasl_server_fini(&server);
	users_free(&users);
	impersonate_free(&table);
	gsasl_done(client_ctx);
}

/* --- one exchange ----------------------------------------------------------------------------- */

struct talk {
	struct sasl *s;
	unsigned answers;
	enum auth_result result;
	char user[NORMAL_ADDRESS_MAX], by[NORMAL_ADDRESS_MAX];
	uint8_t data[AUTH_MESSAGE_MAX];
	size_t n;
};

static void
answered(void *arg, const struct sasl_answer *a)
{
	struct talk *t = arg;

	t->answers++;
	t->result = a->result;
	snprintf(t->user, sizeof t->user, "%s", a->user);
	snprintf(t->by, sizeof t->by, "%s", a->by);
	t->n = a->data.n;
	if (t->n > 0)
		memcpy(t->data, a->data.p, t->n);
	if (a->result != AUTH_CONTINUE)
		t->s = NULL;
}

/* The users become others: in the step of that number, or while an answer is waited for. */
static const struct users *change_to;
static unsigned change_at;

static void
change(void)
{
	realm.directory.users = change_to;
	change_to = NULL;
}

static void
wait_answer(struct talk *t, unsigned before)
{
	struct pollfd fd = { .fd = pool_fd(server.pool), .events = POLLIN };

	while (t->answers == before) {
		if (change_to != NULL)
			change();
		PT_ASSERT(poll(&fd, 1, 60000) == 1);
		pool_ready(server.pool);
	}
	PT_ASSERT(t->answers == before + 1);
}

static enum auth_result
begin(struct talk *t, const struct sasl_begin *b, const struct span *initial)
{
	enum auth_result why;

	*t = (struct talk){ .answers = 0 };
	if ((t->s = sasl_new(&server, &realm, b, now, answered, t, &why)) == NULL)
		return t->result = why;
	sasl_start(t->s, initial, now);
	wait_answer(t, 0);
	return t->result;
}

static enum auth_result
next(struct talk *t, const void *p, size_t n)
{
	unsigned before = t->answers;

	PT_ASSERT(t->s != NULL);
	sasl_step(t->s, (struct span){ p, n }, now);
	wait_answer(t, before);
	return t->result;
}

/* One message, and what becomes of it. */
static enum auth_result
one(enum auth_mechanism m, const char *identity, const void *p, size_t n, struct talk *t)
{
	struct sasl_begin b = { .mechanism = m, .tls = true, .identity = span_str(identity), .address_key = 0 };
	struct span initial = { p, n };

	return begin(t, &b, &initial);
}

/* --- PLAIN ------------------------------------------------------------------------------------ */

#define S(text) text, sizeof(text) - 1

static void
test_plain(void)
{
	static const struct {
		const char *message;
		size_t n;
		enum auth_result result;
		const char *user, *by; /* by: of a refusal who was named */
	} rows[] = {
		{ S("\0alice@example.org\0pencil"), AUTH_OK, "alice@example.org", "alice@example.org" },
		{ S("\0Alice@EXAMPLE.org\0pencil"), AUTH_OK, "alice@example.org", "alice@example.org" },
		{ S("alice@example.org\0alice@example.org\0pencil"), AUTH_OK, "alice@example.org", "alice@example.org" },
		{ S("=\0alice@example.org\0pencil"), AUTH_OK, "alice@example.org", "alice@example.org" },
		{ S("bob@example.org\0alice@example.org\0pencil"), AUTH_AUTHZID, "", "alice@example.org" },
		{ S("zoe@example.org\0alice@example.org\0pencil"), AUTH_AUTHZID, "", "alice@example.org" },
		{ S("sales@example.org\0alice@example.org\0pencil"), AUTH_AUTHZID, "", "alice@example.org" },
		{ S("bob@example.org\0admin@example.org\0pencil"), AUTH_OK, "bob@example.org", "admin@example.org" },
		{ S("zoe@example.org\0admin@example.org\0pencil"), AUTH_AUTHZID, "", "admin@example.org" },
		{ S("bob@example.org\0admin@example.org\0pencils"), AUTH_DENIED, "", "admin@example.org" },
		{ S("\0alice@example.org\0pencils"), AUTH_DENIED, "", "alice@example.org" },
		{ S("\0alice@example.org\0"), AUTH_DENIED, "", "" },
		{ S("\0alice@example.org\0pencil\0"), AUTH_MALFORMED, "", "" }, /* no NUL in a password */
		{ S("\0alice@example.org\0pen\0cil"), AUTH_MALFORMED, "", "" },
		{ S("\0zoe@example.org\0pencil"), AUTH_DENIED, "", "" },
		{ S("\0sales@example.org\0pencil"), AUTH_DENIED, "", "" }, /* an alias is no login */
		{ S("\0nopass@example.org\0pencil"), AUTH_DENIED, "", "nopass@example.org" },
		{ S("\0yes@example.org\0pencil"), AUTH_OK, "yes@example.org", "yes@example.org" },
		{ S("\0yes@example.org\0pencils"), AUTH_DENIED, "", "yes@example.org" },
		{ S("\0both@example.org\0pencil"), AUTH_OK, "both@example.org", "both@example.org" }, /* the SCRAM form is enough */
		{ S("\0both@example.org\0other"), AUTH_DENIED, "", "both@example.org" },
		{ S("\0alice\0pencil"), AUTH_DENIED, "", "" },
		{ S("\0\0pencil"), AUTH_DENIED, "", "" },
		{ S("alice@example.org\0pencil"), AUTH_MALFORMED, "", "" },
		{ S("pencil"), AUTH_MALFORMED, "", "" },
		{ S(""), AUTH_MALFORMED, "", "" },
		{ S("\0\xff@example.org\0pencil"), AUTH_DENIED, "", "" },
		{ S("\0alice@example.org\0\xff"), AUTH_DENIED, "", "" },
	};
	struct talk t;
	size_t i;

	setup();
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		now += 10 * FAILURES_WINDOW_MS; /* failures are another test's */
		if (one(AUTH_M_PLAIN, "", rows[i].message, rows[i].n, &t) != rows[i].result ||
		    strcmp(t.user, rows[i].user) != 0 || strcmp(t.by, rows[i].by) != 0) {
			printf("\nrow %zu: %s, user %s, by %s\n", i, auth_result_text(t.result), t.user, t.by);
			CU_FAIL("PLAIN");
		}
		CU_ASSERT_EQUAL(t.n, 0);
	}
	teardown();
}

/* Where most users have yescrypt only nobody is checked against that, too; who has a SCRAM form, by his own. */
static void
test_plain_nobody(void)
{
	struct user_credentials none = { .yescrypt = "" };
	struct talk t;

	setup();
	realm.model = none;
	snprintf(realm.model.yescrypt, sizeof realm.model.yescrypt, "$y$j9T$");
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", S("\0zoe@example.org\0pencil"), &t), AUTH_DENIED);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", S("\0nopass@example.org\0pencil"), &t), AUTH_DENIED);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", S("\0alice@example.org\0pencil"), &t), AUTH_OK);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", S("\0yes@example.org\0pencil"), &t), AUTH_OK);
	teardown();
}

/* Without an initial response: an empty challenge, then the same. */
static void
test_plain_challenge(void)
{
	struct sasl_begin b = { .mechanism = AUTH_M_PLAIN, .tls = true };
	struct talk t;

	setup();
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_CONTINUE);
	CU_ASSERT_EQUAL(t.n, 0);
	CU_ASSERT_EQUAL(next(&t, S("\0alice@example.org\0pencil")), AUTH_OK);
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_CONTINUE);
	CU_ASSERT_EQUAL(next(&t, "", 0), AUTH_MALFORMED); /* not for ever */
	CU_ASSERT_PTR_NULL(t.s);
	teardown();
}

static void
test_sizes(void)
{
	uint8_t message[AUTH_MESSAGE_MAX + 1];
	char password[VERIFY_PASSWORD_MAX + 64];
	struct talk t;
	int n;

	setup();
	memset(message, 'x', sizeof message);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", message, AUTH_MESSAGE_MAX + 1, &t), AUTH_MALFORMED);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", message, AUTH_MESSAGE_MAX, &t), AUTH_MALFORMED);
	CU_ASSERT_EQUAL(one(AUTH_M_SCRAM_SHA_256, "", message, AUTH_MESSAGE_MAX, &t), AUTH_MALFORMED);
	CU_ASSERT_EQUAL(one(AUTH_M_EXTERNAL, "alice@example.org", message, AUTH_MESSAGE_MAX, &t), AUTH_AUTHZID);
	/* the longest password, and one octet more: both wrong, neither is more than that */
	n = snprintf(password, sizeof password, "%calice@example.org%c", 0, 0);
	memset(password + n, 'x', VERIFY_PASSWORD_MAX + 1);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", password, (size_t)n + VERIFY_PASSWORD_MAX, &t), AUTH_DENIED);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", password, (size_t)n + VERIFY_PASSWORD_MAX + 1, &t), AUTH_DENIED);
	teardown();
}

/* --- EXTERNAL --------------------------------------------------------------------------------- */

static void
test_external(void)
{
	static const struct {
		const char *identity, *message;
		size_t n;
		enum auth_result result;
		const char *user;
	} rows[] = {
		{ "alice@example.org", S(""), AUTH_OK, "alice@example.org" },
		{ "Alice@example.org", S(""), AUTH_OK, "alice@example.org" },
		{ "alice@example.org", S("="), AUTH_OK, "alice@example.org" },
		{ "alice@example.org", S("alice@example.org"), AUTH_OK, "alice@example.org" },
		{ "alice@example.org", S("ALICE@EXAMPLE.ORG"), AUTH_OK, "alice@example.org" },
		{ "alice@example.org", S("bob@example.org"), AUTH_AUTHZID, "" },
		{ "alice@example.org", S("sales@example.org"), AUTH_AUTHZID, "" },
		{ "admin@example.org", S("bob@example.org"), AUTH_OK, "bob@example.org" },
		{ "admin@example.org", S("zoe@example.org"), AUTH_AUTHZID, "" },
		{ "nopass@example.org", S(""), AUTH_OK, "nopass@example.org" },
		{ "zoe@example.org", S(""), AUTH_DENIED, "" },
		{ "zoe@example.org", S("alice@example.org"), AUTH_DENIED, "" }, /* never what the client typed */
		{ "sales@example.org", S(""), AUTH_DENIED, "" },
		{ "nonsense", S("alice@example.org"), AUTH_DENIED, "" },
		{ "", S("alice@example.org"), AUTH_MECHANISM, "" },
		{ "alice@example.org", S("alice@example.org\0"), AUTH_MALFORMED, "" },
	};
	struct sasl_begin b = { .mechanism = AUTH_M_EXTERNAL, .tls = true, .identity = span_str("alice@example.org") };
	struct talk t;
	size_t i;

	setup();
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (one(AUTH_M_EXTERNAL, rows[i].identity, rows[i].message, rows[i].n, &t) != rows[i].result ||
		    strcmp(t.user, rows[i].user) != 0) {
			printf("\nrow %zu: %s, user %s\n", i, auth_result_text(t.result), t.user);
			CU_FAIL("EXTERNAL");
		}
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_CONTINUE); /* no initial response: an empty challenge */
	CU_ASSERT_EQUAL(t.n, 0);
	CU_ASSERT_EQUAL(next(&t, "", 0), AUTH_OK);
	CU_ASSERT_STRING_EQUAL(t.user, "alice@example.org");
	teardown();
}

/* A certificate has said who it is: a password login as another user is refused, as the same it is fine. */
static void
test_identity_stays(void)
{
	struct talk t;

	setup();
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "bob@example.org", S("\0alice@example.org\0pencil"), &t), AUTH_AUTHZID);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "Alice@example.org", S("\0alice@example.org\0pencil"), &t), AUTH_OK);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "nonsense", S("\0alice@example.org\0pencil"), &t), AUTH_AUTHZID);
	CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "bob@example.org", S("\0alice@example.org\0wrong"), &t), AUTH_DENIED);
	teardown();
}

static void
test_begin(void)
{
	static const char long_binding[AUTH_BINDING_MAX + 1] = "x";
	struct sasl_begin b = { .mechanism = AUTH_M_PLAIN, .tls = false };
	struct talk t;

	setup();
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_MECHANISM); /* nothing without TLS */
	b.tls = true;
	b.mechanism = AUTH_M_COUNT;
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_MECHANISM);
	b.mechanism = UINT32_MAX;
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_MECHANISM);
	b.mechanism = AUTH_M_SCRAM_SHA_256_PLUS; /* without a binding */
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_MECHANISM);
	b.binding = (struct span){ (const uint8_t *)long_binding, AUTH_BINDING_MAX };
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_CONTINUE);
	sasl_free(&t.s);
	b.binding.n++;
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_MALFORMED);
	realm.directory.users = NULL;
	b.mechanism = AUTH_M_PLAIN;
	b.binding.n = 0;
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_AWAY);
	teardown();
}

/* --- SCRAM ------------------------------------------------------------------------------------ */

struct client {
	const char *mechanism, *name, *password, *authzid, *binding; /* binding NULL: cannot */
};

/* libgsasl against us, to the end. */
static enum auth_result
scram(const struct client *c, bool success_data, const char *our_binding, struct talk *t)
{
	struct sasl_begin b = { .tls = true, .success_data = success_data, .binding = span_str(our_binding),
		.mechanism = strcmp(c->mechanism, "SCRAM-SHA-256") == 0 ? AUTH_M_SCRAM_SHA_256
			: AUTH_M_SCRAM_SHA_256_PLUS };
	char *out = NULL, *binding = NULL;
	Gsasl_session *session;
	struct span initial;
	bool more = true;
	size_t n = 0;
	int rc;
	unsigned steps = 0;

	PT_ASSERT(gsasl_client_start(client_ctx, c->mechanism, &session) == GSASL_OK);
	gsasl_property_set(session, GSASL_AUTHID, c->name);
	gsasl_property_set(session, GSASL_PASSWORD, c->password);
	if (c->authzid != NULL)
		gsasl_property_set(session, GSASL_AUTHZID, c->authzid);
	if (c->binding != NULL) {
		PT_ASSERT(gsasl_base64_to(c->binding, strlen(c->binding), &binding, NULL) == GSASL_OK);
		gsasl_property_set(session, GSASL_CB_TLS_EXPORTER, binding);
	}
	rc = gsasl_step(session, NULL, 0, &out, &n);
	PT_ASSERT(rc == GSASL_NEEDS_MORE || rc == GSASL_OK);
	initial = (struct span){ (uint8_t *)out, n };
	begin(t, &b, &initial);
	gsasl_free(out);
	while (more && (t->result == AUTH_CONTINUE || (t->result == AUTH_OK && t->n > 0))) {
		out = NULL;
		n = 0;
		rc = gsasl_step(session, (char *)t->data, t->n, &out, &n);
		PT_ASSERT(rc == GSASL_NEEDS_MORE || rc == GSASL_OK); /* it believes that we are the server */
		more = t->result == AUTH_CONTINUE;
		if (change_to != NULL && change_at == ++steps)
			change();
		if (more)
			next(t, out, n);
		gsasl_free(out);
	}
	gsasl_finish(session);
	gsasl_free(binding);
	return t->result;
}

static void
test_scram(void)
{
	static const struct {
		struct client c;
		const char *binding; /* ours */
		enum auth_result result;
		const char *user;
	} rows[] = {
		{ { "SCRAM-SHA-256", "alice@example.org", "pencil", NULL, NULL }, "", AUTH_OK, "alice@example.org" },
		{ { "SCRAM-SHA-256", "ALICE@example.org", "pencil", NULL, NULL }, "", AUTH_OK, "alice@example.org" },
		{ { "SCRAM-SHA-256", "alice@example.org", "pencil", NULL, NULL }, BINDING, AUTH_OK,
			"alice@example.org" }, /* it cannot bind, and says so */
		{ { "SCRAM-SHA-256", "alice@example.org", "pencils", NULL, NULL }, "", AUTH_DENIED, "" },
		{ { "SCRAM-SHA-256", "zoe@example.org", "pencil", NULL, NULL }, "", AUTH_DENIED, "" },
		{ { "SCRAM-SHA-256", "nopass@example.org", "pencil", NULL, NULL }, "", AUTH_DENIED, "" },
		{ { "SCRAM-SHA-256", "alice@example.org", "pencil", "alice@example.org", NULL }, "", AUTH_OK,
			"alice@example.org" },
		{ { "SCRAM-SHA-256", "alice@example.org", "pencil", "bob@example.org", NULL }, "", AUTH_AUTHZID, "" },
		{ { "SCRAM-SHA-256", "admin@example.org", "pencil", "bob@example.org", NULL }, "", AUTH_OK,
			"bob@example.org" },
		{ { "SCRAM-SHA-256-PLUS", "alice@example.org", "pencil", NULL, BINDING }, BINDING, AUTH_OK,
			"alice@example.org" },
		{ { "SCRAM-SHA-256-PLUS", "alice@example.org", "pencils", NULL, BINDING }, BINDING, AUTH_DENIED, "" },
		{ { "SCRAM-SHA-256-PLUS", "alice@example.org", "pencil", NULL, "x" BINDING }, BINDING, AUTH_DENIED, "" },
		{ { "SCRAM-SHA-256-PLUS", "alice@example.org", "pencil", NULL, BINDING }, "other", AUTH_DENIED, "" },
	};
	struct talk t;
	size_t i;

	setup();
	for (i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
		size_t k = i / 2;

		now += 10 * FAILURES_WINDOW_MS;
		if (scram(&rows[k].c, i % 2 != 0, rows[k].binding, &t) != rows[k].result ||
		    strcmp(t.user, rows[k].user) != 0) {
			printf("\nrow %zu: %s, user %s\n", k, auth_result_text(t.result), t.user);
			CU_FAIL("SCRAM");
		}
	}
	teardown();
}

/* The client could bind, and somebody took PLUS out of the list that we sent (RFC 5802 §6). */
static void
test_downgrade(void)
{
	struct sasl_begin b = { .mechanism = AUTH_M_SCRAM_SHA_256, .tls = true, .binding = span_str(BINDING) };
	struct span y = span_str("y,,n=alice@example.org,r=abcdefghijkl");
	struct talk t;

	setup();
	CU_ASSERT_EQUAL(begin(&t, &b, &y), AUTH_DENIED);
	b.binding.n = 0; /* without a binding PLUS was not offered: then it is the truth */
	CU_ASSERT_EQUAL(begin(&t, &b, &y), AUTH_CONTINUE);
	sasl_free(&t.s);
	b.binding = span_str(BINDING); /* the other way: PLUS with a header that does not bind */
	b.mechanism = AUTH_M_SCRAM_SHA_256_PLUS;
	CU_ASSERT_NOT_EQUAL(begin(&t, &b, &y), AUTH_CONTINUE);
	y.p = (const uint8_t *)"n,,n=alice@example.org,r=abcdefghijkl";
	CU_ASSERT_NOT_EQUAL(begin(&t, &b, &y), AUTH_CONTINUE);
	teardown();
}

/* Salt and iterations tell nobody who exists: the same each time, and of the same form. */
static void
test_salt_of_nobody(void)
{
	struct sasl_begin b = { .mechanism = AUTH_M_SCRAM_SHA_256, .tls = true };
	struct span real = span_str("n,,n=alice@example.org,r=abcdefghijkl"),
		    fake = span_str("n,,n=zoe@example.org,r=abcdefghijkl"),
		    none = span_str("n,,n=nopass@example.org,r=abcdefghijkl");
	char first[AUTH_MESSAGE_MAX + 1], second[AUTH_MESSAGE_MAX + 1], third[AUTH_MESSAGE_MAX + 1];
	struct talk t;

	setup();
	CU_ASSERT_EQUAL_FATAL(begin(&t, &b, &real), AUTH_CONTINUE);
	snprintf(first, sizeof first, "%.*s", (int)t.n, (char *)t.data);
	sasl_free(&t.s);
	CU_ASSERT_EQUAL_FATAL(begin(&t, &b, &fake), AUTH_CONTINUE);
	snprintf(second, sizeof second, "%.*s", (int)t.n, (char *)t.data);
	sasl_free(&t.s);
	CU_ASSERT_EQUAL(strlen(first), strlen(second));
	CU_ASSERT_STRING_EQUAL(strstr(first, ",i="), strstr(second, ",i="));
	CU_ASSERT_EQUAL_FATAL(begin(&t, &b, &fake), AUTH_CONTINUE);
	snprintf(third, sizeof third, "%.*s", (int)t.n, (char *)t.data);
	sasl_free(&t.s);
	CU_ASSERT_STRING_EQUAL(strstr(second, ",s="), strstr(third, ",s="));
	CU_ASSERT_EQUAL_FATAL(begin(&t, &b, &none), AUTH_CONTINUE);
	CU_ASSERT_EQUAL(t.n, strlen(first));
	sasl_free(&t.s);
	teardown();
}

/* --- failures --------------------------------------------------------------------------------- */

static void
test_failures(void)
{
	struct sasl_begin b = { .mechanism = AUTH_M_PLAIN, .tls = true, .address_key = 42 };
	struct span wrong = { (const uint8_t *)S("\0alice@example.org\0wrong") },
		    right = { (const uint8_t *)S("\0alice@example.org\0pencil") };
	struct talk t, many[3];
	enum auth_result why;
	unsigned i;

	setup();
	for (i = 0; i < FAILURES_PER_ADDRESS; i++)
		CU_ASSERT_EQUAL(begin(&t, &b, &wrong), AUTH_DENIED);
	CU_ASSERT_EQUAL(begin(&t, &b, &right), AUTH_LIMIT); /* not looked at, right or not */
	b.mechanism = AUTH_M_SCRAM_SHA_256;
	CU_ASSERT_EQUAL(begin(&t, &b, NULL), AUTH_LIMIT);
	b.mechanism = AUTH_M_EXTERNAL; /* is not guessed */
	b.identity = span_str("alice@example.org");
	CU_ASSERT_EQUAL(begin(&t, &b, &(struct span){ NULL, 0 }), AUTH_OK);
	b.mechanism = AUTH_M_PLAIN;
	b.identity.n = 0;
	b.address_key = 43;
	CU_ASSERT_EQUAL(begin(&t, &b, &right), AUTH_OK);
	now += FAILURES_WINDOW_MS;
	b.address_key = 42;
	CU_ASSERT_EQUAL(begin(&t, &b, &right), AUTH_OK);
	/* exchanges that were begun in time do not get around it */
	for (i = 0; i < FAILURES_PER_ADDRESS - 1; i++)
		CU_ASSERT_EQUAL(begin(&t, &b, &wrong), AUTH_DENIED);
	for (i = 0; i < 3; i++) {
		many[i] = (struct talk){ .answers = 0 };
		many[i].s = sasl_new(&server, &realm, &b, now, answered, &many[i], &why);
		CU_ASSERT_PTR_NOT_NULL_FATAL(many[i].s);
		sasl_start(many[i].s, &wrong, now); /* one is checked, two wait */
	}
	for (i = 0; i < 3; i++)
		if (many[i].answers == 0)
			wait_answer(&many[i], 0);
	CU_ASSERT_EQUAL(many[0].result, AUTH_DENIED);
	CU_ASSERT_EQUAL(many[1].result, AUTH_LIMIT);
	CU_ASSERT_EQUAL(many[2].result, AUTH_LIMIT);
	teardown();
}

/* The client is gone while its password is checked, or waits. */
static void
test_abort(void)
{
	struct sasl_begin b = { .mechanism = AUTH_M_PLAIN, .tls = true };
	struct span right = { (const uint8_t *)S("\0alice@example.org\0pencil") };
	struct talk t[3];
	enum auth_result why;
	unsigned i;

	setup();
	for (i = 0; i < 3; i++) {
		t[i] = (struct talk){ .answers = 0 };
		t[i].s = sasl_new(&server, &realm, &b, now, answered, &t[i], &why);
		CU_ASSERT_PTR_NOT_NULL_FATAL(t[i].s);
		sasl_start(t[i].s, &right, now);
	}
	sasl_free(&t[0].s);
	sasl_free(&t[1].s);
	wait_answer(&t[2], 0);
	CU_ASSERT_EQUAL(t[2].result, AUTH_OK);
	CU_ASSERT_EQUAL(t[0].answers + t[1].answers, 0);
	teardown();
}

/* What comes behind the last words must be nothing. */
static void
test_last_words(void)
{
	struct client c = { "SCRAM-SHA-256", "alice@example.org", "pencil", NULL, NULL };
	struct talk t;

	setup();
	CU_ASSERT_EQUAL(scram(&c, true, "", &t), AUTH_OK);
	CU_ASSERT_EQUAL(strncmp((char *)t.data, "v=", 2), 0); /* said with the OK */
	CU_ASSERT_EQUAL(scram(&c, false, "", &t), AUTH_OK);
	CU_ASSERT_EQUAL(t.n, 0);
	teardown();
}

/* Whose password is taken away, or who is removed, while he logs in is not logged in, at whatever step that is. */
static void
test_changed_meanwhile(void)
{
	struct client c = { "SCRAM-SHA-256", "alice@example.org", "pencil", NULL, NULL };
	struct users *others;
	struct talk t;
	struct buf b;
	unsigned at;

	setup();
	buf_init(&b, 4096);
	for (at = 1; at <= 2; at++) { /* the client's proof, and its empty answer behind the last words */
		PT_ASSERT(users_parse("users", span_str(at == 1 ? "alice@example.org -\n" : "bob@example.org -\n"), &others,
				  &b) == 0);
		change_at = at;
		change_to = others;
		CU_ASSERT_EQUAL(scram(&c, false, "", &t), AUTH_DENIED);
		CU_ASSERT_STRING_EQUAL(t.user, "");
		realm.directory.users = users;
		CU_ASSERT_EQUAL(scram(&c, false, "", &t), AUTH_OK);
		change_to = others; /* within the pool */
		CU_ASSERT_EQUAL(one(AUTH_M_PLAIN, "", S("\0alice@example.org\0pencil"), &t),
			at == 1 ? AUTH_DENIED : AUTH_AUTHZID); /* nobody is no one to act as, either */
		realm.directory.users = users;
		users_free(&others);
	}
	buf_fini(&b);
	teardown();
}

static const struct test_row tests[] = {
	{ "PLAIN", test_plain },
	{ "PLAIN, and who is nobody", test_plain_nobody },
	{ "PLAIN without an initial response", test_plain_challenge },
	{ "sizes", test_sizes },
	{ "EXTERNAL", test_external },
	{ "a password and a certificate", test_identity_stays },
	{ "what may not begin", test_begin },
	{ "SCRAM with libgsasl", test_scram },
	{ "a downgrade", test_downgrade },
	{ "the salt of nobody", test_salt_of_nobody },
	{ "failures", test_failures },
	{ "a client that is gone", test_abort },
	{ "last words", test_last_words },
	{ "changed meanwhile", test_changed_meanwhile },
};

TEST_MAIN("auth/sasl", tests)
