/* bench/talk.c - one client that talks to a service inside TLS, for what is about octets and not about handshakes.
 *
 *   talk echo  --port N --seconds S [--ok] [--meter SPEC]
 *   talk first --port N --seconds S [--meter SPEC]
 *
 * echo: batches of LINES lines of LINE octets, sent at once and read back whole; each line begins with "ECHO ", so that
 * the line service takes it, too. --ok: it answers as the line service does, each line quoted and then "OK ...". One
 * operation is one line.
 * first: a connection, STARTTLS, and the first octet that is said in TLS without being asked; the time is that
 * from the end of the handshake to that octet.
 *
 * Prints one line of JSON as load does. Needs a service that says one line before STARTTLS, or several that begin with a
 * quote and one that does not. */
#include "meter.h"
#include "pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES 64
#define LINE 1024
#define SAMPLES_MAX 100000

struct talk {
	int fd;
	gnutls_session_t tls;
};

static gnutls_certificate_credentials_t cred;
static uint32_t samples[SAMPLES_MAX];
static size_t nsamples;

static void
read_line(struct talk *t, char *out, size_t cap)
{
	size_t n = 0;

	while (n + 1 < cap && recv(t->fd, out + n, 1, 0) == 1)
		if (out[n++] == '\n')
			break;
	out[n] = '\0';
	if (n == 0 || out[n - 1] != '\n')
		fail("no line in plaintext", 0);
}

/* Capability lines, and the last one, which must be the service's yes. */
static void
read_reply(struct talk *t)
{
	char line[LINE];

	do
		read_line(t, line, sizeof line);
	while (line[0] == '"');
	if (strncmp(line, "OK", 2) != 0)
		fail(line, 0);
}

static void
begin(struct talk *t, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1, rc;

	if ((t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 ||
	    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
	    connect(t->fd, (struct sockaddr *)&to, sizeof to) != 0)
		fail("connect", 0);
	read_reply(t);
	if (send(t->fd, "STARTTLS\r\n", 10, MSG_NOSIGNAL) != 10)
		fail("send", 0);
	read_reply(t);
	if (gnutls_init(&t->tls, GNUTLS_CLIENT) != 0 || gnutls_set_default_priority(t->tls) != 0 ||
	    gnutls_credentials_set(t->tls, GNUTLS_CRD_CERTIFICATE, cred) != 0)
		fail("gnutls_init", 0);
	gnutls_transport_set_int(t->tls, t->fd);
	while ((rc = gnutls_handshake(t->tls)) != 0)
		if (gnutls_error_is_fatal(rc))
			fail("handshake", rc);
}

static void
end(struct talk *t)
{
	(void)gnutls_bye(t->tls, GNUTLS_SHUT_WR);
	gnutls_deinit(t->tls);
	close(t->fd);
}

static size_t
hear(struct talk *t, char *buf, size_t cap)
{
	ssize_t n;

	do
		n = gnutls_record_recv(t->tls, buf, cap);
	while (n < 0 && !gnutls_error_is_fatal((int)n));
	if (n <= 0)
		fail("the service has ended", (int)n);
	return (size_t)n;
}

/* The line service greets again in TLS: quoted lines and a last one. */
static void
read_secure_reply(struct talk *t)
{
	char buf[4096];
	size_t n = 0, begin = 0, i;
	bool last = false;

	while (!last && n < sizeof buf) {
		n += hear(t, buf + n, sizeof buf - n);
		for (i = begin; i < n; i++)
			if (buf[i] == '\n') {
				last = buf[begin] != '"';
				begin = i + 1;
			}
	}
}

/* Reads until n line ends have come. */
static void
read_lines(struct talk *t, size_t n)
{
	static char buf[64 * 1024];
	size_t got, i;

	while (n > 0) {
		got = hear(t, buf, sizeof buf);
		for (i = 0; i < got; i++)
			n -= buf[i] == '\n';
	}
}

static void
sample(uint64_t ns)
{
	if (nsamples < SAMPLES_MAX)
		samples[nsamples++] = (uint32_t)(ns / 1000);
}

static uint64_t
run_echo(uint16_t port, double seconds, bool ok)
{
	static char batch[LINES * LINE];
	uint64_t begun, until, at, ops = 0;
	struct talk t;
	size_t i;
	ssize_t n;

	for (i = 0; i < LINES; i++) {
		memset(batch + i * LINE, 'x', LINE);
		memcpy(batch + i * LINE, "ECHO ", 5);
		memcpy(batch + (i + 1) * LINE - 2, "\r\n", 2);
	}
	begin(&t, port);
	if (ok)
		read_secure_reply(&t);
	begun = meter_now_ns();
	for (until = begun + (uint64_t)(seconds * 1e9); meter_now_ns() < until; ops += LINES) {
		at = meter_now_ns();
		for (i = 0; i < sizeof batch; i += (size_t)n)
			if ((n = gnutls_record_send(t.tls, batch + i, sizeof batch - i)) < 0)
				fail("send", (int)n);
		read_lines(&t, ok ? 2 * LINES : LINES);
		sample(meter_now_ns() - at);
	}
	end(&t);
	return ops;
}

static uint64_t
run_first(uint16_t port, double seconds)
{
	uint64_t until = meter_now_ns() + (uint64_t)(seconds * 1e9), at, ops = 0;
	struct talk t;
	char c;

	for (; meter_now_ns() < until; ops++) {
		begin(&t, port);
		at = meter_now_ns();
		(void)hear(&t, &c, 1);
		sample(meter_now_ns() - at);
		end(&t);
	}
	return ops;
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "port", 1, NULL, 'p' }, { "seconds", 1, NULL, 's' },
		{ "meter", 1, NULL, 'm' }, { "ok", 0, NULL, 'k' }, { NULL, 0, NULL, 0 } };
	const char *meter = NULL;
	uint64_t begun, cpu = 0, ops;
	double seconds = 1;
	unsigned long port = 0;
	bool ok = false;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'p':
			port = strtoul(optarg, NULL, 10);
			break;
		case 's':
			seconds = strtod(optarg, NULL);
			break;
		case 'm':
			meter = optarg;
			break;
		case 'k':
			ok = true;
			break;
		default:
			return 64;
		}
	}
	if (optind != argc - 1 || port == 0 || port > 65535)
		fail("usage: talk echo|first --port N --seconds S [--ok] [--meter SPEC]", 0);
	if (gnutls_certificate_allocate_credentials(&cred) != 0)
		fail("credentials", 0);
	begun = meter_now_ns();
	if (meter != NULL)
		cpu = meter_cpu_ns(meter);
	ops = strcmp(argv[optind], "echo") == 0 ? run_echo((uint16_t)port, seconds, ok)
						: run_first((uint16_t)port, seconds);
	if (meter != NULL)
		cpu = meter_cpu_ns(meter) - cpu;
	qsort(samples, nsamples, sizeof samples[0], compare);
	printf("{\"ops\": %" PRIu64 ", \"seconds\": %.4f, \"errors\": 0, \"error\": \"\", \"p50_us\": %" PRIu32
	       ", \"p99_us\": %" PRIu32 ", \"cpu_us\": %.1f}\n",
		ops, (double)(meter_now_ns() - begun) / 1e9, samples[nsamples / 2],
		samples[(nsamples - 1) * 99 / 100], (double)cpu / 1e3);
	return 0;
}
