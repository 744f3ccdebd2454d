/* ev/ev.c - see ev.h. Nothing but translation, with one exception: libevent knows no EPOLLEXCLUSIVE. */
#include "ev/ev.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct ev_loop {
	struct event_base *base;
	int epoll; /* libevent's, as far as we know: see want_alone() */
};

/* The number that the next descriptor will have. libevent does not tell that of its epoll, but it is the first that
 * a loop opens. */
static int
next_fd(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd;
}

struct ev_loop *
ev_loop_new(void)
{
	struct event_config *cfg = event_config_new();
	struct ev_loop *loop = malloc(sizeof *loop);

	if (cfg == NULL || loop == NULL)
		goto fail;
	/* single-threaded. No list of changes for epoll: it tells the kernel too late that a descriptor is
	 * not watched any more, when ours is closed and another process's copy (of a listener) lives */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	loop->epoll = next_fd();
	if ((loop->base = event_base_new_with_config(cfg)) == NULL)
		goto fail;
	event_config_free(cfg);
	return loop;
fail:
	if (cfg != NULL)
		event_config_free(cfg);
	free(loop);
	return NULL;
}

void
ev_loop_free(struct ev_loop **loop)
{
	if (*loop == NULL)
		return;
	event_base_free((*loop)->base);
	free(*loop);
	*loop = NULL;
}

void
ev_loop_run(struct ev_loop *loop)
{
	event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void
ev_loop_stop(struct ev_loop *loop)
{
	event_base_loopbreak(loop->base);
}

void
ev_loop_once(struct ev_loop *loop)
{
	event_base_loop(loop->base, EVLOOP_ONCE);
}

uint64_t
ev_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t
ev_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void
io_ready(evutil_socket_t fd, short what, void *arg)
{
	struct ev_io *io = arg;

	(void)fd;
	io->f(io->arg, ((what & EV_READ) ? EV_IO_READ : 0) | ((what & EV_WRITE) ? EV_IO_WRITE : 0));
}

void
ev_io_init(struct ev_io *io, struct ev_loop *loop, int fd, ev_io_f *f, void *arg)
{
	io->loop = loop;
	io->f = f;
	io->arg = arg;
	PT_ASSERT(event_assign(&io->ev, loop->base, fd, EV_PERSIST, io_ready, io) == 0);
}

unsigned
ev_io_wants(const struct ev_io *io)
{
	short events;

	if (!event_initialized(&io->ev) || !event_pending(&io->ev, EV_READ | EV_WRITE, NULL))
		return 0;
	events = event_get_events(&io->ev);
	return ((events & EV_READ) ? EV_IO_READ : 0) | ((events & EV_WRITE) ? EV_IO_WRITE : 0);
}

void
ev_io_want(struct ev_io *io, unsigned what)
{
	short events = EV_PERSIST;
	evutil_socket_t fd;

	if (ev_io_wants(io) == what)
		return;
	event_del(&io->ev);
	if (what == 0)
		return;
	if (what & EV_IO_READ)
		events |= EV_READ;
	if (what & EV_IO_WRITE)
		events |= EV_WRITE;
	fd = event_get_fd(&io->ev);
	PT_ASSERT(event_assign(&io->ev, io->loop->base, fd, events, io_ready, io) == 0);
	PT_ASSERT(event_add(&io->ev, NULL) == 0);
}

/* What libevent has just added is taken out and added once more with the flag. That it can be taken out shows that
 * this is the right epoll; libevent finds its event by the number of the descriptor, as before. Where the
 * kernel does not take the flag everybody is woken, as without it. */
static void
want_alone(const struct ev_loop *loop, int fd)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLEXCLUSIVE };

	e.data.fd = fd;
	if (epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL) != 0 ||
	    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &e) == 0)
		return;
	e.events = EPOLLIN;
	PT_ASSERT(epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &e) == 0);
}

void
ev_io_want_alone(struct ev_io *io)
{
	if (ev_io_wants(io) == EV_IO_READ)
		return;
	ev_io_want(io, EV_IO_READ);
	want_alone(io->loop, event_get_fd(&io->ev));
}

void
ev_io_fini(struct ev_io *io)
{
	if (event_initialized(&io->ev))
		event_del(&io->ev);
	memset(&io->ev, 0, sizeof io->ev);
}

static void
timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct ev_timer *t = arg;

	(void)fd;
	(void)what;
	t->f(t->arg);
}

void
ev_timer_init(struct ev_timer *t, struct ev_loop *loop, ev_timer_f *f, void *arg)
{
	t->f = f;
	t->arg = arg;
	PT_ASSERT(event_assign(&t->ev, loop->base, -1, 0, timer_fired, t) == 0);
}

void
ev_timer_set(struct ev_timer *t, uint64_t after_ms)
{
	struct timeval tv = { (time_t)(after_ms / 1000), (suseconds_t)(after_ms % 1000) * 1000 };

	PT_ASSERT(event_add(&t->ev, &tv) == 0);
}

void
ev_timer_clear(struct ev_timer *t)
{
	event_del(&t->ev);
}

bool
ev_timer_pending(const struct ev_timer *t)
{
	return event_pending(&t->ev, EV_TIMEOUT, NULL) != 0;
}

void
ev_timer_fini(struct ev_timer *t)
{
	if (event_initialized(&t->ev))
		event_del(&t->ev);
	memset(&t->ev, 0, sizeof t->ev);
}

static void
signal_came(evutil_socket_t signo, short what, void *arg)
{
	struct ev_signal *s = arg;

	(void)what;
	s->f(s->arg, (int)signo);
}

void
ev_signal_init(struct ev_signal *s, struct ev_loop *loop, int signo, ev_signal_f *f, void *arg)
{
	s->f = f;
	s->arg = arg;
	PT_ASSERT(event_assign(&s->ev, loop->base, signo, EV_SIGNAL | EV_PERSIST, signal_came, s) == 0);
	PT_ASSERT(event_add(&s->ev, NULL) == 0);
}

void
ev_signal_fini(struct ev_signal *s)
{
	if (event_initialized(&s->ev))
		event_del(&s->ev);
	memset(&s->ev, 0, sizeof s->ev);
}
