/* unit/tls/test_selfsigned.c - the certificate of a new installation, read back by GnuTLS. */
#include "test.h"

#include "tls/tls_selfsigned.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOW ((time_t)1800000000)

/* Makes a pair and reads both back. The texts stay in key_pem and cert_pem, which the caller frees.
 */
static void
make(const char *hostname, gnutls_x509_privkey_t *key_out, gnutls_x509_crt_t *crt_out)
{
	int fds[2] = { memfd_create("key", MFD_CLOEXEC), memfd_create("cert", MFD_CLOEXEC) };
	char text[2][4096];
	gnutls_datum_t d[2];
	struct diag diag;
	int i;

	CU_ASSERT_EQUAL_FATAL(tls_selfsigned_make(hostname, NOW, fds[0], fds[1], &diag), 0);
	for (i = 0; i < 2; i++) {
		ssize_t n = pread(fds[i], text[i], sizeof text[i], 0);

		CU_ASSERT_FATAL(n > 0);
		d[i] = (gnutls_datum_t){ (unsigned char *)text[i], (unsigned)n };
		close(fds[i]);
	}
	CU_ASSERT(strncmp(text[0], "-----BEGIN PRIVATE KEY-----\n", 28) == 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_privkey_init(key_out), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_init(crt_out), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_privkey_import(*key_out, &d[0], GNUTLS_X509_FMT_PEM), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_import(*crt_out, &d[1], GNUTLS_X509_FMT_PEM), 0);
}

static void
test_certificate(void)
{
	static const uint8_t v4[4] = { 127, 0, 0, 1 }, v6[16] = { [15] = 1 };
	uint8_t serial[32], id[2][64], san[256];
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	size_t n = sizeof serial, k;
	unsigned critical, usage, ca;
	char oid[64];
	int path;

	make("mail.example.org", &key, &crt);
	CU_ASSERT_EQUAL(gnutls_x509_privkey_get_pk_algorithm(key), GNUTLS_PK_ECDSA);
	n = k = sizeof id[0];
	CU_ASSERT_EQUAL(gnutls_x509_privkey_get_key_id(key, 0, id[0], &n), 0);
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_key_id(crt, 0, id[1], &k), 0);
	CU_ASSERT(n == k && memcmp(id[0], id[1], n) == 0); /* they belong together */
	n = sizeof serial;
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_serial(crt, serial, &n), 0);
	CU_ASSERT_EQUAL(n, 20);
	CU_ASSERT_EQUAL(serial[0] & 0x80, 0);
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_activation_time(crt), NOW - 3600);
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_expiration_time(crt) -
			    gnutls_x509_crt_get_activation_time(crt),
			(time_t)825 * 86400);
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_basic_constraints(crt, &critical, &ca, &path), 0);
	CU_ASSERT(critical && !ca);
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_key_usage(crt, &usage, &critical), 0);
	CU_ASSERT_EQUAL(usage, GNUTLS_KEY_DIGITAL_SIGNATURE);
	n = sizeof oid;
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_key_purpose_oid(crt, 0, oid, &n, &critical), 0);
	CU_ASSERT_STRING_EQUAL(oid, GNUTLS_KP_TLS_WWW_SERVER);
	CU_ASSERT(gnutls_x509_crt_check_hostname(crt, "mail.example.org"));
	CU_ASSERT(gnutls_x509_crt_check_hostname(crt, "localhost"));
	CU_ASSERT(gnutls_x509_crt_check_ip(crt, v4, sizeof v4, 0));
	CU_ASSERT(gnutls_x509_crt_check_ip(crt, v6, sizeof v6, 0));
	CU_ASSERT(!gnutls_x509_crt_check_hostname(crt, "example.org"));
	n = sizeof san;
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_subject_alt_name(crt, 4, san, &n, NULL),
			GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}

/* A client that is given the certificate as its only CA accepts it, by name. */
static void
test_verifies(void)
{
	gnutls_typed_vdata_st name = { GNUTLS_DT_DNS_HOSTNAME,
				      (unsigned char *)(uintptr_t) "localhost", 0 };
	gnutls_x509_trust_list_t list;
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	unsigned status = 1;

	make("host", &key, &crt);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_trust_list_init(&list, 0), 0);
	CU_ASSERT_EQUAL(gnutls_x509_trust_list_add_cas(list, &crt, 1, 0), 1);
	CU_ASSERT_EQUAL(gnutls_x509_trust_list_verify_crt2(list, &crt, 1, &name, 1,
							   GNUTLS_VERIFY_DISABLE_TIME_CHECKS,
							   &status, NULL),
			0);
	CU_ASSERT_EQUAL(status, 0);
	gnutls_x509_trust_list_deinit(list, 1); /* the certificate with it */
	gnutls_x509_privkey_deinit(key);
}

/* A host may be called anything: the certificate is still one, for localhost. */
static void
test_odd_names(void)
{
	static char longest[255];
	static const char *const names[] = { "",   "a_b", "caf\xc3\xa9", "-x",
					    ".x", "a b", "LOCALHOST",   longest };
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	uint8_t san[256];
	size_t i, n;

	memset(longest, 'a', sizeof longest - 1); /* 254: one more than a DNS name has */
	for (i = 0; i < sizeof names / sizeof names[0]; i++) {
		make(names[i], &key, &crt);
		CU_ASSERT(gnutls_x509_crt_check_hostname(crt, "localhost"));
		n = sizeof san;
		CU_ASSERT_EQUAL(gnutls_x509_crt_get_subject_alt_name(crt, 3, san, &n, NULL),
				GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE);
		gnutls_x509_crt_deinit(crt);
		gnutls_x509_privkey_deinit(key);
	}
}

static void
test_write_fails(void)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC),
	    sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct diag diag = { "" };

	CU_ASSERT_EQUAL(tls_selfsigned_make("host", NOW, full, sink, &diag), PT_EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "key"));
	CU_ASSERT_EQUAL(tls_selfsigned_make("host", NOW, sink, full, &diag), PT_EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "certificate"));
	close(full);
	close(sink);
}

static const struct test_row rows[] = {
	{ "key and certificate", test_certificate },
	{ "it verifies as its own CA", test_verifies },
	{ "hosts with odd names", test_odd_names },
	{ "a full disk", test_write_fails },
};

TEST_MAIN("selfsigned", rows)
