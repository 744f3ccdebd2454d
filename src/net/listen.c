/* net/listen.c - see listen.h. */
#include "net/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ABORTED_MAX 64 /* dead connections skipped in one call */

/* A socket file that a dead process left behind refuses connections: remove it, and only it. */
static void
remove_stale(const union addr *a, socklen_t len)
{
	struct stat st;
	int fd;

	if (a->un.sun_path[0] == '\0' || lstat(a->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return;
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
		return;
	if (connect(fd, &a->sa, len) != 0 && errno == ECONNREFUSED)
		unlink(a->un.sun_path);
	close(fd);
}

static int
fail(int fd, const union addr *a, socklen_t len, const char *what, struct diag *diag)
{
	char text[ADDR_TEXT_MAX];
	int e = errno, rc = PT_EIO;

	if (fd >= 0)
		close(fd);
	if (e == EADDRINUSE)
		return diag_set(diag, PT_EBUSY, "cannot listen on %s: another program has this address; "
			"stop it, or choose another one", addr_text(a, len, text));
	if (e == EACCES || e == EPERM)
		rc = PT_EPERM;
	return diag_set(diag, rc, "cannot listen on %s: %s: %s%s", addr_text(a, len, text), what,
		strerror(e), rc == PT_EPERM && a->sa.sa_family != AF_UNIX
			? " (ports below 1024 need root or CAP_NET_BIND_SERVICE)" : "");
}

int
listen_open(const union addr *a, socklen_t len, unsigned mode, int *fd_out, struct diag *diag)
{
	int fd, on = 1;

	*fd_out = -1;
	if (a->sa.sa_family == AF_UNIX)
		remove_stale(a, len);
	fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(fd, a, len, "socket", diag);
	if (a->sa.sa_family != AF_UNIX &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
		return fail(fd, a, len, "SO_REUSEADDR", diag);
	/* [::] means IPv6 alone: what is listened on is what is written */
	if (a->sa.sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0)
		return fail(fd, a, len, "IPV6_V6ONLY", diag);
	/* inherited by every accepted socket; without it a TLS 1.3 ticket costs a session 40 ms */
	if (a->sa.sa_family != AF_UNIX &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
		return fail(fd, a, len, "TCP_NODELAY", diag);
	if (bind(fd, &a->sa, len) != 0)
		return fail(fd, a, len, "bind", diag);
	if (a->sa.sa_family == AF_UNIX && a->un.sun_path[0] != '\0' &&
	    chmod(a->un.sun_path, (mode_t)mode) != 0) {
		unlink(a->un.sun_path);
		return fail(fd, a, len, "chmod", diag);
	}
	if (listen(fd, LISTEN_BACKLOG) != 0) {
		if (a->sa.sa_family == AF_UNIX && a->un.sun_path[0] != '\0')
			unlink(a->un.sun_path);
		return fail(fd, a, len, "listen", diag);
	}
	*fd_out = fd;
	return 0;
}

int
listen_accept(int fd, union addr *peer, socklen_t *len, int *fd_out)
{
	int i, c;

	for (i = 0; i < ABORTED_MAX; i++) {
		*len = sizeof *peer;
		c = accept4(fd, &peer->sa, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (c >= 0) {
			*fd_out = c;
			return 0;
		}
		if (errno == EAGAIN)
			return PT_EAGAIN;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			return PT_EFULL;
		/* ECONNABORTED, EINTR, and what accept(2) passes on from the network: the next one */
	}
	return PT_EAGAIN;
}
