/* unit/store/test_nursery.c - where files are made: left when it is slow, swept at a start, and never in the way. Costs are told by a
 * clock of our own. Where the file system cannot spread folders (any but ext4) there is only the top, and that is what is looked at. */
#include "store/nursery.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static int top = -1;
static uint64_t now_ns, cost_ns; /* each look at the clock is so much later */

static uint64_t
clock_told(void)
{
	return __atomic_add_fetch(&now_ns, cost_ns, __ATOMIC_RELAXED);
}

static void
begin(void)
{
	snprintf(dir, sizeof dir, "/tmp/postern-nursery.XXXXXX");
	PT_ASSERT(mkdtemp(dir) != NULL);
	PT_ASSERT((top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
	cost_ns = 8000;
}

/* Its folders; name_out: one of them. */
static unsigned
folders(char name_out[NAME_MAX + 1])
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	PT_ASSERT(d != NULL);
	while ((e = readdir(d)) != NULL)
		if (strncmp(e->d_name, NURSERY_PREFIX, strlen(NURSERY_PREFIX)) == 0) {
			n++;
			snprintf(name_out, NAME_MAX + 1, "%s", e->d_name);
		}
	closedir(d);
	return n;
}

static void
end(struct nursery **n)
{
	char name[NAME_MAX + 1];

	nursery_close(n);
	CU_ASSERT_PTR_NULL(*n);
	CU_ASSERT_EQUAL(folders(name), 0);
	close(top);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

static void
make_one(struct nursery *n, const char *name)
{
	struct nursery_file f;

	PT_ASSERT(nursery_make(n, name, &f) == 0);
	CU_ASSERT_EQUAL(write(f.fd, "x", 1), 1);
	nursery_done(n, &f, name);
}

static void
make(struct nursery *n, unsigned count)
{
	while (count-- > 0)
		make_one(n, "m");
}

static bool
spreads(void)
{
	char name[NAME_MAX + 1];

	return folders(name) == 1;
}

static void
test_renamed_and_given_up(void)
{
	struct nursery_file f;
	struct nursery *n;
	struct stat st;

	begin();
	n = nursery_open(top, clock_told);
	CU_ASSERT_EQUAL(nursery_make(n, "a", &f), 0);
	CU_ASSERT_EQUAL(write(f.fd, "one", 3), 3);
	CU_ASSERT_EQUAL(renameat(f.folder, "a", top, "placed"), 0);
	nursery_done(n, &f, NULL);
	CU_ASSERT_EQUAL(fstatat(top, "placed", &st, 0), 0);
	CU_ASSERT_EQUAL(st.st_size, 3);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	CU_ASSERT_EQUAL(nursery_make(n, "a", &f), 0); /* given up */
	nursery_done(n, &f, "a");
	CU_ASSERT_EQUAL(unlinkat(top, "placed", 0), 0);
	end(&n); /* its folder was empty */
}

static void
test_quick_stays(void)
{
	char before[NAME_MAX + 1], after[NAME_MAX + 1];
	struct nursery *n;

	begin();
	n = nursery_open(top, clock_told);
	cost_ns = NURSERY_SLOW_NS; /* slow is more than that */
	folders(before);
	make(n, 10 * NURSERY_LOOK_FIRST);
	folders(after);
	if (spreads())
		CU_ASSERT_STRING_EQUAL(before, after);
	end(&n);
}

/* So many files until another folder is there; 0: not after max. */
static unsigned
until_next(struct nursery *n, unsigned max)
{
	char before[NAME_MAX + 1], after[NAME_MAX + 1];
	unsigned i;

	CU_ASSERT_EQUAL(folders(before), 1);
	for (i = 1; i <= max; i++) {
		make_one(n, "m");
		CU_ASSERT_EQUAL(folders(after), 1); /* the old one goes at once */
		if (strcmp(before, after) != 0)
			return i;
	}
	return 0;
}

static void
test_slow_is_left(void)
{
	struct nursery *n;
	unsigned look;

	begin();
	n = nursery_open(top, clock_told);
	if (spreads()) {
		cost_ns = 800000;
		for (look = NURSERY_LOOK_FIRST; look <= 8 * NURSERY_LOOK_FIRST; look *= 2)
			CU_ASSERT_EQUAL(until_next(n, 2 * look), look + 1);
		cost_ns = 8000; /* a quick one ends the patience */
		CU_ASSERT_EQUAL(until_next(n, 16 * NURSERY_LOOK_FIRST + 1), 0);
		cost_ns = 800000;
		CU_ASSERT_NOT_EQUAL(until_next(n, NURSERY_LOOK_FIRST), 0);
	} else {
		cost_ns = 800000;
		make(n, 10 * NURSERY_LOOK_FIRST);
	}
	end(&n);
}

static void
test_swept(void)
{
	char name[NAME_MAX + 1];
	struct nursery_file f;
	struct nursery *n;
	int in;

	begin();
	CU_ASSERT_EQUAL(mkdirat(top, NURSERY_PREFIX "00000001", 0700), 0);
	PT_ASSERT((in = openat(top, NURSERY_PREFIX "00000001", O_RDONLY | O_DIRECTORY)) >= 0);
	close(openat(in, "left", O_WRONLY | O_CREAT, 0600));
	close(in);
	CU_ASSERT_EQUAL(mkdirat(top, "other", 0700), 0);
	n = nursery_open(top, NULL); /* the thread's own clock */
	CU_ASSERT_TRUE(folders(name) <= 1);
	CU_ASSERT_STRING_NOT_EQUAL(name, NURSERY_PREFIX "00000001");
	CU_ASSERT_EQUAL(nursery_make(n, "no/such", &f), PT_ENOENT); /* refused, and nothing is held */
	CU_ASSERT_EQUAL(unlinkat(top, "other", AT_REMOVEDIR), 0);
	end(&n);
}

/* The folder under which a file is made is left meanwhile: the file is still there to be renamed. */
static void
test_left_while_used(void)
{
	char name[NAME_MAX + 1];
	struct nursery_file f;
	struct nursery *n;

	begin();
	n = nursery_open(top, clock_told);
	CU_ASSERT_EQUAL(nursery_make(n, "slow", &f), 0);
	cost_ns = 800000;
	make(n, 2 * NURSERY_LOOK_FIRST);
	CU_ASSERT_TRUE(folders(name) == 2 || folders(name) == 0);
	CU_ASSERT_EQUAL(renameat(f.folder, "slow", top, "placed"), 0);
	nursery_done(n, &f, NULL);
	CU_ASSERT_TRUE(folders(name) <= 1);
	CU_ASSERT_EQUAL(unlinkat(top, "placed", 0), 0);
	end(&n);
}

static void *
maker(void *arg)
{
	static unsigned number;
	char name[16];
	int i;

	snprintf(name, sizeof name, "t%u", __atomic_fetch_add(&number, 1, __ATOMIC_RELAXED));
	for (i = 0; i < 500; i++)
		make_one(arg, name);
	return NULL;
}

static void
test_threads(void)
{
	pthread_t t[4];
	struct nursery *n;
	int i;

	begin();
	n = nursery_open(top, clock_told);
	cost_ns = 60000; /* with others' looks in between now slow, now not */
	for (i = 0; i < 4; i++)
		PT_ASSERT(pthread_create(&t[i], NULL, maker, n) == 0);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	end(&n);
}

/* Somebody tidies up: another folder takes its place. (No file was made any more until the next start.) */
static void
test_folder_removed(void)
{
	char name[NAME_MAX + 1], other[NAME_MAX + 1];
	struct nursery *n;

	begin();
	CU_ASSERT_PTR_NOT_NULL_FATAL(n = nursery_open(top, clock_told));
	make_one(n, "one");
	if (folders(name) == 1) {
		CU_ASSERT_EQUAL(unlinkat(top, name, AT_REMOVEDIR), 0);
		make_one(n, "two");
		CU_ASSERT_EQUAL(folders(other), 1);
		CU_ASSERT_STRING_NOT_EQUAL(other, name);
	}
	make_one(n, "three");
	end(&n);
}

static const struct test_row rows[] = {
	{ "renamed, or given up", test_renamed_and_given_up },
	{ "who is quick stays", test_quick_stays },
	{ "who is slow is left, after twice as many each time", test_slow_is_left },
	{ "what others left is swept", test_swept },
	{ "left while a file is made in it", test_left_while_used },
	{ "its folder removed by somebody else", test_folder_removed },
	{ "threads", test_threads },
};

TEST_MAIN("store/nursery", rows)
