/* tls/tls_crl.c - see tls_crl.h.
 *
 * Loading: the PEM armour comes off, the entries are cut out of the list, and what is left of it, a list
 * without entries, is what GnuTLS parses: it would need 800 octets of heap for each entry. The
 * signature is checked over the list as it came. What is kept are serial numbers, sorted. */
#include "tls/tls_crl.h"

#include "tls/tls_der.h"
#include "tls/tls_impl.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOON_PERCENT 80 /* of a list's life: from then on the next one is overdue */
#define KEY_ID 32       /* SHA-256 */
#define NAME_SHOWN 200  /* octets of an issuer's name in messages */
#define OID_MAX 64
#define OID_DELTA "2.5.29.27"
#define OID_IDP "2.5.29.28" /* issuingDistributionPoint */
#define IDP_INDIRECT 0x84   /* [4] in it */

enum crl_state { CRL_FRESH, CRL_SOON, CRL_PAST, CRL_STALE }; /* only upwards */

struct serial {
	uint8_t n;
	uint8_t octets[TLS_CRL_SERIAL_MAX]; /* the rest 0, so that all of it can be compared */
	uint8_t when[4]; /* of an entry: seconds since 1970, big-endian, when it was revoked; not compared */
};

#define SERIAL_COMPARED offsetof(struct serial, when)

struct crl { /* one list; all owned */
	char *path;
	char name[NAME_SHOWN]; /* the issuer's, printable */
	uint8_t *issuer;       /* the same, DER */
	size_t nissuer;
	uint8_t key_id[KEY_ID]; /* of who signed it */
	uint8_t *idp;           /* its scope, DER; NULL: everything */
	size_t nidp;
	struct serial number; /* n 0: none */
	uint64_t this_update, next_update;
	enum crl_state said;
	bool future_said;
	struct serial *serials; /* sorted */
	size_t n;
};

struct ca { /* a certificate of client-ca */
	uint8_t *der; /* owned; the names borrow from it */
	size_t nder;
	struct der_crt names;
	bool self_issued;
	bool is_ca;
	bool covered; /* there is a list, or it has been said that there is none */
};

struct tls_crl_set {
	unsigned refs;
	bool sourced; /* source is known */
	struct tls_crl_source source;
	uint64_t grace_s;
	struct crl *crls;
	size_t ncrls;
	struct ca *cas;
	size_t ncas;
	size_t entries;
};

static gnutls_datum_t
datum(struct span s)
{
	return (gnutls_datum_t){ (unsigned char *)(uintptr_t)s.p, (unsigned)s.n };
}

/* --- the CAs ---------------------------------------------------------------------------------- */

static int
add_ca(struct tls_crl_set *set, gnutls_x509_crt_t crt)
{
	struct ca *more, *ca;
	gnutls_datum_t der;
	unsigned critical;

	if ((more = reallocarray(set->cas, set->ncas + 1, sizeof *more)) == NULL ||
	    gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der) != 0) {
		set->cas = more != NULL ? more : set->cas;
		return PT_ENOMEM;
	}
	set->cas = more;
	ca = &set->cas[set->ncas];
	*ca = (struct ca){ .der = malloc(der.size), .nder = der.size };
	if (ca->der != NULL)
		memcpy(ca->der, der.data, der.size);
	gnutls_free(der.data);
	if (ca->der == NULL)
		return PT_ENOMEM;
	set->ncas++;
	if (!der_crt_read((struct span){ ca->der, ca->nder }, &ca->names))
		return PT_EINVAL;
	ca->self_issued = span_equal(ca->names.issuer, ca->names.subject);
	/* version 1 knows no extensions: who trusts one as a CA means it */
	ca->is_ca = gnutls_x509_crt_get_ca_status(crt, &critical) > 0 ||
		gnutls_x509_crt_get_version(crt) < 3;
	return 0;
}

static int
add_cas(struct tls_crl_set *set, struct span pem, const char *path, struct diag *diag)
{
	gnutls_x509_crt_t *crts = NULL;
	gnutls_datum_t d = datum(pem);
	unsigned n = 0, i;
	int rc;

	if (gnutls_x509_crt_list_import2(&crts, &n, &d, GNUTLS_X509_FMT_PEM, 0) < 0)
		return diag_set(diag, PT_EINVAL, "%s: there is no PEM certificate in it", path);
	rc = set->ncas + n > TLS_CRL_CAS_MAX
		? diag_set(diag, PT_EFULL, "%s: beside client-crl, more than %d CAs", path, TLS_CRL_CAS_MAX)
		: 0;
	for (i = 0; i < n; i++) {
		if (rc == 0 && (rc = add_ca(set, crts[i])) == PT_EINVAL)
			diag_set(diag, rc, "%s: certificate %u in it cannot be read", path, i + 1);
		gnutls_x509_crt_deinit(crts[i]);
	}
	gnutls_free(crts);
	return rc;
}

int
tls_crl_new(const struct tls_ca_file *cas, size_t ncas, uint64_t grace_s, struct tls_crl_set **set_out,
	    struct diag *diag)
{
	struct tls_crl_set *set = calloc(1, sizeof *set);
	int rc = set != NULL ? 0 : PT_ENOMEM;
	size_t i;

	*set_out = NULL;
	if (set != NULL)
		*set = (struct tls_crl_set){ .refs = 1, .grace_s = grace_s };
	for (i = 0; rc == 0 && i < ncas; i++)
		rc = add_cas(set, cas[i].pem, cas[i].path, diag);
	if (rc != 0)
		tls_crl_free(&set);
	*set_out = set;
	return rc;
}

static void
crl_fini(struct crl *c)
{
	free(c->path);
	free(c->issuer);
	free(c->idp);
	free(c->serials);
	memset(c, 0, sizeof *c);
}

void
tls_crl_free(struct tls_crl_set **setp)
{
	struct tls_crl_set *set = *setp;
	size_t i;

	*setp = NULL;
	if (set == NULL || --set->refs > 0)
		return;
	for (i = 0; i < set->ncrls; i++)
		crl_fini(&set->crls[i]);
	for (i = 0; i < set->ncas; i++)
		free(set->cas[i].der);
	free(set->crls);
	free(set->cas);
	free(set);
}

struct tls_crl_set *
tls_crl_ref(struct tls_crl_set *set)
{
	PT_ASSERT(set->refs > 0);
	set->refs++;
	return set;
}

/* --- what a set was made of ------------------------------------------------------------------- */

/* The digest becomes that of itself, a text with its length, and octets with theirs. */
static bool
stir(struct tls_crl_source *source, struct span text, struct span octets)
{
	const uint64_t lengths[] = { text.n, octets.n };
	gnutls_hash_hd_t h;
	int rc;

	if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) != 0)
		return false;
	rc = gnutls_hash(h, source->digest, sizeof source->digest);
	rc |= gnutls_hash(h, lengths, sizeof lengths);
	if (text.n > 0)
		rc |= gnutls_hash(h, text.p, text.n);
	if (octets.n > 0)
		rc |= gnutls_hash(h, octets.p, octets.n);
	gnutls_hash_deinit(h, source->digest);
	return rc == 0;
}

bool
tls_crl_source_begin(const struct tls_ca_file *cas, size_t ncas, uint64_t grace_s, struct tls_crl_source *source)
{
	const struct span grace = { (const uint8_t *)&grace_s, sizeof grace_s };
	bool ok;
	size_t i;

	memset(source, 0, sizeof *source);
	ok = stir(source, span_str("CAs"), grace);
	for (i = 0; i < ncas && ok; i++)
		ok = stir(source, span_str(cas[i].path), cas[i].pem);
	return ok && stir(source, span_str("lists"), (struct span){ NULL, 0 });
}

bool
tls_crl_source_add(struct tls_crl_source *source, struct span file, const char *path)
{
	return stir(source, span_str(path), file);
}

void
tls_crl_note_source(struct tls_crl_set *set, const struct tls_crl_source *source)
{
	set->sourced = true;
	set->source = *source;
}

bool
tls_crl_is_from(const struct tls_crl_set *set, const struct tls_crl_source *source)
{
	return set->sourced && memcmp(&set->source, source, sizeof *source) == 0;
}

/* --- the signature ---------------------------------------------------------------------------- */

/* One CA that has the issuer's name: 0 when it signed this list and may, filling key_id. */
static int
check_signer(const struct ca *ca, gnutls_sign_algorithm_t algo, const struct der_crl *parts, struct crl *c,
	     struct diag *diag)
{
	gnutls_datum_t der = { ca->der, (unsigned)ca->nder }, tbs = datum(parts->tbs),
		       sig = datum(parts->signature);
	gnutls_pubkey_t key = NULL;
	gnutls_x509_crt_t crt = NULL;
	size_t n = sizeof c->key_id;
	unsigned usage, critical;
	int rc;

	if (gnutls_x509_crt_init(&crt) != 0 || gnutls_pubkey_init(&key) != 0) {
		rc = PT_ENOMEM;
		goto out;
	}
	if ((rc = gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER)) != 0 ||
	    (rc = gnutls_pubkey_import_x509(key, crt, 0)) != 0 ||
	    (rc = gnutls_pubkey_verify_data2(key, algo, 0, &tbs, &sig)) < 0 ||
	    (rc = gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, c->key_id, &n)) < 0) {
		rc = diag_set(diag, PT_EINVAL, "its signature is not that of the CA of this name in "
			"client-ca (%s)", gnutls_strerror(rc));
		goto out;
	}
	rc = gnutls_x509_crt_get_key_usage(crt, &usage, &critical);
	if (!ca->is_ca || (rc >= 0 && (usage & GNUTLS_KEY_CRL_SIGN) == 0) ||
	    (rc < 0 && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE))
		rc = diag_set(diag, PT_EINVAL, "its CA has no right to sign lists: no cRLSign in its "
			"keyUsage, or it is no CA");
	else
		rc = 0;
out:
	gnutls_pubkey_deinit(key);
	gnutls_x509_crt_deinit(crt);
	return rc;
}

static int
check_signature(struct tls_crl_set *set, gnutls_x509_crl_t head, const struct der_crl *parts, struct crl *c,
		struct diag *diag)
{
	int algo = gnutls_x509_crl_get_signature_algorithm(head);
	struct span issuer = { c->issuer, c->nissuer };
	int rc = diag_set(diag, PT_EINVAL, "its issuer is no CA of client-ca");
	size_t i;

	for (i = 0; i < set->ncas && rc != 0 && rc != PT_ENOMEM; i++)
		if (span_equal(set->cas[i].names.subject, issuer))
			rc = check_signer(&set->cas[i], (gnutls_sign_algorithm_t)algo, parts, c, diag);
	return rc;
}

/* --- the head --------------------------------------------------------------------------------- */

/* The list without its entries, for GnuTLS. */
static int
import_head(const struct der_crl *parts, gnutls_x509_crl_t *head_out, struct diag *diag)
{
	uint8_t h[DER_HEADER_MAX], *der, *p;
	size_t tbs = parts->head.n + parts->tail.n, n, k;
	gnutls_datum_t d;
	int rc;

	k = der_header(DER_SEQUENCE, tbs, h);
	n = k + tbs + parts->rest.n;
	if ((der = malloc(n + DER_HEADER_MAX)) == NULL || gnutls_x509_crl_init(head_out) != 0) {
		free(der);
		return PT_ENOMEM;
	}
	p = der + der_header(DER_SEQUENCE, n, der);
	memcpy(p, h, k);
	memcpy(p += k, parts->head.p, parts->head.n);
	p += parts->head.n;
	if (parts->tail.n > 0)
		memcpy(p, parts->tail.p, parts->tail.n);
	memcpy(p += parts->tail.n, parts->rest.p, parts->rest.n);
	d = (gnutls_datum_t){ der, (unsigned)(p + parts->rest.n - der) };
	rc = gnutls_x509_crl_import(*head_out, &d, GNUTLS_X509_FMT_DER);
	free(der);
	return rc == 0 ? 0 : diag_set(diag, PT_EINVAL, "it cannot be read: %s", gnutls_strerror(rc));
}

static int
keep_copy(gnutls_datum_t *d, uint8_t **out, size_t *n_out)
{
	if ((*out = malloc(d->size + 1)) != NULL) /* an empty one is one, too */
		memcpy(*out, d->data, *n_out = d->size);
	gnutls_free(d->data);
	return *out != NULL ? 0 : PT_ENOMEM;
}

static int
read_issuer(gnutls_x509_crl_t head, struct crl *c)
{
	gnutls_datum_t d = { NULL, 0 };
	int rc;

	if (gnutls_x509_crl_get_raw_issuer_dn(head, &d) != 0 ||
	    (rc = keep_copy(&d, &c->issuer, &c->nissuer)) != 0)
		return PT_ENOMEM;
	strlcpy(c->name, "?", sizeof c->name);
	if (gnutls_x509_crl_get_issuer_dn3(head, &d, 0) == 0) {
		span_print((struct span){ d.data, d.size }, c->name, sizeof c->name);
		gnutls_free(d.data);
	}
	return 0;
}

/* issuingDistributionPoint: a part of a CA's certificates is fine, somebody else's are not. */
static int
read_idp(gnutls_x509_crl_t head, unsigned i, struct crl *c, struct diag *diag)
{
	struct span in;
	gnutls_datum_t d;
	struct der e;
	int rc;

	if (c->idp != NULL)
		return diag_set(diag, PT_EINVAL, "it has two issuingDistributionPoints");
	if (gnutls_x509_crl_get_extension_data2(head, i, &d) != 0 ||
	    (rc = keep_copy(&d, &c->idp, &c->nidp)) != 0)
		return PT_ENOMEM;
	in = (struct span){ c->idp, c->nidp };
	if (!der_take(&in, DER_SEQUENCE, &e) || in.n > 0)
		return diag_set(diag, PT_EINVAL, "its issuingDistributionPoint cannot be read");
	for (in = e.content; in.n > 0;) {
		if (!der_next(&in, &e))
			return diag_set(diag, PT_EINVAL, "its issuingDistributionPoint cannot be read");
		if (e.tag == IDP_INDIRECT)
			return diag_set(diag, PT_EINVAL, "it is an indirect list, about certificates of "
				"other CAs; only a CA's own list is taken");
	}
	return 0;
}

static int
read_extensions(gnutls_x509_crl_t head, struct crl *c, struct diag *diag)
{
	static const char *const harmless[] = { "2.5.29.20", "2.5.29.35" }; /* number, key identifier */
	unsigned i, critical;
	char oid[OID_MAX];
	size_t n, k;
	int rc;

	for (i = 0;; i++) {
		n = sizeof oid;
		rc = gnutls_x509_crl_get_extension_info(head, i, oid, &n, &critical);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return 0;
		if (rc != 0)
			return diag_set(diag, PT_EINVAL, "its extensions cannot be read: %s",
				gnutls_strerror(rc));
		if (strcmp(oid, OID_DELTA) == 0)
			return diag_set(diag, PT_EINVAL, "it is a delta, which says only what has "
				"changed; give the complete list");
		if (strcmp(oid, OID_IDP) == 0) {
			if ((rc = read_idp(head, i, c, diag)) != 0)
				return rc;
			continue;
		}
		for (k = 0; k < PT_COUNT(harmless) && strcmp(oid, harmless[k]) != 0; k++)
			;
		if (critical && k == PT_COUNT(harmless)) /* RFC 5280 §5.2: then it must not be used */
			return diag_set(diag, PT_EINVAL, "it has a critical extension, %s, that is not "
				"known here", oid);
	}
}

static bool
keep_serial(struct span s, struct serial *out)
{
	memset(out, 0, sizeof *out);
	if (s.n > TLS_CRL_SERIAL_MAX)
		return false;
	out->n = (uint8_t)s.n;
	memcpy(out->octets, s.p, s.n);
	return true;
}

static int
read_head(gnutls_x509_crl_t head, struct crl *c, struct diag *diag)
{
	time_t this_update = gnutls_x509_crl_get_this_update(head),
	       next_update = gnutls_x509_crl_get_next_update(head);
	uint8_t number[64];
	size_t n = sizeof number;
	int rc;

	if (this_update < 0 || next_update <= this_update)
		return diag_set(diag, PT_EINVAL, "it has no nextUpdate behind its thisUpdate, so nobody "
			"can tell when it is out of date");
	c->this_update = (uint64_t)this_update;
	c->next_update = (uint64_t)next_update;
	rc = gnutls_x509_crl_get_number(head, number, &n, NULL);
	if (rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE &&
	    (rc != 0 || n == 0 || !keep_serial(der_serial((struct span){ number, n }), &c->number)))
		return diag_set(diag, PT_EINVAL, "its number has more than %d octets or cannot be read",
			TLS_CRL_SERIAL_MAX);
	return read_extensions(head, c, diag);
}

/* --- the entries ------------------------------------------------------------------------------ */

static int
compare_serials(const void *a, const void *b)
{
	return memcmp(a, b, SERIAL_COMPARED);
}

/* 0 for what is no time, or none of ours. */
static void
keep_date(struct span date, struct serial *out)
{
	int64_t t;
	size_t i;

	if (!der_time(&date, &t) || t < 0 || t > UINT32_MAX)
		return;
	for (i = sizeof out->when; i > 0; i--, t >>= 8)
		out->when[i - 1] = (uint8_t)t;
}

static int
read_entries(struct span entries, size_t room, struct crl *c, struct diag *diag)
{
	struct span in = entries, serial, date;
	enum der_entry what;
	bool sorted = true;
	size_t n = 0;

	while ((what = der_crl_entry(&in, &serial, &date)) == DER_ENTRY_OK)
		n++;
	if (what == DER_ENTRY_BAD)
		return diag_set(diag, PT_EINVAL, "entry %zu cannot be read, or has a critical extension, "
			"or is about another CA's certificate", n + 1);
	if (n > room)
		return diag_set(diag, PT_EFULL, "there are more than %d entries in all lists together",
			TLS_CRL_ENTRIES_MAX);
	if (n > 0 && (c->serials = reallocarray(NULL, n, sizeof *c->serials)) == NULL)
		return PT_ENOMEM;
	for (in = entries; der_crl_entry(&in, &serial, &date) == DER_ENTRY_OK; c->n++) {
		if (!keep_serial(serial, &c->serials[c->n]))
			return diag_set(diag, PT_EINVAL, "the serial number of entry %zu has more than %d "
				"octets", c->n + 1, TLS_CRL_SERIAL_MAX);
		keep_date(date, &c->serials[c->n]);
		if (c->n > 0 && compare_serials(&c->serials[c->n - 1], &c->serials[c->n]) > 0)
			sorted = false;
	}
	if (!sorted)
		qsort(c->serials, c->n, sizeof *c->serials, compare_serials);
	return 0;
}

/* --- one list, one file ----------------------------------------------------------------------- */

/* Same issuer, key and scope: one replaces the other. */
static bool
same_series(const struct crl *a, const struct crl *b)
{
	return a->nissuer == b->nissuer && memcmp(a->issuer, b->issuer, a->nissuer) == 0 &&
		memcmp(a->key_id, b->key_id, KEY_ID) == 0 && (a->idp == NULL) == (b->idp == NULL) &&
		a->nidp == b->nidp && (a->idp == NULL || memcmp(a->idp, b->idp, a->nidp) == 0);
}

static bool
is_newer(const struct crl *a, const struct crl *b)
{
	int d = 0;

	if (a->number.n > 0 && b->number.n > 0)
		d = memcmp(&a->number, &b->number, sizeof a->number);
	return d != 0 ? d > 0 : a->this_update > b->this_update;
}

/* Takes what c has, or lets go of it when a newer one is there. */
static int
keep(struct tls_crl_set *set, struct crl *c, struct diag *diag)
{
	struct crl *more, *old;
	size_t i;

	for (i = 0; i < set->ncrls && !same_series(&set->crls[i], c); i++)
		;
	if (i == set->ncrls) {
		if (i == TLS_CRL_LISTS_MAX)
			return diag_set(diag, PT_EFULL, "there are more than %d lists", TLS_CRL_LISTS_MAX);
		if ((more = reallocarray(set->crls, i + 1, sizeof *more)) == NULL)
			return PT_ENOMEM;
		set->crls = more;
		memset(&set->crls[set->ncrls++], 0, sizeof *more);
	} else if (!is_newer(c, &set->crls[i])) {
		return 0;
	}
	old = &set->crls[i];
	set->entries = set->entries - old->n + c->n;
	crl_fini(old);
	*old = *c;
	memset(c, 0, sizeof *c);
	for (i = 0; i < set->ncas; i++)
		if (span_equal(set->cas[i].names.subject, (struct span){ old->issuer, old->nissuer }))
			set->cas[i].covered = true;
	return 0;
}

static int
load_der(struct tls_crl_set *set, struct span der, const char *path, unsigned number, struct diag *diag)
{
	gnutls_x509_crl_t head = NULL;
	struct der_crl parts;
	struct crl c = { 0 };
	int rc;

	if (!der_crl_read(der, &parts)) {
		rc = diag_set(diag, PT_EINVAL, "it cannot be read");
		goto out;
	}
	if ((c.path = strdup(path)) == NULL)
		rc = PT_ENOMEM;
	else if ((rc = import_head(&parts, &head, diag)) == 0 && (rc = read_issuer(head, &c)) == 0 &&
		(rc = check_signature(set, head, &parts, &c, diag)) == 0 &&
		(rc = read_head(head, &c, diag)) == 0 &&
		(rc = read_entries(parts.entries, TLS_CRL_ENTRIES_MAX - set->entries, &c, diag)) == 0)
		rc = keep(set, &c, diag);
out:
	if (rc == PT_ENOMEM)
		diag_set(diag, rc, "%s", pt_strerror(rc));
	if (rc != 0)
		diag_prefix(diag, "%s: revocation list %u%s%s", path, number, c.name[0] != '\0' ? ", of " : "",
			c.name);
	gnutls_x509_crl_deinit(head);
	crl_fini(&c);
	return rc;
}

int
tls_crl_load(struct tls_crl_set *set, struct span file, const char *path, struct diag *diag)
{
	static const char begin[] = "-----BEGIN X509 CRL-----", end[] = "-----END X509 CRL-----";
	const uint8_t *p = file.p, *last = file.p + file.n, *at, *to;
	gnutls_datum_t pem, der;
	unsigned number = 0;
	int rc = 0;

	if (tls_pem_has_key(file))
		return diag_set(diag, PT_EINVAL, "%s: a private key is in this file of revocation lists; keep "
			"keys in files of their own", path);
	while (rc == 0 && p < last &&
		(at = memmem(p, (size_t)(last - p), begin, sizeof begin - 1)) != NULL) {
		number++;
		to = memmem(at, (size_t)(last - at), end, sizeof end - 1);
		p = to != NULL ? to + sizeof end - 1 : last;
		pem = datum((struct span){ at, (size_t)(p - at) });
		if (to == NULL || gnutls_pem_base64_decode2("X509 CRL", &pem, &der) != 0)
			return diag_set(diag, PT_EINVAL, "%s: revocation list %u is broken: its PEM cannot "
				"be decoded", path, number);
		rc = load_der(set, (struct span){ der.data, der.size }, path, number, diag);
		gnutls_free(der.data);
	}
	if (rc == 0 && number == 0)
		rc = diag_set(diag, PT_EINVAL, "%s: there is no PEM revocation list in it; a DER one is "
			"converted by: openssl crl -inform DER -in OLD -out NEW", path);
	return rc;
}

/* --- looking up ------------------------------------------------------------------------------- */

static enum crl_state
state_of(const struct tls_crl_set *set, const struct crl *c, uint64_t now)
{
	uint64_t life = c->next_update - c->this_update;

	if (now > c->next_update)
		return now - c->next_update > set->grace_s ? CRL_STALE : CRL_PAST;
	return now > c->this_update && (now - c->this_update) * 100 >= life * SOON_PERCENT ? CRL_SOON
											    : CRL_FRESH;
}

/* One certificate against all lists of its issuer. */
static void
look_up(const struct tls_crl_set *set, const struct der_crt *crt, uint64_t now, bool *revoked, bool *stale)
{
	struct serial key;
	bool listable = keep_serial(crt->serial, &key); /* a longer one is in no list that we took */
	const struct crl *c;
	size_t i;

	for (i = 0; i < set->ncrls && !*revoked; i++) {
		c = &set->crls[i];
		if (!span_equal(crt->issuer, (struct span){ c->issuer, c->nissuer }))
			continue;
		if (state_of(set, c, now) == CRL_STALE)
			*stale = true;
		if (listable && c->n > 0 &&
		    bsearch(&key, c->serials, c->n, sizeof key, compare_serials) != NULL)
			*revoked = true;
	}
}

bool
tls_crl_revoked_at(const struct tls_crl_set *set, struct span der, int64_t *when)
{
	const struct serial *found = NULL;
	struct serial key;
	struct der_crt crt;
	const struct crl *c;
	size_t i;

	*when = 0;
	if (!der_crt_read(der, &crt) || !keep_serial(crt.serial, &key))
		return false;
	for (i = 0; i < set->ncrls && found == NULL; i++) {
		c = &set->crls[i];
		if (c->n > 0 && span_equal(crt.issuer, (struct span){ c->issuer, c->nissuer }))
			found = bsearch(&key, c->serials, c->n, sizeof key, compare_serials);
	}
	for (i = 0; found != NULL && i < sizeof found->when; i++)
		*when = *when << 8 | found->when[i];
	return found != NULL;
}

/* A root that the client sent along: the anchor itself, about which its own list says nothing. */
static bool
is_anchor(const struct tls_crl_set *set, struct span der)
{
	size_t i;

	for (i = 0; i < set->ncas; i++)
		if (set->cas[i].self_issued && set->cas[i].nder == der.n &&
		    memcmp(set->cas[i].der, der.p, der.n) == 0)
			return true;
	return false;
}

/* GnuTLS does not tell which of several certificates with an issuer's name it took, so all of them are
 * looked up: whoever presents a revoked one beside a good one of the same CA is refused, but
 * certificates that issued nothing in this chain do not matter. The way goes on above an anchor that is no
 * root: when its own CA is in client-ca, too, and has revoked it, that counts. */
enum tls_verdict
tls_crl_judge(const struct tls_crl_set *set, const struct span *chain, size_t n, uint64_t now)
{
	bool reached[TLS_CHAIN_MAX + TLS_CRL_CAS_MAX] = { false }, done[TLS_CHAIN_MAX + TLS_CRL_CAS_MAX];
	struct der_crt presented[TLS_CHAIN_MAX];
	const struct der_crt *crt, *other;
	bool revoked = false, stale = false, more = true;
	size_t i, k, all = n + set->ncas;

	if (n == 0 || n > TLS_CHAIN_MAX)
		return TLS_VERDICT_BAD_SIGNATURE;
	for (i = 0; i < n; i++) {
		if (!der_crt_read(chain[i], &presented[i]))
			return TLS_VERDICT_BAD_SIGNATURE;
		done[i] = is_anchor(set, chain[i]);
	}
	for (i = n; i < all; i++)
		done[i] = set->cas[i - n].self_issued;
	for (reached[0] = true; more && !revoked;) {
		more = false;
		for (i = 0; i < all && !revoked; i++) {
			if (!reached[i] || done[i])
				continue;
			done[i] = more = true;
			crt = i < n ? &presented[i] : &set->cas[i - n].names;
			look_up(set, crt, now, &revoked, &stale);
			for (k = 0; k < all; k++) {
				other = k < n ? &presented[k] : &set->cas[k - n].names;
				if (!reached[k] && span_equal(other->subject, crt->issuer))
					reached[k] = true;
			}
		}
	}
	return revoked ? TLS_VERDICT_REVOKED : stale ? TLS_VERDICT_CRL_STALE : TLS_VERDICT_TRUSTED;
}

/* --- what to tell the administrator ----------------------------------------------------------- */

static void
say_state(const struct crl *c, enum crl_state state, char *out)
{
	static const char *const words[] = {
		[CRL_FRESH] = "is fresh", /* never said */
		[CRL_SOON] = "has lived for 80 % of its time and nothing newer is there: it ends",
		[CRL_PAST] = "is out of date: what it revokes stays revoked, but it should have been renewed",
		[CRL_STALE] = ("is out of date for longer than crl-grace allows: certificates of this CA are not "
			"trusted (crl-stale) until there is a new one; it ended"),
	};
	time_t t = (time_t)c->next_update;
	char when[32] = "?";
	struct tm tm;

	if (gmtime_r(&t, &tm) != NULL)
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(out, TLS_CRL_WARNING_MAX, "%.500s: the revocation list of %s %s at %s", c->path, c->name,
		words[state], when);
}

bool
tls_crl_warning(struct tls_crl_set *set, uint64_t now, char *out)
{
	enum crl_state state;
	struct crl *c;
	gnutls_x509_crt_t crt;
	gnutls_datum_t d;
	char name[NAME_SHOWN];
	size_t i;

	for (i = 0; i < set->ncrls; i++) {
		c = &set->crls[i];
		if (!c->future_said && c->this_update > now + TLS_CRL_SKEW_S) {
			c->future_said = true;
			snprintf(out, TLS_CRL_WARNING_MAX, "%.500s: the revocation list of %s is from the "
				"future: is a clock wrong? It counts all the same", c->path, c->name);
			return true;
		}
		if ((state = state_of(set, c, now)) > c->said) {
			c->said = state;
			say_state(c, state, out);
			return true;
		}
	}
	for (i = 0; i < set->ncas; i++) {
		if (set->cas[i].covered || !set->cas[i].is_ca)
			continue;
		set->cas[i].covered = true;
		strlcpy(name, "?", sizeof name);
		d = (gnutls_datum_t){ set->cas[i].der, (unsigned)set->cas[i].nder };
		if (gnutls_x509_crt_init(&crt) == 0) {
			if (gnutls_x509_crt_import(crt, &d, GNUTLS_X509_FMT_DER) == 0 &&
			    gnutls_x509_crt_get_dn3(crt, &d, 0) == 0) {
				span_print((struct span){ d.data, d.size }, name, sizeof name);
				gnutls_free(d.data);
			}
			gnutls_x509_crt_deinit(crt);
		}
		snprintf(out, TLS_CRL_WARNING_MAX, "no file of client-crl has a revocation list of the CA %s: "
			"none of its certificates counts as revoked", name);
		return true;
	}
	return false;
}

uint64_t
tls_crl_next_update(const struct tls_crl_set *set)
{
	uint64_t first = 0;
	size_t i;

	for (i = 0; i < set->ncrls; i++)
		if (first == 0 || set->crls[i].next_update < first)
			first = set->crls[i].next_update;
	return first;
}

size_t
tls_crl_entries(const struct tls_crl_set *set)
{
	return set->entries;
}
