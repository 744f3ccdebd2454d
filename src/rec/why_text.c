/* rec/why_text.c - a row of why_list.h with the record's facts put in: words that a person reads, here and
 * nowhere else. */
#include "rec/why.h"

#include "tls/tls_fault.h"
#include "tls/tls_hello.h"
#include "util/err.h"
#include "util/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define US_PER_S 1000000u

static const char *const side_words[] = {
	[WHY_CLIENT] = "client",
	[WHY_SERVER] = "server",
	[WHY_NETWORK] = "network",
	[WHY_NOBODY] = "nobody",
};

const struct why *
why_row(enum why_code code)
{
	static const struct why rows[WHY_COUNT] = {
#define ROW(name, word, side, kind, level, what, next)                                             \
	[WHY_##name] = { word, WHY_##side, WHY_##kind, LOG_L_##level, what, next },
		WHY_LIST(ROW)
#undef ROW
	};

	PT_ASSERT(code > WHY_NOTHING && code < WHY_COUNT);
	return &rows[code];
}

const char *
why_side_word(enum why_side side)
{
	PT_ASSERT((unsigned)side < PT_COUNT(side_words));
	return side_words[side];
}

enum why_kind
why_kind(const struct rec *r)
{
	enum why_kind kind = why_row((enum why_code)r->code)->kind;

	/* what would have ended the handshake elsewhere did not here */
	return r->cause == REC_CAUSE_LOGIN && kind == WHY_FAILED ? WHY_LOGIN : kind;
}

const char *
why_kind_word(enum why_kind kind)
{
	static const char *const words[] = { [WHY_NOTE] = "note", [WHY_LOGIN] = "login", [WHY_ENDED] = "ended",
		[WHY_FAILED] = "failed" };

	PT_ASSERT((unsigned)kind < PT_COUNT(words));
	return words[kind];
}

/* --- times ------------------------------------------------------------------------------------- */

const char *
why_span_text(uint64_t seconds, char out[WHY_SPAN_MAX])
{
	static const struct {
		uint64_t s;
		const char *one;
	} units[] = { { 31556952, "year" }, { 2629746, "month" }, { 86400, "day" }, { 3600, "hour" },
		{ 60, "minute" }, { 1, "second" } };
	size_t i;

	for (i = 0; i < PT_COUNT(units) - 1 && seconds < 2 * units[i].s; i++)
		;
	seconds /= units[i].s;
	snprintf(out, WHY_SPAN_MAX, "%llu %s%s", (unsigned long long)seconds, units[i].one,
		seconds == 1 ? "" : "s");
	return out;
}

const char *
why_date_text(int64_t seconds, char out[WHY_DATE_MAX])
{
	static const char *const months[] = { "January", "February", "March", "April", "May", "June", "July",
		"August", "September", "October", "November", "December" };
	time_t t = (time_t)seconds;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		snprintf(out, WHY_DATE_MAX, "a day out of all calendars");
	else
		snprintf(out, WHY_DATE_MAX, "%d %s %lld", tm.tm_mday, months[tm.tm_mon],
			1900 + (long long)tm.tm_year);
	return out;
}

static int64_t
start_s(const struct rec *r)
{
	return (int64_t)(r->start_us / US_PER_S);
}

/* The distance of two times, whichever is the later; times that lie out of all bounds do not overflow. */
static uint64_t
between(int64_t a, int64_t b)
{
	return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* A duration as the configuration knows it: "500 ms", "10 seconds". */
static int
put_ms(struct buf *out, uint64_t ms)
{
	char span[WHY_SPAN_MAX];

	if (ms < 1000)
		return buf_printf(out, "%llu milliseconds", (unsigned long long)ms);
	return buf_append_str(out, why_span_text(ms / 1000, span));
}

/* --- words in braces --------------------------------------------------------------------------- */

static int
put_subject(const struct rec *r, struct buf *out)
{
	if (r->subject[0] != '\0')
		return buf_append_str(out, r->subject);
	return buf_append_str(out, r->sans[0] != '\0' ? r->sans : "without a name");
}

static int
put_issuer(const struct rec *r, struct buf *out)
{
	return buf_append_str(out, r->issuer[0] != '\0' ? r->issuer : "an issuer without a name");
}

static int
put_user(const struct rec *r, struct buf *out)
{
	return buf_append_str(out, r->user[0] != '\0' ? r->user : "that it stood for");
}

static int
put_names(const struct rec *r, struct buf *out)
{
	return buf_append_str(out, r->sans[0] != '\0' ? r->sans : "it has none");
}

static int
put_service(const struct rec *r, struct buf *out)
{
	return buf_append_str(out, r->service);
}

static int
put_peer(const struct rec *r, struct buf *out)
{
	char text[REC_ADDR_TEXT_MAX];

	return buf_append_str(out, rec_host_text(&r->peer, text));
}

static int
put_not_after(const struct rec *r, struct buf *out)
{
	char date[WHY_DATE_MAX];

	return buf_append_str(out, why_date_text(r->not_after, date));
}

static int
put_not_after_ago(const struct rec *r, struct buf *out)
{
	char span[WHY_SPAN_MAX];

	return buf_append_str(out, why_span_text(between(start_s(r), r->not_after), span));
}

static int
put_not_before(const struct rec *r, struct buf *out)
{
	char date[WHY_DATE_MAX];

	return buf_append_str(out, why_date_text(r->not_before, date));
}

static int
put_not_before_in(const struct rec *r, struct buf *out)
{
	char span[WHY_SPAN_MAX];

	return buf_append_str(out, why_span_text(between(r->not_before, start_s(r)), span));
}

static int
put_when(const struct rec *r, struct buf *out, const char *preposition)
{
	char date[WHY_DATE_MAX], span[WHY_SPAN_MAX];

	if (r->when == 0)
		return 0;
	return buf_printf(out, " %s %s, %s before this connection", preposition, why_date_text(r->when, date),
		why_span_text(between(start_s(r), r->when), span));
}

static int
put_when_on(const struct rec *r, struct buf *out)
{
	return put_when(r, out, "on");
}

static int
put_when_since(const struct rec *r, struct buf *out)
{
	return put_when(r, out, "since");
}

static int
put_outcome(const struct rec *r, struct buf *out)
{
	int rc;

	if (r->cause == REC_CAUSE_LOGIN)
		return buf_append_str(out, ", so the session went on with nobody logged in");
	if ((rc = buf_append_str(out, (r->flags & REC_F_RESUMED) ? ", so the server did not resume its session"
								    : ", so the server refused it")) != 0)
		return rc;
	return (r->flags & REC_F_ALERT_SENT) ? buf_printf(out, " (alert %u)", r->alert_sent) : 0;
}

static int
put_alert(const struct rec *r, struct buf *out)
{
	const char *name = rec_alert_name(r->alert_got);

	return name != NULL ? buf_printf(out, "%u: %s", r->alert_got, name)
			    : buf_printf(out, "%u, which no standard knows", r->alert_got);
}

static int
put_offered(const struct rec *r, struct buf *out)
{
	if (r->offered_max == 0)
		return buf_append_str(out, "none that is known here");
	if (r->offered_min == r->offered_max)
		return buf_printf(out, "only %s", rec_version_word(r->offered_max));
	return buf_printf(out, "%s at most", rec_version_word(r->offered_max));
}

static int
put_allowed(const struct rec *r, struct buf *out)
{
	const bool two = (r->allowed & 1u << TLS_RANK_12) != 0, three = (r->allowed & 1u << TLS_RANK_13) != 0;

	return buf_append_str(out, two && three ? "TLS 1.2 and 1.3" : two ? "only TLS 1.2"
			      : three ? "only TLS 1.3" : "none");
}

static int
put_alpn(const struct rec *r, struct buf *out)
{
	return buf_append_str(out, r->alpn[0] != '\0' ? r->alpn : "another protocol");
}

static int
put_sni(const struct rec *r, struct buf *out)
{
	return buf_append_str(out, r->sni[0] != '\0' ? r->sni : "that it has for it");
}

static int
put_suites(const struct rec *r, struct buf *out)
{
	return buf_printf(out, "%u", r->offered_suites);
}

static int
put_first(const struct rec *r, struct buf *out)
{
	return buf_printf(out, "it looks like %s", rec_octets_words((enum rec_octets)r->tls_first));
}

static int
put_deadline(const struct rec *r, struct buf *out)
{
	return put_ms(out, r->number);
}

static int
put_crowded(const struct rec *r, struct buf *out)
{
	return (r->flags & REC_F_CROWDED) == 0 ? 0
		: buf_append_str(out, ", which is short because the server is near a limit of connections");
}

static int
put_n(const struct rec *r, struct buf *out)
{
	return buf_printf(out, "%llu", (unsigned long long)r->number);
}

static int
put_window(const struct rec *r, struct buf *out)
{
	return put_ms(out, r->window_ms);
}

static int
put_error(const struct rec *r, struct buf *out)
{
	return buf_printf(out, "%d", (int)r->error);
}

static const struct {
	struct why_word word;
	int (*put)(const struct rec *r, struct buf *out);
} words[] = {
	{ { "subject", "the name of the client's certificate" }, put_subject },
	{ { "issuer", "the name of the CA that issued it" }, put_issuer },
	{ { "names", "its other names: mail addresses, hosts" }, put_names },
	{ { "user", "the user who was logged in" }, put_user },
	{ { "service", "the service's name in the configuration" }, put_service },
	{ { "peer", "the client's address" }, put_peer },
	{ { "not-after", "the day on which the certificate ends" }, put_not_after },
	{ { "not-after-ago", "how long before the connection that was" }, put_not_after_ago },
	{ { "not-before", "the day on which the certificate begins" }, put_not_before },
	{ { "not-before-in", "how long after the connection that is" }, put_not_before_in },
	{ { "when-on", "the day on which it happened, and how long ago that was" }, put_when_on },
	{ { "when-since", "the day since which it is so, and for how long" }, put_when_since },
	{ { "outcome", "whether the server refused the client or went on without a login" }, put_outcome },
	{ { "alert", "the number and the name of the client's alert" }, put_alert },
	{ { "offered", "the versions of TLS that the client offers" }, put_offered },
	{ { "allowed", "those that the service allows" }, put_allowed },
	{ { "alpn", "the protocol that the client asks for" }, put_alpn },
	{ { "name", "the server name that the client asks for" }, put_sni },
	{ { "suites", "how many cipher suites the client offers" }, put_suites },
	{ { "first", "what the first octets look like" }, put_first },
	{ { "deadline", "how long was waited" }, put_deadline },
	{ { "crowded", "that this was shorter than usual, near a limit" }, put_crowded },
	{ { "n", "the number that is allowed" }, put_n },
	{ { "window", "the time in which it is" }, put_window },
	{ { "error", "the number of the error" }, put_error },
};

const struct why_word *
why_word(unsigned i)
{
	return i < PT_COUNT(words) ? &words[i].word : NULL;
}

static int
put_word(const struct rec *r, const char *name, size_t n, struct buf *out)
{
	size_t i;

	for (i = 0; i < PT_COUNT(words); i++)
		if (strncmp(words[i].word.name, name, n) == 0 && words[i].word.name[n] == '\0')
			return words[i].put(r, out);
	PT_ASSERT(!"a word of the table that is none");
	return 0;
}

static int
put_template(const struct rec *r, const char *text, struct buf *out)
{
	size_t n;
	int rc = 0;

	while (*text != '\0' && rc == 0) {
		n = strcspn(text, "{");
		if ((rc = buf_append(out, text, n)) != 0)
			return rc;
		text += n;
		if (*text != '{')
			continue;
		n = strcspn(++text, "}");
		rc = put_word(r, text, n, out);
		text += n + 1;
	}
	return rc;
}

int
why_what_put(const struct rec *r, struct buf *out)
{
	return put_template(r, why_row((enum why_code)r->code)->what, out);
}

int
why_next_put(const struct rec *r, struct buf *out)
{
	return put_template(r, why_row((enum why_code)r->code)->next, out);
}

int
why_sentence_put(const struct rec *r, struct buf *out)
{
	int rc;

	if ((rc = why_what_put(r, out)) != 0 || (rc = buf_append_str(out, "; ")) != 0 ||
	    (rc = why_next_put(r, out)) != 0)
		return rc;
	return buf_append_str(out, ".");
}
