/* ipc/frame.h - one frame between two of our processes, on a SOCK_SEQPACKET socket pair.
 *
 * Layout, all integers in network order: version (1 octet), flags (1, zero), type (2), request id (4),
 * payload length (4), payload. At most one descriptor travels with a frame. What a payload holds is
 * msg.h's business. A frame that cannot be decoded condemns the process that sent it; the reader
 * drops the channel and goes on. */
#ifndef IPC_FRAME_H
#define IPC_FRAME_H

#include "util/err.h"
#include "util/span.h"

#define IPC_VERSION 1 /* a process speaks this version and the one before */
#define FRAME_HEADER 12
#define FRAME_PAYLOAD_MAX (16 * 1024)

struct frame {
	uint16_t type;
	uint32_t id; /* of the request, repeated in its answer; 0 where nothing is answered */
	uint32_t len;
	int fd; /* that came with it, owned by whoever holds the frame; -1: none */
	uint8_t octets[FRAME_HEADER + FRAME_PAYLOAD_MAX]; /* payload behind the header's place */
};

/* The payload: borrowed from the frame. */
static inline struct span
frame_payload(const struct frame *f)
{
	return (struct span){ f->octets + FRAME_HEADER, f->len };
}

/* Takes the descriptor out of the frame; -1 if there is none. */
int frame_take_fd(struct frame *f);

/* Closes the descriptor that came with it, if it is still there. */
void frame_fini(struct frame *f);

/* Writes the header into its place: the frame's octets, FRAME_HEADER + len of them, are as they travel. */
void frame_seal(struct frame *f);

/* Sends octets that are whole frames at once, as one packet: 0, PT_EAGAIN (the peer does not read), PT_EEOF (the peer is gone),
 * PT_EIO. fd (-1: none) is borrowed. */
int frame_send_octets(int sock, struct span octets, int fd) PT_MUST_USE;

/* The same with one frame. The header is written into f->octets. */
int frame_send(int sock, struct frame *f, int fd) PT_MUST_USE;

/* Receives one frame: 0, PT_EAGAIN, PT_EEOF, PT_EIO, or PT_EPROTO for one that is cut, too long,
 * of an unknown version or with more descriptors than one (all received ones are closed). */
int frame_recv(int sock, struct frame *f_out) PT_MUST_USE;

/* The same of a packet that may hold more than one frame; the descriptor belongs to the first. rest_out: what follows it, borrowed from
 * f_out, for frame_next(). */
int frame_recv_first(int sock, struct frame *f_out, struct span *rest_out) PT_MUST_USE;

/* The next frame of such a rest, which has at least one octet: 0 or PT_EPROTO. */
int frame_next(struct span *rest, struct frame *f_out) PT_MUST_USE;

#endif
