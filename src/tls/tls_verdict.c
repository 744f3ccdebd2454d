/* tls/tls_verdict.c - see tls_verdict.h. */
#include "tls/tls_verdict.h"

#include "util/err.h"

#define ALERT_HANDSHAKE_FAILURE 40 /* certificate_required exists in TLS 1.3 only */

static const struct {
	const char *word;
	unsigned alert;
} verdicts[TLS_VERDICT_COUNT] = {
#define TLS_VERDICT_ROW(name, word, alert) [TLS_VERDICT_##name] = { word, alert },
	TLS_VERDICTS(TLS_VERDICT_ROW)
#undef TLS_VERDICT_ROW
};

const char *
tls_verdict_name(enum tls_verdict v)
{
	PT_ASSERT((unsigned)v < TLS_VERDICT_COUNT);
	return verdicts[v].word;
}

unsigned
tls_verdict_alert(enum tls_verdict v, unsigned tls_minor)
{
	PT_ASSERT((unsigned)v < TLS_VERDICT_COUNT);
	if (v == TLS_VERDICT_NONE && tls_minor < 3)
		return ALERT_HANDSHAKE_FAILURE;
	return verdicts[v].alert;
}
