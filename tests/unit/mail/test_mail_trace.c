/* unit/mail/test_mail_trace.c - dates and trace fields, to the octet. */
#include "test.h"

#include "mail/mail_date.h"
#include "mail/mail_trace.h"

#include <string.h>

static void
test_dates(void)
{
	static const struct {
		int64_t s;
		const char *want;
	} rows[] = {
		{ 0, "Thu, 1 Jan 1970 00:00:00 +0000" },
		{ -1, "Thu, 1 Jan 1970 00:00:00 +0000" },
		{ 1795798390, "Fri, 27 Nov 2026 16:53:10 +0000" },
		{ 951782400, "Tue, 29 Feb 2000 00:00:00 +0000" },
		{ INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 +0000" },
		{ INT64_MAX, "Fri, 31 Dec 9999 23:59:59 +0000" },
	};
	char out[MAIL_DATE_MAX];
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_STRING_EQUAL(mail_date_print(rows[i].s, out), rows[i].want);
}

static void
check(struct buf *b, const char *want)
{
	CU_ASSERT(span_equal(buf_span(b), span_str(want)));
	buf_fini(b);
}

static void
test_received(void)
{
	struct mail_trace t = { .helo = span_str("laptop"), .hostname = "mail.example.org",
		.with = "ESMTP", .id = "1a", .now_s = 0 };
	struct buf b;

	buf_init(&b, MAIL_TRACE_MAX);
	CU_ASSERT_EQUAL(mail_trace_received(&b, &t), 0);
	check(&b, "Received: from laptop\r\n\tby mail.example.org (Postern) with ESMTP id 1a;\r\n"
		  "\tThu, 1 Jan 1970 00:00:00 +0000\r\n");
	t.address = "2001:db8::1";
	t.recipient = span_str("b@y");
	t.user = "a(l)i\\ce\xc3\xbc@x";
	t.mechanism = "certificate";
	t.tls_suite = "TLS_AES_128_GCM_SHA256";
	t.tls_group = "X25519";
	t.tls_version = "TLS1.3";
	CU_ASSERT_EQUAL(mail_trace_received(&b, &t), 0);
	check(&b, "Received: from laptop ([IPv6:2001:db8::1])\r\n"
		  "\t(authenticated: a\\(l\\)i\\\\ce??@x by certificate)\r\n"
		  "\tby mail.example.org (Postern) with ESMTP id 1a\r\n\tfor <b@y>\r\n"
		  "\ttls TLS_AES_128_GCM_SHA256 group x25519 (TLS1.3);\r\n"
		  "\tThu, 1 Jan 1970 00:00:00 +0000\r\n");
	t.tls_group = NULL;
	t.tls_version = "TLS1.2";
	t.user = NULL;
	t.address = "192.0.2.1";
	CU_ASSERT_EQUAL(mail_trace_received(&b, &t), 0);
	check(&b, "Received: from laptop ([192.0.2.1])\r\n"
		  "\tby mail.example.org (Postern) with ESMTP id 1a\r\n\tfor <b@y>\r\n"
		  "\ttls TLS_AES_128_GCM_SHA256 (TLS1.2);\r\n"
		  "\tThu, 1 Jan 1970 00:00:00 +0000\r\n");
	t.tls_suite = NULL;
	CU_ASSERT_EQUAL(mail_trace_received(&b, &t), 0);
	check(&b, "Received: from laptop ([192.0.2.1])\r\n"
		  "\tby mail.example.org (Postern) with ESMTP id 1a\r\n\tfor <b@y>;\r\n"
		  "\tThu, 1 Jan 1970 00:00:00 +0000\r\n");
}

static void
test_others(void)
{
	struct buf b;

	buf_init(&b, MAIL_TRACE_MAX);
	CU_ASSERT_EQUAL(mail_trace_return_path(&b, (struct span){ NULL, 0 }), 0);
	check(&b, "Return-Path: <>\r\n");
	CU_ASSERT_EQUAL(mail_trace_return_path(&b, span_str("a@x")), 0);
	CU_ASSERT_EQUAL(mail_trace_from(&b, span_str("a@x")), 0);
	CU_ASSERT_EQUAL(mail_trace_date(&b, 0), 0);
	CU_ASSERT_EQUAL(mail_trace_message_id(&b, "1a", "mail.example.org"), 0);
	check(&b, "Return-Path: <a@x>\r\nFrom: a@x\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
		  "Message-ID: <1a@mail.example.org>\r\n");
}

static const struct test_row rows[] = {
	{ "dates", test_dates },
	{ "Received", test_received },
	{ "Return-Path and what submission adds", test_others },
};
TEST_MAIN("mail_trace", rows)
