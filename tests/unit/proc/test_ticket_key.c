/* unit/proc/test_ticket_key.c - the file of the ticket key: made once, read again, never used when others could
 * have had a hand in it. */
#include "test.h"

#include "proc/ticket_key.h"
#include "util/err.h"
#include "util/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char state[64], keys[80], file[96];
static unsigned warnings;

static void
sink(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	(void)arg;
	(void)text;
	(void)fields;
	(void)n;
	warnings += level == LOG_L_WARNING;
}

static void
begin(void)
{
	snprintf(state, sizeof state, "/tmp/postern-unit.XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(state));
	snprintf(keys, sizeof keys, "%s/keys", state);
	snprintf(file, sizeof file, "%s/ticket", keys);
	log_set_sink(sink, NULL);
	warnings = 0;
}

static void
end(void)
{
	unlink(file);
	rmdir(file);
	CU_ASSERT_EQUAL(rmdir(keys), 0); /* nothing else was left in it */
	CU_ASSERT_EQUAL(rmdir(state), 0);
}

static unsigned
mode_of(const char *path)
{
	struct stat st;

	CU_ASSERT_EQUAL_FATAL(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void
put(size_t n, mode_t mode)
{
	uint8_t octets[256];
	int fd;

	memset(octets, 'x', sizeof octets);
	mkdir(keys, 0700);
	CU_ASSERT_TRUE_FATAL((fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600)) >= 0);
	CU_ASSERT_EQUAL(write(fd, octets, n), (ssize_t)n);
	CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
	close(fd);
}

static void
test_made(void)
{
	uint8_t key[TICKET_KEY_SIZE], again[TICKET_KEY_SIZE], none[TICKET_KEY_SIZE] = { 0 };
	unsigned fds = test_open_fds();
	enum ticket_key_source source;
	struct diag diag = { "" };
	struct stat st;

	begin();
	CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
	CU_ASSERT_EQUAL(source, TICKET_KEY_MADE);
	CU_ASSERT_NOT_EQUAL(memcmp(key, none, sizeof key), 0);
	CU_ASSERT_EQUAL(mode_of(keys), 0700);
	CU_ASSERT_EQUAL(mode_of(file), 0600);
	CU_ASSERT_EQUAL(stat(file, &st), 0);
	CU_ASSERT_EQUAL(st.st_size, TICKET_KEY_SIZE);
	CU_ASSERT_EQUAL(ticket_key_open(state, again, &source, &diag), 0);
	CU_ASSERT_EQUAL(source, TICKET_KEY_READ);
	CU_ASSERT_EQUAL(memcmp(key, again, sizeof key), 0);
	unlink(file); /* by hand: another one */
	CU_ASSERT_EQUAL(ticket_key_open(state, again, &source, &diag), 0);
	CU_ASSERT_EQUAL(source, TICKET_KEY_MADE);
	CU_ASSERT_NOT_EQUAL(memcmp(key, again, sizeof key), 0);
	CU_ASSERT_EQUAL(test_open_fds(), fds);
	end();
}

static void
test_replaced(void)
{
	static const struct {
		size_t n;
		mode_t mode;
		enum ticket_key_source source;
		const char *why;
	} rows[] = {
		{ 64, 0600, TICKET_KEY_READ, "" },
		{ 64, 0400, TICKET_KEY_READ, "" },
		{ 0, 0600, TICKET_KEY_REPLACED, "did not have 64 octets" },
		{ 63, 0600, TICKET_KEY_REPLACED, "did not have 64 octets" },
		{ 65, 0600, TICKET_KEY_REPLACED, "did not have 64 octets" },
		{ 64, 0604, TICKET_KEY_REPLACED, "was open to other users" },
		{ 64, 0640, TICKET_KEY_REPLACED, "was open to other users" },
		{ 64, 0602, TICKET_KEY_REPLACED, "was open to other users" },
		{ 64, 0620, TICKET_KEY_REPLACED, "was open to other users" },
	};
	uint8_t key[TICKET_KEY_SIZE], again[TICKET_KEY_SIZE], x[TICKET_KEY_SIZE];
	enum ticket_key_source source;
	struct diag diag;
	size_t i;

	memset(x, 'x', sizeof x);
	for (i = 0; i < PT_COUNT(rows); i++) {
		begin();
		put(rows[i].n, rows[i].mode);
		diag = (struct diag){ "" };
		CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
		CU_ASSERT_EQUAL(source, rows[i].source);
		CU_ASSERT_EQUAL(memcmp(key, x, sizeof x) == 0, source == TICKET_KEY_READ);
		CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, rows[i].why));
		CU_ASSERT_EQUAL(mode_of(file) & 077, 0);
		CU_ASSERT_EQUAL(ticket_key_open(state, again, &source, &diag), 0);
		CU_ASSERT_EQUAL(source, TICKET_KEY_READ);
		CU_ASSERT_EQUAL(memcmp(key, again, sizeof key), 0);
		end();
	}
}

static void
test_tricks(void)
{
	uint8_t key[TICKET_KEY_SIZE];
	enum ticket_key_source source;
	struct diag diag = { "" };
	char elsewhere[100];

	begin(); /* a link is replaced, and not what it points to */
	put(64, 0600);
	snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", state);
	CU_ASSERT_EQUAL(rename(file, elsewhere), 0);
	CU_ASSERT_EQUAL(symlink(elsewhere, file), 0);
	CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
	CU_ASSERT_EQUAL(source, TICKET_KEY_REPLACED);
	CU_ASSERT_NOT_EQUAL(key[0] == 'x' && key[63] == 'x' && memcmp(key, key + 1, 63) == 0, true);
	CU_ASSERT_EQUAL(unlink(elsewhere), 0);
	end();
	begin(); /* so is a FIFO, without waiting for a writer */
	mkdir(keys, 0700);
	CU_ASSERT_EQUAL(mkfifo(file, 0600), 0);
	CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
	CU_ASSERT_EQUAL(source, TICKET_KEY_REPLACED);
	end();
	begin(); /* a folder cannot be: an error that names it */
	mkdir(keys, 0700);
	mkdir(file, 0700);
	CU_ASSERT_NOT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, file));
	end();
	begin(); /* the folder is closed to others */
	mkdir(keys, 0700);
	CU_ASSERT_EQUAL(chmod(keys, 0755), 0);
	CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
	CU_ASSERT_EQUAL(mode_of(keys), 0700);
	if (geteuid() == 0) { /* another user's file, another user's folder */
		CU_ASSERT_EQUAL(chown(file, 65534, 65534), 0);
		CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), 0);
		CU_ASSERT_EQUAL(source, TICKET_KEY_REPLACED);
		CU_ASSERT_EQUAL(chown(keys, 65534, 65534), 0);
		CU_ASSERT_EQUAL(ticket_key_open(state, key, &source, &diag), PT_EPERM);
	}
	end();
}

/* Where nothing can be written: the key before, or one that dies with the process; and a warning. */
static void
test_without_file(void)
{
	uint8_t prev[TICKET_KEY_SIZE], key[TICKET_KEY_SIZE], other[TICKET_KEY_SIZE];
	char longest[5000];

	begin();
	rmdir(state);
	memset(prev, 'p', sizeof prev);
	CU_ASSERT_EQUAL(ticket_key_load(state, prev, key), 0);
	CU_ASSERT_EQUAL(memcmp(key, prev, sizeof key), 0);
	CU_ASSERT_EQUAL(ticket_key_load(state, NULL, key), 0);
	CU_ASSERT_EQUAL(ticket_key_load(state, NULL, other), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(key, other, sizeof key), 0);
	CU_ASSERT_EQUAL(warnings, 3);
	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	CU_ASSERT_EQUAL(ticket_key_load(longest, prev, key), 0);
	CU_ASSERT_EQUAL(warnings, 4);
	CU_ASSERT_EQUAL(mkdir(state, 0700), 0);
	CU_ASSERT_EQUAL(ticket_key_load(state, prev, key), 0); /* now it can */
	CU_ASSERT_NOT_EQUAL(memcmp(key, prev, sizeof key), 0);
	CU_ASSERT_EQUAL(warnings, 4);
	CU_ASSERT_EQUAL(chmod(file, 0644), 0);
	CU_ASSERT_EQUAL(ticket_key_load(state, prev, other), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(key, other, sizeof key), 0);
	CU_ASSERT_EQUAL(warnings, 5);
	end();
}

static const struct test_row rows[] = {
	{ "made once", test_made },
	{ "replaced when it cannot be used", test_replaced },
	{ "links, folders and other users", test_tricks },
	{ "without a file", test_without_file },
};
TEST_MAIN("proc/ticket_key", rows)
