/* tls/tls_selfsigned.c - see tls_selfsigned.h. Only makes and writes; opens no file itself. */
#include "tls/tls_selfsigned.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define SERIAL_OCTETS   20   /* RFC 5280 §4.1.2.2: at most 20, positive */
#define DNS_NAME_MAX    253  /* RFC 1035 §2.3.4, as text without the root's dot */
#define COMMON_NAME_MAX 64   /* RFC 5280 appendix A, ub-common-name */
#define CLOCK_SKEW_S    3600 /* a client whose clock is a little behind ours still accepts it */

/* Letters, digits, '-' and '.': what dNSName may hold (RFC 5280 §4.2.1.6). A host may be called
 * anything by its administrator, and one odd octet would spoil the whole certificate. */
static bool
is_dns_name(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= DNS_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789-.") == n;
}

static int
set_names(gnutls_x509_crt_t crt, const char *hostname)
{
	bool named = is_dns_name(hostname);
	const char *cn = named && strlen(hostname) <= COMMON_NAME_MAX ? hostname : "localhost";
	struct in6_addr v6 = IN6ADDR_LOOPBACK_INIT;
	struct in_addr v4 = { htonl(INADDR_LOOPBACK) };
	int rc;

	if ((rc = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, cn,
						(unsigned)strlen(cn))) < 0)
		return rc;
	if (named && strcasecmp(hostname, "localhost") != 0 &&
	    (rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, hostname,
						       (unsigned)strlen(hostname),
						       GNUTLS_FSAN_APPEND)) < 0)
		return rc;
	if ((rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, "localhost",
						       (unsigned)strlen("localhost"),
						       GNUTLS_FSAN_APPEND)) < 0 ||
	    (rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, &v4, sizeof v4,
						       GNUTLS_FSAN_APPEND)) < 0)
		return rc;
	return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, &v6, sizeof v6,
						    GNUTLS_FSAN_APPEND);
}

static int
set_serial(gnutls_x509_crt_t crt)
{
	uint8_t serial[SERIAL_OCTETS];
	int rc;

	if ((rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial)) < 0)
		return rc;
	serial[0] &= 0x7f; /* else DER reads it as negative */
	serial[0] |= 0x40; /* and a leading zero octet would make it shorter than it looks */
	return gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
}

static int
set_extensions(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
	uint8_t id[64];
	size_t n = sizeof id;
	int rc;

	if ((rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1)) < 0 ||
	    (rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE)) < 0 ||
	    (rc = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0)) < 0 ||
	    (rc = gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, id, &n)) < 0)
		return rc;
	return gnutls_x509_crt_set_subject_key_id(crt, id, n);
}

static int
sign_self(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *hostname, time_t now)
{
	int rc;

	if ((rc = gnutls_x509_crt_set_version(crt, 3)) < 0 || (rc = set_serial(crt)) < 0 ||
	    (rc = set_names(crt, hostname)) < 0 ||
	    (rc = gnutls_x509_crt_set_activation_time(crt, now - CLOCK_SKEW_S)) < 0 ||
	    (rc = gnutls_x509_crt_set_expiration_time(
		 crt, now - CLOCK_SKEW_S + (time_t)TLS_SELFSIGNED_DAYS * 86400)) < 0 ||
	    (rc = gnutls_x509_crt_set_key(crt, key)) < 0 || (rc = set_extensions(crt, key)) < 0)
		return rc;
	return gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

static int
write_all(int fd, const gnutls_datum_t *d, const char *what, struct diag *diag)
{
	size_t done = 0;
	ssize_t n;

	while (done < d->size) {
		n = write(fd, d->data + done, d->size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return diag_set(diag, PT_EIO, "writing the %s: %s", what, strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

/* Key files are read by programs that wipe nothing, but this process must not leave the key in
 * freed memory for whatever runs later in it. */
static void
datum_wipe(gnutls_datum_t *d)
{
	if (d->data != NULL)
		explicit_bzero(d->data, d->size);
	gnutls_free(d->data);
	d->data = NULL;
	d->size = 0;
}

int
tls_selfsigned_make(const char *hostname, time_t now, int key_fd, int cert_fd, struct diag *diag)
{
	gnutls_datum_t key_pem = { NULL, 0 }, cert_pem = { NULL, 0 };
	gnutls_x509_privkey_t key = NULL;
	gnutls_x509_crt_t crt = NULL;
	int rc, result;

	if ((rc = gnutls_x509_privkey_init(&key)) < 0 || (rc = gnutls_x509_crt_init(&crt)) < 0 ||
	    (rc = gnutls_x509_privkey_generate(
		 key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0)) < 0 ||
	    (rc = sign_self(crt, key, hostname, now)) < 0 ||
	    (rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL,
						    GNUTLS_PKCS_PLAIN, &key_pem)) < 0 ||
	    (rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &cert_pem)) < 0) {
		result = diag_set(diag, PT_EUNAVAIL, "making a key and a certificate: GnuTLS: %s",
				  gnutls_strerror(rc));
		goto out;
	}
	if ((result = write_all(key_fd, &key_pem, "key", diag)) == 0)
		result = write_all(cert_fd, &cert_pem, "certificate", diag);
out:
	datum_wipe(&key_pem);
	datum_wipe(&cert_pem);
	if (crt != NULL)
		gnutls_x509_crt_deinit(crt);
	if (key != NULL)
		gnutls_x509_privkey_deinit(key); /* GnuTLS wipes the numbers of a key itself */
	return result;
}
