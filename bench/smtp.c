/* bench/smtp.c - see smtp.h. Commands go out together where PIPELINING allows it. */
#include "smtp.h"

#include "meter.h"

#include <stdio.h>
#include <string.h>

#define LINE 78            /* octets of a line of text, its end included */
#define TEXT (LINE * 200)  /* what fits in a record */
#define HEAD 256           /* octets of the header, filled up to that */

static const struct smtp_conf *conf;
static char text[TEXT + LINE];

void
smtp_setup(const struct smtp_conf *c)
{
	size_t i;

	conf = c;
	wire_setup(c->port, c->pool);
	for (i = 0; i < sizeof text; i++)
		text[i] = i % LINE == LINE - 2 ? '\r' : i % LINE == LINE - 1 ? '\n' : (char)('a' + i % 26);
}

static enum smtp_state
failed(struct smtp *c, const char *why)
{
	c->why = why;
	return SMTP_FAILED;
}

void
smtp_end(struct smtp *c)
{
	wire_close(&c->wire);
}

enum smtp_state
smtp_begin(struct smtp *c, unsigned number)
{
	const char *why;

	*c = (struct smtp){ .wire.fd = -1, .number = number, .phase = SMTP_GREETING, .awaited = 1, .why = "",
		.user = conf->pool != NULL ? number % (unsigned)conf->pool->n : number % conf->users };
	c->wire.cert = c->user;
	c->begun_ns = meter_now_ns();
	why = wire_open(&c->wire, number);
	return why == NULL ? SMTP_BUSY : failed(c, why);
}

/* Short enough that the kernel takes it at once. */
static enum smtp_state
say(struct smtp *c, enum smtp_phase phase, unsigned replies, const char *command)
{
	ssize_t n = (ssize_t)strlen(command);

	c->phase = phase;
	c->awaited = replies;
	return wire_send(&c->wire, command, (size_t)n) == n ? SMTP_BUSY : failed(c, "send");
}

/* --- a message -------------------------------------------------------------------------------- */

/* The next piece of it: its header, filled up with one long field's text, then lines, then the dot. */
static size_t
piece(const struct smtp *c, char *head, const char **p)
{
	size_t lines = (conf->size - HEAD) / LINE * LINE, off;
	int n;

	if (c->at < HEAD) {
		n = snprintf(head, HEAD, "From: <client%u@localhost>\r\nTo: <client@localhost>\r\nSubject: message %llu of %u\r\n"
			"Date: Fri, 27 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%llu.%u@bench.localhost>\r\nX-Fill: ",
			c->user, (unsigned long long)c->messages, c->number, (unsigned long long)c->begun_ns, c->number);
		memset(head + n, 'x', (size_t)(HEAD - n));
		memcpy(head + HEAD - 4, "\r\n\r\n", 4);
		n = HEAD;
		/* a small message is one record */
		if (lines <= TEXT) {
			memcpy(head + n, text, lines);
			n += (int)lines;
			memcpy(head + n, ".\r\n", 3);
			n += 3;
		}
		*p = head + c->at;
		return (size_t)n - c->at;
	}
	off = c->at - HEAD;
	if (off < lines) {
		*p = text + off % LINE;
		return lines - off < TEXT ? lines - off : TEXT;
	}
	off -= lines;
	*p = ".\r\n" + off;
	return 3 - off;
}

static enum smtp_state
send_body(struct smtp *c)
{
	static char head[HEAD + TEXT + 3];
	size_t all = HEAD + (conf->size - HEAD) / LINE * LINE + 3, n;
	const char *p;
	ssize_t r;

	while (c->at < all) {
		n = piece(c, head, &p);
		r = wire_send(&c->wire, p, n);
		if (r == WIRE_LATER) {
			c->writes = true; /* GnuTLS wants the same piece again, and gets it: it depends on c->at alone */
			return SMTP_BUSY;
		}
		if (r <= 0)
			return failed(c, "send");
		c->at += (size_t)r;
	}
	c->writes = false;
	c->sent_ns = meter_now_ns();
	return SMTP_BUSY;
}

enum smtp_state
smtp_message(struct smtp *c)
{
	char envelope[256];

	c->begun_ns = meter_now_ns();
	snprintf(envelope, sizeof envelope, "MAIL FROM:<client%u@localhost>\r\nRCPT TO:<client%llu@localhost>\r\nDATA\r\n",
		c->user, (unsigned long long)(c->number + ++c->messages) % conf->users);
	return say(c, SMTP_ENVELOPE, 3, envelope);
}

enum smtp_state
smtp_noop(struct smtp *c)
{
	c->begun_ns = meter_now_ns();
	return say(c, SMTP_NOOP, 1, "NOOP\r\n");
}

enum smtp_state
smtp_quit(struct smtp *c)
{
	return say(c, SMTP_QUIT, 1, "QUIT\r\n");
}

/* --- replies ---------------------------------------------------------------------------------- */

static enum smtp_state
begin_tls(struct smtp *c)
{
	const char *why = conf->stalls ? wire_stall(&c->wire) : wire_begin_tls(&c->wire, false);

	c->phase = conf->stalls ? SMTP_STALLED : SMTP_HANDSHAKE;
	if (why != NULL)
		return failed(c, why);
	return conf->stalls ? SMTP_READY : SMTP_BUSY;
}

static enum smtp_state
login(struct smtp *c)
{
	char plain[128], command[256] = "AUTH PLAIN ";
	gnutls_datum_t in = { (unsigned char *)plain, 0 }, out;

	if (conf->login == SMTP_LOGIN_EXTERNAL)
		return say(c, SMTP_AUTH, 1, "AUTH EXTERNAL =\r\n");
	in.size = (unsigned)snprintf(plain, sizeof plain, "%cclient%u@localhost%cpassword", '\0', c->user, '\0');
	if (gnutls_base64_encode2(&in, &out) != 0)
		return failed(c, "base64");
	snprintf(command + 11, sizeof command - 11, "%.*s\r\n", (int)out.size, (const char *)out.data);
	gnutls_free(out.data);
	return say(c, SMTP_AUTH, 1, command);
}

/* All replies that were awaited have come, each with the right code. */
static enum smtp_state
answered(struct smtp *c)
{
	switch (c->phase) {
	case SMTP_GREETING:
		return say(c, SMTP_EHLO, 1, "EHLO bench.localhost\r\n");
	case SMTP_EHLO:
		return say(c, SMTP_STARTTLS, 1, "STARTTLS\r\n");
	case SMTP_STARTTLS:
		return begin_tls(c);
	case SMTP_EHLO_TLS:
		if (conf->login != SMTP_LOGIN_NONE)
			return login(c);
		c->phase = SMTP_IDLE;
		return SMTP_READY;
	case SMTP_ENVELOPE:
		c->phase = SMTP_BODY;
		c->awaited = 1;
		c->at = 0;
		return send_body(c);
	case SMTP_QUIT:
		return SMTP_ENDED;
	default: /* AUTH, NOOP, the message */
		c->phase = SMTP_IDLE;
		return SMTP_READY;
	}
}

/* A last line: whether its code is one that we want. */
static bool
is_good(const struct smtp *c, const char *line)
{
	if (c->phase == SMTP_ENVELOPE && c->awaited == 1)
		return line[0] == '3';
	return line[0] == '2';
}

/* Takes whole lines off the room. */
static enum smtp_state
take_lines(struct smtp *c)
{
	enum smtp_state s = SMTP_BUSY;
	char *line = c->room, *end = c->room + c->have, *nl;
	static char refused[128];

	for (; s == SMTP_BUSY && (nl = memchr(line, '\n', (size_t)(end - line))) != NULL; line = nl + 1) {
		if (nl - line < 4 || line[3] == '-')
			continue;
		if (c->awaited == 0)
			return failed(c, "a reply that nobody asked for");
		if (!is_good(c, line)) {
			snprintf(refused, sizeof refused, "%.*s", (int)(nl - line - 1), line);
			return failed(c, refused);
		}
		if (--c->awaited == 0)
			s = answered(c);
	}
	c->have = (size_t)(end - line);
	memmove(c->room, line, c->have);
	return s;
}

/* Reads replies as far as they have come. */
static enum smtp_state
converse(struct smtp *c)
{
	enum smtp_state s = SMTP_BUSY;
	ssize_t n;

	while (s == SMTP_BUSY && c->phase != SMTP_HANDSHAKE) {
		if (c->have == sizeof c->room)
			return failed(c, "a reply that is too long");
		n = wire_recv(&c->wire, c->room + c->have, sizeof c->room - c->have);
		if (n == 0)
			return failed(c, "closed by the server");
		if (n == WIRE_BROKEN)
			return failed(c, "receive");
		if (n == WIRE_LATER)
			return SMTP_BUSY;
		c->have += (size_t)n;
		s = take_lines(c);
		if (!wire_pending(&c->wire))
			break; /* we have just spoken, or part of a reply is missing */
	}
	return s;
}

enum smtp_state
smtp_step(struct smtp *c)
{
	enum smtp_state s;
	int rc;

	if (c->phase == SMTP_IDLE || c->phase == SMTP_STALLED)
		return failed(c, "closed by the server");
	if (c->writes)
		return send_body(c);
	if (c->phase != SMTP_HANDSHAKE) {
		s = converse(c);
		if (s != SMTP_BUSY || c->phase != SMTP_HANDSHAKE)
			return s;
	}
	/* straight behind the reply to STARTTLS, since in TLS the client speaks first */
	if ((rc = gnutls_handshake(c->wire.tls)) != 0)
		return gnutls_error_is_fatal(rc) ? failed(c, gnutls_strerror(rc)) : SMTP_BUSY;
	return say(c, SMTP_EHLO_TLS, 1, "EHLO bench.localhost\r\n");
}

void
smtp_drip(struct smtp *c)
{
	(void)wire_drip(&c->wire); /* that it was dropped, the loop is told */
}
