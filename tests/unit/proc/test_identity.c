/* unit/proc/test_identity.c - from a mail address to a user, and from a session's certificate to one. */
#include "test.h"
#include "duet.h"

#include "proc/identity.h"

#include <stdlib.h>
#include <string.h>

#define L64 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234"
#define D63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"
#define D61 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1"

static void
test_addresses(void)
{
	static const struct {
		const char *address, *user; /* NULL: nobody's */
	} rows[] = {
		{ "alice@example.org", "alice@example.org" },
		{ "Alice@EXAMPLE.Org", "Alice@example.org" }, /* the local part is its owner's business */
		{ "alice+phone@example.org", "alice+phone@example.org" },
		{ "a.b-c_d@example.org", "a.b-c_d@example.org" },
		{ "alice@b\xc3\xbc" "cher.example", "alice@xn--bcher-kva.example" },
		{ "alice@BU\xcc\x88" "CHER.example", "alice@xn--bcher-kva.example" }, /* not NFC yet */
		{ "alice@XN--BCHER-KVA.example", "alice@xn--bcher-kva.example" },
		{ "al\xc3\xa9@example.org", "al\xc3\xa9@example.org" },
		{ L64 "@example.org", L64 "@example.org" },
		{ L64 "x@example.org", NULL },
		{ "a@" D63 ".example.org", "a@" D63 ".example.org" },
		{ "a@" D63 "x.example.org", NULL },
		/* 253 octets of domain, the most that there are */
		{ L64 "@" D63 "." D63 "." D63 "." D61, L64 "@" D63 "." D63 "." D63 "." D61 },
		{ L64 "@" D63 "." D63 "." D63 "." D61 "x", NULL },
		{ L64 "@" D63 "." D63 "." D63 "." D63, NULL },
		{ "", NULL },
		{ "@", NULL },
		{ "alice", NULL },
		{ "alice@", NULL },
		{ "@example.org", NULL },
		{ "alice@@example.org", NULL },
		{ "alice@example.org@example.com", NULL },
		{ "\"alice\"@example.org", NULL },
		{ "\"a b\"@example.org", NULL },
		{ "a b@example.org", NULL },
		{ "a\tb@example.org", NULL },
		{ "a\x7f@example.org", NULL },
		{ "a,b@example.org", NULL },
		{ "a:b@example.org", NULL },
		{ "a;b@example.org", NULL },
		{ "a(b)@example.org", NULL },
		{ "<a@example.org", NULL },
		{ "a\\b@example.org", NULL },
		{ "alice@example .org", NULL },
		{ "alice@example_x.org", NULL },
		{ "alice@exam_ple.org", NULL },
		{ "alice@exam\xc2\xa0ple.org", NULL },
		{ "alice@exam/ple.org", NULL },
		{ "alice@example.org/x", NULL },
		{ "alice@exam%70le.org", NULL },
		{ "alice@example-.org", NULL },
		{ "alice@xn--a.example.org", NULL },
		{ "alice@localhost", "alice@localhost" },
		{ "alice@192.0.2.1", "alice@192.0.2.1" },
		{ "alice@[192.0.2.1]", NULL },
		{ "alice@exa\xffmple.org", NULL },
		{ "alice@-example.org", NULL },
		{ "alice@example..org", NULL },
		{ "alice@.example.org", NULL },
		{ "alice@example.org.", NULL },
		{ "alice@example\xe3\x80\x82org", "alice@example.org" }, /* an ideographic full stop */
	};
	char user[IDENTITY_MAX];
	size_t i;
	bool ok;

	for (i = 0; i < PT_COUNT(rows); i++) {
		strcpy(user, "before");
		ok = identity_of_address(rows[i].address, user);
		if (ok != (rows[i].user != NULL) || (ok && strcmp(user, rows[i].user) != 0))
			fprintf(stderr, "\n%s: %s\n", rows[i].address, ok ? user : "nobody");
		CU_ASSERT_EQUAL(ok, rows[i].user != NULL);
		if (ok && rows[i].user != NULL)
			CU_ASSERT_STRING_EQUAL(user, rows[i].user);
	}
	/* U+2260: another domain or none, but nothing is left out of a name */
	ok = identity_of_address("alice@exam\xe2\x89\xa0ple.org", user);
	CU_ASSERT_TRUE(!ok || strcmp(user, "alice@example.org") != 0);
}

static struct pki *ca[2], *server;
static char *ca_pem[2], *server_pem;
static struct duet_signer signer;
static struct tls_cred *cred;
static struct duet duet;

/* Two CAs, both trusted; rule 0 of the credential set is for the second's chains. */
static void
test_begin(void)
{
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_3, .client_cert = TLS_CLIENT_CERT_REQUEST,
		.nchains = 1, .ncas = 2, .nfroms = 1, .sign = duet_sign, .sign_arg = &signer };
	struct tls_ca_file files[2];
	struct tls_chain chain;
	struct diag diag;
	int i;

	for (i = 0; i < 2; i++) {
		ca[i] = pki_new(&(struct pki_spec){ .cn = i ? "B" : "A", .ca = true }, NULL);
		ca_pem[i] = pki_cert_pem(ca[i]);
		files[i] = (struct tls_ca_file){ span_str(ca_pem[i]), "ca" };
	}
	server = pki_new(&(struct pki_spec){ .cn = "server" }, ca[0]);
	server_pem = duet_add_key(&signer, server, NULL);
	chain = (struct tls_chain){ span_str(server_pem), 0 };
	conf.chains = &chain;
	conf.cas = files;
	conf.froms = files + 1;
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
}

static void
test_end(void)
{
	int i;

	tls_cred_unref(&cred);
	duet_signer_fini(&signer);
	for (i = 0; i < 2; i++) {
		pki_free(&ca[i]);
		free(ca_pem[i]);
	}
	pki_free(&server);
	free(server_pem);
}

static void
test_sessions(void)
{
#define EMAIL(text) { GNUTLS_SAN_RFC822NAME, text, 0 }
	static char b[] = "b.pem";
	static const struct {
		const char *name;
		int issuer; /* -1: nobody we trust */
		const char *rules; /* a: any chain, b: chains of the second CA */
		struct pki_san sans[3];
		size_t n;
		enum identity_result result;
		const char *user;
	} rows[] = {
		{ "one name", 0, "a", { EMAIL("alice@example.org") }, 1, IDENTITY_FOUND,
			"alice@example.org" },
		{ "no rule", 0, "", { EMAIL("alice@example.org") }, 1, IDENTITY_NONE, NULL },
		{ "no name", 0, "a", { { 0 } }, 0, IDENTITY_NONE, NULL },
		{ "no name that counts", 0, "a", { { GNUTLS_SAN_DNSNAME, "alice.example.org", 0 } }, 1,
			IDENTITY_NONE, NULL },
		{ "a URI that looks like one", 0, "a", { { GNUTLS_SAN_URI, "email:bob@example.org", 0 } },
			1, IDENTITY_NONE, NULL },
		{ "the same user twice", 0, "a", { EMAIL("alice@example.org"),
			EMAIL("alice@EXAMPLE.org") }, 2, IDENTITY_FOUND, "alice@example.org" },
		{ "two users", 0, "a", { EMAIL("alice@example.org"), EMAIL("bob@example.org") }, 2,
			IDENTITY_AMBIGUOUS, NULL },
		{ "one that is no address", 0, "a", { EMAIL("no address"), EMAIL("bob@example.org") }, 2,
			IDENTITY_FOUND, "bob@example.org" },
		{ "a NUL inside", 0, "a", { { GNUTLS_SAN_RFC822NAME, "root@example.org\0.evil.org", 26 } },
			1, IDENTITY_NONE, NULL },
		{ "not trusted", -1, "a", { EMAIL("alice@example.org") }, 1, IDENTITY_NONE, NULL },
		{ "another CA's rule", 0, "b", { EMAIL("alice@example.org") }, 1, IDENTITY_NONE, NULL },
		{ "its CA's rule", 1, "b", { EMAIL("alice@example.org") }, 1, IDENTITY_FOUND,
			"alice@example.org" },
		{ "either rule", 1, "ab", { EMAIL("alice@example.org") }, 1, IDENTITY_FOUND,
			"alice@example.org" },
		{ "the second of two", 0, "ba", { EMAIL("alice@example.org") }, 1, IDENTITY_FOUND,
			"alice@example.org" },
	};
	struct conf_map maps[2];
	struct conf conf = { .maps = maps };
	char user[IDENTITY_MAX];
	enum identity_result r;
	struct pki *leaf;
	size_t i, k;

	for (i = 0; i < PT_COUNT(rows); i++) {
		leaf = pki_new(&(struct pki_spec){ .cn = "x", .sans = rows[i].sans, .nsans = rows[i].n },
			rows[i].issuer >= 0 ? ca[rows[i].issuer] : NULL);
		duet_init(&duet, cred, DUET_TLS13, leaf, NULL, NULL);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
		conf.nmaps = strlen(rows[i].rules);
		for (k = 0; k < conf.nmaps; k++)
			maps[k] = (struct conf_map){ .kind = CONF_MAP_SAN_EMAIL,
				.from = rows[i].rules[k] == 'b' ? b : NULL };
		strcpy(user, "before");
		r = identity_map(&conf, duet.server, user);
		if (r != rows[i].result)
			fprintf(stderr, "\n%s: %d, %s\n", rows[i].name, r, user);
		CU_ASSERT_EQUAL(r, rows[i].result);
		CU_ASSERT_STRING_EQUAL(user, rows[i].user != NULL ? rows[i].user : "");
		duet_fini(&duet);
		pki_free(&leaf);
	}
}

static const struct test_row rows[] = {
	{ "addresses", test_addresses },
	{ "certificates", test_begin },
	{ "sessions", test_sessions },
	{ "certificates freed", test_end },
};
TEST_MAIN("proc/identity", rows)
