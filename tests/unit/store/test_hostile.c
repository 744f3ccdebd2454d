/* unit/store/test_hostile.c - the server against a client that keeps no rule: frames by hand, over a channel. */
#include "store/rig.h"
#include "store/server.h"

#include "ipc/chan.h"
#include "ipc/msg.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define USER "alice@example.test"

/* --- a file system without leases ------------------------------------------------------------------------------- */

static bool no_leases;

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

int
__wrap_fcntl(int fd, int command, ...)
{
	va_list ap;
	long arg;

	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	if (command == F_SETLEASE && no_leases) {
		errno = EINVAL;
		return -1;
	}
	return __real_fcntl(fd, command, arg);
}

/* --- helpers --------------------------------------------------------------------------------------------------- */

struct raw {
	struct rig r;
	struct server *server;
	struct chan *c;
	bool ended; /* the server has closed it */
	struct frame f; /* the last one that came */
};

static void
raw_attach(struct raw *w)
{
	int fds[2];

	chan_free(&w->c);
	frame_fini(&w->f);
	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	CU_ASSERT_EQUAL_FATAL(server_peer(w->server, fds[0], STORE_CLASS_WORKER), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->c = chan_new(fds[1]));
	chan_bundle(w->c);
	w->ended = false;
}

static void
raw_open(struct raw *w, enum rig_kind kind)
{
	memset(w, 0, sizeof *w);
	w->f.fd = -1;
	w->r.segment_octets = 1u << 20;
	rig_open(&w->r, kind);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->server = server_new(w->r.be, w->r.mbs, w->r.kv));
	raw_attach(w);
}

static void
raw_close(struct raw *w)
{
	chan_free(&w->c);
	frame_fini(&w->f);
	server_dispatch(w->server);
	server_free(&w->server);
	rig_close(&w->r);
}

static void
raw_turn(struct raw *w)
{
	struct pollfd p = { .fd = server_fd(w->server), .events = POLLIN };

	(void)poll(&p, 1, 10);
	server_dispatch(w->server);
}

/* The next frame of that type, or the channel's end. */
static bool
raw_wait(struct raw *w, enum msg_type type)
{
	int i, rc;

	for (i = 0; i < 1000 && !w->ended; i++) {
		frame_fini(&w->f);
		rc = chan_recv(w->c, &w->f);
		if (rc == 0 && w->f.type == type)
			return true;
		if (rc == PT_EAGAIN)
			raw_turn(w);
		else if (rc != 0)
			w->ended = true;
	}
	return false;
}

static void
raw_send(struct raw *w, int rc, struct frame *f, int fd)
{
	CU_ASSERT_EQUAL(rc, 0);
	(void)(chan_send(w->c, f, fd) == 0); /* it may be closed by now */
}

static size_t
condemned(struct raw *w)
{
	size_t peers, requests, n;

	server_count(w->server, &peers, &requests, &n);
	return n;
}

/* A file for a large body; for writing. */
static int
raw_file(struct raw *w, uint32_t file)
{
	struct msg_store_file m = { .file = file };
	struct frame f;

	raw_send(w, msg_store_file_encode(&m, file, &f), &f, -1);
	CU_ASSERT_TRUE_FATAL(raw_wait(w, MSG_T_STORE_FILE_FD));
	return frame_take_fd(&w->f);
}

static void
raw_commit(struct raw *w, uint32_t file)
{
	static uint8_t id[16];
	struct msg_store_add add = { .user = span_str(USER), .box = span_str("INBOX"), .in_file = 1, .body = file };
	struct msg_store_commit commit = { .transaction = { id, sizeof id } };
	struct frame f;

	id[0]++;
	raw_send(w, msg_store_add_encode(&add, 1000 + id[0], &f), &f, -1);
	raw_send(w, msg_store_commit_encode(&commit, 1000 + id[0], &f), &f, -1);
}

static enum store_rc
raw_reply(struct raw *w)
{
	struct msg_store_reply m;

	if (!raw_wait(w, MSG_T_STORE_REPLY) || msg_store_reply_decode(&w->f, &m) != 0)
		return STORE_UNKNOWN;
	return (enum store_rc)m.rc;
}

/* --- what is accepted does not change --------------------------------------------------------------------------- */

/* A client that keeps what it may write with is refused and ended, wherever it keeps it; nobody else is. */
static void
test_still_written(void)
{
	struct iovec iov = { (void *)(uintptr_t)"x", 1 };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	struct raw w;
	int fd, pair[2], i;

	raw_open(&w, RIG_LOCAL);
	fd = raw_file(&w, 1);
	CU_ASSERT_EQUAL(write(fd, "one", 3), 3);
	close(fd);
	raw_commit(&w, 1);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	for (i = 0; i < 2; i++) {
		fd = raw_file(&w, 7);
		CU_ASSERT_EQUAL(write(fd, "two", 3), 3);
		if (i == 1) { /* in nobody's table, but on its way in a socket */
			CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
			c.h.cmsg_level = SOL_SOCKET;
			c.h.cmsg_type = SCM_RIGHTS;
			c.h.cmsg_len = CMSG_LEN(sizeof fd);
			memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
			CU_ASSERT_EQUAL(sendmsg(pair[0], &m, 0), 1);
			close(fd);
		}
		raw_commit(&w, 7);
		CU_ASSERT_EQUAL(raw_reply(&w), STORE_UNKNOWN);
		CU_ASSERT_TRUE(w.ended);
		CU_ASSERT_EQUAL(condemned(&w), (size_t)i + 1);
		if (i == 1) {
			close(pair[0]);
			close(pair[1]);
		} else {
			close(fd);
		}
		raw_attach(&w);
	}
	fd = raw_file(&w, 1);
	CU_ASSERT_EQUAL(write(fd, "three", 5), 5);
	close(fd);
	raw_commit(&w, 1);
	raw_commit(&w, 1); /* one body for several, and their flush is one */
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_STRING_EQUAL(rig_dump(&w.r, USER, "INBOX"), "1 N:one 2 N:three 3 N:three");
	raw_close(&w);
}

/* Where there are no leases: what is written afterwards goes nowhere. */
static void
test_without_leases(void)
{
	struct raw w;
	int fd;

	raw_open(&w, RIG_LOCAL);
	no_leases = true;
	fd = raw_file(&w, 1);
	CU_ASSERT_EQUAL(write(fd, "one", 3), 3);
	raw_commit(&w, 1);
	raw_commit(&w, 1);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_EQUAL(pwrite(fd, "ONE TWO", 7, 0), 7);
	raw_commit(&w, 1);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_STRING_EQUAL(rig_dump(&w.r, USER, "INBOX"), "1 N:one 2 N:one 3 N:one");
	close(fd);
	CU_ASSERT_EQUAL(condemned(&w), 0);
	no_leases = false;
	raw_close(&w);
}

static const struct test_row rows[] = {
	{ "a body that can still be written", test_still_written },
	{ "a file system without leases", test_without_leases },
};

TEST_MAIN("store/hostile", rows)
