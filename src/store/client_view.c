/* store/client_view.c - a mailbox as its log says, moved on line by line when its owner wants to know. */
#include "store/client_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (64u * 1024) /* of the log, at a time */

/* --- reading the log ----------------------------------------------------------------------------------------- */

static int
queue_push(struct store_view *v, enum store_change_kind kind, uint32_t seq, uint32_t uid)
{
	struct store_change *grown;
	size_t cap;

	if (v->nqueue == v->queue_cap) {
		cap = v->queue_cap == 0 ? 8 : v->queue_cap * 2;
		if ((grown = reallocarray(v->queue, cap, sizeof *grown)) == NULL)
			return PT_ENOMEM;
		v->queue = grown;
		v->queue_cap = cap;
	}
	v->queue[v->nqueue++] = (struct store_change){ kind, seq, uid };
	return 0;
}

static void
on_change(void *arg, enum store_change_kind kind, uint32_t seq, uint32_t uid)
{
	struct store_view *v = arg;

	if (queue_push(v, kind, seq, uid) != 0)
		v->gone = true; /* what cannot be told must not be skipped */
}

/* The log from x->end on, in lines; max_lines at most. 0; PT_EIO when it is not what it should be. */
static int
read_log(int fd, struct index *x, uint64_t octets, uint32_t max_lines, index_change_f *f, void *arg)
{
	uint8_t *chunk = malloc(CHUNK);
	uint32_t before = x->lines;
	size_t want, taken;
	ssize_t n;
	bool bad = false;
	int rc = chunk == NULL ? PT_ENOMEM : 0;

	while (rc == 0 && x->end < octets && x->lines - before < max_lines) {
		want = max_lines == 1 ? INDEX_LINE_MAX : CHUNK;
		if (want > octets - x->end)
			want = (size_t)(octets - x->end);
		if ((n = pread(fd, chunk, want, (off_t)x->end)) <= 0) {
			rc = PT_EIO;
			break;
		}
		taken = index_feed(x, (struct span){ chunk, (size_t)n }, max_lines - (x->lines - before), f, arg,
			&bad, &rc);
		if (taken == 0 && rc == 0)
			rc = PT_EIO;
	}
	free(chunk);
	return rc;
}

int
view_log(struct store_view *v, int fd, uint64_t octets)
{
	int rc;

	if (!v->opened) {
		v->fd = fd;
		v->octets = octets;
		rc = read_log(fd, &v->x, octets, UINT32_MAX, NULL, NULL);
		return rc == 0 && v->x.uidvalidity == 0 ? PT_EPROTO : rc;
	}
	if (v->new_fd >= 0)
		close(v->new_fd);
	v->new_fd = fd;
	v->new_octets = octets;
	if (v->change != NULL)
		v->change(v->change_arg);
	return 0;
}

bool
view_is_same(const struct store_view *v)
{
	char text[INDEX_LINE_MAX];
	struct index_line x;
	ssize_t n = pread(v->new_fd, text, sizeof text, 0);
	bool bad;

	return n > 0 && index_line_parse((struct span){ (uint8_t *)text, (size_t)n }, &x, &bad) > 0 && x.kind == 'P' &&
		x.uid == v->x.uidvalidity && span_equal(x.guid, span_str(v->x.id));
}

void
view_unlearn(struct store_view *v)
{
	struct msg_store_view_close m = { .view = v->id };
	struct frame f;

	PT_ASSERT(msg_store_view_close_encode(&m, 0, &f) == 0);
	store_tell(v->s, &f);
}

void
view_event(struct store_view *v, bool gone, uint64_t octets)
{
	if (gone)
		v->gone = true;
	else if (v->new_fd >= 0)
		v->new_octets = octets > v->new_octets ? octets : v->new_octets;
	else
		v->octets = octets > v->octets ? octets : v->octets;
	if (v->change != NULL && v->opened)
		v->change(v->change_arg);
}

/* --- another log ---------------------------------------------------------------------------------------------- */

/* What is different between what was known and what is there: in the order in which a client can take it. */
static int
compare(struct store_view *v, const struct index *now)
{
	const struct index *old = &v->x;
	uint32_t i, k, seq = 1;
	bool found;
	int rc = 0;

	for (i = 0; i < old->n && rc == 0; i++) {
		(void)index_find(now, old->msgs[i].uid, &found);
		if (!found)
			rc = queue_push(v, STORE_CHANGE_VANISHED, seq, old->msgs[i].uid);
		else
			seq++;
	}
	for (i = 0; i < now->n && rc == 0; i++) {
		k = index_find(old, now->msgs[i].uid, &found);
		if (!found)
			rc = queue_push(v, STORE_CHANGE_EXISTS, i + 1, now->msgs[i].uid);
		else if (old->msgs[k].modseq != now->msgs[i].modseq)
			rc = queue_push(v, STORE_CHANGE_FLAGS, i + 1, now->msgs[i].uid);
	}
	return rc;
}

static void
take_new_log(struct store_view *v)
{
	struct index now;
	int rc;

	index_init(&now);
	rc = read_log(v->new_fd, &now, v->new_octets, UINT32_MAX, NULL, NULL);
	if (rc != 0 || now.uidvalidity != v->x.uidvalidity || strcmp(now.id, v->x.id) != 0 ||
	    compare(v, &now) != 0) {
		v->gone = true;
		index_fini(&now);
	} else {
		index_fini(&v->x);
		v->x = now;
	}
	close(v->fd);
	v->fd = v->new_fd;
	v->octets = v->new_octets;
	v->new_fd = -1;
}

/* --- the face ------------------------------------------------------------------------------------------------- */

static void
ask(struct store_view *v, struct call *c)
{
	struct msg_store_view_open m = { .view = v->id, .user = span_str(v->user), .box = span_str(v->box) };
	struct frame f;
	int rc = msg_store_view_open_encode(&m, 0, &f);

	if (rc == 0)
		rc = call_add(c, &f, NULL);
	c->view = v;
	call_start(c);
	if (rc != 0) {
		c->view = NULL;
		if (v->opened) { /* its owner's */
			view_reopening(v, false);
			view_event(v, true, 0);
		} else {
			view_free(v);
		}
		call_answer(c, rc == PT_ENOMEM ? STORE_TEMP : STORE_INVALID, NULL);
	}
}

void
store_view_open(struct store *s, const char *user, const char *box, void (*change)(void *arg), store_cb *cb,
		void *arg)
{
	struct store_view *v = calloc(1, sizeof *v);
	struct call *c = call_new(s, cb, arg);
	struct store_reply none = { .fd = -1 };

	if (v != NULL) {
		v->s = s;
		v->fd = v->new_fd = -1;
		v->user = strdup(user);
		v->box = strdup(box);
		v->user_hash = client_user(user);
		v->change = change;
		v->change_arg = arg;
		index_init(&v->x);
		if (++s->next_view == 0)
			s->next_view = 1;
		v->id = s->next_view;
		TAILQ_INSERT_TAIL(&s->views, v, next);
	}
	if (v == NULL || c == NULL || v->user == NULL || v->box == NULL) {
		if (v != NULL)
			view_free(v);
		call_free(&c);
		cb(arg, STORE_TEMP, &none);
		return;
	}
	ask(v, c);
}

void
view_reopening(struct store_view *v, bool on)
{
	if (v->s != NULL && v->reopening != on)
		v->s->nreopening += on ? 1 : (size_t)-1;
	v->reopening = on;
}

void
view_not_reopened(struct store_view *v)
{
	struct call *c, *next;

	for (c = TAILQ_FIRST(&v->s->calls); c != NULL; c = next) {
		next = TAILQ_NEXT(c, next);
		if (c->view == v) {
			c->view = NULL;
			call_answer(c, STORE_TEMP, NULL);
		}
	}
	view_reopening(v, false);
}

void
view_reopen(struct store_view *v)
{
	struct call *c = call_new(v->s, NULL, NULL);

	view_not_reopened(v); /* what the last channel left half done */
	view_reopening(v, c != NULL);
	if (c == NULL)
		view_event(v, true, 0);
	else
		ask(v, c);
}

bool
store_view_next(struct store_view *v, struct store_change *out)
{
	for (;;) {
		if (v->queue_at < v->nqueue) {
			*out = v->queue[v->queue_at++];
			return true;
		}
		v->queue_at = v->nqueue = 0;
		if (v->gone) {
			if (v->told_gone)
				return false;
			v->told_gone = true;
			*out = (struct store_change){ STORE_CHANGE_GONE, 0, 0 };
			return true;
		}
		if (v->new_fd >= 0)
			take_new_log(v);
		else if (v->x.end >= v->octets)
			return false;
		else if (read_log(v->fd, &v->x, v->octets, 1, on_change, v) != 0)
			v->gone = true;
	}
}

size_t
store_view_count(const struct store_view *v)
{
	return v->x.n;
}

const struct store_msg *
store_view_msg(const struct store_view *v, uint32_t seq)
{
	return seq == 0 || seq > v->x.n ? NULL : &v->x.msgs[seq - 1];
}

uint32_t
store_view_seq(const struct store_view *v, uint32_t uid)
{
	bool found;
	uint32_t i = index_find(&v->x, uid, &found);

	return found ? i + 1 : 0;
}

struct store_status
store_view_status(const struct store_view *v)
{
	struct store_status st;

	index_status(&v->x, &st);
	return st;
}

const char *
store_view_keyword(const struct store_view *v, unsigned n)
{
	return n >= STORE_KEYWORDS_MAX || v->x.keywords[n][0] == '\0' ? NULL : v->x.keywords[n];
}

int
store_view_guid(const struct store_view *v, uint32_t uid, char guid[33])
{
	bool found;
	uint32_t i = index_find(&v->x, uid, &found);

	if (!found)
		return PT_ENOENT;
	index_guid(&v->x.msgs[i], guid);
	return 0;
}

void
view_free(struct store_view *v)
{
	view_reopening(v, false);
	if (v->s != NULL)
		TAILQ_REMOVE(&v->s->views, v, next);
	if (v->fd >= 0)
		close(v->fd);
	if (v->new_fd >= 0)
		close(v->new_fd);
	index_fini(&v->x);
	free(v->queue);
	free(v->user);
	free(v->box);
	free(v);
}

void
store_view_close(struct store_view **vp)
{
	struct store_view *v = *vp;
	struct call *c, *next;

	if (v == NULL)
		return;
	*vp = NULL;
	if (v->s != NULL) {
		for (c = TAILQ_FIRST(&v->s->calls); c != NULL; c = next) {
			next = TAILQ_NEXT(c, next);
			if (c->view == v)
				c->view = NULL; /* its answer is for nobody */
		}
		view_unlearn(v);
		view_reopening(v, false);
		calls_release(v->s);
	}
	view_free(v);
}
