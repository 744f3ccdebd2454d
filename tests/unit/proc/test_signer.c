/* unit/proc/test_signer.c - a worker that asks for signatures, and a keyholder that answers, refuses, lies, is slow
 * or goes away. */
#include "test.h"

#include "proc/worker.h"
#include "util/log.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum behaviour { ANSWERS, REFUSES, TOO_LARGE, LARGEST, OTHER_TYPE, STALE_FIRST, ENDS, NOT_A_FRAME };

static struct worker w;
static struct chan *theirs; /* the keyholder's end, in its process */
static uint8_t sig[TLS_SIGNATURE_MAX];

static void
quiet(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	(void)arg;
	(void)level;
	(void)text;
	(void)fields;
	(void)n;
}

/* The keyholder's part, in a process of its own. */
__attribute__((noreturn)) static void
answer_one(enum behaviour how)
{
	static uint8_t big[TLS_SIGNATURE_MAX + 1] = { 's', 'i', 'g' };
	struct pollfd p = { .fd = chan_fd(theirs), .events = POLLIN };
	struct msg_signed r = { 1, { big, 3 } };
	struct msg_ready other = { span_str("x") };
	static struct frame f;
	struct msg_sign m;
	uint32_t id;

	if (poll(&p, 1, 5000) != 1 || chan_recv(theirs, &f) != 0 || msg_sign_decode(&f, &m) != 0)
		_exit(1);
	if (m.generation != 7 || m.key != 3 || m.algorithm != 9 || m.hashed != 1 || m.data.n != 4)
		_exit(2);
	id = f.id;
	if (how == ENDS)
		_exit(0);
	if (how == NOT_A_FRAME)
		_exit(write(chan_fd(theirs), "x", 1) == 1 ? 0 : 3);
	if (how == REFUSES)
		r = (struct msg_signed){ 0, { NULL, 0 } };
	if (how == TOO_LARGE || how == LARGEST)
		r.signature.n = TLS_SIGNATURE_MAX + (how == TOO_LARGE);
	if (how == STALE_FIRST && (msg_signed_encode(&r, id - 1, &f) != 0 || chan_send(theirs, &f, -1) != 0))
		_exit(4);
	if (how == STALE_FIRST)
		big[0] = 'S';
	if ((how == OTHER_TYPE ? msg_ready_encode(&other, id, &f) : msg_signed_encode(&r, id, &f)) != 0 ||
	    chan_send(theirs, &f, -1) != 0)
		_exit(5);
	_exit(0);
}

/* A new channel; our end is the signer's, the other stays open in "theirs". */
static void
connect_signer(void)
{
	int fds[2];

	chan_free(&theirs);
	CU_ASSERT_EQUAL_FATAL(chan_pair(fds), 0);
	theirs = chan_new(fds[1]);
	signer_set(&w.signer, fds[0]);
}

static int
sign(size_t *n)
{
	*n = 0;
	return signer_sign(&w.signer, 7, 3, 9, true, span_str("data"), sig, n);
}

static void
test_begin(void)
{
	log_set_sink(quiet, NULL);
	w.child.loop = ev_loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.child.loop);
	signer_init(&w.signer, &w);
}

static void
test_away(void)
{
	size_t n;

	CU_ASSERT_FALSE(signer_available(&w.signer));
	CU_ASSERT_EQUAL(sign(&n), PT_EUNAVAIL);
}

static void
test_answers(void)
{
	static const struct {
		enum behaviour how;
		int rc;
		size_t n;
		bool stays; /* available afterwards */
	} rows[] = {
		{ ANSWERS, 0, 3, true },
		{ REFUSES, PT_EPERM, 0, true },
		{ LARGEST, 0, TLS_SIGNATURE_MAX, true },
		{ TOO_LARGE, PT_EPERM, 0, true },
		{ OTHER_TYPE, PT_EPERM, 0, true },
		{ STALE_FIRST, 0, 3, true },
		{ ENDS, PT_EEOF, 0, false },
		{ NOT_A_FRAME, PT_EPROTO, 0, false },
	};
	unsigned before = test_open_fds();
	int status;
	pid_t pid;
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++) {
		connect_signer();
		CU_ASSERT_TRUE(signer_available(&w.signer));
		if ((pid = fork()) == 0)
			answer_one(rows[i].how);
		chan_free(&theirs);
		CU_ASSERT_EQUAL(sign(&n), rows[i].rc);
		CU_ASSERT_EQUAL(n, rows[i].n);
		if (rows[i].rc == 0)
			CU_ASSERT_EQUAL(sig[0], rows[i].how == STALE_FIRST ? 'S' : 's');
		CU_ASSERT_EQUAL(signer_available(&w.signer), rows[i].stays);
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_EQUAL(status, 0);
	}
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

/* Between signatures: its end is seen by the loop. */
static void
test_end_seen(void)
{
	size_t n;

	connect_signer();
	chan_free(&theirs);
	while (signer_available(&w.signer))
		ev_loop_once(w.child.loop);
	CU_ASSERT_EQUAL(sign(&n), PT_EUNAVAIL);
	connect_signer(); /* the next one */
	CU_ASSERT_TRUE(signer_available(&w.signer));
	connect_signer(); /* replaces it */
	CU_ASSERT_TRUE(signer_available(&w.signer));
}

/* One that does not answer in time is not asked for a while; a late answer shows that it lives, and is
 * not taken for the next one's. */
static void
test_late(void)
{
	struct msg_signed r = { 1, span_str("late") };
	static struct frame f;
	uint64_t start = ev_now_ms();
	uint32_t id;
	size_t n;

	connect_signer();
	CU_ASSERT_EQUAL(sign(&n), PT_ETIMEDOUT);
	CU_ASSERT_TRUE(ev_now_ms() - start < 10000);
	CU_ASSERT_FALSE(signer_available(&w.signer));
	start = ev_now_ms();
	CU_ASSERT_EQUAL(sign(&n), PT_EUNAVAIL);
	CU_ASSERT_TRUE(ev_now_ms() - start < 1000); /* without waiting again */
	CU_ASSERT_EQUAL_FATAL(chan_recv(theirs, &f), 0);
	id = f.id;
	CU_ASSERT_EQUAL(msg_signed_encode(&r, id, &f), 0);
	CU_ASSERT_EQUAL(chan_send(theirs, &f, -1), 0);
	ev_loop_once(w.child.loop);
	CU_ASSERT_TRUE(signer_available(&w.signer));
}

static void
test_end(void)
{
	chan_free(&theirs);
	while (signer_available(&w.signer))
		ev_loop_once(w.child.loop);
	ev_loop_free(&w.child.loop);
}

static const struct test_row rows[] = {
	{ "a worker", test_begin },
	{ "no keyholder", test_away },
	{ "answers of all kinds", test_answers },
	{ "its end", test_end_seen },
	{ "a late answer", test_late },
	{ "the end of all", test_end },
};
TEST_MAIN("proc/signer", rows)
