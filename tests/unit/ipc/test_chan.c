/* unit/ipc/test_chan.c - the queue of a channel: its limit, its order, the descriptors in it. */
#include "test.h"

#include "ipc/chan.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct frame f;

/* A frame that the kernel has room for few of. */
static struct frame *
numbered(uint32_t id)
{
	f = (struct frame){ .type = 7, .id = id, .len = FRAME_PAYLOAD_MAX, .fd = -1 };
	memset(f.octets + FRAME_HEADER, (int)(id & 0xff), FRAME_PAYLOAD_MAX);
	return &f;
}

/* Sends until the queue holds n. Returns how many were sent in all. */
static uint32_t
fill(struct chan *c, unsigned n, int fd)
{
	uint32_t id = 0;

	while (!chan_wants_write(c))
		CU_ASSERT_EQUAL_FATAL(chan_send(c, numbered(id++), fd), 0);
	for (n--; n > 0; n--)
		CU_ASSERT_EQUAL_FATAL(chan_send(c, numbered(id++), fd), 0);
	return id;
}

static void
test_pair(void)
{
	int fds[2], i;

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		CU_ASSERT_TRUE(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		close(fds[i]);
	}
}

static void
test_queue(void)
{
	unsigned before = test_open_fds();
	struct chan *a, *b;
	uint32_t n, i;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	a = chan_new(fds[0]);
	b = chan_new(fds[1]);
	CU_ASSERT_EQUAL(chan_fd(a), fds[0]);
	CU_ASSERT_FALSE(chan_wants_write(a));
	n = fill(a, CHAN_QUEUE_MAX, -1);
	CU_ASSERT_EQUAL(chan_send(a, numbered(n), -1), PT_EFULL);
	CU_ASSERT_EQUAL(chan_send(a, numbered(n), STDERR_FILENO), PT_EFULL);
	for (i = 0; i < n; i++) { /* in order, each once, whole */
		CU_ASSERT_EQUAL(chan_flush(a), 0);
		CU_ASSERT_EQUAL_FATAL(chan_recv(b, &f), 0);
		CU_ASSERT_EQUAL(f.id, i);
		CU_ASSERT_EQUAL(f.len, FRAME_PAYLOAD_MAX);
		CU_ASSERT_EQUAL(f.octets[FRAME_HEADER + FRAME_PAYLOAD_MAX - 1], (uint8_t)i);
	}
	CU_ASSERT_FALSE(chan_wants_write(a));
	CU_ASSERT_EQUAL(chan_recv(b, &f), PT_EAGAIN);
	/* room again, and nothing overtakes what waits */
	CU_ASSERT_EQUAL(chan_send(a, numbered(n), -1), 0);
	CU_ASSERT_EQUAL(chan_recv(b, &f), 0);
	CU_ASSERT_EQUAL(f.id, n);
	chan_free(&a);
	CU_ASSERT_PTR_NULL(a);
	CU_ASSERT_EQUAL(chan_recv(b, &f), PT_EEOF);
	chan_free(&b);
	chan_free(&b);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_order(void)
{
	struct chan *a, *b;
	uint32_t n, i;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	a = chan_new(fds[0]);
	b = chan_new(fds[1]);
	n = fill(a, 3, -1);
	CU_ASSERT_EQUAL(chan_recv(b, &f), 0); /* there is room, but three wait: this one is the fourth */
	CU_ASSERT_EQUAL(chan_send(a, numbered(n), -1), 0);
	for (i = 1; i <= n; i++) {
		CU_ASSERT_EQUAL(chan_flush(a), 0);
		CU_ASSERT_EQUAL_FATAL(chan_recv(b, &f), 0);
		CU_ASSERT_EQUAL(f.id, i);
	}
	chan_free(&a);
	chan_free(&b);
}

/* Another peer: what had waited goes there, behind nothing of what the first one had got. */
static void
test_move(void)
{
	unsigned before = test_open_fds();
	struct chan *a, *b, *next;
	int fds[2], others[2];
	uint32_t n, i, got;

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	CU_ASSERT_EQUAL_FATAL(chan_pair(others), 0);
	a = chan_new(fds[0]);
	b = chan_new(fds[1]);
	n = fill(a, 3, -1);
	for (got = 0; chan_recv(b, &f) == 0; got++)
		CU_ASSERT_EQUAL(f.id, got);
	CU_ASSERT_EQUAL(got, n - chan_waiting(a));
	chan_free(&b);
	chan_move(a, others[0]);
	CU_ASSERT_EQUAL(chan_fd(a), others[0]);
	next = chan_new(others[1]);
	CU_ASSERT_EQUAL(chan_flush(a), 0);
	for (i = got; i < n; i++) {
		CU_ASSERT_EQUAL_FATAL(chan_recv(next, &f), 0);
		CU_ASSERT_EQUAL(f.id, i);
	}
	CU_ASSERT_EQUAL(chan_recv(next, &f), PT_EAGAIN);
	CU_ASSERT_FALSE(chan_wants_write(a));
	chan_free(&a);
	chan_free(&next);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

/* A frame that waits has a descriptor of its own: ours may be closed meanwhile. */
static void
test_descriptors(void)
{
	unsigned before = test_open_fds(), held;
	struct chan *a, *b;
	uint32_t n, i;
	int fds[2], p[2];

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(p, O_CLOEXEC), 0);
	a = chan_new(fds[0]);
	b = chan_new(fds[1]);
	held = test_open_fds();
	n = fill(a, 2, p[1]);
	CU_ASSERT_EQUAL(test_open_fds(), held + 2);
	CU_ASSERT_EQUAL(chan_send(a, numbered(n), 1000), PT_EIO); /* no such descriptor */
	close(p[1]);
	for (i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(chan_flush(a), 0);
		CU_ASSERT_EQUAL_FATAL(chan_recv(b, &f), 0);
		CU_ASSERT_TRUE(f.fd >= 0 && fcntl(f.fd, F_GETFD) == FD_CLOEXEC);
		frame_fini(&f);
	}
	CU_ASSERT_EQUAL(test_open_fds(), held - 1);
	fill(a, 4, p[0]);
	chan_free(&a); /* what waits is lost, and closed */
	while (chan_recv(b, &f) == 0)
		frame_fini(&f);
	chan_free(&b);
	close(p[0]);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_gone(void)
{
	struct chan *a;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	a = chan_new(fds[0]);
	fill(a, 2, -1);
	close(fds[1]);
	CU_ASSERT_EQUAL(chan_flush(a), PT_EEOF);
	CU_ASSERT_TRUE(chan_wants_write(a));
	CU_ASSERT_EQUAL(chan_recv(a, &f), PT_EEOF);
	chan_free(&a);
	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	a = chan_new(fds[0]);
	close(fds[1]);
	CU_ASSERT_EQUAL(chan_send(a, numbered(0), -1), PT_EEOF);
	CU_ASSERT_FALSE(chan_wants_write(a));
	chan_free(&a);
}

/* Two ends that share packets. */
static void
bundled(struct chan **a, struct chan **b)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	*a = chan_new(fds[0]);
	*b = chan_new(fds[1]);
	chan_bundle(*a);
	chan_bundle(*b);
}

static void
send_small(struct chan *c, uint32_t id, uint32_t len, int fd)
{
	f = (struct frame){ .type = 7, .id = id, .len = len, .fd = -1 };
	memset(f.octets + FRAME_HEADER, (int)id, len);
	CU_ASSERT_EQUAL(chan_send(c, &f, fd), 0);
}

static void
recv_small(struct chan *c, uint32_t id, uint32_t len, bool with_fd)
{
	CU_ASSERT_EQUAL_FATAL(chan_recv(c, &f), 0);
	CU_ASSERT_EQUAL(f.id, id);
	CU_ASSERT_EQUAL(f.len, len);
	CU_ASSERT_TRUE(len == 0 || f.octets[FRAME_HEADER + len - 1] == (uint8_t)id);
	CU_ASSERT_EQUAL(f.fd >= 0, with_fd);
	frame_fini(&f);
}

static unsigned
packets(int fd)
{
	uint8_t octet;
	unsigned n = 0;

	while (recv(fd, &octet, 1, MSG_TRUNC) > 0)
		n++;
	return n;
}

static void
test_bundle(void)
{
	unsigned before = test_open_fds(), i;
	struct chan *a, *b;

	bundled(&a, &b);
	chan_hold(a);
	for (i = 0; i < 3; i++)
		send_small(a, i, i * 100, -1);
	CU_ASSERT_EQUAL(chan_recv(b, &f), PT_EAGAIN);
	CU_ASSERT_TRUE(chan_wants_write(a));
	CU_ASSERT_EQUAL(chan_flush(a), 0);
	CU_ASSERT_FALSE(chan_wants_write(a));
	send_small(a, 3, 1, -1); /* no longer held */
	for (i = 0; i < 3; i++) {
		recv_small(b, i, i * 100, false);
		CU_ASSERT_EQUAL(chan_has_more(b), i < 2);
	}
	recv_small(b, 3, 1, false);
	/* a descriptor takes along nothing and overtakes nothing */
	chan_hold(a);
	send_small(a, 4, 10, -1);
	send_small(a, 5, 10, chan_fd(a));
	send_small(a, 6, 10, -1);
	send_small(a, 7, 10, chan_fd(a));
	CU_ASSERT_EQUAL(chan_flush(a), 0);
	for (i = 4; i < 8; i++)
		recv_small(b, i, 10, i % 2 == 1);
	CU_ASSERT_EQUAL(chan_recv(b, &f), PT_EAGAIN);
	chan_hold(a); /* what is held goes with the channel */
	send_small(a, 8, 10, -1);
	chan_free(&a);
	CU_ASSERT_EQUAL(chan_recv(b, &f), PT_EEOF);
	chan_free(&b);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

/* A packet is as long as one frame may be, and not an octet longer. */
static void
test_bundle_limit(void)
{
	struct chan *a, *b;
	uint32_t more;

	for (more = 0; more < 2; more++) {
		bundled(&a, &b);
		chan_hold(a);
		send_small(a, 1, 100, -1);
		send_small(a, 2, FRAME_PAYLOAD_MAX - 100 - FRAME_HEADER + more, -1);
		CU_ASSERT_EQUAL(chan_flush(a), 0);
		CU_ASSERT_EQUAL(packets(chan_fd(b)), 1 + more);
		send_small(a, 3, FRAME_PAYLOAD_MAX, -1);
		recv_small(b, 3, FRAME_PAYLOAD_MAX, false);
		chan_free(&a);
		chan_free(&b);
	}
	/* without chan_bundle() nothing is held, and nobody takes it */
	bundled(&a, &b);
	chan_hold(a);
	send_small(a, 1, 1, -1);
	send_small(a, 2, 1, -1);
	CU_ASSERT_EQUAL(chan_flush(a), 0);
	CU_ASSERT_EQUAL(frame_recv(chan_fd(b), &f), PT_EPROTO);
	chan_free(&a);
	chan_free(&b);
}

/* What stands behind a good frame in its packet. */
static void
test_bundle_nonsense(void)
{
	static const struct {
		const char *name;
		uint8_t rest[16];
		size_t n;
		int rc;
	} rests[] = {
		{ "a frame", { 1, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 'x' }, 13, 0 },
		{ "half a header", { 1, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0 }, 11, PT_EPROTO },
		{ "one octet", { 1 }, 1, PT_EPROTO },
		{ "longer than the packet", { 1, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 2, 'x' }, 13, PT_EPROTO },
		{ "longer than any", { 1, 0, 0, 7, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 'x' }, 13, PT_EPROTO },
		{ "another version", { 9, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 'x' }, 13, PT_EPROTO },
		{ "a flag", { 1, 1, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 'x' }, 13, PT_EPROTO },
	};
	struct chan *a, *b;
	size_t i;

	for (i = 0; i < PT_COUNT(rests); i++) {
		bundled(&a, &b);
		f = (struct frame){ .type = 7, .id = 8, .len = 4 };
		memcpy(f.octets + FRAME_HEADER, "good", 4);
		frame_seal(&f);
		memcpy(f.octets + FRAME_HEADER + 4, rests[i].rest, rests[i].n);
		CU_ASSERT_EQUAL(frame_send_octets(chan_fd(a), (struct span){ f.octets, FRAME_HEADER + 4 + rests[i].n }, -1), 0);
		CU_ASSERT_EQUAL(chan_recv(b, &f), 0);
		CU_ASSERT_EQUAL(f.len, 4);
		if (chan_recv(b, &f) != rests[i].rc) {
			fprintf(stderr, "%s\n", rests[i].name);
			CU_FAIL("what stands behind a frame");
		}
		chan_free(&a);
		chan_free(&b);
	}
}

static const struct test_row rows[] = {
	{ "pair", test_pair },
	{ "the queue's limit, and all of it in order", test_queue },
	{ "nothing overtakes what waits", test_order },
	{ "another peer", test_move },
	{ "descriptors of frames that wait", test_descriptors },
	{ "a peer that is gone", test_gone },
	{ "frames that share a packet", test_bundle },
	{ "how many fit", test_bundle_limit },
	{ "nonsense behind a frame", test_bundle_nonsense },
};
TEST_MAIN("ipc/chan", rows)
