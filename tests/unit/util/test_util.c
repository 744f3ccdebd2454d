/* unit/util/test_util.c - buffers, spans, numbers and texts, at their limits. */
#include "test.h"

#include "util/buf.h"
#include "util/diag.h"
#include "util/log.h"
#include "util/scan.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The linker puts this in front of free() (--wrap): what a buffer gives back is looked at. */
void __real_free(void *p);
void __wrap_free(void *p);

static const uint8_t *watched;
static bool was_wiped;

void
__wrap_free(void *p)
{
	static const uint8_t zeros[64];

	if (p != NULL && p == watched) {
		was_wiped = memcmp(p, zeros, sizeof zeros) == 0;
		watched = NULL;
	}
	__real_free(p);
}

/* A key that is read in parts leaves none of them in freed memory. */
static void
test_buf_wipes_what_it_grows_out_of(void)
{
	uint8_t secret[64];
	struct buf b;

	memset(secret, 's', sizeof secret);
	buf_init(&b, 65536);
	CU_ASSERT_EQUAL(buf_append(&b, secret, sizeof secret), 0);
	while (buf_size(&b) < 65536) {
		watched = b.base;
		was_wiped = true;
		CU_ASSERT_EQUAL(buf_append(&b, secret, sizeof secret), 0);
		CU_ASSERT_TRUE(was_wiped);
	}
	watched = b.base;
	was_wiped = false;
	buf_wipe(&b);
	CU_ASSERT_TRUE(was_wiped);
}

static void
test_buf_limits(void)
{
	uint8_t octets[300] = { 0 };
	struct buf b;
	size_t n;

	buf_init(&b, 256);
	CU_ASSERT_PTR_NULL(b.base);
	CU_ASSERT_EQUAL(buf_append(&b, octets, 257), PT_ETOOBIG);
	CU_ASSERT_EQUAL(buf_size(&b), 0);
	CU_ASSERT_EQUAL(buf_append(&b, octets, 256), 0);
	CU_ASSERT_EQUAL(buf_append(&b, octets, 1), PT_ETOOBIG);
	CU_ASSERT_EQUAL(buf_size(&b), 256);
	buf_consume(&b, 1);
	CU_ASSERT_EQUAL(buf_append(&b, octets, 1), 0);
	CU_ASSERT_EQUAL(buf_append(&b, octets, SIZE_MAX), PT_ETOOBIG); /* no overflow */
	buf_consume(&b, 256);
	CU_ASSERT_PTR_NULL(b.base); /* an empty buffer holds nothing */
	for (n = 0; n < 1000; n++) {
		CU_ASSERT_EQUAL(buf_append(&b, "abc", 3), 0);
		CU_ASSERT_EQUAL(buf_append(&b, "de", 2), 0);
		CU_ASSERT(memcmp(buf_span(&b).p, "abcde", 5) == 0);
		buf_consume(&b, 5);
	}
	buf_fini(&b);
}

static void
test_buf_keeps_order(void)
{
	struct buf b;
	unsigned in = 0, out = 0, i, k;
	uint8_t c;

	buf_init(&b, 4096);
	for (i = 0; i < 3000; i++) {
		for (k = 0; k < i % 7; k++) {
			c = (uint8_t)in++;
			CU_ASSERT_EQUAL(buf_append(&b, &c, 1), 0);
		}
		for (k = 0; k < i % 5 && buf_size(&b) > 0; k++) {
			CU_ASSERT_EQUAL(buf_span(&b).p[0], (uint8_t)out);
			out++;
			buf_consume(&b, 1);
		}
		if (buf_size(&b) > 4000)
			break;
	}
	CU_ASSERT_EQUAL(buf_size(&b), in - out);
	buf_fini(&b);
	CU_ASSERT_EQUAL(buf_size(&b), 0);
}

static void
test_buf_printf(void)
{
	struct buf b;

	buf_init(&b, 16);
	CU_ASSERT_EQUAL(buf_printf(&b, "%d-%s", 42, "abc"), 0);
	CU_ASSERT(span_equal(buf_span(&b), span_str("42-abc")));
	CU_ASSERT_EQUAL(buf_printf(&b, "%s", "0123456789"), PT_ETOOBIG); /* room for the NUL is needed */
	CU_ASSERT_EQUAL(buf_printf(&b, "%s", "012345678"), 0);
	CU_ASSERT_EQUAL(buf_size(&b), 15);
	buf_fini(&b);
}

static void
test_span(void)
{
	char out[8];

	CU_ASSERT(span_is_nocase(span_str("StartTLS"), "STARTTLS"));
	CU_ASSERT_FALSE(span_is_nocase(span_str("STARTTL"), "STARTTLS"));
	CU_ASSERT_FALSE(span_is_nocase(span_str("STARTTLSX"), "STARTTLS"));
	CU_ASSERT_FALSE(span_is_nocase((struct span){ (const uint8_t *)"A\0B", 3 }, "A"));
	CU_ASSERT(span_equal((struct span){ NULL, 0 }, span_str("")));
	CU_ASSERT_STRING_EQUAL(span_print(span_str("a\x1b[1m\xff"), out, sizeof out), "a?[1m?");
	CU_ASSERT_STRING_EQUAL(span_print(span_str("0123456789"), out, sizeof out), "0123456");
}

static void
test_scan(void)
{
	uint64_t v = 7;

	CU_ASSERT(scan_u64(span_str("18446744073709551615"), &v));
	CU_ASSERT_EQUAL(v, UINT64_MAX);
	v = 7;
	CU_ASSERT_FALSE(scan_u64(span_str("18446744073709551616"), &v));
	CU_ASSERT_FALSE(scan_u64(span_str(""), &v));
	CU_ASSERT_FALSE(scan_u64(span_str("-1"), &v));
	CU_ASSERT_FALSE(scan_u64(span_str("+1"), &v));
	CU_ASSERT_FALSE(scan_u64(span_str("1 "), &v));
	CU_ASSERT_EQUAL(v, 7);
}

static void
test_diag(void)
{
	struct diag d;
	char longer[2 * DIAG_MAX];

	CU_ASSERT_EQUAL(diag_set(&d, PT_EIO, "cannot read %s", "x"), PT_EIO);
	diag_prefix(&d, "line %d", 7);
	CU_ASSERT_STRING_EQUAL(d.text, "line 7: cannot read x");
	memset(longer, 'a', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	diag_prefix(&d, "%s", longer);
	CU_ASSERT_EQUAL(strlen(d.text), DIAG_MAX - 1);
	CU_ASSERT_EQUAL(diag_set(NULL, PT_EIO, "nobody reads"), PT_EIO);
}

static unsigned sunk;
static char sunk_text[LOG_LINE_MAX];

static void
sink(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	(void)arg;
	(void)level;
	(void)fields;
	sunk += 1 + (unsigned)n;
	snprintf(sunk_text, sizeof sunk_text, "%s", text);
}

static void
test_log_sink(void)
{
	struct log_field f = { "peer", "192.0.2.1" };

	log_set_sink(sink, NULL);
	log_msg(LOG_L_DEBUG, "below the level");
	CU_ASSERT_EQUAL(sunk, 0);
	log_msg(LOG_L_INFO, "one %d", 1);
	CU_ASSERT_EQUAL(sunk, 1);
	CU_ASSERT_STRING_EQUAL(sunk_text, "one 1");
	log_fields(LOG_L_ERROR, &f, 1, "two");
	CU_ASSERT_EQUAL(sunk, 3);
	log_set_sink(NULL, NULL);
	CU_ASSERT_STRING_EQUAL(log_level_name(LOG_L_WARNING), "warning");
	CU_ASSERT_STRING_EQUAL(log_level_name((enum log_level)99), "error");
}

static void
test_errors_have_texts(void)
{
	CU_ASSERT_STRING_EQUAL(pt_strerror(0), "no error");
	CU_ASSERT_STRING_EQUAL(pt_strerror(PT_ENOMEM), "out of memory");
	CU_ASSERT_STRING_EQUAL(pt_strerror(-999), "unknown error");
}

static const struct test_row rows[] = {
	{ "buf: limits", test_buf_limits },
	{ "buf: order", test_buf_keeps_order },
	{ "buf: printf", test_buf_printf },
	{ "buf: secrets", test_buf_wipes_what_it_grows_out_of },
	{ "span", test_span },
	{ "scan: u64", test_scan },
	{ "diag", test_diag },
	{ "log: sink", test_log_sink },
	{ "err: texts", test_errors_have_texts },
};

TEST_MAIN("util", rows)
