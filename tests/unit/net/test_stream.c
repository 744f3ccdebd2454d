/* unit/net/test_stream.c - a stream over a socket pair: what is kept, in which order, up to which limit; and who
 * owns the scratch. */
#include "test.h"

#include "net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct stream_scratch scratch;
static struct stream s;
static int peer;
static uint8_t data[2 * STREAM_OUT_MAX];

static void
begin(void)
{
	int fds[2];
	size_t i;

	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	for (i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 31 + i / 251);
	peer = fds[1];
	stream_init(&s, fds[0], &scratch);
}

static void
end(void)
{
	stream_fini(&s);
	CU_ASSERT_EQUAL(s.fd, -1);
	if (peer >= 0)
		close(peer);
}

static void
say(const void *p, size_t n)
{
	CU_ASSERT_EQUAL_FATAL(write(peer, p, n), (ssize_t)n);
}

static bool
pending_is(const void *p, size_t n)
{
	return span_equal(stream_pending(&s), (struct span){ p, n });
}

/* Reads what the peer has got, at most max octets. */
static size_t
hear(uint8_t *p, size_t max)
{
	size_t n = 0;
	ssize_t r;

	while (n < max && (r = read(peer, p + n, max - n)) > 0)
		n += (size_t)r;
	return n;
}

static void
test_read(void)
{
	begin();
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_pending(&s).n, 0);
	CU_ASSERT_EQUAL(stream_fill(&s), PT_EAGAIN);
	say("hello", 5); /* it came after we had asked: the next event will tell */
	CU_ASSERT_TRUE(s.dry);
	CU_ASSERT_EQUAL(stream_fill(&s), PT_EAGAIN);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_TRUE(pending_is("hello", 5));
	say(" again", 6);
	CU_ASSERT_EQUAL(stream_fill(&s), 0); /* something is pending: nothing is read */
	CU_ASSERT_TRUE(pending_is("hello", 5));
	stream_take(&s, 0);
	stream_take(&s, 2);
	CU_ASSERT_TRUE(pending_is("llo", 3));
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_TRUE(pending_is("llo", 3)); /* kept between wake-ups */
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_TRUE(pending_is("llo", 3)); /* first what is kept */
	stream_take(&s, 1);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_enter(&s, true);
	CU_ASSERT_TRUE(pending_is("lo", 2));
	stream_take(&s, 2);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_TRUE(pending_is(" again", 6));
	stream_take(&s, 6);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_EQUAL(s.octets_in, 11);
	end();
}

/* An idle stream holds no memory, whatever went through it. */
static void
test_idle(void)
{
	begin();
	say(data, 100);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	stream_take(&s, 99);
	CU_ASSERT_EQUAL(stream_put(&s, "x", 1), 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_PTR_NOT_NULL(s.rest.base);
	CU_ASSERT_PTR_NULL(s.out.base);
	stream_enter(&s, true);
	stream_take(&s, 1);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_PTR_NULL(s.rest.base);
	end();
}

/* As much as one read takes; nothing of it taken, then octet by octet. */
static void
test_read_size(void)
{
	size_t i;

	begin();
	say(data, STREAM_READ_SIZE + 1);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_TRUE(pending_is(data, STREAM_READ_SIZE));
	CU_ASSERT_FALSE(s.dry);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	for (i = 0; i < STREAM_READ_SIZE; i += 4096) {
		stream_enter(&s, true);
		CU_ASSERT_EQUAL(stream_fill(&s), 0);
		CU_ASSERT_TRUE(pending_is(data + i, STREAM_READ_SIZE - i));
		stream_take(&s, 4096);
		CU_ASSERT_EQUAL(stream_leave(&s), 0);
	}
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_TRUE(pending_is(data + STREAM_READ_SIZE, 1));
	stream_take(&s, 1);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	end();
}

static void
test_write(void)
{
	uint8_t got[64];

	begin();
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_put(&s, "one ", 4), 0);
	CU_ASSERT_EQUAL(stream_put(&s, NULL, 0), 0);
	CU_ASSERT_EQUAL(stream_put(&s, "two", 3), 0);
	CU_ASSERT_EQUAL(stream_unsent(&s), 7);
	CU_ASSERT_EQUAL(hear(got, sizeof got), 0); /* gathered: one write at the end */
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_EQUAL(stream_unsent(&s), 0);
	CU_ASSERT_EQUAL(hear(got, sizeof got), 7);
	CU_ASSERT_EQUAL(memcmp(got, "one two", 7), 0);
	CU_ASSERT_EQUAL(s.octets_out, 7);
	end();
}

/* A peer that reads slowly gets every octet once and in order, whatever the sizes are. */
static void
test_order(void)
{
	static const size_t sizes[] = { 1, 100, 4096, 16401, STREAM_GATHER_SIZE - 1, STREAM_GATHER_SIZE,
		STREAM_GATHER_SIZE + 1, STREAM_OUT_MAX };
	static uint8_t got[64 * 1024];
	size_t i, k, n, sent, heard;
	int small = 4096, rc;

	for (i = 0; i < PT_COUNT(sizes); i++) {
		begin();
		(void)setsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
		sent = heard = 0;
		while (heard < 3 * sizeof data) {
			stream_enter(&s, true);
			for (k = 0; k < 5 && sent < 3 * sizeof data; k++) {
				n = sizeof data - sent % sizeof data;
				n = n < sizes[i] ? n : sizes[i];
				if ((rc = stream_put(&s, data + sent % sizeof data, n)) != 0) {
					CU_ASSERT_EQUAL(rc, PT_EAGAIN);
					break;
				}
				sent += n;
				CU_ASSERT_TRUE(stream_unsent(&s) <= STREAM_OUT_MAX);
			}
			CU_ASSERT_EQUAL_FATAL(stream_leave(&s), 0);
			CU_ASSERT_EQUAL(s.octets_out + stream_unsent(&s), sent);
			n = hear(got, sizeof got / 3);
			for (k = 0; k < n; k++)
				if (got[k] != data[(heard + k) % sizeof data])
					break;
			CU_ASSERT_EQUAL_FATAL(k, n);
			heard += n;
		}
		CU_ASSERT_EQUAL(heard, sent);
		CU_ASSERT_EQUAL(stream_unsent(&s), 0);
		CU_ASSERT_PTR_NULL(s.out.base);
		end();
	}
}

/* A peer that does not read at all: up to the limit, then no more; nothing is taken of what is refused. */
static void
test_out_max(void)
{
	size_t room;

	begin();
	stream_enter(&s, true);
	while (!s.blocked)
		CU_ASSERT_EQUAL_FATAL(stream_put(&s, data, 16 * 1024), 0);
	room = STREAM_OUT_MAX - stream_unsent(&s);
	CU_ASSERT_EQUAL(stream_put(&s, data, room + 1), PT_EAGAIN);
	CU_ASSERT_EQUAL(stream_unsent(&s), STREAM_OUT_MAX - room);
	CU_ASSERT_EQUAL(stream_put(&s, data, room - 1), 0);
	CU_ASSERT_EQUAL(stream_put(&s, data, 1), 0);
	CU_ASSERT_EQUAL(stream_unsent(&s), STREAM_OUT_MAX);
	CU_ASSERT_EQUAL(stream_put(&s, data, 1), PT_EAGAIN);
	CU_ASSERT_EQUAL(stream_put(&s, NULL, 0), 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_EQUAL(stream_unsent(&s), STREAM_OUT_MAX);
	CU_ASSERT_FALSE(s.broken);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_put(&s, data, 1), PT_EAGAIN);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	end();
}

static void
test_eof(void)
{
	uint8_t got[8];

	begin();
	say("last", 4);
	shutdown(peer, SHUT_WR);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	stream_take(&s, 4);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), PT_EEOF);
	CU_ASSERT_TRUE(s.eof && !s.broken);
	CU_ASSERT_EQUAL(stream_fill(&s), PT_EEOF);
	CU_ASSERT_EQUAL(stream_put(&s, "bye", 3), 0); /* the other direction lives on */
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_shut_write(&s);
	CU_ASSERT_EQUAL(hear(got, sizeof got), 3);
	CU_ASSERT_EQUAL(read(peer, got, 1), 0); /* our end */
	end();
}

/* No SIGPIPE, and what nobody will read is not kept. */
static void
test_broken(void)
{
	begin();
	close(peer);
	peer = -1;
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_put(&s, "x", 1), 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_TRUE(s.broken);
	CU_ASSERT_EQUAL(stream_unsent(&s), 0);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_put(&s, "x", 1), PT_EIO);
	CU_ASSERT_EQUAL(stream_fill(&s), PT_EIO);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_shut_write(&s);
	end();

	begin(); /* while more is put than the scratch holds */
	close(peer);
	peer = -1;
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_put(&s, data, STREAM_GATHER_SIZE), 0);
	CU_ASSERT_EQUAL(stream_put(&s, data, 1), PT_EIO);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	CU_ASSERT_EQUAL(stream_unsent(&s), 0);
	end();

	begin(); /* a reset: octets that we had sent were not read */
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_put(&s, "x", 1), 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	close(peer);
	peer = -1;
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), PT_EIO);
	CU_ASSERT_TRUE(s.broken);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	end();
}

static void
test_drop(void)
{
	begin();
	say("secret", 6);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	stream_drop_input(&s);
	CU_ASSERT_EQUAL(stream_pending(&s).n, 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	say("kept", 4);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_drop_input(&s); /* also between wake-ups */
	CU_ASSERT_EQUAL(stream_pending(&s).n, 0);
	CU_ASSERT_PTR_NULL(s.rest.base);
	end();
}

static void
test_discard(void)
{
	size_t n;

	begin();
	say(data, 3 * STREAM_READ_SIZE);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_discard(&s, 0, &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(stream_discard(&s, 1, &n), 0);
	CU_ASSERT_TRUE(n >= 1 && n <= STREAM_READ_SIZE); /* one read at most goes beyond it */
	CU_ASSERT_EQUAL(stream_discard(&s, STREAM_READ_SIZE, &n), 0);
	CU_ASSERT_EQUAL(n, STREAM_READ_SIZE);
	CU_ASSERT_EQUAL(stream_discard(&s, 100 * STREAM_READ_SIZE, &n), 0);
	CU_ASSERT_EQUAL(n, STREAM_READ_SIZE);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	say("x", 1);
	shutdown(peer, SHUT_WR);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_discard(&s, 100, &n), 0);
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_discard(&s, 100, &n), PT_EEOF);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	end();
}

static void
enter_twice(void)
{
	static struct stream other;

	stream_init(&other, -1, &scratch);
	stream_enter(&s, true);
	stream_enter(&other, true);
}

static void
leave_without_enter(void)
{
	(void)!stream_leave(&s);
}

static void
end_while_entered(void)
{
	stream_enter(&s, true);
	stream_fini(&s);
}

static void
take_too_much(void)
{
	stream_enter(&s, true);
	stream_take(&s, 1);
}

/* What would be our own bug ends the process. */
static void
test_asserts(void)
{
	static void (*const rows[])(void) = { enter_twice, leave_without_enter, end_while_entered,
		take_too_much };
	int status;
	pid_t pid;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		begin();
		if ((pid = fork()) == 0) {
			if ((status = open("/dev/null", O_WRONLY | O_CLOEXEC)) >= 0)
				dup2(status, STDERR_FILENO);
			signal(SIGABRT, SIG_DFL);
			rows[i]();
			_exit(0);
		}
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		end();
	}
}

static void
test_two_streams(void)
{
	struct stream other;
	int fds[2];

	begin();
	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	stream_init(&other, fds[0], &scratch);
	say("first", 5);
	CU_ASSERT_EQUAL(write(fds[1], "second", 6), 6);
	stream_enter(&s, true);
	CU_ASSERT_EQUAL(stream_fill(&s), 0);
	CU_ASSERT_EQUAL(stream_leave(&s), 0);
	stream_enter(&other, true);
	CU_ASSERT_EQUAL(stream_fill(&other), 0);
	CU_ASSERT_TRUE(span_equal(stream_pending(&other), span_str("second")));
	CU_ASSERT_TRUE(pending_is("first", 5));
	stream_take(&other, 6);
	CU_ASSERT_EQUAL(stream_leave(&other), 0);
	CU_ASSERT_TRUE(pending_is("first", 5));
	stream_fini(&other);
	close(fds[1]);
	end();
}

static int
unacknowledged(void)
{
	struct tcp_info info;
	socklen_t len = sizeof info;

	CU_ASSERT_EQUAL_FATAL(getsockopt(peer, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return (int)info.tcpi_unacked;
}

/* A connection over loopback, on which the kernel will soon delay acknowledgements. */
static void
begin_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	CU_ASSERT_TRUE_FATAL(listener >= 0);
	CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&a, len), 0);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(connect(peer, (struct sockaddr *)&a, len), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	close(listener);
	stream_init(&s, fd, &scratch);
}

/* Question and answer: then the kernel takes it for a conversation, and waits for the answer. */
static void
test_acknowledge(void)
{
	struct pollfd readable;
	uint8_t answer;
	int delayed = 0, i;

	begin_tcp();
	readable = (struct pollfd){ .fd = s.fd, .events = POLLIN };
	for (i = 0; i < 50; i++) {
		say("?", 1);
		CU_ASSERT_EQUAL_FATAL(poll(&readable, 1, -1), 1);
		stream_enter(&s, true);
		CU_ASSERT_EQUAL(stream_fill(&s), 0);
		stream_take(&s, 1);
		if (unacknowledged() > 0) {
			delayed++;
			stream_acknowledge(&s);
			CU_ASSERT_EQUAL(stream_leave(&s), 0);
			CU_ASSERT_EQUAL(unacknowledged(), 0);
			stream_enter(&s, false);
		}
		CU_ASSERT_EQUAL(stream_put(&s, "!", 1), 0);
		CU_ASSERT_EQUAL(stream_leave(&s), 0);
		CU_ASSERT_EQUAL_FATAL(read(peer, &answer, 1), 1);
	}
	CU_ASSERT_TRUE(delayed > 0);
	end();
}

static const struct test_row rows[] = {
	{ "reading, and what is not taken", test_read },
	{ "an idle stream holds no memory", test_idle },
	{ "one read at its largest", test_read_size },
	{ "writing is gathered", test_write },
	{ "a slow peer gets all in order", test_order },
	{ "a peer that does not read, up to the limit", test_out_max },
	{ "end of input", test_eof },
	{ "a peer that is gone", test_broken },
	{ "input forgotten", test_drop },
	{ "discarding within a budget", test_discard },
	{ "the scratch has one owner", test_asserts },
	{ "two streams, one scratch", test_two_streams },
	{ "what was read is acknowledged at once", test_acknowledge },
};
TEST_MAIN("net/stream", rows)
