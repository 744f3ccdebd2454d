/* fuzz/fuzz_crl.c - any file as a file of revocation lists, any octets as a list and as a certificate.
 *
 * Nothing behind the signature check of tls_crl_load() sees octets that no CA has signed; what
 * walks entries is therefore called by itself, too. The corpus has lists of the CA below. */
#include "tls/tls_cred.h"
#include "tls/tls_crl.h"
#include "tls/tls_der.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char ca[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBhDCCASugAwIBAgIUBPufQbVTOlA354HH2JdLR0yEJvIwCgYIKoZIzj0EAwIw\n"
	"DzENMAsGA1UEAwwEZnV6ejAgFw0yNjExMjEwNDQ5MzhaGA8yMDgxMDgyNDA0NDkz\n"
	"OFowDzENMAsGA1UEAwwEZnV6ejBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLX3\n"
	"+1ucBSDpODAis0+oaX3d85yLH8GrQr4z7vDdY7GXkZpvwzV4t1ZDk9C37eJU6IRM\n"
	"QX8hwtygot81SxKN7l+jYzBhMB0GA1UdDgQWBBSywYnihYwjY47Lffe8ckzsMyDA\n"
	"EjAfBgNVHSMEGDAWgBSywYnihYwjY47Lffe8ckzsMyDAEjAPBgNVHRMBAf8EBTAD\n"
	"AQH/MA4GA1UdDwEB/wQEAwIBBjAKBggqhkjOPQQDAgNHADBEAiBCqu8VWHRbVO7G\n"
	"exP1pQIi6DN7ALlhkM3SSrn6oVXG4wIgX2+VCyT39QQHGcNyl/wTFkcw5hfT4c4x\n"
	"pOHaCqxdmjQ=\n"
	"-----END CERTIFICATE-----\n";

static void
load(struct span in)
{
	struct tls_ca_file file = { span_str(ca), "ca" };
	char text[TLS_CRL_WARNING_MAX];
	struct tls_crl_set *set;
	struct diag diag;
	struct span chain[2] = { in, in };
	int rc;

	PT_ASSERT(tls_crl_new(&file, 1, 0, &set, &diag) == 0);
	diag.text[0] = '\0';
	rc = tls_crl_load(set, in, "file", &diag);
	PT_ASSERT(rc == 0 || diag.text[0] != '\0');
	while (tls_crl_warning(set, 2000000000, text))
		;
	(void)tls_crl_judge(set, chain, 2, 2000000000);
	tls_crl_free(&set);
}

static bool
lies_in(struct span inner, struct span outer)
{
	return inner.p >= outer.p && inner.n <= outer.n && inner.p + inner.n <= outer.p + outer.n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t oid_san[] = { 0x55, 0x1d, 0x11 };
	struct span in = { data, size }, entries, serial, date, value;
	int64_t seconds;
	struct der_crl crl;
	struct der_crt crt;

	load(in);
	if (der_crt_read(in, &crt)) {
		PT_ASSERT(lies_in(crt.serial, in) && lies_in(crt.issuer, in) && lies_in(crt.subject, in) &&
			lies_in(crt.validity, in) && lies_in(crt.rest, in));
		if (der_crt_extension(&crt, (struct span){ oid_san, sizeof oid_san }, &value))
			PT_ASSERT(lies_in(value, crt.rest));
		while (der_time(&crt.validity, &seconds))
			;
	}
	if (der_crl_read(in, &crl)) {
		PT_ASSERT(lies_in(crl.head, crl.tbs) && lies_in(crl.entries, crl.tbs) &&
			lies_in(crl.tail, crl.tbs) && lies_in(crl.rest, in) && lies_in(crl.signature, crl.rest));
		for (entries = crl.entries; der_crl_entry(&entries, &serial, &date) == DER_ENTRY_OK;)
			PT_ASSERT(lies_in(serial, crl.entries));
	}
	for (entries = in; der_crl_entry(&entries, &serial, &date) == DER_ENTRY_OK;)
		PT_ASSERT(lies_in(serial, in));
	return 0;
}
