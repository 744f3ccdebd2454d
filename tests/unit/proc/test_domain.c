/* unit/proc/test_domain.c - which trust domain a host name leads to. */
#include "test.h"

#include "proc/cred_kind.h"
#include "proc/domain.h"

#include <stdio.h>
#include <string.h>

static const char text[] =
	"tls main {\n"
	"  certificate /a\n"
	"  client-ca /ca\n"
	"  client-crl /crl\n"
	"  name mail.example.net Imap.Example.NET {\n certificate /b\n }\n"
	"  name *.example.net {\n client-certificate none\n }\n"
	"  name b\xc3\xbc" "cher.example {\n client-ca /other\n client-crl none\n }\n"
	"}\n"
	"service s {\n protocol line\n listen 127.0.0.1:1\n tls main\n}\n"
	"service t {\n protocol line\n listen 127.0.0.1:2\n tls main { name only.example { certificate /c } }\n}\n"
	"service p {\n protocol line\n listen 127.0.0.1:3 plain\n}\n";

static struct conf *
parse(void)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	CU_ASSERT_EQUAL_FATAL(conf_parse("t", "/", span_str(text), &conf, errors), 0);
	conf_errors_free(&errors);
	return conf;
}

static void
test_find(void)
{
	static const struct {
		const char *host;
		size_t service, domain;
	} rows[] = {
		{ NULL, 0, 0 },
		{ "", 0, 0 },
		{ "mail.example.net", 0, 1 },
		{ "MAIL.example.NET", 0, 1 },
		{ "imap.example.net", 0, 1 },
		{ "pop.example.net", 0, 2 },
		{ "POP.EXAMPLE.NET", 0, 2 },
		{ "example.net", 0, 0 },           /* the asterisk is one label, */
		{ "a.b.example.net", 0, 0 },       /* and not two */
		{ "mail.mail.example.net", 0, 0 },
		{ "*.example.net", 0, 0 },         /* nobody is called so */
		{ "xn--bcher-kva.example", 0, 3 },
		{ "XN--BCHER-KVA.example", 0, 3 },
		{ "b\xc3\x9c" "cher.example", 0, 3 },
		{ "bu\xcc\x88" "cher.example", 0, 3 },
		{ "only.example", 0, 0 },
		{ "mail.example.net.evil", 0, 0 },
		{ "\xff.example.net", 0, 0 },
		{ "only.example", 1, 1 },          /* a service's names are instead of the block's */
		{ "mail.example.net", 1, 0 },
	};
	struct conf *conf = parse();
	struct domains d[2];
	size_t i;

	for (i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(domains_init(&d[i], conf->services[i].tls), 0);
	CU_ASSERT_EQUAL(d[0].n, 4);
	CU_ASSERT_EQUAL(d[1].n, 2);
	CU_ASSERT_PTR_NULL(d[0].list[0].name);
	CU_ASSERT_STRING_EQUAL(d[0].list[1].name, "mail.example.net");
	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_PTR_EQUAL(domains_find(&d[rows[i].service], rows[i].host),
			&d[rows[i].service].list[rows[i].domain]);
	for (i = 0; i < 2; i++) {
		domains_fini(&d[i]);
		CU_ASSERT_EQUAL(d[i].n, 0);
	}
	CU_ASSERT_EQUAL(domains_init(&d[0], conf->services[2].tls), 0);
	CU_ASSERT_EQUAL(d[0].n, 0);
	domains_fini(&d[0]);
	conf_free(&conf);
}

/* What a block does not say is what is around it, and its files are sent once. */
static void
test_inherited(void)
{
	struct conf *conf = parse();
	const struct conf_tls *tls = conf->services[0].tls;
	struct domain_sets sets;

	CU_ASSERT_STRING_EQUAL(tls->names[0].tls->certs[0].certificate, "/b");
	CU_ASSERT_PTR_EQUAL(tls->names[0].tls->client_ca, tls->client_ca);
	CU_ASSERT_PTR_EQUAL(tls->names[1].tls->certs, tls->certs);
	CU_ASSERT_EQUAL(tls->names[1].tls->client_certificate, CONF_CC_NONE);
	CU_ASSERT_STRING_EQUAL(tls->names[2].tls->client_ca[0], "/other");
	CU_ASSERT_EQUAL(tls->names[2].tls->nclient_crl, 0);
	sets = domain_sets(tls, 5, 0);
	CU_ASSERT_EQUAL(sets.certs, 5);
	sets = domain_sets(tls, 5, 1);
	CU_ASSERT_EQUAL(sets.certs, CRED_SET(5, 1));
	CU_ASSERT_EQUAL(sets.client_ca, CRED_SET(5, 0));
	CU_ASSERT_EQUAL(sets.client_crl, CRED_SET(5, 0));
	sets = domain_sets(tls, 5, 3);
	CU_ASSERT_EQUAL(sets.certs, CRED_SET(5, 0));
	CU_ASSERT_EQUAL(sets.client_ca, CRED_SET(5, 3));
	CU_ASSERT_EQUAL(sets.client_crl, CRED_SET(5, 3));
	conf_free(&conf);
}

/* Every block's every name leads to it, at the greatest number of both. */
static void
test_most(void)
{
	static char most[CONF_NAMES_MAX * CONF_HOSTS_MAX * 40];
	struct conf_errors *errors = conf_errors_new();
	struct domains d;
	struct conf *conf;
	char host[60];
	size_t at = 0, i, k;

	at += (size_t)snprintf(most, sizeof most, "tls main {\n certificate /a\n");
	for (i = 0; i < CONF_NAMES_MAX; i++) {
		at += (size_t)snprintf(most + at, sizeof most - at, "name");
		for (k = 0; k < CONF_HOSTS_MAX; k++)
			at += (size_t)snprintf(most + at, sizeof most - at, " h%zu.n%zu.example", k, i);
		at += (size_t)snprintf(most + at, sizeof most - at, " {\ncertificate /b\n}\n");
	}
	snprintf(most + at, sizeof most - at, "}\nservice s {\nprotocol line\nlisten 127.0.0.1:1\ntls main\n}\n");
	CU_ASSERT_EQUAL_FATAL(conf_parse("t", "/", span_str(most), &conf, errors), 0);
	CU_ASSERT_EQUAL_FATAL(domains_init(&d, conf->services[0].tls), 0);
	for (i = 0; i < CONF_NAMES_MAX; i++)
		for (k = 0; k < CONF_HOSTS_MAX; k++) {
			snprintf(host, sizeof host, "H%zu.n%zu.EXAMPLE", k, i);
			CU_ASSERT_PTR_EQUAL(domains_find(&d, host), &d.list[1 + i]);
		}
	domains_fini(&d);
	conf_free(&conf);
	conf_errors_free(&errors);
}

static const struct test_row rows[] = {
	{ "by host name", test_find },
	{ "what a block does not say", test_inherited },
	{ "the greatest number", test_most },
};

TEST_MAIN("proc/domain", rows)
