/* unit/store/test_hostile.c - the server against a client that keeps no rule: frames by hand, over a channel. */
#include "store/rig.h"
#include "store/server_impl.h"

#include "ipc/chan.h"
#include "ipc/msg.h"
#include "test.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
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

/* --- a disk that takes its time ------------------------------------------------------------------------------------ */

static _Atomic bool hold; /* flushes in threads do not end */
static pthread_t main_thread;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int
__wrap_fdatasync(int fd)
{
	while (hold && !pthread_equal(pthread_self(), main_thread))
		usleep(1000);
	return __real_fdatasync(fd);
}

/* --- helpers --------------------------------------------------------------------------------------------------- */

#define WHO 7

struct raw {
	struct rig r;
	struct server *server;
	struct chan *c;
	bool ended; /* the server has closed it */
	size_t told; /* how often it said that it must end */
	struct frame f; /* the last one that came */
};

static void
raw_attach(struct raw *w)
{
	int fds[2];

	chan_free(&w->c);
	frame_fini(&w->f);
	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	CU_ASSERT_EQUAL_FATAL(server_peer(w->server, fds[0], STORE_CLASS_WORKER, WHO), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->c = chan_new(fds[1]));
	chan_bundle(w->c);
	w->ended = false;
}

static void
on_condemned(void *arg, uint32_t who, const char *what)
{
	struct raw *w = arg;

	CU_ASSERT_EQUAL(who, WHO);
	CU_ASSERT(strcmp(what, "sent what it may not") == 0 || strcmp(what, "still writes into a message that it has sent") == 0);
	w->told++;
}

static void
raw_open(struct raw *w, enum rig_kind kind)
{
	main_thread = pthread_self();
	memset(w, 0, sizeof *w);
	w->f.fd = -1;
	w->r.segment_octets = 8u << 20;
	rig_open(&w->r, kind);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->server = server_new(w->r.be, w->r.mbs, w->r.kv));
	server_on_condemned(w->server, on_condemned, w);
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
	time_t end = time(NULL) + 60; /* for hangs */
	int rc;

	while (!w->ended && time(NULL) < end) {
		frame_fini(&w->f);
		(void)(chan_flush(w->c) == 0);
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
	CU_ASSERT_EQUAL(server_count(w->server).condemned, w->told); /* who can end it is told each time */
	return w->told;
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
raw_drop(struct raw *w, uint32_t file)
{
	struct msg_store_drop m = { .file = file };
	struct frame f;

	raw_send(w, msg_store_drop_encode(&m, 0, &f), &f, -1);
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

/* No longer one than a message may be. */
static void
test_longest(void)
{
	struct raw w;
	int fd, i;

	raw_open(&w, RIG_LOCAL);
	for (i = 0; i < 2; i++) {
		fd = raw_file(&w, 1);
		CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)STORE_MESSAGE_MAX + i), 0); /* nothing but a hole */
		close(fd);
		raw_commit(&w, 1);
		CU_ASSERT_EQUAL(raw_reply(&w) == STORE_INVALID, i == 1); /* there may be no room for the other */
		raw_drop(&w, 1);
	}
	CU_ASSERT_EQUAL(condemned(&w), 0);
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

/* --- what one may have at a time ----------------------------------------------------------------------------------- */

/* Sends as long as somebody takes it; false: nobody does. */
static bool
raw_push(struct raw *w, struct frame *f)
{
	int i;

	for (i = 0; chan_waiting(w->c) > 0 && i < 50; i++) {
		(void)(chan_flush(w->c) == 0);
		raw_turn(w);
	}
	return chan_waiting(w->c) == 0 && chan_send(w->c, f, -1) == 0;
}

static bool
raw_put(struct raw *w, uint32_t i)
{
	uint8_t id[16] = { 0 };
	char key[16];
	struct msg_store_put put = { .space = span_str("greylist"), .key = { (uint8_t *)key, 0 }, .has_value = 1,
		.value = span_str("x"), .expect = STORE_ANY_VERSION };
	struct msg_store_commit commit = { .transaction = { id, sizeof id } };
	struct frame f;

	memcpy(id, &i, sizeof i);
	put.key.n = (size_t)snprintf(key, sizeof key, "k%u", i);
	CU_ASSERT_EQUAL(msg_store_put_encode(&put, i, &f), 0);
	if (!raw_push(w, &f))
		return false;
	CU_ASSERT_EQUAL(msg_store_commit_encode(&commit, i, &f), 0);
	return raw_push(w, &f);
}

static void
raw_get(struct raw *w, uint32_t id)
{
	struct msg_store_get m = { .space = span_str("greylist"), .key = span_str("nothing") };
	struct frame f;

	raw_send(w, msg_store_get_encode(&m, id, &f), &f, -1);
}

/* Another client, whom all this is nothing. */
static void
others_go_on(struct raw *w)
{
	struct chan *own = w->c;
	struct frame f;
	int fds[2], i;

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	CU_ASSERT_EQUAL_FATAL(server_peer(w->server, fds[0], STORE_CLASS_WORKER, WHO), 0);
	w->c = chan_new(fds[1]);
	chan_bundle(w->c);
	raw_get(w, 1);
	for (i = 0; i < 100 && chan_recv(w->c, &f) == PT_EAGAIN; i++)
		raw_turn(w);
	CU_ASSERT(i < 100);
	CU_ASSERT_EQUAL(f.type, MSG_T_STORE_REPLY);
	chan_free(&w->c);
	w->c = own;
}

static void
replies_are(struct raw *w, size_t n, enum store_rc rc)
{
	enum store_rc got = rc;

	while (n > 0 && (got = raw_reply(w)) == rc)
		n--;
	if (n > 0)
		fprintf(stderr, "\n%zu answers missing, the last: %s\n", n, store_rc_text(got));
	CU_ASSERT_EQUAL(n, 0);
}

/* Requests that are not answered: at the maximum the rest waits in the socket, and goes on when there are fewer. */
static void
test_requests(void)
{
	struct raw w;
	uint32_t sent = 0;

	raw_open(&w, RIG_LOCAL);
	raw_turn(&w);
	hold = true;
	while (sent < PEER_REQUESTS_MAX + 2000 && raw_put(&w, sent + 1))
		sent++;
	CU_ASSERT(sent >= PEER_REQUESTS_MAX);
	CU_ASSERT(sent < PEER_REQUESTS_MAX + 2000);
	CU_ASSERT_EQUAL(server_count(w.server).requests, PEER_REQUESTS_MAX);
	CU_ASSERT_EQUAL(server_count(w.server).waits, 1);
	others_go_on(&w);
	hold = false;
	replies_are(&w, sent, STORE_OK);
	CU_ASSERT_EQUAL(server_count(w.server).requests, 0);
	CU_ASSERT_EQUAL(condemned(&w), 0);
	raw_close(&w);
}

/* The memory of transactions that are not answered. */
static void
test_octets(void)
{
	static const uint8_t octets[16000];
	struct msg_store_body body = { .octets = { octets, sizeof octets } };
	struct msg_store_add add = { .user = span_str(USER), .box = span_str("INBOX") };
	uint8_t id[16] = { 0 };
	struct msg_store_commit commit = { .transaction = { id, sizeof id } };
	struct raw w;
	struct frame f;
	bool taken = true;
	uint32_t t;
	int i;

	raw_open(&w, RIG_LOCAL);
	CU_ASSERT_TRUE(raw_put(&w, 1000) && raw_put(&w, 1001));
	hold = true;
	for (t = 1; t < 40 && taken; t++) { /* of 3.2 MB */
		for (i = 0; i < 200 && taken; i++)
			taken = msg_store_body_encode(&body, t, &f) == 0 && raw_push(&w, &f);
		for (add.body = 0; add.body < 200 && taken; add.body++)
			taken = msg_store_add_encode(&add, t, &f) == 0 && raw_push(&w, &f);
		id[0] = (uint8_t)t;
		taken = taken && msg_store_commit_encode(&commit, t, &f) == 0 && raw_push(&w, &f);
	}
	CU_ASSERT_FALSE(taken);
	CU_ASSERT(t > 15);
	CU_ASSERT(t < 28);
	others_go_on(&w);
	hold = false;
	raw_close(&w);
}

/* Who reads no answers gets no more of them. */
static void
test_unread(void)
{
	struct raw w;
	struct frame f;
	struct msg_store_get m = { .space = span_str("greylist"), .key = span_str("nothing") };
	uint32_t sent = 0;

	raw_open(&w, RIG_MEMORY);
	while (sent < 1000000 && msg_store_get_encode(&m, sent + 1, &f) == 0 && raw_push(&w, &f))
		sent++;
	CU_ASSERT(sent < 1000000);
	CU_ASSERT_EQUAL(server_count(w.server).waits, 1);
	others_go_on(&w);
	replies_are(&w, sent, STORE_NOTFOUND);
	CU_ASSERT_EQUAL(condemned(&w), 0);
	raw_close(&w);
}

/* Files and views: the next after the last is a temporary failure, until there are fewer. */
static void
test_files_and_views(void)
{
	struct msg_store_file file = { .file = PEER_FILES_MAX + 1 };
	struct msg_store_drop drop = { .file = 7 };
	struct msg_store_view_open view = { .user = span_str(USER), .box = span_str("INBOX") };
	struct msg_store_view_close end = { .view = 7 };
	struct raw w;
	struct frame f;
	uint32_t i;

	raw_open(&w, RIG_LOCAL);
	for (i = 1; i <= PEER_FILES_MAX; i++)
		close(raw_file(&w, i));
	raw_send(&w, msg_store_file_encode(&file, 1, &f), &f, -1);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_TEMP);
	CU_ASSERT_EQUAL(server_count(w.server).refused, 1);
	raw_send(&w, msg_store_drop_encode(&drop, 0, &f), &f, -1);
	close(raw_file(&w, PEER_FILES_MAX + 1));
	raw_close(&w);

	raw_open(&w, RIG_MEMORY);
	CU_ASSERT_EQUAL(rig_commit(&w.r, rig_add(NULL, USER, "INBOX", "one")).rc, STORE_OK);
	for (view.view = 1; view.view <= PEER_VIEWS_MAX; view.view++) {
		raw_send(&w, msg_store_view_open_encode(&view, view.view, &f), &f, -1);
		CU_ASSERT_TRUE_FATAL(raw_wait(&w, MSG_T_STORE_VIEW));
	}
	raw_send(&w, msg_store_view_open_encode(&view, 1, &f), &f, -1);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_TEMP);
	CU_ASSERT_EQUAL(server_count(w.server).refused, 1);
	raw_send(&w, msg_store_view_close_encode(&end, 0, &f), &f, -1);
	raw_send(&w, msg_store_view_open_encode(&view, 1, &f), &f, -1);
	CU_ASSERT_TRUE(raw_wait(&w, MSG_T_STORE_VIEW));
	CU_ASSERT_EQUAL(condemned(&w), 0);
	raw_close(&w);
}

/* How far a file is may be said of one's own files, whatever is said; nothing is answered. */
static void
test_written(void)
{
	static const uint64_t octets[] = { 0, 3, 1u << 20, STORE_MESSAGE_MAX, STORE_MESSAGE_MAX + 1, UINT64_MAX };
	struct msg_store_written m = { .file = 1 };
	struct raw w;
	struct frame f;
	size_t i;
	int fd;

	raw_open(&w, RIG_LOCAL);
	fd = raw_file(&w, 1);
	CU_ASSERT_EQUAL(write(fd, "one", 3), 3);
	for (i = 0; i < PT_COUNT(octets); i++) {
		m.octets = octets[i];
		raw_send(&w, msg_store_written_encode(&m, 0, &f), &f, -1);
	}
	CU_ASSERT_EQUAL(write(fd, "two", 3), 3);
	close(fd);
	raw_commit(&w, 1);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_EQUAL(condemned(&w), 0);
	m.file = 2;
	raw_send(&w, msg_store_written_encode(&m, 0, &f), &f, -1);
	for (i = 0; i < 100 && server_count(w.server).condemned == 0; i++)
		raw_turn(&w);
	CU_ASSERT_EQUAL(condemned(&w), 1);
	raw_close(&w);
}

/* A file that could not be made is not counted. */
static void
test_files_refused(void)
{
	struct msg_store_file file = { .file = 1 };
	struct raw w;
	struct frame f;
	int i;

	raw_open(&w, RIG_MEMORY);
	memory_inject(w.r.be, MEMORY_FILE, STORE_FULL, PEER_FILES_MAX + 1);
	for (i = 0; i <= PEER_FILES_MAX; i++) { /* the same number: it is free again */
		raw_send(&w, msg_store_file_encode(&file, 1, &f), &f, -1);
		CU_ASSERT_EQUAL(raw_reply(&w), STORE_FULL);
	}
	close(raw_file(&w, 1));
	raw_close(&w);
}

#define BOXES 800 /* more than a socket and the queue take */

/* A list goes out as it is read. (All of it was put into the channel, and a long one ended that.) */
static void
test_list(void)
{
	struct msg_store_boxes m = { .user = span_str(USER) };
	struct raw w;
	struct frame f;
	char name[16];
	int i, n = 0;

	raw_open(&w, RIG_MEMORY);
	for (i = 0; i < BOXES; i++) {
		snprintf(name, sizeof name, "b%d", i);
		CU_ASSERT_EQUAL_FATAL(rig_commit(&w.r, rig_box(USER, STORE_BOX_CREATE, name, NULL)).rc, STORE_OK);
	}
	raw_send(&w, msg_store_boxes_encode(&m, 1, &f), &f, -1);
	for (i = 0; i < 100; i++)
		raw_turn(&w);
	CU_ASSERT_EQUAL(server_count(w.server).requests, 1);
	others_go_on(&w);
	while (n < BOXES && raw_wait(&w, MSG_T_STORE_BOX_STATUS))
		n++;
	CU_ASSERT_EQUAL(n, BOXES);
	CU_ASSERT_EQUAL(raw_reply(&w), STORE_OK);
	CU_ASSERT_EQUAL(server_count(w.server).requests, 0);
	raw_send(&w, msg_store_boxes_encode(&m, 2, &f), &f, -1);
	for (i = 0; i < 100; i++)
		raw_turn(&w);
	CU_ASSERT_EQUAL(server_count(w.server).requests, 1); /* and its client goes away meanwhile */
	raw_close(&w);
}

/* --- anything -------------------------------------------------------------------------------------------------------- */

static uint32_t seed;

static uint32_t
rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % n;
}

/* What a client could send, with numbers that may mean something by now. */
static int
any_frame(struct frame *f)
{
	static const char *const boxes[] = { "INBOX", "a", "a.b", "", "x/y", "..", "inbox" };
	static const char *const users[] = { "mallory@example.test", "m", "", "../x", "." };
	static const char *const sets[] = { "1", "1:4", "4294967295", "0", "2:1", "" };
	static const char *const spaces[] = { "greylist", "sieve", "registry", "" };
	static uint8_t octets[16000];
	struct span user = span_str(users[rnd(8) < 6 ? 0 : rnd(5)]), box = span_str(boxes[rnd(7)]);
	struct span set = span_str(sets[rnd(6)]), space = span_str(spaces[rnd(8) < 6 ? 0 : rnd(4)]);
	struct span some = { octets, rnd(4) == 0 ? rnd(sizeof octets) : rnd(64) };
	uint32_t id = rnd(4), k = rnd(4);

	switch (rnd(19)) {
	case 0:
		return msg_store_body_encode(&(struct msg_store_body){ .more = rnd(8) == 0, .octets = some }, id, f);
	case 1:
		return msg_store_file_encode(&(struct msg_store_file){ .file = k }, id, f);
	case 2:
		return msg_store_drop_encode(&(struct msg_store_drop){ .file = k }, id, f);
	case 3:
	case 4:
		return msg_store_add_encode(&(struct msg_store_add){ .user = user, .box = box, .in_file = rnd(2) == 0,
			.body = k, .date = rnd(8) == 0 ? UINT64_MAX : 0, .has_flags = rnd(2) == 0, .flags = rnd(256),
			.quota = rnd(8) == 0 }, id, f);
	case 5:
		return msg_store_copy_encode(&(struct msg_store_copy){ .view = k, .uids = set, .box = box,
			.move = rnd(2) == 0 }, id, f);
	case 6:
		return msg_store_flags_encode(&(struct msg_store_flags){ .view = k, .uids = set, .op = (uint8_t)rnd(4),
			.flags = rnd(256), .unchangedsince = rnd(2) == 0 ? UINT64_MAX : 1 }, id, f);
	case 7:
		return msg_store_expunge_encode(&(struct msg_store_expunge){ .view = k, .uids = set }, id, f);
	case 8:
		return msg_store_box_encode(&(struct msg_store_box){ .user = user, .op = (uint8_t)rnd(6), .box = box,
			.to = span_str(boxes[rnd(7)]) }, id, f);
	case 9:
		return msg_store_put_encode(&(struct msg_store_put){ .space = space, .key = box, .has_value = rnd(2) == 0,
			.value = some, .expect = rnd(3) }, id, f);
	case 10:
	case 11:
	case 12:
		octets[0]++;
		return msg_store_commit_encode(&(struct msg_store_commit){ .transaction = { octets, rnd(16) == 0 ? 15 : 16 } },
			id, f);
	case 13:
		return msg_store_view_open_encode(&(struct msg_store_view_open){ .view = k, .user = user, .box = box }, id, f);
	case 14:
		return msg_store_view_close_encode(&(struct msg_store_view_close){ .view = k }, id, f);
	case 15:
		return msg_store_fetch_encode(&(struct msg_store_fetch){ .view = k, .uid = rnd(4) }, id, f);
	case 16:
		return msg_store_boxes_encode(&(struct msg_store_boxes){ .user = user }, id, f);
	case 17:
		return msg_store_written_encode(&(struct msg_store_written){ .file = k,
			.octets = rnd(4) == 0 ? UINT64_MAX : rnd(100000) }, id, f);
	default:
		return msg_store_get_encode(&(struct msg_store_get){ .space = space, .key = box }, id, f);
	}
}

/* One packet as it comes: changed here and there, with descriptors of any kind and number. */
static void
send_anything(struct chan *c, struct frame *f, const int *fds, unsigned nfds)
{
	struct iovec iov = { f->octets, FRAME_HEADER + f->len };
	union { struct cmsghdr h; char room[CMSG_SPACE(8 * sizeof(int))]; } u;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned i, n;

	frame_seal(f);
	for (n = rnd(3) == 0 ? rnd(4) : 0; n > 0; n--)
		f->octets[rnd(rnd(2) == 0 ? FRAME_HEADER : (uint32_t)iov.iov_len)] ^= (uint8_t)(1u << rnd(8));
	if (rnd(16) == 0)
		iov.iov_len = rnd((uint32_t)iov.iov_len + 1);
	n = rnd(6) == 0 ? 1 + rnd(rnd(4) == 0 ? 8 : 1) : 0;
	if (n > 0) {
		m.msg_control = &u;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		u.h.cmsg_level = SOL_SOCKET;
		u.h.cmsg_type = SCM_RIGHTS;
		u.h.cmsg_len = CMSG_LEN(n * sizeof(int));
		for (i = 0; i < n; i++)
			memcpy(CMSG_DATA(&u.h) + i * sizeof(int), &fds[rnd(nfds)], sizeof(int));
	}
	(void)!sendmsg(chan_fd(c), &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
no_log(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	(void)arg;
	(void)level;
	(void)text;
	(void)fields;
	(void)n;
}

/* A worker that does anything at all: it is ended whenever that is called for, and nothing of anybody else changes. */
static void
do_anything(enum rig_kind kind)
{
	struct raw w;
	struct frame f;
	int fds[8], pair[2], i, k, rc;
	time_t end;

	raw_open(&w, kind);
	log_set_sink(no_log, NULL); /* thousands of times the same */
	CU_ASSERT_EQUAL(rig_commit(&w.r, rig_add(NULL, USER, "INBOX", "mine")).rc, STORE_OK);
	CU_ASSERT_EQUAL_FATAL(pipe(pair), 0);
	fds[0] = pair[0];
	fds[1] = pair[1];
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fds[2] = pair[0];
	fds[3] = pair[1];
	fds[4] = open("/", O_RDONLY | O_DIRECTORY);
	fds[5] = open("/etc/passwd", O_PATH);
	fds[6] = memfd_create("anything", MFD_CLOEXEC);
	fds[7] = open("/dev/null", O_WRONLY);
	for (i = 0; i < 20000; i++) {
		CU_ASSERT_EQUAL_FATAL(any_frame(&f), 0);
		send_anything(w.c, &f, fds, PT_COUNT(fds));
		if (rnd(8) != 0)
			continue;
		raw_turn(&w);
		while ((rc = chan_recv(w.c, &w.f)) == 0)
			frame_fini(&w.f);
		if (rc != PT_EAGAIN)
			raw_attach(&w);
		if (i % 1000 == 0)
			others_go_on(&w);
	}
	CU_ASSERT(server_count(w.server).condemned > 100);
	for (k = 0; k < 8; k++)
		close(fds[k]);
	chan_free(&w.c);
	end = time(NULL) + 60; /* for hangs */
	while (server_count(w.server).requests > 0 && time(NULL) < end)
		raw_turn(&w);
	CU_ASSERT_EQUAL(server_count(w.server).requests, 0);
	CU_ASSERT_STRING_EQUAL(rig_dump(&w.r, USER, "INBOX"), "1 N:mine");
	raw_close(&w);
	log_set_sink(NULL, NULL);
}

static void
test_anything(void)
{
	const char *from = getenv("HOSTILE_SEED");
	int kind;

	seed = from != NULL ? (uint32_t)strtoul(from, NULL, 10) | 1 : 4711;
	for (kind = 0; kind < RIG_KINDS; kind++)
		do_anything((enum rig_kind)kind);
}

static const struct test_row rows[] = {
	{ "a body that can still be written", test_still_written },
	{ "a message that is too long", test_longest },
	{ "a file system without leases", test_without_leases },
	{ "requests under way", test_requests },
	{ "memory under way", test_octets },
	{ "answers that nobody reads", test_unread },
	{ "files and views", test_files_and_views },
	{ "how far a file is", test_written },
	{ "files that were refused", test_files_refused },
	{ "a list that is long", test_list },
	{ "anything at all", test_anything },
};

TEST_MAIN("store/hostile", rows)
