/* mail/normal.c - see normal.h. */
#include "mail/normal.h"

#include "util/utf8.h"

#include <idn2.h>
#include <stdio.h>
#include <string.h>

#define LABEL_MAX 63  /* octets: RFC 1035 §2.3.4 */
#define DOMAIN_MAX 253

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* Labels of letters, digits and inner hyphens, in lower case, none of them empty (RFC 5890 §2.3.1). */
static bool
is_domain(const char *s)
{
	size_t n;

	if (strlen(s) > DOMAIN_MAX)
		return false;
	for (;; s += n + 1) {
		n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
		if (n == 0 || n > LABEL_MAX || s[0] == '-' || s[n - 1] == '-')
			return false;
		if (s[n] == '\0')
			return true;
		if (s[n] != '.')
			return false;
	}
}

/* ASCII without A-labels needs no tables: its lower case is its normal form. */
static bool
is_plain(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] >= 0x80 || (i + 4 <= s.n && span_is_nocase((struct span){ s.p + i, 4 }, "xn--")))
			return false;
	return true;
}

static bool
by_tables(const char *text, char out[NORMAL_DOMAIN_MAX])
{
	uint8_t *ascii = NULL;
	bool ok;

	/* not IDN2_USE_STD3_ASCII_RULES: it leaves out what those rules forbid, and the domain that remains is
	 * another one, perhaps somebody's */
	if (idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) !=
		IDN2_OK)
		return false;
	ok = is_domain((const char *)ascii);
	if (ok)
		snprintf(out, NORMAL_DOMAIN_MAX, "%s", (const char *)ascii);
	idn2_free(ascii);
	return ok;
}

bool
normal_domain(struct span domain, char out[NORMAL_DOMAIN_MAX])
{
	char text[4 * NORMAL_DOMAIN_MAX]; /* a U-label is longer in UTF-8 than its A-label, but not so much */
	size_t i;

	out[0] = '\0';
	if (domain.n == 0 || domain.n >= sizeof text || !utf8_printable(domain))
		return false;
	for (i = 0; i < domain.n; i++)
		text[i] = (char)lower(domain.p[i]);
	text[i] = '\0';
	if (!is_plain(domain))
		return by_tables(text, out);
	if (!is_domain(text))
		return false;
	memcpy(out, text, domain.n + 1);
	return true;
}

/* A quoted local part without its quotes and backslashes; false when it does not end where s does. */
static bool
unquote(struct span s, uint8_t out[NORMAL_LOCAL_MAX], size_t *n)
{
	size_t i;

	*n = 0;
	for (i = 1; i + 1 < s.n; i++) {
		if (s.p[i] == '"')
			return false;
		if (s.p[i] == '\\' && ++i + 1 >= s.n)
			return false;
		if (*n == NORMAL_LOCAL_MAX)
			return false;
		out[(*n)++] = s.p[i];
	}
	return s.n >= 2 && s.p[s.n - 1] == '"';
}

static bool
is_local_part(struct span s)
{
	size_t i;

	if (s.n == 0 || s.n > NORMAL_LOCAL_MAX || s.p[0] == '.' || s.p[s.n - 1] == '.' ||
	    !utf8_printable(s))
		return false;
	for (i = 0; i < s.n; i++)
		if (s.p[i] == ' ' || strchr("@\"(),:;<>[\\]/", s.p[i]) != NULL ||
		    (s.p[i] == '.' && s.p[i + 1] == '.'))
			return false;
	return true;
}

bool
normal_address(struct span address, char out[NORMAL_ADDRESS_MAX])
{
	uint8_t plain[NORMAL_LOCAL_MAX];
	struct span local, domain;
	const uint8_t *at;
	size_t i;

	out[0] = '\0';
	if (address.n == 0 || (at = memrchr(address.p, '@', address.n)) == NULL)
		return false;
	local = (struct span){ address.p, (size_t)(at - address.p) };
	domain = (struct span){ at + 1, address.n - local.n - 1 };
	if (local.n > 0 && local.p[0] == '"') {
		if (!unquote(local, plain, &local.n))
			return false;
		local.p = plain;
	}
	if (!is_local_part(local) || !normal_domain(domain, out + local.n + 1)) {
		out[0] = '\0';
		return false;
	}
	for (i = 0; i < local.n; i++)
		out[i] = (char)lower(local.p[i]);
	out[i] = '@';
	return true;
}
