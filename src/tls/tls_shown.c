/* tls/tls_shown.c - what a client showed of itself, for people who want to know why it was refused. Decides
 * nothing: tls_judge.c has done so. */
#include "tls/tls_judge.h"

#include "tls/tls_crl.h"
#include "tls/tls_der.h"
#include "tls/tls_plain.h"
#include "util/utf8.h"

#include <string.h>
#include <time.h>

/* The chain as the client sent it, taken apart. */
struct parts {
	unsigned n;
	struct span der[TLS_CHAIN_MAX];
	struct der_crt crt[TLS_CHAIN_MAX];
	int64_t from_s[TLS_CHAIN_MAX], until_s[TLS_CHAIN_MAX];
};

/* Times that cannot be read are 0. */
static bool
read_one(struct span der, struct der_crt *crt, int64_t *from_s, int64_t *until_s)
{
	struct span validity;

	*from_s = *until_s = 0;
	if (!der_crt_read(der, crt))
		return false;
	validity = crt->validity;
	if (der_time(&validity, from_s))
		(void)der_time(&validity, until_s);
	return true;
}

/* What cannot be read ends the chain. */
static void
read_parts(const gnutls_datum_t *raw, unsigned n, struct parts *out)
{
	for (out->n = 0; out->n < n && out->n < TLS_CHAIN_MAX; out->n++) {
		out->der[out->n] = (struct span){ raw[out->n].data, raw[out->n].size };
		if (!read_one(out->der[out->n], &out->crt[out->n], &out->from_s[out->n],
			    &out->until_s[out->n]))
			return;
	}
}

static void
put_name(struct span name, char out[TLS_SHOWN_NAME_MAX])
{
	const gnutls_datum_t der = { (unsigned char *)(uintptr_t)name.p, (unsigned)name.n };
	gnutls_datum_t dn = { NULL, 0 };
	struct span s;
	size_t n, i, k;

	if (plain_dn(name, out, TLS_SHOWN_NAME_MAX - 1, &n)) {
		out[n] = '\0';
		return;
	}
	out[0] = '\0';
	if (gnutls_x509_rdn_get2(&der, &dn, 0) != 0)
		return;
	s = utf8_cut((struct span){ dn.data, dn.size }, TLS_SHOWN_NAME_MAX - 1);
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	gnutls_free(dn.data);
	for (i = 0; i < s.n; i += k > 0 ? k : 1)
		if ((k = utf8_printable_char((struct span){ (uint8_t *)out + i, s.n - i })) == 0)
			out[i] = '?';
}

static void
put_text(const char *text, char out[TLS_SHOWN_NAME_MAX])
{
	struct span s = utf8_cut(span_str(text != NULL ? text : ""), TLS_SHOWN_NAME_MAX - 1);

	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

/* From the leaf up as far as the client's certificates lead: the one at the top. */
static unsigned
top_of(const struct parts *p)
{
	unsigned at = 0, i, turns;

	for (turns = 0; turns < p->n; turns++) {
		for (i = 0; i < p->n; i++)
			if (i != at && span_equal(p->crt[i].subject, p->crt[at].issuer))
				break;
		if (i == p->n || span_equal(p->crt[at].issuer, p->crt[at].subject))
			break;
		at = i;
	}
	return at;
}

static bool
is_self_issued(const struct der_crt *c)
{
	return span_equal(c->issuer, c->subject);
}

/* No CA of ours is above it. A certificate is missing where others came along that do not fit, or where other
 * clients have shown it. */
static enum tls_reason
of_unknown_ca(const struct tls_cred *cred, const struct parts *p, unsigned status, struct tls_shown *out)
{
	unsigned top = top_of(p);

	if (is_self_issued(&p->crt[0]))
		return TLS_REASON_SELF_SIGNED;
	if (status & (GNUTLS_CERT_SIGNER_NOT_CA | GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE))
		return TLS_REASON_NOT_A_CA;
	if (is_self_issued(&p->crt[top]) ||
	    (top + 1 >= p->n && !tls_vcache_has_between(cred->known, p->crt[top].issuer)))
		return TLS_REASON_NONE;
	put_name(p->crt[top].issuer, out->issuer);
	return TLS_REASON_INCOMPLETE;
}

/* Whose time it is that is over: the leaf's, or that of a CA in the chain or of ours. */
static enum tls_reason
of_expired(const struct tls_cred *cred, const struct parts *p, int64_t now, struct tls_shown *out)
{
	unsigned i;
	size_t k;

	if (p->until_s[0] < now)
		return TLS_REASON_NONE;
	for (i = 1; i < p->n; i++)
		if (p->until_s[i] < now)
			out->when = p->until_s[i];
	for (k = 0; k < cred->ncas && out->when == 0; k++)
		if (cred->cas[k].until_s < now)
			out->when = cred->cas[k].until_s;
	return TLS_REASON_ABOVE;
}

static enum tls_reason
of_revoked(const struct tls_cred *cred, const struct parts *p, struct tls_shown *out)
{
	unsigned i;

	for (i = 0; cred->crls != NULL && i < p->n; i++)
		if (tls_crl_revoked_at(cred->crls, p->der[i], &out->when))
			return i == 0 ? TLS_REASON_NONE : TLS_REASON_ABOVE;
	return TLS_REASON_NONE; /* by another way than a list */
}

static enum tls_reason
reason_of(const struct tls_cred *cred, const struct parts *p, enum tls_verdict v, unsigned status,
	  struct tls_shown *out)
{
	switch (v) {
	case TLS_VERDICT_UNKNOWN_CA:
		return of_unknown_ca(cred, p, status, out);
	case TLS_VERDICT_BAD_SIGNATURE:
		return status & GNUTLS_CERT_INSECURE_ALGORITHM ? TLS_REASON_WEAK : TLS_REASON_NONE;
	case TLS_VERDICT_EXPIRED:
		return of_expired(cred, p, time(NULL), out);
	case TLS_VERDICT_REVOKED:
		return of_revoked(cred, p, out);
	case TLS_VERDICT_CRL_STALE:
		if (cred->crls != NULL)
			out->when = (int64_t)tls_crl_next_update(cred->crls);
		return TLS_REASON_NONE;
	default:
		return TLS_REASON_NONE;
	}
}

void
tls_judge_shown(gnutls_session_t g, const struct tls_cred *cred, const struct tls_peer *peer, enum tls_verdict v,
		unsigned status, struct tls_shown *out)
{
	const gnutls_datum_t *raw;
	const struct der_crt *leaf;
	struct parts p;
	unsigned n = 0;

	memset(out, 0, sizeof *out);
	if ((raw = gnutls_certificate_get_peers(g, &n)) == NULL || n == 0)
		return;
	out->n = n;
	read_parts(raw, n, &p);
	if (p.n == 0)
		return;
	leaf = &p.crt[0];
	put_text(peer->subject, out->subject);
	put_name(leaf->issuer, out->issuer);
	out->nserial = leaf->serial.n <= sizeof out->serial ? leaf->serial.n : 0;
	memcpy(out->serial, leaf->serial.p, out->nserial);
	out->not_before = p.from_s[0];
	out->not_after = p.until_s[0];
	out->self_signed = is_self_issued(leaf);
	out->reason = reason_of(cred, &p, v, status, out);
}

bool
tls_judge_serves_name(gnutls_session_t g)
{
	const gnutls_datum_t *ours = gnutls_certificate_get_ours(g);
	char name[256];
	size_t n = sizeof name;
	gnutls_x509_crt_t crt;
	unsigned type;
	bool serves = true;

	if (ours == NULL || gnutls_server_name_get(g, name, &n, &type, 0) != 0 || type != GNUTLS_NAME_DNS)
		return true;
	if (gnutls_x509_crt_init(&crt) != 0)
		return true;
	if (gnutls_x509_crt_import(crt, ours, GNUTLS_X509_FMT_DER) == 0)
		serves = gnutls_x509_crt_check_hostname(crt, name) != 0;
	gnutls_x509_crt_deinit(crt);
	return serves;
}
