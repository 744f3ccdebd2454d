/* e2e/renegotiator.c - a client of the line protocol that does in a session what other clients cannot: handshakes
 * anew with another certificate or none, key updates by number. For restart.py and pickup.py.
 *
 * renegotiator PORT PRIORITY [CERT KEY] -- WORD ...
 *   say TEXT         sends the line, prints the answer's last line
 *   again [C K]      renegotiates with that certificate; "again -" with none, "again" as before
 *   stall            begins a renegotiation, sends no more, and waits for the server's end
 *   update N MS      N key updates, one each MS
 *   wait FILE        until that is there
 * Prints one line for each word; ends with the first that fails: "alert N", "closed" or an error. */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static gnutls_certificate_credentials_t cred;

static void
die(const char *what, int rc)
{
	printf("%s: %s\n", what, gnutls_strerror(rc));
	exit(1);
}

/* What the server did instead of answering. */
static void
ended(gnutls_session_t s, ssize_t rc)
{
	if (rc == 0)
		printf("closed\n");
	else if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED)
		printf("alert %d\n", (int)gnutls_alert_get(s));
	else
		printf("error: %s\n", gnutls_strerror((int)rc));
	exit(0);
}

static void
load(const char *cert, const char *key)
{
	int rc;

	gnutls_certificate_free_keys(cred);
	if (cert != NULL &&
	    (rc = gnutls_certificate_set_x509_key_file(cred, cert, key, GNUTLS_X509_FMT_PEM)) < 0)
		die(cert, rc);
}

static void
handshake(gnutls_session_t s)
{
	int rc;

	do
		rc = gnutls_handshake(s);
	while (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED);
	if (rc != 0)
		ended(s, rc);
}

/* Reads one reply; its last line is left in line. Before TLS: s is NULL. */
static void
reply(gnutls_session_t s, int fd, char *line, size_t size)
{
	size_t n = 0;
	ssize_t r;

	for (;;) {
		r = s != NULL ? gnutls_record_recv(s, line + n, 1) : read(fd, line + n, 1);
		if (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED)
			continue;
		if (r <= 0 && s != NULL)
			ended(s, r);
		if (r <= 0 || n + 2 > size)
			die("reply", 0);
		if (line[n++] != '\n')
			continue;
		line[n - 2] = '\0';
		if (line[0] != '"')
			return;
		n = 0;
	}
}

static int
dial(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char line[4096];

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect", 0);
	reply(NULL, fd, line, sizeof line);
	if (write(fd, "STARTTLS\r\n", 10) != 10)
		die("write", 0);
	reply(NULL, fd, line, sizeof line);
	return fd;
}

static void
say(gnutls_session_t s, int fd, const char *text)
{
	char line[4096];
	ssize_t rc;
	int n = snprintf(line, sizeof line, "%s\r\n", text);

	if ((rc = gnutls_record_send(s, line, (size_t)n)) < 0)
		ended(s, rc);
	reply(s, fd, line, sizeof line);
	printf("%s\n", line);
}

static ssize_t
pull_nothing(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	errno = EAGAIN;
	return -1;
}

static void
stall(gnutls_session_t s, int fd)
{
	char octet;

	gnutls_transport_set_pull_function(s, pull_nothing);
	if (gnutls_handshake(s) != GNUTLS_E_AGAIN)
		die("stall", 0);
	while (recv(fd, &octet, 1, 0) > 0)
		continue;
	printf("ended\n");
	exit(0);
}

static void
update(gnutls_session_t s, int fd, int n, int ms)
{
	struct timespec pause = { ms / 1000, ms % 1000 * 1000000L };
	int rc, i;

	for (i = 0; i < n; i++) {
		if ((rc = gnutls_session_key_update(s, 0)) < 0)
			ended(s, rc);
		nanosleep(&pause, NULL);
	}
	say(s, fd, "NOOP");
}

static void
wait_for(const char *path)
{
	const struct timespec pause = { 0, 10 * 1000000L };

	printf("wait\n");
	fflush(stdout);
	while (access(path, F_OK) != 0)
		nanosleep(&pause, NULL);
}

int
main(int argc, char **argv)
{
	char line[4096];
	gnutls_session_t s;
	int fd, i = 3, rc;

	if (argc < 4)
		return 2;
	gnutls_certificate_allocate_credentials(&cred);
	if (strcmp(argv[i], "--") != 0) {
		load(argv[i], argv[i + 1]);
		i += 2;
	}
	fd = dial(atoi(argv[1]));
	gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT);
	if ((rc = gnutls_priority_set_direct(s, argv[2], NULL)) != 0)
		die(argv[2], rc);
	gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, cred);
	gnutls_transport_set_int(s, fd);
	handshake(s);
	reply(s, fd, line, sizeof line);
	for (i++; i < argc; i++) {
		if (strcmp(argv[i], "say") == 0) {
			say(s, fd, argv[++i]);
		} else if (strcmp(argv[i], "wait") == 0) {
			wait_for(argv[++i]);
		} else if (strcmp(argv[i], "stall") == 0) {
			stall(s, fd);
		} else if (strcmp(argv[i], "update") == 0) {
			update(s, fd, atoi(argv[i + 1]), atoi(argv[i + 2]));
			i += 2;
		} else if (strcmp(argv[i], "again") == 0) {
			if (i + 1 < argc && strcmp(argv[i + 1], "-") == 0) {
				load(NULL, NULL);
				i++;
			} else if (i + 2 < argc && argv[i + 1][0] == '/') {
				load(argv[i + 1], argv[i + 2]);
				i += 2;
			}
			handshake(s);
			printf("again\n");
		}
	}
	gnutls_bye(s, GNUTLS_SHUT_WR);
	gnutls_deinit(s);
	gnutls_certificate_free_credentials(cred);
	close(fd);
	return 0;
}
