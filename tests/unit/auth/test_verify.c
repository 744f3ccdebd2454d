/* unit/auth/test_verify.c - stored forms: against the vectors of RFC 7677, against each other, and of nobody. */
#include "test.h"

#include "auth/verify.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

/* RFC 7677 §3 says salt, iterations and the whole exchange; the keys are what follows from them (test_vector()). */
#define VECTOR "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define YESCRYPT "{yescrypt}$y$j9T$qGpv6lvmy3rHIMSmlEHlK.$aFcYWN.l6lj9PCJXuTx0bQnJCHDxqSxHpXBlJ6gS2x5"
#define AUTH_MESSAGE "n=user,r=rOprNGfwEbeRWgbNEkqO," \
	"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," \
	"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SIGNATURE "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static void
decode(const char *base64, uint8_t out[32])
{
	gnutls_datum_t in = { (unsigned char *)(uintptr_t)base64, (unsigned)strlen(base64) }, raw;

	PT_ASSERT(gnutls_base64_decode2(&in, &raw) == 0 && raw.size == 32);
	memcpy(out, raw.data, 32);
	gnutls_free(raw.data);
}

/* The keys that this test uses are those of the RFC's exchange: its proof and signature come out of them. */
static void
test_vector(void)
{
	struct user_credentials c;
	uint8_t stored[32], server[32], proof[32], signature[32], mac[32], client[32], hash[32];
	const char *why;
	size_t i;

	CU_ASSERT_TRUE_FATAL(users_credentials_parse(span_str(VECTOR), &c, &why));
	decode(c.scram.stored_key, stored);
	decode(c.scram.server_key, server);
	decode(PROOF, proof);
	decode(SIGNATURE, signature);
	PT_ASSERT(gnutls_hmac_fast(GNUTLS_MAC_SHA256, server, 32, AUTH_MESSAGE, strlen(AUTH_MESSAGE), mac) == 0);
	CU_ASSERT_EQUAL(memcmp(mac, signature, 32), 0);
	PT_ASSERT(gnutls_hmac_fast(GNUTLS_MAC_SHA256, stored, 32, AUTH_MESSAGE, strlen(AUTH_MESSAGE), mac) == 0);
	for (i = 0; i < 32; i++)
		client[i] = proof[i] ^ mac[i];
	PT_ASSERT(gnutls_hash_fast(GNUTLS_DIG_SHA256, client, 32, hash) == 0);
	CU_ASSERT_EQUAL(memcmp(hash, stored, 32), 0);
	/* and PLAIN is checked against the same */
	CU_ASSERT_TRUE(verify_password(&c, "pencil", NULL, NULL));
	CU_ASSERT_FALSE(verify_password(&c, "pencils", NULL, NULL));
	CU_ASSERT_FALSE(verify_password(&c, "penci", NULL, NULL));
	CU_ASSERT_FALSE(verify_password(&c, "", NULL, NULL));
}

static void
test_make(void)
{
	static const char *const passwords[] = { "correct horse", "p\xc3\xa4ss", "x" };
	struct user_credentials c, one;
	char field[VERIFY_FIELD_MAX], again[VERIFY_FIELD_MAX];
	const char *why;
	size_t i;

	for (i = 0; i < sizeof passwords / sizeof passwords[0]; i++) {
		CU_ASSERT_EQUAL_FATAL(verify_make(passwords[i], field), 0);
		CU_ASSERT_EQUAL_FATAL(verify_make(passwords[i], again), 0);
		CU_ASSERT_STRING_NOT_EQUAL(field, again); /* another salt */
		CU_ASSERT_TRUE_FATAL(users_credentials_parse(span_str(field), &c, &why));
		CU_ASSERT_EQUAL(c.scram.iterations, VERIFY_ITERATIONS);
		CU_ASSERT_TRUE(verify_password(&c, passwords[i], NULL, NULL));
		CU_ASSERT_FALSE(verify_password(&c, "wrong", NULL, NULL));
		one = c;
		one.yescrypt[7] = one.yescrypt[7] == 'a' ? 'b' : 'a'; /* the SCRAM form is looked at, no other */
		CU_ASSERT_TRUE(verify_password(&one, passwords[i], NULL, NULL));
		one = c; /* each form alone */
		one.yescrypt[0] = '\0';
		CU_ASSERT_TRUE(verify_password(&one, passwords[i], NULL, NULL));
		CU_ASSERT_FALSE(verify_password(&one, "wrong", NULL, NULL));
		one = c;
		one.scram.iterations = 0;
		CU_ASSERT_TRUE(verify_password(&one, passwords[i], NULL, NULL));
		one.yescrypt[0] = '\0';
		CU_ASSERT_FALSE(verify_password(&one, passwords[i], NULL, NULL)); /* none */
	}
}

static void
test_passwords(void)
{
	char field[VERIFY_FIELD_MAX], password[VERIFY_PASSWORD_MAX + 2];
	struct user_credentials c;
	const char *why;

	memset(password, 'x', sizeof password);
	password[VERIFY_PASSWORD_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(verify_make(password, field), PT_EINVAL);
	password[VERIFY_PASSWORD_MAX] = '\0';
	CU_ASSERT_EQUAL(verify_make(password, field), 0);
	CU_ASSERT_TRUE(users_credentials_parse(span_str(field), &c, &why));
	CU_ASSERT_TRUE(verify_password(&c, password, NULL, NULL));
	CU_ASSERT_EQUAL(verify_make("", field), PT_EINVAL);
	CU_ASSERT_EQUAL(verify_make("a\x01" "b", field), PT_EINVAL);   /* a control character */
	CU_ASSERT_EQUAL(verify_make("a\xff", field), PT_EINVAL);       /* not UTF-8 */
	CU_ASSERT_EQUAL(verify_make("\xc2\xad", field), PT_EINVAL);    /* a soft hyphen, mapped to nothing */
	/* what SASLprep makes equal is equal: U+00AA is "a", U+2168 is "IX" (RFC 4013 §3) */
	CU_ASSERT_EQUAL(verify_make("\xc2\xaa\xe2\x85\xa8", field), 0);
	CU_ASSERT_TRUE(users_credentials_parse(span_str(field), &c, &why));
	CU_ASSERT_TRUE(verify_password(&c, "aIX", NULL, NULL));
}

static void
test_fake(void)
{
	static const uint8_t secret[VERIFY_SECRET_SIZE] = { 1, 2, 3 }, other[VERIFY_SECRET_SIZE] = { 1, 2, 4 };
	struct user_credentials model = { .scram.iterations = 5000, .yescrypt = "$y$j9T$" }, a, b, parsed;
	char field[2 * VERIFY_FIELD_MAX];
	const char *why;

	verify_fake(secret, "zoe@example.org", &model, &a);
	verify_fake(secret, "zoe@example.org", &model, &b);
	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof a), 0); /* asked twice, the same salt */
	verify_fake(secret, "yan@example.org", &model, &b);
	CU_ASSERT_STRING_NOT_EQUAL(a.scram.salt, b.scram.salt);
	verify_fake(other, "zoe@example.org", &model, &b);
	CU_ASSERT_STRING_NOT_EQUAL(a.scram.salt, b.scram.salt);
	/* of the form that a real one has */
	snprintf(field, sizeof field, "{SCRAM-SHA-256}%u,%s,%s,%s{yescrypt}%s", a.scram.iterations, a.scram.salt,
		a.scram.stored_key, a.scram.server_key, a.yescrypt);
	CU_ASSERT_TRUE(users_credentials_parse(span_str(field), &parsed, &why));
	CU_ASSERT_EQUAL(a.scram.iterations, 5000);
	CU_ASSERT_EQUAL(strlen(a.scram.salt), 24);
	CU_ASSERT_EQUAL(strlen(a.yescrypt), 73); /* as crypt(3) makes them */
	CU_ASSERT_FALSE(verify_password(&a, "x", NULL, NULL));
	model.yescrypt[0] = '\0';
	verify_fake(secret, "zoe@example.org", &model, &a);
	CU_ASSERT_STRING_EQUAL(a.yescrypt, "");
	CU_ASSERT_FALSE(verify_password(&a, "x", NULL, NULL));
}

/* The way of a user who does not exist has the work of one who does: yescrypt takes its time for both. */
static void
test_fake_is_work(void)
{
	static const uint8_t secret[VERIFY_SECRET_SIZE] = { 1 };
	struct user_credentials model = { .scram.iterations = 4096, .yescrypt = "$y$j9T$" }, fake, real;
	char field[VERIFY_FIELD_MAX], made[USERS_YESCRYPT_MAX];
	const char *why;

	CU_ASSERT_EQUAL_FATAL(verify_make("secret", field), 0);
	CU_ASSERT_TRUE_FATAL(users_credentials_parse(span_str(field), &real, &why));
	verify_fake(secret, "zoe@example.org", &model, &fake);
	/* the same parameters: crypt(3) does the same with both */
	snprintf(made, sizeof made, "%.7s", real.yescrypt);
	CU_ASSERT_EQUAL(strncmp(fake.yescrypt, made, 7), 0);
	CU_ASSERT_EQUAL(strlen(fake.yescrypt), strlen(real.yescrypt));
}

static void
test_model(void)
{
	static const struct {
		const char *text;
		uint32_t iterations;
		bool yescrypt;
	} rows[] = {
		{ "", VERIFY_ITERATIONS, false },
		{ "a@b -\n", VERIFY_ITERATIONS, false },
		{ "a@b " VECTOR "\n", 4096, false },
		{ "a@b " VECTOR YESCRYPT "\n", 4096, false },
		{ "a@b " YESCRYPT "\n", VERIFY_ITERATIONS, true },
		{ "a@b " YESCRYPT "\nb@b " VECTOR "\n", 4096, false },
		{ "a@b " YESCRYPT "\nb@b " VECTOR "\nc@b " YESCRYPT "\n", 4096, true },
		{ "a@b " YESCRYPT "\nb@b " VECTOR YESCRYPT "\nc@b -\n", 4096, false },
	};
	struct user_credentials model;
	struct users *u;
	struct buf b;
	size_t i;

	buf_init(&b, 4096);
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CU_ASSERT_EQUAL_FATAL(users_parse("u", span_str(rows[i].text), &u, &b), 0);
		verify_model(u, &model);
		CU_ASSERT_EQUAL(model.scram.iterations, rows[i].iterations);
		CU_ASSERT_EQUAL(model.yescrypt[0] != '\0', rows[i].yescrypt);
		users_free(&u);
	}
	buf_fini(&b);
}

static const struct test_row tests[] = {
	{ "RFC 7677", test_vector },
	{ "making both forms", test_make },
	{ "which passwords", test_passwords },
	{ "forms of nobody", test_fake },
	{ "forms of nobody are as much work", test_fake_is_work },
	{ "the model", test_model },
};

TEST_MAIN("auth/verify", tests)
