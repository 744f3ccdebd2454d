/* unit/store/rig.c - see rig.h. */
#include "store/rig.h"

#include "store/local.h"
#include "store/mailbox_impl.h"
#include "store/row.h"
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void
on_key(void *arg, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	struct rig *r = arg;

	CU_ASSERT_EQUAL_FATAL(kv_set(r->kv, space, key, version, expires, value), 0);
}

struct seen {
	struct seen *next;
	char id[33];
	struct buf text;
};
static struct seen *seen; /* ids of a replay, until there are mailboxes to tell */

static void
on_id(void *arg, const char *id, struct span text)
{
	struct seen *s = calloc(1, sizeof *s);

	(void)arg;
	snprintf(s->id, sizeof s->id, "%.32s", id);
	buf_init(&s->text, 1u << 20);
	CU_ASSERT_EQUAL_FATAL(buf_append(&s->text, text.p, text.n), 0);
	s->next = seen;
	seen = s;
}

static void
on_failed(void *arg, const char *what)
{
	struct rig *r = arg;

	(void)what;
	r->failed = true;
}

static void
quota(void *arg, const char *user, uint64_t *octets, uint64_t *messages)
{
	struct rig *r = arg;

	(void)user;
	*octets = r->quota_octets;
	*messages = r->quota_messages;
}

int64_t rig_clock;
uint64_t rig_ahead_ms;

static uint64_t
milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + rig_ahead_ms;
}

static int64_t
seconds(void)
{
	return rig_clock != 0 ? rig_clock : (int64_t)time(NULL);
}

bool
rig_try_start(struct rig *r)
{
	struct mailboxes_conf mc = { .host = "test.example", .quota = quota, .quota_arg = r,
		.clock = seconds, .clock_ms = milliseconds };
	struct local_conf lc = { .journal_fd = r->journal_fd, .kv_fd = r->kv_fd, .mail_fd = r->mail_fd,
		.queue_fd = r->queue_fd,
		.host = "test.example", .segments = r->segments == 0 ? 4 : r->segments,
		.segment_octets = r->segment_octets == 0 ? 256 * 1024 : r->segment_octets,
		.tidy = r->tidy, .failed = on_failed, .failed_arg = r };
	struct diag diag = { "" };
	struct seen *s;

	r->failed = false;
	r->kv = kv_new();
	r->queue = queue_new();
	CU_ASSERT_FATAL(r->kv != NULL && r->queue != NULL);
	lc.queue = mc.queue = r->queue;
	if (r->kind == RIG_MEMORY)
		r->be = memory_open();
	else if (local_open(&lc, on_key, on_id, r, &r->be, &diag) != 0)
		r->be = NULL;
	if (r->be == NULL) {
		kv_free(&r->kv);
		queue_free(&r->queue);
		snprintf(r->why, sizeof r->why, "%s", diag.text);
	} else {
		r->mbs = mailboxes_new(r->be, r->kv, &mc);
		CU_ASSERT_PTR_NOT_NULL_FATAL(r->mbs);
	}
	while ((s = seen) != NULL) {
		seen = s->next;
		if (r->be != NULL)
			mb_remember(r->mbs, s->id, buf_span(&s->text));
		buf_fini(&s->text);
		free(s);
	}
	return r->be != NULL;
}

void
rig_start(struct rig *r)
{
	bool open = rig_try_start(r);

	if (!open)
		fprintf(stderr, "%s\n", r->why);
	CU_ASSERT_TRUE_FATAL(open);
}

static int
folder(struct rig *r, const char *name)
{
	CU_ASSERT_FATAL(mkdirat(r->dir_fd, name, 0700) == 0);
	return openat(r->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void
rig_open(struct rig *r, enum rig_kind kind)
{
	unsigned segments = r->segments;
	uint64_t octets = r->segment_octets;
	bool no_checkpoints = r->no_checkpoints, tidy = r->tidy;

	memset(r, 0, sizeof *r);
	r->segments = segments;
	r->segment_octets = octets;
	r->no_checkpoints = no_checkpoints;
	r->tidy = tidy;
	r->kind = kind;
	r->dir_fd = r->journal_fd = r->kv_fd = r->queue_fd = r->mail_fd = -1;
	if (kind == RIG_LOCAL) {
		snprintf(r->dir, sizeof r->dir, "%s", "/tmp/postern-store-XXXXXX");
		CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(r->dir));
		r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r->journal_fd = folder(r, "journal");
		r->kv_fd = folder(r, "kv");
		r->queue_fd = folder(r, "queue");
		r->mail_fd = folder(r, "mail");
	}
	rig_start(r);
}

void
rig_stop(struct rig *r)
{
	r->be->ops->close(r->be);
	r->be = NULL;
	mailboxes_free(&r->mbs);
	kv_free(&r->kv);
	queue_free(&r->queue);
}

void
rig_restart(struct rig *r)
{
	if (r->kind == RIG_MEMORY)
		return;
	rig_stop(r);
	rig_start(r);
}

void
rig_close(struct rig *r)
{
	char command[192];

	rig_stop(r);
	if (r->kind != RIG_LOCAL)
		return;
	close(r->journal_fd);
	close(r->kv_fd);
	close(r->queue_fd);
	close(r->mail_fd);
	close(r->dir_fd);
	CU_ASSERT_EQUAL(chdir("/"), 0); /* the engine goes where it watches */
	snprintf(command, sizeof command, "chmod -R u+w %s && rm -rf %s", r->dir, r->dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

void
rig_each(void (*f)(struct rig *))
{
	struct rig r;
	int kind;

	for (kind = 0; kind < RIG_KINDS; kind++) {
		memset(&r, 0, sizeof r);
		rig_open(&r, (enum rig_kind)kind);
		f(&r);
		rig_close(&r);
	}
}

void
rig_turn(struct rig *r, int timeout_ms)
{
	struct pollfd p = { .fd = r->be->ops->fd(r->be), .events = POLLIN };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!r->no_checkpoints)
		(void)mailboxes_tick(r->mbs, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
	else
		(void)mailboxes_queue_tick(r->mbs, 0);
	mailboxes_flush(r->mbs);
	if (p.fd >= 0 && poll(&p, 1, timeout_ms) > 0)
		r->be->ops->dispatch(r->be);
	mailboxes_flush(r->mbs);
}

void
rig_wait(struct rig *r, const bool *flag)
{
	time_t end = time(NULL) + 120; /* for hangs */

	while (!*flag && time(NULL) < end)
		rig_turn(r, 10);
	CU_ASSERT_TRUE_FATAL(*flag);
}

/* Something that was acknowledged is on its way to the files: on a busy machine its thread may have to wait. What failed is
 * tried again later, and not waited for. */
static bool
is_applying(const struct rig *r)
{
	const struct local *l = (const struct local *)r->be;

	return r->kind == RIG_LOCAL && !r->failed && TAILQ_EMPTY(&l->failing) &&
		(l->flights > 0 || !TAILQ_EMPTY(&l->applying));
}

void
rig_settle(struct rig *r)
{
	time_t end = time(NULL) + (r->settle_s > 0 ? r->settle_s : 30); /* a disk that many use may stand still for seconds */
	int i;

	for (i = 0; i < 10 || (is_applying(r) && time(NULL) < end); i++)
		rig_turn(r, r->kind == RIG_LOCAL ? 5 : 0);
}

void
rig_checkpoint(struct rig *r)
{
	static uint64_t ms; /* each is later than the one before thought it was */
	struct timespec now;
	time_t end = time(NULL) + 120; /* for hangs */

	rig_settle(r);
	if (r->kind != RIG_LOCAL)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (ms > (uint64_t)now.tv_sec * 1000 ? ms : (uint64_t)now.tv_sec * 1000) + 300000;
	(void)r->be->ops->tick(r->be, ms);
	(void)r->be->ops->tick(r->be, ms + 60000);
	do
		rig_settle(r);
	while (((struct local *)r->be)->checkpointing && time(NULL) < end);
	(void)r->be->ops->tick(r->be, ms + 120000);
	rig_settle(r);
}

static void
on_saved(void *arg, int rc)
{
	CU_ASSERT_EQUAL(rc, 0);
	*(bool *)arg = true;
}

void
rig_save(struct rig *r)
{
	bool saved = false;

	local_queue_save((struct local *)r->be, on_saved, &saved);
	rig_wait(r, &saved);
}

static void
done(struct mb_txn *t, const struct mb_reply *reply)
{
	struct rig_reply *out = t->arg;
	struct span u = buf_span(&reply->uids), s = buf_span(&reply->sources);

	CU_ASSERT_FALSE(out->done);
	out->done = true;
	out->rc = reply->rc;
	out->id = reply->id;
	out->modseq = reply->modseq;
	out->uidvalidity = reply->uidvalidity;
	snprintf(out->text, sizeof out->text, "%s", reply->text);
	snprintf(out->uids, sizeof out->uids, "%.*s", (int)u.n, u.n > 0 ? (const char *)u.p : "");
	snprintf(out->sources, sizeof out->sources, "%.*s", (int)s.n, s.n > 0 ? (const char *)s.p : "");
}

struct rig_reply
rig_commit(struct rig *r, struct mb_txn *t)
{
	struct rig_reply reply = { .done = false };

	t->done = done;
	t->arg = &reply;
	mb_commit(r->mbs, t);
	rig_wait(r, &reply.done);
	return reply;
}

uint64_t
rig_must(struct rig *r, struct mb_txn *t)
{
	struct rig_reply reply = rig_commit(r, t);

	CU_ASSERT_EQUAL(reply.rc, STORE_OK);
	return reply.id;
}

/* --- transactions -------------------------------------------------------------------------------------------- */

static struct mb_op *
op_new(struct mb_txn *t, enum mb_op_kind kind, const char *user, const char *key)
{
	struct mb_op *op = mb_txn_op(t);

	CU_ASSERT_PTR_NOT_NULL_FATAL(op);
	op->kind = kind;
	snprintf(op->user, sizeof op->user, "%s", user);
	snprintf(op->key, sizeof op->key, "%s", key);
	return op;
}

struct mb_txn *
rig_add(struct mb_txn *t, const char *user, const char *key, const char *body)
{
	struct mb_op *op;

	if (t == NULL)
		t = mb_txn_new();
	op = op_new(t, MB_ADD, user, key);
	op->body = (int)t->nbodies;
	op->octets = strlen(body);
	t->bodies = reallocarray(t->bodies, t->nbodies + 1u, sizeof *t->bodies);
	t->bodies[t->nbodies++] = span_str(body);
	return t;
}

struct mb_txn *
rig_flags(const char *user, const char *key, const char *set, enum store_flag_op op, uint32_t flags)
{
	struct mb_txn *t = mb_txn_new();
	struct mb_op *o = op_new(t, MB_FLAGS, user, key);

	o->set = strdup(set);
	o->flag_op = op;
	o->flags = flags;
	o->unchangedsince = UINT64_MAX;
	return t;
}

struct mb_txn *
rig_copy(const char *user, const char *key, const char *set, const char *to, bool move)
{
	struct mb_txn *t = mb_txn_new();
	struct mb_op *o = op_new(t, MB_COPY, user, key);

	o->set = strdup(set);
	o->move = move;
	snprintf(o->key2, sizeof o->key2, "%s", to);
	return t;
}

struct mb_txn *
rig_expunge(const char *user, const char *key, const char *set)
{
	struct mb_txn *t = mb_txn_new();

	op_new(t, MB_EXPUNGE, user, key)->set = strdup(set);
	return t;
}

struct mb_txn *
rig_box(const char *user, enum store_box_op op, const char *key, const char *to)
{
	struct mb_txn *t = mb_txn_new();
	struct mb_op *o = op_new(t, MB_BOX, user, key);

	o->box_op = op;
	snprintf(o->key2, sizeof o->key2, "%s", to == NULL ? "" : to);
	return t;
}

struct mb_txn *
rig_put(const char *space, const char *key, const char *value, uint64_t expect, uint32_t ttl_s)
{
	struct mb_txn *t = mb_txn_new();
	struct mb_op *o = op_new(t, MB_PUT, "", "");

	snprintf(o->space, sizeof o->space, "%s", space);
	o->name = strdup(key);
	o->has_value = value != NULL;
	buf_init(&o->value, STORE_VALUE_MAX);
	if (value != NULL)
		CU_ASSERT_EQUAL_FATAL(buf_append_str(&o->value, value), 0);
	o->expect = expect;
	o->ttl_s = ttl_s;
	return t;
}

struct mb_txn *
rig_queue(struct mb_txn *t, const char *sender, unsigned nrcpts, const char *body)
{
	char address[40], params[40];
	struct mb_op *o;
	unsigned i;

	if (t == NULL)
		t = mb_txn_new();
	o = op_new(t, MB_QUEUE, "", "");
	o->body = (int)t->nbodies;
	o->octets = strlen(body);
	t->bodies = reallocarray(t->bodies, t->nbodies + 1u, sizeof *t->bodies);
	t->bodies[t->nbodies++] = span_str(body);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o->queued = mb_queued_new());
	o->queued->sender = strdup(sender);
	o->queued->params = strdup("RET=HDRS 8BITMIME");
	o->queued->identity = strdup("alice@example.test/phone");
	o->queued->service = strdup("submission");
	for (i = 0; i < nrcpts; i++) {
		snprintf(address, sizeof address, "r%u@example.test", i);
		snprintf(params, sizeof params, "NOTIFY=NEVER ORCPT=rfc822;%u", i);
		CU_ASSERT_EQUAL_FATAL(mb_queued_rcpt(o->queued, span_str(address), span_str(params)), 0);
	}
	return t;
}

struct mb_txn *
rig_outcome(struct mb_txn *t, uint64_t qid, uint32_t rcpt, uint32_t attempt, enum store_rcpt_state state,
	    int64_t next, const char *reply)
{
	struct mb_op *o;

	if (t == NULL)
		t = mb_txn_new();
	o = op_new(t, MB_OUTCOME, "", "");
	o->outcome = (struct mb_outcome){ .qid = qid, .rcpt = rcpt, .attempt = attempt, .state = state, .next = next,
		.reply = strdup(reply) };
	return t;
}

struct claims {
	bool done;
	unsigned n;
	uint64_t *qids;
	char (*bodies)[64];
};

static void
on_claimed(void *arg, const struct queue_entry *e, int64_t now, int fd)
{
	struct claims *c = arg;
	ssize_t n;

	(void)now;
	c->qids[c->n] = e->qid;
	if (c->bodies != NULL) {
		n = pread(fd, c->bodies[c->n], sizeof *c->bodies - 1, 0);
		c->bodies[c->n][n > 0 ? n : 0] = '\0';
	}
	c->n++;
}

static void
on_claims_done(void *arg)
{
	((struct claims *)arg)->done = true;
}

unsigned
rig_claim(struct rig *r, const void *holder, unsigned max, uint32_t lease_s, uint64_t *qids, char (*bodies)[64])
{
	struct claims c = { .qids = qids, .bodies = bodies };

	mb_claim(r->mbs, holder, max, lease_s, on_claimed, on_claims_done, &c);
	rig_wait(r, &c.done);
	return c.n;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

struct reading {
	bool done;
	enum store_rc rc;
	struct index x;
	int fd;
	uint64_t octets;
};

static void
on_load(void *arg, enum store_rc rc, struct index *x)
{
	struct reading *l = arg;

	l->done = true;
	l->rc = rc;
	l->x = *x;
	index_init(x);
}

static void
on_fd(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	struct reading *l = arg;

	l->done = true;
	l->rc = rc;
	l->fd = fd;
	l->octets = octets;
}

bool
rig_index(struct rig *r, const char *user, const char *key, struct index *x)
{
	struct reading l = { .done = false };

	r->be->ops->load(r->be, user, key, on_load, &l);
	rig_wait(r, &l.done);
	*x = l.x;
	return l.rc == STORE_OK;
}

const char *
rig_dump(struct rig *r, const char *user, const char *key)
{
	static char out[65536];
	char info[MAILDIR_FLAGS_MAX + 1], body[1024];
	struct index x;
	size_t n = 0;
	uint32_t i;

	if (!rig_index(r, user, key, &x))
		return "none";
	out[0] = '\0';
	for (i = 0; i < x.n; i++) {
		struct reading l = { .done = false, .fd = -1 };
		struct store_hint h = { .uid = x.msgs[i].uid, .flags = x.msgs[i].flags, .line = x.msgs[i].line,
			.where = x.msgs[i].where };
		ssize_t got;

		r->be->ops->blob_open(r->be, user, key, &h, on_fd, &l);
		rig_wait(r, &l.done);
		got = l.rc == STORE_OK ? pread(l.fd, body, sizeof body - 1, 0) : 0;
		body[got > 0 ? got : 0] = '\0';
		if (l.fd >= 0)
			close(l.fd);
		CU_ASSERT_EQUAL(l.rc, STORE_OK);
		maildir_info(x.msgs[i].flags, info);
		n += (size_t)snprintf(out + n, sizeof out - n, "%s%u %s%s:%s", i > 0 ? " " : "", x.msgs[i].uid,
			x.msgs[i].where & INDEX_NEW ? "N" : "", info + 3, body);
	}
	index_fini(&x);
	return out;
}

void
rig_is(struct rig *r, const char *key, const char *want)
{
	const char *got = rig_dump(r, RIG_USER, key);

	if (strcmp(got, want) != 0)
		fprintf(stderr, "\n%s: got <%s>, want <%s>\n", key, got, want);
	CU_ASSERT_STRING_EQUAL(got, want);
}

/* --- what an operator asks ---------------------------------------------------------------------------------------- */

static void
on_row(void *arg, struct span row)
{
	struct rig_told *t = arg;
	struct row_field f;
	size_t n = strlen(t->kinds);
	bool bad;

	while (row_next(&row, &f, &bad)) {
		if (strcmp(f.name, "kind") == 0)
			n += (size_t)snprintf(t->kinds + n, sizeof t->kinds - n, "%s ", f.value);
		else if (strcmp(f.name, "repaired") == 0)
			t->repaired += (unsigned)f.number;
		else if (strcmp(f.name, "found") == 0)
			t->found = f.number;
		else if (strcmp(f.name, "files") == 0)
			t->files = f.number;
		else if (strcmp(f.name, "young") == 0)
			t->young = f.number;
	}
	CU_ASSERT_FALSE(bad);
}

static void
on_end(void *arg, enum store_rc rc, const char *text)
{
	struct rig_told *t = arg;

	(void)text;
	CU_ASSERT_FALSE(t->done);
	t->done = true;
	t->rc = rc;
}

void
rig_ask_start(struct rig *r, enum admin_what what, bool repair, struct rig_told *t)
{
	struct admin_question q;

	memset(t, 0, sizeof *t);
	CU_ASSERT_PTR_NULL_FATAL(admin_question_make(&q, what, repair, span_str(RIG_USER), span_str("INBOX")));
	admin_ask(r->mbs, &q, on_row, on_end, t);
}

struct rig_told
rig_ask(struct rig *r, enum admin_what what, bool repair)
{
	struct rig_told t;

	rig_ask_start(r, what, repair, &t);
	rig_wait(r, &t.done);
	return t;
}

/* --- other programs ----------------------------------------------------------------------------------------------- */

void
rig_shell(struct rig *r, const char *command)
{
	char line[2048];

	snprintf(line, sizeof line, "cd %s && { %s; }", r->dir, command);
	CU_ASSERT_EQUAL_FATAL(system(line), 0);
}

static void
scanned(void *arg, enum store_rc rc)
{
	CU_ASSERT_EQUAL(rc, STORE_OK);
	*(bool *)arg = true;
}

void
rig_scan(struct rig *r, const char *user, const char *key)
{
	bool done = false;

	mb_rescan(r->mbs, user, key, scanned, &done);
	rig_wait(r, &done);
	rig_settle(r);
}

/* --- large messages ---------------------------------------------------------------------------------------- */

struct made {
	bool done;
	enum store_rc rc;
	int fd;
	char name[64];
};

static void
on_file(void *arg, enum store_rc rc, int fd, const char *name)
{
	struct made *m = arg;

	m->done = true;
	m->rc = rc;
	m->fd = fd;
	snprintf(m->name, sizeof m->name, "%s", name);
}

static void
on_synced(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	struct made *m = arg;

	(void)fd;
	(void)octets;
	m->done = true;
	m->rc = rc;
}

void
rig_add_large(struct rig *r, const char *user, const char *key, const char *text)
{
	struct made m = { .done = false };
	struct mb_txn *t = rig_add(NULL, user, key, text);

	r->be->ops->file_new(r->be, on_file, &m);
	rig_wait(r, &m.done);
	CU_ASSERT_EQUAL_FATAL(m.rc, STORE_OK);
	CU_ASSERT_EQUAL(write(m.fd, text, strlen(text)), (ssize_t)strlen(text));
	close(m.fd);
	m.done = false;
	r->be->ops->file_sync(r->be, m.name, on_synced, &m);
	rig_wait(r, &m.done);
	CU_ASSERT_EQUAL_FATAL(m.rc, STORE_OK);
	t->ops[0].body = -1;
	t->nbodies = 0;
	snprintf(t->ops[0].file, sizeof t->ops[0].file, "%s", m.name);
	CU_ASSERT_EQUAL(rig_commit(r, t).rc, STORE_OK);
	r->be->ops->file_drop(r->be, m.name);
}
