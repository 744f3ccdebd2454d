/* unit/net/test_listen.c - binding, and taking connections: over loopback and unix sockets in a folder of its
 * own. Ports are the kernel's choice, so that several runs at a time do not meet. */
#include "test.h"

#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/postern-listen-XXXXXX";

static union addr
ipv4(uint16_t port)
{
	return (union addr){ .in = { .sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } } };
}

static union addr
in_folder(const char *name)
{
	union addr a = { .un = { .sun_family = AF_UNIX } };

	snprintf(a.un.sun_path, sizeof a.un.sun_path, "%s/%s", folder, name);
	return a;
}

static int
open_ok(const union addr *a, socklen_t len)
{
	struct diag diag = { "" };
	int fd;

	if (listen_open(a, len, 0666, &fd, &diag) != 0) {
		CU_FAIL_FATAL(diag.text);
	}
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_TRUE(fcntl(fd, F_GETFL) & O_NONBLOCK);
	return fd;
}

static int
dial(const union addr *a, socklen_t len)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL_FATAL(connect(fd, &a->sa, len), 0);
	return fd;
}

/* The address that the kernel gave. */
static union addr
bound(int fd)
{
	union addr a;
	socklen_t len = sizeof a;

	CU_ASSERT_EQUAL_FATAL(getsockname(fd, &a.sa, &len), 0);
	return a;
}

static void
test_tcp(void)
{
	union addr any = ipv4(0), a, peer;
	unsigned before = test_open_fds();
	int fd = open_ok(&any, sizeof any.in), c, s, on = 0;
	socklen_t len = sizeof on;
	char text[ADDR_TEXT_MAX];

	a = bound(fd);
	CU_ASSERT_EQUAL(listen_accept(fd, &peer, &len, &s), PT_EAGAIN);
	c = dial(&a, sizeof a.in);
	CU_ASSERT_EQUAL_FATAL(listen_accept(fd, &peer, &len, &s), 0);
	CU_ASSERT_EQUAL(fcntl(s, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_TRUE(fcntl(s, F_GETFL) & O_NONBLOCK);
	CU_ASSERT_STRING_EQUAL(addr_host_text(&peer, len, text), "127.0.0.1");
	len = sizeof on;
	CU_ASSERT_EQUAL(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	CU_ASSERT_EQUAL(on, 1); /* from the listener */
	CU_ASSERT_EQUAL(listen_accept(fd, &peer, &len, &s), PT_EAGAIN);
	close(c);
	close(s);
	close(fd);
	/* at once again, though the connection lingers in TIME_WAIT */
	close(open_ok(&a, sizeof a.in));
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_ipv6_alone(void)
{
	union addr any = { .in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT } }, a, v4;
	int fd, on = 0, other;
	socklen_t len = sizeof on;
	struct diag diag;

	if (listen_open(&any, sizeof any.in6, 0, &fd, &diag) != 0)
		return; /* a machine without IPv6 */
	CU_ASSERT_EQUAL(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &len), 0);
	CU_ASSERT_EQUAL(on, 1);
	close(fd);
	any.in6.sin6_addr = (struct in6_addr)IN6ADDR_ANY_INIT;
	fd = open_ok(&any, sizeof any.in6);
	a = bound(fd);
	v4 = ipv4(ntohs(a.in6.sin6_port));
	/* the same port of IPv4 is free: "[::]" takes nothing else */
	if (listen_open(&v4, sizeof v4.in, 0, &other, &diag) == 0)
		close(other);
	else /* unless somebody else has it by chance */
		CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "another program"));
	close(fd);
}

static void
test_in_use(void)
{
	union addr any = ipv4(0), a, un = in_folder("busy");
	unsigned before = test_open_fds();
	char text[ADDR_TEXT_MAX];
	struct diag diag = { "" };
	int fd = open_ok(&any, sizeof any.in), other = 0, live;

	a = bound(fd);
	CU_ASSERT_EQUAL(listen_open(&a, sizeof a.in, 0, &other, &diag), PT_EBUSY);
	CU_ASSERT_EQUAL(other, -1);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, addr_text(&a, sizeof a.in, text)));
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "another program has this address"));
	close(fd);

	live = open_ok(&un, sizeof un.un);
	CU_ASSERT_EQUAL(listen_open(&un, sizeof un.un, 0666, &other, &diag), PT_EBUSY);
	CU_ASSERT_EQUAL(other, -1);
	close(dial(&un, sizeof un.un)); /* the live one still has its name */
	close(live);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_unix(void)
{
	union addr a = in_folder("s"), peer;
	char text[ADDR_TEXT_MAX];
	socklen_t len;
	struct stat st;
	mode_t mask = umask(077);
	int fd, c, s;

	fd = open_ok(&a, sizeof a.un);
	umask(mask);
	CU_ASSERT_EQUAL(stat(a.un.sun_path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0666); /* whatever the umask is */
	close(fd); /* the file stays: stale */
	fd = open_ok(&a, sizeof a.un);
	c = dial(&a, sizeof a.un);
	CU_ASSERT_EQUAL_FATAL(listen_accept(fd, &peer, &len, &s), 0);
	CU_ASSERT_STRING_EQUAL(addr_text(&peer, len, text), "unix:");
	close(s);
	close(c);
	close(fd);
}

/* Only a socket that nobody answers at is removed: never a file of another kind. */
static void
test_not_ours(void)
{
	union addr file = in_folder("file"), link = in_folder("link"), dgram = in_folder("dgram"), lost;
	struct diag diag;
	struct stat st;
	int fd, other;

	fd = open(file.un.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CU_ASSERT_TRUE(fd >= 0);
	close(fd);
	CU_ASSERT_EQUAL(listen_open(&file, sizeof file.un, 0666, &other, &diag), PT_EBUSY);
	CU_ASSERT_TRUE(stat(file.un.sun_path, &st) == 0 && S_ISREG(st.st_mode));
	CU_ASSERT_EQUAL(symlink(file.un.sun_path, link.un.sun_path), 0);
	CU_ASSERT_EQUAL(listen_open(&link, sizeof link.un, 0666, &other, &diag), PT_EBUSY);
	CU_ASSERT_TRUE(lstat(link.un.sun_path, &st) == 0 && S_ISLNK(st.st_mode));
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL(bind(fd, &dgram.sa, sizeof dgram.un), 0);
	CU_ASSERT_EQUAL(listen_open(&dgram, sizeof dgram.un, 0666, &other, &diag), PT_EBUSY);
	CU_ASSERT_EQUAL(stat(dgram.un.sun_path, &st), 0);
	close(fd);
	lost = in_folder("no/such/folder");
	CU_ASSERT_EQUAL(listen_open(&lost, sizeof lost.un, 0666, &other, &diag), PT_EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "No such file"));
	CU_ASSERT_EQUAL(listen_open(&lost, sizeof lost.un, 0666, &other, NULL), PT_EIO);
}

static void
test_no_descriptors(void)
{
	union addr a = in_folder("full"), peer;
	struct rlimit old, low;
	int fd = open_ok(&a, sizeof a.un), c = dial(&a, sizeof a.un), s, rc;
	socklen_t len;

	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	s = dup(c); /* the lowest that is free: the limit stands right there */
	low.rlim_cur = (rlim_t)s;
	close(s);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &low), 0);
	rc = listen_accept(fd, &peer, &len, &s);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
	CU_ASSERT_EQUAL(rc, PT_EFULL);
	CU_ASSERT_EQUAL(listen_accept(fd, &peer, &len, &s), 0); /* it still waits */
	close(s);
	close(c);
	close(fd);
}

/* Connections that were reset while they waited are no reason to stop. */
static void
test_died_while_waiting(void)
{
	const struct linger now = { 1, 0 };
	union addr any = ipv4(0), a, peer;
	int fd = open_ok(&any, sizeof any.in), c, s, rc, i, got = 0;
	socklen_t len;

	a = bound(fd);
	for (i = 0; i < 3; i++) {
		c = dial(&a, sizeof a.in);
		if (i < 2)
			CU_ASSERT_EQUAL(setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
		if (i < 2)
			close(c); /* a reset */
	}
	while ((rc = listen_accept(fd, &peer, &len, &s)) == 0) {
		got++;
		close(s);
	}
	CU_ASSERT_EQUAL(rc, PT_EAGAIN);
	CU_ASSERT_TRUE(got >= 1);
	close(c);
	close(fd);
}

static void
test_clean_up(void)
{
	static const char *const names[] = { "busy", "s", "file", "link", "dgram", "full" };
	size_t i;

	for (i = 0; i < PT_COUNT(names); i++)
		unlink(in_folder(names[i]).un.sun_path);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static void
test_begin(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

static const struct test_row rows[] = {
	{ "a folder", test_begin },
	{ "TCP", test_tcp },
	{ "IPv6 alone", test_ipv6_alone },
	{ "an address in use", test_in_use },
	{ "a unix socket, and a stale one", test_unix },
	{ "what is not ours to remove", test_not_ours },
	{ "no descriptors left", test_no_descriptors },
	{ "connections that died while waiting", test_died_while_waiting },
	{ "nothing stays behind", test_clean_up },
};
TEST_MAIN("net/listen", rows)
