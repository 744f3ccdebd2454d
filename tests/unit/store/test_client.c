/* unit/store/test_client.c - the client's library against the server over a channel, both in this process: what workers do. */
#include "store/client_impl.h"
#include "store/rig.h"
#include "store/server.h"
#include "store/store.h"

#include "ipc/chan.h"
#include "ipc/msg.h"
#include "test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USER "alice@example.test"

struct both {
	struct rig r;
	struct server *server;
	struct store *c;
};

struct got {
	bool done;
	enum store_rc rc;
	char uids[64];
	uint32_t uidvalidity;
	int fd;
	uint64_t size, version;
	struct store_view *view;
	size_t nboxes;
	char value[64];
};

static void
on_reply(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct got *g = arg;

	CU_ASSERT_FALSE(g->done);
	g->done = true;
	g->rc = rc;
	snprintf(g->uids, sizeof g->uids, "%.*s", (int)r->uids.n, r->uids.n > 0 ? (const char *)r->uids.p : "");
	snprintf(g->value, sizeof g->value, "%.*s", (int)r->value.n, r->value.n > 0 ? (const char *)r->value.p : "");
	g->uidvalidity = r->uidvalidity;
	g->fd = r->fd;
	r->fd = -1;
	g->size = r->size;
	g->version = r->version;
	g->view = r->view;
	g->nboxes = r->nboxes;
}

static void
turn(struct both *b)
{
	struct pollfd p[2] = { { .fd = server_fd(b->server), .events = POLLIN },
		{ .fd = store_fd(b->c), .events = POLLIN } };

	(void)poll(p, 2, 10);
	server_dispatch(b->server);
	if (store_attached(b->c))
		(void)(store_dispatch(b->c) == 0);
}

static void
wait_got(struct both *b, const struct got *g)
{
	int i;

	for (i = 0; i < 1000 && !g->done; i++)
		turn(b);
	CU_ASSERT_TRUE_FATAL(g->done);
}

static void
attach_as(struct both *b, struct store *c, enum store_class class)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	CU_ASSERT_EQUAL_FATAL(server_peer(b->server, fds[0], class, 0), 0);
	store_attach(c, fds[1]);
}

static void
attach(struct both *b)
{
	attach_as(b, b->c, STORE_CLASS_WORKER);
}

static void
both_start(struct both *b)
{
	b->server = server_new(b->r.be, b->r.mbs, b->r.kv);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b->server);
}

static void
both_open(struct both *b, enum rig_kind kind)
{
	memset(b, 0, sizeof *b);
	b->r.segment_octets = 1u << 20;
	rig_open(&b->r, kind);
	both_start(b);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b->c = store_new());
	attach(b);
}

static void
both_close(struct both *b)
{
	store_free(&b->c);
	server_dispatch(b->server);
	server_free(&b->server);
	rig_close(&b->r);
}

static struct got
deliver(struct both *b, const char *user, const char *box, const void *body, size_t n, size_t hint)
{
	struct got g = { .fd = -1 };
	struct store_blob *blob = store_blob_new(b->c, hint);
	struct store_txn *t = store_txn_new(b->c);
	size_t off, piece;
	int rc;

	for (off = 0; off < n; off += piece) {
		piece = n - off < 9000 ? n - off : 9000;
		while ((rc = store_blob_write(blob, (const uint8_t *)body + off, piece)) == PT_EAGAIN)
			turn(b);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
	}
	CU_ASSERT_EQUAL(store_txn_add(t, user, box, blob, NULL, 0, 0), 0);
	store_commit(&t, on_reply, &g);
	store_blob_free(&blob);
	wait_got(b, &g);
	return g;
}

static struct got
open_view(struct both *b, const char *box)
{
	struct got g = { .fd = -1 };

	store_view_open(b->c, USER, box, NULL, on_reply, &g);
	wait_got(b, &g);
	return g;
}

static void
fetch_is(struct both *b, struct store_view *v, uint32_t uid, const void *body, size_t n)
{
	struct got g = { .fd = -1 };
	uint8_t *have = malloc(n + 1);

	store_fetch(v, uid, on_reply, &g);
	wait_got(b, &g);
	CU_ASSERT_EQUAL_FATAL(g.rc, STORE_OK);
	CU_ASSERT_EQUAL(g.size, n);
	CU_ASSERT_EQUAL(pread(g.fd, have, n + 1, 0), (ssize_t)n);
	CU_ASSERT_EQUAL(memcmp(have, body, n), 0);
	close(g.fd);
	free(have);
}

static void
each(void (*f)(struct both *))
{
	struct both b;
	int kind;

	for (kind = 0; kind < RIG_KINDS; kind++) {
		both_open(&b, (enum rig_kind)kind);
		f(&b);
		both_close(&b);
	}
}

static void
do_deliver(struct both *b)
{
	static uint8_t big[200000];
	static const size_t sizes[] = { 0, 1, 4096, 16000, 16001, 32000, STORE_BODY_MAX, STORE_BODY_MAX + 1, 65536, 65537,
		sizeof big };
	struct got g;
	size_t i, hint;

	for (i = 0; i < sizeof big; i++)
		big[i] = (uint8_t)(i % 251 + (i % 251 == 0));
	for (hint = 0; hint < 2; hint++)
		for (i = 0; i < PT_COUNT(sizes); i++) {
			g = deliver(b, USER, NULL, big, sizes[i], hint * sizes[i]);
			CU_ASSERT_EQUAL(g.rc, STORE_OK);
			CU_ASSERT_EQUAL(strtoul(g.uids, NULL, 10), 1 + i + hint * PT_COUNT(sizes));
		}
	g = open_view(b, "inbox");
	CU_ASSERT_EQUAL_FATAL(g.rc, STORE_OK);
	CU_ASSERT_EQUAL(store_view_count(g.view), 2 * PT_COUNT(sizes));
	for (i = 0; i < 2 * PT_COUNT(sizes); i++) {
		CU_ASSERT_EQUAL(store_view_msg(g.view, (uint32_t)i + 1)->size, sizes[i % PT_COUNT(sizes)]);
		fetch_is(b, g.view, (uint32_t)i + 1, big, sizes[i % PT_COUNT(sizes)]);
	}
	store_view_close(&g.view);
}

static void
test_deliver(void)
{
	each(do_deliver);
}

/* Many recipients, one body, once; and names that cannot be. */
static void
do_recipients(struct both *b)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "../x", ".hidden", "A@x", "a b", "a\nb", "a\x01" };
	struct got g = { .fd = -1 };
	struct store_blob *blob = store_blob_new(b->c, 0);
	struct store_txn *t = store_txn_new(b->c);
	char user[300], box[800];
	int i;

	CU_ASSERT_EQUAL(store_blob_write(blob, "hello\r\n", 7), 0);
	for (i = 0; i < 100; i++) {
		snprintf(user, sizeof user, "user%d@example.test", i);
		CU_ASSERT_EQUAL(store_txn_add(t, user, NULL, blob, NULL, 0, 0), 0);
	}
	store_commit(&t, on_reply, &g);
	wait_got(b, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	CU_ASSERT_STRING_EQUAL(rig_dump(&b->r, "user99@example.test", "INBOX"), "1 N:hello\r\n");
	for (i = 0; i < (int)PT_COUNT(bad); i++) {
		t = store_txn_new(b->c);
		CU_ASSERT_EQUAL(store_txn_add(t, bad[i], NULL, blob, NULL, 0, 0), PT_EINVAL);
		g = (struct got){ .fd = -1 };
		store_commit(&t, on_reply, &g);
		wait_got(b, &g);
		CU_ASSERT_EQUAL(g.rc, STORE_INVALID);
	}
	memset(user, 'u', sizeof user);
	memset(box, 'b', sizeof box);
	user[STORE_USER_MAX] = '\0';
	box[STORE_BOX_MAX] = '\0';
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_box(t, user, STORE_BOX_CREATE, box, NULL), 0);
	g = (struct got){ .fd = -1 };
	store_commit(&t, on_reply, &g);
	wait_got(b, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	t = store_txn_new(b->c);
	user[STORE_USER_MAX] = 'u';
	user[STORE_USER_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(store_txn_add(t, user, NULL, blob, NULL, 0, 0), PT_EINVAL);
	user[STORE_USER_MAX] = '\0';
	box[STORE_BOX_MAX] = 'b';
	box[STORE_BOX_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(store_txn_add(t, user, box, blob, NULL, 0, 0), PT_EINVAL);
	store_txn_free(&t);
	store_blob_free(&blob);
}

static void
test_recipients(void)
{
	each(do_recipients);
}

static void
next_is(struct store_view *v, enum store_change_kind kind, uint32_t seq, uint32_t uid)
{
	struct store_change c;

	c = (struct store_change){ 0, 0, 0 };
	if (!store_view_next(v, &c))
		fprintf(stderr, "got nothing, want %d %u %u\n", kind, seq, uid);
	if (c.kind != kind || c.seq != seq || c.uid != uid)
		fprintf(stderr, "got %d %u %u, want %d %u %u\n", c.kind, c.seq, c.uid, kind, seq, uid);
	CU_ASSERT_EQUAL(c.kind, kind);
	CU_ASSERT_EQUAL(c.seq, seq);
	CU_ASSERT_EQUAL(c.uid, uid);
}

static struct got
commit(struct both *b, struct store_txn *t)
{
	struct got g = { .fd = -1 };

	store_commit(&t, on_reply, &g);
	wait_got(b, &g);
	return g;
}

static void
do_view(struct both *b)
{
	static const char *const words[] = { "$Work", "todo" };
	struct store_flags seen = { .system = STORE_SEEN }, more = { .system = STORE_DELETED, .keywords = words,
		.nkeywords = 2 };
	struct store_change c;
	struct store_txn *t;
	struct got g, first, again;
	char guid[33];

	CU_ASSERT_EQUAL(open_view(b, "nowhere").rc, STORE_NOTFOUND);
	deliver(b, USER, NULL, "one", 3, 0);
	first = open_view(b, "INBOX");
	CU_ASSERT_EQUAL_FATAL(first.rc, STORE_OK);
	CU_ASSERT_FALSE(store_view_next(first.view, &c));
	/* its own delivery is there with the answer */
	deliver(b, USER, NULL, "two", 3, 0);
	CU_ASSERT_EQUAL(store_view_count(first.view), 1);
	next_is(first.view, STORE_CHANGE_EXISTS, 2, 2);
	CU_ASSERT_FALSE(store_view_next(first.view, &c));
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_flags(t, first.view, span_str("1"), STORE_FLAGS_ADD, &seen, UINT64_MAX), 0);
	g = commit(b, t);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	next_is(first.view, STORE_CHANGE_FLAGS, 1, 1);
	CU_ASSERT_EQUAL(store_view_msg(first.view, 1)->flags, STORE_SEEN);
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_flags(t, first.view, span_str("1:2"), STORE_FLAGS_ADD, &more, UINT64_MAX), 0);
	g = commit(b, t);
	CU_ASSERT_TRUE(store_view_next(first.view, &c));
	CU_ASSERT_TRUE(store_view_next(first.view, &c));
	CU_ASSERT_FALSE(store_view_next(first.view, &c));
	CU_ASSERT_STRING_EQUAL(store_view_keyword(first.view, 1), "todo");
	CU_ASSERT_EQUAL(store_view_msg(first.view, 2)->flags, STORE_DELETED | STORE_KEYWORD(0) | STORE_KEYWORD(1));
	CU_ASSERT_EQUAL(store_view_guid(first.view, 2, guid), 0);
	CU_ASSERT_EQUAL(strlen(guid), 32);
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_expunge(t, first.view, span_str("1:9")), 0);
	CU_ASSERT_STRING_EQUAL(commit(b, t).uids, "1:2");
	next_is(first.view, STORE_CHANGE_VANISHED, 1, 1);
	next_is(first.view, STORE_CHANGE_VANISHED, 1, 2);
	CU_ASSERT_FALSE(store_view_next(first.view, &c));
	again = open_view(b, "INBOX");
	CU_ASSERT_EQUAL(store_view_count(again.view), 0);
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_box(t, USER, STORE_BOX_CREATE, "Gel\xc3\xb6scht", NULL), 0);
	CU_ASSERT_EQUAL(commit(b, t).rc, STORE_OK);
	store_view_close(&again.view);
	again = open_view(b, "Gel\xc3\xb6scht");
	CU_ASSERT_EQUAL_FATAL(again.rc, STORE_OK);
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_box(t, USER, STORE_BOX_DELETE, "Gel\xc3\xb6scht", NULL), 0);
	CU_ASSERT_EQUAL(commit(b, t).rc, STORE_OK);
	next_is(again.view, STORE_CHANGE_GONE, 0, 0);
	CU_ASSERT_FALSE(store_view_next(again.view, &c));
	g = (struct got){ .fd = -1 };
	store_boxes(b->c, USER, on_reply, &g);
	wait_got(b, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	CU_ASSERT_EQUAL(g.nboxes, 1);
	store_view_close(&again.view);
	store_view_close(&first.view);
}

static void
test_view(void)
{
	each(do_view);
}

/* The store ends and comes again: what was not answered is done once, views go on. */
static void
test_reattach(void)
{
	struct both b;
	struct store_change c;
	struct store_blob *blob;
	struct store_txn *t;
	struct got g, v;
	int i;

	both_open(&b, RIG_LOCAL);
	deliver(&b, USER, NULL, "one", 3, 0);
	v = open_view(&b, "INBOX");
	for (i = 0; i < 2; i++) {
		g = (struct got){ .fd = -1 };
		blob = store_blob_new(b.c, 0);
		CU_ASSERT_EQUAL(store_blob_write(blob, "more", 4), 0);
		t = store_txn_new(b.c);
		CU_ASSERT_EQUAL(store_txn_add(t, USER, NULL, blob, NULL, 0, 0), 0);
		store_commit(&t, on_reply, &g);
		store_blob_free(&blob);
		if (i == 0) { /* done, and the answer is lost */
			int k;

			for (k = 0; k < 20; k++) {
				server_dispatch(b.server);
				usleep(2000);
			}
		}
		server_free(&b.server);
		rig_stop(&b.r);
		rig_start(&b.r);
		both_start(&b);
		attach(&b);
		wait_got(&b, &g);
		CU_ASSERT_EQUAL(g.rc, STORE_OK);
		CU_ASSERT_EQUAL(strtoul(g.uids, NULL, 10), (unsigned)i + 2);
	}
	for (i = 0; i < 100 && store_pending(b.c) > 0; i++)
		turn(&b);
	CU_ASSERT_STRING_EQUAL(rig_dump(&b.r, USER, "INBOX"), "1 N:one 2 N:more 3 N:more");
	next_is(v.view, STORE_CHANGE_EXISTS, 2, 2);
	next_is(v.view, STORE_CHANGE_EXISTS, 3, 3);
	CU_ASSERT_FALSE(store_view_next(v.view, &c));
	deliver(&b, USER, NULL, "last", 4, 0);
	next_is(v.view, STORE_CHANGE_EXISTS, 4, 4);
	store_view_close(&v.view);
	both_close(&b);
}

/* A view was being opened again when that store ended as well; and it is found to be gone before the next one comes. */
static void
test_reattach_gone(void)
{
	struct both b;
	struct got g = { .fd = -1 };
	struct got v;
	int i;

	both_open(&b, RIG_LOCAL);
	deliver(&b, USER, NULL, "one", 3, 0);
	v = open_view(&b, "INBOX");
	for (i = 0; i < 2; i++) {
		server_free(&b.server);
		rig_stop(&b.r);
		rig_start(&b.r);
		both_start(&b);
		attach(&b);
		CU_ASSERT_EQUAL(store_pending(b.c), i == 0); /* nobody asks for what is gone */
		v.view->gone = true;
	}
	store_get(b.c, "vacation", "key", on_reply, &g);
	wait_got(&b, &g);
	CU_ASSERT_EQUAL(store_pending(b.c), 0);
	store_view_close(&v.view);
	both_close(&b);
}

/* A view is closed while it is being opened again. */
static void
test_reattach_closed(void)
{
	struct both b;
	struct got v;
	int i;

	both_open(&b, RIG_LOCAL);
	deliver(&b, USER, NULL, "one", 3, 0);
	v = open_view(&b, "INBOX");
	server_free(&b.server);
	rig_stop(&b.r);
	rig_start(&b.r);
	both_start(&b);
	attach(&b);
	store_view_close(&v.view);
	CU_ASSERT_EQUAL(store_pending(b.c), 1);
	for (i = 0; i < 1000 && store_pending(b.c) > 0; i++)
		turn(&b);
	CU_ASSERT_EQUAL(store_pending(b.c), 0);
	CU_ASSERT_EQUAL(server_count(b.server).requests, 0);
	both_close(&b);
}

/* A mailbox is deleted while its view is being opened again: the view says so before the answer comes. */
static void
test_reattach_deleted(void)
{
	struct both b;
	struct store_txn *t;
	struct got g, v;

	both_open(&b, RIG_LOCAL);
	t = store_txn_new(b.c);
	CU_ASSERT_EQUAL(store_txn_box(t, USER, STORE_BOX_CREATE, "Lists", NULL), 0);
	CU_ASSERT_EQUAL(commit(&b, t).rc, STORE_OK);
	v = open_view(&b, "Lists");
	server_free(&b.server);
	rig_stop(&b.r);
	rig_start(&b.r);
	both_start(&b);
	attach(&b);
	t = store_txn_new(b.c);
	CU_ASSERT_EQUAL(store_txn_box(t, USER, STORE_BOX_DELETE, "Lists", NULL), 0);
	g = (struct got){ .fd = -1 };
	store_commit(&t, on_reply, &g);
	CU_ASSERT_TRUE(TAILQ_LAST(&b.c->calls, calls)->held);
	wait_got(&b, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	next_is(v.view, STORE_CHANGE_GONE, 0, 0);
	store_view_close(&v.view);
	both_close(&b);
}

/* While the store is away a mailbox is made again by somebody else: what was asked of the former one does nothing to it. */
static void
test_reattach_another(void)
{
	static const char *const names[] = { NULL };
	struct store_flags seen = { .system = STORE_SEEN, .keywords = (const char **)(uintptr_t)names };
	struct both b;
	struct store_txn *t;
	struct got g, v;

	both_open(&b, RIG_LOCAL);
	rig_must(&b.r, rig_box(USER, STORE_BOX_CREATE, "Lists", NULL));
	rig_must(&b.r, rig_add(NULL, USER, "Lists", "old"));
	v = open_view(&b, "Lists");
	CU_ASSERT_EQUAL_FATAL(store_view_count(v.view), 1);
	server_free(&b.server);
	rig_stop(&b.r);
	rig_start(&b.r);
	both_start(&b);
	rig_must(&b.r, rig_box(USER, STORE_BOX_DELETE, "Lists", NULL));
	rig_must(&b.r, rig_box(USER, STORE_BOX_CREATE, "Lists", NULL));
	rig_must(&b.r, rig_add(NULL, USER, "Lists", "new"));
	t = store_txn_new(b.c);
	CU_ASSERT_EQUAL(store_txn_flags(t, v.view, span_str("1"), STORE_FLAGS_ADD, &seen, UINT64_MAX), 0);
	g = (struct got){ .fd = -1 };
	store_commit(&t, on_reply, &g);
	attach(&b);
	wait_got(&b, &g);
	CU_ASSERT_NOT_EQUAL(g.rc, STORE_OK);
	next_is(v.view, STORE_CHANGE_GONE, 0, 0);
	rig_settle(&b.r);
	CU_ASSERT_STRING_EQUAL(rig_dump(&b.r, USER, "Lists"), "1 N:new");
	store_view_close(&v.view);
	v = open_view(&b, "Lists");
	CU_ASSERT_EQUAL(v.rc, STORE_OK);
	store_view_close(&v.view);
	both_close(&b);
}

static void
do_keys(struct both *b)
{
	struct span value = span_str("script");
	struct store_txn *t = store_txn_new(b->c);
	struct got g;

	CU_ASSERT_EQUAL(store_txn_put(t, "sieve", "alice@example.test main", &value, 0, 0), 0);
	CU_ASSERT_EQUAL(commit(b, t).rc, STORE_OK);
	g = (struct got){ .fd = -1 };
	store_get(b->c, "sieve", "alice@example.test main", on_reply, &g);
	wait_got(b, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	CU_ASSERT_STRING_EQUAL(g.value, "script");
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_put(t, "sieve", "alice@example.test main", NULL, g.version, 0), 0);
	CU_ASSERT_EQUAL(commit(b, t).rc, STORE_OK);
	g = (struct got){ .fd = -1 };
	store_get(b->c, "sieve", "alice@example.test main", on_reply, &g);
	wait_got(b, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_NOTFOUND);
}

static struct got
room_of(struct both *b, const char *user, uint64_t quota)
{
	struct got g = { .fd = -1 };

	store_room(b->c, user, quota, on_reply, &g);
	wait_got(b, &g);
	return g;
}

/* What is left of a quota: of nobody, of a mailbox that has to be counted, of one that is known; never less than nothing. */
static void
do_room(struct both *b)
{
	static const uint8_t body[1000] = "x";
	struct got g = room_of(b, "nobody@example.test", 5000);

	CU_ASSERT(g.rc == STORE_OK && g.size == 5000);
	CU_ASSERT_EQUAL(deliver(b, USER, NULL, body, sizeof body, 0).rc, STORE_OK);
	g = room_of(b, USER, 5000);
	CU_ASSERT(g.rc == STORE_OK && g.size == 4000);
	CU_ASSERT_EQUAL(deliver(b, USER, NULL, body, sizeof body, 0).rc, STORE_OK);
	g = room_of(b, USER, 5000);
	CU_ASSERT(g.rc == STORE_OK && g.size == 3000);
	g = room_of(b, USER, 2000);
	CU_ASSERT(g.rc == STORE_OK && g.size == 0);
	g = room_of(b, USER, 1);
	CU_ASSERT(g.rc == STORE_OK && g.size == 0);
	g = room_of(b, USER, UINT64_MAX);
	CU_ASSERT(g.rc == STORE_OK && g.size == UINT64_MAX - 2000);
	CU_ASSERT_EQUAL(room_of(b, "../x", 5000).rc, STORE_INVALID);
}

static void
test_room(void)
{
	each(do_room);
}

static void
test_keys(void)
{
	each(do_keys);
}

struct heard {
	unsigned all, keys;
	char key[64];
	uint64_t version;
	struct store_watch **end;
};

static void
on_heard(void *arg, struct span key, uint64_t version)
{
	struct heard *h = arg;

	if (key.n == 0) {
		h->all++;
		return;
	}
	h->keys++;
	snprintf(h->key, sizeof h->key, "%.*s", (int)key.n, (const char *)key.p);
	h->version = version;
	if (h->end != NULL)
		store_unwatch(h->end);
}

static struct got
put(struct both *b, const char *space, const char *key, uint32_t ttl)
{
	struct span value = span_str("v");
	struct store_txn *t = store_txn_new(b->c);

	CU_ASSERT_EQUAL(store_txn_put(t, space, key, &value, STORE_ANY_VERSION, ttl), 0);
	return commit(b, t);
}

/* Keys that are watched: each change is heard once, when it is durable; nothing after the end; and a new process is told. */
static void
do_watch(struct both *b)
{
	struct heard h = { 0 }, other = { 0 };
	struct store_watch *w = store_watch(b->c, "greylist", on_heard, &h);
	struct store_watch *o = store_watch(b->c, "sieve", on_heard, &other);
	struct store_txn *t;
	int i;

	for (i = 0; i < 1000 && other.all == 0; i++)
		turn(b);
	CU_ASSERT_EQUAL(h.all, 1);
	CU_ASSERT_EQUAL(put(b, "greylist", "one", 0).rc, STORE_OK);
	CU_ASSERT_EQUAL(h.keys, 1); /* before the answer */
	CU_ASSERT_STRING_EQUAL(h.key, "one");
	CU_ASSERT(h.version > 0);
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_put(t, "greylist", "one", NULL, h.version, 0), 0);
	CU_ASSERT_EQUAL(commit(b, t).rc, STORE_OK);
	CU_ASSERT_EQUAL(h.keys, 2);
	CU_ASSERT_EQUAL(other.keys, 0);
	server_free(&b->server);
	rig_restart(&b->r);
	both_start(b);
	attach(b);
	CU_ASSERT_EQUAL(put(b, "greylist", "two", 0).rc, STORE_OK);
	CU_ASSERT_EQUAL(h.all, 2);
	CU_ASSERT_EQUAL(h.keys, 3);
	h.end = &w;
	CU_ASSERT_EQUAL(put(b, "greylist", "three", 0).rc, STORE_OK);
	CU_ASSERT_EQUAL(h.keys, 4);
	CU_ASSERT_PTR_NULL(w);
	CU_ASSERT_EQUAL(put(b, "greylist", "four", 0).rc, STORE_OK);
	CU_ASSERT_EQUAL(h.keys, 4);
	CU_ASSERT_EQUAL(put(b, "sieve", "x", STORE_TTL_MAX_S).rc, STORE_OK);
	CU_ASSERT_EQUAL(other.keys, 1);
	store_unwatch(&o);
	store_unwatch(&o);
	t = store_txn_new(b->c);
	CU_ASSERT_EQUAL(store_txn_put(t, "sieve", "x", NULL, STORE_ANY_VERSION, STORE_TTL_MAX_S + 1), PT_ETOOBIG);
	CU_ASSERT_EQUAL(commit(b, t).rc, STORE_INVALID);
}

static void
test_watch(void)
{
	each(do_watch);
}

/* The client's end may come first. */
static void
test_watch_end(void)
{
	struct heard h = { 0 };
	struct store_watch *w;
	struct both b;

	both_open(&b, RIG_MEMORY);
	w = store_watch(b.c, "greylist", on_heard, &h);
	store_free(&b.c);
	store_unwatch(&w);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b.c = store_new());
	both_close(&b);
}

/* A space that a worker may not touch: the channel ends, the store goes on. */
static void
test_forbidden(void)
{
	struct span value = span_str("x");
	struct got g = { .fd = -1 };
	struct store_txn *t;
	struct both b;
	int i;

	both_open(&b, RIG_MEMORY);
	t = store_txn_new(b.c);
	CU_ASSERT_EQUAL(store_txn_put(t, "registry", "alice", &value, 0, 0), 0);
	store_commit(&t, on_reply, &g);
	for (i = 0; i < 10 && store_attached(b.c); i++)
		turn(&b);
	CU_ASSERT_FALSE(store_attached(b.c));
	CU_ASSERT_FALSE(g.done);
	CU_ASSERT_EQUAL(server_count(b.server).peers, 0);
	CU_ASSERT_EQUAL(server_count(b.server).condemned, 1);
	both_close(&b);
	CU_ASSERT_EQUAL(g.rc, STORE_UNKNOWN);
}

/* --- bodies as a hostile worker sends them ------------------------------------------------------------------ */

static void
send_body(struct chan *c, unsigned more, size_t n)
{
	static uint8_t octets[16000];
	struct msg_store_body m = { .more = (uint8_t)more, .octets = { octets, n } };
	struct frame f;

	CU_ASSERT_EQUAL_FATAL(msg_store_body_encode(&m, 1, &f), 0);
	CU_ASSERT_EQUAL(chan_send(c, &f, -1), 0);
}

static void
send_add(struct chan *c)
{
	struct msg_store_add m = { .user = span_str(USER), .box = span_str("INBOX") };
	struct frame f;

	CU_ASSERT_EQUAL_FATAL(msg_store_add_encode(&m, 1, &f), 0);
	CU_ASSERT_EQUAL(chan_send(c, &f, -1), 0);
}

static void
send_commit(struct chan *c)
{
	struct msg_store_commit m = { .transaction = span_str("0123456789abcdef") };
	struct frame f;

	CU_ASSERT_EQUAL_FATAL(msg_store_commit_encode(&m, 1, &f), 0);
	CU_ASSERT_EQUAL(chan_send(c, &f, -1), 0);
}

static void
test_bodies(void)
{
	static const struct {
		struct {
			unsigned more;
			size_t n;
		} pieces[3];
		bool add, commit, allowed;
	} rows[] = {
		{ { { 0, 16000 } }, true, true, true },
		{ { { 1, 16000 }, { 1, 16000 }, { 0, STORE_BODY_MAX - 32000 } }, true, true, true },
		{ { { 1, 16000 }, { 1, 16000 }, { 0, STORE_BODY_MAX - 32000 + 1 } }, false, false, false },
		{ { { 1, 16000 }, { 1, 0 }, { 1, 16000 } }, false, false, true }, /* it may go on, but it has to */
		{ { { 1, 16000 }, { 1, 0 }, { 1, 16000 } }, true, false, false },
		{ { { 1, 16000 }, { 1, 0 }, { 1, 16000 } }, false, true, false },
		{ { { 2, 16000 } }, false, false, false },
	};
	size_t i, k;
	struct chan *c;
	struct both b;
	int fds[2];

	for (i = 0; i < PT_COUNT(rows); i++) {
		both_open(&b, RIG_MEMORY);
		CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
		CU_ASSERT_EQUAL_FATAL(server_peer(b.server, fds[0], STORE_CLASS_WORKER, 0), 0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(c = chan_new(fds[1]));
		for (k = 0; k < 3 && (k == 0 || rows[i].pieces[k - 1].more); k++)
			send_body(c, rows[i].pieces[k].more, rows[i].pieces[k].n);
		if (rows[i].add)
			send_add(c);
		if (rows[i].commit)
			send_commit(c);
		turn(&b);
		CU_ASSERT_EQUAL(server_count(b.server).condemned, !rows[i].allowed);
		chan_free(&c);
		both_close(&b);
	}
}

/* Who has got no message yet has an empty INBOX, and hears of the first. */
static void
do_no_inbox(struct both *b)
{
	struct store_change c;
	struct got g = open_view(b, "nowhere"), views[2];
	int i;

	CU_ASSERT_EQUAL(g.rc, STORE_NOTFOUND);
	for (i = 0; i < 2; i++) {
		views[i] = open_view(b, "inbox");
		CU_ASSERT_EQUAL_FATAL(views[i].rc, STORE_OK);
		CU_ASSERT_EQUAL(store_view_count(views[i].view), 0);
	}
	CU_ASSERT_STRING_EQUAL(deliver(b, USER, NULL, "one", 3, 0).uids, "1");
	for (i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(store_view_next(views[i].view, &c));
		CU_ASSERT_EQUAL(c.kind, STORE_CHANGE_EXISTS);
		store_view_close(&views[i].view);
	}
}

static void
test_no_inbox(void)
{
	each(do_no_inbox);
}

static void
on_counted(void *arg, enum store_rc rc, struct store_reply *r)
{
	(void)r;
	CU_ASSERT_EQUAL(rc, STORE_OK);
	++*(unsigned *)arg;
}

/* Far more than a channel holds, while the store is busy: all of it waits, in order, and is done. (The channel was given
 * up, for good.) */
static void
do_much(struct both *b)
{
	struct span value = span_str("x");
	struct store_watch *w;
	struct store_txn *t;
	struct got g = { .fd = -1 };
	struct heard h = { 0 };
	unsigned i, n = 0;

	for (i = 0; i < 12000; i++) {
		t = store_txn_new(b->c);
		CU_ASSERT_EQUAL_FATAL(store_txn_put(t, "greylist", "key", &value, i, 0), 0);
		store_commit(&t, on_counted, &n);
	}
	w = store_watch(b->c, "greylist", on_heard, &h); /* what is only told keeps its place, too */
	store_unwatch(&w);
	store_get(b->c, "greylist", "key", on_reply, &g);
	for (i = 0; i < 100000 && (!g.done || n < 12000); i++)
		turn(b);
	CU_ASSERT_EQUAL(n, 12000);
	CU_ASSERT_EQUAL(g.rc, STORE_OK);
	CU_ASSERT_EQUAL(g.version, 12000);
	CU_ASSERT_TRUE(store_attached(b->c));
	CU_ASSERT_EQUAL(store_pending(b->c), 0);
	CU_ASSERT_EQUAL(server_count(b->server).condemned, 0);
}

static void
test_much(void)
{
	each(do_much);
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

#define CLAIMED_MAX 64

struct claims {
	bool done;
	enum store_rc rc;
	size_t n;
	uint64_t qid[CLAIMED_MAX];
	size_t nrcpts[CLAIMED_MAX];
	uint32_t first[CLAIMED_MAX], attempts[CLAIMED_MAX];
	char address[CLAIMED_MAX][32], reply[CLAIMED_MAX][32], body[CLAIMED_MAX][32];
	char sender[64], identity[64], params[64], text[64];
	uint64_t size;
	bool writable;
	int kept; /* a descriptor that was taken */
};

static void
copy(char *out, size_t cap, struct span s)
{
	snprintf(out, cap, "%.*s", (int)s.n, s.n > 0 ? (const char *)s.p : "");
}

static void
on_claims(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct claims *c = arg;
	size_t i;
	ssize_t n;

	c->done = true;
	c->rc = rc;
	copy(c->text, sizeof c->text, r->text);
	c->n = r->nclaimed;
	for (i = 0; i < r->nclaimed && i < CLAIMED_MAX; i++) {
		struct store_claimed *m = &r->claimed[i];

		c->qid[i] = m->qid;
		c->nrcpts[i] = m->nrcpts;
		c->first[i] = m->rcpts[0].number;
		c->attempts[i] = m->rcpts[0].attempts;
		snprintf(c->address[i], sizeof c->address[i], "%s", m->rcpts[0].address);
		copy(c->reply[i], sizeof c->reply[i], m->rcpts[0].reply);
		n = pread(m->fd, c->body[i], sizeof c->body[i] - 1, 0);
		c->body[i][n > 0 ? n : 0] = '\0';
		c->writable = write(m->fd, "x", 1) == 1;
		snprintf(c->sender, sizeof c->sender, "%s", m->sender);
		snprintf(c->identity, sizeof c->identity, "%s", m->identity);
		copy(c->params, sizeof c->params, m->params);
		c->size = m->size;
		c->kept = m->fd;
	}
	if (c->n > 0)
		r->claimed[c->n - 1].fd = -1;
}

/* Turns for as many clients as there are. */
static void
turns(struct both *b, struct store *const *c, size_t n, const bool *flag)
{
	struct pollfd p[4] = { { .fd = server_fd(b->server), .events = POLLIN } };
	size_t i, k;

	for (k = 0; k < 1000 && !*flag; k++) {
		for (i = 0; i < n; i++)
			p[i + 1] = (struct pollfd){ .fd = store_fd(c[i]), .events = POLLIN };
		(void)poll(p, n + 1, 10);
		server_dispatch(b->server);
		for (i = 0; i < n; i++)
			if (store_attached(c[i]))
				(void)(store_dispatch(c[i]) == 0);
	}
	CU_ASSERT_TRUE_FATAL(*flag);
}

static struct claims
claim(struct both *b, struct store *c, unsigned max)
{
	struct claims g = { .kept = -1 };

	store_claim(c, max, 60, on_claims, &g);
	turns(b, &c, 1, &g.done);
	if (g.kept >= 0)
		close(g.kept);
	return g;
}

static struct got
queue_message(struct both *b, struct store *c, size_t nrcpts, const void *body, size_t n)
{
	struct store_envelope_rcpt rcpts[STORE_RCPTS_MAX];
	struct store_envelope e = { .sender = "s@example.test", .params = span_str("RET=HDRS"),
		.identity = "alice@example.test", .service = "submission", .rcpts = rcpts, .nrcpts = nrcpts };
	struct store_blob *blob = store_blob_new(c, n);
	struct store_txn *t = store_txn_new(c);
	struct got g = { .fd = -1 };
	size_t i, off, piece;
	int rc;

	for (i = 0; i < nrcpts; i++)
		rcpts[i] = (struct store_envelope_rcpt){ "r@example.test", span_str("NOTIFY=NEVER") };
	for (off = 0; off < n; off += piece) {
		piece = n - off < 9000 ? n - off : 9000;
		while ((rc = store_blob_write(blob, (const uint8_t *)body + off, piece)) == PT_EAGAIN) {
			server_dispatch(b->server);
			(void)(store_dispatch(c) == 0);
		}
		CU_ASSERT_EQUAL_FATAL(rc, 0);
	}
	CU_ASSERT_EQUAL(store_txn_queue(t, &e, blob), 0);
	store_commit(&t, on_reply, &g);
	store_blob_free(&blob);
	turns(b, &c, 1, &g.done);
	return g;
}

static enum store_rc
say_outcome(struct both *b, struct store *c, uint64_t qid, uint32_t rcpt, uint32_t attempt, enum store_rcpt_state s,
	    int64_t next)
{
	struct store_txn *t = store_txn_new(c);
	struct got g = { .fd = -1 };

	CU_ASSERT_EQUAL(store_txn_outcome(t, qid, rcpt, attempt, s, next, span_str("451 later\r\n")), 0);
	store_commit(&t, on_reply, &g);
	turns(b, &c, 1, &g.done);
	return g.rc;
}

static void
two_relays(struct both *b, struct store *c[2])
{
	int i;

	for (i = 0; i < 2; i++) {
		CU_ASSERT_PTR_NOT_NULL_FATAL(c[i] = store_new());
		attach_as(b, c[i], STORE_CLASS_RELAY);
	}
}

/* A claim, what is in it, what may be said of it, and that nobody else gets it. */
static void
do_claims(struct both *b)
{
	struct store *c[2];
	struct claims g;
	struct heard h = { 0 };
	struct store_watch *w;
	int i;

	two_relays(b, c);
	w = store_watch_queue(c[1], on_heard, &h);
	CU_ASSERT_EQUAL(claim(b, c[0], 1).n, 0);
	CU_ASSERT_EQUAL(queue_message(b, c[0], 3, "hello\r\n", 7).rc, STORE_OK);
	g = claim(b, c[0], 4);
	CU_ASSERT_EQUAL_FATAL(g.n, 1);
	CU_ASSERT_EQUAL(g.nrcpts[0], 3);
	CU_ASSERT_EQUAL(g.size, 7);
	CU_ASSERT_STRING_EQUAL(g.body[0], "hello\r\n");
	CU_ASSERT_STRING_EQUAL(g.address[0], "r@example.test");
	CU_ASSERT_STRING_EQUAL(g.sender, "s@example.test");
	CU_ASSERT_STRING_EQUAL(g.identity, "alice@example.test");
	CU_ASSERT_STRING_EQUAL(g.params, "RET=HDRS");
	if (b->r.kind == RIG_LOCAL)
		CU_ASSERT_FALSE(g.writable);
	CU_ASSERT_EQUAL(claim(b, c[1], 4).n, 0);
	CU_ASSERT_EQUAL(h.all, 1); /* that it was due, before the other had it */
	CU_ASSERT_EQUAL(say_outcome(b, c[0], g.qid[0], 1, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	CU_ASSERT_EQUAL(say_outcome(b, c[0], g.qid[0], 0, 1, STORE_RCPT_WAITING, 5), STORE_OK);
	CU_ASSERT_EQUAL(claim(b, c[1], 4).n, 0);
	store_hold(c[0], g.qid[0], 0);
	for (i = 0; i < 5; i++)
		server_dispatch(b->server);
	g = claim(b, c[1], 4);
	CU_ASSERT_EQUAL_FATAL(g.n, 1);
	CU_ASSERT_EQUAL(g.nrcpts[0], 2);
	CU_ASSERT_EQUAL(g.first[0], 0);
	CU_ASSERT_EQUAL(g.attempts[0], 1);
	CU_ASSERT_STRING_EQUAL(g.reply[0], "451 later\r\n");
	CU_ASSERT_EQUAL(h.all, 2);
	store_free(&c[1]); /* with its channel its claims go */
	for (i = 0; i < 5; i++)
		server_dispatch(b->server);
	g = claim(b, c[0], 4);
	CU_ASSERT_EQUAL(g.n, 1);
	CU_ASSERT_EQUAL(say_outcome(b, c[0], g.qid[0], 0, 2, STORE_RCPT_FAILED, 0), STORE_OK);
	CU_ASSERT_EQUAL(say_outcome(b, c[0], g.qid[0], 2, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	CU_ASSERT_EQUAL(say_outcome(b, c[0], g.qid[0], 2, 1, STORE_RCPT_DELIVERED, 0), STORE_NOTFOUND);
	store_unwatch(&w);
	store_free(&c[0]);
}

/* Many at once, some large, some to very many: two who claim share them, each gets all of its own and none twice. */
static void
do_shared(struct both *b)
{
	static uint8_t large[300000];
	struct store *c[2];
	struct claims g;
	uint64_t all[64];
	size_t n = 0, i, k, turn;

	two_relays(b, c);
	memset(large, 'x', sizeof large);
	for (i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(queue_message(b, c[0], i == 7 ? STORE_RCPTS_MAX : 1, i % 5 == 3 ? (const void *)large : "small",
			i % 5 == 3 ? sizeof large : 5).rc, STORE_OK);
	for (turn = 0; turn < 40 && n < 20; turn++) {
		g = claim(b, c[turn % 2], 3);
		CU_ASSERT(g.n <= 3);
		for (i = 0; i < g.n; i++) {
			CU_ASSERT_STRING_EQUAL(g.body[i], g.body[i][0] == 'x' ? "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" : "small");
			for (k = 0; k < n; k++)
				CU_ASSERT_NOT_EQUAL(all[k], g.qid[i]);
			all[n++] = g.qid[i];
		}
	}
	CU_ASSERT_EQUAL(n, 20);
	store_free(&c[0]);
	store_free(&c[1]);
}

/* The store process is another one: who has claimed something keeps it, and what was claimed of the last may be said to the next. */
static void
test_claims_again(void)
{
	struct store *c[2];
	struct claims g, late = { .kept = -1 };
	struct both b;
	int i;

	both_open(&b, RIG_LOCAL);
	two_relays(&b, c);
	CU_ASSERT_EQUAL(queue_message(&b, c[0], 1, "one", 3).rc, STORE_OK);
	CU_ASSERT_EQUAL(queue_message(&b, c[0], 1, "two", 3).rc, STORE_OK);
	g = claim(&b, c[0], 1);
	CU_ASSERT_EQUAL_FATAL(g.n, 1);
	server_free(&b.server);
	rig_restart(&b.r);
	both_start(&b);
	store_claim(c[1], 10, 60, on_claims, &late); /* asked while there is none */
	attach_as(&b, c[1], STORE_CLASS_RELAY);
	turns(&b, &c[1], 1, &late.done);
	CU_ASSERT_EQUAL(late.n, 0); /* nobody knows yet what the others have */
	attach_as(&b, c[0], STORE_CLASS_RELAY);
	CU_ASSERT_EQUAL(claim(&b, c[0], 1).n, 0);
	rig_ahead_ms += 6000;
	rig_settle(&b.r);
	late = claim(&b, c[1], 10);
	CU_ASSERT_EQUAL(late.n, 1);
	CU_ASSERT_NOT_EQUAL(late.qid[0], g.qid[0]);
	CU_ASSERT_EQUAL(say_outcome(&b, c[0], g.qid[0], 0, 1, STORE_RCPT_DELIVERED, 0), STORE_OK);
	CU_ASSERT_EQUAL(queue_count(b.r.queue), 1);
	for (i = 0; i < 2; i++)
		store_free(&c[i]);
	both_close(&b);
}

/* A worker may not ask for what is queued; a relay may not read mailboxes; neither may go beyond the limits. */
static void
test_queue_forbidden(void)
{
	static const struct store_envelope_rcpt rcpt = { "r@x", { NULL, 0 } };
	struct store_envelope e = { .sender = "s", .identity = "", .service = "", .rcpts = &rcpt, .nrcpts = 1 };
	struct got g;
	size_t want = 0;
	struct store *c;
	struct store_txn *t;
	struct store_blob *blob;
	struct store_watch *w = NULL;
	struct both b;
	int i, k;

	both_open(&b, RIG_MEMORY);
	for (k = 0; k < 6; k++) {
		c = store_new();
		attach_as(&b, c, k == 4 ? STORE_CLASS_RELAY : STORE_CLASS_WORKER);
		g = (struct got){ .fd = -1 };
		t = store_txn_new(c);
		blob = store_blob_new(c, 0);
		switch (k) {
		case 0:
			store_claim(c, 1, 60, on_reply, &g);
			break;
		case 1:
			CU_ASSERT_EQUAL(store_txn_queue(t, &e, blob), 0);
			break;
		case 2:
			CU_ASSERT_EQUAL(store_txn_outcome(t, 1, 0, 1, STORE_RCPT_FAILED, 0, span_str("")), 0);
			break;
		case 3:
			w = store_watch_queue(c, NULL, NULL);
			break;
		case 4:
			store_boxes(c, USER, on_reply, &g);
			break;
		default:
			w = store_watch(c, "registry", NULL, NULL);
		}
		if (k == 1 || k == 2)
			store_commit(&t, on_reply, &g);
		else
			store_txn_free(&t);
		store_blob_free(&blob);
		for (i = 0; i < 10 && store_attached(c); i++) {
			server_dispatch(b.server);
			(void)(store_dispatch(c) == 0);
		}
		CU_ASSERT_FALSE(store_attached(c));
		CU_ASSERT_EQUAL(server_count(b.server).condemned, ++want);
		store_unwatch(&w);
		store_free(&c);
	}
	both_close(&b);
}

static int
queue_rc(struct store *c, const struct store_envelope *e, struct store_blob *blob)
{
	struct store_txn *t = store_txn_new(c);
	int rc = store_txn_queue(t, e, blob);

	store_txn_free(&t);
	return rc;
}

static void
test_queue_limits(void)
{
	static char text[STORE_PARAMS_MAX + 2], address[STORE_ADDRESS_MAX + 2];
	static struct store_envelope_rcpt rcpts[STORE_RCPTS_MAX + 1];
	struct store_envelope e = { .sender = "", .identity = "", .service = "", .rcpts = rcpts, .nrcpts = 1 };
	struct span full = { (const uint8_t *)text, STORE_PARAMS_MAX }, over = { full.p, STORE_PARAMS_MAX + 1 };
	struct claims g = { .kept = -1 };
	struct store *c = store_new();
	struct store_txn *t;
	struct store_blob *blob = store_blob_new(c, 0);
	size_t i;

	memset(text, 'p', STORE_PARAMS_MAX + 1);
	memset(address, 'a', STORE_ADDRESS_MAX + 1);
	for (i = 0; i <= STORE_RCPTS_MAX; i++)
		rcpts[i] = (struct store_envelope_rcpt){ address + 1, full };
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), 0);
	e.params = full;
	e.sender = e.identity = address + 1;
	e.nrcpts = STORE_RCPTS_MAX;
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), 0);
	e.nrcpts++;
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_ETOOBIG);
	e.nrcpts = 0;
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_EINVAL);
	e.nrcpts = 1;
	e.params = over;
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_EINVAL);
	e.params = full;
	e.sender = address;
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_ETOOBIG);
	e.sender = "";
	rcpts[0].address = address;
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_EINVAL);
	rcpts[0].address = "";
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_EINVAL);
	rcpts[0] = (struct store_envelope_rcpt){ "a@x", over };
	CU_ASSERT_EQUAL(queue_rc(c, &e, blob), PT_EINVAL);
	t = store_txn_new(c);
	full.n = STORE_OUTCOME_MAX;
	CU_ASSERT_EQUAL(store_txn_outcome(t, 1, 0, 1, STORE_RCPT_WAITING, 0, full), 0);
	full.n++;
	CU_ASSERT_EQUAL(store_txn_outcome(t, 1, 0, 1, STORE_RCPT_WAITING, 0, full), PT_EINVAL);
	store_txn_free(&t);
	store_claim(c, STORE_CLAIM_MAX + 1, 60, on_claims, &g);
	CU_ASSERT_EQUAL(g.rc, STORE_INVALID);
	g.done = false;
	store_claim(c, STORE_CLAIM_MAX, STORE_LEASE_MAX_S + 1, on_claims, &g);
	CU_ASSERT_TRUE(g.done);
	CU_ASSERT_EQUAL(g.rc, STORE_INVALID);
	store_hold(c, 4711, 60); /* none of ours */
	store_blob_free(&blob);
	store_free(&c);
}

static void
test_claims(void)
{
	each(do_claims);
}

static void
test_shared(void)
{
	each(do_shared);
}

static void
on_reindex(void *arg, enum store_rc rc, const struct store_status *st, const struct store_rebuilt *r)
{
	(void)st;
	(void)r;
	CU_ASSERT_EQUAL(rc, STORE_OK);
	*(bool *)arg = true;
}

/* Who has the mailbox open sees flags that may be others, no message that comes or goes, and can read all; also one that is new
 * with the new index, and when what was put there by somebody else is found by it. */
static void
test_reindex(void)
{
	struct store_change c;
	struct both b;
	struct got v;
	bool done = false;
	unsigned i, flags = 0;

	both_open(&b, RIG_LOCAL);
	for (i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(deliver(&b, USER, NULL, "hello", 5, 0).rc, STORE_OK);
	v = open_view(&b, "INBOX");
	CU_ASSERT_EQUAL_FATAL(v.rc, STORE_OK);
	rig_shell(&b.r, "cd mail/" USER "/Maildir && rm new/*,U=2 && printf other > cur/9.other:2,S && "
		"sed -i '3s/./x/' postern-index");
	mb_reindex(b.r.mbs, USER, "INBOX", on_reindex, &done);
	for (i = 0; i < 1000 && !done; i++)
		turn(&b);
	CU_ASSERT_TRUE_FATAL(done);
	CU_ASSERT_STRING_EQUAL(deliver(&b, USER, NULL, "after", 5, 0).uids, "5");
	for (i = 0; i < 20; i++)
		turn(&b);
	CU_ASSERT_TRUE(store_view_next(v.view, &c));
	CU_ASSERT(c.kind == STORE_CHANGE_VANISHED && c.seq == 2 && c.uid == 2);
	while (store_view_next(v.view, &c)) {
		CU_ASSERT(c.kind == STORE_CHANGE_FLAGS || (c.kind == STORE_CHANGE_EXISTS && (c.uid == 4 || c.uid == 5)));
		flags += c.kind == STORE_CHANGE_FLAGS;
	}
	CU_ASSERT_EQUAL(flags, 2);
	CU_ASSERT_EQUAL_FATAL(store_view_count(v.view), 4);
	fetch_is(&b, v.view, 1, "hello", 5);
	fetch_is(&b, v.view, 3, "hello", 5);
	fetch_is(&b, v.view, 4, "other", 5);
	fetch_is(&b, v.view, 5, "after", 5);
	store_view_close(&v.view);
	both_close(&b);
}

static uint64_t told[8];
static unsigned ntold;

static void
note_written(struct store_backend *be, const char *name, uint64_t octets)
{
	(void)be;
	CU_ASSERT_NOT_EQUAL(name[0], '\0');
	if (ntold < PT_COUNT(told))
		told[ntold++] = octets;
}

/* Of a large body the store hears how far it is, so that the disk can begin; of others it hears nothing. */
static void
test_written(void)
{
	static uint8_t body[5u << 20];
	struct store_backend_ops ops;
	struct both b;

	memset(body, 'x', sizeof body);
	both_open(&b, RIG_LOCAL);
	ops = *b.r.be->ops;
	ops.file_written = note_written;
	b.r.be->ops = &ops;
	ntold = 0;
	CU_ASSERT_EQUAL(deliver(&b, USER, "INBOX", body, 1u << 20, 0).rc, STORE_OK);
	CU_ASSERT_EQUAL(ntold, 0);
	CU_ASSERT_EQUAL(deliver(&b, USER, "INBOX", body, sizeof body, sizeof body).rc, STORE_OK);
	CU_ASSERT_EQUAL(ntold, 2);
	CU_ASSERT_EQUAL(told[0], 2u << 20);
	CU_ASSERT_EQUAL(told[1], 4u << 20);
	both_close(&b);
}

static const struct test_row tests[] = {
	{ "deliver", test_deliver },
	{ "recipients", test_recipients },
	{ "views", test_view },
	{ "a new store process", test_reattach },
	{ "a view that is gone when the next store process comes", test_reattach_gone },
	{ "a view that is closed while it is being opened again", test_reattach_closed },
	{ "a mailbox that is deleted while its view is being opened again", test_reattach_deleted },
	{ "a mailbox that is made again before its view is open again", test_reattach_another },
	{ "room", test_room },
	{ "keys", test_keys },
	{ "keys that are watched", test_watch },
	{ "a watch without a store", test_watch_end },
	{ "an INBOX that is not there yet", test_no_inbox },
	{ "more than a channel holds", test_much },
	{ "what a worker may not ask", test_forbidden },
	{ "bodies in pieces", test_bodies },
	{ "how far a large body is", test_written },

	{ "claims", test_claims },
	{ "two who claim", test_shared },
	{ "claims and a new store process", test_claims_again },
	{ "the queue's messages from others", test_queue_forbidden },
	{ "the queue's limits", test_queue_limits },
	{ "an index made anew under a view", test_reindex },
};

TEST_MAIN("store/client", tests)
