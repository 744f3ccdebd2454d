/* proc/control_client.c - the postern command's socket: one JSON object on one line in, one out. The
 * socket's group may read; a change is for root and for the owner of the server (SO_PEERCRED). */
#include "proc/control.h"

#include "util/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FOLLOW_LOOK_MS 100

struct client {
	TAILQ_ENTRY(client) next;
	struct control *control;
	int fd;
	uid_t uid;
	uint32_t waits_for; /* id of a request to the parent; 0: none */
	bool replied;
	struct store_question *question; /* to the store, that it waits for; NULL: none */
	struct follow *follow; /* it follows connections; NULL: it asked one question */
	struct ev_timer look;  /* when to look again, then */
	struct buf in, out;
	struct ev_io io;
	struct ev_timer timer;
};

static void
client_free(struct client *cl)
{
	struct control *c = cl->control;

	TAILQ_REMOVE(&c->clients, cl, next);
	c->nclients--;
	ev_io_fini(&cl->io);
	ev_timer_fini(&cl->timer);
	ev_timer_fini(&cl->look);
	control_store_forget(&cl->question);
	if (cl->follow != NULL)
		c->nfollowers--;
	control_follow_free(&cl->follow);
	buf_fini(&cl->in);
	buf_fini(&cl->out);
	close(cl->fd);
	free(cl);
	control_end_if_done(c);
	if (c->socket >= 0 && !c->stopping)
		ev_io_want(&c->socket_io, EV_IO_READ);
}

/* Sends what it can; the connection ends behind the reply, or goes on being followed. */
static void
client_write(struct client *cl)
{
	struct span s = buf_span(&cl->out);
	ssize_t n;

	if (s.n > 0) {
		n = send(cl->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			client_free(cl);
			return;
		}
		if (n > 0)
			buf_consume(&cl->out, (size_t)n);
	}
	if (buf_size(&cl->out) > 0)
		ev_io_want(&cl->io, cl->follow != NULL ? EV_IO_READ | EV_IO_WRITE : EV_IO_WRITE);
	else if (cl->follow == NULL)
		client_free(cl);
	else
		ev_io_want(&cl->io, EV_IO_READ); /* for its end */
}

static void
client_reply(struct client *cl, const char *text)
{
	cl->replied = true;
	if (text == NULL || buf_append_str(&cl->out, text) != 0 || buf_append_str(&cl->out, "\n") != 0) {
		client_free(cl);
		return;
	}
	client_write(cl);
}

static void
client_reply_error(struct client *cl, const char *why)
{
	json_t *o = json_pack("{s:b, s:s}", "ok", 0, "error", why);
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	client_reply(cl, text);
	free(text);
}

static void
request_reload(struct client *cl)
{
	struct control *c = cl->control;
	struct msg_reload m = { .uid = (uint32_t)cl->uid };
	struct frame f;

	if (cl->uid != 0 && cl->uid != c->owner) {
		client_reply_error(cl, "a reload is for root or for the user who started posternd");
		return;
	}
	if (++c->next_id == 0)
		c->next_id = 1;
	cl->waits_for = c->next_id;
	PT_ASSERT(msg_reload_encode(&m, cl->waits_for, &f) == 0);
	child_send(&c->child, &f, -1);
	ev_io_want(&cl->io, 0); /* its answer comes from the parent */
}

static void
reply_metrics(struct client *cl)
{
	struct buf page;
	char *text = NULL;
	json_t *o = NULL;
	struct span s;

	buf_init(&page, CONTROL_REPLY_MAX / 2); /* line ends grow as JSON */
	if (control_metrics_put(cl->control, &page) == 0) {
		s = buf_span(&page);
		o = json_pack("{s:b, s:s%}", "ok", 1, "metrics", (const char *)s.p, s.n);
	}
	text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	client_reply(cl, text);
	free(text);
	json_decref(o);
	buf_fini(&page);
}

/* --- the flight recorder ----------------------------------------------------------------------- */

/* Takes the answer. */
static void
reply_json(struct client *cl, json_t *answer)
{
	char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT) : NULL;

	json_decref(answer);
	client_reply(cl, text);
	free(text);
}

static void
follow_look(void *arg)
{
	struct client *cl = arg;
	bool over = false;

	ev_timer_set(&cl->look, FOLLOW_LOOK_MS);
	if (buf_size(&cl->out) > 0)
		return; /* it has not read what there was */
	if (control_follow_put(cl->control, cl->follow, &cl->out, &over) != 0) {
		client_free(cl);
		return;
	}
	if (over) {
		control_follow_free(&cl->follow);
		cl->control->nfollowers--;
		ev_timer_clear(&cl->look);
	}
	client_write(cl);
}

static void
begin_follow(struct client *cl, const struct control_query *q)
{
	struct control *c = cl->control;

	if (c->nfollowers >= CONTROL_FOLLOWERS_MAX) {
		client_reply_error(cl, "too many follow connections already; end one of them (postern trace --follow)");
		return;
	}
	if ((cl->follow = control_follow_new(c, q)) == NULL) {
		client_free(cl);
		return;
	}
	c->nfollowers++;
	cl->replied = true;
	ev_timer_clear(&cl->timer); /* it may go on for ever */
	ev_timer_set(&cl->look, FOLLOW_LOOK_MS);
	ev_io_want(&cl->io, EV_IO_READ);
}

static void
request_trace(struct client *cl, const json_t *o)
{
	struct control_query q;

	control_query_parse(json_string_value(json_object_get(o, "which")), &q);
	if (q.which == CONTROL_USER)
		client_reply_error(cl, "that is neither \"last\" nor the id of a connection (such as 0-17) nor an address");
	else if (json_is_true(json_object_get(o, "follow")))
		begin_follow(cl, &q);
	else
		reply_json(cl, control_trace_answer(cl->control, &q));
}

static void
request_why(struct client *cl, const json_t *o)
{
	struct control_query q;

	control_query_parse(json_string_value(json_object_get(o, "which")), &q);
	reply_json(cl, control_why_answer(cl->control, &q));
}

static void
store_answered(void *arg, json_t *answer)
{
	reply_json(arg, answer);
}

/* It may be given up before it is answered: then nothing is told, and what was asked for is done all the same. */
static void
request_store(struct client *cl, const json_t *o)
{
	struct control *c = cl->control;

	ev_timer_set(&cl->timer, CONTROL_STORE_TIMEOUT_MS);
	control_store_ask(c, o, cl->uid == 0 || cl->uid == c->owner, &cl->question, store_answered, cl);
}

static void
request(struct client *cl, struct span line)
{
	json_t *o = json_loadb((const char *)line.p, line.n, 0, NULL);
	const char *command = json_string_value(json_object_get(o, "command"));
	char *text;

	if (command == NULL) {
		client_reply_error(cl, "a request is a JSON object on one line with a \"command\"");
	} else if (strcmp(command, "status") == 0) {
		text = control_status_text(cl->control);
		client_reply(cl, text);
		free(text);
	} else if (strcmp(command, "metrics") == 0) {
		reply_metrics(cl);
	} else if (strcmp(command, "trace") == 0) {
		request_trace(cl, o);
	} else if (strcmp(command, "why") == 0) {
		request_why(cl, o);
	} else if (strcmp(command, "store") == 0) {
		request_store(cl, o);
	} else if (strcmp(command, "reload") == 0) {
		request_reload(cl);
	} else {
		client_reply_error(cl, "unknown command; known are: status, metrics, trace, why, store, reload");
	}
	json_decref(o);
}

static void
client_ready(void *arg, unsigned what)
{
	struct client *cl = arg;
	const uint8_t *end;
	uint8_t chunk[1024];
	struct span s;
	ssize_t n;

	if (what & EV_IO_WRITE) {
		client_write(cl);
		return;
	}
	n = recv(cl->fd, chunk, sizeof chunk, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(cl);
		return;
	}
	if (cl->follow != NULL || cl->question != NULL)
		return; /* it has asked already */
	if (buf_append(&cl->in, chunk, (size_t)n) != 0) {
		client_reply_error(cl, "the request is too long");
		return;
	}
	s = buf_span(&cl->in);
	if ((end = memchr(s.p, '\n', s.n)) != NULL)
		request(cl, (struct span){ s.p, (size_t)(end - s.p) });
}

static void
client_late(void *arg)
{
	struct client *cl = arg;

	if (cl->replied)
		client_free(cl);
	else
		client_reply_error(cl, "no answer in time");
}

static void
socket_ready(void *arg, unsigned what)
{
	struct control *c = arg;
	struct ucred cred;
	socklen_t len = sizeof cred;
	struct client *cl;
	int fd;

	(void)what;
	if (c->nclients >= CONTROL_CLIENTS_MAX) {
		ev_io_want(&c->socket_io, 0); /* until one has ended */
		return;
	}
	if ((fd = accept4(c->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 ||
	    (cl = calloc(1, sizeof *cl)) == NULL) {
		close(fd);
		return;
	}
	cl->control = c;
	cl->fd = fd;
	cl->uid = cred.uid;
	buf_init(&cl->in, CONTROL_REQUEST_MAX);
	buf_init(&cl->out, CONTROL_REPLY_MAX);
	TAILQ_INSERT_TAIL(&c->clients, cl, next);
	c->nclients++;
	ev_io_init(&cl->io, c->child.loop, fd, client_ready, cl);
	ev_io_want(&cl->io, EV_IO_READ);
	ev_timer_init(&cl->timer, c->child.loop, client_late, cl);
	ev_timer_set(&cl->timer, CONTROL_TIMEOUT_MS);
	ev_timer_init(&cl->look, c->child.loop, follow_look, cl);
}

int
control_on_socket(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_control_socket m;

	(void)peer;
	if (msg_control_socket_decode(f, &m) != 0)
		return PT_EPROTO;
	if (c->socket >= 0) {
		ev_io_fini(&c->socket_io);
		close(c->socket);
	}
	c->owner = (uid_t)m.owner_uid;
	c->socket = frame_take_fd(f);
	ev_io_init(&c->socket_io, c->child.loop, c->socket, socket_ready, c);
	ev_io_want(&c->socket_io, EV_IO_READ);
	return 0;
}

int
control_on_reloaded(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_reloaded m;
	struct client *cl;
	json_t *o;
	char *text;

	(void)peer;
	if (msg_reloaded_decode(f, &m) != 0)
		return PT_EPROTO;
	TAILQ_FOREACH(cl, &c->clients, next)
		if (cl->waits_for == f->id && !cl->replied)
			break;
	if (cl == NULL)
		return 0; /* it did not wait */
	o = m.ok ? json_pack("{s:b, s:I}", "ok", 1, "generation", (json_int_t)m.generation)
		 : json_pack("{s:b, s:s%}", "ok", 0, "error", (const char *)m.text.p, m.text.n);
	text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	client_reply(cl, text);
	free(text);
	return 0;
}
