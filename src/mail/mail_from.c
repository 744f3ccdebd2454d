/* mail/mail_from.c - see mail_from.h.
 *
 * What decides who a message claims to be from must not see less than a mail reader does: what this
 * cannot read is refused, never skipped. */
#include "mail/mail_from.h"

#include <string.h>

#define COMMENTS_MAX 16 /* comments within comments */

struct parts {
	uint8_t local[MAIL_LOCAL_MAX], domain[MAIL_DOMAIN_MAX];
	size_t nlocal, ndomain;
};

static bool
at(const struct span *s, uint8_t octet)
{
	return s->n > 0 && *s->p == octet;
}

static void
step(struct span *s, size_t n)
{
	s->p += n;
	s->n -= n;
}

static bool
take(struct span *s, uint8_t octet)
{
	if (!at(s, octet))
		return false;
	step(s, 1);
	return true;
}

/* Behind '('. false when it does not end. */
static bool
skip_comment(struct span *s)
{
	unsigned depth = 1;

	while (s->n > 0 && depth > 0) {
		if (at(s, '\\') && s->n > 1)
			step(s, 1);
		else if (at(s, '('))
			depth++;
		else if (at(s, ')'))
			depth--;
		if (depth > COMMENTS_MAX)
			return false;
		step(s, 1);
	}
	return depth == 0;
}

static bool
skip_blanks(struct span *s)
{
	while (at(s, ' ') || at(s, '\t') || at(s, '(')) {
		if (take(s, '(')) {
			if (!skip_comment(s))
				return false;
		} else {
			step(s, 1);
		}
	}
	return true;
}

static bool
add(uint8_t *to, size_t *n, size_t max, uint8_t octet)
{
	if (*n == max)
		return false;
	to[(*n)++] = octet;
	return true;
}

/* Behind '"'; what it means goes to p where there is one. */
static bool
quoted(struct span *s, struct parts *p)
{
	uint8_t octet;

	while (s->n > 0) {
		if (take(s, '"'))
			return true;
		if (at(s, '\\') && s->n > 1)
			step(s, 1);
		octet = *s->p;
		step(s, 1);
		if (p != NULL && !add(p->local, &p->nlocal, sizeof(p->local), octet))
			return false;
	}
	return false;
}

static bool
is_special(uint8_t c)
{
	return c <= 0x20 || c == 0x7f || memchr("()<>[]:;@\\,.\"", c, 13) != NULL;
}

/* One atom. false when there is none, or no room. */
static bool
atom(struct span *s, uint8_t *to, size_t *n, size_t max)
{
	size_t was = *n;

	while (s->n > 0 && !is_special(*s->p)) {
		if (!add(to, n, max, *s->p))
			return false;
		step(s, 1);
	}
	return *n > was;
}

static bool
literal(struct span *s, struct parts *p)
{
	uint8_t octet;

	while (s->n > 0) {
		octet = *s->p;
		step(s, 1);
		if (octet == ' ' || octet == '\t')
			continue;
		if (!add(p->domain, &p->ndomain, sizeof(p->domain), octet))
			return false;
		if (octet == ']')
			return true;
	}
	return false;
}

static bool
local_part(struct span *s, struct parts *p)
{
	do {
		if (!skip_blanks(s))
			return false;
		if (!(take(s, '"') ? quoted(s, p) : atom(s, p->local, &p->nlocal, sizeof(p->local))) ||
		    !skip_blanks(s))
			return false;
	} while (at(s, '.') && add(p->local, &p->nlocal, sizeof(p->local), '.') && take(s, '.'));
	return true;
}

static bool
domain(struct span *s, struct parts *p)
{
	if (!skip_blanks(s))
		return false;
	if (at(s, '['))
		return literal(s, p) && skip_blanks(s);
	do {
		if (!skip_blanks(s) || !atom(s, p->domain, &p->ndomain, sizeof(p->domain)) ||
		    !skip_blanks(s))
			return false;
	} while (at(s, '.') && add(p->domain, &p->ndomain, sizeof(p->domain), '.') && take(s, '.'));
	return true;
}

static bool
addr_spec(struct span *s, struct mail_addr *out)
{
	struct parts p;

	p.nlocal = p.ndomain = 0;
	return local_part(s, &p) && take(s, '@') && domain(s, &p) &&
	       mail_addr_make((struct span){ p.local, p.nlocal }, (struct span){ p.domain, p.ndomain },
			      out) == MAIL_ADDR_OK;
}

/* A route (RFC 5322 §4.4 obs-route), which means nothing any more. Domains and nothing else: whatever was skipped
 * unread up to the ':' would be an address to those who do not know routes. */
static bool
skip_route(struct span *s)
{
	struct parts p;

	if (!at(s, '@') && !at(s, ','))
		return true;
	for (;;) {
		p.ndomain = 0;
		if ((take(s, '@') && !domain(s, &p)) || !skip_blanks(s))
			return false;
		if (take(s, ':'))
			return true;
		if (!take(s, ',') || !skip_blanks(s))
			return false;
	}
}

/* Behind '<': a route, the address, '>'. */
static bool
angle(struct span *s, struct mail_addr *out)
{
	return skip_blanks(s) && skip_route(s) && addr_spec(s, out) && take(s, '>') && skip_blanks(s);
}

/* Words in front of '<' or ':'. What cannot stand in them is left. */
static bool
skip_phrase(struct span *s)
{
	while (s->n > 0) {
		if (!skip_blanks(s))
			return false;
		if (take(s, '"')) {
			if (!quoted(s, NULL))
				return false;
		} else if (s->n > 0 && (*s->p == '.' || !is_special(*s->p))) {
			step(s, 1);
		} else {
			break;
		}
	}
	return true;
}

static bool
ends(const struct span *s)
{
	return s->n == 0 || *s->p == ',' || *s->p == ';';
}

enum mail_from
mail_from_next(struct span *rest, struct mail_addr *out)
{
	struct span s = *rest, bare;

	for (;;) {
		if (!skip_blanks(&s))
			return MAIL_FROM_BAD;
		if (take(&s, ',') || take(&s, ';'))
			continue;
		if (s.n == 0) {
			*rest = s;
			return MAIL_FROM_END;
		}
		bare = s;
		if (addr_spec(&bare, out) && ends(&bare)) {
			*rest = bare;
			return MAIL_FROM_ADDR;
		}
		if (!skip_phrase(&s))
			return MAIL_FROM_BAD;
		if (take(&s, ':')) /* of a group (RFC 6854) */
			continue;
		if (!take(&s, '<') || !angle(&s, out) || !ends(&s))
			return MAIL_FROM_BAD;
		*rest = s;
		return MAIL_FROM_ADDR;
	}
}
