/* unit/proc/test_store.c - postern-store itself, as a parent starts it, and a worker's way of using it: deliveries, large
 * bodies, an end by -9 in the middle of many, a successor that waits for the lock, folders that are not its. */
#include "test.h"

#include "ev/ev.h"
#include "proc/files.h"
#include "proc/role.h"
#include "proc/storage.h"
#include "proc/worker_store.h"
#include "ipc/chan.h"
#include "ipc/msg.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER "alice@example.org"

struct server {
	pid_t pid;
	struct chan *chan;
};

static const char *const folders[STORAGE_FOLDERS] = { [STORAGE_JOURNAL] = "journal", [STORAGE_KEYS] = "kv",
	[STORAGE_QUEUE] = "queue", [STORAGE_MAIL] = "mail" };
static char dir[64];
static struct ev_loop *loop;
static struct worker_store *ws;
static struct server first, second;

/* --- the parent's part ---------------------------------------------------------------------------------------- */

static void
run(int fd)
{
	char path[4096], name[128];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), want[ROLE_FD_MAX - ROLE_FD_PARENT], i;

	snprintf(path, sizeof path, "%s/src/postern-store", getenv("top_builddir"));
	setenv("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=0", 1); /* confined, it cannot look for leaks */
	want[0] = fd;
	want[1] = want[2] = null;
	for (i = 0; i < STORAGE_FOLDERS; i++) {
		snprintf(name, sizeof name, "%s/%s", dir, folders[i]);
		want[ROLE_FD_FOLDER - ROLE_FD_PARENT + i] = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	for (i = 0; i < (int)PT_COUNT(want); i++)
		want[i] = fcntl(want[i], F_DUPFD_CLOEXEC, 32);
	for (i = 0; i < (int)PT_COUNT(want); i++)
		if (dup2(want[i], ROLE_FD_PARENT + i) < 0)
			_exit(70);
	execl(path, "posternd", "-r", "store", "-u", "0", "-g", "0", (char *)NULL);
	_exit(71);
}

#define TELL(s, name, fd, ...)                                                                     \
	do {                                                                                       \
		struct msg_##name m_ = { __VA_ARGS__ };                                            \
		static struct frame f_;                                                            \
		PT_ASSERT(msg_##name##_encode(&m_, 0, &f_) == 0);                                  \
		PT_ASSERT(chan_send((s)->chan, &f_, fd) == 0);                                     \
	} while (0)

static struct frame *
hear(struct server *s, unsigned type)
{
	static struct frame f;
	struct pollfd p = { .fd = chan_fd(s->chan), .events = POLLIN };

	do {
		PT_ASSERT(poll(&p, 1, 60000) == 1);
	} while (chan_recv(s->chan, &f) == PT_EAGAIN);
	PT_ASSERT(f.type == type); /* without it the others would wait for ever */
	return &f;
}

static void
configure(struct server *s, uint64_t generation, const char *mail)
{
	char text[512];
	int fd;

	snprintf(text, sizeof text, "hostname mail.example.org\nstate %s\nmail %s\njournal-size 4\n"
		"service s {\nprotocol line\nlisten 127.0.0.1:1 plain\n}\n", dir, mail);
	PT_ASSERT(memfd_sealed("conf", span_str(text), &fd) == 0);
	TELL(s, config, fd, .generation = generation);
	close(fd);
}

static bool
agrees(struct server *s, uint64_t generation)
{
	struct msg_cred_ack ack;

	PT_ASSERT(msg_cred_ack_decode(hear(s, MSG_T_CRED_ACK), &ack) == 0);
	CU_ASSERT_EQUAL(ack.generation, generation);
	return ack.ok == 1;
}

static void
launch(struct server *s)
{
	int fds[2];

	PT_ASSERT(chan_pair(fds) == 0);
	if ((s->pid = fork()) == 0)
		run(fds[1]);
	PT_ASSERT(s->pid > 0);
	close(fds[1]);
	PT_ASSERT((s->chan = chan_new(fds[0])) != NULL);
	(void)hear(s, MSG_T_READY);
	configure(s, 7, dir);
}

/* A channel between it and our client. */
static void
join(struct server *s)
{
	int fds[2];

	PT_ASSERT(chan_pair(fds) == 0);
	TELL(s, channel, fds[0], .role = ROLE_WORKER, .slot = 0, .generation = 7);
	close(fds[0]);
	worker_store_attach(ws, fds[1]);
}

static int
end(struct server *s, int signo)
{
	int status;

	if (signo != 0)
		kill(s->pid, signo);
	PT_ASSERT(waitpid(s->pid, &status, 0) == s->pid);
	chan_free(&s->chan);
	return status;
}

/* --- the worker's part ---------------------------------------------------------------------------------------- */

struct got {
	unsigned answers, ok;
	enum store_rc rc;
	struct store_view *view;
	int fd;
	uint64_t size;
};

static void
on_reply(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct got *g = arg;

	g->answers++;
	g->ok += rc == STORE_OK;
	g->rc = rc;
	g->view = r->view;
	g->fd = r->fd;
	r->fd = -1;
	g->size = r->size;
}

static void
wait_for(const struct got *g, unsigned answers)
{
	while (g->answers < answers)
		ev_loop_once(loop);
}

static void
deliver(struct got *g, const char *user, const void *p, size_t n)
{
	struct store_blob *b = store_blob_new(worker_store(ws), n);
	struct store_txn *t = store_txn_new(worker_store(ws));
	size_t off, piece;
	int rc;

	for (off = 0; off < n; off += piece) {
		piece = n - off < 16384 ? n - off : 16384;
		while ((rc = store_blob_write(b, (const uint8_t *)p + off, piece)) == PT_EAGAIN) {
			worker_store_asked(ws);
			ev_loop_once(loop);
		}
		CU_ASSERT_EQUAL_FATAL(rc, 0);
	}
	CU_ASSERT_EQUAL(store_txn_add(t, user, NULL, b, NULL, 0, 0), 0);
	store_commit(&t, on_reply, g);
	store_blob_free(&b);
	worker_store_asked(ws);
}

static size_t
count(const char *user)
{
	struct got g = { .fd = -1 };
	size_t n;

	store_view_open(worker_store(ws), user, "INBOX", NULL, on_reply, &g);
	wait_for(&g, 1);
	if (g.rc != STORE_OK)
		return 0;
	n = store_view_count(g.view);
	store_view_close(&g.view);
	return n;
}

static void
test_begin(void)
{
	struct got g = { .fd = -1 };
	char name[128];
	int i;

	PT_ASSERT(getenv("top_builddir") != NULL); /* where postern-store is */
	snprintf(dir, sizeof dir, "/tmp/postern-store-XXXXXX");
	PT_ASSERT(mkdtemp(dir) != NULL);
	for (i = 0; i < STORAGE_FOLDERS; i++) {
		snprintf(name, sizeof name, "%s/%s", dir, folders[i]);
		PT_ASSERT(mkdir(name, 0700) == 0);
	}
	PT_ASSERT((loop = ev_loop_new()) != NULL && (ws = worker_store_new(loop)) != NULL);
	/* asked before there is any: it waits */
	deliver(&g, USER, "first\r\n", 7);
	CU_ASSERT_EQUAL(g.answers, 0);
	launch(&first);
	CU_ASSERT_TRUE(agrees(&first, 7));
	join(&first);
	wait_for(&g, 1);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	CU_ASSERT_EQUAL(count(USER), 1);
}

static void
test_large(void)
{
	struct got g = { .fd = -1 }, v = { .fd = -1 };
	uint8_t *big = malloc(3000000), *have = malloc(3000001);
	size_t i;

	for (i = 0; i < 3000000; i++)
		big[i] = (uint8_t)(i % 77 == 76 ? '\n' : i % 77 == 75 ? '\r' : 'a' + i % 23);
	deliver(&g, "large@example.org", big, 3000000);
	wait_for(&g, 1);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	store_view_open(worker_store(ws), "large@example.org", "INBOX", NULL, on_reply, &v);
	wait_for(&v, 1);
	CU_ASSERT_EQUAL_FATAL(v.rc, STORE_OK);
	g = (struct got){ .fd = -1 };
	store_fetch(v.view, 1, on_reply, &g);
	wait_for(&g, 1);
	CU_ASSERT_EQUAL_FATAL(g.rc, STORE_OK);
	CU_ASSERT_EQUAL(pread(g.fd, have, 3000001, 0), 3000000);
	CU_ASSERT_EQUAL(memcmp(big, have, 3000000), 0);
	close(g.fd);
	store_view_close(&v.view);
	free(big);
	free(have);
}

/* Whatever was acknowledged is there, and whatever was asked is done once, though the process is killed in between. */
static void
test_killed(void)
{
	struct got g = { .fd = -1 };
	unsigned i, round, sent = 0;
	char body[64];

	for (round = 0; round < 5; round++) {
		for (i = 0; i < 200; i++) {
			snprintf(body, sizeof body, "message %u\r\n", sent++);
			deliver(&g, "kill@example.org", body, strlen(body));
			if (i == 100)
				wait_for(&g, sent - 60); /* the rest is under way */
		}
		CU_ASSERT_EQUAL(end(&first, SIGKILL), SIGKILL);
		while (store_attached(worker_store(ws)))
			ev_loop_once(loop);
		launch(&first);
		CU_ASSERT_TRUE_FATAL(agrees(&first, 7));
		join(&first);
		wait_for(&g, sent);
		CU_ASSERT_EQUAL(g.ok, sent);
		CU_ASSERT_EQUAL(count("kill@example.org"), sent);
	}
}

/* At an upgrade: the next one waits until the one before has done what it was asked, and ended. */
static void
test_replaced(void)
{
	struct got g = { .fd = -1 };
	unsigned i;

	for (i = 0; i < 100; i++)
		deliver(&g, "next@example.org", "x", 1);
	launch(&second);
	TELL(&first, stop, -1, .timeout_ms = 0);
	CU_ASSERT_TRUE_FATAL(agrees(&second, 7));
	join(&second);
	wait_for(&g, 100);
	CU_ASSERT_EQUAL(g.ok, 100);
	CU_ASSERT_EQUAL(count("next@example.org"), 100);
	CU_ASSERT_EQUAL(end(&first, 0), 0);
	/* a reload with other folders is refused, with the same not */
	configure(&second, 8, "/somewhere/else");
	CU_ASSERT_FALSE(agrees(&second, 8));
	configure(&second, 9, dir);
	CU_ASSERT_TRUE(agrees(&second, 9));
}

static void
test_end(void)
{
	char command[128];

	TELL(&second, stop, -1, .timeout_ms = 0);
	CU_ASSERT_EQUAL(end(&second, 0), 0);
	worker_store_free(&ws);
	ev_loop_free(&loop);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

static const struct test_row rows[] = {
	{ "begin", test_begin },
	{ "a large body", test_large },
	{ "killed among many deliveries", test_killed },
	{ "replaced", test_replaced },
	{ "end", test_end },
};

TEST_MAIN("proc/store", rows)
