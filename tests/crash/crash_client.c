/* tests/crash/crash_client.c - users who change their mailboxes all the time and know what they have been told.
 *
 *     crash_client DIR MEMORY SEED
 *
 * Each user has one request on its way, and in MEMORY (a file that is mapped, so a killed process forgets nothing) what
 * its mailboxes must contain, with and without that request. It connects to DIR/socket, again and again when the
 * store goes; then the library asks once more what was not answered. At its start, and at each SIGUSR1 (when
 * all are answered), every mailbox is read, message by message, octet by octet: it must be what was acknowledged, or
 * that with the one request whose answer never came, whole. "ok ACKNOWLEDGED" is said then; anything else is
 * said and ends it with status 1.
 *
 * UIDs ascend for ever, and UIDVALIDITY never changes. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define USERS 32
#define BOXES 2
#define MESSAGES 24   /* of a mailbox: above it only what makes it smaller is done */
#define PICKED 4
#define BODY_LARGE (200 * 1024) /* beyond STORE_BODY_MAX: through a file */

static const char *const box_names[BOXES] = { "INBOX", "Archive" };

struct message {
	uint64_t id; /* its octets follow from id and size */
	uint32_t size, uid, flags;
};

struct box {
	uint32_t exists, n, uidvalidity, uidnext;
	struct message m[MESSAGES + 2 * PICKED];
};

enum kind { NOTHING, CREATE, ADD, ADD_BOTH, FLAGS, EXPUNGE, COPY, MOVE, PUT };

struct op {
	enum kind kind;
	uint32_t box; /* COPY, MOVE: from */
	uint64_t id;
	uint32_t size, flags, on, nuids;
	uint32_t uids[PICKED];
};

struct state {
	struct box box[BOXES];
	struct op op;    /* on its way */
	uint64_t value;  /* of the user's key; 0: none */
	uint64_t acked, next_id;
};

/* The other one is written, then they change places: a process that is killed leaves one of them whole. */
struct user_memory {
	_Atomic uint32_t current;
	uint32_t unused;
	struct state s[2];
};

struct user {
	unsigned n;
	char name[40];
	struct user_memory *mem;
	struct store_view *view[BOXES];
	bool busy;
};

static struct store *store;
static struct user users[USERS];
static const char *socket_dir;
static uint64_t random_state;
static volatile sig_atomic_t asked;

static uint64_t
rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

__attribute__((noreturn, format(printf, 1, 2))) static void
wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("WRONG ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	exit(1);
}

/* --- memory ----------------------------------------------------------------------------------- */

static struct state *
now(struct user *u)
{
	return &u->mem->s[atomic_load(&u->mem->current)];
}

/* A copy to be changed; keep() makes it the one that counts. */
static struct state *
draft(struct user *u)
{
	struct state *s = &u->mem->s[1 - atomic_load(&u->mem->current)];

	*s = *now(u);
	return s;
}

static void
keep(struct user *u)
{
	atomic_store(&u->mem->current, 1 - atomic_load(&u->mem->current));
}

/* --- messages --------------------------------------------------------------------------------- */

static void
body_make(uint64_t id, uint32_t size, uint8_t *out)
{
	uint64_t x = id * 0x9e3779b97f4a7c15ull + size;
	char head[64];
	size_t i, n = (size_t)snprintf(head, sizeof head, "X-Id: %016llx %u\r\n\r\n", (unsigned long long)id, size);

	for (i = 0; i < size; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		out[i] = i < n ? (uint8_t)head[i] : i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n'
			: (uint8_t)('0' + x % 74);
	}
	if (size >= 2 && out[size - 1] == '\r') /* a CR alone would not be mail */
		out[size - 1] = '.';
	for (i = n; i + 1 < size; i++)
		if (out[i] == '\r' && out[i + 1] != '\n')
			out[i] = '.';
		else if (out[i] == '\n' && out[i - 1] != '\r')
			out[i] = '.';
}

/* --- what a request does to a state ------------------------------------------------------------ */

static void
add(struct box *b, struct message m)
{
	b->exists = 1;
	m.uid = 0; /* not known yet */
	b->m[b->n++] = m;
}

static bool
picked(const struct op *op, uint32_t uid)
{
	uint32_t i;

	for (i = 0; i < op->nuids; i++)
		if (op->uids[i] == uid)
			return true;
	return false;
}

static void
take_out(struct box *b, const struct op *op)
{
	uint32_t i, kept = 0;

	for (i = 0; i < b->n; i++)
		if (!picked(op, b->m[i].uid) || (op->kind == EXPUNGE && !(b->m[i].flags & STORE_DELETED)))
			b->m[kept++] = b->m[i];
	b->n = kept;
}

static void
apply(struct state *s, const struct op *op)
{
	struct box *b = &s->box[op->box], *other = &s->box[1 - op->box];
	uint32_t i;

	switch (op->kind) {
	case CREATE:
		b->exists = 1;
		break;
	case ADD_BOTH:
		add(other, (struct message){ op->id, op->size, 0, 0 });
		/* fall through */
	case ADD:
		add(b, (struct message){ op->id, op->size, 0, op->flags });
		break;
	case FLAGS:
		for (i = 0; i < b->n; i++)
			if (picked(op, b->m[i].uid))
				b->m[i].flags = op->on ? b->m[i].flags | op->flags : b->m[i].flags & ~op->flags;
		break;
	case COPY:
	case MOVE:
		for (i = 0; i < b->n; i++)
			if (picked(op, b->m[i].uid))
				add(other, b->m[i]);
		if (op->kind == MOVE)
			take_out(b, op);
		break;
	case EXPUNGE:
		take_out(b, op);
		break;
	case PUT:
		s->value = op->id;
		break;
	case NOTHING:
		break;
	}
}

/* --- the store -------------------------------------------------------------------------------- */

static void
reconnect(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", socket_dir);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		close(fd);
		usleep(2000);
		return;
	}
	store_attach(store, fd);
}

static void
turn(void)
{
	struct pollfd p = { .fd = store_fd(store) };

	if (!store_attached(store)) {
		reconnect();
		return;
	}
	p.events = (short)(POLLIN | (store_wants_write(store) ? POLLOUT : 0));
	(void)poll(&p, 1, 20);
	(void)(store_dispatch(store) == 0);
}

struct answer {
	bool done;
	enum store_rc rc;
	struct store_view *view;
	int fd;
	uint64_t size, value;
};

static void
on_answer(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct answer *a = arg;
	char text[32];

	a->done = true;
	a->rc = rc;
	a->view = r->view;
	a->fd = r->fd;
	r->fd = -1;
	a->size = r->size;
	if (rc == STORE_OK && r->value.n > 0 && r->value.n < sizeof text) {
		memcpy(text, r->value.p, r->value.n);
		text[r->value.n] = '\0';
		a->value = strtoull(text, NULL, 16);
	}
}

/* Waits; what was only read is asked again until it is answered. */
#define ASK(a, call)                                                                               \
	do {                                                                                       \
		(a) = (struct answer){ .fd = -1 };                                                 \
		call;                                                                              \
		while (!(a).done)                                                                  \
			turn();                                                                    \
	} while ((a).rc == STORE_TEMP)

/* --- reading and comparing -------------------------------------------------------------------- */

static struct message
read_message(struct user *u, struct store_view *v, const struct store_msg *m)
{
	static uint8_t have[BODY_LARGE + 1], want[BODY_LARGE];
	struct message out = { .uid = m->uid, .flags = m->flags, .size = (uint32_t)m->size };
	unsigned long long id = 0;
	struct answer a;
	ssize_t n;

	ASK(a, store_fetch(v, m->uid, on_answer, &a));
	if (a.rc != STORE_OK)
		wrong("%s uid %u cannot be read: %s", u->name, m->uid, store_rc_text(a.rc));
	n = pread(a.fd, have, sizeof have, 0);
	close(a.fd);
	if (n < 32 || (uint64_t)n != m->size || a.size != m->size)
		wrong("%s uid %u has %zd octets, not %llu", u->name, m->uid, n, (unsigned long long)m->size);
	if (sscanf((const char *)have, "X-Id: %16llx", &id) != 1)
		wrong("%s uid %u is not a message of ours", u->name, m->uid);
	body_make(id, out.size, want);
	if (memcmp(have, want, out.size) != 0)
		wrong("%s uid %u is not as it was handed over", u->name, m->uid);
	out.id = id;
	return out;
}

static void
open_box(struct user *u, unsigned b)
{
	struct answer a;

	if (u->view[b] != NULL)
		return;
	ASK(a, store_view_open(store, u->name, box_names[b], NULL, on_answer, &a));
	if (a.rc == STORE_OK)
		u->view[b] = a.view;
	else if (a.rc != STORE_NOTFOUND)
		wrong("%s %s cannot be opened: %s", u->name, box_names[b], store_rc_text(a.rc));
}

static void
read_box(struct user *u, unsigned b, struct box *out)
{
	struct store_change change;
	struct store_status st;
	uint32_t seq;

	memset(out, 0, sizeof *out);
	open_box(u, b);
	if (u->view[b] == NULL)
		return;
	while (store_view_next(u->view[b], &change))
		if (change.kind == STORE_CHANGE_GONE)
			wrong("%s %s is gone", u->name, box_names[b]);
	st = store_view_status(u->view[b]);
	out->exists = 1;
	out->uidvalidity = st.uidvalidity;
	out->uidnext = st.uidnext;
	if (store_view_count(u->view[b]) > PT_COUNT(out->m))
		wrong("%s %s has %zu messages", u->name, box_names[b], store_view_count(u->view[b]));
	for (seq = 1; seq <= store_view_count(u->view[b]); seq++)
		out->m[out->n++] = read_message(u, u->view[b], store_view_msg(u->view[b], seq));
}

/* Messages whose UID is not known yet may stand in any order at the end: all UIDs must be new and ascend. */
static bool
box_matches(const struct box *is, const struct box *want)
{
	bool used[PT_COUNT(want->m)] = { false };
	uint32_t i, k;

	/* an INBOX that has never had a message is there or is not: it always exists (RFC 3501 §5.1) */
	if (is->n != want->n || (want->exists && !is->exists) || (is->exists && !want->exists && is->uidnext > 1))
		return false;
	if (want->uidvalidity != 0 && is->uidvalidity != want->uidvalidity)
		return false;
	if (is->uidnext < want->uidnext)
		return false;
	for (i = 0; i < is->n; i++) {
		for (k = 0; k < want->n; k++)
			if (!used[k] && is->m[i].id == want->m[k].id && is->m[i].size == want->m[k].size &&
			    is->m[i].flags == want->m[k].flags &&
			    (want->m[k].uid == is->m[i].uid ||
				    (want->m[k].uid == 0 && is->m[i].uid >= want->uidnext)))
				break;
		if (k == want->n || (i > 0 && is->m[i].uid <= is->m[i - 1].uid))
			return false;
		used[k] = true;
	}
	return true;
}

static bool
matches(const struct state *is, const struct state *want)
{
	unsigned b;

	for (b = 0; b < BOXES; b++)
		if (!box_matches(&is->box[b], &want->box[b]))
			return false;
	return is->value == want->value;
}

static void
print_box(const char *what, const struct box *b)
{
	uint32_t i;

	printf("  %s: exists %u validity %u next %u:", what, b->exists, b->uidvalidity, b->uidnext);
	for (i = 0; i < b->n; i++)
		printf(" %u=%llx/%u/%x", b->m[i].uid, (unsigned long long)b->m[i].id, b->m[i].size, b->m[i].flags);
	printf("\n");
}

/* What is there becomes what is known; a request that is still open is settled by it. */
static void
verify(struct user *u)
{
	static struct state is, with;
	struct state *s;
	struct answer a;
	unsigned b;

	for (b = 0; b < BOXES; b++)
		read_box(u, b, &is.box[b]);
	ASK(a, store_get(store, "sieve", u->name, on_answer, &a));
	is.value = a.rc == STORE_OK ? a.value : 0;
	with = *now(u);
	apply(&with, &with.op);
	if (!matches(&is, now(u)) && (now(u)->op.kind == NOTHING || !matches(&is, &with))) {
		for (b = 0; b < BOXES; b++) {
			print_box("is", &is.box[b]);
			print_box("known", &now(u)->box[b]);
			print_box("with", &with.box[b]);
		}
		printf("  value is %llx known %llx with %llx\n", (unsigned long long)is.value,
			(unsigned long long)now(u)->value, (unsigned long long)with.value);
		wrong("%s: neither what was acknowledged (%llu requests) nor that and request %d whole", u->name,
			(unsigned long long)now(u)->acked, now(u)->op.kind);
	}
	s = draft(u);
	memcpy(s->box, is.box, sizeof s->box);
	s->value = is.value;
	s->op.kind = NOTHING;
	keep(u);
}

/* --- requests --------------------------------------------------------------------------------- */

static void
pick(const struct box *b, struct op *op)
{
	uint32_t i;

	for (i = 0; i < b->n && op->nuids < PICKED; i++)
		if (rnd() % 3 == 0 && b->m[i].uid != 0)
			op->uids[op->nuids++] = b->m[i].uid;
	if (op->nuids == 0)
		op->uids[op->nuids++] = b->m[rnd() % b->n].uid;
}

static struct op
choose(struct state *s)
{
	struct op op = { .id = s->next_id, .box = (uint32_t)(rnd() % BOXES) };
	const struct box *b = &s->box[op.box], *other = &s->box[1 - op.box];
	unsigned dice = (unsigned)(rnd() % 100);

	op.size = rnd() % 12 == 0 ? (uint32_t)(STORE_BODY_MAX + 1 + rnd() % (BODY_LARGE - STORE_BODY_MAX - 1))
				  : (uint32_t)(64 + rnd() % 6000);
	if (!s->box[1].exists) {
		op.kind = CREATE;
		op.box = 1;
	} else if (dice < 5)
		op.kind = PUT;
	else if (b->n == 0 || (dice < 55 && b->n < MESSAGES && other->n < MESSAGES)) {
		op.kind = dice % 6 == 0 ? ADD_BOTH : ADD;
		op.flags = rnd() % 2 ? 0 : STORE_SEEN;
	} else {
		pick(b, &op);
		op.kind = dice < 70 ? FLAGS : dice < 85 || other->n >= MESSAGES ? EXPUNGE : dice < 92 ? COPY : MOVE;
		op.flags = op.kind == FLAGS ? (rnd() % 2 ? STORE_DELETED : STORE_FLAGGED | STORE_SEEN) : 0;
		op.on = rnd() % 4 != 0;
	}
	return op;
}

static void
on_done(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct user *u = arg;
	struct state *s;

	u->busy = false;
	if (rc != STORE_OK && getenv("VERBOSE") != NULL)
		fprintf(stderr, "crash_client: %s: request %d answered with %s: %.*s\n", u->name, now(u)->op.kind,
			store_rc_text(rc), (int)r->text.n, r->text.n > 0 ? (const char *)r->text.p : "");
	if (rc == STORE_TEMP || rc == STORE_FULL) { /* nothing was done */
		s = draft(u);
		s->op.kind = NOTHING;
		keep(u);
		return;
	}
	if (rc != STORE_OK)
		wrong("%s: request %d answered with %s: %.*s", u->name, now(u)->op.kind, store_rc_text(rc),
			(int)r->text.n, r->text.n > 0 ? (const char *)r->text.p : "");
	s = draft(u);
	apply(s, &s->op);
	s->op.kind = NOTHING;
	s->acked++;
	keep(u);
}

/* Gives messages their UIDs as the view knows them: by then the answer's change is there. */
static void
learn_uids(struct user *u)
{
	struct store_change change;
	struct state *s = draft(u);
	struct box *box;
	unsigned b;
	uint32_t i, seq = 0;

	for (b = 0; b < BOXES; b++) {
		box = &s->box[b];
		if (!box->exists)
			continue;
		open_box(u, b);
		if (u->view[b] == NULL)
			wrong("%s %s was acknowledged and is not there", u->name, box_names[b]);
		while (store_view_next(u->view[b], &change))
			;
		box->uidvalidity = store_view_status(u->view[b]).uidvalidity;
		box->uidnext = store_view_status(u->view[b]).uidnext;
		if (store_view_count(u->view[b]) != box->n)
			wrong("%s %s has %zu messages after %llu acknowledged requests, not %u", u->name,
				box_names[b], store_view_count(u->view[b]), (unsigned long long)s->acked, box->n);
		for (i = 0; i < box->n; i++)
			if (box->m[i].uid == 0) {
				/* new ones are the last; copies of one request keep their order */
				seq = i + 1;
				box->m[i].uid = store_view_msg(u->view[b], seq)->uid;
			}
	}
	keep(u);
}

static struct store_blob *
send_body(const struct op *op)
{
	static uint8_t body[BODY_LARGE];
	struct store_blob *blob = store_blob_new(store, rnd() % 2 ? op->size : 0);
	size_t off = 0, n;
	int rc;

	body_make(op->id, op->size, body);
	while (off < op->size) {
		n = op->size - off < 16384 ? op->size - off : 16384;
		if ((rc = store_blob_write(blob, body + off, n)) == PT_EAGAIN) {
			turn();
			continue;
		}
		if (rc != 0) { /* its file went with the store: what is sent of it is refused */
			store_blob_free(&blob);
			return NULL;
		}
		off += n;
	}
	return blob;
}

static struct span
uid_set(const struct op *op, char *out, size_t cap)
{
	size_t at = 0;
	uint32_t i;

	for (i = 0; i < op->nuids; i++)
		at += (size_t)snprintf(out + at, cap - at, "%s%u", i > 0 ? "," : "", op->uids[i]);
	return (struct span){ (const uint8_t *)out, at };
}

static void
request(struct user *u, const struct op *op, struct store_blob *blob)
{
	struct store_flags flags = { .system = op->flags };
	struct store_txn *t = store_txn_new(store);
	char set[64], value[24];
	struct span uids = uid_set(op, set, sizeof set), v;
	int rc = 0;

	switch (op->kind) {
	case CREATE:
		rc = store_txn_box(t, u->name, STORE_BOX_CREATE, box_names[op->box], NULL);
		break;
	case ADD_BOTH:
		rc = store_txn_add(t, u->name, box_names[1 - op->box], blob, NULL, 0, 0);
		/* fall through */
	case ADD:
		if (rc == 0)
			rc = store_txn_add(t, u->name, box_names[op->box], blob,
				op->flags != 0 ? &flags : NULL, 0, 0);
		break;
	case FLAGS:
		rc = store_txn_flags(t, u->view[op->box], uids, op->on ? STORE_FLAGS_ADD : STORE_FLAGS_REMOVE,
			&flags, UINT64_MAX);
		break;
	case EXPUNGE:
		rc = store_txn_expunge(t, u->view[op->box], uids);
		break;
	case COPY:
	case MOVE:
		rc = store_txn_copy(t, u->view[op->box], uids, box_names[1 - op->box], op->kind == MOVE);
		break;
	case PUT:
		snprintf(value, sizeof value, "%llx", (unsigned long long)op->id);
		v = span_str(value);
		rc = store_txn_put(t, "sieve", u->name, &v, STORE_ANY_VERSION, 0);
		break;
	case NOTHING:
		break;
	}
	if (rc != 0)
		wrong("%s: request %d cannot be made: %d", u->name, op->kind, rc);
	store_commit(&t, on_done, u);
}

static void
next_request(struct user *u)
{
	struct store_blob *blob = NULL;
	struct state *s;
	struct op op;

	learn_uids(u);
	op = choose(now(u));
	u->busy = true; /* bodies may wait, and others' answers come in */
	if ((op.kind == ADD || op.kind == ADD_BOTH) && (blob = send_body(&op)) == NULL) {
		u->busy = false;
		return;
	}
	s = draft(u);
	s->op = op;
	s->next_id++;
	keep(u);
	request(u, &op, blob);
	store_blob_free(&blob);
}

/* --- main ------------------------------------------------------------------------------------- */

static void
on_signal(int sig)
{
	(void)sig;
	asked = 1;
}

static void
verify_all(void)
{
	unsigned long long acked = 0;
	unsigned i;

	for (i = 0; i < USERS; i++) {
		verify(&users[i]);
		acked += now(&users[i])->acked;
	}
	printf("ok %llu\n", acked);
	fflush(stdout);
}

static void
map(const char *path)
{
	struct user_memory *m;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unsigned i;

	if (fd < 0 || ftruncate(fd, (off_t)(USERS * sizeof *m)) != 0)
		exit(2);
	m = mmap(NULL, USERS * sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		exit(2);
	close(fd);
	for (i = 0; i < USERS; i++) {
		users[i] = (struct user){ .n = i, .mem = &m[i] };
		snprintf(users[i].name, sizeof users[i].name, "user%u@crash.example", i);
		if (now(&users[i])->next_id == 0)
			now(&users[i])->next_id = (uint64_t)i << 32 | 1;
	}
}

int
main(int argc, char **argv)
{
	unsigned i;

	if (argc != 4)
		return 2;
	socket_dir = argv[1];
	map(argv[2]);
	random_state = strtoull(argv[3], NULL, 10) * 2 + 1;
	signal(SIGUSR1, on_signal);
	if ((store = store_new()) == NULL)
		return 2;
	verify_all();
	for (;;) {
		for (i = 0; i < USERS && !asked; i++)
			if (!users[i].busy)
				next_request(&users[i]);
		turn();
		if (asked && store_pending(store) == 0) {
			asked = 0;
			verify_all();
		}
	}
}
