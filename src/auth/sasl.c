/* auth/sasl.c - see sasl.h. libgsasl speaks the mechanisms and asks through ask(); this file decides: who is meant,
 * what is checked against, whether that may be, and how it is told. */
#include "auth/sasl.h"

#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sasl {
	struct sasl_server *server;
	const struct sasl_realm *realm;
	Gsasl_session *session;
	enum auth_mechanism mechanism;
	uint64_t address_key, now_ms;
	bool binds;        /* the PLUS form was offered */
	bool success_data;
	bool first;        /* no message has come yet */
	bool last_words;   /* said as a challenge: an empty answer, and it is over */
	char identity[NORMAL_ADDRESS_MAX];
	char name[NORMAL_ADDRESS_MAX]; /* whom failures are counted for: as looked up, existing or not */
	char user[NORMAL_ADDRESS_MAX]; /* who it is when all is right; "": nobody */
	enum auth_result verdict;      /* of ask(), where gsasl's own word does not say enough */
	struct user_credentials credentials; /* what is checked against, perhaps nobody's */
	char by[NORMAL_ADDRESS_MAX];         /* whose password it is; "": nobody's */
	struct user_credentials own;         /* what he had when he was looked up */
	struct pool_job *job;
	sasl_answer_f *f;
	void *arg;
};

/* --- who it is -------------------------------------------------------------------------------- */

/* Looks the name up and gets what to check against; every name has something. */
static void
look_up(struct sasl *s, const char *name)
{
	const struct user *user = directory_login(&s->realm->directory, span_str(name));

	if (!normal_address(span_str(name), s->name))
		snprintf(s->name, sizeof s->name, "%s", name); /* counted as it is */
	/* made in any case: it is work, and must not tell who exists */
	verify_fake(s->server->secret, s->name, &s->realm->model, &s->credentials);
	if (user == NULL)
		return;
	snprintf(s->user, sizeof s->user, "%s", user->address);
	snprintf(s->by, sizeof s->by, "%s", user->address);
	s->own = user->credentials;
	if (user->credentials.scram.iterations != 0)
		s->credentials = user->credentials;
	else if (user->credentials.yescrypt[0] != '\0')
		memcpy(s->credentials.yescrypt, user->credentials.yescrypt, sizeof s->credentials.yescrypt);
}

/* The user that the client wants to be, when s->user is who he is. Leaves that in s->user. */
static enum auth_result
authorize(struct sasl *s, const char *authzid)
{
	const struct user *other;

	/* a password does not change whose session a certificate has made it */
	if (s->identity[0] != '\0' && strcmp(s->identity, s->user) != 0)
		return AUTH_AUTHZID;
	if (authzid == NULL || authzid[0] == '\0' || strcmp(authzid, "=") == 0)
		return AUTH_OK;
	other = directory_login(&s->realm->directory, span_str(authzid));
	if (other == NULL || !impersonate_allows(s->realm->impersonate, s->user, other->address))
		return AUTH_AUTHZID;
	snprintf(s->user, sizeof s->user, "%s", other->address);
	return AUTH_OK;
}

static bool
may_try(const struct sasl *s)
{
	return failures_allows(s->server->failures, s->address_key, s->name[0] != '\0' ? s->name : NULL,
		s->now_ms);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* gsasl frees what it holds, and does not wipe it. */
static void
forget_password(struct sasl *s)
{
	const char *password = gsasl_property_fast(s->session, GSASL_PASSWORD);

	if (password != NULL)
		explicit_bzero((char *)(uintptr_t)password, strlen(password));
}

static void
destroy(struct sasl *s)
{
	if (s->job != NULL)
		pool_cancel(s->server->pool, s->job);
	if (s->session != NULL) {
		forget_password(s);
		gsasl_finish(s->session);
	}
	freezero(s, sizeof *s);
}

static void
say(struct sasl *s, enum auth_result result, struct span data)
{
	bool told = result != AUTH_CONTINUE && s->mechanism != AUTH_M_EXTERNAL;
	struct sasl_answer a = { .result = result, .user = result == AUTH_OK ? s->user : "",
		.by = told ? s->by : "", .data = data };

	s->f(s->arg, &a);
}

/* The file may have changed while he logged in: a password that was taken from him, or he from us, opens nothing. */
static bool
is_still(const struct sasl *s)
{
	const struct user *user = directory_login(&s->realm->directory, span_str(s->by));

	return s->mechanism == AUTH_M_EXTERNAL || (user != NULL && users_credentials_equal(&user->credentials, &s->own));
}

/* The end, counted. */
static void
finish(struct sasl *s, enum auth_result result, struct span data)
{
	bool password = s->mechanism != AUTH_M_EXTERNAL;

	if (result == AUTH_OK && !is_still(s)) {
		result = AUTH_DENIED;
		data.n = 0;
	}
	if (password && result == AUTH_OK)
		failures_success(s->server->failures, s->address_key, s->name, s->now_ms);
	else if (password && (result == AUTH_DENIED || result == AUTH_MALFORMED))
		failures_add(s->server->failures, s->address_key, s->name[0] != '\0' ? s->name : NULL, s->now_ms);
	say(s, result, data);
	destroy(s);
}

/* --- what gsasl asks -------------------------------------------------------------------------- */

static int
give(Gsasl_session *session, Gsasl_property what, const char *value)
{
	return gsasl_property_set(session, what, value) == GSASL_OK ? GSASL_OK : GSASL_MALLOC_ERROR;
}

/* SCRAM: the user is known when the first thing of his is wanted. */
static int
ask_scram(struct sasl *s, Gsasl_session *session, Gsasl_property what)
{
	const struct user_scram *scram = &s->credentials.scram;
	const char *name;
	char number[16];

	if (s->name[0] == '\0') {
		if ((name = gsasl_property_fast(session, GSASL_AUTHID)) == NULL || name[0] == '\0')
			return GSASL_AUTHENTICATION_ERROR;
		look_up(s, name);
		if (!may_try(s)) {
			s->verdict = AUTH_LIMIT;
			return GSASL_AUTHENTICATION_ERROR;
		}
	}
	switch ((int)what) {
	case GSASL_SCRAM_ITER:
		snprintf(number, sizeof number, "%u", scram->iterations);
		return give(session, what, number);
	case GSASL_SCRAM_SALT:
		return give(session, what, scram->salt);
	case GSASL_SCRAM_STOREDKEY:
		return give(session, what, scram->stored_key);
	case GSASL_SCRAM_SERVERKEY:
		return give(session, what, scram->server_key);
	}
	return GSASL_NO_CALLBACK; /* the password itself: we do not have it */
}

/* EXTERNAL: TLS has proved who it is, only the authzid is left. */
static int
ask_external(struct sasl *s, Gsasl_session *session)
{
	const struct user *user = directory_login(&s->realm->directory, span_str(s->identity));

	if (user == NULL)
		return GSASL_AUTHENTICATION_ERROR;
	snprintf(s->user, sizeof s->user, "%s", user->address);
	s->verdict = authorize(s, gsasl_property_fast(session, GSASL_AUTHZID));
	return s->verdict == AUTH_OK ? GSASL_OK : GSASL_AUTHENTICATION_ERROR;
}

/* PLAIN: taken apart by gsasl; the password is checked when it has returned (check_plain()). */
static int
ask_plain(Gsasl_session *session)
{
	const char *name = gsasl_property_fast(session, GSASL_AUTHID),
		   *password = gsasl_property_fast(session, GSASL_PASSWORD);

	if (name == NULL || name[0] == '\0' || password == NULL || password[0] == '\0' ||
	    strlen(password) > VERIFY_PASSWORD_MAX)
		return GSASL_AUTHENTICATION_ERROR;
	return GSASL_OK;
}

static int
ask(Gsasl *ctx, Gsasl_session *session, Gsasl_property what)
{
	struct sasl *s = gsasl_session_hook_get(session);

	(void)ctx;
	switch ((int)what) {
	case GSASL_SCRAM_ITER:
	case GSASL_SCRAM_SALT:
	case GSASL_SCRAM_STOREDKEY:
	case GSASL_SCRAM_SERVERKEY:
		return ask_scram(s, session, what);
	case GSASL_VALIDATE_EXTERNAL:
		return ask_external(s, session);
	case GSASL_VALIDATE_SIMPLE:
		return ask_plain(session);
	}
	return GSASL_NO_CALLBACK;
}

/* --- steps ------------------------------------------------------------------------------------ */

static bool
still_wanted(void *arg)
{
	return may_try(arg); /* others of this address may have failed while this one waited */
}

static void
checked(void *arg, bool wanted, bool ok)
{
	struct sasl *s = arg;
	enum auth_result result = AUTH_LIMIT;

	s->job = NULL;
	if (wanted)
		result = ok && s->user[0] != '\0'
			? authorize(s, gsasl_property_fast(s->session, GSASL_AUTHZID)) : AUTH_DENIED;
	finish(s, result, (struct span){ NULL, 0 });
}

static void
check_plain(struct sasl *s)
{
	look_up(s, gsasl_property_fast(s->session, GSASL_AUTHID));
	if (!may_try(s)) {
		finish(s, AUTH_LIMIT, (struct span){ NULL, 0 });
		return;
	}
	if (s->own.scram.iterations == 0 && s->credentials.yescrypt[0] != '\0')
		s->credentials.scram.iterations = 0; /* nobody's; his own is yescrypt, or that of most users */
	s->job = pool_check(s->server->pool, &s->credentials,
		gsasl_property_fast(s->session, GSASL_PASSWORD), still_wanted, checked, s);
	forget_password(s); /* the pool has a copy, which it wipes */
	if (s->job == NULL)
		finish(s, AUTH_AWAY, (struct span){ NULL, 0 });
}

/* The mechanism is through, and says yes. */
static void
accepted(struct sasl *s, struct span data)
{
	enum auth_result result = AUTH_OK;

	if (s->mechanism == AUTH_M_PLAIN) {
		check_plain(s);
		return;
	}
	if (s->user[0] == '\0')
		result = AUTH_DENIED; /* a proof for one who does not exist */
	else if (s->mechanism != AUTH_M_EXTERNAL)
		result = authorize(s, gsasl_property_fast(s->session, GSASL_AUTHZID));
	if (result == AUTH_OK && data.n > 0 && !s->success_data) {
		s->last_words = true;
		say(s, AUTH_CONTINUE, data);
		return;
	}
	finish(s, result, result == AUTH_OK ? data : (struct span){ NULL, 0 });
}

static enum auth_result
result_of(const struct sasl *s, int code)
{
	if (s->verdict != AUTH_OK)
		return s->verdict;
	switch (code) {
	case GSASL_MECHANISM_PARSE_ERROR:
	case GSASL_BASE64_ERROR:
		return AUTH_MALFORMED;
	case GSASL_MALLOC_ERROR:
	case GSASL_CRYPTO_ERROR:
		return AUTH_AWAY;
	}
	return AUTH_DENIED;
}

/* The GS2 header of a client that could bind but was told that we cannot (RFC 5802 §6). */
static bool
is_downgrade(const struct sasl *s, struct span message)
{
	return s->mechanism == AUTH_M_SCRAM_SHA_256 && s->first && s->binds && message.n > 0 &&
		message.p[0] == 'y';
}

static void
step(struct sasl *s, const char *message, size_t n)
{
	char *out = NULL;
	size_t out_len = 0;
	int code;

	code = gsasl_step(s->session, message, n, &out, &out_len);
	if (code == GSASL_OK)
		accepted(s, (struct span){ (uint8_t *)out, out_len });
	else if (code == GSASL_NEEDS_MORE && out_len <= AUTH_MESSAGE_MAX)
		say(s, AUTH_CONTINUE, (struct span){ (uint8_t *)out, out_len });
	else
		finish(s, result_of(s, code), (struct span){ NULL, 0 });
	gsasl_free(out);
}

/* What may be said of a message before gsasl sees it; AUTH_OK: it may. */
static enum auth_result
look_at(const struct sasl *s, struct span message)
{
	if (message.n > AUTH_MESSAGE_MAX || (message.n > 0 && s->last_words))
		return AUTH_MALFORMED;
	if (message.n == 0 && s->mechanism != AUTH_M_EXTERNAL && !s->last_words)
		return AUTH_MALFORMED; /* gsasl would ask again, and again */
	if (is_downgrade(s, message))
		return AUTH_DENIED;
	return s->mechanism == AUTH_M_EXTERNAL || may_try(s) ? AUTH_OK : AUTH_LIMIT;
}

void
sasl_start(struct sasl *s, const struct span *initial, uint64_t now_ms)
{
	if (initial != NULL)
		sasl_step(s, *initial, now_ms);
	else
		step(s, NULL, 0); /* an empty challenge, in all of these mechanisms */
}

void
sasl_step(struct sasl *s, struct span message, uint64_t now_ms)
{
	char text[AUTH_MESSAGE_MAX + 1]; /* gsasl wants to see an end */
	enum auth_result result;

	PT_ASSERT(s->job == NULL);
	s->now_ms = now_ms;
	if ((result = look_at(s, message)) != AUTH_OK || s->last_words) {
		finish(s, result, (struct span){ NULL, 0 });
		return;
	}
	s->first = false;
	if (message.n > 0)
		memcpy(text, message.p, message.n);
	text[message.n] = '\0';
	step(s, text, message.n);
	explicit_bzero(text, message.n);
}

static int
set_binding(struct sasl *s, struct span binding)
{
	char *text = NULL;
	int rc;

	if (binding.n == 0)
		return 0;
	s->binds = true;
	if (gsasl_base64_to((const char *)binding.p, binding.n, &text, NULL) != GSASL_OK)
		return PT_ENOMEM;
	rc = give(s->session, GSASL_CB_TLS_EXPORTER, text) == GSASL_OK ? 0 : PT_ENOMEM;
	gsasl_free(text);
	return rc;
}

static enum auth_result
may_begin(const struct sasl_server *server, const struct sasl_realm *realm, const struct sasl_begin *b,
	  uint64_t now_ms)
{
	if (b->mechanism >= AUTH_M_COUNT || !b->tls ||
	    (b->mechanism == AUTH_M_EXTERNAL && b->identity.n == 0) ||
	    (b->mechanism == AUTH_M_SCRAM_SHA_256_PLUS && b->binding.n == 0))
		return AUTH_MECHANISM;
	if (b->identity.n >= NORMAL_ADDRESS_MAX || b->binding.n > AUTH_BINDING_MAX)
		return AUTH_MALFORMED;
	if (realm->directory.users == NULL)
		return AUTH_AWAY;
	if (b->mechanism != AUTH_M_EXTERNAL && !failures_allows(server->failures, b->address_key, NULL, now_ms))
		return AUTH_LIMIT;
	return AUTH_OK;
}

static struct sasl *
new_exchange(struct sasl_server *server, const struct sasl_begin *b)
{
	struct sasl *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	*s = (struct sasl){ .server = server, .mechanism = (enum auth_mechanism)b->mechanism,
		.address_key = b->address_key, .success_data = b->success_data, .first = true,
		.verdict = AUTH_OK };
	if (!normal_address(b->identity, s->identity) && b->identity.n > 0)
		memcpy(s->identity, b->identity.p, b->identity.n); /* nobody, but not none */
	if (gsasl_server_start(server->gsasl, auth_mechanism_name(s->mechanism), &s->session) != GSASL_OK) {
		free(s);
		return NULL;
	}
	gsasl_session_hook_set(s->session, s);
	if (set_binding(s, b->binding) != 0) {
		destroy(s);
		return NULL;
	}
	return s;
}

struct sasl *
sasl_new(struct sasl_server *server, const struct sasl_realm *realm, const struct sasl_begin *b, uint64_t now_ms,
	 sasl_answer_f *f, void *arg, enum auth_result *why)
{
	struct sasl *s;

	if ((*why = may_begin(server, realm, b, now_ms)) != AUTH_OK)
		return NULL;
	if ((s = new_exchange(server, b)) == NULL) {
		*why = AUTH_AWAY;
		return NULL;
	}
	s->realm = realm;
	s->now_ms = now_ms;
	s->f = f;
	s->arg = arg;
	return s;
}

void
sasl_free(struct sasl **s)
{
	if (*s != NULL)
		destroy(*s);
	*s = NULL;
}

int
sasl_server_init(struct sasl_server *s)
{
	unsigned m;

	if (gsasl_init(&s->gsasl) != GSASL_OK)
		return PT_ENOMEM;
	gsasl_callback_set(s->gsasl, ask);
	for (m = 0; m < AUTH_M_COUNT; m++)
		if (!gsasl_server_support_p(s->gsasl, auth_mechanism_name(m))) {
			gsasl_done(s->gsasl);
			return PT_EUNAVAIL;
		}
	return 0;
}

void
sasl_server_fini(struct sasl_server *s)
{
	if (s->gsasl != NULL)
		gsasl_done(s->gsasl);
	s->gsasl = NULL;
	explicit_bzero(s->secret, sizeof s->secret);
}
