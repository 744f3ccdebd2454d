/* util/base64.h - base64 as SASL exchanges carry it (RFC 4648 §4): strict, no line ends, no blanks.
 *
 * Pure. What is decoded may be a password: the caller wipes its buffers. */
#ifndef UTIL_BASE64_H
#define UTIL_BASE64_H

#include "util/buf.h"

/* Octets of the text of n octets, and the most that a text of n octets can hold. */
#define BASE64_ENCODED(n) (((n) + 2) / 3 * 4)
#define BASE64_DECODED(n) ((n) / 4 * 3)

/* Appends the text of in. 0, or PT_ENOMEM and PT_ETOOBIG from the buffer. */
int base64_encode(struct buf *out, struct span in) PT_MUST_USE;

/* Decodes in place of out (cap octets); its length to *n. false, with nothing said of out, when in is
 * no base64 (a length that is no multiple of four, a foreign octet, padding elsewhere than at the
 * end, bits set behind the last octet) or does not fit. */
bool base64_decode(struct span in, uint8_t *out, size_t cap, size_t *n);

#endif
