/* ipc/chan.h - one end of a channel: frames out with a bounded queue, frames in.
 *
 * Knows no event loop: the owner watches chan_fd() for reading, and for writing while
 * chan_wants_write(). Not thread safe. */
#ifndef IPC_CHAN_H
#define IPC_CHAN_H

#include "ipc/frame.h"

#define CHAN_QUEUE_MAX 8192         /* frames that wait for a peer that does not read */
#define CHAN_SNDBUF (256 * 1024)    /* room in the kernel, so that the queue is rarely needed */

struct chan;

/* A connected pair, both ends non-blocking and close-on-exec. */
int chan_pair(int fds_out[2]) PT_MUST_USE;

/* fd is taken. NULL when out of memory (fd is closed then). */
struct chan *chan_new(int fd);

/* Closes; frames that wait are lost. NULL is fine; sets the pointer to NULL. */
void chan_free(struct chan **c);

int chan_fd(const struct chan *c);

/* Goes on with another descriptor, which is taken: the peer has been replaced. What waits goes to the new one. */
void chan_move(struct chan *c, int fd);

bool chan_wants_write(const struct chan *c);
unsigned chan_waiting(const struct chan *c); /* frames in the queue */

/* From now on frames may share a packet, in both directions: one wake-up and one system call for many. Both ends must have
 * said so before the first frame. */
void chan_bundle(struct chan *c);

/* What is sent from now on waits until chan_flush(), or until a packet is full or a descriptor travels. Nothing happens
 * without chan_bundle(). */
void chan_hold(struct chan *c);

/* chan_recv() has a frame that came with another one: the descriptor does not become readable for it. Who stops reading
 * must come back by itself. */
bool chan_has_more(const struct chan *c);

/* Sends or queues. fd (-1: none) is borrowed: a copy is made if the frame has to wait. 0, PT_EEOF, PT_EIO,
 * PT_EFULL when CHAN_QUEUE_MAX frames wait, PT_ENOMEM. */
int chan_send(struct chan *c, struct frame *f, int fd) PT_MUST_USE;

/* Sends what waits and is held: 0 (some may still wait), PT_EEOF, PT_EIO, PT_EFULL, PT_ENOMEM. */
int chan_flush(struct chan *c) PT_MUST_USE;

/* The next frame, as frame_recv(); PT_ENOMEM. */
int chan_recv(struct chan *c, struct frame *f_out) PT_MUST_USE;

#endif
