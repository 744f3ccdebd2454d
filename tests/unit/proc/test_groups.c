/* unit/proc/test_groups.c - the table of programs: places, and the end of all groups in it and of no other. */
#include "test.h"

#include "proc/groups.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void
test_places(void)
{
	struct groups *g;
	int fd, i;

	CU_ASSERT_EQUAL_FATAL(groups_create(&fd), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g = groups_map(fd));
	CU_ASSERT_EQUAL(groups_find_free(g), 0);
	atomic_store(&g->pgid[0], 5);
	CU_ASSERT_EQUAL(groups_find_free(g), 1);
	for (i = 0; i < GROUPS_MAX; i++)
		atomic_store(&g->pgid[i], 1);
	CU_ASSERT_EQUAL(groups_find_free(g), -1);
	atomic_store(&g->pgid[GROUPS_MAX - 1], 0);
	CU_ASSERT_EQUAL(groups_find_free(g), GROUPS_MAX - 1);
	CU_ASSERT_NOT_EQUAL(ftruncate(fd, 0), 0); /* its size is sealed */
	groups_unmap(&g);
	CU_ASSERT_PTR_NULL(g);
	groups_unmap(&g);
	close(fd);
	CU_ASSERT_FATAL((fd = memfd_create("small", MFD_CLOEXEC)) >= 0);
	CU_ASSERT_PTR_NULL(groups_map(fd));
	close(fd);
}

static pid_t
a_group(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	CU_ASSERT_FATAL(pid > 0);
	CU_ASSERT_EQUAL(setpgid(pid, pid), 0);
	return pid;
}

static void
test_kill(void)
{
	pid_t in = a_group(), out = a_group();
	struct groups *g;
	int fd, status;

	CU_ASSERT_EQUAL_FATAL(groups_create(&fd), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g = groups_map(fd));
	atomic_store(&g->pgid[GROUPS_MAX - 1], in);
	/* numbers that mean "my own group" and "everybody" to kill() */
	atomic_store(&g->pgid[1], -1);
	atomic_store(&g->pgid[2], 1);
	atomic_store(&g->pgid[3], -out);
	groups_kill(g);
	CU_ASSERT_EQUAL(waitpid(in, &status, 0), in);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CU_ASSERT_EQUAL(waitpid(out, &status, WNOHANG), 0);
	kill(out, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(out, &status, 0), out);
	groups_unmap(&g);
	close(fd);
}

static const struct test_row rows[] = {
	{ "places", test_places },
	{ "the end of all", test_kill },
};
TEST_MAIN("proc/groups", rows)
