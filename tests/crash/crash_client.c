/* tests/crash/crash_client.c - users who change their mailboxes all the time and know what they have been told.
 *
 *     crash_client DIR MEMORY SEED FIRST COUNT [OUTSIDE]
 *
 * Users FIRST to FIRST + COUNT - 1; others are those of other processes. Each has one request on its way, and in MEMORY
 * (a file that is mapped, so a killed process forgets nothing) what there must be (model.h), with and without that
 * request. It connects to DIR/socket, again and again when the store goes; then the library asks once more what was
 * not answered. At its start, and at each SIGUSR1 (when all are answered), all is read, message by message, octet by
 * octet: it must be what was acknowledged, or that with the one request whose answer never came, whole. "ok ACKNOWLEDGED
 * REPEATED" is said then; anything else is said and ends it with status 1.
 *
 * Transactions are repeated with the id they had, which must do nothing more: some at once, as if the answer had been lost,
 * and after this process was killed half of those whose answer it never got.
 *
 * OUTSIDE is a file with a line "BOX ID SIZE FLAGS" for each message that another program brought and that must be there now. */
#include "model.h"

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
#include <time.h>
#include <unistd.h>

#define USERS_MAX 64
#define IN_BOX_MAX 4096 /* messages of a shared mailbox */
#define PATIENCE_S 20   /* until what another program did must be seen */

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
	struct store_view *view[OWN];
	bool busy, repeating, again;
	unsigned asked_in; /* by which channel it was asked */
	struct op last;    /* the one to be repeated; by which channel its answer came, and the UIDs in it */
	unsigned last_in;
	char last_uids[256];
};

/* Whose message a UID of a shared mailbox is; ascending by UID. */
struct known {
	uint32_t uid, size;
	uint64_t id;
};

static struct shared {
	struct store_view *view;
	struct known *known;
	size_t n;
} shared[SHARED];

static struct store *store;
static struct user users[USERS_MAX];
static unsigned nusers, first_user, attachments;
static unsigned long long repeats;
static const char *socket_dir, *outside_path;
static uint64_t random_state;
static volatile sig_atomic_t asked;

static uint64_t
rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state >> 3;
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

/* --- the ids of transactions ------------------------------------------------------------------------ */

static uint8_t txn_id[16];

/* The library takes a transaction's id from here: ours are known, so that they can be used again. */
void
arc4random_buf(void *p, size_t n)
{
	memset(p, 0, n);
	memcpy(p, txn_id, n < sizeof txn_id ? n : sizeof txn_id);
}

static struct store_txn *
new_txn(uint64_t id)
{
	struct store_txn *t;

	memset(txn_id, 0x5a, sizeof txn_id);
	memcpy(txn_id, &id, sizeof id);
	if ((t = store_txn_new(store)) == NULL)
		wrong("out of memory");
	return t;
}

/* --- memory ----------------------------------------------------------------------------------------- */

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

/* --- the store -------------------------------------------------------------------------------------- */

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
	attachments++;
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
	uint64_t size, version;
	uint8_t value[STORE_VALUE_MAX + 1];
	size_t value_n;
	struct user *user; /* store_boxes(): what is found */
	struct state *is;
};

static void
take_boxes(struct answer *a, const struct store_reply *r)
{
	struct box *b;
	size_t i;
	unsigned k;

	for (i = 0; i < r->nboxes; i++) {
		for (k = 0; k < OWN && strcmp(model_box_names[k], r->boxes[i].name) != 0; k++)
			;
		if (k == OWN)
			wrong("%s has a mailbox %s", a->user->name, r->boxes[i].name);
		b = &a->is->box[k];
		b->exists = r->boxes[i].exists;
		b->subscribed = r->boxes[i].subscribed;
		b->n = r->boxes[i].status.messages;
		b->uidvalidity = r->boxes[i].status.uidvalidity;
		b->uidnext = r->boxes[i].status.uidnext;
		b->modseq = r->boxes[i].status.modseq;
	}
}

static void
on_answer(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct answer *a = arg;

	a->done = true;
	a->rc = rc;
	a->view = r->view;
	a->fd = r->fd;
	r->fd = -1;
	a->size = r->size;
	a->version = r->version;
	a->value_n = r->value.n;
	if (r->value.n > 0 && r->value.n <= STORE_VALUE_MAX)
		memcpy(a->value, r->value.p, r->value.n);
	if (a->is != NULL && rc == STORE_OK)
		take_boxes(a, r);
}

/* Waits; what was only read is asked again until it is answered. */
#define ASK(a, call)                                                                               \
	do {                                                                                       \
		(a).done = false;                                                                  \
		(a).fd = -1;                                                                       \
		call;                                                                              \
		while (!(a).done)                                                                  \
			turn();                                                                    \
	} while ((a).rc == STORE_TEMP)

static void
on_nothing(void *arg, enum store_rc rc, struct store_reply *r)
{
	(void)r;
	*(int *)arg = (int)rc;
}

/* --- reading ---------------------------------------------------------------------------------------- */

static const char *
account(const struct user *u, uint32_t box)
{
	static const char *const names[] = { "shared0@crash.example", "shared1@crash.example",
		"outside@crash.example" };

	return box < OWN ? u->name : names[(box - OWN) / 2];
}

static struct store_view **
view_of(struct user *u, uint32_t box)
{
	return box < OWN ? &u->view[box] : &shared[box - OWN].view;
}

static bool
open_box(struct user *u, uint32_t box)
{
	struct store_view **v = view_of(u, box);
	static struct answer a;

	if (*v != NULL)
		return true;
	ASK(a, store_view_open(store, account(u, box), model_box_names[box], NULL, on_answer, &a));
	if (a.rc != STORE_OK && a.rc != STORE_NOTFOUND)
		wrong("%s %s cannot be opened: %s", account(u, box), model_box_names[box], store_rc_text(a.rc));
	if (a.rc != STORE_OK)
		return false;
	if (*v != NULL)
		store_view_close(&a.view); /* of two users who wanted it */
	else
		*v = a.view;
	return true;
}

/* The octets of a message are those it was made of. False: it is gone meanwhile (then may_go). */
static bool
read_message(const char *where, struct store_view *v, uint32_t uid, bool may_go, struct message *out)
{
	static uint8_t have[BODY_LARGE + 1], want[BODY_LARGE];
	static struct answer a;
	unsigned long long id = 0;
	ssize_t n;

	ASK(a, store_fetch(v, uid, on_answer, &a));
	if (a.rc == STORE_NOTFOUND && may_go)
		return false;
	if (a.rc != STORE_OK)
		wrong("%s uid %u cannot be read: %s", where, uid, store_rc_text(a.rc));
	n = pread(a.fd, have, sizeof have, 0);
	close(a.fd);
	if (n < 32 || (uint64_t)n != a.size)
		wrong("%s uid %u has %zd octets, not %llu", where, uid, n, (unsigned long long)a.size);
	if (sscanf((const char *)have, "X-Id: %16llx", &id) != 1)
		wrong("%s uid %u is not a message of ours", where, uid);
	model_body(id, (uint32_t)n, want);
	if (memcmp(have, want, (size_t)n) != 0)
		wrong("%s uid %u is not as it was handed over", where, uid);
	out->id = id;
	out->size = (uint32_t)n;
	out->uid = uid;
	return true;
}

static uint32_t
flags_of(struct store_view *v, const struct store_msg *m)
{
	uint32_t f = m->flags & (STORE_KEYWORD(0) - 1);
	const char *name;
	unsigned k, i;

	for (k = 0; k < STORE_KEYWORDS_MAX; k++) {
		if ((m->flags & STORE_KEYWORD(k)) == 0)
			continue;
		name = store_view_keyword(v, k);
		for (i = 0; i < KEYWORDS && (name == NULL || strcmp(name, model_keywords[i]) != 0); i++)
			;
		if (i == KEYWORDS)
			wrong("uid %u has the keyword %s", m->uid, name == NULL ? "(without a name)" : name);
		f |= STORE_KEYWORD(i);
	}
	return f;
}

/* True: the mailbox is another one now. */
static bool
catch_up(struct store_view *v)
{
	struct store_change change;
	bool gone = false;

	while (store_view_next(v, &change))
		gone = gone || change.kind == STORE_CHANGE_GONE;
	return gone;
}

/* Whose the messages of a shared mailbox are: those that are new are read, all of them if octets is set. */
static void
look_through(unsigned nr, bool octets)
{
	struct shared *sh = &shared[nr];
	static struct known list[IN_BOX_MAX];
	const struct store_msg *m;
	struct message msg;
	uint32_t seq, uids[IN_BOX_MAX];
	size_t n = 0, old = 0, i, kept = 0;

	n = store_view_count(sh->view);
	if (n > IN_BOX_MAX)
		wrong("%s has %zu messages", account(users, OWN + nr), n);
	for (seq = 1; seq <= n; seq++) { /* the view moves on while we read */
		m = store_view_msg(sh->view, seq);
		uids[seq - 1] = m->uid;
	}
	for (i = 0; i < n; i++) {
		while (old < sh->n && sh->known[old].uid < uids[i])
			old++;
		if (!octets && old < sh->n && sh->known[old].uid == uids[i]) {
			list[kept++] = sh->known[old];
			continue;
		}
		if (!read_message(account(users, OWN + nr), sh->view, uids[i], true, &msg))
			continue;
		list[kept++] = (struct known){ uids[i], msg.size, msg.id };
	}
	if (sh->known == NULL && (sh->known = calloc(IN_BOX_MAX, sizeof *sh->known)) == NULL)
		wrong("out of memory");
	memcpy(sh->known, list, kept * sizeof *list);
	sh->n = kept;
}

/* One's own messages of a shared mailbox, as far as the view is. Nothing is asked here. */
static void
own_part(unsigned nr, unsigned owner, struct box *out, uint32_t cap)
{
	struct shared *sh = &shared[nr];
	const struct store_msg *m;
	uint32_t seq;
	size_t i;

	out->n = 0;
	for (i = 0; i < sh->n; i++) {
		if (sh->known[i].id >> 32 != owner || (seq = store_view_seq(sh->view, sh->known[i].uid)) == 0)
			continue;
		m = store_view_msg(sh->view, seq);
		if (out->n == cap)
			wrong("user %u has more than %u messages in %s of %s", owner, cap, model_box_names[OWN + nr],
				account(users, OWN + nr));
		if (m->size != sh->known[i].size)
			wrong("%s uid %u has %u octets, not %llu", account(users, OWN + nr), m->uid, sh->known[i].size,
				(unsigned long long)m->size);
		out->m[out->n++] = (struct message){ sh->known[i].id, sh->known[i].size, m->uid,
			flags_of(sh->view, m) };
	}
}

static void
take_status(struct store_view *v, struct box *b)
{
	struct store_status st = store_view_status(v);

	b->exists = 1;
	b->uidvalidity = st.uidvalidity;
	b->uidnext = st.uidnext;
	b->modseq = st.modseq;
}

/* A mailbox as it is. listed: as store_boxes() says, which must say the same; may_be_another: it was perhaps removed. */
static void
read_box(struct user *u, uint32_t box, bool may_be_another, struct box *b)
{
	struct store_view **v = view_of(u, box);
	const struct box listed = *b;
	const struct store_msg *m;
	uint32_t seq;

	if (*v != NULL && catch_up(*v)) {
		if (!may_be_another)
			wrong("%s %s was said to be gone", u->name, model_box_names[box]);
		store_view_close(v);
	}
	if (!listed.exists) {
		if (*v != NULL && !may_be_another && box != 0)
			wrong("%s %s is not listed and was not said to be gone", u->name, model_box_names[box]);
		store_view_close(v);
		return;
	}
	if (!open_box(u, box))
		wrong("%s %s is listed, and not there", u->name, model_box_names[box]);
	if (catch_up(*v))
		wrong("%s %s was said to be gone as soon as it was open", u->name, model_box_names[box]);
	take_status(*v, b);
	if (store_view_count(*v) != listed.n || b->uidvalidity != listed.uidvalidity || b->uidnext != listed.uidnext ||
	    b->modseq != listed.modseq)
		wrong("%s %s: the list says %u messages, UIDNEXT %u, MODSEQ %llu, the mailbox %zu, %u, %llu", u->name,
			model_box_names[box], listed.n, listed.uidnext, (unsigned long long)listed.modseq,
			store_view_count(*v), b->uidnext, (unsigned long long)b->modseq);
	if (listed.n > PT_COUNT(b->m))
		wrong("%s %s has %u messages", u->name, model_box_names[box], listed.n);
	b->n = 0;
	for (seq = 1; seq <= listed.n; seq++) {
		m = store_view_msg(*v, seq);
		(void)read_message(u->name, *v, m->uid, false, &b->m[b->n]);
		if (b->m[b->n].size != m->size)
			wrong("%s %s uid %u has %u octets, not %llu", u->name, model_box_names[box], m->uid,
				b->m[b->n].size, (unsigned long long)m->size);
		b->m[b->n++].flags = flags_of(*v, m);
	}
}

static void
read_key(struct user *u, unsigned nr, struct key *k)
{
	static struct answer a;
	static char want[STORE_VALUE_MAX + 1];
	unsigned long long value;

	memset(k, 0, sizeof *k);
	ASK(a, store_get(store, model_spaces[nr], u->name, on_answer, &a));
	if (a.rc == STORE_NOTFOUND)
		return;
	if (a.rc != STORE_OK || a.value_n < 17 || a.value_n > STORE_VALUE_MAX)
		wrong("%s %s: %s, %zu octets", u->name, model_spaces[nr], store_rc_text(a.rc), a.value_n);
	a.value[a.value_n] = '\0';
	if (sscanf((const char *)a.value, "%16llx", &value) != 1)
		wrong("%s %s is no value of ours", u->name, model_spaces[nr]);
	k->value = value;
	k->size = (uint32_t)a.value_n;
	k->version = a.version;
	model_value(k->value, k->size, want);
	if (memcmp(want, a.value, k->size) != 0)
		wrong("%s %s is not the value that was put there", u->name, model_spaces[nr]);
}

/* --- what is there, against what is known ------------------------------------------------------------- */

static void
print_state(const char *what, const struct state *s)
{
	const struct box *b;
	uint32_t i, k;

	printf("%s:\n", what);
	for (i = 0; i < BOXES; i++) {
		b = &s->box[i];
		if (b->exists || b->subscribed || b->n > 0)
			printf("  %u %s exists %u subscribed %u validity %u next %u modseq %llu:", i, model_box_names[i],
				b->exists, b->subscribed, b->uidvalidity, b->uidnext, (unsigned long long)b->modseq);
		for (k = 0; k < b->n; k++)
			printf(" %u=%llx/%u/%x", b->m[k].uid, (unsigned long long)b->m[k].id, b->m[k].size, b->m[k].flags);
		if (b->exists || b->subscribed || b->n > 0)
			printf("\n");
	}
	for (i = 0; i < KEYS; i++)
		printf("  key %u: %llx/%u version %llu until %lld to %lld\n", i, (unsigned long long)s->key[i].value,
			s->key[i].size, (unsigned long long)s->key[i].version, (long long)s->key[i].lo,
			(long long)s->key[i].hi);
}

static void
read_all(struct user *u, struct state *is)
{
	static struct answer a;
	bool another = now(u)->op.kind == DELETE || now(u)->op.kind == RENAME;
	uint32_t i;

	memset(is, 0, sizeof *is);
	a.user = u;
	a.is = is;
	ASK(a, store_boxes(store, u->name, on_answer, &a));
	a.is = NULL;
	if (a.rc != STORE_OK && a.rc != STORE_NOTFOUND)
		wrong("the mailboxes of %s: %s", u->name, store_rc_text(a.rc));
	for (i = 0; i < OWN; i++)
		read_box(u, i, another, &is->box[i]);
	for (i = 0; i < SHARED; i++) {
		own_part(i, u->n, &is->box[OWN + i], PT_COUNT(is->box[0].m));
		take_status(shared[i].view, &is->box[OWN + i]);
	}
	for (i = 0; i < KEYS; i++)
		read_key(u, i, &is->key[i]);
}

/* What was found becomes what is known; a request that is still open is settled by it. */
static void
adopt(struct state *s, const struct state *is, const struct state *want)
{
	uint32_t i;

	for (i = 0; i < BOXES; i++) {
		s->box[i] = is->box[i];
		if (i < OWN && s->box[i].uidvalidity > s->last_validity)
			s->last_validity = s->box[i].uidvalidity;
	}
	for (i = 0; i < KEYS; i++) {
		s->key[i] = is->key[i];
		s->key[i].lo = want->key[i].lo;
		s->key[i].hi = want->key[i].hi;
	}
	s->op.kind = NOTHING;
}

static void
verify(struct user *u)
{
	static struct state is, with;
	const char *why, *why_with = "it is refused";
	const struct state *want = now(u);
	struct state *s;
	int64_t t;

	read_all(u, &is);
	t = time(NULL);
	with = *want;
	if (!want->op.never)
		model_apply(&with, &want->op, t);
	if (!model_matches(&is, want, t, &why)) {
		if (want->op.kind == NOTHING || want->op.never || !model_matches(&is, &with, t, &why_with)) {
			print_state("is", &is);
			print_state("known", want);
			if (want->op.kind != NOTHING)
				print_state("with", &with);
			wrong("%s: neither what was acknowledged (%llu requests; %s) nor that and request %d whole (%s)",
				u->name, (unsigned long long)want->acked, why, want->op.kind, why_with);
		}
		want = &with;
	}
	if (want->op.kind != NOTHING && getenv("VERBOSE") != NULL)
		fprintf(stderr, "crash_client: %s: request %d, not answered, was %sdone\n", u->name, want->op.kind,
			want == &with ? "" : "not ");
	s = draft(u);
	adopt(s, &is, want);
	keep(u);
}

/* --- what another program brought -------------------------------------------------------------------- */

/* NULL: all is as the file says. */
static const char *
outside_differs(void)
{
	static struct box have[2];
	unsigned box, size, flags, nr;
	unsigned long long id;
	static char text[128];
	size_t lines[2] = { 0, 0 };
	uint32_t i;
	FILE *f;

	for (nr = 0; nr < 2; nr++)
		own_part(OUTSIDE - OWN + nr, OUTSIDER, &have[nr], PT_COUNT(have[0].m));
	if ((f = fopen(outside_path, "r")) == NULL)
		return NULL; /* not yet */
	text[0] = '\0';
	while (fscanf(f, "%u %llx %u %x", &box, &id, &size, &flags) == 4) {
		for (i = 0; i < have[box].n && have[box].m[i].id != id; i++)
			;
		if (i == have[box].n)
			snprintf(text, sizeof text, "message %llx in mailbox %u is not there", id, box);
		else if (have[box].m[i].size != size || have[box].m[i].flags != flags)
			snprintf(text, sizeof text, "message %llx in mailbox %u has %u octets and flags %x, not %u and %x",
				id, box, have[box].m[i].size, have[box].m[i].flags, size, flags);
		lines[box]++;
	}
	fclose(f);
	for (nr = 0; nr < 2 && text[0] == '\0'; nr++)
		if (lines[nr] != have[nr].n)
			snprintf(text, sizeof text, "%u messages are in mailbox %u, not %zu", have[nr].n, nr, lines[nr]);
	return text[0] == '\0' ? NULL : text;
}

static void
verify_outside(void)
{
	time_t until = time(NULL) + PATIENCE_S;
	const char *why;
	unsigned nr;

	if (outside_path == NULL)
		return;
	while ((why = outside_differs()) != NULL) {
		if (time(NULL) > until)
			wrong("what another program did is not seen: %s", why);
		turn();
		for (nr = OUTSIDE - OWN; nr < SHARED; nr++) {
			(void)catch_up(shared[nr].view);
			look_through(nr, false);
		}
	}
}

/* --- after an answer -------------------------------------------------------------------------------- */

static void
refused(struct user *u)
{
	struct state *s = draft(u);

	s->op.kind = NOTHING;
	keep(u);
}

/* Views of mailboxes that are no more. */
static void
close_gone(struct user *u, const struct op *op)
{
	uint32_t b;

	for (b = 1; b < OWN; b++)
		if (u->view[b] != NULL && (op->kind == DELETE ? b == op->box
				: model_renamed(b, op->box, op->to) != (int)b)) {
			if (u->asked_in == attachments && !catch_up(u->view[b]))
				wrong("%s %s is gone, and its view does not say so", u->name, model_box_names[b]);
			store_view_close(&u->view[b]);
		}
}

/* The same transaction once more: the same answer, and nothing happens. */
static void
repeated(struct user *u, enum store_rc rc, struct store_reply *r)
{
	u->repeating = false;
	if (rc == STORE_TEMP || rc == STORE_FULL)
		return;
	if (rc != STORE_OK)
		wrong("%s: request %d was done, and repeated it is answered with %s: %.*s", u->name, u->last.kind,
			store_rc_text(rc), (int)r->text.n, r->text.n > 0 ? (const char *)r->text.p : "");
	if (u->last_in == attachments && (r->uids.n != strlen(u->last_uids) ||
	    memcmp(r->uids.p == NULL ? (const uint8_t *)"" : r->uids.p, u->last_uids, r->uids.n) != 0))
		wrong("%s: request %d was answered with UIDs %s, repeated with %.*s", u->name, u->last.kind, u->last_uids,
			(int)r->uids.n, (const char *)r->uids.p);
	repeats++;
}

static void
on_done(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct user *u = arg;
	struct state *s = now(u);
	const struct op *op = &s->op;

	u->busy = false;
	if (rc != STORE_OK && getenv("VERBOSE") != NULL)
		fprintf(stderr, "crash_client: %s: request %d answered with %s: %.*s\n", u->name, op->kind,
			store_rc_text(rc), (int)r->text.n, r->text.n > 0 ? (const char *)r->text.p : "");
	if (u->repeating) {
		repeated(u, rc, r);
		return;
	}
	if (rc == STORE_TEMP || rc == STORE_FULL || (rc != STORE_OK && rc == op->other)) {
		refused(u);
		return;
	}
	if (rc != STORE_OK || op->never)
		wrong("%s: request %d for %u, %u answered with %s, not %s: %.*s", u->name, op->kind, op->box, op->to,
			store_rc_text(rc), store_rc_text(op->never ? op->other : STORE_OK), (int)r->text.n,
			r->text.n > 0 ? (const char *)r->text.p : "");
	if (op->kind == DELETE || op->kind == RENAME)
		close_gone(u, op);
	s = draft(u);
	model_apply(s, &s->op, time(NULL));
	if (s->op.kind == PUT && !s->op.gone && r->id != 0)
		s->key[s->op.key].version = r->id;
	u->again = rnd() % 16 == 0 && r->uids.n < sizeof u->last_uids;
	if (u->again) {
		u->last = s->op;
		u->last_in = attachments;
		snprintf(u->last_uids, sizeof u->last_uids, "%.*s", (int)r->uids.n, r->uids.n > 0 ? (const char *)r->uids.p : "");
	}
	s->op.kind = NOTHING;
	s->acked++;
	keep(u);
}

/* The mailbox as its view has it: it must be what is known, and gives new messages their UIDs. By now the answer's change
 * is there. */
static void
learn_box(struct user *u, struct state *s, uint32_t box)
{
	struct box *b = &s->box[box], is = { 0 };
	struct store_view **v = view_of(u, box);
	const struct store_msg *m;
	uint32_t i;

	if (!open_box(u, box))
		wrong("%s %s was acknowledged and is not there", account(u, box), model_box_names[box]);
	if (catch_up(*v))
		wrong("%s %s was said to be gone", account(u, box), model_box_names[box]);
	if (box >= OWN) {
		look_through(box - OWN, false);
		own_part(box - OWN, u->n, &is, PT_COUNT(is.m));
	} else {
		for (i = 0; i < store_view_count(*v) && i < PT_COUNT(is.m); i++) {
			m = store_view_msg(*v, i + 1);
			is.m[i] = (struct message){ 0, (uint32_t)m->size, m->uid, flags_of(*v, m) };
		}
		is.n = (uint32_t)store_view_count(*v);
	}
	if (is.n != b->n)
		wrong("%s %s has %u messages of %s after %llu acknowledged requests, not %u", account(u, box),
			model_box_names[box], is.n, u->name, (unsigned long long)s->acked, b->n);
	for (i = 0; i < b->n; i++) {
		if ((b->m[i].uid != 0 && b->m[i].uid != is.m[i].uid) || b->m[i].size != is.m[i].size ||
		    b->m[i].flags != is.m[i].flags || (box >= OWN && b->m[i].id != is.m[i].id))
			wrong("%s %s: message %u of %s is uid %u with %u octets and flags %x, not %u with %u and %x",
				account(u, box), model_box_names[box], i + 1, u->name, is.m[i].uid, is.m[i].size,
				is.m[i].flags, b->m[i].uid, b->m[i].size, b->m[i].flags);
		b->m[i].uid = is.m[i].uid;
	}
	if (b->uidvalidity == 0 && box < OWN && box != 0 && store_view_status(*v).uidvalidity <= s->last_validity)
		wrong("%s %s has the UIDVALIDITY %u again", u->name, model_box_names[box],
			store_view_status(*v).uidvalidity);
	take_status(*v, b);
	if (box < OWN && b->uidvalidity > s->last_validity)
		s->last_validity = b->uidvalidity;
}

static void
learn(struct user *u)
{
	struct state *s = draft(u);
	uint32_t i;

	for (i = 0; i < BOXES; i++)
		if (i >= OWN ? s->box[i].n > 0 : s->box[i].exists)
			learn_box(u, s, i);
	keep(u);
}

/* --- requests --------------------------------------------------------------------------------------- */

static struct store_blob *
send_body(const struct op *op)
{
	static uint8_t body[BODY_LARGE];
	struct store_blob *blob = store_blob_new(store, rnd() % 2 ? op->size : 0);
	size_t off = 0, n;
	int rc;

	model_body(op->id, op->size, body);
	while (off < op->size) {
		n = op->size - off < 16384 ? op->size - off : 16384;
		if ((rc = store_blob_write(blob, body + off, n)) == PT_EAGAIN) {
			turn(); /* others' answers come in; none of them sends a body */
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

static struct store_flags
flags_for(const struct op *op, const char *names[KEYWORDS])
{
	struct store_flags f = { .system = op->flags & (STORE_KEYWORD(0) - 1), .keywords = names };
	unsigned k;

	for (k = 0; k < KEYWORDS; k++)
		if (op->flags & STORE_KEYWORD(k))
			names[f.nkeywords++] = model_keywords[k];
	return f;
}

static int
txn_put(struct store_txn *t, const struct user *u, const struct op *op)
{
	static char value[STORE_VALUE_MAX + 1];
	struct span v = { (const uint8_t *)value, op->value_size };

	model_value(op->id, op->value_size, value);
	return store_txn_put(t, model_spaces[op->key], u->name, op->gone ? NULL : &v, op->expect, op->ttl);
}

static int
txn_add(struct store_txn *t, const struct user *u, const struct op *op, struct store_blob *blob,
	const struct store_flags *flags)
{
	uint32_t i, box;
	int rc = 0;

	for (i = 0; i < op->nboxes && rc == 0; i++) {
		box = op->boxes[i];
		rc = store_txn_add(t, account(u, box), (box < OWN ? box : box & 1) == 0 && op->id % 2
			? NULL : model_box_names[box], blob, op->has_flags ? flags : NULL, 0, 0);
	}
	return rc;
}

static int
txn_parts(struct store_txn *t, struct user *u, const struct op *op, struct store_blob *blob)
{
	static const enum store_box_op box_ops[] = { [CREATE] = STORE_BOX_CREATE, [DELETE] = STORE_BOX_DELETE,
		[RENAME] = STORE_BOX_RENAME, [SUBSCRIBE] = STORE_BOX_SUBSCRIBE, [UNSUBSCRIBE] = STORE_BOX_UNSUBSCRIBE };
	const char *names[KEYWORDS], *box = model_box_names[op->box];
	struct store_flags flags = flags_for(op, names);
	char set[64];
	struct span uids = uid_set(op, set, sizeof set);
	int rc;

	switch (op->kind) {
	case CREATE:
	case DELETE:
	case RENAME:
	case SUBSCRIBE:
	case UNSUBSCRIBE:
		return store_txn_box(t, u->name, box_ops[op->kind], box,
			op->kind == RENAME ? model_box_names[op->to] : NULL);
	case MIXED:
		if ((rc = store_txn_box(t, u->name, STORE_BOX_SUBSCRIBE, box, NULL)) != 0 ||
		    (rc = txn_put(t, u, op)) != 0)
			return rc;
		/* FALLTHROUGH */
	case ADD:
		return txn_add(t, u, op, blob, &flags);
	case FLAGS:
		return store_txn_flags(t, *view_of(u, op->box), uids, op->flag_op, &flags, op->unchangedsince);
	case EXPUNGE:
		return store_txn_expunge(t, *view_of(u, op->box), uids);
	case COPY:
	case MOVE:
		return store_txn_copy(t, *view_of(u, op->box), uids, model_box_names[op->to], op->kind == MOVE);
	case PUT:
		return txn_put(t, u, op);
	case NOTHING:
		break;
	}
	return PT_EINVAL;
}

static void
request(struct user *u, const struct op *op, struct store_blob *blob)
{
	struct store_txn *t = new_txn(op->id);
	int rc = txn_parts(t, u, op, blob);

	if (rc != 0)
		wrong("%s: request %d cannot be made: %d", u->name, op->kind, rc);
	u->asked_in = attachments;
	store_commit(&t, on_done, u);
}

static bool
has_body(const struct op *op)
{
	return op->kind == ADD || op->kind == MIXED;
}

static void
next_request(struct user *u)
{
	struct store_blob *blob = NULL;
	struct state *s;
	struct op op;

	u->busy = true; /* bodies may wait, and others' answers come in */
	learn(u);
	if (u->again)
		op = u->last;
	else
		model_choose(now(u), rnd, time(NULL), &op);
	if (op.kind == NOTHING || (has_body(&op) && (blob = send_body(&op)) == NULL)) {
		u->busy = u->again = false;
		return;
	}
	if (u->again) {
		u->again = false;
		u->repeating = true;
		if (op.kind >= FLAGS && op.kind <= MOVE && !open_box(u, op.box))
			wrong("%s %s is gone", u->name, model_box_names[op.box]);
	} else {
		s = draft(u);
		s->op = op;
		s->next_id++;
		keep(u);
	}
	request(u, &op, blob);
	store_blob_free(&blob);
}

/* What was on its way when this process was killed, once more and with its id: done once, or not at all before. */
static void
ask_again(void)
{
	struct store_blob *blob;
	struct user *u;
	struct op op;
	unsigned i;

	for (i = 0; i < nusers; i++) {
		u = &users[i];
		op = now(u)->op;
		blob = NULL;
		if (op.kind == NOTHING || rnd() % 2 || (has_body(&op) && (blob = send_body(&op)) == NULL))
			continue;
		if (op.kind < FLAGS || op.kind > MOVE || open_box(u, op.box)) {
			u->busy = true;
			request(u, &op, blob);
			repeats++;
		}
		store_blob_free(&blob);
	}
	while (store_pending(store) > 0)
		turn();
}

/* --- main ------------------------------------------------------------------------------------------- */

static void
on_signal(int sig)
{
	(void)sig;
	asked = 1;
}

static void
create_shared(uint32_t box)
{
	struct store_txn *t;
	int rc;

	do {
		rc = -1;
		t = new_txn((uint64_t)first_user << 32 | 0xffff0000u | box);
		if (store_txn_box(t, account(users, box), STORE_BOX_CREATE, model_box_names[box], NULL) != 0)
			wrong("%s cannot be created", model_box_names[box]);
		store_commit(&t, on_nothing, &rc);
		while (rc == -1)
			turn();
	} while (rc == STORE_TEMP);
	if (rc != STORE_OK && rc != STORE_EXISTS)
		wrong("%s cannot be created: %s", model_box_names[box], store_rc_text((unsigned)rc));
}

static void
open_shared(void)
{
	uint32_t box;

	for (box = OWN; box < BOXES; box++) {
		if (shared[box - OWN].view == NULL && !open_box(users, box)) {
			create_shared(box);
			if (!open_box(users, box))
				wrong("%s was created and is not there", model_box_names[box]);
		}
		if (catch_up(shared[box - OWN].view))
			wrong("%s %s was said to be gone", account(users, box), model_box_names[box]);
		look_through(box - OWN, true);
	}
}

static void
verify_all(void)
{
	unsigned long long acked = 0;
	unsigned i;

	open_shared();
	for (i = 0; i < nusers; i++) {
		verify(&users[i]);
		acked += now(&users[i])->acked;
	}
	verify_outside();
	printf("ok %llu %llu\n", acked, repeats);
	fflush(stdout);
}

static void
map(const char *path)
{
	struct user_memory *m;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unsigned i, n;

	if (fd < 0 || ftruncate(fd, (off_t)(nusers * sizeof *m)) != 0)
		exit(2);
	m = mmap(NULL, nusers * sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		exit(2);
	close(fd);
	for (i = 0; i < nusers; i++) {
		n = first_user + i;
		users[i] = (struct user){ .n = n, .mem = &m[i] };
		snprintf(users[i].name, sizeof users[i].name, "user%u@crash.example", n);
		if (now(&users[i])->next_id == 0)
			now(&users[i])->next_id = (uint64_t)n << 32 | 1;
	}
}

int
main(int argc, char **argv)
{
	unsigned i;

	if (argc < 6 || (nusers = (unsigned)atoi(argv[5])) == 0 || nusers > USERS_MAX)
		return 2;
	socket_dir = argv[1];
	first_user = (unsigned)atoi(argv[4]);
	outside_path = argc > 6 ? argv[6] : NULL;
	map(argv[2]);
	random_state = strtoull(argv[3], NULL, 10) * 2 + 1;
	model_restless = rnd() % 2 != 0;
	signal(SIGUSR1, on_signal);
	if ((store = store_new()) == NULL)
		return 2;
	ask_again();
	verify_all();
	for (;;) {
		for (i = 0; i < nusers && !asked; i++)
			if (!users[i].busy)
				next_request(&users[i]);
		turn();
		if (asked && store_pending(store) == 0) {
			asked = 0;
			verify_all();
		}
	}
}
