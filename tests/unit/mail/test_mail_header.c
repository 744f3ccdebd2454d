/* unit/mail/test_mail_header.c - the walk over a header, in pieces cut at every place. */
#include "test.h"

#include "mail/mail_header.h"
#include "util/buf.h"

#include <stdio.h>
#include <string.h>

static const struct row {
	const char *in;
	size_t end; /* where what is no header begins; SIZE_MAX: it does not end */
	unsigned received, from, date, message_id;
	const char *value; /* of From and its kin, '|' between */
} cases[] = {
	{ "From: a@x\r\nDate: now\r\n\r\nFrom: body\r\n", 22, 0, 1, 1, 0, " a@x" },
	{ "FROM:a@x\r\nfrom : b@y\r\n\r\n", 22, 0, 2, 0, 0, "a@x| b@y" },
	{ "Received: 1\r\nReceived: 2\r\n\tmore: x\r\nX-Received: 3\r\n\r\n", 51, 2, 0, 0, 0, "" },
	{ "From: A\r\n <a@x>,\r\n\tb@y\r\nMessage-ID: <1@x>\r\n\r\nbody", 43, 0, 1, 0, 1, " A <a@x>,\tb@y" },
	{ "\r\nFrom: a@x\r\n", 0, 0, 0, 0, 0, "" },
	{ "hello\r\nFrom: a@x\r\n", 0, 0, 0, 0, 0, "" },
	{ " Subject: x\r\n\r\n", 0, 0, 0, 0, 0, "" },
	{ ": x\r\n", 0, 0, 0, 0, 0, "" },
	{ "Subject: x\r\nno field\r\nFrom: a@x\r\n", 12, 0, 0, 0, 0, "" },
	{ "Subject: x\r\n\r\n", 12, 0, 0, 0, 0, "" },
	{ "Subject: x\r\nDate", SIZE_MAX, 0, 0, 0, 0, "" },
	{ "Date: x\r\nFro", SIZE_MAX, 0, 0, 1, 0, "" },
	{ "Sender: s@x\r\nFrom: \"a\r\nResent-From: r@x\r\nresent-sender :\r\nX-Sender: x\r\n\r\n", 71, 0, 1, 0, 0,
	  " s@x| \"a| r@x|" },
	{ "Fromm: a@x\r\nFro: b\r\n\r\n", 20, 0, 0, 0, 0, "" },
};

/* Feeds in one piece, which does not end in a CR; false: the header is over. */
static bool
feed(struct mail_header *h, struct buf *out, const char *p, size_t n, size_t *used)
{
	struct span held, text;
	bool over = mail_header_walk(h, (struct span){ (const uint8_t *)p, n }, &held, &text, used);

	CU_ASSERT_EQUAL_FATAL(buf_append(out, held.p, held.n), 0);
	CU_ASSERT_EQUAL_FATAL(buf_append(out, text.p, text.n), 0);
	return !over;
}

/* What is given out, held back and left is what came in, in order. */
static void
check_row(const struct row *row, struct mail_header *h, const struct buf *out, size_t at)
{
	struct span rest = mail_header_rest(h), given = buf_span(out), who;
	size_t n = given.n;
	char value[200] = "";
	enum mail_field field;
	unsigned i;

	CU_ASSERT_EQUAL(h->over, row->end != SIZE_MAX);
	CU_ASSERT_EQUAL(memcmp(given.n > 0 ? (const char *)given.p : "", row->in, n), 0);
	CU_ASSERT_EQUAL(memcmp(rest.p, row->in + n, rest.n), 0);
	CU_ASSERT_EQUAL(n + rest.n, at);
	if (row->end != SIZE_MAX)
		CU_ASSERT_EQUAL(n, row->end);
	CU_ASSERT_EQUAL(h->count[MAIL_FIELD_RECEIVED], row->received);
	CU_ASSERT_EQUAL(h->count[MAIL_FIELD_FROM], row->from);
	CU_ASSERT_EQUAL(h->count[MAIL_FIELD_DATE], row->date);
	CU_ASSERT_EQUAL(h->count[MAIL_FIELD_MESSAGE_ID], row->message_id);
	for (i = 0, n = 0; i < h->nwho; i++) {
		who = mail_header_who(h, i, &field);
		n += (size_t)snprintf(value + n, sizeof(value) - n, "%s%.*s", i > 0 ? "|" : "", (int)who.n, (const char *)who.p);
	}
	CU_ASSERT_STRING_EQUAL(value, row->value);
}

/* Pieces of size octets, and one more where that would end in a CR. */
static void
walk(const struct row *row, size_t first, size_t size)
{
	size_t n = strlen(row->in), at = 0, used, piece = first;
	static struct mail_header h;
	struct buf out;
	bool more = true;

	mail_header_init(&h, true);
	buf_init(&out, 4096);
	while (at < n && more) {
		if (piece > n - at)
			piece = n - at;
		if (row->in[at + piece - 1] == '\r')
			piece++;
		more = feed(&h, &out, row->in + at, piece, &used);
		at += used;
		piece = size;
	}
	check_row(row, &h, &out, at);
	buf_fini(&out);
}

static void
test_cases(void)
{
	size_t i, cut;

	for (i = 0; i < PT_COUNT(cases); i++) {
		walk(&cases[i], 1, 1);
		for (cut = 1; cut <= strlen(cases[i].in); cut++)
			walk(&cases[i], cut, SIZE_MAX / 2);
	}
}

static void
test_long_names(void)
{
	static struct mail_header h;
	char in[MAIL_HEADER_NAME_MAX + 4];
	struct span held, text;
	size_t n, used;

	for (n = MAIL_HEADER_NAME_MAX - 1; n <= MAIL_HEADER_NAME_MAX + 1; n++) {
		memset(in, 'x', sizeof(in));
		in[n] = ':';
		in[n + 1] = ' ';
		mail_header_init(&h, false);
		mail_header_walk(&h, (struct span){ (uint8_t *)in, n + 2 }, &held, &text, &used);
		CU_ASSERT_EQUAL(h.over, n >= MAIL_HEADER_NAME_MAX + 1);
	}
}

static void
test_long_from(void)
{
	static struct mail_header h;
	static char in[MAIL_HEADER_WHO_MAX + 16];
	struct span held, text;
	size_t n, used;

	for (n = MAIL_HEADER_WHO_MAX; n <= MAIL_HEADER_WHO_MAX + 1; n++) {
		memset(in, 'x', sizeof(in));
		memcpy(in, "From:", 5);
		memcpy(in + 5 + n, "\r\n", 2);
		mail_header_init(&h, true);
		mail_header_walk(&h, (struct span){ (uint8_t *)in, n + 7 }, &held, &text, &used);
		CU_ASSERT_EQUAL(h.who_long, n > MAIL_HEADER_WHO_MAX);
		CU_ASSERT_EQUAL(h.nkept, MAIL_HEADER_WHO_MAX);
		CU_ASSERT_EQUAL(text.n, n + 7); /* the text is all there, kept or not */
	}
}

static void
test_many_who(void)
{
	static struct mail_header h;
	static char in[(MAIL_HEADER_WHOS_MAX + 1) * 16];
	struct span held, text;
	size_t n, used, i;

	for (n = MAIL_HEADER_WHOS_MAX; n <= MAIL_HEADER_WHOS_MAX + 1; n++) {
		for (i = 0; i < n; i++)
			memcpy(in + i * 16, "Resent-From: a\r\n", 16);
		mail_header_init(&h, true);
		mail_header_walk(&h, (struct span){ (uint8_t *)in, n * 16 }, &held, &text, &used);
		CU_ASSERT_EQUAL(h.who_long, n > MAIL_HEADER_WHOS_MAX);
		CU_ASSERT_EQUAL(h.nwho, MAIL_HEADER_WHOS_MAX);
		mail_header_init(&h, false); /* nothing is kept where nobody asks */
		mail_header_walk(&h, (struct span){ (uint8_t *)in, n * 16 }, &held, &text, &used);
		CU_ASSERT(h.nwho == 0 && h.nkept == 0 && !h.who_long);
	}
}

static const struct test_row rows[] = {
	{ "headers in pieces", test_cases },
	{ "names at their maximum, and one more", test_long_names },
	{ "From at its maximum, and one more", test_long_from },
	{ "fields at their maximum, and one more", test_many_who },
};
TEST_MAIN("mail_header", rows)
