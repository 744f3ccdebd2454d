/* auth/verify.c - see verify.h. */
#include "auth/verify.h"

#include <crypt.h>
#include <gsasl.h>
#include <nettle/hmac.h>
#include <nettle/memxor.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY USERS_KEY_SIZE
#define PAUSE_ITERATIONS 2048 /* VERIFY_PAUSE_US */

/* What RFC 5802 §3 makes of a password. */
struct keys {
	uint8_t salted[KEY], client[KEY], server[KEY], stored[KEY];
};

/* In the same time wherever the first difference is. */
static bool
same(const void *one, const void *other, size_t n)
{
	const uint8_t *a = one, *b = other;
	volatile uint8_t different = 0;
	size_t i;

	for (i = 0; i < n; i++)
		different = (uint8_t)(different | (a[i] ^ b[i]));
	return different == 0;
}

/* HMAC(key, text), and the context is ready for the next text. */
static void
mac(struct hmac_sha256_ctx *key, const char *text, uint8_t out[KEY])
{
	hmac_sha256_update(key, strlen(text), (const uint8_t *)text);
	hmac_sha256_digest(key, KEY, out);
}

/* Hi() of RFC 5802 §2.2, which is one block of PBKDF2 (RFC 8018 §5.2). */
static void
salt_password(const char *password, uint32_t iterations, const void *salt, size_t salt_len, verify_pause_f *pause, void *arg,
	      uint8_t out[KEY])
{
	static const uint8_t block[4] = { 0, 0, 0, 1 };
	struct hmac_sha256_ctx key;
	uint8_t u[KEY];
	uint32_t i;

	hmac_sha256_set_key(&key, strlen(password), (const uint8_t *)password);
	hmac_sha256_update(&key, salt_len, salt);
	hmac_sha256_update(&key, sizeof block, block);
	hmac_sha256_digest(&key, KEY, u);
	memcpy(out, u, KEY);
	for (i = 1; i < iterations; i++) {
		hmac_sha256_update(&key, KEY, u);
		hmac_sha256_digest(&key, KEY, u);
		memxor(out, u, KEY);
		if (i % PAUSE_ITERATIONS == 0 && pause != NULL)
			pause(arg);
	}
	explicit_bzero(&key, sizeof key);
	explicit_bzero(u, sizeof u);
}

/* By Nettle, which uses what the processor has for SHA-256: gsasl_scram_secrets_from_password() takes five times as long. */
static void
scram_keys(const char *password, uint32_t iterations, const void *salt, size_t salt_len, verify_pause_f *pause, void *arg,
	   struct keys *k)
{
	struct hmac_sha256_ctx key;
	struct sha256_ctx hash;

	salt_password(password, iterations, salt, salt_len, pause, arg, k->salted);
	hmac_sha256_set_key(&key, KEY, k->salted);
	mac(&key, "Client Key", k->client);
	mac(&key, "Server Key", k->server);
	sha256_init(&hash);
	sha256_update(&hash, KEY, k->client);
	sha256_digest(&hash, KEY, k->stored);
	explicit_bzero(&key, sizeof key);
	explicit_bzero(&hash, sizeof hash);
}

static bool
check_scram(const struct user_scram *s, const char *password, verify_pause_f *pause, void *arg)
{
	char *salt = NULL, *stored = NULL;
	size_t salt_len = 0, stored_len = 0;
	struct keys k = { { 0 }, { 0 }, { 0 }, { 0 } };
	bool ok = false;

	if (gsasl_base64_from(s->salt, strlen(s->salt), &salt, &salt_len) == GSASL_OK &&
	    gsasl_base64_from(s->stored_key, strlen(s->stored_key), &stored, &stored_len) == GSASL_OK &&
	    stored_len == KEY) {
		scram_keys(password, s->iterations, salt, salt_len, pause, arg, &k);
		ok = same(k.stored, stored, KEY);
	}
	explicit_bzero(&k, sizeof k);
	gsasl_free(salt);
	gsasl_free(stored);
	return ok;
}

static bool
check_yescrypt(const char *stored, const char *password)
{
	struct crypt_data *data = calloc(1, sizeof *data); /* 32 KiB: not on a thread's stack */
	const char *made;
	bool ok = false;

	if (data == NULL)
		return false;
	made = crypt_rn(password, stored, data, sizeof *data);
	if (made != NULL && strlen(made) == strlen(stored))
		ok = same(made, stored, strlen(stored));
	freezero(data, sizeof *data);
	return ok;
}

bool
verify_password(const struct user_credentials *c, const char *password, verify_pause_f *pause, void *arg)
{
	if (password[0] == '\0')
		return false;
	if (verify_is_scram(c))
		return check_scram(&c->scram, password, pause, arg);
	return c->yescrypt[0] != '\0' && check_yescrypt(c->yescrypt, password);
}

static bool
encode(const void *octets, size_t n, char out[USERS_BASE64_MAX])
{
	char *text = NULL;
	size_t len = 0;
	bool ok = gsasl_base64_to(octets, n, &text, &len) == GSASL_OK && len < USERS_BASE64_MAX;

	if (ok)
		snprintf(out, USERS_BASE64_MAX, "%s", text);
	gsasl_free(text);
	return ok;
}

static int
make_scram(const char *password, struct user_scram *s)
{
	uint8_t salt[VERIFY_SALT_SIZE];
	struct keys k;
	int rc = PT_ENOMEM;

	arc4random_buf(salt, sizeof salt);
	s->iterations = VERIFY_ITERATIONS;
	scram_keys(password, s->iterations, salt, sizeof salt, NULL, NULL, &k);
	if (encode(salt, sizeof salt, s->salt) && encode(k.stored, KEY, s->stored_key) &&
	    encode(k.server, KEY, s->server_key))
		rc = 0;
	explicit_bzero(&k, sizeof k);
	return rc;
}

static int
make_yescrypt(const char *password, char out[USERS_YESCRYPT_MAX])
{
	struct crypt_data *data = calloc(1, sizeof *data);
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	const char *made = NULL;
	int n = -1;

	if (data == NULL)
		return PT_ENOMEM;
	if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) != NULL)
		made = crypt_rn(password, setting, data, sizeof *data);
	if (made != NULL)
		n = snprintf(out, USERS_YESCRYPT_MAX, "%s", made);
	freezero(data, sizeof *data);
	return n > 0 && n < USERS_YESCRYPT_MAX ? 0 : PT_EIO;
}

int
verify_make(const char *password, char field[VERIFY_FIELD_MAX])
{
	struct user_credentials c = { .yescrypt = "" };
	char *prepared = NULL;
	int rc, n;

	/* no unassigned characters: a later Unicode may prepare them to something else (RFC 4013 §2.5) */
	if (gsasl_saslprep(password, 0, &prepared, NULL) != GSASL_OK || prepared == NULL)
		return PT_EINVAL;
	rc = prepared[0] == '\0' || strlen(prepared) > VERIFY_PASSWORD_MAX ? PT_EINVAL : 0;
	if (rc == 0)
		rc = make_scram(prepared, &c.scram);
	if (rc == 0)
		rc = make_yescrypt(prepared, c.yescrypt);
	if (rc == 0) {
		n = snprintf(field, VERIFY_FIELD_MAX, "{SCRAM-SHA-256}%u,%s,%s,%s{yescrypt}%s",
			c.scram.iterations, c.scram.salt, c.scram.stored_key, c.scram.server_key, c.yescrypt);
		PT_ASSERT(n > 0 && n < VERIFY_FIELD_MAX);
	}
	explicit_bzero(prepared, strlen(prepared));
	gsasl_free(prepared);
	explicit_bzero(&c, sizeof c);
	return rc;
}

/* The secret as text, since PBKDF2 here takes a password. */
static void
hex(const uint8_t secret[VERIFY_SECRET_SIZE], char out[2 * VERIFY_SECRET_SIZE + 1])
{
	size_t i;

	for (i = 0; i < VERIFY_SECRET_SIZE; i++)
		snprintf(out + 2 * i, 3, "%02x", secret[i]);
}

void
verify_fake(const uint8_t secret[VERIFY_SECRET_SIZE], const char *name, const struct user_credentials *model,
	    struct user_credentials *out)
{
	static const char letters[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	char text[2 * VERIFY_SECRET_SIZE + 1], salt[23];
	struct keys k;
	size_t i;

	*out = (struct user_credentials){ .yescrypt = "" };
	hex(secret, text);
	/* one iteration: HMAC(secret, name || 1), and two keys made from that */
	scram_keys(text, 1, name, strlen(name), NULL, NULL, &k);
	out->scram.iterations = model->scram.iterations != 0 ? model->scram.iterations : VERIFY_ITERATIONS;
	PT_ASSERT(encode(k.salted, VERIFY_SALT_SIZE, out->scram.salt) &&
		  encode(k.stored, KEY, out->scram.stored_key) && encode(k.server, KEY, out->scram.server_key));
	for (i = 0; i < sizeof salt - 1; i++)
		salt[i] = letters[k.client[i] & 63];
	salt[0] = salt[sizeof salt - 2] = '.'; /* 128 bits in 22 letters: the last has two of them */
	salt[sizeof salt - 1] = '\0';
	/* 43 dots are the hash of no password that anybody will find */
	if (model->yescrypt[0] != '\0')
		snprintf(out->yescrypt, sizeof out->yescrypt, "%s%s$%.43s", "$y$j9T$", salt,
			"...........................................");
	explicit_bzero(&k, sizeof k);
	explicit_bzero(text, sizeof text);
}

void
verify_model(const struct users *users, struct user_credentials *model)
{
	uint32_t iterations = VERIFY_ITERATIONS;
	size_t i, yescrypt = 0, passwords = 0, votes = 0;
	const struct user_credentials *c;

	for (i = 0; i < users_count(users); i++) {
		c = &users_at(users, i)->credentials;
		passwords += c->yescrypt[0] != '\0' || c->scram.iterations != 0;
		yescrypt += c->yescrypt[0] != '\0' && c->scram.iterations == 0;
		if (c->scram.iterations == 0)
			continue;
		/* the one that more than half have wins (Boyer and Moore); else some frequent one */
		if (votes == 0)
			iterations = c->scram.iterations;
		if (c->scram.iterations == iterations)
			votes++;
		else
			votes--;
	}
	*model = (struct user_credentials){ .scram.iterations = iterations };
	if (2 * yescrypt > passwords)
		snprintf(model->yescrypt, sizeof model->yescrypt, "$y$j9T$");
}
