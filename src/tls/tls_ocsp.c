/* tls/tls_ocsp.c - see tls_ocsp.h. GnuTLS sends them, and by itself none that is out of date. */
#include "tls/tls_ocsp.h"

#include <gnutls/ocsp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PEM_NAME "OCSP RESPONSE"
#define SINGLES_MAX 32 /* certificates that one response may speak of */
#define SOON_PERCENT 80 /* of its time: then a new one should be there */
#define NAME_SHOWN 200

enum { SAID_REVOKED = 1, SAID_SOON = 2, SAID_LATE = 4, SAID_EARLY = 8 };

/* A certificate of ours that a response speaks of. */
struct match {
	unsigned chain, at; /* in the credentials, and in that chain */
	unsigned single;    /* in the response */
};

static bool
import(gnutls_certificate_credentials_t x509, unsigned chain, unsigned at, gnutls_x509_crt_t *crt)
{
	gnutls_datum_t der;

	if (gnutls_certificate_get_crt_raw(x509, chain, at, &der) != 0 || gnutls_x509_crt_init(crt) != 0)
		return false;
	if (gnutls_x509_crt_import(*crt, &der, GNUTLS_X509_FMT_DER) == 0)
		return true;
	gnutls_x509_crt_deinit(*crt);
	return false;
}

/* Whether the response speaks of that certificate, and where in it. */
static bool
speaks_of(gnutls_ocsp_resp_t resp, gnutls_x509_crt_t crt, unsigned *single)
{
	for (*single = 0; *single < SINGLES_MAX; (*single)++)
		if (gnutls_ocsp_resp_check_crt(resp, *single, crt) == 0)
			return true;
	return false;
}

/* The next certificate of ours, from m on, that the response speaks of. */
static bool
find(const struct tls_cred *cred, gnutls_ocsp_resp_t resp, struct match *m)
{
	gnutls_x509_crt_t crt;
	bool found;

	for (; m->chain < cred->nchains; m->chain++, m->at = 0)
		for (; m->at < TLS_CHAIN_MAX && import(cred->x509, m->chain, m->at, &crt); m->at++) {
			found = speaks_of(resp, crt, &m->single);
			gnutls_x509_crt_deinit(crt);
			if (found)
				return true;
		}
	return false;
}

/* Where we have the issuer, the response must be by it, or by whom it lets speak (RFC 6960 §4.2.2.2). */
static bool
is_signed(const struct tls_cred *cred, gnutls_ocsp_resp_t resp, const struct match *m)
{
	gnutls_x509_crt_t issuer;
	unsigned status = 0;
	int rc;

	if (!import(cred->x509, m->chain, m->at + 1, &issuer))
		return true;
	rc = gnutls_ocsp_resp_verify_direct(resp, issuer, &status, 0);
	gnutls_x509_crt_deinit(issuer);
	/* its time is looked at when it is sent */
	return rc == 0 && (status & ~(unsigned)(GNUTLS_OCSP_VERIFY_CERT_NOT_ACTIVATED |
					GNUTLS_OCSP_VERIFY_CERT_EXPIRED)) == 0;
}

static char *
name_of(const struct tls_cred *cred, const struct match *m)
{
	char text[NAME_SHOWN] = "(no name)";
	gnutls_x509_crt_t crt;
	gnutls_datum_t dn;

	if (import(cred->x509, m->chain, m->at, &crt)) {
		if (gnutls_x509_crt_get_dn3(crt, &dn, 0) == 0) {
			if (dn.size > 0)
				span_print((struct span){ dn.data, dn.size }, text, sizeof text);
			gnutls_free(dn.data);
		}
		gnutls_x509_crt_deinit(crt);
	}
	return strdup(text);
}

/* What is to be known of it later. */
static int
note(struct tls_cred *cred, gnutls_ocsp_resp_t resp, const struct match *m, const char *path)
{
	struct tls_ocsp *o = &cred->ocsps[cred->nocsps];
	time_t from = 0, until = (time_t)-1;
	unsigned status = GNUTLS_OCSP_CERT_GOOD;

	*o = (struct tls_ocsp){ .path = strdup(path), .name = name_of(cred, m) };
	cred->nocsps++;
	if (o->path == NULL || o->name == NULL)
		return PT_ENOMEM;
	(void)gnutls_ocsp_resp_get_single(resp, m->single, NULL, NULL, NULL, NULL, &status, &from, &until, NULL,
		NULL);
	o->from_s = from;
	o->until_s = until != (time_t)-1 ? until : from + TLS_OCSP_DEFAULT_S;
	o->revoked = status == GNUTLS_OCSP_CERT_REVOKED;
	return 0;
}

static int
wrong(const char *path, const char *what, struct diag *diag)
{
	return diag_set(diag, PT_EINVAL, "%s: %s", path, what);
}

static int
add(struct tls_cred *cred, gnutls_ocsp_resp_t resp, const gnutls_datum_t *der, const char *path, struct diag *diag)
{
	struct match m = { 0, 0, 0 };
	size_t before = cred->nocsps;
	unsigned done = 0; /* chains that have it */
	int rc;

	for (; find(cred, resp, &m); m.at++) {
		if (!is_signed(cred, resp, &m))
			return wrong(path, "the OCSP response is not signed by the issuer of its certificate", diag);
		if (cred->nocsps == TLS_OCSPS_MAX)
			return diag_set(diag, PT_EFULL, "%s: more than %d OCSP responses", path, TLS_OCSPS_MAX);
		if ((rc = note(cred, resp, &m, path)) != 0)
			return rc;
		if (m.chain < done)
			continue;
		done = m.chain + 1;
		rc = gnutls_certificate_set_ocsp_status_request_mem(cred->x509, der, m.chain, GNUTLS_X509_FMT_DER);
		/* GnuTLS does not take one that is out of date; a server must start with it all the same */
		if (rc < 0 && rc != GNUTLS_E_EXPIRED)
			return wrong(path, gnutls_strerror(rc), diag);
	}
	return cred->nocsps > before ? 0 : wrong(path, "the OCSP response is for none of the certificates here", diag);
}

static int
load_der(struct tls_cred *cred, const gnutls_datum_t *der, const char *path, struct diag *diag)
{
	gnutls_ocsp_resp_t resp;
	int rc;

	if (gnutls_ocsp_resp_init(&resp) != 0)
		return PT_ENOMEM;
	if ((rc = gnutls_ocsp_resp_import2(resp, der, GNUTLS_X509_FMT_DER)) != 0)
		rc = diag_set(diag, PT_EINVAL, "%s: it is no OCSP response, neither DER nor PEM: %s", path,
			gnutls_strerror(rc));
	else if (gnutls_ocsp_resp_get_status(resp) != GNUTLS_OCSP_RESP_SUCCESSFUL)
		rc = wrong(path, "the OCSP response is an error of the responder; get another one", diag);
	else
		rc = add(cred, resp, der, path, diag);
	gnutls_ocsp_resp_deinit(resp);
	return rc;
}

/* The rest behind the first block of that name; empty when there is none. */
static gnutls_datum_t
next_block(gnutls_datum_t pem)
{
	static const char end[] = "-----END " PEM_NAME "-----";
	unsigned char *at = memmem(pem.data, pem.size, end, sizeof end - 1);

	if (at == NULL)
		return (gnutls_datum_t){ NULL, 0 };
	at += sizeof end - 1;
	return (gnutls_datum_t){ at, pem.size - (unsigned)(at - pem.data) };
}

int
tls_ocsp_load(struct tls_cred *cred, const struct tls_ca_file *file, struct diag *diag)
{
	gnutls_datum_t rest = { (unsigned char *)(uintptr_t)file->pem.p, (unsigned)file->pem.n }, der;
	static const char begin[] = "-----BEGIN " PEM_NAME "-----";
	int rc = 0;

	if (file->pem.n > TLS_OCSP_FILE_MAX)
		return diag_set(diag, PT_EINVAL, "%s: larger than %d octets", file->path, TLS_OCSP_FILE_MAX);
	if (rest.size == 0 || memmem(rest.data, rest.size, begin, sizeof begin - 1) == NULL)
		return load_der(cred, &rest, file->path, diag);
	while (rc == 0 && rest.size > 0 && memmem(rest.data, rest.size, begin, sizeof begin - 1) != NULL) {
		if (gnutls_pem_base64_decode2(PEM_NAME, &rest, &der) != 0)
			return wrong(file->path, "its PEM is broken", diag);
		rc = load_der(cred, &der, file->path, diag);
		gnutls_free(der.data);
		rest = next_block(rest);
	}
	return rc;
}

void
tls_ocsp_fini(struct tls_cred *cred)
{
	while (cred->nocsps > 0) {
		free(cred->ocsps[--cred->nocsps].path);
		free(cred->ocsps[cred->nocsps].name);
	}
}

static const char *
when(int64_t s, char out[32])
{
	time_t t = (time_t)s;
	struct tm tm;

	strlcpy(out, "?", 32);
	if (gmtime_r(&t, &tm) != NULL)
		strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

/* Says what has not been said of one response. */
static bool
warning_of(struct tls_ocsp *o, int64_t now, char *text)
{
	int64_t soon = o->from_s + (o->until_s - o->from_s) / 100 * SOON_PERCENT;
	unsigned what = 0;
	char at[32];

	if (o->revoked && (o->said & SAID_REVOKED) == 0)
		what = SAID_REVOKED;
	else if (now >= o->until_s && (o->said & SAID_LATE) == 0)
		what = SAID_LATE;
	else if (now >= soon && now < o->until_s && (o->said & SAID_SOON) == 0)
		what = SAID_SOON;
	else if (now + TLS_CRL_SKEW_S < o->from_s && (o->said & SAID_EARLY) == 0)
		what = SAID_EARLY;
	o->said |= what;
	if (what == SAID_REVOKED)
		snprintf(text, TLS_CRL_WARNING_MAX, "%s: the OCSP response says that the certificate %s is revoked: "
			"clients will not trust the server", o->path, o->name);
	if (what == SAID_LATE)
		snprintf(text, TLS_CRL_WARNING_MAX, "%s: the OCSP response for %s is out of date since %s and is not "
			"sent any more: get a new one", o->path, o->name, when(o->until_s, at));
	if (what == SAID_SOON)
		snprintf(text, TLS_CRL_WARNING_MAX, "%s: the OCSP response for %s will be out of date at %s: get a new "
			"one", o->path, o->name, when(o->until_s, at));
	if (what == SAID_EARLY)
		snprintf(text, TLS_CRL_WARNING_MAX, "%s: the OCSP response for %s is from the future, %s: clients may "
			"not take it", o->path, o->name, when(o->from_s, at));
	return what != 0;
}

bool
tls_ocsp_warning(struct tls_cred *cred, uint64_t now, char *text)
{
	size_t i;

	for (i = 0; i < cred->nocsps; i++)
		if (warning_of(&cred->ocsps[i], (int64_t)now, text))
			return true;
	return false;
}
