/* unit/proc/test_auth.c - postern-auth itself, as a parent starts it, and a worker's way of asking it: questions,
 * exchanges, files that change, an end by -9, and another process in its place. */
#include "test.h"

#include "conf/conf.h"
#include "proc/auth_client.h"
#include "proc/cred_kind.h"
#include "proc/files.h"
#include "util/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* "pencil": RFC 7677 */
#define VECTOR "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define ALICE "alice@example.org"

static const char conf_text[] = "hostname mail.example.org\ndomain example.org\npostmaster bob@example.org\n"
	"users file /users\nservice s {\nprotocol line\nlisten 127.0.0.1:1 plain\n}\n";
static const char users_text[] = ALICE " " VECTOR " 10G team@example.org\nbob@example.org - - team@example.org\n";

struct server {
	pid_t pid;
	struct chan *chan;
};

static struct child child; /* the worker that asks */
static struct auth_client *client;

static void
quiet(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	(void)arg;
	(void)level;
	(void)text;
	(void)fields;
	(void)n;
}

static struct changes {
	unsigned calls, gone, passwords;
	char last[NORMAL_ADDRESS_MAX];
} changes;

static void
changed(void *arg, enum auth_change what, struct span users)
{
	struct changes *c = arg;

	c->calls++;
	while (users.n > 0) {
		snprintf(c->last, sizeof c->last, "%s", auth_wire_take_name(&users));
		++*(what == AUTH_CHANGE_GONE ? &c->gone : &c->passwords);
	}
}

/* --- the parent's part ------------------------------------------------------------------------ */

static void
run(int fd)
{
	char path[4096];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;

	snprintf(path, sizeof path, "%s/src/postern-auth", getenv("top_builddir"));
	setenv("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=0", 1); /* confined, it cannot look for leaks */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 16);
	null = fcntl(null, F_DUPFD_CLOEXEC, 16);
	for (i = ROLE_FD_PARENT; i <= ROLE_FD_ROOT; i++)
		if (dup2(i == ROLE_FD_PARENT ? fd : null, i) < 0)
			_exit(70);
	execl(path, "posternd", "-r", "auth", "-u", "0", "-g", "0", (char *)NULL);
	_exit(71);
}

#define TELL(s, name, fd, ...)                                                                     \
	do {                                                                                       \
		struct msg_##name m_ = { __VA_ARGS__ };                                            \
		static struct frame f_;                                                            \
		PT_ASSERT(msg_##name##_encode(&m_, 0, &f_) == 0);                                  \
		PT_ASSERT(chan_send((s)->chan, &f_, fd) == 0);                                     \
	} while (0)

static struct frame *
hear(struct server *s, unsigned type)
{
	static struct frame f;
	struct pollfd p = { .fd = chan_fd(s->chan), .events = POLLIN };

	do {
		PT_ASSERT(poll(&p, 1, 60000) == 1);
	} while (chan_recv(s->chan, &f) == PT_EAGAIN);
	CU_ASSERT_EQUAL_FATAL(f.type, type);
	return &f;
}

static void
give_users(struct server *s, const char *text)
{
	int fd;

	PT_ASSERT(memfd_sealed("users", span_str(text), &fd) == 0);
	TELL(s, cred_begin, -1, .generation = 7, .config = 7);
	TELL(s, cred_file, fd, .generation = 7, .kind = CRED_USERS, .path = span_str("/users"));
	TELL(s, cred_end, -1, .generation = 7);
	close(fd);
}

static void
start(struct server *s)
{
	struct msg_cred_ack ack;
	int fds[2], fd;

	PT_ASSERT(chan_pair(fds) == 0);
	if ((s->pid = fork()) == 0)
		run(fds[1]);
	PT_ASSERT(s->pid > 0);
	close(fds[1]);
	PT_ASSERT((s->chan = chan_new(fds[0])) != NULL);
	(void)hear(s, MSG_T_READY);
	PT_ASSERT(memfd_sealed("conf", span_str(conf_text), &fd) == 0);
	TELL(s, config, fd, .generation = 7);
	close(fd);
	give_users(s, users_text);
	PT_ASSERT(msg_cred_ack_decode(hear(s, MSG_T_CRED_ACK), &ack) == 0);
	CU_ASSERT_TRUE_FATAL(ack.ok == 1 && ack.generation == 7);
}

/* A channel between it and our client. */
static void
join(struct server *s, uint64_t generation)
{
	int fds[2];

	PT_ASSERT(chan_pair(fds) == 0);
	TELL(s, channel, fds[0], .role = ROLE_WORKER, .slot = 0, .generation = generation);
	close(fds[0]);
	auth_client_set(client, fds[1]);
}

static int
end(struct server *s, int signo)
{
	int status;

	if (signo != 0)
		kill(s->pid, signo);
	PT_ASSERT(waitpid(s->pid, &status, 0) == s->pid);
	chan_free(&s->chan);
	return status;
}

/* --- the worker's part ------------------------------------------------------------------------ */

struct got {
	struct auth_request r;
	unsigned answers;
	enum auth_result result;
	char user[NORMAL_ADDRESS_MAX], text[AUTH_TEXT_MAX], detail[NORMAL_ADDRESS_MAX];
	struct auth_recipient recipients[AUTH_RECIPIENTS_MAX];
	size_t nrecipients;
	char data[AUTH_MESSAGE_MAX + 1];
	size_t ndata;
};

static void
answered(void *arg, const struct auth_answer *a)
{
	struct got *g = arg;

	g->answers++;
	g->result = a->result;
	snprintf(g->user, sizeof g->user, "%s", a->user);
	snprintf(g->text, sizeof g->text, "%s", a->text);
	snprintf(g->detail, sizeof g->detail, "%s", a->detail);
	g->nrecipients = a->nrecipients;
	if (a->nrecipients > 0)
		memcpy(g->recipients, a->recipients, a->nrecipients * sizeof *a->recipients);
	g->ndata = a->data.n;
	if (a->data.n > 0)
		memcpy(g->data, a->data.p, a->data.n);
	g->data[a->data.n] = '\0';
}

static enum auth_result
wait_for(struct got *g, unsigned answers)
{
	CU_ASSERT_TRUE_FATAL(g->answers < answers); /* never from inside the question */
	while (g->answers < answers)
		ev_loop_once(child.loop);
	return g->result;
}

static struct got *
fresh(void)
{
	static struct got g;

	memset(&g, 0, sizeof g);
	return &g;
}

static void
login(struct got *g, const void *message, size_t n)
{
	struct auth_sasl s = { .mechanism = AUTH_M_PLAIN, .tls = true, .has_initial = true, .initial = { message, n } };

	auth_client_sasl_begin(client, &g->r, &s, answered, g);
}

#define S(text) text, sizeof(text) - 1

static struct server first, second;

static void
test_begin(void)
{
	struct got *g = fresh();

	PT_ASSERT(getenv("top_builddir") != NULL); /* where postern-auth is */
	log_set_sink(quiet, NULL);
	child.loop = ev_loop_new();
	PT_ASSERT(child.loop != NULL && (client = auth_client_new(&child, changed, &changes)) != NULL);
	/* before there is any */
	CU_ASSERT_FALSE(auth_client_available(client));
	auth_client_identify(client, &g->r, ALICE, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_AWAY);
	start(&first);
	join(&first, 7);
	CU_ASSERT_TRUE(auth_client_available(client));
}

static void
test_questions(void)
{
	char longest[20 * 1024];
	struct got *g = fresh();

	auth_client_identify(client, &g->r, "Alice@EXAMPLE.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_OK);
	CU_ASSERT_STRING_EQUAL(g->user, ALICE);
	auth_client_identify(client, &g->r, "zoe@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_NO_USER);
	auth_client_recipient(client, &g->r, span_str("team+X@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 3), AUTH_OK);
	CU_ASSERT_EQUAL_FATAL(g->nrecipients, 2);
	CU_ASSERT_STRING_EQUAL(g->recipients[0].user, ALICE);
	CU_ASSERT_EQUAL(g->recipients[0].quota, UINT64_C(10) << 30);
	CU_ASSERT_STRING_EQUAL(g->recipients[1].user, "bob@example.org");
	CU_ASSERT_EQUAL(g->recipients[1].quota, 0);
	CU_ASSERT_STRING_EQUAL(g->detail, "X");
	auth_client_recipient(client, &g->r, span_str("PostMaster"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 4), AUTH_OK);
	CU_ASSERT_STRING_EQUAL(g->recipients[0].user, "bob@example.org");
	auth_client_recipient(client, &g->r, span_str("zoe@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 5), AUTH_NO_USER);
	CU_ASSERT_EQUAL(g->nrecipients, 0);
	auth_client_recipient(client, &g->r, span_str("alice@example.net"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 6), AUTH_NOT_LOCAL);
	auth_client_sender(client, &g->r, ALICE, span_str("team@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 7), AUTH_OK);
	auth_client_sender(client, &g->r, ALICE, span_str("bob@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 8), AUTH_NOT_ALLOWED);
	CU_ASSERT_STRING_EQUAL(g->text, "alice@example.org, team@example.org");
	/* what a client types may be anything */
	auth_client_recipient(client, &g->r, (struct span){ (const uint8_t *)"a\0b\xff\n@x", 7 }, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 9), AUTH_BAD_ADDRESS);
	memset(longest, 'x', sizeof longest);
	auth_client_recipient(client, &g->r, (struct span){ (uint8_t *)longest, sizeof longest }, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 10), AUTH_BAD_ADDRESS);
	/* a certificate's user may be what is no address of ours: nobody, and no reason to condemn the worker */
	auth_client_sender(client, &g->r, "a/b@example.org", span_str("team@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 11), AUTH_NO_USER);
	auth_client_identify(client, &g->r, "a/b@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 12), AUTH_NO_USER);
	CU_ASSERT_TRUE(auth_client_available(client));
}

static void
test_logins(void)
{
	static char longest[AUTH_MESSAGE_MAX + 1];
	struct auth_sasl s = { .mechanism = AUTH_M_SCRAM_SHA_256, .tls = true, .has_initial = true,
		.initial = span_str("n,,n=" ALICE ",r=abcdefghijkl") };
	struct got *g = fresh();

	login(g, S("\0" ALICE "\0pencil"));
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_OK);
	CU_ASSERT_STRING_EQUAL(g->user, ALICE);
	login(g, S("\0" ALICE "\0wrong"));
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_DENIED);
	login(g, S("\0zoe@example.org\0pencil"));
	CU_ASSERT_EQUAL(wait_for(g, 3), AUTH_DENIED);
	login(g, longest, sizeof longest);
	CU_ASSERT_EQUAL(wait_for(g, 4), AUTH_MALFORMED);
	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 5), AUTH_CONTINUE);
	CU_ASSERT_EQUAL(strncmp(g->data, "r=abcdefghijkl", 14), 0);
	auth_client_sasl_step(client, &g->r, span_str("c=biws,r=nonsense,p=AAAA"));
	CU_ASSERT_NOT_EQUAL(wait_for(g, 6), AUTH_OK);
	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 7), AUTH_CONTINUE);
	auth_client_sasl_step(client, &g->r, (struct span){ (uint8_t *)longest, sizeof longest });
	CU_ASSERT_EQUAL(wait_for(g, 8), AUTH_MALFORMED);
	/* EXTERNAL without an initial response */
	s = (struct auth_sasl){ .mechanism = AUTH_M_EXTERNAL, .tls = true, .identity = ALICE };
	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 9), AUTH_CONTINUE);
	auth_client_sasl_step(client, &g->r, span_str(""));
	CU_ASSERT_EQUAL(wait_for(g, 10), AUTH_OK);
	CU_ASSERT_STRING_EQUAL(g->user, ALICE);
}

/* Cancelled in every state: nothing is answered, and what is asked next is. */
static void
test_cancel(void)
{
	struct auth_sasl s = { .mechanism = AUTH_M_EXTERNAL, .tls = true, .identity = ALICE };
	struct got *g = fresh(), other = { .answers = 0 };

	auth_client_cancel(client, &g->r); /* nothing is under way */
	auth_client_identify(client, &g->r, ALICE, answered, g);
	auth_client_cancel(client, &g->r);
	login(g, S("\0" ALICE "\0pencil"));
	auth_client_cancel(client, &g->r);
	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_CONTINUE);
	auth_client_cancel(client, &g->r);
	auth_client_identify(client, &other.r, ALICE, answered, &other);
	CU_ASSERT_EQUAL(wait_for(&other, 1), AUTH_OK);
	CU_ASSERT_EQUAL(g->answers, 1);
}

/* Whether the client would have to ask: for a sender, a recipient. */
static bool
known_sender(const char *user, const char *address)
{
	return auth_client_knows_sender(client, user, span_str(address));
}

static size_t
known_recipient(const char *address, const struct auth_recipient **users)
{
	size_t n = 0;

	return auth_client_knows_recipient(client, span_str(address), users, &n) ? n : 0;
}

static void
remember(struct got *g)
{
	unsigned n = g->answers;

	auth_client_sender(client, &g->r, ALICE, span_str("team@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, n + 1), AUTH_OK);
	auth_client_recipient(client, &g->r, span_str("team+X@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, n + 2), AUTH_OK);
	CU_ASSERT_TRUE(known_sender(ALICE, "team@example.org"));
}

static void
test_remembered_logins(void)
{
	struct auth_sasl s = { .mechanism = AUTH_M_EXTERNAL, .tls = true, .identity = "Alice@example.org", .has_initial = true };
	struct got *g = fresh();

	auth_client_identify(client, &g->r, "Alice@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_OK);
	CU_ASSERT_STRING_EQUAL(auth_client_knows_identity(client, "Alice@example.org"), ALICE);
	CU_ASSERT_PTR_NULL(auth_client_knows_identity(client, "bob@example.org"));
	auth_client_identify(client, &g->r, "zoe@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_NO_USER);
	CU_ASSERT_PTR_NULL(auth_client_knows_identity(client, "zoe@example.org"));
	/* that he is one is not yet that he logs in, and to ask for a name is another question */
	CU_ASSERT_PTR_NULL(auth_client_knows_external(client, "Alice@example.org"));
	s.initial = span_str(ALICE);
	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 3), AUTH_OK);
	CU_ASSERT_PTR_NULL(auth_client_knows_external(client, "Alice@example.org"));
	s.initial = span_str("");
	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 4), AUTH_OK);
	CU_ASSERT_STRING_EQUAL_FATAL(auth_client_knows_external(client, "Alice@example.org"), ALICE);
	CU_ASSERT_PTR_NULL(auth_client_knows_external(client, ALICE));
	/* a password is looked at each time */
	login(g, S("\0" ALICE "\0pencil"));
	CU_ASSERT_EQUAL(wait_for(g, 5), AUTH_OK);
	CU_ASSERT_PTR_NULL(auth_client_knows_external(client, ALICE));
}

static void
test_remembered(void)
{
	const struct auth_recipient *users;
	struct got *g = fresh();

	remember(g);
	CU_ASSERT_EQUAL_FATAL(known_recipient("team+X@example.org", &users), 2);
	CU_ASSERT_STRING_EQUAL(users[0].user, ALICE);
	CU_ASSERT_EQUAL(users[0].quota, UINT64_C(10) << 30);
	/* another user, another address, the other question */
	CU_ASSERT_FALSE(known_sender("bob@example.org", "team@example.org"));
	CU_ASSERT_FALSE(known_sender(ALICE, "bob@example.org"));
	CU_ASSERT_FALSE(known_sender("", ALICE "team@example.org"));
	CU_ASSERT_FALSE(known_sender(ALICE "team@example.org", ""));
	CU_ASSERT_EQUAL(known_recipient("team@example.org", &users), 0);
	CU_ASSERT_EQUAL(known_recipient(ALICE "team@example.org", &users), 0);
	/* a refusal is auth's own, each time */
	auth_client_sender(client, &g->r, ALICE, span_str("zoe@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 3), AUTH_NOT_ALLOWED);
	CU_ASSERT_FALSE(known_sender(ALICE, "zoe@example.org"));
	auth_client_recipient(client, &g->r, span_str("zoe@example.org"), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 4), AUTH_NO_USER);
	CU_ASSERT_EQUAL(known_recipient("zoe@example.org", &users), 0);
	/* a question that is withdrawn has no answer */
	auth_client_recipient(client, &g->r, span_str("bob@example.org"), answered, g);
	auth_client_cancel(client, &g->r);
	remember(g);
	CU_ASSERT_EQUAL(known_recipient("bob@example.org", &users), 0);
}

static void
test_change(void)
{
	const struct auth_recipient *users;
	struct msg_auth_loaded m;
	struct got *g = fresh();

	remember(g);
	g->answers = 0;
	give_users(&first, ALICE " " VECTOR "\ncarol@example.org -\n");
	PT_ASSERT(msg_auth_loaded_decode(hear(&first, MSG_T_AUTH_LOADED), &m) == 0);
	CU_ASSERT_TRUE(m.ok == 1 && m.users == 2);
	auth_client_identify(client, &g->r, "carol@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_OK);
	auth_client_identify(client, &g->r, "bob@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_NO_USER);
	/* what was said of the old ones is forgotten by then */
	CU_ASSERT_PTR_NULL(auth_client_knows_identity(client, ALICE));
	CU_ASSERT_PTR_NULL(auth_client_knows_external(client, "Alice@example.org"));
	CU_ASSERT_FALSE(known_sender(ALICE, "team@example.org"));
	CU_ASSERT_EQUAL(known_recipient("team+X@example.org", &users), 0);
	/* one with a mistake changes nothing */
	give_users(&first, "alice\n");
	PT_ASSERT(msg_auth_loaded_decode(hear(&first, MSG_T_AUTH_LOADED), &m) == 0);
	CU_ASSERT_TRUE(m.ok == 0 && m.users == 2);
	CU_ASSERT_EQUAL(strncmp((const char *)m.text.p, "/users:1: no credentials", 24), 0);
	auth_client_identify(client, &g->r, "carol@example.org", answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 3), AUTH_OK);
	give_users(&first, users_text);
	(void)hear(&first, MSG_T_AUTH_LOADED);
}

/* A new process takes over, as at an upgrade: what was begun ends where it began, then the old one ends. */
static void
test_replace(void)
{
	struct auth_sasl s = { .mechanism = AUTH_M_EXTERNAL, .tls = true, .identity = ALICE };
	struct got *g = fresh(), other = { .answers = 0 };

	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_CONTINUE);
	start(&second);
	remember(&other);
	other.answers = 0;
	join(&second, 7);
	CU_ASSERT_FALSE(known_sender(ALICE, "team@example.org")); /* its users may be others */
	TELL(&first, stop, -1, .timeout_ms = 0);
	auth_client_identify(client, &other.r, ALICE, answered, &other);
	CU_ASSERT_EQUAL(wait_for(&other, 1), AUTH_OK);
	auth_client_sasl_step(client, &g->r, span_str(""));
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_OK);
	/* nothing is left to be asked there: our end is closed in the next turn, and the process ends */
	auth_client_identify(client, &other.r, ALICE, answered, &other);
	CU_ASSERT_EQUAL(wait_for(&other, 2), AUTH_OK);
	CU_ASSERT_EQUAL(end(&first, 0), 0);
}

static void
test_kill(void)
{
	struct auth_sasl s = { .mechanism = AUTH_M_EXTERNAL, .tls = true, .identity = ALICE };
	struct got *g = fresh(), parked = { .answers = 0 };

	auth_client_sasl_begin(client, &g->r, &s, answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_CONTINUE);
	remember(&parked);
	parked.answers = 0;
	kill(second.pid, SIGSTOP);
	auth_client_recipient(client, &parked.r, span_str(ALICE), answered, &parked);
	(void)end(&second, SIGKILL);
	CU_ASSERT_EQUAL(wait_for(&parked, 1), AUTH_AWAY);
	CU_ASSERT_FALSE(auth_client_available(client));
	CU_ASSERT_FALSE(known_sender(ALICE, "team@example.org"));
	auth_client_sasl_step(client, &g->r, span_str(""));
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_AWAY);
	/* one that was away is told, and one that goes away meanwhile is not */
	auth_client_recipient(client, &parked.r, span_str(ALICE), answered, &parked);
	auth_client_recipient(client, &g->r, span_str(ALICE), answered, g);
	auth_client_cancel(client, &g->r);
	CU_ASSERT_EQUAL(wait_for(&parked, 2), AUTH_AWAY);
	CU_ASSERT_EQUAL(g->answers, 2);
	start(&first);
	join(&first, 7);
	auth_client_recipient(client, &parked.r, span_str(ALICE), answered, &parked);
	CU_ASSERT_EQUAL(wait_for(&parked, 3), AUTH_OK);
	CU_ASSERT_FALSE(known_sender(ALICE, "team@example.org"));
}

/* A worker of a generation that is gone, or was never there. */
static void
test_other_generation(void)
{
	struct got *g = fresh();

	join(&first, 8);
	auth_client_recipient(client, &g->r, span_str(ALICE), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_AWAY);
	login(g, S("\0" ALICE "\0pencil"));
	CU_ASSERT_EQUAL(wait_for(g, 2), AUTH_AWAY);
	join(&first, 7);
	TELL(&first, cred_release, -1, .generation = 7);
	auth_client_recipient(client, &g->r, span_str(ALICE), answered, g);
	(void)wait_for(g, 3); /* before the release, or behind it */
	auth_client_recipient(client, &g->r, span_str(ALICE), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 4), AUTH_AWAY);
}

/* A worker that breaks the protocol loses its channel; auth and its other workers do not notice. */
static void
test_condemned(void)
{
	struct msg_cred_ack ack;
	struct frame *f;
	static struct frame bad;
	struct got *g = fresh();
	int fds[2], fd;
	struct chan *c;

	PT_ASSERT(memfd_sealed("conf", span_str(conf_text), &fd) == 0);
	TELL(&first, config, fd, .generation = 7);
	close(fd);
	give_users(&first, users_text);
	f = hear(&first, MSG_T_CRED_ACK);
	PT_ASSERT(msg_cred_ack_decode(f, &ack) == 0 && ack.ok);
	join(&first, 7);
	PT_ASSERT(chan_pair(fds) == 0);
	TELL(&first, channel, fds[0], .role = ROLE_WORKER, .slot = 1, .generation = 7);
	close(fds[0]);
	PT_ASSERT((c = chan_new(fds[1])) != NULL);
	bad.type = MSG_T_AUTH_RECIPIENT;
	bad.fd = -1;
	bad.len = 1; /* half a length */
	PT_ASSERT(chan_send(c, &bad, -1) == 0);
	PT_ASSERT(poll(&(struct pollfd){ .fd = chan_fd(c), .events = POLLIN }, 1, 60000) == 1);
	CU_ASSERT_EQUAL(chan_recv(c, &bad), PT_EEOF);
	chan_free(&c);
	auth_client_recipient(client, &g->r, span_str(ALICE), answered, g);
	CU_ASSERT_EQUAL(wait_for(g, 1), AUTH_OK);
}

static void
changes_are_condemned(uint8_t what, const char *users, size_t n)
{
	struct msg_auth_ousted m = { .what = what, .users = { (const uint8_t *)users, n } };
	static struct frame f;
	unsigned calls = changes.calls;
	int fds[2];

	PT_ASSERT(chan_pair(fds) == 0);
	auth_client_set(client, fds[1]);
	PT_ASSERT(msg_auth_ousted_encode(&m, 0, &f) == 0 && frame_send(fds[0], &f, -1) == 0);
	while (auth_client_available(client))
		ev_loop_once(child.loop);
	CU_ASSERT_EQUAL(changes.calls, calls);
	close(fds[0]);
}

/* Asks, and plays auth: what the client hears when this is the result. believed_out: its channel is still there. */
static enum auth_result
hears(enum msg_type question, uint8_t result, bool *believed_out)
{
	const struct auth_sasl s = { .mechanism = AUTH_M_PLAIN, .tls = true };
	struct span user = span_str(result == AUTH_OK ? ALICE : "");
	struct got *g = fresh();
	static struct frame f;
	enum auth_result heard;
	struct buf users;
	int fds[2];

	buf_init(&users, 1024);
	PT_ASSERT(chan_pair(fds) == 0);
	auth_client_set(client, fds[1]);
	if (question == MSG_T_AUTH_IDENTIFY)
		auth_client_identify(client, &g->r, ALICE, answered, g);
	else if (question == MSG_T_AUTH_RECIPIENT)
		auth_client_recipient(client, &g->r, span_str(ALICE), answered, g);
	else if (question == MSG_T_AUTH_SENDER)
		auth_client_sender(client, &g->r, ALICE, span_str(ALICE), answered, g);
	else
		auth_client_sasl_begin(client, &g->r, &s, answered, g);
	PT_ASSERT(frame_recv(fds[0], &f) == 0 && f.type == question);
	if (question == MSG_T_AUTH_IDENTIFY) {
		PT_ASSERT(msg_auth_identity_encode(&(struct msg_auth_identity){ .result = result, .user = user }, f.id, &f) == 0);
	} else if (question == MSG_T_AUTH_RECIPIENT) {
		PT_ASSERT(result != AUTH_OK || auth_wire_put(&users, ALICE, 0) == 0);
		PT_ASSERT(msg_auth_recipients_encode(&(struct msg_auth_recipients){ .result = result, .users = buf_span(&users) },
				  f.id, &f) == 0);
	} else if (question == MSG_T_AUTH_SENDER) {
		PT_ASSERT(msg_auth_sender_is_encode(&(struct msg_auth_sender_is){ .result = result }, f.id, &f) == 0);
	} else {
		PT_ASSERT(msg_auth_sasl_answer_encode(&(struct msg_auth_sasl_answer){ .result = result, .user = user }, f.id,
				  &f) == 0);
	}
	PT_ASSERT(frame_send(fds[0], &f, -1) == 0);
	heard = wait_for(g, 1);
	*believed_out = auth_client_available(client);
	auth_client_cancel(client, &g->r);
	close(fds[0]);
	while (auth_client_available(client))
		ev_loop_once(child.loop);
	buf_fini(&users);
	return heard;
}

/* And auth that breaks it is not believed: each question has its answers, and the engines have words for no others. */
static void
test_auth_condemned(void)
{
	static const struct {
		enum msg_type question;
		unsigned may; /* 1u << result */
	} rows[] = {
		{ MSG_T_AUTH_IDENTIFY, 1u << AUTH_OK | 1u << AUTH_NO_USER | 1u << AUTH_AWAY },
		{ MSG_T_AUTH_RECIPIENT, 1u << AUTH_OK | 1u << AUTH_BAD_ADDRESS | 1u << AUTH_NOT_LOCAL | 1u << AUTH_NO_USER |
						1u << AUTH_AWAY },
		{ MSG_T_AUTH_SENDER, 1u << AUTH_OK | 1u << AUTH_BAD_ADDRESS | 1u << AUTH_NO_USER | 1u << AUTH_NOT_ALLOWED |
					     1u << AUTH_AWAY },
		{ MSG_T_AUTH_SASL_BEGIN, 1u << AUTH_OK | 1u << AUTH_CONTINUE | 1u << AUTH_DENIED | 1u << AUTH_AUTHZID |
						 1u << AUTH_MALFORMED | 1u << AUTH_MECHANISM | 1u << AUTH_LIMIT | 1u << AUTH_AWAY },
	};
	static char large[AUTH_OUSTED_MAX + 2];
	enum auth_result heard;
	uint8_t result;
	bool believed;
	size_t row;

	for (row = 0; row < PT_COUNT(rows); row++) {
		for (result = 0; result <= AUTH_RESULT_COUNT; result++) {
			heard = hears(rows[row].question, result, &believed);
			CU_ASSERT_EQUAL(believed, (rows[row].may & 1u << result) != 0);
			CU_ASSERT_EQUAL(heard, believed ? result : AUTH_AWAY);
		}
	}
	changes_are_condemned(AUTH_CHANGE_COUNT, S("a@b\0"));
	changes_are_condemned(AUTH_CHANGE_GONE, S("a@b"));
	changes_are_condemned(AUTH_CHANGE_GONE, S("a@b\0\0"));
	changes_are_condemned(AUTH_CHANGE_GONE, S("a\n@b\0"));
	changes_are_condemned(AUTH_CHANGE_GONE, S(""));
	for (size_t i = 0; i < sizeof large; i += 2)
		memcpy(large + i, "a", 2);
	changes_are_condemned(AUTH_CHANGE_GONE, large, sizeof large);
}

/* What a worker hears when users change: whom it is about, and nothing when nobody's login has. */
static void
test_changes(void)
{
	static char many[2000 * 40];
	struct msg_auth_loaded m;
	unsigned i;
	size_t n = 0;

	start(&second);
	join(&second, 7);
	changes = (struct changes){ .calls = 0 };
	for (i = 0; i < 1000; i++)
		n += (size_t)snprintf(many + n, sizeof many - n, "user%u@example.org -\n", i);
	snprintf(many + n, sizeof many - n, "%s", users_text);
	give_users(&second, many);
	PT_ASSERT(msg_auth_loaded_decode(hear(&second, MSG_T_AUTH_LOADED), &m) == 0 && m.ok);
	give_users(&second, ALICE " {SCRAM-SHA-256}4097,W22ZaJ0SNY7soEsUEjb6gQ==,"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
		"bob@example.org - 1G\n");
	PT_ASSERT(msg_auth_loaded_decode(hear(&second, MSG_T_AUTH_LOADED), &m) == 0 && m.ok);
	while (changes.passwords == 0) /* they come behind those who are gone */
		ev_loop_once(child.loop);
	CU_ASSERT_EQUAL(changes.gone, 1000);
	CU_ASSERT_EQUAL(changes.passwords, 1);
	CU_ASSERT_STRING_EQUAL(changes.last, ALICE);
	CU_ASSERT_EQUAL(changes.calls, 3); /* 20 octets each, 12 KiB at a time */
	give_users(&second, "x"); /* one with a mistake changes nobody */
	PT_ASSERT(msg_auth_loaded_decode(hear(&second, MSG_T_AUTH_LOADED), &m) == 0 && !m.ok);
	give_users(&second, "bob@example.org - 2G team@example.org\n");
	PT_ASSERT(msg_auth_loaded_decode(hear(&second, MSG_T_AUTH_LOADED), &m) == 0 && m.ok);
	while (changes.gone == 1000)
		ev_loop_once(child.loop);
	CU_ASSERT_EQUAL(changes.gone, 1001);
	CU_ASSERT_EQUAL(changes.passwords, 1);
	end(&second, SIGKILL);
	join(&first, 7);
}

static void
test_end(void)
{
	TELL(&first, stop, -1, .timeout_ms = 0);
	auth_client_free(&client);
	CU_ASSERT_EQUAL(end(&first, 0), 0);
	ev_loop_free(&child.loop);
}

static const struct test_row rows[] = {
	{ "the beginning", test_begin },
	{ "questions", test_questions },
	{ "logins", test_logins },
	{ "cancelling", test_cancel },
	{ "what is remembered", test_remembered },
	{ "logins that are remembered", test_remembered_logins },
	{ "files that change", test_change },
	{ "another process in its place", test_replace },
	{ "an end by -9", test_kill },
	{ "other generations", test_other_generation },
	{ "a worker that breaks the protocol", test_condemned },
	{ "auth that breaks the protocol", test_auth_condemned },
	{ "users who change", test_changes },
	{ "the end", test_end },
};
TEST_MAIN("proc/auth", rows)
