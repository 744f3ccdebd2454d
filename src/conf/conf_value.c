/* conf/conf_value.c - see conf_value.h. */
#include "conf/conf_value.h"

#include "mail/normal.h"
#include "util/scan.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const struct unit {
	const char *name;
	uint64_t ms;
} durations[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

/* Splits s into its leading digits and the rest, and reads the digits. */
static enum conf_value
split(struct span s, uint64_t *n_out, struct span *rest_out)
{
	size_t i = 0;

	while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	if (i == 0)
		return CONF_V_BAD;
	*rest_out = (struct span){ s.p + i, s.n - i };
	return scan_u64((struct span){ s.p, i }, n_out) ? CONF_V_OK : CONF_V_LARGE;
}

enum conf_value
conf_value_number(struct span s, uint64_t *out)
{
	enum conf_value v;
	struct span unit;
	uint64_t n, factor;

	if ((v = split(s, &n, &unit)) != CONF_V_OK)
		return v;
	if (unit.n == 0)
		factor = 1;
	else if (span_equal(unit, span_str("k")))
		factor = 1000;
	else if (span_equal(unit, span_str("m")))
		factor = 1000000;
	else
		return CONF_V_BAD;
	return __builtin_mul_overflow(n, factor, out) ? CONF_V_LARGE : CONF_V_OK;
}

static const char size_units[] = "KMG";

enum conf_value
conf_value_size(struct span s, uint64_t *octets_out)
{
	enum conf_value v;
	struct span unit;
	const char *u;
	uint64_t n;

	if ((v = split(s, &n, &unit)) != CONF_V_OK)
		return v;
	if (unit.n == 0) {
		*octets_out = n;
		return CONF_V_OK;
	}
	if (unit.n != 1 || (u = memchr(size_units, unit.p[0], strlen(size_units))) == NULL)
		return CONF_V_BAD;
	return __builtin_mul_overflow(n, UINT64_C(1) << (10 * (u - size_units + 1)), octets_out) ? CONF_V_LARGE
												   : CONF_V_OK;
}

const char *
conf_value_size_print(uint64_t octets, char *out)
{
	size_t unit = 0;

	for (; octets > 0 && octets % 1024 == 0 && unit < strlen(size_units); unit++)
		octets /= 1024;
	snprintf(out, CONF_VALUE_TEXT_MAX, "%llu%.1s", (unsigned long long)octets,
		 unit == 0 ? "" : &size_units[unit - 1]);
	return out;
}

enum conf_value
conf_value_duration(struct span s, uint64_t *ms_out)
{
	enum conf_value v;
	struct span unit;
	uint64_t n;
	size_t i;

	if ((v = split(s, &n, &unit)) != CONF_V_OK)
		return v;
	if (unit.n == 0)
		return CONF_V_NO_UNIT;
	for (i = 0; i < PT_COUNT(durations); i++)
		if (span_equal(unit, span_str(durations[i].name)))
			return __builtin_mul_overflow(n, durations[i].ms, ms_out) ? CONF_V_LARGE
										  : CONF_V_OK;
	return CONF_V_UNIT;
}

const char *
conf_value_duration_print(uint64_t ms, char *out)
{
	size_t i = 0;

	if (ms == 0)
		return strcpy(out, "0s");
	while (ms % durations[i].ms != 0)
		i++;
	snprintf(out, CONF_VALUE_TEXT_MAX, "%llu%s", (unsigned long long)(ms / durations[i].ms),
		 durations[i].name);
	return out;
}

enum conf_value
conf_value_rate(struct span count, struct span per, struct span window, struct conf_rate *out)
{
	enum conf_value v;

	if ((v = conf_value_number(count, &out->count)) != CONF_V_OK)
		return v;
	if (!span_equal(per, span_str("per")))
		return CONF_V_BAD;
	if ((v = conf_value_duration(window, &out->window_ms)) != CONF_V_OK)
		return v;
	return out->count > 0 && out->window_ms > 0 ? CONF_V_OK : CONF_V_BAD;
}

const char *
conf_value_rate_print(const struct conf_rate *rate, char *out)
{
	char window[CONF_VALUE_TEXT_MAX];

	snprintf(out, CONF_VALUE_TEXT_MAX, "%llu per %.32s", (unsigned long long)rate->count,
		 conf_value_duration_print(rate->window_ms, window));
	return out;
}

static enum conf_value
unix_address(struct span path, union conf_sockaddr *addr, socklen_t *len_out)
{
	if (path.n == 0 || path.p[0] != '/')
		return CONF_V_BAD;
	if (path.n >= sizeof addr->un.sun_path)
		return CONF_V_LONG;
	addr->un.sun_family = AF_UNIX;
	memcpy(addr->un.sun_path, path.p, path.n);
	*len_out = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	return CONF_V_OK;
}

/* Whether it reads like a name of a host, and not like a mistyped number. */
static bool
names_host(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z')
			return true;
	return false;
}

static bool
parse_port(struct span s, uint64_t *port)
{
	return s.n <= 5 && scan_u64(s, port) && *port >= 1 && *port <= 65535;
}

static enum conf_value
inet_address(int family, struct span host, struct span port, union conf_sockaddr *addr,
	     socklen_t *len_out)
{
	char text[INET6_ADDRSTRLEN];
	uint64_t n;

	if (host.n >= sizeof text)
		return names_host(host) ? CONF_V_HOST : CONF_V_BAD;
	if (host.n > 0)
		memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	addr->sa.sa_family = (sa_family_t)family;
	if (inet_pton(family, text,
		      family == AF_INET ? (void *)&addr->in.sin_addr : &addr->in6.sin6_addr) != 1)
		return family == AF_INET && names_host(host) ? CONF_V_HOST : CONF_V_BAD;
	if (!parse_port(port, &n))
		return CONF_V_PORT;
	if (family == AF_INET)
		addr->in.sin_port = htons((uint16_t)n);
	else
		addr->in6.sin6_port = htons((uint16_t)n);
	*len_out = family == AF_INET ? sizeof addr->in : sizeof addr->in6;
	return CONF_V_OK;
}

enum conf_value
conf_value_address(struct span s, union conf_sockaddr *addr, socklen_t *len_out)
{
	struct span host, port;
	const uint8_t *colon, *close;

	memset(addr, 0, sizeof *addr);
	*len_out = 0;
	if (s.n >= 5 && memcmp(s.p, "unix:", 5) == 0)
		return unix_address((struct span){ s.p + 5, s.n - 5 }, addr, len_out);
	if (s.n > 0 && s.p[0] == '[') {
		if ((close = memchr(s.p, ']', s.n)) == NULL)
			return CONF_V_BAD;
		host = (struct span){ s.p + 1, (size_t)(close - s.p) - 1 };
		port = (struct span){ close + 1, s.n - host.n - 2 };
		if (port.n == 0 || port.p[0] != ':')
			return CONF_V_PORT;
		port.p++;
		port.n--;
		return inet_address(AF_INET6, host, port, addr, len_out);
	}
	if (s.n == 0)
		return CONF_V_BAD;
	colon = memchr(s.p, ':', s.n);
	if (colon != NULL && memchr(colon + 1, ':', s.n - (size_t)(colon + 1 - s.p)) != NULL)
		return CONF_V_BRACKET;
	host = (struct span){ s.p, colon != NULL ? (size_t)(colon - s.p) : s.n };
	port =
	    colon != NULL ? (struct span){ colon + 1, s.n - host.n - 1 } : (struct span){ NULL, 0 };
	return inet_address(AF_INET, host, port, addr, len_out);
}

const char *
conf_value_address_print(const union conf_sockaddr *addr, char *out)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (addr->sa.sa_family == AF_UNIX) {
		snprintf(out, CONF_VALUE_TEXT_MAX, "unix:%s", addr->un.sun_path);
	} else if (addr->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &addr->in.sin_addr, host, sizeof host);
		snprintf(out, CONF_VALUE_TEXT_MAX, "%s:%u", host, ntohs(addr->in.sin_port));
	} else {
		inet_ntop(AF_INET6, &addr->in6.sin6_addr, host, sizeof host);
		snprintf(out, CONF_VALUE_TEXT_MAX, "[%s]:%u", host, ntohs(addr->in6.sin6_port));
	}
	return out;
}

bool
conf_value_is_local(const union conf_sockaddr *addr)
{
	if (addr->sa.sa_family == AF_UNIX)
		return true;
	if (addr->sa.sa_family == AF_INET)
		return ntohl(addr->in.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
}

static bool
is_alnum(uint8_t c)
{
	return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
}

bool
conf_value_is_name(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && (i == 0 || memchr("._-", s.p[i], 3) == NULL))
			return false;
	return s.n > 0;
}

bool
conf_value_is_hostname(struct span s)
{
	size_t i, label = 0;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '.') {
			if (label == 0 || s.p[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!is_alnum(s.p[i]) && (s.p[i] != '-' || label == 0))
			return false;
		if (++label > 63)
			return false;
	}
	return s.n > 0 && s.n <= 253 && label > 0 && s.p[s.n - 1] != '-';
}

bool
conf_value_sni(const char *s, char out[CONF_VALUE_SNI_MAX])
{
	size_t at = strncmp(s, "*.", 2) == 0 ? 2 : 0;
	struct in_addr in;

	_Static_assert(CONF_VALUE_SNI_MAX >= NORMAL_DOMAIN_MAX + 2, "a wildcard fits");
	memcpy(out, "*.", 2);
	return normal_domain(span_str(s + at), out + at) && inet_pton(AF_INET, out + at, &in) != 1;
}
