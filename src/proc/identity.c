/* proc/identity.c - see identity.h. No name, no login: what a client typed is never looked at here. */
#include "proc/identity.h"

#include <idn2.h>
#include <stdio.h>
#include <string.h>

#define LOCAL_PART_MAX 64 /* RFC 5321 §4.5.3.1.1 */

/* Labels of letters, digits and inner hyphens, in lower case, none of them empty (RFC 5890 §2.3.1). */
static bool
is_domain(const char *s)
{
	size_t n;

	for (;; s += n + 1) {
		n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
		if (n == 0 || s[0] == '-' || s[n - 1] == '-')
			return false;
		if (s[n] == '\0')
			return true;
		if (s[n] != '.')
			return false;
	}
}

bool
identity_of_address(const char *address, char user[IDENTITY_MAX])
{
	const char *at = strrchr(address, '@'), *p;
	char *domain = NULL;
	bool ok;
	int n;

	if (at == NULL || at == address || at[1] == '\0' || at - address > LOCAL_PART_MAX)
		return false;
	for (p = address; p < at; p++) /* a quoted or broken local part is nobody's */
		if ((unsigned char)*p <= 0x20 || *p == 0x7f || strchr("@\"(),:;<>[\\]", *p) != NULL)
			return false;
	/* not IDN2_USE_STD3_ASCII_RULES: it leaves out what those rules forbid, and the domain that remains is
	 * another one, perhaps somebody's */
	if (idn2_lookup_u8((const uint8_t *)at + 1, (uint8_t **)&domain,
		    IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	if (!is_domain(domain)) {
		idn2_free(domain);
		return false;
	}
	n = snprintf(user, IDENTITY_MAX, "%.*s@%s", (int)(at - address), address, domain);
	ok = n > 0 && n < IDENTITY_MAX;
	idn2_free(domain);
	return ok;
}

/* One more user that matches; false when it is another one than before. */
static bool
agree(const char *found, char user[IDENTITY_MAX])
{
	if (user[0] == '\0')
		snprintf(user, IDENTITY_MAX, "%s", found);
	return strcmp(found, user) == 0;
}

enum identity_result
identity_map(const struct conf *conf, const struct tls_session *s, char user[IDENTITY_MAX])
{
	const struct tls_facts *facts = tls_session_facts(s);
	char found[IDENTITY_MAX];
	size_t i, k, from = 0;
	bool applies;

	user[0] = '\0';
	if (facts->verdict != TLS_VERDICT_TRUSTED)
		return IDENTITY_NONE;
	for (i = 0; i < conf->nmaps; i++) {
		applies = conf->maps[i].from == NULL || tls_session_chain_from(s, from++);
		for (k = 0; applies && k < facts->nsans; k++) {
			if (strncmp(facts->sans[k], "email:", 6) != 0 ||
			    !identity_of_address(facts->sans[k] + 6, found))
				continue;
			if (!agree(found, user)) {
				user[0] = '\0';
				return IDENTITY_AMBIGUOUS;
			}
		}
	}
	return user[0] != '\0' ? IDENTITY_FOUND : IDENTITY_NONE;
}
