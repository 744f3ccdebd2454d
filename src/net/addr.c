/* net/addr.c - see addr.h. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The IPv4 address of an AF_INET or mapped AF_INET6 address; NULL for others. */
static const uint8_t *
as_ipv4(const union addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return (const uint8_t *)&a->in.sin_addr;
	if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return a->in6.sin6_addr.s6_addr + 12;
	return NULL;
}

/* Whoever connects chooses the name that it binds, and the text goes to logs: no control characters. */
static const char *
unix_text(const union addr *a, socklen_t len, char out[ADDR_TEXT_MAX])
{
	const size_t head = offsetof(struct sockaddr_un, sun_path);
	size_t n = len > head ? len - head : 0;
	char *p;

	/* the kernel counts a NUL behind a path that fills all the room */
	n = strnlen(a->un.sun_path, n < sizeof a->un.sun_path ? n : sizeof a->un.sun_path);
	snprintf(out, ADDR_TEXT_MAX, "unix:%.*s", (int)n, a->un.sun_path);
	for (p = out; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return out;
}

static const char *
text(const union addr *a, socklen_t len, bool with_port, char out[ADDR_TEXT_MAX])
{
	const uint8_t *v4 = as_ipv4(a);
	char host[INET6_ADDRSTRLEN];
	unsigned port = 0;

	if (a->sa.sa_family == AF_UNIX)
		return unix_text(a, len, out);
	if (a->sa.sa_family == AF_INET)
		port = ntohs(a->in.sin_port);
	else if (a->sa.sa_family == AF_INET6)
		port = ntohs(a->in6.sin6_port);
	else
		return strcpy(out, "unknown");
	if (v4 != NULL)
		inet_ntop(AF_INET, v4, host, sizeof host);
	else
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof host);
	if (!with_port)
		snprintf(out, ADDR_TEXT_MAX, "%s", host);
	else
		snprintf(out, ADDR_TEXT_MAX, v4 != NULL ? "%s:%u" : "[%s]:%u", host, port);
	return out;
}

const char *
addr_text(const union addr *a, socklen_t len, char out[ADDR_TEXT_MAX])
{
	return text(a, len, true, out);
}

const char *
addr_host_text(const union addr *a, socklen_t len, char out[ADDR_TEXT_MAX])
{
	return text(a, len, false, out);
}

void
addr_key(const union addr *a, uint8_t key[ADDR_KEY_SIZE])
{
	const uint8_t *v4 = as_ipv4(a);

	memset(key, 0, ADDR_KEY_SIZE);
	key[0] = v4 != NULL ? 4 : a->sa.sa_family == AF_INET6 ? 6 : 1;
	if (v4 != NULL)
		memcpy(key + 1, v4, 4);
	else if (a->sa.sa_family == AF_INET6)
		memcpy(key + 1, a->in6.sin6_addr.s6_addr, 8);
}

bool
addr_is_loopback(const union addr *a)
{
	const uint8_t *v4 = as_ipv4(a);

	if (v4 != NULL)
		return v4[0] == 127;
	if (a->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
	return a->sa.sa_family == AF_UNIX;
}
