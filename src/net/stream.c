/* net/stream.c - see stream.h. */
#include "net/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void
stream_init(struct stream *s, int fd, struct stream_scratch *scratch)
{
	*s = (struct stream){ .fd = fd, .scratch = scratch };
	buf_init(&s->rest, STREAM_READ_SIZE);
	buf_init(&s->out, STREAM_OUT_MAX);
}

void
stream_fini(struct stream *s)
{
	PT_ASSERT(s->scratch->owner != s);
	buf_wipe(&s->rest);
	buf_wipe(&s->out);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void
stream_enter(struct stream *s, bool readable)
{
	struct stream_scratch *x = s->scratch;

	PT_ASSERT(x->owner == NULL);
	x->owner = s;
	x->in_off = x->in_len = x->out_len = 0;
	s->dry = !readable;
	s->blocked = false;
}

/* One write of what is kept and what was gathered, in that order. */
static void
flush(struct stream *s)
{
	struct stream_scratch *x = s->scratch;
	struct span kept = buf_span(&s->out);
	struct iovec iov[2] = { { (void *)(uintptr_t)kept.p, kept.n }, { x->out, x->out_len } };
	struct msghdr m = { .msg_iov = kept.n > 0 ? iov : iov + 1, .msg_iovlen = kept.n > 0 ? 2 : 1 };
	size_t done, n;
	ssize_t r;

	while (!s->broken && !s->blocked && kept.n + x->out_len > 0) {
		if ((r = sendmsg(s->fd, &m, MSG_NOSIGNAL)) < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN)
				s->blocked = true;
			else
				s->broken = true;
			break;
		}
		done = (size_t)r;
		s->octets_out += done;
		s->blocked = done < kept.n + x->out_len;
		n = done < kept.n ? done : kept.n;
		buf_consume(&s->out, n);
		done -= n;
		if (done > 0) {
			memmove(x->out, x->out + done, x->out_len - done);
			x->out_len -= done;
		}
		break;
	}
	if (s->broken) { /* nobody will read it */
		buf_fini(&s->out);
		x->out_len = 0;
	}
}

void
stream_flush(struct stream *s)
{
	PT_ASSERT(s->scratch->owner == s);
	flush(s);
}

void
stream_acknowledge(struct stream *s)
{
	s->acknowledge = true;
}

/* Not on sockets that know no such thing: nothing waits for it there. */
static void
acknowledge(struct stream *s)
{
	const int on = 1;

	if (!s->broken && !s->eof)
		(void)setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

int
stream_leave(struct stream *s)
{
	struct stream_scratch *x = s->scratch;
	uint64_t written = s->octets_out;
	int rc = 0;

	PT_ASSERT(x->owner == s);
	flush(s);
	if (s->acknowledge && s->octets_out == written)
		acknowledge(s);
	s->acknowledge = false;
	if (x->out_len > 0 && (rc = buf_append(&s->out, x->out, x->out_len)) != 0)
		s->broken = true;
	/* what the scratch still holds came in when rest was empty, so order is kept */
	if (x->in_len > x->in_off) {
		PT_ASSERT(buf_size(&s->rest) == 0);
		if (buf_append(&s->rest, x->in + x->in_off, x->in_len - x->in_off) != 0) {
			s->broken = true;
			rc = PT_ENOMEM;
		}
	}
	x->owner = NULL;
	return rc;
}

struct span
stream_pending(const struct stream *s)
{
	const struct stream_scratch *x = s->scratch;

	if (buf_size(&s->rest) > 0)
		return buf_span(&s->rest);
	if (x->owner != s)
		return (struct span){ NULL, 0 };
	return (struct span){ x->in + x->in_off, x->in_len - x->in_off };
}

void
stream_take(struct stream *s, size_t n)
{
	struct stream_scratch *x = s->scratch;

	if (n == 0)
		return;
	if (buf_size(&s->rest) > 0) {
		buf_consume(&s->rest, n);
		return;
	}
	PT_ASSERT(x->owner == s && n <= x->in_len - x->in_off);
	x->in_off += n;
}

int
stream_fill(struct stream *s)
{
	struct stream_scratch *x = s->scratch;
	ssize_t r;

	PT_ASSERT(x->owner == s);
	if (stream_pending(s).n > 0)
		return 0;
	if (s->broken)
		return PT_EIO;
	if (s->eof)
		return PT_EEOF;
	if (s->dry)
		return PT_EAGAIN;
	do
		r = recv(s->fd, x->in, sizeof x->in, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		if (errno == EAGAIN) {
			s->dry = true;
			return PT_EAGAIN;
		}
		s->broken = true;
		return PT_EIO;
	}
	if (r == 0) {
		s->eof = true;
		return PT_EEOF;
	}
	/* a short read means that the kernel's queue is empty: ask again at the next event */
	s->dry = (size_t)r < sizeof x->in;
	s->octets_in += (uint64_t)r;
	x->in_off = 0;
	x->in_len = (size_t)r;
	return 0;
}

int
stream_put(struct stream *s, const void *p, size_t n)
{
	struct stream_scratch *x = s->scratch;

	PT_ASSERT(x->owner == s);
	if (s->broken)
		return PT_EIO;
	if (n == 0)
		return 0;
	if (x->out_len + n > sizeof x->out)
		flush(s);
	if (s->broken)
		return PT_EIO;
	if (x->out_len + n <= sizeof x->out && stream_unsent(s) + n <= STREAM_OUT_MAX) {
		memcpy(x->out + x->out_len, p, n);
		x->out_len += n;
		return 0;
	}
	if (stream_unsent(s) + n > STREAM_OUT_MAX)
		return PT_EAGAIN;
	/* more than the scratch holds: behind what is kept */
	if (buf_append(&s->out, x->out, x->out_len) != 0)
		return PT_ENOMEM;
	x->out_len = 0;
	return buf_append(&s->out, p, n);
}

size_t
stream_unsent(const struct stream *s)
{
	return buf_size(&s->out) + (s->scratch->owner == s ? s->scratch->out_len : 0);
}

void
stream_drop_input(struct stream *s)
{
	struct stream_scratch *x = s->scratch;

	buf_wipe(&s->rest);
	if (x->owner == s)
		x->in_off = x->in_len = 0;
}

int
stream_discard(struct stream *s, size_t max, size_t *n_out)
{
	int rc;

	*n_out = 0;
	stream_drop_input(s);
	while (*n_out < max) {
		if ((rc = stream_fill(s)) != 0)
			return rc == PT_EAGAIN ? 0 : rc;
		*n_out += stream_pending(s).n;
		stream_drop_input(s);
	}
	return 0;
}

void
stream_shut_write(struct stream *s)
{
	if (s->fd >= 0 && !s->broken)
		(void)shutdown(s->fd, SHUT_WR);
}
