/* mail/mail_trace.c - see mail_trace.h. */
#include "mail/mail_trace.h"

#include "mail/mail_date.h"

#include <string.h>

#define WORD_MAX 320 /* octets of one name that we show */

static int
append(struct buf *out, struct span s)
{
	return buf_append(out, s.p, s.n);
}

/* Within a comment (RFC 5322 §3.2.2): brackets and backslashes are quoted, controls are not shown. */
static int
append_comment(struct buf *out, struct span s, bool utf8)
{
	char c[2];
	size_t i;
	int rc;

	for (i = 0; i < s.n && i < WORD_MAX; i++) {
		c[0] = '\\';
		c[1] = (char)s.p[i];
		if (s.p[i] == '(' || s.p[i] == ')' || s.p[i] == '\\') {
			if ((rc = buf_append(out, c, 2)) != 0)
				return rc;
			continue;
		}
		if (s.p[i] < 0x20 || s.p[i] == 0x7f || (s.p[i] >= 0x80 && !utf8))
			c[1] = '?';
		if ((rc = buf_append(out, c + 1, 1)) != 0)
			return rc;
	}
	return 0;
}

static int
append_address(struct buf *out, const char *address)
{
	if (address == NULL)
		return 0;
	return buf_printf(out, " ([%s%s])", strchr(address, ':') != NULL ? "IPv6:" : "", address);
}

static int
append_user(struct buf *out, const struct mail_trace *t)
{
	int rc;

	if (t->user == NULL)
		return 0;
	if ((rc = buf_append_str(out, "\r\n\t(authenticated: ")) != 0 ||
	    (rc = append_comment(out, span_str(t->user), t->utf8)) != 0)
		return rc;
	return t->mechanism == NULL ? buf_append_str(out, ")")
				    : buf_printf(out, " by %s)", t->mechanism);
}

/* RFC 8314 §4.3: the names are IANA's, whose groups are written in lower case. */
static int
append_tls(struct buf *out, const struct mail_trace *t)
{
	const char *g = t->tls_group;
	char c;
	int rc;

	if (t->tls_suite == NULL)
		return 0;
	if ((rc = buf_printf(out, "\r\n\ttls %s%s", t->tls_suite, g != NULL ? " group " : "")) != 0)
		return rc;
	for (; g != NULL && *g != '\0'; g++) {
		c = *g >= 'A' && *g <= 'Z' ? (char)(*g | 0x20) : *g;
		if ((rc = buf_append(out, &c, 1)) != 0)
			return rc;
	}
	return t->tls_version == NULL ? 0 : buf_printf(out, " (%s)", t->tls_version);
}

int
mail_trace_received(struct buf *out, const struct mail_trace *t)
{
	char date[MAIL_DATE_MAX];
	int rc;

	if ((rc = buf_append_str(out, "Received: from ")) != 0 || (rc = append(out, t->helo)) != 0 ||
	    (rc = append_address(out, t->address)) != 0 || (rc = append_user(out, t)) != 0 ||
	    (rc = buf_printf(out, "\r\n\tby %s (Postern) with %s id %s", t->hostname, t->with, t->id)) != 0)
		return rc;
	if (t->recipient.n > 0)
		if ((rc = buf_append_str(out, "\r\n\tfor <")) != 0 ||
		    (rc = append(out, t->recipient)) != 0 || (rc = buf_append_str(out, ">")) != 0)
			return rc;
	if ((rc = append_tls(out, t)) != 0)
		return rc;
	return buf_printf(out, ";\r\n\t%s\r\n", mail_date_print(t->now_s, date));
}

int
mail_trace_return_path(struct buf *out, struct span sender)
{
	int rc;

	if ((rc = buf_append_str(out, "Return-Path: <")) != 0 || (rc = append(out, sender)) != 0)
		return rc;
	return buf_append_str(out, ">\r\n");
}

int
mail_trace_date(struct buf *out, int64_t now_s)
{
	char date[MAIL_DATE_MAX];

	return buf_printf(out, "Date: %s\r\n", mail_date_print(now_s, date));
}

int
mail_trace_message_id(struct buf *out, const char *id, const char *hostname)
{
	return buf_printf(out, "Message-ID: <%s@%s>\r\n", id, hostname);
}

int
mail_trace_from(struct buf *out, struct span address)
{
	int rc;

	if ((rc = buf_append_str(out, "From: ")) != 0 || (rc = append(out, address)) != 0)
		return rc;
	return buf_append_str(out, "\r\n");
}
