/* unit/rec/test_rec.c - steps beyond their number, texts at their limits, what octets look like, and that a record with
 * anything out of its bounds is none. */
#include "test.h"

#include "rec/rec.h"
#include "rec/why.h"
#include "tls/tls_fault.h"
#include "tls/tls_hello.h"
#include "tls/tls_verdict.h"

#include <string.h>

static void
test_steps(void)
{
	struct rec r = { 0 };
	unsigned i, n;

	for (n = 1; n <= REC_STEPS + 40; n++) {
		rec_step_add(&r, REC_STEP_HANDSHAKE, (uint8_t)n, REC_WAY_IN, n, n * 1000ull);
		CU_ASSERT_EQUAL(r.nsteps, n < REC_STEPS ? n : REC_STEPS);
		CU_ASSERT_EQUAL(r.skipped, n < REC_STEPS ? 0 : n - REC_STEPS);
		CU_ASSERT_EQUAL(r.end_us, n * 1000ull);
	}
	n--;
	for (i = 0; i < REC_STEPS / 2; i++) /* the first half is kept, then the last */
		CU_ASSERT_EQUAL(r.steps[i].number, i + 1);
	for (i = REC_STEPS / 2; i < REC_STEPS; i++)
		CU_ASSERT_EQUAL(r.steps[i].number, n - (REC_STEPS - 1 - i));
	r.skipped = UINT16_MAX; /* it stays there */
	rec_step_add(&r, REC_STEP_CLOSED, 0, REC_WAY_NONE, 0, 1);
	CU_ASSERT_EQUAL(r.skipped, UINT16_MAX);
	/* 48 bits of time, 24 of size */
	memset(&r, 0, sizeof r);
	rec_step_add(&r, REC_STEP_CLOSED, 0, REC_WAY_OUT, 0xffffff, (1ull << 48) - 1);
	CU_ASSERT_EQUAL(rec_step_us(&r.steps[0]), (1ull << 48) - 1);
	CU_ASSERT_EQUAL(r.steps[0].size, 0xffffff);
	CU_ASSERT_EQUAL(r.steps[0].way, REC_WAY_OUT);
}

static void
test_texts(void)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ NULL, "" },
		{ "", "" },
		{ "abcdefg", "abcdefg" },
		{ "abcdefgh", "abcdefg" },           /* seven fit into eight octets */
		{ "abcdef\xc3\xa9", "abcdef" },      /* not within a character */
		{ "abcde\xc3\xa9", "abcde\xc3\xa9" },
		{ "a\nb\x7f\x1b", "a?b??" },
		{ "a\xff\xfe", "a??" },
		{ "\xc2\x85", "??" },                /* C1 */
	};
	char out[8];
	size_t i;

	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		rec_text_set(out, sizeof out, cases[i].in);
		CU_ASSERT_STRING_EQUAL(out, cases[i].out);
	}
}

static void
test_octets(void)
{
	static const struct {
		const char *octets;
		size_t n;
		enum rec_octets kind;
	} cases[] = {
		{ "", 0, REC_OCTETS_NONE },
		{ "\x16", 1, REC_OCTETS_TLS },
		{ "\x16\x03\x01", 3, REC_OCTETS_TLS },
		{ "\x16\x04", 2, REC_OCTETS_OTHER },
		{ "\x15\x03\x03", 3, REC_OCTETS_TLS },
		{ "\x80\x2e\x01", 3, REC_OCTETS_TLS }, /* the old form of a ClientHello */
		{ "GET / HTTP/1.1\r\n", 16, REC_OCTETS_HTTP },
		{ "GET", 3, REC_OCTETS_TEXT },
		{ "PRI * HTTP/2.0\r\n", 16, REC_OCTETS_HTTP },
		{ "SSH-2.0-x\r\n", 11, REC_OCTETS_SSH },
		{ "EHLO x\r\n", 8, REC_OCTETS_TEXT },
		{ "\0\0\0", 3, REC_OCTETS_OTHER },
		{ "caf\xc3\xa9", 5, REC_OCTETS_OTHER },
	};
	size_t i;

	for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
		CU_ASSERT_EQUAL(rec_octets_kind((const uint8_t *)cases[i].octets, cases[i].n), cases[i].kind);
}

static struct rec
good(void)
{
	struct rec r = { .id = REC_ID(3, 7), .flags = REC_F_ALL };

	return r;
}

/* Each field at its last value that is allowed, and at the next. */
static void
test_check(void)
{
	struct rec r = good();

	CU_ASSERT_TRUE(rec_check(&r));
#define BOUND(field, count)                                                                        \
	do {                                                                                       \
		r = good();                                                                        \
		r.field = (count) - 1;                                                             \
		CU_ASSERT_TRUE(rec_check(&r));                                                     \
		r.field = (count);                                                                 \
		CU_ASSERT_FALSE(rec_check(&r));                                                    \
	} while (0)
	BOUND(code, WHY_COUNT);
	BOUND(phase, REC_PHASE_COUNT);
	BOUND(cause, REC_CAUSE_COUNT);
	BOUND(fault, TLS_FAULT_COUNT);
	BOUND(reason, TLS_REASON_COUNT);
	BOUND(verdict, TLS_VERDICT_COUNT);
	BOUND(mode, REC_MODE_COUNT);
	BOUND(client_cert, REC_CC_COUNT);
	BOUND(plain_first, REC_OCTETS_COUNT);
	BOUND(tls_first, REC_OCTETS_COUNT);
	BOUND(ticket, REC_TICKET_COUNT);
	BOUND(version, TLS_RANK_COUNT);
	BOUND(offered_min, TLS_RANK_COUNT);
	BOUND(offered_max, TLS_RANK_COUNT);
	BOUND(nserial, REC_SERIAL_MAX + 1);
	BOUND(nsteps, REC_STEPS + 1);
	BOUND(peer.family, REC_FAMILY_COUNT);
	BOUND(local.family, REC_FAMILY_COUNT);
#undef BOUND
	r = good();
	r.id = 0;
	CU_ASSERT_FALSE(rec_check(&r));
	r = good();
	r.flags |= REC_F_ALL + 1;
	CU_ASSERT_FALSE(rec_check(&r));
	r = good();
	r.nsteps = 1;
	r.steps[0].kind = REC_STEP_KIND_COUNT;
	CU_ASSERT_FALSE(rec_check(&r));
	r.steps[0].kind = 0;
	r.steps[0].way = REC_WAY_COUNT;
	CU_ASSERT_FALSE(rec_check(&r));
	r.nsteps = 0; /* what stands behind the last step means nothing */
	CU_ASSERT_TRUE(rec_check(&r));
	/* texts without an end, or that are none, are mended */
	memset(r.subject, 'x', sizeof r.subject);
	memset(r.user, 0x1b, sizeof r.user);
	CU_ASSERT_TRUE(rec_check(&r));
	CU_ASSERT_EQUAL(strlen(r.subject), sizeof r.subject - 1);
	CU_ASSERT_EQUAL(strspn(r.user, "?"), sizeof r.user - 1);
}

static void
test_ids(void)
{
	static const char *const bad[] = { "", "-", "1", "1-", "-1", "1-0", "65536-1", "1-281474976710656", "1-1x",
		"a-1", "1--1", " 1-1" };
	char text[REC_ID_TEXT_MAX];
	uint64_t id;
	size_t i;

	CU_ASSERT_STRING_EQUAL(rec_id_text(REC_ID(65535, (1ull << 48) - 1), text), "65535-281474976710655");
	CU_ASSERT_TRUE(rec_id_parse(text, &id));
	CU_ASSERT_EQUAL(id, UINT64_MAX);
	CU_ASSERT_TRUE(rec_id_parse("3-1042", &id));
	CU_ASSERT_EQUAL(id, REC_ID(3, 1042));
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CU_ASSERT_FALSE(rec_id_parse(bad[i], &id));
}

static void
test_addresses(void)
{
	struct rec_addr a = { .family = REC_IPV4, .octets = { 192, 0, 2, 1 }, .port = 25 };
	char text[REC_ADDR_TEXT_MAX];

	CU_ASSERT_STRING_EQUAL(rec_host_text(&a, text), "192.0.2.1");
	CU_ASSERT_STRING_EQUAL(rec_addr_text(&a, text), "192.0.2.1:25");
	a.family = REC_IPV6;
	memset(a.octets, 0xff, sizeof a.octets);
	a.port = 65535;
	CU_ASSERT_STRING_EQUAL(rec_addr_text(&a, text), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	a.family = REC_UNIX;
	CU_ASSERT_STRING_EQUAL(rec_addr_text(&a, text), "unix:");
}

static const struct test_row rows[] = {
	{ "steps", test_steps },
	{ "texts", test_texts },
	{ "what octets look like", test_octets },
	{ "what is no record", test_check },
	{ "ids", test_ids },
	{ "addresses", test_addresses },
};
TEST_MAIN("rec/rec", rows)
