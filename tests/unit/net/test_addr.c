/* unit/net/test_addr.c - addresses as text and as keys for limits. */
#include "test.h"

#include "net/addr.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

static socklen_t
make(const char *host, uint16_t port, union addr *a)
{
	memset(a, 0, sizeof *a);
	if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons(port);
		return sizeof a->in;
	}
	memset(a, 0, sizeof *a);
	CU_ASSERT_EQUAL_FATAL(inet_pton(AF_INET6, host, &a->in6.sin6_addr), 1);
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_port = htons(port);
	return sizeof a->in6;
}

static void
test_text(void)
{
	static const struct {
		const char *host;
		uint16_t port;
		const char *text, *alone;
		bool loopback;
	} rows[] = {
		{ "192.0.2.1", 25, "192.0.2.1:25", "192.0.2.1", false },
		{ "0.0.0.0", 0, "0.0.0.0:0", "0.0.0.0", false },
		{ "255.255.255.255", 65535, "255.255.255.255:65535", "255.255.255.255", false },
		{ "127.0.0.1", 1, "127.0.0.1:1", "127.0.0.1", true },
		{ "127.255.255.254", 1, "127.255.255.254:1", "127.255.255.254", true },
		{ "128.0.0.1", 1, "128.0.0.1:1", "128.0.0.1", false },
		{ "2001:db8::1", 25, "[2001:db8::1]:25", "2001:db8::1", false },
		{ "::", 7777, "[::]:7777", "::", false },
		{ "::1", 7777, "[::1]:7777", "::1", true },
		{ "::2", 7777, "[::2]:7777", "::2", false },
		{ "2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa", 65535,
			"[2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa]:65535",
			"2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa", false },
		{ "::ffff:192.0.2.1", 25, "192.0.2.1:25", "192.0.2.1", false },
		{ "::ffff:127.0.0.1", 25, "127.0.0.1:25", "127.0.0.1", true },
	};
	char out[ADDR_TEXT_MAX];
	union addr a;
	socklen_t len;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		len = make(rows[i].host, rows[i].port, &a);
		CU_ASSERT_STRING_EQUAL(addr_text(&a, len, out), rows[i].text);
		CU_ASSERT_STRING_EQUAL(addr_host_text(&a, len, out), rows[i].alone);
		CU_ASSERT_EQUAL(addr_is_loopback(&a), rows[i].loopback);
	}
}

static void
test_unix(void)
{
	union addr a = { .un = { .sun_family = AF_UNIX } };
	char out[ADDR_TEXT_MAX], want[ADDR_TEXT_MAX] = "unix:";
	const socklen_t head = offsetof(struct sockaddr_un, sun_path);

	CU_ASSERT_STRING_EQUAL(addr_text(&a, head, out), "unix:"); /* a peer without a name */
	CU_ASSERT_STRING_EQUAL(addr_text(&a, 0, out), "unix:");
	CU_ASSERT_TRUE(addr_is_loopback(&a));
	strcpy(a.un.sun_path, "/run/x");
	CU_ASSERT_STRING_EQUAL(addr_text(&a, sizeof a.un, out), "unix:/run/x");
	CU_ASSERT_STRING_EQUAL(addr_host_text(&a, sizeof a.un, out), "unix:/run/x");
	CU_ASSERT_STRING_EQUAL(addr_text(&a, head + 4, out), "unix:/run"); /* len counts */
	/* a path as long as there is room has no NUL; the kernel then counts one that is not there */
	memset(a.un.sun_path, 'p', sizeof a.un.sun_path);
	memset(want + 5, 'p', sizeof a.un.sun_path);
	CU_ASSERT_STRING_EQUAL(addr_text(&a, sizeof a.un, out), want);
	CU_ASSERT_STRING_EQUAL(addr_text(&a, sizeof a.un + 1, out), want);
	strcpy(a.un.sun_path, "/tmp/\n\x1b[2J\x7f");
	CU_ASSERT_STRING_EQUAL(addr_text(&a, sizeof a.un, out), "unix:/tmp/??[2J?");
	a.sa.sa_family = AF_UNSPEC;
	CU_ASSERT_STRING_EQUAL(addr_text(&a, sizeof a.un, out), "unknown");
	CU_ASSERT_FALSE(addr_is_loopback(&a));
}

static void
test_keys(void)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.2", false },
		{ "192.0.2.1", "::ffff:192.0.2.1", true },
		{ "192.0.2.1", "::192.0.2.1", false },
		{ "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true }, /* one /64 */
		{ "2001:db8:1:2::1", "2001:db8:1:3::1", false },
		{ "2001:db8:1:2::1", "2001:db8:1:2::1", true },
		{ "::", "0.0.0.0", false },
		{ "c000:201::", "192.0.2.1", false }, /* the same octets, another family */
	};
	uint8_t a[ADDR_KEY_SIZE], b[ADDR_KEY_SIZE];
	union addr x;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		make(rows[i].a, 1, &x);
		addr_key(&x, a);
		make(rows[i].b, 2, &x); /* the port does not count */
		addr_key(&x, b);
		CU_ASSERT_EQUAL(memcmp(a, b, sizeof a) == 0, rows[i].same);
	}
	x = (union addr){ .un = { .sun_family = AF_UNIX, .sun_path = "/a" } };
	addr_key(&x, a);
	strcpy(x.un.sun_path, "/b");
	addr_key(&x, b);
	CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
	make("::", 1, &x);
	addr_key(&x, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof a), 0);
}

static const struct test_row rows[] = {
	{ "IPv4 and IPv6", test_text },
	{ "unix sockets", test_unix },
	{ "keys for limits", test_keys },
};
TEST_MAIN("net/addr", rows)
