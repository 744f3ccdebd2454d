/* unit/tls/duet.c - see duet.h. */
#include "duet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- wires ------------------------------------------------------------------------------------ */

static ssize_t
wire_read(struct wire *w, void *p, size_t n)
{
	size_t there = w->len - w->off;

	if (w->broken)
		return PT_EIO;
	there = there > w->hold ? there - w->hold : 0;
	if (there == 0)
		return w->ended && w->hold == 0 ? PT_EEOF : PT_EAGAIN;
	n = n < there ? n : there;
	memcpy(p, w->octets + w->off, n);
	w->off += n;
	if (w->off == w->len)
		w->off = w->len = 0;
	return (ssize_t)n;
}

static ssize_t
wire_write(struct wire *w, const void *p, size_t n)
{
	size_t room = (w->room > 0 ? w->room : WIRE_MAX) - (w->len - w->off);

	if (w->broken)
		return PT_EIO;
	if (w->off > 0) {
		memmove(w->octets, w->octets + w->off, w->len - w->off);
		w->len -= w->off;
		w->off = 0;
	}
	if (room == 0 || (w->whole && room < n))
		return PT_EAGAIN;
	n = n < room ? n : room;
	memcpy(w->octets + w->len, p, n);
	w->len += n;
	return (ssize_t)n;
}

/* How many of n octets pass before the cut; 0 with *rc: none, and why. */
static size_t
before_cut(struct wire *w, size_t n, ssize_t *rc)
{
	static const int ends[] = { [WIRE_STALL] = PT_EAGAIN, [WIRE_END] = PT_EEOF, [WIRE_RESET] = PT_EIO };

	*rc = 0;
	if (!w->cut || w->passed + n <= w->cut_at)
		return n;
	w->met = true;
	if (w->passed < w->cut_at)
		return w->cut_at - w->passed;
	*rc = ends[w->cut_how];
	return 0;
}

static ssize_t
server_read(void *arg, void *p, size_t n)
{
	struct wire *w = &((struct duet *)arg)->to_server;
	ssize_t r;

	if ((n = before_cut(w, n, &r)) == 0)
		return r;
	if ((r = wire_read(w, p, n)) > 0)
		w->passed += (size_t)r;
	return r;
}

static ssize_t
server_write(void *arg, const void *p, size_t n)
{
	struct wire *w = &((struct duet *)arg)->to_client;
	ssize_t r;

	if ((n = before_cut(w, n, &r)) == 0)
		return r;
	if ((r = wire_write(w, p, n)) > 0)
		w->passed += (size_t)r;
	return r;
}

static ssize_t
for_gnutls(struct duet *d, ssize_t r)
{
	if (r >= 0)
		return r;
	if (r == PT_EEOF)
		return 0;
	gnutls_transport_set_errno(d->client, r == PT_EAGAIN ? EAGAIN : ECONNRESET);
	return -1;
}

static ssize_t
client_pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct duet *d = arg;

	return for_gnutls(d, wire_read(&d->to_client, p, n));
}

static ssize_t
client_push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	struct duet *d = arg;

	return for_gnutls(d, wire_write(&d->to_server, p, n));
}

/* --- signer ----------------------------------------------------------------------------------- */

int
duet_sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed, struct span data,
	  uint8_t *sig, size_t *len)
{
	struct duet_signer *s = arg;

	s->calls++;
	s->generation = generation;
	s->key = key;
	if (s->rc != 0)
		return s->rc;
	if (key >= s->nkeys)
		return PT_ENOENT;
	return tls_key_sign(s->keys[key], algorithm, hashed, data, sig, len);
}

char *
duet_add_key(struct duet_signer *s, const struct pki *leaf, const struct pki *issuer)
{
	char *certs = pki_cert_pem(leaf), *key = pki_key_pem(leaf), *out;
	struct diag diag = { "" };
	struct buf chain;

	if (issuer != NULL)
		certs = pki_join(certs, pki_cert_pem(issuer), NULL);
	buf_init(&chain, TLS_FILE_MAX);
	PT_ASSERT(s->nkeys < DUET_KEYS_MAX);
	PT_ASSERT(tls_key_load(span_str(certs), span_str(key), NULL, &s->keys[s->nkeys], &chain, &diag) == 0);
	s->nkeys++;
	out = strndup((const char *)buf_span(&chain).p, buf_size(&chain));
	buf_fini(&chain);
	free(certs);
	free(key);
	return out;
}

void
duet_signer_fini(struct duet_signer *s)
{
	while (s->nkeys > 0)
		tls_key_free(&s->keys[--s->nkeys]);
}

/* --- both ------------------------------------------------------------------------------------- */

void
duet_init(struct duet *d, struct tls_cred *cred, const char *priority, const struct pki *cert,
	  const struct pki *const *chain, const char *sni)
{
	const struct tls_transport t = { server_read, server_write, d, NULL };
	gnutls_x509_crt_t crts[64];
	unsigned n = 0;

	memset(d, 0, sizeof *d);
	d->server = tls_session_new(cred, &t);
	PT_ASSERT(d->server != NULL);
	PT_ASSERT(gnutls_certificate_allocate_credentials(&d->client_cred) == 0);
	if (cert != NULL) {
		crts[n++] = cert->crt;
		for (; chain != NULL && *chain != NULL; chain++)
			crts[n++] = (*chain)->crt;
		PT_ASSERT(gnutls_certificate_set_x509_key(d->client_cred, crts, (int)n, cert->key) >= 0);
	}
	/* the certificate is sent whatever CAs the server names */
	PT_ASSERT(gnutls_init(&d->client, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_FORCE_CLIENT_CERT) == 0);
	PT_ASSERT(gnutls_priority_set_direct(d->client, priority, NULL) == 0);
	PT_ASSERT(gnutls_credentials_set(d->client, GNUTLS_CRD_CERTIFICATE, d->client_cred) == 0);
	if (sni != NULL)
		PT_ASSERT(gnutls_server_name_set(d->client, GNUTLS_NAME_DNS, sni, strlen(sni)) == 0);
	gnutls_handshake_set_max_packet_length(d->client, WIRE_MAX);
	gnutls_transport_set_ptr(d->client, d);
	gnutls_transport_set_pull_function(d->client, client_pull);
	gnutls_transport_set_push_function(d->client, client_push);
	d->status = TLS_WANT_READ;
	d->client_rc = GNUTLS_E_AGAIN;
}

void
duet_fini(struct duet *d)
{
	tls_session_free(&d->server);
	PT_ASSERT(d->server == NULL);
	gnutls_deinit(d->client);
	gnutls_certificate_free_credentials(d->client_cred);
}

ssize_t
duet_client_recv(struct duet *d, void *p, size_t n)
{
	ssize_t r = gnutls_record_recv(d->client, p, n);

	if (r == GNUTLS_E_FATAL_ALERT_RECEIVED || r == GNUTLS_E_WARNING_ALERT_RECEIVED)
		d->client_alert = (unsigned)gnutls_alert_get(d->client);
	return r;
}

static bool
is_under_way(enum tls_status s)
{
	return s == TLS_WANT_READ || s == TLS_WANT_WRITE;
}

void
duet_handshake(struct duet *d)
{
	char octet;
	int i;

	for (i = 0; i < 32; i++) {
		if (d->client_rc == GNUTLS_E_AGAIN)
			d->client_rc = gnutls_handshake(d->client);
		if (d->client_rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
			d->client_alert = (unsigned)gnutls_alert_get(d->client);
		if (is_under_way(d->status))
			d->status = tls_session_handshake(d->server);
		if (!is_under_way(d->status) && d->client_rc != GNUTLS_E_AGAIN)
			break;
	}
	if (d->client_rc == 0)
		(void)duet_client_recv(d, &octet, 1);
}
