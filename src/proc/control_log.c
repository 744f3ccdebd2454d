/* proc/control_log.c - the log's one writer: takes frames from every process, bounds each sender's rate,
 * writes text or JSON to a file, stderr or syslog. A target that does not take a line loses it,
 * counted; nobody ever waits for the log. */
#include "proc/control.h"

#include "proc/logging.h"
#include "util/log.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RATE_PER_SECOND 100 /* messages of one sender in the long run */
#define RATE_BURST 1000
/* Of accepted messages and of logins each must have its line: who sends them pays with what they take in a mailbox, who logs in
 * is somebody whom we know. */
#define ACCOUNT_PER_SECOND 20000
#define ACCOUNT_BURST 40000
/* A line for each message and login would be a wake-up of this process for each, on the way to the client's reply. So the
 * first is taken at once and those behind it gather in the socket, which takes some 300; gone on with while more come. */
#define GATHER_MS 3
#define GATHERED_MAX 1000 /* taken in one turn */
#define TOGETHER_MAX (64u << 10) /* octets of lines that are written at once */
#define STOP_WAIT_MS 1500 /* for senders to go over to the next control */
#define REPORT_MS 5000      /* how often what was dropped is said */
#define SYSLOG_DAEMON (3 << 3) /* facility, RFC 5424 §6.2.1 */

/* What may be said at once, and when it was last filled up. */
struct log_bucket {
	unsigned tokens;
	uint64_t filled_ms;
};

struct log_sender {
	TAILQ_ENTRY(log_sender) next;
	struct control *control;
	struct link *link;
	uint8_t role;
	uint32_t pid;
	struct log_bucket all, accounts;
	bool gathering; /* its link is paused */
	uint64_t dropped; /* since the last report */
};

static bool
writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	/* no O_NONBLOCK: stderr is shared with whoever started us */
	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

static void
ask_to_reopen(struct control *c)
{
	struct msg_log_reopen m = { 0 };
	struct frame f;

	if (c->reopen_asked)
		return;
	c->reopen_asked = true; /* until the parent has sent a target */
	PT_ASSERT(msg_log_reopen_encode(&m, 0, &f) == 0);
	child_send(&c->child, &f, -1);
}

static void
not_written(struct control *c, uint64_t lines)
{
	c->log_dropped += lines;
	if (c->target.kind != CONF_LOG_STDERR)
		ask_to_reopen(c);
}

/* What was put together goes into its file. */
static void
put_lines(struct control *c)
{
	struct span s = buf_span(&c->lines);
	uint64_t lines = 0;
	ssize_t r = 0;

	if (s.n == 0)
		return;
	if (c->target.fd >= 0 && writable(c->target.fd) && (r = write(c->target.fd, s.p, s.n)) > 0)
		s = (struct span){ s.p + r, s.n - (size_t)r };
	for (; s.n > 0; s.p++, s.n--)
		lines += s.p[0] == '\n'; /* a line that was cut is one that is missing */
	if (lines > 0)
		not_written(c, lines);
	buf_consume(&c->lines, buf_size(&c->lines));
}

static void
put_line(struct control *c, const char *line, size_t n)
{
	struct iovec cut[2] = { { (void *)(uintptr_t)line, PIPE_BUF - 1 }, { (void *)(uintptr_t)"\n", 1 } };
	ssize_t r = -1;

	/* stderr may be a pipe: "writable" promises no more than that much without waiting */
	if (c->target.kind == CONF_LOG_STDERR && n > PIPE_BUF && c->target.fd >= 0 &&
	    writable(c->target.fd)) {
		r = writev(c->target.fd, cut, 2);
		n = PIPE_BUF;
	} else if (c->target.fd >= 0 && writable(c->target.fd))
		r = c->target.kind == CONF_LOG_SYSLOG
			? send(c->target.fd, line, n, MSG_NOSIGNAL | MSG_DONTWAIT)
			: write(c->target.fd, line, n);
	if (r != (ssize_t)n)
		not_written(c, 1);
}

static void
format_time(uint64_t time_us, char out[40])
{
	time_t t = (time_t)(time_us / 1000000);
	struct tm tm;
	char day[24];

	gmtime_r(&t, &tm);
	strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, 40, "%s.%03uZ", day, (unsigned)(time_us / 1000 % 1000));
}

struct message {
	uint64_t time_us;
	unsigned role, pid;
	enum log_level level;
	struct span text, fields;
};

/* The next pair of NUL-ended strings; false at the end or when it is cut. */
static bool
next_field(struct span *rest, const char **name, const char **value)
{
	const char *p = (const char *)rest->p;
	size_t a, b;

	if (rest->n == 0 || (a = strnlen(p, rest->n)) == rest->n ||
	    (b = strnlen(p + a + 1, rest->n - a - 1)) == rest->n - a - 1)
		return false;
	*name = p;
	*value = p + a + 1;
	rest->p += a + b + 2;
	rest->n -= a + b + 2;
	return true;
}

/* Line ends within a message would forge lines of their own: each goes on behind a mark. */
static int
put_text(struct buf *out, struct span text)
{
	size_t i, from = 0;
	int rc = 0;

	for (i = 0; i < text.n && rc == 0; i++) {
		if (text.p[i] != '\n')
			continue;
		rc = buf_append(out, text.p + from, i - from);
		if (rc == 0 && i + 1 < text.n)
			rc = buf_append_str(out, " | ");
		from = i + 1;
	}
	return rc != 0 ? rc : buf_append(out, text.p + from, text.n - from);
}

static int
format_text(const struct control *c, const struct message *m, struct buf *out)
{
	struct span rest = m->fields;
	const char *name, *value;
	char when[40];
	int rc;

	format_time(m->time_us, when);
	if (c->target.kind == CONF_LOG_SYSLOG)
		rc = buf_printf(out, "<%d>posternd[%u]: %s %s: ", SYSLOG_DAEMON | (int)m->level, m->pid,
			role_name(m->role), log_level_name(m->level));
	else
		rc = buf_printf(out, "%s %s[%u] %s: ", when, role_name(m->role), m->pid,
			log_level_name(m->level));
	if (rc == 0)
		rc = put_text(out, m->text);
	while (rc == 0 && next_field(&rest, &name, &value))
		rc = buf_printf(out, strpbrk(value, " \"") != NULL ? " %s=\"%s\"" : " %s=%s", name,
			value);
	if (rc == 0 && c->target.kind != CONF_LOG_SYSLOG)
		rc = buf_append_str(out, "\n");
	return rc;
}

static int
format_json(const struct control *c, const struct message *m, struct buf *out)
{
	struct span rest = m->fields;
	const char *name, *value;
	char when[40], printable[LOG_LINE_MAX], *text;
	json_t *o;
	int rc = 0;

	format_time(m->time_us, when);
	o = json_pack("{s:s, s:s, s:i, s:s}", "time", when, "role", role_name(m->role), "pid",
		(int)m->pid, "level", log_level_name(m->level));
	if (o != NULL && json_object_set_new(o, "text", json_stringn((const char *)m->text.p,
						m->text.n)) != 0) { /* not UTF-8: a path may be anything */
		span_print(m->text, printable, sizeof printable);
		(void)json_object_set_new(o, "text", json_string(printable));
	}
	while (o != NULL && next_field(&rest, &name, &value))
		(void)json_object_set_new(o, name, json_string(value)); /* NULL: not UTF-8, left out */
	text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	if (c->target.kind == CONF_LOG_SYSLOG)
		rc = buf_printf(out, "<%d>posternd[%u]: ", SYSLOG_DAEMON | (int)m->level, m->pid);
	if (rc == 0)
		rc = text != NULL ? buf_append_str(out, text) : PT_ENOMEM;
	if (rc == 0 && c->target.kind != CONF_LOG_SYSLOG)
		rc = buf_append_str(out, "\n");
	free(text);
	json_decref(o);
	return rc;
}

static void
put_message(struct control *c, const struct message *m)
{
	struct buf line;
	struct span s;
	int rc;

	buf_init(&line, 4 * FRAME_PAYLOAD_MAX);
	rc = c->target.format == CONF_LOG_JSON ? format_json(c, m, &line) : format_text(c, m, &line);
	s = buf_span(&line);
	if (rc == 0 && c->together && c->target.kind == CONF_LOG_FILE) {
		if (buf_size(&c->lines) + s.n > TOGETHER_MAX)
			put_lines(c);
		if ((rc = buf_append(&c->lines, s.p, s.n)) != 0)
			c->log_dropped++;
	} else if (rc == 0)
		put_line(c, (const char *)s.p, s.n);
	else
		c->log_dropped++;
	buf_fini(&line);
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Control's own messages. */
static void
sink(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	char packed[LOGGING_FIELDS_MAX];
	struct message m = { now_us(), ROLE_CONTROL, (unsigned)getpid(), level, span_str(text),
		{ (uint8_t *)packed, logging_pack(fields, n, packed) } };

	put_message(arg, &m);
}

static bool
take_token(struct log_bucket *b, unsigned per_second, unsigned burst)
{
	uint64_t now = ev_now_ms(), more = (now - b->filled_ms) * per_second / 1000;

	if (more > 0) {
		b->filled_ms = now;
		b->tokens = more + b->tokens > burst ? burst : b->tokens + (unsigned)more;
	}
	if (b->tokens == 0)
		return false;
	b->tokens--;
	return true;
}

/* Whether the fields, each a name and a value with a NUL behind, have this one. */
static bool
has_field(struct span fields, const char *name, const char *value)
{
	char want[64];
	int n = snprintf(want, sizeof want, "%s%c%s%c", name, '\0', value, '\0');

	return fields.n > 0 && memmem(fields.p, fields.n, want, (size_t)n) != NULL;
}

static void
begin_gathering(struct log_sender *s)
{
	if (s->gathering)
		return;
	s->gathering = true;
	link_pause(s->link, true);
	if (!ev_timer_pending(&s->control->gather_timer))
		ev_timer_set(&s->control->gather_timer, GATHER_MS);
}

static bool
may_say(struct log_sender *s, const struct msg_log *l)
{
	if (s->role != ROLE_WORKER || l->level != LOG_L_INFO ||
	    (!has_field(l->fields, "code", "message") && !has_field(l->fields, "code", "login")))
		return take_token(&s->all, RATE_PER_SECOND, RATE_BURST);
	begin_gathering(s);
	return take_token(&s->accounts, ACCOUNT_PER_SECOND, ACCOUNT_BURST);
}

static void
report_dropped(struct log_sender *s)
{
	if (s->dropped == 0)
		return;
	log_msg(LOG_L_WARNING, "%llu messages of %s[%u] were left out: more than %d a second",
		(unsigned long long)s->dropped, role_name(s->role), s->pid, RATE_PER_SECOND);
	s->dropped = 0;
}

/* Names and values are sent without control characters (logging_send); NUL ends each. */
static bool
is_plain(struct span fields)
{
	size_t i;

	for (i = 0; i < fields.n; i++)
		if ((fields.p[i] < 0x20 && fields.p[i] != '\0') || fields.p[i] == 0x7f)
			return false;
	return true;
}

static int
on_log(void *self, void *peer, struct frame *f)
{
	struct log_sender *s = self;
	struct message m;
	struct msg_log l;

	(void)peer;
	if (msg_log_decode(f, &l) != 0 || !is_plain(l.fields))
		return PT_EPROTO;
	if (!may_say(s, &l)) {
		s->dropped++;
		s->control->log_dropped++;
		return 0;
	}
	m = (struct message){ l.time_us, s->role, s->pid,
		l.level >= LOG_L_ERROR && l.level <= LOG_L_DEBUG ? (enum log_level)l.level
								 : LOG_L_ERROR,
		l.text, l.fields };
	put_message(s->control, &m);
	return 0;
}

/* The last sender has gone over to the next control, and the last client has its answer. */
void
control_end_if_done(struct control *c)
{
	if (c->stopping && TAILQ_EMPTY(&c->senders) && TAILQ_EMPTY(&c->clients)) {
		put_lines(c);
		exit(0);
	}
}

static const struct ipc_rule sender_rules[] = {
	{ MSG_T_LOG, ~0u, IPC_ANY_STATE, on_log },
};

static void
sender_gone(void *self, struct link *link, int rc)
{
	struct log_sender *s = self;

	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "%s[%u] sent a frame that is no log message; its log is closed",
			role_name(s->role), s->pid);
	report_dropped(s);
	TAILQ_REMOVE(&s->control->senders, s, next);
	link_free(&link);
	control_end_if_done(s->control);
	free(s);
}

/* What one sender's socket has, up to GATHERED_MAX frames. May free the sender. */
static void
take_gathered(struct log_sender *s)
{
	struct frame f;
	unsigned n;
	int rc = 0;

	for (n = 0; n < GATHERED_MAX; n++)
		if ((rc = chan_recv(s->link->chan, &f)) != 0 ||
		    (rc = ipc_dispatch(sender_rules, PT_COUNT(sender_rules), s->role, 0, s, NULL, &f)) != 0)
			break;
	if (rc != 0 && rc != PT_EAGAIN)
		sender_gone(s, s->link, rc);
}

static void
on_gather(void *arg)
{
	struct control *c = arg;
	struct log_sender *s, *next;

	c->together = true;
	TAILQ_FOREACH_SAFE(s, &c->senders, next, next) {
		if (s->gathering) {
			s->gathering = false; /* the first account that it has begins it anew */
			take_gathered(s);
		}
	}
	put_lines(c);
	c->together = false;
	TAILQ_FOREACH(s, &c->senders, next)
		if (!s->gathering && s->link->paused)
			link_pause(s->link, false);
}

int
control_on_log_sender(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct log_sender *s;
	struct msg_log_sender m;

	(void)peer;
	if (msg_log_sender_decode(f, &m) != 0 || m.role >= ROLE_COUNT)
		return PT_EPROTO;
	PT_ASSERT((s = calloc(1, sizeof *s)) != NULL);
	*s = (struct log_sender){ .control = c, .role = m.role, .pid = m.pid,
		.all = { RATE_BURST, ev_now_ms() }, .accounts = { ACCOUNT_BURST, ev_now_ms() } };
	s->link = link_new(&c->child, frame_take_fd(f), m.role, sender_rules, PT_COUNT(sender_rules), s,
		sender_gone);
	PT_ASSERT(s->link != NULL);
	TAILQ_INSERT_TAIL(&c->senders, s, next);
	return 0;
}

int
control_on_log_target(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_log_target m;

	(void)peer;
	if (msg_log_target_decode(f, &m) != 0 || m.kind > CONF_LOG_FILE || m.format > CONF_LOG_JSON)
		return PT_EPROTO;
	if (c->target.fd >= 0)
		close(c->target.fd);
	c->target = (struct log_target){ (enum conf_log)m.kind, (enum conf_log_format)m.format,
		frame_take_fd(f) };
	c->reopen_asked = false;
	return 0;
}

static void
on_report(void *arg)
{
	struct control *c = arg;
	struct log_sender *s;

	if (c->stopping) { /* somebody keeps an end open: what it has said so far is written */
		control_log_flush(c);
		exit(0);
	}
	ev_timer_set(&c->log_timer, REPORT_MS);
	TAILQ_FOREACH(s, &c->senders, next)
		report_dropped(s);
	control_rec_second(c);
}

void
control_log_stop(struct control *c)
{
	c->stopping = true;
	control_end_if_done(c);
	ev_timer_set(&c->log_timer, STOP_WAIT_MS);
}

void
control_log_init(struct control *c)
{
	TAILQ_INIT(&c->senders);
	c->target.fd = -1;
	buf_init(&c->lines, TOGETHER_MAX);
	log_set_sink(sink, c);
	ev_timer_init(&c->log_timer, c->child.loop, on_report, c);
	ev_timer_set(&c->log_timer, REPORT_MS);
	ev_timer_init(&c->gather_timer, c->child.loop, on_gather, c);
}

void
control_log_flush(struct control *c)
{
	struct log_sender *s;
	struct frame f;

	TAILQ_FOREACH(s, &c->senders, next) {
		while (chan_recv(s->link->chan, &f) == 0)
			if (ipc_dispatch(sender_rules, PT_COUNT(sender_rules), s->role, 0, s, NULL,
				    &f) != 0)
				break;
		report_dropped(s);
	}
}
