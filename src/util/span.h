/* util/span.h - a borrowed run of octets. Never owns, never ends in NUL by promise. */
#ifndef UTIL_SPAN_H
#define UTIL_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
	const uint8_t *p;
	size_t n;
};

/* A span over the octets of a C string without its NUL. */
struct span span_str(const char *s);

/* Equal octet for octet. */
bool span_equal(struct span a, struct span b);

/* Equal to the C string s when ASCII letters are compared without case (RFC 5234 §2.3). */
bool span_is_nocase(struct span a, const char *s);

/* Copies as a C string into out (cap octets, cap > 0), with every octet outside printable ASCII
 * shown as '?', so that it can stand in a log line; cut when it does not fit. Returns out. */
const char *span_print(struct span a, char *out, size_t cap);

#endif
