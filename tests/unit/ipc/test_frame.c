/* unit/ipc/test_frame.c - one frame over a socket pair: limits, descriptors, everything that a sender can do
 * wrong; and that no descriptor is ever left open. */
#include "test.h"

#include "ipc/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS_MANY 6 /* more than the reader has room for */

static int pair[2];

static void
open_pair(void)
{
	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void
close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

/* n octets as they are, with nfds copies of one descriptor. */
static void
send_raw(const uint8_t *p, size_t n, unsigned nfds)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(FDS_MANY * sizeof(int))];
	} c;
	struct iovec iov = { (void *)(uintptr_t)p, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[FDS_MANY];
	unsigned i;

	if (nfds > 0) {
		memset(&c, 0, sizeof c);
		for (i = 0; i < nfds; i++)
			fds[i] = STDERR_FILENO;
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&c.h), fds, nfds * sizeof(int));
	}
	CU_ASSERT_EQUAL(sendmsg(pair[0], &m, MSG_NOSIGNAL), (ssize_t)n);
}

static void
test_round_trip(void)
{
	static const uint32_t lengths[] = { 0, 1, 4096, FRAME_PAYLOAD_MAX - 1, FRAME_PAYLOAD_MAX };
	static struct frame out, in;
	size_t i, k;

	open_pair();
	for (i = 0; i < PT_COUNT(lengths); i++) {
		out = (struct frame){ .type = 0xfedc, .id = 0xfedcba98, .len = lengths[i], .fd = -1 };
		for (k = 0; k < out.len; k++)
			out.octets[FRAME_HEADER + k] = (uint8_t)(k * 7);
		CU_ASSERT_EQUAL(frame_send(pair[0], &out, -1), 0);
		memset(&in, 0xaa, sizeof in);
		CU_ASSERT_EQUAL(frame_recv(pair[1], &in), 0);
		CU_ASSERT_EQUAL(in.type, out.type);
		CU_ASSERT_EQUAL(in.id, out.id);
		CU_ASSERT_EQUAL(in.fd, -1);
		CU_ASSERT_TRUE(span_equal(frame_payload(&in), frame_payload(&out)));
		CU_ASSERT_EQUAL(frame_recv(pair[1], &in), PT_EAGAIN);
		CU_ASSERT_EQUAL(in.fd, -1);
	}
	close_pair();
}

static void
test_descriptor(void)
{
	static struct frame out = { .type = 1, .fd = -1 }, in;
	struct stat a, b;
	unsigned before = test_open_fds();
	int fd;

	open_pair();
	CU_ASSERT_EQUAL(frame_send(pair[0], &out, pair[0]), 0);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &in), 0);
	CU_ASSERT_TRUE_FATAL(in.fd >= 0 && in.fd != pair[0]);
	CU_ASSERT_EQUAL(fcntl(in.fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_TRUE(fstat(in.fd, &a) == 0 && fstat(pair[0], &b) == 0);
	CU_ASSERT_EQUAL(a.st_ino, b.st_ino);
	fd = frame_take_fd(&in);
	CU_ASSERT_EQUAL(in.fd, -1);
	frame_fini(&in); /* it was taken: still open */
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(frame_take_fd(&in), -1);
	in.fd = fd;
	frame_fini(&in);
	CU_ASSERT_EQUAL(in.fd, -1);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), -1);
	close_pair();
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_bad(void)
{
	static const struct {
		const char *name;
		uint8_t head[FRAME_HEADER];
		size_t n; /* octets sent, zeros behind the head */
		unsigned fds;
		int rc;
	} rows[] = {
		{ "good", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 0, 0 },
		{ "with a descriptor", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 1, 0 },
		{ "two descriptors", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 2, PT_EPROTO },
		{ "as many as there is room", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 4,
			PT_EPROTO },
		{ "more than there is room", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, FDS_MANY,
			PT_EPROTO },
		{ "one octet", { 1 }, 1, 0, PT_EPROTO },
		{ "header cut", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0 }, 11, 0, PT_EPROTO },
		{ "header cut, with a descriptor", { 1 }, 11, 1, PT_EPROTO },
		{ "nothing but a header", { 1, 0, 0, 9 }, 12, 0, 0 },
		{ "shorter than it says", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 4 }, 15, 0, PT_EPROTO },
		{ "longer than it says", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 2 }, 15, 0, PT_EPROTO },
		{ "a length near 2^32", { 1, 0, 0, 9, 0, 0, 0, 5, 255, 255, 255, 255 }, 15, 0,
			PT_EPROTO },
		{ "largest payload", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0x40, 0 },
			FRAME_HEADER + FRAME_PAYLOAD_MAX, 0, 0 },
		{ "one octet above it", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0x40, 1 },
			FRAME_HEADER + FRAME_PAYLOAD_MAX + 1, 0, PT_EPROTO },
		{ "one octet above it, and it lies", { 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0x40, 0 },
			FRAME_HEADER + FRAME_PAYLOAD_MAX + 1, 1, PT_EPROTO },
		{ "version 0", { 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 0, PT_EPROTO },
		{ "next version", { IPC_VERSION + 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 0,
			PT_EPROTO },
		{ "version 255", { 255, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 1, PT_EPROTO },
		{ "a flag", { 1, 0x80, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 0, PT_EPROTO },
		{ "a flag and a descriptor", { 1, 1, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3 }, 15, 1, PT_EPROTO },
	};
	static uint8_t octets[FRAME_HEADER + FRAME_PAYLOAD_MAX + 1];
	static struct frame f;
	unsigned before;
	size_t i;
	int rc;

	open_pair();
	before = test_open_fds();
	for (i = 0; i < PT_COUNT(rows); i++) {
		memcpy(octets, rows[i].head, FRAME_HEADER);
		send_raw(octets, rows[i].n, rows[i].fds);
		if ((rc = frame_recv(pair[1], &f)) != rows[i].rc)
			CU_FAIL(rows[i].name);
		CU_ASSERT_EQUAL(f.fd >= 0, rc == 0 && rows[i].fds == 1);
		frame_fini(&f);
		if (test_open_fds() != before)
			CU_FAIL(rows[i].name);
		/* the reader goes on: the next frame is whole */
		CU_ASSERT_EQUAL(frame_recv(pair[1], &f), PT_EAGAIN);
	}
	close_pair();
}

static void
test_ends(void)
{
	static struct frame f = { .type = 1, .fd = -1 };

	open_pair();
	CU_ASSERT_EQUAL(frame_send(pair[0], &f, -1), 0);
	close(pair[0]);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), 0); /* what was sent before the end still counts */
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), PT_EEOF);
	CU_ASSERT_EQUAL(frame_send(pair[1], &f, -1), PT_EEOF);
	close(pair[1]);
	CU_ASSERT_EQUAL(frame_send(pair[1], &f, -1), PT_EIO); /* not a descriptor any more */
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), PT_EIO);

	/* the peer has ended without reading what we sent: what it had sent still counts */
	open_pair();
	CU_ASSERT_EQUAL(frame_send(pair[1], &f, -1), 0);
	CU_ASSERT_EQUAL(frame_send(pair[0], &f, -1), 0);
	CU_ASSERT_EQUAL(frame_send(pair[0], &f, -1), 0);
	close(pair[0]);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), 0);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), 0);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), PT_EEOF);
	close(pair[1]);
}

/* An empty packet looks like the end of file, and is treated as such: nobody of ours sends one. With a
 * descriptor it is a bad frame. */
static void
test_empty_packet(void)
{
	static struct frame f;
	unsigned before;

	open_pair();
	before = test_open_fds();
	send_raw(NULL, 0, 0);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), PT_EEOF);
	send_raw(NULL, 0, 1);
	CU_ASSERT_EQUAL(frame_recv(pair[1], &f), PT_EPROTO);
	CU_ASSERT_EQUAL(test_open_fds(), before);
	close_pair();
}

static void
test_full(void)
{
	static struct frame f = { .type = 1, .len = FRAME_PAYLOAD_MAX, .fd = -1 };
	unsigned before, sent = 0, got = 0;
	int rc;

	open_pair();
	before = test_open_fds();
	while ((rc = frame_send(pair[0], &f, pair[0])) == 0)
		sent++;
	CU_ASSERT_EQUAL(rc, PT_EAGAIN);
	CU_ASSERT_TRUE(sent > 0);
	while (frame_recv(pair[1], &f) == 0) {
		got++;
		frame_fini(&f);
	}
	CU_ASSERT_EQUAL(got, sent);
	CU_ASSERT_EQUAL(frame_send(pair[0], &f, -1), 0);
	CU_ASSERT_EQUAL(test_open_fds(), before);
	close_pair();
}

static const struct test_row rows[] = {
	{ "payload from nothing to the maximum", test_round_trip },
	{ "a descriptor travels, close-on-exec", test_descriptor },
	{ "bad frames, and nothing stays open", test_bad },
	{ "end of file and a peer that is gone", test_ends },
	{ "an empty packet", test_empty_packet },
	{ "a peer that does not read", test_full },
};
TEST_MAIN("ipc/frame", rows)
