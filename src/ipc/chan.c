/* ipc/chan.c - see chan.h. */
#include "ipc/chan.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX (FRAME_HEADER + FRAME_PAYLOAD_MAX)

struct waiting {
	STAILQ_ENTRY(waiting) next;
	int fd; /* a copy of ours; -1 */
	size_t len;
	uint8_t octets[];
};

struct chan {
	int fd;
	bool bundles, held;
	unsigned queued;
	STAILQ_HEAD(, waiting) queue;
	uint8_t *out, *in; /* PACKET_MAX octets each, once they are needed: frames that are held, and those that came in one packet */
	size_t out_len;
	struct span rest;  /* of in */
};

int
chan_pair(int fds[2])
{
	int size = CHAN_SNDBUF;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
		return PT_EIO;
	/* best effort: the kernel may give less, the queue takes the rest */
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	return 0;
}

struct chan *
chan_new(int fd)
{
	struct chan *c = calloc(1, sizeof *c);

	if (c == NULL) {
		close(fd);
		return NULL;
	}
	c->fd = fd;
	STAILQ_INIT(&c->queue);
	return c;
}

void
chan_bundle(struct chan *c)
{
	c->bundles = true;
}

static void
drop_first(struct chan *c)
{
	struct waiting *w = STAILQ_FIRST(&c->queue);

	STAILQ_REMOVE_HEAD(&c->queue, next);
	if (w->fd >= 0)
		close(w->fd);
	freezero(w, sizeof *w + w->len); /* it may have been a password */
	c->queued--;
}

void
chan_free(struct chan **cp)
{
	struct chan *c = *cp;

	if (c == NULL)
		return;
	while (!STAILQ_EMPTY(&c->queue))
		drop_first(c);
	close(c->fd);
	freezero(c->out, c->out == NULL ? 0 : PACKET_MAX);
	freezero(c->in, c->in == NULL ? 0 : PACKET_MAX);
	free(c);
	*cp = NULL;
}

int
chan_fd(const struct chan *c)
{
	return c->fd;
}

void
chan_move(struct chan *c, int fd)
{
	close(c->fd);
	c->fd = fd;
	c->rest.n = 0; /* the former one's */
}

bool
chan_wants_write(const struct chan *c)
{
	return c->queued > 0 || c->out_len > 0;
}

bool
chan_has_more(const struct chan *c)
{
	return c->rest.n > 0;
}

unsigned
chan_waiting(const struct chan *c)
{
	return c->queued;
}

static int
enqueue(struct chan *c, struct span octets, int fd)
{
	struct waiting *w;

	if (c->queued >= CHAN_QUEUE_MAX)
		return PT_EFULL;
	if ((w = malloc(sizeof *w + octets.n)) == NULL)
		return PT_ENOMEM;
	memcpy(w->octets, octets.p, octets.n);
	w->len = octets.n;
	w->fd = -1;
	if (fd >= 0 && (w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
		free(w);
		return PT_EIO;
	}
	STAILQ_INSERT_TAIL(&c->queue, w, next);
	c->queued++;
	return 0;
}

static int
send_octets(struct chan *c, struct span octets, int fd)
{
	int rc;

	if (c->queued == 0 && (rc = frame_send_octets(c->fd, octets, fd)) != PT_EAGAIN)
		return rc;
	return enqueue(c, octets, fd);
}

/* What is held goes, as one packet. */
static int
release(struct chan *c)
{
	size_t n = c->out_len;

	c->out_len = 0;
	return n == 0 ? 0 : send_octets(c, (struct span){ c->out, n }, -1);
}

void
chan_hold(struct chan *c)
{
	if (!c->bundles || c->held)
		return;
	if (c->out == NULL)
		c->out = malloc(PACKET_MAX);
	c->held = c->out != NULL;
}

int
chan_send(struct chan *c, struct frame *f, int fd)
{
	size_t n = FRAME_HEADER + f->len;
	int rc;

	frame_seal(f);
	if (c->held && c->out_len + n > PACKET_MAX && (rc = release(c)) != 0)
		return rc;
	if (c->held && fd < 0) {
		memcpy(c->out + c->out_len, f->octets, n);
		c->out_len += n;
		return 0;
	}
	if ((rc = release(c)) != 0)
		return rc;
	return send_octets(c, (struct span){ f->octets, n }, fd);
}

int
chan_flush(struct chan *c)
{
	struct waiting *w;
	int rc;

	c->held = false;
	if ((rc = release(c)) != 0)
		return rc;
	while ((w = STAILQ_FIRST(&c->queue)) != NULL) {
		if ((rc = frame_send_octets(c->fd, (struct span){ w->octets, w->len }, w->fd)) == PT_EAGAIN)
			return 0;
		if (rc != 0)
			return rc;
		drop_first(c);
	}
	return 0;
}

int
chan_recv(struct chan *c, struct frame *f)
{
	struct span rest;
	int rc;

	if (!c->bundles)
		return frame_recv(c->fd, f);
	if (c->rest.n > 0)
		return frame_next(&c->rest, f);
	if ((rc = frame_recv_first(c->fd, f, &rest)) != 0 || rest.n == 0)
		return rc;
	if (c->in == NULL && (c->in = malloc(PACKET_MAX)) == NULL) {
		frame_fini(f);
		return PT_ENOMEM;
	}
	memcpy(c->in, rest.p, rest.n);
	c->rest = (struct span){ c->in, rest.n };
	return 0;
}
