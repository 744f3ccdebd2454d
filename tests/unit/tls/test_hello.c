/* unit/tls/test_hello.c - what a ClientHello offers: a whole one, each of its beginnings, and each of its octets
 * changed. */
#include "test.h"

#include "tls/tls_hello.h"

#include <stdlib.h>
#include <string.h>

struct out {
	uint8_t octets[2048];
	size_t n;
};

static void
put(struct out *o, size_t width, size_t number)
{
	while (width-- > 0)
		o->octets[o->n++] = (uint8_t)(number >> 8 * width);
}

static void
put_octets(struct out *o, const void *p, size_t n)
{
	memcpy(o->octets + o->n, p, n);
	o->n += n;
}

static void
put_extension(struct out *o, size_t type, const void *p, size_t n)
{
	put(o, 2, type);
	put(o, 2, n);
	put_octets(o, p, n);
}

/* All that is looked at, with GREASE (RFC 8701) and the two signals among the suites. */
static struct out
hello(void)
{
	static const uint8_t sni[] = { 0, 7, 0, 0, 4, 'h', 'o', 's', 't' }, alpn[] = { 0, 6, 2, 'h', '2', 2, 'x', 'y' },
		versions[] = { 6, 0x0a, 0x0a, 3, 4, 3, 3 }, groups[] = { 0, 6, 0x0a, 0x0a, 0, 29, 0, 25 },
		psk[] = { 0, 9, 0, 3, 't', 'i', 'c', 0, 0, 0, 0, 0, 2, 1, 0 };
	struct out o = { .n = 0 };
	size_t at;

	put(&o, 2, 0x0303);
	o.n += 32; /* random */
	put(&o, 1, 2);
	put(&o, 2, 0); /* session id */
	put(&o, 2, 10);
	put(&o, 2, 0x1a1a);
	put(&o, 2, 0x00ff);
	put(&o, 2, 0x5600);
	put(&o, 2, 0x1301);
	put(&o, 2, 0x002f);
	put(&o, 2, 0x0100); /* compression */
	at = o.n;
	put(&o, 2, 0);
	put_extension(&o, 0, sni, sizeof sni);
	put_extension(&o, 10, groups, sizeof groups);
	put_extension(&o, 16, alpn, sizeof alpn);
	put_extension(&o, 35, "", 0);
	put_extension(&o, 43, versions, sizeof versions);
	put_extension(&o, 0x7777, "?", 1);
	put_extension(&o, 41, psk, sizeof psk);
	o.octets[at] = (uint8_t)((o.n - at - 2) >> 8);
	o.octets[at + 1] = (uint8_t)(o.n - at - 2);
	return o;
}

static bool
is(struct span s, const char *text)
{
	return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static void
test_all(void)
{
	struct out o = hello();
	struct tls_hello h;

	CU_ASSERT_TRUE(tls_hello_read((struct span){ o.octets, o.n }, &h));
	CU_ASSERT_EQUAL(h.version_min, TLS_RANK_12);
	CU_ASSERT_EQUAL(h.version_max, TLS_RANK_13);
	CU_ASSERT_EQUAL(h.suites, 2);
	CU_ASSERT_EQUAL(h.suites_known, 1);
	CU_ASSERT_EQUAL(h.groups, 3);
	CU_ASSERT_EQUAL(h.groups_known, 1);
	CU_ASSERT_TRUE(is(h.sni, "host"));
	CU_ASSERT_TRUE(is(h.alpn, "h2"));
	CU_ASSERT_TRUE(h.has_ticket);
	CU_ASSERT_TRUE(is(h.ticket, "tic"));
}

/* One of TLS 1.1 and before, without extensions. */
static void
test_old(void)
{
	struct out o = { .n = 0 };
	struct tls_hello h;

	put(&o, 2, 0x0302);
	o.n += 32;
	put(&o, 1, 0);
	put(&o, 2, 2);
	put(&o, 2, 0x002f);
	put(&o, 2, 0x0100);
	CU_ASSERT_TRUE(tls_hello_read((struct span){ o.octets, o.n }, &h));
	CU_ASSERT_EQUAL(h.version_min, TLS_RANK_SSL30);
	CU_ASSERT_EQUAL(h.version_max, TLS_RANK_11);
	CU_ASSERT_EQUAL(h.suites, 1);
	CU_ASSERT_EQUAL(h.suites_known, 0);
	CU_ASSERT_FALSE(h.has_ticket);
	CU_ASSERT_EQUAL(h.sni.n, 0);
	o.octets[0] = 9; /* a version of nobody */
	CU_ASSERT_TRUE(tls_hello_read((struct span){ o.octets, o.n }, &h));
	CU_ASSERT_EQUAL(h.version_max, 0);
}

/* Exactly as long as it is: a read beyond it is seen by the sanitizers. */
static bool
read_exactly(const struct out *o, size_t n, struct tls_hello *h)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	bool ok;

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, o->octets, n);
	ok = tls_hello_read((struct span){ copy, n }, h);
	CU_ASSERT(h->sni.n == 0 || (h->sni.p >= copy && h->sni.p + h->sni.n <= copy + n));
	CU_ASSERT(h->ticket.n == 0 || (h->ticket.p >= copy && h->ticket.p + h->ticket.n <= copy + n));
	CU_ASSERT(h->alpn.n == 0 || (h->alpn.p >= copy && h->alpn.p + h->alpn.n <= copy + n));
	free(copy);
	return ok;
}

static void
test_pieces(void)
{
	const struct out whole = hello();
	struct tls_hello h;
	struct out o;
	size_t n, bit;
	unsigned good = 0;

	for (n = 0; n < whole.n; n++)
		good += read_exactly(&whole, n, &h);
	CU_ASSERT_EQUAL(good, 1); /* cut before the extensions it is whole */
	for (n = 0; n < whole.n; n++)
		for (bit = 0; bit < 8; bit++) {
			o = whole;
			o.octets[n] ^= (uint8_t)(1u << bit);
			(void)read_exactly(&o, o.n, &h);
		}
}

static void
test_new_ticket(void)
{
	static const uint8_t tls12[] = { 0, 0, 0, 9, 0, 3, 'a', 'b', 'c' },
		tls13[] = { 0, 0, 0, 9, 1, 2, 3, 4, 2, 7, 7, 0, 3, 'a', 'b', 'c', 0, 0 };
	size_t n;

	CU_ASSERT_TRUE(is(tls_hello_new_ticket((struct span){ tls12, sizeof tls12 }, 2), "abc"));
	CU_ASSERT_TRUE(is(tls_hello_new_ticket((struct span){ tls13, sizeof tls13 }, 3), "abc"));
	for (n = 0; n < sizeof tls12; n++)
		CU_ASSERT_EQUAL(tls_hello_new_ticket((struct span){ tls12, n }, 2).n, 0);
	for (n = 0; n < sizeof tls13 - 2; n++)
		CU_ASSERT_EQUAL(tls_hello_new_ticket((struct span){ tls13, n }, 3).n, 0);
}

static const struct test_row rows[] = {
	{ "all that is looked at", test_all },
	{ "an old one", test_old },
	{ "pieces", test_pieces },
	{ "a new ticket", test_new_ticket },
};
TEST_MAIN("tls/tls_hello", rows)
