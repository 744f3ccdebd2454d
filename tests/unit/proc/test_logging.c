/* unit/proc/test_logging.c - log messages as frames: what arrives, what is cut, and that nobody waits. */
#include "test.h"

#include "ipc/msg.h"
#include "proc/logging.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static void
open_pair(void)
{
	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void
close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

static void
receive(struct frame *f, struct msg_log *m)
{
	CU_ASSERT_EQUAL_FATAL(frame_recv(pair[1], f), 0);
	CU_ASSERT_EQUAL_FATAL(msg_log_decode(f, m), 0);
}

static void
test_message(void)
{
	static const struct log_field fields[] = { { "service", "calc" }, { "peer", "" },
		{ "user", "a\nb\x1b[2Jc\x7f\xc3\xa9" } };
	static const char want[] = "service\0calc\0peer\0\0user\0a?b?[2Jc?\xc3\xa9";
	static struct frame f;
	struct msg_log m;

	open_pair();
	CU_ASSERT_EQUAL(logging_send(pair[0], LOG_L_WARNING, "hello\nworld", fields, 3), 0);
	receive(&f, &m);
	CU_ASSERT_EQUAL(m.level, LOG_L_WARNING);
	CU_ASSERT_TRUE(span_equal(m.text, span_str("hello\nworld")));
	CU_ASSERT_TRUE(span_equal(m.fields, (struct span){ (const uint8_t *)want, sizeof want }));
	CU_ASSERT_TRUE(m.time_us > 1600000000000000u);
	CU_ASSERT_EQUAL(logging_send(pair[0], LOG_L_INFO, "", NULL, 0), 0);
	receive(&f, &m);
	CU_ASSERT_EQUAL(m.text.n, 0);
	CU_ASSERT_EQUAL(m.fields.n, 0);
	close_pair();
}

/* Fields that do not fit are left out, whole; the message goes on its way. */
static void
test_limits(void)
{
	struct log_field fields[LOG_FIELDS_MAX + 1];
	static char text[LOG_LINE_MAX], value[4096];
	static struct frame f;
	struct msg_log m;
	size_t i;

	open_pair();
	memset(text, 'x', sizeof text - 1);
	memset(value, 'v', sizeof value - 1);
	for (i = 0; i < PT_COUNT(fields); i++)
		fields[i] = (struct log_field){ "n", "v" };
	CU_ASSERT_EQUAL(logging_send(pair[0], LOG_L_INFO, text, fields, PT_COUNT(fields)), 0);
	receive(&f, &m);
	CU_ASSERT_EQUAL(m.text.n, LOG_LINE_MAX - 1);
	CU_ASSERT_EQUAL(m.fields.n, 4 * LOG_FIELDS_MAX);
	fields[1].value = value;
	CU_ASSERT_EQUAL(logging_send(pair[0], LOG_L_INFO, text, fields, 3), 0);
	receive(&f, &m);
	CU_ASSERT_EQUAL(m.fields.n, 4); /* the first alone */
	close_pair();
}

static void
test_nobody_reads(void)
{
	unsigned n;
	int rc;

	open_pair();
	for (n = 0; (rc = logging_send(pair[0], LOG_L_INFO, "again", NULL, 0)) == 0; n++)
		;
	CU_ASSERT_EQUAL(rc, PT_EAGAIN);
	CU_ASSERT_TRUE(n > 0);
	close_pair();
	open_pair();
	close(pair[1]);
	CU_ASSERT_EQUAL(logging_send(pair[0], LOG_L_INFO, "again", NULL, 0), PT_EEOF);
	close(pair[0]);
	CU_ASSERT_EQUAL(logging_send(pair[0], LOG_L_INFO, "again", NULL, 0), PT_EIO);
}

static const struct test_row rows[] = {
	{ "a message", test_message },
	{ "limits", test_limits },
	{ "nobody reads", test_nobody_reads },
};
TEST_MAIN("proc/logging", rows)
