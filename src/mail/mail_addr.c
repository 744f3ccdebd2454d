/* mail/mail_addr.c - see mail_addr.h. A reader walks a cursor over borrowed octets; what it reads is
 * decoded into bounded buffers and only then written in canonical form. */
#include "mail/mail_addr.h"

#include "util/err.h"
#include "util/utf8.h"

#include <arpa/inet.h>
#include <string.h>

struct cursor {
	const uint8_t *p;
	size_t n;
};

struct local {
	uint8_t text[MAIL_LOCAL_MAX];
	size_t n;
};

static bool
at(const struct cursor *c, uint8_t octet)
{
	return c->n > 0 && *c->p == octet;
}

static bool
take(struct cursor *c, uint8_t octet)
{
	if (!at(c, octet))
		return false;
	c->p++;
	c->n--;
	return true;
}

/* atext of RFC 5322 §3.2.3, and what RFC 6532 adds (checked as UTF-8 later, as a whole). */
static bool
is_atext(uint8_t c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_alnum(uint8_t c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Atoms with single dots between them: what may stand without quotes. */
static bool
is_dot_string(struct span s)
{
	size_t i;

	if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.')
		return false;
	for (i = 0; i < s.n; i++)
		if (s.p[i] == '.' ? s.p[i - 1] == '.' : !is_atext(s.p[i]))
			return false;
	return true;
}

static bool
local_add(struct local *l, uint8_t octet)
{
	if (l->n == sizeof(l->text))
		return false;
	l->text[l->n++] = octet;
	return true;
}

/* Behind the opening quote (RFC 5321 §4.1.2 Quoted-string). */
static enum mail_addr_rc
read_quoted(struct cursor *c, struct local *l)
{
	uint8_t octet;

	while (c->n > 0) {
		octet = *c->p++;
		c->n--;
		if (octet == '"')
			return MAIL_ADDR_OK;
		if (octet == '\\') {
			if (c->n == 0)
				break;
			octet = *c->p++;
			c->n--;
		}
		if (octet < 0x20 || octet == 0x7f)
			break;
		if (!local_add(l, octet))
			return MAIL_ADDR_TOO_LONG;
	}
	return MAIL_ADDR_SYNTAX;
}

static enum mail_addr_rc
read_local(struct cursor *c, struct local *l)
{
	l->n = 0;
	if (take(c, '"'))
		return read_quoted(c, l);
	while (c->n > 0 && (is_atext(*c->p) || *c->p == '.')) {
		if (!local_add(l, *c->p))
			return MAIL_ADDR_TOO_LONG;
		c->p++;
		c->n--;
	}
	return is_dot_string((struct span){ l->text, l->n }) ? MAIL_ADDR_OK : MAIL_ADDR_SYNTAX;
}

/* What a domain or a literal may be made of, borrowed; whether it is one is seen later. */
static struct span
read_domain(struct cursor *c)
{
	struct span d = { c->p, 0 };
	bool literal = at(c, '[');

	while (c->n > 0 && (is_alnum(*c->p) || memchr("-._[]:", *c->p, literal ? 6 : 3) != NULL)) {
		c->p++;
		c->n--;
		d.n++;
		if (literal && c->p[-1] == ']')
			break;
	}
	return d;
}

static bool
label_valid(struct span l)
{
	size_t i;

	if (l.n == 0 || l.n > MAIL_LABEL_MAX || l.p[0] == '-' || l.p[l.n - 1] == '-')
		return false;
	for (i = 0; i < l.n; i++)
		if (!is_alnum(l.p[i]) && l.p[i] != '-' && l.p[i] != '_')
			return false;
	return true;
}

bool
mail_domain_valid(struct span in)
{
	const uint8_t *dot;
	struct span l;

	if (in.n == 0 || in.n > MAIL_DOMAIN_MAX || !utf8_printable(in))
		return false;
	if (in.p[in.n - 1] == '.')
		in.n--;
	do {
		dot = memchr(in.p, '.', in.n);
		l = (struct span){ in.p, dot == NULL ? in.n : (size_t)(dot - in.p) };
		if (!label_valid(l))
			return false;
		in.p += l.n + (dot != NULL);
		in.n -= l.n + (dot != NULL);
	} while (dot != NULL);
	return true;
}

bool
mail_literal_valid(struct span in)
{
	static const char tag[] = "[IPv6:";
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	bool v6 = in.n > strlen(tag) && span_is_nocase((struct span){ in.p, strlen(tag) }, tag);
	size_t skip = v6 ? strlen(tag) : 1;

	if (in.n < skip + 2 || in.p[0] != '[' || in.p[in.n - 1] != ']' || in.n - skip > sizeof(text) ||
	    memchr(in.p, '\0', in.n) != NULL)
		return false;
	memcpy(text, in.p + skip, in.n - skip - 1);
	text[in.n - skip - 1] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, text, &addr) == 1;
}

static void
put(struct mail_addr *out, uint8_t octet)
{
	PT_ASSERT(out->n < MAIL_ADDR_MAX);
	out->text[out->n++] = (char)octet;
	out->utf8 = out->utf8 || octet >= 0x80;
}

/* Writes the local part; false when it has no room with the quotes that it needs. */
static bool
put_local(struct mail_addr *out, struct span local)
{
	bool quotes = !is_dot_string(local);
	size_t i, n = local.n + (quotes ? 2 : 0);

	for (i = 0; quotes && i < local.n; i++)
		n += local.p[i] == '"' || local.p[i] == '\\';
	if (n > MAIL_LOCAL_MAX)
		return false;
	if (quotes)
		put(out, '"');
	for (i = 0; i < local.n; i++) {
		if (quotes && (local.p[i] == '"' || local.p[i] == '\\'))
			put(out, '\\');
		put(out, local.p[i]);
	}
	if (quotes)
		put(out, '"');
	out->local = out->n;
	return true;
}

enum mail_addr_rc
mail_addr_make(struct span local, struct span domain, struct mail_addr *out)
{
	size_t i;

	*out = (struct mail_addr){ .n = 0 };
	if (local.n > MAIL_LOCAL_MAX || domain.n > MAIL_DOMAIN_MAX)
		return MAIL_ADDR_TOO_LONG;
	out->literal = domain.n > 0 && domain.p[0] == '[';
	if (!utf8_printable(local) ||
	    !(out->literal ? mail_literal_valid(domain) : mail_domain_valid(domain)))
		return MAIL_ADDR_SYNTAX;
	if (!put_local(out, local))
		return MAIL_ADDR_TOO_LONG;
	put(out, '@');
	if (domain.p[domain.n - 1] == '.')
		domain.n--;
	for (i = 0; i < domain.n; i++)
		put(out, domain.p[i] >= 'A' && domain.p[i] <= 'Z' ? domain.p[i] | 0x20 : domain.p[i]);
	out->text[out->n] = '\0';
	return MAIL_ADDR_OK;
}

/* A mailbox; what follows it is left in c. */
static enum mail_addr_rc
read_mailbox(struct cursor *c, unsigned flags, struct mail_addr *out)
{
	static const char postmaster[] = "postmaster";
	struct local l;
	enum mail_addr_rc rc;

	if ((rc = read_local(c, &l)) != MAIL_ADDR_OK)
		return rc;
	if (take(c, '@'))
		return mail_addr_make((struct span){ l.text, l.n }, read_domain(c), out);
	if ((flags & MAIL_ADDR_POSTMASTER) == 0 ||
	    !span_is_nocase((struct span){ l.text, l.n }, postmaster))
		return MAIL_ADDR_SYNTAX;
	*out = (struct mail_addr){ .n = sizeof(postmaster) - 1, .local = sizeof(postmaster) - 1 };
	memcpy(out->text, postmaster, sizeof(postmaster));
	return MAIL_ADDR_OK;
}

/* "@one,@two:", which nobody has to heed any more (RFC 5321 §4.1.1.3, appendix C). */
static bool
skip_route(struct cursor *c)
{
	if (!at(c, '@'))
		return true;
	while (take(c, '@')) {
		if (!mail_domain_valid(read_domain(c)))
			return false;
		if (!take(c, ','))
			return take(c, ':');
	}
	return false;
}

enum mail_addr_rc
mail_path_read(struct span in, unsigned flags, struct mail_addr *out, size_t *used)
{
	struct cursor c = { in.p, in.n };
	enum mail_addr_rc rc;

	*used = 0;
	if (!take(&c, '<'))
		return MAIL_ADDR_SYNTAX;
	if ((flags & MAIL_ADDR_NULL) != 0 && take(&c, '>')) {
		*out = (struct mail_addr){ .n = 0 };
		*used = 2;
		return MAIL_ADDR_OK;
	}
	if (!skip_route(&c))
		return MAIL_ADDR_SYNTAX;
	if ((rc = read_mailbox(&c, flags, out)) != MAIL_ADDR_OK)
		return rc;
	if (!take(&c, '>'))
		return MAIL_ADDR_SYNTAX;
	*used = in.n - c.n;
	return out->utf8 && (flags & MAIL_ADDR_ALLOW_UTF8) == 0 ? MAIL_ADDR_UTF8 : MAIL_ADDR_OK;
}

enum mail_addr_rc
mail_addr_read(struct span in, struct mail_addr *out)
{
	struct cursor c = { in.p, in.n };
	enum mail_addr_rc rc = read_mailbox(&c, 0, out);

	return rc == MAIL_ADDR_OK && c.n > 0 ? MAIL_ADDR_SYNTAX : rc;
}

struct span
mail_addr_text(const struct mail_addr *a)
{
	return (struct span){ (const uint8_t *)a->text, a->n };
}

struct span
mail_addr_domain(const struct mail_addr *a)
{
	if (a->local == a->n)
		return (struct span){ NULL, 0 };
	return (struct span){ (const uint8_t *)a->text + a->local + 1, (size_t)(a->n - a->local - 1) };
}
