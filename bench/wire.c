/* bench/wire.c - see wire.h. */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define PRIORITY                                                                                   \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:"                 \
	"-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM"

/* A record of 512 octets with a ClientHello of 508 in it; what follows is left out for ever. */
static const uint8_t hello_begin[] = { 0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03 };

static uint16_t server_port;
static const struct pki_pool *certs;
static gnutls_certificate_credentials_t cred;
static gnutls_priority_t priority;

static int
choose_cert(gnutls_session_t tls, const gnutls_datum_t *cas, int ncas, const gnutls_pk_algorithm_t *algos,
	    int nalgos, gnutls_pcert_st **cert, unsigned *n, gnutls_privkey_t *key)
{
	const struct wire *w = gnutls_session_get_ptr(tls);

	(void)cas;
	(void)ncas;
	(void)algos;
	(void)nalgos;
	*cert = &certs->certs[w->cert % certs->n];
	*n = 1;
	*key = certs->key;
	return 0;
}

void
wire_setup(uint16_t port, const struct pki_pool *pool)
{
	int rc;

	server_port = port;
	certs = pool;
	if ((rc = gnutls_certificate_allocate_credentials(&cred)) != 0 ||
	    (rc = gnutls_priority_init(&priority, PRIORITY, NULL)) != 0)
		fail("client", rc);
	if (pool != NULL)
		gnutls_certificate_set_retrieve_function2(cred, choose_cert);
}

const char *
wire_open(struct wire *w, unsigned number)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(server_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(0x7f010001u + (number % 200) * 256) };
	int one = 1;

	w->tls = NULL;
	if ((w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		return "socket";
	(void)setsockopt(w->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	(void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(w->fd, (struct sockaddr *)&from, sizeof from) != 0)
		return "bind";
	if (connect(w->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
		return "connect";
	return NULL;
}

const char *
wire_begin_tls(struct wire *w, bool tickets)
{
	if (gnutls_init(&w->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
		    (tickets ? 0 : GNUTLS_NO_TICKETS)) != 0 ||
	    gnutls_priority_set(w->tls, priority) != 0 ||
	    gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, cred) != 0)
		return "gnutls_init";
	gnutls_session_set_ptr(w->tls, w);
	gnutls_transport_set_int(w->tls, w->fd);
	return NULL;
}

const char *
wire_stall(struct wire *w)
{
	return send(w->fd, hello_begin, sizeof hello_begin, MSG_NOSIGNAL) > 0 ? NULL : "send";
}

bool
wire_drip(struct wire *w)
{
	return send(w->fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 || errno == EAGAIN;
}

/* What a call on the socket, or on the session, came to. */
static ssize_t
result(const struct wire *w, ssize_t n)
{
	if (n >= 0)
		return n;
	if (w->tls != NULL)
		return gnutls_error_is_fatal((int)n) ? WIRE_BROKEN : WIRE_LATER;
	return errno == EAGAIN || errno == EINTR ? WIRE_LATER : WIRE_BROKEN;
}

ssize_t
wire_send(struct wire *w, const void *p, size_t n)
{
	return result(w, w->tls != NULL ? gnutls_record_send(w->tls, p, n) : send(w->fd, p, n, MSG_NOSIGNAL));
}

ssize_t
wire_recv(struct wire *w, void *p, size_t n)
{
	return result(w, w->tls != NULL ? gnutls_record_recv(w->tls, p, n) : recv(w->fd, p, n, 0));
}

bool
wire_pending(const struct wire *w)
{
	return w->tls != NULL && gnutls_record_check_pending(w->tls) > 0;
}

void
wire_close(struct wire *w)
{
	if (w->tls != NULL)
		gnutls_deinit(w->tls);
	w->tls = NULL;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}
