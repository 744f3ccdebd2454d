/* unit/auth/test_directory.c - whom an address reaches, who may send as what. */
#include "test.h"

#include "auth/directory.h"

#include <stdio.h>
#include <string.h>

static char *domains[] = { (char *)"example.org", (char *)"xn--bcher-kva.example" };
static struct directory dir = { .domains = domains, .ndomains = 2 };
static struct users *users;

static void
setup(const char *text, const char *postmaster)
{
	struct buf b;

	buf_init(&b, 4096);
	PT_ASSERT(users_parse("users", span_str(text), &users, &b) == 0);
	buf_fini(&b);
	dir.users = users;
	dir.postmaster = postmaster;
}

static void
teardown(void)
{
	users_free(&users);
	dir.users = NULL;
}

static const char two[] =
	"alice@example.org - 10G sales@example.org,team@example.org,a+b@example.org\n"
	"bob@b\xc3\xbc" "cher.example - - team@example.org\n";

static void
test_recipients(void)
{
	static const struct {
		const char *address;
		enum auth_result result;
		const char *reaches; /* numbers of users */
		const char *detail;
	} rows[] = {
		{ "alice@example.org", AUTH_OK, "0", "" },
		{ "ALICE@Example.ORG", AUTH_OK, "0", "" },
		{ "\"alice\"@example.org", AUTH_OK, "0", "" },
		{ "alice+Lists@example.org", AUTH_OK, "0", "Lists" },
		{ "\"alice+Lists\"@example.org", AUTH_OK, "0", "Lists" },
		{ "alice+@example.org", AUTH_OK, "0", "" },
		{ "alice+a+b@example.org", AUTH_OK, "0", "a+b" },
		{ "a+b@example.org", AUTH_OK, "0", "" }, /* an alias as it stands */
		{ "a+c@example.org", AUTH_NO_USER, "", "" },
		{ "sales+x@example.org", AUTH_OK, "0", "x" },
		{ "team@example.org", AUTH_OK, "01", "" },
		{ "bob@b\xc3\xbc" "cher.example", AUTH_OK, "1", "" },
		{ "bob@XN--bcher-kva.example", AUTH_OK, "1", "" },
		{ "bob@example.org", AUTH_NO_USER, "", "" },
		{ "+alice@example.org", AUTH_NO_USER, "", "" },
		{ "postmaster", AUTH_OK, "1", "" },
		{ "PostMaster", AUTH_OK, "1", "" },
		{ "postmaster@example.org", AUTH_OK, "1", "" },
		{ "POSTMASTER@B\xc3\x9c" "cher.example", AUTH_OK, "1", "" },
		{ "postmaster+x@example.org", AUTH_OK, "1", "" },
		{ "postmaster@example.net", AUTH_NOT_LOCAL, "", "" },
		{ "alice@example.net", AUTH_NOT_LOCAL, "", "" },
		{ "alice@sub.example.org", AUTH_NOT_LOCAL, "", "" },
		{ "alice@[127.0.0.1]", AUTH_BAD_ADDRESS, "", "" },
		{ "alice", AUTH_BAD_ADDRESS, "", "" },
		{ "", AUTH_BAD_ADDRESS, "", "" },
		{ "../x@example.org", AUTH_BAD_ADDRESS, "", "" },
	};
	struct directory_answer a;
	char reaches[8];
	size_t i, k;

	setup(two, "bob@xn--bcher-kva.example");
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CU_ASSERT_EQUAL(directory_recipient(&dir, span_str(rows[i].address), &a), rows[i].result);
		for (k = 0; k < a.n && k < 7; k++)
			reaches[k] = a.users[k] == users_at(users, 0) ? '0' : '1';
		reaches[k] = '\0';
		if (strcmp(reaches, rows[i].reaches) != 0 || strcmp(a.detail, rows[i].detail) != 0) {
			printf("\n%s: %s, %s\n", rows[i].address, reaches, a.detail);
			CU_FAIL("recipient");
		}
	}
	teardown();
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("alice@example.org"), &a), AUTH_AWAY);
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("postmaster"), &a), AUTH_AWAY);
}

/* Always somebody, as long as there is anybody. */
static void
test_postmaster(void)
{
	struct directory_answer a;

	setup(two, NULL);
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("postmaster"), &a), AUTH_OK);
	CU_ASSERT_PTR_EQUAL(a.users[0], users_at(users, 0));
	dir.postmaster = "zoe@example.org"; /* deleted since */
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("postmaster@example.org"), &a), AUTH_OK);
	CU_ASSERT_PTR_EQUAL(a.users[0], users_at(users, 0));
	dir.postmaster = "team@example.org"; /* an alias of two */
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("postmaster"), &a), AUTH_OK);
	CU_ASSERT_EQUAL(a.n, 2);
	teardown();
	setup("alice@example.org -\nx@example.org - - postmaster@example.org\n", "alice@example.org");
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("postmaster@example.org"), &a), AUTH_OK);
	CU_ASSERT_PTR_EQUAL(a.users[0], users_at(users, 1)); /* somebody has the address itself */
	teardown();
	setup("", NULL);
	CU_ASSERT_EQUAL(directory_recipient(&dir, span_str("postmaster"), &a), AUTH_NO_USER);
	teardown();
}

static void
test_senders(void)
{
	static const struct {
		const char *user, *address;
		enum auth_result result;
		const char *allowed;
	} rows[] = {
		{ "alice@example.org", "alice@example.org", AUTH_OK, "" },
		{ "alice@example.org", "Alice@EXAMPLE.org", AUTH_OK, "" },
		{ "alice@example.org", "alice+shop@example.org", AUTH_OK, "" },
		{ "alice@example.org", "sales@example.org", AUTH_OK, "" },
		{ "alice@example.org", "team+x@example.org", AUTH_OK, "" },
		{ "alice@example.org", "bob@xn--bcher-kva.example", AUTH_NOT_ALLOWED,
			"alice@example.org, sales@example.org, team@example.org, a+b@example.org" },
		{ "alice@example.org", "alice@example.net", AUTH_NOT_ALLOWED,
			"alice@example.org, sales@example.org, team@example.org, a+b@example.org" },
		{ "bob@b\xc3\xbc" "cher.example", "team@example.org", AUTH_OK, "" },
		{ "bob@b\xc3\xbc" "cher.example", "sales@example.org", AUTH_NOT_ALLOWED,
			"bob@xn--bcher-kva.example, team@example.org" },
		{ "alice@example.org", "alice", AUTH_BAD_ADDRESS, "" },
		{ "alice@example.org", "", AUTH_BAD_ADDRESS, "" },
		{ "sales@example.org", "sales@example.org", AUTH_NO_USER, "" }, /* an alias is nobody's login */
		{ "zoe@example.org", "zoe@example.org", AUTH_NO_USER, "" },
	};
	char allowed[DIRECTORY_ALLOWED_MAX];
	size_t i;

	setup(two, NULL);
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CU_ASSERT_EQUAL(directory_sender(&dir, rows[i].user, span_str(rows[i].address), allowed),
			rows[i].result);
		CU_ASSERT_STRING_EQUAL(allowed, rows[i].allowed);
	}
	CU_ASSERT_PTR_EQUAL(directory_login(&dir, span_str("ALICE@example.org")), users_at(users, 0));
	CU_ASSERT_PTR_NULL(directory_login(&dir, span_str("alice+x@example.org")));
	teardown();
	CU_ASSERT_EQUAL(directory_sender(&dir, "alice@example.org", span_str("a@b"), allowed), AUTH_AWAY);
}

/* Aliases up to the last octet, and one more. */
static void
test_allowed_max(void)
{
	char text[2048], allowed[DIRECTORY_ALLOWED_MAX], *p;
	size_t i, n, pad;

	for (pad = 0; pad < 2; pad++) {
		/* "a@example.org" and n times ", " and 14 or more octets */
		p = text + sprintf(text, "a@example.org - - %.*sx@example.org", (int)pad, "yyyy");
		for (i = 0, n = 0; i < 40; i++)
			p += sprintf(p, ",%02zu@example.org", i);
		setup(text, NULL);
		CU_ASSERT_EQUAL(directory_sender(&dir, "a@example.org", span_str("z@example.org"), allowed),
			AUTH_NOT_ALLOWED);
		n = strlen(allowed);
		CU_ASSERT_TRUE(n < DIRECTORY_ALLOWED_MAX && n > DIRECTORY_ALLOWED_MAX - 24);
		CU_ASSERT_STRING_EQUAL(allowed + n - 5, ", ...");
		teardown();
	}
}

static const struct test_row tests[] = {
	{ "recipients", test_recipients },
	{ "postmaster", test_postmaster },
	{ "senders", test_senders },
	{ "a long list of what is allowed", test_allowed_max },
};

TEST_MAIN("auth/directory", tests)
