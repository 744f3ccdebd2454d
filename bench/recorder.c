/* bench/recorder.c - what the flight recorder costs a handshake: the worker's own TLS layer and recorder against a
 * client, both sides in memory. Everything of the server's side is below server_share(), so that callgrind can count
 * its instructions and nothing else:
 *
 *   valgrind --tool=callgrind --collect-atstart=no --toggle-collect=server_share recorder DIR on|off full|cert N
 *
 * DIR has what "load pki" makes. The key is in the process, as the keyholder's share. */
#include "pki.h"

#include "proc/conn_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pipe {
	size_t n;
	uint8_t p[32 * 1024];
};

static struct pipe up, down; /* to the server, to the client */
static gnutls_privkey_t server_key;
static struct pki_pool pool;

static struct worker worker;
static struct conf conf;
static struct conf_tls tls = { .client_certificate = CONF_CC_REQUEST, .protocols = CONF_TLS_1_2 | CONF_TLS_1_3 };
static char service_name[] = "bench";
static struct conf_service service_conf = { .name = service_name, .tls = &tls };
static struct service service = { .conf = &service_conf };
static struct conf_listen listener = { .mode = CONF_LISTEN_TLS };
static struct conn conn;
static struct tls_cred *cred;

static void
must(int rc, const char *what)
{
	if (rc < 0)
		fail(what, rc);
}

static ssize_t
take(struct pipe *from, void *p, size_t n)
{
	n = n < from->n ? n : from->n;
	memcpy(p, from->p, n);
	from->n -= n;
	memmove(from->p, from->p + n, from->n);
	return (ssize_t)n;
}

static ssize_t
put(struct pipe *to, const void *p, size_t n)
{
	if (to->n + n > sizeof to->p)
		fail("a flight is too long", 0);
	memcpy(to->p + to->n, p, n);
	to->n += n;
	return (ssize_t)n;
}

/* --- the client -------------------------------------------------------------------------------- */

static ssize_t
client_pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	if (down.n > 0)
		return take(&down, p, n);
	gnutls_transport_set_errno(arg, EAGAIN);
	return -1;
}

static ssize_t
client_push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	(void)arg;
	return put(&up, p, n);
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

static gnutls_session_t
client_new(gnutls_certificate_credentials_t c)
{
	gnutls_session_t g;

	must(gnutls_init(&g, GNUTLS_CLIENT | GNUTLS_NONBLOCK), "client");
	must(gnutls_priority_set_direct(g, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519", NULL), "client");
	must(gnutls_credentials_set(g, GNUTLS_CRD_CERTIFICATE, c), "client");
	must(gnutls_server_name_set(g, GNUTLS_NAME_DNS, "localhost", 9), "client");
	gnutls_transport_set_ptr(g, g);
	gnutls_transport_set_pull_function(g, client_pull);
	gnutls_transport_set_push_function(g, client_push);
	return g;
}

/* --- the server -------------------------------------------------------------------------------- */

static ssize_t
server_read(void *arg, void *p, size_t n)
{
	struct conn *c = arg;

	if (up.n == 0)
		return PT_EAGAIN;
	conn_rec_first(c, true, (struct span){ up.p, up.n });
	return take(&up, p, n);
}

static ssize_t
server_write(void *arg, const void *p, size_t n)
{
	(void)arg;
	return put(&down, p, n);
}

static int
sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed, struct span data, uint8_t *out,
     size_t *len_out)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)data.p, (unsigned)data.n }, sig;
	int rc;

	(void)arg;
	(void)generation;
	(void)key;
	rc = hashed ? gnutls_privkey_sign_hash2(server_key, (gnutls_sign_algorithm_t)algorithm, 0, &d, &sig)
		    : gnutls_privkey_sign_data2(server_key, (gnutls_sign_algorithm_t)algorithm, 0, &d, &sig);
	if (rc != 0 || sig.size > TLS_SIGNATURE_MAX)
		return PT_EIO;
	memcpy(out, sig.data, sig.size);
	*len_out = sig.size;
	gnutls_free(sig.data);
	return 0;
}

enum part { OPEN, STEP, CLOSE };

/* What a worker does for one connection, as far as TLS and the recorder are in it. True when the handshake is done. */
__attribute__((noinline)) static bool
server_share(enum part part)
{
	const struct tls_transport t = { server_read, server_write, &conn, conn_rec_message };
	unsigned tickets;

	switch (part) {
	case OPEN:
		conn.at = conn_state_start(true, false);
		conn_rec_open(&conn);
		conn_rec_step(&conn, REC_STEP_TLS_BEGINS, REC_WAY_NONE);
		conn.tls = tls_session_new(cred, &t);
		return conn.tls == NULL;
	case STEP:
		if (tls_session_handshake(conn.tls) != TLS_OK)
			return false;
		conn_rec_established(&conn, tls_session_facts(conn.tls)->verdict, "user@example.org");
		return tls_session_send_tickets(conn.tls, &tickets) == TLS_OK;
	case CLOSE:
		if (tls_session_bye(conn.tls) != TLS_OK)
			fail("close_notify", 0);
		conn_rec_close(&conn);
		tls_session_free(&conn.tls);
		return true;
	}
	return false;
}

static void
handshake(gnutls_certificate_credentials_t c)
{
	gnutls_session_t g = client_new(c);
	bool client_done = false, server_done = false;
	int rc;

	up.n = down.n = 0;
	memset(&conn.rec, 0, sizeof conn.rec);
	(void)server_share(OPEN);
	while (!client_done || !server_done) {
		rc = client_done ? 0 : gnutls_handshake(g);
		if (rc != 0 && gnutls_error_is_fatal(rc))
			fail("client", rc);
		client_done = rc == 0;
		if (!server_done && up.n > 0)
			server_done = server_share(STEP);
	}
	(void)server_share(CLOSE);
	gnutls_deinit(g);
}

/* --- set up ------------------------------------------------------------------------------------ */

static struct span
slurp(const char *dir, const char *name)
{
	char path[4096];
	struct span s;
	uint8_t *p = malloc(64 * 1024);
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (p == NULL || (fd = open(path, O_RDONLY)) < 0 || (n = read(fd, p, 64 * 1024)) <= 0)
		fail(path, 0);
	close(fd);
	s = (struct span){ p, (size_t)n };
	return s;
}

static void
set_up(const char *dir, bool on)
{
	struct span pem = slurp(dir, "server.pem"), key = slurp(dir, "server.key"), ca = slurp(dir, "ca.pem");
	const gnutls_datum_t d = { (unsigned char *)(uintptr_t)key.p, (unsigned)key.n };
	const struct tls_chain chain = { pem, 0 };
	const struct tls_ca_file file = { ca, "ca.pem" };
	const struct tls_cred_conf c = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3, .client_cert =
		TLS_CLIENT_CERT_REQUEST, .chains = &chain, .nchains = 1, .cas = &file, .ncas = 1, .sign = sign };
	struct diag diag;
	int fd;

	must(gnutls_privkey_init(&server_key), "key");
	must(gnutls_privkey_import_x509_raw(server_key, &d, GNUTLS_X509_FMT_PEM, NULL, 0), "key");
	if (tls_cred_new(&c, &cred, &diag) != 0)
		fail(diag.text, 0);
	if (rec_mem_create(&fd) != 0)
		fail("memory", 0);
	worker.conf = &conf;
	if (on && (worker.rec_writer = rec_writer_new(rec_mem_map(fd, true), 0, REC_RECENT)) == NULL)
		fail("recorder", 0);
	listener.addr.in.sin_family = AF_INET;
	listener.addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener.addr_len = sizeof listener.addr.in;
	conn.worker = &worker;
	conn.service = &service;
	conn.listen = &listener;
	conn.stream.fd = -1;
	memcpy(conn.peer, &listener.addr.in, sizeof listener.addr.in);
}

int
main(int argc, char **argv)
{
	gnutls_certificate_credentials_t c;
	int i, n;

	if (argc != 5)
		fail("usage: recorder DIR on|off full|cert N", 0);
	set_up(argv[1], strcmp(argv[2], "on") == 0);
	must(gnutls_certificate_allocate_credentials(&c), "client");
	if (strcmp(argv[3], "cert") == 0) {
		pki_pool_init(&pool, argv[1], 1);
		gnutls_certificate_set_retrieve_function2(c, choose_cert);
	}
	n = atoi(argv[4]);
	for (i = 0; i < n; i++)
		handshake(c);
	return 0;
}
