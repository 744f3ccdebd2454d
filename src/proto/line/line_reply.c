/* proto/line/line_reply.c - the one table of texts, and the replies that carry data. */
#include "proto/line/line_reply.h"

#include "proto/line/line_cmd.h"
#include "util/utf8.h"

#include <stdio.h>
#include <string.h>

/* The longest reply is WHOAMI's: each fact, escaped, with its name, quotes and CRLF. Together with
 * what may be waiting when a command is taken it must stay below the engine's maximum. */
#define WHOAMI_FACTS (LINE_SANS_MAX + 8)
_Static_assert(ENGINE_OUTPUT_HIGH + WHOAMI_FACTS * (2 * LINE_VALUE_MAX + 32) + 512 <
		       ENGINE_OUTPUT_MAX,
	       "the longest reply fits behind a full output");

static const char *const lines[LINE_TX_COUNT] = {
#define LINE_TEXT_LINE(name, status, code, text)                                                   \
	[LINE_TX_##name] = status " " code "\"" text "\"\r\n",
	LINE_TEXTS(LINE_TEXT_LINE)
#undef LINE_TEXT_LINE
};

/* Which sentence WHOAMI ends with when a certificate's verdict gave no identity. */
static const struct {
	const char *verdict;
	enum line_text text;
} verdicts[] = {
	{ "none", LINE_TX_WHO_NONE },
	{ "expired", LINE_TX_WHO_EXPIRED },
	{ "not-yet-valid", LINE_TX_WHO_NOT_YET_VALID },
	{ "revoked", LINE_TX_WHO_REVOKED },
	{ "unknown-ca", LINE_TX_WHO_UNKNOWN_CA },
	{ "wrong-purpose", LINE_TX_WHO_WRONG_PURPOSE },
	{ "bad-signature", LINE_TX_WHO_BAD_SIGNATURE },
	{ "crl-stale", LINE_TX_WHO_CRL_STALE },
	{ "trusted", LINE_TX_WHO_UNMAPPED }, /* trusted, and yet nobody */
	{ "unmapped", LINE_TX_WHO_UNMAPPED },
};

const char *
line_reply_line(enum line_text t)
{
	PT_ASSERT((unsigned)t < LINE_TX_COUNT);
	return lines[t];
}

bool
line_reply_is_bad(enum line_text t)
{
	return strncmp(line_reply_line(t), "BAD ", 4) == 0;
}

int
line_reply_text(struct buf *out, enum line_text t)
{
	return buf_append_str(out, line_reply_line(t));
}

/* Octets between quotes, in runs between those that need escaping. */
static int
append_escaped(struct buf *out, struct span s)
{
	size_t i, from = 0;
	int rc;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] != '"' && s.p[i] != '\\' && s.p[i] >= 0x20 && s.p[i] != 0x7f)
			continue;
		if ((rc = buf_append(out, s.p + from, i - from)) != 0)
			return rc;
		from = i;
		if (s.p[i] == '"' || s.p[i] == '\\') {
			rc = buf_append(out, "\\", 1);
		} else { /* nobody may pass one; if it happens, no line of ours breaks */
			rc = buf_append(out, "?", 1);
			from = i + 1;
		}
		if (rc != 0)
			return rc;
	}
	return buf_append(out, s.p + from, s.n - from);
}

static int
append_quoted(struct buf *out, struct span s, size_t max)
{
	static const char more[] = "...";
	bool cut = s.n > max;
	int rc;

	if (cut)
		s = utf8_cut(s, max - strlen(more));
	if ((rc = buf_append(out, "\"", 1)) != 0 || (rc = append_escaped(out, s)) != 0)
		return rc;
	return buf_append_str(out, cut ? "...\"" : "\"");
}

int
line_reply_data(struct buf *out, const char *name, struct span value, size_t max)
{
	int rc;

	if (name != NULL) {
		if ((rc = append_quoted(out, span_str(name), LINE_NAME_MAX)) != 0 ||
		    (rc = buf_append(out, " ", 1)) != 0)
			return rc;
	}
	if ((rc = append_quoted(out, value, max)) != 0)
		return rc;
	return buf_append(out, "\r\n", 2);
}

int
line_reply_tag(struct buf *out, struct span tag)
{
	int rc;

	if ((rc = buf_append_str(out, "OK (TAG ")) != 0 ||
	    (rc = append_quoted(out, tag, LINE_LINE_MAX)) != 0)
		return rc;
	return buf_append_str(out, ") \"Done.\"\r\n");
}

int
line_reply_capabilities(struct buf *out, const struct engine_conf *conf, bool starttls)
{
	int rc;

	if ((rc = buf_append_str(out, "\"IMPLEMENTATION\" \"Postern\"\r\n"
				      "\"PROTOCOL\" \"line 1\"\r\n")) != 0 ||
	    (rc = line_reply_data(out, "HOST", span_str(conf->hostname), LINE_NAME_MAX)) != 0 ||
	    (rc = line_reply_data(out, "SERVICE", span_str(conf->service), LINE_NAME_MAX)) != 0 ||
	    (rc = buf_printf(out, "\"MAXLINE\" \"%d\"\r\n", LINE_LINE_MAX)) != 0)
		return rc;
	/* alone on its line: what openssl s_client looks for (RFC 5804 §1.7) */
	return starttls ? buf_append_str(out, "\"STARTTLS\"\r\n") : 0;
}

/* One fact of WHOAMI, left out where there is nothing to tell. */
static int
fact(struct buf *out, const char *name, const char *value)
{
	return value == NULL ? 0 : line_reply_data(out, name, span_str(value), LINE_VALUE_MAX);
}

static int
facts_of_certificate(struct buf *out, const struct engine_peer *peer)
{
	size_t i, n = peer->nsans < LINE_SANS_MAX ? peer->nsans : LINE_SANS_MAX;
	char more[24];
	int rc;

	if ((rc = fact(out, "VERDICT", peer->verdict)) != 0 ||
	    (rc = fact(out, "SUBJECT", peer->subject)) != 0)
		return rc;
	for (i = 0; i < n; i++)
		if ((rc = fact(out, "SAN", peer->sans[i])) != 0)
			return rc;
	if (n < peer->nsans) {
		snprintf(more, sizeof(more), "%zu", peer->nsans - n);
		if ((rc = fact(out, "SAN-MORE", more)) != 0)
			return rc;
	}
	return fact(out, "IDENTITY", peer->identity);
}

/* The last line: who that is, and where it is nobody, why and what to do. */
static enum line_text
who(const struct engine_peer *peer)
{
	size_t i;

	if (!peer->tls)
		return LINE_TX_WHO_PLAINTEXT;
	if (peer->identity != NULL)
		return LINE_TX_WHO_IDENTITY;
	if (peer->verdict == NULL)
		return LINE_TX_WHO_NOT_ASKED;
	for (i = 0; i < PT_COUNT(verdicts); i++)
		if (strcmp(peer->verdict, verdicts[i].verdict) == 0)
			return verdicts[i].text;
	return LINE_TX_WHO_NOBODY;
}

enum line_text
line_reply_ready(const struct engine_peer *peer, bool starttls)
{
	enum line_text t = who(peer);

	if (t != LINE_TX_WHO_PLAINTEXT && t != LINE_TX_WHO_IDENTITY && t != LINE_TX_WHO_NONE &&
	    t != LINE_TX_WHO_NOT_ASKED)
		return t;
	return starttls ? LINE_TX_READY_STARTTLS : LINE_TX_READY;
}

int
line_reply_whoami(struct buf *out, const struct engine_peer *peer)
{
	int rc;

	if (!peer->tls) {
		rc = fact(out, "TLS", "none");
	} else if ((rc = fact(out, "TLS", peer->tls_version)) == 0 &&
		   (rc = fact(out, "CIPHER", peer->tls_cipher)) == 0 &&
		   (rc = fact(out, "GROUP", peer->tls_group)) == 0 &&
		   (rc = fact(out, "RESUMED", peer->resumed ? "yes" : "no")) == 0) {
		rc = facts_of_certificate(out, peer);
	}
	return rc != 0 ? rc : line_reply_text(out, who(peer));
}
