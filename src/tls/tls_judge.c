/* tls/tls_judge.c - see tls_judge.h. The one place that decides whether a chain is trusted. */
#include "tls/tls_judge.h"

#include "tls/tls_der.h"
#include "tls/tls_plain.h"
#include "util/utf8.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/x509-ext.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNSURE_S 3600 /* when it cannot be told for how long a verdict holds */
#define CA_NAMES_MAX 32 /* longer lists are not sent: they break handshakes and help no client */

static gnutls_typed_vdata_st
client_purpose(void)
{
	return (gnutls_typed_vdata_st){ .type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT };
}

void
tls_judge_prepare(gnutls_session_t g, const struct tls_cred *cred)
{
	gnutls_certificate_request_t ask = GNUTLS_CERT_REQUEST;

	/* "require" is our callback's to refuse, so that the alert is ours in every version; GnuTLS is
	 * told only to ask */
	if (cred->client_cert == TLS_CLIENT_CERT_NONE)
		ask = GNUTLS_CERT_IGNORE;
	gnutls_certificate_server_set_request(g, ask);
	gnutls_certificate_send_x509_rdn_sequence(g, cred->ncas > CA_NAMES_MAX); /* 1: do not send */
}

static enum tls_verdict
verdict_of(unsigned status)
{
	static const struct {
		unsigned bit;
		enum tls_verdict verdict;
	} order[] = { /* the first that applies names it */
		{ GNUTLS_CERT_REVOKED, TLS_VERDICT_REVOKED },
		{ GNUTLS_CERT_SIGNER_NOT_FOUND, TLS_VERDICT_UNKNOWN_CA },
		{ GNUTLS_CERT_SIGNER_NOT_CA, TLS_VERDICT_UNKNOWN_CA },
		{ GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, TLS_VERDICT_UNKNOWN_CA },
		{ GNUTLS_CERT_SIGNATURE_FAILURE, TLS_VERDICT_BAD_SIGNATURE },
		{ GNUTLS_CERT_INSECURE_ALGORITHM, TLS_VERDICT_BAD_SIGNATURE },
		{ GNUTLS_CERT_EXPIRED, TLS_VERDICT_EXPIRED },
		{ GNUTLS_CERT_NOT_ACTIVATED, TLS_VERDICT_NOT_YET_VALID },
		{ GNUTLS_CERT_PURPOSE_MISMATCH, TLS_VERDICT_WRONG_PURPOSE },
	};
	size_t i;

	if (status == 0)
		return TLS_VERDICT_TRUSTED;
	for (i = 0; i < PT_COUNT(order); i++)
		if (status & order[i].bit)
			return order[i].verdict;
	return TLS_VERDICT_BAD_SIGNATURE; /* anything else that GnuTLS does not like */
}

static struct span
span_of(const gnutls_datum_t *d)
{
	return (struct span){ d->data, d->size };
}

static gnutls_datum_t
datum_of(struct span s)
{
	return (gnutls_datum_t){ (unsigned char *)(uintptr_t)s.p, (unsigned)s.n };
}

/* What the cache knows a chain by: its certificates, each behind its length, in the order in which they
 * were presented. */
static bool
chain_digest(const gnutls_datum_t *chain, unsigned n, uint8_t digest[TLS_VCACHE_KEY_SIZE])
{
	uint32_t len;
	gnutls_hash_hd_t h;
	unsigned i;
	int rc = 0;

	if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) != 0)
		return false;
	for (i = 0; i < n && rc == 0; i++) {
		len = chain[i].size;
		if ((rc = gnutls_hash(h, &len, sizeof len)) == 0)
			rc = gnutls_hash(h, chain[i].data, chain[i].size);
	}
	gnutls_hash_deinit(h, digest);
	return rc == 0;
}

static void
narrow(int64_t *from, int64_t *until, int64_t new_from, int64_t new_until)
{
	*from = new_from > *from ? new_from : *from;
	*until = new_until < *until ? new_until : *until;
}

/* The chain was found good at now: for how long that holds without a change. Any certificate in it that
 * begins or ends counts, and so does any CA of ours that is valid now, whichever it was that the chain
 * ended in. */
static void
remember(const struct tls_cred *cred, const uint8_t digest[TLS_VCACHE_KEY_SIZE], const gnutls_datum_t *chain,
	 unsigned n, int64_t now, int64_t *until_s)
{
	int64_t from = INT64_MIN, until = INT64_MAX, begins, ends;
	struct der_crt crt;
	unsigned i;
	size_t k;

	for (i = 0; i < n; i++) {
		if (!der_crt_read(span_of(&chain[i]), &crt) || !der_time(&crt.validity, &begins) ||
		    !der_time(&crt.validity, &ends))
			return;
		narrow(&from, &until, begins, ends);
		if (i > 0)
			tls_vcache_add_between(cred->known, crt.subject);
	}
	for (k = 0; k < cred->ncas; k++)
		if (cred->cas[k].from_s <= now && now <= cred->cas[k].until_s)
			narrow(&from, &until, cred->cas[k].from_s, cred->cas[k].until_s);
	if (from > now || now > until)
		return;
	tls_vcache_add(cred->known, digest, from, until);
	*until_s = until;
}

/* The revocation lists, apart from the signatures: it holds for a chain that was verified earlier, too. */
static enum tls_verdict
judge_crl(gnutls_session_t g, const struct tls_cred *cred)
{
	struct span chain[TLS_CHAIN_MAX];
	const gnutls_datum_t *raw;
	unsigned n = 0, i;

	if (cred->crls == NULL)
		return TLS_VERDICT_TRUSTED;
	if ((raw = gnutls_certificate_get_peers(g, &n)) == NULL || n > TLS_CHAIN_MAX)
		return TLS_VERDICT_BAD_SIGNATURE;
	for (i = 0; i < n; i++)
		chain[i] = span_of(&raw[i]);
	return tls_crl_judge(cred->crls, chain, n, (uint64_t)time(NULL));
}

/* "Revoked" goes before every other verdict, but only a chain of our CAs can be: what a forger writes into a
 * certificate is looked up nowhere. "Stale" is what is left when nothing else is wrong. */
static enum tls_verdict
with_crl(unsigned status, enum tls_verdict crl)
{
	const unsigned not_ours = GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA |
		GNUTLS_CERT_SIGNATURE_FAILURE;

	if (crl == TLS_VERDICT_REVOKED && (status & not_ours) == 0)
		status |= GNUTLS_CERT_REVOKED;
	return status == 0 ? crl : verdict_of(status);
}

/* With the CAs of the session's credentials, which are cred's. */
static int
verify(gnutls_session_t g, const struct tls_cred *cred, unsigned *status)
{
	gnutls_typed_vdata_st purpose = client_purpose();
	unsigned other;
	size_t i;
	int rc;

	/* verify_peers2() would not look at the purpose */
	if ((rc = gnutls_certificate_verify_peers(g, &purpose, 1, status)) != 0 ||
	    (*status & GNUTLS_CERT_SIGNATURE_FAILURE) == 0)
		return rc;
	/* perhaps it is another CA of that name that has signed */
	for (i = 0; i < cred->ntwins && (*status & GNUTLS_CERT_SIGNATURE_FAILURE) != 0; i++) {
		PT_ASSERT(gnutls_credentials_set(g, GNUTLS_CRD_CERTIFICATE, cred->twins[i]) == 0);
		if (gnutls_certificate_verify_peers(g, &purpose, 1, &other) == 0)
			*status = other;
	}
	PT_ASSERT(gnutls_credentials_set(g, GNUTLS_CRD_CERTIFICATE, cred->x509) == 0);
	return 0;
}

enum tls_verdict
tls_judge(gnutls_session_t g, const struct tls_cred *cred, bool *known_out, unsigned *status_out,
	  int64_t *until_s)
{
	uint8_t digest[TLS_VCACHE_KEY_SIZE];
	const gnutls_datum_t *chain;
	unsigned status = 0, n = 0;
	int64_t now = time(NULL);
	bool digested;

	*known_out = false;
	*until_s = now + UNSURE_S;
	*status_out = 0;
	if (cred->client_cert == TLS_CLIENT_CERT_NONE ||
	    (chain = gnutls_certificate_get_peers(g, &n)) == NULL || n == 0)
		return TLS_VERDICT_NONE;
	if (cred->ncas == 0)
		return TLS_VERDICT_UNKNOWN_CA;
	digested = chain_digest(chain, n, digest);
	*known_out = digested && tls_vcache_has(cred->known, digest, now, until_s);
	if (!*known_out) {
		if (verify(g, cred, &status) != 0)
			return TLS_VERDICT_BAD_SIGNATURE;
		if (status == 0 && digested)
			remember(cred, digest, chain, n, now, until_s);
	}
	*status_out = status;
	/* what was verified once may be revoked since, or its list too old */
	return with_crl(status, judge_crl(g, cred));
}

/* The chain as certificates; n_out 0 when it cannot be read. */
static void
import_chain(gnutls_session_t g, gnutls_x509_crt_t crts[TLS_CHAIN_MAX], unsigned *n_out)
{
	const gnutls_datum_t *raw;
	unsigned n = 0, i;

	*n_out = 0;
	if ((raw = gnutls_certificate_get_peers(g, &n)) == NULL || n > TLS_CHAIN_MAX)
		return;
	for (i = 0; i < n; i++) {
		if (gnutls_x509_crt_init(&crts[i]) != 0)
			break;
		(*n_out)++;
		if (gnutls_x509_crt_import(crts[i], &raw[i], GNUTLS_X509_FMT_DER) != 0)
			break;
	}
	if (i == n)
		return;
	while (*n_out > 0)
		gnutls_x509_crt_deinit(crts[--*n_out]);
}

bool
tls_judge_chain_from(gnutls_session_t g, const struct tls_cred *cred, size_t from)
{
	gnutls_typed_vdata_st purpose = client_purpose();
	gnutls_x509_crt_t crts[TLS_CHAIN_MAX];
	unsigned n, status = ~0u;
	int rc;

	PT_ASSERT(from < cred->nfroms);
	if (!cred->froms[from].within || cred->froms[from].all)
		return cred->froms[from].within;
	import_chain(g, crts, &n);
	if (n == 0)
		return false;
	rc = gnutls_x509_trust_list_verify_crt2(cred->froms[from].trust, crts, n, &purpose, 1, 0,
		&status, NULL);
	while (n > 0)
		gnutls_x509_crt_deinit(crts[--n]);
	return rc == 0 && status == 0;
}

/* Text of a certificate goes to logs and to peers: control characters (C0, DEL, and C1 in UTF-8) become
 * '?'. NULL when out of memory. */
static char *
printable(const char *prefix, struct span text)
{
	size_t at = strlen(prefix), i;
	const uint8_t *o = text.p;
	char *s = malloc(at + text.n + 1);

	if (s == NULL)
		return NULL;
	memcpy(s, prefix, at);
	for (i = 0; i < text.n; i++) {
		s[at + i] = o[i] < 0x20 || o[i] == 0x7f ? '?' : (char)o[i];
		if (o[i] >= 0x80 && o[i] < 0xa0 && i > 0 && o[i - 1] == 0xc2)
			s[at + i - 1] = s[at + i] = '?';
	}
	s[at + text.n] = '\0';
	return s;
}

static int
read_subject(struct span name, struct tls_peer *peer)
{
	const gnutls_datum_t der = datum_of(name);
	gnutls_datum_t dn = { NULL, 0 };
	char plain[TLS_NAME_MAX];
	size_t n;

	if (plain_dn(name, plain, sizeof plain, &n)) {
		peer->subject = printable("", (struct span){ (const uint8_t *)plain, n });
	} else if (gnutls_x509_rdn_get2(&der, &dn, 0) == 0) {
		peer->subject = printable("", utf8_cut((struct span){ dn.data, dn.size }, TLS_NAME_MAX));
		gnutls_free(dn.data);
	} else {
		return 0; /* a certificate may have no subject */
	}
	return peer->subject != NULL ? 0 : PT_ENOMEM;
}

static char *
ip_text(struct span name)
{
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(name.n == 4 ? AF_INET : AF_INET6, name.p, ip, sizeof ip);
	return printable("ip:", span_str(ip));
}

/* One name in words; NULL with *rc 0 for one that is not shown: of another kind, or not what it looks
 * like. A NUL or another control character in a name is a forger's trick, and '?' in its place would
 * be somebody else's name. */
static char *
name_text(int type, struct span name, int *rc)
{
	static const char *const prefixes[] = {
		[GNUTLS_SAN_RFC822NAME] = "email:",
		[GNUTLS_SAN_DNSNAME] = "dns:",
		[GNUTLS_SAN_URI] = "uri:",
	};
	char *s;

	*rc = 0;
	if (type == GNUTLS_SAN_IPADDRESS && (name.n == 4 || name.n == 16))
		s = ip_text(name);
	else if (type >= 0 && (size_t)type < PT_COUNT(prefixes) && prefixes[type] != NULL &&
		utf8_printable(name))
		s = printable(prefixes[type], name);
	else
		return NULL;
	if (s == NULL)
		*rc = PT_ENOMEM;
	return s;
}

static int
add_san(struct tls_peer *peer, int type, struct span name)
{
	char *s;
	int rc = 0;

	if (name.n > TLS_NAME_MAX)
		return 0;
	if (peer->sans == NULL && (peer->sans = calloc(TLS_SANS_MAX, sizeof *peer->sans)) == NULL)
		return PT_ENOMEM;
	if ((s = name_text(type, name, &rc)) != NULL)
		peer->sans[peer->nsans++] = s;
	return rc;
}

static int
read_odd_sans(struct span value, struct tls_peer *peer)
{
	const gnutls_datum_t der = datum_of(value);
	gnutls_subject_alt_names_t names;
	gnutls_datum_t name;
	unsigned i, type;
	int rc = 0;

	if (gnutls_subject_alt_names_init(&names) != 0)
		return PT_ENOMEM;
	if (gnutls_x509_ext_import_subject_alt_names(&der, names, 0) == 0)
		for (i = 0; i < TLS_SANS_MAX && rc == 0; i++) {
			if (gnutls_subject_alt_names_get(names, i, &type, &name, NULL) != 0)
				break;
			rc = add_san(peer, (int)type, span_of(&name));
		}
	gnutls_subject_alt_names_deinit(names);
	return rc;
}

static int
read_sans(struct span value, struct tls_peer *peer)
{
	struct plain_san sans[TLS_SANS_MAX];
	size_t n, i;
	int rc = 0;

	if (!plain_sans(value, sans, PT_COUNT(sans), &n))
		return read_odd_sans(value, peer);
	for (i = 0; i < n && rc == 0; i++)
		rc = add_san(peer, sans[i].type, sans[i].name);
	return rc;
}

/* GnuTLS has read the whole certificate in the handshake. That costs more than all the rest of this, so it is not asked
 * to do it once more: it gets the two parts that names are in, and only where they are not plain. */
int
tls_peer_read(gnutls_session_t g, struct tls_peer *peer)
{
	static const uint8_t oid_san[] = { 0x55, 0x1d, 0x11 }; /* subjectAltName, 2.5.29.17 */
	const gnutls_datum_t *raw;
	struct der_crt crt;
	struct span sans;
	char **shrunk;
	unsigned n = 0;
	int rc;

	memset(peer, 0, sizeof *peer);
	if ((raw = gnutls_certificate_get_peers(g, &n)) == NULL || n == 0 ||
	    !der_crt_read(span_of(&raw[0]), &crt))
		return 0;
	if ((rc = read_subject(crt.subject, peer)) == 0 &&
	    der_crt_extension(&crt, (struct span){ oid_san, sizeof oid_san }, &sans))
		rc = read_sans(sans, peer);
	/* a session may be idle for long: keep only what is used */
	if (peer->nsans > 0 &&
	    (shrunk = reallocarray(peer->sans, peer->nsans, sizeof *shrunk)) != NULL)
		peer->sans = shrunk;
	return rc;
}

/* Who it was is nobody's business when the session is over. */
static void
wipe(char *s)
{
	if (s != NULL)
		freezero(s, strlen(s));
}

void
tls_peer_fini(struct tls_peer *peer)
{
	size_t i;

	for (i = 0; i < peer->nsans; i++)
		wipe(peer->sans[i]);
	free(peer->sans);
	wipe(peer->subject);
	memset(peer, 0, sizeof *peer);
}
