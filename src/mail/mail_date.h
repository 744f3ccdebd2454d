/* mail/mail_date.h - dates of header fields (RFC 5322 §3.3). Pure: always in UTC, no locale. */
#ifndef MAIL_MAIL_DATE_H
#define MAIL_MAIL_DATE_H

#include <stdint.h>

#define MAIL_DATE_MAX 40 /* octets of a date with its NUL */

/* "Fri, 27 Nov 2026 16:53:10 +0000" of seconds since 1970; years 1970 to 9999, others are cut to
 * these. Returns out. */
const char *mail_date_print(int64_t seconds, char out[MAIL_DATE_MAX]);

#endif
