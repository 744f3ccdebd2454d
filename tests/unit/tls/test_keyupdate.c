/* unit/tls/test_keyupdate.c - a client changes its keys and goes on in the same segment: what stands behind
 * the KeyUpdate is read without waiting for more to come. */
#include "test.h"

#include "tls/tls_selfsigned.h"
#include "tls/tls_session.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct pipe {
	size_t n;
	uint8_t p[64 * 1024];
};

static struct pipe up, down; /* client to server, server to client */
static struct tls_key *key;

static size_t
take(struct pipe *b, void *p, size_t n)
{
	if (n > b->n)
		n = b->n;
	memcpy(p, b->p, n);
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
	return n;
}

static void
add(struct pipe *b, const void *p, size_t n)
{
	CU_ASSERT_FATAL(b->n + n <= sizeof b->p);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static ssize_t
server_read(void *arg, void *p, size_t n)
{
	(void)arg;
	return up.n > 0 ? (ssize_t)take(&up, p, n) : PT_EAGAIN;
}

static ssize_t
server_write(void *arg, const void *p, size_t n)
{
	(void)arg;
	add(&down, p, n);
	return (ssize_t)n;
}

static ssize_t
client_pull(gnutls_transport_ptr_t g, void *p, size_t n)
{
	if (down.n > 0)
		return (ssize_t)take(&down, p, n);
	gnutls_transport_set_errno(g, EAGAIN);
	return -1;
}

static ssize_t
client_push(gnutls_transport_ptr_t g, const void *p, size_t n)
{
	(void)g;
	add(&up, p, n);
	return (ssize_t)n;
}

static int
sign(void *arg, uint64_t generation, uint32_t number, uint32_t algorithm, bool hashed, struct span data,
     uint8_t *sig, size_t *len)
{
	(void)arg;
	(void)generation;
	(void)number;
	return tls_key_sign(key, algorithm, hashed, data, sig, len);
}

static struct tls_cred *
make_cred(void)
{
	int fds[2] = { memfd_create("key", MFD_CLOEXEC), memfd_create("cert", MFD_CLOEXEC) };
	struct tls_chain chain = { .key = 0 };
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_3, .chains = &chain, .nchains = 1,
		.sign = sign };
	char text[2][4096];
	struct tls_cred *cred;
	struct diag diag;
	struct buf pem;
	ssize_t n[2];
	int i;

	CU_ASSERT_EQUAL_FATAL(tls_selfsigned_make("localhost", time(NULL), fds[0], fds[1], &diag), 0);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_FATAL((n[i] = pread(fds[i], text[i], sizeof text[i], 0)) > 0);
		close(fds[i]);
	}
	buf_init(&pem, TLS_FILE_MAX);
	CU_ASSERT_EQUAL_FATAL(tls_key_load((struct span){ (uint8_t *)text[1], (size_t)n[1] },
		(struct span){ (uint8_t *)text[0], (size_t)n[0] }, NULL, &key, &pem, &diag), 0);
	chain.pem = buf_span(&pem);
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
	buf_fini(&pem);
	return cred;
}

static void
test_data_behind_key_update(void)
{
	const struct tls_transport t = { server_read, server_write, NULL, NULL };
	struct tls_cred *cred = make_cred();
	struct tls_session *s = tls_session_new(cred, &t);
	gnutls_certificate_credentials_t none;
	enum tls_status server = TLS_WANT_READ;
	gnutls_session_t g;
	char got[64];
	size_t n = 0;
	int client = GNUTLS_E_AGAIN, i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_EQUAL_FATAL(gnutls_certificate_allocate_credentials(&none), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_init(&g, GNUTLS_CLIENT | GNUTLS_NONBLOCK), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_set_default_priority(g), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_credentials_set(g, GNUTLS_CRD_CERTIFICATE, none), 0);
	gnutls_transport_set_ptr(g, g);
	gnutls_transport_set_pull_function(g, client_pull);
	gnutls_transport_set_push_function(g, client_push);
	for (i = 0; i < 10 && (client != 0 || server != TLS_OK); i++) {
		if (client != 0)
			client = gnutls_handshake(g);
		if (server != TLS_OK)
			server = tls_session_handshake(s);
	}
	CU_ASSERT_EQUAL_FATAL(client, 0);
	CU_ASSERT_EQUAL_FATAL(server, TLS_OK);

	CU_ASSERT_EQUAL(gnutls_session_key_update(g, GNUTLS_KU_PEER), 0);
	CU_ASSERT_EQUAL(gnutls_record_send(g, "NOOP\r\n", 6), 6);
	CU_ASSERT_EQUAL(tls_session_recv(s, got, sizeof got, &n), TLS_OK);
	CU_ASSERT_EQUAL(n, 6);
	CU_ASSERT_EQUAL(tls_session_recv(s, got, sizeof got, &n), TLS_WANT_READ);
	/* one without anything behind it leaves the session as it was */
	CU_ASSERT_EQUAL(gnutls_session_key_update(g, 0), 0);
	CU_ASSERT_EQUAL(tls_session_recv(s, got, sizeof got, &n), TLS_WANT_READ);
	CU_ASSERT_EQUAL(tls_session_send(s, (struct span){ (const uint8_t *)"OK\r\n", 4 }, &n), TLS_OK);
	CU_ASSERT_EQUAL(gnutls_record_recv(g, got, sizeof got), GNUTLS_E_AGAIN); /* their KeyUpdate */
	CU_ASSERT_EQUAL(gnutls_record_recv(g, got, sizeof got), 4);

	gnutls_deinit(g);
	gnutls_certificate_free_credentials(none);
	tls_session_free(&s);
	tls_cred_unref(&cred);
	tls_key_free(&key);
}

static const struct test_row rows[] = {
	{ "data behind a KeyUpdate", test_data_behind_key_update },
};

TEST_MAIN("keyupdate", rows)
