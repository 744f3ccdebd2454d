/* proto/smtp/smtp_reply.c - the one table of replies, and those that carry data. */
#include "proto/smtp/smtp_reply.h"

#include "util/base64.h"
#include "util/utf8.h"

#include <string.h>

static const char *const lines[SMTP_TX_COUNT] = {
#define SMTP_TEXT_LINE(name, code, enhanced, text)                                                 \
	[SMTP_TX_##name] = sizeof(enhanced) > 1 ? code " " enhanced " " text "\r\n"                \
						: code " " text "\r\n",
	SMTP_TEXTS(SMTP_TEXT_LINE)
#undef SMTP_TEXT_LINE
};

static const struct span codes[SMTP_TX_COUNT] = {
#define SMTP_TEXT_CODE(name, code, enhanced, text)                                                 \
	[SMTP_TX_##name] = { (const uint8_t *)code " " enhanced,                                   \
			     sizeof(enhanced) > 1 ? sizeof(code " " enhanced) - 1                  \
						  : sizeof(code) - 1 },
	SMTP_TEXTS(SMTP_TEXT_CODE)
#undef SMTP_TEXT_CODE
};

/* Why a client's certificate is not its login, by its verdict. */
static const struct {
	const char *verdict;
	enum smtp_text login, external;
} verdicts[] = {
#define SMTP_VERDICT_ROW(X, name, verdict, text) { verdict, SMTP_TX_LOGIN_##name, SMTP_TX_EXTERNAL_##name },
	SMTP_VERDICTS(SMTP_VERDICT_ROW, )
#undef SMTP_VERDICT_ROW
};

const char *
smtp_reply_line(enum smtp_text t)
{
	PT_ASSERT((unsigned)t < SMTP_TX_COUNT);
	return lines[t];
}

struct span
smtp_reply_code(enum smtp_text t)
{
	PT_ASSERT((unsigned)t < SMTP_TX_COUNT);
	return codes[t];
}

bool
smtp_reply_is_permanent(enum smtp_text t)
{
	return smtp_reply_line(t)[0] == '5';
}

int
smtp_reply_text(struct buf *out, enum smtp_text t)
{
	return buf_append_str(out, smtp_reply_line(t));
}

static int
append_shown(struct buf *out, struct span s, bool utf8)
{
	size_t i, n;
	int rc;

	for (i = 0; i < s.n; i += n) {
		n = utf8_printable_char((struct span){ s.p + i, s.n - i });
		if (n == 1 || (n > 1 && utf8)) {
			rc = buf_append(out, s.p + i, n);
		} else {
			n = n > 0 ? n : 1;
			rc = buf_append(out, "?", 1);
		}
		if (rc != 0)
			return rc;
	}
	return 0;
}

int
smtp_reply_about(struct buf *out, enum smtp_text t, struct span value, bool utf8)
{
	const char *line = smtp_reply_line(t), *at = strchr(line, '%');
	int rc;

	if (at == NULL)
		return buf_append_str(out, line);
	if ((rc = buf_append(out, line, (size_t)(at - line))) != 0 ||
	    (rc = append_shown(out, utf8_cut(value, SMTP_VALUE_MAX), utf8)) != 0)
		return rc;
	return buf_append_str(out, at + 1);
}

int
smtp_reply_challenge(struct buf *out, struct span challenge)
{
	int rc;

	if ((rc = buf_append_str(out, "334 ")) != 0 || (rc = base64_encode(out, challenge)) != 0)
		return rc;
	return buf_append_str(out, "\r\n");
}

static int
append_auth(struct buf *out, const struct smtp_offer *offer)
{
	size_t i;
	int rc;

	if (offer->nmechanisms == 0)
		return 0;
	if ((rc = buf_append_str(out, "250-AUTH")) != 0)
		return rc;
	for (i = 0; i < offer->nmechanisms; i++)
		if ((rc = buf_printf(out, " %s", offer->mechanisms[i])) != 0)
			return rc;
	return buf_append_str(out, "\r\n");
}

int
smtp_reply_ehlo(struct buf *out, const char *hostname, const struct smtp_offer *offer)
{
	int rc;

	if ((rc = buf_printf(out, "250-%s\r\n", hostname)) != 0)
		return rc;
	if (offer->starttls && (rc = buf_append_str(out, "250-STARTTLS\r\n")) != 0)
		return rc;
	if (!offer->locked) { /* what does not work yet is not advertised */
		if ((rc = offer->size > 0 ? buf_printf(out, "250-SIZE %llu\r\n",
						       (unsigned long long)offer->size)
					  : buf_append_str(out, "250-SIZE\r\n")) != 0 ||
		    (rc = append_auth(out, offer)) != 0 ||
		    (rc = buf_append_str(out, "250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
					      "250-CHUNKING\r\n")) != 0)
			return rc;
	}
	return buf_append_str(out, "250 ENHANCEDSTATUSCODES\r\n");
}

enum smtp_text
smtp_reply_login(const struct engine_peer *peer, bool certificate)
{
	size_t i;

	if (!certificate)
		return SMTP_TX_LOGIN_PASSWORD;
	for (i = 0; peer->verdict != NULL && i < PT_COUNT(verdicts); i++)
		if (strcmp(peer->verdict, verdicts[i].verdict) == 0)
			return verdicts[i].login;
	return SMTP_TX_LOGIN_FIRST;
}

enum smtp_text
smtp_reply_external(const struct engine_peer *peer)
{
	size_t i;

	for (i = 0; peer->verdict != NULL && i < PT_COUNT(verdicts); i++)
		if (strcmp(peer->verdict, verdicts[i].verdict) == 0)
			return verdicts[i].external;
	return peer->verdict != NULL ? SMTP_TX_EXTERNAL_UNMAPPED : SMTP_TX_EXTERNAL_NOT_ASKED;
}
