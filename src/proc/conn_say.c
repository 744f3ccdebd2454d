/* proc/conn_say.c - what a connection has to tell the administrator beside its failures, which are conn_rec.c's. Octets
 * of the peer never come here. */
#include "proc/conn_impl.h"

#include <string.h>

const char *
conn_peer_text(const struct conn *c, char out[ADDR_TEXT_MAX])
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
		{ "peer", conn_peer_text(c, peer) },
		{ "code", code },
		{ "name", name },
	};

	log_fields(level, f, name != NULL ? PT_COUNT(f) : PT_COUNT(f) - 1, "%s", what);
}
