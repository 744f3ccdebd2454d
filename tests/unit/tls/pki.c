/* unit/tls/pki.c - see pki.h. */
#include "pki.h"

#include "util/buf.h"

#include <gnutls/crypto.h>
#include <gnutls/x509-ext.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MUST(x) PT_ASSERT((x) >= 0)
#define DAY_S 86400
#define PADDING_OID "1.3.6.1.4.1.99999.1"

/* Tag, length and contents in DER, appended. */
static void
put_tlv(struct buf *out, uint8_t tag, struct span s)
{
	const uint8_t head[4] = { tag, 0x82, (uint8_t)(s.n >> 8), (uint8_t)s.n };
	const uint8_t little[3] = { tag, s.n < 0x80 ? (uint8_t)s.n : 0x81, (uint8_t)s.n };

	PT_ASSERT(s.n <= UINT16_MAX);
	if (s.n < 0x100)
		MUST(buf_append(out, little, s.n < 0x80 ? 2 : 3));
	else
		MUST(buf_append(out, head, sizeof head));
	MUST(buf_append(out, s.p, s.n));
}

static uint8_t
tag_of(int type)
{
	switch (type) { /* RFC 5280 §4.2.1.6: GeneralName */
	case GNUTLS_SAN_RFC822NAME:
		return 0x81;
	case GNUTLS_SAN_DNSNAME:
		return 0x82;
	case GNUTLS_SAN_URI:
		return 0x86;
	case GNUTLS_SAN_IPADDRESS:
		return 0x87;
	}
	PT_ASSERT(false);
	return 0;
}

/* By hand, since GnuTLS writes no name that it finds wrong. */
static void
set_names(gnutls_x509_crt_t crt, const struct pki_spec *s)
{
	struct buf names, all;
	size_t i;

	if (s->cn != NULL)
		MUST(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, s->cn,
			(unsigned)strlen(s->cn)));
	if (s->email == NULL && s->nsans == 0)
		return;
	buf_init(&names, 60 * 1024);
	buf_init(&all, 64 * 1024);
	if (s->email != NULL)
		put_tlv(&names, tag_of(GNUTLS_SAN_RFC822NAME), span_str(s->email));
	for (i = 0; i < s->nsans; i++)
		put_tlv(&names, tag_of(s->sans[i].type), (struct span){ s->sans[i].p,
			s->sans[i].n > 0 ? s->sans[i].n : strlen(s->sans[i].p) });
	put_tlv(&all, 0x30, buf_span(&names));
	MUST(gnutls_x509_crt_set_extension_by_oid(crt, GNUTLS_X509EXT_OID_SAN, buf_span(&all).p,
		buf_size(&all), 0));
	buf_fini(&names);
	buf_fini(&all);
}

static void
set_constraints(gnutls_x509_crt_t crt, const char *email)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)email, (unsigned)strlen(email) };
	gnutls_x509_name_constraints_t nc;

	MUST(gnutls_x509_name_constraints_init(&nc));
	MUST(gnutls_x509_name_constraints_add_permitted(nc, GNUTLS_SAN_RFC822NAME, &d));
	MUST(gnutls_x509_crt_set_name_constraints(crt, nc, 1));
	gnutls_x509_name_constraints_deinit(nc);
}

static void
set_padding(gnutls_x509_crt_t crt, size_t n)
{
	uint8_t *p = calloc(1, n);

	PT_ASSERT(p != NULL);
	MUST(gnutls_x509_crt_set_extension_by_oid(crt, PADDING_OID, p, n, 0));
	free(p);
}

/* Writes the certificate and reads it again, the last octet of its signature changed or not: one that GnuTLS
 * has made but not read lacks parts that a chain is built by. */
static void
read_again(struct pki *p, uint8_t change)
{
	gnutls_datum_t d;

	MUST(gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_DER, &d));
	d.data[d.size - 1] ^= change;
	gnutls_x509_crt_deinit(p->crt);
	MUST(gnutls_x509_crt_init(&p->crt));
	MUST(gnutls_x509_crt_import(p->crt, &d, GNUTLS_X509_FMT_DER));
	gnutls_free(d.data);
}

void
pki_tamper(struct pki *p)
{
	read_again(p, 1);
}

struct pki *
pki_new(const struct pki_spec *s, const struct pki *issuer)
{
	static const struct {
		gnutls_pk_algorithm_t pk;
		unsigned bits;
	} kinds[] = {
		[PKI_EC] = { GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1) },
		[PKI_RSA] = { GNUTLS_PK_RSA, 2048 },
		[PKI_ED25519] = { GNUTLS_PK_EDDSA_ED25519, 0 },
	};
	struct pki *p = calloc(1, sizeof *p);
	time_t now = time(NULL);
	uint8_t serial[16];

	PT_ASSERT(p != NULL);
	MUST(gnutls_x509_privkey_init(&p->key));
	MUST(gnutls_x509_privkey_generate(p->key, kinds[s->kind].pk, kinds[s->kind].bits, 0));
	MUST(gnutls_x509_crt_init(&p->crt));
	MUST(gnutls_x509_crt_set_version(p->crt, 3));
	MUST(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial));
	serial[0] &= 0x7f;
	MUST(gnutls_x509_crt_set_serial(p->crt, serial, sizeof serial));
	MUST(gnutls_x509_crt_set_activation_time(p->crt,
		now + (s->from_s | s->to_s ? s->from_s : -DAY_S)));
	MUST(gnutls_x509_crt_set_expiration_time(p->crt,
		now + (s->from_s | s->to_s ? s->to_s : 365L * DAY_S)));
	MUST(gnutls_x509_crt_set_key(p->crt, p->key));
	MUST(gnutls_x509_crt_set_basic_constraints(p->crt, s->ca, -1));
	if (s->ca)
		MUST(gnutls_x509_crt_set_key_usage(p->crt, GNUTLS_KEY_KEY_CERT_SIGN));
	set_names(p->crt, s);
	if (s->purpose != NULL)
		MUST(gnutls_x509_crt_set_key_purpose_oid(p->crt, s->purpose, 0));
	if (s->permitted_email != NULL)
		set_constraints(p->crt, s->permitted_email);
	if (s->padding > 0)
		set_padding(p->crt, s->padding);
	if (issuer == NULL)
		issuer = p;
	MUST(gnutls_x509_crt_sign2(p->crt, issuer->crt, issuer->key,
		gnutls_x509_privkey_get_pk_algorithm(issuer->key) == GNUTLS_PK_EDDSA_ED25519
			? GNUTLS_DIG_SHA512 : GNUTLS_DIG_SHA256, 0));
	read_again(p, 0);
	return p;
}

void
pki_free(struct pki **pp)
{
	if (*pp == NULL)
		return;
	gnutls_x509_crt_deinit((*pp)->crt);
	gnutls_x509_privkey_deinit((*pp)->key);
	free(*pp);
	*pp = NULL;
}

static char *
as_string(gnutls_datum_t d)
{
	char *s = strndup((const char *)d.data, d.size);

	PT_ASSERT(s != NULL);
	gnutls_free(d.data);
	return s;
}

char *
pki_cert_pem(const struct pki *p)
{
	gnutls_datum_t d;

	MUST(gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_PEM, &d));
	return as_string(d);
}

char *
pki_key_pem(const struct pki *p)
{
	gnutls_datum_t d;

	MUST(gnutls_x509_privkey_export2_pkcs8(p->key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &d));
	return as_string(d);
}

char *
pki_join(char *first, ...)
{
	char *all = first, *more, *both;
	va_list ap;

	va_start(ap, first);
	while ((more = va_arg(ap, char *)) != NULL) {
		PT_ASSERT(asprintf(&both, "%s%s", all, more) >= 0);
		free(all);
		free(more);
		all = both;
	}
	va_end(ap);
	return all;
}
