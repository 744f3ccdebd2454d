/* rec/why_judge.c - from the facts of a record to the row of why_list.h: one table for each kind of fact. */
#include "rec/why.h"

#include "tls/tls_fault.h"
#include "tls/tls_verdict.h"

/* --- the client certificate -------------------------------------------------------------------- */

static enum why_code
of_certificate(const struct rec *r)
{
	static const enum why_code verdicts[TLS_VERDICT_COUNT] = {
		[TLS_VERDICT_NONE] = WHY_CERT_MISSING,
		[TLS_VERDICT_EXPIRED] = WHY_CERT_EXPIRED,
		[TLS_VERDICT_NOT_YET_VALID] = WHY_CERT_FUTURE,
		[TLS_VERDICT_REVOKED] = WHY_CERT_REVOKED,
		[TLS_VERDICT_UNKNOWN_CA] = WHY_CERT_UNKNOWN_CA,
		[TLS_VERDICT_WRONG_PURPOSE] = WHY_CERT_PURPOSE,
		[TLS_VERDICT_BAD_SIGNATURE] = WHY_CERT_TAMPERED,
		[TLS_VERDICT_CRL_STALE] = WHY_CRL_STALE,
		[TLS_VERDICT_UNMAPPED] = WHY_CERT_UNMAPPED,
	};
	static const struct {
		enum tls_verdict verdict;
		enum tls_reason reason;
		enum why_code code;
	} closer[] = { /* where more is known than the verdict says */
		{ TLS_VERDICT_UNKNOWN_CA, TLS_REASON_SELF_SIGNED, WHY_CERT_SELF_SIGNED },
		{ TLS_VERDICT_UNKNOWN_CA, TLS_REASON_INCOMPLETE, WHY_CERT_CHAIN },
		{ TLS_VERDICT_UNKNOWN_CA, TLS_REASON_NOT_A_CA, WHY_CERT_NOT_A_CA },
		{ TLS_VERDICT_BAD_SIGNATURE, TLS_REASON_WEAK, WHY_CERT_WEAK },
		{ TLS_VERDICT_EXPIRED, TLS_REASON_ABOVE, WHY_CERT_CA_EXPIRED },
		{ TLS_VERDICT_REVOKED, TLS_REASON_ABOVE, WHY_CERT_CA_REVOKED },
	};
	size_t i;

	if (r->verdict == TLS_VERDICT_UNMAPPED && (r->flags & REC_F_AMBIGUOUS))
		return WHY_CERT_AMBIGUOUS;
	for (i = 0; i < PT_COUNT(closer); i++)
		if (closer[i].verdict == r->verdict && closer[i].reason == r->reason)
			return closer[i].code;
	return verdicts[r->verdict];
}

/* In a session that exists already. */
static enum why_code
of_distrusted(const struct rec *r)
{
	switch ((enum tls_verdict)r->verdict) {
	case TLS_VERDICT_REVOKED:
		return WHY_LIVE_REVOKED;
	case TLS_VERDICT_EXPIRED:
		return r->reason == TLS_REASON_ABOVE ? WHY_LIVE_DISTRUSTED : WHY_LIVE_EXPIRED;
	case TLS_VERDICT_TRUSTED:
	case TLS_VERDICT_UNMAPPED:
		return WHY_LIVE_UNMAPPED;
	default:
		return WHY_LIVE_DISTRUSTED;
	}
}

/* --- alerts of the client ---------------------------------------------------------------------- */

static enum why_code
of_alert(uint8_t alert)
{
	static const struct {
		uint8_t alert;
		enum why_code code;
	} rows[] = {
		{ 0, WHY_ALERT_CLOSE },
		{ 10, WHY_ALERT_UNEXPECTED },
		{ 20, WHY_ALERT_BAD_MAC },
		{ 22, WHY_ALERT_OVERFLOW },
		{ 40, WHY_ALERT_HANDSHAKE },
		{ 42, WHY_ALERT_BAD_CERT },
		{ 43, WHY_ALERT_UNSUPPORTED_CERT },
		{ 44, WHY_ALERT_REVOKED },
		{ 45, WHY_ALERT_EXPIRED },
		{ 46, WHY_ALERT_UNKNOWN_CERT },
		{ 47, WHY_ALERT_ILLEGAL },
		{ 48, WHY_ALERT_UNKNOWN_CA },
		{ 49, WHY_ALERT_ACCESS },
		{ 50, WHY_ALERT_DECODE },
		{ 51, WHY_ALERT_DECRYPT },
		{ 70, WHY_ALERT_VERSION },
		{ 71, WHY_ALERT_SECURITY },
		{ 80, WHY_ALERT_INTERNAL },
		{ 90, WHY_ALERT_CANCELED },
		{ 109, WHY_ALERT_EXTENSION },
		{ 110, WHY_ALERT_EXTENSION },
		{ 112, WHY_ALERT_NAME },
		{ 113, WHY_ALERT_OCSP },
		{ 120, WHY_ALERT_ALPN },
	};
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		if (rows[i].alert == alert)
			return rows[i].code;
	return WHY_ALERT_OTHER;
}

/* --- a TLS session that failed ----------------------------------------------------------------- */

/* What came first was no TLS at all: whatever the library says of it, this is why. */
static enum why_code
of_first_octets(const struct rec *r)
{
	const bool implicit = r->mode == REC_MODE_TLS;

	switch ((enum rec_octets)r->tls_first) {
	case REC_OCTETS_HTTP:
		return implicit ? WHY_HTTP_ON_TLS : WHY_PLAIN_AFTER_STARTTLS;
	case REC_OCTETS_TEXT:
		return implicit ? WHY_PLAIN_ON_TLS : WHY_PLAIN_AFTER_STARTTLS;
	case REC_OCTETS_SSH:
	case REC_OCTETS_OTHER:
		return WHY_NOT_TLS;
	case REC_OCTETS_NONE:
	case REC_OCTETS_TLS:
	case REC_OCTETS_COUNT:
		break;
	}
	return WHY_NOTHING;
}

static bool
in_handshake(const struct rec *r)
{
	return r->phase == REC_PHASE_HANDSHAKE || r->phase == REC_PHASE_REHANDSHAKE;
}

static enum why_code
of_closed(const struct rec *r)
{
	if (!in_handshake(r))
		return WHY_TRUNCATED;
	return r->tls_first == REC_OCTETS_NONE && r->phase == REC_PHASE_HANDSHAKE ? WHY_CLOSED_BEFORE
										   : WHY_CLOSED_WITHIN;
}

static enum why_code
of_fault(const struct rec *r)
{
	static const enum why_code faults[TLS_FAULT_COUNT] = {
		[TLS_FAULT_NONE] = WHY_INTERNAL,
		[TLS_FAULT_MALFORMED_CERT] = WHY_CERT_MALFORMED,
		[TLS_FAULT_NO_PROOF] = WHY_CERT_NO_PROOF,
		[TLS_FAULT_CHANGED] = WHY_CERT_CHANGED,
		[TLS_FAULT_VERSION] = WHY_NO_VERSION,
		[TLS_FAULT_CIPHER] = WHY_NO_CIPHER,
		[TLS_FAULT_SIGNATURE] = WHY_NO_SIGNATURE,
		[TLS_FAULT_GROUP] = WHY_NO_GROUP,
		[TLS_FAULT_FALLBACK] = WHY_FALLBACK,
		[TLS_FAULT_ALPN] = WHY_NO_PROTOCOL,
		[TLS_FAULT_SNI] = WHY_NAME_UNKNOWN,
		[TLS_FAULT_NOT_TLS] = WHY_NOT_TLS,
		[TLS_FAULT_DECRYPT] = WHY_BAD_MAC,
		[TLS_FAULT_RECORD_OVERFLOW] = WHY_RECORD_OVERFLOW,
		[TLS_FAULT_TOO_LARGE] = WHY_TOO_LARGE,
		[TLS_FAULT_MALFORMED] = WHY_MALFORMED,
		[TLS_FAULT_UNEXPECTED] = WHY_UNEXPECTED,
		[TLS_FAULT_ILLEGAL] = WHY_ILLEGAL,
		[TLS_FAULT_FINISHED] = WHY_FINISHED,
		[TLS_FAULT_KEYHOLDER] = WHY_NOT_SIGNED,
		[TLS_FAULT_MEMORY] = WHY_NO_MEMORY,
		[TLS_FAULT_OTHER] = WHY_INTERNAL,
	};
	enum why_code code;

	if (r->flags & REC_F_OTHER_NAME)
		return WHY_NAME_UNKNOWN;
	if (r->phase == REC_PHASE_HANDSHAKE && !(r->flags & REC_F_HELLO) &&
	    (code = of_first_octets(r)) != WHY_NOTHING)
		return code;
	switch ((enum tls_fault)r->fault) {
	case TLS_FAULT_ALERT:
		return of_alert(r->alert_got);
	case TLS_FAULT_CERTIFICATE:
		return of_certificate(r);
	case TLS_FAULT_CLOSED:
		return of_closed(r);
	case TLS_FAULT_RESET:
		return in_handshake(r) ? WHY_RESET_WITHIN : WHY_RESET;
	default:
		return faults[r->fault];
	}
}

/* --- in plaintext, and by time ----------------------------------------------------------------- */

static enum why_code
of_late(const struct rec *r)
{
	if (r->phase == REC_PHASE_REHANDSHAKE || (r->flags & REC_F_HELLO))
		return WHY_STALLED;
	if (r->tls_first == REC_OCTETS_NONE)
		return WHY_NO_HELLO;
	return r->tls_first == REC_OCTETS_TLS ? WHY_SLOW_HELLO : of_first_octets(r);
}

/* The end of a connection that never got as far as TLS: often it was in the wrong place. */
static enum why_code
of_plaintext(const struct rec *r, enum why_code otherwise)
{
	const bool starttls = r->mode == REC_MODE_STARTTLS || r->mode == REC_MODE_STARTTLS_REQUIRED;

	if (r->phase != REC_PHASE_PLAIN && r->phase != REC_PHASE_CLOSING)
		return otherwise;
	if (r->flags & REC_F_SECURED)
		return otherwise;
	if (r->plain_first == REC_OCTETS_HTTP)
		return WHY_HTTP_ON_PLAIN;
	if (r->plain_first == REC_OCTETS_TLS && starttls)
		return WHY_TLS_ON_PLAIN;
	if ((r->flags & REC_F_NEEDS_TLS) && r->mode == REC_MODE_STARTTLS_REQUIRED)
		return WHY_NEVER_STARTTLS;
	return otherwise;
}

static enum why_code
of_end_of_file(const struct rec *r)
{
	if (r->flags & REC_F_SECURED)
		return WHY_NOTHING;
	if (r->plain_first == REC_OCTETS_NONE)
		return WHY_SAID_NOTHING;
	return of_plaintext(r, r->mode == REC_MODE_STARTTLS_REQUIRED ? WHY_LEFT_PLAIN : WHY_NOTHING);
}

static enum why_code
of_ticket(const struct rec *r)
{
	static const enum why_code tickets[REC_TICKET_COUNT] = {
		[REC_TICKET_NONE] = WHY_NOTHING,
		[REC_TICKET_OFF] = WHY_TICKET_OFF,
		[REC_TICKET_FOREIGN] = WHY_TICKET_FOREIGN,
		[REC_TICKET_OLD] = WHY_TICKET_OLD,
	};

	return tickets[r->ticket];
}

enum why_code
why_judge(const struct rec *r)
{
	static const enum why_code causes[REC_CAUSE_COUNT] = {
		[REC_CAUSE_INJECTION] = WHY_INJECTION,
		[REC_CAUSE_LOGINS] = WHY_LOGINS,
		[REC_CAUSE_TOO_MUCH] = WHY_TOO_MUCH,
		[REC_CAUSE_SLOW] = WHY_SLOW,
		[REC_CAUSE_GOODBYE] = WHY_GOODBYE,
		[REC_CAUSE_NO_MEMORY] = WHY_NO_MEMORY,
		[REC_CAUSE_NO_KEYHOLDER] = WHY_NO_KEYHOLDER,
		[REC_CAUSE_TRUNCATED] = WHY_TRUNCATED,
		[REC_CAUSE_NOT_READING] = WHY_NOT_READING,
		[REC_CAUSE_RENEGOTIATION_OFF] = WHY_RENEGOTIATION_OFF,
		[REC_CAUSE_RENEGOTIATION_RATE] = WHY_RENEGOTIATION_RATE,
		[REC_CAUSE_RENEGOTIATION_INSECURE] = WHY_RENEGOTIATION_INSECURE,
		[REC_CAUSE_KEY_UPDATES] = WHY_KEY_UPDATES,
		[REC_CAUSE_RESTARTS] = WHY_RESTARTS,
		[REC_CAUSE_LIMIT_TOTAL] = WHY_LIMIT_TOTAL,
		[REC_CAUSE_LIMIT_SERVICE] = WHY_LIMIT_SERVICE,
		[REC_CAUSE_LIMIT_ADDRESS] = WHY_LIMIT_ADDRESS,
		[REC_CAUSE_KILLED] = WHY_KILLED,
		[REC_CAUSE_PROGRAM_BUSY] = WHY_PROGRAM_BUSY,
		[REC_CAUSE_PROGRAM_FAILED] = WHY_PROGRAM_FAILED,
		[REC_CAUSE_PROGRAM_LOST] = WHY_PROGRAM_LOST,
		[REC_CAUSE_USER_GONE] = WHY_LIVE_USER_GONE,
		[REC_CAUSE_PASSWORD_CHANGED] = WHY_LIVE_PASSWORD,
	};

	switch ((enum rec_cause)r->cause) {
	case REC_CAUSE_NONE: /* it said goodbye itself */
		return (r->flags & REC_F_OPEN) ? WHY_NOTHING : of_plaintext(r, WHY_NOTHING);
	case REC_CAUSE_END_OF_FILE:
		return of_end_of_file(r);
	case REC_CAUSE_EARLY_TALKER:
		return of_plaintext(r, WHY_EARLY_TALKER);
	case REC_CAUSE_IDLE:
		return of_plaintext(r, WHY_IDLE);
	case REC_CAUSE_ERRORS:
		return of_plaintext(r, WHY_ERRORS);
	case REC_CAUSE_LINE_TOO_LONG:
		return of_plaintext(r, WHY_LINE_TOO_LONG);
	case REC_CAUSE_TLS:
		return of_fault(r);
	case REC_CAUSE_LATE:
		return of_late(r);
	case REC_CAUSE_RESET:
		return in_handshake(r) ? WHY_RESET_WITHIN : of_plaintext(r, WHY_RESET);
	case REC_CAUSE_DISTRUSTED:
		return of_distrusted(r);
	case REC_CAUSE_LOGIN:
		return of_certificate(r);
	case REC_CAUSE_TICKET:
		return of_ticket(r);
	default:
		return causes[r->cause];
	}
}
