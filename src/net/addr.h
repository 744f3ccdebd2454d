/* net/addr.h - peers' and listeners' addresses, as text and as keys for limits. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "util/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDR_TEXT_MAX 128 /* octets of the longest text with the NUL: a unix path and its prefix */
#define ADDR_KEY_SIZE 16

union addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/* "192.0.2.1:25", "[2001:db8::1]:25", "unix:/run/x", "unix:" for a peer without a name. An IPv4-mapped
 * IPv6 address is shown as IPv4; control characters of a unix path as '?'. Returns out. */
const char *addr_text(const union addr *a, socklen_t len, char out[ADDR_TEXT_MAX]);

/* The same without the port. */
const char *addr_host_text(const union addr *a, socklen_t len, char out[ADDR_TEXT_MAX]);

/* What a limit per address counts by: an IPv4 address (mapped or not), the /64 of an IPv6 address (one
 * customer has all of it), all peers of a unix socket together. */
void addr_key(const union addr *a, uint8_t key_out[ADDR_KEY_SIZE]);

/* 127.0.0.0/8, ::1, or a unix socket. */
bool addr_is_loopback(const union addr *a);

#endif
