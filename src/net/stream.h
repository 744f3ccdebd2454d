/* net/stream.h - the octets of one connection, in and out, without knowing what they mean.
 *
 * Memory: an idle stream holds none. What is read goes into one scratch buffer that all streams of a
 * worker share, and what is written is gathered in another, so that one wake-up is one read and one
 * write; only what cannot be dealt with at once (a part that the reader did not take, octets that the
 * kernel does not take) is kept by the stream itself, up to the named maxima.
 *
 * Use: stream_enter(), then fill, take and put as often as needed, then stream_leave(). Between enter
 * and leave the scratch belongs to that stream; entering a second one is our bug. Not thread safe. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "util/buf.h"

#define STREAM_READ_SIZE (32 * 1024)  /* one read from the kernel; also the most that is kept */
#define STREAM_GATHER_SIZE (64 * 1024) /* one write to the kernel */
#define STREAM_OUT_MAX (128 * 1024)   /* kept for a peer that does not read; then put refuses */
#define STREAM_OUT_HIGH (48 * 1024)   /* above it nothing more should be produced */

struct stream;

/* One per worker. */
struct stream_scratch {
	struct stream *owner; /* NULL: free */
	size_t in_off, in_len;
	size_t out_len;
	uint8_t in[STREAM_READ_SIZE];
	uint8_t out[STREAM_GATHER_SIZE];
};

struct stream {
	int fd;                 /* owned; -1 once closed */
	bool eof;               /* the peer will send no more */
	bool broken;            /* reset, or another error: nothing goes out any more */
	bool dry;               /* the kernel has nothing more for us, as far as we know */
	bool blocked;           /* the kernel takes no more from us, as far as we know */
	bool acknowledge;       /* at once, what was read */
	struct stream_scratch *scratch;
	struct buf rest;        /* read and not taken, between leave and enter */
	struct buf out;         /* to be written once the kernel takes more */
	uint64_t octets_in, octets_out;
};

/* fd is taken; scratch is borrowed and outlives the stream. Cannot fail. */
void stream_init(struct stream *s, int fd, struct stream_scratch *scratch);

/* Closes the descriptor and frees (wipes) what is held. Must not be entered. */
void stream_fini(struct stream *s);

/* readable: the kernel may have something for us; false spares the read that would only say no. */
void stream_enter(struct stream *s, bool readable);

/* Writes what was gathered and keeps what the kernel does not take, and what was read and not taken.
 * 0, or PT_ENOMEM: then the connection cannot go on (broken is set). */
int stream_leave(struct stream *s) PT_MUST_USE;

/* Writes what was gathered so far, before the caller waits for somebody else. What the kernel does not take goes
 * with the rest. */
void stream_flush(struct stream *s);

/* Octets read and not taken yet. Borrowed until the next call that takes s. */
struct span stream_pending(const struct stream *s);

/* The first n pending octets are dealt with. */
void stream_take(struct stream *s, size_t n);

/* Reads from the kernel if nothing is pending: 0 when octets are pending now, PT_EAGAIN, PT_EEOF, PT_EIO
 * (broken). At most STREAM_READ_SIZE. */
int stream_fill(struct stream *s) PT_MUST_USE;

/* Puts octets behind those already on their way: 0, PT_EAGAIN when STREAM_OUT_MAX would be exceeded
 * (nothing is taken then), PT_EIO when the stream is broken, PT_ENOMEM. */
int stream_put(struct stream *s, const void *p, size_t n) PT_MUST_USE;

/* What was read until the next stream_leave() is acknowledged there, unless something is written, which does it too. The
 * kernel waits some 40 ms with an acknowledgement for octets of ours that it can travel with, and a peer that has
 * not set TCP_NODELAY waits for it before it sends its next small segment (RFC 1122 §4.2.3.2 and §4.2.3.4): ask for
 * it where the peer speaks twice before we do. */
void stream_acknowledge(struct stream *s);

/* Octets that the kernel has not taken yet. */
size_t stream_unsent(const struct stream *s);

/* Forgets what was read, so that nothing of it can be looked at again. */
void stream_drop_input(struct stream *s);

/* Reads and discards until max octets are gone (the last read may go beyond): 0 more may come, PT_EEOF the
 * peer has ended, PT_EIO. */
int stream_discard(struct stream *s, size_t max, size_t *n_out) PT_MUST_USE;

/* Tells the kernel that we send no more (after what was put is sent). */
void stream_shut_write(struct stream *s);

#endif
