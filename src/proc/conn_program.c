/* proc/conn_program.c - see conn_program.h. */
#include "proc/conn_program.h"

#include "proc/conn_impl.h"
#include "proc/program_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void
close_end(struct ev_io *io, int *fd)
{
	ev_io_fini(io);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- what it is told about the client --------------------------------------------------------- */

static void
put_address(struct buf *env, const union addr *a, socklen_t len, enum program_env_var ip, enum program_env_var port)
{
	char text[ADDR_TEXT_MAX], number[8];
	size_t n;

	if (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6)
		return;
	addr_host_text(a, len, text);
	if (text[0] == '[' && (n = strlen(text)) > 2) { /* as UCSPI has it: without brackets */
		memmove(text, text + 1, n - 2);
		text[n - 2] = '\0';
	}
	snprintf(number, sizeof number, "%u", ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port));
	program_env_put(env, ip, text);
	program_env_put(env, port, number);
}

static void
put_addresses(const struct conn *c, struct buf *env)
{
	union addr local = { .sa = { .sa_family = AF_UNSPEC } }, peer = { .sa = { .sa_family = AF_UNSPEC } };
	socklen_t len = sizeof local;

	if (getsockname(c->stream.fd, &local.sa, &len) != 0)
		return;
	if (local.sa.sa_family == AF_UNIX) {
		program_env_put(env, PROGRAM_ENV_PROTO, "UNIX");
		local.un.sun_path[sizeof local.un.sun_path - 1] = '\0';
		program_env_put(env, PROGRAM_ENV_LOCAL_PATH, local.un.sun_path);
		return;
	}
	memcpy(&peer, c->peer, sizeof c->peer);
	program_env_put(env, PROGRAM_ENV_PROTO, local.sa.sa_family == AF_INET ||
			IN6_IS_ADDR_V4MAPPED(&local.in6.sin6_addr) ? "TCP" : "TCP6");
	put_address(env, &peer, sizeof c->peer, PROGRAM_ENV_REMOTE_IP, PROGRAM_ENV_REMOTE_PORT);
	put_address(env, &local, len, PROGRAM_ENV_LOCAL_IP, PROGRAM_ENV_LOCAL_PORT);
}

static void
put_time(struct buf *env, enum program_env_var var, int64_t seconds)
{
	time_t t = (time_t)seconds;
	char text[64];
	struct tm tm;

	if (seconds != 0 && gmtime_r(&t, &tm) != NULL &&
	    strftime(text, sizeof text, "%b %e %H:%M:%S %Y GMT", &tm) > 0)
		program_env_put(env, var, text);
}

static void
put_sans(struct buf *env, const struct engine_peer *peer)
{
	unsigned emails = 0, names = 0;
	size_t i;

	for (i = 0; i < peer->nsans; i++) {
		if (strncmp(peer->sans[i], "email:", 6) == 0 && emails < PROGRAM_ENV_SANS)
			program_env_put(env, PROGRAM_ENV_SAN_EMAIL_0 + emails++, peer->sans[i] + 6);
		if (strncmp(peer->sans[i], "dns:", 4) == 0 && names < PROGRAM_ENV_SANS)
			program_env_put(env, PROGRAM_ENV_SAN_DNS_0 + names++, peer->sans[i] + 4);
	}
}

static void
put_certificate(const struct conn *c, struct buf *env)
{
	const struct engine_peer *peer = &c->secure->peer;
	struct tls_details d;
	char verify[64];

	program_env_put(env, PROGRAM_ENV_VERDICT, peer->verdict);
	/* nginx's and Apache's words: a certificate that nobody has is as good as any to them */
	if (peer->verdict == NULL || strcmp(peer->verdict, "none") == 0)
		snprintf(verify, sizeof verify, "NONE");
	else if (strcmp(peer->verdict, "trusted") == 0 || strcmp(peer->verdict, "unmapped") == 0)
		snprintf(verify, sizeof verify, "SUCCESS");
	else
		snprintf(verify, sizeof verify, "FAILED:%s", peer->verdict);
	program_env_put(env, PROGRAM_ENV_CLIENT_VERIFY, verify);
	if (!tls_session_details(c->tls, &d))
		return;
	program_env_put(env, PROGRAM_ENV_CLIENT_S_DN, peer->subject);
	program_env_put(env, PROGRAM_ENV_CLIENT_I_DN, d.issuer);
	program_env_put(env, PROGRAM_ENV_CLIENT_SERIAL, d.serial);
	program_env_put(env, PROGRAM_ENV_CLIENT_FINGERPRINT, d.fingerprint);
	put_time(env, PROGRAM_ENV_CLIENT_START, d.from_s);
	put_time(env, PROGRAM_ENV_CLIENT_END, d.until_s);
	put_sans(env, peer);
}

static void
put_tls(const struct conn *c, struct buf *env)
{
	const struct engine_peer *peer = &c->secure->peer;
	char version[32];

	if (strncmp(peer->tls_version, "TLS", 3) == 0) { /* "TLS1.3": elsewhere "TLSv1.3" */
		snprintf(version, sizeof version, "TLSv%s", peer->tls_version + 3);
		program_env_put(env, PROGRAM_ENV_TLS_PROTOCOL, version);
	}
	program_env_put(env, PROGRAM_ENV_TLS_CIPHER, peer->tls_cipher);
	program_env_put(env, PROGRAM_ENV_TLS_GROUP, peer->tls_group);
	program_env_put(env, PROGRAM_ENV_TLS_RESUMED, peer->resumed ? "yes" : "no");
}

/* In order of importance: see program_env.h. */
static void
put_all(const struct conn *c, const char *user, struct buf *env)
{
	if (user != NULL)
		program_env_put(env, PROGRAM_ENV_USER, user);
	program_env_put(env, PROGRAM_ENV_SERVICE, c->service->conf->name);
	put_addresses(c, env);
	if (!c->inside)
		return;
	put_tls(c, env);
	put_certificate(c, env);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static void on_timer(void *arg);

static void
refuse(struct conn *c, enum engine_no_program why)
{
	COUNT(c, programs_refused, 1);
	conn_fault(c, why == ENGINE_NO_PROGRAM_BUSY ? REC_CAUSE_PROGRAM_BUSY : REC_CAUSE_PROGRAM_FAILED);
	engine_program_refused(c->engine, why);
}

/* user: who it is, NULL: nobody. */
static void
ask_spawn(struct conn *c, const char *user)
{
	struct buf env;

	if (c->worker->spawner == NULL) { /* it may have died while auth was asked */
		conn_program_free(&c->program);
		refuse(c, ENGINE_NO_PROGRAM_FAILED);
		return;
	}
	buf_init(&env, PROGRAM_ENV_MAX);
	put_all(c, user, &env);
	spawner_start(c->worker->spawner, c->program, (uint32_t)(c->service - c->worker->services), buf_span(&env));
	buf_wipe(&env);
}

/* The certificate is good, and who it maps to was none, or is none any more. */
static void
nobodys(struct conn *c)
{
	c->secure->peer.verdict = tls_verdict_name(TLS_VERDICT_UNMAPPED);
	c->rec.verdict = TLS_VERDICT_UNMAPPED;
	if (!c->service->exec.needs_login) {
		ask_spawn(c, NULL);
		return;
	}
	conn_program_free(&c->program);
	engine_program_refused(c->engine, ENGINE_NO_PROGRAM_LOGIN);
}

static void
identified(void *arg, const struct auth_answer *a)
{
	struct conn_program *p = arg;
	struct conn *c = p->conn;
	char user[NORMAL_ADDRESS_MAX];

	if (p->told)
		return; /* too late */
	snprintf(user, sizeof user, "%s", a->user);
	if (a->result == AUTH_OK) {
		ask_spawn(c, user);
	} else if (a->result == AUTH_NO_USER || a->result == AUTH_BAD_ADDRESS) {
		nobodys(c);
	} else {
		conn_program_free(&c->program);
		conn_say(c, LOG_L_NOTICE, "login-unavailable", "auth cannot be asked now: no program is started");
		COUNT(c, programs_refused, 1);
		engine_program_refused(c->engine, ENGINE_NO_PROGRAM_AWAY);
	}
	conn_wake(c);
}

void
conn_program_start(struct conn *c)
{
	struct conn_program *p;

	PT_ASSERT(c->program == NULL); /* one for each session */
	if ((p = calloc(1, sizeof *p)) == NULL) {
		refuse(c, ENGINE_NO_PROGRAM_FAILED);
		return;
	}
	*p = (struct conn_program){ .conn = c, .in_fd = -1, .out_fd = -1 };
	ev_timer_init(&p->timer, c->worker->child.loop, on_timer, p);
	c->program = p;
	if (!c->inside || c->secure->identity == NULL)
		ask_spawn(c, NULL);
	else if (c->worker->conf->users_file == NULL) /* whoever the certificate names is somebody */
		ask_spawn(c, c->secure->identity);
	else
		auth_client_identify(c->worker->auth, &p->auth, c->secure->identity, identified, p);
}

void
conn_program_free(struct conn_program **pp)
{
	struct conn_program *p = *pp;

	if (p == NULL)
		return;
	auth_client_cancel(p->conn->worker->auth, &p->auth);
	if (p->spawner != NULL)
		spawner_end(p);
	close_end(&p->in_io, &p->in_fd);
	close_end(&p->out_io, &p->out_fd);
	ev_timer_fini(&p->timer);
	free(p);
	*pp = NULL;
}

void
conn_program_end_input(struct conn *c)
{
	if (c->program != NULL)
		close_end(&c->program->in_io, &c->program->in_fd);
}

void
conn_program_late(struct conn *c)
{
	struct conn_program *p = c->program;

	if (p->told)
		return;
	p->told = true;
	close_end(&p->in_io, &p->in_fd);
	close_end(&p->out_io, &p->out_fd);
	engine_program_ended(c->engine);
}

/* --- octets ----------------------------------------------------------------------------------- */

/* To the program: true when some have gone. A program that has closed its input is spared the rest. */
static bool
give(struct conn_program *p, struct engine *e)
{
	struct span to;
	bool moved = false;
	ssize_t n;

	while ((to = engine_to_program(e)).n > 0 && (p->writable || p->in_fd < 0)) {
		n = p->in_fd >= 0 ? write(p->in_fd, to.p, to.n) : (ssize_t)to.n;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			p->writable = false;
			break;
		}
		if (n < 0) {
			close_end(&p->in_io, &p->in_fd);
			continue;
		}
		engine_to_program_done(e, (size_t)n);
		moved = true;
	}
	return moved;
}

static void
output_ended(struct conn_program *p)
{
	p->eof = true;
	close_end(&p->out_io, &p->out_fd);
	if (p->ended)
		conn_program_late(p->conn);
	else
		ev_timer_set(&p->timer, PROGRAM_STATUS_MS);
}

/* From the program: true when some have come, or its end. */
static bool
take(struct conn_program *p, struct engine *e)
{
	uint8_t *plain = p->conn->worker->plain;
	size_t room = engine_program_room(e);
	ssize_t n;

	if (!p->readable || p->out_fd < 0 || room == 0)
		return false;
	if (room > sizeof p->conn->worker->plain)
		room = sizeof p->conn->worker->plain;
	n = read(p->out_fd, plain, room);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		p->readable = false;
		return false;
	}
	if (n <= 0) {
		output_ended(p);
		return true;
	}
	engine_program_output(e, plain, (size_t)n, ev_now_ms());
	explicit_bzero(plain, (size_t)n); /* the next connection uses it */
	p->readable = (size_t)n == room; /* less: that was all */
	return true;
}

bool
conn_program_step(struct conn *c)
{
	struct conn_program *p = c->program;
	bool moved;

	if (p == NULL || !p->runs || p->told || c->engine == NULL)
		return false;
	moved = give(p, c->engine);
	return take(p, c->engine) || moved;
}

void
conn_program_watch(struct conn *c)
{
	struct conn_program *p = c->program;

	if (p == NULL || !p->runs)
		return;
	if (p->in_fd >= 0)
		ev_io_want(&p->in_io, engine_to_program(c->engine).n > 0 && !p->writable ? EV_IO_WRITE : 0);
	if (p->out_fd >= 0)
		ev_io_want(&p->out_io, engine_program_room(c->engine) > 0 ? EV_IO_READ : 0);
}

static void
in_ready(void *arg, unsigned what)
{
	struct conn_program *p = arg;

	(void)what;
	p->writable = true;
	conn_wake(p->conn);
}

static void
out_ready(void *arg, unsigned what)
{
	struct conn_program *p = arg;

	(void)what;
	p->readable = true;
	conn_wake(p->conn);
}

/* Its output has ended, and nobody says how it did. */
static void
on_timer(void *arg)
{
	struct conn_program *p = arg;

	conn_program_late(p->conn);
	conn_wake(p->conn);
}

/* --- from the spawn process ------------------------------------------------------------------- */

void
conn_program_got_input(struct conn_program *p, int fd)
{
	p->in_fd = fd;
	p->writable = true;
	ev_io_init(&p->in_io, p->conn->worker->child.loop, fd, in_ready, p);
}

void
conn_program_got_output(struct conn_program *p, int fd, uint32_t pid)
{
	struct conn *c = p->conn;

	if (p->told) { /* too late */
		close(fd);
		return;
	}
	p->out_fd = fd;
	p->pid = pid;
	p->runs = true;
	ev_io_init(&p->out_io, c->worker->child.loop, fd, out_ready, p);
	COUNT(c, programs_started, 1);
	engine_program_started(c->engine, ev_now_ms());
	conn_wake(c);
}

void
conn_program_refused(struct conn_program *p, enum engine_no_program why)
{
	struct conn *c = p->conn;
	bool late = p->told;

	conn_program_free(&c->program);
	if (!late)
		refuse(c, why);
	conn_wake(c);
}

void
conn_program_ended(struct conn_program *p, uint32_t code, uint32_t signal)
{
	struct conn *c = p->conn;
	char line[128];

	if (signal != 0)
		snprintf(line, sizeof line, "program %u was ended by signal %u (%s)", p->pid, signal,
			strsignal((int)signal));
	else
		snprintf(line, sizeof line, "program %u ended with code %u", p->pid, code);
	conn_say(c, code != 0 || signal != 0 ? LOG_L_NOTICE : LOG_L_DEBUG, "program-ended", line);
	conn_rec_program(c, code, signal);
	p->ended = true;
	if (p->eof) {
		ev_timer_clear(&p->timer);
		conn_program_late(c);
		conn_wake(c);
	}
}

/* The parent ends what it leaves behind. */
void
conn_program_lost(struct conn_program *p)
{
	struct conn *c = p->conn;

	if (!p->runs && !p->told) {
		conn_program_free(&c->program);
		refuse(c, ENGINE_NO_PROGRAM_FAILED);
		conn_wake(c);
		return;
	}
	conn_fault(c, REC_CAUSE_PROGRAM_LOST);
	p->ended = true;
	if (p->eof) {
		conn_program_late(c);
		conn_wake(c);
	}
}
