/* store/client_blob.c - a body on its way: in memory, or in a file of the store's. */
#include "store/client_impl.h"

#include "store/maildir.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define WAIT_MAX (64u * 1024)    /* octets in memory while the file is not there yet */
#define GATHER_MAX (256u * 1024) /* one write into a file */
#define TELL_OCTETS (2u << 20)   /* so many more are told of at a time */

static void
ask_file(struct store_blob *b)
{
	struct msg_store_file m;
	struct call *c;
	struct frame f;

	if (b->s == NULL || (c = call_new(b->s, NULL, NULL)) == NULL) {
		b->lost = true;
		return;
	}
	if (++b->s->next_file == 0)
		b->s->next_file = 1;
	b->file = m.file = b->s->next_file;
	b->attached = b->s->attached;
	PT_ASSERT(msg_store_file_encode(&m, c->id, &f) == 0);
	if (call_add(c, &f, NULL) != 0) {
		call_free(&c);
		b->lost = true;
		return;
	}
	c->file = b;
	b->refs++;
	call_start(c);
}

struct store_blob *
store_blob_new(struct store *s, uint64_t size_hint)
{
	struct store_blob *b = calloc(1, sizeof *b);

	if (b == NULL)
		return NULL;
	b->s = s;
	b->refs = 1;
	STAILQ_INIT(&b->waiting);
	b->file_fd = -1;
	buf_init(&b->mem, WAIT_MAX);
	TAILQ_INSERT_TAIL(&s->blobs, b, next);
	if (size_hint > STORE_BODY_MAX)
		ask_file(b);
	return b;
}

/* --- pieces become one write ------------------------------------------------------------------------------- */

static void
lose(struct store_blob *b, int rc)
{
	b->lost = true;
	if (rc == PT_EFULL)
		b->refused = STORE_FULL;
}

/* What the store leaves alone is left alone by those who write for it, too: what others are told is accepted must find its
 * place. */
static int
file_write(struct store_blob *b, const uint8_t *p, size_t n)
{
	struct statvfs v;

	/* 0 blocks: a file system in memory without a limit */
	if (fstatvfs(b->file_fd, &v) == 0 && v.f_blocks > 0 && (uint64_t)v.f_bavail * v.f_frsize < n + b->margin)
		return PT_EFULL;
	return maildir_write(b->file_fd, p, n);
}

/* The store hears how far it is, and has the disk begin with it. */
static void
tell_written(struct store_blob *b)
{
	struct msg_store_written m = { .file = b->file, .octets = b->written };
	struct frame f;

	b->told = b->written;
	if (b->attached != b->s->attached)
		return; /* it was the last store process's */
	PT_ASSERT(msg_store_written_encode(&m, 0, &f) == 0);
	store_tell(b->s, &f);
}

/* What was gathered goes into its file. An error is its body's, whoever asked. */
static void
gather_write(struct store *s)
{
	struct store_blob *b = s->gathering;
	int rc;

	if (b == NULL)
		return;
	s->gathering = NULL;
	if ((rc = file_write(b, s->gathered, s->ngathered)) != 0)
		lose(b, rc);
	else if ((b->written += s->ngathered) - b->told >= TELL_OCTETS)
		tell_written(b);
	s->ngathered = 0;
}

static void
gather_drop(const struct store_blob *b)
{
	if (b->s == NULL || b->s->gathering != b)
		return;
	b->s->gathering = NULL;
	b->s->ngathered = 0;
}

/* The octets of one body after the other: those of another go out first. */
static int
gather(struct store_blob *b, const uint8_t *p, size_t n)
{
	struct store *s = b->s;
	size_t k;

	if (s == NULL || (s->gathered == NULL && (s->gathered = malloc(GATHER_MAX)) == NULL))
		return file_write(b, p, n);
	if (s->gathering != b)
		gather_write(s);
	for (; n > 0; p += k, n -= k) {
		s->gathering = b;
		k = n < GATHER_MAX - s->ngathered ? n : GATHER_MAX - s->ngathered;
		memcpy(s->gathered + s->ngathered, p, k);
		if ((s->ngathered += k) == GATHER_MAX)
			gather_write(s);
		if (b->lost)
			return b->refused == STORE_FULL ? PT_EFULL : PT_EIO;
	}
	return 0;
}

int
store_blob_write(struct store_blob *b, const void *p, size_t n)
{
	int rc;

	if (b->sealed)
		return PT_EINVAL;
	if (b->lost)
		return b->refused == STORE_FULL ? PT_EFULL : PT_EUNAVAIL;
	if (n > STORE_MESSAGE_MAX - b->size)
		return PT_ETOOBIG;
	if (b->file_fd >= 0) {
		rc = gather(b, p, n);
	} else {
		if (b->size + n > STORE_BODY_MAX && b->file == 0)
			ask_file(b);
		if (b->size + n > WAIT_MAX)
			return PT_EAGAIN;
		rc = buf_append(&b->mem, p, n);
	}
	if (rc == 0)
		b->size += n;
	else
		lose(b, rc);
	return rc;
}

void
store_blob_ready(struct store_blob *b, void (*ready)(void *arg), void *arg)
{
	b->ready = ready;
	b->ready_arg = arg;
	if (b->file_fd >= 0 || b->lost) {
		b->ready = NULL;
		ready(arg);
	}
}

uint64_t
store_blob_size(const struct store_blob *b)
{
	return b->size;
}

static int
move_to_file(struct store_blob *b)
{
	struct span s = buf_span(&b->mem);
	int rc = gather(b, s.p, s.n);

	buf_fini(&b->mem);
	return rc;
}

static void
drop_file(struct store_blob *b)
{
	struct msg_store_drop m = { .file = b->file };
	struct frame f;

	if (b->file == 0 || !b->has_file || b->s == NULL || b->attached != b->s->attached)
		return;
	PT_ASSERT(msg_store_drop_encode(&m, 0, &f) == 0);
	store_tell(b->s, &f);
}

void
blob_unref(struct store_blob *b)
{
	if (--b->refs > 0)
		return;
	drop_file(b);
	gather_drop(b);
	if (b->s != NULL)
		TAILQ_REMOVE(&b->s->blobs, b, next);
	buf_fini(&b->mem);
	if (b->file_fd >= 0)
		close(b->file_fd);
	free(b);
}

void
blob_file(struct store_blob *b, enum store_rc rc, int fd, uint64_t margin)
{
	void (*ready)(void *) = b->ready;
	int moved;

	b->has_file = rc == STORE_OK;
	b->refused = rc;
	b->margin = margin;
	if (b->sealed && rc == STORE_OK) { /* it was small after all */
		close(fd);
	} else if (!b->sealed) {
		b->file_fd = fd;
		if (rc != STORE_OK)
			b->lost = true;
		else if ((moved = move_to_file(b)) != 0)
			lose(b, moved);
		else
			b->in_file = true;
	}
	b->ready = NULL;
	if (ready != NULL && b->refs > 1)
		ready(b->ready_arg);
	txn_wake(b);
	blob_unref(b);
}

/* Its file was the last store process's. */
void
blob_detached(struct store_blob *b)
{
	void (*ready)(void *) = b->ready;

	if (!b->has_file || !b->in_file) {
		b->has_file = false;
		b->attached = b->s->attached; /* it will be asked for again */
		return;
	}
	gather_drop(b);
	b->has_file = false;
	b->lost = true;
	b->ready = NULL;
	if (ready != NULL)
		ready(b->ready_arg);
	txn_wake(b);
}

int
blob_seal(struct store_blob *b)
{
	if (b->lost)
		return PT_EUNAVAIL;
	if (b->in_file) {
		if (b->s != NULL && b->s->gathering == b)
			gather_write(b->s);
		if (b->lost)
			return b->refused == STORE_FULL ? PT_EFULL : PT_EUNAVAIL;
		if (b->file_fd >= 0)
			close(b->file_fd);
		b->file_fd = -1;
		b->sealed = true;
		return 0;
	}
	if (b->size > STORE_BODY_MAX)
		return PT_EAGAIN;
	b->sealed = true;
	return 0;
}

void
store_blob_free(struct store_blob **bp)
{
	if (*bp == NULL)
		return;
	(*bp)->ready = NULL;
	blob_unref(*bp);
	*bp = NULL;
}
