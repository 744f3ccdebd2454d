/* unit/tls/test_judge.c - the names of a client certificate, as they come out of a session: bounded, printable,
 * and without the tricks of forgers. */
#include "test.h"
#include "duet.h"

#include <stdlib.h>
#include <string.h>

static struct pki *ca, *server;
static char *server_pem, *ca_pem;
static struct duet_signer signer;
static struct tls_cred *cred;
static struct duet duet;

static void
test_begin(void)
{
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_3, .client_cert = TLS_CLIENT_CERT_REQUEST,
		.nchains = 1, .ncas = 1, .sign = duet_sign, .sign_arg = &signer };
	struct tls_ca_file file;
	struct tls_chain chain;
	struct diag diag;

	ca = pki_new(&(struct pki_spec){ .cn = "CA", .ca = true }, NULL);
	server = pki_new(&(struct pki_spec){ .cn = "server" }, ca);
	server_pem = duet_add_key(&signer, server, NULL);
	ca_pem = pki_cert_pem(ca);
	chain = (struct tls_chain){ span_str(server_pem), 0 };
	file = (struct tls_ca_file){ span_str(ca_pem), "ca.pem" };
	conf.chains = &chain;
	conf.cas = &file;
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
}

static void
test_end(void)
{
	tls_cred_unref(&cred);
	duet_signer_fini(&signer);
	pki_free(&ca);
	pki_free(&server);
	free(server_pem);
	free(ca_pem);
}

/* The facts of a session with a certificate like that; end() when they have been looked at. */
static const struct tls_facts *
facts_of(const struct pki_spec *spec)
{
	struct pki *leaf = pki_new(spec, ca);

	duet_init(&duet, cred, DUET_TLS13, leaf, NULL, NULL);
	pki_free(&leaf);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
	return tls_session_facts(duet.server);
}

static void
end(void)
{
	duet_fini(&duet);
}

static void
test_subject(void)
{
	static char long_name[2 * TLS_NAME_MAX];
	static const struct {
		const char *cn, *subject; /* NULL: none */
	} rows[] = {
		{ "alice", "CN=alice" },
		{ "a, b", "CN=a\\, b" },
		{ "\xc3\xa4lice", "CN=\xc3\xa4lice" },
		{ "a\x1b[2Jb\x7f", "CN=a?[2Jb?" },
		{ "a\nb", "CN=a?b" },
		{ "a\xc2\x9b" "2Jb", "CN=a??2Jb" }, /* CSI, one of C1 */
	};
	const struct tls_facts *f;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		f = facts_of(&(struct pki_spec){ .cn = rows[i].cn });
		CU_ASSERT_PTR_NOT_NULL_FATAL(f->subject);
		if (strcmp(f->subject, rows[i].subject) != 0)
			fprintf(stderr, "\n%s for %s\n", f->subject, rows[i].subject);
		CU_ASSERT_STRING_EQUAL(f->subject, rows[i].subject);
		CU_ASSERT_EQUAL(f->nsans, 0);
		end();
	}
	f = facts_of(&(struct pki_spec){ .cn = NULL });
	CU_ASSERT_TRUE(f->subject == NULL || f->subject[0] == '\0');
	end();
	/* cut at the limit, not within a character */
	for (i = 0; i + 2 < sizeof long_name; i += 2)
		memcpy(long_name + i, "\xc3\xa4", 2);
	f = facts_of(&(struct pki_spec){ .cn = long_name });
	CU_ASSERT_EQUAL(strlen(f->subject), TLS_NAME_MAX - 1); /* "CN=" and whole characters */
	CU_ASSERT_EQUAL((uint8_t)f->subject[TLS_NAME_MAX - 2], 0xa4);
	end();
}

static void
test_kinds(void)
{
	static const uint8_t v4[4] = { 192, 0, 2, 1 }, v6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 };
	static const struct pki_san sans[] = {
		{ GNUTLS_SAN_RFC822NAME, "alice@example.org", 0 },
		{ GNUTLS_SAN_DNSNAME, "laptop.example.org", 0 },
		{ GNUTLS_SAN_URI, "urn:device:laptop", 0 },
		{ GNUTLS_SAN_IPADDRESS, v4, 4 },
		{ GNUTLS_SAN_IPADDRESS, v6, 16 },
		{ GNUTLS_SAN_RFC822NAME, "bob@example.org", 0 },
	};
	static const char *const want[] = { "email:alice@example.org", "dns:laptop.example.org",
		"uri:urn:device:laptop", "ip:192.0.2.1", "ip:2001:db8::1", "email:bob@example.org" };
	const struct tls_facts *f;
	size_t i;

	f = facts_of(&(struct pki_spec){ .cn = "x", .sans = sans, .nsans = PT_COUNT(sans) });
	CU_ASSERT_EQUAL_FATAL(f->nsans, PT_COUNT(want));
	for (i = 0; i < PT_COUNT(want); i++)
		CU_ASSERT_STRING_EQUAL(f->sans[i], want[i]);
	end();
}

/* A name that is not what it looks like is left out: another one would be read in its place. */
static void
test_tricks(void)
{
	static const struct pki_san rows[] = {
		{ GNUTLS_SAN_RFC822NAME, "root@example.org\0.evil.example", 30 },
		{ GNUTLS_SAN_DNSNAME, "example.org\0.evil.example", 25 },
		{ GNUTLS_SAN_RFC822NAME, "root@example.org\0", 17 },
		{ GNUTLS_SAN_RFC822NAME, "\0root@example.org", 17 },
		{ GNUTLS_SAN_RFC822NAME, "ro\not@example.org", 0 },
		{ GNUTLS_SAN_RFC822NAME, "ro\x7fot@example.org", 0 },
		{ GNUTLS_SAN_URI, "urn:\x1b[2J", 0 },
		{ GNUTLS_SAN_IPADDRESS, "\1\2\3", 3 },
		{ GNUTLS_SAN_IPADDRESS, "\1\2\3\4\5\6\7\10", 8 },
	};
	struct pki_san two[2] = { { 0 }, { GNUTLS_SAN_RFC822NAME, "alice@example.org", 0 } };
	const struct tls_facts *f;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		two[0] = rows[i];
		f = facts_of(&(struct pki_spec){ .cn = "x", .sans = two, .nsans = 2 });
		if (f->nsans != 1)
			fprintf(stderr, "\nrow %zu: %s\n", i, f->nsans > 0 ? f->sans[0] : "none");
		CU_ASSERT_EQUAL(f->nsans, 1);
		if (f->nsans > 0)
			CU_ASSERT_STRING_EQUAL(f->sans[f->nsans - 1], "email:alice@example.org");
		end();
	}
}

static void
test_limits(void)
{
	static struct pki_san sans[TLS_SANS_MAX + 8];
	static char names[PT_COUNT(sans)][32], text[TLS_NAME_MAX + 1];
	const struct tls_facts *f;
	size_t i, n;

	for (i = 0; i < PT_COUNT(sans); i++) {
		snprintf(names[i], sizeof names[i], "host-%zu.example.org", i);
		sans[i] = (struct pki_san){ GNUTLS_SAN_DNSNAME, names[i], 0 };
	}
	for (n = TLS_SANS_MAX - 1; n <= PT_COUNT(sans); n++) {
		f = facts_of(&(struct pki_spec){ .cn = "x", .sans = sans, .nsans = n });
		CU_ASSERT_EQUAL(f->nsans, n < TLS_SANS_MAX ? n : TLS_SANS_MAX);
		CU_ASSERT_STRING_EQUAL(f->sans[TLS_SANS_MAX - 2] + 4, names[TLS_SANS_MAX - 2]);
		end();
	}
	memset(text, 'a', sizeof text);
	for (n = TLS_NAME_MAX - 1; n <= TLS_NAME_MAX + 1; n++) {
		sans[0] = (struct pki_san){ GNUTLS_SAN_URI, text, n };
		f = facts_of(&(struct pki_spec){ .cn = "x", .sans = sans, .nsans = 2 });
		CU_ASSERT_EQUAL(f->nsans, n <= TLS_NAME_MAX ? 2 : 1);
		if (n <= TLS_NAME_MAX)
			CU_ASSERT_EQUAL(strlen(f->sans[0]), 4 + n);
		end();
	}
}

/* CAs of one name, as when a CA's key is renewed, and no key identifier in a certificate that tells which: each of their
 * certificates is good, and a stranger's of that name is not. */
static void
test_namesakes(void)
{
	const struct pki_spec name = { .cn = "renewed", .ca = true }, client = { .cn = "x" };
	struct pki *cas[5], *leaf;
	struct tls_ca_file files[4];
	struct tls_chain chain = { span_str(server_pem), 0 };
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_3, .client_cert = TLS_CLIENT_CERT_REQUEST, .chains = &chain,
		.nchains = 1, .cas = files, .sign = duet_sign, .sign_arg = &signer };
	char *pems[4];
	struct tls_cred *several, *strict;
	struct diag diag;
	size_t n, i;

	for (i = 0; i < PT_COUNT(cas); i++)
		cas[i] = pki_new(&name, NULL); /* the last is in no file */
	for (i = 0; i < PT_COUNT(files); i++) {
		pems[i] = i == 3 ? pki_cert_pem(ca) : pki_cert_pem(cas[i]);
		files[i] = (struct tls_ca_file){ span_str(pems[i]), "ca.pem" };
	}
	for (n = 1; n <= PT_COUNT(files); n++) {
		conf.ncas = n;
		conf.client_cert = TLS_CLIENT_CERT_REQUIRE;
		CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &strict, &diag), 0);
		conf.client_cert = TLS_CLIENT_CERT_REQUEST;
		CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &several, &diag), 0);
		for (i = 0; i < PT_COUNT(cas); i++) {
			leaf = pki_new(&client, i == 3 ? ca : cas[i]);
			duet_init(&duet, several, DUET_TLS13, leaf, NULL, NULL);
			duet_handshake(&duet);
			CU_ASSERT_EQUAL_FATAL(duet.status, TLS_OK);
			CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, i < n ? TLS_VERDICT_TRUSTED
				: i == 3 ? TLS_VERDICT_UNKNOWN_CA : TLS_VERDICT_BAD_SIGNATURE);
			/* and when it is judged anew, by other CAs and by these */
			if (tls_session_facts(duet.server)->verdict == TLS_VERDICT_TRUSTED) {
				CU_ASSERT_EQUAL(tls_session_judge(duet.server, several), TLS_VERDICT_TRUSTED);
				CU_ASSERT_EQUAL(tls_session_judge(duet.server, cred),
					i == 3 ? TLS_VERDICT_TRUSTED : TLS_VERDICT_UNKNOWN_CA);
			}
			end();
			duet_init(&duet, strict, DUET_TLS13, leaf, NULL, NULL); /* within the handshake, too */
			duet_handshake(&duet);
			CU_ASSERT_EQUAL(duet.status, i < n ? TLS_OK : TLS_FAILED);
			end();
			pki_free(&leaf);
		}
		tls_cred_unref(&several);
		tls_cred_unref(&strict);
	}
	for (i = 0; i < PT_COUNT(cas); i++)
		pki_free(&cas[i]);
	for (i = 0; i < PT_COUNT(pems); i++)
		free(pems[i]);
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "the subject", test_subject },
	{ "names of all kinds", test_kinds },
	{ "names that are not what they look like", test_tricks },
	{ "limits", test_limits },
	{ "CAs of one name", test_namesakes },
	{ "certificates freed", test_end },
};
TEST_MAIN("tls/judge", rows)
