/* bench/pki.c - see pki.h. */
#include "pki.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DAY 86400

_Noreturn void
fail(const char *what, int code)
{
	fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, code != 0 ? ": " : "",
		code != 0 ? gnutls_strerror(code) : "");
	exit(1);
}

static void
must(int code, const char *what)
{
	if (code < 0)
		fail(what, code);
}

static gnutls_x509_privkey_t
new_key(void)
{
	gnutls_x509_privkey_t key;

	must(gnutls_x509_privkey_init(&key), "key");
	must(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
		     GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0), "key");
	return key;
}

/* The fields that all have; the number makes it different from all others. */
static gnutls_x509_crt_t
new_cert(gnutls_x509_privkey_t key, const char *name, uint32_t number)
{
	const uint8_t serial[5] = { 1, (uint8_t)(number >> 24), (uint8_t)(number >> 16),
		(uint8_t)(number >> 8), (uint8_t)number };
	time_t now = time(NULL);
	gnutls_x509_crt_t crt;

	must(gnutls_x509_crt_init(&crt), "certificate");
	must(gnutls_x509_crt_set_version(crt, 3), "certificate");
	must(gnutls_x509_crt_set_key(crt, key), "certificate");
	must(gnutls_x509_crt_set_serial(crt, serial, sizeof serial), "certificate");
	must(gnutls_x509_crt_set_activation_time(crt, now - DAY), "certificate");
	must(gnutls_x509_crt_set_expiration_time(crt, now + 7 * DAY), "certificate");
	must(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
		     (unsigned)strlen(name)), "certificate");
	return crt;
}

static void
sign(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca, gnutls_x509_privkey_t key)
{
	must(gnutls_x509_crt_sign2(crt, ca, key, GNUTLS_DIG_SHA256, 0), "signature");
}

static void
put(const char *dir, const char *name, const gnutls_datum_t *d)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if ((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0 ||
	    write(fd, d->data, d->size) != (ssize_t)d->size || close(fd) != 0)
		fail(path, 0);
}

static void
put_pair(const char *dir, const char *name, gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
	char file[64];
	gnutls_datum_t d;

	must(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &d), "certificate");
	snprintf(file, sizeof file, "%s.pem", name);
	put(dir, file, &d);
	gnutls_free(d.data);
	must(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &d), "key");
	snprintf(file, sizeof file, "%s.key", name);
	put(dir, file, &d);
	gnutls_free(d.data);
}

static void
make_server(const char *dir, const char *name, uint32_t number, gnutls_x509_crt_t ca,
	    gnutls_x509_privkey_t ca_key)
{
	gnutls_x509_privkey_t key = new_key();
	gnutls_x509_crt_t crt = new_cert(key, "localhost", number);

	must(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, "localhost", 9,
		     GNUTLS_FSAN_SET), "server");
	must(gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE), "server");
	must(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0), "server");
	sign(crt, ca, ca_key);
	put_pair(dir, name, crt, key);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}

void
pki_make(const char *dir)
{
	gnutls_x509_privkey_t ca_key = new_key();
	gnutls_x509_crt_t ca;
	char name[32];

	/* two of one name and without key identifiers could not be told apart */
	snprintf(name, sizeof name, "bench CA %d", (int)getpid());
	ca = new_cert(ca_key, name, 1);
	must(gnutls_x509_crt_set_basic_constraints(ca, 1, -1), "CA");
	must(gnutls_x509_crt_set_key_usage(ca, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN), "CA");
	sign(ca, ca, ca_key);
	put_pair(dir, "ca", ca, ca_key);
	make_server(dir, "server", 2, ca, ca_key);
	make_server(dir, "server-2", 3, ca, ca_key);
	gnutls_x509_crt_deinit(ca);
	gnutls_x509_privkey_deinit(ca_key);
}

static void
load_ca(const char *dir, gnutls_x509_crt_t *crt, gnutls_x509_privkey_t *key)
{
	char path[4096];
	gnutls_datum_t d;

	must(gnutls_x509_crt_init(crt), "CA");
	must(gnutls_x509_privkey_init(key), "CA");
	snprintf(path, sizeof path, "%s/ca.pem", dir);
	must(gnutls_load_file(path, &d), path);
	must(gnutls_x509_crt_import(*crt, &d, GNUTLS_X509_FMT_PEM), path);
	gnutls_free(d.data);
	snprintf(path, sizeof path, "%s/ca.key", dir);
	must(gnutls_load_file(path, &d), path);
	must(gnutls_x509_privkey_import(*key, &d, GNUTLS_X509_FMT_PEM), path);
	gnutls_free(d.data);
}

void
pki_crl(const char *dir, unsigned n)
{
	uint8_t serial[9] = { 2 }, number[8];
	char from[4096], to[4096];
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t ca;
	gnutls_x509_crl_t crl;
	struct timespec now;
	uint64_t stamp;
	gnutls_datum_t d;
	unsigned i;

	load_ca(dir, &ca, &key);
	clock_gettime(CLOCK_REALTIME, &now);
	stamp = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	for (i = 0; i < sizeof number; i++)
		number[i] = (uint8_t)(stamp >> (56 - 8 * i));
	must(gnutls_x509_crl_init(&crl), "list");
	must(gnutls_x509_crl_set_version(crl, 2), "list");
	must(gnutls_x509_crl_set_this_update(crl, now.tv_sec), "list");
	must(gnutls_x509_crl_set_next_update(crl, now.tv_sec + DAY), "list");
	must(gnutls_x509_crl_set_number(crl, number + 1, sizeof number - 1), "list");
	for (i = 0; i < n; i++) {
		serial[7] = (uint8_t)(i >> 8);
		serial[8] = (uint8_t)i;
		must(gnutls_x509_crl_set_crt_serial(crl, serial, sizeof serial, now.tv_sec), "list");
	}
	must(gnutls_x509_crl_sign2(crl, ca, key, GNUTLS_DIG_SHA256, 0), "list");
	must(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &d), "list");
	put(dir, "crl.new", &d);
	snprintf(from, sizeof from, "%s/crl.new", dir);
	snprintf(to, sizeof to, "%s/crl.pem", dir);
	if (rename(from, to) != 0)
		fail(to, 0);
	gnutls_free(d.data);
	gnutls_x509_crl_deinit(crl);
	gnutls_x509_crt_deinit(ca);
	gnutls_x509_privkey_deinit(key);
}

void
pki_pool_init(struct pki_pool *p, const char *dir, size_t n)
{
	gnutls_x509_privkey_t ca_key, key = new_key();
	/* another run's certificates are different ones */
	uint32_t number = (uint32_t)time(NULL) << 12 ^ (uint32_t)getpid() << 20;
	gnutls_x509_crt_t ca, crt;
	char name[64], mail[64];
	size_t i;

	load_ca(dir, &ca, &ca_key);
	if ((p->certs = calloc(n, sizeof *p->certs)) == NULL)
		fail("out of memory", 0);
	p->n = n;
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof name, "client %zu", i);
		snprintf(mail, sizeof mail, "client%zu@localhost", i);
		crt = new_cert(key, name, number + (uint32_t)i);
		must(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_RFC822NAME, mail,
			     (unsigned)strlen(mail), GNUTLS_FSAN_SET), "client");
		must(gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE), "client");
		must(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0), "client");
		sign(crt, ca, ca_key);
		must(gnutls_pcert_import_x509(&p->certs[i], crt, 0), "client");
		gnutls_x509_crt_deinit(crt);
	}
	must(gnutls_privkey_init(&p->key), "client");
	must(gnutls_privkey_import_x509(p->key, key, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE), "client");
	gnutls_x509_crt_deinit(ca);
	gnutls_x509_privkey_deinit(ca_key);
}
