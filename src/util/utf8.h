/* util/utf8.h - UTF-8 (RFC 3629): is it, may it be shown, where may it be cut. Pure, no locale. */
#ifndef UTIL_UTF8_H
#define UTIL_UTF8_H

#include "util/span.h"

/* Every octet belongs to a well-formed character (no overlong form, no surrogate, nothing above
 * U+10FFFF) and none is a control character: C0, DEL or C1 (U+0000-001F, 007F-009F). */
bool utf8_printable(struct span s);

/* Octets of the character that s begins with, when it is well formed and no control character;
 * otherwise, and when s is empty, 0. */
size_t utf8_printable_char(struct span s);

/* The longest beginning of s that has at most max octets and does not end within a character. Where
 * s is not UTF-8 it is cut at max. */
struct span utf8_cut(struct span s, size_t max);

#endif
