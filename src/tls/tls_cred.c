/* tls/tls_cred.c - see tls_cred.h. Keys are named by number; who holds them signs. */
#include "tls/tls_ocsp.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

/* AEAD only; X25519 first, since every client offers a share of it (else one round trip more);
 * AES-128-GCM first, since its SHA-256 is the fast one; no SHA-1 signatures.
 * No %SAFE_RENEGOTIATION, which would turn away clients that speak TLS 1.3 alone and so do not announce
 * RFC 5746 (Java): it is asked for where it counts, before a renegotiation. */
#define PRIORITY_COMMON                                                                            \
	"-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD:"                 \
	"-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:+DHE-RSA:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:"      \
	"+GROUP-SECP384R1:+GROUP-FFDHE2048:+GROUP-FFDHE3072:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:"      \
	"%SERVER_PRECEDENCE"

struct remote_key { /* one per chain; GnuTLS frees it with the key */
	struct tls_cred *cred; /* borrowed: outlived by the credentials that own the key */
	uint32_t number;
	unsigned pk;
	unsigned bits;
};

static int
remote_sign(struct remote_key *k, gnutls_sign_algorithm_t algo, bool hashed, const gnutls_datum_t *data,
	    gnutls_datum_t *signature)
{
	uint8_t sig[TLS_SIGNATURE_MAX];
	size_t len = 0;

	if (data->size > TLS_SIGN_DATA_MAX ||
	    k->cred->sign(k->cred->sign_arg, k->cred->generation, k->number, (uint32_t)algo, hashed,
		    (struct span){ data->data, data->size }, sig, &len) != 0)
		return GNUTLS_E_PK_SIGN_FAILED;
	if ((signature->data = gnutls_malloc(len)) == NULL)
		return GNUTLS_E_MEMORY_ERROR;
	memcpy(signature->data, sig, len);
	signature->size = (unsigned)len;
	return 0;
}

static int
sign_data(gnutls_privkey_t key, gnutls_sign_algorithm_t algo, void *arg, unsigned flags,
	  const gnutls_datum_t *data, gnutls_datum_t *signature)
{
	(void)key;
	(void)flags;
	return remote_sign(arg, algo, false, data, signature);
}

static int
sign_hash(gnutls_privkey_t key, gnutls_sign_algorithm_t algo, void *arg, unsigned flags,
	  const gnutls_datum_t *hash, gnutls_datum_t *signature)
{
	(void)key;
	(void)flags;
	return remote_sign(arg, algo, true, hash, signature);
}

static int
key_info(gnutls_privkey_t key, unsigned flags, void *arg)
{
	const struct remote_key *k = arg;

	(void)key;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO)
		return (int)k->pk;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
		return (int)k->bits;
	if (flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO)
		return (int)gnutls_sign_supports_pk_algorithm(GNUTLS_FLAGS_TO_SIGN_ALGO(flags), k->pk);
	return -1;
}

static void
key_gone(gnutls_privkey_t key, void *arg)
{
	(void)key;
	free(arg);
}

static void
free_cas(gnutls_x509_crt_t *crts, unsigned n)
{
	while (n > 0)
		gnutls_x509_crt_deinit(crts[--n]);
	gnutls_free(crts);
}

static int
add_chain(struct tls_cred *cred, const struct tls_chain *chain, struct diag *diag)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)chain->pem.p, (unsigned)chain->pem.n };
	struct remote_key *k = calloc(1, sizeof *k);
	gnutls_pcert_st *certs = gnutls_calloc(TLS_CHAIN_MAX, sizeof *certs);
	gnutls_privkey_t key = NULL;
	unsigned n = TLS_CHAIN_MAX, i;
	int rc;

	if (k == NULL || certs == NULL || gnutls_privkey_init(&key) != 0) {
		free(k);
		gnutls_free(certs);
		return PT_ENOMEM;
	}
	if ((rc = gnutls_pcert_list_import_x509_raw(certs, &n, &d, GNUTLS_X509_FMT_PEM, 0)) != 0) {
		n = 0;
		free(k);
		goto fail;
	}
	*k = (struct remote_key){ .cred = cred, .number = chain->key };
	k->pk = (unsigned)gnutls_pubkey_get_pk_algorithm(certs[0].pubkey, &k->bits);
	if ((rc = gnutls_privkey_import_ext4(key, k, sign_data, sign_hash, NULL, key_gone, key_info,
		     0)) != 0) {
		free(k);
		goto fail;
	}
	/* takes key and what is in certs (not the array), and makes a test signature */
	if ((rc = gnutls_certificate_set_key(cred->x509, NULL, 0, certs, (int)n, key)) >= 0) {
		gnutls_free(certs);
		cred->nchains++;
		return 0;
	}
fail:
	for (i = 0; i < n; i++)
		gnutls_pcert_deinit(&certs[i]);
	gnutls_free(certs);
	gnutls_privkey_deinit(key);
	return diag_set(diag, PT_EINVAL, "the server certificate cannot be used: %s",
		gnutls_strerror(rc));
}

/* Whether to go on: a mistake that is reported is one of perhaps several. */
static bool
passes(const struct tls_cred_conf *conf, int rc, struct diag *diag, bool *failed)
{
	if (rc != PT_EINVAL || conf->report == NULL)
		return rc == 0;
	*failed = true;
	conf->report(conf->report_arg, diag->text);
	return true;
}

/* GnuTLS takes the first one that the client can verify, so the cheapest to sign with goes first: an RSA signature
 * costs ten times an ECDSA one. */
static unsigned
cost_of(const struct tls_chain *chain)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)chain->pem.p, (unsigned)chain->pem.n };
	gnutls_x509_crt_t crt;
	unsigned n = 1, cost = 0;
	int rc;

	if (gnutls_x509_crt_list_import(&crt, &n, &d, GNUTLS_X509_FMT_PEM, 0) < 0)
		return 0; /* add_chain() says what is wrong with it */
	rc = gnutls_x509_crt_get_pk_algorithm(crt, NULL);
	if (rc == GNUTLS_PK_EDDSA_ED25519 || rc == GNUTLS_PK_EDDSA_ED448)
		cost = 1;
	else if (rc != GNUTLS_PK_ECDSA)
		cost = 2;
	gnutls_x509_crt_deinit(crt);
	return cost;
}

/* Those of equal cost in the order in which they come. */
static int
add_chains(struct tls_cred *cred, const struct tls_cred_conf *conf, struct diag *diag, bool *failed)
{
	unsigned cost;
	size_t i;
	int rc;

	for (cost = 0; cost <= 2; cost++)
		for (i = 0; i < conf->nchains; i++)
			if (cost_of(&conf->chains[i]) == cost &&
			    !passes(conf, rc = add_chain(cred, &conf->chains[i], diag), diag, failed))
				return rc;
	return 0;
}

static int
read_cas(const struct tls_ca_file *file, gnutls_x509_crt_t **crts, unsigned *n, struct diag *diag)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)file->pem.p, (unsigned)file->pem.n };
	int rc;

	*crts = NULL;
	*n = 0;
	if (tls_pem_has_key(file->pem))
		return diag_set(diag, PT_EINVAL, "%s: a private key is in this file of CA "
			"certificates; keep keys in files of their own", file->path);
	rc = gnutls_x509_crt_list_import2(crts, n, &d, GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0 || *n == 0)
		return diag_set(diag, PT_EINVAL, "%s: there is no PEM certificate in it: %s",
			file->path, gnutls_strerror(rc));
	return 0;
}

static int
note_cas(struct tls_cred *cred, const gnutls_x509_crt_t *crts, unsigned n)
{
	struct tls_ca *more = reallocarray(cred->cas, cred->ncas + n, sizeof *more), *ca;
	gnutls_datum_t name;
	size_t size;
	unsigned i;
	int rc;

	if (more == NULL)
		return PT_ENOMEM;
	cred->cas = more;
	for (i = 0; i < n; i++) {
		ca = &cred->cas[cred->ncas + i];
		size = sizeof ca->digest;
		if (gnutls_x509_crt_get_fingerprint(crts[i], GNUTLS_DIG_SHA256, ca->digest, &size) != 0)
			return PT_EIO;
		if (gnutls_x509_crt_get_raw_dn(crts[i], &name) != 0)
			return PT_EIO;
		rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, name.data, name.size, ca->name);
		gnutls_free(name.data);
		if (rc != 0)
			return PT_EIO;
		ca->from_s = gnutls_x509_crt_get_activation_time(crts[i]);
		ca->until_s = gnutls_x509_crt_get_expiration_time(crts[i]);
	}
	cred->ncas += n;
	return 0;
}

static int
by_digest(const void *a, const void *b)
{
	return memcmp(a, b, TLS_SHA256_SIZE); /* the digest stands first */
}

/* Our own certificates, with the numbers of their keys: a session goes over to a set that has the same. */
static int
digest_chains(struct tls_cred *cred, const struct tls_cred_conf *conf)
{
	gnutls_hash_hd_t h;
	uint64_t len;
	size_t i;
	int rc = 0;

	if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) != 0)
		return PT_ENOMEM;
	for (i = 0; i < conf->nchains && rc == 0; i++) {
		len = conf->chains[i].pem.n;
		rc |= gnutls_hash(h, &conf->chains[i].key, sizeof conf->chains[i].key);
		rc |= gnutls_hash(h, &len, sizeof len);
		rc |= gnutls_hash(h, conf->chains[i].pem.p, conf->chains[i].pem.n);
	}
	gnutls_hash_deinit(h, cred->chains);
	return rc == 0 ? 0 : PT_EIO;
}

/* The same CAs: what was verified stays so. */
static void
share_known(struct tls_cred *cred, const struct tls_cred *before)
{
	if (before == NULL || memcmp(before->ca_set, cred->ca_set, sizeof cred->ca_set) != 0)
		return;
	tls_vcache_free(&cred->known);
	cred->known = tls_vcache_ref(before->known);
}

/* All CAs are there: their common name, for tickets. */
static int
digest_cas(struct tls_cred *cred)
{
	gnutls_hash_hd_t h;
	size_t i;
	int rc = 0;

	if (cred->ncas > 0)
		qsort(cred->cas, cred->ncas, sizeof *cred->cas, by_digest);
	if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) != 0)
		return PT_ENOMEM;
	for (i = 0; i < cred->ncas && rc == 0; i++)
		if (i == 0 || by_digest(&cred->cas[i], &cred->cas[i - 1]) != 0)
			rc = gnutls_hash(h, cred->cas[i].digest, sizeof cred->cas[i].digest);
	gnutls_hash_deinit(h, cred->ca_set);
	return rc == 0 ? 0 : PT_EIO;
}

static int
add_ca(struct tls_cred *cred, const struct tls_ca_file *file, struct diag *diag)
{
	gnutls_x509_crt_t *crts;
	unsigned n;
	int rc;

	if ((rc = read_cas(file, &crts, &n, diag)) != 0)
		return rc;
	rc = gnutls_certificate_set_x509_trust(cred->x509, crts, (int)n);
	if (rc < 0)
		rc = diag_set(diag, PT_EINVAL, "%s: %s", file->path, gnutls_strerror(rc));
	else
		rc = note_cas(cred, crts, n);
	free_cas(crts, n);
	return rc;
}

/* --- CAs of one name --------------------------------------------------------------------------- */

struct twin {
	const struct tls_ca *ca;
	unsigned rank, last; /* among those of its name, from 0 on; the last of them has this one */
};

static int
by_name(const void *a, const void *b)
{
	const struct tls_ca *x = ((const struct twin *)a)->ca, *y = ((const struct twin *)b)->ca;
	int d = memcmp(x->name, y->name, sizeof x->name);

	return d != 0 ? d : memcmp(x->digest, y->digest, sizeof x->digest);
}

/* Sorts and counts them; the highest rank. */
static unsigned
rank_twins(struct twin *t, size_t n)
{
	unsigned most = 0;
	size_t i;

	qsort(t, n, sizeof *t, by_name);
	for (i = 1; i < n; i++)
		if (memcmp(t[i].ca->name, t[i - 1].ca->name, sizeof t->ca->name) == 0) {
			/* the same one may stand there twice */
			t[i].rank = t[i - 1].rank + (by_name(&t[i], &t[i - 1]) != 0);
			most = t[i].rank > most ? t[i].rank : most;
		}
	for (i = n; i-- > 0;)
		t[i].last = i + 1 < n && memcmp(t[i].ca->name, t[i + 1].ca->name, sizeof t->ca->name) == 0
			? t[i + 1].last : t[i].rank;
	return most;
}

/* Whether this CA stands for its name in set number k. */
static bool
stands_for_its_name(const struct twin *t, size_t n, gnutls_x509_crt_t crt, unsigned k)
{
	uint8_t digest[TLS_SHA256_SIZE];
	size_t size = sizeof digest, i;

	if (gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest, &size) != 0)
		return false;
	for (i = 0; i < n; i++)
		if (memcmp(t[i].ca->digest, digest, sizeof digest) == 0)
			return t[i].rank == (k < t[i].last ? k : t[i].last);
	return false;
}

static int
add_twins(struct tls_cred *cred, const struct twin *t)
{
	gnutls_certificate_credentials_t *set = &cred->twins[cred->ntwins];
	gnutls_x509_trust_list_iter_t iter = NULL;
	gnutls_x509_trust_list_t list;
	gnutls_x509_crt_t crt;
	int rc = 0;

	if (gnutls_certificate_allocate_credentials(set) != 0)
		return PT_ENOMEM;
	gnutls_certificate_get_trust_list(cred->x509, &list);
	while (rc >= 0 && gnutls_x509_trust_list_iter_get_ca(list, &iter, &crt) == 0) {
		if (stands_for_its_name(t, cred->ncas, crt, (unsigned)cred->ntwins))
			rc = gnutls_certificate_set_x509_trust(*set, &crt, 1);
		gnutls_x509_crt_deinit(crt);
	}
	gnutls_x509_trust_list_iter_deinit(iter);
	cred->ntwins++;
	return rc < 0 ? PT_ENOMEM : 0;
}

/* All CAs are there. */
static int
look_for_twins(struct tls_cred *cred)
{
	struct twin *t = calloc(cred->ncas + 1, sizeof *t);
	unsigned most;
	size_t i;
	int rc = 0;

	if (t == NULL)
		return PT_ENOMEM;
	for (i = 0; i < cred->ncas; i++)
		t[i].ca = &cred->cas[i];
	most = rank_twins(t, cred->ncas);
	for (i = 0; most > 0 && i <= most && i < TLS_TWINS_MAX && rc == 0; i++)
		rc = add_twins(cred, t);
	free(t);
	return rc;
}

/* --- CAs of rules ------------------------------------------------------------------------------ */

static bool
is_among(gnutls_x509_crt_t ca, gnutls_x509_crt_t *crts, unsigned n)
{
	while (n > 0)
		if (gnutls_x509_crt_equals(crts[--n], ca) != 0)
			return true;
	return false;
}

/* Compares a rule's CAs with those of client-ca: *within when all of them are there, *all when, too,
 * nothing is there but them (by comparing each: the same one may stand in a file twice). */
static void
compare_cas(struct tls_cred *cred, gnutls_x509_crt_t *crts, unsigned n, bool *within, bool *all)
{
	gnutls_x509_trust_list_iter_t iter = NULL;
	gnutls_x509_trust_list_t list;
	gnutls_x509_crt_t crt;
	unsigned i, found = 0;
	bool *seen = calloc(n, sizeof *seen);

	*within = false;
	*all = seen != NULL;
	gnutls_certificate_get_trust_list(cred->x509, &list);
	while (seen != NULL && gnutls_x509_trust_list_iter_get_ca(list, &iter, &crt) == 0) {
		*all = *all && is_among(crt, crts, n);
		for (i = 0; i < n; i++)
			if (!seen[i] && gnutls_x509_crt_equals(crt, crts[i]) != 0) {
				seen[i] = true;
				found++;
			}
		gnutls_x509_crt_deinit(crt);
	}
	gnutls_x509_trust_list_iter_deinit(iter);
	*within = found == n;
	free(seen);
}

/* A rule's CA file: it only narrows, so where not all of it is trusted already the rule does not apply. */
static int
add_from(struct tls_cred *cred, const struct tls_ca_file *file, struct diag *diag)
{
	struct tls_from *from = &cred->froms[cred->nfroms];
	gnutls_x509_crt_t *crts;
	unsigned n;
	int rc;

	cred->nfroms++; /* rules go by their number, whether they apply or not */
	if ((rc = read_cas(file, &crts, &n, diag)) != 0)
		return rc;
	compare_cas(cred, crts, n, &from->within, &from->all);
	if (from->within && !from->all) {
		if (gnutls_x509_trust_list_init(&from->trust, n) != 0)
			rc = PT_ENOMEM;
		/* the list owns the certificates that it takes */
		else if (gnutls_x509_trust_list_add_cas(from->trust, crts, n, GNUTLS_TL_NO_DUPLICATES) < 0)
			rc = PT_ENOMEM;
		else
			n = 0;
	}
	free_cas(crts, n);
	return rc;
}

static int
set_priority(struct tls_cred *cred, const struct tls_cred_conf *conf, struct diag *diag)
{
	char ours[1024] = "NORMAL:-VERS-ALL:";
	const char *p = conf->priority, *at = NULL;
	int rc;

	if (p == NULL) {
		if (conf->protocols & TLS_PROTO_1_3)
			strlcat(ours, "+VERS-TLS1.3:", sizeof ours);
		if (conf->protocols & TLS_PROTO_1_2)
			strlcat(ours, "+VERS-TLS1.2:", sizeof ours);
		strlcat(ours, PRIORITY_COMMON, sizeof ours);
		p = ours;
	}
	if ((rc = gnutls_priority_init(&cred->priority, p, &at)) != 0)
		return diag_set(diag, PT_EINVAL, "the priority string is wrong at \"%s\": %s",
			at != NULL ? at : p, gnutls_strerror(rc));
	return 0;
}

int
tls_priority_check(const char *priority, struct diag *diag)
{
	struct tls_cred_conf conf = { .priority = priority };
	struct tls_cred cred = { 0 };
	int rc = set_priority(&cred, &conf, diag);

	if (rc == 0)
		gnutls_priority_deinit(cred.priority);
	return rc;
}

int
tls_cred_new(const struct tls_cred_conf *conf, struct tls_cred **cred_out, struct diag *diag)
{
	struct tls_cred *cred = calloc(1, sizeof *cred);
	bool failed = false;
	size_t i;
	int rc = PT_ENOMEM;

	*cred_out = NULL;
	if (cred == NULL)
		return PT_ENOMEM;
	cred->refs = 1;
	cred->generation = conf->generation;
	cred->client_cert = conf->client_cert;
	cred->sign = conf->sign;
	cred->sign_arg = conf->sign_arg;
	if ((cred->known = tls_vcache_new()) == NULL ||
	    gnutls_certificate_allocate_credentials(&cred->x509) != 0)
		goto out;
	if (!passes(conf, rc = set_priority(cred, conf, diag), diag, &failed))
		goto out;
	if ((rc = add_chains(cred, conf, diag, &failed)) != 0)
		goto out;
	if (conf->nocsps > 0 && (cred->ocsps = calloc(TLS_OCSPS_MAX, sizeof *cred->ocsps)) == NULL) {
		rc = PT_ENOMEM;
		goto out;
	}
	for (i = 0; i < conf->nocsps; i++)
		if (!passes(conf, rc = tls_ocsp_load(cred, &conf->ocsps[i], diag), diag, &failed))
			goto out;
	for (i = 0; i < conf->ncas; i++)
		if (!passes(conf, rc = add_ca(cred, &conf->cas[i], diag), diag, &failed))
			goto out;
	if ((rc = digest_cas(cred)) != 0 || (rc = digest_chains(cred, conf)) != 0 || (rc = look_for_twins(cred)) != 0)
		goto out;
	share_known(cred, conf->before);
	PT_ASSERT(conf->nfroms <= TLS_FROM_MAX);
	for (i = 0; i < conf->nfroms; i++)
		if (!passes(conf, rc = add_from(cred, &conf->froms[i], diag), diag, &failed))
			goto out;
	rc = failed ? PT_EINVAL : 0;
	if (rc != 0)
		goto out;
	cred->crls = conf->crls;
	cred->gone = conf->gone;
	cred->gone_arg = conf->gone_arg;
	*cred_out = cred;
	cred = NULL;
out:
	tls_cred_unref(&cred);
	return rc;
}

struct tls_cred *
tls_cred_ref(struct tls_cred *cred)
{
	PT_ASSERT(cred->refs > 0);
	cred->refs++;
	return cred;
}

void
tls_cred_unref(struct tls_cred **credp)
{
	struct tls_cred *cred = *credp;
	size_t i;

	if (cred == NULL)
		return;
	*credp = NULL;
	PT_ASSERT(cred->refs > 0);
	if (--cred->refs > 0)
		return;
	for (i = 0; i < cred->nfroms; i++)
		if (cred->froms[i].trust != NULL)
			gnutls_x509_trust_list_deinit(cred->froms[i].trust, 1);
	tls_crl_free(&cred->crls);
	tls_ocsp_fini(cred);
	free(cred->ocsps);
	while (cred->ntwins > 0)
		gnutls_certificate_free_credentials(cred->twins[--cred->ntwins]);
	if (cred->x509 != NULL)
		gnutls_certificate_free_credentials(cred->x509);
	if (cred->priority != NULL)
		gnutls_priority_deinit(cred->priority);
	tls_vcache_free(&cred->known);
	free(cred->cas);
	if (cred->gone != NULL)
		cred->gone(cred->gone_arg, cred->generation);
	free(cred);
}

bool
tls_cred_applies(const struct tls_cred *cred, size_t from)
{
	return from < cred->nfroms && cred->froms[from].within;
}

bool
tls_cred_warning(struct tls_cred *cred, uint64_t now, const char **code, char *text)
{
	*code = "crl";
	if (cred->crls != NULL && tls_crl_warning(cred->crls, now, text))
		return true;
	*code = "ocsp";
	return tls_ocsp_warning(cred, now, text);
}

uint64_t
tls_cred_ocsp_next_update(const struct tls_cred *cred)
{
	int64_t first = 0;
	size_t i;

	for (i = 0; i < cred->nocsps; i++)
		if (i == 0 || cred->ocsps[i].until_s < first)
			first = cred->ocsps[i].until_s;
	return first > 0 ? (uint64_t)first : 0;
}

uint64_t
tls_cred_generation(const struct tls_cred *cred)
{
	return cred->generation;
}

struct tls_crl_set *
tls_cred_crls(const struct tls_cred *cred)
{
	return cred->crls;
}
