/* unit/proc/test_credset.c - the files of a credential generation: a copy of one moment, and whether it still is what
 * stands on the disk. */
#include "test.h"

#include "proc/credset.h"
#include "proc/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/postern-set-XXXXXX";

static const char *
path_of(const char *name)
{
	static char path[2][128];
	static unsigned n;

	n ^= 1;
	snprintf(path[n], sizeof path[n], "%s/%s", folder, name);
	return path[n];
}

/* In place, as an editor does that keeps the inode. */
static void
put(const char *name, const char *text)
{
	int fd = open(path_of(name), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_EQUAL_FATAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static struct cred_set *
new_set(uint64_t number)
{
	struct cred_set *s = calloc(1, sizeof *s);

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	s->number = number;
	return s;
}

static int
add(struct cred_set *s, const struct cred_set *prev, const char *name, bool private)
{
	struct diag diag = { "" };
	int fd;

	if (cred_set_source(s, prev, path_of(name), private, &fd, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	return fd;
}

static void
check_octets(int fd, const char *text)
{
	struct buf b;

	buf_init(&b, 1000);
	CU_ASSERT_EQUAL(file_slurp(fd, &b, NULL), 0);
	CU_ASSERT_TRUE(span_equal(buf_span(&b), span_str(text)));
	buf_fini(&b);
}

static void
test_begin(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	put("a", "first a");
	put("b", "first b");
}

/* What was opened stays what it was, though the file is written in place. */
static void
test_copy(void)
{
	unsigned before = test_open_fds();
	struct cred_set *s = new_set(1);
	struct stat st;
	int a = add(s, NULL, "a", true), b = add(s, NULL, "b", false);

	CU_ASSERT_EQUAL(add(s, NULL, "a", true), a); /* once, however often it is named */
	CU_ASSERT_EQUAL(s->nsources, 2);
	CU_ASSERT_TRUE(fcntl(a, F_GET_SEALS) & F_SEAL_WRITE);
	CU_ASSERT_EQUAL(fcntl(a, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(fstat(a, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600); /* a key's warning goes by it */
	CU_ASSERT_FALSE(cred_set_changed(s));
	put("b", "other b"); /* of the same size */
	CU_ASSERT_TRUE(cred_set_changed(s));
	check_octets(a, "first a");
	check_octets(b, "first b");
	/* no worker is started with it: only what the keyholder may need again stays open */
	cred_set_retire(s);
	check_octets(a, "first a");
	CU_ASSERT_EQUAL(fcntl(b, F_GETFD), -1);
	cred_set_free(&s);
	CU_ASSERT_PTR_NULL(s);
	cred_set_free(&s);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

/* A file that is the same in two generations is one copy; one that is not, two. */
static void
test_shared(void)
{
	struct cred_set *one = new_set(1), *two = new_set(2);
	struct stat st[4];
	int a, b, a2, b2;

	a = add(one, NULL, "a", true);
	b = add(one, NULL, "b", false);
	put("b", "third b");
	a2 = add(two, one, "a", true);
	b2 = add(two, one, "b", false);
	CU_ASSERT_TRUE(fstat(a, &st[0]) == 0 && fstat(a2, &st[1]) == 0 && fstat(b, &st[2]) == 0 &&
		fstat(b2, &st[3]) == 0);
	CU_ASSERT_EQUAL(st[0].st_ino, st[1].st_ino);
	CU_ASSERT_NOT_EQUAL(a, a2);
	CU_ASSERT_NOT_EQUAL(st[2].st_ino, st[3].st_ino);
	cred_set_free(&one);
	check_octets(a2, "first a");
	check_octets(b2, "third b");
	CU_ASSERT_FALSE(cred_set_changed(two));
	cred_set_free(&two);
}

/* Written, opened, and written again at once, with the same size: what stamps files is slower than that. */
static void
test_young(void)
{
	char text[8];
	struct cred_set *set;
	int i, unseen = 0;

	for (i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "%06d", 2 * i);
		put("a", text);
		set = new_set(1);
		add(set, NULL, "a", true);
		snprintf(text, sizeof text, "%06d", 2 * i + 1);
		put("a", text);
		unseen += !cred_set_changed(set);
		cred_set_free(&set);
	}
	CU_ASSERT_EQUAL(unseen, 0);
}

static void
test_bad(void)
{
	static const struct {
		const char *name, *says;
		int rc;
	} rows[] = {
		{ "none", "/none: No such file", PT_ENOENT },
		{ "fifo", "/fifo is not a file", PT_EINVAL },
		{ "", " is not a file", PT_EINVAL },
		{ "large", "/large is larger than 128 MiB", PT_EINVAL },
		{ "largest", "", 0 },
	};
	unsigned before = test_open_fds();
	struct cred_set *s;
	struct diag diag;
	size_t i;
	int fd;

	CU_ASSERT_EQUAL(mkfifo(path_of("fifo"), 0600), 0);
	put("large", "");
	put("largest", "");
	CU_ASSERT_EQUAL(truncate(path_of("large"), CRED_OCTETS_MAX + 1), 0);
	CU_ASSERT_EQUAL(truncate(path_of("largest"), CRED_OCTETS_MAX), 0);
	for (i = 0; i < PT_COUNT(rows); i++) {
		s = new_set(1);
		diag.text[0] = '\0';
		CU_ASSERT_EQUAL(cred_set_source(s, NULL, path_of(rows[i].name), false, &fd, &diag), rows[i].rc);
		CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, rows[i].says));
		CU_ASSERT_EQUAL(fd >= 0, rows[i].rc == 0);
		cred_set_free(&s);
	}
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_holders(void)
{
	static const uint32_t slots[] = { 0, 63, 64, 200, 255 };
	struct cred_set *s = new_set(1);
	size_t i;

	CU_ASSERT_FALSE(cred_set_is_held(s));
	for (i = 0; i < PT_COUNT(slots); i++)
		cred_set_hold(s, slots[i]);
	for (i = 0; i < PT_COUNT(slots); i++) {
		CU_ASSERT_TRUE(cred_set_is_held(s));
		cred_set_let_go(s, slots[i]);
		cred_set_let_go(s, slots[i]);
	}
	CU_ASSERT_FALSE(cred_set_is_held(s));
	cred_set_free(&s);
}

static void
test_end(void)
{
	static const char *const names[] = { "a", "b", "fifo", "large", "largest" };
	size_t i;

	for (i = 0; i < PT_COUNT(names); i++)
		unlink(path_of(names[i]));
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static const struct test_row rows[] = {
	{ "the folder", test_begin },
	{ "a copy of one moment", test_copy },
	{ "what has not changed is shared", test_shared },
	{ "a file just written", test_young },
	{ "files that cannot be used", test_bad },
	{ "who needs its keys", test_holders },
	{ "the end", test_end },
};
TEST_MAIN("proc/credset", rows)
