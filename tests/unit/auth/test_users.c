/* unit/auth/test_users.c - the users file and the impersonate table: good ones, and every mistake with its line. */
#include "test.h"

#include "auth/impersonate.h"
#include "auth/lines.h"
#include "auth/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define KEY "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SCRAM "{SCRAM-SHA-256}4096," SALT "," KEY "," KEY
#define YESCRYPT "{yescrypt}$y$j9T$qGpv6lvmy3rHIMSmlEHlK.$aFcYWN.l6lj9PCJXuTx0bQnJCHDxqSxHpXBlJ6gS2x5"

static struct users *
parse(const char *text, char *mistakes, size_t cap)
{
	struct users *u;
	struct buf b;
	int rc;

	buf_init(&b, 1024 * 1024);
	rc = users_parse("users", span_str(text), &u, &b);
	CU_ASSERT_EQUAL(rc, u != NULL ? 0 : PT_EINVAL);
	CU_ASSERT_EQUAL(u != NULL, buf_size(&b) == 0);
	snprintf(mistakes, cap, "%.*s", (int)buf_size(&b), (const char *)buf_span(&b).p);
	buf_fini(&b);
	return u;
}

static void
test_good(void)
{
	static const char text[] = "# who has a mailbox\n"
		"\n"
		"Alice@Example.org " SCRAM YESCRYPT "\t10G  Sales@example.org,info@EXAMPLE.net\n"
		"  scanner@example.org   -\n"
		"bob@example.org " YESCRYPT " - -\n"
		"carol@example.org " SCRAM " 1536K info@example.net"; /* no line end at the end */
	const struct user *found[USERS_ALIAS_USERS_MAX], *user;
	char mistakes[1024];
	struct users *u = parse(text, mistakes, sizeof mistakes);

	CU_ASSERT_STRING_EQUAL_FATAL(mistakes, "");
	CU_ASSERT_EQUAL_FATAL(users_count(u), 4);
	user = users_get(u, "alice@example.org");
	CU_ASSERT_PTR_EQUAL_FATAL(user, users_at(u, 0));
	CU_ASSERT_EQUAL(user->line, 3);
	CU_ASSERT_EQUAL(user->quota, UINT64_C(10) << 30);
	CU_ASSERT_EQUAL(user->credentials.scram.iterations, 4096);
	CU_ASSERT_STRING_EQUAL(user->credentials.scram.salt, SALT);
	CU_ASSERT_STRING_EQUAL(user->credentials.scram.server_key, KEY);
	CU_ASSERT_STRING_EQUAL(user->credentials.yescrypt, YESCRYPT + 10);
	CU_ASSERT_EQUAL(user->naliases, 2);
	CU_ASSERT_EQUAL(users_get(u, "carol@example.org")->quota, 1536 * 1024);
	user = users_get(u, "scanner@example.org");
	CU_ASSERT_EQUAL(user->credentials.scram.iterations, 0);
	CU_ASSERT_STRING_EQUAL(user->credentials.yescrypt, "");
	CU_ASSERT_PTR_NULL(users_get(u, "sales@example.org")); /* that is an alias */
	CU_ASSERT_PTR_NULL(users_get(u, "zoe@example.org"));
	CU_ASSERT_EQUAL(users_by_alias(u, "sales@example.org", found), 1);
	CU_ASSERT_PTR_EQUAL(found[0], users_at(u, 0));
	CU_ASSERT_EQUAL_FATAL(users_by_alias(u, "info@example.net", found), 2);
	CU_ASSERT_PTR_EQUAL(found[0], users_at(u, 0));
	CU_ASSERT_PTR_EQUAL(found[1], users_at(u, 3));
	CU_ASSERT_EQUAL(users_by_alias(u, "zoe@example.org", found), 0);
	users_free(&u);
	CU_ASSERT_PTR_NULL(u);
	u = parse("", mistakes, sizeof mistakes);
	CU_ASSERT_EQUAL(users_count(u), 0);
	CU_ASSERT_PTR_NULL(users_get(u, "alice@example.org"));
	users_free(&u);
}

static void
test_mistakes(void)
{
	static const struct {
		const char *text, *mistakes;
	} rows[] = {
		{ "alice@example.org\n",
			"users:1: no credentials behind the address; expected - for a user without a password\n" },
		{ "alice -\n", "users:1: 'alice' is not an address; expected NAME@DOMAIN\n" },
		{ "a@b -\nx/y@b -\n", "users:2: 'x/y@b' is not an address; expected NAME@DOMAIN\n" },
		{ "a@b - - - -\n", "users:1: more than four fields; expected address, credentials, quota, and aliases "
			"with commas and no blanks between them\n" },
		{ "a@b secret\n",
			"users:1: credentials are - or one or both of {SCRAM-SHA-256} and {yescrypt}\n" },
		{ "a@b {MD5}x\n", "users:1: credentials are - or one or both of {SCRAM-SHA-256} and {yescrypt}\n" },
		{ "a@b " YESCRYPT YESCRYPT "\n",
			"users:1: credentials are - or one or both of {SCRAM-SHA-256} and {yescrypt}\n" },
		{ "a@b {SCRAM-SHA-256}4095," SALT "," KEY "," KEY "\n",
			"users:1: {SCRAM-SHA-256} begins with 4096 to 1000000 iterations\n" },
		{ "a@b {SCRAM-SHA-256}1000001," SALT "," KEY "," KEY "\n",
			"users:1: {SCRAM-SHA-256} begins with 4096 to 1000000 iterations\n" },
		{ "a@b {SCRAM-SHA-256}4096,AAAA," KEY "," KEY "\n",
			"users:1: the salt of {SCRAM-SHA-256} is 8 to 64 octets in base64\n" },
		{ "a@b {SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gR==," KEY "," KEY "\n",
			"users:1: the salt of {SCRAM-SHA-256} is 8 to 64 octets in base64\n" },
		{ "a@b {SCRAM-SHA-256}4096," SALT "," KEY "\n",
			"users:1: {SCRAM-SHA-256} ends in StoredKey and ServerKey, each 32 octets in base64\n" },
		{ "a@b {SCRAM-SHA-256}4096," SALT "," KEY "," KEY ",\n",
			"users:1: {SCRAM-SHA-256} ends in StoredKey and ServerKey, each 32 octets in base64\n" },
		{ "a@b {yescrypt}$2b$12$abc\n", "users:1: {yescrypt} is followed by $y$PARAMETERS$SALT$HASH\n" },
		{ "a@b {yescrypt}$y$$qG$aFcYWN.l6lj9PCJXuTx0bQnJCHDxqSxHpXBlJ6gS2x5\n",
			"users:1: {yescrypt} is followed by $y$PARAMETERS$SALT$HASH\n" },
		{ "a@b - 10Q\n", "users:1: this is not a quota; expected - or a number with K, M, G or T\n" },
		{ "a@b - 0\n", "users:1: this is not a quota; expected - or a number with K, M, G or T\n" },
		{ "a@b - - x@b,\n", "users:1: '' is not an alias; expected NAME@DOMAIN\n" },
		{ "a@b - - x@b,X@b\n", "users:1: alias x@b twice; expected each once\n" },
		{ "a@b -\nc@b -\n# a\nA@B -\n",
			"users:4: user a@b again; expected one line for each, and line 1 has it\n" },
		{ "a@b - - c@b\nc@b -\n",
			"users:1: alias c@b is the address of the user in line 2; expected another\n" },
		{ "a@b -\r\n", "users:1: a carriage return; expected lines that end in LF alone\n" },
		{ "a@b \x01\n", "users:1: a control character; expected text\n" },
		/* all of them in one run */
		{ "a@b x\nb\nc@b -\n",
			"users:1: credentials are - or one or both of {SCRAM-SHA-256} and {yescrypt}\n"
			"users:2: no credentials behind the address; expected - for a user without a password\n" },
	};
	char mistakes[2048];
	struct users *u;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		u = parse(rows[i].text, mistakes, sizeof mistakes);
		if (u != NULL || strcmp(mistakes, rows[i].mistakes) != 0) {
			printf("\n%s gives %s", rows[i].text, mistakes);
			CU_FAIL("mistakes");
		}
		users_free(&u);
	}
}

/* A file of n lines by printf's format with the line's number. */
static char *
many(size_t n, const char *fmt)
{
	char *text = malloc(n * 32 + 1), *p = text;
	size_t i;

	PT_ASSERT(text != NULL);
	*p = '\0';
	for (i = 0; i < n; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		p += sprintf(p, fmt, i);
#pragma GCC diagnostic pop
	}
	return text;
}

static bool
is_good(const char *text)
{
	struct users *u;
	struct buf b;
	bool good;

	buf_init(&b, 4096);
	good = users_parse("users", span_str(text), &u, &b) == 0;
	users_free(&u);
	buf_fini(&b);
	return good;
}

static void
test_limits(void)
{
	char line[LINES_MAX + 64], mistakes[16384], *text;
	struct users *u;
	size_t i, n;

	/* a line's octets: a comment that is long, then one more */
	memset(line, '#', sizeof line);
	line[LINES_MAX] = '\0';
	CU_ASSERT_TRUE(is_good(line));
	line[LINES_MAX] = '#';
	line[LINES_MAX + 1] = '\0';
	u = parse(line, mistakes, sizeof mistakes);
	CU_ASSERT_PTR_NULL(u);
	CU_ASSERT_STRING_EQUAL(mistakes, "users:1: a line of 16385 octets; expected at most 16384\n");
	/* aliases */
	for (n = USERS_ALIASES_MAX; n <= USERS_ALIASES_MAX + 1; n++) {
		char *p = line + sprintf(line, "a@b - - ");

		for (i = 0; i < n; i++)
			p += sprintf(p, "%sx%zu@b", i > 0 ? "," : "", i);
		CU_ASSERT_EQUAL(is_good(line), n == USERS_ALIASES_MAX);
	}
	/* users of an alias */
	for (n = USERS_ALIAS_USERS_MAX; n <= USERS_ALIAS_USERS_MAX + 1; n++) {
		text = many(n, "u%zu@b - - team@b\n");
		CU_ASSERT_EQUAL(is_good(text), n == USERS_ALIAS_USERS_MAX);
		free(text);
	}
	/* mistakes that are shown */
	text = many(LINES_MISTAKES_MAX + 3, "%zu@b\n");
	u = parse(text, mistakes, sizeof mistakes);
	CU_ASSERT_PTR_NULL(u);
	CU_ASSERT_PTR_NOT_NULL(strstr(mistakes, "users:50: "));
	CU_ASSERT_PTR_NULL(strstr(mistakes, "users:51: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(mistakes, "users: 3 more mistakes\n"));
	free(text);
	/* users */
	for (n = USERS_MAX; n <= USERS_MAX + 1; n++) {
		text = many(n, "u%zu@b -\n");
		CU_ASSERT_EQUAL(is_good(text), n == USERS_MAX);
		free(text);
	}
}

static void
test_file_size(void)
{
	char *text = malloc(USERS_FILE_MAX + 2);
	size_t i, n;
	struct users *u;
	struct buf b;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, '#', USERS_FILE_MAX + 1);
	for (i = 0; i < USERS_FILE_MAX; i += 1000)
		text[i] = '\n';
	for (n = USERS_FILE_MAX; n <= USERS_FILE_MAX + 1; n++) {
		buf_init(&b, 4096);
		CU_ASSERT_EQUAL(users_parse("users", (struct span){ (uint8_t *)text, n }, &u, &b),
			n == USERS_FILE_MAX ? 0 : PT_EINVAL);
		users_free(&u);
		buf_fini(&b);
	}
	free(text);
}

static void
test_quota(void)
{
	static const struct {
		const char *text;
		uint64_t octets;
		const char *again;
	} rows[] = {
		{ "-", 0, "-" },
		{ "1", 1, "1" },
		{ "1k", 1024, "1K" },
		{ "1024K", 1024 * 1024, "1M" },
		{ "3G", UINT64_C(3) << 30, "3G" },
		{ "8388607T", UINT64_C(8388607) << 40, "8388607T" },
		{ "8388608T", UINT64_MAX, NULL },
		{ "9223372036854775807", INT64_MAX, "9223372036854775807" },
		{ "9223372036854775808", UINT64_MAX, NULL },
		{ "", UINT64_MAX, NULL },
		{ "K", UINT64_MAX, NULL },
		{ "-1", UINT64_MAX, NULL },
		{ "1KB", UINT64_MAX, NULL },
		{ "1.5G", UINT64_MAX, NULL },
	};
	char again[32];
	uint64_t octets;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		octets = UINT64_MAX;
		CU_ASSERT_EQUAL(users_quota_parse(span_str(rows[i].text), &octets), rows[i].again != NULL);
		CU_ASSERT_EQUAL(octets, rows[i].octets);
		if (rows[i].again == NULL)
			continue;
		users_quota_print(octets, again);
		CU_ASSERT_STRING_EQUAL(again, rows[i].again);
	}
}

static void
test_impersonate(void)
{
	static const struct {
		const char *who, *whom;
		bool may;
	} rows[] = {
		{ "admin@example.org", "alice@example.org", true },
		{ "admin@example.org", "zoe@example.net", true },
		{ "backup@example.org", "alice@example.org", true },
		{ "backup@example.org", "bob@example.org", true },
		{ "backup@example.org", "carol@example.org", false },
		{ "alice@example.org", "admin@example.org", false },
		{ "alice@example.org", "alice@example.org", true },
	};
	static const char *const bad[] = { "admin@example.org\n", "admin *\n", "admin@example.org alice\n",
		"* alice@example.org\n", "admin@example.org **\n" };
	struct impersonate *t;
	struct buf b;
	size_t i;

	buf_init(&b, 4096);
	CU_ASSERT_EQUAL_FATAL(impersonate_parse("imp", span_str("# x\nAdmin@example.org *\n"
		"backup@example.org  Alice@example.org bob@EXAMPLE.org\n"), &t, &b), 0);
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++)
		CU_ASSERT_EQUAL(impersonate_allows(t, rows[i].who, rows[i].whom), rows[i].may);
	impersonate_free(&t);
	CU_ASSERT_FALSE(impersonate_allows(NULL, "a@b", "c@b"));
	CU_ASSERT_TRUE(impersonate_allows(NULL, "a@b", "a@b"));
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CU_ASSERT_EQUAL(impersonate_parse("imp", span_str(bad[i]), &t, &b), PT_EINVAL);
		CU_ASSERT_PTR_NULL(t);
	}
	CU_ASSERT_EQUAL(strncmp((const char *)buf_span(&b).p, "imp:1: nobody behind the user", 29), 0);
	buf_fini(&b);
}

static void
test_impersonate_fields(void)
{
	char line[IMPERSONATE_FIELDS_MAX * 8 + 64], *p;
	struct impersonate *t;
	struct buf b;
	size_t n, i;

	for (n = IMPERSONATE_FIELDS_MAX; n <= IMPERSONATE_FIELDS_MAX + 1; n++) {
		p = line + sprintf(line, "a@b");
		for (i = 1; i < n; i++)
			p += sprintf(p, " x%zu@b", i);
		buf_init(&b, 4096);
		CU_ASSERT_EQUAL(impersonate_parse("imp", span_str(line), &t, &b),
			n == IMPERSONATE_FIELDS_MAX ? 0 : PT_EINVAL);
		impersonate_free(&t);
		buf_fini(&b);
	}
}

/* What a login rests on, and what it does not. */
static void
test_compare(void)
{
#define FORM(iterations, key) "{SCRAM-SHA-256}" iterations ",QSXCR+Q6sek8bf92," key \
	"3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define YES(hash) "{yescrypt}$y$j9T$salt$" hash "123456789012345678901234567890123456789012"
	static const struct {
		const char *was, *is;
		enum users_change change;
	} rows[] = {
		{ "a@b -", "a@b -", USERS_SAME },
		{ "a@b -", "A@B - 1G x@b", USERS_SAME },
		{ "a@b -", "c@b -", USERS_GONE },
		{ "a@b -", "c@b - - a@b", USERS_GONE }, /* an alias is no login */
		{ "a@b -", "a@b " FORM("4096", "WG5d8oPm"), USERS_PASSWORD },
		{ "a@b " FORM("4096", "WG5d8oPm"), "a@b " FORM("4096", "WG5d8oPm") " 1G", USERS_SAME },
		{ "a@b " FORM("4096", "WG5d8oPm"), "a@b -", USERS_PASSWORD },
		{ "a@b " FORM("4096", "WG5d8oPm"), "a@b " FORM("4097", "WG5d8oPm"), USERS_PASSWORD },
		{ "a@b " FORM("4096", "WG5d8oPm"), "a@b " FORM("4096", "XG5d8oPm"), USERS_PASSWORD },
		{ "a@b " YES("y"), "a@b " YES("y"), USERS_SAME },
		{ "a@b " YES("y"), "a@b " YES("z"), USERS_PASSWORD },
		{ "a@b " FORM("4096", "WG5d8oPm") YES("y"), "a@b " FORM("4096", "WG5d8oPm"), USERS_PASSWORD },
	};
	struct users *was, *is;
	struct buf b;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		buf_init(&b, 4096);
		CU_ASSERT_EQUAL_FATAL(users_parse("was", span_str(rows[i].was), &was, &b), 0);
		CU_ASSERT_EQUAL_FATAL(users_parse("is", span_str(rows[i].is), &is, &b), 0);
		CU_ASSERT_EQUAL(users_compare(users_at(was, 0), is), rows[i].change);
		users_free(&was);
		users_free(&is);
		buf_fini(&b);
	}
}

static const struct test_row tests[] = {
	{ "a good file", test_good },
	{ "mistakes", test_mistakes },
	{ "limits", test_limits },
	{ "size of the file", test_file_size },
	{ "quotas", test_quota },
	{ "users who change", test_compare },
	{ "impersonate", test_impersonate },
	{ "fields of an impersonate line", test_impersonate_fields },
};

TEST_MAIN("auth/users", tests)
