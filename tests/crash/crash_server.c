/* tests/crash/crash_server.c - the store alone, on a socket that lies in its folder, to be killed.
 *
 *     crash_server DIR [SEGMENT-OCTETS]
 *
 * DIR has journal/, kv/ and mail/; clients connect to DIR/socket (SOCK_SEQPACKET). Says "ready" when it accepts. A
 * flush that fails ends it with status 75. Everything else that it does is the store's own code. */
#include "store/local.h"
#include "store/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct known { /* a transaction's id out of the journal, until there is somebody to remember it */
	struct known *next;
	char id[33];
	struct buf text;
};

struct setting {
	struct kv *kv;
	struct known *known, **end;
};

static int failed;

static void
on_failed(void *arg, const char *what)
{
	(void)arg;
	fprintf(stderr, "crash_server: %s\n", what);
	failed = 1;
}

static void
on_key(void *arg, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	struct setting *s = arg;

	PT_ASSERT(kv_set(s->kv, space, key, version, expires, value) == 0);
}

static void
on_id(void *arg, const char *id, struct span text)
{
	struct setting *s = arg;
	struct known *k = calloc(1, sizeof *k);

	PT_ASSERT(k != NULL);
	snprintf(k->id, sizeof k->id, "%.32s", id);
	buf_init(&k->text, 1u << 20);
	PT_ASSERT(buf_append(&k->text, text.p, text.n) == 0);
	*s->end = k;
	s->end = &k->next;
}

static void
remember(struct setting *s, struct mailboxes *mbs)
{
	struct known *k;

	while ((k = s->known) != NULL) {
		s->known = k->next;
		mb_remember(mbs, k->id, buf_span(&k->text));
		buf_fini(&k->text);
		free(k);
	}
}

static int
folder(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "crash_server: %s: %s\n", name, strerror(errno));
		exit(2);
	}
	return fd;
}

static int
listen_in(const char *dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", dir);
	(void)unlink(a.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0) {
		fprintf(stderr, "crash_server: %s: %s\n", a.sun_path, strerror(errno));
		exit(2);
	}
	return fd;
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
serve(struct server *server, struct mailboxes *mbs, int listener)
{
	struct pollfd p[] = { { .fd = listener, .events = POLLIN }, { .fd = server_fd(server), .events = POLLIN } };
	uint64_t now, next;
	int fd, wait;

	while (!failed) {
		now = now_ms();
		next = mailboxes_tick(mbs, now);
		wait = next <= now ? 0 : next - now > 1000 ? 1000 : (int)(next - now);
		(void)poll(p, PT_COUNT(p), wait);
		while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
			PT_ASSERT(server_peer(server, fd, STORE_CLASS_WORKER, 0) == 0);
		server_dispatch(server);
	}
}

int
main(int argc, char **argv)
{
	struct setting s = { .kv = kv_new() };
	struct mailboxes_conf mc = { .host = "crash.example" };
	struct diag diag = { "" };
	struct store_backend *be;
	struct mailboxes *mbs;
	struct server *server;
	int dir, listener;

	if (argc < 2)
		return 2;
	s.end = &s.known;
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	listener = listen_in(argv[1]);
	struct local_conf lc = { .journal_fd = folder(dir, "journal"), .kv_fd = folder(dir, "kv"),
		.mail_fd = folder(dir, "mail"), .host = "crash.example", .segments = 4,
		.segment_octets = argc > 2 ? strtoull(argv[2], NULL, 10) : 1u << 20,
		.failed = on_failed };
	if (local_open(&lc, on_key, on_id, &s, &be, &diag) != 0) {
		fprintf(stderr, "crash_server: %s\n", diag.text);
		return 1;
	}
	PT_ASSERT((mbs = mailboxes_new(be, s.kv, &mc)) != NULL);
	remember(&s, mbs);
	PT_ASSERT((server = server_new(be, mbs, s.kv)) != NULL);
	printf("ready\n");
	fflush(stdout);
	serve(server, mbs, listener);
	return 75;
}
