/* store/memory.c - an engine in memory, for tests: it answers at once, keeps nothing, and fails when it is told to. */
#include "store/backend.h"

#include "store/maildir.h"
#include "store/record.h"
#include "store/uidset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct blob {
	struct blob *next;
	uint32_t uid;
	size_t n;
	uint8_t octets[];
};

struct log {
	struct log *next;
	char user[STORE_USER_MAX + 1];
	char key[STORE_BOX_MAX + 1]; /* "": the user's subscriptions */
	struct buf text;
	int fd;                      /* the same, for readers */
	struct blob *blobs;
	bool subscribed, exists;
};

struct file {
	struct file *next;
	char name[40];
	int fd;
};

struct queued {
	struct queued *next;
	uint64_t qid;
	size_t n;
	uint8_t *octets;
};

struct memory {
	struct store_backend be; /* first */
	struct log *logs;
	struct queued *messages;
	struct file *files;
	struct store_commit *queued, **queued_end;
	uint64_t next_id, next_file;
	struct { enum store_rc rc; unsigned n; } inject[MEMORY_OPS];
};

void
memory_inject(struct store_backend *be, enum memory_op op, enum store_rc rc, unsigned n)
{
	struct memory *m = (struct memory *)be;

	m->inject[op].rc = rc;
	m->inject[op].n = n;
}

static enum store_rc
injected(struct memory *m, enum memory_op op)
{
	if (m->inject[op].n == 0)
		return STORE_OK;
	m->inject[op].n--;
	return m->inject[op].rc;
}

/* --- logs --------------------------------------------------------------------------------------------------- */

static struct log *
find(struct memory *m, const char *user, const char *key)
{
	struct log *l;

	for (l = m->logs; l != NULL; l = l->next)
		if (strcmp(l->user, user) == 0 && strcmp(l->key, key) == 0)
			return l;
	return NULL;
}

static struct log *
get(struct memory *m, const char *user, const char *key)
{
	struct log *l = find(m, user, key);

	if (l != NULL)
		return l;
	l = calloc(1, sizeof *l);
	PT_ASSERT(l != NULL);
	snprintf(l->user, sizeof l->user, "%s", user);
	snprintf(l->key, sizeof l->key, "%s", key);
	buf_init(&l->text, SIZE_MAX / 2);
	l->fd = memfd_create("log", MFD_CLOEXEC);
	l->next = m->logs;
	m->logs = l;
	return l;
}

static struct blob **
blob_find(struct log *l, uint32_t uid)
{
	struct blob **at = &l->blobs;

	while (*at != NULL && (*at)->uid != uid)
		at = &(*at)->next;
	return at;
}

static void
blob_put(struct log *l, uint32_t uid, const void *p, size_t n)
{
	struct blob *b = calloc(1, sizeof *b + n);

	PT_ASSERT(b != NULL);
	b->uid = uid;
	b->n = n;
	if (n > 0)
		memcpy(b->octets, p, n);
	b->next = l->blobs;
	l->blobs = b;
}

static int
as_file(struct span s)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	PT_ASSERT(fd >= 0 && write(fd, s.p, s.n) == (ssize_t)s.n);
	return fd;
}

/* Who reads the old one goes on reading the old one. */
static void
log_renew(struct log *l, struct span text)
{
	close(l->fd);
	l->fd = as_file(text);
}

static void
log_empty(struct log *l)
{
	struct blob *b;

	while ((b = l->blobs) != NULL) {
		l->blobs = b->next;
		free(b);
	}
	buf_fini(&l->text);
	log_renew(l, (struct span){ NULL, 0 });
	l->exists = false;
}

/* --- transactions ------------------------------------------------------------------------------------------- */

struct doing {
	struct memory *m;
	const struct store_commit *c;
	struct log *log;
	struct record_line source; /* of the next "+" */
};

/* What the line in front said: owned, and how many octets. */
static uint8_t *
source_octets(struct doing *d, size_t *n_out)
{
	char user[STORE_USER_MAX + 1], key[STORE_BOX_MAX + 1], name[64];
	uint64_t off = 0, n = 0, uid;
	uint8_t *whole = malloc(STORE_TXN_OCTETS_MAX + 1);
	struct blob *b;
	struct file *f;
	size_t i, at = 0;

	PT_ASSERT(whole != NULL);
	switch (d->source.kind) {
	case 'I':
		PT_ASSERT(record_number(d->source.word[0], &off) && record_number(d->source.word[1], &n));
		for (i = 0; i < d->c->nbodies; at += d->c->bodies[i++].n)
			memcpy(whole + at, d->c->bodies[i].p, d->c->bodies[i].n);
		PT_ASSERT(off + n <= at);
		memmove(whole, whole + off, n);
		break;
	case 'F':
		PT_ASSERT(record_word(d->source.word[0], name, sizeof name) &&
			record_number(d->source.word[1], &n));
		for (f = d->m->files; f != NULL && strcmp(f->name, name) != 0; f = f->next)
			continue;
		PT_ASSERT(f != NULL && (whole = realloc(whole, n + 1)) != NULL);
		PT_ASSERT(pread(f->fd, whole, n, 0) == (ssize_t)n);
		break;
	case 'S':
		PT_ASSERT(record_word(d->source.word[0], user, sizeof user) &&
			record_word(d->source.word[1], key, sizeof key) &&
			record_number(d->source.word[2], &uid));
		b = *blob_find(get(d->m, user, key), (uint32_t)uid);
		PT_ASSERT(b != NULL);
		n = b->n;
		memcpy(whole, b->octets, n);
		break;
	}
	d->source.kind = 0;
	*n_out = n;
	return whole;
}

static void
add(struct doing *d, const struct index_line *x)
{
	uint8_t *whole;
	size_t n;

	if (d->source.kind == 0 || d->source.kind == 'X')
		return;
	whole = source_octets(d, &n);
	blob_put(d->log, x->uid, whole, n);
	free(whole);
}

static void
add_queued(struct doing *d, const struct record_line *line)
{
	struct queued *q = calloc(1, sizeof *q);

	PT_ASSERT(q != NULL && record_number(line->word[0], &q->qid));
	q->octets = source_octets(d, &q->n);
	q->next = d->m->messages;
	d->m->messages = q;
}

static void
gone(struct doing *d, const struct index_line *x)
{
	struct span set = x->text;
	struct uidset_range r;
	struct blob **at, *b;
	uint64_t uid;

	while (uidset_next(&set, &r))
		for (uid = r.first; uid <= r.last; uid++)
			if ((b = *(at = blob_find(d->log, (uint32_t)uid))) != NULL) {
				*at = b->next;
				free(b);
			}
}

static void
rename_log(struct doing *d, const char *user, const char *key, const struct record_line *line)
{
	char to[STORE_BOX_MAX + 1];
	struct log *a = get(d->m, user, key), *b, swap;

	PT_ASSERT(record_word(line->word[2], to, sizeof to));
	b = get(d->m, user, to);
	log_empty(b);
	swap = *a;
	a->text = b->text;
	a->fd = b->fd;
	b->fd = swap.fd;
	a->blobs = NULL;
	a->exists = false;
	b->text = swap.text;
	b->blobs = swap.blobs;
	b->exists = true;
}

static void
one_line(struct doing *d, const struct record_line *line)
{
	char user[STORE_USER_MAX + 1] = "", key[STORE_BOX_MAX + 1] = "";
	struct index_line x;
	bool bad;

	if (line->index) {
		PT_ASSERT(index_line_parse(line->raw, &x, &bad) > 0);
		if (x.kind == 'P')
			log_empty(d->log);
		if (x.kind == '+')
			add(d, &x);
		if (x.kind == '-')
			gone(d, &x);
		d->log->exists = true;
		PT_ASSERT(buf_append(&d->log->text, line->raw.p, line->raw.n) == 0 &&
			write(d->log->fd, line->raw.p, line->raw.n) == (ssize_t)line->raw.n);
		return;
	}
	if (line->kind == 'I' || line->kind == 'F' || line->kind == 'S' || line->kind == 'X') {
		d->source = *line;
		return;
	}
	if (line->kind == 'Q')
		add_queued(d, line);
	if (strchr("BDRs", line->kind) == NULL)
		return;
	PT_ASSERT(record_word(line->word[0], user, sizeof user) && record_word(line->word[1], key, sizeof key));
	if (line->kind == 'B')
		d->log = get(d->m, user, key);
	else if (line->kind == 'D')
		log_empty(get(d->m, user, key));
	else if (line->kind == 'R')
		rename_log(d, user, key, line);
	else
		get(d->m, user, key)->subscribed = line->word[2].p[0] == '1';
}

static uint64_t
memory_next_id(const struct store_backend *be)
{
	return ((const struct memory *)be)->next_id;
}

static void
memory_commit(struct store_backend *be, struct store_commit *c)
{
	struct memory *m = (struct memory *)be;

	c->id = m->next_id++;
	c->next = NULL;
	*m->queued_end = c;
	m->queued_end = &c->next;
}

static void
memory_flush(struct store_backend *be)
{
	struct memory *m = (struct memory *)be;
	struct store_commit *c;
	enum store_rc rc;

	while ((c = m->queued) != NULL) {
		struct doing d = { .m = m, .c = c };
		struct span text = buf_span(&c->text);
		struct record_line line;
		bool bad;

		m->queued = c->next;
		if (m->queued == NULL)
			m->queued_end = &m->queued;
		if ((rc = injected(m, MEMORY_COMMIT)) != STORE_OK) {
			c->done(c, rc);
			continue;
		}
		while (record_next(&text, &line, &bad))
			one_line(&d, &line);
		PT_ASSERT(!bad);
		if (c->queue && be->queue != NULL)
			PT_ASSERT(queue_take(be->queue, buf_span(&c->text), 0, 0) == 0);
		c->done(c, STORE_OK);
		c->applied(c);
	}
}

/* --- reading ------------------------------------------------------------------------------------------------- */

static void
memory_load(struct store_backend *be, const char *user, const char *key, store_load_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	struct log *l = find(m, user, key);
	enum store_rc rc = injected(m, MEMORY_LOAD);
	struct index x;
	bool bad;
	int e = 0;

	index_init(&x);
	if (rc == STORE_OK && (l == NULL || !l->exists))
		rc = STORE_NOTFOUND;
	if (rc == STORE_OK)
		(void)index_feed(&x, buf_span(&l->text), UINT32_MAX, NULL, NULL, &bad, &e);
	cb(arg, rc, &x);
	index_fini(&x);
}

static void
memory_log_open(struct store_backend *be, const char *user, const char *key, store_fd_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	struct log *l = find(m, user, key);
	enum store_rc rc = injected(m, MEMORY_LOG_OPEN);

	if (rc == STORE_OK && (l == NULL || !l->exists))
		rc = STORE_NOTFOUND;
	cb(arg, rc, rc == STORE_OK ? dup(l->fd) : -1, rc == STORE_OK ? buf_size(&l->text) : 0);
}

static void
memory_log_compact(struct store_backend *be, const char *user, const char *key, store_load_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	struct log *l = get(m, user, key);
	struct index x;
	struct buf out;
	bool bad;
	int rc = 0;

	index_init(&x);
	buf_init(&out, l->text.max);
	(void)index_feed(&x, buf_span(&l->text), UINT32_MAX, NULL, NULL, &bad, &rc);
	PT_ASSERT(rc == 0 && index_compact(&x, buf_span(&l->text), &out) == 0);
	index_fini(&x);
	buf_fini(&l->text);
	l->text = out;
	log_renew(l, buf_span(&out));
	memory_load(be, user, key, cb, arg);
}

static void
memory_keys_replace(struct store_backend *be, const char *space, struct buf *text, store_done_cb *cb, void *arg)
{
	(void)be;
	(void)space;
	(void)text;
	cb(arg, STORE_OK);
}

static void
memory_blob_open(struct store_backend *be, const char *user, const char *key, const struct store_hint *h,
		 store_fd_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	struct log *l = find(m, user, key);
	struct blob *b = l == NULL ? NULL : *blob_find(l, h->uid);
	enum store_rc rc = injected(m, MEMORY_BLOB_OPEN);

	if (rc == STORE_OK && b == NULL)
		rc = STORE_NOTFOUND;
	cb(arg, rc, rc == STORE_OK ? as_file((struct span){ b->octets, b->n }) : -1, b == NULL ? 0 : b->n);
}

static void
memory_queue_open(struct store_backend *be, uint64_t qid, store_fd_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	enum store_rc rc = injected(m, MEMORY_BLOB_OPEN);
	struct queued *q;

	for (q = m->messages; q != NULL && q->qid != qid; q = q->next)
		continue;
	if (rc == STORE_OK && q == NULL)
		rc = STORE_NOTFOUND;
	cb(arg, rc, rc == STORE_OK ? as_file((struct span){ q->octets, q->n }) : -1, q == NULL ? 0 : q->n);
}

static void
memory_file_new(struct store_backend *be, store_file_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	enum store_rc rc = injected(m, MEMORY_FILE);
	struct file *f = calloc(1, sizeof *f);

	PT_ASSERT(f != NULL);
	snprintf(f->name, sizeof f->name, "file-%llu", (unsigned long long)m->next_file++);
	f->fd = memfd_create("file", MFD_CLOEXEC);
	f->next = m->files;
	m->files = f;
	cb(arg, rc, rc == STORE_OK ? dup(f->fd) : -1, f->name);
}

static void
memory_file_sync(struct store_backend *be, const char *name, store_fd_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	struct file *f;
	struct stat st;

	for (f = m->files; f != NULL && strcmp(f->name, name) != 0; f = f->next)
		continue;
	if (f == NULL || fstat(f->fd, &st) != 0)
		cb(arg, STORE_NOTFOUND, -1, 0);
	else
		cb(arg, STORE_OK, -1, (uint64_t)st.st_size);
}

static void
memory_file_drop(struct store_backend *be, const char *name)
{
	struct memory *m = (struct memory *)be;
	struct file **at = &m->files, *f;

	while (*at != NULL && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	if ((f = *at) == NULL)
		return;
	*at = f->next;
	close(f->fd);
	free(f);
}

static void
memory_list(struct store_backend *be, const char *user, store_list_cb *cb, void *arg)
{
	struct memory *m = (struct memory *)be;
	enum store_rc rc = injected(m, MEMORY_LIST);
	struct store_listed *list = NULL;
	struct log *l;
	size_t n = 0;

	for (l = m->logs; l != NULL && rc == STORE_OK; l = l->next) {
		if (strcmp(l->user, user) != 0 || (!l->exists && !l->subscribed))
			continue;
		list = reallocarray(list, n + 1, sizeof *list);
		PT_ASSERT(list != NULL);
		memcpy(list[n].key, l->key, sizeof l->key);
		list[n].exists = l->exists;
		list[n++].subscribed = l->subscribed;
	}
	cb(arg, rc != STORE_OK ? rc : n > 0 ? STORE_OK : STORE_NOTFOUND, list, n);
	free(list);
}

static enum store_rc
memory_room(struct store_backend *be, uint64_t octets)
{
	(void)octets;
	return injected((struct memory *)be, MEMORY_ROOM);
}

static uint64_t
memory_tick(struct store_backend *be, uint64_t now_ms)
{
	(void)be;
	return now_ms + 60000;
}

static int
memory_fd(const struct store_backend *be)
{
	(void)be;
	return -1;
}

static void
memory_dispatch(struct store_backend *be)
{
	(void)be;
}

static void
memory_close(struct store_backend *be)
{
	struct memory *m = (struct memory *)be;
	struct queued *q;
	struct log *l;

	while ((l = m->logs) != NULL) {
		m->logs = l->next;
		log_empty(l);
		close(l->fd);
		free(l);
	}
	while (m->files != NULL)
		memory_file_drop(be, m->files->name);
	while ((q = m->messages) != NULL) {
		m->messages = q->next;
		free(q->octets);
		free(q);
	}
	free(m);
}

static const struct store_backend_ops memory_ops = {
	.name = "memory",
	.caps = STORE_CAP_ATOMIC_MULTI,
	.close = memory_close,
	.fd = memory_fd,
	.dispatch = memory_dispatch,
	.next_id = memory_next_id,
	.commit = memory_commit,
	.flush = memory_flush,
	.load = memory_load,
	.log_open = memory_log_open,
	.log_compact = memory_log_compact,
	.keys_replace = memory_keys_replace,
	.blob_open = memory_blob_open,
	.queue_open = memory_queue_open,
	.file_new = memory_file_new,
	.file_sync = memory_file_sync,
	.file_drop = memory_file_drop,
	.list = memory_list,
	.room = memory_room,
	.tick = memory_tick,
};

struct store_backend *
memory_open(void)
{
	struct memory *m = calloc(1, sizeof *m);

	if (m == NULL)
		return NULL;
	m->be.ops = &memory_ops;
	m->queued_end = &m->queued;
	m->next_id = 1;
	return &m->be;
}
