/* unit/conf/conf_values.c - the pure parsers, at their edges. */
#include "unit/conf/test_conf.h"

#include "conf/conf_errors.h"
#include "conf/conf_utf8.h"
#include "conf/conf_value.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

struct value_row {
	const char *text;
	enum conf_value result;
	uint64_t value;
};

static void
check_rows(const struct value_row *rows, size_t n, enum conf_value (*f)(struct span, uint64_t *))
{
	uint64_t value;
	size_t i;

	for (i = 0; i < n; i++) {
		value = 0;
		CU_ASSERT_EQUAL(f(span_str(rows[i].text), &value), rows[i].result);
		if (rows[i].result == CONF_V_OK)
			CU_ASSERT_EQUAL(value, rows[i].value);
	}
}

void
test_numbers(void)
{
	static const struct value_row rows[] = {
		{ "0", CONF_V_OK, 0 },
		{ "007", CONF_V_OK, 7 },
		{ "10k", CONF_V_OK, 10000 },
		{ "2m", CONF_V_OK, 2000000 },
		{ "18446744073709551615", CONF_V_OK, UINT64_MAX },
		{ "18446744073709551616", CONF_V_LARGE, 0 },
		{ "18446744073709551k", CONF_V_OK, 18446744073709551000u },
		{ "18446744073709552k", CONF_V_LARGE, 0 },
		{ "18446744073710m", CONF_V_LARGE, 0 },
		{ "", CONF_V_BAD, 0 },
		{ "k", CONF_V_BAD, 0 },
		{ "-1", CONF_V_BAD, 0 },
		{ "+1", CONF_V_BAD, 0 },
		{ "1K", CONF_V_BAD, 0 },
		{ "1kk", CONF_V_BAD, 0 },
		{ "1 k", CONF_V_BAD, 0 },
		{ "1.5", CONF_V_BAD, 0 },
		{ "0x10", CONF_V_BAD, 0 },
	};

	check_rows(rows, PT_COUNT(rows), conf_value_number);
}

void
test_durations(void)
{
	static const struct value_row rows[] = {
		{ "0s", CONF_V_OK, 0 },
		{ "500ms", CONF_V_OK, 500 },
		{ "30s", CONF_V_OK, 30000 },
		{ "10m", CONF_V_OK, 600000 },
		{ "2h", CONF_V_OK, 7200000 },
		{ "7d", CONF_V_OK, 604800000 },
		{ "18446744073709551615ms", CONF_V_OK, UINT64_MAX },
		{ "18446744073709551616ms", CONF_V_LARGE, 0 },
		{ "18446744073709551s", CONF_V_OK, 18446744073709551000u },
		{ "18446744073709552s", CONF_V_LARGE, 0 },
		{ "213503982335d", CONF_V_LARGE, 0 },
		{ "30", CONF_V_NO_UNIT, 0 },
		{ "30S", CONF_V_UNIT, 0 },
		{ "30sec", CONF_V_UNIT, 0 },
		{ "1h30m", CONF_V_UNIT, 0 },
		{ "1w", CONF_V_UNIT, 0 },
		{ "", CONF_V_BAD, 0 },
		{ "s", CONF_V_BAD, 0 },
		{ "-1s", CONF_V_BAD, 0 },
	};
	static const struct {
		uint64_t ms;
		const char *text;
	} printed[] = { { 0, "0s" },         { 1, "1ms" },
			{ 999, "999ms" },    { 1000, "1s" },
			{ 1500, "1500ms" },  { 59000, "59s" },
			{ 60000, "1m" },     { 90000, "90s" },
			{ 5400000, "90m" },  { 86400000, "1d" },
			{ 3600000, "1h" },   { 604800000, "7d" },
			{ 90000000, "25h" }, { UINT64_MAX, "18446744073709551615ms" } };
	char out[CONF_VALUE_TEXT_MAX];
	uint64_t ms;
	size_t i;

	check_rows(rows, PT_COUNT(rows), conf_value_duration);
	for (i = 0; i < PT_COUNT(printed); i++) {
		CU_ASSERT_STRING_EQUAL(conf_value_duration_print(printed[i].ms, out),
				       printed[i].text);
		CU_ASSERT_EQUAL(conf_value_duration(span_str(out), &ms), CONF_V_OK);
		CU_ASSERT_EQUAL(ms, printed[i].ms);
	}
}

void
test_rates(void)
{
	static const struct {
		const char *count, *per, *window;
		enum conf_value result;
		const char *printed;
	} rows[] = {
		{ "3", "per", "10m", CONF_V_OK, "3 per 10m" },
		{ "10k", "per", "60s", CONF_V_OK, "10000 per 1m" },
		{ "18446744073709551615", "per", "18446744073709551615ms", CONF_V_OK,
		  "18446744073709551615 per 18446744073709551615ms" },
		{ "0", "per", "10m", CONF_V_BAD, NULL },
		{ "3", "per", "0s", CONF_V_BAD, NULL },
		{ "3", "in", "10m", CONF_V_BAD, NULL },
		{ "3", "per", "10", CONF_V_NO_UNIT, NULL },
		{ "three", "per", "10m", CONF_V_BAD, NULL },
		{ "3", "per", "99999999999999999999s", CONF_V_LARGE, NULL },
	};
	char out[CONF_VALUE_TEXT_MAX];
	struct conf_rate rate;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(conf_value_rate(span_str(rows[i].count), span_str(rows[i].per),
						span_str(rows[i].window), &rate),
				rows[i].result);
		if (rows[i].printed != NULL)
			CU_ASSERT_STRING_EQUAL(conf_value_rate_print(&rate, out), rows[i].printed);
	}
}

void
test_addresses(void)
{
	static const struct {
		const char *text;
		enum conf_value result;
		const char *printed;
		bool local;
	} rows[] = {
		{ "127.0.0.1:7777", CONF_V_OK, "127.0.0.1:7777", true },
		{ "127.255.255.255:1", CONF_V_OK, "127.255.255.255:1", true },
		{ "128.0.0.1:1", CONF_V_OK, "128.0.0.1:1", false },
		{ "126.255.255.255:1", CONF_V_OK, "126.255.255.255:1", false },
		{ "0.0.0.0:65535", CONF_V_OK, "0.0.0.0:65535", false },
		{ "192.0.2.1:00025", CONF_V_OK, "192.0.2.1:25", false },
		{ "[::1]:25", CONF_V_OK, "[::1]:25", true },
		{ "[0:0:0:0:0:0:0:1]:25", CONF_V_OK, "[::1]:25", true },
		{ "[::]:25", CONF_V_OK, "[::]:25", false },
		{ "[2001:DB8::1]:25", CONF_V_OK, "[2001:db8::1]:25", false },
		{ "[::ffff:127.0.0.1]:25", CONF_V_OK, "[::ffff:127.0.0.1]:25", false },
		{ "unix:/", CONF_V_OK, "unix:/", true },
		{ "unix:/run/x:y", CONF_V_OK, "unix:/run/x:y", true },
		{ "unix:run/x", CONF_V_BAD, NULL, false },
		{ "unix:", CONF_V_BAD, NULL, false },
		{ "UNIX:/x", CONF_V_HOST, NULL, false },
		{ "", CONF_V_BAD, NULL, false },
		{ ":", CONF_V_BAD, NULL, false },
		{ ":25", CONF_V_BAD, NULL, false },
		{ "127.0.0.1", CONF_V_PORT, NULL, false },
		{ "127.0.0.1:", CONF_V_PORT, NULL, false },
		{ "127.0.0.1:0", CONF_V_PORT, NULL, false },
		{ "127.0.0.1:65536", CONF_V_PORT, NULL, false },
		{ "127.0.0.1:000025", CONF_V_PORT, NULL, false },
		{ "127.0.0.1:25x", CONF_V_PORT, NULL, false },
		{ "127.0.0.1:+25", CONF_V_PORT, NULL, false },
		{ "127.1:25", CONF_V_BAD, NULL, false },
		{ "127.0.0.256:25", CONF_V_BAD, NULL, false },
		{ "localhost:25", CONF_V_HOST, NULL, false },
		{ "mail.example.org", CONF_V_HOST, NULL, false },
		{ "a-name-that-is-longer-than-any-address-in-text-could-ever-be.example:25",
		  CONF_V_HOST, NULL, false },
		{ "1111111111111111111111111111111111111111111111111:25", CONF_V_BAD, NULL, false },
		{ "::1:25", CONF_V_BRACKET, NULL, false },
		{ "::", CONF_V_BRACKET, NULL, false },
		{ "[::1]", CONF_V_PORT, NULL, false },
		{ "[::1]25", CONF_V_PORT, NULL, false },
		{ "[::1", CONF_V_BAD, NULL, false },
		{ "[]:25", CONF_V_BAD, NULL, false },
		{ "[", CONF_V_BAD, NULL, false },
		{ "[127.0.0.1]:25", CONF_V_BAD, NULL, false },
		{ "[fe80::1%lo]:25", CONF_V_BAD, NULL, false },
	};
	char out[CONF_VALUE_TEXT_MAX], path[120] = "unix:/";
	union conf_sockaddr addr;
	socklen_t len;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(conf_value_address(span_str(rows[i].text), &addr, &len),
				rows[i].result);
		if (rows[i].result != CONF_V_OK)
			continue;
		CU_ASSERT(len > 0 && len <= sizeof addr);
		CU_ASSERT_STRING_EQUAL(conf_value_address_print(&addr, out), rows[i].printed);
		CU_ASSERT_EQUAL(conf_value_is_local(&addr), rows[i].local);
	}
	memset(path + 6, 's', 106); /* 107 octets of path, and one more */
	CU_ASSERT_EQUAL(conf_value_address(span_str(path), &addr, &len), CONF_V_OK);
	CU_ASSERT_STRING_EQUAL(conf_value_address_print(&addr, out), path);
	path[6 + 106] = 's';
	CU_ASSERT_EQUAL(conf_value_address(span_str(path), &addr, &len), CONF_V_LONG);
}

void
test_names(void)
{
	static const struct {
		const char *text;
		bool name, hostname;
	} rows[] = {
		{ "a", true, true },
		{ "0", true, true },
		{ "mail.example.org", true, true },
		{ "a-b", true, true },
		{ "A_b", true, false },
		{ "", false, false },
		{ ".a", false, false },
		{ "-a", false, false },
		{ "_a", false, false },
		{ "a.", true, false },
		{ "a..b", true, false },
		{ "a-", true, false },
		{ "a-.b", true, false },
		{ "a.-b", true, false },
		{ "a b", false, false },
		{ "b\xc3\xa4r", false, false },
		{ "a@b", false, false },
		{ "a[", false, false },
	};
	char host[256];
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(conf_value_is_name(span_str(rows[i].text)), rows[i].name);
		CU_ASSERT_EQUAL(conf_value_is_hostname(span_str(rows[i].text)), rows[i].hostname);
	}
	memset(host, 'a', sizeof host);
	CU_ASSERT(conf_value_is_hostname((struct span){ (uint8_t *)host, 63 }));
	CU_ASSERT_FALSE(conf_value_is_hostname((struct span){ (uint8_t *)host, 64 }));
	for (i = 50; i < sizeof host; i += 51)
		host[i] = '.';
	CU_ASSERT(conf_value_is_hostname((struct span){ (uint8_t *)host, 253 }));
	CU_ASSERT_FALSE(conf_value_is_hostname((struct span){ (uint8_t *)host, 254 }));
}

void
test_utf8(void)
{
	static const struct {
		const char *octets;
		size_t len;
	} rows[] = {
		{ " ", 1 },
		{ "~", 1 },
		{ "\t", 1 },
		{ "\n", 0 },
		{ "\r", 0 },
		{ "\x01", 0 },
		{ "\x7f", 0 },
		{ "\x80", 0 },
		{ "\xc0\x80", 0 },
		{ "\xc1\xbf", 0 },
		{ "\xc2\x80", 0 },
		{ "\xc2\x9f", 0 },
		{ "\xc2\xa0", 2 },
		{ "\xdf\xbf", 2 },
		{ "\xc3", 0 },
		{ "\xc3(", 0 },
		{ "\xe0\x9f\xbf", 0 },
		{ "\xe0\xa0\x80", 3 },
		{ "\xed\x9f\xbf", 3 },
		{ "\xed\xa0\x80", 0 },
		{ "\xef\xbf\xbf", 3 },
		{ "\xe2\x82", 0 },
		{ "\xf0\x8f\xbf\xbf", 0 },
		{ "\xf0\x90\x80\x80", 4 },
		{ "\xf4\x8f\xbf\xbf", 4 },
		{ "\xf4\x90\x80\x80", 0 },
		{ "\xf5\x80\x80\x80", 0 },
		{ "\xf0\x9f\x98", 0 },
		{ "\xff", 0 },
	};
	struct buf out;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_EQUAL(
		    conf_utf8_text((const uint8_t *)rows[i].octets, strlen(rows[i].octets)),
		    rows[i].len);
	CU_ASSERT_EQUAL(conf_utf8_text((const uint8_t *)"\0", 1), 0);
	CU_ASSERT(conf_utf8_is_text("stra\xc3\x9f"
				    "e"));
	CU_ASSERT_FALSE(conf_utf8_is_text("stra\xdf"
					  "e"));
	buf_init(&out, 64);
	CU_ASSERT_EQUAL(conf_utf8_print(&out, "\x1b[1m\xc3\xa4\xc3\xff\tx"), 0);
	CU_ASSERT(span_equal(buf_span(&out), span_str("?[1m\xc3\xa4??\tx")));
	buf_fini(&out);
}

void
test_guesses(void)
{
	static const char *const names[] = { "hostname", "tls", "listen", "log", "1.2" };
	static const struct {
		const char *word, *best;
	} rows[] = {
		{ "hostnam", "hostname" },
		{ "hsotname", "hostname" },
		{ "HOST_NAME", "hostname" },
		{ "ostnme", "hostname" },
		{ "htnm", NULL },
		{ "tsl", "tls" },
		{ "TLS", "tls" },
		{ "tl", "tls" },
		{ "ssl", NULL },
		{ "listne", "listen" },
		{ "lsn", NULL },
		{ "x", NULL },
		{ "", NULL },
		{ "lag", "log" },
		{ "1.1", NULL },
		{ "hostnamehostnamehostnamehostnameh", NULL },
	};
	struct conf_guess g;
	size_t i, k;

	for (i = 0; i < PT_COUNT(rows); i++) {
		conf_guess_init(&g, rows[i].word);
		for (k = 0; k < PT_COUNT(names); k++)
			conf_guess_try(&g, names[k]);
		CU_ASSERT_EQUAL(g.best == NULL, rows[i].best == NULL);
		if (g.best != NULL && rows[i].best != NULL)
			CU_ASSERT_STRING_EQUAL(g.best, rows[i].best);
	}
}
