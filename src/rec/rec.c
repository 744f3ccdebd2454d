/* rec/rec.c - see rec.h: a record's steps, texts and words. */
#include "rec/rec.h"

#include "rec/why.h"
#include "tls/tls_fault.h"
#include "tls/tls_hello.h"
#include "tls/tls_verdict.h"
#include "util/err.h"
#include "util/utf8.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct rec_step) == 12, "steps lie close to each other");

/* --- steps ------------------------------------------------------------------------------------- */

static struct rec_step *
new_step(struct rec *r)
{
	const size_t first = REC_STEPS / 2;

	if (r->nsteps < REC_STEPS)
		return &r->steps[r->nsteps++];
	memmove(&r->steps[first], &r->steps[first + 1], (REC_STEPS - first - 1) * sizeof r->steps[0]);
	if (r->skipped < UINT16_MAX)
		r->skipped++;
	return &r->steps[REC_STEPS - 1];
}

void
rec_step_add(struct rec *r, enum rec_step_kind kind, uint8_t number, enum rec_way way, uint32_t size,
	     uint64_t us)
{
	struct rec_step *s = new_step(r);

	r->end_us = us;
	*s = (struct rec_step){ .us_low = (uint32_t)us, .us_high = (uint16_t)(us >> 32), .kind = (uint8_t)kind,
		.number = number, .size = size & 0xffffffu, .way = (uint8_t)way };
}

uint64_t
rec_step_us(const struct rec_step *s)
{
	return (uint64_t)s->us_high << 32 | s->us_low;
}

/* --- texts ------------------------------------------------------------------------------------- */

/* Replaces what may not be shown, octet by octet. */
static void
mend(char *s, size_t n)
{
	size_t i = 0, k;

	while (i < n) {
		k = utf8_printable_char((struct span){ (const uint8_t *)s + i, n - i });
		if (k == 0)
			s[i] = '?';
		i += k > 0 ? k : 1;
	}
}

void
rec_text_set(char *out, size_t cap, const char *text)
{
	struct span s;

	if (text == NULL) {
		out[0] = '\0';
		return;
	}
	s = utf8_cut((struct span){ (const uint8_t *)text, strnlen(text, cap) }, cap - 1);
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	mend(out, s.n);
}

static bool
starts_with(const uint8_t *p, size_t n, const char *word)
{
	size_t k = strlen(word);

	return n >= k && memcmp(p, word, k) == 0;
}

enum rec_octets
rec_octets_kind(const uint8_t *p, size_t n)
{
	static const char *const http[] = { "GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "CONNECT ",
		"DELETE ", "PATCH ", "TRACE ", "PRI * HTTP" };
	size_t i;

	if (n == 0)
		return REC_OCTETS_NONE;
	/* a record of TLS, or the old form of a ClientHello (RFC 5246 appendix E.2) */
	if ((p[0] >= 20 && p[0] <= 23 && (n < 2 || p[1] == 3)) || (n >= 3 && (p[0] & 0x80) && p[2] == 1))
		return REC_OCTETS_TLS;
	for (i = 0; i < PT_COUNT(http); i++)
		if (starts_with(p, n, http[i]))
			return REC_OCTETS_HTTP;
	if (starts_with(p, n, "SSH-"))
		return REC_OCTETS_SSH;
	for (i = 0; i < n && i < 64; i++)
		if ((p[i] < 0x20 && p[i] != '\r' && p[i] != '\n' && p[i] != '\t') || p[i] >= 0x7f)
			return REC_OCTETS_OTHER;
	return REC_OCTETS_TEXT;
}

/* --- checking ---------------------------------------------------------------------------------- */

static void
check_text(char *s, size_t cap)
{
	size_t n = strnlen(s, cap);

	if (n == cap)
		s[--n] = '\0';
	mend(s, n);
	memset(s + n, 0, cap - n);
}

static bool
check_addr(const struct rec_addr *a)
{
	return a->family < REC_FAMILY_COUNT;
}

static bool
check_steps(const struct rec *r)
{
	size_t i;

	if (r->nsteps > REC_STEPS)
		return false;
	for (i = 0; i < r->nsteps; i++)
		if (r->steps[i].kind >= REC_STEP_KIND_COUNT || r->steps[i].way >= REC_WAY_COUNT)
			return false;
	return true;
}

bool
rec_check(struct rec *r)
{
	const struct {
		unsigned value, count;
	} enums[] = {
		{ r->code, WHY_COUNT },
		{ r->phase, REC_PHASE_COUNT },
		{ r->cause, REC_CAUSE_COUNT },
		{ r->fault, TLS_FAULT_COUNT },
		{ r->reason, TLS_REASON_COUNT },
		{ r->verdict, TLS_VERDICT_COUNT },
		{ r->mode, REC_MODE_COUNT },
		{ r->client_cert, REC_CC_COUNT },
		{ r->plain_first, REC_OCTETS_COUNT },
		{ r->tls_first, REC_OCTETS_COUNT },
		{ r->ticket, REC_TICKET_COUNT },
		{ r->version, TLS_RANK_COUNT },
		{ r->offered_min, TLS_RANK_COUNT },
		{ r->offered_max, TLS_RANK_COUNT },
		{ r->nserial, REC_SERIAL_MAX + 1 },
	};
	size_t i;

	for (i = 0; i < PT_COUNT(enums); i++)
		if (enums[i].value >= enums[i].count)
			return false;
	if (r->id == 0 || (r->flags & ~REC_F_ALL) != 0 || !check_addr(&r->peer) || !check_addr(&r->local) ||
	    !check_steps(r))
		return false;
#define CHECK(field) check_text(r->field, sizeof r->field)
	CHECK(service);
	CHECK(cipher);
	CHECK(group);
	CHECK(signature);
	CHECK(alpn);
	CHECK(sni);
	CHECK(domain);
	CHECK(subject);
	CHECK(issuer);
	CHECK(sans);
	CHECK(user);
#undef CHECK
	return true;
}

/* --- words ------------------------------------------------------------------------------------- */

#define WORD(name, word) word,
#define CHOOSE(list, count, value)                                                                 \
	static const char *const words[] = { list(WORD) };                                         \
	_Static_assert(PT_COUNT(words) == (count), "a word for each");                             \
	PT_ASSERT((unsigned)(value) < PT_COUNT(words));                                            \
	return words[value]

const char *
rec_step_words(enum rec_step_kind kind)
{
	CHOOSE(REC_STEP_KINDS, REC_STEP_KIND_COUNT, kind);
}

const char *
rec_phase_word(enum rec_phase p)
{
	CHOOSE(REC_PHASES, REC_PHASE_COUNT, p);
}

const char *
rec_octets_words(enum rec_octets o)
{
	CHOOSE(REC_OCTETS, REC_OCTETS_COUNT, o);
}

const char *
rec_mode_word(enum rec_mode m)
{
	static const char *const words[REC_MODE_COUNT] = { "starttls", "starttls-required", "tls", "plain" };

	PT_ASSERT((unsigned)m < REC_MODE_COUNT);
	return words[m];
}

const char *
rec_client_cert_word(enum rec_client_cert c)
{
	static const char *const words[REC_CC_COUNT] = { "none", "request", "optional", "require" };

	PT_ASSERT((unsigned)c < REC_CC_COUNT);
	return words[c];
}

const char *
rec_message_name(uint8_t type)
{
	static const char *const names[] = {
		[0] = "HelloRequest",
		[1] = "ClientHello",
		[2] = "ServerHello",
		[4] = "NewSessionTicket",
		[5] = "EndOfEarlyData",
		[6] = "HelloRetryRequest",
		[8] = "EncryptedExtensions",
		[11] = "Certificate",
		[12] = "ServerKeyExchange",
		[13] = "CertificateRequest",
		[14] = "ServerHelloDone",
		[15] = "CertificateVerify",
		[16] = "ClientKeyExchange",
		[20] = "Finished",
		[22] = "CertificateStatus",
		[24] = "KeyUpdate",
	};

	return type < PT_COUNT(names) ? names[type] : NULL;
}

const char *
rec_alert_name(uint8_t alert)
{
	static const char *const names[] = {
		[0] = "close_notify",
		[10] = "unexpected_message",
		[20] = "bad_record_mac",
		[21] = "decryption_failed",
		[22] = "record_overflow",
		[30] = "decompression_failure",
		[40] = "handshake_failure",
		[41] = "no_certificate",
		[42] = "bad_certificate",
		[43] = "unsupported_certificate",
		[44] = "certificate_revoked",
		[45] = "certificate_expired",
		[46] = "certificate_unknown",
		[47] = "illegal_parameter",
		[48] = "unknown_ca",
		[49] = "access_denied",
		[50] = "decode_error",
		[51] = "decrypt_error",
		[60] = "export_restriction",
		[70] = "protocol_version",
		[71] = "insufficient_security",
		[80] = "internal_error",
		[86] = "inappropriate_fallback",
		[90] = "user_canceled",
		[100] = "no_renegotiation",
		[109] = "missing_extension",
		[110] = "unsupported_extension",
		[111] = "certificate_unobtainable",
		[112] = "unrecognized_name",
		[113] = "bad_certificate_status_response",
		[114] = "bad_certificate_hash_value",
		[115] = "unknown_psk_identity",
		[116] = "certificate_required",
		[120] = "no_application_protocol",
	};

	return alert < PT_COUNT(names) ? names[alert] : NULL;
}

const char *
rec_version_word(unsigned rank)
{
	static const char *const words[TLS_RANK_COUNT] = { "", "SSL 3.0", "TLS 1.0", "TLS 1.1", "TLS 1.2",
		"TLS 1.3" };

	PT_ASSERT(rank < TLS_RANK_COUNT);
	return words[rank];
}

/* --- addresses and ids ------------------------------------------------------------------------- */

const char *
rec_host_text(const struct rec_addr *a, char out[REC_ADDR_TEXT_MAX])
{
	if (a->family == REC_UNIX)
		snprintf(out, REC_ADDR_TEXT_MAX, "unix:");
	else
		inet_ntop(a->family == REC_IPV4 ? AF_INET : AF_INET6, a->octets, out, REC_ADDR_TEXT_MAX);
	return out;
}

const char *
rec_addr_text(const struct rec_addr *a, char out[REC_ADDR_TEXT_MAX])
{
	char host[REC_ADDR_TEXT_MAX - 10];
	char text[REC_ADDR_TEXT_MAX];

	snprintf(host, sizeof host, "%.*s", (int)sizeof host - 1, rec_host_text(a, text));
	if (a->family == REC_UNIX)
		snprintf(out, REC_ADDR_TEXT_MAX, "%s", host);
	else
		snprintf(out, REC_ADDR_TEXT_MAX, a->family == REC_IPV4 ? "%s:%u" : "[%s]:%u", host,
			(unsigned)a->port);
	return out;
}

const char *
rec_id_text(uint64_t id, char out[REC_ID_TEXT_MAX])
{
	snprintf(out, REC_ID_TEXT_MAX, "%u-%llu", (unsigned)(id >> REC_ID_SHIFT),
		(unsigned long long)(id & ((1ull << REC_ID_SHIFT) - 1)));
	return out;
}

/* Digits up to the end character; false when there are none, or it is above max. */
static bool
take_digits(const char **p, char end, uint64_t max, uint64_t *out)
{
	const char *from = *p;

	for (*out = 0; **p >= '0' && **p <= '9'; (*p)++)
		if ((*out = *out * 10 + (uint64_t)(**p - '0')) > max)
			return false;
	return *p > from && *(*p)++ == end;
}

bool
rec_id_parse(const char *text, uint64_t *id_out)
{
	uint64_t slot, number;

	if (!take_digits(&text, '-', UINT16_MAX, &slot) ||
	    !take_digits(&text, '\0', (1ull << REC_ID_SHIFT) - 1, &number) || number == 0)
		return false;
	*id_out = REC_ID(slot, number);
	return true;
}
