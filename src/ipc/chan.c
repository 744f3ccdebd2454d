/* ipc/chan.c - see chan.h. */
#include "ipc/chan.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

struct waiting {
	STAILQ_ENTRY(waiting) next;
	struct frame f; /* only header and payload are copied; fd is a copy of ours */
};

struct chan {
	int fd;
	unsigned queued;
	STAILQ_HEAD(, waiting) queue;
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
	struct chan *c = malloc(sizeof *c);

	if (c == NULL) {
		close(fd);
		return NULL;
	}
	c->fd = fd;
	c->queued = 0;
	STAILQ_INIT(&c->queue);
	return c;
}

static void
drop_first(struct chan *c)
{
	struct waiting *w = STAILQ_FIRST(&c->queue);

	STAILQ_REMOVE_HEAD(&c->queue, next);
	frame_fini(&w->f);
	freezero(w, offsetof(struct waiting, f.octets) + FRAME_HEADER + w->f.len); /* it may have been a password */
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
	free(c);
	*cp = NULL;
}

int
chan_fd(const struct chan *c)
{
	return c->fd;
}

bool
chan_wants_write(const struct chan *c)
{
	return c->queued > 0;
}

static int
enqueue(struct chan *c, const struct frame *f, int fd)
{
	struct waiting *w;

	if (c->queued >= CHAN_QUEUE_MAX)
		return PT_EFULL;
	if ((w = malloc(offsetof(struct waiting, f.octets) + FRAME_HEADER + f->len)) == NULL)
		return PT_ENOMEM;
	memcpy(&w->f, f, offsetof(struct frame, octets) + FRAME_HEADER + f->len);
	w->f.fd = -1;
	if (fd >= 0 && (w->f.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
		free(w);
		return PT_EIO;
	}
	STAILQ_INSERT_TAIL(&c->queue, w, next);
	c->queued++;
	return 0;
}

int
chan_send(struct chan *c, struct frame *f, int fd)
{
	int rc;

	if (c->queued == 0 && (rc = frame_send(c->fd, f, fd)) != PT_EAGAIN)
		return rc;
	return enqueue(c, f, fd);
}

int
chan_flush(struct chan *c)
{
	struct waiting *w;
	int rc;

	while ((w = STAILQ_FIRST(&c->queue)) != NULL) {
		if ((rc = frame_send(c->fd, &w->f, w->f.fd)) == PT_EAGAIN)
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
	return frame_recv(c->fd, f);
}
