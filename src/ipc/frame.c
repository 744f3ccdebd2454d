/* ipc/frame.c - sending and receiving one frame with its descriptor. */
#include "ipc/frame.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 4 /* room for more than we allow, so that excess is seen and closed */

static void
put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

int
frame_take_fd(struct frame *f)
{
	int fd = f->fd;

	f->fd = -1;
	return fd;
}

void
frame_fini(struct frame *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

void
frame_seal(struct frame *f)
{
	PT_ASSERT(f->len <= FRAME_PAYLOAD_MAX);
	f->octets[0] = IPC_VERSION;
	f->octets[1] = 0;
	put16(f->octets + 2, f->type);
	put32(f->octets + 4, f->id);
	put32(f->octets + 8, f->len);
}

int
frame_send_octets(int sock, struct span octets, int fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec iov = { (void *)(uintptr_t)octets.p, octets.n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		memset(&c, 0, sizeof c);
		m.msg_control = &c;
		m.msg_controllen = sizeof c.room;
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
	}
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN || errno == ENOBUFS)
			return PT_EAGAIN;
		/* ETOOMANYREFS: too many of our descriptors are in flight; the reader catches up */
		if (errno == ETOOMANYREFS)
			return PT_EAGAIN;
		return errno == EPIPE || errno == ECONNRESET ? PT_EEOF : PT_EIO;
	}
	return (size_t)n == octets.n ? 0 : PT_EIO;
}

int
frame_send(int sock, struct frame *f, int fd)
{
	frame_seal(f);
	return frame_send_octets(sock, (struct span){ f->octets, FRAME_HEADER + f->len }, fd);
}

/* Keeps the first descriptor in f, closes all others. Returns how many came. */
static unsigned
collect_fds(struct msghdr *m, struct frame *f)
{
	struct cmsghdr *h;
	unsigned count = 0;
	size_t i, n;
	int fd;

	for (h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (count++ == 0)
				f->fd = fd;
			else
				close(fd);
		}
	}
	return count;
}

/* The header of the frame that n octets begin with; false: it is none, or longer. */
static bool
header(struct frame *f, size_t n)
{
	const uint8_t *h = f->octets;

	if (n < FRAME_HEADER || h[0] > IPC_VERSION || h[0] + 1 < IPC_VERSION || h[0] == 0 || h[1] != 0)
		return false;
	f->type = get16(h + 2);
	f->id = get32(h + 4);
	f->len = get32(h + 8);
	return f->len <= n - FRAME_HEADER;
}

int
frame_recv_first(int sock, struct frame *f, struct span *rest)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} c;
	struct iovec iov = { f->octets, sizeof f->octets };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c,
		.msg_controllen = sizeof c.room };
	unsigned nfds;
	ssize_t n;

	f->fd = -1;
	/* a peer that ended before it had read all of ours: that is said first, once, and what it had
	 * sent until then stands behind it */
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return errno == EAGAIN ? PT_EAGAIN : PT_EIO;
	nfds = collect_fds(&m, f);
	if (n == 0 && nfds == 0)
		return PT_EEOF;
	if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || nfds > 1 || !header(f, (size_t)n)) {
		frame_fini(f);
		return PT_EPROTO;
	}
	*rest = (struct span){ f->octets + FRAME_HEADER + f->len, (size_t)n - FRAME_HEADER - f->len };
	return 0;
}

int
frame_recv(int sock, struct frame *f)
{
	struct span rest;
	int rc = frame_recv_first(sock, f, &rest);

	if (rc == 0 && rest.n > 0) {
		frame_fini(f);
		return PT_EPROTO;
	}
	return rc;
}

int
frame_next(struct span *rest, struct frame *f)
{
	f->fd = -1;
	if (rest->n < FRAME_HEADER)
		return PT_EPROTO;
	memcpy(f->octets, rest->p, FRAME_HEADER);
	if (!header(f, rest->n) || f->len > FRAME_PAYLOAD_MAX)
		return PT_EPROTO;
	memcpy(f->octets + FRAME_HEADER, rest->p + FRAME_HEADER, f->len);
	rest->p += FRAME_HEADER + f->len;
	rest->n -= FRAME_HEADER + f->len;
	return 0;
}
