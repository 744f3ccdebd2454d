/* unit/proto/test_line_reply.c - replies: their form, and that the longest of each fits. */
#include "test.h"

#include "proto/line/line_cmd.h"
#include "proto/line/line_reply.h"

#include <stdlib.h>
#include <string.h>

/* "OK (CODE) "text"CRLF" and nothing else: what clients rely on, gnutls-cli on the space too. */
static void
test_form(void)
{
	static const char *const words[] = { "OK ", "NO ", "BAD ", "BYE " };
	const char *s, *p;
	size_t i, n;
	unsigned t;

	for (t = 0; t < LINE_TX_COUNT; t++) {
		s = line_reply_line((enum line_text)t);
		for (i = 0; i < PT_COUNT(words); i++)
			if (strncmp(s, words[i], strlen(words[i])) == 0)
				break;
		CU_ASSERT_FATAL(i < PT_COUNT(words));
		CU_ASSERT_EQUAL(line_reply_is_bad((enum line_text)t), i == 2);
		p = s + strlen(words[i]);
		if (*p == '(')
			p += strcspn(p, ")") + 2;
		n = strlen(p);
		CU_ASSERT_FATAL(n > 6); /* a text, in quotes, a sentence */
		CU_ASSERT(p[0] == '"' && strcmp(p + n - 4, ".\"\r\n") == 0);
		CU_ASSERT(strlen(s) <= 256);
		for (i = 1; i < n - 3; i++) {
			CU_ASSERT(p[i] >= ' ' && p[i] < 0x7f);
			if (p[i] == '"' && i < n - 4)
				CU_ASSERT_EQUAL(p[i - 1], '\\');
		}
	}
}

/* A refusal says what to do next: more than one sentence or a remedy. */
static void
test_remedies(void)
{
	unsigned t;
	const char *s;

	for (t = 0; t < LINE_TX_COUNT; t++) {
		s = line_reply_line((enum line_text)t);
		if (strncmp(s, "OK", 2) != 0)
			CU_ASSERT(strstr(s, ". ") != NULL || strstr(s, "; ") != NULL);
	}
}

static void
test_data(void)
{
	struct buf out;
	struct span bad = { (const uint8_t *)"a\r\nOK \0\x7f\"\\", 10 };
	static const char want[] = "\"N\" \"a??OK ??\\\"\\\\\"\r\n";

	buf_init(&out, 64);
	CU_ASSERT_EQUAL(line_reply_data(&out, "N", bad, 100), 0);
	CU_ASSERT(span_equal(buf_span(&out), span_str(want)));
	buf_consume(&out, buf_size(&out));
	CU_ASSERT_EQUAL(line_reply_data(&out, NULL, span_str("123456"), 6), 0);
	CU_ASSERT_EQUAL(line_reply_data(&out, NULL, span_str("1234567"), 6), 0);
	CU_ASSERT(span_equal(buf_span(&out), span_str("\"123456\"\r\n\"123...\"\r\n")));
	buf_fini(&out);
}

/* Whatever the room, a reply that does not fit says so. */
static void
test_no_room(void)
{
	static const char *const sans[] = { "email:a@example.org", "dns:b" };
	struct engine_conf conf = { .hostname = "h\"", .service = "s" };
	struct engine_peer peer = { .tls = true, .tls_version = "TLS1.3", .tls_cipher = "c",
				    .tls_group = "g", .verdict = "none", .subject = "CN=\"x\"",
				    .sans = sans, .nsans = 2, .identity = "a@example.org" };
	size_t max, whole[3];
	struct buf out;

	buf_init(&out, 4096);
	CU_ASSERT_EQUAL_FATAL(line_reply_whoami(&out, &peer), 0);
	whole[0] = buf_size(&out);
	CU_ASSERT_EQUAL_FATAL(line_reply_capabilities(&out, &conf, true), 0);
	whole[1] = buf_size(&out) - whole[0];
	CU_ASSERT_EQUAL_FATAL(line_reply_tag(&out, span_str("t\"")), 0);
	whole[2] = buf_size(&out) - whole[0] - whole[1];
	buf_fini(&out);
	for (max = 0; max < whole[0]; max++) {
		buf_init(&out, max);
		CU_ASSERT_EQUAL(line_reply_whoami(&out, &peer), PT_ETOOBIG);
		buf_fini(&out);
		buf_init(&out, max);
		if (max + 1 < whole[1]) /* formatting a number needs room for its NUL */
			CU_ASSERT_EQUAL(line_reply_capabilities(&out, &conf, true), PT_ETOOBIG);
		buf_fini(&out);
		buf_init(&out, max);
		if (max < whole[2])
			CU_ASSERT_EQUAL(line_reply_tag(&out, span_str("t\"")), PT_ETOOBIG);
		buf_fini(&out);
	}
}

/* The worst that names and certificates can do, within what the engine allows. */
static void
test_longest(void)
{
	enum { NAMES = 1000 };
	const char **sans = calloc(NAMES, sizeof(*sans));
	char worst[4 * LINE_VALUE_MAX];
	struct engine_conf conf = { .hostname = worst, .service = worst };
	struct engine_peer peer = { .tls = true, .tls_version = worst, .tls_cipher = worst,
				    .tls_group = worst, .verdict = worst, .subject = worst,
				    .nsans = NAMES, .identity = worst };
	struct buf out;
	size_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(sans);
	memset(worst, '"', sizeof(worst) - 1);
	worst[sizeof(worst) - 1] = '\0';
	for (i = 0; i < NAMES; i++)
		sans[i] = worst;
	peer.sans = sans;
	buf_init(&out, ENGINE_OUTPUT_MAX - ENGINE_OUTPUT_HIGH);
	CU_ASSERT_EQUAL(line_reply_whoami(&out, &peer), 0);
	buf_consume(&out, buf_size(&out));
	/* gnutls-cli reads a greeting into 1023 octets and gives up when OK is not among them */
	memset(worst, 'h', sizeof(worst) - 1);
	CU_ASSERT_EQUAL(line_reply_capabilities(&out, &conf, true), 0);
	CU_ASSERT_EQUAL(line_reply_text(&out, LINE_TX_READY_STARTTLS), 0);
	CU_ASSERT(buf_size(&out) <= 1023);
	buf_fini(&out);
	free(sans);
}

static const struct test_row rows[] = {
	{ "final lines have their form", test_form },
	{ "refusals name a remedy", test_remedies },
	{ "data lines cannot be broken", test_data },
	{ "no room is told", test_no_room },
	{ "the longest replies fit", test_longest },
};

TEST_MAIN("proto/line_reply", rows)
