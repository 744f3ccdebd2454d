/* unit/proto/test_smtp_data.c - the octets of a message: dots, ends, what spoils, cut at each place. */
#include "test.h"

#include "proto/smtp/smtp_data.h"
#include "util/buf.h"

#include <string.h>

#define MORE SMTP_DATA_TEXT

static const struct row {
	const char *in;
	enum smtp_data_step end; /* MORE: it has not ended */
	size_t left;             /* octets behind the end */
	enum smtp_spoilt spoilt;
	const char *out;         /* NULL where it is spoilt: nobody keeps it */
} cases[] = {
	{ ".\r\n", SMTP_DATA_END, 0, SMTP_SPOILT_NOT, "" },
	{ "a\r\n.\r\nQUIT", SMTP_DATA_END, 4, SMTP_SPOILT_NOT, "a\r\n" },
	{ "..\r\n..a\r\n.b\r\n...\r\n.\r\n", SMTP_DATA_END, 0, SMTP_SPOILT_NOT, ".\r\n.a\r\nb\r\n..\r\n" },
	{ "a.\r\na.b\r\n\r\n", MORE, 0, SMTP_SPOILT_NOT, "a.\r\na.b\r\n\r\n" },
	{ "\r\n\r\n.\r\n.", SMTP_DATA_END, 1, SMTP_SPOILT_NOT, "\r\n\r\n" },
	{ "tab\tand\x0b\x01 text\r\n", MORE, 0, SMTP_SPOILT_NOT, "tab\tand\x0b\x01 text\r\n" },
	{ "a\nb\r\n", MORE, 0, SMTP_SPOILT_LF, NULL },
	{ "a\n\n\r\n.\r\n", SMTP_DATA_END, 0, SMTP_SPOILT_LF, NULL },
	{ "a\rb\r\n", MORE, 0, SMTP_SPOILT_CR, NULL },
	{ "a\r\r\n", MORE, 0, SMTP_SPOILT_CR, NULL },
	{ "a\r\r\n.\r\n", SMTP_DATA_END, 0, SMTP_SPOILT_CR, NULL },
	{ "a\n.\n", SMTP_DATA_AMBIGUOUS, 0, SMTP_SPOILT_LF, NULL },
	{ "a\n.\r\nx", SMTP_DATA_AMBIGUOUS, 2, SMTP_SPOILT_LF, NULL },
	{ "a\r\n.\nx", SMTP_DATA_AMBIGUOUS, 1, SMTP_SPOILT_LF, NULL },
	{ "a\r\n.\rx", SMTP_DATA_AMBIGUOUS, 0, SMTP_SPOILT_CR, NULL },
	{ "a\r.\r\n", SMTP_DATA_AMBIGUOUS, 1, SMTP_SPOILT_CR, NULL },
	{ "a\n.b\r\n.\r\n", SMTP_DATA_END, 0, SMTP_SPOILT_LF, NULL },
};

/* Feeds a row in pieces: first, then the rest. Returns how it ended; what was used of it. */
static enum smtp_data_step
feed(struct smtp_data *d, const struct row *row, size_t first, size_t size, struct buf *out, size_t *at)
{
	size_t n = strlen(row->in), piece = first, end, used;
	enum smtp_data_step step = MORE;
	struct span text;

	for (*at = 0; *at < n && step == MORE; piece = size) {
		end = piece < n - *at ? *at + piece : n;
		while (*at < end && step == MORE) {
			step = smtp_data_next(d, (struct span){ (const uint8_t *)row->in + *at, end - *at },
					      &text, &used);
			CU_ASSERT_FATAL(used > 0 && used <= end - *at);
			CU_ASSERT(text.n == 0 || text.p[text.n - 1] != '\r');
			CU_ASSERT_EQUAL(buf_append(out, text.p, text.n), 0);
			*at += used;
		}
	}
	return step;
}

static void
check_row(const struct row *row, size_t first, size_t size)
{
	struct smtp_data d;
	struct buf out;
	size_t at;

	smtp_data_init(&d, true);
	buf_init(&out, 4096);
	CU_ASSERT_EQUAL(feed(&d, row, first, size, &out, &at), row->end);
	CU_ASSERT_EQUAL(strlen(row->in) - at, row->left);
	CU_ASSERT_EQUAL(d.spoilt, row->spoilt);
	if (row->out != NULL)
		CU_ASSERT(span_equal(buf_span(&out), span_str(row->out)));
	buf_fini(&out);
}

static void
test_cases(void)
{
	size_t i, cut;

	for (i = 0; i < PT_COUNT(cases); i++) {
		check_row(&cases[i], 1, 1);
		for (cut = 1; cut <= strlen(cases[i].in); cut++)
			check_row(&cases[i], cut, SIZE_MAX / 2);
	}
}

static void
test_nul(void)
{
	static const uint8_t in[] = { 'a', 0, 'b', '\r', '\n' };
	struct smtp_data d;
	struct span text;
	size_t used;

	smtp_data_init(&d, false);
	CU_ASSERT_EQUAL(smtp_data_next(&d, (struct span){ in, sizeof(in) }, &text, &used), SMTP_DATA_TEXT);
	CU_ASSERT_EQUAL(d.spoilt, SMTP_SPOILT_NUL);
}

/* In chunks a dot is text, and the last octet may be any but a CR. */
static void
test_chunks(void)
{
	static const struct row row = { ".\r\n..\r\n.x", MORE, 0, SMTP_SPOILT_NOT, ".\r\n..\r\n.x" };
	static const struct row cr = { "x\r", MORE, 0, SMTP_SPOILT_NOT, "x" };
	struct smtp_data d;
	struct buf out;
	size_t cut, at;

	for (cut = 1; cut < strlen(row.in); cut++) {
		smtp_data_init(&d, false);
		buf_init(&out, 100);
		CU_ASSERT_EQUAL(feed(&d, &row, cut, 1, &out, &at), MORE);
		smtp_data_finish(&d);
		CU_ASSERT_EQUAL(d.spoilt, SMTP_SPOILT_NOT);
		CU_ASSERT(span_equal(buf_span(&out), span_str(row.out)));
		buf_fini(&out);
	}
	smtp_data_init(&d, false);
	buf_init(&out, 100);
	CU_ASSERT_EQUAL(feed(&d, &cr, 1, 1, &out, &at), MORE);
	smtp_data_finish(&d);
	CU_ASSERT_EQUAL(d.spoilt, SMTP_SPOILT_CR);
	buf_fini(&out);
}

/* A line of n octets with its CRLF, behind a dot that was added, in pieces. */
static enum smtp_spoilt
of_length(size_t n, size_t piece)
{
	static char in[SMTP_TEXT_LINE_MAX + 8];
	const struct row row = { in, MORE, 0, SMTP_SPOILT_NOT, NULL };
	struct smtp_data d;
	struct buf out;
	size_t at;

	memset(in, 'x', sizeof(in));
	in[0] = '.';
	memcpy(in + n - 1, "\r\n", 3);
	smtp_data_init(&d, true);
	buf_init(&out, sizeof(in));
	feed(&d, &row, piece, piece, &out, &at);
	buf_fini(&out);
	return (enum smtp_spoilt)d.spoilt;
}

static void
test_lengths(void)
{
	size_t piece;

	for (piece = 1; piece <= SMTP_TEXT_LINE_MAX + 2; piece += 37) {
		CU_ASSERT_EQUAL(of_length(SMTP_TEXT_LINE_MAX, piece), SMTP_SPOILT_NOT);
		CU_ASSERT_EQUAL(of_length(SMTP_TEXT_LINE_MAX + 1, piece), SMTP_SPOILT_LONG);
	}
}

static const struct test_row rows[] = {
	{ "messages in pieces", test_cases },
	{ "NUL", test_nul },
	{ "chunks", test_chunks },
	{ "lines at their maximum, and one more", test_lengths },
};
TEST_MAIN("smtp_data", rows)
