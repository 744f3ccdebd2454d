/* conf/conf_utf8.h - which octets of a configuration are text: UTF-8 that may be shown, and TAB. */
#ifndef CONF_CONF_UTF8_H
#define CONF_CONF_UTF8_H

#include "util/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the character at p (n > 0 octets there): 1..4, or 0 when it is no UTF-8 or a control
 * character other than TAB (C0, DEL, C1). */
size_t conf_utf8_text(const uint8_t *p, size_t n);

/* Whether all of s is text. */
bool conf_utf8_is_text(const char *s);

/* Appends s so that a terminal can show it: '?' for each octet that is no text. */
int conf_utf8_print(struct buf *out, const char *s) PT_MUST_USE;

#endif
