/* tls/tls_details.c - what is told of a client certificate where somebody asks for more than names. */
#include "tls/tls_judge.h"

#include "tls/tls_der.h"
#include "util/utf8.h"

#include <gnutls/crypto.h>
#include <string.h>

static void
put_hex(const uint8_t *p, size_t n, const char *digits, char *out)
{
	size_t i;

	for (i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

/* A name with a control character in it is nobody's: left out. */
static void
put_name(struct span name, char out[TLS_NAME_MAX + 1])
{
	const gnutls_datum_t der = { (unsigned char *)(uintptr_t)name.p, (unsigned)name.n };
	gnutls_datum_t dn = { NULL, 0 };

	if (gnutls_x509_rdn_get2(&der, &dn, 0) != 0)
		return;
	if (dn.size <= TLS_NAME_MAX && utf8_printable((struct span){ dn.data, dn.size })) {
		memcpy(out, dn.data, dn.size);
		out[dn.size] = '\0';
	}
	gnutls_free(dn.data);
}

bool
tls_peer_details(gnutls_session_t g, struct tls_details *out)
{
	uint8_t digest[TLS_SHA256_SIZE];
	const gnutls_datum_t *raw;
	struct der_crt crt;
	struct span serial, validity;
	unsigned n = 0;

	memset(out, 0, sizeof *out);
	if ((raw = gnutls_certificate_get_peers(g, &n)) == NULL || n == 0 ||
	    !der_crt_read((struct span){ raw[0].data, raw[0].size }, &crt) ||
	    gnutls_hash_fast(GNUTLS_DIG_SHA256, raw[0].data, raw[0].size, digest) != 0)
		return false;
	put_hex(digest, sizeof digest, "0123456789abcdef", out->fingerprint);
	put_name(crt.issuer, out->issuer);
	serial = der_serial(crt.serial);
	if (serial.n <= TLS_SERIAL_MAX)
		put_hex(serial.p, serial.n, "0123456789ABCDEF", out->serial);
	validity = crt.validity;
	if (!der_time(&validity, &out->from_s) || !der_time(&validity, &out->until_s))
		out->from_s = out->until_s = 0;
	return true;
}
