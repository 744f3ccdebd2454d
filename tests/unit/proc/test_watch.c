/* unit/proc/test_watch.c - every way in which a file may change is told, once, and nothing else is. */
#include "test.h"

#include "proc/watch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 20000 /* for what must happen */
#define SILENCE_MS 600    /* for what must not: more than it takes to tell */

static char folder[64] = "/tmp/postern-watch-XXXXXX";
static struct ev_loop *loop;
static unsigned told;

static void
on_change(void *arg)
{
	(void)arg;
	told++;
}

static void
on_end(void *arg)
{
	*(bool *)arg = true;
}

/* Runs the loop until it has been told n times, or that long. */
static void
run(unsigned n, uint64_t ms)
{
	struct ev_timer t;
	bool over = false;

	ev_timer_init(&t, loop, on_end, &over);
	ev_timer_set(&t, ms);
	while (told < n && !over)
		ev_loop_once(loop);
	ev_timer_fini(&t);
}

static void
shell(const char *command)
{
	char text[1024];

	snprintf(text, sizeof text, "cd %s && { %s; }", folder, command);
	if (system(text) != 0)
		CU_FAIL_FATAL(text);
}

static struct watch *
begin(const char *path, bool inotify)
{
	struct watch *w = watch_new(loop, inotify, on_change, NULL);
	char whole[256];
	const char *paths[] = { whole };

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	snprintf(whole, sizeof whole, "%s/%s", folder, path);
	CU_ASSERT_EQUAL_FATAL(watch_paths(w, paths, 1), 0);
	told = 0;
	return w;
}

static void
test_begin(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop = ev_loop_new());
}

static const struct {
	const char *name, *before, *path, *change;
	bool tells;
} rows[] = {
	{ "renamed into its place", "echo a >f; echo b >g", "f", "mv g f", true },
	{ "written in place", "echo a >f", "f", "echo b >f", true },
	{ "appended to", "echo a >f", "f", "echo b >>f", true },
	{ "removed", "echo a >f", "f", "rm f", true },
	{ "removed and made anew", "echo a >f", "f", "rm f; echo b >f", true },
	{ "made", "true", "f", "echo a >f", true },
	{ "a hard link into its place", "echo a >f; echo b >g", "f", "ln -f g f", true },
	{ "its mode", "echo a >f", "f", "chmod 640 f", true },
	{ "the link itself, as certbot does", "mkdir a l; echo 1 >a/1; echo 2 >a/2; ln -s ../a/1 l/f", "l/f",
	  "ln -s ../a/2 l/new; mv l/new l/f", true },
	{ "a link to a folder on the way, as Kubernetes does",
	  "mkdir 1 2; echo 1 >1/f; echo 2 >2/f; ln -s 1 ..data; ln -s ..data/f f", "f",
	  "ln -s 2 ..tmp; mv -T ..tmp ..data", true },
	{ "where a chain of links ends", "mkdir a; echo 1 >a/f; ln -s a b; ln -s $PWD/b/f c; ln -s ./c f", "f",
	  "echo 2 >a/f", true },
	{ "in a folder that comes later", "true", "x/y/f", "mkdir -p x/y; echo a >x/y/f", true },
	{ "the folder is another", "mkdir d e; echo a >d/f; echo b >e/f", "d/f", "mv d old; mv e d", true },
	{ "a way with .. in it", "mkdir d e; echo a >e/f", "d/.././/e/f", "echo b >e/f", true },
	{ "a dangling link gets its end", "ln -s nowhere f", "f", "echo a >nowhere", true },
	{ "links in a circle", "ln -s g f; ln -s f g", "f", "rm g; echo a >g", true },
	{ "another file of the folder", "echo a >f", "f", "echo b >g; mv g h; rm h", false },
	{ "read", "echo a >f", "f", "cat f >/dev/null", false },
	{ "another name that begins alike", "echo a >f", "f", "echo b >ff", false },
};

static void
test_rows(void)
{
	unsigned before;
	struct watch *w;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		shell("rm -rf ./* ./..data");
		shell(rows[i].before);
		before = test_open_fds();
		w = begin(rows[i].path, true);
		CU_ASSERT_PTR_NULL(watch_weakness(w));
		shell(rows[i].change);
		run(1, rows[i].tells ? PATIENCE_MS : SILENCE_MS);
		if (told != rows[i].tells)
			fprintf(stderr, "\n%s: told %u times\n", rows[i].name, told);
		CU_ASSERT_EQUAL(told, rows[i].tells);
		watch_free(&w);
		CU_ASSERT_EQUAL(test_open_fds(), before);
	}
}

/* After the first change the next ones are met, too: what is watched moves with the links. */
static void
test_again(void)
{
	struct watch *w;
	unsigned i;
	char text[128];

	shell("rm -rf ./* ./..data; mkdir 0; echo 0 >0/f; ln -s 0 ..data; ln -s ..data/f f");
	w = begin("f", true);
	for (i = 1; i < 5; i++) {
		told = 0;
		snprintf(text, sizeof text, "mkdir %u; echo %u >%u/f; ln -s %u ..tmp; mv -T ..tmp ..data; rm -r %u",
			i, i, i, i, i - 1);
		shell(text);
		run(1, PATIENCE_MS);
		CU_ASSERT_EQUAL(told, 1);
	}
	told = 0;
	shell("echo more >4/f");
	run(1, PATIENCE_MS);
	CU_ASSERT_EQUAL(told, 1);
	watch_free(&w);
}

/* Changes that come together are told together; who never ends is told of in between. */
static void
test_together(void)
{
	struct watch *w;
	unsigned i;

	shell("rm -rf ./* ./..data; echo a >f");
	w = begin("f", true);
	for (i = 0; i < 20; i++) /* the loop meets all of them at once */
		shell("echo b >f");
	run(1, PATIENCE_MS);
	CU_ASSERT_EQUAL(told, 1);
	run(2, SILENCE_MS);
	CU_ASSERT_EQUAL(told, 1);
	told = 0;
	for (i = 0; told == 0 && i < 1000; i++) {
		shell("echo c >>f");
		run(1, WATCH_QUIET_MS / 4);
	}
	CU_ASSERT_EQUAL(told, 1);
	watch_free(&w);
}

/* Where the kernel tells nothing, looking does. */
static void
test_looking(void)
{
	struct watch *w;

	shell("rm -rf ./* ./..data; echo a >f");
	w = begin("f", false);
	CU_ASSERT_PTR_NOT_NULL(watch_weakness(w));
	shell("echo other >f");
	run(1, PATIENCE_MS);
	CU_ASSERT_EQUAL(told, 1);
	run(2, 2 * WATCH_FAST_MS); /* once */
	CU_ASSERT_EQUAL(told, 1);
	told = 0;
	shell("rm f");
	run(1, PATIENCE_MS);
	CU_ASSERT_EQUAL(told, 1);
	watch_free(&w);
}

/* Other paths: the ones before are of no interest any more. */
static void
test_others(void)
{
	char whole[128];
	const char *paths[] = { whole };
	struct watch *w;

	shell("rm -rf ./*; mkdir a b; echo a >a/f; echo b >b/f");
	w = begin("a/f", true);
	snprintf(whole, sizeof whole, "%s/b/f", folder);
	CU_ASSERT_EQUAL(watch_paths(w, paths, 1), 0);
	shell("echo c >a/f");
	run(1, SILENCE_MS);
	CU_ASSERT_EQUAL(told, 0);
	shell("echo c >b/f");
	run(1, PATIENCE_MS);
	CU_ASSERT_EQUAL(told, 1);
	told = 0;
	CU_ASSERT_EQUAL(watch_paths(w, NULL, 0), 0);
	CU_ASSERT_PTR_NULL(watch_weakness(w));
	shell("echo d >b/f");
	run(1, SILENCE_MS);
	CU_ASSERT_EQUAL(told, 0);
	watch_free(&w);
}

static void
test_end(void)
{
	char text[128];

	ev_loop_free(&loop);
	snprintf(text, sizeof text, "rm -rf %s", folder);
	CU_ASSERT_EQUAL(system(text), 0);
}

static const struct test_row tests[] = {
	{ "a folder", test_begin },
	{ "the ways to change a file", test_rows },
	{ "one change after another", test_again },
	{ "changes that come together", test_together },
	{ "without the kernel's help", test_looking },
	{ "other paths", test_others },
	{ "the end", test_end },
};
TEST_MAIN("proc/watch", tests)
