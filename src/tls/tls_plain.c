/* tls/tls_plain.c - see tls_plain.h. */
#include "tls/tls_plain.h"

#include "tls/tls_der.h"
#include "util/utf8.h"

#include <gnutls/x509.h>
#include <string.h>

#define SET 0x31
#define UTF8_STRING 0x0c
#define PRINTABLE_STRING 0x13
#define IA5_STRING 0x16
#define CONTEXT(n) (0x80 | (n))
#define PARTS_MAX 16

/* The attributes that names of people and hosts are made of, as GnuTLS calls them (RFC 4514 §3). */
static const struct attribute {
	struct span oid;
	const char *name;
	uint8_t tags[2]; /* of the strings that it is written in; twice the same where there is one */
} attributes[] = {
#define OID(s) { (const uint8_t *)(s), sizeof(s) - 1 }
#define DIRECTORY { UTF8_STRING, PRINTABLE_STRING }
	{ OID("\x55\x04\x03"), "CN", DIRECTORY },
	{ OID("\x55\x04\x05"), "serialNumber", { PRINTABLE_STRING, PRINTABLE_STRING } },
	{ OID("\x55\x04\x06"), "C", { PRINTABLE_STRING, PRINTABLE_STRING } },
	{ OID("\x55\x04\x07"), "L", DIRECTORY },
	{ OID("\x55\x04\x08"), "ST", DIRECTORY },
	{ OID("\x55\x04\x0a"), "O", DIRECTORY },
	{ OID("\x55\x04\x0b"), "OU", DIRECTORY },
	{ OID("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"), "EMAIL", { IA5_STRING, IA5_STRING } },
	{ OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01"), "UID", DIRECTORY },
	{ OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19"), "DC", { IA5_STRING, IA5_STRING } },
#undef DIRECTORY
#undef OID
};

static bool
is_ascii(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return s.n > 0;
}

/* It stands in a name as it is (RFC 4514 §2.4). */
static bool
is_unescaped(uint8_t tag, struct span s)
{
	size_t i;

	if (s.n == 0 || s.p[0] == '#' || s.p[0] == ' ' || s.p[s.n - 1] == ' ')
		return false;
	for (i = 0; i < s.n; i++)
		if (memchr(",+\"\\<>;", s.p[i], 7) != NULL)
			return false;
	return tag == UTF8_STRING ? utf8_printable(s) : is_ascii(s);
}

static const struct attribute *
find_attribute(struct span oid)
{
	size_t i;

	for (i = 0; i < PT_COUNT(attributes); i++)
		if (span_equal(attributes[i].oid, oid))
			return &attributes[i];
	return NULL;
}

struct text {
	char *out;
	size_t n, max;
};

static bool
put(struct text *t, const void *p, size_t n)
{
	if (n > t->max - t->n)
		return false;
	memcpy(t->out + t->n, p, n);
	t->n += n;
	return true;
}

/* RelativeDistinguishedName (RFC 5280 §4.1.2.4), content. */
static bool
put_part(struct text *t, struct span part)
{
	const struct attribute *a;
	struct der pair, oid, value;

	if (!der_take(&part, DER_SEQUENCE, &pair) || part.n > 0 ||
	    !der_take(&pair.content, DER_OID, &oid) || !der_next(&pair.content, &value) || pair.content.n > 0)
		return false;
	return (a = find_attribute(oid.content)) != NULL &&
		(value.tag == a->tags[0] || value.tag == a->tags[1]) && is_unescaped(value.tag, value.content) &&
		put(t, a->name, strlen(a->name)) && put(t, "=", 1) && put(t, value.content.p, value.content.n);
}

bool
plain_dn(struct span name, char *out, size_t max, size_t *n_out)
{
	struct text t = { out, 0, max };
	struct span parts[PARTS_MAX];
	struct der list, part;
	size_t n = 0;

	if (!der_take(&name, DER_SEQUENCE, &list) || name.n > 0)
		return false;
	for (; list.content.n > 0; parts[n++] = part.content)
		if (n == PARTS_MAX || !der_take(&list.content, SET, &part))
			return false;
	if (n == 0)
		return false;
	while (n-- > 0) /* the last comes first */
		if (!put_part(&t, parts[n]) || (n > 0 && !put(&t, ",", 1)))
			return false;
	*n_out = t.n;
	return true;
}

/* GeneralName (RFC 5280 §4.2.1.6). */
static bool
read_san(const struct der *e, struct plain_san *out)
{
	switch (e->tag) {
	case CONTEXT(1):
		out->type = GNUTLS_SAN_RFC822NAME;
		break;
	case CONTEXT(2):
		out->type = GNUTLS_SAN_DNSNAME;
		break;
	case CONTEXT(6):
		out->type = GNUTLS_SAN_URI;
		break;
	case CONTEXT(7):
		out->type = GNUTLS_SAN_IPADDRESS;
		out->name = e->content;
		return e->content.n == 4 || e->content.n == 16;
	default:
		return false;
	}
	out->name = e->content;
	return is_ascii(e->content);
}

bool
plain_sans(struct span value, struct plain_san *out, size_t max, size_t *n_out)
{
	struct der list, e;
	size_t n = 0;

	if (!der_take(&value, DER_SEQUENCE, &list) || value.n > 0)
		return false;
	while (list.content.n > 0) {
		if (n == max || !der_next(&list.content, &e) || !read_san(&e, &out[n]))
			return false;
		n++;
	}
	*n_out = n;
	return n > 0;
}
