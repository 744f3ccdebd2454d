/* proc/conn_say.c - what a connection has to tell the administrator. Octets of the peer never come here. */
#include "proc/conn_impl.h"

#include <stdio.h>
#include <string.h>

static const char *
peer_text(const struct conn *c, char out[ADDR_TEXT_MAX])
{
	union addr a = { .sa.sa_family = AF_UNSPEC };

	memcpy(&a, c->peer, sizeof c->peer);
	return addr_text(&a, sizeof c->peer, out);
}

void
conn_say(const struct conn *c, enum log_level level, const char *code, const char *what)
{
	char peer[ADDR_TEXT_MAX];
	const char *name = c->tls != NULL ? tls_session_name(c->tls) : NULL;
	const struct log_field f[] = {
		{ "service", c->service->conf->name },
		{ "peer", peer_text(c, peer) },
		{ "code", code },
		{ "name", name },
	};

	log_fields(level, f, name != NULL ? PT_COUNT(f) : PT_COUNT(f) - 1, "%s", what);
}

void
conn_say_handshake_failed(const struct conn *c)
{
	const struct tls_failure *f = tls_session_failure(c->tls);
	char text[256];

	if (f->verdict != TLS_VERDICT_TRUSTED)
		snprintf(text, sizeof text, "TLS handshake refused: client certificate %s%s (alert %u "
			"sent)", tls_verdict_name(f->verdict), f->resumed ? " in a resumed session" : "",
			f->alert_sent);
	else if (f->protocol)
		snprintf(text, sizeof text, "TLS handshake refused: the client wants another protocol than this "
			"service speaks (ALPN; alert %u sent)", f->alert_sent);
	else if (f->alert_got != 0)
		snprintf(text, sizeof text, "TLS handshake ended by the client with alert %u",
			f->alert_got);
	else if (f->alert_sent != 0)
		snprintf(text, sizeof text, "TLS handshake failed: %s (alert %u sent)", f->text,
			f->alert_sent);
	else
		snprintf(text, sizeof text, "TLS handshake failed: %s",
			f->text != NULL ? f->text : "the connection ended");
	conn_say(c, LOG_L_NOTICE, f->verdict != TLS_VERDICT_TRUSTED ? "certificate-refused"
							       : "handshake-failed", text);
}

void
conn_say_session_failed(const struct conn *c)
{
	const struct tls_failure *f = tls_session_failure(c->tls);
	char text[256];

	snprintf(text, sizeof text, "TLS session failed: %s (alert sent %u, received %u)",
		f->text != NULL ? f->text : "unknown", f->alert_sent, f->alert_got);
	conn_say(c, LOG_L_NOTICE, "session-failed", text);
}
