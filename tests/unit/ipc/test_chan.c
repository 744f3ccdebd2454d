/* unit/ipc/test_chan.c - the queue of a channel: its limit, its order, the descriptors in it. */
#include "test.h"

#include "ipc/chan.h"

#include <fcntl.h>
#include <string.h>
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

static const struct test_row rows[] = {
	{ "pair", test_pair },
	{ "the queue's limit, and all of it in order", test_queue },
	{ "nothing overtakes what waits", test_order },
	{ "descriptors of frames that wait", test_descriptors },
	{ "a peer that is gone", test_gone },
};
TEST_MAIN("ipc/chan", rows)
