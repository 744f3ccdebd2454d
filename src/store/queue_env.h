/* store/queue_env.h - the octets of an .env: what a message in the queue is and how far it has come, a line each (store/record.h) with its
 * CRC behind it. Its first lines are the message and all its recipients; what follows are outcomes, which count in whatever
 * order they stand. Pure but for the buffer's memory. */
#ifndef STORE_QUEUE_ENV_H
#define STORE_QUEUE_ENV_H

#include "store/queue.h"

/* Appends the message's lines: all of them, or what has changed since the last time; then nothing has changed any more. PT_ENOMEM, PT_ETOOBIG. */
int queue_env_put(struct queue_entry *e, bool all, struct buf *out) PT_MUST_USE;

struct queue_env {
	size_t whole;      /* octets up to the first line that is not as it was written */
	size_t head;       /* octets of the opened lines that make the message; 0: it is not whole, or not of that id */
	unsigned passed;   /* lines that are not as they were written */
	bool behind;       /* whole lines stand behind such a one */
	uint64_t octets;   /* of the message, as the head says */
	uint64_t rcpts;
};

/* Takes an .env apart: lines_out gets its whole lines without their CRCs. PT_ENOMEM, PT_ETOOBIG. */
int queue_env_open(struct span env, uint64_t qid, struct buf *lines_out, struct queue_env *out) PT_MUST_USE;

#endif
