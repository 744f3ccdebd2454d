/* proc/groups.c - see groups.h. */
#include "proc/groups.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int
groups_create(int *fd_out)
{
	int fd = memfd_create("postern-programs", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*fd_out = -1;
	if (fd < 0)
		return PT_EIO;
	if (ftruncate(fd, sizeof(struct groups)) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		close(fd);
		return PT_EIO;
	}
	*fd_out = fd;
	return 0;
}

struct groups *
groups_map(int fd)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(struct groups))
		return NULL;
	p = mmap(NULL, sizeof(struct groups), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p != MAP_FAILED ? p : NULL;
}

void
groups_unmap(struct groups **g)
{
	if (*g != NULL)
		(void)munmap(*g, sizeof **g);
	*g = NULL;
}

int
groups_find_free(const struct groups *g)
{
	int i;

	for (i = 0; i < GROUPS_MAX; i++)
		if (atomic_load_explicit(&g->pgid[i], memory_order_relaxed) == 0)
			return i;
	return -1;
}

void
groups_kill(const struct groups *g)
{
	pid_t pgid;
	int i;

	for (i = 0; i < GROUPS_MAX; i++)
		if ((pgid = atomic_load(&g->pgid[i])) > 1) /* never 0, -1: those are others' */
			(void)kill(-pgid, SIGKILL);
}
