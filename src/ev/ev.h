/* ev/ev.h - the event loop: descriptors, timers, signals. A thin face of libevent (libevent_core), so
 * that no other folder sees it.
 *
 * Watchers are embedded in their owner, cost one struct event each, and must be ended (ev_*_fini)
 * before their memory goes. One loop per process, made after fork and exec. Not thread safe. */
#ifndef EV_EV_H
#define EV_EV_H

#include "util/err.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct ev_loop;

/* NULL when the kernel refuses. */
struct ev_loop *ev_loop_new(void);
void ev_loop_free(struct ev_loop **loop);

/* Runs until ev_loop_stop(), which ends it after the callback under way. */
void ev_loop_run(struct ev_loop *loop);
void ev_loop_stop(struct ev_loop *loop);

/* One turn: waits for events at most until the next timer, handles them, returns. */
void ev_loop_once(struct ev_loop *loop);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t ev_now_ms(void);
uint64_t ev_now_us(void); /* the same clock in microseconds */

#define EV_IO_READ 1u
#define EV_IO_WRITE 2u

struct ev_io;
typedef void ev_io_f(void *arg, unsigned what); /* what: EV_IO_READ | EV_IO_WRITE */

struct ev_io {
	struct event ev;
	struct ev_loop *loop;
	ev_io_f *f;
	void *arg;
};

/* Ready for ev_io_want(); watches nothing yet. fd is borrowed. */
void ev_io_init(struct ev_io *io, struct ev_loop *loop, int fd, ev_io_f *f, void *arg);

/* Watch for these from now on, level-triggered, until changed; 0: nothing. Cheap when it does not
 * change. */
void ev_io_want(struct ev_io *io, unsigned what);
unsigned ev_io_wants(const struct ev_io *io);

/* Watch for EV_IO_READ on a descriptor that other processes watch, too (a listener): of those that sleep the kernel
 * wakes one, and not all so that one of them finds something (EPOLLEXCLUSIVE). Who is woken and does not
 * take what is there has kept the news from the others: before it ends it must look, and all must look
 * from time to time in case one could not. */
void ev_io_want_alone(struct ev_io *io);
void ev_io_fini(struct ev_io *io); /* also fine when zeroed */

typedef void ev_timer_f(void *arg);

struct ev_timer {
	struct event ev;
	ev_timer_f *f;
	void *arg;
};

/* Ready for ev_timer_set(). One that is pending must be ended first: libevent's heap would hold it twice. */
void ev_timer_init(struct ev_timer *t, struct ev_loop *loop, ev_timer_f *f, void *arg);

/* Fires once, that much later; replaces an earlier setting. */
void ev_timer_set(struct ev_timer *t, uint64_t after_ms);
void ev_timer_clear(struct ev_timer *t);
bool ev_timer_pending(const struct ev_timer *t);
void ev_timer_fini(struct ev_timer *t); /* also fine when zeroed */

typedef void ev_signal_f(void *arg, int signo);

struct ev_signal {
	struct event ev;
	ev_signal_f *f;
	void *arg;
};

void ev_signal_init(struct ev_signal *s, struct ev_loop *loop, int signo, ev_signal_f *f, void *arg);
void ev_signal_fini(struct ev_signal *s);

#endif
