/* bench/client.c - see client.h. What it does not check: the server's certificate, since only the server
 * is measured and the client shares its processors. */
#include "client.h"

#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define TALK_NOOPS 4 /* for STARTTLS, ClientHello, Finished and NOOP */

#define PRIORITY                                                                                   \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:"                 \
	"-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM"

/* A record of 512 octets with a ClientHello of 508 in it; what follows is left out for ever. */
static const uint8_t hello_begin[] = { 0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03 };

static uint16_t server_port;
static gnutls_certificate_credentials_t cred;
static gnutls_priority_t priority;
static struct pki_pool *certs;
static size_t cert_next;
static bool resumes;

static int
choose_cert(gnutls_session_t tls, const gnutls_datum_t *cas, int ncas, const gnutls_pk_algorithm_t *algos,
	    int nalgos, gnutls_pcert_st **cert, unsigned *n, gnutls_privkey_t *key)
{
	(void)tls;
	(void)cas;
	(void)ncas;
	(void)algos;
	(void)nalgos;
	*cert = &certs->certs[cert_next++ % certs->n];
	*n = 1;
	*key = certs->key;
	return 0;
}

void
client_setup(uint16_t port, struct pki_pool *pool, bool resume)
{
	int rc;

	resumes = resume;
	server_port = port;
	certs = pool;
	if ((rc = gnutls_certificate_allocate_credentials(&cred)) != 0 ||
	    (rc = gnutls_priority_init(&priority, PRIORITY, NULL)) != 0)
		fail("client", rc);
	if (pool != NULL)
		gnutls_certificate_set_retrieve_function2(cred, choose_cert);
}

static enum client_state
failed(struct client *c, const char *why)
{
	c->why = why;
	return CLIENT_FAILED;
}

void
client_end(struct client *c)
{
	if (c->tls != NULL)
		gnutls_deinit(c->tls);
	c->tls = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

enum client_state
client_begin(struct client *c, unsigned number, enum client_goal goal)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(server_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(0x7f010001u + (number % 200) * 256) };
	int one = 1;

	c->goal = goal;
	c->phase = PHASE_GREETING;
	c->tls = NULL;
	c->have = 0;
	c->said = 0;
	c->why = "";
	c->begun_ns = meter_now_ns();
	if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		return failed(c, "socket");
	(void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
		return failed(c, "bind");
	if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
		return failed(c, "connect");
	return CLIENT_BUSY; /* the greeting tells that it is connected */
}

static bool
say(struct client *c, const char *command)
{
	size_t n = strlen(command);

	if (c->tls != NULL)
		return gnutls_record_send(c->tls, command, n) == (ssize_t)n;
	return send(c->fd, command, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Reads what is there. 0: the end; -1 nothing now; -2 an error; otherwise how much. */
static ssize_t
hear(struct client *c)
{
	size_t room = sizeof c->room - c->have;
	ssize_t n;

	if (room == 0)
		return -2;
	if (c->tls == NULL) {
		if ((n = recv(c->fd, c->room + c->have, room, 0)) < 0)
			return errno == EAGAIN || errno == EINTR ? -1 : -2;
	} else if ((n = gnutls_record_recv(c->tls, c->room + c->have, room)) < 0) {
		return gnutls_error_is_fatal((int)n) ? -2 : -1;
	}
	c->have += (size_t)n;
	return n;
}

/* Whether the reply is complete: its last line is the first that does not begin with a quote. */
static bool
reply_ended(const struct client *c, bool *ok)
{
	const char *p = c->room, *end = c->room + c->have, *nl;

	for (; (nl = memchr(p, '\n', (size_t)(end - p))) != NULL; p = nl + 1) {
		if (*p == '"')
			continue;
		*ok = nl + 1 == end && end - p > 2 && memcmp(p, "OK", 2) == 0;
		return true;
	}
	return false;
}

static enum client_state
begin_tls(struct client *c)
{
	if (c->goal == CLIENT_STALLED) {
		c->phase = PHASE_STALL;
		return send(c->fd, hello_begin, sizeof hello_begin, MSG_NOSIGNAL) > 0
			? CLIENT_THERE
			: failed(c, "send");
	}
	c->phase = PHASE_HANDSHAKE;
	if (gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
		    (resumes ? 0 : GNUTLS_NO_TICKETS)) != 0 ||
	    gnutls_priority_set(c->tls, priority) != 0 ||
	    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, cred) != 0 ||
	    (c->session.data != NULL &&
		    gnutls_session_set_data(c->tls, c->session.data, c->session.size) != 0))
		return failed(c, "gnutls_init");
	gnutls_transport_set_int(c->tls, c->fd);
	return CLIENT_BUSY;
}

/* The tickets came with the first reply at the latest. */
static bool
keep_session(struct client *c)
{
	gnutls_free(c->session.data);
	c->session = (gnutls_datum_t){ NULL, 0 };
	return (gnutls_session_get_flags(c->tls) & GNUTLS_SFLAGS_SESSION_TICKET) != 0 &&
		gnutls_session_get_data2(c->tls, &c->session) == 0;
}

/* A reply that was good: what comes next. */
static enum client_state
next_phase(struct client *c)
{
	c->have = 0;
	switch (c->phase) {
	case PHASE_GREETING:
		if (c->goal == CLIENT_GREETED) {
			c->phase = PHASE_READY;
			return CLIENT_THERE;
		}
		if (c->goal == CLIENT_TALK)
			return client_noop(c);
		c->phase = PHASE_STARTTLS;
		return say(c, "STARTTLS\r\n") ? CLIENT_BUSY : failed(c, "send");
	case PHASE_STARTTLS:
		return begin_tls(c);
	case PHASE_CAPABILITIES:
		c->phase = PHASE_READY;
		return c->goal == CLIENT_CYCLE ? client_noop(c) : CLIENT_THERE;
	case PHASE_NOOP:
		if (c->goal == CLIENT_TALK) {
			if (++c->said < TALK_NOOPS)
				return client_noop(c);
			c->phase = PHASE_BYE;
			return shutdown(c->fd, SHUT_WR) == 0 ? CLIENT_BUSY : failed(c, "shutdown");
		}
		if (c->goal != CLIENT_CYCLE) {
			c->phase = PHASE_READY;
			return CLIENT_THERE;
		}
		if (resumes && !keep_session(c))
			return failed(c, "no ticket");
		c->phase = PHASE_BYE;
		return gnutls_bye(c->tls, GNUTLS_SHUT_WR) == 0 ? CLIENT_BUSY : failed(c, "bye");
	default:
		return failed(c, "a reply that nobody asked for");
	}
}

enum client_state
client_noop(struct client *c)
{
	c->phase = PHASE_NOOP;
	return say(c, "NOOP\r\n") ? CLIENT_BUSY : failed(c, "send");
}

/* Reads replies as far as they have come. */
static enum client_state
converse(struct client *c)
{
	enum client_state s = CLIENT_BUSY;
	bool ok = false;
	ssize_t n;

	while (s == CLIENT_BUSY && c->phase != PHASE_HANDSHAKE) {
		n = hear(c);
		if (n == 0)
			return c->phase == PHASE_BYE ? CLIENT_THERE : failed(c, "closed by the server");
		if (n == -2)
			return failed(c, "receive");
		if (n == -1)
			return CLIENT_BUSY;
		if (!reply_ended(c, &ok))
			continue;
		if (!ok)
			return failed(c, "the server did not say OK");
		s = next_phase(c);
		if (s == CLIENT_BUSY && (c->tls == NULL || gnutls_record_check_pending(c->tls) == 0))
			break; /* we have just spoken: nothing can be there yet */
	}
	return s;
}

enum client_state
client_step(struct client *c)
{
	enum client_state s;
	int rc;

	if (c->phase == PHASE_STALL || c->phase == PHASE_READY) /* only the end can come */
		return failed(c, "closed by the server");
	if (c->phase != PHASE_HANDSHAKE) {
		s = converse(c);
		if (s != CLIENT_BUSY || c->phase != PHASE_HANDSHAKE)
			return s;
	}
	/* straight behind the reply to STARTTLS, since in TLS the client speaks first */
	if ((rc = gnutls_handshake(c->tls)) != 0)
		return gnutls_error_is_fatal(rc) ? failed(c, gnutls_strerror(rc)) : CLIENT_BUSY;
	if (c->session.data != NULL && !gnutls_session_is_resumed(c->tls))
		return failed(c, "a full handshake");
	c->phase = PHASE_CAPABILITIES;
	return converse(c);
}

bool
client_drip(struct client *c)
{
	return send(c->fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 || errno == EAGAIN;
}
