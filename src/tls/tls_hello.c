/* tls/tls_hello.c - see tls_hello.h. Everything here is the peer's octets, before any of them is trusted. */
#include "tls/tls_hello.h"

#include <string.h>

#define RANDOM_SIZE 32
#define EXT_SERVER_NAME 0
#define EXT_GROUPS 10
#define EXT_ALPN 16
#define EXT_SESSION_TICKET 35
#define EXT_PRE_SHARED_KEY 41
#define EXT_SUPPORTED_VERSIONS 43

/* Takes n octets from the front. */
static bool
take(struct span *in, size_t n, struct span *out)
{
	if (in->n < n)
		return false;
	*out = (struct span){ in->p, n };
	in->p += n;
	in->n -= n;
	return true;
}

static bool
take_number(struct span *in, size_t width, size_t *out)
{
	struct span s;
	size_t i;

	if (!take(in, width, &s))
		return false;
	for (*out = 0, i = 0; i < width; i++)
		*out = *out << 8 | s.p[i];
	return true;
}

/* Takes a vector whose length stands in front in `width` octets (RFC 8446 §3.4). */
static bool
take_vector(struct span *in, size_t width, struct span *out)
{
	size_t n;

	return take_number(in, width, &n) && take(in, n, out);
}

static uint8_t
rank(size_t version)
{
	return version >= 0x0300 && version <= 0x0304 ? (uint8_t)(version - 0x0300 + TLS_RANK_SSL30) : 0;
}

/* GREASE (RFC 8701 §2), and the two signals that look like suites (RFC 5746 §3.3, RFC 7507 §2). */
static bool
is_signal(size_t suite)
{
	return ((suite & 0x0f0f) == 0x0a0a && suite >> 8 == (suite & 0xff)) || suite == 0x00ff ||
		suite == 0x5600;
}

static bool
is_among(size_t number, const uint16_t *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (list[i] == number)
			return true;
	return false;
}

static void
read_suites(struct span in, struct tls_hello *out)
{
	static const uint16_t known[] = { 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9, 0xc02f, 0xc030, 0xcca8,
		0x009e, 0x009f, 0xccaa };
	size_t suite;

	while (take_number(&in, 2, &suite)) {
		out->suites += !is_signal(suite);
		out->suites_known += is_among(suite, known, sizeof known / sizeof known[0]);
	}
}

static void
read_groups(struct span in, struct tls_hello *out)
{
	static const uint16_t known[] = { 29, 23, 24, 256, 257 };
	struct span list;
	size_t group;

	if (!take_vector(&in, 2, &list))
		return;
	while (take_number(&list, 2, &group)) {
		out->groups++;
		out->groups_known += is_among(group, known, sizeof known / sizeof known[0]);
	}
}

static void
read_versions(struct span in, struct tls_hello *out)
{
	size_t version;
	struct span list;
	uint8_t r;

	if (!take_vector(&in, 1, &list))
		return;
	out->version_min = out->version_max = 0;
	while (take_number(&list, 2, &version)) {
		if ((r = rank(version)) == 0)
			continue;
		if (out->version_min == 0 || r < out->version_min)
			out->version_min = r;
		if (r > out->version_max)
			out->version_max = r;
	}
}

static void
read_server_name(struct span in, struct tls_hello *out)
{
	struct span list, name;
	size_t type;

	if (take_vector(&in, 2, &list) && take_number(&list, 1, &type) && type == 0 &&
	    take_vector(&list, 2, &name))
		out->sni = name;
}

static void
read_alpn(struct span in, struct tls_hello *out)
{
	struct span list, name;

	if (take_vector(&in, 2, &list) && take_vector(&list, 1, &name))
		out->alpn = name;
}

static void
read_ticket(struct span ticket, struct tls_hello *out)
{
	if (ticket.n == 0)
		return;
	out->has_ticket = true;
	out->ticket = ticket;
}

static void
read_psk(struct span in, struct tls_hello *out)
{
	struct span list, identity;

	if (take_vector(&in, 2, &list) && take_vector(&list, 2, &identity))
		read_ticket(identity, out);
}

static void
read_extension(size_t type, struct span body, struct tls_hello *out)
{
	switch (type) {
	case EXT_SERVER_NAME:
		read_server_name(body, out);
		break;
	case EXT_GROUPS:
		read_groups(body, out);
		break;
	case EXT_ALPN:
		read_alpn(body, out);
		break;
	case EXT_SESSION_TICKET:
		read_ticket(body, out);
		break;
	case EXT_PRE_SHARED_KEY:
		read_psk(body, out);
		break;
	case EXT_SUPPORTED_VERSIONS:
		read_versions(body, out);
		break;
	}
}

bool
tls_hello_read(struct span msg, struct tls_hello *out)
{
	struct span skip, suites, extensions, body;
	size_t version, type;

	memset(out, 0, sizeof *out);
	if (!take_number(&msg, 2, &version) || !take(&msg, RANDOM_SIZE, &skip) ||
	    !take_vector(&msg, 1, &skip) || !take_vector(&msg, 2, &suites) || !take_vector(&msg, 1, &skip))
		return false;
	out->version_max = rank(version);
	out->version_min = out->version_max > 0 ? TLS_RANK_SSL30 : 0; /* "up to": RFC 5246 appendix E.1 */
	read_suites(suites, out);
	if (msg.n == 0)
		return true; /* no extensions: RFC 5246 §7.4.1.2 */
	if (!take_vector(&msg, 2, &extensions))
		return false;
	while (extensions.n > 0) {
		if (!take_number(&extensions, 2, &type) || !take_vector(&extensions, 2, &body))
			return false;
		read_extension(type, body, out);
	}
	return msg.n == 0;
}

struct span
tls_hello_new_ticket(struct span msg, unsigned minor)
{
	struct span skip, ticket = { NULL, 0 };

	if (!take(&msg, minor == 3 ? 8 : 4, &skip)) /* lifetime; of TLS 1.3 also ticket_age_add */
		return ticket;
	if (minor == 3 && !take_vector(&msg, 1, &skip)) /* the nonce */
		return ticket;
	if (!take_vector(&msg, 2, &ticket))
		ticket.n = 0;
	return ticket;
}
