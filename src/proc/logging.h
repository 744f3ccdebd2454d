/* proc/logging.h - log messages as frames: how every process but control gets rid of them. */
#ifndef PROC_LOGGING_H
#define PROC_LOGGING_H

#include "ipc/frame.h"
#include "util/log.h"

#define LOGGING_FIELDS_MAX 2048 /* octets of all fields of one message */

/* Fields as they travel: name and value, each with its NUL, in turns, without control characters. What does not
 * fit is left out. Returns the octets used. */
size_t logging_pack(const struct log_field *fields, size_t n, char out[LOGGING_FIELDS_MAX]);

/* One message as a frame. PT_ETOOBIG. */
int logging_encode(enum log_level level, const char *text, const struct log_field *fields, size_t n,
		   struct frame *f_out) PT_MUST_USE;

/* Sends one message; never waits. An error means that it is lost (nobody reads, or too many wait). */
int logging_send(int fd, enum log_level level, const char *text, const struct log_field *fields,
		 size_t n) PT_MUST_USE;

#endif
