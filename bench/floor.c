/* bench/floor.c - the least CPU that a TLS server can spend on a handshake: both sides in one process and
 * in memory, without sockets; only the calls of the server's side are timed, in CPU time of this thread.
 *
 *   floor DIR full|cert SECONDS      prints CPU in microseconds for each handshake
 *
 * The library, the algorithms and the certificates are those that the server is measured with. */
#include "pki.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PRIORITY                                                                                   \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:"                 \
	"-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM"
#define WARM_UP 20

struct pipe {
	size_t n;
	uint8_t p[32 * 1024];
};

struct side {
	gnutls_session_t g;
	struct pipe *in, *out;
};

static gnutls_certificate_credentials_t server_cred, client_cred;
static gnutls_priority_t priority;
static struct pki_pool pool;
static bool with_cert;

static void
must(int rc, const char *what)
{
	if (rc < 0)
		fail(what, rc);
}

static ssize_t
pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct side *s = arg;

	if (s->in->n == 0) {
		gnutls_transport_set_errno(s->g, EAGAIN);
		return -1;
	}
	if (n > s->in->n)
		n = s->in->n;
	memcpy(p, s->in->p, n);
	s->in->n -= n;
	memmove(s->in->p, s->in->p + n, s->in->n);
	return (ssize_t)n;
}

static ssize_t
push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	struct side *s = arg;

	if (s->out->n + n > sizeof s->out->p)
		fail("a flight is too long", 0);
	memcpy(s->out->p + s->out->n, p, n);
	s->out->n += n;
	return (ssize_t)n;
}

static int
choose_cert(gnutls_session_t g, const gnutls_datum_t *cas, int ncas, const gnutls_pk_algorithm_t *algos,
	    int nalgos, gnutls_pcert_st **cert, unsigned *n, gnutls_privkey_t *key)
{
	(void)g;
	(void)cas;
	(void)ncas;
	(void)algos;
	(void)nalgos;
	*cert = pool.certs;
	*n = 1;
	*key = pool.key;
	return 0;
}

static void
open_side(struct side *s, unsigned flags, gnutls_certificate_credentials_t cred, struct pipe *in,
	  struct pipe *out)
{
	*s = (struct side){ .in = in, .out = out };
	must(gnutls_init(&s->g, flags | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS), "session");
	must(gnutls_priority_set(s->g, priority), "session");
	must(gnutls_credentials_set(s->g, GNUTLS_CRD_CERTIFICATE, cred), "session");
	gnutls_transport_set_ptr(s->g, s);
	gnutls_transport_set_pull_function(s->g, pull);
	gnutls_transport_set_push_function(s->g, push);
	if ((flags & GNUTLS_SERVER) && with_cert)
		gnutls_certificate_server_set_request(s->g, GNUTLS_CERT_REQUIRE);
}

static double
cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static bool
step(struct side *s)
{
	int rc = gnutls_handshake(s->g);

	if (rc != 0 && gnutls_error_is_fatal(rc))
		fail("handshake", rc);
	return rc == 0;
}

/* One handshake; returns the server's share. */
static double
handshake(void)
{
	static struct pipe up, down;
	struct side server, client;
	bool server_done = false, client_done = false;
	double sum = 0, t;
	unsigned status = 0;

	up.n = down.n = 0;
	open_side(&client, GNUTLS_CLIENT, client_cred, &down, &up);
	t = cpu_us();
	open_side(&server, GNUTLS_SERVER, server_cred, &up, &down);
	sum += cpu_us() - t;
	while (!server_done || !client_done) {
		if (!client_done)
			client_done = step(&client);
		if (server_done)
			continue;
		t = cpu_us();
		if ((server_done = step(&server)) && with_cert) {
			must(gnutls_certificate_verify_peers2(server.g, &status), "verification");
			if (status != 0)
				fail("the client certificate is not trusted", 0);
		}
		sum += cpu_us() - t;
	}
	t = cpu_us();
	gnutls_deinit(server.g);
	sum += cpu_us() - t;
	gnutls_deinit(client.g);
	return sum;
}

int
main(int argc, char **argv)
{
	char crt[4096], key[4096], ca[4096];
	double sum = 0, end, seconds;
	unsigned n = 0, i;

	if (argc != 4)
		fail("usage: floor DIR full|cert SECONDS", 0);
	with_cert = strcmp(argv[2], "cert") == 0;
	seconds = strtod(argv[3], NULL);
	snprintf(crt, sizeof crt, "%s/server.pem", argv[1]);
	snprintf(key, sizeof key, "%s/server.key", argv[1]);
	snprintf(ca, sizeof ca, "%s/ca.pem", argv[1]);
	must(gnutls_certificate_allocate_credentials(&server_cred), "server");
	must(gnutls_certificate_allocate_credentials(&client_cred), "client");
	must(gnutls_certificate_set_x509_key_file(server_cred, crt, key, GNUTLS_X509_FMT_PEM), crt);
	must(gnutls_certificate_set_x509_trust_file(server_cred, ca, GNUTLS_X509_FMT_PEM), ca);
	must(gnutls_priority_init(&priority, PRIORITY, NULL), "priority");
	if (with_cert) {
		pki_pool_init(&pool, argv[1], 1);
		gnutls_certificate_set_retrieve_function2(client_cred, choose_cert);
	}
	for (i = 0; i < WARM_UP; i++)
		(void)handshake();
	for (end = cpu_us() + seconds * 1e6; cpu_us() < end; n++)
		sum += handshake();
	printf("%.1f\n", sum / n);
	return 0;
}
