/* fuzz/fuzz_tls.c - a server's TLS session, fed with what no client sends.
 *
 * Two ways, by the first octet. Raw: the octets behind the second one are all that the server gets, so that
 * every parser of the first flight is reached (in TLS 1.2 those of the second, too, whose messages
 * are no secrets). Live: a GnuTLS client talks to the server, and the octets are orders, four for
 * each, that say what happens to its records on the way: changed, cut, doubled, dropped, reordered, split,
 * others put between them. The keys are made anew each time, what happens is the same.
 *
 * Either way the second octet is the size of the pieces in which it all arrives. It must end, stay small, say nobody
 * else's words, and trust no certificate that was not shown. */
#include "pki.h"

#include "tls/tls_key.h"
#include "tls/tls_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAM_MAX (256 * 1024)
#define INPUT_MAX (64 * 1024)
#define RECORD_HEADER 5
#define ROUNDS_MAX 24 /* of the conversation: a handshake takes 3, a renegotiation 4 */
#define WORDS "what the client says\r\n"
#define GREETING "OK\r\n"

/* the first octet */
#define F_RAW 0x01
#define F_TLS13 0x02
#define F_CERT 0x04
#define F_MODE_SHIFT 3 /* two bits */
#define F_TICKETS 0x20
#define F_AGAIN 0x40  /* once more in the session: a key update, or in TLS 1.2 a renegotiation */
#define F_ACCEPT 0x80 /* which the server accepts */

struct stream {
	size_t off, len;
	uint8_t octets[STREAM_MAX];
};

struct order {
	uint8_t record, what, a, b;
};

static struct {
	struct pki *ca, *leaf, *alice;
	struct tls_key *key;
	struct tls_cred *creds[4]; /* by mode */
	struct tls_ticket_key ticket;
} site;

static struct {
	struct stream said;       /* by the client, not yet on its way */
	struct stream in, out;    /* of the server */
	bool ended;               /* behind what is in `in` */
	size_t piece, left;       /* the server gets so much in one go; what it has left of that */
	unsigned reads;           /* by which the server got nothing */
	unsigned records;         /* that were on their way */
	uint8_t held[STREAM_MAX]; /* a record that waits for the next one */
	size_t nheld;
	gnutls_session_t client;
	struct tls_session *server;
} t;

static int
sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed, struct span data,
     uint8_t *sig, size_t *len)
{
	(void)arg;
	(void)generation;
	(void)key;
	return tls_key_sign(site.key, algorithm, hashed, data, sig, len);
}

static void
site_make(void)
{
	static const uint8_t master[TLS_TICKET_MASTER_SIZE] = { 1 };
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3, .nchains = 1, .ncas = 1,
		.sign = sign };
	char *cert, *key, *ca;
	struct tls_ca_file file;
	struct tls_chain chain;
	struct buf pem;
	struct diag diag;
	int mode;

	if (site.ca != NULL)
		return;
	site.ca = pki_new(&(struct pki_spec){ .cn = "CA", .ca = true }, NULL);
	site.leaf = pki_new(&(struct pki_spec){ .cn = "server" }, site.ca);
	site.alice = pki_new(&(struct pki_spec){ .cn = "alice", .email = "alice@example.org" }, site.ca);
	cert = pki_cert_pem(site.leaf);
	key = pki_key_pem(site.leaf);
	ca = pki_cert_pem(site.ca);
	buf_init(&pem, TLS_FILE_MAX);
	PT_ASSERT(tls_key_load(span_str(cert), span_str(key), NULL, &site.key, &pem, &diag) == 0);
	chain = (struct tls_chain){ buf_span(&pem), 0 };
	file = (struct tls_ca_file){ span_str(ca), "ca.pem" };
	conf.chains = &chain;
	conf.cas = &file;
	for (mode = 0; mode < 4; mode++) {
		conf.client_cert = (enum tls_client_cert)mode;
		PT_ASSERT(tls_cred_new(&conf, &site.creds[mode], &diag) == 0);
	}
	PT_ASSERT(tls_ticket_key_derive(master, "line", "", site.creds[0], 3600, &site.ticket) == 0);
	buf_fini(&pem);
	free(cert);
	free(key);
	free(ca);
}

/* --- streams ---------------------------------------------------------------------------------- */

/* More than fits is lost: the server fails or waits, as it would in the world. */
static void
put(struct stream *s, const void *p, size_t n)
{
	if (s->off > 0) {
		memmove(s->octets, s->octets + s->off, s->len - s->off);
		s->len -= s->off;
		s->off = 0;
	}
	if (n > STREAM_MAX - s->len)
		n = STREAM_MAX - s->len;
	memcpy(s->octets + s->len, p, n);
	s->len += n;
}

static size_t
get(struct stream *s, void *p, size_t n)
{
	if (n > s->len - s->off)
		n = s->len - s->off;
	memcpy(p, s->octets + s->off, n);
	s->off += n;
	return n;
}

static ssize_t
server_read(void *arg, void *p, size_t n)
{
	size_t got = get(&t.in, p, n < t.left ? n : t.left);

	(void)arg;
	t.left -= got;
	if (got > 0)
		return (ssize_t)got;
	PT_ASSERT(++t.reads < 16 * STREAM_MAX); /* it asks and asks */
	return t.in.off == t.in.len && t.ended ? PT_EEOF : PT_EAGAIN;
}

static ssize_t
server_write(void *arg, const void *p, size_t n)
{
	(void)arg;
	PT_ASSERT(t.out.len - t.out.off + n <= STREAM_MAX); /* nothing makes it say so much */
	put(&t.out, p, n);
	return (ssize_t)n;
}

static ssize_t
client_push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	(void)arg;
	put(&t.said, p, n);
	return (ssize_t)n;
}

static ssize_t
client_pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	size_t got = get(&t.out, p, n);

	(void)arg;
	if (got > 0)
		return (ssize_t)got;
	gnutls_transport_set_errno(t.client, EAGAIN);
	return -1;
}

/* --- orders ----------------------------------------------------------------------------------- */

static void
put_record(uint8_t type, const uint8_t *content, size_t n)
{
	const uint8_t header[RECORD_HEADER] = { type, 3, 3, (uint8_t)(n >> 8), (uint8_t)n };

	put(&t.in, header, sizeof header);
	put(&t.in, content, n);
}

/* r: a record with its header, n octets in all. Returns whether the record itself still goes. */
static bool
obey(const struct order *o, uint8_t *r, size_t *n)
{
	static uint8_t filler[256];
	const size_t content = *n - RECORD_HEADER;
	const uint8_t message[4] = { o->a, 0, 0, o->b }, alert[2] = { o->a, o->b };

	switch (o->what % 14) {
	case 0:
		r[(o->a | (size_t)(o->b & 0x0f) << 8) % *n] ^= (uint8_t)(1u << (o->b >> 5));
		return true;
	case 1: /* cut, and nobody told the header */
		*n = o->a % *n;
		return true;
	case 2: /* shorter, in order */
		*n = RECORD_HEADER + (content > 0 ? o->a % content : 0);
		r[3] = (uint8_t)((*n - RECORD_HEADER) >> 8);
		r[4] = (uint8_t)(*n - RECORD_HEADER);
		return true;
	case 3:
		return false;
	case 4:
		put(&t.in, r, *n);
		return true;
	case 5:
		put_record((uint8_t)(20 + o->a % 6), filler, o->b);
		return true;
	case 6: /* behind the next one */
		memcpy(t.held, r, *n);
		t.nheld = *n;
		return false;
	case 7:
		t.ended = true;
		return true;
	case 8: /* two records of it */
		put_record(r[0], r + RECORD_HEADER, content > 0 ? o->a % content : 0);
		put_record(r[0], r + RECORD_HEADER + (content > 0 ? o->a % content : 0),
			content - (content > 0 ? o->a % content : 0));
		return false;
	case 9:
		put_record(21, alert, sizeof alert);
		return true;
	case 10:
		put_record(20, alert, 1);
		return true;
	case 11:
		r[0] = o->a;
		return true;
	case 12:
		r[3] = o->a;
		r[4] = o->b;
		return true;
	default: /* a handshake message in plaintext */
		put_record(22, message, sizeof message);
		return true;
	}
}

/* What the client has said goes to the server, record by record. */
static void
carry(const struct order *orders, size_t norders)
{
	static uint8_t r[STREAM_MAX];
	bool goes;
	size_t n, i, held;

	while (t.said.len - t.said.off >= RECORD_HEADER) {
		n = RECORD_HEADER + (size_t)(t.said.octets[t.said.off + 3] << 8 | t.said.octets[t.said.off + 4]);
		n = get(&t.said, r, n);
		held = t.nheld;
		t.nheld = 0;
		goes = !t.ended;
		for (i = 0; i < norders && goes && n >= RECORD_HEADER; i++)
			if (orders[i].record == t.records)
				goes = obey(&orders[i], r, &n);
		if (goes)
			put(&t.in, r, n);
		if (held > 0)
			put(&t.in, t.held, held);
		t.records++;
	}
}

/* --- the server ------------------------------------------------------------------------------- */

struct server_side {
	enum tls_status handshake, status;
	bool greeted, again_done, failed, over;
	size_t heard;
};

static bool
waits(enum tls_status s)
{
	return s == TLS_WANT_READ || s == TLS_WANT_WRITE;
}

static void
check_facts(uint8_t flags)
{
	const struct tls_facts *f = tls_session_facts(t.server);
	unsigned mode = flags >> F_MODE_SHIFT & 3;

	PT_ASSERT(f->verdict == TLS_VERDICT_NONE || ((flags & F_CERT) != 0 && (flags & F_RAW) == 0));
	if (mode == TLS_CLIENT_CERT_REQUIRE)
		PT_ASSERT(f->verdict == TLS_VERDICT_TRUSTED);
	PT_ASSERT((f->subject != NULL) == (f->verdict != TLS_VERDICT_NONE) || mode == TLS_CLIENT_CERT_NONE);
}

static void
after(struct server_side *s, const uint8_t *heard, size_t n, uint8_t flags)
{
	switch (s->status) {
	case TLS_OK: /* nothing but what was said, in its order */
		PT_ASSERT((flags & F_RAW) == 0 && s->heard + n <= sizeof WORDS - 1 &&
			memcmp(heard, &WORDS[s->heard], n) == 0);
		s->heard += n;
		break;
	case TLS_RENEGOTIATE:
		if ((flags & F_ACCEPT) && !s->again_done &&
		    tls_session_renegotiate(t.server, (flags & F_CERT) != 0)) {
			s->handshake = TLS_WANT_READ;
			s->again_done = true;
			break;
		}
		tls_session_refuse(t.server);
		/* fall through */
	default:
		(void)!tls_session_bye(t.server);
		s->over = true;
	}
}

/* Woken with a piece of input. */
static void
server_step(struct server_side *s, uint8_t flags)
{
	uint8_t heard[64];
	unsigned tickets;
	size_t n;

	while (!s->over) {
		if (waits(s->handshake) || s->handshake == TLS_DATA) {
			s->handshake = tls_session_handshake(t.server);
			if (waits(s->handshake))
				return;
			if (s->handshake == TLS_OK)
				check_facts(flags);
			else if (s->handshake != TLS_DATA)
				s->over = true;
		} else {
			s->status = tls_session_recv(t.server, heard, sizeof heard, &n);
			if (waits(s->status))
				break;
			after(s, heard, n, flags);
		}
		if (s->handshake == TLS_DATA) { /* application data within a renegotiation */
			s->status = tls_session_recv(t.server, heard, sizeof heard, &n);
			if (waits(s->status))
				return;
			after(s, heard, n, flags);
		}
	}
	if (s->handshake == TLS_OK && !s->greeted && !s->over) {
		s->greeted = tls_session_send_tickets(t.server, &tickets) == TLS_OK &&
			tls_session_send(t.server, span_str(GREETING), &n) == TLS_OK;
		PT_ASSERT(tickets <= 2);
	}
}

/* All that is on its way arrives, in pieces. */
static void
arrive(struct server_side *s, uint8_t flags)
{
	do {
		t.left = t.piece;
		server_step(s, flags);
	} while (!s->over && t.in.off < t.in.len);
	t.left = t.piece;
	server_step(s, flags); /* the end, if there is one; or once too often */
}

/* --- the client ------------------------------------------------------------------------------- */

struct client_side {
	int handshake;
	bool asked, again;
	gnutls_certificate_credentials_t cred;
};

static void
client_open(struct client_side *c, uint8_t flags)
{
	*c = (struct client_side){ .handshake = GNUTLS_E_AGAIN };
	PT_ASSERT(gnutls_certificate_allocate_credentials(&c->cred) == 0);
	if (flags & F_CERT)
		PT_ASSERT(gnutls_certificate_set_x509_key(c->cred, &site.alice->crt, 1, site.alice->key) >= 0);
	PT_ASSERT(gnutls_init(&t.client, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_FORCE_CLIENT_CERT) == 0);
	PT_ASSERT(gnutls_priority_set_direct(t.client, flags & F_TLS13 ? "NORMAL:-VERS-ALL:+VERS-TLS1.3"
									: "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL) == 0);
	PT_ASSERT(gnutls_credentials_set(t.client, GNUTLS_CRD_CERTIFICATE, c->cred) == 0);
	gnutls_transport_set_pull_function(t.client, client_pull);
	gnutls_transport_set_push_function(t.client, client_push);
}

static void
client_step(struct client_side *c, uint8_t flags)
{
	uint8_t octet[16];

	if (c->handshake == GNUTLS_E_AGAIN)
		c->handshake = gnutls_handshake(t.client);
	if (c->handshake != 0)
		return;
	while (gnutls_record_recv(t.client, octet, sizeof octet) > 0)
		;
	if ((flags & F_AGAIN) && !c->again) {
		c->again = true;
		if (flags & F_TLS13)
			(void)gnutls_session_key_update(t.client, GNUTLS_KU_PEER);
		else
			c->handshake = gnutls_handshake(t.client);
	} else if (!c->asked) {
		c->asked = true;
		(void)gnutls_record_send(t.client, WORDS, sizeof WORDS - 1);
		(void)gnutls_bye(t.client, GNUTLS_SHUT_WR);
	}
}

/* --- both ------------------------------------------------------------------------------------- */

static void
raw(struct server_side *s, uint8_t flags, const uint8_t *data, size_t size)
{
	put(&t.in, data, size);
	t.ended = true;
	arrive(s, flags);
}

static void
live(struct server_side *s, uint8_t flags, const uint8_t *data, size_t size)
{
	struct order orders[16];
	struct client_side c;
	size_t n = 0;
	int i;

	for (; size >= sizeof *orders && n < PT_COUNT(orders); size -= sizeof *orders, data += sizeof *orders)
		memcpy(&orders[n++], data, sizeof *orders);
	client_open(&c, flags);
	for (i = 0; i < ROUNDS_MAX && !s->over; i++) {
		client_step(&c, flags);
		carry(orders, n);
		if (i == ROUNDS_MAX - 1)
			t.ended = true;
		arrive(s, flags);
	}
	PT_ASSERT(s->over); /* when all has ended, so has it */
	if (n == 0 && !((flags & F_AGAIN) && !(flags & F_TLS13)))
		PT_ASSERT(s->status == TLS_CLOSED ? s->heard == sizeof WORDS - 1 : c.handshake != 0 ||
			(flags >> F_MODE_SHIFT & 3) == TLS_CLIENT_CERT_REQUIRE);
	gnutls_deinit(t.client);
	gnutls_certificate_free_credentials(c.cred);
}

static void
begin(void)
{
	t.said.off = t.said.len = t.in.off = t.in.len = t.out.off = t.out.len = 0;
	t.ended = false;
	t.reads = t.records = 0;
	t.nheld = 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tls_transport transport = { server_read, server_write, NULL, NULL };
	struct server_side s = { .handshake = TLS_WANT_READ };
	uint8_t flags;

	if (size < 2 || size > INPUT_MAX)
		return 0;
	site_make();
	begin();
	flags = data[0];
	t.piece = data[1] == 0xff ? STREAM_MAX : data[1] + 1u;
	t.server = tls_session_new(site.creds[flags >> F_MODE_SHIFT & 3], &transport);
	PT_ASSERT(t.server != NULL);
	if (flags & F_TICKETS)
		PT_ASSERT(tls_session_offer_tickets(t.server, &site.ticket) == 0);
	(flags & F_RAW ? raw : live)(&s, flags, data + 2, size - 2);
	tls_session_free(&t.server);
	return 0;
}
