/* conf/conf_value.h - values out of words and back: numbers, times, rates, addresses.
 *
 * Pure: no allocation, no lookup, no file. What cannot be read gives a reason, which the reader
 * makes a message of. */
#ifndef CONF_CONF_VALUE_H
#define CONF_CONF_VALUE_H

#include "conf/conf.h"
#include "util/span.h"

#include <stdbool.h>
#include <stdint.h>

#define CONF_VALUE_TEXT_MAX 128 /* octets of any printed value below, with its NUL */

enum conf_value {
	CONF_V_OK,
	CONF_V_BAD,     /* not of this form */
	CONF_V_NO_UNIT, /* a time that is only a number */
	CONF_V_UNIT,    /* the unit is unknown */
	CONF_V_LARGE,   /* does not fit into 64 bits */
	CONF_V_HOST,    /* an address with a name in it */
	CONF_V_PORT,    /* an address whose port is missing or not 1..65535 */
	CONF_V_BRACKET, /* an IPv6 address without brackets */
	CONF_V_LONG,    /* a unix path beyond sun_path */
};

/* A count: decimal digits, then nothing, "k" (thousand) or "m" (million). */
enum conf_value conf_value_number(struct span s, uint64_t *out);

/* A size in octets: decimal digits, then nothing, "K", "M" or "G" (powers of 1024). */
enum conf_value conf_value_size(struct span s, uint64_t *octets_out);

/* The shortest form that reads back as octets: "50M". out has CONF_VALUE_TEXT_MAX octets; returns it. */
const char *conf_value_size_print(uint64_t octets, char *out);

/* A time, in milliseconds: decimal digits and ms, s, m, h or d. */
enum conf_value conf_value_duration(struct span s, uint64_t *ms_out);

/* The shortest form that reads back as ms: "90s", "1h", "0s". out has CONF_VALUE_TEXT_MAX octets;
 * returns it. */
const char *conf_value_duration_print(uint64_t ms, char *out);

/* At most count in each window_ms: three words, "3 per 10m". Neither may be 0. */
enum conf_value conf_value_rate(struct span count, struct span per, struct span window,
				struct conf_rate *out);
const char *conf_value_rate_print(const struct conf_rate *rate, char *out);

/* "192.0.2.1:25" or "[2001:db8::1]:25" into addr; "unix:PATH" with an absolute PATH, too. Names are
 * never looked up. */
enum conf_value conf_value_address(struct span s, union conf_sockaddr *addr, socklen_t *len_out);

/* The canonical text of what conf_value_address() made; out has CONF_VALUE_TEXT_MAX octets. */
const char *conf_value_address_print(const union conf_sockaddr *addr, char *out);

/* Whether only this machine reaches it: 127.0.0.0/8, ::1, unix. */
bool conf_value_is_local(const union conf_sockaddr *addr);

/* A name of ours: a letter or digit, then letters, digits, '.', '_', '-'. */
bool conf_value_is_name(struct span s);

/* What a client may ask for by SNI, UTF-8, in the form of mail/normal.h: a host name that is no address, or one
 * whose first label is '*'. */
#define CONF_VALUE_SNI_MAX 260
bool conf_value_sni(const char *s, char out[CONF_VALUE_SNI_MAX]);

/* A host name: labels of letters, digits and '-' (not at an end), 63 octets each, 253 in all
 * (RFC 1123 §2.1). */
bool conf_value_is_hostname(struct span s);

#endif
