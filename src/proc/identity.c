/* proc/identity.c - see identity.h. No name, no login: what a client typed is never looked at here. */
#include "proc/identity.h"

#include "mail/normal.h"

#include <stdio.h>
#include <string.h>

bool
identity_of_address(const char *address, char user[IDENTITY_MAX])
{
	const char *at = strrchr(address, '@'), *p;
	char domain[NORMAL_DOMAIN_MAX];
	int n;

	if (at == NULL || at == address || at - address > NORMAL_LOCAL_MAX)
		return false;
	for (p = address; p < at; p++) /* a quoted or broken local part is nobody's */
		if ((unsigned char)*p <= 0x20 || *p == 0x7f || strchr("@\"(),:;<>[\\]", *p) != NULL)
			return false;
	if (!normal_domain(span_str(at + 1), domain))
		return false;
	n = snprintf(user, IDENTITY_MAX, "%.*s@%s", (int)(at - address), address, domain);
	return n > 0 && n < IDENTITY_MAX;
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
