/* tls/tls_der.c - see tls_der.h. Definite lengths and tags of one octet: all that DER and X.509 have. */
#include "tls/tls_der.h"

#define TAG_LONG 0x1f       /* tag numbers above 30: none in what is read here */
#define LENGTH_OCTETS_MAX 4 /* more than any file that we take */
#define CONTEXT(n) (0xa0 | (n))
#define BOOLEAN 0x01
#define ISSUER_ID 0x81  /* unique identifiers of issuer and subject: nobody has them, but they may be there */
#define SUBJECT_ID 0x82

/* certificateIssuer, 2.5.29.29 */
static const uint8_t oid_certificate_issuer[] = { 0x55, 0x1d, 0x1d };

bool
der_next(struct span *in, struct der *out)
{
	size_t n, k, at = 2;

	if (in->n < 2 || (in->p[0] & TAG_LONG) == TAG_LONG)
		return false;
	n = in->p[1];
	if (n >= 0x80) {
		k = n & 0x7f;
		if (k == 0 || k > LENGTH_OCTETS_MAX || in->n - at < k)
			return false;
		for (n = 0; k > 0; k--)
			n = n << 8 | in->p[at++];
		if (n < 0x80)
			return false; /* DER has one way to write a length */
	}
	if (n > in->n - at)
		return false;
	*out = (struct der){ in->p[0], { in->p + at, n }, { in->p, at + n } };
	in->p += at + n;
	in->n -= at + n;
	return true;
}

bool
der_take(struct span *in, uint8_t tag, struct der *out)
{
	return in->n > 0 && in->p[0] == tag && der_next(in, out);
}

size_t
der_header(uint8_t tag, size_t n, uint8_t out[DER_HEADER_MAX])
{
	size_t k = 0, at = 0, left;

	out[at++] = tag;
	if (n < 0x80) {
		out[at++] = (uint8_t)n;
		return at;
	}
	for (left = n; left > 0; left >>= 8)
		k++;
	PT_ASSERT(k <= LENGTH_OCTETS_MAX);
	out[at++] = (uint8_t)(0x80 | k);
	while (k-- > 0)
		out[at++] = (uint8_t)(n >> 8 * k);
	return at;
}

struct span
der_serial(struct span s)
{
	while (s.n > 1 && s.p[0] == 0) {
		s.p++;
		s.n--;
	}
	return s;
}

bool
der_crt_read(struct span in, struct der_crt *out)
{
	struct der crt, tbs, e;

	if (!der_take(&in, DER_SEQUENCE, &crt) || !der_take(&crt.content, DER_SEQUENCE, &tbs))
		return false;
	in = tbs.content;
	(void)der_take(&in, CONTEXT(0), &e); /* version */
	if (!der_take(&in, DER_INTEGER, &e) || e.content.n == 0)
		return false;
	out->serial = der_serial(e.content);
	if (!der_take(&in, DER_SEQUENCE, &e)) /* algorithm */
		return false;
	if (!der_take(&in, DER_SEQUENCE, &e))
		return false;
	out->issuer = e.whole;
	if (!der_take(&in, DER_SEQUENCE, &e))
		return false;
	out->validity = e.content;
	if (!der_take(&in, DER_SEQUENCE, &e))
		return false;
	out->subject = e.whole;
	out->rest = in;
	return true;
}

bool
der_crt_extension(const struct der_crt *crt, struct span oid, struct span *value)
{
	struct der list, extension, e;
	struct span in = crt->rest;

	if (!der_take(&in, DER_SEQUENCE, &e)) /* public key */
		return false;
	(void)der_take(&in, ISSUER_ID, &e);
	(void)der_take(&in, SUBJECT_ID, &e);
	if (!der_take(&in, CONTEXT(3), &e) || !der_take(&e.content, DER_SEQUENCE, &list))
		return false;
	while (der_take(&list.content, DER_SEQUENCE, &extension)) {
		in = extension.content;
		if (!der_take(&in, DER_OID, &e))
			return false;
		if (!span_equal(e.content, oid))
			continue;
		(void)der_take(&in, BOOLEAN, &e);
		if (!der_take(&in, DER_OCTET_STRING, &e))
			return false;
		*value = e.content;
		return true;
	}
	return false;
}

/* The next two digits as a number; -1: there are none. */
static int
two_digits(struct span *in)
{
	int v;

	if (in->n < 2 || in->p[0] < '0' || in->p[0] > '9' || in->p[1] < '0' || in->p[1] > '9')
		return -1;
	v = (in->p[0] - '0') * 10 + in->p[1] - '0';
	in->p += 2;
	in->n -= 2;
	return v;
}

/* Days since 1970 of a date of the Gregorian calendar. The year begins in March, so that the day which some
 * have and others have not is its last. */
static int64_t
days_of(int64_t year, int month, int day)
{
	year -= month <= 2;
	return year * 365 + year / 4 - year / 100 + year / 400 +
		(153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1 - 719468;
}

bool
der_time(struct span *in, int64_t *seconds)
{
	static const struct {
		int least, most;
	} limits[] = { { 1, 12 }, { 1, 31 }, { 0, 23 }, { 0, 59 }, { 0, 59 } };
	struct span left = *in, digits;
	int part[PT_COUNT(limits)], century = 0, year;
	struct der e;
	size_t i;

	if (!der_take(&left, DER_UTC_TIME, &e) && !der_take(&left, DER_GENERALIZED_TIME, &e))
		return false;
	digits = e.content;
	if (e.tag == DER_GENERALIZED_TIME && (century = two_digits(&digits)) < 0)
		return false;
	if ((year = two_digits(&digits)) < 0)
		return false;
	if (e.tag == DER_UTC_TIME)
		century = year < 50 ? 20 : 19;
	for (i = 0; i < PT_COUNT(limits); i++) {
		part[i] = two_digits(&digits);
		if (part[i] < limits[i].least || part[i] > limits[i].most)
			return false;
	}
	if (digits.n != 1 || digits.p[0] != 'Z')
		return false;
	*seconds = days_of(century * 100 + year, part[0], part[1]) * 86400 + part[2] * 3600 +
		part[3] * 60 + part[4];
	*in = left;
	return true;
}

static bool
take_time(struct span *in)
{
	struct der e;

	return der_take(in, DER_UTC_TIME, &e) || der_take(in, DER_GENERALIZED_TIME, &e);
}

bool
der_crl_read(struct span in, struct der_crl *out)
{
	struct der crl, tbs, inner, outer, sig, e;
	struct span rest;

	if (!der_take(&in, DER_SEQUENCE, &crl) || in.n > 0 ||
	    !der_take(&crl.content, DER_SEQUENCE, &tbs))
		return false;
	out->tbs = tbs.whole;
	out->rest = rest = crl.content;
	/* the algorithm stands inside and outside what is signed, and must be the same */
	if (!der_take(&rest, DER_SEQUENCE, &outer) || !der_take(&rest, DER_BIT_STRING, &sig) ||
	    rest.n > 0 || sig.content.n < 2 || sig.content.p[0] != 0)
		return false;
	out->signature = (struct span){ sig.content.p + 1, sig.content.n - 1 };
	in = tbs.content;
	(void)der_take(&in, DER_INTEGER, &e); /* version */
	if (!der_take(&in, DER_SEQUENCE, &inner) || !span_equal(inner.whole, outer.whole) ||
	    !der_take(&in, DER_SEQUENCE, &e) || !take_time(&in))
		return false;
	(void)take_time(&in); /* nextUpdate */
	out->head = (struct span){ tbs.content.p, (size_t)(in.p - tbs.content.p) };
	out->entries = (struct span){ in.p, 0 };
	if (der_take(&in, DER_SEQUENCE, &e))
		out->entries = e.content;
	out->tail = in;
	if (der_take(&in, CONTEXT(0), &e) && in.n > 0)
		return false;
	return in.n == 0;
}

static bool
extension_is_fine(struct span in)
{
	struct der oid, e;

	if (!der_take(&in, DER_OID, &oid))
		return false;
	if (der_take(&in, BOOLEAN, &e) && (e.content.n != 1 || e.content.p[0] != 0))
		return false; /* critical; we know none that is */
	return !span_equal(oid.content, (struct span){ oid_certificate_issuer,
					       sizeof oid_certificate_issuer });
}

enum der_entry
der_crl_entry(struct span *entries, struct span *serial, struct span *date)
{
	struct der entry, e, list;
	struct span in;

	if (entries->n == 0)
		return DER_ENTRY_END;
	if (!der_take(entries, DER_SEQUENCE, &entry))
		return DER_ENTRY_BAD;
	in = entry.content;
	if (!der_take(&in, DER_INTEGER, &e) || e.content.n == 0)
		return DER_ENTRY_BAD;
	*date = in;
	if (!take_time(&in))
		return DER_ENTRY_BAD;
	*serial = der_serial(e.content);
	if (in.n == 0)
		return DER_ENTRY_OK;
	if (!der_take(&in, DER_SEQUENCE, &list) || in.n > 0)
		return DER_ENTRY_BAD;
	while (list.content.n > 0)
		if (!der_take(&list.content, DER_SEQUENCE, &e) || !extension_is_fine(e.content))
			return DER_ENTRY_BAD;
	return DER_ENTRY_OK;
}
